//! A product with a row of zeros and one 1 is a row of the weights: what frameworks without a Gather write for an
//! embedding. And what comes after an embedding, element by element, is done to its table.

use crate::graph::{BinaryKind, FullyConnected, Graph, Op, Tensor, ValueId};
use crate::unary::{Comparison, Unary};

/// `weights * (indices == 0, 1, 2, ..)` chooses a row of the weights, or one of zeros for other indices.
pub(super) fn fuse_one_hot(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        let Some(found) = one_hot(graph, index) else { continue };
        let Op::FullyConnected(product) = graph.nodes[index].op.clone() else { continue };
        let table = found.table(&product);
        // What is beyond the rows becomes the row behind the last, which is also the first from behind.
        let rows = table.dims[0] as f32 - 1.0;
        let inside =
            Unary::Affine { scale: 1.0, shift: -found.first }.then(Unary::Clip { min: -1.0, max: rows });
        let dims = graph.dims(found.indices).to_vec();
        let name = format!("{} (row)", graph.value(found.indices).name);
        let places = graph.add_value(name, dims);
        graph.values[places.0].dtype = graph.value(found.indices).dtype;
        let maker = &mut graph.nodes[found.maker];
        (maker.op, maker.inputs) = (Op::Unary(inside), vec![found.indices]);
        maker.output = places;
        let node = &mut graph.nodes[index];
        (node.op, node.inputs) = (Op::Embed { table }, vec![places]);
    }
}

/// A comparison of indices with a count, that nothing but a product reads.
struct OneHot {
    /// What is compared: one for each row of the result.
    indices: ValueId,
    /// What the count begins with.
    first: f32,
    /// Of what is equal, and of what is not.
    on: f32,
    off: f32,
    /// The node that makes what the product reads: the comparison, or a function of it.
    maker: usize,
}

impl OneHot {
    /// What the product makes of each index, and of all others.
    fn table(&self, product: &FullyConnected) -> Tensor {
        let (width, rows) = (product.weights.dims[0], product.weights.dims[1]);
        let weights = &product.weights.data;
        let mut values = Vec::with_capacity((rows + 1) * width);
        let other: Vec<f64> = (0..width)
            .map(|n| {
                let sum: f64 = weights[n * rows..][..rows].iter().map(|&w| f64::from(w)).sum();
                f64::from(product.bias[n]) + f64::from(self.off) * sum
            })
            .collect();
        let step = f64::from(self.on) - f64::from(self.off);
        for row in 0..rows {
            values.extend((0..width).map(|n| (other[n] + step * f64::from(weights[n * rows + row])) as f32));
        }
        values.extend(other.iter().map(|&x| x as f32));
        Tensor::new(vec![rows + 1, width], values)
    }
}

fn one_hot(graph: &Graph, index: usize) -> Option<OneHot> {
    let node = &graph.nodes[index];
    let (Op::FullyConnected(product), &[input]) = (&node.op, &node.inputs[..]) else { return None };
    let maker = graph.producer(input)?;
    let is_read_by = |maker: usize, reader: usize| graph.only_consumer(maker) == Some(reader);
    if !is_read_by(maker, index) || product.weights.given.is_some() {
        return None;
    }
    let (comparison, function) = match &graph.nodes[maker].op {
        Op::Unary(function) => {
            let comparison = graph.producer(*graph.nodes[maker].inputs.first()?)?;
            (is_read_by(comparison, maker).then_some(comparison)?, function.clone())
        }
        _ => (maker, Unary::IDENTITY),
    };
    let comparison = &graph.nodes[comparison];
    let (Op::Binary(BinaryKind::Compare(Comparison::Equal)), &[left, right]) =
        (&comparison.op, &comparison.inputs[..])
    else {
        return None;
    };
    let (indices, count) = match (&graph.value(left).constant, &graph.value(right).constant) {
        (None, Some(count)) => (left, count),
        (Some(count), None) => (right, count),
        _ => return None,
    };
    let rows = product.weights.dims[1];
    let first = *count.data.first()?;
    let counts = count.data.iter().enumerate().all(|(i, &x)| x == first + i as f32);
    if count.dims.last() != Some(&rows) || count.data.len() != rows || !counts || rows < 2 {
        return None;
    }
    let indices = before_expansion(graph, indices)?;
    let (on, off) = (function.apply(1.0), function.apply(0.0));
    (graph.dims(indices).last() == Some(&1)).then_some(OneHot { indices, first, on, off, maker })
}

/// A value before it was repeated along its last axis.
fn before_expansion(graph: &Graph, id: ValueId) -> Option<ValueId> {
    if graph.dims(id).last() == Some(&1) {
        return Some(id);
    }
    let maker = &graph.nodes[graph.producer(id)?];
    let Op::Take { indices } = &maker.op else { return None };
    let (last, others) = indices.split_last()?;
    let repeats = last.as_ref().is_some_and(|last| last.iter().all(|&index| index == 0));
    (repeats && others.iter().all(Option::is_none)).then(|| maker.inputs[0])
}

/// Functions of an embedding's elements, and sums, differences and products with one number for each of its
/// columns, are done to the table.
pub(super) fn fold_table(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        while let Some((reader, table)) = folded(graph, index) {
            graph.nodes[index].op = Op::Embed { table };
            graph.absorb(index, reader);
        }
    }
}

/// The one node that reads an embedding, and the table with what that does.
fn folded(graph: &Graph, index: usize) -> Option<(usize, Tensor)> {
    let Op::Embed { table } = &graph.nodes[index].op else { return None };
    let reader = graph.only_consumer(index)?;
    let node = &graph.nodes[reader];
    let width = table.data.len() / table.dims[0];
    let bounded = |x: f32| x.max(node.clamp.min).min(node.clamp.max);
    let data: Vec<f32> = match &node.op {
        Op::Unary(function) => table.data.iter().map(|&x| bounded(function.apply(x))).collect(),
        Op::Binary(kind) if graph.dims(node.output) == graph.dims(graph.nodes[index].output) => {
            let on_left = graph.value(node.inputs[0]).constant.is_some();
            let constant = graph.value(node.inputs[usize::from(!on_left)]).constant.as_ref()?;
            let is_last = constant.dims.last() == Some(&width) && constant.data.len() == width;
            if constant.data.len() != 1 && !is_last {
                return None;
            }
            let element = |(i, &x): (usize, &f32)| {
                let c = constant.data[if is_last { i % width } else { 0 }];
                let (a, b) = if on_left { (c, x) } else { (x, c) };
                bounded(kind.apply(a.into(), b.into()) as f32)
            };
            table.data.iter().enumerate().map(element).collect()
        }
        _ => return None,
    };
    data.iter().all(|x| x.is_finite()).then(|| (reader, Tensor::new(table.dims.clone(), data)))
}
