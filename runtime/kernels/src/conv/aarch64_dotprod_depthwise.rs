//! Depthwise by the AArch64 dot product, for 3 × 3 and 5 × 5 at strides 1 and 2: each column of the image is
//! interleaved once, 16 channels × 4 taps, and `sdot` multiplies it for every pixel that reads it (Arm
//! ARM, section C7.2, SDOT (vector), ZIP1, ZIP2). Other kernels are NEON's.
//!
//! Pixels at the border are computed one by one. Between them, a pixel's sums wait in registers while the
//! columns come by, and whose is complete next goes round: the code is repeated for each turn. Of 3 × 3
//! the weights stay in 12 registers; of 5 × 5 they are read, four registers at a time. Instructions for 16
//! channels of a pixel, requantized and stored: 51 (3 × 3, stride 1), 62 (stride 2), 98 + 27 (5 × 5).

use core::arch::aarch64::*;
use core::arch::asm;
use core::array;

use super::aarch64_requantize::{Epilogue, scale};
use super::depthwise::{self, Kernel, Line};
use super::gemm::TileOutput;
use super::{ConvArgs, Output, WeightSource, Weights};
use crate::requantize::OutputRange;

/// Channels of a block.
const WIDTH: usize = 16;

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn depthwise(args: &mut ConvArgs<'_>) {
    let WeightSource::Canonical(weights) = args.weights else { return };
    let Output::I8(_, range) = args.output else {
        // SAFETY: the caller's promise; a processor with the dot product has NEON.
        return unsafe { super::aarch64_depthwise::depthwise(args) };
    };
    let shape = &args.shape;
    let is_square = shape.kernel_h == shape.kernel_w && shape.dilation_w == 1;
    let case = (shape.in_channels >= WIDTH && is_square).then_some((shape.kernel_w, shape.stride_w));
    let block = || Block::new(weights, range);
    // SAFETY: the caller's promise; a block's channels exist.
    unsafe {
        match case {
            Some((3, 1)) => depthwise::walk(args, &mut Columns::<3, 3, 1>(block())),
            Some((3, 2)) => depthwise::walk(args, &mut Columns::<3, 2, 2>(block())),
            Some((5, 1)) => depthwise::walk(args, &mut Columns::<5, 5, 1>(block())),
            Some((5, 2)) => depthwise::walk(args, &mut Columns::<5, 3, 2>(block())),
            _ => super::aarch64_depthwise::depthwise(args),
        }
    }
}

/// The constants of a block of channels.
#[repr(C, align(64))]
struct Block<'a> {
    /// Of each column of the kernel, in the order of their use, two quads of taps × 16 channels; of 3 × 3 the
    /// second quad is not used.
    taps: [[[[u8; WIDTH]; 4]; 2]; 5],
    bias: [i32; WIDTH],
    multiplier: [f32; WIDTH],
    /// The output's zero point as int16, and its bounds.
    zero_point: [i16; 8],
    low: [i8; WIDTH],
    high: [i8; WIDTH],
    range: OutputRange,
    weights: Weights<'a>,
}

impl<'a> Block<'a> {
    fn new(weights: Weights<'a>, range: OutputRange) -> Self {
        Self {
            taps: [[[[0; WIDTH]; 4]; 2]; 5],
            bias: [0; WIDTH],
            multiplier: [0.0; WIDTH],
            zero_point: [range.zero_point as i16; 8],
            low: [range.min as i8; WIDTH],
            high: [range.max as i8; WIDTH],
            range,
            weights,
        }
    }
}

/// The sums of a pixel: of channels 0 to 3, 4 to 7, …
type Sums = [int32x4_t; 4];

/// A kernel of `K` × `K` at stride `S`: `P` = ceil(`K` / `S`) pixels read a column.
struct Columns<'a, const K: usize, const P: usize, const S: usize>(Block<'a>);

impl<const K: usize, const P: usize, const S: usize> Kernel for Columns<'_, K, P, S>
where
    Self: Interior<K, P>,
{
    fn channels(&self) -> usize {
        WIDTH
    }

    unsafe fn prepare(&mut self, first: usize) {
        let block = &mut self.0;
        let weights = &block.weights;
        block.bias.copy_from_slice(&weights.bias[first..first + WIDTH]);
        block.multiplier.copy_from_slice(&weights.multiplier[first..first + WIDTH]);
        let channels = weights.bias.len();
        for kx in 0..K {
            // SAFETY: the caller's promise; a processor with the dot product has NEON.
            unsafe {
                let tap = |ky: usize| weights.weights.as_ptr().add((ky * K + kx) * channels + first);
                let quads = interleave(array::from_fn::<_, K, _>(tap));
                for (i, taps) in quads.into_iter().enumerate() {
                    // What repeats a tap must not count.
                    let used = (K.saturating_sub(4 * i)).min(4) as u32 * 8;
                    let mask = vreinterpretq_s8_u32(vdupq_n_u32(((1u64 << used) - 1) as u32));
                    for (taps, to) in taps.into_iter().zip(&mut block.taps[Self::place(kx)][i]) {
                        vst1q_s8(to.as_mut_ptr().cast(), vandq_s8(taps, mask));
                    }
                }
            }
        }
    }

    unsafe fn line(&self, line: &mut Line) {
        let TileOutput::I8(out, _) = line.out else { return };
        // SAFETY: the caller's promise.
        unsafe { self.pixels(line, out) }
    }
}

/// The pixels of a line but those at the border.
trait Interior<const K: usize, const P: usize> {
    /// Computes `walk.pixels`, at least 1, whose first sums wait in `waiting`, and at stride 1 the pixels
    /// beyond.
    ///
    /// # Safety
    /// The columns and the outputs exist; the processor has the dot product.
    unsafe fn interior(&self, waiting: &mut [Sums; P], walk: Walk<K>);
}

/// A walk along a line.
struct Walk<const K: usize> {
    /// In each row of the kernel the first column that has not been used, and the way to the next one.
    rows: [*const i8; K],
    steps: [usize; K],
    /// Where the first pixel goes.
    out: *mut i8,
    channels: usize,
    pixels: usize,
    /// Pixels behind these whose last column is right of the image; none but at stride 1.
    beyond: usize,
    zero: *const i8,
}

impl<const K: usize, const P: usize, const S: usize> Columns<'_, K, P, S>
where
    Self: Interior<K, P>,
{
    /// When the column `kx` of the kernel is used in the turn that completes a pixel: that pixel's last
    /// `S` columns come by, and what other pixels have from them, in order.
    const fn place(kx: usize) -> usize {
        let (mut place, mut i) = (0, 0);
        loop {
            let mut p = 0;
            while p < P && p * S <= K - S + i {
                if K - S + i - p * S == kx {
                    return place;
                }
                (place, p) = (place + 1, p + 1);
            }
            i += 1;
        }
    }

    /// # Safety
    /// As [`Kernel::line`]; `out` is where pixel 0 goes.
    #[target_feature(enable = "neon,dotprod")]
    unsafe fn pixels(&self, line: &Line, out: *mut i8) {
        let shape = line.shape();
        let channels = shape.in_channels;
        let (_, end) = line.interior();
        // The last `S` columns of pixel `first` are not left of the image.
        let first = shape.pad_left.saturating_sub(K - S).div_ceil(S).min(shape.out_w);
        let end = end.max(first);
        // SAFETY: `K` is the kernel's height; the pixels are the line's, and no column to the left of `end`'s is
        // right of the image.
        unsafe {
            let (mut rows, masks) = line.rows::<K>();
            let beyond = if S == 1 { shape.out_w - end } else { 0 };
            for ox in (0..first).chain(end + beyond..shape.out_w) {
                self.border(line, &rows, &masks, ox, out.add(ox * channels));
            }
            if first == end + beyond {
                return;
            }
            let mut steps = masks.map(|mask| channels & mask);
            let mut waiting = [self.biases(); P];
            for column in 0..K - S {
                let taps = match (first * S + column).checked_sub(shape.pad_left) {
                    Some(x) if x < shape.in_w => {
                        let mut rows = rows;
                        for (row, step) in rows.iter_mut().zip(steps) {
                            *row = row.wrapping_add(x * step);
                        }
                        interleave(rows)
                    }
                    _ => [[vld1q_s8(line.zero()); 4]; 2],
                };
                for (p, sums) in waiting.iter_mut().enumerate().take(column / S + 1) {
                    self.multiply(sums, &taps, column - p * S);
                }
            }
            let x = first * S + K - S - shape.pad_left;
            for (row, step) in rows.iter_mut().zip(steps) {
                *row = row.wrapping_add(x * step);
            }
            let (mut pixels, mut beyond) = (end - first, beyond);
            if pixels == 0 {
                (rows, steps) = ([line.zero(); K], [0; K]);
                (pixels, beyond) = (beyond, 0);
            }
            let (out, zero) = (out.add(first * channels), line.zero());
            self.interior(&mut waiting, Walk { rows, steps, out, channels, pixels, beyond, zero });
        }
    }

    /// One pixel, some of whose columns are outside the image.
    ///
    /// # Safety
    /// `rows` and `masks` are the line's; pixel `ox` goes to `out`.
    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    unsafe fn border(&self, line: &Line, rows: &[*const i8; K], masks: &[usize; K], ox: usize, out: *mut i8) {
        let shape = line.shape();
        let mut sums = self.biases();
        // SAFETY: a column is inside the image, or made of zero points; `out` has room for the channels.
        unsafe {
            for kx in 0..K {
                let taps = match shape.input_column(ox, kx) {
                    Some(x) => {
                        let mut rows = *rows;
                        for (row, mask) in rows.iter_mut().zip(masks) {
                            *row = row.wrapping_add((x * shape.in_channels) & mask);
                        }
                        interleave(rows)
                    }
                    None => [[vld1q_s8(line.zero()); 4]; 2],
                };
                self.multiply(&mut sums, &taps, kx);
            }
            let multiplier = self.0.multiplier.as_ptr();
            let mut scaled = [vdupq_n_f32(0.0); 4];
            for (i, (scaled, sums)) in scaled.iter_mut().zip(sums).enumerate() {
                *scaled = scale(sums, vld1q_f32(multiplier.add(4 * i)));
            }
            vst1q_s8(out, Epilogue::new(self.0.range).bytes(scaled));
        }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    fn biases(&self) -> Sums {
        let bias = self.0.bias.as_ptr();
        // SAFETY: there are 16.
        unsafe { [vld1q_s32(bias), vld1q_s32(bias.add(4)), vld1q_s32(bias.add(8)), vld1q_s32(bias.add(12))] }
    }

    /// Adds the products of an interleaved column with the kernel's column `kx`.
    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    fn multiply(&self, sums: &mut Sums, taps: &[[int8x16_t; 4]; 2], kx: usize) {
        for (taps, weights) in taps.iter().zip(&self.0.taps[Self::place(kx)]).take(K.div_ceil(4)) {
            for ((sums, &taps), weights) in sums.iter_mut().zip(taps).zip(weights) {
                // SAFETY: there are 16 bytes.
                *sums = sdot(*sums, taps, unsafe { vld1q_s8(weights.as_ptr().cast()) });
            }
        }
    }
}

/// Four (and four more) taps of 16 channels of a column, as four channels of four taps in each register. Taps
/// that the kernel does not have repeat one: their weights are zero.
///
/// # Safety
/// Each row has 16 values.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn interleave<const K: usize>(rows: [*const i8; K]) -> [[int8x16_t; 4]; 2] {
    let mut taps = [vdupq_n_s8(0); 8];
    for (i, tap) in taps.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *tap = unsafe { vld1q_s8(rows[i.min(K - 1)]) };
    }
    let quad = |[a, b, c, d]: [int8x16_t; 4]| {
        let word = vreinterpretq_s16_s8;
        let (ab_low, ab_high) = (word(vzip1q_s8(a, b)), word(vzip2q_s8(a, b)));
        let (cd_low, cd_high) = (word(vzip1q_s8(c, d)), word(vzip2q_s8(c, d)));
        [
            vreinterpretq_s8_s16(vzip1q_s16(ab_low, cd_low)),
            vreinterpretq_s8_s16(vzip2q_s16(ab_low, cd_low)),
            vreinterpretq_s8_s16(vzip1q_s16(ab_high, cd_high)),
            vreinterpretq_s8_s16(vzip2q_s16(ab_high, cd_high)),
        ]
    };
    let [a, b, c, d, e, f, g, h] = taps;
    [quad([a, b, c, d]), quad([e, f, g, h])]
}

/// `vdotq_s32`, which is not stable yet.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn sdot(mut acc: int32x4_t, x: int8x16_t, w: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction between registers, of an extension that the function asks for.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {x:v}.16b, {w:v}.16b",
            acc = inout(vreg) acc,
            x = in(vreg) x,
            w = in(vreg) w,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// Interleaves the next column of 3 rows into registers 28 to 31.
#[rustfmt::skip]
macro_rules! column_3 {
    () => {
        concat!(
            "ld1 {{v28.16b}}, [{r0}], {s0}\n",
            "ld1 {{v29.16b}}, [{r1}], {s1}\n",
            "ld1 {{v30.16b}}, [{r2}], {s2}\n",
            "zip1 v24.16b, v28.16b, v29.16b\n",
            "zip2 v25.16b, v28.16b, v29.16b\n",
            "zip1 v26.16b, v30.16b, v30.16b\n",
            "zip2 v27.16b, v30.16b, v30.16b\n",
            "zip1 v28.8h, v24.8h, v26.8h\n",
            "zip2 v29.8h, v24.8h, v26.8h\n",
            "zip1 v30.8h, v25.8h, v27.8h\n",
            "zip2 v31.8h, v25.8h, v27.8h\n",
        )
    };
}

/// Interleaves the next column of 5 rows into registers 24 to 31.
#[rustfmt::skip]
macro_rules! column_5 {
    () => {
        concat!(
            "ld1 {{v24.16b}}, [{r0}], {s0}\n",
            "ld1 {{v25.16b}}, [{r1}], {s1}\n",
            "ld1 {{v26.16b}}, [{r2}], {s2}\n",
            "ld1 {{v27.16b}}, [{r3}], {s3}\n",
            "ld1 {{v28.16b}}, [{r4}], {s4}\n",
            "zip1 v20.16b, v24.16b, v25.16b\n",
            "zip2 v21.16b, v24.16b, v25.16b\n",
            "zip1 v22.16b, v26.16b, v27.16b\n",
            "zip2 v23.16b, v26.16b, v27.16b\n",
            "zip1 v24.8h, v20.8h, v22.8h\n",
            "zip2 v25.8h, v20.8h, v22.8h\n",
            "zip1 v26.8h, v21.8h, v23.8h\n",
            "zip2 v27.8h, v21.8h, v23.8h\n",
            "zip1 v20.16b, v28.16b, v28.16b\n",
            "zip2 v21.16b, v28.16b, v28.16b\n",
            "zip1 v28.8h, v20.8h, v20.8h\n",
            "zip2 v29.8h, v20.8h, v20.8h\n",
            "zip1 v30.8h, v21.8h, v21.8h\n",
            "zip2 v31.8h, v21.8h, v21.8h\n",
        )
    };
}

/// Adds the products of a column of 3 rows with the weights in registers.
#[rustfmt::skip]
macro_rules! held {
    ([$a:literal $b:literal $c:literal $d:literal], $w0:literal $w1:literal $w2:literal $w3:literal) => {
        concat!(
            "sdot ", $a, ".4s, v28.16b, ", $w0, ".16b\n",
            "sdot ", $b, ".4s, v29.16b, ", $w1, ".16b\n",
            "sdot ", $c, ".4s, v30.16b, ", $w2, ".16b\n",
            "sdot ", $d, ".4s, v31.16b, ", $w3, ".16b\n",
        )
    };
}

/// Adds the products of a column of 5 rows with the next weights.
#[rustfmt::skip]
macro_rules! read {
    ([$a:literal $b:literal $c:literal $d:literal]) => {
        concat!(
            "ld1 {{v20.16b, v21.16b, v22.16b, v23.16b}}, [{taps}], #64\n",
            "sdot ", $a, ".4s, v24.16b, v20.16b\n",
            "sdot ", $b, ".4s, v25.16b, v21.16b\n",
            "sdot ", $c, ".4s, v26.16b, v22.16b\n",
            "sdot ", $d, ".4s, v27.16b, v23.16b\n",
            "ld1 {{v20.16b, v21.16b, v22.16b, v23.16b}}, [{taps}], #64\n",
            "sdot ", $a, ".4s, v28.16b, v20.16b\n",
            "sdot ", $b, ".4s, v29.16b, v21.16b\n",
            "sdot ", $c, ".4s, v30.16b, v22.16b\n",
            "sdot ", $d, ".4s, v31.16b, v23.16b\n",
        )
    };
}

/// Requantizes and stores the sums of a pixel, as [`Epilogue`] does, and starts those of another.
#[rustfmt::skip]
macro_rules! complete {
    ([$a:literal $b:literal $c:literal $d:literal]) => {
        concat!(
            "ld1 {{v24.4s, v25.4s, v26.4s, v27.4s}}, [{multiplier}]\n",
            "scvtf ", $a, ".4s, ", $a, ".4s\n",
            "scvtf ", $b, ".4s, ", $b, ".4s\n",
            "scvtf ", $c, ".4s, ", $c, ".4s\n",
            "scvtf ", $d, ".4s, ", $d, ".4s\n",
            "ld1 {{v28.16b, v29.16b, v30.16b}}, [{range}]\n",
            "fmul ", $a, ".4s, ", $a, ".4s, v24.4s\n",
            "fmul ", $b, ".4s, ", $b, ".4s, v25.4s\n",
            "fmul ", $c, ".4s, ", $c, ".4s, v26.4s\n",
            "fmul ", $d, ".4s, ", $d, ".4s, v27.4s\n",
            "fcvtns ", $a, ".4s, ", $a, ".4s\n",
            "fcvtns ", $b, ".4s, ", $b, ".4s\n",
            "fcvtns ", $c, ".4s, ", $c, ".4s\n",
            "fcvtns ", $d, ".4s, ", $d, ".4s\n",
            "sqxtn v24.4h, ", $a, ".4s\n",
            "sqxtn v25.4h, ", $c, ".4s\n",
            "sqxtn2 v24.8h, ", $b, ".4s\n",
            "sqxtn2 v25.8h, ", $d, ".4s\n",
            "ld1 {{", $a, ".4s, ", $b, ".4s, ", $c, ".4s, ", $d, ".4s}}, [{bias}]\n",
            "sqadd v24.8h, v24.8h, v28.8h\n",
            "sqadd v25.8h, v25.8h, v28.8h\n",
            "sqxtn v24.8b, v24.8h\n",
            "sqxtn2 v24.16b, v25.8h\n",
            "smax v24.16b, v24.16b, v29.16b\n",
            "smin v24.16b, v24.16b, v30.16b\n",
            "st1 {{v24.16b}}, [{out}], {channels}\n",
        )
    };
}

/// Completes a pixel whose sums are `$p`, while those of `$q` … wait.
#[rustfmt::skip]
macro_rules! turn {
    (3, 1, $p:tt $q:tt $r:tt) => {
        concat!(
            column_3!(),
            held!($p, "v12" "v13" "v14" "v15"),
            held!($q, "v16" "v17" "v18" "v19"),
            held!($r, "v20" "v21" "v22" "v23"),
            complete!($p),
        )
    };
    (3, 2, $p:tt $q:tt) => {
        concat!(
            column_3!(),
            held!($p, "v12" "v13" "v14" "v15"),
            column_3!(),
            held!($p, "v16" "v17" "v18" "v19"),
            held!($q, "v20" "v21" "v22" "v23"),
            complete!($p),
        )
    };
    (5, 1, $p:tt $q:tt $r:tt $s:tt $t:tt) => {
        concat!(
            column_5!(), read!($p), read!($q), read!($r), read!($s), read!($t),
            "sub {taps}, {taps}, #640\n",
            complete!($p),
        )
    };
    (5, 2, $p:tt $q:tt $r:tt) => {
        concat!(
            column_5!(), read!($p), read!($q),
            column_5!(), read!($p), read!($q), read!($r),
            "sub {taps}, {taps}, #640\n",
            complete!($p),
        )
    };
}

/// Turns from the image to zero points.
#[rustfmt::skip]
macro_rules! zeros {
    (3) => {
        concat!(
            "mov {r0}, {zero}\n", "mov {s0}, xzr\n",
            "mov {r1}, {zero}\n", "mov {s1}, xzr\n",
            "mov {r2}, {zero}\n", "mov {s2}, xzr\n",
        )
    };
    (5) => {
        concat!(
            "mov {r0}, {zero}\n", "mov {s0}, xzr\n",
            "mov {r1}, {zero}\n", "mov {s1}, xzr\n",
            "mov {r2}, {zero}\n", "mov {s2}, xzr\n",
            "mov {r3}, {zero}\n", "mov {s3}, xzr\n",
            "mov {r4}, {zero}\n", "mov {s4}, xzr\n",
        )
    };
}

/// Turns from the label `$this` on, each out of the loop after the last pixel. At stride 1 the pixels beyond are
/// next, whose new columns are zero points.
#[rustfmt::skip]
macro_rules! turns {
    ($k:tt, 1, $($this:literal $end:literal $next:literal [$($order:tt)*])*) => {
        concat!(
            $($this, ":\n", turn!($k, 1, $($order)*), "subs {pixels}, {pixels}, #1\n", "b.eq ", $end, "f\n",)*
            "b 20b\n",
            $($end, ":\n",
            "cbz {beyond}, 40f\n",
            "mov {pixels}, {beyond}\n",
            "mov {beyond}, xzr\n",
            zeros!($k),
            "b ", $next, "b\n",)*
            "40:\n",
        )
    };
    ($k:tt, 2, $($this:literal $end:literal $next:literal [$($order:tt)*])*) => {
        concat!(
            $($this, ":\n", turn!($k, 2, $($order)*), "subs {pixels}, {pixels}, #1\n", "b.eq 40f\n",)*
            "b 20b\n",
            "40:\n",
        )
    };
}

/// `Interior` of `$k` × `$k` at stride `$s`.
macro_rules! interior {
    ($k:tt, $pixels:tt, $s:tt, $turns:expr, rows $($row:ident $step:ident $ky:tt)*,
     sums [$($reg:tt $p:tt $i:tt)*], held [$($held:tt $place:tt $quarter:tt)*],
     read [$($taps:ident: $($temporary:tt)*)?], beyond [$($beyond:ident $zero:ident)?]) => {
        impl Interior<$k, $pixels> for Columns<'_, $k, $pixels, $s> {
            #[inline(always)]
            unsafe fn interior(&self, waiting: &mut [Sums; $pixels], walk: Walk<$k>) {
                let block = &self.0;
                // SAFETY: the caller's promise; the constants are the block's. Writes nothing but the walk's
                // outputs.
                unsafe {
                    asm!(
                        $turns,
                        $($row = inout(reg) walk.rows[$ky] => _, $step = inout(reg) walk.steps[$ky] => _,)*
                        $($taps = inout(reg) block.taps.as_ptr() => _, $(out($temporary) _,)*)?
                        bias = in(reg) &block.bias,
                        multiplier = in(reg) &block.multiplier,
                        range = in(reg) &block.zero_point,
                        out = inout(reg) walk.out => _,
                        channels = in(reg) walk.channels,
                        pixels = inout(reg) walk.pixels => _,
                        $($beyond = inout(reg) walk.beyond => _, $zero = in(reg) walk.zero,)?
                        $(inout($reg) waiting[$p][$i] => _,)*
                        $(inout($held) vld1q_s8(block.taps[$place][0][$quarter].as_ptr().cast()) => _,)*
                        out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                        out("v28") _, out("v29") _, out("v30") _, out("v31") _,
                        options(nostack),
                    );
                }
            }
        }
    };
}

interior!(3, 3, 1, turns!(3, 1, "20" "30" "21" [["v0" "v1" "v2" "v3"] ["v4" "v5" "v6" "v7"] ["v8" "v9" "v10" "v11"]] "21" "31" "22" [["v4" "v5" "v6" "v7"] ["v8" "v9" "v10" "v11"] ["v0" "v1" "v2" "v3"]] "22" "32" "20" [["v8" "v9" "v10" "v11"] ["v0" "v1" "v2" "v3"] ["v4" "v5" "v6" "v7"]]),
    rows r0 s0 0 r1 s1 1 r2 s2 2,
    sums ["v0" 0 0 "v1" 0 1 "v2" 0 2 "v3" 0 3 "v4" 1 0 "v5" 1 1 "v6" 1 2 "v7" 1 3 "v8" 2 0 "v9" 2 1 "v10" 2 2 "v11" 2 3],
    held ["v12" 0 0 "v13" 0 1 "v14" 0 2 "v15" 0 3 "v16" 1 0 "v17" 1 1 "v18" 1 2 "v19" 1 3 "v20" 2 0 "v21" 2 1 "v22" 2 2 "v23" 2 3],
    read [], beyond [beyond zero]);
interior!(3, 2, 2, turns!(3, 2, "20" "30" "21" [["v0" "v1" "v2" "v3"] ["v4" "v5" "v6" "v7"]] "21" "31" "20" [["v4" "v5" "v6" "v7"] ["v0" "v1" "v2" "v3"]]),
    rows r0 s0 0 r1 s1 1 r2 s2 2,
    sums ["v0" 0 0 "v1" 0 1 "v2" 0 2 "v3" 0 3 "v4" 1 0 "v5" 1 1 "v6" 1 2 "v7" 1 3],
    held ["v12" 0 0 "v13" 0 1 "v14" 0 2 "v15" 0 3 "v16" 1 0 "v17" 1 1 "v18" 1 2 "v19" 1 3 "v20" 2 0 "v21" 2 1 "v22" 2 2 "v23" 2 3],
    read [], beyond []);
interior!(5, 5, 1, turns!(5, 1, "20" "30" "21" [["v0" "v1" "v2" "v3"] ["v4" "v5" "v6" "v7"] ["v8" "v9" "v10" "v11"] ["v12" "v13" "v14" "v15"] ["v16" "v17" "v18" "v19"]] "21" "31" "22" [["v4" "v5" "v6" "v7"] ["v8" "v9" "v10" "v11"] ["v12" "v13" "v14" "v15"] ["v16" "v17" "v18" "v19"] ["v0" "v1" "v2" "v3"]] "22" "32" "23" [["v8" "v9" "v10" "v11"] ["v12" "v13" "v14" "v15"] ["v16" "v17" "v18" "v19"] ["v0" "v1" "v2" "v3"] ["v4" "v5" "v6" "v7"]] "23" "33" "24" [["v12" "v13" "v14" "v15"] ["v16" "v17" "v18" "v19"] ["v0" "v1" "v2" "v3"] ["v4" "v5" "v6" "v7"] ["v8" "v9" "v10" "v11"]] "24" "34" "20" [["v16" "v17" "v18" "v19"] ["v0" "v1" "v2" "v3"] ["v4" "v5" "v6" "v7"] ["v8" "v9" "v10" "v11"] ["v12" "v13" "v14" "v15"]]),
    rows r0 s0 0 r1 s1 1 r2 s2 2 r3 s3 3 r4 s4 4,
    sums ["v0" 0 0 "v1" 0 1 "v2" 0 2 "v3" 0 3 "v4" 1 0 "v5" 1 1 "v6" 1 2 "v7" 1 3 "v8" 2 0 "v9" 2 1 "v10" 2 2 "v11" 2 3 "v12" 3 0 "v13" 3 1 "v14" 3 2 "v15" 3 3 "v16" 4 0 "v17" 4 1 "v18" 4 2 "v19" 4 3],
    held [],
    read [taps: "v20" "v21" "v22" "v23"], beyond [beyond zero]);
interior!(5, 3, 2, turns!(5, 2, "20" "30" "21" [["v0" "v1" "v2" "v3"] ["v4" "v5" "v6" "v7"] ["v8" "v9" "v10" "v11"]] "21" "31" "22" [["v4" "v5" "v6" "v7"] ["v8" "v9" "v10" "v11"] ["v0" "v1" "v2" "v3"]] "22" "32" "20" [["v8" "v9" "v10" "v11"] ["v0" "v1" "v2" "v3"] ["v4" "v5" "v6" "v7"]]),
    rows r0 s0 0 r1 s1 1 r2 s2 2 r3 s3 3 r4 s4 4,
    sums ["v0" 0 0 "v1" 0 1 "v2" 0 2 "v3" 0 3 "v4" 1 0 "v5" 1 1 "v6" 1 2 "v7" 1 3 "v8" 2 0 "v9" 2 1 "v10" 2 2 "v11" 2 3],
    held [],
    read [taps: "v20" "v21" "v22" "v23"], beyond []);
