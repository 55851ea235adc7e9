//! Exponential and softmax that give the same bits everywhere, which no system's `expf` promises: of
//! f32 in a fixed order of f32 operations, of int8 by a table of integers, whose sum is exact in any
//! order.

use crate::parts::rows;
use crate::requantize::{OutputRange, round_ties_even};

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86_avx512vbmi;

/// Where softmax reads from.
#[derive(Clone, Copy, Debug)]
pub enum Logits<'a> {
    /// int8 with a table: entry `d` is `exp(-d * scale)` in units of 1/65535.
    I8(&'a [i8], &'a [u16; 256]),
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

/// `[outer, channels]`, softmax over the channels, which are contiguous.
///
/// ```text
/// int8  e[i] = table[m - x[i]]   s = sum of e, exact      int8: quantize(e[i] * (multiplier / s))   f32: e[i] / s
/// f32   e[i] = exp(x[i] - m)     s = (e[0] + e[1]) + …    int8: quantize((e[i] / s) * multiplier)   f32: e[i] / s
/// ```
/// with `m` the greatest of the row. Each operation on f32 is one IEEE operation.
#[inline(always)]
pub fn softmax(channels: usize, logits: Logits<'_>, probabilities: Probabilities<'_>) {
    match (logits, probabilities) {
        (Logits::I8(values, table), Probabilities::I8(out, multiplier, range)) => {
            for (row, out) in rows(values, out, channels) {
                quantized_row(row, table, multiplier, range, out);
            }
        }
        (Logits::I8(values, table), Probabilities::F32(out)) => {
            for (row, out) in rows(values, out, channels) {
                let (largest, sum) = (largest(row), sum(row, table));
                for (p, &x) in out.iter_mut().zip(row) {
                    *p = exponential(table, largest, x) as f32 / sum;
                }
            }
        }
        (Logits::F32(values), Probabilities::I8(out, multiplier, range)) => {
            for (row, out) in rows(values, out, channels) {
                let probabilities = out.iter_mut().zip(real_row(row));
                probabilities.for_each(|(out, p)| *out = range.quantize(p * multiplier));
            }
        }
        (Logits::F32(values), Probabilities::F32(out)) => {
            for (row, out) in rows(values, out, channels) {
                out.iter_mut().zip(real_row(row)).for_each(|(out, p)| *out = p);
            }
        }
    }
}

#[inline(always)]
fn exponential(table: &[u16; 256], largest: i8, x: i8) -> u16 {
    table[largest.wrapping_sub(x) as u8 as usize]
}

#[inline(always)]
fn largest(row: &[i8]) -> i8 {
    row.iter().fold(-128, |largest, &x| if x > largest { x } else { largest })
}

/// The sum of a row's exponentials, rounded once.
#[inline(always)]
fn sum(row: &[i8], table: &[u16; 256]) -> f32 {
    let largest = largest(row);
    // So many entries of 16 bits stay within 32.
    let parts = row.chunks(1 << 15);
    let part = |part: &[i8]| part.iter().map(|&x| exponential(table, largest, x) as u32).sum::<u32>();
    parts.map(|row| part(row) as u64).sum::<u64>() as f32
}

#[inline(always)]
fn quantized_row(row: &[i8], table: &[u16; 256], multiplier: f32, range: OutputRange, out: &mut [i8]) {
    let largest = largest(row);
    let factor = multiplier / sum(row, table);
    for (row, out) in row.chunks(64).zip(out.chunks_mut(64)) {
        // Looked up first, so that the rest can be done in vectors.
        let mut exponentials = [0; 64];
        for (e, &x) in exponentials.iter_mut().zip(row) {
            *e = exponential(table, largest, x);
        }
        for (y, &e) in out.iter_mut().zip(&exponentials) {
            *y = range.quantize(e as f32 * factor);
        }
    }
}

#[inline(always)]
fn real_row(row: &[f32]) -> impl Iterator<Item = f32> {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
    let mut sum = 0.0_f32;
    for x in row {
        sum += exp(x - largest);
    }
    row.iter().map(move |x| exp(x - largest) / sum)
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
        let table: [u16; 256] = core::array::from_fn(|d| (exp(-(d as f32) * scale) * 65535.0).round() as u16);
        let floats = logits.map(|q| q as f32 * scale);
        let (mut a, mut b) = ([0.0; 6], [0.0; 6]);
        softmax(3, Logits::I8(&logits, &table), Probabilities::F32(&mut a));
        softmax(3, Logits::F32(&floats), Probabilities::F32(&mut b));
        for (a, b) in a.iter().zip(&b) {
            assert!((a - b).abs() < 2e-5, "{a} {b}");
        }
        let mut q = [0; 6];
        let range = OutputRange::full(-128);
        softmax(3, Logits::I8(&logits, &table), Probabilities::I8(&mut q, 256.0, range));
        for (q, a) in q.iter().zip(&a) {
            assert!((*q as f32 + 128.0 - (a * 256.0).min(255.0)).abs() <= 0.5 + 1e-4);
        }
    }
}
