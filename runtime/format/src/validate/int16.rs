//! The operations of int16.

use super::float::{self, stored};
use super::geometry::{self, Ends};
use super::ops::positive;
use super::{Bounds, Check, overlap, product, require};
use crate::plan::{ConvI16, I16_PANEL, PoolI16};

pub(super) fn conv(op: &ConvI16, bounds: &Bounds<'_>) -> Check {
    let ends = Ends { input: (op.input, 2), output: (op.output, op.stored.bytes()) };
    geometry::conv(&op.window, op.groups, ends, bounds)?;
    let (elems, groups) = (product(&op.window.output_dims), op.groups);
    let ([.., in_c], [.., out_c]) = (op.window.input_dims, op.window.output_dims);
    let [kernel_h, kernel_w] = op.window.kernel;
    let row = product(&[kernel_w, in_c / groups]).ok_or("kernel, which is too large")?;
    let weights = if op.window.is_depthwise(groups) {
        product(&[kernel_h, kernel_w, out_c])
    } else {
        let panels = (out_c / groups).div_ceil(I16_PANEL);
        product(&[groups, panels, kernel_h, row.div_ceil(2), I16_PANEL, 2])
    };
    require(matches!(op.weight_bytes, 1 | 2), "weight_bytes")?;
    bounds.constant(op.weights, weights, op.weight_bytes.into(), "weights")?;
    bounds.floats(op.multiplier, out_c, positive, "multiplier")?;
    bounds.floats(op.bias, out_c, f32::is_finite, "bias")?;
    if let Some(residual) = &op.residual {
        bounds.arena(residual.span, elems, 2, "residual")?;
        require(!overlap(residual.span, op.output), "output, which overlaps the residual")?;
        require(positive(residual.scale), "residual's scale")?;
    }
    stored(&op.stored)
}

pub(super) fn pool(op: &PoolI16, bounds: &Bounds<'_>) -> Check {
    float::pool(&op.pool, 2, bounds)?;
    require(positive(op.multiplier), "multiplier")?;
    require(op.bounds[0] <= op.bounds[1], "bounds")
}
