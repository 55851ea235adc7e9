//! Every pass, and all of them together, leave the function of a graph as it was.

use super::*;
use crate::evaluate::evaluate;
use crate::graph::*;
use crate::testing::Build;
use crate::unary::Unary;

trait Layers {
    fn conv(&mut self, input: ValueId, channels: [usize; 2], pads: [usize; 4], dims: &[usize]) -> ValueId;
    fn batch_norm(&mut self, input: ValueId, channels: usize, dims: &[usize]) -> ValueId;
    fn check(self, output: ValueId, pass: fn(&mut Graph), expected: &[&str]);
}

impl Layers for Build {
    fn conv(&mut self, input: ValueId, channels: [usize; 2], pads: [usize; 4], dims: &[usize]) -> ValueId {
        let weights = self.random(channels[0] * channels[1] * 9);
        let bias = self.random(channels[1]);
        let window = Window { kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pads };
        let weights = Tensor::new(vec![channels[1], channels[0], 3, 3], weights);
        self.node(Op::Conv(Conv { weights, bias, window, groups: 1 }), &[input], dims)
    }

    fn batch_norm(&mut self, input: ValueId, channels: usize, dims: &[usize]) -> ValueId {
        let (scale, shift) = (self.random(channels), self.random(channels));
        self.node(Op::ChannelAffine { scale, shift }, &[input], dims)
    }

    /// Runs `pass` and checks that it changed the nodes to `expected`, and nothing of the result.
    fn check(mut self, output: ValueId, pass: fn(&mut Graph), expected: &[&str]) {
        self.graph.outputs.push(output);
        let input = self.random(self.graph.dims(self.graph.inputs[0]).iter().product());
        let before = evaluate(&self.graph, &[&input], |_, _| {});
        pass(&mut self.graph);
        self.graph.remove_dead();
        let after = evaluate(&self.graph, &[&input], |_, _| {});
        for (a, b) in before[0].iter().zip(&after[0]) {
            assert!((a - b).abs() <= 1e-5 * (1.0 + a.abs()), "{a} became {b}");
        }
        assert_eq!(before[0].len(), after[0].len());
        let kinds: Vec<&str> = self.graph.nodes.iter().map(kind).collect();
        assert_eq!(kinds, expected);
    }
}

fn kind(node: &Node) -> &'static str {
    match node.op {
        Op::Conv(ref conv) if conv.groups > 1 => "depthwise",
        Op::Conv(_) if node.inputs.len() > 1 && node.clamp != Clamp::NONE => "conv+add+clamp",
        Op::Conv(_) if node.inputs.len() > 1 => "conv+add",
        Op::Conv(_) if node.clamp != Clamp::NONE => "conv+clamp",
        Op::Conv(_) => "conv",
        Op::FullyConnected(_) if node.inputs.len() > 1 => "fc+add",
        Op::FullyConnected(_) => "fc",
        Op::ChannelAffine { .. } => "affine",
        Op::Binary(_) if node.clamp != Clamp::NONE => "binary+clamp",
        Op::Binary(_) => "binary",
        Op::Unary(_) => "unary",
        Op::Pad { .. } => "pad",
        Op::LayerNorm(_) => "layer norm",
        Op::ReduceMean { .. } => "mean",
        Op::Embed { .. } => "embed",
        Op::Take { .. } => "take",
        _ => "other",
    }
}

const RELU: Unary = Unary::Clip { min: 0.0, max: 0.5 };

#[test]
fn batch_norm_goes_into_the_convolution_before_it_and_stands_alone_elsewhere() {
    let dims = [1, 4, 5, 6];
    let (mut build, input) = Build::new(&[1, 3, 5, 6]);
    let x = build.batch_norm(input, 3, &[1, 3, 5, 6]);
    let x = build.conv(x, [3, 4], [1, 1, 1, 1], &dims);
    let x = build.batch_norm(x, 4, &dims);
    build.check(x, fold_batch_norm::fold_batch_norm, &["depthwise", "conv"]);
}

#[test]
fn batch_norm_after_a_convolution_that_others_read_stays() {
    let dims = [1, 4, 5, 6];
    let (mut build, input) = Build::new(&[1, 3, 5, 6]);
    let conv = build.conv(input, [3, 4], [1, 1, 1, 1], &dims);
    let x = build.batch_norm(conv, 4, &dims);
    let x = build.node(Op::Binary(BinaryKind::Add), &[conv, x], &dims);
    build.check(x, fold_batch_norm::fold_batch_norm, &["conv", "depthwise", "binary"]);
}

#[test]
fn constants_of_one_value_a_channel_become_weights() {
    let dims = [1, 4, 5, 6];
    let (mut build, input) = Build::new(&[1, 3, 5, 6]);
    let x = build.conv(input, [3, 4], [0, 1, 2, 1], &dims);
    let bias = build.constant(&[4, 1, 1]);
    let x = build.node(Op::Binary(BinaryKind::Sub), &[bias, x], &dims);
    let scale = build.constant(&[1, 4, 1, 1]);
    let x = build.node(Op::Binary(BinaryKind::Mul), &[x, scale], &dims);
    let x = build.node(Op::Unary(Unary::Affine { scale: -0.3, shift: 0.2 }), &[x], &dims);
    let x = build.node(Op::Unary(RELU), &[x], &dims);
    let x = build.node(Op::Binary(BinaryKind::Add), &[x, bias], &dims);
    build.check(x, fold_affine::fold_affine, &["conv", "unary", "depthwise"]);
}

#[test]
fn a_border_of_zeros_becomes_padding() {
    let (mut build, input) = Build::new(&[1, 3, 5, 6]);
    let pads = vec![[0, 0], [0, 0], [0, 1], [2, 0]];
    let x = build.node(Op::Pad { pads, value: 0.0 }, &[input], &[1, 3, 6, 8]);
    let x = build.conv(x, [3, 4], [1, 0, 0, 1], &[1, 4, 5, 7]);
    build.check(x, fuse_pad::fuse_pad, &["conv"]);
}

#[test]
fn activations_become_bounds_and_chains_become_one_table() {
    let dims = [1, 4, 5, 6];
    let (mut build, input) = Build::new(&[1, 3, 5, 6]);
    let conv = build.conv(input, [3, 4], [1, 1, 1, 1], &dims);
    let x = build.node(Op::Unary(RELU), &[conv], &dims);
    let gate = build.node(Op::Unary(Unary::Affine { scale: 1.0, shift: 3.0 }), &[x], &dims);
    let gate = build.node(Op::Unary(Unary::Clip { min: 0.0, max: 6.0 }), &[gate], &dims);
    let gate = build.node(Op::Unary(Unary::Affine { scale: 1.0 / 6.0, shift: 0.0 }), &[gate], &dims);
    let x = build.node(Op::Binary(BinaryKind::Mul), &[gate, x], &dims);
    build.check(x, run, &["conv+clamp", "unary"]);
}

#[test]
fn sums_and_products_of_functions_of_one_tensor_become_one_table() {
    let dims = [1, 4, 5, 6];
    let gelu = |swap: bool| {
        let (mut build, input) = Build::new(&[1, 3, 5, 6]);
        let x = build.conv(input, [3, 4], [1, 1, 1, 1], &dims);
        let erf = build.node(Op::Unary(Unary::Erf), &[x], &dims);
        let sum = build.node(Op::Unary(Unary::Affine { scale: 1.0, shift: 1.0 }), &[erf], &dims);
        let half = build.node(Op::Unary(Unary::Affine { scale: 0.5, shift: 0.0 }), &[x], &dims);
        let operands = if swap { [sum, half] } else { [half, sum] };
        (build.node(Op::Binary(BinaryKind::Mul), &operands, &dims), build)
    };
    for swap in [false, true] {
        let (x, build) = gelu(swap);
        build.check(x, fuse_functions::fuse_functions, &["conv", "unary"]);
    }
    // A square, and a function that both operands are.
    let (mut build, input) = Build::new(&dims);
    let x = build.node(Op::Unary(Unary::Tanh), &[input], &dims);
    let x = build.node(Op::Binary(BinaryKind::Sub), &[x, x], &dims);
    let x = build.node(Op::Binary(BinaryKind::Add), &[x, input], &dims);
    let x = build.node(Op::Binary(BinaryKind::Mul), &[x, x], &dims);
    build.check(x, fuse_functions::fuse_functions, &["unary"]);
}

#[test]
fn functions_that_others_read_stay() {
    let dims = [1, 4, 5, 6];
    let (mut build, input) = Build::new(&dims);
    let tanh = build.node(Op::Unary(Unary::Tanh), &[input], &dims);
    let other = build.node(Op::Unary(Unary::Sigmoid), &[tanh], &dims);
    let conv = build.conv(tanh, [4, 4], [1, 1, 1, 1], &dims);
    let x = build.node(Op::Binary(BinaryKind::Mul), &[conv, other], &dims);
    build.check(x, fuse_functions::fuse_functions, &["unary", "unary", "conv", "binary"]);
}

/// A layer normalization in primitives; with it, the difference from the mean.
fn layer_norm(axis: usize) -> (Build, ValueId, ValueId) {
    let dims = [2, 5, 6];
    let (mut build, input) = Build::new(&dims);
    let mut mean = dims;
    mean[axis..].fill(1);
    let reduce = || Op::ReduceMean { first: axis, count: 3 - axis };
    let average = build.node(reduce(), &[input], &mean);
    let difference = build.node(Op::Binary(BinaryKind::Sub), &[input, average], &dims);
    let square = build.node(Op::Unary(Unary::Pow { exponent: 2.0 }), &[difference], &dims);
    let variance = build.node(reduce(), &[square], &mean);
    let sum = build.node(Op::Unary(Unary::Affine { scale: 1.0, shift: 0.01 }), &[variance], &mean);
    let root = build.node(Op::Unary(Unary::Sqrt), &[sum], &mean);
    let reciprocal = build.node(Op::Unary(Unary::Reciprocal), &[root], &mean);
    let normal = build.node(Op::Binary(BinaryKind::Mul), &[difference, reciprocal], &dims);
    (build, difference, normal)
}

#[test]
fn a_layer_normalization_in_primitives_becomes_one() {
    for axis in [1, 2] {
        let dims = [2, 5, 6];
        let (build, _, normal) = layer_norm(axis);
        build.check(normal, fuse_layer_norm::fuse_layer_norm, &["layer norm"]);
        let (mut build, _, normal) = layer_norm(axis);
        let gamma = build.constant(&dims[axis..]);
        let scaled = build.node(Op::Binary(BinaryKind::Mul), &[gamma, normal], &dims);
        let beta = build.constant(&dims[axis..]);
        let x = build.node(Op::Binary(BinaryKind::Add), &[scaled, beta], &dims);
        build.check(x, fuse_layer_norm::fuse_layer_norm, &["layer norm"]);
        // A constant of another shape is no parameter.
        let (mut build, _, normal) = layer_norm(axis);
        let constant = build.constant(&[5, 1]);
        let x = build.node(Op::Binary(BinaryKind::Mul), &[normal, constant], &dims);
        build.check(x, fuse_layer_norm::fuse_layer_norm, &["layer norm", "binary"]);
    }
}

#[test]
fn a_difference_that_others_read_is_still_computed() {
    let (mut build, difference, normal) = layer_norm(2);
    let x = build.node(Op::Binary(BinaryKind::Add), &[normal, difference], &[2, 5, 6]);
    build.check(x, fuse_layer_norm::fuse_layer_norm, &["mean", "binary", "layer norm", "binary"]);
}

#[test]
fn a_sum_becomes_a_part_of_the_later_of_two_products() {
    let (dims, pads) = ([1, 4, 5, 6], [1, 1, 1, 1]);
    let (add, relu) = (|| Op::Binary(BinaryKind::Add), || Op::Unary(RELU));
    // The input itself, and bounds behind the sum.
    let (mut build, input) = Build::new(&dims);
    let conv = build.conv(input, [4, 4], pads, &dims);
    let sum = build.node(add(), &[conv, input], &dims);
    let x = build.node(relu(), &[sum], &dims);
    build.check(x, run, &["conv+add+clamp"]);
    // On either side; two products, of which the second adds the first; a sum of three.
    let (mut build, input) = Build::new(&dims);
    let a = build.conv(input, [4, 4], pads, &dims);
    let b = build.conv(input, [4, 4], pads, &dims);
    let sum = build.node(add(), &[b, a], &dims);
    let x = build.node(add(), &[input, sum], &dims);
    build.check(x, run, &["conv", "conv+add", "binary"]);
    let (mut build, input) = Build::new(&[3, 8]);
    let weights = Tensor::new(vec![8, 8], build.random(64));
    let bias = build.random(8);
    let product = build.node(Op::FullyConnected(FullyConnected { weights, bias }), &[input], &[3, 8]);
    let x = build.node(add(), &[input, product], &[3, 8]);
    build.check(x, run, &["fc+add"]);
}

#[test]
fn a_sum_that_a_product_cannot_take_stays() {
    let (dims, pads) = ([1, 4, 5, 6], [1, 1, 1, 1]);
    let add = || Op::Binary(BinaryKind::Add);
    // Others read the product.
    let (mut build, input) = Build::new(&dims);
    let conv = build.conv(input, [4, 4], pads, &dims);
    let sum = build.node(add(), &[conv, input], &dims);
    let x = build.node(Op::Binary(BinaryKind::Mul), &[sum, conv], &dims);
    build.check(x, run, &["conv", "binary", "binary"]);
    // It has bounds.
    let (mut build, input) = Build::new(&dims);
    let conv = build.conv(input, [4, 4], pads, &dims);
    let conv = build.node(Op::Unary(RELU), &[conv], &dims);
    let x = build.node(add(), &[conv, input], &dims);
    build.check(x, run, &["conv+clamp", "binary"]);
    // The other one comes later, and is no product.
    let (mut build, input) = Build::new(&dims);
    let conv = build.conv(input, [4, 4], pads, &dims);
    let late = build.node(Op::Unary(Unary::Tanh), &[input], &dims);
    let x = build.node(add(), &[conv, late], &dims);
    build.check(x, run, &["conv", "unary", "binary"]);
    // It is broadcast, twice the same, or a depthwise convolution.
    let (mut build, input) = Build::new(&[1, 4, 1, 1]);
    let conv = build.conv(input, [4, 4], pads, &[1, 4, 1, 1]);
    let wide = build.constant(&dims);
    let wide = build.node(add(), &[wide, input], &dims);
    let x = build.node(add(), &[conv, wide], &dims);
    let twice = build.node(add(), &[x, x], &dims);
    build.check(twice, fuse_addition::fuse_addition, &["conv", "binary", "binary", "binary"]);
    let (mut build, input) = Build::new(&dims);
    let depthwise = build.batch_norm(input, 4, &dims);
    let x = build.node(add(), &[depthwise, input], &dims);
    build.check(x, run, &["depthwise", "binary"]);
}

/// Integers from -8 to 8, as a product with a one-hot row reads them; and the value of the product.
fn one_hot(build: &mut Build, input: ValueId, first: f32, values: Unary) -> ValueId {
    let integers = Unary::Affine { scale: 8.0, shift: 0.0 }.then(Unary::Trunc);
    let ids = build.node(Op::Unary(integers), &[input], &[1, 6, 1]);
    let repeated = vec![None, None, Some(vec![0; 5].into())];
    let ids = build.node(Op::Take { indices: repeated }, &[ids], &[1, 6, 5]);
    let count = build.constant(&[1, 1, 5]);
    let counted = (0..5).map(|i| first + i as f32).collect();
    build.graph.values[count.0].constant = Some(Tensor::new(vec![1, 1, 5], counted));
    let equal = BinaryKind::Compare(crate::unary::Comparison::Equal);
    let mut one_hot = build.node(Op::Binary(equal), &[ids, count], &[1, 6, 5]);
    if values != Unary::IDENTITY {
        one_hot = build.node(Op::Unary(values), &[one_hot], &[1, 6, 5]);
    }
    let (weights, bias) = (Tensor::new(vec![3, 5], build.random(15)), build.random(3));
    build.node(Op::FullyConnected(FullyConnected { weights, bias }), &[one_hot], &[1, 6, 3])
}

#[test]
fn a_product_with_a_one_hot_row_is_a_row_of_a_table_and_one_more_for_other_integers() {
    for (first, values) in
        [(0.0, Unary::IDENTITY), (-2.0, Unary::Affine { scale: 1.5, shift: -0.25 }), (3.0, Unary::IDENTITY)]
    {
        let (mut build, input) = Build::new(&[1, 6, 1]);
        let output = one_hot(&mut build, input, first, values);
        build.check(output, fuse_one_hot::fuse_one_hot, &["unary", "unary", "embed"]);
    }
    // A one-hot row that something else reads is needed itself.
    let (mut build, input) = Build::new(&[1, 6, 1]);
    let product = one_hot(&mut build, input, 0.0, Unary::IDENTITY);
    let one_hot = build.graph.nodes.last().unwrap().inputs[0];
    let both = build.node(Op::Concat { axis: 2 }, &[product, one_hot], &[1, 6, 8]);
    build.check(both, fuse_one_hot::fuse_one_hot, &["unary", "take", "binary", "fc", "other"]);
}

#[test]
fn what_follows_a_table_element_by_element_is_done_to_it() {
    let (mut build, input) = Build::new(&[1, 6, 1]);
    let integers = Unary::Affine { scale: 8.0, shift: 0.0 }.then(Unary::Trunc);
    let ids = build.node(Op::Unary(integers), &[input], &[1, 6, 1]);
    let table = Tensor::new(vec![7, 3], build.random(21));
    let x = build.node(Op::Embed { table }, &[ids], &[1, 6, 3]);
    let (by_column, all) = (build.constant(&[1, 1, 3]), build.constant(&[1]));
    let x = build.node(Op::Binary(BinaryKind::Sub), &[by_column, x], &[1, 6, 3]);
    let x = build.node(Op::Binary(BinaryKind::Mul), &[x, all], &[1, 6, 3]);
    let x = build.node(Op::Unary(Unary::Tanh), &[x], &[1, 6, 3]);
    // A constant for each token is none for each column.
    let by_token = build.constant(&[1, 6, 1]);
    let x = build.node(Op::Binary(BinaryKind::Add), &[x, by_token], &[1, 6, 3]);
    build.check(x, fuse_one_hot::fold_table, &["unary", "embed", "binary"]);
}
