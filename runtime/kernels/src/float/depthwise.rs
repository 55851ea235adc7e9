//! Depthwise convolution in f32: vectors run over channels, as everywhere in f32.

use core::ops::Range;

use super::product::{ConvArgs, Lanes, PANEL, clamp, lanes, place, store};

/// Output elements that are computed before they are clamped.
const BLOCK: usize = 1 << 12;

/// Computes the output pixels of `range`, a block of them at a time, and of these some channels at a time.
#[inline(always)]
pub(super) fn depthwise(args: &ConvArgs<'_>, range: Range<usize>, output: &mut [f32]) {
    let channels = args.shape.out_channels;
    let block = (BLOCK / channels).max(1);
    let mut start = range.start;
    for output in output.chunks_mut(block * channels) {
        let pixels = start..start + output.len() / channels;
        start = pixels.end;
        match channels {
            64.. => passes::<4>(args, &pixels, output),
            32.. => passes::<2>(args, &pixels, output),
            _ => passes::<1>(args, &pixels, output),
        }
        clamp(output, args.bounds);
    }
}

/// All channels, at most Q panels at a time; the last may be computed once more.
#[inline(always)]
fn passes<const Q: usize>(args: &ConvArgs<'_>, pixels: &Range<usize>, output: &mut [f32]) {
    let channels = args.shape.out_channels;
    let count = channels.min(Q * PANEL);
    let mut first = 0;
    while first < channels {
        let from = first.min(channels - count);
        panels::<Q>(args, from..from + count, pixels, output);
        first += count;
    }
}

/// At most Q panels of channels, of all pixels.
#[inline(always)]
fn panels<const Q: usize>(
    args: &ConvArgs<'_>,
    panel: Range<usize>,
    range: &Range<usize>,
    output: &mut [f32],
) {
    let shape = &args.shape;
    let channels = shape.out_channels;
    let (zeros, bias) = ([[0.0; PANEL]; Q], lanes::<Q>(&args.bias[panel.clone()]));
    let zeros = &zeros.as_flattened()[..panel.len()];
    for (pixel, output) in range.clone().zip(output.chunks_exact_mut(channels)) {
        let [image, oy, ox] = place(shape, pixel);
        let mut sums = bias;
        let mut weights = args.weights.chunks_exact(channels);
        for ky in 0..shape.kernel_h {
            let line = shape.input_row(oy, ky).map(|y| {
                let line = shape.in_w * channels;
                &args.input[(image * shape.in_h + y) * line..][..line]
            });
            for (kx, w) in (0..shape.kernel_w).zip(&mut weights) {
                let x = match (line, shape.input_column(ox, kx)) {
                    (Some(line), Some(x)) => &line[x * channels..][panel.clone()],
                    _ => zeros,
                };
                add(&mut sums, x, &w[panel.clone()]);
            }
        }
        store(&sums, &mut output[panel.clone()]);
    }
}

/// Adds the products of as many values as there are, at most all of `sums`.
#[inline(always)]
fn add<const Q: usize>(sums: &mut [Lanes; Q], x: &[f32], w: &[f32]) {
    let sums = sums.as_flattened_mut();
    if x.len() == Q * PANEL && w.len() == Q * PANEL {
        // A number that the compiler knows.
        for i in 0..Q * PANEL {
            sums[i] += x[i] * w[i];
        }
    } else {
        for ((sum, x), w) in sums.iter_mut().zip(x).zip(w) {
            *sum += x * w;
        }
    }
}
