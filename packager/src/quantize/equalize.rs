//! Channels of a tensor, scaled to each other: a tensor has one scale, and channels that are small beside its
//! largest have few levels.
//!
//! What makes a channel larger by a factor (a row of a product's weights, the gamma and beta of a layer
//! normalization), and what divides by it again (a column of the weights of the next product), leave the
//! function as it was, with additions, means and ReLU between them: cross-layer equalization (Nagel et al.,
//! "Data-Free Quantization through Weight Equalization and Bias Correction", 2019), here over whole residual
//! streams. How far channels are brought to each other weighs what the activations gain against what the
//! weights lose, as in SmoothQuant (Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training
//! Quantization for Large Language Models", 2023), which is this after a layer normalization. An upper bound
//! (ReLU6) would be another one for each channel, which no step has, so that these channels stay as they are.

use rayon::prelude::*;

use super::abreast::Samples;
use super::product_constants;
use crate::error::Result;
use crate::evaluate::evaluate;
use crate::graph::{BinaryKind, Graph, Node, Op, Precision, Tensor, ValueId};

/// How far channels are brought to each other: 0 not at all, 1 until all are as large as the largest.
const EXPONENTS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];
/// A channel's largest value is taken for the root of the mean square of what it is in each sample, and so many standard
/// deviations of that more: other samples have larger values than the few that were seen, and a channel that is scaled
/// until its own largest fills the range has no room for them. Chosen on halves of the calibration sets, packed by one
/// and judged on the other: over the largest value of all samples ResNet8 gains 7.5 dB, DS-CNN 4.6, and MobileNetV1
/// nothing; 2 gains less, and 8 costs MobileNetV1 1 dB.
const DEVIATIONS: f64 = 4.0;
/// Every channel's largest value is counted larger by so much of the tensor's: what is nearly always zero would grow by
/// any factor, and saturate where it is not.
const HEADROOM: f64 = 1.0 / 1024.0;
/// What an error of a weight counts beside an error of an activation of the same size: it is the same at every
/// position of every sample, and no mean over them lessens it. Chosen on the models of the test suite; 2 is
/// as good, 0.5 costs ResNet8 3 dB.
const WEIGHT_NOISE: f64 = 6.0;
/// Samples that are evaluated together.
const BATCH: usize = 8;

/// Values whose channels can only be scaled together.
#[derive(Debug, Default)]
struct Stream {
    members: Vec<ValueId>,
    /// The axis of the channels.
    axis: usize,
    /// Nodes that make a member with scaled constants.
    producers: Vec<usize>,
    /// Nodes that multiply a member by constants.
    consumers: Vec<usize>,
}

/// What was seen of the channels of a value.
#[derive(Clone, Debug, Default)]
struct Channels {
    /// Of one sample; of several what [`Channels::estimated`] makes of the next two.
    largest: Vec<f64>,
    /// Over samples: sums of the largest values, and of their squares.
    maxima: [Vec<f64>; 2],
    squares: Vec<f64>,
    count: f64,
    is_signed: bool,
}

/// Scales the channels of every stream of values where that promises less noise. Gives the number of streams
/// that were scaled. `progress` is told of every sample.
///
/// # Errors
/// A sample that cannot be read.
pub fn equalize(graph: &mut Graph, samples: Samples<'_>, mut progress: impl FnMut()) -> Result<usize> {
    let streams = streams(graph);
    let mut seen: Vec<Option<Channels>> = vec![None; graph.values.len()];
    let mut axes = vec![None; graph.values.len()];
    for stream in &streams {
        stream.members.iter().for_each(|id| axes[id.0] = Some(stream.axis));
    }
    if streams.is_empty() {
        return Ok(0);
    }
    for first in (0..samples.count).step_by(BATCH) {
        let batch = (first..(first + BATCH).min(samples.count)).into_par_iter();
        let batch: Vec<Vec<Option<Channels>>> = batch
            .map(|sample| {
                let inputs = (samples.load)(sample)?;
                let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
                let mut seen = vec![None; graph.values.len()];
                evaluate(graph, &inputs, |id, values| {
                    seen[id.0] = axes[id.0].map(|axis| Channels::of(values, graph.dims(id), axis));
                });
                Ok(seen)
            })
            .collect::<Result<_>>()?;
        for sample in batch {
            for (total, one) in seen.iter_mut().zip(sample) {
                match (total.as_mut(), one) {
                    (Some(total), Some(one)) => total.add(&one),
                    (None, one) => *total = one,
                    (Some(_), None) => {}
                }
            }
            progress();
        }
    }
    let seen: Vec<Option<Channels>> =
        seen.into_iter().map(|channels| Some(channels?.estimated(samples.count))).collect();
    let mut scaled = 0;
    for stream in &streams {
        let Some(factors) = factors(graph, stream, &seen) else { continue };
        for &index in &stream.producers {
            scale_rows(&mut graph.nodes[index], &factors);
        }
        for &index in &stream.consumers {
            scale_columns(&mut graph.nodes[index], &factors);
        }
        scaled += 1;
    }
    Ok(scaled)
}

impl Channels {
    fn of(values: &[f32], dims: &[usize], axis: usize) -> Self {
        let inner: usize = dims[axis + 1..].iter().product();
        let mut channels = Self {
            largest: vec![0.0; dims[axis]],
            maxima: Default::default(),
            squares: vec![0.0; dims[axis]],
            count: (values.len() / dims[axis].max(1)) as f64,
            is_signed: values.iter().any(|&x| x < 0.0),
        };
        for (index, run) in values.chunks_exact(inner.max(1)).enumerate() {
            let channel = index % dims[axis];
            let largest = run.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            channels.largest[channel] = channels.largest[channel].max(f64::from(largest));
            channels.squares[channel] += f64::from(run.iter().map(|x| x * x).sum::<f32>());
        }
        channels.maxima = [1, 2].map(|power| channels.largest.iter().map(|x| x.powi(power)).collect());
        channels
    }

    /// With the largest value of each channel that samples beside these may have.
    fn estimated(mut self, samples: usize) -> Self {
        let [sums, squares] = &self.maxima;
        let estimate = |(sum, squares): (&f64, &f64)| {
            let [mean, square] = [sum, squares].map(|sum| sum / samples.max(1) as f64);
            square.sqrt() + DEVIATIONS * (square - mean.powi(2)).max(0.0).sqrt()
        };
        self.largest = sums.iter().zip(squares).map(estimate).collect();
        let most = self.largest.iter().fold(0.0_f64, |a, &b| a.max(b));
        self.largest.iter_mut().for_each(|channel| *channel += HEADROOM * most);
        self
    }

    fn add(&mut self, other: &Self) {
        for (sums, more) in self.maxima.iter_mut().zip(&other.maxima) {
            sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        }
        self.squares.iter_mut().zip(&other.squares).for_each(|(a, b)| *a += b);
        self.count += other.count;
        self.is_signed |= other.is_signed;
    }
}

/// A product's weights by input channel: for each of its own channels, which input channels it reads, and the
/// weights of each.
struct Weights<'a> {
    data: &'a [f32],
    /// Input channels that an output channel reads, and the weights of each.
    reads: usize,
    taps: usize,
    /// Output channels of a group.
    group_out: usize,
}

impl<'a> Weights<'a> {
    fn of(node: &'a Node) -> Option<Self> {
        match &node.op {
            Op::Conv(conv) => Some(Self {
                data: &conv.weights.data,
                reads: conv.weights.dims[1],
                taps: conv.weights.dims[2..].iter().product(),
                group_out: conv.weights.dims[0] / conv.groups,
            }),
            Op::FullyConnected(fc) => Some(Self {
                data: &fc.weights.data,
                reads: fc.weights.dims[1],
                taps: 1,
                group_out: fc.weights.dims[0],
            }),
            _ => None,
        }
    }

    /// By output channel: the input channels that it reads, and their weights.
    fn rows(&self) -> impl Iterator<Item = impl Iterator<Item = (usize, &'a [f32])>> {
        let (reads, taps, group_out) = (self.reads, self.taps, self.group_out);
        self.data.chunks_exact(reads * taps).enumerate().map(move |(n, row)| {
            row.chunks_exact(taps).enumerate().map(move |(c, taps)| (n / group_out * reads + c, taps))
        })
    }
}

/// The factor of each channel, or `None` where the channels are best left as they are.
fn factors(graph: &Graph, stream: &Stream, seen: &[Option<Channels>]) -> Option<Vec<f64>> {
    let members: Vec<(&Channels, f64)> = (stream.members.iter())
        .map(|id| {
            let channels = seen[id.0].as_ref()?;
            let largest = channels.largest.iter().fold(0.0_f64, |a, &b| a.max(b));
            (largest > 0.0).then_some((channels, largest))
        })
        .collect::<Option<_>>()?;
    let count = members[0].0.largest.len();
    // Of the share of its tensor's range that a channel takes, the largest.
    let share = |c: usize| members.iter().map(|(m, all)| m.largest[c] / all).fold(0.0, f64::max);
    let of = |exponent: f64| -> Vec<f64> { (0..count).map(|c| share(c).powf(-exponent)).collect() };
    let noises = EXPONENTS.map(|exponent| {
        let factors = of(exponent);
        (noise(graph, stream, seen, &members, &factors), factors)
    });
    let before = noises[0].0;
    let [mut best, ..] = noises.clone();
    noises.into_iter().for_each(|next| {
        if next.0 < best.0 {
            best = next;
        }
    });
    (best.0 < 0.95 * before).then_some(best.1)
}

/// An estimate of the noise of the consumers' results beside their power, summed.
fn noise(
    graph: &Graph,
    stream: &Stream,
    seen: &[Option<Channels>],
    members: &[(&Channels, f64)],
    factors: &[f64],
) -> f64 {
    let mut total = 0.0;
    for &index in &stream.consumers {
        let node = &graph.nodes[index];
        let (Some(weights), Some(input)) = (Weights::of(node), &seen[node.inputs[0].0]) else { continue };
        // Errors of the members before it add up in a stream.
        let before = stream.members.iter().zip(members);
        let before = before.filter(|(id, _)| graph.producer(**id).is_some_and(|maker| maker < index));
        let steps: f64 = before
            .map(|(_, (channels, _))| {
                let range = channels.largest.iter().zip(factors).fold(0.0_f64, |a, (l, f)| a.max(l * f));
                // Of what a ReLU makes about a half is zero, and exact.
                if channels.is_signed { (range / 127.5).powi(2) } else { (range / 255.0).powi(2) / 2.0 }
            })
            .sum();
        let power = |c: usize| input.squares[c] / input.count;
        let (mut of_activations, mut of_weights, mut signal) = (0.0, 0.0, 0.0);
        for row in weights.rows() {
            let (mut step, mut power_of_inputs) = (0.0_f64, 0.0);
            for (c, taps) in row {
                let squares: f64 = taps.iter().map(|&w| f64::from(w).powi(2)).sum();
                let largest = taps.iter().fold(0.0_f32, |largest, w| largest.max(w.abs()));
                step = step.max(f64::from(largest) / factors[c] / 127.0);
                power_of_inputs += power(c) * factors[c].powi(2) * taps.len() as f64;
                of_activations += squares / factors[c].powi(2);
                signal += squares * power(c);
            }
            of_weights += step.powi(2) * power_of_inputs;
        }
        total += (steps * of_activations + WEIGHT_NOISE * of_weights) / signal.max(f64::MIN_POSITIVE);
    }
    total
}

fn scaled(tensor: &Tensor, factor: impl Fn(usize) -> f64) -> Tensor {
    let data = tensor.data.iter().enumerate().map(|(i, &x)| (f64::from(x) * factor(i)) as f32);
    Tensor::new(tensor.dims.clone(), data.collect())
}

/// Makes a node's output channels larger.
fn scale_rows(node: &mut Node, factors: &[f64]) {
    let each = |values: &mut Vec<f32>| {
        values.iter_mut().zip(factors).for_each(|(x, factor)| *x = (f64::from(*x) * factor) as f32);
    };
    let (weights, bias) = match &mut node.op {
        Op::Conv(conv) => (&mut conv.weights, &mut conv.bias),
        Op::FullyConnected(fc) => (&mut fc.weights, &mut fc.bias),
        Op::LayerNorm(norm) => {
            each(&mut norm.gamma);
            return each(&mut norm.beta);
        }
        _ => return,
    };
    let k = weights.data.len() / factors.len();
    *weights = scaled(weights, |i| factors[i / k]);
    each(bias);
}

/// Makes a node take input channels that are larger.
fn scale_columns(node: &mut Node, factors: &[f64]) {
    match &mut node.op {
        Op::Conv(conv) => {
            let (reads, group_out) = (conv.weights.dims[1], conv.weights.dims[0] / conv.groups);
            let taps: usize = conv.weights.dims[2..].iter().product();
            let channel = |i: usize| i / (reads * taps) / group_out * reads + i / taps % reads;
            conv.weights = scaled(&conv.weights, |i| 1.0 / factors[channel(i)]);
        }
        Op::FullyConnected(fc) => {
            let k = fc.weights.dims[1];
            fc.weights = scaled(&fc.weights, |i| 1.0 / factors[i % k]);
        }
        _ => {}
    }
}

/// Every stream of values that have producers and consumers with constants, and nothing between them that a
/// factor does not pass through.
fn streams(graph: &Graph) -> Vec<Stream> {
    let mut links = Links { parent: (0..graph.values.len()).collect() };
    let mut axes: Vec<Option<usize>> = vec![None; graph.values.len()];
    let mut fixed = vec![false; graph.values.len()];
    graph.inputs.iter().chain(&graph.outputs).for_each(|id| fixed[id.0] = true);
    graph.values.iter().zip(&mut fixed).for_each(|(value, fixed)| *fixed |= value.given.is_some());
    for node in &graph.nodes {
        let last = |id: ValueId| graph.dims(id).len().wrapping_sub(1);
        let (input, output) = (node.inputs[0], node.output);
        // The axis of the channels of what it reads, and of what it makes.
        let (reads, makes) = match &node.op {
            Op::Conv(_) => (Some(1), Some(1)),
            Op::FullyConnected(_) => (Some(last(input)), Some(last(output))),
            Op::LayerNorm(norm) if norm.axis == last(output) => {
                fixed[input.0] = true;
                (None, Some(norm.axis))
            }
            _ if passes_factors(graph, node) => {
                node.inputs.iter().for_each(|&id| links.join(id, output));
                // What is not element by element knows images alone.
                let axis = (!matches!(node.op, Op::Binary(_))).then_some(1);
                (axis, axis)
            }
            _ => {
                node.inputs.iter().chain([&output]).for_each(|id| fixed[id.0] = true);
                (None, None)
            }
        };
        if let (Some(_), Some(&added)) = (Weights::of(node), node.inputs.get(1)) {
            links.join(added, output);
        }
        // What the model itself says is not changed.
        let given = product_constants(node).is_some_and(|(weights, _)| weights.given.is_some());
        fixed[input.0] |= given;
        fixed[output.0] |= given;
        fixed[input.0] |= node.precision != Precision::Int8;
        fixed[output.0] |= node.precision != Precision::Int8 || !passes_clamp(node);
        for (id, axis) in [(input, reads), (output, makes)] {
            fixed[id.0] |= axis.is_some() && axes[id.0].is_some_and(|other| Some(other) != axis);
            axes[id.0] = axes[id.0].or(axis);
        }
    }
    let mut streams: Vec<Option<Stream>> = (0..graph.values.len()).map(|_| None).collect();
    for id in 0..graph.values.len() {
        let root = links.root(id);
        if graph.values[id].constant.is_some() {
            continue;
        }
        let stream = streams[root].get_or_insert_with(Stream::default);
        stream.members.push(ValueId(id));
    }
    for (index, node) in graph.nodes.iter().enumerate() {
        if Weights::of(node).is_some()
            && let Some(stream) = &mut streams[links.root(node.inputs[0].0)]
        {
            stream.consumers.push(index);
        }
        if (Weights::of(node).is_some() || matches!(node.op, Op::LayerNorm(_)))
            && let Some(stream) = &mut streams[links.root(node.output.0)]
        {
            stream.producers.push(index);
        }
    }
    let mut found: Vec<Stream> = streams.into_iter().flatten().collect();
    found.retain_mut(|stream| {
        let mut known = stream.members.iter().filter_map(|id| axes[id.0]);
        stream.axis = known.next().unwrap_or(usize::MAX);
        let channels = stream.members.iter().map(|&id| graph.dims(id).get(stream.axis));
        let is_one =
            channels.clone().all(|c| c.is_some() && c == graph.dims(stream.members[0]).get(stream.axis));
        let moves = known.any(|axis| axis != stream.axis);
        let is_fixed = stream.members.iter().any(|id| fixed[id.0]);
        is_one && !moves && !is_fixed && !stream.producers.is_empty() && !stream.consumers.is_empty()
    });
    found
}

/// Whether what a node makes of scaled channels is what it makes of the others, scaled, on the same axis.
fn passes_factors(graph: &Graph, node: &Node) -> bool {
    let (dims, output) = (graph.dims(node.inputs[0]), graph.dims(node.output));
    node.precision == Precision::Int8
        && match &node.op {
            Op::Binary(BinaryKind::Add | BinaryKind::Sub) => {
                node.inputs.iter().all(|&id| graph.dims(id) == output && graph.value(id).constant.is_none())
            }
            Op::Pool(..) => true,
            Op::ReduceMean { first, .. } => *first >= 2 && dims.len() == output.len(),
            // `[n, c, 1, 1]` to `[n, c]`.
            Op::Reshape => {
                dims.len() >= 2
                    && output.len() >= 2
                    && dims[..2] == output[..2]
                    && dims[2..].iter().all(|&d| d == 1)
            }
            _ => false,
        }
}

/// Whether scaled channels are clamped as the others are.
fn passes_clamp(node: &Node) -> bool {
    (node.clamp.min == 0.0 || node.clamp.min == f32::NEG_INFINITY) && node.clamp.max == f32::INFINITY
}

/// Sets of values (union-find).
struct Links {
    parent: Vec<usize>,
}

impl Links {
    fn root(&mut self, mut id: usize) -> usize {
        while self.parent[id] != id {
            self.parent[id] = self.parent[self.parent[id]];
            id = self.parent[id];
        }
        id
    }

    fn join(&mut self, a: ValueId, b: ValueId) {
        let (a, b) = (self.root(a.0), self.root(b.0));
        self.parent[a] = b;
    }
}
