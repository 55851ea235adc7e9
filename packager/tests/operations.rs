//! Every operation in int8, one or two at a time: packaged, run, and compared with the FP32 model.

mod common;
#[path = "common/operation.rs"]
mod operation;

use common::tensor;
use operation::{Node, check, check_opset, floats, ints, op};
use tract_onnx::pb;

#[test]
fn convolutions_of_any_stride_dilation_padding_and_group() {
    let conv = || op("Conv", &["x", "w", "b"], "y");
    let x = [1, 6, 11, 9];
    let w = |out: i64, group: i64| vec![tensor("w", &[out, 6 / group, 3, 3]), tensor("b", &[out])];
    check(&x, vec![conv()], w(5, 1));
    check(&x, vec![conv().ints("pads", &[1, 0, 2, 1]).ints("strides", &[2, 1])], w(5, 1));
    check(&x, vec![conv().ints("dilations", &[2, 3]).ints("pads", &[2, 3, 2, 3])], w(5, 1));
    check(&x, vec![conv().int("group", 3).ints("pads", &[1, 1, 1, 1])], w(9, 3));
    check(&x, vec![conv().int("group", 2).ints("strides", &[2, 2])], w(4, 2));
    check(&x, vec![conv().int("group", 6).ints("pads", &[1, 1, 1, 1])], w(6, 6));
    check(&x, vec![conv().int("group", 6).ints("strides", &[2, 2])], w(12, 6));
    for auto_pad in ["SAME_UPPER", "SAME_LOWER", "VALID"] {
        check(&x, vec![conv().string("auto_pad", auto_pad).ints("strides", &[2, 2])], w(5, 1));
    }
    check(&x, vec![op("Conv", &["x", "w"], "y")], vec![tensor("w", &[7, 6, 1, 1])]);
}

#[test]
fn products_with_constant_weights() {
    let gemm = || op("Gemm", &["x", "w", "b"], "y");
    check(&[1, 24], vec![gemm()], vec![tensor("w", &[24, 7]), tensor("b", &[7])]);
    check(
        &[1, 24],
        vec![gemm().int("transB", 1).float("alpha", 0.5).float("beta", 2.0)],
        vec![tensor("w", &[7, 24]), tensor("b", &[7])],
    );
    check(&[1, 24], vec![op("MatMul", &["x", "w"], "y")], vec![tensor("w", &[24, 7])]);
    check(
        &[1, 5, 24],
        vec![op("MatMul", &["x", "w"], "a"), op("Add", &["a", "b"], "y")],
        vec![tensor("w", &[24, 7]), tensor("b", &[7])],
    );
}

#[test]
fn sums_of_a_product_and_a_tensor() {
    let conv = |x: &str, w: &str, y: &str| op("Conv", &[x, w], y).ints("pads", &[1, 1, 1, 1]);
    let w = |name: &str, channels: i64| tensor(name, &[channels, 6, 3, 3]);
    let x = [1, 6, 9, 7];
    let add = |a: &str, b: &str| op("Add", &[a, b], "y");
    check(&x, vec![conv("x", "w", "a"), add("a", "x")], vec![w("w", 6)]);
    check(&x, vec![conv("x", "w", "a"), add("x", "a")], vec![w("w", 6)]);
    // A block with bounds, its input overwritten; two branches; a chain of blocks.
    let relu = |x: &str, y: &str| op("Relu", &[x], y);
    let block = |x: &str, y: &str| {
        let [a, b, c] = ["a", "b", "c"].map(|name| format!("{x}{name}"));
        vec![conv(x, "w", &a), relu(&a, &b), conv(&b, "w", &c), op("Add", &[&c, x], y)]
    };
    check(&x, [block("x", "z"), vec![relu("z", "y")]].concat(), vec![w("w", 6)]);
    check(&x, vec![conv("x", "w", "a"), conv("x", "v", "b"), add("a", "b")], vec![w("w", 20), w("v", 20)]);
    check(&x, [block("x", "z"), block("z", "y")].concat(), vec![w("w", 6)]);
    // Fully connected, with a residual of another order than the product's.
    let product = op("MatMul", &["x", "w"], "a");
    check(&[1, 5, 24], vec![product, add("a", "x")], vec![tensor("w", &[24, 24])]);
    let turned = op("Transpose", &["a"], "b").ints("perm", &[0, 1, 3, 2]);
    check(
        &[1, 6, 7, 7],
        vec![conv("x", "w", "a"), turned, conv("x", "w", "c"), add("b", "c")],
        vec![w("w", 6)],
    );
}

#[test]
fn batch_normalization_after_a_convolution_and_alone() {
    let normalize = |input| op("BatchNormalization", &[input, "scale", "shift", "mean", "variance"], "y");
    let constants = || {
        vec![
            tensor("w", &[4, 4, 3, 3]),
            floats("scale", &[4], &[1.0, -0.5, 2.0, 0.1]),
            floats("shift", &[4], &[0.0, 1.0, -1.0, 0.5]),
            floats("mean", &[4], &[0.1, -0.2, 0.3, 0.0]),
            floats("variance", &[4], &[1.0, 0.5, 2.0, 0.25]),
        ]
    };
    check(&[1, 4, 7, 7], vec![op("Conv", &["x", "w"], "a"), normalize("a")], constants());
    check(&[1, 4, 7, 7], vec![normalize("x")], constants());
}

#[test]
fn activations_after_a_convolution_and_alone() {
    let activations: Vec<(fn() -> Node, i64)> = vec![
        (|| op("Relu", &["a"], "y"), 13),
        (|| op("Clip", &["a", "zero", "six"], "y"), 13),
        (|| op("Clip", &["a", "", "six"], "y"), 13),
        (|| op("Clip", &["a"], "y").float("min", -0.5).float("max", 0.75), 6),
        (|| op("HardSwish", &["a"], "y"), 14),
        (|| op("HardSigmoid", &["a"], "y").float("alpha", 0.166_666_67), 13),
        (|| op("Sigmoid", &["a"], "y"), 13),
        (|| op("Tanh", &["a"], "y"), 13),
        (|| op("LeakyRelu", &["a"], "y").float("alpha", 0.1), 13),
        (|| op("Elu", &["a"], "y"), 13),
        (|| op("Selu", &["a"], "y"), 13),
        (|| op("Softplus", &["a"], "y"), 13),
        (|| op("Softsign", &["a"], "y"), 13),
        (|| op("Mish", &["a"], "y"), 18),
        (|| op("Gelu", &["a"], "y"), 20),
        (|| op("Gelu", &["a"], "y").string("approximate", "tanh"), 20),
        (|| op("Erf", &["a"], "y"), 13),
        (|| op("Exp", &["a"], "y"), 13),
        (|| op("Abs", &["a"], "y"), 13),
        (|| op("Neg", &["a"], "y"), 13),
        (|| op("Sin", &["a"], "y"), 13),
        (|| op("PRelu", &["a", "slope"], "y"), 13),
    ];
    for (activation, opset) in activations {
        let constants = || {
            vec![
                tensor("w", &[4, 4, 1, 1]),
                floats("zero", &[], &[0.0]),
                floats("six", &[], &[1.5]),
                floats("slope", &[1], &[0.2]),
            ]
        };
        let name = activation().0.op_type;
        println!("{name} of opset {opset}");
        check_opset(
            opset,
            &[1, 4, 5, 5],
            vec![op("Conv", &["x", "w"], "a"), activation()],
            constants(),
            28.0,
        );
        check_opset(opset, &[1, 4, 5, 5], vec![op("Identity", &["x"], "a"), activation()], constants(), 28.0);
    }
}

#[test]
fn arithmetic_of_two_tensors_and_with_constants() {
    let x = [1, 4, 6, 5];
    for name in ["Add", "Sub", "Mul"] {
        let branch = || op("Conv", &["x", "w"], "a");
        let w = || tensor("w", &[4, 4, 1, 1]);
        check(&x, vec![branch(), op(name, &["x", "a"], "y")], vec![w()]);
        check(&x, vec![branch(), op(name, &["a", "x"], "y")], vec![w()]);
        // By channels: squeeze-and-excitation.
        let gate = op("GlobalAveragePool", &["a"], "g");
        check(&x, vec![branch(), gate, op(name, &["x", "g"], "y")], vec![w()]);
        let gate = op("GlobalAveragePool", &["a"], "g");
        check(&x, vec![branch(), gate, op(name, &["g", "x"], "y")], vec![w()]);
        check(&x, vec![op(name, &["x", "c"], "y")], vec![tensor("c", &[1, 4, 1, 1])]);
        check(&x, vec![op(name, &["x", "c"], "y")], vec![floats("c", &[], &[0.7])]);
        check(&x, vec![branch(), op(name, &["a", "c"], "y")], vec![w(), tensor("c", &[4, 1, 1])]);
        check(&x, vec![op(name, &["c", "x"], "y")], vec![floats("c", &[1], &[1.5])]);
    }
    check(&x, vec![op("Div", &["x", "c"], "y")], vec![floats("c", &[], &[3.0])]);
}

#[test]
fn pooling_with_every_kind_of_padding() {
    let x = [1, 3, 10, 9];
    for name in ["MaxPool", "AveragePool"] {
        let pool = || op(name, &["x"], "y").ints("kernel_shape", &[3, 2]);
        check(&x, vec![pool()], vec![]);
        check(&x, vec![pool().ints("strides", &[2, 2]).int("ceil_mode", 1)], vec![]);
        check(&x, vec![pool().ints("strides", &[2, 2]).ints("pads", &[1, 1, 0, 1])], vec![]);
        check(&x, vec![pool().ints("strides", &[2, 1]).string("auto_pad", "SAME_UPPER")], vec![]);
    }
    let average = || op("AveragePool", &["x"], "y").ints("kernel_shape", &[3, 3]).ints("pads", &[1, 1, 1, 1]);
    check(&x, vec![average().int("count_include_pad", 1)], vec![]);
    check(&x, vec![average().int("count_include_pad", 0).ints("strides", &[2, 2])], vec![]);
    check(&x, vec![op("GlobalAveragePool", &["x"], "y")], vec![]);
    check(&x, vec![op("GlobalMaxPool", &["x"], "y")], vec![]);
    for keep in [0, 1] {
        check(&x, vec![op("ReduceMean", &["x"], "y").ints("axes", &[2, 3]).int("keepdims", keep)], vec![]);
        check(&x, vec![op("ReduceMean", &["x"], "y").ints("axes", &[-2, -1]).int("keepdims", keep)], vec![]);
    }
    let by_input = op("ReduceMean", &["x", "axes"], "y").int("keepdims", 0);
    check_opset(18, &x, vec![by_input], vec![ints("axes", &[2, 3])], 30.0);
}

#[test]
fn padding_before_a_convolution_and_alone() {
    let pad = |output| op("Pad", &["x", "pads", "value"], output);
    let constants = |value: f32| {
        vec![
            ints("pads", &[0, 0, 1, 2, 0, 0, 3, 0]),
            floats("value", &[], &[value]),
            tensor("w", &[4, 3, 3, 3]),
        ]
    };
    check(&[1, 3, 6, 5], vec![pad("a"), op("Conv", &["a", "w"], "y")], constants(0.0));
    check(&[1, 3, 6, 5], vec![pad("y")], constants(0.0));
    check(&[1, 3, 6, 5], vec![pad("y")], constants(0.5));
}

#[test]
fn movements_of_data() {
    let x = [1, 4, 6, 5];
    let conv = || op("Conv", &["x", "w"], "a");
    let w = || tensor("w", &[3, 4, 1, 1]);
    check(&x, vec![conv(), op("Concat", &["x", "a", "x"], "y").int("axis", 1)], vec![w()]);
    for axis in [2, -1] {
        check(&x, vec![op("Relu", &["x"], "a"), op("Concat", &["x", "a"], "y").int("axis", axis)], vec![]);
    }
    check(&x, vec![op("Flatten", &["x"], "y")], vec![]);
    check(&x, vec![conv(), op("Reshape", &["a", "shape"], "y")], vec![w(), ints("shape", &[0, -1, 5])]);
    check(&x, vec![op("Reshape", &["x", "shape"], "y")], vec![ints("shape", &[1, 2, 2, 30])]);
    check(
        &x,
        vec![op("GlobalAveragePool", &["x"], "a"), op("Squeeze", &["a", "axes"], "y")],
        vec![ints("axes", &[2, 3])],
    );
    check(&x, vec![op("Unsqueeze", &["x", "axes"], "y")], vec![ints("axes", &[0])]);
    check(&x, vec![op("Transpose", &["x"], "y").ints("perm", &[0, 2, 3, 1])], vec![]);
    check(&x, vec![conv(), op("Transpose", &["a"], "y").ints("perm", &[0, 3, 1, 2])], vec![w()]);
    check(
        &x,
        vec![
            op("Transpose", &["x"], "a").ints("perm", &[0, 2, 3, 1]),
            op("Reshape", &["a", "shape"], "b"),
            op("Gemm", &["b", "w"], "y"),
        ],
        vec![ints("shape", &[1, 120]), tensor("w", &[120, 6])],
    );
    check(&x, vec![op("Dropout", &["x"], "a"), op("Cast", &["a"], "y").int("to", 1)], vec![]);
}

#[test]
fn softmax_along_any_axis() {
    for axis in [1, 2, -1] {
        check(&[1, 4, 6, 5], vec![op("Softmax", &["x"], "y").int("axis", axis)], vec![]);
    }
    let product = || op("Gemm", &["x", "w"], "a");
    check(&[1, 12], vec![product(), op("Softmax", &["a"], "y")], vec![tensor("w", &[12, 5])]);
    // Before opset 13, softmax was over everything from the axis on.
    check_opset(11, &[1, 4, 3], vec![op("Softmax", &["x"], "y").int("axis", 1)], vec![], 30.0);
}

#[test]
fn slices_and_gathers_by_constants() {
    let x = [1, 4, 6, 5];
    let slice = || op("Slice", &["x", "starts", "ends", "axes", "steps"], "y");
    let constants = |starts: &[i64], ends: &[i64], axes: &[i64], steps: &[i64]| {
        [("starts", starts), ("ends", ends), ("axes", axes), ("steps", steps)]
            .map(|(n, v)| ints(n, v))
            .to_vec()
    };
    check(&x, vec![slice()], constants(&[1, 0], &[3, i64::MAX], &[1, 3], &[1, 2]));
    check(&x, vec![slice()], constants(&[-4], &[-1], &[-2], &[2]));
    check(&x, vec![op("Slice", &["x", "s", "e"], "y")], vec![ints("s", &[0, 1]), ints("e", &[1, 2])]);
    let old = op("Slice", &["x"], "y").ints("starts", &[2]).ints("ends", &[9]).ints("axes", &[2]);
    check_opset(9, &x, vec![old], vec![], 30.0);
    let conv = || op("Conv", &["x", "w"], "a");
    let w = || tensor("w", &[3, 4, 1, 1]);
    let gather = |axis| op("Gather", &["a", "i"], "y").int("axis", axis);
    let scalar = |i: i64| pb::TensorProto { dims: vec![], ..ints("i", &[i]) };
    check(&x, vec![conv(), gather(1)], vec![w(), scalar(1)]);
    check(&x, vec![conv(), gather(2)], vec![w(), scalar(-1)]);
    check(&x, vec![conv(), gather(-1)], vec![w(), ints("i", &[0, 2, 4])]);
    check(&x, vec![conv(), gather(3)], vec![w(), ints("i", &[3])]);
}

#[test]
fn products_of_two_tensors() {
    let w = |name: &str, k: i64, n: i64| tensor(name, &[k, n]);
    let dense = |weights: &str, output: &str| op("MatMul", &["x", weights], output);
    let transposed = |input: &str, perm: &[i64]| op("Transpose", &[input], "t").ints("perm", perm);
    // Of one batch and several, of sizes that no kernel likes, and with one side broadcast.
    let branches = |perm| {
        let product = op("MatMul", &["a", "t"], "y");
        vec![dense("v", "a"), dense("w", "b"), transposed("b", perm), product]
    };
    check(&[1, 11, 24], branches(&[0, 2, 1]), vec![w("v", 24, 13), w("w", 24, 13)]);
    check(&[1, 3, 8, 24], branches(&[0, 1, 3, 2]), vec![w("v", 24, 16), w("w", 24, 16)]);
    // Nothing that lies as a product wants it: columns of the left operand are apart.
    let left = vec![transposed("x", &[0, 3, 1, 2]), op("MatMul", &["t", "x"], "y")];
    check(&[1, 5, 5, 5], left, vec![]);
    let relu = vec![op("Relu", &["x"], "a"), op("MatMul", &["x", "a"], "b"), op("Relu", &["b"], "y")];
    check(&[1, 6, 6], relu, vec![]);
    // A tensor times itself, and a factor behind it.
    check(&[1, 2, 5, 9], vec![transposed("x", &[0, 1, 3, 2]), op("MatMul", &["x", "t"], "y")], vec![]);
    let scaled =
        vec![op("MatMul", &["x", "x"], "a"), op("Div", &["a", "c"], "b"), op("Sigmoid", &["b"], "y")];
    check(&[1, 2, 9, 9], scaled, vec![floats("c", &[], &[3.0])]);
    let one_for_all = vec![
        op("Reshape", &["x", "heads"], "a"),
        op("Reshape", &["x", "rows"], "b"),
        op("MatMul", &["a", "b"], "y"),
    ];
    check(&[1, 12, 12], one_for_all, vec![ints("heads", &[4, 3, 12]), ints("rows", &[12, 12])]);
}

/// As torch exports it: heads are split and transposed, scores scaled, results put together again.
#[test]
fn attention() {
    for scale_first in [false, true] {
        let head = |input: &str, output: &str, perm: &[i64]| {
            let (product, split) = (format!("{output}.product"), format!("{output}.split"));
            vec![
                op("MatMul", &["x", input], &product),
                op("Reshape", &[&product, "split"], &split),
                op("Transpose", &[&split], output).ints("perm", perm),
            ]
        };
        let mut nodes = head("wq", "q", &[0, 2, 1, 3]);
        nodes.extend(head("wk", "k", &[0, 2, 3, 1]));
        nodes.extend(head("wv", "v", &[0, 2, 1, 3]));
        if scale_first {
            nodes.push(op("Mul", &["q", "scale"], "scaled"));
            nodes.push(op("MatMul", &["scaled", "k"], "scores"));
        } else {
            nodes.push(op("MatMul", &["q", "k"], "unscaled"));
            nodes.push(op("Mul", &["unscaled", "scale"], "scores"));
        }
        nodes.push(op("Softmax", &["scores"], "weights").int("axis", -1));
        nodes.push(op("MatMul", &["weights", "v"], "context"));
        nodes.push(op("Transpose", &["context"], "together").ints("perm", &[0, 2, 1, 3]));
        nodes.push(op("Reshape", &["together", "whole"], "flat"));
        nodes.push(op("MatMul", &["flat", "wo"], "y"));
        let constants = ["wq", "wk", "wv", "wo"].map(|name| tensor(name, &[32, 32])).into_iter().chain([
            ints("split", &[1, 10, 4, 8]),
            ints("whole", &[1, 10, 32]),
            floats("scale", &[], &[0.3]),
        ]);
        check(&[1, 10, 32], nodes, constants.collect());
    }
}

#[test]
fn layer_normalizations_as_one_node_and_as_many() {
    let parameters = || {
        let gamma: Vec<f32> = (0..24).map(|c| 1.0 + (c % 5) as f32 * 0.2).collect();
        let beta: Vec<f32> = (0..24).map(|c| (c % 7) as f32 * 0.1 - 0.3).collect();
        vec![floats("gamma", &[24], &gamma), floats("beta", &[24], &beta)]
    };
    let one = || op("LayerNormalization", &["x", "gamma", "beta"], "y");
    check_opset(17, &[1, 9, 24], vec![one()], parameters(), 30.0);
    check_opset(17, &[1, 9, 24], vec![one().float("epsilon", 0.5)], parameters(), 30.0);
    let without_beta = op("LayerNormalization", &["x", "gamma"], "y").int("axis", 2);
    check_opset(17, &[1, 9, 24], vec![without_beta], parameters(), 30.0);
    let two_axes = op("LayerNormalization", &["x", "gamma"], "y").int("axis", 2);
    check_opset(17, &[1, 3, 4, 6], vec![two_axes], vec![tensor("gamma", &[4, 6])], 30.0);
    // After a convolution, whose channels the device stores last, and over what it stores last.
    let after = |last: bool| {
        let moved = op("Transpose", &["a"], "b").ints("perm", &[0, 2, 3, 1]);
        let norm = op("LayerNormalization", &[if last { "b" } else { "a" }, "gamma"], "y");
        let mut nodes = vec![op("Conv", &["x", "w"], "a"), norm];
        if last {
            nodes.insert(1, moved);
        }
        nodes
    };
    let w = || tensor("w", &[8, 3, 1, 1]);
    check_opset(17, &[1, 3, 5, 6], after(true), vec![w(), tensor("gamma", &[8])], 30.0);
    check_opset(17, &[1, 3, 5, 6], after(false), vec![w(), tensor("gamma", &[6])], 30.0);
    for square in ["Pow", "Mul"] {
        let mean = |input: &str, output: &str| op("ReduceMean", &[input], output).ints("axes", &[-1]);
        let nodes = vec![
            mean("x", "mean"),
            op("Sub", &["x", "mean"], "difference"),
            op(square, &["difference", if square == "Pow" { "two" } else { "difference" }], "square"),
            mean("square", "variance"),
            op("Add", &["variance", "epsilon"], "sum"),
            op("Sqrt", &["sum"], "deviation"),
            op("Div", &["difference", "deviation"], "normal"),
            op("Mul", &["normal", "gamma"], "scaled"),
            op("Add", &["scaled", "beta"], "y"),
        ];
        let mut constants = parameters();
        constants.extend([floats("two", &[], &[2.0]), floats("epsilon", &[], &[1e-5])]);
        check(&[1, 9, 24], nodes, constants);
    }
}

#[test]
fn activations_as_exporters_write_them() {
    let constants = || {
        let scalar = |name: &str, value: f32| floats(name, &[], &[value]);
        let mut constants = vec![
            scalar("root2", std::f32::consts::SQRT_2),
            scalar("one", 1.0),
            scalar("half", 0.5),
            scalar("three", 3.0),
            scalar("cubic", 0.044_715),
            scalar("inner", 0.797_884_6),
            scalar("zero", 0.0),
            scalar("six", 6.0),
        ];
        constants.push(tensor("w", &[4, 4, 1, 1]));
        constants
    };
    let erf = || vec![op("Div", &["a", "root2"], "b"), op("Erf", &["b"], "c"), op("Add", &["c", "one"], "d")];
    let tails: Vec<Vec<Node>> = vec![
        // Gelu: x * (1 + erf) * 0.5, and (x * 0.5) * (1 + erf).
        erf().into_iter().chain([op("Mul", &["a", "d"], "e"), op("Mul", &["e", "half"], "y")]).collect(),
        erf().into_iter().chain([op("Mul", &["a", "half"], "e"), op("Mul", &["e", "d"], "y")]).collect(),
        // Its approximation by tanh.
        vec![
            op("Pow", &["a", "three"], "b"),
            op("Mul", &["b", "cubic"], "c"),
            op("Add", &["a", "c"], "d"),
            op("Mul", &["d", "inner"], "e"),
            op("Tanh", &["e"], "f"),
            op("Add", &["f", "one"], "g"),
            op("Mul", &["a", "half"], "h"),
            op("Mul", &["h", "g"], "y"),
        ],
        // SiLU, and HardSwish.
        vec![op("Sigmoid", &["a"], "b"), op("Mul", &["a", "b"], "y")],
        vec![
            op("Add", &["a", "three"], "b"),
            op("Clip", &["b", "zero", "six"], "c"),
            op("Mul", &["a", "c"], "d"),
            op("Div", &["d", "six"], "y"),
        ],
    ];
    for tail in tails {
        let nodes = || [op("Conv", &["x", "w"], "a")].into_iter();
        check(&[1, 4, 5, 5], nodes().chain(tail).collect(), constants());
    }
}

#[test]
fn quotients_of_two_tensors() {
    let nodes = vec![op("Sigmoid", &["x"], "a"), op("Add", &["a", "one"], "b"), op("Div", &["x", "b"], "y")];
    check(&[1, 4, 6, 5], nodes, vec![floats("one", &[], &[1.0])]);
}
