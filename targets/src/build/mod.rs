//! Builds the agent or the C library for a board: says what is missing before it starts, and looks at what came out
//! before it has its name.
//!
//! rustup is never called: what it would install is said instead.

mod elf;
mod error;
mod library;
mod linkage;
mod ndk;
mod needs;
mod place;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Serialize;

use crate::triple::Triple;
use crate::{Board, LibcFamily, Linux};

pub use elf::{Program, machines_of_archive};
pub use error::Error;
pub use linkage::{GlibcVersion, Linkage};
pub use needs::{Missing, of_firmware as needs_of_firmware};

/// What compiles and links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tool {
    /// cargo, with a linker of the system, or of Android's NDK.
    Cargo,
    /// cargo-zigbuild: cargo, with zig as the linker, which has the symbols of every version of glibc, and musl.
    Zigbuild,
    /// `cross`: cargo in a container that has everything.
    Cross,
}

impl Tool {
    /// Its name, as the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cargo => "cargo",
            Self::Zigbuild => "zigbuild",
            Self::Cross => "cross",
        }
    }
}

/// What is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Product {
    /// The program that runs packages on a device.
    Agent,
    /// The C library, for programs of others.
    Library,
}

impl Product {
    /// The tools that build it with a C library, the first choice first.
    ///
    /// A static agent runs on every system of its architecture, so that it is what cargo and cross make with glibc;
    /// zig has no static glibc. A shared library takes the system's, and only zig can link to one as old as the
    /// board's wherever it runs: cross has that of its image, cargo that of this machine's cross compiler.
    fn tools(self, libc: LibcFamily) -> &'static [Tool] {
        match (libc, self) {
            (LibcFamily::Glibc, Self::Agent) => &[Tool::Cargo, Tool::Cross, Tool::Zigbuild],
            (LibcFamily::Glibc, Self::Library) => &[Tool::Zigbuild, Tool::Cross, Tool::Cargo],
            (LibcFamily::Musl, Self::Agent) => &[Tool::Zigbuild],
            (LibcFamily::Musl, Self::Library) => &[],
            (LibcFamily::Bionic, _) => &[Tool::Cargo],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Agent => "the agent",
            Self::Library => "the C library",
        }
    }
}

/// What is to be built.
#[derive(Debug)]
pub struct Request<'a> {
    /// For what.
    pub board: &'a Board,
    /// What.
    pub product: Product,
    /// A folder in a clone of edgepack.
    pub folder: &'a Path,
    /// With what; `None` for the first that has everything.
    pub tool: Option<Tool>,
    /// Whose C library; `None` for the board's.
    pub libc: Option<LibcFamily>,
    /// The folder that the agent goes into, or that the library becomes; `None` for where the harness looks for a
    /// static agent, and a folder of the board's in `target` for what is not for every board.
    pub output: Option<&'a Path>,
}

/// What was built.
#[derive(Clone, Debug, Serialize)]
pub struct Built {
    /// What it is.
    pub product: Product,
    /// The agent, or the library's folder.
    pub path: PathBuf,
    /// The size of the agent, or of the shared library.
    pub bytes: u64,
    /// Its target.
    pub triple: &'static str,
    /// What built it.
    pub tool: Tool,
    /// What it asks of a device's system.
    pub linkage: Linkage,
}

/// How something is built.
#[derive(Debug)]
struct Plan<'a> {
    product: Product,
    tool: Tool,
    triple: &'static Triple,
    linkage: Linkage,
    workspace: &'a Path,
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

/// Builds a stripped agent, or the C library. What is there already stays until the new one is found good.
///
/// # Errors
/// [`Error`]: something is missing, the build fails, or what came out is for another machine, asks for more than the
/// board's system has, or is not stripped.
pub fn build(request: &Request, progress: &mut dyn FnMut(&str)) -> Result<Built, Error> {
    let workspace = workspace(request.folder)?;
    let plan = choose(request, &workspace)?;
    let target = plan.target_folder();
    run(&mut plan.command(&target), progress)?;
    let made = target.join(plan.triple.name).join(plan.profile());
    let name = match plan.product {
        Product::Agent if plan.is_bare() => "edgepack-mcu",
        Product::Agent => "edgepack-agent",
        Product::Library => "libedgepack.so",
    };
    let made = made.join(name);
    let bytes = std::fs::read(&made).map_err(|source| Error::Io { path: made.clone(), source })?;
    let wrong =
        |path: &Path, what| Error::Wrong { path: path.into(), board: request.board.name.clone(), what };
    let program = plan.check(&bytes).map_err(|what| wrong(&made, what))?;
    let path = match plan.product {
        Product::Agent => {
            let folder = request.output.map_or_else(|| plan.agent_folder(request.board), Path::to_path_buf);
            let place = folder.join(name);
            place::file(&bytes, &place)?;
            place
        }
        Product::Library => {
            let place = request
                .output
                .map_or_else(|| plan.folder_of(request.board).join("libedgepack"), Path::to_path_buf);
            library::check(&plan, &program, &made).map_err(|(path, what)| wrong(&path, what))?;
            place::folder(&place, &library::belongs, |new| library::install(&plan, &made, new))?;
            place
        }
    };
    let Plan { product, tool, triple, linkage, .. } = plan;
    Ok(Built { product, path, bytes: bytes.len() as u64, triple: triple.name, tool, linkage })
}

/// The plan with the tool that was asked for, or with the first that lacks nothing.
fn choose<'a>(request: &Request, workspace: &'a Path) -> Result<Plan<'a>, Error> {
    let Request { board, product, .. } = *request;
    let Some(linux) = board.linux() else {
        if let Some(plan) = machine_plan(request, workspace) {
            let missing = needs::missing(&plan);
            return match missing.is_empty() {
                true => Ok(plan),
                false => {
                    Err(Error::Missing { triple: plan.triple.name, missing: vec![(plan.tool, missing)] })
                }
            };
        }
        let what =
            format!("{} is not built for {}, which has no operating system", product.name(), board.name);
        let remedy = format!(
            "its package is a part of firmware: edgepack new-firmware PACKAGE.epk --target {} -o DIR makes a project, \
             which cargo build --release builds",
            board.name
        );
        return Err(Error::Unsupported { what, remedy });
    };
    let libc = request.libc.unwrap_or(linux.libc.family);
    let tools = product.tools(libc);
    let triple =
        crate::triple::TRIPLES.iter().find(|triple| triple.arch == board.arch && triple.libc == Some(libc));
    let unsupported = |tool: &str, remedy: String| {
        let what = format!("{} is not built for {} with {}{tool}", product.name(), board.arch, libc.name());
        Err(Error::Unsupported { what, remedy })
    };
    let Some(triple) = triple.filter(|_| !tools.is_empty()) else {
        return unsupported("", "give another C library, as --libc glibc".into());
    };
    let tools = match request.tool {
        None => tools,
        Some(tool) => match tools.iter().position(|one| *one == tool) {
            Some(index) => &tools[index..=index],
            None => {
                let names: Vec<_> = tools.iter().map(|tool| tool.name()).collect();
                let remedy =
                    format!("--with {} does, or give another C library by --libc", names.join(" or "));
                return unsupported(&format!(" by {}", tool.name()), remedy);
            }
        },
    };
    let mut lacking = Vec::new();
    for tool in tools.iter().copied() {
        let plan = Plan { product, tool, triple, linkage: linkage(linux, product, tool, libc), workspace };
        let missing = needs::missing(&plan);
        if missing.is_empty() {
            return Ok(plan);
        }
        lacking.push((tool, missing));
    }
    Err(Error::Missing { triple: triple.name, missing: lacking })
}

/// How the agent of a board that is emulated as a whole machine is built: it is the only program there, and rustc has
/// all that it takes.
fn machine_plan<'a>(request: &Request, workspace: &'a Path) -> Option<Plan<'a>> {
    request.board.microcontroller()?.qemu.as_ref()?;
    let plain = matches!((request.product, request.tool), (Product::Agent, None | Some(Tool::Cargo)));
    let triple = Triple::find(&request.board.triple).filter(|_| plain && request.libc.is_none())?;
    Some(Plan { product: Product::Agent, tool: Tool::Cargo, triple, linkage: Linkage::Static, workspace })
}

/// What the product may ask of the board's system.
fn linkage(linux: &Linux, product: Product, tool: Tool, libc: LibcFamily) -> Linkage {
    let oldest = linux.libc.oldest.as_deref().filter(|_| linux.libc.family == libc);
    match (libc, product, tool) {
        (LibcFamily::Musl, ..) | (LibcFamily::Glibc, Product::Agent, Tool::Cargo | Tool::Cross) => {
            Linkage::Static
        }
        (LibcFamily::Glibc, ..) => {
            Linkage::Glibc(oldest.and_then(GlibcVersion::parse).unwrap_or(GlibcVersion::RUST))
        }
        (LibcFamily::Bionic, ..) => {
            Linkage::Bionic(oldest.and_then(|level| level.parse().ok()).unwrap_or(24))
        }
    }
}

impl Plan<'_> {
    /// Whether it is for boards without an operating system.
    fn is_bare(&self) -> bool {
        self.triple.libc.is_none()
    }

    /// The profile that it is built with, which also names cargo's folder for it.
    fn profile(&self) -> &'static str {
        match self.product {
            Product::Agent if self.is_bare() => "firmware",
            Product::Agent => "device",
            Product::Library => "library",
        }
    }

    /// Apart from other builds, whose flags differ, and from what the harness takes for a finished agent.
    fn target_folder(&self) -> PathBuf {
        self.workspace.join("target/build").join(self.tool.name())
    }

    /// For what only one board is sure to run.
    fn folder_of(&self, board: &Board) -> PathBuf {
        // A name of one's own may be anything, and must not lead elsewhere.
        let name = Path::new(&board.name).file_name().unwrap_or_default();
        self.workspace.join("target/boards").join(name)
    }

    /// A static agent runs on every board of its architecture, whose agent the harness looks for in one place.
    fn agent_folder(&self, board: &Board) -> PathBuf {
        if self.is_bare() {
            return self.workspace.join("target").join(self.triple.name).join(self.profile());
        }
        let common =
            |triple: &&Triple| triple.arch == self.triple.arch && triple.libc == Some(LibcFamily::Glibc);
        match crate::triple::TRIPLES.iter().find(common) {
            Some(triple) if self.linkage == Linkage::Static => {
                self.workspace.join("target").join(triple.name).join(self.profile())
            }
            _ => self.folder_of(board),
        }
    }

    /// Cargo's words.
    fn words(&self) -> Vec<String> {
        let verb = if self.tool == Tool::Zigbuild { "zigbuild" } else { "build" };
        let package = match self.product {
            Product::Agent if self.is_bare() => "edgepack-mcu",
            Product::Agent => "edgepack-agent",
            Product::Library => "edgepack-capi",
        };
        let target = match (self.tool, self.linkage) {
            (Tool::Zigbuild, Linkage::Glibc(version)) => format!("{}.{version}", self.triple.name),
            _ => self.triple.name.into(),
        };
        let words = [verb, "--profile", self.profile(), "-p", package, "--target", &target];
        let mut words: Vec<String> = words.map(String::from).into();
        if let (Product::Library, Linkage::Bionic(_)) = (self.product, self.linkage) {
            // What Java calls.
            words.extend(["--features".into(), "jni".into()]);
        }
        words
    }

    /// rustc's flags.
    fn flags(&self) -> String {
        let mut flags = Vec::new();
        if self.is_bare() {
            return String::new();
        }
        match (self.tool, self.linkage) {
            // zig brings musl's files, which Rust's own copies would come on top of.
            (Tool::Zigbuild, Linkage::Static) => flags.push("-C link-self-contained=no"),
            (_, Linkage::Static) => flags.push("-C target-feature=+crt-static"),
            // Android's systems have pages of 4 or of 16 KiB.
            (_, Linkage::Bionic(_)) => flags.push("-C link-arg=-Wl,-z,max-page-size=16384"),
            (_, Linkage::Glibc(_)) => {}
        }
        if self.product == Product::Agent {
            // A panic aborts, so nothing is ever unwound.
            flags.push("-C force-unwind-tables=no");
        }
        flags.join(" ")
    }

    fn command(&self, target: &Path) -> Command {
        let mut command = Command::new(if self.tool == Tool::Cross { "cross" } else { "cargo" });
        command.args(self.words()).current_dir(self.workspace);
        command
            .env("CARGO_TARGET_DIR", target)
            .env("RUSTUP_AUTO_INSTALL", "0")
            .env("RUSTFLAGS", self.flags());
        // They would come before RUSTFLAGS.
        command.env_remove("CARGO_ENCODED_RUSTFLAGS");
        let variable = self.triple.linker_variable();
        if self.tool != Tool::Cargo {
            // A linker of this machine is not in the container, and would be taken for zig.
            command.env_remove(variable);
        } else if std::env::var_os(&variable).is_none() {
            let linker = match self.linkage {
                Linkage::Bionic(level) => ndk::linker(self.triple, level),
                _ => needs::needed_linker(self.triple).map(PathBuf::from),
            };
            command.envs(linker.map(|linker| (variable, linker)));
        }
        command
    }

    /// Whether these bytes are the program that the board runs.
    fn check(&self, bytes: &[u8]) -> Result<Program, String> {
        let program = Program::parse(bytes).ok_or("it is no program of Linux")?;
        if program.machine != self.triple.machine {
            let (found, wanted) = (program.machine, self.triple.machine);
            return Err(format!("it is for machine {found}, {} is {wanted}", self.triple.arch));
        }
        self.linkage.check(&program)?;
        if !program.is_stripped {
            return Err(format!("it has its symbols; is `strip` in [profile.{}]?", self.profile()));
        }
        Ok(program)
    }
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

#[cfg(test)]
mod tests;
