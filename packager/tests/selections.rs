//! Where and If take a side, and nothing of the other: packaged, run, and compared with what is computed here.

#[allow(dead_code)] // It uses a part of it.
mod common;
#[path = "common/operation.rs"]
mod operation;
#[path = "common/typed.rs"]
mod typed;

use common::{Bench, npy, write_model};
use edgepack_engine::InputData;
use operation::{Node, check_opset, floats, ints, op};
use tract_onnx::pb::{self, tensor_proto::DataType};
use typed::{model, packed, run};

const INF: f32 = f32::INFINITY;

fn scalar(name: &str, value: f32) -> pb::TensorProto {
    floats(name, &[], &[value])
}

/// Of a model of `x` and an output `y`.
fn of_x(x: &[f32], nodes: Vec<Node>, constants: Vec<pb::TensorProto>, args: &[&str]) -> Vec<f32> {
    let bench = Bench::new();
    let dims = [1, x.len() as i64];
    let model = model(&[("x", DataType::Float, &dims)], &[("y", DataType::Float)], nodes, constants);
    run(&packed(&bench, &model, args), &[InputData::F32(x)]).remove(0).1
}

/// A logarithm where there is one, and 0 where it would be infinite or no number.
fn safe_logarithm() -> Vec<Node> {
    let is_positive = op("Greater", &["x", "zero"], "is_positive");
    vec![is_positive, op("Log", &["x"], "log"), op("Where", &["is_positive", "log", "zero"], "y")]
}

#[test]
fn what_is_not_taken_leaves_no_trace_in_f32() {
    let x = [-1.0, 0.0, -0.0, 1.0, 2.0, -INF, f32::NAN];
    let fp32 = ["--precision", "fp32"];
    let log = of_x(&x, safe_logarithm(), vec![scalar("zero", 0.0)], &fp32);
    assert_eq!(log[..6], [0.0, 0.0, 0.0, 0.0, std::f32::consts::LN_2, 0.0]);
    // As tensors, whose condition another node reads, too.
    let mut nodes = safe_logarithm();
    nodes[2] = op("Where", &["is_positive", "log", "x"], "taken");
    nodes.extend([op("Neg", &["is_positive"], "minus"), op("Add", &["taken", "minus"], "y")]);
    nodes[0] = op("Cast", &["is"], "is_positive").int("to", DataType::Float as i64);
    nodes.insert(0, op("Greater", &["x", "zero"], "is"));
    nodes[3] = op("Where", &["is", "log", "x"], "taken");
    let log = of_x(&x, nodes, vec![scalar("zero", 0.0)], &fp32);
    assert_eq!(log[..6], [-1.0, 0.0, 0.0, -1.0, std::f32::consts::LN_2 - 1.0, -INF]);
}

/// Numbers that IEEE 754 has rules of their own for; the differences of some are beyond f32.
const SPECIAL: [f32; 10] = [-INF, f32::MIN, -1.5, -1e-45, -0.0, 0.0, 1.5, f32::MAX, INF, f32::NAN];

/// Whether two numbers compare so.
type Holds = fn(f32, f32) -> bool;

/// The comparisons of ONNX, and what they are by Rust's operators, which are IEEE 754's.
const COMPARISONS: [(&str, Holds); 5] = [
    ("Less", |a, b| a < b),
    ("LessOrEqual", |a, b| a <= b),
    ("Greater", |a, b| a > b),
    ("GreaterOrEqual", |a, b| a >= b),
    ("Equal", |a, b| a == b),
];

#[test]
fn comparisons_of_tensors_and_numbers_in_f32_are_those_of_ieee_754() {
    let (row, column) = (floats("row", &[1, 10], &SPECIAL), floats("column", &[10, 1], &SPECIAL));
    let numbers = SPECIAL.iter().enumerate().map(|(i, &x)| scalar(&format!("n{i}"), x));
    let constants: Vec<_> = numbers.chain([row, column]).collect();
    let names: Vec<String> = (0..10).map(|i| format!("n{i}")).collect();
    for (name, holds) in COMPARISONS {
        let truth = |a: f32, b: f32| f32::from(holds(a, b));
        let all = |of: &dyn Fn(f32, f32) -> f32| -> Vec<f32> {
            SPECIAL.iter().flat_map(|&b| SPECIAL.map(|a| of(a, b))).collect()
        };
        // Two tensors, with themselves, with constants on both sides; constants, which are none when the model runs.
        let mut nodes = vec![
            op(name, &["x", "y"], "tensors"),
            op(name, &["x", "x"], "itself"),
            op(name, &["x", "column"], "right"),
            op(name, &["column", "x"], "left"),
            op(name, &["row", "column"], "folded"),
            op("Where", &["folded", "x", "y"], "by_folded"),
        ];
        let (to, of) = (|i: usize| format!("to{i}"), |i: usize| format!("of{i}"));
        for (i, n) in names.iter().enumerate() {
            nodes.extend([op(name, &["x", n], &to(i)), op(name, &[n, "x"], &of(i))]);
        }
        let outputs = ["tensors", "itself", "right", "left", "by_folded"].map(String::from);
        let outputs: Vec<String> = outputs.into_iter().chain((0..10).flat_map(|i| [to(i), of(i)])).collect();
        let kinds = outputs.iter().map(|output| match output.as_str() {
            "by_folded" => (output.as_str(), DataType::Float),
            _ => (output.as_str(), DataType::Bool),
        });
        let inputs = [("x", DataType::Float, &[1, 10][..]), ("y", DataType::Float, &[10, 1][..])];
        let bench = Bench::new();
        let model = model(&inputs, &kinds.collect::<Vec<_>>(), nodes, constants.clone());
        let package = packed(&bench, &model, &["--precision", "fp32"]);
        let got = run(&package, &[InputData::F32(&SPECIAL), InputData::F32(&SPECIAL)]);
        let mut wanted = vec![
            all(&truth),
            SPECIAL.map(|a| truth(a, a)).to_vec(),
            all(&truth),
            all(&|a, b| truth(b, a)),
            all(&|a, b| if holds(a, b) { a } else { b }),
        ];
        for n in SPECIAL {
            wanted.extend([SPECIAL.map(|x| truth(x, n)).to_vec(), SPECIAL.map(|x| truth(n, x)).to_vec()]);
        }
        for ((got, wanted), output) in got.iter().zip(&wanted).zip(&outputs) {
            let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&got.1), bits(wanted), "{name}: {output}");
        }
    }
}

#[test]
fn what_is_no_number_is_found_by_comparing_it_with_itself() {
    let x = [1.0, f32::NAN, INF, -INF, -0.0, f32::NAN, 3.5];
    let nodes = vec![op("Equal", &["x", "x"], "is"), op("Where", &["is", "x", "zero"], "y")];
    let y = of_x(&x, nodes, vec![scalar("zero", 0.0)], &["--precision", "fp32"]);
    assert_eq!(y, [1.0, 0.0, INF, -INF, 0.0, 0.0, 3.5]);
}

#[test]
fn tensors_compare_in_int8_as_what_they_stand_for_whatever_their_scales() {
    // Every level of int8; `z` is half of what is behind, at half the scale.
    let x: Vec<f32> = (-128..128).map(|level| level as f32 / 127.0).collect();
    for (name, holds) in COMPARISONS {
        let nodes = vec![
            op("Slice", &["x", "last", "first", "axes", "steps"], "y"),
            op("Mul", &["y", "half"], "z"),
            op(name, &["x", "y"], "one_scale"),
            op(name, &["x", "z"], "two_scales"),
        ];
        let slice = [("last", -1), ("first", i64::MIN), ("axes", 1), ("steps", -1)];
        let slice = slice.iter().map(|(name, value)| ints(name, &[*value]));
        let constants = slice.chain([scalar("half", 0.5)]).collect();
        let outputs = [("one_scale", DataType::Bool), ("two_scales", DataType::Bool)];
        let model = model(&[("x", DataType::Float, &[1, 256])], &outputs, nodes, constants);
        let bench = Bench::new();
        write_model(&bench.path("model.onnx"), &model);
        let bytes: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
        std::fs::write(bench.path("x.npy"), npy("<f4", &[1, 256], &bytes)).unwrap();
        bench.ok(&[
            "pack",
            "model.onnx",
            "-o",
            "model.epk",
            "--calibration",
            "x.npy",
            "--observer",
            "min-max",
        ]);
        let got = run(&bench.path("model.epk"), &[InputData::F32(&x)]);
        let level = |i: usize| i as f32 - 128.0;
        let one: Vec<f32> = (0..256).map(|i| f32::from(holds(level(i), level(255 - i)))).collect();
        assert_eq!(got[0].1, one, "{name}");
        let difference = |i: usize| level(i) - level(255 - i) / 2.0;
        let two: Vec<f32> = (0..256).map(|i| f32::from(holds(difference(i), 0.0))).collect();
        assert_eq!(got[1].1, two, "{name}");
    }
}

#[test]
fn infinite_constants_are_chosen() {
    let x = [0.0, -0.0, 1.5, -2.0];
    let nodes = || vec![op("Equal", &["x", "zero"], "is"), op("Where", &["is", "inf", "x"], "y")];
    let constants = || vec![scalar("zero", 0.0), scalar("inf", INF)];
    assert_eq!(of_x(&x, nodes(), constants(), &["--precision", "fp32"]), [INF, INF, 1.5, -2.0]);
    // One for each element, and as two numbers.
    let each = floats("inf", &[4], &[INF, -INF, 7.0, 8.0]);
    let y = of_x(&x, nodes(), vec![scalar("zero", 0.0), each], &["--precision", "fp32"]);
    assert_eq!(y, [INF, -INF, 1.5, -2.0]);
    let numbers = vec![op("Less", &["x", "zero"], "is"), op("Where", &["is", "low", "inf"], "y")];
    let y = of_x(&x, numbers, [constants(), vec![scalar("low", -1e-8)]].concat(), &["--precision", "fp32"]);
    assert_eq!(y, [INF, INF, INF, -1e-8]);
}

#[test]
fn both_branches_are_computed_and_one_is_taken() {
    let branch = |nodes: Vec<Node>, output: &str| pb::GraphProto {
        name: "branch".into(),
        output: vec![common::value_info(output, &[])],
        node: nodes.into_iter().map(|node| node.0).collect(),
        ..Default::default()
    };
    let yes = branch(vec![op("Sqrt", &["x"], "root")], "root");
    let no = branch(vec![op("Reciprocal", &["x"], "reciprocal")], "reciprocal");
    let choice = op("If", &["c"], "y").graph("then_branch", yes).graph("else_branch", no);
    let inputs = [("x", DataType::Float, &[1, 3][..]), ("c", DataType::Bool, &[1][..])];
    let bench = Bench::new();
    let model = model(&inputs, &[("y", DataType::Float)], vec![choice], vec![]);
    let package = packed(&bench, &model, &["--precision", "fp32"]);
    let y = |x: [f32; 3], c: u8| run(&package, &[InputData::F32(&x), InputData::Bool(&[c])]).remove(0).1;
    assert_eq!(y([0.0, 4.0, 2.25], 1), [0.0, 2.0, 1.5]);
    assert_eq!(y([-1.0, 4.0, -2.0], 0), [-1.0, 0.25, -0.5]);
}

#[test]
fn operands_of_any_shape_go_together() {
    let inputs = [("x", DataType::Float, &[1, 1, 3][..]), ("c", DataType::Bool, &[2, 1][..])];
    let bench = Bench::new();
    let nodes = vec![op("Where", &["c", "x", "column"], "y")];
    let column = floats("column", &[2, 2, 1], &[10.0, 20.0, 30.0, 40.0]);
    let model = model(&inputs, &[("y", DataType::Float)], nodes, vec![column]);
    let package = packed(&bench, &model, &["--precision", "fp32"]);
    let y = run(&package, &[InputData::F32(&[1.0, 2.0, 3.0]), InputData::Bool(&[1, 0])]).remove(0).1;
    assert_eq!(y, [1.0, 2.0, 3.0, 20.0, 20.0, 20.0, 1.0, 2.0, 3.0, 40.0, 40.0, 40.0]);
}

#[test]
fn sides_of_different_ranges_keep_their_own_scales_in_int8() {
    let x = [1, 4, 6, 5];
    check_opset(16, &x, safe_logarithm(), vec![scalar("zero", 0.05)], 30.0);
    // Of one tensor they would be one table.
    let backwards = op("Slice", &["x", "last", "first", "axes", "steps"], "backwards");
    let nodes = vec![
        backwards,
        op("Sin", &["backwards"], "small"),
        op("Mul", &["x", "hundred"], "large"),
        op("Greater", &["x", "zero"], "c"),
        op("Where", &["c", "large", "small"], "y"),
    ];
    let slice = [("last", -1), ("first", i64::MIN), ("axes", 1), ("steps", -1)];
    let slice = slice.iter().map(|(name, value)| ints(name, &[*value]));
    let constants = [scalar("hundred", 100.0), scalar("zero", 0.0)].into_iter().chain(slice).collect();
    check_opset(16, &x, nodes, constants, 38.0);
}

/// Attention to positions that a mask forbids, as exporters write it: of `[batch, queries, keys]`.
fn attention(mask: Vec<Node>) -> Vec<Node> {
    let mut nodes = vec![
        op("MatMul", &["x", "wq"], "q"),
        op("MatMul", &["x", "wk"], "k"),
        op("Transpose", &["k"], "kt").ints("perm", &[0, 2, 1]),
        op("MatMul", &["q", "kt"], "scores"),
    ];
    nodes.extend(mask);
    nodes.extend([
        op("Softmax", &["masked"], "weights").int("axis", -1),
        op("MatMul", &["weights", "x"], "y"),
    ]);
    nodes
}

fn weights() -> Vec<pb::TensorProto> {
    vec![common::tensor("wq", &[8, 8]), common::tensor("wk", &[8, 8])]
}

/// 1 or what a mask has instead, for 6 queries and keys.
fn causal(name: &str, [seen, hidden]: [f32; 2]) -> pb::TensorProto {
    let at = |i: usize| if i % 6 <= i / 6 { seen } else { hidden };
    floats(name, &[6, 6], &(0..36).map(at).collect::<Vec<f32>>())
}

#[test]
fn masks_before_a_softmax_hide_what_they_mask_in_int8() {
    let x = [1, 6, 8];
    for hidden in [-INF, f32::MIN, -1e9, -1e4] {
        let choice = vec![
            op("Cast", &["causal"], "seen").int("to", DataType::Bool as i64),
            op("Where", &["seen", "scores", "hidden"], "masked"),
        ];
        let constants = vec![causal("causal", [1.0, 0.0]), scalar("hidden", hidden)];
        check_opset(13, &x, attention(choice), [weights(), constants].concat(), 30.0);
        let sum = vec![op("Add", &["scores", "causal"], "masked")];
        check_opset(
            13,
            &x,
            attention(sum),
            [weights(), vec![causal("causal", [0.0, hidden])]].concat(),
            30.0,
        );
    }
}

#[test]
fn what_is_hidden_gets_nothing_in_int8_and_check_says_how() {
    let bench = Bench::new();
    let nodes = vec![
        op("Neg", &["x"], "scores"),
        op("Where", &["c", "scores", "hidden"], "masked"),
        op("Softmax", &["masked"], "y").int("axis", -1),
    ];
    let inputs = [("x", DataType::Float, &[1, 4][..]), ("c", DataType::Bool, &[1, 4][..])];
    let model = model(&inputs, &[("y", DataType::Float)], nodes, vec![scalar("hidden", -INF)]);
    let package = packed(&bench, &model, &[]);
    let y =
        run(&package, &[InputData::F32(&[0.5, -1.0, 0.5, -1.0]), InputData::Bool(&[1, 0, 1, 0])]).remove(0).1;
    assert_eq!((y[1], y[3]), (0.0, 0.0));
    assert!((y[0] - 0.5).abs() < 0.01 && (y[2] - 0.5).abs() < 0.01, "{y:?}");
    let check = bench.ok(&["check", "model.onnx"]);
    assert!(check.contains("`Where/masked`") && check.contains("chooses -inf"), "{check}");
    assert!(bench.ok(&["inspect", "model.epk", "--nodes"]).contains("Where/masked"));
}

#[test]
fn what_is_not_finite_and_reaches_an_output_is_refused_by_its_node() {
    let bench = Bench::new();
    let nodes =
        vec![op("Sub", &["x", "far"], "below"), op("Log", &["below"], "log"), op("Neg", &["log"], "y")];
    let model = operation::model(13, &[1, 4], nodes, vec![scalar("far", 1000.0)]);
    write_model(&bench.path("model.onnx"), &model);
    std::fs::write(bench.path("x.npy"), npy("<f4", &[1, 4], &[0; 16])).unwrap();
    let output = bench.run(&["pack", "model.onnx", "-o", "model.epk", "--calibration", "x.npy"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("not finite"), "{error}");
}
