//! What int8 costs, node by node: the device's tensors after every step, against the FP32 graph.

use edgepack_engine::{InputData, Model, SessionOptions};
use edgepack_format::plan;

use crate::emit::executable;
use crate::error::{PackError, Result};
use crate::evaluate::{Strided, evaluate};
use crate::graph::{Graph, Node};
use crate::lower::{Lowered, StepResult};
use crate::memory::MemoryPlan;
use crate::quant::Quant;

/// The ratio of signal to noise at the output of a node, in dB: `10 * log10(sum x² / sum (x - y)²)` over
/// some samples, with x in FP32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodeError {
    /// Against the FP32 model: what all steps so far have cost.
    pub sqnr_db: f32,
    /// Against the node in FP32 on the very tensors that the device has computed before it: what this node's
    /// own rounding costs.
    pub own_sqnr_db: f32,
}

/// Ratios beyond this count as this: differences as small are those of f32 sums in another order.
pub const MAX_DB: f32 = 120.0;

#[derive(Clone, Copy, Default)]
struct Power {
    signal: f64,
    noise: f64,
}

impl Power {
    fn add(&mut self, reference: &[f32], actual: &[f32]) {
        // What is infinite, or no number, has no power.
        for (&x, &y) in reference.iter().zip(actual).filter(|(x, _)| x.is_finite()) {
            self.signal += f64::from(x).powi(2);
            self.noise += (f64::from(x) - f64::from(y)).powi(2);
        }
    }

    /// To a tenth; what is 0 throughout has no error where it is right.
    fn db(self) -> f32 {
        let db = match (self.signal, self.noise) {
            (_, 0.0) => MAX_DB,
            (0.0, _) => 0.0,
            (signal, noise) => (10.0 * (signal / noise).log10()) as f32,
        };
        if db.is_finite() { (db.clamp(-MAX_DB, MAX_DB) * 10.0).round() / 10.0 } else { -MAX_DB }
    }
}

/// Runs samples on the device's kernels and in FP32, and compares what every step has made. `lowered` is as
/// [`crate::lower::lower`] left it: whole tensors. By node of the graph; `None` for those without steps.
///
/// # Errors
/// A package that cannot be run.
pub fn measure(
    graph: &Graph,
    lowered: &Lowered,
    plan: &MemoryPlan,
    samples: impl Iterator<Item = Result<Vec<Vec<f32>>>>,
    mut progress: impl FnMut(),
) -> Result<Vec<Option<NodeError>>> {
    let failed = |error: edgepack_engine::Error| PackError::SelfTest { reason: error.to_string() };
    let package = executable(lowered, plan);
    let model = Model::from_bytes(&package).map_err(failed)?;
    let mut session = model.session(&SessionOptions::default()).map_err(failed)?;
    // Lowering may have added casts, of which the graph knows nothing.
    let is_known = |result: &&StepResult| result.value.0 < graph.values.len();
    let results: Vec<&StepResult> = lowered.results.iter().filter(is_known).collect();
    // By value: the result that holds it.
    let mut result_of: Vec<Option<usize>> = vec![None; graph.values.len()];
    for (index, result) in results.iter().enumerate() {
        result_of[result.value.0] = Some(index);
    }
    let mut powers = vec![[Power::default(); 2]; results.len()];
    for sample in samples {
        let sample = sample?;
        for (index, values) in sample.iter().enumerate() {
            session.set_input(index, InputData::F32(values)).map_err(failed)?;
        }
        // As they lie in the arena: int8 is a quarter of what f32 would take.
        let mut stored: Vec<Vec<u8>> = vec![Vec::new(); results.len()];
        session
            .run_observed(|step, arena| {
                for (result, bytes) in results.iter().zip(&mut stored).filter(|(r, _)| r.step == step) {
                    let start = plan.offsets[result.buffer.offset as usize] as usize;
                    *bytes = arena[start..][..result.buffer.bytes as usize].to_vec();
                }
            })
            .map_err(failed)?;
        let actual = |index: usize| values(results[index], &stored[index], graph.dims(results[index].value));
        let inputs: Vec<&[f32]> = sample.iter().map(Vec::as_slice).collect();
        evaluate(graph, &inputs, |id, reference| {
            if let Some(index) = result_of[id.0] {
                powers[index][0].add(reference, &actual(index));
            }
        });
        // Once more, with every tensor replaced by the device's before the next node reads it.
        evaluate(graph, &inputs, |id, value| {
            if let Some(index) = result_of[id.0] {
                let actual = actual(index);
                powers[index][1].add(value, &actual);
                value.copy_from_slice(&actual);
            } else if let Some(input) = graph.inputs.iter().position(|input| *input == id) {
                as_given(&lowered.inputs[input].input, value);
            }
        });
        progress();
    }
    let error = |node: &Node| {
        let [all, own] = powers[result_of[node.output.0]?];
        Some(NodeError { sqnr_db: all.db(), own_sqnr_db: own.db() })
    };
    Ok(graph.nodes.iter().map(error).collect())
}

/// An input as the device has it: rounded, where it is int8.
fn as_given(input: &plan::Input<'_>, values: &mut [f32]) {
    if input.dtype == plan::ElemType::I8 {
        let quant = Quant { scale: input.quant.scale, zero_point: input.quant.zero_point.into() };
        values.iter_mut().for_each(|x| *x = quant.dequantize(quant.quantize(*x).into()));
    }
}

/// The numbers that a stored tensor of `dims` stands for, in the model's order. The size of its elements
/// tells f32 from integers.
fn values(result: &StepResult, bytes: &[u8], dims: &[usize]) -> Vec<f32> {
    let elems: usize = dims.iter().product();
    let elem_bytes = bytes.len() / elems.max(1);
    let number = |at: usize| {
        let bytes = &bytes[at * elem_bytes..][..elem_bytes];
        match *bytes {
            [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
            [a, b] => result.quant.dequantize(i16::from_le_bytes([a, b]).into()),
            [a] => result.quant.dequantize((a as i8).into()),
            _ => f32::NAN,
        }
    };
    Strided::new(dims, &result.strides).map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decibels_are_tenths_within_bounds() {
        let db = |reference: &[f32], actual: &[f32]| {
            let mut power = Power::default();
            power.add(reference, actual);
            power.db()
        };
        assert_eq!(db(&[1.0, 2.0], &[1.0, 2.0]), MAX_DB);
        assert_eq!(db(&[0.0], &[0.0]), MAX_DB);
        assert_eq!(db(&[0.0], &[1.0]), 0.0);
        assert_eq!(db(&[10.0, 0.0], &[10.0, 1.0]), 20.0);
        assert_eq!(db(&[1.0], &[f32::NAN]), -MAX_DB);
        assert_eq!(db(&[2.0], &[3.0]), 6.0);
    }
}
