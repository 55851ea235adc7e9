//! The operations of int16: one of each for [`Parts`], and those that lie.

use std::vec::Vec;

use super::hostile::{OVERLAPS_INPUT, at, check, check_allowed};
use super::parts::*;
use crate::plan::*;

const OVERLAPS_RESIDUAL: &str = "output, which overlaps the residual";

impl Parts {
    pub(super) fn int16(constants: &mut Constants) -> Vec<(&'static str, Op)> {
        let load = Instruction { function: Function::Load, to: 0, a: 0, b: 0, value: 0.0 };
        let floats =
            Source { operand: Operand::Arena(span(256, 128)), elems: Elems::F32, strides: [32, 8, 2, 1] };
        let stored = Stored::I16 { multiplier: 64.0, bounds: [-32767, 32767] };
        let cast = Elementwise {
            sources: [Some(floats), None, None],
            output: span(128, 64),
            stored,
            dims: [1, 4, 4, 2],
            program: constants.bytes(load.encode()),
        };
        let integers = Source {
            operand: Operand::Arena(span(128, 64)),
            elems: Elems::I16 { scale: 0.015625 },
            strides: floats.strides,
        };
        let back = Elementwise { sources: [Some(integers), None, None], output: span(256, 128), ..cast };
        let back = Elementwise { stored: Stored::F32, ..back };
        let conv = ConvI16 {
            input: span(128, 64),
            output: span(256, 24),
            window: Window {
                input_dims: [1, 4, 4, 2],
                output_dims: [1, 2, 2, 3],
                kernel: [3, 3],
                stride: [2, 2],
                dilation: [1, 1],
                pad: [1, 1],
            },
            groups: 1,
            weight_bytes: 1,
            weights: constants.bytes((0..288).map(|i| if i % 32 < 6 { i as u8 } else { 0 })),
            multiplier: constants.floats([0.5, 0.25, 0.125]),
            bias: constants.floats([0.5, -1.0, 2.0]),
            residual: Some(ResidualI16 { span: span(320, 24), scale: 0.5 }),
            stored: Stored::I16 { multiplier: 4.0, bounds: [0, 8191] },
        };
        let depthwise = ConvI16 {
            output: span(256, 128),
            window: Window { output_dims: [1, 4, 4, 2], stride: [1, 1], ..conv.window },
            groups: 2,
            weight_bytes: 2,
            weights: constants.bytes((0..36).map(|i| i * 7)),
            multiplier: constants.floats([0.5, 0.25]),
            bias: constants.floats([0.0, 1.0]),
            residual: None,
            stored: Stored::F32,
            ..conv
        };
        let pool = PoolF32 {
            op: PoolF32Op::Average { count_include_pad: false },
            input: span(128, 64),
            output: span(320, 16),
            window: Window { output_dims: [1, 2, 2, 2], ..conv.window },
            pad_after: [0, 0],
        };
        let pool = PoolI16 { pool, multiplier: 1.5, bounds: [-32767, 32767] };
        std::vec![
            ("cast_to_i16", Op::Elementwise(cast)),
            ("cast_from_i16", Op::Elementwise(back)),
            ("conv_i16", Op::ConvI16(conv)),
            ("depthwise_i16", Op::ConvI16(depthwise)),
            ("average_i16", Op::PoolI16(pool)),
        ]
    }
}

#[test]
fn casts_of_int16_that_lie_are_refused() {
    check(&[
        ("output of int16 as large as f32", at(CAST_TO_I16), "output", |p| {
            elementwise(p, CAST_TO_I16).output.bytes = 128;
        }),
        ("output at an odd place", at(CAST_TO_I16), "output", |p| {
            elementwise(p, CAST_TO_I16).output.offset += 1;
        }),
        ("multiplier 0", at(CAST_TO_I16), "multiplier", |p| {
            elementwise(p, CAST_TO_I16).stored = Stored::I16 { multiplier: 0.0, bounds: [0, 1] };
        }),
        ("unordered bounds", at(CAST_TO_I16), "bounds", |p| {
            elementwise(p, CAST_TO_I16).stored = Stored::I16 { multiplier: 1.0, bounds: [1, 0] };
        }),
        ("source that is too short", at(CAST_FROM_I16), "source", |p| {
            elementwise(p, CAST_FROM_I16).sources[0].as_mut().unwrap().strides[1] = 9;
        }),
        ("source at an odd place", at(CAST_FROM_I16), "source", |p| {
            elementwise(p, CAST_FROM_I16).sources[0].as_mut().unwrap().operand =
                Operand::Arena(span(129, 64));
        }),
        ("scale that is no number", at(CAST_FROM_I16), "scale", |p| {
            elementwise(p, CAST_FROM_I16).sources[0].as_mut().unwrap().elems = Elems::I16 { scale: f32::NAN };
        }),
    ]);
}

#[test]
fn products_of_int16_that_lie_are_refused() {
    check(&[
        ("batch of the output", at(CONV_I16), "output_dims", |p| {
            conv_i16(p, CONV_I16).window.output_dims[0] = 2
        }),
        ("input of one byte less", at(CONV_I16), "input", |p| conv_i16(p, CONV_I16).input.bytes -= 1),
        ("input as of int8", at(CONV_I16), "input", |p| conv_i16(p, CONV_I16).input.bytes = 32),
        ("output as of f32", at(CONV_I16), "output", |p| conv_i16(p, CONV_I16).output.bytes = 48),
        ("output over the input", at(CONV_I16), OVERLAPS_INPUT, |p| {
            conv_i16(p, CONV_I16).output.offset = 190;
        }),
        ("stride 0", at(CONV_I16), "window", |p| conv_i16(p, CONV_I16).window.stride[0] = 0),
        ("padding as far as the window", at(CONV_I16), "window", |p| conv_i16(p, CONV_I16).window.pad[0] = 3),
        ("no groups", at(CONV_I16), "groups", |p| conv_i16(p, CONV_I16).groups = 0),
        ("groups that divide nothing", at(CONV_I16), "groups", |p| conv_i16(p, CONV_I16).groups = 2),
        ("weights of no size", at(CONV_I16), "weight_bytes", |p| conv_i16(p, CONV_I16).weight_bytes = 0),
        ("weights of f32", at(CONV_I16), "weight_bytes", |p| conv_i16(p, CONV_I16).weight_bytes = 4),
        ("weights of another size", at(CONV_I16), "weights", |p| conv_i16(p, CONV_I16).weight_bytes = 2),
        ("weights of one row less", at(CONV_I16), "weights", |p| conv_i16(p, CONV_I16).weights.bytes -= 96),
        ("a depthwise one's in panels", at(DEPTHWISE_I16), "weights", |p| {
            conv_i16(p, DEPTHWISE_I16).weights = conv_i16(p, CONV_I16).weights;
        }),
        ("multiplier 0", at(CONV_I16), "multiplier", |p| {
            let at = conv_i16(p, CONV_I16).multiplier.offset as usize;
            p.weights[at..][..4].copy_from_slice(&0_f32.to_le_bytes());
        }),
        ("bias that is no number", at(CONV_I16), "bias", |p| {
            let at = conv_i16(p, CONV_I16).bias.offset as usize;
            p.weights[at..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
        }),
        ("residual of another size", at(CONV_I16), "residual", |p| {
            conv_i16(p, CONV_I16).residual.as_mut().unwrap().span.bytes = 12;
        }),
        ("output over the residual", at(CONV_I16), OVERLAPS_RESIDUAL, |p| {
            conv_i16(p, CONV_I16).residual.as_mut().unwrap().span.offset = 256;
        }),
        ("residual of no scale", at(CONV_I16), "residual's scale", |p| {
            conv_i16(p, CONV_I16).residual.as_mut().unwrap().scale = 0.0;
        }),
        ("unordered bounds", at(CONV_I16), "bounds", |p| {
            conv_i16(p, CONV_I16).stored = Stored::I16 { multiplier: 1.0, bounds: [8, 7] };
        }),
    ]);
    check_allowed(&[("a residual that is the input's memory", |p| {
        conv_i16(p, CONV_I16).residual.as_mut().unwrap().span.offset = 128;
    })]);
}

#[test]
fn poolings_of_int16_that_lie_are_refused() {
    check(&[
        ("input as of f32", at(AVERAGE_I16), "input", |p| pool_i16(p, AVERAGE_I16).pool.input.bytes = 128),
        ("output as of f32", at(AVERAGE_I16), "output", |p| pool_i16(p, AVERAGE_I16).pool.output.bytes = 32),
        ("kernel 0", at(AVERAGE_I16), "window", |p| pool_i16(p, AVERAGE_I16).pool.window.kernel[1] = 0),
        ("multiplier 0", at(AVERAGE_I16), "multiplier", |p| pool_i16(p, AVERAGE_I16).multiplier = 0.0),
        ("unordered bounds", at(AVERAGE_I16), "bounds", |p| pool_i16(p, AVERAGE_I16).bounds = [1, -1]),
        ("more positions than f32 counts", at(AVERAGE_I16), "kernel, which is too large", |p| {
            pool_i16(p, AVERAGE_I16).pool.window.kernel = [1 << 12, (1 << 12) + 1];
        }),
    ]);
}
