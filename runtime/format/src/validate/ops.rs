//! What must be true of each operation: the preconditions of its kernel.

use super::geometry::{self, Ends, OVERLAPS_INPUT};
use super::{Bounds, Check, end, extent, float, int16, integers, overlap, product, require};
use crate::operations::{Operation, OperationSet, Operations};
use crate::plan::{
    Binary, BinaryOp, Conv, Copy, LayerNorm, Lookup, MatMul, Op, Operand, Pool, PoolOp, Range, Recurrent,
    Softmax, SoftmaxInput, SoftmaxOutput, Span, Step,
};

pub(super) const TOO_LITTLE_SCRATCH: &str = "scratch, which is too small";

/// Bytes with those after them that lead to a multiple of 64.
pub(super) fn aligned(bytes: Option<u32>) -> Option<u32> {
    bytes.and_then(|bytes| bytes.checked_next_multiple_of(64))
}

/// A row of weights may not be longer: a dot product of int8 with int8 in [-127, 127] then stays
/// within 32 bits.
const MAX_DOT: u32 = i32::MAX as u32 / (128 * 127);

pub(super) fn step<O: Operations>(step: &Step<'_>, bounds: &Bounds<'_>) -> Check {
    let scratch = step.scratch;
    require(end(scratch).is_some_and(|end| end <= bounds.arena_bytes), "scratch")?;
    require(scratch.bytes == 0 || scratch.offset.is_multiple_of(64), "scratch")?;
    let apart = |span: Span| require(!overlap(scratch, span), "scratch, which overlaps a tensor");
    match &step.op {
        Op::Conv(op) if O::SET.intersects(OperationSet::CONVOLUTIONS) => {
            conv(op, bounds)?;
            apart(op.input)?;
            op.residual.map_or(Ok(()), |residual| apart(residual.span))?;
            apart(op.output)
        }
        Op::Binary(op) if O::SET.contains(Operation::Binary) => binary(op, bounds),
        Op::Lookup(op) if O::SET.contains(Operation::Lookup) => lookup(op, bounds),
        Op::Pool(op) if O::SET.contains(Operation::Pool) => pool(op, bounds),
        Op::Softmax(op) if O::SET.contains(Operation::Softmax) => softmax(op, bounds),
        Op::Fill(op) if O::SET.contains(Operation::Fill) => {
            bounds.arena(op.output, product(&[op.output.bytes]), 1, "output")
        }
        Op::Copy(op) if O::SET.contains(Operation::Copy) => copy(op, bounds),
        Op::MatMul(op) if O::SET.contains(Operation::MatMul) => {
            mat_mul(op, bounds)?;
            [op.lhs, op.rhs, op.output].into_iter().try_for_each(apart)
        }
        Op::LayerNorm(op) if O::SET.contains(Operation::LayerNorm) => layer_norm(op, bounds),
        Op::Recurrent(op) if O::SET.contains(Operation::Recurrent) => {
            recurrent(op, bounds)?;
            apart(op.input)?;
            apart(op.output)?;
            apart(op.state)?;
            // A step's product, in f32, lies there on every processor; rows may ask for more.
            let needed = aligned(product(&[op.batch, op.cell.gates(), op.hidden, 4]));
            require(needed.is_some_and(|needed| needed <= scratch.bytes), TOO_LITTLE_SCRATCH)
        }
        Op::Elementwise(op) if O::SET.contains(Operation::Elementwise) => float::elementwise(op, bounds),
        Op::ConvF32(op) if O::SET.contains(Operation::ConvF32) => {
            float::conv(op, bounds, scratch)?;
            [op.input, op.output].into_iter().try_for_each(apart)
        }
        Op::PoolF32(op) if O::SET.contains(Operation::PoolF32) => float::pool(op, 4, bounds),
        Op::MatMulF32(op) if O::SET.contains(Operation::MatMulF32) => {
            float::mat_mul(op, bounds, scratch)?;
            [op.lhs, op.rhs, op.output].into_iter().try_for_each(apart)
        }
        Op::LayerNormF32(op) if O::SET.contains(Operation::LayerNormF32) => float::layer_norm(op, bounds),
        Op::Convert(op) if O::SET.contains(Operation::Convert) => integers::convert(op, bounds),
        Op::Gather(op) if O::SET.contains(Operation::Gather) => integers::gather(op, bounds),
        Op::Scatter(op) if O::SET.contains(Operation::Scatter) => integers::scatter(op, bounds),
        Op::TopK(op) if O::SET.contains(Operation::TopK) => integers::top_k(op, bounds),
        Op::NonMaxSuppression(op) if O::SET.contains(Operation::NonMaxSuppression) => {
            integers::non_max_suppression(op, bounds, scratch)?;
            [op.boxes, op.scores, op.output].into_iter().try_for_each(apart)
        }
        Op::QuantizeRows(op) if O::SET.contains(Operation::QuantizeRows) => float::quantize_rows(op, bounds),
        Op::RescaleRows(op) if O::SET.contains(Operation::RescaleRows) => float::rescale_rows(op, bounds),
        Op::RecurrentF32(op) if O::SET.contains(Operation::RecurrentF32) => {
            float::recurrent(op, bounds, scratch)?;
            [op.input, op.output, op.state].into_iter().try_for_each(apart)
        }
        // Its section is not at hand here.
        Op::Island(_) if O::SET.contains(Operation::Island) => Ok(()),
        Op::ConvI16(op) if O::SET.contains(Operation::ConvI16) => int16::conv(op, bounds),
        Op::PoolI16(op) if O::SET.contains(Operation::PoolI16) => int16::pool(op, bounds),
        _ => Err("operation, which is not in the set"),
    }
}

pub(super) fn range(range: &Range) -> Check {
    require(range.min <= range.max, "range")
}

pub(super) fn positive(value: f32) -> bool {
    value.is_finite() && value > 0.0
}

fn conv(conv: &Conv, bounds: &Bounds<'_>) -> Check {
    let elem_bytes = if conv.range.is_some() { 1 } else { 4 };
    let ends = Ends { input: (conv.input, 1), output: (conv.output, elem_bytes) };
    let per_channel = geometry::conv(&conv.window, conv.groups, ends, bounds)?;
    let (groups, [.., out_c]) = (conv.groups, conv.window.output_dims);
    require(per_channel <= MAX_DOT, "kernel, which is too large")?;
    require(can_be_packed(groups, out_c / groups, per_channel), "kernel, too large to be packed")?;
    let weights = bounds.constant(conv.weights, per_channel.checked_mul(out_c), 1, "weights")?;
    require(!weights.contains(&0x80), "weights, of which one is -128")?;
    bounds.constant(conv.bias, Some(out_c), 4, "bias")?;
    bounds.floats(conv.multiplier, out_c, positive, "multiplier")?;
    conv.range.as_ref().map_or(Ok(()), range)?;
    if let Some(residual) = &conv.residual {
        require(conv.range.is_some() && !conv.is_depthwise(), "residual, where there can be none")?;
        bounds.arena(residual.span, product(&conv.window.output_dims), 1, "residual")?;
        let apart = residual.span == conv.output || !overlap(residual.span, conv.output);
        require(apart, "output, which overlaps the residual")?;
        require(is_residual_multiplier(residual.multiplier), "residual's multiplier")?;
    }
    Ok(())
}

/// Whether a residual may have this multiplier: then its product with an int8 value is exact.
fn is_residual_multiplier(multiplier: f32) -> bool {
    let is_short = multiplier.to_bits() & 0x7f == 0;
    is_short && (1.0 / (1u64 << 32) as f32..=65536.0).contains(&multiplier)
}

/// Whether the weights stay below 2 GiB in every layout: kernels count their bytes in 32 bits on some
/// processors. Few channels a group fill panels of many channels mostly with zeros.
fn can_be_packed(groups: u32, group_out_channels: u32, per_channel: u32) -> bool {
    // Taps of one value are padded to four; 16 channels have up to four panels, each with 8 bytes of bias
    // and multiplier a channel and padded to 64.
    let row_bytes = 8 + per_channel.next_multiple_of(8) as u64 * 4;
    let panel_bytes = 16 * row_bytes + 4 * 64;
    let panels = groups as u64 * group_out_channels.div_ceil(16) as u64;
    panels * panel_bytes <= i32::MAX as u64
}

fn binary(binary: &Binary, bounds: &Bounds<'_>) -> Check {
    let elems = product(&binary.dims);
    bounds.arena(binary.output, elems, 1, "output")?;
    range(&binary.range)?;
    let finite = match binary.op {
        BinaryOp::Add { lhs_multiplier, rhs_multiplier } => {
            lhs_multiplier.is_finite() && rhs_multiplier.is_finite()
        }
        BinaryOp::Mul { multiplier } => multiplier.is_finite(),
    };
    require(finite, "multiplier")?;
    let [_, d1, d2, d3] = binary.dims;
    // `product` has bounded these.
    let contiguous = |strides: &[u32; 4]| {
        let own = [d1 * d2 * d3, d2 * d3, d3, 1];
        (0..4).all(|axis| binary.dims[axis] == 1 || strides[axis] == own[axis])
    };
    for (is_left, operand, strides) in
        [(true, binary.lhs, &binary.lhs_strides), (false, binary.rhs, &binary.rhs_strides)]
    {
        let needed = extent(0, &binary.dims, strides);
        let field = if is_left { "lhs" } else { "rhs" };
        match operand {
            Operand::Constant(span) => {
                bounds.constant(span, Some(span.bytes), 1, field)?;
                require(needed.is_some_and(|needed| needed <= span.bytes), field)?;
            }
            Operand::Arena(span) => {
                bounds.arena(span, Some(span.bytes), 1, field)?;
                require(needed.is_some_and(|needed| needed <= span.bytes), field)?;
                let in_place = is_left && span == binary.output && contiguous(strides);
                require(in_place || !overlap(span, binary.output), "output, which overlaps an operand")?;
            }
        }
    }
    Ok(())
}

fn lookup(lookup: &Lookup, bounds: &Bounds<'_>) -> Check {
    let elems = product(&[lookup.input.bytes]);
    bounds.arena(lookup.input, elems, 1, "input")?;
    if lookup.to_f32 {
        bounds.arena(lookup.output, elems, 4, "output")?;
        bounds.floats(lookup.table, 256, f32::is_finite, "table")?;
        require(!overlap(lookup.input, lookup.output), OVERLAPS_INPUT)
    } else {
        bounds.arena(lookup.output, elems, 1, "output")?;
        bounds.constant(lookup.table, Some(256), 1, "table")?;
        let in_place = lookup.input == lookup.output;
        require(in_place || !overlap(lookup.input, lookup.output), OVERLAPS_INPUT)
    }
}

fn pool(pool: &Pool, bounds: &Bounds<'_>) -> Check {
    let ends = Ends { input: (pool.input, 1), output: (pool.output, 1) };
    let positions = geometry::pool(&pool.window, pool.pad_after, ends, bounds)?;
    // A sum of 256 steps for each position stays within 32 bits.
    let positions = positions.filter(|&positions| positions <= 1 << 22);
    require(positions.is_some(), "kernel, which is too large")?;
    match &pool.op {
        PoolOp::Max => Ok(()),
        PoolOp::Average { multiplier, range: output, .. } => {
            require(positive(*multiplier), "multiplier")?;
            range(output)
        }
    }
}

fn softmax(softmax: &Softmax, bounds: &Bounds<'_>) -> Check {
    let (input, elems) = match softmax.input {
        SoftmaxInput::I8 { input, table } => {
            bounds.constant(table, Some(256), 2, "table")?;
            bounds.arena(input, product(&[input.bytes]), 1, "input")?;
            (input, input.bytes)
        }
        SoftmaxInput::F32(input) => {
            bounds.arena(input, product(&[input.bytes / 4]), 4, "input")?;
            (input, input.bytes / 4)
        }
    };
    let output = match &softmax.output {
        SoftmaxOutput::I8 { output, multiplier, range: output_range } => {
            require(positive(*multiplier), "multiplier")?;
            range(output_range)?;
            bounds.arena(*output, Some(elems), 1, "output")?;
            *output
        }
        SoftmaxOutput::F32(output) => {
            bounds.arena(*output, Some(elems), 4, "output")?;
            *output
        }
    };
    require(!overlap(input, output), OVERLAPS_INPUT)?;
    require(softmax.channels > 0 && elems % softmax.channels == 0, "channels")
}

fn copy(copy: &Copy, bounds: &Bounds<'_>) -> Check {
    let elem_bytes = copy.elem_bytes as u32;
    require(matches!(elem_bytes, 1 | 2 | 4), "elem_bytes")?;
    require(copy.table.is_none() || elem_bytes == 1, "table")?;
    require(product(&copy.dims).is_some(), "dims")?;
    for (span, start, strides, field) in [
        (copy.input, copy.input_start, &copy.input_strides, "input"),
        (copy.output, copy.output_start, &copy.output_strides, "output"),
    ] {
        let elems = span.bytes.checked_div(elem_bytes);
        bounds.arena(span, elems, elem_bytes, field)?;
        let needed = extent(start, &copy.dims, strides);
        require(needed.zip(elems).is_some_and(|(needed, elems)| needed <= elems), field)?;
    }
    require(!overlap(copy.input, copy.output), OVERLAPS_INPUT)?;
    match copy.table {
        Some(table) => bounds.constant(table, Some(256), 1, "table").map(|_| ()),
        None => Ok(()),
    }
}

fn mat_mul(op: &MatMul, bounds: &Bounds<'_>) -> Check {
    let [_, k, n] = op.geometry.sizes;
    let elem_bytes = if op.range.is_some() { 1 } else { 4 };
    require(k <= MAX_DOT && can_be_packed(1, n, k), "sizes, too large to be packed")?;
    geometry::mat_mul(&op.geometry, [(op.lhs, "lhs"), (op.rhs, "rhs")], 1, (op.output, elem_bytes), bounds)?;
    require(positive(op.multiplier), "multiplier")?;
    op.range.as_ref().map_or(Ok(()), range)
}

fn layer_norm(norm: &LayerNorm, bounds: &Bounds<'_>) -> Check {
    bounds.arena(norm.input, product(&[norm.input.bytes]), 1, "input")?;
    bounds.arena(norm.output, Some(norm.input.bytes), 1, "output")?;
    require(!overlap(norm.input, norm.output), OVERLAPS_INPUT)?;
    // Sums of more values, and of their squares, would need more than 32 bits.
    let channels = (1..=1 << 16).contains(&norm.channels);
    require(channels && norm.input.bytes.is_multiple_of(norm.channels), "channels")?;
    bounds.floats(norm.gamma, norm.channels, f32::is_finite, "gamma")?;
    bounds.floats(norm.beta, norm.channels, f32::is_finite, "beta")?;
    require(norm.epsilon.is_finite() && norm.epsilon >= f32::MIN_POSITIVE, "epsilon")?;
    range(&norm.range)
}

/// States are at most this at first. An LSTM's grows by at most 1 a step, so that it stays finite.
pub(super) const MAX_STATE: f32 = (1 << 20) as f32;

fn recurrent(op: &Recurrent, bounds: &Bounds<'_>) -> Check {
    let tensors = RecurrentTensors {
        steps: op.steps,
        batch: op.batch,
        hidden: op.hidden,
        gates: op.cell.gates(),
        spans: [op.input, op.output, op.state],
        hidden_bytes: 1,
    };
    let [outputs, states] = tensors.check(bounds)?;
    int8_matrix([op.weights, op.bias, op.multiplier], [outputs, op.hidden], "bias", bounds)?;
    bounds.constant(op.initial_hidden, Some(states), 1, "initial_hidden")?;
    bounds.floats(op.initial_state, states, |state| state.abs() <= MAX_STATE, "initial_state")?;
    require(positive(op.hidden_multiplier), "hidden_multiplier")?;
    range(&op.range)
}

/// What a recurrent layer reads and writes.
pub(super) struct RecurrentTensors {
    pub steps: u32,
    pub batch: u32,
    pub hidden: u32,
    pub gates: u32,
    /// Input, output, state.
    pub spans: [Span; 3],
    /// Bytes of an element of the output.
    pub hidden_bytes: u32,
}

impl RecurrentTensors {
    /// The rows of the weights, and the elements of a state.
    pub fn check(&self, bounds: &Bounds<'_>) -> Result<[u32; 2], &'static str> {
        let &Self { steps, batch, hidden, gates, spans: [input, output, state], hidden_bytes } = self;
        // As the width of the convolution that a step's product is.
        require(batch <= 1 << 24, "batch")?;
        let outputs = product(&[gates, hidden]).ok_or("hidden")?;
        require(hidden <= MAX_DOT && can_be_packed(1, outputs, hidden), "hidden, which is too large")?;
        let states = product(&[batch, hidden]);
        bounds.arena(input, product(&[steps, batch, outputs]), 4, "input")?;
        bounds.arena(output, product(&[steps, batch, hidden]), hidden_bytes, "output")?;
        bounds.arena(state, states, 4, "state")?;
        require(!overlap(input, output), OVERLAPS_INPUT)?;
        require(!overlap(state, input) && !overlap(state, output), "state, which overlaps a tensor")?;
        Ok([outputs, states.ok_or("hidden")?])
    }
}

/// Weights `[outputs, k]` of int8, what is added to the sums, and the multipliers.
pub(super) fn int8_matrix(
    [weights, sums, multiplier]: [Span; 3],
    [outputs, k]: [u32; 2],
    sums_field: &'static str,
    bounds: &Bounds<'_>,
) -> Check {
    let weights = bounds.constant(weights, k.checked_mul(outputs), 1, "weights")?;
    require(!weights.contains(&0x80), "weights, of which one is -128")?;
    bounds.constant(sums, Some(outputs), 4, sums_field)?;
    bounds.floats(multiplier, outputs, positive, "multiplier")
}
