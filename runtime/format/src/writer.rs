//! Writing packages.

use std::boxed::Box;
use std::io::{self, Write};
use std::path::Path;
use std::vec::Vec;

use serde::Serialize;

use crate::container::{
    ENTRY_BYTES, FORMAT_VERSION, HEADER_BYTES, HEADER_HASH_AT, MAGIC, SECTION_ALIGN, SectionKind, hash_header,
};
use crate::golden::{Entry, EntryInput};
use crate::hash::Hash;
use crate::plan::{Head, Input, IslandTensor, Output, Span, Step};

/// Encodes a plan. The counts of `head` are taken from the slices.
pub fn encode_plan(head: Head, inputs: &[Input<'_>], outputs: &[Output<'_>], steps: &[Step<'_>]) -> Vec<u8> {
    let head = Head {
        inputs: inputs.len() as u32,
        outputs: outputs.len() as u32,
        steps: steps.len() as u32,
        ..head
    };
    let mut bytes = encode(&head);
    inputs.iter().for_each(|input| bytes.extend(encode(input)));
    outputs.iter().for_each(|output| bytes.extend(encode(output)));
    steps.iter().for_each(|step| bytes.extend(encode(step)));
    bytes
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    // Writing to a vector cannot fail, and the plan's types have no maps or unsized sequences.
    postcard::to_stdvec(value).expect("the plan's types can be encoded")
}

/// Encodes the section of an island: what it reads and gives, and its graph, as [`crate::Island`] has them.
pub fn encode_island(inputs: &[IslandTensor], outputs: &[IslandTensor], graph: &[u8]) -> Vec<u8> {
    let mut bytes = encode(&(inputs.len() as u32, outputs.len() as u32));
    inputs.iter().chain(outputs).for_each(|tensor| bytes.extend(encode(tensor)));
    bytes.extend_from_slice(graph);
    bytes
}

/// The input of a golden sample to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GoldenSample {
    /// All inputs in int8, one after the other.
    Stored(Vec<u8>),
    /// [`crate::SeededBytes`].
    Seeded(u64),
}

/// Encodes the golden section.
pub fn encode_golden(samples: &[(GoldenSample, Hash)]) -> Vec<u8> {
    // Offsets are varints: their size depends on the size of the entries, so try until it holds.
    let mut start = 0;
    loop {
        let mut bytes = encode(&(samples.len() as u32));
        let mut blobs = Vec::new();
        for (sample, output_hash) in samples {
            let input = match sample {
                GoldenSample::Seeded(seed) => EntryInput::Seeded(*seed),
                GoldenSample::Stored(blob) => {
                    let span = Span { offset: (start + blobs.len()) as u32, bytes: blob.len() as u32 };
                    blobs.extend_from_slice(blob);
                    EntryInput::Stored(span)
                }
            };
            bytes.extend(encode(&Entry { input, output_hash: *output_hash }));
        }
        if bytes.len() == start {
            bytes.extend(blobs);
            return bytes;
        }
        start = bytes.len();
    }
}

/// Puts sections together.
#[derive(Clone, Debug, Default)]
pub struct PackageWriter {
    sections: Vec<(SectionKind, [u8; 24], Vec<u8>)>,
}

impl PackageWriter {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a section. `key` is the layout of a prepacked section (at most 24 bytes), else empty.
    ///
    /// # Panics
    /// A key of more than 24 bytes.
    pub fn section(mut self, kind: SectionKind, key: &str, bytes: Vec<u8>) -> Self {
        let mut padded = [0; 24];
        padded[..key.len()].copy_from_slice(key.as_bytes());
        self.sections.push((kind, padded, bytes));
        self
    }

    /// The bytes of the package.
    pub fn finish(&self) -> Vec<u8> {
        let mut offset = HEADER_BYTES + self.sections.len() * ENTRY_BYTES;
        let mut table = Vec::new();
        let mut body = Vec::new();
        for (kind, key, bytes) in &self.sections {
            let start = offset.next_multiple_of(SECTION_ALIGN);
            body.resize(body.len() + start - offset, 0);
            body.extend_from_slice(bytes);
            offset = start + bytes.len();
            table.extend((*kind as u32).to_le_bytes());
            table.extend(0u32.to_le_bytes());
            table.extend((start as u64).to_le_bytes());
            table.extend((bytes.len() as u64).to_le_bytes());
            table.extend(key);
            table.extend(blake3::hash(bytes).as_bytes());
        }
        let mut package = Vec::with_capacity(offset);
        package.extend(MAGIC);
        package.extend(FORMAT_VERSION.to_le_bytes());
        package.extend((HEADER_BYTES as u32).to_le_bytes());
        package.extend((offset as u64).to_le_bytes());
        package.extend((self.sections.len() as u32).to_le_bytes());
        package.extend(0u32.to_le_bytes());
        package.extend([0; 32]);
        package.extend(&table);
        let hash = hash_header(&package);
        package[HEADER_HASH_AT..HEADER_HASH_AT + 32].copy_from_slice(&hash);
        package.extend(body);
        package
    }
}

/// Writes bytes to a temporary file beside `path`, lets `check` look at it, and renames it into
/// place. Nothing is left behind where any of this fails. Where `path` is a pipe or a device, the bytes
/// are written to it.
///
/// # Errors
/// What the system said, or what `check` said.
pub fn write_atomically(
    path: &Path,
    bytes: &[u8],
    check: impl FnOnce(&Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(there) if there.is_dir() => return Err(io::Error::from(io::ErrorKind::IsADirectory)),
        // A pipe or a device is written to, never replaced. Its bytes cannot be read again: a copy is
        // checked.
        Ok(there) if !there.is_file() => {
            let mut copy = tempfile::NamedTempFile::new()?;
            copy.write_all(bytes)?;
            check(copy.path()).map_err(io::Error::other)?;
            return std::fs::OpenOptions::new().write(true).open(path)?.write_all(bytes);
        }
        _ => {}
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".edgepack-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    check(file.path()).map_err(io::Error::other)?;
    // Temporary files are private; what is kept has the permissions of any other file.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
