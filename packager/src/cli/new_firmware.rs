//! `edgepack new-firmware`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use edgepack_engine::Model;
use edgepack_harness::Preprocessing;
use edgepack_packager::error::PackError;
use edgepack_packager::firmware::{File, Project};
use edgepack_packager::pack::{CalibrationSource, PackOptions, Target, pack};
use edgepack_targets::{Board, build};
use serde::Serialize;

use super::options::{Format, human_bytes};
use super::progress::Shown;
use super::{Context, Outcome};

/// Make a cargo project around a package, for a microcontroller: it builds and runs as it is, tests the package's golden
/// samples on the board, and has places for a sensor's driver and a pin.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  edgepack new-firmware --target mps2-an386 -o hello    (the bundled model)\n  \
                  edgepack new-firmware keywords.epk --target nucleo-l4r5zi -o keywords\n\n\
                  cargo build --release builds it; cargo run --release runs it under QEMU where that has the board, else on \
                  the board by probe-rs. It depends on edgepack's crates by the path of the clone, and has its Cargo.lock; \
                  outside of a clone by the release of this version. Exit code 1 where the package does not fit the board. \
                  Nothing is installed, and nothing half-written."
)]
pub(super) struct Args {
    /// The package, as `pack --target BOARD` makes it [default: the bundled network for digits]
    package: Option<PathBuf>,
    /// The board: a microcontroller of `edgepack targets`, or a .toml
    #[arg(long, value_name = "BOARD")]
    target: String,
    /// The project's folder, which is not there yet, or empty
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// A clone of edgepack [default: the one that this is run in, if it is]
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,
}

#[derive(Serialize)]
struct Made<'a> {
    project: &'a Path,
    board: &'a str,
    triple: &'a str,
    package: &'a str,
    package_bytes: usize,
    arena_bytes: u32,
    /// Paths in the project.
    files: Vec<&'a Path>,
    /// The clone that it depends on; `null` for the release's sources.
    clone: Option<&'a Path>,
    /// What runs a program there.
    runner: Option<Vec<String>>,
    missing: Vec<build::Missing>,
}

pub(super) fn run(args: &Args, context: Context) -> anyhow::Result<Outcome> {
    let board = Board::find(&args.target)?;
    if board.microcontroller().is_none() {
        anyhow::bail!(
            "--target {}: it has an operating system, where edgepack's agent runs packages: edgepack build --target {0} \
             makes it; `edgepack targets` lists microcontrollers, too",
            args.target
        );
    }
    let clone = match &args.workspace {
        Some(folder) => Some(build::workspace(folder)?),
        None => build::workspace(Path::new(".")).ok(),
    };
    check_place(&args.output)?;
    let bundled = tempfile::tempdir()?;
    let path = match &args.package {
        Some(path) => path.clone(),
        None => match bundled_package(bundled.path(), &board, context) {
            Err(PackError::Limits { reason }) => return Ok(refused(&reason)),
            path => path?,
        },
    };
    let model = Model::open(&path)?;
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    if Path::new(&*file).extension().is_none_or(|extension| extension == "rs") {
        anyhow::bail!(
            "{}: give the package a name such as model.epk: its module is beside it",
            path.display()
        );
    }
    let project = Project { board: &board, file: &file, package: model.package(), clone: clone.as_deref() };
    let files = match project.files() {
        Err(PackError::Limits { reason }) => return Ok(refused(&reason)),
        files => files?,
    };
    write(&args.output, &files)?;
    let made = Made {
        project: &args.output,
        board: &board.name,
        triple: &board.triple,
        package: &file,
        package_bytes: project.package.bytes().len(),
        arena_bytes: project.package.head().arena_bytes,
        files: files.iter().map(|(path, _)| path.as_path()).collect(),
        clone: clone.as_deref(),
        runner: project.runner(),
        missing: build::needs_of_firmware(&board, &args.output),
    };
    match context.format {
        Format::Json => println!("{}", serde_json::to_string(&made)?),
        _ => print(&made),
    }
    Ok(Outcome::Done)
}

fn refused(reason: &str) -> Outcome {
    eprintln!("error: the package does not fit: {reason}");
    Outcome::Failed
}

/// The bundled model, packed for a board.
fn bundled_package(folder: &Path, board: &Board, context: Context) -> Result<PathBuf, PackError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| PackError::Io { path, source }
    };
    for (name, bytes) in super::demo::FILES {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(io(&path))?;
    }
    let isa =
        super::kernels::board_isa(board).map_err(|error| PackError::Limits { reason: error.to_string() })?;
    let calibration = CalibrationSource::Data(folder.join("calibration.npz"));
    let options = PackOptions {
        preprocessing: Preprocessing { mean: vec![127.5], std: vec![127.5], ..Preprocessing::default() },
        target: Some(Target { name: board.name.clone(), isa, is_microcontroller: true }),
        // The project is checked against all that the board has.
        l2_kib: 0,
        ..PackOptions::new(folder.join("digits.onnx"), folder.join("digits.epk"), calibration)
    };
    Ok(pack(&options, &mut Shown::new(context))?.package)
}

/// Whether a project may be made here.
fn check_place(folder: &Path) -> anyhow::Result<()> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => anyhow::bail!(
                "--output {}: there is something in it, which is not replaced; name a folder that is not there yet",
                folder.display()
            ),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("--output {}", folder.display())),
    }
}

/// Makes the folder beside its place, and renames it.
fn write(folder: &Path, files: &[File]) -> anyhow::Result<()> {
    let failed = || format!("--output {}", folder.display());
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).with_context(failed)?;
    let beside = tempfile::tempdir_in(parent).with_context(failed)?;
    let new = beside.path().join("new");
    for (path, bytes) in files {
        let path = new.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(&new)).with_context(failed)?;
        std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    }
    // An empty one may be in the way.
    let _ = std::fs::remove_dir(folder);
    std::fs::rename(&new, folder).with_context(failed)
}

fn print(made: &Made<'_>) {
    println!(
        "{}: firmware for {} ({}) with {}: {} of flash, an arena of {}",
        made.project.display(),
        made.board,
        made.triple,
        made.package,
        human_bytes(made.package_bytes as u64),
        human_bytes(made.arena_bytes.into())
    );
    match made.clone {
        Some(clone) => println!("it takes edgepack from {}", clone.display()),
        None => println!("it takes edgepack from its release {}, by git", env!("CARGO_PKG_VERSION")),
    }
    for missing in &made.missing {
        println!("first: {} ({})", missing.remedy, missing.what);
    }
    let runs = match made.runner.as_deref() {
        Some([program, ..]) => format!(" ({program})"),
        _ => ": name what runs it in .cargo/config.toml".into(),
    };
    println!("\ncd {}\ncargo run --release{runs}", made.project.display());
}
