//! Products, poolings and casts of int16.

use edgepack_format::plan;
use edgepack_kernels::conv::ConvShape;
use edgepack_kernels::int16::{weight_elems, weight_place};

use super::layout::Order;
use super::products::window;
use super::{Lowering, Program};
use crate::error::{PackError, Result};
use crate::graph::{Clamp, Node, Precision, ValueId};
use crate::quantize::{Quant16, WideWeights, product_constants};

impl Lowering<'_> {
    /// The scale of a value of int16.
    fn quant16(&self, id: ValueId) -> Quant16 {
        self.scheme.int16(id).unwrap_or(Quant16 { scale: 1.0, limit: i16::MAX })
    }

    /// How a node's result is stored, its clamp included.
    fn stored_clamped(&self, node: &Node) -> plan::Stored {
        match self.stored_as(node.output) {
            plan::Stored::F32 => plan::Stored::F32,
            plan::Stored::I8 { multiplier, .. } => plan::Stored::I8 { multiplier, range: self.range(node) },
            plan::Stored::I16 { multiplier, .. } => {
                plan::Stored::I16 { multiplier, bounds: self.bounds16(node) }
            }
        }
    }

    /// The least and the greatest int16 value of a node's result.
    fn bounds16(&self, node: &Node) -> [i16; 2] {
        let (quant, Clamp { min, max }) = (self.quant16(node.output), node.clamp);
        let least = if min.is_finite() { quant.quantize(min) } else { -quant.limit };
        let greatest = if max.is_finite() { quant.quantize(max) } else { quant.limit };
        [least.min(greatest), greatest]
    }

    pub(super) fn int16_product(
        &mut self,
        node: &Node,
        input: plan::Span,
        shape: &ConvShape,
        order: Order,
    ) -> Result<()> {
        let Some((weights, bias)) = product_constants(node) else { return Ok(()) };
        let from = self.quant16(node.inputs[0]);
        let (weight_bytes, packed, scales, bias) = if node.precision == Precision::Int16x16 {
            let wide = WideWeights::of(weights, bias.len(), from.limit);
            if !wide.fit(from.limit) {
                return Err(PackError::Quantize {
                    node: node.name.clone(),
                    reason: "sums more products than int32 holds of int16: use --precision int16 or fp32"
                        .into(),
                });
            }
            let packed = panels(shape, &wide.weights).into_iter().flat_map(i16::to_le_bytes).collect();
            (2, packed, wide.scales, bias.to_vec())
        } else {
            let quantized = self.weights(node)?;
            let packed = panels(shape, &quantized.weights).into_iter().map(|w| w as u8).collect();
            (1, packed, quantized.scales.clone(), quantized.dequantized_bias(from.symmetric()))
        };
        let residual = match node.inputs.get(1) {
            Some(&added) => Some(plan::ResidualI16 {
                span: self.ordered(&node.name, added, &order)?,
                scale: self.quant16(added).scale,
            }),
            None => None,
        };
        let multiplier = scales.iter().map(|scale| (from.scale * scale).max(f32::MIN_POSITIVE));
        let op = plan::ConvI16 {
            input,
            output: self.value_buffer(node.output)?,
            window: window(shape),
            groups: shape.groups as u32,
            weight_bytes,
            weights: self.constant(packed),
            multiplier: self.f32_constant(multiplier),
            bias: self.f32_constant(bias),
            residual,
            stored: self.stored_clamped(node),
        };
        self.lowered.macs += shape.macs();
        self.node_step(node, plan::Op::ConvI16(op));
        self.store(node.output, op.output, order);
        Ok(())
    }

    /// The step of a pooling or mean of int16.
    pub(super) fn int16_pool(&mut self, node: &Node, pool: plan::PoolF32) {
        let (from, to) = (self.quant16(node.inputs[0]).scale, self.quant16(node.output).scale);
        let op = plan::PoolI16 { pool, multiplier: from / to, bounds: self.bounds16(node) };
        self.node_step(node, plan::Op::PoolI16(op));
    }

    /// A value of int16 as f32.
    pub(super) fn dequantized(&mut self, name: &str, id: ValueId, buffer: plan::Span) -> Result<plan::Span> {
        let output = self.buffer(name, self.elems(id) * 4)?;
        let (from, to) = (self.elements(id), plan::Stored::F32);
        let mut program = Program::default();
        program.load(0, 0);
        self.program_step(name, &[(buffer, from)], (output, to), &program);
        Ok(output)
    }

    /// A value of int16 at the scale of another.
    pub(super) fn rescaled(
        &mut self,
        name: &str,
        id: ValueId,
        buffer: plan::Span,
        like: ValueId,
    ) -> Result<plan::Span> {
        let output = self.value_buffer(id)?;
        let (from, to) = (self.elements(id), self.stored_as(like));
        let mut program = Program::default();
        program.load(0, 0);
        self.program_step(name, &[(buffer, from)], (output, to), &program);
        Ok(output)
    }
}

/// ONNX's weights `[out_channels, in_channels / groups, kh, kw]` as a package has them: in panels of channels
/// and pairs of terms.
fn panels<W: Copy + Default>(shape: &ConvShape, weights: &[W]) -> Vec<W> {
    let (taps, k) = (shape.taps(), shape.group_in_channels());
    let mut packed = vec![W::default(); weight_elems(shape)];
    for (i, &w) in weights.iter().enumerate() {
        let (channel, c, tap) = (i / (k * taps), i / taps % k, i % taps);
        packed[weight_place(shape, channel, [tap / shape.kernel_w, tap % shape.kernel_w], c)] = w;
    }
    packed
}
