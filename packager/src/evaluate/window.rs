//! Convolution and pooling in f32.

use super::gemm;
use crate::graph::{Conv, PoolKind, Window, as_nchw};

/// The positions of a window along one axis that are inside the input: `(kernel, input)` pairs.
fn inside(w: &Window, axis: usize, output: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    let (start, dilation, pad) = (output * w.stride[axis], w.dilation[axis], w.pads[axis]);
    (0..w.kernel[axis])
        .filter_map(move |k| Some((k, (start + k * dilation).checked_sub(pad)?)))
        .filter(move |&(_, position)| position < size)
}

/// Convolution of `[N, C, H, W]`.
pub(super) fn conv(conv: &Conv, input: &[f32], dims: &[usize], output_dims: &[usize]) -> Vec<f32> {
    let [batch, channels, h, w] = as_nchw(dims).expect("import checked the rank of the input");
    let [_, out_channels, out_h, out_w] = as_nchw(output_dims).expect("import checked the rank");
    let [_, group_in, kernel_h, kernel_w] = conv.weights.dims[..] else { return Vec::new() };
    let group_out = out_channels / conv.groups;
    let pixels = out_h * out_w;
    let k = group_in * kernel_h * kernel_w;
    let mut result = Vec::with_capacity(batch * out_channels * pixels);
    let mut columns = vec![0.0; k * pixels];
    for image in input.chunks_exact(channels * h * w) {
        for group in 0..conv.groups {
            columns.fill(0.0);
            for c in 0..group_in {
                let plane = &image[(group * group_in + c) * h * w..][..h * w];
                for oy in 0..out_h {
                    for (ky, y) in inside(&conv.window, 0, oy, h) {
                        let row = (c * kernel_h + ky) * kernel_w;
                        for ox in 0..out_w {
                            for (kx, x) in inside(&conv.window, 1, ox, w) {
                                columns[(row + kx) * pixels + oy * out_w + ox] = plane[y * w + x];
                            }
                        }
                    }
                }
            }
            let start = result.len();
            for bias in &conv.bias[group * group_out..][..group_out] {
                result.extend(std::iter::repeat_n(*bias, pixels));
            }
            let weights = &conv.weights.data[group * group_out * k..][..group_out * k];
            let shape = [group_out, k, pixels];
            gemm(shape, weights, (k as isize, 1), &columns, (pixels as isize, 1), &mut result[start..]);
        }
    }
    result
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
