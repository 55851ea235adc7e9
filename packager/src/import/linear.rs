//! Products with constants: DFT, STFT and CumSum with a matrix along an axis, Trilu with a mask.

use std::f64::consts::TAU;

use super::reshape::axis;
use super::{Context, Importer};
use crate::error::Result;
use crate::graph::{BinaryKind, Tensor, ValueId};

/// Complex numbers are the last axis: 2 of them, or 1 of real numbers.
pub(super) fn dft(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let dims = importer.graph.dims(input).to_vec();
    let rank = dims.len();
    let attributes = context.attributes();
    // An attribute until opset 19, an input after it.
    let default = if context.opset < 20 { 1 } else { -2 };
    let given = match context.opset {
        ..20 => None,
        _ => importer.integers(context, 2)?.and_then(|axis| axis.first().copied()),
    };
    let along = axis(context, given.unwrap_or(attributes.int("axis", default)), rank)?;
    let length = importer.integers(context, 1)?.and_then(|length| length.first().copied());
    let (inverse, one_sided) = (attributes.int("inverse", 0) != 0, attributes.int("onesided", 0) != 0);
    if rank < 2 || along + 1 == rank || !(1..=2).contains(&dims[rank - 1]) {
        return Err(context.invalid(format!("transforms axis {along} of {dims:?}")));
    }
    if inverse && one_sided {
        return Err(context.unsupported(
            "is the inverse of a one-sided transform",
            "export the whole spectrum (onesided = 0)",
        ));
    }
    let length = length.map_or(dims[along], |length| length.max(1) as usize);
    let transform = Transform {
        samples: dims[along],
        components: dims[rank - 1],
        length,
        bins: if one_sided { length / 2 + 1 } else { length },
        inverse,
    };
    let mut perm: Vec<usize> = (0..rank).filter(|&other| other != along).collect();
    perm.insert(rank - 2, along);
    let mut back: Vec<usize> = (0..rank - 2).collect();
    back.insert(along, rank - 2);
    back.push(rank - 1);
    let rows = importer.transpose_part(context, "rows", input, perm);
    let result = importer.transformed(context, rows, &transform, |_| 1.0);
    let result = importer.transpose_part(context, "in order", result, back);
    importer.result(context, 0, result)
}

/// Frames of a signal `[B, L, 1 or 2]`, each times a window, transformed: `[B, frames, bins, 2]`.
pub(super) fn stft(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let &[batch, samples, components] = importer.graph.dims(input) else {
        return Err(context.invalid(format!("its signal has the shape {:?}", importer.graph.dims(input))));
    };
    let mut number = |index: usize| -> Result<Option<usize>> {
        Ok(importer.integers(context, index)?.and_then(|n| n.first().copied()).map(|n| n.max(0) as usize))
    };
    let (step, length) = (number(1)?.unwrap_or(0), number(3)?);
    let window = importer.optional_constant(context, 2)?.map(|window| window.data.to_vec());
    let length = length.or(window.as_ref().map(Vec::len)).unwrap_or(0);
    let fits = window.as_ref().is_none_or(|window| window.len() == length);
    if step == 0 || length == 0 || length > samples || !fits || !(1..=2).contains(&components) {
        return Err(context.invalid(format!("takes frames of {length} every {step} of {samples} samples")));
    }
    let frames = (samples - length) / step + 1;
    let one_sided = context.attributes().int("onesided", 1) != 0;
    let bins = if one_sided { length / 2 + 1 } else { length };
    let transform = Transform { samples: length, components, length, bins, inverse: false };
    let indices = (0..frames).flat_map(|frame| (0..length).map(move |at| frame * step + at)).collect();
    let taken = importer.take_part(context, "frames", input, vec![None, Some(indices), None]);
    let rows = importer.reshape_part(context, "in frames", taken, vec![batch, frames, length, components]);
    let factor = |at: usize| window.as_ref().map_or(1.0, |window| f64::from(window[at]));
    let result = importer.transformed(context, rows, &transform, factor);
    importer.result(context, 0, result)
}

/// A sum of all that comes before is a product with a triangle of ones.
pub(super) fn cumulative_sum(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let dims = importer.graph.dims(input).to_vec();
    let given = importer.integers(context, 1)?.and_then(|axis| axis.first().copied()).unwrap_or(0);
    let along = axis(context, given, dims.len())?;
    let attributes = context.attributes();
    let (exclusive, reverse) = (attributes.int("exclusive", 0) != 0, attributes.int("reverse", 0) != 0);
    let size = dims[along];
    let counts = |i: usize| {
        let (to, from) = (i / size, i % size);
        let (first, second) = if reverse { (to, from) } else { (from, to) };
        if first < second || (first == second && !exclusive) { 1.0 } else { 0.0 }
    };
    let matrix = Tensor::new(vec![size, size], (0..size * size).map(counts).collect());
    let result = importer.matrix_part(context, "sums", input, along, matrix);
    importer.result(context, 0, result)
}

/// A discrete Fourier transform.
struct Transform {
    /// Samples that there are; those that are missing to the length are 0.
    samples: usize,
    /// 1 of real samples, 2 of complex ones.
    components: usize,
    length: usize,
    bins: usize,
    inverse: bool,
}

impl Transform {
    /// `[bins * 2, samples * components]`.
    fn matrix(&self, factor: impl Fn(usize) -> f64) -> Tensor {
        let columns = self.samples * self.components;
        let sign = if self.inverse { 1.0 } else { -1.0 };
        let scale = if self.inverse { 1.0 / self.length as f64 } else { 1.0 };
        let element = |i: usize| {
            let (row, column) = (i / columns, i % columns);
            let (bin, to) = (row / 2, row % 2);
            let (sample, from) = (column / self.components, column % self.components);
            if sample >= self.length {
                return 0.0;
            }
            let angle = sign * TAU * (bin * sample % self.length) as f64 / self.length as f64;
            let turned = match (to, from) {
                (0, 0) | (1, 1) => angle.cos(),
                (0, _) => -angle.sin(),
                _ => angle.sin(),
            };
            (turned * scale * factor(sample)) as f32
        };
        Tensor::new(vec![2 * self.bins, columns], (0..2 * self.bins * columns).map(element).collect())
    }
}

/// Trilu: the triangle of each matrix above a diagonal, or below one, and zeros: a product with zeros and ones.
pub(super) fn triangle(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let dims = importer.graph.dims(input).to_vec();
    let &[.., rows, columns] = &dims[..] else {
        return Err(context.invalid(format!("an input of shape {dims:?} has no matrices")));
    };
    let diagonal = importer.integers(context, 1)?.and_then(|k| k.first().copied()).unwrap_or(0);
    let upper = context.attributes().int("upper", 1) != 0;
    let is_kept = |row: usize, column: usize| {
        let distance = column as i64 - row as i64;
        if upper { distance >= diagonal } else { distance <= diagonal }
    };
    let all = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    let mask = all.map(|(row, column)| f32::from(is_kept(row, column))).collect();
    let mask = importer.constant_part(context, "triangle", Tensor::new(vec![rows, columns], mask));
    let result = importer.binary_part(context, "kept", BinaryKind::Mul, [input, mask])?;
    importer.result(context, 0, result)
}

impl Importer {
    /// The transform of the last axis but one, whose last has the components.
    fn transformed(
        &mut self,
        context: &Context<'_>,
        input: ValueId,
        transform: &Transform,
        factor: impl Fn(usize) -> f64,
    ) -> ValueId {
        let mut dims = self.graph.dims(input).to_vec();
        dims.truncate(dims.len() - 2);
        let rows = [&dims[..], &[transform.samples * transform.components]].concat();
        let rows = self.reshape_part(context, "samples", input, rows);
        let product = self.matrix_part(context, "spectrum", rows, dims.len(), transform.matrix(factor));
        dims.extend([transform.bins, 2]);
        self.reshape_part(context, "bins", product, dims)
    }
}
