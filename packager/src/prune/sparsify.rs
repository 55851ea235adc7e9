//! Single weights become zero, and the others make up for them.
//!
//! Which weights: those that are smallest (Han et al., "Learning both Weights and Connections for Efficient Neural
//! Networks", 2015), or those whose loss the others of their channel make up for best on the calibration set
//! (Frantar and Alistarh, "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot", 2023). The
//! second is the machinery that also rounds weights (`quantize::rounding`): with `H = x xᵀ = RᵀR` summed over the
//! samples, back substitution in `R` finds one weight after the other. One that is set to zero instead of the
//! `w` that was found costs `(R_ii w)²`, and those that are found after it make up for that. So many of a block of
//! columns as are to go, over all channels of a layer, are those that cost least.
//!
//! No kernel skips a zero: a sparse package is no faster. It compresses better, for a download or an image of a
//! device's flash.

use std::io::{Cursor, Write};

use edgepack_harness::Progress;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::refit::{FREE, layer_by_layer, leave};
use super::report::{PruneQuality, qualities};
use super::units::{channel_axes, is_depthwise};
use super::{Judges, mask_smallest};
use crate::error::Result;
use crate::graph::{Graph, Node, Op, Tensor};
use crate::quantize::{Moments, Samples, cholesky, dot, forward, product_constants, transposed};

/// Which weights become zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Saliency {
    /// Those that the others make up for best.
    #[default]
    Reconstruction,
    /// The smallest ones; the others stay as they are.
    Magnitude,
}

const NAMES: [(Saliency, &str); 2] =
    [(Saliency::Reconstruction, "reconstruction"), (Saliency::Magnitude, "magnitude")];

impl std::fmt::Display for Saliency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(NAMES.iter().find(|(saliency, _)| saliency == self).map_or("", |(_, name)| name))
    }
}

impl std::str::FromStr for Saliency {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let found = NAMES.iter().find(|(_, name)| *name == text).map(|(saliency, _)| *saliency);
        found.ok_or_else(|| format!("`{text}` is none of {}", NAMES.map(|(_, name)| name).join(", ")))
    }
}

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SparsityOptions {
    /// The share of each product's weights that becomes zero, in [0, 1).
    pub share: Option<f64>,
    /// Which.
    pub saliency: Saliency,
}

/// What sparsity came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SparsityReport {
    /// Which weights became zero.
    pub saliency: String,
    /// Weights of all products.
    pub weights: usize,
    /// Zeros among them, before and after.
    pub zeros: [usize; 2],
    /// Every product that has more zeros than before.
    pub layers: Vec<SparseLayer>,
    /// Samples that the models were held against each other on.
    pub samples: usize,
    /// In f32, against the model before.
    pub quality: PruneQuality,
    /// How packages are compressed for the next two.
    pub compression: String,
    /// Plan and weights in int8, compressed: of the model before, and of this one.
    pub compressed_bytes: [usize; 2],
}

/// One product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SparseLayer {
    /// Its name.
    pub node: String,
    /// Its operation.
    pub op: String,
    /// Its weights.
    pub weights: usize,
    /// Zeros among them.
    pub zeros: usize,
}

/// Columns over which the weights of a layer compete.
const BLOCK: usize = 64;

/// Makes weights of convolutions and products with matrices zero. Depthwise convolutions have few weights, and
/// need them: they stay as they are.
///
/// # Errors
/// A sample that cannot be read.
pub fn sparsify(
    graph: &mut Graph,
    options: SparsityOptions,
    samples: Samples<'_>,
    judges: Judges<'_>,
    progress: &mut dyn Progress,
) -> Result<SparsityReport> {
    let share = options.share.unwrap_or(0.0);
    let sparse = match options.saliency {
        Saliency::Magnitude => {
            let mut sparse = graph.clone();
            for node in sparse.nodes.iter_mut().filter(|node| !is_depthwise(node)) {
                if let Op::Conv(_) | Op::FullyConnected(_) = node.op {
                    smallest_to_zero(node, share);
                }
            }
            sparse
        }
        Saliency::Reconstruction => {
            progress.start("making weights zero", graph.nodes.len() as u64);
            let solve = |index: usize, node: &mut Node, moments: &[Moments], samples: usize| {
                if !is_depthwise(node) {
                    solve(&graph.nodes[index], node, moments, samples, share);
                }
            };
            layer_by_layer(graph, graph.clone(), samples, solve, &mut || progress.advance(1))?
        }
    };
    let [quality] = qualities(graph, [&sparse], judges, progress)?;
    let zeros = |node: &Node| {
        product_constants(node).map_or(0, |(weights, _)| weights.data.iter().filter(|&&w| w == 0.0).count())
    };
    let weights = |node: &Node| product_constants(node).map_or(0, |(weights, _)| weights.data.len());
    let products =
        graph.nodes.iter().zip(&sparse.nodes).filter(|(node, _)| channel_axes(graph, node).is_some());
    let layers = products.clone().filter(|(before, after)| zeros(after) > zeros(before)).map(|(_, node)| {
        SparseLayer {
            node: node.name.clone(),
            op: node.onnx_op.clone(),
            weights: weights(node),
            zeros: zeros(node),
        }
    });
    let report = SparsityReport {
        saliency: options.saliency.to_string(),
        weights: products.clone().map(|(node, _)| weights(node)).sum(),
        zeros: [
            products.clone().map(|(node, _)| zeros(node)).sum(),
            products.clone().map(|(_, node)| zeros(node)).sum(),
        ],
        layers: layers.collect(),
        samples: judges.count,
        quality,
        compression: "deflate".into(),
        compressed_bytes: [0; 2],
    };
    *graph = sparse;
    Ok(report)
}

/// So many of a product's weights, those nearest to zero.
fn smallest_to_zero(node: &mut Node, share: f64) {
    let (Op::Conv(crate::graph::Conv { weights, .. })
    | Op::FullyConnected(crate::graph::FullyConnected { weights, .. })) = &mut node.op
    else {
        return;
    };
    let mut data = weights.data.to_vec();
    let costs: Vec<f64> = data.iter().map(|w| f64::from(w.abs())).collect();
    let zero = mask_smallest(&costs, (share * data.len() as f64).round() as usize);
    data.iter_mut().zip(zero).filter(|(_, zero)| *zero).for_each(|(w, _)| *w = 0.0);
    *weights = Tensor::new(weights.dims.clone(), data);
}

/// One channel while its weights are found.
struct Row {
    /// `R w` of the weights without zeros, by place.
    z: Vec<f64>,
    /// What was found, by place; the first is the bias.
    found: Vec<f64>,
}

impl Row {
    /// What is found for the places of a block, the last first, with those that are `zero` left at that.
    fn substitute(&mut self, upper: &[f64], block: std::ops::Range<usize>, zero: impl Fn(usize) -> bool) {
        let width = self.z.len();
        for at in block.rev() {
            let row = &upper[at * width..][..width];
            let after = dot(&row[at + 1..], &self.found[at + 1..]);
            self.found[at] = if zero(at) { 0.0 } else { (self.z[at] - after) / row[at] };
        }
    }
}

/// The weights of a product: a share of each block of columns is zero, and the others make up for it.
fn solve(whole: &Node, node: &mut Node, moments: &[Moments], samples: usize, share: f64) {
    let Some((weights, bias)) = product_constants(whole) else { return };
    let (k, outputs) = (weights.data.len() / bias.len(), bias.len() / moments.len());
    let (mut data, mut biases) = (Vec::with_capacity(weights.data.len()), Vec::with_capacity(bias.len()));
    for (group, moments) in moments.iter().enumerate() {
        let width = moments.width;
        let energy = |i: usize| moments.inputs[i * width + i];
        // As weights are rounded: the bias is found last, what matters most first, while others can make up for it.
        let mut order: Vec<usize> = (0..width).collect();
        order[1..].sort_by(|&a, &b| energy(a).total_cmp(&energy(b)));
        let mean = (1..width).map(energy).sum::<f64>() / k as f64;
        let ridge = leave(width, moments.rows, samples) * mean.max(f64::MIN_POSITIVE * 1e20);
        let held = |i: usize| if i == 0 { FREE * energy(0) } else { ridge };
        let mut matrix = vec![0.0; width * width];
        for ((at, row), &i) in matrix.chunks_exact_mut(width).enumerate().zip(&order) {
            row.iter_mut().zip(&order).for_each(|(m, &j)| *m = moments.inputs[i * width + j]);
            row[at] += held(i);
        }
        let lower = cholesky(matrix, width);
        let upper = transposed(&lower, width);
        let row = |n: usize| {
            let row = group * outputs + n;
            let own = |i: usize| f64::from(if i == 0 { bias[row] } else { weights.data[row * k + i - 1] });
            let targets = &moments.targets[n * width..][..width];
            let goal = order.iter().map(|&i| targets[i] + held(i) * own(i)).collect();
            Row { z: forward(&lower, width, goal), found: vec![0.0; width] }
        };
        let mut rows: Vec<Row> = (0..outputs).into_par_iter().map(row).collect();
        let mut last = width;
        while last > 1 {
            let block = last.saturating_sub(BLOCK).max(1)..last;
            let (first, columns) = (block.start, block.len());
            // As they would be, were none of the block zero.
            rows.par_iter_mut().for_each(|row| row.substitute(&upper, block.clone(), |_| false));
            let cost = |row: &Row| {
                block.clone().map(|at| (upper[at * width + at] * row.found[at]).powi(2)).collect::<Vec<_>>()
            };
            let costs: Vec<f64> = rows.iter().flat_map(cost).collect();
            let zero = mask_smallest(&costs, (share * costs.len() as f64).round() as usize);
            rows.par_iter_mut().zip(zero.par_chunks_exact(columns)).for_each(|(row, zero)| {
                row.substitute(&upper, block.clone(), |at| zero[at - first]);
            });
            last = first;
        }
        for mut row in rows {
            row.substitute(&upper, 0..1, |_| false);
            let mut found = vec![0.0; k];
            order[1..].iter().zip(&row.found[1..]).for_each(|(&i, &w)| found[i - 1] = w as f32);
            data.extend(found);
            biases.push(row.found[0] as f32);
        }
    }
    let (weights, bias) = match &mut node.op {
        Op::Conv(conv) => (&mut conv.weights, &mut conv.bias),
        Op::FullyConnected(fc) => (&mut fc.weights, &mut fc.bias),
        _ => return,
    };
    *weights = Tensor::new(weights.dims.clone(), data);
    *bias = biases;
}

/// What a package takes when it is compressed by deflate.
pub fn compressed_bytes(package: &[u8]) -> usize {
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let written = archive.start_file("package", options.compression_level(Some(9))).is_ok()
        && archive.write_all(package).is_ok();
    let bytes = archive.finish().map_or(0, |cursor| cursor.into_inner().len());
    if written { bytes } else { package.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_again() {
        for (saliency, name) in NAMES {
            assert_eq!((name.parse(), saliency.to_string()), (Ok(saliency), name.to_string()));
        }
    }

    #[test]
    fn zeros_compress_and_noise_does_not() {
        let next = |state: &u64| {
            Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
        };
        let noise: Vec<u8> =
            std::iter::successors(Some(7), next).map(|state| (state >> 56) as u8).take(4096).collect();
        assert!(compressed_bytes(&[0; 4096]) < 200);
        assert!(compressed_bytes(&noise) > 2000);
    }
}
