//! Operator sets, and operations without steps.

use super::{Finding, Severity, Subject};
use crate::import::full_op;
use crate::import::nodes::{REMEDY, is_known};

/// Before this opset broadcasting, Dropout and BatchNormalization meant something else; where that makes a
/// difference, the node is an error of its own.
const OLDEST: i64 = 7;
/// The newest that edgepack's tests have seen.
const NEWEST: i64 = 21;

pub(super) fn opset(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let opset = subject.file.opset;
    let declared = subject
        .file
        .proto
        .opset_import
        .iter()
        .any(|import| import.domain.is_empty() || import.domain == "ai.onnx");
    let (severity, message) = match opset {
        _ if !declared => (Severity::Error, "the model does not say which opset it is of".into()),
        ..OLDEST => (
            Severity::Warning,
            format!("opset {opset} is older than {OLDEST}, the oldest that edgepack was tested with"),
        ),
        OLDEST..=NEWEST => return,
        _ => (
            Severity::Warning,
            format!("opset {opset} is newer than {NEWEST}, the newest that edgepack was tested with"),
        ),
    };
    findings.push(Finding {
        severity,
        rule: "opset",
        kind: "model",
        names: vec![],
        op: None,
        message,
        remedy: subject.exporter.opset().into(),
    });
}

/// Operations that are neither in the table of the importer nor among those that it folds. Some can still be
/// refused for their attributes or operands: the importer tells of these.
pub(super) fn unsupported(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for (index, node) in subject.graph.node.iter().enumerate().filter(|(_, node)| !is_known(node)) {
        let op = full_op(node);
        let of_op =
            |finding: &&mut Finding| finding.rule == "unsupported-op" && finding.op.as_ref() == Some(&op);
        match findings.iter_mut().find(of_op) {
            Some(finding) => finding.names.push(subject.names[index].clone()),
            None => findings.push(Finding {
                severity: Severity::Error,
                rule: "unsupported-op",
                kind: "node",
                names: vec![subject.names[index].clone()],
                message: "there are no steps for it".into(),
                remedy: remedy(&op).into(),
                op: Some(op),
            }),
        }
    }
}

/// What to do about operations that are often met.
fn remedy(op: &str) -> &'static str {
    match op {
        "NonZero" | "RoiAlign" | "Unique" => {
            "let the application do what comes after the network: cut the model before it with \
             onnx.utils.extract_model(FILE, NEW, inputs, outputs)"
        }
        "SequenceAt" | "SequenceConstruct" | "SequenceEmpty" | "SequenceInsert" => {
            "export without control flow: torch.jit.trace (or torch.onnx.export of the module itself) instead of \
             torch.jit.script, with a fixed number of turns"
        }
        "Einsum" => "write it as Transpose, Reshape and MatMul in the model",
        "DequantizeLinear"
        | "QuantizeLinear"
        | "QLinearConv"
        | "QLinearMatMul"
        | "MatMulInteger"
        | "ConvInteger"
        | "DynamicQuantizeLinear" => "give the float model: edgepack quantizes it itself",
        "RandomNormal" | "RandomNormalLike" | "RandomUniform" | "RandomUniformLike" | "Bernoulli"
        | "Multinomial" => "take the random numbers as an input of the model, or export for inference",
        "StringNormalizer" | "TfIdfVectorizer" | "RegexFullMatch" | "StringConcat" | "StringSplit" => {
            "prepare text in the application, and give the model numbers"
        }
        _ if op.starts_with("com.microsoft.") => {
            "an operation of ONNX Runtime alone: give the model as it was before ONNX Runtime optimized or \
             quantized it"
        }
        _ if op.contains('.') => {
            "an operation of another domain: export with ONNX's own (PyTorch: \
             operator_export_type=OperatorExportTypes.ONNX), or cut the model before it"
        }
        _ => REMEDY,
    }
}
