//! The operations that islands may have: those of tract's own registries, and what these leave out.

use tract_nnef::framework::Nnef;
use tract_nnef::internal::Registry;
use tract_nnef::internal::tract_core::ops::math::Rem;
use tract_onnx_opl::WithOnnx;

/// What islands are written and read with.
pub fn nnef() -> Nnef {
    let mut registry = Registry::new("edgepack");
    registry.register_binary("edgepack_rem", &Rem {});
    let mut nnef = tract_nnef::nnef().with_onnx().with_tract_resource().with_registry(registry);
    // Names are the user's.
    nnef.allow_extended_identifier_syntax(true);
    nnef
}
