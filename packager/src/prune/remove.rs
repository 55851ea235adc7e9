//! Channels become zeros, or go.
//!
//! A graph with zeros in the place of channels and the one without them are the same function: masking is how
//! candidates are tried, and how what is left is fitted beside the whole model; removal is what makes the model
//! smaller.

use std::sync::Arc;

use super::units::{Units, is_depthwise};
use crate::evaluate::take;
use crate::graph::{Graph, Node, Op, Tensor, ValueId};

/// The indices along an axis that stay. `gone` is by unit.
pub fn kept(units: &Units, gone: &[bool], id: ValueId, axis: usize, dim: usize) -> Vec<usize> {
    match units.along(id, axis) {
        Some(along) => (0..dim).filter(|&i| !gone[along[i]]).collect(),
        None => (0..dim).collect(),
    }
}

/// The product with zeros where channels are gone: in the rows of those that it makes, and in the columns of
/// those that it reads. What functions make of the zeros nothing reads, then. Other nodes stay.
pub fn mask(graph: &Graph, units: &Units, gone: &[bool], index: usize, node: &mut Node) {
    let [rows, columns] = units.of_product(graph, &graph.nodes[index]);
    let is_gone = |along: Option<&[usize]>, i: usize| along.is_some_and(|along| gone[along[i]]);
    let depthwise = is_depthwise(node);
    let (weights, bias, taps) = match &mut node.op {
        Op::Conv(conv) => {
            let taps = conv.weights.dims[2] * conv.weights.dims[3];
            (&mut conv.weights, &mut conv.bias, taps)
        }
        Op::FullyConnected(fc) => (&mut fc.weights, &mut fc.bias, 1),
        _ => return,
    };
    let (outputs, inputs) = (bias.len(), weights.dims[1]);
    let mut data = weights.data.to_vec();
    for (i, w) in data.chunks_exact_mut(taps.max(1)).enumerate() {
        // Groups are alike, so that the first one tells of all.
        if is_gone(rows, i / inputs) || (!depthwise && is_gone(columns, i % inputs)) {
            w.fill(0.0);
        }
    }
    *weights = Tensor::new(weights.dims.clone(), data);
    (0..outputs).filter(|&row| is_gone(rows, row)).for_each(|row| bias[row] = 0.0);
}

/// The graph with every product masked.
pub fn masked(graph: &Graph, units: &Units, gone: &[bool]) -> Graph {
    let mut result = graph.clone();
    for (index, node) in result.nodes.iter_mut().enumerate() {
        mask(graph, units, gone, index, node);
    }
    result
}

/// The graph without the channels that are gone.
pub fn removed(graph: &Graph, units: &Units, gone: &[bool]) -> Graph {
    let kept = |id: ValueId, axis: usize| kept(units, gone, id, axis, graph.dims(id)[axis]);
    let mut result = graph.clone();
    for (id, value) in result.values.iter_mut().enumerate() {
        let indices: Vec<Vec<usize>> = (0..value.dims.len()).map(|axis| kept(ValueId(id), axis)).collect();
        value.constant = value.constant.as_ref().map(|constant| select(constant, &indices));
        value.dims = indices.iter().map(Vec::len).collect();
    }
    for (node, before) in result.nodes.iter_mut().zip(&graph.nodes) {
        let (input, output) = (node.inputs[0], node.output);
        let of = |values: &[f32], indices: &[usize]| indices.iter().map(|&i| values[i]).collect();
        let depthwise = is_depthwise(before);
        match &mut node.op {
            Op::Conv(conv) => {
                let (rows, mut columns) = (kept(output, 1), kept(input, 1));
                if depthwise {
                    (conv.groups, columns) = (columns.len(), vec![0]);
                } else {
                    columns.truncate(columns.len() / conv.groups);
                }
                let taps = [2, 3].map(|axis| (0..conv.weights.dims[axis]).collect());
                conv.bias = of(&conv.bias, &rows);
                let [high, wide] = taps;
                conv.weights = select(&conv.weights, &[rows, columns, high, wide]);
            }
            Op::FullyConnected(fc) => {
                let last = |id: ValueId| kept(id, graph.dims(id).len() - 1);
                let (rows, columns) = (last(output), last(input));
                fc.bias = of(&fc.bias, &rows);
                fc.weights = select(&fc.weights, &[rows, columns]);
            }
            Op::ChannelAffine { scale, shift } => {
                let channels = kept(output, 1);
                (*scale, *shift) = (of(scale, &channels), of(shift, &channels));
            }
            Op::Slice { starts, steps } => {
                let from = |axis: usize, i: usize| starts[axis] + i * steps[axis];
                let indices = moved(graph, node.inputs[0], output, &kept, from);
                let is_even = |list: &Vec<usize>| list.windows(3).all(|w| w[1] - w[0] == w[2] - w[1]);
                node.op = if indices.iter().all(is_even) {
                    let step = |list: &Vec<usize>| if list.len() > 1 { list[1] - list[0] } else { 1 };
                    Op::Slice {
                        starts: indices.iter().map(|list| list[0]).collect(),
                        steps: indices.iter().map(step).collect(),
                    }
                } else {
                    let all = |axis: usize| (0..kept(input, axis).len()).collect::<Vec<_>>();
                    let some = |(axis, list): (usize, Vec<usize>)| (list != all(axis)).then(|| list.into());
                    Op::Take { indices: indices.into_iter().enumerate().map(some).collect() }
                };
            }
            Op::Take { indices } => {
                let from = |axis: usize, i: usize| indices[axis].as_ref().map_or(i, |list| list[i]);
                let moved = moved(graph, input, output, &kept, from);
                let lists =
                    indices.iter().zip(moved).map(|(list, moved)| list.as_ref().map(|_| moved.into()));
                *indices = lists.collect();
            }
            _ => {}
        }
    }
    result
}

/// By axis: where what stays of a result lies in what stays of an operand, which has it at `from(axis, index)`.
fn moved(
    graph: &Graph,
    input: ValueId,
    output: ValueId,
    kept: &dyn Fn(ValueId, usize) -> Vec<usize>,
    from: impl Fn(usize, usize) -> usize,
) -> Vec<Vec<usize>> {
    let axis = |axis: usize| {
        let mut place = vec![usize::MAX; graph.dims(input)[axis]];
        kept(input, axis).into_iter().enumerate().for_each(|(new, old)| place[old] = new);
        kept(output, axis).into_iter().map(|i| place[from(axis, i)]).collect()
    };
    (0..graph.dims(output).len()).map(axis).collect()
}

/// The elements at these indices of each axis.
fn select(tensor: &Tensor, indices: &[Vec<usize>]) -> Tensor {
    let lists: Vec<Option<Arc<[usize]>>> = indices.iter().map(|list| Some(list.as_slice().into())).collect();
    let dims = indices.iter().map(Vec::len).collect();
    Tensor::new(dims, take(&tensor.data, &tensor.dims, &lists))
}
