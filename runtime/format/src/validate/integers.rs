//! What must be true of operations on integers.

use super::{Bounds, Check, overlap, require};
use crate::plan::{Convert, ElemType};

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
