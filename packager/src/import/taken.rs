//! Elements at any indices, in parts that the device has few steps for.

use super::{Context, Importer};
use crate::graph::{Op, ValueId};

/// Elements in descending order are copied one by one: from so many on they are reversed in blocks.
const LONG: usize = 24;

impl Importer {
    /// By axis, the elements at these indices; `None` for all.
    pub(super) fn take_part(
        &mut self,
        context: &Context<'_>,
        what: &str,
        input: ValueId,
        indices: Vec<Option<Vec<usize>>>,
    ) -> ValueId {
        let (mut taken, mut reversed) = (vec![None; indices.len()], Vec::new());
        for (axis, indices) in indices.into_iter().enumerate() {
            match indices {
                Some(indices) if descending(&indices).any(|len| len >= LONG) => {
                    reversed.push((axis, indices))
                }
                other => taken[axis] = other,
            }
        }
        let mut result = self.take(context, what, input, taken);
        for (axis, indices) in reversed {
            result = self.take_reversed(context, &format!("{what}, axis {axis}"), result, axis, &indices);
        }
        result
    }

    fn take(
        &mut self,
        context: &Context<'_>,
        what: &str,
        input: ValueId,
        indices: Vec<Option<Vec<usize>>>,
    ) -> ValueId {
        if indices.iter().all(Option::is_none) {
            return input;
        }
        let own = self.graph.dims(input).iter();
        let dims = own.zip(&indices).map(|(&dim, indices)| indices.as_ref().map_or(dim, Vec::len)).collect();
        let indices = indices.into_iter().map(|indices| indices.map(Into::into)).collect();
        self.part(context, what, Op::Take { indices }, vec![input], dims)
    }

    /// Elements of one axis, of which some stand in reverse: those pieces by themselves, and the others as
    /// they are.
    fn take_reversed(
        &mut self,
        context: &Context<'_>,
        what: &str,
        input: ValueId,
        axis: usize,
        indices: &[usize],
    ) -> ValueId {
        let rank = self.graph.dims(input).len();
        let (mut parts, mut start, mut others) = (Vec::new(), 0, 0);
        let lengths: Vec<usize> = descending(indices).collect();
        let flush = |importer: &mut Self, parts: &mut Vec<ValueId>, from: usize, to: usize| {
            if from < to {
                let mut of_axis = vec![None; rank];
                of_axis[axis] = Some(indices[from..to].to_vec());
                parts.push(importer.take(context, &format!("{what}, from {from}"), input, of_axis));
            }
        };
        for length in lengths {
            if length >= LONG {
                flush(self, &mut parts, others, start);
                let piece = &indices[start..start + length];
                let what = format!("{what}, reversed from {start}");
                parts.push(self.reverse(context, &what, input, axis, piece));
                others = start + length;
            }
            start += length;
        }
        flush(self, &mut parts, others, start);
        if let [only] = parts[..] {
            return only;
        }
        let mut dims = self.graph.dims(input).to_vec();
        dims[axis] = indices.len();
        self.part(context, what, Op::Concat { axis }, parts, dims)
    }

    /// A piece of an axis in reverse: the order of its blocks is reversed, and then that in each block.
    fn reverse(
        &mut self,
        context: &Context<'_>,
        what: &str,
        input: ValueId,
        axis: usize,
        piece: &[usize],
    ) -> ValueId {
        let mut dims = self.graph.dims(input).to_vec();
        let mut starts = vec![0; dims.len()];
        (starts[axis], dims[axis]) = (piece[piece.len() - 1], piece.len());
        let steps = vec![1; dims.len()];
        let slice = Op::Slice { starts, steps };
        let slice = self.part(context, &format!("{what}, in order"), slice, vec![input], dims.clone());
        let mut split = dims.clone();
        split.splice(axis..=axis, factors(piece.len()));
        let mut indices = vec![None; split.len()];
        let ends = axis..split.len() + axis + 1 - dims.len();
        ends.for_each(|axis| indices[axis] = Some((0..split[axis]).rev().collect()));
        let blocks = self.reshape_part(context, &format!("{what}, in blocks"), slice, split);
        let reversed = self.take(context, &format!("{what}, of blocks"), blocks, indices);
        self.reshape_part(context, what, reversed, dims)
    }
}

/// The lengths of the pieces of a list in which each index is one less than the one before.
fn descending(indices: &[usize]) -> impl Iterator<Item = usize> {
    indices.chunk_by(|a, b| *a == b + 1).map(<[usize]>::len)
}

/// Two factors of a number, the nearest to its square root; or itself.
fn factors(number: usize) -> Vec<usize> {
    let divides = |factor: &usize| number.is_multiple_of(*factor);
    let below_root = (2..).take_while(|factor| factor * factor <= number).filter(divides).last();
    below_root.map_or(vec![number], |factor| vec![number / factor, factor])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_about_as_many_as_long() {
        assert_eq!(factors(128), [16, 8]);
        assert_eq!(factors(126), [14, 9]);
        assert_eq!(factors(127), [127]);
        assert_eq!(descending(&[3, 2, 1, 0, 1, 2, 3, 2]).collect::<Vec<_>>(), [4, 1, 1, 2]);
    }
}
