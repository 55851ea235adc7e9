//! Convolutions, element-wise operations, tables and poolings that lie: one change each, refused at its step by its
//! field.

use super::hostile::{OVERLAPS_INPUT, OVERLAPS_OPERAND, UNORDERED, at, check, check_allowed, poke};
use super::parts::*;
use crate::plan::*;

const OVERLAPS_RESIDUAL: &str = "output, which overlaps the residual";
const NO_RESIDUAL: &str = "residual, where there can be none";
const RESIDUAL_MULTIPLIER: &str = "residual's multiplier";
const TOO_LARGE: &str = "kernel, which is too large";

fn multiplier(parts: &mut Parts, value: f32) {
    let multiplier = conv(parts, CONV).multiplier;
    poke(parts, span(multiplier.offset + 8, 4), &value.to_le_bytes());
}

fn residual(parts: &mut Parts) -> &mut Residual {
    conv(parts, CONV).residual.as_mut().expect("it has one")
}

/// A convolution of 1 × 1 pixel whose channels are all that there is.
fn of_channels(parts: &mut Parts, input: u32, output: u32, groups: u32) {
    parts.head.arena_bytes = i32::MAX as u32;
    *conv(parts, CONV) = Conv {
        input: span(4096, input),
        output: span(4096 + input, output),
        window: Window {
            input_dims: [1, 1, 1, input],
            output_dims: [1, 1, 1, output],
            kernel: [1, 1],
            pad: [0, 0],
            ..conv(parts, CONV).window
        },
        groups,
        residual: None,
        ..*conv(parts, CONV)
    };
}

#[test]
fn convolutions_that_lie_are_refused() {
    check(&[
        ("input of one byte less", at(CONV), "input", |p| conv(p, CONV).input.bytes -= 1),
        ("input of one byte more", at(CONV), "input", |p| conv(p, CONV).input.bytes += 1),
        ("input behind the arena", at(CONV), "input", |p| conv(p, CONV).input.offset = 1249),
        ("input that overflows", at(CONV), "input", |p| conv(p, CONV).input.offset = u32::MAX),
        ("output of one byte less", at(CONV), "output", |p| conv(p, CONV).output.bytes -= 1),
        ("output behind the arena", at(CONV), "output", |p| conv(p, CONV).output.offset = 1269),
        ("output over the input's end", at(CONV), OVERLAPS_INPUT, |p| conv(p, CONV).output.offset = 31),
        ("output inside the input", at(CONV), OVERLAPS_INPUT, |p| conv(p, CONV).output.offset = 10),
        ("batch of the output", at(CONV), "output_dims", |p| conv(p, CONV).window.output_dims[0] = 2),
        ("no batch", at(CONV), "input", |p| {
            conv(p, CONV).window.input_dims[0] = 0;
            conv(p, CONV).window.output_dims[0] = 0;
        }),
        ("input height 0", at(CONV), "window", |p| conv(p, CONV).window.input_dims[1] = 0),
        ("output width 0", at(CONV), "window", |p| conv(p, CONV).window.output_dims[2] = 0),
        ("input channels 0", at(CONV), "input", |p| conv(p, CONV).window.input_dims[3] = 0),
        ("output channels 0", at(CONV), "output", |p| conv(p, CONV).window.output_dims[3] = 0),
        ("a channel more", at(CONV), "input", |p| conv(p, CONV).window.input_dims[3] = 3),
        ("sizes that overflow", at(CONV), "input", |p| conv(p, CONV).window.input_dims[3] = (1 << 28) + 2),
        ("kernel height 0", at(CONV), "window", |p| conv(p, CONV).window.kernel[0] = 0),
        ("stride 0", at(CONV), "window", |p| conv(p, CONV).window.stride[1] = 0),
        ("dilation 0", at(CONV), "window", |p| conv(p, CONV).window.dilation[0] = 0),
        ("huge stride", at(CONV), "window", |p| conv(p, CONV).window.stride[0] = (1 << 24) + 1),
        ("stride out of the input", at(CONV), "window", |p| conv(p, CONV).window.stride[0] = 5),
        ("huge kernel", at(CONV), "window", |p| conv(p, CONV).window.kernel[0] = u32::MAX),
        ("window that overflows", at(CONV), "window", |p| {
            conv(p, CONV).window.kernel[0] = 1 << 24;
            conv(p, CONV).window.dilation[0] = 1 << 24;
        }),
        ("padding of a whole window", at(CONV), "window", |p| conv(p, CONV).window.pad[0] = 3),
        ("huge padding", at(CONV), "window", |p| conv(p, CONV).window.pad[1] = u32::MAX),
        ("a row more of output", at(CONV), "window", |p| {
            conv(p, CONV).window.output_dims[1] = 4;
            conv(p, CONV).output.bytes = 24;
        }),
        ("kernel of 132 106 values", at(CONV), TOO_LARGE, |p| {
            conv(p, CONV).window.kernel = [66_053, 1];
            conv(p, CONV).window.pad = [0, 0];
        }),
        ("the largest kernel, with the weights of another", at(CONV), "weights", |p| {
            conv(p, CONV).window.kernel = [66_052, 1];
            conv(p, CONV).window.pad = [0, 0];
        }),
        ("kernel that overflows", at(CONV), TOO_LARGE, |p| conv(p, CONV).window.kernel = [1 << 16, 1 << 16]),
        ("groups 0", at(CONV), "groups", |p| conv(p, CONV).groups = 0),
        ("groups that divide the input alone", at(CONV), "groups", |p| conv(p, CONV).groups = 2),
        ("groups that divide the output alone", at(CONV), "groups", |p| conv(p, CONV).groups = 3),
        ("4 GiB of packed weights", at(CONV), "kernel, too large to be packed", |p| {
            of_channels(p, 1 << 23, 1 << 24, 1 << 23);
        }),
        ("weights of one byte less", at(CONV), "weights", |p| conv(p, CONV).weights.bytes -= 1),
        ("weights of one byte more", at(CONV), "weights", |p| conv(p, CONV).weights.bytes += 1),
        ("weights outside", at(CONV), "weights", |p| conv(p, CONV).weights.offset = 1 << 20),
        ("weights that overflow", at(CONV), "weights", |p| conv(p, CONV).weights.offset = u32::MAX),
        ("a kernel of more weights", at(CONV), "weights", |p| conv(p, CONV).window.kernel[0] = 4),
        ("a weight of -128", at(CONV), "weights, of which one is -128", |p| {
            let weights = conv(p, CONV).weights;
            poke(p, span(weights.offset + 53, 1), &[0x80]);
        }),
        ("bias of two channels", at(CONV), "bias", |p| conv(p, CONV).bias.bytes = 8),
        ("bias at an odd place", at(CONV), "bias", |p| conv(p, CONV).bias.offset += 2),
        ("bias outside", at(CONV), "bias", |p| conv(p, CONV).bias.offset = u32::MAX - 3),
        ("multipliers of two channels", at(CONV), "multiplier", |p| conv(p, CONV).multiplier.bytes = 8),
        ("multipliers at an odd place", at(CONV), "multiplier", |p| conv(p, CONV).multiplier.offset += 1),
        ("multiplier 0", at(CONV), "multiplier", |p| multiplier(p, 0.0)),
        ("negative multiplier", at(CONV), "multiplier", |p| multiplier(p, -1e-6)),
        ("multiplier NaN", at(CONV), "multiplier", |p| multiplier(p, f32::NAN)),
        ("infinite multiplier", at(CONV), "multiplier", |p| multiplier(p, f32::INFINITY)),
        ("empty range", at(CONV), "range", |p| conv(p, CONV).range = Some(UNORDERED)),
        ("int8 output without a range", at(CONV), "output", |p| conv(p, CONV).range = None),
        ("f32 output with a range", at(DENSE), "output", |p| conv(p, DENSE).range = Some(UNORDERED)),
        ("f32 output at an odd place", at(DENSE), "output", |p| conv(p, DENSE).output.offset += 2),
        ("weights of its own step", at(CONV), "same_weights_as", |p| {
            conv(p, CONV).same_weights_as = Some(CONV as u32);
        }),
        ("weights of a later step", at(CONV), "same_weights_as", |p| {
            conv(p, CONV).same_weights_as = Some(u32::MAX);
        }),
        ("residual of one byte less", at(CONV), "residual", |p| residual(p).span.bytes -= 1),
        ("residual of one byte more", at(CONV), "residual", |p| residual(p).span.bytes += 1),
        ("residual behind the arena", at(CONV), "residual", |p| residual(p).span.offset = 1269),
        ("residual that overflows", at(CONV), "residual", |p| residual(p).span.offset = u32::MAX),
        ("residual over the output's end", at(CONV), OVERLAPS_RESIDUAL, |p| residual(p).span.offset = 75),
        ("residual over the output's start", at(CONV), OVERLAPS_RESIDUAL, |p| residual(p).span.offset = 53),
        ("residual in scratch memory", at(CONV), "scratch, which overlaps a tensor", |p| {
            residual(p).span.offset = 1024;
        }),
        ("residual's multiplier 0", at(CONV), RESIDUAL_MULTIPLIER, |p| residual(p).multiplier = 0.0),
        ("a negative one", at(CONV), RESIDUAL_MULTIPLIER, |p| residual(p).multiplier = -0.5),
        ("one of 18 bits", at(CONV), RESIDUAL_MULTIPLIER, |p| residual(p).multiplier = 1.0 + 1.0 / 131_072.0),
        ("a small one", at(CONV), RESIDUAL_MULTIPLIER, |p| residual(p).multiplier = 1.1e-10),
        ("a large one", at(CONV), RESIDUAL_MULTIPLIER, |p| residual(p).multiplier = 65_540.0),
        ("an infinite one", at(CONV), RESIDUAL_MULTIPLIER, |p| residual(p).multiplier = f32::INFINITY),
        ("one that is no number", at(CONV), RESIDUAL_MULTIPLIER, |p| residual(p).multiplier = f32::NAN),
        ("residual of a depthwise convolution", at(DEPTHWISE), NO_RESIDUAL, |p| {
            conv(p, DEPTHWISE).residual = Some(Residual { span: span(256, 32), multiplier: 0.5 });
        }),
        ("residual of f32", at(DENSE), NO_RESIDUAL, |p| {
            conv(p, DENSE).residual = Some(Residual { span: span(256, 4), multiplier: 0.5 });
        }),
        ("depthwise of other weights", at(DEPTHWISE), "weights", |p| conv(p, DEPTHWISE).groups = 1),
    ]);
    check_allowed(&[
        ("any zero point", |p| conv(p, CONV).input_zero_point = -128),
        ("the largest stride of one window", |p| {
            let conv = conv(p, DENSE);
            conv.window.stride = [1 << 24; 2];
        }),
        ("multiplier at its smallest", |p| multiplier(p, f32::from_bits(1))),
        ("multiplier at its largest", |p| multiplier(p, f32::MAX)),
        ("a residual in place", |p| residual(p).span = conv(p, CONV).output),
        ("a residual that is a part of the input", |p| residual(p).span.offset = 20),
        ("a residual's smallest multiplier", |p| residual(p).multiplier = 1.0 / (1u64 << 32) as f32),
        ("a residual's largest multiplier", |p| residual(p).multiplier = 65_536.0),
        ("one of 17 bits", |p| residual(p).multiplier = 1.0 + 1.0 / 65_536.0),
        ("a range of one value", |p| {
            conv(p, CONV).range = Some(Range { zero_point: -128, min: 127, max: 127 });
        }),
    ]);
}

fn add(parts: &mut Parts, lhs_multiplier: f32, rhs_multiplier: f32) {
    binary(parts, ADD).op = BinaryOp::Add { lhs_multiplier, rhs_multiplier };
}

#[test]
fn element_wise_operations_that_lie_are_refused() {
    check(&[
        ("a size of 0", at(ADD), "output", |p| binary(p, ADD).dims[0] = 0),
        ("sizes that overflow", at(ADD), "output", |p| binary(p, ADD).dims = [1 << 16, 1 << 16, 1, 32]),
        ("output of one byte more", at(ADD), "output", |p| binary(p, ADD).output.bytes = 33),
        ("output behind the arena", at(ADD), "output", |p| binary(p, ADD).output.offset = 1249),
        ("empty range", at(ADD), "range", |p| binary(p, ADD).range = UNORDERED),
        ("left multiplier NaN", at(ADD), "multiplier", |p| add(p, f32::NAN, 1.0)),
        ("infinite right multiplier", at(ADD), "multiplier", |p| add(p, 1.0, f32::NEG_INFINITY)),
        ("product's multiplier NaN", at(MUL), "multiplier", |p| {
            binary(p, MUL).op = BinaryOp::Mul { multiplier: f32::NAN };
        }),
        ("left strides too far", at(ADD), "lhs", |p| binary(p, ADD).lhs_strides[2] = 3),
        ("left strides that overflow", at(ADD), "lhs", |p| binary(p, ADD).lhs_strides[3] = u32::MAX),
        ("left operand too short", at(ADD), "lhs", |p| binary(p, ADD).lhs = Operand::Arena(span(0, 31))),
        ("left operand behind the arena", at(ADD), "lhs", |p| {
            binary(p, ADD).lhs = Operand::Arena(span(1249, 32));
        }),
        ("left operand that overflows", at(ADD), "lhs", |p| {
            binary(p, ADD).lhs = Operand::Arena(span(64, u32::MAX - 63));
        }),
        ("constant left operand outside", at(ADD), "lhs", |p| {
            binary(p, ADD).lhs = Operand::Constant(span(1 << 20, 32));
        }),
        ("right strides too far", at(ADD), "rhs", |p| binary(p, ADD).rhs_strides[1] = 9),
        ("right operand behind the arena", at(ADD), "rhs", |p| {
            binary(p, ADD).rhs = Operand::Arena(span(1280, 32));
        }),
        ("constant too short", at(MUL), "rhs", |p| binary(p, MUL).rhs = Operand::Constant(span(0, 1))),
        ("constant of nothing", at(MUL), "rhs", |p| binary(p, MUL).rhs = Operand::Constant(span(0, 0))),
        ("constant that overflows", at(MUL), "rhs", |p| {
            binary(p, MUL).rhs = Operand::Constant(span(u32::MAX, 2));
        }),
        ("output over a part of the left operand", at(MUL), OVERLAPS_OPERAND, |p| {
            binary(p, MUL).output.offset = 159;
        }),
        ("in place over the right operand", at(ADD), OVERLAPS_OPERAND, |p| {
            binary(p, ADD).output = span(128, 32);
        }),
        ("in place of a left operand that is read elsewhere", at(ADD), OVERLAPS_OPERAND, |p| {
            binary(p, ADD).lhs_strides = [32, 2, 8, 1];
        }),
        ("in place of a left operand that is broadcast", at(ADD), OVERLAPS_OPERAND, |p| {
            binary(p, ADD).lhs_strides = [0, 0, 0, 0];
        }),
        ("in place of both operands", at(ADD), OVERLAPS_OPERAND, |p| {
            binary(p, ADD).rhs = Operand::Arena(span(0, 32));
        }),
        ("output over a scalar", at(ADD), OVERLAPS_OPERAND, |p| {
            binary(p, ADD).rhs = Operand::Arena(span(31, 1));
            binary(p, ADD).rhs_strides = [0; 4];
        }),
    ]);
    check_allowed(&[
        ("negative multipliers", |p| add(p, -0.0, f32::MIN)),
        ("both operands the same", |p| binary(p, MUL).rhs = Operand::Arena(span(128, 32))),
        ("both operands constant", |p| binary(p, MUL).lhs = Operand::Constant(span(0, 32))),
        ("in place, with any stride of a size of 1", |p| binary(p, ADD).lhs_strides[0] = u32::MAX),
    ]);
}

#[test]
fn tables_that_lie_are_refused() {
    check(&[
        ("input behind the arena", at(LOOKUP), "input", |p| lookup(p, LOOKUP).input.offset = 1249),
        ("nothing", at(LOOKUP), "input", |p| {
            lookup(p, LOOKUP).input.bytes = 0;
            lookup(p, LOOKUP).output.bytes = 0;
        }),
        ("output of one byte less", at(LOOKUP), "output", |p| lookup(p, LOOKUP).output.bytes = 31),
        ("output beside the input by one", at(LOOKUP), OVERLAPS_INPUT, |p| {
            lookup(p, LOOKUP).output.offset += 1;
        }),
        ("table of 255", at(LOOKUP), "table", |p| lookup(p, LOOKUP).table.bytes = 255),
        ("table outside", at(LOOKUP), "table", |p| lookup(p, LOOKUP).table.offset = 1 << 20),
        ("f32 of a table of int8", at(LOOKUP), "output", |p| lookup(p, LOOKUP).to_f32 = true),
        ("int8 of a table of f32", at(LOOKUP_F32), "output", |p| lookup(p, LOOKUP_F32).to_f32 = false),
        ("f32 output over the input", at(LOOKUP_F32), OVERLAPS_INPUT, |p| {
            lookup(p, LOOKUP_F32).output.offset = 64;
        }),
        ("f32 output at an odd place", at(LOOKUP_F32), "output", |p| {
            lookup(p, LOOKUP_F32).output.offset += 1
        }),
        ("f32 output that overflows", at(LOOKUP_F32), "output", |p| {
            p.head.arena_bytes = i32::MAX as u32;
            lookup(p, LOOKUP_F32).input.bytes = (1 << 30) + 12;
        }),
        ("table of f32 at an odd place", at(LOOKUP_F32), "table", |p| {
            lookup(p, LOOKUP_F32).table.offset += 2
        }),
        ("table with NaN", at(LOOKUP_F32), "table", |p| {
            let table = lookup(p, LOOKUP_F32).table;
            poke(p, span(table.offset + 1020, 4), &f32::NAN.to_le_bytes());
        }),
    ]);
}

fn average(parts: &mut Parts, multiplier: f32, range: Range) {
    pool(parts, AVERAGE).op =
        PoolOp::Average { input_zero_point: 0, multiplier, count_include_pad: false, range };
}

#[test]
fn poolings_that_lie_are_refused() {
    const RANGE: Range = Range { zero_point: 0, min: -128, max: 127 };
    check(&[
        ("batch of the output", at(MAX), "output_dims", |p| pool(p, MAX).window.output_dims[0] = 2),
        ("channels of the output", at(MAX), "output_dims", |p| pool(p, MAX).window.output_dims[3] = 1),
        ("window of height 0", at(MAX), "window", |p| pool(p, MAX).window.kernel[0] = 0),
        ("window of width 0", at(AVERAGE), "window", |p| pool(p, AVERAGE).window.kernel[1] = 0),
        ("stride 0", at(MAX), "window", |p| pool(p, MAX).window.stride[0] = 0),
        ("dilation 0", at(MAX), "window", |p| pool(p, MAX).window.dilation[1] = 0),
        ("stride out of the input", at(MAX), "window", |p| pool(p, MAX).window.stride[1] = 4),
        ("padding of a whole window", at(MAX), "window", |p| pool(p, MAX).window.pad[0] = 2),
        ("huge padding behind", at(MAX), "window", |p| pool(p, MAX).pad_after[1] = u32::MAX),
        ("window that overflows", at(MAX), "window", |p| {
            pool(p, MAX).window.kernel[0] = 1 << 24;
            pool(p, MAX).window.dilation[0] = 1 << 24;
        }),
        ("window of more than 2^22 positions", at(MAX), TOO_LARGE, |p| {
            pool(p, MAX).window.kernel = [2049, 2048]
        }),
        ("a pixel more of output", at(MAX), "output", |p| pool(p, MAX).window.output_dims[1] = 1),
        ("input of one byte more", at(MAX), "input", |p| pool(p, MAX).input.bytes += 1),
        ("input behind the arena", at(MAX), "input", |p| pool(p, MAX).input.offset = 1249),
        ("output behind the arena", at(MAX), "output", |p| pool(p, MAX).output.offset = 1273),
        ("output over the input", at(MAX), OVERLAPS_INPUT, |p| pool(p, MAX).output.offset = 287),
        ("multiplier 0", at(AVERAGE), "multiplier", |p| average(p, 0.0, RANGE)),
        ("negative multiplier", at(AVERAGE), "multiplier", |p| average(p, -1.0, RANGE)),
        ("multiplier NaN", at(AVERAGE), "multiplier", |p| average(p, f32::NAN, RANGE)),
        ("infinite multiplier", at(AVERAGE), "multiplier", |p| average(p, f32::INFINITY, RANGE)),
        ("empty range", at(AVERAGE), "range", |p| average(p, 1.0, UNORDERED)),
    ]);
    check_allowed(&[
        ("the largest window", |p| pool(p, MAX).window.kernel = [2048, 2048]),
        ("padding behind, up to 2^24", |p| pool(p, MAX).pad_after[0] = 1 << 24),
        ("windows that step over the input", |p| {
            pool(p, MAX).window.dilation = [8, 8];
            pool(p, MAX).window.pad = [1, 1];
            pool(p, MAX).pad_after = [7, 7];
        }),
    ]);
}
