//! From f32 to int8 on AArch64, in the fewest instructions.

use crate::requantize::{OutputRange, ROUNDING_MAGIC};

/// How scaled sums become bytes. Adding 1.5 · 2²³ rounds to the nearest integer, ties to even, and leaves it in the
/// low bits (see [`ROUNDING_MAGIC`]): `uzp1` then takes 16 of them from two registers at once, where narrowing with
/// saturation needs an instruction for each. An even zero point can be added in the same sum, since it changes
/// nothing about which integer is even; of an odd one, 1 is left for later. Sums must fit int16 for it: where
/// that is not known beforehand, they are clamped to 2¹⁴, beyond every result.
#[repr(C, align(16))]
pub(crate) struct Bounds {
    /// 1.5 · 2²³ and the even part of the zero point.
    pub rounding: [f32; 4],
    /// -2¹⁴ and 2¹⁴.
    smallest: [f32; 4],
    largest: [f32; 4],
    /// What is left of the zero point.
    pub odd: [i16; 8],
    pub low: [i8; 16],
    pub high: [i8; 16],
    /// [`CLAMPS`], [`ADJUSTS`] and [`ADDS`].
    flags: usize,
}

/// Scaled sums may be beyond int16.
const CLAMPS: usize = 1;
/// The zero point is odd, or the bounds are not those of int8.
const ADJUSTS: usize = 2;
/// Something is added to scaled sums; what, lies behind the bounds.
const ADDS: usize = 4;

impl Bounds {
    /// With `FITS`, no scaled sum is beyond [`MOST`].
    pub fn new<const FITS: bool>(range: OutputRange) -> Self {
        let odd = range.zero_point & 1;
        let adjusts = odd != 0 || (range.min, range.max) != (i8::MIN as i32, i8::MAX as i32);
        Self {
            rounding: [ROUNDING_MAGIC + (range.zero_point - odd) as f32; 4],
            smallest: [-16384.0; 4],
            largest: [16384.0; 4],
            odd: [odd as i16; 8],
            low: [range.min as i8; 16],
            high: [range.max as i8; 16],
            flags: if FITS { 0 } else { CLAMPS } | if adjusts { ADJUSTS } else { 0 },
        }
    }

    /// The same, with something to add behind them.
    pub fn adding(self) -> Self {
        Self { flags: self.flags | ADDS, ..self }
    }

    /// Whether there is more to do than to round and to narrow.
    pub fn adjusts(&self) -> bool {
        self.flags & ADJUSTS != 0
    }

    pub fn flags(&self) -> usize {
        self.flags
    }
}

/// A scaled sum of this magnitude, rounded and with a zero point, is an int16: with room for what bounds are
/// computed with.
pub(crate) const MOST: f32 = 32_000.0;

/// Whether no sum of a channel with this bias, of products of `values` int8 values with weights, is beyond
/// [`MOST`] when it is scaled.
#[inline(always)]
pub(crate) fn fits(values: usize, bias: i32, multiplier: f32) -> bool {
    fits_within(MOST, values, bias, multiplier)
}

/// The same for another bound.
#[inline(always)]
pub(crate) fn fits_within(most: f32, values: usize, bias: i32, multiplier: f32) -> bool {
    (bias.unsigned_abs() as f32 + (values as f32) * (128.0 * 127.0)) * multiplier <= most
}
