//! LSTM and GRU in every direction, against the FP32 model.

mod common;
#[path = "common/operation.rs"]
mod operation;

use common::tensor;
use operation::{Node, check, check_against, floats, ints, model, op};
use tract_onnx::pb;

/// Constants of an LSTM or GRU: `[D, G * H, I]`, `[D, G * H, H]`, biases and initial states.
fn recurrent_constants(
    directions: i64,
    gates: i64,
    [batch, inputs, hidden]: [i64; 3],
) -> Vec<pb::TensorProto> {
    let mut state = 5u64;
    let mut constant = |name: &str, dims: &[i64], scale: f32| {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * scale
        };
        let values: Vec<f32> = (0..dims.iter().product()).map(|_| next()).collect();
        floats(name, dims, &values)
    };
    vec![
        constant("w", &[directions, gates * hidden, inputs], 0.6),
        constant("r", &[directions, gates * hidden, hidden], 0.4),
        constant("b", &[directions, 2 * gates * hidden], 0.3),
        constant("h", &[directions, batch, hidden], 0.5),
        constant("c", &[directions, batch, hidden], 0.9),
    ]
}

/// The forward layers that one of another direction stands for: tract 0.23.9 runs reverse ones wrongly
/// (ONNX Runtime rightly), and this can be run by every baseline.
fn as_forward_layers(direction: &str, layer: &dyn Fn(&[&str], &[&str]) -> Node, last: bool) -> Vec<Node> {
    let pick = |from: &str, of: &str, to: &str| op("Gather", &[from, of], to).int("axis", 0);
    let mut nodes = Vec::new();
    let parts = match direction {
        "forward" => vec![("forward", "0")],
        "reverse" => vec![("reverse", "0")],
        _ => vec![("forward", "0"), ("reverse", "1")],
    };
    for (direction, index) in &parts {
        let own = |name: &str| format!("{name}.{index}");
        for name in ["w", "r", "b", "h", "c"] {
            nodes.push(pick(name, &format!("direction{index}"), &own(name)));
        }
        let [w, r, b, h, c, all, end] = ["w", "r", "b", "h", "c", "all", "end"].map(own);
        let x = if *direction == "reverse" { "backwards" } else { "x" };
        nodes.push(layer(&[x, &w, &r, &b, "", &h, &c], &[&all, &end]));
        let (y, axis) = if last { (end, "end") } else { (all.clone(), "all") };
        nodes.push(match (*direction, last) {
            ("reverse", false) => pick(&y, "reversed", &format!("{axis}.out{index}")),
            _ => op("Identity", &[&y], &format!("{axis}.out{index}")),
        });
    }
    nodes.insert(0, pick("x", "reversed", "backwards"));
    let outs: Vec<String> =
        parts.iter().map(|(_, i)| format!("{}.out{i}", if last { "end" } else { "all" })).collect();
    let outs: Vec<&str> = outs.iter().map(String::as_str).collect();
    nodes.push(op("Concat", &outs, "y").int("axis", if last { 0 } else { 1 }));
    nodes
}

/// Layers of 20 units over 9 steps of 2 sequences in every direction, all states and the last of them.
fn check_directions(gates: i64, layer: &dyn Fn(&[&str], &[&str]) -> Node) {
    let x = [9, 2, 11];
    for (direction, directions) in [("forward", 1), ("reverse", 1), ("bidirectional", 2)] {
        for outputs in [&["y"][..], &["", "y"]] {
            println!("{direction} {outputs:?}");
            let constants = || recurrent_constants(directions, gates, [2, 11, 20]);
            let node = layer(&["x", "w", "r", "b", "", "h", "c"], outputs).string("direction", direction);
            let mut more = constants();
            more.extend([ints("direction0", &[0]), ints("direction1", &[1])]);
            more.push(ints("reversed", &[8, 7, 6, 5, 4, 3, 2, 1, 0]));
            let forward = as_forward_layers(direction, layer, outputs.len() == 2);
            let (model, baseline) = (model(13, &x, vec![node], constants()), model(13, &x, forward, more));
            check_against(&x, &model, &baseline, 34.0);
        }
    }
}

#[test]
fn lstms_in_every_direction_with_every_output() {
    let (x, sizes) = ([9, 2, 11], [2, 11, 20]);
    let lstm = |inputs: &[&str], outputs: &[&str]| {
        op("LSTM", inputs, outputs[0]).outputs(outputs).int("hidden_size", 20)
    };
    check_directions(4, &lstm);
    let constants = || recurrent_constants(1, 4, sizes);
    let everything = ["x", "w", "r", "b", "", "h", "c"];
    check(&x, vec![lstm(&["x", "w", "r"], &["y"])], constants());
    check(&x, vec![lstm(&everything, &["", "", "y"])], constants());
    check(&x, vec![lstm(&everything, &["all", "y", "c.out"])], constants());
    // Two layers, as exporters write them: a layer's output without its axis of directions.
    let nodes = vec![
        lstm(&["x", "w", "r", "b"], &["a"]),
        op("Squeeze", &["a", "axes"], "s"),
        lstm(&["s", "w2", "r"], &["z"]),
        op("Squeeze", &["z", "axes"], "s2"),
        op("Gather", &["s2", "last"], "g").int("axis", 0),
        op("Gemm", &["g", "wg"], "y"),
    ];
    let mut constants = recurrent_constants(1, 4, sizes);
    constants.extend([ints("axes", &[1]), tensor("w2", &[1, 80, 20]), tensor("wg", &[20, 6])]);
    constants.push(pb::TensorProto { dims: vec![], ..ints("last", &[-1]) });
    check(&[9, 1, 11], nodes, constants);
}

#[test]
fn grus_in_every_direction_with_every_output() {
    let gru = |inputs: &[&str], outputs: &[&str]| {
        let inputs = &inputs[..inputs.len().min(6)];
        let gru = op("GRU", inputs, outputs[0]).outputs(outputs);
        gru.int("hidden_size", 20).int("linear_before_reset", 1)
    };
    check_directions(3, &gru);
    check(&[9, 2, 11], vec![gru(&["x", "w", "r"], &["y"])], recurrent_constants(1, 3, [2, 11, 20]));
    // The batch first, as an application has it.
    let nodes = vec![
        op("Transpose", &["x"], "t").ints("perm", &[1, 0, 2]),
        gru(&["t", "w", "r", "b"], &["a"]),
        op("Transpose", &["a"], "y").ints("perm", &[2, 0, 1, 3]),
    ];
    check(&[1, 9, 11], nodes, recurrent_constants(1, 3, [1, 11, 20]));
}
