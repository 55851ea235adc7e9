//! Random inputs of integers, and random steps on integers.

use edgepack_core::format::plan::{Convert, ElemType, Input, Quant};

use super::{RandomPlan, shape};

impl RandomPlan {
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
    pub(super) fn convert(&mut self) -> Convert {
        let count = self.rng.between(1, 40);
        let types = [ElemType::I32, ElemType::I64, ElemType::Bool, ElemType::F32];
        let integers = if self.rng.one_in(20) { self.rng.pick(&types) } else { self.rng.pick(&types[..3]) };
        let (from, to) =
            if self.rng.one_in(2) { (integers, ElemType::F32) } else { (ElemType::F32, integers) };
        let input = self.anywhere(count * from.bytes(), from.bytes());
        Convert { input, from, output: self.apart(count * to.bytes(), to.bytes(), &[input]), to }
    }
}
