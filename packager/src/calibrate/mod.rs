//! Statistics of every tensor over the calibration set, streamed: a histogram and the extremes of
//! each, never the data.

mod histogram;
mod observer;

use rayon::prelude::*;

pub use histogram::Histogram;
pub use observer::Observer;

use crate::error::{PackError, Result};
use crate::evaluate::evaluate;
use crate::graph::{Graph, ValueId};

/// Samples that are evaluated before their statistics are merged; bounds the memory in flight.
const BATCH: usize = 8;

/// What was seen of every value of a graph, by [`crate::graph::ValueId`].
#[derive(Clone, Debug)]
pub struct Statistics {
    /// One for each value; empty where nothing was observed.
    pub histograms: Vec<Histogram>,
    /// Ranges that were chosen by more than what was seen of the value itself.
    pub chosen: Vec<Option<[f32; 2]>>,
    /// Samples seen.
    pub samples: usize,
}

impl Statistics {
    /// Of no sample.
    pub fn none(graph: &Graph) -> Self {
        let values = graph.values.len();
        Self { histograms: vec![Histogram::default(); values], chosen: vec![None; values], samples: 0 }
    }

    /// The range that a value's int8 representation stands for: the one that was chosen, else the observer's.
    pub fn range(&self, observer: Observer, id: ValueId) -> [f32; 2] {
        self.chosen[id.0].unwrap_or_else(|| observer.range(&self.histograms[id.0]))
    }
}

/// Evaluates the graph on every sample and gathers statistics. Each sample holds the inputs of the
/// graph, row-major. `progress` is told the number of samples done.
///
/// # Errors
/// No samples, a sample that cannot be read, or values that are not finite.
pub fn calibrate<E: std::fmt::Display + Send>(
    graph: &Graph,
    samples: impl Iterator<Item = std::result::Result<Vec<Vec<f32>>, E>>,
    mut progress: impl FnMut(usize),
) -> Result<Statistics> {
    let failed = |reason: String| PackError::Calibration { reason };
    let mut statistics = Statistics::none(graph);
    let mut samples = samples.peekable();
    while samples.peek().is_some() {
        let batch: Vec<_> = samples
            .by_ref()
            .take(BATCH)
            .collect::<std::result::Result<_, E>>()
            .map_err(|error| failed(error.to_string()))?;
        let seen: Vec<Vec<Histogram>> = batch
            .par_iter()
            .map(|inputs| {
                let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
                let mut histograms = vec![Histogram::default(); graph.values.len()];
                evaluate(graph, &inputs, |id, values| histograms[id.0].observe(values));
                histograms
            })
            .collect();
        for (offset, histograms) in seen.iter().enumerate() {
            for (total, histogram) in statistics.histograms.iter_mut().zip(histograms) {
                total.merge(histogram);
            }
            let broken = graph.nodes.iter().find(|node| histograms[node.output.0].not_finite > 0);
            if let Some(node) = broken {
                return Err(failed(format!(
                    "node `{}` ({}) gives values that are not finite on sample {}: \
                     check the preprocessing flags (--mean, --std) and the model's weights",
                    node.name,
                    node.onnx_op,
                    statistics.samples + offset
                )));
            }
        }
        statistics.samples += batch.len();
        progress(statistics.samples);
    }
    if statistics.samples == 0 {
        return Err(failed("the data set is empty; give at least one sample, better 100".into()));
    }
    Ok(statistics)
}
