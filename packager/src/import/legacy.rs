//! What operations meant before opset 7, where that differs.

use super::{Context, Importer};
use crate::error::Result;

/// Before opset 7, `axis` said where the second operand's dimensions lie in the first's; since then they are
/// the last ones, always.
pub(super) fn check_broadcast(importer: &Importer, context: &Context<'_>) -> Result<()> {
    let attributes = context.attributes();
    let is_binary = ["Add", "Sub", "Mul", "Div", "Pow"].contains(&context.node.op_type.as_str());
    if context.opset >= 7 || !is_binary || attributes.int("broadcast", 0) == 0 {
        return Ok(());
    }
    let rank = |index: usize| Some(importer.facts.dims(context.node.input.get(index)?)?.len() as i64);
    let (Some(first), Some(second)) = (rank(0), rank(1)) else { return Ok(()) };
    let last = first - second;
    let axis = attributes.int("axis", last);
    // Counted from the end where it is negative.
    if last < 0 || axis == last || axis + first == last {
        return Ok(());
    }
    Err(context.unsupported(
        &format!("broadcasts its second operand from axis {axis} on, as before opset 7"),
        "Convert the model to opset 7 or later (onnx.version_converter), or export it again",
    ))
}
