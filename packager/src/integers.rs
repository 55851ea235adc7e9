//! Integers: f32 numbers that are exact, and the proof that they are.
//!
//! Every integer of a magnitude up to 2²⁴ is an f32 number. Interval arithmetic (Moore, "Interval Analysis",
//! 1966) bounds every integer of a graph, given limits of its inputs; these are the widest powers of two for
//! which nothing is larger, and what an index must be to name a row. A package has them, and a device refuses an
//! input beyond them: so nothing is ever rounded, and no index of the application's is ever outside.

use edgepack_engine::format::plan::ElemType;

use crate::error::{PackError, Result};
use crate::graph::{BinaryKind, Graph, Node, Op, ValueId};
use crate::precision::has_f32_steps;
use crate::unary::Unary;

/// Every integer up to this is an f32 number.
pub const EXACT: f64 = (1 << 24) as f64;

/// The bounds of a value; `None` where nothing is known.
type Interval = Option<[f64; 2]>;

/// Whether a node computes with integers, and so in f32. Those that only choose by integers have the precision
/// of what they choose from; and truth values are exact in int8, too.
pub fn is_exact(graph: &Graph, node: &Node) -> bool {
    // What islands have for themselves is not in f32.
    let is_number = |id: ValueId| {
        let value = graph.value(id);
        matches!(value.dtype, ElemType::I32 | ElemType::I64) && !value.raw
    };
    let reads = match node.op {
        Op::Embed { .. } => false,
        Op::Scatter => true,
        Op::Gather { .. } => is_number(node.inputs[0]),
        _ => node.inputs.iter().any(|&id| is_number(id) && graph.value(id).constant.is_none()),
    };
    (reads || is_number(node.output)) && has_f32_steps(&node.op)
}

/// Gives every input of integers its limits.
///
/// # Errors
/// A node that may compute integers beyond 2²⁴ even if those of the inputs are of a byte.
pub fn prove(graph: &mut Graph, opset: i64) -> Result<()> {
    let inputs: Vec<ValueId> = (graph.inputs.iter().copied())
        .filter(|&id| graph.value(id).dtype != ElemType::F32 && !graph.value(id).raw)
        .collect();
    let indices = limits_of_indices(graph);
    let mut failure = None;
    for bits in (8..=24).rev() {
        for &id in &inputs {
            let most = 1 << bits;
            let [least, greatest] = indices[id.0].unwrap_or([-most, most]);
            let value = &mut graph.values[id.0];
            value.limits = Some(match value.dtype {
                ElemType::Bool => [0, 1],
                _ => [least.max(-most), greatest.min(most)],
            });
        }
        failure = first_inexact(graph);
        if failure.is_none() {
            return Ok(());
        }
    }
    match failure {
        None => Ok(()),
        Some(index) => {
            let node = &graph.nodes[index];
            Err(PackError::Unsupported {
                node: node.name.clone(),
                op: node.onnx_op.clone(),
                opset,
                reason: "may compute integers beyond 2^24".into(),
                remedy: "edgepack keeps integers in f32, which holds none beyond it exactly: bound its operands by \
                         Clip, Min or Max, or cast them to FLOAT before it"
                    .into(),
            })
        }
    }
}

/// By value: what an input may be, of which rows are chosen.
fn limits_of_indices(graph: &Graph) -> Vec<Option<[i32; 2]>> {
    let mut limits: Vec<Option<[i32; 2]>> = vec![None; graph.values.len()];
    let narrowed = |known: Option<[i32; 2]>, [least, greatest]: [i32; 2]| {
        Some(known.map_or([least, greatest], |[l, g]| [l.max(least), g.min(greatest)]))
    };
    // Backwards: what reads a value is known before what makes it.
    for node in graph.nodes.iter().rev() {
        let of_rows = |rows: usize| [-(rows as i32), rows as i32 - 1];
        match &node.op {
            Op::Embed { table } => {
                let id = node.inputs[0].0;
                limits[id] = narrowed(limits[id], of_rows(table.dims[0]));
            }
            Op::Gather { axis } => {
                let id = node.inputs[1].0;
                limits[id] = narrowed(limits[id], of_rows(graph.dims(node.inputs[0])[*axis]));
            }
            Op::Reshape | Op::Transpose { .. } => {
                if let Some(of_output) = limits[node.output.0] {
                    let id = node.inputs[0].0;
                    limits[id] = narrowed(limits[id], of_output);
                }
            }
            _ => {}
        }
    }
    limits
}

/// The first node that may make an integer which is no f32 number.
fn first_inexact(graph: &Graph) -> Option<usize> {
    let mut intervals: Vec<Interval> = vec![None; graph.values.len()];
    for (interval, value) in intervals.iter_mut().zip(&graph.values) {
        *interval = match &value.constant {
            Some(constant) => hull(constant.data.iter().map(|&x| Some([f64::from(x); 2]))),
            None => value.limits.map(|limits| limits.map(f64::from)),
        };
    }
    for (index, node) in graph.nodes.iter().enumerate() {
        let mut largest = 0.0f64;
        let interval = of_node(graph, node, &intervals, &mut largest);
        let clamp = [node.clamp.min, node.clamp.max].map(f64::from);
        let interval = interval.map(|interval| interval.map(|x| x.max(clamp[0]).min(clamp[1])));
        let made = graph.value(node.output);
        let is_integer = matches!(made.dtype, ElemType::I32 | ElemType::I64) && !made.raw;
        let fits = |[least, greatest]: [f64; 2]| least >= -EXACT && greatest <= EXACT && largest <= EXACT;
        if is_integer && !interval.is_some_and(fits) {
            return Some(index);
        }
        intervals[node.output.0] = interval;
    }
    None
}

/// The bounds of all; `None` where one is unknown.
fn hull(mut intervals: impl Iterator<Item = Interval>) -> Interval {
    intervals.try_fold([f64::INFINITY, f64::NEG_INFINITY], |[min, max], interval| {
        let [least, greatest] = interval?;
        Some([min.min(least), max.max(greatest)])
    })
}

/// The bounds of what a node makes. `largest` becomes the greatest magnitude of what it computes on the way.
fn of_node(graph: &Graph, node: &Node, intervals: &[Interval], largest: &mut f64) -> Interval {
    let read = |index: usize| intervals[node.inputs[index].0];
    let elems = |id: ValueId| graph.dims(id).iter().product::<usize>() as f64;
    let corners = |f: fn(f64, f64) -> f64| {
        let ([a, b], [c, d]) = (read(0)?, read(1)?);
        hull([f(a, c), f(a, d), f(b, c), f(b, d)].into_iter().map(|x| Some([x; 2])))
    };
    match &node.op {
        Op::Binary(BinaryKind::Add) => corners(|a, b| a + b),
        Op::Binary(BinaryKind::Sub) => corners(|a, b| a - b),
        Op::Binary(BinaryKind::Mul) => corners(|a, b| a * b),
        // Of integers: nothing is divided by less than 1, but for 0, whose result is nothing.
        Op::Binary(BinaryKind::Div) => {
            let [a, b] = read(0)?;
            read(1)?;
            let most = a.abs().max(b.abs());
            Some([-most, most])
        }
        Op::Binary(BinaryKind::Compare(_)) => Some([0.0, 1.0]),
        Op::Select => hull([read(1), read(2)].into_iter()),
        Op::Unary(function) => of_function(function, read(0), largest),
        Op::Embed { table } => hull(table.data.iter().map(|&x| Some([f64::from(x); 2]))),
        Op::TopK(of) => Some([0.0, graph.dims(node.inputs[0])[of.axis] as f64 - 1.0]),
        Op::NonMaxSuppression(_) => {
            let most = graph.dims(node.inputs[1]).iter().max().copied()?;
            Some([-1.0, most as f64 - 1.0])
        }
        Op::Gather { .. } => read(0),
        Op::Scatter => hull([read(0), read(2)].into_iter()),
        Op::Concat { .. } => hull((0..node.inputs.len()).map(read)),
        Op::Pad { value, .. } => hull([read(0), Some([f64::from(*value); 2])].into_iter()),
        Op::Reshape | Op::Transpose { .. } | Op::Slice { .. } | Op::Take { .. } | Op::Cast | Op::Pool(..) => {
            read(0)
        }
        Op::ReduceMean { .. } => {
            // Its sum, too, with two bits left for what the division rounds.
            let [least, greatest] = read(0)?;
            let count = elems(node.inputs[0]) / elems(node.output);
            *largest = least.abs().max(greatest.abs()) * count * 4.0;
            Some([least, greatest])
        }
        Op::FullyConnected(fc) => {
            let [least, greatest] = read(0)?;
            let most = least.abs().max(greatest.abs());
            let row = |(weights, bias): (&[f32], &f32)| {
                weights.iter().map(|w| f64::from(w.abs())).sum::<f64>() * most + f64::from(bias.abs())
            };
            let most = fc.weights.data.chunks(fc.weights.dims[1]).zip(&fc.bias).map(row).fold(0.0, f64::max);
            Some([-most, most])
        }
        Op::MatMul => {
            let [a, b] = corners(|a, b| a * b)?;
            let depth = *graph.dims(node.inputs[0]).last()? as f64;
            let most = a.abs().max(b.abs()) * depth;
            Some([-most, most])
        }
        _ => None,
    }
}

fn of_function(function: &Unary, of: Interval, largest: &mut f64) -> Interval {
    let monotone = |f: &dyn Fn(f64) -> f64| {
        let [a, b] = of?.map(f);
        Some([a.min(b), a.max(b)])
    };
    match *function {
        Unary::Compare { .. } => Some([0.0, 1.0]),
        Unary::Sign => Some([-1.0, 1.0]),
        // Of a number of any size, too.
        Unary::Clip { min, max } => {
            let [least, greatest] = of.unwrap_or([f64::NEG_INFINITY, f64::INFINITY]);
            Some([least, greatest].map(|x| x.max(f64::from(min)).min(f64::from(max))))
        }
        Unary::Affine { scale, shift } => {
            let product = monotone(&|x| x * f64::from(scale))?;
            *largest = largest.max(product[0].abs()).max(product[1].abs());
            Some(product.map(|x| x + f64::from(shift)))
        }
        Unary::Neg => monotone(&|x| -x),
        Unary::Trunc => monotone(&f64::trunc),
        Unary::Floor => monotone(&f64::floor),
        Unary::Ceil => monotone(&f64::ceil),
        Unary::Round => monotone(&f64::round_ties_even),
        Unary::Abs | Unary::Pow { .. } => {
            let [least, greatest] = of?;
            let most = match *function {
                // Others are no products.
                Unary::Pow { exponent } if [1.0, 2.0, 3.0].contains(&exponent) => {
                    least.abs().max(greatest.abs()).max(1.0).powf(f64::from(exponent))
                }
                Unary::Pow { .. } => return None,
                _ => least.abs().max(greatest.abs()),
            };
            let below = if least < 0.0 && matches!(function, Unary::Pow { .. }) { -most } else { 0.0 };
            Some([below, most])
        }
        Unary::Chain(ref functions) => {
            functions.iter().fold(of, |interval, function| of_function(function, interval, largest))
        }
        Unary::Number(number) => Some([f64::from(number); 2]),
        Unary::Select(ref functions) => {
            hull(functions[1..].iter().map(|function| of_function(function, of, largest)))
        }
        Unary::Both(kind, ref functions) => {
            let mut part = |index: usize| of_function(&functions[index], of, largest);
            let ([a, b], [c, d]) = (part(0)?, part(1)?);
            let all = match kind {
                BinaryKind::Add => [a + c, b + d],
                BinaryKind::Sub => [a - d, b - c],
                BinaryKind::Mul => {
                    let most = a.abs().max(b.abs()) * c.abs().max(d.abs());
                    [-most, most]
                }
                BinaryKind::Div => {
                    let most = a.abs().max(b.abs());
                    [-most, most]
                }
                BinaryKind::Compare(_) => [0.0, 1.0],
            };
            Some(all)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Clamp, Precision, Tensor};

    /// `ids -> functions… -> output`, all integers.
    fn graph(functions: &[Unary]) -> Graph {
        let mut graph = Graph::default();
        let mut id = graph.add_value("ids", vec![4]);
        graph.values[id.0].dtype = ElemType::I64;
        graph.inputs.push(id);
        for (i, function) in functions.iter().enumerate() {
            let output = graph.add_value(format!("y{i}"), vec![4]);
            graph.values[output.0].dtype = ElemType::I64;
            push(&mut graph, Op::Unary(function.clone()), vec![id], output);
            id = output;
        }
        graph.outputs.push(id);
        graph
    }

    fn push(graph: &mut Graph, op: Op, inputs: Vec<ValueId>, output: ValueId) {
        let (name, onnx_op) = (graph.value(output).name.clone(), "Mul".to_string());
        let (clamp, precision, merged) = (Clamp::NONE, Precision::Int8, vec![]);
        graph.nodes.push(Node { name, onnx_op, op, inputs, output, clamp, precision, merged });
    }

    fn limits(graph: &mut Graph) -> Result<[i32; 2]> {
        prove(graph, 17)?;
        Ok(graph.value(graph.inputs[0]).limits.unwrap())
    }

    #[test]
    fn inputs_are_limited_to_what_keeps_every_integer_exact() {
        let by = |scale: f32, shift: f32| Unary::Affine { scale, shift };
        assert_eq!(limits(&mut graph(&[])).unwrap(), [-(1 << 24), 1 << 24]);
        assert_eq!(limits(&mut graph(&[by(1.0, 1.0)])).unwrap(), [-(1 << 23), 1 << 23]);
        assert_eq!(limits(&mut graph(&[by(1000.0, 0.0)])).unwrap(), [-(1 << 14), 1 << 14]);
        // What is undone again counts all the same.
        assert_eq!(limits(&mut graph(&[by(16.0, 0.0), by(0.0625, 0.0)])).unwrap(), [-(1 << 20), 1 << 20]);
        let chain = Unary::Chain(vec![by(16.0, 0.0), Unary::Clip { min: 0.0, max: 5.0 }]);
        assert_eq!(limits(&mut graph(&[chain])).unwrap(), [-(1 << 20), 1 << 20]);
        // A bound in front makes room behind.
        assert_eq!(
            limits(&mut graph(&[Unary::Clip { min: 0.0, max: 1.0 }, by(-10_000.0, 10_000.0)])).unwrap(),
            [-(1 << 24), 1 << 24]
        );
    }

    #[test]
    fn what_no_limit_keeps_exact_is_refused_by_its_node() {
        let by = |scale: f32| Unary::Affine { scale, shift: 0.0 };
        let error = limits(&mut graph(&[by(2.0), by(100_000.0)])).unwrap_err().to_string();
        assert!(error.contains("y1") && error.contains("2^24"), "{error}");
    }

    #[test]
    fn indices_are_limited_to_the_rows_that_there_are() {
        let mut graph = graph(&[]);
        let (ids, output) = (graph.inputs[0], graph.add_value("rows", vec![4, 2]));
        let table = Tensor::new(vec![257, 2], vec![0.0; 514]);
        push(&mut graph, Op::Embed { table }, vec![ids], output);
        assert_eq!(limits(&mut graph).unwrap(), [-257, 256]);
        assert!(!is_exact(&graph, &graph.nodes[0]));
    }
}
