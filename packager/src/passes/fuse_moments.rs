//! A layer normalization as JAX writes it: the variance is the mean of the squares less the square of the
//! mean, which in int8 would be the small difference of two large numbers. Over axes that are not the last,
//! it stands between two transpositions.

use crate::graph::{BinaryKind, Clamp, Graph, LayerNorm, Node, Op, ValueId};
use crate::unary::Unary;

pub(super) fn fuse_moments(graph: &mut Graph) {
    let mut index = 0;
    while index < graph.nodes.len() {
        if let Some(found) = normalization(graph, index) {
            index = replace(graph, index, found);
        }
        index += 1;
    }
}

struct Normalization {
    input: ValueId,
    /// The first of the normalized axes, and their number.
    axes: (usize, usize),
    epsilon: f32,
    gamma: Option<Vec<f32>>,
    /// The nodes that it is made of.
    parts: Vec<usize>,
}

/// The product of the difference from the mean and the inverse deviation, if node `index` is one.
fn normalization(graph: &Graph, index: usize) -> Option<Normalization> {
    let (left, right) = operands(graph, index, BinaryKind::Mul)?;
    [(left, right), (right, left)].into_iter().find_map(|(difference, factor)| {
        let subtraction = graph.producer(difference)?;
        let (input, mean_of_all) = operands(graph, subtraction, BinaryKind::Sub)?;
        let mut parts = vec![subtraction];
        let mean = moment(graph, mean_of_all, &mut parts)?;
        let dims = graph.dims(input);
        let reduced = mean.first..mean.first + mean.count;
        let kept = (0..dims.len()).map(|axis| if reduced.contains(&axis) { 1 } else { dims[axis] });
        if mean.input != input || !graph.dims(mean_of_all).iter().copied().eq(kept) {
            return None;
        }
        // The inverse deviation, or gamma times it.
        let maker = graph.producer(factor)?;
        let (inverse, gamma) = match operands(graph, maker, BinaryKind::Mul) {
            None => (factor, None),
            Some((a, b)) => {
                parts.push(maker);
                let is_constant = |id: ValueId| graph.value(id).constant.is_some();
                let (inverse, gamma) = if is_constant(b) { (a, b) } else { (b, a) };
                (inverse, Some(along(graph, gamma, dims, &reduced)?))
            }
        };
        let root = through(graph, inverse, &mut parts, |f| *f == Unary::Reciprocal)?;
        let sum = through(graph, root, &mut parts, |f| *f == Unary::Sqrt)?;
        let Op::Unary(Unary::Affine { scale: 1.0, shift: epsilon }) = graph.nodes[graph.producer(sum)?].op
        else {
            return None;
        };
        let variance = through(graph, sum, &mut parts, |f| matches!(f, Unary::Affine { .. }))?;
        let variance = unshaped(graph, variance, &mut parts);
        let above_zero = |f: &Unary| *f == Unary::Clip { min: 0.0, max: f32::INFINITY };
        let variance = through(graph, variance, &mut parts, above_zero).unwrap_or(variance);
        let variance = unshaped(graph, variance, &mut parts);
        let difference = graph.producer(variance)?;
        parts.push(difference);
        let (of_squares, square_of) = operands(graph, difference, BinaryKind::Sub)?;
        let squared = square(graph, square_of, &mut parts)?;
        let of_squares = moment(graph, of_squares, &mut parts)?;
        let same = moment(graph, squared, &mut parts)? == mean
            && square(graph, of_squares.input, &mut parts)? == input
            && (of_squares.first, of_squares.count) == (mean.first, mean.count);
        (same && epsilon >= 0.0).then_some(Normalization {
            input,
            axes: (mean.first, mean.count),
            epsilon,
            gamma,
            parts,
        })
    })
}

/// Puts the normalization where its last node is; gives that one's new index.
fn replace(graph: &mut Graph, index: usize, found: Normalization) -> usize {
    let dims = graph.dims(found.input).to_vec();
    let (first, count) = found.axes;
    let reduced = first..first + count;
    let channels: usize = dims[reduced.clone()].iter().product();
    let mut parts = found.parts;
    // The summand, where it follows and nothing else reads what is between.
    let after = graph.only_consumer(index).and_then(|next| {
        let (a, b) = operands(graph, next, BinaryKind::Add)?;
        let constant = if graph.value(a).constant.is_some() { a } else { b };
        Some((next, along(graph, constant, &dims, &reduced)?))
    });
    let (last, beta) = match after.filter(|_| graph.nodes[index].clamp == Clamp::NONE) {
        Some((next, beta)) => {
            parts.push(index);
            (next, beta)
        }
        None => (index, vec![0.0; channels]),
    };
    let mut names: Vec<String> = parts.iter().map(|&part| graph.nodes[part].name.clone()).collect();
    names.dedup();
    let norm = LayerNorm {
        axis: dims.len() - count,
        gamma: found.gamma.unwrap_or_else(|| vec![1.0; channels]),
        beta,
        epsilon: found.epsilon,
    };
    graph.nodes[last].merged.splice(0..0, names);
    if reduced.end == dims.len() {
        graph.nodes[last].op = Op::LayerNorm(norm);
        graph.nodes[last].inputs = vec![found.input];
        return last;
    }
    let mut perm: Vec<usize> = (0..dims.len()).filter(|axis| !reduced.contains(axis)).collect();
    perm.extend(reduced);
    let mut back = vec![0; perm.len()];
    perm.iter().enumerate().for_each(|(to, &from)| back[from] = to);
    let moved: Vec<usize> = perm.iter().map(|&axis| dims[axis]).collect();
    let name = graph.nodes[last].name.clone();
    let before = graph.add_value(format!("{name} (normalized axes last)"), moved.clone());
    let normal = graph.add_value(format!("{name} (normalized)"), moved);
    let clamp = std::mem::replace(&mut graph.nodes[last].clamp, Clamp::NONE);
    let node = |op: Op, input: ValueId, output: ValueId, clamp: Clamp| Node {
        op,
        inputs: vec![input],
        output,
        clamp,
        merged: Vec::new(),
        ..graph.nodes[last].clone()
    };
    let new = [
        node(Op::Transpose { perm }, found.input, before, Clamp::NONE),
        node(Op::LayerNorm(norm), before, normal, clamp),
    ];
    graph.nodes[last].op = Op::Transpose { perm: back };
    graph.nodes[last].inputs = vec![normal];
    graph.nodes.splice(last..last, new);
    last + 2
}

/// A mean over adjacent axes.
#[derive(PartialEq)]
struct Moment {
    input: ValueId,
    first: usize,
    count: usize,
}

/// The mean that a value is: exporters write it as a sum, times the reciprocal of a number.
fn moment(graph: &Graph, value: ValueId, parts: &mut Vec<usize>) -> Option<Moment> {
    let (mut value, mut factor) = (value, 1.0f64);
    loop {
        value = unshaped(graph, value, parts);
        let maker = graph.producer(value)?;
        let node = &graph.nodes[maker];
        let input = *node.inputs.first()?;
        parts.push(maker);
        match node.op {
            _ if node.clamp != Clamp::NONE => return None,
            Op::Unary(Unary::Affine { scale, shift: 0.0 }) => {
                factor *= f64::from(scale);
                value = input;
            }
            Op::ReduceMean { first, count } if (factor - 1.0).abs() < 1e-6 => {
                return Some(Moment { input, first, count });
            }
            _ => return None,
        }
    }
}

/// What a value is the square of.
fn square(graph: &Graph, value: ValueId, parts: &mut Vec<usize>) -> Option<ValueId> {
    let maker = graph.producer(value)?;
    let node = &graph.nodes[maker];
    parts.push(maker);
    match (&node.op, &node.inputs[..]) {
        _ if node.clamp != Clamp::NONE => None,
        (Op::Unary(Unary::Pow { exponent: 2.0 }), &[of]) => Some(of),
        (Op::Binary(BinaryKind::Mul), &[a, b]) if a == b => Some(a),
        _ => None,
    }
}

/// What is read by the node that makes a value, if that is such a function.
fn through(
    graph: &Graph,
    value: ValueId,
    parts: &mut Vec<usize>,
    is_it: impl Fn(&Unary) -> bool,
) -> Option<ValueId> {
    let maker = graph.producer(value)?;
    let Op::Unary(function) = &graph.nodes[maker].op else { return None };
    parts.push(maker);
    is_it(function).then(|| graph.nodes[maker].inputs.first().copied())?
}

/// A value before changes of its shape.
fn unshaped(graph: &Graph, mut value: ValueId, parts: &mut Vec<usize>) -> ValueId {
    while let Some(maker) =
        graph.producer(value).filter(|&maker| matches!(graph.nodes[maker].op, Op::Reshape))
    {
        parts.push(maker);
        value = graph.nodes[maker].inputs[0];
    }
    value
}

fn operands(graph: &Graph, index: usize, kind: BinaryKind) -> Option<(ValueId, ValueId)> {
    let node = &graph.nodes[index];
    match (&node.op, &node.inputs[..]) {
        (Op::Binary(own), &[a, b]) if *own == kind => Some((a, b)),
        _ => None,
    }
}

/// A constant that has one value for each element of the normalized axes.
fn along(graph: &Graph, id: ValueId, dims: &[usize], reduced: &std::ops::Range<usize>) -> Option<Vec<f32>> {
    let constant = graph.value(id).constant.as_ref()?;
    let lead = dims.len().checked_sub(constant.dims.len())?;
    let channels = dims[reduced.clone()].iter().product::<usize>();
    let fits = (0..dims.len()).all(|axis| {
        let own = if axis < lead { 1 } else { constant.dims[axis - lead] };
        if reduced.contains(&axis) { own == dims[axis] } else { own == 1 }
    });
    match constant.data[..] {
        [one] => Some(vec![one; channels]),
        _ => fits.then(|| constant.data.to_vec()),
    }
}
