//! `edgepack check`: each rule on a small model that breaks it, and nothing on one that is as it should be.

mod common;
#[path = "common/operation.rs"]
mod operation;

use common::{Bench, model, tensor, value_info, write_model};
use edgepack_engine::kernels::isa::IsaSet;
use edgepack_packager::check::{Finding, Report, Severity, check};
use operation::{Node, floats, ints, op};
use prost::Message;
use serde_json::Value;
use tract_onnx::pb::{self, tensor_proto::DataType};

fn graph(model: &mut pb::ModelProto) -> &mut pb::GraphProto {
    model.graph.as_mut().unwrap()
}

fn checked(model: &pb::ModelProto) -> Report {
    let bench = Bench::new();
    write_model(&bench.path("model.onnx"), model);
    check(&bench.path("model.onnx"), &[], &[], IsaSet::SCALAR).unwrap()
}

/// What is found in the small model of [`common`], changed.
fn found(change: impl FnOnce(&mut pb::ModelProto)) -> Report {
    let mut changed = model();
    change(&mut changed);
    checked(&changed)
}

/// The one finding of a rule, and nothing else.
#[track_caller]
fn only(report: &Report, rule: &str, severity: Severity, names: &[&str], words: &[&str]) -> Finding {
    let rules: Vec<&str> = report.findings.iter().map(|finding| finding.rule).collect();
    assert_eq!(rules, [rule], "{:?}", report.findings);
    let finding = report.findings[0].clone();
    assert_eq!(
        (finding.severity, finding.names.as_slice()),
        (severity, &names.map_strings()[..]),
        "{finding:?}"
    );
    for word in words {
        let text = format!("{} {}", finding.message, finding.remedy);
        assert!(text.contains(word), "`{word}` is missing in {text}");
    }
    finding
}

trait MapStrings {
    fn map_strings(&self) -> Vec<String>;
}

impl MapStrings for &[&str] {
    fn map_strings(&self) -> Vec<String> {
        self.iter().map(|name| name.to_string()).collect()
    }
}

/// `x [1, 3, 8, 8] -> nodes -> y`, of an opset.
fn small(opset: i64, nodes: Vec<Node>, initializer: Vec<pb::TensorProto>) -> pb::ModelProto {
    operation::model(opset, &[1, 3, 8, 8], nodes, initializer)
}

fn typed(name: &str, data_type: DataType, dims: &[i64], raw: Vec<u8>) -> pb::TensorProto {
    pb::TensorProto { data_type: data_type as i32, raw_data: raw, ..tensor(name, dims) }
}

#[test]
fn good_models_have_no_finding_and_all_of_them_is_int8() {
    let digits = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits/model.onnx");
    let report = check(digits.as_ref(), &[], &[], IsaSet::NEON).unwrap();
    assert_eq!((report.findings.as_slice(), report.nodes), (&[][..], 55));
    let truth = report.outlook.unwrap().truth;
    assert_eq!((truth.nodes.len(), truth.int8_macs_percent), (55, 100.0));
    let first = &truth.nodes[0];
    assert_eq!(
        (first.node.as_str(), first.went.as_str(), first.precision.as_str()),
        ("stem/conv", "step 0", "int8")
    );
    assert_eq!((&first.kernels[..], first.macs), (&["conv_s8s8s32_4x16_neon"][..], 36864));
    assert_eq!(truth.nodes[1].went, "in step 0, stem/conv");
    assert_eq!(truth.nodes[2].went, "a constant of stem/relu6");
    assert_eq!(truth.nodes[52].went, "no step: the same bytes, read otherwise");
    assert!(truth.nodes[54].precision == "f32" && truth.nodes[54].why.is_some());
    let report = checked(&model());
    assert_eq!(report.findings, []);
}

#[test]
fn opsets_that_are_too_old_or_too_new() {
    let with = |version| found(|model| model.opset_import[0].version = version);
    only(&with(6), "opset", Severity::Warning, &[], &["opset 6 is older than 7"]);
    let added = |axis| {
        let add = op("Add", &["x", "bias"], "y").int("broadcast", 1).int("axis", axis);
        let bias = |dims: &[i64]| tensor("bias", dims);
        let dims: &[i64] = if axis == 1 { &[3] } else { &[8] };
        checked(&small(6, vec![add], vec![bias(dims)])).findings
    };
    assert!(
        added(1)
            .iter()
            .any(|finding| finding.message.contains("from axis 1 on") && finding.names == ["Add/y"])
    );
    assert_eq!(added(3).len(), 1);
    only(&with(23), "opset", Severity::Warning, &[], &["opset 23 is newer than 21", "opset 17"]);
    let none = found(|model| model.opset_import.clear());
    assert!(
        none.findings
            .iter()
            .any(|finding| finding.rule == "opset" && finding.message.contains("does not say"))
    );
    let torch = found(|model| {
        model.producer_name = "pytorch".into();
        model.opset_import[0].version = 23;
    });
    only(&torch, "opset", Severity::Warning, &[], &["torch.onnx.export(…, opset_version=17)"]);
}

#[test]
fn every_operation_without_steps_is_named_at_once() {
    let nodes = vec![
        op("RoiAlign", &["x"], "a"),
        op("Unique", &["a"], "b"),
        op("Unique", &["b"], "c"),
        Node(pb::NodeProto { domain: "com.microsoft".into(), ..op("FusedConv", &["c"], "y").0 }),
    ];
    let report = checked(&small(13, nodes, vec![]));
    let found: Vec<(&str, &str, usize)> = (report.findings.iter())
        .map(|finding| (finding.rule, finding.op.as_deref().unwrap(), finding.names.len()))
        .collect();
    let rule = "unsupported-op";
    assert_eq!(found, [(rule, "RoiAlign", 1), (rule, "Unique", 2), (rule, "com.microsoft.FusedConv", 1)]);
    assert!(report.findings[0].remedy.contains("extract_model") && report.outlook.is_none());
}

#[test]
fn what_the_importer_refuses_is_found_all_at_once_too() {
    let nodes = vec![
        op("Div", &["x", "zeros"], "a"),
        op("Relu", &["a"], "b"),
        op("LayerNormalization", &["b", "scale"], "c").float("epsilon", -1.0),
        op("Add", &["c", "x"], "d"),
        op("Div", &["d", "zeros"], "y"),
    ];
    let constants = vec![floats("scale", &[8], &[1.0; 8]), floats("zeros", &[1], &[0.0])];
    let report = checked(&small(17, nodes, constants));
    let names: Vec<&str> = report.findings.iter().map(|finding| finding.names[0].as_str()).collect();
    assert_eq!(names, ["Div/a", "LayerNormalization/c", "Div/y"], "{:?}", report.findings);
    assert!(report.findings.iter().all(|finding| finding.severity == Severity::Error));
}

#[test]
fn layers_in_training_mode() {
    let constants = || ["s", "b", "m", "v"].map(|name| floats(name, &[3], &[1.0, 2.0, 3.0])).to_vec();
    let norm = |outputs: &[&str]| op("BatchNormalization", &["x", "s", "b", "m", "v"], "y").outputs(outputs);
    let nodes = vec![norm(&["y", "mean", "var"]).int("training_mode", 1)];
    let report =
        checked(&pb::ModelProto { producer_name: "pytorch".into(), ..small(15, nodes, constants()) });
    let words = ["statistics of the batch", "model.eval()"];
    only(&report, "training-mode", Severity::Error, &["BatchNormalization/y"], &words);
    let report = checked(&small(9, vec![norm(&["y", "mean", "var", "saved", "saved2"])], constants()));
    assert_eq!(report.findings[0].rule, "training-mode", "{:?}", report.findings);
    // With their extra outputs left out, neither is.
    assert_eq!(checked(&small(9, vec![norm(&["y"])], constants())).findings, []);
    let dropout = |on: u8| {
        let mode = pb::TensorProto { dims: vec![], ..typed("mode", DataType::Bool, &[], vec![on]) };
        let ratio = pb::TensorProto { dims: vec![], ..floats("ratio", &[1], &[0.5]) };
        let nodes = vec![op("Dropout", &["x", "ratio", "mode"], "d"), op("Relu", &["d"], "y")];
        checked(&pb::ModelProto { producer_name: "tf2onnx".into(), ..small(13, nodes, vec![ratio, mode]) })
    };
    only(
        &dropout(1),
        "training-mode",
        Severity::Error,
        &["Dropout/d"],
        &["drops values at random", "training=False"],
    );
    assert_eq!(dropout(0).findings, []);
}

#[test]
fn free_dimensions_come_with_the_flag() {
    let with = |dims: [Result<i64, &'static str>; 4]| {
        found(move |model| graph(model).input[0] = value_info("x", &dims))
    };
    let batch = with([Err("N"), Ok(3), Ok(8), Ok(8)]);
    only(&batch, "free-dimension", Severity::Error, &["x"], &["[N, 3, 8, 8]", "--shape x=1,3,8,8"]);
    // A free batch hides nothing else.
    assert_eq!(batch.outlook.unwrap().shapes, [("x".to_string(), vec![1, 3, 8, 8])]);
    let size = with([Err("N"), Ok(3), Err("H"), Err("W")]);
    only(&size, "free-dimension", Severity::Error, &["x"], &["--shape x=1,3,H,W"]);
    assert!(size.outlook.is_none());
    let bench = Bench::new();
    let mut free = model();
    graph(&mut free).input[0] = value_info("x", &[Err("N"), Ok(3), Err("H"), Err("W")]);
    write_model(&bench.path("model.onnx"), &free);
    let shapes = [("x".to_string(), vec![1, 3, 8, 8])];
    assert_eq!(check(&bench.path("model.onnx"), &shapes, &[], IsaSet::SCALAR).unwrap().findings, []);
}

#[test]
fn inputs_that_are_no_floats() {
    let report = found(|model| {
        let mut input = value_info("x", &[Ok(1), Ok(3), Ok(8), Ok(8)]);
        if let Some(pb::type_proto::Value::TensorType(tensor)) = &mut input.r#type.as_mut().unwrap().value {
            tensor.elem_type = DataType::Double as i32;
        }
        graph(model).input[0] = input;
        model.producer_name = "pytorch".into();
    });
    only(&report, "input-type", Severity::Error, &["x"], &["DOUBLE", "model.float()"]);
}

#[test]
fn initializers_that_are_inputs_too() {
    let with = |ir_version| {
        found(move |model| {
            model.ir_version = ir_version;
            graph(model).input.push(value_info("b", &[Ok(4)]));
        })
    };
    only(&with(3), "initializer-as-input", Severity::Note, &["b"], &["IR version 3"]);
    only(&with(8), "initializer-as-input", Severity::Warning, &["b"], &["may replace"]);
}

#[test]
fn initializers_that_nothing_reads_or_that_are_there_twice() {
    let report = found(|model| graph(model).initializer.push(tensor("left", &[5])));
    only(&report, "unused-initializer", Severity::Note, &["left"], &["20 bytes", "onnxsim"]);
    let twice = |columns: i64| {
        let product = |weights: &str, y: &str| op("MatMul", &["x", weights], y);
        let nodes = vec![product("one", "a"), product("two", "b"), op("Add", &["a", "b"], "y")];
        checked(&small(13, nodes, ["one", "two"].map(|name| tensor(name, &[8, columns])).to_vec()))
    };
    only(&twice(40), "duplicate-initializer", Severity::Note, &["one", "two"], &["1280 bytes 2 times"]);
    assert_eq!(twice(8).findings, []);
    // Biases of 0 are no copies of each other.
    let add = |bias: &str, x: &str, y: &str| op("Add", &[x, bias], y);
    let zeros = ["one", "two"].map(|name| floats(name, &[1, 3, 8, 8].map(|d| d * 2), &[0.0; 3072]));
    let nodes = vec![add("one", "x", "a"), add("two", "a", "y")];
    let report = checked(&operation::model(13, &[2, 6, 16, 16], nodes, zeros.to_vec()));
    assert_eq!(report.findings, []);
}

#[test]
fn external_data_that_is_not_there() {
    let report = found(|model| {
        for tensor in &mut graph(model).initializer[..2] {
            tensor.raw_data.clear();
            tensor.data_location = Some(pb::tensor_proto::DataLocation::External as i32);
            let entry = pb::StringStringEntryProto { key: "location".into(), value: "weights.bin".into() };
            tensor.external_data.push(entry);
        }
    });
    only(&report, "external-data", Severity::Error, &["w", "b"], &["`weights.bin`", "beside the model"]);
}

#[test]
fn weights_that_are_no_numbers() {
    let nan =
        found(|model| graph(model).initializer[0].raw_data[4..8].copy_from_slice(&f32::NAN.to_le_bytes()));
    only(&nan, "not-finite", Severity::Error, &["w"], &["1 of 108 elements", "(NaN) at 1", "`conv` (Conv)"]);
    // An infinite bound is none.
    let nodes = vec![op("Clip", &["x", "low", "high"], "y")];
    let bounds = ["low", "high"].map(|name| {
        let bound = if name == "low" { 0.0 } else { f32::INFINITY };
        pb::TensorProto { dims: vec![], ..floats(name, &[1], &[bound]) }
    });
    assert_eq!(checked(&small(13, nodes, bounds.to_vec())).findings, []);
    let mask = floats("mask", &[8], &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, f32::NEG_INFINITY]);
    let report = checked(&small(13, vec![op("Mul", &["x", "mask"], "y")], vec![mask.clone()]));
    assert!(report.findings.iter().any(|f| f.rule == "not-finite" && f.severity == Severity::Warning));
    // What is added hides, and the report says how.
    let report = checked(&small(13, vec![op("Add", &["x", "mask"], "y")], vec![mask]));
    only(&report, "deviation", Severity::Warning, &["Add/y"], &["chooses -inf", "--keep-f32"]);
}

#[test]
fn types_in_which_precision_is_lost() {
    let doubles = |values: [f64; 3]| {
        let raw = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let cast = op("Cast", &["doubles"], "c").int("to", DataType::Float as i64);
        let nodes = vec![cast, op("Add", &["x", "c"], "y")];
        checked(&small(13, nodes, vec![typed("doubles", DataType::Double, &[3, 1, 1], raw)]))
    };
    only(&doubles([0.1, 0.2, 0.3]), "precision", Severity::Note, &["doubles"], &["rounded to f32"]);
    assert_eq!(doubles([0.5, 0.25, 1.0]).findings, []);
    let large = doubles([1e300, 0.0, 0.0]);
    assert!(large.findings.iter().any(|f| f.rule == "precision" && f.severity == Severity::Error));
    let longs = |value: i64| {
        let cast = op("Cast", &["longs"], "c").int("to", DataType::Float as i64);
        checked(&small(13, vec![cast, op("Add", &["x", "c"], "y")], vec![ints("longs", &[value])]))
    };
    only(&longs((1 << 40) + 1), "precision", Severity::Warning, &["longs"], &["±2^24"]);
    assert_eq!(longs(1 << 40).findings, []);
    // The end of a slice is no number to compute with.
    let slice = op("Slice", &["x", "starts", "ends", "axes"], "y");
    let operands = vec![ints("starts", &[1]), ints("ends", &[i64::MAX]), ints("axes", &[2])];
    assert_eq!(checked(&small(13, vec![slice], operands)).findings, []);
    let raw = [0x3f80u16, 0x4000, 0x4040].iter().flat_map(|bits| bits.to_le_bytes()).collect();
    let cast = op("Cast", &["halves"], "c").int("to", DataType::Float as i64);
    let halves = typed("halves", DataType::Bfloat16, &[3, 1, 1], raw);
    let report = checked(&small(13, vec![cast, op("Add", &["x", "c"], "y")], vec![halves]));
    assert!(
        report.findings.iter().any(|f| f.rule == "precision" && f.names == ["halves"]),
        "{:?}",
        report.findings
    );
}

#[test]
fn weights_that_8_bits_hold_badly() {
    let with = |outlier: f32| {
        let mut weights = tensor("w", &[512, 2]);
        weights.raw_data[..4].copy_from_slice(&outlier.to_le_bytes());
        checked(&operation::model(13, &[1, 512], vec![op("MatMul", &["x", "w"], "y")], vec![weights]))
    };
    assert_eq!(with(0.9).findings, []);
    let words = ["output channel 0", "one weight, 30, is"];
    let finding = only(&with(30.0), "weights", Severity::Warning, &["MatMul/y"], &words);
    assert_eq!(finding.op.as_deref(), Some("MatMul"));
}

#[test]
fn nodes_that_no_output_needs() {
    let report = found(|model| graph(model).node.push(op("Sigmoid", &["relu.y"], "nowhere").0));
    only(&report, "unused-node", Severity::Note, &["Sigmoid/nowhere"], &["left out"]);
}

#[test]
fn the_command_fails_where_there_is_an_error_or_too_little_int8() {
    let bench = Bench::new();
    let ok = bench.ok(&["check", "model.onnx", "--require-int8", "100"]);
    assert!(ok.contains("100 % of") && ok.contains("0 errors, 0 warnings, 0 notes"), "{ok}");
    let json = |output: &[u8]| -> Value { serde_json::from_slice(output).unwrap() };
    let output = bench.run(&["check", "model.onnx", "--format", "json", "--target", "rpi4"]);
    let report = json(&output.stdout);
    assert_eq!((&report["errors"], &report["kernels_of"]), (&0.into(), &"rpi4".into()));
    let nodes = report["outlook"]["truth"]["nodes"].as_array().unwrap();
    assert_eq!((nodes.len(), &nodes[0]["kernels"][0]), (5, &"conv_s8s8s32_4x16_neon".into()));
    let mut free = model();
    graph(&mut free).input[0] = value_info("x", &[Err("N"), Ok(3), Ok(8), Ok(8)]);
    write_model(&bench.path("free.onnx"), &free);
    let output = bench.run(&["check", "free.onnx", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(json(&output.stdout)["findings"][0]["severity"], "error");
    bench.ok(&["check", "free.onnx", "--shape", "x=1,3,8,8"]);
    std::fs::write(bench.path("no.onnx"), &model().encode_to_vec()[..200]).unwrap();
    for (arguments, word) in [
        (&["check", "no.onnx"][..], "not a (whole) ONNX model"),
        (&["check", "none.onnx"], "none.onnx"),
        (&["check", "model.onnx", "--shape", "z=1"], "no such input"),
        (&["check", "model.onnx", "--require-int8", "200"], "percentage"),
        (&["check", "model.onnx", "--isa", "sse9"], "`sse9` is none of"),
    ] {
        let output = bench.run(arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains(word), "{message}");
    }
}

/// tract would count for hours.
#[test]
fn axes_that_no_tensor_has_are_refused() {
    let norm = op("LayerNormalization", &["x", "scale"], "y").int("axis", -4_000_000_000_001);
    let report = checked(&small(17, vec![norm], vec![floats("scale", &[8], &[1.0; 8])]));
    only(&report, "import", Severity::Error, &["LayerNormalization/y"], &["axis -4000000000001"]);
}

/// Some of these make tract panic: that is an error of the model as well.
#[test]
fn damaged_models_are_refused_or_checked_but_never_panic() {
    let bench = Bench::new();
    let good = model().encode_to_vec();
    let mut state = 5_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut checked = 0;
    for _ in 0..1000 {
        let mut bytes = good.clone();
        for _ in 0..1 + next(3) {
            bytes[next(good.len())] = next(256) as u8;
        }
        std::fs::write(bench.path("model.onnx"), &bytes).unwrap();
        checked += check(&bench.path("model.onnx"), &[], &[], IsaSet::SCALAR).is_ok() as usize;
    }
    assert!((100..900).contains(&checked), "{checked} of 1000 could be checked");
}
