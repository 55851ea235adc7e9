//! LSTM and GRU whose hidden states are f32: [`crate::recurrent`] with another product.
//!
//! ```text
//! p = ((bias[n] + h[0] * R[n, 0]) + h[1] * R[n, 1]) + …                       weights of f32, or that become it
//! p = (f32(sum over k of R[n, k] * q[k]) * multiplier[n]) * scale + bias[n]     int8 weights, h quantized anew
//! ```
//! The second has `q` and `scale` from [`super::quantize`], each time step and sequence its own, so that no range
//! of the hidden states must be known.

use super::BoundVariant;
use super::product::ConvArgs as FloatConvArgs;
use super::quantize::RescaleArgs;
use super::weights::Weights;
use crate::conv::{ArgsError, BoundRow, ConvArgs, Output, WeightSource};
use crate::recurrent::{BoundGates, GatesArgs, Hidden, RecurrentShape, time_step};

/// What the hidden states are multiplied by, and memory for it.
#[derive(Debug)]
pub enum Product<'a> {
    /// In f32.
    Panels {
        /// R in panels, as of a convolution of 1×1.
        weights: Weights<'a>,
        /// A panel, unless the weights are f32.
        scratch: &'a mut [f32],
    },
    /// In int8.
    Dynamic {
        /// The row of the product.
        row: &'a BoundRow,
        /// R, canonical or packed as the row wants.
        weights: WeightSource<'a>,
        /// `[B, H]`
        quantized: &'a mut [i8],
        /// `[B]`
        scales: &'a mut [f32],
        /// The row's, aligned to 64 bytes.
        scratch: &'a mut [u8],
    },
}

/// One run of a recurrent layer over a whole sequence.
#[derive(Debug)]
pub struct RecurrentArgs<'a> {
    /// The geometry.
    pub shape: RecurrentShape,
    /// What the input contributes: `[T, B, G * H]`.
    pub input: &'a [f32],
    /// `[G * H]`
    pub bias: &'a [f32],
    /// R.
    pub weights: Product<'a>,
    /// h before the first step: `[B, H]`.
    pub initial_hidden: &'a [f32],
    /// The state before the first step: `[B, H]`, each of magnitude at most 2^20.
    pub initial_state: &'a [f32],
    /// The state after the last step: `[B, H]`.
    pub state: &'a mut [f32],
    /// h of every step: `[T, B, H]`.
    pub output: &'a mut [f32],
    /// `[B, G * H]`; contents do not matter.
    pub product: &'a mut [f32],
}

/// Runs a layer.
///
/// # Errors
/// [`ArgsError`] where a slice does not fit the shape.
pub fn recurrent(
    kernels: &BoundVariant,
    gates: &BoundGates,
    args: &mut RecurrentArgs<'_>,
) -> Result<(), ArgsError> {
    let shape = args.shape;
    let (state_elems, product_elems) = (shape.state_elems(), shape.product_elems());
    let fits = args.input.len() == shape.steps * product_elems
        && args.bias.len() == shape.conv().out_channels
        && args.output.len() == shape.steps * state_elems
        && args.initial_hidden.len() == state_elems
        && args.initial_state.len() == state_elems
        && args.state.len() == state_elems
        && args.product.len() == product_elems;
    if !fits {
        return Err(ArgsError::Length);
    }
    args.state.copy_from_slice(args.initial_state);
    for index in 0..shape.steps {
        let (step, before, output) = time_step(&shape, index, args.initial_hidden, args.output);
        multiply(kernels, &shape, before, args.bias, &mut args.weights, args.product)?;
        gates.run(&mut GatesArgs {
            cell: shape.cell,
            hidden: shape.hidden,
            input: &args.input[step * product_elems..][..product_elems],
            product: args.product,
            state: args.state,
            output: Hidden::F32(output),
        });
    }
    Ok(())
}

const UNBOUNDED: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];

fn multiply(
    kernels: &BoundVariant,
    shape: &RecurrentShape,
    hidden: &[f32],
    bias: &[f32],
    weights: &mut Product<'_>,
    product: &mut [f32],
) -> Result<(), ArgsError> {
    let shape = shape.conv();
    match weights {
        Product::Panels { weights, scratch } => {
            kernels.panels(&shape, weights, scratch, |panels, weights| {
                let args = FloatConvArgs { shape, input: hidden, weights, panels, bias, bounds: UNBOUNDED };
                kernels.conv(&args, 0..shape.output_pixels(), product);
            })
        }
        Product::Dynamic { row, weights, quantized, scales, scratch } => {
            kernels.quantize_rows(shape.in_channels, 0, hidden, quantized, scales);
            row.run(&mut ConvArgs {
                shape,
                input: quantized,
                input_zero_point: 0,
                weights: *weights,
                output: Output::F32(product),
                residual: None,
                scratch,
            })?;
            let args = RescaleArgs { scales, rows_of_scale: 1, bias, bounds: UNBOUNDED };
            kernels.rescale_rows(&args, 0..shape.output_pixels(), product);
        }
    }
    Ok(())
}
