//! Integers: conversions to and from the f32 numbers that stand for them inside a plan. Portable and not
//! vectorised: a model converts its inputs and outputs, which are few.

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
}
