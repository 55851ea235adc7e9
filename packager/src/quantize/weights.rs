//! Weights and biases of a product.

use crate::graph::{Node, Op, Tensor};
use crate::quant::Quant;

/// The constants of a product over int8.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedWeights {
    /// In [-127, 127], `[channels, k]` in the order in which the graph has them.
    pub weights: Vec<i8>,
    /// One for each output channel, at `input.scale * scale`; what the input's zero point adds is not in it
    /// (see [`QuantizedWeights::folded_bias`]), what a residual's adds is.
    pub bias: Vec<i32>,
    /// Weight scale of each output channel.
    pub scales: Vec<f32>,
}

/// The constant matrix of a node that multiplies by one, and its bias: `[channels, k]` and `[channels]`.
pub fn product_constants(node: &Node) -> Option<(&Tensor, &[f32])> {
    match &node.op {
        Op::Conv(conv) => Some((&conv.weights, &conv.bias)),
        Op::FullyConnected(fc) => Some((&fc.weights, &fc.bias)),
        Op::Recurrent(layer) => Some((&layer.weights, &layer.bias)),
        _ => None,
    }
}

/// Accumulators stay below this, for every possible input: half of i32's range, so that a kernel
/// that shifts its input by 128 (unsigned activations) does not overflow in the end either.
const ACCUMULATOR_LIMIT: f64 = (1u64 << 30) as f64;

/// Quantizes the rows of a matrix `[channels, k]`, each with the smallest scale that holds its
/// largest weight in 127 levels, and the bias at `input.scale * scale`.
///
/// A channel of tiny weights under a large bias gets a larger scale, so that no accumulator can
/// overflow: its weights then lose bits that its bias drowns anyway.
pub fn quantize_weights(weights: &[f32], bias: &[f32], input: Quant) -> QuantizedWeights {
    let k = weights.len() / bias.len();
    let mut quantized = QuantizedWeights { weights: Vec::new(), bias: Vec::new(), scales: Vec::new() };
    for (row, &bias) in weights.chunks_exact(k).zip(bias) {
        let largest = row.iter().fold(0.0_f32, |largest, w| largest.max(w.abs()));
        let scale = smallest_scale(largest as f64, bias as f64, input);
        let row: Vec<i8> = row.iter().map(|&w| quantize_weight(w, scale)).collect();
        quantized.bias.push((bias as f64 / (input.scale as f64 * scale as f64)).round_ties_even() as i32);
        quantized.weights.extend(row);
        quantized.scales.push(scale);
    }
    quantized
}

/// The smallest scale of an output channel that holds its largest weight and its bias.
pub(super) fn smallest_scale(largest: f64, bias: f64, input: Quant) -> f32 {
    let for_bias = bias.abs() / input.scale as f64 / (ACCUMULATOR_LIMIT / 2.0);
    (largest.abs() / 127.0).max(for_bias).max(f32::MIN_POSITIVE as f64 * 1e6) as f32
}

fn quantize_weight(weight: f32, scale: f32) -> i8 {
    (weight as f64 / scale as f64).round_ties_even().clamp(-127.0, 127.0) as i8
}

/// A channel's bias with what the input's zero point adds; `None` where some int8 input could drive its
/// accumulator beyond i32.
pub(super) fn folded(row: &[i8], bias: i64, zero_point: i32) -> Option<i32> {
    let sum: i64 = row.iter().map(|&w| w as i64).sum();
    let bias = bias - zero_point as i64 * sum;
    // The worst input has 127 or -128 where the weight is positive or negative.
    let reach: i64 = row.iter().map(|&w| (w as i64).abs() * 128).sum();
    (reach + bias.abs() <= i32::MAX as i64).then_some(bias as i32)
}

impl QuantizedWeights {
    /// Weights of one output channel.
    pub fn k(&self) -> usize {
        self.weights.len() / self.bias.len()
    }

    /// The bias as the device adds it, to products with int8 values that have a zero point.
    ///
    /// # Errors
    /// The first output channel whose accumulator some int8 input could drive beyond i32.
    pub fn folded_bias(&self, zero_point: i32) -> Result<Vec<i32>, usize> {
        let rows = self.weights.chunks_exact(self.k()).zip(&self.bias).enumerate();
        rows.map(|(channel, (row, &bias))| folded(row, bias.into(), zero_point).ok_or(channel)).collect()
    }

    /// The same weights with biases of 0.
    pub fn without_bias(&self) -> Self {
        Self { bias: vec![0; self.bias.len()], ..self.clone() }
    }

    /// The real numbers that the biases stand for.
    pub fn dequantized_bias(&self, input: Quant) -> Vec<f32> {
        let scales = self.scales.iter().map(|&scale| input.scale as f64 * scale as f64);
        self.bias.iter().zip(scales).map(|(&bias, scale)| (bias as f64 * scale) as f32).collect()
    }

    /// The real numbers that the weights stand for.
    pub fn dequantized(&self) -> impl Iterator<Item = f32> + '_ {
        let rows = self.weights.chunks_exact(self.k()).zip(&self.scales);
        rows.flat_map(|(row, &scale)| row.iter().map(move |&w| w as f32 * scale))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: Quant = Quant { scale: 0.05, zero_point: -7 };

    #[test]
    fn accumulators_are_the_real_products_within_rounding() {
        let weights = [0.5, -1.0, 0.25, 3.0, 2.0, -1.5];
        let bias = [0.7, -20.0];
        let q = quantize_weights(&weights, &bias, INPUT);
        let folded = q.folded_bias(INPUT.zero_point).unwrap();
        let x = [100, -128, 5];
        for channel in 0..2 {
            let row = &q.weights[channel * 3..][..3];
            let acc: i32 = folded[channel] + row.iter().zip(x).map(|(&w, x)| w as i32 * x).sum::<i32>();
            let got = acc as f32 * INPUT.scale * q.scales[channel];
            let real: f32 = bias[channel]
                + (0..3).map(|i| weights[channel * 3 + i] * INPUT.dequantize(x[i])).sum::<f32>();
            assert!((got - real).abs() < 0.1, "{got} is not {real}");
        }
    }

    #[test]
    fn a_dead_channel_with_a_bias_keeps_the_bias_and_cannot_overflow() {
        let q = quantize_weights(&[0.0, 1e-30, 1.0, 1.0], &[5.0, 0.0], INPUT);
        let bias = q.bias[0] as f32 * INPUT.scale * q.scales[0];
        assert!((bias - 5.0).abs() < 1e-5, "{bias}");
        assert!(q.folded_bias(INPUT.zero_point).is_ok());
    }

    #[test]
    fn overflow_is_found() {
        let row = vec![127; 200_000];
        let q = QuantizedWeights { weights: row, bias: vec![0], scales: vec![1.0] };
        assert_eq!(q.folded_bias(0), Err(0));
    }
}
