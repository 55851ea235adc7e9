//! What a program on a board starts by.

use edgepack_targets::{Board, Boot};

use super::template;

/// The crate that starts the processor, and what the chip's own boot loader wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// cortex-m-rt.
    CortexM(Option<Boot>),
    /// riscv-rt.
    Riscv,
    /// esp-hal, loaded by ESP-IDF's boot loader.
    Esp,
}

impl Start {
    pub(super) fn of(board: &Board) -> Self {
        let boot = board.microcontroller().and_then(|own| own.boot);
        match (boot, board.arch.as_str()) {
            (Some(Boot::EspIdf), _) => Self::Esp,
            (_, "riscv32") => Self::Riscv,
            (boot, _) => Self::CortexM(boot),
        }
    }

    /// Lines of Cargo.toml; where the clone has the crates, in its versions.
    pub(super) fn dependencies(self) -> &'static str {
        match self {
            Self::CortexM(Some(Boot::Rp2040Boot2)) => "cortex-m-rt = \"0.7.7\"\nrp2040-boot2 = \"0.3.0\"\n",
            Self::CortexM(_) => "cortex-m-rt = \"0.7.7\"\n",
            Self::Riscv => "riscv-rt = { version = \"0.18\", features = [\"memory\", \"single-hart\"] }\n",
            Self::Esp => {
                "esp-hal = { version = \"=1.2.2\", features = [\"esp32c3\"] }\n\
                 esp-bootloader-esp-idf = { version = \"=0.6.0\", features = [\"esp32c3\"] }\n"
            }
        }
    }

    /// `build.rs`.
    pub(super) fn build_script(self) -> String {
        let memory = "    println!(\"cargo::rerun-if-changed=memory.x\");\n    \
                      println!(\"cargo::rustc-link-search={}\", env!(\"CARGO_MANIFEST_DIR\"));\n    \
                      println!(\"cargo::rustc-link-arg-bins=-Tlink.x\");\n";
        let link = match self {
            Self::CortexM(_) | Self::Riscv => memory,
            Self::Esp => "    println!(\"cargo::rustc-link-arg-bins=-Tlinkall.x\");\n",
        };
        super::filled(template!("build.rs"), &[("LINK", link)])
    }

    /// Where the program begins, and what the processor does when it faults.
    pub(super) fn entry(self) -> String {
        let more = match self {
            Self::CortexM(Some(Boot::Rp2040Boot2)) => template!("boot2.rs"),
            Self::CortexM(Some(Boot::Rp2350ImageDef)) => template!("image_def.rs"),
            _ => "",
        };
        let entry = match self {
            Self::CortexM(_) => template!("start_arm.rs"),
            Self::Riscv => template!("start_riscv.rs"),
            Self::Esp => template!("start_esp.rs"),
        };
        entry.to_string() + more
    }
}
