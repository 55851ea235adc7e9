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

/// The same to write to.
#[inline(always)]
pub(crate) fn stretch_mut<T>(values: &mut [T], at: usize, len: usize) -> &mut [T] {
    values.get_mut(at..).and_then(|values| values.get_mut(..len)).unwrap_or(&mut [])
}

/// The value at a place; nothing's where there is none, as of [`stretch`].
#[inline(always)]
pub(crate) fn at<T: Copy + Default>(values: &[T], index: usize) -> T {
    values.get(index).copied().unwrap_or_default()
}

/// Rows of so many values each, to read and to write.
#[inline(always)]
pub(crate) fn rows<'a, A, B>(
    from: &'a [A],
    to: &'a mut [B],
    values: usize,
) -> impl Iterator<Item = (&'a [A], &'a mut [B])> {
    // No row is empty.
    let values = values.max(1);
    let (from, to) = (from.chunks_exact(values), to.chunks_exact_mut(values));
    // Where a `zip` of both is a function of its own, it divides by what it does not know, and has a panic for 0, which
    // firmware must not have. Elsewhere it is the faster: by 2.6 % of a transformer on ARMv7.
    #[cfg(target_os = "none")]
    let mut to = to;
    #[cfg(target_os = "none")]
    let rows = from.map_while(move |from| Some((from, to.next()?)));
    #[cfg(not(target_os = "none"))]
    let rows = from.zip(to);
    rows
}

/// Copies values to as many: without the panic of [`slice::copy_from_slice`].
#[inline(always)]
pub(crate) fn copy_all<T: Copy>(from: &[T], to: &mut [T]) {
    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
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
