//! The operations in f32: one of each for [`Parts`], and those that lie.

use std::vec::Vec;

use super::hostile::{OVERLAPS_INPUT, OVERLAPS_OPERAND, at, check, check_allowed};
use super::parts::*;
use crate::Place;
use crate::plan::*;

const OVERLAPS_SOURCE: &str = "output, which overlaps a source";

fn instruction(function: Function, to: u8, a: u8, b: u8, value: f32) -> [u8; Instruction::BYTES] {
    Instruction { function, to, a, b, value }.encode()
}

impl Parts {
    pub(super) fn floats(constants: &mut Constants) -> Vec<(&'static str, Op)> {
        let elems = Elems::I8(Quant { scale: 0.25, zero_point: 5 });
        let image = Source { operand: Operand::Arena(span(0, 32)), elems, strides: [32, 8, 2, 1] };
        let factors = Operand::Constant(constants.floats([0.5, -3.0]));
        let program = [
            instruction(Function::Load, 0, 0, 0, 0.0),
            instruction(Function::Load, 1, 1, 0, 0.0),
            instruction(Function::Mul, 0, 0, 1, 0.0),
            instruction(Function::Exp, 7, 0, 0, 0.0),
            instruction(Function::Max, 0, 7, Instruction::VALUE, -1.5),
        ];
        let elementwise = Elementwise {
            sources: [
                Some(image),
                Some(Source { operand: factors, elems: Elems::F32, strides: [0, 0, 0, 1] }),
                None,
            ],
            output: span(128, 128),
            stored: Stored::F32,
            dims: [1, 4, 4, 2],
            program: constants.bytes(program.concat()),
        };
        let floats = Source { operand: Operand::Arena(span(128, 128)), elems: Elems::F32, ..image };
        let cast = Elementwise {
            sources: [Some(floats), None, None],
            output: span(0, 32),
            stored: Stored::I8 { multiplier: 4.0, range: FULL },
            program: constants.bytes(instruction(Function::Load, 0, 0, 0, 0.0)),
            ..elementwise
        };
        let conv = ConvF32 {
            input: span(128, 128),
            output: span(256, 48),
            window: Window {
                input_dims: [1, 4, 4, 2],
                output_dims: [1, 2, 2, 3],
                kernel: [3, 3],
                stride: [2, 2],
                dilation: [1, 1],
                pad: [1, 1],
            },
            groups: 1,
            weights: constants.floats((0..288).map(|i| if i % 16 < 3 { i as f32 / 64.0 } else { 0.0 })),
            format: WeightFormat::F32,
            bias: constants.floats([0.5, -1.0, 2.0]),
            bounds: [0.0, f32::INFINITY],
        };
        let depthwise = ConvF32 {
            output: span(256, 128),
            window: Window { output_dims: [1, 4, 4, 2], stride: [1, 1], ..conv.window },
            groups: 2,
            weights: constants.floats((0..18).map(|i| i as f32 / 16.0)),
            bias: constants.floats([0.0, 1.0]),
            bounds: [f32::NEG_INFINITY, 6.0],
            ..conv
        };
        let average = PoolF32 {
            op: PoolF32Op::Average { count_include_pad: true },
            input: span(128, 128),
            output: span(320, 32),
            window: Window {
                input_dims: [1, 4, 4, 2],
                output_dims: [1, 2, 2, 2],
                kernel: [3, 3],
                stride: [2, 2],
                dilation: [1, 1],
                pad: [1, 1],
            },
            pad_after: [0, 0],
        };
        let max = PoolF32 {
            op: PoolF32Op::Max,
            output: span(384, 32),
            window: Window { kernel: [2, 2], pad: [0; 2], ..average.window },
            pad_after: [0; 2],
            ..average
        };
        let mat_mul = MatMulF32 {
            lhs: span(128, 64),
            rhs: span(192, 64),
            output: span(384, 32),
            geometry: MatMulGeometry {
                batch: [1, 2],
                sizes: [2, 4, 2],
                lhs_strides: [0, 4, 8],
                rhs_strides: [0, 4, 1, 8],
                output_strides: [8, 4, 2],
            },
        };
        let layer_norm = LayerNormF32 {
            input: span(128, 128),
            output: span(256, 128),
            channels: 8,
            gamma: constants.floats((0..8).map(|c| c as f32)),
            beta: constants.floats((0..8).map(|c| -c as f32)),
            epsilon: 0.0625,
        };
        std::vec![
            ("elementwise", Op::Elementwise(elementwise)),
            ("cast", Op::Elementwise(cast)),
            ("conv_f32", Op::ConvF32(conv)),
            ("depthwise_f32", Op::ConvF32(depthwise)),
            ("average_f32", Op::PoolF32(average)),
            ("max_f32", Op::PoolF32(max)),
            ("matmul_f32", Op::MatMulF32(mat_mul)),
            ("layer_norm_f32", Op::LayerNormF32(layer_norm)),
        ]
    }
}

/// Writes an instruction of the element-wise step.
fn rewrite(parts: &mut Parts, index: usize, instruction: [u8; Instruction::BYTES]) {
    let start = elementwise(parts, ELEMENTWISE).program.offset as usize + index * Instruction::BYTES;
    parts.weights[start..][..Instruction::BYTES].copy_from_slice(&instruction);
}

fn source(parts: &mut Parts, index: usize) -> &mut Source {
    elementwise(parts, ELEMENTWISE).sources[index].as_mut().unwrap()
}

pub(super) fn write(parts: &mut Parts, span: Span, value: f32) {
    parts.weights[span.offset as usize..][..4].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn programs_that_lie_are_refused() {
    check(&[
        ("a function that is none", at(ELEMENTWISE), "program", |p| {
            rewrite(p, 2, [Function::ALL.len() as u8, 0, 0, 1, 0, 0, 0, 0]);
        }),
        ("a register that is none", at(ELEMENTWISE), "program", |p| {
            rewrite(p, 3, instruction(Function::Exp, 8, 0, 0, 0.0));
        }),
        ("a register that was not written", at(ELEMENTWISE), "program", |p| {
            rewrite(p, 3, instruction(Function::Exp, 7, 2, 0, 0.0));
        }),
        ("a right operand that was not written", at(ELEMENTWISE), "program", |p| {
            rewrite(p, 2, instruction(Function::Mul, 0, 0, 2, 0.0));
        }),
        ("a right operand that is none", at(ELEMENTWISE), "program", |p| {
            rewrite(p, 2, instruction(Function::Mul, 0, 0, 200, 0.0));
        }),
        ("a condition that was not written", at(ELEMENTWISE), "program", |p| {
            rewrite(p, 2, instruction(Function::Select, 5, 0, 1, 0.0));
        }),
        ("a comparison with what was not written", at(ELEMENTWISE), "program", |p| {
            rewrite(p, 2, instruction(Function::Equal, 5, 0, 6, 0.0));
        }),
        ("a value on the left", at(ELEMENTWISE), "program", |p| {
            rewrite(p, 2, instruction(Function::Mul, 0, Instruction::VALUE, 0, 0.0));
        }),
        ("a source that is not there", at(ELEMENTWISE), "program", |p| {
            rewrite(p, 1, instruction(Function::Load, 1, 2, 0, 0.0));
        }),
        ("a source that is none", at(ELEMENTWISE), "program", |p| {
            rewrite(p, 1, instruction(Function::Load, 1, 3, 0, 0.0));
        }),
        ("no instructions", at(ELEMENTWISE), "program", |p| elementwise(p, ELEMENTWISE).program.bytes = 0),
        ("half an instruction", at(ELEMENTWISE), "program", |p| {
            elementwise(p, ELEMENTWISE).program.bytes -= 4
        }),
        ("a program at an odd place", at(ELEMENTWISE), "program", |p| {
            elementwise(p, ELEMENTWISE).program.offset += 2;
        }),
        ("a program behind the constants", at(ELEMENTWISE), "program", |p| {
            elementwise(p, ELEMENTWISE).program.offset = 1 << 20;
        }),
        ("257 instructions", at(ELEMENTWISE), "program", |p| {
            let load = instruction(Function::Load, 0, 0, 0, 0.0);
            p.weights.resize(p.weights.len().next_multiple_of(4), 0);
            let program = span(p.weights.len() as u32, 257 * 8);
            p.weights.extend(load.repeat(257));
            elementwise(p, ELEMENTWISE).program = program;
        }),
    ]);
    check_allowed(&[("256 instructions", |p| {
        let load = instruction(Function::Load, 0, 0, 0, 0.0);
        p.weights.resize(p.weights.len().next_multiple_of(4), 0);
        let program = span(p.weights.len() as u32, 256 * 8);
        p.weights.extend(load.repeat(256));
        elementwise(p, ELEMENTWISE).program = program;
    })]);
}

#[test]
fn element_wise_steps_that_lie_are_refused() {
    check(&[
        ("output of one byte less", at(ELEMENTWISE), "output", |p| {
            elementwise(p, ELEMENTWISE).output.bytes -= 1
        }),
        ("output at an odd place", at(ELEMENTWISE), "output", |p| {
            elementwise(p, ELEMENTWISE).output.offset += 2
        }),
        ("output behind the arena", at(ELEMENTWISE), "output", |p| {
            elementwise(p, ELEMENTWISE).output.offset = 1280 - 124;
        }),
        ("output of int8 as large", at(CAST), "output", |p| elementwise(p, CAST).output.bytes = 128),
        ("dims of 0", at(ELEMENTWISE), "output", |p| elementwise(p, ELEMENTWISE).dims[1] = 0),
        ("output over a source", at(ELEMENTWISE), OVERLAPS_SOURCE, |p| {
            elementwise(p, ELEMENTWISE).output.offset = 28;
        }),
        ("output in place", at(CAST), OVERLAPS_SOURCE, |p| elementwise(p, CAST).output.offset = 128),
        ("multiplier 0", at(CAST), "multiplier", |p| {
            elementwise(p, CAST).stored = Stored::I8 { multiplier: 0.0, range: FULL };
        }),
        ("multiplier NaN", at(CAST), "multiplier", |p| {
            elementwise(p, CAST).stored = Stored::I8 { multiplier: f32::NAN, range: FULL };
        }),
        ("unordered range", at(CAST), "range", |p| {
            let range = Range { min: 127, max: -128, ..FULL };
            elementwise(p, CAST).stored = Stored::I8 { multiplier: 4.0, range };
        }),
        ("source that is too short", at(ELEMENTWISE), "source", |p| source(p, 0).strides[1] = 9),
        ("source behind the arena", at(ELEMENTWISE), "source", |p| {
            source(p, 0).operand = Operand::Arena(span(1270, 32));
        }),
        ("source of f32 that is too short", at(ELEMENTWISE), "source", |p| source(p, 0).elems = Elems::F32),
        ("source of f32 at an odd place", at(CAST), "source", |p| {
            elementwise(p, CAST).sources[0].as_mut().unwrap().operand = Operand::Arena(span(130, 128));
        }),
        ("scale 0", at(ELEMENTWISE), "scale", |p| {
            source(p, 0).elems = Elems::I8(Quant { scale: 0.0, zero_point: 0 });
        }),
        ("constant that is too short", at(ELEMENTWISE), "source", |p| source(p, 1).strides[3] = 2),
        ("constant behind the constants", at(ELEMENTWISE), "source", |p| {
            source(p, 1).operand = Operand::Constant(span(1 << 20, 8));
        }),
    ]);
}

#[test]
fn products_of_f32_that_lie_are_refused() {
    check(&[
        ("batch of the output", at(CONV_F32), "output_dims", |p| {
            conv_f32(p, CONV_F32).window.output_dims[0] = 2
        }),
        ("input of one byte less", at(CONV_F32), "input", |p| conv_f32(p, CONV_F32).input.bytes -= 1),
        ("input as of int8", at(CONV_F32), "input", |p| conv_f32(p, CONV_F32).input.bytes = 32),
        ("output at an odd place", at(CONV_F32), "output", |p| conv_f32(p, CONV_F32).output.offset += 1),
        ("output over the input", at(CONV_F32), OVERLAPS_INPUT, |p| {
            conv_f32(p, CONV_F32).output.offset = 252
        }),
        ("stride 0", at(CONV_F32), "window", |p| conv_f32(p, CONV_F32).window.stride[0] = 0),
        ("padding as far as the window", at(CONV_F32), "window", |p| conv_f32(p, CONV_F32).window.pad[0] = 3),
        ("no groups", at(CONV_F32), "groups", |p| conv_f32(p, CONV_F32).groups = 0),
        ("groups that divide nothing", at(CONV_F32), "groups", |p| conv_f32(p, CONV_F32).groups = 2),
        ("weights of one channel less", at(CONV_F32), "weights", |p| {
            conv_f32(p, CONV_F32).weights.bytes -= 64
        }),
        ("a depthwise one's in panels", at(DEPTHWISE_F32), "weights", |p| {
            conv_f32(p, DEPTHWISE_F32).weights = conv_f32(p, CONV_F32).weights;
        }),
        ("weights that are not finite", at(CONV_F32), "weights", |p| {
            let weights = conv_f32(p, CONV_F32).weights;
            write(p, weights, f32::INFINITY);
        }),
        ("bias that is no number", at(CONV_F32), "bias", |p| {
            let bias = conv_f32(p, CONV_F32).bias;
            write(p, bias, f32::NAN);
        }),
        ("bounds that are no number", at(CONV_F32), "bounds", |p| conv_f32(p, CONV_F32).bounds[0] = f32::NAN),
        ("unordered bounds", at(CONV_F32), "bounds", |p| conv_f32(p, CONV_F32).bounds = [1.0, 0.5]),
        ("lhs that is too short", at(MATMUL_OF_F32), "lhs", |p| {
            mat_mul_f32(p, MATMUL_OF_F32).geometry.lhs_strides[2] = 9;
        }),
        ("rhs that is too short", at(MATMUL_OF_F32), "rhs", |p| {
            mat_mul_f32(p, MATMUL_OF_F32).geometry.rhs_strides[3] = 9;
        }),
        ("output over an operand", at(MATMUL_OF_F32), OVERLAPS_OPERAND, |p| {
            mat_mul_f32(p, MATMUL_OF_F32).output.offset = 252;
        }),
        ("output strides that meet", at(MATMUL_OF_F32), "output_strides", |p| {
            mat_mul_f32(p, MATMUL_OF_F32).geometry.output_strides = [8, 2, 2];
        }),
        ("sizes of 0", at(MATMUL_OF_F32), "sizes", |p| mat_mul_f32(p, MATMUL_OF_F32).geometry.sizes[1] = 0),
        ("too little scratch", at(MATMUL_OF_F32), "scratch, which is too small", |p| {
            p.steps[MATMUL_OF_F32].scratch.bytes = 192;
        }),
        ("scratch over the output", at(MATMUL_OF_F32), "scratch, which overlaps a tensor", |p| {
            p.steps[MATMUL_OF_F32].scratch.offset = 320;
        }),
    ]);
}

#[test]
fn reductions_of_f32_that_lie_are_refused() {
    check(&[
        ("channels", at(MAX_F32), "output_dims", |p| pool_f32(p, MAX_F32).window.output_dims[3] = 1),
        ("kernel 0", at(MAX_F32), "window", |p| pool_f32(p, MAX_F32).window.kernel[1] = 0),
        ("input as of int8", at(MAX_F32), "input", |p| pool_f32(p, MAX_F32).input.bytes = 32),
        ("output over the input", at(MAX_F32), OVERLAPS_INPUT, |p| pool_f32(p, MAX_F32).output.offset = 252),
        ("more positions than f32 counts", at(AVERAGE_F32), "kernel, which is too large", |p| {
            pool_f32(p, AVERAGE_F32).window.kernel = [1 << 12, (1 << 12) + 1];
        }),
        ("channels 0", at(LAYER_NORM_F32), "channels", |p| layer_norm_f32(p, LAYER_NORM_F32).channels = 0),
        ("channels that divide nothing", at(LAYER_NORM_F32), "channels", |p| {
            layer_norm_f32(p, LAYER_NORM_F32).channels = 7;
        }),
        ("gamma that is too short", at(LAYER_NORM_F32), "gamma", |p| {
            layer_norm_f32(p, LAYER_NORM_F32).gamma.bytes -= 4;
        }),
        ("beta that is no number", at(LAYER_NORM_F32), "beta", |p| {
            let beta = layer_norm_f32(p, LAYER_NORM_F32).beta;
            write(p, beta, f32::NAN);
        }),
        ("negative epsilon", at(LAYER_NORM_F32), "epsilon", |p| {
            layer_norm_f32(p, LAYER_NORM_F32).epsilon = -1e-9;
        }),
        ("output of another size", at(LAYER_NORM_F32), "output", |p| {
            layer_norm_f32(p, LAYER_NORM_F32).output.bytes = 64;
        }),
        ("output over the input", at(LAYER_NORM_F32), OVERLAPS_INPUT, |p| {
            layer_norm_f32(p, LAYER_NORM_F32).output.offset = 132;
        }),
    ]);
    check_allowed(&[("epsilon 0", |p| layer_norm_f32(p, LAYER_NORM_F32).epsilon = 0.0)]);
}

#[test]
fn inputs_of_f32_have_four_bytes_an_element_and_tables_of_f32() {
    check(&[("f32 in as many bytes", Place::Input(0), "buffer", |p| p.inputs[0].dtype = ElemType::F32)]);
    check(&[("tables of int8", Place::Input(0), "pixel tables", |p| {
        p.inputs[0].dtype = ElemType::F32;
        p.inputs[0].buffer.bytes = 128;
    })]);
    check(&[("tables with what is no number", Place::Input(0), "pixel tables", |p| {
        p.inputs[0].dtype = ElemType::F32;
        p.inputs[0].buffer.bytes = 128;
        p.weights.resize(p.weights.len().next_multiple_of(4), 0);
        let tables = span(p.weights.len() as u32, 2048);
        p.weights.extend([0xff; 2048]);
        p.inputs[0].pixels.as_mut().unwrap().tables = tables;
    })]);
    check_allowed(&[("tables of f32", |p| {
        p.inputs[0].dtype = ElemType::F32;
        p.inputs[0].buffer.bytes = 128;
        p.weights.resize(p.weights.len().next_multiple_of(4), 0);
        let tables = span(p.weights.len() as u32, 2048);
        p.weights.extend([0; 2048]);
        p.inputs[0].pixels.as_mut().unwrap().tables = tables;
        p.golden.clear();
    })]);
}
