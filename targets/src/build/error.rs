//! Why nothing was built.

use std::path::PathBuf;

use super::{Missing, Tool};

/// Why there is no agent or library. Nothing was written then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The sources are not here.
    #[error(
        "{} is not in a clone of edgepack, whose sources are what is built; \
         git clone {} && cd edgepack, or name one with --workspace", path.display(), env!("CARGO_PKG_REPOSITORY")
    )]
    NoWorkspace {
        /// Where it was looked for, and above.
        path: PathBuf,
    },
    /// Something must be installed first.
    #[error("what builds for {triple} is not all there:\n{}", list(missing))]
    Missing {
        /// The target.
        triple: &'static str,
        /// What each tool lacks.
        missing: Vec<(Tool, Vec<Missing>)>,
    },
    /// That is not built for the target, or not by this tool.
    #[error("{what}; {remedy}")]
    Unsupported {
        /// What is not done.
        what: String,
        /// What is.
        remedy: String,
    },
    /// A program cannot be started, or a file not be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The program or file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The build ended with an error, which it printed.
    #[error("`{command}` failed with {status}; its messages are above")]
    Failed {
        /// What ran.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// What came out is not what was asked for.
    #[error("{} is not what {board} needs: {what}; it was not put into place", path.display())]
    Wrong {
        /// The program.
        path: PathBuf,
        /// The board.
        board: String,
        /// What it is instead.
        what: String,
    },
    /// The folder for a library holds something else.
    #[error(
        "{} has {file} in it, which is none of the library's: it is not replaced; name another folder with --output",
        path.display()
    )]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// A file in it.
        file: String,
    },
}

fn list(missing: &[(Tool, Vec<Missing>)]) -> String {
    let line = |tool: &Tool, one: &Missing| format!("  with {}: {}; {}", tool.name(), one.what, one.remedy);
    let lines = missing.iter().flat_map(|(tool, all)| all.iter().map(move |one| line(tool, one)));
    lines.collect::<Vec<_>>().join("\n")
}
