//! The operations in f32.

use super::geometry::{self, Ends, OVERLAPS_INPUT};
use super::ops::{positive, range};
use super::{Bounds, Check, extent, overlap, product, require};
use crate::plan::{
    ConvF32, Elementwise, F32_PANEL, F32_REGISTERS, Function, Instruction, LayerNormF32, MatMulF32, Operand,
    PoolF32, PoolF32Op, Span,
};

/// Instructions of a program.
const MAX_INSTRUCTIONS: usize = 256;

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
    let ends = Ends { input: (op.input, 4), output: (op.output, 4) };
    let terms = geometry::conv(&op.window, op.groups, ends, bounds)?;
    let (groups, [.., out_c]) = (op.groups, op.window.output_dims);
    let weights = if geometry::is_depthwise(&op.window, groups) {
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
    let ends = Ends { input: (op.input, 4), output: (op.output, 4) };
    let positions = geometry::pool(&op.window, op.pad_after, ends, bounds)?;
    match op.op {
        // The number of positions, which f32 holds exactly.
        PoolF32Op::Average { .. } => {
            let positions = positions.filter(|&positions| positions <= 1 << 24);
            require(positions.is_some(), "kernel, which is too large")
        }
        PoolF32Op::Max | PoolF32Op::Min | PoolF32Op::Sum => Ok(()),
    }
}

pub(super) fn mat_mul(op: &MatMulF32, bounds: &Bounds<'_>, scratch: Span) -> Check {
    geometry::mat_mul(&op.geometry, [(op.lhs, "lhs"), (op.rhs, "rhs")], 4, (op.output, 4), bounds)?;
    let [_, k, _] = op.geometry.sizes;
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
