//! Nodes of ours that together do an ONNX node's work.

use super::{Context, Importer};
use crate::error::Result;
use crate::graph::{BinaryKind, FullyConnected, Op, Tensor, ValueId};
use crate::unary::Unary;

impl Importer {
    /// A part of an ONNX node's work: a value called after the node's output and what it is.
    pub(super) fn part(
        &mut self,
        context: &Context<'_>,
        what: &str,
        op: Op,
        inputs: Vec<ValueId>,
        dims: Vec<usize>,
    ) -> ValueId {
        let name = format!("{} ({what})", context.node.output[0]);
        self.push_part(context, op, inputs, &name, dims)
    }

    /// A function of each element.
    pub(super) fn unary_part(
        &mut self,
        context: &Context<'_>,
        what: &str,
        function: Unary,
        input: ValueId,
    ) -> ValueId {
        let dims = self.graph.dims(input).to_vec();
        self.part(context, what, Op::Unary(function), vec![input], dims)
    }

    /// Sum, difference, product, quotient or comparison, with broadcasting.
    pub(super) fn binary_part(
        &mut self,
        context: &Context<'_>,
        what: &str,
        kind: BinaryKind,
        operands: [ValueId; 2],
    ) -> Result<ValueId> {
        let [left, right] = operands.map(|id| self.graph.dims(id));
        let dims = broadcast(left, right).ok_or_else(|| {
            context.invalid(format!("its operands of shapes {left:?} and {right:?} do not go together"))
        })?;
        Ok(self.part(context, what, Op::Binary(kind), operands.to_vec(), dims))
    }

    /// The same elements under another shape.
    pub(super) fn reshape_part(
        &mut self,
        context: &Context<'_>,
        what: &str,
        input: ValueId,
        dims: Vec<usize>,
    ) -> ValueId {
        if self.graph.dims(input) == dims {
            return input;
        }
        self.part(context, what, Op::Reshape, vec![input], dims)
    }

    /// Axis `i` of the result is axis `perm[i]` of the input.
    pub(super) fn transpose_part(
        &mut self,
        context: &Context<'_>,
        what: &str,
        input: ValueId,
        perm: Vec<usize>,
    ) -> ValueId {
        if perm.is_sorted() {
            return input;
        }
        let dims = perm.iter().map(|&axis| self.graph.dims(input)[axis]).collect();
        self.part(context, what, Op::Transpose { perm }, vec![input], dims)
    }

    /// Multiplies by a constant matrix `[N, K]` along an axis of K elements.
    pub(super) fn matrix_part(
        &mut self,
        context: &Context<'_>,
        what: &str,
        input: ValueId,
        axis: usize,
        weights: Tensor,
    ) -> ValueId {
        let rank = self.graph.dims(input).len();
        let mut perm: Vec<usize> = (0..rank).filter(|&other| other != axis).collect();
        perm.push(axis);
        let mut back: Vec<usize> = (0..rank - 1).collect();
        back.insert(axis, rank - 1);
        let rows = self.transpose_part(context, &format!("{what}, rows"), input, perm);
        let mut dims = self.graph.dims(rows).to_vec();
        dims[rank - 1] = weights.dims[0];
        let bias = vec![0.0; weights.dims[0]];
        let product = Op::FullyConnected(FullyConnected { weights, bias });
        let product = self.part(context, &format!("{what}, product"), product, vec![rows], dims);
        self.transpose_part(context, what, product, back)
    }

    /// A constant of ours.
    pub(super) fn constant_part(&mut self, context: &Context<'_>, what: &str, tensor: Tensor) -> ValueId {
        let name = format!("{} ({what})", context.node.output[0]);
        let id = self.graph.add_value(name, tensor.dims.clone());
        self.graph.values[id.0].constant = Some(tensor);
        id
    }

    /// Makes a value the ONNX node's output `index`, under that one's name if it has none of the model's.
    pub(super) fn result(&mut self, context: &Context<'_>, index: usize, id: ValueId) -> Result<()> {
        let Some(name) = context.node.output.get(index).filter(|name| !name.is_empty()) else {
            return Ok(());
        };
        let dims = self.graph.dims(id).to_vec();
        match self.facts.dims(name) {
            None => self.facts.learn(name, &dims),
            Some(expected) if expected != dims => {
                return Err(context.invalid(format!("it gives the shape {dims:?} instead of {expected:?}")));
            }
            Some(_) => {}
        }
        let ours = format!("{} (", context.node.output[0]);
        if self.graph.value(id).name.starts_with(&ours) && !self.names.values().any(|known| *known == id) {
            self.graph.values[id.0].name = name.clone();
        }
        let id = self.give(context, name, id);
        self.names.insert(name.clone(), id);
        Ok(())
    }
}

/// The shape of an element-wise operation, by numpy's broadcasting.
pub(super) fn broadcast(left: &[usize], right: &[usize]) -> Option<Vec<usize>> {
    let rank = left.len().max(right.len());
    let size =
        |dims: &[usize], axis: usize| (axis + dims.len()).checked_sub(rank).map_or(1, |axis| dims[axis]);
    (0..rank)
        .map(|axis| match (size(left, axis), size(right, axis)) {
            (a, b) if a == b => Some(a),
            (1, b) => Some(b),
            (a, 1) => Some(a),
            _ => None,
        })
        .collect()
}
