//! Every node that is no product.

use edgepack_format::plan::{self, Operand};

use super::layout::{self, Order};
use super::{Lowering, Stored};
use crate::error::Result;
use crate::evaluate::broadcast_strides;
use crate::graph::{BinaryKind, Node, Op, PoolKind, Precision, ValueId, Window, as_nchw};
use crate::memory::{Access, arena_spans};
use crate::quant::Quant;
use crate::quantize::{Repr, factor, quant_of_constant, rescaled};
use crate::unary::{Comparison, Unary};

/// One operand of a node of two.
struct BinaryOperand {
    operand: Operand,
    /// By axis of the output: distance in elements, 0 where it is broadcast.
    strides: Vec<usize>,
    quant: Quant,
}

/// What a step of two operands makes.
struct Made {
    scale: f32,
    range: plan::Range,
    output: plan::Span,
}

impl Lowering<'_> {
    pub(super) fn node(&mut self, node: &Node) -> Result<()> {
        let is_alias = factor(node).is_some() && self.keeps_integers(node);
        if node.precision != Precision::Int8 && !is_alias && self.float_node(node)? {
            return Ok(());
        }
        match &node.op {
            Op::Conv(conv) => self.conv(node, conv),
            Op::FullyConnected(fc) => self.fully_connected(node, fc),
            // A pass has made convolutions of these; their meaning is that of one with two operands.
            Op::ChannelAffine { .. } => Err(self.too_large(&node.name)),
            Op::Binary(kind) => self.binary(node, *kind),
            Op::Select => self.select(node),
            Op::Unary(_) if is_alias => {
                // The same integers at another scale.
                for Stored { buffer, order } in self.stored.get(&node.inputs[0]).cloned().unwrap_or_default()
                {
                    self.store(node.output, buffer, order);
                }
                self.any(node.output).map(|_| ())
            }
            Op::Unary(function) => self.unary(node, function),
            Op::Pool(kind, window) => self.pool(node, *kind, window),
            Op::ReduceMean { first, count } => self.reduce_mean(node, *first, *count),
            Op::Pad { pads, value } => self.pad(node, pads, *value),
            Op::Concat { axis } => self.concat(node, *axis),
            Op::Reshape => self.reshape(node),
            Op::Transpose { perm } => {
                for stored in self.stored.get(&node.inputs[0]).cloned().unwrap_or_default() {
                    self.store(node.output, stored.buffer, stored.order.transposed(perm));
                }
                self.any(node.output).map(|_| ())
            }
            Op::Softmax { axis } => self.softmax(node, *axis),
            Op::MatMul => self.mat_mul(node),
            Op::LayerNorm(norm) => self.layer_norm(node, norm),
            Op::Recurrent(layer) => self.recurrent(node, layer),
            Op::FinalCell(_) => self.final_cell(node),
            Op::Slice { starts, steps } => self.slice(node, starts, steps),
            Op::Cast => self.cast(node),
            Op::Take { indices } => self.take(node, indices),
            Op::Embed { table } => self.embed(node, table),
            Op::Gather { axis } => self.gather(node, *axis),
            Op::Scatter => self.scatter(node),
            Op::TopK(top_k) => self.top_k(node, top_k),
            Op::NonMaxSuppression(of) => self.suppression(node, of),
            Op::Island { island, output } => self.island(node, island, *output),
        }
    }

    /// The same bytes, where each axis becomes neighbours in storage; else a copy in an order in which they do.
    fn reshape(&mut self, node: &Node) -> Result<()> {
        let input = node.inputs[0];
        let (dims, output_dims) = (self.dims(input), self.dims(node.output));
        let stored = self.any(input)?;
        if let Some(order) = stored.order.reshaped(dims, output_dims) {
            self.store(node.output, stored.buffer, order);
            return Ok(());
        }
        // The order in which the result is wanted, if the input can lie so.
        let wanted = self.wanted(node.output).reshaped(output_dims, dims);
        let order = wanted.unwrap_or(Order::identity(dims.len()));
        let buffer = self.ordered(&node.name, input, &order)?;
        let order = order.reshaped(dims, output_dims).unwrap_or(Order::identity(output_dims.len()));
        self.store(node.output, buffer, order);
        Ok(())
    }

    /// Whether the representation of a node's result is that of its input but for the factor between them.
    fn keeps_integers(&self, node: &Node) -> bool {
        match (self.scheme.reprs[node.inputs[0].0], self.scheme.reprs[node.output.0]) {
            (Some(Repr::I8(from)), Some(Repr::I8(to))) => rescaled(from, node) == to,
            (Some(Repr::I16(from)), Some(Repr::I16(to))) => {
                rescaled(from.symmetric(), node) == to.symmetric() && from.limit <= to.limit
            }
            _ => false,
        }
    }

    fn unary(&mut self, node: &Node, function: &Unary) -> Result<()> {
        let from = self.quant(node.inputs[0]);
        let input = self.any(node.inputs[0])?;
        self.table(node, input, |q| function.apply(from.dequantize(q)))
    }

    /// A function of int8 values, by a table.
    fn table(&mut self, node: &Node, input: Stored, function: impl Fn(i32) -> f32) -> Result<()> {
        let Stored { buffer, order } = input;
        let to_f32 = self.is_wide(node.output);
        let results = (-128..=127).map(|q| {
            let y = function(q).max(node.clamp.min).min(node.clamp.max);
            // Outside its domain a function has no value; calibration has seen none of it.
            if y.is_nan() { 0.0 } else { y }
        });
        let table = if to_f32 {
            self.f32_constant(results.map(|y| y.clamp(f32::MIN, f32::MAX)))
        } else {
            let quant = self.quant(node.output);
            self.i8_constant(results.map(|y| quant.quantize(y)))
        };
        let output = self.value_buffer(node.output)?;
        self.node_step(node, plan::Op::Lookup(plan::Lookup { input: buffer, output, table, to_f32 }));
        self.store(node.output, output, order);
        Ok(())
    }

    fn binary(&mut self, node: &Node, kind: BinaryKind) -> Result<()> {
        if let BinaryKind::Compare(comparison) = kind {
            return self.comparison(node, comparison);
        }
        let output = self.value_buffer(node.output)?;
        let made = Made { scale: self.quant(node.output).scale, range: self.range(node), output };
        let order = self.binary_step(node, kind, made)?;
        self.store(node.output, output, order);
        Ok(())
    }

    /// The sign of a difference, by a table: it saturates, at steps so much finer than those of the operands that
    /// what these stand for compares as in f32. Of one scale their int8 values do so exactly.
    fn comparison(&mut self, node: &Node, comparison: Comparison) -> Result<()> {
        let [left, right] = [0, 1].map(|i| self.operand_quant(node.inputs[i]).scale);
        let range = plan::Range { zero_point: 0, min: -128, max: 127 };
        let difference = self.buffer(&node.name, self.elems(node.output))?;
        let made = Made { scale: left.max(right) / 65_536.0, range, output: difference };
        let order = self.binary_step(node, BinaryKind::Sub, made)?;
        let holds = |q: i32| if comparison.holds(q.into(), 0.0) { 1.0 } else { 0.0 };
        self.table(node, Stored { buffer: difference, order }, holds)
    }

    /// The order in which the result lies.
    fn binary_step(&mut self, node: &Node, kind: BinaryKind, made: Made) -> Result<Order> {
        let output_dims = self.dims(node.output);
        // The output is stored as the operand that has its shape, so that at least that one is walked
        // through in order.
        let like = |id: &&ValueId| self.dims(**id) == output_dims && self.stored.contains_key(id);
        let order = match node.inputs.iter().find(like) {
            Some(&id) => self.any(id)?.order,
            None => Order::identity(output_dims.len()),
        };
        let [first, second] = [0, 1].map(|i| self.operand(node, node.inputs[i]));
        let (first, second) = (first?, second?);
        let to = made.scale as f64;
        let ratio = |scale: f64| (scale / to) as f32;
        let (of_first, of_second) = (first.quant.scale as f64, second.quant.scale as f64);
        let mut multipliers = match kind {
            BinaryKind::Add | BinaryKind::Mul => [ratio(of_first), ratio(of_second)],
            BinaryKind::Sub => [ratio(of_first), -ratio(of_second)],
            // Of integers, which are f32; and a comparison is a difference first.
            BinaryKind::Div | BinaryKind::Compare(_) => return Err(self.too_large(&node.name)),
        };
        // What is broadcast stands on the right: the other one may then be overwritten, and kernels need
        // to know one case. Of two whole ones, what the step before has made stands on the left: it is
        // still at hand. Sum and product are the same bits either way.
        let is_whole = |id: ValueId| self.dims(id) == output_dims && self.graph.value(id).constant.is_none();
        let (mut lhs, mut rhs) = (first, second);
        if is_whole(node.inputs[1]) && (!is_whole(node.inputs[0]) || self.is_newest(&rhs.operand)) {
            (lhs, rhs) = (rhs, lhs);
            multipliers.reverse();
        }
        let stored = |by_axis: &[usize]| order.0.iter().map(|&axis| by_axis[axis]).collect::<Vec<_>>();
        let own = stored(&order.strides(output_dims));
        let (dims, strides) = layout::collapse(
            &order.stored_dims(output_dims),
            &[own, stored(&lhs.strides), stored(&rhs.strides)],
        );
        let [lhs_multiplier, rhs_multiplier] = multipliers;
        let op = match kind {
            BinaryKind::Add | BinaryKind::Sub => plan::BinaryOp::Add { lhs_multiplier, rhs_multiplier },
            _ => plan::BinaryOp::Mul { multiplier: seven_bits(ratio(of_first * of_second)) },
        };
        let too_large = || self.too_large(&node.name);
        let binary = plan::Binary {
            op,
            lhs: lhs.operand,
            rhs: rhs.operand,
            lhs_zero_point: lhs.quant.zero_point as i8,
            rhs_zero_point: rhs.quant.zero_point as i8,
            range: made.range,
            dims: layout::right_aligned(&dims, 1).ok_or_else(too_large)?,
            lhs_strides: layout::right_aligned(&strides[1], 0).ok_or_else(too_large)?,
            rhs_strides: layout::right_aligned(&strides[2], 0).ok_or_else(too_large)?,
            output: made.output,
        };
        self.node_step(node, plan::Op::Binary(binary));
        Ok(order)
    }

    /// Whether the last step has written an operand.
    fn is_newest(&self, operand: &Operand) -> bool {
        let Operand::Arena(read) = operand else { return false };
        let written = self.lowered.steps.last().map(|step| arena_spans(&step.op)).unwrap_or_default();
        written.iter().any(|(access, span)| *access == Access::Write && span.offset == read.offset)
    }

    /// Constants have the scale of their range.
    fn operand_quant(&self, id: ValueId) -> Quant {
        self.graph.value(id).constant.as_ref().map_or_else(|| self.quant(id), quant_of_constant)
    }

    fn operand(&mut self, node: &Node, id: ValueId) -> Result<BinaryOperand> {
        let output_dims = self.dims(node.output);
        let dims = self.dims(id);
        let lead = output_dims.len() - dims.len();
        if let Some(constant) = &self.graph.value(id).constant {
            let quant = self.operand_quant(id);
            let operand =
                Operand::Constant(self.i8_constant(constant.data.iter().map(|&x| quant.quantize(x))));
            return Ok(BinaryOperand { operand, strides: broadcast_strides(dims, output_dims), quant });
        }
        let stored = self.any(id)?;
        let own = stored.order.strides(dims);
        let stride = |axis: usize| match axis.checked_sub(lead) {
            Some(axis) if dims[axis] != 1 => own[axis],
            _ => 0,
        };
        let strides = (0..output_dims.len()).map(stride).collect();
        Ok(BinaryOperand { operand: Operand::Arena(stored.buffer), strides, quant: self.quant(id) })
    }

    fn pool(&mut self, node: &Node, kind: PoolKind, window: &Window) -> Result<()> {
        let input = node.inputs[0];
        let order = Order::channels_last(self.dims(input).len());
        let from = self.ordered(&node.name, input, &order)?;
        let nhwc = |[n, c, h, w]: [usize; 4]| [n, h, w, c].map(|d| d as u32);
        let input_dims = as_nchw(self.dims(input)).map(nhwc).ok_or_else(|| self.too_large(&node.name))?;
        let output_dims =
            as_nchw(self.dims(node.output)).map(nhwc).ok_or_else(|| self.too_large(&node.name))?;
        let op = match kind {
            PoolKind::Max => plan::PoolOp::Max,
            PoolKind::Average { count_include_pad } => self.average(node, count_include_pad),
        };
        let [top, left, bottom, right] = window.pads.map(|d| d as u32);
        let pool = plan::Pool {
            op,
            input: from,
            output: self.value_buffer(node.output)?,
            window: plan::Window {
                input_dims,
                output_dims,
                kernel: window.kernel.map(|d| d as u32),
                stride: window.stride.map(|d| d as u32),
                dilation: window.dilation.map(|d| d as u32),
                pad: [top, left],
            },
            pad_after: [bottom, right],
        };
        self.pool_step(node, pool);
        self.store(node.output, pool.output, order);
        Ok(())
    }

    fn pool_step(&mut self, node: &Node, pool: plan::Pool) {
        match node.precision {
            Precision::Int8 => self.node_step(node, plan::Op::Pool(pool)),
            Precision::Int16 | Precision::Int16x16 => self.int16_pool(node, pool_f32(&pool)),
            _ => self.node_step(node, plan::Op::PoolF32(pool_f32(&pool))),
        }
    }

    fn average(&self, node: &Node, count_include_pad: bool) -> plan::PoolOp {
        let (from, to) = (self.quant(node.inputs[0]), self.quant(node.output));
        plan::PoolOp::Average {
            input_zero_point: from.zero_point as i8,
            multiplier: (from.scale as f64 / to.scale as f64) as f32,
            count_include_pad,
            range: self.range(node),
        }
    }

    /// A mean over adjacent axes is a pooling over `[outer, reduced, 1, inner]`.
    fn reduce_mean(&mut self, node: &Node, first: usize, count: usize) -> Result<()> {
        let input = node.inputs[0];
        let dims = self.dims(input);
        let is_reduced = |axis: &usize| (first..first + count).contains(axis);
        let together = |order: &Order| {
            let marks: Vec<bool> = order.significant(dims).iter().map(is_reduced).collect();
            marks.windows(2).filter(|pair| pair[0] != pair[1]).count()
                + (marks.first() == Some(&true)) as usize
                <= 2
        };
        let order = Some(self.any(input)?.order).filter(together).unwrap_or(Order::identity(dims.len()));
        let from = self.ordered(&node.name, input, &order)?;
        let significant = order.significant(dims);
        let start = significant.iter().position(is_reduced).unwrap_or(significant.len());
        let end = start + significant[start..].iter().take_while(|axis| is_reduced(axis)).count();
        let size = |axes: &[usize]| axes.iter().map(|&axis| dims[axis]).product::<usize>() as u32;
        let (outer, reduced) = (size(&significant[..start]), size(&significant[start..end]));
        let inner = size(&significant[end..]);
        let pool = plan::Pool {
            op: self.average(node, false),
            input: from,
            output: self.value_buffer(node.output)?,
            window: plan::Window {
                input_dims: [outer, reduced, 1, inner],
                output_dims: [outer, 1, 1, inner],
                kernel: [reduced, 1],
                stride: [1, 1],
                dilation: [1, 1],
                pad: [0; 2],
            },
            pad_after: [0; 2],
        };
        // The axes that are left keep their order; whether ONNX keeps the others as 1 or drops them.
        let left = order.0.iter().copied().filter(|axis| !is_reduced(axis));
        let output_order = if self.dims(node.output).len() == dims.len() {
            Order(left.chain(first..first + count).collect())
        } else {
            Order(left.map(|axis| if axis < first { axis } else { axis - count }).collect())
        };
        self.pool_step(node, pool);
        self.store(node.output, pool.output, output_order);
        Ok(())
    }

    fn pad(&mut self, node: &Node, pads: &[[usize; 2]], value: f32) -> Result<()> {
        let input = node.inputs[0];
        let Stored { buffer, order } = self.any(input)?;
        let output = self.value_buffer(node.output)?;
        match node.precision {
            Precision::Int8 => {
                let fill = plan::Fill { output, value: self.quant(node.output).quantize(value) };
                self.node_step(node, plan::Op::Fill(fill));
            }
            _ => self.float_fill(node, output, value),
        }
        let (dims, output_dims) = (self.dims(input), self.dims(node.output));
        let (from, to) = (order.strides(dims), order.strides(output_dims));
        let start = pads.iter().zip(&to).map(|(pad, stride)| pad[0] * stride).sum();
        let block: Vec<_> = order.0.iter().map(|&axis| (dims[axis], from[axis], to[axis])).collect();
        let copy = self.copy(&node.name, buffer, output, &block, [0, start], self.elem_bytes(input))?;
        self.node_step(node, plan::Op::Copy(copy));
        self.store(node.output, output, order);
        Ok(())
    }

    fn concat(&mut self, node: &Node, axis: usize) -> Result<()> {
        let output_dims = self.dims(node.output);
        let order = self.any(node.inputs[0])?.order;
        let to = order.strides(output_dims);
        let output = self.value_buffer(node.output)?;
        let to_quant = self.quant(node.output);
        let mut position = 0;
        for &input in &node.inputs {
            let dims = self.dims(input);
            let stored = self.any(input)?;
            let from = stored.order.strides(dims);
            let block: Vec<_> = order.0.iter().map(|&axis| (dims[axis], from[axis], to[axis])).collect();
            let start = position * to[axis];
            let elem_bytes = self.elem_bytes(input);
            let scale16 = |id: ValueId| self.scheme.int16(id).map(|quant| quant.scale);
            let from_buffer = match scale16(input) != scale16(node.output) {
                true => self.rescaled(&node.name, input, stored.buffer, node.output)?,
                false => stored.buffer,
            };
            let mut copy = self.copy(&node.name, from_buffer, output, &block, [0, start], elem_bytes)?;
            let quant = self.quant(input);
            if elem_bytes == 1 && quant != to_quant {
                let table = (-128..=127).map(|q| to_quant.quantize(quant.dequantize(q)));
                copy.table = Some(self.i8_constant(table));
            }
            self.node_step(node, plan::Op::Copy(copy));
            position += dims[axis];
        }
        self.store(node.output, output, order);
        Ok(())
    }

    fn softmax(&mut self, node: &Node, axis: usize) -> Result<()> {
        let input = node.inputs[0];
        let dims = self.dims(input);
        let order = self.any(input)?.order;
        let order = match order.significant(dims).last() {
            Some(&last) if last == axis => order,
            _ => order.with_last(axis),
        };
        let from = self.ordered(&node.name, input, &order)?;
        let source = if self.is_wide(input) {
            plan::SoftmaxInput::F32(from)
        } else {
            let scale = self.quant(input).scale as f64;
            let exponential = |d: u32| ((-f64::from(d) * scale).exp() * 65535.0).round_ties_even() as u16;
            let table = self.constant((0..256).flat_map(|d| exponential(d).to_le_bytes()).collect());
            plan::SoftmaxInput::I8 { input: from, table }
        };
        let output = self.value_buffer(node.output)?;
        let target = if self.is_wide(node.output) {
            plan::SoftmaxOutput::F32(output)
        } else {
            let multiplier = 1.0 / self.quant(node.output).scale;
            plan::SoftmaxOutput::I8 { output, multiplier, range: self.range(node) }
        };
        let softmax = plan::Softmax { input: source, output: target, channels: dims[axis] as u32 };
        self.node_step(node, plan::Op::Softmax(softmax));
        self.store(node.output, output, order);
        Ok(())
    }
}

/// The same of f32.
fn pool_f32(pool: &plan::Pool) -> plan::PoolF32 {
    let op = match pool.op {
        plan::PoolOp::Max => plan::PoolF32Op::Max,
        plan::PoolOp::Average { count_include_pad, .. } => plan::PoolF32Op::Average { count_include_pad },
    };
    let &plan::Pool { input, output, window, pad_after, .. } = pool;
    plan::PoolF32 { op, input, output, window, pad_after }
}

/// A multiplier that was to have at most seven bits, and lost them when its scales became f32.
fn seven_bits(multiplier: f32) -> f32 {
    let bits = multiplier.to_bits();
    let short = (bits + (1 << 16)) & !((1 << 17) - 1);
    if bits.abs_diff(short) <= 4 { f32::from_bits(short) } else { multiplier }
}
