//! Why a front-end is refused.

use core::fmt;

/// Why there is no front-end, or it does not do what is asked for. Small, without allocations, with a number each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The section contradicts itself: a defect of what wrote the package, or an attack.
    Malformed {
        /// What.
        field: &'static str,
    },
    /// The section does not start at a multiple of 4 in memory.
    Alignment,
    /// Too little memory was given.
    Memory {
        /// f32 that are needed.
        needed: usize,
        /// f32 that were given.
        given: usize,
    },
    /// A place for features that is not as long as they are.
    Output {
        /// f32 of a window of features.
        needed: usize,
        /// f32 that were given.
        given: usize,
    },
    /// The features of the self-test are others than on the workstation.
    Check,
}

impl Error {
    /// A number for each kind that never changes.
    pub fn code(&self) -> u32 {
        match self {
            Self::Malformed { .. } => 1,
            Self::Alignment => 2,
            Self::Memory { .. } => 3,
            Self::Output { .. } => 4,
            Self::Check => 5,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { field } => write!(
                f,
                "signal front-end: {field} is not possible: this is not what edgepack writes, pack the model again"
            ),
            Self::Alignment => {
                f.write_str("signal front-end: the section must lie at a multiple of 4 bytes in memory")
            }
            Self::Memory { needed, given } => {
                write!(f, "signal front-end: it needs memory for {needed} f32, {given} were given")
            }
            Self::Output { needed, given } => {
                write!(f, "signal front-end: a window of {needed} features for a place of {given}")
            }
            Self::Check => f.write_str("signal front-end: it gives other features than on the workstation"),
        }
    }
}

impl core::error::Error for Error {}
