//! Operations over rows and of copies that lie: one change each, refused at its step by its field.

use super::hostile::{OVERLAPS_INPUT, OVERLAPS_OPERAND, UNORDERED, at, check, check_allowed, poke};
use super::parts::*;
use crate::plan::*;

const OVERLAPS_TENSOR: &str = "state, which overlaps a tensor";

fn softmax_table(parts: &mut Parts, byte: u8) {
    let SoftmaxInput::I8 { table, .. } = softmax(parts, SOFTMAX_I8).input else { panic!("no table") };
    poke(parts, table, &[byte; 512]);
}

fn softmax_input(parts: &mut Parts, change: fn(&mut Span, &mut Span)) {
    let SoftmaxInput::I8 { input, table } = &mut softmax(parts, SOFTMAX_I8).input else { panic!("no table") };
    change(input, table);
}

fn softmax_output(parts: &mut Parts, change: fn(&mut Span, &mut f32, &mut Range)) {
    let SoftmaxOutput::I8 { output, multiplier, range } = &mut softmax(parts, SOFTMAX_F32).output else {
        panic!("no int8")
    };
    change(output, multiplier, range);
}

#[test]
fn softmaxes_that_lie_are_refused() {
    check(&[
        ("channels 0", at(SOFTMAX_I8), "channels", |p| softmax(p, SOFTMAX_I8).channels = 0),
        ("channels that do not divide", at(SOFTMAX_I8), "channels", |p| softmax(p, SOFTMAX_I8).channels = 3),
        ("more channels than values", at(SOFTMAX_F32), "channels", |p| softmax(p, SOFTMAX_F32).channels = 16),
        ("input behind the arena", at(SOFTMAX_I8), "input", |p| softmax_input(p, |i, _| i.offset = 1273)),
        ("nothing", at(SOFTMAX_I8), "input", |p| softmax_input(p, |i, _| i.bytes = 0)),
        ("table of 255", at(SOFTMAX_I8), "table", |p| softmax_input(p, |_, t| t.bytes = 510)),
        ("table at an odd place", at(SOFTMAX_I8), "table", |p| softmax_input(p, |_, t| t.offset += 1)),
        ("f32 output too short", at(SOFTMAX_I8), "output", |p| {
            softmax(p, SOFTMAX_I8).output = SoftmaxOutput::F32(span(512, 28));
        }),
        ("f32 output at an odd place", at(SOFTMAX_I8), "output", |p| {
            softmax(p, SOFTMAX_I8).output = SoftmaxOutput::F32(span(514, 32));
        }),
        ("output over the input", at(SOFTMAX_I8), OVERLAPS_INPUT, |p| {
            softmax(p, SOFTMAX_I8).output = SoftmaxOutput::F32(span(356, 32));
        }),
        ("f32 input at an odd place", at(SOFTMAX_F32), "input", |p| {
            softmax(p, SOFTMAX_F32).input = SoftmaxInput::F32(span(513, 32));
        }),
        ("f32 input of half a value", at(SOFTMAX_F32), "input", |p| {
            softmax(p, SOFTMAX_F32).input = SoftmaxInput::F32(span(512, 34));
        }),
        ("f32 input of nothing", at(SOFTMAX_F32), "input", |p| {
            softmax(p, SOFTMAX_F32).input = SoftmaxInput::F32(span(512, 0));
        }),
        ("int8 output too short", at(SOFTMAX_F32), "output", |p| softmax_output(p, |o, _, _| o.bytes = 7)),
        ("int8 output over the input", at(SOFTMAX_F32), OVERLAPS_INPUT, |p| {
            softmax_output(p, |o, _, _| o.offset = 543);
        }),
        ("multiplier 0", at(SOFTMAX_F32), "multiplier", |p| softmax_output(p, |_, m, _| *m = 0.0)),
        ("multiplier NaN", at(SOFTMAX_F32), "multiplier", |p| softmax_output(p, |_, m, _| *m = f32::NAN)),
        ("empty range", at(SOFTMAX_F32), "range", |p| softmax_output(p, |_, _, r| *r = UNORDERED)),
    ]);
    check_allowed(&[
        ("table of zeros", |p| softmax_table(p, 0)),
        ("table of the largest", |p| softmax_table(p, 0xff)),
        ("rows of one value", |p| softmax(p, SOFTMAX_F32).channels = 1),
    ]);
}

#[test]
fn fills_and_copies_that_lie_are_refused() {
    check(&[
        ("fill behind the arena", at(FILL), "output", |p| fill(p, FILL).output.offset = 1221),
        ("fill that overflows", at(FILL), "output", |p| fill(p, FILL).output.bytes = u32::MAX),
        ("fill of nothing", at(FILL), "output", |p| fill(p, FILL).output.bytes = 0),
        ("elements of 0 bytes", at(PAD), "elem_bytes", |p| copy(p, PAD).elem_bytes = 0),
        ("elements of 3 bytes", at(TRANSPOSE), "elem_bytes", |p| copy(p, TRANSPOSE).elem_bytes = 3),
        ("elements of 255 bytes", at(PAD), "elem_bytes", |p| copy(p, PAD).elem_bytes = 255),
        ("table for f32", at(TRANSPOSE), "table", |p| copy(p, TRANSPOSE).table = Some(span(0, 256))),
        ("table of 255", at(PAD), "table", |p| copy(p, PAD).table = Some(span(0, 255))),
        ("table outside", at(PAD), "table", |p| copy(p, PAD).table = Some(span(1 << 20, 256))),
        ("a size of 0", at(PAD), "dims", |p| copy(p, PAD).dims[0] = 0),
        ("sizes that overflow", at(PAD), "dims", |p| copy(p, PAD).dims[0] = 1 << 29),
        ("reads too far by its start", at(PAD), "input", |p| copy(p, PAD).input_start = 1),
        ("start that overflows", at(PAD), "input", |p| copy(p, PAD).input_start = u32::MAX),
        ("reads too far by a stride", at(PAD), "input", |p| copy(p, PAD).input_strides[3] = 5),
        ("stride that overflows", at(PAD), "input", |p| copy(p, PAD).input_strides[5] = u32::MAX),
        ("strides that overflow together", at(PAD), "input", |p| {
            copy(p, PAD).input_strides[4] = 1 << 31;
            copy(p, PAD).input_strides[5] = 1 << 31;
        }),
        ("input behind the arena", at(PAD), "input", |p| copy(p, PAD).input.offset = 1273),
        ("input of nothing", at(PAD), "input", |p| copy(p, PAD).input.bytes = 0),
        ("writes too far by its start", at(PAD), "output", |p| copy(p, PAD).output_start = 45),
        ("writes too far by a stride", at(PAD), "output", |p| copy(p, PAD).output_strides[3] = 43),
        ("writes too far by a size", at(PAD), "input", |p| copy(p, PAD).dims[3] = 3),
        ("output behind the arena", at(PAD), "output", |p| copy(p, PAD).output.offset = 1221),
        ("output over the input", at(PAD), OVERLAPS_INPUT, |p| copy(p, PAD).output.offset = 391),
        ("the same for both", at(TRANSPOSE), OVERLAPS_INPUT, |p| copy(p, TRANSPOSE).output.offset = 512),
        ("f32 input at an odd place", at(TRANSPOSE), "input", |p| copy(p, TRANSPOSE).input.offset += 1),
        ("f32 input of half a value", at(TRANSPOSE), "input", |p| copy(p, TRANSPOSE).input.bytes += 2),
        ("f32 output at an odd place", at(TRANSPOSE), "output", |p| copy(p, TRANSPOSE).output.offset += 2),
        ("f32 that reads bytes too far", at(TRANSPOSE), "input", |p| copy(p, TRANSPOSE).input_start = 1),
    ]);
    check_allowed(&[
        ("a fill of the whole arena", |p| fill(p, FILL).output = span(0, 1280)),
        ("a fill of the largest arena", |p| {
            p.head.arena_bytes = i32::MAX as u32;
            fill(p, FILL).output = span(0, i32::MAX as u32);
        }),
        ("a copy that ends with its output", |p| copy(p, PAD).output_start = 44),
        ("a broadcast", |p| copy(p, PAD).input_strides = [0; 6]),
        ("f32 as bytes", |p| {
            copy(p, TRANSPOSE).elem_bytes = 1;
        }),
    ]);
}

#[test]
fn products_of_two_tensors_that_lie_are_refused() {
    const STRIDES: &str = "output_strides";
    check(&[
        ("lhs of one byte less", at(MATMUL), "lhs", |p| mat_mul(p, MATMUL).lhs.bytes -= 1),
        ("lhs behind the arena", at(MATMUL), "lhs", |p| mat_mul(p, MATMUL).lhs.offset = 1265),
        ("lhs read too far by a stride", at(MATMUL), "lhs", |p| {
            mat_mul(p, MATMUL).geometry.lhs_strides[2] = 9
        }),
        ("lhs stride that overflows", at(MATMUL), "lhs", |p| {
            mat_mul(p, MATMUL).geometry.lhs_strides[1] = u32::MAX
        }),
        ("rhs of one byte less", at(MATMUL), "rhs", |p| mat_mul(p, MATMUL).rhs.bytes -= 1),
        ("rhs read too far by a row", at(MATMUL), "rhs", |p| mat_mul(p, MATMUL).geometry.rhs_strides[2] = 2),
        ("rhs read too far by a column", at(MATMUL), "rhs", |p| {
            mat_mul(p, MATMUL).geometry.rhs_strides[3] = 9
        }),
        ("output of one byte more", at(MATMUL), "output", |p| mat_mul(p, MATMUL).output.bytes += 1),
        ("output at an odd place", at(MATMUL_F32), "output", |p| mat_mul(p, MATMUL_F32).output.offset += 2),
        ("int8 output of an f32's size", at(MATMUL_F32), "output", |p| {
            mat_mul(p, MATMUL_F32).range = Some(UNORDERED);
        }),
        ("output over lhs", at(MATMUL), OVERLAPS_OPERAND, |p| mat_mul(p, MATMUL).output.offset = 15),
        ("output over rhs", at(MATMUL), OVERLAPS_OPERAND, |p| mat_mul(p, MATMUL).output.offset = 31),
        ("a batch of 0", at(MATMUL), "sizes", |p| mat_mul(p, MATMUL).geometry.batch[0] = 0),
        ("a size of 0", at(MATMUL), "sizes", |p| mat_mul(p, MATMUL).geometry.sizes[1] = 0),
        ("sizes that overflow", at(MATMUL), "sizes", |p| mat_mul(p, MATMUL).geometry.sizes[0] = 1 << 30),
        ("sums beyond 32 bits", at(MATMUL), "sizes, too large to be packed", |p| {
            mat_mul(p, MATMUL).geometry.sizes[1] = 132_105;
        }),
        ("rows in one place", at(MATMUL), STRIDES, |p| mat_mul(p, MATMUL).geometry.output_strides[2] = 0),
        ("matrices in one place", at(MATMUL), STRIDES, |p| mat_mul(p, MATMUL).geometry.output_strides[1] = 2),
        ("rows that overlap", at(MATMUL), STRIDES, |p| mat_mul(p, MATMUL).geometry.output_strides[2] = 1),
        ("rows too far apart", at(MATMUL), STRIDES, |p| mat_mul(p, MATMUL).geometry.output_strides[1] = 8),
        ("stride that overflows", at(MATMUL), STRIDES, |p| {
            mat_mul(p, MATMUL).geometry.output_strides[1] = u32::MAX
        }),
        ("multiplier 0", at(MATMUL), "multiplier", |p| mat_mul(p, MATMUL).multiplier = 0.0),
        ("multiplier NaN", at(MATMUL), "multiplier", |p| mat_mul(p, MATMUL).multiplier = f32::NAN),
        ("empty range", at(MATMUL), "range", |p| mat_mul(p, MATMUL).range = Some(UNORDERED)),
        ("scratch over lhs", at(MATMUL), "scratch, which overlaps a tensor", |p| {
            p.steps[MATMUL].scratch = span(0, 64);
        }),
        ("scratch over the output", at(MATMUL), "scratch, which overlaps a tensor", |p| {
            p.steps[MATMUL].scratch = span(768, 64);
        }),
    ]);
    check_allowed(&[
        ("a tensor times itself", |p| mat_mul(p, MATMUL).rhs = mat_mul(p, MATMUL).lhs),
        ("any stride where there is one", |p| mat_mul(p, MATMUL).geometry.output_strides[0] = u32::MAX),
        ("matrices after each other", |p| mat_mul(p, MATMUL).geometry.output_strides = [0, 4, 2]),
        ("heads beside each other", |p| mat_mul(p, MATMUL).geometry.output_strides = [0, 2, 4]),
        ("operands that are broadcast", |p| {
            mat_mul(p, MATMUL).geometry.lhs_strides = [0; 3];
            mat_mul(p, MATMUL).geometry.rhs_strides = [0; 4];
        }),
    ]);
}

#[test]
fn layer_normalizations_that_lie_are_refused() {
    const NORM: usize = LAYER_NORM;
    check(&[
        ("channels 0", at(NORM), "channels", |p| layer_norm(p, NORM).channels = 0),
        ("channels that do not divide", at(NORM), "channels", |p| layer_norm(p, NORM).channels = 7),
        ("channels whose sums overflow", at(NORM), "channels", |p| {
            layer_norm(p, NORM).channels = (1 << 16) + 1;
        }),
        ("input behind the arena", at(NORM), "input", |p| layer_norm(p, NORM).input.offset = 1249),
        ("input of nothing", at(NORM), "input", |p| layer_norm(p, NORM).input.bytes = 0),
        ("output of one byte less", at(NORM), "output", |p| layer_norm(p, NORM).output.bytes -= 1),
        ("output over the input", at(NORM), OVERLAPS_INPUT, |p| layer_norm(p, NORM).output.offset = 31),
        ("gamma of one less", at(NORM), "gamma", |p| layer_norm(p, NORM).gamma.bytes -= 4),
        ("gamma outside", at(NORM), "gamma", |p| layer_norm(p, NORM).gamma.offset = 1 << 20),
        ("gamma NaN", at(NORM), "gamma", |p| {
            let gamma = layer_norm(p, NORM).gamma;
            poke(p, gamma, &f32::NAN.to_le_bytes());
        }),
        ("beta infinite", at(NORM), "beta", |p| {
            let beta = layer_norm(p, NORM).beta;
            poke(p, beta, &f32::INFINITY.to_le_bytes());
        }),
        ("epsilon 0", at(NORM), "epsilon", |p| layer_norm(p, NORM).epsilon = 0.0),
        ("epsilon below 0", at(NORM), "epsilon", |p| layer_norm(p, NORM).epsilon = -1.0),
        ("subnormal epsilon", at(NORM), "epsilon", |p| layer_norm(p, NORM).epsilon = 1e-40),
        ("infinite epsilon", at(NORM), "epsilon", |p| layer_norm(p, NORM).epsilon = f32::INFINITY),
        ("empty range", at(NORM), "range", |p| layer_norm(p, NORM).range = UNORDERED),
    ]);
    check_allowed(&[("the smallest epsilon", |p| layer_norm(p, NORM).epsilon = f32::MIN_POSITIVE)]);
}

#[test]
fn recurrent_layers_that_lie_are_refused() {
    check(&[
        ("no step", at(LSTM), "input", |p| recurrent(p, LSTM).steps = 0),
        ("a step more", at(LSTM), "input", |p| recurrent(p, LSTM).steps = 5),
        ("no sequence", at(LSTM), "input", |p| recurrent(p, LSTM).batch = 0),
        ("a sequence more", at(GRU), "input", |p| recurrent(p, GRU).batch = 3),
        ("a huge batch", at(LSTM), "batch", |p| recurrent(p, LSTM).batch = (1 << 24) + 1),
        ("no unit", at(LSTM), "hidden", |p| recurrent(p, LSTM).hidden = 0),
        ("units that overflow", at(LSTM), "hidden", |p| recurrent(p, LSTM).hidden = u32::MAX),
        ("too many units", at(LSTM), "hidden, which is too large", |p| recurrent(p, LSTM).hidden = 132_105),
        ("too many weights", at(GRU), "hidden, which is too large", |p| recurrent(p, GRU).hidden = 30_000),
        ("steps that overflow", at(GRU), "input", |p| recurrent(p, GRU).steps = u32::MAX),
        ("another cell", at(LSTM), "input", |p| recurrent(p, LSTM).cell = Cell::Gru),
        ("input behind the arena", at(LSTM), "input", |p| recurrent(p, LSTM).input.offset = 1156),
        ("input at an odd place", at(LSTM), "input", |p| recurrent(p, LSTM).input.offset = 766),
        ("output too short", at(LSTM), "output", |p| recurrent(p, LSTM).output.bytes = 7),
        ("output behind the arena", at(LSTM), "output", |p| recurrent(p, LSTM).output.offset = 1273),
        ("output over the input", at(LSTM), OVERLAPS_INPUT, |p| recurrent(p, LSTM).output.offset = 895),
        ("state too long", at(LSTM), "state", |p| recurrent(p, LSTM).state.bytes = 12),
        ("state at an odd place", at(LSTM), "state", |p| recurrent(p, LSTM).state.offset = 906),
        ("state behind the arena", at(LSTM), "state", |p| recurrent(p, LSTM).state.offset = 1276),
        ("state over the input", at(LSTM), OVERLAPS_TENSOR, |p| recurrent(p, LSTM).state.offset = 888),
        ("state over the output", at(LSTM), OVERLAPS_TENSOR, |p| recurrent(p, LSTM).state.offset = 900),
        ("weights too few", at(GRU), "weights", |p| recurrent(p, GRU).weights.bytes = 11),
        ("a weight of -128", at(LSTM), "weights, of which one is -128", |p| {
            let weights = recurrent(p, LSTM).weights;
            poke(p, span(weights.offset + 15, 1), &[0x80]);
        }),
        ("bias at an odd place", at(LSTM), "bias", |p| recurrent(p, LSTM).bias.offset += 2),
        ("bias too short", at(LSTM), "bias", |p| recurrent(p, LSTM).bias.bytes = 28),
        ("multipliers too many", at(GRU), "multiplier", |p| recurrent(p, GRU).multiplier.bytes += 4),
        ("multiplier 0", at(GRU), "multiplier", |p| {
            let multiplier = recurrent(p, GRU).multiplier;
            poke(p, multiplier, &[0; 4]);
        }),
        ("hidden state too long", at(LSTM), "initial_hidden", |p| {
            recurrent(p, LSTM).initial_hidden.bytes = 3
        }),
        ("hidden state outside", at(LSTM), "initial_hidden", |p| {
            recurrent(p, LSTM).initial_hidden.offset = 1 << 20;
        }),
        ("initial state too short", at(GRU), "initial_state", |p| recurrent(p, GRU).initial_state.bytes = 12),
        ("initial state NaN", at(LSTM), "initial_state", |p| {
            let state = recurrent(p, LSTM).initial_state;
            poke(p, state, &f32::NAN.to_le_bytes());
        }),
        ("initial state too large", at(LSTM), "initial_state", |p| {
            let state = recurrent(p, LSTM).initial_state;
            poke(p, state, &1_048_576.1_f32.to_le_bytes());
        }),
        ("hidden multiplier 0", at(LSTM), "hidden_multiplier", |p| {
            recurrent(p, LSTM).hidden_multiplier = 0.0;
        }),
        ("hidden multiplier NaN", at(GRU), "hidden_multiplier", |p| {
            recurrent(p, GRU).hidden_multiplier = f32::NAN;
        }),
        ("empty range", at(GRU), "range", |p| recurrent(p, GRU).range = UNORDERED),
        ("scratch too small", at(LSTM), "scratch, which is too small", |p| p.steps[LSTM].scratch.bytes = 63),
        ("no scratch", at(GRU), "scratch, which is too small", |p| p.steps[GRU].scratch = span(0, 0)),
        ("scratch over the input", at(LSTM), "scratch, which overlaps a tensor", |p| {
            p.steps[LSTM].scratch = span(832, 64);
        }),
        ("scratch over the state", at(LSTM), "scratch, which overlaps a tensor", |p| {
            recurrent(p, LSTM).state.offset = 960;
            p.steps[LSTM].scratch = span(960, 64);
        }),
        ("scratch over the output", at(LSTM), "scratch, which overlaps a tensor", |p| {
            recurrent(p, LSTM).output.offset = 960;
            p.steps[LSTM].scratch = span(960, 64);
        }),
    ]);
    check_allowed(&[
        ("the other direction", |p| recurrent(p, LSTM).reverse = true),
        ("a hidden state far from zero", |p| recurrent(p, GRU).range.zero_point = 127),
        ("a hidden multiplier of any size", |p| recurrent(p, GRU).hidden_multiplier = f32::MAX),
    ]);
}
