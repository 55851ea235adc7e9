//! The `.epk` package: schema, zero-copy reader, validation; the writer is behind the feature
//! `writer`. FORMAT.md describes the bytes for someone who would write a second reader.
//!
//! A package is hostile until [`Package::parse`] has accepted it: every size, offset, hash, operation
//! and buffer is checked there once, so that the executor need not check again.
//!
//! **Architecture invariant:** the reader neither allocates nor panics, for any bytes.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "writer"))]
extern crate std;

mod container;
mod error;
mod golden;
mod hash;
mod island;
mod operations;
pub mod plan;
mod read;
#[cfg(test)]
mod tests;
mod validate;
#[cfg(any(test, feature = "writer"))]
pub mod writer;

pub use container::{
    ENTRY_BYTES, FORMAT_VERSION, HEADER_BYTES, MAGIC, Package, SECTION_ALIGN, Section, SectionKind,
};
pub use error::{Error, Place};
pub use golden::{Golden, GoldenInput, SeededBytes};
pub use hash::{Hash, Hasher};
pub use island::{ISLAND_ALIGN, Island};
pub use operations::{All, Operation, OperationSet, Operations};
