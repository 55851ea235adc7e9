//! Progress of long work: bars on a terminal, plain lines elsewhere.

use std::io::IsTerminal;

use edgepack_harness::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// Shows progress on stderr.
pub(super) struct Shown {
    quiet: bool,
    bar: Option<ProgressBar>,
}

impl Shown {
    pub fn new(context: super::Context) -> Self {
        Self { quiet: context.quiet, bar: None }
    }
}

impl Progress for Shown {
    fn start(&mut self, phase: &str, total: u64) {
        self.finish();
        if self.quiet {
            return;
        }
        if !std::io::stderr().is_terminal() {
            eprintln!("{phase}{}", if total > 1 { format!(" ({total})") } else { String::new() });
            return;
        }
        let bar = ProgressBar::new(total);
        let template = if total > 1 { "{msg:32} {bar:30} {pos}/{len} {eta}" } else { "{msg:32} {spinner}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(phase.to_string());
        self.bar = Some(bar);
    }

    fn advance(&mut self, units: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(units);
        }
    }
}

impl Shown {
    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.finish();
    }
}
