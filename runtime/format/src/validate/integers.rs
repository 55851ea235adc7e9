//! What must be true of operations on integers.

use super::{Bounds, Check, overlap, product, require};
use crate::plan::{Convert, ElemType, Gather, Operand, Scatter, TopK};

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
fn indices(span: crate::plan::Span, bounds: &Bounds<'_>) -> Result<u32, &'static str> {
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
