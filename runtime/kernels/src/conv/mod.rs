//! Convolution, depthwise convolution and fully connected layers (a convolution of 1×1 over one
//! row of pixels): one table of rows, a pure selection, packing, and the safe way to run a row.
//!
//! The result, for output pixel `(oy, ox)` and channel `n` of group `g`:
//! ```text
//! acc = bias[n] + sum over (ky, kx, c) of weights[n, ky, kx, c] * x[oy*sh + ky*dh - top, ox*sw + kx*dw - left, g, c]
//! y   = requantize(acc, multiplier[n])          or, for an f32 output,  acc as f32 * multiplier[n]
//!       requantize_sum(acc, multiplier[n], residual[oy, ox, n], residual_multiplier)     where there is a residual
//! ```
//! Where the input position is outside, `x` is the input's zero point. `bias` already carries
//! `-zero_point * sum(weights[n])`, so that real zeros contribute nothing.

// First, since others use their macros.
#[cfg(target_arch = "aarch64")]
#[macro_use]
mod aarch64_text;
#[cfg(target_arch = "aarch64")]
#[macro_use]
mod aarch64_quads;

#[cfg(target_arch = "aarch64")]
mod aarch64_depthwise;
#[cfg(target_arch = "aarch64")]
mod aarch64_depthwise_plane;
#[cfg(target_arch = "aarch64")]
mod aarch64_dotprod;
#[cfg(target_arch = "aarch64")]
mod aarch64_dotprod_depthwise;
#[cfg(target_arch = "aarch64")]
mod aarch64_dotprod_stretch;
#[cfg(target_arch = "aarch64")]
mod aarch64_i8mm;
#[cfg(target_arch = "aarch64")]
mod aarch64_neon;
#[cfg(target_arch = "aarch64")]
mod aarch64_neon_winograd;
#[cfg(target_arch = "aarch64")]
mod aarch64_requantize;
#[cfg(all(target_arch = "arm", target_os = "linux"))]
mod armv7_depthwise;
#[cfg(all(target_arch = "arm", target_os = "linux"))]
mod armv7_neon;
#[cfg(all(target_arch = "arm", target_os = "linux"))]
mod armv7_winograd;
mod columns;
#[cfg(test)]
pub(crate) mod conformance;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod depthwise;
/// What the text of a naked function begins with: LLVM reads it before it knows more of the processor than the target's
/// name, which for ARMv8-M does not promise the DSP extension.
#[cfg(all(edgepack_armv8m, edgepack_dsp))]
macro_rules! processor {
    () => {
        ".cpu cortex-m33"
    };
}
#[cfg(all(not(edgepack_armv8m), any(edgepack_dsp, all(test, target_arch = "arm"))))]
macro_rules! processor {
    () => {
        ""
    };
}
#[cfg(any(edgepack_dsp, all(test, target_arch = "arm")))]
mod dsp;
#[cfg(any(edgepack_dsp, all(test, target_arch = "arm")))]
mod dsp_depthwise;
#[cfg(any(edgepack_dsp, all(test, target_arch = "arm")))]
mod dsp_store;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", all(target_arch = "arm", target_os = "linux")))]
mod gemm;
pub mod matmul;
mod pack;
mod patches;
#[cfg(any(target_arch = "aarch64", all(target_arch = "arm", target_os = "linux")))]
mod plane;
#[cfg(target_arch = "x86_64")]
mod quad_depthwise;
pub mod reference;
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "arm", target_os = "linux"),
    edgepack_dsp
))]
mod results;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", all(target_arch = "arm", target_os = "linux")))]
mod rows;
// With the DSP extension its rows are not in the table.
#[cfg_attr(edgepack_dsp, allow(dead_code))]
mod scalar;
mod split;
mod table;
mod unsigned_plane;
// No row without an operating system is of this method.
#[cfg_attr(target_os = "none", allow(dead_code))]
mod winograd;

#[cfg(target_arch = "x86_64")]
mod x86_avx2;
#[cfg(target_arch = "x86_64")]
mod x86_avx2_depthwise;
#[cfg(target_arch = "x86_64")]
mod x86_avx512vnni;
#[cfg(target_arch = "x86_64")]
mod x86_avx512vnni_columns;
#[cfg(target_arch = "x86_64")]
mod x86_avx512vnni_depthwise;
#[cfg(target_arch = "x86_64")]
mod x86_avx512vnni_overlap;
#[cfg(target_arch = "x86_64")]
mod x86_avx512vnni_plane;
#[cfg(target_arch = "x86_64")]
mod x86_avx512vnni_resident;
#[cfg(target_arch = "x86_64")]
mod x86_avx512vnni_winograd;
#[cfg(target_arch = "x86_64")]
mod x86_avxvnni;

pub use table::{DENSE, DEPTHWISE, HAS_LAYOUTS, Row, Table, rows, select, select_within};

use crate::isa::IsaToken;
use crate::requantize::{OutputRange, is_residual_multiplier};

/// Geometry of a convolution over `[N, H, W, C]`. All dimensions, strides and dilations are at
/// least 1; `groups` divides both channel counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// N: images.
    pub batch: usize,
    /// Input height.
    pub in_h: usize,
    /// Input width.
    pub in_w: usize,
    /// Input channels, of all groups.
    pub in_channels: usize,
    /// Output height.
    pub out_h: usize,
    /// Output width.
    pub out_w: usize,
    /// Output channels, of all groups.
    pub out_channels: usize,
    /// Kernel height.
    pub kernel_h: usize,
    /// Kernel width.
    pub kernel_w: usize,
    /// Vertical stride.
    pub stride_h: usize,
    /// Horizontal stride.
    pub stride_w: usize,
    /// Vertical dilation.
    pub dilation_h: usize,
    /// Horizontal dilation.
    pub dilation_w: usize,
    /// Rows of zero point above the input.
    pub pad_top: usize,
    /// Columns of zero point left of the input.
    pub pad_left: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

impl ConvShape {
    /// A fully connected layer of so many rows: 1 × 1 over one line of pixels.
    pub const fn fully_connected(rows: usize, in_channels: usize, out_channels: usize) -> Self {
        Self {
            batch: 1,
            in_h: 1,
            in_w: rows,
            in_channels,
            out_h: 1,
            out_w: rows,
            out_channels,
            kernel_h: 1,
            kernel_w: 1,
            stride_h: 1,
            stride_w: 1,
            dilation_h: 1,
            dilation_w: 1,
            pad_top: 0,
            pad_left: 0,
            groups: 1,
        }
    }

    /// Whether each channel is convolved on its own (one output channel per input channel): these
    /// have weights `[kh, kw, C]` and rows of their own.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.in_channels && self.groups == self.out_channels
    }

    /// Input channels of one group.
    pub fn group_in_channels(&self) -> usize {
        if self.groups == 1 {
            self.in_channels
        } else {
            self.in_channels.checked_div(self.groups).unwrap_or(0)
        }
    }

    /// Output channels of one group.
    pub fn group_out_channels(&self) -> usize {
        if self.groups == 1 {
            self.out_channels
        } else {
            self.out_channels.checked_div(self.groups).unwrap_or(0)
        }
    }

    /// Kernel positions.
    pub fn taps(&self) -> usize {
        self.kernel_h * self.kernel_w
    }

    /// Elements of the input, `[N, H, W, C]`.
    pub fn input_elems(&self) -> usize {
        self.batch * self.in_h * self.in_w * self.in_channels
    }

    /// Elements of the output, `[N, H, W, C]`.
    pub fn output_elems(&self) -> usize {
        self.output_pixels() * self.out_channels
    }

    /// Pixels of the output over the whole batch.
    pub fn output_pixels(&self) -> usize {
        self.batch * self.out_h * self.out_w
    }

    /// Elements of the canonical weights: `[out_channels, kh, kw, in_channels / groups]`, or
    /// `[kh, kw, C]` for a depthwise convolution.
    pub fn weight_elems(&self) -> usize {
        self.out_channels * self.taps() * self.group_in_channels()
    }

    /// Multiply-adds of one run.
    pub fn macs(&self) -> u64 {
        self.output_pixels() as u64 * self.weight_elems() as u64
    }

    /// The input row that kernel row `ky` reads for output row `oy`; `None` in the padding.
    #[inline(always)]
    pub(crate) fn input_row(&self, oy: usize, ky: usize) -> Option<usize> {
        (oy * self.stride_h + ky * self.dilation_h).checked_sub(self.pad_top).filter(|&y| y < self.in_h)
    }

    /// The input column that kernel column `kx` reads for output column `ox`.
    #[inline(always)]
    pub(crate) fn input_column(&self, ox: usize, kx: usize) -> Option<usize> {
        (ox * self.stride_w + kx * self.dilation_w).checked_sub(self.pad_left).filter(|&x| x < self.in_w)
    }
}

/// Canonical weights of a convolution, as they lie in the package.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// int8 in [-127, 127]: `[out_channels, kh, kw, in_channels / groups]`; depthwise `[kh, kw, C]`.
    pub weights: &'a [i8],
    /// `[out_channels]`, at scale `input * weight`, the input's zero point folded in.
    pub bias: &'a [i32],
    /// `[out_channels]`: input scale · weight scale / output scale (the last only for int8 outputs).
    /// Finite and positive.
    pub multiplier: &'a [f32],
}

/// What a row reads its weights from.
#[derive(Clone, Copy, Debug)]
pub enum WeightSource<'a> {
    /// For rows whose [`Row::layout`] is `None`.
    Canonical(Weights<'a>),
    /// What [`Row::pack`] wrote, or a section of that layout in the package. Aligned to 64 bytes.
    Packed(&'a [u8]),
}

/// Where the result goes, `[N, H, W, C]`.
#[derive(Debug)]
pub enum Output<'a> {
    /// Requantized into a range.
    I8(&'a mut [i8], OutputRange),
    /// The accumulator times the multiplier, in f32.
    F32(&'a mut [f32]),
}

/// What is added to the results of a convolution before they are rounded: an int8 tensor of the same shape. Its
/// zero point is in the biases.
#[derive(Clone, Copy, Debug)]
pub struct Residual<'a> {
    /// `[N, H, W, C]`, exactly [`ConvShape::output_elems`]; `None`: what the output holds before.
    pub values: Option<&'a [i8]>,
    /// Its scale / output scale, of which [`is_residual_multiplier`] holds.
    pub multiplier: f32,
}

/// One run of a convolution.
#[derive(Debug)]
pub struct ConvArgs<'a> {
    /// The geometry.
    pub shape: ConvShape,
    /// `[N, H, W, C]`, exactly [`ConvShape::input_elems`].
    pub input: &'a [i8],
    /// What padding is filled with.
    pub input_zero_point: i8,
    /// Canonical or packed, as the row wants.
    pub weights: WeightSource<'a>,
    /// Exactly [`ConvShape::output_elems`].
    pub output: Output<'a>,
    /// What is added to an int8 output; not for depthwise convolutions.
    pub residual: Option<Residual<'a>>,
    /// At least [`Row::scratch_bytes`], aligned to 64 bytes. Contents do not matter.
    pub scratch: &'a mut [u8],
}

/// A row that may be run, since a token has shown that the processor has what it needs.
#[derive(Clone, Copy, Debug)]
pub struct BoundRow {
    row: &'static Row,
    run: table::RunFn,
    /// The shape that runs mostly have, with its sizes: a small layer is computed in hardly more time than these.
    usual: Option<(ConvShape, Sizes)>,
}

/// What a row needs for a shape.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    scratch_bytes: usize,
    packed_bytes: usize,
}

impl Sizes {
    fn of(row: &Row, shape: &ConvShape) -> Self {
        Self { scratch_bytes: row.scratch_bytes(shape), packed_bytes: row.packed_bytes(shape) }
    }
}

/// Why a run was refused. The executor checks the same at load, so it never sees these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgsError {
    /// A slice is not as long as the shape says.
    Length,
    /// Weights are canonical where the row wants packed ones, or the other way round.
    Weights,
    /// A slice is not aligned as documented.
    Alignment,
    /// A residual where there can be none, or with a multiplier that it may not have.
    Residual,
}

impl BoundRow {
    /// Binds `row` if `token` vouches for its extensions and it was compiled for this processor.
    pub fn new(row: &'static Row, token: IsaToken) -> Option<Self> {
        let run = row.run?;
        token.set().contains(row.isa).then_some(Self { row, run, usual: None })
    }

    /// The same, faster where a run has this shape.
    pub fn for_shape(self, shape: &ConvShape) -> Self {
        Self { usual: Some((*shape, Sizes::of(self.row, shape))), ..self }
    }

    /// The row.
    pub fn row(&self) -> &'static Row {
        self.row
    }

    /// Cuts a run into at most `parts.len()` runs of about the same work, which may go on at the same
    /// time: each writes a stretch of the output of its own, the same values as the whole run. Gives how
    /// many there are. The first has the scratch memory of `args`; the others want as much each.
    pub fn split<'a>(&self, args: ConvArgs<'a>, parts: &mut [Option<ConvArgs<'a>>]) -> usize {
        split::split(self.row, args, parts)
    }

    /// Runs the row.
    ///
    /// # Errors
    /// [`ArgsError`] where a slice does not fit `args.shape`; nothing is written then.
    pub fn run(&self, args: &mut ConvArgs<'_>) -> Result<(), ArgsError> {
        let shape = &args.shape;
        let Sizes { scratch_bytes, packed_bytes } = match &self.usual {
            Some((usual, sizes)) if usual == shape => *sizes,
            _ => Sizes::of(self.row, shape),
        };
        let output_elems = match &args.output {
            Output::I8(out, _) => out.len(),
            Output::F32(out) => out.len(),
        };
        if args.input.len() != shape.input_elems()
            || output_elems != shape.output_elems()
            || args.scratch.len() < scratch_bytes
        {
            return Err(ArgsError::Length);
        }
        if let Some(residual) = &args.residual {
            if residual.values.is_some_and(|values| values.len() != output_elems) {
                return Err(ArgsError::Length);
            }
            let is_possible = matches!(args.output, Output::I8(..)) && !self.row.depthwise;
            if !is_possible || !is_residual_multiplier(residual.multiplier) {
                return Err(ArgsError::Residual);
            }
        }
        match (&args.weights, self.row.layout) {
            (WeightSource::Canonical(w), None) => {
                if w.weights.len() != shape.weight_elems()
                    || w.bias.len() != shape.out_channels
                    || w.multiplier.len() != shape.out_channels
                {
                    return Err(ArgsError::Length);
                }
            }
            (WeightSource::Packed(bytes), Some(_)) => {
                if bytes.len() != packed_bytes {
                    return Err(ArgsError::Length);
                }
                if !bytes.as_ptr().addr().is_multiple_of(64) {
                    return Err(ArgsError::Alignment);
                }
            }
            _ => return Err(ArgsError::Weights),
        }
        if scratch_bytes > 0 && !args.scratch.as_ptr().addr().is_multiple_of(64) {
            return Err(ArgsError::Alignment);
        }
        // SAFETY: `new` saw a token for the row's extensions, and every length and alignment that
        // the row's contract asks for has just been checked.
        unsafe { (self.run)(args) };
        Ok(())
    }
}
pub use pack::Layout;
