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
use core::mem::MaybeUninit;

use super::ConvArgs;
use super::aarch64_quads::{NR, Quad, Spare};
use super::aarch64_requantize::{Epilogue, scale};
use super::gemm::{self, Micro, Tile, TileOutput};
use super::pack::NR8_KR8;
use crate::requantize::OutputRange;

const MR: usize = 8;

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
    let mut first = 0;
    while first < tile.live_channels {
        let panels = (tile.live_channels - first).div_ceil(NR);
        // SAFETY: the channel `first` is live, and `panels` panels begin there; the pixels are live, and
        // rows beyond the live ones repeat one of them.
        first += NR
            * unsafe {
                match (tile.live_pixels, panels) {
                    (1..=2, 4..) => pair::<4>(tile, first),
                    (1..=2, _) => pair::<1>(tile, first),
                    (_, 3..) => quads::<3>(tile, first),
                    (_, 2) => quads::<2>(tile, first),
                    _ => quads::<1>(tile, first),
                }
            };
    }
}

/// All live pixels × `P` panels from channel `first` on, four pixels at a time. Returns `P`.
///
/// # Safety
/// As `tile`; the `P` panels exist.
#[target_feature(enable = "neon,i8mm")]
#[inline]
unsafe fn quads<const P: usize>(tile: &Tile, first: usize) -> usize
where
    Sums<P>: Accumulate,
{
    for quad in Quad::all(tile, first) {
        let mut sums = Sums([[[vdupq_n_s32(0); 4]; 2]; P]);
        // SAFETY: the panels exist, and the tile has rows for quads.
        unsafe {
            for (p, sums) in sums.0.iter_mut().enumerate() {
                *sums = [array::from_fn(|n| {
                    let two = vld1_s32(quad.biases(p).add(2 * n));
                    vcombine_s32(two, two)
                }); 2];
            }
            sums.accumulate(&quad);
        }
        // SAFETY: the panels exist.
        unsafe {
            match tile.out {
                TileOutput::I8(out, range) => {
                    let is_whole = quad.is_whole(P);
                    let mut spare: Spare<i8> = [[MaybeUninit::uninit(); _]; _];
                    let (to, stride) = if is_whole {
                        (quad.at(out), tile.out_stride)
                    } else {
                        (spare.as_mut_ptr().cast(), spare[0].len())
                    };
                    sums.store(&quad, to, stride, range);
                    if !is_whole {
                        quad.copy(&spare, P, out);
                    }
                }
                TileOutput::F32(out) => sums.store_f32(&quad, out),
            }
        }
    }
    P
}

/// Of each panel, of each pair of pixels, of each pair of channels: the sums.
struct Sums<const P: usize>([[[int32x4_t; 4]; 2]; P]);

impl<const P: usize> Sums<P> {
    /// # Safety
    /// `out` has room for `P` panels of four pixels, each `stride` elements behind the one before.
    #[inline(always)]
    unsafe fn store(&self, quad: &Quad, out: *mut i8, stride: usize, range: OutputRange) {
        // SAFETY: the caller's promise; every AArch64 processor has NEON.
        unsafe {
            let epilogue = Epilogue::new(range);
            let pixels = |p: usize| {
                let multipliers: [float32x4_t; 4] = array::from_fn(|n| {
                    let two = vld1_f32(quad.multipliers(p).add(2 * n));
                    vcombine_f32(two, two)
                });
                // Pairs of channels, of two pixels in turn.
                let [a, b] = self.0[p].map(|sums| {
                    let scaled = array::from_fn(|n| scale(sums[n], multipliers[n]));
                    vreinterpretq_s16_s8(epilogue.bytes(scaled))
                });
                // Pixels 0 and 2, pixels 1 and 3.
                [vuzp1q_s16(a, b), vuzp2q_s16(a, b)].map(|two| vreinterpretq_s64_s16(two))
            };
            for p in (0..P).step_by(2) {
                let out: [_; 4] = array::from_fn(|m| out.add(m * stride + p * NR));
                if p + 1 < P {
                    let ([a, b], [c, d]) = (pixels(p), pixels(p + 1));
                    let all = [vtrn1q_s64(a, c), vtrn1q_s64(b, d), vtrn2q_s64(a, c), vtrn2q_s64(b, d)];
                    for (out, bytes) in out.into_iter().zip(all) {
                        vst1q_s8(out, vreinterpretq_s8_s64(bytes));
                    }
                } else {
                    for (m, two) in pixels(p).into_iter().enumerate() {
                        let two = vreinterpretq_s8_s64(two);
                        vst1_s8(out[m], vget_low_s8(two));
                        vst1_s8(out[m + 2], vget_high_s8(two));
                    }
                }
            }
        }
    }

    /// # Safety
    /// The tile's output is f32, from `out` on.
    #[target_feature(enable = "neon")]
    #[inline(never)]
    unsafe fn store_f32(self, quad: &Quad, out: *mut f32) {
        let mut spare: Spare<f32> = [[MaybeUninit::uninit(); _]; _];
        // SAFETY: every pixel has room for `P` panels.
        unsafe {
            for (p, sums) in self.0.iter().enumerate() {
                for (m, sums) in sums.iter().enumerate() {
                    for (n, &sums) in sums.iter().enumerate() {
                        let two = vld1_f32(quad.multipliers(p).add(2 * n));
                        let scaled = scale(sums, vcombine_f32(two, two));
                        vst1_f32(spare[2 * m][p * NR + 2 * n].as_mut_ptr(), vget_low_f32(scaled));
                        vst1_f32(spare[2 * m + 1][p * NR + 2 * n].as_mut_ptr(), vget_high_f32(scaled));
                    }
                }
            }
            quad.copy(&spare, P, out);
        }
    }
}

trait Accumulate {
    /// Adds the products of all taps.
    ///
    /// # Safety
    /// The quad's panels exist, and the tile has rows for its pixels.
    unsafe fn accumulate(&mut self, quad: &Quad);
}

/// Adds the products of two pairs of pixels with the weights of two channels in register `$w`.
#[rustfmt::skip]
macro_rules! smmla {
    ($w:literal, $x0:literal $x1:literal, $a:literal $b:literal) => {
        concat!(
            "smmla ", $a, ".4s, ", $x0, ".16b, ", $w, ".16b\n",
            "smmla ", $b, ".4s, ", $x1, ".16b, ", $w, ".16b\n",
        )
    };
}

/// Eight of the pixels' values times those of a panel.
#[rustfmt::skip]
macro_rules! eight {
    ($w:ident, $x0:literal $x1:literal, [$($a:literal)*] [$($b:literal)*]) => {
        eight!(@ $w, $x0 $x1, $($a)*, $($b)*)
    };
    (@ $w:ident, $x0:literal $x1:literal,
     $a0:literal $a1:literal $a2:literal $a3:literal, $b0:literal $b1:literal $b2:literal $b3:literal) => {
        concat!(
            "ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{", stringify!($w), "}], #64\n",
            smmla!("v28", $x0 $x1, $a0 $b0),
            smmla!("v29", $x0 $x1, $a1 $b1),
            smmla!("v30", $x0 $x1, $a2 $b2),
            smmla!("v31", $x0 $x1, $a3 $b3),
        )
    };
}

/// The sums of `$panels` panels, whose registers are given. In assembly, since the compiler would keep
/// neither 24 sums in registers nor the pointers.
macro_rules! accumulate {
    ($panels:literal: $(
        $p:literal $w:ident [$l0:tt $l1:tt $l2:tt $l3:tt]
        [$h0:tt $h1:tt $h2:tt $h3:tt]
    )*) => {
        impl Accumulate for Sums<$panels> {
            #[inline(always)]
            unsafe fn accumulate(&mut self, quad: &Quad) {
                let Self(sums) = self;
                let tile = quad.tile();
                // SAFETY: each row pointer has `tap_elems` values, a multiple of 8: loads take 16 or 8 of
                // what is left; a panel has `taps * tap_elems * NR` weights. Writes registers only.
                unsafe {
                    let [p0, p1, p2, p3] = quad.rows();
                    let weights = quad.weights::<$panels>();
                    asm!(
                        "2:",
                        "ldr {r0}, [{p0}], #8",
                        "ldr {r1}, [{p1}], #8",
                        "ldr {r2}, [{p2}], #8",
                        "ldr {r3}, [{p3}], #8",
                        "subs {n}, {elems}, #16",
                        "b.lt 4f",
                        "3:",
                        "ldr q28, [{r0}], #16",
                        "ldr q29, [{r1}], #16",
                        "ldr q30, [{r2}], #16",
                        "ldr q31, [{r3}], #16",
                        "trn1 v24.2d, v28.2d, v29.2d",
                        "trn2 v26.2d, v28.2d, v29.2d",
                        "trn1 v25.2d, v30.2d, v31.2d",
                        "trn2 v27.2d, v30.2d, v31.2d",
                        $(eight!($w, "v24" "v25", [$l0 $l1 $l2 $l3] [$h0 $h1 $h2 $h3]),
                        eight!($w, "v26" "v27", [$l0 $l1 $l2 $l3] [$h0 $h1 $h2 $h3]),)*
                        "subs {n}, {n}, #16",
                        "b.ge 3b",
                        "4:",
                        "cbnz {rest}, 6f",
                        "5:",
                        "subs {taps}, {taps}, #1",
                        "b.ne 2b",
                        "b 8f",
                        "6:",
                        "ldr d24, [{r0}]",
                        "ldr d25, [{r2}]",
                        "ld1 {{v24.d}}[1], [{r1}]",
                        "ld1 {{v25.d}}[1], [{r3}]",
                        $(eight!($w, "v24" "v25", [$l0 $l1 $l2 $l3] [$h0 $h1 $h2 $h3]),)*
                        "b 5b",
                        "8:",
                        p0 = inout(reg) p0 => _,
                        p1 = inout(reg) p1 => _,
                        p2 = inout(reg) p2 => _,
                        p3 = inout(reg) p3 => _,
                        r0 = out(reg) _,
                        r1 = out(reg) _,
                        r2 = out(reg) _,
                        r3 = out(reg) _,
                        taps = inout(reg) tile.taps => _,
                        elems = in(reg) tile.tap_elems,
                        rest = in(reg) tile.tap_elems % 16,
                        n = out(reg) _,
                        $($w = inout(reg) weights[$p] => _,)*
                        $(inout($l0) sums[$p][0][0], inout($l1) sums[$p][0][1],
                        inout($l2) sums[$p][0][2], inout($l3) sums[$p][0][3],
                        inout($h0) sums[$p][1][0], inout($h1) sums[$p][1][1],
                        inout($h2) sums[$p][1][2], inout($h3) sums[$p][1][3],)*
                        out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                        out("v28") _, out("v29") _, out("v30") _, out("v31") _,
                        options(readonly, nostack),
                    );
                }
            }
        }
    };
}

accumulate!(1: 0 w0 ["v0" "v1" "v2" "v3"] ["v4" "v5" "v6" "v7"]);
accumulate!(2: 0 w0 ["v0" "v1" "v2" "v3"] ["v4" "v5" "v6" "v7"]
    1 w1 ["v8" "v9" "v10" "v11"] ["v12" "v13" "v14" "v15"]);
accumulate!(3: 0 w0 ["v0" "v1" "v2" "v3"] ["v4" "v5" "v6" "v7"]
    1 w1 ["v8" "v9" "v10" "v11"] ["v12" "v13" "v14" "v15"]
    2 w2 ["v16" "v17" "v18" "v19"] ["v20" "v21" "v22" "v23"]);

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
