//! What became of every node of the user's model, and what it costs in accuracy: recorded when a package
//! is made, and kept in its provenance.
//!
//! Steps have the name of a node of the graph, and a node of the graph that of the first node of the file
//! that it stands for; passes keep the names of what they merge. So names are the thread from the file to
//! the plan, through strips and concatenations in place too.

mod error;
mod truth;

pub use error::{MAX_DB, NodeError, measure};
pub use truth::{NodeLine, StepFacts, Truth, constant_bytes, int8_macs, truth};

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::graph::Graph;
use crate::import::{Became, OnnxNode};

/// A node of the user's model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
pub struct NodeRecord {
    /// Its name. In a package it is empty where it is that of the step.
    pub name: String,
    /// The operation.
    pub op: String,
    /// What became of it.
    pub fate: Fate,
    /// What int8 costs, at the output of its last step; `None` where nobody measured.
    pub error: Option<NodeError>,
}

/// What became of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// It is computed by these steps, alone or with others, and by all of the same names. In a layer that
    /// runs in strips many steps have one name: here stands the first.
    Steps(Vec<usize>),
    /// It is computed by no step: its result is the bytes that it reads, in another shape or order, or at
    /// another scale.
    View,
    /// Its result is another name of what it reads.
    Alias,
    /// It is a constant, computed when the package was made, for the node of this number.
    Constant(usize),
    /// No output of the model needs it.
    Unused,
    /// It has no steps (of a model that could not be packaged).
    Refused,
}

/// The map of every node of the file, in its order. `step_names` are those of the plan, `errors` by node of
/// the graph.
pub fn node_map(
    nodes: &[OnnxNode],
    graph: &Graph,
    step_names: &[&str],
    errors: &[Option<NodeError>],
) -> Vec<NodeRecord> {
    let mut first_step: HashMap<&str, usize> = HashMap::new();
    for (index, name) in step_names.iter().enumerate() {
        first_step.entry(name).or_insert(index);
    }
    // By name of a node of the file: the nodes of the graph that stand for it.
    let mut graph_nodes: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        for name in std::iter::once(&node.name).chain(&node.merged) {
            graph_nodes.entry(name).or_default().push(index);
        }
    }
    let record = |node: &OnnxNode| {
        let stand_for = graph_nodes.get(node.name.as_str()).map_or(&[][..], Vec::as_slice);
        let fate = match node.became {
            Became::Refused => Fate::Refused,
            Became::Alias => Fate::Alias,
            Became::Constant(reader) => reader.map_or(Fate::Unused, Fate::Constant),
            Became::GraphNodes if stand_for.is_empty() => Fate::Unused,
            Became::GraphNodes => {
                let own = |&index: &usize| first_step.get(graph.nodes[index].name.as_str()).copied();
                let mut steps: Vec<usize> = stand_for.iter().filter_map(own).collect();
                steps.sort_unstable();
                steps.dedup();
                if steps.is_empty() { Fate::View } else { Fate::Steps(steps) }
            }
        };
        let error = stand_for.iter().rev().find_map(|&index| errors.get(index).copied().flatten());
        NodeRecord { name: node.name.clone(), op: node.op.clone(), fate, error }
    };
    nodes.iter().map(record).collect()
}

impl NodeRecord {
    /// Whether a step is named after it: then it is what the step does, and others are merged into it.
    pub fn names_step(&self, step_names: &[&str]) -> bool {
        match &self.fate {
            Fate::Steps(steps) => {
                steps.iter().any(|&step| step_names.get(step).is_some_and(|name| *name == self.name))
            }
            _ => false,
        }
    }
}

/// Takes out what the plan says anyhow: the names of steps; and the errors of nodes that are merged into a
/// step, which are those of the node that it is named after.
pub fn compact(records: &mut [NodeRecord], step_names: &[&str]) {
    for record in records {
        let Some(name) = first_step_name(record, step_names) else { continue };
        if name == record.name {
            record.name.clear();
        } else {
            record.error = None;
        }
    }
}

/// Puts it back.
pub fn expand(records: &mut [NodeRecord], step_names: &[&str]) {
    let mut errors: HashMap<&str, NodeError> = HashMap::new();
    for record in records.iter_mut().filter(|record| record.name.is_empty()) {
        let Some(name) = first_step_name(record, step_names) else { continue };
        record.name = name.to_string();
        errors.extend(record.error.map(|error| (name, error)));
    }
    for record in records.iter_mut().filter(|record| record.error.is_none()) {
        let name = first_step_name(record, step_names);
        record.error = name.and_then(|name| errors.get(name).copied());
    }
}

fn first_step_name<'a>(record: &NodeRecord, step_names: &[&'a str]) -> Option<&'a str> {
    match &record.fate {
        Fate::Steps(steps) => step_names.get(*steps.first()?).copied(),
        _ => None,
    }
}

/// As JSON has it: `[name, op, fate]`, or with the two SQNRs behind.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Wire {
    Plain(String, String, WireFate),
    Measured(String, String, WireFate, f32, f32),
}

/// One number is a step, a list is steps, an object is a constant and names its reader.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WireFate {
    Step(usize),
    Steps(Vec<usize>),
    Constant { r#for: usize },
    Word(String),
}

impl From<NodeRecord> for Wire {
    fn from(record: NodeRecord) -> Self {
        let fate = match record.fate {
            Fate::Steps(steps) => match steps[..] {
                [step] => WireFate::Step(step),
                _ => WireFate::Steps(steps),
            },
            Fate::Constant(reader) => WireFate::Constant { r#for: reader },
            Fate::View => WireFate::Word("view".into()),
            Fate::Alias => WireFate::Word("alias".into()),
            Fate::Unused => WireFate::Word("unused".into()),
            Fate::Refused => WireFate::Word("refused".into()),
        };
        match record.error {
            None => Self::Plain(record.name, record.op, fate),
            Some(error) => Self::Measured(record.name, record.op, fate, error.sqnr_db, error.own_sqnr_db),
        }
    }
}

impl From<Wire> for NodeRecord {
    fn from(wire: Wire) -> Self {
        let (name, op, fate, error) = match wire {
            Wire::Plain(name, op, fate) => (name, op, fate, None),
            Wire::Measured(name, op, fate, sqnr_db, own_sqnr_db) => {
                (name, op, fate, Some(NodeError { sqnr_db, own_sqnr_db }))
            }
        };
        let fate = match fate {
            WireFate::Step(step) => Fate::Steps(vec![step]),
            WireFate::Steps(steps) => Fate::Steps(steps),
            WireFate::Constant { r#for } => Fate::Constant(r#for),
            WireFate::Word(word) => match word.as_str() {
                "view" => Fate::View,
                "alias" => Fate::Alias,
                "refused" => Fate::Refused,
                _ => Fate::Unused,
            },
        };
        Self { name, op, fate, error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Clamp, Node, Op, ValueId};

    fn onnx(name: &str, became: Became) -> OnnxNode {
        OnnxNode { name: name.into(), op: "Op".into(), became }
    }

    fn node(name: &str, merged: &[&str]) -> Node {
        Node {
            name: name.into(),
            onnx_op: "Op".into(),
            op: Op::Reshape,
            inputs: vec![],
            output: ValueId(0),
            clamp: Clamp::NONE,
            precision: crate::graph::Precision::Int8,
            merged: merged.iter().map(|name| name.to_string()).collect(),
        }
    }

    #[test]
    fn every_node_has_its_fate_and_the_error_of_its_last_step() {
        let graph_nodes =
            vec![node("conv", &["relu"]), node("flatten", &[]), node("lstm", &[]), node("lstm", &[])];
        let graph = Graph { nodes: graph_nodes, ..Graph::default() };
        let nodes = [
            onnx("shape", Became::Constant(Some(3))),
            onnx("conv", Became::GraphNodes),
            onnx("relu", Became::GraphNodes),
            onnx("flatten", Became::GraphNodes),
            onnx("dropout", Became::Alias),
            onnx("lstm", Became::GraphNodes),
            onnx("unread", Became::Constant(None)),
            onnx("dead", Became::GraphNodes),
        ];
        let error = |db| Some(NodeError { sqnr_db: db, own_sqnr_db: db + 1.0 });
        let errors = [error(30.0), None, error(20.0), error(10.0)];
        let names = ["conv", "conv", "lstm", "conv", "lstm"];
        let map = node_map(&nodes, &graph, &names, &errors);
        let fates: Vec<Fate> = map.iter().map(|record| record.fate.clone()).collect();
        let expected = [
            Fate::Constant(3),
            Fate::Steps(vec![0]),
            Fate::Steps(vec![0]),
            Fate::View,
            Fate::Alias,
            Fate::Steps(vec![2]),
            Fate::Unused,
            Fate::Unused,
        ];
        assert_eq!(fates, expected);
        assert_eq!((map[1].error, map[2].error, map[5].error), (errors[0], errors[0], errors[3]));
        let heads: Vec<bool> = map.iter().map(|record| record.names_step(&names)).collect();
        assert_eq!(heads, [false, true, false, false, false, true, false, false]);
    }

    #[test]
    fn records_come_back_from_json() {
        let record = |name: &str, fate, error| NodeRecord { name: name.into(), op: "Op".into(), fate, error };
        let error = Some(NodeError { sqnr_db: 31.2, own_sqnr_db: 40.5 });
        let records = vec![
            record("a", Fate::Steps(vec![1]), error),
            record("merged", Fate::Steps(vec![1]), error),
            record("b", Fate::Steps(vec![0, 1]), None),
            record("c", Fate::View, error),
            record("d", Fate::Alias, None),
            record("e", Fate::Constant(7), None),
            record("f", Fate::Unused, None),
            record("g", Fate::Refused, None),
        ];
        let names = ["x", "a"];
        let mut stored = records.clone();
        compact(&mut stored, &names);
        let json = serde_json::to_string(&stored).unwrap();
        assert!(
            json.starts_with(
                r#"[["","Op",1,31.2,40.5],["merged","Op",1],["b","Op",[0,1]],["c","Op","view",31.2,40.5],"#
            ),
            "{json}"
        );
        let mut read: Vec<NodeRecord> = serde_json::from_str(&json).unwrap();
        expand(&mut read, &names);
        assert_eq!(read, records);
    }
}
