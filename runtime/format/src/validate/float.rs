//! The operations in f32.

use super::ops::{Axis, is_permuted, positive, range};
use super::{Bounds, Check, extent, overlap, product, require};
use crate::plan::{
    ConvF32, Elementwise, F32_PANEL, F32_REGISTERS, Function, Instruction, LayerNormF32, MatMulF32, Operand,
    PoolF32, PoolF32Op, Span,
};

/// Instructions of a program.
const MAX_INSTRUCTIONS: usize = 256;

const OVERLAPS_INPUT: &str = "output, which overlaps the input";

pub(super) fn elementwise(op: &Elementwise, bounds: &Bounds<'_>) -> Check {
    let elems = product(&op.dims);
    match &op.quantized {
        Some(quantized) => {
            bounds.arena(op.output, elems, 1, "output")?;
            require(positive(quantized.multiplier), "multiplier")?;
            range(&quantized.range)?;
        }
        None => bounds.arena(op.output, elems, 4, "output")?,
    }
    for source in op.sources.iter().flatten() {
        let elem_bytes = match &source.quant {
            Some(quant) => {
                super::quant(quant)?;
                1
            }
            None => 4,
        };
        let needed = extent(0, &op.dims, &source.strides);
        let holds = |span: Span| needed.is_some_and(|needed| needed <= span.bytes / elem_bytes);
        match source.operand {
            Operand::Arena(span) => {
                bounds.arena(span, Some(span.bytes / elem_bytes), elem_bytes, "source")?;
                require(holds(span), "source")?;
                require(!overlap(span, op.output), "output, which overlaps a source")?;
            }
            Operand::Constant(span) => {
                bounds.constant(span, Some(span.bytes / elem_bytes), elem_bytes, "source")?;
                require(holds(span), "source")?;
            }
        }
    }
    program(op, bounds)
}

/// Every instruction reads registers that were written before, and sources that there are.
fn program(op: &Elementwise, bounds: &Bounds<'_>) -> Check {
    const FIELD: &str = "program";
    let bytes = bounds.constant(op.program, Some(op.program.bytes / 4), 4, FIELD)?;
    let (instructions, rest) = bytes.as_chunks::<{ Instruction::BYTES }>();
    require(rest.is_empty() && (1..=MAX_INSTRUCTIONS).contains(&instructions.len()), FIELD)?;
    let mut written = [false; F32_REGISTERS as usize];
    for &instruction in instructions {
        let Instruction { function, to, a, b, .. } = Instruction::decode(instruction).ok_or(FIELD)?;
        let is_written = |register: u8| written.get(register as usize) == Some(&true);
        let reads_well = match function.arity() {
            0 => function != Function::Load || op.sources.get(a as usize).is_some_and(Option::is_some),
            1 => is_written(a),
            _ => is_written(a) && (b == Instruction::VALUE || is_written(b)),
        };
        require(reads_well, FIELD)?;
        *written.get_mut(to as usize).ok_or(FIELD)? = true;
    }
    Ok(())
}

pub(super) fn conv(op: &ConvF32, bounds: &Bounds<'_>) -> Check {
    let [in_n, in_h, in_w, in_c] = op.input_dims;
    let [out_n, out_h, out_w, out_c] = op.output_dims;
    require(in_n == out_n, "output_dims")?;
    for axis in 0..2 {
        let pads = [op.pad[axis], 0];
        let (input, output) = ([in_h, in_w][axis], [out_h, out_w][axis]);
        let (kernel, stride, dilation) = (op.kernel[axis], op.stride[axis], op.dilation[axis]);
        Axis { input, output, kernel, stride, dilation, pads }.check().ok_or("window")?;
    }
    let groups = op.groups;
    require(groups > 0 && in_c % groups == 0 && out_c % groups == 0, "groups")?;
    bounds.arena(op.input, product(&op.input_dims), 4, "input")?;
    bounds.arena(op.output, product(&op.output_dims), 4, "output")?;
    require(!overlap(op.input, op.output), OVERLAPS_INPUT)?;
    let terms = product(&[op.kernel[0], op.kernel[1], in_c / groups]).ok_or("kernel, which is too large")?;
    let is_depthwise = groups > 1 && groups == in_c && groups == out_c;
    let weights = if is_depthwise {
        product(&[terms, out_c])
    } else {
        product(&[groups, (out_c / groups).div_ceil(F32_PANEL), terms, F32_PANEL])
    };
    bounds.floats(op.weights, weights.ok_or("weights")?, f32::is_finite, "weights")?;
    bounds.floats(op.bias, out_c, f32::is_finite, "bias")?;
    // Comparisons that are false for what is not a number.
    require(op.bounds[0] <= op.bounds[1], "bounds")
}

pub(super) fn pool(op: &PoolF32, bounds: &Bounds<'_>) -> Check {
    let [in_n, in_h, in_w, in_c] = op.input_dims;
    let [out_n, out_h, out_w, out_c] = op.output_dims;
    require(in_n == out_n && in_c == out_c, "output_dims")?;
    for axis in 0..2 {
        let (input, output) = ([in_h, in_w][axis], [out_h, out_w][axis]);
        let (kernel, stride, dilation) = (op.kernel[axis], op.stride[axis], op.dilation[axis]);
        let pads = [op.pads[axis], op.pads[2 + axis]];
        Axis { input, output, kernel, stride, dilation, pads }.check().ok_or("window")?;
    }
    bounds.arena(op.input, product(&op.input_dims), 4, "input")?;
    bounds.arena(op.output, product(&op.output_dims), 4, "output")?;
    require(!overlap(op.input, op.output), OVERLAPS_INPUT)?;
    match op.op {
        // The number of positions, which f32 holds exactly.
        PoolF32Op::Average { .. } => {
            let positions = product(&op.kernel).filter(|&positions| positions <= 1 << 24);
            require(positions.is_some(), "kernel, which is too large")
        }
        PoolF32Op::Max | PoolF32Op::Min | PoolF32Op::Sum => Ok(()),
    }
}

pub(super) fn mat_mul(op: &MatMulF32, bounds: &Bounds<'_>, scratch: Span) -> Check {
    let [b0, b1] = op.batch;
    let [m, k, n] = op.sizes;
    require(product(&[b0, b1, m, k]).is_some() && product(&[b0, b1, k, n]).is_some(), "sizes")?;
    bounds.arena(op.output, product(&[b0, b1, m, n]), 4, "output")?;
    let reads = |span: Span, needed: Option<u32>, field| {
        bounds.arena(span, Some(span.bytes / 4), 4, field)?;
        require(needed.is_some_and(|needed| needed <= span.bytes / 4), field)?;
        require(!overlap(span, op.output), "output, which overlaps an operand")
    };
    let [x, y, row] = op.lhs_strides;
    reads(op.lhs, extent(0, &[b0, b1, m, k], &[x, y, row, 1]), "lhs")?;
    reads(op.rhs, extent(0, &[b0, b1, k, n], &op.rhs_strides), "rhs")?;
    require(is_permuted([b0, b1, m], op.output_strides, n), "output_strides")?;
    // A panel of the right operand.
    let needed = product(&[k, F32_PANEL, 4]);
    require(needed.is_some_and(|needed| needed <= scratch.bytes), "scratch, which is too small")
}

pub(super) fn layer_norm(op: &LayerNormF32, bounds: &Bounds<'_>) -> Check {
    let elems = product(&[op.input.bytes / 4]);
    bounds.arena(op.input, elems, 4, "input")?;
    bounds.arena(op.output, elems, 4, "output")?;
    require(!overlap(op.input, op.output), OVERLAPS_INPUT)?;
    let channels = (1..=1 << 24).contains(&op.channels);
    require(channels && elems.is_some_and(|elems| elems % op.channels == 0), "channels")?;
    bounds.floats(op.gamma, op.channels, f32::is_finite, "gamma")?;
    bounds.floats(op.beta, op.channels, f32::is_finite, "beta")?;
    require(op.epsilon.is_finite() && op.epsilon >= 0.0, "epsilon")
}
