//! Boards as data, one TOML file each, and how to build for and emulate them.
//!
//! **Architecture invariant:** this crate depends on no other crate of ours; an instruction set is the
//! text that the kernels' `IsaSet::parse` and `EDGEPACK_ISA` read.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

mod board;
pub mod build;
mod check;
mod file;
mod memory;
pub mod transport;
pub mod triple;

pub use board::{
    Board, Boot, Libc, LibcFamily, Linux, Machine, Microcontroller, Qemu, Region, Reserve, System,
};

/// Why a board is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No board has this name.
    #[error(
        "no board `{name}`{}; the boards are {known}; or give the path of a .toml that describes yours",
        suggestion.map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
    )]
    Unknown {
        /// The name.
        name: String,
        /// A board of a similar name.
        suggestion: Option<&'static str>,
        /// The names that are known.
        known: String,
    },
    /// The description could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A field holds what it must not.
    #[error("{}:{line}: {field}: {what}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// Its line, from 1 on.
        line: usize,
        /// The field, with the table that it is in.
        field: String,
        /// What is wrong, and what to write.
        what: String,
    },
    /// The description is not one.
    #[error("{}: {source}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: Box<toml::de::Error>,
    },
}

macro_rules! boards {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../boards/", $name, ".toml")))),*]
    };
}

/// Name and description of each board that comes with edgepack.
const BOARDS: &[(&str, &str)] = boards![
    "rpi-zero-2w",
    "rpi2",
    "rpi3",
    "rpi4",
    "rpi4-32",
    "rpi5",
    "beaglebone-black",
    "jetson-nano",
    "rock-5b",
    "imx8m-plus",
    "android-arm64",
    "android-armv7",
    "generic-armv7",
    "generic-aarch64",
    "armv8-i8mm",
    "x86-64-v3",
    "n100",
    "x86-64-v4",
    "stm32f4-discovery",
    "stm32f746-discovery",
    "nucleo-l4r5zi",
    "rp2040",
    "rp2350",
    "nrf52840",
    "esp32-c3",
    "mps2-an385",
    "mps2-an386",
    "mps2-an500",
    "qemu-riscv32",
];

impl Board {
    /// The boards that come with edgepack.
    pub fn all() -> Vec<Board> {
        BOARDS.iter().filter_map(|(name, text)| Board::parse(name, text, Path::new(name)).ok()).collect()
    }

    /// The board of this name, or the one that the `.toml` file of this path describes.
    ///
    /// # Errors
    /// [`Error`], which names the boards there are.
    pub fn find(name: &str) -> Result<Board, Error> {
        if let Some((name, text)) = BOARDS.iter().find(|(known, _)| *known == name) {
            return Board::parse(name, text, Path::new(name));
        }
        let path = Path::new(name);
        if path.extension().is_none_or(|extension| extension != "toml") {
            return Err(Error::Unknown {
                name: name.into(),
                suggestion: closest(name),
                known: BOARDS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
            });
        }
        let text = std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.into(), source })?;
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Board::parse(&stem, &text, path)
    }

    /// The text of a description to start a board of one's own from, with what each field means.
    pub fn template(name: &str) -> String {
        include_str!("template.toml").replace("NAME", name)
    }

    /// The same for a microcontroller.
    pub fn microcontroller_template(name: &str) -> String {
        include_str!("microcontroller.toml").replace("NAME", name)
    }

    fn parse(name: &str, text: &str, path: &Path) -> Result<Board, Error> {
        let mut board =
            file::read(text).map_err(|source| Error::Toml { path: path.into(), source: Box::new(source) })?;
        if board.name.is_empty() {
            board.name = name.into();
        }
        check::check(&board).map_err(|complaint| Error::Field {
            path: path.into(),
            line: check::line_of(text, complaint.field),
            field: complaint.field.join("."),
            what: complaint.what,
        })?;
        Ok(board)
    }
}

/// The board whose name differs least, in the spelling of letters and digits only.
fn closest(name: &str) -> Option<&'static str> {
    let letters = |text: &str| -> String {
        text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
    };
    let wanted = letters(name).replace("raspberrypi", "rpi").replace("raspi", "rpi");
    BOARDS.iter().map(|(known, _)| *known).find(|known| {
        let known = letters(known);
        known == wanted || (wanted.len() >= 3 && (known.starts_with(&wanted) || wanted.starts_with(&known)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_board_parses() {
        assert_eq!(Board::all().len(), BOARDS.len());
        for (name, _) in BOARDS {
            let board = Board::find(name).unwrap();
            assert_eq!(board.name, *name);
            if let Some(linux) = board.linux() {
                assert_eq!(linux.ram_budget_mib, linux.ram_mib / 2, "{name}");
            }
            assert!(
                !board.notes.is_empty() && !board.sources.is_empty(),
                "{name} does not say where it is from"
            );
        }
    }

    #[test]
    fn every_file_is_a_board() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("boards");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_string();
            assert!(BOARDS.iter().any(|(name, _)| *name == stem), "{stem} is not in the list");
            assert_eq!(Board::find(path.to_str().unwrap()).unwrap(), Board::find(&stem).unwrap());
        }
    }

    #[test]
    fn unknown_board_names_those_there_are() {
        let error = Board::find("raspberry-pi-4").unwrap_err().to_string();
        assert!(error.contains("did you mean rpi4?") && error.contains("jetson-nano"), "{error}");
        assert!(
            Board::find("toaster").unwrap_err().to_string().starts_with("no board `toaster`; the boards")
        );
        let error = Board::find("none.toml").unwrap_err().to_string();
        assert!(error.contains("none.toml"), "{error}");
    }

    #[test]
    fn unknown_field_is_refused_by_name() {
        let text = RPI4.replace("cores =", "corse =");
        let error = Board::parse("b", &text, Path::new("b.toml")).unwrap_err().to_string();
        for part in ["b.toml", "line 5", "unknown field `corse`", "`cores`"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let text = RPI4.replace("[qemu]", "[qemu]\nprograms = 1");
        let error = Board::parse("b", &text, Path::new("b.toml")).unwrap_err().to_string();
        assert!(error.contains("unknown field `programs`"), "{error}");
    }

    const RPI4: &str = include_str!("../boards/rpi4.toml");

    /// A field of the Pi 4 that is changed, and how the refusal starts.
    #[test]
    fn field_out_of_range_is_refused_by_file_line_and_name() {
        for (from, to, expected) in [
            ("cores = 4", "cores = 0", "b.toml:5: cores: 0 is not from 1 to 1024"),
            ("clock_mhz = 1500", "clock_mhz = 1", "b.toml:6: clock_mhz: 1 is not from 10 to 10000"),
            ("l1d_kib = 32", "l1d_kib = 0", "b.toml:8: l1d_kib: 0 is not"),
            (
                "ram_budget_mib = 512",
                "ram_budget_mib = 1025",
                "b.toml:11: ram_budget_mib: 1025 is not from 1 to 1024, which is ram_mib",
            ),
            (
                "linux-gnu\"",
                "linux-gnux\"",
                "b.toml:3: triple: `aarch64-unknown-linux-gnux` is not built for; write",
            ),
            (
                "arch = \"aarch64\"",
                "arch = \"armv7\"",
                "b.toml:2: arch: `armv7` is not that of the triple aarch64-unknown-linux-gnu; write `aarch64`",
            ),
            (
                "\"glibc\"",
                "\"musl\"",
                "b.toml:12: libc.family: programs of aarch64-unknown-linux-gnu use glibc",
            ),
            ("\"2.31\"", "\"bullseye\"", "b.toml:12: libc.oldest: write the oldest glibc"),
            (", oldest = \"2.31\"", "", "b.toml:12: libc.oldest: write the oldest glibc"),
            ("qemu-aarch64", "qemu-arm", "b.toml:18: qemu.program: `qemu-arm` does not run programs of"),
            ("cpu = \"cortex-a72\"\ncores", "cpu = \"\"\ncores", "b.toml:4: cpu: it is empty"),
        ] {
            let text = RPI4.replace(from, to);
            assert_ne!(text, RPI4, "{from}");
            let error = Board::parse("b", &text, Path::new("b.toml")).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn template_is_a_board_with_every_field_but_one() {
        let text = Board::template("kitchen");
        let board = Board::parse("kitchen", &text, Path::new("kitchen.toml")).unwrap();
        assert_eq!((board.description.as_str(), board.linux().unwrap().l3_kib), ("kitchen", None));
        let all = Board::parse("k", &text.replace("# l3_kib", "l3_kib"), Path::new("k.toml")).unwrap();
        assert!(!format!("{all:?}").contains("None"), "{all:?}");
    }

    #[test]
    fn template_of_a_microcontroller_is_one_with_every_field() {
        let text = Board::microcontroller_template("kitchen");
        let board = Board::parse("kitchen", &text, Path::new("kitchen.toml")).unwrap();
        assert_eq!(board.microcontroller().unwrap().boot, None);
        let all = text.replace("# boot", "boot").replace("thumbv7em-none-eabihf", "thumbv6m-none-eabi");
        let all = all.replace("\"thumbv7em\"", "\"thumbv6m\"");
        let all = Board::parse("k", &all, Path::new("k.toml")).unwrap();
        assert!(!format!("{all:?}").contains("None"), "{all:?}");
    }

    const STM32F4: &str = include_str!("../boards/stm32f4-discovery.toml");

    /// A field of a microcontroller that is changed, and what the refusal says.
    #[test]
    fn field_of_a_microcontroller_out_of_range_is_refused() {
        for (from, to, expected) in [
            ("kind = \"microcontroller\"", "kind = \"fridge\"", "expected `linux` or `microcontroller`"),
            ("kind = \"microcontroller\"", "kind = \"linux\"", "unknown field `flash`"),
            ("cpu = ", "cores = 4\ncpu = ", "unknown field `cores`"),
            ("thumbv7em-none-eabihf\"", "aarch64-unknown-linux-gnu\"", "has an operating system"),
            ("kib = 128", "kib = 0", "ram.kib: 0 is not from 1 to 4194304"),
            ("0x2000_0000", "0x2000_0002", "ram.origin: 0x20000002 is not a multiple of 64"),
            ("0x2000_0000", "0xffff_0000", "ram.origin: it ends beyond the address space"),
            ("0x2000_0000", "0x0800_1000", "ram.origin: it overlaps the flash"),
            ("qemu-system-arm", "qemu-arm", "qemu.program: `qemu-arm` does not run programs of"),
            (
                "notes = ",
                "boot = \"rp2350-image-def\"\nnotes = ",
                "boot: it is of chips of thumbv8m; remove it",
            ),
            ("notes = ", "boot = \"u-boot\"\nnotes = ", "unknown variant `u-boot`"),
            ("STM32F407VGTx", "STM32 F4", "probe_rs: `STM32 F4` is no name of a chip"),
        ] {
            let text = STM32F4.replace(from, to);
            assert_ne!(text, STM32F4, "{from}");
            let error = Board::parse("b", &text, Path::new("b.toml")).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        let text = STM32F4.replace("[qemu]", "[reserve]\nflash_kib = 1024\nram_kib = 1\n\n[qemu]");
        let error = Board::parse("b", &text, Path::new("b.toml")).unwrap_err().to_string();
        assert!(error.contains("reserve.flash_kib: 1024 is not from 0 to 1023"), "{error}");
        let linux = RPI4.replace("aarch64-unknown-linux-gnu\"\ncpu", "thumbv7em-none-eabihf\"\ncpu");
        let error = Board::parse("b", &linux, Path::new("b.toml")).unwrap_err().to_string();
        assert!(error.contains("kind = \"microcontroller\""), "{error}");
    }

    #[test]
    fn field_that_is_missing_is_named() {
        let text = RPI4.replace("ram_mib = 1024\n", "");
        let error = Board::parse("b", &text, Path::new("b.toml")).unwrap_err().to_string();
        assert!(error.contains("b.toml") && error.contains("missing field `ram_mib`"), "{error}");
    }

    /// What `cross` is told in Cross.toml is what the boards say.
    #[test]
    fn cross_toml_has_a_section_for_each_triple_that_cross_builds_and_for_no_other() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cross.toml");
        let cross: toml::Table = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let sections = cross["target"].as_table().unwrap();
        let boards = Board::all();
        let image_of = |board: &Board| board.linux()?.cross_image.clone();
        let crossed: Vec<&Board> = boards.iter().filter(|board| image_of(board).is_some()).collect();
        for board in &crossed {
            let section =
                sections.get(&board.triple).unwrap_or_else(|| panic!("no [target.{}]", board.triple));
            // Where Cross.toml names none, cross 0.2.5 takes the one that is named for the triple.
            let default = format!("{}:0.2.5", board.triple);
            let image = section.get("image").map_or(default.as_str(), |image| image.as_str().unwrap());
            assert_eq!(image_of(board).as_deref(), Some(image), "{}", board.name);
        }
        for triple in sections.keys() {
            assert!(
                crossed.iter().any(|board| board.triple == *triple),
                "no board is built by [target.{triple}]"
            );
        }
        assert!(crossed.len() > 10);
    }
}
