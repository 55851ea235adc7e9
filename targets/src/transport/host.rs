//! This machine as a device, or a board that it emulates: programs of the board then start by way of QEMU.

use std::process::Command;
use std::time::Duration;

use super::process;
use super::{Error, Output, Transport};
use crate::{Board, Machine, Qemu, System};

/// This machine.
#[derive(Clone, Debug)]
pub struct Host {
    name: String,
    launcher: Vec<String>,
}

impl Host {
    /// This machine as it is.
    pub fn local() -> Host {
        Host { name: "local".into(), launcher: Vec::new() }
    }

    /// A board under QEMU: its user mode, or the whole machine where the board has no operating system. What the
    /// [`Transport`] reaches is this machine in either case.
    ///
    /// # Errors
    /// The board is not emulated, or QEMU is not installed.
    pub fn emulating(board: &Board) -> Result<Host, Error> {
        let name = format!("qemu:{}", board.name);
        let (launcher, package) = match &board.system {
            System::Linux(linux) => {
                (linux.qemu.as_ref().map(|qemu| of_user(board, qemu)), "apt install qemu-user")
            }
            System::Microcontroller(own) => {
                let package = match board.arch.as_str() {
                    "riscv32" => "apt install qemu-system-misc",
                    _ => "apt install qemu-system-arm",
                };
                (own.qemu.as_ref().map(Machine::words), package)
            }
        };
        let Some(launcher) = launcher else {
            let mut reason =
                format!("{} is not emulated; `edgepack targets` lists the boards that are", board.name);
            if board.microcontroller().is_some() {
                reason += &format!(
                    "; on the board itself a package is a part of firmware: edgepack new-firmware PACKAGE.epk --target \
                     {} -o DIR makes it, and probe-rs brings it there",
                    board.name
                );
            }
            return Err(Error::Name { device: name, reason });
        };
        let found = process::run(Command::new(&launcher[0]).arg("--version"), &[], super::SHORT);
        found.map_err(|failure| failure.of(&name, &launcher[0], package, super::SHORT))?;
        Ok(Host { name, launcher })
    }
}

/// The words before a program.
fn of_user(board: &Board, qemu: &Qemu) -> Vec<String> {
    let mut launcher = vec![qemu.program.clone(), "-cpu".into(), qemu.cpu.clone()];
    // A dynamic binary needs the libraries of its architecture; a static one does not look.
    let sysroot = match board.arch.as_str() {
        "armv7" => "/usr/arm-linux-gnueabihf",
        _ => "/usr/aarch64-linux-gnu",
    };
    if std::path::Path::new(sysroot).is_dir() {
        launcher.extend(["-L".into(), sysroot.into()]);
    }
    launcher
}

impl Transport for Host {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(&self, script: &str, input: &[u8], limit: Duration) -> Result<Output, Error> {
        process::run(Command::new("sh").args(["-c", script]), input, limit)
            .map_err(|failure| failure.of(&self.name, "sh", "a POSIX shell", limit))
    }

    fn shares_files(&self) -> bool {
        true
    }

    fn launcher(&self) -> &[String] {
        &self.launcher
    }
}
