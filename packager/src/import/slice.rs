//! Slice, Split and Gather by constants: elements at equal distances along an axis, or at any.

use super::reshape::axis;
use super::{Context, Importer, indices};
use crate::error::Result;
use crate::evaluate::{Strided, strides};
use crate::graph::{Op, ValueId};

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
    let mut backwards: Vec<Option<Vec<usize>>> = vec![None; dims.len()];
    for (i, &of) in axes.iter().enumerate() {
        let of = axis(context, of, dims.len())?;
        let size = dims[of] as i64;
        if steps[i] == 0 {
            return Err(context.invalid(format!("walks axis {of} by steps of 0")));
        }
        if steps[i] < 0 {
            backwards[of] = Some(walk_back(starts[i], ends[i], steps[i], size));
            continue;
        }
        let position = |at: i64| (if at < 0 { at.saturating_add(size) } else { at }).clamp(0, size);
        let (start, end) = (position(starts[i]), position(ends[i]));
        let count = (end - start).max(0) as u64;
        if count == 0 {
            return Err(nothing(context, of));
        }
        taken[of] = Taken {
            start: start as usize,
            step: (steps[i] as u64).min(size as u64) as usize,
            count: count.div_ceil(steps[i] as u64) as usize,
        };
    }
    if let Some(of) = backwards.iter().position(|indices| indices.as_ref().is_some_and(Vec::is_empty)) {
        return Err(nothing(context, of));
    }
    let input = importer.take_part(context, "backwards", input, backwards);
    if importer.graph.dims(input).iter().zip(&taken).all(|(&dim, taken)| dim == taken.count) {
        return importer.result(context, 0, input);
    }
    for (&dim, taken) in importer.graph.dims(input).iter().zip(&mut taken) {
        taken.count = taken.count.min(dim);
    }
    push(importer, context, input, &taken)
}

fn nothing(context: &Context<'_>, axis: usize) -> crate::error::PackError {
    let remedy = "a tensor without elements computes nothing: cut the model before it";
    context.unsupported(&format!("takes nothing of axis {axis}"), remedy)
}

/// The indices of a slice with a negative step.
fn walk_back(start: i64, end: i64, step: i64, size: i64) -> Vec<usize> {
    let from_front = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
    let (mut at, end) = (from_front(start).min(size - 1), from_front(end).max(-1));
    let mut indices = Vec::new();
    while at > end && at >= 0 {
        indices.push(at as usize);
        at = at.saturating_add(step);
    }
    indices
}

/// One slice for each output.
pub(super) fn split(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let dims = importer.graph.dims(input).to_vec();
    let along = axis(context, context.attributes().int("axis", 0), dims.len())?;
    let parts = context.node.output.len();
    let sizes = match context.attributes().ints("split") {
        Some(sizes) => Some(sizes.to_vec()),
        None => importer.integers(context, 1)?,
    };
    // Without sizes they are equal, but for the last.
    let equal = dims[along].div_ceil(parts);
    let rest = |part: usize| dims[along].saturating_sub(part * equal).min(equal) as i64;
    let sizes = sizes.unwrap_or_else(|| (0..parts).map(rest).collect());
    if sizes.len() != parts || sizes.iter().sum::<i64>() != dims[along] as i64 {
        return Err(context.invalid(format!("parts of {sizes:?} of {} along axis {along}", dims[along])));
    }
    if sizes.iter().any(|&size| size < 1) {
        return Err(nothing(context, along));
    }
    let mut start = 0;
    for (index, &size) in sizes.iter().enumerate() {
        let (mut starts, mut part) = (vec![0; dims.len()], dims.clone());
        (starts[along], part[along]) = (start, size as usize);
        let op = Op::Slice { starts, steps: vec![1; dims.len()] };
        let part = importer.part(context, &format!("part {index}"), op, vec![input], part);
        importer.result(context, index, part)?;
        start += size as usize;
    }
    Ok(())
}

pub(super) fn gather(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    if importer.facts.i64_constant(context.input_name(1)?).is_none() {
        return indices::gather(importer, context);
    }
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
        let mut indices = vec![None; dims.len()];
        indices[along] = Some(from_front.iter().map(|&index| index as usize).collect());
        let taken = importer.take_part(context, "taken", input, indices);
        let shape = importer.output_dims(context)?;
        let result = importer.reshape_part(context, "in shape", taken, shape);
        return importer.result(context, 0, result);
    }
    let mut taken: Vec<Taken> = dims.iter().map(|&count| Taken { start: 0, step: 1, count }).collect();
    taken[along] = Taken { start: from_front[0] as usize, step: step as usize, count: from_front.len() };
    push(importer, context, input, &taken)
}

/// `output[i, j] = data[indices[i, j], j]` along axis 0, and likewise along others.
pub(super) fn gather_elements(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    if importer.facts.i64_constant(context.input_name(1)?).is_none() {
        return indices::gather_elements(importer, context);
    }
    let (input, indices) = (importer.input(context, 0)?, importer.constant(context, 1)?);
    let dims = importer.graph.dims(input).to_vec();
    let along = axis(context, context.attributes().int("axis", 0), dims.len())?;
    if indices.dims.len() != dims.len() {
        return Err(context.invalid(format!("indices of shape {:?} for {dims:?}", indices.dims)));
    }
    let mut own = strides(&dims);
    let step = std::mem::replace(&mut own[along], 0);
    let places = Strided::new(&indices.dims, &own).zip(indices.data.iter());
    let place = |(at, &index): (usize, &f32)| at + from_front(index, dims[along]) * step;
    let places = places.map(place).collect();
    flat(importer, context, input, places, indices.dims.clone())
}

/// `output[i] = data[indices[i, 0], indices[i, 1], ..]`.
pub(super) fn gather_nd(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let is_constant = importer.facts.i64_constant(context.input_name(1)?).is_some();
    if !is_constant || context.attributes().int("batch_dims", 0) != 0 {
        return indices::gather_nd(importer, context);
    }
    let (input, indices) = (importer.input(context, 0)?, importer.constant(context, 1)?);
    let dims = importer.graph.dims(input).to_vec();
    let depth = indices.dims.last().copied().unwrap_or(0);
    if depth == 0 || depth > dims.len() {
        return Err(context.invalid(format!("indices of shape {:?} for {dims:?}", indices.dims)));
    }
    let own = strides(&dims);
    let block: usize = dims[depth..].iter().product();
    let start = |index: &[f32]| -> usize {
        index.iter().enumerate().map(|(axis, &i)| from_front(i, dims[axis]) * own[axis]).sum()
    };
    let places = indices.data.chunks_exact(depth).flat_map(|index| {
        let start = start(index);
        start..start + block
    });
    let mut shape = indices.dims[..indices.dims.len() - 1].to_vec();
    shape.extend(&dims[depth..]);
    flat(importer, context, input, places.collect(), shape)
}

fn from_front(index: f32, size: usize) -> usize {
    let index = index as i64;
    (if index < 0 { index + size as i64 } else { index }).max(0) as usize
}

/// The elements at these places of the tensor's elements in order.
fn flat(
    importer: &mut Importer,
    context: &Context<'_>,
    input: ValueId,
    places: Vec<usize>,
    shape: Vec<usize>,
) -> Result<()> {
    let elems = importer.graph.dims(input).iter().product();
    if places.is_empty() || places.iter().any(|&place| place >= elems) {
        return Err(context.invalid(format!("its indices reach beyond {:?}", importer.graph.dims(input))));
    }
    let input = importer.reshape_part(context, "in a row", input, vec![elems]);
    let taken = importer.take_part(context, "taken", input, vec![Some(places)]);
    let result = importer.reshape_part(context, "in shape", taken, shape);
    importer.result(context, 0, result)
}

/// The elements, in the shape that tract found: Gather by a scalar drops its axis.
fn push(importer: &mut Importer, context: &Context<'_>, input: ValueId, taken: &[Taken]) -> Result<()> {
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
