//! Depthwise by the AArch64 dot product, for 3 × 3 and 5 × 5 at strides 1 and 2: four rows of a column of the
//! image are interleaved once, 16 channels × 4 taps, and wait in four registers for every pixel that reads
//! the column; `sdot` multiplies them (Arm ARM, section C7.2, SDOT (vector), ZIP1, ZIP2). Other kernels, and
//! layers whose scaled sums may be beyond int16, are NEON's.
//!
//! A stretch of a line is one piece of [assembly](super::aarch64_dotprod_stretch), its borders included: beyond the image the pointers of the
//! rows turn to zero points. Columns are never moved: the code is repeated until the registers come round.
//!
//! The fifth row of 5 × 5 is not worth a quad of its own in every column. It is interleaved beforehand, four
//! columns at a time, into a buffer, where the five columns of a pixel are in two quads. Which of their bytes
//! count is for the weights to say, of which there is a set for each of the four places that a pixel can have.
//!
//! Of 3 × 3 at stride 1 two lines are computed at once, which read the same four rows of each column.
//!
//! Instructions for 16 channels of a pixel, requantized and stored: 42 (3 × 3, stride 1), 57 (stride 2), 76 and 88
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
    let block = Block::new(&shape, weights, Bounds::new::<true>(range));
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
    let channels = weights.bias.iter().zip(weights.multiplier);
    // All of them, so that it is done several at a time.
    begins_inside
        && channels.fold(true, |all, (&bias, &multiplier)| all & fits(kernel * kernel, bias, multiplier))
}

/// The most pixels of a stretch: of 5 × 5, what there are quads for.
const fn stretch_pixels(kernel: usize, stride: usize) -> usize {
    if kernel == 5 { 4 * (QUADS - 1) / stride } else { usize::MAX }
}

/// The constants of a block of channels.
#[repr(C, align(1024))]
pub(super) struct Block<'a> {
    /// Of the fifth row: two quads for each place that a pixel can have. Aligned to twice its size, so that
    /// a pointer comes round by clearing a bit.
    pub fifth: [[[i8; 4 * WIDTH]; 2]; 4],
    /// Of each column of the kernel, four rows.
    pub taps: [[i8; 4 * WIDTH]; 5],
    /// Those of 3 × 3 for the output line below, which reads the same four rows from the second one on.
    pub below: [[i8; 4 * WIDTH]; 3],
    pub bias: [i32; WIDTH],
    pub multiplier: [f32; WIDTH],
    pub bounds: Bounds,
    /// Lines that are computed at once: two, where the second one reads the rows of the first one but its first.
    lines: usize,
    weights: Weights<'a>,
}

impl<'a> Block<'a> {
    fn new(shape: &ConvShape, weights: Weights<'a>, bounds: Bounds) -> Self {
        let steps = (shape.kernel_h, shape.stride_w, shape.stride_h, shape.dilation_h);
        Self {
            fifth: [[[0; 4 * WIDTH]; 2]; 4],
            taps: [[0; 4 * WIDTH]; 5],
            below: [[0; 4 * WIDTH]; 3],
            bias: [0; WIDTH],
            multiplier: [0.0; WIDTH],
            bounds,
            lines: if steps == (3, 1, 1, 1) { 2 } else { 1 },
            weights,
        }
    }
}

/// A kernel of `K` × `K` at stride `S`.
pub(super) struct Columns<'a, const K: usize, const S: usize>(pub Block<'a>);

impl<const K: usize, const S: usize> Kernel for Columns<'_, K, S>
where
    Self: Stretch<K>,
{
    fn channels(&self) -> usize {
        WIDTH
    }

    fn lines(&self) -> usize {
        self.0.lines
    }

    /// Turning to a block takes some 300 instructions, and four blocks share the cache lines of their pixels, which
    /// are a part of the strip.
    fn strip_bytes(&self) -> usize {
        2 * depthwise::STRIP_BYTES
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
                let interleaved = interleave(array::from_fn(|ky| tap(ky, kx)));
                store(interleaved, taps.as_mut_ptr());
                if let Some(below) = block.below.get_mut(kx).filter(|_| K == 3) {
                    store(interleaved.map(|taps| shift(taps, 8)), below.as_mut_ptr());
                }
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
pub(super) trait Stretch<const K: usize> {
    /// Computes the pixels of a walk.
    ///
    /// # Safety
    /// The columns and the outputs exist; the processor has the dot product.
    unsafe fn run(&self, walk: Walk);
}

/// A walk along a line.
pub(super) struct Walk {
    /// In each of four rows from the kernel's first one on the first column inside the image, and the way to the next.
    pub rows: [*const i8; 4],
    pub steps: [usize; 4],
    /// Columns of the first pixel that are left of the image, before those of every pixel that are new.
    pub left: usize,
    /// Where the first pixel goes, and the one in the line below, if that is computed as well, and the way to
    /// the next.
    pub out: *mut i8,
    pub below: *mut i8,
    pub has_below: bool,
    pub channels: usize,
    /// Pixels whose columns are not right of the image, those of whose two new columns one is, and the others.
    pub pixels: usize,
    pub mixed: usize,
    pub beyond: usize,
    /// Four registers of zero points.
    pub zero: *const i8,
    /// Quads of the fifth row, from the one that has the first pixel's first column.
    pub fifth: *const i8,
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
        // SAFETY: the lines' rows are read, at most five. Every pointer is to a column that is inside the image, or has been
        // moved beyond it and is not read any more: `run` is told how far they go.
        unsafe {
            let (rows, masks) = line.first_rows::<5>(K + line.count - 1);
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
                // Left of the image it wraps to beyond its right.
                let x = (first * S).wrapping_sub(shape.pad_left);
                let columns =
                    Row { first: rows[4], step: channels & masks[4], width: shape.in_w, zero: line.zero() };
                columns.interleave(x, quads, (pixels - 1) * S / 4 + 2);
            }
            self.run(Walk {
                rows: array::from_fn(|ky| rows[ky].wrapping_add((column * channels) & masks[ky])),
                steps: array::from_fn(|ky| channels & masks[ky]),
                left,
                out: out.add(first * channels),
                below: out.wrapping_add((shape.out_w + first) * channels),
                has_below: line.count > 1,
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

/// A line of columns of 16 channels, and zeros beyond it.
struct Row {
    first: *const i8,
    step: usize,
    width: usize,
    zero: *const i8,
}

impl Row {
    /// Interleaves so many quads of columns from `x` on, which may wrap to before the line.
    ///
    /// # Safety
    /// The line's columns can be read; `to` has room for the quads.
    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn interleave(&self, mut x: usize, mut to: *mut i8, mut quads: usize) {
        while quads > 0 {
            let inside = if x < self.width { ((self.width - x) / 4).min(quads) } else { 0 };
            // SAFETY: the caller's promise; columns that are not zeros are of the line.
            unsafe {
                if inside > 0 {
                    to = interleave_quads(self.first.add(x * self.step), self.step, to, inside);
                } else {
                    let columns = array::from_fn(|i| match x.wrapping_add(i) {
                        x if x < self.width => self.first.add(x * self.step),
                        _ => self.zero,
                    });
                    store(interleave(columns), to);
                    to = to.add(4 * WIDTH);
                }
            }
            x = x.wrapping_add(4 * inside.max(1));
            quads -= inside.max(1);
        }
    }
}

/// Interleaves `count` quads of columns, at least one. Gives where the next one goes.
///
/// # Safety
/// The columns have 16 channels, `to` has room for them.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn interleave_quads(columns: *const i8, step: usize, mut to: *mut i8, count: usize) -> *mut i8 {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        asm!(
            "20:",
            "ld1 {{v0.16b}}, [{columns}], {step}",
            "ld1 {{v1.16b}}, [{columns}], {step}",
            "ld1 {{v2.16b}}, [{columns}], {step}",
            "ld1 {{v3.16b}}, [{columns}], {step}",
            "zip1 v4.16b, v0.16b, v1.16b",
            "zip2 v5.16b, v0.16b, v1.16b",
            "zip1 v6.16b, v2.16b, v3.16b",
            "zip2 v7.16b, v2.16b, v3.16b",
            "zip1 v0.8h, v4.8h, v6.8h",
            "zip2 v1.8h, v4.8h, v6.8h",
            "zip1 v2.8h, v5.8h, v7.8h",
            "zip2 v3.8h, v5.8h, v7.8h",
            "subs {count}, {count}, #1",
            "st1 {{v0.16b, v1.16b, v2.16b, v3.16b}}, [{to}], #64",
            "b.ne 20b",
            columns = inout(reg) columns => _,
            step = in(reg) step,
            to = inout(reg) to,
            count = inout(reg) count => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            options(nostack),
        );
    }
    to
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
