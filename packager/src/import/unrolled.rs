//! Recurrent layers that the recurrent step does not compute (other activations, clips, peepholes, states
//! that the application gives, the plain RNN): their steps one after the other, of products, tables and
//! sums.

use super::{Context, Importer};
use crate::error::Result;
use crate::graph::{BinaryKind, FullyConnected, Op, Precision, Tensor, ValueId};
use crate::unary::Unary;

/// More time steps than these are refused: each is a dozen steps of the plan.
pub(super) const MAX_STEPS: usize = 64;

/// Which layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One product and one activation.
    Rnn,
    /// Gates z, r, h.
    Gru,
    /// Gates i, o, f, c.
    Lstm,
}

impl Kind {
    fn gates(self) -> usize {
        match self {
            Self::Rnn => 1,
            Self::Gru => 3,
            Self::Lstm => 4,
        }
    }

    fn activations(self) -> &'static [&'static str] {
        match self {
            Self::Rnn => &["Tanh"],
            Self::Gru => &["Sigmoid", "Tanh"],
            Self::Lstm => &["Sigmoid", "Tanh", "Tanh"],
        }
    }
}

/// One direction of a layer.
struct Direction<'a, 'c> {
    context: &'a Context<'c>,
    kind: Kind,
    /// What messages and values are called after.
    prefix: String,
    hidden: usize,
    batch: usize,
    /// `[G * H, H]`, and what is added to it.
    recurrent: Tensor,
    recurrent_bias: Vec<f32>,
    /// `[3, H]` of an LSTM: i, o, f.
    peepholes: Option<Vec<f32>>,
    activations: Vec<Unary>,
    clip: Option<f32>,
    /// The reset gate is applied to the product, and not before it.
    linear_before_reset: bool,
    coupled: bool,
}

/// The states of a layer, `[B, H]`.
#[derive(Clone, Copy)]
struct States {
    hidden: Option<ValueId>,
    cell: Option<ValueId>,
}

pub(super) fn unroll(importer: &mut Importer, context: &Context<'_>, kind: Kind) -> Result<()> {
    let attributes = context.attributes();
    let batch_first = attributes.int("layout", 0) != 0;
    let input = importer.input(context, 0)?;
    let input = match (batch_first, importer.graph.dims(input).len()) {
        (true, 3) => importer.transpose_part(context, "time first", input, vec![1, 0, 2]),
        _ => input,
    };
    let [steps, batch, inputs] = importer.graph.dims(input)[..] else {
        return Err(context.invalid(format!("its input has the shape {:?}", importer.graph.dims(input))));
    };
    if steps > MAX_STEPS {
        return Err(context.unsupported(
            &format!("has {steps} time steps in a form that edgepack runs step by step"),
            &format!(
                "bind fewer than {MAX_STEPS} of them, or use the default activations and constant states"
            ),
        ));
    }
    let lengths = importer.integers(context, 4)?;
    if let Some(lengths) = lengths.filter(|lengths| lengths.iter().any(|&length| length != steps as i64)) {
        return Err(context.unsupported(
            &format!("has sequences of the lengths {lengths:?}, of {steps} steps"),
            "edgepack runs whole sequences: leave sequence_lens out",
        ));
    }
    let directions: &[bool] = match attributes.string("direction", "forward") {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => return Err(context.invalid(format!("its direction is `{other}`"))),
    };
    let gates = kind.gates();
    let (weights, recurrent) = (importer.constant(context, 1)?, importer.constant(context, 2)?);
    let hidden = recurrent.dims.last().copied().unwrap_or(0);
    let count = directions.len();
    let fits =
        weights.dims == [count, gates * hidden, inputs] && recurrent.dims == [count, gates * hidden, hidden];
    if !fits || hidden == 0 {
        return Err(context.invalid(format!("its weights are {:?} and {:?}", weights.dims, recurrent.dims)));
    }
    let biases = importer.optional_constant(context, 3)?.map(|bias| bias.data.to_vec());
    let biases = biases.unwrap_or_else(|| vec![0.0; count * 2 * gates * hidden]);
    let peepholes = match kind {
        Kind::Lstm => importer.optional_constant(context, 7)?.map(|p| p.data.to_vec()),
        _ => None,
    };
    let mut initial = |index: usize| -> Result<Option<ValueId>> {
        match context.node.input.get(index).filter(|name| !name.is_empty()) {
            Some(_) if index == 5 || kind == Kind::Lstm => importer.input(context, index).map(Some),
            _ => Ok(None),
        }
    };
    let (initial_hidden, initial_cell) = (initial(5)?, initial(6)?);
    let mut outputs: [Vec<ValueId>; 3] = Default::default();
    for (index, &reverse) in directions.iter().enumerate() {
        let part = |data: &[f32], elems: usize| data[index * elems..][..elems].to_vec();
        let bias = part(&biases, 2 * gates * hidden);
        let (of_input, of_hidden) = bias.split_at(gates * hidden);
        let direction = Direction {
            context,
            kind,
            prefix: if reverse { "reverse" } else { "forward" }.into(),
            hidden,
            batch,
            recurrent: recurrent.at(index),
            recurrent_bias: of_hidden.to_vec(),
            peepholes: peepholes.as_ref().map(|p| part(p, 3 * hidden)),
            activations: activations(context, kind, index)?,
            clip: attributes.optional_float("clip").filter(|&clip| clip > 0.0),
            linear_before_reset: attributes.int("linear_before_reset", 0) != 0,
            coupled: attributes.int("input_forget", 0) != 0,
        };
        let product = FullyConnected { weights: weights.at(index), bias: of_input.to_vec() };
        let what = format!("input gates, {}", direction.prefix);
        let dims = vec![steps, batch, gates * hidden];
        let products = importer.part(context, &what, Op::FullyConnected(product), vec![input], dims);
        let state = |importer: &mut Importer, state: Option<ValueId>, what: &str| {
            // A state of zeros is none.
            let constant = |id: &ValueId| importer.graph.value(*id).constant.as_ref();
            let state = state.filter(|id| constant(id).is_none_or(|c| c.data.iter().any(|&x| x != 0.0)))?;
            let slice = importer.state_part(context, what, state, index, batch_first);
            Some(importer.matrix_of(context, what, slice, [batch, hidden]))
        };
        let mut states = States {
            hidden: state(importer, initial_hidden, "initial_h"),
            cell: state(importer, initial_cell, "initial_c"),
        };
        let mut all = vec![None; steps];
        for at in 0..steps {
            let time = if reverse { steps - 1 - at } else { at };
            let starts = vec![time, 0, 0];
            let op = Op::Slice { starts, steps: vec![1; 3] };
            let what = format!("{}, step {time}", direction.prefix);
            let gate = importer.part(context, &what, op, vec![products], vec![1, batch, gates * hidden]);
            let gate =
                importer.reshape_part(context, &format!("{what}, gates"), gate, vec![batch, gates * hidden]);
            states = direction.step(importer, time, gate, states)?;
            all[time] = states.hidden;
        }
        let one = |importer: &mut Importer, id: ValueId, what: &str| {
            let dims = if batch_first { vec![batch, 1, hidden] } else { vec![1, batch, hidden] };
            importer.reshape_part(context, what, id, dims)
        };
        let states_of_all = all.into_iter().flatten().collect();
        outputs[0].push(importer.sequence(context, &direction, states_of_all, batch_first));
        for (output, state) in [(1, states.hidden), (2, states.cell)] {
            if let Some(state) = state {
                outputs[output].push(one(importer, state, &format!("last state {output}, {index}")));
            }
        }
    }
    // [T, D, B, H] and [D, B, H]; [B, T, D, H] and [B, D, H] where the batch is first.
    let axes = if batch_first { [2, 1, 1] } else { [1, 0, 0] };
    for (index, (parts, axis)) in outputs.into_iter().zip(axes).enumerate() {
        let id = match parts[..] {
            [] => continue,
            [only] => only,
            _ => {
                let mut dims = importer.graph.dims(parts[0]).to_vec();
                dims[axis] = parts.len();
                importer.part(context, &format!("both, {index}"), Op::Concat { axis }, parts, dims)
            }
        };
        importer.result(context, index, id)?;
    }
    Ok(())
}

/// The activations of one direction, with their parameters.
fn activations(context: &Context<'_>, kind: Kind, direction: usize) -> Result<Vec<Unary>> {
    let attributes = context.attributes();
    let default = kind.activations();
    let names = attributes.strings("activations").filter(|names| !names.is_empty());
    let names: Vec<&str> = match &names {
        Some(names) => names.iter().copied().skip(direction * default.len()).take(default.len()).collect(),
        None => default.to_vec(),
    };
    let parameter = |name: &str, default: f32| {
        attributes.find_floats(name).and_then(|values| values.first().copied()).unwrap_or(default)
    };
    let function = |name: &&str| match name.to_ascii_lowercase().as_str() {
        "sigmoid" => Ok(Unary::Sigmoid),
        "tanh" => Ok(Unary::Tanh),
        "relu" => Ok(Unary::Clip { min: 0.0, max: f32::INFINITY }),
        "affine" => Ok(Unary::Affine {
            scale: parameter("activation_alpha", 1.0),
            shift: parameter("activation_beta", 0.0),
        }),
        "hardsigmoid" => Ok(Unary::HardSigmoid {
            alpha: parameter("activation_alpha", 0.2),
            beta: parameter("activation_beta", 0.5),
        }),
        "leakyrelu" => Ok(Unary::LeakyRelu { alpha: parameter("activation_alpha", 0.01) }),
        "elu" => Ok(Unary::Elu { alpha: parameter("activation_alpha", 1.0) }),
        "softsign" => Ok(Unary::Softsign),
        "softplus" => Ok(Unary::Softplus),
        _ => Err(context.unsupported(
            &format!("has the activation {name}"),
            "edgepack runs Sigmoid, Tanh, Relu, Affine, HardSigmoid, LeakyRelu, Elu, Softsign and Softplus",
        )),
    };
    let functions = names.iter().map(function).collect::<Result<Vec<_>>>()?;
    match functions.len() == default.len() {
        true => Ok(functions),
        false => {
            Err(context.invalid(format!("{} activations instead of {}", functions.len(), default.len())))
        }
    }
}

impl Direction<'_, '_> {
    /// What one time step makes of the input's part of the gates, `[B, G * H]`, and the states before.
    fn step(&self, importer: &mut Importer, time: usize, gates: ValueId, before: States) -> Result<States> {
        let name = |what: &str| format!("{}, step {time}, {what}", self.prefix);
        match self.kind {
            Kind::Rnn => {
                let product = self.product(importer, &name("product"), before.hidden, 0..1)?;
                let sum = importer.sum_of(self.context, &name("sum"), Some(gates), product)?;
                let hidden = self.activate(importer, &name("h"), 0, sum);
                Ok(States { hidden: Some(hidden), cell: None })
            }
            Kind::Lstm => self.lstm(importer, &name, gates, before),
            Kind::Gru => self.gru(importer, &name, gates, before),
        }
    }

    fn lstm(
        &self,
        importer: &mut Importer,
        name: &dyn Fn(&str) -> String,
        gates: ValueId,
        before: States,
    ) -> Result<States> {
        let context = self.context;
        let product = self.product(importer, &name("product"), before.hidden, 0..4)?;
        let sum = importer.sum_of(context, &name("sum"), Some(gates), product)?;
        let gate = |importer: &mut Importer, index: usize| self.gate(importer, name, sum, index);
        let peep = |importer: &mut Importer, index: usize, gate: ValueId, cell: Option<ValueId>| {
            let (Some(peepholes), Some(cell)) = (&self.peepholes, cell) else { return Ok(gate) };
            let factors = peepholes[index * self.hidden..][..self.hidden].to_vec();
            let factors = Tensor::new(vec![self.hidden], factors);
            let factors = importer.constant_part(context, &name(&format!("peephole {index}")), factors);
            let seen = name(&format!("seen {index}"));
            let seen = importer.binary_part(context, &seen, BinaryKind::Mul, [cell, factors])?;
            importer.sum_of(context, &name(&format!("gate {index} with it")), Some(gate), Some(seen))
        };
        let i = gate(importer, 0);
        let i = peep(importer, 0, i, before.cell)?;
        let i = self.activate(importer, &name("i"), 0, i);
        let c = gate(importer, 3);
        let c = self.activate(importer, &name("c"), 1, c);
        let mut cell = importer.binary_part(context, &name("new"), BinaryKind::Mul, [i, c])?;
        let mut of_state = vec![cell];
        if let Some(old) = before.cell {
            let f = if self.coupled {
                importer.unary_part(context, &name("f"), Unary::Affine { scale: -1.0, shift: 1.0 }, i)
            } else {
                let f = gate(importer, 2);
                let f = peep(importer, 2, f, before.cell)?;
                self.activate(importer, &name("f"), 0, f)
            };
            let kept = importer.binary_part(context, &name("kept"), BinaryKind::Mul, [f, old])?;
            cell = importer.binary_part(context, &name("cell"), BinaryKind::Add, [kept, cell])?;
            of_state.extend([kept, cell]);
        }
        let o = gate(importer, 1);
        let o = peep(importer, 1, o, Some(cell))?;
        let o = self.activate(importer, &name("o"), 0, o);
        let shown = importer.unary_part(context, &name("shown"), self.activations[2].clone(), cell);
        let hidden = importer.binary_part(context, &name("h"), BinaryKind::Mul, [o, shown])?;
        of_state.extend([shown, hidden]);
        of_state.into_iter().for_each(|id| importer.keep_f32(id));
        Ok(States { hidden: Some(hidden), cell: Some(cell) })
    }

    fn gru(
        &self,
        importer: &mut Importer,
        name: &dyn Fn(&str) -> String,
        gates: ValueId,
        before: States,
    ) -> Result<States> {
        let context = self.context;
        let product = self.product(importer, &name("product"), before.hidden, 0..2)?;
        let of_input = importer.columns(context, &name("z and r"), gates, 0, 2 * self.hidden);
        let both = importer.sum_of(context, &name("sum"), Some(of_input), product)?;
        let z = self.gate(importer, name, both, 0);
        let z = self.activate(importer, &name("z"), 0, z);
        let r = self.gate(importer, name, both, 1);
        let r = self.activate(importer, &name("r"), 0, r);
        let of_input = importer.columns(context, &name("candidate"), gates, 2 * self.hidden, self.hidden);
        let recurrent = match before.hidden {
            Some(hidden) if !self.linear_before_reset => {
                let reset = importer.binary_part(context, &name("reset"), BinaryKind::Mul, [r, hidden])?;
                self.product(importer, &name("reset product"), Some(reset), 2..3)?
            }
            state => match self.product(importer, &name("last product"), state, 2..3)? {
                Some(product) if self.linear_before_reset => {
                    Some(importer.binary_part(context, &name("reset"), BinaryKind::Mul, [r, product])?)
                }
                product => product,
            },
        };
        let new = importer.sum_of(context, &name("last sum"), Some(of_input), recurrent)?;
        let new = self.activate(importer, &name("new"), 1, new);
        // (1 - z) * new + z * before
        let not_z =
            importer.unary_part(context, &name("1 - z"), Unary::Affine { scale: -1.0, shift: 1.0 }, z);
        let mut hidden = importer.binary_part(context, &name("taken"), BinaryKind::Mul, [not_z, new])?;
        if let Some(old) = before.hidden {
            let kept = importer.binary_part(context, &name("kept"), BinaryKind::Mul, [z, old])?;
            hidden = importer.binary_part(context, &name("h"), BinaryKind::Add, [hidden, kept])?;
        }
        Ok(States { hidden: Some(hidden), cell: None })
    }

    /// The recurrent product for some gates with its bias; without a state before, the bias alone.
    fn product(
        &self,
        importer: &mut Importer,
        what: &str,
        state: Option<ValueId>,
        gates: std::ops::Range<usize>,
    ) -> Result<Option<ValueId>> {
        let (rows, h) = (gates.len() * self.hidden, self.hidden);
        let bias = self.recurrent_bias[gates.start * h..gates.end * h].to_vec();
        let Some(state) = state else {
            let is_zero = bias.iter().all(|&b| b == 0.0);
            return Ok((!is_zero)
                .then(|| importer.constant_part(self.context, what, Tensor::new(vec![1, rows], bias))));
        };
        let weights = self.recurrent.rows(gates.start * h..gates.end * h);
        if let Some(state) = importer.graph.value(state).constant.clone() {
            let dot = |b: usize, n: usize| {
                let products =
                    (0..h).map(|k| f64::from(state.data[b * h + k]) * f64::from(weights.data[n * h + k]));
                (products.sum::<f64>() + f64::from(bias[n])) as f32
            };
            let data = (0..self.batch * rows).map(|i| dot(i / rows, i % rows)).collect();
            let product = Tensor::new(vec![self.batch, rows], data);
            return Ok(Some(importer.constant_part(self.context, what, product)));
        }
        let product = FullyConnected { weights, bias };
        let op = Op::FullyConnected(product);
        Ok(Some(importer.part(self.context, what, op, vec![state], vec![self.batch, rows])))
    }

    fn gate(
        &self,
        importer: &mut Importer,
        name: &dyn Fn(&str) -> String,
        gates: ValueId,
        index: usize,
    ) -> ValueId {
        importer.columns(
            self.context,
            &name(&format!("gate {index}")),
            gates,
            index * self.hidden,
            self.hidden,
        )
    }

    fn activate(&self, importer: &mut Importer, what: &str, index: usize, input: ValueId) -> ValueId {
        let function = match self.clip {
            Some(clip) => Unary::Clip { min: -clip, max: clip }.then(self.activations[index].clone()),
            None => self.activations[index].clone(),
        };
        importer.unary_part(self.context, what, function, input)
    }
}

impl Importer {
    /// A cell state has no bounds, and errors in it add up over time: it stays f32, as in the recurrent step,
    /// which costs no multiply-add.
    fn keep_f32(&mut self, id: ValueId) {
        if let Some(index) = self.graph.producer(id) {
            self.graph.nodes[index].precision = Precision::F32;
        }
    }

    /// Columns of a matrix.
    fn columns(
        &mut self,
        context: &Context<'_>,
        what: &str,
        input: ValueId,
        start: usize,
        count: usize,
    ) -> ValueId {
        let dims = self.graph.dims(input).to_vec();
        if dims[1] == count {
            return input;
        }
        let op = Op::Slice { starts: vec![0, start], steps: vec![1; 2] };
        self.part(context, what, op, vec![input], vec![dims[0], count])
    }

    fn sum_of(
        &mut self,
        context: &Context<'_>,
        what: &str,
        left: Option<ValueId>,
        right: Option<ValueId>,
    ) -> Result<ValueId> {
        match (left, right) {
            (Some(left), Some(right)) => self.binary_part(context, what, BinaryKind::Add, [left, right]),
            (Some(one), None) | (None, Some(one)) => Ok(one),
            (None, None) => Err(context.invalid("a gate has no operands")),
        }
    }

    /// A direction's part of an initial state.
    fn state_part(
        &mut self,
        context: &Context<'_>,
        what: &str,
        state: ValueId,
        direction: usize,
        batch_first: bool,
    ) -> ValueId {
        let axis = usize::from(batch_first);
        let mut dims = self.graph.dims(state).to_vec();
        if dims.get(axis).is_none_or(|&directions| directions == 1) {
            return state;
        }
        let mut starts = vec![0; dims.len()];
        (starts[axis], dims[axis]) = (direction, 1);
        let what = format!("{what}, of direction {direction}");
        if let Some(constant) = self.graph.value(state).constant.clone() {
            let elems = dims.iter().product::<usize>();
            // Directions lie one after the other unless the batch is first; then it is of one sequence.
            let data = constant.data[direction * elems..][..elems].to_vec();
            return self.constant_part(context, &what, Tensor::new(dims, data));
        }
        self.part(context, &what, Op::Slice { steps: vec![1; starts.len()], starts }, vec![state], dims)
    }

    /// A state as a matrix.
    fn matrix_of(&mut self, context: &Context<'_>, what: &str, id: ValueId, dims: [usize; 2]) -> ValueId {
        match self.graph.value(id).constant.clone() {
            Some(constant) => {
                let tensor = constant.reshaped(dims.to_vec());
                self.constant_part(context, &format!("{what}, as a matrix"), tensor)
            }
            None => self.reshape_part(context, &format!("{what}, as a matrix"), id, dims.to_vec()),
        }
    }

    /// The hidden states of all steps, in one direction: `[T, 1, B, H]`, or `[B, T, 1, H]`.
    fn sequence(
        &mut self,
        context: &Context<'_>,
        direction: &Direction<'_, '_>,
        states: Vec<ValueId>,
        batch_first: bool,
    ) -> ValueId {
        let (steps, batch, hidden) = (states.len(), direction.batch, direction.hidden);
        let (axis, one, all) = match batch_first {
            false => (0, vec![1, 1, batch, hidden], vec![steps, 1, batch, hidden]),
            true => (1, vec![batch, 1, 1, hidden], vec![batch, steps, 1, hidden]),
        };
        let name = |what: &str| format!("{}, {what}", direction.prefix);
        let of_step = |(index, state)| (index, state);
        let parts: Vec<ValueId> = (states.into_iter().enumerate().map(of_step))
            .map(|(index, state)| {
                self.reshape_part(context, &name(&format!("state {index}")), state, one.clone())
            })
            .collect();
        match parts[..] {
            [only] => only,
            _ => self.part(context, &name("states"), Op::Concat { axis }, parts, all),
        }
    }
}
