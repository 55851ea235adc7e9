//! Instructions of an emulated device: what is counted does not depend on this machine, nor on what else it does.
//!
//! QEMU counts, by a plugin of ours that is built where it is needed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;

/// The plugin: C, without QEMU's headers.
const SOURCE: &str = include_str!("../../record/count_instructions.c");

/// Versions of QEMU's plugin interface that it can be built for.
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=6;

/// Two numbers of warm-up runs whose instructions are counted: loading, the one measured run and its statistics are
/// the same for both. Runs of warm-up are counted and not measured ones, because nothing happens between them: no clock
/// is read and no statistics are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The numbers of runs.
    pub runs: [u64; 2],
}

impl Counted {
    /// Of a program on an emulated processor. The numbers are far apart, since the rest differs by some thousand
    /// instructions, with the digits of the times that are printed.
    pub const PROGRAM: Self = Self { runs: [0, 64] };

    /// Of an emulated machine, which has no times, and repeats to the instruction.
    pub const MACHINE: Self = Self { runs: [0, 1] };

    /// The agent's arguments for so many counted runs.
    pub fn arguments(runs: u64) -> [String; 4] {
        ["--warmup".into(), runs.to_string(), "--runs".into(), "1".into()]
    }

    /// Instructions of one run, of those of all of [`Counted::runs`].
    pub fn per_run(self, [few, many]: [u64; 2]) -> u64 {
        many.saturating_sub(few) / (self.runs[1] - self.runs[0])
    }
}

/// Builds the plugin in `folder`, for the version of the interface that this QEMU has: it says what it wants by
/// refusing others. Used as `-plugin PATH,out=FILE`, it writes the number of all instructions to the file at the end.
///
/// # Errors
/// [`Error::Counting`]: there is no C compiler (`CC`, or `cc`), or this QEMU takes no plugins.
pub fn counting_plugin(qemu: &str, folder: &Path) -> Result<PathBuf, Error> {
    let failed = |reason: String| Error::Counting { qemu: qemu.into(), reason };
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let mut refusal = String::new();
    for version in VERSIONS {
        let plugin = folder.join(format!("count_instructions-{version}.so"));
        let mut command = Command::new(&compiler);
        command.args(["-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Werror", "-x", "c"]);
        command.arg(format!("-DPLUGIN_VERSION={version}")).arg("-o").arg(&plugin).arg("-");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let compile = || {
            let mut child = command.spawn()?;
            // It is read to its end before the compiler says anything.
            child.stdin.take().map_or(Ok(()), |mut input| input.write_all(SOURCE.as_bytes()))?;
            child.wait_with_output()
        };
        let output = { compile }().map_err(|error| {
            failed(format!("{compiler}: {error}; it needs a C compiler (apt install gcc, or CC)"))
        })?;
        if !output.status.success() {
            return Err(failed(format!("{compiler}: {}", String::from_utf8_lossy(&output.stderr).trim())));
        }
        // Plugins are loaded before QEMU finds that there is no such program.
        let argument = format!("{},out={}", plugin.display(), folder.join("none").display());
        let mut command = Command::new(qemu);
        command.args(["-plugin", &argument]);
        if qemu.contains("-system-") {
            command.args(["-M", "none", "-display", "none", "-kernel"]);
        }
        let output = command.arg("/no/such/program").output();
        let output = output.map_err(|error| failed(format!("{error}: is it installed?")))?;
        refusal = String::from_utf8_lossy(&output.stderr).trim().to_string();
        if !refusal.to_lowercase().contains("plugin") {
            return Ok(plugin);
        }
    }
    Err(failed(format!("it takes no plugin: {refusal}")))
}

/// The number that the plugin wrote.
pub(super) fn read_count(path: &Path) -> Result<u64, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    text.trim().parse().map_err(|_| Error::Counting {
        qemu: path.display().to_string(),
        reason: format!("its plugin wrote `{}`", text.trim()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_once_is_not_counted() {
        assert_eq!(Counted::PROGRAM.per_run([1_000_000, 1_000_000 + 64 * 5000]), 5000);
        assert_eq!(Counted::PROGRAM.per_run([5, 1]), 0);
        assert_eq!(Counted::MACHINE.per_run([1_000, 1_700]), 700);
    }

    #[test]
    fn missing_emulator_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = counting_plugin("qemu-none", folder.path()).unwrap_err().to_string();
        assert!(error.contains("qemu-none"), "{error}");
    }
}
