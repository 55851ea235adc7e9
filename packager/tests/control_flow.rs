//! If, Loop and Scan: packaged as the nodes that they are, and compared with what is computed here.

#[allow(dead_code)] // It uses a part of it.
mod common;
#[path = "common/operation.rs"]
mod operation;
#[path = "common/typed.rs"]
mod typed;

use common::{Bench, value_info, write_model};
use edgepack_engine::InputData;
use edgepack_engine::format::plan::ElemType;
use operation::{Node, floats, ints, op};
use tract_onnx::pb::{self, tensor_proto::DataType};
use typed::{model, packed, run};

fn body(inputs: &[&str], nodes: Vec<Node>, outputs: &[&str]) -> pb::GraphProto {
    let ends = |names: &[&str]| names.iter().map(|name| value_info(name, &[])).collect();
    let node = nodes.into_iter().map(|node| node.0).collect();
    pb::GraphProto {
        name: "body".into(),
        node,
        input: ends(inputs),
        output: ends(outputs),
        ..Default::default()
    }
}

fn branches(condition: &str, output: &str, yes: pb::GraphProto, no: pb::GraphProto) -> Node {
    op("If", &[condition], output).graph("then_branch", yes).graph("else_branch", no)
}

const X: [f32; 3] = [-1.5, 0.25, 2.0];

#[test]
fn a_condition_of_shapes_chooses_its_branch_before_the_model_runs() {
    let bench = Bench::new();
    // PyTorch's squeeze, and an If inside of the branch that is taken; `x` and `three` are of the graph around them.
    let inner = branches(
        "is_three",
        "doubled",
        body(&[], vec![op("Add", &["x", "x"], "sum")], &["sum"]),
        body(&[], vec![op("Sqrt", &["x"], "root")], &["root"]),
    );
    let yes = body(
        &[],
        vec![
            op("Equal", &["size", "three"], "is_three"),
            inner,
            op("Squeeze", &["doubled", "zero"], "squeezed"),
        ],
        &["squeezed"],
    );
    let no = body(&[], vec![op("NonZero", &["x"], "places")], &["places"]);
    let nodes = vec![
        op("Shape", &["x"], "shape"),
        op("Gather", &["shape", "one"], "size"),
        op("Greater", &["size", "zero"], "condition"),
        branches("condition", "chosen", yes, no),
        op("Neg", &["chosen"], "y"),
    ];
    let constants = vec![ints("zero", &[0]), ints("one", &[1]), ints("three", &[3])];
    let model = model(&[("x", DataType::Float, &[1, 3])], &[("y", DataType::Float)], nodes, constants);
    let package = packed(&bench, &model, &["--precision", "fp32"]);
    assert_eq!(run(&package, &[InputData::F32(&X)])[0].1, X.map(|x| -2.0 * x));
    let nodes = bench.ok(&["inspect", "model.epk", "--nodes"]);
    assert!(nodes.contains("If/chosen/then/If/doubled/then/Add/sum") && !nodes.contains("Sqrt"), "{nodes}");
}

/// A model whose input `c` decides between two branches over `x`.
fn decided(yes: pb::GraphProto, no: pb::GraphProto) -> pb::ModelProto {
    model(
        &[("x", DataType::Float, &[1, 3]), ("c", DataType::Bool, &[1])],
        &[("y", DataType::Float)],
        vec![branches("c", "y", yes, no)],
        vec![floats("big", &[1, 3], &[5.0, 6.0, 7.0])],
    )
}

#[test]
fn of_a_condition_that_is_computed_both_branches_are_and_one_is_chosen() {
    let bench = Bench::new();
    let no =
        body(&[], vec![op("Relu", &["x"], "positive"), op("Add", &["positive", "big"], "more")], &["more"]);
    let model = decided(body(&[], vec![op("Neg", &["x"], "negative")], &["negative"]), no);
    let package = packed(&bench, &model, &["--precision", "fp32"]);
    let output = |c: bool| run(&package, &[InputData::F32(&X), InputData::Bool(&[u8::from(c)])])[0].1.clone();
    assert_eq!(output(true), [1.5, -0.25, -2.0]);
    assert_eq!(output(false), [5.0, 6.25, 9.0]);
    let check = bench.ok(&["check", "model.onnx"]);
    assert!(check.contains("`If/y`") && check.contains("both branches are computed every time"), "{check}");
}

#[test]
fn branches_of_different_shapes_are_refused_with_what_to_do() {
    let bench = Bench::new();
    let no = body(
        &[],
        vec![op("Flatten", &["x"], "flat").int("axis", 0), op("Tile", &["flat", "twice"], "more")],
        &["more"],
    );
    let mut model = decided(body(&[], vec![op("Neg", &["x"], "negative")], &["negative"]), no);
    model.graph.as_mut().unwrap().initializer.push(ints("twice", &[1, 2]));
    let error = refused(&bench, &model);
    assert!(error.contains("If/y") && error.contains("[1, 3] and [1, 6]"), "{error}");
}

fn refused(bench: &Bench, model: &pb::ModelProto) -> String {
    write_model(&bench.path("model.onnx"), model);
    let output = bench.run(&["pack", "model.onnx", "-o", "model.epk", "--calibration", "random"]);
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `y`, four times x added up with the number of the turn, and every sum on the way.
fn counted(turns: &str, next: &str) -> pb::ModelProto {
    let nodes = vec![
        op("Identity", &["go"], "on"),
        op("Cast", &["turn"], "number").int("to", 1),
        op("Add", &["sum", "x"], "more"),
        op("Add", &["more", "number"], "sum_out"),
        op("Less", &["number", "limit"], "may_end"),
        op("Mul", &["sum_out", "two"], "seen"),
    ];
    let body = body(&["turn", "go", "sum"], nodes, &[next, "sum_out", "seen"]);
    model(
        &[("x", DataType::Float, &[3]), ("n", DataType::Int64, &[1])],
        &[("y", DataType::Float), ("all", DataType::Float), ("same", DataType::Int64)],
        vec![
            op("Loop", &[turns, "", "zeros"], "y").graph("body", body).outputs(&["y", "all"]),
            op("Add", &["n", "n"], "same"),
        ],
        vec![
            ints("four", &[4]),
            floats("zeros", &[3], &[0.0; 3]),
            floats("two", &[1], &[2.0]),
            floats("limit", &[], &[9.0]),
        ],
    )
}

#[test]
fn loops_of_a_known_number_of_turns_are_unrolled() {
    let bench = Bench::new();
    let package = packed(&bench, &counted("four", "on"), &["--precision", "fp32"]);
    let outputs = run(&package, &[InputData::F32(&X), InputData::I64(&[1])]);
    let sum = |turns: i32, x: f32| turns as f32 * x + (0..turns).sum::<i32>() as f32;
    assert_eq!(outputs[0].1, X.map(|x| sum(4, x)));
    let all: Vec<f32> = (1..5).flat_map(|turns| X.map(|x| 2.0 * sum(turns, x))).collect();
    assert_eq!(outputs[1].1, all);
}

#[test]
fn loops_that_only_the_run_can_end_are_refused_with_what_to_do() {
    let bench = Bench::new();
    let error = refused(&bench, &counted("n", "on"));
    assert!(
        error.contains("Loop/y") && error.contains("its number of turns") && error.contains("fixed"),
        "{error}"
    );
    let error = refused(&bench, &counted("four", "may_end"));
    assert!(error.contains("may end before its last turn"), "{error}");
}

#[test]
fn scans_are_unrolled_forwards_and_backwards() {
    let bench = Bench::new();
    let nodes = vec![op("Add", &["sum", "next"], "sum_out"), op("Identity", &["sum_out"], "seen")];
    let body = body(&["sum", "next"], nodes, &["sum_out", "seen"]);
    let scan = op("Scan", &["zero", "x"], "y").graph("body", body).outputs(&["y", "all"]);
    let scan = scan.int("num_scan_inputs", 1).ints("scan_input_directions", &[1]);
    let model = model(
        &[("x", DataType::Float, &[3, 2])],
        &[("y", DataType::Float), ("all", DataType::Float)],
        vec![scan.ints("scan_input_axes", &[0]).ints("scan_output_axes", &[1])],
        vec![floats("zero", &[2], &[0.0; 2])],
    );
    let package = packed(&bench, &model, &["--precision", "fp32"]);
    let outputs = run(&package, &[InputData::F32(&[1.0, 2.0, 10.0, 20.0, 100.0, 200.0])]);
    assert_eq!(outputs[0].1, [111.0, 222.0]);
    assert_eq!(outputs[1].1, [100.0, 110.0, 111.0, 200.0, 220.0, 222.0]);
}

/// As Silero VAD: a sampling rate decides which network runs, and each takes windows of its own length only.
fn of_two_rates() -> pb::ModelProto {
    let network =
        |name: &str| vec![op("MatMul", &["x", name], "product"), op("Relu", &["product"], "positive")];
    let branch = |weights: &str| body(&[], network(weights), &["positive"]);
    let rate = op("Equal", &["sr", "high"], "is_high");
    model(
        &[("x", DataType::Float, &[1, 3]), ("sr", DataType::Int64, &[])],
        &[("y", DataType::Float)],
        vec![rate, branches("is_high", "y", branch("of_high"), branch("of_low"))],
        vec![
            floats("of_high", &[3, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]),
            floats("of_low", &[5, 2], &[1.0; 10]),
            pb::TensorProto { dims: vec![], ..ints("high", &[16_000]) },
        ],
    )
}

#[test]
fn an_input_that_decides_is_bound_to_one_value() {
    let bench = Bench::new();
    let model = of_two_rates();
    let error = refused(&bench, &model);
    assert!(error.contains("`sr` decides which branch runs") && error.contains("--fix sr=VALUE"), "{error}");
    let package = packed(&bench, &model, &["--precision", "fp32", "--fix", "sr=16000"]);
    assert_eq!(run(&package, &[InputData::F32(&X)]), [(ElemType::F32, vec![0.5, 2.25])]);
    assert!(bench.ok(&["check", "model.onnx", "--fix", "sr=16000"]).contains("0 errors"));
}

#[test]
fn a_package_of_a_bound_input_is_compared_with_the_model_of_the_same() {
    let bench = Bench::new();
    let inputs = [("x", DataType::Float, &[1, 3][..]), ("factor", DataType::Float, &[1][..])];
    let model = model(&inputs, &[("y", DataType::Float)], vec![op("Mul", &["x", "factor"], "y")], vec![]);
    let package = packed(&bench, &model, &["--precision", "fp32", "--fix", "factor=-0.5"]);
    assert_eq!(run(&package, &[InputData::F32(&X)])[0].1, X.map(|x| -0.5 * x));
    std::fs::write(bench.path("x.npy"), common::npy("<f4", &[1, 3], &X.map(f32::to_le_bytes).concat()))
        .unwrap();
    let compare = ["compare", "model.epk", "--baseline", "model.onnx", "--data", "x.npy", "--no-latency"];
    let report = bench.ok(&[&compare[..], &["--fix", "factor=-0.5"]].concat());
    assert!(report.contains("max abs error 0.0000"), "{report}");
    // Nothing is left of the copy that the baseline was read from.
    let is_model =
        |file: std::fs::DirEntry| file.path().extension().is_some_and(|extension| extension == "onnx");
    assert_eq!(
        std::fs::read_dir(bench.path("")).unwrap().flatten().map(is_model).filter(|is| *is).count(),
        1
    );
}

#[test]
fn what_cannot_be_bound_is_refused_by_its_name() {
    let bench = Bench::new();
    write_model(&bench.path("model.onnx"), &of_two_rates());
    let fixed = |fix: &str| {
        let args = ["pack", "model.onnx", "-o", "model.epk", "--calibration", "random", "--fix", fix];
        let output = bench.run(&args);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let unknown = fixed("rate=16000");
    assert!(unknown.contains("--fix rate") && unknown.contains("its inputs are x, sr"), "{unknown}");
    assert!(fixed("sr=0.5").contains("0.5 is no value of INT64"));
    assert!(fixed("sr=high").contains("`high` is no number"));
}
