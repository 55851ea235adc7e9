//! Operations that are made of others: packaged, run, and compared with the FP32 model.

mod common;
#[path = "common/operation.rs"]
mod operation;

use common::tensor;
use operation::{Node, check, check_opset, floats, ints, op};
use tract_onnx::pb;

#[test]
fn transposed_convolutions_of_any_stride_padding_and_group() {
    let conv = || op("ConvTranspose", &["x", "w", "b"], "y");
    let x = [1, 6, 5, 4];
    let w = |out: i64, group: i64, k: i64| vec![tensor("w", &[6, out / group, k, k]), tensor("b", &[out])];
    // Kernel and stride alike, as decoders have it; then overlapping ones, and gaps.
    check(&x, vec![conv().ints("strides", &[2, 2])], w(5, 1, 2));
    check(&x, vec![conv().ints("strides", &[2, 2]).ints("pads", &[1, 1, 1, 1])], w(5, 1, 4));
    check(&x, vec![conv().ints("strides", &[3, 2])], w(3, 1, 2));
    check(&x, vec![conv().ints("pads", &[1, 0, 1, 2])], w(4, 1, 3));
    let odd = conv().ints("strides", &[2, 2]).ints("pads", &[1, 1, 1, 1]).ints("output_padding", &[1, 1]);
    check(&x, vec![odd], w(4, 1, 3));
    check(&x, vec![conv().int("group", 3).ints("strides", &[2, 2])], w(9, 3, 3));
    check(&x, vec![conv().int("group", 6).ints("strides", &[2, 2])], w(6, 6, 2));
    check(&x, vec![conv().ints("dilations", &[2, 2])], w(4, 1, 3));
    let between = vec![
        op("Conv", &["x", "v"], "a"),
        op("ConvTranspose", &["a", "w"], "b").ints("strides", &[2, 2]),
        op("Relu", &["b"], "c"),
        op("Conv", &["c", "u"], "y"),
    ];
    let constants = vec![tensor("v", &[8, 6, 1, 1]), tensor("w", &[8, 4, 2, 2]), tensor("u", &[3, 4, 3, 3])];
    check(&x, between, constants);
    let one = op("ConvTranspose", &["x", "w"], "y").ints("strides", &[2]);
    check(&[1, 4, 9], vec![one], vec![tensor("w", &[4, 3, 3])]);
}

#[test]
fn resizing_by_nearest_and_linear_neighbours() {
    let x = [1, 3, 6, 5];
    let resize = |mode: &str, coordinates: &str| {
        op("Resize", &["x", "", "scales"], "y")
            .string("mode", mode)
            .string("coordinate_transformation_mode", coordinates)
    };
    let scales = |h: f32, w: f32| vec![floats("scales", &[4], &[1.0, 1.0, h, w])];
    check(&x, vec![resize("nearest", "asymmetric").string("nearest_mode", "floor")], scales(2.0, 2.0));
    check(&x, vec![resize("nearest", "asymmetric").string("nearest_mode", "floor")], scales(1.5, 3.0));
    check(&x, vec![resize("nearest", "half_pixel")], scales(0.5, 2.0));
    for coordinates in ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"] {
        check(&x, vec![resize("linear", coordinates)], scales(2.0, 2.0));
        check(&x, vec![resize("linear", coordinates)], scales(2.0, 1.4));
    }
    // In the middle of a network, whose tensors have their channels last.
    let nearest = op("Resize", &["a", "", "scales"], "b")
        .string("coordinate_transformation_mode", "asymmetric")
        .string("nearest_mode", "floor");
    let nodes = vec![op("Conv", &["x", "w"], "a"), nearest, op("Conv", &["b", "v"], "y")];
    let mut constants = scales(2.0, 2.0);
    constants.extend([tensor("w", &[4, 3, 1, 1]), tensor("v", &[4, 4, 3, 3])]);
    check(&x, nodes, constants);
}

#[test]
fn reductions_over_any_axes() {
    let x = [2, 4, 6, 5];
    for name in ["ReduceMax", "ReduceMin", "ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare"] {
        for axes in [vec![1], vec![2, 3], vec![1, 3], vec![0, 1, 2, 3]] {
            let reduce = || op(name, &["x"], "y").ints("axes", &axes);
            check_opset(11, &x, vec![reduce()], vec![], 30.0);
            check_opset(11, &x, vec![reduce().int("keepdims", 0)], vec![], 30.0);
        }
    }
    let positive = || op("Sigmoid", &["x"], "a");
    for name in ["ReduceLogSum", "ReduceLogSumExp"] {
        check(&x, vec![positive(), op(name, &["a"], "y").ints("axes", &[1])], vec![]);
    }
    check(&x, vec![op("ReduceMean", &["x"], "y").ints("axes", &[1, 3])], vec![]);
    let by_input = op("ReduceSum", &["x", "axes"], "y").int("keepdims", 0);
    check_opset(13, &x, vec![by_input], vec![ints("axes", &[-1])], 30.0);
    for axis in [1, -1] {
        check(&[1, 6, 8], vec![op("LogSoftmax", &["x"], "y").int("axis", axis)], vec![]);
    }
}

#[test]
fn elements_at_other_places() {
    let x = [1, 4, 6, 5];
    let conv = || op("Conv", &["x", "w"], "a");
    let w = || tensor("w", &[4, 4, 1, 1]);
    for mode in ["reflect", "edge"] {
        let pad = op("Pad", &["a", "pads"], "y").string("mode", mode);
        check(&x, vec![conv(), pad], vec![w(), ints("pads", &[0, 0, 1, 2, 0, 0, 2, 3])]);
    }
    let long = op("Pad", &["x", "pads"], "y").string("mode", "reflect");
    check(&[1, 3, 50], vec![long], vec![ints("pads", &[0, 0, 49, 0, 0, 30])]);
    let gather = op("Gather", &["a", "i"], "y").int("axis", 1);
    check(&x, vec![conv(), gather], vec![w(), ints("i", &[3, 0, 0, 2])]);
    let backwards = op("Slice", &["a", "s", "e", "axes", "steps"], "y");
    let constants = [("s", [-1, 4]), ("e", [i64::MIN, 1]), ("axes", [2, 3]), ("steps", [-2, -1])];
    let constants = constants.iter().map(|(name, values)| ints(name, values)).chain([w()]);
    check(&x, vec![conv(), backwards], constants.collect());
    check(&x, vec![conv(), op("Tile", &["a", "r"], "y")], vec![w(), ints("r", &[1, 2, 1, 3])]);
    let expand = vec![op("GlobalAveragePool", &["x"], "a"), op("Expand", &["a", "to"], "y")];
    check(&x, expand, vec![ints("to", &[1, 4, 3, 2])]);
    for mode in ["DCR", "CRD"] {
        let nodes = || vec![conv(), op("DepthToSpace", &["a"], "y").int("blocksize", 2).string("mode", mode)];
        check(&x, nodes(), vec![tensor("w", &[8, 4, 1, 1])]);
    }
    check(&[1, 4, 6, 8], vec![conv(), op("SpaceToDepth", &["a"], "y").int("blocksize", 2)], vec![w()]);
    // ShuffleNet's channel shuffle.
    let shuffle = vec![
        conv(),
        op("Reshape", &["a", "split"], "b"),
        op("Transpose", &["b"], "c").ints("perm", &[0, 2, 1, 3, 4]),
        op("Reshape", &["c", "whole"], "d"),
        op("Conv", &["d", "v"], "y").int("group", 2),
    ];
    let constants =
        vec![w(), tensor("v", &[4, 2, 1, 1]), ints("split", &[1, 2, 2, 6, 5]), ints("whole", &[1, 4, 6, 5])];
    check(&x, shuffle, constants);
    let split = Node(pb::NodeProto {
        output: vec!["b".into(), "c".into()],
        ..op("Split", &["a", "sizes"], "b").int("axis", 1).0
    });
    let halves = vec![conv(), split, op("Mul", &["b", "c"], "y")];
    check(&x, halves, vec![tensor("w", &[6, 4, 1, 1]), ints("sizes", &[3, 3])]);
}

#[test]
fn comparisons_and_choices() {
    let x = [1, 4, 6, 5];
    let scalar = |name: &str, value: f32| floats(name, &[], &[value]);
    for name in ["Less", "LessOrEqual", "Greater", "GreaterOrEqual"] {
        let nodes = vec![op(name, &["x", "c"], "a"), op("Where", &["a", "x", "d"], "y")];
        check_opset(16, &x, nodes, vec![scalar("c", 0.25), scalar("d", -1.0)], 25.0);
    }
    let nodes = vec![
        op("Relu", &["x"], "a"),
        op("Sigmoid", &["x"], "b"),
        op("Greater", &["a", "b"], "c"),
        op("Not", &["c"], "d"),
        op("Where", &["d", "a", "b"], "y"),
    ];
    check(&x, nodes, vec![]);
    let extremes = |name: &str| vec![op("Neg", &["x"], "a"), op(name, &["x", "a", "c"], "y")];
    for name in ["Max", "Min", "Sum", "Mean"] {
        check(&x, extremes(name), vec![scalar("c", 0.3)]);
        check(&x, extremes(name), vec![tensor("c", &[4, 1, 1])]);
    }
    let prelu = vec![op("PRelu", &["x", "s"], "y")];
    check(&x, prelu, vec![floats("s", &[4, 1, 1], &[0.1, 0.2, -0.5, 0.0])]);
}

#[test]
fn normalizations_of_channels_and_groups() {
    let x = [1, 6, 5, 4];
    let parameters = || vec![tensor("scale", &[6]), tensor("shift", &[6])];
    check(&x, vec![op("InstanceNormalization", &["x", "scale", "shift"], "y")], parameters());
    let group = op("GroupNormalization", &["x", "scale", "shift"], "y").int("num_groups", 3);
    check_opset(21, &x, vec![group], parameters(), 30.0);
    check(&x, vec![op("LRN", &["x"], "y").int("size", 3).float("alpha", 0.5)], vec![]);
    let length = op("LpNormalization", &["x"], "y").int("axis", 1);
    check(&x, vec![length], vec![]);
}

#[test]
fn products_in_any_form() {
    let gemm = |inputs: &[&str]| op("Gemm", inputs, "y");
    check(
        &[8, 5],
        vec![gemm(&["x", "w", "c"]).int("transA", 1)],
        vec![tensor("w", &[8, 3]), tensor("c", &[5, 3])],
    );
    check(&[1, 4, 6], vec![op("MatMul", &["w", "x"], "y")], vec![tensor("w", &[7, 4])]);
    check(&[1, 4, 6], vec![op("MatMul", &["x", "w"], "y")], vec![tensor("w", &[6])]);
    let vector = vec![op("Squeeze", &["x", "first"], "a"), op("MatMul", &["a", "w"], "y")];
    check(&[1, 12], vector, vec![ints("first", &[0]), tensor("w", &[12, 5])]);
}

#[test]
fn poolings_of_three_dimensions() {
    let x = [1, 2, 6, 5, 4];
    for name in ["MaxPool", "AveragePool"] {
        let pool = || op(name, &["x"], "y").ints("kernel_shape", &[2, 3, 2]);
        check(&x, vec![pool()], vec![]);
        let padded = pool().ints("strides", &[2, 1, 2]).ints("pads", &[1, 1, 0, 0, 1, 1]);
        check(&x, vec![padded], vec![]);
    }
}

#[test]
fn recurrent_layers_step_by_step() {
    let rnn = |hidden: i64| op("RNN", &["x", "w", "r", "b"], "y").int("hidden_size", hidden);
    let constants = |gates: i64| {
        vec![
            tensor("w", &[1, 4 * gates, 6]),
            tensor("r", &[1, 4 * gates, 4]),
            tensor("b", &[1, 8 * gates]),
            tensor("h", &[1, 2, 4]),
        ]
    };
    check(&[5, 2, 6], vec![rnn(4)], constants(1));
    let reset_first = op("GRU", &["x", "w", "r", "b"], "y").int("hidden_size", 4);
    check_opset(13, &[5, 2, 6], vec![reset_first], constants(3), 25.0);
    let started = op("LSTM", &["x", "w", "r", "b", "", "a", "h"], "y").int("hidden_size", 4);
    let nodes = vec![op("Slice", &["x", "s", "e", "axes"], "part"), op("Tanh", &["part"], "a"), started];
    let mut all = constants(4);
    all.extend([ints("s", &[0, 0]), ints("e", &[1, 4]), ints("axes", &[0, 2])]);
    check_opset(13, &[3, 2, 6], nodes, all, 25.0);
}

#[test]
fn spectra_and_sums() {
    let half = || vec![ints("step", &[8]), tensor("window", &[16]), ints("length", &[16])];
    let frames = || op("STFT", &["x", "step", "window", "length"], "y");
    // tract computes no STFT: the same by a strided convolution, whose kernels are the window's spectrum.
    let bins = 9;
    let window: Vec<f32> = (0..16).map(|i| ((i * 37 % 19) as f32 - 9.0) / 20.0).collect();
    let turn = |row: usize, at: usize| {
        let angle = std::f64::consts::TAU * (row / 2 * at) as f64 / 16.0;
        (if row.is_multiple_of(2) { angle.cos() } else { -angle.sin() }) as f32 * window[at]
    };
    let kernels: Vec<f32> = (0..2 * bins * 16).map(|i| turn(i / 16, i % 16)).collect();
    let signal = [1, 64, 1];
    let baseline = vec![
        op("Transpose", &["x"], "a").ints("perm", &[0, 2, 1]),
        op("Conv", &["a", "k"], "b").ints("strides", &[8]),
        op("Transpose", &["b"], "c").ints("perm", &[0, 2, 1]),
        op("Reshape", &["c", "shape"], "y"),
    ];
    let constants = vec![floats("k", &[2 * bins as i64, 1, 16], &kernels), ints("shape", &[1, 7, 9, 2])];
    let model = operation::model(17, &signal, vec![frames()], half());
    operation::check_against(&signal, &model, &operation::model(17, &signal, baseline, constants), 30.0);
    let axis = || pb::TensorProto { dims: vec![], ..ints("axis", &[2]) };
    let sum = |flag: &str| op("CumSum", &["x", "axis"], "y").int(flag, 1);
    for flag in ["exclusive", "reverse", "none"] {
        let Node(mut node) = sum(flag);
        node.attribute.retain(|attribute| attribute.name != "none");
        check_opset(14, &[1, 4, 9], vec![Node(node)], vec![axis()], 30.0);
    }
}

/// As JAX writes it, over an axis that is not the last: in int8 the variance would be a difference of two
/// large numbers.
#[test]
fn layer_normalizations_by_moments() {
    for last in [false, true] {
        let axis = if last { 2 } else { 1 };
        let sum = |input: &str, output: &str| op("ReduceSum", &[input, "axis"], output).int("keepdims", 0);
        let nodes = vec![
            sum("x", "sum"),
            op("Mul", &["x", "x"], "square"),
            sum("square", "of squares"),
            op("Mul", &["of squares", "inverse"], "second"),
            op("Mul", &["sum", "inverse"], "mean"),
            op("Mul", &["mean", "mean"], "squared"),
            op("Sub", &["second", "squared"], "variance"),
            op("Max", &["zero", "variance"], "above"),
            op("Reshape", &["above", "kept"], "wide"),
            op("Add", &["wide", "epsilon"], "more"),
            op("Sqrt", &["more"], "root"),
            op("Reciprocal", &["root"], "factor"),
            op("Mul", &["factor", "gamma"], "both"),
            op("Reshape", &["mean", "kept"], "wide mean"),
            op("Sub", &["x", "wide mean"], "difference"),
            op("Mul", &["difference", "both"], "normal"),
            op("Add", &["normal", "beta"], "y"),
        ];
        let (size, kept, shape) = match last {
            false => (24, [1, 1, 10], [1, 24, 1]),
            true => (10, [1, 24, 1], [1, 1, 10]),
        };
        let constants = vec![
            ints("axis", &[axis]),
            floats("inverse", &[], &[1.0 / size as f32]),
            floats("zero", &[], &[0.0]),
            floats("epsilon", &[], &[1e-6]),
            ints("kept", &kept),
            tensor("gamma", &shape),
            tensor("beta", &shape),
        ];
        check(&[1, 24, 10], nodes, constants);
    }
}
