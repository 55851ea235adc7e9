//! Non-maximum suppression, written down once more: all candidates sorted, each held against all that are kept.

use crate::graph::Suppression;

/// Rows of batch, class and box, and behind them rows of -1.
pub(super) fn run(
    of: &Suppression,
    [boxes, scores]: [&[f32]; 2],
    [_, classes, count]: [usize; 3],
) -> Vec<f32> {
    let mut rows = Vec::new();
    for (row, scores) in scores.chunks_exact(count).enumerate() {
        let (batch, class) = (row / classes, row % classes);
        let boxes = &boxes[batch * count * 4..][..count * 4];
        let is_candidate =
            |score: f32| score > of.score_threshold || score == f32::NEG_INFINITY && !of.has_threshold();
        let mut candidates: Vec<usize> = (0..count).filter(|&index| is_candidate(scores[index])).collect();
        // A stable sort leaves equal scores in their order. None is NaN, and -0 equals 0.
        candidates.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).unwrap_or(std::cmp::Ordering::Equal));
        let mut kept: Vec<usize> = Vec::new();
        for index in candidates {
            let corners = |index: usize| of.corners(&boxes[4 * index..][..4]);
            if kept.len() < of.most
                && kept.iter().all(|&other| overlap(corners(index), corners(other)) <= of.iou_threshold)
            {
                kept.push(index);
            }
        }
        rows.extend(kept.into_iter().flat_map(|index| [batch, class, index].map(|x| x as f32)));
    }
    rows.resize(scores.len() / count * of.most * 3, -1.0);
    rows
}

impl Suppression {
    fn has_threshold(&self) -> bool {
        self.score_threshold > f32::NEG_INFINITY
    }

    /// Where a box begins and ends on its two axes.
    fn corners(&self, of: &[f32]) -> [[f32; 2]; 2] {
        [0, 1].map(|axis| {
            let [a, b] = [of[axis], of[axis + 2]];
            match self.centers {
                true => [a - b * 0.5, a + b * 0.5],
                false => [a.min(b), a.max(b)],
            }
        })
    }
}

/// Intersection over union, in the order of operations that FORMAT.md gives.
fn overlap(a: [[f32; 2]; 2], b: [[f32; 2]; 2]) -> f32 {
    let area = |of: [[f32; 2]; 2]| (of[0][1] - of[0][0]) * (of[1][1] - of[1][0]);
    let shared = |axis: usize| a[axis][1].min(b[axis][1]) - a[axis][0].max(b[axis][0]);
    let intersection = shared(0) * shared(1);
    let union = (area(a) + area(b)) - intersection;
    let is_some = [shared(0), shared(1), area(a), area(b), union].into_iter().all(|size| size > 0.0);
    if is_some { intersection / union } else { 0.0 }
}
