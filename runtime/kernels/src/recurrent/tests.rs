//! Every row and every variant against plain loops, bit for bit.

use std::vec::Vec;
use std::{println, vec};

use super::*;
use crate::conv::conformance::token;
use crate::conv::{Weights, rows};
use crate::isa::IsaSet;

/// Pseudo-random numbers in [-1, 1).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn floats(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.next() * scale).collect()
    }

    fn bytes(&mut self, count: usize) -> Vec<i8> {
        (0..count).map(|_| (self.next() * 127.4) as i8).collect()
    }
}

/// A layer's constants and input.
struct Layer {
    shape: RecurrentShape,
    input: Vec<f32>,
    weights: Vec<i8>,
    bias: Vec<i32>,
    multiplier: Vec<f32>,
    initial_hidden: Vec<i8>,
    initial_state: Vec<f32>,
    range: OutputRange,
}

const HIDDEN_MULTIPLIER: f32 = 120.0;

impl Layer {
    fn new(shape: RecurrentShape, seed: u64) -> Self {
        let mut random = Random(seed);
        let outputs = shape.cell.gates() * shape.hidden;
        let mut input = random.floats(shape.steps * shape.product_elems(), 4.0);
        // What a hostile plan's wide product may hold.
        for (at, value) in [(0, f32::INFINITY), (1, f32::NEG_INFINITY), (2, f32::MAX), (3, -0.0)] {
            if let Some(slot) = input.get_mut(at * 7 + 1) {
                *slot = value;
            }
        }
        Self {
            shape,
            input,
            weights: random.bytes(outputs * shape.hidden),
            bias: (0..outputs as i32).map(|i| i * 37 - 500).collect(),
            multiplier: (0..outputs).map(|_| 0.000_1 + random.next().abs() * 1e-4).collect(),
            initial_hidden: random.bytes(shape.state_elems()),
            initial_state: random.floats(shape.state_elems(), 1.0),
            range: OutputRange { zero_point: -5, min: -128, max: 120 },
        }
    }

    fn weights(&self) -> Weights<'_> {
        Weights { weights: &self.weights, bias: &self.bias, multiplier: &self.multiplier }
    }

    /// One unit after the other, one step after the other.
    fn expected(&self) -> (Vec<i8>, Vec<f32>) {
        let RecurrentShape { cell, steps, batch, hidden, reverse } = self.shape;
        let gates = cell.gates();
        let mut output = vec![0; steps * batch * hidden];
        let mut state = self.initial_state.clone();
        let mut before = self.initial_hidden.clone();
        for index in 0..steps {
            let step = if reverse { steps - 1 - index } else { index };
            let mut now = vec![0; batch * hidden];
            for b in 0..batch {
                for unit in 0..hidden {
                    let product = |gate: usize| {
                        let n = gate * hidden + unit;
                        let h = &before[b * hidden..][..hidden];
                        let dot = (0..hidden).map(|k| h[k] as i32 * self.weights[n * hidden + k] as i32);
                        (self.bias[n] + dot.sum::<i32>()) as f32 * self.multiplier[n]
                    };
                    let x = |gate: usize| self.input[((step * batch + b) * gates + gate) * hidden + unit];
                    let held = &mut state[b * hidden + unit];
                    let y = match cell {
                        Cell::Lstm => {
                            let [i, o, f] = [0, 1, 2].map(|gate| sigmoid(x(gate) + product(gate)));
                            let new = f * *held + i * tanh(x(3) + product(3));
                            *held = new;
                            o * tanh(new)
                        }
                        Cell::Gru => {
                            let [z, r] = [0, 1].map(|gate| sigmoid(x(gate) + product(gate)));
                            let n = tanh(x(2) + r * product(2));
                            *held = n + z * (*held - n);
                            *held
                        }
                    };
                    now[b * hidden + unit] = self.range.quantize(y * HIDDEN_MULTIPLIER);
                }
            }
            output[step * batch * hidden..][..batch * hidden].copy_from_slice(&now);
            before = now;
        }
        (output, state)
    }

    fn run(&self, bound: &BoundRecurrent) -> (Vec<i8>, Vec<f32>) {
        let conv = self.shape.conv();
        let row = bound.row.row();
        let mut packed = Aligned::new(row.packed_bytes(&conv));
        row.pack(&conv, &self.weights(), packed.get());
        let mut scratch = Aligned::new(row.scratch_bytes(&conv));
        let mut output = vec![99; self.shape.steps * self.shape.state_elems()];
        let mut state = vec![f32::NAN; self.shape.state_elems()];
        let mut product = vec![f32::NAN; self.shape.product_elems()];
        let weights = match row.layout {
            Some(_) => WeightSource::Packed(packed.get()),
            None => WeightSource::Canonical(self.weights()),
        };
        let mut args = RecurrentArgs {
            shape: self.shape,
            input: &self.input,
            weights,
            initial_hidden: &self.initial_hidden,
            initial_state: &self.initial_state,
            state: &mut state,
            output: &mut output,
            hidden_multiplier: HIDDEN_MULTIPLIER,
            range: self.range,
            product: &mut product,
            scratch: scratch.get(),
        };
        bound.run(&mut args).unwrap();
        (output, state)
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

fn shapes() -> Vec<RecurrentShape> {
    let mut shapes = Vec::new();
    for cell in [Cell::Lstm, Cell::Gru] {
        for (steps, batch, hidden) in [(1, 1, 1), (3, 2, 5), (4, 1, 16), (5, 3, 33), (2, 1, 64), (7, 1, 40)] {
            for reverse in [false, true] {
                shapes.push(RecurrentShape { cell, steps, batch, hidden, reverse });
            }
        }
    }
    shapes
}

#[test]
fn layers_by_every_row_and_variant_equal_the_plain_loops() {
    let token = token();
    let mut ran = 0;
    for (seed, shape) in shapes().into_iter().enumerate() {
        let layer = Layer::new(shape, seed as u64);
        let expected = layer.expected();
        // Else the comparison would say nothing.
        assert!(shape.hidden < 5 || expected.0.iter().any(|q| q.abs() > 30), "{shape:?}: {:?}", expected.0);
        for row in rows().filter(|row| row.accepts(&shape.conv())) {
            let Some(row) = BoundRow::new(row, token) else { continue };
            for variant in variants().iter().filter(|variant| token.set().contains(variant.isa)) {
                let bound = BoundRecurrent { row, gates: BoundGates::new(token.lowered_to(variant.isa)) };
                let (output, state) = layer.run(&bound);
                let bits = |state: &[f32]| state.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(output, expected.0, "{shape:?} by {} and {}", row.row().name, variant.lstm);
                assert_eq!(bits(&state), bits(&expected.1), "{shape:?} by {}", variant.lstm);
                ran += 1;
            }
        }
    }
    println!("{ran} runs");
    assert!(ran >= shapes().len());
}

/// The vectors of a variant give what one number at a time gives, over the whole of f32.
#[test]
fn gates_over_every_exponent_equal_the_plain_functions() {
    let token = token();
    let values: Vec<f32> =
        (0..=u32::MAX).step_by(40_009).map(f32::from_bits).filter(|x| !x.is_nan()).collect();
    let values = &values[..values.len() / 16 * 16];
    let hidden = values.len();
    for variant in variants().iter().filter(|variant| token.set().contains(variant.isa)) {
        let gates = BoundGates::new(token.lowered_to(variant.isa));
        // The forget gate passes every value; the other gates' contributions are 0 and ½.
        let mut input = vec![0.0; 4 * hidden];
        input[2 * hidden..3 * hidden].copy_from_slice(values);
        let product = vec![0.25; 4 * hidden];
        let (mut state, mut output) = (vec![0.75; hidden], vec![0; hidden]);
        gates.run(&mut GatesArgs {
            cell: Cell::Lstm,
            hidden,
            input: &input,
            product: &product,
            state: &mut state,
            output: Hidden::I8 { output: &mut output, multiplier: 127.0, range: OutputRange::full(0) },
        });
        for (unit, &x) in values.iter().enumerate() {
            let c = sigmoid(x + 0.25) * 0.75 + sigmoid(0.25) * tanh(0.25);
            let y = sigmoid(0.25) * tanh(c);
            assert_eq!(state[unit].to_bits(), c.to_bits(), "{}: {x:e}", variant.lstm);
            assert_eq!(output[unit], OutputRange::full(0).quantize(y * 127.0), "{}: {x:e}", variant.lstm);
        }
    }
}

#[test]
fn slices_that_do_not_fit_are_refused() {
    let shape = RecurrentShape { cell: Cell::Gru, steps: 2, batch: 1, hidden: 3, reverse: false };
    let layer = Layer::new(shape, 1);
    let row = BoundRow::new(crate::conv::select(&shape.conv(), IsaSet::SCALAR), token()).unwrap();
    let bound = BoundRecurrent::new(row, IsaToken::scalar());
    let (mut state, mut output, mut product) = ([0.0; 3], [0; 5], [0.0; 9]);
    let mut args = RecurrentArgs {
        shape,
        input: &layer.input,
        weights: WeightSource::Canonical(layer.weights()),
        initial_hidden: &layer.initial_hidden,
        initial_state: &layer.initial_state,
        state: &mut state,
        output: &mut output,
        hidden_multiplier: 1.0,
        range: OutputRange::full(0),
        product: &mut product,
        scratch: &mut [],
    };
    assert_eq!(bound.run(&mut args), Err(ArgsError::Length));
}
