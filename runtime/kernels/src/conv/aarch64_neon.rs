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
use super::aarch64_quads::{self, Isa, Sweep};
use super::aarch64_requantize::{Epilogue, scale};
use super::gemm::{self, Micro, Tile, TileOutput};
use super::pack::NR4_KR8;

const MR: usize = 16;
const NR: usize = 4;

pub(super) static MICRO: Micro = Micro { pixels: MR, layout: &NR4_KR8, tile };

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn conv(args: &mut ConvArgs<'_>) {
    // SAFETY: the caller's promise.
    unsafe { gemm::run(args, &MICRO) }
}

static ISA: Isa = Isa { nr: NR, sweeps: &[sweep], few };

/// # Safety
/// As [`Tile`] documents.
unsafe fn tile(tile: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { aarch64_quads::tile(tile, &ISA) }
}

/// # Safety
/// As [`Isa::few`].
#[target_feature(enable = "neon")]
unsafe fn few(tile: &Tile) {
    let mut first = 0;
    while first < tile.live_channels {
        let panels = (tile.live_channels - first).div_ceil(NR);
        // SAFETY: the channel `first` is live, and `panels` panels begin there.
        first += NR
            * unsafe {
                match (tile.live_pixels, panels) {
                    (1, 4..) => block::<1, 4>(tile, first),
                    (1, _) => block::<1, 1>(tile, first),
                    (_, 2..) => block::<2, 2>(tile, first),
                    _ => block::<2, 1>(tile, first),
                }
            };
    }
}

/// Products of 8 values of each pixel with those of a channel, in registers 16 to 19.
#[rustfmt::skip]
macro_rules! products {
    ($op:literal $w:literal: $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            $op, " v16.8h, v", $a, ".8b, v", $w, ".8b\n",
            $op, " v17.8h, v", $b, ".8b, v", $w, ".8b\n",
            $op, " v18.8h, v", $c, ".8b, v", $w, ".8b\n",
            $op, " v19.8h, v", $d, ".8b, v", $w, ".8b\n",
        )
    };
}

/// Adds the products to the sums of a channel.
#[rustfmt::skip]
macro_rules! pairs {
    ($a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "sadalp v", $a, ".4s, v16.8h\n", "sadalp v", $b, ".4s, v17.8h\n",
            "sadalp v", $c, ".4s, v18.8h\n", "sadalp v", $d, ".4s, v19.8h\n",
        )
    };
}

/// Four pixels × panels of four channels: 16 accumulators, 4 for products, 8 of pixels, 4 of weights.
/// 58 instructions for 256 products, since left to itself the compiler has more products under way than there
/// are registers.
///
/// # Safety
/// As [`Isa::sweeps`].
#[target_feature(enable = "neon")]
unsafe fn sweep(s: &Sweep) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        sweep!(
            s, 4, [], [w0],
            // A bias is one of the four sums of its channel.
            start: concat!(
                "ldp s0, s1, [{w0}], #8\n", "ldp s2, s3, [{w0}], #24\n",
                copies!(0: 4 8 12), copies!(1: 5 9 13), copies!(2: 6 10 14), copies!(3: 7 11 15),
            ),
            sixteen: concat!(
                "ldp d20, d21, [{r0}], #16\n",
                "ldp d22, d23, [{r1}], #16\n",
                "ldp d24, d25, [{r2}], #16\n",
                "ldp d26, d27, [{r3}], #16\n",
                "ldp d28, d29, [{w0}]\n", "ldp d30, d31, [{w0}, #32]\n",
                products!("smull" 28: 20 22 24 26), products!("smlal" 30: 21 23 25 27),
                pairs!(0 4 8 12),
                products!("smull" 29: 20 22 24 26), products!("smlal" 31: 21 23 25 27),
                pairs!(1 5 9 13),
                "ldp d28, d29, [{w0}, #16]\n", "ldp d30, d31, [{w0}, #48]\n",
                products!("smull" 28: 20 22 24 26), products!("smlal" 30: 21 23 25 27),
                pairs!(2 6 10 14),
                products!("smull" 29: 20 22 24 26), products!("smlal" 31: 21 23 25 27),
                pairs!(3 7 11 15),
                "add {w0}, {w0}, #64\n",
            ),
            rest: concat!(
                "ldr d20, [{r0}]\n",
                "ldr d22, [{r1}]\n",
                "ldr d24, [{r2}]\n",
                "ldr d26, [{r3}]\n",
                "ldp d28, d29, [{w0}], #16\n", "ldp d30, d31, [{w0}], #16\n",
                products!("smull" 28: 20 22 24 26), pairs!(0 4 8 12),
                products!("smull" 29: 20 22 24 26), pairs!(1 5 9 13),
                products!("smull" 30: 20 22 24 26), pairs!(2 6 10 14),
                products!("smull" 31: 20 22 24 26), pairs!(3 7 11 15),
            ),
            store: concat!(
                "ldr q24, [{panel}, #16]\n",
                "ld1 {{v28.16b, v29.16b, v30.16b}}, [{bounds}]\n",
                "addp v0.4s, v0.4s, v1.4s\n", "addp v2.4s, v2.4s, v3.4s\n",
                "addp v4.4s, v4.4s, v5.4s\n", "addp v6.4s, v6.4s, v7.4s\n",
                "addp v8.4s, v8.4s, v9.4s\n", "addp v10.4s, v10.4s, v11.4s\n",
                "addp v12.4s, v12.4s, v13.4s\n", "addp v14.4s, v14.4s, v15.4s\n",
                "addp v0.4s, v0.4s, v2.4s\n", "addp v4.4s, v4.4s, v6.4s\n",
                "addp v8.4s, v8.4s, v10.4s\n", "addp v12.4s, v12.4s, v14.4s\n",
                unary!("scvtf", ".4s": 0 4 8 12),
                binary!("fmul", ".4s", 24: 0 4 8 12),
                unary!("fcvtns", ".4s": 0 4 8 12),
                narrow!([0 4 8 12]),
                "str s0, [{out_q}]\n", "st1 {{v0.s}}[1], [{r1}]\n",
                "st1 {{v0.s}}[2], [{r2}]\n", "st1 {{v0.s}}[3], [{r3}]\n",
            )
        );
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
            for _ in 0..tile.tap_elems / 16 {
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
            let mut scaled = [vdupq_n_f32(0.0); 4];
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
unsafe fn store(tile: &Tile, channel: usize, scaled: [float32x4_t; 4], live: usize) {
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
                let mut all = [[0; NR]; 4];
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
