//! The plain reference of a kernel: the matrices as they are written down.

use core::array;
use core::ops::Range;

use super::*;
use crate::conv::ConvArgs;
use crate::requantize::OutputRange;

struct Scalar;

const G: [[i32; 3]; PATCH] = [[1, 0, 0], [1, 1, 1], [1, -1, 1], [1, 2, 4], [1, -2, 4], [0, 0, 1]];

const B: [[i32; PATCH]; PATCH] = [
    [4, 0, -5, 0, 1, 0],
    [0, 4, 4, -1, -1, 0],
    [0, -4, 4, 1, -1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
];

const A: [[i32; PATCH]; TILE] =
    [[6, 4, 4, 1, 1, 0], [0, 2, -2, 1, -1, 0], [0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 6]];

/// A matrix times a vector, modulo 2^32.
fn times<const M: usize, const N: usize>(matrix: &[[i32; N]; M], vector: [i32; N]) -> [i32; M] {
    array::from_fn(|i| {
        matrix[i].iter().zip(vector).fold(0i32, |sum, (&a, b)| sum.wrapping_add(a.wrapping_mul(b)))
    })
}

/// `matrix * x * transposed matrix`.
fn both_sides<const M: usize, const N: usize>(matrix: &[[i32; N]; M], x: [[i32; N]; N]) -> [[i32; M]; M] {
    let columns: [[i32; M]; N] = array::from_fn(|j| times(matrix, array::from_fn(|i| x[i][j])));
    array::from_fn(|i| times(matrix, array::from_fn(|j| columns[j][i])))
}

impl Kernel for Scalar {
    type Range = OutputRange;

    const TILES: usize = 8;

    unsafe fn weights(panel: &Panel<'_>, first: usize, to: &mut [i16], stride: usize) {
        for k in 0..8 {
            for n in 0..LANES {
                let weight = |tap: usize| {
                    let pair = tap * panel.channels / 2 + (first + k) / 2;
                    panel.weights[(pair * LANES + n) * 2 + k % 2] as i8 as i32
                };
                let points = both_sides(&G, array::from_fn(|i| array::from_fn(|j| weight(i * 3 + j))));
                for (p, &point) in points.as_flattened().iter().enumerate() {
                    to[p * stride + k * LANES + n] = point.try_into().expect("weights fit int16");
                }
            }
        }
    }

    unsafe fn columns(lines: [(*const i8, usize); PATCH], columns: Range<usize>, to: &mut Columns) {
        for (index, column) in columns.enumerate() {
            for lane in 0..LANES {
                // SAFETY: the caller's promise.
                let pixels = lines.map(|(line, step)| unsafe { *line.add(index * step + lane) } as i32);
                for (to, value) in to.iter_mut().zip(times(&B, pixels)) {
                    to[column][lane] = value.try_into().expect("columns fit int16");
                }
            }
        }
    }

    unsafe fn patch(from: &Columns, column: usize, to: &mut [i16], stride: usize) {
        for (i, line) in from.iter().enumerate() {
            for lane in 0..LANES {
                let values = times(&B, array::from_fn(|j| line[column + j][lane] as i32));
                for (j, value) in values.into_iter().enumerate() {
                    to[(i * PATCH + j) * stride + lane] = value.try_into().expect("inputs fit int16");
                }
            }
        }
    }

    unsafe fn multiply(weights: &[i16], inputs: &[i16], k: usize, tiles: usize, to: &mut Products) {
        for (p, to) in to.iter_mut().enumerate() {
            for (tile, to) in to.iter_mut().enumerate().take(tiles) {
                for (n, to) in to.iter_mut().enumerate() {
                    *to = (0..k).fold(0i32, |sum, c| {
                        let x = inputs[(p * k + c / 8 * 8) * tiles + tile * 8 + c % 8] as i32;
                        sum.wrapping_add(weights[(p * k + c) * LANES + n] as i32 * x)
                    });
                }
            }
        }
    }

    unsafe fn add(products: &Products, tile: usize, sums: &mut Sums) {
        for lane in 0..LANES {
            let points = array::from_fn(|i| array::from_fn(|j| products[i * PATCH + j][tile][lane]));
            for (i, line) in both_sides(&A, points).into_iter().enumerate() {
                for (j, output) in line.into_iter().enumerate() {
                    let scaled = output.wrapping_mul(INVERSE_OF_9);
                    let sum = &mut sums[i * TILE + j][lane];
                    *sum = sum.wrapping_add(scaled >> (SHIFTS[i] + SHIFTS[j]));
                }
            }
        }
    }

    unsafe fn bytes(products: &Products, tile: usize, constants: &Constants, to: &Bytes<'_, Self>) {
        let mut sums = [constants.bias; TILE * TILE];
        // SAFETY: the caller's promise.
        unsafe { Self::bytes_after(products, tile, &mut sums, constants, to) };
    }

    unsafe fn bytes_after(
        products: &Products,
        tile: usize,
        sums: &mut Sums,
        constants: &Constants,
        to: &Bytes<'_, Self>,
    ) {
        // SAFETY: the caller's promise.
        unsafe { Self::add(products, tile, sums) };
        for (pixel, sums) in sums.iter().enumerate() {
            for (n, (&sum, &multiplier)) in sums.iter().zip(&constants.multiplier).enumerate() {
                let at = pixel / TILE * to.line + pixel % TILE * to.pixel + n;
                // SAFETY: the caller's promise.
                unsafe {
                    let out = to.out.add(at);
                    *out = match to.residual {
                        None => to.range.requantize(sum, multiplier),
                        Some(added) => {
                            to.range.requantize_sum(sum, multiplier, *added.of(out), added.multiplier)
                        }
                    };
                }
            }
        }
    }
}

/// # Safety
/// As the table's `RunFn`.
pub(crate) unsafe fn reference(args: &mut ConvArgs<'_>) {
    // SAFETY: the caller's promise; the kernel needs no ISA.
    unsafe { run::<Scalar>(args) }
}
