//! What stays is fitted to the whole model, layer after layer, without labels.
//!
//! The pruned network runs beside the whole one on the calibration set. Each product's weights and biases become
//! those that give, from what the pruned network has before it, what the whole one makes there: least squares over
//! all positions of all samples (the reconstruction of He et al., "Channel Pruning for Accelerating Very Deep
//! Neural Networks", 2017, section 3.1), so that a layer also makes up for what those before it have lost. Where
//! bounds follow (ReLU), what lies beyond them on both sides is no error: the goals of such elements are what the
//! pruned network has (as in Zhang et al., "Accelerating Very Deep Convolutional Networks for Classification and
//! Detection", 2016, section 3.2, "nonlinear case"), and the fit is made again.

use rayon::prelude::*;

use super::remove::mask;
use super::units::{Units, is_depthwise};
use crate::error::Result;
use crate::graph::{Clamp, Graph, Node, Op, Tensor};
use crate::quantize::{
    Abreast, Moments, Samples, backward, cholesky, forward, moments, product_constants, transposed,
};

/// Fits with goals that know of bounds, after the first.
const ROUNDS: usize = 2;
/// What it costs a weight to leave the model's, for each of its layer's beside the number of independent
/// positions: few samples say little of many weights.
const LEAVE: f64 = 1.0;
/// What it costs a bias.
pub const FREE: f64 = 1e-6;

/// The graph with masked channels (`gone` is by unit) and the others fitted to what the graph makes of the
/// samples. `progress` is told of every node.
///
/// # Errors
/// A sample that cannot be read.
pub fn refit(
    graph: &Graph,
    units: &Units,
    gone: &[bool],
    samples: Samples<'_>,
    mut progress: impl FnMut(),
) -> Result<Graph> {
    let mut student = graph.clone();
    for (index, node) in student.nodes.iter_mut().enumerate() {
        mask(graph, units, gone, index, node);
    }
    let solve = |index: usize, node: &mut Node, moments: &[Moments], samples: usize| {
        fit(graph, units, gone, index, node, moments, samples);
    };
    layer_by_layer(graph, student, samples, solve, &mut progress)
}

/// A network beside the graph, whose products are solved one after the other: `solve` is given a product's index,
/// the student's node, the moments of its groups, and the number of their samples.
///
/// # Errors
/// A sample that cannot be read.
pub fn layer_by_layer(
    graph: &Graph,
    mut student: Graph,
    samples: Samples<'_>,
    mut solve: impl FnMut(usize, &mut Node, &[Moments], usize),
    progress: &mut dyn FnMut(),
) -> Result<Graph> {
    let mut abreast = Abreast::in_f32(graph, student.nodes.clone(), samples);
    for (index, node) in student.nodes.iter_mut().enumerate() {
        abreast.gather(index)?;
        if matches!(node.op, Op::Conv(_) | Op::FullyConnected(_)) {
            let rounds = if node.clamp == Clamp::NONE { 0 } else { ROUNDS };
            for round in 0..=rounds {
                solve(index, node, &moments(graph, index, &abreast), abreast.samples());
                abreast.set_node(index, node.clone());
                abreast.goals_know_bounds(round < rounds);
            }
        }
        abreast.advance(index);
        progress();
    }
    Ok(student)
}

/// What it costs a weight to leave the model's, in terms of the mean square of an input, where a product's
/// channels read `width` inputs.
pub fn leave(width: usize, rows: usize, samples: usize) -> f64 {
    // The positions of an image resemble each other, and count as their square root.
    let independent = samples as f64 * (rows as f64 / samples as f64).sqrt();
    LEAVE * width as f64 / independent
}

/// Least squares for the rows and columns of one product that stay.
fn fit(
    graph: &Graph,
    units: &Units,
    gone: &[bool],
    index: usize,
    node: &mut Node,
    moments: &[Moments],
    samples: usize,
) {
    let Some((weights, bias)) = product_constants(&graph.nodes[index]) else { return };
    let [rows, columns] = units.of_product(graph, &graph.nodes[index]);
    let stays = |along: Option<&[usize]>, i: usize| along.is_none_or(|along| !gone[along[i]]);
    let depthwise = is_depthwise(node);
    let (k, outputs) = (weights.data.len() / bias.len(), bias.len() / moments.len());
    let (per_group, taps) = (weights.dims[1], k / weights.dims[1]);
    let fitted = moments.par_iter().enumerate().map(|(group, moments)| {
        let width = moments.width;
        let reads = |i: usize| depthwise || stays(columns, group * per_group + i / taps);
        let order: Vec<usize> =
            std::iter::once(0).chain((0..k).filter(|&i| reads(i)).map(|i| i + 1)).collect();
        let energy = |i: usize| moments.inputs[i * width + i];
        let mean = order[1..].iter().map(|&i| energy(i)).sum::<f64>() / (order.len() - 1).max(1) as f64;
        let leave = leave(order.len(), moments.rows, samples) * mean.max(f64::MIN_POSITIVE * 1e20);
        let held = |i: usize| if i == 0 { FREE * energy(0) } else { leave };
        let width_kept = order.len();
        let mut matrix = vec![0.0; width_kept * width_kept];
        for ((at, row), &i) in matrix.chunks_exact_mut(width_kept).enumerate().zip(&order) {
            row.iter_mut().zip(&order).for_each(|(m, &j)| *m = moments.inputs[i * width + j]);
            row[at] += held(i);
        }
        let lower = cholesky(matrix, width_kept);
        let upper = transposed(&lower, width_kept);
        let row = |n: usize| {
            let row = group * outputs + n;
            if !stays(rows, row) {
                return (vec![0.0; k], 0.0);
            }
            let own = |i: usize| f64::from(if i == 0 { bias[row] } else { weights.data[row * k + i - 1] });
            let targets = &moments.targets[n * width..][..width];
            let goal = order.iter().map(|&i| targets[i] + held(i) * own(i)).collect();
            let real = backward(&upper, &forward(&lower, width_kept, goal));
            let mut fitted = vec![0.0; k];
            order[1..].iter().zip(&real[1..]).for_each(|(&i, &w)| fitted[i - 1] = w as f32);
            (fitted, real[0] as f32)
        };
        (0..outputs).into_par_iter().map(row).collect::<Vec<_>>()
    });
    let fitted: Vec<(Vec<f32>, f32)> = fitted.collect::<Vec<_>>().into_iter().flatten().collect();
    let (weights, bias) = match &mut node.op {
        Op::Conv(conv) => (&mut conv.weights, &mut conv.bias),
        Op::FullyConnected(fc) => (&mut fc.weights, &mut fc.bias),
        _ => return,
    };
    *bias = fitted.iter().map(|(_, bias)| *bias).collect();
    let data = fitted.into_iter().flat_map(|(row, _)| row).collect();
    *weights = Tensor::new(weights.dims.clone(), data);
}
