//! Operations that move elements without changing them.

use super::{Context, Importer};
use crate::error::Result;
use crate::graph::{Op, ValueId};

pub(super) fn reshape(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    importer.push(context, Op::Reshape, vec![input])
}

pub(super) fn transpose(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let rank = importer.graph.dims(input).len();
    let perm = match context.attributes().ints("perm") {
        Some(perm) => perm.iter().map(|&axis| axis as usize).collect(),
        None => (0..rank).rev().collect::<Vec<_>>(),
    };
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if sorted != (0..rank).collect::<Vec<_>>() {
        return Err(context.invalid(format!("perm {perm:?} is no permutation of {rank} axes")));
    }
    importer.push(context, Op::Transpose { perm }, vec![input])
}

pub(super) fn concat(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let count = context.node.input.len();
    let inputs = (0..count).map(|i| importer.input(context, i)).collect::<Result<Vec<ValueId>>>()?;
    if count == 1 {
        importer.alias(context, inputs[0]);
        return Ok(());
    }
    let axis = axis(context, context.attributes().int("axis", 1), importer.graph.dims(inputs[0]).len())?;
    importer.push(context, Op::Concat { axis }, inputs)
}

pub(super) fn pad(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let rank = importer.graph.dims(input).len();
    let attributes = context.attributes();
    let mode = attributes.string("mode", "constant");
    if mode != "constant" {
        return Err(context.unsupported(
            &format!("pads in mode `{mode}`"),
            "edgepack pads with a constant: train or export the model with zero padding",
        ));
    }
    let pads = match attributes.ints("pads") {
        Some(pads) => pads.to_vec(),
        None => importer.integers(context, 1)?.unwrap_or_default(),
    };
    let value = match importer.optional_constant(context, 2)? {
        Some(value) => value.data.first().copied().unwrap_or(0.0),
        None => attributes.float("value", 0.0),
    };
    let axes = match importer.integers(context, 3)? {
        Some(axes) => axes.iter().map(|&a| axis(context, a, rank)).collect::<Result<Vec<_>>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(context.invalid(format!("{} pads for {} axes", pads.len(), axes.len())));
    }
    if pads.iter().any(|&pad| pad < 0) {
        return Err(context.unsupported("has negative pads", "crop with a convolution or pooling instead"));
    }
    let mut both = vec![[0; 2]; rank];
    for (i, &axis) in axes.iter().enumerate() {
        both[axis] = [pads[i] as usize, pads[axes.len() + i] as usize];
    }
    importer.push(context, Op::Pad { pads: both, value }, vec![input])
}

pub(super) fn reduce_mean(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let dims = importer.graph.dims(input).to_vec();
    let attributes = context.attributes();
    let given = match attributes.ints("axes") {
        Some(axes) => Some(axes.to_vec()),
        None => importer.integers(context, 1)?,
    };
    let mut axes = match given {
        Some(axes) if !axes.is_empty() => {
            axes.iter().map(|&a| axis(context, a, dims.len())).collect::<Result<Vec<_>>>()?
        }
        _ if attributes.int("noop_with_empty_axes", 0) != 0 => {
            importer.alias(context, input);
            return Ok(());
        }
        _ => (0..dims.len()).collect(),
    };
    axes.sort_unstable();
    let (first, count) = (axes[0], axes.len());
    if axes.iter().enumerate().any(|(i, &axis)| axis != first + i) {
        return Err(context.unsupported(
            &format!("reduces the axes {axes:?}, which are not adjacent"),
            "edgepack takes means over adjacent axes, such as H and W",
        ));
    }
    importer.push(context, Op::ReduceMean { first, count }, vec![input])
}

pub(super) fn softmax(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let dims = importer.graph.dims(input).to_vec();
    let default = if context.opset < 13 { 1 } else { -1 };
    let axis = axis(context, context.attributes().int("axis", default), dims.len())?;
    // Before opset 13 softmax ran over all axes from `axis` on, flattened.
    if context.opset < 13 && dims[axis + 1..].iter().any(|&size| size != 1) {
        let flat = vec![dims[..axis].iter().product(), dims[axis..].iter().product()];
        let name = context.node.output[0].as_str();
        let (rows, sums) = (format!("{name} (flattened)"), format!("{name} (of rows)"));
        let input = importer.push_part(context, Op::Reshape, vec![input], &rows, flat.clone());
        let output = importer.push_part(context, Op::Softmax { axis: 1 }, vec![input], &sums, flat);
        return importer.push(context, Op::Reshape, vec![output]);
    }
    importer.push(context, Op::Softmax { axis }, vec![input])
}

/// An axis counted from the front.
pub(super) fn axis(context: &Context<'_>, axis: i64, rank: usize) -> Result<usize> {
    let from_front = if axis < 0 { axis + rank as i64 } else { axis };
    if (0..rank as i64).contains(&from_front) {
        Ok(from_front as usize)
    } else {
        Err(context.invalid(format!("axis {axis} of a tensor with {rank} axes")))
    }
}
