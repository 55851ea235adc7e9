//! Golden samples: inputs with the hash that the outputs must have. They prove on a device, without
//! a data set, that package and kernels compute what the workstation computed.

use serde::{Deserialize, Serialize};

use crate::container::Package;
use crate::error::{Error, Place};
use crate::hash::Hash;
use crate::operations::Operations;
use crate::plan::Span;
use crate::read;

/// One entry of the golden section, as it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub input: EntryInput,
    pub output_hash: Hash,
}

/// Where the input of a sample comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum EntryInput {
    /// Bytes of the section.
    Stored(Span),
    /// [`SeededBytes`].
    Seeded(u64),
}

/// A golden sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Golden<'a> {
    /// All inputs in their int8 form, one after the other.
    pub input: GoldenInput<'a>,
    /// BLAKE3 of the bytes of all outputs, one after the other.
    pub output_hash: Hash,
}

/// The input of a golden sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoldenInput<'a> {
    /// The bytes.
    Stored(&'a [u8]),
    /// The bytes that [`SeededBytes`] gives for a seed.
    Seeded(u64),
}

/// A stream of pseudo-random bytes: splitmix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom
/// Number Generators", 2014), each number's eight bytes from the lowest to the highest.
#[derive(Clone, Copy, Debug)]
pub struct SeededBytes {
    state: u64,
    number: u64,
    left: u32,
}

impl SeededBytes {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed, number: 0, left: 0 }
    }
}

impl Iterator for SeededBytes {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if self.left == 0 {
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            self.number = z ^ (z >> 31);
            self.left = 8;
        }
        let byte = self.number as u8;
        self.number >>= 8;
        self.left -= 1;
        Some(byte)
    }
}

/// The samples of a section: a count, that many entries, then the stored bytes.
pub(crate) fn samples(section: &[u8]) -> impl Iterator<Item = Golden<'_>> {
    let (count, mut rest) = read::value::<u32>(section).unwrap_or((0, &[]));
    (0..count).map_while(move |_| {
        let (entry, after) = read::value::<Entry>(rest)?;
        rest = after;
        let input = match entry.input {
            EntryInput::Seeded(seed) => GoldenInput::Seeded(seed),
            EntryInput::Stored(span) => {
                let start = span.offset as usize;
                GoldenInput::Stored(section.get(start..start.checked_add(span.bytes as usize)?)?)
            }
        };
        Some(Golden { input, output_hash: entry.output_hash })
    })
}

pub(crate) fn validate<O: Operations>(section: &[u8], package: &Package<'_, O>) -> Result<(), Error> {
    let wrong = |index| Error::Malformed { place: Place::Golden(index), field: "its entry or size" };
    let (count, _) = read::value::<u32>(section).ok_or(wrong(0))?;
    let input_bytes: u64 = package.inputs().map(|input| input.buffer.bytes as u64).sum();
    let mut index = 0;
    for golden in samples(section) {
        if let GoldenInput::Stored(bytes) = golden.input
            && bytes.len() as u64 != input_bytes
        {
            return Err(wrong(index));
        }
        index += 1;
    }
    if index == count { Ok(()) } else { Err(wrong(index)) }
}
