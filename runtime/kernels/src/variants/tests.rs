//! Every variant gives the bits of the portable code.

use std::vec::Vec;
use std::{println, vec};

use super::*;
use crate::conv::conformance::token;
use crate::elementwise::BinaryOp;
use crate::pool::PoolOp;

/// The variants that this processor runs.
fn bound() -> Vec<(&'static Variant, BoundVariant)> {
    let runs = |variant: &&Variant| variant.functions.is_some() && token().set().contains(variant.isa);
    let variants: Vec<_> = variants()
        .iter()
        .filter(runs)
        .map(|variant| (variant, BoundVariant::new(token().lowered_to(variant.isa))))
        .collect();
    println!("ran {} of {} variants", variants.len(), VARIANTS.len());
    variants
}

/// Every pair of values, and of sizes that leave every remainder.
#[test]
fn binary_of_every_pair_equals_the_portable_one() {
    let all: Vec<i8> = (-128..=127).collect();
    let lhs: Vec<i8> = all.iter().flat_map(|&a| [a; 256]).collect();
    let rhs: Vec<i8> = all.repeat(256);
    let ops = [
        BinaryOp::Add { lhs_multiplier: 0.37, rhs_multiplier: -1.21 },
        BinaryOp::Add { lhs_multiplier: 0.5, rhs_multiplier: 0.5 },
        BinaryOp::Add { lhs_multiplier: 1e30, rhs_multiplier: -1e30 },
        // Results on both sides of where the rounding trick ends, and far beyond it.
        BinaryOp::Mul { multiplier: 2e3 },
        BinaryOp::Mul { multiplier: -9e29 },
        BinaryOp::Add { lhs_multiplier: 9e29, rhs_multiplier: -9e29 },
        // Products that are subnormal, which some processors flush to zero.
        BinaryOp::Add { lhs_multiplier: 1e-39, rhs_multiplier: 0.5 },
        BinaryOp::Mul { multiplier: 1e-41 },
        // Infinities, and what is no number.
        BinaryOp::Add { lhs_multiplier: 3e38, rhs_multiplier: -3e38 },
        BinaryOp::Mul { multiplier: -3e38 },
        BinaryOp::Mul { multiplier: 0.013 },
        BinaryOp::Mul { multiplier: 0.5 },
        // Of few bits, with and without halves.
        BinaryOp::Mul { multiplier: 127.0 / 32768.0 },
        BinaryOp::Mul { multiplier: 77.0 / 16384.0 },
        BinaryOp::Mul { multiplier: 65.0 / 1024.0 },
        BinaryOp::Mul { multiplier: 1.0 / 256.0 },
    ];
    let narrow = OutputRange { zero_point: -11, min: -100, max: 127 };
    let outputs = [
        (narrow, [-7, 100]),
        (OutputRange::full(-128), [-7, 100]),
        (OutputRange::full(5), [-128, -128]),
        (OutputRange::full(127), [127, -128]),
    ];
    for (variant, bound) in bound() {
        for (op, (output, zero_points)) in ops.into_iter().flat_map(|op| outputs.map(|output| (op, output))) {
            for (dims, strides) in [
                // Every left value with every factor of a channel.
                ([1, 1, 256, 256], [0, 0, 0, 1]),
                ([1, 1, 256, 256], [0, 0, 256, 1]),
                ([1, 1, 113, 67], [0, 0, 67, 1]),
                ([1, 1, 9, 5], [0, 0, 0, 1]),
                // Right operands that repeat, with parts of a register left over.
                ([1, 1, 61, 24], [0, 0, 0, 1]),
                ([1, 1, 301, 144], [0, 0, 0, 1]),
                ([1, 1, 301, 16], [0, 0, 0, 1]),
                ([1, 1, 61, 37], [0, 0, 0, 0]),
                ([1, 3, 5, 33], [0, 165, 33, 0]),
                // A factor for each channel, as of squeeze-excite.
                ([1, 4, 9, 40], [0, 0, 0, 1]),
                ([2, 1, 7, 24], [24, 0, 0, 1]),
            ] {
                let args = BinaryArgs {
                    op,
                    lhs_zero_point: zero_points[0],
                    rhs_zero_point: zero_points[1],
                    output,
                    dims,
                    lhs_strides: [dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3], 1],
                    rhs_strides: strides,
                };
                let elems = args.output_elems();
                let (mut expected, mut got) = (vec![0; elems], vec![0; elems]);
                let (lhs, rhs) = (&lhs[..elems], &rhs[..args.operand_elems(&strides)]);
                elementwise::binary(&args, Operands::Separate { lhs, rhs, output: &mut expected });
                bound.binary(&args, Operands::Separate { lhs, rhs, output: &mut got });
                assert!(got == expected, "{}: {args:?}", variant.add);
                got.copy_from_slice(lhs);
                bound.binary(&args, Operands::InPlace { output: &mut got, rhs });
                assert!(got == expected, "{} in place: {args:?}", variant.add);
            }
        }
    }
}

#[test]
fn samples_of_every_layout_equal_the_portable_ones() {
    for (variant, bound) in bound() {
        for channels in 1..6 {
            for width in [1, 2, 63, 64, 65, 224] {
                let planes = InputArgs {
                    dims: [2, 3, width, channels],
                    strides: [3 * width * channels, width, 1, 3 * width],
                };
                let own = [3 * width * channels, width * channels, channels, 1];
                for args in [planes, InputArgs { strides: own, ..planes }] {
                    let value = |i: usize| (i as f32 * 0.37).sin() * if i % 97 == 5 { 1e30 } else { 3.0 };
                    let mut input: Vec<f32> = (0..args.elems()).map(value).collect();
                    input[args.elems() / 2] = f32::NAN;
                    let range = OutputRange { zero_point: 3, min: -128, max: 120 };
                    let mut expected = vec![0; args.elems()];
                    for (at, y) in expected.iter_mut().enumerate() {
                        let [_, d1, d2, d3] = args.dims;
                        let index = [at / (d1 * d2 * d3), at / (d2 * d3) % d1, at / d3 % d2, at % d3];
                        let from: usize = index.iter().zip(&args.strides).map(|(i, s)| i * s).sum();
                        *y = range.quantize(input[from] * 41.5);
                    }
                    let mut got = vec![0; args.elems()];
                    bound.quantize_f32(&args, &input, 41.5, range, &mut got);
                    assert!(got == expected, "{}: {args:?}", variant.lookup);
                }
            }
        }
    }
}

#[test]
fn pixels_of_every_layout_equal_the_portable_ones() {
    let pixels: Vec<u8> = (0..3 * 5 * 131 * 5).map(|i| (i * 167 + i / 256) as u8).collect();
    let tables: Vec<i8> = (0..5 * 256).map(|i| (i * 89 + i / 256) as u8 as i8).collect();
    for (variant, bound) in bound() {
        for channels in 1..=5 {
            for width in [1, 2, 21, 22, 64, 131] {
                let own = [3 * width * channels, width * channels, channels, 1];
                let planes = [3 * width * channels, width, 1, 3 * width];
                for (strides, reverse) in [(own, false), (own, true), (planes, false), (planes, true)] {
                    let args = InputArgs { dims: [2, 3, width, channels], strides };
                    let elems = args.elems();
                    let (mut expected, mut got) = (vec![0; elems], vec![0; elems]);
                    let (pixels, tables) = (&pixels[..elems], &tables[..channels * 256]);
                    input::quantize_u8(&args, pixels, tables, reverse, &mut expected);
                    bound.quantize_u8(&args, pixels, tables, reverse, &mut got);
                    assert!(got == expected, "{}: {args:?}, {reverse}", variant.lookup);
                }
            }
        }
    }
}

#[test]
fn lookup_of_every_value_and_length_equals_the_portable_one() {
    let tables: Vec<i8> = (0..256 + 16).map(|i| (i * 167 % 256) as u8 as i8).collect();
    for (variant, bound) in bound() {
        for len in (0..400).chain([511, 512, 513, 639, 640, 2000]) {
            // A table may lie anywhere.
            let table: &[i8; 256] = tables[len % 16..].first_chunk().expect("256 entries and 16 more");
            let input: Vec<i8> = (0..len).map(|i| (i * 3 + len) as u8 as i8).collect();
            let (mut expected, mut got) = (vec![0; len + 1], vec![0; len + 1]);
            lookup::lookup(&input, table, &mut expected[..len]);
            bound.lookup(&input, table, &mut got[..len]);
            assert!(got == expected, "{} of {len}", variant.lookup);
            got[..len].copy_from_slice(&input);
            bound.lookup_in_place(&mut got[..len], table);
            assert!(got == expected, "{} of {len} in place", variant.lookup);
        }
    }
}

/// Sums of narrow integers could overflow along a line.
#[test]
fn averages_of_long_lines_equal_the_portable_one() {
    let (channels, in_h, in_w) = (40, 2, 601);
    let output = OutputRange::full(0);
    let op = PoolOp::Average { zero_point: -3, multiplier: 1.0, count_include_pad: false, output };
    let args = PoolArgs {
        op,
        batch: 1,
        in_h,
        in_w,
        channels,
        out_h: 1,
        out_w: 1,
        kernel_h: in_h,
        kernel_w: in_w,
        stride_h: 1,
        stride_w: 1,
        dilation_h: 1,
        dilation_w: 1,
        pad_h: [0, 0],
        pad_w: [0, 0],
    };
    for (variant, bound) in bound() {
        for value in [-128, 127] {
            let input = vec![value; args.input_elems()];
            let (mut expected, mut got) = (vec![0; channels], vec![0; channels]);
            pool::pool(&args, &input, &mut expected);
            bound.pool(&args, &input, &mut got);
            assert!(got == expected, "{} of {value}", variant.average_pool);
        }
    }
}

#[test]
fn pools_equal_the_portable_one() {
    let output = OutputRange::full(4);
    let average =
        |count_include_pad| PoolOp::Average { zero_point: 9, multiplier: 0.7, count_include_pad, output };
    for (variant, bound) in bound() {
        for op in [PoolOp::Max, average(true), average(false)] {
            for (batch, channels) in [(2, 1), (1, 3), (2, 16), (1, 63), (2, 64), (1, 130)] {
                let args = PoolArgs {
                    op,
                    batch,
                    in_h: 7,
                    in_w: 6,
                    channels,
                    out_h: 4,
                    out_w: 3,
                    kernel_h: 3,
                    kernel_w: 3,
                    stride_h: 2,
                    stride_w: 2,
                    dilation_h: 1,
                    dilation_w: 1,
                    pad_h: [1, 1],
                    pad_w: [0, 1],
                };
                let input: Vec<i8> = (0..args.input_elems()).map(|i| (i * 91 % 256) as u8 as i8).collect();
                let (mut expected, mut got) = (vec![0; args.output_elems()], vec![0; args.output_elems()]);
                pool::pool(&args, &input, &mut expected);
                bound.pool(&args, &input, &mut got);
                assert!(got == expected, "{}: {args:?}", variant.max_pool);
                got.fill(0);
                let mut parts = [const { None }; 3];
                let count = args.split(&input, &mut got, &mut parts);
                assert!(count == 3 || args.batch == 2);
                for (args, input, output) in parts.into_iter().rev().flatten() {
                    bound.pool(&args, input, output);
                }
                assert!(got == expected, "{} in parts: {args:?}", variant.max_pool);
            }
        }
    }
}

#[test]
fn softmaxes_of_every_length_equal_the_portable_one() {
    let exact = |d: usize| ((-(d as f32) * 0.03).exp() * 65535.0).round() as u16;
    let tables = [core::array::from_fn(exact), [0; 256], [u16::MAX; 256]];
    let ranges = [OutputRange::full(-128), OutputRange { zero_point: 9, min: -5, max: 100 }];
    for (variant, bound) in bound() {
        for (channels, table) in (1..=300).chain([5000]).flat_map(|len| tables.map(|table| (len, table))) {
            let input: Vec<i8> =
                (0..2 * channels).map(|i| (i * 91 % 247 + channels % 100) as u8 as i8).collect();
            for range in ranges {
                for multiplier in [256.0, 3e38, 1e-3] {
                    let (mut expected, mut got) = (vec![0; 2 * channels], vec![0; 2 * channels]);
                    let of = |output| Probabilities::I8(output, multiplier, range);
                    softmax::softmax(channels, Logits::I8(&input, &table), of(&mut expected));
                    bound.softmax(channels, Logits::I8(&input, &table), of(&mut got));
                    assert!(got == expected, "{} of {channels}", variant.softmax);
                }
            }
        }
    }
}

#[test]
fn layer_norms_of_every_length_equal_the_portable_one() {
    for (variant, bound) in bound() {
        for channels in (1..=70).chain([256, 1000, layer_norm::MAX_CHANNELS]) {
            let gamma: Vec<f32> = (0..channels).map(|c| 30.0 - c as f32 * 0.7).collect();
            let beta: Vec<f32> = (0..channels).map(|c| (c % 7) as f32 * 0.3).collect();
            let output = OutputRange { zero_point: -7, min: -120, max: 127 };
            let args = LayerNormArgs { gamma: &gamma, beta: &beta, epsilon: 0.5, output };
            // The ends, whose sums are the largest, too.
            let ends = |i: usize| if i.is_multiple_of(3) { 127 } else { -128 };
            let mixed = |i: usize| (i.wrapping_mul(i).wrapping_mul(37) % 253) as u8 as i8;
            let input: Vec<i8> =
                (0..channels).map(ends).chain((0..channels).map(mixed)).chain(vec![-128; channels]).collect();
            let (mut expected, mut got) = (vec![0; input.len()], vec![0; input.len()]);
            layer_norm::layer_norm(&args, &input, &mut expected);
            bound.layer_norm(&args, &input, &mut got);
            assert!(got == expected, "{} of {channels}", variant.layer_norm);
        }
    }
}
