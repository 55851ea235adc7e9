//! `edgepack check`: everything about an ONNX model that keeps it from being packaged, costs accuracy, or
//! looks like a mistake of its export, found without data and told all at once.
//!
//! Rules read the parsed file, one family a module; what the importer refuses is theirs too. Where the model
//! can be imported, it is also lowered with ranges that nobody measured, which is enough to know the steps,
//! the kernels and the share of multiply-adds that int8 will take.

mod constants;
mod exporter;
mod initializers;
mod inputs;
mod numbers;
mod operators;
mod training;
mod weights;

use std::collections::HashMap;
use std::path::Path;

use edgepack_engine::kernels::isa::IsaSet;
use serde::Serialize;
use tract_onnx::pb;

use crate::calibrate::{Observer, Statistics};
use crate::error::{PackError, Result};
use crate::import::{self, Fixed, OnnxFile, Survey};
use crate::islands::Islands;
use crate::lower::lower;
use crate::node_map::{Fate, NodeRecord, StepFacts, Truth, node_map, truth};
use crate::precision::{self, PrecisionOptions};
use crate::quantize::{choose_scheme, insert_casts};
use crate::{integers, memory, passes};
use exporter::Exporter;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// `edgepack pack` refuses the model, or it would not compute what was meant.
    Error,
    /// It costs accuracy, or hides a mistake.
    Warning,
    /// Worth knowing.
    Note,
}

/// Something that a rule found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The rule.
    pub rule: &'static str,
    /// What `names` are: `node`, `input`, `initializer`, `output` or `model`.
    pub kind: &'static str,
    /// Which of them; several where they have the same in common.
    pub names: Vec<String>,
    /// The operation, for nodes.
    pub op: Option<String>,
    /// What is the matter with them.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// What a check comes to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What the file says wrote it.
    pub producer: String,
    /// Version of ONNX's operator set.
    pub opset: i64,
    /// Nodes of the file.
    pub nodes: usize,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// Where the model can be packaged: what would become of it.
    pub outlook: Option<Outlook>,
}

/// What would become of a model, without calibration.
#[derive(Clone, Debug, Serialize)]
pub struct Outlook {
    /// The shape that every input is taken to have.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// Steps, each over whole tensors.
    pub steps: usize,
    /// The arena on the device, without strips: `pack` may need less.
    pub arena_bytes: u32,
    /// Weights, tables and other constants.
    pub constant_bytes: usize,
    /// Every node.
    pub truth: Truth,
}

impl Report {
    /// The number of findings of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// A model that is checked.
struct Subject<'a> {
    file: &'a OnnxFile,
    graph: &'a pb::GraphProto,
    /// By node: its name in every report.
    names: Vec<String>,
    /// By value name: the nodes that read it, and as which of their inputs.
    readers: HashMap<&'a str, Vec<(usize, usize)>>,
    exporter: Exporter,
    /// `--shape`.
    shapes: &'a [(String, Vec<usize>)],
}

type Rule = fn(&Subject<'_>, &mut Vec<Finding>);

/// The rules that read the file alone.
static RULES: &[Rule] = &[
    operators::opset,
    operators::unsupported,
    training::batch_normalization,
    training::dropout,
    inputs::shapes,
    inputs::initialized,
    initializers::external_data,
    initializers::unused,
    initializers::duplicates,
    numbers::not_finite,
    numbers::precision,
];

/// Checks a model. `shapes` binds the inputs whose shapes the file leaves open, `fixed` others to one value; `isa` says whose kernels the
/// outlook names.
///
/// # Errors
/// The file cannot be read or is no ONNX model, or `shapes` names no input of it.
pub fn check(path: &Path, shapes: &[(String, Vec<usize>)], fixed: &Fixed, isa: IsaSet) -> Result<Report> {
    let file = OnnxFile::read(path, fixed)?;
    let graph = file.graph();
    inputs::known(graph, shapes)?;
    let mut readers: HashMap<&str, Vec<(usize, usize)>> = HashMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        for (input, name) in node.input.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            readers.entry(name).or_default().push((index, input));
        }
    }
    let first_node = graph.node.first().map_or("", |node| &node.name);
    let exporter = Exporter::of(&file.proto.producer_name, first_node);
    let names = import::unique_names(graph);
    let subject = Subject { file: &file, graph, names, readers, exporter, shapes };
    let mut findings = Vec::new();
    for rule in RULES {
        rule(&subject, &mut findings);
    }
    let outlook = outlook(&subject, isa, &mut findings);
    findings.sort_by_key(|finding| finding.severity);
    Ok(Report {
        producer: format!("{} {}", file.proto.producer_name, file.proto.producer_version).trim().into(),
        opset: file.opset,
        nodes: graph.node.len(),
        findings,
        outlook,
    })
}

/// What tract could run of a model that edgepack has not all steps for.
fn islands(subject: &Subject<'_>, shapes: &[(String, Vec<usize>)]) -> Option<Finding> {
    let survey = import::survey_with_islands(subject.file, shapes, Islands::Auto).ok()?;
    let nodes = survey.model.islands;
    (survey.refusals.is_empty() && !nodes.is_empty()).then(|| Finding {
        severity: Severity::Note,
        rule: "island",
        kind: "node",
        names: nodes.into_iter().map(|(name, _)| name).collect(),
        op: None,
        message: "tract could run it as an island: it allocates, and outputs that depend on it are not the same bits \
                  everywhere (exact: false)"
            .into(),
        remedy: "pack with --islands auto, and build the device's agent with --features tract".into(),
    })
}

/// Imports the model as far as that goes, and lowers it where nothing is in the way.
fn outlook(subject: &Subject<'_>, isa: IsaSet, findings: &mut Vec<Finding>) -> Option<Outlook> {
    let shapes = inputs::assumed(subject)?;
    let survey = match import::survey(subject.file, &shapes) {
        Ok(survey) => survey,
        Err(error) => {
            // Where a rule has found an error, it may be the cause of this one.
            if findings.iter().all(|finding| finding.severity != Severity::Error) {
                findings.push(refusal(&error));
            }
            return None;
        }
    };
    let Survey { mut model, refusals } = survey;
    for error in &refusals {
        if !is_known(subject, error, findings) {
            findings.push(refusal(error));
        }
    }
    findings.extend(model.notes.drain(..).map(|note| Finding {
        severity: Severity::Warning,
        rule: "deviation",
        kind: "node",
        names: vec![note.node],
        op: Some(note.op),
        message: note.message,
        remedy: note.remedy,
    }));
    weights::hard_to_quantize(&model.graph, findings);
    if !refusals.is_empty() || findings.iter().any(|finding| finding.rule == "external-data") {
        findings.extend(islands(subject, &shapes));
        return None;
    }
    if let Err(error) = integers::prove(&mut model.graph, model.opset) {
        findings.push(refusal(&error));
        return None;
    }
    passes::run(&mut model.graph);
    // int8, but for integers.
    precision::assign(&mut model.graph, &PrecisionOptions::default(), model.opset).ok()?;
    let graph = insert_casts(&model.graph);
    let scheme = choose_scheme(&graph, &Statistics::none(&graph), Observer::default(), &[]);
    let lowered = match lower(&graph, &scheme, &[]) {
        Ok(lowered) => lowered,
        Err(error) => {
            findings.push(refusal(&error));
            return None;
        }
    };
    let arena_bytes = memory::plan(&lowered)?.arena_bytes;
    let names: Vec<&str> = lowered.steps.iter().map(|step| step.name.as_str()).collect();
    let records = node_map(&model.nodes, &graph, &names, &[]);
    unused_nodes(subject, &records, findings);
    let steps: Vec<StepFacts<'_>> = lowered
        .steps
        .iter()
        .map(|step| StepFacts { name: &step.name, scratch_bytes: step.scratch.bytes, op: step.op })
        .collect();
    let truth = truth(&records, &steps, isa);
    Some(Outlook {
        shapes: model.shapes,
        steps: lowered.steps.len(),
        arena_bytes,
        constant_bytes: lowered.constants.len(),
        truth,
    })
}

/// Whether a rule has already told of the error of a node, or of a constant that the node reads.
fn is_known(subject: &Subject<'_>, error: &PackError, findings: &[Finding]) -> bool {
    let Some((name, _)) = node_of(error) else { return false };
    let node = subject.names.iter().position(|own| *own == name).map(|index| &subject.graph.node[index]);
    let mut concerned = vec![name];
    for input in node.map_or(&[][..], |node| &node.input) {
        concerned.push(input.clone());
        let maker = subject.graph.node.iter().position(|maker| maker.output.contains(input));
        concerned.extend(maker.map(|index| subject.names[index].clone()));
    }
    let tells = |finding: &&Finding| match finding.kind {
        "node" if finding.rule != "not-finite" => finding.names.contains(&concerned[0]),
        _ => finding.names.iter().any(|name| concerned.contains(name)),
    };
    findings.iter().filter(|finding| finding.severity == Severity::Error).any(|finding| tells(&finding))
}

fn unused_nodes(subject: &Subject<'_>, records: &[NodeRecord], findings: &mut Vec<Finding>) {
    // An unused constant has no cost, and is often left by what made use of it.
    let unused = records.iter().filter(|node| node.fate == Fate::Unused && node.op != "Constant");
    let names: Vec<String> = unused.map(|node| node.name.clone()).collect();
    if !names.is_empty() {
        findings.push(Finding {
            severity: Severity::Note,
            rule: "unused-node",
            kind: "node",
            names,
            op: None,
            message: "no output of the model needs it: it is left out".into(),
            remedy: subject.exporter.clean_up().into(),
        });
    }
}

/// The node or other thing that an error is about, and its operation.
fn node_of(error: &PackError) -> Option<(String, Option<String>)> {
    match error {
        PackError::Unsupported { node, op, .. } | PackError::Invalid { node, op, .. } => {
            Some((node.clone(), Some(op.clone())))
        }
        PackError::Quantize { node, .. } => Some((node.clone(), None)),
        _ => None,
    }
}

/// What the importer says, as a finding.
fn refusal(error: &PackError) -> Finding {
    let (name, op) = node_of(error).unwrap_or_default();
    let (message, remedy) = match error {
        PackError::Unsupported { opset, reason, remedy, .. } => {
            (format!("(opset {opset}) {reason}"), remedy.clone())
        }
        PackError::Invalid { reason, .. } | PackError::Quantize { reason, .. } => (
            reason.clone(),
            "the model contradicts itself or is beyond a package: `python -m onnx.checker` or \
             `onnx.shape_inference` may tell where it began"
                .into(),
        ),
        other => (other.to_string(), String::new()),
    };
    let kind = match op.as_deref() {
        Some("output") => "output",
        Some("input") => "input",
        _ if name.is_empty() => "model",
        _ => "node",
    };
    let names = if name.is_empty() { vec![] } else { vec![name] };
    Finding { severity: Severity::Error, rule: "import", kind, names, op, message, remedy }
}
