//! This machine as a device, or a board that it emulates: programs of the board then start by way of QEMU.

use std::process::Command;
use std::time::Duration;

use super::process;
use super::{Error, Output, Transport};
use crate::Board;

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

    /// A board under QEMU's user mode.
    ///
    /// # Errors
    /// The board is not emulated, or QEMU is not installed.
    pub fn emulating(board: &Board) -> Result<Host, Error> {
        let name = format!("qemu:{}", board.name);
        let fail = |reason: String| Err(Error::Name { device: name.clone(), reason });
        let Some(linux) = board.linux() else {
            return fail(format!("{} has no operating system that an agent could run on", board.name));
        };
        let Some(qemu) = &linux.qemu else {
            return fail(format!(
                "{} is not emulated; `edgepack targets` lists the boards that are",
                board.name
            ));
        };
        let found = process::run(Command::new(&qemu.program).arg("--version"), &[], super::SHORT);
        found.map_err(|failure| failure.of(&name, &qemu.program, "apt install qemu-user", super::SHORT))?;
        let mut launcher = vec![qemu.program.clone(), "-cpu".into(), qemu.cpu.clone()];
        // A dynamic binary needs the libraries of its architecture; a static one does not look.
        let sysroot = match board.arch.as_str() {
            "armv7" => "/usr/arm-linux-gnueabihf",
            _ => "/usr/aarch64-linux-gnu",
        };
        if std::path::Path::new(sysroot).is_dir() {
            launcher.extend(["-L".into(), sysroot.into()]);
        }
        Ok(Host { name, launcher })
    }
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
