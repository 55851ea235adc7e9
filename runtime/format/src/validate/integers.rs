//! What must be true of operations on integers.

use super::ops::{TOO_LITTLE_SCRATCH, aligned};
use super::{Bounds, Check, overlap, product, require};
use crate::plan::{Convert, ElemType, Gather, NonMaxSuppression, Operand, Scatter, Span, TopK};

pub(super) fn convert(op: &Convert, bounds: &Bounds<'_>) -> Check {
    let ends = (op.from, op.to);
    let is_one_number = matches!(ends, (ElemType::F32, to) if to.is_integer())
        || matches!(ends, (from, ElemType::F32) if from.is_integer());
    require(is_one_number, "types")?;
    let elems = op.input.bytes / op.from.bytes();
    require(elems > 0, "input")?;
    bounds.arena(op.input, Some(elems), op.from.bytes(), "input")?;
    bounds.arena(op.output, Some(elems), op.to.bytes(), "output")?;
    require(!overlap(op.input, op.output), "output, which overlaps the input")
}

/// The number of f32 indices.
fn indices(span: Span, bounds: &Bounds<'_>) -> Result<u32, &'static str> {
    let count = span.bytes / 4;
    require(count > 0, "indices")?;
    bounds.arena(span, Some(count), 4, "indices")?;
    Ok(count)
}

pub(super) fn gather(op: &Gather, bounds: &Bounds<'_>) -> Check {
    let count = indices(op.indices, bounds)?;
    let data = product(&[op.outer, op.rows, op.row_bytes]);
    require(data.is_some(), "sizes")?;
    bounds.arena(op.output, product(&[op.outer, count, op.row_bytes]), 1, "output")?;
    require(!overlap(op.indices, op.output), "output, which overlaps the indices")?;
    match op.data {
        Operand::Constant(span) => bounds.constant(span, data, 1, "data").map(|_| ()),
        Operand::Arena(span) => {
            bounds.arena(span, data, 1, "data")?;
            require(!overlap(span, op.output), "output, which overlaps the data")
        }
    }
}

pub(super) fn scatter(op: &Scatter, bounds: &Bounds<'_>) -> Check {
    let count = indices(op.indices, bounds)?;
    bounds.arena(op.data, product(&[op.rows, op.row_bytes]), 1, "data")?;
    bounds.arena(op.output, Some(op.data.bytes), 1, "output")?;
    bounds.arena(op.updates, product(&[count, op.row_bytes]), 1, "updates")?;
    let apart = [op.data, op.indices, op.updates].into_iter().all(|span| !overlap(span, op.output));
    require(apart, "output, which overlaps an operand")
}

pub(super) fn top_k(op: &TopK, bounds: &Bounds<'_>) -> Check {
    require(matches!(op.dtype, ElemType::I8 | ElemType::F32), "dtype")?;
    let [outer, size, inner] = op.dims;
    require((1..=size).contains(&op.k) && size <= 1 << 24, "k")?;
    bounds.arena(op.input, product(&op.dims), op.dtype.bytes(), "input")?;
    bounds.arena(op.output, product(&[outer, op.k, inner]), 4, "output")?;
    require(!overlap(op.input, op.output), "output, which overlaps the input")
}

pub(super) fn non_max_suppression(op: &NonMaxSuppression, bounds: &Bounds<'_>, scratch: Span) -> Check {
    let [batch, classes, boxes] = op.dims;
    // Each is an index, and indices are f32.
    require(op.dims.iter().all(|&size| size <= 1 << 24), "dims")?;
    require((1..=boxes).contains(&op.most), "most")?;
    require((0.0..=1.0).contains(&op.iou_threshold), "iou_threshold")?;
    require(!op.score_threshold.is_nan(), "score_threshold")?;
    bounds.arena(op.boxes, product(&[batch, boxes, 4]), 4, "boxes")?;
    bounds.arena(op.scores, product(&op.dims), 4, "scores")?;
    bounds.arena(op.output, product(&[batch, classes, op.most, 3]), 4, "output")?;
    let apart = !overlap(op.boxes, op.output) && !overlap(op.scores, op.output);
    require(apart, "output, which overlaps an input")?;
    let needed = aligned(product(&[boxes, 4]));
    require(needed.is_some_and(|needed| needed <= scratch.bytes), TOO_LITTLE_SCRATCH)
}
