//! What several AVX-512 kernels share.

use core::arch::x86_64::*;

use crate::requantize::OutputRange;

/// An [`OutputRange`] in the forms in which registers want it.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// Relative to the zero point.
    high: __m512,
    zero_point: __m512i,
    min: __m512i,
    max: __m512i,
    /// Whether the zero point is the smallest int8: then adding it to what was packed without sign is enough.
    from_lowest: bool,
    /// Whether the bounds are int8's own, which packing applies.
    is_full: bool,
}

impl Bounds {
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub fn new(range: OutputRange) -> Self {
        Self {
            high: _mm512_set1_ps((range.max - range.zero_point) as f32),
            zero_point: if range.zero_point == -128 {
                _mm512_set1_epi8(-128)
            } else {
                _mm512_set1_epi16(range.zero_point as i16)
            },
            min: _mm512_set1_epi8(range.min as i8),
            max: _mm512_set1_epi8(range.max as i8),
            from_lowest: range.zero_point == -128,
            is_full: (range.min, range.max) == (-128, 127),
        }
    }

    /// Whether bounds are int8's own, and if so, whether the zero point is the smallest of them.
    pub fn full(&self) -> Option<bool> {
        self.is_full.then_some(self.from_lowest)
    }

    /// The same where [`Bounds::full`] is `LOWEST`, which the compiler then knows.
    pub fn known_full<const LOWEST: bool>(self) -> Self {
        Self { from_lowest: LOWEST, is_full: true, ..self }
    }

    /// [`OutputRange::quantize`] of four registers of 16 numbers, in the order of two `packs`: each lane of
    /// the result has four values of each register.
    ///
    /// The upper bound is applied before rounding, since `vcvtps2dq` turns what is too large into the
    /// smallest integer; that is right for what is too small, and so the lower bound can wait until it
    /// needs one instruction for all: packing saturates, and rounding keeps the order. What is no number
    /// becomes the lower bound: `vminps` returns its second operand, which is converted to the smallest
    /// integer.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub fn quantize(&self, real: &[__m512; 4]) -> __m512i {
        // A loop: `map` is a function of its own, without these extensions.
        let mut bounded = *real;
        for real in &mut bounded {
            *real = _mm512_min_ps(self.high, *real);
        }
        _mm512_max_epi8(self.narrow(&bounded), self.min)
    }

    /// The same for numbers of a magnitude below 2^30: conversion cannot overflow, and the upper bound can
    /// wait as well.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub fn quantize_small(&self, real: &[__m512; 4]) -> __m512i {
        let bytes = self.narrow(real);
        if self.is_full { bytes } else { _mm512_min_epi8(_mm512_max_epi8(bytes, self.min), self.max) }
    }

    /// Rounds, adds the zero point, and saturates.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn narrow(&self, real: &[__m512; 4]) -> __m512i {
        let mut rounded = [_mm512_setzero_si512(); 4];
        for (rounded, &real) in rounded.iter_mut().zip(real) {
            *rounded = _mm512_cvtps_epi32(real);
        }
        let (front, back) =
            (_mm512_packs_epi32(rounded[0], rounded[1]), _mm512_packs_epi32(rounded[2], rounded[3]));
        if self.from_lowest {
            _mm512_add_epi8(_mm512_packus_epi16(front, back), self.zero_point)
        } else {
            let zero_point = self.zero_point;
            _mm512_packs_epi16(_mm512_adds_epi16(front, zero_point), _mm512_adds_epi16(back, zero_point))
        }
    }
}

/// Adds residuals to 16 scaled sums: those of `mask` of the bytes from `from` on, times a multiplier of
/// which [`is_residual_multiplier`](crate::requantize::is_residual_multiplier) holds, so that only the sum is
/// rounded.
///
/// # Safety
/// The bytes of `mask` can be read.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
pub(crate) unsafe fn add_residual(
    scaled: __m512,
    from: *const i8,
    mask: __mmask16,
    multiplier: __m512,
) -> __m512 {
    // SAFETY: the caller's promise.
    let bytes = unsafe { _mm_maskz_loadu_epi8(mask, from) };
    _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)), multiplier, scaled)
}

/// From the order of [`Bounds::quantize`] to that of the registers.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn in_order(bytes: __m512i) -> __m512i {
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_permutexvar_epi32(order, bytes)
}

/// Of four registers of 64 bytes, byte `i` of each side by side: the quads of lanes 0 to 3, 4 to 7, 8 to 11
/// and 12 to 15 of each 128 bits. What was summed in this order, [`Bounds::quantize`] puts in order again.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(crate) fn interleave([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab_low, ab_high) = (_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi8(c, d), _mm512_unpackhi_epi8(c, d));
    [
        _mm512_unpacklo_epi16(ab_low, cd_low),
        _mm512_unpackhi_epi16(ab_low, cd_low),
        _mm512_unpacklo_epi16(ab_high, cd_high),
        _mm512_unpackhi_epi16(ab_high, cd_high),
    ]
}
