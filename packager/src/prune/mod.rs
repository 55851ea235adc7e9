//! Pruning: whole channels go, and what is left is fitted to the whole model.
//!
//! ```text
//! units       which channels can only go together (dependency groups)
//! importance  in which order those of a group go, by what reads them
//! allocate    how many of each group go
//! refit       what is left is fitted to the whole model, without labels
//! remove      the graph without them: smaller in every shape
//! sparsify    single weights become zero: the package compresses better, and is no faster
//! ```
//! It works on the graph in f32, before anything is quantized; what follows knows nothing of it.

mod allocate;
mod distil;
mod importance;
mod refit;
mod remove;
mod report;
mod sparsify;
mod units;

use std::collections::{HashMap, HashSet};

use edgepack_harness::Progress;
use rayon::prelude::*;

pub use allocate::Allocation;
pub use importance::Criterion;
pub use report::{LayerReport, PruneQuality, PruneReport, StaysReport};
pub use sparsify::{Saliency, SparseLayer, SparsityOptions, SparsityReport, compressed_bytes, sparsify};

use crate::error::{PackError, Result};
use crate::evaluate::evaluate;
use crate::graph::{Graph, Node};
use crate::quantize::{Abreast, Samples, moments};
use allocate::{Candidate, allocate};
use importance::{Order, Reader, factors, order};
use units::{Group, Units, channel_axes};

/// What the user asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct PruneOptions {
    /// The share of all channels that goes, in [0, 1); `None` for no pruning but of `nodes`.
    pub channels: Option<f64>,
    /// The share of the channels of single nodes, by name.
    pub nodes: Vec<(String, f64)>,
    /// Channels stay in multiples of this.
    pub multiple: usize,
    /// Which channels go first.
    pub criterion: Criterion,
    /// How they are shared among the layers.
    pub allocation: Allocation,
    /// How what stays is fitted to the whole model.
    pub refit: Refit,
}

/// How what stays is fitted to the whole model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refit {
    /// Layer after layer, and then all layers together by gradients.
    #[default]
    Whole,
    /// Layer after layer.
    Layers,
    /// Not at all.
    None,
}

const REFITS: [(Refit, &str); 3] =
    [(Refit::Whole, "whole"), (Refit::Layers, "layers"), (Refit::None, "none")];

impl std::fmt::Display for Refit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(REFITS.iter().find(|(refit, _)| refit == self).map_or("", |(_, name)| name))
    }
}

impl std::str::FromStr for Refit {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let found = REFITS.iter().find(|(_, name)| *name == text).map(|(refit, _)| *refit);
        found.ok_or_else(|| format!("`{text}` is none of {}", REFITS.map(|(_, name)| name).join(", ")))
    }
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self {
            channels: None,
            nodes: Vec::new(),
            multiple: 4,
            criterion: Criterion::default(),
            allocation: Allocation::default(),
            refit: Refit::default(),
        }
    }
}

impl PruneOptions {
    /// Whether anything is asked for.
    pub fn is_some(&self) -> bool {
        self.channels.is_some() || !self.nodes.is_empty()
    }
}

/// Gives the inputs and the label of a sample, by its index.
pub type LoadLabelled<'a> = dyn Fn(usize) -> Result<(Vec<Vec<f32>>, Option<u32>)> + Sync + 'a;

/// The samples that a pruned model is held against the whole one on.
#[derive(Clone, Copy)]
pub struct Judges<'a> {
    /// How many.
    pub count: usize,
    /// Reads one.
    pub load: &'a LoadLabelled<'a>,
}

/// How often sensitivities are measured, each time with what was allocated by those before: what is lost by
/// many channels is more than many times what is lost by few.
const ROUNDS: usize = 4;

/// Samples that sensitivities are measured on.
const SENSITIVITY_SAMPLES: usize = 16;

/// Removes channels of a graph, and fits what is left to what it was.
///
/// # Errors
/// A node that is named is none whose channels can go; a sample that cannot be read.
pub fn prune(
    graph: &mut Graph,
    options: &PruneOptions,
    samples: Samples<'_>,
    judges: Judges<'_>,
    progress: &mut dyn Progress,
) -> Result<PruneReport> {
    let units = Units::of(graph);
    let (groups, stay) = units.groups(graph);
    let shares = shares(graph, &groups, &stay, options)?;
    let readers = readers(graph, &units, samples, progress)?;
    let mut left = Left::new(graph, &units);
    let may_go = |unit: usize| left.remove(unit);
    let orders = orders(graph, &units, &groups, &readers, options.criterion, may_go);
    let mut candidates: Vec<Candidate<'_>> = (groups.iter().zip(&orders).zip(shares))
        .map(|((group, order), share)| {
            let (channels, macs) = (channels(graph, &units, group), macs(graph, &units, group));
            Candidate { group, order, share, channels, macs, sensitivity: 0.0 }
        })
        .collect();
    let share = options.channels.unwrap_or(0.0);
    let mut counts = allocate(&candidates, share, options.multiple, Allocation::Uniform);
    if options.allocation == Allocation::Sensitivity {
        progress.start("measuring each layer's sensitivity", (ROUNDS * candidates.len()) as u64);
        for _ in 0..ROUNDS {
            sensitivities(graph, &units, &mut candidates, &counts, &readers, samples, progress)?;
            counts = allocate(&candidates, share, options.multiple, Allocation::Sensitivity);
        }
    }
    let mut gone = vec![false; units.count()];
    for (candidate, &count) in candidates.iter().zip(&counts) {
        candidate.order.units[..count].iter().for_each(|&unit| gone[unit] = true);
    }
    let masked = remove::masked(graph, &units, &gone);
    let fitted = match options.refit {
        Refit::None => masked.clone(),
        _ => {
            progress.start("fitting what is left to the whole model", graph.nodes.len() as u64);
            refit::refit(graph, &units, &gone, samples, || progress.advance(1))?
        }
    };
    let fitted = remove::removed(&fitted, &units, &gone);
    let distilled = match options.refit {
        Refit::Whole => distil::distil(graph, fitted.clone(), (&units, &gone), samples, progress)?,
        _ => None,
    };
    let learned = distilled.is_some();
    let pruned = distilled.unwrap_or_else(|| fitted.clone());
    let mut report = PruneReport::of(graph, &pruned, &stay, options);
    let [masked, fitted, pruned_quality] =
        report::qualities(graph, [&masked, &fitted, &pruned], judges, progress)?;
    (report.masked, report.fitted, report.learned) = (masked, fitted, learned.then_some(pruned_quality));
    report.samples = judges.count;
    *graph = pruned;
    Ok(report)
}

/// By group: the share that the user says, if any.
fn shares(
    graph: &Graph,
    groups: &[Group],
    stay: &[(usize, units::Stays)],
    options: &PruneOptions,
) -> Result<Vec<Option<f64>>> {
    let mut shares: Vec<Option<f64>> = vec![None; groups.len()];
    for (name, share) in &options.nodes {
        let is_called = |node: &Node| node.name == *name || node.merged.contains(name);
        let Some(index) = graph.nodes.iter().position(is_called) else {
            return Err(wrong(name, "is no node of the model, or nothing is left of it"));
        };
        let node = &graph.nodes[index];
        if channel_axes(graph, node).is_none() {
            let reason = format!("is a {}: channels are those that Conv, Gemm and MatMul make", node.onnx_op);
            return Err(wrong(name, &reason));
        }
        let mut found = false;
        for (group, all) in groups.iter().zip(&mut shares).filter(|(group, _)| group.makers.contains(&index))
        {
            found = true;
            if let Some(other) = all.filter(|other| other != share) {
                let reason = format!(
                    "is to lose {:.0} % of its channels, but those of {} go with them, which are to lose {:.0} %",
                    100.0 * share,
                    names(graph, &group.makers),
                    100.0 * other
                );
                return Err(wrong(name, &reason));
            }
            *all = Some(*share);
        }
        // To keep what stays anyway is no mistake.
        if let (false, Some((_, why)), true) =
            (found, stay.iter().find(|(stays, _)| *stays == index), *share > 0.0)
        {
            return Err(wrong(name, &format!("keeps its channels: {}", why.says(graph))));
        }
    }
    if groups.is_empty() {
        return Err(PackError::Quantize {
            node: "--prune-channels".into(),
            reason: "the model has no channels that can go: pack it without".into(),
        });
    }
    Ok(shares)
}

fn wrong(name: &str, reason: &str) -> PackError {
    PackError::Quantize { node: name.into(), reason: format!("{reason} (--prune-node, --keep-channels)") }
}

fn names(graph: &Graph, nodes: &[usize]) -> String {
    nodes.iter().map(|&node| format!("`{}`", graph.nodes[node].name)).collect::<Vec<_>>().join(", ")
}

/// What every product that sums over channels has of each of them.
fn readers(
    graph: &Graph,
    units: &Units,
    samples: Samples<'_>,
    progress: &mut dyn Progress,
) -> Result<Vec<Reader>> {
    progress.start("measuring what channels contribute", graph.nodes.len() as u64);
    let mut abreast = Abreast::in_f32(graph, graph.nodes.clone(), samples);
    let mut readers = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        abreast.gather(index)?;
        if channel_axes(graph, node).is_some() && !units::is_depthwise(node) {
            readers.extend(Reader::of(graph, units, index, &moments(graph, index, &abreast)));
        }
        abreast.advance(index);
        progress.advance(1);
    }
    Ok(readers)
}

fn orders(
    graph: &Graph,
    units: &Units,
    groups: &[Group],
    readers: &[Reader],
    criterion: Criterion,
    mut may_go: impl FnMut(usize) -> bool,
) -> Vec<Order> {
    groups.iter().map(|group| order(graph, units, group, readers, criterion, &mut may_go)).collect()
}

/// Positions that are left along every axis, if all units went that may: no axis is ever without any.
struct Left {
    by_axis: Vec<usize>,
    /// By unit: the axes where it is, as often as it is there.
    axes: HashMap<usize, Vec<usize>>,
}

impl Left {
    fn new(graph: &Graph, units: &Units) -> Self {
        let (mut by_axis, mut axes) = (Vec::new(), HashMap::<usize, Vec<usize>>::new());
        for (id, value) in graph.values.iter().enumerate() {
            for axis in 0..value.dims.len() {
                let Some(along) = units.along(crate::graph::ValueId(id), axis) else { continue };
                along.iter().for_each(|&unit| axes.entry(unit).or_default().push(by_axis.len()));
                by_axis.push(along.len());
            }
        }
        Self { by_axis, axes }
    }

    fn remove(&mut self, unit: usize) -> bool {
        let of = self.axes.get(&unit).map_or(&[][..], Vec::as_slice);
        of.iter().for_each(|&axis| self.by_axis[axis] -= 1);
        let fits = of.iter().all(|&axis| self.by_axis[axis] > 0);
        if !fits {
            of.iter().for_each(|&axis| self.by_axis[axis] += 1);
        }
        fits
    }
}

/// Output channels, of all products of a group, that a unit of it is.
fn channels(graph: &Graph, units: &Units, group: &Group) -> usize {
    let of = |&maker: &usize| {
        let [rows, _] = units.of_product(graph, &graph.nodes[maker]);
        rows.unwrap_or_default().iter().filter(|&&unit| unit == group.units[0]).count()
    };
    group.makers.iter().map(of).sum::<usize>().max(1)
}

/// Multiply-adds that a unit of a group is on average: of its output channels, and of what reads it.
fn macs(graph: &Graph, units: &Units, group: &Group) -> f64 {
    let own: HashSet<usize> = group.units.iter().copied().collect();
    let of = |node: &Node| {
        let share = |along: Option<&[usize]>| {
            let along = along.unwrap_or_default();
            along.iter().filter(|unit| own.contains(unit)).count() as f64 / along.len().max(1) as f64
        };
        let [rows, columns] = units.of_product(graph, node).map(share);
        let either = if units::is_depthwise(node) { rows } else { rows + columns };
        report::macs(graph, node) as f64 * either
    };
    let products = graph.nodes.iter().filter(|node| channel_axes(graph, node).is_some());
    products.map(of).sum::<f64>().max(1.0) / group.units.len() as f64
}

/// Noise at the model's outputs for what the readers of each group lose, measured with `counts` of its units
/// gone and the factors of the others (Li et al., "Pruning Filters for Efficient ConvNets", 2017, section 3.2).
fn sensitivities(
    graph: &Graph,
    units: &Units,
    candidates: &mut [Candidate<'_>],
    counts: &[usize],
    readers: &[Reader],
    samples: Samples<'_>,
    progress: &mut dyn Progress,
) -> Result<()> {
    let count = samples.count.min(SENSITIVITY_SAMPLES);
    let teacher = |sample: usize| {
        let inputs = (samples.load)(sample * samples.count / count)?;
        let slices: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let outputs = evaluate(graph, &slices, |_, _| {});
        Ok((inputs, outputs))
    };
    let seen = (0..count).into_par_iter().map(teacher).collect::<Result<Vec<_>>>()?;
    for (candidate, &gone) in candidates.iter_mut().zip(counts) {
        progress.advance(1);
        let first = &candidate.order.units[..gone];
        let (group, lost) = (candidate.group, candidate.order.lost[gone]);
        if gone == 0 || lost <= 0.0 {
            continue;
        }
        let mut flags = vec![false; units.count()];
        first.iter().for_each(|&unit| flags[unit] = true);
        let mut pruned = graph.clone();
        for reader in readers {
            reader.without(&mut pruned, units, &factors(reader, &group.units, first));
        }
        let pruned = remove::removed(&pruned, units, &flags);
        let noise = seen.par_iter().map(|(inputs, outputs)| {
            let slices: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
            let pruned = evaluate(&pruned, &slices, |_, _| {});
            let all = outputs.iter().flatten().zip(pruned.iter().flatten());
            all.fold([0.0, 0.0], |[noise, signal], (&a, &b)| {
                [noise + f64::from(a - b).powi(2), signal + f64::from(a).powi(2)]
            })
        });
        let [noise, signal] = noise.reduce(|| [0.0, 0.0], |[a, b], [c, d]| [a + c, b + d]);
        let measured = noise / signal.max(f64::MIN_POSITIVE) / lost;
        // The most that was seen, so that rounds come to an end.
        candidate.sensitivity = candidate.sensitivity.max(measured);
    }
    Ok(())
}

/// Which of some costs are the `count` smallest; of equal ones the first.
fn mask_smallest(costs: &[f64], count: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..costs.len()).collect();
    order.sort_by(|&a, &b| costs[a].total_cmp(&costs[b]));
    let mut smallest = vec![false; costs.len()];
    order[..count.min(costs.len())].iter().for_each(|&i| smallest[i] = true);
    smallest
}

#[cfg(test)]
mod tests;
