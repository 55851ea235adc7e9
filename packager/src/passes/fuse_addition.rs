//! A sum of two tensors, of which a product makes one, is a part of that product: it adds the other before it
//! rounds. Its second input is what it adds.

use crate::graph::{BinaryKind, Clamp, Graph, Op};

pub(super) fn fuse_addition(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let (Op::Binary(BinaryKind::Add), &[left, right]) = (&node.op, &node.inputs[..]) else { continue };
        let dims = graph.dims(node.output);
        let is_whole = |id| graph.dims(id) == dims && graph.value(id).constant.is_none();
        if left == right || !is_whole(left) || !is_whole(right) {
            continue;
        }
        // Of two products the later one, since what it adds must be there by then.
        let [of_left, of_right] = [left, right].map(|id| graph.producer(id));
        let (Some(product), other) = of_left.max(of_right).map_or((None, left), |product| {
            (Some(product), if of_left == Some(product) { right } else { left })
        }) else {
            continue;
        };
        if can_add(graph, product) && graph.only_consumer(product) == Some(index) {
            graph.nodes[product].clamp = graph.nodes[index].clamp;
            graph.absorb(product, index);
            graph.nodes[product].inputs.push(other);
        }
    }
}

/// Whether a node is a product that can add something to its results: not a depthwise convolution, nor one whose
/// results have bounds.
fn can_add(graph: &Graph, index: usize) -> bool {
    let node = &graph.nodes[index];
    let is_product = match &node.op {
        Op::Conv(conv) => {
            let [out_channels, of_group, ..] = conv.weights.dims[..] else { return false };
            !(conv.groups > 1 && of_group == 1 && out_channels == conv.groups)
        }
        Op::FullyConnected(_) => true,
        _ => false,
    };
    is_product && node.clamp == Clamp::NONE && node.inputs.len() == 1
}
