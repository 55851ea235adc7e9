//! Models that take, compute with and give integers: packaged, run, and compared with what is computed here.

#[allow(dead_code)] // It uses a part of it.
mod common;
#[path = "common/operation.rs"]
mod operation;
#[path = "common/typed.rs"]
mod typed;

use std::path::PathBuf;

use common::{Bench, tensor, write_model};
use edgepack_engine::format::plan::{ElemType, Op};
use edgepack_engine::{InputData, Model, SessionOptions};
use edgepack_packager::evaluate::evaluate;
use edgepack_packager::import::import;
use operation::{floats, ints, op};
use tract_onnx::pb::{self, tensor_proto::DataType};
use typed::{model, packed, run};

fn kinds(package: &PathBuf) -> Vec<&'static str> {
    let model = Model::open(package).unwrap();
    let kind = |op: Op| match op {
        Op::Convert(_) => "convert",
        Op::Gather(_) => "gather",
        Op::Scatter(_) => "scatter",
        Op::TopK(_) => "top k",
        Op::NonMaxSuppression(_) => "suppression",
        Op::Conv(_) | Op::ConvF32(_) => "product",
        _ => "other",
    };
    model.package().steps().map(|step| kind(step.op)).collect()
}

#[test]
fn token_ids_choose_rows_of_a_table_and_others_are_refused_at_the_input() {
    let bench = Bench::new();
    let table: Vec<f32> = (0..40).map(|i| (i * 7 % 40) as f32 / 8.0 - 2.0).collect();
    let model = model(
        &[("ids", DataType::Int64, &[1, 5])],
        &[("y", DataType::Float)],
        vec![op("Gather", &["table", "ids"], "y")],
        vec![floats("table", &[10, 4], &table)],
    );
    let package = packed(&bench, &model, &[]);
    assert_eq!(kinds(&package), ["convert", "gather", "other"]);
    let ids = [3, -1, 0, 9, -10];
    let wanted: Vec<f32> =
        ids.iter().flat_map(|&id: &i64| table[(id.rem_euclid(10) as usize) * 4..][..4].to_vec()).collect();
    for input in [InputData::I64(&ids), InputData::I32(&ids.map(|id| id as i32))] {
        let (dtype, got) = run(&package, &[input]).remove(0);
        assert_eq!(dtype, ElemType::F32);
        // Half of one of 255 levels over 5.
        assert!(
            got.iter().zip(&wanted).all(|(got, wanted)| (got - wanted).abs() < 0.011),
            "{got:?} {wanted:?}"
        );
    }
    let package = packed(&bench, &model, &["--precision", "fp32"]);
    assert_eq!(run(&package, &[InputData::I64(&ids)]).remove(0).1, wanted);
    let model = Model::open(&package).unwrap();
    assert_eq!(model.package().inputs().next().unwrap().limits, Some([-10, 9]));
    let mut session = model.session(&SessionOptions::default()).unwrap();
    let error = session.set_input(0, InputData::I64(&[0, 0, 10, 0, 0])).unwrap_err().to_string();
    assert!(error.contains("element 2") && error.contains("-10 to 9"), "{error}");
}

#[test]
fn a_product_with_a_one_hot_row_becomes_a_table_with_what_follows() {
    let bench = Bench::new();
    let counted = floats("counted", &[1, 1, 6], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let counted = pb::TensorProto {
        data_type: DataType::Int32 as i32,
        raw_data: (0..6i32).flat_map(i32::to_le_bytes).collect(),
        ..counted
    };
    let model = model(
        &[("ids", DataType::Int32, &[1, 4])],
        &[("y", DataType::Float)],
        vec![
            op("Unsqueeze", &["ids", "last"], "column"),
            op("Expand", &["column", "shape"], "columns"),
            op("Equal", &["columns", "counted"], "is"),
            op("Cast", &["is"], "one_hot").int("to", DataType::Float as i64),
            op("MatMul", &["one_hot", "w"], "product"),
            op("Add", &["product", "b"], "sum"),
            op("Tanh", &["sum"], "y"),
        ],
        vec![ints("last", &[2]), ints("shape", &[1, 4, 6]), counted, tensor("w", &[6, 3]), tensor("b", &[3])],
    );
    let package = packed(&bench, &model, &["--precision", "fp32"]);
    // Conversion, bounds of the indices, rows: no product, no tanh.
    assert_eq!(kinds(&package), ["convert", "other", "gather"]);
    let values = |i: usize| ((i * 37 % 19) as f32 - 9.0) / 20.0;
    // Beyond the rows every element of the one-hot row is 0, and only the sum is left.
    let ids = [2, 5, -1, 6];
    let row = |&id: &i32| {
        (0..3).map(move |n| {
            let w = if (0..6).contains(&id) { values(id as usize * 3 + n) } else { 0.0 };
            (w + values(n)).tanh()
        })
    };
    let wanted: Vec<f32> = ids.iter().flat_map(row).collect();
    let got = run(&package, &[InputData::I32(&ids)]).remove(0).1;
    assert!(got.iter().zip(&wanted).all(|(got, wanted)| (got - wanted).abs() < 1e-6), "{got:?} {wanted:?}");
}

#[test]
fn arithmetic_of_integers_is_exact_in_a_package_of_int8() {
    let bench = Bench::new();
    let model = model(
        &[("x", DataType::Int64, &[1, 6]), ("m", DataType::Bool, &[1, 6])],
        &[("z", DataType::Int64), ("w", DataType::Int32), ("b", DataType::Bool)],
        vec![
            op("Mul", &["x", "three"], "a"),
            op("Sub", &["a", "one"], "s"),
            op("Div", &["s", "seven"], "q"),
            op("Mod", &["s", "seven"], "r"),
            op("Where", &["m", "q", "r"], "z"),
            op("Cast", &["s"], "w").int("to", DataType::Int32 as i64),
            op("Less", &["q", "r"], "less"),
            op("And", &["less", "m"], "b"),
        ],
        vec![ints("three", &[3]), ints("one", &[1]), ints("seven", &[7])],
    );
    let package = packed(&bench, &model, &[]);
    let x: [i64; 6] = [0, 5, -5, 100_000, -99_999, 7];
    let m = [1, 0, 1, 0, 1, 0];
    let outputs = run(&package, &[InputData::I64(&x), InputData::Bool(&m)]);
    let s = x.map(|x| 3 * x - 1);
    let z: Vec<f32> = (0..6).map(|i| if m[i] == 1 { s[i] / 7 } else { s[i].rem_euclid(7) } as f32).collect();
    let b: Vec<f32> =
        (0..6).map(|i| f32::from(u8::from(s[i] / 7 < s[i].rem_euclid(7) && m[i] == 1))).collect();
    assert_eq!(outputs[0], (ElemType::I64, z));
    assert_eq!(outputs[1], (ElemType::I32, s.map(|s| s as f32).to_vec()));
    assert_eq!(outputs[2], (ElemType::Bool, b));
}

#[test]
fn integers_that_f32_may_not_hold_are_refused_with_their_node() {
    let bench = Bench::new();
    let model = model(
        &[("x", DataType::Int64, &[4])],
        &[("y", DataType::Int64)],
        vec![op("Mul", &["x", "many"], "a"), op("Add", &["a", "x"], "y")],
        vec![ints("many", &[1_000_000])],
    );
    write_model(&bench.path("model.onnx"), &model);
    let output = bench.run(&["pack", "model.onnx", "-o", "model.epk", "--calibration", "random"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("Mul/a") && stderr.contains("2^24") && stderr.contains("Clip"), "{stderr}");
}

#[test]
fn the_greatest_values_are_found_in_int8_and_in_f32() {
    let bench = Bench::new();
    let model = model(
        &[("x", DataType::Float, &[1, 3, 4])],
        &[("i", DataType::Int64), ("v", DataType::Float), ("k", DataType::Int64)],
        vec![
            op("ArgMax", &["x"], "i").int("axis", 1).int("keepdims", 0),
            op("TopK", &["x", "two"], "v").int("largest", 0).outputs(&["v", "k"]),
        ],
        vec![ints("two", &[2])],
    );
    // One 16th apart: more than an int8 step of what random calibration sees.
    let x: Vec<f32> = (0..12).map(|i| ((i * 5 % 12) as f32 - 6.0) / 4.0).collect();
    let column = |c: usize| (0..3).max_by(|&a, &b| x[a * 4 + c].total_cmp(&x[b * 4 + c])).unwrap() as f32;
    let least = |r: usize| {
        let mut places: Vec<usize> = (0..4).collect();
        places.sort_by(|&a, &b| x[r * 4 + a].total_cmp(&x[r * 4 + b]));
        [places[0], places[1]]
    };
    for precision in ["int8", "fp32"] {
        let package = packed(&bench, &model, &["--precision", precision]);
        let outputs = run(&package, &[InputData::F32(&x)]);
        assert_eq!(outputs[0], (ElemType::I64, (0..4).map(column).collect()), "{precision}");
        let places: Vec<f32> = (0..3).flat_map(|r| least(r).map(|i| i as f32)).collect();
        assert_eq!(outputs[2], (ElemType::I64, places), "{precision}");
        let values = (0..3).flat_map(|r| least(r).map(|i| x[r * 4 + i]));
        let step = if precision == "int8" { 0.05 } else { 0.0 };
        assert!(
            outputs[1].1.iter().zip(values).all(|(got, wanted)| (got - wanted).abs() <= step),
            "{outputs:?}"
        );
    }
}

#[test]
fn elements_and_points_are_gathered_and_scattered_by_computed_indices() {
    let bench = Bench::new();
    let model = model(
        &[("x", DataType::Float, &[2, 3]), ("e", DataType::Int64, &[2, 2]), ("p", DataType::Int64, &[2, 2])],
        &[("a", DataType::Float), ("b", DataType::Float), ("c", DataType::Float)],
        vec![
            op("GatherElements", &["x", "e"], "a").int("axis", 1),
            op("GatherND", &["x", "p"], "b"),
            op("ScatterND", &["x", "p", "new"], "c"),
        ],
        vec![floats("new", &[2], &[10.0, 20.0])],
    );
    let package = packed(&bench, &model, &["--precision", "fp32"]);
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let inputs = [InputData::F32(&x), InputData::I64(&[2, 0, -1, 1]), InputData::I64(&[0, 1, -1, -3])];
    let outputs = run(&package, &inputs);
    assert_eq!(outputs[0].1, [3.0, 1.0, 6.0, 5.0]);
    assert_eq!(outputs[1].1, [2.0, 4.0]);
    assert_eq!(outputs[2].1, [1.0, 10.0, 3.0, 20.0, 5.0, 6.0]);
    assert_eq!(kinds(&package).iter().filter(|kind| **kind == "scatter").count(), 1);
}

#[test]
fn einsum_is_a_product_of_matrices() {
    for (equation, x, w) in [
        ("bij,jk->bik", vec![1, 4, 5], vec![5, 3]),
        ("bhqd,dk->bqhk", vec![1, 2, 4, 5], vec![5, 3]),
        ("bij->bji", vec![1, 4, 5], vec![]),
        ("bij->bi", vec![1, 4, 5], vec![]),
    ] {
        let names: &[&str] = if w.is_empty() { &["x"] } else { &["x", "w"] };
        let constants = if w.is_empty() { vec![] } else { vec![tensor("w", &w)] };
        operation::check_opset(
            17,
            &x,
            vec![op("Einsum", names, "y").string("equation", equation)],
            constants,
            30.0,
        );
    }
    let products = vec![op("Einsum", &["x", "x"], "y").string("equation", "bqd,bkd->bqk")];
    operation::check_opset(17, &[1, 6, 8], products, vec![], 30.0);
}

#[test]
fn boxes_are_suppressed_as_the_graph_has_it_and_rows_of_minus_one_gather_the_last() {
    let bench = Bench::new();
    let (boxes, scores) = ([1, 12, 4], [1, 2, 12]);
    let model = model(
        &[("boxes", DataType::Float, &boxes), ("scores", DataType::Float, &scores)],
        &[("selected", DataType::Int64), ("picked", DataType::Float)],
        vec![
            op("NonMaxSuppression", &["boxes", "scores", "most", "iou", "least"], "selected"),
            op("Gather", &["selected", "column"], "index").int("axis", 1),
            op("Gather", &["boxes", "index"], "picked").int("axis", 1),
        ],
        vec![
            ints("most", &[4]),
            floats("iou", &[1], &[0.3]),
            floats("least", &[1], &[0.25]),
            ints("column", &[2]),
        ],
    );
    for precision in ["int8", "fp32"] {
        let package = packed(&bench, &model, &["--precision", precision]);
        assert!(kinds(&package).contains(&"suppression"));
        let graph = import(&bench.path("model.onnx"), &[]).unwrap().graph;
        let mut random = edgepack_engine::format::SeededBytes::new(7).map(f32::from);
        let mut counts = Vec::new();
        for _ in 0..20 {
            // Half of the scores are too low, some are equal, and boxes are of all sizes.
            let x: Vec<f32> = random.by_ref().take(48).map(|byte| (byte / 16.0).floor()).collect();
            let y: Vec<f32> =
                random.by_ref().take(24).map(|byte| (byte / 32.0).floor() / 8.0 - 0.25).collect();
            let outputs = run(&package, &[InputData::F32(&x), InputData::F32(&y)]);
            let expected = evaluate(&graph, &[&x, &y], |_, _| {});
            assert_eq!(outputs[0], (ElemType::I64, expected[0].clone()), "{precision}");
            assert_eq!(outputs[1].1, expected[1], "{precision}");
            let used = expected[0].chunks(3).take_while(|row| row[0] >= 0.0).count();
            assert!(outputs[1].1[4 * used..].chunks(4).all(|row| *row == x[44..]));
            counts.push(used);
        }
        assert!(counts.iter().any(|count| *count < 8) && counts.iter().all(|count| *count > 0), "{counts:?}");
    }
    let note = "is padded with -1 to 8 rows";
    let pack = bench.ok(&["pack", "model.onnx", "-o", "model.epk", "--calibration", "random"]);
    assert!(
        pack.contains(&format!(
            "warning: NonMaxSuppression/selected (NonMaxSuppression): its output `selected` {note}"
        )),
        "{pack}"
    );
    assert!(bench.ok(&["inspect", "model.epk"]).contains(note));
    let check = bench.ok(&["check", "model.onnx"]);
    assert!(check.contains("padded with -1"), "{check}");
}

#[test]
fn thresholds_of_a_suppression_that_are_computed_are_refused_with_what_to_do() {
    let bench = Bench::new();
    let model = model(
        &[
            ("boxes", DataType::Float, &[1, 12, 4]),
            ("scores", DataType::Float, &[1, 2, 12]),
            ("iou", DataType::Float, &[1]),
        ],
        &[("selected", DataType::Int64)],
        vec![op("NonMaxSuppression", &["boxes", "scores", "most", "iou"], "selected")],
        vec![ints("most", &[4])],
    );
    write_model(&bench.path("model.onnx"), &model);
    let output = bench.run(&["pack", "model.onnx", "-o", "model.epk", "--calibration", "random"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("iou_threshold `iou`") && stderr.contains("give it as a number"), "{stderr}");
}
