//! Element-wise operations by AArch64 NEON, 16 elements at a time, rounded as [`Bounds`] says. Multipliers so large
//! that a result could be far beyond int8 are not taken.
//!
//! For a sum, `tbl` puts each byte below the exponent of 2²³, which makes it the f32 2²³ + x of the unsigned
//! x: one subtraction, exact, and it is the difference to the zero point, where widening and converting took
//! five instructions for two.

use core::arch::aarch64::*;
use core::arch::asm;
use core::array;

use super::{BinaryArgs, BinaryOp, Operands, indices};
use crate::aarch64_rounding::{Bounds, MOST};
use crate::requantize::OutputRange;

/// From here on to twice as much the integers are neighbours in f32.
const TWO_TO_23: f32 = 8_388_608.0;

/// The constants of one operation.
#[derive(Clone, Copy)]
struct Constants {
    lhs_zero_point: int8x16_t,
    rhs_zero_point: int8x16_t,
    /// 2²³ + 128 + zero point.
    lhs_floats: float32x4_t,
    rhs_floats: float32x4_t,
    lhs_multiplier: float32x4_t,
    rhs_multiplier: float32x4_t,
    rounding: float32x4_t,
    odd: int16x8_t,
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
    let (lhs_multiplier, rhs_multiplier, largest) = match args.op {
        BinaryOp::Add { lhs_multiplier: lhs, rhs_multiplier: rhs } => {
            (lhs, rhs, 255.0 * (lhs.abs() + rhs.abs()))
        }
        BinaryOp::Mul { multiplier } => (multiplier, 0.0, 255.0 * 255.0 * multiplier.abs()),
    };
    // Zero points beyond int8 are none of the packager's, but have a definition. Nor is what is not a number less
    // than anything.
    let zero_points = [args.lhs_zero_point, args.rhs_zero_point, args.output.zero_point];
    let is_taken = left_step == 1
        && right_step <= 1
        && zero_points.iter().all(|&zero_point| i8::try_from(zero_point).is_ok())
        && largest <= MOST;
    // In one place, since the code for it is large.
    if !is_taken {
        return super::binary(&args, operands);
    }
    let bounds = Bounds::new::<true>(args.output);
    let constants = Constants {
        lhs_zero_point: vdupq_n_s8(args.lhs_zero_point as i8),
        rhs_zero_point: vdupq_n_s8(args.rhs_zero_point as i8),
        lhs_floats: vdupq_n_f32(TWO_TO_23 + 128.0 + args.lhs_zero_point as f32),
        rhs_floats: vdupq_n_f32(TWO_TO_23 + 128.0 + args.rhs_zero_point as f32),
        lhs_multiplier: vdupq_n_f32(lhs_multiplier),
        rhs_multiplier: vdupq_n_f32(rhs_multiplier),
        rounding: vdupq_n_f32(bounds.rounding[0]),
        odd: vdupq_n_s16(bounds.odd[0]),
        low: vdupq_n_s8(bounds.low[0]),
        high: vdupq_n_s8(bounds.high[0]),
    };
    let line = match (args.op, right_step, bounds.adjusts()) {
        (BinaryOp::Add { .. }, 1, false) => line::<true, false, false>,
        (BinaryOp::Add { .. }, 1, true) => line::<true, false, true>,
        (BinaryOp::Add { .. }, ..) => line::<true, true, true>,
        (BinaryOp::Mul { .. }, 1, _) => line::<false, false, true>,
        (BinaryOp::Mul { .. }, ..) => line::<false, true, true>,
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
    let is_mul = matches!(args.op, BinaryOp::Mul { .. });
    let per_channel = right_step == 1 && (rs[1], rs[2]) == (0, 0) && args.is_contiguous(ls);
    if is_mul && per_channel && d3.is_multiple_of(8) {
        let (pixels, elems) = (d1 * d2, d1 * d2 * d3);
        let short = Short::new(lhs_multiplier, args.output);
        for image in 0..d0 {
            for first in (0..d3).step_by(16) {
                // SAFETY: each image is inside the output, and inside the left operand, which is as long or the
                // same memory; the channels from `first` on are 8 or at least 16.
                unsafe {
                    let at = image * elems + first;
                    let b = rhs.as_ptr().add(image * rs[0] + first);
                    let is_half = d3 - first < 16;
                    let (operands, sizes) = ([lhs.add(at), b], [pixels, d3]);
                    match short.as_ref().and_then(|short| short.factors(&constants, b, is_half)) {
                        Some(factors) => {
                            let columns = if is_half { short_8 } else { short_16 };
                            columns(&constants, &factors, operands[0], output.add(at), sizes);
                        }
                        None => {
                            let columns = if is_half { multiply_8 } else { multiply_16 };
                            columns(&constants, bounds.adjusts(), operands, output.add(at), sizes);
                        }
                    }
                }
            }
        }
        return;
    }
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

/// A multiplier of at most seven bits, `M / 2^e`: the product of two differences and of it is exact in f32, so that
/// integers can round it as well, all of 8 lanes in one `sqrdmulh`, `(2 * x * y + 2^15) >> 16` (Arm ARM, section C7.2,
/// SQRDMULH). The one difference is that halves are rounded up, not to even: where there may be halves, floats do it.
struct Short {
    /// M, which is odd.
    factor: i16,
    /// e.
    exponent: i16,
    zero_point: i16,
}

/// What [`Short`] multiplies some channels with.
struct Factors {
    /// Of each channel, M times the factor's difference to its zero point.
    factors: [int16x8_t; 2],
    /// How far the other differences are shifted to the left.
    shift: int16x8_t,
    zero_point: int16x8_t,
}

impl Short {
    /// `None` where a multiplier is another, or bounds are not int8's own.
    fn new(multiplier: f32, range: OutputRange) -> Option<Self> {
        let bits = multiplier.to_bits();
        let mantissa = bits & 0x7f_ffff | 0x80_0000;
        let zeros = mantissa.trailing_zeros();
        // Differences of 9 bits, shifted, and 8 bits of those of the factors, times M, fit int16.
        let exponent = 150 - (bits >> 23) as i16 - zeros as i16;
        let is_short = mantissa >> zeros <= 127 && (8..=15).contains(&exponent) && multiplier > 0.0;
        let is_whole = (range.min, range.max) == (i8::MIN as i32, i8::MAX as i32);
        let (factor, zero_point) = ((mantissa >> zeros) as i16, range.zero_point as i16);
        (is_short && is_whole).then_some(Self { factor, exponent, zero_point })
    }

    /// Those of 16 channels, or 8; `None` where one of their products may be a half.
    ///
    /// # Safety
    /// So many can be read.
    #[target_feature(enable = "neon")]
    unsafe fn factors(&self, constants: &Constants, b: *const i8, is_half: bool) -> Option<Factors> {
        let zero_point = vget_low_s8(constants.rhs_zero_point);
        // SAFETY: the caller's promise.
        let halves = unsafe { [vld1_s8(b), if is_half { vld1_s8(b) } else { vld1_s8(b.add(8)) }] };
        let differences = halves.map(|b| vsubl_s8(b, zero_point));
        // A half is an odd multiple of 2^(e - 1), to which the left differences, of 8 bits, contribute 2^7 at most.
        let rest = vdupq_n_s16(((1 << self.exponent) >> 8) - 1);
        let may_be_half = differences.map(|b| vandq_u16(vceqzq_s16(vandq_s16(b, rest)), vtstq_s16(b, b)));
        if vmaxvq_u16(vorrq_u16(may_be_half[0], may_be_half[1])) != 0 {
            return None;
        }
        Some(Factors {
            factors: differences.map(|b| vmulq_n_s16(b, self.factor)),
            shift: vdupq_n_s16(15 - self.exponent),
            zero_point: vdupq_n_s16(self.zero_point),
        })
    }
}

/// A product by channels by a [`Short`] multiplier, of so many lanes.
macro_rules! short {
    ($name:ident, $lanes:literal) => {
        /// Some channels of `pixels`, which are `channels` elements apart, times a factor of each channel.
        ///
        /// # Safety
        /// There is a pixel; the channels are in all pixels of `a` and `out`; `out` is `a`, or overlaps nothing.
        #[target_feature(enable = "neon")]
        unsafe fn $name(
            constants: &Constants,
            factors: &Factors,
            a: *const i8,
            out: *mut i8,
            [pixels, channels]: [usize; 2],
        ) {
            // SAFETY: reads and writes what the caller promises.
            unsafe {
                asm!(
                    "20:",
                    concat!("ld1 {{v0.", $lanes, "}}, [{a}], {channels}"),
                    "ssubl2 v1.8h, v0.16b, {lhs_zero_point:v}.16b",
                    "ssubl v0.8h, v0.8b, {lhs_zero_point:v}.8b",
                    "sshl v0.8h, v0.8h, {shift:v}.8h",
                    "sshl v1.8h, v1.8h, {shift:v}.8h",
                    "sqrdmulh v0.8h, v0.8h, {low:v}.8h",
                    "sqrdmulh v1.8h, v1.8h, {high:v}.8h",
                    "sqadd v0.8h, v0.8h, {zero_point:v}.8h",
                    "sqadd v1.8h, v1.8h, {zero_point:v}.8h",
                    "sqxtn v0.8b, v0.8h",
                    "sqxtn2 v0.16b, v1.8h",
                    "subs {pixels}, {pixels}, #1",
                    concat!("st1 {{v0.", $lanes, "}}, [{out}], {channels}"),
                    "b.ne 20b",
                    a = inout(reg) a => _,
                    out = inout(reg) out => _,
                    pixels = inout(reg) pixels => _,
                    channels = in(reg) channels,
                    lhs_zero_point = in(vreg) constants.lhs_zero_point,
                    shift = in(vreg) factors.shift,
                    low = in(vreg) factors.factors[0],
                    high = in(vreg) factors.factors[1],
                    zero_point = in(vreg) factors.zero_point,
                    out("v0") _, out("v1") _,
                    options(nostack),
                );
            }
        }
    };
}

short!(short_16, "16b");
short!(short_8, "8b");

/// A product by channels, of so many lanes.
macro_rules! multiply {
    ($name:ident, $lanes:literal) => {
        /// Some channels of `pixels`, which are `channels` elements apart, times a factor of each channel.
        ///
        /// # Safety
        /// There is a pixel; the channels are in all pixels of `a` and `out`, and in `b`; `out` is `a`, or
        /// overlaps nothing.
        #[target_feature(enable = "neon")]
        unsafe fn $name(
            constants: &Constants,
            adjusts: bool,
            [a, b]: [*const i8; 2],
            out: *mut i8,
            [pixels, channels]: [usize; 2],
        ) {
            // SAFETY: reads and writes what the caller promises.
            unsafe {
                asm!(
                    concat!("ld1 {{v0.", $lanes, "}}, [{b}]"),
                    "ssubl2 v1.8h, v0.16b, {rhs_zero_point:v}.16b",
                    "ssubl v0.8h, v0.8b, {rhs_zero_point:v}.8b",
                    "20:",
                    concat!("ld1 {{v2.", $lanes, "}}, [{a}], {channels}"),
                    "ssubl2 v3.8h, v2.16b, {lhs_zero_point:v}.16b",
                    "ssubl v2.8h, v2.8b, {lhs_zero_point:v}.8b",
                    "smull v4.4s, v2.4h, v0.4h",
                    "smull2 v5.4s, v2.8h, v0.8h",
                    "smull v6.4s, v3.4h, v1.4h",
                    "smull2 v7.4s, v3.8h, v1.8h",
                    "scvtf v4.4s, v4.4s",
                    "scvtf v5.4s, v5.4s",
                    "scvtf v6.4s, v6.4s",
                    "scvtf v7.4s, v7.4s",
                    "fmul v4.4s, v4.4s, {multiplier:v}.4s",
                    "fmul v5.4s, v5.4s, {multiplier:v}.4s",
                    "fmul v6.4s, v6.4s, {multiplier:v}.4s",
                    "fmul v7.4s, v7.4s, {multiplier:v}.4s",
                    "fadd v4.4s, v4.4s, {rounding:v}.4s",
                    "fadd v5.4s, v5.4s, {rounding:v}.4s",
                    "fadd v6.4s, v6.4s, {rounding:v}.4s",
                    "fadd v7.4s, v7.4s, {rounding:v}.4s",
                    "uzp1 v4.8h, v4.8h, v5.8h",
                    "uzp1 v6.8h, v6.8h, v7.8h",
                    "cbnz {adjusts:w}, 22f",
                    "sqxtn v4.8b, v4.8h",
                    "sqxtn2 v4.16b, v6.8h",
                    "21:",
                    concat!("st1 {{v4.", $lanes, "}}, [{out}], {channels}"),
                    "subs {pixels}, {pixels}, #1",
                    "b.ne 20b",
                    "b 23f",
                    "22:",
                    "add v4.8h, v4.8h, {odd:v}.8h",
                    "add v6.8h, v6.8h, {odd:v}.8h",
                    "sqxtn v4.8b, v4.8h",
                    "sqxtn2 v4.16b, v6.8h",
                    "smax v4.16b, v4.16b, {low:v}.16b",
                    "smin v4.16b, v4.16b, {high:v}.16b",
                    "b 21b",
                    "23:",
                    a = inout(reg) a => _,
                    b = in(reg) b,
                    out = inout(reg) out => _,
                    pixels = inout(reg) pixels => _,
                    channels = in(reg) channels,
                    adjusts = in(reg) u32::from(adjusts),
                    lhs_zero_point = in(vreg) constants.lhs_zero_point,
                    rhs_zero_point = in(vreg) constants.rhs_zero_point,
                    multiplier = in(vreg) constants.lhs_multiplier,
                    rounding = in(vreg) constants.rounding,
                    odd = in(vreg) constants.odd,
                    low = in(vreg) constants.low,
                    high = in(vreg) constants.high,
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _,
                    out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                    options(nostack),
                );
            }
        }
    };
}

multiply!(multiply_16, "16b");
multiply!(multiply_8, "8b");

/// One line of `len`; with `BROADCAST` the right operand is one value. Without `ADJUSTS` rounding is all there is
/// to do.
///
/// # Safety
/// The line is in all three; `out` is `a`, or overlaps nothing.
#[target_feature(enable = "neon")]
unsafe fn line<const ADD: bool, const BROADCAST: bool, const ADJUSTS: bool>(
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
            sixteen::<ADD, ADJUSTS>(constants, vld1q_s8(a.add(from)), right)
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
            vst1q_s8(result.as_mut_ptr(), sixteen::<ADD, ADJUSTS>(constants, vld1q_s8(left.as_ptr()), right));
            out.copy_from_nonoverlapping(result.as_ptr(), len);
        }
    }
}

#[target_feature(enable = "neon")]
#[inline]
fn sixteen<const ADD: bool, const ADJUSTS: bool>(
    constants: &Constants,
    a: int8x16_t,
    b: int8x16_t,
) -> int8x16_t {
    let real = if ADD {
        let a = differences(a, constants.lhs_floats);
        let b = differences(b, constants.rhs_floats);
        array::from_fn(|i| {
            vaddq_f32(vmulq_f32(a[i], constants.lhs_multiplier), vmulq_f32(b[i], constants.rhs_multiplier))
        })
    } else {
        let (za, zb) = (constants.lhs_zero_point, constants.rhs_zero_point);
        let low = |x: int8x16_t, zero_point| vsubl_s8(vget_low_s8(x), vget_low_s8(zero_point));
        let (a_low, b_low) = (low(a, za), low(b, zb));
        let (a_high, b_high) = (vsubl_high_s8(a, za), vsubl_high_s8(b, zb));
        let products = [
            vmull_s16(vget_low_s16(a_low), vget_low_s16(b_low)),
            vmull_high_s16(a_low, b_low),
            vmull_s16(vget_low_s16(a_high), vget_low_s16(b_high)),
            vmull_high_s16(a_high, b_high),
        ];
        products.map(|product| vmulq_f32(vcvtq_f32_s32(product), constants.lhs_multiplier))
    };
    let [a, b, c, d] = real.map(|real| vreinterpretq_s16_f32(vaddq_f32(real, constants.rounding)));
    let (low, high) = (vuzp1q_s16(a, b), vuzp1q_s16(c, d));
    if !ADJUSTS {
        return vqmovn_high_s16(vqmovn_s16(low), high);
    }
    let (low, high) = (vaddq_s16(low, constants.odd), vaddq_s16(high, constants.odd));
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
