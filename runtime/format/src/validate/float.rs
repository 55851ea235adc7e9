//! The operations in f32.

use super::geometry::{self, Ends, OVERLAPS_INPUT};
use super::ops::{MAX_STATE, RecurrentTensors, TOO_LITTLE_SCRATCH, aligned, int8_matrix, positive, range};
use super::{Bounds, Check, extent, overlap, product, require};
use crate::plan::{
    ConvF32, Elementwise, Elems, F32_PANEL, F32_REGISTERS, Function, Instruction, LayerNormF32, MatMulF32,
    Operand, PoolF32, PoolF32Op, QuantizeRows, RecurrentF32, RecurrentProduct, RescaleRows, Span, Stored,
    WeightFormat,
};

/// Instructions of a program.
const MAX_INSTRUCTIONS: usize = 256;

/// How results are written.
pub(super) fn stored(stored: &Stored) -> Check {
    let multiplier = match stored {
        Stored::F32 => return Ok(()),
        Stored::I8 { multiplier, range: to } => {
            range(to)?;
            multiplier
        }
        Stored::I16 { multiplier, bounds: [min, max] } => {
            require(min <= max, "bounds")?;
            multiplier
        }
    };
    require(positive(*multiplier), "multiplier")
}

pub(super) fn elementwise(op: &Elementwise, bounds: &Bounds<'_>) -> Check {
    let elems = product(&op.dims);
    bounds.arena(op.output, elems, op.stored.bytes(), "output")?;
    stored(&op.stored)?;
    for source in op.sources.iter().flatten() {
        match &source.elems {
            Elems::F32 => {}
            Elems::I8(quant) => super::quant(quant)?,
            Elems::I16 { scale } => require(positive(*scale), "scale")?,
        }
        let elem_bytes = source.elems.bytes();
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
            3 if !is_written(to) => false,
            _ => is_written(a) && (b == Instruction::VALUE || is_written(b)),
        };
        require(reads_well, FIELD)?;
        *written.get_mut(to as usize).ok_or(FIELD)? = true;
    }
    Ok(())
}

pub(super) fn conv(op: &ConvF32, bounds: &Bounds<'_>, scratch: Span) -> Check {
    let ends = Ends { input: (op.input, 4), output: (op.output, 4) };
    let terms = geometry::conv(&op.window, op.groups, ends, bounds)?;
    let (groups, [.., out_c]) = (op.groups, op.window.output_dims);
    let is_depthwise = op.window.is_depthwise(groups);
    let panels = if is_depthwise {
        1
    } else {
        product(&[groups, (out_c / groups).div_ceil(F32_PANEL)]).ok_or("groups")?
    };
    let panel = product(&[terms, if is_depthwise { out_c } else { F32_PANEL }]).ok_or("weights")?;
    self::weights(op.weights, op.format, [panels, panel, out_c], bounds)?;
    let needed = scratch_of_panel(op.format, panel);
    require(needed.is_some_and(|needed| needed <= scratch.bytes), TOO_LITTLE_SCRATCH)?;
    bounds.floats(op.bias, out_c, f32::is_finite, "bias")?;
    // Comparisons that are false for what is not a number.
    require(op.bounds[0] <= op.bounds[1], "bounds")
}

/// Weights in so many panels of so many elements, of so many output channels.
fn weights(
    span: Span,
    format: WeightFormat,
    [panels, panel, outputs]: [u32; 3],
    bounds: &Bounds<'_>,
) -> Check {
    const FIELD: &str = "weights";
    let elems = product(&[panels, panel]).ok_or(FIELD)?;
    match format {
        WeightFormat::F32 => bounds.floats(span, elems, f32::is_finite, FIELD),
        WeightFormat::F16 => {
            let bytes = bounds.constant(span, Some(elems), 2, FIELD)?;
            let (values, _) = bytes.as_chunks::<2>();
            require(values.iter().all(|&[_, high]| high & 0x7c != 0x7c), FIELD)
        }
        WeightFormat::I8 { scales } => {
            bounds.constant(span, Some(elems), 1, FIELD)?;
            bounds.floats(scales, outputs, f32::is_finite, "scales")
        }
    }
}

/// Bytes in which a panel becomes f32.
fn scratch_of_panel(format: WeightFormat, elems: u32) -> Option<u32> {
    if format == WeightFormat::F32 { Some(0) } else { elems.checked_mul(4) }
}

pub(super) fn quantize_rows(op: &QuantizeRows, bounds: &Bounds<'_>) -> Check {
    let elems = product(&[op.output.bytes]);
    bounds.arena(op.input, elems, 4, "input")?;
    bounds.arena(op.output, elems, 1, "output")?;
    let rows = elems.and_then(|elems| {
        let whole = op.channels > 0 && elems % op.channels == 0;
        whole.then(|| elems / op.channels)
    });
    bounds.arena(op.scales, Some(rows.ok_or("channels")?), 4, "scales")?;
    require(!overlap(op.input, op.output), OVERLAPS_INPUT)?;
    let apart = !overlap(op.scales, op.input) && !overlap(op.scales, op.output);
    require(apart, "scales, which overlap a tensor")?;
    require(op.zero_point <= 0, "zero_point")
}

pub(super) fn rescale_rows(op: &RescaleRows, bounds: &Bounds<'_>) -> Check {
    let [values, scales, biases] = [op.tensor, op.scales, op.bias].map(|span| span.bytes / 4);
    bounds.arena(op.tensor, product(&[values]), 4, "tensor")?;
    bounds.arena(op.scales, product(&[scales]), 4, "scales")?;
    require(!overlap(op.tensor, op.scales), "scales, which overlap a tensor")?;
    bounds.floats(op.bias, product(&[biases]).ok_or("bias")?, f32::is_finite, "bias")?;
    // Whole rows, as many for each scale.
    let block = product(&[scales, biases]).ok_or("bias")?;
    require(values % block == 0, "tensor")?;
    require(op.bounds[0] <= op.bounds[1], "bounds")
}

pub(super) fn recurrent(op: &RecurrentF32, bounds: &Bounds<'_>, scratch: Span) -> Check {
    let &RecurrentF32 { steps, batch, hidden, .. } = op;
    let spans = [op.input, op.output, op.state];
    let tensors = RecurrentTensors { steps, batch, hidden, gates: op.cell.gates(), spans, hidden_bytes: 4 };
    let [outputs, states] = tensors.check(bounds)?;
    let needed = match op.product {
        RecurrentProduct::F32(format) => {
            let panel = product(&[hidden, F32_PANEL]).ok_or("hidden")?;
            weights(op.weights, format, [outputs.div_ceil(F32_PANEL), panel, outputs], bounds)?;
            scratch_of_panel(format, panel)
        }
        RecurrentProduct::Dynamic { sums, multiplier } => {
            int8_matrix([op.weights, sums, multiplier], [outputs, hidden], "sums", bounds)?;
            let (quantized, scales) = (aligned(Some(states)), aligned(batch.checked_mul(4)));
            quantized.zip(scales).and_then(|(quantized, scales)| quantized.checked_add(scales))
        }
    };
    // A step's product lies before that; rows may ask for more.
    let product = aligned(product(&[batch, outputs, 4]));
    let needed = product.zip(needed).and_then(|(product, needed)| product.checked_add(needed));
    require(needed.is_some_and(|needed| needed <= scratch.bytes), TOO_LITTLE_SCRATCH)?;
    bounds.floats(op.bias, outputs, f32::is_finite, "bias")?;
    let bounded = |value: f32| value.abs() <= MAX_STATE;
    bounds.floats(op.initial_hidden, states, bounded, "initial_hidden")?;
    bounds.floats(op.initial_state, states, bounded, "initial_state")
}

/// Of elements of so many bytes.
pub(super) fn pool(op: &PoolF32, elem_bytes: u32, bounds: &Bounds<'_>) -> Check {
    let ends = Ends { input: (op.input, elem_bytes), output: (op.output, elem_bytes) };
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
    require(needed.is_some_and(|needed| needed <= scratch.bytes), TOO_LITTLE_SCRATCH)
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
