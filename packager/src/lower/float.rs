//! Nodes that compute in f32, and the casts at their borders.

use super::Lowering;
use crate::error::{PackError, Result};
use crate::graph::Node;

impl Lowering<'_> {
    /// The same values in another representation; where it is the same one, nothing.
    pub(super) fn cast(&mut self, node: &Node) -> Result<()> {
        let input = node.inputs[0];
        if self.is_wide(input) != self.is_wide(node.output) {
            let reason = "is f32 beside int8, which has no steps yet".into();
            return Err(PackError::Quantize { node: node.name.clone(), reason });
        }
        for stored in self.stored.get(&input).cloned().unwrap_or_default() {
            self.store(node.output, stored.buffer, stored.order);
        }
        Ok(())
    }
}
