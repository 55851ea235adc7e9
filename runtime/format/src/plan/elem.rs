//! The types of the elements of inputs, outputs, and of what islands and steps on integers exchange.

use serde::{Deserialize, Serialize};

/// The type of the elements of an input or output, and of what islands exchange. Little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ElemType {
    /// int8 with a [`super::Quant`]; of scale 1 and zero point 0 where it is an integer.
    I8,
    /// f32.
    F32,
    /// Integers of 32 bits.
    I32,
    /// Integers of 64 bits.
    I64,
    /// Truth values: one byte, 0 or 1.
    Bool,
    /// Unsigned integers of 8 bits.
    U8,
    /// Integers of 16 bits.
    I16,
    /// Unsigned integers of 16 bits.
    U16,
    /// Unsigned integers of 32 bits.
    U32,
    /// Unsigned integers of 64 bits.
    U64,
    /// IEEE 754 binary16.
    F16,
    /// IEEE 754 binary64.
    F64,
}

impl ElemType {
    /// Every one.
    pub const ALL: [Self; 12] = [
        Self::I8,
        Self::F32,
        Self::I32,
        Self::I64,
        Self::Bool,
        Self::U8,
        Self::I16,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::F16,
        Self::F64,
    ];

    /// Bytes of an element; it lies at a multiple of these.
    pub const fn bytes(self) -> u32 {
        match self {
            Self::I8 | Self::Bool | Self::U8 => 1,
            Self::I16 | Self::U16 | Self::F16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// Whether elements are integers or truth values, which [`super::Convert`] reads and writes.
    pub const fn is_integer(self) -> bool {
        matches!(self, Self::I32 | Self::I64 | Self::Bool)
    }

    /// Whether only islands read and write elements, and an application gives and gets their bytes.
    pub const fn is_raw(self) -> bool {
        !matches!(self, Self::I8 | Self::F32) && !self.is_integer()
    }

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::I8 => "int8",
            Self::F32 => "f32",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::Bool => "bool",
            Self::U8 => "uint8",
            Self::I16 => "int16",
            Self::U16 => "uint16",
            Self::U32 => "uint32",
            Self::U64 => "uint64",
            Self::F16 => "f16",
            Self::F64 => "f64",
        }
    }

    /// The number that an element's bytes stand for (int8 for itself), the nearest f64 of 64-bit integers. 0 of
    /// another number of bytes than an element has.
    #[inline(never)]
    pub fn read(self, bytes: &[u8]) -> f64 {
        let mut word = [0; 8];
        if let Some(word) = word.get_mut(..bytes.len()).filter(|word| word.len() == self.bytes() as usize) {
            word.copy_from_slice(bytes);
        }
        let word = u64::from_le_bytes(word);
        match self {
            Self::I8 => f64::from(word as i8),
            Self::F32 => f64::from(f32::from_bits(word as u32)),
            Self::Bool => f64::from(u8::from(word != 0)),
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => word as f64,
            Self::I16 => f64::from(word as i16),
            Self::I32 => f64::from(word as i32),
            Self::I64 => word as i64 as f64,
            Self::F16 => f64::from(f16_to_f32(word as u16)),
            Self::F64 => f64::from_bits(word),
        }
    }

    /// Writes an element: integers get the nearest number of theirs below or above towards 0 (0 of a NaN), bool
    /// whether the number is not 0. Nothing is written where there is another number of bytes than an element has.
    #[inline(never)]
    pub fn write(self, value: f64, to: &mut [u8]) {
        let word = match self {
            Self::I8 => value as i8 as u64,
            Self::F32 => u64::from((value as f32).to_bits()),
            Self::Bool => u64::from(value != 0.0),
            Self::U8 => u64::from(value as u8),
            Self::I16 => value as i16 as u64,
            Self::U16 => u64::from(value as u16),
            Self::I32 => value as i32 as u64,
            Self::U32 => u64::from(value as u32),
            Self::I64 => value as i64 as u64,
            Self::U64 => value as u64,
            Self::F16 => u64::from(f32_to_f16(value as f32)),
            Self::F64 => value.to_bits(),
        };
        if to.len() == self.bytes() as usize
            && let Some(bytes) = word.to_le_bytes().get(..to.len())
        {
            to.copy_from_slice(bytes);
        }
    }
}

/// Exact: every binary16 is a binary32.
fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, fraction) = (u32::from(bits >> 10 & 0x1f), u32::from(bits & 0x3ff));
    match exponent {
        // A subnormal is its fraction in units of 2⁻²⁴.
        0 => f32::from_bits(sign | (fraction as f32 * f32::from_bits((127 - 24) << 23)).to_bits()),
        0x1f => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 127 - 15) << 23 | fraction << 13),
    }
}

/// To the nearest, ties to even.
fn f32_to_f16(value: f32) -> u16 {
    let sign = (value.to_bits() >> 16) as u16 & 0x8000;
    let magnitude = value.to_bits() & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00;
    }
    // From 65520 on the nearest is infinity.
    if magnitude >= 0x477f_f000 {
        return sign | 0x7c00;
    }
    // Below 2⁻¹⁴ results are in units of 2⁻²⁴, which an addition of 0.5 in f32 rounds to.
    if magnitude < 0x3880_0000 {
        let rounded = f32::from_bits(magnitude) + 0.5;
        return sign | (rounded.to_bits() - 0.5f32.to_bits()) as u16;
    }
    let odd = magnitude >> 13 & 1;
    sign | ((magnitude + 0xfff + odd - ((127 - 15) << 23)) >> 13) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_read_and_written_back() {
        for bits in 0..=u16::MAX {
            let value = ElemType::F16.read(&bits.to_le_bytes());
            let mut back = [0; 2];
            ElemType::F16.write(value, &mut back);
            let same = if value.is_nan() {
                f16_to_f32(u16::from_le_bytes(back)).is_nan()
            } else {
                back == bits.to_le_bytes()
            };
            assert!(same, "{bits:#x}: {value}");
        }
    }

    #[test]
    fn what_lies_between_two_halves_goes_to_the_nearest_and_then_to_the_even_one() {
        for bits in 0..0x7bffu16 {
            let [low, high] = [bits, bits + 1].map(f16_to_f32);
            let middle = (low + high) / 2.0;
            let even = if bits % 2 == 0 { bits } else { bits + 1 };
            assert_eq!(f32_to_f16(middle), even, "{middle}");
            assert_eq!(f32_to_f16(middle.next_down()), bits, "below {middle}");
            assert_eq!(f32_to_f16(-middle.next_up()), 0x8000 | (bits + 1), "above {middle}");
        }
        assert_eq!([65519.0, 65520.0, f32::INFINITY].map(f32_to_f16), [0x7bff, 0x7c00, 0x7c00]);
    }

    #[test]
    fn numbers_outside_of_a_type_become_its_ends() {
        for (of, value, expected) in [
            (ElemType::I8, -300.0, -128.0),
            (ElemType::U8, -3.0, 0.0),
            (ElemType::U8, 254.9, 254.0),
            (ElemType::Bool, -0.5, 1.0),
            (ElemType::I16, 1e9, 32767.0),
            (ElemType::U16, 65535.0, 65535.0),
            (ElemType::I32, -1e18, -2147483648.0),
            (ElemType::U32, 4294967295.0, 4294967295.0),
            (ElemType::I64, -1e30, i64::MIN as f64),
            (ElemType::U64, 1e30, u64::MAX as f64),
            (ElemType::F64, 0.1, 0.1),
            (ElemType::I32, f64::NAN, 0.0),
        ] {
            let mut bytes = [0; 8];
            let bytes = &mut bytes[..of.bytes() as usize];
            of.write(value, bytes);
            assert_eq!(of.read(bytes), expected, "{value} as {}", of.name());
        }
    }
}
