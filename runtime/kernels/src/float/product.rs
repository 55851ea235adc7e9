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
/// One value of each channel of a panel.
pub(super) type Lanes = [f32; PANEL];

/// Terms between two looks at where the input is.
const DEPTH: usize = 128;
static ZEROS: [f32; DEPTH] = [0.0; DEPTH];

/// Elements of the input that stay in a cache while all panels pass over them.
const CACHED: usize = 1 << 14;

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

/// Computes the output pixels of `range`, counted over the batch: `output` has these. The sums of P pixels and Q
/// panels are in registers at a time; all panels pass over a block of pixels before the next is begun.
#[inline(always)]
pub fn conv<const P: usize, const Q: usize>(args: &ConvArgs<'_>, range: Range<usize>, output: &mut [f32]) {
    let shape = &args.shape;
    if shape.is_depthwise() {
        return super::depthwise::depthwise(args, range, output);
    }
    let k = shape.group_in_channels();
    let (weights, _) = args.weights.as_chunks::<PANEL>();
    let terms = shape.taps() * k;
    let of_group = shape.group_out_channels().div_ceil(PANEL);
    let Range { start: first, end: last } = args.panels;
    let Some(final_panel) = last.checked_sub(1) else { return };
    let channels = panel_channels(shape, first).start..panel_channels(shape, final_panel).end;
    let block = (CACHED / k).clamp(P, 64 * P).next_multiple_of(P);
    let mut start = range.start;
    while start < range.end {
        // The last block is not shorter than a tile, unless the whole range is.
        let end = if range.end - start < block + P { range.end } else { start + block };
        let output = &mut output[(start - range.start) * shape.out_channels..];
        let mut panel = first;
        while panel < last {
            let weights = &weights[(panel - first) * terms..];
            if panel + Q <= last && panel % of_group + Q <= of_group {
                Tile::<Q>::new(args, panel, weights).all::<P>(start..end, output);
                panel += Q;
            } else {
                Tile::<1>::new(args, panel, weights).all::<P>(start..end, output);
                panel += 1;
            }
        }
        let output = &mut output[..(end - start) * shape.out_channels];
        if channels.len() == shape.out_channels {
            clamp(output, args.bounds);
        } else {
            for pixel in output.chunks_exact_mut(shape.out_channels) {
                clamp(&mut pixel[channels.clone()], args.bounds);
            }
        }
        start = end;
    }
}

/// Some panels' channels of a few pixels.
struct Tile<'a, const Q: usize> {
    args: &'a ConvArgs<'a>,
    /// The panels'.
    weights: [&'a [Lanes]; Q],
    bias: [Lanes; Q],
    /// Of the output.
    channels: Range<usize>,
    /// The first input channel of the group.
    first_input: usize,
}

impl<'a, const Q: usize> Tile<'a, Q> {
    /// Panels of one group from `panel` on, where `weights` begin.
    #[inline(always)]
    fn new(args: &'a ConvArgs<'a>, panel: usize, weights: &'a [Lanes]) -> Self {
        let shape = &args.shape;
        let (k, n) = (shape.group_in_channels(), shape.group_out_channels());
        let terms = shape.taps() * k;
        let channels = panel_channels(shape, panel).start..panel_channels(shape, panel + Q - 1).end;
        let first_input = channels.start / n * k;
        let weights = core::array::from_fn(|q| &weights[q * terms..][..terms]);
        let bias = lanes::<Q>(&args.bias[channels.clone()]);
        Self { args, weights, bias, channels, first_input }
    }

    /// All pixels of a range, which begins where `output` does.
    #[inline(always)]
    fn all<const P: usize>(&self, pixels: Range<usize>, output: &mut [f32]) {
        let shape = &self.args.shape;
        let mut next = place(shape, pixels.start);
        let mut at = pixels.start;
        if pixels.len() < P {
            while at < pixels.end {
                self.run::<1>(at, &mut next, &mut output[(at - pixels.start) * shape.out_channels..]);
                at += 1;
            }
            return;
        }
        while at < pixels.end {
            // The last tile may compute some pixels once more.
            if at + P > pixels.end {
                at = pixels.end - P;
                next = place(shape, at);
            }
            self.run::<P>(at, &mut next, &mut output[(at - pixels.start) * shape.out_channels..]);
            at += P;
        }
    }

    /// P pixels from `pixel` on, which is at `next`, and where `output` begins.
    #[inline(always)]
    fn run<const P: usize>(&self, pixel: usize, next: &mut [usize; 3], output: &mut [f32]) {
        let mut sums = [self.bias; P];
        if is_pointwise(&self.args.shape) {
            let (channels, k) = (self.args.shape.in_channels, self.args.shape.group_in_channels());
            let first = &self.args.input[pixel * channels + self.first_input..];
            accumulate(&mut sums, core::array::from_fn(|p| &first[p * channels..][..k]), self.weights);
        } else {
            let mut places = [[0; 3]; P];
            for place in &mut places {
                *place = *next;
                advance(&self.args.shape, next);
            }
            self.taps(&mut sums, &places);
        }
        for (sums, output) in sums.iter().zip(output.chunks_mut(self.args.shape.out_channels)) {
            store(sums, &mut output[self.channels.clone()]);
        }
    }

    /// Adds what all taps of some pixels read.
    #[inline(always)]
    fn taps<const P: usize>(&self, sums: &mut [[Lanes; Q]; P], places: &[[usize; 3]; P]) {
        let (shape, k) = (&self.args.shape, self.args.shape.group_in_channels());
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
                accumulate(sums, rows, self.weights.map(|weights| &weights[tap * k..][..width * k]));
            }
        }
    }
}

/// Whether an output pixel reads the input pixel of its own number, and no other.
#[inline(always)]
fn is_pointwise(shape: &ConvShape) -> bool {
    let unpadded = (shape.pad_top, shape.pad_left) == (0, 0) && (shape.stride_h, shape.stride_w) == (1, 1);
    shape.taps() == 1 && unpadded && (shape.in_h, shape.in_w) == (shape.out_h, shape.out_w)
}

/// Image, row and column of an output pixel.
#[inline(always)]
pub(super) fn place(shape: &ConvShape, pixel: usize) -> [usize; 3] {
    let line = pixel / shape.out_w;
    [line / shape.out_h, line % shape.out_h, pixel % shape.out_w]
}

/// The place of the next pixel.
#[inline(always)]
fn advance(shape: &ConvShape, [image, oy, ox]: &mut [usize; 3]) {
    *ox += 1;
    if *ox == shape.out_w {
        (*ox, *oy) = (0, *oy + 1);
        if *oy == shape.out_h {
            (*oy, *image) = (0, *image + 1);
        }
    }
}

/// The input pixel, counted over the batch, that a tap reads; `None` in the padding.
#[inline(always)]
fn input_pixel(shape: &ConvShape, [image, oy, ox]: [usize; 3], [ky, kx]: [usize; 2]) -> Option<usize> {
    let (y, x) = (shape.input_row(oy, ky)?, shape.input_column(ox, kx)?);
    Some((image * shape.in_h + y) * shape.in_w + x)
}

/// Sums become results. A pass of its own over what is in a cache: vectors are then as wide as they can be, which
/// those of a few sums in registers are not. What is not a number stays so.
#[inline(always)]
pub(super) fn clamp(values: &mut [f32], [min, max]: [f32; 2]) {
    for value in values {
        let x = if *value < min { min } else { *value };
        *value = canonical(if x > max { max } else { x });
    }
}

/// The values of a slice, zeros after them.
#[inline(always)]
pub(super) fn lanes<const Q: usize>(from: &[f32]) -> [Lanes; Q] {
    let mut lanes = [[0.0; PANEL]; Q];
    lanes.as_flattened_mut()[..from.len()].copy_from_slice(from);
    lanes
}

/// Stores the sums of as many channels as `output` has: at most all.
#[inline(always)]
pub(super) fn store<const Q: usize>(sums: &[Lanes; Q], output: &mut [f32]) {
    let sums = sums.as_flattened();
    if output.len() == Q * PANEL {
        // A number that the compiler knows.
        output.copy_from_slice(&sums[..Q * PANEL]);
    } else {
        output.copy_from_slice(&sums[..output.len()]);
    }
}

/// Adds the products of rows with weights, term after term. An empty row is one of zeros.
#[inline(always)]
fn accumulate<const P: usize, const Q: usize>(
    sums: &mut [[Lanes; Q]; P],
    rows: [&[f32]; P],
    weights: [&[Lanes]; Q],
) {
    let terms = weights[0].len();
    for start in (0..terms).step_by(DEPTH) {
        let count = (terms - start).min(DEPTH);
        let rows = rows.map(|row| if row.is_empty() { &ZEROS[..count] } else { &row[start..start + count] });
        let weights = weights.map(|weights| &weights[start..start + count]);
        let mut held = *sums;
        for i in 0..count {
            let w = weights.map(|weights| weights[i]);
            for (held, row) in held.iter_mut().zip(&rows) {
                let x = row[i];
                for (sums, w) in held.iter_mut().zip(&w) {
                    for (sum, &w) in sums.iter_mut().zip(w) {
                        *sum += x * w;
                    }
                }
            }
        }
        *sums = held;
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
/// rows of the left, P at a time.
#[inline(always)]
pub fn mat_mul<const P: usize>(args: &mut MatMulArgs<'_>) {
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
                pack(&args.rhs[start..], shape.rhs_strides[3], count, lanes);
            }
            let columns = Columns { shape: &shape, lhs: &args.lhs[left..], panel, count };
            let output = &mut args.output[out + first..];
            let mut m = 0;
            while m < shape.m {
                if shape.m < P {
                    columns.rows::<1>(m, output);
                    m += 1;
                } else {
                    // The last rows may be computed once more.
                    columns.rows::<P>(m.min(shape.m - P), output);
                    m += P;
                }
            }
        }
        for m in 0..shape.m {
            for value in &mut args.output[out + m * shape.output_strides[2]..][..shape.n] {
                *value = canonical(*value);
            }
        }
    }
}

/// A row of a panel: so many values of a distance, zeros after them.
#[inline(always)]
fn pack(from: &[f32], stride: usize, count: usize, lanes: &mut Lanes) {
    if stride == 1 {
        *lanes = lanes_of(&from[..count]);
    } else {
        *lanes = [0.0; PANEL];
        for (n, lane) in lanes[..count].iter_mut().enumerate() {
            *lane = from[n * stride];
        }
    }
}

#[inline(always)]
fn lanes_of(from: &[f32]) -> Lanes {
    let [lanes] = lanes::<1>(from);
    lanes
}

/// A panel of columns of a product.
struct Columns<'a> {
    shape: &'a MatMulShape,
    lhs: &'a [f32],
    panel: &'a [Lanes],
    count: usize,
}

impl Columns<'_> {
    /// P rows from `m` on; `output` begins with the first column of the first row.
    #[inline(always)]
    fn rows<const P: usize>(&self, m: usize, output: &mut [f32]) {
        let shape = self.shape;
        let mut sums = [[[0.0; PANEL]]; P];
        let rows = core::array::from_fn(|p| &self.lhs[(m + p) * shape.lhs_strides[2]..][..shape.k]);
        accumulate(&mut sums, rows, [self.panel]);
        for (p, sums) in sums.iter().enumerate() {
            store(sums, &mut output[(m + p) * shape.output_strides[2]..][..self.count]);
        }
    }
}
