//! LSTM and GRU: for each direction a product of the whole input with W, which has the biases, and a
//! recurrent node of the rest.

use std::sync::Arc;

use super::unrolled::{Kind, MAX_STEPS, unroll};
use super::{Context, Importer};
use crate::error::Result;
use crate::graph::{Cell, FullyConnected, Op, Recurrent, Tensor, ValueId};

/// What of an ONNX node all directions share.
struct Layer {
    cell: Cell,
    input: ValueId,
    /// T, B, I.
    dims: [usize; 3],
    hidden: usize,
    /// W `[D, G * H, I]`, R `[D, G * H, H]`, B `[D, 2 * G * H]`.
    input_weights: Tensor,
    weights: Tensor,
    biases: Vec<f32>,
    /// `[D, B, H]`.
    initial_hidden: Vec<f32>,
    initial_cell: Vec<f32>,
}

pub(super) fn lstm(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    convert_or_unroll(importer, context, Cell::Lstm, Kind::Lstm)
}

pub(super) fn gru(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    convert_or_unroll(importer, context, Cell::Gru, Kind::Gru)
}

pub(super) fn rnn(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    unroll(importer, context, Kind::Rnn)
}

/// One step of the plan for the whole sequence where there is one; else, for short sequences, their steps
/// one after the other.
fn convert_or_unroll(importer: &mut Importer, context: &Context<'_>, cell: Cell, kind: Kind) -> Result<()> {
    let input = importer.input(context, 0)?;
    let time = usize::from(context.attributes().int("layout", 0) != 0);
    let steps = importer.graph.dims(input).get(time).copied().unwrap_or(0);
    match check_variants(importer, context, cell) {
        Ok(()) => convert(importer, context, cell),
        Err(_) if steps <= MAX_STEPS => unroll(importer, context, kind),
        Err(error) => Err(error),
    }
}

fn convert(importer: &mut Importer, context: &Context<'_>, cell: Cell) -> Result<()> {
    // Whether time runs backwards, for each direction.
    let directions: &[bool] = match context.attributes().string("direction", "forward") {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => return Err(context.invalid(format!("its direction is `{other}`"))),
    };
    let layer = layer(importer, context, cell, directions.len())?;
    let [steps, batch, _] = layer.dims;
    // By output of the ONNX node: what each direction gives.
    let mut outputs: [Vec<ValueId>; 3] = Default::default();
    for (index, &reverse) in directions.iter().enumerate() {
        let part = |what: &str| match directions.len() {
            1 => format!("{} ({what})", context.name),
            _ => format!("{} ({what}, {})", context.name, if reverse { "reverse" } else { "forward" }),
        };
        let (product, recurrent) = layer.direction(index, reverse);
        let gates = vec![steps, batch, cell.gates() * layer.hidden];
        let product = Op::FullyConnected(product);
        let gates = importer.push_part(context, product, vec![layer.input], &part("input gates"), gates);
        let recurrent = Arc::new(recurrent);
        let states = vec![steps, 1, batch, layer.hidden];
        let op = Op::Recurrent(recurrent.clone());
        let states = importer.push_part(context, op, vec![gates], &part("Y"), states);
        let last =
            Op::Slice { starts: vec![if reverse { 0 } else { steps - 1 }, 0, 0, 0], steps: vec![1; 4] };
        let last_dims = vec![1, 1, batch, layer.hidden];
        let last = importer.push_part(context, last, vec![states], &part("last of Y"), last_dims);
        let state_dims = vec![1, batch, layer.hidden];
        let last = importer.push_part(context, Op::Reshape, vec![last], &part("Y_h"), state_dims.clone());
        outputs[0].push(states);
        outputs[1].push(last);
        if cell == Cell::Lstm {
            let op = Op::FinalCell(recurrent);
            outputs[2].push(importer.push_part(context, op, vec![gates, states], &part("Y_c"), state_dims));
        }
    }
    // A pass removes what is not read.
    for ((name, parts), axis) in context.node.output.iter().zip(outputs).zip([1, 0, 0]) {
        let id = match parts[..] {
            _ if name.is_empty() => continue,
            [] => return Err(context.invalid(format!("it has no output `{name}`"))),
            [only] => only,
            _ => {
                let mut dims = importer.graph.dims(parts[0]).to_vec();
                dims[axis] = parts.len();
                importer.push_part(context, Op::Concat { axis }, parts, name, dims)
            }
        };
        importer.names.insert(name.clone(), id);
    }
    Ok(())
}

/// Refuses what makes another function of the cell than the recurrent step computes.
fn check_variants(importer: &Importer, context: &Context<'_>, cell: Cell) -> Result<()> {
    let attributes = context.attributes();
    let refuse = |what: &str, remedy: &str| Err(context.unsupported(what, remedy));
    let directions = 1 + usize::from(attributes.string("direction", "forward") == "bidirectional");
    let initial = context.node.input.iter().skip(5).take(if cell == Cell::Lstm { 2 } else { 1 });
    if let Some(name) =
        initial.filter(|name| !name.is_empty()).find(|name| importer.facts.constant(name).is_none())
    {
        return refuse(
            &format!("has an initial state `{name}` that is computed while the model runs"),
            &format!(
                "edgepack runs that for up to {MAX_STEPS} time steps: bind fewer, or make it a constant"
            ),
        );
    }
    if cell == Cell::Gru && attributes.int("linear_before_reset", 0) == 0 {
        return refuse(
            "applies its reset gate before the recurrent product (linear_before_reset = 0)",
            "edgepack runs linear_before_reset = 1, which PyTorch's GRU is, and Keras' with reset_after=True",
        );
    }
    let expected: &[&str] = match cell {
        Cell::Lstm => &["Sigmoid", "Tanh", "Tanh"],
        Cell::Gru => &["Sigmoid", "Tanh"],
    };
    if let Some(activations) = attributes.strings("activations").filter(|names| !names.is_empty()) {
        let wanted = expected.repeat(directions);
        let same = activations.len() == wanted.len()
            && activations.iter().zip(&wanted).all(|(name, wanted)| name.eq_ignore_ascii_case(wanted));
        if !same {
            return refuse(
                &format!("has the activations {}", activations.join(", ")),
                &format!("edgepack runs it with the default ones, {}", expected.join(", ")),
            );
        }
    }
    if attributes.optional_float("clip").is_some() {
        return refuse("clips its gates", "export the model without `clip`");
    }
    if attributes.int("input_forget", 0) != 0 {
        return refuse("couples its input and forget gates", "export the model with input_forget = 0");
    }
    if attributes.int("layout", 0) != 0 {
        return refuse(
            "has the batch before the time (layout = 1)",
            "export the model with layout = 0, and transpose before and after it",
        );
    }
    if context.node.input.get(7).is_some_and(|name| !name.is_empty()) {
        return refuse("has peepholes (input P)", "train or export the model without them");
    }
    Ok(())
}

fn layer(importer: &mut Importer, context: &Context<'_>, cell: Cell, directions: usize) -> Result<Layer> {
    let input = importer.input(context, 0)?;
    let [steps, batch, inputs] = importer.graph.dims(input)[..] else {
        return Err(context.invalid(format!("its input has the shape {:?}", importer.graph.dims(input))));
    };
    let weights = importer.constant(context, 2)?;
    let [_, outputs, hidden] = weights.dims[..] else {
        return Err(context.invalid(format!("its recurrent weights R have the shape {:?}", weights.dims)));
    };
    let constant = |importer: &mut Importer, index: usize, name: &str, dims: &[usize]| {
        let constant = importer.optional_constant(context, index)?;
        let fits = constant.as_ref().is_none_or(|constant| constant.dims == dims);
        match constant {
            Some(constant) if !fits => Err(context.invalid(format!(
                "its {name} has the shape {:?}, but {dims:?} would fit the others",
                constant.dims
            ))),
            Some(constant) => Ok(constant),
            None => Ok(Tensor::new(dims.to_vec(), vec![0.0; dims.iter().product()])),
        }
    };
    context.input_name(1)?;
    let gates = cell.gates() * hidden;
    if outputs != gates || hidden == 0 {
        return Err(context.invalid(format!("its recurrent weights R have the shape {:?}", weights.dims)));
    }
    let state = [directions, batch, hidden];
    let layer = Layer {
        cell,
        input,
        dims: [steps, batch, inputs],
        hidden,
        input_weights: constant(importer, 1, "W", &[directions, gates, inputs])?,
        weights: constant(importer, 2, "R", &[directions, gates, hidden])?,
        biases: constant(importer, 3, "B", &[directions, 2 * gates])?.data.to_vec(),
        initial_hidden: constant(importer, 5, "initial_h", &state)?.data.to_vec(),
        initial_cell: match cell {
            Cell::Lstm => constant(importer, 6, "initial_c", &state)?.data.to_vec(),
            Cell::Gru => vec![0.0; state.iter().product()],
        },
    };
    if let Some(lengths) = importer.integers(context, 4)?
        && lengths.iter().any(|&length| length != steps as i64)
    {
        return Err(context.unsupported(
            &format!("has sequences of the lengths {lengths:?}, of {steps} steps"),
            "edgepack runs whole sequences: leave sequence_lens out",
        ));
    }
    Ok(layer)
}

impl Layer {
    /// The product of the input, and the rest, of one direction.
    fn direction(&self, index: usize, reverse: bool) -> (FullyConnected, Recurrent) {
        let gates = self.cell.gates() * self.hidden;
        let part = |data: &[f32], elems: usize| data[index * elems..][..elems].to_vec();
        let [_, batch, _] = self.dims;
        let (of_input, of_hidden) = self.biases[index * 2 * gates..][..2 * gates].split_at(gates);
        // The reset gate of a GRU multiplies the product of its last gate, with that one's bias.
        let inside = match self.cell {
            Cell::Lstm => gates,
            Cell::Gru => 2 * self.hidden,
        };
        let outer = |n: usize| of_input[n] + if n < inside { of_hidden[n] } else { 0.0 };
        let inner = |n: usize| if n < inside { 0.0 } else { of_hidden[n] };
        let product =
            FullyConnected { weights: self.input_weights.at(index), bias: (0..gates).map(outer).collect() };
        let recurrent = Recurrent {
            cell: self.cell,
            weights: self.weights.at(index),
            bias: (0..gates).map(inner).collect(),
            initial_hidden: part(&self.initial_hidden, batch * self.hidden),
            initial_cell: part(&self.initial_cell, batch * self.hidden),
            reverse,
        };
        (product, recurrent)
    }
}
