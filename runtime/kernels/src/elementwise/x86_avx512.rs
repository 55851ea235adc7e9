//! Element-wise operations by AVX-512, 64 elements at a time.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::{BinaryArgs, BinaryOp, Operands, indices};
use crate::x86_avx512::{Bounds, in_order};

const WIDTH: usize = 64;

/// Registers of right operands that are kept for one walk, at most.
const PERIOD: usize = 32;

/// The constants of one operation.
struct Constants {
    lhs_zero_point: __m512i,
    rhs_zero_point: __m512i,
    lhs_multiplier: __m512,
    rhs_multiplier: __m512,
    bounds: Bounds,
}

/// How a line's right operand lies.
#[derive(Clone, Copy)]
enum Right {
    /// As the line.
    Line,
    /// One value for all.
    Single,
}

/// [`super::binary`].
///
/// # Safety
/// The processor has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) unsafe fn binary(args: &BinaryArgs, operands: Operands<'_>) {
    let args = args.merged();
    // What has zero points beyond int8, or results beyond 2^30, is none of the packager's, but has a
    // definition.
    let is_int8 = |value: i32| i8::try_from(value).is_ok();
    let (lhs_multiplier, rhs_multiplier, largest) = match args.op {
        BinaryOp::Add { lhs_multiplier, rhs_multiplier } => {
            (lhs_multiplier, rhs_multiplier, (lhs_multiplier.abs() + rhs_multiplier.abs()) * 255.0)
        }
        BinaryOp::Mul { multiplier } => (multiplier, 0.0, multiplier.abs() * 65025.0),
    };
    let is_small = largest < (1 << 29) as f32;
    if args.lhs_strides[3] != 1
        || args.rhs_strides[3] > 1
        || !is_int8(args.lhs_zero_point)
        || !is_int8(args.rhs_zero_point)
        || !is_int8(args.output.zero_point)
        || !is_small
    {
        return super::binary(&args, operands);
    }
    operands.assert_lengths(&args);
    // The left operand of an operation in place is the output, which is contiguous.
    let (lhs, rhs, output) = match operands {
        Operands::Separate { lhs, rhs, output } => (lhs.as_ptr(), rhs, output),
        Operands::InPlace { output, rhs } => (output.as_ptr(), rhs, output),
    };
    let constants = Constants {
        lhs_zero_point: _mm512_set1_epi32(args.lhs_zero_point),
        rhs_zero_point: _mm512_set1_epi32(args.rhs_zero_point),
        lhs_multiplier: _mm512_set1_ps(lhs_multiplier),
        rhs_multiplier: _mm512_set1_ps(rhs_multiplier),
        bounds: Bounds::new(args.output),
    };
    let walk = Walk { args: &args, constants: &constants, lhs, rhs: rhs.as_ptr(), out: output.as_mut_ptr() };
    // SAFETY: the operands are as long as the walk asks for.
    unsafe {
        match args.op {
            BinaryOp::Add { .. } => walk.run::<true>(),
            BinaryOp::Mul { .. } => walk.run::<false>(),
        }
    }
}

/// One run; every operand is as long as its strides ask for.
struct Walk<'a> {
    args: &'a BinaryArgs,
    constants: &'a Constants,
    lhs: *const i8,
    rhs: *const i8,
    out: *mut i8,
}

impl Walk<'_> {
    /// # Safety
    /// As the fields say; the processor has AVX-512 F, BW, VL and VNNI.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn run<const ADD: bool>(&self) {
        let [d0, d1, d2, d3] = self.args.dims;
        let (ls, rs) = (&self.args.lhs_strides, &self.args.rhs_strides);
        let right = if rs[3] == 1 { Right::Line } else { Right::Single };
        // SAFETY: each line is inside its operand.
        unsafe {
            let is_per_channel = rs[3] == 1 && (0..3).all(|axis| self.args.dims[axis] == 1 || rs[axis] == 0);
            if is_per_channel && self.args.is_contiguous(ls) {
                return self.channels::<ADD>();
            }
            let mut at = 0;
            for (i0, i1, i2) in indices(d0, d1, d2) {
                let a = self.lhs.add(i0 * ls[0] + i1 * ls[1] + i2 * ls[2]);
                let b = self.rhs.add(i0 * rs[0] + i1 * rs[1] + i2 * rs[2]);
                self.line::<ADD>(a, b, self.out.add(at), right);
                at += d3;
            }
        }
    }

    /// One line of `dims[3]`.
    ///
    /// # Safety
    /// The line is in all three; `out` is `a`, or overlaps nothing.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn line<const ADD: bool>(&self, a: *const i8, b: *const i8, out: *mut i8, right: Right) {
        let len = self.args.dims[3];
        // SAFETY: whole registers where there are as many elements; masks leave what is behind the line.
        unsafe {
            let single = self.constants.right::<ADD>([_mm512_set1_epi32(*b as i32); 4]);
            let mut at = 0;
            while at + WIDTH <= len {
                let b = match right {
                    Right::Line => self.constants.right::<ADD>(widen(b.add(at))),
                    Right::Single => single,
                };
                let y = self.constants.apply::<ADD>(widen(a.add(at)), &b);
                _mm512_storeu_si512(out.add(at).cast(), y);
                at += WIDTH;
            }
            if at < len {
                let mask = mask(len - at);
                let b = match right {
                    Right::Line => self.constants.right::<ADD>(widen_masked(b.add(at), mask)),
                    Right::Single => single,
                };
                let y = self.constants.apply::<ADD>(widen_masked(a.add(at), mask), &b);
                _mm512_mask_storeu_epi8(out.add(at), mask, y);
            }
        }
    }

    /// One right operand for each channel, and a left one that is contiguous.
    ///
    /// # Safety
    /// As `run`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn channels<const ADD: bool>(&self) {
        let channels = self.args.dims[3];
        let elems = self.args.output_elems();
        // Both are multiples of the same power of two, up to 64.
        let period = channels >> channels.trailing_zeros().min(WIDTH.trailing_zeros());
        // SAFETY: registers are whole where there are as many channels; else masked.
        unsafe {
            if period <= PERIOD && elems >= 4 * period * WIDTH {
                return self.periodic::<ADD>(period);
            }
            let whole = channels - channels % WIDTH;
            for first in (0..whole).step_by(WIDTH) {
                let b = self.constants.right::<ADD>(widen(self.rhs.add(first)));
                for at in (first..elems).step_by(channels) {
                    let y = self.constants.apply::<ADD>(widen(self.lhs.add(at)), &b);
                    _mm512_storeu_si512(self.out.add(at).cast(), y);
                }
            }
            if whole < channels {
                let mask = mask(channels - whole);
                let b = self.constants.right::<ADD>(widen_masked(self.rhs.add(whole), mask));
                for at in (whole..elems).step_by(channels) {
                    self.masked::<ADD>(at, mask, &b);
                }
            }
        }
    }

    /// The same where the right operands of `period` registers repeat: these are made once, and the left ones
    /// are walked over in order, whichever pixel they are of.
    ///
    /// # Safety
    /// As `run`; `period` is at most [`PERIOD`], and its registers hold a number of whole pixels.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn periodic<const ADD: bool>(&self, period: usize) {
        let channels = self.args.dims[3];
        let elems = self.args.output_elems();
        let mut pixels = [MaybeUninit::<i8>::uninit(); PERIOD * WIDTH];
        let mut right = [const { MaybeUninit::<Operand>::uninit() }; PERIOD];
        // SAFETY: whole pixels fill `period` registers; whole registers where there are as many elements, and
        // else masked.
        unsafe {
            let pixels: *mut i8 = pixels.as_mut_ptr().cast();
            for at in (0..period * WIDTH).step_by(channels) {
                pixels.add(at).copy_from_nonoverlapping(self.rhs, channels);
            }
            for (i, right) in right[..period].iter_mut().enumerate() {
                right.write(self.constants.right::<ADD>(widen(pixels.add(i * WIDTH))));
            }
            let mut at = 0;
            while at < elems {
                for right in &right[..period] {
                    let right = right.assume_init_ref();
                    if at + WIDTH > elems {
                        return self.masked::<ADD>(at, mask(elems - at), right);
                    }
                    let y = self.constants.apply::<ADD>(widen(self.lhs.add(at)), right);
                    _mm512_storeu_si512(self.out.add(at).cast(), y);
                    at += WIDTH;
                }
            }
        }
    }

    /// # Safety
    /// The elements of the mask are inside both.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn masked<const ADD: bool>(&self, at: usize, mask: __mmask64, b: &Operand) {
        // SAFETY: the caller's promise.
        unsafe {
            let a = widen_masked(self.lhs.add(at), mask);
            _mm512_mask_storeu_epi8(self.out.add(at), mask, self.constants.apply::<ADD>(a, b));
        }
    }
}

/// A register of right operands as [`Constants::apply`] wants them.
#[derive(Clone, Copy)]
struct Operand {
    /// For a sum the scaled numbers, for a product 16 bits with zeros above.
    values: [__m512i; 4],
    /// For a product: what the left zero point takes off.
    starts: [__m512i; 4],
}

impl Constants {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    fn right<const ADD: bool>(&self, b: [__m512i; 4]) -> Operand {
        let zero = [_mm512_setzero_si512(); 4];
        let mut operand = Operand { values: zero, starts: zero };
        for i in 0..4 {
            let b = _mm512_sub_epi32(b[i], self.rhs_zero_point);
            if ADD {
                let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(b), self.rhs_multiplier);
                operand.values[i] = _mm512_castps_si512(scaled);
            } else {
                operand.values[i] = _mm512_and_si512(b, _mm512_set1_epi32(0xffff));
                let taken_off = _mm512_madd_epi16(operand.values[i], self.lhs_zero_point);
                operand.starts[i] = _mm512_sub_epi32(_mm512_setzero_si512(), taken_off);
            }
        }
        operand
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    fn apply<const ADD: bool>(&self, a: [__m512i; 4], b: &Operand) -> __m512i {
        let mut real = [_mm512_setzero_ps(); 4];
        for i in 0..4 {
            real[i] = if ADD {
                let a = _mm512_cvtepi32_ps(_mm512_sub_epi32(a[i], self.lhs_zero_point));
                _mm512_add_ps(_mm512_mul_ps(a, self.lhs_multiplier), _mm512_castsi512_ps(b.values[i]))
            } else {
                // Differences of int8 have 9 bits: the lower halves are multiplied, the upper ones meet zeros.
                let product = _mm512_dpwssd_epi32(b.starts[i], a[i], b.values[i]);
                _mm512_mul_ps(_mm512_cvtepi32_ps(product), self.lhs_multiplier)
            };
        }
        in_order(self.bounds.quantize_small(&real))
    }
}

/// 64 int8 as 4 × 16 int32.
///
/// # Safety
/// They are readable.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn widen(from: *const i8) -> [__m512i; 4] {
    let mut wide = [_mm512_setzero_si512(); 4];
    for (i, wide) in wide.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *wide = unsafe { _mm512_cvtepi8_epi32(_mm_loadu_si128(from.add(i * 16).cast())) };
    }
    wide
}

/// The same of those in the mask; zeros for the others.
///
/// # Safety
/// Those in the mask are readable.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn widen_masked(from: *const i8, mask: __mmask64) -> [__m512i; 4] {
    // SAFETY: the caller's promise.
    let x = unsafe { _mm512_maskz_loadu_epi8(mask, from) };
    [
        _mm512_cvtepi8_epi32(_mm512_castsi512_si128(x)),
        _mm512_cvtepi8_epi32(_mm512_extracti32x4_epi32::<1>(x)),
        _mm512_cvtepi8_epi32(_mm512_extracti32x4_epi32::<2>(x)),
        _mm512_cvtepi8_epi32(_mm512_extracti32x4_epi32::<3>(x)),
    ]
}

/// The first `len` of 64.
fn mask(len: usize) -> __mmask64 {
    u64::MAX >> (WIDTH - len.min(WIDTH))
}
