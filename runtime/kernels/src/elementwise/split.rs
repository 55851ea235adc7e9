//! A part of an element-wise operation is one as well, over a stretch of its outermost axis.

use super::{BinaryArgs, Operands};
use crate::parts::{cut_front, share};

impl BinaryArgs {
    /// Cuts an operation into at most `parts.len()` of about the same work, which may go on at the same
    /// time: each writes a stretch of the output of its own. Gives how many there are.
    pub fn split<'a>(&self, mut operands: Operands<'a>, parts: &mut [Option<(Self, Operands<'a>)>]) -> usize {
        let args = self.merged();
        let axis = args.dims.iter().position(|&dim| dim > 1).unwrap_or(0);
        let count = parts.len().min(args.dims[axis]);
        for (index, part) in parts.iter_mut().enumerate().take(count) {
            let share = share(args.dims[axis], count, index);
            let mut own = args;
            own.dims[axis] = share.len();
            let elems = own.output_elems();
            // Where a slice is too short, the part has nothing of it.
            let operand =
                |all: &'a [i8], strides: &[usize; 4]| all.get(share.start * strides[axis]..).unwrap_or(&[]);
            let operands = match &mut operands {
                Operands::Separate { lhs, rhs, output } => Operands::Separate {
                    lhs: operand(lhs, &args.lhs_strides),
                    rhs: operand(rhs, &args.rhs_strides),
                    output: cut_front(output, elems),
                },
                Operands::InPlace { output, rhs } => Operands::InPlace {
                    output: cut_front(output, elems),
                    rhs: operand(rhs, &args.rhs_strides),
                },
            };
            *part = Some((own, operands));
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::elementwise::{BinaryOp, binary};
    use crate::requantize::OutputRange;

    #[test]
    fn parts_of_every_form_give_the_whole() {
        let values: Vec<i8> = (0..3 * 5 * 7 * 4).map(|i| (i * 37 % 251) as u8 as i8).collect();
        for (dims, rhs_strides) in [
            ([3, 5, 7, 4], [140, 28, 4, 1]),
            ([1, 5, 7, 4], [0, 0, 0, 1]),
            ([1, 5, 7, 4], [0, 4, 0, 1]),
            ([1, 1, 1, 420], [0, 0, 0, 0]),
            ([1, 1, 1, 1], [0, 0, 0, 0]),
            ([2, 1, 1, 3], [1, 0, 0, 0]),
        ] {
            let args = BinaryArgs {
                op: BinaryOp::Add { lhs_multiplier: 0.7, rhs_multiplier: -1.3 },
                lhs_zero_point: 3,
                rhs_zero_point: -4,
                output: OutputRange::full(5),
                dims,
                lhs_strides: [dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3], 1],
                rhs_strides,
            };
            let elems = args.output_elems();
            let lhs = &values[..elems];
            let rhs = &values[..args.operand_elems(&rhs_strides)];
            let mut expected = vec![0; elems];
            binary(&args, Operands::Separate { lhs, rhs, output: &mut expected });
            for count in 1..5 {
                for in_place in [false, true] {
                    let mut output = lhs.to_vec();
                    let mut parts = vec![None, None, None, None];
                    let operands = if in_place {
                        Operands::InPlace { output: &mut output, rhs }
                    } else {
                        Operands::Separate { lhs, rhs, output: &mut output }
                    };
                    let made = args.split(operands, &mut parts[..count]);
                    assert!((1..=count).contains(&made));
                    // In any order.
                    for (args, operands) in parts.into_iter().rev().flatten() {
                        binary(&args, operands);
                    }
                    assert_eq!(output, expected, "{dims:?} {rhs_strides:?} in {count}");
                }
            }
        }
    }
}
