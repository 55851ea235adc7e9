//! int16: symmetric, one scale a tensor.

use super::{Quant, keeps_values, product_constants};
use crate::graph::{Graph, Op, Precision, Tensor};

/// `real = q * scale`, with q from -limit to limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quant16 {
    /// Finite and positive.
    pub scale: f32,
    /// At least 1: int16's greatest, or less where products of greater ones could overflow their sums.
    pub limit: i16,
}

impl Quant16 {
    /// The least power of two that spreads the levels up to `limit` over a range. So small integers, truth values
    /// and the ends of functions' domains are what they were, and nothing is rounded beyond them.
    pub fn over([min, max]: [f32; 2], limit: i16) -> Self {
        let scale = (max.max(-min) / f32::from(limit)).log2().ceil().exp2();
        Self { scale: if scale.is_normal() { scale } else { 1.0 }, limit }
    }

    /// The nearest int16 value.
    pub fn quantize(&self, x: f32) -> i16 {
        let limit = f64::from(self.limit);
        (f64::from(x) / f64::from(self.scale)).round_ties_even().clamp(-limit, limit) as i16
    }

    /// Rounds each number to the nearest that an int16 value stands for.
    pub fn round(&self, values: &mut [f32]) {
        let (inverse, limit) = (1.0 / self.scale, f32::from(self.limit));
        for x in values {
            *x = (*x * inverse).round_ties_even().clamp(-limit, limit) * self.scale;
        }
    }

    /// The scale and zero point of the same integers.
    pub fn symmetric(self) -> Quant {
        Quant { scale: self.scale, zero_point: 0 }
    }
}

/// Sums of products stay within int32, so that they are exact.
const MOST: f64 = i32::MAX as f64;

/// How much wider than what calibration saw the range of int16 is at least; at most, it is twice that, for scales
/// are powers of two. Other samples go further, and what saturates is lost, where a bit of sixteen is not missed:
/// EfficientNet-Lite0 in int16x16 has 54 dB on samples of the calibration but 40 dB on others without it.
pub(super) const HEADROOM: f32 = 1.5;

/// By value: how far from 0 it may be as int16. What a product reads is bounded so that no sum of it, whatever
/// the values are, leaves int32: of K terms with int8 weights `limit * 127 * K` is less than 2³¹. With int16
/// weights limit and weights share the bits that there are: for a limit of `1.4 * 2¹⁷ / sqrt(K)` the rounding of
/// either costs about as much, where both are spread as those of trained layers are.
pub(super) fn limits(graph: &Graph) -> Vec<i16> {
    let mut limits = vec![i16::MAX; graph.values.len()];
    for node in graph.nodes.iter().rev() {
        let terms = product_constants(node).map_or(1, |(weights, bias)| weights.data.len() / bias.len());
        let limit = match node.precision {
            Precision::Int16 => MOST / (127.0 * terms as f64),
            Precision::Int16x16 => 185_364.0 / (terms as f64).sqrt(),
            _ => continue,
        };
        let of_input = (limit as i16).max(1);
        let output = limits[node.output.0];
        let is_product = product_constants(node).is_some();
        for (index, &input) in node.inputs.iter().enumerate() {
            let limit = &mut limits[input.0];
            if is_product && index == 0 {
                *limit = of_input.min(*limit);
            } else if keeps_values(node) || matches!(node.op, Op::Concat { .. }) {
                *limit = output.min(*limit);
            }
        }
    }
    limits
}

/// What int16 steps make for nothing but a cast to int8 they write as int8 themselves.
pub(super) fn store_as_read(graph: &Graph, quants: &mut [Option<Quant>], is_int16: &mut [bool]) {
    for node in &graph.nodes {
        let stores_anything = matches!(
            node.op,
            Op::Conv(_) | Op::FullyConnected(_) | Op::Binary(_) | Op::Select | Op::Unary(_)
        );
        if !is_int16[node.output.0] || !stores_anything || keeps_values(node) {
            continue;
        }
        if let [reader] = graph.consumers(node.output)[..]
            && !graph.outputs.contains(&node.output)
            && matches!(graph.nodes[reader].op, Op::Cast)
            && graph.nodes[reader].precision == Precision::Int8
        {
            quants[node.output.0] = quants[graph.nodes[reader].output.0];
            is_int16[node.output.0] = false;
        }
    }
}

/// The constants of a product of int16 with int16.
#[derive(Clone, Debug, PartialEq)]
pub struct WideWeights {
    /// `[channels, k]`, in the order in which the graph has them.
    pub weights: Vec<i16>,
    /// Weight scale of each output channel.
    pub scales: Vec<f32>,
}

impl WideWeights {
    /// Quantizes the rows of a matrix `[channels, k]`, each by the smallest scale for which its weights are int16
    /// and no sum of their products with values up to `limit` leaves int32.
    pub fn of(weights: &Tensor, channels: usize, limit: i16) -> Self {
        let k = weights.data.len() / channels;
        // Rounding moves each weight by half at most.
        let most = (MOST / f64::from(limit) - k as f64 / 2.0).max(1.0);
        let mut wide = Self { weights: Vec::new(), scales: Vec::new() };
        for row in weights.data.chunks_exact(k) {
            let largest = row.iter().fold(0.0_f32, |largest, w| largest.max(w.abs()));
            let sum: f64 = row.iter().map(|w| f64::from(w.abs())).sum();
            let scale = (f64::from(largest) / f64::from(i16::MAX)).max(sum / most);
            let scale = scale.max(f64::from(f32::MIN_POSITIVE) * 1e6) as f32;
            let quant = Quant16 { scale, limit: i16::MAX };
            wide.weights.extend(row.iter().map(|&w| quant.quantize(w)));
            wide.scales.push(scale);
        }
        wide
    }

    /// Whether sums of products with values up to `limit` stay within int32, whatever these are.
    pub fn fit(&self, limit: i16) -> bool {
        let rows = self.weights.chunks_exact(self.weights.len() / self.scales.len());
        rows.into_iter().all(|row| {
            let sum: i64 = row.iter().map(|&w| i64::from(w).abs()).sum();
            sum * i64::from(limit) <= i64::from(i32::MAX)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_stand_for_numbers_within_half_a_step() {
        let quant = Quant16::over([-1.0, 4.0], 8192);
        assert_eq!(quant.scale, 1.0 / 2048.0);
        assert_eq!((quant.quantize(5.0), quant.quantize(-9.0), quant.quantize(0.0)), (8192, -8192, 0));
        assert_eq!(Quant16::over([-1.0, 4.0], 8191).scale, 1.0 / 1024.0);
        let mut values = [3.0, -0.1, 7.0];
        quant.round(&mut values);
        assert!((values[0] - 3.0).abs() <= quant.scale / 2.0 && (values[1] + 0.1).abs() <= quant.scale / 2.0);
        assert_eq!(values[2], 4.0);
        assert_eq!(Quant16::over([0.0, 0.0], 100), Quant16 { scale: 1.0, limit: 100 });
    }

    #[test]
    fn weights_take_the_bits_that_sums_leave() {
        for (k, limit) in [(4, 32767), (600, 5350), (4000, 2072), (100_000, 414)] {
            let weights: Vec<f32> = (0..2 * k).map(|i| ((i * 37 % 101) as f32 - 50.0) / 300.0).collect();
            let tensor = Tensor::new(vec![2, k], weights.clone());
            let wide = WideWeights::of(&tensor, 2, limit);
            assert!(wide.fit(limit), "{k}");
            assert!(!wide.fit(limit.saturating_mul(2)) || k == 4, "{k} leaves bits unused");
            for (i, &w) in wide.weights.iter().enumerate() {
                let scale = wide.scales[i / k];
                assert!((f32::from(w) * scale - weights[i]).abs() <= 0.501 * scale);
            }
        }
    }
}
