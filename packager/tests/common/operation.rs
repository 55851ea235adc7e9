//! Models of one or two operations: packaged, run, and compared with the FP32 model.
//!
//! A wrong attribute, axis or padding costs tens of decibels; int8 alone leaves more than 30.
#![allow(dead_code)] // Every test file uses a part of it.

use tract_onnx::pb::{self, attribute_proto::AttributeType};

use crate::common::{self, Bench, npy, tensor, value_info, write_model};

/// A node under construction.
#[derive(Clone)]
pub struct Node(pub pb::NodeProto);

pub fn op(op: &str, inputs: &[&str], output: &str) -> Node {
    Node(common::node(&format!("{op}/{output}"), op, inputs, output, &[]))
}

impl Node {
    fn attribute(
        mut self,
        name: &str,
        kind: AttributeType,
        set: impl FnOnce(&mut pb::AttributeProto),
    ) -> Self {
        let mut attribute =
            pb::AttributeProto { name: name.into(), r#type: kind as i32, ..Default::default() };
        set(&mut attribute);
        self.0.attribute.push(attribute);
        self
    }

    pub fn ints(self, name: &str, values: &[i64]) -> Self {
        self.attribute(name, AttributeType::Ints, |attribute| attribute.ints = values.to_vec())
    }

    pub fn int(self, name: &str, value: i64) -> Self {
        self.attribute(name, AttributeType::Int, |attribute| attribute.i = value)
    }

    pub fn float(self, name: &str, value: f32) -> Self {
        self.attribute(name, AttributeType::Float, |attribute| attribute.f = value)
    }

    pub fn graph(self, name: &str, body: pb::GraphProto) -> Self {
        self.attribute(name, AttributeType::Graph, |attribute| attribute.g = Some(body))
    }

    pub fn outputs(mut self, names: &[&str]) -> Self {
        self.0.output = names.iter().map(|name| name.to_string()).collect();
        self
    }

    pub fn string(self, name: &str, value: &str) -> Self {
        self.attribute(name, AttributeType::String, |attribute| attribute.s = value.into())
    }
}

pub fn ints(name: &str, values: &[i64]) -> pb::TensorProto {
    pb::TensorProto {
        name: name.into(),
        dims: vec![values.len() as i64],
        data_type: pb::tensor_proto::DataType::Int64 as i32,
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ..Default::default()
    }
}

pub fn floats(name: &str, dims: &[i64], values: &[f32]) -> pb::TensorProto {
    let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    pb::TensorProto { raw_data, ..tensor(name, dims) }
}

/// Values of both signs, a few of them much larger than the rest.
pub fn samples(count: usize, elems: usize) -> Vec<u8> {
    let mut state = 7u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..count * elems).flat_map(|_| ((next() + next() + next()) * 2.0).to_le_bytes()).collect()
}

/// A model `x -> y` of an opset, and the least SQNR of its package in dB.
#[track_caller]
pub fn check_opset(
    opset: i64,
    x: &[i64],
    nodes: Vec<Node>,
    initializer: Vec<pb::TensorProto>,
    least_db: f64,
) {
    let model = model(opset, x, nodes, initializer);
    check_against(x, &model, &model, least_db);
}

/// A model `x -> y`.
pub fn model(opset: i64, x: &[i64], nodes: Vec<Node>, initializer: Vec<pb::TensorProto>) -> pb::ModelProto {
    pb::ModelProto {
        ir_version: 8,
        opset_import: vec![pb::OperatorSetIdProto { domain: String::new(), version: opset }],
        graph: Some(pb::GraphProto {
            name: "test".into(),
            input: vec![value_info("x", &x.iter().map(|&dim| Ok(dim)).collect::<Vec<_>>())],
            // Of any shape: the importer and the baseline find it out.
            output: vec![pb::ValueInfoProto {
                r#type: value_info("y", &[]).r#type.map(|mut kind| {
                    if let Some(pb::type_proto::Value::TensorType(tensor)) = &mut kind.value {
                        tensor.shape = None;
                    }
                    kind
                }),
                ..value_info("y", &[])
            }],
            initializer,
            node: nodes.into_iter().map(|node| node.0).collect(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The package of a model, and the least SQNR in dB against a baseline that computes the same.
#[track_caller]
pub fn check_against(x: &[i64], model: &pb::ModelProto, baseline: &pb::ModelProto, least_db: f64) {
    let bench = Bench::new();
    write_model(&bench.path("model.onnx"), model);
    write_model(&bench.path("baseline.onnx"), baseline);
    let elems: i64 = x.iter().product();
    // A batch of 1 is a sample's own; other first dimensions lie behind the number of the sample.
    let own = x.strip_prefix(&[1]).unwrap_or(x);
    let dims: Vec<usize> = std::iter::once(16).chain(own.iter().map(|&dim| dim as usize)).collect();
    std::fs::write(bench.path("samples.npy"), npy("<f4", &dims, &samples(16, elems as usize))).unwrap();
    bench.pack();
    let report = bench.ok(&[
        "compare",
        "model.epk",
        "--baseline",
        "baseline.onnx",
        "--data",
        "samples.npy",
        "--no-latency",
        "--format",
        "json",
    ]);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["bit_identical_to_host"], true);
    let exact = report["max_abs_error"].as_f64() == Some(0.0);
    let sqnr = report["sqnr_db"].as_f64();
    println!("{:?} dB", sqnr);
    assert!(exact || sqnr.is_some_and(|sqnr| sqnr >= least_db), "SQNR {sqnr:?} dB < {least_db} dB");
}

#[track_caller]
pub fn check(x: &[i64], nodes: Vec<Node>, initializer: Vec<pb::TensorProto>) {
    check_opset(13, x, nodes, initializer, 30.0);
}
