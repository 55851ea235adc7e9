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
use core::arch::asm;

use super::ConvArgs;
use super::aarch64_requantize::{Epilogue, scale};
use super::gemm::{self, Micro, Tile, TileOutput};
use super::pack::NR4_KR8;

const MR: usize = 4;
const NR: usize = 4;

pub(super) static MICRO: Micro = Micro { pixels: MR, layout: &NR4_KR8, tile };

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
            let blocks = tile.tap_elems / 16;
            match (acc.as_chunks_mut::<4>().0, row.as_chunks_mut::<4>().0) {
                ([acc], [row]) if P == 1 => {
                    if blocks > 0 {
                        let mut sums = [acc[0][0], acc[1][0], acc[2][0], acc[3][0]];
                        weights = multiply_blocks(&mut sums, row, weights, blocks);
                        for (acc, sums) in acc.iter_mut().zip(sums) {
                            acc[0] = sums;
                        }
                    }
                }
                _ => {
                    for _ in 0..blocks {
                        let x = row.map(|row| [vld1_s8(row), vld1_s8(row.add(8))]);
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
                        row = row.map(|row| row.add(16));
                    }
                }
            }
            if tile.tap_elems & 8 != 0 {
                for p in 0..P {
                    for n in 0..NR {
                        let w = vld1_s8(weights.add(p * tile.panel_bytes + n * 8));
                        for (acc, row) in acc.iter_mut().zip(row) {
                            acc[p][n] = vpadalq_s16(acc[p][n], vmull_s8(vld1_s8(row), w));
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

/// Adds the products of `blocks` times 16 values of four rows with a panel's four channels, and steps
/// rows and weights past them. In assembly, since left to itself the compiler has more products under
/// way than there are registers: 58 instructions for 256 products.
///
/// # Safety
/// `blocks` is at least 1; each row has `16 * blocks` values, and `weights` four times as many.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn multiply_blocks(
    sums: &mut [[int32x4_t; NR]; 4],
    rows: &mut [*const i8; 4],
    mut weights: *const i8,
    blocks: usize,
) -> *const i8 {
    // SAFETY: reads what the caller promises; writes registers only.
    unsafe {
        asm!(
            "2:",
            "ldp {x0a:d}, {x0b:d}, [{r0}], #16",
            "ldp {x1a:d}, {x1b:d}, [{r1}], #16",
            "ldp {x2a:d}, {x2b:d}, [{r2}], #16",
            "ldp {x3a:d}, {x3b:d}, [{r3}], #16",
            "ldp {wa:d}, {wb:d}, [{w}]",
            "ldp {wc:d}, {wd:d}, [{w}, #32]",
            "smull {p:v}.8h, {x0a:v}.8b, {wa:v}.8b",
            "smull {q:v}.8h, {x1a:v}.8b, {wa:v}.8b",
            "smull {s:v}.8h, {x2a:v}.8b, {wa:v}.8b",
            "smull {t:v}.8h, {x3a:v}.8b, {wa:v}.8b",
            "smlal {p:v}.8h, {x0b:v}.8b, {wc:v}.8b",
            "smlal {q:v}.8h, {x1b:v}.8b, {wc:v}.8b",
            "smlal {s:v}.8h, {x2b:v}.8b, {wc:v}.8b",
            "smlal {t:v}.8h, {x3b:v}.8b, {wc:v}.8b",
            "sadalp {c00:v}.4s, {p:v}.8h",
            "sadalp {c10:v}.4s, {q:v}.8h",
            "sadalp {c20:v}.4s, {s:v}.8h",
            "sadalp {c30:v}.4s, {t:v}.8h",
            "smull {p:v}.8h, {x0a:v}.8b, {wb:v}.8b",
            "smull {q:v}.8h, {x1a:v}.8b, {wb:v}.8b",
            "smull {s:v}.8h, {x2a:v}.8b, {wb:v}.8b",
            "smull {t:v}.8h, {x3a:v}.8b, {wb:v}.8b",
            "smlal {p:v}.8h, {x0b:v}.8b, {wd:v}.8b",
            "smlal {q:v}.8h, {x1b:v}.8b, {wd:v}.8b",
            "smlal {s:v}.8h, {x2b:v}.8b, {wd:v}.8b",
            "smlal {t:v}.8h, {x3b:v}.8b, {wd:v}.8b",
            "ldp {wa:d}, {wb:d}, [{w}, #16]",
            "ldp {wc:d}, {wd:d}, [{w}, #48]",
            "sadalp {c01:v}.4s, {p:v}.8h",
            "sadalp {c11:v}.4s, {q:v}.8h",
            "sadalp {c21:v}.4s, {s:v}.8h",
            "sadalp {c31:v}.4s, {t:v}.8h",
            "smull {p:v}.8h, {x0a:v}.8b, {wa:v}.8b",
            "smull {q:v}.8h, {x1a:v}.8b, {wa:v}.8b",
            "smull {s:v}.8h, {x2a:v}.8b, {wa:v}.8b",
            "smull {t:v}.8h, {x3a:v}.8b, {wa:v}.8b",
            "smlal {p:v}.8h, {x0b:v}.8b, {wc:v}.8b",
            "smlal {q:v}.8h, {x1b:v}.8b, {wc:v}.8b",
            "smlal {s:v}.8h, {x2b:v}.8b, {wc:v}.8b",
            "smlal {t:v}.8h, {x3b:v}.8b, {wc:v}.8b",
            "sadalp {c02:v}.4s, {p:v}.8h",
            "sadalp {c12:v}.4s, {q:v}.8h",
            "sadalp {c22:v}.4s, {s:v}.8h",
            "sadalp {c32:v}.4s, {t:v}.8h",
            "smull {p:v}.8h, {x0a:v}.8b, {wb:v}.8b",
            "smull {q:v}.8h, {x1a:v}.8b, {wb:v}.8b",
            "smull {s:v}.8h, {x2a:v}.8b, {wb:v}.8b",
            "smull {t:v}.8h, {x3a:v}.8b, {wb:v}.8b",
            "smlal {p:v}.8h, {x0b:v}.8b, {wd:v}.8b",
            "smlal {q:v}.8h, {x1b:v}.8b, {wd:v}.8b",
            "smlal {s:v}.8h, {x2b:v}.8b, {wd:v}.8b",
            "smlal {t:v}.8h, {x3b:v}.8b, {wd:v}.8b",
            "add {w}, {w}, #64",
            "subs {n}, {n}, #1",
            "sadalp {c03:v}.4s, {p:v}.8h",
            "sadalp {c13:v}.4s, {q:v}.8h",
            "sadalp {c23:v}.4s, {s:v}.8h",
            "sadalp {c33:v}.4s, {t:v}.8h",
            "b.ne 2b",
            r0 = inout(reg) rows[0],
            r1 = inout(reg) rows[1],
            r2 = inout(reg) rows[2],
            r3 = inout(reg) rows[3],
            w = inout(reg) weights,
            n = inout(reg) blocks => _,
            c00 = inout(vreg) sums[0][0],
            c01 = inout(vreg) sums[0][1],
            c02 = inout(vreg) sums[0][2],
            c03 = inout(vreg) sums[0][3],
            c10 = inout(vreg) sums[1][0],
            c11 = inout(vreg) sums[1][1],
            c12 = inout(vreg) sums[1][2],
            c13 = inout(vreg) sums[1][3],
            c20 = inout(vreg) sums[2][0],
            c21 = inout(vreg) sums[2][1],
            c22 = inout(vreg) sums[2][2],
            c23 = inout(vreg) sums[2][3],
            c30 = inout(vreg) sums[3][0],
            c31 = inout(vreg) sums[3][1],
            c32 = inout(vreg) sums[3][2],
            c33 = inout(vreg) sums[3][3],
            x0a = out(vreg) _, x0b = out(vreg) _,
            x1a = out(vreg) _, x1b = out(vreg) _,
            x2a = out(vreg) _, x2b = out(vreg) _,
            x3a = out(vreg) _, x3b = out(vreg) _,
            wa = out(vreg) _, wb = out(vreg) _, wc = out(vreg) _, wd = out(vreg) _,
            p = out(vreg) _, q = out(vreg) _, s = out(vreg) _, t = out(vreg) _,
            options(readonly, nostack),
        );
    }
    weights
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
                let bytes = Epilogue::new(range).bytes(scaled);
                if live == NR {
                    let four = vreinterpretq_s32_s8(bytes);
                    let four = [
                        vgetq_lane_s32::<0>(four),
                        vgetq_lane_s32::<1>(four),
                        vgetq_lane_s32::<2>(four),
                        vgetq_lane_s32::<3>(four),
                    ];
                    for (m, bytes) in four.into_iter().enumerate().take(tile.live_pixels) {
                        out.add(m * tile.out_stride).cast::<i32>().write_unaligned(bytes);
                    }
                    return;
                }
                let mut all = [[0; NR]; MR];
                vst1q_s8(all.as_mut_ptr().cast(), bytes);
                for (m, bytes) in all.iter().enumerate().take(tile.live_pixels) {
                    out.add(m * tile.out_stride).copy_from_nonoverlapping(bytes.as_ptr(), live);
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
