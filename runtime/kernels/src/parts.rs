//! Work for several threads: which part of it each has.

use core::ops::Range;

/// Share `index` of `count` of `units`: contiguous, in order, the first ones one unit larger where it
/// does not come out even.
pub fn share(units: usize, count: usize, index: usize) -> Range<usize> {
    let (each, rest) = (units / count, units % count);
    let start = |index: usize| index * each + index.min(rest);
    start(index)..start(index + 1)
}

/// Takes the first `elems` of a slice, or what there is.
pub(crate) fn cut_front<'a, T>(all: &mut &'a mut [T], elems: usize) -> &'a mut [T] {
    let elems = elems.min(all.len());
    let (front, rest) = core::mem::take(all).split_at_mut(elems);
    *all = rest;
    front
}

/// `len` values from `at` on; none where there are not so many, which shapes that were checked exclude. An index
/// would be a panic, and its text, in programs that have no room for either.
#[inline(always)]
pub(crate) fn stretch<T>(values: &[T], at: usize, len: usize) -> &[T] {
    values.get(at..).and_then(|values| values.get(..len)).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_everything_in_order_and_differ_by_one() {
        for units in 0..40 {
            for count in 1..9 {
                let mut next = 0;
                for index in 0..count {
                    let share = share(units, count, index);
                    assert_eq!(share.start, next);
                    assert!((units / count..=units.div_ceil(count)).contains(&share.len()));
                    next = share.end;
                }
                assert_eq!(next, units);
            }
        }
    }
}
