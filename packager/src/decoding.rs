//! What a detector makes of its last convolutions: boxes and scores, computed from them and joined to one tensor.
//!
//! Boxes are pixels, hundreds of them, and scores lie between 0 and 1: in one int8 tensor, whose scale is that of the
//! boxes, every score is 0. No multiply-adds come after it, the tensors are small, and an application gets f32 anyway;
//! so what leads to such a join, and from it to the outputs, computes in f32. The last convolutions and the tables
//! before it stay int8, and leave their results in f32, which costs nothing.

use crate::graph::{Graph, Op, Precision};
use crate::precision::has_f32_steps;
use crate::quantize::moves_values;

/// Moves the nodes of such a decoding from int8 and int16 to f32. Models that round these values themselves keep them.
pub fn keep_in_f32(graph: &mut Graph) {
    // By value: whether it is f32, since moves leave what they read.
    let mut is_f32: Vec<bool> = graph.values.iter().map(|value| value.constant.is_some()).collect();
    for (index, is_decoding) in of_decoding(graph).into_iter().enumerate() {
        let node = &graph.nodes[index];
        let given = |id: &_| graph.value(*id).given.is_some();
        let is_rounded = given(&node.output) || node.inputs.iter().any(given);
        let moved = match node.op {
            // A table of what is int8 gives f32 for nothing; a function of what is f32 is one of it.
            Op::Unary(_) => is_f32[node.inputs[0].0] && has_f32_steps(&node.op),
            ref op => !moves_values(op),
        };
        let node = &mut graph.nodes[index];
        if is_decoding && moved && !is_rounded && !node.precision.has_f32_values() {
            node.precision = Precision::F32;
        }
        is_f32[node.output.0] = match moves_values(&node.op) {
            true => is_f32[node.inputs[0].0],
            false => node.precision.has_f32_values(),
        };
    }
}

/// By node: whether it is of a decoding.
fn of_decoding(graph: &Graph) -> Vec<bool> {
    let readers: Vec<Vec<usize>> = graph.nodes.iter().map(|node| graph.consumers(node.output)).collect();
    let count = graph.nodes.len();
    let (mut last, mut leads) = (vec![false; count], vec![false; count]);
    for index in (0..count).rev() {
        last[index] = is_light(&graph.nodes[index].op) && readers[index].iter().all(|&reader| last[reader]);
        leads[index] =
            last[index] && (is_join(graph, index) || readers[index].iter().any(|&reader| leads[reader]));
    }
    let mut found = leads.clone();
    let mut follows = vec![false; graph.values.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        let after = last[index] && node.inputs.iter().any(|input| follows[input.0]);
        found[index] |= after;
        follows[node.output.0] = after || leads[index] && is_join(graph, index);
    }
    found
}

/// What may follow the last product of a model without being dear in f32.
fn is_light(op: &Op) -> bool {
    matches!(
        op,
        Op::Binary(_)
            | Op::Select
            | Op::Unary(_)
            | Op::Concat { .. }
            | Op::Pad { .. }
            | Op::TopK(_)
            | Op::Scatter
            | Op::NonMaxSuppression(_)
            | Op::Cast
    ) || moves_values(op)
}

/// Whether a node brings together what was computed apart.
fn is_join(graph: &Graph, index: usize) -> bool {
    let node = &graph.nodes[index];
    let computed = node.inputs.iter().filter(|id| graph.value(**id).constant.is_none());
    match node.op {
        Op::Concat { .. } => computed.count() > 1,
        Op::NonMaxSuppression(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{BinaryKind, Clamp, Node, PoolKind, ValueId, Window};
    use crate::unary::Unary;

    fn push(graph: &mut Graph, op: Op, inputs: &[ValueId]) -> ValueId {
        let output = graph.add_value(format!("v{}", graph.values.len()), vec![1, 4]);
        let (name, onnx_op) = (graph.value(output).name.clone(), "Op".to_string());
        let (inputs, clamp, precision, merged) = (inputs.to_vec(), Clamp::NONE, Precision::Int8, vec![]);
        graph.nodes.push(Node { name, onnx_op, op, inputs, output, clamp, precision, merged });
        output
    }

    /// A network (a pooling stands for it) whose one half becomes boxes and whose other scores, joined; `after` a
    /// second pooling reads them.
    fn detector(after: bool) -> Graph {
        let mut graph = Graph::default();
        let input = graph.add_value("x", vec![1, 4]);
        graph.inputs.push(input);
        let window = Window { kernel: [1, 1], stride: [1, 1], dilation: [1, 1], pads: [0; 4] };
        let pool = || Op::Pool(PoolKind::Max, window);
        let network = push(&mut graph, pool(), &[input]);
        let scores = push(&mut graph, Op::Unary(Unary::Sigmoid), &[network]);
        let shifted = push(&mut graph, Op::Binary(BinaryKind::Add), &[network, network]);
        let boxes = push(&mut graph, Op::Unary(Unary::Affine { scale: 32.0, shift: 0.0 }), &[shifted]);
        let joined = push(&mut graph, Op::Concat { axis: 1 }, &[boxes, scores]);
        let mut output = push(&mut graph, Op::Binary(BinaryKind::Mul), &[joined, joined]);
        if after {
            output = push(&mut graph, pool(), &[output]);
        }
        graph.outputs.push(output);
        graph
    }

    fn of_f32(graph: &mut Graph) -> Vec<bool> {
        keep_in_f32(graph);
        graph.nodes.iter().map(|node| node.precision == Precision::F32).collect()
    }

    #[test]
    fn what_joins_boxes_and_scores_is_f32_and_the_table_of_scores_int8() {
        //                                   pool   sigmoid  add   scale concat mul
        assert_eq!(of_f32(&mut detector(false)), [false, false, true, true, true, true]);
    }

    #[test]
    fn joins_inside_of_a_network_and_of_models_that_round_them_stay_int8() {
        assert_eq!(of_f32(&mut detector(true)), [false; 7]);
        let mut graph = detector(false);
        let joined = graph.nodes[4].output;
        graph.values[joined.0].given = Some(crate::quant::Quant { scale: 1.0, zero_point: 0 });
        assert_eq!(of_f32(&mut graph), [false, false, true, true, false, false]);
    }
}
