//! What nodes do, and what their operations have besides inputs.

use std::sync::Arc;

use super::Tensor;
use crate::islands::Island;
use crate::unary::{Comparison, Unary};

/// Geometry of a window that slides over height and width. One-dimensional convolutions and
/// poolings have height 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Height and width.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Vertical and horizontal dilation.
    pub dilation: [usize; 2],
    /// Top, left, bottom, right.
    pub pads: [usize; 4],
}

/// A convolution's constants and geometry.
#[derive(Clone, Debug)]
pub struct Conv {
    /// `[out_channels, in_channels / groups, kh, kw]`.
    pub weights: Tensor,
    /// `[out_channels]`.
    pub bias: Vec<f32>,
    /// Geometry.
    pub window: Window,
    /// Groups.
    pub groups: usize,
}

/// A product with a constant matrix: `y[.., n] = sum over k of x[.., k] * weights[n, k] + bias[n]`.
#[derive(Clone, Debug)]
pub struct FullyConnected {
    /// `[N, K]`.
    pub weights: Tensor,
    /// `[N]`.
    pub bias: Vec<f32>,
}

/// Which element-wise operation of two tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryKind {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`, of integers: in f32 only
    Div,
    /// 1 where `a` compares so with `b`, else 0
    Compare(Comparison),
}

impl BinaryKind {
    /// The value for two elements. Of f32 numbers the result, rounded to f32, is that of f32 arithmetic.
    pub fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Div => a / b,
            Self::Compare(comparison) => comparison.holds(a, b).into(),
        }
    }
}

/// Which pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// Largest value.
    Max,
    /// Mean; the flag says whether padding counts.
    Average {
        /// ONNX's `count_include_pad`.
        count_include_pad: bool,
    },
}

/// Which recurrent cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Gates i, o, f, c.
    Lstm,
    /// Gates z, r, h; the reset gate is applied after the product.
    Gru,
}

impl Cell {
    /// Gates of one hidden unit.
    pub fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru => 3,
        }
    }
}

/// One direction of a recurrent layer. It reads what the layer's input contributes to the gates,
/// `[T, B, G * H]`, which a product before it has made.
#[derive(Clone, Debug)]
pub struct Recurrent {
    /// The cell.
    pub cell: Cell,
    /// `[G * H, H]`.
    pub weights: Tensor,
    /// `[G * H]`: what of the biases belongs inside the recurrent product.
    pub bias: Vec<f32>,
    /// `[B, H]`.
    pub initial_hidden: Vec<f32>,
    /// `[B, H]`; of an LSTM.
    pub initial_cell: Vec<f32>,
    /// Whether time runs from the last step to the first.
    pub reverse: bool,
}

/// What a node computes.
#[derive(Clone, Debug)]
pub enum Op {
    /// Convolution over `[N, C, H, W]`, `[N, C, W]` or `[N, C]` (then 1×1). A second input, of the result's shape, is
    /// added to the result.
    Conv(Conv),
    /// Product with a constant matrix, over the last axis. A second input, of the result's shape, is added to the
    /// result.
    FullyConnected(FullyConnected),
    /// `x * scale[c] + shift[c]` with the channels on axis 1: a batch normalization.
    ChannelAffine {
        /// `[C]`
        scale: Vec<f32>,
        /// `[C]`
        shift: Vec<f32>,
    },
    /// Element-wise, with numpy's broadcasting.
    Binary(BinaryKind),
    /// Elements of the second input where those of the first are not 0, else of the third, with numpy's
    /// broadcasting. What is not taken leaves no trace, whatever it is.
    Select,
    /// A function of each element.
    Unary(Unary),
    /// Pooling over `[N, C, H, W]` or `[N, C, W]`.
    Pool(PoolKind, Window),
    /// Mean over adjacent axes.
    ReduceMean {
        /// First axis.
        first: usize,
        /// Number of axes.
        count: usize,
    },
    /// A border of a constant.
    Pad {
        /// Before and after, for each axis.
        pads: Vec<[usize; 2]>,
        /// The constant.
        value: f32,
    },
    /// Along one axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// The same elements under another shape: Reshape, Flatten, Squeeze, Unsqueeze.
    Reshape,
    /// Axis `i` of the result is axis `perm[i]` of the input.
    Transpose {
        /// The permutation.
        perm: Vec<usize>,
    },
    /// Softmax over one axis.
    Softmax {
        /// The axis.
        axis: usize,
    },
    /// The hidden states `[T, 1, B, H]` of an LSTM or GRU.
    Recurrent(Arc<Recurrent>),
    /// The cell state `[1, B, H]` after the last step of the LSTM whose input is the node's first,
    /// and whose hidden states are its second.
    FinalCell(Arc<Recurrent>),
    /// Every `steps[i]`-th element along axis `i`, from `starts[i]` on.
    Slice {
        /// By axis: the first.
        starts: Vec<usize>,
        /// By axis: the distance, at least 1.
        steps: Vec<usize>,
    },
    /// By axis, the elements at these indices, in this order and as often as they are named; `None` for all.
    Take {
        /// By axis.
        indices: Vec<Option<Arc<[usize]>>>,
    },
    /// Product of two tensors over the last two axes, with numpy's broadcasting of the others.
    MatMul,
    /// Layer normalization.
    LayerNorm(LayerNorm),
    /// Rows of a constant `[rows, width]`, chosen by the indices that the node reads ([`row`]).
    Embed {
        /// The rows.
        table: Tensor,
    },
    /// Elements along an axis of the first input, chosen by the indices that are the second ([`row`]); the axes of
    /// these take the axis' place.
    Gather {
        /// The axis.
        axis: usize,
    },
    /// The first input `[rows, ..]`, of which the rows that the second names ([`row`]) are replaced by those of
    /// the third.
    Scatter,
    /// Where along an axis the k greatest or least values are.
    TopK(TopK),
    /// Which of the boxes `[batch, boxes, 4]` are better, by the scores `[batch, classes, boxes]`, than those that they
    /// overlap: rows of batch, class and box, and behind them rows of -1.
    NonMaxSuppression(Suppression),
    /// An output of a part of the model that tract runs. The node of its first output reads what the island reads;
    /// that of another one, besides, the first output.
    Island {
        /// The island.
        island: Arc<Island>,
        /// Which of its outputs.
        output: usize,
    },
    /// The same values, for nodes that compute with another [`super::Precision`] than the one that made them;
    /// the cast's own precision is theirs.
    Cast,
}

/// `(x - mean) / sqrt(variance + epsilon) * gamma + beta`, over all axes from one on.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// The first axis.
    pub axis: usize,
    /// One for each element of the axes.
    pub gamma: Vec<f32>,
    /// One for each element of the axes.
    pub beta: Vec<f32>,
    /// What is added to the variance.
    pub epsilon: f32,
}

/// How values are selected along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopK {
    /// The axis.
    pub axis: usize,
    /// How many.
    pub k: usize,
    /// The greatest, not the least.
    pub largest: bool,
    /// Of equal values the last one comes first.
    pub last: bool,
}

/// How boxes are selected, as `edgepack_format::plan::NonMaxSuppression` has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suppression {
    /// Of each class at most so many.
    pub most: usize,
    /// Boxes whose intersection over union exceeds it overlap too much.
    pub iou_threshold: f32,
    /// Scores must exceed it.
    pub score_threshold: f32,
    /// Boxes are centre and size, not two corners.
    pub centers: bool,
}

/// An index into so many rows, as a device takes it: cut to an integer, counted from behind below 0, and then the
/// nearest that there is.
pub fn row(index: f32, rows: usize) -> usize {
    let index = index as i64;
    let from_front = if index < 0 { index + rows as i64 } else { index };
    from_front.clamp(0, rows as i64 - 1) as usize
}
