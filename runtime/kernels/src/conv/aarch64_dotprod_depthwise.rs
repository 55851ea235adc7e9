//! Depthwise by the AArch64 dot product, for 3 × 3 and 5 × 5 at strides 1 and 2: four rows of a column of the
//! image are interleaved once, 16 channels × 4 taps, and wait in four registers for every pixel that reads
//! the column; `sdot` multiplies them (Arm ARM, section C7.2, SDOT (vector), ZIP1, ZIP2). Other kernels, and
//! layers whose scaled sums may be beyond int16, are NEON's.
//!
//! A stretch of a line is one piece of assembly, its borders included: beyond the image the pointers of the
//! rows turn to zero points. Columns are never moved: the code is repeated until the registers come round.
//!
//! The fifth row of 5 × 5 is not worth a quad of its own in every column. It is interleaved beforehand, four
//! columns at a time, into a buffer, where the five columns of a pixel are in two quads. Which of their bytes
//! count is for the weights to say, of which there is a set for each of the four places that a pixel can have.
//!
//! Instructions for 16 channels of a pixel, requantized and stored: 46 (3 × 3, stride 1), 57 (stride 2), 76 and 88
//! (5 × 5), and about 5 or 10 for the fifth row.

use core::arch::aarch64::*;
use core::arch::asm;
use core::array;
use core::mem::MaybeUninit;

use super::depthwise::{self, Kernel, Line};
use super::gemm::TileOutput;
use super::{ConvArgs, ConvShape, Output, WeightSource, Weights};
use crate::aarch64_rounding::{Bounds, fits};

/// Channels of a block.
const WIDTH: usize = 16;

/// Quads of columns that the buffer of the fifth row has room for.
const QUADS: usize = 32;

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn depthwise(args: &mut ConvArgs<'_>) {
    let WeightSource::Canonical(weights) = args.weights else { return };
    let shape = args.shape;
    let range = match args.output {
        Output::I8(_, range) if is_taken(&shape, &weights) => range,
        // SAFETY: the caller's promise; a processor with the dot product has NEON.
        _ => return unsafe { super::aarch64_depthwise::depthwise(args) },
    };
    let block = Block::new(weights, Bounds::new::<true>(range));
    // SAFETY: the caller's promise; the shape is one of these, and a block's channels exist.
    unsafe {
        match (shape.kernel_w, shape.stride_w) {
            (3, 1) => depthwise::walk(args, &mut Columns::<3, 1>(block)),
            (3, _) => depthwise::walk(args, &mut Columns::<3, 2>(block)),
            (_, 1) => depthwise::walk(args, &mut Columns::<5, 1>(block)),
            _ => depthwise::walk(args, &mut Columns::<5, 2>(block)),
        }
    }
}

/// Whether a shape is one of ours.
fn is_taken(shape: &ConvShape, weights: &Weights<'_>) -> bool {
    let (kernel, stride) = (shape.kernel_w, shape.stride_w);
    if shape.in_channels < WIDTH
        || shape.kernel_h != kernel
        || shape.dilation_w != 1
        || !matches!((kernel, stride), (3 | 5, 1 | 2))
    {
        return false;
    }
    // The columns that a stretch begins with are left of the image or inside.
    let last_stretch = shape.out_w.saturating_sub(stretch_pixels(kernel, stride)) * stride;
    let begins_inside =
        shape.pad_left <= kernel - stride && last_stretch + kernel - stride <= shape.in_w + shape.pad_left;
    let mut channels = weights.bias.iter().zip(weights.multiplier);
    begins_inside && channels.all(|(&bias, &multiplier)| fits(kernel * kernel, bias, multiplier))
}

/// The most pixels of a stretch: of 5 × 5, what there are quads for.
const fn stretch_pixels(kernel: usize, stride: usize) -> usize {
    if kernel == 5 { 4 * (QUADS - 1) / stride } else { usize::MAX }
}

/// The constants of a block of channels.
#[repr(C, align(1024))]
struct Block<'a> {
    /// Of the fifth row: two quads for each place that a pixel can have. Aligned to twice its size, so that
    /// a pointer comes round by clearing a bit.
    fifth: [[[i8; 4 * WIDTH]; 2]; 4],
    /// Of each column of the kernel, four rows.
    taps: [[i8; 4 * WIDTH]; 5],
    bias: [i32; WIDTH],
    multiplier: [f32; WIDTH],
    bounds: Bounds,
    weights: Weights<'a>,
}

impl<'a> Block<'a> {
    fn new(weights: Weights<'a>, bounds: Bounds) -> Self {
        Self {
            fifth: [[[0; 4 * WIDTH]; 2]; 4],
            taps: [[0; 4 * WIDTH]; 5],
            bias: [0; WIDTH],
            multiplier: [0.0; WIDTH],
            bounds,
            weights,
        }
    }
}

/// A kernel of `K` × `K` at stride `S`.
struct Columns<'a, const K: usize, const S: usize>(Block<'a>);

impl<const K: usize, const S: usize> Kernel for Columns<'_, K, S>
where
    Self: Stretch<K>,
{
    fn channels(&self) -> usize {
        WIDTH
    }

    unsafe fn prepare(&mut self, first: usize) {
        let block = &mut self.0;
        let weights = &block.weights;
        let channels = weights.bias.len();
        block.bias.copy_from_slice(&weights.bias[first..first + WIDTH]);
        block.multiplier.copy_from_slice(&weights.multiplier[first..first + WIDTH]);
        let none = [0; WIDTH];
        // SAFETY: the block's channels exist, and the processor has NEON.
        unsafe {
            let tap = |ky: usize, kx: usize| match ky < K {
                true => weights.weights.as_ptr().add((ky * K + kx) * channels + first),
                false => none.as_ptr(),
            };
            for (kx, taps) in block.taps.iter_mut().enumerate().take(K) {
                store(interleave(array::from_fn(|ky| tap(ky, kx))), taps.as_mut_ptr());
            }
            if K == 5 {
                let four = interleave(array::from_fn(|kx| tap(4, kx)));
                let last = interleave([tap(4, 4), none.as_ptr(), none.as_ptr(), none.as_ptr()]);
                for (at, [low, high]) in block.fifth.iter_mut().take(4 / S).enumerate() {
                    let place = 8 * (at * S) as i32;
                    store(four.map(|four| shift(four, place)), low.as_mut_ptr());
                    let rest = |i: usize| vorrq_s8(shift(four[i], place - 32), shift(last[i], place));
                    store(array::from_fn(rest), high.as_mut_ptr());
                }
            }
        }
    }

    unsafe fn line(&self, line: &mut Line) {
        let TileOutput::I8(out, _) = line.out else { return };
        let out_w = line.shape().out_w;
        let most = stretch_pixels(K, S);
        let mut done = 0;
        while done < out_w {
            // The last stretch starts early enough to be whole: some pixels are computed twice.
            let first = done.min(out_w.saturating_sub(most));
            done = out_w.min(first.saturating_add(most));
            // SAFETY: the caller's promise; the pixels are the line's, `out` is where its first one goes, and
            // `is_taken` has seen to where stretches begin.
            unsafe { self.stretch(line, first, done - first, out) }
        }
    }
}

/// The assembly for one kernel.
trait Stretch<const K: usize> {
    /// Computes the pixels of a walk.
    ///
    /// # Safety
    /// The columns and the outputs exist; the processor has the dot product.
    unsafe fn run(&self, walk: Walk);
}

/// A walk along a line.
struct Walk {
    /// In each of the first four rows of the kernel the first column inside the image, and the way to the next.
    rows: [*const i8; 4],
    steps: [usize; 4],
    /// Columns of the first pixel that are left of the image, before those of every pixel that are new.
    left: usize,
    /// Where the first pixel goes, and the way to the next.
    out: *mut i8,
    channels: usize,
    /// Pixels whose columns are not right of the image, those of whose two new columns one is, and the others.
    pixels: usize,
    mixed: usize,
    beyond: usize,
    /// Four registers of zero points.
    zero: *const i8,
    /// Quads of the fifth row, from the one that has the first pixel's first column.
    fifth: *const i8,
}

/// The fifth row of a stretch: quads of columns.
#[repr(align(64))]
struct Fifth([MaybeUninit<[i8; 4 * WIDTH]>; QUADS]);

impl<const K: usize, const S: usize> Columns<'_, K, S>
where
    Self: Stretch<K>,
{
    /// Computes `pixels` of a line from `first` on.
    ///
    /// # Safety
    /// As [`Kernel::line`]; `out` is where pixel 0 goes. The first `K - S` columns of the first pixel are not right
    /// of the image.
    #[target_feature(enable = "neon,dotprod")]
    unsafe fn stretch(&self, line: &Line, first: usize, pixels: usize, out: *mut i8) {
        let shape = line.shape();
        let channels = shape.in_channels;
        // SAFETY: `K` is the kernel's height. Every pointer is to a column that is inside the image, or has been
        // moved beyond it and is not read any more: `run` is told how far they go.
        unsafe {
            let (rows, masks) = line.rows::<K>();
            let left = shape.pad_left.saturating_sub(first * S);
            let column = (first * S).saturating_sub(shape.pad_left);
            let end = match (shape.in_w + shape.pad_left).checked_sub(K) {
                Some(last) => (last / S + 1).clamp(first, first + pixels),
                None => first,
            };
            let rest = first + pixels - end;
            // Its last column is the first one right of the image.
            let mixed = usize::from(S == 2 && rest > 0 && end * S + K - 1 == shape.in_w + shape.pad_left);
            let mut fifth = MaybeUninit::<Fifth>::uninit();
            let quads = (*fifth.as_mut_ptr()).0.as_mut_ptr().cast::<i8>();
            if K == 5 {
                let start = (first * S).wrapping_sub(shape.pad_left);
                for quad in 0..(pixels - 1) * S / 4 + 2 {
                    let x = start.wrapping_add(4 * quad);
                    let column = |i: usize| match x.wrapping_add(i) < shape.in_w {
                        true => rows[K - 1].add((x.wrapping_add(i) * channels) & masks[K - 1]),
                        false => line.zero(),
                    };
                    store(
                        interleave([column(0), column(1), column(2), column(3)]),
                        quads.add(4 * WIDTH * quad),
                    );
                }
            }
            let row = |ky: usize| {
                let ky = ky.min(K - 1);
                (rows[ky].wrapping_add((column * channels) & masks[ky]), channels & masks[ky])
            };
            self.run(Walk {
                rows: array::from_fn(|ky| row(ky).0),
                steps: array::from_fn(|ky| row(ky).1),
                left,
                out: out.add(first * channels),
                channels,
                pixels: end - first,
                mixed,
                beyond: rest - mixed,
                zero: line.zero(),
                fifth: quads,
            });
        }
    }
}

/// Four taps of 16 channels, as four channels of four taps in each register.
///
/// # Safety
/// Each tap has 16 values.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn interleave(taps: [*const i8; 4]) -> [int8x16_t; 4] {
    // SAFETY: the caller's promise.
    let [a, b, c, d] = taps.map(|tap| unsafe { vld1q_s8(tap) });
    let word = vreinterpretq_s16_s8;
    let (ab_low, ab_high) = (word(vzip1q_s8(a, b)), word(vzip2q_s8(a, b)));
    let (cd_low, cd_high) = (word(vzip1q_s8(c, d)), word(vzip2q_s8(c, d)));
    [
        vreinterpretq_s8_s16(vzip1q_s16(ab_low, cd_low)),
        vreinterpretq_s8_s16(vzip2q_s16(ab_low, cd_low)),
        vreinterpretq_s8_s16(vzip1q_s16(ab_high, cd_high)),
        vreinterpretq_s8_s16(vzip2q_s16(ab_high, cd_high)),
    ]
}

/// # Safety
/// `to` has room for 64 values.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn store([a, b, c, d]: [int8x16_t; 4], to: *mut i8) {
    // SAFETY: the caller's promise.
    unsafe { vst1q_s8_x4(to, int8x16x4_t(a, b, c, d)) }
}

/// The four taps of each channel so many bits further, or back; zeros come in.
#[target_feature(enable = "neon")]
#[inline]
fn shift(taps: int8x16_t, bits: i32) -> int8x16_t {
    vreinterpretq_s8_u32(vshlq_u32(vreinterpretq_u32_s8(taps), vdupq_n_s32(bits)))
}

/// Interleaves the next column of 3 rows into four registers. Registers 24 to 31 are used; the fourth tap repeats
/// the third, whose weights are zero.
#[rustfmt::skip]
macro_rules! fetch {
    (3, [$a:literal $b:literal $c:literal $d:literal]) => {
        concat!(
            "ld1 {{v28.16b}}, [{r0}], {s0}\n",
            "ld1 {{v29.16b}}, [{r1}], {s1}\n",
            "ld1 {{v30.16b}}, [{r2}], {s2}\n",
            "zip1 v24.16b, v28.16b, v29.16b\n",
            "zip2 v25.16b, v28.16b, v29.16b\n",
            "zip1 v26.16b, v30.16b, v30.16b\n",
            "zip2 v27.16b, v30.16b, v30.16b\n",
            words!([$a $b $c $d], 24 25 26 27),
        )
    };
    (5, [$a:literal $b:literal $c:literal $d:literal]) => {
        concat!(
            "ld1 {{v24.16b}}, [{r0}], {s0}\n",
            "ld1 {{v25.16b}}, [{r1}], {s1}\n",
            "ld1 {{v26.16b}}, [{r2}], {s2}\n",
            "ld1 {{v27.16b}}, [{r3}], {s3}\n",
            "zip1 v28.16b, v24.16b, v25.16b\n",
            "zip2 v29.16b, v24.16b, v25.16b\n",
            "zip1 v30.16b, v26.16b, v27.16b\n",
            "zip2 v31.16b, v26.16b, v27.16b\n",
            words!([$a $b $c $d], 28 29 30 31),
        )
    };
}

/// Interleaves pairs of taps.
#[rustfmt::skip]
macro_rules! words {
    ([$a:literal $b:literal $c:literal $d:literal], $e:literal $f:literal $g:literal $h:literal) => {
        concat!(
            "zip1 v", $a, ".8h, v", $e, ".8h, v", $g, ".8h\n",
            "zip2 v", $b, ".8h, v", $e, ".8h, v", $g, ".8h\n",
            "zip1 v", $c, ".8h, v", $f, ".8h, v", $h, ".8h\n",
            "zip2 v", $d, ".8h, v", $f, ".8h, v", $h, ".8h\n",
        )
    };
}

/// A column that the first pixel begins with: of zero points, as long as there are such.
#[rustfmt::skip]
macro_rules! begin {
    ($k:tt, $($column:tt)*) => { concat!($(begin!(one $k, $column),)*) };
    (one $k:tt, [$a:literal $b:literal $c:literal $d:literal]) => {
        concat!(
            "cbz {left}, 44f\n",
            "ld1 {{v", $a, ".16b, v", $b, ".16b, v", $c, ".16b, v", $d, ".16b}}, [{zero}]\n",
            "sub {left}, {left}, #1\n",
            "b 45f\n",
            "44:\n",
            fetch!($k, [$a $b $c $d]),
            "45:\n",
        )
    };
}

/// Adds the products of a column with weights to the sums.
#[rustfmt::skip]
macro_rules! multiply {
    ([$($sum:literal)*], [$a:literal $b:literal $c:literal $d:literal], $($w:literal)*) => {
        multiply!(each $($sum $w)*: $a $b $c $d)
    };
    (each $s0:literal $w0:literal $s1:literal $w1:literal $s2:literal $w2:literal $s3:literal $w3:literal:
     $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "sdot v", $s0, ".4s, v", $a, ".16b, v", $w0, ".16b\n",
            "sdot v", $s1, ".4s, v", $b, ".16b, v", $w1, ".16b\n",
            "sdot v", $s2, ".4s, v", $c, ".16b, v", $w2, ".16b\n",
            "sdot v", $s3, ".4s, v", $d, ".16b, v", $w3, ".16b\n",
        )
    };
}

/// The sums of a pixel, from its columns.
#[rustfmt::skip]
macro_rules! sums {
    (3, $s:tt, $first:tt $second:tt $third:tt) => {
        concat!(
            "ld1 {{v24.4s, v25.4s, v26.4s, v27.4s}}, [{bias}]\n",
            multiply!([24 25 26 27], $first, 12 13 14 15),
            multiply!([24 25 26 27], $second, 16 17 18 19),
            multiply!([24 25 26 27], $third, 20 21 22 23),
        )
    };
    (5, $s:tt, $($column:tt)*) => {
        concat!(
            "ld1 {{v20.4s, v21.4s, v22.4s, v23.4s}}, [{bias}]\n",
            $(
                "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{taps}], #64\n",
                multiply!([20 21 22 23], $column, 24 25 26 27),
            )*
            "sub {taps}, {taps}, #320\n",
            "bic {quad}, {fifth}, #63\n",
            "ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{quad}], #64\n",
            "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{places}], #64\n",
            multiply!([20 21 22 23], [28 29 30 31], 24 25 26 27),
            "ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{quad}]\n",
            "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{places}], #64\n",
            multiply!([20 21 22 23], [28 29 30 31], 24 25 26 27),
            // 16 bytes for each column.
            "add {fifth}, {fifth}, #(16 * ", $s, ")\n",
            "bic {places}, {places}, #(512 / ", $s, ")\n",
        )
    };
}

/// Requantizes and stores the sums of a pixel, as [`Bounds`] says.
#[rustfmt::skip]
macro_rules! complete {
    (3, $adjust:literal $back:literal) => {
        complete!([24 25 26 27], [28 29 30 31], $adjust $back)
    };
    (5, $adjust:literal $back:literal) => {
        complete!([20 21 22 23], [24 25 26 27], $adjust $back)
    };
    ([$a:literal $b:literal $c:literal $d:literal], [$e:literal $f:literal $g:literal $h:literal],
     $adjust:literal $back:literal) => {
        concat!(
            "ld1 {{v", $e, ".4s, v", $f, ".4s, v", $g, ".4s, v", $h, ".4s}}, [{multiplier}]\n",
            unary!("scvtf", ".4s": $a $b $c $d),
            binary!("fmul", ".4s", $e: $a), binary!("fmul", ".4s", $f: $b),
            binary!("fmul", ".4s", $g: $c), binary!("fmul", ".4s", $h: $d),
            "ldr q", $e, ", [{bounds}]\n",
            binary!("fadd", ".4s", $e: $a $b $c $d),
            "uzp1 v", $a, ".8h, v", $a, ".8h, v", $b, ".8h\n",
            "uzp1 v", $c, ".8h, v", $c, ".8h, v", $d, ".8h\n",
            "tbnz {flags}, #1, ", $adjust, "f\n",
            "sqxtn v", $a, ".8b, v", $a, ".8h\n",
            "sqxtn2 v", $a, ".16b, v", $c, ".8h\n",
            $back, ":\n",
            "st1 {{v", $a, ".16b}}, [{out}], {channels}\n",
        )
    };
}

/// What `complete` jumps to.
#[rustfmt::skip]
macro_rules! adjust {
    (3, $adjust:literal $back:literal) => { adjust!([24 26], [28 29 30], $adjust $back) };
    (5, $adjust:literal $back:literal) => { adjust!([20 22], [24 25 26], $adjust $back) };
    ([$a:literal $c:literal], [$odd:literal $low:literal $high:literal], $adjust:literal $back:literal) => {
        concat!(
            $adjust, ":\n",
            "ldp q", $odd, ", q", $low, ", [{bounds}, #48]\n", "ldr q", $high, ", [{bounds}, #80]\n",
            binary!("add", ".8h", $odd: $a $c),
            "sqxtn v", $a, ".8b, v", $a, ".8h\n",
            "sqxtn2 v", $a, ".16b, v", $c, ".8h\n",
            binary!("smax", ".16b", $low: $a), binary!("smin", ".16b", $high: $a),
            "b ", $back, "b\n",
        )
    };
}

/// Where the pixels that have been counted end: those of which one new column is right of the image are next,
/// then the ones of which both are. Goes on at `{next}`.
#[rustfmt::skip]
macro_rules! turn_pointers {
    ($($row:ident $step:ident)*) => {
        concat!(
            "40:\n",
            "cbz {mixed}, 41f\n",
            // The next column is the last one inside, and the one behind it has zero points.
            $("sub {", stringify!($step), "}, {zero}, {", stringify!($row), "}\n",)*
            "mov {pixels}, {mixed}\n",
            "mov {mixed}, xzr\n",
            "br {next}\n",
            "41:\n",
            "cbz {beyond}, 42f\n",
            $("mov {", stringify!($row), "}, {zero}\n", "mov {", stringify!($step), "}, xzr\n",)*
            "mov {pixels}, {beyond}\n",
            "mov {beyond}, xzr\n",
            "br {next}\n",
            "42:\n",
        )
    };
}

/// The pixels of a walk: turns from the label `$this` on, each a pixel that fetches columns and then has all of
/// its own, out of the loop after the last one.
#[rustfmt::skip]
macro_rules! turns {
    ($k:tt, $s:tt, $($this:literal $end:literal $adjust:literal $back:literal [$($new:tt)*] [$($column:tt)*])*) => {
        concat!(
            "adr {next}, 20f\n",
            "cbz {pixels}, 40f\n",
            $(
                $this, ":\n",
                $(fetch!($k, $new),)*
                sums!($k, $s, $($column)*),
                complete!($k, $adjust $back),
                "subs {pixels}, {pixels}, #1\n",
                "b.eq ", $end, "f\n",
            )*
            "b 20b\n",
            $(adjust!($k, $adjust $back),)*
            turns!(ends $($this $end)*),
        )
    };
    // After a turn comes the next, and after the last one the first.
    (ends $first:literal $($labels:literal)*) => { turns!(end $first: $first $($labels)*) };
    (end $first:literal: $this:literal $end:literal $next:literal $($labels:literal)*) => {
        concat!(turns!(go $end $next), turns!(end $first: $next $($labels)*))
    };
    (end $first:literal: $this:literal $end:literal) => { turns!(go $end $first) };
    (go $end:literal $next:literal) => { concat!($end, ":\n", "adr {next}, ", $next, "b\n", "b 40f\n") };
}

/// `Stretch` of `$k` × `$k` at stride `$s`.
macro_rules! stretch {
    ($k:tt, $s:tt, $code:expr, rows $($row:ident $step:ident $ky:tt)*,
     held [$($held:tt $kx:tt $quarter:tt)*], out [$($out:tt)*],
     fifth [$($taps:ident $places:ident $fifth:ident $quad:ident)?]) => {
        impl Stretch<$k> for Columns<'_, $k, $s> {
            #[inline(always)]
            unsafe fn run(&self, walk: Walk) {
                let block = &self.0;
                // SAFETY: the caller's promise; the constants are the block's. Writes nothing but the walk's
                // outputs.
                unsafe {
                    asm!(
                        $code,
                        turn_pointers!($($row $step)*),
                        $($row = inout(reg) walk.rows[$ky] => _, $step = inout(reg) walk.steps[$ky] => _,)*
                        $(
                            $taps = inout(reg) block.taps.as_ptr() => _,
                            $places = inout(reg) block.fifth.as_ptr() => _,
                            $fifth = inout(reg) walk.fifth => _,
                            $quad = out(reg) _,
                        )?
                        bias = in(reg) &block.bias,
                        multiplier = in(reg) &block.multiplier,
                        bounds = in(reg) &block.bounds,
                        flags = in(reg) block.bounds.flags(),
                        out = inout(reg) walk.out => _,
                        channels = in(reg) walk.channels,
                        left = inout(reg) walk.left => _,
                        pixels = inout(reg) walk.pixels => _,
                        mixed = inout(reg) walk.mixed => _,
                        beyond = inout(reg) walk.beyond => _,
                        zero = in(reg) walk.zero,
                        next = out(reg) _,
                        $(inout($held) vld1q_s8(block.taps[$kx].as_ptr().add(16 * $quarter)) => _,)*
                        $(out($out) _,)*
                        out("v0") _, out("v1") _, out("v2") _, out("v3") _,
                        out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                        out("v8") _, out("v9") _, out("v10") _, out("v11") _,
                        out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                        out("v28") _, out("v29") _, out("v30") _, out("v31") _,
                        options(nostack),
                    );
                }
            }
        }
    };
}

stretch!(3, 1,
    concat!(begin!(3, [0 1 2 3] [4 5 6 7]), turns!(3, 1,
        "20" "30" "50" "60" [[8 9 10 11]] [[0 1 2 3] [4 5 6 7] [8 9 10 11]]
        "21" "31" "51" "61" [[0 1 2 3]] [[4 5 6 7] [8 9 10 11] [0 1 2 3]]
        "22" "32" "52" "62" [[4 5 6 7]] [[8 9 10 11] [0 1 2 3] [4 5 6 7]])),
    rows r0 s0 0 r1 s1 1 r2 s2 2,
    held ["v12" 0 0 "v13" 0 1 "v14" 0 2 "v15" 0 3 "v16" 1 0 "v17" 1 1 "v18" 1 2 "v19" 1 3 "v20" 2 0 "v21" 2 1 "v22" 2 2 "v23" 2 3],
    out [], fifth []);
stretch!(3, 2,
    concat!(begin!(3, [0 1 2 3]), turns!(3, 2,
        "20" "30" "50" "60" [[4 5 6 7] [8 9 10 11]] [[0 1 2 3] [4 5 6 7] [8 9 10 11]]
        "21" "31" "51" "61" [[4 5 6 7] [0 1 2 3]] [[8 9 10 11] [4 5 6 7] [0 1 2 3]])),
    rows r0 s0 0 r1 s1 1 r2 s2 2,
    held ["v12" 0 0 "v13" 0 1 "v14" 0 2 "v15" 0 3 "v16" 1 0 "v17" 1 1 "v18" 1 2 "v19" 1 3 "v20" 2 0 "v21" 2 1 "v22" 2 2 "v23" 2 3],
    out [], fifth []);
stretch!(5, 1,
    concat!(begin!(5, [0 1 2 3] [4 5 6 7] [8 9 10 11] [12 13 14 15]), turns!(5, 1,
        "20" "30" "50" "60" [[16 17 18 19]] [[0 1 2 3] [4 5 6 7] [8 9 10 11] [12 13 14 15] [16 17 18 19]]
        "21" "31" "51" "61" [[0 1 2 3]] [[4 5 6 7] [8 9 10 11] [12 13 14 15] [16 17 18 19] [0 1 2 3]]
        "22" "32" "52" "62" [[4 5 6 7]] [[8 9 10 11] [12 13 14 15] [16 17 18 19] [0 1 2 3] [4 5 6 7]]
        "23" "33" "53" "63" [[8 9 10 11]] [[12 13 14 15] [16 17 18 19] [0 1 2 3] [4 5 6 7] [8 9 10 11]]
        "24" "34" "54" "64" [[12 13 14 15]] [[16 17 18 19] [0 1 2 3] [4 5 6 7] [8 9 10 11] [12 13 14 15]])),
    rows r0 s0 0 r1 s1 1 r2 s2 2 r3 s3 3,
    held [], out ["v12" "v13" "v14" "v15" "v16" "v17" "v18" "v19" "v20" "v21" "v22" "v23"],
    fifth [taps places fifth quad]);
stretch!(5, 2,
    concat!(begin!(5, [0 1 2 3] [4 5 6 7] [8 9 10 11]), turns!(5, 2,
        "20" "30" "50" "60" [[12 13 14 15] [16 17 18 19]] [[0 1 2 3] [4 5 6 7] [8 9 10 11] [12 13 14 15] [16 17 18 19]]
        "21" "31" "51" "61" [[0 1 2 3] [4 5 6 7]] [[8 9 10 11] [12 13 14 15] [16 17 18 19] [0 1 2 3] [4 5 6 7]]
        "22" "32" "52" "62" [[8 9 10 11] [12 13 14 15]] [[16 17 18 19] [0 1 2 3] [4 5 6 7] [8 9 10 11] [12 13 14 15]]
        "23" "33" "53" "63" [[16 17 18 19] [0 1 2 3]] [[4 5 6 7] [8 9 10 11] [12 13 14 15] [16 17 18 19] [0 1 2 3]]
        "24" "34" "54" "64" [[4 5 6 7] [8 9 10 11]] [[12 13 14 15] [16 17 18 19] [0 1 2 3] [4 5 6 7] [8 9 10 11]])),
    rows r0 s0 0 r1 s1 1 r2 s2 2 r3 s3 3,
    held [], out ["v12" "v13" "v14" "v15" "v16" "v17" "v18" "v19" "v20" "v21" "v22" "v23"],
    fifth [taps places fifth quad]);
