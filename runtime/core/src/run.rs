//! Running a bound program.

use bytemuck::{cast_slice, try_cast_slice, try_cast_slice_mut};
use edgepack_format::plan::{SoftmaxInput, SoftmaxOutput, Span};
use edgepack_format::{
    All, GoldenInput, Hash, Hasher, Operation, OperationSet, Operations, Package, SeededBytes,
};
use edgepack_kernels::conv::matmul::MatMulArgs;
use edgepack_kernels::conv::{ConvArgs, Output, Residual, WeightSource};
use edgepack_kernels::copy::{copy, copy_bytes};
use edgepack_kernels::elementwise::Operands;
use edgepack_kernels::lookup::lookup;
use edgepack_kernels::recurrent::RecurrentArgs;
use edgepack_kernels::requantize::OutputRange;
use edgepack_kernels::softmax::{Logits, Probabilities};
use edgepack_kernels::variants::BoundVariant;

use crate::arena::{apart, apart_with_scratch, bounds, pair};
use crate::bind::{BoundConv, BoundOp, BoundOperand, BoundProduct, BoundStep, BoundWeights, Recurrent};
use crate::error::RunError;
use crate::parallel::{Parallel, Team};

/// Is told of every step; a profiler reads its clock here.
pub trait Observer {
    /// Step `step` begins.
    fn before(&mut self, step: usize);
    /// Step `step` has ended.
    fn after(&mut self, step: usize);
    /// What the arena holds at the end of step `step`, right after [`Observer::after`]: the place to look
    /// at what the step has written, before later steps use its memory again.
    fn look(&mut self, _step: usize, _arena: &[u8]) {}
}

impl Observer for () {
    fn before(&mut self, _step: usize) {}
    fn after(&mut self, _step: usize) {}
}

/// A bound package. It borrows everything: an owner keeps package, steps and packed weights, and
/// makes one of these for each run.
#[derive(Clone, Copy, Debug)]
pub struct Program<'p, 's> {
    /// The package.
    pub package: Package<'p>,
    /// What [`crate::bind`] has filled.
    pub steps: &'s [Option<BoundStep<'p>>],
    /// What [`crate::bind`] has packed.
    pub packed: &'s [u8],
}

impl Program<'_, '_> {
    /// Runs every step. Inputs must have been set since the last run: their memory is used again.
    ///
    /// # Errors
    /// [`RunError::Arena`], [`RunError::Alignment`]; [`RunError::Island`] where a step is one.
    pub fn run(&self, arena: &mut [u8]) -> Result<(), RunError> {
        self.run_with(arena, &mut (), &mut Team::new(&mut (), &mut [], 0))
    }

    /// Runs every step, shared among the threads of `team`, and tells `observer` of each.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn run_with(
        &self,
        arena: &mut [u8],
        observer: &mut impl Observer,
        team: &mut Team<'_, impl Parallel>,
    ) -> Result<(), RunError> {
        check_arena(&self.package, arena)?;
        for (index, step) in self.steps.iter().flatten().enumerate() {
            observer.before(index);
            run_step::<All>(step, self.packed, arena, team).ok_or(step.failed(index))?;
            observer.after(index);
            observer.look(index, arena);
        }
        Ok(())
    }

    /// Runs a golden sample; gives the hash of the outputs that are exact, which must be the sample's.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn run_golden(&self, input: GoldenInput<'_>, arena: &mut [u8]) -> Result<Hash, RunError> {
        self.run_golden_with(input, arena, &mut Team::new(&mut (), &mut [], 0))
    }

    /// As [`Program::run_golden`], shared among the threads of `team`.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn run_golden_with(
        &self,
        input: GoldenInput<'_>,
        arena: &mut [u8],
        team: &mut Team<'_, impl Parallel>,
    ) -> Result<Hash, RunError> {
        golden(&self.package, input, arena, |arena| self.run_with(arena, &mut (), team))
    }
}

/// Whether an arena is one for a package.
pub(crate) fn check_arena<O: Operations>(package: &Package<'_, O>, arena: &[u8]) -> Result<(), RunError> {
    let needed = package.head().arena_bytes as usize;
    if arena.len() < needed {
        return Err(RunError::Arena { needed, given: arena.len() });
    }
    if !arena.as_ptr().addr().is_multiple_of(64) {
        return Err(RunError::Alignment);
    }
    Ok(())
}

/// Puts a golden sample into the arena, has the steps run, and hashes the outputs that are exact.
pub(crate) fn golden<O: Operations>(
    package: &Package<'_, O>,
    input: GoldenInput<'_>,
    arena: &mut [u8],
    run: impl FnOnce(&mut [u8]) -> Result<(), RunError>,
) -> Result<Hash, RunError> {
    check_arena(package, arena)?;
    let mut seeded = match input {
        GoldenInput::Seeded(seed) => SeededBytes::new(seed),
        GoldenInput::Stored(_) => SeededBytes::new(0),
    };
    let mut start = 0;
    for plan in package.inputs() {
        let bytes = plan.buffer.bytes as usize;
        let buffer = arena.get_mut(bounds(plan.buffer)).unwrap_or(&mut []);
        match input {
            GoldenInput::Stored(stored) => {
                let given = stored.get(start..start + bytes).unwrap_or(&[]);
                if given.len() != buffer.len() {
                    return Err(RunError::Length { needed: buffer.len(), given: given.len() });
                }
                buffer.copy_from_slice(given);
            }
            GoldenInput::Seeded(_) => {
                let values = (&mut seeded).map(|byte| byte as i8);
                crate::io::fill::<O>(&plan, values, buffer);
            }
        }
        start += bytes;
    }
    run(arena)?;
    let mut hasher = Hasher::new();
    for output in package.outputs().filter(|output| output.exact) {
        hasher.update(arena.get(bounds(output.buffer)).unwrap_or(&[]));
    }
    Ok(hasher.finalize())
}

/// Runs one step; `None` where its spans do not fit the arena, which validation has excluded.
#[inline]
pub(crate) fn run_step<O: Operations>(
    step: &BoundStep<'_>,
    packed: &[u8],
    arena: &mut [u8],
    team: &mut Team<'_, impl Parallel>,
) -> Option<()> {
    let kernels = &step.kernels;
    match step.op {
        BoundOp::Conv(ref conv) if O::SET.intersects(OperationSet::CONVOLUTIONS) => {
            run_conv(conv, step.scratch, packed, arena, team)
        }
        BoundOp::Binary { args, lhs, rhs, output } if O::SET.contains(Operation::Binary) => {
            // A constant takes nothing of the arena.
            let span = |operand| match operand {
                BoundOperand::Arena(span) => span,
                BoundOperand::Constant(_) => Span { offset: 0, bytes: 0 },
            };
            let values = |operand, read| match operand {
                BoundOperand::Arena(_) => cast_slice(read),
                BoundOperand::Constant(values) => values,
            };
            if let BoundOperand::Arena(lhs) = lhs
                && lhs == output
            {
                let (read, output) = pair(arena, span(rhs), output)?;
                let (output, rhs) = (cast_mut(output), values(rhs, read));
                team.binary(kernels, &args, Operands::InPlace { output, rhs });
            } else {
                let ([left, right], output) = apart(arena, [lhs, rhs].map(span), output)?;
                let (lhs, rhs, output) = (values(lhs, left), values(rhs, right), cast_mut(output));
                team.binary(kernels, &args, Operands::Separate { lhs, rhs, output });
            }
            Some(())
        }
        BoundOp::Lookup { input, output, table } if O::SET.contains(Operation::Lookup) && input == output => {
            team.lookup(kernels, None, table, cast_mut(arena.get_mut(bounds(output))?));
            Some(())
        }
        BoundOp::Lookup { input, output, table } if O::SET.contains(Operation::Lookup) => {
            let (input, output) = pair(arena, input, output)?;
            team.lookup(kernels, Some(cast_slice(input)), table, cast_mut(output));
            Some(())
        }
        BoundOp::LookupF32 { input, output, table } if O::SET.contains(Operation::Lookup) => {
            let (input, output) = pair(arena, input, output)?;
            lookup(cast_slice(input), table, try_cast_slice_mut(output).ok()?);
            Some(())
        }
        BoundOp::Pool { ref args, input, output } if O::SET.contains(Operation::Pool) => {
            let (input, output) = pair(arena, input, output)?;
            team.pool(kernels, args, cast_slice(input), cast_mut(output));
            Some(())
        }
        BoundOp::Softmax { ref softmax, table } if O::SET.contains(Operation::Softmax) => {
            run_softmax(kernels, softmax, table, arena, team)
        }
        BoundOp::Fill(fill) if O::SET.contains(Operation::Fill) => {
            arena.get_mut(bounds(fill.output))?.fill(fill.value as u8);
            Some(())
        }
        BoundOp::Copy { ref args, input, output, elem_bytes, table } if O::SET.contains(Operation::Copy) => {
            let (input, output) = pair(arena, input, output)?;
            match table {
                // Of a program that has to be small.
                _ if cfg!(target_os = "none") => copy_bytes(args, elem_bytes.into(), table, input, output),
                _ if elem_bytes == 4 => {
                    let output = try_cast_slice_mut::<u8, u32>(output).ok()?;
                    copy(args, try_cast_slice(input).ok()?, output, |x: u32| x);
                }
                _ if elem_bytes == 2 => {
                    let output = try_cast_slice_mut::<u8, u16>(output).ok()?;
                    copy(args, try_cast_slice(input).ok()?, output, |x: u16| x);
                }
                Some(table) => copy(args, input, output, |x| table[(x ^ 0x80) as usize] as u8),
                None => copy(args, input, output, |x| x),
            }
            Some(())
        }
        BoundOp::MatMul(ref product) if O::SET.contains(Operation::MatMul) => {
            run_product(product, step.scratch, arena, team)
        }
        BoundOp::LayerNorm { ref args, input, output } if O::SET.contains(Operation::LayerNorm) => {
            let (input, output) = pair(arena, input, output)?;
            let channels = args.gamma.len();
            let run = |input: &[i8], output: &mut [i8]| kernels.layer_norm(args, input, output);
            team.lines(channels, cast_slice(input), cast_mut(output), run);
            Some(())
        }
        BoundOp::Recurrent(ref recurrent) if O::SET.contains(Operation::Recurrent) => {
            run_recurrent(recurrent, step.scratch, packed, arena)
        }
        BoundOp::Integers(ref op) if O::SET.intersects(crate::integers::OPERATIONS) => {
            op.run::<O>(step.scratch, arena)
        }
        BoundOp::RecurrentF32(ref op) if O::SET.contains(Operation::RecurrentF32) => {
            op.run(&step.float_kernels, step.scratch, packed, arena)
        }
        BoundOp::Island(ref island) if O::SET.contains(Operation::Island) => island.run(arena),
        BoundOp::Int16(ref op) if O::SET.intersects(crate::int16::OPERATIONS) => {
            crate::int16::run::<O>(op, arena, team)
        }
        BoundOp::Float(ref op) if O::SET.intersects(crate::float::OPERATIONS) => {
            crate::float::run::<O>(op, &step.float_kernels, step.scratch, arena, team)
        }
        // Validation has refused what is not in the set.
        _ => None,
    }
}

fn cast_mut(bytes: &mut [u8]) -> &mut [i8] {
    bytemuck::cast_slice_mut(bytes)
}

fn run_conv(
    conv: &BoundConv<'_>,
    scratch: Span,
    packed: &[u8],
    arena: &mut [u8],
    team: &mut Team<'_, impl Parallel>,
) -> Option<()> {
    // What is added in place lies in the output.
    let added = conv.residual.map(|residual| residual.span).filter(|span| *span != conv.output);
    let reads = [conv.input, added.unwrap_or(conv.input)];
    let ([input, values], output, scratch) = apart_with_scratch(arena, reads, conv.output, scratch)?;
    let residual = conv.residual.map(|residual| Residual {
        values: added.map(|_| cast_slice(values)),
        multiplier: residual.multiplier,
    });
    let weights = weights(conv.weights, packed)?;
    let output = match conv.range {
        Some(range) => Output::I8(cast_mut(output), range),
        None => Output::F32(try_cast_slice_mut(output).ok()?),
    };
    let (shape, input_zero_point) = (conv.shape, conv.input_zero_point);
    let input = cast_slice(input);
    let args = ConvArgs { shape, input, input_zero_point, weights, output, residual, scratch };
    team.conv(&conv.row, args)
}

pub(crate) fn weights<'a>(bound: BoundWeights<'a>, packed: &'a [u8]) -> Option<WeightSource<'a>> {
    Some(match bound {
        BoundWeights::Canonical(weights) => WeightSource::Canonical(weights),
        BoundWeights::Section(blob) => WeightSource::Packed(blob),
        BoundWeights::Packed(start, bytes) => WeightSource::Packed(packed.get(start..start + bytes)?),
    })
}

fn run_recurrent(op: &Recurrent<'_>, scratch: Span, packed: &[u8], arena: &mut [u8]) -> Option<()> {
    let shape = op.shape;
    let spans = [op.input, op.output, op.state, scratch].map(bounds);
    let [input, output, state, scratch] = arena.get_disjoint_mut(spans).ok()?;
    let (product, scratch) = scratch.split_at_mut_checked(shape.product_bytes())?;
    let product: &mut [f32] = try_cast_slice_mut(product).ok()?;
    let mut args = RecurrentArgs {
        shape,
        input: try_cast_slice(input).ok()?,
        weights: weights(op.weights, packed)?,
        initial_hidden: op.initial_hidden,
        initial_state: op.initial_state,
        state: try_cast_slice_mut(state).ok()?,
        output: cast_mut(output),
        hidden_multiplier: op.hidden_multiplier,
        range: op.range,
        product: product.get_mut(..shape.product_elems())?,
        scratch,
    };
    op.kernel.run(&mut args).ok()
}

fn run_product(
    product: &BoundProduct,
    scratch: Span,
    arena: &mut [u8],
    team: &mut Team<'_, impl Parallel>,
) -> Option<()> {
    let reads = [product.lhs, product.rhs];
    let ([lhs, rhs], output, scratch) = apart_with_scratch(arena, reads, product.output, scratch)?;
    let output = match product.range {
        Some(range) => Output::I8(cast_mut(output), range),
        None => Output::F32(try_cast_slice_mut(output).ok()?),
    };
    let (lhs, rhs) = (cast_slice(lhs), cast_slice(rhs));
    let &BoundProduct { shape, lhs_zero_point, multiplier, .. } = product;
    let args = MatMulArgs { shape, lhs, lhs_zero_point, rhs, multiplier, output, scratch };
    team.mat_mul(&product.row, args)
}

fn run_softmax(
    kernels: &BoundVariant,
    step: &edgepack_format::plan::Softmax,
    table: Option<&[u16; 256]>,
    arena: &mut [u8],
    team: &mut Team<'_, impl Parallel>,
) -> Option<()> {
    let read = match step.input {
        SoftmaxInput::I8 { input, .. } | SoftmaxInput::F32(input) => input,
    };
    let write = match step.output {
        SoftmaxOutput::I8 { output, .. } | SoftmaxOutput::F32(output) => output,
    };
    let (input, output) = pair(arena, read, write)?;
    let channels = step.channels as usize;
    let quantized = match &step.output {
        SoftmaxOutput::I8 { multiplier, range, .. } => {
            let (zero_point, min, max) = (range.zero_point as i32, range.min as i32, range.max as i32);
            Some((*multiplier, OutputRange { zero_point, min, max }))
        }
        SoftmaxOutput::F32(_) => None,
    };
    match (table, quantized) {
        (Some(table), Some((multiplier, range))) => {
            // Attention's: worth several threads.
            team.lines(channels, cast_slice(input), cast_mut(output), |input, output| {
                let probabilities = Probabilities::I8(output, multiplier, range);
                kernels.softmax(channels, Logits::I8(input, table), probabilities);
            });
        }
        (table, quantized) => {
            let logits = match table {
                Some(table) => Logits::I8(cast_slice(input), table),
                None => Logits::F32(try_cast_slice(input).ok()?),
            };
            let probabilities = match quantized {
                Some((multiplier, range)) => Probabilities::I8(cast_mut(output), multiplier, range),
                None => Probabilities::F32(try_cast_slice_mut(output).ok()?),
            };
            kernels.softmax(channels, logits, probabilities);
        }
    }
    Some(())
}
