//! Models that arrive quantized: their own scales, zero points and integers become the package's, and its
//! outputs are those of a plain integer reference, bit for bit.

mod common;
#[path = "common/operation.rs"]
mod operation;
#[path = "common/quantized.rs"]
mod quantized;

use operation::{Node, floats, op};
use quantized::{Scale, Type, biases, both, dequantize, microsoft, node, operand, quantize, run, spread};
use tract_onnx::pb;

/// A convolution of `[1, 3, 6, 5]` by 3 × 3, padded by 1: in integers, by the definition of QLinearConv.
struct Conv {
    x: Scale,
    y: Scale,
    weights: Vec<i32>,
    weight_kind: Type,
    weight_zero_point: i32,
    /// One, or one for each channel.
    weight_scales: Vec<f32>,
    bias: Vec<i32>,
}

const CHANNELS: usize = 4;
const X: [i64; 4] = [1, 3, 6, 5];

impl Conv {
    fn new(activations: Type, weight_kind: Type, scales: usize) -> Self {
        let zero_point = |signed: i32| signed + activations.levels()[0] + 128;
        let weight_zero_point = if weight_kind == Type::U8 { 128 } else { 0 };
        let around = |w: i32| w + weight_zero_point;
        Self {
            x: Scale { name: "x", scale: 0.037, zero_point: zero_point(-9), kind: activations },
            y: Scale { name: "y", scale: 0.81, zero_point: zero_point(17), kind: activations },
            weights: spread(CHANNELS * 27, -127, 127, 3).into_iter().map(around).collect(),
            weight_kind,
            weight_zero_point,
            weight_scales: [0.02, 0.0071, 0.011, 0.0173][..scales].to_vec(),
            bias: vec![900, -31_000, 7, 123_456],
        }
    }

    fn scale(&self, channel: usize) -> f32 {
        self.weight_scales[channel.min(self.weight_scales.len() - 1)]
    }

    fn reference(&self, input: &[i32]) -> Vec<f32> {
        let mut output = Vec::new();
        for n in 0..CHANNELS {
            let multiplier = self.x.scale * self.scale(n) / self.y.scale;
            for at in 0..30 {
                let (row, column) = (at / 5, at % 5);
                let mut sum = self.bias[n];
                for c in 0..3 {
                    for tap in 0..9 {
                        let (r, s) = (row + tap / 3, column + tap % 3);
                        if (1..7).contains(&r) && (1..6).contains(&s) {
                            let x = input[c * 30 + (r - 1) * 5 + s - 1] - self.x.zero_point;
                            sum += x * (self.weights[(n * 3 + c) * 9 + tap] - self.weight_zero_point);
                        }
                    }
                }
                let q = (sum as f32 * multiplier).round_ties_even() as i32 + self.y.zero_point;
                output.push(self.y.real(self.y.kind.clamp(q)));
            }
        }
        output
    }

    fn initializers(&self) -> Vec<pb::TensorProto> {
        let count = self.weight_scales.len() as i64;
        let dims = if count == 1 { vec![] } else { vec![count] };
        let zero_points = vec![self.weight_zero_point; count as usize];
        let bias_scales: Vec<f32> = self.weight_scales.iter().map(|scale| self.x.scale * scale).collect();
        let mut initializers = vec![
            self.weight_kind.tensor("w", &[CHANNELS as i64, 3, 3, 3], &self.weights),
            floats("w.s", &dims, &self.weight_scales),
            self.weight_kind.tensor("w.z", &dims, &zero_points),
            biases("b", &self.bias),
            floats("b.s", &dims, &bias_scales),
        ];
        initializers.extend(self.x.initializers());
        initializers.extend(self.y.initializers());
        initializers
    }

    fn qdq(&self, between: Vec<Node>) -> Vec<Node> {
        let mut nodes: Vec<Node> = both("x", &self.x, "x.d").into();
        nodes.push(op("DequantizeLinear", &["w", "w.s", "w.z"], "w.d").int("axis", 0));
        nodes.push(op("DequantizeLinear", &["b", "b.s"], "b.d").int("axis", 0));
        nodes.push(op("Conv", &["x.d", "w.d", "b.d"], "c").ints("pads", &[1, 1, 1, 1]));
        let last = if between.is_empty() { "c" } else { "last" };
        nodes.extend(between);
        nodes.extend(both(last, &self.y, "y"));
        nodes
    }

    fn q_operator(&self) -> Vec<Node> {
        let inputs = [operand("x.q", &self.x), ["w", "w.s", "w.z"].map(String::from).to_vec()].concat();
        let inputs = [inputs, operand("y.q", &self.y)[1..].to_vec(), vec!["b".into()]].concat();
        vec![
            quantize("x", &self.x, "x.q"),
            node("QLinearConv", &inputs, "y.q").ints("pads", &[1, 1, 1, 1]),
            dequantize("y.q", &self.y, "y"),
        ]
    }
}

/// Inputs over all levels, as integers and as numbers.
fn inputs(x: &Scale, elems: usize) -> (Vec<i32>, Vec<f32>) {
    let [least, greatest] = x.kind.levels();
    let integers = spread(elems, least, greatest, 11);
    let numbers = integers.iter().map(|&q| x.real(q)).collect();
    (integers, numbers)
}

#[test]
fn convolutions_give_the_bits_of_their_definition_in_every_form() {
    for activations in [Type::U8, Type::I8] {
        for weights in [Type::U8, Type::I8] {
            for scales in [1, CHANNELS] {
                let conv = Conv::new(activations, weights, scales);
                let (integers, numbers) = inputs(&conv.x, 90);
                let expected = conv.reference(&integers);
                for (form, nodes) in [("QDQ", conv.qdq(vec![])), ("QOperator", conv.q_operator())] {
                    let run = run(&X, nodes, conv.initializers(), &numbers);
                    let case = format!("{form}, {activations:?}, {weights:?}, {scales} scales");
                    assert_eq!(run.output, expected, "{case}");
                    assert_eq!(run.steps, ["conv", "to f32"], "{case}");
                    let arrived = run.report.arrived.unwrap();
                    assert_eq!(
                        (arrived.tensors, arrived.products, &arrived.notes[..]),
                        (2, 1, &[][..]),
                        "{case}"
                    );
                    assert!(arrived.forms.iter().any(|known| known == form), "{case}");
                }
            }
        }
    }
}

#[test]
fn a_relu_between_a_product_and_its_scale_is_one_step_with_it() {
    let conv = Conv::new(Type::I8, Type::I8, CHANNELS);
    let (integers, numbers) = inputs(&conv.x, 90);
    let run = run(&X, conv.qdq(vec![op("Relu", &["c"], "last")]), conv.initializers(), &numbers);
    let expected: Vec<f32> = conv.reference(&integers).into_iter().map(|y| y.max(0.0)).collect();
    assert_eq!((run.output, run.steps), (expected, vec!["conv", "to f32"]));
}

#[test]
fn a_scale_between_a_product_and_a_relu_is_honoured() {
    let conv = Conv::new(Type::I8, Type::I8, CHANNELS);
    let between = Scale { name: "between", scale: 0.9, zero_point: -3, kind: Type::I8 };
    let (integers, numbers) = inputs(&conv.x, 90);
    let mut initializers = conv.initializers();
    initializers.extend(between.initializers());
    let mut nodes: Vec<Node> = both("c", &between, "r").into();
    nodes.push(op("Relu", &["r"], "last"));
    let run = run(&X, conv.qdq(nodes), initializers, &numbers);
    // Rounded twice: first to one scale, then to the other.
    let first = Conv { y: between.clone(), ..Conv::new(Type::I8, Type::I8, CHANNELS) }.reference(&integers);
    let twice = |r: f32| conv.y.real(conv.y.integer(f64::from(r.max(0.0))));
    let expected: Vec<f32> = first.into_iter().map(twice).collect();
    assert_eq!((run.output, run.steps), (expected, vec!["conv", "table", "to f32"]));
}

#[test]
fn weights_that_are_quantized_by_nodes_are_as_in_training() {
    // QAT exports: f32 weights, QuantizeLinear, DequantizeLinear; here not on the levels.
    let conv = Conv::new(Type::U8, Type::I8, CHANNELS);
    let (integers, numbers) = inputs(&conv.x, 90);
    let weights: Vec<f32> = (conv.weights.iter().enumerate())
        .map(|(i, &q)| (q as f32 + [0.3, -0.4, 0.1][i % 3]) * conv.scale(i / 27))
        .collect();
    let mut nodes = conv.qdq(vec![]);
    let read = nodes.iter().position(|node| node.0.output[0] == "w.d").unwrap();
    nodes[read] = op("DequantizeLinear", &["w.q", "w.s", "w.z"], "w.d").int("axis", 0);
    nodes.insert(read, op("QuantizeLinear", &["w.f", "w.s", "w.z"], "w.q").int("axis", 0));
    let mut initializers = conv.initializers();
    initializers.push(floats("w.f", &[CHANNELS as i64, 3, 3, 3], &weights));
    let run = run(&X, nodes, initializers, &numbers);
    assert_eq!(run.output, conv.reference(&integers));
    assert_eq!(run.report.arrived.unwrap().products, 1);
}

/// A product `[2, 10] × [10, 3]` with a scale for each column.
struct Product {
    x: Scale,
    y: Scale,
    weights: Vec<i32>,
    scales: [f32; 3],
    bias: [i32; 3],
}

impl Product {
    fn new() -> Self {
        Self {
            x: Scale { name: "x", scale: 0.02, zero_point: 131, kind: Type::U8 },
            y: Scale { name: "y", scale: 0.3, zero_point: 101, kind: Type::U8 },
            weights: spread(30, -127, 127, 5),
            scales: [0.01, 0.03, 0.007],
            bias: [-1000, 50, 7000],
        }
    }

    fn initializers(&self) -> Vec<pb::TensorProto> {
        let transposed: Vec<i32> = (0..30).map(|i| self.weights[i % 10 * 3 + i / 10]).collect();
        let mut initializers = vec![
            Type::I8.tensor("w", &[10, 3], &self.weights),
            Type::I8.tensor("wt", &[3, 10], &transposed),
            floats("w.s", &[3], &self.scales),
            Type::I8.tensor("w.z", &[3], &[0, 0, 0]),
            biases("b", &self.bias),
            floats("b.s", &[3], &self.scales.map(|scale| scale * self.x.scale)),
        ];
        initializers.extend(self.x.initializers());
        initializers.extend(self.y.initializers());
        initializers
    }

    fn reference(&self, input: &[i32], bias: bool) -> Vec<f32> {
        let mut output = Vec::new();
        for row in input.chunks(10) {
            for n in 0..3 {
                let products = |k: usize| (row[k] - self.x.zero_point) * self.weights[k * 3 + n];
                let sum: i32 = (0..10).map(products).sum::<i32>() + if bias { self.bias[n] } else { 0 };
                let multiplier = self.x.scale * self.scales[n] / self.y.scale;
                let q = (sum as f32 * multiplier).round_ties_even() as i32 + self.y.zero_point;
                output.push(self.y.real(self.y.kind.clamp(q)));
            }
        }
        output
    }
}

#[test]
fn matrix_products_keep_a_scale_for_each_column_in_every_form() {
    let product = Product::new();
    let (integers, numbers) = inputs(&product.x, 20);
    let weights = |name: &str| [name, "w.s", "w.z"].map(String::from).to_vec();
    let result = operand("y.q", &product.y)[1..].to_vec();
    let around =
        |inner: Node| vec![quantize("x", &product.x, "x.q"), inner, dequantize("y.q", &product.y, "y")];
    let q_operand = operand("x.q", &product.x);
    let bias = vec!["b".to_string()];
    let q_gemm = |name: &str| [q_operand.clone(), weights(name), bias.clone(), result.clone()].concat();
    let float = |weights: &str, axis: i64, last: Vec<Node>| {
        let mut nodes: Vec<Node> = both("x", &product.x, "x.d").into();
        nodes.push(op("DequantizeLinear", &[weights, "w.s", "w.z"], "w.d").int("axis", axis));
        nodes.push(op("DequantizeLinear", &["b", "b.s"], "b.d").int("axis", 0));
        nodes.extend(last);
        nodes.extend(both("a", &product.y, "y"));
        nodes
    };
    let matmul = [q_operand.clone(), weights("w"), result.clone()].concat();
    let gemm = || op("Gemm", &["x.d", "w.d", "b.d"], "a");
    let forms = [
        ("QLinearMatMul", false, around(node("QLinearMatMul", &matmul, "y.q"))),
        ("QGemm", true, around(microsoft("QGemm", &q_gemm("w"), "y.q"))),
        ("QGemm, transposed", true, around(microsoft("QGemm", &q_gemm("wt"), "y.q").int("transB", 1))),
        ("MatMul", false, float("w", 1, vec![op("MatMul", &["x.d", "w.d"], "a")])),
        (
            "MatMul, Add",
            true,
            float("w", 1, vec![op("MatMul", &["x.d", "w.d"], "m"), op("Add", &["m", "b.d"], "a")]),
        ),
        ("Gemm", true, float("w", -1, vec![gemm()])),
        ("Gemm, transposed", true, float("wt", 0, vec![gemm().int("transB", 1)])),
        (
            "MatMul of transposed weights",
            false,
            float(
                "wt",
                0,
                vec![op("Transpose", &["w.d"], "t").ints("perm", &[1, 0]), op("MatMul", &["x.d", "t"], "a")],
            ),
        ),
    ];
    for (form, bias, nodes) in forms {
        let run = run(&[2, 10], nodes, product.initializers(), &numbers);
        assert_eq!(run.output, product.reference(&integers, bias), "{form}");
        assert_eq!(run.steps, ["conv", "to f32"], "{form}");
        assert_eq!(run.report.arrived.unwrap().products, 1, "{form}");
    }
}

/// Scales that are powers of two, so that f32 and f64 give the same sums.
fn exact(name: &'static str, scale: f32, zero_point: i32) -> Scale {
    Scale { name, scale, zero_point, kind: Type::U8 }
}

/// One operator of the QOperator form with one input, against its float definition.
#[track_caller]
fn check_unary(name: &str, set: impl Fn(Node) -> Node, definition: impl Fn(&[f32]) -> Vec<f64>, step: &str) {
    let (x, y) = (exact("x", 1.0 / 32.0, 120), exact("y", 1.0 / 64.0, 60));
    let inputs_of = [operand("x.q", &x), operand("", &y)[1..].to_vec()].concat();
    let nodes =
        vec![quantize("x", &x, "x.q"), set(microsoft(name, &inputs_of, "y.q")), dequantize("y.q", &y, "y")];
    let (_, numbers) = inputs(&x, 64);
    let run = run(&[1, 4, 4, 4], nodes, [x.initializers(), y.initializers()].concat(), &numbers);
    let expected: Vec<f32> = definition(&numbers).into_iter().map(|v| y.real(y.integer(v))).collect();
    assert_eq!(run.output, expected, "{name}");
    assert_eq!(run.steps.iter().filter(|kind| **kind == step).count(), 1, "{name}: {:?}", run.steps);
    assert_eq!(run.report.arrived.unwrap().tensors, 2);
}

#[test]
fn operators_of_one_tensor_give_the_bits_of_their_definition() {
    let each = |f: fn(f64) -> f64| move |x: &[f32]| x.iter().map(|&x| f(x.into())).collect::<Vec<f64>>();
    check_unary("QLinearSigmoid", |node| node, each(|x| 1.0 / (1.0 + (-x).exp())), "table");
    let leaky = each(|x| if x < 0.0 { x * f64::from(0.1_f32) } else { x });
    check_unary("QLinearLeakyRelu", |node| node.float("alpha", 0.1), leaky, "table");
    let mean = |x: &[f32]| x.iter().map(|&x| f64::from(x)).sum::<f64>() / x.len() as f64;
    let global = |x: &[f32]| x.chunks(16).map(mean).collect::<Vec<f64>>();
    check_unary("QLinearGlobalAveragePool", |node| node, global, "pool");
    let quarters = |x: &[f32]| {
        let at = |i: usize| (i / 4) * 16 + (i % 4 / 2) * 8 + (i % 2) * 2;
        let window = |i: usize| mean(&[x[at(i)], x[at(i) + 1], x[at(i) + 4], x[at(i) + 5]]);
        (0..16).map(window).collect::<Vec<f64>>()
    };
    let window = |node: Node| node.ints("kernel_shape", &[2, 2]).ints("strides", &[2, 2]);
    check_unary("QLinearAveragePool", window, quarters, "pool");
    check_unary("QLinearReduceMean", |node| node.ints("axes", &[2, 3]).int("keepdims", 1), global, "pool");
}

#[test]
fn operators_of_two_tensors_give_the_bits_of_their_definition() {
    let (x, a, b) = (exact("x", 1.0 / 32.0, 120), exact("a", 1.0 / 16.0, 90), exact("b", 1.0 / 64.0, 200));
    let y = exact("y", 1.0 / 8.0, 110);
    let constant = spread(64, 0, 255, 9);
    for name in ["QLinearAdd", "QLinearMul"] {
        for with_constant in [false, true] {
            let right = if with_constant { "constant" } else { "b.q" };
            let inputs_of = [operand("a.q", &a), operand(right, &b), operand("", &y)[1..].to_vec()].concat();
            let mut nodes =
                vec![quantize("x", &x, "x.q"), dequantize("x.q", &x, "x.d"), quantize("x.d", &a, "a.q")];
            if !with_constant {
                nodes.push(quantize("x.d", &b, "b.q"));
            }
            nodes.extend([microsoft(name, &inputs_of, "y.q"), dequantize("y.q", &y, "y")]);
            let mut initializers = vec![Type::U8.tensor("constant", &[1, 4, 4, 4], &constant)];
            initializers.extend([&x, &a, &b, &y].into_iter().flat_map(Scale::initializers));
            let (_, numbers) = inputs(&x, 64);
            let run = run(&[1, 4, 4, 4], nodes, initializers, &numbers);
            let expected: Vec<f32> = (numbers.iter().zip(&constant))
                .map(|(&number, &constant)| {
                    let left = f64::from(a.real(a.integer(number.into())));
                    let right = if with_constant { constant } else { b.integer(number.into()) };
                    let right = f64::from(b.real(right));
                    y.real(y.integer(if name == "QLinearAdd" { left + right } else { left * right }))
                })
                .collect();
            assert_eq!(run.output, expected, "{name}, constant: {with_constant}");
            assert!(run.steps.contains(&"binary"), "{:?}", run.steps);
        }
    }
}
