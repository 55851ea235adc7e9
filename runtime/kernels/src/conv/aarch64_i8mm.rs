//! AArch64 int8 matrix multiplication: `smmla` multiplies 2 × 8 by 8 × 2 bytes into 2 × 2 int32 (Arm ARM,
//! section C7.2, SMMLA): 32 products an instruction, twice those of `sdot`.
//!
//! A tile is up to 8 pixels × 8 channels, a panel of `[k / 8][8][8]` weights; two channels' eight values are
//! one register as they lie there, two pixels' are put together from their rows:
//! ```text
//! acc[m][n] = [ px 2m · ch 2n | px 2m · ch 2n+1 | px 2m+1 · ch 2n | px 2m+1 · ch 2n+1 ]
//! ```
//! 16 accumulators, 8 registers of pixels (16 values of each), 4 of weights: 28 of 32 registers.

use core::arch::aarch64::*;
use core::arch::asm;

use super::ConvArgs;
use super::aarch64_requantize::{Epilogue, scale};
use super::gemm::{self, Micro, Tile, TileOutput};
use super::pack::NR8_KR8;

const MR: usize = 8;
const NR: usize = 8;

pub(super) static MICRO: Micro = Micro { pixels: MR, layout: &NR8_KR8, tile };

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn conv(args: &mut ConvArgs<'_>) {
    // SAFETY: the caller's promise.
    unsafe { gemm::run(args, &MICRO) }
}

/// # Safety
/// As [`Tile`] documents; the processor has the matrix multiplication.
#[target_feature(enable = "neon,i8mm")]
unsafe fn tile(tile: &Tile) {
    for first in (0..tile.live_channels).step_by(NR) {
        // SAFETY: the channel `first` is live, so its panel exists; the arms cover the live pixels.
        unsafe {
            match tile.live_pixels {
                1..=2 => block::<1>(tile, first),
                3..=4 => block::<2>(tile, first),
                _ => block::<4>(tile, first),
            }
        }
    }
}

/// Up to `M` pairs of pixels × the 8 channels from `first` on.
///
/// # Safety
/// As `tile`; the panel exists, and `2 * M` is at least the number of live pixels.
#[target_feature(enable = "neon,i8mm")]
#[inline]
unsafe fn block<const M: usize>(tile: &Tile, first: usize) {
    // SAFETY: the panel holds NR biases, NR multipliers and `taps * tap_elems * NR` weights. Each row
    // pointer has `tap_elems` values, a multiple of 8: loads take 16 or 8 of what is left.
    unsafe {
        let panel = tile.panel.add(first / NR * tile.panel_bytes);
        let bias: *const i32 = panel.cast();
        let mut start = [vdupq_n_s32(0); NR / 2];
        for (n, start) in start.iter_mut().enumerate() {
            let two = vld1_s32(bias.add(2 * n));
            *start = vcombine_s32(two, two);
        }
        let mut acc = [start; M];
        let mut weights = panel.add(NR * 8).cast::<i8>();
        for tap in 0..tile.taps {
            let mut rows = [[core::ptr::null::<i8>(); 2]; M];
            for (m, rows) in rows.iter_mut().enumerate() {
                *rows =
                    [*tile.rows.add(2 * m * tile.taps + tap), *tile.rows.add((2 * m + 1) * tile.taps + tap)];
            }
            let mut k = 0;
            while k + 16 <= tile.tap_elems {
                let mut x = [[vdupq_n_s64(0); 2]; M];
                for (x, rows) in x.iter_mut().zip(rows) {
                    let [a, b] = rows.map(|row| vreinterpretq_s64_s8(vld1q_s8(row.add(k))));
                    *x = [vtrn1q_s64(a, b), vtrn2q_s64(a, b)];
                }
                multiply(&mut acc, &x.map(|x| vreinterpretq_s8_s64(x[0])), weights);
                multiply(&mut acc, &x.map(|x| vreinterpretq_s8_s64(x[1])), weights.add(NR * 8));
                weights = weights.add(NR * 16);
                k += 16;
            }
            if tile.tap_elems & 8 != 0 {
                let x = rows.map(|[a, b]| vcombine_s8(vld1_s8(a.add(k)), vld1_s8(b.add(k))));
                multiply(&mut acc, &x, weights);
                weights = weights.add(NR * 8);
            }
        }
        let multiplier: *const f32 = panel.add(NR * 4).cast();
        let multiplier = [vld1q_f32(multiplier), vld1q_f32(multiplier.add(4))];
        let live = (tile.live_channels - first).min(NR);
        for (m, acc) in acc.iter().enumerate() {
            // Not the loop's bound: then the accumulators would have to live in memory.
            if 2 * m >= tile.live_pixels {
                break;
            }
            let acc = acc.map(|sums| vreinterpretq_s64_s32(sums));
            // Channels 0 to 3 and 4 to 7 of the even pixel, then of the odd one.
            let sums = [
                vtrn1q_s64(acc[0], acc[1]),
                vtrn1q_s64(acc[2], acc[3]),
                vtrn2q_s64(acc[0], acc[1]),
                vtrn2q_s64(acc[2], acc[3]),
            ];
            let [a, b, c, d] = sums.map(|sums| vreinterpretq_s32_s64(sums));
            let [low, high] = multiplier;
            let scaled = [scale(a, low), scale(b, high), scale(c, low), scale(d, high)];
            let out = tile.out.add(2 * m * tile.out_stride + first);
            let is_pair = 2 * m + 1 < tile.live_pixels;
            store(out, scaled, live, is_pair.then_some(tile.out_stride));
        }
    }
}

/// Adds the products of 8 values of each pixel with the weights of 8 channels.
///
/// # Safety
/// `weights` has 64 bytes.
#[target_feature(enable = "neon,i8mm")]
#[inline]
unsafe fn multiply<const M: usize>(
    acc: &mut [[int32x4_t; NR / 2]; M],
    x: &[int8x16_t; M],
    weights: *const i8,
) {
    for n in 0..NR / 2 {
        // SAFETY: the caller's promise.
        let w = unsafe { vld1q_s8(weights.add(n * 16)) };
        for (acc, &x) in acc.iter_mut().zip(x) {
            acc[n] = smmla(acc[n], x, w);
        }
    }
}

/// `vmmlaq_s32`, which is not stable yet.
#[target_feature(enable = "neon,i8mm")]
#[inline]
fn smmla(mut acc: int32x4_t, x: int8x16_t, w: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction between registers, of an extension that the function asks for.
    unsafe {
        asm!(
            "smmla {acc:v}.4s, {x:v}.16b, {w:v}.16b",
            acc = inout(vreg) acc,
            x = in(vreg) x,
            w = in(vreg) w,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// Stores the first `live` of 8 channels of one pixel, and of the next one, where there is one, so many
/// elements further.
///
/// # Safety
/// `out` has room for `live` elements, 1 to 8, there and there.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn store(out: TileOutput, scaled: [float32x4_t; 4], live: usize, next: Option<usize>) {
    // SAFETY: `out` has room for what is stored: all 8, or the copied `live` of them.
    unsafe {
        match out {
            TileOutput::I8(out, range) => {
                let bytes = Epilogue::new(range).bytes(scaled);
                if live == NR {
                    vst1_s8(out, vget_low_s8(bytes));
                    if let Some(next) = next {
                        vst1_s8(out.add(next), vget_high_s8(bytes));
                    }
                } else {
                    let mut all = [0; 2 * NR];
                    vst1q_s8(all.as_mut_ptr(), bytes);
                    out.copy_from_nonoverlapping(all.as_ptr(), live);
                    if let Some(next) = next {
                        out.add(next).copy_from_nonoverlapping(all.as_ptr().add(NR), live);
                    }
                }
            }
            TileOutput::F32(out) => {
                let mut all = [0.0; 2 * NR];
                for (i, scaled) in scaled.into_iter().enumerate() {
                    vst1q_f32(all.as_mut_ptr().add(4 * i), scaled);
                }
                out.copy_from_nonoverlapping(all.as_ptr(), live);
                if let Some(next) = next {
                    out.add(next).copy_from_nonoverlapping(all.as_ptr().add(NR), live);
                }
            }
        }
    }
}
