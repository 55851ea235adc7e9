//! What pruning came to.

use edgepack_harness::{Accuracy, AccuracySummary, Progress};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::units::{Stays, channel_axes};
use super::{Judges, PruneOptions};
use crate::error::Result;
use crate::evaluate::evaluate;
use crate::graph::{Graph, Node, Op};
use crate::quantize::product_constants;

/// What pruning came to, all of it in f32: what int8 costs comes after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PruneReport {
    /// Which channels went first.
    pub criterion: String,
    /// How they were shared among the layers.
    pub allocation: String,
    /// Output channels of all products, before and after.
    pub channels: [usize; 2],
    /// Multiply-adds by constants of one inference, before and after.
    pub macs: [u64; 2],
    /// Weights and biases of all products, before and after.
    pub parameters: [usize; 2],
    /// Every product.
    pub layers: Vec<LayerReport>,
    /// Products whose channels all stay, and why.
    pub stay: Vec<StaysReport>,
    /// Samples that the models were held against each other on.
    pub samples: usize,
    /// Without the channels, before anything is fitted.
    pub masked: PruneQuality,
    /// With what is left fitted to the whole model, layer after layer.
    pub fitted: PruneQuality,
    /// And after it has learned from the whole model, all layers together; `None` where it did not.
    pub learned: Option<PruneQuality>,
}

/// One product, before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerReport {
    /// Its name.
    pub node: String,
    /// Its operation.
    pub op: String,
    /// Output channels.
    pub channels: [usize; 2],
    /// Multiply-adds.
    pub macs: [u64; 2],
    /// Weights and biases.
    pub parameters: [usize; 2],
}

/// A product whose channels all stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StaysReport {
    /// Its name.
    pub node: String,
    /// Why, in words.
    pub why: String,
}

/// A pruned model against the whole one, in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PruneQuality {
    /// Share of labelled samples that the whole model, and this one, rank right.
    pub top1: Option<[f64; 2]>,
    /// Share of samples that both rank the same class first.
    pub agreement: Option<f64>,
    /// Of the outputs, in dB; `None` where nothing differs.
    pub sqnr_db: Option<f64>,
}

impl PruneQuality {
    fn of(summary: &AccuracySummary) -> Self {
        Self {
            top1: summary.top1_baseline.zip(summary.top1_device).map(|(whole, own)| [whole, own]),
            agreement: summary.top1_agreement,
            sqnr_db: summary.sqnr_db,
        }
    }
}

impl PruneReport {
    /// Of a graph and what is left of it; what it is worth is filled in later.
    pub(super) fn of(graph: &Graph, pruned: &Graph, stay: &[(usize, Stays)], options: &PruneOptions) -> Self {
        let layer = |(before, after): (&Node, &Node)| {
            let parameters = [before, after].map(|node| {
                product_constants(node).map_or(0, |(weights, bias)| weights.data.len() + bias.len())
            });
            channel_axes(graph, before)?;
            Some(LayerReport {
                node: before.name.clone(),
                op: before.onnx_op.clone(),
                channels: [before, after]
                    .map(|node| product_constants(node).map_or(0, |(_, bias)| bias.len())),
                macs: [macs(graph, before), macs(pruned, after)],
                parameters,
            })
        };
        let layers: Vec<LayerReport> = graph.nodes.iter().zip(&pruned.nodes).filter_map(layer).collect();
        let stay = stay
            .iter()
            .map(|(node, why)| StaysReport { node: graph.nodes[*node].name.clone(), why: why.says(graph) });
        Self {
            criterion: options.criterion.to_string(),
            allocation: options.allocation.to_string(),
            channels: [0, 1].map(|i| layers.iter().map(|layer| layer.channels[i]).sum()),
            macs: [0, 1].map(|i| layers.iter().map(|layer| layer.macs[i]).sum()),
            parameters: [0, 1].map(|i| layers.iter().map(|layer| layer.parameters[i]).sum()),
            layers,
            stay: stay.collect(),
            samples: 0,
            masked: PruneQuality::default(),
            fitted: PruneQuality::default(),
            learned: None,
        }
    }
}

impl Stays {
    /// In words.
    pub(super) fn says(self, graph: &Graph) -> String {
        match self {
            Self::OfTheModel => "they are an output of the model, or go with one".into(),
            Self::Unread => {
                "no product with constants reads them, so that nothing could make up for them".into()
            }
            Self::Node(index) => {
                let node = &graph.nodes[index];
                let why = match node.op {
                    Op::Recurrent(_) | Op::FinalCell(_) => {
                        "multiplies its states by themselves, time after time, and is left as it is"
                    }
                    _ => "needs all of them",
                };
                format!("`{}` ({}) {why}", node.name, node.onnx_op)
            }
        }
    }
}

/// Multiply-adds of a product.
pub(super) fn macs(graph: &Graph, node: &Node) -> u64 {
    let outputs: usize = graph.dims(node.output).iter().product();
    let each = product_constants(node).map_or(0, |(weights, bias)| weights.data.len() / bias.len().max(1));
    (outputs * each) as u64
}

/// Samples that are evaluated together.
const BATCH: usize = 8;

/// Models against the whole one. No more samples than a few are held at once.
///
/// # Errors
/// A sample that cannot be read.
pub(super) fn qualities<const N: usize>(
    graph: &Graph,
    others: [&Graph; N],
    judges: Judges<'_>,
    progress: &mut dyn Progress,
) -> Result<[PruneQuality; N]> {
    progress.start("comparing the pruned model", judges.count as u64);
    let mut accuracy: [Accuracy; N] = std::array::from_fn(|_| Accuracy::default());
    for first in (0..judges.count).step_by(BATCH) {
        let batch = (first..(first + BATCH).min(judges.count)).into_par_iter().map(|sample| {
            let (inputs, label) = (judges.load)(sample)?;
            let slices: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
            let outputs = |graph: &Graph| evaluate(graph, &slices, |_, _| {});
            Ok((outputs(graph), others.map(outputs), label))
        });
        for (whole, others, label) in batch.collect::<Result<Vec<_>>>()? {
            accuracy.iter_mut().zip(&others).for_each(|(accuracy, own)| accuracy.add(&whole, own, label));
            progress.advance(1);
        }
    }
    Ok(accuracy.map(|accuracy| PruneQuality::of(&accuracy.summary())))
}
