//! Panics and endless loops inside tract, which models that contradict themselves can cause, become errors.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

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

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; where it panics, gives the panic's message and prints nothing.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> std::result::Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !IS_GUARDED.get() {
                before(panic);
            }
        }));
    });
    IS_GUARDED.set(true);
    // What `work` leaves half done is dropped with its result.
    let result = catch_unwind(AssertUnwindSafe(work));
    IS_GUARDED.set(false);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_become_their_messages() {
        assert_eq!(guarded(|| 7), Ok(7));
        assert_eq!(guarded(|| -> u8 { panic!("no {}", "such axis") }), Err("no such axis".into()));
        assert_eq!(guarded(|| -> u8 { panic!("plain") }), Err("plain".into()));
    }
}
