//! Islands: parts of the model that tract runs, for there are no steps of edgepack's own for them.
//!
//! An island is cut from the ONNX graph as a model of its own, which tract reads, and which is written down as NNEF
//! (Khronos, "Neural Network Exchange Format", 1.0, with tract's extensions): a device reads that without protobuf.
//! What runs here, when samples are calibrated or errors measured, is what was read back from those bytes.

use std::path::Path;
use std::sync::Arc;

use edgepack_engine::format;
use edgepack_engine::format::plan::{Dims, ElemType, IslandTensor, MAX_RANK};
use edgepack_engine::format::writer::encode_island;
use edgepack_engine::islands::{self, nnef};
use tract_nnef::internal::*;
use tract_onnx::pb::{self, tensor_proto::DataType};

use crate::guard::{self, root_cause};

/// Which parts of a model become islands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Islands {
    /// None: a node without steps of edgepack's own is refused. A package then runs on every build of the agent,
    /// with the same bits and without allocating.
    #[default]
    Never,
    /// The nodes without steps of edgepack's own.
    Auto,
    /// Those, and all that reads integers of the application: what `auto` falls back to where nobody can prove
    /// that f32 numbers hold them.
    Integers,
    /// All: the model in its own types as tract runs it, the baseline on the device.
    All,
}

impl std::fmt::Display for Islands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Never => "never",
            Self::Auto => "auto",
            Self::Integers => "integers",
            Self::All => "all",
        })
    }
}

impl std::str::FromStr for Islands {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Never, Self::Auto, Self::Integers, Self::All]
            .into_iter()
            .find(|islands| islands.to_string() == text)
            .ok_or_else(|| format!("`{text}` is none of auto, integers, never, all"))
    }
}

/// An end of an island.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct End {
    /// The name of the value in the ONNX graph.
    pub name: String,
    /// Its type there.
    pub dtype: ElemType,
    /// The type in which it enters or leaves the island: its own, or f32.
    pub given: ElemType,
    /// Its shape.
    pub dims: Vec<usize>,
}

/// An island.
#[derive(Debug)]
pub struct Island {
    inputs: Vec<IslandTensor>,
    outputs: Vec<IslandTensor>,
    section: Vec<u8>,
    macs: u64,
    runner: islands::Island,
}

impl Island {
    /// Makes an island of nodes of a model: `model` has them and the initializers that they read, and no inputs and
    /// outputs yet. `path` is the file's, beside which external data lie.
    ///
    /// # Errors
    /// What tract does not take.
    pub(crate) fn new(
        path: &Path,
        mut model: pb::ModelProto,
        inputs: &[End],
        outputs: &[End],
    ) -> Result<Self, String> {
        let graph = model.graph.as_mut().ok_or("there is no graph")?;
        graph.value_info.clear();
        graph.input = inputs.iter().map(|end| value_info(&given_name(end), end.given, &end.dims)).collect();
        // tract finds the types of the outputs.
        graph.output = (outputs.iter())
            .map(|end| pb::ValueInfoProto { name: given_name(end), ..Default::default() })
            .collect();
        let enter = inputs.iter().filter(|end| end.given != end.dtype);
        let mut nodes: Vec<pb::NodeProto> =
            enter.map(|end| cast(&given_name(end), &end.name, end.dtype)).collect();
        nodes.append(&mut graph.node);
        let leave = outputs.iter().filter(|end| end.given != end.dtype);
        nodes.extend(leave.map(|end| cast(&end.name, &given_name(end), end.given)));
        graph.node = nodes;
        let tensors = |ends: &[End]| ends.iter().map(tensor).collect::<Result<Vec<_>, _>>();
        let (inputs, outputs) = (tensors(inputs)?, tensors(outputs)?);
        let typed = guarded(|| to_typed(path, &model).map_err(|error| root_cause(&error)))?;
        let macs = guarded(|| Ok(macs(&typed))).unwrap_or(0);
        // Some of the operations that tract's optimizer makes are not written; what they are made of is.
        let decluttered = guarded(|| typed.clone().into_decluttered().map_err(|error| root_cause(&error)));
        let mut failure = String::new();
        for model in [decluttered, Ok(typed)] {
            match model.and_then(|model| written(&model, &inputs, &outputs)) {
                Ok((section, runner)) => return Ok(Self { inputs, outputs, section, macs, runner }),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// What it reads.
    pub fn inputs(&self) -> &[IslandTensor] {
        &self.inputs
    }

    /// What it gives.
    pub fn outputs(&self) -> &[IslandTensor] {
        &self.outputs
    }

    /// Its section of the package.
    pub fn section(&self) -> &[u8] {
        &self.section
    }

    /// Multiply-adds of its products, as tract counts them.
    pub fn macs(&self) -> u64 {
        self.macs
    }

    /// What [`format::Island`] says of it.
    pub fn layout(&self) -> format::Island<'_> {
        format::Island::parse(&self.section).expect("`new` has loaded the section")
    }

    /// Runs it on numbers.
    ///
    /// # Errors
    /// What tract says of values that it does not take.
    pub fn run(&self, operands: &[&[f32]]) -> Result<Vec<Vec<f32>>, String> {
        let layout = self.layout();
        let mut input = vec![0; layout.input_bytes() as usize];
        for ((tensor, span), values) in layout.inputs().zip(operands) {
            let bytes = &mut input[span.offset as usize..][..span.bytes as usize];
            let elems = bytes.chunks_exact_mut(tensor.dtype.bytes() as usize);
            elems.zip(*values).for_each(|(elem, &value)| tensor.dtype.write(value.into(), elem));
        }
        let mut output = vec![0; layout.output_bytes() as usize];
        self.runner.run(&input, &mut output)?;
        let numbers = |(tensor, span): (IslandTensor, format::plan::Span)| {
            let bytes = &output[span.offset as usize..][..span.bytes as usize];
            let elems = bytes.chunks_exact(tensor.dtype.bytes() as usize);
            elems.map(|elem| tensor.dtype.read(elem) as f32).collect()
        };
        Ok(layout.outputs().map(numbers).collect())
    }
}

/// The type of ONNX's that an element type is.
pub(crate) fn onnx_type(dtype: ElemType) -> DataType {
    match dtype {
        ElemType::I8 => DataType::Int8,
        ElemType::F32 => DataType::Float,
        ElemType::I32 => DataType::Int32,
        ElemType::I64 => DataType::Int64,
        ElemType::Bool => DataType::Bool,
        ElemType::U8 => DataType::Uint8,
        ElemType::I16 => DataType::Int16,
        ElemType::U16 => DataType::Uint16,
        ElemType::U32 => DataType::Uint32,
        ElemType::U64 => DataType::Uint64,
        ElemType::F16 => DataType::Float16,
        ElemType::F64 => DataType::Double,
    }
}

/// The element type that a type of tract's is, if it is one.
pub(crate) fn elem_type(of: DatumType) -> Option<ElemType> {
    match of {
        // tract's own type of shapes is what ONNX has as int64.
        DatumType::TDim => Some(ElemType::I64),
        of => ElemType::ALL.into_iter().find(|&dtype| islands::datum_type(dtype) == of),
    }
}

/// The name of an end as it enters or leaves: another than inside, where its type is another.
fn given_name(end: &End) -> String {
    if end.given == end.dtype { end.name.clone() } else { format!("{}.{}", end.name, end.given.name()) }
}

fn value_info(name: &str, dtype: ElemType, dims: &[usize]) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{Dimension, dimension::Value};
    let dim = |&dim: &usize| Dimension { value: Some(Value::DimValue(dim as i64)), ..Default::default() };
    let shape = pb::TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = pb::type_proto::Tensor { elem_type: onnx_type(dtype) as i32, shape: Some(shape) };
    let value = Some(pb::type_proto::Value::TensorType(tensor));
    pb::ValueInfoProto {
        name: name.into(),
        r#type: Some(pb::TypeProto { value, ..Default::default() }),
        ..Default::default()
    }
}

fn cast(from: &str, to: &str, dtype: ElemType) -> pb::NodeProto {
    let attribute = pb::AttributeProto {
        name: "to".into(),
        r#type: pb::attribute_proto::AttributeType::Int as i32,
        i: onnx_type(dtype) as i64,
        ..Default::default()
    };
    pb::NodeProto {
        name: format!("{to}.cast"),
        op_type: "Cast".into(),
        input: vec![from.into()],
        output: vec![to.into()],
        attribute: vec![attribute],
        ..Default::default()
    }
}

fn tensor(end: &End) -> Result<IslandTensor, String> {
    let mut sizes = [1; MAX_RANK];
    let room = sizes.get_mut(..end.dims.len());
    let room = room.ok_or_else(|| format!("`{}` has more than {MAX_RANK} dimensions", end.name))?;
    for (size, &dim) in room.iter_mut().zip(&end.dims) {
        *size = u32::try_from(dim).map_err(|_| format!("`{}` is too large", end.name))?;
    }
    let tensor = IslandTensor { dtype: end.given, dims: Dims { rank: end.dims.len() as u8, sizes } };
    tensor.bytes().map(|_| tensor).ok_or_else(|| format!("`{}` has no elements, or too many", end.name))
}

fn to_typed(path: &Path, model: &pb::ModelProto) -> TractResult<TypedModel> {
    use tract_onnx::tract_hir::infer::InferenceModelExt;
    let directory = path.parent().and_then(Path::to_str);
    let onnx = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_types(true);
    onnx.parse(model, directory)?.model.into_typed()
}

/// Multiply-adds of the products.
fn macs(model: &TypedModel) -> u64 {
    let of_node = |node: &TypedNode| {
        let (inputs, _) = model.node_facts(node.id).ok()?;
        let costs = node.op.cost(&inputs).ok()?;
        let fma = |(cost, count): &(Cost, TDim)| match cost {
            Cost::FMA(_) => count.to_i64().ok(),
            _ => None,
        };
        Some(costs.iter().filter_map(fma).sum::<i64>())
    };
    model.nodes().iter().filter_map(of_node).sum::<i64>().max(0) as u64
}

/// The section of a model, and what was read back from it.
fn written(
    model: &TypedModel,
    inputs: &[IslandTensor],
    outputs: &[IslandTensor],
) -> Result<(Vec<u8>, islands::Island), String> {
    let graph = guarded(|| {
        let mut graph = Vec::new();
        // Neither compressed nor dated: the same model gives the same package.
        let done = nnef().write_to_tar_with_config(model, &mut graph, false, true).map(|_| ());
        done.map(|()| graph).map_err(|error| root_cause(&error))
    })?;
    let section = encode_island(inputs, outputs, &graph);
    let island = format::Island::parse(&section).ok_or("its tensors are too large")?;
    let runner = islands::Island::load(&island)?;
    Ok((section, runner))
}

/// tract's panics become errors.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    guard::guarded(work).unwrap_or_else(|panic| Err(format!("tract broke off: {panic}")))
}

/// A tensor of tract's as an initializer; `None` of types that ONNX has not.
pub(crate) fn initializer(name: &str, tensor: &Arc<Tensor>) -> Option<pb::TensorProto> {
    let dtype = elem_type(tensor.datum_type())?;
    let plain = match tensor.datum_type() {
        DatumType::TDim => tensor.cast_to::<i64>().ok()?.into_owned(),
        _ => (**tensor).clone(),
    };
    Some(pb::TensorProto {
        name: name.into(),
        dims: plain.shape().iter().map(|&dim| dim as i64).collect(),
        data_type: onnx_type(dtype) as i32,
        raw_data: plain.try_as_plain_ram().ok()?.as_bytes().to_vec(),
        ..Default::default()
    })
}
