//! AVX-VNNI: `vpdpbusd` on 256-bit registers (Intel SDM vol. 2), for the processors that have it without
//! AVX-512: Alder Lake's efficient cores, the N100 and its kin, Sierra Forest.
//!
//! As the AVX512-VNNI row: activations are made unsigned by flipping their top bit, the panel's bias
//! carries the correction. A tile is 6 pixels × 16 channels: 12 accumulators, 2 weight registers, one
//! broadcast activation and the constant of the flip: all 16 registers.

use core::arch::x86_64::*;

use super::ConvArgs;
use super::gemm::{self, Micro, Tile};
use super::pack::NR16_KR4_U8;
use super::x86_avx2::store;

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
/// As [`Tile`] documents; the processor has AVX2 and AVX-VNNI.
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn tile(tile: &Tile) {
    for first in (0..tile.live_channels).step_by(NR) {
        // SAFETY: channel `first` is live, so its panel exists; the arms cover the live pixels.
        unsafe {
            match tile.live_pixels {
                1 => block::<1>(tile, first),
                2..=3 => block::<3>(tile, first),
                _ => block::<MR>(tile, first),
            }
        }
    }
}

/// Up to `M` pixels × the 16 channels from `first` on.
///
/// # Safety
/// As `tile`; the panel exists, and `M` is at least the number of live pixels.
#[target_feature(enable = "avx2,avxvnni")]
#[inline]
unsafe fn block<const M: usize>(tile: &Tile, first: usize) {
    // SAFETY: the panel holds NR biases, NR multipliers and `taps * tap_elems * NR` weights, and is
    // aligned to 64 bytes, as is the start of the weights; each row pointer has `tap_elems` values,
    // a multiple of 4; `store` writes live channels of live pixels.
    unsafe {
        let panel = tile.panel.add(first / NR * tile.panel_bytes);
        let flip = _mm256_set1_epi32(0x8080_8080_u32 as i32);
        let bias: [__m256i; 2] = [_mm256_load_si256(panel.cast()), _mm256_load_si256(panel.add(32).cast())];
        let mut acc = [bias; M];
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
                    let quad = row.add(k).cast::<i32>().read_unaligned();
                    let quad = _mm256_xor_si256(_mm256_set1_epi32(quad), flip);
                    acc[0] = _mm256_dpbusd_avx_epi32(acc[0], quad, low);
                    acc[1] = _mm256_dpbusd_avx_epi32(acc[1], quad, high);
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
