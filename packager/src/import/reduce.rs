//! Reductions: means and maxima over any axes, and what follows from them. And the poolings of three
//! dimensions, which are those of two after those of one.

use super::reshape::axis;
use super::{Context, Importer};
use crate::error::Result;
use crate::graph::{BinaryKind, Op, PoolKind, Precision, ValueId, Window};
use crate::unary::Unary;

/// What is reduced, and how.
struct Reduction {
    input: ValueId,
    /// Sorted.
    axes: Vec<usize>,
    /// Elements that become one.
    count: usize,
    /// Whether they stay as axes of one element.
    keep: bool,
}

pub(super) fn reduce(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let Some(mut reduction) = reduction(importer, context, input)? else {
        importer.alias(context, input);
        return Ok(());
    };
    let op = context.node.op_type.as_str();
    let before = match op {
        "ReduceSumSquare" | "ReduceL2" => Some(Unary::Pow { exponent: 2.0 }),
        "ReduceL1" => Some(Unary::Abs),
        "ReduceMin" => Some(Unary::Neg),
        _ => None,
    };
    if let Some(function) = before {
        reduction.input = importer.unary_part(context, "of each", function, input);
    }
    let result = match op {
        "ReduceMean" => importer.mean(context, "mean", &reduction),
        "ReduceMax" | "ReduceMin" => importer.max(context, "maximum", &reduction)?,
        "ReduceLogSumExp" => importer.log_sum_exp(context, &reduction)?,
        "ReduceProd" => importer.multiplied(context, &reduction)?,
        _ => importer.sum(context, "sum", &reduction),
    };
    let after = match op {
        "ReduceL2" => Some(Unary::Sqrt),
        "ReduceLogSum" => Some(Unary::Log),
        "ReduceMin" => Some(Unary::Neg),
        // Of integers: a sum is a mean times the number of them here.
        "ReduceSum" | "ReduceL1" | "ReduceSumSquare" if importer.makes_integers(context) => {
            Some(Unary::Round)
        }
        "ReduceMean" if importer.makes_integers(context) => Some(Unary::Trunc),
        _ => None,
    };
    let result = match after {
        Some(function) => importer.unary_part(context, "of all", function, result),
        None => result,
    };
    importer.result(context, 0, result)
}

/// The axes of an ONNX reduction; `None` where it changes nothing.
fn reduction(importer: &mut Importer, context: &Context<'_>, input: ValueId) -> Result<Option<Reduction>> {
    let dims = importer.graph.dims(input).to_vec();
    let attributes = context.attributes();
    let given = match attributes.ints("axes") {
        Some(axes) => Some(axes.to_vec()),
        None => importer.integers(context, 1)?,
    };
    let mut axes = match given {
        Some(axes) if !axes.is_empty() => {
            axes.iter().map(|&a| axis(context, a, dims.len())).collect::<Result<Vec<_>>>()?
        }
        _ if attributes.int("noop_with_empty_axes", 0) != 0 => return Ok(None),
        _ => (0..dims.len()).collect(),
    };
    axes.sort_unstable();
    axes.dedup();
    let keep = attributes.int("keepdims", 1) != 0;
    Ok(Some(Reduction { input, count: axes.iter().map(|&axis| dims[axis]).product(), axes, keep }))
}

/// Log of a softmax: `d - log(sum(exp(d)))` of the distances `d` from the maximum.
pub(super) fn log_softmax(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let dims = importer.graph.dims(input).to_vec();
    let default = if context.opset < 13 { 1 } else { -1 };
    let along = axis(context, context.attributes().int("axis", default), dims.len())?;
    // Before opset 13 it ran over all axes from `axis` on.
    let axes: Vec<usize> = if context.opset < 13 { (along..dims.len()).collect() } else { vec![along] };
    let count = axes.iter().map(|&axis| dims[axis]).product();
    let reduction = Reduction { input, axes, count, keep: true };
    let largest = importer.max(context, "maximum", &reduction)?;
    let distance = importer.binary_part(context, "distance", BinaryKind::Sub, [input, largest])?;
    let exponential = importer.unary_part(context, "exponential", Unary::Exp, distance);
    let sum = importer.sum(context, "sum", &Reduction { input: exponential, ..reduction });
    let logarithm = importer.unary_part(context, "logarithm", Unary::Log, sum);
    let result = importer.binary_part(context, "result", BinaryKind::Sub, [distance, logarithm])?;
    importer.result(context, 0, result)
}

impl Importer {
    /// Whether a node's first output is of integers.
    fn makes_integers(&self, context: &Context<'_>) -> bool {
        context.node.output.first().is_some_and(|name| self.facts.is_integer(name))
    }

    /// The mean over axes, which stay as axes of one element.
    pub(super) fn mean_over(
        &mut self,
        context: &Context<'_>,
        what: &str,
        input: ValueId,
        axes: &[usize],
    ) -> ValueId {
        let count = axes.iter().map(|&axis| self.graph.dims(input)[axis]).product();
        self.mean(context, what, &Reduction { input, axes: axes.to_vec(), count, keep: true })
    }

    /// The sum over axes, which stay as axes of one element.
    pub(super) fn sum_over(
        &mut self,
        context: &Context<'_>,
        what: &str,
        input: ValueId,
        axes: &[usize],
    ) -> ValueId {
        let count = axes.iter().map(|&axis| self.graph.dims(input)[axis]).product();
        self.sum(context, what, &Reduction { input, axes: axes.to_vec(), count, keep: true })
    }

    fn mean(&mut self, context: &Context<'_>, what: &str, reduction: &Reduction) -> ValueId {
        let dims = reduction.dims(self);
        let (input, axes) = self.adjacent(context, what, reduction);
        let op = Op::ReduceMean { first: axes[0], count: axes.len() };
        if axes == reduction.axes {
            return self.part(context, what, op, vec![input], dims);
        }
        let mut kept = self.graph.dims(input).to_vec();
        axes.iter().for_each(|&axis| kept[axis] = 1);
        let mean = self.part(context, &format!("{what}, in another order"), op, vec![input], kept);
        self.reshape_part(context, what, mean, dims)
    }

    fn sum(&mut self, context: &Context<'_>, what: &str, reduction: &Reduction) -> ValueId {
        let mean = self.mean(context, &format!("mean for {what}"), reduction);
        let count = Unary::Affine { scale: reduction.count as f32, shift: 0.0 };
        self.unary_part(context, what, count, mean)
    }

    /// A maximum is a pooling over `[outer, inner, reduced]`.
    fn max(&mut self, context: &Context<'_>, what: &str, reduction: &Reduction) -> Result<ValueId> {
        let result = reduction.dims(self);
        let (input, axes) = self.adjacent(context, what, reduction);
        let dims = self.graph.dims(input).to_vec();
        let (first, last) = (axes[0], axes[axes.len() - 1]);
        // Over height and width it is that of an image, whose channels the device stores last.
        let pooled = if dims.len() == 4 && axes == [2, 3] {
            self.pool_part(context, what, PoolKind::Max, input, [dims[2], dims[3]])
        } else {
            let (outer, inner) = (dims[..first].iter().product(), dims[last + 1..].iter().product());
            let rows = self.reshape_part(context, "rows", input, vec![outer, reduction.count, inner]);
            let rows = self.transpose_part(context, "columns", rows, vec![0, 2, 1]);
            self.pool_part(context, what, PoolKind::Max, rows, [1, reduction.count])
        };
        Ok(self.reshape_part(context, &format!("{what}, in shape"), pooled, result))
    }

    /// A pooling whose window covers everything, with nothing around it.
    fn pool_part(
        &mut self,
        context: &Context<'_>,
        what: &str,
        kind: PoolKind,
        input: ValueId,
        kernel: [usize; 2],
    ) -> ValueId {
        let mut dims = self.graph.dims(input).to_vec();
        dims[2..].fill(1);
        let window = Window { kernel, stride: [1, 1], dilation: [1, 1], pads: [0; 4] };
        self.part(context, what, Op::Pool(kind, window), vec![input], dims)
    }

    fn log_sum_exp(&mut self, context: &Context<'_>, reduction: &Reduction) -> Result<ValueId> {
        // Distances from the maximum: exponentials of them are between 0 and 1.
        let all = Reduction { keep: true, axes: reduction.axes.clone(), ..*reduction };
        let largest = self.max(context, "maximum", &all)?;
        let distance = self.binary_part(context, "distance", BinaryKind::Sub, [reduction.input, largest])?;
        let exponential = self.unary_part(context, "exponential", Unary::Exp, distance);
        let sum = self.sum(context, "sum", &Reduction { input: exponential, ..all });
        let logarithm = self.unary_part(context, "logarithm", Unary::Log, sum);
        let result = self.binary_part(context, "both", BinaryKind::Add, [logarithm, largest])?;
        Ok(self.reshape_part(context, "in shape", result, reduction.dims(self)))
    }

    /// A product: of the halves of an axis, until one element is left. In f32, for factors multiply their errors.
    fn multiplied(&mut self, context: &Context<'_>, reduction: &Reduction) -> Result<ValueId> {
        let result = reduction.dims(self);
        let (input, axes) = self.adjacent(context, "product", reduction);
        let dims = self.graph.dims(input).to_vec();
        let (first, last) = (axes[0], axes[axes.len() - 1]);
        let (outer, inner) = (dims[..first].iter().product(), dims[last + 1..].iter().product());
        let before = self.graph.nodes.len();
        let mut count = reduction.count;
        let mut rows = self.reshape_part(context, "rows", input, vec![outer, count, inner]);
        let mut odd: Option<ValueId> = None;
        while count > 1 {
            let half = count / 2;
            let mut part = |from: usize, size: usize| {
                let op = Op::Slice { starts: vec![0, from, 0], steps: vec![1; 3] };
                let what = format!("{from} to {}", from + size);
                self.part(context, &what, op, vec![rows], vec![outer, size, inner])
            };
            let parts = [part(0, half), part(half, half)];
            if count % 2 == 1 {
                let single = part(count - 1, 1);
                odd = Some(match odd {
                    Some(odd) => self.binary_part(context, "odd ones", BinaryKind::Mul, [odd, single])?,
                    None => single,
                });
            }
            rows = self.binary_part(context, &format!("product of {count}"), BinaryKind::Mul, parts)?;
            count = half;
        }
        if let Some(odd) = odd {
            rows = self.binary_part(context, "with the odd ones", BinaryKind::Mul, [rows, odd])?;
        }
        let products = self.graph.nodes[before..].iter_mut().filter(|node| matches!(node.op, Op::Binary(_)));
        products.for_each(|node| node.precision = Precision::F32);
        Ok(self.reshape_part(context, "product, in shape", rows, result))
    }

    /// The input with its reduced axes behind each other, and where they are.
    fn adjacent(
        &mut self,
        context: &Context<'_>,
        what: &str,
        reduction: &Reduction,
    ) -> (ValueId, Vec<usize>) {
        let axes = &reduction.axes;
        if axes.windows(2).all(|pair| pair[1] == pair[0] + 1) {
            return (reduction.input, axes.clone());
        }
        let rank = self.graph.dims(reduction.input).len();
        let mut perm: Vec<usize> = (0..rank).filter(|axis| !axes.contains(axis)).collect();
        let first = perm.len();
        perm.extend(axes);
        let moved =
            self.transpose_part(context, &format!("{what}, reduced axes last"), reduction.input, perm);
        (moved, (first..rank).collect())
    }
}

impl Reduction {
    /// The shape of the result.
    fn dims(&self, importer: &Importer) -> Vec<usize> {
        let dims = importer.graph.dims(self.input).iter().enumerate();
        dims.filter(|(axis, _)| self.keep || !self.axes.contains(axis))
            .map(|(axis, &dim)| if self.axes.contains(&axis) { 1 } else { dim })
            .collect()
    }
}
