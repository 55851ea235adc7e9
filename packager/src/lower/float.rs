//! Nodes that compute in f32, and the casts at their borders.

use edgepack_format::plan::{self, F32_PANEL, Function, Operand, WeightFormat};
use edgepack_kernels::conv::ConvShape;
use edgepack_kernels::float::product::weight_elems;
use edgepack_kernels::float::weights::scratch_elems;
use tract_onnx::prelude::f16;

use super::layout::{self, Order};
use super::products::window;
use super::program::Program;
use super::{Lowering, Stored};
use crate::error::{PackError, Result};
use crate::evaluate::broadcast_strides;
use crate::graph::{Clamp, Node, Op, Precision, ValueId};
use crate::quant::Quant;
use crate::quantize::{FLOAT_INPUT, Quant16, Repr, product_constants};
use crate::unary::Unary;

impl Lowering<'_> {
    /// The steps of a node of f32 that are not those of int8 with other elements; `false` where they are.
    pub(super) fn float_node(&mut self, node: &Node) -> Result<bool> {
        match &node.op {
            Op::Unary(function) => self.float_unary(node, function)?,
            Op::Binary(kind) => {
                let mut program = Program::default();
                program.load(0, 0).load(1, 1).binary(*kind, 0, 0, 1);
                self.program_of_all(node, program)?;
            }
            Op::Recurrent(layer) => self.float_recurrent(node, layer)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A value of f32 or int16 that the model itself rounds to a scale and zero point is rounded as it says.
    pub(super) fn round_as_given(&mut self, id: ValueId) -> Result<()> {
        let is_int8 = self.elem_bytes(id) == 1;
        let Some(given) = self.graph.value(id).given.filter(|_| !is_int8) else { return Ok(()) };
        let Stored { buffer, order } = self.any(id)?;
        let ends = [-128, 127].map(|end| (end - given.zero_point) as f32);
        let mut program = Program::default();
        program.load(0, 0).with(Function::Div, 0, 0, given.scale).apply(Function::Round, 0, 0, 0);
        program.clamp(0, Clamp { min: ends[0], max: ends[1] }).with(Function::Mul, 0, 0, given.scale);
        let output = self.value_buffer(id)?;
        let name = &self.graph.value(id).name;
        let (from, to) = (self.elements(id), self.stored_as(id));
        self.program_step(name, &[(buffer, from)], (output, to), &program);
        self.stored.insert(id, vec![Stored { buffer: output, order }]);
        Ok(())
    }

    /// The same values in another representation; where it is the same one, nothing.
    pub(super) fn cast(&mut self, node: &Node) -> Result<()> {
        let input = node.inputs[0];
        if self.scheme.reprs[input.0] == self.scheme.reprs[node.output.0] {
            for stored in self.stored.get(&input).cloned().unwrap_or_default() {
                self.store(node.output, stored.buffer, stored.order);
            }
            return self.any(node.output).map(|_| ());
        }
        self.each_element(node, &Unary::IDENTITY)
    }

    fn float_unary(&mut self, node: &Node, function: &Unary) -> Result<()> {
        self.each_element(node, function)
    }

    /// A function of each element of a node's input, from whatever it is represented in to whatever its
    /// output is.
    fn each_element(&mut self, node: &Node, function: &Unary) -> Result<()> {
        let Stored { buffer, order } = self.any(node.inputs[0])?;
        let mut program = Program::default();
        program.load(0, 0);
        if program.unary(function).is_none() {
            return Err(PackError::Quantize {
                node: node.name.clone(),
                reason: "is a function that f32 steps do not have: leave it in int8".into(),
            });
        }
        program.clamp(0, node.clamp);
        let elems = self.elems(node.output) as u32;
        let source = plan::Source {
            operand: Operand::Arena(buffer),
            elems: self.elements(node.inputs[0]),
            strides: [0, 0, 0, 1],
        };
        self.elementwise(node, [Some(source), None, None], [1, 1, 1, elems], &program, order)
    }

    /// What the elements of a value are, and stand for. Constants are f32.
    pub(super) fn elements(&self, id: ValueId) -> plan::Elems {
        match self.scheme.reprs[id.0] {
            Some(Repr::I8(Quant { scale, zero_point })) => {
                plan::Elems::I8(plan::Quant { scale, zero_point: zero_point as i8 })
            }
            Some(Repr::I16(Quant16 { scale, .. })) => plan::Elems::I16 { scale },
            Some(Repr::F32) | None => plan::Elems::F32,
        }
    }

    /// What the results of a value become.
    pub(super) fn stored_as(&self, id: ValueId) -> plan::Stored {
        let inverse = |scale: f32| (1.0 / f64::from(scale)) as f32;
        match self.scheme.reprs[id.0] {
            Some(Repr::I8(Quant { scale, zero_point })) => plan::Stored::I8 {
                multiplier: inverse(scale),
                range: plan::Range { zero_point: zero_point as i8, min: -128, max: 127 },
            },
            Some(Repr::I16(Quant16 { scale, limit })) => {
                plan::Stored::I16 { multiplier: inverse(scale), bounds: [-limit, limit] }
            }
            Some(Repr::F32) | None => plan::Stored::F32,
        }
    }

    fn elementwise(
        &mut self,
        node: &Node,
        sources: [Option<plan::Source>; 3],
        dims: [u32; 4],
        program: &Program,
        order: Order,
    ) -> Result<()> {
        let stored = self.stored_as(node.output);
        let output = self.value_buffer(node.output)?;
        let program = self.constant(program.bytes());
        let step = plan::Elementwise { sources, output, stored, dims, program };
        self.node_step(node, plan::Op::Elementwise(step));
        self.store(node.output, output, order);
        Ok(())
    }

    /// Of operands of any representation, each at its own scale: what is taken is rounded once, to that of the result.
    pub(super) fn select(&mut self, node: &Node) -> Result<()> {
        let mut program = Program::default();
        program.load(0, 0).load(1, 1).load(2, 2).apply(Function::Select, 0, 1, 2);
        self.program_of_all(node, program)
    }

    /// A program over what a node reads, broadcast to the shape of its output; the result is in register 0.
    fn program_of_all(&mut self, node: &Node, mut program: Program) -> Result<()> {
        let output_dims = self.dims(node.output);
        let like = |id: &&ValueId| self.dims(**id) == output_dims && self.stored.contains_key(id);
        let order = match node.inputs.iter().find(like) {
            Some(&id) => self.any(id)?.order,
            None => Order::identity(output_dims.len()),
        };
        let mut operands = Vec::with_capacity(node.inputs.len());
        for &id in &node.inputs {
            operands.push(self.float_operand(id, output_dims)?);
        }
        let stored = |by_axis: &[usize]| order.0.iter().map(|&axis| by_axis[axis]).collect::<Vec<_>>();
        let strides: Vec<_> = operands.iter().map(|(_, strides)| stored(strides)).collect();
        // The output is contiguous, and so must what is merged be in it.
        let own = stored(&order.strides(output_dims));
        let all: Vec<_> = [own].into_iter().chain(strides).collect();
        let (dims, strides) = layout::collapse(&order.stored_dims(output_dims), &all);
        let too_large = || self.too_large(&node.name);
        let mut sources = [None; 3];
        for (index, (&(operand, _), source)) in operands.iter().zip(&mut sources).enumerate() {
            let strides = layout::right_aligned(&strides[1 + index], 0).ok_or_else(too_large)?;
            // Constants are f32.
            let elems = self.elements(node.inputs[index]);
            *source = Some(plan::Source { operand, elems, strides });
        }
        let dims = layout::right_aligned(&dims, 1).ok_or_else(too_large)?;
        program.clamp(0, node.clamp);
        self.elementwise(node, sources, dims, &program, order)
    }

    /// An operand, and its strides by axis of the output.
    fn float_operand(&mut self, id: ValueId, output_dims: &[usize]) -> Result<(Operand, Vec<usize>)> {
        let dims = self.dims(id);
        if let Some(constant) = &self.graph.value(id).constant {
            let operand = Operand::Constant(self.f32_constant(constant.data.iter().copied()));
            return Ok((operand, broadcast_strides(dims, output_dims)));
        }
        let stored = self.any(id)?;
        let (own, lead) = (stored.order.strides(dims), output_dims.len() - dims.len());
        let stride = |axis: usize| match axis.checked_sub(lead) {
            Some(axis) if dims[axis] != 1 => own[axis],
            _ => 0,
        };
        Ok((Operand::Arena(stored.buffer), (0..output_dims.len()).map(stride).collect()))
    }

    pub(super) fn float_product(
        &mut self,
        node: &Node,
        input: plan::Span,
        shape: &ConvShape,
        order: Order,
    ) -> Result<()> {
        let (weights, format, bias) = self.float_weights(node, shape)?;
        let output = self.value_buffer(node.output)?;
        let added = match node.inputs.get(1) {
            Some(&added) => Some(self.ordered(&node.name, added, &order)?),
            None => None,
        };
        // What is added has a step of its own, which is then the one that clamps.
        let (target, bounds) = match added {
            Some(_) => (self.buffer(&node.name, output.bytes as usize)?, Clamp::NONE),
            None => (output, node.clamp),
        };
        let op = plan::ConvF32 {
            input,
            output: target,
            window: window(shape),
            groups: shape.groups as u32,
            weights,
            format,
            bias,
            bounds: [bounds.min, bounds.max],
        };
        self.lowered.macs += shape.macs();
        let scratch = self.panel_scratch(node, shape, format)?;
        self.node_step(node, plan::Op::ConvF32(op));
        if let Some(step) = self.lowered.steps.last_mut() {
            step.scratch = scratch;
        }
        if let Some(added) = added {
            self.add_clamped(node, [target, added], output);
        }
        self.store(node.output, output, order);
        Ok(())
    }

    /// A sum of two tensors of one order, clamped as the node is.
    pub(super) fn add_clamped(&mut self, node: &Node, summands: [plan::Span; 2], output: plan::Span) {
        let mut program = Program::default();
        program.load(0, 0).load(1, 1).apply(Function::Add, 0, 0, 1).clamp(0, node.clamp);
        self.f32_step(&node.name, &summands, output, &program);
    }

    /// The weights of a product in f32 as its precision stores them, and its bias.
    pub(super) fn float_weights(
        &mut self,
        node: &Node,
        shape: &ConvShape,
    ) -> Result<(plan::Span, WeightFormat, plan::Span)> {
        let Some((weights, bias)) = product_constants(node) else { return Err(self.too_large(&node.name)) };
        if node.precision == Precision::WeightsInt8 {
            let quantized = self.weights(node)?;
            // Nothing fits the products of recurrent layers: their biases are the model's.
            let bias = match node.op {
                Op::Recurrent(_) => bias.to_vec(),
                _ => quantized.dequantized_bias(FLOAT_INPUT),
            };
            let scales = self.f32_constant(quantized.scales.iter().copied());
            let values = self.i8_constant(panels(shape, &quantized.weights));
            return Ok((values, WeightFormat::I8 { scales }, self.f32_constant(bias)));
        }
        let bias = self.f32_constant(bias.iter().copied());
        if node.precision == Precision::WeightsF16 {
            let halves: Vec<f16> = weights.data.iter().map(|&w| f16::from_f32(w)).collect();
            // A weight beyond half precision's range keeps the whole product in f32.
            if halves.iter().all(|half| half.is_finite()) {
                let bits: Vec<u16> = halves.iter().map(|half| half.to_bits()).collect();
                let bytes = panels(shape, &bits).into_iter().flat_map(u16::to_le_bytes).collect();
                return Ok((self.constant(bytes), WeightFormat::F16, bias));
            }
        }
        Ok((self.f32_constant(panels(shape, &weights.data)), WeightFormat::F32, bias))
    }

    /// Room for a panel of weights that are not f32.
    fn panel_scratch(&mut self, node: &Node, shape: &ConvShape, format: WeightFormat) -> Result<plan::Span> {
        let elems = if format == WeightFormat::F32 { 0 } else { scratch_elems(shape) };
        self.buffer(&node.name, 4 * elems)
    }

    /// The step of a product of two tensors of f32.
    pub(super) fn float_mat_mul(&mut self, node: &Node, product: &plan::MatMul) -> Result<()> {
        let &plan::MatMul { lhs, rhs, geometry, .. } = product;
        let output = self.unclamped(node, product.output)?;
        let step = plan::MatMulF32 { lhs, rhs, output, geometry };
        let scratch = self.buffer(&node.name, geometry.sizes[1] as usize * F32_PANEL as usize * 4)?;
        self.node_step(node, plan::Op::MatMulF32(step));
        if let Some(step) = self.lowered.steps.last_mut() {
            step.scratch = scratch;
        }
        self.clamp_into(node, output, product.output);
        Ok(())
    }

    /// The step of a layer normalization of f32; gamma and beta are the model's.
    pub(super) fn float_layer_norm(
        &mut self,
        node: &Node,
        [input, output]: [plan::Span; 2],
        norm: &crate::graph::LayerNorm,
    ) -> Result<()> {
        let target = self.unclamped(node, output)?;
        let step = plan::LayerNormF32 {
            input,
            output: target,
            channels: norm.gamma.len() as u32,
            gamma: self.f32_constant(norm.gamma.iter().copied()),
            beta: self.f32_constant(norm.beta.iter().copied()),
            epsilon: norm.epsilon.max(0.0),
        };
        self.node_step(node, plan::Op::LayerNormF32(step));
        self.clamp_into(node, target, output);
        Ok(())
    }

    /// Where a step without bounds writes: the output, or what is clamped into it.
    fn unclamped(&mut self, node: &Node, output: plan::Span) -> Result<plan::Span> {
        if node.clamp == Clamp::NONE { Ok(output) } else { self.buffer(&node.name, output.bytes as usize) }
    }

    fn clamp_into(&mut self, node: &Node, from: plan::Span, output: plan::Span) {
        if from == output {
            return;
        }
        let mut program = Program::default();
        program.load(0, 0).clamp(0, node.clamp);
        self.f32_step(&node.name, &[from], output, &program);
    }

    /// Fills a tensor of f32 or int16.
    pub(super) fn float_fill(&mut self, node: &Node, output: plan::Span, value: f32) {
        let mut program = Program::default();
        program.constant(0, value);
        let to = self.stored_as(node.output);
        self.program_step(&node.name, &[], (output, to), &program);
    }

    /// A program over f32 tensors of one shape and order.
    fn f32_step(&mut self, name: &str, reads: &[plan::Span], output: plan::Span, program: &Program) {
        let reads: Vec<_> = reads.iter().map(|&read| (read, plan::Elems::F32)).collect();
        self.program_step(name, &reads, (output, plan::Stored::F32), program);
    }

    /// A program over tensors of one shape and order.
    pub(super) fn program_step(
        &mut self,
        name: &str,
        reads: &[(plan::Span, plan::Elems)],
        (output, stored): (plan::Span, plan::Stored),
        program: &Program,
    ) {
        let program = self.constant(program.bytes());
        let mut sources = [None; 3];
        for (&(read, elems), source) in reads.iter().zip(&mut sources) {
            let operand = Operand::Arena(read);
            *source = Some(plan::Source { operand, elems, strides: [0, 0, 0, 1] });
        }
        let dims = [1, 1, 1, output.bytes / stored.bytes()];
        let step = plan::Elementwise { sources, output, stored, dims, program };
        self.step(name, plan::Op::Elementwise(step));
    }
}

/// ONNX's weights `[out_channels, in_channels / groups, kh, kw]` as a package has them: in panels of
/// channels, the channels of a tap together.
fn panels<T: Copy + Default>(shape: &ConvShape, weights: &[T]) -> Vec<T> {
    let (taps, k, channels) = (shape.taps(), shape.group_in_channels(), shape.group_out_channels());
    if shape.is_depthwise() {
        let all = shape.out_channels;
        return (0..taps * all).map(|i| weights[i % all * taps + i / all]).collect();
    }
    let panel = F32_PANEL as usize;
    let mut packed = vec![T::default(); weight_elems(shape)];
    for channel in 0..shape.out_channels {
        let (group, within) = (channel / channels, channel % channels);
        let first = (group * channels.div_ceil(panel) + within / panel) * taps * k;
        for (tap, c) in (0..taps).flat_map(|tap| (0..k).map(move |c| (tap, c))) {
            packed[(first + tap * k + c) * panel + within % panel] = weights[(channel * k + c) * taps + tap];
        }
    }
    packed
}
