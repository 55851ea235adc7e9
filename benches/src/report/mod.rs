//! What was measured, for people: as text, as Markdown for a pull request, and as one HTML file that needs nothing
//! else, in light and dark, on a screen, a phone and on paper.

mod bench_page;
mod comparison_page;
mod markdown;
mod page;
mod plot;
#[cfg(test)]
mod tests;
mod text;
pub mod words;

use serde::Serialize;

use crate::Error;
use crate::bench::BenchReport;
use crate::compare::Comparison;
pub use markdown::{bench as bench_markdown, comparison as comparison_markdown};
pub use text::text as bench_text;

/// What quantization costs a node of the model, as measured when the package was made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeError {
    /// The node.
    pub node: String,
    /// Its ONNX operation.
    pub op: String,
    /// What its steps compute with.
    pub precision: String,
    /// Signal to noise at its output against the FP32 model, in dB: what the whole way up to it has cost.
    pub sqnr_db: f64,
    /// That of its steps alone.
    pub own_sqnr_db: Option<f64>,
    /// Its share of what steps alone cost, all together, in percent.
    pub share_percent: Option<f64>,
}

/// A measurement as a page; `nodes` are those of the package whose error is known, in the model's order.
///
/// # Errors
/// None but for a fault of the template.
pub fn bench_html(report: &BenchReport, nodes: &[NodeError]) -> Result<String, Error> {
    page::render(&bench_page::page(report, nodes))
}

/// A comparison as a page, with the samples that came out worst.
///
/// # Errors
/// None but for a fault of the template.
pub fn comparison_html(
    package: &std::path::Path,
    comparison: &Comparison,
    nodes: &[NodeError],
) -> Result<String, Error> {
    page::render(&comparison_page::page(package, comparison, nodes))
}
