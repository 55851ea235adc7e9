//! The packager's own small graph: what the ONNX nodes say, with every shape bound, constants as
//! values, and the user's names kept, so that they survive into every message and report.
//!
//! Shapes are the model's own (`[N, C, H, W]` as ONNX has it); the order in which a device stores
//! them is chosen when the graph is lowered.

mod op;

use std::sync::Arc;

use edgepack_engine::format::plan::ElemType;

pub use op::{
    BinaryKind, Cell, Conv, FullyConnected, LayerNorm, Op, PoolKind, Recurrent, Suppression, TopK, Window,
    row,
};

use crate::quant::Quant;

/// An index into [`Graph::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub usize);

/// An f32 constant, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Sizes, outermost first.
    pub dims: Vec<usize>,
    /// Elements.
    pub data: Arc<[f32]>,
    /// The scales that it was given, where it arrived quantized.
    pub given: Option<GivenScales>,
}

impl Tensor {
    /// A tensor of `dims`; `data` has their product.
    pub fn new(dims: Vec<usize>, data: Vec<f32>) -> Self {
        debug_assert_eq!(dims.iter().product::<usize>(), data.len());
        Self { dims, data: data.into(), given: None }
    }

    /// The same elements under another shape. Scales along an axis are lost, a single one is not.
    pub fn reshaped(self, dims: Vec<usize>) -> Self {
        let given = self.given.filter(|given| given.scales.len() == 1);
        Self { dims, data: self.data, given: given.map(|given| GivenScales { axis: 0, ..given }) }
    }

    /// What lies at an index of axis 0, as a tensor without that axis.
    pub fn at(&self, index: usize) -> Self {
        let dims = self.dims[1..].to_vec();
        let elems: usize = dims.iter().product();
        let (first, next) = (self.dims[0], dims.first().copied().unwrap_or(1));
        let at = |given: &GivenScales| match (given.axis, given.scales.len()) {
            (0, count) if count == first * next => {
                GivenScales { axis: 0, scales: given.scales[index * next..][..next].to_vec() }
            }
            (0, count) => GivenScales { axis: 0, scales: vec![given.scales[index.min(count - 1)]] },
            (axis, _) => GivenScales { axis: axis - 1, ..given.clone() },
        };
        let data = self.data[index * elems..][..elems].to_vec();
        Self { given: self.given.as_ref().map(at), ..Self::new(dims, data) }
    }

    /// So many rows of a matrix.
    pub fn rows(&self, rows: std::ops::Range<usize>) -> Self {
        let columns = self.dims.get(1).copied().unwrap_or(1);
        let of_rows = |given: &GivenScales| match (given.axis, given.scales.len()) {
            (0, count) if count > 1 => GivenScales { axis: 0, scales: given.scales[rows.clone()].to_vec() },
            _ => given.clone(),
        };
        let given = self.given.as_ref().map(of_rows);
        let data = self.data[rows.start * columns..rows.end * columns].to_vec();
        Self { given, ..Self::new(vec![rows.len(), columns], data) }
    }

    /// The matrix of the last two axes of a tensor whose others are 1, which has at least two.
    pub fn as_matrix(&self) -> Self {
        let lead = self.dims.len().saturating_sub(2);
        let given = self.given.clone().filter(|given| given.axis >= lead || given.scales.len() == 1);
        let given = given.map(|given| GivenScales { axis: given.axis.saturating_sub(lead), ..given });
        Self { dims: self.dims[lead..].to_vec(), data: self.data.clone(), given }
    }

    /// A transposed matrix.
    pub fn transposed(&self) -> Self {
        let [rows, columns] = [0, 1].map(|axis| self.dims.get(axis).copied().unwrap_or(1));
        let data = (0..columns).flat_map(|n| (0..rows).map(move |k| self.data[k * columns + n])).collect();
        let turned = |given: &GivenScales| GivenScales { axis: 1 - given.axis.min(1), ..given.clone() };
        Self { given: self.given.as_ref().map(turned), ..Self::new(vec![columns, rows], data) }
    }

    /// The tensor with every index along axis 0 multiplied by a factor. Integers stay what they are, or
    /// change their sign: their scales are multiplied.
    pub fn scaled(&self, factor: impl Fn(usize) -> f32) -> Self {
        let rows = self.dims.first().copied().unwrap_or(1).max(1);
        let elems = (self.data.len() / rows).max(1);
        let data = self.data.iter().enumerate().map(|(i, x)| x * factor(i / elems)).collect();
        let given = self.given.as_ref().filter(|given| given.axis == 0 || given.scales.len() == 1);
        let scaled = |given: &GivenScales| {
            let scale = |row: usize| given.scales[row.min(given.scales.len() - 1)] * factor(row).abs();
            GivenScales { axis: 0, scales: (0..rows).map(scale).collect() }
        };
        Self { given: given.map(scaled), ..Self::new(self.dims.clone(), data) }
    }
}

/// What a constant that arrived quantized consists of: every element is an integer in [-255, 255] (a
/// distance from a zero point) times the scale of its index along `axis`.
#[derive(Clone, Debug, PartialEq)]
pub struct GivenScales {
    /// The axis of the scales.
    pub axis: usize,
    /// One for each index along the axis, or along it and the next together (gates by direction), or a single
    /// one for the whole tensor; positive.
    pub scales: Vec<f32>,
}

/// A tensor of the graph.
#[derive(Clone, Debug)]
pub struct Value {
    /// Its name in the ONNX file.
    pub name: String,
    /// Its shape.
    pub dims: Vec<usize>,
    /// Its elements, where they are known before the model runs.
    pub constant: Option<Tensor>,
    /// The int8 representation that the model itself gives it, where it arrived quantized.
    pub given: Option<Quant>,
    /// The model's own type of its elements: f32, or integers and truth values, which are f32 numbers here.
    pub dtype: ElemType,
    /// Of an input of integers: the least and the greatest that the model can be given
    /// ([`crate::integers::prove`]).
    pub limits: Option<[i32; 2]>,
    /// Whether it lies on the device in its own type, for islands alone: what the application gives them and gets
    /// from them, or they give each other.
    pub raw: bool,
}

impl Value {
    /// A value that is computed, of f32.
    pub fn new(name: impl Into<String>, dims: Vec<usize>) -> Self {
        let (name, dtype) = (name.into(), ElemType::F32);
        Self { name, dims, constant: None, given: None, dtype, limits: None, raw: false }
    }
}

/// The bounds that a node's result is clamped to: a fused Relu or Clip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clamp {
    /// Smallest result.
    pub min: f32,
    /// Largest result.
    pub max: f32,
}

impl Clamp {
    /// No bounds.
    pub const NONE: Self = Self { min: f32::NEG_INFINITY, max: f32::INFINITY };

    /// Both clamps after each other, `self` first.
    pub fn then(self, next: Self) -> Self {
        let through = |x: f32| x.max(next.min).min(next.max);
        Self { min: through(self.min), max: through(self.max) }
    }
}

/// What a node computes with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// int8, on the device as cheap as can be.
    #[default]
    Int8,
    /// int16 activations and int8 weights.
    Int16,
    /// int16 activations and int16 weights, both as wide as int32 sums allow.
    Int16x16,
    /// f32, as the model has it.
    F32,
    /// Products of int8 between tensors of f32, which are quantized when they are there.
    Dynamic,
    /// f32 with weights that the package has in int8.
    WeightsInt8,
    /// f32 with weights that the package has in half precision.
    WeightsF16,
}

impl Precision {
    /// Every one, from the cheapest to the dearest.
    pub const ALL: [Self; 7] = [
        Self::Int8,
        Self::Dynamic,
        Self::Int16,
        Self::Int16x16,
        Self::WeightsInt8,
        Self::WeightsF16,
        Self::F32,
    ];

    /// Whether activations are int16.
    pub fn is_int16(self) -> bool {
        matches!(self, Self::Int16 | Self::Int16x16)
    }

    /// Whether tensors are f32.
    pub fn has_f32_values(self) -> bool {
        matches!(self, Self::F32 | Self::Dynamic | Self::WeightsInt8 | Self::WeightsF16)
    }

    /// Whether tensors are f32, and weights int8 all the same.
    pub fn has_int8_weights_alone(self) -> bool {
        matches!(self, Self::Dynamic | Self::WeightsInt8)
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int16x16 => "int16x16",
            Self::F32 => "fp32",
            Self::Dynamic => "dynamic",
            Self::WeightsInt8 => "weights-int8",
            Self::WeightsF16 => "weights-fp16",
        })
    }
}

impl std::str::FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|precision| precision.to_string() == text)
            .ok_or_else(|| format!("`{text}` is none of {}", Self::ALL.map(|one| one.to_string()).join(", ")))
    }
}

/// How the application exchanges numbers that are f32 in the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Io {
    /// It gets f32. An input that a node of int8 reads is int8 in the arena all the same, and takes either.
    #[default]
    F32,
    /// Inputs and outputs are int8, each with its scale and zero point, whatever nodes compute with.
    Int8,
}

impl std::fmt::Display for Io {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
        })
    }
}

impl std::str::FromStr for Io {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "int8" => Ok(Self::Int8),
            _ => Err(format!("`{text}` is none of f32, int8")),
        }
    }
}

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name in the ONNX file (its first output's, where it has none).
    pub name: String,
    /// The operation of the ONNX file that it stands for: `Conv`, `BatchNormalization`, ….
    pub onnx_op: String,
    /// What it computes.
    pub op: Op,
    /// What it reads.
    pub inputs: Vec<ValueId>,
    /// What it makes.
    pub output: ValueId,
    /// What its result is clamped to.
    pub clamp: Clamp,
    /// What it computes with.
    pub precision: Precision,
    /// Names of the ONNX nodes that passes have merged into it.
    pub merged: Vec<String>,
}

/// A model. Nodes are in an order in which they can run.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Every tensor.
    pub values: Vec<Value>,
    /// Every node.
    pub nodes: Vec<Node>,
    /// What the application gives.
    pub inputs: Vec<ValueId>,
    /// What the application gets.
    pub outputs: Vec<ValueId>,
    /// As what.
    pub io: Io,
}

impl Graph {
    /// A value.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// A value's shape.
    pub fn dims(&self, id: ValueId) -> &[usize] {
        &self.values[id.0].dims
    }

    /// Adds a value.
    pub fn add_value(&mut self, name: impl Into<String>, dims: Vec<usize>) -> ValueId {
        self.values.push(Value::new(name, dims));
        ValueId(self.values.len() - 1)
    }

    /// The indices of the nodes that read a value.
    pub fn consumers(&self, id: ValueId) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&i| self.nodes[i].inputs.contains(&id)).collect()
    }

    /// The index of the node that makes a value.
    pub fn producer(&self, id: ValueId) -> Option<usize> {
        self.nodes.iter().position(|node| node.output == id)
    }

    /// The one node that reads what node `index` makes; `None` where there are several, or where it
    /// is an output of the model, or rounded to a representation of its own: what it reads could not be
    /// merged with it then.
    pub fn only_consumer(&self, index: usize) -> Option<usize> {
        let output = self.nodes[index].output;
        if self.outputs.contains(&output) || self.value(output).given.is_some() {
            return None;
        }
        match self.consumers(output)[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Merges node `absorbed` into its input's producer `into`: `into` makes what `absorbed` made.
    /// The node stays in the list until [`Graph::remove_dead`], with its result unused.
    pub fn absorb(&mut self, into: usize, absorbed: usize) {
        let (output, name) = (self.nodes[absorbed].output, self.nodes[absorbed].name.clone());
        let merged = std::mem::take(&mut self.nodes[absorbed].merged);
        let orphan = std::mem::replace(&mut self.nodes[into].output, output);
        self.nodes[absorbed].output = orphan;
        self.nodes[absorbed].inputs.clear();
        self.nodes[into].merged.push(name);
        self.nodes[into].merged.extend(merged);
    }

    /// Removes the nodes that no output of the model needs.
    pub fn remove_dead(&mut self) {
        let mut needed = vec![false; self.values.len()];
        for output in &self.outputs {
            needed[output.0] = true;
        }
        let mut keep = vec![false; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate().rev() {
            keep[index] = needed[node.output.0];
            if keep[index] {
                node.inputs.iter().for_each(|input| needed[input.0] = true);
            }
        }
        let mut index = 0;
        self.nodes.retain(|_| {
            index += 1;
            keep[index - 1]
        });
    }
}

/// `[N, C, H, W]` of a tensor with the channels on axis 1 and up to two spatial axes.
pub fn as_nchw(dims: &[usize]) -> Option<[usize; 4]> {
    match *dims {
        [n, c] => Some([n, c, 1, 1]),
        [n, c, w] => Some([n, c, 1, w]),
        [n, c, h, w] => Some([n, c, h, w]),
        _ => None,
    }
}
