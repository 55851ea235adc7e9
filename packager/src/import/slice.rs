//! Slice and Gather by constants: elements at equal distances along an axis.

use super::reshape::axis;
use super::{Context, Importer};
use crate::error::Result;
use crate::graph::Op;

/// What is taken along one axis.
#[derive(Clone, Copy)]
struct Taken {
    start: usize,
    step: usize,
    count: usize,
}

pub(super) fn slice(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let dims = importer.graph.dims(input).to_vec();
    let attributes = context.attributes();
    // Inputs since opset 10, attributes before.
    let mut list = |index: usize, name: &str| match attributes.ints(name) {
        Some(values) => Ok(Some(values.to_vec())),
        None => importer.integers(context, index),
    };
    let (starts, ends) = (list(1, "starts")?.unwrap_or_default(), list(2, "ends")?.unwrap_or_default());
    let axes = list(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = list(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(context.invalid(format!(
            "{} starts, {} ends, {} axes and {} steps",
            starts.len(),
            ends.len(),
            axes.len(),
            steps.len()
        )));
    }
    let mut taken: Vec<Taken> = dims.iter().map(|&count| Taken { start: 0, step: 1, count }).collect();
    for (i, &of) in axes.iter().enumerate() {
        let of = axis(context, of, dims.len())?;
        if steps[i] < 1 {
            return Err(context.unsupported(
                &format!("walks axis {of} by steps of {}", steps[i]),
                "edgepack takes slices forwards only",
            ));
        }
        let size = dims[of] as i64;
        let position = |at: i64| (if at < 0 { at.saturating_add(size) } else { at }).clamp(0, size);
        let (start, end) = (position(starts[i]), position(ends[i]));
        let count = (end - start).max(0) as u64;
        if count == 0 {
            return Err(context.invalid(format!("it takes nothing of axis {of}")));
        }
        taken[of] = Taken {
            start: start as usize,
            step: (steps[i] as u64).min(size as u64) as usize,
            count: count.div_ceil(steps[i] as u64) as usize,
        };
    }
    push(importer, context, &taken)
}

pub(super) fn gather(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let dims = importer.graph.dims(input).to_vec();
    let along = axis(context, context.attributes().int("axis", 0), dims.len())?;
    let indices = importer.integers(context, 1)?.unwrap_or_default();
    let size = dims[along] as i64;
    let from_front: Vec<i64> = indices.iter().map(|&i| if i < 0 { i + size } else { i }).collect();
    if from_front.is_empty() || from_front.iter().any(|i| !(0..size).contains(i)) {
        return Err(context.invalid(format!("its indices are {indices:?}, of {size} along axis {along}")));
    }
    let step = from_front.get(1).map_or(1, |second| second - from_front[0]);
    if step < 1 || from_front.windows(2).any(|pair| pair[1] - pair[0] != step) {
        return Err(context.unsupported(
            &format!("takes the indices {indices:?}"),
            "edgepack takes one index, or ascending ones at equal distances",
        ));
    }
    let mut taken: Vec<Taken> = dims.iter().map(|&count| Taken { start: 0, step: 1, count }).collect();
    taken[along] = Taken { start: from_front[0] as usize, step: step as usize, count: from_front.len() };
    push(importer, context, &taken)
}

/// The elements, in the shape that tract found: Gather by a scalar drops its axis.
fn push(importer: &mut Importer, context: &Context<'_>, taken: &[Taken]) -> Result<()> {
    let input = importer.input(context, 0)?;
    let op = Op::Slice {
        starts: taken.iter().map(|axis| axis.start).collect(),
        steps: taken.iter().map(|axis| axis.step).collect(),
    };
    let dims: Vec<usize> = taken.iter().map(|axis| axis.count).collect();
    let shape = importer.output_dims(context)?;
    let name = &context.node.output[0];
    if shape.iter().product::<usize>() != dims.iter().product::<usize>() {
        return Err(context.invalid(format!("it takes {dims:?}, but its output has the shape {shape:?}")));
    }
    if shape == dims {
        return importer.push(context, op, vec![input]);
    }
    let part = importer.push_part(context, op, vec![input], &format!("{name} (taken)"), dims);
    importer.push(context, Op::Reshape, vec![part])
}
