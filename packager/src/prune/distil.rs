//! The pruned model learns from the whole one, without labels.
//!
//! Fitting layer after layer gives each what is best for it alone; here all of them are moved together, by
//! gradients, towards the whole model's outputs (Hinton et al., "Distilling the Knowledge in a Neural Network",
//! 2015) and what it has before them in the channels that are left (Romero et al., "FitNets: Hints for Thin Deep
//! Nets", 2015). Samples of a calibration set are few, so that they are also mixed with each other (Zhang et al.,
//! "mixup: Beyond Empirical Risk Minimization", 2018): the whole model says what is to be made of a mixture, too.
//! Steps are Adam's (Kingma and Ba, 2015), of a size in terms of a layer's own weights.

use edgepack_harness::Progress;
use rayon::prelude::*;

use super::remove::kept;
use super::units::{Units, channel_axes};
use crate::error::Result;
use crate::evaluate::{Constants, backward, evaluate, has_gradient, take};
use crate::graph::{Graph, Node, Op, Tensor, ValueId};
use crate::quantize::{Samples, product_constants};

/// Samples of a step.
const BATCH: usize = 8;
/// Multiply-adds that may be spent on the whole of it, and how often each sample is seen at most.
const MACS: u64 = 1_500_000_000_000;
const EPOCHS: usize = 250;
/// What the values inside count beside the outputs, all together.
const INSIDE: f32 = 1.0;
/// The largest step, in terms of the root mean square of a layer's weights.
const RATE: f64 = 0.01;
/// Decay of Adam's means.
const MOMENTUM: [f64; 2] = [0.9, 0.99];

/// A value of the whole model, and of the pruned one.
struct Goal {
    id: ValueId,
    /// What is left of it, by axis.
    kept: Vec<Option<std::sync::Arc<[usize]>>>,
    weight: f32,
}

/// The pruned graph, moved towards the whole one; `None` where it has operations without gradients. The samples
/// are seen as often as can be afforded; the result does not depend on the number of threads.
///
/// # Errors
/// A sample that cannot be read.
pub fn distil(
    graph: &Graph,
    mut student: Graph,
    (units, gone): (&Units, &[bool]),
    samples: Samples<'_>,
    progress: &mut dyn Progress,
) -> Result<Option<Graph>> {
    if !student.nodes.iter().all(|node| has_gradient(&student, node)) {
        return Ok(None);
    }
    let goals = goals(graph, units, gone);
    let macs: u64 = graph.nodes.iter().map(|node| super::report::macs(graph, node)).sum();
    // The whole model forwards; the pruned one forwards, and backwards twice.
    let seen = (MACS / (4 * macs).max(1)).min((EPOCHS * samples.count) as u64) as usize;
    let steps = (seen / BATCH).max(1);
    progress.start("learning from the whole model", steps as u64);
    let mut random = Random(1);
    let mut adam = Adam::new(&student);
    for step in 0..steps {
        let draws: Vec<Draw> = (0..BATCH).map(|_| random.draw(samples.count)).collect();
        let gradients = draws.into_par_iter().map(|draw| {
            let inputs = draw.inputs(samples)?;
            Ok(gradient(graph, &student, &goals, &inputs))
        });
        let gradients = gradients.collect::<Result<Vec<_>>>()?;
        let left = 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / steps as f64).cos());
        // Slowly at first: Adam's means know nothing yet.
        let warm = ((step + 1) as f64 / 20.0).min(1.0);
        adam.step(&mut student, &gradients, RATE * left * warm);
        progress.advance(1);
    }
    Ok(Some(student))
}

/// The outputs (of a softmax what it reads: its derivatives vanish where it is sure), and what products make.
fn goals(graph: &Graph, units: &Units, gone: &[bool]) -> Vec<Goal> {
    let before_softmax = |&id: &ValueId| match graph.producer(id).map(|index| &graph.nodes[index]) {
        Some(Node { op: Op::Softmax { .. }, inputs, .. }) => inputs[0],
        _ => id,
    };
    let outputs: Vec<ValueId> = graph.outputs.iter().map(before_softmax).collect();
    let products = graph.nodes.iter().filter(|node| channel_axes(graph, node).is_some());
    let inside: Vec<ValueId> = products.map(|node| node.output).filter(|id| !outputs.contains(id)).collect();
    let goal = |id: ValueId, weight: f32| {
        let along = |(axis, &dim): (usize, &usize)| {
            units.along(id, axis).map(|_| kept(units, gone, id, axis, dim).into())
        };
        Goal { id, kept: graph.dims(id).iter().enumerate().map(along).collect(), weight }
    };
    let share = INSIDE / inside.len().max(1) as f32;
    let outputs = outputs.iter().map(|&id| goal(id, 1.0));
    outputs.chain(inside.iter().map(|&id| goal(id, share))).collect()
}

fn values(graph: &Graph, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let slices: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut all = vec![Vec::new(); graph.values.len()];
    evaluate(graph, &slices, |id, values| all[id.0] = values.to_vec());
    all
}

/// By node: derivatives of the sum of the goals' squared errors, each in terms of the goal's own square.
fn gradient(graph: &Graph, student: &Graph, goals: &[Goal], inputs: &[Vec<f32>]) -> Vec<Constants> {
    let (whole, own) = (values(graph, inputs), values(student, inputs));
    let seeds = goals.iter().map(|goal| {
        let wanted = take(&whole[goal.id.0], graph.dims(goal.id), &goal.kept);
        let power: f32 = wanted.iter().map(|x| x * x).sum();
        let by = goal.weight / power.max(f32::MIN_POSITIVE * 1e6);
        (goal.id, own[goal.id.0].iter().zip(&wanted).map(|(x, wanted)| by * (x - wanted)).collect())
    });
    let mut constants: Vec<Constants> = (student.nodes.iter())
        .map(|node| match product_constants(node) {
            Some((weights, bias)) => {
                Constants { weights: vec![0.0; weights.data.len()], bias: vec![0.0; bias.len()] }
            }
            None => Constants::default(),
        })
        .collect();
    backward(student, &own, seeds.collect(), &mut constants);
    constants
}

/// Two samples and their shares.
struct Draw {
    samples: [usize; 2],
    share: f32,
}

impl Draw {
    fn inputs(&self, samples: Samples<'_>) -> Result<Vec<Vec<f32>>> {
        let mut inputs = (samples.load)(self.samples[0])?;
        if self.share < 1.0 {
            let others = (samples.load)(self.samples[1])?;
            for (input, other) in inputs.iter_mut().zip(others) {
                let mix = |(x, other): (&mut f32, f32)| *x = self.share * *x + (1.0 - self.share) * other;
                input.iter_mut().zip(other).for_each(mix);
            }
        }
        Ok(inputs)
    }
}

/// A linear congruential generator (Knuth's MMIX).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    fn draw(&mut self, count: usize) -> Draw {
        let samples = [0, 1].map(|_| self.next() as usize % count.max(1));
        // Half of the samples as they are.
        let share = (self.next() as f32 / (1u32 << 31) as f32).max(0.5);
        Draw { samples, share: if share == 0.5 { 1.0 } else { share } }
    }
}

/// Means of the derivatives and of their squares; weights and biases of a node one after the other.
struct Adam {
    means: Vec<[Vec<f64>; 2]>,
    /// Of weights and of biases: the root mean square at first.
    sizes: Vec<[f64; 2]>,
    steps: i32,
}

impl Adam {
    fn new(graph: &Graph) -> Self {
        let size = |values: &[f32]| {
            (values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / values.len().max(1) as f64).sqrt()
        };
        let of = |node: &Node| match product_constants(node) {
            Some((weights, bias)) => {
                let count = weights.data.len() + bias.len();
                let [of_weights, of_bias] = [size(&weights.data), size(bias)];
                ([vec![0.0; count], vec![0.0; count]], [of_weights, of_bias.max(0.1 * of_weights)])
            }
            None => ([Vec::new(), Vec::new()], [0.0; 2]),
        };
        let (means, sizes) = graph.nodes.iter().map(of).unzip();
        Self { means, sizes, steps: 0 }
    }

    fn step(&mut self, graph: &mut Graph, gradients: &[Vec<Constants>], rate: f64) {
        self.steps += 1;
        let corrections = MOMENTUM.map(|decay| 1.0 - decay.powi(self.steps));
        let nodes = graph.nodes.par_iter_mut().zip(&mut self.means).zip(&self.sizes).enumerate();
        nodes.for_each(|(index, ((node, [mean, square]), sizes))| {
            let (weights, bias) = match &mut node.op {
                Op::Conv(conv) => (&mut conv.weights, &mut conv.bias),
                Op::FullyConnected(fc) => (&mut fc.weights, &mut fc.bias),
                _ => return,
            };
            let mut data = weights.data.to_vec();
            let count = data.len();
            let all = data.iter_mut().chain(bias.iter_mut()).enumerate().zip(mean.iter_mut().zip(square));
            for ((i, x), (mean, square)) in all {
                let of = |constants: &Constants| {
                    f64::from(if i < count { constants.weights[i] } else { constants.bias[i - count] })
                };
                let by: f64 = gradients.iter().map(|sample| of(&sample[index])).sum::<f64>() / BATCH as f64;
                *mean = MOMENTUM[0] * *mean + (1.0 - MOMENTUM[0]) * by;
                *square = MOMENTUM[1] * *square + (1.0 - MOMENTUM[1]) * by * by;
                let (m, v) = (*mean / corrections[0], *square / corrections[1]);
                let size = sizes[usize::from(i >= count)];
                *x -= (rate * size * m / (v.sqrt() + f64::MIN_POSITIVE * 1e20)) as f32;
            }
            *weights = Tensor::new(weights.dims.clone(), data);
        });
    }
}
