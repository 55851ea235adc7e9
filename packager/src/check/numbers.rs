//! Constants that are no finite numbers, or more exact than f32.

use tract_onnx::pb::tensor_proto::DataType;

use super::constants::{self, Constant, Numbers, type_name};
use super::initializers::directory;
use super::{Finding, Severity, Subject};

/// Operations to which an infinite operand is a bound or a mask, and no broken weight.
const BOUNDS: [&str; 7] = ["Add", "Clip", "Max", "Min", "Where", "Pad", "ConstantOfShape"];

/// Integers beyond this have no f32 of their own.
const EXACT: i64 = 1 << 24;

pub(super) fn not_finite(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for constant in constants::of(subject.graph) {
        let Some(Numbers::Floats(values)) = constants::numbers(constant.tensor, directory(subject)) else {
            continue;
        };
        let mut broken = values.iter().enumerate().filter(|(_, x)| !x.is_finite());
        let Some((at, first)) = broken.next() else { continue };
        let count = 1 + broken.count();
        let has_nan = values.iter().any(|x| x.is_nan());
        let readers = readers(subject, constant.name);
        let is_bound =
            |&(index, _): &(usize, usize)| BOUNDS.contains(&subject.graph.node[index].op_type.as_str());
        if !has_nan && !readers.is_empty() && readers.iter().all(is_bound) {
            continue;
        }
        let read_by = readers.first().map_or(String::new(), |&(index, _)| {
            format!("; `{}` ({}) reads it", subject.names[index], subject.graph.node[index].op_type)
        });
        let severity = if has_nan || readers.iter().any(|reader| is_weight(subject, reader)) {
            Severity::Error
        } else {
            Severity::Warning
        };
        findings.push(Finding {
            severity,
            rule: "not-finite",
            kind: constant.kind,
            names: vec![name_of(subject, &constant)],
            op: None,
            message: format!(
                "has {count} of {} elements that are not finite, the first ({first}) at {at}{read_by}",
                values.len()
            ),
            remedy:
                "look for where training diverged, and export a checkpoint from before; a mask is better a \
                     large finite number (-1e4 instead of -inf)"
                    .into(),
        });
    }
}

/// Whether a constant is the weights or a parameter of a layer.
fn is_weight(subject: &Subject<'_>, &(index, input): &(usize, usize)) -> bool {
    let op = subject.graph.node[index].op_type.as_str();
    let has_parameters = [
        "Conv",
        "ConvTranspose",
        "Gemm",
        "MatMul",
        "LSTM",
        "GRU",
        "BatchNormalization",
        "LayerNormalization",
    ];
    input > 0 && has_parameters.contains(&op)
}

pub(super) fn precision(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    // One finding for each kind of loss.
    let mut losses: Vec<(Severity, &str, String, Vec<String>)> = Vec::new();
    for constant in constants::of(subject.graph) {
        let Some((severity, message)) = loss(subject, &constant) else { continue };
        let name = name_of(subject, &constant);
        match losses.iter_mut().find(|(_, kind, text, _)| *kind == constant.kind && *text == message) {
            Some((.., names)) => names.push(name),
            None => losses.push((severity, constant.kind, message, vec![name])),
        }
    }
    findings.extend(losses.into_iter().map(|(severity, kind, message, names)| Finding {
        severity,
        rule: "precision",
        kind,
        names,
        op: None,
        message,
        remedy: subject.exporter.float32().into(),
    }));
}

/// What a constant loses, or has lost.
fn loss(subject: &Subject<'_>, constant: &Constant<'_>) -> Option<(Severity, String)> {
    let data_type = DataType::try_from(constant.tensor.data_type).ok()?;
    let name = type_name(constant.tensor.data_type);
    let values = || constants::numbers(constant.tensor, directory(subject));
    match data_type {
        DataType::Double => {
            let Numbers::Floats(values) = values()? else { return None };
            let is_lost = |x: &&f64| x.is_finite() && !(**x as f32).is_finite();
            if values.iter().any(|x| is_lost(&x)) {
                return Some((Severity::Error, format!("is {name} with values beyond what f32 holds")));
            }
            let is_rounded = values.iter().any(|&x| x.is_finite() && f64::from(x as f32) != x);
            is_rounded
                .then(|| (Severity::Note, format!("is {name}: edgepack computes with it rounded to f32")))
        }
        DataType::Bfloat16 => Some((
            Severity::Warning,
            format!(
                "is {name}: its 8 bits of precision are what int8 is made from, an error on top of int8's own"
            ),
        )),
        DataType::Int64 | DataType::Int32 => {
            if !readers(subject, constant.name).iter().any(|reader| computes(subject, reader)) {
                return None;
            }
            let Numbers::Integers(values) = values()? else { return None };
            let is_lost = values.iter().any(|&x| x.unsigned_abs() > EXACT as u64 && (x as f32) as i64 != x);
            is_lost.then(|| {
                (
                    Severity::Warning,
                    format!("is {name} with values beyond ±2^24, which f32 rounds, and is computed with"),
                )
            })
        }
        _ => None,
    }
}

/// Whether a node computes with an operand, other than taking it as a shape, an axis or an index.
fn computes(subject: &Subject<'_>, &(index, _): &(usize, usize)) -> bool {
    let op = subject.graph.node[index].op_type.as_str();
    ["Add", "Sub", "Mul", "Div", "Pow", "MatMul", "Cast", "Max", "Min"].contains(&op)
}

fn readers<'a>(subject: &'a Subject<'_>, name: &str) -> &'a [(usize, usize)] {
    subject.readers.get(name).map_or(&[], Vec::as_slice)
}

/// Constant nodes are called by their own names.
fn name_of(subject: &Subject<'_>, constant: &Constant<'_>) -> String {
    let node = || {
        let makes =
            |node: &tract_onnx::pb::NodeProto| node.output.first().is_some_and(|name| name == constant.name);
        subject.graph.node.iter().position(makes)
    };
    match constant.kind {
        "node" => node().map_or_else(|| constant.name.into(), |index| subject.names[index].clone()),
        _ => constant.name.into(),
    }
}
