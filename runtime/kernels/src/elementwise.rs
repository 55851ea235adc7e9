//! Addition, subtraction and multiplication of two int8 tensors, with broadcasting.
//!
//! ```text
//! add  y = quantize((a - za) as f32 * ma  +  (b - zb) as f32 * mb)      subtract: mb is negative
//! mul  y = quantize(((a - za) * (b - zb)) as f32 * ma)
//! ```
//! The operations are in exactly this order, and the sum is no fused multiply-add.

use crate::requantize::OutputRange;

#[cfg(target_arch = "aarch64")]
pub(crate) mod aarch64_neon;
#[cfg(all(target_arch = "arm", target_os = "linux"))]
pub(crate) mod armv7_neon;
mod split;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86_avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86_avx512;

/// Which operation, and its scales.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BinaryOp {
    /// `ma` and `mb` are the scales of the operands over that of the output.
    Add {
        /// Left scale / output scale.
        lhs_multiplier: f32,
        /// Right scale / output scale; negative for a subtraction.
        rhs_multiplier: f32,
    },
    /// `multiplier` is left scale · right scale / output scale.
    Mul {
        /// Left scale · right scale / output scale.
        multiplier: f32,
    },
}

/// Everything about a run but the data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BinaryArgs {
    /// The operation.
    pub op: BinaryOp,
    /// The int8 value that stands for 0 on the left.
    pub lhs_zero_point: i32,
    /// The same on the right.
    pub rhs_zero_point: i32,
    /// The output's range.
    pub output: OutputRange,
    /// Dimensions of the output, outermost first; unused ones are 1.
    pub dims: [usize; 4],
    /// Elements from one index to the next in the left operand, 0 where it is broadcast.
    pub lhs_strides: [usize; 4],
    /// The same for the right operand.
    pub rhs_strides: [usize; 4],
}

/// The operands: two inputs and an output, or an output that overwrites the left input, which then
/// has the output's shape.
#[derive(Debug)]
pub enum Operands<'a> {
    /// Three different buffers.
    Separate {
        /// Left input.
        lhs: &'a [i8],
        /// Right input.
        rhs: &'a [i8],
        /// Output, contiguous over `dims`.
        output: &'a mut [i8],
    },
    /// `output` holds the left input, contiguous over `dims`.
    InPlace {
        /// Left input and output.
        output: &'a mut [i8],
        /// Right input.
        rhs: &'a [i8],
    },
}

impl BinaryArgs {
    /// Elements of the output.
    pub fn output_elems(&self) -> usize {
        self.dims.iter().product()
    }

    /// Elements that an operand with these strides must have.
    pub fn operand_elems(&self, strides: &[usize; 4]) -> usize {
        1 + self.dims.iter().zip(strides).map(|(&dim, &stride)| (dim - 1) * stride).sum::<usize>()
    }
}

impl Operands<'_> {
    /// What kernels that read through pointers rest on.
    ///
    /// # Panics
    /// An operand is shorter than `args` say.
    #[cfg(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        all(target_arch = "arm", target_os = "linux")
    ))]
    fn assert_lengths(&self, args: &BinaryArgs) {
        let (lhs, rhs, output) = match self {
            Self::Separate { lhs, rhs, output } => (lhs.len(), rhs.len(), output.len()),
            Self::InPlace { output, rhs } => (output.len(), rhs.len(), output.len()),
        };
        assert!(lhs >= args.operand_elems(&args.lhs_strides), "the left operand is too short");
        assert!(rhs >= args.operand_elems(&args.rhs_strides), "the right operand is too short");
        assert!(output >= args.output_elems(), "the output is too short");
    }
}

impl BinaryArgs {
    /// Whether an operand with these strides lies as the output does.
    #[inline(always)]
    fn is_contiguous(&self, strides: &[usize; 4]) -> bool {
        let [_, d1, d2, d3] = self.dims;
        let own = [d1 * d2 * d3, d2 * d3, d3, 1];
        self.dims.iter().zip(strides).zip(own).all(|((&dim, &stride), own)| dim == 1 || stride == own)
    }

    /// The same walk with one line where nothing is broadcast and both operands are contiguous.
    #[inline(always)]
    fn merged(&self) -> Self {
        if !self.is_contiguous(&self.lhs_strides) || !self.is_contiguous(&self.rhs_strides) {
            return *self;
        }
        let line = [0, 0, 0, 1];
        Self { dims: [1, 1, 1, self.output_elems()], lhs_strides: line, rhs_strides: line, ..*self }
    }
}

/// Runs an element-wise operation over slices of the lengths that [`BinaryArgs`] asks for.
#[inline(always)]
pub fn binary(args: &BinaryArgs, operands: Operands<'_>) {
    let args = &args.merged();
    match args.op {
        // Firmware has one loop for both operations: it is 900 bytes less.
        op if cfg!(target_os = "none") => lines(args, operands, |a, b| op.real(a, b)),
        op @ BinaryOp::Add { .. } => lines(args, operands, |a, b| op.real(a, b)),
        op @ BinaryOp::Mul { .. } => lines(args, operands, |a, b| op.real(a, b)),
    }
}

impl BinaryOp {
    /// The result before it is rounded, of operands relative to their zero points.
    #[inline(always)]
    fn real(self, a: i32, b: i32) -> f32 {
        match self {
            Self::Add { lhs_multiplier, rhs_multiplier } => {
                let left = a as f32 * lhs_multiplier;
                let right = b as f32 * rhs_multiplier;
                left + right
            }
            Self::Mul { multiplier } => (a * b) as f32 * multiplier,
        }
    }
}

/// `real` takes both operands relative to their zero points. Nothing here can panic, since firmware must not have the
/// code for it; sizes were checked before.
#[cfg_attr(not(target_os = "none"), inline(always))]
fn lines(args: &BinaryArgs, operands: Operands<'_>, real: impl Fn(i32, i32) -> f32) {
    let [d0, d1, d2, d3] = args.dims;
    let (ls, rs) = (&args.lhs_strides, &args.rhs_strides);
    let (za, zb, range) = (args.lhs_zero_point, args.rhs_zero_point, args.output);
    let apply = |a: i8, b: i8| range.quantize(real(a as i32 - za, b as i32 - zb));
    let (left, right, output) = match operands {
        Operands::Separate { lhs, rhs, output } => (Some(lhs), rhs, output),
        Operands::InPlace { output, rhs } => (None, rhs, output),
    };
    for ((i0, i1, i2), line) in indices(d0, d1, d2).zip(output.chunks_mut(d3.max(1))) {
        let from = i0 * ls[0] + i1 * ls[1] + i2 * ls[2];
        let left = left.map(|left| left.get(from..).unwrap_or(&[]));
        let right = right.get(i0 * rs[0] + i1 * rs[1] + i2 * rs[2]..).unwrap_or(&[]);
        // Contiguous lines are what the compiler makes vectors of; firmware has one loop for what is rare.
        match (left, ls[3], rs[3], right) {
            (Some(left), 1, 1, _) => {
                for ((y, &a), &b) in line.iter_mut().zip(left).zip(right) {
                    *y = apply(a, b);
                }
            }
            (None, _, 1, _) => {
                for (y, &b) in line.iter_mut().zip(right) {
                    *y = apply(*y, b);
                }
            }
            (Some(left), 1, 0, &[b, ..]) if cfg!(not(target_os = "none")) => {
                for (y, &a) in line.iter_mut().zip(left) {
                    *y = apply(a, b);
                }
            }
            (None, _, 0, &[b, ..]) if cfg!(not(target_os = "none")) => {
                for y in line {
                    *y = apply(*y, b);
                }
            }
            _ => {
                let (mut from, mut at) = (0usize, 0usize);
                for y in line {
                    let a = left.map_or(Some(*y), |left| left.get(from).copied()).unwrap_or(0);
                    *y = apply(a, right.get(at).copied().unwrap_or(0));
                    // Behind the last element these are not used.
                    (from, at) = (from.wrapping_add(ls[3]), at.wrapping_add(rs[3]));
                }
            }
        }
    }
}

#[inline(always)]
fn indices(d0: usize, d1: usize, d2: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..d0).flat_map(move |i| (0..d1).flat_map(move |j| (0..d2).map(move |k| (i, j, k))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn args(op: BinaryOp, dims: [usize; 4], rhs_strides: [usize; 4]) -> BinaryArgs {
        let lhs_strides = [dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3], 1];
        let output = OutputRange::full(5);
        BinaryArgs { op, lhs_zero_point: -3, rhs_zero_point: 4, output, dims, lhs_strides, rhs_strides }
    }

    #[test]
    fn addition_over_every_pair_is_the_rounded_real_sum_within_one_step() {
        let op = BinaryOp::Add { lhs_multiplier: 0.43, rhs_multiplier: -0.21 };
        let args = args(op, [1, 1, 1, 256], [0, 0, 0, 0]);
        let lhs: Vec<i8> = (-128..=127).collect();
        let mut output = [0i8; 256];
        for b in -128..=127_i8 {
            binary(&args, Operands::Separate { lhs: &lhs, rhs: &[b], output: &mut output });
            for (&a, &y) in lhs.iter().zip(&output) {
                let real = (a as f64 + 3.0) * 0.43 - (b as f64 - 4.0) * 0.21;
                assert!((y as f64 - 5.0 - real.clamp(-133.0, 122.0)).abs() <= 0.5 + 1e-4, "{a} {b} {y}");
            }
        }
    }

    /// In place or not, for every way in which an operand is repeated: each element by itself.
    #[test]
    fn lines_are_the_formula_of_each_element() {
        let dims = [2, 3, 4, 5];
        let values = |seed: i32| -> Vec<i8> { (0..120).map(|i| (i * seed % 251) as i8).collect() };
        let (lhs, rhs) = (values(37), values(53));
        let (lhs_multiplier, rhs_multiplier) = (0.43, -0.21);
        let op = BinaryOp::Add { lhs_multiplier, rhs_multiplier };
        let own = [60, 20, 5, 1];
        let element = |args: &BinaryArgs, element: usize| {
            let index = [element / 60, element / 20 % 3, element / 5 % 4, element % 5];
            let at =
                |strides: [usize; 4]| index.iter().zip(strides).map(|(i, stride)| i * stride).sum::<usize>();
            let a = lhs[at(args.lhs_strides)] as i32 - args.lhs_zero_point;
            let b = rhs[at(args.rhs_strides)] as i32 - args.rhs_zero_point;
            args.output.quantize(a as f32 * lhs_multiplier + b as f32 * rhs_multiplier)
        };
        for strides in [own, [0, 0, 0, 1], [0, 0, 0, 0], [0, 20, 0, 1], [60, 1, 15, 3], [20, 5, 1, 0]] {
            let mut output = lhs.clone();
            let right = args(op, dims, strides);
            binary(&right, Operands::InPlace { output: &mut output, rhs: &rhs });
            let expected: Vec<i8> = (0..120).map(|i| element(&right, i)).collect();
            assert_eq!(output, expected, "{strides:?}, in place");
            for both in [right, BinaryArgs { lhs_strides: strides, rhs_strides: own, ..right }] {
                let expected: Vec<i8> = (0..120).map(|i| element(&both, i)).collect();
                binary(&both, Operands::Separate { lhs: &lhs, rhs: &rhs, output: &mut output });
                assert_eq!(output, expected, "{both:?}");
            }
        }
    }

    #[test]
    fn in_place_and_broadcast_equal_separate_and_repeated() {
        let dims = [2, 3, 4, 5];
        let lhs: Vec<i8> = (0..120).map(|i| (i * 37 % 251) as i8).collect();
        let per_channel: Vec<i8> = (0..5).map(|i| i * 11 - 20).collect();
        let repeated: Vec<i8> = per_channel.iter().copied().cycle().take(120).collect();
        let op = BinaryOp::Mul { multiplier: 0.013 };
        let mut expected = [0i8; 120];
        binary(
            &args(op, dims, [60, 20, 5, 1]),
            Operands::Separate { lhs: &lhs, rhs: &repeated, output: &mut expected },
        );
        let mut output = lhs.clone();
        let broadcast = args(op, dims, [0, 0, 0, 1]);
        assert_eq!(broadcast.operand_elems(&broadcast.rhs_strides), 5);
        binary(&broadcast, Operands::InPlace { output: &mut output, rhs: &per_channel });
        assert_eq!(output, expected);
    }
}
