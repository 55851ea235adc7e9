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

use super::ConvArgs;
use super::aarch64_quads::{self, Isa, Sweep};
use super::aarch64_requantize::{Epilogue, scale};
use super::gemm::{Micro, Tile, TileOutput};
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

static ISA: Isa = Isa { nr: NR, sweeps: &[sweep_1, sweep_2, sweep_3], few };

/// # Safety
/// As [`Tile`] documents; the processor has the matrix multiplication; with `FITS`, as [`aarch64_quads::tile`] does.
unsafe fn tile<const FITS: bool>(tile: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { aarch64_quads::tile::<FITS>(tile, &ISA) }
}

/// # Safety
/// As [`Isa::few`].
#[target_feature(enable = "neon,i8mm")]
unsafe fn few(tile: &Tile) {
    let mut first = 0;
    while first < tile.live_channels {
        let panels = (tile.live_channels - first).div_ceil(NR);
        // SAFETY: the channel `first` is live, and `panels` panels begin there.
        first += NR
            * unsafe {
                match panels {
                    4.. => pair::<4>(tile, first),
                    _ => pair::<1>(tile, first),
                }
            };
    }
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

/// # Safety
/// As [`Isa::sweeps`].
#[target_feature(enable = "neon,i8mm")]
unsafe fn sweep_1(s: &Sweep) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        sweep!(
            s, 8, [], [w0],
            start: concat!("mov {n}, #64\n", start!("w0" [0 1 2 3] [4 5 6 7])),
            sixteen: sixteen!("w0" [0 1 2 3] [4 5 6 7]),
            rest: rest!("w0" [0 1 2 3] [4 5 6 7]),
            store: concat!(
                "add {r0}, {panel}, #32\n",
                scale!([0 1 2 3] [4 5 6 7]),
                narrow!([0 1 2 3] [4 5 6 7]),
                part!(0 4: 1 2),
                "str d1, [{out_q}]\n", "str d2, [{r1}]\n",
                "st1 {{v1.d}}[1], [{r2}]\n", "st1 {{v2.d}}[1], [{r3}]\n",
            ),
            aside: narrow_aside!([0 1 2 3] [4 5 6 7])
        );
    }
}

/// # Safety
/// As [`Isa::sweeps`].
#[target_feature(enable = "neon,i8mm")]
unsafe fn sweep_2(s: &Sweep) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        sweep!(
            s, 16, ["add {w1}, {w0}, {panel_bytes}"], [w0 w1],
            start: concat!("mov {n}, #64\n", start!("w0" [0 1 2 3] [4 5 6 7]), start!("w1" [8 9 10 11] [12 13 14 15])),
            sixteen: sixteen!("w0" [0 1 2 3] [4 5 6 7] "w1" [8 9 10 11] [12 13 14 15]),
            rest: rest!("w0" [0 1 2 3] [4 5 6 7] "w1" [8 9 10 11] [12 13 14 15]),
            store: concat!(
                "add {r0}, {panel}, #32\n",
                scale!([0 1 2 3] [4 5 6 7]),
                scale!([8 9 10 11] [12 13 14 15]),
                narrow!([0 1 2 3] [4 5 6 7] [8 9 10 11] [12 13 14 15]),
                part!(0 8: 1 2), part!(4 12: 3 5),
                "str q1, [{out_q}]\n", "str q2, [{r1}]\n", "str q3, [{r2}]\n", "str q5, [{r3}]\n",
            ),
            aside: narrow_aside!([0 1 2 3] [4 5 6 7] [8 9 10 11] [12 13 14 15])
        );
    }
}

/// # Safety
/// As [`Isa::sweeps`].
#[target_feature(enable = "neon,i8mm")]
unsafe fn sweep_3(s: &Sweep) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        sweep!(
            s, 24, ["add {w1}, {w0}, {panel_bytes}" "add {w2}, {w1}, {panel_bytes}"], [w0 w1 w2],
            start: concat!(
                "mov {n}, #64\n",
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
            aside: narrow_aside!([0 1 2 3] [4 5 6 7] [8 9 10 11] [12 13 14 15] [16 17 18 19] [20 21 22 23])
        );
    }
}

/// One pixel or two × `P` panels from channel `first` on. Returns `P`.
///
/// # Safety
/// As `tile`; the `P` panels exist, and at most two pixels are live.
#[target_feature(enable = "neon,i8mm")]
#[inline]
unsafe fn pair<const P: usize>(tile: &Tile, first: usize) -> usize {
    // SAFETY: a panel holds NR biases, NR multipliers and `taps * tap_elems * NR` weights. Each row
    // pointer has `tap_elems` values, a multiple of 8.
    unsafe {
        let panel = tile.panel.add(first / NR * tile.panel_bytes);
        let mut acc = [[vdupq_n_s32(0); NR / 2]; P];
        for (p, acc) in acc.iter_mut().enumerate() {
            let bias: *const i32 = panel.add(p * tile.panel_bytes).cast();
            for (n, acc) in acc.iter_mut().enumerate() {
                let two = vld1_s32(bias.add(2 * n));
                *acc = vcombine_s32(two, two);
            }
        }
        let mut weights = panel.add(NR * 8).cast::<i8>();
        for tap in 0..tile.taps {
            let (a, b) = (*tile.rows.add(tap), *tile.rows.add(tile.taps + tap));
            for k in (0..tile.tap_elems).step_by(8) {
                let x = vcombine_s8(vld1_s8(a.add(k)), vld1_s8(b.add(k)));
                for (p, acc) in acc.iter_mut().enumerate() {
                    let weights = weights.add(p * tile.panel_bytes);
                    for (n, acc) in acc.iter_mut().enumerate() {
                        *acc = smmla(*acc, x, vld1q_s8(weights.add(n * 16)));
                    }
                }
                weights = weights.add(NR * 8);
            }
        }
        for (p, acc) in acc.into_iter().enumerate() {
            let first = first + p * NR;
            let multiplier: *const f32 = panel.add(p * tile.panel_bytes + NR * 4).cast();
            let multiplier = [vld1q_f32(multiplier), vld1q_f32(multiplier.add(4))];
            let live = (tile.live_channels - first).min(NR);
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
            let next = (tile.live_pixels == 2).then_some(tile.out_stride);
            store(tile.out.add(first), scaled, live, next);
        }
    }
    P
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
