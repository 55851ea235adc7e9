//! What the steps of a package can touch, worked out a second time, in numbers that cannot overflow
//! and without the reader's own rules: the judge of what the reader accepts.

use std::vec::Vec;

use crate::plan::*;
use crate::{GoldenInput, Package};

/// A stretch of memory, and how many elements of how many bytes are used of it.
struct Use {
    span: Span,
    elems: u128,
    elem_bytes: u128,
    constant: bool,
    written: bool,
}

fn used(span: Span, elems: u128, elem_bytes: u128) -> Use {
    Use { span, elems, elem_bytes, constant: false, written: false }
}

fn written(span: Span, elems: u128, elem_bytes: u128) -> Use {
    Use { written: true, ..used(span, elems, elem_bytes) }
}

fn constant(span: Span, elems: u128, elem_bytes: u128) -> Use {
    Use { constant: true, ..used(span, elems, elem_bytes) }
}

fn volume(sizes: &[u32]) -> u128 {
    sizes.iter().map(|&size| size as u128).product()
}

/// One more than the largest index of a strided walk.
fn walk(start: u32, sizes: &[u32], strides: &[u32]) -> u128 {
    assert!(sizes.iter().all(|&size| size > 0));
    let steps = sizes.iter().zip(strides).map(|(&size, &stride)| (size as u128 - 1) * stride as u128);
    1 + start as u128 + steps.sum::<u128>()
}

fn uses(op: &Op) -> Vec<Use> {
    match op {
        Op::Conv(op) => {
            let [out_n, out_h, out_w, channels] = op.window.output_dims;
            assert!(out_n == op.window.input_dims[0] && out_h > 0 && out_w > 0);
            assert!(
                op.window
                    .stride
                    .iter()
                    .chain(&op.window.dilation)
                    .chain(&op.window.kernel)
                    .all(|&size| size > 0)
            );
            assert!(op.groups > 0);
            assert_eq!((op.window.input_dims[3] % op.groups, channels % op.groups), (0, 0));
            let [kernel_h, kernel_w] = op.window.kernel;
            let weights = volume(&[channels, kernel_h, kernel_w, op.window.input_dims[3] / op.groups]);
            let mut uses = std::vec![
                used(op.input, volume(&op.window.input_dims), 1),
                written(op.output, volume(&op.window.output_dims), if op.range.is_some() { 1 } else { 4 }),
                constant(op.weights, weights, 1),
                constant(op.bias, channels as u128, 4),
                constant(op.multiplier, channels as u128, 4),
            ];
            if let Some(residual) = &op.residual {
                assert!(
                    op.range.is_some()
                        && !(op.groups > 1
                            && op.groups == channels
                            && weights == volume(&[channels, kernel_h, kernel_w]))
                );
                for r in [-128.0, -127.0, -3.0, 101.0, 127.0_f32] {
                    let product = r * residual.multiplier;
                    assert!(
                        product as f64 == r as f64 * residual.multiplier as f64
                            && product.abs() >= f32::MIN_POSITIVE
                    );
                    assert!(product.abs() < (1 << 30) as f32);
                }
                uses.push(used(residual.span, volume(&op.window.output_dims), 1));
            }
            uses
        }
        Op::Binary(op) => {
            let operand = |operand, strides| match operand {
                Operand::Arena(span) => used(span, walk(0, &op.dims, strides), 1),
                Operand::Constant(span) => constant(span, walk(0, &op.dims, strides), 1),
            };
            std::vec![
                operand(op.lhs, &op.lhs_strides),
                operand(op.rhs, &op.rhs_strides),
                written(op.output, volume(&op.dims), 1),
            ]
        }
        Op::Lookup(op) => {
            let (elems, elem_bytes) = (op.input.bytes as u128, if op.to_f32 { 4 } else { 1 });
            std::vec![
                used(op.input, elems, 1),
                written(op.output, elems, elem_bytes),
                constant(op.table, 256, elem_bytes),
            ]
        }
        Op::Pool(op) => {
            assert!(
                op.window
                    .stride
                    .iter()
                    .chain(&op.window.dilation)
                    .chain(&op.window.kernel)
                    .all(|&size| size > 0)
            );
            assert_eq!(
                (op.window.input_dims[0], op.window.input_dims[3]),
                (op.window.output_dims[0], op.window.output_dims[3])
            );
            std::vec![
                used(op.input, volume(&op.window.input_dims), 1),
                written(op.output, volume(&op.window.output_dims), 1),
            ]
        }
        Op::Softmax(op) => {
            let (input, elems, elem_bytes, table) = match op.input {
                SoftmaxInput::I8 { input, table } => (input, input.bytes, 1, Some(table)),
                SoftmaxInput::F32(input) => (input, input.bytes / 4, 4, None),
            };
            assert_eq!(elems % op.channels, 0);
            let elems = elems as u128;
            let output = match op.output {
                SoftmaxOutput::I8 { output, .. } => written(output, elems, 1),
                SoftmaxOutput::F32(output) => written(output, elems, 4),
            };
            let table = table.map(|table| constant(table, 256, 2));
            [used(input, elems, elem_bytes), output].into_iter().chain(table).collect()
        }
        Op::Fill(op) => std::vec![written(op.output, op.output.bytes as u128, 1)],
        Op::Copy(op) => {
            let elem_bytes = op.elem_bytes as u128;
            assert!(matches!(elem_bytes, 1 | 2 | 4));
            let table = op.table.map(|table| constant(table, 256, 1));
            [
                used(op.input, walk(op.input_start, &op.dims, &op.input_strides), elem_bytes),
                written(op.output, walk(op.output_start, &op.dims, &op.output_strides), elem_bytes),
            ]
            .into_iter()
            .chain(table)
            .collect()
        }
        Op::MatMul(op) => mat_mul_uses(op),
        Op::LayerNorm(op) => {
            assert!(op.channels > 0 && op.input.bytes % op.channels == 0);
            let (elems, channels) = (op.input.bytes as u128, op.channels as u128);
            std::vec![
                used(op.input, elems, 1),
                written(op.output, elems, 1),
                constant(op.gamma, channels, 4),
                constant(op.beta, channels, 4),
            ]
        }
        Op::Recurrent(op) => {
            let gates = if op.cell == Cell::Lstm { 4 } else { 3 };
            let (steps, batch, hidden) = (op.steps as u128, op.batch as u128, op.hidden as u128);
            assert!(steps > 0 && batch > 0 && hidden > 0);
            std::vec![
                used(op.input, steps * batch * gates * hidden, 4),
                written(op.output, steps * batch * hidden, 1),
                written(op.state, batch * hidden, 4),
                constant(op.weights, gates * hidden * hidden, 1),
                constant(op.bias, gates * hidden, 4),
                constant(op.multiplier, gates * hidden, 4),
                constant(op.initial_hidden, batch * hidden, 1),
                constant(op.initial_state, batch * hidden, 4),
            ]
        }
        _ => float_uses(op),
    }
}

fn float_uses(op: &Op) -> Vec<Use> {
    match op {
        Op::Elementwise(op) => {
            let sources = op.sources.iter().flatten().map(|source| {
                let (elems, elem_bytes) = (walk(0, &op.dims, &source.strides), source.elems.bytes().into());
                match source.operand {
                    Operand::Arena(span) => used(span, elems, elem_bytes),
                    Operand::Constant(span) => constant(span, elems, elem_bytes),
                }
            });
            let elem_bytes = op.stored.bytes().into();
            sources
                .chain([
                    written(op.output, volume(&op.dims), elem_bytes),
                    constant(op.program, op.program.bytes as u128 / 4, 4),
                ])
                .collect()
        }
        Op::ConvF32(op) => {
            let [out_n, out_h, out_w, channels] = op.window.output_dims;
            assert!(out_n == op.window.input_dims[0] && out_h > 0 && out_w > 0);
            assert!(
                op.window
                    .stride
                    .iter()
                    .chain(&op.window.dilation)
                    .chain(&op.window.kernel)
                    .all(|&size| size > 0)
            );
            let terms =
                volume(&[op.window.kernel[0], op.window.kernel[1], op.window.input_dims[3] / op.groups]);
            let weights = if op.groups > 1 && op.groups == channels && channels == op.window.input_dims[3] {
                terms * channels as u128
            } else {
                terms * op.groups as u128 * ((channels / op.groups) as u128).div_ceil(16) * 16
            };
            std::vec![
                used(op.input, volume(&op.window.input_dims), 4),
                written(op.output, volume(&op.window.output_dims), 4),
                stored(op.weights, weights, op.format),
                scales(op.format, channels as u128),
                constant(op.bias, channels as u128, 4),
            ]
        }
        Op::PoolF32(op) => {
            assert!(
                op.window
                    .stride
                    .iter()
                    .chain(&op.window.dilation)
                    .chain(&op.window.kernel)
                    .all(|&size| size > 0)
            );
            assert_eq!(
                (op.window.input_dims[0], op.window.input_dims[3]),
                (op.window.output_dims[0], op.window.output_dims[3])
            );
            std::vec![
                used(op.input, volume(&op.window.input_dims), 4),
                written(op.output, volume(&op.window.output_dims), 4)
            ]
        }
        Op::MatMulF32(op) => {
            let ([b0, b1], [m, k, n]) = (op.geometry.batch, op.geometry.sizes);
            let ([x, y, row], [u, v, out_row]) = (op.geometry.lhs_strides, op.geometry.output_strides);
            let last = walk(0, &[b0, b1, m, n], &[u, v, out_row, 1]);
            assert_eq!(last, volume(&[b0, b1, m, n]));
            std::vec![
                used(op.lhs, walk(0, &[b0, b1, m, k], &[x, y, row, 1]), 4),
                used(op.rhs, walk(0, &[b0, b1, k, n], &op.geometry.rhs_strides), 4),
                written(op.output, last, 4),
            ]
        }
        Op::LayerNormF32(op) => {
            let (elems, channels) = (op.input.bytes as u128 / 4, op.channels as u128);
            assert!(channels > 0 && elems % channels == 0);
            std::vec![
                used(op.input, elems, 4),
                written(op.output, elems, 4),
                constant(op.gamma, channels, 4),
                constant(op.beta, channels, 4),
            ]
        }
        Op::Convert(op) => {
            let elems = (op.input.bytes / op.from.bytes()).into();
            std::vec![
                used(op.input, elems, op.from.bytes().into()),
                written(op.output, elems, op.to.bytes().into()),
            ]
        }
        Op::Gather(op) => {
            let [outer, rows, row] = [op.outer, op.rows, op.row_bytes].map(u128::from);
            let indices = u128::from(op.indices.bytes / 4);
            assert!(outer > 0 && rows > 0 && row > 0 && indices > 0);
            let data = match op.data {
                Operand::Arena(span) => used(span, outer * rows * row, 1),
                Operand::Constant(span) => constant(span, outer * rows * row, 1),
            };
            std::vec![data, used(op.indices, indices, 4), written(op.output, outer * indices * row, 1)]
        }
        Op::Scatter(op) => {
            let [rows, row] = [op.rows, op.row_bytes].map(u128::from);
            let indices = u128::from(op.indices.bytes / 4);
            assert!(rows > 0 && row > 0);
            std::vec![
                used(op.data, rows * row, 1),
                used(op.indices, indices, 4),
                used(op.updates, indices * row, 1),
                written(op.output, rows * row, 1),
            ]
        }
        Op::TopK(op) => {
            let [outer, size, inner] = op.dims;
            assert!(op.k > 0 && op.k <= size);
            std::vec![
                used(op.input, volume(&op.dims), op.dtype.bytes().into()),
                written(op.output, volume(&[outer, op.k, inner]), 4),
            ]
        }
        Op::NonMaxSuppression(op) => {
            let [batch, classes, boxes] = op.dims;
            assert!(op.most > 0 && op.most <= boxes && !op.score_threshold.is_nan());
            std::vec![
                used(op.boxes, volume(&[batch, boxes, 4]), 4),
                used(op.scores, volume(&op.dims), 4),
                written(op.output, volume(&[batch, classes, op.most, 3]), 4),
            ]
        }
        Op::QuantizeRows(op) => {
            let (elems, channels) = (op.output.bytes as u128, op.channels as u128);
            assert!(channels > 0 && elems % channels == 0 && op.zero_point <= 0);
            std::vec![
                used(op.input, elems, 4),
                written(op.output, elems, 1),
                written(op.scales, elems / channels, 4),
            ]
        }
        Op::RescaleRows(op) => {
            let [values, scales, biases] = [op.tensor, op.scales, op.bias].map(|span| span.bytes as u128 / 4);
            assert_eq!(values % (scales * biases), 0);
            std::vec![written(op.tensor, values, 4), used(op.scales, scales, 4), constant(op.bias, biases, 4),]
        }
        Op::RecurrentF32(op) => {
            let gates = if op.cell == Cell::Lstm { 4 } else { 3 };
            let (steps, batch, hidden) = (op.steps as u128, op.batch as u128, op.hidden as u128);
            assert!(steps > 0 && batch > 0 && hidden > 0);
            let mut uses = std::vec![
                used(op.input, steps * batch * gates * hidden, 4),
                written(op.output, steps * batch * hidden, 4),
                written(op.state, batch * hidden, 4),
                constant(op.bias, gates * hidden, 4),
                constant(op.initial_hidden, batch * hidden, 4),
                constant(op.initial_state, batch * hidden, 4),
            ];
            uses.extend(match op.product {
                RecurrentProduct::F32(format) => [
                    stored(op.weights, (gates * hidden).div_ceil(16) * 16 * hidden, format),
                    scales(format, gates * hidden),
                    constant(op.bias, 1, 4),
                ],
                RecurrentProduct::Dynamic { sums, multiplier } => [
                    constant(op.weights, gates * hidden * hidden, 1),
                    constant(sums, gates * hidden, 4),
                    constant(multiplier, gates * hidden, 4),
                ],
            });
            uses
        }
        Op::ConvI16(op) => conv_i16_uses(op),
        Op::PoolI16(op) => {
            assert!(op.multiplier > 0.0 && op.bounds[0] <= op.bounds[1]);
            let of_f32 = float_uses(&Op::PoolF32(op.pool));
            of_f32.into_iter().map(|one| Use { elem_bytes: 2, ..one }).collect()
        }
        other => panic!("{other:?} is none of f32, integers and int16"),
    }
}

/// Weights that are multiplied in f32.
fn stored(span: Span, elems: u128, format: WeightFormat) -> Use {
    let elem_bytes = match format {
        WeightFormat::F32 => 4,
        WeightFormat::F16 => 2,
        WeightFormat::I8 { .. } => 1,
    };
    constant(span, elems, elem_bytes)
}

/// The scales of such weights, or nothing of them.
fn scales(format: WeightFormat, channels: u128) -> Use {
    match format {
        WeightFormat::I8 { scales } => constant(scales, channels, 4),
        _ => constant(Span { offset: 0, bytes: 4 }, 1, 4),
    }
}

fn conv_i16_uses(op: &ConvI16) -> Vec<Use> {
    let window = &op.window;
    let [out_n, out_h, out_w, channels] = window.output_dims;
    assert!(out_n == window.input_dims[0] && out_h > 0 && out_w > 0);
    assert!(window.stride.iter().chain(&window.dilation).chain(&window.kernel).all(|&size| size > 0));
    let per_row = volume(&[window.kernel[1], window.input_dims[3] / op.groups]);
    let weights = if op.groups > 1 && op.groups == channels && channels == window.input_dims[3] {
        volume(&[window.kernel[0], window.kernel[1], channels])
    } else {
        let panels = op.groups as u128 * ((channels / op.groups) as u128).div_ceil(16);
        panels * window.kernel[0] as u128 * per_row.div_ceil(2) * 32
    };
    let mut uses = std::vec![
        used(op.input, volume(&window.input_dims), 2),
        written(op.output, volume(&window.output_dims), op.stored.bytes().into()),
        constant(op.weights, weights, op.weight_bytes.into()),
        constant(op.multiplier, channels as u128, 4),
        constant(op.bias, channels as u128, 4),
    ];
    uses.extend(op.residual.map(|residual| used(residual.span, volume(&window.output_dims), 2)));
    uses
}

fn mat_mul_uses(op: &MatMul) -> Vec<Use> {
    let [b0, b1] = op.geometry.batch;
    let [m, k, n] = op.geometry.sizes;
    let [x, y, row] = op.geometry.lhs_strides;
    let [u, v, out_row] = op.geometry.output_strides;
    // Every element of the output has a place of its own: there are as many as the last one's.
    let last = walk(0, &[b0, b1, m, n], &[u, v, out_row, 1]);
    assert_eq!(last, volume(&[b0, b1, m, n]));
    std::vec![
        used(op.lhs, walk(0, &[b0, b1, m, k], &[x, y, row, 1]), 1),
        used(op.rhs, walk(0, &[b0, b1, k, n], &op.geometry.rhs_strides), 1),
        written(op.output, last, if op.range.is_some() { 1 } else { 4 }),
    ]
}

fn in_place(op: &Op) -> bool {
    match op {
        Op::Binary(op) => op.lhs == Operand::Arena(op.output),
        Op::Lookup(op) => op.input == op.output && !op.to_f32,
        Op::Conv(op) => op.residual.is_some_and(|residual| residual.span == op.output),
        _ => false,
    }
}

/// That nothing in a package reaches outside the memory that it names.
pub(super) fn check(package: &Package<'_>) {
    let (arena, weights) = (package.head().arena_bytes as u128, package.weights().len() as u128);
    let check = |step: &Use| {
        let Span { offset, bytes } = step.span;
        let memory = if step.constant { weights } else { arena };
        assert!(offset as u128 + bytes as u128 <= memory, "{:?} is outside", step.span);
        assert!(step.elems >= 1 && step.elems * step.elem_bytes <= bytes as u128, "{:?}", step.span);
        assert_eq!(offset as u128 % step.elem_bytes, 0, "{:?} is not aligned", step.span);
    };
    let head = package.head();
    let counts = [package.inputs().count(), package.outputs().count(), package.steps().count()];
    assert_eq!(counts.map(|count| count as u32), [head.inputs, head.outputs, head.steps]);
    let mut input_bytes = 0;
    for input in package.inputs() {
        let elems = volume(input.dims.as_slice());
        assert_eq!(volume(&input.arena_dims), elems);
        let elem_bytes = input.dtype.bytes().into();
        check(&written(input.buffer, elems, elem_bytes));
        assert!(walk(0, &input.arena_dims, &input.strides) <= elems);
        if let Some(pixels) = input.pixels {
            check(&constant(pixels.tables, 256 * input.arena_dims[3] as u128, elem_bytes));
            assert!(walk(0, &input.arena_dims, &pixels.strides) <= elems);
        }
        assert!(input.quant.scale > 0.0 && input.quant.scale.is_finite());
        input_bytes += input.buffer.bytes as usize;
    }
    for output in package.outputs() {
        let elem_bytes = output.dtype.bytes().into();
        check(&used(output.buffer, volume(output.dims.as_slice()), elem_bytes));
    }
    for step in package.steps() {
        let scratch = step.scratch;
        assert!(scratch.offset as u128 + scratch.bytes as u128 <= arena);
        let uses = uses(&step.op);
        uses.iter().for_each(check);
        let overlap = |a: Span, b: Span| {
            (a.offset as u128) < b.offset as u128 + b.bytes as u128
                && (b.offset as u128) < a.offset as u128 + a.bytes as u128
        };
        for (index, write) in uses.iter().enumerate().filter(|(_, one)| one.written) {
            let others = uses[index + 1..].iter().filter(|one| one.written);
            assert!(others.into_iter().all(|other| !overlap(other.span, write.span)), "{:?}", step.op);
            let reads = uses.iter().filter(|one| !one.constant && !one.written);
            let overlapping = reads.filter(|read| overlap(read.span, write.span)).count();
            assert!(overlapping <= in_place(&step.op) as usize, "{:?}", step.op);
        }
        if scratch.bytes > 0
            && matches!(
                step.op,
                Op::Conv(_)
                    | Op::MatMul(_)
                    | Op::Recurrent(_)
                    | Op::MatMulF32(_)
                    | Op::ConvF32(_)
                    | Op::RecurrentF32(_)
                    | Op::NonMaxSuppression(_)
            )
        {
            let arena = uses.iter().filter(|one| !one.constant);
            assert!(arena.into_iter().all(|one| !overlap(one.span, scratch)));
        }
    }
    for golden in package.golden() {
        if let GoldenInput::Stored(bytes) = golden.input {
            assert_eq!(bytes.len(), input_bytes);
        }
    }
}
