//! Functions of f32 in a fixed order of single operations, so that they give the same bits everywhere,
//! which no system's library promises.
//!
//! Those that are no single operation are computed in f64, where a plain polynomial is enough, and rounded
//! once: the result is the nearest f32 or its neighbour. Additions, multiplications, divisions and integer
//! operations on the bits are all that is used, each rounded once; nothing is fused. There are no branches,
//! so that a compiler makes vectors of them.

use crate::layer_norm;

/// 1.5 · 2⁵²: adding it rounds an f64 to the nearest integer, ties to even, and leaves that in the lowest
/// bits (Muller et al., "Handbook of Floating-Point Arithmetic", section 8.4).
const MAGIC: f64 = 6_755_399_441_055_744.0;

/// Horner's rule from the highest power on.
#[inline(always)]
fn horner<const N: usize>(x: f64, coefficients: [f64; N]) -> f64 {
    let mut sum = coefficients[0];
    for &coefficient in &coefficients[1..] {
        sum = sum * x + coefficient;
    }
    sum
}

/// The number itself, and one of all the bits that are no number: processors differ in which they give.
#[inline(always)]
pub fn canonical(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits(if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fc0_0000 } else { bits })
}

/// `e^x` within 0.51 units in the last place; 0 below -104, infinity above 88.73.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    exp_f64(x as f64) as f32
}

/// Cody and Waite's reduction `x = n ln 2 + r` ("Software Manual for the Elementary Functions", 1980,
/// chapter 6), and the Taylor polynomial of degree 8 on `|r| <= ln 2 / 2`: relative error 2e-10.
#[inline(always)]
fn exp_f64(x: f64) -> f64 {
    let x = if x < -120.0 { -120.0 } else { x };
    let x = if x > 120.0 { 120.0 } else { x };
    let shifted = x * core::f64::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = x - n * core::f64::consts::LN_2;
    let p = horner(
        r,
        [1.0 / 40_320.0, 1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0],
    );
    // `n` is in the lowest bits of `shifted`, and goes to where the exponent is.
    f64::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 52))
}

/// The natural logarithm within 0.51 units in the last place; minus infinity of 0, not-a-number below.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    ln_f64(x) as f32
}

/// `x = m 2^e` with m between sqrt(1/2) and sqrt(2), and the series of the inverse hyperbolic tangent in
/// `s = (m - 1) / (m + 1)`: relative error 6e-11.
#[inline(always)]
fn ln_f64(x: f32) -> f64 {
    // Every f32 is a normal f64.
    let bits = (x as f64).to_bits();
    const HALF_ROOT: u64 = 0x3fe6_a09e_667f_3bcd;
    let e = (bits.wrapping_sub(HALF_ROOT) as i64 >> 52) as i32;
    let m = f64::from_bits(bits.wrapping_sub((e as i64 as u64) << 52));
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let p = horner(square, [1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 0.2, 1.0 / 3.0, 1.0]);
    let value = e as f64 * core::f64::consts::LN_2 + 2.0 * s * p;
    let value = if x < f32::INFINITY { value } else { x as f64 };
    let value = if x == 0.0 { f64::NEG_INFINITY } else { value };
    if x < 0.0 { f64::NAN } else { value }
}

/// The error function within 0.9 units in the last place.
///
/// `x P(x²) / Q(x²)` with the least relative error over [0, 3.95], 1.3e-10, by iteratively reweighted
/// least squares (Lawson's method) in f64; beyond, the f32 next to it is 1.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let x = x as f64;
    let x = if x < -3.95 { -3.95 } else { x };
    let x = if x > 3.95 { 3.95 } else { x };
    let s = x * x;
    let p = horner(
        s,
        [
            9.575_393_064_194e-7,
            5.462_076_374_807e-5,
            8.299_212_601_047e-4,
            9.950_280_713_125e-3,
            7.465_835_078_029e-2,
            0.307_578_364_613_7,
            1.128_379_166_955,
        ],
    );
    let q = horner(
        s,
        [
            4.087_391_232_884e-8,
            9.543_582_873_936e-6,
            2.221_299_049_795e-4,
            3.079_566_314_409e-3,
            2.808_140_336_937e-2,
            0.168_136_812_784,
            0.605_917_555_328_3,
            1.0,
        ],
    );
    (x * p / q) as f32
}

/// `x^y` within 0.6 units in the last place; not-a-number where x is below 0 and y no integer.
#[inline(always)]
pub fn pow(x: f32, y: f32) -> f32 {
    let magnitude = exp_f64(y as f64 * ln_f64(if x < 0.0 { -x } else { x })) as f32;
    let half = y * 0.5;
    let is_odd = y == floor(y) && half != floor(half);
    let value = if x.to_bits() >> 31 == 1 && is_odd { -magnitude } else { magnitude };
    let value = if x < 0.0 && y != floor(y) { f32::NAN } else { value };
    // 0 times the logarithm of 0 or of infinity would be no number.
    if y == 0.0 { 1.0 } else { value }
}

/// Sine and cosine within 0.51 units in the last place for magnitudes up to 2²⁰; what is beyond is no
/// better than its distance from there. Reduction by π/2 in two parts, then both Taylor polynomials on
/// `|r| <= π/4`; `quarters` is added to the number of quarter turns.
#[inline(always)]
fn turn(x: f32, quarters: u64) -> f32 {
    /// The upper 33 bits of π/2: its products with integers of 20 bits are exact.
    const HIGH: f64 = f64::from_bits(0x3ff9_21fb_5440_0000);
    const LOW: f64 = 6.077_100_506_506_192e-11;
    let x = x as f64;
    let shifted = x * core::f64::consts::FRAC_2_PI + MAGIC;
    let n = shifted - MAGIC;
    let r = (x - n * HIGH) - n * LOW;
    let s = r * r;
    let sine =
        horner(s, [-1.0 / 39_916_800.0, 1.0 / 362_880.0, -1.0 / 5040.0, 1.0 / 120.0, -1.0 / 6.0, 1.0]) * r;
    let cosine = horner(s, [-1.0 / 3_628_800.0, 1.0 / 40_320.0, -1.0 / 720.0, 1.0 / 24.0, -0.5, 1.0]);
    let turns = shifted.to_bits().wrapping_add(quarters);
    let value = if turns & 1 == 0 { sine } else { cosine };
    (if turns & 2 == 0 { value } else { -value }) as f32
}

/// Sine within 0.51 units in the last place for magnitudes up to 2²⁰; beyond, no better than that distance.
#[inline(always)]
pub fn sin(x: f32) -> f32 {
    turn(x, 0)
}

/// Cosine, as [`sin`].
#[inline(always)]
pub fn cos(x: f32) -> f32 {
    turn(x, 1)
}

/// The nearest integer, ties to even.
#[inline(always)]
pub fn round(x: f32) -> f32 {
    /// From here on every f32 is an integer.
    const LARGE: f32 = 8_388_608.0;
    let magnitude = f32::from_bits(x.to_bits() & 0x7fff_ffff);
    let rounded = (magnitude + LARGE) - LARGE;
    let rounded = f32::from_bits(rounded.to_bits() | x.to_bits() & 0x8000_0000);
    if magnitude < LARGE { rounded } else { x }
}

/// The largest integer that is not above.
#[inline(always)]
pub fn floor(x: f32) -> f32 {
    let rounded = round(x);
    if rounded > x { rounded - 1.0 } else { rounded }
}

/// The smallest integer that is not below.
#[inline(always)]
pub fn ceil(x: f32) -> f32 {
    -floor(-x)
}

/// The square root, correctly rounded, of any f32; not-a-number below 0.
#[inline(always)]
pub fn sqrt(x: f32) -> f32 {
    const UP: f32 = (1_u64 << 48) as f32;
    if x < f32::MIN_POSITIVE {
        if x > 0.0 {
            // 2^48 and the root of it are powers of two: nothing is rounded but the root.
            layer_norm::sqrt(x * UP) * (1.0 / (1 << 24) as f32)
        } else if x == 0.0 {
            x
        } else {
            f32::NAN
        }
    } else if x < f32::INFINITY {
        layer_norm::sqrt(x)
    } else {
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units in the last place of `real`, rounded to f32, that `got` is away from it.
    fn error(got: f32, real: f64) -> f64 {
        let nearest = real as f32;
        if !nearest.is_finite() || nearest.is_nan() {
            let same = got == nearest || got.is_nan() && nearest.is_nan();
            // At the very end of f32 its neighbour will do.
            return if same || got == f32::MAX { 0.0 } else { f64::INFINITY };
        }
        let magnitude = nearest.abs().max(f32::MIN_POSITIVE);
        let unit = f32::from_bits(magnitude.to_bits() + 1) as f64 - magnitude as f64;
        (got as f64 - real).abs() / unit
    }

    /// Numbers of every exponent and both signs.
    fn arguments() -> impl Iterator<Item = f32> {
        let step = if cfg!(debug_assertions) { 10_007 } else { 1009 };
        (0..0x7f80_0000_u32).step_by(step).map(f32::from_bits).flat_map(|x| [x, -x])
    }

    fn worst(function: impl Fn(f32) -> f32, real: impl Fn(f64) -> f64, limit: f32) -> f64 {
        let arguments = arguments().filter(|x| x.abs() <= limit);
        arguments.map(|x| error(function(x), real(x as f64))).fold(0.0, f64::max)
    }

    #[test]
    fn functions_are_within_their_errors() {
        let errors = [
            ("exp", worst(exp, f64::exp, f32::MAX), 0.51),
            ("ln", worst(ln, f64::ln, f32::MAX), 0.51),
            ("sin", worst(sin, f64::sin, (1 << 20) as f32), 0.51),
            ("cos", worst(cos, f64::cos, (1 << 20) as f32), 0.51),
            ("sqrt", worst(sqrt, f64::sqrt, f32::MAX), 0.5001),
            ("round", worst(round, f64::round_ties_even, f32::MAX), 0.0),
            ("floor", worst(floor, f64::floor, f32::MAX), 0.0),
            ("ceil", worst(ceil, f64::ceil, f32::MAX), 0.0),
            ("x^2.7", worst(|x| pow(x, 2.7), |x| x.powf(2.7_f32 as f64), f32::MAX), 0.6),
            ("x^-3", worst(|x| pow(x, -3.0), |x| x.powf(-3.0), f32::MAX), 0.6),
            ("x^0", worst(|x| pow(x, 0.0), |_| 1.0, f32::MAX), 0.0),
            ("2^x", worst(|x| pow(2.0, x), f64::exp2, f32::MAX), 0.6),
        ];
        for (name, got, limit) in errors {
            std::println!("{name}: {got:.4} units in the last place");
            assert!(got <= limit, "{name} is off by {got}");
        }
    }

    #[test]
    fn the_error_function_is_within_its_error() {
        // Abramowitz and Stegun, 7.1.5: the series, which f64 sums well enough up to 3.
        let series = |x: f64| {
            let (mut term, mut sum) = (x, x);
            for n in 1..120 {
                term *= -x * x / n as f64;
                sum += term / (2 * n + 1) as f64;
            }
            sum * core::f64::consts::FRAC_2_SQRT_PI
        };
        let got = worst(erf, series, 3.0);
        std::println!("erf: {got:.4} units in the last place");
        assert!(got <= 0.9, "erf is off by {got}");
        for x in [3.0, 3.5, 3.9, 4.0, 100.0, f32::INFINITY] {
            assert!((erf(x) - 1.0).abs() < 2.3e-5 && erf(-x) == -erf(x));
        }
        assert_eq!(erf(4.0), 1.0);
    }

    #[test]
    fn what_is_no_number_stays_so() {
        let functions: [fn(f32) -> f32; 9] = [exp, ln, erf, sin, cos, round, floor, ceil, sqrt];
        for (index, function) in functions.iter().enumerate() {
            assert!(function(f32::NAN).is_nan(), "{index}");
        }
        assert_eq!((exp(f32::INFINITY), exp(f32::NEG_INFINITY)), (f32::INFINITY, 0.0));
        assert_eq!((ln(0.0), ln(f32::INFINITY)), (f32::NEG_INFINITY, f32::INFINITY));
        assert!(pow(-2.0, 0.5).is_nan());
        assert_eq!((pow(-2.0, 3.0), pow(-2.0, 2.0), pow(0.0, 2.0)), (-8.0, 4.0, 0.0));
    }
}
