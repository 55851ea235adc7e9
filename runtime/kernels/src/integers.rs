//! Integers: conversions to and from the f32 numbers that stand for them inside a plan, and what indices are
//! for. Portable and not vectorised: a model converts its inputs and outputs, which are few; rows are copied
//! by `memcpy`; and a selection reads each value k times, where k is small.

use crate::parts::{at, copy_all, stretch, stretch_mut};

/// The type of integers at the border of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integer {
    /// 32 bits.
    I32,
    /// 64 bits.
    I64,
    /// A byte, 0 or 1.
    Bool,
}

impl Integer {
    /// Bytes of one.
    pub const fn bytes(self) -> usize {
        match self {
            Self::I32 => 4,
            Self::I64 => 8,
            Self::Bool => 1,
        }
    }

    /// The first of `bytes`, which are little-endian.
    pub fn read(self, bytes: &[u8]) -> i64 {
        match self {
            Self::I32 => bytes.first_chunk().map_or(0, |&bytes| i32::from_le_bytes(bytes).into()),
            Self::I64 => bytes.first_chunk().map_or(0, |&bytes| i64::from_le_bytes(bytes)),
            Self::Bool => bytes.first().map_or(0, |&byte| i64::from(byte != 0)),
        }
    }

    /// Writes an integer, cut to the type's range; a truth value is 1 but for 0.
    pub fn write(self, value: i64, bytes: &mut [u8]) {
        let value = match self {
            Self::I32 => value.clamp(i32::MIN.into(), i32::MAX.into()),
            Self::I64 => value,
            Self::Bool => (value != 0).into(),
        };
        bytes.iter_mut().zip(value.to_le_bytes()).for_each(|(to, byte)| *to = byte);
    }
}

/// Integers of a type as the nearest f32 numbers.
pub fn to_f32(from: Integer, input: &[u8], output: &mut [f32]) {
    for (bytes, to) in input.chunks_exact(from.bytes()).zip(output) {
        *to = from.read(bytes) as f32;
    }
}

/// Numbers cut towards 0, and to the range of a type; as a truth value each is 1 but for 0. NaN is 0, and as a
/// truth value 1.
pub fn from_f32(to: Integer, input: &[f32], output: &mut [u8]) {
    for (&value, bytes) in input.iter().zip(output.chunks_exact_mut(to.bytes())) {
        let integer = if to == Integer::Bool { i64::from(value != 0.0) } else { value as i64 };
        to.write(integer, bytes);
    }
}

/// An index into `rows` rows: cut to an integer, counted from behind below 0, and from there on the nearest
/// that is one. There is at least one row.
fn row(index: f32, rows: usize) -> usize {
    let (index, rows) = (index as i64, rows as i64);
    let from_front = if index < 0 { index + rows } else { index };
    from_front.min(rows - 1).max(0) as usize
}

/// `output[o, i] = data[o, indices[i]]`: rows of bytes. `data` is `[outer, rows]` of them.
pub fn gather(data: &[u8], rows: usize, row_bytes: usize, indices: &[f32], output: &mut [u8]) {
    let mut to = output.chunks_exact_mut(row_bytes.max(1));
    for data in data.chunks_exact((rows * row_bytes).max(1)) {
        for &index in indices {
            let Some(to) = to.next() else { return };
            copy_all(stretch(data, row(index, rows) * row_bytes, row_bytes), to);
        }
    }
}

/// `output[indices[i]] = updates[i]`: rows of bytes.
pub fn scatter(updates: &[u8], row_bytes: usize, indices: &[f32], output: &mut [u8]) {
    let row_bytes = row_bytes.max(1);
    let rows = output.len() / row_bytes;
    for (&index, from) in indices.iter().zip(updates.chunks_exact(row_bytes)) {
        copy_all(from, stretch_mut(output, row(index, rows) * row_bytes, row_bytes));
    }
}

/// Values that are compared.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// int8.
    I8(&'a [i8]),
    /// f32.
    F32(&'a [f32]),
}

/// How [`top_k`] selects.
#[derive(Clone, Copy, Debug)]
pub struct TopKArgs {
    /// outer, size, inner: it selects along the middle axis.
    pub dims: [usize; 3],
    /// How many: at most size.
    pub k: usize,
    /// The greatest, not the least.
    pub largest: bool,
    /// Of equal values the last one comes first.
    pub last: bool,
}

/// Where the k greatest (or least) values are, by selection: after each value the next in the order. `output`
/// is `[outer, k, inner]`.
pub fn top_k(args: &TopKArgs, values: Values<'_>, output: &mut [f32]) {
    let &TopKArgs { dims: [outer, size, inner], k, largest, last } = args;
    // The order is ascending: by value, then by place.
    let key = |place: usize, index: usize| {
        let value = match values {
            Values::I8(values) => f32::from(at(values, place)),
            Values::F32(values) if at(values, place).is_nan() => {
                f32::NEG_INFINITY * if largest { 1.0 } else { -1.0 }
            }
            Values::F32(values) => at(values, place),
        };
        (if largest { -value } else { value }, if last { size - index } else { index })
    };
    for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
        let mut before = None;
        for place in 0..k {
            let mut best: Option<(usize, (f32, usize))> = None;
            for index in 0..size {
                let key = key((o * size + index) * inner + i, index);
                if before.is_none_or(|before| before < key) && best.is_none_or(|(_, best)| key < best) {
                    best = Some((index, key));
                }
            }
            let found = best.map_or(0, |(index, _)| index) as f32;
            stretch_mut(output, (o * k + place) * inner + i, 1).fill(found);
            before = best.map(|(_, key)| key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_become_numbers_and_back() {
        let values = [0, 1, -1, 1 << 24, -(1 << 24), 2_147_483_647, -2_147_483_648];
        for kind in [Integer::I32, Integer::I64] {
            let mut bytes = std::vec![0; values.len() * kind.bytes()];
            for (value, bytes) in values.iter().zip(bytes.chunks_exact_mut(kind.bytes())) {
                kind.write(*value, bytes);
                assert_eq!(kind.read(bytes), *value);
            }
            let mut numbers = [0.0; 7];
            to_f32(kind, &bytes, &mut numbers);
            assert_eq!(
                numbers.map(f64::from),
                [0, 1, -1, 1 << 24, -(1 << 24), 1 << 31, -(1 << 31)].map(|v: i64| v as f64)
            );
            let mut back = bytes.clone();
            from_f32(kind, &numbers, &mut back);
            let last = if kind == Integer::I32 { i64::from(i32::MAX) } else { 1 << 31 };
            assert_eq!(kind.read(&back[5 * kind.bytes()..]), last);
            assert_eq!(back[..5 * kind.bytes()], bytes[..5 * kind.bytes()]);
        }
    }

    #[test]
    fn numbers_are_cut_to_integers_and_what_is_none_has_one_value() {
        let numbers = [1.9, -1.9, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.4, -0.0];
        let mut bytes = [0; 56];
        from_f32(Integer::I64, &numbers, &mut bytes);
        let read = |i: usize| Integer::I64.read(&bytes[8 * i..]);
        assert_eq!([0, 1, 2, 3, 4, 5, 6].map(read), [1, -1, 0, i64::MAX, i64::MIN, 0, 0]);
        let mut truths = [9; 7];
        from_f32(Integer::Bool, &numbers, &mut truths);
        assert_eq!(truths, [1, 1, 1, 1, 1, 1, 0]);
        let mut numbers = [0.0; 3];
        to_f32(Integer::Bool, &[0, 1, 7], &mut numbers);
        assert_eq!(numbers, [0.0, 1.0, 1.0]);
    }

    #[test]
    fn rows_are_gathered_by_indices_that_are_never_outside() {
        let data = [10, 11, 20, 21, 30, 31, 40, 41, 50, 51, 60, 61];
        let indices = [2.0, -1.0, 0.0, -7.0, 3.9, f32::NAN, f32::INFINITY];
        let mut output = [0; 28];
        gather(&data, 3, 2, &indices, &mut output);
        assert_eq!(output[..14], [30, 31, 30, 31, 10, 11, 10, 11, 30, 31, 10, 11, 30, 31]);
        assert_eq!(output[14..], [60, 61, 60, 61, 40, 41, 40, 41, 60, 61, 40, 41, 60, 61]);
    }

    #[test]
    fn rows_are_scattered_the_last_of_a_place_last() {
        let mut output = [1, 2, 3, 4, 5, 6];
        scatter(&[10, 11, 20, 21, 30, 31], 2, &[-1.0, 0.0, 2.0], &mut output);
        assert_eq!(output, [20, 21, 3, 4, 30, 31]);
    }

    #[test]
    fn the_greatest_and_the_least_are_found_in_order() {
        let values = [3.0, 1.0, 3.0, f32::NAN, -2.0, 1.0];
        let find = |k, largest, last| {
            let mut output = std::vec![0.0; k];
            let args = TopKArgs { dims: [1, 6, 1], k, largest, last };
            top_k(&args, Values::F32(&values), &mut output);
            output
        };
        assert_eq!(find(6, true, false), [0.0, 2.0, 1.0, 5.0, 4.0, 3.0]);
        assert_eq!(find(3, true, true), [2.0, 0.0, 5.0]);
        assert_eq!(find(6, false, false), [4.0, 1.0, 5.0, 0.0, 2.0, 3.0]);
        let mut output = [0.0; 4];
        let args = TopKArgs { dims: [2, 3, 2], k: 1, largest: true, last: false };
        top_k(&args, Values::I8(&[-128, 5, 127, 5, 126, 4, 0, -1, 0, -2, 0, 3]), &mut output);
        assert_eq!(output, [1.0, 0.0, 0.0, 2.0]);
    }
}
