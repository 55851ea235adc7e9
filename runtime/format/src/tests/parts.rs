//! A package with every operation in every form, in parts that a test can change before they are
//! encoded again.

use std::vec::Vec;

use crate::plan::*;
use crate::writer::{GoldenSample, PackageWriter, encode_golden, encode_plan};
use crate::{Error, Hash, Package, SectionKind};

/// The steps of [`Parts::everything`], by index.
pub(super) const CONV: usize = 0;
pub(super) const DEPTHWISE: usize = 1;
pub(super) const DENSE: usize = 2;
pub(super) const ADD: usize = 3;
pub(super) const MUL: usize = 4;
pub(super) const LOOKUP: usize = 5;
pub(super) const LOOKUP_F32: usize = 6;
pub(super) const MAX: usize = 7;
pub(super) const AVERAGE: usize = 8;
pub(super) const SOFTMAX_I8: usize = 9;
pub(super) const SOFTMAX_F32: usize = 10;
pub(super) const MATMUL: usize = 11;
pub(super) const MATMUL_F32: usize = 12;
pub(super) const LAYER_NORM: usize = 13;
pub(super) const FILL: usize = 14;
pub(super) const PAD: usize = 15;
pub(super) const TRANSPOSE: usize = 16;
pub(super) const LSTM: usize = 17;
pub(super) const GRU: usize = 18;
pub(super) const ELEMENTWISE: usize = 19;
pub(super) const CAST: usize = 20;
pub(super) const CONV_F32: usize = 21;
pub(super) const DEPTHWISE_F32: usize = 22;
pub(super) const AVERAGE_F32: usize = 23;
pub(super) const MAX_F32: usize = 24;
pub(super) const MATMUL_OF_F32: usize = 25;
pub(super) const LAYER_NORM_F32: usize = 26;
pub(super) const TO_F32: usize = 27;
pub(super) const TO_BOOL: usize = 28;
pub(super) const GATHER: usize = 29;
pub(super) const EMBED: usize = 30;
pub(super) const SCATTER: usize = 31;
pub(super) const TOP_K: usize = 32;
pub(super) const CONV_F16: usize = 33;
pub(super) const DEPTHWISE_I8: usize = 34;
pub(super) const QUANTIZE_ROWS: usize = 35;
pub(super) const GRU_F32: usize = 36;
pub(super) const LSTM_DYNAMIC: usize = 37;
pub(super) const CAST_TO_I16: usize = 38;
pub(super) const CAST_FROM_I16: usize = 39;
pub(super) const CONV_I16: usize = 40;
pub(super) const DEPTHWISE_I16: usize = 41;
pub(super) const AVERAGE_I16: usize = 42;
pub(super) const RESCALE_ROWS: usize = 43;
pub(super) const SUPPRESSION: usize = 44;

/// What a package is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parts {
    pub head: Head,
    pub inputs: Vec<Input<'static>>,
    pub outputs: Vec<Output<'static>>,
    pub steps: Vec<Step<'static>>,
    pub weights: Vec<u8>,
    pub golden: Vec<(GoldenSample, Hash)>,
}

pub(super) const fn span(offset: u32, bytes: u32) -> Span {
    Span { offset, bytes }
}

/// Slices at a multiple of 64, as a mapped file lies.
pub(super) fn with_aligned<R>(bytes: &[u8], run: impl FnOnce(&[u8]) -> R) -> R {
    let mut memory = std::vec![0; bytes.len() + 63];
    let start = memory.as_ptr().align_offset(64);
    memory[start..start + bytes.len()].copy_from_slice(bytes);
    run(&memory[start..start + bytes.len()])
}

/// What the reader says of a package.
pub(super) fn verdict(package: &[u8]) -> Result<(), Error> {
    with_aligned(package, |bytes| Package::parse(bytes).map(|_| ()))
}

/// The constants of a package, each at a multiple of four.
pub(super) struct Constants(Vec<u8>);

impl Constants {
    pub fn bytes(&mut self, bytes: impl IntoIterator<Item = u8>) -> Span {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        let offset = self.0.len();
        self.0.extend(bytes);
        span(offset as u32, (self.0.len() - offset) as u32)
    }

    fn weights(&mut self, count: u32) -> Span {
        self.bytes((0..count).map(|i| (i * 73 % 255) as i32 - 127).map(|w| w as i8 as u8))
    }

    fn ints(&mut self, values: impl IntoIterator<Item = i32>) -> Span {
        self.bytes(values.into_iter().flat_map(i32::to_le_bytes))
    }

    pub fn floats(&mut self, values: impl IntoIterator<Item = f32>) -> Span {
        self.bytes(values.into_iter().flat_map(f32::to_le_bytes))
    }
}

fn dims(sizes: &[u32]) -> Dims {
    let mut all = [1; MAX_RANK];
    all[..sizes.len()].copy_from_slice(sizes);
    Dims { rank: sizes.len() as u8, sizes: all }
}

pub(super) const FULL: Range = Range { zero_point: -3, min: -128, max: 127 };

impl Parts {
    /// Every operation, and every form of each.
    pub fn everything() -> Self {
        let mut constants = Constants(Vec::new());
        let pixels = Pixels {
            tables: constants.bytes((0..512).map(|p| (p % 256) as u8 ^ 0x80)),
            reverse_channels: true,
            strides: [32, 8, 2, 1],
            from_image: "{}",
        };
        let quant = Quant { scale: 0.25, zero_point: 5 };
        let input = Input {
            name: "image",
            dims: dims(&[1, 2, 4, 4]),
            buffer: span(0, 32),
            dtype: ElemType::I8,
            quant,
            limits: None,
            arena_dims: [1, 4, 4, 2],
            strides: [32, 4, 1, 16],
            pixels: Some(pixels),
        };
        let padded = Output {
            name: "padded",
            dims: dims(&[1, 5, 6, 2]),
            buffer: span(640, 60),
            dtype: ElemType::I8,
            quant: Some(quant),
            exact: true,
        };
        let (name, buffer) = ("transposed", span(704, 32));
        let dtype = ElemType::F32;
        let transposed = Output { name, dims: dims(&[2, 4]), buffer, dtype, quant: None, exact: false };
        let steps = Self::products(&mut constants)
            .into_iter()
            .chain(Self::element_wise(&mut constants))
            .chain(Self::pools())
            .chain(Self::softmaxes(&mut constants))
            .chain(Self::attention(&mut constants))
            .chain(Self::moves(&mut constants))
            .chain(Self::recurrent(&mut constants))
            .chain(Self::floats(&mut constants))
            .chain(Self::integers(&mut constants))
            .chain(Self::schemes(&mut constants))
            .chain(Self::int16(&mut constants))
            .chain(Self::rescale(&mut constants))
            .chain(Self::suppression());
        let steps: Vec<Step<'_>> = steps
            .map(|(name, op)| {
                let scratch = match name {
                    "conv" => span(1024, 256),
                    "matmul" => span(1024, 192),
                    "lstm" => span(1152, 128),
                    "gru" => span(1216, 64),
                    "matmul_f32" => span(1024, 256),
                    "conv_f16" => span(320, 128),
                    "depthwise_i8" => span(384, 72),
                    "gru_f32" => span(960, 64),
                    "lstm_dynamic" => span(960, 192),
                    "suppression" => span(1024, 64),
                    _ => span(0, 0),
                };
                Step { name, scratch, op }
            })
            .collect();
        let (inputs, outputs) = (std::vec![input], std::vec![padded, transposed]);
        let counts = [inputs.len(), outputs.len(), steps.len()].map(|count| count as u32);
        let [inputs_count, outputs_count, steps_count] = counts;
        Self {
            head: Head {
                arena_bytes: 1280,
                inputs: inputs_count,
                outputs: outputs_count,
                steps: steps_count,
                macs: 1 << 40,
            },
            inputs,
            outputs,
            steps,
            weights: constants.0,
            golden: std::vec![
                (GoldenSample::Stored((0..32).collect()), [0x5a; 32]),
                (GoldenSample::Seeded(u64::MAX), [0xa5; 32]),
            ],
        }
    }

    fn products(constants: &mut Constants) -> Vec<(&'static str, Op)> {
        let conv = Conv {
            input: span(0, 32),
            output: span(64, 12),
            window: Window {
                input_dims: [1, 4, 4, 2],
                output_dims: [1, 2, 2, 3],
                kernel: [3, 3],
                stride: [2, 2],
                dilation: [1, 1],
                pad: [1, 1],
            },
            groups: 1,
            input_zero_point: 5,
            weights: constants.weights(54),
            bias: constants.ints([1, -2, i32::MAX]),
            multiplier: constants.floats([0.5, 0.25, 1e-6]),
            range: Some(FULL),
            residual: Some(Residual { span: span(80, 12), multiplier: 0.75 }),
            same_weights_as: None,
        };
        let depthwise = Conv {
            output: span(128, 32),
            window: Window { output_dims: [1, 4, 4, 2], stride: [1, 1], ..conv.window },
            groups: 2,
            weights: constants.weights(18),
            bias: constants.ints([7, 8]),
            multiplier: constants.floats([0.125, 2.0]),
            range: Some(Range { zero_point: -3, min: -3, max: 100 }),
            residual: None,
            ..conv
        };
        let dense = Conv {
            input: span(64, 12),
            output: span(192, 16),
            window: Window {
                input_dims: [1, 1, 1, 12],
                output_dims: [1, 1, 1, 4],
                kernel: [1, 1],
                stride: [1, 1],
                pad: [0, 0],
                ..conv.window
            },
            weights: constants.weights(48),
            bias: constants.ints([0, 1, 2, 3]),
            multiplier: constants.floats([0.1, 0.2, 0.3, 0.4]),
            range: None,
            residual: None,
            ..conv
        };
        [("conv", conv), ("depthwise", depthwise), ("dense", dense)].map(|(n, c)| (n, Op::Conv(c))).into()
    }

    fn element_wise(constants: &mut Constants) -> Vec<(&'static str, Op)> {
        let add = Binary {
            op: BinaryOp::Add { lhs_multiplier: 0.5, rhs_multiplier: -0.75 },
            lhs: Operand::Arena(span(0, 32)),
            rhs: Operand::Arena(span(128, 32)),
            output: span(0, 32),
            lhs_zero_point: 5,
            rhs_zero_point: -3,
            range: FULL,
            dims: [1, 4, 4, 2],
            lhs_strides: [32, 8, 2, 1],
            rhs_strides: [32, 8, 2, 1],
        };
        let mul = Binary {
            op: BinaryOp::Mul { multiplier: 0.0625 },
            lhs: Operand::Arena(span(128, 32)),
            rhs: Operand::Constant(constants.bytes([3, 0xfd])),
            output: span(256, 32),
            rhs_strides: [0, 0, 0, 1],
            ..add
        };
        let table = constants.bytes(0..=255);
        let lookup = Lookup { input: span(256, 32), output: span(256, 32), table, to_f32: false };
        let table = constants.floats((0..256).map(|i| i as f32 - 133.0));
        let to_f32 = Lookup { input: span(64, 12), output: span(320, 48), table, to_f32: true };
        std::vec![
            ("add", Op::Binary(add)),
            ("mul", Op::Binary(mul)),
            ("lookup", Op::Lookup(lookup)),
            ("dequantize", Op::Lookup(to_f32)),
        ]
    }

    fn pools() -> Vec<(&'static str, Op)> {
        let max = Pool {
            op: PoolOp::Max,
            input: span(256, 32),
            output: span(384, 8),
            window: Window {
                input_dims: [1, 4, 4, 2],
                output_dims: [1, 2, 2, 2],
                kernel: [2, 2],
                stride: [2, 2],
                dilation: [1, 1],
                pad: [0, 0],
            },
            pad_after: [0, 0],
        };
        let op =
            PoolOp::Average { input_zero_point: -3, multiplier: 1.5, count_include_pad: true, range: FULL };
        let average = Pool {
            op,
            output: span(448, 8),
            window: Window { kernel: [3, 3], pad: [1, 1], ..max.window },
            pad_after: [0, 0],
            ..max
        };
        std::vec![("max", Op::Pool(max)), ("average", Op::Pool(average))]
    }

    fn softmaxes(constants: &mut Constants) -> Vec<(&'static str, Op)> {
        let table = constants.bytes((0..256_u16).flat_map(|d| (u16::MAX / (1 + d)).to_le_bytes()));
        let from_i8 = Softmax {
            input: SoftmaxInput::I8 { input: span(384, 8), table },
            output: SoftmaxOutput::F32(span(512, 32)),
            channels: 2,
        };
        let output = span(576, 8);
        let range = Range { zero_point: -128, min: -128, max: 127 };
        let to_i8 = Softmax {
            input: SoftmaxInput::F32(span(512, 32)),
            output: SoftmaxOutput::I8 { output, multiplier: 256.0, range },
            channels: 4,
        };
        std::vec![("softmax_of_int8", Op::Softmax(from_i8)), ("softmax_of_f32", Op::Softmax(to_i8))]
    }

    fn moves(constants: &mut Constants) -> Vec<(&'static str, Op)> {
        let fill = Fill { output: span(640, 60), value: 5 };
        let pad = Copy {
            input: span(384, 8),
            output: span(640, 60),
            elem_bytes: 1,
            dims: [1, 1, 1, 2, 2, 2],
            input_start: 0,
            input_strides: [0, 0, 0, 4, 2, 1],
            output_start: 14,
            output_strides: [0, 0, 0, 12, 2, 1],
            table: Some(constants.bytes((0..=255).rev())),
        };
        let transpose = Copy {
            input: span(512, 32),
            output: span(704, 32),
            elem_bytes: 4,
            dims: [1, 1, 1, 1, 2, 4],
            input_strides: [0, 0, 0, 0, 1, 2],
            output_start: 0,
            output_strides: [0, 0, 0, 0, 4, 1],
            table: None,
            ..pad
        };
        std::vec![("fill", Op::Fill(fill)), ("pad", Op::Copy(pad)), ("transpose", Op::Copy(transpose))]
    }

    /// Heads of a tensor `[2, 2, 4]`, of rows, heads and columns.
    fn attention(constants: &mut Constants) -> Vec<(&'static str, Op)> {
        let matmul = MatMul {
            lhs: span(0, 16),
            rhs: span(16, 16),
            output: span(768, 8),
            geometry: MatMulGeometry {
                batch: [1, 2],
                sizes: [2, 4, 2],
                lhs_strides: [0, 4, 8],
                rhs_strides: [0, 4, 1, 8],
                output_strides: [8, 4, 2],
            },
            lhs_zero_point: 5,
            multiplier: 0.125,
            range: Some(FULL),
        };
        let to_f32 = MatMul {
            lhs: span(768, 8),
            output: span(832, 64),
            geometry: MatMulGeometry {
                sizes: [2, 2, 4],
                lhs_strides: [0, 4, 2],
                rhs_strides: [0, 4, 8, 1],
                output_strides: [0, 4, 8],
                ..matmul.geometry
            },
            range: None,
            ..matmul
        };
        let norm = LayerNorm {
            input: span(0, 32),
            output: span(896, 32),
            channels: 8,
            gamma: constants.floats((1..9).map(|c| c as f32)),
            beta: constants.floats((1..9).map(|c| -0.5 * c as f32)),
            epsilon: 0.0625,
            range: FULL,
        };
        std::vec![
            ("matmul", Op::MatMul(matmul)),
            ("matmul_to_f32", Op::MatMul(to_f32)),
            ("layer_norm", Op::LayerNorm(norm)),
        ]
    }

    fn recurrent(constants: &mut Constants) -> Vec<(&'static str, Op)> {
        let lstm = Recurrent {
            cell: Cell::Lstm,
            input: span(768, 128),
            output: span(896, 8),
            state: span(904, 8),
            steps: 4,
            batch: 1,
            hidden: 2,
            reverse: false,
            weights: constants.weights(16),
            bias: constants.ints(0..8),
            multiplier: constants.floats((1..9).map(|i| i as f32 / 64.0)),
            initial_hidden: constants.bytes([0xfd, 0xfd]),
            initial_state: constants.floats([0.0, -1048576.0]),
            hidden_multiplier: 127.0,
            range: FULL,
        };
        let gru = Recurrent {
            cell: Cell::Gru,
            input: span(768, 96),
            output: span(912, 8),
            state: span(920, 16),
            steps: 2,
            batch: 2,
            reverse: true,
            weights: constants.weights(12),
            bias: constants.ints(0..6),
            multiplier: constants.floats((1..7).map(|i| i as f32 / 32.0)),
            initial_hidden: constants.bytes([1, 2, 3, 4]),
            initial_state: constants.floats([0.5, 1.0, -0.5, -1.0]),
            hidden_multiplier: 100.0,
            ..lstm
        };
        std::vec![("lstm", Op::Recurrent(lstm)), ("gru", Op::Recurrent(gru))]
    }

    /// The plan's section; the head's counts are those of the slices.
    pub fn plan(&self) -> Vec<u8> {
        encode_plan(self.head, &self.inputs, &self.outputs, &self.steps)
    }

    /// The package.
    pub fn package(&self) -> Vec<u8> {
        self.package_of(self.plan())
    }

    /// The package with another plan, every hash right.
    pub fn package_of(&self, plan: Vec<u8>) -> Vec<u8> {
        PackageWriter::new()
            .section(SectionKind::Plan, "", plan)
            .section(SectionKind::Weights, "", self.weights.clone())
            .section(SectionKind::Prepacked, "nr8_kr4", std::vec![0x11; 64])
            .section(SectionKind::Golden, "", encode_golden(&self.golden))
            .section(SectionKind::Provenance, "", b"{\"tool\":\"test\"}".to_vec())
            .finish()
    }

    /// What the reader says of it.
    pub fn verdict(&self) -> Result<(), Error> {
        verdict(&self.package())
    }
}

/// The operation of a step, to be changed.
macro_rules! operation {
    ($name:ident, $variant:ident) => {
        pub(super) fn $name(parts: &mut Parts, step: usize) -> &mut $variant {
            match &mut parts.steps[step].op {
                Op::$variant(op) => op,
                other => panic!("step {step} is {other:?}"),
            }
        }
    };
}

operation!(conv, Conv);
operation!(binary, Binary);
operation!(lookup, Lookup);
operation!(pool, Pool);
operation!(softmax, Softmax);
operation!(fill, Fill);
operation!(copy, Copy);
operation!(mat_mul, MatMul);
operation!(layer_norm, LayerNorm);
operation!(recurrent, Recurrent);
operation!(elementwise, Elementwise);
operation!(conv_f32, ConvF32);
operation!(pool_f32, PoolF32);
operation!(mat_mul_f32, MatMulF32);
operation!(layer_norm_f32, LayerNormF32);
operation!(convert, Convert);
operation!(gather, Gather);
operation!(scatter, Scatter);
operation!(top_k, TopK);
operation!(suppression, NonMaxSuppression);
operation!(quantize_rows, QuantizeRows);
operation!(rescale_rows, RescaleRows);
operation!(recurrent_f32, RecurrentF32);
operation!(conv_i16, ConvI16);
operation!(pool_i16, PoolI16);
