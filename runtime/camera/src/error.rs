//! What can go wrong between a frame and a pin.

use std::path::PathBuf;

use edgepack_firmware::DecisionError;

use crate::PinError;

/// An error of the program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line.
    #[error("{0}")]
    Usage(String),
    /// Thresholds or votes.
    #[error(transparent)]
    Decision(#[from] DecisionError),
    /// The package does not load or run.
    #[error(transparent)]
    Engine(#[from] edgepack_engine::Error),
    /// The package takes something else than a picture.
    #[error("{}: {reason}", path.display())]
    Input {
        /// The package.
        path: PathBuf,
        /// What it takes, and what would be right.
        reason: String,
    },
    /// The package has no such class.
    #[error("--class {class}: the package's first output has {classes}, from 0 on")]
    Class {
        /// The class.
        class: usize,
        /// How many there are.
        classes: usize,
    },
    /// A file, a folder or the camera cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A frame that is no image.
    #[error("{}: {source}", path.display())]
    Image {
        /// The file or camera.
        path: PathBuf,
        /// What the decoder says.
        source: image::ImageError,
    },
    /// A frame that does not fit.
    #[error("{}: {reason}", path.display())]
    Frame {
        /// The file or camera.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The pin.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// What is told cannot be written.
    #[error("the output: {0}")]
    Output(std::io::Error),
}

impl From<lexopt::Error> for Error {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(format!("{error}; see --help"))
    }
}

/// What [`edgepack_firmware::Watch`] says, without where it comes from: each of these tells that itself.
impl From<edgepack_firmware::Error<Error, edgepack_engine::Error, PinError>> for Error {
    fn from(error: edgepack_firmware::Error<Error, edgepack_engine::Error, PinError>) -> Self {
        use edgepack_firmware::Error as Watch;
        match error {
            Watch::Source(error) => error,
            Watch::Model(error) => Self::Engine(error),
            Watch::Class { class, classes } => Self::Class { class, classes },
            Watch::Pin(error) => Self::Pin(error),
            other => Self::Usage(format!("{other:?}")),
        }
    }
}
