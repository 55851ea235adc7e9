//! Element-wise operations by AVX2, 32 elements at a time: of two tensors that lie the same, or with right
//! operands that repeat, as those of a channel do.

use core::arch::x86_64::*;

use super::{BinaryArgs, BinaryOp, Operands};
use crate::x86_avx2::{Bounds, in_order};

const WIDTH: usize = 32;

/// Registers of right operands that are kept for one walk, at most.
const PERIOD: usize = 32;

/// Fewer elements are not worth the preparation.
const LEAST: usize = 256;

/// [`super::binary`].
///
/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn binary(args: &BinaryArgs, operands: Operands<'_>) {
    let args = args.merged();
    // What has zero points beyond int8 is none of the packager's, but has a definition.
    let is_int8 = |value: i32| i8::try_from(value).is_ok();
    let is_mine = is_int8(args.lhs_zero_point)
        && is_int8(args.rhs_zero_point)
        && is_int8(args.output.zero_point)
        && args.is_contiguous(&args.lhs_strides)
        && args.output_elems() >= LEAST;
    let right = Right::new(&args).filter(|_| is_mine);
    let Some(right) = right else { return super::binary(&args, operands) };
    operands.assert_lengths(&args);
    // The left operand of an operation in place is the output.
    let (lhs, rhs, out) = match operands {
        Operands::Separate { lhs, rhs, output } => (lhs.as_ptr(), rhs.as_ptr(), output.as_mut_ptr()),
        Operands::InPlace { output, rhs } => (output.as_ptr(), rhs.as_ptr(), output.as_mut_ptr()),
    };
    let walk = Walk { args: &args, bounds: Bounds::new(args.output), lhs, rhs, out };
    // SAFETY: the operands are as long as the walk asks for.
    unsafe {
        match (args.op, right) {
            (BinaryOp::Add { lhs_multiplier, rhs_multiplier }, right) => {
                walk.run::<true>(right, lhs_multiplier, rhs_multiplier);
            }
            (BinaryOp::Mul { multiplier }, right) => walk.run::<false>(right, multiplier, 0.0),
        }
    }
}

/// How the right operand lies.
#[derive(Clone, Copy)]
enum Right {
    /// As the output.
    Same,
    /// It is so many elements, which repeat, with a period of so many registers.
    Repeats { elems: usize, period: usize },
}

impl Right {
    /// `None` where it lies in neither way.
    fn new(args: &BinaryArgs) -> Option<Self> {
        let strides = &args.rhs_strides;
        if args.is_contiguous(strides) {
            return Some(Self::Same);
        }
        let is_outer = (0..3).all(|axis| args.dims[axis] == 1 || strides[axis] == 0);
        let elems = if strides[3] == 0 { 1 } else { args.dims[3] };
        // Both are multiples of the same power of two, up to the width.
        let period = elems >> elems.trailing_zeros().min(WIDTH.trailing_zeros());
        (is_outer && strides[3] <= 1 && period <= PERIOD && args.output_elems() >= 4 * period * WIDTH)
            .then_some(Self::Repeats { elems, period })
    }
}

/// One run; every operand is as long as its strides ask for.
struct Walk<'a> {
    args: &'a BinaryArgs,
    bounds: Bounds,
    lhs: *const i8,
    rhs: *const i8,
    out: *mut i8,
}

impl Walk<'_> {
    /// # Safety
    /// As the fields say; the processor has AVX2.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn run<const ADD: bool>(&self, right: Right, lhs_multiplier: f32, rhs_multiplier: f32) {
        let elems = self.args.output_elems();
        let rhs_zero_point = _mm256_set1_epi32(self.args.rhs_zero_point);
        let rhs_multiplier = _mm256_set1_ps(rhs_multiplier);
        // For a sum the scaled numbers, for a product 16 bits with zeros above.
        let prepare = |b: [__m256i; 4]| {
            let mut b = b;
            for b in &mut b {
                *b = _mm256_sub_epi32(*b, rhs_zero_point);
                *b = if ADD {
                    _mm256_castps_si256(_mm256_mul_ps(_mm256_cvtepi32_ps(*b), rhs_multiplier))
                } else {
                    _mm256_and_si256(*b, _mm256_set1_epi32(0xffff))
                };
            }
            b
        };
        let lhs_zero_point = _mm256_set1_epi32(self.args.lhs_zero_point);
        let lhs_multiplier = _mm256_set1_ps(lhs_multiplier);
        let apply = |a: [__m256i; 4], b: &[__m256i; 4]| {
            let mut real = [_mm256_setzero_ps(); 4];
            for i in 0..4 {
                let a = _mm256_sub_epi32(a[i], lhs_zero_point);
                real[i] = if ADD {
                    let a = _mm256_mul_ps(_mm256_cvtepi32_ps(a), lhs_multiplier);
                    _mm256_add_ps(a, _mm256_castsi256_ps(b[i]))
                } else {
                    // Differences of int8 have 9 bits: the lower halves are multiplied, the upper ones meet zeros.
                    _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_madd_epi16(a, b[i])), lhs_multiplier)
                };
            }
            in_order(self.bounds.quantize(real))
        };
        // SAFETY: registers are of elements that there are; what is left goes over the stack.
        unsafe {
            let (period, mut kept) = match right {
                Right::Same => (1, [[_mm256_setzero_si256(); 4]; PERIOD]),
                Right::Repeats { elems, period } => {
                    let mut values = [0i8; PERIOD * WIDTH];
                    for (i, value) in values[..period * WIDTH].iter_mut().enumerate() {
                        *value = *self.rhs.add(i % elems);
                    }
                    let mut kept = [[_mm256_setzero_si256(); 4]; PERIOD];
                    for (i, kept) in kept[..period].iter_mut().enumerate() {
                        *kept = prepare(widen(values.as_ptr().add(i * WIDTH)));
                    }
                    (period, kept)
                }
            };
            let is_same = matches!(right, Right::Same);
            let mut at = 0;
            while at < elems {
                for right in &mut kept[..period] {
                    let count = (elems - at).min(WIDTH);
                    if count < WIDTH {
                        if is_same {
                            *right = prepare(widen(part(self.rhs.add(at), count).as_ptr()));
                        }
                        let y = apply(widen(part(self.lhs.add(at), count).as_ptr()), right);
                        let mut bytes = [0i8; WIDTH];
                        _mm256_storeu_si256(bytes.as_mut_ptr().cast(), y);
                        self.out.add(at).copy_from_nonoverlapping(bytes.as_ptr(), count);
                        return;
                    }
                    if is_same {
                        *right = prepare(widen(self.rhs.add(at)));
                    }
                    let y = apply(widen(self.lhs.add(at)), right);
                    _mm256_storeu_si256(self.out.add(at).cast(), y);
                    at += WIDTH;
                }
            }
        }
    }
}

/// The first `count` of 32 elements, and zeros.
///
/// # Safety
/// They are readable.
unsafe fn part(from: *const i8, count: usize) -> [i8; WIDTH] {
    let mut all = [0; WIDTH];
    // SAFETY: the caller's promise; `count` is at most 32.
    unsafe { all.as_mut_ptr().copy_from_nonoverlapping(from, count) };
    all
}

/// 32 int8 as 4 × 8 int32.
///
/// # Safety
/// They are readable.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn widen(from: *const i8) -> [__m256i; 4] {
    let mut wide = [_mm256_setzero_si256(); 4];
    for (i, wide) in wide.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *wide = unsafe { _mm256_cvtepi8_epi32(_mm_loadl_epi64(from.add(i * 8).cast())) };
    }
    wide
}
