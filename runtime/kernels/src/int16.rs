//! Convolutions of int16 activations with int8 or int16 weights: what int8 costs too much accuracy, at a
//! fraction of the time of f32.
//!
//! ```text
//! acc[n] = sum of x * w over ky, kx, c                            in int32
//! y[n]   = (f32(acc[n]) * multiplier[n] + bias[n]) + f32(r[n]) * scale
//! ```
//! Activations are symmetric: what is outside the image is 0, and contributes nothing. Sums wrap around, as
//! vectors' do, in whatever order they are made; the packager bounds the activations and the weights so that
//! none ever does. `y` is written as an element-wise step's results are. Every operation on f32 is
//! rounded, none contracted, so that the bits are the same on every processor.
//!
//! Weights lie in panels of [`PANEL`] channels and pairs of terms, `[groups][panels][kh][pairs][PANEL][2]`:
//! the terms of a kernel row are its kw * c / groups values, with a zero after them where they are odd, and
//! channels beyond the last are zeros. So a row's values, which lie beside each other in the image, are
//! multiplied two at a time (`vpmaddwd`, `vpdpwssd`). Those of depthwise convolutions lie as `[kh * kw][C]`.

#[cfg(target_arch = "aarch64")]
mod aarch64_neon;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

use core::ops::Range;

use crate::choice::Choice;
use crate::conv::ConvShape;
use crate::float::elementwise::Sink;
use crate::float::math::canonical;
use crate::isa::{IsaSet, IsaToken};

/// Channels of a panel of weights.
pub const PANEL: usize = 16;

/// Terms between two looks at where the input is: a multiple of two.
const DEPTH: usize = 128;
static ZEROS: [i16; DEPTH] = [0; DEPTH];

type Sums = [i32; PANEL];

/// Weights of either size.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    /// int8.
    I8(&'a [i8]),
    /// int16.
    I16(&'a [i16]),
}

/// Everything about a run but the output.
#[derive(Clone, Copy, Debug)]
pub struct ConvArgs<'a> {
    /// Geometry.
    pub shape: ConvShape,
    /// `[N, H, W, C]`.
    pub input: &'a [i16],
    /// [`weight_elems`] of them.
    pub weights: Weights<'a>,
    /// `[out_channels]`.
    pub multiplier: &'a [f32],
    /// `[out_channels]`.
    pub bias: &'a [f32],
    /// What is added, of the whole output's dimensions, and its scale.
    pub residual: Option<(&'a [i16], f32)>,
}

/// Pairs of terms of a kernel row.
fn pairs(shape: &ConvShape) -> usize {
    (shape.kernel_w * shape.group_in_channels()).div_ceil(2)
}

/// Elements of the weights of a convolution as they lie in panels.
pub fn weight_elems(shape: &ConvShape) -> usize {
    if shape.is_depthwise() {
        return shape.taps() * shape.out_channels;
    }
    let panels = shape.groups * shape.group_out_channels().div_ceil(PANEL);
    panels * shape.kernel_h * pairs(shape) * 2 * PANEL
}

/// Where the weight of an output channel for a tap (row and column of the kernel) and a channel of its group
/// lies.
pub fn weight_place(shape: &ConvShape, channel: usize, [ky, kx]: [usize; 2], c: usize) -> usize {
    if shape.is_depthwise() {
        return (ky * shape.kernel_w + kx) * shape.out_channels + channel;
    }
    let n = shape.group_out_channels();
    let panel = channel / n * n.div_ceil(PANEL) + channel % n / PANEL;
    let term = kx * shape.group_in_channels() + c;
    let pair = (panel * shape.kernel_h + ky) * pairs(shape) + term / 2;
    (pair * PANEL + channel % n % PANEL) * 2 + term % 2
}

/// The innermost loop, as an instruction set has it.
trait Dot<W> {
    /// Adds `rows[p][2 j] * weights[j][c][0] + rows[p][2 j + 1] * weights[j][c][1]` to `sums[p][c]`, for each
    /// pair j of `weights`; rows have two terms for each.
    ///
    /// # Safety
    /// The processor has the instruction set; each row has two terms for every pair.
    unsafe fn dot<const P: usize>(sums: &mut [Sums; P], rows: &[&[i16]; P], weights: &[[W; 2 * PANEL]]);
}

struct Portable;

impl<W: Copy + Into<i32>> Dot<W> for Portable {
    #[inline(always)]
    unsafe fn dot<const P: usize>(sums: &mut [Sums; P], rows: &[&[i16]; P], weights: &[[W; 2 * PANEL]]) {
        for (sums, row) in sums.iter_mut().zip(rows) {
            let (pairs, _) = row.as_chunks::<2>();
            for (&[x, y], weights) in pairs.iter().zip(weights) {
                let (taken, _) = weights.as_chunks::<2>();
                for (sum, &[v, w]) in sums.iter_mut().zip(taken) {
                    let (v, w): (i32, i32) = (v.into(), w.into());
                    *sum = sum.wrapping_add(i32::from(x) * v).wrapping_add(i32::from(y) * w);
                }
            }
        }
    }
}

/// Computes the output pixels of `range`, counted over the batch: `sink` has these. TILE pixels share a
/// panel's weights while these are in registers.
///
/// # Safety
/// The processor has what `D` needs.
#[inline(always)]
unsafe fn conv<D: Dot<i8> + Dot<i16>, const TILE: usize>(
    args: &ConvArgs<'_>,
    range: Range<usize>,
    mut sink: Sink<'_>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match args.weights {
            Weights::I8(weights) if args.shape.is_depthwise() => depthwise(args, weights, range, &mut sink),
            Weights::I16(weights) if args.shape.is_depthwise() => depthwise(args, weights, range, &mut sink),
            Weights::I8(weights) => dense::<D, i8, TILE>(args, weights, range, &mut sink),
            Weights::I16(weights) => dense::<D, i16, TILE>(args, weights, range, &mut sink),
        }
    }
}

/// # Safety
/// As [`conv`].
#[inline(always)]
unsafe fn dense<D: Dot<W>, W, const TILE: usize>(
    args: &ConvArgs<'_>,
    weights: &[W],
    range: Range<usize>,
    sink: &mut Sink<'_>,
) {
    let shape = &args.shape;
    let n = shape.group_out_channels();
    let (panels, pairs) = (n.div_ceil(PANEL), pairs(shape));
    let (weights, _) = weights.as_chunks::<{ 2 * PANEL }>();
    let mut buffers = [[0; DEPTH]; TILE];
    for (index, weights) in weights.chunks_exact(shape.kernel_h * pairs).enumerate() {
        let (group, panel) = (index / panels, index % panels);
        let first_input = group * shape.group_in_channels();
        let channel = group * n + panel * PANEL;
        let to = channel..channel + (n - panel * PANEL).min(PANEL);
        let scales = Scales::of(args, &to);
        let tile = Tile { args, weights, pairs, first_input, channels: to, scales };
        let mut at = range.start;
        // SAFETY: the caller's promise.
        unsafe {
            while at + TILE <= range.end {
                tile.run::<D, TILE>(at, range.start, &mut buffers, sink);
                at += TILE;
            }
            while at < range.end {
                tile.run::<D, 1>(at, range.start, &mut buffers, sink);
                at += 1;
            }
        }
    }
}

/// What sums of some channels become.
struct Scales {
    multiplier: [f32; PANEL],
    bias: [f32; PANEL],
}

impl Scales {
    #[inline(always)]
    fn of(args: &ConvArgs<'_>, channels: &Range<usize>) -> Self {
        let [multiplier, bias] = [args.multiplier, args.bias].map(|all| padded(&all[channels.clone()]));
        Self { multiplier, bias }
    }
}

/// A panel's channels of a few pixels.
struct Tile<'a, W> {
    args: &'a ConvArgs<'a>,
    /// The panel's.
    weights: &'a [[W; 2 * PANEL]],
    /// Of a kernel row.
    pairs: usize,
    /// The first input channel of the group.
    first_input: usize,
    channels: Range<usize>,
    scales: Scales,
}

impl<W> Tile<'_, W> {
    /// P pixels from `pixel` on; the sink begins with pixel `first`, and there are P buffers.
    ///
    /// # Safety
    /// As [`conv`].
    #[inline(always)]
    unsafe fn run<D: Dot<W>, const P: usize>(
        &self,
        pixel: usize,
        first: usize,
        buffers: &mut [[i16; DEPTH]],
        sink: &mut Sink<'_>,
    ) {
        let shape = &self.args.shape;
        let mut sums = [[0; PANEL]; P];
        let mut places = [place(shape, pixel); P];
        let mut columns = [self.in_a_row(places[0][2]); P];
        for p in 1..P {
            places[p] = after(shape, places[p - 1]);
            columns[p] = self.in_a_row(places[p][2]);
        }
        for (ky, weights) in self.weights.chunks_exact(self.pairs).enumerate() {
            for (chunk, weights) in weights.chunks(DEPTH / 2).enumerate() {
                let terms = chunk * DEPTH..chunk * DEPTH + 2 * weights.len();
                let mut rows = [&ZEROS[..terms.len()]; P];
                for (p, (row, buffer)) in rows.iter_mut().zip(&mut *buffers).enumerate() {
                    *row = match self.lying(&places[p], columns[p], ky, &terms) {
                        Some(row) => row,
                        None => self.gathered(&places[p], ky, &terms, buffer),
                    };
                }
                // SAFETY: the caller's promise; a row has two terms for each pair.
                unsafe { D::dot(&mut sums, &rows, weights) };
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            store(self.args, &self.scales, sums, [pixel + p, first], &self.channels, sink);
        }
    }

    /// The first column that an output column reads, where its kernel rows lie beside each other in the image.
    #[inline(always)]
    fn in_a_row(&self, ox: usize) -> Option<usize> {
        let shape = &self.args.shape;
        let together = (shape.dilation_w == 1 && shape.groups == 1) || shape.kernel_w == 1;
        let first = (ox * shape.stride_w).checked_sub(shape.pad_left)?;
        (together && first + shape.kernel_w <= shape.in_w).then_some(first)
    }

    /// Some of the terms that a kernel row reads for an output pixel, where they lie in the image. What comes
    /// after an odd number of them is multiplied by 0.
    #[inline(always)]
    fn lying(
        &self,
        &[image, oy, _]: &[usize; 3],
        column: Option<usize>,
        ky: usize,
        terms: &Range<usize>,
    ) -> Option<&[i16]> {
        let shape = &self.args.shape;
        let y = shape.input_row(oy, ky)?;
        let row = ((image * shape.in_h + y) * shape.in_w + column?) * shape.in_channels + self.first_input;
        self.args.input.get(row + terms.start..row + terms.end)
    }

    /// The same, gathered, where some of them are not in the image or not beside each other.
    #[inline(never)]
    fn gathered<'b>(
        &self,
        &[image, oy, ox]: &[usize; 3],
        ky: usize,
        terms: &Range<usize>,
        buffer: &'b mut [i16; DEPTH],
    ) -> &'b [i16] {
        let shape = &self.args.shape;
        let Some(y) = shape.input_row(oy, ky) else { return &ZEROS[..terms.len()] };
        let (k, all) = (shape.group_in_channels(), shape.in_channels);
        let line = &self.args.input[(image * shape.in_h + y) * shape.in_w * all..][..shape.in_w * all];
        let length = shape.kernel_w * k;
        let mut at = terms.start;
        while at < terms.end {
            let (kx, c) = (at / k, at % k);
            let run = (k - c).min(terms.end - at);
            let to = &mut buffer[at - terms.start..][..run];
            match shape.input_column(ox, kx).filter(|_| at < length) {
                Some(x) => to.copy_from_slice(&line[x * all + self.first_input + c..][..run]),
                None => to.fill(0),
            }
            at += run;
        }
        &buffer[..terms.len()]
    }
}

/// Image, row and column of an output pixel.
#[inline(always)]
fn place(shape: &ConvShape, pixel: usize) -> [usize; 3] {
    let line = pixel / shape.out_w;
    [line / shape.out_h, line % shape.out_h, pixel % shape.out_w]
}

/// The place of the next pixel, without a division.
#[inline(always)]
fn after(shape: &ConvShape, [image, oy, ox]: [usize; 3]) -> [usize; 3] {
    if ox + 1 < shape.out_w {
        [image, oy, ox + 1]
    } else if oy + 1 < shape.out_h {
        [image, oy + 1, 0]
    } else {
        [image + 1, 0, 0]
    }
}

/// The first values of a slice, zeros after them.
#[inline(always)]
fn padded<T: Copy + Default>(from: &[T]) -> [T; PANEL] {
    from.first_chunk().copied().unwrap_or_else(|| {
        let mut lanes = [T::default(); PANEL];
        lanes[..from.len()].copy_from_slice(from);
        lanes
    })
}

/// From the sums of some channels of a pixel to results; the sink begins with pixel `first`.
#[inline(always)]
fn store(
    args: &ConvArgs<'_>,
    scales: &Scales,
    sums: &Sums,
    [pixel, first]: [usize; 2],
    channels: &Range<usize>,
    sink: &mut Sink<'_>,
) {
    let mut results = [0.0; PANEL];
    for (((y, &sum), &multiplier), &bias) in
        results.iter_mut().zip(sums).zip(&scales.multiplier).zip(&scales.bias)
    {
        *y = sum as f32 * multiplier + bias;
    }
    if let Some((values, factor)) = args.residual {
        let values = &values[pixel * args.shape.out_channels..][channels.clone()];
        for (y, x) in results.iter_mut().zip(padded(values)) {
            *y += f32::from(x) * factor;
        }
    }
    let start = (pixel - first) * args.shape.out_channels + channels.start;
    let to = start..start + channels.len();
    match sink {
        Sink::F32(output) => put(&mut output[to], &results, canonical),
        Sink::I8(output, multiplier, range) => {
            put(&mut output[to], &results, |y| range.quantize(y * *multiplier));
        }
        Sink::I16(output, multiplier, range) => {
            put(&mut output[to], &results, |y| range.quantize16(y * *multiplier));
        }
    }
}

/// As many of the results as the output has room for: whole panels by loops of a length that is known.
#[inline(always)]
fn put<T>(output: &mut [T], results: &[f32; PANEL], stored: impl Fn(f32) -> T) {
    match output.first_chunk_mut::<PANEL>() {
        Some(panel) => panel.iter_mut().zip(results).for_each(|(to, &y)| *to = stored(y)),
        None => output.iter_mut().zip(results).for_each(|(to, &y)| *to = stored(y)),
    }
}

#[inline(always)]
fn depthwise<W: Copy + Default + Into<i32>>(
    args: &ConvArgs<'_>,
    weights: &[W],
    range: Range<usize>,
    sink: &mut Sink<'_>,
) {
    let (shape, all) = (&args.shape, args.shape.out_channels);
    for pixel in range.clone() {
        let [image, oy, ox] = place(shape, pixel);
        for first in (0..all).step_by(PANEL) {
            let channels = first..(first + PANEL).min(all);
            let mut sums = [0_i32; PANEL];
            for ky in 0..shape.kernel_h {
                let Some(y) = shape.input_row(oy, ky) else { continue };
                for kx in 0..shape.kernel_w {
                    let Some(x) = shape.input_column(ox, kx) else { continue };
                    let at = ((image * shape.in_h + y) * shape.in_w + x) * all;
                    let x = padded(&args.input[at..][channels.clone()]);
                    let w = padded(&weights[(ky * shape.kernel_w + kx) * all..][channels.clone()]);
                    for ((sum, x), w) in sums.iter_mut().zip(x).zip(w) {
                        *sum = sum.wrapping_add(i32::from(x) * w.into());
                    }
                }
            }
            store(args, &Scales::of(args, &channels), &sums, [pixel, range.start], &channels, sink);
        }
    }
}

/// The steps of int16 as compiled for one instruction set.
#[derive(Debug)]
pub struct Variant {
    /// The extensions that the processor must have.
    pub isa: IsaSet,
    /// Name of the convolution.
    pub conv: &'static str,
    /// Name of the depthwise convolution.
    pub depthwise: &'static str,
    run: Option<Run>,
}

/// # Safety
/// The processor has the variant's extensions.
type Run = unsafe fn(&ConvArgs<'_>, Range<usize>, Sink<'_>);

/// # Safety
/// None needed; the signature is the table's.
unsafe fn portable(args: &ConvArgs<'_>, range: Range<usize>, sink: Sink<'_>) {
    // SAFETY: every processor has what portable code needs.
    unsafe { conv::<Portable, 4>(args, range, sink) }
}

/// A function that only one architecture has.
macro_rules! on {
    ($arch:literal, $function:expr) => {{
        #[cfg(target_arch = $arch)]
        let run: Option<Run> = Some($function);
        #[cfg(not(target_arch = $arch))]
        let run: Option<Run> = None;
        run
    }};
}

/// Best first.
static VARIANTS: &[Variant] = &[
    Variant {
        isa: IsaSet::AVX512_VNNI,
        conv: "conv_s16_8x16_avx512vnni",
        depthwise: "depthwise_s16_avx512vnni",
        run: on!("x86_64", x86::avx512vnni),
    },
    Variant {
        isa: IsaSet::AVX2,
        conv: "conv_s16_4x16_avx2",
        depthwise: "depthwise_s16_avx2",
        run: on!("x86_64", x86::avx2),
    },
    Variant {
        isa: IsaSet::NEON,
        conv: "conv_s16_4x16_neon",
        depthwise: "depthwise_s16_neon",
        run: on!("aarch64", aarch64_neon::neon),
    },
    Variant {
        isa: IsaSet::SCALAR,
        conv: "conv_s16_portable",
        depthwise: "depthwise_s16_portable",
        run: Some(portable),
    },
];

/// Every variant, of every architecture.
pub fn variants() -> &'static [Variant] {
    VARIANTS
}

/// The variant of a processor with the extensions of `isa`. Pure, as all selections.
pub fn select(isa: IsaSet) -> &'static Variant {
    VARIANTS.iter().find(|variant| isa.contains(variant.isa)).unwrap_or(&VARIANTS[VARIANTS.len() - 1])
}

impl Variant {
    /// Whether the variant was compiled for the architecture that this program runs on.
    pub fn is_compiled(&self) -> bool {
        self.run.is_some()
    }
}

/// A variant that may be run, since a token has shown that the processor has what it needs.
#[derive(Clone, Copy, Debug)]
pub struct BoundVariant(Choice<Run>);

impl BoundVariant {
    /// The best variant that `token` vouches for.
    pub fn new(token: IsaToken) -> Self {
        // What was not compiled in cannot have been detected.
        Self(Choice::new(|| select(token.set()).run.unwrap_or(portable)))
    }

    /// The output pixels of `range`, counted over the batch: `sink` has these.
    #[inline]
    pub fn conv(&self, args: &ConvArgs<'_>, range: Range<usize>, sink: Sink<'_>) {
        // SAFETY: `new` saw a token for the extensions.
        unsafe { (self.0.get(&(portable as Run)))(args, range, sink) }
    }
}
