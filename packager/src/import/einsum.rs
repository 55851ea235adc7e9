//! Einsum of one operand or two: transpositions, sums and a product of matrices.

use super::{Context, Importer};
use crate::error::{PackError, Result};
use crate::graph::ValueId;

/// An operand: a value, and the label of each of its axes.
struct Labelled {
    id: ValueId,
    labels: Vec<char>,
}

pub(super) fn einsum(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let equation: String = context.attributes().string("equation", "").split_whitespace().collect();
    let unsupported = |reason: &str| -> PackError {
        let remedy =
            "edgepack has Einsum of one or two operands without `...` or diagonals: use MatMul and Transpose";
        context.unsupported(&format!("{reason} (`{equation}`)"), remedy)
    };
    let (operands, result) = equation.split_once("->").unzip();
    let operands: Vec<Vec<char>> =
        operands.unwrap_or(&equation).split(',').map(|labels| labels.chars().collect()).collect();
    if operands.len() != context.node.input.len() || !(1..=2).contains(&operands.len()) {
        return Err(unsupported("is of other than one or two operands"));
    }
    let output: Vec<char> = match result {
        Some(labels) => labels.chars().collect(),
        None => implicit(&operands),
    };
    let repeats = |labels: &[char]| (1..labels.len()).any(|i| labels[..i].contains(&labels[i]));
    if equation.contains('.') || repeats(&output) || operands.iter().any(|labels| repeats(labels)) {
        return Err(unsupported("repeats a label or leaves some open"));
    }
    let mut parts = Vec::new();
    for (index, labels) in operands.iter().enumerate() {
        let id = importer.input(context, index)?;
        if importer.graph.dims(id).len() != labels.len() {
            return Err(context.invalid(format!("`{equation}` of {:?}", importer.graph.dims(id))));
        }
        // What nothing else has is summed at once.
        let others: Vec<char> = operands
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index)
            .flat_map(|(_, l)| l)
            .copied()
            .collect();
        let is_kept = |label: &char| output.contains(label) || others.contains(label);
        parts.push(importer.summed(context, &format!("operand {index}"), id, labels, is_kept));
    }
    let right = parts.pop().filter(|_| !parts.is_empty()).map(|right| (parts.pop(), right));
    let made = match right {
        Some((Some(left), right)) => importer.contracted(context, left, right, &output)?,
        _ => {
            let id = importer.input(context, 0)?;
            importer.summed(context, "operand", id, &operands[0], |label| output.contains(label))
        }
    };
    if output.iter().any(|label| !made.labels.contains(label)) {
        return Err(context.invalid(format!("`{equation}` gives what no operand has")));
    }
    let result = importer.permuted(context, "result", &made, &output);
    importer.result(context, 0, result)
}

/// Without `->` the result has every label that is there once, in alphabetical order.
fn implicit(operands: &[Vec<char>]) -> Vec<char> {
    let all: Vec<char> = operands.concat();
    let mut once: Vec<char> =
        all.iter().copied().filter(|label| all.iter().filter(|other| *other == label).count() == 1).collect();
    once.sort_unstable();
    once
}

impl Importer {
    /// The sum over all axes but those that are kept.
    fn summed(
        &mut self,
        context: &Context<'_>,
        what: &str,
        id: ValueId,
        labels: &[char],
        is_kept: impl Fn(&char) -> bool,
    ) -> Labelled {
        let axes: Vec<usize> = (0..labels.len()).filter(|&axis| !is_kept(&labels[axis])).collect();
        if axes.is_empty() {
            return Labelled { id, labels: labels.to_vec() };
        }
        let sum = self.sum_over(context, &format!("{what}, summed"), id, &axes);
        let left: Vec<usize> = (0..labels.len()).filter(|axis| !axes.contains(axis)).collect();
        let dims = left.iter().map(|&axis| self.graph.dims(id)[axis]).collect();
        let id = self.reshape_part(context, &format!("{what}, without axes"), sum, dims);
        Labelled { id, labels: left.into_iter().map(|axis| labels[axis]).collect() }
    }

    /// The axes in another order.
    fn permuted(&mut self, context: &Context<'_>, what: &str, of: &Labelled, labels: &[char]) -> ValueId {
        let place = |label: &char| of.labels.iter().position(|other| other == label).unwrap_or(0);
        self.transpose_part(context, what, of.id, labels.iter().map(place).collect())
    }

    /// Sums products over the labels that both have and the output has not.
    fn contracted(
        &mut self,
        context: &Context<'_>,
        left: Labelled,
        right: Labelled,
        output: &[char],
    ) -> Result<Labelled> {
        let both = |label: &&char| left.labels.contains(label) && right.labels.contains(label);
        let batch: Vec<char> =
            left.labels.iter().filter(both).filter(|l| output.contains(l)).copied().collect();
        let inner: Vec<char> =
            left.labels.iter().filter(both).filter(|l| !output.contains(l)).copied().collect();
        let only = |of: &Labelled| -> Vec<char> {
            of.labels
                .iter()
                .filter(|label| !batch.contains(label) && !inner.contains(label))
                .copied()
                .collect()
        };
        let (rows, columns) = (only(&left), only(&right));
        let size = |importer: &Self, of: &Labelled, labels: &[char]| -> Vec<usize> {
            let dims = importer.graph.dims(of.id);
            labels.iter().map(|l| dims[of.labels.iter().position(|o| o == l).unwrap_or(0)]).collect()
        };
        let of_batch = size(self, &left, &batch);
        let (of_rows, of_columns) = (size(self, &left, &rows), size(self, &right, &columns));
        let depth: usize = size(self, &left, &inner).iter().product();
        if size(self, &right, &batch) != of_batch
            || size(self, &right, &inner).iter().product::<usize>() != depth
        {
            return Err(context.invalid("its operands do not go together"));
        }
        let product = |sizes: &[usize]| sizes.iter().product::<usize>();
        let lead: Vec<usize> = if batch.is_empty() { vec![] } else { vec![product(&of_batch)] };
        let a = self.permuted(context, "left", &left, &[&batch[..], &rows, &inner].concat());
        let a =
            self.reshape_part(context, "left matrix", a, [&lead[..], &[product(&of_rows), depth]].concat());
        let b = self.permuted(context, "right", &right, &[&batch[..], &inner, &columns].concat());
        let b = self.reshape_part(
            context,
            "right matrix",
            b,
            [&lead[..], &[depth, product(&of_columns)]].concat(),
        );
        let id = self.product_of(context, [a, b], 1.0, None)?;
        let dims = [of_batch, of_rows, of_columns].concat();
        let id = self.reshape_part(context, "with its axes", id, dims);
        Ok(Labelled { id, labels: [batch, rows, columns].concat() })
    }
}
