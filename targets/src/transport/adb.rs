//! An Android device by the ordinary `adb` client.
//!
//! The exit code of a script is the last line that it prints: before Android 7, `adb shell` had none of its
//! own, and the client's failures end with 1 as scripts may.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use super::error::lines;
use super::process;
use super::{Error, Output, SHORT, Transport, transfer_limit};

/// The environment variable with the client's command line, `adb` unless given; words by spaces.
const CLIENT: &str = "EDGEPACK_ADB";

/// How to get the client.
const INSTALL: &str = "apt install adb, or Android's platform tools";

/// Before the exit code.
const MARK: &str = "edgepack-exit=";

/// A device reached by adb.
#[derive(Debug)]
pub struct Adb {
    name: String,
    client: Vec<String>,
}

impl Adb {
    /// The device of this serial, as `adb devices` tells it; an empty one is the only device there is.
    ///
    /// # Errors
    /// There is no such device, or it has not allowed debugging from here.
    pub fn connect(serial: &str) -> Result<Adb, Error> {
        Adb::by(&std::env::var(CLIENT).unwrap_or_default(), serial)
    }

    /// As [`Adb::connect`], by this client.
    pub(super) fn by(client: &str, serial: &str) -> Result<Adb, Error> {
        let name = if serial.is_empty() { "adb".into() } else { format!("adb:{serial}") };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        if serial.starts_with('-') || !serial.chars().all(allowed) {
            let reason = "give adb:SERIAL with a serial of `adb devices`".into();
            return Err(Error::Name { device: name, reason });
        }
        let mut client: Vec<String> = client.split_whitespace().map(str::to_string).collect();
        if client.is_empty() {
            client.push("adb".into());
        }
        if !serial.is_empty() {
            client.extend(["-s".into(), serial.into()]);
        }
        let adb = Adb { name, client };
        adb.run("exit 0", &[], SHORT)?;
        Ok(adb)
    }

    fn client(&self, arguments: &[&str], input: &[u8], limit: Duration) -> Result<Output, Error> {
        let mut command = Command::new(&self.client[0]);
        command.args(&self.client[1..]).args(arguments);
        process::run(&mut command, input, limit)
            .map_err(|failure| failure.of(&self.name, &self.client[0], INSTALL, limit))
    }

    /// What the client's words mean.
    fn failure(&self, said: &str) -> Error {
        let device = self.name.clone();
        let reason = lines(said);
        let has = |part: &str| reason.contains(part);
        let remedy = if has("unauthorized") {
            let remedy = "unlock the device and allow debugging from this computer, then do the same again";
            return Error::Refused { device, reason, remedy: remedy.into() };
        } else if has("more than one") {
            "give its serial (adb:SERIAL); `adb devices` lists them"
        } else if has("not found") || has("no devices") {
            "plug it in, turn USB debugging on (or `adb connect ADDRESS`), and look at `adb devices`"
        } else if has("offline") {
            "plug it in again, or `adb reconnect`"
        } else {
            return Error::Lost { device, reason };
        };
        Error::Unreachable { device, reason, remedy: remedy.into() }
    }

    /// A temporary file of this machine, since the client carries files by name.
    fn temporary(&self, bytes: &[u8]) -> Result<tempfile::NamedTempFile, Error> {
        let failed = |error: std::io::Error| Error::Client {
            device: self.name.clone(),
            program: "temporary file".into(),
            reason: error.to_string(),
        };
        let mut file = tempfile::NamedTempFile::new().map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        Ok(file)
    }
}

impl Transport for Adb {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(&self, script: &str, input: &[u8], limit: Duration) -> Result<Output, Error> {
        let script = format!("( {script}\n); echo {MARK}$?");
        let mut output = self.client(&["shell", &script], input, limit)?;
        let text = output.text();
        let Some((before, code)) = text.rsplit_once(MARK) else {
            return Err(self.failure(&output.stderr));
        };
        output.status = code.trim().parse().unwrap_or(-1);
        output.stdout = before.as_bytes().into();
        Ok(output)
    }

    fn push(&self, bytes: &[u8], to: &str) -> Result<(), Error> {
        let file = self.temporary(bytes)?;
        let path = file.path().display().to_string();
        let output = self.client(&["push", &path, to], &[], transfer_limit(bytes.len()))?;
        match output.succeeded() {
            true => Ok(()),
            false => {
                // What is left of it is worth nothing.
                let _ = self.run(&format!("rm -f {}", super::quote(to)), &[], SHORT);
                Err(Error::write(&self.name, to, &format!("{}\n{}", output.stderr, output.text())))
            }
        }
    }

    fn pull(&self, from: &str, bytes: usize) -> Result<Vec<u8>, Error> {
        let file = self.temporary(&[])?;
        let path = file.path().display().to_string();
        let output = self.client(&["pull", from, &path], &[], transfer_limit(bytes))?;
        let read = |reason| Error::Read { device: self.name.clone(), path: from.into(), reason };
        match output.succeeded() {
            true => std::fs::read(file.path()).map_err(|error| read(error.to_string())),
            false => Err(read(lines(&output.stderr))),
        }
    }
}
