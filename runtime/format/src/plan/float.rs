//! Operations in f32, and casts from and to int8 and int16.

use serde::{Deserialize, Serialize};

use super::{Cell, MatMulGeometry, Operand, Quant, Range, Span, Window};

/// Channels of a panel of f32 weights.
pub const F32_PANEL: u32 = 16;

/// Operands of an [`Elementwise`].
pub const F32_OPERANDS: usize = 3;

/// Registers of an [`Elementwise`]'s program.
pub const F32_REGISTERS: u8 = 8;

/// An operand of an [`Elementwise`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Where it lies.
    pub operand: Operand,
    /// What its elements are.
    pub elems: Elems,
    /// Distances in elements, by dimension of the output; 0 where it is broadcast.
    pub strides: [u32; 4],
}

/// What the elements of an operand are, and stand for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Elems {
    /// f32.
    F32,
    /// int8: `(x - zero_point) * scale`.
    I8(Quant),
    /// int16: `x * scale`.
    I16 {
        /// Finite and positive.
        scale: f32,
    },
}

/// What f32 results become.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Stored {
    /// They stay so.
    F32,
    /// int8: `quantize(x * multiplier)`.
    I8 {
        /// 1 / output scale: finite and positive.
        multiplier: f32,
        /// The result.
        range: Range,
    },
    /// int16: the same with a zero point of 0.
    I16 {
        /// 1 / output scale: finite and positive.
        multiplier: f32,
        /// The least and the greatest result.
        bounds: [i16; 2],
    },
}

/// A program of [`Instruction`]s, run for each element: the result is what the last one gives. Reads and
/// writes int8, int16 or f32.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Elementwise {
    /// What [`Function::Load`] loads.
    pub sources: [Option<Source>; F32_OPERANDS],
    /// In the arena; overlaps no source.
    pub output: Span,
    /// What the result becomes.
    pub stored: Stored,
    /// Dimensions of the output, contiguous in this order; unused ones are 1.
    pub dims: [u32; 4],
    /// Constants: [`Instruction`]s of 8 bytes, 1 to 256 of them.
    pub program: Span,
}

/// One instruction: `register[to] = function(register[a], register[b])`; of a function of three, `register[to]` is
/// the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Instruction {
    /// What it does.
    pub function: Function,
    /// The register that it writes.
    pub to: u8,
    /// The register that it reads; of [`Function::Load`] the source.
    pub a: u8,
    /// The other register of a function of two, or [`Instruction::VALUE`].
    pub b: u8,
    /// What [`Function::Constant`], and b where it says so, stand for.
    pub value: f32,
}

impl Instruction {
    /// Bytes of an instruction.
    pub const BYTES: usize = 8;
    /// The `b` that stands for `value`.
    pub const VALUE: u8 = 255;

    /// Function, to, a, b, and the value, as they lie in the constants.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let [v0, v1, v2, v3] = self.value.to_le_bytes();
        [self.function as u8, self.to, self.a, self.b, v0, v1, v2, v3]
    }

    /// `None` where no function has the code.
    pub fn decode([code, to, a, b, v0, v1, v2, v3]: [u8; Self::BYTES]) -> Option<Self> {
        let function = *Function::ALL.get(code as usize)?;
        Some(Self { function, to, a, b, value: f32::from_le_bytes([v0, v1, v2, v3]) })
    }
}

/// What an instruction does; its code is its place here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// An element of a source; as [`Elems`] says.
    Load,
    /// The constant.
    Constant,
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`
    Div,
    /// `b` where `a < b`, else `a`
    Max,
    /// `b` where `a > b`, else `a`
    Min,
    /// `a` to the power of `b`
    Pow,
    /// 1 where `a > b`, else 0
    Greater,
    /// Magnitude
    Abs,
    /// `-a`
    Neg,
    /// Largest integer that is not above
    Floor,
    /// Smallest integer that is not below
    Ceil,
    /// Nearest integer, ties to even
    Round,
    /// Square root
    Sqrt,
    /// Exponential
    Exp,
    /// Natural logarithm
    Log,
    /// Hyperbolic tangent
    Tanh,
    /// Error function
    Erf,
    /// Sine
    Sin,
    /// Cosine
    Cos,
    /// `a` where register `to` is not 0, else `b`; what is not taken leaves no trace
    Select,
    /// 1 where `a >= b`, else 0
    GreaterOrEqual,
    /// 1 where `a == b`, else 0
    Equal,
}

impl Function {
    /// Every function, by its code.
    pub const ALL: [Self; 25] = [
        Self::Load,
        Self::Constant,
        Self::Add,
        Self::Sub,
        Self::Mul,
        Self::Div,
        Self::Max,
        Self::Min,
        Self::Pow,
        Self::Greater,
        Self::Abs,
        Self::Neg,
        Self::Floor,
        Self::Ceil,
        Self::Round,
        Self::Sqrt,
        Self::Exp,
        Self::Log,
        Self::Tanh,
        Self::Erf,
        Self::Sin,
        Self::Cos,
        Self::Select,
        Self::GreaterOrEqual,
        Self::Equal,
    ];

    /// How many registers it reads.
    pub const fn arity(self) -> u32 {
        match self {
            Self::Load | Self::Constant => 0,
            Self::Select => 3,
            Self::GreaterOrEqual | Self::Equal => 2,
            _ if (self as u8) < Self::Abs as u8 => 2,
            _ => 1,
        }
    }
}

/// How weights that are multiplied in f32 lie in the package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WeightFormat {
    /// f32, finite.
    F32,
    /// IEEE 754 half precision, finite; the number that it is.
    F16,
    /// int8, times the scale of its output channel, rounded once.
    I8 {
        /// f32 constants, `[out_channels]`, finite.
        scales: Span,
    },
}

impl WeightFormat {
    /// Bytes of a weight.
    pub const fn elem_bytes(self) -> u32 {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::I8 { .. } => 1,
        }
    }
}

/// Convolution in f32 over `[N, H, W, C]`. Where `groups == in_channels == out_channels > 1` (depthwise)
/// the weights are `[kh, kw, C]`, else `[groups][panels][kh * kw * in_channels / groups][16]`, a panel having
/// [`F32_PANEL`] output channels of a group, and zeros beyond the last.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvF32 {
    /// f32 in the arena.
    pub input: Span,
    /// f32 in the arena.
    pub output: Span,
    /// Where its kernel lies over the input.
    pub window: Window,
    /// Groups.
    pub groups: u32,
    /// Constants in panels.
    pub weights: Span,
    /// What they are; other than f32 they become that in scratch memory, a panel at a time.
    pub format: WeightFormat,
    /// f32 constants, `[out_channels]`, finite.
    pub bias: Span,
    /// Least and largest result; infinite where there is none.
    pub bounds: [f32; 2],
}

/// Which pooling of f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PoolF32Op {
    /// Maximum.
    Max,
    /// Minimum.
    Min,
    /// Sum.
    Sum,
    /// Sum over the number of positions.
    Average {
        /// Whether the padding counts.
        count_include_pad: bool,
    },
}

/// Pooling in f32 over `[N, H, W, C]`; reductions are such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolF32 {
    /// The operation.
    pub op: PoolF32Op,
    /// f32 in the arena.
    pub input: Span,
    /// f32 in the arena.
    pub output: Span,
    /// Where its window lies over the input.
    pub window: Window,
    /// Padding below and to the right, which an average may count.
    pub pad_after: [u32; 2],
}

/// Product of two f32 tensors of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatMulF32 {
    /// Left operand, `[M, K]`.
    pub lhs: Span,
    /// Right operand, `[K, N]`.
    pub rhs: Span,
    /// `[M, N]`.
    pub output: Span,
    /// Sizes and strides.
    pub geometry: MatMulGeometry,
}

/// Layer normalization in f32 over rows of `channels` contiguous values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerNormF32 {
    /// f32 in the arena.
    pub input: Span,
    /// f32 in the arena.
    pub output: Span,
    /// Values of a row.
    pub channels: u32,
    /// f32 constants, `[channels]`, finite.
    pub gamma: Span,
    /// f32 constants, `[channels]`, finite.
    pub beta: Span,
    /// Finite and not negative.
    pub epsilon: f32,
}

/// f32 to int8, each row at a scale of its own, which its largest magnitude m gives:
/// `scale = m / (127 - zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuantizeRows {
    /// f32 in the arena.
    pub input: Span,
    /// int8 in the arena.
    pub output: Span,
    /// f32 in the arena: one for each row.
    pub scales: Span,
    /// Values of a row.
    pub channels: u32,
    /// In [-128, 0]: 0 for rows of either sign, -128 for those that are never negative.
    pub zero_point: i8,
}

/// What a product made of quantized rows, back to f32, in place: `clamp(a * scale + bias[c])`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RescaleRows {
    /// f32 in the arena: rows of as many values as there are biases.
    pub tensor: Span,
    /// f32 in the arena: each for as many rows.
    pub scales: Span,
    /// f32 constants, `[C]`, finite.
    pub bias: Span,
    /// Least and largest result; infinite where there is none.
    pub bounds: [f32; 2],
}

/// What the hidden states of a [`RecurrentF32`] are multiplied by, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecurrentProduct {
    /// In f32: weights in panels, as of a [`ConvF32`] of 1 × 1 from H to G * H channels.
    F32(WeightFormat),
    /// In int8, `[G * H, H]` in [-127, 127]: the hidden states are quantized in every time step as
    /// [`QuantizeRows`] does with zero point 0.
    Dynamic {
        /// i32 constants, `[G * H]`, added to the sums; usually 0.
        sums: Span,
        /// f32 constants, `[G * H]`, finite and positive.
        multiplier: Span,
    },
}

/// A recurrent layer over a whole sequence, in one direction, after the product of its input, with hidden
/// states of f32.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecurrentF32 {
    /// The cell.
    pub cell: Cell,
    /// In the arena: f32 `[T, B, G * H]`, what the input contributes to each gate.
    pub input: Span,
    /// In the arena: f32 `[T, B, H]`, the hidden states.
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
    /// Constants.
    pub weights: Span,
    /// What they are.
    pub product: RecurrentProduct,
    /// f32 constants, `[G * H]`, finite.
    pub bias: Span,
    /// f32 constants of magnitude at most 2²⁰, `[B, H]`: the hidden state before the first step.
    pub initial_hidden: Span,
    /// f32 constants of magnitude at most 2²⁰, `[B, H]`: the state before the first step.
    pub initial_state: Span,
}
