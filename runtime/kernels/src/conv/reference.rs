//! The definition of the convolutions: plain loops over canonical weights.

use super::{ConvArgs, Output, Residual, Weights};

/// A convolution with weights `[out_channels, kh, kw, in_channels / groups]`.
pub fn conv(args: &mut ConvArgs<'_>, weights: &Weights<'_>) {
    let shape = args.shape;
    let (in_channels, out_channels) = (shape.group_in_channels(), shape.group_out_channels());
    let per_channel = shape.taps() * in_channels;
    for pixel in 0..shape.output_pixels() {
        let (image, in_image) = (pixel / (shape.out_h * shape.out_w), pixel % (shape.out_h * shape.out_w));
        let (oy, ox) = (in_image / shape.out_w, in_image % shape.out_w);
        for channel in 0..shape.out_channels {
            let group = channel / out_channels;
            let mut acc = weights.bias[channel];
            for ky in 0..shape.kernel_h {
                for kx in 0..shape.kernel_w {
                    let tap = (ky * shape.kernel_w + kx) * in_channels;
                    let w = &weights.weights[channel * per_channel + tap..][..in_channels];
                    let dot = match (shape.input_row(oy, ky), shape.input_column(ox, kx)) {
                        (Some(y), Some(x)) => {
                            let at = ((image * shape.in_h + y) * shape.in_w + x) * shape.in_channels
                                + group * in_channels;
                            let x = &args.input[at..][..in_channels];
                            x.iter().zip(w).map(|(&x, &w)| x as i32 * w as i32).sum::<i32>()
                        }
                        _ => w.iter().map(|&w| args.input_zero_point as i32 * w as i32).sum(),
                    };
                    acc = acc.wrapping_add(dot);
                }
            }
            let at = pixel * shape.out_channels + channel;
            store(&mut args.output, args.residual, at, acc, weights.multiplier[channel]);
        }
    }
}

/// A depthwise convolution with weights `[kh, kw, C]`.
pub fn depthwise(args: &mut ConvArgs<'_>, weights: &Weights<'_>) {
    let shape = args.shape;
    let channels = shape.in_channels;
    for pixel in 0..shape.output_pixels() {
        let (image, in_image) = (pixel / (shape.out_h * shape.out_w), pixel % (shape.out_h * shape.out_w));
        let (oy, ox) = (in_image / shape.out_w, in_image % shape.out_w);
        for channel in 0..channels {
            let mut acc = weights.bias[channel];
            for ky in 0..shape.kernel_h {
                for kx in 0..shape.kernel_w {
                    let x = match (shape.input_row(oy, ky), shape.input_column(ox, kx)) {
                        (Some(y), Some(x)) => {
                            args.input[((image * shape.in_h + y) * shape.in_w + x) * channels + channel]
                        }
                        _ => args.input_zero_point,
                    };
                    let w = weights.weights[(ky * shape.kernel_w + kx) * channels + channel];
                    acc = acc.wrapping_add(x as i32 * w as i32);
                }
            }
            let at = pixel * channels + channel;
            store(&mut args.output, args.residual, at, acc, weights.multiplier[channel]);
        }
    }
}

fn store(output: &mut Output<'_>, residual: Option<Residual<'_>>, at: usize, acc: i32, multiplier: f32) {
    match output {
        Output::I8(out, range) => {
            out[at] = match residual {
                None => range.requantize(acc, multiplier),
                Some(residual) => {
                    let value = residual.values.map_or(out[at], |values| values[at]);
                    range.requantize_sum(acc, multiplier, value, residual.multiplier)
                }
            };
        }
        Output::F32(out) => out[at] = acc as f32 * multiplier,
    }
}
