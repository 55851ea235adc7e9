//! Element-wise operations by ARMv7 NEON, in assembly (`armv7/elementwise.s`), 8 elements at a time.

use super::{BinaryArgs, BinaryOp, Operands, indices};
use crate::armv7::Range;

unsafe extern "C" {
    fn edgepack_neon32_add(eights: *const Eights);
    fn edgepack_neon32_mul(eights: *const Eights);
}

/// Elements of a block.
const BLOCK: usize = 8;

/// What the assembly reads.
#[repr(C)]
struct Eights {
    a: *const i8,
    b: *const i8,
    /// `a`, or what overlaps nothing.
    out: *mut i8,
    /// From one block of `b` to the next; 0 where all are the same.
    b_step: usize,
    /// At least 1.
    blocks: usize,
    constants: *const Constants,
}

#[repr(C, align(16))]
struct Constants {
    range: Range,
    lhs_multiplier: [f32; 4],
    rhs_multiplier: [f32; 4],
    lhs_zero_point: [i8; BLOCK],
    rhs_zero_point: [i8; BLOCK],
}

/// [`super::binary`].
///
/// # Safety
/// The processor has NEON.
pub(crate) unsafe fn binary(args: &BinaryArgs, operands: Operands<'_>) {
    let args = args.merged();
    let (left_step, right_step) = (args.lhs_strides[3], args.rhs_strides[3]);
    let (lhs_multiplier, rhs_multiplier) = match args.op {
        BinaryOp::Add { lhs_multiplier, rhs_multiplier } => (lhs_multiplier, rhs_multiplier),
        BinaryOp::Mul { multiplier } => (multiplier, 0.0),
    };
    let zero_points = (i8::try_from(args.lhs_zero_point), i8::try_from(args.rhs_zero_point));
    // The order that the rounding keeps has no place for what is no number, which takes infinities to make.
    let is_small = |multiplier: f32| multiplier.abs() < 1e30;
    let (Ok(lhs_zero_point), Ok(rhs_zero_point)) = zero_points else {
        return super::binary(&args, operands);
    };
    if left_step != 1 || right_step > 1 || !is_small(lhs_multiplier) || !is_small(rhs_multiplier) {
        return super::binary(&args, operands);
    }
    let constants = Constants {
        range: Range::new(args.output),
        lhs_multiplier: [lhs_multiplier; 4],
        rhs_multiplier: [rhs_multiplier; 4],
        lhs_zero_point: [lhs_zero_point; BLOCK],
        rhs_zero_point: [rhs_zero_point; BLOCK],
    };
    let run: unsafe extern "C" fn(*const Eights) = match args.op {
        BinaryOp::Add { .. } => edgepack_neon32_add,
        BinaryOp::Mul { .. } => edgepack_neon32_mul,
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
        // SAFETY: each line is inside its operand, whose length was checked. Whole blocks are read and
        // written where there are as many elements; the rest goes over the stack.
        unsafe {
            let a = lhs.add(i0 * ls[0] + i1 * ls[1] + i2 * ls[2]);
            let b = rhs.as_ptr().add(i0 * rs[0] + i1 * rs[1] + i2 * rs[2]);
            let out = output.add(at);
            let single = [*b; BLOCK];
            let (blocks, rest) = (d3 / BLOCK, d3 % BLOCK);
            let whole = blocks * BLOCK;
            let (b_step, first) = if right_step == 1 { (BLOCK, b) } else { (0, single.as_ptr()) };
            if blocks > 0 {
                run(&Eights { a, b: first, out, b_step, blocks, constants: &constants });
            }
            if rest > 0 {
                let (mut left, mut right, mut result) = ([0; BLOCK], single, [0; BLOCK]);
                left[..rest].copy_from_slice(core::slice::from_raw_parts(a.add(whole), rest));
                if right_step == 1 {
                    right[..rest].copy_from_slice(core::slice::from_raw_parts(b.add(whole), rest));
                }
                let (a, b, to) = (left.as_ptr(), right.as_ptr(), result.as_mut_ptr());
                run(&Eights { a, b, out: to, b_step: 0, blocks: 1, constants: &constants });
                out.add(whole).copy_from_nonoverlapping(result.as_ptr(), rest);
            }
        }
        at += d3;
    }
}
