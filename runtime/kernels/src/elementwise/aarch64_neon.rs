//! Element-wise operations by AArch64 NEON, 16 elements at a time. The lower bound is applied before
//! rounding, where it also takes not-a-number (FMAXNM gives the number); the upper one can wait until it
//! is an integer: `fcvtns` and the narrowing moves saturate (Arm ARM, section C7.2, FMAXNM, FCVTNS, SQXTN).

use core::arch::aarch64::*;

use super::{BinaryArgs, BinaryOp, Operands, indices};

/// The constants of one operation.
#[derive(Clone, Copy)]
struct Constants {
    lhs_zero_point: int8x8_t,
    rhs_zero_point: int8x8_t,
    lhs_multiplier: float32x4_t,
    rhs_multiplier: float32x4_t,
    low: float32x4_t,
    zero_point: int16x8_t,
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
        lhs_multiplier: vdupq_n_f32(lhs_multiplier),
        rhs_multiplier: vdupq_n_f32(rhs_multiplier),
        low: vdupq_n_f32((args.output.min - args.output.zero_point) as f32),
        zero_point: vdupq_n_s16(args.output.zero_point as i16),
        high: vdupq_n_s8(args.output.max as i8),
    };
    let line = match (args.op, right_step) {
        (BinaryOp::Add { .. }, 1) => line::<true, false>,
        (BinaryOp::Add { .. }, _) => line::<true, true>,
        (BinaryOp::Mul { .. }, 1) => line::<false, false>,
        (BinaryOp::Mul { .. }, _) => line::<false, true>,
    };
    // The left operand of an operation in place is the output, which is contiguous.
    let (lhs, rhs, output) = match operands {
        Operands::Separate { lhs, rhs, output } => (lhs.as_ptr(), rhs, output),
        Operands::InPlace { output, rhs } => (output.as_ptr(), rhs, output),
    };
    assert!(rhs.len() >= args.operand_elems(&args.rhs_strides) && output.len() >= args.output_elems());
    let output = output.as_mut_ptr();
    let [d0, d1, d2, d3] = args.dims;
    let (ls, rs) = (&args.lhs_strides, &args.rhs_strides);
    let mut at = 0;
    for (i0, i1, i2) in indices(d0, d1, d2) {
        // SAFETY: each line is inside its operand, by their lengths: the left one's was checked by the
        // caller as the others' above, or it is the output.
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
    // SAFETY: whole registers where there are as many elements; the rest goes over the stack.
    unsafe {
        let single = vdupq_n_s8(*b);
        let mut at = 0;
        while at + 16 <= len {
            let right = if BROADCAST { single } else { vld1q_s8(b.add(at)) };
            vst1q_s8(out.add(at), sixteen::<ADD>(constants, vld1q_s8(a.add(at)), right));
            at += 16;
        }
        let rest = len - at;
        if rest > 0 {
            let (mut left, mut right) = ([0i8; 16], [0i8; 16]);
            left.as_mut_ptr().copy_from_nonoverlapping(a.add(at), rest);
            if !BROADCAST {
                right.as_mut_ptr().copy_from_nonoverlapping(b.add(at), rest);
            }
            let right = if BROADCAST { single } else { vld1q_s8(right.as_ptr()) };
            let mut result = [0i8; 16];
            vst1q_s8(result.as_mut_ptr(), sixteen::<ADD>(constants, vld1q_s8(left.as_ptr()), right));
            out.add(at).copy_from_nonoverlapping(result.as_ptr(), rest);
        }
    }
}

#[target_feature(enable = "neon")]
#[inline]
fn sixteen<const ADD: bool>(constants: &Constants, a: int8x16_t, b: int8x16_t) -> int8x16_t {
    let (za, zb) = (constants.lhs_zero_point, constants.rhs_zero_point);
    let low = eight::<ADD>(constants, vsubl_s8(vget_low_s8(a), za), vsubl_s8(vget_low_s8(b), zb));
    let high = eight::<ADD>(constants, vsubl_s8(vget_high_s8(a), za), vsubl_s8(vget_high_s8(b), zb));
    vminq_s8(vqmovn_high_s16(vqmovn_s16(low), high), constants.high)
}

#[target_feature(enable = "neon")]
#[inline]
fn eight<const ADD: bool>(constants: &Constants, a: int16x8_t, b: int16x8_t) -> int16x8_t {
    let real = if ADD {
        let scale = |x: int16x8_t, by: float32x4_t| {
            let (low, high) = (vmovl_s16(vget_low_s16(x)), vmovl_high_s16(x));
            [vmulq_f32(vcvtq_f32_s32(low), by), vmulq_f32(vcvtq_f32_s32(high), by)]
        };
        let (a, b) = (scale(a, constants.lhs_multiplier), scale(b, constants.rhs_multiplier));
        [vaddq_f32(a[0], b[0]), vaddq_f32(a[1], b[1])]
    } else {
        let products = [vmull_s16(vget_low_s16(a), vget_low_s16(b)), vmull_high_s16(a, b)];
        products.map(|product| vmulq_f32(vcvtq_f32_s32(product), constants.lhs_multiplier))
    };
    let [low, high] = real.map(|real| vcvtnq_s32_f32(vmaxnmq_f32(real, constants.low)));
    vqaddq_s16(vqmovn_high_s32(vqmovn_s32(low), high), constants.zero_point)
}
