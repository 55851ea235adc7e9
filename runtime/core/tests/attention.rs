//! Products of two tensors and layer normalizations, as steps of a plan, against their definitions.

mod common;

use common::{Model, quantize, range, size, values};
use edgepack_core::format::plan::{LayerNorm, MatMul, MatMulGeometry, Op, Range};
use edgepack_core::kernels::isa::IsaSet;
use edgepack_core::{kernel_name, mat_mul_shape, step_macs};

const RANGES: [Range; 2] =
    [Range { zero_point: -5, min: -128, max: 127 }, Range { zero_point: 100, min: -20, max: 110 }];

/// Attention over `[M, heads, K]` and `[N, heads, K]`: sizes, and the strides of heads that nobody has
/// moved.
fn heads(heads: u32, [m, k, n]: [u32; 3]) -> MatMul {
    let none = common::span(0, 0);
    MatMul {
        lhs: none,
        rhs: none,
        output: none,
        geometry: MatMulGeometry {
            batch: [1, heads],
            sizes: [m, k, n],
            lhs_strides: [0, k, heads * k],
            rhs_strides: [0, k, 1, heads * k],
            output_strides: [0, m * n, n],
        },
        lhs_zero_point: 11,
        multiplier: 0.003,
        range: None,
    }
}

/// The accumulators in the order of the output.
fn accumulators(product: &MatMul, lhs: &[i8], rhs: &[i8]) -> Vec<i32> {
    let [m, k, n] = product.geometry.sizes;
    let mut results = vec![0; size(&product.geometry.batch) * size(&[m, n])];
    for (i, j) in
        (0..product.geometry.batch[0]).flat_map(|i| (0..product.geometry.batch[1]).map(move |j| (i, j)))
    {
        for (row, column) in (0..m).flat_map(|row| (0..n).map(move |column| (row, column))) {
            let start = |strides: &[u32]| i * strides[0] + j * strides[1];
            let dot = (0..k).map(|k| {
                let x = lhs[(start(&product.geometry.lhs_strides) + row * product.geometry.lhs_strides[2] + k)
                    as usize];
                let [.., down, right] = product.geometry.rhs_strides;
                let w = rhs[(start(&product.geometry.rhs_strides) + k * down + column * right) as usize];
                (i32::from(x) - i32::from(product.lhs_zero_point)) * i32::from(w.max(-127))
            });
            let at =
                start(&product.geometry.output_strides) + row * product.geometry.output_strides[2] + column;
            results[at as usize] = dot.sum();
        }
    }
    results
}

#[test]
fn products_of_heads_equal_their_definition() {
    for (count, sizes) in [(1, [1, 1, 1]), (2, [5, 8, 7]), (3, [13, 20, 18]), (4, [64, 64, 64])] {
        let [m, k, n] = sizes;
        let scores = heads(count, sizes);
        // What follows in attention: the heads' results beside each other, through a right operand whose
        // columns are contiguous.
        let context = MatMul {
            geometry: MatMulGeometry {
                rhs_strides: [0, n, count * n, 1],
                output_strides: [0, n, count * n],
                lhs_strides: [0, m * k, k],
                ..scores.geometry
            },
            ..scores
        };
        for product in [scores, context] {
            let (lhs, rhs) = (values(1, size(&[count, m, k])), values(2, size(&[count, k, n])));
            let accumulators = accumulators(&product, &lhs, &rhs);
            let model = |range: Option<Range>| {
                let mut model = Model::default();
                let (from, by) = (model.input(lhs.len()), model.input(rhs.len()));
                let to = match range {
                    Some(_) => model.output_i8(accumulators.len()),
                    None => model.output_f32(accumulators.len()),
                };
                model.step(Op::MatMul(MatMul { lhs: from, rhs: by, output: to, range, ..product }));
                model
            };
            for range in RANGES {
                let real = |&acc: &i32| quantize(acc as f32 * product.multiplier, range);
                let expected: Vec<i8> = accumulators.iter().map(real).collect();
                assert_eq!(model(Some(range)).run_i8(&[&lhs, &rhs]), expected, "{product:?}");
            }
            let expected: Vec<f32> =
                accumulators.iter().map(|&acc| acc as f32 * product.multiplier).collect();
            assert_eq!(model(None).run_f32(&[&lhs, &rhs]), expected);
        }
    }
}

#[test]
fn a_product_says_its_kernel_and_its_work() {
    let product = heads(4, [64, 32, 16]);
    assert_eq!(step_macs(&Op::MatMul(product)), 4 * 64 * 32 * 16);
    assert_eq!(mat_mul_shape(&product.geometry).lhs_elems(), 4 * 64 * 32);
    assert_eq!(kernel_name(&Op::MatMul(product), u32::MAX, IsaSet::SCALAR), "matmul_s8s8s32_scalar");
    assert_eq!(kernel_name(&Op::MatMul(product), u32::MAX, IsaSet::DOTPROD), "matmul_s8s8s32_4x24_dotprod");
}

#[test]
fn layer_normalizations_equal_their_definition() {
    for (channels, rows) in [(1, 3), (5, 4), (64, 3), (257, 2)] {
        let input = values(3, channels * rows);
        let gamma: Vec<f32> = (0..channels).map(|c| 25.0 - c as f32 * 0.37).collect();
        let beta: Vec<f32> = (0..channels).map(|c| (c % 9) as f32 - 4.0).collect();
        let epsilon = 1234.5_f32;
        for range in RANGES.into_iter().chain([range(0, -128, 127)]) {
            let mut model = Model::default();
            let (from, to) = (model.input(input.len()), model.output_i8(input.len()));
            let (gamma_span, beta_span) = (model.f32s(&gamma), model.f32s(&beta));
            model.step(Op::LayerNorm(LayerNorm {
                input: from,
                output: to,
                channels: channels as u32,
                gamma: gamma_span,
                beta: beta_span,
                epsilon,
                range,
            }));
            let mut expected = Vec::new();
            for row in input.chunks(channels) {
                let n = channels as i64;
                let s1: i64 = row.iter().map(|&x| i64::from(x)).sum();
                let s2: i64 = row.iter().map(|&x| i64::from(x) * i64::from(x)).sum();
                let r = 1.0 / ((n * s2 - s1 * s1) as f32 + epsilon).sqrt();
                expected.extend((row.iter().zip(&gamma).zip(&beta)).map(|((&x, &gamma), &beta)| {
                    let scaled = (n * i64::from(x) - s1) as f32 * r * gamma;
                    quantize(scaled + beta, range)
                }));
            }
            assert_eq!(model.run_i8(&[&input]), expected, "{channels} channels");
        }
    }
}
