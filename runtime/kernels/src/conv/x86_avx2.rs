//! AVX2: `vpmaddwd` multiplies 16 pairs of int16 and adds within each pair, exactly, in int32.
//!
//! `vpmaddubsw` would need half the instructions, but its int16 sums saturate. So both sides are
//! widened to int16: weights as they are loaded, eight channels × one pair to a register; the
//! activations of one row eight at a time, copied to both halves of a register, from where
//! `vpshufd` spreads each of the four pairs. A tile is 4 pixels × 16 channels: 8 accumulators, 4
//! registers of activations, 2 of weights, 2 for products: all 16. (Intel SDM vol. 2, VPMADDWD.)

use core::arch::x86_64::*;

use super::ConvArgs;
use super::gemm::{self, Micro, Tile, TileOutput, TileResidual};
use super::pack::NR16_KR2;
use crate::requantize::OutputRange;

const MR: usize = 4;
const NR: usize = 16;

pub(super) static MICRO: Micro = Micro { pixels: MR, layout: &NR16_KR2, tile };

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn conv(args: &mut ConvArgs<'_>) {
    // SAFETY: the caller's promise.
    unsafe { gemm::run(args, &MICRO) }
}

/// # Safety
/// As [`Tile`] documents; the processor has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn tile(tile: &Tile) {
    for first in (0..tile.live_channels).step_by(NR) {
        // SAFETY: channel `first` is live, so its panel exists; the arms cover the live pixels.
        unsafe {
            match tile.live_pixels {
                1 => block::<1>(tile, first),
                2 => block::<2>(tile, first),
                _ => block::<MR>(tile, first),
            }
        }
    }
}

/// Up to `M` pixels × the 16 channels from `first` on.
///
/// # Safety
/// As `tile`; the panel exists, and `M` is at least the number of live pixels.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn block<const M: usize>(tile: &Tile, first: usize) {
    // SAFETY: the panel holds NR biases, NR multipliers and `taps * tap_elems * NR` weights, and is
    // aligned to 64 bytes, as is the start of the weights; each row pointer has `tap_elems` values,
    // a multiple of 8; `store` writes live channels of live pixels.
    unsafe {
        let panel = tile.panel.add(first / NR * tile.panel_bytes);
        let bias: [__m256i; 2] = [_mm256_load_si256(panel.cast()), _mm256_load_si256(panel.add(32).cast())];
        let mut acc = [bias; M];
        let mut weights = panel.add(NR * 8);
        for tap in 0..tile.taps {
            let mut row = [core::ptr::null::<i8>(); M];
            for (m, row) in row.iter_mut().enumerate() {
                *row = *tile.rows.add(m * tile.taps + tap);
            }
            for k in (0..tile.tap_elems).step_by(8) {
                let mut x = [_mm256_setzero_si256(); M];
                for (x, row) in x.iter_mut().zip(row) {
                    let eight = _mm_set1_epi64x(row.add(k).cast::<i64>().read_unaligned());
                    *x = _mm256_cvtepi8_epi16(eight);
                }
                multiply_pair::<M, 0b00_00_00_00>(&mut acc, &x, weights);
                multiply_pair::<M, 0b01_01_01_01>(&mut acc, &x, weights.add(NR * 2));
                multiply_pair::<M, 0b10_10_10_10>(&mut acc, &x, weights.add(NR * 4));
                multiply_pair::<M, 0b11_11_11_11>(&mut acc, &x, weights.add(NR * 6));
                weights = weights.add(NR * 8);
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
            store(tile.out.add(m * tile.out_stride + first), tile.residual, scaled, live);
        }
    }
}

/// Adds the products of the pairs that `PAIR` selects from each row of `x` with 16 channels' weights.
///
/// # Safety
/// `weights` has 32 bytes; the processor has AVX2.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn multiply_pair<const M: usize, const PAIR: i32>(
    acc: &mut [[__m256i; 2]; M],
    x: &[__m256i; M],
    weights: *const u8,
) {
    // SAFETY: the caller's promise.
    let (low, high) = unsafe {
        let half: *const __m128i = weights.cast();
        (_mm256_cvtepi8_epi16(half.read_unaligned()), _mm256_cvtepi8_epi16(half.add(1).read_unaligned()))
    };
    for (acc, &x) in acc.iter_mut().zip(x) {
        let pair = _mm256_shuffle_epi32::<PAIR>(x);
        acc[0] = _mm256_add_epi32(acc[0], _mm256_madd_epi16(pair, low));
        acc[1] = _mm256_add_epi32(acc[1], _mm256_madd_epi16(pair, high));
    }
}

/// Stores the first `live` of 16 channels of one pixel.
///
/// # Safety
/// `out` has room for `live` elements, 1 to 16, and so many are added to them, if any are.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) unsafe fn store(
    out: TileOutput,
    residual: Option<TileResidual>,
    mut scaled: [__m256; 2],
    live: usize,
) {
    // SAFETY: `out` has room for what is stored: all 16, or the copied `live` of them. So many are added.
    unsafe {
        match out {
            TileOutput::I8(out, range) => {
                if let Some(residual) = residual {
                    scaled = add(scaled, residual, out, live);
                }
                let bytes = narrow(quantize(scaled[0], range), quantize(scaled[1], range));
                if live == NR {
                    _mm_storeu_si128(out.cast(), bytes);
                } else {
                    let mut all = [0i8; NR];
                    _mm_storeu_si128(all.as_mut_ptr().cast(), bytes);
                    out.copy_from_nonoverlapping(all.as_ptr(), live);
                }
            }
            TileOutput::F32(out) => {
                if live == NR {
                    _mm256_storeu_ps(out, scaled[0]);
                    _mm256_storeu_ps(out.add(8), scaled[1]);
                } else {
                    let mut all = [0f32; NR];
                    _mm256_storeu_ps(all.as_mut_ptr(), scaled[0]);
                    _mm256_storeu_ps(all.as_mut_ptr().add(8), scaled[1]);
                    out.copy_from_nonoverlapping(all.as_ptr(), live);
                }
            }
        }
    }
}

/// Adds the residuals of the first `live` of 16 channels of the pixel at `out`.
///
/// # Safety
/// There are so many, 1 to 16.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn add(scaled: [__m256; 2], residual: TileResidual, out: *const i8, live: usize) -> [__m256; 2] {
    let from = residual.of(out);
    let multiplier = _mm256_set1_ps(residual.multiplier);
    // SAFETY: the caller's promise.
    let bytes = unsafe {
        if live == NR {
            _mm_loadu_si128(from.cast())
        } else {
            let mut all = [0i8; NR];
            all.as_mut_ptr().copy_from_nonoverlapping(from, live);
            _mm_loadu_si128(all.as_ptr().cast())
        }
    };
    let halves = [bytes, _mm_unpackhi_epi64(bytes, bytes)];
    let mut sums = scaled;
    for (sum, half) in sums.iter_mut().zip(halves) {
        let real = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(half));
        *sum = _mm256_add_ps(*sum, _mm256_mul_ps(real, multiplier));
    }
    sums
}

/// [`OutputRange::quantize`] of 8 lanes. `vcvtps2dq` rounds to nearest even under the default MXCSR.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn quantize(value: __m256, range: OutputRange) -> __m256i {
    let low = _mm256_set1_ps((range.min - range.zero_point) as f32);
    let high = _mm256_set1_ps((range.max - range.zero_point) as f32);
    let clamped = _mm256_min_ps(_mm256_max_ps(value, low), high);
    _mm256_add_epi32(_mm256_cvtps_epi32(clamped), _mm256_set1_epi32(range.zero_point))
}

/// 16 int32 values, all within int8, to bytes in order.
#[target_feature(enable = "avx2")]
#[inline]
fn narrow(low: __m256i, high: __m256i) -> __m128i {
    // Packing works within the halves: words of channels 0–3, 8–11 | 4–7, 12–15.
    let words = _mm256_packs_epi32(low, high);
    let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
    _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words))
}
