//! Mixed precision against a budget: the cheapest nodes move from int8 to int16, or to f32 where int16 is not
//! enough, until the outputs are good enough.
//!
//! Nothing is estimated: every candidate is a package that runs on samples, as it will on the device, and is
//! held against the graph in f32. The sensitivity of a node is the noise at the outputs with that node alone
//! in int8 (as in Wu et al., "Integer Quantization for Deep Learning Inference", 2020, section 6.2, "partial
//! quantization"); its cost what its f32 steps have more of multiply-adds and bytes ([`crate::cost`]), since the
//! same model and samples are to give the same package wherever it is made: times are measured for the report
//! alone. Nodes move in the order of noise for cost. The shortest row of them that meets the budget is found by
//! bisection; then each, the dearest first, goes back to int8 if the budget still holds.

use std::collections::{BTreeMap, HashMap};

use edgepack_engine::{InputData, Model, SessionOptions};
use edgepack_harness::{Accuracy, AccuracySummary, Progress};
use rayon::prelude::*;
use serde::Serialize;

use crate::cost::cost;
use crate::error::{PackError, Result};
use crate::evaluate::evaluate;
use crate::graph::{Graph, Op, Precision, ValueId};
use crate::precision::{has_f32_steps, nearest_precision};
use crate::quant::Quant;
use crate::quantize::{QuantizedWeights, Residual, Scheme, moves_values};

/// What the outputs must be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    /// SQNR against the model in f32, in dB: at least this.
    pub min_sqnr: Option<f64>,
    /// Percentage points of accuracy (where the samples have labels; else of agreement with the model in
    /// f32) that may be lost.
    pub max_drop: Option<f64>,
}

impl Budget {
    /// Whether anything is asked for.
    pub fn is_some(&self) -> bool {
        self.min_sqnr.is_some() || self.max_drop.is_some()
    }

    /// Whether a package is good enough.
    pub fn holds(&self, quality: &Quality) -> bool {
        let enough = self.min_sqnr.is_none_or(|least| quality.sqnr_db.is_none_or(|db| db >= least));
        enough && self.max_drop.is_none_or(|most| quality.drop_points <= most)
    }
}

/// How good a package's outputs are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quality {
    /// SQNR against the model in f32; `None` where nothing differs.
    pub sqnr_db: Option<f64>,
    /// Percentage points lost, as [`Budget::max_drop`] counts them.
    pub drop_points: f64,
    /// Time of one inference on this machine, by its steps.
    pub us: f64,
}

impl Quality {
    fn of(summary: &AccuracySummary, us: f64) -> Self {
        let drop = match (summary.top1_baseline, summary.top1_device, summary.top1_agreement) {
            (Some(baseline), Some(device), _) => baseline - device,
            (_, _, Some(agreement)) => 1.0 - agreement,
            _ => 0.0,
        };
        // Outputs that are no numbers are no good.
        let sqnr_db = if summary.max_abs_error.is_none() { Some(f64::NEG_INFINITY) } else { summary.sqnr_db };
        Self { sqnr_db, drop_points: 100.0 * drop, us }
    }

    /// The noise for a signal of 1.
    fn noise(&self) -> f64 {
        self.sqnr_db.map_or(0.0, |db| 10.0_f64.powf(-db / 10.0))
    }
}

/// A node that is in int16 or f32 for the budget.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Moved {
    /// Its name.
    pub node: String,
    /// Its operation.
    pub op: String,
    /// What it computes with: int16x16 or fp32.
    pub precision: String,
    /// SQNR of the outputs with it alone in int8.
    pub alone_sqnr_db: Option<f64>,
    /// What SQNR falls to with it back in int8.
    pub without_sqnr_db: Option<f64>,
    /// Time of its steps in int8, and in what it was moved to.
    pub us: [f64; 2],
}

/// What the search came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MixedReport {
    /// Samples that packages were held against the model on.
    pub samples: usize,
    /// All in int8.
    pub int8: Quality,
    /// As it is now.
    pub mixed: Quality,
    /// The nodes in int16 or f32, in the model's order.
    pub moved: Vec<Moved>,
    /// Nodes that could have moved.
    pub candidates: usize,
}

/// The inputs of a sample, and its label.
pub type Sample = (Vec<Vec<f32>>, Option<u32>);

/// A sample, and what the model in f32 makes of it.
#[derive(Clone, Debug)]
pub struct Judged {
    inputs: Vec<Vec<f32>>,
    outputs: Vec<Vec<f32>>,
    label: Option<u32>,
}

/// Evaluates the graph on samples: inputs and label of each.
pub fn judge(graph: &Graph, samples: Vec<Sample>) -> Vec<Judged> {
    let judged = samples.into_par_iter().map(|(inputs, label)| {
        let slices: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let outputs = evaluate(graph, &slices, |_, _| {});
        Judged { inputs, outputs, label }
    });
    judged.collect()
}

/// The weights that methods have fitted to a graph all of whose nodes are as the user asked for, lent to the
/// candidates: to fit each of these anew would take too long.
#[derive(Clone, Debug, Default)]
pub struct Fitted(HashMap<ValueId, (Option<Quant>, Option<Residual>, QuantizedWeights)>);

impl Fitted {
    /// The weights of a scheme.
    pub fn of(graph: &Graph, scheme: &Scheme) -> Self {
        let weights = graph.nodes.iter().filter_map(|node| {
            let weights = scheme.weights[node.output.0].clone()?;
            Some((node.output, (scheme.multiplicand(node), scheme.residual(node), weights)))
        });
        Self(weights.collect())
    }

    /// Gives a scheme the weights of the nodes that compute with the same scales in it.
    pub fn lend(&self, graph: &Graph, mut scheme: Scheme) -> Scheme {
        for node in &graph.nodes {
            if let Some((multiplicand, residual, weights)) = self.0.get(&node.output)
                && scheme.weights[node.output.0].is_some()
                && (scheme.multiplicand(node), scheme.residual(node)) == (*multiplicand, *residual)
            {
                scheme.weights[node.output.0] = Some(weights.clone());
            }
        }
        scheme
    }
}

/// How good a package is on samples.
///
/// # Errors
/// It cannot be run.
pub fn quality(package: &[u8], samples: &[Judged]) -> Result<Quality> {
    run(package, samples).map(|(quality, _)| quality)
}

/// Samples that sensitivities are measured on: these only have to sort nodes.
const SENSITIVITY_SAMPLES: usize = 8;

/// Runs for the time of a step, of which the fastest counts.
const TIMED_RUNS: usize = 5;

/// What makes a package of a graph whose nodes have their precisions.
pub type Build<'a> = dyn Fn(&Graph) -> Result<Vec<u8>> + Sync + 'a;

/// Moves nodes to int16, with weights of int16 too, until the budget holds; where it does not even with all of
/// them, to f32, and those back to int16 that need not be in it.
///
/// # Errors
/// [`PackError::Budget`], where it does not even with all of them.
pub fn search(
    graph: &mut Graph,
    samples: &[Judged],
    budget: &Budget,
    build: &Build<'_>,
    progress: &mut dyn Progress,
) -> Result<MixedReport> {
    let movable = |i: &usize| {
        let node = &graph.nodes[*i];
        let follows = moves_values(&node.op) || matches!(node.op, Op::FinalCell(_));
        node.precision != Precision::F32 && has_f32_steps(&node.op) && !follows
    };
    let movable: Vec<usize> = (0..graph.nodes.len()).filter(movable).collect();
    // Where tensors are f32 already there are no ranges for int16, which would gain nothing either.
    let has_f32_values = movable.iter().any(|&i| graph.nodes[i].precision.has_f32_values());
    let level = if has_f32_values { Precision::F32 } else { Precision::Int16x16 };
    let mut search = Search { graph, samples, build, level };
    let (int8, int8_times) = search.measure(&[], samples)?;
    let mut report =
        MixedReport { samples: samples.len(), int8, mixed: int8, moved: vec![], candidates: movable.len() };
    if budget.holds(&int8) {
        return Ok(report);
    }
    let (mut all, _) = search.measure(&movable, samples)?;
    if !budget.holds(&all) {
        search.level = Precision::F32;
        (all, _) = search.measure(&movable, samples)?;
    }
    if !budget.holds(&all) {
        return Err(PackError::Budget {
            reason: unreachable(budget, &all, movable.len() < graph.nodes.len()),
        });
    }
    let alone = search.sensitivities(&movable, progress)?;
    let time = |times: &BTreeMap<String, f64>, i: usize| {
        times.get(&search.graph.nodes[i].name).copied().unwrap_or(0.0)
    };
    let cost = |i: usize| {
        let of = |precision| cost(search.graph, &search.graph.nodes[i], precision) as f64;
        (of(search.precision(i)) - of(search.graph.nodes[i].precision)).max(1.0)
    };
    let mut order: Vec<(usize, Quality)> = movable.into_iter().zip(alone).collect();
    order.sort_by(|(i, a), (j, b)| (b.noise() / cost(*j)).total_cmp(&(a.noise() / cost(*i))));
    let first = |count: usize| order[..count].iter().map(|(i, _)| *i).collect::<Vec<_>>();
    progress.start("moving nodes from int8", order.len().ilog2() as u64 + 1);
    let (mut fails, mut holds) = (0, order.len());
    while holds - fails > 1 {
        let middle = (fails + holds) / 2;
        if budget.holds(&search.measure(&first(middle), samples)?.0) {
            holds = middle;
        } else {
            fails = middle;
        }
        progress.advance(1);
    }
    let mut kept = first(holds);
    progress.start("moving nodes back to int8", kept.len() as u64);
    let mut tried = kept.clone();
    tried.sort_by(|&i, &j| cost(j).total_cmp(&cost(i)));
    let mut without = BTreeMap::new();
    for i in tried {
        let others: Vec<usize> = kept.iter().copied().filter(|&other| other != i).collect();
        let (quality, _) = search.measure(&others, samples)?;
        if budget.holds(&quality) {
            kept = others;
        } else {
            without.insert(i, quality);
        }
        progress.advance(1);
    }
    kept.sort_unstable();
    let mut kept: Vec<(usize, Precision)> = kept.into_iter().map(|i| (i, search.precision(i))).collect();
    for at in 0..kept.len() {
        let (i, precision) = kept[at];
        kept[at].1 = nearest_precision(&search.graph.nodes[i].op, Precision::Int16x16);
        if kept[at].1 != precision && !budget.holds(&search.measure_at(&kept, samples)?.0) {
            kept[at].1 = precision;
        }
    }
    let (mixed, moved_times) = search.measure_at(&kept, samples)?;
    report.mixed = mixed;
    let moved = |&(i, precision): &(usize, Precision)| {
        let node = &search.graph.nodes[i];
        let alone = order.iter().find(|(other, _)| *other == i);
        Moved {
            node: node.name.clone(),
            op: node.onnx_op.clone(),
            precision: precision.to_string(),
            alone_sqnr_db: alone.and_then(|(_, quality)| quality.sqnr_db),
            without_sqnr_db: without.get(&i).and_then(|quality| quality.sqnr_db),
            us: [time(&int8_times, i), time(&moved_times, i)],
        }
    };
    report.moved = kept.iter().map(moved).collect();
    for (i, precision) in kept {
        graph.nodes[i].precision = precision;
    }
    Ok(report)
}

/// Why a budget cannot be met, and what can be done.
fn unreachable(budget: &Budget, best: &Quality, some_stay: bool) -> String {
    let mut best_says = vec![];
    if let Some(least) = budget.min_sqnr {
        let db = best.sqnr_db.unwrap_or(f64::INFINITY);
        best_says.push(format!("an SQNR of {db:.2} dB where --min-sqnr asks for {least}"));
    }
    if let Some(most) = budget.max_drop {
        best_says.push(format!(
            "a drop of {:.2} percentage points where --max-drop allows {most}",
            best.drop_points
        ));
    }
    let all = if some_stay { "every node that has f32 steps" } else { "every node" };
    format!(
        "with {all} in f32 there is {}: ask for less, or check --mean, --std and the data",
        best_says.join(" and ")
    )
}

/// Runs a package on samples: how good it is, and the time of each step by its node's name.
fn run(package: &[u8], samples: &[Judged]) -> Result<(Quality, BTreeMap<String, f64>)> {
    let failed = |error: edgepack_engine::Error| PackError::SelfTest { reason: error.to_string() };
    let model = Model::from_bytes(package).map_err(failed)?;
    let mut session = model.session(&SessionOptions::default()).map_err(failed)?;
    let mut accuracy = Accuracy::default();
    let names: Vec<String> = session.package().steps().map(|step| step.name.to_string()).collect();
    let mut fastest = vec![u64::MAX; names.len()];
    let mut nanoseconds = vec![0; names.len()];
    for (index, sample) in samples.iter().enumerate() {
        for (input, values) in sample.inputs.iter().enumerate() {
            session.set_input(input, InputData::F32(values)).map_err(failed)?;
        }
        if index < TIMED_RUNS {
            session.run_profiled(&mut nanoseconds).map_err(failed)?;
            fastest.iter_mut().zip(&nanoseconds).for_each(|(best, &time)| *best = time.min(*best));
        } else {
            session.run().map_err(failed)?;
        }
        let outputs = (0..sample.outputs.len())
            .map(|output| session.output(output).map(|output| output.values().collect()));
        let outputs = outputs.collect::<std::result::Result<Vec<Vec<f32>>, _>>().map_err(failed)?;
        accuracy.add(&sample.outputs, &outputs, sample.label);
    }
    let mut times = BTreeMap::new();
    for (name, time) in names.into_iter().zip(&fastest) {
        *times.entry(name).or_insert(0.0) += *time as f64 / 1e3;
    }
    Ok((Quality::of(&accuracy.summary(), fastest.iter().sum::<u64>() as f64 / 1e3), times))
}

struct Search<'a> {
    graph: &'a Graph,
    samples: &'a [Judged],
    build: &'a Build<'a>,
    /// What nodes are moved to.
    level: Precision,
}

impl Search<'_> {
    /// What a node is moved to: f32 where it has no steps of int16.
    fn precision(&self, i: usize) -> Precision {
        nearest_precision(&self.graph.nodes[i].op, self.level)
    }

    /// The package with these nodes moved: how good it is on some samples, and the time of each step by its
    /// node's name.
    fn measure(&self, moved: &[usize], samples: &[Judged]) -> Result<(Quality, BTreeMap<String, f64>)> {
        let moved: Vec<_> = moved.iter().map(|&i| (i, self.precision(i))).collect();
        self.measure_at(&moved, samples)
    }

    fn measure_at(
        &self,
        moved: &[(usize, Precision)],
        samples: &[Judged],
    ) -> Result<(Quality, BTreeMap<String, f64>)> {
        let mut graph = self.graph.clone();
        for &(i, precision) in moved {
            graph.nodes[i].precision = precision;
        }
        run(&(self.build)(&graph)?, samples)
    }

    /// By node: the package with it alone in int8.
    fn sensitivities(&self, movable: &[usize], progress: &mut dyn Progress) -> Result<Vec<Quality>> {
        progress.start("measuring each node's sensitivity", movable.len() as u64);
        let samples = &self.samples[..self.samples.len().min(SENSITIVITY_SAMPLES)];
        let mut all = Vec::with_capacity(movable.len());
        // In turns, since progress is told by one thread.
        for some in movable.chunks(rayon::current_num_threads()) {
            let measured = some.par_iter().map(|i| {
                let others: Vec<usize> = movable.iter().copied().filter(|other| other != i).collect();
                self.measure(&others, samples).map(|(quality, _)| quality)
            });
            all.extend(measured.collect::<Result<Vec<_>>>()?);
            progress.advance(some.len() as u64);
        }
        Ok(all)
    }
}
