//! What integers choose.

use crate::graph::{TopK, row};

/// Rows along an axis.
pub(super) fn gather(data: &[f32], dims: &[usize], axis: usize, indices: &[f32]) -> Vec<f32> {
    let (rows, inner) = (dims[axis], dims[axis + 1..].iter().product::<usize>());
    let mut result = Vec::with_capacity(data.len() / rows * indices.len());
    for block in data.chunks_exact(rows * inner) {
        for &index in indices {
            result.extend_from_slice(&block[row(index, rows) * inner..][..inner]);
        }
    }
    result
}

/// Rows that replace others.
pub(super) fn scatter(data: &[f32], rows: usize, indices: &[f32], updates: &[f32]) -> Vec<f32> {
    let mut result = data.to_vec();
    let inner = data.len() / rows;
    for (&index, update) in indices.iter().zip(updates.chunks_exact(inner)) {
        result[row(index, rows) * inner..][..inner].copy_from_slice(update);
    }
    result
}

/// Places of the greatest or least, by sorting.
pub(super) fn top_k(of: &TopK, data: &[f32], dims: &[usize]) -> Vec<f32> {
    let (size, inner) = (dims[of.axis], dims[of.axis + 1..].iter().product::<usize>());
    let mut result = vec![0.0; data.len() / size * of.k];
    let sign = if of.largest { -1.0 } else { 1.0 };
    for (o, block) in data.chunks_exact(size * inner).enumerate() {
        for i in 0..inner {
            let key = |&index: &usize| {
                let value = sign * block[index * inner + i];
                (
                    if value.is_nan() { f32::INFINITY } else { value },
                    if of.last { size - index } else { index },
                )
            };
            let mut places: Vec<usize> = (0..size).collect();
            places.sort_by(|a, b| key(a).partial_cmp(&key(b)).unwrap_or(std::cmp::Ordering::Equal));
            for (place, index) in places.into_iter().take(of.k).enumerate() {
                result[(o * of.k + place) * inner + i] = index as f32;
            }
        }
    }
    result
}
