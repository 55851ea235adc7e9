//! What is known of a board.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A board, or any other machine that packages run on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Board {
    /// Its name: that of its file.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// Architecture: `aarch64`, `armv7`, `x86_64`; of microcontrollers `thumbv6m`, `thumbv7m`, `thumbv7em`, `thumbv8m`,
    /// `riscv32`.
    pub arch: String,
    /// Rust's target triple of what runs there.
    pub triple: String,
    /// The processor, as compilers name it.
    pub cpu: String,
    /// Its typical clock, in MHz; without it, the description is of more than one processor, or of none that has a
    /// clock.
    pub clock_mhz: Option<u32>,
    /// Instruction sets that kernels may use, by commas: `neon`, `dotprod`, `i8mm`, `neon32`, …
    pub isa: String,
    /// What programs find there.
    #[serde(flatten)]
    pub system: System,
    /// What else to know of it.
    pub notes: String,
    /// Where these figures are from.
    pub sources: Vec<String>,
}

/// What a board's programs find there: in files `kind`, and the fields that this kind has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum System {
    /// A Linux, Android among them.
    Linux(Linux),
    /// Flash, RAM and no operating system.
    Microcontroller(Microcontroller),
}

/// A board with an operating system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Linux {
    /// Processors of this kind.
    pub cores: u32,
    /// First-level data cache of a core, in KiB.
    pub l1d_kib: Option<u32>,
    /// Second-level cache that one core can fill, in KiB.
    pub l2_kib: Option<u32>,
    /// Third-level cache that one core can fill, in KiB.
    pub l3_kib: Option<u32>,
    /// Memory of the smallest variant, in MiB.
    pub ram_mib: u32,
    /// What a package may take of it, in MiB: half of it in the boards that come with edgepack, since the system and
    /// the application want the rest.
    pub ram_budget_mib: u32,
    /// The C library of its systems.
    pub libc: Libc,
    /// The container image that `cross` builds for it in, by name and tag among cross's own, or the whole name where
    /// Cross.toml has another; without it, `cross` does not.
    pub cross_image: Option<String>,
    /// How to emulate it; without it, it is not emulated.
    pub qemu: Option<Qemu>,
}

/// A C library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Libc {
    /// Which one.
    pub family: LibcFamily,
    /// The oldest version that programs for the board must run with: of glibc such as `2.31`, of bionic the API level.
    pub oldest: Option<String>,
}

/// Whose C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LibcFamily {
    /// GNU's.
    Glibc,
    /// The one for static programs.
    Musl,
    /// Android's.
    Bionic,
}

impl LibcFamily {
    /// Its name, as board files have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Glibc => "glibc",
            Self::Musl => "musl",
            Self::Bionic => "bionic",
        }
    }
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

/// A board without an operating system: one program, in flash or loaded into memory, has all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Microcontroller {
    /// Where the program and the package are, and are read from in place.
    pub flash: Region,
    /// The largest memory without a gap, which one arena can be a part of.
    pub ram: Region,
    /// What is not for the package and its arena.
    pub reserve: Reserve,
    /// What the chip's own boot loader wants of a program; without it, it starts by the vectors at the start of the flash.
    pub boot: Option<Boot>,
    /// The chip as probe-rs calls it (`probe-rs chip list`); without it, programs are not brought there by probe-rs.
    pub probe_rs: Option<String>,
    /// How to emulate it; without it, it is not emulated.
    pub qemu: Option<Machine>,
}

/// What a chip's own boot loader wants of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boot {
    /// Of the RP2040: a second-stage boot loader in the first 256 bytes of the flash (RP2040 Datasheet, 2.8.1.3).
    Rp2040Boot2,
    /// Of the RP2350: an `IMAGE_DEF` block in the first 4 KiB of the flash (RP2350 Datasheet, 5.9.5).
    Rp2350ImageDef,
    /// Of Espressif's: what the boot loader of ESP-IDF loads, which the crate esp-hal and its linker script make.
    EspIdf,
}

impl Microcontroller {
    /// What a package may have of the flash.
    pub fn package_bytes(&self) -> u32 {
        (self.flash.kib - self.reserve.flash_kib) * 1024
    }

    /// What its arena may have of the RAM.
    pub fn arena_bytes(&self) -> u32 {
        (self.ram.kib - self.reserve.ram_kib) * 1024
    }
}

/// A piece of the address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// Its first address.
    pub origin: u32,
    /// Its length, in KiB.
    pub kib: u32,
}

impl Region {
    /// The address behind it.
    pub(crate) fn end(self) -> u64 {
        u64::from(self.origin) + u64::from(self.kib) * 1024
    }
}

/// What the application is assumed to need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reserve {
    /// Of the flash, in KiB: the runtime's code for the operations of one model, and the application.
    pub flash_kib: u32,
    /// Of the RAM, in KiB: the stack, and the application's variables.
    pub ram_kib: u32,
}

impl Default for Reserve {
    fn default() -> Self {
        Self { flash_kib: 64, ram_kib: 16 }
    }
}

/// QEMU's emulation of a whole board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The program, such as `qemu-system-arm`.
    pub program: String,
    /// The argument of its `-M`.
    pub machine: String,
    /// The argument of its `-cpu`.
    pub cpu: String,
    /// What else it is told, such as `-bios none`.
    #[serde(default)]
    pub args: Vec<String>,
}

impl Machine {
    /// The words of its command, to which those for a program are added.
    pub fn words(&self) -> Vec<String> {
        let words = [&self.program, "-M", &self.machine, "-cpu", &self.cpu].map(String::from);
        words.into_iter().chain(self.args.iter().cloned()).collect()
    }
}

impl Board {
    /// What it has as a board with an operating system, if it is one.
    pub fn linux(&self) -> Option<&Linux> {
        match &self.system {
            System::Linux(linux) => Some(linux),
            System::Microcontroller(_) => None,
        }
    }

    /// What it has as a microcontroller, if it is one.
    pub fn microcontroller(&self) -> Option<&Microcontroller> {
        match &self.system {
            System::Linux(_) => None,
            System::Microcontroller(microcontroller) => Some(microcontroller),
        }
    }

    /// The environment variable that names the agent's binary for this board's architecture.
    pub fn agent_variable(&self) -> String {
        format!("EDGEPACK_AGENT_{}", self.arch.to_uppercase())
    }

    /// Where cargo puts the agent for this board, below the workspace's `target`.
    pub fn agent_path(&self) -> PathBuf {
        let (profile, name) = match self.system {
            System::Linux(_) => ("device", "edgepack-agent"),
            System::Microcontroller(_) => ("firmware", "edgepack-mcu"),
        };
        Path::new("target").join(&self.triple).join(profile).join(name)
    }
}
