//! Layers that an export for training leaves in a model.

use tract_onnx::pb;

use super::constants::{self, Numbers};
use super::{Finding, Severity, Subject};

const RULE: &str = "training-mode";

/// Batch normalizations that would normalize with the statistics of the batch.
pub(super) fn batch_normalization(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    each(subject, "BatchNormalization", findings, |node| {
        let extra = node.output.iter().skip(1).any(|name| !name.is_empty());
        match subject.file.opset {
            ..7 if int(node, "is_test") != Some(1) => {
                Some("has no is_test=1: it normalizes with the statistics of the batch".into())
            }
            _ if int(node, "training_mode").is_some_and(|mode| mode != 0) => {
                Some("is in training mode: it normalizes with the statistics of the batch".into())
            }
            _ if extra => Some("also gives means and variances, which it only does in training mode".into()),
            _ => None,
        }
    });
}

/// Dropouts that would drop something.
pub(super) fn dropout(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    each(subject, "Dropout", findings, |node| {
        let mode = node.input.get(2).filter(|name| !name.is_empty());
        match (subject.file.opset, mode) {
            (..7, _) if int(node, "is_test") != Some(1) => {
                Some("has no is_test=1: it drops values at random".into())
            }
            (_, Some(mode)) => match constant_bool(subject, mode) {
                Some(false) => None,
                Some(true) => Some("is in training mode: it drops values at random".into()),
                None => {
                    Some(format!("computes whether it is in training mode, `{mode}`, while the model runs"))
                }
            },
            _ => None,
        }
    });
}

fn each(
    subject: &Subject<'_>,
    op: &str,
    findings: &mut Vec<Finding>,
    trouble: impl Fn(&pb::NodeProto) -> Option<String>,
) {
    for (index, node) in subject.graph.node.iter().enumerate().filter(|(_, node)| node.op_type == op) {
        let Some(message) = trouble(node) else { continue };
        // Nodes with the same trouble are one finding.
        match findings
            .iter_mut()
            .find(|f| f.rule == RULE && f.op.as_deref() == Some(op) && f.message == message)
        {
            Some(finding) => finding.names.push(subject.names[index].clone()),
            None => findings.push(Finding {
                severity: Severity::Error,
                rule: RULE,
                kind: "node",
                names: vec![subject.names[index].clone()],
                op: Some(op.into()),
                message,
                remedy: subject.exporter.inference().into(),
            }),
        }
    }
}

fn int(node: &pb::NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.i)
}

fn constant_bool(subject: &Subject<'_>, name: &str) -> Option<bool> {
    let constant = constants::of(subject.graph).find(|constant| constant.name == name)?;
    let tensor = constant.tensor;
    if tensor.data_type == pb::tensor_proto::DataType::Bool as i32 {
        let first = tensor.raw_data.first().map(|&byte| byte != 0);
        return first.or(tensor.int32_data.first().map(|&value| value != 0));
    }
    match constants::numbers(tensor, std::path::Path::new(""))? {
        Numbers::Integers(values) => values.first().map(|&value| value != 0),
        Numbers::Floats(values) => values.first().map(|&value| value != 0.0),
    }
}
