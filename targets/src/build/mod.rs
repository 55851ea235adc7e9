//! Builds the agent for a board: says what is missing before it starts, and looks at what came out before it has
//! its name.
//!
//! rustup is never called: what it would install is said instead.

mod elf;
mod needs;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Serialize;

use crate::Board;
use crate::triple::Triple;

pub use elf::Program;
pub use needs::{Missing, missing};

/// What compiles and links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tool {
    /// cargo, with a linker of the system.
    Cargo,
    /// `cross`: cargo in a container that has everything.
    Cross,
}

/// All of them, the first choice first.
pub const TOOLS: [Tool; 2] = [Tool::Cargo, Tool::Cross];

impl Tool {
    /// Its name, as the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cargo => "cargo",
            Self::Cross => "cross",
        }
    }
}

/// Why there is no agent. Nothing was written then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The sources are not here.
    #[error(
        "{} is not in a clone of edgepack, whose sources the agent is built from; \
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
    /// The target is not built for.
    #[error("{triple} is not built for with these tools: {remedy}")]
    Unsupported {
        /// The target.
        triple: String,
        /// What does.
        remedy: &'static str,
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
}

fn list(missing: &[(Tool, Vec<Missing>)]) -> String {
    let line = |tool: &Tool, one: &Missing| format!("  with {}: {}; {}", tool.name(), one.what, one.remedy);
    let lines = missing.iter().flat_map(|(tool, all)| all.iter().map(move |one| line(tool, one)));
    lines.collect::<Vec<_>>().join("\n")
}

/// What is to be built.
#[derive(Debug)]
pub struct Request<'a> {
    /// For what.
    pub board: &'a Board,
    /// A folder in a clone of edgepack.
    pub folder: &'a Path,
    /// With what; `None` for the first that has everything.
    pub tool: Option<Tool>,
    /// The folder that the agent goes into; `None` for where the harness looks for it.
    pub output: Option<&'a Path>,
}

/// What was built.
#[derive(Clone, Debug, Serialize)]
pub struct Built {
    /// The agent.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its target.
    pub triple: &'static str,
    /// What built it.
    pub tool: Tool,
}

/// The clone of edgepack that a folder is in.
///
/// # Errors
/// [`Error::NoWorkspace`].
pub fn workspace(folder: &Path) -> Result<PathBuf, Error> {
    let path = std::path::absolute(folder).map_err(|source| Error::Io { path: folder.into(), source })?;
    let is_clone =
        |path: &&Path| path.join("runtime/agent/Cargo.toml").is_file() && path.join("Cargo.toml").is_file();
    path.ancestors().find(is_clone).map(Path::to_path_buf).ok_or(Error::NoWorkspace { path: path.clone() })
}

/// Builds a static, stripped agent. What is there already stays until the new one is found good.
///
/// # Errors
/// [`Error`]: something is missing, the build fails, or what came out is for another machine, dynamic or not stripped.
pub fn build(request: &Request, progress: &mut dyn FnMut(&str)) -> Result<Built, Error> {
    let board = request.board;
    let workspace = workspace(request.folder)?;
    let triple = Triple::find(&board.triple).filter(|triple| triple.libc == crate::LibcFamily::Glibc);
    let Some(triple) = triple else {
        return Err(Error::Unsupported {
            triple: board.triple.clone(),
            remedy: "the static agent of a -gnu triple of the same architecture runs there too; \
                     give generic-aarch64 or generic-armv7 as the board",
        });
    };
    let tool = choose(request.tool, triple, &workspace)?;
    // Apart from other builds, whose flags differ, and from what the harness takes for a finished agent.
    let target = workspace.join("target/build").join(tool.name());
    let mut command = Command::new(tool.name());
    command.args(["build", "--profile", "device", "-p", "edgepack-agent", "--target", triple.name]);
    command.current_dir(&workspace).env("CARGO_TARGET_DIR", &target).env("RUSTUP_AUTO_INSTALL", "0");
    command.env("RUSTFLAGS", "-C target-feature=+crt-static -C force-unwind-tables=no");
    if let (Tool::Cargo, Some(linker)) = (tool, triple.linker)
        && std::env::var_os(triple.linker_variable()).is_none()
        && triple.arch != std::env::consts::ARCH
    {
        command.env(triple.linker_variable(), linker);
    }
    run(&mut command, progress)?;
    let made = target.join(triple.name).join("device/edgepack-agent");
    let bytes = std::fs::read(&made).map_err(|source| Error::Io { path: made.clone(), source })?;
    let wrong = |what| Error::Wrong { path: made.clone(), board: board.name.clone(), what };
    check(&bytes, triple).map_err(wrong)?;
    let place = match request.output {
        Some(folder) => folder.join("edgepack-agent"),
        None => workspace.join(board.agent_path()),
    };
    put(&bytes, &place)?;
    Ok(Built { path: place, bytes: bytes.len() as u64, triple: triple.name, tool })
}

/// The tool that was asked for, or the first that lacks nothing.
fn choose(wish: Option<Tool>, triple: &'static Triple, workspace: &Path) -> Result<Tool, Error> {
    let tools = wish.map_or(TOOLS.to_vec(), |tool| vec![tool]);
    let mut lacking = Vec::new();
    for tool in tools {
        let missing = missing(tool, triple, workspace);
        if missing.is_empty() {
            return Ok(tool);
        }
        lacking.push((tool, missing));
    }
    Err(Error::Missing { triple: triple.name, missing: lacking })
}

/// What cross says before it builds for the host's libraries instead, and succeeds.
const FALLS_BACK: &str = "Falling back to `cargo`";

/// Runs a build, whose messages are handed on line by line.
fn run(command: &mut Command, progress: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let name = command.get_program().to_string_lossy().into_owned();
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let failed = |source| Error::Io { path: PathBuf::from(&name), source };
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    let mut fell_back = false;
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).split(b'\n') {
            let line = line.map_err(failed)?;
            let line = String::from_utf8_lossy(&line);
            fell_back |= line.contains(FALLS_BACK);
            progress(&line);
        }
    }
    let status = child.wait().map_err(failed)?;
    let command = format!("{name} {}", words.join(" "));
    match (status.success(), fell_back) {
        (true, false) => Ok(()),
        (true, true) => Err(Error::Wrong {
            path: PathBuf::from(command),
            board: "the board".into(),
            what:
                "cross had no image for the target and built on the host; see that the container engine runs"
                    .into(),
        }),
        (false, _) => Err(Error::Failed { command, status }),
    }
}

/// Whether these bytes are the program that a device of this target runs without anything else.
fn check(bytes: &[u8], triple: &Triple) -> Result<(), String> {
    let program = Program::parse(bytes).ok_or("it is no program of Linux")?;
    if program.machine != triple.machine {
        return Err(format!("it is for machine {}, {} is {}", program.machine, triple.arch, triple.machine));
    }
    if !program.is_static {
        return Err(
            "it needs a loader and libraries of the system; is `+crt-static` taken from RUSTFLAGS?".into()
        );
    }
    if !program.is_stripped {
        return Err("it has its symbols; is `strip` in [profile.device]?".into());
    }
    Ok(())
}

/// Writes a program under another name first: whoever looks finds the old one, or the new one, whole.
fn put(bytes: &[u8], place: &Path) -> Result<(), Error> {
    let failed = |source| Error::Io { path: place.into(), source };
    let folder = place.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755));
    let mut file = builder.tempfile_in(folder).map_err(failed)?;
    std::io::Write::write_all(&mut file, bytes).map_err(failed)?;
    file.persist(place).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_outside_a_clone_says_how_to_get_one() {
        let folder = tempfile::tempdir().unwrap();
        let error = workspace(folder.path()).unwrap_err().to_string();
        assert!(error.contains("git clone") && error.contains("--workspace"), "{error}");
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(workspace(&own.join("src")).unwrap(), own.parent().unwrap());
    }

    #[test]
    fn program_of_another_kind_is_refused() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let of = |arch: &str| crate::triple::TRIPLES.iter().find(|triple| triple.arch == arch).unwrap();
        let here = std::env::consts::ARCH;
        let other = if here == "aarch64" { "x86_64" } else { "aarch64" };
        assert!(check(&own, of(other)).unwrap_err().contains("it is for machine"));
        assert!(check(&own, of(here)).unwrap_err().contains("needs a loader"));
        assert!(check(b"#!/bin/sh", of(here)).unwrap_err().contains("no program"));
    }

    #[test]
    fn cross_that_falls_back_to_the_host_has_failed() {
        let mut seen = Vec::new();
        let script = "echo 'Falling back to `cargo` on the host.' >&2";
        let error = run(Command::new("sh").args(["-c", script]), &mut |line| seen.push(line.to_string()));
        assert!(error.unwrap_err().to_string().contains("no image for the target"));
        assert_eq!(seen, ["Falling back to `cargo` on the host."]);
        let error = run(Command::new("sh").args(["-c", "exit 3"]), &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains("failed with exit status: 3"), "{error}");
    }

    #[test]
    fn program_gets_its_name_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("new/edgepack-agent");
        put(b"one", &place).unwrap();
        put(b"two", &place).unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(place.parent().unwrap()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(place.metadata().unwrap().permissions().mode() & 0o777, 0o755);
        }
        // A folder that is in the way is no place, and nothing is left beside it.
        std::fs::create_dir(folder.path().join("edgepack-agent")).unwrap();
        assert!(put(b"three", &folder.path().join("edgepack-agent")).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
