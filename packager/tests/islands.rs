//! Plans of which tract runs a part: int8 steps before it and behind it.

#[allow(dead_code)] // It uses a part of it.
mod common;

use common::{Bench, model, node, value_info, write_model};
use edgepack_engine::format::plan::{ElemType, Op};
use edgepack_engine::kernels::isa::IsaSet;
use edgepack_engine::{InputData, Model, SessionOptions};
use edgepack_packager::evaluate::evaluate;
use edgepack_packager::graph;
use edgepack_packager::import::import_with_islands;
use edgepack_packager::islands::Islands;
use tract_onnx::pb;

/// `x -> Conv -> Relu -> Swish -> GlobalAveragePool -> Flatten -> Gemm -> y`, of which nothing but tract has Swish,
/// and `Relu -> GlobalMaxPool -> z`, which does not depend on it.
fn mixed() -> pb::ModelProto {
    let mut model = model();
    let graph = model.graph.as_mut().unwrap();
    model.opset_import[0].version = 14;
    graph.node[2].input[0] = "swish.y".into();
    graph.node.insert(2, node("swish", "Swish", &["relu.y"], "swish.y", &[]));
    graph.node.push(node("max", "GlobalMaxPool", &["relu.y"], "z", &[]));
    graph.output.push(value_info("z", &[Ok(1), Ok(4), Ok(1), Ok(1)]));
    model
}

fn bench(model: &pb::ModelProto) -> Bench {
    let bench = Bench::new();
    write_model(&bench.path("model.onnx"), model);
    bench
}

fn pack(bench: &Bench, output: &str, islands: &str) -> String {
    bench.ok(&["pack", "model.onnx", "-o", output, "--calibration", "samples.npy", "--islands", islands])
}

fn sample() -> Vec<f32> {
    (0..192).map(|i| ((i * 31 % 101) as f32 - 50.0) / 50.0).collect()
}

fn outputs(model: &Model, isa: Option<IsaSet>) -> Vec<Vec<f32>> {
    let mut session = model.session(&SessionOptions { isa, ..Default::default() }).unwrap();
    session.set_input(0, InputData::F32(&sample())).unwrap();
    session.run().unwrap();
    (0..model.package().outputs().count()).map(|i| session.output(i).unwrap().values().collect()).collect()
}

/// Distance in dB.
fn sqnr(exact: &[f32], got: &[f32]) -> f64 {
    let sum = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x).powi(2)).sum::<f64>();
    let noise = sum(&mut exact.iter().zip(got).map(|(a, b)| a - b));
    10.0 * (sum(&mut exact.iter().copied()) / noise.max(1e-30)).log10()
}

#[test]
fn an_island_between_int8_steps_runs_and_is_named_everywhere() {
    let bench = bench(&mixed());
    let report = pack(&bench, "a.epk", "auto");
    assert!(report.contains("tract runs 1 of 7 nodes") && report.contains("island swish: "), "{report}");
    let nodes = bench.ok(&["inspect", "a.epk", "--nodes"]);
    assert!(nodes.contains("island") && nodes.contains("tract"), "{nodes}");
    let model = Model::open(bench.path("a.epk")).unwrap();
    let steps: Vec<_> = model.package().steps().map(|step| step.op).collect();
    assert_eq!(steps.iter().filter(|op| matches!(op, Op::Island(_))).count(), 1);
    assert!(steps.iter().filter(|op| matches!(op, Op::Conv(_))).count() >= 2, "{steps:?}");
    let exact: Vec<bool> = model.package().outputs().map(|output| output.exact).collect();
    assert_eq!(exact, [false, true]);
    // The graph evaluates through the island, too; int8 is as near as it is without one.
    let graph = import_with_islands(&bench.path("model.onnx"), &[], &[], Islands::Auto).unwrap().graph;
    let reference = evaluate(&graph, &[&sample()], |_, _| {});
    let got = outputs(&model, None);
    for (exact, got) in reference.iter().zip(&got) {
        // 37 and 45 dB.
        assert!(sqnr(exact, got) > 30.0, "{} dB", sqnr(exact, got));
    }
    // What does not depend on the island has the same bits on every instruction set.
    assert_eq!(outputs(&model, Some(IsaSet::SCALAR))[1], got[1]);
    bench.ok(&["selftest", "a.epk"]);
}

#[test]
fn the_same_model_gives_the_same_package() {
    let bench = bench(&mixed());
    pack(&bench, "a.epk", "auto");
    pack(&bench, "b.epk", "auto");
    assert!(std::fs::read(bench.path("a.epk")).unwrap() == std::fs::read(bench.path("b.epk")).unwrap());
}

#[test]
fn islands_are_refused_unless_they_are_asked_for() {
    let bench = bench(&mixed());
    let output = bench.run(&["pack", "model.onnx", "-o", "a.epk", "--calibration", "samples.npy"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("`swish`: Swish") && error.contains("--islands auto"), "{error}");
    let check = String::from_utf8(bench.run(&["check", "model.onnx"]).stdout).unwrap();
    assert!(check.contains("note[island]: node `swish`") && check.contains("exact: false"), "{check}");
}

#[test]
fn a_model_that_needs_none_has_none() {
    let bench = Bench::new();
    pack(&bench, "a.epk", "auto");
    pack(&bench, "b.epk", "never");
    assert!(std::fs::read(bench.path("a.epk")).unwrap() == std::fs::read(bench.path("b.epk")).unwrap());
}

#[test]
fn the_whole_model_as_one_island_is_the_baseline() {
    let bench = bench(&mixed());
    pack(&bench, "a.epk", "all");
    let model = Model::open(bench.path("a.epk")).unwrap();
    let ops: Vec<_> = model.package().steps().map(|step| step.op).collect();
    assert!(matches!(ops[..], [Op::Island(_)]), "{ops:?}");
    let graph = import_with_islands(&bench.path("model.onnx"), &[], &[], Islands::Auto).unwrap().graph;
    let reference = evaluate(&graph, &[&sample()], |_, _| {});
    for (exact, got) in reference.iter().zip(outputs(&model, None)) {
        // f32 sums in another order.
        assert!(sqnr(exact, &got) > 100.0, "{} dB", sqnr(exact, &got));
    }
}

/// Two nodes without steps of their own, between which a path leads over one with: two islands, for one would have to
/// run before and after it.
#[test]
fn islands_are_parted_where_a_path_leads_through_other_steps() {
    let mut model = mixed();
    let graph = model.graph.as_mut().unwrap();
    // swish.y is read by the second island at once, and through a convolution.
    graph.node.truncate(3);
    graph.node.push(node("conv2", "Conv", &["swish.y", "w2"], "conv2.y", &[("kernel_shape", vec![1, 1])]));
    graph.node.push(node("sum", "Einsum", &["swish.y", "conv2.y", "swish.y"], "y", &[]));
    let equation = pb::AttributeProto {
        name: "equation".into(),
        r#type: pb::attribute_proto::AttributeType::String as i32,
        s: b"nchw,ndhw,nchw->ncd".to_vec(),
        ..Default::default()
    };
    graph.node[4].attribute.push(equation);
    graph.initializer.push(common::tensor("w2", &[4, 4, 1, 1]));
    graph.output = vec![value_info("y", &[Ok(1), Ok(4), Ok(4)])];
    let bench = bench(&model);
    pack(&bench, "a.epk", "auto");
    let package = Model::open(bench.path("a.epk")).unwrap();
    let kinds: Vec<_> = package.package().steps().map(|step| matches!(step.op, Op::Island(_))).collect();
    assert_eq!(kinds.iter().filter(|&&island| island).count(), 2, "{kinds:?}");
    let graph: graph::Graph =
        import_with_islands(&bench.path("model.onnx"), &[], &[], Islands::Auto).unwrap().graph;
    let reference = evaluate(&graph, &[&sample()], |_, _| {});
    let got = outputs(&package, None);
    assert!(sqnr(&reference[0], &got[0]) > 25.0, "{} dB", sqnr(&reference[0], &got[0]));
}

/// Integers of 64 bits go in and come out whole, far beyond what f32 holds.
#[test]
fn islands_take_and_give_integers_as_they_are() {
    let end = |name: &str| {
        let mut end = value_info(name, &[Ok(3)]);
        let Some(pb::type_proto::Value::TensorType(tensor)) = &mut end.r#type.as_mut().unwrap().value else {
            unreachable!()
        };
        tensor.elem_type = pb::tensor_proto::DataType::Int64 as i32;
        end
    };
    let graph = pb::GraphProto {
        name: "integers".into(),
        input: vec![end("x")],
        output: vec![end("y")],
        initializer: vec![pb::TensorProto {
            name: "one".into(),
            dims: vec![1],
            data_type: pb::tensor_proto::DataType::Int64 as i32,
            raw_data: 1i64.to_le_bytes().to_vec(),
            ..Default::default()
        }],
        node: vec![node("add", "Add", &["x", "one"], "y", &[])],
        ..Default::default()
    };
    let bench = bench(&pb::ModelProto { graph: Some(graph), ..model() });
    bench.ok(&["pack", "model.onnx", "-o", "a.epk", "--calibration", "random", "--islands", "all"]);
    let model = Model::open(bench.path("a.epk")).unwrap();
    assert_eq!(model.package().inputs().next().unwrap().dtype, ElemType::I64);
    let mut session = model.session(&SessionOptions::default()).unwrap();
    session.set_input(0, InputData::I64(&[1 << 60, -1, i64::MAX - 1])).unwrap();
    session.run().unwrap();
    let output = session.output(0).unwrap();
    assert_eq!(output, edgepack_engine::OutputData::I64(&[(1 << 60) + 1, 0, i64::MAX]));
}
