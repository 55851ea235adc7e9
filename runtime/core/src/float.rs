//! Steps in f32: bound, and run.

use core::ops::Range;

use bytemuck::{cast_slice, try_cast_slice, try_cast_slice_mut};
use edgepack_format::plan::{self, Op, Operand, Span, WeightFormat};
use edgepack_format::{Operation, OperationSet, Operations};
use edgepack_kernels::conv::ConvShape;
use edgepack_kernels::conv::matmul::MatMulShape;
use edgepack_kernels::float::elementwise::{ElementwiseArgs, OPERANDS, Sink, Source};
use edgepack_kernels::float::product::{ConvArgs, MatMulArgs};
use edgepack_kernels::float::quantize::RescaleArgs;
use edgepack_kernels::float::reduce::{LayerNormArgs, PoolArgs};
use edgepack_kernels::float::weights::{self, Weights};
use edgepack_kernels::float::{self, BoundVariant};
use edgepack_kernels::isa::IsaSet;
use edgepack_kernels::recurrent;
use edgepack_kernels::requantize::OutputRange;

use crate::arena::bounds;
use crate::parallel::{Parallel, Team};
use crate::shapes::{conv_shape, mat_mul_shape, pool_f32_args, range};

const _: () = assert!(OPERANDS == plan::F32_OPERANDS);
const _: () = assert!(float::product::PANEL == plan::F32_PANEL as usize);
const _: () = assert!(float::elementwise::REGISTERS == plan::F32_REGISTERS as usize);
const _: () = assert!(float::elementwise::CONSTANT == plan::Instruction::VALUE);

/// Those that [`bind`] binds.
pub(crate) const OPERATIONS: OperationSet = OperationSet::of(&[
    Operation::Elementwise,
    Operation::ConvF32,
    Operation::PoolF32,
    Operation::MatMulF32,
    Operation::LayerNormF32,
    Operation::QuantizeRows,
    Operation::RescaleRows,
]);

/// The kernel of a step in f32.
pub(crate) fn kernel_name(op: &Op, isa: IsaSet) -> Option<&'static str> {
    let variant = float::select(isa);
    Some(match op {
        Op::ConvF32(conv) if conv_shape(&conv.window, conv.groups).is_depthwise() => variant.depthwise,
        Op::ConvF32(_) => variant.conv,
        Op::MatMulF32(_) => variant.mat_mul,
        Op::Elementwise(_) => variant.elementwise,
        Op::PoolF32(_) => variant.pool,
        Op::LayerNormF32(_) => variant.layer_norm,
        Op::QuantizeRows(_) => variant.quantize,
        Op::RescaleRows(_) => variant.rescale,
        Op::RecurrentF32(op) => match op.cell {
            plan::Cell::Lstm => recurrent::select(isa).lstm,
            plan::Cell::Gru => recurrent::select(isa).gru,
        },
        _ => return None,
    })
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum FloatOp<'p> {
    Elementwise(BoundElementwise<'p>),
    Conv {
        shape: ConvShape,
        input: Span,
        output: Span,
        weights: Weights<'p>,
        bias: &'p [f32],
        bounds: [f32; 2],
    },
    Pool {
        args: PoolArgs,
        input: Span,
        output: Span,
    },
    MatMul {
        shape: MatMulShape,
        lhs: Span,
        rhs: Span,
        output: Span,
    },
    LayerNorm {
        args: LayerNormArgs<'p>,
        input: Span,
        output: Span,
    },
    QuantizeRows(plan::QuantizeRows),
    RescaleRows {
        tensor: Span,
        scales: Span,
        bias: &'p [f32],
        bounds: [f32; 2],
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct BoundElementwise<'p> {
    dims: [usize; 4],
    sources: [Option<BoundSource<'p>>; OPERANDS],
    program: &'p [[u32; 2]],
    output: Span,
    stored: plan::Stored,
}

#[derive(Clone, Copy, Debug)]
struct BoundSource<'p> {
    place: Place<'p>,
    elems: plan::Elems,
    strides: [usize; 4],
}

/// Where an operand lies.
#[derive(Clone, Copy, Debug)]
enum Place<'p> {
    Arena(Span),
    Constant(&'p [u8]),
}

/// A step in f32, if it is one. `constant` has the bytes of a constant.
pub(crate) fn bind<'p, O: Operations>(op: &Op, constant: impl Fn(Span) -> &'p [u8]) -> Option<FloatOp<'p>> {
    let floats = |span: Span| -> &'p [f32] { try_cast_slice(constant(span)).unwrap_or(&[]) };
    Some(match *op {
        Op::Elementwise(ref op) if O::SET.contains(Operation::Elementwise) => {
            FloatOp::Elementwise(BoundElementwise {
                dims: op.dims.map(|dim| dim as usize),
                sources: op.sources.map(|source| {
                    let plan::Source { operand, elems, strides } = source?;
                    let place = match operand {
                        Operand::Arena(span) => Place::Arena(span),
                        Operand::Constant(span) => Place::Constant(constant(span)),
                    };
                    Some(BoundSource { place, elems, strides: strides.map(|stride| stride as usize) })
                }),
                program: try_cast_slice(constant(op.program)).unwrap_or(&[]),
                output: op.output,
                stored: op.stored,
            })
        }
        Op::ConvF32(ref conv) if O::SET.contains(Operation::ConvF32) => FloatOp::Conv {
            shape: conv_shape(&conv.window, conv.groups),
            input: conv.input,
            output: conv.output,
            weights: weights_of(conv.weights, conv.format, &constant),
            bias: floats(conv.bias),
            bounds: conv.bounds,
        },
        Op::PoolF32(ref pool) if O::SET.contains(Operation::PoolF32) => {
            FloatOp::Pool { args: pool_f32_args(pool), input: pool.input, output: pool.output }
        }
        Op::MatMulF32(ref product) if O::SET.contains(Operation::MatMulF32) => {
            let plan::MatMulF32 { lhs, rhs, output, .. } = *product;
            FloatOp::MatMul { shape: mat_mul_shape(&product.geometry), lhs, rhs, output }
        }
        Op::LayerNormF32(ref norm) if O::SET.contains(Operation::LayerNormF32) => {
            let (gamma, beta) = (floats(norm.gamma), floats(norm.beta));
            let args = LayerNormArgs { gamma, beta, epsilon: norm.epsilon };
            FloatOp::LayerNorm { args, input: norm.input, output: norm.output }
        }
        Op::QuantizeRows(op) if O::SET.contains(Operation::QuantizeRows) => FloatOp::QuantizeRows(op),
        Op::RescaleRows(plan::RescaleRows { tensor, scales, bias, bounds })
            if O::SET.contains(Operation::RescaleRows) =>
        {
            FloatOp::RescaleRows { tensor, scales, bias: floats(bias), bounds }
        }
        _ => return None,
    })
}

/// Weights as they lie in the package, which was validated.
pub(crate) fn weights_of<'p>(
    span: Span,
    format: WeightFormat,
    constant: impl Fn(Span) -> &'p [u8],
) -> Weights<'p> {
    let bytes = constant(span);
    match format {
        WeightFormat::F32 => Weights::F32(try_cast_slice(bytes).unwrap_or(&[])),
        WeightFormat::F16 => Weights::F16(try_cast_slice(bytes).unwrap_or(&[])),
        WeightFormat::I8 { scales } => {
            Weights::I8 { values: cast_slice(bytes), scales: try_cast_slice(constant(scales)).unwrap_or(&[]) }
        }
    }
}

/// Runs a step; `None` where its spans do not fit the arena, which validation has excluded.
pub(crate) fn run<O: Operations>(
    op: &FloatOp<'_>,
    kernels: &BoundVariant,
    scratch: Span,
    arena: &mut [u8],
    team: &mut Team<'_, impl Parallel>,
) -> Option<()> {
    match *op {
        FloatOp::Elementwise(ref op) if O::SET.contains(Operation::Elementwise) => {
            run_elementwise(op, kernels, arena, team)?
        }
        FloatOp::Conv { shape, input, output, weights, bias, bounds }
            if O::SET.contains(Operation::ConvF32) =>
        {
            let ([input, _], output, scratch) =
                crate::arena::apart_with_scratch(arena, [input; 2], output, scratch)?;
            let (input, output) = (try_cast_slice(input).ok()?, try_cast_slice_mut(output).ok()?);
            let scratch = floats(scratch)?;
            let macs_of_panel = shape.macs() / weights::panels(&shape) as u64;
            kernels.panels(&shape, &weights, scratch, |panels, weights| {
                let macs = macs_of_panel * panels.len() as u64;
                let args = ConvArgs { shape, input, weights, panels, bias, bounds };
                let run = |range, output: &mut [f32]| kernels.conv(&args, range, output);
                team.ranges(macs, shape.output_pixels(), output, run);
            });
        }
        FloatOp::Pool { ref args, input, output } if O::SET.contains(Operation::PoolF32) => {
            let (input, output) = pair(arena, input, output)?;
            kernels.pool(args, input, output);
        }
        FloatOp::MatMul { shape, lhs, rhs, output } if O::SET.contains(Operation::MatMulF32) => {
            let (reads, [output, scratch]) =
                crate::arena::apart_from_two(arena, [lhs, rhs], [output, scratch])?;
            let [lhs, rhs] = reads.map(|bytes| try_cast_slice(bytes).ok());
            kernels.mat_mul(&mut MatMulArgs {
                shape,
                lhs: lhs?,
                rhs: rhs?,
                output: try_cast_slice_mut(output).ok()?,
                scratch: try_cast_slice_mut(scratch).ok()?,
            });
        }
        FloatOp::LayerNorm { ref args, input, output } if O::SET.contains(Operation::LayerNormF32) => {
            let (input, output) = pair(arena, input, output)?;
            kernels.layer_norm(args, input, output);
        }
        FloatOp::QuantizeRows(op) if O::SET.contains(Operation::QuantizeRows) => {
            let [input, output, scales] =
                arena.get_disjoint_mut([op.input, op.output, op.scales].map(bounds)).ok()?;
            let (input, scales) = (try_cast_slice(input).ok()?, try_cast_slice_mut(scales).ok()?);
            let output = bytemuck::cast_slice_mut(output);
            kernels.quantize_rows(op.channels as usize, op.zero_point, input, output, scales);
        }
        FloatOp::RescaleRows { tensor, scales, bias, bounds } if O::SET.contains(Operation::RescaleRows) => {
            let (scales, tensor) = pair(arena, scales, tensor)?;
            let rows = tensor.len() / bias.len();
            let args = RescaleArgs { scales, rows_of_scale: rows / scales.len(), bias, bounds };
            // As much work as a few multiply-adds a value.
            let run = |range, rows: &mut [f32]| kernels.rescale_rows(&args, range, rows);
            team.ranges(tensor.len() as u64 * 4, rows, tensor, run);
        }
        _ => return None,
    }
    Some(())
}

/// Scratch memory as f32: a plan may give any number of bytes.
pub(crate) fn floats(scratch: &mut [u8]) -> Option<&mut [f32]> {
    match scratch.len() / 4 * 4 {
        0 => Some(&mut []),
        bytes => try_cast_slice_mut(scratch.get_mut(..bytes)?).ok(),
    }
}

fn pair(arena: &mut [u8], read: Span, write: Span) -> Option<(&[f32], &mut [f32])> {
    let (read, write) = crate::arena::pair(arena, read, write)?;
    Some((try_cast_slice(read).ok()?, try_cast_slice_mut(write).ok()?))
}

fn run_elementwise(
    op: &BoundElementwise<'_>,
    kernels: &BoundVariant,
    arena: &mut [u8],
    team: &mut Team<'_, impl Parallel>,
) -> Option<()> {
    // What is read may overlap, but not what is written: it lies before or behind that.
    let written = bounds(op.output);
    let (before, rest) = arena.split_at_mut_checked(written.start)?;
    let (output, after) = rest.split_at_mut_checked(written.len())?;
    let (before, after): (&[u8], &[u8]) = (before, after);
    let mut sources = [None; OPERANDS];
    for (bound, source) in op.sources.iter().zip(&mut sources) {
        let Some(bound) = bound else { continue };
        let bytes = match bound.place {
            Place::Constant(bytes) => bytes,
            Place::Arena(span) => {
                let span = bounds(span);
                match span.start.checked_sub(written.end) {
                    Some(start) => after.get(start..start + span.len())?,
                    None => before.get(span)?,
                }
            }
        };
        let values = match bound.elems {
            plan::Elems::I8(plan::Quant { scale, zero_point }) => {
                Source::I8 { values: cast_slice(bytes), zero_point: zero_point as i32, scale }
            }
            plan::Elems::I16 { scale } => Source::I16 { values: try_cast_slice(bytes).ok()?, scale },
            plan::Elems::F32 => Source::F32(try_cast_slice(bytes).ok()?),
        };
        *source = Some((values, bound.strides));
    }
    let args = ElementwiseArgs { dims: op.dims, sources, program: op.program };
    let elems = args.elems();
    // An instruction is about as much work as some multiply-adds.
    let work = elems as u64 * op.program.len() as u64 * 4;
    shared(team, work, elems, op.stored, output, |part, sink| kernels.elementwise(&args, part, sink))
}

/// Shares `count` units, each as much of the output, among threads; `run` writes what it is given a place for.
#[inline(never)]
pub(crate) fn shared(
    team: &mut Team<'_, impl Parallel>,
    work: u64,
    count: usize,
    stored: plan::Stored,
    output: &mut [u8],
    run: impl Fn(Range<usize>, Sink<'_>) + Sync,
) -> Option<()> {
    match stored {
        plan::Stored::F32 => {
            let output: &mut [f32] = try_cast_slice_mut(output).ok()?;
            team.ranges(work, count, output, |part, output| run(part, Sink::F32(output)));
        }
        plan::Stored::I8 { multiplier, range: to } => {
            let (output, to): (&mut [i8], _) = (bytemuck::cast_slice_mut(output), range(&to));
            team.ranges(work, count, output, |part, output| run(part, Sink::I8(output, multiplier, to)));
        }
        plan::Stored::I16 { multiplier, bounds: [min, max] } => {
            let output: &mut [i16] = try_cast_slice_mut(output).ok()?;
            let to = OutputRange::sixteen(min, max);
            team.ranges(work, count, output, |part, output| run(part, Sink::I16(output, multiplier, to)));
        }
    }
    Some(())
}
