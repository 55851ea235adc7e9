//! The section of a package, as FORMAT.md describes it: words of 32 bits in little-endian order.

use crate::Error;

/// First word of a front-end for sound.
pub(crate) const SPECTRAL: u32 = 1;
/// First word of a front-end for what moves.
pub(crate) const MOTION: u32 = 2;

/// Where in a section the check is, in words.
#[cfg(feature = "writer")]
pub(crate) const CHECK_AT: usize = 2;

/// More elements than any table or window needs: what is counted in them fits 31 bits, whatever it is multiplied by.
pub(crate) const MAX_ELEMS: usize = 1 << 20;

/// Words that are read one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Words<'a>(pub &'a [u32]);

impl<'a> Words<'a> {
    /// The words of a section, and its text behind them. The first word is the number of words.
    pub fn of(section: &'a [u8]) -> Result<(Self, &'a str), Error> {
        let wrong = |field| Error::Malformed { field };
        let count = section.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes) as usize);
        let count = count.filter(|&count| count <= MAX_ELEMS).ok_or(wrong("its number of words"))?;
        let (words, text) = section.split_at_checked(4 * count).ok_or(wrong("its number of words"))?;
        if cfg!(target_endian = "big") {
            return Err(wrong("its order of bytes on this processor"));
        }
        let words: &[u32] = bytemuck::try_cast_slice(words).map_err(|_| Error::Alignment)?;
        let (_, words) = words.split_first().ok_or(wrong("its number of words"))?;
        Ok((Self(words), core::str::from_utf8(text).map_err(|_| wrong("its description"))?))
    }

    /// The next word.
    pub fn word(&mut self, field: &'static str) -> Result<u32, Error> {
        let (word, rest) = self.0.split_first().ok_or(Error::Malformed { field })?;
        self.0 = rest;
        Ok(*word)
    }

    /// The next word, a count of `least` to `most`.
    pub fn count(&mut self, least: usize, most: usize, field: &'static str) -> Result<usize, Error> {
        let count = self.word(field)? as usize;
        if (least..=most).contains(&count) { Ok(count) } else { Err(Error::Malformed { field }) }
    }

    /// The next word, a finite number.
    pub fn number(&mut self, field: &'static str) -> Result<f32, Error> {
        Ok(self.table(1, field)?.first().copied().unwrap_or_default())
    }

    /// The next two words, a number of 64 bits, its lower half first.
    pub fn wide(&mut self, field: &'static str) -> Result<u64, Error> {
        Ok(u64::from(self.word(field)?) | u64::from(self.word(field)?) << 32)
    }

    /// The next words.
    pub fn words(&mut self, count: usize, field: &'static str) -> Result<&'a [u32], Error> {
        let (words, rest) = self.0.split_at_checked(count).ok_or(Error::Malformed { field })?;
        self.0 = rest;
        Ok(words)
    }

    /// The next words, finite numbers.
    pub fn table(&mut self, count: usize, field: &'static str) -> Result<&'a [f32], Error> {
        let numbers: &[f32] = bytemuck::cast_slice(self.words(count, field)?);
        let finite = numbers.iter().all(|number| number.is_finite());
        if finite { Ok(numbers) } else { Err(Error::Malformed { field }) }
    }

    /// Nothing may be left.
    pub fn end(&self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Malformed { field: "what follows its tables" }) }
    }
}
