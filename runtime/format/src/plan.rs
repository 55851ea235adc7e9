//! The plan: what a device does with a sample, step by step, with every buffer at a fixed place.
//!
//! A plan is a stream of [postcard] values: one [`Head`], then [`Head::inputs`] times [`Input`],
//! [`Head::outputs`] times [`Output`] and [`Head::steps`] times [`Step`]. It is read one value at a
//! time, so that a reader needs no memory of its own.
//!
//! Tensors of the device are int8, int16 or f32, contiguous, and lie in the arena in the order that each operation
//! documents (NHWC for the spatial ones). Constants lie in the weights section.
//!
//! [postcard]: https://postcard.jamesmunns.com/wire-format

mod elem;
mod float;
mod geometry;
mod int16;
mod integers;
mod island;

pub use elem::ElemType;
pub use float::{
    ConvF32, Elementwise, Elems, F32_OPERANDS, F32_PANEL, F32_REGISTERS, Function, Instruction, LayerNormF32,
    MatMulF32, PoolF32, PoolF32Op, QuantizeRows, RecurrentF32, RecurrentProduct, RescaleRows, Source, Stored,
    WeightFormat,
};
pub use geometry::{MatMulGeometry, Window};
pub use int16::{ConvI16, I16_PANEL, PoolI16, ResidualI16};
pub use integers::{Convert, Gather, NonMaxSuppression, Scatter, TopK};
pub use island::{Island, IslandTensor};
use serde::{Deserialize, Serialize};

/// The most dimensions that a tensor of the model may have.
pub const MAX_RANK: usize = 6;

/// Bytes from `offset` on, in the arena or in a section, as the field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First byte.
    pub offset: u32,
    /// Number of bytes.
    pub bytes: u32,
}

/// The shape of a tensor of the user's model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dims {
    /// How many of `sizes` count: at most [`MAX_RANK`].
    pub rank: u8,
    /// Sizes, outermost first; unused ones are 1.
    pub sizes: [u32; MAX_RANK],
}

impl Dims {
    /// The sizes that count.
    pub fn as_slice(&self) -> &[u32] {
        &self.sizes[..(self.rank as usize).min(MAX_RANK)]
    }

    /// Number of elements; `None` where it exceeds 32 bits.
    pub fn elems(&self) -> Option<u32> {
        self.as_slice().iter().try_fold(1u32, |product, &size| product.checked_mul(size))
    }
}

/// `real = (q - zero_point) * scale`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quant {
    /// Finite, positive.
    pub scale: f32,
    /// In [-128, 127].
    pub zero_point: i8,
}

/// What the plan holds and needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Bytes of the arena, which starts at a multiple of 64.
    pub arena_bytes: u32,
    /// Number of [`Input`]s.
    pub inputs: u32,
    /// Number of [`Output`]s.
    pub outputs: u32,
    /// Number of [`Step`]s.
    pub steps: u32,
    /// Multiply-adds of one inference.
    pub macs: u64,
}

impl Head {
    /// A plan of nothing.
    pub(crate) const EMPTY: Self = Self { arena_bytes: 0, inputs: 0, outputs: 0, steps: 0, macs: 0 };
}

/// One input of the model, and the three forms in which an application may give it: f32 in the
/// model's own shape (already preprocessed), u8 pixels where the package records a preprocessing,
/// or int8 in the order of the arena. Integers and truth values are given as such, in the
/// model's own shape; other types by their bytes, or as the numbers that f32 or int8 stand for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input<'a> {
    /// The model's name of it.
    pub name: &'a str,
    /// The model's shape of it.
    pub dims: Dims,
    /// Where the tensor lies in the arena.
    pub buffer: Span,
    /// The type of its elements there.
    pub dtype: ElemType,
    /// Scale and zero point of the int8 tensor, or of int8 values that are given for an f32 one.
    pub quant: Quant,
    /// Of integers and truth values: the least and the greatest that the plan can take; others are refused
    /// when they are given. `None` for other types, and where nothing but islands read the input.
    pub limits: Option<[i32; 2]>,
    /// Dimensions of the tensor, in the order in which it lies in the arena.
    pub arena_dims: [u32; 4],
    /// For each of `arena_dims`, the distance in elements in the model's own shape.
    pub strides: [u32; 4],
    /// Whether, and how, raw pixels are taken.
    #[serde(borrow)]
    pub pixels: Option<Pixels<'a>>,
}

/// How raw u8 pixels, `[N, H, W, C]`, become the tensor: one table a channel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pixels<'a> {
    /// In the weights section: `[C][256]` of the tensor's type, finite, entry `p` of channel `c` for a pixel value of `p`.
    pub tables: Span,
    /// Whether the model's channels are the pixel's in reverse (BGR).
    pub reverse_channels: bool,
    /// For each of [`Input::arena_dims`], the distance in elements in the pixels.
    pub strides: [u32; 4],
    /// How an image file becomes these pixels, for those who have files (JSON; see FORMAT.md).
    pub from_image: &'a str,
}

/// One output of the model, in the model's own shape and order of dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output<'a> {
    /// The model's name of it.
    pub name: &'a str,
    /// The model's shape of it.
    pub dims: Dims,
    /// Where it lies in the arena.
    pub buffer: Span,
    /// The type of its elements.
    pub dtype: ElemType,
    /// Scale and zero point, for int8.
    pub quant: Option<Quant>,
    /// Whether its bytes are the same on every processor.
    pub exact: bool,
}

/// One step. It is read by hand, so that a program reads no operation that it has not ([`crate::Operations`]).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Step<'a> {
    /// The node of the user's model that the step computes (the last one, where it is several).
    pub name: &'a str,
    /// Memory in the arena that only this step uses; large enough for every kernel.
    pub scratch: Span,
    /// What it does.
    pub op: Op,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum Op {
    /// Convolution, depthwise convolution, fully connected.
    Conv(Conv),
    /// Addition, subtraction, multiplication of two tensors.
    Binary(Binary),
    /// A function of one int8 tensor, as a table.
    Lookup(Lookup),
    /// Pooling and means.
    Pool(Pool),
    /// Softmax over the last dimension.
    Softmax(Softmax),
    /// One byte, repeated: the border of a padded tensor.
    Fill(Fill),
    /// A strided copy: transpose, concatenation, padding, slice.
    Copy(Copy),
    /// Product of two tensors.
    MatMul(MatMul),
    /// Layer normalization.
    LayerNorm(LayerNorm),
    /// LSTM and GRU.
    Recurrent(Recurrent),
    /// Any function of each element, in f32, with broadcasting; casts.
    Elementwise(Elementwise),
    /// Convolution, depthwise convolution, fully connected, in f32.
    ConvF32(ConvF32),
    /// Pooling and reductions in f32.
    PoolF32(PoolF32),
    /// Product of two tensors in f32.
    MatMulF32(MatMulF32),
    /// Layer normalization in f32.
    LayerNormF32(LayerNormF32),
    /// Integers or truth values of an application become numbers of the plan, or the other way round.
    Convert(Convert),
    /// Rows of a tensor, chosen by indices.
    Gather(Gather),
    /// A tensor, of which some rows are replaced.
    Scatter(Scatter),
    /// Where the greatest or the least values are.
    TopK(TopK),
    /// f32 to int8 at scales that are found then.
    QuantizeRows(QuantizeRows),
    /// LSTM and GRU with hidden states of f32.
    RecurrentF32(RecurrentF32),
    /// A part of the model that tract runs.
    Island(Island),
    /// Convolution, depthwise convolution, fully connected, of int16 with int8 or int16 weights.
    ConvI16(ConvI16),
    /// Pooling of int16.
    PoolI16(PoolI16),
    /// Products of rows that were quantized, back to f32.
    RescaleRows(RescaleRows),
    /// The boxes of a detector that are better than those which they overlap.
    NonMaxSuppression(NonMaxSuppression),
}

/// Zero point and bounds of an int8 result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The int8 value that stands for 0.
    pub zero_point: i8,
    /// The smallest result.
    pub min: i8,
    /// The largest result: at least `min`.
    pub max: i8,
}

/// Convolution over `[N, H, W, C]`, weights `[out_channels, kh, kw, in_channels / groups]`, or
/// `[kh, kw, C]` where `groups == in_channels == out_channels > 1` (depthwise).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conv {
    /// int8 in the arena.
    pub input: Span,
    /// In the arena: int8 where `range` is there, else f32.
    pub output: Span,
    /// Where its kernel lies over the input.
    pub window: Window,
    /// Groups.
    pub groups: u32,
    /// What padding is filled with.
    pub input_zero_point: i8,
    /// int8 constants, in [-127, 127].
    pub weights: Span,
    /// i32 constants, `[out_channels]`, with `-input_zero_point * sum(weights)` in them.
    pub bias: Span,
    /// f32 constants, `[out_channels]`, finite and positive.
    pub multiplier: Span,
    /// The int8 result; `None` gives `accumulator * multiplier` in f32.
    pub range: Option<Range>,
    /// What is added to an int8 result before it is rounded; not for depthwise convolutions.
    pub residual: Option<Residual>,
    /// An earlier step with the same weights, bias, multiplier, kernel, channels and groups, whose packed
    /// weights are this one's too: both compute lines of one layer. The later parts of a layer have it, the
    /// first has not.
    pub same_weights_as: Option<u32>,
}

impl Conv {
    /// Whether every channel is a group of its own.
    pub const fn is_depthwise(&self) -> bool {
        self.window.is_depthwise(self.groups)
    }
}

/// An int8 tensor of the output's dimensions, whose zero point is in the biases.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Residual {
    /// In the arena; may be exactly the output's span, which is overwritten then.
    pub span: Span,
    /// Its scale / output scale: from 2⁻³² to 2¹⁶, of at most 17 significant bits.
    pub multiplier: f32,
}

/// Where an operand lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operand {
    /// In the arena.
    Arena(Span),
    /// In the weights section.
    Constant(Span),
}

/// Which element-wise operation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum BinaryOp {
    /// `(a - za) * lhs_multiplier + (b - zb) * rhs_multiplier`; a subtraction has one negative.
    Add {
        /// Left scale / output scale; negated where the left is what a subtraction takes off.
        lhs_multiplier: f32,
        /// Right scale / output scale; negated where the right is.
        rhs_multiplier: f32,
    },
    /// `((a - za) * (b - zb)) * multiplier`.
    Mul {
        /// Left scale · right scale / output scale.
        multiplier: f32,
    },
}

/// Element-wise operation of two int8 tensors, with broadcasting.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Binary {
    /// The operation.
    pub op: BinaryOp,
    /// Left operand.
    pub lhs: Operand,
    /// Right operand.
    pub rhs: Operand,
    /// In the arena; may be exactly the left operand's span, if that is contiguous over `dims`.
    pub output: Span,
    /// Zero point of the left operand.
    pub lhs_zero_point: i8,
    /// Zero point of the right operand.
    pub rhs_zero_point: i8,
    /// The result.
    pub range: Range,
    /// Dimensions of the output, contiguous in this order; unused ones are 1.
    pub dims: [u32; 4],
    /// Distances in the left operand, 0 where it is broadcast.
    pub lhs_strides: [u32; 4],
    /// Distances in the right operand.
    pub rhs_strides: [u32; 4],
}

/// A table of 256 entries: entry `i` is for the int8 value `i - 128`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    /// int8 in the arena.
    pub input: Span,
    /// In the arena: int8 (may be exactly the input's span) or, where `output` is four times as
    /// large, f32.
    pub output: Span,
    /// Constants: 256 int8 or 256 f32.
    pub table: Span,
    /// Whether entries and results are f32.
    pub to_f32: bool,
}

/// Which pooling.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum PoolOp {
    /// Maximum.
    Max,
    /// `sum(x - input_zero_point) * (multiplier / count)`.
    Average {
        /// The input's zero point.
        input_zero_point: i8,
        /// Input scale / output scale.
        multiplier: f32,
        /// Whether the padding counts.
        count_include_pad: bool,
        /// The result.
        range: Range,
    },
}

/// Pooling over `[N, H, W, C]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// The operation.
    pub op: PoolOp,
    /// int8 in the arena.
    pub input: Span,
    /// int8 in the arena.
    pub output: Span,
    /// Where its window lies over the input.
    pub window: Window,
    /// Padding below and to the right, which an average may count.
    pub pad_after: [u32; 2],
}

/// Where softmax reads from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum SoftmaxInput {
    /// int8; the table of 256 u16 constants holds `exp(-d * scale)` in units of 1/65535 at entry `d`.
    I8 {
        /// In the arena.
        input: Span,
        /// In the weights section.
        table: Span,
    },
    /// f32 in the arena.
    F32(Span),
}

/// What softmax writes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum SoftmaxOutput {
    /// int8: `p * multiplier`.
    I8 {
        /// In the arena.
        output: Span,
        /// 1 / output scale.
        multiplier: f32,
        /// The result.
        range: Range,
    },
    /// f32 in the arena.
    F32(Span),
}

/// Softmax over rows of `channels` contiguous values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Softmax {
    /// Where it reads from.
    pub input: SoftmaxInput,
    /// Where it writes to.
    pub output: SoftmaxOutput,
    /// Values of a row.
    pub channels: u32,
}

/// Every byte of a span becomes `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    /// int8 in the arena.
    pub output: Span,
    /// The value.
    pub value: i8,
}

/// A strided copy; starts and strides in elements. Input and output do not overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// In the arena.
    pub input: Span,
    /// In the arena: the whole tensor, of which the copy may write a part.
    pub output: Span,
    /// Bytes of an element: 1, 2 or 4.
    pub elem_bytes: u8,
    /// The block, outermost dimension first; unused ones are 1.
    pub dims: [u32; MAX_RANK],
    /// Where the block starts in the input.
    pub input_start: u32,
    /// Distances in the input.
    pub input_strides: [u32; MAX_RANK],
    /// Where the block starts in the output.
    pub output_start: u32,
    /// Distances in the output.
    pub output_strides: [u32; MAX_RANK],
    /// 256 int8 constants that each value passes through, where the scales differ; only for
    /// elements of one byte.
    pub table: Option<Span>,
}

/// Product of two int8 tensors of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatMul {
    /// Left operand, `[M, K]`.
    pub lhs: Span,
    /// Right operand, `[K, N]`, with zero point 0; -128 counts as -127.
    pub rhs: Span,
    /// `[M, N]`: int8 where `range` is there, else f32.
    pub output: Span,
    /// Sizes and strides.
    pub geometry: MatMulGeometry,
    /// Zero point of the left operand.
    pub lhs_zero_point: i8,
    /// Left scale · right scale / output scale. Finite and positive.
    pub multiplier: f32,
    /// The int8 result; `None` gives `accumulator * multiplier` in f32.
    pub range: Option<Range>,
}

/// Layer normalization over rows of `channels` contiguous values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerNorm {
    /// int8 in the arena.
    pub input: Span,
    /// int8 in the arena.
    pub output: Span,
    /// Values of a row.
    pub channels: u32,
    /// f32 constants, `[channels]`, finite: the model's over the output scale.
    pub gamma: Span,
    /// f32 constants, `[channels]`, finite: the model's over the output scale.
    pub beta: Span,
    /// The model's times `(channels / input scale)^2`. Finite, and no less than the smallest normal f32.
    pub epsilon: f32,
    /// The result.
    pub range: Range,
}

/// Which recurrent cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cell {
    /// Gates i, o, f, c.
    Lstm,
    /// Gates z, r, h; the reset gate is applied after the product.
    Gru,
}

impl Cell {
    /// G: gates of one hidden unit.
    pub const fn gates(self) -> u32 {
        match self {
            Self::Lstm => 4,
            Self::Gru => 3,
        }
    }
}

/// A recurrent layer over a whole sequence, in one direction, after the product of its input.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recurrent {
    /// The cell.
    pub cell: Cell,
    /// In the arena: f32 `[T, B, G * H]`, what the input contributes to each gate.
    pub input: Span,
    /// In the arena: int8 `[T, B, H]`, the hidden states.
    pub output: Span,
    /// In the arena: f32 `[B, H]`, the state after the last step: c of an LSTM, h of a GRU.
    pub state: Span,
    /// T: time steps.
    pub steps: u32,
    /// B: sequences side by side.
    pub batch: u32,
    /// H: hidden units.
    pub hidden: u32,
    /// Whether time runs from the last step to the first.
    pub reverse: bool,
    /// int8 constants in [-127, 127], `[G * H, H]`.
    pub weights: Span,
    /// i32 constants, `[G * H]`, with `-range.zero_point * sum(weights)` in them.
    pub bias: Span,
    /// f32 constants, `[G * H]`, finite and positive.
    pub multiplier: Span,
    /// int8 constants, `[B, H]`: the hidden state before the first step.
    pub initial_hidden: Span,
    /// f32 constants of magnitude at most 2²⁰, `[B, H]`: the state before the first step.
    pub initial_state: Span,
    /// 1 / output scale: finite and positive.
    pub hidden_multiplier: f32,
    /// The hidden states.
    pub range: Range,
}
