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
use core::array;
use core::mem::MaybeUninit;

use super::ConvArgs;
use super::aarch64_quads::{NR, Quad, Spare};
use super::aarch64_requantize::{Epilogue, scale};
use super::gemm::{self, Micro, Tile, TileOutput};
use super::pack::NR8_KR4;
use crate::requantize::OutputRange;

const MR: usize = 8;

pub(super) static MICRO: Micro = Micro { pixels: MR, layout: &NR8_KR4, tile };

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn conv(args: &mut ConvArgs<'_>) {
    // SAFETY: the caller's promise.
    unsafe { gemm::run(args, &MICRO) }
}

/// # Safety
/// As [`Tile`] documents; the processor has the dot product.
#[target_feature(enable = "neon,dotprod")]
unsafe fn tile(tile: &Tile) {
    let mut first = 0;
    while first < tile.live_channels {
        let panels = (tile.live_channels - first).div_ceil(NR);
        // SAFETY: the channel `first` is live, and `panels` panels begin there; the pixels are live, and
        // rows beyond the live ones repeat one of them.
        first += NR
            * unsafe {
                match (tile.live_pixels, panels) {
                    (1, 4..) => block::<1, 4>(tile, first),
                    (1, _) => block::<1, 1>(tile, first),
                    (2, 4..) => block::<2, 4>(tile, first),
                    (2, _) => block::<2, 1>(tile, first),
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
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn quads<const P: usize>(tile: &Tile, first: usize) -> usize
where
    Sums<P>: Accumulate,
{
    for quad in Quad::all(tile, first) {
        let mut sums = Sums([[[vdupq_n_s32(0); 4]; 2]; P]);
        // SAFETY: the panels exist, and the tile has rows for quads.
        unsafe {
            for (p, [low, high]) in sums.0.iter_mut().enumerate() {
                let bias = quad.biases(p);
                (*low, *high) = ([vld1q_s32(bias); 4], [vld1q_s32(bias.add(4)); 4]);
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

/// Of each panel, of its first and last four channels, of each of four pixels: the sums.
struct Sums<const P: usize>([[[int32x4_t; 4]; 2]; P]);

impl<const P: usize> Sums<P> {
    /// The scaled sums of pixel `m`.
    ///
    /// # Safety
    /// Panel `p` exists.
    #[inline(always)]
    unsafe fn scaled(&self, quad: &Quad, p: usize, m: usize) -> [float32x4_t; 2] {
        let [low, high] = &self.0[p];
        // SAFETY: the caller's promise.
        unsafe {
            let multiplier = quad.multipliers(p);
            [scale(low[m], vld1q_f32(multiplier)), scale(high[m], vld1q_f32(multiplier.add(4)))]
        }
    }

    /// # Safety
    /// `out` has room for `P` panels of four pixels, each `stride` elements behind the one before.
    #[inline(always)]
    unsafe fn store(&self, quad: &Quad, out: *mut i8, stride: usize, range: OutputRange) {
        // SAFETY: the caller's promise; every AArch64 processor has NEON.
        unsafe {
            let epilogue = Epilogue::new(range);
            for p in (0..P).step_by(2) {
                let out: [_; 4] = array::from_fn(|m| out.add(m * stride + p * NR));
                if p + 1 < P {
                    for (m, out) in out.into_iter().enumerate() {
                        let ([a, b], [c, d]) = (self.scaled(quad, p, m), self.scaled(quad, p + 1, m));
                        vst1q_s8(out, epilogue.bytes([a, b, c, d]));
                    }
                } else {
                    for (pair, [out, next]) in out.as_chunks::<2>().0.iter().enumerate() {
                        let (m, n) = (2 * pair, 2 * pair + 1);
                        let ([a, b], [c, d]) = (self.scaled(quad, p, m), self.scaled(quad, p, n));
                        let two = epilogue.bytes([a, b, c, d]);
                        vst1_s8(*out, vget_low_s8(two));
                        vst1_s8(*next, vget_high_s8(two));
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
            for p in 0..P {
                for (m, pixel) in spare.iter_mut().enumerate() {
                    let [low, high] = self.scaled(quad, p, m);
                    let to = pixel.as_mut_ptr().add(p * NR).cast();
                    vst1q_f32(to, low);
                    vst1q_f32(to.add(4), high);
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

/// Adds the quad `$lane` of each pixel's values times the weights in register `$w`.
#[rustfmt::skip]
macro_rules! sdot {
    ($w:literal, $lane:literal, $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "sdot ", $a, ".4s, ", $w, ".16b, v24.4b[", $lane, "]\n",
            "sdot ", $b, ".4s, ", $w, ".16b, v25.4b[", $lane, "]\n",
            "sdot ", $c, ".4s, ", $w, ".16b, v26.4b[", $lane, "]\n",
            "sdot ", $d, ".4s, ", $w, ".16b, v27.4b[", $lane, "]\n",
        )
    };
}

/// Two quads of the pixels' values times those of a panel.
#[rustfmt::skip]
macro_rules! two_quads {
    ($w:ident, $first:literal $second:literal, [$($low:literal)*] [$($high:literal)*]) => {
        concat!(
            "ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{", stringify!($w), "}], #64\n",
            sdot!("v28", $first, $($low)*),
            sdot!("v29", $first, $($high)*),
            sdot!("v30", $second, $($low)*),
            sdot!("v31", $second, $($high)*),
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
                // SAFETY: each row pointer has `tap_elems` values, a multiple of 4: loads take 16, 8 or 4 of
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
                        "ldr q24, [{r0}], #16",
                        "ldr q25, [{r1}], #16",
                        "ldr q26, [{r2}], #16",
                        "ldr q27, [{r3}], #16",
                        $(two_quads!($w, 0 1, [$l0 $l1 $l2 $l3] [$h0 $h1 $h2 $h3]),
                        two_quads!($w, 2 3, [$l0 $l1 $l2 $l3] [$h0 $h1 $h2 $h3]),)*
                        "subs {n}, {n}, #16",
                        "b.ge 3b",
                        "4:",
                        "cbnz {rest}, 6f",
                        "5:",
                        "subs {taps}, {taps}, #1",
                        "b.ne 2b",
                        "b 8f",
                        "6:",
                        "tbz {rest}, #3, 7f",
                        "ldr d24, [{r0}], #8",
                        "ldr d25, [{r1}], #8",
                        "ldr d26, [{r2}], #8",
                        "ldr d27, [{r3}], #8",
                        $(two_quads!($w, 0 1, [$l0 $l1 $l2 $l3] [$h0 $h1 $h2 $h3]),)*
                        "tbz {rest}, #2, 5b",
                        "7:",
                        "ldr s24, [{r0}]",
                        "ldr s25, [{r1}]",
                        "ldr s26, [{r2}]",
                        "ldr s27, [{r3}]",
                        $(concat!("ldp q28, q29, [{", stringify!($w), "}], #32"),
                        sdot!("v28", 0, $l0 $l1 $l2 $l3),
                        sdot!("v29", 0, $h0 $h1 $h2 $h3),)*
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
