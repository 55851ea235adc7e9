//! Convolutions and matrix products.

use edgepack_format::plan;
use edgepack_kernels::conv::{ConvShape, rows};

use super::Lowering;
use super::layout::Order;
use crate::error::{PackError, Result};
use crate::graph::{Conv, FullyConnected, Node, Precision, as_nchw};
use crate::quantize::{QuantizedWeights, Residual};

/// Scratch memory of a convolution: the most that any kernel of any processor asks for, so that one plan
/// serves them all.
pub fn scratch_bytes(shape: &ConvShape) -> usize {
    let accepting = rows().filter(|row| row.accepts(shape));
    accepting.map(|row| row.scratch_bytes(shape)).max().unwrap_or(0)
}

/// The window of a convolution of this geometry.
pub(super) fn window(shape: &ConvShape) -> plan::Window {
    plan::Window {
        input_dims: [shape.batch, shape.in_h, shape.in_w, shape.in_channels].map(|d| d as u32),
        output_dims: [shape.batch, shape.out_h, shape.out_w, shape.out_channels].map(|d| d as u32),
        kernel: [shape.kernel_h as u32, shape.kernel_w as u32],
        stride: [shape.stride_h as u32, shape.stride_w as u32],
        dilation: [shape.dilation_h as u32, shape.dilation_w as u32],
        pad: [shape.pad_top as u32, shape.pad_left as u32],
    }
}

impl<'a> Lowering<'a> {
    pub(super) fn conv(&mut self, node: &Node, conv: &Conv) -> Result<()> {
        let input = node.inputs[0];
        let order = Order::channels_last(self.dims(input).len());
        let from = self.ordered(&node.name, input, &order)?;
        let [batch, in_channels, in_h, in_w] =
            as_nchw(self.dims(input)).ok_or_else(|| self.too_large(&node.name))?;
        let [_, out_channels, out_h, out_w] =
            as_nchw(self.dims(node.output)).ok_or_else(|| self.too_large(&node.name))?;
        let w = &conv.window;
        let shape = ConvShape {
            batch,
            in_h,
            in_w,
            in_channels,
            out_h,
            out_w,
            out_channels,
            kernel_h: w.kernel[0],
            kernel_w: w.kernel[1],
            stride_h: w.stride[0],
            stride_w: w.stride[1],
            dilation_h: w.dilation[0],
            dilation_w: w.dilation[1],
            pad_top: w.pads[0],
            pad_left: w.pads[1],
            groups: conv.groups,
        };
        self.product(node, from, shape, order)
    }

    pub(super) fn fully_connected(&mut self, node: &Node, fc: &FullyConnected) -> Result<()> {
        let input = node.inputs[0];
        let dims = self.dims(input);
        let last = dims.len() - 1;
        let stored = self.any(input)?;
        // Rows may be stored in any order, as long as each is contiguous.
        let order = match stored.order.significant(dims).last() {
            Some(&axis) if axis == last || dims[last] == 1 => stored.order.with_last(last),
            _ => Order::identity(dims.len()),
        };
        let from = self.ordered(&node.name, input, &order)?;
        let (out_channels, in_channels) = (fc.weights.dims[0], fc.weights.dims[1]);
        let rows = self.elems(input) / in_channels;
        let shape = ConvShape::fully_connected(rows, in_channels, out_channels);
        self.product(node, from, shape, order)
    }

    fn product(&mut self, node: &Node, input: plan::Span, shape: ConvShape, order: Order) -> Result<()> {
        match node.precision {
            Precision::Int8 => {}
            Precision::Int16 | Precision::Int16x16 => return self.int16_product(node, input, &shape, order),
            Precision::Dynamic => return self.dynamic_product(node, input, &shape, order),
            _ => return self.float_product(node, input, &shape, order),
        }
        let from = self.quant(node.inputs[0]);
        let quantized = self.weights(node)?;
        let bias =
            quantized.folded_bias(from.zero_point).map_err(|channel| overflow(node, channel, quantized))?;
        let wide = self.is_wide(node.output);
        let to = if wide { 1.0 } else { self.quant(node.output).scale };
        let mut residual = None;
        if let (Some(Residual { multiplier, .. }), Some(&added)) =
            (self.scheme.residual(node), node.inputs.get(1))
        {
            residual = Some(plan::Residual { span: self.ordered(&node.name, added, &order)?, multiplier });
        }
        let multiplier = quantized.scales.iter().map(|&scale| multiplier(from.scale, scale, to));
        let weights = canonical(&shape, &quantized.weights);
        let op = plan::Conv {
            input,
            output: self.value_buffer(node.output)?,
            window: window(&shape),
            groups: shape.groups as u32,
            input_zero_point: from.zero_point as i8,
            multiplier: self.f32_constant(multiplier),
            weights: self.i8_constant(weights),
            bias: self.constant(bias.iter().flat_map(|b| b.to_le_bytes()).collect()),
            range: (!wide).then(|| self.range(node)),
            residual,
            same_weights_as: None,
        };
        let scratch = self.buffer(&node.name, scratch_bytes(&shape))?;
        self.lowered.macs += shape.macs();
        self.node_step(node, plan::Op::Conv(op));
        if let Some(step) = self.lowered.steps.last_mut() {
            step.scratch = scratch;
        }
        self.store(node.output, op.output, order);
        Ok(())
    }

    /// The quantized constants of a product.
    pub(super) fn weights(&self, node: &Node) -> Result<&'a QuantizedWeights> {
        self.scheme.weights[node.output.0].as_ref().ok_or_else(|| PackError::Quantize {
            node: node.name.clone(),
            reason: "its weights were not quantized, since what it reads is not int8; please report this"
                .into(),
        })
    }
}

/// ONNX has `[out, in, kh, kw]`; the device wants the channels of a tap together, and a depthwise step the taps
/// of a channel apart.
pub(super) fn canonical(shape: &ConvShape, weights: &[i8]) -> Vec<i8> {
    let (channels, k, taps) = (shape.out_channels, shape.group_in_channels(), shape.taps());
    if shape.is_depthwise() {
        return (0..taps * channels).map(|i| weights[i % channels * taps + i / channels]).collect();
    }
    let position = |i: usize| (i / (taps * k) * k + i % k) * taps + i / k % taps;
    (0..weights.len()).map(|i| weights[position(i)]).collect()
}

/// What an accumulator is multiplied by: `input * weight / output`, of their scales. Rounded after each
/// operation, as ONNX Runtime does it, so that a model that arrives quantized gives the same bits; in f64
/// only where f32 has no such small numbers.
fn multiplier(input: f32, weight: f32, output: f32) -> f32 {
    let product = input * weight;
    let exact = || (f64::from(input) * f64::from(weight) / f64::from(output)) as f32;
    let multiplier = if product.is_normal() { product / output } else { exact() };
    multiplier.max(f32::MIN_POSITIVE)
}

/// The error of a product some channel of which could overflow.
pub(super) fn overflow(node: &Node, channel: usize, weights: &QuantizedWeights) -> PackError {
    let products = weights.k();
    PackError::Quantize {
        node: node.name.clone(),
        reason: format!(
            "output channel {channel} sums {products} products, which could overflow 32 bits: split the layer"
        ),
    }
}
