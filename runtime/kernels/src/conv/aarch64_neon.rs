//! AArch64 without the dot product: `smull` and `smlal` add two int8 products in int16, `sadalp` adds
//! pairs of those into int32 (Arm ARM, section C7.2, SMULL, SMLAL, SADALP).
//!
//! Two products of an activation and a weight are at most 2 · 128 · 127 = 32 512, so that int16 holds
//! them exactly. A tile is up to 4 pixels × 4 channels, a panel of `[k / 8][4][8]` weights; each
//! accumulator's 4 lanes are partial sums of one output, added up at the end:
//! ```text
//! acc[m][n] += pairs(x[m][0..8] * w[n][0..8] + x[m][8..16] * w[n][8..16])
//! ```

use core::arch::aarch64::*;

use super::ConvArgs;
use super::aarch64_requantize::{Epilogue, scale};
use super::gemm::{self, Micro, Tile, TileOutput};
use super::pack::NR4_KR8;

const MR: usize = 4;
const NR: usize = 4;

static MICRO: Micro = Micro { pixels: MR, layout: &NR4_KR8, tile };

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn conv(args: &mut ConvArgs<'_>) {
    // SAFETY: the caller's promise.
    unsafe { gemm::run(args, &MICRO) }
}

/// # Safety
/// As [`Tile`] documents.
#[target_feature(enable = "neon")]
unsafe fn tile(tile: &Tile) {
    let mut first = 0;
    while first < tile.live_channels {
        let panels = (tile.live_channels - first).div_ceil(NR);
        // SAFETY: the channel `first` is live, and `panels` panels begin there.
        first += NR
            * unsafe {
                match (tile.live_pixels, panels) {
                    (1, 4..) => block::<1, 4>(tile, first),
                    (1, _) => block::<1, 1>(tile, first),
                    (2, 2..) => block::<2, 2>(tile, first),
                    (2, _) => block::<2, 1>(tile, first),
                    _ => block::<4, 1>(tile, first),
                }
            };
    }
}

/// Up to `M` pixels × `P` panels from channel `first` on. Returns `P`.
///
/// # Safety
/// As `tile`; the `P` panels exist, and `M` is at least the number of live pixels and at most MR.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn block<const M: usize, const P: usize>(tile: &Tile, first: usize) -> usize {
    // SAFETY: panel `p` holds NR biases, NR multipliers and `taps * tap_elems * NR` weights. Each row
    // pointer has `tap_elems` values, a multiple of 8: loads take 16 or 8 of what is left.
    unsafe {
        let panel = tile.panel.add(first / NR * tile.panel_bytes);
        let mut acc = [[[vdupq_n_s32(0); NR]; P]; M];
        let mut weights = panel.add(NR * 8).cast::<i8>();
        for tap in 0..tile.taps {
            let mut row = [core::ptr::null::<i8>(); M];
            for (m, row) in row.iter_mut().enumerate() {
                *row = *tile.rows.add(m * tile.taps + tap);
            }
            let mut k = 0;
            while k + 16 <= tile.tap_elems {
                let x = row.map(|row| [vld1_s8(row.add(k)), vld1_s8(row.add(k + 8))]);
                for p in 0..P {
                    for n in 0..NR {
                        let w = weights.add(p * tile.panel_bytes + n * 8);
                        let w = [vld1_s8(w), vld1_s8(w.add(NR * 8))];
                        for (acc, x) in acc.iter_mut().zip(x) {
                            let products = vmlal_s8(vmull_s8(x[0], w[0]), x[1], w[1]);
                            acc[p][n] = vpadalq_s16(acc[p][n], products);
                        }
                    }
                }
                weights = weights.add(NR * 16);
                k += 16;
            }
            if tile.tap_elems & 8 != 0 {
                for p in 0..P {
                    for n in 0..NR {
                        let w = vld1_s8(weights.add(p * tile.panel_bytes + n * 8));
                        for (acc, row) in acc.iter_mut().zip(row) {
                            acc[p][n] = vpadalq_s16(acc[p][n], vmull_s8(vld1_s8(row.add(k)), w));
                        }
                    }
                }
                weights = weights.add(NR * 8);
            }
        }
        for p in 0..P {
            let channel = first + p * NR;
            let constants = panel.add(p * tile.panel_bytes);
            let bias = vld1q_s32(constants.cast());
            let multiplier = vld1q_f32(constants.add(NR * 4).cast());
            let mut scaled = [vdupq_n_f32(0.0); MR];
            for (scaled, acc) in scaled.iter_mut().zip(&acc) {
                let [a, b, c, d] = acc[p];
                let sums = vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d));
                *scaled = scale(vaddq_s32(sums, bias), multiplier);
            }
            let live = (tile.live_channels - channel).min(NR);
            store(tile, channel, scaled, live);
        }
    }
    P
}

/// Stores the first `live` of 4 channels of the live pixels.
///
/// # Safety
/// The tile's output has room for `live` elements at `channel`, 1 to 4, in every live pixel.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn store(tile: &Tile, channel: usize, scaled: [float32x4_t; MR], live: usize) {
    // SAFETY: `out` has room for what is stored: all 4, or the copied `live` of them.
    unsafe {
        match tile.out.add(channel) {
            TileOutput::I8(out, range) => {
                let mut bytes = [[0; NR]; MR];
                vst1q_s8(bytes.as_mut_ptr().cast(), Epilogue::new(range).bytes(scaled));
                for (m, bytes) in bytes.iter().enumerate().take(tile.live_pixels) {
                    let out = out.add(m * tile.out_stride);
                    if live == NR {
                        out.copy_from_nonoverlapping(bytes.as_ptr(), NR);
                    } else {
                        out.copy_from_nonoverlapping(bytes.as_ptr(), live);
                    }
                }
            }
            TileOutput::F32(out) => {
                for (m, scaled) in scaled.into_iter().enumerate().take(tile.live_pixels) {
                    let mut all = [0.0; NR];
                    vst1q_f32(all.as_mut_ptr(), scaled);
                    out.add(m * tile.out_stride).copy_from_nonoverlapping(all.as_ptr(), live);
                }
            }
        }
    }
}
