//! Products whose activations are quantized when they are there: an int8 step between one that quantizes f32 at
//! scales of its own and one that brings the sums back to f32.
//!
//! ```text
//! q, s = quantize_rows(x)        a scale for each row (token), or pixel; for each image where windows overlap
//! a    = q · w * scale[n]        the int8 kernels, to f32
//! y    = clamp(a * s + bias[n])
//! ```
//! (Yao et al., "ZeroQuant: Efficient and Affordable Post-Training Quantization for Large-Scale Transformers",
//! 2022: token-wise activations, as XNNPACK's `qd8` rows are.)

use edgepack_format::plan;
use edgepack_kernels::conv::ConvShape;

use super::Lowering;
use super::layout::Order;
use super::products::{canonical, overflow, scratch_bytes};
use crate::error::Result;
use crate::graph::{Clamp, Graph, Node, Op, PoolKind, ValueId};
use crate::quantize::FLOAT_INPUT;
use crate::unary::Unary;

impl Lowering<'_> {
    pub(super) fn dynamic_product(
        &mut self,
        node: &Node,
        input: plan::Span,
        shape: &ConvShape,
        order: Order,
    ) -> Result<()> {
        let quantized = self.weights(node)?;
        let zero_point = if is_never_negative(self.graph, node.inputs[0]) { -128 } else { 0 };
        let unbiased = quantized.without_bias();
        let sums = unbiased.folded_bias(zero_point).map_err(|channel| overflow(node, channel, quantized))?;
        let added = match node.inputs.get(1) {
            Some(&added) => Some(self.ordered(&node.name, added, &order)?),
            None => None,
        };
        // Where every position of the output reads one of the input, each has a scale; else each image.
        let elems = shape.input_elems();
        let by_position = is_pointwise(shape);
        let channels = if by_position { shape.in_channels } else { elems / shape.batch };
        let op = plan::QuantizeRows {
            input,
            output: self.buffer(&node.name, elems)?,
            scales: self.buffer(&node.name, 4 * (elems / channels))?,
            channels: channels as u32,
            zero_point: zero_point as i8,
        };
        self.node_step(node, plan::Op::QuantizeRows(op));
        let output = self.value_buffer(node.output)?;
        let bias = self.f32_constant(quantized.dequantized_bias(FLOAT_INPUT));
        // What is added has a step of its own, which is then the one that clamps.
        let (target, bounds) = match added {
            Some(_) => (self.buffer(&node.name, output.bytes as usize)?, Clamp::NONE),
            None => (output, node.clamp),
        };
        let product = plan::Conv {
            input: op.output,
            output: target,
            window: super::products::window(shape),
            groups: shape.groups as u32,
            input_zero_point: op.zero_point,
            weights: self.i8_constant(canonical(shape, &quantized.weights)),
            bias: self.constant(sums.iter().flat_map(|sum| sum.to_le_bytes()).collect()),
            multiplier: self.f32_constant(quantized.scales.iter().copied()),
            range: None,
            residual: None,
            same_weights_as: None,
        };
        let scratch = self.buffer(&node.name, scratch_bytes(shape))?;
        self.lowered.macs += shape.macs();
        self.node_step(node, plan::Op::Conv(product));
        if let Some(step) = self.lowered.steps.last_mut() {
            step.scratch = scratch;
        }
        self.node_step(
            node,
            plan::Op::RescaleRows(plan::RescaleRows {
                tensor: product.output,
                scales: op.scales,
                bias,
                bounds: [bounds.min, bounds.max],
            }),
        );
        if let Some(added) = added {
            self.add_clamped(node, [target, added], output);
        }
        self.store(node.output, output, order);
        Ok(())
    }
}

/// Whether each position of the output reads the one position of the input that has its place.
fn is_pointwise(shape: &ConvShape) -> bool {
    let same = (shape.in_h, shape.in_w) == (shape.out_h, shape.out_w);
    same && shape.taps() == 1 && shape.groups == 1 && (shape.pad_top, shape.pad_left) == (0, 0)
}

/// Whether a value is known to be 0 or above, whatever the model reads.
fn is_never_negative(graph: &Graph, id: ValueId) -> bool {
    let Some(node) = graph.producer(id).map(|index| &graph.nodes[index]) else { return false };
    let all = || node.inputs.iter().all(|&input| is_never_negative(graph, input));
    node.clamp.min >= 0.0
        || match &node.op {
            Op::Softmax { .. } => true,
            Op::Unary(function) => is_function_never_negative(function),
            Op::Pad { value, .. } => *value >= 0.0 && all(),
            Op::Pool(PoolKind::Max | PoolKind::Average { .. }, _) => all(),
            Op::ReduceMean { .. } | Op::Concat { .. } | Op::Reshape | Op::Transpose { .. } => all(),
            Op::Slice { .. } | Op::Take { .. } | Op::Cast => all(),
            _ => false,
        }
}

fn is_function_never_negative(function: &Unary) -> bool {
    match function {
        Unary::Sigmoid | Unary::HardSigmoid { .. } | Unary::Exp | Unary::Abs | Unary::Sqrt => true,
        Unary::Softplus => true,
        Unary::Clip { min, .. } => *min >= 0.0,
        Unary::Chain(functions) => functions.last().is_some_and(is_function_never_negative),
        _ => false,
    }
}
