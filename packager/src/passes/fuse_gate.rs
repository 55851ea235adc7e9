//! `x * f(x)` is a function of one number: SiLU, and HardSwish as exporters write it.

use crate::graph::{BinaryKind, Graph, Op};
use crate::unary::Unary;

pub(super) fn fuse_gate(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        if !matches!(graph.nodes[index].op, Op::Binary(BinaryKind::Mul)) {
            continue;
        }
        let [left, right] = graph.nodes[index].inputs[..] else { continue };
        for (data, gate) in [(left, right), (right, left)] {
            let Some(before) = graph.producer(gate) else { continue };
            let Op::Unary(function) = graph.nodes[before].op.clone() else { continue };
            if graph.nodes[before].inputs[..] != [data] || graph.only_consumer(before) != Some(index) {
                continue;
            }
            let name = graph.nodes[before].name.clone();
            graph.nodes[index].op = Op::Unary(Unary::Gated(Box::new(function)));
            graph.nodes[index].inputs = vec![data];
            graph.nodes[index].merged.push(name);
            graph.nodes[before].inputs.clear();
            break;
        }
    }
}
