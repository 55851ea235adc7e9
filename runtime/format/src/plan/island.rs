//! Parts of a model for which there are no steps of edgepack's own.

use serde::{Deserialize, Serialize};

use super::{Dims, ElemType, Span};

/// A part of the model that tract runs, in f32 and whatever other types the model has there: its results are not
/// the same bits on every processor, and it allocates. Its tensors are packed into two spans, as
/// [`crate::Island`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Island {
    /// Which of the package's island sections describes it.
    pub section: u32,
    /// In the arena: all that it reads; of 0 bytes where that is nothing.
    pub input: Span,
    /// In the arena: all that it gives. Does not overlap `input`.
    pub output: Span,
    /// Multiply-adds of its products, as tract counts them.
    pub macs: u64,
}

/// A tensor that an island reads or gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IslandTensor {
    /// The type of its elements; int8 are integers.
    pub dtype: ElemType,
    /// Its shape.
    pub dims: Dims,
}

impl IslandTensor {
    /// Number of bytes; `None` where the shape is none, or has too many elements.
    pub fn bytes(&self) -> Option<u32> {
        let unused = self.dims.sizes.get(self.dims.rank as usize..)?;
        let elems = self.dims.elems().filter(|&elems| elems > 0 && unused.iter().all(|&size| size == 1))?;
        elems.checked_mul(self.dtype.bytes()).filter(|&bytes| bytes <= i32::MAX as u32)
    }
}
