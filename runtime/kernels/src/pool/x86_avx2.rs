//! Pooling by AVX2, 32 channels at a time. An average adds two positions by one `vpmaddubsw` with ones, in int16,
//! and these in int32 before they could overflow.

use core::arch::x86_64::*;

use super::{PoolArgs, PoolOp, Positions};
use crate::x86_avx2::{Bounds, in_order};

const WIDTH: usize = 32;

/// Pairs of positions whose sum is an int16, whatever they are: 127 × 2 × 128 = 32 512.
const PAIRS: usize = 127;

/// [`super::pool`].
///
/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn pool(args: &PoolArgs, input: &[i8], output: &mut [i8]) {
    if args.channels < WIDTH {
        return super::pool(args, input, output);
    }
    super::for_each_window(args, input, output, |image, rows, columns, pixel| {
        let positions = Positions::new(args, image, rows, columns);
        for first in (0..args.channels).step_by(WIDTH) {
            // The last block starts early enough to be whole: some channels are computed twice.
            let first = first.min(args.channels - WIDTH);
            // SAFETY: the block's channels are in every position, which are inside the image, and in the pixel.
            unsafe {
                let from = positions.first.wrapping_add(first);
                let y = match args.op {
                    PoolOp::Max => maximum(&positions, from),
                    PoolOp::Average { zero_point, multiplier, count_include_pad, output } => {
                        let multiplier =
                            super::average_multiplier(multiplier, rows, columns, count_include_pad);
                        let inside = (positions.rows * positions.columns) as i32;
                        let start = _mm256_set1_epi32(-zero_point * inside);
                        let mut real = [_mm256_setzero_ps(); 4];
                        for (real, sum) in real.iter_mut().zip(sums(&positions, from)) {
                            let sum = _mm256_cvtepi32_ps(_mm256_add_epi32(sum, start));
                            *real = _mm256_mul_ps(sum, _mm256_set1_ps(multiplier));
                        }
                        in_order(Bounds::new(output).quantize(real))
                    }
                };
                _mm256_storeu_si256(pixel.as_mut_ptr().add(first).cast(), y);
            }
        }
    });
}

/// # Safety
/// Every position, from `first` on, has 32 channels.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn maximum(positions: &Positions, first: *const i8) -> __m256i {
    let mut largest = _mm256_set1_epi8(i8::MIN);
    for row in 0..positions.rows {
        for column in 0..positions.columns {
            let at = first.wrapping_add(row * positions.row_step + column * positions.column_step);
            // SAFETY: the caller's promise.
            largest = _mm256_max_epi8(largest, unsafe { _mm256_loadu_si256(at.cast()) });
        }
    }
    largest
}

/// The sums of 32 channels, in order.
///
/// # Safety
/// As [`maximum`].
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn sums(positions: &Positions, first: *const i8) -> [__m256i; 4] {
    let mut sums = [_mm256_setzero_si256(); 4];
    for row in 0..positions.rows {
        let row = first.wrapping_add(row * positions.row_step);
        for start in (0..positions.columns).step_by(2 * PAIRS) {
            let (mut low, mut high) = (_mm256_setzero_si256(), _mm256_setzero_si256());
            for column in (start..positions.columns.min(start + 2 * PAIRS)).step_by(2) {
                let at = row.wrapping_add(column * positions.column_step);
                // SAFETY: the caller's promise.
                let a = unsafe { _mm256_loadu_si256(at.cast()) };
                let b = if column + 1 < positions.columns {
                    // SAFETY: the same.
                    unsafe { _mm256_loadu_si256(at.wrapping_add(positions.column_step).cast()) }
                } else {
                    _mm256_setzero_si256()
                };
                let ones = _mm256_set1_epi8(1);
                low = _mm256_add_epi16(low, _mm256_maddubs_epi16(ones, _mm256_unpacklo_epi8(a, b)));
                high = _mm256_add_epi16(high, _mm256_maddubs_epi16(ones, _mm256_unpackhi_epi8(a, b)));
            }
            // Unpacking works within halves: the low one has channels 0 to 7 and 16 to 23.
            let parts = [
                _mm256_castsi256_si128(low),
                _mm256_castsi256_si128(high),
                _mm256_extracti128_si256::<1>(low),
                _mm256_extracti128_si256::<1>(high),
            ];
            for (sum, part) in sums.iter_mut().zip(parts) {
                *sum = _mm256_add_epi32(*sum, _mm256_cvtepi16_epi32(part));
            }
        }
    }
    sums
}
