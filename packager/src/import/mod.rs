//! ONNX to [`Graph`].
//!
//! The nodes are read from the parsed protobuf, so that the user's names survive; tract's analysis
//! of the same file gives every shape, and every value that is known before the model runs.

mod attributes;
mod axes;
mod context;
mod control;
mod convolution;
mod einsum;
mod facts;
mod fixed;
mod grid;
mod indices;
mod islands;
mod legacy;
mod linear;
mod logic;
pub mod nodes;
mod norm;
mod notes;
mod onnx_nodes;
mod operands;
mod parts;
mod products;
mod quantized;
mod recurrent;
mod reduce;
mod reshape;
mod resize;
mod slice;
mod suppression;
mod taken;
mod transposed;
mod unrolled;
mod whole;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use edgepack_engine::format::plan::ElemType;
use tract_onnx::pb;

use crate::error::{PackError, Result};
use crate::evaluate::evaluate_op;
use crate::graph::{Clamp, Graph, Node, Op, Precision, Tensor, ValueId};
use crate::guard::root_cause;
use crate::islands::Islands;
use crate::lower::take;
use crate::unary::Unary;
use context::Context;
use facts::Facts;
pub(crate) use facts::{batch_of_one, bind_input, real_inputs};
pub use fixed::{Fixed, bound_copy};
pub(crate) use islands::survey_with_islands;
use islands::{Item, Sorted};
pub use notes::Note;
pub use onnx_nodes::{Became, OnnxNode};
pub(crate) use onnx_nodes::{full_op, unique_names};
use quantized::{FloatModel, Given};

/// A model as it was read: the graph, and where it came from.
#[derive(Debug)]
pub struct Model {
    /// The graph.
    pub graph: Graph,
    /// The file.
    pub path: PathBuf,
    /// Size of the file (and of its external data).
    pub file_bytes: u64,
    /// BLAKE3 of the file, in hexadecimal.
    pub hash: String,
    /// Version of the operator set.
    pub opset: i64,
    /// What wrote the file.
    pub producer: String,
    /// The nodes of the file, and what became of each.
    pub nodes: Vec<OnnxNode>,
    /// The shapes that every input was bound to.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// How it was quantized when it arrived, if it was.
    pub arrived: Option<Arrived>,
    /// The nodes that tract runs, and why.
    pub islands: Vec<(String, String)>,
    /// What to know of its nodes.
    pub notes: Vec<Note>,
}

/// What is known of a model that arrived quantized, apart from the scales, which the graph has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arrived {
    /// The forms in which it is written: QDQ, QOperator, dynamic.
    pub forms: Vec<&'static str>,
    /// What could not be taken as it is, in sentences that name nodes and tensors.
    pub notes: Vec<String>,
}

/// Reads an ONNX file. `shapes` binds the inputs whose shapes the file leaves open.
///
/// # Errors
/// Every way in which the file may be unusable, naming the node, input or initializer and what to do.
pub fn import(path: &Path, shapes: &[(String, Vec<usize>)]) -> Result<Model> {
    import_with_islands(path, shapes, &[], Islands::Never)
}

/// As [`import`], with inputs bound to one value, and islands of the nodes that edgepack has no steps for, or of all.
///
/// # Errors
/// As [`import`], of what tract does not take either.
pub fn import_with_islands(
    path: &Path,
    shapes: &[(String, Vec<usize>)],
    fixed: &Fixed,
    islands: Islands,
) -> Result<Model> {
    let file = OnnxFile::read(path, fixed)?;
    facts::check_external_data(path, file.graph())?;
    let Survey { model, refusals } = match islands {
        Islands::Never => {
            nodes::check_supported(file.graph(), file.opset)?;
            survey(&file, shapes)?
        }
        _ => survey_with_islands(&file, shapes, islands)?,
    };
    refusals.into_iter().next().map_or(Ok(model), Err)
}

/// An ONNX file, parsed.
pub(crate) struct OnnxFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What they say, with inputs bound.
    pub proto: pb::ModelProto,
    /// Version of ONNX's own operator set.
    pub opset: i64,
}

impl OnnxFile {
    /// # Errors
    /// The file cannot be read, is no ONNX model, or has not the inputs that are bound.
    pub fn read(path: &Path, fixed: &Fixed) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|source| PackError::Io { path: path.into(), source })?;
        let mut proto = parse(path, &bytes)?;
        if let Some(graph) = proto.graph.as_ref().filter(|_| !fixed.is_empty()) {
            let bound = [&bytes[..], &fixed::binding(graph, fixed)?].concat();
            proto = parse(path, &bound)?;
        }
        let opset = opset(&proto);
        Ok(Self { path: path.into(), bytes, proto, opset })
    }

    /// The model's graph.
    pub fn graph(&self) -> &pb::GraphProto {
        self.proto.graph.as_ref().expect("`parse` gives no model without a graph")
    }
}

/// A model, and all that is wrong with its nodes: the graph is whole where that is nothing.
pub(crate) struct Survey {
    pub model: Model,
    pub refusals: Vec<PackError>,
}

/// Converts every node that can be.
///
/// # Errors
/// Inputs without a shape, and what keeps tract from analysing the model at all.
pub(crate) fn survey(file: &OnnxFile, shapes: &[(String, Vec<usize>)]) -> Result<Survey> {
    pass_over(file, shapes, None, false).map(|(survey, _)| survey)
}

/// Converts every node that can be. With `sorted`, inputs may be of any type, and what cannot be converted is noted
/// there; where that is all that there is, `cut` makes islands of it.
fn pass_over(
    file: &OnnxFile,
    shapes: &[(String, Vec<usize>)],
    sorted: Option<(Sorted, Islands)>,
    cut: bool,
) -> Result<(Survey, Sorted)> {
    if let Some((flat, notes)) = control::flatten(file, shapes, sorted.is_some())? {
        let (mut survey, sorted) = convert_flat(&flat, shapes, sorted, cut)?;
        survey.model.notes.splice(..0, notes);
        return Ok((survey, sorted));
    }
    convert_flat(file, shapes, sorted, cut)
}

/// As [`pass_over`], of a file without control flow.
fn convert_flat(
    file: &OnnxFile,
    shapes: &[(String, Vec<usize>)],
    sorted: Option<(Sorted, Islands)>,
    cut: bool,
) -> Result<(Survey, Sorted)> {
    let names = onnx_nodes::unique_names(file.graph());
    let float = quantized::to_float(file, &names)?;
    let is_quantized = float.is_some();
    // The nodes that are converted, and which of the file each is.
    let (proto, origins, given) = match float {
        Some(FloatModel { proto, origins, given }) => (Cow::Owned(proto), origins, given),
        None => (Cow::Borrowed(&file.proto), (0..names.len()).collect(), Given::default()),
    };
    let graph = proto.graph.as_ref().unwrap_or(file.graph());
    let shapes = facts::bind_shapes(graph, shapes, sorted.is_some())?;
    axes::check_axes(graph)?;
    let sorted = sorted.map(|(mut sorted, islands)| {
        if sorted.why.len() != graph.node.len() {
            sorted = Sorted::new(islands, graph.node.len());
        }
        sorted
    });
    let of_islands = |index: usize| sorted.as_ref().is_some_and(|sorted| sorted.why[index].is_some());
    let facts = Facts::new(&file.path, &proto, &shapes, of_islands)?;
    let items = match &sorted {
        Some(sorted) if cut => islands::cut(&file.path, &proto, sorted, &facts, file.opset)?,
        _ => (0..graph.node.len()).map(Item::Node).collect(),
    };
    let why = sorted.clone().filter(|_| cut).map_or(vec![], |sorted| sorted.why);
    let mut importer = Importer::new(facts, file.opset, given);
    importer.raw_inputs = islands::raw_inputs(&items);
    importer.sorted = sorted.filter(|_| !cut);
    // What is not converted is a constant, or went into another node.
    let unconverted = |(name, node): (String, &pb::NodeProto)| {
        let became = if node.op_type == "DequantizeLinear" { Became::Constant(None) } else { Became::Alias };
        OnnxNode { name, op: full_op(node), became }
    };
    importer.nodes = names.into_iter().zip(&file.graph().node).map(unconverted).collect();
    importer.run(graph, &origins, &items);
    let of_islands = why.into_iter().zip(&origins);
    let islands = (of_islands.filter(|(_, origin)| importer.nodes[**origin].became == Became::GraphNodes))
        .filter_map(|(why, &origin)| Some((importer.nodes[origin].name.clone(), why?)))
        .collect();
    onnx_nodes::find_readers(file.graph(), &mut importer.nodes);
    let producer = format!("{} {}", file.proto.producer_name, file.proto.producer_version);
    let external_bytes = facts::check_external_data(&file.path, file.graph()).unwrap_or(0);
    let model = Model {
        graph: importer.graph,
        path: file.path.clone(),
        file_bytes: file.bytes.len() as u64 + external_bytes,
        hash: blake3::hash(&file.bytes).to_hex().to_string(),
        opset: file.opset,
        producer: producer.trim().to_string(),
        nodes: importer.nodes,
        shapes,
        arrived: is_quantized.then_some(Arrived { forms: importer.given.forms, notes: importer.given.notes }),
        islands,
        notes: importer.notes,
    };
    let sorted = importer.sorted.unwrap_or_default();
    Ok((Survey { model, refusals: importer.refusals }, sorted))
}

fn parse(path: &Path, bytes: &[u8]) -> Result<pb::ModelProto> {
    use tract_onnx::prelude::Framework;
    let not_onnx = |reason: String| PackError::NotOnnx { path: path.into(), reason };
    let proto = tract_onnx::onnx()
        .proto_model_for_read(&mut &bytes[..])
        .map_err(|error| not_onnx(format!("{} ({} bytes)", root_cause(&error), bytes.len())))?;
    match &proto.graph {
        None => Err(not_onnx("it holds no graph".into())),
        Some(graph) if graph.node.is_empty() => Err(not_onnx("its graph has no nodes".into())),
        Some(graph) if graph.output.is_empty() => Err(not_onnx("its graph has no outputs".into())),
        Some(_) => Ok(proto),
    }
}

fn opset(proto: &pb::ModelProto) -> i64 {
    let default = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    proto.opset_import.iter().find(|import| default(&import.domain)).map_or(1, |import| import.version)
}

/// The name of a node, or of its first output where it has none.
fn node_name(node: &pb::NodeProto) -> String {
    if node.name.is_empty() { node.output.first().cloned().unwrap_or_default() } else { node.name.clone() }
}

struct Importer {
    facts: Facts,
    opset: i64,
    graph: Graph,
    /// ONNX value name to value.
    names: std::collections::HashMap<String, ValueId>,
    /// The nodes of the file, and what became of each so far.
    nodes: Vec<OnnxNode>,
    /// What is wrong with nodes and outputs. The graph is whole where this is empty.
    refusals: Vec<PackError>,
    /// The scales of a model that arrived quantized.
    given: Given,
    /// The values of a type of their own, which only islands read and write.
    raw: std::collections::HashMap<String, ValueId>,
    /// The inputs that islands alone read, of another type than f32.
    raw_inputs: Vec<String>,
    /// While nodes are sorted into islands and others.
    sorted: Option<Sorted>,
    /// What to know of nodes.
    notes: Vec<Note>,
}

impl Importer {
    fn new(facts: Facts, opset: i64, given: Given) -> Self {
        let (graph, names) = (Graph::default(), Default::default());
        let (nodes, refusals, raw) = (Vec::new(), Vec::new(), Default::default());
        let (raw_inputs, sorted, notes) = (vec![], None, vec![]);
        Self { facts, opset, graph, names, nodes, refusals, given, raw, raw_inputs, sorted, notes }
    }

    /// Converts every node, also behind those that are refused, so that all that is wrong is known at once.
    /// `origins` tells which of [`Importer::nodes`] each is.
    fn run(&mut self, onnx: &pb::GraphProto, origins: &[usize], items: &[Item]) {
        for input in facts::real_inputs(onnx) {
            let dims = self.facts.dims(&input.name).unwrap_or_default();
            let id = self.graph.add_value(&input.name, dims);
            self.graph.values[id.0].given = self.given_quant(&input.name);
            self.graph.values[id.0].dtype = facts::declared_type(input).unwrap_or(ElemType::F32);
            self.names.insert(input.name.clone(), id);
            self.graph.inputs.push(id);
            let dtype = facts::any_type(input);
            if let Some(sorted) = &mut self.sorted {
                sorted.input(&input.name, dtype);
            } else if let Some(dtype) = dtype.filter(|_| self.raw_inputs.contains(&input.name)) {
                self.graph.values[id.0].dtype = dtype;
                self.graph.values[id.0].raw = true;
                self.raw.insert(input.name.clone(), id);
            }
        }
        for item in items {
            match item {
                Item::Node(index) => {
                    let name = self.nodes[origins[*index]].name.clone();
                    self.nodes[origins[*index]].became = self.import(*index, onnx, &name);
                }
                Item::Island(cut) => self.place(cut, onnx, origins),
            }
        }
        for output in &onnx.output {
            if let Some(&id) = self.raw.get(&output.name) {
                self.graph.outputs.push(id);
                continue;
            }
            // Of what islands give, nothing is known yet.
            if self.sorts_islands() {
                continue;
            }
            self.refusals.extend(facts::check_output(output).err());
            self.refusals.extend(self.facts.check_type(output).err());
            let id = self.names.get(&output.name).copied();
            let known = id.filter(|id| self.graph.value(*id).constant.is_none());
            if let Some(id) = known {
                let id = self.under_name(id, output);
                self.graph.outputs.push(id);
            } else if self.refusals.is_empty() {
                self.refusals.push(facts::unsupported_end(
                    &output.name,
                    "output",
                    "does not depend on any input",
                    "Remove it from the model's outputs: the application knows it beforehand",
                ));
            }
        }
    }

    fn import(&mut self, index: usize, onnx: &pb::GraphProto, name: &str) -> Became {
        let node = &onnx.node[index];
        let known = |name: &String| name.is_empty() || self.facts.constant(name).is_some();
        // What tract could compute is a constant from here on.
        if node.output.iter().all(known) {
            return Became::Constant(None);
        }
        let graph_nodes = self.graph.nodes.len();
        if let Some(sorted) = &mut self.sorted
            && let Some(why) = sorted.reason(index, node, onnx, &self.facts)
        {
            sorted.note(index, node, why, &self.facts);
            self.stand_in(node);
            return Became::Refused;
        }
        match self.convert(node, name) {
            Ok(()) if self.graph.nodes.len() > graph_nodes => Became::GraphNodes,
            Ok(()) if self.folded(node) => Became::Constant(None),
            Ok(()) => Became::Alias,
            Err(refusal) => {
                let refusal = nodes::with_islands(refusal);
                // A model that contradicts itself is no matter of steps.
                let of_steps = matches!(refusal, PackError::Unsupported { .. }) || self.reads_refused(node);
                if let Some(sorted) = self.sorted.as_mut().filter(|_| of_steps) {
                    sorted.note(index, node, refusal.to_string(), &self.facts);
                } else if !self.reads_refused(node) {
                    self.refusals.push(refusal);
                }
                self.stand_in(node);
                Became::Refused
            }
        }
    }

    /// Whether all that a node gives is known by now.
    fn folded(&self, node: &pb::NodeProto) -> bool {
        let is_constant = |name: &String| {
            name.is_empty() || self.names.get(name).is_none_or(|&id| self.graph.value(id).constant.is_some())
        };
        node.output.iter().all(is_constant)
    }

    /// Whether a node reads what is not there because its maker was refused: the maker is the trouble then.
    fn reads_refused(&self, node: &pb::NodeProto) -> bool {
        let is_there = |name: &String| {
            name.is_empty() || self.names.contains_key(name) || self.facts.constant(name).is_some()
        };
        let some_are_refused = !self.refusals.is_empty() || self.sorts_islands();
        some_are_refused && !node.input.iter().all(is_there)
    }

    /// An output has the name that the user gave it, also where it is only another name of a value
    /// (an Identity, Dropout or Cast at the end): a reshape to the same shape, which costs nothing.
    /// It has the type that the model gives it, and is no input: what an application gets it gets from a step.
    fn under_name(&mut self, id: ValueId, output: &pb::ValueInfoProto) -> ValueId {
        let name = &output.name;
        let dtype = facts::declared_type(output).unwrap_or_else(|| self.facts.dtype(name));
        if self.graph.value(id).name == *name && self.graph.value(id).dtype == dtype {
            return id;
        }
        let output = self.graph.add_value(name, self.graph.dims(id).to_vec());
        self.graph.values[output.0].given = self.graph.value(id).given;
        self.graph.values[output.0].dtype = dtype;
        self.graph.nodes.push(Node {
            name: name.into(),
            onnx_op: "Identity".into(),
            op: Op::Reshape,
            inputs: vec![id],
            output,
            clamp: Clamp::NONE,
            precision: Precision::Int8,
            merged: Vec::new(),
        });
        output
    }

    fn convert(&mut self, node: &pb::NodeProto, name: &str) -> Result<()> {
        let context = Context { node, name: name.into(), opset: self.opset };
        let converter = nodes::converter(&node.op_type)
            .ok_or_else(|| context.unsupported("is not supported", nodes::REMEDY))?;
        legacy::check_broadcast(self, &context)?;
        let before = self.graph.nodes.len();
        converter(self, &context)?;
        self.note_types(before);
        self.graph.nodes[before..].iter().try_for_each(|node| check_copies(&context, &node.op))
    }

    /// Notes which of the values that nodes from `before` on make are integers: those that are of such a type in
    /// the model, and parts that are made of nothing else.
    fn note_types(&mut self, before: usize) {
        let is_number = |dtype| matches!(dtype, ElemType::I32 | ElemType::I64);
        let made = self.graph.nodes[before..].iter().map(|node| node.output);
        for id in made.clone().collect::<Vec<_>>() {
            let value = &mut self.graph.values[id.0];
            value.dtype = self.facts.dtype(&value.name);
        }
        let reads = self.graph.nodes[before..].iter().flat_map(|node| &node.inputs).copied();
        let chooses = |node: &Node| matches!(node.op, Op::TopK(_) | Op::NonMaxSuppression(_));
        let computes = self.graph.nodes[before..].iter().any(chooses)
            || made.chain(reads).any(|id| is_number(self.graph.value(id).dtype));
        for index in before..self.graph.nodes.len() {
            let node = &self.graph.nodes[index];
            let value = |id: ValueId| self.graph.value(id);
            let of_integers = match &node.op {
                Op::TopK(_) | Op::NonMaxSuppression(_) => true,
                Op::Embed { .. } => false,
                Op::Gather { .. } => value(node.inputs[0]).dtype != ElemType::F32,
                _ => node.inputs.iter().all(|&id| match &value(id).constant {
                    Some(constant) => constant.data.iter().all(|x| x.fract() == 0.0),
                    None => value(id).dtype != ElemType::F32,
                }),
            };
            let output = node.output;
            if computes && of_integers && !self.facts.is_known(&value(output).name) {
                self.graph.values[output.0].dtype = ElemType::I64;
            }
        }
    }

    /// Adds a node that makes the ONNX node's first output.
    fn push(&mut self, context: &Context<'_>, op: Op, inputs: Vec<ValueId>) -> Result<()> {
        let dims = self.output_dims(context)?;
        let name = &context.node.output[0];
        let output = self.push_part(context, op, inputs, name, dims);
        let output = self.give(context, name, output);
        self.names.insert(name.clone(), output);
        Ok(())
    }

    /// Adds a node that is a part of an ONNX node's work, and makes a value of this name and shape.
    fn push_part(
        &mut self,
        context: &Context<'_>,
        op: Op,
        inputs: Vec<ValueId>,
        name: &str,
        dims: Vec<usize>,
    ) -> ValueId {
        let output = self.graph.add_value(name, dims);
        let constants = inputs.iter().map(|&id| self.graph.value(id).constant.as_ref());
        if let Some(constants) = constants.collect::<Option<Vec<_>>>().filter(|list| !list.is_empty()) {
            // What only depends on constants is one.
            let operands: Vec<&[f32]> = constants.iter().map(|constant| &constant.data[..]).collect();
            let data = evaluate_op(&self.graph, &op, &inputs, output, &operands);
            let dims = self.graph.dims(output).to_vec();
            self.graph.values[output.0].constant = Some(Tensor::new(dims, data));
            return output;
        }
        let (name, onnx_op) = (context.name.clone(), context.node.op_type.clone());
        let (clamp, precision, merged) = (Clamp::NONE, Precision::Int8, Vec::new());
        self.graph.nodes.push(Node { name, onnx_op, op, inputs, output, clamp, precision, merged });
        output
    }

    /// Makes the ONNX node's first output another name of a value.
    fn alias(&mut self, context: &Context<'_>, id: ValueId) {
        let name = &context.node.output[0];
        let id = self.give(context, name, id);
        self.names.insert(name.clone(), id);
    }

    /// Gives a value the representation that a quantized model gives it under a name: where it is rounded to
    /// levels of its own, so is the value; a second rounding of the same is a node.
    fn give(&mut self, context: &Context<'_>, name: &str, id: ValueId) -> ValueId {
        let value = self.graph.value(id);
        if let Some(constant) = &value.constant {
            let Some(rounded) = self.given.params.get(name).and_then(|params| params.constant(constant))
            else {
                return id;
            };
            let rounded_id = self.graph.add_value(name, rounded.dims.clone());
            self.graph.values[rounded_id.0].constant = Some(rounded);
            return rounded_id;
        }
        let before = value.given;
        let given = self.given_quant(name);
        match (given, before) {
            (Some(quant), Some(before)) if quant != before => {
                let dims = self.graph.dims(id).to_vec();
                let rounded = self.push_part(context, Op::Unary(Unary::IDENTITY), vec![id], name, dims);
                self.graph.values[rounded.0].given = Some(quant);
                rounded
            }
            (Some(quant), None) => {
                self.graph.values[id.0].given = Some(quant);
                id
            }
            _ => id,
        }
    }
}

/// Refuses elements in an order that would take too many steps.
fn check_copies(context: &Context<'_>, op: &Op) -> Result<()> {
    let Op::Take { indices } = op else { return Ok(()) };
    let copies = indices.iter().flatten().map(|indices| take::copies(indices)).max().unwrap_or(0);
    if copies <= take::MAX_COPIES {
        return Ok(());
    }
    Err(context.unsupported(
        &format!("takes elements in an order that needs {copies} copies"),
        &format!("edgepack makes {}: take them in ascending order, or at equal distances", take::MAX_COPIES),
    ))
}
