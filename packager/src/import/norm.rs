//! Normalizations.

use super::convolution::spatial_dims;
use super::reshape::axis as along;
use super::{Context, Importer};
use crate::error::{PackError, Result};
use crate::graph::{BinaryKind, LayerNorm, Op, Tensor, ValueId};
use crate::unary::Unary;

/// What is wrong with a batch normalization that keeps statistics.
pub(super) fn in_training(context: &Context<'_>) -> PackError {
    context.unsupported(
        "is in training mode",
        "export the model in inference mode (PyTorch: model.eval() before export)",
    )
}

pub(super) fn batch_normalization(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let attributes = context.attributes();
    let input = importer.input(context, 0)?;
    let [gamma, beta, mean, variance] = [1, 2, 3, 4].map(|i| importer.constant(context, i));
    let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
    let channels = importer.graph.dims(input).get(1).copied().unwrap_or(0);
    if [&gamma, &beta, &mean, &variance].iter().any(|t| t.data.len() != channels) {
        return Err(context.invalid(format!("its parameters are not one for each of {channels} channels")));
    }
    let epsilon = attributes.float("epsilon", 1e-5) as f64;
    let scale: Vec<f64> = (gamma.data.iter().zip(&*variance.data))
        .map(|(&gamma, &variance)| gamma as f64 / (variance as f64 + epsilon).sqrt())
        .collect();
    let shift =
        (0..channels).map(|c| (beta.data[c] as f64 - mean.data[c] as f64 * scale[c]) as f32).collect();
    let scale = scale.iter().map(|&s| s as f32).collect();
    importer.push(context, Op::ChannelAffine { scale, shift }, vec![input])
}

pub(super) fn layer_normalization(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let attributes = context.attributes();
    let input = importer.input(context, 0)?;
    let dims = importer.graph.dims(input).to_vec();
    let axis = along(context, attributes.int("axis", -1), dims.len())?;
    let channels: usize = dims[axis..].iter().product();
    let spread = |constant: Tensor| match constant.data.len() {
        1 => Ok(vec![constant.data[0]; channels]),
        n if n == channels => Ok(constant.data.to_vec()),
        _ => Err(context.invalid(format!(
            "its parameters of shape {:?} are not one for each of {channels}",
            constant.dims
        ))),
    };
    let gamma = spread(importer.constant(context, 1)?)?;
    let beta = importer.optional_constant(context, 2)?.map_or_else(|| Ok(vec![0.0; channels]), spread)?;
    let epsilon = attributes.float("epsilon", 1e-5);
    if !(epsilon >= 0.0 && epsilon.is_finite()) {
        return Err(context.invalid(format!("its epsilon is {epsilon}")));
    }
    moments(importer, context, input, axis, epsilon)?;
    let op = Op::LayerNorm(LayerNorm { axis, gamma, beta, epsilon });
    let result = importer.part(context, "normalized", op, vec![input], dims);
    importer.result(context, 0, result)
}

/// Mean and inverse deviation, where they are outputs: the application may want them.
fn moments(
    importer: &mut Importer,
    context: &Context<'_>,
    input: ValueId,
    axis: usize,
    epsilon: f32,
) -> Result<()> {
    if context.node.output.iter().skip(1).all(String::is_empty) {
        return Ok(());
    }
    let axes: Vec<usize> = (axis..importer.graph.dims(input).len()).collect();
    let mean = importer.mean_over(context, "mean", input, &axes);
    let difference = importer.binary_part(context, "difference", BinaryKind::Sub, [input, mean])?;
    let square = importer.unary_part(context, "square", Unary::Pow { exponent: 2.0 }, difference);
    let variance = importer.mean_over(context, "variance", square, &axes);
    let inverse = Unary::Affine { scale: 1.0, shift: epsilon }.then(Unary::Sqrt).then(Unary::Reciprocal);
    let inverse = importer.unary_part(context, "inverse deviation", inverse, variance);
    importer.result(context, 1, mean)?;
    importer.result(context, 2, inverse)
}

/// Instance and group normalization are layer normalizations of the pixels of one channel, or of a group
/// of them, with a factor and a summand for each channel behind.
pub(super) fn by_groups(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let dims = importer.graph.dims(input).to_vec();
    spatial_dims(importer, context, input)?;
    let channels = dims[1];
    let attributes = context.attributes();
    let groups = match context.node.op_type.as_str() {
        "InstanceNormalization" => channels,
        _ => attributes.int("num_groups", 1).max(1) as usize,
    };
    if !channels.is_multiple_of(groups) {
        return Err(context.invalid(format!("{channels} channels in {groups} groups")));
    }
    // One for each channel, or, until opset 20, for each group.
    let spread = |constant: Tensor| match constant.data.len() {
        n if n == channels => Ok(constant.data.to_vec()),
        n if n == groups => Ok((0..channels).map(|c| constant.data[c / (channels / groups)]).collect()),
        n => Err(context.invalid(format!("{n} parameters for {channels} channels in {groups} groups"))),
    };
    let scale: Vec<f32> = spread(importer.constant(context, 1)?)?;
    let shift: Vec<f32> = spread(importer.constant(context, 2)?)?;
    let elems = dims[1..].iter().product::<usize>() / groups;
    let rows = importer.reshape_part(context, "groups", input, vec![dims[0], groups, elems]);
    let norm = LayerNorm {
        axis: 2,
        gamma: vec![1.0; elems],
        beta: vec![0.0; elems],
        epsilon: attributes.float("epsilon", 1e-5),
    };
    let norm =
        importer.part(context, "normalized", Op::LayerNorm(norm), vec![rows], vec![dims[0], groups, elems]);
    let norm = importer.reshape_part(context, "channels", norm, dims.clone());
    let result = importer.part(context, "scaled", Op::ChannelAffine { scale, shift }, vec![norm], dims);
    importer.result(context, 0, result)
}

/// `x / (bias + alpha / size * (sum of the squares of neighbouring channels)) ^ beta`; the sum is a product
/// with a matrix of ones around its diagonal.
pub(super) fn local_response(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let dims = importer.graph.dims(input).to_vec();
    let attributes = context.attributes();
    let (channels, size) = (dims.get(1).copied().unwrap_or(1), attributes.int("size", 1).max(1) as usize);
    let (before, after) = ((size - 1) / 2, size / 2);
    let square = importer.unary_part(context, "squares", Unary::Pow { exponent: 2.0 }, input);
    let near = |i: usize| {
        let (c, of) = (i / channels, i % channels);
        if of + before >= c && of <= c + after { 1.0 } else { 0.0 }
    };
    let matrix = Tensor::new(vec![channels, channels], (0..channels * channels).map(near).collect());
    let sum = importer.matrix_part(context, "sums", square, 1, matrix);
    let factor = Unary::Affine {
        scale: attributes.float("alpha", 1e-4) / size as f32,
        shift: attributes.float("bias", 1.0),
    };
    let factor = factor.then(Unary::Pow { exponent: -attributes.float("beta", 0.75) });
    let factor = importer.unary_part(context, "factors", factor, sum);
    let result = importer.binary_part(context, "result", BinaryKind::Mul, [input, factor])?;
    importer.result(context, 0, result)
}

/// `(x - mean) / deviation` over axes, without parameters.
pub(super) fn mean_variance(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let rank = importer.graph.dims(input).len();
    let axes = context.attributes().ints("axes").unwrap_or(&[0, 2, 3]);
    let mut axes = axes.iter().map(|&axis| along(context, axis, rank)).collect::<Result<Vec<_>>>()?;
    axes.sort_unstable();
    let mean = importer.mean_over(context, "mean", input, &axes);
    let difference = importer.binary_part(context, "difference", BinaryKind::Sub, [input, mean])?;
    let square = importer.unary_part(context, "square", Unary::Pow { exponent: 2.0 }, difference);
    let variance = importer.mean_over(context, "variance", square, &axes);
    let inverse = Unary::Sqrt.then(Unary::Affine { scale: 1.0, shift: 1e-9 }).then(Unary::Reciprocal);
    let inverse = importer.unary_part(context, "inverse deviation", inverse, variance);
    let result = importer.binary_part(context, "result", BinaryKind::Mul, [difference, inverse])?;
    importer.result(context, 0, result)
}

/// Divides by the norm along an axis.
pub(super) fn by_length(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let axis = along(context, context.attributes().int("axis", -1), importer.graph.dims(input).len())?;
    let inverse = match context.attributes().int("p", 2) {
        1 => {
            let each = importer.unary_part(context, "of each", Unary::Abs, input);
            let sum = importer.sum_over(context, "sum", each, &[axis]);
            importer.unary_part(context, "inverse", Unary::Reciprocal, sum)
        }
        2 => {
            let each = importer.unary_part(context, "of each", Unary::Pow { exponent: 2.0 }, input);
            let sum = importer.sum_over(context, "sum", each, &[axis]);
            importer.unary_part(context, "inverse", Unary::Sqrt.then(Unary::Reciprocal), sum)
        }
        p => return Err(context.invalid(format!("its norm p is {p}, not 1 or 2"))),
    };
    let result = importer.binary_part(context, "result", BinaryKind::Mul, [input, inverse])?;
    importer.result(context, 0, result)
}
