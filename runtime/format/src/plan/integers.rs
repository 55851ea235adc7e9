//! Operations on integers. Inside a plan an integer is an f32 number: every integer of a magnitude up to 2²⁴
//! is one, and the packager proves that no plan needs others ([`super::Input::limits`]).

use serde::{Deserialize, Serialize};

use super::{ElemType, Operand, Span};

/// Element by element, one type to another: exactly one of the two is f32, the other int32, int64 or bool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Convert {
    /// In the arena.
    pub input: Span,
    /// The type of what is read. An integer becomes the nearest f32 number, a truth value 0 or 1.
    pub from: ElemType,
    /// In the arena; overlaps no input.
    pub output: Span,
    /// The type of what is written. A number is cut towards 0 and to the range of an integer; as a truth value
    /// it is 1 but for 0. NaN is 0 as an integer, and 1 as a truth value.
    pub to: ElemType,
}

/// `output[o, i] = data[o, indices[i]]`: rows of bytes. An index is cut to an integer; one below 0 counts from
/// behind; one that is still outside is taken for the nearest that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gather {
    /// `[outer, rows]` rows, in the arena or constant.
    pub data: Operand,
    /// f32 in the arena.
    pub indices: Span,
    /// In the arena: `[outer, number of indices]` rows; overlaps nothing that is read.
    pub output: Span,
    /// Tensors that rows are taken from, one after the other.
    pub outer: u32,
    /// Rows of each.
    pub rows: u32,
    /// Bytes of a row.
    pub row_bytes: u32,
}

/// `output = data`, then `output[indices[i]] = updates[i]` from the first to the last: rows of bytes. Indices
/// as of [`Gather`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scatter {
    /// In the arena.
    pub data: Span,
    /// f32 in the arena.
    pub indices: Span,
    /// In the arena: a row for each index.
    pub updates: Span,
    /// In the arena, of the size of `data`; overlaps nothing that is read.
    pub output: Span,
    /// Rows.
    pub rows: u32,
    /// Bytes of a row.
    pub row_bytes: u32,
}

/// Of `[outer, size, inner]` values: where along the middle axis the k greatest (or least) are, the first of
/// them first. NaN counts as less than every number (or as greater).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopK {
    /// In the arena.
    pub input: Span,
    /// int8 or f32.
    pub dtype: ElemType,
    /// In the arena: f32 `[outer, k, inner]`; overlaps no input.
    pub output: Span,
    /// outer, size, inner.
    pub dims: [u32; 3],
    /// At most size.
    pub k: u32,
    /// The greatest, not the least.
    pub largest: bool,
    /// Of equal values the last one comes first, not the first one.
    pub last: bool,
}

/// Of the boxes of a detector, for each class: those of the greatest scores that overlap no better one too much
/// (greedy non-maximum suppression; Neubeck & Van Gool, "Efficient Non-Maximum Suppression", 2006). The result has
/// a row for every box that could be selected; behind those that are, rows of -1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NonMaxSuppression {
    /// In the arena: f32 `[batch, boxes, 4]`.
    pub boxes: Span,
    /// In the arena: f32 `[batch, classes, boxes]`.
    pub scores: Span,
    /// In the arena: f32 `[batch * classes * most, 3]`, each row batch, class and box; overlaps no input.
    pub output: Span,
    /// batch, classes, boxes.
    pub dims: [u32; 3],
    /// Of a class at most so many are selected: from 1 to boxes.
    pub most: u32,
    /// Boxes whose intersection over union exceeds it overlap too much. From 0 to 1.
    pub iou_threshold: f32,
    /// Scores must exceed it. No NaN.
    pub score_threshold: f32,
    /// Boxes are centre x, centre y, width, height, not two corners y, x, y, x.
    pub centers: bool,
}
