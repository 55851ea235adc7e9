//! How int8 stands for real numbers.

/// `real = (q - zero_point) * scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quant {
    /// Finite and positive.
    pub scale: f32,
    /// In [-128, 127].
    pub zero_point: i32,
}

impl Quant {
    /// The scale and zero point that spread 256 levels over `[min, max]`, which holds 0.
    pub fn over([min, max]: [f32; 2]) -> Self {
        let scale = (max - min) / 255.0;
        // A tensor that is always 0 (or nearly) needs some scale, and any will do.
        if !scale.is_normal() {
            return Self { scale: 1.0, zero_point: 0 };
        }
        let zero_point = (-128.0 - min / scale).round_ties_even() as i32;
        Self { scale, zero_point: zero_point.clamp(-128, 127) }
    }

    /// The same with an even zero point, for which some kernels need fewer instructions: an odd one moves to the
    /// neighbour that costs less of the scale, less than 1 % of it.
    pub fn even_over([min, max]: [f32; 2]) -> Self {
        let quant = Self::over([min, max]);
        if quant.zero_point % 2 == 0 {
            return quant;
        }
        let moved = |zero_point: i32| {
            let (above, below) = (127 - zero_point, zero_point + 128);
            let needed = |end: f32, levels: i32| if end == 0.0 { 0.0 } else { end / levels as f32 };
            Self { scale: needed(max, above).max(needed(-min, below)).max(quant.scale), zero_point }
        };
        // An odd zero point is neither of the ends but the upper one, 127.
        let (lower, upper) = (moved(quant.zero_point - 1), moved(quant.zero_point + 1));
        if quant.zero_point == 127 || lower.scale <= upper.scale { lower } else { upper }
    }

    /// The same over a range that is symmetric around 0, with as many levels on both sides.
    pub fn symmetric_over([min, max]: [f32; 2]) -> Self {
        let scale = max.max(-min) / 127.0;
        Self { scale: if scale.is_normal() { scale } else { 1.0 }, zero_point: 0 }
    }

    /// A scale up to 3 % larger, by which the product of both scales, divided by it, is an odd number of at most
    /// seven bits and a power of two: kernels may then round a product in integers.
    pub fn for_product_of(self, first: Self, second: Self) -> Self {
        let product = first.scale as f64 * second.scale as f64;
        let multiplier = product / self.scale as f64;
        let unit = (multiplier.log2().floor() - 6.0).exp2();
        let odd = match (multiplier / unit).floor() {
            even if even % 2.0 == 0.0 => even - 1.0,
            odd => odd,
        };
        let scale = (product / (odd * unit)) as f32;
        if scale.is_normal() { Self { scale, ..self } } else { self }
    }

    /// The nearest int8 value.
    pub fn quantize(&self, x: f32) -> i8 {
        let q = (x as f64 / self.scale as f64).round_ties_even() + self.zero_point as f64;
        q.clamp(-128.0, 127.0) as i8
    }

    /// Rounds each number to the nearest that an int8 value stands for.
    pub fn round(&self, values: &mut [f32]) {
        // Beside this number, f32 has no fractions: its own rounding of a sum is the one that is wanted, and
        // compilers make vectors of it where a processor has no instruction for that.
        const INTEGERS: f32 = 12_582_912.0;
        let inverse = 1.0 / self.scale;
        let [least, most] = [-128, 127].map(|q| (q - self.zero_point) as f32);
        for x in values {
            let q = (*x * inverse).clamp(least, most);
            *x = ((q + INTEGERS) - INTEGERS) * self.scale;
        }
    }

    /// What an int8 value stands for.
    pub fn dequantize(&self, q: i32) -> f32 {
        (q - self.zero_point) as f32 * self.scale
    }
}
