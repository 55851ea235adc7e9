//! Every row equals the plain loops, reads nothing but its operands and writes nothing but its output.

use std::println;
use std::vec::Vec;

use super::*;
use crate::conv::conformance::memory::{Buffer, Place};
use crate::conv::conformance::token;
use crate::requantize::OutputRange;

/// `[batch, m, k, n]`: tile edges of every layout, one more and one less, and sizes of attention.
const SIZES: [[usize; 4]; 15] = [
    [1, 1, 1, 1],
    [2, 3, 4, 5],
    [1, 6, 8, 16],
    [3, 7, 9, 17],
    [1, 5, 15, 15],
    [1, 8, 16, 8],
    [1, 9, 31, 33],
    [2, 4, 64, 64],
    [1, 13, 40, 65],
    [1, 2, 7, 130],
    [4, 12, 64, 12],
    [1, 1, 200, 3],
    [2, 1, 12, 70],
    [1, 64, 64, 64],
    [1, 3, 1000, 600],
];

/// How the operands lie.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// Row after row, matrix after matrix.
    Plain,
    /// The right operand transposed.
    Transposed,
    /// `[rows, heads, columns]` seen as heads of `[rows, columns]`, on both sides and in the output.
    Heads,
    /// One right operand for all; each of its elements lies two apart.
    Broadcast,
}

fn shape([batch, m, k, n]: [usize; 4], form: Form) -> MatMulShape {
    let batches = [1, batch];
    let shape = MatMulShape {
        batch: batches,
        m,
        k,
        n,
        lhs_strides: [0, m * k, k],
        rhs_strides: [0, k * n, n, 1],
        output_strides: [0, m * n, n],
    };
    match form {
        Form::Plain => shape,
        Form::Transposed => MatMulShape { rhs_strides: [0, k * n, 1, k], ..shape },
        Form::Heads => MatMulShape {
            lhs_strides: [0, k, batch * k],
            rhs_strides: [0, k, 1, batch * k],
            output_strides: [0, n, batch * n],
            ..shape
        },
        Form::Broadcast => MatMulShape {
            batch: [batch, 2],
            lhs_strides: [2 * m * k, m * k, k],
            rhs_strides: [0, 0, 2 * n, 2],
            output_strides: [m * n, batch * m * n, n],
            ..shape
        },
    }
}

fn values(len: usize, seed: usize) -> Vec<i8> {
    match seed % 4 {
        // What overflows 16 bits first, and what only -128 on both sides would.
        0 => std::vec![-128; len],
        1 => (0..len).map(|i| if (i * 7 + seed).is_multiple_of(3) { -128 } else { 127 }).collect(),
        _ => (0..len).map(|i| ((i + seed).wrapping_mul(i + 3).wrapping_mul(37) % 256) as u8 as i8).collect(),
    }
}

/// The output of `run`, and that it changed nothing else.
fn outputs(
    shape: &MatMulShape,
    case: usize,
    place: Place,
    run: impl Fn(&mut MatMulArgs<'_>),
) -> (Vec<i8>, Vec<u32>) {
    let lhs = Buffer::of(&values(shape.lhs_elems(), case), place);
    let rhs = Buffer::of(&values(shape.rhs_elems(), case / 2), place);
    let scratch_place = if matches!(place, Place::BeforeFence) { place } else { Place::Offset(0) };
    let mut scratch = Buffer::<u8>::new(scratch_bytes(shape).next_multiple_of(64), scratch_place);
    let ranges = [OutputRange::full(-7), OutputRange { zero_point: 100, min: -90, max: 110 }];
    let mut bytes = Buffer::<i8>::new(shape.output_elems(), place);
    let mut floats = Buffer::<f32>::new(shape.output_elems(), place);
    for wide in [false, true] {
        let output = if wide {
            Output::F32(floats.slice_mut())
        } else {
            Output::I8(bytes.slice_mut(), ranges[case % 2])
        };
        run(&mut MatMulArgs {
            shape: *shape,
            lhs: lhs.slice(),
            lhs_zero_point: [-128, 0, 127, 5][case % 4],
            rhs: rhs.slice(),
            multiplier: [0.001, 0.000_03, 1.5][case % 3],
            output,
            scratch: scratch.slice_mut(),
        });
    }
    assert!(lhs.is_intact() && rhs.is_intact() && bytes.is_intact() && floats.is_intact());
    assert!(scratch.is_intact());
    (bytes.slice().to_vec(), floats.slice().iter().map(|x| x.to_bits()).collect())
}

fn check(place: Place, sizes: &[[usize; 4]]) {
    let token = token();
    for bound in rows().iter().filter_map(|row| BoundMatMul::new(row, token)) {
        println!("{}", bound.row().name);
        for (index, &sizes) in sizes.iter().enumerate() {
            for (form_index, form) in
                [Form::Plain, Form::Transposed, Form::Heads, Form::Broadcast].into_iter().enumerate()
            {
                let shape = shape(sizes, form);
                let case = 5 * index + form_index;
                let expected = outputs(&shape, case, Place::Offset(0), reference);
                let run = |args: &mut MatMulArgs<'_>| bound.run(args).unwrap();
                let got = outputs(&shape, case, place, run);
                assert!(got == expected, "{}: {shape:?} {form:?}", bound.row().name);
            }
        }
    }
}

#[test]
fn rows_of_every_form_equal_the_reference() {
    check(Place::Offset(0), &SIZES);
    check(Place::Offset(3), &SIZES[..8]);
}

#[test]
#[cfg(target_os = "linux")]
fn rows_beside_forbidden_pages_touch_nothing_else() {
    check(Place::BeforeFence, &SIZES[..12]);
    check(Place::AfterFence, &SIZES[..12]);
}

#[test]
fn parts_together_equal_the_whole() {
    let bound = BoundMatMul::new(select(token().set()), token()).unwrap();
    for (index, &sizes) in SIZES.iter().enumerate() {
        for form in [Form::Plain, Form::Transposed, Form::Heads, Form::Broadcast] {
            let shape = shape(sizes, form);
            let expected = outputs(&shape, index, Place::Offset(0), reference);
            for count in [1, 2, 3, 7] {
                let in_parts = |args: &mut MatMulArgs<'_>| {
                    let mut scratch = Buffer::<u8>::new(args.scratch.len(), Place::Offset(0));
                    let output = match &mut args.output {
                        Output::I8(out, range) => Output::I8(out, *range),
                        Output::F32(out) => Output::F32(out),
                    };
                    let whole = MatMulArgs { output, scratch: args.scratch, ..*args };
                    let mut parts = [const { None }; 7];
                    let count = whole.split(&mut parts[..count]);
                    for (index, mut part) in parts.into_iter().take(count).flatten().enumerate() {
                        if index > 0 {
                            part.scratch = scratch.slice_mut();
                        }
                        bound.run(&mut part).unwrap();
                    }
                };
                assert!(outputs(&shape, index, Place::Offset(0), in_parts) == expected, "{shape:?} {form:?}");
            }
        }
    }
}

#[test]
fn slices_that_are_too_short_are_refused() {
    let bound = BoundMatMul::new(select(IsaSet::SCALAR), token()).unwrap();
    let shape = shape([2, 3, 4, 5], Form::Plain);
    let (lhs, rhs, mut out) = ([0; 24], [0; 40], [9; 30]);
    let mut run = |lhs: &[i8], rhs: &[i8], elems: usize| {
        let output = Output::I8(&mut out[..elems], OutputRange::full(0));
        let (multiplier, scratch) = (1.0, &mut [][..]);
        bound.run(&mut MatMulArgs { shape, lhs, lhs_zero_point: 0, rhs, multiplier, output, scratch })
    };
    assert_eq!(run(&lhs[1..], &rhs, 30), Err(ArgsError::Length));
    assert_eq!(run(&lhs, &rhs[1..], 30), Err(ArgsError::Length));
    assert_eq!(run(&lhs, &rhs, 29), Err(ArgsError::Length));
    assert_eq!(run(&lhs, &rhs, 30), Ok(()));
    assert_eq!(out, [0; 30]);
}
