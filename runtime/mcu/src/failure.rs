//! Why the agent ended with 2.

use core::fmt;

use edgepack_firmware::{ModelError, edgepack_signal};

use crate::Room;

/// What went wrong, with what it went wrong with.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Failure<'a> {
    /// The command line is not one.
    Usage(&'static str),
    /// This word of the command line is none.
    Word(&'a str),
    /// The host does not open a file.
    File(&'a str),
    /// The host does not read or write on.
    Io,
    /// The package is not in the flash.
    Place {
        /// Where it is to be.
        given: Room,
        /// What of the flash is free.
        free: Room,
    },
    /// The package is refused, or a run of it.
    Model(ModelError),
    /// The package's front-end is refused.
    Signal(edgepack_signal::Error),
    /// The package needs more memory than the board has.
    Ram {
        /// What of it does not fit: the arena, or a sample.
        what: &'static str,
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that are left.
        given: usize,
    },
    /// A file of another length than some samples.
    Length {
        /// Bytes of the file.
        given: usize,
        /// Bytes of a sample.
        sample: usize,
    },
    /// Raw pixels for a package of several inputs.
    Pixels {
        /// How many.
        inputs: u32,
    },
}

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Usage(remedy) => f.write_str(remedy),
            Self::Word(word) => write!(
                f,
                "`{word}`: give info, run, bench or selftest, then ADDRESS+BYTES of the package, --input FILE, --form \
                 f32|u8|i8, --output FILE, --warmup N, --runs N, --flash ADDRESS+BYTES, --ram ADDRESS+BYTES"
            ),
            Self::File(path) => write!(f, "{path}: the host does not open it"),
            Self::Io => f.write_str("the host does not read or write on: is its disk full?"),
            Self::Place { given, free } => write!(
                f,
                "the package has {} bytes at {:#x}, the board's flash has {} beside the agent, from {:#x} on: pack a \
                 smaller model",
                given.bytes, given.address, free.bytes, free.address
            ),
            Self::Model(error) => error.fmt(f),
            Self::Signal(error) => error.fmt(f),
            Self::Ram { what, needed, given } => write!(
                f,
                "too little RAM: {what} needs {needed} bytes, the board has {given} left: pack a smaller model, or \
                 with a smaller input"
            ),
            Self::Length { given, sample } => {
                write!(f, "--input: {given} bytes are not a number of samples of {sample} bytes")
            }
            Self::Pixels { inputs } => {
                write!(f, "--form u8: the package has {inputs} inputs; give all of them as f32")
            }
        }
    }
}

impl From<ModelError> for Failure<'_> {
    fn from(error: ModelError) -> Self {
        Self::Model(error)
    }
}
