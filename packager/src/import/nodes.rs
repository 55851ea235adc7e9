//! The table of ONNX operations that edgepack has steps for, and the conversion of the simple ones.

use tract_onnx::pb;

use super::{Context, Importer, convolution, node_name, recurrent, reshape, slice};
use crate::error::Result;
use crate::graph::{BinaryKind, FullyConnected, LayerNorm, Op, Tensor};
use crate::unary::Unary;

/// What a user can do about an operation that is not in the table.
pub(crate) const REMEDY: &str = "Replace it by supported operations when exporting (`edgepack pack --help` \
     lists them), or cut the model before this node";

type Converter = fn(&mut Importer, &Context<'_>) -> Result<()>;

/// Operation and conversion. Sorted, so that the list in `--help` is.
static CONVERTERS: &[(&str, Converter)] = &[
    ("Abs", unary),
    ("Add", binary),
    ("AveragePool", convolution::pool),
    ("BatchNormalization", batch_normalization),
    ("Cast", cast),
    ("Ceil", unary),
    ("Celu", unary),
    ("Clip", clip),
    ("Concat", reshape::concat),
    ("Constant", identity),
    ("Conv", convolution::conv),
    ("Cos", unary),
    ("Div", div),
    ("Dropout", identity),
    ("Elu", unary),
    ("Erf", unary),
    ("Exp", unary),
    ("Flatten", reshape::reshape),
    ("Floor", unary),
    ("GRU", recurrent::gru),
    ("Gather", slice::gather),
    ("Gelu", unary),
    ("Gemm", gemm),
    ("GlobalAveragePool", convolution::global_pool),
    ("GlobalMaxPool", convolution::global_pool),
    ("HardSigmoid", unary),
    ("HardSwish", unary),
    ("Identity", identity),
    ("LSTM", recurrent::lstm),
    ("LayerNormalization", layer_normalization),
    ("LeakyRelu", unary),
    ("Log", unary),
    ("MatMul", matmul),
    ("MaxPool", convolution::pool),
    ("Mish", unary),
    ("Mul", binary),
    ("Neg", unary),
    ("PRelu", prelu),
    ("Pad", reshape::pad),
    ("Pow", pow),
    ("Reciprocal", unary),
    ("ReduceMean", reshape::reduce_mean),
    ("Relu", unary),
    ("Reshape", reshape::reshape),
    ("Round", unary),
    ("Selu", unary),
    ("Sigmoid", unary),
    ("Sign", unary),
    ("Sin", unary),
    ("Slice", slice::slice),
    ("Softmax", reshape::softmax),
    ("Softplus", unary),
    ("Softsign", unary),
    ("Sqrt", unary),
    ("Squeeze", reshape::reshape),
    ("Sub", binary),
    ("Tanh", unary),
    ("ThresholdedRelu", unary),
    ("Transpose", reshape::transpose),
    ("Unsqueeze", reshape::reshape),
];

/// Operations that are fine as long as tract can fold them: they compute shapes.
static FOLDED: &[&str] = &[
    "Constant",
    "ConstantOfShape",
    "Equal",
    "Expand",
    "Greater",
    "Less",
    "Max",
    "Min",
    "Not",
    "Range",
    "ReduceProd",
    "Shape",
    "Size",
    "Split",
    "Tile",
    "Where",
];

/// The operations that edgepack has steps for.
pub fn supported_ops() -> impl Iterator<Item = &'static str> {
    CONVERTERS.iter().map(|&(op, _)| op)
}

pub(super) fn converter(op: &str) -> Option<Converter> {
    CONVERTERS.iter().find(|(name, _)| *name == op).map(|&(_, converter)| converter)
}

/// Whether there are steps for a node, or folding can help it.
pub(crate) fn is_known(node: &pb::NodeProto) -> bool {
    let standard = node.domain.is_empty() || node.domain == "ai.onnx";
    standard && (converter(&node.op_type).is_some() || FOLDED.contains(&node.op_type.as_str()))
}

/// Refuses operations that no step and no folding can help, before tract is asked about shapes, so
/// that the message is about the node.
pub(super) fn check_supported(graph: &pb::GraphProto, opset: i64) -> Result<()> {
    match graph.node.iter().find(|node| !is_known(node)) {
        None => Ok(()),
        Some(node) => {
            let context = Context { node, name: node_name(node), opset };
            Err(context.unsupported("is not supported", REMEDY))
        }
    }
}

fn identity(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let training = context.node.op_type == "Dropout"
        && importer.integers(context, 2)?.is_some_and(|mode| mode.first().is_some_and(|&on| on != 0));
    if training {
        return Err(context.unsupported("is in training mode", "export the model in inference mode"));
    }
    let input = importer.input(context, 0)?;
    importer.alias(context, input);
    Ok(())
}

fn cast(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    use pb::tensor_proto::DataType;
    let to = context.attributes().int("to", 0) as i32;
    let float = [DataType::Float, DataType::Float16, DataType::Double, DataType::Bfloat16];
    if !float.iter().any(|&dtype| dtype as i32 == to) {
        let name = DataType::try_from(to).map_or("unknown", |dtype| dtype.as_str_name());
        return Err(context.unsupported(
            &format!("casts to {name} while the model runs"),
            "edgepack casts between floating-point types only, where it changes nothing",
        ));
    }
    identity(importer, context)
}

fn unary(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let attributes = context.attributes();
    let alpha = |default| attributes.float("alpha", default);
    let function = match context.node.op_type.as_str() {
        "Relu" => Unary::Clip { min: 0.0, max: f32::INFINITY },
        "LeakyRelu" => Unary::LeakyRelu { alpha: alpha(0.01) },
        "HardSigmoid" => Unary::HardSigmoid { alpha: alpha(0.2), beta: attributes.float("beta", 0.5) },
        "HardSwish" => Unary::HardSwish,
        "Sigmoid" => Unary::Sigmoid,
        "Tanh" => Unary::Tanh,
        "Elu" => Unary::Elu { alpha: alpha(1.0) },
        "Selu" => Unary::Selu { alpha: alpha(1.673_263_2), gamma: attributes.float("gamma", 1.050_701) },
        "Celu" => Unary::Celu { alpha: alpha(1.0) },
        "ThresholdedRelu" => Unary::ThresholdedRelu { alpha: alpha(1.0) },
        "Softplus" => Unary::Softplus,
        "Softsign" => Unary::Softsign,
        "Mish" => Unary::Mish,
        "Gelu" => Unary::Gelu { tanh: attributes.string("approximate", "none") == "tanh" },
        "Erf" => Unary::Erf,
        "Exp" => Unary::Exp,
        "Log" => Unary::Log,
        "Sqrt" => Unary::Sqrt,
        "Reciprocal" => Unary::Reciprocal,
        "Abs" => Unary::Abs,
        "Neg" => Unary::Neg,
        "Floor" => Unary::Floor,
        "Ceil" => Unary::Ceil,
        "Round" => Unary::Round,
        "Sign" => Unary::Sign,
        "Sin" => Unary::Sin,
        "Cos" => Unary::Cos,
        other => return Err(context.invalid(format!("`{other}` is no function of one number"))),
    };
    push_unary(importer, context, function)
}

fn push_unary(importer: &mut Importer, context: &Context<'_>, function: Unary) -> Result<()> {
    let input = importer.input(context, 0)?;
    importer.push(context, Op::Unary(function), vec![input])
}

fn clip(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let attributes = context.attributes();
    let mut bound = |index: usize, name: &str, default: f32| -> Result<f32> {
        let constant = importer.optional_constant(context, index)?.and_then(|t| t.data.first().copied());
        Ok(constant.or(attributes.optional_float(name)).unwrap_or(default))
    };
    let min = bound(1, "min", f32::NEG_INFINITY)?;
    let max = bound(2, "max", f32::INFINITY)?;
    push_unary(importer, context, Unary::Clip { min, max })
}

/// The one number of a constant input, if it is one.
fn scalar(importer: &Importer, context: &Context<'_>, index: usize) -> Option<f32> {
    let constant = importer.facts.f32_constant(context.node.input.get(index)?)?;
    match constant.data[..] {
        [value] if value.is_finite() => Some(value),
        _ => None,
    }
}

fn binary(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let kind = match context.node.op_type.as_str() {
        "Add" => BinaryKind::Add,
        "Sub" => BinaryKind::Sub,
        _ => BinaryKind::Mul,
    };
    let affine = |scale, shift| Some(Unary::Affine { scale, shift });
    let (on_left, on_right) = (scalar(importer, context, 0), scalar(importer, context, 1));
    let function = match (kind, on_left, on_right) {
        (BinaryKind::Add, Some(c), _) | (BinaryKind::Add, _, Some(c)) => affine(1.0, c),
        (BinaryKind::Mul, Some(c), _) | (BinaryKind::Mul, _, Some(c)) => affine(c, 0.0),
        (BinaryKind::Sub, _, Some(c)) => affine(1.0, -c),
        (BinaryKind::Sub, Some(c), _) => affine(-1.0, c),
        _ => None,
    };
    let output = importer.output_dims(context)?;
    let operands = [importer.input(context, 0)?, importer.input(context, 1)?];
    if let Some(function) = function {
        let data = operands[on_left.is_some() as usize];
        if importer.graph.dims(data) == output {
            return importer.push(context, Op::Unary(function), vec![data]);
        }
    }
    importer.push(context, Op::Binary(kind), operands.to_vec())
}

/// A division is a product with the reciprocal.
fn div(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let numerator = importer.input(context, 0)?;
    if importer.facts.f32_constant(context.input_name(1)?).is_none() {
        let divisor = importer.input(context, 1)?;
        let (name, dims) = (format!("{}/reciprocal", context.name), importer.graph.dims(divisor).to_vec());
        let reciprocal =
            importer.push_part(context, Op::Unary(Unary::Reciprocal), vec![divisor], &name, dims);
        return importer.push(context, Op::Binary(BinaryKind::Mul), vec![numerator, reciprocal]);
    }
    let divisor = importer.constant(context, 1)?;
    if divisor.data.contains(&0.0) {
        return Err(context.invalid("it divides by 0"));
    }
    if let [divisor] = divisor.data[..] {
        return importer.push(
            context,
            Op::Unary(Unary::Affine { scale: 1.0 / divisor, shift: 0.0 }),
            vec![numerator],
        );
    }
    let reciprocals = divisor.data.iter().map(|d| 1.0 / d).collect();
    let constant = importer.graph.add_value(format!("{}/reciprocal", context.name), divisor.dims.clone());
    importer.graph.values[constant.0].constant = Some(Tensor::new(divisor.dims.clone(), reciprocals));
    importer.push(context, Op::Binary(BinaryKind::Mul), vec![numerator, constant])
}

fn pow(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let exponent = scalar(importer, context, 1).ok_or_else(|| {
        context.unsupported("has an exponent that is not one constant number", "use a constant exponent")
    })?;
    push_unary(importer, context, Unary::Pow { exponent })
}

fn prelu(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let slope = importer.constant(context, 1)?;
    let first = slope.data.first().copied().unwrap_or(0.0);
    if slope.data.iter().any(|&s| s != first) {
        return Err(context.unsupported(
            "has a slope for each channel",
            "edgepack runs PRelu with one slope: train it with a single parameter, or use LeakyRelu",
        ));
    }
    push_unary(importer, context, Unary::LeakyRelu { alpha: first })
}

fn batch_normalization(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let attributes = context.attributes();
    if attributes.int("training_mode", 0) != 0 {
        return Err(context.unsupported(
            "is in training mode",
            "export the model in inference mode (PyTorch: model.eval() before export)",
        ));
    }
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

fn layer_normalization(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let attributes = context.attributes();
    let input = importer.input(context, 0)?;
    let dims = importer.graph.dims(input).to_vec();
    let axis = reshape::axis(context, attributes.int("axis", -1), dims.len())?;
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
    importer.push(context, Op::LayerNorm(LayerNorm { axis, gamma, beta, epsilon }), vec![input])
}

fn gemm(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let attributes = context.attributes();
    let input = importer.input(context, 0)?;
    if attributes.int("transA", 0) != 0 {
        return Err(context.unsupported("transposes its first operand", "put a Transpose before it"));
    }
    let matrix = importer.constant(context, 1)?;
    let transposed = attributes.int("transB", 0) != 0;
    let mut weights = rows_of_columns(context, &matrix, transposed)?;
    let alpha = attributes.float("alpha", 1.0);
    if alpha != 1.0 {
        weights = Tensor::new(weights.dims.clone(), weights.data.iter().map(|w| w * alpha).collect());
    }
    let outputs = weights.dims[0];
    let beta = attributes.float("beta", 1.0);
    let bias = match importer.optional_constant(context, 2)? {
        None => vec![0.0; outputs],
        Some(bias) => match bias.data.len() {
            1 => vec![bias.data[0] * beta; outputs],
            n if n == outputs => bias.data.iter().map(|b| b * beta).collect(),
            _ => {
                return Err(context.unsupported(
                    &format!("adds a matrix of shape {:?}", bias.dims),
                    "edgepack adds one bias a column: use an Add after the Gemm",
                ));
            }
        },
    };
    importer.push(context, Op::FullyConnected(FullyConnected { weights, bias }), vec![input])
}

fn matmul(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let name = context.input_name(1)?;
    if importer.graph.value(input).constant.is_some() {
        return Err(context.unsupported("has its constant on the left", "transpose both operands"));
    }
    let Some(matrix) = importer.facts.f32_constant(name) else {
        let other = importer.input(context, 1)?;
        if [input, other].iter().any(|&id| importer.graph.dims(id).len() < 2) {
            return Err(context.unsupported(
                "multiplies a vector that is computed while the model runs",
                "put an Unsqueeze before it, and a Squeeze behind it",
            ));
        }
        return importer.push(context, Op::MatMul, vec![input, other]);
    };
    let weights = rows_of_columns(context, &matrix, false)?;
    let bias = vec![0.0; weights.dims[0]];
    importer.push(context, Op::FullyConnected(FullyConnected { weights, bias }), vec![input])
}

/// `[N, K]` of a matrix that is `[K, N]`, or already `[N, K]`.
fn rows_of_columns(context: &Context<'_>, matrix: &Tensor, already: bool) -> Result<Tensor> {
    let significant: &[usize] = match &matrix.dims[..] {
        [1, rest @ ..] if rest.len() == 2 => rest,
        dims => dims,
    };
    let [rows, columns] = *significant else {
        return Err(context.unsupported(
            &format!("multiplies by a constant of shape {:?}", matrix.dims),
            "edgepack multiplies by constant matrices of two dimensions",
        ));
    };
    if already {
        return Ok(Tensor { dims: vec![rows, columns], data: matrix.data.clone() });
    }
    let data = (0..columns).flat_map(|n| (0..rows).map(move |k| matrix.data[k * columns + n])).collect();
    Ok(Tensor::new(vec![columns, rows], data))
}
