//! Products of two tensors and layer normalizations.

use edgepack_engine::mat_mul_shape;
use edgepack_format::plan;
use edgepack_kernels::conv::matmul::scratch_bytes;
use edgepack_kernels::layer_norm::MAX_CHANNELS;

use super::layout::{Order, collapse};
use super::{Lowering, Stored};
use crate::error::{PackError, Result};
use crate::graph::{LayerNorm, Node, Precision, ValueId};

/// More products of a distance from the zero point, at most 255, and a value in [-127, 127] could
/// overflow 32 bits.
const MAX_DEPTH: usize = i32::MAX as usize / (255 * 127);

impl Lowering<'_> {
    /// Operands and output are walked through as they lie: only columns of the left operand and of the
    /// output must be contiguous. So heads that were split and transposed are nothing but strides.
    pub(super) fn mat_mul(&mut self, node: &Node) -> Result<()> {
        let [lhs, rhs] = [node.inputs[0], node.inputs[1]];
        let output_dims = self.dims(node.output);
        let rank = output_dims.len();
        let (lhs_rank, rhs_rank) = (self.dims(lhs).len(), self.dims(rhs).len());
        let (m, k, n) = (output_dims[rank - 2], self.dims(lhs)[lhs_rank - 1], output_dims[rank - 1]);
        if k > MAX_DEPTH && node.precision == Precision::Int8 {
            return Err(PackError::Quantize {
                node: node.name.clone(),
                reason: format!("sums {k} products, which could overflow 32 bits: split it"),
            });
        }
        let left = self.with_contiguous(&node.name, lhs, lhs_rank - 1)?;
        let right = self.any(rhs)?;
        let order = self.wanted(node.output);
        let order = match order.significant(output_dims).last() {
            Some(&last) if last == rank - 1 || n == 1 => order.with_last(rank - 1),
            _ => Order::identity(rank),
        };
        let (left_strides, right_strides) =
            (left.order.strides(self.dims(lhs)), right.order.strides(self.dims(rhs)));
        let output_strides = order.strides(output_dims);
        let batch = |id: ValueId, strides: &[usize]| {
            let dims = self.dims(id);
            let lead = rank - dims.len();
            let stride = |axis: usize| match axis.checked_sub(lead) {
                Some(axis) if dims[axis] != 1 => strides[axis],
                _ => 0,
            };
            (0..rank - 2).map(stride).collect::<Vec<usize>>()
        };
        let batches =
            [batch(lhs, &left_strides), batch(rhs, &right_strides), output_strides[..rank - 2].to_vec()];
        let (dims, strides) = collapse(&output_dims[..rank - 2], &batches);
        if dims.len() > 2 {
            return Err(self.too_large(&node.name));
        }
        let two =
            |values: &[usize], fill| super::layout::right_aligned::<2>(values, fill).unwrap_or_default();
        let [[x, y], [u, v], [p, q]] = [0, 1, 2].map(|operand| two(&strides[operand], 0));
        let (from, by) = (self.quant(lhs), self.quant(rhs));
        let wide = self.is_wide(node.output);
        let to = if wide { 1.0 } else { f64::from(self.quant(node.output).scale) };
        let multiplier = f64::from(from.scale) * f64::from(by.scale) / to;
        let product = plan::MatMul {
            lhs: left.buffer,
            rhs: right.buffer,
            output: self.value_buffer(node.output)?,
            geometry: plan::MatMulGeometry {
                batch: two(&dims, 1),
                sizes: [m, k, n].map(|size| size as u32),
                lhs_strides: [x, y, left_strides[lhs_rank - 2] as u32],
                rhs_strides: [u, v, right_strides[rhs_rank - 2] as u32, right_strides[rhs_rank - 1] as u32],
                output_strides: [p, q, output_strides[rank - 2] as u32],
            },
            lhs_zero_point: from.zero_point as i8,
            multiplier: multiplier.clamp(f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX)) as f32,
            range: (!wide).then(|| self.range(node)),
        };
        let shape = mat_mul_shape(&product.geometry);
        if node.precision.has_f32_values() {
            self.lowered.macs += shape.macs();
            self.float_mat_mul(node, &product)?;
            self.store(node.output, product.output, order);
            return Ok(());
        }
        let scratch = self.buffer(&node.name, scratch_bytes(&shape))?;
        self.lowered.macs += shape.macs();
        self.node_step(node, plan::Op::MatMul(product));
        if let Some(step) = self.lowered.steps.last_mut() {
            step.scratch = scratch;
        }
        self.store(node.output, product.output, order);
        Ok(())
    }

    /// A stored copy in which neighbours along an axis are neighbours in memory.
    fn with_contiguous(&mut self, name: &str, id: ValueId, axis: usize) -> Result<Stored> {
        let dims = self.dims(id);
        let any = self.any(id)?;
        let is_contiguous = |stored: &&Stored| dims[axis] == 1 || stored.order.strides(dims)[axis] == 1;
        if let Some(stored) = self.stored.get(&id).and_then(|copies| copies.iter().find(is_contiguous)) {
            return Ok(stored.clone());
        }
        let order = any.order.with_last(axis);
        Ok(Stored { buffer: self.ordered(name, id, &order)?, order })
    }

    pub(super) fn layer_norm(&mut self, node: &Node, norm: &LayerNorm) -> Result<()> {
        let input = node.inputs[0];
        let dims = self.dims(input);
        let channels = norm.gamma.len();
        if channels > MAX_CHANNELS && node.precision == Precision::Int8 {
            return Err(PackError::Quantize {
                node: node.name.clone(),
                reason: format!(
                    "normalizes over {channels} values; edgepack does over {MAX_CHANNELS}: split them"
                ),
            });
        }
        // The normalized axes must be the innermost ones, in the model's order; the others may lie anyhow.
        let identity = Order::identity(dims.len());
        let order = self.any(input)?.order;
        let is_normalized = |axis: &usize| *axis >= norm.axis;
        let inner = |order: &Order| {
            order.significant(dims).into_iter().skip_while(|axis| !is_normalized(axis)).collect::<Vec<_>>()
        };
        let order = if inner(&order) == inner(&identity) { order } else { identity };
        let from = self.ordered(&node.name, input, &order)?;
        if node.precision.has_f32_values() {
            let output = self.value_buffer(node.output)?;
            self.float_layer_norm(node, [from, output], norm)?;
            self.store(node.output, output, order);
            return Ok(());
        }
        let (scale, to) = (f64::from(self.quant(input).scale), f64::from(self.quant(node.output).scale));
        let per_channel = |values: &[f32]| {
            let scaled = values.iter().map(|&x| f64::from(x) / to);
            scaled.map(|x| x.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32).collect::<Vec<f32>>()
        };
        let epsilon = f64::from(norm.epsilon) * (channels as f64 / scale).powi(2);
        let step = plan::LayerNorm {
            input: from,
            output: self.value_buffer(node.output)?,
            channels: channels as u32,
            gamma: self.f32_constant(per_channel(&norm.gamma)),
            beta: self.f32_constant(per_channel(&norm.beta)),
            epsilon: epsilon.clamp(f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX)) as f32,
            range: self.range(node),
        };
        self.node_step(node, plan::Op::LayerNorm(step));
        self.store(node.output, step.output, order);
        Ok(())
    }
}
