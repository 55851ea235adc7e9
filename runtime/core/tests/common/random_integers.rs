//! Random inputs of integers, and random steps on integers.

use edgepack_core::format::plan::{
    Convert, ElemType, Gather, Input, NonMaxSuppression, Op, Operand, Quant, Scatter, TopK,
};

use super::{RandomPlan, elems, shape};

impl RandomPlan {
    pub(super) fn integer_step(&mut self) -> Op {
        match self.rng.between(0, 4) {
            0 => Op::Convert(self.convert()),
            1 => Op::Gather(self.gather()),
            2 => Op::Scatter(self.scatter()),
            3 => Op::TopK(self.top_k()),
            _ => Op::NonMaxSuppression(self.suppression()),
        }
    }

    fn suppression(&mut self) -> NonMaxSuppression {
        let dims @ [batch, classes, count] = [3, 3, 9].map(|most| self.rng.between(1, most));
        let most = self.rng.between(1, count);
        let boxes = self.anywhere(batch * count * 16, 4);
        let scores = self.anywhere(elems(&dims) * 4, 4);
        let output = self.apart(batch * classes * most * 12, 4, &[boxes, scores]);
        NonMaxSuppression {
            boxes,
            scores,
            output,
            dims: self.numbers(dims),
            most,
            iou_threshold: self.rng.pick(&[0.0, 0.5, 1.0]),
            score_threshold: self.rng.pick(&[f32::NEG_INFINITY, 0.0, 0.5]),
            centers: self.rng.one_in(2),
        }
    }

    fn gather(&mut self) -> Gather {
        let [outer, rows, row_bytes, count] = [3, 9, 9, 9].map(|most| self.rng.between(1, most));
        let indices = self.anywhere(4 * count, 4);
        let bytes = outer * rows * row_bytes;
        let (data, place) = match self.rng.one_in(3) {
            true => (Operand::Constant(self.bytes(bytes, 1)), indices),
            false => {
                let span = self.anywhere(bytes, 1);
                (Operand::Arena(span), span)
            }
        };
        let output = self.apart(outer * count * row_bytes, 1, &[indices, place]);
        Gather { data, indices, output, outer, rows, row_bytes }
    }

    fn scatter(&mut self) -> Scatter {
        let [rows, row_bytes, count] = [9, 9, 9].map(|most| self.rng.between(1, most));
        let data = self.anywhere(rows * row_bytes, 1);
        let indices = self.anywhere(4 * count, 4);
        let updates = self.anywhere(count * row_bytes, 1);
        let output = self.apart(rows * row_bytes, 1, &[data, indices, updates]);
        Scatter { data, indices, updates, output, rows, row_bytes }
    }

    fn top_k(&mut self) -> TopK {
        let dims = [3, 9, 3].map(|most| self.rng.between(1, most));
        let dtype = self.rng.pick(&[ElemType::I8, ElemType::F32, ElemType::F32]);
        let k = self.rng.between(1, dims[1]);
        let input = self.anywhere(elems(&dims) * dtype.bytes(), dtype.bytes());
        let output = self.apart(dims[0] * k * dims[2] * 4, 4, &[input]);
        let (largest, last) = (self.rng.one_in(2), self.rng.one_in(3));
        TopK { input, dtype, output, dims: self.numbers(dims), k, largest, last }
    }

    /// An input of integers.
    pub(super) fn integers(
        &mut self,
        dims: &[u32],
        count: u32,
        arena_dims: [u32; 4],
        strides: [u32; 4],
    ) -> Input<'static> {
        let dtype = self.rng.pick(&[ElemType::I32, ElemType::I64, ElemType::Bool]);
        Input {
            name: "",
            dims: shape(dims),
            buffer: self.anywhere(count * dtype.bytes(), dtype.bytes()),
            dtype,
            quant: Quant { scale: 1.0, zero_point: 0 },
            limits: match self.rng.one_in(16) {
                true => None,
                false => Some(self.rng.pick(&[[0, 1], [-300, 5], [i32::MIN, i32::MAX]])),
            },
            arena_dims: self.numbers(arena_dims),
            strides,
            pixels: None,
        }
    }

    /// A conversion of integers.
    fn convert(&mut self) -> Convert {
        let count = self.rng.between(1, 40);
        let types = [ElemType::I32, ElemType::I64, ElemType::Bool, ElemType::F32];
        let integers = if self.rng.one_in(20) { self.rng.pick(&types) } else { self.rng.pick(&types[..3]) };
        let (from, to) =
            if self.rng.one_in(2) { (integers, ElemType::F32) } else { (ElemType::F32, integers) };
        let input = self.anywhere(count * from.bytes(), from.bytes());
        Convert { input, from, output: self.apart(count * to.bytes(), to.bytes(), &[input]), to }
    }
}
