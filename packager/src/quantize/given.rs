//! What a model that arrived quantized says of itself, taken as it is: int8 weights come out as they went
//! in, wherever int8 in [-127, 127] with a zero point of 0 can hold them.

use super::weights::folded;
use super::{Quant, QuantizedWeights, quantize_weights};
use crate::graph::{GivenScales, Graph, Node, Tensor, ValueId};

/// What became of the scales of a model that arrived quantized.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Honoured {
    /// Tensors that have the representation which the model gives them.
    pub tensors: usize,
    /// Tensors whose range was calibrated, since the model gives none; by name.
    pub calibrated: Vec<String>,
    /// Products whose weights are the model's own int8 values.
    pub products: usize,
    /// What is not as the model has it, in sentences that name nodes and tensors.
    pub notes: Vec<String>,
}

impl Honoured {
    /// What is known once every value has its representation.
    pub(super) fn of_values(graph: &Graph, quants: &[Option<Quant>], calibrated: &[ValueId]) -> Self {
        let calibrated = calibrated.iter().map(|&id| graph.value(id).name.clone()).collect();
        let mut honoured = Self { calibrated, ..Self::default() };
        for (value, quant) in graph.values.iter().zip(quants) {
            match (value.given, quant) {
                (Some(given), Some(quant)) if given == *quant => honoured.tensors += 1,
                (Some(given), Some(_)) => honoured.notes.push(format!(
                    "`{}` is the right operand of a product, whose zero point is 0 here, not {}: its range is \
                     kept, spread evenly around 0",
                    value.name, given.zero_point
                )),
                (Some(_), None) => honoured.notes.push(format!(
                    "`{}` is not rounded to its scale here: it is f32, or inside of one step",
                    value.name
                )),
                _ => {}
            }
        }
        honoured
    }

    /// The weights of a node that arrived quantized, and the note where they cannot be as they are.
    pub(super) fn weights(
        &mut self,
        node: &Node,
        weights: &Tensor,
        given: &GivenScales,
        bias: &[f32],
        input: Quant,
    ) -> QuantizedWeights {
        if given.scales.len() > 1 && (given.axis != 0 || given.scales.len() != bias.len()) {
            self.notes.push(format!(
                "`{}`: its weights have a scale for each of its inputs, not of its outputs: they are rounded \
                 anew, by channel",
                node.name
            ));
            return quantize_weights(&weights.data, bias, input);
        }
        let (quantized, inexact) = given_weights(&weights.data, given, bias, input);
        let (name, channels) = (&node.name, bias.len());
        if inexact.weights > 0 {
            let count = inexact.weights;
            self.notes.push(format!(
                "`{name}`: {count} of {channels} channels have weights beyond [-127, 127] around their zero \
                 point, which are rounded anew: quantize weights symmetrically to keep them"
            ));
        }
        if inexact.bias > 0 {
            let count = inexact.bias;
            self.notes.push(format!(
                "`{name}`: {count} of {channels} channels have a bias that leaves no room for their products \
                 in 32 bits: their weights are rounded anew, to a wider scale"
            ));
        }
        self.products += usize::from(inexact == Inexact::default());
        quantized
    }
}

/// How many channels are not as they were given.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Inexact {
    /// Those with weights that int8 in [-127, 127] cannot hold.
    pub weights: usize,
    /// Those with a bias that leaves the products no room in 32 bits.
    pub bias: usize,
}

/// Weights in the scales that they were given, and how many channels could not keep their integers.
///
/// Weights are in [-127, 127] on the device. A channel that holds -128, or distances from a zero point of
/// up to 255, is exact where its integers have a divisor that the scale can take over. Otherwise it is
/// rounded again: to the nearest of 127 levels, or with its largest values clamped, whichever errs less.
pub fn given_weights(
    weights: &[f32],
    given: &GivenScales,
    bias: &[f32],
    input: Quant,
) -> (QuantizedWeights, Inexact) {
    let k = weights.len() / bias.len();
    let mut quantized = QuantizedWeights { weights: Vec::new(), bias: Vec::new(), scales: Vec::new() };
    let mut inexact = Inexact::default();
    for (channel, (row, &bias)) in weights.chunks_exact(k).zip(bias).enumerate() {
        let scale = given.scales[channel.min(given.scales.len() - 1)];
        let kept = keep(row, scale);
        let integer = |kept: &Kept| {
            (f64::from(bias) / (f64::from(input.scale) * f64::from(kept.scale))).round_ties_even() as i64
        };
        match kept.filter(|kept| folded(&kept.weights, integer(kept), input.zero_point).is_some()) {
            Some(kept) => {
                quantized.bias.push(integer(&kept) as i32);
                quantized.weights.extend(kept.weights);
                quantized.scales.push(kept.scale);
                inexact.weights += usize::from(!kept.exact);
            }
            None => {
                let anew = quantize_weights(row, &[bias], input);
                quantized.bias.extend(anew.bias);
                quantized.weights.extend(anew.weights);
                quantized.scales.extend(anew.scales);
                // Where all weights are 0, their scale means nothing.
                inexact.bias += usize::from(row.iter().any(|&w| w != 0.0));
            }
        }
    }
    (quantized, inexact)
}

/// The representation of a constant operand: its own, where it arrived quantized with one scale, else that
/// of its range.
pub fn quant_of_constant(constant: &Tensor) -> Quant {
    let range = |values: &mut dyn Iterator<Item = f32>| {
        values.fold([0.0_f32; 2], |[min, max], x| [min.min(x), max.max(x)])
    };
    if let Some(GivenScales { scales, .. }) = &constant.given
        && let [scale] = scales[..]
        && scale.is_normal()
    {
        let [min, max] = range(&mut constant.data.iter().map(|x| (x / scale).round_ties_even()));
        // As many levels as a byte has hold them all, wherever its zero point was.
        if max - min <= 255.0 {
            return Quant { scale, zero_point: (-128 - min as i32).max(0).min(127 - max as i32) };
        }
    }
    Quant::over(range(&mut constant.data.iter().copied()))
}

struct Kept {
    weights: Vec<i8>,
    scale: f32,
    exact: bool,
}

/// The integers of a row; `None` where its scale is none.
fn keep(row: &[f32], scale: f32) -> Option<Kept> {
    if !scale.is_normal() || scale < 0.0 {
        return None;
    }
    let integers: Vec<i32> = row.iter().map(|w| (w / scale).round_ties_even() as i32).collect();
    let largest = integers.iter().map(|q| q.abs()).max().unwrap_or(0);
    let divisor = match largest {
        0..=127 => 1,
        _ => integers.iter().fold(0, |divisor, &q| greatest_common_divisor(divisor, q.abs())),
    };
    if largest / divisor.max(1) <= 127 {
        let weights = integers.iter().map(|&q| (q / divisor.max(1)) as i8).collect();
        return Some(Kept { weights, scale: scale * divisor.max(1) as f32, exact: true });
    }
    let wider = scale * (largest as f32 / 127.0);
    let squares = |errors: &mut dyn Iterator<Item = f64>| errors.map(|error| error * error).sum::<f64>();
    let clamped = |q: i32| q.clamp(-127, 127);
    let rounded = |q: i32| (f64::from(q) * 127.0 / f64::from(largest)).round_ties_even();
    let by_clamping = squares(&mut integers.iter().map(|&q| f64::from(q - clamped(q))));
    let by_rounding =
        squares(&mut integers.iter().map(|&q| f64::from(q) - rounded(q) * f64::from(largest) / 127.0));
    let (weights, scale) = if by_clamping <= by_rounding {
        (integers.iter().map(|&q| clamped(q) as i8).collect(), scale)
    } else {
        (integers.iter().map(|&q| rounded(q) as i8).collect(), wider)
    };
    Some(Kept { weights, scale, exact: false })
}

fn greatest_common_divisor(a: i32, b: i32) -> i32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: Quant = Quant { scale: 0.05, zero_point: -7 };

    fn given(integers: &[i32], scale: f32) -> (QuantizedWeights, Inexact) {
        let weights: Vec<f32> = integers.iter().map(|&q| q as f32 * scale).collect();
        given_weights(&weights, &GivenScales { axis: 0, scales: vec![scale] }, &[0.0], INPUT)
    }

    #[test]
    fn integers_come_out_as_they_went_in() {
        for scale in [0.1, 3e-5, 0.007_812_5, 1.7e-20] {
            let integers: Vec<i32> = (-127..=127).collect();
            let (quantized, inexact) = given(&integers, scale);
            assert_eq!(inexact, Inexact::default());
            assert!(quantized.weights.iter().zip(&integers).all(|(&w, &q)| i32::from(w) == q));
            assert_eq!(quantized.scales, [scale]);
        }
        // Not those of the widest scale: these have none of 127.
        assert_eq!(given(&[3, -5, 0], 0.5).0.weights, [3, -5, 0]);
    }

    #[test]
    fn each_channel_keeps_its_scale_and_its_bias() {
        let scales = vec![0.5, 0.25];
        let bias = [1234.0 * 0.05 * 0.5, -77_777.0 * 0.05 * 0.25];
        let weights = [0.5, -1.0, 0.25, 31.75];
        let (quantized, inexact) =
            given_weights(&weights, &GivenScales { axis: 0, scales: scales.clone() }, &bias, INPUT);
        assert_eq!((quantized.weights, inexact), (vec![1, -2, 1, 127], Inexact::default()));
        assert_eq!((quantized.bias, quantized.scales), (vec![1234, -77_777], scales));
    }

    #[test]
    fn what_int8_cannot_hold_is_exact_by_a_divisor_or_errs_least() {
        // All even.
        let (quantized, inexact) = given(&[-128, 64, 254, 2], 0.5);
        assert_eq!((quantized.weights, quantized.scales), (vec![-64, 32, 127, 1], vec![1.0]));
        assert_eq!(inexact, Inexact::default());
        // One -128 among many: it alone is moved.
        let mut integers: Vec<i32> = (-60..60).collect();
        integers.push(-128);
        let (quantized, inexact) = given(&integers, 0.5);
        assert_eq!((inexact.weights, quantized.scales[0]), (1, 0.5));
        assert!(quantized.weights.iter().zip(&integers).all(|(&w, &q)| i32::from(w) == q.max(-127)));
        // Distances from a zero point at one end.
        let integers: Vec<i32> = (0..=255).collect();
        let (quantized, inexact) = given(&integers, 0.5);
        assert_eq!((inexact.weights, quantized.weights[255]), (1, 127));
        for (w, q) in quantized.dequantized().zip(&integers) {
            assert!((w - *q as f32 * 0.5).abs() <= quantized.scales[0] / 2.0 * 1.0001, "{q} became {w}");
        }
    }

    #[test]
    fn a_bias_that_leaves_no_room_gets_a_wider_scale() {
        let given = GivenScales { axis: 0, scales: vec![1e-12] };
        let (quantized, inexact) = given_weights(&[1e-12, 0.0], &given, &[5.0], INPUT);
        assert_eq!(inexact, Inexact { weights: 0, bias: 1 });
        assert!(quantized.folded_bias(INPUT.zero_point).is_ok());
        let bias = quantized.bias[0] as f32 * INPUT.scale * quantized.scales[0];
        assert!((bias - 5.0).abs() < 1e-5);
    }
}
