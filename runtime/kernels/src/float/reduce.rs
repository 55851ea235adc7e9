//! Pooling, reductions and layer normalization in f32.

use super::math::{canonical, sqrt};
use super::product::PANEL;
use crate::requantize::OutputRange;

type Lanes = [f32; PANEL];

/// What a window becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolOp {
    /// The largest value; minus infinity where the window is outside.
    Max,
    /// The smallest value; infinity where the window is outside.
    Min,
    /// The sum.
    Sum,
    /// The sum over the number of positions.
    Average {
        /// Whether the positions of the padding (not those beyond it) count.
        count_include_pad: bool,
    },
}

/// A pooling in f32; reductions are such, too.
pub type PoolArgs = crate::pool::PoolArgs<PoolOp>;

/// One axis of a window.
struct Axis {
    input: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    pads: [usize; 2],
}

impl Axis {
    /// The position in the input of position `k` of a window, if it is inside.
    #[inline(always)]
    fn inside(&self, output: usize, k: usize) -> Option<usize> {
        let position = (output * self.stride + k * self.dilation).checked_sub(self.pads[0])?;
        (position < self.input).then_some(position)
    }

    /// Positions of a window that an average counts.
    #[inline(always)]
    fn counted(&self, output: usize, count_include_pad: bool) -> usize {
        let padded = self.pads[0] + self.input + self.pads[1];
        let counts = |k: &usize| {
            if count_include_pad {
                output * self.stride + k * self.dilation < padded
            } else {
                self.inside(output, *k).is_some()
            }
        };
        (0..self.kernel).filter(counts).count()
    }
}

#[inline(always)]
fn axes(args: &PoolArgs) -> [Axis; 2] {
    let vertical = Axis {
        input: args.in_h,
        kernel: args.kernel_h,
        stride: args.stride_h,
        dilation: args.dilation_h,
        pads: args.pad_h,
    };
    let horizontal = Axis {
        input: args.in_w,
        kernel: args.kernel_w,
        stride: args.stride_w,
        dilation: args.dilation_w,
        pads: args.pad_w,
    };
    [vertical, horizontal]
}

/// Each output is one chain over the window's rows and columns, in this order.
#[inline(always)]
pub fn pool(args: &PoolArgs, input: &[f32], output: &mut [f32]) {
    pool_of(args, input, output, canonical);
}

/// The same of int16, whose values count as f32: results are multiplied and rounded.
pub fn pool_s16(args: &PoolArgs, (multiplier, to): (f32, OutputRange), input: &[i16], output: &mut [i16]) {
    pool_of(args, input, output, |y| to.quantize16(y * multiplier));
}

#[inline(always)]
fn pool_of<T: Copy + Into<f32>>(args: &PoolArgs, input: &[T], output: &mut [T], result: impl Fn(f32) -> T) {
    let PoolArgs { in_h, in_w, out_h, out_w, channels, .. } = *args;
    let [vertical, horizontal] = axes(args);
    for (pixel, output) in output.chunks_exact_mut(channels).enumerate() {
        let (line, ox) = (pixel / out_w, pixel % out_w);
        let (image, oy) = (line / out_h, line % out_h);
        for (first, output) in (0..channels).step_by(PANEL).zip(output.chunks_mut(PANEL)) {
            let mut held: Lanes = [match args.op {
                PoolOp::Max => f32::NEG_INFINITY,
                PoolOp::Min => f32::INFINITY,
                PoolOp::Sum | PoolOp::Average { .. } => 0.0,
            }; PANEL];
            let held = &mut held[..output.len()];
            for ky in 0..args.kernel_h {
                let Some(y) = vertical.inside(oy, ky) else { continue };
                for kx in 0..args.kernel_w {
                    let Some(x) = horizontal.inside(ox, kx) else { continue };
                    let at = ((image * in_h + y) * in_w + x) * channels + first;
                    let row = &input[at..at + held.len()];
                    let pairs = held.iter_mut().zip(row.iter().map(|&x| -> f32 { x.into() }));
                    match args.op {
                        PoolOp::Max => pairs.for_each(|(held, x)| *held = if *held < x { x } else { *held }),
                        PoolOp::Min => pairs.for_each(|(held, x)| *held = if *held > x { x } else { *held }),
                        PoolOp::Sum | PoolOp::Average { .. } => pairs.for_each(|(held, x)| *held += x),
                    }
                }
            }
            if let PoolOp::Average { count_include_pad } = args.op {
                let count =
                    vertical.counted(oy, count_include_pad) * horizontal.counted(ox, count_include_pad);
                let count = count.max(1) as f32;
                held.iter_mut().for_each(|held| *held /= count);
            }
            output.iter_mut().zip(held).for_each(|(y, held)| *y = result(*held));
        }
    }
}

/// Everything about a layer normalization but the data.
#[derive(Clone, Copy, Debug)]
pub struct LayerNormArgs<'a> {
    /// `[channels]`: at least 1.
    pub gamma: &'a [f32],
    /// `[channels]`.
    pub beta: &'a [f32],
    /// What is added to the variance.
    pub epsilon: f32,
}

/// `(x - mean) / sqrt(variance + epsilon) * gamma + beta` over rows of contiguous channels.
///
/// ```text
/// mean = sum(x) / n    v = sum((x - mean) * (x - mean)) / n    r = 1 / sqrt(v + epsilon)
/// y    = ((x - mean) * r) * gamma[c] + beta[c]
/// ```
/// A sum is made in 16 parts: part j adds up values j, j + 16, … from the first on, and the parts are added
/// up from part 0 on, each sum beginning with 0.
#[inline(always)]
pub fn layer_norm(args: &LayerNormArgs<'_>, input: &[f32], output: &mut [f32]) {
    let channels = args.gamma.len();
    let n = channels as f32;
    for (x, y) in input.chunks_exact(channels).zip(output.chunks_exact_mut(channels)) {
        let mean = sum(x, |x| x) / n;
        let variance = sum(x, |x| (x - mean) * (x - mean)) / n;
        let r = 1.0 / sqrt(variance + args.epsilon);
        for (((y, &x), &gamma), &beta) in y.iter_mut().zip(x).zip(args.gamma).zip(args.beta) {
            *y = canonical((x - mean) * r * gamma + beta);
        }
    }
}

#[inline(always)]
fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut parts: Lanes = [0.0; PANEL];
    let (whole, rest) = values.as_chunks::<PANEL>();
    for values in whole {
        for (part, &x) in parts.iter_mut().zip(values) {
            *part += of(x);
        }
    }
    for (part, &x) in parts.iter_mut().zip(rest) {
        *part += of(x);
    }
    parts.iter().fold(0.0, |sum, part| sum + part)
}
