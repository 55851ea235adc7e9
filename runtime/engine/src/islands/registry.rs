//! The operations that islands may have: those of tract's own registries, and a few that these leave out.

use tract_nnef::framework::Nnef;
use tract_onnx_opl::WithOnnx;

/// What islands are written and read with.
pub fn nnef() -> Nnef {
    let mut nnef = tract_nnef::nnef().with_onnx().with_tract_resource();
    // Names are the user's.
    nnef.allow_extended_identifier_syntax(true);
    nnef
}
