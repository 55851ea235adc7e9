//! AVX512-VNNI: `vpdpbusd` multiplies 4 unsigned by 4 signed bytes into each of 16 int32 lanes (Intel SDM
//! vol. 2: the non-saturating form, exact modulo 2^32).
//!
//! The weights are the unsigned side: the panel holds `w + 128`, and activations stay as they are, so
//! that four of them can be broadcast by the multiplication itself. What the 128 adds, `128 * sum(x)`, is
//! the same for all channels of a pixel: it is taken off in the end. Registers: 6
//! pixels × 4 panels, or 12 × 2, are 24 accumulators.

use core::arch::x86_64::*;

use super::ConvArgs;
use super::gemm::{self, Micro, Tile, TileOutput};
use super::pack::NR16_KR4_WU8;
use crate::x86_avx512::{Bounds, in_order};

const MR: usize = 12;
const NR: usize = 16;

pub(super) static MICRO: Micro = Micro { pixels: MR, layout: &NR16_KR4_WU8, tile };

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn conv(args: &mut ConvArgs<'_>) {
    // SAFETY: the caller's promise.
    unsafe { gemm::run(args, &MICRO) }
}

/// # Safety
/// As [`Tile`] documents; the processor has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tile(tile: &Tile) {
    let mut corrections = [0; MR];
    // SAFETY: MR rows exist, four to a chunk.
    unsafe {
        if tile.live_pixels == 1 {
            correct::<1>(tile, 0, corrections.as_mut_ptr());
        } else {
            for first in (0..tile.live_pixels).step_by(4) {
                correct::<4>(tile, first, corrections.as_mut_ptr().add(first));
            }
        }
    }
    let mut channel = 0;
    while channel < tile.live_channels {
        let panels = block_panels((tile.live_channels - channel).div_ceil(NR), tile.live_pixels);
        let mut pixel = 0;
        while pixel < tile.live_pixels {
            let at = At { pixel, channel, corrections: &corrections };
            // SAFETY: the panels exist, and at least one channel of each is live, as is the pixel.
            pixel += unsafe {
                match (panels, tile.live_pixels - pixel) {
                    (8, _) => block::<1, 8, 1>(tile, &at),
                    (4, 1) => block::<1, 4, 1>(tile, &at),
                    (4, 2..=3) => block::<3, 4, 1>(tile, &at),
                    (4, _) => block::<6, 4, 1>(tile, &at),
                    (3, 1) => block::<1, 3, 1>(tile, &at),
                    (3, _) => block::<6, 3, 1>(tile, &at),
                    (2, 1) => block::<1, 2, 1>(tile, &at),
                    (2, 2..=6) => block::<6, 2, 1>(tile, &at),
                    (2, _) => block::<12, 2, 2>(tile, &at),
                    (_, 1) => block::<1, 1, 1>(tile, &at),
                    (_, 2..=6) => block::<6, 1, 1>(tile, &at),
                    (_, _) => block::<12, 1, 4>(tile, &at),
                }
            };
        }
        channel += panels * NR;
    }
}

/// How many of the `left` panels the next block takes: at most 4, evenly, since a block of one panel
/// spends more on loading activations than on multiplying (nine are three times three). A single pixel
/// needs 8 to have enough sums under way.
fn block_panels(left: usize, live_pixels: usize) -> usize {
    match (live_pixels, left) {
        (1, 8..) => 8,
        (1, 4..) => 4,
        _ => left.div_ceil(left.div_ceil(4)),
    }
}

/// Pixels of a register of 64 results, by the number of panels.
const PER_REGISTER: [usize; 9] = [0, 4, 2, 1, 1, 1, 1, 1, 1];

/// Where a block starts.
struct At<'a> {
    pixel: usize,
    channel: usize,
    corrections: &'a [i32; MR],
}

/// `-128 * sum(x)` of `R` rows from `first` on; of four, the others are 0.
///
/// # Safety
/// As `tile`; the rows exist, and `corrections` has room for four.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn correct<const R: usize>(tile: &Tile, first: usize, corrections: *mut i32) {
    let mut sums = [_mm512_setzero_si512(); 4];
    let whole = tile.tap_elems & !63;
    let tail: __mmask64 = (1 << (tile.tap_elems - whole)) - 1;
    for tap in 0..tile.taps {
        // SAFETY: each tap of a row has `tap_elems` values, and masks leave out what is behind them.
        unsafe {
            let mut x = [core::ptr::null::<i8>(); R];
            for (r, x) in x.iter_mut().enumerate() {
                *x = *tile.rows.add((first + r) * tile.taps + tap);
            }
            for k in (0..whole).step_by(64) {
                for (sum, x) in sums.iter_mut().zip(x) {
                    let x = _mm512_loadu_si512(x.add(k).cast());
                    *sum = _mm512_dpbusd_epi32(*sum, _mm512_set1_epi8(1), x);
                }
            }
            if tile.tap_elems <= 16 {
                // Registers as wide as the tap: wider loads would cross from one cache line to the next.
                for (sum, x) in sums.iter_mut().zip(x) {
                    let x = _mm_maskz_loadu_epi8(tail as __mmask16, x);
                    let part = _mm_dpbusd_epi32(_mm512_castsi512_si128(*sum), _mm_set1_epi8(1), x);
                    *sum = _mm512_zextsi128_si512(part);
                }
            } else if tile.tap_elems <= 32 {
                for (sum, x) in sums.iter_mut().zip(x) {
                    let x = _mm256_maskz_loadu_epi8(tail as __mmask32, x);
                    let part = _mm256_dpbusd_epi32(_mm512_castsi512_si256(*sum), _mm256_set1_epi8(1), x);
                    *sum = _mm512_zextsi256_si512(part);
                }
            } else if tail != 0 {
                for (sum, x) in sums.iter_mut().zip(x) {
                    let x = _mm512_maskz_loadu_epi8(tail, x.add(whole));
                    *sum = _mm512_dpbusd_epi32(*sum, _mm512_set1_epi8(1), x);
                }
            }
        }
    }
    // Four registers of 16 parts become one of four sums.
    let pair = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (low, high) = (pair(sums[0], sums[1]), pair(sums[2], sums[3]));
    let lanes = _mm512_add_epi32(_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high));
    let half = _mm256_add_epi32(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64::<1>(lanes));
    let sums = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half));
    let negated = _mm_sub_epi32(_mm_setzero_si128(), _mm_slli_epi32::<7>(sums));
    // SAFETY: there is room for four values.
    unsafe { _mm_storeu_si128(corrections.cast(), negated) };
}

/// Up to `M` pixels × `P` panels; gives how many pixels these were. `Q` groups of four values are taken
/// from a pixel before the next pixel's turn, so that its address is needed once for all of them.
///
/// # Safety
/// As `tile`; the panels exist with a live channel each; the pixel of `at` is live, and `M` rows follow.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline(never)]
unsafe fn block<const M: usize, const P: usize, const Q: usize>(tile: &Tile, at: &At<'_>) -> usize {
    let live_pixels = M.min(tile.live_pixels - at.pixel);
    // SAFETY: panel `p` holds NR biases, NR multipliers and `taps * tap_elems * NR` weights; each row
    // pointer has `tap_elems` values, a multiple of 4; results are stored for live channels of live pixels.
    unsafe {
        let panel = tile.panel.add(at.channel / NR * tile.panel_bytes);
        let rows = tile.rows.add(at.pixel * tile.taps);
        let mut acc = [[_mm512_setzero_si512(); P]; M];
        let mut multiplier = [_mm512_setzero_ps(); P];
        for (p, multiplier) in multiplier.iter_mut().enumerate() {
            let bias = _mm512_load_si512(panel.add(p * tile.panel_bytes).cast());
            for row in &mut acc {
                row[p] = bias;
            }
            *multiplier = _mm512_loadu_ps(panel.add(p * tile.panel_bytes + NR * 4).cast());
        }
        let mut weights = panel.add(NR * 8);
        for tap in 0..tile.taps {
            let mut x = [core::ptr::null::<i8>(); M];
            for (m, x) in x.iter_mut().enumerate() {
                *x = *rows.add(m * tile.taps + tap);
            }
            let mut k = 0;
            while k + 4 * Q <= tile.tap_elems {
                multiply::<M, P, Q>(&mut acc, &x, k, weights, tile.panel_bytes);
                weights = weights.add(NR * 4 * Q);
                k += 4 * Q;
            }
            while Q > 1 && k < tile.tap_elems {
                multiply::<M, P, 1>(&mut acc, &x, k, weights, tile.panel_bytes);
                weights = weights.add(NR * 4);
                k += 4;
            }
        }
        let out = tile.out.add(at.pixel * tile.out_stride + at.channel);
        let live = (tile.live_channels - at.channel).min(P * NR);
        match out {
            TileOutput::I8(out, range) => {
                let bounds = Bounds::new(range);
                // A register holds four panels of a pixel, or pixels of a panel. Written out: where the
                // accumulators are indexed by a variable, they live in memory.
                macro_rules! finish {
                    ($group:literal) => {
                        let first = $group * PER_REGISTER[P];
                        if first < M && first < live_pixels {
                            let to = out.add(first * tile.out_stride);
                            let pixels = PER_REGISTER[P].min(live_pixels - first);
                            for part in 0..P.div_ceil(4) {
                                let mut four = [_mm512_setzero_ps(); 4];
                                for (i, four) in four.iter_mut().enumerate() {
                                    let (m, p) = (first + i / P, part * 4 + i % P);
                                    if i < PER_REGISTER[P] * P && m < M && p < P {
                                        let correction = _mm512_set1_epi32(at.corrections[at.pixel + m]);
                                        let sum = _mm512_add_epi32(acc[m][p], correction);
                                        *four = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), multiplier[p]);
                                    }
                                }
                                let bytes = in_order(bounds.quantize(&four));
                                let live = live.saturating_sub(part * 4 * NR).min(4 * NR);
                                store::<P>(
                                    to.wrapping_add(part * 4 * NR),
                                    tile.out_stride,
                                    bytes,
                                    live,
                                    pixels,
                                );
                            }
                        }
                    };
                }
                finish!(0);
                finish!(1);
                finish!(2);
                finish!(3);
                finish!(4);
                finish!(5);
            }
            TileOutput::F32(out) => {
                for (m, sums) in acc.iter().enumerate() {
                    // Not the loop's bound: that would be a variable as well.
                    if m >= live_pixels {
                        break;
                    }
                    let correction = _mm512_set1_epi32(at.corrections[at.pixel + m]);
                    for (p, (&sum, &multiplier)) in sums.iter().zip(&multiplier).enumerate() {
                        let sum = _mm512_add_epi32(sum, correction);
                        let mask = (0xffff_u32 >> (NR - (live - p * NR).min(NR))) as __mmask16;
                        let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), multiplier);
                        _mm512_mask_storeu_ps(out.add(m * tile.out_stride + p * NR), mask, scaled);
                    }
                }
            }
        }
    }
    live_pixels
}

/// `4 Q` values of each pixel, from `k` on, by the weights of each panel.
///
/// # Safety
/// Every `x` has `k + 4 Q` values; `Q` groups of weights follow `weights` in each panel.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn multiply<const M: usize, const P: usize, const Q: usize>(
    acc: &mut [[__m512i; P]; M],
    x: &[*const i8; M],
    k: usize,
    weights: *const u8,
    panel_bytes: usize,
) {
    let mut w = [[_mm512_setzero_si512(); P]; Q];
    for (q, w) in w.iter_mut().enumerate() {
        for (p, w) in w.iter_mut().enumerate() {
            // SAFETY: the caller's promise; panels and groups are multiples of 64 bytes.
            *w = unsafe { _mm512_load_si512(weights.add(p * panel_bytes + q * NR * 4).cast()) };
        }
    }
    for (acc, x) in acc.iter_mut().zip(x) {
        for (q, w) in w.iter().enumerate() {
            // SAFETY: the caller's promise.
            let quad = unsafe { x.add(k + 4 * q).cast::<i32>().read_unaligned() };
            let quad = _mm512_set1_epi32(quad);
            for (acc, &w) in acc.iter_mut().zip(w) {
                *acc = _mm512_dpbusd_epi32(*acc, w, quad);
            }
        }
    }
}

/// Stores what a register holds of `live` channels of `pixels` pixels: of one, or of `4 / P`, `P * NR`
/// bytes each. By the narrowest register that does it.
///
/// # Safety
/// `out` has room for `live` bytes, 1 to `P * NR` and at most 64, of each pixel, `stride` apart.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
unsafe fn store<const P: usize>(out: *mut i8, stride: usize, bytes: __m512i, live: usize, pixels: usize) {
    // SAFETY: whole registers only where all their bytes are live; masks leave only live bytes.
    unsafe {
        match P {
            1 | 2 if live == stride && live == P * NR && pixels == 4 / P => {
                _mm512_storeu_si512(out.cast(), bytes);
            }
            1 => {
                let mask = (0xffff_u32 >> (NR - live)) as __mmask16;
                _mm_mask_storeu_epi8(out, mask, _mm512_castsi512_si128(bytes));
                if pixels > 1 {
                    _mm_mask_storeu_epi8(out.add(stride), mask, _mm512_extracti32x4_epi32::<1>(bytes));
                }
                if pixels > 2 {
                    _mm_mask_storeu_epi8(out.add(2 * stride), mask, _mm512_extracti32x4_epi32::<2>(bytes));
                }
                if pixels > 3 {
                    _mm_mask_storeu_epi8(out.add(3 * stride), mask, _mm512_extracti32x4_epi32::<3>(bytes));
                }
            }
            2 => {
                let mask = u32::MAX >> (2 * NR - live);
                _mm256_mask_storeu_epi8(out, mask, _mm512_castsi512_si256(bytes));
                if pixels > 1 {
                    _mm256_mask_storeu_epi8(out.add(stride), mask, _mm512_extracti64x4_epi64::<1>(bytes));
                }
            }
            _ if live == 4 * NR => _mm512_storeu_si512(out.cast(), bytes),
            _ => _mm512_mask_storeu_epi8(out, u64::MAX >> (4 * NR - live), bytes),
        }
    }
}
