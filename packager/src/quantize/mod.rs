//! A scale and a zero point for every tensor, int8 weights for every product.
//!
//! Activations are int8, asymmetric, one scale a tensor; weights int8, symmetric, one scale an
//! output channel; biases int32 at the product of both scales (Jacob et al., "Quantization and
//! Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018; Nagel et al.,
//! "A White Paper on Neural Network Quantization", 2021, section 2).

mod abreast;
mod casts;
mod equalize;
mod given;
mod int16;
mod methods;
mod moments;
mod ranges;
mod reconstruct;
mod rounding;
mod simulate;
mod weights;

pub(crate) use abreast::Abreast;
pub use abreast::Samples;
pub use casts::{insert_casts, moves_values};
pub use equalize::equalize;
pub use given::{Honoured, Inexact, given_weights, quant_of_constant};
pub use int16::{Quant16, WideWeights};
pub use methods::{Method, Methods};
pub(crate) use moments::{Moments, moments};
pub use ranges::{choose_ranges, samples_of_ranges};
pub use reconstruct::reconstruct;
pub(crate) use rounding::{backward, cholesky, dot, forward, transposed};
pub use simulate::{Simulation, set_constants};
pub use weights::{QuantizedWeights, product_constants, quantize_weights};

use edgepack_engine::format::plan::ElemType;
use edgepack_kernels::requantize::residual_multiplier;

use crate::calibrate::{Observer, Statistics};
use crate::graph::{BinaryKind, Clamp, Graph, Io, Node, Op, PoolKind, Precision, ValueId};
use crate::quant::Quant;

/// What stands for the representation of f32, where int8 weights are multiplied by it: its zero is zero, and
/// biases at its scale are hundreds of times finer than weights.
pub const FLOAT_INPUT: Quant = Quant { scale: 1.0 / 256.0, zero_point: 0 };

/// How a value is represented on the device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Repr {
    /// int8 with a scale and a zero point.
    I8(Quant),
    /// int16 with a scale.
    I16(Quant16),
    /// f32.
    F32,
}

/// What a product adds to its results, as the device does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Residual {
    /// Its scale / output scale, as near as a device may have it.
    pub multiplier: f32,
    /// What its zero point stands for at this scale; the biases are less by it.
    pub zero: f32,
}

/// How the values of a graph are represented on the device.
#[derive(Clone, Debug)]
pub struct Scheme {
    /// By value; `None` for constants and what is not used.
    pub reprs: Vec<Option<Repr>>,
    /// By the value that a product with constants makes: these constants, quantized. Methods that choose
    /// them better than by rounding to nearest replace them here; lowering writes them down.
    pub weights: Vec<Option<QuantizedWeights>>,
    /// What became of the scales that the model itself gives.
    pub honoured: Honoured,
}

impl Scheme {
    /// Every value as it is.
    pub fn exact(graph: &Graph) -> Self {
        let count = graph.values.len();
        Self { reprs: vec![None; count], weights: vec![None; count], honoured: Honoured::default() }
    }

    /// The scale and zero point of a value of int8.
    pub fn quant(&self, id: ValueId) -> Option<Quant> {
        match self.reprs[id.0] {
            Some(Repr::I8(quant)) => Some(quant),
            _ => None,
        }
    }

    /// The scale of a value of int16.
    pub fn int16(&self, id: ValueId) -> Option<Quant16> {
        match self.reprs[id.0] {
            Some(Repr::I16(quant)) => Some(quant),
            _ => None,
        }
    }

    /// Rounds each number of a value to the nearest that its integers stand for.
    pub fn round(&self, id: ValueId, values: &mut [f32]) {
        match self.reprs[id.0] {
            Some(Repr::I8(quant)) => quant.round(values),
            Some(Repr::I16(quant)) => quant.round(values),
            Some(Repr::F32) | None => {}
        }
    }

    /// The integer representation of what a node multiplies its constants by.
    pub fn multiplicand(&self, node: &Node) -> Option<Quant> {
        if node.precision.has_int8_weights_alone() {
            return Some(FLOAT_INPUT);
        }
        let id = match node.op {
            // The product of a recurrent layer reads its own hidden states.
            Op::Recurrent(_) => node.output,
            _ => node.inputs[0],
        };
        self.quant(id).or_else(|| self.int16(id).map(Quant16::symmetric))
    }

    /// How what an int8 product adds to its results is represented, if it adds something.
    pub fn residual(&self, node: &Node) -> Option<Residual> {
        let (Op::Conv(_) | Op::FullyConnected(_), &[_, added]) = (&node.op, &node.inputs[..]) else {
            return None;
        };
        let (from, to) = (self.quant(added)?, self.quant(node.output)?);
        let multiplier = residual_multiplier(from.scale as f64 / to.scale as f64);
        let zero = (from.zero_point as f64 * multiplier as f64 * to.scale as f64) as f32;
        Some(Residual { multiplier, zero })
    }

    /// Whether a value is f32.
    pub fn is_f32(&self, id: ValueId) -> bool {
        self.reprs[id.0] == Some(Repr::F32)
    }
}

/// Chooses the representation of every value: f32 of what nodes of that precision make, and of results
/// that nothing multiplies any more (what a last layer's accumulators say, and the softmax of it), else
/// int8: the one that the model gives it, where it arrived quantized, else one of the range that was
/// observed. Between nodes of different precisions there are casts ([`insert_casts`]), whose values need no
/// statistics. `input_ranges` overrides what was seen of the inputs (where pixels have known bounds).
pub fn choose_scheme(
    graph: &Graph,
    statistics: &Statistics,
    observer: Observer,
    input_ranges: &[Option<[f32; 2]>],
) -> Scheme {
    let mut wide = wide_values(graph);
    let symmetric = symmetric_values(graph);
    let mut quants: Vec<Option<Quant>> = vec![None; graph.values.len()];
    let mut calibrated = Vec::new();
    let given = |id: ValueId| {
        let given = graph.value(id).given?;
        let ends = [-128, 127].map(|q| given.dequantize(q));
        Some(if symmetric[id.0] && given.zero_point != 0 { Quant::symmetric_over(ends) } else { given })
    };
    let limits = int16::limits(graph);
    let mut is_int16: Vec<bool> = vec![false; graph.values.len()];
    let has_int8 = |index: usize| graph.nodes[index].precision == Precision::Int8;
    for (index, &id) in graph.inputs.iter().enumerate() {
        let readers = graph.consumers(id);
        let is_integer = graph.value(id).dtype != ElemType::F32;
        let is_read_wide = !readers.is_empty() && !readers.into_iter().any(has_int8);
        wide[id.0] = is_integer || is_read_wide && graph.io == Io::F32;
        if is_integer {
            continue;
        }
        let known = input_ranges.get(index).copied().flatten();
        quants[id.0] = given(id).or_else(|| {
            let range = known.unwrap_or_else(|| {
                calibrated.push(id);
                statistics.range(observer, id)
            });
            Some(if symmetric[id.0] { Quant::symmetric_over(range) } else { Quant::over(range) })
        });
    }
    let over = |id: ValueId, range| {
        if symmetric[id.0] { Quant::symmetric_over(range) } else { Quant::even_over(range) }
    };
    let over16 = |id: ValueId, seen: ValueId| {
        let ends = given(seen).map(|given| [-128, 127].map(|q| given.dequantize(q)));
        let range = ends.unwrap_or_else(|| Observer::MinMax.range(&statistics.histograms[seen.0]));
        Quant16::over(range.map(|end| end * int16::HEADROOM), limits[id.0]).symmetric()
    };
    let mut range = |id: ValueId| {
        // Truth values are these two, whatever was seen.
        if graph.value(id).dtype == ElemType::Bool {
            return over(id, [0.0, 1.0]);
        }
        calibrated.push(id);
        over(id, statistics.range(observer, id))
    };
    for node in &graph.nodes {
        let output = node.output;
        is_int16[output.0] = node.precision.is_int16() && !wide[output.0];
        if !wide[output.0] {
            quants[output.0] = match node.op {
                // These move or select values, so that the scale stays.
                _ if is_int16[output.0] && keeps_values(node) => {
                    quants[node.inputs[0].0].map(|quant| rescaled(quant, node))
                }
                Op::Cast if is_int16[output.0] => Some(over16(output, node.inputs[0])),
                _ if is_int16[output.0] => Some(over16(output, output)),
                _ if let Some(given) = given(output) => Some(given),
                // These move or select values, so that the scale stays.
                _ if keeps_values(node) => quants[node.inputs[0].0].map(|quant| rescaled(quant, node)),
                // The first product reads the initial hidden state.
                Op::Recurrent(ref recurrent) => {
                    range(output);
                    let seen = statistics.range(observer, output);
                    let initial = recurrent.initial_hidden.iter();
                    Some(over(output, initial.fold(seen, |[min, max], &h| [min.min(h), max.max(h)])))
                }
                // What it casts has been observed, what it makes has not.
                Op::Cast => Some(given(node.inputs[0]).unwrap_or_else(|| {
                    range(node.inputs[0]);
                    over(output, statistics.range(observer, node.inputs[0]))
                })),
                Op::Embed { ref table } => Some(over(
                    output,
                    table.data.iter().fold([0.0; 2], |[min, max], &x| [min.min(x), max.max(x)]),
                )),
                // Probabilities: the whole of [0, 1), whatever calibration saw. Attention's are small
                // where there are many, and only factors.
                Op::Softmax { .. } if !feeds_products(graph, output) => {
                    Some(Quant { scale: 1.0 / 256.0, zero_point: -128 })
                }
                Op::Binary(BinaryKind::Mul) => {
                    let factors = [0, 1].map(|i| quants[node.inputs[i].0]);
                    let quant = range(output);
                    Some(match factors {
                        [Some(first), Some(second)] => quant.for_product_of(first, second),
                        _ => quant,
                    })
                }
                _ => Some(range(output)),
            };
        }
    }
    let shared = share_scales_of_concatenations(graph, &mut quants);
    int16::store_as_read(graph, &mut quants, &mut is_int16);
    calibrated.retain(|id| !shared.contains(id));
    let honoured = Honoured::of_values(graph, &quants, &calibrated);
    let repr = |(id, quant): (usize, Option<Quant>)| match quant {
        _ if wide[id] => Some(Repr::F32),
        Some(Quant { scale, .. }) if is_int16[id] => Some(Repr::I16(Quant16 { scale, limit: limits[id] })),
        quant => quant.map(Repr::I8),
    };
    let reprs = quants.into_iter().enumerate().map(repr).collect();
    let mut scheme = Scheme { reprs, weights: vec![None; graph.values.len()], honoured };
    let has_int8_weights = |node: &&Node| {
        matches!(node.precision, Precision::Int8 | Precision::Int16)
            || node.precision.has_int8_weights_alone()
    };
    for node in graph.nodes.iter().filter(has_int8_weights) {
        if let (Some((weights, bias)), Some(input)) = (product_constants(node), scheme.multiplicand(node)) {
            let zero = scheme.residual(node).map_or(0.0, |residual| residual.zero);
            let bias: Vec<f32> = bias.iter().map(|bias| bias - zero).collect();
            scheme.weights[node.output.0] = Some(match &weights.given {
                Some(given) => scheme.honoured.weights(node, weights, given, &bias, input),
                None => quantize_weights(&weights.data, &bias, input),
            });
        }
    }
    scheme
}

/// What is read by nothing but a concatenation takes its scale: its values are rounded once instead of
/// twice, and may be written where they belong. Gives the values that take it.
fn share_scales_of_concatenations(graph: &Graph, quants: &mut [Option<Quant>]) -> Vec<ValueId> {
    let mut shared = Vec::new();
    // Backwards, for concatenations of concatenations.
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        if !matches!(node.op, Op::Concat { .. }) {
            continue;
        }
        for &input in &node.inputs {
            let has_own_scale = graph.producer(input).is_some_and(|maker| {
                let maker = &graph.nodes[maker];
                !keeps_values(maker) && !matches!(maker.op, Op::Softmax { .. } | Op::Recurrent(_))
            });
            let read_here_alone = graph.consumers(input) == [index] && !graph.outputs.contains(&input);
            let is_given = graph.value(input).given.is_some();
            if has_own_scale && read_here_alone && !is_given && quants[input.0].is_some() {
                quants[input.0] = quants[node.output.0];
                shared.push(input);
            }
        }
    }
    shared
}

/// Whether a node's int8 results are among the int8 values that it reads.
pub fn keeps_values(node: &Node) -> bool {
    match node.op {
        Op::Reshape | Op::Transpose { .. } | Op::Slice { .. } | Op::Take { .. } | Op::Pad { .. } => true,
        Op::Gather { .. } => true,
        Op::Pool(PoolKind::Max, _) => true,
        _ => factor(node).is_some(),
    }
}

/// The factor of a node that changes nothing but the scale.
pub fn factor(node: &Node) -> Option<f32> {
    match &node.op {
        Op::Unary(function) if node.clamp == Clamp::NONE => function.as_factor(),
        _ => None,
    }
}

/// The representation of what a node makes that changes nothing but the scale.
pub fn rescaled(quant: Quant, node: &Node) -> Quant {
    let scale = quant.scale * factor(node).unwrap_or(1.0);
    Quant { scale: if scale.is_normal() { scale } else { quant.scale }, ..quant }
}

/// The values whose zero point must be 0: the right operands of products of two tensors, which play the
/// part of weights, and all from which they come unchanged.
fn symmetric_values(graph: &Graph) -> Vec<bool> {
    let mut symmetric = vec![false; graph.values.len()];
    for node in graph.nodes.iter().rev() {
        if matches!(node.op, Op::MatMul) {
            symmetric[node.inputs[1].0] = true;
        } else if keeps_values(node) && symmetric[node.output.0] {
            symmetric[node.inputs[0].0] = true;
        }
    }
    symmetric
}

/// Whether a value is read by products of two tensors, and by nothing else.
fn feeds_products(graph: &Graph, id: ValueId) -> bool {
    let readers = graph.consumers(id);
    !readers.is_empty()
        && !graph.outputs.contains(&id)
        && readers.iter().all(|&reader| match &graph.nodes[reader].op {
            Op::MatMul => true,
            Op::Reshape | Op::Transpose { .. } => feeds_products(graph, graph.nodes[reader].output),
            _ => false,
        })
}

/// The values that stay f32: made by a product, table or softmax, or a cell state, and read by nothing
/// but the application, unless that is to have int8, a softmax, the gates of a recurrent layer, or a change
/// of shape of which the same holds.
fn wide_values(graph: &Graph) -> Vec<bool> {
    let mut wide = vec![false; graph.values.len()];
    // Backwards, so that a value's readers are decided before it is.
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        let readers = graph.consumers(node.output);
        if node.precision.has_f32_values() {
            wide[node.output.0] = true;
            continue;
        }
        let takes_wide = |i: &usize| {
            let reader = &graph.nodes[*i];
            reader.precision.has_f32_values()
                || matches!(reader.op, Op::Cast) && reader.precision != Precision::Int8
                || matches!(reader.op, Op::Softmax { .. } | Op::Recurrent(_) | Op::FinalCell(_))
        };
        let moved = |i: &usize| {
            matches!(graph.nodes[*i].op, Op::Reshape | Op::Transpose { .. }) && wide[graph.nodes[*i].output.0]
        };
        // Element-wise steps of int16 compute in f32 and read what there is: between two of them nothing needs to
        // be rounded (the square root of a sum of squares would lose what is small).
        let is_element_wise = |node: &Node| {
            node.precision.is_int16()
                && matches!(node.op, Op::Unary(_) | Op::Binary(_) | Op::Select)
                && factor(node).is_none()
        };
        let goes_on = |i: &usize| is_element_wise(node) && is_element_wise(&graph.nodes[*i]);
        let read_wide = readers.iter().all(|i| takes_wide(i) || moved(i) || goes_on(i));
        let is_read = !readers.is_empty() || graph.outputs.contains(&node.output);
        let can_be_made = match node.op {
            // A softmax of int8 is faster than one of f32.
            Op::MatMul => node.clamp == Clamp::NONE && readers.is_empty(),
            Op::Reshape | Op::Transpose { .. } => made_wide(graph, index),
            _ => can_make_wide(node),
        };
        // What a model rounds, it also reads rounded.
        let is_given = graph.value(node.output).given.is_some();
        let is_given_in_int8 = graph.io == Io::Int8 && graph.outputs.contains(&node.output);
        wide[node.output.0] = read_wide && is_read && can_be_made && !is_given && !is_given_in_int8;
    }
    // A change of shape is wide only if what it reads is; the loop above asked its maker, which may
    // have turned out to have other readers.
    for node in &graph.nodes {
        let moves = matches!(node.op, Op::Reshape | Op::Transpose { .. });
        if moves && node.precision != Precision::F32 && !wide[node.inputs[0].0] {
            wide[node.output.0] = false;
        }
    }
    wide
}

fn made_wide(graph: &Graph, index: usize) -> bool {
    let Some(before) = graph.producer(graph.nodes[index].inputs[0]) else { return false };
    let node = &graph.nodes[before];
    match node.op {
        Op::Reshape | Op::Transpose { .. } if !node.precision.has_f32_values() => made_wide(graph, before),
        _ => can_make_wide(node),
    }
}

/// Whether a node, but one that moves values, can leave its result in f32.
fn can_make_wide(node: &Node) -> bool {
    let is_int16 = node.precision.is_int16();
    match node.op {
        _ if node.precision.has_f32_values() => true,
        Op::Conv(_) | Op::FullyConnected(_) => {
            node.clamp == Clamp::NONE && (is_int16 || node.inputs.len() == 1)
        }
        Op::Unary(_) => is_int16 || factor(node).is_none(),
        Op::Binary(BinaryKind::Compare(_)) => true,
        Op::Binary(_) | Op::Select => is_int16,
        Op::Softmax { .. } | Op::FinalCell(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
