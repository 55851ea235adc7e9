//! Convolution, fully connected layers and products of two tensors in f32.
//!
//! ```text
//! y[n] = clamp(((bias[n] + x[0] * w[0, n]) + x[1] * w[1, n]) + …)     over ky, kx, c in this order
//! ```
//! Each output is one chain of a multiplication and an addition a term, every one rounded; vectors run over
//! output channels, so that the bits are those of this formula on every processor. Outside the image x is 0,
//! and is multiplied all the same.
//!
//! Weights lie in panels of [`PANEL`] channels, `[groups][panels][kh * kw * c / groups][PANEL]`, zeros beyond
//! the last channel; those of depthwise convolutions as `[kh * kw][C]`.

use core::ops::Range;

use super::math::canonical;
use super::weights::panel_channels;
use crate::conv::ConvShape;
use crate::conv::matmul::MatMulShape;

/// Channels of a panel of weights.
pub const PANEL: usize = 16;
type Lanes = [f32; PANEL];

/// Pixels that share a panel's weights while these are in registers.
const TILE: usize = 4;

/// Terms between two looks at where the input is.
const DEPTH: usize = 64;
static ZEROS: [f32; DEPTH] = [0.0; DEPTH];

/// Everything about a run but the output.
#[derive(Clone, Debug)]
pub struct ConvArgs<'a> {
    /// Geometry.
    pub shape: ConvShape,
    /// `[N, H, W, C]`.
    pub input: &'a [f32],
    /// Those of the panels: of all of them [`weight_elems`].
    pub weights: &'a [f32],
    /// The panels whose channels are computed, counted over the groups; depthwise convolutions have one.
    pub panels: Range<usize>,
    /// `[out_channels]`.
    pub bias: &'a [f32],
    /// The results' least and largest; infinite where there is none.
    pub bounds: [f32; 2],
}

/// Elements of the weights of a convolution as they lie in panels.
pub fn weight_elems(shape: &ConvShape) -> usize {
    let terms = shape.taps() * shape.group_in_channels();
    if shape.is_depthwise() {
        terms * shape.out_channels
    } else {
        shape.groups * shape.group_out_channels().div_ceil(PANEL) * terms * PANEL
    }
}

/// Computes the output pixels of `range`, counted over the batch: `output` has these.
#[inline(always)]
pub fn conv(args: &ConvArgs<'_>, range: Range<usize>, output: &mut [f32]) {
    if args.shape.is_depthwise() {
        return depthwise(args, range, output);
    }
    let shape = &args.shape;
    let k = shape.group_in_channels();
    let (weights, _) = args.weights.as_chunks::<PANEL>();
    for (panel, weights) in args.panels.clone().zip(weights.chunks_exact(shape.taps() * k)) {
        let channels = panel_channels(shape, panel);
        let first_input = channels.start / shape.group_out_channels() * k;
        let tile = Tile { args, weights, channels, first_input };
        let mut at = range.start;
        while at + TILE <= range.end {
            tile.run::<TILE>(at, &mut output[(at - range.start) * shape.out_channels..]);
            at += TILE;
        }
        while at < range.end {
            tile.run::<1>(at, &mut output[(at - range.start) * shape.out_channels..]);
            at += 1;
        }
    }
}

/// A panel's channels of a few pixels.
struct Tile<'a> {
    args: &'a ConvArgs<'a>,
    /// The panel's.
    weights: &'a [Lanes],
    /// Of the output.
    channels: Range<usize>,
    /// The first input channel of the group.
    first_input: usize,
}

impl Tile<'_> {
    /// P pixels from `pixel` on, where `output` begins.
    #[inline(always)]
    fn run<const P: usize>(&self, pixel: usize, output: &mut [f32]) {
        let (shape, k) = (&self.args.shape, self.args.shape.group_in_channels());
        let bias = padded(&self.args.bias[self.channels.clone()]);
        let mut sums = [bias; P];
        let places: [[usize; 3]; P] = core::array::from_fn(|p| place(shape, pixel + p));
        // Taps beside each other read what lies in a row, where none of them is in the padding.
        let first_column = |ox: usize| (ox * shape.stride_w).checked_sub(shape.pad_left);
        let in_a_row = shape.groups == 1
            && shape.dilation_w == 1
            && (places.iter())
                .all(|&[.., ox]| first_column(ox).is_some_and(|first| first + shape.kernel_w <= shape.in_w));
        let (steps, width) = if in_a_row { (1, shape.kernel_w) } else { (shape.kernel_w, 1) };
        for ky in 0..shape.kernel_h {
            for kx in 0..steps {
                let rows: [&[f32]; P] = core::array::from_fn(|p| {
                    input_pixel(shape, places[p], [ky, kx]).map_or(&[][..], |at| {
                        &self.args.input[at * shape.in_channels + self.first_input..][..width * k]
                    })
                });
                let tap = ky * shape.kernel_w + kx;
                accumulate(&mut sums, rows, &self.weights[tap * k..][..width * k]);
            }
        }
        let [min, max] = self.args.bounds;
        for (sums, output) in sums.iter().zip(output.chunks_mut(shape.out_channels)) {
            let output = &mut output[self.channels.clone()];
            for (y, &sum) in output.iter_mut().zip(sums) {
                *y = clamp(sum, min, max);
            }
        }
    }
}

/// Image, row and column of an output pixel.
#[inline(always)]
fn place(shape: &ConvShape, pixel: usize) -> [usize; 3] {
    let line = pixel / shape.out_w;
    [line / shape.out_h, line % shape.out_h, pixel % shape.out_w]
}

/// The input pixel, counted over the batch, that a tap reads; `None` in the padding.
#[inline(always)]
fn input_pixel(shape: &ConvShape, [image, oy, ox]: [usize; 3], [ky, kx]: [usize; 2]) -> Option<usize> {
    let (y, x) = (shape.input_row(oy, ky)?, shape.input_column(ox, kx)?);
    Some((image * shape.in_h + y) * shape.in_w + x)
}

/// What is not a number stays so.
#[inline(always)]
fn clamp(x: f32, min: f32, max: f32) -> f32 {
    let x = if x < min { min } else { x };
    canonical(if x > max { max } else { x })
}

/// The values of a slice, zeros after them.
#[inline(always)]
fn padded(from: &[f32]) -> Lanes {
    from.first_chunk().copied().unwrap_or_else(|| {
        let mut lanes = [0.0; PANEL];
        lanes[..from.len()].copy_from_slice(from);
        lanes
    })
}

/// Adds the products of rows with weights, term after term. An empty row is one of zeros.
#[inline(always)]
fn accumulate<const P: usize>(sums: &mut [Lanes; P], rows: [&[f32]; P], weights: &[Lanes]) {
    for (chunk, weights) in weights.chunks(DEPTH).enumerate() {
        let (start, count) = (chunk * DEPTH, weights.len());
        let rows = rows.map(|row| if row.is_empty() { &ZEROS[..count] } else { &row[start..start + count] });
        let mut held = *sums;
        for (i, w) in weights.iter().enumerate() {
            for (held, row) in held.iter_mut().zip(&rows) {
                let x = row[i];
                for (sum, &w) in held.iter_mut().zip(w) {
                    *sum += x * w;
                }
            }
        }
        *sums = held;
    }
}

#[inline(always)]
fn depthwise(args: &ConvArgs<'_>, range: Range<usize>, output: &mut [f32]) {
    let shape = &args.shape;
    let channels = shape.out_channels;
    let [min, max] = args.bounds;
    for (pixel, output) in range.zip(output.chunks_exact_mut(channels)) {
        let place = place(shape, pixel);
        for first in (0..channels).step_by(PANEL) {
            let end = (first + PANEL).min(channels);
            let mut sums = padded(&args.bias[first..end]);
            for ky in 0..shape.kernel_h {
                for kx in 0..shape.kernel_w {
                    let row = input_pixel(shape, place, [ky, kx]).map_or(&ZEROS[..end - first], |at| {
                        &args.input[at * channels + first..][..end - first]
                    });
                    let w = &args.weights[(ky * shape.kernel_w + kx) * channels..][first..end];
                    let (x, w) = (padded(row), padded(w));
                    for ((sum, x), w) in sums.iter_mut().zip(x).zip(w) {
                        *sum += x * w;
                    }
                }
            }
            for (y, &sum) in output[first..end].iter_mut().zip(&sums) {
                *y = clamp(sum, min, max);
            }
        }
    }
}

/// A product of two tensors; without bias and bounds.
#[derive(Debug)]
pub struct MatMulArgs<'a> {
    /// Sizes and strides.
    pub shape: MatMulShape,
    /// Left operand.
    pub lhs: &'a [f32],
    /// Right operand.
    pub rhs: &'a [f32],
    /// The product.
    pub output: &'a mut [f32],
    /// [`scratch_elems`] of them.
    pub scratch: &'a mut [f32],
}

/// Elements of scratch memory that a product needs: one panel of the right operand.
pub fn scratch_elems(shape: &MatMulShape) -> usize {
    shape.k * PANEL
}

/// For each of two batch dimensions: each panel of the right operand is packed, and multiplied with all
/// rows of the left.
#[inline(always)]
pub fn mat_mul(args: &mut MatMulArgs<'_>) {
    let shape = args.shape;
    let (panel, _) = args.scratch.as_chunks_mut::<PANEL>();
    let panel = &mut panel[..shape.k];
    for batch in 0..shape.batch[0] * shape.batch[1] {
        let (i, j) = (batch / shape.batch[1], batch % shape.batch[1]);
        let [left, right, out] = [
            i * shape.lhs_strides[0] + j * shape.lhs_strides[1],
            i * shape.rhs_strides[0] + j * shape.rhs_strides[1],
            i * shape.output_strides[0] + j * shape.output_strides[1],
        ];
        for first in (0..shape.n).step_by(PANEL) {
            let count = (shape.n - first).min(PANEL);
            for (k, lanes) in panel.iter_mut().enumerate() {
                let start = right + k * shape.rhs_strides[2] + first * shape.rhs_strides[3];
                *lanes = [0.0; PANEL];
                for (n, lane) in lanes[..count].iter_mut().enumerate() {
                    *lane = args.rhs[start + n * shape.rhs_strides[3]];
                }
            }
            let mut rows = |from: usize, many: bool| {
                let row = |m: usize| &args.lhs[left + m * shape.lhs_strides[2]..][..shape.k];
                let mut store = |m: usize, sums: &Lanes| {
                    let start = out + m * shape.output_strides[2] + first;
                    args.output[start..start + count].copy_from_slice(&sums.map(canonical)[..count]);
                };
                if many {
                    let mut sums = [[0.0; PANEL]; TILE];
                    accumulate(&mut sums, core::array::from_fn(|p| row(from + p)), panel);
                    sums.iter().enumerate().for_each(|(p, sums)| store(from + p, sums));
                } else {
                    let mut sums = [[0.0; PANEL]];
                    accumulate(&mut sums, [row(from)], panel);
                    store(from, &sums[0]);
                }
            };
            let whole = shape.m / TILE * TILE;
            (0..whole).step_by(TILE).for_each(|m| rows(m, true));
            (whole..shape.m).for_each(|m| rows(m, false));
        }
    }
}
