//! ConvTranspose: with strides `s` it is an ordinary convolution that makes `s * s` times the channels,
//! one group of them for each place of an output pixel in a block of `s` by `s`, and a movement of those
//! groups to their places (Shi et al., "Is the deconvolution layer the same as a convolutional layer?",
//! 2016). So no step multiplies by the zeros that the textbook puts between the pixels.

use super::convolution::spatial_dims;
use super::{Context, Importer};
use crate::error::Result;
use crate::graph::{Conv, Op, Tensor, Window};

/// One axis.
struct Axis {
    stride: usize,
    /// Taps of a dilated kernel.
    extent: usize,
    dilation: usize,
    /// Cut off before, and the size that is left.
    cut: usize,
    output: usize,
    /// Taps of the ordinary convolution, and the pixels of its result.
    taps: usize,
    blocks: usize,
}

pub(super) fn conv_transpose(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let mut weights = importer.constant(context, 1)?;
    let bias = importer.optional_constant(context, 2)?;
    let flat = weights.dims.len() == 3;
    if flat {
        weights.dims.insert(2, 1);
    }
    let dims = spatial_dims(importer, context, input)?;
    let [in_channels, group_out, kernel_h, kernel_w] = weights.dims[..] else {
        return Err(context.unsupported(
            &format!("has weights of {} dimensions", weights.dims.len()),
            "edgepack runs one- and two-dimensional convolutions",
        ));
    };
    let groups = context.attributes().int("group", 1).max(1) as usize;
    if in_channels != dims[1] || in_channels % groups != 0 || weights.data.is_empty() {
        return Err(context.invalid(format!(
            "weights {:?} in {groups} groups do not fit an input of {} channels",
            weights.dims, dims[1]
        )));
    }
    let out_channels = group_out * groups;
    let bias = bias.map_or_else(|| vec![0.0; out_channels], |bias| bias.data.to_vec());
    if bias.len() != out_channels {
        return Err(context.invalid(format!("{} biases for {out_channels} channels", bias.len())));
    }
    let [y, x] = axes(context, [kernel_h, kernel_w], &dims, flat)?;
    // [group, place, channel, in, taps]: tap `t` of place `p` is the kernel's `p + (taps - 1 - t) * stride`.
    let group_in = in_channels / groups;
    let (places, taps) = (y.stride * x.stride, y.taps * x.taps);
    let mut data = vec![0.0; groups * places * group_out * group_in * taps];
    let tap = |axis: &Axis, place: usize, t: usize| {
        let at = place + (axis.taps - 1 - t) * axis.stride;
        (at < axis.extent && at.is_multiple_of(axis.dilation)).then(|| at / axis.dilation)
    };
    for (index, to) in data.iter_mut().enumerate() {
        let (t, rest) = (index % taps, index / taps);
        let (c_in, rest) = (rest % group_in, rest / group_in);
        let (c_out, rest) = (rest % group_out, rest / group_out);
        let (place, group) = (rest % places, rest / places);
        let ky = tap(&y, place / x.stride, t / x.taps);
        let kx = tap(&x, place % x.stride, t % x.taps);
        if let (Some(ky), Some(kx)) = (ky, kx) {
            let from = (group * group_in + c_in) * group_out + c_out;
            *to = weights.data[(from * kernel_h + ky) * kernel_w + kx];
        }
    }
    let channels = places * out_channels;
    let conv = Conv {
        weights: Tensor::new(vec![channels, group_in, y.taps, x.taps], data),
        bias: (0..channels)
            .map(|channel| bias[channel / (places * group_out) * group_out + channel % group_out])
            .collect(),
        window: Window {
            kernel: [y.taps, x.taps],
            stride: [1, 1],
            dilation: [1, 1],
            pads: [y.taps - 1, x.taps - 1, y.taps - 1, x.taps - 1],
        },
        groups,
    };
    let shape = |h: usize, w: usize, channels: usize| match flat {
        true => vec![dims[0], channels, w],
        false => vec![dims[0], channels, h, w],
    };
    let blocks = shape(y.blocks, x.blocks, channels);
    let blocks = importer.part(context, "blocks", Op::Conv(conv), vec![input], blocks);
    let (h, w) = (y.blocks * y.stride, x.blocks * x.stride);
    let split = vec![dims[0] * groups, y.stride, x.stride, group_out, y.blocks, x.blocks];
    let split = importer.reshape_part(context, "split", blocks, split);
    let moved = importer.transpose_part(context, "moved", split, vec![0, 3, 4, 1, 5, 2]);
    let pixels = importer.reshape_part(context, "pixels", moved, shape(h, w, out_channels));
    let result = shape(y.output, x.output, out_channels);
    if importer.graph.dims(pixels) == result {
        return importer.result(context, 0, pixels);
    }
    let starts = if flat { vec![0, 0, x.cut] } else { vec![0, 0, y.cut, x.cut] };
    let op = Op::Slice { steps: vec![1; starts.len()], starts };
    let result = importer.part(context, "cut", op, vec![pixels], result);
    importer.result(context, 0, result)
}

fn axes(context: &Context<'_>, kernel: [usize; 2], dims: &[usize; 4], flat: bool) -> Result<[Axis; 2]> {
    let attributes = context.attributes();
    let of = |name: &str, default: usize| {
        let values = attributes.ints(name).unwrap_or_default();
        match values {
            [w] if flat => [default, (*w).max(0) as usize],
            [h, w] => [h, w].map(|&value| value.max(0) as usize),
            _ => [default; 2],
        }
    };
    let (strides, dilations, more) = (of("strides", 1), of("dilations", 1), of("output_padding", 0));
    if strides.contains(&0) || dilations.contains(&0) || kernel.contains(&0) {
        return Err(context.invalid("a kernel size, stride or dilation is 0"));
    }
    let pads = attributes.ints("pads").unwrap_or_default();
    if pads.iter().any(|&pad| pad < 0) {
        return Err(context.unsupported("has negative pads", "pad the tensor behind this node instead"));
    }
    let pad = |axis: usize, side: usize| match pads {
        [before, after] => {
            if axis == 0 {
                0
            } else {
                [*before, *after][side] as usize
            }
        }
        [_, _, _, _] => pads[2 * side + axis] as usize,
        _ => 0,
    };
    let shape = attributes.ints("output_shape").filter(|shape| shape.len() >= 2 - usize::from(flat));
    let auto_pad = attributes.string("auto_pad", "NOTSET");
    let axis = |i: usize| {
        let (stride, dilation) = (strides[i], dilations[i]);
        let extent = (kernel[i] - 1) * dilation + 1;
        let full = (dims[2 + i] - 1) * stride + more[i] + extent;
        let wanted = match shape {
            // The spatial ones are the last.
            Some(shape) if i == 1 || !flat => Some(shape[shape.len() - 2 + i].max(0) as usize),
            _ if auto_pad.starts_with("SAME") => Some(dims[2 + i] * stride),
            _ => None,
        };
        let (cut, output) = match wanted {
            Some(wanted) => {
                let total = full.saturating_sub(wanted);
                let cut = if auto_pad == "SAME_UPPER" { total / 2 } else { total - total / 2 };
                (cut, Some(wanted))
            }
            None => (pad(i, 0), full.checked_sub(pad(i, 0) + pad(i, 1))),
        };
        let output = output.filter(|&output| output > 0);
        let output = output.ok_or_else(|| context.invalid(format!("its pads {pads:?} leave nothing")))?;
        // So many that the blocks reach as far as the output does; taps beyond the kernel are 0.
        let blocks = (cut + output).div_ceil(stride).max(dims[2 + i]);
        let taps = extent.div_ceil(stride).max(blocks + 1 - dims[2 + i]);
        let blocks = dims[2 + i] + taps - 1;
        Ok(Axis { stride, extent, dilation, cut, output, taps, blocks })
    };
    Ok([axis(0)?, axis(1)?])
}
