//! How long work tells its caller how far it is.

/// Receives the progress of long work. `()` ignores it.
pub trait Progress {
    /// A new phase of `total` units starts, which ends the one before.
    fn start(&mut self, phase: &str, total: u64);
    /// `units` more are done.
    fn advance(&mut self, units: u64);
}

impl Progress for () {
    fn start(&mut self, _phase: &str, _total: u64) {}
    fn advance(&mut self, _units: u64) {}
}
