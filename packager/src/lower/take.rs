//! Elements at any indices: as few strided copies as their order allows.

use std::sync::Arc;

use edgepack_format::plan;

use super::Lowering;
use crate::error::Result;
use crate::graph::Node;

/// More copies than this for one axis are refused by the importer: each is a step.
pub(crate) const MAX_COPIES: usize = 256;

/// The number of copies that the indices of one axis take.
pub(crate) fn copies(indices: &[usize]) -> usize {
    runs(indices).len()
}

/// Indices that one strided copy takes: nested loops of `(count, input stride, output stride)` along an
/// axis, outermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    input_start: usize,
    output_start: usize,
    loops: Vec<(usize, usize, usize)>,
}

impl Lowering<'_> {
    /// Axes whose indices one loop or two nested ones walk through are taken by one copy together, every
    /// other axis by copies of its own.
    pub(super) fn take(&mut self, node: &Node, indices: &[Option<Arc<[usize]>>]) -> Result<()> {
        let stored = self.any(node.inputs[0])?;
        let elem_bytes = self.elem_bytes(node.output);
        let mut dims = self.dims(node.inputs[0]).to_vec();
        let output_dims = self.dims(node.output);
        let by_axis: Vec<Vec<Run>> = (indices.iter().zip(&dims))
            .map(|(indices, &dim)| match indices {
                Some(indices) => runs(indices),
                None => vec![whole(dim)],
            })
            .collect();
        let mut rounds: Vec<Vec<usize>> = vec![vec![]];
        let mut loops = dims.len();
        for axis in (0..dims.len()).filter(|&axis| by_axis[axis].len() == 1) {
            let more = by_axis[axis][0].loops.len() - 1;
            if loops + more > plan::MAX_RANK {
                rounds.push(vec![]);
                loops = dims.len();
            }
            loops += more;
            rounds.last_mut().expect("it begins with one").push(axis);
        }
        // What shrinks a tensor goes first, so that the others have less to copy.
        rounds.extend((0..dims.len()).filter(|&axis| by_axis[axis].len() > 1).map(|axis| vec![axis]));
        let copies = |axis: &usize| by_axis[*axis] != [whole(dims[*axis])];
        rounds.retain(|axes| axes.iter().any(copies));
        rounds.sort_by_key(|axes| {
            axes.iter().map(|&axis| output_dims[axis]).product::<usize>()
                > axes.iter().map(|&axis| dims[axis]).product::<usize>()
        });
        let (mut from, last) = (stored.buffer, rounds.len());
        for (index, axes) in rounds.into_iter().enumerate() {
            let mut next = dims.clone();
            axes.iter().for_each(|&axis| next[axis] = output_dims[axis]);
            let to = match index + 1 == last {
                true => self.value_buffer(node.output)?,
                false => self.buffer(&node.name, next.iter().product::<usize>() * usize::from(elem_bytes))?,
            };
            let (input_strides, output_strides) = (stored.order.strides(&dims), stored.order.strides(&next));
            // Of all axes one run, but of the one that has several.
            let several = axes.iter().copied().find(|&axis| by_axis[axis].len() > 1);
            for part in 0..several.map_or(1, |axis| by_axis[axis].len()) {
                let (mut block, mut starts) = (Vec::new(), [0, 0]);
                for &axis in &stored.order.0 {
                    let run = match axes.contains(&axis) {
                        true => by_axis[axis][if several == Some(axis) { part } else { 0 }].clone(),
                        false => whole(dims[axis]),
                    };
                    starts[0] += run.input_start * input_strides[axis];
                    starts[1] += run.output_start * output_strides[axis];
                    let (input, output) = (input_strides[axis], output_strides[axis]);
                    block.extend(run.loops.iter().map(|&(count, i, o)| (count, i * input, o * output)));
                }
                let copy = self.copy(&node.name, from, to, &block, starts, elem_bytes)?;
                self.node_step(node, plan::Op::Copy(copy));
            }
            (from, dims) = (to, next);
        }
        self.store(node.output, from, stored.order);
        Ok(())
    }
}

/// Every element of an axis.
fn whole(dim: usize) -> Run {
    Run { input_start: 0, output_start: 0, loops: vec![(dim, 1, 1)] }
}

/// The fewest runs that were found for a list of indices.
fn runs(indices: &[usize]) -> Vec<Run> {
    let mut best = ascending(indices);
    if let Some(run) = nested(indices).filter(|_| best.len() > 1) {
        return vec![run];
    }
    for period in 2..=8 {
        let found = periodic(indices, period).filter(|found| found.len() < best.len());
        best = found.unwrap_or(best);
    }
    best
}

/// The number of indices at the beginning that have equal distances, none of them backwards.
fn equal_distances(indices: &[usize]) -> usize {
    let step = |pair: &[usize]| pair[1].checked_sub(pair[0]);
    let Some(first) = indices.windows(2).next().and_then(step) else { return indices.len().min(1) };
    1 + indices.windows(2).take_while(|pair| step(pair) == Some(first)).count()
}

fn loop_over(indices: &[usize]) -> (usize, usize) {
    (indices.len(), indices.get(1).map_or(1, |second| second - indices[0]))
}

/// Pieces of equal distances, one after the other.
fn ascending(indices: &[usize]) -> Vec<Run> {
    let (mut runs, mut at) = (Vec::new(), 0);
    while at < indices.len() {
        let piece = &indices[at..at + equal_distances(&indices[at..])];
        let (count, step) = loop_over(piece);
        runs.push(Run { input_start: piece[0], output_start: at, loops: vec![(count, step, 1)] });
        at += piece.len();
    }
    runs
}

/// One piece of equal distances, again and again at equal distances: `0 0 1 1 2 2`, `0 1 2 0 1 2`.
fn nested(indices: &[usize]) -> Option<Run> {
    let length = equal_distances(indices);
    let (piece, rest) = indices.split_at_checked(length)?;
    let distance = rest.first()?.checked_sub(*piece.first()?)?;
    let repeats = indices.len().is_multiple_of(length)
        && (indices.chunks(length).enumerate())
            .all(|(k, chunk)| chunk.iter().zip(piece).all(|(a, b)| *a == b + k * distance));
    let (count, step) = loop_over(piece);
    repeats.then(|| Run {
        input_start: piece[0],
        output_start: 0,
        loops: vec![(indices.len() / length, distance, length), (count, step, 1)],
    })
}

/// Every `period`-th element together: `0 0 1 2 2 3` is `0 2`, `0 2` and `1 3`.
fn periodic(indices: &[usize], period: usize) -> Option<Vec<Run>> {
    if indices.len() < 2 * period {
        return None;
    }
    let run = |start: usize| {
        let every: Vec<usize> = indices[start..].iter().step_by(period).copied().collect();
        let (count, step) = (equal_distances(&every) == every.len()).then(|| loop_over(&every))?;
        Some(Run { input_start: every[0], output_start: start, loops: vec![(count, step, period)] })
    };
    (0..period).map(run).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(runs: &[Run], count: usize) -> Vec<usize> {
        let mut indices = vec![usize::MAX; count];
        for run in runs {
            let mut places = vec![(run.input_start, run.output_start)];
            for &(count, input, output) in &run.loops {
                let walk = |(i, o): (usize, usize)| (0..count).map(move |k| (i + k * input, o + k * output));
                places = places.into_iter().flat_map(walk).collect();
            }
            for (from, to) in places {
                assert_eq!(indices[to], usize::MAX, "written twice");
                indices[to] = from;
            }
        }
        indices
    }

    #[test]
    fn runs_take_every_index_once_and_are_few() {
        let lists: &[(&[usize], usize)] = &[
            (&[4], 1),
            (&[0, 1, 2, 3], 1),
            (&[1, 3, 5], 1),
            (&[0, 0, 0], 1),
            (&[0, 0, 1, 1, 2, 2], 1),
            (&[0, 1, 2, 0, 1, 2], 1),
            (&[2, 1, 0, 1, 2, 3, 2, 1], 5),
            (&[1, 0, 1, 2, 3, 2], 4),
            (&[0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7], 3),
            (&[3, 2, 1, 0], 4),
            (&[0, 1, 3], 2),
        ];
        for (indices, count) in lists {
            let runs = runs(indices);
            assert_eq!(taken(&runs, indices.len()), *indices);
            assert!(runs.len() <= *count, "{indices:?}: {} runs", runs.len());
        }
    }
}
