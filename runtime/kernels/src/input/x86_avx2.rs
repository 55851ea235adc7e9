//! Samples in planes to pixels: 32 samples of each plane are quantized to a register of bytes, and `vpshufb`
//! spreads these over the registers of pixels, 16 pixels in each half.

use core::arch::x86_64::*;

use super::{InputArgs, Planes};
use crate::requantize::OutputRange;
use crate::x86_avx2::{Bounds, in_order};

/// Pixels of a block.
const PIXELS: usize = 32;

/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn quantize_f32(
    args: &InputArgs,
    input: &[f32],
    inverse_scale: f32,
    range: OutputRange,
    output: &mut [i8],
) {
    let planes = Planes::new(args, input.len(), output.len()).filter(|planes| planes.pixels >= PIXELS);
    let Some(planes) = planes else {
        return super::quantize_f32(args, input, inverse_scale, range, output);
    };
    let quantizer = Quantizer { inverse_scale: _mm256_set1_ps(inverse_scale), bounds: Bounds::new(range) };
    for (from, to) in planes.starts() {
        for first in (0..planes.pixels).step_by(PIXELS) {
            // The last block starts early enough to be whole: some pixels are written twice.
            let first = first.min(planes.pixels - PIXELS);
            // SAFETY: `Planes` has found every element of both tensors inside of its slice.
            unsafe {
                let input = input.as_ptr().add(from + first);
                let output = output.as_mut_ptr().add(to + first * planes.channels);
                match planes.channels {
                    1 => quantizer.block::<1>(input, planes.plane, output),
                    2 => quantizer.block::<2>(input, planes.plane, output),
                    3 => quantizer.block::<3>(input, planes.plane, output),
                    _ => quantizer.block::<4>(input, planes.plane, output),
                }
            }
        }
    }
}

struct Quantizer {
    inverse_scale: __m256,
    bounds: Bounds,
}

impl Quantizer {
    /// A block of pixels of `C` channels.
    ///
    /// # Safety
    /// `input` has a block's samples, and again every `plane` further; `output` has room for its pixels.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn block<const C: usize>(&self, input: *const f32, plane: usize, output: *mut i8) {
        let mut planes = [_mm256_setzero_si256(); C];
        for (channel, bytes) in planes.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *bytes = unsafe { self.quantize(input.add(channel * plane)) };
        }
        if C == 1 {
            // SAFETY: the caller's promise.
            return unsafe { _mm256_storeu_si256(output.cast(), planes[0]) };
        }
        for part in 0..C {
            let mut bytes = _mm256_setzero_si256();
            for (channel, &plane) in planes.iter().enumerate() {
                // SAFETY: an order has 16 bytes.
                let order = unsafe {
                    let order = &raw const (const { &ORDERS[C - 1] })[part][channel];
                    _mm256_broadcastsi128_si256(_mm_loadu_si128(order.cast()))
                };
                bytes = _mm256_or_si256(bytes, _mm256_shuffle_epi8(plane, order));
            }
            // SAFETY: 16 pixels, and as many again.
            unsafe {
                _mm_storeu_si128(output.add(part * 16).cast(), _mm256_castsi256_si128(bytes));
                let second = output.add((C + part) * 16);
                _mm_storeu_si128(second.cast(), _mm256_extracti128_si256::<1>(bytes));
            }
        }
    }

    /// 32 samples.
    ///
    /// # Safety
    /// `input` has as many.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn quantize(&self, input: *const f32) -> __m256i {
        let mut real = [_mm256_setzero_ps(); 4];
        for (i, real) in real.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *real = _mm256_mul_ps(unsafe { _mm256_loadu_ps(input.add(i * 8)) }, self.inverse_scale);
        }
        in_order(self.bounds.quantize(real))
    }
}

/// Of 16 pixels of 1 to 4 channels: for each register of pixels, which bytes it takes of each channel; where
/// the top bit is set, none.
static ORDERS: [[[[u8; 16]; 4]; 4]; 4] = [orders(1), orders(2), orders(3), orders(4)];

const fn orders(channels: usize) -> [[[u8; 16]; 4]; 4] {
    let mut orders = [[[0x80; 16]; 4]; 4];
    let mut at = 0;
    while at < channels * 16 {
        orders[at / 16][at % channels][at % 16] = (at / channels) as u8;
        at += 1;
    }
    orders
}
