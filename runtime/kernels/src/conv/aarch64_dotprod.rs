//! AArch64 dot product: `sdot` by element adds, into each of 4 int32 lanes, 4 products of the bytes
//! of one channel with 4 bytes of a pixel (Arm ARM, section C7.2, SDOT (by element)).
//!
//! A tile is 4 pixels × up to 3 panels of 8 channels, a panel of `[k / 4][8][4]` weights:
//! ```text
//! acc[p][h][m].lane(n) += sum over i < 4 of w[p][q][4 h + n][i] * x[m][4 q + i]      sdot acc, w, x.4b[q]
//! ```
//! 24 accumulators, 4 registers with 16 values of each pixel, 4 of weights: 108 instructions for 1536
//! products of 3 panels. A single pixel or two are multiplied by four panels at once, so that there are
//! still enough independent sums.

use core::arch::aarch64::*;
use core::arch::asm;

use super::ConvArgs;
use super::aarch64_quads::{self, Isa, Sweep};
use super::aarch64_requantize::{Epilogue, scale};
use super::gemm::{Micro, Tile, TileOutput};
use super::pack::NR8_KR4;

const MR: usize = 16;
const NR: usize = 8;

pub(super) static MICRO: Micro = Micro { pixels: MR, layout: &NR8_KR4, tile: tile::<false> };
/// For sums that fit int16 when they are scaled.
static FITTING: Micro = Micro { tile: tile::<true>, ..MICRO };

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn conv(args: &mut ConvArgs<'_>) {
    // SAFETY: the caller's promise.
    unsafe { aarch64_quads::run(args, &FITTING, &MICRO) }
}

static ISA: Isa = Isa { nr: NR, sweeps: &[sweep_1, sweep_2, sweep_3], few };

/// # Safety
/// As [`Tile`] documents; the processor has the dot product; with `FITS`, as [`aarch64_quads::tile`] does.
unsafe fn tile<const FITS: bool>(tile: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { aarch64_quads::tile::<FITS>(tile, &ISA) }
}

/// # Safety
/// As [`Isa::few`].
#[target_feature(enable = "neon,dotprod")]
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
                    (_, 4..) => block::<2, 4>(tile, first),
                    _ => block::<2, 1>(tile, first),
                }
            };
    }
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

/// Adds the quad `$lane` of each pixel's values times the weights in register `$w`.
#[rustfmt::skip]
macro_rules! quad {
    ($w:literal, $lane:literal, [$a:literal $b:literal $c:literal $d:literal]) => {
        concat!(
            "sdot v", $a, ".4s, v", $w, ".16b, v24.4b[", $lane, "]\n",
            "sdot v", $b, ".4s, v", $w, ".16b, v25.4b[", $lane, "]\n",
            "sdot v", $c, ".4s, v", $w, ".16b, v26.4b[", $lane, "]\n",
            "sdot v", $d, ".4s, v", $w, ".16b, v27.4b[", $lane, "]\n",
        )
    };
}

/// Adds two quads of the pixels' values times those of a panel.
#[rustfmt::skip]
macro_rules! two_quads {
    ($first:literal $second:literal: $w:literal $low:tt $high:tt) => {
        concat!(
            "ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{", $w, "}], #64\n",
            quad!(28, $first, $low), quad!(29, $first, $high),
            quad!(30, $second, $low), quad!(31, $second, $high),
        )
    };
}

/// Sixteen values of each pixel.
#[rustfmt::skip]
macro_rules! sixteen {
    ($($w:literal $low:tt $high:tt)*) => {
        concat!(
            "ldr q24, [{r0}], #16\n", "ldr q25, [{r1}], #16\n",
            "ldr q26, [{r2}], #16\n", "ldr q27, [{r3}], #16\n",
            $(two_quads!(0 1: $w $low $high), two_quads!(2 3: $w $low $high),)*
        )
    };
}

/// Eight values of each pixel, then four, where `{rest}` says so.
#[rustfmt::skip]
macro_rules! rest {
    ($($w:literal $low:tt $high:tt)*) => {
        concat!(
            "tbz {rest}, #3, 27f\n",
            "ldr d24, [{r0}], #8\n", "ldr d25, [{r1}], #8\n",
            "ldr d26, [{r2}], #8\n", "ldr d27, [{r3}], #8\n",
            $(two_quads!(0 1: $w $low $high),)*
            "tbz {rest}, #2, 25b\n",
            "27:\n",
            "ldr s24, [{r0}]\n", "ldr s25, [{r1}]\n",
            "ldr s26, [{r2}]\n", "ldr s27, [{r3}]\n",
            $("ldp q28, q29, [{", $w, "}], #32\n", quad!(28, 0, $low), quad!(29, 0, $high),)*
        )
    };
}

/// The sums of a panel in f32, times its multipliers, which are in two registers.
#[rustfmt::skip]
macro_rules! scale {
    ($low:literal $high:literal
     [$a:literal $b:literal $c:literal $d:literal] [$e:literal $f:literal $g:literal $h:literal]) => {
        concat!(
            unary!("scvtf", ".4s": $a $b $c $d $e $f $g $h),
            binary!("fmul", ".4s", $low: $a $b $c $d), binary!("fmul", ".4s", $high: $e $f $g $h),
        )
    };
}

/// # Safety
/// As [`Isa::sweeps`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn sweep_1(s: &Sweep) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        sweep!(
            s, 8, [], [w0],
            start: start!("w0" [0 1 2 3] [4 5 6 7]),
            sixteen: sixteen!("w0" [0 1 2 3] [4 5 6 7]),
            rest: rest!("w0" [0 1 2 3] [4 5 6 7]),
            store: concat!(
                "ldp q24, q25, [{panel}, #32]\n",
                scale!(24 25 [0 1 2 3] [4 5 6 7]),
                narrow!([0 4 1 5] [2 6 3 7]),
                "str d0, [{out_q}]\n", "st1 {{v0.d}}[1], [{r1}]\n",
                "str d2, [{r2}]\n", "st1 {{v2.d}}[1], [{r3}]\n",
            ),
            aside: narrow_aside!([0 4 1 5] [2 6 3 7])
        );
    }
}

/// # Safety
/// As [`Isa::sweeps`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn sweep_2(s: &Sweep) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        sweep!(
            s, 16, ["add {w1}, {w0}, {panel_bytes}"], [w0 w1],
            start: concat!(start!("w0" [0 1 2 3] [4 5 6 7]), start!("w1" [8 9 10 11] [12 13 14 15])),
            sixteen: sixteen!("w0" [0 1 2 3] [4 5 6 7] "w1" [8 9 10 11] [12 13 14 15]),
            rest: rest!("w0" [0 1 2 3] [4 5 6 7] "w1" [8 9 10 11] [12 13 14 15]),
            store: concat!(
                "ldp q24, q25, [{panel}, #32]\n",
                "add {r0}, {panel}, {panel_bytes}\n",
                "ldp q26, q27, [{r0}, #32]\n",
                scale!(24 25 [0 1 2 3] [4 5 6 7]),
                scale!(26 27 [8 9 10 11] [12 13 14 15]),
                narrow!([0 4 8 12] [1 5 9 13] [2 6 10 14] [3 7 11 15]),
                "str q0, [{out_q}]\n", "str q1, [{r1}]\n", "str q2, [{r2}]\n", "str q3, [{r3}]\n",
            ),
            aside: narrow_aside!([0 4 8 12] [1 5 9 13] [2 6 10 14] [3 7 11 15])
        );
    }
}

/// # Safety
/// As [`Isa::sweeps`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn sweep_3(s: &Sweep) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        sweep!(
            s, 24, ["add {w1}, {w0}, {panel_bytes}" "add {w2}, {w1}, {panel_bytes}"], [w0 w1 w2],
            start: concat!(
                start!("w0" [0 1 2 3] [4 5 6 7]),
                start!("w1" [8 9 10 11] [12 13 14 15]),
                start!("w2" [16 17 18 19] [20 21 22 23]),
            ),
            sixteen: sixteen!(
                "w0" [0 1 2 3] [4 5 6 7] "w1" [8 9 10 11] [12 13 14 15] "w2" [16 17 18 19] [20 21 22 23]
            ),
            rest: rest!(
                "w0" [0 1 2 3] [4 5 6 7] "w1" [8 9 10 11] [12 13 14 15] "w2" [16 17 18 19] [20 21 22 23]
            ),
            store: concat!(
                "ldp q24, q25, [{panel}, #32]\n",
                "add {r0}, {panel}, {panel_bytes}\n",
                "ldp q26, q27, [{r0}, #32]\n",
                "add {r0}, {r0}, {panel_bytes}\n",
                "ldp q28, q29, [{r0}, #32]\n",
                scale!(24 25 [0 1 2 3] [4 5 6 7]),
                scale!(26 27 [8 9 10 11] [12 13 14 15]),
                scale!(28 29 [16 17 18 19] [20 21 22 23]),
                narrow!([0 4 8 12] [1 5 9 13] [2 6 10 14] [3 7 11 15] [16 20 17 21] [18 22 19 23]),
                "str q0, [{out_q}]\n", "str q1, [{r1}], #16\n", "str q2, [{r2}]\n", "str q3, [{r3}], #16\n",
                "str d16, [{out_q}, #16]\n", "st1 {{v16.d}}[1], [{r1}]\n",
                "str d18, [{r2}, #16]\n", "st1 {{v18.d}}[1], [{r3}]\n",
            ),
            aside: narrow_aside!([0 4 8 12] [1 5 9 13] [2 6 10 14] [3 7 11 15] [16 20 17 21] [18 22 19 23])
        );
    }
}

/// Up to `M` pixels × `P` panels from channel `first` on. Returns `P`.
///
/// # Safety
/// As `tile`; the `P` panels exist, and `M` is at least the number of live pixels and at most MR.
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn block<const M: usize, const P: usize>(tile: &Tile, first: usize) -> usize {
    // SAFETY: panel `p` holds NR biases, NR multipliers and `taps * tap_elems * NR` weights. Each row
    // pointer has `tap_elems` values, a multiple of 4: loads take 16, 8 or 4 of what is left.
    unsafe {
        let panel = tile.panel.add(first / NR * tile.panel_bytes);
        let mut acc = [[[vdupq_n_s32(0); 2]; P]; M];
        for p in 0..P {
            let bias: *const i32 = panel.add(p * tile.panel_bytes).cast();
            for acc in &mut acc {
                acc[p] = [vld1q_s32(bias), vld1q_s32(bias.add(4))];
            }
        }
        let mut weights = panel.add(NR * 8).cast::<i8>();
        let mut x = [vdupq_n_s8(0); M];
        for tap in 0..tile.taps {
            let mut row = [core::ptr::null::<i8>(); M];
            for (m, row) in row.iter_mut().enumerate() {
                *row = *tile.rows.add(m * tile.taps + tap);
            }
            let mut k = 0;
            while k + 16 <= tile.tap_elems {
                for (x, row) in x.iter_mut().zip(row) {
                    *x = vld1q_s8(row.add(k));
                }
                multiply::<M, P, 0>(&mut acc, &x, weights, tile.panel_bytes);
                multiply::<M, P, 1>(&mut acc, &x, weights.add(NR * 4), tile.panel_bytes);
                multiply::<M, P, 2>(&mut acc, &x, weights.add(NR * 8), tile.panel_bytes);
                multiply::<M, P, 3>(&mut acc, &x, weights.add(NR * 12), tile.panel_bytes);
                weights = weights.add(NR * 16);
                k += 16;
            }
            if tile.tap_elems & 8 != 0 {
                for (x, row) in x.iter_mut().zip(row) {
                    let eight = vld1_s8(row.add(k));
                    *x = vcombine_s8(eight, eight);
                }
                multiply::<M, P, 0>(&mut acc, &x, weights, tile.panel_bytes);
                multiply::<M, P, 1>(&mut acc, &x, weights.add(NR * 4), tile.panel_bytes);
                weights = weights.add(NR * 8);
                k += 8;
            }
            if tile.tap_elems & 4 != 0 {
                for (x, row) in x.iter_mut().zip(row) {
                    *x = vreinterpretq_s8_s32(vdupq_n_s32(row.add(k).cast::<i32>().read_unaligned()));
                }
                multiply::<M, P, 0>(&mut acc, &x, weights, tile.panel_bytes);
                weights = weights.add(NR * 4);
            }
        }
        for p in 0..P {
            let channel = first + p * NR;
            let multiplier: *const f32 = panel.add(p * tile.panel_bytes + NR * 4).cast();
            let multiplier = [vld1q_f32(multiplier), vld1q_f32(multiplier.add(4))];
            let live = (tile.live_channels - channel).min(NR);
            match tile.out.add(channel) {
                TileOutput::I8(out, range) => {
                    let epilogue = Epilogue::new(range);
                    let (pairs, single) = acc.as_chunks::<2>();
                    if tile.live_pixels == M && live == NR {
                        let mut out = out;
                        for acc in pairs {
                            let bytes = epilogue.bytes(scale_pair(acc, p, multiplier));
                            vst1_s8(out, vget_low_s8(bytes));
                            vst1_s8(out.add(tile.out_stride), vget_high_s8(bytes));
                            out = out.wrapping_add(2 * tile.out_stride);
                        }
                        for acc in single {
                            let scaled = [scale(acc[p][0], multiplier[0]), scale(acc[p][1], multiplier[1])];
                            vst1_s8(out, epilogue.bytes8(scaled));
                        }
                        continue;
                    }
                    for (pair, acc) in pairs.iter().enumerate() {
                        // Not the loop's bound: then the accumulators would have to live in memory.
                        if pair * 2 >= tile.live_pixels {
                            break;
                        }
                        let bytes = epilogue.bytes(scale_pair(acc, p, multiplier));
                        let out = out.add(pair * 2 * tile.out_stride);
                        store(out, vget_low_s8(bytes), live);
                        if pair * 2 + 1 < tile.live_pixels {
                            store(out.add(tile.out_stride), vget_high_s8(bytes), live);
                        }
                    }
                    for acc in single {
                        let scaled = [scale(acc[p][0], multiplier[0]), scale(acc[p][1], multiplier[1])];
                        store(out.add((M - 1) * tile.out_stride), epilogue.bytes8(scaled), live);
                    }
                }
                TileOutput::F32(out) => {
                    for (m, acc) in acc.iter().enumerate() {
                        if m >= tile.live_pixels {
                            break;
                        }
                        let mut all = [0.0; NR];
                        vst1q_f32(all.as_mut_ptr(), scale(acc[p][0], multiplier[0]));
                        vst1q_f32(all.as_mut_ptr().add(4), scale(acc[p][1], multiplier[1]));
                        out.add(m * tile.out_stride).copy_from_nonoverlapping(all.as_ptr(), live);
                    }
                }
            }
        }
    }
    P
}

/// Adds the products of the quad `LANE` of each row's values with the weights of `P` panels.
///
/// # Safety
/// Each panel has 32 bytes at `weights`.
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn multiply<const M: usize, const P: usize, const LANE: i32>(
    acc: &mut [[[int32x4_t; 2]; P]; M],
    x: &[int8x16_t; M],
    weights: *const i8,
    panel_bytes: usize,
) {
    for p in 0..P {
        // SAFETY: the caller's promise.
        let (low, high) = unsafe {
            let weights = weights.add(p * panel_bytes);
            (vld1q_s8(weights), vld1q_s8(weights.add(16)))
        };
        for (acc, &x) in acc.iter_mut().zip(x) {
            acc[p][0] = sdot::<LANE>(acc[p][0], low, x);
            acc[p][1] = sdot::<LANE>(acc[p][1], high, x);
        }
    }
}

/// `vdotq_laneq_s32`, which is not stable yet.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn sdot<const LANE: i32>(mut acc: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction between registers, of an extension that the function asks for.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {w:v}.16b, {x:v}.4b[{lane}]",
            acc = inout(vreg) acc,
            w = in(vreg) w,
            x = in(vreg) x,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// Panel `p` of two pixels.
#[target_feature(enable = "neon")]
#[inline]
fn scale_pair<const P: usize>(
    acc: &[[[int32x4_t; 2]; P]; 2],
    p: usize,
    [low, high]: [float32x4_t; 2],
) -> [float32x4_t; 4] {
    let [[a, b], [c, d]] = [acc[0][p], acc[1][p]];
    [scale(a, low), scale(b, high), scale(c, low), scale(d, high)]
}

/// Stores the first `live` of 8 channels of one pixel.
///
/// # Safety
/// `out` has room for `live` elements, 1 to 8.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn store(out: *mut i8, bytes: int8x8_t, live: usize) {
    // SAFETY: `out` has room for what is stored: all 8, or the copied `live` of them.
    unsafe {
        if live == NR {
            vst1_s8(out, bytes);
        } else {
            let mut all = [0; NR];
            vst1_s8(all.as_mut_ptr(), bytes);
            out.copy_from_nonoverlapping(all.as_ptr(), live);
        }
    }
}
