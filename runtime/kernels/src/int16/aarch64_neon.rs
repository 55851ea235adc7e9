//! AArch64: `smlal` by element multiplies four int16 by one and adds to four int32. A pair's weights are taken
//! apart as they are loaded (`ld2`): the first terms of all channels, then the second ones. A tile is 4 pixels
//! × 16 channels: 16 registers of sums, 4 of weights, 1 of a pair. (Arm Architecture Reference Manual, SMLAL
//! by element, LD2.)

use core::arch::aarch64::*;
use core::ops::Range;

use super::{ConvArgs, Dot, PANEL, Sums};
use crate::float::elementwise::Sink;

struct Neon;

/// # Safety
/// None needed on this architecture; the signature is the table's.
pub(super) unsafe fn neon(args: &ConvArgs<'_>, range: Range<usize>, sink: Sink<'_>) {
    // SAFETY: every processor of this architecture has Advanced SIMD.
    unsafe { super::conv::<Neon, 4>(args, range, sink) }
}

/// A weight that vectors of int16 are loaded of.
trait Load: Sized {
    /// The first terms of channels 0 to 7 and 8 to 15, then the second ones.
    ///
    /// # Safety
    /// None needed on this architecture.
    unsafe fn pair(weights: &[Self; 2 * PANEL]) -> [[int16x8_t; 2]; 2];
}

impl Load for i8 {
    #[inline(always)]
    unsafe fn pair(weights: &[Self; 2 * PANEL]) -> [[int16x8_t; 2]; 2] {
        // SAFETY: the array has the 32 bytes that are loaded.
        unsafe {
            let int8x16x2_t(first, second) = vld2q_s8(weights.as_ptr());
            [first, second].map(|terms| [vmovl_s8(vget_low_s8(terms)), vmovl_high_s8(terms)])
        }
    }
}

impl Load for i16 {
    #[inline(always)]
    unsafe fn pair(weights: &[Self; 2 * PANEL]) -> [[int16x8_t; 2]; 2] {
        // SAFETY: the array has twice the 16 values that are loaded.
        unsafe {
            let (low, high) = (vld2q_s16(weights.as_ptr()), vld2q_s16(weights.as_ptr().add(PANEL)));
            [[low.0, high.0], [low.1, high.1]]
        }
    }
}

impl<W: Load> Dot<W> for Neon {
    #[inline(always)]
    unsafe fn dot<const P: usize>(sums: &mut [Sums; P], rows: &[&[i16]; P], weights: &[[W; 2 * PANEL]]) {
        // SAFETY: sums are four vectors each; rows have two terms for each pair.
        unsafe {
            let mut held = [[vdupq_n_s32(0); 4]; P];
            for (held, sums) in held.iter_mut().zip(&*sums) {
                for (i, held) in held.iter_mut().enumerate() {
                    *held = vld1q_s32(sums.as_ptr().add(4 * i));
                }
            }
            let rows = rows.map(|row| row.as_ptr().cast::<i32>());
            for (j, weights) in weights.iter().enumerate() {
                let [first, second] = W::pair(weights);
                for (held, row) in held.iter_mut().zip(rows) {
                    let x = vreinterpret_s16_s32(vdup_n_s32(row.add(j).read_unaligned()));
                    held[0] = vmlal_lane_s16::<0>(held[0], vget_low_s16(first[0]), x);
                    held[1] = vmlal_high_lane_s16::<0>(held[1], first[0], x);
                    held[2] = vmlal_lane_s16::<0>(held[2], vget_low_s16(first[1]), x);
                    held[3] = vmlal_high_lane_s16::<0>(held[3], first[1], x);
                    held[0] = vmlal_lane_s16::<1>(held[0], vget_low_s16(second[0]), x);
                    held[1] = vmlal_high_lane_s16::<1>(held[1], second[0], x);
                    held[2] = vmlal_lane_s16::<1>(held[2], vget_low_s16(second[1]), x);
                    held[3] = vmlal_high_lane_s16::<1>(held[3], second[1], x);
                }
            }
            for (held, sums) in held.iter().zip(sums) {
                for (i, held) in held.iter().enumerate() {
                    vst1q_s32(sums.as_mut_ptr().add(4 * i), *held);
                }
            }
        }
    }
}
