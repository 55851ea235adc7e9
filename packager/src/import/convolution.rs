//! Conv and the poolings: the geometry of a window.

use super::attributes::Attributes;
use super::{Context, Importer};
use crate::error::Result;
use crate::graph::{Conv, Op, PoolKind, ValueId, Window, as_nchw};
use crate::unary::Unary;

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
    if importer.graph.dims(input).len() == 5 {
        return pool_of_three(importer, context, input);
    }
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
    if let Some([_, _, h, w]) = as_nchw(&importer.output_dims(context)?) {
        check_ceil(context, &window, [dims[2], dims[3]], [h, w])?;
    }
    importer.push(context, Op::Pool(kind, window), vec![input])
}

/// A pooling of three dimensions is one of the last two after one of the first: a maximum of maxima, or a
/// mean of means, each of which has the same number of elements.
fn pool_of_three(importer: &mut Importer, context: &Context<'_>, input: ValueId) -> Result<()> {
    let [n, c, d, h, w] = importer.graph.dims(input)[..] else { return Err(context.invalid("its rank")) };
    let [_, _, out_d, out_h, out_w] = importer.output_dims(context)?[..] else {
        return Err(context.invalid("the rank of its output"));
    };
    let attributes = context.attributes();
    let three = |name: &str| match attributes.ints(name) {
        Some(&[a, b, c]) => [a, b, c].map(|value| value.max(0)),
        _ => [1; 3],
    };
    let kind = match context.node.op_type.as_str() {
        "MaxPool" if context.node.output.get(1).is_none_or(String::is_empty) => PoolKind::Max,
        "AveragePool" => PoolKind::Average { count_include_pad: attributes.int("count_include_pad", 0) != 0 },
        _ => {
            return Err(context.unsupported(
                "works on three dimensions",
                "edgepack runs MaxPool and AveragePool there, without Indices: use one of them",
            ));
        }
    };
    let (kernel, stride, dilation) = (three("kernel_shape"), three("strides"), three("dilations"));
    let (before, after) = match (attributes.ints("pads"), attributes.string("auto_pad", "NOTSET")) {
        (_, auto) if auto.starts_with("SAME") => {
            return Err(context.unsupported(
                &format!("pads three dimensions by auto_pad `{auto}`"),
                "export the model with explicit pads",
            ));
        }
        (Some(&[a, b, c, d, e, f]), _) => ([a, b, c], [d, e, f]),
        _ => ([0; 3], [0; 3]),
    };
    let window = |axes: [usize; 2], dims: [usize; 2]| {
        let of = |values: [i64; 3]| axes.map(|axis| values.get(axis).copied());
        let size = |values, missing| of(values).map(|value| value.unwrap_or(missing).max(0) as usize);
        let ([top, left], [bottom, right]) = (size(before, 0), size(after, 0));
        let window = Window {
            kernel: size(kernel, 1),
            stride: size(stride, 1),
            dilation: size(dilation, 1),
            pads: [top, left, bottom, right],
        };
        checked(context, window, dims)
    };
    // The axis that is no axis of the window has one of size 1.
    let (plane, depth) = (window([1, 2], [h, w])?, window([0, 3], [d, out_h * out_w])?);
    check_ceil(context, &plane, [h, w], [out_h, out_w])?;
    check_ceil(context, &depth, [d, out_h * out_w], [out_d, out_h * out_w])?;
    let planes = importer.reshape_part(context, "planes", input, vec![n, c * d, h, w]);
    let pooled = vec![n, c * d, out_h, out_w];
    let pooled = importer.part(context, "of planes", Op::Pool(kind, plane), vec![planes], pooled);
    let columns = importer.reshape_part(context, "columns", pooled, vec![n, c, d, out_h * out_w]);
    let dims = vec![n, c, out_d, out_h * out_w];
    let pooled = importer.part(context, "of depth", Op::Pool(kind, depth), vec![columns], dims);
    let result = importer.reshape_part(context, "result", pooled, vec![n, c, out_d, out_h, out_w]);
    importer.result(context, 0, result)
}

/// `(sum of |x|^p)^(1/p)`: a mean of the powers, with padding counted, times the number of them.
pub(super) fn lp_pool(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let own = importer.graph.dims(input).to_vec();
    let dims = spatial_dims(importer, context, input)?;
    let attributes = context.attributes();
    let (p, ceil) = (attributes.int("p", 2) as f32, attributes.int("ceil_mode", 0) != 0);
    let window = window(context, pair(attributes.ints("kernel_shape").unwrap_or_default(), 1), &dims)?;
    if p < 1.0 || ceil {
        return Err(context.unsupported(
            &format!("has p = {p} and ceil_mode = {ceil}"),
            "edgepack runs p of 1 or more, and ceil_mode = 0",
        ));
    }
    let size = |axis: usize| {
        let padded = dims[2 + axis] + window.pads[axis] + window.pads[2 + axis];
        (padded - (window.kernel[axis] - 1) * window.dilation[axis] - 1) / window.stride[axis] + 1
    };
    let pooled = match own.len() {
        3 => vec![dims[0], dims[1], size(1)],
        _ => vec![dims[0], dims[1], size(0), size(1)],
    };
    let powers = Unary::Abs.then(Unary::Pow { exponent: p });
    let powers = importer.unary_part(context, "powers", powers, input);
    let op = Op::Pool(PoolKind::Average { count_include_pad: true }, window);
    let mean = importer.part(context, "means", op, vec![powers], pooled);
    let count = (window.kernel[0] * window.kernel[1]) as f32;
    let root = Unary::Affine { scale: count, shift: 0.0 }.then(Unary::Pow { exponent: 1.0 / p });
    let result = importer.unary_part(context, "roots", root, mean);
    importer.result(context, 0, result)
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

pub(super) fn spatial_dims(
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
    checked(context, Window { kernel, stride, dilation, pads }, [dims[2], dims[3]])
}

/// With `ceil_mode`, windows may reach beyond the padded input. Whether a mean counts what is there,
/// implementations disagree about, ONNX's own ones too.
fn check_ceil(context: &Context<'_>, window: &Window, dims: [usize; 2], output: [usize; 2]) -> Result<()> {
    let attributes = context.attributes();
    let disputed = attributes.int("ceil_mode", 0) != 0 && attributes.int("count_include_pad", 0) != 0;
    let beyond = |axis: usize| {
        let padded = dims[axis] + window.pads[axis] + window.pads[2 + axis];
        (output[axis] - 1) * window.stride[axis] + (window.kernel[axis] - 1) * window.dilation[axis] >= padded
    };
    if disputed && (beyond(0) || beyond(1)) {
        return Err(context.unsupported(
            "has ceil_mode = 1 and count_include_pad = 1, and windows that reach beyond the padding",
            "implementations of ONNX disagree about what these count: export the model with ceil_mode = 0",
        ));
    }
    Ok(())
}

/// A window that fits an input of this height and width.
fn checked(context: &Context<'_>, window: Window, dims: [usize; 2]) -> Result<Window> {
    let Window { kernel, dilation, pads, .. } = window;
    for axis in 0..2 {
        let extent = (kernel[axis].max(1) - 1) * dilation[axis] + 1;
        if extent > dims[axis] + pads[axis] + pads[2 + axis] {
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
