//! AArch64 without the dot product: `smull` and `smlal` add two int8 products in int16, `sadalp` adds
//! pairs of those into int32 (Arm ARM, section C7.2, SMULL, SMLAL, SADALP).
//!
//! Two products of an activation and a weight are at most 2 · 128 · 127 = 32 512, so that int16 holds
//! them exactly. A register of weights has two values of k for eight channels, `[k / 2][8][2]`. `ld4r` loads
//! eight values of a pixel as four pairs, each repeated through a register of its own (section C7.2, LD4R), so
//! that a pair meets its weights of all channels, and a lane of a sum has all of one channel:
//! ```text
//! acc[m][n] += pair(x[m][k..k + 2] * w[n][k..k + 2] + x[m][k + 2..k + 4] * w[n][k + 2..k + 4])
//! ```

use core::arch::aarch64::*;
use core::arch::asm;

use super::ConvArgs;
use super::aarch64_quads::{self, Isa, Sweep};
use super::aarch64_requantize::store_8;
use super::gemm::{Micro, Tile};
use super::pack::NR8_KR2;

const MR: usize = 16;
const NR: usize = 8;

pub(super) static MICRO: Micro = Micro { pixels: MR, layout: &NR8_KR2, tile: tile::<false> };
/// For sums that fit int16 when they are scaled.
static FITTING: Micro = Micro { tile: tile::<true>, ..MICRO };

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn conv(args: &mut ConvArgs<'_>) {
    // SAFETY: the caller's promise.
    unsafe { aarch64_quads::run(args, &FITTING, &MICRO) }
}

static ISA: Isa = Isa { nr: NR, sweeps: &[sweep_1, sweep_2], few, interleaved: None };

/// # Safety
/// As [`Tile`] documents; with `FITS`, as [`aarch64_quads::tile`] does.
unsafe fn tile<const FITS: bool>(tile: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { aarch64_quads::tile::<FITS>(tile, &ISA) }
}

/// The sums of the channels 0 to 3, then 4 to 7, of four pixels, from the biases of their panel.
#[rustfmt::skip]
macro_rules! start {
    ($w:literal [$a:literal $b:literal $c:literal $d:literal] [$e:literal $f:literal $g:literal $h:literal]) => {
        concat!(
            "ldp q", $a, ", q", $e, ", [{", $w, "}]\n", "ldp q", $b, ", q", $f, ", [{", $w, "}]\n",
            "ldp q", $c, ", q", $g, ", [{", $w, "}]\n", "ldp q", $d, ", q", $h, ", [{", $w, "}], #64\n",
        )
    };
}

/// Eight values of one pixel, as four pairs in registers 16 to 19.
#[rustfmt::skip]
macro_rules! pairs {
    ($row:literal) => {
        concat!("ld4r {{v16.8h, v17.8h, v18.8h, v19.8h}}, [{", $row, "}], #8\n")
    };
}

/// Products of the pair in register `$x` with the weights in `$w`, eight channels each, in `$low` and
/// `$high`.
#[rustfmt::skip]
macro_rules! products {
    ($op:literal $x:literal: $($w:literal $low:literal $high:literal),*) => {
        concat!(
            $(
                $op, " v", $low, ".8h, v", $x, ".8b, v", $w, ".8b\n",
                $op, "2 v", $high, ".8h, v", $x, ".16b, v", $w, ".16b\n",
            )*
        )
    };
}

/// Adds products to the sums of a pixel.
#[rustfmt::skip]
macro_rules! add {
    ($($sum:literal $products:literal),*) => {
        concat!($("sadalp v", $sum, ".4s, v", $products, ".8h\n",)*)
    };
}

/// Eight values of a pixel times a panel, whose weights are in registers 24 to 27. `$next` may overwrite the
/// values: behind the last product, so that its load is under way while sums are added.
#[rustfmt::skip]
macro_rules! pixel_1 {
    ($a:literal $b:literal, $next:expr) => {
        concat!(
            products!("smull" 16: 24 20 21), products!("smull" 18: 26 22 23),
            products!("smlal" 17: 25 20 21), products!("smlal" 19: 27 22 23),
            $next,
            add!($a 20, $b 21, $a 22, $b 23),
        )
    };
}

/// Eight values of a pixel times two panels, whose weights are in registers 24 to 27 and 28 to 31.
#[rustfmt::skip]
macro_rules! pixel_2 {
    ($a:literal $b:literal $c:literal $d:literal, $next:expr) => {
        concat!(
            products!("smull" 16: 24 20 21, 28 22 23), products!("smlal" 17: 25 20 21, 29 22 23),
            add!($a 20, $b 21, $c 22, $d 23),
            products!("smull" 18: 26 20 21, 30 22 23), products!("smlal" 19: 27 20 21, 31 22 23),
            $next,
            add!($a 20, $b 21, $c 22, $d 23),
        )
    };
}

/// Eight values of four pixels times a panel: 54 instructions for 256 products.
#[rustfmt::skip]
macro_rules! eight_1 {
    () => {
        concat!(
            "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{w0}], #64\n", pairs!("r0"),
            pixel_1!(0 1, pairs!("r1")), pixel_1!(2 3, pairs!("r2")), pixel_1!(4 5, pairs!("r3")),
            pixel_1!(6 7, ""),
        )
    };
}

/// Eight values of four pixels times two panels: 102 instructions for 512 products.
#[rustfmt::skip]
macro_rules! eight_2 {
    () => {
        concat!(
            "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{w0}], #64\n", pairs!("r0"),
            "ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{w1}], #64\n",
            pixel_2!(0 1 2 3, pairs!("r1")), pixel_2!(4 5 6 7, pairs!("r2")),
            pixel_2!(8 9 10 11, pairs!("r3")), pixel_2!(12 13 14 15, ""),
        )
    };
}

/// Eight values of one pixel times panels, one after the other: 53 instructions for four panels, 256 products.
#[rustfmt::skip]
macro_rules! eight_of_one {
    ($($w:literal $a:literal $b:literal),*) => {
        concat!(
            pairs!("row"),
            $(
                "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{", $w, "}], #64\n",
                pixel_1!($a $b, ""),
            )*
        )
    };
}

/// Two pairs of a pixel times panels, whose weights are in registers `$v` and `$w`.
#[rustfmt::skip]
macro_rules! four {
    ($row:literal: $($v:literal $w:literal [$a:literal $b:literal] $low:literal $high:literal),*) => {
        concat!(
            "ld2r {{v16.8h, v17.8h}}, [{", $row, "}], #4\n",
            products!("smull" 16: $($v $low $high),*), products!("smlal" 17: $($w $low $high),*),
            add!($($a $low, $b $high),*),
        )
    };
}

/// One pair of a pixel times panels, whose weights are in registers `$w`.
#[rustfmt::skip]
macro_rules! pair {
    ($row:literal: $($w:literal [$a:literal $b:literal] $low:literal $high:literal),*) => {
        concat!(
            "ld1r {{v16.8h}}, [{", $row, "}]\n",
            products!("smull" 16: $($w $low $high),*), add!($($a $low, $b $high),*),
        )
    };
}

/// Eight values, four and two, where `{rest}` says so.
#[rustfmt::skip]
macro_rules! rest {
    ($eight:expr, $four:expr, $pair:expr) => {
        concat!(
            "tbz {rest}, #3, 27f\n",
            $eight,
            "27:\n",
            "tbz {rest}, #2, 30f\n",
            $four,
            "30:\n",
            "tbz {rest}, #1, 25b\n",
            $pair,
        )
    };
}

/// Four pixels × one panel: 8 accumulators, 4 registers of products, 4 of values, 4 of weights.
///
/// # Safety
/// As [`Isa::sweeps`].
#[target_feature(enable = "neon")]
unsafe fn sweep_1(s: &Sweep) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        sweep!(
            s, 8, [], [w0],
            start: start!("w0" [0 2 4 6] [1 3 5 7]),
            wholes: by_16!(concat!(eight_1!(), eight_1!())),
            rest: rest!(eight_1!(), concat!(
                "ldp q24, q25, [{w0}], #32\n",
                four!("r0": 24 25 [0 1] 20 21), four!("r1": 24 25 [2 3] 20 21),
                four!("r2": 24 25 [4 5] 20 21), four!("r3": 24 25 [6 7] 20 21),
            ), concat!(
                "ldr q24, [{w0}], #16\n",
                pair!("r0": 24 [0 1] 20 21), pair!("r1": 24 [2 3] 20 21),
                pair!("r2": 24 [4 5] 20 21), pair!("r3": 24 [6 7] 20 21),
            )),
            store: concat!(
                "ldp q24, q25, [{panel}, #32]\n",
                unary!("scvtf", ".4s": 0 1 2 3 4 5 6 7),
                binary!("fmul", ".4s", 24: 0 2 4 6), binary!("fmul", ".4s", 25: 1 3 5 7),
                narrow!([0 1 2 3] [4 5 6 7]),
                "str d0, [{out_q}]\n", "st1 {{v0.d}}[1], [{r1}]\n",
                "str d4, [{r2}]\n", "st1 {{v4.d}}[1], [{r3}]\n",
            ),
            aside: concat!(narrow_aside!([0 1 2 3] [4 5 6 7]), residual_aside!(concat!(
                add_residual!("out_q": 0 1), add_residual!("r1": 2 3),
                add_residual!("r2": 4 5), add_residual!("r3": 6 7),
            )))
        );
    }
}

/// Four pixels × two panels: 16 accumulators, 4 registers of products, 4 of values, 8 of weights.
///
/// # Safety
/// As [`Isa::sweeps`].
#[target_feature(enable = "neon")]
unsafe fn sweep_2(s: &Sweep) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        sweep!(
            s, 16, ["add {w1}, {w0}, {panel_bytes}"], [w0 w1],
            start: concat!(start!("w0" [0 4 8 12] [1 5 9 13]), start!("w1" [2 6 10 14] [3 7 11 15])),
            wholes: by_16!(concat!(eight_2!(), eight_2!())),
            rest: rest!(eight_2!(), concat!(
                "ldp q24, q25, [{w0}], #32\n", "ldp q28, q29, [{w1}], #32\n",
                four!("r0": 24 25 [0 1] 20 21, 28 29 [2 3] 22 23),
                four!("r1": 24 25 [4 5] 20 21, 28 29 [6 7] 22 23),
                four!("r2": 24 25 [8 9] 20 21, 28 29 [10 11] 22 23),
                four!("r3": 24 25 [12 13] 20 21, 28 29 [14 15] 22 23),
            ), concat!(
                "ldr q24, [{w0}], #16\n", "ldr q28, [{w1}], #16\n",
                pair!("r0": 24 [0 1] 20 21, 28 [2 3] 22 23), pair!("r1": 24 [4 5] 20 21, 28 [6 7] 22 23),
                pair!("r2": 24 [8 9] 20 21, 28 [10 11] 22 23), pair!("r3": 24 [12 13] 20 21, 28 [14 15] 22 23),
            )),
            store: concat!(
                "ldp q24, q25, [{panel}, #32]\n",
                "add {r0}, {panel}, {panel_bytes}\n",
                "ldp q26, q27, [{r0}, #32]\n",
                unary!("scvtf", ".4s": 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15),
                binary!("fmul", ".4s", 24: 0 4 8 12), binary!("fmul", ".4s", 25: 1 5 9 13),
                binary!("fmul", ".4s", 26: 2 6 10 14), binary!("fmul", ".4s", 27: 3 7 11 15),
                narrow!([0 1 2 3] [4 5 6 7] [8 9 10 11] [12 13 14 15]),
                "str q0, [{out_q}]\n", "str q4, [{r1}]\n", "str q8, [{r2}]\n", "str q12, [{r3}]\n",
            ),
            aside: concat!(narrow_aside!([0 1 2 3] [4 5 6 7] [8 9 10 11] [12 13 14 15]), residual_aside!(concat!(
                add_residual!("out_q": 0 1 2 3), add_residual!("r1": 4 5 6 7),
                add_residual!("r2": 8 9 10 11), add_residual!("r3": 12 13 14 15),
            )))
        );
    }
}

/// # Safety
/// As [`Isa::few`].
#[target_feature(enable = "neon")]
unsafe fn few(tile: &Tile) {
    for m in 0..tile.live_pixels {
        let mut first = 0;
        while first < tile.live_channels {
            let panels = (tile.live_channels - first).div_ceil(NR);
            // SAFETY: the pixel and the channel `first` are live, and `panels` panels begin there.
            first += NR
                * unsafe {
                    match panels {
                        4.. => block::<4>(tile, m, first),
                        _ => block::<1>(tile, m, first),
                    }
                };
        }
    }
}

/// Pixel `m` × `P` panels from channel `first` on. Returns `P`.
///
/// # Safety
/// As `tile`; the pixel is live, and the `P` panels exist.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn block<const P: usize>(tile: &Tile, m: usize, first: usize) -> usize {
    // SAFETY: panel `p` holds NR biases, NR multipliers and `taps * tap_elems * NR` weights. Each row
    // pointer has `tap_elems` values, a multiple of 2; the output has room for the live channels.
    unsafe {
        let panel = tile.panel.add(first / NR * tile.panel_bytes);
        let panels: [*const u8; P] = core::array::from_fn(|p| panel.add(p * tile.panel_bytes));
        let mut acc = panels.map(|panel| [vld1q_s32(panel.cast()), vld1q_s32(panel.add(16).cast())]);
        let mut weights = panels.map(|panel| panel.add(NR * 8).cast::<i8>());
        for tap in 0..tile.taps {
            let mut row = *tile.rows.add(m * tile.taps + tap);
            let mut eights = tile.tap_elems / 8;
            if let ([a, b, c, d], [w0, w1, w2, w3], 1..) = (&mut acc[..], &mut weights[..], eights) {
                asm!(
                    "20:",
                    eight_of_one!("w0" 0 1, "w1" 2 3, "w2" 4 5, "w3" 6 7),
                    "subs {n}, {n}, #1",
                    "b.ne 20b",
                    row = inout(reg) row,
                    n = inout(reg) eights,
                    w0 = inout(reg) *w0, w1 = inout(reg) *w1, w2 = inout(reg) *w2, w3 = inout(reg) *w3,
                    inout("v0") a[0], inout("v1") a[1], inout("v2") b[0], inout("v3") b[1],
                    inout("v4") c[0], inout("v5") c[1], inout("v6") d[0], inout("v7") d[1],
                    out("v16") _, out("v17") _, out("v18") _, out("v19") _,
                    out("v20") _, out("v21") _, out("v22") _, out("v23") _,
                    out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                    options(nostack, readonly),
                );
            }
            for _ in 0..eights {
                let int16x8x4_t(a, b, c, d) = vld4q_dup_s16(row.cast());
                let x = [a, b, c, d].map(|pair| vreinterpretq_s8_s16(pair));
                row = row.add(8);
                for (acc, weights) in acc.iter_mut().zip(&mut weights) {
                    let int8x16x4_t(a, b, c, d) = vld1q_s8_x4(*weights);
                    *weights = weights.add(NR * 8);
                    two(acc, [x[0], x[1]], [a, b]);
                    two(acc, [x[2], x[3]], [c, d]);
                }
            }
            for _ in 0..tile.tap_elems % 8 / 2 {
                let x = vreinterpretq_s8_s16(vdupq_n_s16(row.cast::<i16>().read_unaligned()));
                row = row.add(2);
                for (acc, weights) in acc.iter_mut().zip(&mut weights) {
                    let w = vld1q_s8(*weights);
                    *weights = weights.add(NR * 2);
                    acc[0] = vpadalq_s16(acc[0], vmull_s8(vget_low_s8(x), vget_low_s8(w)));
                    acc[1] = vpadalq_s16(acc[1], vmull_high_s8(x, w));
                }
            }
        }
        for (p, acc) in acc.into_iter().enumerate() {
            let channel = first + p * NR;
            let live = (tile.live_channels - channel).min(NR);
            let out = tile.out.add(m * tile.out_stride + channel);
            store_8(out, tile.residual, acc, panels[p].add(NR * 4).cast(), live);
        }
    }
    P
}

/// Adds the products of two pairs of a pixel with their weights.
#[target_feature(enable = "neon")]
#[inline]
fn two(acc: &mut [int32x4_t; 2], x: [int8x16_t; 2], w: [int8x16_t; 2]) {
    let low = vmull_s8(vget_low_s8(x[0]), vget_low_s8(w[0]));
    let high = vmull_high_s8(x[0], w[0]);
    acc[0] = vpadalq_s16(acc[0], vmlal_s8(low, vget_low_s8(x[1]), vget_low_s8(w[1])));
    acc[1] = vpadalq_s16(acc[1], vmlal_high_s8(high, x[1], w[1]));
}
