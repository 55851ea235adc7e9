//! Conv and the poolings: the geometry of a window.

use super::{Attributes, Context, Importer};
use crate::error::Result;
use crate::graph::{Conv, Op, PoolKind, Window, as_nchw};

pub(super) fn conv(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let mut weights = importer.constant(context, 1)?;
    let bias = importer.optional_constant(context, 2)?;
    if weights.dims.len() == 3 {
        weights.dims.insert(2, 1);
    }
    let dims = spatial_dims(importer, context, input)?;
    let [out_channels, group_channels, kernel_h, kernel_w] = weights.dims[..] else {
        return Err(context.unsupported(
            &format!("has weights of {} dimensions", weights.dims.len()),
            "edgepack runs one- and two-dimensional convolutions",
        ));
    };
    let groups = context.attributes().int("group", 1).max(1) as usize;
    if group_channels * groups != dims[1] || out_channels % groups != 0 || weights.data.is_empty() {
        return Err(context.invalid(format!(
            "weights {:?} in {groups} groups do not fit an input of {} channels",
            weights.dims, dims[1]
        )));
    }
    let window = window(context, [kernel_h, kernel_w], &dims)?;
    let bias = bias.map_or_else(|| vec![0.0; out_channels], |bias| bias.data.to_vec());
    if bias.len() != out_channels {
        return Err(context.invalid(format!("{} biases for {out_channels} channels", bias.len())));
    }
    importer.push(context, Op::Conv(Conv { weights, bias, window, groups }), vec![input])
}

pub(super) fn pool(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let dims = spatial_dims(importer, context, input)?;
    let attributes = context.attributes();
    let kernel = pair(attributes.ints("kernel_shape").unwrap_or_default(), 1);
    let kind = match context.node.op_type.as_str() {
        "MaxPool" if context.node.output.len() > 1 && !context.node.output[1].is_empty() => {
            return Err(context.unsupported(
                "also gives the indices of its maxima",
                "edgepack computes the values only: export the model without the Indices output",
            ));
        }
        "MaxPool" => PoolKind::Max,
        _ => PoolKind::Average { count_include_pad: attributes.int("count_include_pad", 0) != 0 },
    };
    let window = window(context, kernel, &dims)?;
    importer.push(context, Op::Pool(kind, window), vec![input])
}

pub(super) fn global_pool(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let dims = spatial_dims(importer, context, input)?;
    let kind = match context.node.op_type.as_str() {
        "GlobalMaxPool" => PoolKind::Max,
        _ => PoolKind::Average { count_include_pad: false },
    };
    let window = Window { kernel: [dims[2], dims[3]], stride: [1, 1], dilation: [1, 1], pads: [0; 4] };
    importer.push(context, Op::Pool(kind, window), vec![input])
}

fn spatial_dims(
    importer: &Importer,
    context: &Context<'_>,
    input: crate::graph::ValueId,
) -> Result<[usize; 4]> {
    let dims = importer.graph.dims(input);
    as_nchw(dims).filter(|_| dims.len() >= 3).ok_or_else(|| {
        context.unsupported(
            &format!("has an input of shape {dims:?}"),
            "edgepack runs convolutions and poolings over [N, C, W] and [N, C, H, W]",
        )
    })
}

/// Height and width of an attribute that has one value an axis; one-dimensional ones get height
/// `fill`.
fn pair(values: &[i64], fill: usize) -> [usize; 2] {
    match *values {
        [h, w] => [h.max(0) as usize, w.max(0) as usize],
        [w] => [fill, w.max(0) as usize],
        _ => [fill, fill],
    }
}

fn window(context: &Context<'_>, kernel: [usize; 2], dims: &[usize; 4]) -> Result<Window> {
    let attributes = context.attributes();
    let stride = pair(attributes.ints("strides").unwrap_or_default(), 1);
    let dilation = pair(attributes.ints("dilations").unwrap_or_default(), 1);
    if [kernel, stride, dilation].iter().flatten().any(|&size| size == 0) {
        return Err(context.invalid("a kernel size, stride or dilation is 0"));
    }
    let pads = pads(context, &attributes, kernel, stride, dilation, dims)?;
    let window = Window { kernel, stride, dilation, pads };
    for axis in 0..2 {
        let extent = (kernel[axis] - 1) * dilation[axis] + 1;
        if extent > dims[2 + axis] + pads[axis] + pads[2 + axis] {
            return Err(context.invalid(format!("its window of {extent} is larger than the padded input")));
        }
        if pads[axis] >= extent || pads[2 + axis] >= extent {
            return Err(context.unsupported(
                &format!("pads by {pads:?}, more than its window of {extent}"),
                "such windows see nothing but padding: export the model with smaller pads",
            ));
        }
    }
    Ok(window)
}

fn pads(
    context: &Context<'_>,
    attributes: &Attributes<'_>,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    dims: &[usize; 4],
) -> Result<[usize; 4]> {
    let mut pads = [0; 4];
    match attributes.string("auto_pad", "NOTSET") {
        "NOTSET" | "" => {
            let explicit = attributes.ints("pads").unwrap_or_default();
            if explicit.iter().any(|&pad| pad < 0) {
                return Err(
                    context.unsupported("has negative pads", "crop the tensor before this node instead")
                );
            }
            match *explicit {
                [] => {}
                [left, right] => pads = [0, left as usize, 0, right as usize],
                [top, left, bottom, right] => {
                    pads = [top as usize, left as usize, bottom as usize, right as usize];
                }
                _ => return Err(context.invalid(format!("{} pads", explicit.len()))),
            }
        }
        "VALID" => {}
        same @ ("SAME_UPPER" | "SAME_LOWER") => {
            for axis in 0..2 {
                let output = dims[2 + axis].div_ceil(stride[axis]);
                let needed = (output - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1;
                let total = needed.saturating_sub(dims[2 + axis]);
                let (less, more) = (total / 2, total - total / 2);
                (pads[axis], pads[2 + axis]) = if same == "SAME_UPPER" { (less, more) } else { (more, less) };
            }
        }
        other => return Err(context.invalid(format!("auto_pad `{other}` is no ONNX value"))),
    }
    Ok(pads)
}
