//! Greedy non-maximum suppression: of a detector's boxes, those that are better than the ones they overlap.
//! Portable: each score is read once and compared with a threshold that few exceed, and only as many of these are
//! put in order as are looked at.

use crate::parts::{at, stretch, stretch_mut};

/// How boxes are selected.
#[derive(Clone, Copy, Debug)]
pub struct SuppressionArgs {
    /// batch, classes, boxes: all at least 1.
    pub dims: [usize; 3],
    /// Of a class at most so many are selected: from 1 to boxes.
    pub most: usize,
    /// Boxes whose intersection over union exceeds it overlap too much.
    pub iou_threshold: f32,
    /// Scores must exceed it; minus infinity is the threshold that every number passes.
    pub score_threshold: f32,
    /// Boxes are centre x, centre y, width, height, not two opposite corners y, x, y, x.
    pub centers: bool,
}

/// What a detector has found.
#[derive(Clone, Copy, Debug)]
pub struct Detections<'a> {
    /// `[batch, boxes, 4]`.
    pub boxes: &'a [f32],
    /// `[batch, classes, boxes]`.
    pub scores: &'a [f32],
}

/// Selects boxes. `output` is `[batch * classes * most, 3]`: a row of batch, class and box for each that is selected,
/// class after class and the greatest score first (of equal scores the first box), and rows of -1 behind them.
/// `order` is scratch memory of at least `boxes`.
///
/// A box is selected unless its intersection over union with one that was selected before it exceeds the threshold.
/// All of it is single IEEE operations in one order:
///
/// ```text
/// of each axis      shared = min(high, high') - max(low, low'),  extent = high - low
/// of both axes      intersection = shared[0] * shared[1],        area = extent[0] * extent[1]
/// intersection over union = intersection / ((area + area') - intersection)
/// ```
///
/// and 0 where any of shared, area or that sum is not above 0. Low and high are the lesser and the greater of two
/// corners, or `centre - size * 0.5` and `centre + size * 0.5`. (Neubeck & Van Gool, "Efficient Non-Maximum
/// Suppression", 2006, section 2.)
pub fn non_max_suppression(
    args: &SuppressionArgs,
    found: Detections<'_>,
    order: &mut [u32],
    output: &mut [f32],
) {
    let [_, classes, count] = args.dims;
    let mut used = 0;
    let (classes, count) = (classes.max(1), count.max(1));
    let (rows, _) = output.as_chunks_mut::<3>();
    for (row, scores) in found.scores.chunks_exact(count).enumerate() {
        let (batch, class) = (row / classes, row % classes);
        let (boxes, _) = stretch(found.boxes, batch * count * 4, count * 4).as_chunks::<4>();
        let area = |index: usize| Area::new(at(boxes, index), args.centers);
        let mut candidates = Candidates::new(scores, args.score_threshold, order);
        let first = used;
        while used - first < args.most
            && let Some(index) = candidates.next()
        {
            let own = area(index);
            let mut better = stretch(rows, first, used - first).iter();
            if !better.any(|&[.., index]| own.overlap(&area(index as usize)) > args.iou_threshold) {
                stretch_mut(rows, used, 1).fill([batch as f32, class as f32, index as f32]);
                used += 1;
            }
        }
    }
    rows.iter_mut().skip(used).for_each(|row| *row = [-1.0; 3]);
}

/// Where a box begins and ends on each axis.
struct Area {
    low: [f32; 2],
    high: [f32; 2],
}

impl Area {
    fn new([y, x, y1, x1]: [f32; 4], centers: bool) -> Self {
        let ends = |a: f32, b: f32| {
            let [low, high] = if centers { [a - b * 0.5, a + b * 0.5] } else { [a, b] };
            if !centers && high < low { [high, low] } else { [low, high] }
        };
        let [first, second] = [ends(y, y1), ends(x, x1)];
        Self { low: [first[0], second[0]], high: [first[1], second[1]] }
    }

    fn size(&self) -> f32 {
        (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])
    }

    /// Intersection over union.
    fn overlap(&self, other: &Self) -> f32 {
        let shared = |axis: usize| {
            let high = if other.high[axis] < self.high[axis] { other.high[axis] } else { self.high[axis] };
            let low = if other.low[axis] > self.low[axis] { other.low[axis] } else { self.low[axis] };
            high - low
        };
        let shared = [shared(0), shared(1)];
        let (intersection, own, others) = (shared[0] * shared[1], self.size(), other.size());
        let union = (own + others) - intersection;
        let is_some = [shared[0], shared[1], own, others, union].into_iter().all(|size| size > 0.0);
        if is_some { intersection / union } else { 0.0 }
    }
}

/// Boxes whose scores exceed a threshold, from the greatest on: a heap (Williams, "Algorithm 232: Heapsort", 1964),
/// which gives the next without all of them being sorted.
struct Candidates<'a> {
    scores: &'a [f32],
    heap: &'a mut [u32],
}

impl<'a> Candidates<'a> {
    fn new(scores: &'a [f32], threshold: f32, order: &'a mut [u32]) -> Self {
        let all = threshold == f32::NEG_INFINITY;
        let mut count = 0;
        for (index, &score) in scores.iter().enumerate() {
            if score > threshold || all && score == threshold {
                stretch_mut(order, count, 1).fill(index as u32);
                count += 1;
            }
        }
        let mut candidates = Self { scores, heap: stretch_mut(order, 0, count) };
        (0..count / 2).rev().for_each(|parent| candidates.sink(parent, count));
        candidates
    }

    /// The greatest that is left.
    fn next(&mut self) -> Option<usize> {
        let last = self.heap.len().checked_sub(1)?;
        self.swap(0, last);
        self.sink(0, last);
        let (taken, rest) = core::mem::take(&mut self.heap).split_last_mut()?;
        self.heap = rest;
        Some(*taken as usize)
    }

    fn swap(&mut self, a: usize, b: usize) {
        let [of_a, of_b] = [a, b].map(|place| at(self.heap, place));
        stretch_mut(self.heap, a, 1).fill(of_b);
        stretch_mut(self.heap, b, 1).fill(of_a);
    }

    /// Moves what is at `parent` below all of the first `count` that go before it.
    fn sink(&mut self, mut parent: usize, count: usize) {
        loop {
            let child = 2 * parent + 1;
            if child >= count {
                return;
            }
            let child = child + usize::from(child + 1 < count && self.is_before(child + 1, child));
            if !self.is_before(child, parent) {
                return;
            }
            self.swap(child, parent);
            parent = child;
        }
    }

    fn is_before(&self, a: usize, b: usize) -> bool {
        let [a, b] = [a, b].map(|place| at(self.heap, place));
        let [of_a, of_b] = [a, b].map(|index| at(self.scores, index as usize));
        of_a > of_b || of_a == of_b && a < b
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Six boxes on two axes, of which the second and third overlap the first, and the fifth the fourth.
    const BOXES: [f32; 24] = [
        0.0, 0.0, 1.0, 1.0, 0.0, 0.1, 1.0, 1.1, 0.0, -0.1, 1.0, 0.9, 0.0, 10.0, 1.0, 11.0, 0.0, 10.1, 1.0,
        11.1, 0.0, 100.0, 1.0, 101.0,
    ];
    const SCORES: [f32; 6] = [0.9, 0.75, 0.6, 0.95, 0.5, 0.3];

    const ARGS: SuppressionArgs = SuppressionArgs {
        dims: [1, 1, 6],
        most: 6,
        iou_threshold: 0.5,
        score_threshold: f32::NEG_INFINITY,
        centers: false,
    };

    /// The boxes that are selected, and their classes; what follows must be -1.
    fn select(args: &SuppressionArgs, boxes: &[f32], scores: &[f32]) -> Vec<[usize; 2]> {
        let [batch, classes, count] = args.dims;
        let mut output = std::vec![7.0; batch * classes * args.most * 3];
        let mut order = std::vec![u32::MAX; count];
        non_max_suppression(args, Detections { boxes, scores }, &mut order, &mut output);
        let used = output.chunks_exact(3).take_while(|row| row[2] >= 0.0).count();
        assert!(output[3 * used..].iter().all(|&x| x == -1.0), "{output:?}");
        let row = |row: &[f32]| [row[0] as usize * classes + row[1] as usize, row[2] as usize];
        output[..3 * used].chunks_exact(3).map(row).collect()
    }

    #[test]
    fn the_better_of_boxes_that_overlap_are_selected() {
        let boxes = |args: SuppressionArgs| -> Vec<usize> {
            select(&args, &BOXES, &SCORES).into_iter().map(|[_, index]| index).collect()
        };
        assert_eq!(boxes(ARGS), [3, 0, 5]);
        assert_eq!(boxes(SuppressionArgs { most: 2, ..ARGS }), [3, 0]);
        assert_eq!(boxes(SuppressionArgs { score_threshold: 0.4, ..ARGS }), [3, 0]);
        // A score must exceed the threshold, an overlap too.
        assert_eq!(boxes(SuppressionArgs { score_threshold: 0.95, ..ARGS }), [] as [usize; 0]);
        assert_eq!(boxes(SuppressionArgs { iou_threshold: 1.0, ..ARGS }), [3, 0, 1, 2, 4, 5]);
        // Of the first three the overlaps are 0.9 / 1.1 twice, and 0.8 / 1.2.
        assert_eq!(boxes(SuppressionArgs { iou_threshold: 0.82, ..ARGS }), [3, 0, 1, 2, 4, 5]);
        assert_eq!(boxes(SuppressionArgs { iou_threshold: 0.81, ..ARGS }), [3, 0, 5]);
    }

    #[test]
    fn corners_in_any_order_and_centers_are_the_same_boxes() {
        let flipped: Vec<f32> = BOXES.chunks_exact(4).flat_map(|b| [b[2], b[1], b[0], b[3]]).collect();
        assert_eq!(select(&ARGS, &flipped, &SCORES), select(&ARGS, &BOXES, &SCORES));
        let centers: Vec<f32> = (BOXES.chunks_exact(4))
            .flat_map(|b| [(b[1] + b[3]) / 2.0, (b[0] + b[2]) / 2.0, b[3] - b[1], b[2] - b[0]])
            .collect();
        let args = SuppressionArgs { centers: true, ..ARGS };
        assert_eq!(select(&args, &centers, &SCORES), select(&ARGS, &BOXES, &SCORES));
    }

    #[test]
    fn classes_and_images_are_apart_and_equal_scores_are_in_order() {
        let reversed: Vec<f32> = SCORES.iter().rev().copied().collect();
        let scores = [&SCORES[..], &[0.5; 6], &reversed, &[f32::NAN; 6]].concat();
        let boxes = [BOXES, BOXES].concat();
        let args = SuppressionArgs { dims: [2, 2, 6], most: 3, ..ARGS };
        let expected = [[0, 3], [0, 0], [0, 5], [1, 0], [1, 3], [1, 5], [2, 2], [2, 5], [2, 4]];
        assert_eq!(select(&args, &boxes, &scores), expected);
    }

    #[test]
    fn boxes_without_extent_and_what_is_no_number_suppress_nothing() {
        let point = [0.5; 4];
        let boxes =
            [&BOXES[..4], &point, &point, &[f32::NAN; 4], &[f32::NEG_INFINITY, 0.0, f32::INFINITY, 1.0]]
                .concat();
        let scores = [1.0, 0.9, f32::NEG_INFINITY, 0.8, 0.7];
        let args = SuppressionArgs { dims: [1, 1, 5], most: 5, iou_threshold: 0.0, ..ARGS };
        let boxes: Vec<usize> = select(&args, &boxes, &scores).into_iter().map(|[_, index]| index).collect();
        // Whatever is all of an axis has no share of it.
        assert_eq!(boxes, [0, 1, 3, 4, 2]);
    }
}
