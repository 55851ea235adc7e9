//! What tests of several modules build graphs with.

use crate::graph::{Clamp, Graph, Node, Op, Precision, Tensor, ValueId};

/// Pseudo-random numbers in [-1, 1).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub fn take(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next()).collect()
    }
}

pub const RELU: Clamp = Clamp { min: 0.0, max: f32::INFINITY };

/// A graph under construction, with pseudo-random constants.
pub struct Build {
    pub graph: Graph,
    pub random: Random,
}

impl Build {
    /// A graph with an input of these dimensions.
    pub fn new(dims: &[usize]) -> (Self, ValueId) {
        Self::seeded(dims, 7)
    }

    pub fn seeded(dims: &[usize], seed: u64) -> (Self, ValueId) {
        let mut build = Self { graph: Graph::default(), random: Random(seed) };
        let input = build.graph.add_value("input", dims.to_vec());
        build.graph.inputs.push(input);
        (build, input)
    }

    pub fn random(&mut self, n: usize) -> Vec<f32> {
        self.random.take(n)
    }

    pub fn tensor(&mut self, dims: &[usize]) -> Tensor {
        Tensor::new(dims.to_vec(), self.random.take(dims.iter().product()))
    }

    pub fn constant(&mut self, dims: &[usize]) -> ValueId {
        let tensor = self.tensor(dims);
        let id = self.graph.add_value("constant", dims.to_vec());
        self.graph.values[id.0].constant = Some(tensor);
        id
    }

    /// A node in int8, whose output has these dimensions.
    pub fn node(&mut self, op: Op, inputs: &[ValueId], dims: &[usize]) -> ValueId {
        self.clamped(op, inputs, dims, Clamp::NONE)
    }

    pub fn clamped(&mut self, op: Op, inputs: &[ValueId], dims: &[usize], clamp: Clamp) -> ValueId {
        let name = format!("node{}", self.graph.nodes.len());
        let output = self.graph.add_value(&name, dims.to_vec());
        let (inputs, onnx_op, precision) = (inputs.to_vec(), "Test".into(), Precision::Int8);
        let merged = vec![];
        self.graph.nodes.push(Node { name, onnx_op, op, inputs, output, clamp, precision, merged });
        output
    }
}
