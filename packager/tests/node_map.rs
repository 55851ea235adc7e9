//! `inspect --nodes`: every node of the file has its place, and errors are those of the device.

mod common;
#[path = "common/operation.rs"]
mod operation;

use common::{Bench, npy, tensor, write_model};
use operation::{Node, floats, ints, op, samples};
use serde_json::Value;

fn nodes(bench: &Bench, more: &[&str]) -> Value {
    let text = bench.ok(&[&["inspect", "model.epk", "--nodes", "--format", "json"], more].concat());
    serde_json::from_str(&text).unwrap()
}

/// Packs a model of `x [1, 8, 6, 6]` on 16 samples.
fn packed(nodes: Vec<Node>, initializer: Vec<tract_onnx::pb::TensorProto>, more: &[&str]) -> Bench {
    let bench = Bench::new();
    write_model(&bench.path("model.onnx"), &operation::model(13, &[1, 8, 6, 6], nodes, initializer));
    std::fs::write(bench.path("samples.npy"), npy("<f4", &[16, 8, 6, 6], &samples(16, 288))).unwrap();
    bench.ok(&[&["pack", "model.onnx", "-o", "model.epk", "--calibration", "samples.npy"], more].concat());
    bench
}

#[test]
fn every_node_of_the_file_has_its_place_kernel_and_error() {
    let bench = Bench::new();
    bench.pack();
    let report = nodes(&bench, &["--isa", "dotprod"]);
    assert_eq!((&report["macs"], &report["int8_macs_percent"]), (&(64 * 4 * 27 + 8).into(), &100.0.into()));
    assert_eq!((&report["error_samples"], &report["isa"]), (&8.into(), &"neon,dotprod".into()));
    let lines = report["nodes"].as_array().unwrap();
    let of = |field: &str| lines.iter().map(|line| line[field].clone()).collect::<Vec<Value>>();
    assert_eq!(of("node"), ["conv", "relu", "pool", "flatten", "fc"]);
    let view = "no step: the same bytes, read otherwise";
    assert_eq!(of("went"), ["step 0", "in step 0, conv", "step 1", view, "step 2"]);
    assert_eq!(of("precision"), ["int8", "int8", "int8", "", "int8 → f32"]);
    assert_eq!(of("macs"), [64 * 4 * 27, 0, 0, 0, 8].map(Value::from));
    assert_eq!(lines[0]["kernels"][0], "conv_s8s8s32_4x24_dotprod");
    assert_eq!(lines[1]["kernels"], Value::Array(vec![]));
    // Weights, biases and multipliers.
    assert_eq!(of("weight_bytes"), [108 + 4 * 8, 0, 0, 0, 8 + 2 * 8].map(Value::from));
    let db = |line: &Value, field: &str| line[field].as_f64().unwrap();
    assert_eq!(lines[0]["sqnr_db"], lines[1]["sqnr_db"]);
    assert!(lines[3]["sqnr_db"].is_null());
    for line in [&lines[0], &lines[2], &lines[4]] {
        assert!(db(line, "sqnr_db") > 25.0 && db(line, "own_sqnr_db") > 25.0, "{line}");
    }
    let text = bench.ok(&["inspect", "model.epk", "--nodes", "--target", "rpi4"]);
    for words in [
        "100 % of",
        "kernel (rpi4)",
        "conv_s8s8s32_4x16_neon",
        "not int8 throughout: fc",
        "SQNR on 8 samples",
    ] {
        assert!(text.contains(words), "no `{words}` in {text}");
    }
}

/// The error at the last node is what `compare` measures at the model's output.
#[test]
fn errors_are_those_that_compare_measures() {
    let nodes_of = vec![
        op("Conv", &["x", "w", "b"], "a").ints("pads", &[1, 1, 1, 1]),
        op("Sigmoid", &["a"], "s"),
        op("Mul", &["a", "s"], "m"),
        op("Transpose", &["m"], "t").ints("perm", &[0, 2, 3, 1]),
        op("MatMul", &["t", "v"], "y"),
    ];
    let constants = vec![tensor("w", &[4, 8, 3, 3]), tensor("b", &[4]), tensor("v", &[4, 3])];
    let bench = packed(nodes_of, constants, &[]);
    let report = nodes(&bench, &[]);
    let lines = report["nodes"].as_array().unwrap();
    let went: Vec<&str> = lines.iter().map(|line| line["went"].as_str().unwrap()).collect();
    let view = "no step: the same bytes, read otherwise";
    assert_eq!(went, ["step 0", "in step 1, Mul/m", "step 1", view, "step 2"]);
    // The samples of the errors, which are every second one.
    let every_second: Vec<u8> =
        samples(16, 288).chunks_exact(288 * 4).step_by(2).flat_map(|sample| sample.to_vec()).collect();
    std::fs::write(bench.path("samples.npy"), npy("<f4", &[8, 8, 6, 6], &every_second)).unwrap();
    let compare = ["compare", "model.epk", "--baseline", "model.onnx", "--data", "samples.npy"];
    let text = bench.ok(&[&compare[..], &["--no-latency", "--format", "json"]].concat());
    let compared: Value = serde_json::from_str(&text).unwrap();
    let (expected, found) = (compared["sqnr_db"].as_f64().unwrap(), lines[4]["sqnr_db"].as_f64().unwrap());
    // A tenth of rounding, and f32 sums in another order.
    assert!((expected - found).abs() < 0.11, "{expected} is not {found}");
    std::fs::write(bench.path("samples.npy"), npy("<f4", &[16, 8, 6, 6], &samples(16, 288))).unwrap();
    let pack = ["pack", "model.onnx", "-o", "model.epk", "--calibration", "samples.npy"];
    let text = bench.ok(&pack);
    assert!(text.contains(&format!("on 8 of them, SQNR {found:.1} dB at the output")), "{text}");
}

#[test]
fn constants_aliases_parts_and_what_is_left_out_are_told_apart() {
    let nodes_of = vec![
        op("Shape", &["x"], "shape"),
        op("Gather", &["shape", "first"], "batch"),
        op("Concat", &["batch", "rest"], "target").int("axis", 0),
        op("Dropout", &["x"], "d"),
        op("Relu", &["d"], "r"),
        op("Sigmoid", &["r"], "unread"),
        op("Sigmoid", &["x"], "divisor"),
        op("Div", &["r", "divisor"], "q"),
        op("Reshape", &["q", "target"], "y"),
    ];
    let bench = packed(nodes_of, vec![ints("first", &[0]), ints("rest", &[-1])], &[]);
    let report = nodes(&bench, &[]);
    let went: Vec<&str> =
        report["nodes"].as_array().unwrap().iter().map(|line| line["went"].as_str().unwrap()).collect();
    assert_eq!(
        went[..4],
        [
            "a constant of Reshape/y",
            "a constant of Reshape/y",
            "a constant of Reshape/y",
            "no step: another name of its input"
        ]
    );
    assert_eq!(went[5], "left out: no output needs it");
    // All functions of one number: a single table.
    assert_eq!([went[4], went[6], went[7]], ["in step 0, Div/q", "in step 0, Div/q", "step 0"]);
}

#[test]
fn layers_in_strips_count_once_and_keep_their_nodes() {
    let nodes_of = vec![
        op("Conv", &["x", "w1"], "a").ints("pads", &[1, 1, 1, 1]),
        op("Relu", &["a"], "r"),
        op("Conv", &["r", "w2"], "b").ints("pads", &[1, 1, 1, 1]),
        op("GlobalAveragePool", &["b"], "y"),
    ];
    let weights = || vec![tensor("w1", &[32, 8, 3, 3]), tensor("w2", &[4, 32, 3, 3])];
    let bench = Bench::new();
    let model = operation::model(13, &[1, 8, 32, 32], nodes_of, weights());
    write_model(&bench.path("model.onnx"), &model);
    std::fs::write(bench.path("samples.npy"), npy("<f4", &[2, 8, 32, 32], &samples(2, 8192))).unwrap();
    let pack = |l2: &str| {
        bench.ok(&["pack", "model.onnx", "-o", "model.epk", "--calibration", "samples.npy", "--l2-kib", l2]);
        nodes(&bench, &[])["nodes"].as_array().unwrap().clone()
    };
    let (whole, strips) = (pack("0"), pack("32"));
    assert!(strips[0]["steps"].as_array().unwrap().len() > 1, "no strips: {}", strips[0]);
    for (whole, strips) in whole.iter().zip(&strips) {
        for field in ["node", "precision", "macs", "weight_bytes", "sqnr_db", "own_sqnr_db"] {
            assert_eq!(whole[field], strips[field], "{field}");
        }
    }
}

#[test]
fn a_share_of_int8_can_be_required() {
    let bench = Bench::new();
    let pack =
        ["pack", "model.onnx", "-o", "model.epk", "--calibration", "samples.npy", "--require-int8", "100"];
    bench.ok(&pack);
    bench.ok(&["inspect", "model.epk", "--require-int8", "100"]);
    bench.ok(&["inspect", "model.epk", "--nodes", "--require-int8", "99.5"]);
    // A model without products has nothing that is not int8.
    let bench = packed(vec![op("Softmax", &["x"], "y")], vec![], &["--require-int8", "100"]);
    bench.ok(&["inspect", "model.epk", "--nodes", "--require-int8", "100"]);
}

#[test]
fn random_calibration_measures_no_errors_and_says_so() {
    let bench = Bench::new();
    bench.ok(&["pack", "model.onnx", "-o", "model.epk", "--calibration", "random"]);
    let report = nodes(&bench, &[]);
    assert_eq!((&report["error_samples"], &report["calibration_random"]), (&0.into(), &true.into()));
    assert!(report["nodes"][0]["sqnr_db"].is_null());
    let text = bench.ok(&["inspect", "model.epk", "--nodes"]);
    assert!(text.contains("random numbers, which tell nothing") && !text.contains("SQNR"), "{text}");
}

#[test]
fn recurrent_layers_are_int8_products_with_gates_in_f32() {
    let values = |count: usize| (0..count).map(|i| ((i * 37 % 19) as f32 - 9.0) / 20.0).collect::<Vec<f32>>();
    let weights = vec![floats("w", &[1, 12, 3], &values(36)), floats("r", &[1, 12, 3], &values(36))];
    let layer = op("LSTM", &["x", "w", "r"], "y").int("hidden_size", 3);
    let bench = Bench::new();
    write_model(&bench.path("model.onnx"), &operation::model(13, &[5, 1, 3], vec![layer], weights));
    std::fs::write(bench.path("samples.npy"), npy("<f4", &[16, 5, 1, 3], &samples(16, 15))).unwrap();
    bench.pack();
    let report = nodes(&bench, &["--require-int8", "100"]);
    let line = &report["nodes"][0];
    assert_eq!((&line["went"], &line["precision"]), (&"step 0".into(), &"int8 (f32), int8 → f32".into()));
    assert!(line["macs"] == report["macs"] && line["why"].is_string(), "{line}");
    assert!(line["sqnr_db"].as_f64().unwrap() > 20.0, "{line}");
}

#[test]
fn what_is_kept_in_f32_is_told_and_counts_against_the_share() {
    let bench = Bench::new();
    let pack =
        ["pack", "model.onnx", "-o", "model.epk", "--calibration", "samples.npy", "--keep-f32", "conv"];
    bench.ok(&pack);
    let report = nodes(&bench, &[]);
    let line = &report["nodes"][0];
    assert_eq!((&line["precision"], &line["int8_macs"]), (&"f32".into(), &0.into()), "{line}");
    assert!(line["remedy"].as_str().unwrap().contains("--keep-f32"), "{line}");
    // All but the last layer's.
    let share = 100.0 * 8.0 / (64.0 * 4.0 * 27.0 + 8.0);
    assert!((report["int8_macs_percent"].as_f64().unwrap() - share).abs() < 1e-9);
    for command in [&["inspect", "model.epk", "--nodes"][..], &["inspect", "model.epk"], &pack] {
        let output = bench.run(&[command, &["--require-int8", "50"]].concat());
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {message}");
        assert!(message.contains("0.11 % of the multiply-adds are int8 < 50 %"), "{message}");
    }
}
