//! Casts between nodes of int8, int16 and f32, so that every value has one representation.

use std::collections::HashMap;

use edgepack_engine::format::plan::ElemType;

use crate::graph::{Clamp, Graph, Io, Node, Op, Precision, ValueId};

/// Whether a node only moves or selects values: it then has the precision of what it reads, since a cast
/// behind it costs no more than one before.
pub fn moves_values(op: &Op) -> bool {
    matches!(op, Op::Reshape | Op::Transpose { .. } | Op::Slice { .. } | Op::Take { .. } | Op::Gather { .. })
}

/// The graph with a cast wherever a node reads what one of another precision made. The values of the given
/// graph keep their numbers; those of casts come after them.
///
/// What no node of int8 reads of the application's is given in f32; what is taken apart first (states that lie
/// beside each other), too, where a node of another precision reads a part: each of the others has its own scale
/// then. A softmax, and the gates of a recurrent layer, take f32 as it is. Where the application is to have int8
/// ([`Io`]), inputs are not given in f32, and other outputs are cast.
pub fn insert_casts(graph: &Graph) -> Graph {
    let mut casts = Casts { graph: graph.clone(), cast: HashMap::new() };
    casts.graph.nodes.clear();
    // By value: how what made it left it.
    let mut made = vec![Held::Int8; graph.values.len()];
    for &input in &graph.inputs {
        let is_int8 = graph.io == Io::Int8 || !is_given_in_f32(graph, input);
        if graph.value(input).dtype != ElemType::F32 || !is_int8 {
            made[input.0] = Held::F32;
        }
    }
    for node in &graph.nodes {
        let mut node = node.clone();
        // A concatenation of nothing but f32 is one, too: its parts have different scales, and one cast behind it
        // is no dearer than one before each.
        let joins_f32 =
            matches!(node.op, Op::Concat { .. }) && node.inputs.iter().all(|id| made[id.0] == Held::F32);
        if moves_values(&node.op) || joins_f32 {
            let held = made[node.inputs[0].0];
            // Of int16 either kind will do, since nothing is multiplied.
            if held != Held::of(node.precision) {
                node.precision = held.precision();
            }
        }
        // The step that makes the hidden states has left it.
        if let Op::FinalCell(_) = node.op {
            node.precision = made[node.inputs[1].0].precision();
        }
        let wanted = Held::of(node.precision);
        let takes_f32 = matches!(node.op, Op::Softmax { .. } | Op::Recurrent(_) | Op::FinalCell(_));
        for (index, input) in node.inputs.iter_mut().enumerate() {
            let id = *input;
            let wanted = match node.op {
                // It takes each operand at its own scale.
                Op::Select => made[id.0],
                // It compares whatever there is of int8 and f32.
                Op::TopK(_) if made[id.0] == Held::Int16 => Held::F32,
                Op::TopK(_) => made[id.0],
                // Indices are f32.
                Op::Embed { .. } => Held::F32,
                Op::Gather { .. } if index == 1 => Held::F32,
                _ => wanted,
            };
            if graph.value(id).constant.is_some() || made[id.0] == wanted {
                continue;
            }
            match made[id.0] {
                Held::F32 if takes_f32 => {}
                Held::Int16 if takes_f32 => *input = casts.cast(id, Held::F32),
                _ => *input = casts.cast(id, wanted),
            }
        }
        made[node.output.0] = wanted;
        casts.graph.nodes.push(node);
    }
    for output in 0..graph.outputs.len() {
        let id = graph.outputs[output];
        let is_f32 = graph.value(id).dtype == ElemType::F32 && graph.value(id).constant.is_none();
        if graph.io == Io::Int8 && is_f32 && made[id.0] != Held::Int8 {
            let cast = casts.cast(id, Held::Int8);
            casts.graph.values[cast.0].name = graph.value(id).name.clone();
            casts.graph.outputs[output] = cast;
        }
    }
    casts.graph
}

/// What the elements of a value are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Held {
    Int8,
    Int16,
    F32,
}

impl Held {
    /// What nodes of a precision read and make.
    fn of(precision: Precision) -> Self {
        match precision {
            Precision::Int8 => Self::Int8,
            Precision::Int16 | Precision::Int16x16 => Self::Int16,
            _ => Self::F32,
        }
    }

    /// The precision of what only moves such values.
    fn precision(self) -> Precision {
        match self {
            Self::Int8 => Precision::Int8,
            Self::Int16 => Precision::Int16,
            Self::F32 => Precision::F32,
        }
    }
}

fn is_given_in_f32(graph: &Graph, input: ValueId) -> bool {
    let is_wider = |i: &usize| graph.nodes[*i].precision != Precision::Int8;
    let moves = |i: &usize| moves_values(&graph.nodes[*i].op);
    let direct = graph.consumers(input);
    if direct.is_empty() || !direct.iter().all(|i| is_wider(i) || moves(i)) {
        return false;
    }
    let mut readers = direct;
    while let Some(reader) = readers.pop() {
        if is_wider(&reader) {
            return true;
        }
        if moves(&reader) {
            readers.extend(graph.consumers(graph.nodes[reader].output));
        }
    }
    false
}

struct Casts {
    graph: Graph,
    /// By value, and what it is cast to.
    cast: HashMap<(ValueId, Held), ValueId>,
}

impl Casts {
    fn cast(&mut self, id: ValueId, held: Held) -> ValueId {
        if let Some(&cast) = self.cast.get(&(id, held)) {
            return cast;
        }
        let to = match held {
            Held::Int8 => "int8",
            Held::Int16 => "int16",
            Held::F32 => "f32",
        };
        let precision = held.precision();
        let name = format!("{} ({to})", self.graph.value(id).name);
        let dims = self.graph.dims(id).to_vec();
        let output = self.graph.add_value(&name, dims);
        let (onnx_op, clamp) = ("Cast".into(), Clamp::NONE);
        let node =
            Node { name, onnx_op, op: Op::Cast, inputs: vec![id], output, clamp, precision, merged: vec![] };
        self.graph.nodes.push(node);
        self.cast.insert((id, held), output);
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unary::Unary;

    /// `input -> functions…`, of these precisions, and a concatenation of all their results.
    fn graph(precisions: &[Precision]) -> Graph {
        let mut graph = Graph::default();
        let input = graph.add_value("input", vec![4]);
        graph.inputs.push(input);
        let mut inputs = vec![];
        for (i, &precision) in precisions.iter().enumerate() {
            let output = graph.add_value(format!("y{i}"), vec![4]);
            let (name, onnx_op, clamp) = (format!("n{i}"), "Tanh".to_string(), Clamp::NONE);
            let (op, merged) = (Op::Unary(Unary::Tanh), vec![]);
            graph.nodes.push(Node {
                name,
                onnx_op,
                op,
                inputs: vec![input],
                output,
                clamp,
                precision,
                merged,
            });
            inputs.push(output);
        }
        let output = graph.add_value("all", vec![4 * precisions.len()]);
        let (name, onnx_op, clamp) = ("concat".to_string(), "Concat".to_string(), Clamp::NONE);
        let (op, precision, merged) = (Op::Concat { axis: 0 }, Precision::Int8, vec![]);
        graph.nodes.push(Node { name, onnx_op, op, inputs, output, clamp, precision, merged });
        graph.outputs.push(output);
        graph
    }

    #[test]
    fn a_value_is_cast_once_for_all_its_readers() {
        use Precision::{F32, Int8, Int16, Int16x16};
        let cast = insert_casts(&graph(&[Int8, F32, F32]));
        let names: Vec<&str> = cast.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["n0", "input (f32)", "n1", "n2", "y1 (int8)", "y2 (int8)", "concat"]);
        assert_eq!(cast.nodes[2].inputs, cast.nodes[3].inputs);
        let cast = insert_casts(&graph(&[Int16, F32, Int8, Int16x16]));
        let names: Vec<&str> = cast.nodes.iter().map(|node| node.name.as_str()).collect();
        let expected = ["input (int16)", "n0", "input (f32)", "n1", "n2", "n3"];
        assert_eq!(names[..6], expected);
        assert_eq!(names[6..], ["y0 (int8)", "y1 (int8)", "y3 (int8)", "concat"]);
        // Where nothing is int8, the application gives f32.
        let cast = insert_casts(&graph(&[Int16, F32]));
        let names: Vec<&str> = cast.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names[..3], ["input (int16)", "n0", "n1"]);
    }

    #[test]
    fn states_beside_each_other_are_given_in_f32_where_one_of_them_is_read_so() {
        use Precision::{F32, Int8};
        let stacked = |precisions: [Precision; 2]| {
            let mut graph = graph(&precisions);
            let input = graph.inputs[0];
            graph.values[input.0].dims = vec![8];
            for part in 0..2 {
                let output = graph.add_value(format!("part{part}"), vec![4]);
                let mut slice = graph.nodes[0].clone();
                slice.op = Op::Slice { starts: vec![4 * part], steps: vec![1] };
                (slice.output, slice.precision) = (output, Int8);
                graph.nodes[2 * part].inputs = vec![output];
                graph.nodes.insert(2 * part, slice);
            }
            insert_casts(&graph).nodes
        };
        let of_f32 = |nodes: &[Node]| nodes.iter().map(|node| node.precision == F32).collect::<Vec<_>>();
        // slice, cast, tanh, slice, tanh, cast, concat
        let nodes = stacked([Int8, F32]);
        assert_eq!(of_f32(&nodes), [true, false, false, true, true, false, false], "{nodes:?}");
        assert_eq!(of_f32(&stacked([Int8, Int8])), [false; 5]);
        assert_eq!(of_f32(&stacked([F32, F32])), [true; 5]);
    }

    #[test]
    fn nothing_is_cast_where_all_is_of_one_precision() {
        assert_eq!(insert_casts(&graph(&[Precision::Int8; 2])).nodes.len(), 3);
        assert_eq!(insert_casts(&graph(&[Precision::F32; 2])).nodes.len(), 3);
    }
}
