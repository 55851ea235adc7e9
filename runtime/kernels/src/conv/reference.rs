//! The definition of the convolutions: plain loops over canonical weights. Sizes were checked before; none of the
//! accesses can panic, so that firmware, which has this for shapes that no row is fast with, has no code for it.

#[cfg(edgepack_dsp)]
use super::WeightSource;
use super::{ConvArgs, ConvShape, Output, Residual, Weights};
use crate::parts::stretch;

/// # Safety
/// None needed; the signature is the table's.
#[cfg(edgepack_dsp)]
pub(super) unsafe fn conv_row(args: &mut ConvArgs<'_>) {
    let WeightSource::Canonical(weights) = args.weights else { return };
    conv(args, &weights);
}

/// # Safety
/// None needed; the signature is the table's.
#[cfg(edgepack_dsp)]
pub(super) unsafe fn depthwise_row(args: &mut ConvArgs<'_>) {
    let WeightSource::Canonical(weights) = args.weights else { return };
    depthwise(args, &weights);
}

/// A convolution with weights `[out_channels, kh, kw, in_channels / groups]`.
pub fn conv(args: &mut ConvArgs<'_>, weights: &Weights<'_>) {
    let in_channels = args.shape.group_in_channels();
    convolve(args, weights, [args.shape.taps() * in_channels, in_channels]);
}

/// A depthwise convolution with weights `[kh, kw, C]`.
pub fn depthwise(args: &mut ConvArgs<'_>, weights: &Weights<'_>) {
    convolve(args, weights, [1, args.shape.in_channels]);
}

/// Any convolution: weights of a tap lie beside each other, those of channels and of taps so far apart.
fn convolve(args: &mut ConvArgs<'_>, weights: &Weights<'_>, [channel_step, tap_step]: [usize; 2]) {
    let shape = args.shape;
    let (in_channels, out_channels) = (shape.group_in_channels(), shape.group_out_channels());
    for_each_pixel(&shape, |image, oy, ox, pixel| {
        for (channel, (&bias, &multiplier)) in weights.bias.iter().zip(weights.multiplier).enumerate() {
            let group = channel.checked_div(out_channels).unwrap_or(0);
            let mut acc = bias;
            for ky in 0..shape.kernel_h {
                for kx in 0..shape.kernel_w {
                    let tap = channel * channel_step + (ky * shape.kernel_w + kx) * tap_step;
                    let w = stretch(weights.weights, tap, in_channels);
                    let dot = match (shape.input_row(oy, ky), shape.input_column(ox, kx)) {
                        (Some(y), Some(x)) => {
                            let at = ((image * shape.in_h + y) * shape.in_w + x) * shape.in_channels
                                + group * in_channels;
                            let x = stretch(args.input, at, in_channels);
                            x.iter().zip(w).map(|(&x, &w)| x as i32 * w as i32).sum::<i32>()
                        }
                        _ => w.iter().map(|&w| args.input_zero_point as i32 * w as i32).sum(),
                    };
                    acc = acc.wrapping_add(dot);
                }
            }
            let at = pixel * shape.out_channels + channel;
            store(&mut args.output, args.residual, at, acc, multiplier);
        }
    });
}

/// Calls with image, line, column and number of every pixel of the output.
fn for_each_pixel(shape: &ConvShape, mut visit: impl FnMut(usize, usize, usize, usize)) {
    let mut pixel = 0;
    for image in 0..shape.batch {
        for oy in 0..shape.out_h {
            for ox in 0..shape.out_w {
                visit(image, oy, ox, pixel);
                pixel += 1;
            }
        }
    }
}

fn store(output: &mut Output<'_>, residual: Option<Residual<'_>>, at: usize, acc: i32, multiplier: f32) {
    match output {
        Output::I8(out, range) => {
            let Some(out) = out.get_mut(at) else { return };
            *out = match residual {
                None => range.requantize(acc, multiplier),
                Some(residual) => {
                    let value = residual.values.map_or(*out, |values| values.get(at).copied().unwrap_or(0));
                    range.requantize_sum(acc, multiplier, value, residual.multiplier)
                }
            };
        }
        Output::F32(out) => {
            if let Some(out) = out.get_mut(at) {
                *out = acc as f32 * multiplier;
            }
        }
    }
}
