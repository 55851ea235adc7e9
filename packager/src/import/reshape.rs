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
    let dims = importer.graph.dims(input).to_vec();
    let rank = dims.len();
    let attributes = context.attributes();
    // In opset 1 it is called `paddings`.
    let pads = match attributes.ints("pads").or(attributes.ints("paddings")) {
        Some(pads) => pads.to_vec(),
        None => importer.integers(context, 1)?.unwrap_or_default(),
    };
    let axes = match importer.integers(context, 3)? {
        Some(axes) => axes.iter().map(|&a| axis(context, a, rank)).collect::<Result<Vec<_>>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(context.invalid(format!("{} pads for {} axes", pads.len(), axes.len())));
    }
    let mut both = vec![[0; 2]; rank];
    for (i, &axis) in axes.iter().enumerate() {
        both[axis] = [pads[i], pads[axes.len() + i]];
    }
    if both.iter().zip(&dims).any(|(pads, &dim)| dim as i64 + pads[0].min(0) + pads[1].min(0) < 1) {
        return Err(context.unsupported(
            &format!("cuts off everything of an axis (pads {pads:?} of {dims:?})"),
            "leave something of each axis",
        ));
    }
    let result = match attributes.string("mode", "constant") {
        "constant" => {
            let value = match importer.optional_constant(context, 2)? {
                Some(value) => value.data.first().copied().unwrap_or(0.0),
                None => attributes.float("value", 0.0),
            };
            pad_with(importer, context, input, &both, value)
        }
        mode @ ("reflect" | "edge" | "wrap") => {
            let indices = (both.iter().zip(&dims))
                .map(|(pads, &dim)| around(mode, *pads, dim))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| {
                    context.unsupported(
                        &format!("pads by {pads:?} in mode `{mode}`, more than {dims:?} has"),
                        "pad by less than the size of each axis",
                    )
                })?;
            importer.take_part(context, "padded", input, indices)
        }
        mode => return Err(context.invalid(format!("its mode `{mode}` is none of ONNX"))),
    };
    importer.result(context, 0, result)
}

/// Negative pads cut off, and the others add a border.
fn pad_with(
    importer: &mut Importer,
    context: &Context<'_>,
    input: ValueId,
    pads: &[[i64; 2]],
    value: f32,
) -> ValueId {
    let mut dims = importer.graph.dims(input).to_vec();
    let mut input = input;
    if pads.iter().flatten().any(|&pad| pad < 0) {
        let starts = pads.iter().map(|pads| pads[0].min(0).unsigned_abs() as usize).collect();
        for (dim, pads) in dims.iter_mut().zip(pads) {
            *dim -= (pads[0].min(0) + pads[1].min(0)).unsigned_abs() as usize;
        }
        let op = Op::Slice { starts, steps: vec![1; dims.len()] };
        input = importer.part(context, "cut", op, vec![input], dims.clone());
    }
    let pads: Vec<[usize; 2]> = pads.iter().map(|pads| pads.map(|pad| pad.max(0) as usize)).collect();
    dims.iter_mut().zip(&pads).for_each(|(dim, pads)| *dim += pads[0] + pads[1]);
    importer.part(context, "padded", Op::Pad { pads, value }, vec![input], dims)
}

/// The indices of an axis with a border of its own elements; `None` where nothing changes.
#[expect(clippy::option_option, reason = "an axis that is left as it is, and one that cannot be padded so")]
fn around(mode: &str, [before, after]: [i64; 2], dim: usize) -> Option<Option<Vec<usize>>> {
    let size = dim as i64;
    if [before, after] == [0, 0] {
        return Some(None);
    }
    let index = |at: i64| match mode {
        "edge" => at.clamp(0, size - 1),
        "wrap" => at.rem_euclid(size),
        // Without the element at the edge itself.
        _ if size == 1 => 0,
        _ => {
            let at = at.rem_euclid(2 * size - 2);
            at.min(2 * size - 2 - at)
        }
    };
    let indices: Vec<usize> = (-before..size + after).map(|at| index(at) as usize).collect();
    (!indices.is_empty()).then_some(Some(indices))
}

/// Expand, to the shape that tract found: axes of one element are repeated.
pub(super) fn expand(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let shape = importer.output_dims(context)?;
    let dims = importer.graph.dims(input);
    let mut lead = vec![1; shape.len().saturating_sub(dims.len())];
    lead.extend(dims);
    let indices =
        (lead.iter().zip(&shape)).map(|(&dim, &size)| (dim != size).then(|| vec![0; size])).collect();
    let input = importer.reshape_part(context, "of its rank", input, lead);
    let result = importer.take_part(context, "expanded", input, indices);
    importer.result(context, 0, result)
}

pub(super) fn tile(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let dims = importer.graph.dims(input).to_vec();
    let repeats = importer.integers(context, 1)?.unwrap_or_default();
    if repeats.len() != dims.len() || repeats.iter().any(|&count| count < 1) {
        return Err(context.unsupported(
            &format!("repeats {dims:?} by {repeats:?}"),
            "edgepack repeats each axis once or more: give one count for each",
        ));
    }
    let indices = (dims.iter().zip(&repeats))
        .map(|(&dim, &count)| (count > 1).then(|| (0..dim * count as usize).map(|i| i % dim).collect()))
        .collect();
    let result = importer.take_part(context, "tiled", input, indices);
    importer.result(context, 0, result)
}

/// `[N, C, H, W]` of blocks of channels: each block becomes pixels.
pub(super) fn depth_to_space(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let (input, [n, c, h, w], block) = blocks(importer, context)?;
    if c % (block * block) != 0 {
        return Err(context.invalid(format!("{c} channels in blocks of {block} by {block}")));
    }
    let left = c / (block * block);
    let (split, perm) = match context.attributes().string("mode", "DCR") {
        "DCR" => ([n, block, block, left, h, w], vec![0, 3, 4, 1, 5, 2]),
        _ => ([n, left, block, block, h, w], vec![0, 1, 4, 2, 5, 3]),
    };
    let split = importer.reshape_part(context, "blocks", input, split.to_vec());
    let moved = importer.transpose_part(context, "moved", split, perm);
    let result = importer.reshape_part(context, "pixels", moved, vec![n, left, h * block, w * block]);
    importer.result(context, 0, result)
}

pub(super) fn space_to_depth(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let (input, [n, c, h, w], block) = blocks(importer, context)?;
    if h % block != 0 || w % block != 0 {
        return Err(context.invalid(format!("{h} by {w} pixels in blocks of {block}")));
    }
    let split = vec![n, c, h / block, block, w / block, block];
    let split = importer.reshape_part(context, "blocks", input, split);
    let moved = importer.transpose_part(context, "moved", split, vec![0, 3, 5, 1, 2, 4]);
    let dims = vec![n, c * block * block, h / block, w / block];
    let result = importer.reshape_part(context, "channels", moved, dims);
    importer.result(context, 0, result)
}

fn blocks(importer: &mut Importer, context: &Context<'_>) -> Result<(ValueId, [usize; 4], usize)> {
    let input = importer.input(context, 0)?;
    let block = context.attributes().int("blocksize", 0);
    match (importer.graph.dims(input), block) {
        (&[n, c, h, w], 1..) => Ok((input, [n, c, h, w], block as usize)),
        (dims, _) => Err(context.invalid(format!("blocks of {block} in a tensor of {dims:?}"))),
    }
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
