//! Nodes of sub-graphs among those of the graph around them, under names of their own.

use std::collections::HashMap;

use tract_onnx::pb::{self, tensor_proto::DataType};

use crate::import::Context;

/// A graph that nodes are added to.
pub(super) struct Flat {
    pub nodes: Vec<pb::NodeProto>,
    initializers: Vec<pb::TensorProto>,
    pub opset: i64,
}

impl Flat {
    /// No nodes yet, and the constants of `graph`.
    pub fn of(graph: &pb::GraphProto, opset: i64) -> Self {
        Self { nodes: Vec::new(), initializers: graph.initializer.clone(), opset }
    }

    /// The graph with these nodes and constants instead of its own.
    pub fn finish(self, graph: &pb::GraphProto) -> pb::GraphProto {
        let (node, initializer) = (self.nodes, self.initializers);
        let (name, input, output) = (graph.name.clone(), graph.input.clone(), graph.output.clone());
        pb::GraphProto { name, node, initializer, input, output, ..Default::default() }
    }

    /// Adds a constant; gives its name.
    pub fn constant(&mut self, tensor: pb::TensorProto) -> String {
        let name = tensor.name.clone();
        self.initializers.push(tensor);
        name
    }

    /// Adds the nodes of a body, called `prefix/…`; `names` are those that its inputs have outside. Gives the names of
    /// its outputs. What a body reads of the graph around it keeps its name.
    pub fn inline(
        &mut self,
        body: &pb::GraphProto,
        prefix: &str,
        mut names: HashMap<String, String>,
    ) -> Vec<String> {
        for own in defined(body) {
            names.entry(own.clone()).or_insert_with(|| format!("{prefix}/{own}"));
        }
        for tensor in &body.initializer {
            self.initializers.push(pb::TensorProto { name: names[&tensor.name].clone(), ..tensor.clone() });
        }
        for node in &body.node {
            let mut node = node.clone();
            if !node.name.is_empty() {
                node.name = format!("{prefix}/{}", node.name);
            }
            rename(&mut node, &names);
            self.nodes.push(node);
        }
        let outside = |output: &pb::ValueInfoProto| names.get(&output.name).unwrap_or(&output.name).clone();
        body.output.iter().map(outside).collect()
    }

    /// Gives what a body made the names of the node's outputs.
    pub fn name_outputs(&mut self, context: &Context<'_>, made: Vec<String>) {
        let outputs = made.iter().zip(&context.node.output).filter(|(_, output)| !output.is_empty());
        self.nodes.extend(outputs.map(|(made, output)| identity(&context.name, made, output)));
    }

    /// A value with one more axis of one element; gives its name.
    pub fn with_axis(&mut self, value: &str, axis: i64) -> String {
        let name = format!("{value}/part");
        let mut unsqueeze = node("Unsqueeze", &name, [value.to_string()], &name);
        // An attribute until opset 12, an input after it.
        if self.opset < 13 {
            let ints = vec![axis];
            unsqueeze.attribute.push(pb::AttributeProto { ints, ..attribute("axes", 0) });
            if let Some(axes) = unsqueeze.attribute.last_mut() {
                axes.r#type = pb::attribute_proto::AttributeType::Ints as i32;
            }
        } else {
            unsqueeze.input.push(self.constant(integers(&format!("{name}/axes"), &[1], &[axis])));
        }
        self.nodes.push(unsqueeze);
        name
    }
}

/// The names of what a graph makes or has as constants.
fn defined(graph: &pb::GraphProto) -> impl Iterator<Item = &String> {
    let constants = graph.initializer.iter().map(|tensor| &tensor.name);
    constants.chain(graph.node.iter().flat_map(|node| &node.output)).filter(|name| !name.is_empty())
}

/// Gives what a node reads and makes other names, what bodies of its own read, too.
fn rename(node: &mut pb::NodeProto, names: &HashMap<String, String>) {
    for name in node.input.iter_mut().chain(&mut node.output) {
        if let Some(other) = names.get(name.as_str()) {
            name.clone_from(other);
        }
    }
    for body in node.attribute.iter_mut().filter_map(|attribute| attribute.g.as_mut()) {
        let mut outside = names.clone();
        defined(body).chain(body.input.iter().map(|input| &input.name)).for_each(|own| {
            outside.remove(own);
        });
        body.node.iter_mut().for_each(|node| rename(node, &outside));
        for output in &mut body.output {
            if let Some(other) = outside.get(&output.name) {
                output.name.clone_from(other);
            }
        }
    }
}

/// A node of one output.
pub(super) fn node(
    op: &str,
    name: &str,
    inputs: impl IntoIterator<Item = String>,
    output: &str,
) -> pb::NodeProto {
    pb::NodeProto {
        op_type: op.into(),
        name: name.into(),
        input: inputs.into_iter().collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

/// Another name of a value.
pub(super) fn identity(name: &str, value: &str, output: &str) -> pb::NodeProto {
    node("Identity", name, [value.to_string()], output)
}

/// An attribute of one integer.
pub(super) fn attribute(name: &str, value: i64) -> pb::AttributeProto {
    let r#type = pb::attribute_proto::AttributeType::Int as i32;
    pb::AttributeProto { name: name.into(), r#type, i: value, ..Default::default() }
}

/// A constant of integers.
pub(super) fn integers(name: &str, dims: &[i64], values: &[i64]) -> pb::TensorProto {
    pb::TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: DataType::Int64 as i32,
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

/// The truth value that is true.
pub(super) fn truth(name: &str) -> pb::TensorProto {
    let (data_type, int32_data) = (DataType::Bool as i32, vec![1]);
    pb::TensorProto { name: name.into(), data_type, int32_data, ..Default::default() }
}
