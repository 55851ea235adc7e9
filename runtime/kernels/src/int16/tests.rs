//! Every variant gives the bits of plain loops.

use std::vec::Vec;
use std::{println, vec};

use super::*;
use crate::conv::conformance::token;
use crate::requantize::OutputRange;

/// The variants that this processor runs, and their names.
fn bound() -> Vec<(&'static str, BoundVariant)> {
    let runs = |variant: &&Variant| variant.is_compiled() && token().set().contains(variant.isa);
    let bound: Vec<_> = variants().iter().filter(runs).collect();
    println!("ran {} of {} variants", bound.len(), VARIANTS.len());
    let bind = |variant: &&Variant| (variant.conv, BoundVariant::new(token().lowered_to(variant.isa)));
    bound.iter().map(bind).collect()
}

/// Pseudo-random numbers over the whole of 32 bits.
fn random(seed: u64, count: usize) -> Vec<i32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as i32
    };
    (0..count).map(|_| next()).collect()
}

/// Plain loops over weights `[out_channels][kh][kw][c]`: the sums.
fn sums(shape: &ConvShape, input: &[i16], weights: &[i16]) -> Vec<i32> {
    let (k, n) = (shape.group_in_channels(), shape.group_out_channels());
    let mut sums = vec![];
    for pixel in 0..shape.output_pixels() {
        let [image, oy, ox] = place(shape, pixel);
        for channel in 0..shape.out_channels {
            let mut weights = weights[channel * shape.taps() * k..].iter();
            let mut sum = 0_i32;
            for (ky, kx) in (0..shape.kernel_h).flat_map(|ky| (0..shape.kernel_w).map(move |kx| (ky, kx))) {
                for c in 0..k {
                    let w = *weights.next().unwrap();
                    if let (Some(y), Some(x)) = (shape.input_row(oy, ky), shape.input_column(ox, kx)) {
                        let at = ((image * shape.in_h + y) * shape.in_w + x) * shape.in_channels;
                        let x = input[at + channel / n * k + c];
                        sum = sum.wrapping_add(i32::from(x) * i32::from(w));
                    }
                }
            }
            sums.push(sum);
        }
    }
    sums
}

/// Weights `[out_channels][kh][kw][c]` in panels.
fn panels(shape: &ConvShape, weights: &[i16]) -> Vec<i16> {
    let k = shape.group_in_channels();
    let mut packed = vec![0; weight_elems(shape)];
    for (i, &w) in weights.iter().enumerate() {
        let (channel, term) = (i / (shape.taps() * k), i % (shape.taps() * k));
        let (tap, c) = (term / k, term % k);
        packed[weight_place(shape, channel, [tap / shape.kernel_w, tap % shape.kernel_w], c)] = w;
    }
    packed
}

fn shapes() -> Vec<ConvShape> {
    let base = ConvShape {
        batch: 2,
        in_h: 5,
        in_w: 7,
        in_channels: 3,
        out_h: 5,
        out_w: 7,
        out_channels: 17,
        kernel_h: 3,
        kernel_w: 3,
        stride_h: 1,
        stride_w: 1,
        dilation_h: 1,
        dilation_w: 1,
        pad_top: 1,
        pad_left: 1,
        groups: 1,
    };
    let strided = ConvShape { stride_h: 2, stride_w: 3, out_h: 3, out_w: 3, dilation_w: 2, ..base };
    vec![
        base,
        strided,
        ConvShape { in_channels: 8, ..base },
        ConvShape { in_channels: 50, out_channels: 5, ..base },
        ConvShape { in_channels: 6, out_channels: 40, groups: 2, ..strided },
        ConvShape { in_channels: 33, out_channels: 33, groups: 33, ..base },
        ConvShape { in_channels: 16, out_channels: 16, groups: 16, ..strided },
        ConvShape { in_channels: 6, out_channels: 12, groups: 6, ..base },
        ConvShape { in_channels: 6, out_channels: 12, groups: 3, ..base },
        ConvShape { in_channels: 1, kernel_h: 1, kernel_w: 7, pad_top: 0, pad_left: 3, ..base },
        ConvShape::fully_connected(1, 200, 10),
        ConvShape::fully_connected(9, 64, 16),
        ConvShape::fully_connected(21, 257, 33),
        ConvShape::fully_connected(4, 1, 1),
    ]
}

#[test]
fn convolutions_are_the_formula_bit_by_bit() {
    for (seed, shape) in shapes().iter().enumerate() {
        let seed = seed as u64;
        let input: Vec<i16> = random(seed, shape.input_elems()).iter().map(|&x| (x >> 16) as i16).collect();
        let elems = shape.out_channels * shape.taps() * shape.group_in_channels();
        let wide: Vec<i16> = random(seed + 100, elems).iter().map(|&x| (x >> 16) as i16).collect();
        let narrow: Vec<i16> = wide.iter().map(|&w| w >> 8).collect();
        let count = shape.output_pixels() * shape.out_channels;
        let added: Vec<i16> = random(seed + 200, count).iter().map(|&x| (x >> 16) as i16).collect();
        let per_channel = |seed: u64, scale: f32| -> Vec<f32> {
            random(seed, shape.out_channels).iter().map(|&x| x as f32 * scale).collect()
        };
        // Of both signs, as no package has them, and small enough for results inside and outside int16.
        let (multiplier, bias) = (per_channel(seed + 300, 1e-14), per_channel(seed + 400, 1e-6));
        for weights in [&wide, &narrow] {
            let sums = sums(shape, &input, weights);
            let packed = panels(shape, weights);
            let bytes: Vec<i8> = packed.iter().map(|&w| w as i8).collect();
            let is_narrow = std::ptr::eq(weights, &narrow);
            let weights = if is_narrow { Weights::I8(&bytes) } else { Weights::I16(&packed) };
            for residual in [None, Some((&added[..], 0.37))] {
                let args = ConvArgs {
                    shape: *shape,
                    input: &input,
                    weights,
                    multiplier: &multiplier,
                    bias: &bias,
                    residual,
                };
                let real: Vec<f32> = (0..count)
                    .map(|i| {
                        let channel = i % shape.out_channels;
                        let y = sums[i] as f32 * multiplier[channel] + bias[channel];
                        residual.map_or(y, |(values, factor)| y + f32::from(values[i]) * factor)
                    })
                    .collect();
                let to = OutputRange::sixteen(-2000, 32767);
                let rounded: Vec<i16> = real.iter().map(|&y| to.quantize16(y * 0.81)).collect();
                let bytes = OutputRange { zero_point: -7, min: -128, max: 100 };
                let narrow: Vec<i8> = real.iter().map(|&y| bytes.quantize(y * 0.005)).collect();
                for (name, variant) in bound() {
                    let pixels = shape.output_pixels();
                    let mut output = vec![0.0; count];
                    variant.conv(&args, 0..pixels, Sink::F32(&mut output));
                    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                    assert!(bits(&output) == bits(&real), "{name} of {shape:?}");
                    // In two parts, as two threads do it.
                    let mut output = vec![0; count];
                    let (first, second) = output.split_at_mut(pixels / 2 * shape.out_channels);
                    variant.conv(&args, 0..pixels / 2, Sink::I16(first, 0.81, to));
                    variant.conv(&args, pixels / 2..pixels, Sink::I16(second, 0.81, to));
                    assert!(output == rounded, "{name} of {shape:?}");
                    let mut output = vec![0; count];
                    variant.conv(&args, 0..pixels, Sink::I8(&mut output, 0.005, bytes));
                    assert!(output == narrow, "{name} of {shape:?}");
                }
            }
        }
    }
}

#[test]
fn extremes_wrap_around_alike() {
    let shape = ConvShape::fully_connected(9, 400, 16);
    let input = vec![i16::MIN; shape.input_elems()];
    let weights = vec![i16::MIN; weight_elems(&shape)];
    let narrow = vec![i8::MIN; weight_elems(&shape)];
    for weights in [Weights::I16(&weights), Weights::I8(&narrow)] {
        let w: i64 = if matches!(weights, Weights::I8(_)) { -128 } else { -32768 };
        let sum = (400 * -32768 * w) as i32;
        let (multiplier, bias) = (vec![1.0; 16], vec![0.0; 16]);
        let args =
            ConvArgs { shape, input: &input, weights, multiplier: &multiplier, bias: &bias, residual: None };
        for (name, variant) in bound() {
            let mut output = vec![1.0; 9 * 16];
            variant.conv(&args, 0..9, Sink::F32(&mut output));
            assert!(output.iter().all(|&y| y == sum as f32), "{name}: {} is not {sum}", output[0]);
        }
    }
}

#[test]
fn poolings_of_int16_are_those_of_f32_rounded() {
    use crate::float::reduce::{PoolArgs, PoolOp, pool, pool_s16};
    let input: Vec<i16> = random(7, 2 * 5 * 6 * 19).iter().map(|&x| (x >> 16) as i16).collect();
    let real: Vec<f32> = input.iter().map(|&x| x.into()).collect();
    let to = OutputRange::sixteen(-32767, 30000);
    for op in [PoolOp::Max, PoolOp::Min, PoolOp::Sum, PoolOp::Average { count_include_pad: false }] {
        let args = PoolArgs {
            op,
            batch: 2,
            in_h: 5,
            in_w: 6,
            channels: 19,
            out_h: 3,
            out_w: 3,
            kernel_h: 3,
            kernel_w: 3,
            stride_h: 2,
            stride_w: 2,
            dilation_h: 1,
            dilation_w: 1,
            pad_h: [1, 1],
            pad_w: [1, 1],
        };
        let (mut expected, mut output) = (vec![0.0; 2 * 9 * 19], vec![0; 2 * 9 * 19]);
        pool(&args, &real, &mut expected);
        pool_s16(&args, (0.61, to), &input, &mut output);
        let expected: Vec<i16> = expected.iter().map(|&y| to.quantize16(y * 0.61)).collect();
        assert!(output == expected, "{op:?}");
    }
}
