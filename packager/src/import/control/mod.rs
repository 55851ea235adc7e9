//! Control flow: If, Loop and Scan become nodes of the graph around them, for a plan is a list of steps.
//!
//! ```text
//! If     its condition known before the model runs    the nodes of that branch
//!        else                                         the nodes of both, and an If of three operands that chooses
//! Loop   a known number of turns, no other end        the nodes of the body, as often
//! Scan   over an axis of known length                 the nodes of the body, as often
//! ```
//! Nodes of a body are called after the node around them: `If_3/then/Conv_1`, `Loop_7/0/MatMul_2`. What cannot become
//! nodes stays as it is; the conversion of such a node says why.

mod inline;

use tract_onnx::pb::{self, tensor_proto::DataType};

use super::islands::Item;
use super::onnx_nodes::{Became, OnnxNode, full_op, unique_names};
use super::quantized::Given;
use super::{Context, Facts, Importer, Note, OnnxFile, facts, node_name};
use crate::error::{PackError, Result};
use inline::{Flat, identity, integers, node, truth};

/// A body may become so many nodes; more would make a plan that is larger than it is useful.
const MOST_NODES: usize = 4096;

/// A file whose control flow became nodes as far as it can, and what to know of that; `None` where there is nothing to
/// be done. With `islands` what is only known while the model runs is left to tract.
///
/// # Errors
/// Inputs without a shape, and what keeps tract from analysing the model at all.
pub(super) fn flatten(
    file: &OnnxFile,
    shapes: &[(String, Vec<usize>)],
    islands: bool,
) -> Result<Option<(OnnxFile, Vec<Note>)>> {
    let (mut proto, mut notes, mut rounds) = (None, Vec::new(), 0);
    // Loops inside of loops may not make more of a file without end.
    let most = file.graph().node.len() + 4 * MOST_NODES;
    loop {
        let graph = proto.as_ref().unwrap_or(&file.proto).graph.as_ref().unwrap_or(file.graph());
        if !graph.node.iter().any(has_body) {
            break;
        }
        let before = OnnxFile {
            path: file.path.clone(),
            bytes: Vec::new(),
            proto: proto.clone().unwrap_or_else(|| file.proto.clone()),
            opset: file.opset,
        };
        let Some(flat) = round(&before, shapes, (islands, most), &mut notes)? else { break };
        proto = Some(flat);
        rounds += 1;
        // Bodies inside of bodies are as deep as a file says.
        if rounds > MOST_NODES {
            break;
        }
    }
    let flat =
        |proto| OnnxFile { path: file.path.clone(), bytes: file.bytes.clone(), proto, opset: file.opset };
    Ok(proto.map(|proto| (flat(proto), notes)))
}

fn has_body(node: &pb::NodeProto) -> bool {
    node.attribute.iter().any(|attribute| attribute.g.is_some())
}

/// The model with every node replaced whose turns are known, up to so many nodes in all; where there is none, with one
/// If less that is not.
fn round(
    file: &OnnxFile,
    shapes: &[(String, Vec<usize>)],
    (islands, most): (bool, usize),
    notes: &mut Vec<Note>,
) -> Result<Option<pb::ModelProto>> {
    let importer = learned(file, shapes, islands)?;
    let graph = file.graph();
    let mut flat = Flat::of(graph, file.opset);
    let mut changed = false;
    for node in &graph.node {
        let context = Context { node, name: node_name(node), opset: file.opset };
        let done = has_body(node) && flat.nodes.len() <= most && replace(&importer, &context, &mut flat);
        changed |= done;
        if !done {
            flat.nodes.push(node.clone());
        }
    }
    if !changed && !islands {
        flat = Flat::of(graph, file.opset);
        for node in &graph.node {
            if !changed && node.op_type == "If" && has_body(node) {
                notes.push(choose(node, &mut flat));
                changed = true;
            } else {
                flat.nodes.push(node.clone());
            }
        }
    }
    if !changed {
        return Ok(None);
    }
    let mut proto = file.proto.clone();
    proto.graph = Some(flat.finish(graph));
    Ok(Some(proto))
}

/// What is known of values, after a conversion of all that can be converted.
fn learned(file: &OnnxFile, shapes: &[(String, Vec<usize>)], any_type: bool) -> Result<Importer> {
    let graph = file.graph();
    let shapes = facts::bind_shapes(graph, shapes, any_type)?;
    let facts = Facts::new(&file.path, &file.proto, &shapes, |_| false)?;
    let mut importer = Importer::new(facts, file.opset, Given::default());
    let nodes = unique_names(graph).into_iter().zip(&graph.node);
    importer.nodes =
        nodes.map(|(name, node)| OnnxNode { name, op: full_op(node), became: Became::Alias }).collect();
    let origins: Vec<usize> = (0..graph.node.len()).collect();
    let items: Vec<Item> = origins.iter().copied().map(Item::Node).collect();
    importer.run(graph, &origins, &items);
    Ok(importer)
}

/// Replaces a node by those of its body, where its turns are known.
fn replace(importer: &Importer, context: &Context<'_>, flat: &mut Flat) -> bool {
    match context.node.op_type.as_str() {
        "If" => {
            let condition = context.node.input.first().and_then(|name| importer.f32_constant(name));
            let Some(&condition) = condition.as_ref().and_then(|tensor| tensor.data.first()) else {
                return false;
            };
            let (branch, name) =
                if condition != 0.0 { ("then_branch", "then") } else { ("else_branch", "else") };
            let Some(body) = context.attributes().graph(branch) else { return false };
            let outputs = flat.inline(body, &format!("{}/{name}", context.name), Default::default());
            flat.name_outputs(context, outputs);
            true
        }
        "Loop" | "Scan" => match Turns::of(importer, context) {
            Ok(turns) => turns.unroll(context, flat),
            Err(_) => false,
        },
        _ => false,
    }
}

/// Both branches of an If, and for each output a node that chooses.
fn choose(node: &pb::NodeProto, flat: &mut Flat) -> Note {
    let name = node_name(node);
    let context = Context { node, name: name.clone(), opset: flat.opset };
    let mut branch = |attribute: &str, what: &str| {
        let body = context.attributes().graph(attribute);
        body.map_or(vec![], |body| flat.inline(body, &format!("{name}/{what}"), Default::default()))
    };
    let (yes, no) = (branch("then_branch", "then"), branch("else_branch", "else"));
    for ((yes, no), output) in yes.iter().zip(&no).zip(&node.output).filter(|(_, output)| !output.is_empty())
    {
        let inputs = [node.input.first().cloned().unwrap_or_default(), yes.clone(), no.clone()];
        flat.nodes.push(self::node("If", &name, inputs, output));
    }
    Note {
        node: name,
        op: "If".into(),
        message: "its condition is not known before the model runs: both branches are computed every time, and their \
                  results chosen between"
            .into(),
        remedy: "where the condition is one of shapes or flags, export the model with these fixed".into(),
    }
}

/// The turns of a Loop or Scan, all of which will be.
struct Turns<'a> {
    body: &'a pb::GraphProto,
    count: usize,
    /// Of a Scan: the inputs that are taken apart, the axis and the direction of each.
    scanned: Vec<(&'a str, i64, bool)>,
    /// Of a Scan: the axis and the direction of each output that is put together.
    joined: Vec<(i64, bool)>,
    /// What turns hand on to each other.
    states: Vec<&'a str>,
}

impl<'a> Turns<'a> {
    /// # Errors
    /// Why the node cannot be unrolled.
    fn of(importer: &Importer, context: &Context<'a>) -> Result<Self> {
        let body = context.attributes().graph("body").ok_or_else(|| context.invalid("it has no body"))?;
        let turns = match context.node.op_type.as_str() {
            "Loop" => Self::of_loop(importer, context, body)?,
            _ => Self::of_scan(importer, context, body)?,
        };
        let nodes = turns.count.saturating_mul(body.node.len().max(1));
        if turns.count == 0 || nodes > MOST_NODES {
            return Err(context.unsupported(
                &format!("has {} turns of {} nodes", turns.count, body.node.len()),
                &format!(
                    "edgepack unrolls them to at most {MOST_NODES} nodes, and at least one turn: {FIXED}"
                ),
            ));
        }
        Ok(turns)
    }

    fn of_loop(importer: &Importer, context: &Context<'a>, body: &'a pb::GraphProto) -> Result<Self> {
        let inputs = &context.node.input;
        let number = |index: usize| match inputs.get(index).map(String::as_str) {
            None | Some("") => None,
            Some(name) => Some(importer.f32_constant(name).and_then(|tensor| tensor.data.first().copied())),
        };
        let Some(Some(count)) = number(0) else {
            let reason = "computes its number of turns while the model runs";
            return Err(context.unsupported(reason, FIXED));
        };
        let ends = || context.unsupported("may end before its last turn, which its body decides", FIXED);
        if number(1).is_some_and(|condition| condition.is_none_or(|condition| condition == 0.0))
            || !goes_on(body)
        {
            return Err(ends());
        }
        let states: Vec<&str> = inputs.iter().skip(2).map(String::as_str).collect();
        let joined = vec![(0, false); body.output.len().saturating_sub(1 + states.len())];
        Ok(Self { body, count: count as usize, scanned: vec![], joined, states })
    }

    fn of_scan(importer: &Importer, context: &Context<'a>, body: &'a pb::GraphProto) -> Result<Self> {
        let attributes = context.attributes();
        if context.opset < 9 {
            let remedy = "edgepack has that of opset 9 and later: convert it with onnx.version_converter";
            return Err(context.unsupported("is of the form before opset 9", remedy));
        }
        let scans = attributes.int("num_scan_inputs", 0).max(0) as usize;
        let first = context.node.input.len().checked_sub(scans).filter(|_| scans > 0);
        let first = first.ok_or_else(|| context.invalid(format!("{scans} inputs to scan")))?;
        let listed =
            |name: &str, index: usize| attributes.ints(name).and_then(|ints| ints.get(index)).copied();
        let mut count = None;
        let mut scanned = Vec::new();
        for (index, name) in context.node.input[first..].iter().enumerate() {
            let dims = importer.names.get(name).map(|&id| importer.graph.dims(id).to_vec());
            let dims = dims.or_else(|| importer.facts.dims(name)).ok_or_else(|| {
                context.unsupported(&format!("scans `{name}`, whose shape is not known"), FIXED)
            })?;
            let axis =
                super::reshape::axis(context, listed("scan_input_axes", index).unwrap_or(0), dims.len())?;
            if count.is_some_and(|count| count != dims[axis]) {
                return Err(context.invalid(format!("its inputs have {count:?} and {} turns", dims[axis])));
            }
            count = Some(dims[axis]);
            scanned.push((name.as_str(), axis as i64, listed("scan_input_directions", index) == Some(1)));
        }
        let joined = (0..body.output.len().saturating_sub(first)).map(|index| {
            let axis = listed("scan_output_axes", index).unwrap_or(0);
            (axis, listed("scan_output_directions", index) == Some(1))
        });
        let states = context.node.input[..first].iter().map(String::as_str).collect();
        Ok(Self { body, count: count.unwrap_or(0), scanned, joined: joined.collect(), states })
    }

    /// The nodes of every turn; false where the body's ends are not those of the node.
    fn unroll(&self, context: &Context<'a>, flat: &mut Flat) -> bool {
        let is_loop = context.node.op_type == "Loop";
        let own = if is_loop { 2 } else { 0 };
        let outputs = self.states.len() + self.joined.len();
        if self.body.input.len() != own + self.states.len() + self.scanned.len()
            || self.body.output.len() != usize::from(is_loop) + outputs
        {
            return false;
        }
        let mut states: Vec<String> = self.states.iter().map(|name| name.to_string()).collect();
        let mut parts: Vec<Vec<String>> = vec![Vec::new(); self.joined.len()];
        for turn in 0..self.count {
            let prefix = format!("{}/{turn}", context.name);
            let mut given = Vec::new();
            if is_loop {
                given.push(flat.constant(integers(&format!("{prefix}/turn"), &[], &[turn as i64])));
                given.push(flat.constant(truth(&format!("{prefix}/condition"))));
            }
            given.append(&mut states);
            for (index, &(name, axis, backwards)) in self.scanned.iter().enumerate() {
                let at = if backwards { self.count - 1 - turn } else { turn } as i64;
                let index_name = flat.constant(integers(&format!("{prefix}/place {index}"), &[], &[at]));
                let part = format!("{prefix}/input {index}");
                let mut gather = node("Gather", &part, [name.to_string(), index_name], &part);
                gather.attribute.push(inline::attribute("axis", axis));
                flat.nodes.push(gather);
                given.push(part);
            }
            let names = self.body.input.iter().map(|input| input.name.clone()).zip(given).collect();
            let mut made = flat.inline(self.body, &prefix, names).split_off(usize::from(is_loop));
            let joined = made.split_off(self.states.len());
            states = made;
            for ((of, name), &(axis, backwards)) in parts.iter_mut().zip(joined).zip(&self.joined) {
                let part = flat.with_axis(&name, axis);
                let at = if backwards { 0 } else { of.len() };
                of.insert(at, part);
            }
        }
        for (index, output) in context.node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            match index.checked_sub(states.len()) {
                None => flat.nodes.push(identity(&context.name, &states[index], output)),
                Some(joined) => {
                    let Some((of, &(axis, _))) = parts.get(joined).zip(self.joined.get(joined)) else {
                        continue;
                    };
                    let mut concat = node("Concat", &context.name, of.iter().cloned(), output);
                    concat.attribute.push(inline::attribute("axis", axis));
                    flat.nodes.push(concat);
                }
            }
        }
        true
    }
}

const FIXED: &str = "export it with a fixed number of turns (torch.jit.trace, or torch.onnx.export of the module itself, \
                     unrolls loops), or pack with --islands auto if the device may run it by tract";

/// Whether a body's first output is true whatever it computes: the condition that it was given, or a constant.
fn goes_on(body: &pb::GraphProto) -> bool {
    let mut name = body.output.first().map_or("", |output| output.name.as_str());
    // Each node leads to an earlier one, or the file is no graph.
    for _ in 0..=body.node.len() {
        if body.input.get(1).is_some_and(|input| input.name == name) {
            return true;
        }
        let is_true = |tensor: &pb::TensorProto| {
            tensor.data_type == DataType::Bool as i32
                && (tensor.raw_data.first().is_some_and(|&byte| byte != 0)
                    || tensor.int32_data.first().is_some_and(|&value| value != 0))
        };
        if let Some(tensor) = body.initializer.iter().find(|tensor| tensor.name == name) {
            return is_true(tensor);
        }
        let Some(node) = body.node.iter().find(|node| node.output.iter().any(|output| output == name)) else {
            return false;
        };
        match node.op_type.as_str() {
            "Identity" | "Cast" => name = node.input.first().map_or("", |name| name.as_str()),
            "Constant" => return node.attribute.iter().any(|one| one.t.as_ref().is_some_and(is_true)),
            _ => return false,
        }
    }
    false
}

/// The results of two branches, both of which are computed.
pub(super) fn select(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    if has_body(context.node) {
        return Err(context.unsupported(
            "computes its condition while the model runs",
            "export the model with the condition fixed, or pack with --islands never: both branches are computed then",
        ));
    }
    let [condition, yes, no] = [0, 1, 2].map(|index| importer.input(context, index));
    let (condition, yes, no) = (condition?, yes?, no?);
    let [of_yes, of_no] = [yes, no].map(|id| importer.graph.dims(id).to_vec());
    if of_yes != of_no {
        return Err(context.unsupported(
            &format!(
                "has a condition that is computed while the model runs, and branches of different shapes, {of_yes:?} and \
                 {of_no:?}"
            ),
            "edgepack computes both and chooses between them, so that both must be of one shape: export the model with \
             the condition fixed, or with results of one shape, or bind the input that decides with --fix NAME=VALUE",
        ));
    }
    // A condition is one truth value of any rank.
    let condition = importer.reshape_part(context, "condition", condition, vec![1; of_yes.len()]);
    let result = super::logic::chosen(importer, context, condition, [yes, no])?;
    let name = context.node.output[0].clone();
    if [1, 2].into_iter().all(|index| importer.facts.dtype(&context.node.input[index]).is_integer()) {
        importer.facts.learn_integers(&name, &of_yes);
    }
    importer.result(context, 0, result)
}

/// A Loop or Scan that was not unrolled: why not.
pub(super) fn not_unrolled(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let reason: PackError = match Turns::of(importer, context) {
        Err(reason) => reason,
        Ok(_) => context.unsupported("has a body whose ends are not its own", FIXED),
    };
    Err(reason)
}
