//! LSTM and GRU in f32.

use super::gemm;
use crate::graph::{Cell, Recurrent};

/// What a layer gives.
pub(super) struct States {
    /// `[T, B, H]`.
    pub hidden: Vec<f32>,
    /// `[B, H]` after the last step; of an LSTM.
    pub cell: Vec<f32>,
}

/// Runs a layer over `[T, B, G * H]`.
pub(super) fn run(layer: &Recurrent, input: &[f32], dims: &[usize]) -> States {
    let (steps, batch, outputs) = (dims[0], dims[1], dims[2]);
    let (gates, units) = (layer.cell.gates(), outputs / layer.cell.gates());
    let mut states = States { hidden: vec![0.0; steps * batch * units], cell: layer.initial_cell.clone() };
    let mut hidden = layer.initial_hidden.clone();
    for index in 0..steps {
        let step = if layer.reverse { steps - 1 - index } else { index };
        let mut product: Vec<f32> = layer.bias.iter().copied().cycle().take(batch * outputs).collect();
        let (rows, columns) = ((units as isize, 1), (1, units as isize));
        gemm([batch, units, outputs], &hidden, rows, &layer.weights.data, columns, &mut product);
        for (at, hidden) in hidden.iter_mut().enumerate() {
            let (b, unit) = (at / units, at % units);
            let x = |gate: usize| input[((step * batch + b) * gates + gate) * units + unit];
            let p = |gate: usize| product[(b * gates + gate) * units + unit];
            match layer.cell {
                Cell::Lstm => {
                    let [i, o, f] = [0, 1, 2].map(|gate| sigmoid(x(gate) + p(gate)));
                    let cell = &mut states.cell[at];
                    *cell = f * *cell + i * (x(3) + p(3)).tanh();
                    *hidden = o * cell.tanh();
                }
                Cell::Gru => {
                    let [z, r] = [0, 1].map(|gate| sigmoid(x(gate) + p(gate)));
                    let new = (x(2) + r * p(2)).tanh();
                    *hidden = (1.0 - z) * new + z * *hidden;
                }
            }
        }
        states.hidden[step * batch * units..][..batch * units].copy_from_slice(&hidden);
    }
    states
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
