//! Logistic function and hyperbolic tangent in a fixed order of f32 operations, so that they give the
//! same bits everywhere, which no system's `tanhf` promises.

/// Beyond this the tangent of f32 differs from 1 by less than the error of the quotient.
const LIMIT: f32 = 8.0;

/// Coefficients of 1, x², x⁴, x⁶: `tanh(x) ≈ x P(x²) / Q(x²)` with the least relative error over
/// [0, 8], by iteratively reweighted least squares (Lawson's method) in f64, 1.5e-7.
const P: [f32; 4] = [0.999_999_9, 0.129_256_38, 2.950_997e-3, 1.142_813_2e-5];
/// Coefficients of 1, x², x⁴, x⁶, x⁸.
const Q: [f32; 5] = [1.0, 0.462_588_55, 2.381_544_6e-2, 2.386_653_6e-4, 2.459_117_6e-7];

/// `tanh(x)` within 5e-7, in [-1, 1]. Not-a-number gives -1, nearly.
///
/// The clamp is written with comparisons that are false for NaN; both polynomials are Horner's, with
/// separate multiplications and additions; one division.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let x = if x > -LIMIT { x } else { -LIMIT };
    let x = if x < LIMIT { x } else { LIMIT };
    let s = x * x;
    let p = ((P[3] * s + P[2]) * s + P[1]) * s + P[0];
    let q = (((Q[4] * s + Q[3]) * s + Q[2]) * s + Q[1]) * s + Q[0];
    x * p / q
}

/// `1 / (1 + e^-x)` within 3e-7, in [0, 1]. Not-a-number gives 0, nearly.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    0.5 * tanh(0.5 * x) + 0.5
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of every exponent, and all of those where the tangent is nearly 1 one in 16.
    fn arguments() -> impl Iterator<Item = f32> {
        let every = (0..0x7f80_0000_u32).step_by(4093).map(f32::from_bits);
        let saturating = (3.0_f32.to_bits()..9.0_f32.to_bits()).step_by(16).map(f32::from_bits);
        every.chain(saturating).flat_map(|x| [x, -x])
    }

    #[test]
    fn both_are_within_their_errors_and_never_leave_their_range() {
        let (mut of_tanh, mut of_sigmoid) = (0.0_f64, 0.0_f64);
        for x in arguments() {
            let (t, s, real) = (tanh(x), sigmoid(x), x as f64);
            of_tanh = of_tanh.max((t as f64 - real.tanh()).abs());
            of_sigmoid = of_sigmoid.max((s as f64 - 1.0 / (1.0 + (-real).exp())).abs());
            assert!(t.abs() <= 1.0, "tanh({x:e}) = {t:e}");
            assert!((0.0..=1.0).contains(&s), "sigmoid({x:e}) = {s:e}");
        }
        std::println!("tanh {of_tanh:e}, sigmoid {of_sigmoid:e}");
        assert!(of_tanh < 5e-7 && of_sigmoid < 3e-7, "tanh {of_tanh:e}, sigmoid {of_sigmoid:e}");
    }

    #[test]
    fn extremes_and_what_is_no_number_have_one_result() {
        assert_eq!(tanh(f32::INFINITY), tanh(8.0));
        assert_eq!(tanh(f32::NEG_INFINITY), tanh(-8.0));
        assert_eq!(tanh(f32::NAN), tanh(-8.0));
        assert_eq!(tanh(0.0), 0.0);
        assert_eq!(sigmoid(0.0), 0.5);
        assert_eq!(sigmoid(f32::NAN), sigmoid(-20.0));
    }
}
