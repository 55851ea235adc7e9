//! Weights of fewer bytes, rows quantized when they run, recurrent layers in f32: one of each for [`Parts`], and
//! those that lie.

use std::vec::Vec;

use super::float::write;
use super::hostile::{OVERLAPS_INPUT, at, check, check_allowed};
use super::parts::*;
use crate::plan::*;

impl Parts {
    pub(super) fn schemes(constants: &mut Constants) -> Vec<(&'static str, Op)> {
        let conv = ConvF32 {
            input: span(128, 128),
            output: span(256, 48),
            window: Window {
                input_dims: [1, 4, 4, 2],
                output_dims: [1, 2, 2, 3],
                kernel: [1, 1],
                stride: [2, 2],
                dilation: [1, 1],
                pad: [0, 0],
            },
            groups: 1,
            weights: constants.bytes((0..32).flat_map(|i| if i % 16 < 3 { [i, 0x3c] } else { [0, 0] })),
            format: WeightFormat::F16,
            bias: constants.floats([0.5, -1.0, 2.0]),
            bounds: [0.0, f32::INFINITY],
        };
        let depthwise = ConvF32 {
            output: span(256, 128),
            window: Window {
                output_dims: [1, 4, 4, 2],
                kernel: [3, 3],
                stride: [1, 1],
                pad: [1, 1],
                ..conv.window
            },
            groups: 2,
            weights: constants.bytes((0..18).map(|i| i * 14)),
            format: WeightFormat::I8 { scales: constants.floats([0.5, -0.25]) },
            bias: constants.floats([0.0, 1.0]),
            bounds: [f32::NEG_INFINITY, 6.0],
            ..conv
        };
        let quantize_rows = QuantizeRows {
            input: span(128, 128),
            output: span(0, 32),
            scales: span(256, 16),
            channels: 8,
            zero_point: -128,
        };
        let gru = RecurrentF32 {
            cell: Cell::Gru,
            input: span(768, 96),
            output: span(896, 32),
            state: span(928, 16),
            steps: 2,
            batch: 2,
            hidden: 2,
            reverse: true,
            weights: constants.floats((0..32).map(|i| if i % 16 < 6 { i as f32 / 8.0 } else { 0.0 })),
            product: RecurrentProduct::F32(WeightFormat::F32),
            bias: constants.floats((0..6).map(|i| i as f32)),
            initial_hidden: constants.floats([0.5, 1.0, -0.5, -1.0]),
            initial_state: constants.floats([0.5, 1.0, -0.5, -1.0]),
        };
        let lstm = RecurrentF32 {
            cell: Cell::Lstm,
            input: span(768, 128),
            output: span(896, 32),
            state: span(928, 8),
            steps: 4,
            batch: 1,
            reverse: false,
            weights: constants.bytes((0..16).map(|i| i * 14)),
            product: RecurrentProduct::Dynamic {
                sums: constants.bytes([0; 32]),
                multiplier: constants.floats((1..9).map(|i| i as f32 / 64.0)),
            },
            bias: constants.floats((0..8).map(|i| -i as f32)),
            initial_hidden: constants.floats([0.0, 0.25]),
            initial_state: constants.floats([0.0, -1048576.0]),
            ..gru
        };
        std::vec![
            ("conv_f16", Op::ConvF32(conv)),
            ("depthwise_i8", Op::ConvF32(depthwise)),
            ("quantize_rows", Op::QuantizeRows(quantize_rows)),
            ("gru_f32", Op::RecurrentF32(gru)),
            ("lstm_dynamic", Op::RecurrentF32(lstm)),
        ]
    }

    pub(super) fn rescale(constants: &mut Constants) -> Vec<(&'static str, Op)> {
        let rescale_rows = RescaleRows {
            tensor: span(128, 96),
            scales: span(256, 16),
            bias: constants.floats([0.5, -1.0, 2.0]),
            bounds: [0.0, 6.0],
        };
        std::vec![("rescale_rows", Op::RescaleRows(rescale_rows))]
    }
}

#[test]
fn weights_of_fewer_bytes_that_lie_are_refused() {
    const SCRATCH: &str = "scratch, which is too small";
    check(&[
        ("halves as many as bytes", at(CONV_F16), "weights", |p| conv_f32(p, CONV_F16).weights.bytes /= 2),
        ("halves at an odd place", at(CONV_F16), "weights", |p| conv_f32(p, CONV_F16).weights.offset += 1),
        ("a half that is infinite", at(CONV_F16), "weights", |p| {
            let at = conv_f32(p, CONV_F16).weights.offset as usize;
            p.weights[at..at + 2].copy_from_slice(&[0, 0xfc]);
        }),
        ("a half that is no number", at(CONV_F16), "weights", |p| {
            let at = conv_f32(p, CONV_F16).weights.offset as usize;
            p.weights[at..at + 2].copy_from_slice(&[1, 0x7c]);
        }),
        ("no room for a panel", at(CONV_F16), SCRATCH, |p| p.steps[CONV_F16].scratch.bytes -= 4),
        ("a panel over the input", at(CONV_F16), "scratch, which overlaps a tensor", |p| {
            p.steps[CONV_F16].scratch.offset = 64;
        }),
        ("a panel over the output", at(DEPTHWISE_I8), "scratch, which overlaps a tensor", |p| {
            p.steps[DEPTHWISE_I8].scratch.offset = 320;
        }),
        ("integers of one channel less", at(DEPTHWISE_I8), "weights", |p| {
            conv_f32(p, DEPTHWISE_I8).weights.bytes -= 9;
        }),
        ("a scale less", at(DEPTHWISE_I8), "scales", |p| scales(p).bytes -= 4),
        ("scales behind the constants", at(DEPTHWISE_I8), "scales", |p| scales(p).offset = 1 << 20),
        ("a scale that is no number", at(DEPTHWISE_I8), "scales", |p| {
            let scales = *scales(p);
            write(p, scales, f32::NAN);
        }),
        ("no room for all taps", at(DEPTHWISE_I8), SCRATCH, |p| p.steps[DEPTHWISE_I8].scratch.bytes = 64),
    ]);
}

fn scales(parts: &mut Parts) -> &mut Span {
    match &mut conv_f32(parts, DEPTHWISE_I8).format {
        WeightFormat::I8 { scales } => scales,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rows_that_lie_are_refused() {
    check(&[
        ("an input of int8", at(QUANTIZE_ROWS), "input", |p| {
            quantize_rows(p, QUANTIZE_ROWS).input.bytes = 32
        }),
        ("an output behind the arena", at(QUANTIZE_ROWS), "output", |p| {
            quantize_rows(p, QUANTIZE_ROWS).output.offset = 1270;
        }),
        ("rows of nothing", at(QUANTIZE_ROWS), "channels", |p| quantize_rows(p, QUANTIZE_ROWS).channels = 0),
        ("half a row", at(QUANTIZE_ROWS), "channels", |p| quantize_rows(p, QUANTIZE_ROWS).channels = 9),
        ("a scale less", at(QUANTIZE_ROWS), "scales", |p| quantize_rows(p, QUANTIZE_ROWS).scales.bytes = 12),
        ("output over the input", at(QUANTIZE_ROWS), OVERLAPS_INPUT, |p| {
            quantize_rows(p, QUANTIZE_ROWS).output.offset = 100;
        }),
        ("scales over the output", at(QUANTIZE_ROWS), "scales, which overlap a tensor", |p| {
            quantize_rows(p, QUANTIZE_ROWS).scales.offset = 28;
        }),
        ("scales over the input", at(QUANTIZE_ROWS), "scales, which overlap a tensor", |p| {
            quantize_rows(p, QUANTIZE_ROWS).scales.offset = 252;
        }),
        ("no levels", at(QUANTIZE_ROWS), "zero_point", |p| quantize_rows(p, QUANTIZE_ROWS).zero_point = 127),
    ]);
    check_allowed(&[("zero point 0", |p| quantize_rows(p, QUANTIZE_ROWS).zero_point = 0)]);
}

#[test]
fn products_of_rows_that_lie_are_refused() {
    check(&[
        ("half a row", at(RESCALE_ROWS), "tensor", |p| rescale_rows(p, RESCALE_ROWS).tensor.bytes = 88),
        ("a row of no scale", at(RESCALE_ROWS), "tensor", |p| {
            rescale_rows(p, RESCALE_ROWS).tensor.bytes = 84
        }),
        ("a tensor behind the arena", at(RESCALE_ROWS), "tensor", |p| {
            rescale_rows(p, RESCALE_ROWS).tensor.offset = 1200;
        }),
        ("a tensor at an odd place", at(RESCALE_ROWS), "tensor", |p| {
            rescale_rows(p, RESCALE_ROWS).tensor.offset += 2;
        }),
        ("no scales", at(RESCALE_ROWS), "scales", |p| rescale_rows(p, RESCALE_ROWS).scales.bytes = 0),
        ("scales over the tensor", at(RESCALE_ROWS), "scales, which overlap a tensor", |p| {
            rescale_rows(p, RESCALE_ROWS).scales.offset = 220;
        }),
        ("no biases", at(RESCALE_ROWS), "bias", |p| rescale_rows(p, RESCALE_ROWS).bias.bytes = 0),
        ("a bias that is no number", at(RESCALE_ROWS), "bias", |p| {
            let bias = rescale_rows(p, RESCALE_ROWS).bias;
            write(p, bias, f32::NAN);
        }),
        ("unordered bounds", at(RESCALE_ROWS), "bounds", |p| {
            rescale_rows(p, RESCALE_ROWS).bounds = [1.0, 0.0];
        }),
    ]);
}

#[test]
fn recurrent_layers_of_f32_that_lie_are_refused() {
    const SCRATCH: &str = "scratch, which is too small";
    check(&[
        ("hidden states of int8", at(GRU_F32), "output", |p| recurrent_f32(p, GRU_F32).output.bytes = 8),
        ("a step more", at(GRU_F32), "input", |p| recurrent_f32(p, GRU_F32).steps = 3),
        ("a sequence less", at(GRU_F32), "input", |p| recurrent_f32(p, GRU_F32).batch = 1),
        ("no units", at(GRU_F32), "hidden", |p| recurrent_f32(p, GRU_F32).hidden = 0),
        ("output over the input", at(GRU_F32), OVERLAPS_INPUT, |p| {
            recurrent_f32(p, GRU_F32).output.offset = 860;
        }),
        ("state over the output", at(GRU_F32), "state, which overlaps a tensor", |p| {
            recurrent_f32(p, GRU_F32).state.offset = 924;
        }),
        ("weights of another cell", at(GRU_F32), "weights", |p| recurrent_f32(p, GRU_F32).weights.bytes = 64),
        ("a bias less", at(GRU_F32), "bias", |p| recurrent_f32(p, GRU_F32).bias.bytes -= 4),
        ("a state less", at(GRU_F32), "initial_state", |p| {
            recurrent_f32(p, GRU_F32).initial_state.bytes -= 4
        }),
        ("a hidden state that is infinite", at(GRU_F32), "initial_hidden", |p| {
            let initial = recurrent_f32(p, GRU_F32).initial_hidden;
            write(p, initial, f32::INFINITY);
        }),
        ("no room for a product", at(GRU_F32), SCRATCH, |p| p.steps[GRU_F32].scratch.bytes = 0),
        ("no room for a panel", at(GRU_F32), "weights", |p| {
            recurrent_f32(p, GRU_F32).product = RecurrentProduct::F32(WeightFormat::F16);
        }),
        ("no room for a panel of halves", at(GRU_F32), SCRATCH, |p| {
            recurrent_f32(p, GRU_F32).product = RecurrentProduct::F32(WeightFormat::F16);
            recurrent_f32(p, GRU_F32).weights.bytes = 64;
            p.steps[GRU_F32].scratch.bytes = 64;
        }),
        ("a weight of -128", at(LSTM_DYNAMIC), "weights, of which one is -128", |p| {
            let at = recurrent_f32(p, LSTM_DYNAMIC).weights.offset as usize;
            p.weights[at] = 0x80;
        }),
        ("a sum less", at(LSTM_DYNAMIC), "sums", |p| sums(p)[0].bytes -= 4),
        ("multiplier 0", at(LSTM_DYNAMIC), "multiplier", |p| {
            let multiplier = *sums(p)[1];
            write(p, multiplier, 0.0);
        }),
        ("no room for what is quantized", at(LSTM_DYNAMIC), SCRATCH, |p| {
            p.steps[LSTM_DYNAMIC].scratch.bytes = 128;
        }),
        ("scratch over the state", at(LSTM_DYNAMIC), "scratch, which overlaps a tensor", |p| {
            p.steps[LSTM_DYNAMIC].scratch.offset = 832;
        }),
    ]);
}

fn sums(parts: &mut Parts) -> [&mut Span; 2] {
    match &mut recurrent_f32(parts, LSTM_DYNAMIC).product {
        RecurrentProduct::Dynamic { sums, multiplier } => [sums, multiplier],
        other => panic!("{other:?}"),
    }
}
