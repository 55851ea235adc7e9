//! Random steps in f32.

use edgepack_core::format::plan::{
    ConvF32, Elementwise, F32_PANEL, Function, Instruction, LayerNormF32, MatMulF32, Op, Operand, PoolF32,
    PoolF32Op, QuantizeRows, Recurrent, RecurrentF32, RecurrentProduct, RescaleRows, Source, Span,
    WeightFormat, Window,
};

use super::{PROGRAMS, RandomPlan, contiguous, elems, reach, span};

impl RandomPlan {
    pub(super) fn float_step(&mut self) -> Op {
        match self.rng.between(0, 10) {
            0 | 1 => Op::Elementwise(self.elementwise()),
            2 | 3 => Op::ConvF32(self.conv_f32()),
            4 => Op::PoolF32(self.pool_f32()),
            5 => Op::MatMulF32(self.mat_mul_f32()),
            6 => Op::LayerNormF32(self.layer_norm_f32()),
            7 => Op::QuantizeRows(self.quantize_rows()),
            8 => Op::RescaleRows(self.rescale_rows()),
            _ => Op::RecurrentF32(self.recurrent_f32()),
        }
    }

    /// As much as the step needs, or nearly.
    pub(super) fn float_scratch(&mut self, op: &Op) -> Span {
        let tensors = match op {
            Op::ConvF32(op) if op.groups != 0 => [op.input, op.output, op.output],
            Op::RecurrentF32(op) => [op.input, op.output, op.state],
            _ => return span(0, 0),
        };
        let dims = match op {
            Op::ConvF32(op) => {
                let of = &op.window;
                [of.input_dims[3], of.output_dims[3], of.kernel[0], of.kernel[1]]
            }
            Op::RecurrentF32(op) => [op.hidden, op.batch, op.steps, 1],
            _ => [1; 4],
        };
        if dims.iter().any(|&dim| dim == 0 || dim > 64) {
            return span(0, 0);
        }
        let needed = super::scratch_bytes(op) as u32 + self.rng.pick(&[0, 0, 1, 7]);
        self.apart(needed, 64, &tensors)
    }

    fn quantize_rows(&mut self) -> QuantizeRows {
        let [channels, rows] = [self.rng.between(1, 40), self.rng.between(1, 6)];
        let input = self.anywhere(4 * channels * rows, 4);
        let output = self.apart(channels * rows, 1, &[input]);
        QuantizeRows {
            input,
            output,
            scales: self.apart(4 * rows, 4, &[input, output]),
            channels: self.number(channels),
            zero_point: self.rng.pick(&[0, 0, 0, -128, -3, 5]),
        }
    }

    fn rescale_rows(&mut self) -> RescaleRows {
        let [channels, scales, rows] =
            [self.rng.between(1, 40), self.rng.between(1, 5), self.rng.between(1, 4)];
        let tensor = self.anywhere(4 * channels * scales * rows, 4);
        RescaleRows {
            tensor,
            scales: self.apart(4 * scales, 4, &[tensor]),
            bias: self.floats(channels),
            bounds: self.rng.pick(&[[f32::NEG_INFINITY, f32::INFINITY], [0.0, 6.0], [1.0, 0.0]]),
        }
    }

    fn recurrent_f32(&mut self) -> RecurrentF32 {
        let Recurrent { cell, input, state, steps, batch, hidden, reverse, .. } = self.recurrent();
        let small = |size: u32| size.clamp(1, 17);
        let outputs = cell.gates() * small(hidden);
        let states = small(batch) * small(hidden);
        let (weights, product) = match self.rng.between(0, 3) {
            0 => (
                self.many_floats(outputs.div_ceil(16) * 16 * small(hidden)),
                RecurrentProduct::F32(WeightFormat::F32),
            ),
            1 => {
                let (weights, format) = self.stored(outputs.div_ceil(16) * 16 * small(hidden), outputs);
                (weights, RecurrentProduct::F32(format))
            }
            _ => {
                let sums = self.bytes(4 * outputs, 4);
                let multiplier = self.floats(outputs);
                (self.bytes(outputs * small(hidden), 1), RecurrentProduct::Dynamic { sums, multiplier })
            }
        };
        RecurrentF32 {
            cell,
            input,
            output: self.apart(4 * small(steps) * states, 4, &[input, state]),
            state,
            steps,
            batch,
            hidden,
            reverse,
            weights,
            product,
            bias: self.floats(outputs),
            initial_hidden: self.floats(states),
            initial_state: self.floats(states),
        }
    }

    /// Weights of fewer bytes, of so many output channels.
    fn stored(&mut self, elems: u32, outputs: u32) -> (Span, WeightFormat) {
        if self.rng.one_in(2) {
            let bytes = elems.wrapping_mul(2);
            let start = self.rng.between(0, super::HALVES.saturating_sub(bytes) / 2) * 2;
            let [offset, bytes] = self.numbers([super::FLOATS + super::BYTES + start, bytes]);
            return (span(offset, bytes), WeightFormat::F16);
        }
        let scales = self.floats(outputs);
        (self.bytes(elems, 1), WeightFormat::I8 { scales })
    }

    /// Programs of random instructions: most read what was not written, and are refused.
    pub(super) fn program(&mut self) -> Vec<u8> {
        let mut bytes = vec![];
        let count = self.rng.pick(&[1, 2, 5, 9]);
        for index in 0..count {
            // The first ones load what the others read.
            let code = if index < 2 {
                self.rng.between(0, 1)
            } else {
                self.rng.between(0, Function::ALL.len() as u32)
            } as u8;
            let register = |plan: &mut Self| plan.rng.pick(&[0_u8, 0, 0, 0, 1, 7]);
            let (to, a) = (if index == 0 { 0 } else { register(self) }, register(self));
            let b = if self.rng.one_in(2) { Instruction::VALUE } else { register(self) };
            let a = if code < 2 { self.rng.pick(&[0, 0, 0, 1, 2]) } else { a };
            bytes.extend([code, to, a, b]);
            bytes.extend(self.rng.pick(&[0.5_f32, -1.0, 3.0, 0.0, f32::NAN, f32::INFINITY]).to_le_bytes());
        }
        bytes
    }

    fn elementwise(&mut self) -> Elementwise {
        let most = self.rng.pick(&[[5, 5, 5, 5], [1, 2, 3, 150]]);
        let dims = most.map(|most| self.rng.between(1, most));
        let own = contiguous(dims);
        let stored = self.results();
        let elem_bytes = stored.bytes();
        let output = self.anywhere(elems(&dims) * elem_bytes, elem_bytes);
        let sources = [(); 3].map(|()| {
            if self.rng.one_in(4) {
                return None;
            }
            let strides = match self.rng.between(0, 2) {
                0 => own,
                1 => own.map(|stride| if self.rng.one_in(2) { 0 } else { stride }),
                _ => own.map(|_| self.rng.between(0, 9)),
            };
            let elems = self.elements();
            let elem_bytes = elems.bytes();
            let bytes = reach(&dims, &strides) * elem_bytes;
            let operand = match elem_bytes {
                1 | 2 if self.rng.one_in(3) => Operand::Constant(self.bytes(bytes, elem_bytes)),
                4 if bytes < 1024 && self.rng.one_in(2) => Operand::Constant(self.floats(bytes / 4)),
                _ => Operand::Arena(self.apart(bytes, elem_bytes, &[output])),
            };
            Some(Source { operand, elems, strides: self.numbers(strides) })
        });
        let [start, bytes] = PROGRAMS[self.rng.between(0, PROGRAMS.len() as u32 - 1) as usize];
        let [offset, bytes] = self.numbers([self.programs + start, bytes]);
        Elementwise { sources, output, stored, dims: self.numbers(dims), program: span(offset, bytes) }
    }

    pub(super) fn conv_f32(&mut self) -> ConvF32 {
        let [vertical, horizontal] = [self.axis(), self.axis()];
        let (in_channels, out_channels, groups) = match self.rng.between(0, 3) {
            0 => {
                let channels = self.rng.pick(&[2, 3, 16, 17]);
                (channels, channels, channels)
            }
            1 => (2 * self.rng.between(1, 2), 2 * self.rng.between(1, 3), 2),
            _ => (self.rng.pick(&[1, 2, 3]), self.rng.pick(&[1, 3, 8, 16]), 1),
        };
        let batch = self.rng.pick(&[1, 1, 2]);
        let input_dims = [batch, vertical[0], horizontal[0], self.number(in_channels)];
        let output_dims = [batch, vertical[1], horizontal[1], self.number(out_channels)];
        let product = |dims: &[u32]| dims.iter().fold(1u32, |product, &dim| product.wrapping_mul(dim));
        let input = self.anywhere(product(&input_dims).wrapping_mul(4), 4);
        let output = self.apart(product(&output_dims).wrapping_mul(4), 4, &[input]);
        let terms = product(&[vertical[2], horizontal[2], in_channels / groups]);
        let weights = if groups > 1 && groups == in_channels && groups == out_channels {
            terms.wrapping_mul(out_channels)
        } else {
            terms.wrapping_mul(groups * (out_channels / groups).div_ceil(F32_PANEL) * F32_PANEL)
        };
        let (stored, format) = match self.rng.one_in(2) {
            true => (self.many_floats(weights), WeightFormat::F32),
            false => self.stored(weights, out_channels),
        };
        let bounds =
            self.rng.pick(&[[f32::NEG_INFINITY, f32::INFINITY], [0.0, 6.0], [1.0, 0.0], [f32::NAN; 2]]);
        ConvF32 {
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
            weights: stored,
            format,
            bias: self.floats(out_channels),
            bounds,
        }
    }

    /// Of the floats behind the bytes.
    fn many_floats(&mut self, count: u32) -> Span {
        self.many_bytes(count.wrapping_mul(4))
    }

    /// Their bytes.
    pub(super) fn many_bytes(&mut self, count: u32) -> Span {
        let offset = self.programs - super::MANY_FLOATS;
        let [offset, bytes] = self.numbers([offset, count]);
        span(offset, bytes)
    }

    pub(super) fn pool_f32(&mut self) -> PoolF32 {
        let [vertical, horizontal] = [self.axis(), self.axis()];
        let channels = self.rng.pick(&[1, 3, 16, 17]);
        let input_dims = [1, vertical[0], horizontal[0], channels];
        let output_dims = [1, vertical[1], horizontal[1], channels];
        let product = |dims: &[u32]| dims.iter().fold(4u32, |product, &dim| product.wrapping_mul(dim));
        let input = self.anywhere(product(&input_dims), 4);
        let average = |count_include_pad| PoolF32Op::Average { count_include_pad };
        PoolF32 {
            op: self.rng.pick(&[
                PoolF32Op::Max,
                PoolF32Op::Min,
                PoolF32Op::Sum,
                average(true),
                average(false),
            ]),
            input,
            output: self.apart(product(&output_dims), 4, &[input]),
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

    fn mat_mul_f32(&mut self) -> MatMulF32 {
        let product = self.mat_mul();
        let [b0, b1] = product.geometry.batch;
        let [m, _, n] = product.geometry.sizes;
        let four = |bytes: u32| bytes.wrapping_mul(4);
        let lhs = self.anywhere(four(product.lhs.bytes), 4);
        let rhs = self.anywhere(four(product.rhs.bytes), 4);
        let output = four(b0.wrapping_mul(b1).wrapping_mul(m).wrapping_mul(n));
        let output = self.apart(output, 4, &[lhs, rhs]);
        MatMulF32 { lhs, rhs, output, geometry: product.geometry }
    }

    fn layer_norm_f32(&mut self) -> LayerNormF32 {
        let channels = self.rng.between(1, 70);
        let bytes = channels * self.rng.between(1, 6) * 4;
        let input = self.anywhere(bytes, 4);
        LayerNormF32 {
            input,
            output: self.apart(bytes, 4, &[input]),
            channels: self.number(channels),
            gamma: self.floats(channels),
            beta: self.floats(channels),
            epsilon: self.rng.pick(&[0.0, 1e-5, 1.0, -1.0, f32::NAN]),
        }
    }
}
