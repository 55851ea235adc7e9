//! AArch64 dot product: `sdot` by element adds, into each of 4 int32 lanes, 4 products of the bytes
//! of one channel with 4 bytes of a pixel (Arm ARM, section C7.2, SDOT (by element)).
//!
//! A tile is 4 pixels × up to 3 panels of 8 channels, a panel of `[k / 4][8][4]` weights:
//! ```text
//! acc[p][h][m].lane(n) += sum over i < 4 of w[p][q][4 h + n][i] * x[m][4 q + i]      sdot acc, w, x.4b[q]
//! ```
//! 24 accumulators, 4 registers with 16 values of each pixel, 4 of weights: 108 instructions for 1536
//! products of 3 panels. A single pixel is multiplied by four panels at once, so that there are still enough
//! independent sums: 43 instructions for 512 products.

use core::arch::aarch64::*;
use core::arch::asm;
use core::array;

use super::ConvArgs;
use super::aarch64_quads::{self, Interleaved, Isa, Sweep};
use super::aarch64_requantize::store_8;
use super::gemm::{Micro, Tile};
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

static ISA: Isa = Isa {
    nr: NR,
    sweeps: &[sweep_1, sweep_2, sweep_3],
    few,
    interleaved: Some(Interleaved { sweeps: &[interleaved_1, interleaved_2, interleaved_3], interleave }),
};

/// # Safety
/// As [`Tile`] documents; the processor has the dot product; with `FITS`, as [`aarch64_quads::tile`] does.
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

/// Sixteen values of each pixel, which lie together.
#[rustfmt::skip]
macro_rules! interleaved_sixteen {
    ($($w:literal $low:tt $high:tt)*) => {
        concat!(
            "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{p0}], #64\n",
            $(two_quads!(0 1: $w $low $high), two_quads!(2 3: $w $low $high),)*
        )
    };
}

/// Eight values of each pixel, which lie together, then four, where there are so many.
#[rustfmt::skip]
macro_rules! interleaved_rest {
    ($($w:literal $low:tt $high:tt)*) => {
        concat!(
            "tbz {elems}, #3, 27f\n",
            "ld1 {{v24.8b, v25.8b, v26.8b, v27.8b}}, [{p0}], #32\n",
            $(two_quads!(0 1: $w $low $high),)*
            "27:\n",
            "tbz {elems}, #2, 25f\n",
            "ldp s24, s25, [{p0}], #8\n", "ldp s26, s27, [{p0}], #8\n",
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

/// Sweeps by groups of one, two and three panels; the code is not indented for the one macro around it.
#[rustfmt::skip]
macro_rules! sweeps {
    ($of_1:ident $of_2:ident $of_3:ident: $sweep:ident $sixteen:ident $rest:ident) => {
/// # Safety
/// As [`Isa::sweeps`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn $of_1(s: &Sweep) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        $sweep!(
            s, 8, [], [w0],
            start: start!("w0" [0 1 2 3] [4 5 6 7]),
            wholes: by_16!($sixteen!("w0" [0 1 2 3] [4 5 6 7])),
            rest: $rest!("w0" [0 1 2 3] [4 5 6 7]),
            store: concat!(
                "ldp q24, q25, [{panel}, #32]\n",
                scale!(24 25 [0 1 2 3] [4 5 6 7]),
                narrow!([0 4 1 5] [2 6 3 7]),
                "str d0, [{out_q}]\n", "st1 {{v0.d}}[1], [{r1}]\n",
                "str d2, [{r2}]\n", "st1 {{v2.d}}[1], [{r3}]\n",
            ),
            aside: concat!(narrow_aside!([0 4 1 5] [2 6 3 7]), residual_aside!(concat!(
                add_residual!("out_q": 0 4), add_residual!("r1": 1 5),
                add_residual!("r2": 2 6), add_residual!("r3": 3 7),
            )))
        );
    }
}

/// # Safety
/// As [`Isa::sweeps`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn $of_2(s: &Sweep) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        $sweep!(
            s, 16, ["add {w1}, {w0}, {panel_bytes}"], [w0 w1],
            start: concat!(start!("w0" [0 1 2 3] [4 5 6 7]), start!("w1" [8 9 10 11] [12 13 14 15])),
            wholes: by_16!($sixteen!("w0" [0 1 2 3] [4 5 6 7] "w1" [8 9 10 11] [12 13 14 15])),
            rest: $rest!("w0" [0 1 2 3] [4 5 6 7] "w1" [8 9 10 11] [12 13 14 15]),
            store: concat!(
                "ldp q24, q25, [{panel}, #32]\n",
                "add {r0}, {panel}, {panel_bytes}\n",
                "ldp q26, q27, [{r0}, #32]\n",
                scale!(24 25 [0 1 2 3] [4 5 6 7]),
                scale!(26 27 [8 9 10 11] [12 13 14 15]),
                narrow!([0 4 8 12] [1 5 9 13] [2 6 10 14] [3 7 11 15]),
                "str q0, [{out_q}]\n", "str q1, [{r1}]\n", "str q2, [{r2}]\n", "str q3, [{r3}]\n",
            ),
            aside: concat!(narrow_aside!([0 4 8 12] [1 5 9 13] [2 6 10 14] [3 7 11 15]), residual_aside!(concat!(
                add_residual!("out_q": 0 4 8 12), add_residual!("r1": 1 5 9 13),
                add_residual!("r2": 2 6 10 14), add_residual!("r3": 3 7 11 15),
            )))
        );
    }
}

/// # Safety
/// As [`Isa::sweeps`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn $of_3(s: &Sweep) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        $sweep!(
            s, 24, ["add {w1}, {w0}, {panel_bytes}" "add {w2}, {w1}, {panel_bytes}"], [w0 w1 w2],
            start: concat!(
                start!("w0" [0 1 2 3] [4 5 6 7]),
                start!("w1" [8 9 10 11] [12 13 14 15]),
                start!("w2" [16 17 18 19] [20 21 22 23]),
            ),
            wholes: by_32!($sixteen!(
                "w0" [0 1 2 3] [4 5 6 7] "w1" [8 9 10 11] [12 13 14 15] "w2" [16 17 18 19] [20 21 22 23]
            )),
            rest: $rest!(
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
            aside: concat!(
                narrow_aside!([0 4 8 12] [1 5 9 13] [2 6 10 14] [3 7 11 15] [16 20 17 21] [18 22 19 23]),
                residual_aside!(concat!(
                    add_residual!("out_q": 0 4 8 12), add_residual!("r1": 1 5 9 13),
                    add_residual!("r2": 2 6 10 14), add_residual!("r3": 3 7 11 15),
                    "add {r0}, {r0}, #16\n",
                    add_residual!("out_q": 16 20), add_residual!("r1": 17 21),
                    add_residual!("r2": 18 22), add_residual!("r3": 19 23),
                )),
            )
        );
    }
}
    };
}

sweeps!(sweep_1 sweep_2 sweep_3: sweep sixteen rest);
sweeps!(interleaved_1 interleaved_2 interleaved_3: sweep_interleaved interleaved_sixteen interleaved_rest);

/// Lays the values of quads together, as `interleaved_sixteen` and `interleaved_rest` read them.
///
/// # Safety
/// As [`Interleaved::interleave`].
#[target_feature(enable = "neon")]
unsafe fn interleave(s: &Sweep, mut to: *mut i8) {
    for quad in 0..s.quads {
        // SAFETY: reads the rows of a quad, and writes as much.
        unsafe {
            let rows = s.rows.add(4 * quad);
            asm!(
                "subs {n}, {elems}, #16",
                "b.lt 24f",
                "23:",
                "ldr q0, [{r0}], #16",
                "ldr q1, [{r1}], #16",
                "ldr q2, [{r2}], #16",
                "ldr q3, [{r3}], #16",
                "subs {n}, {n}, #16",
                "st1 {{v0.16b, v1.16b, v2.16b, v3.16b}}, [{to}], #64",
                "b.ge 23b",
                "24:",
                "tbz {elems}, #3, 25f",
                "ldr d0, [{r0}], #8",
                "ldr d1, [{r1}], #8",
                "ldr d2, [{r2}], #8",
                "ldr d3, [{r3}], #8",
                "st1 {{v0.8b, v1.8b, v2.8b, v3.8b}}, [{to}], #32",
                "25:",
                "tbz {elems}, #2, 26f",
                "ldr s0, [{r0}]",
                "ldr s1, [{r1}]",
                "ldr s2, [{r2}]",
                "ldr s3, [{r3}]",
                "stp s0, s1, [{to}], #8",
                "stp s2, s3, [{to}], #8",
                "26:",
                r0 = inout(reg) *rows => _,
                r1 = inout(reg) *rows.add(1) => _,
                r2 = inout(reg) *rows.add(2) => _,
                r3 = inout(reg) *rows.add(3) => _,
                to = inout(reg) to,
                n = out(reg) _,
                elems = in(reg) s.tap_elems,
                out("v0") _, out("v1") _, out("v2") _, out("v3") _,
                options(nostack),
            );
        }
    }
}

/// Adds two quads of a pixel's values, in register 8, times those of panels: quad after quad, so that each sum has
/// time to be ready for the next.
#[rustfmt::skip]
macro_rules! two_of_one {
    ($first:literal $second:literal: $($p:literal [$a:literal $b:literal] [$w:literal $x:literal $y:literal $z:literal])*) => {
        concat!(
            $("ld1 {{v", $w, ".16b, v", $x, ".16b, v", $y, ".16b, v", $z, ".16b}}, [{", $p, "}], #64\n",)*
            $(
                "sdot v", $a, ".4s, v", $w, ".16b, v8.4b[", $first, "]\n",
                "sdot v", $b, ".4s, v", $x, ".16b, v8.4b[", $first, "]\n",
            )*
            $(
                "sdot v", $a, ".4s, v", $y, ".16b, v8.4b[", $second, "]\n",
                "sdot v", $b, ".4s, v", $z, ".16b, v8.4b[", $second, "]\n",
            )*
        )
    };
}

/// Adds one quad of a pixel's values times those of panels.
#[rustfmt::skip]
macro_rules! one_of_one {
    ($($p:literal [$a:literal $b:literal] [$w:literal $x:literal $y:literal $z:literal])*) => {
        concat!($(
            "ldp q", $w, ", q", $x, ", [{", $p, "}], #32\n",
            "sdot v", $a, ".4s, v", $w, ".16b, v8.4b[0]\n",
            "sdot v", $b, ".4s, v", $x, ".16b, v8.4b[0]\n",
        )*)
    };
}

/// Adds the products of one pixel with panels to their sums.
macro_rules! one {
    ($tile:expr, $m:expr, $weights:expr, $sums:expr, [$($w:ident $i:tt $a:tt $b:tt)*], $($panels:tt)*) => {
        asm!(
            "20:",
            "ldr {row}, [{rows}], #8",
            "subs {n}, {elems}, #16",
            "b.lt 24f",
            "23:",
            "ldr q8, [{row}], #16",
            two_of_one!(0 1: $($panels)*),
            two_of_one!(2 3: $($panels)*),
            "subs {n}, {n}, #16",
            "b.ge 23b",
            "24:",
            "tbz {elems}, #3, 25f",
            "ldr d8, [{row}], #8",
            two_of_one!(0 1: $($panels)*),
            "25:",
            "tbz {elems}, #2, 26f",
            "ldr s8, [{row}]",
            one_of_one!($($panels)*),
            "26:",
            "cmp {rows}, {end}",
            "b.ne 20b",
            rows = inout(reg) $tile.rows.add($m * $tile.taps) => _,
            end = in(reg) $tile.rows.add(($m + 1) * $tile.taps),
            elems = in(reg) $tile.tap_elems,
            $($w = inout(reg) $weights[$i] => _,)*
            $(inout($a) $sums[$i][0], inout($b) $sums[$i][1],)*
            row = out(reg) _, n = out(reg) _,
            out("v8") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack, readonly),
        )
    };
}

/// # Safety
/// As [`Isa::few`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn few(tile: &Tile) {
    // Most layers add nothing, and a panel of few values is computed in little more time than one more question.
    // SAFETY: this function's own contract.
    unsafe {
        match tile.residual {
            None => few_panels::<false>(tile),
            Some(_) => few_panels::<true>(tile),
        }
    }
}

/// # Safety
/// As [`few`]; `ADDS` where the tile has a residual.
#[target_feature(enable = "neon,dotprod")]
unsafe fn few_panels<const ADDS: bool>(tile: &Tile) {
    for m in 0..tile.live_pixels {
        let mut first = 0;
        while first < tile.live_channels {
            // SAFETY: the pixel and the channel are live, and so many panels begin there.
            first += NR
                * unsafe {
                    match (tile.live_channels - first).div_ceil(NR) {
                        4.. => block::<4, ADDS>(tile, m, first),
                        _ => block::<1, ADDS>(tile, m, first),
                    }
                };
        }
    }
}

/// Pixel `m` × `P` panels, 4 or 1, from channel `first` on. Returns `P`.
///
/// # Safety
/// As [`few_panels`]; the pixel is live, and the `P` panels exist.
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn block<const P: usize, const ADDS: bool>(tile: &Tile, m: usize, first: usize) -> usize {
    // SAFETY: a panel holds NR biases, NR multipliers and `taps * tap_elems * NR` weights. Each row pointer has
    // `tap_elems` values, a multiple of 4.
    unsafe {
        let panel = tile.panel.add(first / NR * tile.panel_bytes);
        let panels: [*const u8; P] = array::from_fn(|p| panel.add(p * tile.panel_bytes));
        let mut sums = panels.map(|panel| [vld1q_s32(panel.cast()), vld1q_s32(panel.add(16).cast())]);
        let weights = panels.map(|panel| panel.add(NR * 8));
        if P == 4 {
            one!(
                tile, m, weights, sums,
                [w0 0 "v0" "v1" w1 1 "v2" "v3" w2 2 "v4" "v5" w3 3 "v6" "v7"],
                "w0" [0 1] [16 17 18 19] "w1" [2 3] [20 21 22 23]
                "w2" [4 5] [24 25 26 27] "w3" [6 7] [28 29 30 31]
            );
        } else {
            one!(tile, m, weights, sums, [w0 0 "v0" "v1"], "w0" [0 1] [16 17 18 19]);
        }
        for (p, sums) in sums.into_iter().enumerate() {
            let channel = first + p * NR;
            let live = (tile.live_channels - channel).min(NR);
            let out = tile.out.add(m * tile.out_stride + channel);
            store_8(out, tile.residual.filter(|_| ADDS), sums, panels[p].add(NR * 4).cast(), live);
        }
    }
    P
}
