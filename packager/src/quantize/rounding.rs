//! Weights that, rounded, give what the FP32 layer gives: a least-squares fit of each layer to the teacher,
//! rounded one weight at a time while the others make up for it.
//!
//! Rounding to nearest is best only if inputs are uncorrelated with zero mean. Neighbouring pixels are nearly
//! equal, and what follows a ReLU is positive, so that the errors of a filter's taps add up. Here, as in Optimal
//! Brain Quantization and GPTQ (Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative
//! Pre-trained Transformers", 2023), the layer's squared error over the calibration set is what is made
//! small. With `H = x xᵀ = RᵀR` summed over the samples, that is `‖R (q - w)‖²`; back substitution in `R`
//! that rounds each weight as it is found is GPTQ in the form of Babai's nearest plane (Chen et al., "The
//! Geometry of LLM Quantization: GPTQ as Babai's Nearest Plane Algorithm", 2025). The `x` are those of the quantized network and
//! the goal is the output of the FP32 one (as in Hubara et al., "Accurate Post Training Quantization with
//! Small Calibration Sets", 2021), so that a layer also makes up for errors before it; the bias is one more
//! weight that needs no rounding, which is empirical bias correction (Nagel et al., "Data-Free Quantization
//! through Weight Equalization and Bias Correction", 2019).

use rayon::prelude::*;

use super::moments::Moments;
use super::weights::smallest_scale;
use super::{Quant, QuantizedWeights};

/// Rows and columns that a step of the factorization takes.
const BLOCK: usize = 64;

/// What may change to fit a layer to the teacher. Costs are in terms of the mean square of an input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// How much it costs a weight to leave the model's; `None`: none does, but to be rounded.
    pub leave: Option<f64>,
    /// How much errors of rounding cost beside what they do to the samples; `None`: each weight is rounded to
    /// the nearest.
    pub round: Option<f64>,
    /// Whether biases change.
    pub bias: bool,
}

/// One group of a product, before it is quantized.
#[derive(Clone, Copy)]
pub struct Group<'a> {
    /// `[n, k]`
    pub weights: &'a [f32],
    /// `[n]`
    pub bias: &'a [f32],
    /// Of what it reads.
    pub input: Quant,
    /// What its biases are less by, since what it adds to its products has a zero point.
    pub residual_zero: f32,
}

/// The costs of what may take any value, and of what must not change.
const FREE: f64 = 1e-6;
const FIXED: f64 = 1e6;

/// Quantizes a group.
pub fn fit(group: Group<'_>, moments: &Moments, how: Fit) -> QuantizedWeights {
    let (width, k) = (moments.width, moments.width - 1);
    // The bias first: it is found last, and makes up for what the weights leave. Then by energy, so that the
    // inputs that matter most are rounded while there are still many others to make up for it.
    let energy = |i: usize| moments.inputs[i * width + i];
    let mut order: Vec<usize> = (0..width).collect();
    order[1..].sort_by(|&a, &b| energy(a).total_cmp(&energy(b)));
    let mean = ((1..width).map(energy).sum::<f64>() / k as f64).max(f64::MIN_POSITIVE * 1e20);
    let held = |i: usize, ridge: f64| match (i, how.bias) {
        (0, true) => FREE * energy(0),
        (0, false) => FIXED * energy(0),
        _ => ridge * mean,
    };
    let factor = |ridge: f64| {
        let mut matrix = vec![0.0; width * width];
        for ((at, row), &i) in matrix.chunks_exact_mut(width).enumerate().zip(&order) {
            row.iter_mut().zip(&order).for_each(|(m, &j)| *m = moments.inputs[i * width + j]);
            row[at] += held(i, ridge);
        }
        let lower = cholesky(matrix, width);
        let upper = transposed(&lower, width);
        (lower, upper)
    };
    let leave = how.leave.unwrap_or(FIXED);
    let (lower, upper) = factor(leave);
    let by = factor(how.round.unwrap_or(FIXED)).1;
    let channels = group.weights.par_chunks_exact(k).zip(group.bias);
    let rows: Vec<(Vec<i8>, i32, f32)> = channels
        .zip(moments.targets.par_chunks_exact(width))
        .map(|((row, &bias), targets)| {
            let own = |i: usize| if i == 0 { bias } else { row[i - 1] } as f64;
            let goal: Vec<f64> = order.iter().map(|&i| targets[i] + held(i, leave) * own(i)).collect();
            let real = backward(&upper, &forward(&lower, width, goal));
            // Pruned weights stay zero, and the others make up for that, too.
            let zero: Vec<bool> = order.iter().map(|&i| i > 0 && row[i - 1] == 0.0).collect();
            let channel = channel(&by, &real, &zero, &group);
            let mut weights = vec![0; k];
            order[1..].iter().zip(&channel.weights[1..]).for_each(|(&i, &q)| weights[i - 1] = q as i8);
            (weights, channel.bias, channel.scale)
        })
        .collect();
    let mut quantized = QuantizedWeights { weights: Vec::new(), bias: Vec::new(), scales: Vec::new() };
    for (weights, bias, scale) in rows {
        quantized.weights.extend(weights);
        quantized.bias.push(bias);
        quantized.scales.push(scale);
    }
    quantized
}

/// One output channel, quantized; the first weight is not used.
struct Channel {
    weights: Vec<f64>,
    bias: i32,
    scale: f32,
    error: f64,
}

/// More scales than the one that holds the largest weight are tried where that costs little.
const SCALES: usize = 24;
const SCALES_WIDTH: usize = 128;

fn channel(upper: &[f64], real: &[f64], zero: &[bool], group: &Group<'_>) -> Channel {
    let (width, offset) = (real.len(), f64::from(group.residual_zero));
    let z: Vec<f64> =
        (0..width).map(|at| dot(&upper[at * width + at..][..width - at], &real[at..])).collect();
    let stays = real[1..].iter().zip(&zero[1..]).filter(|(_, zero)| !**zero);
    let largest = stays.fold(0.0_f64, |largest, (w, _)| largest.max(w.abs()));
    let tried = if width <= SCALES_WIDTH { SCALES } else { 1 };
    let candidates = (0..tried).map(|i| largest * (1.0 - 0.4 * i as f64 / SCALES as f64));
    let channels = candidates.map(|largest| {
        rounded(upper, &z, zero, smallest_scale(largest, real[0] - offset, group.input), group)
    });
    channels.reduce(|best, next| if next.error < best.error { next } else { best }).expect("one is tried")
}

/// Back substitution that rounds each weight as it is found, to zero where it must be that.
fn rounded(upper: &[f64], z: &[f64], zero: &[bool], scale: f32, group: &Group<'_>) -> Channel {
    let width = z.len();
    let step = f64::from(scale);
    let (mut weights, mut real, mut error) = (vec![0.0; width], vec![0.0; width], 0.0);
    for at in (1..width).rev() {
        let row = &upper[at * width..][..width];
        let wanted = (z[at] - dot(&row[at + 1..], &real[at + 1..])) / row[at];
        weights[at] = if zero[at] { 0.0 } else { (wanted / step).round_ties_even().clamp(-127.0, 127.0) };
        real[at] = weights[at] * step;
        error += (row[at] * (wanted - real[at])).powi(2);
    }
    let bias = (z[0] - dot(&upper[1..width], &real[1..])) / upper[0];
    let unit = f64::from(group.input.scale) * step;
    let bias = (bias - f64::from(group.residual_zero)) / unit;
    Channel { weights, bias: bias.round_ties_even() as i32, scale, error }
}

/// `L` with `L Lᵀ` the matrix, which is symmetric and positive; by blocks of columns, rows in parallel.
pub(crate) fn cholesky(mut matrix: Vec<f64>, width: usize) -> Vec<f64> {
    for first in (0..width).step_by(BLOCK) {
        let last = (first + BLOCK).min(width);
        let (done, rest) = matrix.split_at_mut(last * width);
        for i in first..last {
            for j in first..=i {
                let sum = done[i * width + j] - dot(&done[i * width..][..j], &done[j * width..][..j]);
                done[i * width + j] =
                    if i == j { sum.max(f64::MIN_POSITIVE * 1e20).sqrt() } else { sum / done[j * width + j] };
            }
        }
        let done = &*done;
        rest.par_chunks_exact_mut(width).for_each(|row| {
            for j in first..last {
                let of = &done[j * width..][..=j];
                row[j] = (row[j] - dot(&row[..j], &of[..j])) / of[j];
            }
        });
    }
    matrix
}

/// Of the lower triangle alone.
pub(crate) fn transposed(lower: &[f64], width: usize) -> Vec<f64> {
    let mut upper = vec![0.0; width * width];
    upper.par_chunks_exact_mut(width).enumerate().for_each(|(i, row)| {
        (i..width).for_each(|j| row[j] = lower[j * width + i]);
    });
    upper
}

/// `z` with `L z` the goal.
pub(crate) fn forward(lower: &[f64], width: usize, mut goal: Vec<f64>) -> Vec<f64> {
    for at in 0..width {
        let row = &lower[at * width..][..width];
        goal[at] = (goal[at] - dot(&row[..at], &goal[..at])) / row[at];
    }
    goal
}

/// `w` with `R w = z`.
pub(crate) fn backward(upper: &[f64], z: &[f64]) -> Vec<f64> {
    let width = z.len();
    let mut real = vec![0.0; width];
    for at in (0..width).rev() {
        let row = &upper[at * width..][..width];
        real[at] = (z[at] - dot(&row[at + 1..], &real[at + 1..])) / row[at];
    }
    real
}

/// In lanes, so that the compiler makes vectors of it.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut lanes = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        (0..8).for_each(|lane| lanes[lane] += a[lane] * b[lane]);
    }
    lanes.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: Quant = Quant { scale: 0.1, zero_point: 0 };
    const ROUND: Fit = Fit { leave: None, round: Some(1e-3), bias: true };

    /// Of `x` that are given, and what `weights` and `bias` make of them.
    fn moments(xs: &[Vec<f64>], weights: &[f32], bias: f32) -> Moments {
        let width = weights.len() + 1;
        let mut moments =
            Moments { width, inputs: vec![0.0; width * width], targets: vec![0.0; width], rows: xs.len() };
        for x in xs {
            let row: Vec<f64> = std::iter::once(1.0).chain(x.iter().copied()).collect();
            let y = f64::from(bias) + x.iter().zip(weights).map(|(x, &w)| x * f64::from(w)).sum::<f64>();
            for i in 0..width {
                (0..width).for_each(|j| moments.inputs[i * width + j] += row[i] * row[j]);
                moments.targets[i] += y * row[i];
            }
        }
        moments
    }

    fn quantized(weights: &[f32], bias: f32, moments: &Moments, how: Fit) -> QuantizedWeights {
        fit(Group { weights, bias: &[bias], input: INPUT, residual_zero: 0.0 }, moments, how)
    }

    /// The mean and the mean square of the error on inputs.
    fn errors(q: &QuantizedWeights, xs: &[Vec<f64>], weights: &[f32], bias: f32) -> [f64; 2] {
        let real: Vec<f32> = q.dequantized().collect();
        let offset = f64::from(q.dequantized_bias(INPUT)[0] - bias);
        let errors = xs.iter().map(|x| {
            let difference = |(x, (&a, &b)): (&f64, (&f32, &f32))| x * f64::from(a - b);
            offset + x.iter().zip(real.iter().zip(weights)).map(difference).sum::<f64>()
        });
        let n = xs.len() as f64;
        [errors.clone().sum::<f64>() / n, errors.map(|e| e * e).sum::<f64>() / n]
    }

    /// Inputs that nearly equal each other, none of which is negative.
    fn alike() -> Vec<Vec<f64>> {
        let wave =
            |i: usize, k: usize| 1.0 + (i as f64 * 0.7).sin() + 0.05 * ((i * (k + 3)) as f64 * 1.3).sin();
        (0..200).map(|i| (0..9).map(|k| wave(i, k)).collect()).collect()
    }

    /// Multiples of 1 / 127 but for 0.4 of it, all of which rounding to the nearest drops.
    const WEIGHTS: [f32; 9] = [
        4.4 / 127.0,
        -8.6 / 127.0,
        2.4 / 127.0,
        55.4 / 127.0,
        1.0,
        52.4 / 127.0,
        -4.6 / 127.0,
        6.4 / 127.0,
        3.4 / 127.0,
    ];

    #[test]
    fn weights_of_uncorrelated_inputs_are_rounded_to_the_nearest() {
        let xs: Vec<Vec<f64>> = (0..18)
            .map(|i| {
                (0..9).map(|k| if i / 2 == k { if i % 2 == 0 { 1.0 } else { -1.0 } } else { 0.0 }).collect()
            })
            .collect();
        let q = quantized(&WEIGHTS, 0.25, &moments(&xs, &WEIGHTS, 0.25), ROUND);
        let nearest = WEIGHTS.map(|w| (w / q.scales[0]).round_ties_even().clamp(-127.0, 127.0) as i8);
        assert_eq!(q.weights, nearest);
    }

    #[test]
    fn errors_of_inputs_that_are_alike_cancel() {
        let (xs, moments) = (alike(), moments(&alike(), &WEIGHTS, 0.25));
        let nearest = quantized(&WEIGHTS, 0.25, &moments, Fit { round: None, ..ROUND });
        let cancelled = quantized(&WEIGHTS, 0.25, &moments, ROUND);
        let of = |q: &QuantizedWeights| errors(q, &xs, &WEIGHTS, 0.25)[1];
        assert!(
            of(&cancelled) < of(&nearest) / 4.0,
            "{} {}: {cancelled:?} {nearest:?}",
            of(&cancelled),
            of(&nearest)
        );
    }

    #[test]
    fn pruned_weights_stay_zero_and_the_others_make_up_for_them() {
        let mut pruned = WEIGHTS;
        (pruned[3], pruned[5]) = (0.0, 0.0);
        let (xs, moments) = (alike(), moments(&alike(), &WEIGHTS, 0.25));
        let error = |how| {
            let q = quantized(&pruned, 0.25, &moments, how);
            assert_eq!((q.weights[3], q.weights[5]), (0, 0));
            errors(&q, &xs, &WEIGHTS, 0.25)[1]
        };
        let alone = error(Fit { leave: None, round: None, bias: true });
        let together = error(Fit { leave: Some(1e-3), ..ROUND });
        assert!(together < alone / 10.0, "{together} {alone}");
    }

    #[test]
    fn biases_make_up_for_the_mean_unless_they_are_fixed() {
        let (xs, moments) = (alike(), moments(&alike(), &WEIGHTS, 0.25));
        let corrected = quantized(&WEIGHTS, 0.25, &moments, Fit { round: None, ..ROUND });
        let step = f64::from(INPUT.scale * corrected.scales[0]);
        assert!(errors(&corrected, &xs, &WEIGHTS, 0.25)[0].abs() <= 0.51 * step);
        let fixed = quantized(&WEIGHTS, 0.25, &moments, Fit { round: None, bias: false, ..ROUND });
        let step = INPUT.scale * fixed.scales[0];
        assert!((fixed.dequantized_bias(INPUT)[0] - 0.25).abs() <= 0.51 * step);
    }
}
