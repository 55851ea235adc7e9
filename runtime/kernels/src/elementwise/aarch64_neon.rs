//! Element-wise operations by AArch64 NEON, 16 elements at a time. The bounds can wait until there are bytes:
//! `fcvtns` and the narrowing moves saturate (Arm ARM, section C7.2, FCVTNS, SQXTN). Not-a-number, which
//! would become 0 and not the lower bound, needs multipliers near the end of f32, which are not taken.
//!
//! For a sum, `tbl` puts each byte below the exponent of 2²³, which makes it the f32 2²³ + x of the unsigned
//! x: one subtraction, exact, and it is the difference to the zero point, where widening and converting took
//! five instructions for two.

use core::arch::aarch64::*;
use core::array;

use super::{BinaryArgs, BinaryOp, Operands, indices};

/// From here on to twice as much the integers are neighbours in f32.
const TWO_TO_23: f32 = 8_388_608.0;

/// The constants of one operation.
#[derive(Clone, Copy)]
struct Constants {
    lhs_zero_point: int8x8_t,
    rhs_zero_point: int8x8_t,
    /// 2²³ + 128 + zero point.
    lhs_floats: float32x4_t,
    rhs_floats: float32x4_t,
    lhs_multiplier: float32x4_t,
    rhs_multiplier: float32x4_t,
    zero_point: int16x8_t,
    low: int8x16_t,
    high: int8x16_t,
}

/// [`super::binary`].
///
/// # Safety
/// The processor has NEON.
#[target_feature(enable = "neon")]
pub(crate) unsafe fn binary(args: &BinaryArgs, operands: Operands<'_>) {
    let args = args.merged();
    let (left_step, right_step) = (args.lhs_strides[3], args.rhs_strides[3]);
    // What has zero points beyond int8 is none of the packager's, but has a definition.
    let is_int8 = |value: i32| i8::try_from(value).is_ok();
    if left_step != 1
        || right_step > 1
        || !is_int8(args.lhs_zero_point)
        || !is_int8(args.rhs_zero_point)
        || !is_int8(args.output.zero_point)
    {
        return super::binary(&args, operands);
    }
    let (lhs_multiplier, rhs_multiplier) = match args.op {
        BinaryOp::Add { lhs_multiplier, rhs_multiplier } => (lhs_multiplier, rhs_multiplier),
        BinaryOp::Mul { multiplier } => (multiplier, 0.0),
    };
    let constants = Constants {
        lhs_zero_point: vdup_n_s8(args.lhs_zero_point as i8),
        rhs_zero_point: vdup_n_s8(args.rhs_zero_point as i8),
        lhs_floats: vdupq_n_f32(TWO_TO_23 + 128.0 + args.lhs_zero_point as f32),
        rhs_floats: vdupq_n_f32(TWO_TO_23 + 128.0 + args.rhs_zero_point as f32),
        lhs_multiplier: vdupq_n_f32(lhs_multiplier),
        rhs_multiplier: vdupq_n_f32(rhs_multiplier),
        zero_point: vdupq_n_s16(args.output.zero_point as i16),
        low: vdupq_n_s8(args.output.min as i8),
        high: vdupq_n_s8(args.output.max as i8),
    };
    // Multipliers that no difference of int8 takes beyond f32: infinities have no difference.
    let is_finite = lhs_multiplier.abs() < 1e30 && rhs_multiplier.abs() < 1e30;
    let line = match (args.op, right_step) {
        _ if !is_finite => return super::binary(&args, operands),
        (BinaryOp::Add { .. }, 1) => line::<true, false>,
        (BinaryOp::Add { .. }, _) => line::<true, true>,
        (BinaryOp::Mul { .. }, 1) => line::<false, false>,
        (BinaryOp::Mul { .. }, _) => line::<false, true>,
    };
    operands.assert_lengths(&args);
    // The left operand of an operation in place is the output, which is contiguous.
    let (lhs, rhs, output) = match operands {
        Operands::Separate { lhs, rhs, output } => (lhs.as_ptr(), rhs, output),
        Operands::InPlace { output, rhs } => (output.as_ptr(), rhs, output),
    };
    let output = output.as_mut_ptr();
    let [d0, d1, d2, d3] = args.dims;
    let (ls, rs) = (&args.lhs_strides, &args.rhs_strides);
    let mut at = 0;
    for (i0, i1, i2) in indices(d0, d1, d2) {
        // SAFETY: each line is inside its operand, whose length was checked.
        unsafe {
            let a = lhs.add(i0 * ls[0] + i1 * ls[1] + i2 * ls[2]);
            let b = rhs.as_ptr().add(i0 * rs[0] + i1 * rs[1] + i2 * rs[2]);
            line(&constants, a, b, output.add(at), d3);
        }
        at += d3;
    }
}

/// One line of `len`; with `BROADCAST` the right operand is one value.
///
/// # Safety
/// The line is in all three; `out` is `a`, or overlaps nothing.
#[target_feature(enable = "neon")]
unsafe fn line<const ADD: bool, const BROADCAST: bool>(
    constants: &Constants,
    a: *const i8,
    b: *const i8,
    out: *mut i8,
    len: usize,
) {
    // SAFETY: whole registers where there are as many elements; fewer go over the stack.
    unsafe {
        let single = vdupq_n_s8(*b);
        let at = |from: usize| {
            let right = if BROADCAST { single } else { vld1q_s8(b.add(from)) };
            sixteen::<ADD>(constants, vld1q_s8(a.add(from)), right)
        };
        if len >= 16 {
            // What is left behind the last whole register ends a register of its own, some of whose elements
            // are computed twice. That is done first, since in place they are soon overwritten.
            let last = (!len.is_multiple_of(16)).then(|| at(len - 16));
            for from in (0..len - 15).step_by(16) {
                vst1q_s8(out.add(from), at(from));
            }
            if let Some(last) = last {
                vst1q_s8(out.add(len - 16), last);
            }
        } else {
            let (mut left, mut right) = ([0i8; 16], [0i8; 16]);
            left.as_mut_ptr().copy_from_nonoverlapping(a, len);
            if !BROADCAST {
                right.as_mut_ptr().copy_from_nonoverlapping(b, len);
            }
            let right = if BROADCAST { single } else { vld1q_s8(right.as_ptr()) };
            let mut result = [0i8; 16];
            vst1q_s8(result.as_mut_ptr(), sixteen::<ADD>(constants, vld1q_s8(left.as_ptr()), right));
            out.copy_from_nonoverlapping(result.as_ptr(), len);
        }
    }
}

#[target_feature(enable = "neon")]
#[inline]
fn sixteen<const ADD: bool>(constants: &Constants, a: int8x16_t, b: int8x16_t) -> int8x16_t {
    let real = if ADD {
        let a = differences(a, constants.lhs_floats);
        let b = differences(b, constants.rhs_floats);
        array::from_fn(|i| {
            vaddq_f32(vmulq_f32(a[i], constants.lhs_multiplier), vmulq_f32(b[i], constants.rhs_multiplier))
        })
    } else {
        let (za, zb) = (constants.lhs_zero_point, constants.rhs_zero_point);
        let (a_low, b_low) = (vsubl_s8(vget_low_s8(a), za), vsubl_s8(vget_low_s8(b), zb));
        let (a_high, b_high) = (vsubl_s8(vget_high_s8(a), za), vsubl_s8(vget_high_s8(b), zb));
        let products = [
            vmull_s16(vget_low_s16(a_low), vget_low_s16(b_low)),
            vmull_high_s16(a_low, b_low),
            vmull_s16(vget_low_s16(a_high), vget_low_s16(b_high)),
            vmull_high_s16(a_high, b_high),
        ];
        products.map(|product| vmulq_f32(vcvtq_f32_s32(product), constants.lhs_multiplier))
    };
    let [a, b, c, d] = real.map(|real| vcvtnq_s32_f32(real));
    let low = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(a), b), constants.zero_point);
    let high = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(c), d), constants.zero_point);
    vminq_s8(vmaxq_s8(vqmovn_high_s16(vqmovn_s16(low), high), constants.low), constants.high)
}

/// `x` less a zero point, where `offset` is 2²³ + 128 + that.
#[target_feature(enable = "neon")]
#[inline]
fn differences(x: int8x16_t, offset: float32x4_t) -> [float32x4_t; 4] {
    // x + 128, unsigned, and behind it the other three bytes of the f32 2²³.
    let unsigned = veorq_u8(vreinterpretq_u8_s8(x), vdupq_n_u8(0x80));
    let table = uint8x16x2_t(unsigned, vreinterpretq_u8_u32(vdupq_n_u32(TWO_TO_23.to_bits())));
    array::from_fn(|i| {
        let index: [u32; 4] = array::from_fn(|lane| 0x1312_1100 + (4 * i + lane) as u32);
        // SAFETY: four integers are a register.
        let index = vreinterpretq_u8_u32(unsafe { vld1q_u32(index.as_ptr()) });
        vsubq_f32(vreinterpretq_f32_u8(vqtbl2q_u8(table, index)), offset)
    })
}
