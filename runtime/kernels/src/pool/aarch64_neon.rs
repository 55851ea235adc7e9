//! Pooling by AArch64 NEON, up to 64 channels at a time. Averages sum in int16 (`saddw`) for as many
//! positions as that holds, and then in int32.

use core::arch::aarch64::*;

use super::{PoolArgs, PoolOp, Positions, average_multiplier};
use crate::requantize::OutputRange;

/// Channels of a register.
const WIDTH: usize = 16;

/// Values of int8 whose sum int16 holds.
const MAX_POSITIONS: usize = 255;

/// [`super::pool`].
///
/// # Safety
/// The processor has NEON.
#[target_feature(enable = "neon")]
pub(crate) unsafe fn pool(args: &PoolArgs, input: &[i8], output: &mut [i8]) {
    if args.channels < WIDTH {
        return super::pool(args, input, output);
    }
    super::for_each_window(args, input, output, |image, rows, columns, pixel| {
        let positions = Positions::new(args, image, rows, columns);
        let mut first = 0;
        while first < args.channels {
            // The last register starts early enough to be whole: some channels are pooled twice.
            let registers = if args.channels - first >= 4 * WIDTH { 4 } else { 1 };
            first = first.min(args.channels - registers * WIDTH);
            let from = positions.first.wrapping_add(first);
            let to = pixel[first..].as_mut_ptr();
            // SAFETY: the caller's promise; every position, and the pixel, has `registers * WIDTH` channels
            // from `first` on.
            unsafe {
                match args.op {
                    PoolOp::Max if registers == 4 => maximum::<4>(&positions, from, to),
                    PoolOp::Max => maximum::<1>(&positions, from, to),
                    PoolOp::Average { zero_point, multiplier, count_include_pad, output } => {
                        let multiplier = average_multiplier(multiplier, rows, columns, count_include_pad);
                        let scale = Scale { zero_point, multiplier, output };
                        match registers {
                            4 => average::<4>(&positions, from, &scale, to),
                            _ => average::<1>(&positions, from, &scale, to),
                        }
                    }
                }
            }
            first += registers * WIDTH;
        }
    });
}

/// # Safety
/// Every position, from `first` on, and `to` have `16 N` channels.
#[target_feature(enable = "neon")]
unsafe fn maximum<const N: usize>(positions: &Positions, first: *const i8, to: *mut i8) {
    let mut largest = [vdupq_n_s8(i8::MIN); N];
    let mut row = first;
    for _ in 0..positions.rows {
        let mut at = row;
        for _ in 0..positions.columns {
            for (i, largest) in largest.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                *largest = vmaxq_s8(*largest, unsafe { vld1q_s8(at.add(i * WIDTH)) });
            }
            at = at.wrapping_add(positions.column_step);
        }
        row = row.wrapping_add(positions.row_step);
    }
    for (i, largest) in largest.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { vst1q_s8(to.add(i * WIDTH), largest) };
    }
}

/// From a sum to a result.
struct Scale {
    zero_point: i32,
    multiplier: f32,
    output: OutputRange,
}

/// # Safety
/// Every position, from `first` on, and `to` have `16 N` channels.
#[target_feature(enable = "neon")]
unsafe fn average<const N: usize>(positions: &Positions, first: *const i8, scale: &Scale, to: *mut i8) {
    let inside = (positions.rows * positions.columns) as i32;
    let mut sums = [[vdupq_n_s32(-scale.zero_point * inside); 4]; N];
    let mut row = first;
    // Rows that follow one another are one.
    let (rows, columns) = match positions.rows * positions.columns {
        all if positions.columns * positions.column_step == positions.row_step => (1, all),
        _ => (positions.rows, positions.columns),
    };
    for _ in 0..rows {
        let (mut at, mut left) = (row, columns);
        while left > 0 {
            let count = left.min(MAX_POSITIONS);
            let mut narrow = [[vdupq_n_s16(0); 2]; N];
            for _ in 0..count {
                for (i, narrow) in narrow.iter_mut().enumerate() {
                    // SAFETY: the caller's promise.
                    let x = unsafe { vld1q_s8(at.add(i * WIDTH)) };
                    narrow[0] = vaddw_s8(narrow[0], vget_low_s8(x));
                    narrow[1] = vaddw_high_s8(narrow[1], x);
                }
                at = at.wrapping_add(positions.column_step);
            }
            for (sums, narrow) in sums.iter_mut().zip(narrow) {
                for (half, narrow) in narrow.into_iter().enumerate() {
                    sums[2 * half] = vaddw_s16(sums[2 * half], vget_low_s16(narrow));
                    sums[2 * half + 1] = vaddw_high_s16(sums[2 * half + 1], narrow);
                }
            }
            left -= count;
        }
        row = row.wrapping_add(positions.row_step);
    }
    let multiplier = vdupq_n_f32(scale.multiplier);
    let zero_point = vdupq_n_s16(scale.output.zero_point as i16);
    let (low, high) = (vdupq_n_s8(scale.output.min as i8), vdupq_n_s8(scale.output.max as i8));
    for (i, sums) in sums.into_iter().enumerate() {
        // `fcvtns` and the narrowing moves saturate, and keep the order: bounds can wait until there are bytes.
        let [a, b, c, d] = sums.map(|sum| vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(sum), multiplier)));
        let front = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(a), b), zero_point);
        let back = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(c), d), zero_point);
        let bytes = vqmovn_high_s16(vqmovn_s16(front), back);
        // SAFETY: the caller's promise.
        unsafe { vst1q_s8(to.add(i * WIDTH), vminq_s8(vmaxq_s8(bytes, low), high)) };
    }
}
