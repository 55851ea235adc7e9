//! Header, section table and sections: what every package has, whatever is in it.

use core::marker::PhantomData;

use crate::error::{Error, Place};
use crate::golden::{self, Golden};
use crate::hash::{Hash, Hasher, hash};
use crate::island::Island;
use crate::operations::{All, Operations};
use crate::plan::{Head, Input, Output, Span, Step};
use crate::validate;

/// The first bytes of every package.
pub const MAGIC: [u8; 8] = *b"EDGEPACK";
/// The format that this build writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 5;
/// Size of the header.
pub const HEADER_BYTES: usize = 64;
/// Size of an entry of the section table.
pub const ENTRY_BYTES: usize = 80;
/// Sections start at multiples of this.
pub const SECTION_ALIGN: usize = 64;
/// More sections than any package needs.
const MAX_SECTIONS: u32 = 64;

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// The plan: a stream of postcard values, see [`crate::plan`].
    Plan = 1,
    /// Constants.
    Weights = 2,
    /// Weights packed for the kernels of the layout in the entry's key.
    Prepacked = 3,
    /// Golden samples.
    Golden = 4,
    /// JSON about where the package comes from; devices do not read it.
    Provenance = 5,
    /// A part of the model that tract runs: [`crate::Island`].
    Island = 6,
    /// How samples of a sensor become the first input: parameters and tables, which the crate `edgepack-signal` reads
    /// and validates.
    Signal = 7,
}

impl SectionKind {
    fn new(kind: u32) -> Option<Self> {
        use SectionKind::{Golden, Island, Plan, Prepacked, Provenance, Signal, Weights};
        [Plan, Weights, Prepacked, Golden, Provenance, Island, Signal]
            .into_iter()
            .find(|known| *known as u32 == kind)
    }

    /// A name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Weights => "weights",
            Self::Prepacked => "prepacked",
            Self::Golden => "golden",
            Self::Provenance => "provenance",
            Self::Island => "island",
            Self::Signal => "signal",
        }
    }
}

/// A section.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// What it holds.
    pub kind: SectionKind,
    /// Layout of a prepacked section, else empty.
    pub key: &'a str,
    /// Where it starts in the file.
    pub offset: u64,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// BLAKE3 of its bytes.
    pub hash: Hash,
}

/// A validated package, whose steps are of the set `O`.
#[derive(Clone, Copy, Debug)]
pub struct Package<'a, O = All> {
    bytes: &'a [u8],
    head: Head,
    plan: &'a [u8],
    weights: &'a [u8],
    golden: Option<&'a [u8]>,
    signal: Option<&'a [u8]>,
    provenance: &'a str,
    operations: PhantomData<O>,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn hash_at(bytes: &[u8], at: usize) -> Option<Hash> {
    bytes.get(at..at.checked_add(32)?)?.try_into().ok()
}

/// Offset of the header's hash; the hash covers the header with zeros here, and the table.
pub(crate) const HEADER_HASH_AT: usize = 32;

/// BLAKE3 of the header, its own hash taken for zeros, and the section table.
pub(crate) fn hash_header(header_and_table: &[u8]) -> Hash {
    let (before, rest) = header_and_table.split_at_checked(HEADER_HASH_AT).unwrap_or((header_and_table, &[]));
    Hasher::new().update(before).update(&[0; 32]).update(rest.get(32..).unwrap_or_default()).finalize()
}

impl<'a> Package<'a> {
    /// Validates everything: structure, hashes, the plan and every operation in it.
    ///
    /// `bytes` is the whole file, at a multiple of 64 in memory. Costs about as much as reading it
    /// twice; nothing is copied.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        Self::parse_for(bytes)
    }

    /// The package in bytes that [`Package::parse`] has accepted before: for an owner of the bytes who
    /// cannot keep what borrows from them. Nothing is hashed or validated again; of other bytes it gives
    /// an empty package, or one whose steps fail.
    pub fn reopen(bytes: &'a [u8]) -> Self {
        let empty = Self::EMPTY;
        let mut package = Self { bytes, ..empty };
        match package.find_sections(u32_at(bytes, 24).unwrap_or(0)) {
            Ok(()) => Self { head: validate::head(package.plan), ..package },
            Err(_) => empty,
        }
    }
}

impl<'a, O: Operations> Package<'a, O> {
    const EMPTY: Self = Self {
        bytes: &[],
        head: Head::EMPTY,
        plan: &[],
        weights: &[],
        golden: None,
        signal: None,
        provenance: "",
        operations: PhantomData,
    };

    /// As [`Package::parse`], by a program that has no operations but these.
    ///
    /// # Errors
    /// As there; [`Error::Operation`] where a step is outside the set.
    pub fn parse_for(bytes: &'a [u8]) -> Result<Self, Error> {
        if bytes.get(..8) != Some(&MAGIC[..]) {
            return Err(Error::NotAPackage);
        }
        let found = bytes.len() as u64;
        let short = Error::Length { expected: HEADER_BYTES as u64, found };
        let version = u32_at(bytes, 8).ok_or(short)?;
        if version != FORMAT_VERSION {
            return Err(Error::Version { found: version });
        }
        let header = |field| Error::Malformed { place: Place::Header, field };
        let header_bytes = u32_at(bytes, 12).ok_or(short)?;
        let expected = u64_at(bytes, 16).ok_or(short)?;
        let sections = u32_at(bytes, 24).ok_or(short)?;
        let reserved = u32_at(bytes, 28).ok_or(short)?;
        let hash = hash_at(bytes, HEADER_HASH_AT).ok_or(short)?;
        if expected != found {
            return Err(Error::Length { expected, found });
        }
        if !(bytes.as_ptr() as usize).is_multiple_of(SECTION_ALIGN) {
            return Err(Error::Alignment);
        }
        if header_bytes as usize != HEADER_BYTES || reserved != 0 || sections > MAX_SECTIONS {
            return Err(header("its size or number of sections"));
        }
        let table_end = HEADER_BYTES + sections as usize * ENTRY_BYTES;
        let table = bytes.get(..table_end).ok_or(header("number of sections"))?;
        if hash_header(table) != hash {
            return Err(Error::Damaged(Place::Header));
        }
        let mut package = Self { bytes, ..Self::EMPTY };
        package.check_sections(sections, table_end)?;
        package.find_sections(sections)?;
        package.head = validate::plan(&package)?;
        if let Some(section) = package.golden {
            golden::validate(section, &package)?;
        }
        Ok(package)
    }

    /// Checks where sections lie, what is between them, and their hashes.
    fn check_sections(&self, sections: u32, table_end: usize) -> Result<(), Error> {
        let mut end = table_end;
        for index in 0..sections {
            let place = Place::Section(index);
            let malformed = |field| Error::Malformed { place, field };
            let section = self.section(index).ok_or(malformed("its entry"))?;
            let padding = self.bytes.get(end..section.offset as usize).ok_or(malformed("its offset"))?;
            let aligned = section.offset as usize == end.next_multiple_of(SECTION_ALIGN);
            if !aligned || padding.iter().any(|&byte| byte != 0) {
                return Err(malformed("the space before it"));
            }
            if hash(section.bytes) != section.hash {
                return Err(Error::Damaged(place));
            }
            end = section.offset as usize + section.bytes.len();
        }
        if end != self.bytes.len() {
            return Err(Error::Malformed { place: Place::Header, field: "what follows the last section" });
        }
        Ok(())
    }

    fn find_sections(&mut self, sections: u32) -> Result<(), Error> {
        let (mut plan, mut weights) = (None, None);
        for index in 0..sections {
            let place = Place::Section(index);
            let malformed = |field| Error::Malformed { place, field };
            let section = self.section(index).ok_or(malformed("its entry"))?;
            let slot = match section.kind {
                SectionKind::Plan => &mut plan,
                SectionKind::Weights => &mut weights,
                SectionKind::Golden => &mut self.golden,
                SectionKind::Signal => &mut self.signal,
                SectionKind::Prepacked | SectionKind::Island => continue,
                SectionKind::Provenance => {
                    self.provenance =
                        core::str::from_utf8(section.bytes).map_err(|_| malformed("its text"))?;
                    continue;
                }
            };
            if slot.replace(section.bytes).is_some() {
                return Err(malformed("its kind, a second time"));
            }
        }
        self.plan = plan.ok_or(Error::Missing { section: "plan" })?;
        self.weights = weights.ok_or(Error::Missing { section: "weights" })?;
        Ok(())
    }

    /// The section of a table entry, if entry and bounds are as they must be.
    fn section(&self, index: u32) -> Option<Section<'a>> {
        let at = HEADER_BYTES + index as usize * ENTRY_BYTES;
        let entry = self.bytes.get(at..at.checked_add(ENTRY_BYTES)?)?;
        let kind = SectionKind::new(u32_at(entry, 0)?)?;
        let reserved = u32_at(entry, 4)?;
        let (offset, bytes) = (u64_at(entry, 8)?, u64_at(entry, 16)?);
        let key = entry.get(24..48)?;
        let length = key.iter().position(|&byte| byte == 0).unwrap_or(key.len());
        let (key, zeros) = key.split_at(length);
        // Only prepacked sections are told apart by a key.
        let has_key = length > 0;
        if reserved != 0
            || zeros.iter().any(|&byte| byte != 0)
            || !key.is_ascii()
            || has_key != (kind == SectionKind::Prepacked)
        {
            return None;
        }
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(bytes).ok()?)?;
        Some(Section {
            kind,
            key: core::str::from_utf8(key).ok()?,
            offset,
            bytes: self.bytes.get(start..end)?,
            hash: hash_at(entry, 48)?,
        })
    }

    /// Every section, in the order of the file.
    pub fn sections(&self) -> impl Iterator<Item = Section<'a>> + '_ {
        let count = u32_at(self.bytes, 24).unwrap_or(0);
        (0..count).filter_map(|index| self.section(index))
    }

    /// The whole file.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// BLAKE3 of header and section table, and through the sections' hashes of everything.
    pub fn hash(&self) -> Hash {
        hash_at(self.bytes, HEADER_HASH_AT).unwrap_or_default()
    }

    /// What the plan holds and needs.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The plan's section.
    pub(crate) fn plan(&self) -> &'a [u8] {
        self.plan
    }

    /// The inputs.
    pub fn inputs(&self) -> impl Iterator<Item = Input<'a>> + use<'a, O> {
        validate::Stream::after_head(self.plan).take(self.head.inputs)
    }

    /// The outputs.
    pub fn outputs(&self) -> impl Iterator<Item = Output<'a>> + use<'a, O> {
        let mut stream = validate::Stream::after_head(self.plan);
        stream.skip::<Input<'a>>(self.head.inputs);
        stream.take(self.head.outputs)
    }

    /// The steps.
    pub fn steps(&self) -> impl Iterator<Item = Step<'a>> + use<'a, O> {
        let mut stream = validate::Stream::after_head(self.plan);
        stream.skip::<Input<'a>>(self.head.inputs);
        stream.skip::<Output<'a>>(self.head.outputs);
        stream.take_steps::<O>(self.head.steps)
    }

    /// The weights section.
    pub fn weights(&self) -> &'a [u8] {
        self.weights
    }

    /// Constants of the weights section; empty where the span is outside, which validation excludes
    /// for the spans of the plan.
    pub fn constant(&self, span: Span) -> &'a [u8] {
        let start = span.offset as usize;
        start.checked_add(span.bytes as usize).and_then(|end| self.weights.get(start..end)).unwrap_or(&[])
    }

    /// The prepacked section of a layout.
    pub fn prepacked(&self, key: &str) -> Option<&'a [u8]> {
        self.sections()
            .find(|section| section.kind == SectionKind::Prepacked && section.key == key)
            .map(|section| section.bytes)
    }

    /// An island section, by its place among them; `None` where there is none, or it is no island, which
    /// validation excludes for those that steps name.
    pub fn island(&self, index: u32) -> Option<Island<'a>> {
        let mut islands = self.sections().filter(|section| section.kind == SectionKind::Island);
        islands.nth(index as usize).and_then(|section| Island::parse(section.bytes))
    }

    /// The golden samples.
    pub fn golden(&self) -> impl Iterator<Item = Golden<'a>> + use<'a, O> {
        golden::samples(self.golden.unwrap_or(&[]))
    }

    /// The front-end for a sensor's samples, where the package has one, at a multiple of 64 in memory. It is validated
    /// by who reads it (`edgepack_signal::FrontEnd::parse`): most devices do not.
    pub fn signal(&self) -> Option<&'a [u8]> {
        self.signal
    }

    /// JSON about where the package comes from; empty where there is none.
    pub fn provenance(&self) -> &'a str {
        self.provenance
    }
}
