//! The target triples that edgepack is built for: one row each.

use crate::LibcFamily;

/// A target of Rust's compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Triple {
    /// Its name.
    pub name: &'static str,
    /// Architecture of the boards that it is for.
    pub arch: &'static str,
    /// `e_machine` of its ELF files.
    pub machine: u16,
    /// The C library that programs of it use; `None` where there is no operating system.
    pub libc: Option<LibcFamily>,
    /// The QEMU that runs its programs: user mode, or without an operating system a whole machine.
    pub qemu: Option<&'static str>,
    /// The linker, as Debian and most others call it; `None` where the host's own, the NDK's, or the
    /// compiler's does it.
    pub linker: Option<&'static str>,
}

/// All of them.
pub const TRIPLES: &[Triple] = &[
    Triple {
        name: "aarch64-unknown-linux-gnu",
        arch: "aarch64",
        machine: 183,
        libc: Some(LibcFamily::Glibc),
        qemu: Some("qemu-aarch64"),
        linker: Some("aarch64-linux-gnu-gcc"),
    },
    Triple {
        name: "aarch64-unknown-linux-musl",
        arch: "aarch64",
        machine: 183,
        libc: Some(LibcFamily::Musl),
        qemu: Some("qemu-aarch64"),
        linker: Some("aarch64-linux-gnu-gcc"),
    },
    Triple {
        name: "aarch64-linux-android",
        arch: "aarch64",
        machine: 183,
        libc: Some(LibcFamily::Bionic),
        qemu: None,
        linker: None,
    },
    Triple {
        name: "armv7-unknown-linux-gnueabihf",
        arch: "armv7",
        machine: 40,
        libc: Some(LibcFamily::Glibc),
        qemu: Some("qemu-arm"),
        linker: Some("arm-linux-gnueabihf-gcc"),
    },
    Triple {
        name: "armv7-unknown-linux-musleabihf",
        arch: "armv7",
        machine: 40,
        libc: Some(LibcFamily::Musl),
        qemu: Some("qemu-arm"),
        linker: Some("arm-linux-gnueabihf-gcc"),
    },
    Triple {
        name: "armv7-linux-androideabi",
        arch: "armv7",
        machine: 40,
        libc: Some(LibcFamily::Bionic),
        qemu: None,
        linker: None,
    },
    Triple {
        name: "x86_64-unknown-linux-gnu",
        arch: "x86_64",
        machine: 62,
        libc: Some(LibcFamily::Glibc),
        qemu: None,
        linker: None,
    },
    Triple {
        name: "x86_64-unknown-linux-musl",
        arch: "x86_64",
        machine: 62,
        libc: Some(LibcFamily::Musl),
        qemu: None,
        linker: None,
    },
    bare("thumbv6m-none-eabi", "thumbv6m", 40, "qemu-system-arm"),
    bare("thumbv7m-none-eabi", "thumbv7m", 40, "qemu-system-arm"),
    bare("thumbv7em-none-eabihf", "thumbv7em", 40, "qemu-system-arm"),
    bare("thumbv8m.main-none-eabihf", "thumbv8m", 40, "qemu-system-arm"),
    bare("riscv32imc-unknown-none-elf", "riscv32", 243, "qemu-system-riscv32"),
    bare("riscv32imac-unknown-none-elf", "riscv32", 243, "qemu-system-riscv32"),
];

/// A target without an operating system, which rustc links by its own linker.
const fn bare(name: &'static str, arch: &'static str, machine: u16, qemu: &'static str) -> Triple {
    Triple { name, arch, machine, libc: None, qemu: Some(qemu), linker: None }
}

impl Triple {
    /// The one of this name.
    pub fn find(name: &str) -> Option<&'static Triple> {
        TRIPLES.iter().find(|triple| triple.name == name)
    }

    /// The variable that tells cargo the linker.
    pub fn linker_variable(&self) -> String {
        format!("CARGO_TARGET_{}_LINKER", self.name.to_uppercase().replace('-', "_"))
    }
}
