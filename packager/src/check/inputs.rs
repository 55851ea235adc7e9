//! Inputs: shapes that are open, types that are not f32, and initializers among them.

use tract_onnx::pb;

use super::exporter::Exporter;
use super::{Finding, Severity, Subject};
use crate::error::{PackError, Result};
use crate::import::{batch_of_one, bind_input, real_inputs};

/// Refuses a `--shape` for what is no input.
pub(super) fn known(graph: &pb::GraphProto, shapes: &[(String, Vec<usize>)]) -> Result<()> {
    let inputs: Vec<&str> = real_inputs(graph).map(|input| input.name.as_str()).collect();
    match shapes.iter().find(|(name, _)| !inputs.contains(&name.as_str())) {
        None => Ok(()),
        Some((name, _)) => Err(PackError::Shape {
            name: name.clone(),
            reason: format!("the model has no such input; its inputs are {}", inputs.join(", ")),
        }),
    }
}

/// Inputs that need a `--shape`, or cannot be inputs.
pub(super) fn shapes(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for input in real_inputs(subject.graph) {
        let (rule, message, remedy) = match bind_input(input, subject.shapes) {
            Ok(_) => continue,
            Err(PackError::FreeDimension { input, dims, flag }) => (
                "free-dimension",
                format!("has free dimensions {dims}"),
                format!("pass {flag}, or {}", subject.exporter.static_shapes(&input)),
            ),
            Err(PackError::Unsupported { reason, .. }) => {
                let is_one = batch_of_one(input).is_some_and(|dims| dims.iter().product::<usize>() == 1);
                let remedy = of_type(&reason, is_one, subject.exporter);
                ("input-type", reason, remedy)
            }
            Err(PackError::Shape { reason, .. }) => {
                ("input-shape", reason, "pass a --shape that fits the model".into())
            }
            Err(other) => ("input-shape", other.to_string(), String::new()),
        };
        findings.push(Finding {
            severity: Severity::Error,
            rule,
            kind: "input",
            names: vec![input.name.clone()],
            op: None,
            message,
            remedy,
        });
    }
}

/// What to do about an input of another type.
fn of_type(reason: &str, is_one: bool, exporter: Exporter) -> String {
    let holds = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if is_one {
        "a single value: make it a constant of the model (an initializer of the same name instead of the input)".into()
    } else if holds(&["UINT8", "INT8"]) {
        "export the model with a float32 input, without the cast: the package itself takes u8 pixels (edgepack \
         pack --mean … --std …) and int8"
            .into()
    } else if holds(&["UINT", "INT16"]) {
        "edgepack takes integers as INT32 or INT64: change the input's type".into()
    } else {
        format!("edgepack takes inputs of f32, int32, int64 and bool: {}", exporter.float32())
    }
}

/// The shape of every input, where a free batch is taken to be 1; `None` where others are free.
pub(super) fn assumed(subject: &Subject<'_>) -> Option<Vec<(String, Vec<usize>)>> {
    let bound = |input: &pb::ValueInfoProto| match bind_input(input, subject.shapes) {
        Ok(bound) => Some(bound),
        Err(PackError::FreeDimension { .. }) => Some((input.name.clone(), batch_of_one(input)?)),
        Err(_) => None,
    };
    real_inputs(subject.graph).map(bound).collect()
}

/// Initializers that are inputs as well: defaults that an application may replace.
pub(super) fn initialized(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let is_initializer = |input: &&pb::ValueInfoProto| {
        subject.graph.initializer.iter().any(|tensor| tensor.name == input.name)
    };
    let names: Vec<String> =
        subject.graph.input.iter().filter(is_initializer).map(|input| input.name.clone()).collect();
    if names.is_empty() {
        return;
    }
    let ir_version = subject.file.proto.ir_version;
    // Before IR version 4 there was no other way.
    let (severity, message) = if ir_version < 4 {
        (
            Severity::Note,
            format!("are inputs too, as IR version {ir_version} wants it; edgepack takes them as constants"),
        )
    } else {
        (
            Severity::Warning,
            "are inputs too, which an application may replace; edgepack takes them as constants".to_string(),
        )
    };
    findings.push(Finding {
        severity,
        rule: "initializer-as-input",
        kind: "initializer",
        names,
        op: None,
        message,
        remedy: subject.exporter.plain_initializers().into(),
    });
}
