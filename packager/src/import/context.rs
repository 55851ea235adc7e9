//! A node in the course of its conversion.

use tract_onnx::pb;

use super::attributes::Attributes;
use super::full_op;
use crate::error::{PackError, Result};

/// The node that is being converted, and how to complain about it.
pub(super) struct Context<'a> {
    pub node: &'a pb::NodeProto,
    pub name: String,
    pub opset: i64,
}

impl<'a> Context<'a> {
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.node)
    }

    pub fn input_name(&self, index: usize) -> Result<&'a str> {
        match self.node.input.get(index) {
            Some(name) if !name.is_empty() => Ok(name),
            _ => Err(self.invalid(format!("its input {index} is missing"))),
        }
    }

    pub fn invalid(&self, reason: impl Into<String>) -> PackError {
        PackError::Invalid { node: self.name.clone(), op: self.node.op_type.clone(), reason: reason.into() }
    }

    pub fn unsupported(&self, reason: &str, remedy: &str) -> PackError {
        PackError::Unsupported {
            node: self.name.clone(),
            op: full_op(self.node),
            opset: self.opset,
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }
}
