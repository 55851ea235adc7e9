//! Statistics of every tensor over the calibration set, streamed: a histogram and the extremes of
//! each, never the data.

mod histogram;
mod observer;

use rayon::prelude::*;

pub use histogram::Histogram;
pub use observer::Observer;

use crate::error::{PackError, Result};
use crate::evaluate::evaluate;
use crate::graph::{Graph, Node, Op, ValueId};
use crate::unary::Unary;

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
    let rows = rows_of_softmaxes(graph);
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
                evaluate(graph, &inputs, |id, values| match rows[id.0] {
                    Some(axis) => histograms[id.0].observe(&weighed(values, graph.dims(id), axis)),
                    None => histograms[id.0].observe(values),
                });
                histograms
            })
            .collect();
        for (offset, histograms) in seen.iter().enumerate() {
            for (total, histogram) in statistics.histograms.iter_mut().zip(histograms) {
                total.merge(histogram);
            }
            if let Some(node) = broken(graph, histograms) {
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

/// The first node whose values are not finite, where one reaches an output: what a selection drops, and what a
/// softmax gives nothing to, has done no harm. What the model itself chooses is as it should be.
fn broken<'a>(graph: &'a Graph, histograms: &[Histogram]) -> Option<&'a Node> {
    let is_broken = |id: ValueId| histograms[id.0].not_finite > 0;
    let chooses_infinity = |node: &Node| {
        let constants = node.inputs.iter().filter_map(|&id| graph.value(id).constant.as_ref());
        let has_number = |function: &Unary| match function {
            Unary::Select(functions) => {
                functions.iter().any(|f| matches!(f, Unary::Number(x) if x.is_infinite()))
            }
            _ => false,
        };
        match &node.op {
            Op::Select => constants.flat_map(|constant| constant.data.iter()).any(|x| x.is_infinite()),
            Op::Unary(Unary::Chain(functions)) => functions.iter().any(has_number),
            Op::Unary(function) => has_number(function),
            _ => false,
        }
    };
    let reaches = graph.outputs.iter().any(|&id| is_broken(id));
    let first = graph.nodes.iter().find(|node| is_broken(node.output)).filter(|_| reaches)?;
    (!chooses_infinity(first)).then_some(first)
}

/// What is so much less than the largest of a softmax's row gets nothing: `e^-12` is less than half of the 2^-16 that
/// the weights of int8 are counted in.
const NOTHING: f32 = 12.0;

/// What masks have that are not infinite, or more.
const MASK: f32 = 1e30;

/// By value: the axis of the softmaxes that are all that read it.
fn rows_of_softmaxes(graph: &Graph) -> Vec<Option<usize>> {
    let axis = |id: usize| {
        let readers = graph.consumers(ValueId(id));
        let axis_of = |reader: &usize| match graph.nodes[*reader].op {
            Op::Softmax { axis } => Some(axis),
            _ => None,
        };
        let axis = axis_of(readers.first()?)?;
        let all = readers.iter().all(|reader| axis_of(reader) == Some(axis));
        (all && !graph.outputs.contains(&ValueId(id))).then_some(axis)
    };
    (0..graph.values.len()).map(axis).collect()
}

/// The rows of a softmax without what gets nothing: no range needs to reach down to a mask.
fn weighed(values: &[f32], dims: &[usize], axis: usize) -> Vec<f32> {
    let (inner, count) = (dims[axis + 1..].iter().product::<usize>(), dims[axis]);
    let mut result = values.to_vec();
    for start in (0..values.len()).filter(|at| at / inner % count == 0) {
        let row = || (start..).step_by(inner).take(count);
        let largest = row().map(|at| values[at]).fold(f32::NEG_INFINITY, f32::max);
        // A row that is masked as a whole tells nothing.
        let least = if largest > -MASK { largest - NOTHING } else { f32::NAN };
        row().for_each(|at| result[at] = if least.is_nan() { least } else { values[at].max(least) });
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_elements_of_a_row_count_as_what_gets_nothing() {
        let (inf, least) = (f32::NEG_INFINITY, f32::MIN);
        let rows = [1.0, 2.0, inf, 3.0, -1e4, least];
        assert_eq!(weighed(&rows, &[2, 3], 1), [1.0, 2.0, -10.0, 3.0, -9.0, -9.0]);
        let columns = weighed(&rows, &[2, 3], 0);
        assert_eq!((columns[1], columns[4], columns[5].is_nan()), (2.0, -10.0, true));
    }
}
