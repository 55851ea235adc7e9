//! Models that arrive quantized where their form leaves something open, or asks for what int8 steps have
//! not: what is moved between scales, calibrated, rounded anew and said so, or refused.

mod common;
#[path = "common/operation.rs"]
mod operation;
#[path = "common/quantized.rs"]
mod quantized;

use edgepack_packager::error::PackError;
use edgepack_packager::pack::CalibrationSource;
use operation::{Node, floats, ints, op};
use quantized::{
    Scale, Type, both, dequantize, microsoft, operand, quantize, run, run_package, spread, try_pack,
};
use tract_onnx::pb;

fn scale(name: &'static str, scale: f32, zero_point: i32) -> Scale {
    Scale { name, scale, zero_point, kind: Type::U8 }
}

fn initializers(scales: &[&Scale]) -> Vec<pb::TensorProto> {
    scales.iter().flat_map(|scale| scale.initializers()).collect()
}

const RANDOM: CalibrationSource = CalibrationSource::Random { seed: 1 };

fn refusal(x: &[i64], nodes: Vec<Node>, initializers: Vec<pb::TensorProto>) -> String {
    match try_pack(x, nodes, initializers, RANDOM) {
        Ok(_) => panic!("it was packed"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn concatenations_join_what_has_different_scales() {
    let (a, b, y) = (scale("a", 0.25, 100), scale("b", 0.5, 128), scale("y", 0.5, 120));
    let numbers: Vec<f32> = spread(32, -80, 80, 3).into_iter().map(|q| q as f32 / 4.0).collect();
    let qdq = [
        both("x", &a, "a").into(),
        both("x", &b, "b").into(),
        vec![op("Concat", &["a", "b"], "c").int("axis", 1)],
        both("c", &y, "y").into(),
    ];
    let inputs = [operand("", &y)[1..].to_vec(), operand("a.q", &a), operand("b.q", &b)].concat();
    let q_operator = vec![
        quantize("x", &a, "a.q"),
        quantize("x", &b, "b.q"),
        microsoft("QLinearConcat", &inputs, "y.q").int("axis", 1),
        dequantize("y.q", &y, "y"),
    ];
    for nodes in [qdq.into_iter().flat_map(|nodes: Vec<Node>| nodes).collect(), q_operator] {
        let run = run(&[1, 2, 4, 4], nodes, initializers(&[&a, &b, &y]), &numbers);
        // `x` is rounded to one scale before it is rounded to another: it has one representation.
        let once: Vec<f32> = numbers.iter().map(|&x| a.real(a.integer(x.into()))).collect();
        let twice = once.iter().map(|&x| b.real(b.integer(x.into())));
        let expected: Vec<f32> =
            once.iter().copied().chain(twice).map(|v| y.real(y.integer(v.into()))).collect();
        assert_eq!(run.output, expected);
        let arrived = run.report.arrived.unwrap();
        assert_eq!(arrived.calibrated, [""; 0]);
        assert!(arrived.notes[0].contains("`x` is rounded to several scales"), "{:?}", arrived.notes);
    }
}

#[test]
fn what_is_only_moved_keeps_its_integers_unless_it_is_given_another_scale() {
    let (x, y) = (scale("x", 0.25, 100), scale("y", 0.375, 90));
    let numbers: Vec<f32> = spread(32, 0, 255, 3).into_iter().map(|q| x.real(q)).collect();
    let moves = |of: &str, to: &str| -> Vec<Node> {
        vec![
            op("MaxPool", &[of], "m").ints("kernel_shape", &[1, 1]).ints("strides", &[2, 2]),
            op("Transpose", &["m"], "t").ints("perm", &[0, 2, 3, 1]),
            op("Reshape", &["t", "shape"], to),
        ]
    };
    let shape = || ints("shape", &[1, 8]);
    let picked = |i: usize| (i % 2) * 16 + (i / 4) * 8 + (i / 2 % 2) * 2;
    let expected: Vec<f32> = (0..8).map(|i| numbers[picked(i)]).collect();
    // On integers, as in the QOperator form, and on numbers.
    let on_integers = [vec![quantize("x", &x, "x.q")], moves("x.q", "r"), vec![dequantize("r", &x, "y")]];
    let on_numbers = [both("x", &x, "d").into(), moves("d", "r"), both("r", &x, "y").into()];
    // The scale stands behind what is moved only.
    let behind = [vec![], moves("x", "r"), both("r", &x, "y").into()];
    for nodes in [on_integers, on_numbers, behind] {
        let nodes = nodes.into_iter().flatten().collect();
        let constants = [initializers(&[&x]), vec![shape()]].concat();
        let run = run(&[1, 2, 4, 4], nodes, constants, &numbers);
        assert_eq!(run.output, expected);
        assert!(!run.steps.contains(&"table"), "{:?}", run.steps);
    }
    let again = [both("x", &x, "d").into(), moves("d", "r"), both("r", &y, "y").into()];
    let constants = [initializers(&[&x, &y]), vec![shape()]].concat();
    let run = run(&[1, 2, 4, 4], again.into_iter().flatten().collect(), constants, &numbers);
    let expected: Vec<f32> = expected.into_iter().map(|v| y.real(y.integer(v.into()))).collect();
    assert_eq!(run.output, expected);
    assert!(run.steps.contains(&"table"), "{:?}", run.steps);
}

#[test]
fn a_border_of_integers_is_what_they_stand_for() {
    let x = scale("x", 0.25, 100);
    let numbers: Vec<f32> = spread(4, 0, 255, 3).into_iter().map(|q| x.real(q)).collect();
    let pads = ints("pads", &[0, 0, 0, 0, 0, 0, 0, 1]);
    let nodes =
        |inputs: &[&str]| vec![quantize("x", &x, "x.q"), op("Pad", inputs, "p"), dequantize("p", &x, "y")];
    let cases = [(nodes(&["x.q", "pads"]), -25.0), (nodes(&["x.q", "pads", "value"]), 5.0)];
    for (nodes, border) in cases {
        let constants =
            [initializers(&[&x]), vec![pads.clone(), Type::U8.tensor("value", &[], &[120])]].concat();
        let run = run(&[1, 1, 2, 2], nodes, constants, &numbers);
        assert_eq!(run.output, [numbers[0], numbers[1], border, numbers[2], numbers[3], border]);
    }
}

#[test]
fn a_quantized_softmax_is_within_a_level() {
    let (x, y) = (scale("x", 0.125, 128), scale("y", 1.0 / 256.0, 0));
    let numbers: Vec<f32> = spread(10, 90, 150, 3).into_iter().map(|q| x.real(q)).collect();
    let inputs = [operand("x.q", &x), operand("", &y)[1..].to_vec()].concat();
    let nodes = vec![
        quantize("x", &x, "x.q"),
        microsoft("QLinearSoftmax", &inputs, "y.q").int("axis", -1).int("opset", 13),
        dequantize("y.q", &y, "y"),
    ];
    let run = run(&[1, 10], nodes, initializers(&[&x, &y]), &numbers);
    let sum: f64 = numbers.iter().map(|&x| f64::from(x).exp()).sum();
    // A table of 16 bits stands for the exponential: next to a tie it may round to the other side.
    for (got, x) in run.output.iter().zip(&numbers) {
        let exact = (f64::from(*x).exp() / sum).min(255.0 / 256.0);
        assert!((f64::from(*got) - exact).abs() <= 0.51 / 256.0, "{got} instead of {exact}");
    }
    assert_eq!(run.steps, ["softmax", "to f32"]);
}

/// `x -> QuantizeLinear -> DequantizeLinear -> MatMul by these weights -> ...`
fn product(x: &Scale, kind: Type, weights: &[i32], zero_point: i32) -> (Vec<Node>, Vec<pb::TensorProto>) {
    let mut nodes: Vec<Node> = both("x", x, "d").into();
    nodes.push(op("DequantizeLinear", &["w", "w.s", "w.z"], "w.d"));
    nodes.push(op("MatMul", &["d", "w.d"], "m"));
    let mut constants = initializers(&[x]);
    constants.push(kind.tensor("w", &[weights.len() as i64 / 2, 2], weights));
    constants.push(floats("w.s", &[], &[0.5]));
    constants.push(kind.tensor("w.z", &[], &[zero_point]));
    (nodes, constants)
}

#[test]
fn weights_beyond_127_are_said_to_be_rounded_anew() {
    let (x, y) = (scale("x", 0.25, 100), scale("y", 8.0, 128));
    // The first column has a distance of 155 from its zero point, the second has none beyond 127.
    let weights: Vec<i32> = (0..40).map(|i| if i % 2 == 0 { 255 - i } else { 60 + 3 * (i % 40) }).collect();
    let (mut nodes, mut constants) = product(&x, Type::U8, &weights, 100);
    nodes.extend(both("m", &y, "y"));
    constants.extend(y.initializers());
    let integers = spread(20, 80, 130, 3);
    let numbers: Vec<f32> = integers.iter().map(|&q| x.real(q)).collect();
    let run = run(&[1, 20], nodes, constants, &numbers);
    let arrived = run.report.arrived.unwrap();
    assert_eq!((arrived.tensors, arrived.products), (2, 0));
    assert!(
        arrived.notes[0].contains("`MatMul/m`: 1 of 2 channels have weights beyond [-127, 127]"),
        "{:?}",
        arrived.notes
    );
    for n in 0..2 {
        let exact: f32 = (0..20).map(|k| numbers[k] * (weights[2 * k + n] - 100) as f32 * 0.5).sum();
        let error = (run.output[n] - y.real(y.integer(exact.into()))).abs();
        assert!(error <= if n == 0 { 8.0 } else { 0.0 }, "column {n} is off by {error}");
    }
}

#[test]
fn ranges_that_are_left_open_are_calibrated_and_named() {
    let x = scale("x", 0.25, 100);
    let weights = spread(40, -127, 127, 5);
    let open = |calibration| {
        let (mut nodes, constants) = product(&x, Type::I8, &weights, 0);
        nodes.push(op("Tanh", &["m"], "t"));
        nodes.push(op("Mul", &["t", "d2"], "y"));
        nodes.insert(0, op("ReduceMean", &["x"], "d2").ints("axes", &[1]));
        try_pack(&[1, 20], nodes, constants, calibration)
    };
    let Err(error @ PackError::Calibration { .. }) = open(CalibrationSource::None).map(|_| ()) else {
        panic!("it was packed")
    };
    let error = error.to_string();
    assert!(error.contains("leaves the ranges of") && error.contains("--calibration DATA"), "{error}");
    let (_folder, report) = open(RANDOM).unwrap();
    let arrived = report.arrived.clone().unwrap();
    assert_eq!((arrived.tensors, arrived.products), (1, 1));
    assert!(arrived.calibrated.contains(&"m".to_string()), "{:?}", arrived.calibrated);
    assert!(arrived.notes[0].contains("`x` is also read as it was before"), "{:?}", arrived.notes);
    assert_eq!(report.calibration_samples, 8);
}

#[test]
fn a_model_that_is_not_quantized_needs_samples() {
    let error =
        try_pack(&[1, 4], vec![op("Tanh", &["x"], "y")], vec![], CalibrationSource::None).unwrap_err();
    assert!(error.to_string().contains("give samples with --calibration DATA"), "{error}");
}

#[test]
fn sixteen_bits_and_scales_by_channel_are_calibrated_instead() {
    let wide = Scale { name: "x", scale: 0.001, zero_point: 0, kind: Type::I16 };
    let mut nodes: Vec<Node> = both("x", &wide, "d").into();
    nodes.push(op("Tanh", &["d"], "y"));
    let (_folder, report) = try_pack(&[1, 4], nodes, initializers(&[&wide]), RANDOM).unwrap();
    let arrived = report.arrived.unwrap();
    assert!(arrived.notes[0].contains("levels from -32768 to 32767"), "{:?}", arrived.notes);
    let nodes = vec![
        op("QuantizeLinear", &["x", "s"], "q").int("axis", 1),
        op("DequantizeLinear", &["q", "s"], "d").int("axis", 1),
        op("Tanh", &["d"], "y"),
    ];
    let scales = floats("s", &[4], &[0.1, 0.2, 0.3, 0.4]);
    let (_folder, report) = try_pack(&[1, 4], nodes, vec![scales], RANDOM).unwrap();
    let arrived = report.arrived.unwrap();
    assert!(arrived.notes[0].contains("4 scales where int8 has one"), "{:?}", arrived.notes);
}

/// What `quantize_dynamic` makes of a product.
fn dynamic(integer: Node, scale_of_weights: &str) -> Vec<Node> {
    vec![
        op("DynamicQuantizeLinear", &["x"], "q").outputs(&["q", "s", "z"]),
        op("Mul", &["s", scale_of_weights], "both"),
        integer,
        op("Cast", &["i"], "f").int("to", 1),
        op("Mul", &["f", "both"], "y"),
    ]
}

#[test]
fn dynamic_products_keep_their_weights_and_get_static_ranges() {
    let matmul = op("MatMulInteger", &["q", "w", "z", "w.z"], "i");
    let weights = spread(60, 0, 255, 5).into_iter().map(|q| q.clamp(3, 253)).collect::<Vec<_>>();
    let constants = vec![
        Type::U8.tensor("w", &[20, 3], &weights),
        Type::U8.tensor("w.z", &[], &[128]),
        floats("w.s", &[3], &[0.01, 0.02, 0.005]),
    ];
    let (_folder, report) = try_pack(&[1, 20], dynamic(matmul, "w.s"), constants, RANDOM).unwrap();
    let arrived = report.arrived.clone().unwrap();
    assert_eq!((arrived.products, &arrived.forms[..]), (1, &["dynamic".to_string()][..]));
    assert_eq!((&arrived.calibrated[..], arrived.notes.len()), (&["x".to_string()][..], 0));
    let numbers: Vec<f32> = spread(20, -128, 127, 7).into_iter().map(|q| q as f32 / 100.0).collect();
    let (output, steps) = run_package(&report, &numbers);
    assert_eq!(steps, ["conv"]);
    for n in 0..3 {
        let weight = |k: usize| (weights[3 * k + n] - 128) as f32 * [0.01, 0.02, 0.005][n];
        let exact: f32 = (0..20).map(|k| numbers[k] * weight(k)).sum();
        // Twenty inputs, each off by half a level of about 6 / 255, under weights of about 1.
        assert!((output[n] - exact).abs() < 0.25 * [1.27, 2.54, 0.64][n], "{} instead of {exact}", output[n]);
    }
    let conv = op("ConvInteger", &["q", "w", "z"], "i").ints("pads", &[1, 1, 1, 1]);
    let weights = Type::I8.tensor("w", &[2, 3, 3, 3], &spread(54, -127, 127, 5));
    let scales = floats("w.s", &[1, 2, 1, 1], &[0.01, 0.02]);
    let (_folder, report) =
        try_pack(&[1, 3, 5, 5], dynamic(conv, "w.s"), vec![weights, scales], RANDOM).unwrap();
    assert_eq!(report.arrived.unwrap().products, 1);
}

#[test]
fn a_dynamic_lstm_is_the_lstm_of_its_weights() {
    let (inputs, hidden) = (6, 5);
    let gates = 4 * hidden;
    for (directions, by_gate) in [(1, false), (1, true), (2, false), (2, true)] {
        // By direction, input and gate; every gate has a weight of 127, so that rounding the float model's
        // weights finds the same integers.
        let weights = |width: usize, seed: i32| {
            let mut weights = spread(directions * width * gates, -126, 126, seed);
            (0..directions * gates).for_each(|g| weights[g / gates * width * gates + g % gates] = 127);
            weights
        };
        let scale = |direction: usize, gate: usize| match by_gate {
            true => 0.001 * (1 + direction * gates + gate) as f32,
            false => 0.004 * (1 + direction) as f32,
        };
        let scales: Vec<f32> = match by_gate {
            true => (0..directions * gates).map(|g| scale(g / gates, g % gates)).collect(),
            false => (0..directions).map(|direction| scale(direction, 0)).collect(),
        };
        let mut dims = vec![directions as i64];
        dims.extend(by_gate.then_some(gates as i64));
        let float = |name: &str, width: usize, weights: &[i32]| {
            let real = |i: usize| {
                let (direction, gate, input) = (i / (gates * width), i / width % gates, i % width);
                weights[(direction * width + input) * gates + gate] as f32 * scale(direction, gate)
            };
            let data: Vec<f32> = (0..weights.len()).map(real).collect();
            floats(name, &[directions as i64, gates as i64, width as i64], &data)
        };
        let (w, r) = (weights(inputs, 3), weights(hidden, 5));
        let constants = vec![
            float("w", inputs, &w),
            float("r", hidden, &r),
            Type::I8.tensor("w.q", &[directions as i64, inputs as i64, gates as i64], &w),
            Type::I8.tensor("r.q", &[directions as i64, hidden as i64, gates as i64], &r),
            floats("s", &dims, &scales),
            Type::I8.tensor("z", &dims, &vec![0; scales.len()]),
        ];
        let direction = if directions == 1 { "forward" } else { "bidirectional" };
        let set = |node: Node| vec![node.int("hidden_size", hidden as i64).string("direction", direction)];
        let names = ["x", "w.q", "r.q", "", "", "", "", "", "s", "z", "s", "z"].map(String::from);
        let quantized = set(microsoft("DynamicQuantizeLSTM", &names, "y"));
        let x = [7, 1, inputs as i64];
        let pack = |nodes| try_pack(&x, nodes, constants.clone(), RANDOM).unwrap();
        let (folder, report) = pack(quantized);
        let (float_folder, float) = pack(set(op("LSTM", &["x", "w", "r"], "y")));
        let numbers: Vec<f32> = spread(42, -128, 127, 7).into_iter().map(|q| q as f32 / 60.0).collect();
        let (got, expected) = (run_package(&report, &numbers), run_package(&float, &numbers));
        assert_eq!(got.1, expected.1);
        let arrived = report.arrived.unwrap();
        assert_eq!(arrived.products, 2 * directions, "{:?}", arrived.notes);
        // Scales of f32 come back from products of f32 within an ulp of them.
        for (got, expected) in got.0.iter().zip(&expected.0) {
            assert!((got - expected).abs() <= 1.0 / 127.0, "{got} instead of {expected}");
        }
        drop((folder, float_folder));
    }
}

#[test]
fn a_scale_inside_of_one_step_is_said_to_be_left_out() {
    let scale = scale("v", 0.01, 0);
    let mut nodes = vec![
        op("ReduceMean", &["x"], "m").ints("axes", &[-1]),
        op("Sub", &["x", "m"], "d"),
        op("Pow", &["d", "two"], "p"),
        op("ReduceMean", &["p"], "variance").ints("axes", &[-1]),
        op("Add", &["variance", "epsilon"], "v"),
    ];
    nodes.extend(both("v", &scale, "v.d"));
    nodes.extend([op("Sqrt", &["v.d"], "s"), op("Div", &["d", "s"], "y")]);
    let constants = vec![floats("two", &[], &[2.0]), floats("epsilon", &[], &[0.01])];
    let constants = [constants, initializers(&[&scale])].concat();
    let (_folder, report) = try_pack(&[1, 4, 16], nodes, constants, RANDOM).unwrap();
    let notes = report.arrived.unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("`v` is not rounded to its scale here")), "{notes:?}");
}

#[test]
fn nodes_without_outputs_are_passed_over() {
    let x = scale("x", 0.25, 100);
    let mut nodes: Vec<Node> = both("x", &x, "y").into();
    for kind in
        ["QuantizeLinear", "DequantizeLinear", "QLinearSigmoid", "MatMulInteger", "DynamicQuantizeLSTM"]
    {
        nodes.push(op(kind, &["x"], "none").outputs(&[]));
    }
    let run = run(&[1, 4], nodes, initializers(&[&x]), &[0.0, 0.25, -1.0, 100.0]);
    assert_eq!(run.output, [0.0, 0.25, -1.0, 38.75]);
}

#[test]
fn integer_inputs_and_outputs_are_the_numbers_that_they_stand_for() {
    use tract_onnx::pb::tensor_proto::DataType;
    let (x, y) = (scale("x", 0.25, 100), scale("y", 0.5, 128));
    let nodes = vec![
        op("Transpose", &["x"], "t").ints("perm", &[0, 2, 1]),
        dequantize("t", &x, "d"),
        op("Relu", &["d"], "r"),
        quantize("r", &y, "y"),
    ];
    let mut model = operation::model(13, &[1, 2, 3], nodes, initializers(&[&x, &y]));
    let graph = model.graph.as_mut().unwrap();
    for end in graph.input.iter_mut().chain(&mut graph.output) {
        let Some(pb::type_proto::Value::TensorType(tensor)) =
            end.r#type.as_mut().and_then(|kind| kind.value.as_mut())
        else {
            panic!("no tensor")
        };
        tensor.elem_type = DataType::Uint8 as i32;
    }
    let bench = common::Bench::new();
    common::write_model(&bench.path("model.onnx"), &model);
    let text = bench.ok(&["pack", "model.onnx", "-o", "model.epk"]);
    assert!(text.contains("arrived quantized (QDQ)"), "{text}");
    assert!(text.contains("nothing was calibrated"), "{text}");
    assert!(text.contains("note: input `x` holds integers in the model"), "{text}");
    assert!(text.contains("note: output `y` holds integers in the model"), "{text}");
}

#[test]
fn what_cannot_be_read_is_refused_by_name_with_a_remedy() {
    let x = scale("x", 0.25, 100);
    let named =
        |name: &str| scale("x", 0.25, 100).initializers().into_iter().find(|t| t.name == name).unwrap();
    // A scale that is computed.
    let nodes = vec![op("QuantizeLinear", &["x", "x"], "q"), op("DequantizeLinear", &["q", "x"], "y")];
    let text = refusal(&[1, 4], nodes, vec![]);
    assert!(text.contains("node `QuantizeLinear/q`") && text.contains("as constants"), "{text}");
    // One that is not positive.
    let nodes: Vec<Node> = both("x", &x, "y").into();
    let text = refusal(&[1, 4], nodes, vec![floats("x.s", &[], &[-0.5]), named("x.z")]);
    assert!(text.contains("its scale `x.s` holds -0.5"), "{text}");
    // Arithmetic on the integers themselves.
    let nodes = vec![quantize("x", &x, "q"), op("Add", &["q", "q"], "a"), dequantize("a", &x, "y")];
    let text = refusal(&[1, 4], nodes, initializers(&[&x]));
    assert!(text.contains("node `Add/a`") && text.contains("computes with quantized integers"), "{text}");
    // Integers read at another scale than they were made with.
    let y = scale("y", 0.5, 100);
    let nodes = vec![quantize("x", &x, "q"), dequantize("q", &y, "y")];
    let text = refusal(&[1, 4], nodes, initializers(&[&x, &y]));
    assert!(text.contains("reads `q` with another scale"), "{text}");
    // Blocks.
    let nodes =
        vec![op("DequantizeLinear", &["w", "x.s"], "d").int("block_size", 2), op("Add", &["x", "d"], "y")];
    let text = refusal(
        &[1, 4],
        nodes,
        [initializers(&[&x]), vec![Type::U8.tensor("w", &[4], &[1, 2, 3, 4])]].concat(),
    );
    assert!(text.contains("block by block"), "{text}");
    // As many scales as no axis is long.
    let nodes = vec![op("DequantizeLinear", &["w", "s"], "d").int("axis", 0), op("Add", &["x", "d"], "y")];
    let constants = vec![floats("s", &[3], &[1.0; 3]), Type::U8.tensor("w", &[4], &[1, 2, 3, 4])];
    let text = refusal(&[1, 4], nodes, constants);
    assert!(text.contains("3 scales along axis 0 do not fit `w` of shape [4]"), "{text}");
    // An integer product of another form.
    let nodes = vec![
        quantize("x", &x, "q"),
        op("MatMulInteger", &["q", "w"], "i"),
        op("Cast", &["i"], "y").int("to", 1),
    ];
    let constants = [initializers(&[&x]), vec![Type::U8.tensor("w", &[4, 2], &[1; 8])]].concat();
    let text = refusal(&[1, 4], nodes, constants);
    assert!(text.contains("node `MatMulInteger/i`") && text.contains("`quantize_dynamic`"), "{text}");
}
