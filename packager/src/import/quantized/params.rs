//! Scales and zero points as a file gives them.

use crate::graph::{GivenScales, Tensor};
use crate::quant::Quant;

/// `real = (q - zero_point) * scale`, for a whole tensor or for each index along an axis.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::import) struct Params {
    /// One, or one for each index along the axis (or along it and the next); finite and positive.
    pub scales: Vec<f32>,
    /// One for each scale, within `levels`.
    pub zero_points: Vec<i32>,
    /// The axis; negative ones count from the last.
    pub axis: i64,
    /// Least and greatest value of the integer type.
    pub levels: [i32; 2],
}

/// The levels of a bias.
pub(super) const INT32: [i32; 2] = [i32::MIN, i32::MAX];
/// The levels of ONNX's default type.
pub(super) const UINT8: [i32; 2] = [0, 255];

impl Params {
    /// The int8 representation that this is, if it is one of 8 bits with one scale for the whole tensor.
    /// Unsigned levels are int8's, moved by 128.
    pub fn quant(&self) -> Option<Quant> {
        let is_one = self.scales.iter().all(|scale| *scale == self.scales[0])
            && self.zero_points.iter().all(|zero_point| *zero_point == self.zero_points[0]);
        let [least, greatest] = self.levels;
        let has_8_bits = i64::from(greatest) - i64::from(least) == 255;
        (is_one && has_8_bits)
            .then(|| Quant { scale: self.scales[0], zero_point: self.zero_points[0] - least - 128 })
    }

    /// By element of a tensor of `dims`: the index of its scale; `None` where the scales do not fit.
    fn indices(&self, dims: &[usize]) -> Option<(usize, impl Fn(usize) -> usize + use<>)> {
        let count = self.scales.len();
        let axis = match count {
            1 => 0,
            _ if self.axis < 0 => usize::try_from(self.axis + dims.len() as i64).ok()?,
            _ => self.axis as usize,
        };
        let inner = |axes: usize| dims.get(axis + axes..).map_or(1, |inner| inner.iter().product());
        let size = dims.get(axis).copied().unwrap_or(0);
        // Along one axis, or along it and the next.
        let both =
            count != size && Some(count) == dims.get(axis + 1).and_then(|next| size.checked_mul(*next));
        let inner: usize = inner(if both { 2 } else { 1 });
        let fits = count == 1 || size == count || both;
        fits.then_some((axis, move |i: usize| if count == 1 { 0 } else { i / inner.max(1) % count }))
    }

    /// The numbers that integers stand for; `None` where there are not as many scales as the axis is long.
    pub fn dequantized(&self, dims: &[usize], integers: &[i32]) -> Option<Vec<f32>> {
        let (_, of) = self.indices(dims)?;
        let real = |(i, &q): (usize, &i32)| {
            let distance = i64::from(q) - i64::from(self.zero_points[of(i)]);
            distance as f32 * self.scales[of(i)]
        };
        Some(integers.iter().enumerate().map(real).collect())
    }

    /// A constant as the levels leave it, with its scales; `None` where they do not fit its shape. What
    /// has been quantized before stays as it is.
    pub fn constant(&self, tensor: &Tensor) -> Option<Tensor> {
        let (axis, of) = self.indices(&tensor.dims)?;
        let [least, greatest] = self.levels;
        // Biases of 32 bits have more digits than an f32: they are not rounded again.
        if self.levels == INT32 {
            return Some(tensor.clone());
        }
        let round = |(i, &x): (usize, &f32)| {
            let (scale, zero_point) = (self.scales[of(i)], self.zero_points[of(i)]);
            let q = (x / scale).round_ties_even() + zero_point as f32;
            (q.clamp(least as f32, greatest as f32) - zero_point as f32) * scale
        };
        let data = tensor.data.iter().enumerate().map(round).collect();
        let given = (i64::from(greatest) - i64::from(least) <= 255)
            .then(|| GivenScales { axis, scales: self.scales.clone() });
        Some(Tensor { given, ..Tensor::new(tensor.dims.clone(), data) })
    }

    /// The same for a tensor whose axes were permuted; `None` where the permutation is not known.
    pub fn transposed(&self, perm: Option<&[i64]>) -> Option<Self> {
        if self.scales.len() == 1 {
            return Some(self.clone());
        }
        let perm = perm?;
        let axis = if self.axis < 0 { self.axis + perm.len() as i64 } else { self.axis };
        let moved = perm.iter().position(|&from| from == axis)?;
        Some(Self { axis: moved as i64, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsigned_levels_are_int8_moved_by_128_and_others_are_none() {
        let params =
            |zero_point, levels| Params { scales: vec![0.5], zero_points: vec![zero_point], axis: 0, levels };
        assert_eq!(params(3, UINT8).quant(), Some(Quant { scale: 0.5, zero_point: -125 }));
        assert_eq!(params(-3, [-128, 127]).quant(), Some(Quant { scale: 0.5, zero_point: -3 }));
        assert_eq!(params(0, [-32768, 32767]).quant(), None);
        let two = Params { scales: vec![0.5, 0.25], zero_points: vec![0, 0], axis: 0, levels: UINT8 };
        assert_eq!(two.quant(), None);
    }

    #[test]
    fn scales_follow_their_axis() {
        let params = Params {
            scales: vec![1.0, 0.5, 0.25],
            zero_points: vec![0, 1, -1],
            axis: -1,
            levels: [-128, 127],
        };
        let integers = [1, 2, 3, 4, 5, 6];
        let real = params.dequantized(&[2, 3], &integers).unwrap();
        assert_eq!(real, [1.0, 0.5, 1.0, 4.0, 2.0, 1.75]);
        assert_eq!(params.dequantized(&[3, 2], &integers), None);
        let transposed = params.transposed(Some(&[1, 0])).unwrap();
        assert_eq!(transposed.axis, 0);
        assert_eq!(transposed.dequantized(&[3, 1], &[2, 2, 2]), Some(vec![2.0, 0.5, 0.75]));
        // Rounding to levels again changes nothing.
        let tensor = Tensor::new(vec![2, 3], real.clone());
        let again = params.constant(&tensor).unwrap();
        assert_eq!(&*again.data, &real[..]);
        assert_eq!(again.given.map(|given| given.axis), Some(1));
    }

    #[test]
    fn values_beyond_the_levels_saturate() {
        let params = Params { scales: vec![0.5], zero_points: vec![0], axis: 0, levels: [-128, 127] };
        let tensor = Tensor::new(vec![4], vec![0.25, 0.75, 100.0, -100.0]);
        // Halves go to the even level.
        assert_eq!(*params.constant(&tensor).unwrap().data, [0.0, 1.0, 63.5, -64.0]);
    }
}
