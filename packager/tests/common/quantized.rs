//! Models that arrive quantized, made by hand, and a plain reference of what they compute.
#![allow(dead_code)] // Every test file uses a part of it.

use edgepack_engine::format::plan::Op;
use edgepack_engine::{InputData, Model, OutputData, SessionOptions};
use edgepack_packager::error::PackError;
use edgepack_packager::pack::{CalibrationSource, PackOptions, PackReport, pack};
use tract_onnx::pb::{self, tensor_proto::DataType};

use crate::common::write_model;
use crate::operation::{Node, floats, model, op};

/// An integer type of activations or weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Type {
    U8,
    I8,
    I16,
}

impl Type {
    pub fn levels(self) -> [i32; 2] {
        match self {
            Self::U8 => [0, 255],
            Self::I8 => [-128, 127],
            Self::I16 => [-32768, 32767],
        }
    }

    pub fn clamp(self, q: i32) -> i32 {
        q.clamp(self.levels()[0], self.levels()[1])
    }

    /// An initializer of these integers.
    pub fn tensor(self, name: &str, dims: &[i64], values: &[i32]) -> pb::TensorProto {
        let (data_type, raw_data) = match self {
            Self::U8 => (DataType::Uint8, values.iter().map(|&q| q as u8).collect()),
            Self::I8 => (DataType::Int8, values.iter().map(|&q| q as i8 as u8).collect()),
            Self::I16 => (DataType::Int16, values.iter().flat_map(|&q| (q as i16).to_le_bytes()).collect()),
        };
        integers(name, dims, data_type, raw_data)
    }
}

fn integers(name: &str, dims: &[i64], data_type: DataType, raw_data: Vec<u8>) -> pb::TensorProto {
    let (name, dims, data_type) = (name.into(), dims.to_vec(), data_type as i32);
    pb::TensorProto { name, dims, data_type, raw_data, ..Default::default() }
}

/// An initializer of 32-bit integers.
pub fn biases(name: &str, values: &[i32]) -> pb::TensorProto {
    let raw_data = values.iter().flat_map(|q| q.to_le_bytes()).collect();
    integers(name, &[values.len() as i64], DataType::Int32, raw_data)
}

/// Scale and zero point of a tensor, under the names `NAME.s` and `NAME.z`.
#[derive(Clone, Debug)]
pub struct Scale {
    pub name: &'static str,
    pub scale: f32,
    pub zero_point: i32,
    pub kind: Type,
}

impl Scale {
    pub fn names(&self) -> [String; 2] {
        [format!("{}.s", self.name), format!("{}.z", self.name)]
    }

    pub fn initializers(&self) -> Vec<pb::TensorProto> {
        let [scale, zero_point] = self.names();
        vec![floats(&scale, &[], &[self.scale]), self.kind.tensor(&zero_point, &[], &[self.zero_point])]
    }

    pub fn real(&self, q: i32) -> f32 {
        (q - self.zero_point) as f32 * self.scale
    }

    pub fn integer(&self, x: f64) -> i32 {
        self.kind.clamp((x / f64::from(self.scale)).round_ties_even() as i32 + self.zero_point)
    }
}

/// A node of several inputs, owned.
pub fn node(kind: &str, inputs: &[String], output: &str) -> Node {
    op(kind, &inputs.iter().map(String::as_str).collect::<Vec<_>>(), output)
}

/// The same of ONNX Runtime's own operators.
pub fn microsoft(kind: &str, inputs: &[String], output: &str) -> Node {
    let mut node = node(kind, inputs, output);
    node.0.domain = "com.microsoft".into();
    node
}

/// `input -> QuantizeLinear -> output`.
pub fn quantize(input: &str, scale: &Scale, output: &str) -> Node {
    let [s, z] = scale.names();
    op("QuantizeLinear", &[input, &s, &z], output)
}

/// `input -> DequantizeLinear -> output`.
pub fn dequantize(input: &str, scale: &Scale, output: &str) -> Node {
    let [s, z] = scale.names();
    op("DequantizeLinear", &[input, &s, &z], output)
}

/// `input -> QuantizeLinear -> DequantizeLinear -> output`.
pub fn both(input: &str, scale: &Scale, output: &str) -> [Node; 2] {
    let between = format!("{output} (integers)");
    [quantize(input, scale, &between), dequantize(&between, scale, output)]
}

/// A tensor, its scale and its zero point: the operands of QOperator nodes.
pub fn operand(tensor: &str, scale: &Scale) -> Vec<String> {
    let [s, z] = scale.names();
    vec![tensor.to_string(), s, z]
}

/// Integers of a wide variety within [min, max].
pub fn spread(count: usize, min: i32, max: i32, seed: i32) -> Vec<i32> {
    let span = i64::from(max - min + 1);
    (0..count as i64)
        .map(|i| ((i * 7919 + i64::from(seed) * 104_729 + i * i % 31) % span) as i32 + min)
        .collect()
}

/// A model `x -> y`, packed.
pub fn try_pack(
    x: &[i64],
    nodes: Vec<Node>,
    initializers: Vec<pb::TensorProto>,
    calibration: CalibrationSource,
) -> Result<(tempfile::TempDir, PackReport), PackError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    write_model(&path, &model(13, x, nodes, initializers));
    let options = PackOptions {
        calibration_limit: 8,
        l2_kib: 0,
        ..PackOptions::new(path, folder.path().join("model.epk"), calibration)
    };
    pack(&options, &mut ()).map(|report| (folder, report))
}

/// What a package of a model gives, and of what steps it is.
pub struct Run {
    pub report: PackReport,
    pub output: Vec<f32>,
    /// By step: `conv`, `table`, …, without the transposition of the output to the model's order.
    pub steps: Vec<&'static str>,
}

/// Packs a model that says everything itself, and runs it.
#[track_caller]
pub fn run(x: &[i64], nodes: Vec<Node>, initializers: Vec<pb::TensorProto>, input: &[f32]) -> Run {
    let (_folder, report) = try_pack(x, nodes, initializers, CalibrationSource::None).unwrap();
    let (output, steps) = run_package(&report, input);
    Run { report, output, steps }
}

pub fn run_package(report: &PackReport, input: &[f32]) -> (Vec<f32>, Vec<&'static str>) {
    let package = Model::open(&report.package).unwrap();
    let mut session = package.session(&SessionOptions::default()).unwrap();
    session.set_input(0, InputData::F32(input)).unwrap();
    session.run().unwrap();
    let OutputData::F32(output) = session.output(0).unwrap() else { panic!("an output of int8") };
    let is_transposition = |op: &Op| matches!(op, Op::Copy(copy) if copy.table.is_none());
    let kind = |op: &Op| match op {
        Op::Conv(_) => "conv",
        Op::Binary(_) => "binary",
        Op::Pool(_) => "pool",
        Op::Copy(_) => "copy",
        Op::Softmax(_) => "softmax",
        Op::MatMul(_) => "matmul",
        Op::Lookup(lookup) if lookup.to_f32 => "to f32",
        Op::Lookup(_) => "table",
        _ => "other",
    };
    let steps = package.package().steps().filter(|step| !is_transposition(&step.op));
    (output.to_vec(), steps.map(|step| kind(&step.op)).collect())
}
