//! What the kernels of ARMv7 NEON share: the assembly, and the constants that it reads. Each caller
//! declares its own functions.

use core::arch::global_asm;

use crate::requantize::{OutputRange, ROUNDING_MAGIC};

global_asm!(
    include_str!("armv7/macros.s"),
    include_str!("armv7/conv.s"),
    include_str!("armv7/depthwise.s"),
    include_str!("armv7/elementwise.s"),
    include_str!("armv7/lookup.s"),
    include_str!("armv7/pool.s"),
    include_str!("armv7/winograd.s"),
    options(raw)
);

/// An [`OutputRange`] as the assembly loads it: four registers.
#[repr(C, align(16))]
#[derive(Clone, Copy)]
pub(crate) struct Range {
    magic: [f32; 4],
    zero_point_less_magic: [i32; 4],
    min: [i8; 16],
    max: [i8; 16],
}

impl From<OutputRange> for Range {
    fn from(range: OutputRange) -> Self {
        Self::new(range)
    }
}

impl Range {
    pub(crate) fn new(range: OutputRange) -> Self {
        Self {
            magic: [ROUNDING_MAGIC; 4],
            zero_point_less_magic: [range.zero_point.wrapping_sub(ROUNDING_MAGIC.to_bits() as i32); 4],
            min: [range.min as i8; 16],
            max: [range.max as i8; 16],
        }
    }
}
