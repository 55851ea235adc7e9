//! Weights that lie in a package in fewer bytes than those of f32, and become f32 before anything is multiplied
//! by them, one panel at a time.
//!
//! ```text
//! half precision    the number itself, which f32 has
//! int8              f32(w) * scale[channel], rounded once
//! ```
//! So a step with such weights gives the bits of the step in f32 with the weights that they stand for.

use core::ops::Range;

use super::product::PANEL;
use crate::conv::ConvShape;

/// The weights of a product, in panels (see [`super::product`]).
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    /// As they are multiplied by.
    F32(&'a [f32]),
    /// IEEE 754 half precision, finite.
    F16(&'a [u16]),
    /// Integers and the scale of each output channel.
    I8 {
        /// As many as of f32.
        values: &'a [i8],
        /// `[out_channels]`
        scales: &'a [f32],
    },
}

/// Panels of a convolution, over all groups; one where it is depthwise.
pub fn panels(shape: &ConvShape) -> usize {
    if shape.is_depthwise() { 1 } else { shape.groups * shape.group_out_channels().div_ceil(PANEL) }
}

/// The output channels of a panel.
#[inline(always)]
pub(super) fn panel_channels(shape: &ConvShape, panel: usize) -> Range<usize> {
    let n = shape.group_out_channels();
    let (group, within) = (panel / n.div_ceil(PANEL), panel % n.div_ceil(PANEL) * PANEL);
    group * n + within..group * n + n.min(within + PANEL)
}

/// Elements of scratch memory that weights of fewer bytes become f32 in: those of a panel.
pub fn scratch_elems(shape: &ConvShape) -> usize {
    shape.taps() * if shape.is_depthwise() { shape.out_channels } else { shape.group_in_channels() * PANEL }
}

impl Weights<'_> {
    /// Calls `run` with all panels, where the weights are f32, else with each panel as `expand` has left it in
    /// `scratch`, which has [`scratch_elems`].
    #[inline(always)]
    pub(super) fn each(
        &self,
        shape: &ConvShape,
        scratch: &mut [f32],
        expand: impl Fn(Weights<'_>, &mut [f32]),
        mut run: impl FnMut(Range<usize>, &[f32]),
    ) {
        let count = panels(shape);
        if let Self::F32(weights) = *self {
            return run(0..count, weights);
        }
        let panel_elems = scratch_elems(shape);
        let scratch = &mut scratch[..panel_elems];
        for panel in 0..count {
            let elems = panel * panel_elems..(panel + 1) * panel_elems;
            let mut padded = [0.0; PANEL];
            match *self {
                Self::I8 { values, scales } => {
                    let scales = if shape.is_depthwise() {
                        scales
                    } else {
                        let channels = panel_channels(shape, panel);
                        padded[..channels.len()].copy_from_slice(&scales[channels]);
                        &padded
                    };
                    expand(Weights::I8 { values: &values[elems], scales }, scratch);
                }
                Self::F16(values) => expand(Weights::F16(&values[elems]), scratch),
                Self::F32(_) => {}
            }
            run(panel..panel + 1, scratch);
        }
    }
}

/// The f32 values of weights, of which there are as many; those of int8 have a scale for each value of a row.
#[inline(always)]
pub fn expand(weights: Weights<'_>, output: &mut [f32]) {
    match weights {
        Weights::F32(values) => output.copy_from_slice(values),
        Weights::F16(values) => {
            output.iter_mut().zip(values).for_each(|(output, &value)| *output = half(value));
        }
        Weights::I8 { values, scales } => {
            for (output, values) in
                output.chunks_exact_mut(scales.len()).zip(values.chunks_exact(scales.len()))
            {
                for ((output, &value), &scale) in output.iter_mut().zip(values).zip(scales) {
                    *output = value as f32 * scale;
                }
            }
        }
    }
}

/// A finite number of half precision: those below the smallest normal one are integers in units of 2^-24, in the
/// others the exponent has another bias. No operation here has a subnormal operand or result.
#[inline(always)]
fn half(bits: u16) -> f32 {
    const UNIT: f32 = 1.0 / (1 << 24) as f32;
    let (sign, magnitude) = ((bits as u32 & 0x8000) << 16, bits as u32 & 0x7fff);
    let normal = (magnitude << 13) + (112 << 23);
    let subnormal = (magnitude as f32 * UNIT).to_bits();
    f32::from_bits(sign | if magnitude < 1 << 10 { subnormal } else { normal })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_the_numbers_of_their_definition() {
        for bits in 0..=u16::MAX {
            let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff));
            let magnitude = match exponent {
                31 => continue,
                0 => fraction * 2f64.powi(-24),
                _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
            };
            let real = if bits >> 15 == 1 { -magnitude } else { magnitude };
            assert_eq!(half(bits).to_bits(), (real as f32).to_bits(), "{bits:#x}");
        }
    }
}
