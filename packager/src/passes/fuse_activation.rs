//! A Relu or Clip after a node that requantizes its result is a bound of that requantization.

use crate::graph::{Clamp, Graph, Op};

pub(super) fn fuse_activation(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        let Op::Unary(function) = &graph.nodes[index].op else { continue };
        let Some((min, max)) = function.as_clamp() else { continue };
        let Some(&input) = graph.nodes[index].inputs.first() else { continue };
        let Some(before) = graph.producer(input) else { continue };
        if graph.only_consumer(before) != Some(index) {
            continue;
        }
        if takes_bounds(&graph.nodes[before].op) {
            graph.nodes[before].clamp = graph.nodes[before].clamp.then(Clamp { min, max });
            graph.absorb(before, index);
        }
    }
}

/// Whether a node requantizes its result, so that it can bound it.
pub(super) fn takes_bounds(op: &Op) -> bool {
    matches!(op, Op::Conv(_) | Op::FullyConnected(_) | Op::Binary(_) | Op::MatMul | Op::LayerNorm(_))
}
