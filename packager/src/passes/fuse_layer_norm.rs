//! A layer normalization as exporters before opset 17 write it: mean, difference, its square, mean,
//! epsilon, square root, quotient, and a factor and a summand for each channel.

use crate::graph::{BinaryKind, Graph, LayerNorm, Op, ValueId};
use crate::unary::Unary;

pub(super) fn fuse_layer_norm(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        let Some(found) = normalization(graph, index) else { continue };
        let dims = &graph.dims(found.input)[found.axis..];
        let channels: usize = dims.iter().product();
        let mut norm = LayerNorm {
            axis: found.axis,
            gamma: vec![1.0; channels],
            beta: vec![0.0; channels],
            epsilon: found.epsilon,
        };
        // Factor and summand, where they follow and nothing else reads what is between.
        let mut last = index;
        let mut parts = found.parts;
        if let Some((next, gamma)) = constant_after(graph, last, &[BinaryKind::Mul], &norm) {
            (last, norm.gamma) = (next, gamma);
            parts.push(index);
        }
        if let Some((next, beta)) = constant_after(graph, last, &[BinaryKind::Add], &norm) {
            parts.push(last);
            (last, norm.beta) = (next, beta);
        }
        let names: Vec<String> = parts.iter().map(|&part| graph.nodes[part].name.clone()).collect();
        let node = &mut graph.nodes[last];
        node.op = Op::LayerNorm(norm);
        node.inputs = vec![found.input];
        node.merged.splice(0..0, names);
    }
}

struct Normalization {
    input: ValueId,
    axis: usize,
    epsilon: f32,
    /// The nodes before the last one.
    parts: Vec<usize>,
}

/// The normalization whose quotient node `index` computes: a product with a reciprocal.
fn normalization(graph: &Graph, index: usize) -> Option<Normalization> {
    let Op::Binary(BinaryKind::Mul) = graph.nodes[index].op else { return None };
    let [left, right] = graph.nodes[index].inputs[..] else { return None };
    [(left, right), (right, left)].into_iter().find_map(|(difference, reciprocal)| {
        let (reciprocal, root) = unary(graph, reciprocal, |f| *f == Unary::Reciprocal)?;
        let (root, sum) = unary(graph, root, |f| *f == Unary::Sqrt)?;
        let (sum, variance) = unary(graph, sum, |f| matches!(f, Unary::Affine { scale: 1.0, .. }))?;
        let Op::Unary(Unary::Affine { shift: epsilon, .. }) = graph.nodes[sum].op else { return None };
        let (variance, square, axis) = mean(graph, variance)?;
        let square = graph.producer(square)?;
        let squares = match &graph.nodes[square].op {
            Op::Unary(Unary::Pow { exponent: 2.0 }) => graph.nodes[square].inputs[..] == [difference],
            Op::Binary(BinaryKind::Mul) => graph.nodes[square].inputs[..] == [difference; 2],
            _ => false,
        };
        let subtraction = graph.producer(difference)?;
        let Op::Binary(BinaryKind::Sub) = graph.nodes[subtraction].op else { return None };
        let [input, average] = graph.nodes[subtraction].inputs[..] else { return None };
        let (average, of, mean_axis) = mean(graph, average)?;
        let parts = vec![average, subtraction, square, variance, sum, root, reciprocal];
        (squares && of == input && mean_axis == axis && epsilon >= 0.0).then_some(Normalization {
            input,
            axis,
            epsilon,
            parts,
        })
    })
}

/// The node that makes a value, and what it reads, if it is such a function.
fn unary(graph: &Graph, value: ValueId, is_it: impl Fn(&Unary) -> bool) -> Option<(usize, ValueId)> {
    let maker = graph.producer(value)?;
    let Op::Unary(function) = &graph.nodes[maker].op else { return None };
    is_it(function).then_some((maker, *graph.nodes[maker].inputs.first()?))
}

/// The node that makes a value, what it reads, and the axis, if it is a mean over the last axes that keeps
/// them as 1.
fn mean(graph: &Graph, value: ValueId) -> Option<(usize, ValueId, usize)> {
    let maker = graph.producer(value)?;
    let Op::ReduceMean { first, count } = graph.nodes[maker].op else { return None };
    let input = *graph.nodes[maker].inputs.first()?;
    let rank = graph.dims(input).len();
    (first + count == rank && graph.dims(value).len() == rank).then_some((maker, input, first))
}

/// The only reader of a node's result and its constant, if it is of one of `kinds` and the constant has
/// a value for each element of the normalized axes.
fn constant_after(
    graph: &Graph,
    index: usize,
    kinds: &[BinaryKind],
    norm: &LayerNorm,
) -> Option<(usize, Vec<f32>)> {
    let next = graph.only_consumer(index)?;
    let Op::Binary(kind) = graph.nodes[next].op else { return None };
    let output = graph.nodes[index].output;
    let constant = graph.nodes[next].inputs.iter().find_map(|&id| graph.value(id).constant.as_ref())?;
    let dims = &graph.dims(output)[norm.axis..];
    let leading = constant.dims.len().checked_sub(dims.len())?;
    let fits = constant.dims[..leading].iter().all(|&size| size == 1) && constant.dims[leading..] == *dims;
    (kinds.contains(&kind) && fits).then(|| (next, constant.data.to_vec()))
}
