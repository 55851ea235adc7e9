//! The graph in f32, as ONNX defines it: the oracle of every pass, and what calibration observes.

mod gradient;
mod indices;
mod recurrent;
mod suppression;
mod window;

use matrixmultiply::sgemm;

pub use gradient::{Constants, backward, has_gradient};
pub use window::{ConvSizes, columns};

use crate::graph::{FullyConnected, Graph, LayerNorm, Op, ValueId, as_nchw};

/// Runs the graph on one sample. `inputs` are row-major, one for each of the graph's inputs;
/// `observe` sees every value as it is made, inputs included, and may change it: what follows then sees
/// the change. Returns the outputs.
pub fn evaluate(graph: &Graph, inputs: &[&[f32]], observe: impl FnMut(ValueId, &mut [f32])) -> Vec<Vec<f32>> {
    evaluate_nodes(graph, inputs, observe, |_, _, _| {})
}

/// The same, and `observe_node` sees of every node, by its index, what it reads and what it has made of it.
pub fn evaluate_nodes(
    graph: &Graph,
    inputs: &[&[f32]],
    mut observe: impl FnMut(ValueId, &mut [f32]),
    mut observe_node: impl FnMut(usize, &[&[f32]], &[f32]),
) -> Vec<Vec<f32>> {
    let mut uses = vec![0usize; graph.values.len()];
    for id in graph.nodes.iter().flat_map(|node| &node.inputs).chain(&graph.outputs) {
        uses[id.0] += 1;
    }
    let mut values: Vec<Option<Vec<f32>>> = vec![None; graph.values.len()];
    // What a model that arrived quantized rounds is rounded here, too.
    let round = |id: ValueId, values: &mut [f32]| {
        if let Some(given) = graph.value(id).given {
            values.iter_mut().for_each(|x| *x = given.dequantize(given.quantize(*x).into()));
        }
    };
    for (id, input) in graph.inputs.iter().zip(inputs) {
        let mut input = input.to_vec();
        round(*id, &mut input);
        observe(*id, &mut input);
        values[id.0] = Some(input);
    }
    for (index, node) in graph.nodes.iter().enumerate() {
        let read = |id: &ValueId| match &graph.value(*id).constant {
            Some(constant) => &constant.data[..],
            None => values[id.0].as_deref().unwrap_or(&[]),
        };
        let operands: Vec<&[f32]> = node.inputs.iter().map(read).collect();
        let mut result = evaluate_op(graph, &node.op, &node.inputs, node.output, &operands);
        if node.clamp != crate::graph::Clamp::NONE {
            result.iter_mut().for_each(|x| *x = x.max(node.clamp.min).min(node.clamp.max));
        }
        round(node.output, &mut result);
        observe_node(index, &operands, &result);
        observe(node.output, &mut result);
        values[node.output.0] = Some(result);
        for id in &node.inputs {
            uses[id.0] -= 1;
            if uses[id.0] == 0 {
                values[id.0] = None;
            }
        }
    }
    graph.outputs.iter().map(|id| values[id.0].clone().unwrap_or_default()).collect()
}

/// One operation: `operands` are the elements of `inputs`, which the shapes are taken from.
pub fn evaluate_op(
    graph: &Graph,
    op: &Op,
    inputs: &[ValueId],
    output: ValueId,
    operands: &[&[f32]],
) -> Vec<f32> {
    // Only an island may read nothing.
    let input = operands.first().copied().unwrap_or(&[]);
    let dims = inputs.first().map_or(&[][..], |&id| graph.dims(id));
    let output_dims = graph.dims(output);
    match op {
        Op::Conv(conv) => plus(window::conv(conv, input, dims, output_dims), operands.get(1)),
        Op::FullyConnected(fc) => plus(fully_connected(fc, input), operands.get(1)),
        Op::ChannelAffine { scale, shift } => {
            let [_, channels, h, w] = as_nchw(dims).unwrap_or([1, scale.len(), 1, 1]);
            let channel = |i: usize| i / (h * w) % channels;
            (input.iter().enumerate()).map(|(i, x)| x * scale[channel(i)] + shift[channel(i)]).collect()
        }
        Op::Binary(kind) => {
            let [left, right] = [0, 1].map(|i| broadcast_strides(graph.dims(inputs[i]), output_dims));
            let apply =
                |(a, b): (usize, usize)| kind.apply(operands[0][a].into(), operands[1][b].into()) as f32;
            Strided::new(output_dims, &left).zip(Strided::new(output_dims, &right)).map(apply).collect()
        }
        Op::Select => {
            let steps = [0, 1, 2].map(|i| broadcast_strides(graph.dims(inputs[i]), output_dims));
            let [c, yes, no] = steps.each_ref().map(|steps| Strided::new(output_dims, steps));
            let taken = |((c, yes), no): ((usize, usize), usize)| {
                if operands[0][c] != 0.0 { operands[1][yes] } else { operands[2][no] }
            };
            c.zip(yes).zip(no).map(taken).collect()
        }
        Op::Unary(function) => input.iter().map(|&x| function.apply(x)).collect(),
        Op::Pool(kind, w) => window::pool(*kind, w, input, dims, output_dims),
        Op::ReduceMean { first, count } => {
            let outer: usize = dims[..*first].iter().product();
            let reduced: usize = dims[*first..first + count].iter().product();
            let inner: usize = dims[first + count..].iter().product();
            let mut result = Vec::with_capacity(outer * inner);
            for o in 0..outer {
                for i in 0..inner {
                    let sum: f64 = (0..reduced).map(|r| input[(o * reduced + r) * inner + i] as f64).sum();
                    result.push((sum / reduced as f64) as f32);
                }
            }
            result
        }
        Op::Pad { pads, value } => {
            let mut result = vec![*value; output_dims.iter().product()];
            let strides = strides(output_dims);
            let start: usize = pads.iter().zip(&strides).map(|(pad, stride)| pad[0] * stride).sum();
            for (x, at) in input.iter().zip(Strided::new(dims, &strides)) {
                result[start + at] = *x;
            }
            result
        }
        Op::Concat { axis } => {
            let outer: usize = output_dims[..*axis].iter().product();
            let mut result = Vec::with_capacity(output_dims.iter().product());
            for o in 0..outer {
                for operand in operands {
                    let chunk = operand.len() / outer;
                    result.extend_from_slice(&operand[o * chunk..][..chunk]);
                }
            }
            result
        }
        // What tract does not take are no numbers: whoever needs them says so.
        Op::Island { island, output: index } => (island.run(&operands[..island.inputs().len()]).ok())
            .and_then(|outputs| outputs.into_iter().nth(*index))
            .unwrap_or_else(|| vec![f32::NAN; output_dims.iter().product()]),
        Op::Reshape | Op::Cast => input.to_vec(),
        Op::Transpose { perm } => {
            let from = strides(dims);
            let permuted: Vec<usize> = perm.iter().map(|&axis| from[axis]).collect();
            Strided::new(output_dims, &permuted).map(|at| input[at]).collect()
        }
        Op::Softmax { axis } => softmax(input, dims, *axis),
        Op::Take { indices } => take(input, dims, indices),
        Op::Embed { table } => {
            let data: &[f32] = &table.data;
            indices::gather(data, &table.dims, 0, input)
        }
        Op::Gather { axis } => indices::gather(input, dims, *axis, operands[1]),
        Op::Scatter => indices::scatter(input, dims[0], operands[1], operands[2]),
        Op::TopK(top_k) => indices::top_k(top_k, input, dims),
        Op::NonMaxSuppression(of) => {
            let [batch, classes, boxes] = *graph.dims(inputs[1]) else { return Vec::new() };
            suppression::run(of, [input, operands[1]], [batch, classes, boxes])
        }
        Op::MatMul => mat_mul([input, operands[1]], [dims, graph.dims(inputs[1])], output_dims),
        Op::LayerNorm(norm) => layer_norm(norm, input),
        Op::Recurrent(layer) => recurrent::run(layer, input, dims).hidden,
        Op::FinalCell(layer) => recurrent::run(layer, input, dims).cell,
        Op::Slice { starts, steps } => {
            let own = strides(dims);
            let start: usize = starts.iter().zip(&own).map(|(start, stride)| start * stride).sum();
            let walked: Vec<usize> = steps.iter().zip(&own).map(|(step, stride)| step * stride).collect();
            Strided::new(output_dims, &walked).map(|at| input[start + at]).collect()
        }
    }
}

/// By axis, the elements at these indices; `None` for all.
pub fn take(input: &[f32], dims: &[usize], indices: &[Option<std::sync::Arc<[usize]>>]) -> Vec<f32> {
    let mut positions = vec![0];
    for ((stride, &dim), indices) in strides(dims).into_iter().zip(dims).zip(indices) {
        let along = |at: usize| match indices {
            Some(indices) => indices.iter().map(|index| at + index * stride).collect::<Vec<_>>(),
            None => (0..dim).map(|index| at + index * stride).collect(),
        };
        positions = positions.into_iter().flat_map(along).collect();
    }
    positions.into_iter().map(|at| input[at]).collect()
}

/// What a product makes, and what it adds to that, if it does.
fn plus(mut result: Vec<f32>, residual: Option<&&[f32]>) -> Vec<f32> {
    if let Some(residual) = residual {
        result.iter_mut().zip(*residual).for_each(|(sum, x)| *sum += x);
    }
    result
}

fn mat_mul([a, b]: [&[f32]; 2], [a_dims, b_dims]: [&[usize]; 2], output_dims: &[usize]) -> Vec<f32> {
    let (batch, matrix) = output_dims.split_at(output_dims.len() - 2);
    let (m, n, k) = (matrix[0], matrix[1], a_dims[a_dims.len() - 1]);
    let mut result = vec![0.0; output_dims.iter().product()];
    // Of the batch dimensions alone, in matrices.
    let [left, right] = [a_dims, b_dims].map(|dims| broadcast_strides(&dims[..dims.len() - 2], batch));
    let starts = Strided::new(batch, &left).zip(Strided::new(batch, &right));
    for ((i, j), c) in starts.zip(result.chunks_exact_mut(m * n)) {
        gemm([m, k, n], &a[i * m * k..], (k as isize, 1), &b[j * k * n..], (n as isize, 1), c);
    }
    result
}

fn layer_norm(norm: &LayerNorm, input: &[f32]) -> Vec<f32> {
    let channels = norm.gamma.len();
    let mut result = Vec::with_capacity(input.len());
    for row in input.chunks_exact(channels) {
        let mean = row.iter().map(|&x| x as f64).sum::<f64>() / channels as f64;
        let variance = row.iter().map(|&x| (x as f64 - mean).powi(2)).sum::<f64>() / channels as f64;
        let r = 1.0 / (variance + norm.epsilon as f64).sqrt();
        result.extend(
            (row.iter().zip(&norm.gamma).zip(&norm.beta))
                .map(|((&x, &gamma), &beta)| ((x as f64 - mean) * r * gamma as f64 + beta as f64) as f32),
        );
    }
    result
}

fn fully_connected(fc: &FullyConnected, input: &[f32]) -> Vec<f32> {
    let (n, k) = (fc.weights.dims[0], fc.weights.dims[1]);
    let rows = input.len() / k;
    let mut result: Vec<f32> = fc.bias.iter().copied().cycle().take(rows * n).collect();
    gemm([rows, k, n], input, (k as isize, 1), &fc.weights.data, (1, k as isize), &mut result);
    result
}

/// `c += a * b` with `a` of `[m, k]` and `b` of `[k, n]` by strides, and `c` of `[m, n]`.
#[expect(unsafe_code, reason = "matrixmultiply's interface is raw pointers; the extents are checked here")]
pub fn gemm(
    [m, k, n]: [usize; 3],
    a: &[f32],
    a_strides: (isize, isize),
    b: &[f32],
    b_strides: (isize, isize),
    c: &mut [f32],
) {
    let extent = |rows: usize, columns: usize, (r, s): (isize, isize)| {
        (rows - 1) * r as usize + (columns - 1) * s as usize + 1
    };
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    assert!(extent(m, k, a_strides) <= a.len() && extent(k, n, b_strides) <= b.len() && m * n <= c.len());
    // SAFETY: every index that the strides can reach is inside the slices, as just asserted.
    unsafe {
        sgemm(
            m,
            k,
            n,
            1.0,
            a.as_ptr(),
            a_strides.0,
            a_strides.1,
            b.as_ptr(),
            b_strides.0,
            b_strides.1,
            1.0,
            c.as_mut_ptr(),
            n as isize,
            1,
        );
    }
}

fn softmax(input: &[f32], dims: &[usize], axis: usize) -> Vec<f32> {
    let inner: usize = dims[axis + 1..].iter().product();
    let channels = dims[axis];
    let mut result = vec![0.0; input.len()];
    for start in (0..input.len()).step_by(channels * inner) {
        for i in start..start + inner {
            let at = |c: usize| i + c * inner;
            let largest = (0..channels).map(|c| input[at(c)]).fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = (0..channels).map(|c| ((input[at(c)] - largest) as f64).exp()).sum();
            for c in 0..channels {
                result[at(c)] = (((input[at(c)] - largest) as f64).exp() / sum) as f32;
            }
        }
    }
    result
}

/// Row-major strides.
pub fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

/// Strides of a row-major tensor of `dims` for indices into `output`: 0 where it is broadcast.
pub fn broadcast_strides(dims: &[usize], output: &[usize]) -> Vec<usize> {
    let own = strides(dims);
    let lead = output.len() - dims.len();
    let stride = |axis: usize| match axis.checked_sub(lead) {
        Some(axis) if dims[axis] != 1 => own[axis],
        _ => 0,
    };
    (0..output.len()).map(stride).collect()
}

/// The positions of the elements of a strided tensor, in row-major order of its indices.
pub struct Strided<'a> {
    dims: &'a [usize],
    strides: &'a [usize],
    index: Vec<usize>,
    at: usize,
    left: usize,
}

impl<'a> Strided<'a> {
    /// Over the indices of `dims`.
    pub fn new(dims: &'a [usize], strides: &'a [usize]) -> Self {
        Self { dims, strides, index: vec![0; dims.len()], at: 0, left: dims.iter().product() }
    }
}

impl Iterator for Strided<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let at = self.at;
        for axis in (0..self.dims.len()).rev() {
            self.index[axis] += 1;
            self.at += self.strides[axis];
            if self.index[axis] < self.dims[axis] {
                break;
            }
            self.at -= self.strides[axis] * self.dims[axis];
            self.index[axis] = 0;
        }
        Some(at)
    }
}
