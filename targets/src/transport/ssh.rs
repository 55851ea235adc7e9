//! A device by the system's OpenSSH client, so that the user's config, agent, keys and known hosts count.
//!
//! One connection is opened and shared by all commands (`ControlMaster`). Nothing is ever asked
//! (`BatchMode`), and no host key is taken on trust (`StrictHostKeyChecking=yes`, whatever the config says).

use std::process::{Command, Stdio};
use std::time::Duration;

use super::error::lines;
use super::process::{self, Failure};
use super::{Error, Output, SHORT, Transport, quote};

/// The environment variable with the client's command line, `ssh` unless given; words by spaces.
const CLIENT: &str = "EDGEPACK_SSH";

/// OpenSSH's own failures end with this code.
const FAILED: i32 = 255;

/// How to get the client.
const INSTALL: &str = "apt install openssh-client";

/// A device reached by ssh.
#[derive(Debug)]
pub struct Ssh {
    name: String,
    address: Address,
    client: Vec<String>,
    /// The folder of the shared connection's socket; only this user may enter it.
    control: Option<tempfile::TempDir>,
}

/// `[user@]host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub user: Option<String>,
    pub host: String,
    pub port: Option<u16>,
}

impl Address {
    /// Parses what follows `ssh://`.
    pub fn parse(text: &str) -> Result<Address, String> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user.to_string()), rest),
            None => (None, text),
        };
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or(port))),
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let port = match port.map(str::parse) {
            None => None,
            Some(Ok(port @ 1..)) => Some(port),
            Some(_) => return Err("its port is not a number from 1 to 65535".into()),
        };
        // A name that begins with a dash would be an option of the client.
        let is_name = |name: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~:%\\+".contains(c);
            !name.is_empty() && !name.starts_with('-') && name.chars().all(allowed)
        };
        match is_name(host) && user.as_deref().is_none_or(is_name) {
            true => Ok(Address { user, host: host.into(), port }),
            false => Err("give ssh://[user@]host[:port]; the host may be a name of your ssh config".into()),
        }
    }

    /// As a user would type it after `ssh`.
    fn words(&self) -> Vec<String> {
        let port = self.port.map(|port| ["-p".to_string(), port.to_string()]);
        let at = self.user.as_ref().map_or(self.host.clone(), |user| format!("{user}@{}", self.host));
        port.into_iter().flatten().chain([at]).collect()
    }

    fn scan(&self) -> String {
        let port = self.port.map(|port| format!("-p {port} ")).unwrap_or_default();
        format!("ssh-keyscan {port}{} 2>/dev/null | ssh-keygen -lf -", self.host)
    }

    /// As `known_hosts` has it.
    fn known_as(&self) -> String {
        match self.port {
            Some(port @ (1..=21 | 23..)) => format!("[{}]:{port}", self.host),
            _ => self.host.clone(),
        }
    }
}

impl Ssh {
    /// Connects to `[user@]host[:port]`.
    ///
    /// # Errors
    /// There is no such device, its host key is not known, or it does not let this user in.
    pub fn connect(address: &str) -> Result<Ssh, Error> {
        Ssh::by(&std::env::var(CLIENT).unwrap_or_default(), address)
    }

    /// As [`Ssh::connect`], by this client.
    pub(super) fn by(client: &str, address: &str) -> Result<Ssh, Error> {
        let name = format!("ssh://{address}");
        let address =
            Address::parse(address).map_err(|reason| Error::Name { device: name.clone(), reason })?;
        let mut client: Vec<String> = client.split_whitespace().map(str::to_string).collect();
        if client.is_empty() {
            client.push("ssh".into());
        }
        // Paths of sockets are short, and other systems than Unix have none: each command then connects anew.
        let folder = tempfile::Builder::new().prefix("edgepack-").tempdir().ok();
        let control = folder.filter(|folder| cfg!(unix) && folder.path().as_os_str().len() < 80);
        let ssh = Ssh { name, address, client, control };
        ssh.open()?;
        Ok(ssh)
    }

    /// Opens the shared connection; where none can be shared, only tries one.
    fn open(&self) -> Result<(), Error> {
        let mut command = self.command();
        let mut log = None;
        if let Some(control) = &self.control {
            // The process that stays behind would hold a pipe of stderr open.
            let path = control.path().join("log");
            log = std::fs::File::create(&path).ok().map(|file| (file, path));
            command.args(["-M", "-N", "-f", "-o", "ControlPersist=120"]);
        }
        command.args(self.destination());
        if self.control.is_none() {
            command.arg("exit 0");
        }
        let Some((file, path)) = log else {
            let output = self.finish(process::run(&mut command, &[], SHORT), SHORT)?;
            return if output.status == FAILED { Err(self.failure(&output.stderr, false)) } else { Ok(()) };
        };
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).status();
        let missing = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::Missing,
            _ => Failure::System(error),
        };
        // `ConnectTimeout` limits this.
        let status = status.map_err(|error| self.failed(missing(error), SHORT))?;
        match status.success() {
            true => Ok(()),
            false => Err(self.failure(&std::fs::read_to_string(path).unwrap_or_default(), false)),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.client[0]);
        command.args(&self.client[1..]);
        let control = match &self.control {
            Some(control) => format!("ControlPath={}", control.path().join("socket").display()),
            None => "ControlPath=none".into(),
        };
        let options = [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "ConnectTimeout=10",
            "ServerAliveInterval=5",
            "ServerAliveCountMax=3",
            "ForwardX11=no",
            "ForwardAgent=no",
            "ClearAllForwardings=yes",
            "RemoteCommand=none",
            "RequestTTY=no",
            &control,
        ];
        for option in options {
            command.args(["-o", option]);
        }
        command
    }

    /// The port and user as options, so that the host stands alone behind `--`.
    fn destination(&self) -> Vec<String> {
        let port = self.address.port.map(|port| ["-p".to_string(), port.to_string()]);
        let user = self.address.user.clone().map(|user| ["-l".to_string(), user]);
        let options = port.into_iter().chain(user).flatten();
        options.chain(["--".into(), self.address.host.clone()]).collect()
    }

    fn finish(&self, outcome: Result<Output, Failure>, limit: Duration) -> Result<Output, Error> {
        outcome.map_err(|failure| self.failed(failure, limit))
    }

    fn failed(&self, failure: Failure, limit: Duration) -> Error {
        failure.of(&self.name, &self.client[0], INSTALL, limit)
    }

    /// What the client's words mean.
    fn failure(&self, said: &str, connected: bool) -> Error {
        let device = self.name.clone();
        let login = [vec![self.client.join(" ")], self.address.words()].concat().join(" ");
        let scan = self.address.scan();
        let has = |part: &str| said.contains(part);
        if has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
            return Error::ChangedHostKey {
                device,
                forget: format!("ssh-keygen -R {}", quote(&self.address.known_as())),
                scan,
            };
        }
        if has("Host key verification failed") || has("host key is known for") {
            return Error::UnknownHostKey { device, scan, login };
        }
        // The last lines are the reason; before them may stand what the device shows to everyone.
        let all: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let reason = lines(&all[all.len().saturating_sub(2)..].join("\n"));
        if has("Permission denied") || has("Too many authentication failures") {
            let copy = [vec!["ssh-copy-id".into()], self.address.words()].concat().join(" ");
            let remedy = format!(
                "give the device your key by\n  {copy}\nor name the right one in your ssh config (IdentityFile); a key \
                 with a passphrase wants an agent (ssh-add); `{login} -v` shows what is tried"
            );
            return Error::Refused { device, reason, remedy };
        }
        let remedy = if has("Could not resolve") {
            "see whether the name is right, or give the address"
        } else if has("Connection refused") {
            "see whether an ssh server runs there, and on which port (ssh://host:PORT)"
        } else if has("timed out") || has("No route to host") || has("unreachable") {
            "see whether the device is on, and in this network"
        } else if connected {
            return Error::Lost { device, reason };
        } else {
            return Error::Unreachable { device, reason, remedy: format!("see whether `{login}` works") };
        };
        Error::Unreachable { device, reason, remedy: remedy.into() }
    }
}

impl Transport for Ssh {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(&self, script: &str, input: &[u8], limit: Duration) -> Result<Output, Error> {
        // The user's shell there may be any; a shell of POSIX runs the script. Its child does, so that a program
        // that a signal ends gives an exit code: of a signal, the client would say 255, as of its own failures.
        let mut command = self.command();
        command.args(self.destination()).arg(format!("sh -c {}", quote(&format!("( {script}\n); exit $?"))));
        let output = self.finish(process::run(&mut command, input, limit), limit)?;
        match output.status {
            FAILED => Err(self.failure(&output.stderr, true)),
            _ => Ok(output),
        }
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        if self.control.is_some() {
            let mut command = self.command();
            command.args(["-O", "exit"]).args(self.destination());
            // Left alone, it ends by itself after two minutes.
            let _ = process::run(&mut command, &[], Duration::from_secs(5));
        }
    }
}
