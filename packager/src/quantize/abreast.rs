//! The FP32 network and the int8 one side by side: teacher and student of the same samples, a node at a time.
//!
//! Methods that fit a layer to the teacher need what both networks have before that layer, the student with
//! every layer before it quantized already. To run both from the start for each layer would take as many
//! passes as there are layers, and to keep every tensor of every sample would take the memory of them all. So
//! the live tensors of as many samples are kept as fit a budget; where they shrink, the samples that did not
//! fit are run up to that place.

use rayon::prelude::*;

use super::simulate::{residual_zero, set_constants};
use super::{QuantizedWeights, Scheme};
use crate::error::Result;
use crate::evaluate::evaluate_op;
use crate::graph::{Clamp, Graph, Node, ValueId};

/// What the live tensors of all samples may take.
const BUDGET_BYTES: usize = 256 << 20;
/// So many samples are kept, whatever they take.
const FEWEST: usize = 4;

/// Gives the inputs of a sample, by its index.
pub type Load<'a> = dyn Fn(usize) -> Result<Vec<Vec<f32>>> + Sync + 'a;

/// The samples of a calibration set.
#[derive(Clone, Copy)]
pub struct Samples<'a> {
    /// How many.
    pub count: usize,
    /// Reads one.
    pub load: &'a Load<'a>,
}

/// The live tensors of one sample, by value.
type Live = Vec<Option<Vec<f32>>>;

/// One sample in both networks.
#[derive(Debug)]
struct Pair {
    teacher: Live,
    student: Live,
}

/// Both networks before the same node.
pub struct Abreast<'a> {
    graph: &'a Graph,
    /// The graph's nodes with the scheme's constants.
    student: Vec<Node>,
    scheme: Scheme,
    source: Samples<'a>,
    pairs: Vec<Pair>,
    /// By value: the first node before which it is there; beyond the last for constants.
    made: Vec<usize>,
    /// By value: the last node that reads it.
    last_use: Vec<usize>,
    /// Whether what lies beyond a node's bounds on both sides is no error.
    bounds: bool,
}

/// What both networks have at a product: the student's input, and what it should make of it.
pub struct Seen<'a> {
    /// Input of the student, row-major.
    pub input: &'a [f32],
    /// Output of the teacher, row-major, not clamped, less what the student adds to its products.
    pub target: Vec<f32>,
}

impl<'a> Abreast<'a> {
    /// Both networks before the first node. The student has the scheme's weights until others are set.
    pub fn new(graph: &'a Graph, scheme: &Scheme, samples: Samples<'a>) -> Self {
        let mut last_use = vec![0; graph.values.len()];
        let mut made = vec![usize::MAX; graph.values.len()];
        graph.inputs.iter().for_each(|input| made[input.0] = 0);
        for (index, node) in graph.nodes.iter().enumerate() {
            made[node.output.0] = index + 1;
            node.inputs.iter().for_each(|input| last_use[input.0] = index);
        }
        graph.outputs.iter().for_each(|output| last_use[output.0] = graph.nodes.len());
        let mut abreast = Self {
            graph,
            student: graph.nodes.clone(),
            scheme: scheme.clone(),
            source: samples,
            pairs: Vec::new(),
            made,
            last_use,
            bounds: false,
        };
        for (index, node) in graph.nodes.iter().enumerate() {
            if let Some(weights) = &scheme.weights[node.output.0] {
                abreast.set_weights(index, weights.clone());
            }
        }
        abreast
    }

    /// Both networks before the first node, the student in f32 too: with nodes like the graph's, of other
    /// constants.
    pub fn in_f32(graph: &'a Graph, student: Vec<Node>, samples: Samples<'a>) -> Self {
        Self { student, ..Self::new(graph, &Scheme::exact(graph), samples) }
    }

    /// Gives the student another node.
    pub fn set_node(&mut self, index: usize, node: Node) {
        self.student[index] = node;
    }

    /// Whether goals are what the student has already, where both lie beyond the same bound of the node, and the
    /// bound, where only the teacher does.
    pub fn goals_know_bounds(&mut self, bounds: bool) {
        self.bounds = bounds;
    }

    /// The scheme with the weights that were set.
    pub fn into_scheme(self) -> Scheme {
        self.scheme
    }

    /// Gives a product of the student other constants.
    pub fn set_weights(&mut self, index: usize, weights: QuantizedWeights) {
        let node = &mut self.student[index];
        if let Some(input) = self.scheme.multiplicand(node) {
            set_constants(node, &weights, input, residual_zero(&self.scheme, node));
        }
        self.scheme.weights[node.output.0] = Some(weights);
    }

    /// Brings as many samples before node `index` as the budget allows.
    ///
    /// # Errors
    /// A sample that cannot be read.
    pub fn gather(&mut self, index: usize) -> Result<()> {
        let elems: usize = (0..self.graph.values.len())
            .filter(|&id| self.is_live(id, index) || self.graph.nodes[index].output.0 == id)
            .map(|id| self.graph.values[id].dims.iter().product::<usize>())
            .sum();
        let both = elems.max(1) * 2 * size_of::<f32>();
        let fit = (BUDGET_BYTES / both).max(FEWEST).min(self.source.count);
        self.pairs.truncate(fit);
        // Not for a few more: each runs through all that is before.
        if fit == self.source.count || fit >= 2 * self.pairs.len() {
            let this = &*self;
            let more = (self.pairs.len()..fit).into_par_iter().map(|sample| this.run_to(sample, index));
            let more = more.collect::<Result<Vec<Pair>>>()?;
            self.pairs.extend(more);
        }
        Ok(())
    }

    /// Samples in flight.
    pub fn samples(&self) -> usize {
        self.pairs.len()
    }

    /// Whether a value is needed at or after node `index`, and there before it.
    fn is_live(&self, id: usize, index: usize) -> bool {
        self.made[id] <= index && self.last_use[id] >= index
    }

    fn run_to(&self, sample: usize, index: usize) -> Result<Pair> {
        let inputs = (self.source.load)(sample)?;
        let mut pair = Pair {
            teacher: vec![None; self.graph.values.len()],
            student: vec![None; self.graph.values.len()],
        };
        for (id, values) in self.graph.inputs.iter().zip(inputs) {
            let mut rounded = values.clone();
            self.round(*id, &mut rounded);
            pair.student[id.0] = Some(rounded);
            pair.teacher[id.0] = Some(values);
        }
        (0..index).for_each(|index| self.run(index, &mut pair));
        Ok(pair)
    }

    fn round(&self, id: ValueId, values: &mut [f32]) {
        self.scheme.round(id, values);
    }

    /// Runs node `index` in both networks, on every sample in flight.
    pub fn advance(&mut self, index: usize) {
        let mut pairs = std::mem::take(&mut self.pairs);
        pairs.par_iter_mut().for_each(|pair| self.run(index, pair));
        self.pairs = pairs;
    }

    fn run(&self, index: usize, pair: &mut Pair) {
        let output = self.graph.nodes[index].output;
        let result = self.result(&self.graph.nodes[index], &pair.teacher, true);
        pair.teacher[output.0] = Some(result);
        let mut result = self.result(&self.student[index], &pair.student, true);
        self.round(output, &mut result);
        pair.student[output.0] = Some(result);
        for id in &self.graph.nodes[index].inputs {
            if self.last_use[id.0] <= index {
                (pair.teacher[id.0], pair.student[id.0]) = (None, None);
            }
        }
    }

    fn result(&self, node: &Node, live: &Live, clamped: bool) -> Vec<f32> {
        let operands: Vec<&[f32]> = (node.inputs.iter()).map(|&id| self.operand(id, live)).collect();
        let mut result = evaluate_op(self.graph, &node.op, &node.inputs, node.output, &operands);
        if clamped && node.clamp != Clamp::NONE {
            result.iter_mut().for_each(|x| *x = x.max(node.clamp.min).min(node.clamp.max));
        }
        result
    }

    fn operand<'b>(&'b self, id: ValueId, live: &'b Live) -> &'b [f32] {
        match &self.graph.value(id).constant {
            Some(constant) => &constant.data,
            None => live[id.0].as_deref().unwrap_or(&[]),
        }
    }

    /// What both networks have at product `index`, for one of the samples in flight.
    pub fn seen(&self, index: usize, sample: usize) -> Seen<'_> {
        let (node, pair) = (&self.graph.nodes[index], &self.pairs[sample]);
        let mut target = self.result(node, &pair.teacher, false);
        if self.bounds {
            let has = self.result(&self.student[index], &pair.student, false);
            let Clamp { min, max } = node.clamp;
            for (target, has) in target.iter_mut().zip(has) {
                if *target <= min {
                    *target = has.min(min);
                } else if *target >= max {
                    *target = has.max(max);
                }
            }
        }
        // What is added to the product is what the student has of it.
        if let Some(&added) = node.inputs.get(1) {
            let added = self.operand(added, &pair.student);
            target.iter_mut().zip(added).for_each(|(target, added)| *target -= added);
        }
        Seen { input: self.operand(node.inputs[0], &pair.student), target }
    }
}
