//! Depthwise by the AArch64 dot product, for 3 × 3 and 5 × 5 at stride 1: each column of the image is
//! interleaved once, 16 channels × 4 taps, and `sdot` multiplies it for every pixel that reads it (Arm
//! ARM, section C7.2, SDOT (vector), ZIP1, ZIP2). Other kernels have nothing to gain from interleaving,
//! and are NEON's.

use core::arch::aarch64::*;
use core::arch::asm;

use super::ConvArgs;
use super::aarch64_requantize::{Epilogue, scale};
use super::depthwise::Line;
use super::gemm::TileOutput;
use super::quad_depthwise::{self, Block, Canonical, Isa};
use crate::requantize::OutputRange;

/// Channels of a register.
const WIDTH: usize = 16;

static ISA: Isa = Isa { widths: &[WIDTH], columns: true, prepare, line };

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn depthwise(args: &mut ConvArgs<'_>) {
    // SAFETY: the caller's promise; a processor with the dot product has NEON.
    unsafe {
        if quad_depthwise::by_columns(args) && args.shape.in_channels >= WIDTH {
            quad_depthwise::run(args, &ISA);
        } else {
            super::aarch64_depthwise::depthwise(args);
        }
    }
}

/// # Safety
/// As [`Isa::prepare`].
#[target_feature(enable = "neon")]
unsafe fn prepare(block: &mut Block, canonical: &Canonical) {
    for quad in 0..block.quads {
        let mut taps = [vdupq_n_s8(0); 4];
        for (to, tap) in taps.iter_mut().zip(canonical.quad(quad, block.columns)) {
            if let Some(tap) = tap {
                // SAFETY: the tap exists, with the block's channels, which are 16.
                *to = unsafe { vld1q_s8(tap) };
            }
        }
        for (i, weights) in interleave(taps).into_iter().enumerate() {
            // SAFETY: four registers are within one quad of weights.
            unsafe { vst1q_s8(block.weights[quad].as_mut_ptr().add(i * WIDTH).cast(), weights) };
        }
    }
}

/// # Safety
/// As [`Line`] documents; the processor has the dot product; the kernel is one of `by_columns`.
#[target_feature(enable = "neon,dotprod")]
unsafe fn line(block: &Block, line: &mut Line) {
    let TileOutput::I8(out, range) = line.out else { return };
    // SAFETY: the caller's promise; the constants are the kernel's.
    unsafe {
        match line.tap_count() {
            9 => columns::<3, 1>(block, line, out, range),
            _ => columns::<5, 2>(block, line, out, range),
        }
    }
}

/// A line of a `K` × `K` kernel at stride 1, column by column of the padded input; a column's taps
/// are `Q` quads.
///
/// Column `c` adds to the pixels `c - K + 1 ..= c`, whose accumulators wait in `waiting`, and
/// completes the first of them.
///
/// # Safety
/// As `line`; `out` is where its pixel 0 goes.
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn columns<const K: usize, const Q: usize>(
    block: &Block,
    line: &Line,
    out: *mut i8,
    range: OutputRange,
) {
    let shape = line.shape();
    // SAFETY: `K` is the kernel's height.
    let (rows, masks) = unsafe { line.rows::<K>() };
    let bias = biases(block);
    let mut waiting = [bias; K];
    for column in 0..shape.out_w + K - 1 {
        let x = column.wrapping_sub(shape.pad_left);
        for q in 0..Q {
            let mut taps = [vdupq_n_s8(0); 4];
            for (i, tap) in taps.iter_mut().enumerate() {
                let ky = q * 4 + i;
                if ky < K {
                    let offset = x.wrapping_mul(shape.in_channels) & masks[ky];
                    let from = if x < shape.in_w { rows[ky].wrapping_add(offset) } else { line.zero() };
                    // SAFETY: pixel `x` of an input line, or zero points.
                    *tap = unsafe { vld1q_s8(from) };
                }
            }
            let taps = interleave(taps);
            for (kx, waiting) in waiting.iter_mut().enumerate() {
                multiply(waiting, taps, &block.weights[kx * Q + q]);
            }
        }
        if let Some(ox) = column.checked_sub(K - 1) {
            // SAFETY: pixel `ox` of the line, with the block's 16 channels.
            unsafe { store(waiting[K - 1], block, out.add(ox * shape.in_channels), range) };
        }
        for kx in (1..K).rev() {
            waiting[kx] = waiting[kx - 1];
        }
        waiting[0] = bias;
    }
}

#[target_feature(enable = "neon,dotprod")]
#[inline]
fn multiply(acc: &mut [int32x4_t; 4], x: [int8x16_t; 4], weights: &[u8; 256]) {
    for (i, (acc, x)) in acc.iter_mut().zip(x).enumerate() {
        // SAFETY: 16 of the 256 bytes.
        let weights = unsafe { vld1q_s8(weights.as_ptr().add(i * WIDTH).cast()) };
        *acc = sdot(*acc, x, weights);
    }
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

/// From four taps of 16 channels to four channels of four taps in each register.
#[target_feature(enable = "neon")]
#[inline]
fn interleave(taps: [int8x16_t; 4]) -> [int8x16_t; 4] {
    let [a, b, c, d] = taps;
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

#[target_feature(enable = "neon")]
#[inline]
fn biases(block: &Block) -> [int32x4_t; 4] {
    let mut all = [vdupq_n_s32(0); 4];
    for (i, register) in all.iter_mut().enumerate() {
        // SAFETY: 4 of the 64 biases.
        *register = unsafe { vld1q_s32(block.bias.as_ptr().add(i * 4)) };
    }
    all
}

/// # Safety
/// `out` has room for 16 channels.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn store(acc: [int32x4_t; 4], block: &Block, out: *mut i8, range: OutputRange) {
    let mut scaled = [vdupq_n_f32(0.0); 4];
    for (i, (scaled, acc)) in scaled.iter_mut().zip(acc).enumerate() {
        // SAFETY: 4 of the 64 multipliers.
        *scaled = scale(acc, unsafe { vld1q_f32(block.multiplier.as_ptr().add(i * 4)) });
    }
    // SAFETY: the caller's promise.
    unsafe { vst1q_s8(out, Epilogue::new(range).bytes(scaled)) }
}
