//! Pooling, reductions and layer normalization in f32.

use super::math::{canonical, sqrt};
use super::product::PANEL;

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

/// Geometry of a pooling over `[N, H, W, C]`: reductions are such, too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoolArgs {
    /// The operation.
    pub op: PoolOp,
    /// N, H, W, C of the input.
    pub input_dims: [usize; 4],
    /// N, H, W, C of the output.
    pub output_dims: [usize; 4],
    /// Window height and width.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Vertical and horizontal dilation.
    pub dilation: [usize; 2],
    /// Padding above, left, below, right.
    pub pads: [usize; 4],
}

impl PoolArgs {
    /// The position in the input of position `k` of a window along an axis, if it is inside.
    #[inline(always)]
    fn inside(&self, axis: usize, output: usize, k: usize) -> Option<usize> {
        let position = (output * self.stride[axis] + k * self.dilation[axis]).checked_sub(self.pads[axis])?;
        (position < self.input_dims[1 + axis]).then_some(position)
    }

    /// Positions of a window along an axis that an average counts.
    #[inline(always)]
    fn counted(&self, axis: usize, output: usize, count_include_pad: bool) -> usize {
        let padded = self.pads[axis] + self.input_dims[1 + axis] + self.pads[2 + axis];
        let counts = |k: &usize| {
            if count_include_pad {
                output * self.stride[axis] + k * self.dilation[axis] < padded
            } else {
                self.inside(axis, output, *k).is_some()
            }
        };
        (0..self.kernel[axis]).filter(counts).count()
    }
}

/// Each output is one chain over the window's rows and columns, in this order.
#[inline(always)]
pub fn pool(args: &PoolArgs, input: &[f32], output: &mut [f32]) {
    let [_, out_h, out_w, channels] = args.output_dims;
    let [_, in_h, in_w, _] = args.input_dims;
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
            for ky in 0..args.kernel[0] {
                let Some(y) = args.inside(0, oy, ky) else { continue };
                for kx in 0..args.kernel[1] {
                    let Some(x) = args.inside(1, ox, kx) else { continue };
                    let at = ((image * in_h + y) * in_w + x) * channels + first;
                    let row = &input[at..at + held.len()];
                    let pairs = held.iter_mut().zip(row);
                    match args.op {
                        PoolOp::Max => pairs.for_each(|(held, &x)| *held = if *held < x { x } else { *held }),
                        PoolOp::Min => pairs.for_each(|(held, &x)| *held = if *held > x { x } else { *held }),
                        PoolOp::Sum | PoolOp::Average { .. } => pairs.for_each(|(held, &x)| *held += x),
                    }
                }
            }
            if let PoolOp::Average { count_include_pad } = args.op {
                let count = args.counted(0, oy, count_include_pad) * args.counted(1, ox, count_include_pad);
                let count = count.max(1) as f32;
                held.iter_mut().for_each(|held| *held /= count);
            }
            output.iter_mut().zip(held).for_each(|(y, held)| *y = canonical(*held));
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
