//! Programs of microcontrollers, built for boards that QEMU has and run there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use edgepack_engine::Model;
use edgepack_packager::header;
use edgepack_targets::Board;

use crate::{root, skip};

/// What runs a program on a microcontroller's board with the words of a command line, for a minute at most: what it
/// prints is on stdout, and its exit code is the program's.
///
/// # Panics
/// The board is not emulated.
pub fn qemu(board: &Board, program: &Path, words: &[&str]) -> Command {
    let machine = board.microcontroller().and_then(|own| own.qemu.as_ref());
    let qemu = machine.unwrap_or_else(|| panic!("{} is not emulated", board.name));
    let words: String = words.iter().map(|word| format!(",arg={word}")).collect();
    let mut command = Command::new("timeout");
    command.args(["60", &qemu.program, "-M", &qemu.machine, "-cpu", &qemu.cpu]).args(&qemu.args);
    command.args(["-display", "none", "-serial", "none", "-monitor", "none", "-chardev", "stdio,id=console"]);
    command.args(["-semihosting-config", &format!("enable=on,target=native,chardev=console{words}")]);
    command.arg("-kernel").arg(program);
    command
}

/// An example of runtime/mcu with a model in flash.
#[derive(Debug)]
pub struct Program {
    board: Board,
    /// The file.
    pub elf: PathBuf,
    name: &'static str,
}

impl Program {
    /// Builds it with the module of a package, beside which it is put. `None`, and said so, where the standard library
    /// for the board or QEMU is missing, which `EDGEPACK_EXPECT_BOARDS` makes a failure.
    ///
    /// # Panics
    /// It does not build.
    pub fn build(board: &str, name: &'static str, package: &Path) -> Option<Self> {
        let board = Board::find(board).unwrap_or_else(|error| panic!("{error}"));
        if let Some(missing) = missing(&board) {
            assert!(std::env::var_os("EDGEPACK_EXPECT_BOARDS").is_none(), "{name}: {missing}");
            skip(&format!("{name} on qemu:{}", board.name), &missing);
            return None;
        }
        let model = Model::open(package).unwrap_or_else(|error| panic!("{error}"));
        let [module, _] = header::write(package, &model.package()).unwrap_or_else(|error| panic!("{error}"));
        // What cargo builds has one place for all packages.
        static BUILDING: Mutex<()> = Mutex::new(());
        let _one = BUILDING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let output = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
            .args(["build", "--quiet", "--offline", "--profile", "firmware", "-p", "edgepack-mcu"])
            .args(["--example", name, "--target", &board.triple])
            .env("EDGEPACK_MODEL", module)
            .current_dir(root())
            .output()
            .unwrap_or_else(|error| panic!("cargo: {error}"));
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root().join("target"), |dir| root().join(dir));
        let built = target.join(&board.triple).join("firmware/examples").join(name);
        let elf = package.with_file_name(format!("{name}-{}.elf", board.name));
        std::fs::copy(&built, &elf).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
        Some(Self { board, elf, name })
    }

    /// Runs it with words behind its name; gives its exit code and what it has printed.
    ///
    /// # Panics
    /// QEMU does not start, or what is printed is no text.
    pub fn run(&self, words: &[&str]) -> (Option<i32>, String) {
        let words: Vec<&str> = std::iter::once(self.name).chain(words.iter().copied()).collect();
        let output = qemu(&self.board, &self.elf, &words).output().unwrap_or_else(|error| panic!("{error}"));
        let printed = String::from_utf8(output.stdout).unwrap_or_else(|error| panic!("{error}"));
        print!("{}", String::from_utf8_lossy(&output.stderr));
        (output.status.code(), printed)
    }
}

/// What is not here and a program for the board needs.
fn missing(board: &Board) -> Option<String> {
    let triple = &board.triple;
    let library =
        Command::new("rustc").args(["--print", "target-libdir", "--target", triple]).output().ok()?;
    if !Path::new(String::from_utf8_lossy(&library.stdout).trim()).is_dir() {
        return Some(format!("there is no standard library for {triple} (rustup target add {triple})"));
    }
    let program = &board.microcontroller()?.qemu.as_ref()?.program;
    let there = Command::new(program).arg("--version").output().is_ok();
    (!there).then(|| format!("there is no {program} (apt install qemu-system-arm qemu-system-misc)"))
}
