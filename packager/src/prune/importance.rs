//! In which order channels go, and what that costs the products that read them.
//!
//! What a product makes is a sum of what its input channels contribute to it: `y = sum over c of y_c`, with
//! `y_c = W_c x_c`. How well `y` is still there without some of them is a question of the products
//! `M[c, d] = E[y_c · y_d]` alone, taken about the mean, since a bias makes up for that. `M` is as large as there
//! are channels, whatever the kernel, and comes from the second moments of what the product reads.
//!
//! Channels whose contributions resemble those of others can be made up for by these. As in channel pruning (He
//! et al., "Channel Pruning for Accelerating Very Deep Neural Networks", 2017) every channel that stays has a
//! factor, by which `‖y - sum of β_c y_c‖²` is least; as in Optimal Brain Surgeon (Hassibi and Stork, 1993), the
//! one that goes next is that which raises this least, `β_c² / [M⁻¹]_cc`, and the others' factors and the
//! inverse follow it. [`Criterion::Contribution`] has no factors: the next is that without which the sum changes
//! least (Luo et al., "ThiNet: A Filter Level Pruning Method for Deep Neural Network Compression", 2017).
//! [`Criterion::Magnitude`] does not see the data: the smallest filters go first (Li et al., "Pruning Filters for
//! Efficient ConvNets", 2017).

use std::collections::HashMap;

use rayon::prelude::*;

use super::units::{Group, Units, is_depthwise};
use crate::evaluate::gemm;
use crate::graph::{Graph, Op};
use crate::quantize::{Moments, product_constants};

/// Which channels are the least important.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Criterion {
    /// Those that the others make up for best.
    #[default]
    Elimination,
    /// Those that contribute least to what reads them.
    Contribution,
    /// Those with the smallest filters.
    Magnitude,
}

const NAMES: [(Criterion, &str); 3] = [
    (Criterion::Elimination, "elimination"),
    (Criterion::Contribution, "contribution"),
    (Criterion::Magnitude, "magnitude"),
];

impl std::fmt::Display for Criterion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(NAMES.iter().find(|(criterion, _)| criterion == self).map_or("", |(_, name)| name))
    }
}

impl std::str::FromStr for Criterion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(_, name)| *name == text).map(|(criterion, _)| *criterion);
        found.ok_or_else(|| format!("`{text}` is none of {}", NAMES.map(|(_, name)| name).join(", ")))
    }
}

/// What a product that sums over channels has of each of them.
#[derive(Clone, Debug)]
pub struct Reader {
    /// The product.
    pub node: usize,
    /// The units that it reads; what always stays is left out.
    units: Vec<usize>,
    /// `M`, by unit, relative to the power of the product's output.
    contributions: Vec<f64>,
    /// The mean of each of its columns, for every group of the product.
    means: Vec<Vec<f64>>,
}

impl Reader {
    /// Of a product with the moments of its groups; `None` where it does not sum over channels that may go.
    pub fn of(graph: &Graph, units: &Units, node: usize, moments: &[Moments]) -> Option<Self> {
        let (weights, _) = product_constants(&graph.nodes[node])?;
        let [_, columns] = units.of_product(graph, &graph.nodes[node]);
        let columns = columns.filter(|_| !is_depthwise(&graph.nodes[node]))?;
        let k = moments.first()?.width - 1;
        let per_group = columns.len() / moments.len();
        let taps = k / per_group.max(1);
        let mut places: HashMap<usize, usize> = HashMap::new();
        let mut own = Vec::new();
        for &unit in columns.iter().filter(|&&unit| !units.is_fixed(unit)) {
            places.entry(unit).or_insert_with(|| {
                own.push(unit);
                own.len() - 1
            });
        }
        if own.is_empty() {
            return None;
        }
        let count = own.len();
        let (mut contributions, mut power, mut means) = (vec![0.0; count * count], 0.0, Vec::new());
        let rows = weights.data.len() / k / moments.len();
        for (group, moments) in moments.iter().enumerate() {
            let weights = &weights.data[group * rows * k..][..rows * k];
            let mut squares = vec![0.0; k * k];
            gemm([k, rows, k], weights, (1, k as isize), weights, (k as isize, 1), &mut squares);
            let of = &columns[group * per_group..][..per_group];
            let place = |i: usize| places.get(&of[i / taps]).copied();
            let (n, width) = (moments.rows.max(1) as f64, moments.width);
            let mean: Vec<f64> = (0..k).map(|i| moments.inputs[i + 1] / n).collect();
            for i in 0..k {
                let row = &moments.inputs[(i + 1) * width + 1..][..k];
                for (j, &product) in row.iter().enumerate() {
                    let value = (product / n - mean[i] * mean[j]) * f64::from(squares[i * k + j]);
                    power += value;
                    if let (Some(a), Some(b)) = (place(i), place(j)) {
                        contributions[a * count + b] += value;
                    }
                }
            }
            means.push(mean);
        }
        let relative = 1.0 / power.max(f64::MIN_POSITIVE * 1e20);
        contributions.iter_mut().for_each(|m| *m *= relative);
        Some(Self { node, units: own, contributions, means })
    }

    /// The product's weights and biases without these units, the others multiplied by their factors, and the
    /// mean of what that takes away in the biases.
    pub fn without(&self, graph: &mut Graph, units: &Units, factors: &HashMap<usize, f64>) {
        let [_, columns] = units.of_product(graph, &graph.nodes[self.node]);
        let Some(columns) = columns.map(<[usize]>::to_vec) else { return };
        let (weights, bias) = match &mut graph.nodes[self.node].op {
            Op::Conv(conv) => (&mut conv.weights, &mut conv.bias),
            Op::FullyConnected(fc) => (&mut fc.weights, &mut fc.bias),
            _ => return,
        };
        let k = weights.data.len() / bias.len();
        let per_group = columns.len() / self.means.len();
        let taps = k / per_group;
        let rows = bias.len() / self.means.len();
        let mut data = weights.data.to_vec();
        for (n, (row, bias)) in data.chunks_exact_mut(k).zip(bias).enumerate() {
            let group = n / rows;
            for (i, w) in row.iter_mut().enumerate() {
                let factor = factors.get(&columns[group * per_group + i / taps]).copied().unwrap_or(1.0);
                *bias += (f64::from(*w) * (1.0 - factor) * self.means[group][i]) as f32;
                *w = (f64::from(*w) * factor) as f32;
            }
        }
        *weights = crate::graph::Tensor::new(weights.dims.clone(), data);
    }
}

/// The order in which the units of a group go.
#[derive(Clone, Debug)]
pub struct Order {
    /// The units, the first to go first; those that cannot go are left out.
    pub units: Vec<usize>,
    /// By how many have gone: the share of its readers' output power that is lost, summed over them.
    pub lost: Vec<f64>,
}

/// One reader while units go.
struct Elimination {
    /// By unit of the group: its place.
    place: HashMap<usize, usize>,
    /// The contributions' inverse, or themselves where the others have no factors.
    matrix: Vec<f64>,
    width: usize,
    /// Of what stays; by place.
    factors: Vec<f64>,
    lost: f64,
}

/// So much of itself is added to the diagonal of the contributions: channels that are nearly the same on
/// these samples are not on others. (Of the mean, it would protect channels that are always zero.)
const RIDGE: f64 = 1e-2;

impl Elimination {
    fn new(reader: &Reader, group: &[usize], invert: bool) -> Option<Self> {
        let has: Vec<usize> = (0..reader.units.len()).filter(|&i| group.contains(&reader.units[i])).collect();
        if has.is_empty() {
            return None;
        }
        let (width, all) = (has.len(), reader.units.len());
        let mut matrix = vec![0.0; width * width];
        for (row, &i) in matrix.chunks_exact_mut(width).zip(&has) {
            row.iter_mut().zip(&has).for_each(|(m, &j)| *m = reader.contributions[i * all + j]);
        }
        if invert {
            let mean = (0..width).map(|i| matrix[i * width + i]).sum::<f64>() / width as f64;
            let least = 1e-9 * mean + f64::MIN_POSITIVE * 1e20;
            (0..width).for_each(|i| matrix[i * width + i] += RIDGE * matrix[i * width + i] + least);
            inverse(&mut matrix, width);
        }
        let place = has.iter().enumerate().map(|(at, &i)| (reader.units[i], at)).collect();
        Some(Self { place, matrix, width, factors: vec![1.0; width], lost: 0.0 })
    }

    /// What is lost more if a unit goes.
    fn cost(&self, unit: usize, invert: bool) -> f64 {
        let Some(&at) = self.place.get(&unit) else { return 0.0 };
        let diagonal = self.matrix[at * self.width + at];
        if invert { self.factors[at].powi(2) / diagonal.max(f64::MIN_POSITIVE * 1e20) } else { diagonal }
    }

    fn remove(&mut self, unit: usize, invert: bool) {
        self.lost += self.cost(unit, invert);
        let Some(at) = self.place.remove(&unit) else { return };
        let width = self.width;
        let row = self.matrix[at * width..][..width].to_vec();
        if invert {
            let by = 1.0 / row[at].max(f64::MIN_POSITIVE * 1e20);
            let own = self.factors[at] * by;
            self.factors.iter_mut().zip(&row).for_each(|(factor, m)| *factor -= m * own);
            for (other, of) in self.matrix.chunks_exact_mut(width).zip(&row) {
                let by = of * by;
                other.iter_mut().zip(&row).for_each(|(m, r)| *m -= by * r);
            }
            self.factors[at] = 0.0;
        } else {
            // `(y_S + y_c)²` is more than `y_S²` by `y_c² + 2 y_S y_c`.
            (0..width).for_each(|i| self.matrix[i * width + i] += 2.0 * row[i]);
            self.factors[at] = 0.0;
        }
    }
}

/// The inverse of a symmetric positive matrix, by Gauss and Jordan's sweeps.
fn inverse(matrix: &mut [f64], width: usize) {
    for at in 0..width {
        let pivot = 1.0 / matrix[at * width + at].max(f64::MIN_POSITIVE * 1e20);
        let mut row = matrix[at * width..][..width].to_vec();
        row[at] = 1.0;
        row.iter_mut().for_each(|m| *m *= pivot);
        let rows = matrix.par_chunks_exact_mut(width).enumerate();
        rows.filter(|(i, _)| *i != at).for_each(|(_, other)| {
            let factor = std::mem::take(&mut other[at]);
            other.iter_mut().zip(&row).for_each(|(m, r)| *m -= factor * r);
        });
        matrix[at * width..][..width].copy_from_slice(&row);
    }
}

/// In which order the units of a group go. `may_go` is asked before one does, and told.
pub fn order(
    graph: &Graph,
    units: &Units,
    group: &Group,
    readers: &[Reader],
    criterion: Criterion,
    mut may_go: impl FnMut(usize) -> bool,
) -> Order {
    let invert = criterion != Criterion::Contribution;
    let own = readers.par_iter().filter_map(|reader| Elimination::new(reader, &group.units, invert));
    let mut own: Vec<Elimination> = own.collect();
    let magnitudes = magnitudes(graph, units, group);
    let mut left = group.units.clone();
    let mut order = Order { units: Vec::new(), lost: vec![0.0] };
    while !left.is_empty() {
        let cost = |unit: usize| match criterion {
            Criterion::Magnitude => magnitudes[&unit],
            _ => own.iter().map(|reader| reader.cost(unit, invert)).sum(),
        };
        let costs: Vec<f64> = left.par_iter().map(|&unit| cost(unit)).collect();
        let least = (0..left.len()).min_by(|&a, &b| costs[a].total_cmp(&costs[b])).unwrap_or(0);
        let unit = left.remove(least);
        if may_go(unit) {
            own.par_iter_mut().for_each(|reader| reader.remove(unit, invert));
            order.units.push(unit);
            order.lost.push(own.iter().map(|reader| reader.lost).sum());
        }
    }
    order
}

/// The factors by which what is left makes up for the first units of an order, by reader.
pub fn factors(reader: &Reader, group: &[usize], gone: &[usize]) -> HashMap<usize, f64> {
    let Some(mut elimination) = Elimination::new(reader, group, true) else { return HashMap::new() };
    let places = elimination.place.clone();
    gone.iter().for_each(|&unit| elimination.remove(unit, true));
    places.into_iter().map(|(unit, at)| (unit, elimination.factors[at])).collect()
}

/// By unit: the mean over the group's products of the share of its filters' norm.
fn magnitudes(graph: &Graph, units: &Units, group: &Group) -> HashMap<usize, f64> {
    let mut magnitudes: HashMap<usize, f64> = group.units.iter().map(|&unit| (unit, 0.0)).collect();
    for &maker in &group.makers {
        let node = &graph.nodes[maker];
        let (Some((weights, bias)), [Some(rows), _]) =
            (product_constants(node), units.of_product(graph, node))
        else {
            continue;
        };
        let k = weights.data.len() / bias.len();
        let norms: Vec<f64> =
            weights.data.chunks_exact(k).map(|row| row.iter().map(|w| f64::from(w.abs())).sum()).collect();
        let mean = norms.iter().sum::<f64>() / norms.len() as f64;
        for (unit, norm) in rows.iter().zip(&norms) {
            if let Some(magnitude) = magnitudes.get_mut(unit) {
                *magnitude += norm / mean.max(f64::MIN_POSITIVE * 1e20);
            }
        }
    }
    magnitudes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inverse_times_the_matrix_is_one() {
        let matrix = [4.0, 1.0, 0.5, 1.0, 3.0, -1.0, 0.5, -1.0, 2.0];
        let mut inverted = matrix;
        inverse(&mut inverted, 3);
        for i in 0..3 {
            for j in 0..3 {
                let sum: f64 = (0..3).map(|k| matrix[i * 3 + k] * inverted[k * 3 + j]).sum();
                assert!((sum - f64::from(u8::from(i == j))).abs() < 1e-12, "{i} {j}: {sum}");
            }
        }
    }

    #[test]
    fn every_name_is_read_again() {
        for (criterion, name) in NAMES {
            assert_eq!((name.parse(), criterion.to_string()), (Ok(criterion), name.to_string()));
        }
    }
}
