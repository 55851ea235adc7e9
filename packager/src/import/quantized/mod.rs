//! Models that arrive quantized, in either form that ONNX has for it, become the float model that they
//! were made from, with every given scale and zero point beside it:
//!
//! ```text
//! QOperator   QLinearConv, QLinearAdd, QGemm, ...      -> Conv, Add, Gemm, ... and the scales of the results
//! QDQ         QuantizeLinear, DequantizeLinear          -> Identity, and the scales of the results
//! dynamic     MatMulInteger and ConvInteger as          -> MatMul and Conv; the scales of their weights
//!             `quantize_dynamic` writes them
//!             DynamicQuantizeLSTM                       -> LSTM; the scales of its weights
//! constants   DequantizeLinear of an initializer        -> an f32 initializer, and its scales
//! ```
//! Names of nodes and values stay. What the scales mean is read here from the ONNX nodes, so that one road
//! leads from both forms to int8 steps, and tract sees nothing but float operations when it infers shapes.

mod constants;
mod dynamic;
mod lstm;
mod moves;
mod operators;
mod params;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use tract_onnx::pb::{self, tensor_proto::DataType};

use super::{Context, OnnxFile};
use crate::error::Result;
use constants::Constants;
pub(super) use params::Params;

/// What a quantized model says of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    /// By name of a value in the float model.
    pub params: HashMap<String, Params>,
    /// What could not be taken as it is.
    pub notes: Vec<String>,
    /// The forms in which it is written, as the ONNX world calls them: QDQ, QOperator, dynamic.
    pub forms: Vec<&'static str>,
}

/// The float model that a quantized one becomes.
pub(super) struct FloatModel {
    /// The model; its nodes have the names of the file's.
    pub proto: pb::ModelProto,
    /// By node: its index in the file.
    pub origins: Vec<usize>,
    /// What the file says of scales.
    pub given: Given,
}

/// Makes a quantized model a float one; gives `None` for models that are not quantized. `names` are those of
/// its nodes.
///
/// # Errors
/// Scales that the file computes or that are no positive numbers, and integers that something else than
/// the operations above reads.
pub(super) fn to_float(file: &OnnxFile, names: &[String]) -> Result<Option<FloatModel>> {
    let graph = file.graph();
    if !graph.node.iter().any(is_quantized) {
        return Ok(None);
    }
    let constants = Constants::new(graph, file.path.parent().and_then(Path::to_str));
    let mut rewriter = Rewriter {
        graph,
        constants,
        opset: file.opset,
        given: Given::default(),
        integers: HashSet::new(),
        nodes: Vec::new(),
        initializers: Vec::new(),
        floats: HashMap::new(),
    };
    let dynamic = dynamic::products(&rewriter, names)?;
    let mut origins = Vec::new();
    for (index, (node, name)) in graph.node.iter().zip(names).enumerate() {
        // What makes nothing is nothing.
        if node.output.is_empty() {
            continue;
        }
        let context = Context { node, name: name.clone(), opset: file.opset };
        match dynamic.get(node.output.first().map_or("", |name| name.as_str())) {
            Some(dynamic::Part::Product(product)) => rewriter.dynamic_product(&context, product)?,
            Some(dynamic::Part::Absorbed) => {}
            None => rewriter.node(&context)?,
        }
        origins.resize(rewriter.nodes.len(), index);
    }
    let (graph, given) = rewriter.finish();
    let proto = pb::ModelProto {
        ir_version: file.proto.ir_version,
        opset_import: file.proto.opset_import.clone(),
        graph: Some(graph),
        ..Default::default()
    };
    Ok(Some(FloatModel { proto, origins, given }))
}

/// The operations that are read here, sorted.
pub(super) fn ops() -> impl Iterator<Item = &'static str> {
    let others = ["DequantizeLinear", "QuantizeLinear"].iter().chain(dynamic::OPS).copied();
    let mut ops: Vec<_> = others.chain(operators::names()).collect();
    ops.sort_unstable();
    ops.into_iter()
}

fn is_quantized(node: &pb::NodeProto) -> bool {
    ops().any(|op| op == node.op_type)
}

struct Rewriter<'a> {
    graph: &'a pb::GraphProto,
    constants: Constants<'a>,
    opset: i64,
    given: Given,
    /// Names of values that hold integers while the model runs; all have parameters in `given`.
    integers: HashSet<String>,
    nodes: Vec<pb::NodeProto>,
    initializers: Vec<pb::TensorProto>,
    /// By integer constant: the f32 ones that were made from it.
    floats: HashMap<String, Vec<(Params, String)>>,
}

impl<'a> Rewriter<'a> {
    fn node(&mut self, context: &Context<'a>) -> Result<()> {
        match context.node.op_type.as_str() {
            "QuantizeLinear" => self.quantize(context),
            "DequantizeLinear" => self.dequantize(context),
            "DynamicQuantizeLSTM" => self.dynamic_lstm(context),
            op => match operators::find(op) {
                Some(operator) => {
                    self.form("QOperator");
                    self.operator(context, operator)
                }
                None => self.float_node(context),
            },
        }
    }

    fn form(&mut self, form: &'static str) {
        if !self.given.forms.contains(&form) {
            self.given.forms.push(form);
        }
    }

    /// Scale and zero point at two inputs of a node. `levels` are those of the tensor, where no zero point
    /// says which they are.
    fn params(
        &self,
        context: &Context<'_>,
        [scale, zero_point]: [usize; 2],
        axis: i64,
        levels: [i32; 2],
    ) -> Result<Params> {
        let name = context.input_name(scale)?;
        let scales = self.constants.floats(name).map_err(|reason| {
            context.unsupported(
                &format!("takes its scale from `{name}`, {reason}"),
                "edgepack needs scales and zero points as constants: export the model with them folded",
            )
        })?;
        if let Some(scale) = scales.iter().find(|scale| !(scale.is_finite() && **scale > 0.0)) {
            return Err(context.invalid(format!("its scale `{name}` holds {scale}")));
        }
        let zero_point = context.node.input.get(zero_point).filter(|name| !name.is_empty());
        let (zero_points, levels) = match zero_point {
            None => (vec![0; scales.len()], levels),
            Some(name) => {
                let integers = self.constants.integers(name).map_err(|reason| {
                    context.unsupported(
                        &format!("takes its zero point from `{name}`, {reason}"),
                        "edgepack needs zero points as constant integers",
                    )
                })?;
                let spread = match integers.data[..] {
                    [one] => vec![one; scales.len()],
                    _ => integers.data,
                };
                (spread, integers.levels)
            }
        };
        if scales.is_empty() || zero_points.len() != scales.len() {
            return Err(context.invalid(format!(
                "{} zero points, {} scales",
                zero_points.len(),
                scales.len()
            )));
        }
        Ok(Params { scales, zero_points, axis, levels })
    }

    /// The node of the float model that stands for this one.
    fn emit(&mut self, context: &Context<'_>, op: &str, inputs: Vec<String>) {
        self.nodes.push(pb::NodeProto {
            op_type: op.into(),
            domain: String::new(),
            input: inputs,
            ..context.node.clone()
        });
    }

    fn identity(&mut self, context: &Context<'_>, input: &str) {
        self.emit(context, "Identity", vec![input.into()]);
        if let Some(node) = self.nodes.last_mut() {
            node.attribute.clear();
        }
    }

    fn quantize(&mut self, context: &Context<'_>) -> Result<()> {
        self.form("QDQ");
        let input = context.input_name(0)?;
        let attributes = context.attributes();
        if attributes.int("block_size", 0) != 0 {
            return Err(context.unsupported("quantizes block by block", BLOCKS));
        }
        let dtype = attributes.int("output_dtype", 0) as i32;
        let levels = constants::levels(dtype).unwrap_or(params::UINT8);
        let params = self.params(context, [1, 2], attributes.int("axis", 1), levels)?;
        self.note_other_readers(context, input);
        self.identity(context, input);
        self.makes_integers(context, params)
    }

    /// A value has one representation on the device: says so where the file reads it in several.
    fn note_other_readers(&mut self, context: &Context<'_>, input: &str) {
        if self.constants.contains(input) {
            return;
        }
        let scale = |node: &pb::NodeProto| node.input.get(1..).map(<[String]>::to_vec);
        let own = scale(context.node);
        let is_unrounded = |reader: &pb::NodeProto| reader.op_type != "QuantizeLinear";
        let is_output = self.graph.output.iter().any(|output| output.name == input);
        let name = &context.name;
        if is_output || self.readers(input).any(is_unrounded) {
            self.given.notes.push(format!(
                "`{input}` is also read as it was before `{name}` rounds it: edgepack keeps the rounded values only"
            ));
        }
        let first = self.readers(input).find(|reader| !is_unrounded(reader));
        if first.is_some_and(|first| scale(first) != own) {
            self.given.notes.push(format!(
                "`{input}` is rounded to several scales: edgepack rounds it for `{name}` from the first of them"
            ));
        }
    }

    /// Records what the integers stand for that a node makes.
    fn makes_integers(&mut self, context: &Context<'_>, params: Params) -> Result<()> {
        let output = &context.node.output[0];
        if self.graph.output.iter().any(|end| end.name == *output) {
            if params.quant().is_none() {
                return Err(context.unsupported(
                    &format!("makes the output `{output}`, integers that are no 8 bits with one scale"),
                    "end the model with a DequantizeLinear, so that its output is float",
                ));
            }
            self.given.notes.push(format!(
                "output `{output}` holds integers in the model; the package gives the real numbers that they \
                 stand for"
            ));
        }
        self.given.params.insert(output.clone(), params);
        self.integers.insert(output.clone());
        Ok(())
    }

    fn readers(&self, name: &str) -> impl Iterator<Item = &'a pb::NodeProto> {
        self.graph.node.iter().filter(move |node| node.input.iter().any(|input| input == name))
    }

    fn dequantize(&mut self, context: &Context<'_>) -> Result<()> {
        let (input, output) = (context.input_name(0)?, context.node.output[0].clone());
        let axis = context.attributes().int("axis", 1);
        if context.attributes().int("block_size", 0) != 0 {
            return Err(context.unsupported("is quantized block by block", BLOCKS));
        }
        if !self.constants.contains(input) {
            let made = self.given.params.get(input).map(|params| params.levels);
            let levels = made.or_else(|| self.levels_of(input)).ok_or_else(|| {
                context.unsupported(
                    &format!("reads `{input}`, which holds no integers of at most 32 bits"),
                    "edgepack takes models that are quantized to integers of 8 bits",
                )
            })?;
            let params = self.params(context, [1, 2], axis, levels)?;
            self.runtime_operand(context, input, &params)?;
            self.identity(context, input);
            self.given.params.insert(output, params);
            return Ok(());
        }
        self.form("QDQ");
        let levels = self.constants.levels_of(input).unwrap_or(params::UINT8);
        let params = self.params(context, [1, 2], axis, levels)?;
        self.float_constant(context, input, &params, output)
    }

    /// An f32 constant with this name, of what an integer constant stands for.
    fn float_constant(
        &mut self,
        context: &Context<'_>,
        integers: &str,
        params: &Params,
        name: String,
    ) -> Result<()> {
        let constant = self.constants.integers(integers).map_err(|reason| {
            context.unsupported(
                &format!("reads the constant `{integers}`, {reason}"),
                "edgepack reads integer constants of 4, 8, 16 and 32 bits",
            )
        })?;
        let Some(data) = params.dequantized(&constant.dims, &constant.data) else {
            return Err(context.invalid(format!(
                "{} scales along axis {} do not fit `{integers}` of shape {:?}",
                params.scales.len(),
                params.axis,
                constant.dims
            )));
        };
        self.initializers.push(constants::f32_initializer(&name, &constant.dims, &data));
        self.given.params.insert(name, params.clone());
        Ok(())
    }

    /// The float value behind an integer operand of a node.
    fn operand(&mut self, context: &Context<'_>, name: &str, params: &Params) -> Result<String> {
        if !self.constants.contains(name) {
            self.runtime_operand(context, name, params)?;
            return Ok(name.into());
        }
        let made = self.floats.entry(name.into()).or_default();
        if let Some((_, float)) = made.iter().find(|(of, _)| of == params) {
            return Ok(float.clone());
        }
        let float = match made.len() {
            0 => format!("{name} (dequantized)"),
            n => format!("{name} (dequantized {n})"),
        };
        made.push((params.clone(), float.clone()));
        self.float_constant(context, name, params, float.clone())?;
        Ok(float)
    }

    /// Checks that integers which the model computes are read with the scale with which they were made.
    fn runtime_operand(&mut self, context: &Context<'_>, name: &str, params: &Params) -> Result<()> {
        if self.integers.contains(name) {
            return match self.given.params.get(name) {
                Some(made) if made == params => Ok(()),
                // A single scale may be written as one for each channel.
                Some(made) if made.quant().is_some() && made.quant() == params.quant() => Ok(()),
                _ => Err(context.unsupported(
                    &format!("reads `{name}` with another scale or zero point than it was made with"),
                    "give both sides the same, or put a DequantizeLinear and a QuantizeLinear between them",
                )),
            };
        }
        if super::facts::real_inputs(self.graph).any(|input| input.name == name) {
            if params.quant().is_none() {
                return Err(context.unsupported(
                    &format!("reads the input `{name}`, integers that are no 8 bits with one scale"),
                    "start the model with a QuantizeLinear, so that its input is float",
                ));
            }
            self.given.notes.push(format!(
                "input `{name}` holds integers in the model; the package takes the real numbers that they \
                 stand for (or the integers themselves, as int8)"
            ));
            self.integers.insert(name.into());
            self.given.params.insert(name.into(), params.clone());
            return Ok(());
        }
        Err(context.unsupported(
            &format!("reads the integers `{name}`, of which edgepack does not know what they stand for"),
            "quantize the model by QuantizeLinear and DequantizeLinear around float operations",
        ))
    }

    /// The float model.
    fn finish(self) -> (pb::GraphProto, Given) {
        let mut graph = pb::GraphProto {
            node: self.nodes,
            initializer: self.initializers,
            name: self.graph.name.clone(),
            input: self.graph.input.clone(),
            output: self.graph.output.clone(),
            ..Default::default()
        };
        let read: HashSet<&str> = graph.node.iter().flat_map(|n| &n.input).map(String::as_str).collect();
        let is_there: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
        let is_kept = |tensor: &&pb::TensorProto| {
            read.contains(tensor.name.as_str()) && !is_there.contains(tensor.name.as_str())
        };
        let kept: Vec<pb::TensorProto> = self.graph.initializer.iter().filter(is_kept).cloned().collect();
        // Before IR version 4 initializers were inputs too; those that are gone must not become real ones.
        let gone = |name: &str| self.graph.initializer.iter().any(|tensor| tensor.name == name);
        let still = |name: &str| kept.iter().any(|tensor| tensor.name == name);
        graph.input.retain(|input| !gone(&input.name) || still(&input.name));
        graph.initializer.extend(kept);
        for info in graph.input.iter_mut().chain(&mut graph.output) {
            let tensor = info.r#type.as_mut().and_then(|kind| kind.value.as_mut());
            if let Some(pb::type_proto::Value::TensorType(tensor)) = tensor
                && self.integers.contains(&info.name)
            {
                tensor.elem_type = DataType::Float as i32;
            }
        }
        (graph, self.given)
    }
}

const BLOCKS: &str = "edgepack takes one scale a tensor or a channel: quantize the model without blocks";
