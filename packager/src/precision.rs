//! What each node computes with: what the user asked for.

use std::path::PathBuf;

use crate::decoding;
use crate::error::{PackError, Result};
use crate::graph::{Graph, Io, Node, Op, Precision};
use crate::integers::is_exact;
use crate::lower::Program;
use crate::mixed::Budget;

/// What the user asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrecisionOptions {
    /// Of all nodes.
    pub base: Precision,
    /// Of inputs and outputs.
    pub io: Io,
    /// Names of ONNX nodes that compute in f32 all the same.
    pub keep_f32: Vec<String>,
    /// Names of ONNX nodes that compute in int16, with weights of int16 where these are fine enough for f32.
    pub keep_int16: Vec<String>,
    /// What the outputs must be: more nodes move to f32 until they are.
    pub budget: Budget,
    /// Samples that the budget must hold on; those of the calibration where there are none.
    pub validation: Option<PathBuf>,
}

/// Gives every node its precision; those that import has left in f32 stay there.
///
/// # Errors
/// A name that no node has, or that is one of a kind without f32 steps; an output that is never int8.
pub fn assign(graph: &mut Graph, options: &PrecisionOptions, opset: i64) -> Result<()> {
    for (flag, names) in [("--keep-f32", &options.keep_f32), ("--keep-int16", &options.keep_int16)] {
        if let Some(name) = names.iter().find(|name| !graph.nodes.iter().any(|node| is_called(node, name))) {
            return Err(PackError::Quantize {
                node: name.clone(),
                reason: format!(
                    "{flag} names a node that the model has not, or none that is left of it: {}",
                    nearest(graph, name)
                ),
            });
        }
    }
    for node in &mut graph.nodes {
        let kept = options.keep_f32.iter().any(|name| is_called(node, name));
        if !has_f32_steps(&node.op) && (kept || options.base.has_f32_values()) {
            return Err(PackError::Unsupported {
                node: node.name.clone(),
                op: node.onnx_op.clone(),
                opset,
                reason: "has no f32 steps".into(),
                remedy: "Leave it in int8: --precision int8, and --keep-f32 without it".into(),
            });
        }
        // What tract computes with, its nodes say.
        let kept = kept || matches!(node.op, Op::Island { .. });
        let kept_int16 = options.keep_int16.iter().any(|name| is_called(node, name));
        let wanted = match (kept || node.precision == Precision::F32, kept_int16) {
            (true, _) => Precision::F32,
            (_, true) if options.base == Precision::Int16 => Precision::Int16,
            (_, true) => Precision::Int16x16,
            _ => options.base,
        };
        node.precision = nearest_precision(&node.op, wanted);
    }
    // Integers are exact in f32, whatever the others are.
    for index in 0..graph.nodes.len() {
        if is_exact(graph, &graph.nodes[index]) {
            graph.nodes[index].precision = Precision::F32;
        }
    }
    decoding::keep_in_f32(graph);
    graph.io = options.io;
    let is_cell = |node: &&Node| matches!(node.op, Op::FinalCell(_)) && graph.outputs.contains(&node.output);
    match graph.nodes.iter().find(is_cell).filter(|_| options.io == Io::Int8) {
        None => Ok(()),
        Some(node) => Err(PackError::Unsupported {
            node: node.name.clone(),
            op: node.onnx_op.clone(),
            opset,
            reason: "gives its cell state Y_c, which is f32".into(),
            remedy: "Leave out --io int8, or export the model without this output".into(),
        }),
    }
}

/// What a node computes with where a precision is asked for: of int16 what has no such steps has those of f32, or
/// of int8 where it has none of these either.
pub fn nearest_precision(op: &Op, wanted: Precision) -> Precision {
    match wanted {
        Precision::Int16 | Precision::Int16x16 if has_int16_steps(op) => wanted,
        Precision::Int16 | Precision::Int16x16 if has_f32_steps(op) => Precision::F32,
        Precision::Int16 | Precision::Int16x16 => Precision::Int8,
        Precision::Dynamic | Precision::WeightsInt8 | Precision::WeightsF16 if !has_weights(op) => {
            Precision::F32
        }
        _ => wanted,
    }
}

/// Whether a node multiplies by constants, which could be stored in fewer bytes or multiplied in int8.
fn has_weights(op: &Op) -> bool {
    matches!(op, Op::Conv(_) | Op::FullyConnected(_) | Op::Recurrent(_))
}

/// Whether a node can compute in int16 on the device. Products of two tensors would need sums of 64 bits, and
/// softmax and normalizations compute in f32 whatever they read.
pub fn has_int16_steps(op: &Op) -> bool {
    match op {
        Op::Conv(_) | Op::FullyConnected(_) | Op::Binary(_) | Op::Pool(..) | Op::ReduceMean { .. } => true,
        Op::Pad { .. } | Op::Concat { .. } | Op::Slice { .. } | Op::Take { .. } | Op::Select => true,
        Op::Reshape | Op::Transpose { .. } | Op::ChannelAffine { .. } | Op::Cast => true,
        Op::Unary(_) => has_f32_steps(op),
        _ => false,
    }
}

/// Whether a node can compute in f32 on the device.
pub fn has_f32_steps(op: &Op) -> bool {
    match op {
        Op::Unary(function) => Program::default().unary(function).is_some(),
        _ => true,
    }
}

fn is_called(node: &Node, name: &str) -> bool {
    node.name == name || node.merged.iter().any(|merged| merged == name)
}

/// Names to choose from: those with a part of what was asked for, or the first ones.
fn nearest(graph: &Graph, name: &str) -> String {
    let wanted = name.rsplit(['/', '.', ':']).find(|part| !part.is_empty()).unwrap_or(name);
    let names = || graph.nodes.iter().map(|node| node.name.as_str());
    let mut found: Vec<&str> = names().filter(|name| name.contains(wanted)).take(5).collect();
    if found.is_empty() {
        found = names().take(5).collect();
    }
    format!("there are {}", found.join(", "))
}
