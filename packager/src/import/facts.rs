//! What is known of every value before the model runs: tract's shape inference and constant folding.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use edgepack_format::plan::{ElemType, MAX_RANK};
use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::DimLike;
use tract_onnx::tract_hir::infer::{Factoid, InferenceFact, InferenceModel, InferenceModelExt};

use crate::error::{PackError, Result};
use crate::graph;
use crate::guard::guarded;
use crate::islands::{elem_type, onnx_type};

/// Operations that tract knows in part or not at all: it takes them for unknown ones, and learns the shapes
/// of their outputs from their conversion.
const OURS: &[&str] =
    &["DFT", "GridSample", "If", "Loop", "LpPool", "NonMaxSuppression", "Resize", "STFT", "Scan", "Upsample"];

/// Shapes and constants by value name.
pub(super) struct Facts {
    model: InferenceModel,
    outlets: HashMap<String, OutletId>,
}

impl Facts {
    /// Analyses a model, in which the nodes of [`OURS`] are unknown ones to tract, unless they are of islands.
    pub fn new(
        path: &Path,
        proto: &pb::ModelProto,
        shapes: &[(String, Vec<usize>)],
        of_islands: impl Fn(usize) -> bool,
    ) -> Result<Self> {
        let is_ours =
            |index: usize, node: &pb::NodeProto| OURS.contains(&node.op_type.as_str()) && !of_islands(index);
        let mut nodes = proto.graph.iter().flat_map(|graph| graph.node.iter().enumerate());
        if !nodes.any(|(index, node)| is_ours(index, node)) {
            return Self::guarded_analysis(path, proto, shapes);
        }
        let mut hidden = proto.clone();
        if let Some(graph) = &mut hidden.graph {
            let nodes = std::mem::take(&mut graph.node).into_iter().enumerate();
            graph.node = nodes
                .flat_map(|(index, node)| if is_ours(index, &node) { unknown(&node) } else { vec![node] })
                .collect();
        }
        Self::guarded_analysis(path, &hidden, shapes)
    }

    /// The shape of a value that tract could not find, and what follows from it.
    pub fn learn(&mut self, name: &str, dims: &[usize]) {
        self.learn_of(name, DatumType::F32, dims);
    }

    /// As [`Facts::learn`], of a value of integers.
    pub fn learn_integers(&mut self, name: &str, dims: &[usize]) {
        self.learn_of(name, DatumType::I64, dims);
    }

    fn learn_of(&mut self, name: &str, datum_type: DatumType, dims: &[usize]) {
        let Some(&outlet) = self.outlets.get(name) else { return };
        let known = self.model.set_outlet_fact(outlet, InferenceFact::dt_shape(datum_type, dims));
        // What tract cannot say then, the nodes that need it will ask for.
        let _ = known.and_then(|()| self.model.analyse(false));
    }

    fn guarded_analysis(
        path: &Path,
        proto: &pb::ModelProto,
        shapes: &[(String, Vec<usize>)],
    ) -> Result<Self> {
        let reason = |panic| format!("the analysis broke off ({panic}): the model contradicts itself");
        guarded(|| Self::analyse(path, proto, shapes))
            .unwrap_or_else(|panic| Err(PackError::Analysis { reason: reason(panic) }))
    }

    fn analyse(path: &Path, proto: &pb::ModelProto, shapes: &[(String, Vec<usize>)]) -> Result<Self> {
        let analysis = |error: TractError| not_analysed(proto, format!("{error:#}"));
        let directory = path.parent().and_then(Path::to_str);
        let parsed =
            tract_onnx::onnx().with_ignore_value_info(true).parse(proto, directory).map_err(analysis)?;
        if let Some(name) = parsed.unresolved_inputs.first() {
            return Err(PackError::Analysis {
                reason: format!("`{name}` is read, but neither an input, an initializer nor made by a node"),
            });
        }
        let mut model = parsed.model;
        for (name, dims) in shapes {
            let Some(&outlet) = parsed.outlets_by_name.get(name) else { continue };
            let fact = model.outlet_fact(outlet).map_err(analysis)?.clone();
            let dt = fact.datum_type.concretize().unwrap_or(DatumType::F32);
            model.set_outlet_fact(outlet, InferenceFact::dt_shape(dt, dims)).map_err(analysis)?;
        }
        model.analyse(false).map_err(analysis)?;
        Ok(Self { model, outlets: parsed.outlets_by_name })
    }

    fn fact(&self, name: &str) -> Option<&InferenceFact> {
        self.model.outlet_fact(*self.outlets.get(name)?).ok()
    }

    /// The shape of a value, if it is known in full.
    pub fn dims(&self, name: &str) -> Option<Vec<usize>> {
        let shape = self.fact(name)?.shape.concretize()?;
        shape.iter().map(|dim| dim.to_usize().ok()).collect()
    }

    /// What a value of a model is represented as: f32, or integers of 32 or 64 bits, or truth values.
    pub fn dtype(&self, name: &str) -> ElemType {
        match self.fact(name).and_then(|fact| fact.datum_type.concretize()) {
            Some(DatumType::Bool) => ElemType::Bool,
            Some(DatumType::I32) => ElemType::I32,
            Some(datum_type) if datum_type.is_integer() || datum_type == DatumType::TDim => ElemType::I64,
            _ => ElemType::F32,
        }
    }

    /// Refuses an output that the file declares as integers and computes as numbers, or the other way round.
    pub fn check_type(&self, output: &pb::ValueInfoProto) -> Result<()> {
        let Some(declared) = declared_type(output) else { return Ok(()) };
        let is_known = self.fact(&output.name).is_some_and(|fact| fact.datum_type.is_concrete());
        let computed = self.dtype(&output.name);
        if !is_known || (declared == ElemType::F32) == (computed == ElemType::F32) {
            return Ok(());
        }
        let elem_type = type_name(self::declared(output).map_or(0, |(elem_type, _)| elem_type));
        let reason = format!("is declared as {elem_type}, but computed as {}", computed.name());
        let remedy = format!("put a Cast to {elem_type} before it, or declare it as what it is");
        Err(unsupported_end(&output.name, "output", &reason, &remedy))
    }

    /// Whether the model has a value of this name.
    pub fn is_known(&self, name: &str) -> bool {
        self.outlets.contains_key(name)
    }

    /// The type of a value, if it is known, and one that a device has.
    pub fn own_type(&self, name: &str) -> Option<ElemType> {
        elem_type(self.fact(name)?.datum_type.concretize()?)
    }

    /// Whether a value is of an integer type.
    pub fn is_integer(&self, name: &str) -> bool {
        let datum_type = self.fact(name).and_then(|fact| fact.datum_type.concretize());
        datum_type.is_some_and(|datum_type| datum_type.is_integer())
    }

    /// The elements of a value, if they are known.
    pub fn constant(&self, name: &str) -> Option<std::sync::Arc<tract_onnx::prelude::Tensor>> {
        self.fact(name)?.value.concretize()
    }

    /// A constant of a floating-point type (or integers, as numbers), as f32.
    pub fn f32_constant(&self, name: &str) -> Option<graph::Tensor> {
        let constant = self.constant(name)?;
        let cast = constant.cast_to::<f32>().ok()?;
        let data = cast.try_as_plain_ram().ok()?.as_slice::<f32>().ok()?.to_vec();
        Some(graph::Tensor::new(constant.shape().to_vec(), data))
    }

    /// A constant of integers.
    pub fn i64_constant(&self, name: &str) -> Option<Vec<i64>> {
        let constant = self.constant(name)?;
        let cast = constant.cast_to::<i64>().ok()?;
        Some(cast.try_as_plain_ram().ok()?.as_slice::<i64>().ok()?.to_vec())
    }
}

/// A node that tract knows nothing of: for each output one, since its unknown ones have no more.
fn unknown(node: &pb::NodeProto) -> Vec<pb::NodeProto> {
    let of_output = |(index, output): (usize, &String)| {
        let name = if index == 0 { node.name.clone() } else { String::new() };
        let op_type = format!("edgepack.{}", node.op_type);
        pb::NodeProto { name, op_type, output: vec![output.clone()], attribute: vec![], ..node.clone() }
    };
    let outputs = node.output.iter().enumerate().filter(|(_, name)| !name.is_empty());
    outputs.map(of_output).collect()
}

/// What tract cannot make sense of: about the node that its message names, where it names one.
fn not_analysed(proto: &pb::ModelProto, reason: String) -> PackError {
    let nodes = proto.graph.iter().flat_map(|graph| &graph.node);
    let named = |node: &&pb::NodeProto| {
        let mut names = std::iter::once(&node.name).chain(&node.output).filter(|name| !name.is_empty());
        names.any(|name| {
            reason.contains(&format!("\"{name}\"")) || reason.contains(&format!("Building node {name} ("))
        })
    };
    // A node without a name is only known by its operation.
    let of_type = |node: &&pb::NodeProto| reason.contains(&format!("Building node  ({})", node.op_type));
    match nodes.clone().find(named).or_else(|| nodes.clone().find(of_type)) {
        None => PackError::Analysis { reason },
        Some(node) => PackError::Unsupported {
            node: super::node_name(node),
            op: node.op_type.clone(),
            opset: super::opset(proto),
            reason: format!("cannot be analysed ({reason})"),
            remedy: match super::fixed::deciding(proto.graph.as_ref().unwrap_or(&Default::default()))[..] {
                // Of two branches one may not fit what the other is for.
                [input, ..] => format!(
                    "The input `{input}` decides which branch runs, and both are analysed while it is open: bind it \
                     to what the device will have, --fix {input}=VALUE"
                ),
                [] => "Check the shapes and types of its inputs (`onnx.checker.check_model` with full_check=True may \
                       say more), bind free dimensions with --shape, or export it as other operations"
                    .into(),
            },
        },
    }
}

/// The inputs that the application gives: those of the graph that no initializer fills.
pub(crate) fn real_inputs(graph: &pb::GraphProto) -> impl Iterator<Item = &pb::ValueInfoProto> {
    graph.input.iter().filter(|input| !graph.initializer.iter().any(|constant| constant.name == input.name))
}

/// The shape of every real input: as the file says, or as `--shape` says.
pub(super) fn bind_shapes(
    graph: &pb::GraphProto,
    flags: &[(String, Vec<usize>)],
    any_type: bool,
) -> Result<Vec<(String, Vec<usize>)>> {
    let names = || real_inputs(graph).map(|input| input.name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some((name, _)) = flags.iter().find(|(name, _)| !real_inputs(graph).any(|i| i.name == *name)) {
        return Err(PackError::Shape {
            name: name.clone(),
            reason: format!("the model has no such input; its inputs are {}", names()),
        });
    }
    let bind = |input| match any_type && self::any_type(input).is_some() {
        true => bind_shape(input, flags),
        false => bind_input(input, flags),
    };
    real_inputs(graph).map(bind).collect()
}

/// The declared type of an input or output, if it is a tensor of one that a device has.
pub(super) fn any_type(end: &pb::ValueInfoProto) -> Option<ElemType> {
    let (elem_type, _) = declared(end)?;
    ElemType::ALL.into_iter().find(|&dtype| onnx_type(dtype) as i32 == elem_type)
}

/// The shape of one input: as the file says, or as `--shape` says.
pub(crate) fn bind_input(
    input: &pb::ValueInfoProto,
    flags: &[(String, Vec<usize>)],
) -> Result<(String, Vec<usize>)> {
    let name = &input.name;
    let (elem_type, _) = declared(input).ok_or_else(|| {
        let remedy = "edgepack takes tensors: export the model with one input for each tensor";
        unsupported_end(name, "input", "is no tensor (a sequence, map or optional)", remedy)
    })?;
    if end_type(elem_type).is_none() {
        let reason = format!("has element type {}", type_name(elem_type));
        let remedy =
            "edgepack takes models with inputs of FLOAT, INT32, INT64 and BOOL: export the model with such";
        return Err(unsupported_end(name, "input", &reason, remedy));
    }
    bind_shape(input, flags)
}

fn bind_shape(input: &pb::ValueInfoProto, flags: &[(String, Vec<usize>)]) -> Result<(String, Vec<usize>)> {
    let name = &input.name;
    let dims = declared(input).and_then(|(_, dims)| dims);
    let flag = flags.iter().find(|(flagged, _)| flagged == name).map(|(_, dims)| dims);
    let bound = match (flag, dims) {
        (Some(flag), Some(dims)) => {
            let fits = flag.len() == dims.len()
                && flag.iter().zip(&dims).all(|(&f, d)| d.fixed.is_none_or(|fixed| fixed == f));
            if !fits {
                return Err(PackError::Shape {
                    name: name.clone(),
                    reason: format!("{flag:?} does not fit the model's {}", show(&dims)),
                });
            }
            flag.clone()
        }
        (Some(flag), None) => flag.clone(),
        (None, Some(dims)) if dims.iter().all(|dim| dim.fixed.is_some()) => {
            dims.iter().filter_map(|dim| dim.fixed).collect()
        }
        (None, Some(dims)) => {
            // A free batch is most likely to be meant as 1; other dimensions stay visible as names.
            let suggestion: Vec<String> = (dims.iter().enumerate())
                .map(|(i, dim)| {
                    dim.fixed.map_or_else(|| if i == 0 { "1".into() } else { dim.text() }, |f| f.to_string())
                })
                .collect();
            return Err(PackError::FreeDimension {
                input: name.clone(),
                dims: show(&dims),
                flag: format!("--shape {name}={}", suggestion.join(",")),
            });
        }
        (None, None) => {
            return Err(PackError::FreeDimension {
                input: name.clone(),
                dims: "of unknown rank".into(),
                flag: format!("--shape {name}=1,…"),
            });
        }
    };
    if bound.len() > MAX_RANK {
        let remedy = format!("edgepack describes {MAX_RANK} dimensions: reshape the input to fewer");
        return Err(unsupported_end(name, "input", &format!("has {} dimensions", bound.len()), &remedy));
    }
    if bound.contains(&0) {
        let remedy = format!("Bind it to what the device will have: --shape {name}=1,…");
        return Err(unsupported_end(name, "input", &format!("has no elements ({bound:?})"), &remedy));
    }
    Ok((name.clone(), bound))
}

/// The shape of an input of which nothing but the batch is free, with a batch of 1.
pub(crate) fn batch_of_one(input: &pb::ValueInfoProto) -> Option<Vec<usize>> {
    let (_, dims) = declared(input)?;
    let dims = dims?;
    let size = |(i, dim): (usize, &Declared)| if i == 0 { Some(dim.fixed.unwrap_or(1)) } else { dim.fixed };
    dims.iter().enumerate().map(size).collect()
}

/// What an input or output of this ONNX type is for an application, if it can be one.
pub(crate) fn end_type(elem_type: i32) -> Option<ElemType> {
    use pb::tensor_proto::DataType;
    match DataType::try_from(elem_type).ok()? {
        DataType::Float => Some(ElemType::F32),
        DataType::Int32 => Some(ElemType::I32),
        DataType::Int64 => Some(ElemType::I64),
        DataType::Bool => Some(ElemType::Bool),
        _ => None,
    }
}

/// What an input or output is for an application, as far as the file says.
pub(crate) fn declared_type(end: &pb::ValueInfoProto) -> Option<ElemType> {
    end_type(declared(end)?.0)
}

/// Refuses outputs that are no tensors of a type that an application can get.
pub(super) fn check_output(output: &pb::ValueInfoProto) -> Result<()> {
    let (reason, remedy) = match declared(output) {
        None if output.r#type.is_none() => return Ok(()),
        None => ("is no tensor".into(), "make each tensor an output"),
        // Some writers leave the type of an output open.
        Some((0, _)) => return Ok(()),
        Some((elem_type, _)) if end_type(elem_type).is_some() => return Ok(()),
        Some((elem_type, _)) => (
            format!("has element type {}", type_name(elem_type)),
            "put a Cast to one of these before it, or remove it",
        ),
    };
    let remedy = format!("edgepack gives tensors of FLOAT, INT32, INT64 and BOOL: {remedy}");
    Err(unsupported_end(&output.name, "output", &reason, &remedy))
}

/// The type and the dimensions of an input that is a tensor of a shape without open dimensions.
pub(super) fn declared_dims(input: &pb::ValueInfoProto) -> Option<(i32, Vec<usize>)> {
    let (elem_type, dims) = declared(input)?;
    Some((elem_type, dims?.iter().map(|dim| dim.fixed).collect::<Option<_>>()?))
}

/// What is not supported about an input or output of the model.
pub(super) fn unsupported_end(name: &str, op: &str, reason: &str, remedy: &str) -> PackError {
    PackError::Unsupported {
        node: name.into(),
        op: op.into(),
        opset: 0,
        reason: reason.into(),
        remedy: remedy.into(),
    }
}

/// The name of an element type.
pub(super) fn type_name(elem_type: i32) -> &'static str {
    pb::tensor_proto::DataType::try_from(elem_type).map_or("unknown", |t| t.as_str_name())
}

/// One dimension of an input as the file declares it.
struct Declared {
    fixed: Option<usize>,
    param: String,
}

impl Declared {
    fn text(&self) -> String {
        let name = if self.param.is_empty() { "?" } else { &self.param };
        self.fixed.map_or_else(|| name.to_string(), |fixed| fixed.to_string())
    }
}

fn show(dims: &[Declared]) -> String {
    format!("[{}]", dims.iter().map(Declared::text).collect::<Vec<_>>().join(", "))
}

fn declared(input: &pb::ValueInfoProto) -> Option<(i32, Option<Vec<Declared>>)> {
    use pb::tensor_shape_proto::dimension::Value;
    let pb::type_proto::Value::TensorType(tensor) = input.r#type.as_ref()?.value.as_ref()?;
    let dims = tensor.shape.as_ref().map(|shape| {
        let declare = |dim: &pb::tensor_shape_proto::Dimension| match &dim.value {
            Some(Value::DimValue(value)) if *value > 0 => {
                Declared { fixed: Some(*value as usize), param: String::new() }
            }
            Some(Value::DimParam(param)) => Declared { fixed: None, param: param.clone() },
            _ => Declared { fixed: None, param: String::new() },
        };
        shape.dim.iter().map(declare).collect()
    });
    Some((tensor.elem_type, dims))
}

/// Checks that every file of external data can be read; gives their total size.
pub(super) fn check_external_data(path: &Path, graph: &pb::GraphProto) -> Result<u64> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let external = pb::tensor_proto::DataLocation::External as i32;
    let mut files: HashMap<PathBuf, u64> = HashMap::new();
    for tensor in graph.initializer.iter().filter(|tensor| tensor.data_location == Some(external)) {
        let location = tensor.external_data.iter().find(|entry| entry.key == "location");
        let file = directory.join(location.map_or("", |entry| entry.value.as_str()));
        if files.contains_key(&file) {
            continue;
        }
        match std::fs::metadata(&file) {
            Ok(metadata) if metadata.is_file() => files.insert(file, metadata.len()),
            other => {
                let reason = other.map_or_else(|error| error.to_string(), |_| "it is no file".into());
                return Err(PackError::ExternalData { tensor: tensor.name.clone(), path: file, reason });
            }
        };
    }
    Ok(files.values().sum())
}
