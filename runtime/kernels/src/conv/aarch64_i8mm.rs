//! AArch64 int8 matrix multiplication: `smmla` multiplies 2 × 8 by 8 × 2 bytes into 2 × 2 int32 (Arm ARM,
//! section C7.2, SMMLA): 32 products an instruction, twice those of `sdot`.
//!
//! A tile is 4 pixels × up to 3 panels of 8 channels, a panel of `[k / 8][8][8]` weights; two channels'
//! eight values are one register as they lie there, two pixels' are put together from their rows:
//! ```text
//! acc[p][m][n] = [ px 2m · ch 2n | px 2m · ch 2n+1 | px 2m+1 · ch 2n | px 2m+1 · ch 2n+1 ]
//! ```
//! 24 accumulators, 4 registers of pixels (16 values of each), 4 of weights: 64 instructions for 1536
//! products of 3 panels.

use core::arch::aarch64::*;
use core::arch::asm;
use core::array;

use super::ConvArgs;
use super::aarch64_quads::{self, Interleaved, Isa, Sweep};
use super::aarch64_requantize::store_8;
use super::gemm::{Micro, Tile};
use super::pack::NR8_KR8;

const MR: usize = 16;
const NR: usize = 8;

pub(super) static MICRO: Micro = Micro { pixels: MR, layout: &NR8_KR8, tile: tile::<false> };
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
/// As [`Tile`] documents; the processor has the matrix multiplication; with `FITS`, as [`aarch64_quads::tile`] does.
unsafe fn tile<const FITS: bool>(tile: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { aarch64_quads::tile::<FITS>(tile, &ISA) }
}

/// The sums of two pixels × pairs of channels, twice, from the biases of their panel. `{n}` is 64.
#[rustfmt::skip]
macro_rules! start {
    ($w:literal [$a:literal $b:literal $c:literal $d:literal] [$e:literal $f:literal $g:literal $h:literal]) => {
        concat!(
            "ld4r {{v", $a, ".2d, v", $b, ".2d, v", $c, ".2d, v", $d, ".2d}}, [{", $w, "}]\n",
            "ld4r {{v", $e, ".2d, v", $f, ".2d, v", $g, ".2d, v", $h, ".2d}}, [{", $w, "}], {n}\n",
        )
    };
}

/// Adds the products of two pairs of pixels with the weights of two channels in register `$w`.
#[rustfmt::skip]
macro_rules! pairs {
    ($w:literal, [$x:literal $y:literal], $a:literal $b:literal) => {
        concat!(
            "smmla v", $a, ".4s, v", $x, ".16b, v", $w, ".16b\n",
            "smmla v", $b, ".4s, v", $y, ".16b, v", $w, ".16b\n",
        )
    };
}

/// Adds eight of the pixels' values times those of a panel.
#[rustfmt::skip]
macro_rules! eight {
    ($x:tt $w:literal [$a:literal $b:literal $c:literal $d:literal]
     [$e:literal $f:literal $g:literal $h:literal]) => {
        concat!(
            "ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{", $w, "}], #64\n",
            pairs!(28, $x, $a $e), pairs!(29, $x, $b $f), pairs!(30, $x, $c $g), pairs!(31, $x, $d $h),
        )
    };
}

/// Sixteen values of each pixel.
#[rustfmt::skip]
macro_rules! sixteen {
    ($($w:literal $a:tt $b:tt)*) => {
        concat!(
            "ldr q28, [{r0}], #16\n", "ldr q29, [{r1}], #16\n",
            "ldr q30, [{r2}], #16\n", "ldr q31, [{r3}], #16\n",
            "trn1 v24.2d, v28.2d, v29.2d\n", "trn1 v25.2d, v30.2d, v31.2d\n",
            "trn2 v26.2d, v28.2d, v29.2d\n", "trn2 v27.2d, v30.2d, v31.2d\n",
            $(eight!([24 25] $w $a $b), eight!([26 27] $w $a $b),)*
        )
    };
}

/// Eight values of each pixel.
#[rustfmt::skip]
macro_rules! rest {
    ($($w:literal $a:tt $b:tt)*) => {
        concat!(
            "ldr d24, [{r0}]\n", "ldr d25, [{r2}]\n",
            "ld1 {{v24.d}}[1], [{r1}]\n", "ld1 {{v25.d}}[1], [{r3}]\n",
            $(eight!([24 25] $w $a $b),)*
        )
    };
}

/// Sixteen values of each pixel, interleaved.
#[rustfmt::skip]
macro_rules! interleaved_sixteen {
    ($($w:literal $a:tt $b:tt)*) => {
        concat!(
            "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{p0}], #64\n",
            $(eight!([24 25] $w $a $b), eight!([26 27] $w $a $b),)*
        )
    };
}

/// Eight values of each pixel, interleaved, where there are so many.
#[rustfmt::skip]
macro_rules! interleaved_rest {
    ($($w:literal $a:tt $b:tt)*) => {
        concat!("tbz {elems}, #3, 25f\n", "ldp q24, q25, [{p0}], #32\n", $(eight!([24 25] $w $a $b),)*)
    };
}

/// The sums of a panel in f32, times its multipliers at `{r0}`, which goes on to those of the next.
#[rustfmt::skip]
macro_rules! scale {
    ([$a:literal $b:literal $c:literal $d:literal] [$e:literal $f:literal $g:literal $h:literal]) => {
        concat!(
            "ld4r {{v24.2d, v25.2d, v26.2d, v27.2d}}, [{r0}], {panel_bytes}\n",
            unary!("scvtf", ".4s": $a $b $c $d $e $f $g $h),
            binary!("fmul", ".4s", 24: $a $e), binary!("fmul", ".4s", 25: $b $f),
            binary!("fmul", ".4s", 26: $c $g), binary!("fmul", ".4s", 27: $d $h),
        )
    };
}

/// From the bytes of two registers, each pairs of channels of two pixels, to those of one pixel and the other.
#[rustfmt::skip]
macro_rules! part {
    ($a:literal $b:literal: $even:literal $odd:literal) => {
        concat!(
            "uzp1 v", $even, ".8h, v", $a, ".8h, v", $b, ".8h\n",
            "uzp2 v", $odd, ".8h, v", $a, ".8h, v", $b, ".8h\n",
        )
    };
}

/// Adds four residuals each of register `$from` to scaled sums, as `add_residual` does.
#[rustfmt::skip]
macro_rules! fours {
    ($from:literal: $a:literal $b:literal $c:literal $d:literal) => {
        concat!(fours!(one $from $a 28), fours!(one $from $b 29), fours!(one $from $c 30), fours!(one $from $d 31))
    };
    (one $from:literal $sum:literal $place:literal) => {
        concat!(
            "tbl v25.16b, {{v", $from, ".16b}}, v", $place, ".16b\n",
            "scvtf v25.4s, v25.4s, #24\n",
            "fmla v", $sum, ".4s, v25.4s, v24.4s\n",
        )
    };
}

/// Adds the residuals of two pixels, of two panels or of one, in the order of the sums: pairs of channels.
#[rustfmt::skip]
macro_rules! add_pairs {
    ($p:literal $q:literal: [$($a:literal)*] [$($b:literal)*]) => {
        concat!(
            "ldr q25, [{", $p, "}, {r0}]\n", "ldr q26, [{", $q, "}, {r0}]\n",
            "zip1 v27.8h, v25.8h, v26.8h\n", "zip2 v26.8h, v25.8h, v26.8h\n",
            fours!(27: $($a)*), fours!(26: $($b)*),
        )
    };
    ($p:literal $q:literal: [$($a:literal)*]) => {
        concat!(
            "ldr d25, [{", $p, "}, {r0}]\n", "ldr d26, [{", $q, "}, {r0}]\n",
            "zip1 v27.8h, v25.8h, v26.8h\n",
            fours!(27: $($a)*),
        )
    };
}

/// Sweeps by groups of one, two and three panels; the code is not indented for the one macro around it.
#[rustfmt::skip]
macro_rules! sweeps {
    ($of_1:ident $of_2:ident $of_3:ident: $sweep:ident $sixteen:ident $rest:ident) => {
/// # Safety
/// As [`Isa::sweeps`].
#[target_feature(enable = "neon,i8mm")]
unsafe fn $of_1(s: &Sweep) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        $sweep!(
            s, 8, [], [w0],
            start: concat!("mov {n}, #64\n", start!("w0" [0 1 2 3] [4 5 6 7])),
            wholes: by_16!($sixteen!("w0" [0 1 2 3] [4 5 6 7])),
            rest: $rest!("w0" [0 1 2 3] [4 5 6 7]),
            store: concat!(
                "add {r0}, {panel}, #32\n",
                scale!([0 1 2 3] [4 5 6 7]),
                narrow!([0 1 2 3] [4 5 6 7]),
                part!(0 4: 1 2),
                "str d1, [{out_q}]\n", "str d2, [{r1}]\n",
                "st1 {{v1.d}}[1], [{r2}]\n", "st1 {{v2.d}}[1], [{r3}]\n",
            ),
            aside: concat!(narrow_aside!([0 1 2 3] [4 5 6 7]), residual_aside!(concat!(
                add_pairs!("out_q" "r1": [0 1 2 3]), add_pairs!("r2" "r3": [4 5 6 7]),
            )))
        );
    }
}

/// # Safety
/// As [`Isa::sweeps`].
#[target_feature(enable = "neon,i8mm")]
unsafe fn $of_2(s: &Sweep) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        $sweep!(
            s, 16, ["add {w1}, {w0}, {panel_bytes}"], [w0 w1],
            start: concat!("mov {n}, #64\n", start!("w0" [0 1 2 3] [4 5 6 7]), start!("w1" [8 9 10 11] [12 13 14 15])),
            wholes: by_16!($sixteen!("w0" [0 1 2 3] [4 5 6 7] "w1" [8 9 10 11] [12 13 14 15])),
            rest: $rest!("w0" [0 1 2 3] [4 5 6 7] "w1" [8 9 10 11] [12 13 14 15]),
            store: concat!(
                "add {r0}, {panel}, #32\n",
                scale!([0 1 2 3] [4 5 6 7]),
                scale!([8 9 10 11] [12 13 14 15]),
                narrow!([0 1 2 3] [4 5 6 7] [8 9 10 11] [12 13 14 15]),
                part!(0 8: 1 2), part!(4 12: 3 5),
                "str q1, [{out_q}]\n", "str q2, [{r1}]\n", "str q3, [{r2}]\n", "str q5, [{r3}]\n",
            ),
            aside: concat!(narrow_aside!([0 1 2 3] [4 5 6 7] [8 9 10 11] [12 13 14 15]), residual_aside!(concat!(
                add_pairs!("out_q" "r1": [0 1 2 3] [8 9 10 11]),
                add_pairs!("r2" "r3": [4 5 6 7] [12 13 14 15]),
            )))
        );
    }
}

/// # Safety
/// As [`Isa::sweeps`].
#[target_feature(enable = "neon,i8mm")]
unsafe fn $of_3(s: &Sweep) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        $sweep!(
            s, 24, ["add {w1}, {w0}, {panel_bytes}" "add {w2}, {w1}, {panel_bytes}"], [w0 w1 w2],
            start: concat!(
                "mov {n}, #64\n",
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
                "add {r0}, {panel}, #32\n",
                scale!([0 1 2 3] [4 5 6 7]),
                scale!([8 9 10 11] [12 13 14 15]),
                scale!([16 17 18 19] [20 21 22 23]),
                narrow!([0 1 2 3] [4 5 6 7] [8 9 10 11] [12 13 14 15] [16 17 18 19] [20 21 22 23]),
                part!(0 8: 1 2), part!(4 12: 3 5), part!(16 20: 17 18),
                "str q1, [{out_q}]\n", "str q2, [{r1}]\n", "str q3, [{r2}], #16\n", "str q5, [{r3}], #16\n",
                "str d17, [{out_q}, #16]\n", "str d18, [{r1}, #16]\n",
                "st1 {{v17.d}}[1], [{r2}]\n", "st1 {{v18.d}}[1], [{r3}]\n",
            ),
            aside: concat!(
                narrow_aside!([0 1 2 3] [4 5 6 7] [8 9 10 11] [12 13 14 15] [16 17 18 19] [20 21 22 23]),
                residual_aside!(concat!(
                    add_pairs!("out_q" "r1": [0 1 2 3] [8 9 10 11]),
                    add_pairs!("r2" "r3": [4 5 6 7] [12 13 14 15]),
                    "add {r0}, {r0}, #16\n",
                    add_pairs!("out_q" "r1": [16 17 18 19]), add_pairs!("r2" "r3": [20 21 22 23]),
                )),
            )
        );
    }
}
    };
}

sweeps!(sweep_1 sweep_2 sweep_3: sweep sixteen rest);
sweeps!(interleaved_1 interleaved_2 interleaved_3: sweep_interleaved interleaved_sixteen interleaved_rest);

/// Interleaves the values of quads, as `sixteen` and `rest` do.
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
                "trn1 v4.2d, v0.2d, v1.2d",
                "trn1 v5.2d, v2.2d, v3.2d",
                "trn2 v6.2d, v0.2d, v1.2d",
                "trn2 v7.2d, v2.2d, v3.2d",
                "subs {n}, {n}, #16",
                "st1 {{v4.2d, v5.2d, v6.2d, v7.2d}}, [{to}], #64",
                "b.ge 23b",
                "24:",
                "tbz {elems}, #3, 25f",
                "ldr d0, [{r0}]",
                "ldr d1, [{r2}]",
                "ld1 {{v0.d}}[1], [{r1}]",
                "ld1 {{v1.d}}[1], [{r3}]",
                "stp q0, q1, [{to}], #32",
                "25:",
                r0 = inout(reg) *rows => _,
                r1 = inout(reg) *rows.add(1) => _,
                r2 = inout(reg) *rows.add(2) => _,
                r3 = inout(reg) *rows.add(3) => _,
                to = inout(reg) to,
                n = out(reg) _,
                elems = in(reg) s.tap_elems,
                out("v0") _, out("v1") _, out("v2") _, out("v3") _,
                out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                options(nostack),
            );
        }
    }
}

/// Adds eight of a pixel's values, twice in register 16, times those of a panel. A panel's sums are of two channels,
/// two of each.
#[rustfmt::skip]
macro_rules! eight_of_one {
    ($($p:literal [$a:literal $b:literal $c:literal $d:literal]
       [$w:literal $x:literal $y:literal $z:literal])*) => {
        concat!(
            "ld1r {{v16.2d}}, [{row}], #8\n",
            $(
                "ld1 {{v", $w, ".16b, v", $x, ".16b, v", $y, ".16b, v", $z, ".16b}}, [{", $p, "}], #64\n",
                "sdot v", $a, ".4s, v", $w, ".16b, v16.16b\n",
                "sdot v", $b, ".4s, v", $x, ".16b, v16.16b\n",
                "sdot v", $c, ".4s, v", $y, ".16b, v16.16b\n",
                "sdot v", $d, ".4s, v", $z, ".16b, v16.16b\n",
            )*
        )
    };
}

/// Adds the products of one pixel with panels to their sums.
macro_rules! one {
    ($tile:expr, $m:expr, $weights:expr, $sums:expr,
     [$($w:ident $i:tt $a:tt $b:tt $c:tt $d:tt)*], $($panels:tt)*) => {
        asm!(
            "20:",
            "ldr {row}, [{rows}], #8",
            "mov {n}, {elems}",
            "23:",
            eight_of_one!($($panels)*),
            "subs {n}, {n}, #8",
            "b.ne 23b",
            "cmp {rows}, {end}",
            "b.ne 20b",
            rows = inout(reg) $tile.rows.add($m * $tile.taps) => _,
            end = in(reg) $tile.rows.add(($m + 1) * $tile.taps),
            elems = in(reg) $tile.tap_elems,
            $($w = inout(reg) $weights[$i] => _,)*
            $(inout($a) $sums[$i][0], inout($b) $sums[$i][1], inout($c) $sums[$i][2], inout($d) $sums[$i][3],)*
            row = out(reg) _, n = out(reg) _,
            out("v16") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
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
    // As the dot product's: most layers add nothing.
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
    // `tap_elems` values, a multiple of 8, and not 0.
    unsafe {
        let panel = tile.panel.add(first / NR * tile.panel_bytes);
        let panels: [*const u8; P] = array::from_fn(|p| panel.add(p * tile.panel_bytes));
        let weights = panels.map(|panel| panel.add(NR * 8));
        let mut sums = [[vdupq_n_s32(0); 4]; P];
        if P == 4 {
            one!(
                tile, m, weights, sums,
                [w0 0 "v0" "v1" "v2" "v3" w1 1 "v4" "v5" "v6" "v7"
                 w2 2 "v8" "v9" "v10" "v11" w3 3 "v12" "v13" "v14" "v15"],
                "w0" [0 1 2 3] [20 21 22 23] "w1" [4 5 6 7] [24 25 26 27]
                "w2" [8 9 10 11] [28 29 30 31] "w3" [12 13 14 15] [20 21 22 23]
            );
        } else {
            one!(tile, m, weights, sums, [w0 0 "v0" "v1" "v2" "v3"], "w0" [0 1 2 3] [20 21 22 23]);
        }
        for (p, [a, b, c, d]) in sums.into_iter().enumerate() {
            let channel = first + p * NR;
            let live = (tile.live_channels - channel).min(NR);
            let out = tile.out.add(m * tile.out_stride + channel);
            let bias: *const i32 = panels[p].cast();
            let sums = [
                vaddq_s32(vpaddq_s32(a, b), vld1q_s32(bias)),
                vaddq_s32(vpaddq_s32(c, d), vld1q_s32(bias.add(4))),
            ];
            store_8(out, tile.residual.filter(|_| ADDS), sums, panels[p].add(NR * 4).cast(), live);
        }
    }
    P
}
