//! A device with the agent on it. Devices differ in how they are reached ([`Transport`]) and in nothing else.

use std::path::{Path, PathBuf};
use std::time::Duration;

use edgepack_engine::isa;
use edgepack_targets::Board;
use edgepack_targets::transport::{Adb, Host, Output, SHORT, Ssh, Transport, quote};

use super::arch::{Arch, machine_of};
use super::instructions::{Counted, read_count};
use super::machine::Machine;
use super::{Device, Local, Selftest};
use crate::Error;

/// The environment variable with the folder of the device that holds the agent.
const FOLDER: &str = "EDGEPACK_DEVICE_FOLDER";

/// The environment variable with the time for a run on the device, in seconds.
const SECONDS: &str = "EDGEPACK_DEVICE_SECONDS";

/// A device that was reached, and has nothing of ours yet.
#[derive(Debug)]
pub struct Reached {
    pub(super) transport: Box<dyn Transport>,
    /// The board that is emulated, with the agent's binary for it where that was given.
    pub(super) emulated: Option<Board>,
    pub(super) agent: Option<PathBuf>,
}

/// Reaches the device of this name: `local`, `qemu:BOARD`, `ssh://[user@]host[:port]` or `adb:SERIAL`.
///
/// # Errors
/// There is no such device or board, it does not let this user in, or a program that is needed here is not
/// installed.
pub fn reach(name: &str) -> Result<Reached, Error> {
    let reached = |transport| Reached { transport, emulated: None, agent: None };
    if let Some(address) = name.strip_prefix("ssh://") {
        return Ok(reached(Box::new(Ssh::connect(address)?)));
    }
    match name.split_once(':') {
        None if name == "local" => Ok(reached(Box::new(Host::local()))),
        None if name == "adb" => Ok(reached(Box::new(Adb::connect("")?))),
        Some(("adb", serial)) => Ok(reached(Box::new(Adb::connect(serial)?))),
        Some(("qemu", board)) => {
            let board = Board::find(board)
                .map_err(|error| Error::Device { device: name.into(), reason: error.to_string() })?;
            Reached::emulating(board, None)
        }
        _ => Err(Error::Device {
            device: name.into(),
            reason: "give local, qemu:BOARD with a board of `edgepack targets`, ssh://[user@]host[:port], \
                     or adb:SERIAL with a serial of `adb devices`"
                .into(),
        }),
    }
}

impl Reached {
    /// A board under QEMU, with the agent's binary at `agent`, or where it is looked for.
    pub(super) fn emulating(board: Board, agent: Option<PathBuf>) -> Result<Reached, Error> {
        let transport = Box::new(Host::emulating(&board)?);
        Ok(Reached { transport, emulated: Some(board), agent })
    }

    /// The device, if it has files to deploy to.
    ///
    /// # Errors
    /// It is a microcontroller; the error says what to do instead.
    pub fn with_files(self) -> Result<Reached, Error> {
        match self.emulated.as_ref().filter(|board| board.microcontroller().is_some()) {
            None => Ok(self),
            Some(board) => Err(Error::Device {
                device: self.transport.name().into(),
                reason: format!(
                    "{0} has no files: its package is a part of firmware. edgepack new-firmware PACKAGE.epk --target {0} \
                     -o DIR makes a project with it, which goes to a board by probe-rs run, or probe-rs download for \
                     what stays in flash; nothing was deployed",
                    board.name
                ),
            }),
        }
    }

    fn is_local(&self) -> bool {
        self.emulated.is_none() && self.transport.shares_files()
    }
}

/// A device with the agent on it, and a folder for what is sent there, which goes with this value.
#[derive(Debug)]
pub struct Connection {
    transport: Box<dyn Transport>,
    arch: String,
    isa: String,
    version: Option<String>,
    emulated: bool,
    agent: Agent,
    room: Option<Room>,
    folder: String,
}

/// What a microcontroller has for packages, beside the agent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub flash_bytes: u64,
    pub ram_bytes: u64,
}

/// What runs packages there.
#[derive(Clone, Debug)]
enum Agent {
    /// The engine of this process.
    Engine,
    /// A program of the device, as it names it.
    Program(String),
    /// A machine that has nothing but the agent.
    Machine(Machine),
}

impl Connection {
    /// Looks what the device is, and brings the agent for it where it is not there yet: once, under the
    /// name of its hash.
    ///
    /// # Errors
    /// No agent runs on such a device, there is none here, or it cannot be written there.
    pub fn new(reached: Reached) -> Result<Connection, Error> {
        let is_local = reached.is_local();
        let Reached { transport, emulated, agent } = reached;
        let probe = Probe::of(&*transport)?;
        let mut connection = Connection {
            arch: emulated.as_ref().map_or(probe.machine.clone(), |board| board.arch.clone()),
            isa: String::new(),
            version: None,
            emulated: emulated.is_some(),
            agent: Agent::Engine,
            room: None,
            folder: probe.session,
            transport,
        };
        if is_local {
            connection.arch = std::env::consts::ARCH.into();
            connection.version = Some(env!("CARGO_PKG_VERSION").into());
            connection.isa =
                isa::detect().map_err(|error| connection.failed(error.to_string()))?.set().to_string();
            return Ok(connection);
        }
        let arch = match &emulated {
            Some(board) => Arch::of_board(board),
            None => Arch::of_machine(&probe.machine).map_err(|reason| connection.failed(reason))?,
        };
        connection.arch = arch.name.into();
        let file = arch.agent(agent).map_err(|reason| connection.failed(reason))?;
        match emulated.as_ref().and_then(Board::microcontroller) {
            Some(board) => {
                let file = std::path::absolute(&file).map_err(Error::io(&file))?.display().to_string();
                connection.agent = Agent::Machine(Machine::new(connection.transport.launcher(), file, board));
            }
            None => connection.bring_agent(&file, &probe.folder)?,
        }
        let told = connection.json(&["info"], SHORT)?;
        connection.isa = told["isa"].as_str().unwrap_or_default().into();
        connection.version = told["version"].as_str().map(str::to_string);
        let bytes = |name: &str| told[name].as_u64();
        if let (Some(flash_bytes), Some(ram_bytes)) = (bytes("free_flash_bytes"), bytes("free_ram_bytes")) {
            connection.room = Some(Room { flash_bytes, ram_bytes });
            if let Agent::Machine(machine) = &mut connection.agent {
                machine.leaves(flash_bytes);
            }
        }
        Ok(connection)
    }

    fn bring_agent(&mut self, file: &Path, folder: &str) -> Result<(), Error> {
        if self.transport.shares_files() {
            let file = std::path::absolute(file).map_err(Error::io(file))?;
            self.agent = Agent::Program(file.display().to_string());
            return Ok(());
        }
        let bytes = std::fs::read(file).map_err(Error::io(file))?;
        let hash = blake3::hash(&bytes).to_string();
        let path = format!("{folder}/agent-{}", &hash[..16]);
        self.agent = Agent::Program(path.clone());
        if self.script(&format!("[ -x {} ]", quote(&path)))?.succeeded() {
            return Ok(());
        }
        let temporary = format!("{}/agent", self.folder);
        self.transport.push(&bytes, &temporary)?;
        let executable = self.script(&format!("chmod 755 {}", quote(&temporary)))?;
        if !executable.succeeded() {
            return Err(self.failed(executable.stderr));
        }
        // It looks at itself before it has its name.
        let agent = std::mem::replace(&mut self.agent, Agent::Program(temporary.clone()));
        let arrived = self.hash(&temporary);
        self.agent = agent;
        let arrived = arrived.map_err(|error| match error {
            Error::Device { reason, .. } => self.failed(format!(
                "the agent {} does not start there: {reason}; see that it is for {}, and that the device runs programs \
                 of its folder ({FOLDER} names another)",
                file.display(),
                self.arch
            )),
            other => other,
        })?;
        if arrived.as_deref() != Some(&hash) {
            return Err(self.failed("the agent arrived damaged; do the same again".into()));
        }
        self.must(&format!("exec mv -f {} {}", quote(&temporary), quote(&path)))
    }

    /// The shell's command line for the agent's arguments.
    fn command(&self, plugin: Option<&str>, arguments: &[&str]) -> Result<String, Error> {
        let program = match &self.agent {
            Agent::Engine => return Err(self.failed("this process is its own agent".into())),
            Agent::Machine(machine) => {
                return machine
                    .command(&self.folder, plugin, arguments)
                    .map_err(|reason| self.failed(reason));
            }
            Agent::Program(program) => program,
        };
        let mut words: Vec<&str> = self.transport.launcher().iter().map(String::as_str).collect();
        if let Some(plugin) = plugin {
            if words.is_empty() {
                return Err(self.failed("it is not emulated".into()));
            }
            words.splice(1..1, ["-plugin", plugin]);
        }
        words.push(program);
        words.extend(arguments);
        Ok(format!("exec {}", words.into_iter().map(quote).collect::<Vec<_>>().join(" ")))
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        self.transport.name()
    }

    /// Its architecture, such as `aarch64`.
    pub fn arch(&self) -> &str {
        &self.arch
    }

    /// The instruction sets that kernels may use there.
    pub fn isa(&self) -> &str {
        &self.isa
    }

    /// The version of the agent there.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The program that emulates it; empty where it is not emulated.
    pub(super) fn emulator(&self) -> &str {
        self.transport.launcher().first().map_or("", String::as_str)
    }

    /// Whether it is emulated.
    pub fn is_emulated(&self) -> bool {
        self.emulated
    }

    /// An error of this device.
    pub(super) fn failed(&self, reason: String) -> Error {
        Error::Device { device: self.name().into(), reason }
    }

    /// Puts a file into this connection's folder, under `name`; gives its path there.
    pub(super) fn bring(&self, file: &Path, name: &str) -> Result<String, Error> {
        if self.transport.shares_files() {
            return Ok(std::path::absolute(file).map_err(Error::io(file))?.display().to_string());
        }
        self.write(&std::fs::read(file).map_err(Error::io(file))?, name)
    }

    /// Writes a file of this connection's folder; gives its path there.
    pub(super) fn write(&self, bytes: &[u8], name: &str) -> Result<String, Error> {
        let path = self.path(name);
        self.transport.push(bytes, &path)?;
        Ok(path)
    }

    /// The folder of this connection, which goes with it.
    pub(super) fn folder(&self) -> &str {
        &self.folder
    }

    /// The path of a file of this connection's folder.
    pub(super) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    /// Reads a file of the device, of about so many bytes.
    pub(super) fn read(&self, path: &str, bytes: usize) -> Result<Vec<u8>, Error> {
        Ok(self.transport.pull(path, bytes)?)
    }

    /// Writes a file of the device.
    pub(super) fn push(&self, bytes: &[u8], path: &str) -> Result<(), Error> {
        Ok(self.transport.push(bytes, path)?)
    }

    /// Runs a shell script on the device.
    pub(super) fn script(&self, script: &str) -> Result<Output, Error> {
        Ok(self.transport.run(script, &[], SHORT)?)
    }

    /// Runs a script that must succeed.
    pub(super) fn must(&self, script: &str) -> Result<(), Error> {
        let output = self.script(script)?;
        match output.succeeded() {
            true => Ok(()),
            false => Err(self.failed(output.stderr.trim().into())),
        }
    }

    /// As [`Self::json`], and the number of the guest's instructions, for an emulated device.
    pub(super) fn counted(
        &self,
        plugin: &Path,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<(serde_json::Value, u64), Error> {
        let out = self.path("instructions");
        let plugin = format!("{},out={out}", plugin.display());
        let output = self.run_agent(Some(&plugin), arguments, limit)?;
        Ok((self.last_line(&output)?, read_count(Path::new(&out))?))
    }

    /// Runs the agent; its exit codes 0 and 1 are answers.
    pub(super) fn agent(&self, arguments: &[&str], limit: Duration) -> Result<Output, Error> {
        self.run_agent(None, arguments, limit)
    }

    fn run_agent(&self, plugin: Option<&str>, arguments: &[&str], limit: Duration) -> Result<Output, Error> {
        let output = self.transport.run(&self.command(plugin, arguments)?, &[], limit)?;
        match (output.status, &self.agent) {
            // A machine has one line for everything, and what the emulator itself says is on the other.
            (status, Agent::Machine(_)) if status > 1 || !output.stdout.starts_with(b"{") => {
                let said = format!("{}{}", output.text(), output.stderr);
                Err(self.failed(machine_ending(status, &said)))
            }
            (0 | 1, _) => Ok(output),
            (status, _) => Err(self.failed(self.ending(status, &output.stderr))),
        }
    }

    /// What is counted there.
    pub(super) fn counts(&self) -> Counted {
        if matches!(self.agent, Agent::Machine(_)) { Counted::MACHINE } else { Counted::PROGRAM }
    }

    /// What there is for packages, on a microcontroller.
    pub(super) fn room(&self) -> Option<Room> {
        self.room
    }

    /// As `agent`, for what must succeed; gives the last line as JSON.
    pub(super) fn json(&self, arguments: &[&str], limit: Duration) -> Result<serde_json::Value, Error> {
        let output = self.agent(arguments, limit)?;
        if output.status != 0 {
            return Err(self.failed(self.ending(output.status, &output.stderr)));
        }
        self.last_line(&output)
    }

    pub(super) fn last_line(&self, output: &Output) -> Result<serde_json::Value, Error> {
        let text = output.text();
        let line = text.lines().last().unwrap_or_default();
        serde_json::from_str(line).map_err(|error| {
            self.failed(format!("the agent printed `{line}`: {error}; is it of this version?"))
        })
    }

    /// What an exit code that is no answer means, and what to do.
    fn ending(&self, status: i32, stderr: &str) -> String {
        let said = stderr.trim().trim_start_matches("error: ");
        let because = if said.is_empty() { String::new() } else { format!(" ({said})") };
        if said.contains("memory allocation of") {
            return format!(
                "too little memory{because}; end other programs there, or pack a smaller model \
                 (`edgepack doctor --package` tells what is needed)"
            );
        }
        match status {
            2 if !said.is_empty() => said.into(),
            126 | 127 => format!(
                "the agent does not start{because}: it is not for this device, or its folder forbids programs \
                 (mount option noexec); see `edgepack doctor`, and {FOLDER} for another folder"
            ),
            132 => format!(
                "the agent used an instruction that this processor lacks{because}; build it for an older one: \
                 without `-C target-cpu`"
            ),
            137 => format!(
                "the device ended the agent{because}, as it does when memory runs out: see its `dmesg`"
            ),
            _ => format!("the agent ended with {status}{because}"),
        }
    }

    /// BLAKE3 of a file of the device, by the agent there; `None` where there is no such file.
    pub(super) fn hash(&self, path: &str) -> Result<Option<String>, Error> {
        if matches!(self.agent, Agent::Engine) {
            return match std::fs::read(path) {
                Ok(bytes) => Ok(Some(blake3::hash(&bytes).to_string())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(source) => Err(Error::Io { path: path.into(), source }),
            };
        }
        if !self.script(&format!("[ -e {} ]", quote(path)))?.succeeded() {
            return Ok(None);
        }
        let told = self.json(&["hash", path], run_limit())?;
        Ok(told["blake3"].as_str().map(str::to_string))
    }

    /// Runs the golden samples of a package that is on the device.
    pub(super) fn selftest(&self, path: &str) -> Result<Selftest, Error> {
        if matches!(self.agent, Agent::Engine) {
            return Local::open(Path::new(path), 1, None)?.selftest();
        }
        let output = self.agent(&["selftest", path], run_limit())?;
        // A package that is refused ends with 2; 1 is a self-test that failed.
        let told = self.last_line(&output)?;
        Ok(Selftest {
            passed: output.succeeded() && told["passed"] == true,
            samples: told["samples"].as_u64().unwrap_or(0) as usize,
            message: told["message"].as_str().unwrap_or_default().to_string(),
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // What could not be removed now, the next connection removes when it is a day old.
        let _ = self.script(&format!("rm -rf {}", quote(&self.folder)));
    }
}

/// Why a machine ended with this code, having said this.
fn machine_ending(status: i32, said: &str) -> String {
    let said = said.trim();
    match status {
        2 if !said.is_empty() => said.trim_start_matches("error: ").into(),
        3 => "the processor faulted, as it does when the stack has left its memory".into(),
        _ if said.is_empty() => format!("the emulator ended with {status}"),
        _ => format!("the emulator ended with {status} ({said})"),
    }
}

/// Time for what a package computes on the device.
pub(super) fn run_limit() -> Duration {
    let seconds = std::env::var(SECONDS).ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1800))
}

/// What must be known before anything is sent.
struct Probe {
    /// As `uname -m` says.
    machine: String,
    /// Where the agent lies.
    folder: String,
    /// A folder in it for this connection.
    session: String,
}

impl Probe {
    fn of(transport: &dyn Transport) -> Result<Probe, Error> {
        let failed = |reason: String| Error::Device { device: transport.name().into(), reason };
        let wish = std::env::var(FOLDER).unwrap_or_default();
        let output = transport.run(&probe_script(&wish), &[], SHORT)?;
        let text = output.text();
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(key));
            line.and_then(|line| line.strip_prefix('=')).unwrap_or_default().to_string()
        };
        let machine = value("edgepack-machine");
        if machine.is_empty() {
            let said = text.lines().chain(output.stderr.lines()).find(|line| !line.trim().is_empty());
            return Err(failed(format!(
                "its login runs no commands: it said `{}`; log in as a user with a POSIX shell",
                said.unwrap_or_default().trim()
            )));
        }
        let (folder, session) = (value("edgepack-folder"), value("edgepack-session"));
        if folder.is_empty() || session.is_empty() {
            return Err(failed(format!(
                "there is no folder that programs can be written to ({}); name one in {FOLDER}",
                output.stderr.trim().lines().last().unwrap_or("none of them is writable")
            )));
        }
        Ok(Probe { machine: machine_of(&machine), folder, session })
    }
}

/// The first folder that is this user's own and can be written to, and a new one in it. A folder below /tmp is
/// taken only where nobody else made it.
fn probe_script(wish: &str) -> String {
    format!(
        "umask 077; echo edgepack-machine=$(uname -m)
for d in {wish} ${{XDG_CACHE_HOME:+\"$XDG_CACHE_HOME/edgepack\"}} ${{HOME:+\"$HOME/.cache/edgepack\"}} \
/data/local/tmp/edgepack /tmp/edgepack-$(id -u); do
  mkdir -p \"$d\" && [ -O \"$d\" ] && [ -w \"$d\" ] || continue
  find \"$d\" -name 'session-*' -mmin +1440 -exec rm -rf {{}} + 2>/dev/null
  s=\"$d/session-$$-$(date +%s)\"
  mkdir \"$s\" || continue
  echo \"edgepack-folder=$d\"; echo \"edgepack-session=$s\"; exit 0
done
exit 1",
        wish = if wish.is_empty() { String::new() } else { quote(wish) },
    )
}
