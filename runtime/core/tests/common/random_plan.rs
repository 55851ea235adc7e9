//! Random plans: mostly possible ones, in an arena so small that their tensors lie close, with a
//! wrong number here and there.

use edgepack_core::format::plan::{
    Binary, BinaryOp, Cell, Conv, Copy, ElemType, Fill, Input, LayerNorm, Lookup, MatMul, MatMulGeometry, Op,
    Operand, Output, Pixels, Pool, PoolOp, Quant, Range, Recurrent, Residual, Softmax, SoftmaxInput,
    SoftmaxOutput, Span, Step, Window,
};
use edgepack_core::format::writer::encode_plan;
use edgepack_core::kernels::conv::matmul;
use edgepack_core::mat_mul_shape;

use crate::common::{Aligned, Model, range, scratch_bytes, shape, span, values};

#[path = "random_float.rs"]
mod float;
#[path = "random_int16.rs"]
mod int16;
#[path = "random_integers.rs"]
mod integers;

/// Bytes of the constants: 256 f32 in (0, 1], then int8 that are never -128, then finite numbers of half
/// precision, then more f32 as before, then the programs.
const FLOATS: u32 = 1024;
const BYTES: u32 = 4096;
const HALVES: u32 = 8192;
const MANY_FLOATS: u32 = 16384;

/// Start and bytes of programs among the random instructions behind them: those that a plan has begin with
/// one of these.
const PROGRAMS: [[u32; 2]; 4] = [[0, 8], [0, 16], [0, 40], [0, 72]];

/// splitmix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both included.
    fn between(&mut self, low: u32, high: u32) -> u32 {
        low + (self.next() % u64::from(high - low + 1)) as u32
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.between(1, n) == 1
    }

    fn pick<T: std::marker::Copy>(&mut self, of: &[T]) -> T {
        of[self.between(0, of.len() as u32 - 1) as usize]
    }

    fn int8(&mut self) -> i8 {
        if self.one_in(4) { self.pick(&[-128, 0, 127]) } else { self.next() as i8 }
    }
}

pub struct RandomPlan {
    rng: Rng,
    arena_bytes: u32,
    /// Where the programs begin in the constants.
    programs: u32,
}

/// Distances of a contiguous tensor.
fn contiguous<const N: usize>(dims: [u32; N]) -> [u32; N] {
    let mut strides = [1; N];
    for axis in (0..N - 1).rev() {
        strides[axis] = strides[axis + 1] * dims[axis + 1];
    }
    strides
}

fn reach(dims: &[u32], strides: &[u32]) -> u32 {
    1 + dims.iter().zip(strides).map(|(dim, stride)| (dim - 1) * stride).sum::<u32>()
}

fn elems(dims: &[u32]) -> u32 {
    dims.iter().product()
}

impl RandomPlan {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let arena_bytes = rng.between(300, 5000);
        Self { rng, arena_bytes, programs: FLOATS + BYTES + HALVES + MANY_FLOATS }
    }

    /// A package with right hashes around the plan.
    pub fn package(mut self) -> Aligned {
        let inputs: Vec<_> = (0..self.rng.between(0, 2)).map(|_| self.input()).collect();
        let outputs: Vec<_> = (0..self.rng.between(0, 2)).map(|_| self.output()).collect();
        let steps: Vec<_> = (0..self.rng.pick(&[1, 1, 1, 2, 3])).map(|_| self.step()).collect();
        let mut model = Model { arena_bytes: self.arena_bytes, ..Model::default() };
        model.f32s(&(0..256).map(|i| 1.0 / (1 + i % 61) as f32).collect::<Vec<_>>());
        model.i8s(&values(1, BYTES as usize).iter().map(|&x| x.max(-127)).collect::<Vec<_>>());
        let half = |i: u32| (i * 40_503 % 0x7c00) as u16 | (i.is_multiple_of(3) as u16) << 15;
        model.u16s(&(0..HALVES / 2).map(half).collect::<Vec<_>>());
        let many = (0..MANY_FLOATS / 4).map(|i| if i % 3 == 0 { -0.25 } else { 1.0 / (1 + i % 61) as f32 });
        model.f32s(&many.collect::<Vec<f32>>());
        let mut program = self.program();
        program.resize(72, 0);
        model.constant(&program);
        assert_eq!(model.weights.len() as u32, self.programs + 72);
        let mut plan = encode_plan(model.head(), &inputs, &outputs, &steps);
        if self.rng.one_in(6) {
            let at = self.rng.between(0, plan.len() as u32 - 1) as usize;
            plan[at] ^= 1 << self.rng.between(0, 7);
        }
        model.package_of(plan)
    }

    /// A number of the plan; now and then a wrong one.
    fn number(&mut self, right: u32) -> u32 {
        if !self.rng.one_in(250) {
            return right;
        }
        let near = [right.wrapping_add(1), right.wrapping_sub(1), right.wrapping_mul(2)];
        let far = [0, 1, 2, 1 << 16, 1 << 24, 1 << 28, 1 << 31, u32::MAX - 3, u32::MAX];
        if self.rng.one_in(2) { self.rng.pick(&near) } else { self.rng.pick(&far) }
    }

    fn numbers<const N: usize>(&mut self, right: [u32; N]) -> [u32; N] {
        right.map(|number| self.number(number))
    }

    /// Somewhere in the arena.
    fn anywhere(&mut self, bytes: u32, align: u32) -> Span {
        let offset = self.rng.between(0, self.arena_bytes.saturating_sub(bytes) / align) * align;
        let [offset, bytes] = self.numbers([offset, bytes]);
        span(offset, bytes)
    }

    /// Somewhere in the arena; as a rule apart from `others`.
    fn apart(&mut self, bytes: u32, align: u32, others: &[Span]) -> Span {
        let mut found = self.anywhere(bytes, align);
        for _ in 0..16 {
            let [start, end] = [found.offset, found.offset.saturating_add(found.bytes)];
            let overlaps =
                |other: &Span| start < other.offset.saturating_add(other.bytes) && other.offset < end;
            if !others.iter().any(overlaps) || self.rng.one_in(40) {
                break;
            }
            found = self.anywhere(bytes, align);
        }
        found
    }

    fn floats(&mut self, count: u32) -> Span {
        let offset = self.rng.between(0, (FLOATS / 4).saturating_sub(count)) * 4;
        let [offset, bytes] = self.numbers([offset, count * 4]);
        span(offset, bytes)
    }

    fn bytes(&mut self, count: u32, align: u32) -> Span {
        let offset = FLOATS + self.rng.between(0, BYTES.saturating_sub(count) / align) * align;
        let [offset, bytes] = self.numbers([offset, count]);
        span(offset, bytes)
    }

    fn range(&mut self) -> Range {
        let (a, b) = (self.rng.int8(), self.rng.int8());
        let (min, max) = if self.rng.one_in(100) { (a, b) } else { (a.min(b), a.max(b)) };
        range(self.rng.int8(), min, max)
    }

    fn multiplier(&mut self) -> f32 {
        if self.rng.one_in(100) {
            return self.rng.pick(&[0.0, -1.0, f32::NAN, f32::INFINITY]);
        }
        self.rng.pick(&[1.0, 0.3, 0.004, 256.0, 1e-42, f32::MAX])
    }

    fn input(&mut self) -> Input<'static> {
        let channels = self.rng.between(1, 6);
        let arena_dims = [1, self.rng.between(1, 4), self.rng.between(1, 5), channels];
        let count = elems(&arena_dims);
        let [_, h, w, c] = arena_dims;
        let own = contiguous(arena_dims);
        let planar = [count, w, 1, h * w];
        let strides = match self.rng.between(0, 3) {
            0 => own,
            1 => planar,
            // Several elements from one place: as far as the tensor goes, but not one to one.
            2 if c > 1 && (count - 1).is_multiple_of(c - 1) => [0, 0, 0, (count - 1) / (c - 1)],
            _ => [7, w, 1, h * w],
        };
        let (dims, strides) = (self.numbers([1, c, h, w]), self.numbers(strides));
        let tables = self.bytes(channels * 256, 1);
        let pixel_strides = self.numbers(own);
        if self.rng.one_in(8) {
            return self.integers(&dims, count, arena_dims, strides);
        }
        let is_f32 = self.rng.one_in(4);
        let (dtype, elem_bytes) = if is_f32 { (ElemType::F32, 4) } else { (ElemType::I8, 1) };
        let tables = if is_f32 && channels == 1 { self.floats(256) } else { tables };
        let pixels =
            Pixels { tables, reverse_channels: self.rng.one_in(2), strides: pixel_strides, from_image: "" };
        Input {
            name: "",
            dims: shape(&dims),
            buffer: self.anywhere(count * elem_bytes, elem_bytes),
            dtype,
            quant: Quant { scale: self.multiplier(), zero_point: self.rng.int8() },
            limits: None,
            arena_dims: self.numbers(arena_dims),
            strides,
            pixels: (self.rng.one_in(2) && (!is_f32 || channels == 1)).then_some(pixels),
        }
    }

    fn output(&mut self) -> Output<'static> {
        let dims = [self.rng.between(1, 9), self.rng.between(1, 9)];
        use ElemType::{Bool, F32, I8, I32, I64};
        let dtype = self.rng.pick(&[I8, I8, I8, F32, F32, F32, I32, I64, Bool]);
        let quant = (dtype == I8).then(|| Quant { scale: 1.0, zero_point: self.rng.int8() });
        let buffer = self.anywhere(elems(&dims) * dtype.bytes(), dtype.bytes());
        Output { name: "", dims: shape(&self.numbers(dims)), buffer, dtype, quant, exact: true }
    }

    fn step(&mut self) -> Step<'static> {
        let op = match self.rng.between(0, 20) {
            0..=2 => Op::Conv(self.conv()),
            3 | 4 => Op::Binary(self.binary()),
            5 => Op::Lookup(self.lookup()),
            6 => Op::Pool(self.pool()),
            7 => Op::Softmax(self.softmax()),
            8 => {
                let bytes = self.rng.between(0, 200);
                Op::Fill(Fill { output: self.anywhere(bytes, 1), value: self.rng.int8() })
            }
            9 => Op::MatMul(self.mat_mul()),
            10 => Op::LayerNorm(self.layer_norm()),
            11 => Op::Recurrent(self.recurrent()),
            12 => Op::Copy(self.copy()),
            18 | 19 => self.integer_step(),
            20 => self.int16_step(),
            _ => self.float_step(),
        };
        let scratch = match &op {
            Op::Conv(conv) => self.scratch(conv),
            Op::MatMul(product) => self.scratch_of_product(product),
            Op::MatMulF32(product) if product.geometry.sizes[1] <= 64 => {
                self.apart(product.geometry.sizes[1] * 64, 64, &[product.lhs, product.rhs, product.output])
            }
            Op::Recurrent(recurrent) => self.recurrent_scratch(recurrent),
            Op::ConvF32(_) | Op::RecurrentF32(_) => self.float_scratch(&op),
            Op::NonMaxSuppression(op) => self.apart(64, 64, &[op.boxes, op.scores, op.output]),
            _ if self.rng.one_in(4) => self.anywhere(64, 64),
            _ => span(0, 0),
        };
        Step { name: "", scratch, op }
    }

    fn scratch(&mut self, conv: &Conv) -> Span {
        // A convolution of wrong numbers is refused, whatever its scratch memory.
        let numbers =
            conv.window.input_dims.iter().chain(&conv.window.output_dims).chain(&conv.window.kernel);
        if numbers.chain(&conv.window.pad).any(|&number| number > 64) || conv.groups == 0 {
            return span(0, 0);
        }
        match scratch_bytes(&Op::Conv(*conv)) as u32 {
            0 => span(0, 0),
            needed => {
                let added = conv.residual.map_or(conv.output, |residual| residual.span);
                self.apart(needed, 64, &[conv.input, conv.output, added])
            }
        }
    }

    fn scratch_of_product(&mut self, product: &MatMul) -> Span {
        if product.geometry.sizes.iter().any(|&size| size > 64) || product.geometry.sizes.contains(&0) {
            return span(0, 0);
        }
        let needed = matmul::scratch_bytes(&mat_mul_shape(&product.geometry)) as u32;
        self.apart(needed, 64, &[product.lhs, product.rhs, product.output])
    }

    fn mat_mul(&mut self) -> MatMul {
        let batch = [self.rng.between(1, 3), self.rng.between(1, 3)];
        let sizes =
            [self.rng.between(1, 7), self.rng.pick(&[1, 3, 4, 8, 12, 16, 17]), self.rng.between(1, 18)];
        let ([b0, b1], [m, k, n]) = (batch, sizes);
        let lhs_strides =
            self.rng.pick(&[[b1 * m * k, m * k, k], [b1 * m * k, k, b1 * k], [0, m * k, k], [1, 2, 3]]);
        let own = [b1 * k * n, k * n, n, 1];
        let rhs_strides = self.rng.pick(&[
            own,
            [b1 * k * n, k * n, 1, k],
            [b1 * k * n, n, b1 * n, 1],
            [0; 4],
            [0, 1, 2, 3],
        ]);
        let output_strides = self.rng.pick(&[
            [b1 * m * n, m * n, n],
            [b1 * m * n, n, b1 * n],
            [m * n, b0 * m * n, n],
            [n, b0 * n, b0 * b1 * n],
        ]);
        let range = self.rng.one_in(2).then(|| self.range());
        let elem_bytes = if range.is_some() { 1 } else { 4 };
        let [x, y, row] = lhs_strides;
        let lhs = self.anywhere(reach(&[b0, b1, m, k], &[x, y, row, 1]), 1);
        let rhs =
            if self.rng.one_in(8) { lhs } else { self.anywhere(reach(&[b0, b1, k, n], &rhs_strides), 1) };
        MatMul {
            lhs,
            rhs,
            output: self.apart(b0 * b1 * m * n * elem_bytes, elem_bytes, &[lhs, rhs]),
            geometry: MatMulGeometry {
                batch: self.numbers(batch),
                sizes: self.numbers(sizes),
                lhs_strides: self.numbers(lhs_strides),
                rhs_strides: self.numbers(rhs_strides),
                output_strides: self.numbers(output_strides),
            },
            lhs_zero_point: self.rng.int8(),
            multiplier: self.multiplier(),
            range,
        }
    }

    fn layer_norm(&mut self) -> LayerNorm {
        let channels = self.rng.between(1, 70);
        let elems = channels * self.rng.between(1, 6);
        let input = self.anywhere(elems, 1);
        LayerNorm {
            input,
            output: self.apart(elems, 1, &[input]),
            channels: self.number(channels),
            gamma: self.floats(channels),
            beta: self.floats(channels),
            epsilon: self.multiplier(),
            range: self.range(),
        }
    }

    /// One axis of a window: input, output, kernel, stride, dilation, and padding on both sides.
    fn axis(&mut self) -> [u32; 7] {
        let [input, kernel] = [self.rng.between(1, 7), self.rng.pick(&[1, 2, 3, 3, 5])];
        let [stride, dilation] = [self.rng.pick(&[1, 1, 2, 3]), self.rng.pick(&[1, 1, 1, 2, 4])];
        let before = self.rng.between(0, ((kernel - 1) * dilation).min(4));
        // Windows may begin anywhere in the padded input, and end beyond it.
        let output = self.rng.between(1, (before + input - 1) / stride + 1);
        let after = self.rng.between(0, 3);
        self.numbers([input, output, kernel, stride, dilation, before, after])
    }

    fn conv(&mut self) -> Conv {
        let [vertical, horizontal] = [self.axis(), self.axis()];
        let (in_channels, out_channels, groups) = match self.rng.between(0, 3) {
            0 => {
                let channels = self.rng.pick(&[2, 3, 16, 17, 33]);
                (channels, channels, channels)
            }
            1 => {
                let groups = self.rng.between(2, 3);
                (groups * self.rng.between(1, 4), groups * self.rng.between(1, 5), groups)
            }
            _ => (self.rng.pick(&[1, 2, 3, 4, 8, 16]), self.rng.pick(&[1, 3, 8, 10, 17]), 1),
        };
        let batch = self.rng.pick(&[1, 1, 1, 2]);
        let input_dims = [batch, vertical[0], horizontal[0], self.number(in_channels)];
        let output_dims = [batch, vertical[1], horizontal[1], self.number(out_channels)];
        let range = self.rng.one_in(2).then(|| self.range());
        let elem_bytes = if range.is_some() { 1 } else { 4 };
        let product = |dims: &[u32]| dims.iter().fold(1u32, |product, &dim| product.wrapping_mul(dim));
        let input = self.anywhere(product(&input_dims), 1);
        let output = self.apart(product(&output_dims).wrapping_mul(elem_bytes), elem_bytes, &[input]);
        let row = product(&[vertical[2], horizontal[2], in_channels / groups]);
        let is_depthwise = groups > 1 && in_channels == out_channels && groups == out_channels;
        let has_residual = range.is_some() && !is_depthwise && self.rng.one_in(2);
        let residual = has_residual.then(|| {
            let span = match self.rng.between(0, 2) {
                0 => output,
                _ => self.apart(output.bytes, 1, &[output]),
            };
            let multiplier = self.rng.pick(&[0.5, 1.0, 0.75, 65_536.0, 1.0 / 65_536.0, 3.4375]);
            // Sometimes of too many bits.
            let wrong = if self.rng.one_in(40) { 1.000_001 } else { 1.0 };
            Residual { span, multiplier: multiplier * wrong }
        });
        Conv {
            input,
            output,
            window: Window {
                input_dims,
                output_dims,
                kernel: [vertical[2], horizontal[2]],
                stride: [vertical[3], horizontal[3]],
                dilation: [vertical[4], horizontal[4]],
                pad: [vertical[5], horizontal[5]],
            },
            groups: self.number(groups),
            input_zero_point: self.rng.int8(),
            weights: self.bytes(row.wrapping_mul(out_channels), 1),
            bias: self.bytes(out_channels * 4, 4),
            multiplier: self.floats(out_channels),
            range,
            residual,
            same_weights_as: None,
        }
    }

    fn pool(&mut self) -> Pool {
        let [vertical, horizontal] = [self.axis(), self.axis()];
        let channels = self.rng.pick(&[1, 3, 16, 65]);
        let input_dims = [1, vertical[0], horizontal[0], channels];
        let output_dims = [1, vertical[1], horizontal[1], channels];
        let product = |dims: &[u32]| dims.iter().fold(1u32, |product, &dim| product.wrapping_mul(dim));
        let input = self.anywhere(product(&input_dims), 1);
        let op = if self.rng.one_in(2) {
            PoolOp::Max
        } else {
            PoolOp::Average {
                input_zero_point: self.rng.int8(),
                multiplier: self.multiplier(),
                count_include_pad: self.rng.one_in(2),
                range: self.range(),
            }
        };
        Pool {
            op,
            input,
            output: self.apart(product(&output_dims), 1, &[input]),
            window: Window {
                input_dims,
                output_dims,
                kernel: [vertical[2], horizontal[2]],
                stride: [vertical[3], horizontal[3]],
                dilation: [vertical[4], horizontal[4]],
                pad: [vertical[5], horizontal[5]],
            },
            pad_after: [vertical[6], horizontal[6]],
        }
    }

    fn binary(&mut self) -> Binary {
        let most = self.rng.pick(&[[5, 5, 5, 5], [1, 2, 3, 150]]);
        let dims = most.map(|most| self.rng.between(1, most));
        let own = contiguous(dims);
        let op = if self.rng.one_in(2) {
            BinaryOp::Mul { multiplier: self.multiplier() }
        } else {
            BinaryOp::Add { lhs_multiplier: self.multiplier(), rhs_multiplier: -self.multiplier() }
        };
        let output = self.anywhere(elems(&dims), 1);
        let mut sides = [(); 2].map(|()| {
            let strides = match self.rng.between(0, 3) {
                0 => own,
                1 => own.map(|stride| if self.rng.one_in(2) { 0 } else { stride }),
                2 => own.map(|_| self.rng.between(0, 9)),
                _ => [0, 0, 0, self.rng.between(0, 2)],
            };
            let bytes = reach(&dims, &strides) + self.rng.pick(&[0, 0, 1, 30]);
            let operand = if self.rng.one_in(3) {
                Operand::Constant(self.bytes(bytes, 1))
            } else {
                Operand::Arena(self.apart(bytes, 1, &[output]))
            };
            (operand, self.numbers(strides))
        });
        if self.rng.one_in(4) {
            sides[0] = (Operand::Arena(output), own);
        }
        if self.rng.one_in(8) {
            sides[1] = sides[0];
        }
        Binary {
            op,
            lhs: sides[0].0,
            rhs: sides[1].0,
            output,
            lhs_zero_point: self.rng.int8(),
            rhs_zero_point: self.rng.int8(),
            range: self.range(),
            dims: self.numbers(dims),
            lhs_strides: sides[0].1,
            rhs_strides: sides[1].1,
        }
    }

    fn lookup(&mut self) -> Lookup {
        let (elems, to_f32) = (self.rng.between(0, 300), self.rng.one_in(2));
        let input = self.anywhere(elems, 1);
        let (output, table) = if to_f32 {
            (self.apart(4 * elems, 4, &[input]), self.floats(256))
        } else if self.rng.one_in(3) {
            (input, self.bytes(256, 1))
        } else {
            (self.apart(elems, 1, &[input]), self.bytes(256, 1))
        };
        Lookup { input, output, table, to_f32 }
    }

    fn softmax(&mut self) -> Softmax {
        let channels = self.rng.between(1, 20);
        let elems = channels * self.rng.between(0, 8);
        let (input, read) = if self.rng.one_in(2) {
            let input = self.anywhere(elems, 1);
            (SoftmaxInput::I8 { input, table: self.bytes(512, 2) }, input)
        } else {
            let input = self.anywhere(4 * elems, 4);
            (SoftmaxInput::F32(input), input)
        };
        let output = if self.rng.one_in(2) {
            let output = self.apart(elems, 1, &[read]);
            SoftmaxOutput::I8 { output, multiplier: self.multiplier(), range: self.range() }
        } else {
            SoftmaxOutput::F32(self.apart(4 * elems, 4, &[read]))
        };
        Softmax { input, output, channels: self.number(channels) }
    }

    fn recurrent(&mut self) -> Recurrent {
        let cell = self.rng.pick(&[Cell::Lstm, Cell::Gru]);
        let hidden = self.rng.pick(&[1, 2, 3, 5, 8, 16, 17]);
        let [steps, batch] = [self.rng.between(1, 4), self.rng.pick(&[1, 1, 1, 2])];
        let (outputs, states) = (cell.gates() * hidden, batch * hidden);
        let input = self.anywhere(4 * steps * batch * outputs, 4);
        let output = self.apart(steps * states, 1, &[input]);
        Recurrent {
            cell,
            input,
            output,
            state: self.apart(4 * states, 4, &[input, output]),
            steps: self.number(steps),
            batch: self.number(batch),
            hidden: self.number(hidden),
            reverse: self.rng.one_in(2),
            weights: self.bytes(outputs * hidden, 1),
            bias: self.bytes(outputs * 4, 4),
            multiplier: self.floats(outputs),
            initial_hidden: self.bytes(states, 1),
            initial_state: self.floats(states),
            hidden_multiplier: self.multiplier(),
            range: self.range(),
        }
    }

    fn recurrent_scratch(&mut self, op: &Recurrent) -> Span {
        // As a convolution's.
        if op.hidden == 0 || op.hidden > 64 || op.batch == 0 || op.batch > 64 {
            return span(0, 0);
        }
        let needed = scratch_bytes(&Op::Recurrent(*op)) as u32;
        self.apart(needed, 64, &[op.input, op.output, op.state])
    }

    fn copy(&mut self) -> Copy {
        let dims = [1; 6].map(|_: u32| self.rng.between(1, 3));
        let elem_bytes = self.rng.pick(&[1, 1, 4]);
        let mut sides = [(); 2].map(|()| {
            let own = contiguous(dims);
            let strides = match self.rng.between(0, 2) {
                0 => own,
                1 => own.map(|stride| if self.rng.one_in(3) { 0 } else { stride }),
                _ => own.map(|_| self.rng.between(0, 20)),
            };
            let start = self.rng.pick(&[0, 0, 1, 17]);
            let bytes = (start + reach(&dims, &strides) + self.rng.pick(&[0, 0, 5])) * elem_bytes;
            (span(0, bytes), self.number(start), self.numbers(strides))
        });
        sides[0].0 = self.anywhere(sides[0].0.bytes, elem_bytes);
        sides[1].0 = self.apart(sides[1].0.bytes, elem_bytes, &[sides[0].0]);
        Copy {
            input: sides[0].0,
            output: sides[1].0,
            elem_bytes: elem_bytes as u8,
            dims: self.numbers(dims),
            input_start: sides[0].1,
            input_strides: sides[0].2,
            output_start: sides[1].1,
            output_strides: sides[1].2,
            table: (elem_bytes == 1 && self.rng.one_in(2)).then(|| self.bytes(256, 1)),
        }
    }
}
