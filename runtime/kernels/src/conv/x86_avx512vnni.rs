//! AVX512-VNNI: `vpdpbusd` multiplies 4 unsigned by 4 signed bytes into each of 16 int32 lanes.
//!
//! Activations are made unsigned by flipping their top bit (`x + 128`); the panel's bias carries the
//! correction. A tile is up to 6 pixels × 64 channels: 24 accumulators, 4 weight registers, one
//! broadcast activation and the constant of the flip: 30 of 32 registers. (Intel SDM vol. 2,
//! VPDPBUSD: the non-saturating form, exact modulo 2^32.)

use core::arch::x86_64::*;

use super::ConvArgs;
use super::gemm::{self, Micro, Tile, TileOutput};
use super::pack::NR16_KR4_U8;
use crate::requantize::OutputRange;

const MR: usize = 6;
const NR: usize = 16;

static MICRO: Micro = Micro { pixels: MR, layout: &NR16_KR4_U8, tile };

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
    let mut first = 0;
    while first < tile.live_channels {
        let left = tile.live_channels - first;
        // Nine panels are three times three: a block of one panel would spend more on spreading
        // activations than on multiplying.
        let panels = left.div_ceil(NR);
        let panels = panels.div_ceil(panels.div_ceil(4));
        let step = left.min(panels * NR);
        // SAFETY: the channels `first .. first + step` are live, so their panels exist.
        unsafe {
            match (panels, tile.live_pixels) {
                (4, 1) => block::<1, 4>(tile, first),
                (4, 2..=3) => block::<3, 4>(tile, first),
                (4, _) => block::<6, 4>(tile, first),
                (3, 1) => block::<1, 3>(tile, first),
                (3, _) => block::<6, 3>(tile, first),
                (2, 1) => block::<1, 2>(tile, first),
                (2, _) => block::<6, 2>(tile, first),
                (_, 1) => block::<1, 1>(tile, first),
                (_, _) => block::<6, 1>(tile, first),
            }
        }
        first += step;
    }
}

/// Up to `M` pixels × `P` panels from channel `first` on.
///
/// # Safety
/// As `tile`; the `P` panels exist, and `M` is at least the number of live pixels.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn block<const M: usize, const P: usize>(tile: &Tile, first: usize) {
    // SAFETY: panel `p` holds NR biases, NR multipliers and `taps * tap_elems * NR` weights; each
    // row pointer has `tap_elems` values, a multiple of 4; stores are masked to the live channels.
    unsafe {
        let panel = tile.panel.add(first / NR * tile.panel_bytes);
        let flip = _mm512_set1_epi32(0x8080_8080_u32 as i32);
        let mut acc = [[_mm512_setzero_si512(); P]; M];
        for p in 0..P {
            let bias = _mm512_load_si512(panel.add(p * tile.panel_bytes).cast());
            for row in &mut acc {
                row[p] = bias;
            }
        }
        let mut weights = panel.add(NR * 8);
        for tap in 0..tile.taps {
            let mut x = [core::ptr::null::<i8>(); M];
            for (m, x) in x.iter_mut().enumerate() {
                *x = *tile.rows.add(m * tile.taps + tap);
            }
            for k in (0..tile.tap_elems).step_by(4) {
                let mut w = [flip; P];
                for (p, w) in w.iter_mut().enumerate() {
                    *w = _mm512_load_si512(weights.add(p * tile.panel_bytes).cast());
                }
                weights = weights.add(NR * 4);
                for m in 0..M {
                    let quad = x[m].add(k).cast::<i32>().read_unaligned();
                    let quad = _mm512_xor_si512(_mm512_set1_epi32(quad), flip);
                    for p in 0..P {
                        acc[m][p] = _mm512_dpbusd_epi32(acc[m][p], quad, w[p]);
                    }
                }
            }
        }
        let live = (tile.live_channels - first).min(P * NR);
        let mut multiplier = [_mm512_setzero_ps(); P];
        for (p, multiplier) in multiplier.iter_mut().enumerate() {
            *multiplier = _mm512_loadu_ps(panel.add(p * tile.panel_bytes + NR * 4).cast());
        }
        for (m, sums) in acc.iter().enumerate() {
            // Not the loop's bound: then the accumulators would be indexed by a variable, and so
            // would have to live in memory.
            if m >= tile.live_pixels {
                break;
            }
            let at = m * tile.out_stride + first;
            match tile.out {
                TileOutput::I8(out, range) => {
                    let bytes = requantize(sums, &multiplier, range);
                    store::<P>(out.add(at), bytes, live);
                }
                TileOutput::F32(out) => {
                    for (p, (&sum, &multiplier)) in sums.iter().zip(&multiplier).enumerate() {
                        let mask = (0xffff_u32 >> (NR - (live - p * NR).min(NR))) as __mmask16;
                        let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), multiplier);
                        _mm512_mask_storeu_ps(out.add(at + p * NR), mask, scaled);
                    }
                }
            }
        }
    }
}

/// Stores the first `live` bytes, by the narrowest register that `P` panels need.
///
/// # Safety
/// `out` has room for `live` bytes, 1 to `P * NR`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
unsafe fn store<const P: usize>(out: *mut i8, bytes: __m512i, live: usize) {
    let mask = u64::MAX >> (4 * NR - live);
    // SAFETY: whole registers only where all their bytes are live; masks leave only live bytes.
    unsafe {
        match (P, live == P * NR) {
            (1, true) => _mm_storeu_si128(out.cast(), _mm512_castsi512_si128(bytes)),
            (1, false) => _mm_mask_storeu_epi8(out, mask as __mmask16, _mm512_castsi512_si128(bytes)),
            (2, true) => _mm256_storeu_si256(out.cast(), _mm512_castsi512_si256(bytes)),
            (2, false) => _mm256_mask_storeu_epi8(out, mask as __mmask32, _mm512_castsi512_si256(bytes)),
            (4, true) => _mm512_storeu_si512(out.cast(), bytes),
            _ => _mm512_mask_storeu_epi8(out, mask, bytes),
        }
    }
}

/// [`OutputRange::requantize`] of up to 64 channels, in order; bytes beyond `P` panels mean nothing.
///
/// The upper bound is applied before rounding, since `vcvtps2dq` turns what is too large into the
/// smallest integer; that is right for what is too small, and so the lower bound can wait until it
/// needs one instruction for all: packing saturates, and rounding keeps the order.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn requantize<const P: usize>(sums: &[__m512i; P], multiplier: &[__m512; P], range: OutputRange) -> __m512i {
    let high = _mm512_set1_ps((range.max - range.zero_point) as f32);
    let mut rounded = [_mm512_setzero_si512(); 4];
    for (rounded, (&sum, &multiplier)) in rounded.iter_mut().zip(sums.iter().zip(multiplier)) {
        let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), multiplier);
        *rounded = _mm512_cvtps_epi32(_mm512_min_ps(scaled, high));
    }
    let zero_point = _mm512_set1_epi16(range.zero_point as i16);
    let front = _mm512_adds_epi16(_mm512_packs_epi32(rounded[0], rounded[1]), zero_point);
    let back = _mm512_adds_epi16(_mm512_packs_epi32(rounded[2], rounded[3]), zero_point);
    let bytes = _mm512_max_epi8(_mm512_packs_epi16(front, back), _mm512_set1_epi8(range.min as i8));
    // Packing works within 128-bit lanes: lane `l` now has four channels of each panel.
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_permutexvar_epi32(order, bytes)
}
