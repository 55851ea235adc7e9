//! Which nodes become islands, and which of them together.
//!
//! A node is of an island where it has no steps of edgepack's own, or where it reads what those do not: integers of
//! more than 16 bits or f64 that an island makes, which f32 numbers would not hold. Then every maximal connected part
//! of such nodes between which no path leads over others is one island, so that no cycle arises.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use edgepack_format::plan::ElemType;
use tract_onnx::pb;

use super::facts::Facts;
use super::{Became, Importer, node_name};
use crate::error::{PackError, Result};
use crate::graph::{Clamp, Node, Op, Precision, ValueId};
use crate::islands::{End, Island, Islands, initializer};

/// The nodes of islands, as far as they are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sorted {
    /// By node of the graph that is converted: why it is of an island.
    pub why: Vec<Option<String>>,
    /// Values that native steps cannot read.
    foreign: HashSet<String>,
    /// Whether integers of the application are of those.
    integers: bool,
}

impl Sorted {
    /// Before anything is known.
    pub fn new(islands: Islands, nodes: usize) -> Self {
        let why = match islands {
            Islands::All => Some("--islands all".to_string()),
            _ => None,
        };
        let integers = islands == Islands::Integers;
        Self { why: vec![why; nodes], foreign: HashSet::new(), integers }
    }

    /// How many nodes are of islands.
    pub fn count(&self) -> usize {
        self.why.iter().flatten().count()
    }

    /// Notes what the application gives in another type than f32.
    pub fn input(&mut self, name: &str, dtype: Option<ElemType>) {
        let is_native = |dtype| dtype == ElemType::F32 || is_native_integer(dtype) && !self.integers;
        if !dtype.is_some_and(is_native) {
            self.foreign.insert(name.into());
        }
    }

    /// Why a node is of an island before its conversion is tried, if it is.
    pub fn reason(
        &self,
        index: usize,
        node: &pb::NodeProto,
        onnx: &pb::GraphProto,
        facts: &Facts,
    ) -> Option<String> {
        if let Some(why) = &self.why[index] {
            return Some(why.clone());
        }
        if let Some(read) = reads(node).into_iter().find(|name| self.foreign.contains(name)) {
            return Some(format!("it reads `{read}`, of a type that edgepack's own steps do not have"));
        }
        let ends = |name: &&String| {
            let dtype = facts.own_type(name);
            dtype.is_some_and(|dtype| dtype != ElemType::F32)
                && onnx.output.iter().any(|end| end.name == **name)
        };
        let output = node.output.iter().find(ends)?;
        Some(format!("it gives the output `{output}`, of a type that edgepack's own steps do not have"))
    }

    /// Notes that a node is of an island.
    pub fn note(&mut self, index: usize, node: &pb::NodeProto, why: String, facts: &Facts) {
        self.why[index] = Some(why);
        let is_foreign = |name: &&String| !facts.own_type(name).is_some_and(is_exact_in_f32);
        self.foreign.extend(node.output.iter().filter(is_foreign).cloned());
    }
}

/// Whether native steps take and give a type as numbers that are proved to be small enough.
fn is_native_integer(dtype: ElemType) -> bool {
    dtype.is_integer()
}

/// Whether f32 holds every number of a type.
fn is_exact_in_f32(dtype: ElemType) -> bool {
    !matches!(dtype, ElemType::I32 | ElemType::U32 | ElemType::I64 | ElemType::U64 | ElemType::F64)
}

/// What a node reads, also inside of its sub-graphs.
pub(super) fn reads(node: &pb::NodeProto) -> Vec<String> {
    let mut names: Vec<String> = node.input.iter().filter(|name| !name.is_empty()).cloned().collect();
    let inner = node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs));
    for graph in inner {
        let own =
            graph.input.iter().map(|input| &input.name).chain(graph.initializer.iter().map(|t| &t.name));
        let own: HashSet<&String> = own.chain(graph.node.iter().flat_map(|node| &node.output)).collect();
        let outputs = graph.output.iter().map(|output| output.name.clone());
        let read = graph.node.iter().flat_map(reads).chain(outputs);
        names.extend(read.filter(|name| !own.contains(name)));
    }
    names
}

/// As [`super::survey`], where nodes that cannot be converted become islands.
///
/// # Errors
/// As that, and what tract does not take either.
pub(crate) fn survey_with_islands(
    file: &super::OnnxFile,
    shapes: &[(String, Vec<usize>)],
    islands: Islands,
) -> Result<super::Survey> {
    let mut sorted = Sorted::new(islands, 0);
    // Where more nodes turn out to be of islands, tract says more about what they give, and others follow.
    for _ in 0..MOST_PASSES {
        let (survey, after) = super::pass_over(file, shapes, Some((sorted.clone(), islands)), false)?;
        if after.count() == 0 || !survey.refusals.is_empty() {
            return Ok(survey);
        }
        let is_known = after.count() == sorted.count();
        sorted = after;
        if is_known {
            break;
        }
    }
    super::pass_over(file, shapes, Some((sorted, islands)), true).map(|(survey, _)| survey)
}

/// Of the search for the nodes of islands; most are found by the first.
const MOST_PASSES: usize = 6;

/// What is converted in place of the nodes of the file.
#[derive(Debug)]
pub(super) enum Item {
    /// A node.
    Node(usize),
    /// An island.
    Island(Cut),
}

/// An island and its place in the graph.
#[derive(Debug)]
pub(super) struct Cut {
    /// Its nodes.
    pub nodes: Vec<usize>,
    inputs: Vec<End>,
    outputs: Vec<End>,
    island: Arc<Island>,
}

/// The nodes in an order in which they can run, those of islands together.
///
/// # Errors
/// What tract does not take either: of the first node of the island.
pub(super) fn cut(
    path: &std::path::Path,
    proto: &pb::ModelProto,
    sorted: &Sorted,
    facts: &Facts,
    opset: i64,
) -> Result<Vec<Item>> {
    let empty = pb::GraphProto::default();
    let onnx = proto.graph.as_ref().unwrap_or(&empty);
    let is_constant = |index: usize| {
        onnx.node[index].output.iter().all(|name| name.is_empty() || facts.constant(name).is_some())
    };
    let in_island = |index: usize| sorted.why[index].is_some() && !is_constant(index);
    let groups = Groups::new(onnx, &in_island);
    let mut items: Vec<(usize, Item)> = Vec::new();
    for (index, _) in onnx.node.iter().enumerate() {
        if !in_island(index) {
            items.push((groups.depth[index], Item::Node(index)));
        } else if groups.root(index) == index {
            let nodes: Vec<usize> =
                (0..onnx.node.len()).filter(|&i| in_island(i) && groups.root(i) == index).collect();
            let cut =
                one(path, proto, onnx, nodes, sorted, facts, &in_island).map_err(|(node, reason)| {
                    let why = sorted.why[node].clone().unwrap_or_default();
                    PackError::Unsupported {
                        node: node_name(&onnx.node[node]),
                        op: super::full_op(&onnx.node[node]),
                        opset,
                        reason: format!("cannot become an island ({reason}; {why})"),
                        remedy: super::nodes::REMEDY.into(),
                    }
                })?;
            items.push((groups.depth[index], Item::Island(cut)));
        }
    }
    // Edges never lead to a lesser depth, and inside of a depth the order of the file is one that can run.
    items.sort_by_key(|(depth, _)| *depth);
    Ok(items.into_iter().map(|(_, item)| item).collect())
}

/// The connected nodes of islands of the same depth.
struct Groups {
    /// By node: how often a path to it changes, at most, between islands and others.
    depth: Vec<usize>,
    /// By node: another one of its group, itself for one of them, the first.
    parent: Vec<usize>,
}

impl Groups {
    fn new(onnx: &pb::GraphProto, in_island: &impl Fn(usize) -> bool) -> Self {
        let count = onnx.node.len();
        let mut makers: HashMap<&str, usize> = HashMap::new();
        let mut groups = Self { depth: vec![0; count], parent: (0..count).collect() };
        for (index, node) in onnx.node.iter().enumerate() {
            let before: Vec<usize> =
                reads(node).iter().filter_map(|name| makers.get(name.as_str()).copied()).collect();
            let own = usize::from(in_island(index));
            let changes = |&maker: &usize| groups.depth[maker] + usize::from(groups.depth[maker] % 2 != own);
            groups.depth[index] = before.iter().map(changes).max().unwrap_or(0).max(own);
            for maker in before {
                if own == 1 && in_island(maker) && groups.depth[maker] == groups.depth[index] {
                    groups.join(maker, index);
                }
            }
            makers.extend(node.output.iter().map(|name| (name.as_str(), index)));
        }
        groups
    }

    fn root(&self, mut index: usize) -> usize {
        while self.parent[index] != index {
            index = self.parent[index];
        }
        index
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }
}

/// Cuts one island out; the node that is the trouble, and why, where it cannot be.
fn one(
    path: &std::path::Path,
    proto: &pb::ModelProto,
    onnx: &pb::GraphProto,
    nodes: Vec<usize>,
    sorted: &Sorted,
    facts: &Facts,
    in_island: &impl Fn(usize) -> bool,
) -> std::result::Result<Cut, (usize, String)> {
    let first = nodes[0];
    let members: HashSet<usize> = nodes.iter().copied().collect();
    let made: HashSet<&String> = nodes.iter().flat_map(|&i| &onnx.node[i].output).collect();
    let mut read: Vec<String> = Vec::new();
    for name in nodes.iter().flat_map(|&i| reads(&onnx.node[i])) {
        if !made.contains(&name) && !read.contains(&name) {
            read.push(name);
        }
    }
    let maker = |name: &String| onnx.node.iter().position(|node| node.output.contains(name));
    let end = |name: &String, given: &dyn Fn(ElemType) -> ElemType| {
        let dtype = facts.own_type(name).ok_or((first, format!("the type of `{name}` is not known")))?;
        let dims =
            facts.dims(name).ok_or((first, format!("the shape of `{name}` is not known before it runs")))?;
        Ok(End { name: name.clone(), dtype, given: given(dtype), dims })
    };
    // A value that an island makes leaves in its own type where f32 does not hold it.
    let of_island = |dtype| if is_exact_in_f32(dtype) { ElemType::F32 } else { dtype };
    let (mut inputs, mut initializers) = (Vec::new(), Vec::new());
    for name in &read {
        if let Some(constant) = onnx.initializer.iter().find(|tensor| tensor.name == *name) {
            initializers.push(constant.clone());
        } else if let Some(constant) = facts.constant(name) {
            let constant = initializer(name, &constant);
            initializers.push(constant.ok_or((first, format!("the constant `{name}` is of no plain type")))?);
        } else {
            inputs.push(match maker(name) {
                // What the application gives: integers become numbers where native steps read them, too.
                None if is_read_natively(onnx, name, in_island) => end(name, &|_| ElemType::F32)?,
                None => end(name, &|dtype| dtype)?,
                Some(maker) if in_island(maker) => end(name, &of_island)?,
                // Native steps make numbers of f32.
                Some(_) => end(name, &|_| ElemType::F32)?,
            });
        }
    }
    let mut outputs = Vec::new();
    for name in nodes.iter().flat_map(|&i| &onnx.node[i].output).filter(|name| !name.is_empty()) {
        if facts.constant(name).is_some() {
            continue;
        }
        let readers = onnx
            .node
            .iter()
            .enumerate()
            .filter(|(index, node)| !members.contains(index) && reads(node).contains(name));
        let is_read = readers.count() > 0;
        if is_read {
            outputs.push(end(name, &of_island)?);
        }
        let is_end = onnx.output.iter().any(|output| output.name == *name);
        let already = is_read && facts.own_type(name).is_some_and(|dtype| of_island(dtype) == dtype);
        if is_end && !already {
            outputs.push(end(name, &|dtype| dtype)?);
        }
    }
    let graph = pb::GraphProto {
        name: onnx.name.clone(),
        node: nodes.iter().map(|&i| onnx.node[i].clone()).collect(),
        initializer: initializers,
        ..Default::default()
    };
    // The other initializers stay out of the copy.
    let model = pb::ModelProto {
        graph: Some(graph),
        ir_version: proto.ir_version,
        opset_import: proto.opset_import.clone(),
        functions: proto.functions.clone(),
        ..Default::default()
    };
    let island = Island::new(path, model, &inputs, &outputs);
    let island = island.map_err(|reason| {
        let named = nodes.iter().find(|&&i| reason.contains(&format!("\"{}\"", onnx.node[i].name)));
        (named.copied().or(nodes.iter().copied().find(|&i| sorted.why[i].is_some())).unwrap_or(first), reason)
    })?;
    Ok(Cut { nodes, inputs, outputs, island: Arc::new(island) })
}

fn is_read_natively(onnx: &pb::GraphProto, name: &str, in_island: &impl Fn(usize) -> bool) -> bool {
    let mut readers =
        onnx.node.iter().enumerate().filter(|(_, node)| reads(node).iter().any(|read| read == name));
    readers.any(|(index, _)| !in_island(index)) || onnx.output.iter().any(|output| output.name == name)
}

/// The inputs that islands read in their own type, which is not f32.
pub(super) fn raw_inputs(items: &[Item]) -> Vec<String> {
    let cuts = items.iter().filter_map(|item| match item {
        Item::Island(cut) => Some(cut),
        Item::Node(_) => None,
    });
    let ends = cuts.flat_map(|cut| &cut.inputs).filter(|end| end.given != ElemType::F32);
    ends.map(|end| end.name.clone()).collect()
}

impl Importer {
    /// Whether some nodes were found to be of islands, which are still to be cut.
    pub(super) fn sorts_islands(&self) -> bool {
        self.sorted.as_ref().is_some_and(|sorted| sorted.count() > 0)
    }

    /// Values for what a refused node gives: what follows is converted as if it were not the trouble.
    pub(super) fn stand_in(&mut self, node: &pb::NodeProto) {
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            if let Some(dims) = self.facts.dims(output) {
                let id = self.graph.add_value(output, dims);
                self.names.insert(output.clone(), id);
            }
        }
    }

    /// Adds an island, and notes what its nodes became.
    pub(super) fn place(&mut self, cut: &Cut, onnx: &pb::GraphProto, origins: &[usize]) {
        let of = |&index: &usize| self.nodes[origins[index]].name.clone();
        let names: Vec<String> = cut.nodes.iter().map(of).collect();
        let op = cut.nodes.last().map_or(String::new(), |&last| onnx.node[last].op_type.clone());
        let became = match self.island(cut, names, op) {
            Ok(()) => Became::GraphNodes,
            Err(refusal) => {
                self.refusals.push(refusal);
                Became::Refused
            }
        };
        cut.nodes.iter().for_each(|&index| self.nodes[origins[index]].became = became);
    }

    /// Adds the nodes of an island's outputs. `names` are those of its nodes.
    fn island(&mut self, cut: &Cut, names: Vec<String>, onnx_op: String) -> Result<()> {
        let (name, merged) =
            names.split_last().map_or((String::new(), vec![]), |(last, rest)| (last.clone(), rest.to_vec()));
        let mut inputs = Vec::new();
        for end in &cut.inputs {
            let own = (end.given != ElemType::F32).then(|| self.raw.get(&end.name).copied()).flatten();
            let known = own.or_else(|| self.names.get(&end.name).copied());
            let known = known.filter(|&id| self.graph.value(id).constant.is_none());
            inputs.push(known.ok_or_else(|| PackError::Unsupported {
                node: name.clone(),
                op: onnx_op.clone(),
                opset: self.opset,
                reason: format!("reads `{}`, which is not there for an island", end.name),
                remedy: super::nodes::REMEDY.into(),
            })?);
        }
        let mut first: Option<ValueId> = None;
        for (output, end) in cut.outputs.iter().enumerate() {
            let id = self.graph.add_value(&end.name, end.dims.clone());
            if end.given == ElemType::F32 {
                self.names.insert(end.name.clone(), id);
            } else {
                self.graph.values[id.0].dtype = end.given;
                self.graph.values[id.0].raw = true;
                self.raw.insert(end.name.clone(), id);
            }
            self.graph.nodes.push(Node {
                name: name.clone(),
                onnx_op: onnx_op.clone(),
                op: Op::Island { island: cut.island.clone(), output },
                inputs: inputs.iter().copied().chain(first).collect(),
                output: id,
                clamp: Clamp::NONE,
                precision: Precision::F32,
                merged: merged.clone(),
            });
            first = first.or(Some(id));
        }
        Ok(())
    }
}
