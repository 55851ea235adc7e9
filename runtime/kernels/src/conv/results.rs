//! Where kernels put their results, and what they add to them, as pointers.

use super::{Output, Residual};
use crate::requantize::OutputRange;

/// What is added to a tile's results: see [`Residual`]. It lies as they do, equally far from each of them.
#[derive(Clone, Copy)]
pub(super) struct TileResidual {
    /// Elements from a result to what is added to it; 0 where it is overwritten.
    pub distance: isize,
    /// See [`Residual::multiplier`].
    pub multiplier: f32,
}

impl TileResidual {
    /// The residual of a convolution whose output begins at `out`.
    pub fn new(residual: Option<Residual<'_>>, out: *mut i8) -> Option<Self> {
        let Residual { values, multiplier } = residual?;
        Some(Self::between(values.map_or(out.cast_const(), <[i8]>::as_ptr), out, multiplier))
    }

    /// `values` are added to the results from `out` on.
    pub fn between(values: *const i8, out: *const i8, multiplier: f32) -> Self {
        let distance = values.expose_provenance().wrapping_sub(out.expose_provenance());
        Self { distance: distance.cast_signed(), multiplier }
    }

    /// What is added to the result at `out` and to those behind it.
    #[inline(always)]
    pub fn of(&self, out: *const i8) -> *const i8 {
        match self.distance {
            0 => out,
            distance => core::ptr::with_exposed_provenance(out.addr().wrapping_add_signed(distance)),
        }
    }
}

/// Where a tile's results go.
#[derive(Clone, Copy)]
pub(super) enum TileOutput {
    /// Requantized.
    I8(*mut i8, OutputRange),
    /// Accumulator times multiplier.
    F32(*mut f32),
}

impl TileOutput {
    /// Of a whole convolution, and what is added there.
    pub fn of(output: &mut Output<'_>, residual: Option<Residual<'_>>) -> (Self, Option<TileResidual>) {
        match output {
            Output::I8(out, range) => {
                let out = out.as_mut_ptr();
                (Self::I8(out, *range), TileResidual::new(residual, out))
            }
            Output::F32(out) => (Self::F32(out.as_mut_ptr()), None),
        }
    }

    /// The same output, `elems` further.
    ///
    /// # Safety
    /// The position must be inside the output or one past it.
    #[inline(always)]
    pub unsafe fn add(self, elems: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::I8(out, range) => Self::I8(out.add(elems), range),
                Self::F32(out) => Self::F32(out.add(elems)),
            }
        }
    }
}
