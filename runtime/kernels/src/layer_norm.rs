//! Layer normalization: each row of channels minus its mean, over its standard deviation.
//!
//! With `n` channels, and the row's sums `s1 = sum of x` and `s2 = sum of x * x`, which are integers
//! and so exact in any order, `n * x - s1` is n times the distance from the mean, and
//! `n * s2 - s1 * s1` n² times the variance; neither needs a zero point or a scale.
//!
//! ```text
//! r = 1 / sqrt(f32(n * s2 - s1 * s1) + epsilon)
//! y = quantize(f32(n * x - s1) * r * gamma[c] + beta[c])         in this order, no fused multiply-add
//! ```
//! `epsilon` is that of the model times `(n / scale)²`; gamma and beta are those of the model over the
//! output's scale.

use crate::parts::rows;
use crate::requantize::OutputRange;

/// The most channels: then `n * x - s1` is an integer of 24 bits, so that f32 holds it exactly, and
/// `s2` one of 32.
pub const MAX_CHANNELS: usize = 1 << 16;

/// Everything about a run but the data.
#[derive(Clone, Copy, Debug)]
pub struct LayerNormArgs<'a> {
    /// `[channels]`: 1 to [`MAX_CHANNELS`].
    pub gamma: &'a [f32],
    /// `[channels]`.
    pub beta: &'a [f32],
    /// At least [`f32::MIN_POSITIVE`].
    pub epsilon: f32,
    /// The output's range.
    pub output: OutputRange,
}

/// `[rows, channels]`, over rows of contiguous channels. Input and output have the same length.
#[inline(always)]
pub fn layer_norm(args: &LayerNormArgs<'_>, input: &[i8], output: &mut [i8]) {
    for (x, y) in rows(input, output, args.gamma.len()) {
        row(args, x, y);
    }
}

#[inline(always)]
fn row(args: &LayerNormArgs<'_>, x: &[i8], y: &mut [i8]) {
    let n = x.len() as i32;
    let (mut s1, mut s2) = (0_i32, 0_i32);
    for &x in x {
        s1 += x as i32;
        s2 += (x as i16 * x as i16) as i32;
    }
    let variance = n as i64 * s2 as i64 - s1 as i64 * s1 as i64;
    let r = 1.0 / sqrt(variance as f32 + args.epsilon);
    let range = args.output;
    for (((y, &x), &gamma), &beta) in y.iter_mut().zip(x).zip(args.gamma).zip(args.beta) {
        let scaled = (n * x as i32 - s1) as f32 * r * gamma;
        *y = range.quantize(scaled + beta);
    }
}

/// The square root of a positive, normal number, correctly rounded as IEEE 754 asks for.
#[inline(always)]
pub(crate) fn sqrt(x: f32) -> f32 {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_mm_cvtss_f32, _mm_set_ss, _mm_sqrt_ss};
        // SAFETY: every x86-64 processor has SSE.
        unsafe { _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))) }
    }
    // What passes floats in VFP registers has VFP; its square root rounds as IEEE 754 asks for.
    #[cfg(all(target_arch = "arm", target_abi = "eabihf"))]
    {
        let mut bits = x.to_bits();
        // SAFETY: the instructions are there by the ABI, and change no register but the two that are named: Rust
        // names none of VFP's for processors without f64, so that s0 is kept in one of the others.
        unsafe {
            core::arch::asm!(
                "vmov {kept}, s0",
                "vmov s0, {bits}",
                "vsqrt.f32 s0, s0",
                "vmov {bits}, s0",
                "vmov s0, {kept}",
                bits = inout(reg) bits,
                kept = out(reg) _,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        f32::from_bits(bits)
    }
    #[cfg(not(any(target_arch = "x86_64", all(target_arch = "arm", target_abi = "eabihf"))))]
    {
        sqrt_by_integers(x)
    }
}

/// [`sqrt`] for processors whose instruction `core` does not offer: once a row, it need not be fast.
#[cfg(any(test, not(any(target_arch = "x86_64", all(target_arch = "arm", target_abi = "eabihf")))))]
fn sqrt_by_integers(x: f32) -> f32 {
    let bits = x.to_bits();
    // x = mantissa * 2^exponent, with 24 bits of mantissa, or 25 to make the exponent odd.
    let mut exponent = (bits >> 23) as i32 - 150;
    let mut mantissa = (bits & 0x7f_ffff | 0x80_0000) as u64;
    if exponent % 2 == 0 {
        mantissa <<= 1;
        exponent -= 1;
    }
    // 25 bits of the root, rounded to 24. There are no ties: an odd root has an odd square.
    let root = (mantissa << 25).isqrt();
    let power = (exponent - 25) / 2 + 1;
    ((root + 1) >> 1) as f32 * f32::from_bits(((power + 127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn the_square_root_by_integers_is_the_processors() {
        let check = |x: f32| assert_eq!(sqrt_by_integers(x).to_bits(), x.sqrt().to_bits(), "sqrt({x})");
        [f32::MIN_POSITIVE, f32::MAX, 1.0, 2.0, 4.0, 0.25, 9.0, 16_777_215.0].into_iter().for_each(check);
        let mut bits = f32::MIN_POSITIVE.to_bits();
        while bits < f32::MAX.to_bits() {
            check(f32::from_bits(bits));
            bits += 1993;
        }
        // Every mantissa of an even and an odd exponent.
        (0x3f80_0000..0x4080_0000_u32).step_by(if cfg!(debug_assertions) { 7 } else { 1 }).for_each(|bits| {
            check(f32::from_bits(bits));
            assert_eq!(sqrt(f32::from_bits(bits)), sqrt_by_integers(f32::from_bits(bits)));
        });
    }

    #[test]
    fn rows_equal_the_real_normalization_within_one_step() {
        for channels in [1, 2, 7, 64, 256, 1000, MAX_CHANNELS] {
            let scale = 0.043;
            let model_epsilon = 1e-5;
            let n = channels as f64;
            let gamma: Vec<f32> = (0..channels).map(|c| 20.0 + (c % 13) as f32).collect();
            let beta: Vec<f32> = (0..channels).map(|c| (c % 5) as f32 - 2.0).collect();
            let input: Vec<i8> =
                (0..3 * channels).map(|i| (i.wrapping_mul(i).wrapping_mul(31) % 251) as u8 as i8).collect();
            let args = LayerNormArgs {
                gamma: &gamma,
                beta: &beta,
                epsilon: (model_epsilon * (n / scale) * (n / scale)) as f32,
                output: OutputRange::full(3),
            };
            let mut output = std::vec![0; input.len()];
            layer_norm(&args, &input, &mut output);
            for (row, output) in input.chunks(channels).zip(output.chunks(channels)) {
                let real: Vec<f64> = row.iter().map(|&x| x as f64 * scale).collect();
                let mean = real.iter().sum::<f64>() / n;
                let variance = real.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
                for (c, &y) in output.iter().enumerate() {
                    let normal = (real[c] - mean) / (variance + model_epsilon).sqrt();
                    let wanted = (normal * gamma[c] as f64 + beta[c] as f64 + 3.0).clamp(-128.0, 127.0);
                    assert!((y as f64 - wanted).abs() <= 0.5 + 1e-3, "{y} is not {wanted}");
                }
            }
        }
    }

    #[test]
    fn rows_of_one_value_give_beta() {
        let args = LayerNormArgs {
            gamma: &[f32::MAX; 4],
            beta: &[1.0, -7.0, 200.0, 0.4],
            epsilon: f32::MIN_POSITIVE,
            output: OutputRange::full(0),
        };
        for x in [-128, 0, 127] {
            let mut y = [0; 4];
            layer_norm(&args, &[x; 4], &mut y);
            assert_eq!(y, [1, -7, 127, 0]);
        }
    }
}
