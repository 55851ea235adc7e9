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
