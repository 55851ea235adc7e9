//! Given representations, of models that arrived quantized, go where they cost nothing: to the values that
//! are the same integers, and off the values between two operations that are one step.
//!
//! What is left of them afterwards are bounds that no other pass merges across
//! ([`Graph::only_consumer`]), for rounding in between is a part of what such a model computes.

use super::fuse_activation;
use crate::graph::{Clamp, Graph, Node, Op, ValueId};
use crate::quant::Quant;
use crate::quantize::keeps_values;
use crate::unary::Unary;

pub(super) fn fuse_qdq(graph: &mut Graph) {
    if graph.values.iter().all(|value| value.given.is_none()) {
        return;
    }
    give_backwards(graph);
    take_from_copies(graph);
    give_to_clamps(graph);
}

/// What is only moved or selected afterwards is rounded before.
fn give_backwards(graph: &mut Graph) {
    for index in (0..graph.nodes.len()).rev() {
        let node = &graph.nodes[index];
        let (input, output) = (node.inputs.first().copied(), node.output);
        let (Some(input), Some(given)) = (input, graph.value(output).given) else { continue };
        let same_scale = keeps_values(node) && !matches!(node.op, Op::Unary(_));
        let value = graph.value(input);
        if same_scale && value.given.is_none() && value.constant.is_none() {
            graph.values[input.0].given = Some(given);
        }
    }
}

/// A copy of integers has their representation anyway. One that is given another is rounded again, by a node
/// of its own.
fn take_from_copies(graph: &mut Graph) {
    let mut index = 0;
    while index < graph.nodes.len() {
        let node = &graph.nodes[index];
        let given = graph.value(node.output).given;
        let before = node.inputs.first().and_then(|input| before(graph, *input));
        if keeps_values(node)
            && !matches!(node.op, Op::Unary(_))
            && let (Some(given), Some(before)) = (given, before)
        {
            let output = node.output;
            if given == before {
                graph.values[output.0].given = None;
            } else {
                let name = format!("{} (as it was read)", graph.value(output).name);
                let copy = graph.add_value(name, graph.dims(output).to_vec());
                graph.nodes[index].output = copy;
                let rounding = Node {
                    name: format!("{} (rounded again)", graph.nodes[index].name),
                    onnx_op: "QuantizeLinear".into(),
                    op: Op::Unary(Unary::IDENTITY),
                    inputs: vec![copy],
                    output,
                    clamp: Clamp::NONE,
                    precision: graph.nodes[index].precision,
                    merged: Vec::new(),
                };
                graph.nodes.insert(index + 1, rounding);
                index += 1;
            }
        }
        index += 1;
    }
}

/// The given representation of a value, or of that of which it is a copy.
fn before(graph: &Graph, id: ValueId) -> Option<Quant> {
    let value = graph.value(id);
    if value.given.is_some() {
        return value.given;
    }
    let maker = &graph.nodes[graph.producer(id)?];
    if !keeps_values(maker) || matches!(maker.op, Op::Unary(_)) {
        return None;
    }
    before(graph, *maker.inputs.first()?)
}

/// Bounds are exact in the representation of what they bound: a Relu that is given the same, or none, is
/// one with the step before it.
fn give_to_clamps(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        let Op::Unary(function) = &graph.nodes[index].op else { continue };
        let Some(&input) = graph.nodes[index].inputs.first() else { continue };
        let Some(given) = before(graph, input).filter(|_| function.as_clamp().is_some()) else { continue };
        let output = graph.nodes[index].output;
        let own = *graph.values[output.0].given.get_or_insert(given);
        let takes_bounds =
            graph.producer(input).is_some_and(|maker| fuse_activation::takes_bounds(&graph.nodes[maker].op));
        if own == given
            && takes_bounds
            && !graph.outputs.contains(&input)
            && graph.consumers(input) == [index]
        {
            graph.values[input.0].given = None;
        }
    }
}
