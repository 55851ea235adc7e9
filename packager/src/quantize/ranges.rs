//! Ranges by what they cost the layers that read a tensor.
//!
//! An observer that looks at a tensor alone weighs all its errors alike; the layers that read it do not. What is
//! far below zero is nothing to a ReLU, and one large value may decide a class. So each of several ranges is tried:
//! the tensor is rounded to it, every layer that reads it computes once with the rounded and once with the real
//! tensor, and the range counts by the noise of their results (the loss of Banner et al., "Post-training 4-bit
//! Quantization of Convolution Networks for Rapid-Deployment", 2019, taken one layer later, as in Wu et al.,
//! "EasyQuant: Post-training Quantization via Scale Optimization", 2020). The outputs of the whole network were no
//! better judges: few samples decide there, and others suffer for them.

use rayon::prelude::*;

use super::abreast::Samples;
use super::{Quant, Scheme, keeps_values, symmetric_values};
use crate::calibrate::{Histogram, Observer, Statistics};
use crate::cost::macs;
use crate::error::Result;
use crate::evaluate::{evaluate_nodes, evaluate_op};
use crate::graph::{Clamp, Graph, Op, ValueId};

/// Observers whose ranges are tried.
const OBSERVERS: [Observer; 5] = [
    Observer::MinMax,
    Observer::Percentile(99.99),
    Observer::Percentile(99.9),
    Observer::Entropy,
    Observer::Mse,
];
/// Multiples of the range of [`Observer::Mse`] that are tried, too.
const FACTORS: [f32; 7] = [0.7, 0.8, 0.9, 1.1, 1.25, 1.5, 2.0];
/// Samples that are evaluated together.
const BATCH: usize = 8;
/// Multiply-adds that the trials may take; fewer samples are looked at where they would take more…
const MOST_MACS: u64 = 600_000_000_000;
/// …but never fewer than these.
const FEWEST: usize = 8;
/// A range is given up once it costs more than a wider one by `LEAD / √samples` of that: it cuts off too much
/// (successive elimination, Even-Dar et al., "Action Elimination and Stopping Conditions for the Multi-Armed Bandit
/// and Reinforcement Learning Problems", 2006). Wider ranges than the best are not given up: they cost the same at
/// every sample, and win where a rare one has large values.
const LEAD: f64 = 8.0;

/// A value that needs a range.
struct Tried {
    id: ValueId,
    /// The value whose statistics it has: its own, or of a cast what it casts.
    seen: ValueId,
    ranges: Vec<[f32; 2]>,
    /// Of the ranges; `None` of those that were given up.
    quants: Vec<Option<Quant>>,
}

/// What was seen of the results of one reader of a value: their power, and that of the noise of each range.
#[derive(Clone, Default)]
struct Power {
    signal: f64,
    noise: Vec<f64>,
}

/// Chooses the ranges of the values that `scheme` has as int8 and that statistics are there of, and puts them into
/// the statistics. `graph` has its casts. `progress` is told of every one of so many samples as
/// [`samples_of_ranges`] says.
///
/// # Errors
/// A sample that cannot be read.
pub fn choose_ranges(
    graph: &Graph,
    scheme: &Scheme,
    statistics: &mut Statistics,
    samples: Samples<'_>,
    mut progress: impl FnMut(),
) -> Result<()> {
    let mut tried = tried(graph, scheme, statistics);
    let mut index_of = vec![None; graph.values.len()];
    tried.iter().enumerate().for_each(|(index, tried)| index_of[tried.id.0] = Some(index));
    // By value that is tried: what its readers say.
    let mut powers: Vec<Vec<Power>> = vec![Vec::new(); tried.len()];
    let count = samples_of_ranges(graph, samples.count);
    let places: Vec<usize> = scattered(count).map(|k| k * samples.count / count).collect();
    let mut seen = 0;
    for batch in places.chunks(BATCH) {
        let results = batch.par_iter().map(|&sample| {
            let inputs = (samples.load)(sample)?;
            Ok(try_all(graph, &tried, &index_of, &inputs))
        });
        for sample in results.collect::<Result<Vec<_>>>()? {
            for (total, one) in powers.iter_mut().zip(sample) {
                total.resize(one.len(), Power::default());
                total.iter_mut().zip(one).for_each(|(total, one)| total.add(&one));
            }
            progress();
        }
        seen += batch.len();
        for (tried, powers) in tried.iter_mut().zip(&powers) {
            let Some((best, least)) = tried.best(powers) else { continue };
            let most = least * (1.0 + LEAD / (seen as f64).sqrt());
            for (index, (quant, range)) in tried.quants.iter_mut().zip(&tried.ranges).enumerate() {
                let is_narrower = range[0] >= best[0] && range[1] <= best[1];
                *quant = quant.filter(|_| !is_narrower || cost(powers, index) <= most);
            }
        }
    }
    for (tried, powers) in tried.iter().zip(powers) {
        statistics.chosen[tried.seen.0] = tried.best(&powers).map(|(range, _)| range);
    }
    Ok(())
}

/// Every number below `count` once, those after each other far from each other: the first few are a fair choice of
/// samples that lie in some order (steps of the golden section).
fn scattered(count: usize) -> impl Iterator<Item = usize> {
    let common = |mut a: usize, mut b: usize| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let step = (1..=count * 618 / 1000).rev().find(|&step| common(count, step) == 1).unwrap_or(1);
    (0..count).map(move |k| k * step % count)
}

/// What a range costs the readers of its value, each in terms of its own results.
fn cost(powers: &[Power], range: usize) -> f64 {
    powers.iter().map(|power| power.noise[range] / power.signal.max(f64::MIN_POSITIVE)).sum()
}

impl Tried {
    /// The range that costs least of those that are left, and what it costs. Where all are alike (nothing was seen,
    /// or nothing reads it), the first: all that was seen.
    fn best(&self, powers: &[Power]) -> Option<([f32; 2], f64)> {
        let left = (0..self.ranges.len()).filter(|&range| self.quants[range].is_some());
        let costs = left.map(|range| (self.ranges[range], cost(powers, range)));
        costs.reduce(|best, next| if next.1 < best.1 { next } else { best })
    }
}

/// The samples that ranges are chosen on, of so many.
pub fn samples_of_ranges(graph: &Graph, samples: usize) -> usize {
    let all: u64 = graph.nodes.iter().map(|node| macs(graph, node)).sum();
    let one = all * (OBSERVERS.len() + FACTORS.len()) as u64;
    samples.min(((MOST_MACS / one.max(1)) as usize).max(FEWEST))
}

fn tried(graph: &Graph, scheme: &Scheme, statistics: &Statistics) -> Vec<Tried> {
    let symmetric = symmetric_values(graph);
    let made = graph.nodes.iter().filter(|node| !keeps_values(node)).map(|node| match node.op {
        Op::Cast => (node.output, node.inputs[0]),
        _ => (node.output, node.output),
    });
    let values = graph.inputs.iter().map(|&id| (id, id)).chain(made);
    let needs_range = |&(id, seen): &(ValueId, ValueId)| {
        let seen = statistics.histograms.get(seen.0);
        scheme.quant(id).is_some() && graph.value(id).given.is_none() && seen.is_some_and(|h| !h.is_empty())
    };
    values
        .filter(needs_range)
        .map(|(id, seen)| {
            let ranges = ranges(&statistics.histograms[seen.0]);
            let quant = |&range: &[f32; 2]| {
                Some(if symmetric[id.0] { Quant::symmetric_over(range) } else { Quant::even_over(range) })
            };
            Tried { id, seen, quants: ranges.iter().map(quant).collect(), ranges }
        })
        .collect()
}

/// The ranges that are tried, each once; the widest first.
fn ranges(histogram: &Histogram) -> Vec<[f32; 2]> {
    let mut ranges: Vec<[f32; 2]> = Vec::new();
    let full = Observer::MinMax.range(histogram);
    let [min, max] = Observer::Mse.range(histogram);
    let scaled = FACTORS.map(|factor| [(min * factor).max(full[0]), (max * factor).min(full[1])]);
    for range in OBSERVERS.map(|observer| observer.range(histogram)).into_iter().chain(scaled) {
        if !ranges.contains(&range) {
            ranges.push(range);
        }
    }
    ranges
}

/// One sample: by value that is tried, what each of its readers says, in the order of nodes.
fn try_all(
    graph: &Graph,
    tried: &[Tried],
    index_of: &[Option<usize>],
    inputs: &[Vec<f32>],
) -> Vec<Vec<Power>> {
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut powers: Vec<Vec<Power>> = vec![Vec::new(); tried.len()];
    let observe = |node: usize, operands: &[&[f32]], result: &[f32]| {
        let node = &graph.nodes[node];
        for (at, id) in node.inputs.iter().enumerate() {
            let Some(index) = index_of[id.0].filter(|_| !node.inputs[..at].contains(id)) else { continue };
            // What is infinite, or no number, a selection drops, or the same is made of it whatever the range.
            let squares = result.iter().filter(|x| x.is_finite()).map(|&x| f64::from(x).powi(2)).sum();
            let noise = |quant: &Quant| {
                let mut rounded = operands[at].to_vec();
                quant.round(&mut rounded);
                let replaced = |(input, &real)| if input == id { &rounded[..] } else { real };
                let operands: Vec<&[f32]> = node.inputs.iter().zip(operands).map(replaced).collect();
                let mut noisy = evaluate_op(graph, &node.op, &node.inputs, node.output, &operands);
                if node.clamp != Clamp::NONE {
                    noisy.iter_mut().for_each(|x| *x = x.max(node.clamp.min).min(node.clamp.max));
                }
                let errors = noisy.iter().zip(result).map(|(a, b)| a - b).filter(|error| error.is_finite());
                errors.map(|error| f64::from(error).powi(2)).sum::<f64>()
            };
            let quants = tried[index].quants.iter();
            let noise = quants.map(|quant| quant.as_ref().map_or(0.0, noise)).collect();
            powers[index].push(Power { signal: squares, noise });
        }
    };
    evaluate_nodes(graph, &inputs, |_, _| {}, observe);
    powers
}

impl Power {
    fn add(&mut self, other: &Self) {
        self.noise.resize(other.noise.len(), 0.0);
        self.signal += other.signal;
        self.noise.iter_mut().zip(&other.noise).for_each(|(sum, noise)| *sum += noise);
    }
}
