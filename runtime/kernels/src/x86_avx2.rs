//! What several AVX2 kernels share.

use core::arch::x86_64::*;

use crate::requantize::OutputRange;

/// An [`OutputRange`] in the forms in which registers want it.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// Relative to the zero point.
    high: __m256,
    zero_point: __m256i,
    min: __m256i,
}

impl Bounds {
    #[target_feature(enable = "avx2")]
    #[inline]
    pub fn new(range: OutputRange) -> Self {
        Self {
            high: _mm256_set1_ps((range.max - range.zero_point) as f32),
            zero_point: _mm256_set1_epi16(range.zero_point as i16),
            min: _mm256_set1_epi8(range.min as i8),
        }
    }

    /// [`OutputRange::quantize`] of four registers of 8 numbers, in the order of two `packs`: each half of the
    /// result has four values of each register.
    ///
    /// The upper bound is applied before rounding, since `vcvtps2dq` turns what is too large, and what is no
    /// number, into the smallest integer; `vminps` returns its second operand where one is no number. The lower
    /// bound can wait until it needs one instruction for all: packing saturates, and rounding keeps the order.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub fn quantize(&self, real: [__m256; 4]) -> __m256i {
        let mut rounded = [_mm256_setzero_si256(); 4];
        for (rounded, real) in rounded.iter_mut().zip(real) {
            *rounded = _mm256_cvtps_epi32(_mm256_min_ps(self.high, real));
        }
        let front = _mm256_adds_epi16(_mm256_packs_epi32(rounded[0], rounded[1]), self.zero_point);
        let back = _mm256_adds_epi16(_mm256_packs_epi32(rounded[2], rounded[3]), self.zero_point);
        _mm256_max_epi8(_mm256_packs_epi16(front, back), self.min)
    }
}

/// From the order of [`Bounds::quantize`] to that of the registers.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn in_order(bytes: __m256i) -> __m256i {
    _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
}
