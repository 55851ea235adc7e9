//! Whatever is a function of one number is one table: functions after each other, sums, differences and
//! products of two functions of the same tensor, and selections between such. SiLU, HardSwish and Gelu as exporters write them are
//! such.

use crate::graph::{Clamp, Graph, Op, ValueId};
use crate::lower::Program;
use crate::unary::Unary;

pub(super) fn fuse_functions(graph: &mut Graph) {
    // Nodes are in an order in which they can run: what a node reads is fused already.
    for index in 0..graph.nodes.len() {
        combine(graph, index);
        combine_selection(graph, index);
        chain(graph, index);
    }
}

/// Merges a node of two operands with the functions that make them, if both are of one tensor.
fn combine(graph: &mut Graph, index: usize) {
    let node = &graph.nodes[index];
    let Op::Binary(kind) = node.op else { return };
    let [left, right] = node.inputs[..] else { return };
    if node.clamp != Clamp::NONE {
        return;
    }
    // Each operand as it is, or as a function that nothing else reads.
    let forms =
        [left, right].map(|operand| [Some(Form::plain(operand)), Form::function(graph, operand, index)]);
    let pairs = [(1, 1), (0, 1), (1, 0), (0, 0)].map(|(l, r)| forms[0][l].clone().zip(forms[1][r].clone()));
    let dims = graph.dims(node.output);
    let of_one = |(left, right): &(Form, Form)| left.of == right.of && graph.dims(left.of) == dims;
    if let Some((left, right)) = pairs.into_iter().flatten().find(of_one) {
        let makers = [left.maker, right.maker];
        let function = Unary::Both(kind, Box::new([left.function, right.function]));
        merge(graph, index, left.of, function, &makers);
    }
}

/// Merges a selection with the functions that make its operands, if all are of one tensor, or numbers.
fn combine_selection(graph: &mut Graph, index: usize) {
    let node = &graph.nodes[index];
    let (Op::Select, Clamp::NONE, &[condition, yes, no]) = (&node.op, node.clamp, &node.inputs[..]) else {
        return;
    };
    let Some(condition) = Form::function(graph, condition, index) else { return };
    let side =
        |operand: ValueId| match graph.value(operand).constant.as_ref().map(|constant| &constant.data[..]) {
            Some(&[number]) => Some(Form { of: condition.of, function: Unary::Number(number), maker: None }),
            _ if operand == condition.of => Some(Form::plain(operand)),
            _ => Form::function(graph, operand, index),
        };
    let (Some(yes), Some(no)) = (side(yes), side(no)) else { return };
    let of = condition.of;
    if yes.of != of || no.of != of || graph.dims(of) != graph.dims(node.output) {
        return;
    }
    let makers = [condition.maker, yes.maker, no.maker];
    let function = Unary::Select(Box::new([condition.function, yes.function, no.function]));
    // Three functions beside each other may need more registers than there are.
    if Program::default().unary(&function).is_some() {
        merge(graph, index, of, function, &makers);
    }
}

fn merge(graph: &mut Graph, index: usize, of: ValueId, function: Unary, makers: &[Option<usize>]) {
    for maker in makers.iter().copied().flatten() {
        let maker = &mut graph.nodes[maker];
        let mut names = std::mem::take(&mut maker.merged);
        // A function that both operands are is here twice.
        if !maker.inputs.is_empty() {
            names.push(maker.name.clone());
        }
        maker.inputs.clear();
        graph.nodes[index].merged.splice(0..0, names);
    }
    graph.nodes[index].inputs = vec![of];
    graph.nodes[index].op = Op::Unary(function);
}

/// A function of a tensor.
#[derive(Clone)]
struct Form {
    of: ValueId,
    function: Unary,
    /// The node that computes it.
    maker: Option<usize>,
}

impl Form {
    fn plain(of: ValueId) -> Self {
        Self { of, function: Unary::IDENTITY, maker: None }
    }

    fn function(graph: &Graph, operand: ValueId, reader: usize) -> Option<Self> {
        let maker = graph.producer(operand)?;
        let Op::Unary(function) = graph.nodes[maker].op.clone() else { return None };
        let of = *graph.nodes[maker].inputs.first()?;
        (graph.only_consumer(maker) == Some(reader)).then_some(Self { of, function, maker: Some(maker) })
    }
}

/// Merges a function with the one before it.
fn chain(graph: &mut Graph, index: usize) {
    let Op::Unary(second) = graph.nodes[index].op.clone() else { return };
    let Some(&input) = graph.nodes[index].inputs.first() else { return };
    let Some(Form { of, function: first, maker: Some(before) }) = Form::function(graph, input, index) else {
        return;
    };
    // The later node takes over, so that a longer chain is seen when the loop reaches its end.
    let mut names = std::mem::take(&mut graph.nodes[before].merged);
    names.push(graph.nodes[before].name.clone());
    graph.nodes[before].inputs.clear();
    graph.nodes[index].inputs = vec![of];
    graph.nodes[index].op = Op::Unary(first.then(second));
    graph.nodes[index].merged.splice(0..0, names);
}
