//! What operations of any element type have in common: sizes, windows, distances.

use serde::{Deserialize, Serialize};

/// A window that slides over `[N, H, W, C]`, of a convolution or a pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// N, H, W, C of the input.
    pub input_dims: [u32; 4],
    /// N, H, W, C of the output.
    pub output_dims: [u32; 4],
    /// Height and width of the window.
    pub kernel: [u32; 2],
    /// Vertical and horizontal stride.
    pub stride: [u32; 2],
    /// Vertical and horizontal dilation.
    pub dilation: [u32; 2],
    /// Padding above and to the left. What lies below and to the right follows from the dimensions.
    pub pad: [u32; 2],
}

impl Window {
    /// Whether every channel is a group of its own in a convolution of so many groups, which has weights of another
    /// order then.
    pub(crate) const fn is_depthwise(&self, groups: u32) -> bool {
        groups > 1 && self.input_dims[3] == groups && self.output_dims[3] == groups
    }
}

/// A product of two tensors, for each of two batch dimensions. Strides are in elements; the columns of the left
/// operand and of the output are contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatMulGeometry {
    /// Batch dimensions.
    pub batch: [u32; 2],
    /// M, K, N.
    pub sizes: [u32; 3],
    /// Distances in the left operand: batch dimensions (0 where it is broadcast), rows.
    pub lhs_strides: [u32; 3],
    /// Distances in the right operand: batch dimensions (0 where it is broadcast), rows, columns.
    pub rhs_strides: [u32; 4],
    /// Distances in the output: those of a contiguous tensor, whose dimensions but the last may lie in
    /// any order.
    pub output_strides: [u32; 3],
}
