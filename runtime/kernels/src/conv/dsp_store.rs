//! From sums to results on processors that have no vectors for it: loops of their own, so that all that they need is in
//! registers.

use super::results::{TileOutput, TileResidual};
use crate::requantize::OutputRange;

/// Stores a pixel's channels, one after the other: as many as there are multipliers.
///
/// # Safety
/// There are so many sums, `out` has room for their results, and there is so much to add.
pub(super) unsafe fn channels(
    sums: *const i32,
    multipliers: &[f32],
    out: TileOutput,
    residual: Option<&TileResidual>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match (out, residual) {
            (TileOutput::I8(out, range), None) if range.is_full() => {
                // A constant range is one instruction.
                let zero_point = range.zero_point;
                one_by_one(sums, multipliers, out, move |sum, multiplier, _| {
                    OutputRange::full(zero_point).requantize(sum, multiplier)
                });
            }
            (TileOutput::I8(out, range), None) => {
                one_by_one(sums, multipliers, out, |sum, multiplier, _| range.requantize(sum, multiplier));
            }
            (TileOutput::I8(out, range), Some(residual)) => {
                let added = residual.of(out);
                one_by_one(sums, multipliers, out, |sum, multiplier, at| {
                    range.requantize_sum(sum, multiplier, *added.add(at), residual.multiplier)
                });
            }
            (TileOutput::F32(out), _) => {
                one_by_one(sums, multipliers, out, |sum, multiplier, _| sum as f32 * multiplier);
            }
        }
    }
}

/// # Safety
/// As `channels`.
#[inline(never)]
unsafe fn one_by_one<T>(
    sums: *const i32,
    multipliers: &[f32],
    out: *mut T,
    result: impl Fn(i32, f32, usize) -> T,
) {
    for (at, &multiplier) in multipliers.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { *out.add(at) = result(*sums.add(at), multiplier, at) };
    }
}

/// Stores a channel's pixels, `step` elements from one another.
///
/// # Safety
/// There are `count` sums, and `out` has room for their results.
pub(super) unsafe fn pixels(sums: *const i32, multiplier: f32, out: TileOutput, step: usize, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match out {
            TileOutput::I8(out, range) if range.is_full() => {
                let zero_point = range.zero_point;
                apart(sums, out, [step, count], move |sum| {
                    OutputRange::full(zero_point).requantize(sum, multiplier)
                });
            }
            TileOutput::I8(out, range) => {
                apart(sums, out, [step, count], |sum| range.requantize(sum, multiplier));
            }
            TileOutput::F32(out) => apart(sums, out, [step, count], |sum| sum as f32 * multiplier),
        }
    }
}

/// # Safety
/// As `pixels`.
#[inline(never)]
unsafe fn apart<T>(sums: *const i32, out: *mut T, [step, count]: [usize; 2], result: impl Fn(i32) -> T) {
    let mut out = out;
    for at in 0..count {
        // SAFETY: the caller's promise.
        unsafe { *out = result(*sums.add(at)) };
        out = out.wrapping_add(step);
    }
}
