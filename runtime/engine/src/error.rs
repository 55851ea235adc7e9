//! What can go wrong between a file and an output.

use std::path::PathBuf;

use edgepack_core::{BindError, RunError};

/// An error of the engine.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no package that can be run.
    #[error("{}: {source}", path.display())]
    Package {
        /// The file, or what stands for it.
        path: PathBuf,
        /// What is wrong with it.
        source: edgepack_core::format::Error,
    },
    /// The package could not be bound to kernels.
    #[error("the package cannot be run by this build: {0}")]
    Bind(BindError),
    /// An input, a run or an output was refused.
    #[error("{0}")]
    Run(RunError),
    /// `EDGEPACK_ISA` names something else than instruction sets.
    #[error("EDGEPACK_ISA: `{word}` is none of {known}")]
    Isa {
        /// The word.
        word: String,
        /// The words that are known.
        known: String,
    },
    /// More threads than there are processors for.
    #[error("{threads} threads: this device has processors for {most}; pass --threads {most} or fewer")]
    Threads {
        /// Threads asked for.
        threads: usize,
        /// The most that make sense.
        most: usize,
    },
    /// Processors that are not there, or that this process may not use.
    #[error("--pin {cores:?}: this process may run on {allowed:?}; name some of these")]
    Pin {
        /// Those asked for.
        cores: Vec<usize>,
        /// Those that there are; none where the system binds nothing.
        allowed: Vec<usize>,
    },
    /// More threads than processors to run on.
    #[error("{threads} threads on the {cores} processor(s) of --pin; name as many as there are threads")]
    PinnedThreads {
        /// Threads asked for.
        threads: usize,
        /// Processors asked for.
        cores: usize,
    },
    /// The system gave no more threads.
    #[error("the system starts no more threads ({0}); pass --threads 1")]
    Spawn(std::io::Error),
    /// A step is an island, and this build runs none.
    #[error(
        "{}: step `{step}` is an island, which tract runs: this build has none; build with `--features tract`, or \
         pack the model with --islands never", path.display()
    )]
    NoIslands {
        /// The file, or what stands for it.
        path: PathBuf,
        /// The first such step.
        step: String,
    },
    /// An island that tract does not load.
    #[error("{}: island {index}: {reason}", path.display())]
    Island {
        /// The file, or what stands for it.
        path: PathBuf,
        /// Which of the package's islands.
        index: usize,
        /// What tract said.
        reason: String,
    },
    /// An island that tract could not run on these values.
    #[error("island `{step}`: {reason}")]
    IslandRun {
        /// The step.
        step: String,
        /// What tract said.
        reason: String,
    },
    /// A golden sample gave other outputs than it must.
    #[error(
        "golden sample {index}: the outputs differ from those of the workstation, on {isa}: \
         package or build are damaged; copy both again, and report this if it stays"
    )]
    Golden {
        /// The sample.
        index: usize,
        /// The instruction sets in use.
        isa: String,
    },
}

/// The same as for people: derived, it would bring the names of all fields of all errors into the agent, which
/// prints none of them.
impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl From<BindError> for Error {
    fn from(error: BindError) -> Self {
        Self::Bind(error)
    }
}

impl From<RunError> for Error {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}
