//! Every variant gives the bits of plain loops.

use std::vec::Vec;
use std::{println, vec};

use super::elementwise::{CONSTANT, Function, OPERANDS, Source};
use super::product::{PANEL, scratch_elems, weight_elems};
use super::reduce::PoolOp;
use super::*;
use crate::conv::ConvShape;
use crate::conv::conformance::token;
use crate::conv::matmul::MatMulShape;
use crate::requantize::OutputRange;

/// The variants that this processor runs.
pub(super) fn bound() -> Vec<BoundVariant> {
    let runs = |variant: &&Variant| variant.is_compiled() && token().set().contains(variant.isa);
    let bound: Vec<_> = variants().iter().filter(runs).collect();
    println!("ran {} of {} variants", bound.len(), VARIANTS.len());
    bound.iter().map(|variant| BoundVariant::new(token().lowered_to(variant.isa))).collect()
}

/// Pseudo-random numbers of several magnitudes.
pub(super) fn values(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let unit = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
        unit * [1.0, 0.001, 30.0, 1.0][(state >> 33) as usize % 4]
    };
    (0..count).map(|_| next()).collect()
}

pub(super) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Weights `[out_channels][taps * k]` in panels.
fn panels(shape: &ConvShape, weights: &[f32]) -> Vec<f32> {
    let (terms, n) = (shape.taps() * shape.group_in_channels(), shape.group_out_channels());
    if shape.is_depthwise() {
        return (0..terms * shape.out_channels)
            .map(|i| weights[i % shape.out_channels * terms + i / shape.out_channels])
            .collect();
    }
    let mut packed = vec![0.0; weight_elems(shape)];
    for channel in 0..shape.out_channels {
        let (group, within) = (channel / n, channel % n);
        let panel = group * n.div_ceil(PANEL) + within / PANEL;
        for term in 0..terms {
            packed[(panel * terms + term) * PANEL + within % PANEL] = weights[channel * terms + term];
        }
    }
    packed
}

fn reference(shape: &ConvShape, input: &[f32], weights: &[f32], bias: &[f32], bounds: [f32; 2]) -> Vec<f32> {
    let (k, n) = (shape.group_in_channels(), shape.group_out_channels());
    let mut output = vec![];
    for pixel in 0..shape.output_pixels() {
        let (line, ox) = (pixel / shape.out_w, pixel % shape.out_w);
        let (image, oy) = (line / shape.out_h, line % shape.out_h);
        for channel in 0..shape.out_channels {
            let mut sum = bias[channel];
            let mut weights = weights[channel * shape.taps() * k..].iter();
            for ky in 0..shape.kernel_h {
                for kx in 0..shape.kernel_w {
                    for c in 0..k {
                        let y = (oy * shape.stride_h + ky * shape.dilation_h).wrapping_sub(shape.pad_top);
                        let x = (ox * shape.stride_w + kx * shape.dilation_w).wrapping_sub(shape.pad_left);
                        let at = ((image * shape.in_h + y.min(shape.in_h - 1)) * shape.in_w
                            + x.min(shape.in_w - 1))
                            * shape.in_channels
                            + channel / n * k
                            + c;
                        let x = if y < shape.in_h && x < shape.in_w { input[at] } else { 0.0 };
                        sum += x * weights.next().unwrap();
                    }
                }
            }
            output.push(sum.max(bounds[0]).min(bounds[1]));
        }
    }
    output
}

#[test]
fn convolutions_are_the_formula_bit_by_bit() {
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
    let shapes = [
        base,
        strided,
        ConvShape { in_channels: 6, out_channels: 40, groups: 2, ..strided },
        ConvShape { in_channels: 33, out_channels: 33, groups: 33, ..base },
        ConvShape { in_channels: 16, out_channels: 16, groups: 16, ..strided },
        ConvShape { in_channels: 6, out_channels: 12, groups: 6, ..base },
        ConvShape::fully_connected(1, 200, 10),
        ConvShape::fully_connected(9, 64, 16),
        ConvShape::fully_connected(4, 65, 1),
    ];
    for (seed, shape) in shapes.iter().enumerate() {
        let input = values(seed as u64, shape.input_elems());
        let weights = values(seed as u64 + 50, shape.weight_elems());
        let bias = values(seed as u64 + 90, shape.out_channels);
        let packed = panels(shape, &weights);
        for bounds in [[f32::NEG_INFINITY, f32::INFINITY], [0.0, 6.0]] {
            let wanted = reference(shape, &input, &weights, &bias, bounds);
            let panels = 0..weights::panels(shape);
            let args =
                ConvArgs { shape: *shape, input: &input, weights: &packed, panels, bias: &bias, bounds };
            for variant in bound() {
                let mut output = vec![f32::NAN; wanted.len()];
                variant.conv(&args, 0..shape.output_pixels(), &mut output);
                assert_eq!(bits(&output), bits(&wanted), "{shape:?}");
                // As two threads would.
                let cut = shape.output_pixels() / 3;
                let (first, second) = output.split_at_mut(cut * shape.out_channels);
                variant.conv(&args, 0..cut, first);
                variant.conv(&args, cut..shape.output_pixels(), second);
                assert_eq!(bits(&output), bits(&wanted), "{shape:?}");
            }
        }
    }
}

#[test]
fn products_of_two_tensors_are_the_formula_bit_by_bit() {
    for (m, k, n) in [(1, 1, 1), (5, 70, 17), (4, 16, 32), (7, 129, 3)] {
        let shape = MatMulShape {
            batch: [2, 3],
            m,
            k,
            n,
            lhs_strides: [3 * m * k, m * k, k],
            rhs_strides: [0, k * n, 1, k],
            output_strides: [3 * m * n, n, 3 * n],
        };
        let (lhs, rhs) = (values(1, shape.lhs_elems()), values(2, shape.rhs_elems()));
        let mut wanted = vec![f32::NAN; 6 * m * n];
        for (b0, b1) in (0..2).flat_map(|i| (0..3).map(move |j| (i, j))) {
            for (row, column) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                let mut sum = 0.0_f32;
                for i in 0..k {
                    sum += lhs[b0 * 3 * m * k + b1 * m * k + row * k + i] * rhs[b1 * k * n + i + column * k];
                }
                wanted[b0 * 3 * m * n + b1 * n + row * 3 * n + column] = sum;
            }
        }
        for variant in bound() {
            let mut output = vec![f32::NAN; wanted.len()];
            let mut scratch = vec![f32::NAN; scratch_elems(&shape)];
            let (lhs, rhs) = (&lhs[..], &rhs[..]);
            variant.mat_mul(&mut MatMulArgs { shape, lhs, rhs, output: &mut output, scratch: &mut scratch });
            assert_eq!(bits(&output), bits(&wanted), "{m} {k} {n}");
        }
    }
}

fn instruction(function: Function, to: u8, a: u8, b: u8, value: f32) -> [u32; 2] {
    [u32::from_le_bytes([function as u8, to, a, b]), value.to_bits()]
}

#[test]
fn codes_of_functions_are_their_places() {
    assert!(Function::ALL.iter().enumerate().all(|(code, &function)| function as usize == code));
}

#[test]
fn programs_give_the_same_bits_in_every_variant_and_part() {
    let (x, y) = (values(3, 2000), values(4, 100));
    let q: Vec<i8> = (0..2000).map(|i| (i * 7 % 256 - 128) as i8).collect();
    let sources: [Option<(Source<'_>, [usize; 4])>; OPERANDS] = [
        Some((Source::F32(&x), [100, 1, 20, 200])),
        Some((Source::F32(&y), [0, 0, 0, 1])),
        Some((Source::I8 { values: &q, zero_point: -3, scale: 0.037 }, [1000, 500, 100, 1])),
    ];
    let mut program = vec![
        instruction(Function::Load, 0, 0, 0, 0.0),
        instruction(Function::Load, 1, 1, 0, 0.0),
        instruction(Function::Load, 2, 2, 0, 0.0),
        instruction(Function::Constant, 3, 0, 0, 0.5),
    ];
    // The last function reads its target, which is 0 in some places.
    for &function in &Function::ALL[2..] {
        program.push(instruction(Function::Greater, 4, 1, CONSTANT, 0.0));
        program.push(instruction(function, 4, 2, CONSTANT, 1.25));
        program.push(instruction(Function::Min, 4, 4, CONSTANT, 9.0));
        program.push(instruction(Function::Mul, 3, 3, CONSTANT, 0.75));
        program.push(instruction(Function::Add, 3, 3, 4, 0.0));
    }
    program.push(instruction(Function::Add, 0, 0, 1, 0.0));
    program.push(instruction(Function::Add, 5, 0, 3, 0.0));
    let args = ElementwiseArgs { dims: [2, 2, 5, 7], sources, program: &program };
    let mut wanted = vec![0.0; args.elems()];
    elementwise::elementwise(&args, 0..wanted.len(), Sink::F32(&mut wanted));
    assert!(wanted.iter().filter(|x| x.is_finite()).count() > 30, "{wanted:?}");
    for variant in bound() {
        let mut output = vec![0.0; wanted.len()];
        let (first, second) = output.split_at_mut(33);
        variant.elementwise(&args, 0..33, Sink::F32(first));
        variant.elementwise(&args, 33..wanted.len(), Sink::F32(second));
        assert_eq!(bits(&output), bits(&wanted));
        let mut quantized = vec![0; wanted.len()];
        let range = OutputRange { zero_point: 3, min: -100, max: 120 };
        variant.elementwise(&args, 0..wanted.len(), Sink::I8(&mut quantized, 8.0, range));
        assert!(quantized.iter().zip(&wanted).all(|(&q, &x)| q == range.quantize(x * 8.0)));
    }
}

/// The numbers that IEEE 754 has rules of their own for, and others: in ascending order, what is no number at the end.
const SPECIAL: [f32; 11] = [
    f32::NEG_INFINITY,
    f32::MIN,
    -1.0,
    -1e-45,
    -0.0,
    0.0,
    f32::MIN_POSITIVE,
    1.0,
    f32::MAX,
    f32::INFINITY,
    f32::NAN,
];

#[test]
fn comparisons_are_those_of_ieee_754_in_every_variant() {
    // The place of a number among the others; both zeros have one.
    let rank = |i: usize| (i < 10).then_some(i - usize::from(i > 4));
    let pairs: Vec<(usize, usize)> = (0..11).flat_map(|a| (0..11).map(move |b| (a, b))).collect();
    let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().map(|&(a, b)| (SPECIAL[a], SPECIAL[b])).unzip();
    let check = |function: Function, holds: fn(usize, usize) -> bool| {
        let wanted = pairs.iter().map(|&(a, b)| rank(a).zip(rank(b)).is_some_and(|(a, b)| holds(a, b)));
        let wanted: Vec<f32> = wanted.map(f32::from).collect();
        let load = |register: u8| instruction(Function::Load, register, register, 0, 0.0);
        let program = [load(0), load(1), instruction(function, 2, 0, 1, 0.0)];
        let own = [0, 0, 0, 1];
        let sources = [Some((Source::F32(&a), own)), Some((Source::F32(&b), own)), None];
        let args = ElementwiseArgs { dims: [1, 1, 1, pairs.len()], sources, program: &program };
        for variant in bound() {
            let mut output = vec![9.0; pairs.len()];
            variant.elementwise(&args, 0..pairs.len(), Sink::F32(&mut output));
            assert_eq!(bits(&output), bits(&wanted), "{function:?}");
        }
    };
    check(Function::Greater, |a, b| a > b);
    check(Function::GreaterOrEqual, |a, b| a >= b);
    check(Function::Equal, |a, b| a == b);
}

#[test]
fn a_selection_has_the_bits_of_what_it_takes() {
    let sides = [f32::INFINITY, -0.0, 1e-40, f32::MAX, f32::NEG_INFINITY, 3.5];
    let conditions = [1.0, 0.0, f32::NAN, -0.0, f32::NEG_INFINITY, 1e-45];
    let at = |i: usize| {
        (conditions[i % 6], sides[i / 6 % 6], if i.is_multiple_of(4) { f32::NAN } else { sides[i / 7 % 6] })
    };
    let each: Vec<_> = (0..252).map(at).collect();
    let part = |of: fn(&(f32, f32, f32)) -> f32| each.iter().map(of).collect::<Vec<f32>>();
    let (c, yes, no) = (part(|e| e.0), part(|e| e.1), part(|e| e.2));
    let load = |register: u8| instruction(Function::Load, register, register, 0, 0.0);
    let program = [load(0), load(1), load(2), instruction(Function::Select, 0, 1, 2, 0.0)];
    let own = [0, 0, 0, 1];
    let sources =
        [Some((Source::F32(&c), own)), Some((Source::F32(&yes), own)), Some((Source::F32(&no), own))];
    let args = ElementwiseArgs { dims: [1, 1, 1, 252], sources, program: &program };
    let wanted = each.iter().map(|&(c, yes, no)| math::canonical(if c != 0.0 { yes } else { no }));
    let wanted: Vec<f32> = wanted.collect();
    for variant in bound() {
        let mut output = vec![0.0; 252];
        variant.elementwise(&args, 0..252, Sink::F32(&mut output));
        assert_eq!(bits(&output), bits(&wanted));
    }
}

#[test]
fn a_program_of_one_instruction_is_its_function() {
    let x = values(9, 70);
    let run = |function: Function, value: f32| {
        let program =
            [instruction(Function::Load, 2, 0, 0, 0.0), instruction(function, 1, 2, CONSTANT, value)];
        let sources = [Some((Source::F32(&x), [0, 0, 0, 1])), None, None];
        let mut output = vec![0.0; x.len()];
        let args = ElementwiseArgs { dims: [1, 1, 1, 70], sources, program: &program };
        elementwise::elementwise(&args, 0..70, Sink::F32(&mut output));
        output
    };
    let each = |of: fn(f32) -> f32| x.iter().map(|&x| of(x)).collect::<Vec<f32>>();
    assert_eq!(run(Function::Add, 2.0), each(|x| x + 2.0));
    assert_eq!(run(Function::Sub, 2.0), each(|x| x - 2.0));
    assert_eq!(run(Function::Mul, 2.0), each(|x| x * 2.0));
    assert_eq!(run(Function::Div, 3.0), each(|x| x / 3.0));
    assert_eq!(run(Function::Max, 0.1), each(|x| x.max(0.1)));
    assert_eq!(run(Function::Min, 0.1), each(|x| x.min(0.1)));
    assert_eq!(run(Function::Pow, 2.0), each(|x| math::pow(x, 2.0)));
    assert_eq!(run(Function::Greater, 0.0), each(|x| if x > 0.0 { 1.0 } else { 0.0 }));
    assert_eq!(run(Function::GreaterOrEqual, 0.0), each(|x| if x >= 0.0 { 1.0 } else { 0.0 }));
    assert_eq!(run(Function::Equal, 0.0), each(|x| if x == 0.0 { 1.0 } else { 0.0 }));
    assert_eq!(run(Function::Abs, 0.0), each(f32::abs));
    assert_eq!(run(Function::Neg, 0.0), each(|x| -x));
    assert_eq!(run(Function::Floor, 0.0), each(f32::floor));
    assert_eq!(run(Function::Ceil, 0.0), each(f32::ceil));
    assert_eq!(run(Function::Round, 0.0), each(f32::round_ties_even));
    assert_eq!(run(Function::Exp, 0.0), each(math::exp));
    assert_eq!(run(Function::Erf, 0.0), each(math::erf));
    assert_eq!(run(Function::Sin, 0.0), each(math::sin));
    assert_eq!(run(Function::Cos, 0.0), each(math::cos));
    assert_eq!(run(Function::Tanh, 0.0), each(crate::recurrent::activation::tanh));
}

#[test]
fn pooling_and_normalization_are_their_formulas() {
    let args = PoolArgs {
        op: PoolOp::Max,
        batch: 2,
        in_h: 6,
        in_w: 5,
        channels: 19,
        out_h: 4,
        out_w: 3,
        kernel_h: 3,
        kernel_w: 2,
        stride_h: 2,
        stride_w: 2,
        dilation_h: 1,
        dilation_w: 1,
        pad_h: [1, 2],
        pad_w: [1, 0],
    };
    let input = values(5, 2 * 6 * 5 * 19);
    let mut output = vec![0.0; 2 * 4 * 3 * 19];
    let average = |count_include_pad| PoolOp::Average { count_include_pad };
    for op in [PoolOp::Max, PoolOp::Min, PoolOp::Sum, average(true), average(false)] {
        let args = PoolArgs { op, ..args };
        for variant in bound() {
            variant.pool(&args, &input, &mut output);
            for (i, &got) in output.iter().enumerate() {
                let (c, ox, oy, image) = (i % 19, i / 19 % 3, i / 57 % 4, i / 228);
                let (mut held, mut count) = (None, 0);
                for (ky, kx) in (0..3).flat_map(|y| (0..2).map(move |x| (y, x))) {
                    let (y, x) = (oy * 2 + ky, ox * 2 + kx);
                    let inside = (1..7).contains(&y) && (1..6).contains(&x);
                    count += (inside || op == average(true) && y < 9 && x < 6) as usize;
                    if inside {
                        let value = input[((image * 6 + y - 1) * 5 + x - 1) * 19 + c];
                        held = Some(match (held, op) {
                            (None, PoolOp::Max | PoolOp::Min) => value,
                            (None, _) => 0.0 + value,
                            (Some(held), PoolOp::Max) => value.max(held),
                            (Some(held), PoolOp::Min) => value.min(held),
                            (Some(held), _) => held + value,
                        });
                    }
                }
                let empty = match op {
                    PoolOp::Max => f32::NEG_INFINITY,
                    PoolOp::Min => f32::INFINITY,
                    _ => 0.0,
                };
                let mut wanted: f32 = held.unwrap_or(empty);
                if matches!(op, PoolOp::Average { .. }) {
                    wanted /= count.max(1) as f32;
                }
                assert_eq!(got.to_bits(), wanted.to_bits(), "{op:?} {i}");
            }
        }
    }
    let (gamma, beta) = (values(6, 37), values(7, 37));
    let (rows, epsilon) = (values(8, 37 * 4), 1e-5);
    for variant in bound() {
        let mut output = vec![0.0; rows.len()];
        variant.layer_norm(&LayerNormArgs { gamma: &gamma, beta: &beta, epsilon }, &rows, &mut output);
        for (row, got) in rows.chunks(37).zip(output.chunks(37)) {
            let mean = row.iter().map(|&x| x as f64).sum::<f64>() / 37.0;
            let variance = row.iter().map(|&x| (x as f64 - mean).powi(2)).sum::<f64>() / 37.0;
            for (c, (&x, &got)) in row.iter().zip(got).enumerate() {
                let real = (x as f64 - mean) / (variance + 1e-5).sqrt() * gamma[c] as f64 + beta[c] as f64;
                // Sums of 37 values of up to 30 in f32: errors of 2^-24 of each.
                assert!((got as f64 - real).abs() < 1e-4, "{got} is not {real}");
            }
        }
    }
}
