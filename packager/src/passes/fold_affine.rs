//! Additions and multiplications with constants after a convolution or matrix product go into its
//! weights and bias: the bias that exporters write as a node of its own, and learned scales. Where
//! there is no such product before them, those of one value a channel become depthwise 1×1
//! convolutions.

use super::fold_batch_norm::{depthwise, scale_channels};
use crate::graph::{BinaryKind, Graph, Op};
use crate::unary::Unary;

pub(super) fn fold_affine(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        let Some((data, scale, shift)) = channel_affine(graph, index) else { continue };
        let before = graph.producer(data).filter(|&before| graph.only_consumer(before) == Some(index));
        if let Some(before) = before
            && channel_axis(graph, before) == Some(scale.axis)
            && graph.dims(data) == graph.dims(graph.nodes[index].output)
            && scale_channels(graph, before, &scale.values, &shift)
        {
            graph.absorb(before, index);
        } else if scale.axis == 1
            && (2..=4).contains(&graph.dims(data).len())
            && matches!(graph.nodes[index].op, Op::Binary(_))
            && graph.dims(data) == graph.dims(graph.nodes[index].output)
        {
            graph.nodes[index].op = depthwise(scale.values, shift);
            graph.nodes[index].inputs = vec![data];
        }
    }
}

struct Factors {
    axis: usize,
    values: Vec<f32>,
}

/// The axis of the output channels.
fn channel_axis(graph: &Graph, index: usize) -> Option<usize> {
    match graph.nodes[index].op {
        Op::Conv(_) => Some(1),
        Op::FullyConnected(_) => Some(graph.dims(graph.nodes[index].output).len() - 1),
        _ => None,
    }
}

/// What a node does to each channel of its one tensor that is no constant: that tensor, the factors
/// and the summands.
fn channel_affine(graph: &Graph, index: usize) -> Option<(crate::graph::ValueId, Factors, Vec<f32>)> {
    let node = &graph.nodes[index];
    if let Op::Unary(Unary::Affine { scale, shift }) = node.op {
        let data = *node.inputs.first()?;
        let before = graph.producer(data)?;
        let axis = channel_axis(graph, before)?;
        let channels = graph.dims(data)[axis];
        return Some((data, Factors { axis, values: vec![scale; channels] }, vec![shift; channels]));
    }
    let Op::Binary(kind) = node.op else { return None };
    let [left, right] = node.inputs[..] else { return None };
    let (data, constant, on_left) = match (&graph.value(left).constant, &graph.value(right).constant) {
        (None, Some(constant)) => (left, constant, false),
        (Some(constant), None) => (right, constant, true),
        _ => return None,
    };
    let rank = graph.dims(data).len();
    // The one axis along which the constant has more than one value, counted in the data.
    let lead = rank.checked_sub(constant.dims.len())?;
    let mut wide = (0..constant.dims.len()).filter(|&axis| constant.dims[axis] != 1);
    let axis = lead + wide.next()?;
    let channels = graph.dims(data)[axis];
    if wide.next().is_some() || constant.data.len() != channels {
        return None;
    }
    let (ones, zeros) = (vec![1.0; channels], vec![0.0; channels]);
    let (scale, shift) = match (kind, on_left) {
        (BinaryKind::Add, _) => (ones, constant.data.to_vec()),
        (BinaryKind::Sub, false) => (ones, constant.data.iter().map(|c| -c).collect()),
        (BinaryKind::Sub, true) => (vec![-1.0; channels], constant.data.to_vec()),
        (BinaryKind::Mul, _) => (constant.data.to_vec(), zeros),
        (BinaryKind::Div | BinaryKind::Compare(_), _) => return None,
    };
    Some((data, Factors { axis, values: scale }, shift))
}
