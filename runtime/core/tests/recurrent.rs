//! LSTM and GRU steps give what their definition says, on every instruction set.

mod common;

use common::{Model, Values, quantize, range, span, values};
use edgepack_core::format::plan::{Cell, ElemType, Op, Range, Recurrent};

/// The coefficients of FORMAT.md, section 4, of the highest power first.
const P: [f32; 4] = [1.142_813_2e-5, 2.950_997e-3, 0.129_256_38, 0.999_999_9];
const Q: [f32; 5] = [2.459_117_6e-7, 2.386_653_6e-4, 2.381_544_6e-2, 0.462_588_55, 1.0];

fn tanh(x: f32) -> f32 {
    let x = x.clamp(-8.0, 8.0);
    let s = x * x;
    let horner = |of: &[f32]| of[1..].iter().fold(of[0], |sum, c| sum * s + c);
    (x * horner(&P)) / horner(&Q)
}

fn sigmoid(x: f32) -> f32 {
    0.5 * tanh(0.5 * x) + 0.5
}

/// A layer whose input is what a wide product of a model's input gives.
struct Layer {
    cell: Cell,
    sizes: [usize; 3],
    reverse: bool,
    range: Range,
}

impl Layer {
    /// The model, and what its outputs must be.
    fn model(&self, input: &[i8]) -> (Model, [Values; 2]) {
        let [steps, batch, hidden] = self.sizes;
        let gates = self.cell.gates() as usize;
        let states = batch * hidden;
        let mut model = Model::default();
        let from = model.input(input.len());
        let table: Vec<f32> = (0..256).map(|i| (i as f32 - 128.0) / 40.0).collect();
        let x: Vec<f32> = input.iter().map(|&q| table[(i32::from(q) + 128) as usize]).collect();
        let wide = model.buffer(4 * input.len());
        let table = model.f32s(&table);
        let lookup = edgepack_core::format::plan::Lookup { input: from, output: wide, table, to_f32: true };
        model.step(Op::Lookup(lookup));
        let weights: Vec<i8> = values(3, gates * hidden * hidden).iter().map(|&w| w.max(-127)).collect();
        let bias: Vec<i32> = (0..gates * hidden).map(|n| n as i32 * 13 - 99).collect();
        let multiplier: Vec<f32> = (0..gates * hidden).map(|n| 1e-4 + n as f32 * 1e-6).collect();
        let initial_hidden = values(4, states);
        let initial_state: Vec<f32> = (0..states).map(|i| i as f32 / 16.0 - 0.5).collect();
        let (output, state) = (model.output_i8(steps * states), model.output_f32(states));
        let step = Recurrent {
            cell: self.cell,
            input: wide,
            output,
            state,
            steps: steps as u32,
            batch: batch as u32,
            hidden: hidden as u32,
            reverse: self.reverse,
            weights: model.i8s(&weights),
            bias: model.i32s(&bias),
            multiplier: model.f32s(&multiplier),
            initial_hidden: model.i8s(&initial_hidden),
            initial_state: model.f32s(&initial_state),
            hidden_multiplier: 100.0,
            range: self.range,
        };
        model.step(Op::Recurrent(step));
        let (mut h, mut s, mut outputs) = (initial_hidden, initial_state, vec![0; steps * states]);
        for index in 0..steps {
            let t = if self.reverse { steps - 1 - index } else { index };
            let before = h.clone();
            for (unit, h) in h.iter_mut().enumerate() {
                let (b, j) = (unit / hidden, unit % hidden);
                let p = |gate: usize| {
                    let n = gate * hidden + j;
                    let (h, w) = (&before[b * hidden..][..hidden], &weights[n * hidden..][..hidden]);
                    let dot: i32 = h.iter().zip(w).map(|(&h, &w)| i32::from(h) * i32::from(w)).sum();
                    (bias[n] + dot) as f32 * multiplier[n]
                };
                let x = |gate: usize| x[((t * batch + b) * gates + gate) * hidden + j];
                let y = if self.cell == Cell::Lstm {
                    let [i, o, f] = [0, 1, 2].map(|gate| sigmoid(x(gate) + p(gate)));
                    s[unit] = f * s[unit] + i * tanh(x(3) + p(3));
                    o * tanh(s[unit])
                } else {
                    let m = tanh(x(2) + sigmoid(x(1) + p(1)) * p(2));
                    s[unit] = m + sigmoid(x(0) + p(0)) * (s[unit] - m);
                    s[unit]
                };
                *h = quantize(y * 100.0, self.range);
            }
            outputs[t * states..][..states].copy_from_slice(&h);
        }
        (model, [Values::I8(outputs), Values::F32(s)])
    }
}

#[test]
fn layers_give_every_hidden_state_and_the_last_state() {
    for cell in [Cell::Lstm, Cell::Gru] {
        for sizes in [[1, 1, 1], [5, 1, 7], [3, 2, 16], [4, 3, 37], [9, 1, 64]] {
            for reverse in [false, true] {
                for range in [range(0, -128, 127), range(-31, -128, 90)] {
                    let layer = Layer { cell, sizes, reverse, range };
                    let input = values(9, sizes.iter().product::<usize>() * cell.gates() as usize);
                    let (model, expected) = layer.model(&input);
                    let got = model.run_everywhere(&[&input]);
                    assert_eq!(got, expected, "{cell:?} of {sizes:?}, reverse {reverse}, {range:?}");
                }
            }
        }
    }
}

/// A layer that carries its weights runs on them: others give another result.
#[test]
fn prepacked_weights_of_a_layer_are_used() {
    use edgepack_core::kernels::conv::{Layout, select};
    use edgepack_core::product_shape;
    let layer = Layer { cell: Cell::Lstm, sizes: [4, 1, 24], reverse: false, range: range(0, -128, 127) };
    let input = values(5, 4 * 4 * 24);
    let (model, expected) = layer.model(&input);
    for token in common::packing_tokens() {
        let shape = product_shape(&model.steps[1].op).unwrap();
        let Some(layout): Option<&Layout> = select(&shape, token.set()).layout else { continue };
        let mut carrying = model.clone();
        // Weights of zero: every bias and multiplier too, so that h says only what the input does.
        carrying.prepacked = vec![(layout.key, vec![0; layout.packed_bytes(&shape)])];
        let got = carrying.run(token, &[&input]);
        assert_ne!(got, expected.to_vec(), "{}", token.set());
        let package = carrying.package();
        let needed = |package: &common::Aligned| {
            let package = edgepack_core::format::Package::parse(package.get()).unwrap();
            edgepack_core::requirements(&package, token).packed_bytes
        };
        assert_eq!(needed(&package), 0);
        assert_eq!(needed(&model.package()), layout.packed_bytes(&shape));
    }
    assert_eq!(model.outputs[0].dtype, ElemType::I8);
    assert_ne!(model.steps[1].scratch, span(0, 0));
}
