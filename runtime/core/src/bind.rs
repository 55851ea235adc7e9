//! From steps as a package describes them to steps that run: kernels chosen, constants resolved,
//! weights packed.

use bytemuck::try_cast_slice;
use edgepack_format::plan::{self, Op, Operand, Span};
use edgepack_format::{Operation, OperationSet, Operations, Package};
use edgepack_kernels::conv::matmul::{self, BoundMatMul, MatMulShape};
use edgepack_kernels::conv::{BoundRow, ConvShape, Layout, Row, Weights, select};
use edgepack_kernels::copy::{COPY_RANK, CopyArgs};
use edgepack_kernels::elementwise::{BinaryArgs, BinaryOp};
use edgepack_kernels::float;
use edgepack_kernels::isa::{IsaSet, IsaToken};
use edgepack_kernels::layer_norm::LayerNormArgs;
use edgepack_kernels::pool::{PoolArgs, PoolOp};
use edgepack_kernels::recurrent::{BoundRecurrent, RecurrentShape};
use edgepack_kernels::requantize::OutputRange;
use edgepack_kernels::variants::BoundVariant;

use crate::error::{BindError, RunError};
use crate::float::FloatOp;
use crate::int16::Int16Op;
use crate::integers::Integers;
use crate::island::{BoundIsland, Islands};
use crate::recurrent_f32::RecurrentF32;
use crate::shapes::{
    conv_row, conv_shape, mat_mul_shape, pool_args, product_shape, range, recurrent_shape, select_of, sizes,
};

const _: () = assert!(COPY_RANK == plan::MAX_RANK);

/// Memory that a package needs beside its own bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requirements {
    /// Bytes of the arena, from a multiple of 64 on.
    pub arena_bytes: usize,
    /// Bytes for packed weights, from a multiple of 64 on. 0 where the package carries them.
    pub packed_bytes: usize,
    /// Number of steps.
    pub steps: usize,
    /// Bytes of scratch memory for each thread beside the first, from a multiple of 64 on: itself one.
    pub thread_scratch_bytes: usize,
}

/// A step that is ready to run.
#[derive(Clone, Copy, Debug)]
pub struct BoundStep<'p> {
    pub(crate) scratch: Span,
    /// For all steps but convolutions.
    pub(crate) kernels: BoundVariant,
    pub(crate) float_kernels: float::BoundVariant,
    pub(crate) op: BoundOp<'p>,
}

impl BoundStep<'_> {
    /// What it is that step `index` does not run.
    pub(crate) fn failed(&self, index: usize) -> RunError {
        match self.op {
            BoundOp::Island(_) => RunError::Island { step: index },
            _ => RunError::Step { step: index },
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum BoundOp<'p> {
    Conv(BoundConv<'p>),
    Binary { args: BinaryArgs, lhs: BoundOperand<'p>, rhs: BoundOperand<'p>, output: Span },
    Lookup { input: Span, output: Span, table: &'p [i8; 256] },
    LookupF32 { input: Span, output: Span, table: &'p [f32; 256] },
    Pool { args: PoolArgs, input: Span, output: Span },
    Softmax { softmax: plan::Softmax, table: Option<&'p [u16; 256]> },
    Fill(plan::Fill),
    Copy { args: CopyArgs, input: Span, output: Span, elem_bytes: u8, table: Option<&'p [i8; 256]> },
    Recurrent(Recurrent<'p>),
    RecurrentF32(RecurrentF32<'p>),
    MatMul(BoundProduct),
    LayerNorm { args: LayerNormArgs<'p>, input: Span, output: Span },
    Float(FloatOp<'p>),
    Integers(Integers<'p>),
    Island(BoundIsland<'p>),
    Int16(Int16Op<'p>),
}

/// A product of two tensors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoundProduct {
    pub row: BoundMatMul,
    pub shape: MatMulShape,
    pub lhs: Span,
    pub rhs: Span,
    pub output: Span,
    pub lhs_zero_point: i8,
    pub multiplier: f32,
    pub range: Option<OutputRange>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct BoundConv<'p> {
    pub row: BoundRow,
    pub shape: ConvShape,
    pub input: Span,
    pub output: Span,
    pub input_zero_point: i8,
    pub weights: BoundWeights<'p>,
    pub range: Option<OutputRange>,
    pub residual: Option<plan::Residual>,
}

/// A recurrent layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recurrent<'p> {
    pub kernel: BoundRecurrent,
    pub shape: RecurrentShape,
    pub input: Span,
    pub output: Span,
    pub state: Span,
    pub weights: BoundWeights<'p>,
    pub initial_hidden: &'p [i8],
    pub initial_state: &'p [f32],
    pub hidden_multiplier: f32,
    pub range: OutputRange,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum BoundWeights<'p> {
    Canonical(Weights<'p>),
    /// A prepacked section.
    Section(&'p [u8]),
    /// Of the packed memory: start and length.
    Packed(usize, usize),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum BoundOperand<'p> {
    Arena(Span),
    Constant(&'p [i8]),
}

/// The blobs of one prepacked section, which lie after each other in the order of the steps.
struct Prepacked<'p> {
    layout: &'static Layout,
    rest: &'p [u8],
}

const MAX_LAYOUTS: usize = 16;

/// The package's prepacked sections that fit this build: those whose size is exactly what the plan's
/// steps ask for.
struct Sections<'p>([Option<Prepacked<'p>>; MAX_LAYOUTS]);

impl<'p> Sections<'p> {
    fn new(package: &Package<'p>) -> Self {
        let mut sections = Self([const { None }; MAX_LAYOUTS]);
        for (slot, layout) in sections.0.iter_mut().zip(Layout::all()) {
            let Some(rest) = package.prepacked(layout.key) else { continue };
            let needed: usize = package.steps().filter_map(|step| packs_in(&step.op, layout)).sum();
            if needed == rest.len() {
                *slot = Some(Prepacked { layout, rest });
            }
        }
        sections
    }

    /// Steps past a step in every section; gives its blob in the section of `layout`.
    pub fn advance(&mut self, op: &Op, layout: Option<&'static Layout>) -> Option<&'p [u8]> {
        let mut found = None;
        for section in self.0.iter_mut().flatten() {
            let bytes = packs_in(op, section.layout).unwrap_or(0);
            let (blob, rest) = section.rest.split_at_checked(bytes)?;
            section.rest = rest;
            if layout == Some(section.layout) {
                found = Some(blob);
            }
        }
        found
    }
}

/// The bytes of a step in the prepacked section of a layout.
pub(crate) fn packs_in(op: &Op, layout: &Layout) -> Option<usize> {
    let shape = product_shape(op).filter(|shape| !shape.is_depthwise() && same_weights_as(op).is_none())?;
    Some(layout.packed_bytes(&shape))
}

/// The earlier step whose packed weights are also this one's.
fn same_weights_as(op: &Op) -> Option<usize> {
    match op {
        Op::Conv(conv) => conv.same_weights_as.map(|step| step as usize),
        _ => None,
    }
}

/// What a package needs on a processor that `token` vouches for.
pub fn requirements(package: &Package<'_>, token: IsaToken) -> Requirements {
    let mut sections = Sections::new(package);
    let mut packed_bytes = 0;
    for step in package.steps() {
        let shape = product_shape(&step.op);
        let row = |shape| match step.op {
            Op::Conv(conv) => conv_row(&conv, step.scratch.bytes, token.set()),
            _ => select(&shape, token.set()),
        };
        let layout = shape.and_then(|shape| row(shape).layout);
        let carried = sections.advance(&step.op, layout).is_some() || same_weights_as(&step.op).is_some();
        if let (Some(shape), Some(layout), false) = (shape, layout, carried) {
            packed_bytes += layout.packed_bytes(&shape);
        }
    }
    let head = package.head();
    let scratch = package.steps().map(|step| step.scratch.bytes as usize).max().unwrap_or(0);
    Requirements {
        arena_bytes: head.arena_bytes as usize,
        packed_bytes,
        steps: head.steps as usize,
        thread_scratch_bytes: scratch.next_multiple_of(64),
    }
}

/// Binds every step: `steps` has room for [`Requirements::steps`], `packed` for
/// [`Requirements::packed_bytes`] from a multiple of 64 on.
///
/// # Errors
/// [`BindError`], where the memory is too small, the plan is older than the kernels, or a step is an island.
pub fn bind<'p>(
    package: &Package<'p>,
    token: IsaToken,
    steps: &mut [Option<BoundStep<'p>>],
    packed: &mut [u8],
) -> Result<(), BindError> {
    bind_with_islands(package, token, steps, packed, None)
}

/// As [`bind`], for a package of which some steps may be islands, if there is somebody who runs them.
///
/// # Errors
/// As [`bind`].
pub fn bind_with_islands<'p>(
    package: &Package<'p>,
    token: IsaToken,
    steps: &mut [Option<BoundStep<'p>>],
    packed: &mut [u8],
    islands: Option<&'p dyn Islands>,
) -> Result<(), BindError> {
    let Requirements { packed_bytes, steps: needed, .. } = requirements(package, token);
    let given = steps.len();
    let (steps, unused) = steps.split_at_mut_checked(needed).ok_or(BindError::Steps { needed, given })?;
    if !packed.is_empty() && !(packed.as_ptr() as usize).is_multiple_of(64) {
        return Err(BindError::Alignment);
    }
    if packed.len() < packed_bytes {
        return Err(BindError::Packed { needed: packed_bytes, given: packed.len() });
    }
    // A program runs every step that it finds: those of a package that was here before must go.
    unused.fill(None);
    let places = Packing { sections: Sections::new(package), packed, used: 0, steps };
    let mut binder = Binder { package: *package, token, places, islands };
    for (index, step) in package.steps().enumerate() {
        let bound = binder.step(index, &step)?;
        if let Some(place) = binder.places.steps.get_mut(index) {
            *place = Some(bound);
        }
    }
    Ok(())
}

/// Where the packed weights of steps lie, which are bound one after the other.
pub(crate) trait Places<'p> {
    /// Whether a step may have weights of a layout. Where it may not, it runs by a scalar row.
    fn has(&self, layout: &'static Layout) -> bool;

    /// The weights of the next step with such, in a layout, or as they are in the package.
    fn next(
        &mut self,
        op: &Op,
        layout: Option<&'static Layout>,
        shape: &ConvShape,
        canonical: Weights<'p>,
    ) -> Result<BoundWeights<'p>, BindError>;

    /// The packed weights of an earlier step, if they are as those of `shape`.
    fn earlier(&self, step: usize, layout: &'static Layout, shape: &ConvShape) -> Option<BoundWeights<'p>>;
}

/// Weights of the package's sections, or else packed now.
struct Packing<'p, 'm> {
    sections: Sections<'p>,
    packed: &'m mut [u8],
    used: usize,
    /// Those that were bound before.
    steps: &'m mut [Option<BoundStep<'p>>],
}

impl<'p> Places<'p> for Packing<'p, '_> {
    fn has(&self, _: &'static Layout) -> bool {
        true
    }

    fn next(
        &mut self,
        op: &Op,
        layout: Option<&'static Layout>,
        shape: &ConvShape,
        canonical: Weights<'p>,
    ) -> Result<BoundWeights<'p>, BindError> {
        let carried = self.sections.advance(op, layout);
        Ok(match (layout, carried) {
            (None, _) => BoundWeights::Canonical(canonical),
            (Some(_), Some(blob)) => BoundWeights::Section(blob),
            (Some(layout), None) => {
                let bytes = layout.packed_bytes(shape);
                let given = self.packed.len();
                let room = self.packed.get_mut(self.used..self.used + bytes);
                let needed = self.used + bytes;
                layout.pack(shape, &canonical, room.ok_or(BindError::Packed { needed, given })?);
                self.used += bytes;
                BoundWeights::Packed(self.used - bytes, bytes)
            }
        })
    }

    fn earlier(&self, step: usize, layout: &'static Layout, shape: &ConvShape) -> Option<BoundWeights<'p>> {
        match self.steps.get(step)? {
            Some(BoundStep { op: BoundOp::Conv(other), .. })
                if other.row.row().layout == Some(layout)
                    && layout.packed_bytes(&other.shape) == layout.packed_bytes(shape) =>
            {
                Some(other.weights)
            }
            _ => None,
        }
    }
}

/// Binds the steps of a package, which are of the set `O`, one after the other.
pub(crate) struct Binder<'p, O, P> {
    pub package: Package<'p, O>,
    pub token: IsaToken,
    pub places: P,
    pub islands: Option<&'p dyn Islands>,
}

impl<'p, O: Operations, P: Places<'p>> Binder<'p, O, P> {
    /// The next step, which is `index`.
    #[inline]
    pub fn step(&mut self, index: usize, step: &plan::Step<'_>) -> Result<BoundStep<'p>, BindError> {
        let (kernels, float_kernels) = (BoundVariant::new(self.token), float::BoundVariant::new(self.token));
        let op = self.op(index, step)?;
        Ok(BoundStep { scratch: step.scratch, kernels, float_kernels, op })
    }

    /// The row for a shape in so many bytes of scratch memory: the scalar one where there are no weights in the best
    /// one's layout.
    pub fn row(&self, shape: &ConvShape, scratch_bytes: usize) -> &'static Row {
        let row = select_of::<O>(shape, self.token.set(), scratch_bytes);
        match row.layout {
            Some(layout) if !self.places.has(layout) => select_of::<O>(shape, IsaSet::SCALAR, scratch_bytes),
            _ => row,
        }
    }

    /// Constants as values; the package was validated, so that their alignment is right.
    pub fn constants<T: bytemuck::AnyBitPattern>(&self, span: Span) -> &'p [T] {
        try_cast_slice(self.package.constant(span)).unwrap_or(&[])
    }

    fn table<T: bytemuck::AnyBitPattern>(&self, index: usize, span: Span) -> Result<&'p [T; 256], BindError> {
        self.constants(span).try_into().map_err(|_| BindError::Scratch { step: index })
    }

    #[inline]
    fn op(&mut self, index: usize, step: &plan::Step<'_>) -> Result<BoundOp<'p>, BindError> {
        Ok(match step.op {
            Op::Conv(conv) if O::SET.intersects(OperationSet::CONVOLUTIONS) => {
                BoundOp::Conv(self.conv(index, step, &conv)?)
            }
            Op::Binary(binary) if O::SET.contains(Operation::Binary) => BoundOp::Binary {
                args: BinaryArgs {
                    op: match binary.op {
                        plan::BinaryOp::Add { lhs_multiplier, rhs_multiplier } => {
                            BinaryOp::Add { lhs_multiplier, rhs_multiplier }
                        }
                        plan::BinaryOp::Mul { multiplier } => BinaryOp::Mul { multiplier },
                    },
                    lhs_zero_point: binary.lhs_zero_point as i32,
                    rhs_zero_point: binary.rhs_zero_point as i32,
                    output: range(&binary.range),
                    dims: sizes(binary.dims),
                    lhs_strides: sizes(binary.lhs_strides),
                    rhs_strides: sizes(binary.rhs_strides),
                },
                lhs: self.operand(binary.lhs),
                rhs: self.operand(binary.rhs),
                output: binary.output,
            },
            Op::Lookup(lookup) if O::SET.contains(Operation::Lookup) && lookup.to_f32 => BoundOp::LookupF32 {
                input: lookup.input,
                output: lookup.output,
                table: self.table(index, lookup.table)?,
            },
            Op::Lookup(lookup) if O::SET.contains(Operation::Lookup) => BoundOp::Lookup {
                input: lookup.input,
                output: lookup.output,
                table: self.table(index, lookup.table)?,
            },
            Op::Pool(pool) if O::SET.contains(Operation::Pool) => {
                let op = match pool.op {
                    plan::PoolOp::Max => PoolOp::Max,
                    plan::PoolOp::Average {
                        input_zero_point,
                        multiplier,
                        count_include_pad,
                        range: output,
                    } => PoolOp::Average {
                        zero_point: input_zero_point as i32,
                        multiplier,
                        count_include_pad,
                        output: range(&output),
                    },
                };
                let args = pool_args(op, &pool.window, pool.pad_after);
                BoundOp::Pool { args, input: pool.input, output: pool.output }
            }
            Op::Softmax(softmax) if O::SET.contains(Operation::Softmax) => {
                let table = match softmax.input {
                    plan::SoftmaxInput::I8 { table, .. } => Some(self.table(index, table)?),
                    plan::SoftmaxInput::F32(_) => None,
                };
                BoundOp::Softmax { softmax, table }
            }
            Op::Fill(fill) if O::SET.contains(Operation::Fill) => BoundOp::Fill(fill),
            Op::Copy(copy) if O::SET.contains(Operation::Copy) => BoundOp::Copy {
                args: CopyArgs {
                    dims: sizes(copy.dims),
                    input_start: copy.input_start as usize,
                    input_strides: sizes(copy.input_strides),
                    output_start: copy.output_start as usize,
                    output_strides: sizes(copy.output_strides),
                },
                input: copy.input,
                output: copy.output,
                elem_bytes: copy.elem_bytes,
                table: copy.table.map(|table| self.table(index, table)).transpose()?,
            },
            Op::Recurrent(recurrent) if O::SET.contains(Operation::Recurrent) => {
                BoundOp::Recurrent(self.recurrent(index, step, &recurrent)?)
            }
            Op::RecurrentF32(ref op) if O::SET.contains(Operation::RecurrentF32) => {
                BoundOp::RecurrentF32(self.recurrent_f32(index, step, op)?)
            }
            Op::MatMul(product) if O::SET.contains(Operation::MatMul) => {
                BoundOp::MatMul(self.product(index, step, &product)?)
            }
            Op::LayerNorm(norm) if O::SET.contains(Operation::LayerNorm) => BoundOp::LayerNorm {
                args: LayerNormArgs {
                    gamma: self.constants(norm.gamma),
                    beta: self.constants(norm.beta),
                    epsilon: norm.epsilon,
                    output: range(&norm.range),
                },
                input: norm.input,
                output: norm.output,
            },
            Op::Elementwise(_)
            | Op::ConvF32(_)
            | Op::PoolF32(_)
            | Op::MatMulF32(_)
            | Op::LayerNormF32(_)
            | Op::QuantizeRows(_)
            | Op::RescaleRows(_)
                if O::SET.intersects(crate::float::OPERATIONS) =>
            {
                let package = self.package;
                let bound = crate::float::bind::<O>(&step.op, |span| package.constant(span));
                BoundOp::Float(bound.ok_or(BindError::Scratch { step: index })?)
            }
            Op::Convert(_) | Op::Gather(_) | Op::Scatter(_) | Op::TopK(_) | Op::NonMaxSuppression(_)
                if O::SET.intersects(crate::integers::OPERATIONS) =>
            {
                let bound = Integers::new(&step.op, &self.package);
                BoundOp::Integers(bound.ok_or(BindError::Scratch { step: index })?)
            }
            Op::Island(island) if O::SET.contains(Operation::Island) => {
                let islands = self.islands.ok_or(BindError::Island { step: index })?;
                BoundOp::Island(BoundIsland { islands, island })
            }
            Op::ConvI16(_) | Op::PoolI16(_) if O::SET.intersects(crate::int16::OPERATIONS) => {
                let package = self.package;
                let bound = crate::int16::bind::<O>(&step.op, self.token, |span| package.constant(span));
                BoundOp::Int16(bound.ok_or(BindError::Scratch { step: index })?)
            }
            // Validation has refused what is not in the set.
            _ => return Err(BindError::Scratch { step: index }),
        })
    }

    fn product(
        &self,
        index: usize,
        step: &plan::Step<'_>,
        product: &plan::MatMul,
    ) -> Result<BoundProduct, BindError> {
        let shape = mat_mul_shape(&product.geometry);
        let row = matmul::select(self.token.set());
        // As of convolutions: a row that was not compiled in cannot have been detected.
        let bound = BoundMatMul::new(row, self.token).ok_or(BindError::Scratch { step: index })?;
        if row.scratch_bytes(&shape) > step.scratch.bytes as usize {
            return Err(BindError::Scratch { step: index });
        }
        Ok(BoundProduct {
            row: bound,
            shape,
            lhs: product.lhs,
            rhs: product.rhs,
            output: product.output,
            lhs_zero_point: product.lhs_zero_point,
            multiplier: product.multiplier,
            range: product.range.as_ref().map(range),
        })
    }

    fn operand(&self, operand: Operand) -> BoundOperand<'p> {
        match operand {
            Operand::Arena(span) => BoundOperand::Arena(span),
            Operand::Constant(span) => BoundOperand::Constant(self.constants(span)),
        }
    }

    fn conv(
        &mut self,
        index: usize,
        step: &plan::Step<'_>,
        conv: &plan::Conv,
    ) -> Result<BoundConv<'p>, BindError> {
        let shape = conv_shape(&conv.window, conv.groups);
        let row = self.row(&shape, step.scratch.bytes as usize);
        // A row that was not compiled in cannot have been detected; the scalar one always is.
        let bound = BoundRow::new(row, self.token).ok_or(BindError::Scratch { step: index })?;
        let canonical = self.canonical(conv.weights, conv.bias, conv.multiplier);
        let weights = match (same_weights_as(&step.op), row.layout) {
            (Some(earlier), Some(layout)) => {
                let weights = self.places.earlier(earlier, layout, &shape);
                weights.ok_or(BindError::SameWeights { step: index })?
            }
            _ => self.places.next(&step.op, row.layout, &shape, canonical)?,
        };
        Ok(BoundConv {
            row: bound.for_shape(&shape),
            shape,
            input: conv.input,
            output: conv.output,
            input_zero_point: conv.input_zero_point,
            weights,
            range: conv.range.as_ref().map(range),
            residual: conv.residual,
        })
    }
}

impl<'p, O: Operations, P: Places<'p>> Binder<'p, O, P> {
    fn recurrent(
        &mut self,
        index: usize,
        step: &plan::Step<'_>,
        op: &plan::Recurrent,
    ) -> Result<Recurrent<'p>, BindError> {
        let shape = recurrent_shape(op);
        let row = self.row(&shape.conv(), usize::MAX);
        let bound = BoundRow::new(row, self.token).ok_or(BindError::Scratch { step: index })?;
        if shape.scratch_bytes(row) > step.scratch.bytes as usize {
            return Err(BindError::Scratch { step: index });
        }
        let canonical = self.canonical(op.weights, op.bias, op.multiplier);
        Ok(Recurrent {
            kernel: BoundRecurrent::new(bound.for_shape(&shape.conv()), self.token),
            shape,
            input: op.input,
            output: op.output,
            state: op.state,
            weights: self.places.next(&step.op, row.layout, &shape.conv(), canonical)?,
            initial_hidden: self.constants(op.initial_hidden),
            initial_state: self.constants(op.initial_state),
            hidden_multiplier: op.hidden_multiplier,
            range: range(&op.range),
        })
    }

    pub fn canonical(&self, weights: Span, bias: Span, multiplier: Span) -> Weights<'p> {
        Weights {
            weights: self.constants(weights),
            bias: self.constants(bias),
            multiplier: self.constants(multiplier),
        }
    }
}
