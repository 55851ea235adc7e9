//! Convolution and pooling in f32.

use super::gemm;
use crate::graph::{Conv, PoolKind, Window, as_nchw};

/// The positions of a window along one axis that are inside the input: `(kernel, input)` pairs.
pub(super) fn inside(
    w: &Window,
    axis: usize,
    output: usize,
    size: usize,
) -> impl Iterator<Item = (usize, usize)> {
    let (start, dilation, pad) = (output * w.stride[axis], w.dilation[axis], w.pads[axis]);
    (0..w.kernel[axis])
        .filter_map(move |k| Some((k, (start + k * dilation).checked_sub(pad)?)))
        .filter(move |&(_, position)| position < size)
}

/// The sizes of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct ConvSizes {
    /// Channels, height and width of an image of the input.
    pub image: [usize; 3],
    /// Height and width of the output.
    pub output: [usize; 2],
    /// Input channels of a group.
    pub group_in: usize,
    /// Output channels of a group.
    pub group_out: usize,
}

impl ConvSizes {
    /// Of a convolution of a tensor of `dims` to one of `output_dims`.
    pub fn of(conv: &Conv, dims: &[usize], output_dims: &[usize]) -> Self {
        let [_, channels, h, w] = as_nchw(dims).expect("import checked the rank of the input");
        let [_, out_channels, out_h, out_w] = as_nchw(output_dims).expect("import checked the rank");
        Self {
            image: [channels, h, w],
            output: [out_h, out_w],
            group_in: conv.weights.dims[1],
            group_out: out_channels / conv.groups,
        }
    }

    /// Products that an element of the output sums.
    pub fn k(&self, window: &Window) -> usize {
        self.group_in * window.kernel[0] * window.kernel[1]
    }
}

/// What one group of a convolution multiplies by its weights: `[k, pixels]` of the output, with zeros for
/// the padding. `image` is `[C, H, W]`; `columns` is room for them, and stays unused where they lie in the
/// image already.
pub fn columns<'a>(
    window: &Window,
    sizes: &ConvSizes,
    image: &'a [f32],
    group: usize,
    columns: &'a mut Vec<f32>,
) -> &'a [f32] {
    let [_, h, w] = sizes.image;
    let [out_h, out_w] = sizes.output;
    let planes = &image[group * sizes.group_in * h * w..][..sizes.group_in * h * w];
    if window.kernel == [1, 1] && window.stride == [1, 1] && window.pads == [0; 4] {
        return planes;
    }
    columns.clear();
    columns.resize(sizes.k(window) * out_h * out_w, 0.0);
    let mut rows = columns.chunks_exact_mut(out_h * out_w);
    for plane in planes.chunks_exact(h * w) {
        for tap in 0..window.kernel[0] * window.kernel[1] {
            let (ky, kx) = (tap / window.kernel[1], tap % window.kernel[1]);
            let Some(row) = rows.next() else { return columns };
            for (line, read, written) in lines(window, sizes, [ky, kx]) {
                let (from, to) = (&plane[line * w..][..w], &mut row[written.0..written.1]);
                if window.stride[1] == 1 {
                    to.copy_from_slice(&from[read..read + to.len()]);
                } else {
                    let read = from[read..].iter().step_by(window.stride[1]);
                    to.iter_mut().zip(read).for_each(|(to, from)| *to = *from);
                }
            }
        }
    }
    columns
}

/// Where one tap of a window reads: for each line of the output in which it is inside the input, that line
/// of the input, the first position in it, and the range of output pixels.
pub(super) fn lines(
    window: &Window,
    sizes: &ConvSizes,
    [ky, kx]: [usize; 2],
) -> impl Iterator<Item = (usize, usize, (usize, usize))> {
    let [_, h, w] = sizes.image;
    let [out_h, out_w] = sizes.output;
    let (offset, pad, stride) = (kx * window.dilation[1], window.pads[1], window.stride[1]);
    let first = pad.saturating_sub(offset).div_ceil(stride);
    // One beyond the last: its position `x * stride + offset - pad` must stay below the width.
    let end = ((w + pad).saturating_sub(offset)).div_ceil(stride).min(out_w);
    let (top, down, step) = (window.pads[0], ky * window.dilation[0], window.stride[0]);
    (0..out_h)
        .filter_map(move |oy| Some((oy, (oy * step + down).checked_sub(top)?)))
        .filter(move |&(_, y)| y < h && first < end)
        .map(move |(oy, y)| (y, first * stride + offset - pad, (oy * out_w + first, oy * out_w + end)))
}

/// Convolution of `[N, C, H, W]`.
pub(super) fn conv(conv: &Conv, input: &[f32], dims: &[usize], output_dims: &[usize]) -> Vec<f32> {
    let sizes = ConvSizes::of(conv, dims, output_dims);
    let (window, k) = (&conv.window, sizes.k(&conv.window));
    let pixels = sizes.output[0] * sizes.output[1];
    let mut result = Vec::with_capacity(output_dims.iter().product());
    let mut room = Vec::new();
    for image in input.chunks_exact(sizes.image.iter().product()) {
        for group in 0..conv.groups {
            let start = result.len();
            for bias in &conv.bias[group * sizes.group_out..][..sizes.group_out] {
                result.extend(std::iter::repeat_n(*bias, pixels));
            }
            let weights = &conv.weights.data[group * sizes.group_out * k..][..sizes.group_out * k];
            if sizes.group_in == 1 && sizes.group_out == 1 {
                depthwise(window, &sizes, image, group, weights, &mut result[start..]);
                continue;
            }
            let columns = columns(window, &sizes, image, group, &mut room);
            let shape = [sizes.group_out, k, pixels];
            gemm(shape, weights, (k as isize, 1), columns, (pixels as isize, 1), &mut result[start..]);
        }
    }
    result
}

/// Adds one channel's products to its plane of the output: a matrix product of one row is slow.
fn depthwise(
    window: &Window,
    sizes: &ConvSizes,
    image: &[f32],
    channel: usize,
    weights: &[f32],
    output: &mut [f32],
) {
    let [_, h, w] = sizes.image;
    let plane = &image[channel * h * w..][..h * w];
    for (tap, &weight) in weights.iter().enumerate() {
        for (line, read, written) in lines(window, sizes, [tap / window.kernel[1], tap % window.kernel[1]]) {
            let (from, to) = (&plane[line * w + read..(line + 1) * w], &mut output[written.0..written.1]);
            if window.stride[1] == 1 {
                to.iter_mut().zip(from).for_each(|(to, from)| *to += weight * from);
            } else {
                let from = from.iter().step_by(window.stride[1]);
                to.iter_mut().zip(from).for_each(|(to, from)| *to += weight * from);
            }
        }
    }
}

/// Pooling of `[N, C, H, W]`.
pub(super) fn pool(
    kind: PoolKind,
    window: &Window,
    input: &[f32],
    dims: &[usize],
    output_dims: &[usize],
) -> Vec<f32> {
    let [_, _, h, w] = as_nchw(dims).expect("import checked the rank of the input");
    let [_, _, out_h, out_w] = as_nchw(output_dims).expect("import checked the rank");
    let mut result = Vec::with_capacity(output_dims.iter().product());
    let counted = |axis: usize, output: usize, size: usize| {
        let end = window.pads[axis] + size + window.pads[2 + axis];
        let start = output * window.stride[axis];
        (0..window.kernel[axis]).filter(|k| start + k * window.dilation[axis] < end).count()
    };
    for plane in input.chunks_exact(h * w) {
        for oy in 0..out_h {
            for ox in 0..out_w {
                let rows: Vec<usize> = inside(window, 0, oy, h).map(|(_, y)| y).collect();
                let columns: Vec<usize> = inside(window, 1, ox, w).map(|(_, x)| x).collect();
                let values = rows.iter().flat_map(|y| columns.iter().map(move |x| plane[y * w + x]));
                result.push(match kind {
                    PoolKind::Max => values.fold(f32::NEG_INFINITY, f32::max),
                    PoolKind::Average { count_include_pad } => {
                        let count = if count_include_pad {
                            counted(0, oy, h) * counted(1, ox, w)
                        } else {
                            rows.len() * columns.len()
                        };
                        (values.map(|x| x as f64).sum::<f64>() / count.max(1) as f64) as f32
                    }
                });
            }
        }
    }
    result
}
