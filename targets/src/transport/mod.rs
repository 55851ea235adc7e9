//! How a device is reached: ssh, adb, or this machine itself.
//!
//! A [`Transport`] runs a shell script on the device and carries files; what is done with that (finding
//! the architecture, bringing the agent, running packages) is the same for all of them and lives in the
//! harness. All of it needs no more of a device than a POSIX shell with `cat`, `wc`, `mkdir`, `rm` and `mv`:
//! files go through the shell's own connection, because boards with dropbear have no sftp-server.

mod adb;
mod error;
mod host;
mod process;
mod ssh;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

pub use adb::Adb;
pub use error::Error;
pub use host::Host;
pub use ssh::Ssh;

/// Time for what a device answers at once.
pub const SHORT: Duration = Duration::from_secs(60);

/// What a command on the device came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; 128 and the signal's number where a signal ended it, as shells say.
    pub status: i32,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained of.
    pub stderr: String,
}

impl Output {
    /// What it printed, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Whether it ended with 0.
    pub fn succeeded(&self) -> bool {
        self.status == 0
    }
}

/// A way to a device.
///
/// For implementers: `run` alone is enough. It gives an error only where the way itself fails; a script that
/// ends with another code than 0 is an [`Output`].
pub trait Transport: fmt::Debug + Send {
    /// The device as its user names it, such as `ssh://pi@kitchen`.
    fn name(&self) -> &str;

    /// Runs a POSIX shell script on the device with `input` on its standard input, no longer than `limit`.
    ///
    /// # Errors
    /// The device is not reached, the connection is lost, or the time is over.
    fn run(&self, script: &str, input: &[u8], limit: Duration) -> Result<Output, Error>;

    /// Writes a file of the device. Where less arrives than was sent, be it that this program is killed
    /// meanwhile, the device removes what it has.
    ///
    /// # Errors
    /// As those of `run`; or [`Error::Write`] with the device's own reason.
    fn push(&self, bytes: &[u8], to: &str) -> Result<(), Error> {
        // The shell outlives the connection: it sees the end of its input, counts, and tidies up.
        let script = format!(
            "t={to}; cat > \"$t\"; s=$?; n=$(($(wc -c < \"$t\"))); \
             [ $s = 0 ] && [ \"$n\" -eq {length} ] && exit 0; \
             rm -f \"$t\"; echo \"$n of {length} bytes arrived\" >&2; exit 74",
            to = quote(to),
            length = bytes.len()
        );
        let output = self.run(&script, bytes, transfer_limit(bytes.len()))?;
        match output.succeeded() {
            true => Ok(()),
            false => Err(Error::write(self.name(), to, &output.stderr)),
        }
    }

    /// Reads a file of the device.
    ///
    /// # Errors
    /// As those of `run`; or [`Error::Read`] with the device's own reason.
    fn pull(&self, from: &str, bytes: usize) -> Result<Vec<u8>, Error> {
        let output = self.run(&format!("exec cat {}", quote(from)), &[], transfer_limit(bytes))?;
        match output.succeeded() {
            true => Ok(output.stdout),
            false => {
                Err(Error::Read { device: self.name().into(), path: from.into(), reason: output.stderr })
            }
        }
    }

    /// Whether the device's files are this machine's, so that nothing needs to be sent.
    fn shares_files(&self) -> bool {
        false
    }

    /// What comes before a program of the device on its command line, such as an emulator; mostly nothing.
    fn launcher(&self) -> &[String] {
        &[]
    }
}

/// A word for a POSIX shell.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// Time to carry so many bytes, over a line of 50 kB/s.
fn transfer_limit(bytes: usize) -> Duration {
    SHORT + Duration::from_secs(bytes as u64 / 50_000)
}
