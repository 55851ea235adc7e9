//! Functions of one number after each other are one function, and so one table.

use crate::graph::{Graph, Op};

pub(super) fn fuse_unary_chain(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        let Op::Unary(second) = graph.nodes[index].op.clone() else { continue };
        let Some(&input) = graph.nodes[index].inputs.first() else { continue };
        let Some(before) = graph.producer(input) else { continue };
        let Op::Unary(first) = graph.nodes[before].op.clone() else { continue };
        if graph.only_consumer(before) != Some(index) {
            continue;
        }
        // The later node takes over, so that a longer chain is seen when the loop reaches its end.
        let name = graph.nodes[before].name.clone();
        graph.nodes[index].inputs = graph.nodes[before].inputs.clone();
        graph.nodes[index].op = Op::Unary(first.then(second));
        graph.nodes[index].merged.insert(0, name);
        let merged = std::mem::take(&mut graph.nodes[before].merged);
        graph.nodes[index].merged.splice(0..0, merged);
        graph.nodes[before].inputs.clear();
    }
}
