//! The one definition of how an accumulator becomes int8.
//!
//! `q = rne(clamp(acc as f32 * multiplier, min - zero_point, max - zero_point)) + zero_point`:
//! one conversion, one multiplication, one rounding to nearest, ties to even. Each is a single
//! correctly rounded IEEE 754 operation, so every processor gives the same bits, as long as
//! nothing is contracted into a fused multiply-add. Clamping first changes nothing, since rounding
//! is monotonic and the bounds are integers; it keeps the rounding trick in its range.
//!
//! A residual `r`, an int8 value that is added before the result is rounded, has a multiplier of its own:
//! `rne(clamp(acc as f32 * multiplier + r as f32 * residual_multiplier, …)) + zero_point`. That multiplier has
//! at most 17 significant bits, so that its product with an int8 value is exact: then a fused multiply-add
//! rounds what an addition rounds, and each processor may take what it has.

/// Where the int8 result of a step lies: its zero point and the bounds that it is clamped to
/// (int8's own, or tighter where an activation is fused into the step).
///
/// `-128 <= min <= max <= 127`, `-128 <= zero_point <= 127`; of an int16 result `-32768 <= min <= max <= 32767`,
/// and a zero point of 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputRange {
    /// The int8 value that stands for 0.
    pub zero_point: i32,
    /// The smallest result.
    pub min: i32,
    /// The largest result.
    pub max: i32,
}

/// Adding and subtracting this rounds an f32 of magnitude below 2^22 to the nearest integer, ties
/// to even: at 1.5 * 2^23 the spacing of f32 is exactly 1 (Muller et al., "Handbook of
/// Floating-Point Arithmetic", section 8.4). Baseline ARMv7 and Cortex-M have no instruction for it.
pub const ROUNDING_MAGIC: f32 = 12_582_912.0;

/// The multipliers of residuals, in magnitude: no product is subnormal, and none as large as what sums of a
/// convolution are.
const RESIDUAL_MULTIPLIERS: core::ops::RangeInclusive<f32> = 1.0 / (1u64 << 32) as f32..=65536.0;

/// What a multiplier of 17 significant bits has not.
const RESIDUAL_MULTIPLIER_REST: u32 = 0x7f;

/// Whether a residual may have this multiplier: at most 17 significant bits, from 2⁻³² to 2¹⁶.
pub fn is_residual_multiplier(multiplier: f32) -> bool {
    RESIDUAL_MULTIPLIERS.contains(&multiplier) && multiplier.to_bits() & RESIDUAL_MULTIPLIER_REST == 0
}

/// The nearest multiplier that a residual may have. Not-a-number gives the smallest.
pub fn residual_multiplier(ratio: f64) -> f32 {
    let (least, most) = RESIDUAL_MULTIPLIERS.into_inner();
    let within = (ratio as f32).max(least).min(most);
    let half = RESIDUAL_MULTIPLIER_REST.div_ceil(2);
    f32::from_bits((within.to_bits() + half) & !RESIDUAL_MULTIPLIER_REST)
}

/// Rounds to the nearest integer, ties to even. `|value| < 2^22`.
#[inline(always)]
pub fn round_ties_even(value: f32) -> f32 {
    (value + ROUNDING_MAGIC) - ROUNDING_MAGIC
}

#[cfg(edgepack_soft_float)]
use soft as direct;
#[cfg(edgepack_vcvtr)]
use vcvtr as direct;

/// Rounding by VFP's own instruction, whose way is to nearest, ties to even, unless a program has changed it; beyond
/// int32 it gives the nearest end, of what is no number 0 (Arm, "ARMv7-M Architecture Reference Manual", VCVTR).
///
/// Values come in core registers: the compiler knows no class of registers for units of single precision only.
#[cfg(any(edgepack_vcvtr, all(test, target_arch = "arm")))]
mod vcvtr {
    use core::arch::asm;

    /// `rne(value)`.
    #[inline(always)]
    pub fn round(value: f32) -> i32 {
        let mut bits = value.to_bits();
        // SAFETY: every VFP has these instructions, which write nothing but these registers.
        unsafe {
            asm!("vmov s0, {bits}", "vcvtr.s32.f32 s0, s0", "vmov {bits}, s0", bits = inout(reg) bits,
                out("s0") _, options(pure, nomem, nostack, preserves_flags));
        }
        bits.cast_signed()
    }

    /// `rne(accumulator as f32 * multiplier)`.
    #[inline(always)]
    pub fn scale(accumulator: i32, multiplier: f32) -> i32 {
        let mut bits = accumulator;
        // SAFETY: as in `round`.
        unsafe {
            asm!("vmov s0, s1, {bits}, {multiplier}", "vcvt.f32.s32 s0, s0", "vmul.f32 s0, s0, s1",
                "vcvtr.s32.f32 s0, s0", "vmov {bits}, s0", bits = inout(reg) bits,
                multiplier = in(reg) multiplier.to_bits(), out("s0") _, out("s1") _,
                options(pure, nomem, nostack, preserves_flags));
        }
        bits
    }
}

/// The same operations of IEEE 754 in integers, for processors without floats: each of them would be a call of fifty to
/// a hundred instructions, and these are thirty together.
#[cfg(any(edgepack_soft_float, test))]
mod soft {
    /// Beyond every result.
    const FAR: i32 = 1 << 24;

    /// Bits of an f32 but its sign and exponent, and the bit that is not stored.
    const FRACTION: u32 = 0x7f_ffff;
    const HIDDEN: u32 = 0x80_0000;

    /// `rne(value)` of what is a number; beyond 2^23 some integer beyond 2^23.
    #[inline]
    pub fn round(value: f32) -> i32 {
        let bits = value.to_bits();
        let exponent = ((bits >> 23) & 0xff) as i32;
        with_sign(shift_ties_even((bits & FRACTION) | HIDDEN, 150 - exponent), bits.cast_signed())
    }

    /// `rne(accumulator as f32 * multiplier)` for a finite multiplier; beyond 2^23 some integer beyond 2^23.
    ///
    /// Three roundings: of the accumulator to 24 bits, of the product of 48 to 24, and of that to an integer. A
    /// multiplier so small that it is subnormal gives 0 with every accumulator.
    #[inline]
    pub fn scale(accumulator: i32, multiplier: f32) -> i32 {
        let bits = multiplier.to_bits();
        let exponent = ((bits >> 23) & 0xff) as i32;
        let magnitude = accumulator.unsigned_abs();
        if magnitude == 0 || exponent == 0 {
            return 0;
        }
        // Both factors from the highest bit on, so that the product has its own there or one below.
        let zeros = magnitude.leading_zeros() as i32;
        let mut left = magnitude << zeros;
        let mut exponent = exponent - zeros;
        if left & 0xff != 0 {
            let rounded = (u64::from(left) + 0x7f + u64::from(left >> 8 & 1)) & !0xff;
            // To a power of two where it was just below.
            (left, exponent) = match rounded >> 32 {
                0 => (rounded as u32, exponent),
                _ => (1 << 31, exponent + 1),
            };
        }
        let right = ((bits & FRACTION) | HIDDEN) << 8;
        let product = u64::from(left) * u64::from(right);
        let (high, low) = ((product >> 32) as u32, product as u32);
        // The upper 24 bits, and what is below them: half of the last one, and whether there is more.
        let (top, rest) = match high >> 31 {
            1 => (high >> 8, (high << 24) | u32::from(low != 0)),
            _ => (high >> 7, (high << 25) | u32::from(low != 0)),
        };
        let half = 1u32 << 31;
        let top = top + u32::from(rest > half || (rest == half && top & 1 == 1));
        let shift = 119 - (high >> 31) as i32 - exponent;
        with_sign(shift_ties_even(top, shift), accumulator ^ bits.cast_signed())
    }

    /// `magnitude / 2^shift`, rounded to nearest, ties to even, of a magnitude of 24 bits.
    #[inline(always)]
    fn shift_ties_even(magnitude: u32, shift: i32) -> i32 {
        match shift {
            ..=0 => FAR,
            1..=25 => {
                let floor = magnitude >> shift;
                ((magnitude + (1 << (shift - 1)) - 1 + (floor & 1)) >> shift).cast_signed()
            }
            _ => 0,
        }
    }

    #[inline(always)]
    fn with_sign(magnitude: i32, signed: i32) -> i32 {
        if signed < 0 { -magnitude } else { magnitude }
    }
}

impl OutputRange {
    /// Between two int16 values, around 0.
    pub const fn sixteen(min: i16, max: i16) -> Self {
        Self { zero_point: 0, min: min as i32, max: max as i32 }
    }

    /// The whole of int8 around `zero_point`.
    pub const fn full(zero_point: i32) -> Self {
        Self { zero_point, min: -128, max: 127 }
    }

    /// Rounds a result that is already in units of the output's scale, relative to its zero point.
    /// Not-a-number gives `min`.
    #[inline(always)]
    pub fn quantize(self, value: f32) -> i8 {
        self.rounded(value) as i8
    }

    /// The same of a result that is int16, whose bounds are in int16's.
    #[inline(always)]
    pub fn quantize16(self, value: f32) -> i16 {
        self.rounded(value) as i16
    }

    #[cfg(any(edgepack_vcvtr, edgepack_soft_float))]
    #[inline(always)]
    fn rounded(self, value: f32) -> i32 {
        // What is no number would be 0.
        if value.to_bits() << 1 > f32::INFINITY.to_bits() << 1 {
            self.min
        } else {
            self.within(direct::round(value))
        }
    }

    #[cfg(not(any(edgepack_vcvtr, edgepack_soft_float)))]
    #[inline(always)]
    fn rounded(self, value: f32) -> i32 {
        let low = (self.min - self.zero_point) as f32;
        let high = (self.max - self.zero_point) as f32;
        // Written with comparisons that are false for NaN, as `maxps`/`minps` behave.
        let value = if value > low { value } else { low };
        let value = if value < high { value } else { high };
        // The bits of the sum, less those of the addend, are the rounded integer: no conversion, which
        // in Rust saturates and costs more than all the rest.
        let rounded = (value + ROUNDING_MAGIC).to_bits().wrapping_sub(ROUNDING_MAGIC.to_bits()) as i32;
        rounded + self.zero_point
    }

    /// Whether results may be all of int8.
    #[inline(always)]
    pub const fn is_full(self) -> bool {
        self.min == i8::MIN as i32 && self.max == i8::MAX as i32
    }

    /// An integer relative to the zero point, which may be any, as a result.
    #[cfg(any(edgepack_vcvtr, edgepack_soft_float, test))]
    #[inline(always)]
    fn within(self, rounded: i32) -> i32 {
        // Not `clamp`, which panics where the bounds are none.
        rounded.saturating_add(self.zero_point).max(self.min).min(self.max)
    }

    /// Requantizes an accumulator. The multiplier is finite.
    #[inline(always)]
    pub fn requantize(self, accumulator: i32, multiplier: f32) -> i8 {
        #[cfg(any(edgepack_vcvtr, edgepack_soft_float))]
        return self.within(direct::scale(accumulator, multiplier)) as i8;
        #[cfg(not(any(edgepack_vcvtr, edgepack_soft_float)))]
        self.quantize(accumulator as f32 * multiplier)
    }

    /// Requantizes an accumulator and a residual, of which [`is_residual_multiplier`] holds.
    #[inline(always)]
    pub fn requantize_sum(
        self,
        accumulator: i32,
        multiplier: f32,
        residual: i8,
        residual_multiplier: f32,
    ) -> i8 {
        let value = accumulator as f32 * multiplier + residual as f32 * residual_multiplier;
        #[cfg(any(edgepack_vcvtr, edgepack_soft_float))]
        return self.within(direct::round(value)) as i8;
        #[cfg(not(any(edgepack_vcvtr, edgepack_soft_float)))]
        self.quantize(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exact product of an integer of 24 bits and an f32, rounded half to even in integers: the
    /// independent model. `multiplier = m * 2^e` with an integer `m` below 2^24.
    fn exact(accumulator: i32, multiplier: f32, range: OutputRange) -> i8 {
        let bits = multiplier.to_bits();
        let exponent = ((bits >> 23) & 0xff) as i32;
        let (m, e) = match exponent {
            0 => ((bits & 0x7f_ffff) as i128, -149),
            _ => (((bits & 0x7f_ffff) | 0x80_0000) as i128, exponent - 150),
        };
        // The two roundings before the last one: i32 -> f32 and the product -> f32.
        let product = round_to_24_bits(round_to_24_bits(accumulator as i128) * m);
        let rounded = if e >= 0 {
            product.checked_shl(e.min(60) as u32).unwrap_or(i128::MAX)
        } else if e < -100 {
            0
        } else {
            shift_right_ties_even(product, (-e) as u32)
        };
        (rounded + range.zero_point as i128).clamp(range.min as i128, range.max as i128) as i8
    }

    fn shift_right_ties_even(value: i128, shift: u32) -> i128 {
        let floor = value >> shift;
        let rest = value - (floor << shift);
        let half = 1i128 << (shift - 1);
        floor + (rest > half || (rest == half && floor & 1 == 1)) as i128
    }

    fn round_to_24_bits(value: i128) -> i128 {
        let bits = 128 - value.unsigned_abs().leading_zeros();
        if bits <= 24 {
            return value;
        }
        let rounded = shift_right_ties_even(value.abs(), bits - 24) << (bits - 24);
        rounded * value.signum()
    }

    const RANGES: [OutputRange; 4] = [
        OutputRange::full(0),
        OutputRange::full(-128),
        OutputRange { zero_point: 7, min: 7, max: 127 },
        OutputRange { zero_point: -3, min: -100, max: 90 },
    ];

    /// Accumulators of every size with multipliers of every size, exact halves and subnormal ones among them.
    fn for_each_product(mut check: impl FnMut(i32, f32)) {
        let multipliers = [1.0, 0.5, 0.25, 0.003_921_569, 0.1, 1.0 / 3.0, 1.5, 7.25e-5, 1e-9, 1e-40, 3.0e4];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state
        };
        for multiplier in multipliers {
            (-2048..2048).for_each(|accumulator| check(accumulator, multiplier));
            let edges = [i32::MIN, i32::MIN + 1, i32::MAX, 1 << 24, (1 << 24) + 1, (1 << 25) + 3];
            edges.into_iter().for_each(|accumulator| check(accumulator, multiplier));
            for _ in 0..20_000 {
                let bits = random();
                check((bits >> 32) as i32 >> ((bits >> 5) & 31), multiplier);
            }
        }
        // Multipliers of any bits, where results are mostly within int8 and around it.
        for _ in 0..100_000 {
            let bits = random();
            let accumulator = (bits >> 32) as i32 >> ((bits >> 5) & 31);
            let target = ((random() >> 40) as f32 / 32768.0 - 256.0) / (accumulator as f32).abs().max(1.0);
            let low_bits = random() as u32 & 0xfff;
            check(accumulator, f32::from_bits((target.abs().to_bits() & !0xfff) | low_bits));
        }
        // Of any size.
        for _ in 0..100_000 {
            let (bits, multiplier) = (random(), f32::from_bits((random() >> 33) as u32));
            if multiplier.is_finite() {
                check((bits >> 32) as i32 >> ((bits >> 5) & 31), multiplier);
            }
        }
    }

    #[test]
    fn requantize_over_accumulators_and_multipliers_equals_the_exact_model() {
        for range in RANGES {
            for_each_product(|accumulator, multiplier| {
                let expected = exact(accumulator, multiplier, range);
                let got = range.requantize(accumulator, multiplier);
                assert_eq!(got, expected, "{accumulator} * {multiplier:e} in {range:?}");
            });
        }
    }

    #[test]
    fn requantization_in_integers_equals_the_exact_model_and_the_floats() {
        for range in RANGES {
            for_each_product(|accumulator, multiplier| {
                let expected = i32::from(exact(accumulator, multiplier, range));
                let scaled = range.within(soft::scale(accumulator, multiplier));
                let rounded = range.within(soft::round(accumulator as f32 * multiplier));
                assert_eq!(
                    (scaled, rounded),
                    (expected, expected),
                    "{accumulator} * {multiplier:e} in {range:?}"
                );
            });
        }
    }

    /// Every accumulator up to 2^20, where multipliers make halves of many of them, and nearly so of others.
    #[test]
    fn requantization_in_integers_of_every_accumulator_equals_the_floats() {
        let range = OutputRange::full(3);
        let near_half = f32::from_bits(0x3ac0_0001);
        for multiplier in [1.0 / 4096.0, 3.0 / 8192.0, near_half, f32::from_bits(0x3abf_ffff), 0.000_321] {
            for accumulator in -(1 << 20)..=1 << 20 {
                let floats =
                    (accumulator as f32 * multiplier).round_ties_even().clamp(-131.0, 124.0) as i32 + 3;
                let got = range.within(soft::scale(accumulator, multiplier));
                assert_eq!(got, floats, "{accumulator} * {multiplier:e}");
            }
        }
    }

    #[test]
    fn rounding_in_integers_of_every_size_equals_the_floats() {
        for bits in (0..0x7f80_0000_u32).step_by(1009).chain((0x3f00_0000..0x4300_0000).step_by(63)) {
            for value in [f32::from_bits(bits), -f32::from_bits(bits)] {
                let expected = value.round_ties_even().clamp(-1e6, 1e6) as i32;
                assert_eq!(soft::round(value).clamp(-1_000_000, 1_000_000), expected, "{value:e}");
            }
        }
    }

    #[test]
    #[cfg(target_arch = "arm")]
    fn requantization_by_vcvtr_equals_the_exact_model() {
        for range in RANGES {
            for_each_product(|accumulator, multiplier| {
                let expected = exact(accumulator, multiplier, range);
                let scaled = range.within(vcvtr::scale(accumulator, multiplier));
                let rounded = range.within(vcvtr::round(accumulator as f32 * multiplier));
                assert_eq!(
                    (scaled, rounded),
                    (expected.into(), expected.into()),
                    "{accumulator} * {multiplier:e}"
                );
            });
        }
    }

    #[test]
    fn int16_results_are_rounded_to_even_within_their_bounds() {
        let range = OutputRange::sixteen(-32767, 32767);
        for q in i16::MIN..=i16::MAX {
            let expected = q.max(-32767);
            assert_eq!(range.quantize16(f32::from(q)), expected);
            let above = if q % 2 == 0 { q } else { q.saturating_add(1) };
            assert_eq!(range.quantize16(f32::from(q) + 0.5), above.max(-32767));
        }
        assert_eq!(range.quantize16(f32::INFINITY), 32767);
        assert_eq!(range.quantize16(-1e30), -32767);
        assert_eq!(OutputRange::sixteen(0, 500).quantize16(f32::NAN), 0);
    }

    #[test]
    fn exact_halves_round_to_even() {
        let range = OutputRange::full(0);
        let halves = [(1, 0), (3, 2), (5, 2), (-1, 0), (-3, -2), (-5, -2)];
        for (twice, expected) in halves {
            assert_eq!(range.requantize(twice, 0.5), expected);
        }
    }

    #[test]
    fn products_of_residuals_are_exact() {
        for ratio in
            [0.0, 1e-20, 2.4e-10, 1e-3, 0.123_456_789, 1.0 / 3.0, 1.0, 1.999_999_9, 717.3, 1e9, f64::NAN]
        {
            let multiplier = residual_multiplier(ratio);
            assert!(is_residual_multiplier(multiplier), "{ratio}");
            if (1e-9..6e4).contains(&ratio) {
                assert!((multiplier as f64 / ratio - 1.0).abs() <= 1.0 / (1 << 17) as f64, "{ratio}");
            }
            for r in -128..=127_i8 {
                assert_eq!((r as f32 * multiplier) as f64, r as f64 * multiplier as f64);
            }
        }
        for multiplier in [0.0, -0.5, 0.1, 1e-30, 131_072.0, f32::INFINITY, f32::NAN] {
            assert!(!is_residual_multiplier(multiplier), "{multiplier}");
        }
    }

    #[test]
    fn a_sum_is_rounded_once() {
        let range = OutputRange::full(0);
        // 0.5 and 0.5 are 1, where each alone is rounded to 0.
        assert_eq!(range.requantize_sum(1, 0.5, 1, 0.5), 1);
        assert_eq!(range.requantize_sum(3, 0.5, 2, 0.5), 2);
        assert_eq!(range.requantize_sum(1000, 1.0, -128, 7.25), 72);
    }

    #[test]
    fn not_a_number_gives_the_lower_bound() {
        assert_eq!(OutputRange { zero_point: 3, min: -7, max: 9 }.quantize(f32::NAN), -7);
    }
}
