//! A small ONNX model, built here, and the command that is tested.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use prost::Message;
use tract_onnx::pb::{self, attribute_proto::AttributeType, tensor_proto::DataType};

/// `x [1, 3, 8, 8] -> Conv -> Relu -> GlobalAveragePool -> Flatten -> Gemm -> y [1, 2]`.
pub fn model() -> pb::ModelProto {
    let graph = pb::GraphProto {
        name: "test".into(),
        input: vec![value_info("x", &[Ok(1), Ok(3), Ok(8), Ok(8)])],
        output: vec![value_info("y", &[Ok(1), Ok(2)])],
        initializer: vec![
            tensor("w", &[4, 3, 3, 3]),
            tensor("b", &[4]),
            tensor("fc.w", &[2, 4]),
            tensor("fc.b", &[2]),
        ],
        node: vec![
            node("conv", "Conv", &["x", "w", "b"], "conv.y", &[("pads", vec![1, 1, 1, 1])]),
            node("relu", "Relu", &["conv.y"], "relu.y", &[]),
            node("pool", "GlobalAveragePool", &["relu.y"], "pool.y", &[]),
            node("flatten", "Flatten", &["pool.y"], "flatten.y", &[]),
            node("fc", "Gemm", &["flatten.y", "fc.w", "fc.b"], "y", &[("transB", vec![1])]),
        ],
        ..Default::default()
    };
    pb::ModelProto {
        ir_version: 8,
        opset_import: vec![pb::OperatorSetIdProto { domain: String::new(), version: 13 }],
        graph: Some(graph),
        ..Default::default()
    }
}

/// Dimensions are numbers, or names where they are free.
pub fn value_info(name: &str, dims: &[Result<i64, &str>]) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{Dimension, dimension::Value};
    let dim = |dim: &Result<i64, &str>| Dimension {
        value: Some(match dim {
            Ok(size) => Value::DimValue(*size),
            Err(name) => Value::DimParam(name.to_string()),
        }),
        ..Default::default()
    };
    let shape = pb::TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = pb::type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(shape) };
    pb::ValueInfoProto {
        name: name.into(),
        r#type: Some(pb::TypeProto {
            value: Some(pb::type_proto::Value::TensorType(tensor)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub fn tensor(name: &str, dims: &[i64]) -> pb::TensorProto {
    let elems: i64 = dims.iter().product();
    let data = (0..elems).flat_map(|i| (((i * 37 % 19) as f32 - 9.0) / 20.0).to_le_bytes());
    pb::TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: DataType::Float as i32,
        raw_data: data.collect(),
        ..Default::default()
    }
}

pub fn node(name: &str, op: &str, inputs: &[&str], output: &str, ints: &[(&str, Vec<i64>)]) -> pb::NodeProto {
    let attribute = |(name, values): &(&str, Vec<i64>)| {
        let single = values.len() == 1;
        pb::AttributeProto {
            name: name.to_string(),
            r#type: if single { AttributeType::Int } else { AttributeType::Ints } as i32,
            i: values[0],
            ints: if single { vec![] } else { values.clone() },
            ..Default::default()
        }
    };
    pb::NodeProto {
        name: name.into(),
        op_type: op.into(),
        input: inputs.iter().map(|input| input.to_string()).collect(),
        output: vec![output.into()],
        attribute: ints.iter().map(attribute).collect(),
        ..Default::default()
    }
}

pub fn write_model(path: &Path, model: &pb::ModelProto) {
    std::fs::write(path, model.encode_to_vec()).unwrap();
}

/// The header and data of a NumPy file (NumPy Enhancement Proposal 1, version 1.0).
pub fn npy(descr: &str, dims: &[usize], data: &[u8]) -> Vec<u8> {
    let shape: String = dims.iter().map(|d| format!("{d}, ")).collect();
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(data);
    bytes
}

/// Samples of `[n, 3, 8, 8]` f32.
pub fn write_samples(path: &Path, n: usize) {
    let data: Vec<u8> =
        (0..n * 192).flat_map(|i| (((i * 31 % 101) as f32 - 50.0) / 50.0).to_le_bytes()).collect();
    std::fs::write(path, npy("<f4", &[n, 3, 8, 8], &data)).unwrap();
}

/// A folder with the model and samples for it.
pub struct Bench {
    pub dir: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        write_model(&bench.path("model.onnx"), &model());
        write_samples(&bench.path("samples.npy"), 8);
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `edgepack` in the folder.
    pub fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_edgepack")).args(args).current_dir(self.dir.path()).output().unwrap()
    }

    /// Runs `edgepack`, which must succeed; gives its stdout.
    #[allow(dead_code)]
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Packs the model as `model.epk`.
    #[allow(dead_code)]
    pub fn pack(&self) {
        self.ok(&["pack", "model.onnx", "-o", "model.epk", "--calibration", "samples.npy"]);
    }

    /// The names of the files in the folder.
    #[allow(dead_code)]
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}
