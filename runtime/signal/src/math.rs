//! The natural logarithm in a fixed order of single f32 operations.

/// `ln(x)` of a positive, normal number, within one unit in the last place; for infinity `128 ln 2`.
///
/// `x = m 2^e` with m between sqrt(1/2) and sqrt(2); with `f = m - 1` and `s = f / (2 + f)` the logarithm of m is
/// `f - (f²/2 - s (f²/2 + R))`, R the series of the inverse hyperbolic tangent in s². So most of the result is f
/// itself, which is exact (the method of FreeBSD's `e_logf.c`; Sun Microsystems, 1993). f32 alone, since
/// microcontrollers have no instructions for f64.
pub(crate) fn ln(x: f32) -> f32 {
    /// sqrt(1/2).
    const HALF_ROOT: u32 = 0x3f35_04f3;
    /// The upper 16 bits of ln 2: its products with exponents are exact.
    const LN_2_HIGH: f32 = f32::from_bits(0x3f31_7180);
    const LN_2_LOW: f32 = f32::from_bits(0x3717_f7d1);
    let bits = x.to_bits();
    let e = bits.wrapping_sub(HALF_ROOT) as i32 >> 23;
    let m = f32::from_bits(bits.wrapping_sub((e as u32) << 23));
    let f = m - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let r = z * (2.0 / 3.0 + z * (2.0 / 5.0 + z * (2.0 / 7.0 + z * (2.0 / 9.0))));
    let half = 0.5 * f * f;
    let k = e as f32;
    k * LN_2_HIGH - ((half - (s * (half + r) + k * LN_2_LOW)) - f)
}

#[cfg(test)]
mod tests {
    use super::ln;

    #[test]
    fn the_logarithm_is_within_a_unit_in_the_last_place() {
        let mut worst: f64 = 0.0;
        for bits in (0x0080_0000_u32..0x7f80_0000).step_by(997) {
            let x = f32::from_bits(bits);
            let real = f64::from(x).ln();
            let nearest = real as f32;
            let unit = f32::from_bits(nearest.abs().max(f32::MIN_POSITIVE).to_bits() + 1) - nearest.abs();
            worst = worst.max((f64::from(ln(x)) - real).abs() / f64::from(unit));
        }
        std::println!("ln: {worst:.3} units in the last place");
        assert!(worst < 1.0, "{worst}");
        assert_eq!((ln(1.0), ln(f32::INFINITY)), (0.0, 128.0 * core::f32::consts::LN_2));
    }
}
