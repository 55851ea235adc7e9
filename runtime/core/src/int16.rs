//! Steps of int16: bound, and run.

use bytemuck::{cast_slice, try_cast_slice, try_cast_slice_mut};
use edgepack_format::plan::{self, Op, Span};
use edgepack_format::{Operation, OperationSet, Operations};
use edgepack_kernels::conv::ConvShape;
use edgepack_kernels::float::reduce::{PoolArgs, pool_s16};
use edgepack_kernels::int16::{self, BoundVariant, ConvArgs, Weights};
use edgepack_kernels::isa::{IsaSet, IsaToken};
use edgepack_kernels::requantize::OutputRange;

use crate::float::shared;
use crate::parallel::{Parallel, Team};
use crate::shapes::{conv_shape, pool_f32_args};

const _: () = assert!(int16::PANEL == plan::I16_PANEL as usize);

/// Those that [`bind`] binds.
pub(crate) const OPERATIONS: OperationSet = OperationSet::of(&[Operation::ConvI16, Operation::PoolI16]);

/// The kernel of a step of int16.
pub(crate) fn kernel_name(op: &Op, isa: IsaSet) -> Option<&'static str> {
    match op {
        Op::ConvI16(conv) if conv_shape(&conv.window, conv.groups).is_depthwise() => {
            Some(int16::select(isa).depthwise)
        }
        Op::ConvI16(_) => Some(int16::select(isa).conv),
        Op::PoolI16(_) => Some("pool_s16_portable"),
        _ => None,
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Int16Op<'p> {
    Conv(BoundConv<'p>),
    Pool { args: PoolArgs, result: (f32, OutputRange), input: Span, output: Span },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct BoundConv<'p> {
    kernel: BoundVariant,
    shape: ConvShape,
    input: Span,
    output: Span,
    weights: Weights<'p>,
    multiplier: &'p [f32],
    bias: &'p [f32],
    residual: Option<plan::ResidualI16>,
    stored: plan::Stored,
}

/// A step of int16, if it is one. `constant` has the bytes of a constant.
pub(crate) fn bind<'p, O: Operations>(
    op: &Op,
    token: IsaToken,
    constant: impl Fn(Span) -> &'p [u8],
) -> Option<Int16Op<'p>> {
    Some(match op {
        Op::ConvI16(conv) if O::SET.contains(Operation::ConvI16) => {
            let weights = constant(conv.weights);
            Int16Op::Conv(BoundConv {
                kernel: BoundVariant::new(token),
                shape: conv_shape(&conv.window, conv.groups),
                input: conv.input,
                output: conv.output,
                weights: match conv.weight_bytes {
                    1 => Weights::I8(cast_slice(weights)),
                    _ => Weights::I16(try_cast_slice(weights).ok()?),
                },
                multiplier: try_cast_slice(constant(conv.multiplier)).ok()?,
                bias: try_cast_slice(constant(conv.bias)).ok()?,
                residual: conv.residual,
                stored: conv.stored,
            })
        }
        Op::PoolI16(plan::PoolI16 { pool, multiplier, bounds: [min, max] })
            if O::SET.contains(Operation::PoolI16) =>
        {
            Int16Op::Pool {
                args: pool_f32_args(pool),
                result: (*multiplier, OutputRange::sixteen(*min, *max)),
                input: pool.input,
                output: pool.output,
            }
        }
        _ => return None,
    })
}

/// Runs a step; `None` where its spans do not fit the arena, which validation has excluded.
pub(crate) fn run<O: Operations>(
    op: &Int16Op<'_>,
    arena: &mut [u8],
    team: &mut Team<'_, impl Parallel>,
) -> Option<()> {
    match *op {
        Int16Op::Conv(ref conv) if O::SET.contains(Operation::ConvI16) => {
            let added = conv.residual.map_or(conv.input, |residual| residual.span);
            let ([input, added], output) = crate::arena::apart(arena, [conv.input, added], conv.output)?;
            let added = try_cast_slice(added).ok()?;
            let shape = conv.shape;
            let args = ConvArgs {
                shape,
                input: try_cast_slice(input).ok()?,
                weights: conv.weights,
                multiplier: conv.multiplier,
                bias: conv.bias,
                residual: conv.residual.map(|residual| (added, residual.scale)),
            };
            let (work, pixels) = (shape.macs(), shape.output_pixels());
            shared(team, work, pixels, conv.stored, output, |part, sink| conv.kernel.conv(&args, part, sink))
        }
        Int16Op::Pool { ref args, result, input, output } if O::SET.contains(Operation::PoolI16) => {
            let (input, output) = crate::arena::pair(arena, input, output)?;
            pool_s16(args, result, try_cast_slice(input).ok()?, try_cast_slice_mut(output).ok()?);
            Some(())
        }
        _ => None,
    }
}
