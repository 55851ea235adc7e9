//! The int8 network on the host, in f32: what every method that corrects or compares measures by.
//!
//! Weights and biases are those that the quantized ones stand for, and each value is rounded to what its int8
//! representation can hold (Jacob et al., 2018, section 3: "fake quantization"). A product's sum is then the
//! device's within f32's rounding, so that few results differ, and those by one level.

use super::{Quant, QuantizedWeights, Scheme};
use crate::evaluate::evaluate;
use crate::graph::{Graph, Node, Op, Tensor, ValueId};

/// A graph and its scheme, ready to run.
#[derive(Clone, Debug)]
pub struct Simulation<'a> {
    /// The graph with the constants of its products replaced by what the quantized ones stand for.
    graph: Graph,
    scheme: &'a Scheme,
}

impl<'a> Simulation<'a> {
    /// The network that `lower` would make of the same graph and scheme.
    pub fn new(graph: &Graph, scheme: &'a Scheme) -> Self {
        let mut graph = graph.clone();
        for node in &mut graph.nodes {
            let weights = scheme.weights[node.output.0].as_ref();
            if let (Some(weights), Some(input)) = (weights, scheme.multiplicand(node)) {
                set_constants(node, weights, input, residual_zero(scheme, node));
            }
        }
        for (id, value) in graph.values.iter_mut().enumerate() {
            if let (Some(constant), Some(quant)) = (&mut value.constant, scheme.quant(ValueId(id))) {
                let mut data = constant.data.to_vec();
                quant.round(&mut data);
                *constant = Tensor::new(constant.dims.clone(), data);
            }
        }
        Self { graph, scheme }
    }

    /// Runs it on one sample, as [`evaluate`] runs the graph; `observe` sees every value as the device has it.
    pub fn run(&self, inputs: &[&[f32]], mut observe: impl FnMut(ValueId, &mut [f32])) -> Vec<Vec<f32>> {
        evaluate(&self.graph, inputs, |id, values| {
            self.scheme.round(id, values);
            observe(id, values);
        })
    }
}

/// What the biases of a product are less by, since what it adds has a zero point.
pub(super) fn residual_zero(scheme: &Scheme, node: &Node) -> f32 {
    scheme.residual(node).map_or(0.0, |residual| residual.zero)
}

/// Makes a node multiply by what quantized weights stand for, and add what their biases stand for, which are
/// less by `residual_zero`.
pub fn set_constants(node: &mut Node, weights: &QuantizedWeights, input: Quant, residual_zero: f32) {
    let bias = weights.dequantized_bias(input).into_iter().map(|bias| bias + residual_zero).collect();
    let tensor = |like: &Tensor| Tensor::new(like.dims.clone(), weights.dequantized().collect());
    match &mut node.op {
        Op::Conv(conv) => (conv.weights, conv.bias) = (tensor(&conv.weights), bias),
        Op::FullyConnected(fc) => (fc.weights, fc.bias) = (tensor(&fc.weights), bias),
        // Shared with the node of its final state, and its products are not observed.
        Op::Recurrent(_) => {}
        _ => {}
    }
}
