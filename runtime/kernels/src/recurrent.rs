//! LSTM and GRU: for each time step one int8 product of the hidden state with the recurrent weights
//! (a row of the convolutions' table), then the gates in f32, in a fixed order of single operations.
//!
//! ```text
//! p = f32(sum over k of R[n, k] * h[t-1, k] + bias[n]) * multiplier[n]        [B, G * H], by the row
//! LSTM, gates i o f c:   c = σ(x_f + p_f) * c + σ(x_i + p_i) * tanh(x_c + p_c)
//!                        y = σ(x_o + p_o) * tanh(c)
//! GRU,  gates z r h:     n = tanh(x_h + σ(x_r + p_r) * p_h)
//!                        y = n + σ(x_z + p_z) * (y[t-1] - n)
//! h[t] = quantize(y * hidden_multiplier)
//! ```
//! `x` is what the input contributes to every gate, in f32: one product over all time steps, made
//! before. `c` of an LSTM and `y` of a GRU, the *state*, stays in f32. The order of gates is ONNX's.
//! (Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997; Cho et al., 2014, with the reset gate
//! applied after the product, as cuDNN and ONNX's `linear_before_reset` have it.)

pub mod activation;
#[cfg(test)]
mod tests;
mod variants;

pub use variants::{BoundGates, Variant, select, variants};

use crate::conv::{ArgsError, BoundRow, ConvArgs, ConvShape, Output, Row, WeightSource};
use crate::isa::IsaToken;
use crate::parts::{at, copy_all, stretch, stretch_mut};
use crate::requantize::OutputRange;
use activation::{sigmoid, tanh};

/// Which recurrent cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Four gates: input, output, forget, cell.
    Lstm,
    /// Three gates: update, reset, hidden.
    Gru,
}

impl Cell {
    /// Gates of one hidden unit.
    pub const fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru => 3,
        }
    }
}

/// Geometry of a recurrent layer in one direction. All sizes are at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecurrentShape {
    /// The cell.
    pub cell: Cell,
    /// T: time steps.
    pub steps: usize,
    /// B: sequences side by side.
    pub batch: usize,
    /// H: hidden units.
    pub hidden: usize,
    /// Whether time runs from the last step to the first.
    pub reverse: bool,
}

impl RecurrentShape {
    /// The product of one time step, as a convolution of 1×1 over the batch.
    pub fn conv(&self) -> ConvShape {
        ConvShape::fully_connected(self.batch, self.hidden, self.cell.gates() * self.hidden)
    }

    /// Elements of the state and of one step's output: `[B, H]`.
    pub fn state_elems(&self) -> usize {
        self.batch * self.hidden
    }

    /// Elements of one step's product: `[B, G * H]`.
    pub fn product_elems(&self) -> usize {
        self.state_elems() * self.cell.gates()
    }

    /// Bytes of scratch memory for the product, and after it for `row`.
    pub fn scratch_bytes(&self, row: &Row) -> usize {
        self.product_bytes() + row.scratch_bytes(&self.conv())
    }

    /// Bytes of the product, padded so that a row's scratch memory may follow.
    pub fn product_bytes(&self) -> usize {
        (self.product_elems() * 4).next_multiple_of(64)
    }

    /// Multiply-adds of one run.
    pub fn macs(&self) -> u64 {
        self.steps as u64 * self.conv().macs()
    }
}

/// One run of a recurrent layer over a whole sequence.
#[derive(Debug)]
pub struct RecurrentArgs<'a> {
    /// The geometry.
    pub shape: RecurrentShape,
    /// What the input contributes: `[T, B, G * H]`.
    pub input: &'a [f32],
    /// R, `[G * H, H]`, canonical or packed as the row wants.
    pub weights: WeightSource<'a>,
    /// h before the first step: `[B, H]`.
    pub initial_hidden: &'a [i8],
    /// The state before the first step: `[B, H]`, each of magnitude at most 2^20.
    pub initial_state: &'a [f32],
    /// The state after the last step: `[B, H]`.
    pub state: &'a mut [f32],
    /// h of every step: `[T, B, H]`.
    pub output: &'a mut [i8],
    /// 1 / output scale.
    pub hidden_multiplier: f32,
    /// Where h lies.
    pub range: OutputRange,
    /// `[B, G * H]`; contents do not matter.
    pub product: &'a mut [f32],
    /// At least [`Row::scratch_bytes`] of the product's shape, aligned to 64 bytes.
    pub scratch: &'a mut [u8],
}

/// A row and gates that may be run, since a token has shown that the processor has what they need.
#[derive(Clone, Copy, Debug)]
pub struct BoundRecurrent {
    row: BoundRow,
    gates: BoundGates,
}

impl BoundRecurrent {
    /// Binds a row for the product, with the best gates that the token vouches for.
    pub fn new(row: BoundRow, token: IsaToken) -> Self {
        Self { row, gates: BoundGates::new(token) }
    }

    /// Runs the layer.
    ///
    /// # Errors
    /// [`ArgsError`] where a slice does not fit the shape.
    pub fn run(&self, args: &mut RecurrentArgs<'_>) -> Result<(), ArgsError> {
        let shape = args.shape;
        let (state_elems, product_elems) = (shape.state_elems(), shape.product_elems());
        let fits = args.input.len() == shape.steps * product_elems
            && args.output.len() == shape.steps * state_elems
            && args.initial_hidden.len() == state_elems
            && args.initial_state.len() == state_elems
            && args.state.len() == state_elems
            && args.product.len() == product_elems;
        if !fits {
            return Err(ArgsError::Length);
        }
        args.state.copy_from_slice(args.initial_state);
        for index in 0..shape.steps {
            let (step, hidden, output) = time_step(&shape, index, args.initial_hidden, args.output);
            self.row.run(&mut ConvArgs {
                shape: shape.conv(),
                input: hidden,
                input_zero_point: 0,
                weights: args.weights,
                output: Output::F32(args.product),
                residual: None,
                scratch: args.scratch,
            })?;
            self.gates.run(&mut GatesArgs {
                cell: shape.cell,
                hidden: shape.hidden,
                input: stretch(args.input, step * product_elems, product_elems),
                product: args.product,
                state: args.state,
                output: Hidden::I8 { output, multiplier: args.hidden_multiplier, range: args.range },
            });
        }
        Ok(())
    }
}

/// The place in time of the step that comes `index`-th, the hidden states before it, and where its own go.
pub(crate) fn time_step<'a, T>(
    shape: &RecurrentShape,
    index: usize,
    initial: &'a [T],
    output: &'a mut [T],
) -> (usize, &'a [T], &'a mut [T]) {
    let elems = shape.state_elems();
    let at = |index: usize| if shape.reverse { shape.steps - 1 - index } else { index };
    let step = at(index);
    let range = |step: usize| step * elems..(step + 1) * elems;
    if index == 0 {
        return (step, initial, stretch_mut(output, step * elems, elems));
    }
    match output.get_disjoint_mut([range(at(index - 1)), range(step)]) {
        Ok([before, own]) => (step, before, own),
        // The output has all steps.
        Err(_) => (step, &[], &mut []),
    }
}

/// The gates of one time step.
#[derive(Debug)]
pub struct GatesArgs<'a> {
    /// The cell.
    pub cell: Cell,
    /// H.
    pub hidden: usize,
    /// What the input contributes: `[B, G * H]`.
    pub input: &'a [f32],
    /// What the hidden state contributes: `[B, G * H]`.
    pub product: &'a [f32],
    /// `[B, H]`.
    pub state: &'a mut [f32],
    /// `[B, H]`.
    pub output: Hidden<'a>,
}

/// Where hidden states go.
#[derive(Debug)]
pub enum Hidden<'a> {
    /// To int8, as `y * multiplier`.
    I8 {
        /// The results.
        output: &'a mut [i8],
        /// 1 / output scale.
        multiplier: f32,
        /// Where the output lies.
        range: OutputRange,
    },
    /// As they are.
    F32(&'a mut [f32]),
}

impl Hidden<'_> {
    /// Stores the values of units from `at` on.
    #[inline(always)]
    fn store(&mut self, at: usize, y: &[f32]) {
        match self {
            Self::I8 { output, multiplier, range } => {
                for (q, y) in stretch_mut(output, at, y.len()).iter_mut().zip(y) {
                    *q = range.quantize(y * *multiplier);
                }
            }
            Self::F32(output) => copy_all(y, stretch_mut(output, at, y.len())),
        }
    }
}

/// Units that are computed together: what a compiler makes vectors of.
const LANES: usize = 16;
type Lanes = [f32; LANES];

/// The definition of the gates, in portable code. Slices have the lengths that [`GatesArgs`]
/// documents.
#[inline(always)]
pub fn gates(args: &mut GatesArgs<'_>) {
    match args.cell {
        Cell::Lstm => blocks(args, lstm),
        Cell::Gru => blocks(args, gru),
    }
}

/// Gives `cell` the gates of [`LANES`] units at a time, from the input and from the hidden state, and
/// their states, which it changes; stores what it returns.
#[inline(always)]
fn blocks<const G: usize>(
    args: &mut GatesArgs<'_>,
    cell: impl Fn(&[Lanes; G], &[Lanes; G], &mut Lanes) -> Lanes,
) {
    let hidden = args.hidden;
    // Said so that there need be no panic for none.
    let (units, values) = (hidden.max(1), (G * hidden).max(1));
    let mut products = args.product.chunks_exact(values);
    let rows = args.input.chunks_exact(values).map_while(|input| Some((input, products.next()?)));
    let mut states = args.state.chunks_exact_mut(units);
    for (row, (input, product)) in rows.enumerate() {
        let Some(state) = states.next() else { return };
        let x = gates_of::<G>(input, hidden);
        let p = gates_of::<G>(product, hidden);
        let (states, last_state) = state.as_chunks_mut::<LANES>();
        let mut first = row * hidden;
        for (block, state) in states.iter_mut().enumerate() {
            let (x, p) = (x.map(|(whole, _)| at(whole, block)), p.map(|(whole, _)| at(whole, block)));
            args.output.store(first, &cell(&x, &p, state));
            first += LANES;
        }
        if !last_state.is_empty() {
            let (x, p) = (x.map(|(_, last)| padded(last)), p.map(|(_, last)| padded(last)));
            let mut held = padded(last_state);
            let y = cell(&x, &p, &mut held);
            copy_all(&held, last_state);
            args.output.store(first, stretch(&y, 0, last_state.len()));
        }
    }
}

/// By gate: the values of whole blocks of units, and the rest.
#[inline(always)]
fn gates_of<const G: usize>(row: &[f32], hidden: usize) -> [(&[Lanes], &[f32]); G] {
    core::array::from_fn(|g| stretch(row, g * hidden, hidden).as_chunks())
}

/// The values of a slice, zeros after them.
#[inline(always)]
fn padded(from: &[f32]) -> Lanes {
    let mut lanes = [0.0; LANES];
    copy_all(from, &mut lanes);
    lanes
}

#[inline(always)]
fn lstm(x: &[Lanes; 4], p: &[Lanes; 4], c: &mut Lanes) -> Lanes {
    let mut y = [0.0; LANES];
    for l in 0..LANES {
        let [i, o, f] = [x[0][l] + p[0][l], x[1][l] + p[1][l], x[2][l] + p[2][l]].map(sigmoid);
        c[l] = f * c[l] + i * tanh(x[3][l] + p[3][l]);
        y[l] = o * tanh(c[l]);
    }
    y
}

#[inline(always)]
fn gru(x: &[Lanes; 3], p: &[Lanes; 3], y: &mut Lanes) -> Lanes {
    for l in 0..LANES {
        let [z, r] = [x[0][l] + p[0][l], x[1][l] + p[1][l]].map(sigmoid);
        let n = tanh(x[2][l] + r * p[2][l]);
        y[l] = n + z * (y[l] - n);
    }
    *y
}
