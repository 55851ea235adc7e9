//! Random steps of int16.

use edgepack_core::format::plan::{ConvI16, Elems, I16_PANEL, Op, PoolI16, Quant, ResidualI16, Stored};

use super::RandomPlan;

impl RandomPlan {
    pub(super) fn int16_step(&mut self) -> Op {
        match self.rng.between(0, 2) {
            0 => Op::PoolI16(self.pool_i16()),
            _ => Op::ConvI16(self.conv_i16()),
        }
    }

    /// What results become.
    pub(super) fn results(&mut self) -> Stored {
        match self.rng.between(0, 3) {
            0 | 1 => Stored::F32,
            2 => Stored::I8 { multiplier: self.multiplier(), range: self.range() },
            _ => Stored::I16 { multiplier: self.multiplier(), bounds: self.bounds() },
        }
    }

    /// What an operand's elements are.
    pub(super) fn elements(&mut self) -> Elems {
        match self.rng.between(0, 3) {
            0 | 1 => Elems::F32,
            2 => Elems::I8(Quant { scale: self.multiplier(), zero_point: self.rng.int8() }),
            _ => Elems::I16 { scale: self.multiplier() },
        }
    }

    fn bounds(&mut self) -> [i16; 2] {
        self.rng.pick(&[[-32767, 32767], [i16::MIN, i16::MAX], [0, 8191], [0, 8191], [7, 7], [1, 0]])
    }

    fn conv_i16(&mut self) -> ConvI16 {
        let like = self.conv_f32();
        let half = |bytes: u32| bytes / 4 * 2;
        let [_, _, _, in_channels] = like.window.input_dims;
        let [_, _, _, out_channels] = like.window.output_dims;
        let [kernel_h, kernel_w] = like.window.kernel;
        let groups = like.groups.max(1);
        let weights = if groups > 1 && groups == in_channels && groups == out_channels {
            kernel_h.wrapping_mul(kernel_w).wrapping_mul(out_channels)
        } else {
            let panels = groups.wrapping_mul((out_channels / groups).div_ceil(I16_PANEL));
            let pairs = kernel_w.wrapping_mul(in_channels / groups).div_ceil(2);
            panels.wrapping_mul(kernel_h).wrapping_mul(pairs).wrapping_mul(2 * I16_PANEL)
        };
        let weight_bytes = self.rng.pick(&[1, 1, 1, 2, 2, 2, 2, 3]);
        let stored = self.results();
        let input = self.anywhere(half(like.input.bytes), 2);
        let output = self.apart(like.output.bytes / 4 * stored.bytes(), stored.bytes(), &[input]);
        let residual = self.rng.one_in(3).then(|| ResidualI16 {
            span: self.apart(half(like.output.bytes), 2, &[output]),
            scale: self.multiplier(),
        });
        ConvI16 {
            input,
            output,
            window: like.window,
            groups: like.groups,
            weight_bytes,
            weights: self.many_bytes(weights.wrapping_mul(weight_bytes.into())),
            multiplier: self.floats(out_channels.min(1 << 10)),
            bias: self.floats(out_channels.min(1 << 10)),
            residual,
            stored,
        }
    }

    fn pool_i16(&mut self) -> PoolI16 {
        let mut pool = self.pool_f32();
        pool.input = self.anywhere(pool.input.bytes / 4 * 2, 2);
        pool.output = self.apart(pool.output.bytes / 4 * 2, 2, &[pool.input]);
        PoolI16 { pool, multiplier: self.multiplier(), bounds: self.bounds() }
    }
}
