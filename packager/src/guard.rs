//! Panics inside tract, which models that contradict themselves can cause, become errors, and its errors one line.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// The innermost message of a chain of errors: what happened, without the way there.
pub(crate) fn root_cause(error: &tract_onnx::prelude::TractError) -> String {
    error.chain().last().map_or_else(|| error.to_string(), |cause| cause.to_string())
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
