//! Models with inputs and outputs of several types: packaged with random calibration, and run.
#![allow(dead_code)] // Every test file uses a part of it.

use std::path::PathBuf;

use edgepack_engine::format::plan::ElemType;
use edgepack_engine::{InputData, Model, SessionOptions};
use tract_onnx::pb::{self, tensor_proto::DataType};

use crate::common::{Bench, value_info, write_model};
use crate::operation::Node;

/// An input or output of a type; outputs have whatever shape comes out.
fn end(name: &str, of: DataType, dims: Option<&[i64]>) -> pb::ValueInfoProto {
    let mut info = value_info(name, &dims.unwrap_or(&[]).iter().map(|&dim| Ok(dim)).collect::<Vec<_>>());
    if let Some(pb::type_proto::Value::TensorType(tensor)) =
        info.r#type.as_mut().and_then(|kind| kind.value.as_mut())
    {
        tensor.elem_type = of as i32;
        tensor.shape = tensor.shape.take().filter(|_| dims.is_some());
    }
    info
}

/// A model of opset 17.
pub fn model(
    inputs: &[(&str, DataType, &[i64])],
    outputs: &[(&str, DataType)],
    nodes: Vec<Node>,
    initializer: Vec<pb::TensorProto>,
) -> pb::ModelProto {
    let graph = pb::GraphProto {
        name: "test".into(),
        input: inputs.iter().map(|(name, of, dims)| end(name, *of, Some(dims))).collect(),
        output: outputs.iter().map(|(name, of)| end(name, *of, None)).collect(),
        initializer,
        node: nodes.into_iter().map(|node| node.0).collect(),
        ..Default::default()
    };
    pb::ModelProto {
        ir_version: 8,
        opset_import: vec![pb::OperatorSetIdProto { domain: String::new(), version: 17 }],
        graph: Some(graph),
        ..Default::default()
    }
}

/// Packs a model, calibrated with random numbers and integers.
pub fn packed(bench: &Bench, model: &pb::ModelProto, more: &[&str]) -> PathBuf {
    write_model(&bench.path("model.onnx"), model);
    let args = ["pack", "model.onnx", "-o", "model.epk", "--calibration", "random"];
    bench.ok(&[&args[..], more].concat());
    bench.path("model.epk")
}

/// What a package makes of its inputs: the type and the numbers of each output.
pub fn run(package: &PathBuf, inputs: &[InputData<'_>]) -> Vec<(ElemType, Vec<f32>)> {
    let model = Model::open(package).unwrap();
    let mut session = model.session(&SessionOptions::default()).unwrap();
    for (index, &input) in inputs.iter().enumerate() {
        session.set_input(index, input).unwrap();
    }
    session.run().unwrap();
    let outputs = 0..model.package().outputs().count();
    outputs.map(|index| session.output(index).unwrap()).map(|y| (y.dtype(), y.values().collect())).collect()
}
