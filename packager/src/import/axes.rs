//! Axes that would make tract count for ever.

use tract_onnx::pb;

use super::node_name;
use crate::error::{PackError, Result};

/// No tensor has so many dimensions.
const MOST_AXES: u64 = 1000;

/// Refuses axes that no tensor has: tract counts up to zero from negative ones, a rank at a time.
pub(super) fn check_axes(graph: &pb::GraphProto) -> Result<()> {
    for node in &graph.node {
        for attribute in
            node.attribute.iter().filter(|attribute| ["axis", "axes"].contains(&&*attribute.name))
        {
            let mut axes = std::iter::once(attribute.i).chain(attribute.ints.iter().copied());
            if let Some(axis) = axes.find(|axis| axis.unsigned_abs() > MOST_AXES) {
                return Err(PackError::Invalid {
                    node: node_name(node),
                    op: node.op_type.clone(),
                    reason: format!("its {} {axis} is none of any tensor", attribute.name),
                });
            }
        }
    }
    Ok(())
}
