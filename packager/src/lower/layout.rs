//! The order in which a device stores the axes of a tensor. A transposition of the model is then
//! only another reading of the same bytes, and no step.

use crate::evaluate::strides;

/// Storage order of a tensor: axis `j` of the stored tensor is axis `0[j]` of the model's. Axes of
/// size 1 may stand anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order(pub Vec<usize>);

impl Order {
    /// The model's own order.
    pub fn identity(rank: usize) -> Self {
        Self((0..rank).collect())
    }

    /// Channels (axis 1) last: NHWC of NCHW.
    pub fn channels_last(rank: usize) -> Self {
        let mut axes: Vec<usize> = (0..rank).collect();
        if rank > 2 {
            axes.remove(1);
            axes.push(1);
        }
        Self(axes)
    }

    /// Whether both orders mean the same bytes for a tensor of `dims`.
    pub fn same(&self, other: &Self, dims: &[usize]) -> bool {
        self.significant(dims) == other.significant(dims)
    }

    /// The axes of more than one element, in storage order.
    pub fn significant(&self, dims: &[usize]) -> Vec<usize> {
        self.0.iter().copied().filter(|&axis| dims[axis] != 1).collect()
    }

    /// The stored tensor's dimensions.
    pub fn stored_dims(&self, dims: &[usize]) -> Vec<usize> {
        self.0.iter().map(|&axis| dims[axis]).collect()
    }

    /// By axis of the model: the distance in elements in storage.
    pub fn strides(&self, dims: &[usize]) -> Vec<usize> {
        let stored = strides(&self.stored_dims(dims));
        let mut by_axis = vec![0; dims.len()];
        for (&axis, &stride) in self.0.iter().zip(&stored) {
            by_axis[axis] = stride;
        }
        by_axis
    }

    /// The order of the same bytes after a transposition of the model.
    pub fn transposed(&self, perm: &[usize]) -> Self {
        let mut inverse = vec![0; perm.len()];
        for (to, &from) in perm.iter().enumerate() {
            inverse[from] = to;
        }
        Self(self.0.iter().map(|&axis| inverse[axis]).collect())
    }

    /// The order of the same bytes after the model's tensor of `from` has been reshaped to `to`: `None` where
    /// axes that become one do not lie behind each other.
    pub fn reshaped(&self, from: &[usize], to: &[usize]) -> Option<Self> {
        let significant = self.significant(from);
        let mut order = Vec::with_capacity(to.len());
        let mut at = 0;
        // The groups of axes with the same number of elements in both shapes, in the order of storage.
        let groups = groups(from, to)?;
        while at < significant.len() {
            let (before, after) =
                groups.iter().find(|(before, _)| before.first() == Some(&significant[at]))?;
            if significant.get(at..at + before.len()) != Some(&before[..]) {
                return None;
            }
            order.extend(after);
            at += before.len();
        }
        let ones: Vec<usize> = (0..to.len()).filter(|axis| !order.contains(axis)).collect();
        order.splice(0..0, ones);
        Some(Self(order))
    }

    /// The same order with one axis moved to the end.
    pub fn with_last(&self, axis: usize) -> Self {
        let mut axes: Vec<usize> = self.0.iter().copied().filter(|&other| other != axis).collect();
        axes.push(axis);
        Self(axes)
    }
}

/// The smallest groups of neighbouring axes of two shapes that have the same number of elements, without
/// the axes of one element.
fn groups(from: &[usize], to: &[usize]) -> Option<Vec<(Vec<usize>, Vec<usize>)>> {
    let significant = |dims: &[usize]| {
        let axes = dims.iter().copied().enumerate().filter(|&(_, dim)| dim != 1);
        axes.collect::<Vec<(usize, usize)>>().into_iter()
    };
    let (mut left, mut right) = (significant(from), significant(to));
    let mut groups = Vec::new();
    while let Some((axis, dim)) = left.next() {
        let (mut before, mut after) = (vec![axis], Vec::new());
        let (mut elems_before, mut elems_after) = (dim, 1);
        while elems_before != elems_after {
            let (side, elems, axes) = if elems_before < elems_after {
                (&mut left, &mut elems_before, &mut before)
            } else {
                (&mut right, &mut elems_after, &mut after)
            };
            let (axis, dim) = side.next()?;
            *elems *= dim;
            axes.push(axis);
        }
        groups.push((before, after));
    }
    Some(groups)
}

/// Merges neighbouring dimensions that every operand walks through alike. `dims` outermost first,
/// `strides` one list an operand; dimensions of size 1 go.
pub fn collapse(dims: &[usize], strides: &[Vec<usize>]) -> (Vec<usize>, Vec<Vec<usize>>) {
    let mut merged_dims: Vec<usize> = Vec::new();
    let mut merged: Vec<Vec<usize>> = vec![Vec::new(); strides.len()];
    for (axis, &dim) in dims.iter().enumerate().filter(|&(_, &dim)| dim != 1) {
        let continues = merged_dims.last().is_some()
            && (merged.iter().zip(strides)).all(|(merged, own)| merged.last() == Some(&(own[axis] * dim)));
        if continues {
            if let Some(last) = merged_dims.last_mut() {
                *last *= dim;
            }
            for (merged, own) in merged.iter_mut().zip(strides) {
                if let Some(last) = merged.last_mut() {
                    *last = own[axis];
                }
            }
        } else {
            merged_dims.push(dim);
            merged.iter_mut().zip(strides).for_each(|(merged, own)| merged.push(own[axis]));
        }
    }
    (merged_dims, merged)
}

/// The values at the end of an array of `N`, filled in front; `None` where they are more than N.
pub fn right_aligned<const N: usize>(values: &[usize], fill: usize) -> Option<[u32; N]> {
    let lead = N.checked_sub(values.len())?;
    let mut array = [u32::try_from(fill).ok()?; N];
    for (to, &value) in array[lead..].iter_mut().zip(values) {
        *to = u32::try_from(value).ok()?;
    }
    Some(array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposition_to_nhwc_of_a_tensor_stored_so_is_the_model_order() {
        let order = Order::channels_last(4).transposed(&[0, 2, 3, 1]);
        assert_eq!(order, Order::identity(4));
        assert_eq!(Order::channels_last(4).strides(&[2, 3, 4, 5]), [60, 1, 15, 3]);
    }

    #[test]
    fn axes_of_one_element_do_not_matter() {
        let dims = [1, 64, 1, 1];
        assert!(Order::channels_last(4).same(&Order::identity(4), &dims));
        assert!(!Order::channels_last(4).same(&Order::identity(4), &[1, 64, 2, 1]));
    }

    #[test]
    fn a_reshape_of_axes_that_lie_together_moves_nothing() {
        let nhwc = Order::channels_last(4);
        // Pixels of NHWC become one axis, channels become groups; not both at once.
        assert_eq!(nhwc.reshaped(&[1, 6, 4, 5], &[1, 6, 20]), Some(Order(vec![0, 2, 1])));
        assert_eq!(nhwc.reshaped(&[1, 6, 4, 5], &[1, 2, 3, 4, 5]), Some(Order(vec![0, 3, 4, 1, 2])));
        assert_eq!(nhwc.reshaped(&[1, 6, 4, 5], &[1, 120]), None);
        assert_eq!(nhwc.reshaped(&[1, 6, 4, 5], &[6, 1, 4, 5]), Some(Order(vec![1, 2, 3, 0])));
        // Two axes become two others: they must lie as the model has them.
        assert_eq!(Order::identity(3).reshaped(&[2, 3, 4], &[3, 2, 4]), Some(Order(vec![0, 1, 2])));
        assert_eq!(Order(vec![2, 0, 1]).reshaped(&[2, 3, 4], &[3, 2, 4]), Some(Order(vec![2, 0, 1])));
        assert_eq!(Order(vec![1, 0, 2]).reshaped(&[2, 3, 4], &[3, 2, 4]), None);
        assert_eq!(Order::identity(2).reshaped(&[1, 1], &[1]), Some(Order(vec![0])));
    }

    #[test]
    fn dimensions_merge_only_where_every_operand_agrees() {
        let dims = [2, 1, 4, 5];
        let (merged, strides) = collapse(&dims, &[vec![20, 20, 5, 1], vec![0, 0, 0, 1]]);
        assert_eq!((merged, strides), (vec![8, 5], vec![vec![5, 1], vec![0, 1]]));
        let (merged, strides) = collapse(&dims, &[vec![20, 20, 5, 1]]);
        assert_eq!((merged, strides), (vec![40], vec![vec![1]]));
        assert_eq!(right_aligned::<4>(&[7], 1), Some([1, 1, 1, 7]));
        assert_eq!(right_aligned::<1>(&[7, 8], 1), None);
    }
}
