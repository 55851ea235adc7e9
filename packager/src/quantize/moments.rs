//! Second moments of what a product reads, and of that with what it should give: all that a least-squares
//! fit of its weights needs to know of the samples.

use rayon::prelude::*;

use super::abreast::{Abreast, Seen};
use crate::evaluate::{ConvSizes, columns, gemm};
use crate::graph::{Graph, Node, Op};

/// Of one group of a product: over all positions of all samples, with `x` the `k` inputs of a position after a
/// leading 1 (the bias' input) and `y` the `n` wanted outputs.
#[derive(Clone, Debug)]
pub struct Moments {
    /// `k + 1`.
    pub width: usize,
    /// Sum of `x xᵀ`: `[k + 1, k + 1]`.
    pub inputs: Vec<f64>,
    /// Sum of `y xᵀ`: `[n, k + 1]`.
    pub targets: Vec<f64>,
    /// Positions that were summed.
    pub rows: usize,
}

/// A matrix with a row for each position; row-major.
struct Matrix {
    data: Vec<f32>,
    width: usize,
}

impl Matrix {
    fn zeros(rows: usize, width: usize) -> Self {
        Self { data: vec![0.0; rows * width], width }
    }

    fn rows(&self) -> usize {
        self.data.len() / self.width.max(1)
    }

    /// Writes a matrix `[k, pixels]` from row `row` and column `column` on, transposed.
    fn transpose_into(&mut self, [row, column]: [usize; 2], from: &[f32], pixels: usize) {
        let rows = self.data[row * self.width..][..pixels * self.width].chunks_mut(TILE * self.width);
        for (tile, to) in rows.enumerate() {
            for (k, from) in from.chunks_exact(pixels).enumerate() {
                let from = &from[tile * TILE..];
                let to = to.chunks_exact_mut(self.width).zip(from);
                to.for_each(|(to, from)| to[column + k] = *from);
            }
        }
    }
}

/// Pixels that are transposed together.
const TILE: usize = 32;
/// Samples are summed together until they have so many elements: short sums are slow.
const CHUNK_ELEMS: usize = 4 << 20;
/// Parts of the moments that threads sum; fixed, so that their number changes nothing.
const PARTS: usize = 4;

/// The moments of each group of product `index`, over the samples in flight. The result does not depend on
/// the number of threads.
pub fn moments(graph: &Graph, index: usize, abreast: &Abreast<'_>) -> Vec<Moments> {
    let node = &graph.nodes[index];
    let [groups, width, outputs] = sizes(graph, node);
    let empty =
        Moments { width, inputs: vec![0.0; width * width], targets: vec![0.0; outputs * width], rows: 0 };
    let mut moments = vec![empty; groups];
    let positions = graph.value(node.output).dims.iter().product::<usize>() / (groups * outputs).max(1);
    let together = (CHUNK_ELEMS / ((width + outputs) * groups * positions).max(1)).max(1);
    for first in (0..abreast.samples()).step_by(together) {
        let samples = first..(first + together).min(abreast.samples());
        let seen: Vec<Seen<'_>> = samples.into_par_iter().map(|sample| abreast.seen(index, sample)).collect();
        if groups > 1 {
            moments.par_iter_mut().enumerate().for_each(|(group, moments)| {
                let (x, y) = matrices(graph, node, &seen, group);
                moments.rows += x.rows();
                add_products(&x, &x, 0, &mut moments.inputs);
                add_products(&y, &x, 0, &mut moments.targets);
            });
        } else {
            let (x, y) = matrices(graph, node, &seen, 0);
            let moments = &mut moments[0];
            moments.rows += x.rows();
            for (left, sums) in [(&x, &mut moments.inputs), (&y, &mut moments.targets)] {
                let rows = left.width.div_ceil(PARTS);
                let parts = sums.par_chunks_mut(rows * width).enumerate();
                parts.for_each(|(part, sums)| add_products(left, &x, part * rows, sums));
            }
        }
    }
    moments
}

/// Groups, inputs of a position with the leading 1, and outputs, of a group.
fn sizes(graph: &Graph, node: &Node) -> [usize; 3] {
    match &node.op {
        Op::Conv(conv) => {
            let sizes = ConvSizes::of(conv, graph.dims(node.inputs[0]), graph.dims(node.output));
            [conv.groups, sizes.k(&conv.window) + 1, sizes.group_out]
        }
        Op::FullyConnected(fc) => [1, fc.weights.dims[1] + 1, fc.weights.dims[0]],
        _ => [0, 1, 0],
    }
}

/// Inputs (with the leading 1) and targets of one group, the positions of all samples beside each other.
fn matrices(graph: &Graph, node: &Node, seen: &[Seen<'_>], group: usize) -> (Matrix, Matrix) {
    let [groups, width, outputs] = sizes(graph, node);
    let positions: usize = seen.iter().map(|seen| seen.target.len() / (groups * outputs)).sum();
    let mut x = Matrix::zeros(positions, width);
    let mut y = Matrix::zeros(positions, outputs);
    x.data.iter_mut().step_by(width).for_each(|one| *one = 1.0);
    let mut at = 0;
    for seen in seen {
        match &node.op {
            Op::Conv(conv) => {
                let sizes = ConvSizes::of(conv, graph.dims(node.inputs[0]), graph.dims(node.output));
                let pixels = sizes.output[0] * sizes.output[1];
                let images = seen.input.chunks_exact(sizes.image.iter().product());
                let mut room = Vec::new();
                for (image, target) in images.zip(seen.target.chunks_exact(groups * outputs * pixels)) {
                    x.transpose_into([at, 1], columns(&conv.window, &sizes, image, group, &mut room), pixels);
                    let target = &target[group * outputs * pixels..][..outputs * pixels];
                    y.transpose_into([at, 0], target, pixels);
                    at += pixels;
                }
            }
            _ => {
                let rows = seen.input.chunks_exact(width - 1).zip(seen.target.chunks_exact(outputs));
                for (input, target) in rows {
                    x.data[at * width + 1..][..width - 1].copy_from_slice(input);
                    y.data[at * outputs..][..outputs].copy_from_slice(target);
                    at += 1;
                }
            }
        }
    }
    (x, y)
}

/// Adds rows `first..` of `leftᵀ right` to sums that have as many rows.
fn add_products(left: &Matrix, right: &Matrix, first: usize, sums: &mut [f64]) {
    let (rows, positions) = (sums.len() / right.width, left.rows());
    let mut products = vec![0.0; sums.len()];
    let (transposed, own) = ((1, left.width as isize), (right.width as isize, 1));
    let shape = [rows, positions, right.width];
    gemm(shape, &left.data[first..], transposed, &right.data, own, &mut products);
    sums.iter_mut().zip(&products).for_each(|(sum, &product)| *sum += f64::from(product));
}
