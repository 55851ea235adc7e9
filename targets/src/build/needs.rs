//! What a build needs that may not be there, and the command that installs it on this system.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;

use super::linkage::Linkage;
use super::{Plan, Product, Tool, ndk};
use crate::Board;
use crate::triple::Triple;

/// Something that must be installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// What is not there.
    pub what: String,
    /// The command that installs it.
    pub remedy: String,
}

/// What is missing for a plan to be carried out.
pub(super) fn missing(plan: &Plan) -> Vec<Missing> {
    let mut found = Vec::new();
    let mut add = |what: String, remedy: String| found.push(Missing { what, remedy });
    let (triple, workspace) = (plan.triple, plan.workspace);
    let system = System::of(&std::fs::read_to_string("/etc/os-release").unwrap_or_default());
    if plan.tool != Tool::Cross {
        if program("cargo").is_none() {
            add("there is no cargo".into(), "install Rust from https://rustup.rs".into());
        } else if !has_standard_library(triple, workspace) {
            let remedy = format!("rustup target add {} (in {})", triple.name, workspace.display());
            add(format!("there is no standard library for {}", triple.name), remedy);
        }
    }
    match (plan.tool, plan.linkage) {
        (Tool::Cargo, _) if std::env::var_os(triple.linker_variable()).is_some() => {}
        (Tool::Cargo, Linkage::Bionic(level)) => {
            if ndk::linker(triple, level).is_none() {
                let mut remedy = format!(
                    "sdkmanager --install 'ndk;{version}' && export ANDROID_NDK_HOME=$ANDROID_HOME/ndk/{version}",
                    version = ndk::VERSION
                );
                if plan.product == Product::Agent {
                    remedy += "; or, without an NDK, a static agent, which Android runs as well: \
                               --libc musl --with zigbuild";
                }
                add(format!("there is no NDK with a linker for Android's API level {level}"), remedy);
            }
        }
        (Tool::Cargo, _) => {
            if let Some(linker) = needed_linker(triple)
                && program(linker).is_none()
            {
                add(format!("there is no linker {linker}"), system.installs_linker(triple, linker));
            }
        }
        (Tool::Zigbuild, _) => {
            if program("cargo-zigbuild").is_none() {
                add("there is no cargo-zigbuild".into(), format!("pip install {ZIGBUILD}"));
            }
            if !has_zig() {
                add("there is no zig".into(), format!("pip install {ZIG}"));
            }
        }
        (Tool::Cross, _) => {
            if program("cross").is_none() {
                add("there is no cross".into(), "cargo install cross --version 0.2.5 --locked".into());
            }
            if program("podman").is_none() && program("docker").is_none() {
                add("there is neither podman nor docker".into(), system.installs("podman"));
            }
        }
    }
    found
}

/// What a microcontroller's firmware needs to be built from `folder` on, and to run where cargo's runner takes it:
/// under QEMU where that has the board, else on the board by probe-rs.
pub fn of_firmware(board: &Board, folder: &Path) -> Vec<Missing> {
    let mut found = Vec::new();
    let mut add = |what: String, remedy: String| found.push(Missing { what, remedy });
    let Some((own, triple)) = board.microcontroller().zip(Triple::find(&board.triple)) else { return found };
    let system = System::of(&std::fs::read_to_string("/etc/os-release").unwrap_or_default());
    if program("cargo").is_none() {
        add("there is no cargo".into(), "install Rust from https://rustup.rs".into());
    } else if !has_standard_library(triple, folder) {
        add(
            format!("there is no standard library for {}", triple.name),
            format!("rustup target add {}", triple.name),
        );
    }
    match &own.qemu {
        Some(qemu) if program(&qemu.program).is_none() => {
            let package = if board.arch == "riscv32" { "qemu-system-misc" } else { "qemu-system-arm" };
            add(format!("there is no {}", qemu.program), system.installs(package));
        }
        None if own.probe_rs.is_some() && program("probe-rs").is_none() => {
            add("there is no probe-rs".into(), "cargo install probe-rs-tools --locked".into());
        }
        _ => {}
    }
    found
}

/// Python's packages of the two, the second of the version that has been tried.
const ZIGBUILD: &str = "cargo-zigbuild";
const ZIG: &str = "ziglang==0.15.2";

/// Whether cargo-zigbuild finds zig, which it looks for in these places.
fn has_zig() -> bool {
    let python = || Command::new("python3").args(["-m", "ziglang", "version"]).output();
    std::env::var_os("CARGO_ZIGBUILD_ZIG_PATH").is_some()
        || program("zig").is_some()
        || python().is_ok_and(|output| output.status.success())
}

/// The linker for a target; `None` where the host's own does it.
pub(super) fn needed_linker(triple: &Triple) -> Option<&'static str> {
    triple.linker.filter(|_| triple.arch != std::env::consts::ARCH)
}

/// Where a program lies.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Whether the compiler that the workspace pins has the target's standard library.
fn has_standard_library(triple: &Triple, workspace: &Path) -> bool {
    let mut command = Command::new("rustc");
    command.args(["--print", "target-libdir", "--target", triple.name]);
    // rustc may be rustup's stand-in for it, which must fetch nothing.
    command.current_dir(workspace).env("RUSTUP_AUTO_INSTALL", "0");
    let Ok(output) = command.output() else { return false };
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.any(|name| name.starts_with("libcore-"))
}

/// Whose packages are installed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    Debian,
    Fedora,
    Arch,
    Other,
}

impl System {
    /// By os-release(5).
    fn of(os_release: &str) -> System {
        let lines = os_release.lines().filter_map(|line| line.split_once('='));
        let words: Vec<&str> = lines
            .filter(|(key, _)| matches!(*key, "ID" | "ID_LIKE"))
            .flat_map(|(_, value)| value.trim_matches('"').split(' '))
            .collect();
        [("debian", System::Debian), ("fedora", System::Fedora), ("arch", System::Arch)]
            .into_iter()
            .find_map(|(name, system)| words.contains(&name).then_some(system))
            .unwrap_or(System::Other)
    }

    fn installs(self, package: &str) -> String {
        match self {
            Self::Debian => format!("sudo apt-get install {package}"),
            Self::Fedora => format!("sudo dnf install {package}"),
            Self::Arch => format!("sudo pacman -S {package}"),
            Self::Other => format!("install {package}"),
        }
    }

    /// Only Debian and its kin have the C library of the other architecture as a package: a static program needs it.
    fn installs_linker(self, triple: &Triple, linker: &str) -> String {
        let (package, libc) = match triple.arch {
            "armv7" => ("gcc-arm-linux-gnueabihf", "libc6-dev-armhf-cross"),
            _ => ("gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"),
        };
        match (self, triple.arch) {
            (Self::Debian, _) => self.installs(&format!("{package} {libc}")),
            (Self::Arch, "aarch64") => self.installs("aarch64-linux-gnu-gcc"),
            _ => format!(
                "install a compiler with a static C library for {}, and name it in {} where it is not called {linker}; \
                 or build --with cross",
                triple.name,
                triple.linker_variable()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_of_the_system() {
        let triple = Triple::find("armv7-unknown-linux-gnueabihf").unwrap();
        for (os_release, system) in [
            ("ID=debian\n", System::Debian),
            ("NAME=x\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", System::Debian),
            ("ID=fedora\n", System::Fedora),
            ("ID=manjaro\nID_LIKE=arch\n", System::Arch),
            ("ID=nixos\n", System::Other),
            ("", System::Other),
        ] {
            assert_eq!(System::of(os_release), system, "{os_release}");
        }
        let of = |system: System| system.installs_linker(triple, "arm-linux-gnueabihf-gcc");
        assert_eq!(of(System::Debian), "sudo apt-get install gcc-arm-linux-gnueabihf libc6-dev-armhf-cross");
        assert!(of(System::Other).contains("CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER"));
        assert_eq!(System::Fedora.installs("podman"), "sudo dnf install podman");
    }
}
