//! Why a package is refused.

use core::fmt;

use crate::{FORMAT_VERSION, Operation};

/// Where in a package something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The first bytes.
    Header,
    /// Entry of the section table.
    Section(u32),
    /// The plan's head.
    Head,
    /// Input of the plan.
    Input(u32),
    /// Output of the plan.
    Output(u32),
    /// Step of the plan.
    Step(u32),
    /// Golden sample.
    Golden(u32),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("header"),
            Self::Section(i) => write!(f, "section {i}"),
            Self::Head => f.write_str("plan"),
            Self::Input(i) => write!(f, "input {i}"),
            Self::Output(i) => write!(f, "output {i}"),
            Self::Step(i) => write!(f, "step {i}"),
            Self::Golden(i) => write!(f, "golden sample {i}"),
        }
    }
}

/// Why a package is refused. Small and without allocations, so that a microcontroller can report it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The bytes do not start like a package.
    NotAPackage,
    /// The package has a format that this build does not read.
    Version {
        /// The package's.
        found: u32,
    },
    /// The file is shorter or longer than it says.
    Length {
        /// What it says.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// The bytes in memory do not start at a multiple of 64.
    Alignment,
    /// Bytes differ from those that were hashed.
    Damaged(Place),
    /// The structure contradicts itself: a defect of what wrote the package, or an attack.
    Malformed {
        /// Where.
        place: Place,
        /// What.
        field: &'static str,
    },
    /// A section that every package has is not there.
    Missing {
        /// Its name.
        section: &'static str,
    },
    /// A step does what this program was built without.
    Operation {
        /// The step.
        step: u32,
        /// What it does.
        operation: Operation,
    },
}

impl Error {
    /// A number for each kind that never changes.
    pub fn code(&self) -> u32 {
        match self {
            Self::NotAPackage => 1,
            Self::Version { .. } => 2,
            Self::Length { .. } => 3,
            Self::Alignment => 4,
            Self::Damaged(_) => 5,
            Self::Malformed { .. } => 6,
            Self::Missing { .. } => 7,
            Self::Operation { .. } => 8,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPackage => f.write_str("no edgepack package: it does not start with EDGEPACK"),
            Self::Version { found } if *found > FORMAT_VERSION => write!(
                f,
                "written by a newer edgepack (format {found}, this build reads {FORMAT_VERSION}): \
                 update this program, or pack the model again with the edgepack of this version"
            ),
            Self::Version { found } => write!(
                f,
                "format {found} is no longer read (this build reads {FORMAT_VERSION}): pack the model again"
            ),
            Self::Length { expected, found } => write!(
                f,
                "the package says that it has {expected} bytes, but {found} are there: copy it again"
            ),
            Self::Alignment => f.write_str("the package must lie at a multiple of 64 bytes in memory"),
            Self::Damaged(place) => {
                write!(f, "{place} is damaged (its hash does not match): copy the package again")
            }
            Self::Malformed { place, field } => {
                write!(
                    f,
                    "{place}: {field} is not possible: this is not what edgepack writes, pack the model again"
                )
            }
            Self::Operation { step, operation } => write!(
                f,
                "step {step} is {operation}, which this program was built without: build it again with the set of \
                 operations that was written with the package"
            ),
            Self::Missing { section } => write!(f, "the section {section} is missing: pack the model again"),
        }
    }
}

impl core::error::Error for Error {}
