//! Weights of fewer bytes, rows at scales of their own, and recurrent layers: every variant gives the bits of
//! plain loops.

use std::vec;
use std::vec::Vec;

use super::product::{ConvArgs, PANEL, weight_elems};
use super::recurrent::{Product, RecurrentArgs, recurrent};
use super::tests::{bits, bound, values};
use super::weights::{Weights, panels, scratch_elems};
use super::*;
use crate::conv::conformance::token;
use crate::conv::{BoundRow, ConvShape, WeightSource, Weights as Int8Weights, rows};
use crate::recurrent::activation::{sigmoid, tanh};
use crate::recurrent::{BoundGates, Cell, RecurrentShape};
use crate::requantize::OutputRange;

const UNBOUNDED: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];

/// Half precision of the numbers 1 to 2, with signs.
fn halves(count: usize) -> Vec<u16> {
    (0..count).map(|i| 0x3c00 | (i * 37 % 1024) as u16 | ((i % 3 == 0) as u16) << 15).collect()
}

#[test]
fn weights_of_fewer_bytes_give_what_the_weights_that_they_stand_for_give() {
    let depthwise = ConvShape {
        in_h: 3,
        in_w: 4,
        out_h: 3,
        out_w: 4,
        kernel_h: 3,
        kernel_w: 3,
        pad_top: 1,
        pad_left: 1,
        in_channels: 21,
        groups: 21,
        ..ConvShape::fully_connected(1, 21, 21)
    };
    let grouped = ConvShape { in_channels: 6, out_channels: 38, groups: 2, ..depthwise };
    let shapes =
        [depthwise, grouped, ConvShape::fully_connected(5, 70, 33), ConvShape::fully_connected(1, 3, 16)];
    for shape in shapes {
        let (input, bias) = (values(1, shape.input_elems()), values(2, shape.out_channels));
        let elems = weight_elems(&shape);
        let int8: Vec<i8> = (0..elems).map(|i| (i * 29 % 255) as i8).collect();
        let scales: Vec<f32> = values(3, shape.out_channels).iter().map(|x| x.abs() + 0.01).collect();
        let halves = halves(elems);
        let scale_of = |at: usize| {
            if shape.is_depthwise() {
                return scales[at % shape.out_channels];
            }
            let (panel, within) = (at / scratch_elems(&shape), at % PANEL);
            let n = shape.group_out_channels();
            let channel = panel % n.div_ceil(PANEL) * PANEL + within;
            if channel < n { scales[panel / n.div_ceil(PANEL) * n + channel] } else { 0.0 }
        };
        let of_int8: Vec<f32> = int8.iter().enumerate().map(|(at, &w)| w as f32 * scale_of(at)).collect();
        let of_half = |half: &u16| {
            let magnitude = f32::from_bits(0x3f80_0000 | u32::from(half & 0x3ff) << 13);
            if half >> 15 == 1 { -magnitude } else { magnitude }
        };
        let of_halves: Vec<f32> = halves.iter().map(of_half).collect();
        let run = |variant: &BoundVariant, weights: Weights<'_>| {
            let mut output = vec![f32::NAN; shape.output_pixels() * shape.out_channels];
            let mut scratch = vec![f32::NAN; scratch_elems(&shape)];
            let mut calls = 0;
            variant.panels(&shape, &weights, &mut scratch, |panels, weights| {
                calls += 1;
                let args = ConvArgs { shape, input: &input, weights, panels, bias: &bias, bounds: UNBOUNDED };
                variant.conv(&args, 0..shape.output_pixels(), &mut output);
            });
            assert_eq!(calls, if matches!(weights, Weights::F32(_)) { 1 } else { panels(&shape) });
            bits(&output)
        };
        for variant in bound() {
            let int8 = run(&variant, Weights::I8 { values: &int8, scales: &scales });
            assert_eq!(int8, run(&variant, Weights::F32(&of_int8)), "{shape:?}");
            assert_eq!(
                run(&variant, Weights::F16(&halves)),
                run(&variant, Weights::F32(&of_halves)),
                "{shape:?}"
            );
        }
    }
}

#[test]
fn rows_have_scales_that_hold_their_largest_value() {
    let channels = 37;
    let mut input = values(4, channels * 7);
    let row = |index: usize| index * channels..(index + 1) * channels;
    input[row(1)].fill(0.0);
    input[row(2)].iter_mut().for_each(|x| *x *= 1e-33);
    input[row(3)][5] = f32::NAN;
    input[row(4)][36] = f32::INFINITY;
    input[row(5)].iter_mut().for_each(|x| *x = x.abs());
    for (zero_point, levels) in [(0, 127.0), (-128, 255.0)] {
        for variant in bound() {
            let (mut output, mut scales) = (vec![99; input.len()], vec![f32::NAN; 7]);
            variant.quantize_rows(channels, zero_point, &input, &mut output, &mut scales);
            for (index, scale) in scales.iter().enumerate() {
                let most = input[row(index)].iter().fold(0.0_f32, |most, x| most.max(x.abs()));
                let (real, inverse) = if most < 8e-31 { (0.0, 0.0) } else { (most / levels, levels / most) };
                assert_eq!(scale.to_bits(), real.to_bits());
                for (&x, &q) in input[row(index)].iter().zip(&output[row(index)]) {
                    assert_eq!(q, OutputRange::full(zero_point.into()).quantize(x * inverse), "{x}");
                }
            }
            assert_eq!(output[row(1)], [zero_point; 37]);
            assert_eq!(output[row(3)][5], -128);
            let largest = output[row(0)].iter().map(|q| i32::from(q.unsigned_abs())).max();
            assert_eq!(largest, Some(if zero_point == 0 { 127 } else { 128 }));
        }
    }
}

#[test]
fn products_of_rows_are_brought_back_by_the_scale_of_their_row() {
    let (rows, bias, scales) = (values(8, 6 * 19), values(9, 19), values(10, 3));
    let args = quantize::RescaleArgs { scales: &scales, rows_of_scale: 2, bias: &bias, bounds: [-1.0, 6.0] };
    let real = |i: usize| (rows[i] * scales[i / 38] + bias[i % 19]).clamp(-1.0, 6.0);
    let wanted: Vec<f32> = (0..rows.len()).map(real).collect();
    for variant in bound() {
        let mut output = rows.clone();
        let (first, second) = output.split_at_mut(19);
        variant.rescale_rows(&args, 0..1, first);
        variant.rescale_rows(&args, 1..6, second);
        assert_eq!(bits(&output), bits(&wanted));
    }
}

/// One unit after the other; `product` gives what hidden states make of a gate of a unit.
fn expected(
    shape: &RecurrentShape,
    input: &[f32],
    initial: [&[f32]; 2],
    product: impl Fn(&[f32], usize) -> f32,
) -> [Vec<u32>; 2] {
    let RecurrentShape { cell, steps, batch, hidden, reverse } = *shape;
    let gates = cell.gates();
    let (mut before, mut state) = (initial[0].to_vec(), initial[1].to_vec());
    let mut output = vec![0.0; steps * batch * hidden];
    for index in 0..steps {
        let step = if reverse { steps - 1 - index } else { index };
        let mut now = before.clone();
        for (b, unit) in (0..batch).flat_map(|b| (0..hidden).map(move |unit| (b, unit))) {
            let h = &before[b * hidden..][..hidden];
            let p = |gate: usize| product(h, gate * hidden + unit);
            let x = |gate: usize| input[((step * batch + b) * gates + gate) * hidden + unit];
            let held = &mut state[b * hidden + unit];
            now[b * hidden + unit] = if cell == Cell::Lstm {
                let [i, o, f] = [0, 1, 2].map(|gate| sigmoid(x(gate) + p(gate)));
                *held = f * *held + i * tanh(x(3) + p(3));
                o * tanh(*held)
            } else {
                let [z, r] = [0, 1].map(|gate| sigmoid(x(gate) + p(gate)));
                let n = tanh(x(2) + r * p(2));
                *held = n + z * (*held - n);
                *held
            };
        }
        output[step * batch * hidden..][..batch * hidden].copy_from_slice(&now);
        before = now;
    }
    [bits(&output), bits(&state)]
}

#[test]
fn recurrent_layers_are_the_formulas_bit_by_bit() {
    for (cell, [steps, batch, hidden], reverse) in [
        (Cell::Lstm, [1, 1, 1], false),
        (Cell::Lstm, [4, 2, 19], true),
        (Cell::Gru, [5, 1, 32], false),
        (Cell::Gru, [3, 3, 7], true),
    ] {
        let shape = RecurrentShape { cell, steps, batch, hidden, reverse };
        let conv = shape.conv();
        let outputs = conv.out_channels;
        let input = values(5, steps * shape.product_elems());
        let bias = values(6, outputs);
        let weights: Vec<i8> =
            (0..outputs * hidden).map(|i| (i * 31 % 255) as i8).map(|w| w.max(-127)).collect();
        let scales: Vec<f32> = (0..outputs).map(|n| 0.001 + n as f32 * 1e-5).collect();
        let real: Vec<f32> =
            weights.iter().enumerate().map(|(i, &w)| w as f32 * scales[i / hidden]).collect();
        let initial: Vec<f32> = values(7, shape.state_elems()).iter().map(|x| x.clamp(-1.0, 1.0)).collect();
        let in_f32 = expected(&shape, &input, [&initial, &initial], |h, n| {
            h.iter().zip(&real[n * hidden..]).fold(bias[n], |sum, (h, w)| sum + h * w)
        });
        let in_int8 = expected(&shape, &input, [&initial, &initial], |h, n| {
            let (mut q, mut scale) = (vec![0; hidden], [0.0]);
            quantize::quantize_rows(hidden, 0, h, &mut q, &mut scale);
            let sum: i32 =
                q.iter().zip(&weights[n * hidden..]).map(|(&q, &w)| i32::from(q) * i32::from(w)).sum();
            (sum as f32 * scales[n]) * scale[0] + bias[n]
        });
        let mut packed = vec![0; weight_elems(&conv)];
        for (n, row) in weights.chunks(hidden).enumerate() {
            for (k, &w) in row.iter().enumerate() {
                packed[(n / PANEL * hidden + k) * PANEL + n % PANEL] = w;
            }
        }
        let run = |variant: &BoundVariant, weights: Product<'_>| {
            let mut output = vec![f32::NAN; steps * shape.state_elems()];
            let mut state = vec![f32::NAN; shape.state_elems()];
            let mut product = vec![f32::NAN; shape.product_elems()];
            let mut args = RecurrentArgs {
                shape,
                input: &input,
                bias: &bias,
                weights,
                initial_hidden: &initial,
                initial_state: &initial,
                state: &mut state,
                output: &mut output,
                product: &mut product,
            };
            recurrent(variant, &BoundGates::new(token()), &mut args).unwrap();
            [bits(&output), bits(&state)]
        };
        for variant in bound() {
            let mut scratch = vec![f32::NAN; scratch_elems(&conv)];
            let panels = Weights::I8 { values: &packed, scales: &scales };
            let got = run(&variant, Product::Panels { weights: panels, scratch: &mut scratch });
            assert_eq!(got, in_f32, "{shape:?}");
            for row in rows().filter(|row| row.accepts(&conv)) {
                let Some(bound) = BoundRow::new(row, token()) else { continue };
                let zeros = vec![0; outputs];
                let canonical = Int8Weights { weights: &weights, bias: &zeros, multiplier: &scales };
                let (mut blob, mut scratch) =
                    (Aligned::new(row.packed_bytes(&conv)), Aligned::new(row.scratch_bytes(&conv)));
                row.pack(&conv, &canonical, blob.get());
                let source = match row.layout {
                    Some(_) => WeightSource::Packed(blob.get()),
                    None => WeightSource::Canonical(canonical),
                };
                let (mut quantized, mut row_scales) = (vec![0; shape.state_elems()], vec![0.0; batch]);
                let dynamic = Product::Dynamic {
                    row: &bound,
                    weights: source,
                    quantized: &mut quantized,
                    scales: &mut row_scales,
                    scratch: scratch.get(),
                };
                assert_eq!(run(&variant, dynamic), in_int8, "{shape:?} by {}", row.name);
            }
        }
    }
}

/// Bytes at a multiple of 64.
struct Aligned(Vec<u8>, usize);

impl Aligned {
    fn new(len: usize) -> Self {
        Self(vec![0x5a; len + 64], len)
    }

    fn get(&mut self) -> &mut [u8] {
        let start = self.0.as_ptr().addr().wrapping_neg() % 64;
        &mut self.0[start..][..self.1]
    }
}
