//! Recurrent layers with hidden states of f32: bound, and run.

use bytemuck::{cast_slice_mut, try_cast_slice, try_cast_slice_mut};
use edgepack_format::Operations;
use edgepack_format::plan::{self, RecurrentProduct, Span, WeightFormat};
use edgepack_kernels::conv::BoundRow;
use edgepack_kernels::float;
use edgepack_kernels::float::recurrent::{Product, RecurrentArgs, recurrent};
use edgepack_kernels::float::weights::{Weights, scratch_elems};
use edgepack_kernels::recurrent::{BoundGates, Cell, RecurrentShape};

use crate::arena::bounds;
use crate::bind::{Binder, BoundWeights, Places};
use crate::error::BindError;
use crate::float::{floats, weights_of};

/// The geometry of a step, for the kernels.
pub fn recurrent_f32_shape(op: &plan::RecurrentF32) -> RecurrentShape {
    RecurrentShape {
        cell: match op.cell {
            plan::Cell::Lstm => Cell::Lstm,
            plan::Cell::Gru => Cell::Gru,
        },
        steps: op.steps as usize,
        batch: op.batch as usize,
        hidden: op.hidden as usize,
        reverse: op.reverse,
    }
}

/// Bytes of scratch memory that a step needs, if a row of the convolutions asks for `row_bytes`: a time step's
/// product; behind it a panel of weights, or the quantized hidden states, their scales, and the row's.
pub fn recurrent_f32_scratch_bytes(op: &plan::RecurrentF32, row_bytes: usize) -> usize {
    let shape = recurrent_f32_shape(op);
    shape.product_bytes()
        + match op.product {
            RecurrentProduct::F32(WeightFormat::F32) => 0,
            RecurrentProduct::F32(_) => 4 * scratch_elems(&shape.conv()),
            RecurrentProduct::Dynamic { .. } => {
                let [quantized, scales] = quantized_bytes(&shape);
                quantized + scales + row_bytes
            }
        }
}

/// Bytes of the quantized hidden states and of their scales, each with those that lead to a multiple of 64.
fn quantized_bytes(shape: &RecurrentShape) -> [usize; 2] {
    [shape.state_elems(), 4 * shape.batch].map(|bytes| bytes.next_multiple_of(64))
}

/// A recurrent layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecurrentF32<'p> {
    shape: RecurrentShape,
    gates: BoundGates,
    product: BoundProduct<'p>,
    /// Input, output, state.
    spans: [Span; 3],
    bias: &'p [f32],
    initial_hidden: &'p [f32],
    initial_state: &'p [f32],
}

#[derive(Clone, Copy, Debug)]
enum BoundProduct<'p> {
    F32(Weights<'p>),
    Dynamic(BoundRow, BoundWeights<'p>),
}

impl<'p, O: Operations, P: Places<'p>> Binder<'p, O, P> {
    pub(crate) fn recurrent_f32(
        &mut self,
        index: usize,
        step: &plan::Step<'_>,
        op: &plan::RecurrentF32,
    ) -> Result<RecurrentF32<'p>, BindError> {
        let shape = recurrent_f32_shape(op);
        let product = match op.product {
            RecurrentProduct::F32(format) => {
                let package = self.package;
                BoundProduct::F32(weights_of(op.weights, format, |span| package.constant(span)))
            }
            RecurrentProduct::Dynamic { sums, multiplier } => {
                let row = self.row(&shape.conv(), usize::MAX);
                let bound = BoundRow::new(row, self.token).ok_or(BindError::Scratch { step: index })?;
                let needed = recurrent_f32_scratch_bytes(op, row.scratch_bytes(&shape.conv()));
                if needed > step.scratch.bytes as usize {
                    return Err(BindError::Scratch { step: index });
                }
                let canonical = self.canonical(op.weights, sums, multiplier);
                let weights = self.places.next(&step.op, row.layout, &shape.conv(), canonical)?;
                BoundProduct::Dynamic(bound.for_shape(&shape.conv()), weights)
            }
        };
        Ok(RecurrentF32 {
            shape,
            gates: BoundGates::new(self.token),
            product,
            spans: [op.input, op.output, op.state],
            bias: self.constants(op.bias),
            initial_hidden: self.constants(op.initial_hidden),
            initial_state: self.constants(op.initial_state),
        })
    }
}

impl RecurrentF32<'_> {
    /// Runs the layer; `None` where its spans do not fit the arena, which validation has excluded.
    pub(crate) fn run(
        &self,
        kernels: &float::BoundVariant,
        scratch: Span,
        packed: &[u8],
        arena: &mut [u8],
    ) -> Option<()> {
        let &Self { shape, ref product, spans: [input, output, state], .. } = self;
        let [input, output, state, scratch] =
            arena.get_disjoint_mut([input, output, state, scratch].map(bounds)).ok()?;
        let (sums, rest) = scratch.split_at_mut_checked(shape.product_bytes())?;
        let weights = match product {
            BoundProduct::F32(weights) => Product::Panels { weights: *weights, scratch: floats(rest)? },
            BoundProduct::Dynamic(row, weights) => {
                let [quantized, scales] = quantized_bytes(&shape);
                let (quantized, rest) = rest.split_at_mut_checked(quantized)?;
                let (scales, scratch) = rest.split_at_mut_checked(scales)?;
                Product::Dynamic {
                    row,
                    weights: crate::run::weights(*weights, packed)?,
                    quantized: cast_slice_mut(quantized.get_mut(..shape.state_elems())?),
                    scales: try_cast_slice_mut(scales).ok()?.get_mut(..shape.batch)?,
                    scratch,
                }
            }
        };
        let product: &mut [f32] = try_cast_slice_mut(sums).ok()?;
        recurrent(
            kernels,
            &self.gates,
            &mut RecurrentArgs {
                shape,
                input: try_cast_slice(input).ok()?,
                bias: self.bias,
                weights,
                initial_hidden: self.initial_hidden,
                initial_state: self.initial_state,
                state: try_cast_slice_mut(state).ok()?,
                output: try_cast_slice_mut(output).ok()?,
                product: product.get_mut(..shape.product_elems())?,
            },
        )
        .ok()
    }
}
