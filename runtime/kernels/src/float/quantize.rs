//! f32 becomes int8 at scales that are found when the step runs: one for each row (token), so that a large value
//! costs only its own row precision (Yao et al., "ZeroQuant", 2022, section 4.1: token-wise quantization).
//!
//! ```text
//! levels = 127 - zero_point                       127, or 255 for rows that are never negative
//! m      = max |x|                                exact in any order; what is no number does not count
//! scale  = m / levels,  inverse = levels / m      0 and 0 where m < 2^-100
//! q      = clamp(rne(x * inverse)) + zero_point   as of a requantization; what is no number gives -128
//! ```
//! What a product makes of such rows is brought back to f32 by `clamp(a * scale + bias[c])`.

use core::ops::Range;

use super::product::clamp;
use crate::requantize::OutputRange;

/// Values whose maxima are held side by side.
const LANES: usize = 16;

/// Below this a row counts as zeros: no inverse is infinite then.
const LEAST: f32 = f32::from_bits((127 - 100) << 23);

/// Quantizes rows of `channels`, which is at least 1; there are as many scales.
#[inline(always)]
pub fn quantize_rows(channels: usize, zero_point: i8, input: &[f32], output: &mut [i8], scales: &mut [f32]) {
    let range = OutputRange::full(zero_point as i32);
    let levels = (127 - range.zero_point) as f32;
    let rows = input.chunks_exact(channels).zip(output.chunks_exact_mut(channels));
    for ((row, output), scale) in rows.zip(scales) {
        let most = largest(row);
        let is_zero = most < LEAST;
        *scale = if is_zero { 0.0 } else { most / levels };
        let inverse = if is_zero { 0.0 } else { levels / most };
        for (q, &x) in output.iter_mut().zip(row) {
            *q = range.quantize(x * inverse);
        }
    }
}

/// How the sums of a product become f32.
#[derive(Clone, Copy, Debug)]
pub struct RescaleArgs<'a> {
    /// Of rows of the product's input.
    pub scales: &'a [f32],
    /// Rows of the product that have a scale together.
    pub rows_of_scale: usize,
    /// One for each value of a row.
    pub bias: &'a [f32],
    /// The results' least and largest; infinite where there is none.
    pub bounds: [f32; 2],
}

/// Multiplies rows, which are those of `range`, by their scales, and adds the biases.
#[inline(always)]
pub fn rescale_rows(args: &RescaleArgs<'_>, range: Range<usize>, rows: &mut [f32]) {
    for (row, values) in range.zip(rows.chunks_exact_mut(args.bias.len())) {
        let scale = args.scales[row / args.rows_of_scale];
        for (value, &bias) in values.iter_mut().zip(args.bias) {
            *value = *value * scale + bias;
        }
        clamp(values, args.bounds);
    }
}

/// The largest magnitude of a row.
#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    let larger = |held: f32, x: f32| if x.abs() > held { x.abs() } else { held };
    for chunk in chunks {
        for (held, &x) in lanes.iter_mut().zip(chunk) {
            *held = larger(*held, x);
        }
    }
    lanes.iter().chain(rest).copied().fold(0.0, larger)
}
