//! What the walks share.

use core::ops::Range;

use super::TILE;

/// Lines, and columns, of the inputs that a tile reads.
pub(crate) const PATCH: usize = TILE + 2;

/// The inverse of 9 modulo 2^32.
pub(crate) const INVERSE_OF_9: i32 = 0x38e3_8e39;

/// The binary logarithms of `s`: `y[i][j]` is what is left after a shift by `i`'s and `j`'s.
#[cfg_attr(target_arch = "arm", allow(dead_code))]
pub(crate) const SHIFTS: [i32; TILE] = [3, 2, 1, 1];

/// Cuts into stretches of about the same length, at most `most`.
pub(crate) fn stretches(all: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let each = all.div_ceil(all.div_ceil(most));
    (0..all).step_by(each).map(move |start| start..(start + each).min(all))
}
