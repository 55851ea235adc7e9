//! Exponential and softmax in a fixed order of f32 operations, so that they give the same bits
//! everywhere, which no system's `expf` promises.

use crate::requantize::{OutputRange, round_ties_even};

/// Where softmax reads from.
#[derive(Clone, Copy, Debug)]
pub enum Logits<'a> {
    /// int8 with a table: entry `d` is `exp(-d * scale)`.
    I8(&'a [i8], &'a [f32; 256]),
    /// f32.
    F32(&'a [f32]),
}

/// Where softmax writes to.
#[derive(Debug)]
pub enum Probabilities<'a> {
    /// int8: `quantize(p * multiplier)` with the reciprocal of the output scale.
    I8(&'a mut [i8], f32, OutputRange),
    /// f32.
    F32(&'a mut [f32]),
}

/// `[outer, channels]`, softmax over the channels, which are contiguous. Sums run from the first
/// channel to the last; each probability is one IEEE division.
pub fn softmax(channels: usize, logits: Logits<'_>, mut probabilities: Probabilities<'_>) {
    let elems = match logits {
        Logits::I8(values, _) => values.len(),
        Logits::F32(values) => values.len(),
    };
    for start in (0..elems).step_by(channels) {
        let range = start..start + channels;
        match logits {
            Logits::I8(values, table) => {
                let row = &values[range];
                let largest = row.iter().copied().max().unwrap_or(0) as i32;
                let exponential = |i: usize| table[(largest - row[i] as i32) as usize & 255];
                normalize(channels, start, exponential, &mut probabilities);
            }
            Logits::F32(values) => {
                let row = &values[range];
                let largest = row.iter().copied().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
                let exponential = |i: usize| exp(row[i] - largest);
                normalize(channels, start, exponential, &mut probabilities);
            }
        }
    }
}

fn normalize(channels: usize, start: usize, exponential: impl Fn(usize) -> f32, out: &mut Probabilities<'_>) {
    let mut sum = 0.0_f32;
    for i in 0..channels {
        sum += exponential(i);
    }
    for i in 0..channels {
        let p = exponential(i) / sum;
        match out {
            Probabilities::I8(out, multiplier, range) => out[start + i] = range.quantize(p * *multiplier),
            Probabilities::F32(out) => out[start + i] = p,
        }
    }
}

/// `e^x` for `x <= 0`, within 2 units in the last place; below -87 it is 0.
///
/// Cody and Waite's reduction `x = n ln 2 + r` with ln 2 in two parts ("Software Manual for the
/// Elementary Functions", 1980, chapter 6), then the Taylor polynomial of degree 7 on
/// `|r| <= ln 2 / 2`, by Horner's rule with separate multiplications and additions.
pub fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const COEFFICIENTS: [f32; 8] =
        [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    if x > -87.0 {
        let n = round_ties_even(x * core::f32::consts::LOG2_E);
        let r = (x - n * LN2_HIGH) - n * LN2_LOW;
        let mut sum = 0.0;
        for coefficient in COEFFICIENTS {
            sum = sum * r + coefficient;
        }
        sum * f32::from_bits(((n as i32 + 127) as u32) << 23)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let mut x = 0.0_f32;
        while x > -86.9 {
            let (got, real) = (exp(x), (x as f64).exp());
            assert!((got as f64 / real - 1.0).abs() < 2.5e-7, "exp({x}) = {got}, not {real}");
            x -= 0.000_913;
        }
        assert_eq!((exp(0.0), exp(-100.0), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
    }

    #[test]
    fn int8_and_f32_logits_agree() {
        let scale = 0.1_f32;
        let logits = [-20_i8, 0, 5, 127, 120, 119];
        let table: [f32; 256] = core::array::from_fn(|d| exp(-(d as f32) * scale));
        let floats = logits.map(|q| q as f32 * scale);
        let (mut a, mut b) = ([0.0; 6], [0.0; 6]);
        softmax(3, Logits::I8(&logits, &table), Probabilities::F32(&mut a));
        softmax(3, Logits::F32(&floats), Probabilities::F32(&mut b));
        for (a, b) in a.iter().zip(&b) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
        let mut q = [0; 6];
        let range = OutputRange::full(-128);
        softmax(3, Logits::I8(&logits, &table), Probabilities::I8(&mut q, 256.0, range));
        for (q, a) in q.iter().zip(&a) {
            assert!((*q as f32 + 128.0 - (a * 256.0).min(255.0)).abs() <= 0.5);
        }
    }
}
