//! LSTM and GRU.

use edgepack_engine::recurrent_f32_scratch_bytes;
use edgepack_format::plan;
use edgepack_kernels::conv::rows;
use edgepack_kernels::recurrent::{self, RecurrentShape};

use super::Lowering;
use super::layout::Order;
use super::products::{overflow, scratch_bytes};
use crate::error::{PackError, Result};
use crate::graph::{Cell, Node, Precision, Recurrent};

/// The most that an initial state may be in a package.
const STATE_LIMIT: f32 = (1 << 20) as f32;

fn plan_cell(layer: &Recurrent) -> plan::Cell {
    match layer.cell {
        Cell::Lstm => plan::Cell::Lstm,
        Cell::Gru => plan::Cell::Gru,
    }
}

impl Lowering<'_> {
    fn recurrent_shape(&self, node: &Node, layer: &Recurrent) -> RecurrentShape {
        let dims = self.dims(node.inputs[0]);
        let cell = match layer.cell {
            Cell::Lstm => recurrent::Cell::Lstm,
            Cell::Gru => recurrent::Cell::Gru,
        };
        let hidden = dims[2] / cell.gates();
        RecurrentShape { cell, steps: dims[0], batch: dims[1], hidden, reverse: layer.reverse }
    }

    pub(super) fn recurrent(&mut self, node: &Node, layer: &Recurrent) -> Result<()> {
        let input = node.inputs[0];
        let from = self.ordered(&node.name, input, &Order::identity(self.dims(input).len()))?;
        let shape = self.recurrent_shape(node, layer);
        let quant = self.quant(node.output);
        let quantized = self.weights(node)?;
        let bias =
            quantized.folded_bias(quant.zero_point).map_err(|channel| overflow(node, channel, quantized))?;
        let multiplier = (quantized.scales.iter())
            .map(|&scale| (quant.scale as f64 * scale as f64).max(f32::MIN_POSITIVE as f64) as f32);
        let initial_state = match layer.cell {
            Cell::Lstm => &layer.initial_cell,
            Cell::Gru => &layer.initial_hidden,
        };
        let op = plan::Recurrent {
            cell: plan_cell(layer),
            input: from,
            output: self.value_buffer(node.output)?,
            state: self.buffer(&node.name, shape.state_elems() * 4)?,
            steps: shape.steps as u32,
            batch: shape.batch as u32,
            hidden: shape.hidden as u32,
            reverse: shape.reverse,
            weights: self.i8_constant(quantized.weights.iter().copied()),
            bias: self.constant(bias.iter().flat_map(|b| b.to_le_bytes()).collect()),
            multiplier: self.f32_constant(multiplier),
            initial_hidden: self.i8_constant(layer.initial_hidden.iter().map(|&h| quant.quantize(h))),
            initial_state: self
                .f32_constant(initial_state.iter().map(|&c| c.clamp(-STATE_LIMIT, STATE_LIMIT))),
            hidden_multiplier: (1.0 / quant.scale as f64) as f32,
            range: self.range(node),
        };
        // The most that any kernel of any processor asks for: one plan serves them all.
        let rows = rows().filter(|row| row.accepts(&shape.conv()));
        let scratch = rows.map(|row| shape.scratch_bytes(row)).max().unwrap_or(0);
        let scratch = self.buffer(&node.name, scratch)?;
        self.lowered.macs += shape.macs();
        self.node_step(node, plan::Op::Recurrent(op));
        if let Some(step) = self.lowered.steps.last_mut() {
            step.scratch = scratch;
        }
        self.store(node.output, op.output, Order::identity(4));
        self.final_states.insert(node.output, op.state);
        Ok(())
    }

    /// The same with hidden states of f32.
    pub(super) fn float_recurrent(&mut self, node: &Node, layer: &Recurrent) -> Result<()> {
        let input = node.inputs[0];
        let from = self.ordered(&node.name, input, &Order::identity(self.dims(input).len()))?;
        let shape = self.recurrent_shape(node, layer);
        let (weights, product, bias) = if node.precision == Precision::Dynamic {
            let quantized = self.weights(node)?;
            let sums = quantized.without_bias().folded_bias(0);
            let sums = sums.map_err(|channel| overflow(node, channel, quantized))?;
            let product = plan::RecurrentProduct::Dynamic {
                sums: self.constant(sums.iter().flat_map(|sum| sum.to_le_bytes()).collect()),
                multiplier: self.f32_constant(quantized.scales.iter().copied()),
            };
            let weights = self.i8_constant(quantized.weights.iter().copied());
            (weights, product, self.f32_constant(layer.bias.iter().copied()))
        } else {
            let (weights, format, bias) = self.float_weights(node, &shape.conv())?;
            (weights, plan::RecurrentProduct::F32(format), bias)
        };
        let limit = |state: &f32| state.clamp(-STATE_LIMIT, STATE_LIMIT);
        let initial_hidden = self.f32_constant(layer.initial_hidden.iter().map(limit));
        let op = plan::RecurrentF32 {
            cell: plan_cell(layer),
            input: from,
            output: self.value_buffer(node.output)?,
            state: self.buffer(&node.name, shape.state_elems() * 4)?,
            steps: shape.steps as u32,
            batch: shape.batch as u32,
            hidden: shape.hidden as u32,
            reverse: shape.reverse,
            weights,
            product,
            bias,
            initial_hidden,
            initial_state: match layer.cell {
                Cell::Lstm => self.f32_constant(layer.initial_cell.iter().map(limit)),
                Cell::Gru => initial_hidden,
            },
        };
        let row_bytes = scratch_bytes(&shape.conv());
        let scratch = self.buffer(&node.name, recurrent_f32_scratch_bytes(&op, row_bytes))?;
        self.lowered.macs += shape.macs();
        self.node_step(node, plan::Op::RecurrentF32(op));
        if let Some(step) = self.lowered.steps.last_mut() {
            step.scratch = scratch;
        }
        self.store(node.output, op.output, Order::identity(4));
        self.final_states.insert(node.output, op.state);
        Ok(())
    }

    /// The recurrent step has left the cell state where it is.
    pub(super) fn final_cell(&mut self, node: &Node) -> Result<()> {
        let state = self.final_states.get(&node.inputs[1]).copied();
        let Some(state) = state.filter(|_| self.is_wide(node.output)) else {
            return Err(PackError::Quantize {
                node: node.name.clone(),
                reason: "other nodes compute with its cell state Y_c, which edgepack only gives to the \
                         application: make it an output of the model, or export the model without it"
                    .into(),
            });
        };
        self.store(node.output, state, Order::identity(3));
        Ok(())
    }

    /// A copy of the elements that are taken, in the order in which the others lie.
    pub(super) fn slice(&mut self, node: &Node, starts: &[usize], steps: &[usize]) -> Result<()> {
        let input = node.inputs[0];
        let stored = self.any(input)?;
        let (dims, output_dims) = (self.dims(input), self.dims(node.output));
        let (from, to) = (stored.order.strides(dims), stored.order.strides(output_dims));
        let axes = stored.order.0.iter();
        let block: Vec<_> =
            axes.map(|&axis| (output_dims[axis], from[axis] * steps[axis], to[axis])).collect();
        let start = starts.iter().zip(&from).map(|(start, stride)| start * stride).sum();
        let output = self.value_buffer(node.output)?;
        let elem_bytes = self.elem_bytes(node.output);
        let copy = self.copy(&node.name, stored.buffer, output, &block, [start, 0], elem_bytes)?;
        self.node_step(node, plan::Op::Copy(copy));
        self.store(node.output, output, stored.order);
        Ok(())
    }
}
