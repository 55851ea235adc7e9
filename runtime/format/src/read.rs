//! Reading values of postcard's wire format: what a package has of it.
//!
//! The crate `postcard`, which writes them, reads them as well, in more code: it makes a decoder of numbers wherever one
//! is read, and firmware has room for one. The two are held against each other for every value that there is.

use serde::de::value::U32Deserializer;
use serde::de::{self, DeserializeSeed, EnumAccess, IntoDeserializer, SeqAccess, VariantAccess, Visitor};

/// The value at the beginning of some bytes, and the bytes behind it; `None` where there is no such value.
pub(crate) fn value<'a, T: de::Deserialize<'a>>(bytes: &'a [u8]) -> Option<(T, &'a [u8])> {
    let mut reader = Reader(bytes);
    let value = T::deserialize(&mut reader).ok()?;
    Some((value, reader.0))
}

/// Not a value.
#[derive(Debug)]
pub(crate) struct Invalid;

impl core::fmt::Display for Invalid {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("not a value of this type")
    }
}

impl core::error::Error for Invalid {}

impl de::Error for Invalid {
    fn custom<T: core::fmt::Display>(_: T) -> Self {
        Self
    }

    // Those that format, if they are left to `custom`.
    fn invalid_type(_: de::Unexpected<'_>, _: &dyn de::Expected) -> Self {
        Self
    }

    fn invalid_value(_: de::Unexpected<'_>, _: &dyn de::Expected) -> Self {
        Self
    }

    fn invalid_length(_: usize, _: &dyn de::Expected) -> Self {
        Self
    }

    fn unknown_variant(_: &str, _: &'static [&'static str]) -> Self {
        Self
    }

    fn missing_field(_: &'static str) -> Self {
        Self
    }
}

/// What is left of the bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    #[inline(never)]
    fn byte(&mut self) -> Result<u8, Invalid> {
        let (&byte, rest) = self.0.split_first().ok_or(Invalid)?;
        self.0 = rest;
        Ok(byte)
    }

    #[inline(never)]
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Invalid> {
        let (&bytes, rest) = self.0.split_first_chunk().ok_or(Invalid)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// Seven bits a byte, the lowest first; all but the last byte have the highest bit. Of `bits`, at most 32, the last
    /// byte has no more than are left.
    #[inline(never)]
    fn varint(&mut self, bits: u32) -> Result<u32, Invalid> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (&byte, rest) = self.0.split_first().ok_or(Invalid)?;
            self.0 = rest;
            let byte = u32::from(byte);
            value |= (byte & 0x7f) << shift;
            if shift + 7 >= bits {
                // The last that there can be.
                return if byte < 1 << (bits - shift) { Ok(value) } else { Err(Invalid) };
            }
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    fn u32(&mut self) -> Result<u32, Invalid> {
        self.varint(32)
    }

    /// The same of 64 bits, of which a package has one number: others need not be read in two words for it.
    #[inline(never)]
    fn u64(&mut self) -> Result<u64, Invalid> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            // Of the tenth byte one bit is left.
            if byte < if shift == 63 { 2 } else { 0x80 } {
                return Ok(value);
            }
        }
        Err(Invalid)
    }

    /// Signed numbers of 16 bits and more are zigzag: 0, -1, 1, -2, …
    fn signed(&mut self, bits: u32) -> Result<i32, Invalid> {
        let value = self.varint(bits)?;
        Ok((value >> 1) as i32 ^ -((value & 1) as i32))
    }

    /// A length, and as many bytes.
    #[inline(never)]
    fn slice(&mut self) -> Result<&'a [u8], Invalid> {
        let len = self.u32()? as usize;
        let (slice, rest) = self.0.split_at_checked(len).ok_or(Invalid)?;
        self.0 = rest;
        Ok(slice)
    }
}

/// Types that no value of a package has.
macro_rules! none {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'a>>(self, _: V) -> Result<V::Value, Invalid> {
            Err(Invalid)
        }
    )*};
}

impl<'a> de::Deserializer<'a> for &mut Reader<'a> {
    type Error = Invalid;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Invalid> {
        match self.byte()? {
            0 => visitor.visit_bool(false),
            1 => visitor.visit_bool(true),
            _ => Err(Invalid),
        }
    }

    fn deserialize_i8<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_i8(self.byte()? as i8)
    }

    fn deserialize_u8<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_u8(self.byte()?)
    }

    fn deserialize_i16<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_i16(self.signed(16)? as i16)
    }

    fn deserialize_i32<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_i32(self.signed(32)?)
    }

    fn deserialize_u32<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_u32(self.u32()?)
    }

    fn deserialize_u64<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_u64(self.u64()?)
    }

    fn deserialize_f32<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_f32(f32::from_le_bytes(self.bytes()?))
    }

    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_borrowed_str(core::str::from_utf8(self.slice()?).map_err(|_| Invalid)?)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Invalid> {
        match self.byte()? {
            0 => visitor.visit_none(),
            1 => visitor.visit_some(self),
            _ => Err(Invalid),
        }
    }

    fn deserialize_tuple<V: Visitor<'a>>(self, len: usize, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_seq(Values { reader: self, left: len })
    }

    fn deserialize_tuple_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        visitor.visit_enum(self)
    }

    none!(deserialize_any deserialize_i64 deserialize_u16 deserialize_f64 deserialize_char deserialize_string
        deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_seq deserialize_map
        deserialize_identifier deserialize_ignored_any);

    fn deserialize_unit_struct<V: Visitor<'a>>(self, _: &'static str, _: V) -> Result<V::Value, Invalid> {
        Err(Invalid)
    }
}

/// The values of a structure, one after the other.
struct Values<'r, 'a> {
    reader: &'r mut Reader<'a>,
    left: usize,
}

impl<'a> SeqAccess<'a> for Values<'_, 'a> {
    type Error = Invalid;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Invalid> {
        match self.left.checked_sub(1) {
            None => Ok(None),
            Some(left) => {
                self.left = left;
                Ok(Some(seed.deserialize(&mut *self.reader)?))
            }
        }
    }
}

impl<'a> EnumAccess<'a> for &mut Reader<'a> {
    type Error = Invalid;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<(T::Value, Self), Invalid> {
        let number: U32Deserializer<Invalid> = self.u32()?.into_deserializer();
        Ok((seed.deserialize(number)?, self))
    }
}

impl<'a> VariantAccess<'a> for &mut Reader<'a> {
    type Error = Invalid;

    fn unit_variant(self) -> Result<(), Invalid> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, Invalid> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'a>>(self, len: usize, visitor: V) -> Result<V::Value, Invalid> {
        de::Deserializer::deserialize_tuple(self, len, visitor)
    }

    fn struct_variant<V: Visitor<'a>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        de::Deserializer::deserialize_tuple(self, fields.len(), visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Debug;

    /// Both readers find the same value at the beginning of these bytes, or none.
    fn same<'a, T: de::Deserialize<'a> + PartialEq + Debug>(bytes: &'a [u8]) {
        assert_eq!(value::<T>(bytes), postcard::take_from_bytes::<T>(bytes).ok(), "{bytes:x?}");
    }

    #[test]
    fn numbers_of_every_length_are_those_of_the_crate() {
        for first in 0..=255u8 {
            for last in [0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 63, 64, 127, 128, 129, 255] {
                for middle in 0..=10 {
                    let mut bytes = std::vec![0x80 | first; middle];
                    bytes.extend([first, last, 1]);
                    same::<u32>(&bytes);
                    same::<u64>(&bytes);
                    same::<i16>(&bytes);
                    same::<i32>(&bytes);
                    same::<(i8, u8, bool)>(&bytes);
                    same::<Option<&str>>(&bytes);
                    same::<[u32; 2]>(&bytes);
                }
            }
        }
    }
}
