//! x86: `vpmaddwd` multiplies pairs of int16 and adds within each pair in int32, wrapping around where all four
//! are -32768, as the definition does; `vpdpwssd` adds that to a sum in the same instruction. A pair of the
//! activations is spread over a register, eight or sixteen channels' pairs of weights lie in another. (Intel
//! SDM vol. 2, VPMADDWD, VPDPWSSD.)

use core::arch::x86_64::*;
use core::ops::Range;

use super::{ConvArgs, Dot, PANEL, Sums};
use crate::float::elementwise::Sink;

/// 8 pixels × 16 channels: 8 sums, 1 register of weights.
struct Avx512Vnni;

/// 4 pixels × 16 channels: 8 sums, 2 registers of weights, 1 of a pair, 1 of products.
struct Avx2;

/// # Safety
/// The processor has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn avx512vnni(args: &ConvArgs<'_>, range: Range<usize>, sink: Sink<'_>) {
    // SAFETY: the caller's promise.
    unsafe { super::conv::<Avx512Vnni, 8>(args, range, sink) }
}

/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2(args: &ConvArgs<'_>, range: Range<usize>, sink: Sink<'_>) {
    // SAFETY: the caller's promise.
    unsafe { super::conv::<Avx2, 4>(args, range, sink) }
}

/// A weight that vectors of int16 are loaded of.
trait Load: Sized {
    /// # Safety
    /// The processor has AVX-512 F and BW.
    unsafe fn all(weights: &[Self; 2 * PANEL]) -> __m512i;
    /// The first or the second half.
    ///
    /// # Safety
    /// The processor has AVX2.
    unsafe fn half(weights: &[Self; 2 * PANEL], second: bool) -> __m256i;
}

impl Load for i8 {
    #[inline(always)]
    unsafe fn all(weights: &[Self; 2 * PANEL]) -> __m512i {
        // SAFETY: the array has 32 bytes; the caller's promise.
        unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(weights.as_ptr().cast())) }
    }

    #[inline(always)]
    unsafe fn half(weights: &[Self; 2 * PANEL], second: bool) -> __m256i {
        // SAFETY: the array has 32 bytes, each half 16 of them; the caller's promise.
        unsafe {
            _mm256_cvtepi8_epi16(_mm_loadu_si128(weights.as_ptr().add(PANEL * usize::from(second)).cast()))
        }
    }
}

impl Load for i16 {
    #[inline(always)]
    unsafe fn all(weights: &[Self; 2 * PANEL]) -> __m512i {
        // SAFETY: the array has 64 bytes; the caller's promise.
        unsafe { _mm512_loadu_si512(weights.as_ptr().cast()) }
    }

    #[inline(always)]
    unsafe fn half(weights: &[Self; 2 * PANEL], second: bool) -> __m256i {
        // SAFETY: the array has 64 bytes, each half 32 of them; the caller's promise.
        unsafe { _mm256_loadu_si256(weights.as_ptr().add(PANEL * usize::from(second)).cast()) }
    }
}

impl<W: Load> Dot<W> for Avx512Vnni {
    #[inline(always)]
    unsafe fn dot<const P: usize>(sums: &mut [Sums; P], rows: &[&[i16]; P], weights: &[[W; 2 * PANEL]]) {
        // SAFETY: sums are 64 bytes each; rows have two terms for each pair; the caller's promise.
        unsafe {
            let mut held = [_mm512_setzero_si512(); P];
            for (held, sums) in held.iter_mut().zip(&*sums) {
                *held = _mm512_loadu_si512(sums.as_ptr().cast());
            }
            let rows = rows.map(|row| row.as_ptr().cast::<i32>());
            for (j, weights) in weights.iter().enumerate() {
                let w = W::all(weights);
                for (held, row) in held.iter_mut().zip(rows) {
                    *held = _mm512_dpwssd_epi32(*held, _mm512_set1_epi32(row.add(j).read_unaligned()), w);
                }
            }
            for (held, sums) in held.iter().zip(sums) {
                _mm512_storeu_si512(sums.as_mut_ptr().cast(), *held);
            }
        }
    }
}

impl<W: Load> Dot<W> for Avx2 {
    #[inline(always)]
    unsafe fn dot<const P: usize>(sums: &mut [Sums; P], rows: &[&[i16]; P], weights: &[[W; 2 * PANEL]]) {
        // SAFETY: sums are 64 bytes each; rows have two terms for each pair; the caller's promise.
        unsafe {
            let mut held = [[_mm256_setzero_si256(); 2]; P];
            for ([low, high], sums) in held.iter_mut().zip(&*sums) {
                *low = _mm256_loadu_si256(sums.as_ptr().cast());
                *high = _mm256_loadu_si256(sums.as_ptr().add(8).cast());
            }
            let rows = rows.map(|row| row.as_ptr().cast::<i32>());
            for (j, weights) in weights.iter().enumerate() {
                let w = [W::half(weights, false), W::half(weights, true)];
                for (held, row) in held.iter_mut().zip(rows) {
                    let pair = _mm256_set1_epi32(row.add(j).read_unaligned());
                    for (held, w) in held.iter_mut().zip(w) {
                        *held = _mm256_add_epi32(*held, _mm256_madd_epi16(pair, w));
                    }
                }
            }
            for ([low, high], sums) in held.iter().zip(sums) {
                _mm256_storeu_si256(sums.as_mut_ptr().cast(), *low);
                _mm256_storeu_si256(sums.as_mut_ptr().add(8).cast(), *high);
            }
        }
    }
}
