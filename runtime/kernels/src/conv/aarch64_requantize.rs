//! The epilogue of the AArch64 rows.

use core::arch::aarch64::*;

use super::gemm::{TileOutput, TileResidual};
use crate::requantize::OutputRange;

/// [`OutputRange::requantize`], four lanes at a time. Clamping waits until 16 results are bytes:
/// `fcvtns` and the narrowing moves saturate, rounding keeps the order, and the bounds are integers
/// of int8, so that it makes no difference (Arm ARM, section C7.2, FCVTNS, SQXTN, SQADD). No
/// accumulator times a finite multiplier is NaN.
///
/// 26 instructions for 16 channels, the store included.
pub(super) struct Epilogue {
    zero_point: int16x8_t,
    low: int8x16_t,
    high: int8x16_t,
}

impl Epilogue {
    #[target_feature(enable = "neon")]
    #[inline]
    pub fn new(range: OutputRange) -> Self {
        Self {
            zero_point: vdupq_n_s16(range.zero_point as i16),
            low: vdupq_n_s8(range.min as i8),
            high: vdupq_n_s8(range.max as i8),
        }
    }

    /// The bytes of 16 scaled sums, in order.
    #[target_feature(enable = "neon")]
    #[inline]
    pub fn bytes(&self, scaled: [float32x4_t; 4]) -> int8x16_t {
        let low = self.words(scaled[0], scaled[1]);
        let high = self.words(scaled[2], scaled[3]);
        let bytes = vqmovn_high_s16(vqmovn_s16(low), high);
        vminq_s8(vmaxq_s8(bytes, self.low), self.high)
    }

    /// The bytes of 8 scaled sums, in order.
    #[target_feature(enable = "neon")]
    #[inline]
    pub fn bytes8(&self, scaled: [float32x4_t; 2]) -> int8x8_t {
        let bytes = vqmovn_s16(self.words(scaled[0], scaled[1]));
        vmin_s8(vmax_s8(bytes, vget_low_s8(self.low)), vget_low_s8(self.high))
    }

    #[target_feature(enable = "neon")]
    #[inline]
    fn words(&self, low: float32x4_t, high: float32x4_t) -> int16x8_t {
        let low = vqmovn_s32(vcvtnq_s32_f32(low));
        vqaddq_s16(vqmovn_high_s32(low, vcvtnq_s32_f32(high)), self.zero_point)
    }
}

/// `acc as f32 * multiplier`, in this order and never fused.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn scale(acc: int32x4_t, multiplier: float32x4_t) -> float32x4_t {
    vmulq_f32(vcvtq_f32_s32(acc), multiplier)
}

/// Adds residuals to 8 scaled sums. Their products with the multiplier are exact, so that only the sum is rounded
/// (see [`crate::requantize`]).
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn add_residual(scaled: [float32x4_t; 2], bytes: int8x8_t, multiplier: f32) -> [float32x4_t; 2] {
    let (words, multiplier) = (vmovl_s8(bytes), vdupq_n_f32(multiplier));
    [
        vfmaq_f32(scaled[0], vcvtq_f32_s32(vmovl_s16(vget_low_s16(words))), multiplier),
        vfmaq_f32(scaled[1], vcvtq_f32_s32(vmovl_high_s16(words)), multiplier),
    ]
}

/// The same of 16.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn add_residual_16(
    [a, b, c, d]: [float32x4_t; 4],
    bytes: int8x16_t,
    multiplier: f32,
) -> [float32x4_t; 4] {
    let [a, b] = add_residual([a, b], vget_low_s8(bytes), multiplier);
    let [c, d] = add_residual([c, d], vget_high_s8(bytes), multiplier);
    [a, b, c, d]
}

/// Stores the first `live` of 8 channels of a pixel, from their sums.
///
/// # Safety
/// There are 8 multipliers; `out` has room for `live` elements, 1 to 8, and so many are added to them, if any are.
#[target_feature(enable = "neon")]
#[inline]
pub(super) unsafe fn store_8(
    out: TileOutput,
    residual: Option<TileResidual>,
    sums: [int32x4_t; 2],
    multipliers: *const f32,
    live: usize,
) {
    // SAFETY: `out` has room for what is stored: all 8, or the copied `live` of them. So many are added.
    unsafe {
        let mut scaled =
            [scale(sums[0], vld1q_f32(multipliers)), scale(sums[1], vld1q_f32(multipliers.add(4)))];
        match out {
            TileOutput::I8(out, range) => {
                if let Some(residual) = residual {
                    let mut all = [0; 8];
                    all.as_mut_ptr().copy_from_nonoverlapping(residual.of(out), live);
                    scaled = add_residual(scaled, vld1_s8(all.as_ptr()), residual.multiplier);
                }
                let bytes = Epilogue::new(range).bytes8(scaled);
                if live == 8 {
                    vst1_s8(out, bytes);
                } else {
                    let mut all = [0; 8];
                    vst1_s8(all.as_mut_ptr(), bytes);
                    out.copy_from_nonoverlapping(all.as_ptr(), live);
                }
            }
            TileOutput::F32(out) => {
                let mut all = [0.0; 8];
                vst1q_f32(all.as_mut_ptr(), scaled[0]);
                vst1q_f32(all.as_mut_ptr().add(4), scaled[1]);
                out.copy_from_nonoverlapping(all.as_ptr(), live);
            }
        }
    }
}
