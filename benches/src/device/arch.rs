//! Architectures: what devices call them, and the agent's binary for each.

use std::path::{Path, PathBuf};

use edgepack_targets::Board;
use edgepack_targets::triple::{TRIPLES, Triple};

/// An architecture that the agent is built for.
#[derive(Clone, Debug)]
pub(super) struct Arch {
    /// `aarch64`, `armv7` or `x86_64`; of microcontrollers `thumbv7em` and the like.
    pub name: &'static str,
    /// `e_machine` of its ELF files.
    elf: u16,
    /// The board whose agent runs on all of its kind.
    board: Board,
}

/// Name, `e_machine` (ELF-64 object file format), and the board with the least demands.
const ARCHS: [(&str, u16, &str); 3] =
    [("aarch64", 183, "generic-aarch64"), ("armv7", 40, "generic-armv7"), ("x86_64", 62, "x86-64-v3")];

/// What `uname -m` says, in our words. A 32-bit system on a 64-bit kernel says `aarch64`: the agent is static,
/// and such a kernel runs the 64-bit one.
pub(super) fn machine_of(uname: &str) -> String {
    match uname.trim() {
        "arm64" => "aarch64",
        "armv7l" | "armv7" | "armv8l" | "armv8" => "armv7",
        "amd64" => "x86_64",
        other => other,
    }
    .into()
}

impl Arch {
    /// That of a device.
    ///
    /// # Errors
    /// Why no agent runs there.
    pub fn of_machine(machine: &str) -> Result<Arch, String> {
        let known = ARCHS.iter().find(|(name, _, _)| *name == machine);
        let remedy = match machine {
            "armv6l" => "; ARMv6 (Raspberry Pi 1 and Zero) has no NEON, and is not supported",
            "i686" | "i386" => "; a 64-bit system is needed",
            _ => "",
        };
        let Some((name, elf, board)) = known else {
            let names = ARCHS.map(|(name, _, _)| name).join(", ");
            return Err(format!("its architecture is `{machine}`; the agent is for {names}{remedy}"));
        };
        let board = Board::find(board).map_err(|error| error.to_string())?;
        Ok(Arch { name, elf: *elf, board })
    }

    /// That of an emulated board.
    pub fn of_board(board: &Board) -> Arch {
        let triple = Triple::find(&board.triple).unwrap_or(&TRIPLES[0]);
        Arch { name: triple.arch, elf: triple.machine, board: board.clone() }
    }

    /// The agent's binary: what `EDGEPACK_AGENT_AARCH64` (or `_ARMV7`, `_X86_64`) names, else where cargo
    /// puts it.
    ///
    /// # Errors
    /// It is not there, or is for another architecture; with the command that builds it.
    pub fn agent(&self, given: Option<PathBuf>) -> Result<PathBuf, String> {
        let variable = self.board.agent_variable();
        let named = given.or_else(|| std::env::var_os(&variable).map(PathBuf::from));
        let path = named.unwrap_or_else(|| self.board.agent_path());
        let build = format!(
            "build it in a clone of edgepack with\n  edgepack build --target {}\nor set {variable} to its path",
            self.board.name
        );
        if !path.is_file() {
            return Err(format!("no agent at {}; {build}", path.display()));
        }
        match elf_machine(&path) {
            Some(machine) if machine == self.elf => Ok(path),
            Some(machine) => {
                let other = TRIPLES.iter().find(|triple| triple.machine == machine);
                let other = other.map_or(format!("machine {machine}"), |triple| triple.arch.to_string());
                Err(format!("{} is for {other}, the device is {}; {build}", path.display(), self.name))
            }
            None => Err(format!("{} is no program; {build}", path.display())),
        }
    }
}

/// `e_machine` of an ELF file, which lies at byte 18 in both classes; little-endian, as all our targets.
fn elf_machine(path: &Path) -> Option<u16> {
    let mut head = [0; 20];
    std::io::Read::read_exact(&mut std::fs::File::open(path).ok()?, &mut head).ok()?;
    (head[..4] == *b"\x7fELF").then(|| u16::from_le_bytes([head[18], head[19]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_known_by_what_uname_says() {
        for (uname, name) in
            [("aarch64\n", "aarch64"), ("armv7l", "armv7"), ("armv8l", "armv7"), ("x86_64", "x86_64")]
        {
            assert_eq!(Arch::of_machine(&machine_of(uname)).unwrap().name, name);
        }
        let error = Arch::of_machine("armv6l").unwrap_err();
        assert!(error.contains("`armv6l`") && error.contains("not supported"), "{error}");
        assert!(Arch::of_machine("mips").unwrap_err().contains("aarch64, armv7, x86_64"));
    }

    #[test]
    fn agent_of_another_architecture_is_refused_with_the_command_that_builds_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent");
        let elf = |machine: u8| [&b"\x7fELF"[..], &[0; 14], &[machine, 0]].concat();
        let arch = Arch::of_machine("aarch64").unwrap();
        std::fs::write(&path, elf(183)).unwrap();
        assert_eq!(arch.agent(Some(path.clone())).unwrap(), path);
        for (bytes, part) in
            [(elf(40), "is for armv7, the device is aarch64"), (b"#!".to_vec(), "is no program")]
        {
            std::fs::write(&path, bytes).unwrap();
            let error = arch.agent(Some(path.clone())).unwrap_err();
            assert!(
                error.contains(part)
                    && error.contains("edgepack build")
                    && error.contains("EDGEPACK_AGENT_AARCH64")
            );
        }
        let error = arch.agent(Some(folder.path().join("none"))).unwrap_err();
        assert!(error.contains("no agent at") && error.contains("--target generic-aarch64"), "{error}");
    }
}
