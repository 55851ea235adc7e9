//! The table of ONNX operations that edgepack has steps for, and the conversion of the simple ones.

use tract_onnx::pb::{self, tensor_proto::DataType};

use super::facts::type_name;
use super::{
    Context, Importer, control, convolution, einsum, grid, indices, linear, logic, node_name, norm, products,
    recurrent, reduce, reshape, resize, slice, suppression, transposed, whole,
};
use crate::error::{PackError, Result};
use crate::graph::{BinaryKind, Op, Tensor};
use crate::unary::Unary;

/// What a user can do about an operation that is not in the table.
pub(crate) const REMEDY: &str = "Replace it by supported operations when exporting (`edgepack pack --help` \
     lists them), or cut the model before this node, or pack with --islands auto if the device may run it by tract";

/// A refusal of a form of an operation that has steps in others: tract may run it.
pub(super) fn with_islands(refusal: PackError) -> PackError {
    match refusal {
        PackError::Unsupported { node, op, opset, reason, remedy } if !remedy.contains("--islands") => {
            let remedy = format!("{remedy}; or pack with --islands auto if the device may run it by tract");
            PackError::Unsupported { node, op, opset, reason, remedy }
        }
        other => other,
    }
}

type Converter = fn(&mut Importer, &Context<'_>) -> Result<()>;

/// Operation and conversion. Sorted, so that the list in `--help` is.
static CONVERTERS: &[(&str, Converter)] = &[
    ("Abs", unary),
    ("Acos", unary),
    ("Acosh", unary),
    ("Add", binary),
    ("And", logic::junction),
    ("ArgMax", indices::arg),
    ("ArgMin", indices::arg),
    ("Asin", unary),
    ("Asinh", unary),
    ("Atan", unary),
    ("Atanh", unary),
    ("AveragePool", convolution::pool),
    ("BatchNormalization", norm::batch_normalization),
    ("Cast", logic::cast),
    ("CastLike", logic::cast_like),
    ("Ceil", unary),
    ("Celu", unary),
    ("Clip", clip),
    ("Concat", reshape::concat),
    ("Constant", identity),
    ("Conv", convolution::conv),
    ("ConvTranspose", transposed::conv_transpose),
    ("Cos", unary),
    ("Cosh", unary),
    ("CumSum", linear::cumulative_sum),
    ("DFT", linear::dft),
    ("DepthToSpace", reshape::depth_to_space),
    ("Div", div),
    ("Dropout", identity),
    ("Einsum", einsum::einsum),
    ("Elu", unary),
    ("Equal", logic::compare),
    ("Erf", unary),
    ("Exp", unary),
    ("Expand", reshape::expand),
    ("Flatten", reshape::reshape),
    ("Floor", unary),
    ("GRU", recurrent::gru),
    ("Gather", slice::gather),
    ("GatherElements", slice::gather_elements),
    ("GatherND", slice::gather_nd),
    ("Gelu", unary),
    ("Gemm", products::gemm),
    ("GlobalAveragePool", convolution::global_pool),
    ("GlobalMaxPool", convolution::global_pool),
    ("Greater", logic::compare),
    ("GreaterOrEqual", logic::compare),
    ("GridSample", grid::grid_sample),
    ("GroupNormalization", norm::by_groups),
    ("HardSigmoid", unary),
    ("HardSwish", unary),
    ("Hardmax", indices::hardmax),
    ("Identity", identity),
    ("If", control::select),
    ("InstanceNormalization", norm::by_groups),
    ("LRN", norm::local_response),
    ("LSTM", recurrent::lstm),
    ("LayerNormalization", norm::layer_normalization),
    ("LeakyRelu", unary),
    ("Less", logic::compare),
    ("LessOrEqual", logic::compare),
    ("Log", unary),
    ("LogSoftmax", reduce::log_softmax),
    ("Loop", control::not_unrolled),
    ("LpNormalization", norm::by_length),
    ("LpPool", convolution::lp_pool),
    ("MatMul", products::matmul),
    ("Max", logic::several),
    ("MaxPool", convolution::pool),
    ("Mean", logic::several),
    ("MeanVarianceNormalization", norm::mean_variance),
    ("Min", logic::several),
    ("Mish", unary),
    ("Mod", whole::modulo),
    ("Mul", binary),
    ("Neg", unary),
    ("NonMaxSuppression", suppression::non_max_suppression),
    ("Not", unary),
    ("OneHot", indices::one_hot),
    ("Or", logic::junction),
    ("PRelu", prelu),
    ("Pad", reshape::pad),
    ("Pow", pow),
    ("RNN", recurrent::rnn),
    ("Reciprocal", unary),
    ("ReduceL1", reduce::reduce),
    ("ReduceL2", reduce::reduce),
    ("ReduceLogSum", reduce::reduce),
    ("ReduceLogSumExp", reduce::reduce),
    ("ReduceMax", reduce::reduce),
    ("ReduceMean", reduce::reduce),
    ("ReduceMin", reduce::reduce),
    ("ReduceProd", reduce::reduce),
    ("ReduceSum", reduce::reduce),
    ("ReduceSumSquare", reduce::reduce),
    ("Relu", unary),
    ("Reshape", reshape::reshape),
    ("Resize", resize::resize),
    ("Round", unary),
    ("STFT", linear::stft),
    ("Scan", control::not_unrolled),
    ("Scatter", indices::scatter),
    ("ScatterElements", indices::scatter),
    ("ScatterND", indices::scatter),
    ("Selu", unary),
    ("Shrink", unary),
    ("Sigmoid", unary),
    ("Sign", unary),
    ("Sin", unary),
    ("Sinh", unary),
    ("Slice", slice::slice),
    ("Softmax", reshape::softmax),
    ("Softplus", unary),
    ("Softsign", unary),
    ("SpaceToDepth", reshape::space_to_depth),
    ("Split", slice::split),
    ("Sqrt", unary),
    ("Squeeze", reshape::reshape),
    ("Sub", binary),
    ("Sum", logic::several),
    ("Tan", unary),
    ("Tanh", unary),
    ("ThresholdedRelu", unary),
    ("Tile", reshape::tile),
    ("TopK", indices::top_k),
    ("Transpose", reshape::transpose),
    ("Trilu", linear::triangle),
    ("Unsqueeze", reshape::reshape),
    ("Upsample", resize::resize),
    ("Where", logic::choose),
    ("Xor", logic::junction),
];

/// Operations that are fine as long as tract can fold them: they compute shapes.
static FOLDED: &[&str] =
    &["ConstantOfShape", "EyeLike", "IsInf", "IsNaN", "NonZero", "Range", "Shape", "Size"];

/// The operations that edgepack has steps for.
pub fn supported_ops() -> impl Iterator<Item = &'static str> {
    CONVERTERS.iter().map(|&(op, _)| op)
}

/// Those of models that arrive quantized, which become int8 steps like the others.
pub fn quantized_ops() -> impl Iterator<Item = &'static str> {
    super::quantized::ops()
}

pub(super) fn converter(op: &str) -> Option<Converter> {
    CONVERTERS.iter().find(|(name, _)| *name == op).map(|&(_, converter)| converter)
}

/// Whether there are steps for a node, or folding can help it.
pub(crate) fn is_known(node: &pb::NodeProto) -> bool {
    let standard = node.domain.is_empty() || node.domain == "ai.onnx";
    let known = converter(&node.op_type).is_some() || FOLDED.contains(&node.op_type.as_str());
    (standard && known) || quantized_ops().any(|op| op == node.op_type)
}

/// Refuses operations that no step and no folding can help, before tract is asked about shapes, so
/// that the message is about the node.
pub(super) fn check_supported(graph: &pb::GraphProto, opset: i64) -> Result<()> {
    for node in &graph.node {
        let context = Context { node, name: node_name(node), opset };
        if !is_known(node) {
            return Err(context.unsupported("is not supported", REMEDY));
        }
        check_analysable(&context)?;
    }
    // Quantized weights are read here, not by tract.
    let dequantized = |tensor: &pb::TensorProto| {
        let reads = |node: &pb::NodeProto| node.input.first().is_some_and(|input| *input == tensor.name);
        graph.node.iter().any(|node| node.op_type == "DequantizeLinear" && reads(node))
    };
    let types = |tensor: &&pb::TensorProto| {
        DataType::try_from(tensor.data_type).is_ok_and(is_unknown) && !dequantized(tensor)
    };
    match graph.initializer.iter().find(types) {
        None => Ok(()),
        Some(tensor) => Err(PackError::Unsupported {
            node: tensor.name.clone(),
            op: "initializer".into(),
            opset,
            reason: format!("has element type {}", type_name(tensor.data_type)),
            remedy:
                "edgepack reads FLOAT, FLOAT16, DOUBLE, BOOL and integers of 8 bits or more: store it as one \
                     of them"
                    .into(),
        }),
    }
}

/// Types that tract knows nothing of.
fn is_unknown(dtype: DataType) -> bool {
    let name = dtype.as_str_name();
    name.starts_with("FLOAT8") || name.starts_with("FLOAT4") || ["BFLOAT16", "INT4", "UINT4"].contains(&name)
}

/// Refuses forms of operations that tract's analysis would stumble over in words of its own.
fn check_analysable(context: &Context<'_>) -> Result<()> {
    let attributes = context.attributes();
    match context.node.op_type.as_str() {
        "BatchNormalization" if attributes.int("training_mode", 0) != 0 => Err(norm::in_training(context)),
        "Cast" => match DataType::try_from(attributes.int("to", 0) as i32) {
            Ok(to) if is_unknown(to) => Err(logic::no_cast_to(context, to)),
            _ => Ok(()),
        },
        _ => Ok(()),
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
        "Tan" => Unary::Tan,
        "Asin" => Unary::Asin,
        "Acos" => Unary::Acos,
        "Atan" => Unary::Atan,
        "Sinh" => Unary::Sinh,
        "Cosh" => Unary::Cosh,
        "Asinh" => Unary::Asinh,
        "Acosh" => Unary::Acosh,
        "Atanh" => Unary::Atanh,
        "Not" => Unary::Affine { scale: -1.0, shift: 1.0 },
        "Shrink" => {
            Unary::Shrink { lambd: attributes.float("lambd", 0.5), bias: attributes.float("bias", 0.0) }
        }
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
    let computed = |index: usize| {
        let name = context.node.input.get(index).filter(|name| !name.is_empty());
        name.is_some_and(|name| importer.f32_constant(name).is_none())
    };
    if computed(1) || computed(2) {
        return logic::clip(importer, context);
    }
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
    let constant = importer.f32_constant(context.node.input.get(index)?)?;
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
    if kind == BinaryKind::Add && logic::mask(importer, context, operands)? {
        return Ok(());
    }
    importer.push(context, Op::Binary(kind), operands.to_vec())
}

/// A division is a product with the reciprocal.
fn div(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    if importer.facts.is_integer(context.input_name(0)?) {
        return whole::div(importer, context);
    }
    let numerator = importer.input(context, 0)?;
    if importer.f32_constant(context.input_name(1)?).is_none() {
        let divisor = importer.input(context, 1)?;
        let (name, dims) = (format!("{}/reciprocal", context.name), importer.graph.dims(divisor).to_vec());
        if let Some(scale) = importer.number(numerator) {
            let function = Unary::Reciprocal.then(Unary::Affine { scale, shift: 0.0 });
            if importer.output_dims(context)? == dims {
                return importer.push(context, Op::Unary(function), vec![divisor]);
            }
        }
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

/// `max(x, 0) + slope * min(x, 0)`.
fn prelu(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let [input, slope] = [importer.input(context, 0)?, importer.input(context, 1)?];
    let constant = importer.graph.value(slope).constant.as_ref();
    let first = constant.and_then(|constant| constant.data.first().copied());
    if let Some(alpha) = first.filter(|first| constant.is_some_and(|c| c.data.iter().all(|s| s == first))) {
        return push_unary(importer, context, Unary::LeakyRelu { alpha });
    }
    let (above, below) =
        (Unary::Clip { min: 0.0, max: f32::INFINITY }, Unary::Clip { min: f32::NEG_INFINITY, max: 0.0 });
    let above = importer.unary_part(context, "above 0", above, input);
    let below = importer.unary_part(context, "below 0", below, input);
    let below = importer.binary_part(context, "with its slope", BinaryKind::Mul, [below, slope])?;
    let result = importer.binary_part(context, "both", BinaryKind::Add, [above, below])?;
    importer.result(context, 0, result)
}
