//! Boards as data, one TOML file each, and how to build for and emulate them.
//!
//! **Architecture invariant:** this crate depends on no other crate of ours; an instruction set is the
//! text that the kernels' `IsaSet::parse` and `EDGEPACK_ISA` read.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub mod transport;

/// A board, or any other machine that packages run on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// Its name: that of its file.
    #[serde(default)]
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// Architecture: `aarch64`, `armv7` or `x86_64`.
    pub arch: String,
    /// Rust's target triple of the agent.
    pub triple: String,
    /// The processor, as compilers name it.
    pub cpu: String,
    /// Processors of this kind.
    pub cores: u32,
    /// Instruction sets that kernels may use, by commas: `neon`, `dotprod`, `i8mm`, `neon32`, …
    pub isa: String,
    /// Second-level cache that one core can fill, in KiB.
    pub l2_kib: Option<u32>,
    /// How to emulate it; without it, it is not emulated.
    pub qemu: Option<Qemu>,
}

/// QEMU's user mode for a board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Qemu {
    /// The program, such as `qemu-aarch64`.
    pub program: String,
    /// The argument of its `-cpu`.
    pub cpu: String,
}

/// Why a board is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No board has this name.
    #[error(
        "no board `{name}`{}; the boards are {known}; or give the path of a .toml that describes yours",
        suggestion.map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
    )]
    Unknown {
        /// The name.
        name: String,
        /// A board of a similar name.
        suggestion: Option<&'static str>,
        /// The names that are known.
        known: String,
    },
    /// The description could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The description is not one.
    #[error("{}: {source}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: Box<toml::de::Error>,
    },
}

macro_rules! boards {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../boards/", $name, ".toml")))),*]
    };
}

/// Name and description of each board that comes with edgepack.
const BOARDS: &[(&str, &str)] = boards![
    "rpi-zero-2w",
    "rpi2",
    "rpi3",
    "rpi4",
    "rpi4-32",
    "rpi5",
    "beaglebone-black",
    "jetson-nano",
    "rock-5b",
    "imx8m-plus",
    "android-arm64",
    "generic-armv7",
    "generic-aarch64",
    "armv8-i8mm",
    "x86-64-v3",
    "n100",
    "x86-64-v4",
];

impl Board {
    /// The boards that come with edgepack.
    pub fn all() -> Vec<Board> {
        BOARDS.iter().filter_map(|(name, text)| Board::parse(name, text, Path::new(name)).ok()).collect()
    }

    /// The board of this name, or the one that the `.toml` file of this path describes.
    ///
    /// # Errors
    /// [`Error`], which names the boards there are.
    pub fn find(name: &str) -> Result<Board, Error> {
        if let Some((name, text)) = BOARDS.iter().find(|(known, _)| *known == name) {
            return Board::parse(name, text, Path::new(name));
        }
        let path = Path::new(name);
        if path.extension().is_none_or(|extension| extension != "toml") {
            return Err(Error::Unknown {
                name: name.into(),
                suggestion: closest(name),
                known: BOARDS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
            });
        }
        let text = std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.into(), source })?;
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Board::parse(&stem, &text, path)
    }

    fn parse(name: &str, text: &str, path: &Path) -> Result<Board, Error> {
        let mut board: Board = toml::from_str(text)
            .map_err(|source| Error::Toml { path: path.into(), source: Box::new(source) })?;
        if board.name.is_empty() {
            board.name = name.into();
        }
        Ok(board)
    }

    /// The environment variable that names the agent's binary for this board's architecture.
    pub fn agent_variable(&self) -> String {
        format!("EDGEPACK_AGENT_{}", self.arch.to_uppercase())
    }

    /// Where cargo puts the agent for this board, below the workspace's `target`.
    pub fn agent_path(&self) -> PathBuf {
        Path::new("target").join(&self.triple).join("device").join("edgepack-agent")
    }

    /// The command that builds the agent for this board.
    pub fn agent_command(&self) -> String {
        let linker = match self.triple.as_str() {
            "aarch64-unknown-linux-gnu" => {
                "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc "
            }
            "armv7-unknown-linux-gnueabihf" => {
                "CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER=arm-linux-gnueabihf-gcc "
            }
            _ => "",
        };
        format!(
            "RUSTFLAGS='-C target-feature=+crt-static -C force-unwind-tables=no' {linker}\
             cargo build --profile device -p edgepack-agent --target {}",
            self.triple
        )
    }
}

/// The board whose name differs least, in the spelling of letters and digits only.
fn closest(name: &str) -> Option<&'static str> {
    let letters = |text: &str| -> String {
        text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
    };
    let wanted = letters(name).replace("raspberrypi", "rpi").replace("raspi", "rpi");
    BOARDS.iter().map(|(known, _)| *known).find(|known| {
        let known = letters(known);
        known == wanted || (wanted.len() >= 3 && (known.starts_with(&wanted) || wanted.starts_with(&known)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_board_parses() {
        assert_eq!(Board::all().len(), BOARDS.len());
        for (name, _) in BOARDS {
            let board = Board::find(name).unwrap();
            assert_eq!(board.name, *name);
            assert!(board.triple.starts_with(&board.arch), "{name}");
            let program = board.qemu.map(|qemu| qemu.program);
            match board.arch.as_str() {
                "aarch64" => assert!(program.is_none_or(|program| program == "qemu-aarch64")),
                "armv7" => assert_eq!(program.as_deref(), Some("qemu-arm")),
                _ => assert_eq!((program, board.arch.as_str()), (None, "x86_64")),
            }
        }
    }

    #[test]
    fn every_file_is_a_board() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("boards");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_string();
            assert!(BOARDS.iter().any(|(name, _)| *name == stem), "{stem} is not in the list");
            assert_eq!(Board::find(path.to_str().unwrap()).unwrap(), Board::find(&stem).unwrap());
        }
    }

    #[test]
    fn unknown_board_names_those_there_are() {
        let error = Board::find("raspberry-pi-4").unwrap_err().to_string();
        assert!(error.contains("did you mean rpi4?") && error.contains("jetson-nano"), "{error}");
        assert!(
            Board::find("toaster").unwrap_err().to_string().starts_with("no board `toaster`; the boards")
        );
        let error = Board::find("none.toml").unwrap_err().to_string();
        assert!(error.contains("none.toml"), "{error}");
    }

    #[test]
    fn unknown_field_is_refused_by_name() {
        let error = Board::parse("b", "descripton = \"\"", Path::new("b.toml")).unwrap_err().to_string();
        assert!(error.contains("b.toml") && error.contains("descripton"), "{error}");
    }
}
