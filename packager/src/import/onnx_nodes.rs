//! The nodes of the ONNX file, and what the importer made of each.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb;

/// A node of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct OnnxNode {
    /// Its name; that of its first output where it has none, or one that an earlier node has, too.
    pub name: String,
    /// The operation, with its domain where that is not ONNX's own.
    pub op: String,
    /// What it became.
    pub became: Became,
}

/// What the importer made of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// Nodes of the graph that have its name, or have merged it by now.
    GraphNodes,
    /// Another name of what it reads.
    Alias,
    /// A constant, computed before the model runs. The node of the file that reads it, through other such
    /// nodes or at once; `None` where nothing does.
    Constant(Option<usize>),
    /// Nothing: it was refused.
    Refused,
}

/// A name for every node, none twice: reports tell nodes apart by it.
pub(crate) fn unique_names(graph: &pb::GraphProto) -> Vec<String> {
    let mut taken: HashSet<String> = HashSet::new();
    let nodes = graph.node.iter().enumerate();
    nodes
        .map(|(index, node)| {
            let output = node.output.iter().find(|name| !name.is_empty());
            let own = [Some(&node.name), output].into_iter().flatten();
            let free = own.filter(|name| !name.is_empty()).find(|name| !taken.contains(*name));
            let name = free.cloned().unwrap_or_else(|| format!("{}#{index}", node.op_type));
            taken.insert(name.clone());
            name
        })
        .collect()
}

/// The operation with its domain, where that is not ONNX's own.
pub(crate) fn full_op(node: &pb::NodeProto) -> String {
    if node.domain.is_empty() || node.domain == "ai.onnx" {
        node.op_type.clone()
    } else {
        format!("{}.{}", node.domain, node.op_type)
    }
}

/// Follows every constant to the node that reads it when the model runs.
pub(super) fn find_readers(graph: &pb::GraphProto, nodes: &mut [OnnxNode]) {
    let mut readers: HashMap<&str, usize> = HashMap::new();
    // Backwards: what reads a constant is known before it. Of several readers the first counts.
    for (index, node) in graph.node.iter().enumerate().rev() {
        let reader = match nodes[index].became {
            Became::Constant(_) => {
                let reader = node.output.iter().filter_map(|name| readers.get(name.as_str())).min();
                nodes[index].became = Became::Constant(reader.copied());
                reader.copied()
            }
            _ => Some(index),
        };
        if let Some(reader) = reader {
            for name in node.input.iter().filter(|name| !name.is_empty()) {
                readers.entry(name).and_modify(|first| *first = reader.min(*first)).or_insert(reader);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, inputs: &[&str], outputs: &[&str]) -> pb::NodeProto {
        let strings = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        pb::NodeProto {
            name: name.into(),
            op_type: "Op".into(),
            input: strings(inputs),
            output: strings(outputs),
            ..Default::default()
        }
    }

    #[test]
    fn names_are_told_apart() {
        let node = vec![
            node("a", &[], &["x"]),
            node("", &[], &["y"]),
            node("a", &[], &["z"]),
            node("y", &[], &["w"]),
            node("", &[], &[]),
        ];
        let graph = pb::GraphProto { node, ..Default::default() };
        assert_eq!(unique_names(&graph), ["a", "y", "z", "w", "Op#4"]);
    }

    #[test]
    fn constants_are_followed_to_who_reads_them() {
        let node = vec![
            node("shape", &["x"], &["s"]),
            node("gather", &["s"], &["g"]),
            node("unread", &["s"], &["u"]),
            node("reshape", &["x", "g"], &["y"]),
        ];
        let graph = pb::GraphProto { node, ..Default::default() };
        let became = [Became::Constant(None), Became::Constant(None), Became::Constant(None), Became::Alias];
        let named = |(name, became): (&str, Became)| OnnxNode { name: name.into(), op: "Op".into(), became };
        let mut nodes: Vec<OnnxNode> =
            ["shape", "gather", "unread", "reshape"].into_iter().zip(became).map(named).collect();
        find_readers(&graph, &mut nodes);
        let found: Vec<Became> = nodes.iter().map(|node| node.became).collect();
        let by_reshape = Became::Constant(Some(3));
        assert_eq!(found, [by_reshape, by_reshape, Became::Constant(None), Became::Alias]);
    }
}
