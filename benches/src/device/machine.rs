//! A board without an operating system, as an emulated machine: the agent is the program in its flash, a package lies
//! at the end of the flash, and what the agent is told and answers goes by semihosting.
//!
//! Each command starts the machine anew. Samples and outputs are files of the connection's folder, where the
//! emulator runs, so that the agent's words have neither blanks nor folders.

use std::path::Path;

use edgepack_targets::transport::quote;
use edgepack_targets::{Microcontroller, Region};

/// How the machine is started.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// The words that start the emulator.
    emulator: Vec<String>,
    /// The agent.
    program: String,
    flash: Region,
    ram: Region,
    /// What of the flash the agent leaves, where that is known: it says so itself.
    free_bytes: Option<u64>,
}

/// Where a package starts: its lines of the flash, as of the file.
const ALIGNMENT: u64 = 64;

impl Machine {
    pub fn new(emulator: &[String], program: String, board: &Microcontroller) -> Machine {
        Machine { emulator: emulator.to_vec(), program, flash: board.flash, ram: board.ram, free_bytes: None }
    }

    /// Takes note of what the agent leaves of the flash.
    pub fn leaves(&mut self, free_bytes: u64) {
        self.free_bytes = Some(free_bytes);
    }

    /// The shell's command line for the agent's words: the second, if there is one, is the path of a package.
    ///
    /// # Errors
    /// What is wrong with the package's file.
    pub fn command(&self, folder: &str, plugin: Option<&str>, words: &[&str]) -> Result<String, String> {
        let room = |region: Region| format!("{:#x}+{}", region.origin, u64::from(region.kib) * 1024);
        let prefix = format!("{folder}/");
        // The first word of a command line is the program's name.
        let mut told = vec!["edgepack-mcu".to_string()];
        let mut loader = None;
        for (index, word) in words.iter().enumerate() {
            match index {
                1 => {
                    let (address, bytes) = self.place(Path::new(word))?;
                    loader = Some(format!("loader,file={},addr={address:#x},force-raw=on", option(word)));
                    told.push(format!("{address:#x}+{bytes}"));
                }
                _ => told.push(word.strip_prefix(&prefix).unwrap_or(word).into()),
            }
        }
        told.extend(["--flash".into(), room(self.flash), "--ram".into(), room(self.ram)]);
        let told: Vec<String> = told.iter().map(|word| format!(",arg={}", option(word))).collect();
        let semihosting = format!("enable=on,target=native,chardev=console{}", told.concat());
        let [program, options @ ..] = &self.emulator[..] else { return Err("it is not emulated".into()) };
        let mut all = vec![program.clone()];
        if let Some(plugin) = plugin {
            all.extend(["-plugin".into(), plugin.into()]);
        }
        all.extend_from_slice(options);
        let silent =
            ["-display", "none", "-serial", "none", "-monitor", "none", "-chardev", "stdio,id=console"];
        all.extend(silent.map(String::from));
        all.extend(["-semihosting-config".into(), semihosting, "-kernel".into(), self.program.clone()]);
        all.extend(loader.into_iter().flat_map(|loader| ["-device".into(), loader]));
        let all: Vec<String> = all.iter().map(|word| quote(word)).collect();
        Ok(format!("cd {} && exec {}", quote(folder), all.join(" ")))
    }

    /// The address of a package, and its size.
    fn place(&self, package: &Path) -> Result<(u64, u64), String> {
        let bytes =
            std::fs::metadata(package).map_err(|error| format!("{}: {error}", package.display()))?.len();
        let flash = u64::from(self.flash.kib) * 1024;
        let (free, beside) = match self.free_bytes {
            Some(free) => (free, " beside the agent"),
            None => (flash, ""),
        };
        // QEMU would say that they overlap, the agent that the package is somewhere else.
        let below = bytes.next_multiple_of(ALIGNMENT);
        if below > free {
            return Err(format!(
                "too little flash: the package has {bytes} bytes, {free} are free{beside}; pack a smaller model \
                 (`edgepack pack --target` tells what would help)"
            ));
        }
        Ok((u64::from(self.flash.origin) + flash - below, bytes))
    }
}

/// A value among QEMU's options, where a comma ends one.
fn option(value: &str) -> String {
    value.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgepack_targets::Board;

    #[test]
    fn package_lies_at_the_end_of_the_flash_and_files_have_no_folders() {
        let board = Board::find("stm32f4-discovery").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("a,b.epk");
        std::fs::write(&package, [0; 100]).unwrap();
        let emulator = ["qemu-system-arm".to_string(), "-M".into(), "m".into()];
        let machine = Machine::new(&emulator, "/t/agent".into(), board.microcontroller().unwrap());
        let package = package.to_str().unwrap();
        let words = ["run", package, "--input", "/home/an owner/s/in.bin"];
        let command = machine.command("/home/an owner/s", Some("/p.so,out=/o"), &words).unwrap();
        let expected =
            "cd '/home/an owner/s' && exec qemu-system-arm -plugin /p.so,out=/o -M m -display none";
        assert!(command.starts_with(expected), "{command}");
        let told =
            ",arg=run,arg=0x80fff80+100,arg=--input,arg=in.bin,arg=--flash,arg=0x8000000+1048576,arg=--ram";
        assert!(command.contains(told), "{command}");
        assert!(command.contains("a,,b.epk,addr=0x80fff80,force-raw=on"), "{command}");
        let command = machine.command("/f", None, &["info"]).unwrap();
        assert!(!command.contains("loader") && !command.contains("plugin"), "{command}");
    }

    #[test]
    fn package_beyond_the_flash_is_refused_with_both_sizes() {
        let board = Board::find("stm32f4-discovery").unwrap();
        let package = tempfile::NamedTempFile::new().unwrap();
        package.as_file().set_len((1 << 20) + 1).unwrap();
        let mut machine = Machine::new(&["q".into()], "a".into(), board.microcontroller().unwrap());
        let words = ["info", package.path().to_str().unwrap()];
        let error = machine.command("/f", None, &words).unwrap_err();
        assert!(error.contains("1048577 bytes, 1048576 are free;"), "{error}");
        package.as_file().set_len(800_001).unwrap();
        assert!(machine.command("/f", None, &words).is_ok());
        machine.leaves(800_000);
        let error = machine.command("/f", None, &words).unwrap_err();
        assert!(error.contains("800001 bytes, 800000 are free beside the agent"), "{error}");
    }
}
