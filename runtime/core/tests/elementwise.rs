//! Additions, multiplications, tables, fills and copies give what their definitions say.

mod common;

use common::{Model, Values, quantize, size, span, values};
use edgepack_core::format::plan::{Binary, BinaryOp, Copy, ElemType, Fill, Lookup, Op, Operand, Range, Span};

/// Lines longer than a vector of any processor, and no multiple of one.
const DIMS: [u32; 4] = [2, 2, 3, 70];
const WHOLE: [u32; 4] = [420, 210, 70, 1];
const ZERO_POINTS: (i8, i8) = (-9, 14);
const RANGE: Range = Range { zero_point: 3, min: -100, max: 111 };

/// How many values an operand with these strides has.
fn reach(strides: &[u32; 4]) -> usize {
    1 + DIMS.iter().zip(strides).map(|(dim, stride)| (dim - 1) * stride).sum::<u32>() as usize
}

/// Every index of a tensor of `DIMS`, in order.
fn indices() -> impl Iterator<Item = [u32; 4]> {
    (0..size(&DIMS) as u32).map(|i| [i / 420, i / 210 % 2, i / 70 % 3, i % 70])
}

fn at(values: &[i8], index: [u32; 4], strides: &[u32; 4]) -> i32 {
    let place: u32 = index.iter().zip(strides).map(|(i, stride)| i * stride).sum();
    i32::from(values[place as usize])
}

const OPS: [BinaryOp; 3] = [
    BinaryOp::Add { lhs_multiplier: 0.73, rhs_multiplier: 0.31 },
    BinaryOp::Add { lhs_multiplier: 0.5, rhs_multiplier: -0.25 },
    BinaryOp::Mul { multiplier: 0.0137 },
];

/// A left and a right operand and their strides.
type Sides<'a> = [(&'a [i8], [u32; 4]); 2];

fn binary_expected(op: BinaryOp, [lhs, rhs]: Sides<'_>) -> Vec<i8> {
    let real = |index| {
        let a = at(lhs.0, index, &lhs.1) - i32::from(ZERO_POINTS.0);
        let b = at(rhs.0, index, &rhs.1) - i32::from(ZERO_POINTS.1);
        match op {
            BinaryOp::Add { lhs_multiplier, rhs_multiplier } => {
                a as f32 * lhs_multiplier + b as f32 * rhs_multiplier
            }
            BinaryOp::Mul { multiplier } => (a * b) as f32 * multiplier,
        }
    };
    indices().map(|index| quantize(real(index), RANGE)).collect()
}

fn binary(op: BinaryOp, operands: [Operand; 2], strides: [[u32; 4]; 2], output: Span) -> Op {
    Op::Binary(Binary {
        op,
        lhs: operands[0],
        rhs: operands[1],
        output,
        lhs_zero_point: ZERO_POINTS.0,
        rhs_zero_point: ZERO_POINTS.1,
        range: RANGE,
        dims: DIMS,
        lhs_strides: strides[0],
        rhs_strides: strides[1],
    })
}

#[test]
fn binary_operations_broadcast_by_their_strides_wherever_the_operands_lie() {
    let channel = [0, 0, 0, 1];
    let scalar = [0; 4];
    let column = [3, 1, 0, 0];
    let line_of_a_larger_tensor = [0, 10, 0, 2];
    // [2, 70, 3, 2] seen with axes 1 and 3 exchanged.
    let transposed = [420, 1, 2, 6];
    let seen = [WHOLE, channel, scalar, column, line_of_a_larger_tensor, transposed];
    for (lhs_strides, rhs_strides) in seen.iter().flat_map(|&l| seen.iter().map(move |&r| (l, r))) {
        let (lhs, rhs) = (values(1, reach(&lhs_strides)), values(2, reach(&rhs_strides)));
        for op in OPS {
            let expected = binary_expected(op, [(&lhs, lhs_strides), (&rhs, rhs_strides)]);
            for (lhs_is_constant, rhs_is_constant) in
                [(false, false), (false, true), (true, false), (true, true)]
            {
                let mut model = Model::default();
                let mut inputs: Vec<&[i8]> = Vec::new();
                let operands = [(&lhs, lhs_is_constant), (&rhs, rhs_is_constant)].map(|(side, constant)| {
                    if constant {
                        return Operand::Constant(model.i8s(side));
                    }
                    inputs.push(side);
                    Operand::Arena(model.input(side.len()))
                });
                let output = model.output_i8(size(&DIMS));
                model.step(binary(op, operands, [lhs_strides, rhs_strides], output));
                let given = model.run_i8(&inputs);
                assert_eq!(given, expected, "{op:?} {operands:?} {lhs_strides:?} {rhs_strides:?}");
            }
        }
    }
}

#[test]
fn binary_operations_over_their_left_operand_equal_those_into_other_memory() {
    for op in OPS {
        for rhs_strides in [WHOLE, [0, 0, 0, 1], [0; 4], [0, 10, 0, 2]] {
            let (lhs, rhs) = (values(3, size(&DIMS)), values(4, reach(&rhs_strides)));
            let expected = binary_expected(op, [(&lhs, WHOLE), (&rhs, rhs_strides)]);
            for rhs_is_constant in [false, true] {
                let mut model = Model::default();
                let both = model.input(lhs.len());
                model.gives(both, ElemType::I8);
                let (rhs_operand, inputs) = if rhs_is_constant {
                    (Operand::Constant(model.i8s(&rhs)), vec![&lhs[..]])
                } else {
                    (Operand::Arena(model.input(rhs.len())), vec![&lhs[..], &rhs])
                };
                model.step(binary(op, [Operand::Arena(both), rhs_operand], [WHOLE, rhs_strides], both));
                assert_eq!(model.run_i8(&inputs), expected, "{op:?} {rhs_strides:?}");
            }
        }
    }
}

#[test]
fn binary_operands_may_be_the_same_memory_or_share_some() {
    let shared = values(5, 1000);
    // The same span; one inside the other; one that begins in the other; the two exchanged.
    for (left, right) in [(0, 0), (0, 40), (40, 0), (80, 33)] {
        for (left_bytes, right_bytes) in [(840, 840), (840, 70), (70, 840)] {
            let strides = [left_bytes, right_bytes].map(|n| if n == 70 { [0, 0, 0, 1] } else { WHOLE });
            let mut model = Model::default();
            let tensor = model.input(shared.len());
            let part = |start: u32, bytes| Operand::Arena(span(tensor.offset + start, bytes));
            let output = model.output_i8(size(&DIMS));
            let operands = [part(left, left_bytes), part(right, right_bytes)];
            model.step(binary(OPS[0], operands, strides, output));
            let sides = [(&shared[left as usize..], strides[0]), (&shared[right as usize..], strides[1])];
            let given = model.run_i8(&[&shared]);
            assert_eq!(given, binary_expected(OPS[0], sides), "{operands:?}");
        }
    }
}

/// Every int8 value, in an order that is not theirs.
fn every_value() -> Vec<i8> {
    (0..256).map(|i| (i * 77 % 256) as u8 as i8).collect()
}

#[test]
fn lookups_take_entry_value_plus_128_of_an_int8_table() {
    let table = values(6, 256);
    let input = every_value();
    let expected: Vec<i8> = input.iter().map(|&x| table[(i32::from(x) + 128) as usize]).collect();
    for in_place in [false, true] {
        let mut model = Model::default();
        let from = model.input(256);
        let to = if in_place { from } else { model.buffer(256) };
        model.gives(to, ElemType::I8);
        let table = model.i8s(&table);
        model.step(Op::Lookup(Lookup { input: from, output: to, table, to_f32: false }));
        assert_eq!(model.run_i8(&[&input]), expected);
    }
}

/// Adds the step that makes f32 of an int8 tensor: `(x - zero_point) * scale`.
fn dequantize(model: &mut Model, input: Span, output: Span, zero_point: i32, scale: f32) {
    let table: Vec<f32> = (-128..128).map(|q| (q - zero_point) as f32 * scale).collect();
    let table = model.f32s(&table);
    model.step(Op::Lookup(Lookup { input, output, table, to_f32: true }));
}

#[test]
fn lookups_with_f32_tables_dequantize() {
    let input = every_value();
    let mut model = Model::default();
    let (from, to) = (model.input(256), model.output_f32(256));
    dequantize(&mut model, from, to, -5, 0.125);
    let expected: Vec<f32> = input.iter().map(|&x| (f32::from(x) + 5.0) * 0.125).collect();
    assert_eq!(model.run_f32(&[&input]), expected);
}

#[test]
fn fills_set_every_byte_of_their_span_and_no_other() {
    for value in [-128, -1, 0, 127] {
        let mut model = Model::default();
        let tensor = model.input(20);
        model.gives(tensor, ElemType::I8);
        model.step(Op::Fill(Fill { output: span(tensor.offset + 3, 9), value }));
        let before = values(8, 20);
        let mut expected = before.clone();
        expected[3..12].fill(value);
        assert_eq!(model.run_i8(&[&before]), expected);
    }
}

/// A copy; the fields are those of the plan.
#[derive(Clone, Copy)]
struct Block {
    name: &'static str,
    input_elems: usize,
    output_elems: usize,
    dims: [u32; 6],
    from: (u32, [u32; 6]),
    to: (u32, [u32; 6]),
}

const BLOCKS: &[Block] = &[
    Block {
        name: "[2, 3, 4, 5] to [2, 4, 5, 3]",
        input_elems: 120,
        output_elems: 120,
        dims: [1, 1, 2, 4, 5, 3],
        from: (0, [0, 0, 60, 5, 1, 20]),
        to: (0, [0, 0, 60, 15, 3, 1]),
    },
    Block {
        name: "six axes in reverse",
        input_elems: 144,
        output_elems: 144,
        dims: [2, 1, 3, 2, 4, 3],
        from: (0, [72, 72, 24, 12, 3, 1]),
        to: (0, [1, 2, 2, 6, 12, 48]),
    },
    Block {
        name: "the second half of a concatenation",
        input_elems: 12,
        output_elems: 40,
        dims: [1, 1, 1, 1, 4, 3],
        from: (0, [0, 0, 0, 0, 3, 1]),
        to: (7, [0, 0, 0, 0, 10, 1]),
    },
    Block {
        name: "every second line and third column",
        input_elems: 100,
        output_elems: 15,
        dims: [1, 1, 1, 1, 5, 3],
        from: (11, [0, 0, 0, 0, 20, 3]),
        to: (0, [0, 0, 0, 0, 3, 1]),
    },
    Block {
        name: "one value, repeated",
        input_elems: 9,
        output_elems: 6,
        dims: [1, 1, 1, 1, 2, 3],
        from: (8, [0; 6]),
        to: (0, [0, 0, 0, 0, 3, 1]),
    },
];

impl Block {
    /// For each element of the block, where it comes from and where it goes.
    fn moves(&self) -> Vec<(usize, usize)> {
        let elems: u32 = self.dims.iter().product();
        let place = |mut number: u32, (start, strides): (u32, [u32; 6])| {
            let mut place = start;
            for axis in (0..6).rev() {
                place += number % self.dims[axis] * strides[axis];
                number /= self.dims[axis];
            }
            place as usize
        };
        (0..elems).map(|number| (place(number, self.from), place(number, self.to))).collect()
    }

    fn step(&self, input: Span, output: Span, elem_bytes: u8, table: Option<Span>) -> Op {
        Op::Copy(Copy {
            input,
            output,
            elem_bytes,
            dims: self.dims,
            input_start: self.from.0,
            input_strides: self.from.1,
            output_start: self.to.0,
            output_strides: self.to.1,
            table,
        })
    }
}

#[test]
fn copies_move_the_block_and_leave_the_rest() {
    let table = values(9, 256);
    for block in BLOCKS {
        let (input, before) = (values(10, block.input_elems), values(11, block.output_elems));
        for with_table in [false, true] {
            let mut model = Model::default();
            let (from, to) = (model.input(input.len()), model.input(before.len()));
            model.gives(to, ElemType::I8);
            let constant = with_table.then(|| model.i8s(&table));
            model.step(block.step(from, to, 1, constant));
            let mut expected = before.clone();
            for (from, to) in block.moves() {
                let value = input[from];
                expected[to] = if with_table { table[(i32::from(value) + 128) as usize] } else { value };
            }
            let given = model.run_i8(&[&input, &before]);
            assert_eq!(given, expected, "{}, table: {with_table}", block.name);
        }
    }
}

#[test]
fn copies_of_four_byte_elements_move_f32() {
    for block in BLOCKS {
        let (input, before) = (values(12, block.input_elems), values(13, block.output_elems));
        let mut model = Model::default();
        let (small, small_before) = (model.input(input.len()), model.input(before.len()));
        let (from, to) = (model.buffer(4 * input.len()), model.output_f32(before.len()));
        dequantize(&mut model, small, from, 0, 0.37);
        dequantize(&mut model, small_before, to, 0, 0.37);
        model.step(block.step(from, to, 4, None));
        let mut expected: Vec<f32> = before.iter().map(|&x| f32::from(x) * 0.37).collect();
        for (from, to) in block.moves() {
            expected[to] = f32::from(input[from]) * 0.37;
        }
        let given = model.run_everywhere(&[&input, &before]);
        assert_eq!(given, [Values::F32(expected)], "{}", block.name);
    }
}
