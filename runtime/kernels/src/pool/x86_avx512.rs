//! Pooling by AVX-512, 64 channels at a time. An average sums four positions by one `vpdpbusd` with ones.

use core::arch::x86_64::*;

use super::{PoolArgs, PoolOp, Positions};
use crate::requantize::OutputRange;
use crate::x86_avx512::{Bounds, interleave};

const WIDTH: usize = 64;

/// [`super::pool`].
///
/// # Safety
/// The processor has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) unsafe fn pool(args: &PoolArgs, input: &[i8], output: &mut [i8]) {
    super::for_each_window(args, input, output, |image, rows, columns, pixel| {
        let positions = Positions::new(args, image, rows, columns);
        for (block, results) in pixel.chunks_mut(WIDTH).enumerate() {
            let mask = u64::MAX >> (WIDTH - results.len());
            let first = positions.first.wrapping_add(block * WIDTH);
            // SAFETY: the caller's promise; the positions are inside the image, and the mask leaves the
            // block's channels.
            unsafe {
                let y = match args.op {
                    PoolOp::Max => maximum(&positions, first, mask),
                    PoolOp::Average { zero_point, multiplier, count_include_pad, output } => {
                        let multiplier =
                            super::average_multiplier(multiplier, rows, columns, count_include_pad);
                        average(&positions, first, mask, Scale { zero_point, multiplier, output })
                    }
                };
                _mm512_mask_storeu_epi8(results.as_mut_ptr(), mask, y);
            }
        }
    });
}

/// # Safety
/// Every position, from `first` on, has the channels of the mask.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn maximum(positions: &Positions, first: *const i8, mask: __mmask64) -> __m512i {
    let mut largest = _mm512_set1_epi8(i8::MIN);
    let mut row = first;
    for _ in 0..positions.rows {
        let mut at = row;
        for _ in 0..positions.columns {
            // SAFETY: the caller's promise.
            largest = _mm512_max_epi8(largest, unsafe { _mm512_maskz_loadu_epi8(mask, at) });
            at = at.wrapping_add(positions.column_step);
        }
        row = row.wrapping_add(positions.row_step);
    }
    largest
}

/// From a sum to a result.
struct Scale {
    zero_point: i32,
    multiplier: f32,
    output: OutputRange,
}

/// # Safety
/// Every position, from `first` on, has the channels of the mask.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn average(positions: &Positions, first: *const i8, mask: __mmask64, scale: Scale) -> __m512i {
    let inside = (positions.rows * positions.columns) as i32;
    let mut sums = [_mm512_set1_epi32(-scale.zero_point * inside); 4];
    let mut row = first;
    for _ in 0..positions.rows {
        for column in (0..positions.columns).step_by(4) {
            let mut four = [_mm512_setzero_si512(); 4];
            for (i, x) in four.iter_mut().enumerate() {
                if column + i < positions.columns {
                    let at = row.wrapping_add((column + i) * positions.column_step);
                    // SAFETY: the caller's promise.
                    *x = unsafe { _mm512_maskz_loadu_epi8(mask, at) };
                }
            }
            for (sum, x) in sums.iter_mut().zip(interleave(four)) {
                *sum = _mm512_dpbusd_epi32(*sum, _mm512_set1_epi8(1), x);
            }
        }
        row = row.wrapping_add(positions.row_step);
    }
    let mut real = [_mm512_setzero_ps(); 4];
    for (real, sum) in real.iter_mut().zip(sums) {
        *real = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(scale.multiplier));
    }
    Bounds::new(scale.output).quantize(&real)
}
