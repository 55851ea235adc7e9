//! Derivatives of a graph in f32 by its constants: reverse accumulation, a node at a time.

use super::window::{inside, lines};
use super::{ConvSizes, Strided, broadcast_strides, columns, evaluate_op, gemm, strides};
use crate::graph::{BinaryKind, Clamp, Conv, FullyConnected, Graph, Node, Op, PoolKind, ValueId, as_nchw};

/// Derivatives by a product's weights and biases, in the order in which the node has them.
#[derive(Clone, Debug, Default)]
pub struct Constants {
    /// `[channels, k]`
    pub weights: Vec<f32>,
    /// `[channels]`
    pub bias: Vec<f32>,
}

/// Indices are counted in f32, which is exact so far.
const COUNTED: usize = 1 << 24;

/// Whether what a node reads can be derived by.
pub fn has_gradient(graph: &Graph, node: &Node) -> bool {
    match node.op {
        // A division is one of integers.
        Op::Binary(kind) => kind != BinaryKind::Div,
        Op::Conv(_) | Op::FullyConnected(_) | Op::ChannelAffine { .. } | Op::Unary(_) | Op::Select => true,
        Op::Pool(..) | Op::ReduceMean { .. } | Op::Softmax { .. } | Op::Cast => true,
        Op::Reshape | Op::Transpose { .. } | Op::Slice { .. } | Op::Take { .. } | Op::Concat { .. } => {
            let elems = |id: &ValueId| graph.dims(*id).iter().product::<usize>();
            node.inputs.iter().map(elems).sum::<usize>() < COUNTED
        }
        _ => false,
    }
}

/// Adds to `constants` (by node; empty for those that have none) the derivatives of a loss, whose derivatives by
/// some values are `seeds`. `values` are those of one sample, by value, as [`super::evaluate`] shows them. Every
/// node must have a gradient.
pub fn backward(
    graph: &Graph,
    values: &[Vec<f32>],
    seeds: Vec<(ValueId, Vec<f32>)>,
    constants: &mut [Constants],
) {
    let mut by_value: Vec<Option<Vec<f32>>> = vec![None; graph.values.len()];
    for (id, seed) in seeds {
        add(&mut by_value[id.0], seed);
    }
    let is_known = |id: ValueId| graph.value(id).constant.is_some() || graph.inputs.contains(&id);
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        let Some(mut by_output) = by_value[node.output.0].take() else { continue };
        if node.clamp != Clamp::NONE {
            let through = |y: f32| y > node.clamp.min && y < node.clamp.max;
            let result = values[node.output.0].iter();
            by_output.iter_mut().zip(result).filter(|(_, y)| !through(**y)).for_each(|(d, _)| *d = 0.0);
        }
        let operand = |id: ValueId| match &graph.value(id).constant {
            Some(constant) => &constant.data[..],
            None => &values[id.0][..],
        };
        let (input, output_dims) = (node.inputs[0], graph.dims(node.output));
        let (x, dims) = (operand(input), graph.dims(input));
        let of_inputs: Vec<Vec<f32>> = match &node.op {
            Op::Conv(conv) => {
                let own = by_conv(conv, x, dims, output_dims, &by_output, &mut constants[index]);
                added(node, own, by_output)
            }
            Op::FullyConnected(fc) => {
                let own = by_fully_connected(fc, x, &by_output, &mut constants[index]);
                added(node, own, by_output)
            }
            Op::ChannelAffine { scale, .. } => {
                let [_, channels, h, w] = as_nchw(dims).unwrap_or([1, scale.len(), 1, 1]);
                let each = by_output.iter().enumerate();
                vec![each.map(|(i, d)| d * scale[i / (h * w) % channels]).collect()]
            }
            Op::Binary(kind) => {
                let ids = [node.inputs[0], node.inputs[1]];
                let steps = ids.map(|id| broadcast_strides(graph.dims(id), output_dims));
                let mut results = ids.map(|id| vec![0.0; operand(id).len()]);
                let [left, right] = steps.each_ref().map(|steps| Strided::new(output_dims, steps));
                for ((a, b), d) in left.zip(right).zip(&by_output) {
                    let [by_a, by_b] = match kind {
                        BinaryKind::Add => [*d, *d],
                        BinaryKind::Sub => [*d, -d],
                        BinaryKind::Mul => [d * operand(ids[1])[b], d * operand(ids[0])[a]],
                        BinaryKind::Div | BinaryKind::Compare(_) => [0.0; 2],
                    };
                    results[0][a] += by_a;
                    results[1][b] += by_b;
                }
                results.into()
            }
            Op::Select => {
                let steps = [0, 1, 2].map(|i| broadcast_strides(graph.dims(node.inputs[i]), output_dims));
                let mut results = [0, 1, 2].map(|i| vec![0.0; operand(node.inputs[i]).len()]);
                let [c, yes, no] = steps.each_ref().map(|steps| Strided::new(output_dims, steps));
                for (((c, yes), no), d) in c.zip(yes).zip(no).zip(&by_output) {
                    if x[c] != 0.0 { results[1][yes] += d } else { results[2][no] += d }
                }
                results.into()
            }
            Op::Unary(function) => {
                // By differences: there are many functions, and this need not be exact.
                let slope = |x: f32| {
                    let step = 1e-3 * (1.0 + x.abs());
                    (function.apply(x + step) - function.apply(x - step)) / (2.0 * step)
                };
                vec![x.iter().zip(&by_output).map(|(&x, d)| d * slope(x)).collect()]
            }
            Op::Pool(kind, _) => vec![by_pool(&node.op, *kind, x, dims, output_dims, &by_output)],
            Op::ReduceMean { first, count } => {
                let reduced: usize = dims[*first..first + count].iter().product();
                let inner: usize = dims[first + count..].iter().product();
                let at = |i: usize| i / (inner * reduced) * inner + i % inner;
                vec![(0..x.len()).map(|i| by_output[at(i)] / reduced as f32).collect()]
            }
            Op::Softmax { axis } => vec![by_softmax(&values[node.output.0], output_dims, *axis, &by_output)],
            Op::Cast => vec![by_output],
            op => by_moved(graph, node, op, &by_output),
        };
        for (&id, by_input) in node.inputs.iter().zip(of_inputs) {
            if !is_known(id) {
                add(&mut by_value[id.0], by_input);
            }
        }
    }
}

fn add(sum: &mut Option<Vec<f32>>, more: Vec<f32>) {
    match sum {
        Some(sum) => sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more),
        None => *sum = Some(more),
    }
}

/// What a product adds to its result has the result's derivatives.
fn added(node: &Node, own: Vec<f32>, by_output: Vec<f32>) -> Vec<Vec<f32>> {
    if node.inputs.len() > 1 { vec![own, by_output] } else { vec![own] }
}

fn by_conv(
    conv: &Conv,
    input: &[f32],
    dims: &[usize],
    output_dims: &[usize],
    by_output: &[f32],
    constants: &mut Constants,
) -> Vec<f32> {
    let sizes = ConvSizes::of(conv, dims, output_dims);
    let (window, k, n) = (&conv.window, sizes.k(&conv.window), sizes.group_out);
    let pixels = sizes.output[0] * sizes.output[1];
    let [channels, h, w] = sizes.image;
    let taps = window.kernel[0] * window.kernel[1];
    let mut by_input = vec![0.0; input.len()];
    let (mut room, mut by_columns) = (Vec::new(), Vec::new());
    let images = input.chunks_exact(channels * h * w).zip(by_input.chunks_exact_mut(channels * h * w));
    for ((image, by_image), by_output) in images.zip(by_output.chunks_exact(conv.groups * n * pixels)) {
        for group in 0..conv.groups {
            let by_output = &by_output[group * n * pixels..][..n * pixels];
            let bias = constants.bias[group * n..][..n].iter_mut().zip(by_output.chunks_exact(pixels));
            bias.for_each(|(bias, by)| *bias += by.iter().sum::<f32>());
            if [sizes.group_in, n] == [1, 1] {
                let weights = &conv.weights.data[group * taps..][..taps];
                let by_weights = &mut constants.weights[group * taps..][..taps];
                let planes = [&image[group * h * w..][..h * w], by_output];
                by_depthwise(conv, &sizes, planes, weights, by_weights, &mut by_image[group * h * w..]);
                continue;
            }
            let columns = columns(window, &sizes, image, group, &mut room);
            let by_weights = &mut constants.weights[group * n * k..][..n * k];
            gemm([n, pixels, k], by_output, (pixels as isize, 1), columns, (1, pixels as isize), by_weights);
            by_columns.clear();
            by_columns.resize(k * pixels, 0.0);
            let weights = &conv.weights.data[group * n * k..][..n * k];
            let own = (pixels as isize, 1);
            gemm([k, n, pixels], weights, (1, k as isize), by_output, own, &mut by_columns);
            for (i, by) in by_columns.chunks_exact(pixels).enumerate() {
                let plane = &mut by_image[(group * sizes.group_in + i / taps) * h * w..][..h * w];
                let tap = [i % taps / window.kernel[1], i % taps % window.kernel[1]];
                for (line, read, written) in lines(window, &sizes, tap) {
                    let to = plane[line * w + read..(line + 1) * w].iter_mut().step_by(window.stride[1]);
                    to.zip(&by[written.0..written.1]).for_each(|(to, by)| *to += by);
                }
            }
        }
    }
    by_input
}

/// Of one channel, given its plane and the derivatives by its result: products of one row are slow.
fn by_depthwise(
    conv: &Conv,
    sizes: &ConvSizes,
    [plane, by_output]: [&[f32]; 2],
    weights: &[f32],
    by_weights: &mut [f32],
    by_plane: &mut [f32],
) {
    let (window, w, stride) = (&conv.window, sizes.image[2], conv.window.stride[1]);
    for (tap, (weight, by_weight)) in weights.iter().zip(by_weights).enumerate() {
        for (line, read, written) in lines(window, sizes, [tap / window.kernel[1], tap % window.kernel[1]]) {
            let (x, by) = (&plane[line * w + read..(line + 1) * w], &by_output[written.0..written.1]);
            let to = by_plane[line * w + read..(line + 1) * w].iter_mut().step_by(stride);
            to.zip(by).for_each(|(to, by)| *to += weight * by);
            *by_weight += x.iter().step_by(stride).zip(by).map(|(x, by)| x * by).sum::<f32>();
        }
    }
}

fn by_fully_connected(
    fc: &FullyConnected,
    x: &[f32],
    by_output: &[f32],
    constants: &mut Constants,
) -> Vec<f32> {
    let (n, k) = (fc.weights.dims[0], fc.weights.dims[1]);
    let rows = x.len() / k;
    for by in by_output.chunks_exact(n) {
        constants.bias.iter_mut().zip(by).for_each(|(sum, by)| *sum += by);
    }
    gemm([n, rows, k], by_output, (1, n as isize), x, (k as isize, 1), &mut constants.weights);
    let mut by_input = vec![0.0; x.len()];
    gemm([rows, n, k], by_output, (n as isize, 1), &fc.weights.data, (k as isize, 1), &mut by_input);
    by_input
}

fn by_pool(
    op: &Op,
    kind: PoolKind,
    x: &[f32],
    dims: &[usize],
    output_dims: &[usize],
    by_output: &[f32],
) -> Vec<f32> {
    let Op::Pool(_, window) = op else { return Vec::new() };
    let [_, _, h, w] = as_nchw(dims).unwrap_or_default();
    let [_, _, out_h, out_w] = as_nchw(output_dims).unwrap_or_default();
    let mut result = vec![0.0; x.len()];
    let counted = |axis: usize, output: usize, size: usize| {
        let end = window.pads[axis] + size + window.pads[2 + axis];
        let start = output * window.stride[axis];
        (0..window.kernel[axis]).filter(|k| start + k * window.dilation[axis] < end).count()
    };
    let planes = x.chunks_exact(h * w).zip(result.chunks_exact_mut(h * w));
    for ((plane, result), by_output) in planes.zip(by_output.chunks_exact(out_h * out_w)) {
        for (pixel, by) in by_output.iter().enumerate() {
            let (oy, ox) = (pixel / out_w, pixel % out_w);
            let columns: Vec<usize> = inside(window, 1, ox, w).map(|(_, x)| x).collect();
            let all = inside(window, 0, oy, h).flat_map(|(_, y)| columns.iter().map(move |x| y * w + x));
            let all: Vec<usize> = all.collect();
            match kind {
                PoolKind::Max => {
                    let largest = all.into_iter().max_by(|&a, &b| plane[a].total_cmp(&plane[b]));
                    largest.into_iter().for_each(|at| result[at] += by);
                }
                PoolKind::Average { count_include_pad } => {
                    let count = match count_include_pad {
                        true => counted(0, oy, h) * counted(1, ox, w),
                        false => all.len(),
                    };
                    all.into_iter().for_each(|at| result[at] += by / count.max(1) as f32);
                }
            }
        }
    }
    result
}

fn by_softmax(y: &[f32], dims: &[usize], axis: usize, by_output: &[f32]) -> Vec<f32> {
    let (channels, inner) = (dims[axis], strides(dims)[axis]);
    let mut result = vec![0.0; y.len()];
    for start in (0..y.len()).step_by(channels * inner) {
        for i in start..start + inner {
            let at = |c: usize| i + c * inner;
            let sum: f32 = (0..channels).map(|c| y[at(c)] * by_output[at(c)]).sum();
            (0..channels).for_each(|c| result[at(c)] = y[at(c)] * (by_output[at(c)] - sum));
        }
    }
    result
}

/// Of a node whose result consists of elements of its operands: it tells where they lie by moving indices.
fn by_moved(graph: &Graph, node: &Node, op: &Op, by_output: &[f32]) -> Vec<Vec<f32>> {
    let mut indices: Vec<Vec<f32>> = Vec::new();
    let mut first = 0;
    for id in &node.inputs {
        let elems: usize = graph.dims(*id).iter().product();
        indices.push((first..first + elems).map(|i| i as f32).collect());
        first += elems;
    }
    let operands: Vec<&[f32]> = indices.iter().map(Vec::as_slice).collect();
    let places = evaluate_op(graph, op, &node.inputs, node.output, &operands);
    let mut all = vec![0.0; first];
    places.iter().zip(by_output).for_each(|(&place, by)| all[place as usize] += by);
    let mut rest = &all[..];
    let mut results = Vec::new();
    for of in &indices {
        let (own, others) = rest.split_at(of.len());
        results.push(own.to_vec());
        rest = others;
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::evaluate;
    use crate::graph::{Precision, Tensor, Window};
    use crate::unary::Unary;

    fn wave(n: usize, phase: f32) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * 1.7 + phase).sin()).collect()
    }

    fn push(graph: &mut Graph, op: Op, inputs: &[ValueId], dims: &[usize]) -> ValueId {
        let output = graph.add_value(format!("v{}", graph.nodes.len()), dims.to_vec());
        graph.nodes.push(Node {
            name: format!("n{}", graph.nodes.len()),
            onnx_op: "Test".into(),
            op,
            inputs: inputs.to_vec(),
            output,
            clamp: Clamp::NONE,
            precision: Precision::Int8,
            merged: vec![],
        });
        output
    }

    fn conv(dims: [usize; 4], groups: usize, stride: usize, phase: f32) -> Op {
        let weights = Tensor::new(dims.to_vec(), wave(dims.iter().product(), phase));
        let side = dims[2];
        let window = Window { kernel: [side; 2], stride: [stride; 2], dilation: [1, 1], pads: [side / 2; 4] };
        Op::Conv(Conv { weights, bias: wave(dims[0], phase + 1.0), window, groups })
    }

    /// Every operation that has a gradient.
    fn network() -> Graph {
        let mut graph = Graph::default();
        let x = graph.add_value("x", vec![1, 3, 6, 6]);
        graph.inputs.push(x);
        let full = [1, 4, 6, 6];
        let a = push(&mut graph, conv([4, 3, 3, 3], 1, 1, 0.1), &[x], &full);
        graph.nodes[0].clamp = Clamp { min: -1.5, max: 1.5 };
        let b = push(&mut graph, conv([4, 1, 3, 3], 4, 1, 0.2), &[a], &full);
        let c = push(&mut graph, conv([4, 2, 1, 1], 2, 1, 0.3), &[b, a], &full);
        let gate = push(&mut graph, Op::ReduceMean { first: 2, count: 2 }, &[c], &[1, 4, 1, 1]);
        let gate = push(&mut graph, Op::Unary(Unary::Sigmoid), &[gate], &[1, 4, 1, 1]);
        let d = push(&mut graph, Op::Binary(BinaryKind::Mul), &[c, gate], &full);
        let d = push(&mut graph, Op::Binary(BinaryKind::Sub), &[d, b], &full);
        let e = push(&mut graph, conv([4, 4, 3, 3], 1, 2, 0.4), &[d], &[1, 4, 3, 3]);
        let window = Window { kernel: [2, 2], stride: [1, 1], dilation: [1, 1], pads: [0, 0, 1, 1] };
        let (max, mean) = (PoolKind::Max, PoolKind::Average { count_include_pad: false });
        let p = push(&mut graph, Op::Pool(max, window), &[e], &[1, 4, 3, 3]);
        let q = push(&mut graph, Op::Pool(mean, window), &[e], &[1, 4, 3, 3]);
        let f = push(&mut graph, Op::Concat { axis: 1 }, &[p, q], &[1, 8, 3, 3]);
        let (scale, shift) = (wave(8, 0.5), wave(8, 0.6));
        let f = push(&mut graph, Op::ChannelAffine { scale, shift }, &[f], &[1, 8, 3, 3]);
        let f = push(&mut graph, Op::Transpose { perm: vec![0, 2, 3, 1] }, &[f], &[1, 3, 3, 8]);
        let slice = Op::Slice { starts: vec![0, 0, 1, 0], steps: vec![1, 2, 1, 1] };
        let f = push(&mut graph, slice, &[f], &[1, 2, 2, 8]);
        let f = push(&mut graph, Op::Reshape, &[f], &[4, 8]);
        let weights = Tensor::new(vec![5, 8], wave(40, 0.7));
        let f = push(
            &mut graph,
            Op::FullyConnected(FullyConnected { weights, bias: wave(5, 0.8) }),
            &[f],
            &[4, 5],
        );
        let f = push(&mut graph, Op::Softmax { axis: 1 }, &[f], &[4, 5]);
        graph.outputs.push(f);
        graph
    }

    #[test]
    fn derivatives_are_those_of_differences() {
        let graph = network();
        assert!(graph.nodes.iter().all(|node| has_gradient(&graph, node)));
        let (input, factors) = (wave(108, 0.9), wave(20, 2.0));
        let loss = |graph: &Graph| {
            let outputs = evaluate(graph, &[&input], |_, _| {});
            outputs[0].iter().zip(&factors).map(|(x, f)| f64::from(x * f)).sum::<f64>()
        };
        let mut values = vec![Vec::new(); graph.values.len()];
        evaluate(&graph, &[&input], |id, value| values[id.0] = value.to_vec());
        let constants = |node: &Node| match &node.op {
            Op::Conv(conv) => [conv.weights.data.to_vec(), conv.bias.clone()],
            Op::FullyConnected(fc) => [fc.weights.data.to_vec(), fc.bias.clone()],
            _ => [vec![], vec![]],
        };
        let mut derived: Vec<Constants> = (graph.nodes.iter().map(constants))
            .map(|[w, b]| Constants { weights: vec![0.0; w.len()], bias: vec![0.0; b.len()] })
            .collect();
        backward(&graph, &values, vec![(graph.outputs[0], factors.clone())], &mut derived);
        let mut compared = 0;
        for (index, node) in graph.nodes.iter().enumerate() {
            let [weights, bias] = constants(node);
            for at in (0..weights.len() + bias.len()).step_by(3) {
                let by = |step: f32| {
                    let mut moved = graph.clone();
                    let (w, b) = match &mut moved.nodes[index].op {
                        Op::Conv(conv) => (&mut conv.weights, &mut conv.bias),
                        Op::FullyConnected(fc) => (&mut fc.weights, &mut fc.bias),
                        _ => unreachable!("it has constants"),
                    };
                    let mut data = w.data.to_vec();
                    *(data.iter_mut().chain(b.iter_mut()).nth(at).expect("it is one of them")) += step;
                    *w = Tensor::new(w.dims.clone(), data);
                    loss(&moved)
                };
                let difference = (by(1e-3) - by(-1e-3)) / 2e-3;
                let all = derived[index].weights.iter().chain(&derived[index].bias);
                let own = f64::from(*all.clone().nth(at).expect("it is one of them"));
                // Differences in f32 have an error of about 1e-4, and some step over a bend (a bound, a maximum).
                let close = (own - difference).abs() < 2e-3 * (1.0 + difference.abs());
                compared += usize::from(close);
                let far = (own - difference).abs() > 0.1 * (1.0 + difference.abs());
                assert!(!far, "{} at {at}: {own}, by differences {difference}", node.name);
            }
        }
        assert!(compared > 110, "{compared} of about 120 are close");
    }
}
