//! Where every node of the user's model runs, in what precision, by which kernel, and why.

use std::collections::BTreeSet;

use edgepack_engine::kernels::isa::IsaSet;
use edgepack_engine::{kernel_name, step_macs, step_type};
use edgepack_format::plan::{Op, Operand, RecurrentProduct, SoftmaxInput, Span, WeightFormat};
use serde::Serialize;

use super::{Fate, MAX_DB, NodeRecord};

/// A step of a plan, with or without places.
#[derive(Clone, Copy, Debug)]
pub struct StepFacts<'a> {
    /// The node that it is named after.
    pub name: &'a str,
    /// Its scratch memory, on which it depends what kernels there are.
    pub scratch_bytes: u32,
    /// What it does.
    pub op: Op,
}

/// The int8 truth of a model.
#[derive(Clone, Debug, Serialize)]
pub struct Truth {
    /// Multiply-adds of one inference.
    pub macs: u64,
    /// Those of them that int8 operands go into.
    pub int8_macs: u64,
    /// Their share; 100 where there are no multiply-adds.
    pub int8_macs_percent: f64,
    /// Every node of the file, in its order.
    pub nodes: Vec<NodeLine>,
    /// The names of steps that no node of the file stands for: casts, and what an output needs.
    pub other_steps: Vec<String>,
}

/// One node.
#[derive(Clone, Debug, Serialize)]
pub struct NodeLine {
    /// Its name.
    pub node: String,
    /// The ONNX operation.
    pub op: String,
    /// Where it went, in words.
    pub went: String,
    /// The steps that compute it.
    pub steps: Vec<usize>,
    /// What its steps compute with; empty where there are none.
    pub precision: String,
    /// The kernels of its steps, where a step is named after it.
    pub kernels: Vec<&'static str>,
    /// Multiply-adds, where a step is named after it.
    pub macs: u64,
    /// Of them, those that int8 operands go into.
    pub int8_macs: u64,
    /// Bytes of the constants of its steps, where one is named after it.
    pub weight_bytes: u64,
    /// Against the FP32 model, at the output of its last step.
    pub sqnr_db: Option<f32>,
    /// What its steps alone cost.
    pub own_sqnr_db: Option<f32>,
    /// Its share in the sum of all ratios of noise to signal that steps alone cost: what is lost adds up
    /// about so. Where a step is named after it.
    pub error_share_percent: Option<f64>,
    /// Why it is not int8 throughout.
    pub why: Option<&'static str>,
    /// What to do about it.
    pub remedy: Option<&'static str>,
}

/// Tells of every node, with the kernels of a processor with these extensions.
pub fn truth(records: &[NodeRecord], steps: &[StepFacts<'_>], isa: IsaSet) -> Truth {
    let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
    let mut nodes: Vec<NodeLine> =
        records.iter().map(|record| line(record, records, steps, &names, isa)).collect();
    share_error(&mut nodes);
    let mut is_owned = vec![false; steps.len()];
    nodes.iter().flat_map(|node| &node.steps).for_each(|&step| is_owned[step] = true);
    let mut other_steps: Vec<String> =
        (0..steps.len()).filter(|&step| !is_owned[step]).map(|step| names[step].to_string()).collect();
    other_steps.dedup();
    let macs = steps.iter().map(|step| step_macs(&step.op)).sum();
    let int8_macs = steps.iter().map(|step| int8_macs(&step.op)).sum();
    let int8_macs_percent = if macs == 0 { 100.0 } else { 100.0 * int8_macs as f64 / macs as f64 };
    Truth { macs, int8_macs, int8_macs_percent, nodes, other_steps }
}

fn share_error(nodes: &mut [NodeLine]) {
    let noise = |node: &NodeLine| match node.own_sqnr_db {
        Some(db) if db < MAX_DB && !node.kernels.is_empty() => Some(10f64.powf(f64::from(-db) / 10.0)),
        Some(_) if !node.kernels.is_empty() => Some(0.0),
        _ => None,
    };
    let sum: f64 = nodes.iter().filter_map(noise).sum();
    for node in nodes {
        node.error_share_percent = noise(node).filter(|_| sum > 0.0).map(|noise| 100.0 * noise / sum);
    }
}

/// Multiply-adds of a step that int8 operands go into.
pub fn int8_macs(op: &Op) -> u64 {
    if step_type(op).starts_with("int8") { step_macs(op) } else { 0 }
}

fn line(
    record: &NodeRecord,
    records: &[NodeRecord],
    steps: &[StepFacts<'_>],
    names: &[&str],
    isa: IsaSet,
) -> NodeLine {
    let first_steps = match &record.fate {
        Fate::Steps(first) => first.as_slice(),
        _ => &[],
    };
    let is_own = |name: &str| first_steps.iter().any(|&first| names.get(first) == Some(&name));
    let own: Vec<usize> = (0..steps.len()).filter(|&step| is_own(names[step])).collect();
    // What multiplies says what the node computes with; where nothing does, every step says it.
    let multiplies = own.iter().any(|&step| step_macs(&steps[step].op) > 0);
    let telling =
        || own.iter().map(|&step| &steps[step]).filter(|step| !multiplies || step_macs(&step.op) > 0);
    let types: BTreeSet<&str> = telling().map(|step| step_type(&step.op)).collect();
    let is_head = record.names_step(names);
    let counted = |count: &dyn Fn(&Op) -> u64| match is_head {
        true => own.iter().map(|&step| count(&steps[step].op)).sum(),
        false => 0,
    };
    let kernel = |step: &StepFacts<'_>| kernel_name(&step.op, step.scratch_bytes, isa);
    let kernels: BTreeSet<&str> = telling().filter(|_| is_head).map(kernel).collect();
    let (why, remedy) = match &record.fate {
        Fate::Refused => (Some("there are no steps for it"), None),
        _ if own.iter().any(|&step| matches!(steps[step].op, Op::QuantizeRows(_))) => (Some(DYNAMIC), None),
        _ => telling().find_map(|step| reason(&step.op)).unzip(),
    };
    NodeLine {
        node: record.name.clone(),
        op: record.op.clone(),
        went: went(record, records, names),
        precision: types.into_iter().collect::<Vec<_>>().join(", "),
        kernels: kernels.into_iter().collect(),
        macs: counted(&step_macs),
        int8_macs: counted(&int8_macs),
        weight_bytes: counted(&constant_bytes),
        sqnr_db: record.error.map(|error| error.sqnr_db),
        own_sqnr_db: record.error.map(|error| error.own_sqnr_db),
        error_share_percent: None,
        why,
        remedy: remedy.flatten(),
        steps: own,
    }
}

fn went(record: &NodeRecord, records: &[NodeRecord], names: &[&str]) -> String {
    match &record.fate {
        Fate::Steps(first) => {
            let step = |step: &usize| match names.get(*step) {
                Some(name) if *name != record.name => format!("in step {step}, {name}"),
                _ => format!("step {step}"),
            };
            first.iter().map(step).collect::<Vec<_>>().join("; ")
        }
        Fate::View => "no step: the same bytes, read otherwise".into(),
        Fate::Alias => "no step: another name of its input".into(),
        Fate::Constant(reader) => match records.get(*reader) {
            Some(reader) => format!("a constant of {}", reader.name),
            None => "a constant".into(),
        },
        Fate::Unused => "left out: no output needs it".into(),
        Fate::Refused => "refused".into(),
    }
}

/// Why a product is int8, and what it reads and writes is not.
const DYNAMIC: &str = "int8 products; --precision dynamic quantizes what they read when it is there, at scales of its own, \
                       and brings their sums back to f32";

/// Why a step is not int8 throughout, and what to do.
fn reason(op: &Op) -> Option<(&'static str, Option<&'static str>)> {
    let precision = step_type(op);
    if precision == "int8" {
        return None;
    }
    if step_macs(op) > 0 && precision.starts_with("int16") {
        return Some((
            "its activations are int16, as a flag of `edgepack pack` or a budget for accuracy wanted it",
            Some(
                "for int8, leave it out of --keep-int16 and --precision int16, or ask for less with --min-sqnr or \
                 --max-drop",
            ),
        ));
    }
    if step_macs(op) > 0 && !precision.starts_with("int8") {
        return Some((
            "its products are of f32, as a flag of `edgepack pack` or a budget for accuracy wanted it",
            Some(
                "for int8, leave it out of --keep-f32, take --precision int8 or dynamic, or ask for less with \
                 --min-sqnr or --max-drop",
            ),
        ));
    }
    Some(match op {
        Op::Conv(_) | Op::MatMul(_) => (
            "int8 products; the result stays f32, for nothing multiplies it any more: finer than int8, at no cost",
            None,
        ),
        Op::Lookup(_) => ("a table from int8 to f32, for nothing multiplies its result any more", None),
        Op::Softmax(_) if precision.starts_with("int8") => {
            ("integer exponentials and sums, without multiply-adds; their quotients are f32", None)
        }
        Op::Softmax(_) => (
            "exponentials of whole rows, without multiply-adds: int8 would round probabilities to 1/256",
            None,
        ),
        Op::LayerNorm(_) => ("integer sums; a reciprocal and a square root a row are f32", None),
        Op::RecurrentF32(_) => (DYNAMIC, None),
        Op::Recurrent(_) => {
            ("int8 products; gates and cell state stay f32, for errors in them add up over time", None)
        }
        Op::Island(_) => (
            "there are no steps of edgepack's own for it: tract runs it, which allocates, is slower, and gives other \
             bits on other processors",
            Some("replace it by operations that `edgepack pack --help` lists"),
        ),
        Op::Convert(_) | Op::TopK(_) | Op::NonMaxSuppression(_) => {
            ("integers, which are exact numbers of f32 inside the plan", None)
        }
        Op::Gather(_) | Op::Scatter(_) => ("it moves rows by indices, which are exact numbers of f32", None),
        _ => ("it moves or computes f32 values, without multiply-adds", None),
    })
}

/// The scales of weights that are multiplied in f32, where they have some.
fn scales_of(format: WeightFormat) -> Option<Span> {
    match format {
        WeightFormat::I8 { scales } => Some(scales),
        WeightFormat::F32 | WeightFormat::F16 => None,
    }
}

/// Bytes of the constants of a step; those that a later strip of a layer shares with the first count once.
pub fn constant_bytes(op: &Op) -> u64 {
    let spans = match op {
        Op::Conv(conv) if conv.same_weights_as.is_some() => vec![],
        Op::Conv(conv) => vec![conv.weights, conv.bias, conv.multiplier],
        Op::Binary(binary) => [binary.lhs, binary.rhs]
            .into_iter()
            .filter_map(|operand| match operand {
                Operand::Constant(span) => Some(span),
                Operand::Arena(_) => None,
            })
            .collect(),
        Op::Lookup(lookup) => vec![lookup.table],
        Op::Gather(gather) => match gather.data {
            Operand::Constant(span) => vec![span],
            Operand::Arena(_) => vec![],
        },
        Op::Softmax(softmax) => match softmax.input {
            SoftmaxInput::I8 { table, .. } => vec![table],
            SoftmaxInput::F32(_) => vec![],
        },
        Op::Copy(copy) => copy.table.into_iter().collect(),
        Op::LayerNorm(norm) => vec![norm.gamma, norm.beta],
        Op::Recurrent(op) => {
            vec![op.weights, op.bias, op.multiplier, op.initial_hidden, op.initial_state]
        }
        Op::ConvF32(conv) => [conv.weights, conv.bias].into_iter().chain(scales_of(conv.format)).collect(),
        Op::ConvI16(conv) => vec![conv.weights, conv.multiplier, conv.bias],
        Op::RecurrentF32(op) => {
            let others = match op.product {
                RecurrentProduct::F32(format) => scales_of(format).into_iter().collect(),
                RecurrentProduct::Dynamic { sums, multiplier } => vec![sums, multiplier],
            };
            [op.weights, op.bias, op.initial_hidden, op.initial_state].into_iter().chain(others).collect()
        }
        Op::LayerNormF32(norm) => vec![norm.gamma, norm.beta],
        Op::RescaleRows(rows) => vec![rows.bias],
        Op::Elementwise(op) => {
            let sources = op.sources.iter().flatten().filter_map(|source| match source.operand {
                Operand::Constant(span) => Some(span),
                Operand::Arena(_) => None,
            });
            sources.chain([op.program]).collect()
        }
        Op::Pool(_)
        | Op::Fill(_)
        | Op::MatMul(_)
        | Op::PoolF32(_)
        | Op::PoolI16(_)
        | Op::MatMulF32(_)
        | Op::QuantizeRows(_)
        | Op::Convert(_)
        | Op::Scatter(_)
        | Op::TopK(_)
        | Op::NonMaxSuppression(_)
        | Op::Island(_) => {
            vec![]
        }
    };
    spans.iter().map(|span| u64::from(span.bytes)).sum()
}
