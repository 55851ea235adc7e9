//! What must be true of sizes, windows and distances, whatever the elements.

use super::{Bounds, Check, extent, overlap, product, require};
use crate::plan::{MatMulGeometry, Span, Window};

pub(super) const OVERLAPS_INPUT: &str = "output, which overlaps the input";

/// One axis of a window: the last one starts in the input or in the padding before it. Dilated ones may
/// still step over the input; then there is nothing but padding in them.
struct Axis {
    input: u32,
    output: u32,
    kernel: u32,
    stride: u32,
    dilation: u32,
    /// Before and after.
    pads: [u32; 2],
}

impl Axis {
    fn check(&self) -> Option<()> {
        let sizes = [self.input, self.output, self.kernel, self.stride, self.dilation];
        if sizes.contains(&0) || sizes.iter().chain(&self.pads).any(|&size| size > 1 << 24) {
            return None;
        }
        let window = (self.kernel - 1).checked_mul(self.dilation)?.checked_add(1)?;
        let last = (self.output - 1).checked_mul(self.stride)?;
        // The last window starts inside the padded input, and before the padding that follows it.
        let starts_inside = last < self.pads[0].checked_add(self.input)?;
        (self.pads[0] < window && starts_inside && last.checked_add(window)? <= i32::MAX as u32).then_some(())
    }
}

/// A tensor that is read and one that is written, with elements of so many bytes.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub input: (Span, u32),
    pub output: (Span, u32),
}

/// A window whose ends lie in the arena, apart.
fn window(window: &Window, pad_after: [u32; 2], ends: Ends, bounds: &Bounds<'_>) -> Check {
    let [in_n, in_h, in_w, _] = window.input_dims;
    let [out_n, out_h, out_w, _] = window.output_dims;
    require(in_n == out_n, "output_dims")?;
    for axis in 0..2 {
        let (input, output) = ([in_h, in_w][axis], [out_h, out_w][axis]);
        let (kernel, stride, dilation) = (window.kernel[axis], window.stride[axis], window.dilation[axis]);
        let pads = [window.pad[axis], pad_after[axis]];
        Axis { input, output, kernel, stride, dilation, pads }.check().ok_or("window")?;
    }
    let Ends { input: (input, input_bytes), output: (output, output_bytes) } = ends;
    bounds.arena(input, product(&window.input_dims), input_bytes, "input")?;
    bounds.arena(output, product(&window.output_dims), output_bytes, "output")?;
    require(!overlap(input, output), OVERLAPS_INPUT)
}

/// A convolution without its constants; gives the number of weights of an output channel.
pub(super) fn conv(of: &Window, groups: u32, ends: Ends, bounds: &Bounds<'_>) -> Result<u32, &'static str> {
    window(of, [0; 2], ends, bounds)?;
    let ([.., in_c], [.., out_c]) = (of.input_dims, of.output_dims);
    require(groups > 0 && in_c % groups == 0 && out_c % groups == 0, "groups")?;
    product(&[of.kernel[0], of.kernel[1], in_c / groups]).ok_or("kernel, which is too large")
}

/// A pooling; gives the number of a window's positions, if it is below 2³¹.
pub(super) fn pool(
    of: &Window,
    pad_after: [u32; 2],
    ends: Ends,
    bounds: &Bounds<'_>,
) -> Result<Option<u32>, &'static str> {
    require(of.input_dims[3] == of.output_dims[3], "output_dims")?;
    window(of, pad_after, ends, bounds)?;
    Ok(product(&of.kernel))
}

/// A product of two tensors in the arena, with elements of so many bytes, neither of which overlaps the output.
pub(super) fn mat_mul(
    of: &MatMulGeometry,
    operands: [(Span, &'static str); 2],
    elem_bytes: u32,
    (output, output_bytes): (Span, u32),
    bounds: &Bounds<'_>,
) -> Check {
    let [b0, b1] = of.batch;
    let [m, k, n] = of.sizes;
    require(product(&[b0, b1, m, k]).is_some() && product(&[b0, b1, k, n]).is_some(), "sizes")?;
    bounds.arena(output, product(&[b0, b1, m, n]), output_bytes, "output")?;
    let [x, y, row] = of.lhs_strides;
    let reach = [extent(0, &[b0, b1, m, k], &[x, y, row, 1]), extent(0, &[b0, b1, k, n], &of.rhs_strides)];
    for ((span, field), needed) in operands.into_iter().zip(reach) {
        bounds.arena(span, Some(span.bytes / elem_bytes), elem_bytes, field)?;
        require(needed.is_some_and(|needed| needed <= span.bytes / elem_bytes), field)?;
        require(!overlap(span, output), "output, which overlaps an operand")?;
    }
    require(is_permuted([b0, b1, m], of.output_strides, n), "output_strides")
}

/// Whether these are the strides of a contiguous tensor whose last dimension is `inner`, in whatever
/// order the others lie: then no two elements share a place.
fn is_permuted(dims: [u32; 3], strides: [u32; 3], inner: u32) -> bool {
    let mut left = [true; 3];
    let mut distance = inner;
    for _ in 0..3 {
        // Of size 1 any stride will do; else the next dimension outwards is as far apart as all before.
        let next = (0..3).find(|&i| left[i] && (dims[i] == 1 || strides[i] == distance));
        let Some(next) = next else { return false };
        left[next] = false;
        // The product of all sizes was checked.
        distance *= dims[next];
    }
    true
}
