//! AVX-VNNI: `vpdpbusd` on 256-bit registers (Intel SDM vol. 2), for the processors that have it without
//! AVX-512: Alder Lake's efficient cores, the N100 and its kin, Sierra Forest.
//!
//! As the AVX512-VNNI row: the panel holds unsigned weights, `w + 128`, and what that adds is taken off
//! where the accumulators start. A tile is 6 pixels × 16 channels: 12 accumulators, 2 weight registers and
//! one broadcast activation: 15 of 16 registers.

use core::arch::x86_64::*;

use super::ConvArgs;
use super::gemm::{self, Micro, Tile};
use super::pack::NR16_KR4_WU8;
use super::x86_avx2::store;

const MR: usize = 6;
const NR: usize = 16;

pub(super) static MICRO: Micro = Micro { pixels: MR, layout: &NR16_KR4_WU8, tile };

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn conv(args: &mut ConvArgs<'_>) {
    // SAFETY: the caller's promise.
    unsafe { gemm::run(args, &MICRO) }
}

/// # Safety
/// As [`Tile`] documents; the processor has AVX2 and AVX-VNNI.
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn tile(tile: &Tile) {
    // SAFETY: the caller's promise.
    let corrections = unsafe { corrections(tile) };
    for first in (0..tile.live_channels).step_by(NR) {
        // SAFETY: channel `first` is live, so its panel exists; the arms cover the live pixels.
        unsafe {
            match tile.live_pixels {
                1 => block::<1>(tile, first, &corrections),
                2..=3 => block::<3>(tile, first, &corrections),
                _ => block::<MR>(tile, first, &corrections),
            }
        }
    }
}

/// `-128 * sum(x)` of every live pixel.
///
/// # Safety
/// As `tile`.
#[target_feature(enable = "avx2,avxvnni")]
#[inline]
unsafe fn corrections(tile: &Tile) -> [i32; MR] {
    let mut corrections = [0; MR];
    let ones = _mm256_set1_epi8(1);
    let whole = tile.tap_elems & !31;
    let lane = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
    let tail = _mm256_cmpgt_epi32(_mm256_set1_epi32((tile.tap_elems - whole) as i32), lane);
    for (row, correction) in corrections.iter_mut().enumerate().take(tile.live_pixels) {
        let mut sum = _mm256_setzero_si256();
        for tap in 0..tile.taps {
            // SAFETY: the row is live; each of its taps has `tap_elems` values, a multiple of 4, and the
            // mask leaves out the groups of 4 behind them.
            unsafe {
                let x = *tile.rows.add(row * tile.taps + tap);
                for k in (0..whole).step_by(32) {
                    sum = _mm256_dpbusd_avx_epi32(sum, ones, _mm256_loadu_si256(x.add(k).cast()));
                }
                if whole < tile.tap_elems {
                    let x = _mm256_maskload_epi32(x.add(whole).cast(), tail);
                    sum = _mm256_dpbusd_avx_epi32(sum, ones, x);
                }
            }
        }
        let half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
        let pair = _mm_add_epi32(half, _mm_unpackhi_epi64(half, half));
        let sum = _mm_cvtsi128_si32(_mm_add_epi32(pair, _mm_shuffle_epi32::<1>(pair)));
        *correction = sum.wrapping_mul(-128);
    }
    corrections
}

/// Up to `M` pixels × the 16 channels from `first` on.
///
/// # Safety
/// As `tile`; the panel exists, and `M` is at least the number of live pixels.
#[target_feature(enable = "avx2,avxvnni")]
#[inline]
unsafe fn block<const M: usize>(tile: &Tile, first: usize, corrections: &[i32; MR]) {
    // SAFETY: the panel holds NR biases, NR multipliers and `taps * tap_elems * NR` weights, and is
    // aligned to 64 bytes, as is the start of the weights; each row pointer has `tap_elems` values,
    // a multiple of 4; `store` writes live channels of live pixels.
    unsafe {
        let panel = tile.panel.add(first / NR * tile.panel_bytes);
        let bias: [__m256i; 2] = [_mm256_load_si256(panel.cast()), _mm256_load_si256(panel.add(32).cast())];
        let mut acc = [bias; M];
        for (acc, &correction) in acc.iter_mut().zip(corrections) {
            let correction = _mm256_set1_epi32(correction);
            *acc = [_mm256_add_epi32(bias[0], correction), _mm256_add_epi32(bias[1], correction)];
        }
        let mut weights = panel.add(NR * 8);
        for tap in 0..tile.taps {
            let mut row = [core::ptr::null::<i8>(); M];
            for (m, row) in row.iter_mut().enumerate() {
                *row = *tile.rows.add(m * tile.taps + tap);
            }
            for k in (0..tile.tap_elems).step_by(4) {
                let low = _mm256_load_si256(weights.cast());
                let high = _mm256_load_si256(weights.add(32).cast());
                for (acc, row) in acc.iter_mut().zip(row) {
                    let quad = _mm256_set1_epi32(row.add(k).cast::<i32>().read_unaligned());
                    acc[0] = _mm256_dpbusd_avx_epi32(acc[0], low, quad);
                    acc[1] = _mm256_dpbusd_avx_epi32(acc[1], high, quad);
                }
                weights = weights.add(NR * 4);
            }
        }
        let live = (tile.live_channels - first).min(NR);
        let multiplier: [__m256; 2] =
            [_mm256_loadu_ps(panel.add(NR * 4).cast()), _mm256_loadu_ps(panel.add(NR * 6).cast())];
        for (m, sums) in acc.iter().enumerate() {
            // Not the loop's bound: then the accumulators would have to live in memory.
            if m >= tile.live_pixels {
                break;
            }
            let scaled: [__m256; 2] = [
                _mm256_mul_ps(_mm256_cvtepi32_ps(sums[0]), multiplier[0]),
                _mm256_mul_ps(_mm256_cvtepi32_ps(sums[1]), multiplier[1]),
            ];
            store(tile.out.add(m * tile.out_stride + first), scaled, live);
        }
    }
}
