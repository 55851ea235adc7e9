//! Operations of int16 activations. They are symmetric: int16 has no zero point.

use serde::{Deserialize, Serialize};

use super::{Elems, PoolF32, Span, Stored, Window};

/// Channels of a panel of weights.
pub const I16_PANEL: u32 = 16;

/// Convolution of int16 over `[N, H, W, C]`. Where `groups == in_channels == out_channels > 1` (depthwise) the
/// weights are `[kh, kw, C]`, else `[groups][panels][kh][pairs][16][2]`: a panel has [`I16_PANEL`] output
/// channels of a group, zeros beyond the last, and a kernel row's `kw * in_channels / groups` terms are taken two
/// at a time, with a zero after the last where they are odd.
///
/// `store(f32(sum) * multiplier[n] + bias[n] + f32(residual) * scale)`
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvI16 {
    /// int16 in the arena.
    pub input: Span,
    /// In the arena, of the type that `stored` says.
    pub output: Span,
    /// The geometry.
    pub window: Window,
    /// Groups.
    pub groups: u32,
    /// Bytes of a weight: 1 or 2.
    pub weight_bytes: u8,
    /// Integer constants.
    pub weights: Span,
    /// f32 constants, `[out_channels]`, finite and positive.
    pub multiplier: Span,
    /// f32 constants, `[out_channels]`, finite.
    pub bias: Span,
    /// What is added to the result.
    pub residual: Option<ResidualI16>,
    /// What the result becomes.
    pub stored: Stored,
}

/// An int16 tensor of the output's dimensions, which does not overlap it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResidualI16 {
    /// In the arena.
    pub span: Span,
    /// Finite and positive.
    pub scale: f32,
}

/// A pooling of int16: that of the same numbers in f32, then `quantize(y * multiplier)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolI16 {
    /// Everything as of f32, but that input and output are int16.
    pub pool: PoolF32,
    /// Input scale / output scale: finite and positive.
    pub multiplier: f32,
    /// The least and the greatest result.
    pub bounds: [i16; 2],
}

impl Stored {
    /// Bytes of an element.
    pub const fn bytes(&self) -> u32 {
        match self {
            Self::F32 => 4,
            Self::I8 { .. } => 1,
            Self::I16 { .. } => 2,
        }
    }
}

impl Elems {
    /// Bytes of an element.
    pub const fn bytes(&self) -> u32 {
        match self {
            Self::F32 => 4,
            Self::I8(_) => 1,
            Self::I16 { .. } => 2,
        }
    }
}
