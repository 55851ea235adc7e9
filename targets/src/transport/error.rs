//! Why a device was not reached, and what to do.

/// An error on the way to a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name names no device.
    #[error("device {device}: {reason}")]
    Name {
        /// The name.
        device: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// A program of this machine is missing.
    #[error("device {device}: {program} is not installed here; install it ({remedy})")]
    Program {
        /// The device.
        device: String,
        /// The program.
        program: String,
        /// The command that installs it.
        remedy: &'static str,
    },
    /// The device's host key is not known.
    #[error(
        "device {device}: its host key is not known here, and none is taken on trust; compare the fingerprint that\n  \
         {scan}\nprints with the one that the device tells on its own console,\n  \
         ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub\nand if they are the same, accept it once by\n  {login}"
    )]
    UnknownHostKey {
        /// The device.
        device: String,
        /// The command that shows the fingerprint.
        scan: String,
        /// The command by which the key is accepted.
        login: String,
    },
    /// The device's host key is another than the known one.
    #[error(
        "device {device}: ITS HOST KEY HAS CHANGED: its system was installed anew, or this is not your device; \
         nothing was sent. If you know why, forget the old key by\n  {forget}\nand look at the new one:\n  {scan}"
    )]
    ChangedHostKey {
        /// The device.
        device: String,
        /// The command that removes the old key.
        forget: String,
        /// The command that shows the new fingerprint.
        scan: String,
    },
    /// The device does not let this user in.
    #[error("device {device}: {reason}; {remedy}")]
    Refused {
        /// The device.
        device: String,
        /// What it said.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// There is no connection.
    #[error("device {device}: no connection: {reason}; {remedy}")]
    Unreachable {
        /// The device.
        device: String,
        /// What the client said.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// The connection broke.
    #[error(
        "device {device}: the connection was lost: {reason}; nothing on the device was replaced: \
         see that it runs and is in reach, and do the same again"
    )]
    Lost {
        /// The device.
        device: String,
        /// What the client said.
        reason: String,
    },
    /// It took too long.
    #[error(
        "device {device}: no answer within {seconds} s; see whether it is overloaded or its line is slow, and do the \
         same again (EDGEPACK_DEVICE_SECONDS is the time for runs on the device)"
    )]
    TimedOut {
        /// The device.
        device: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// A file of the device could not be written.
    #[error("device {device}: {path} could not be written: {reason}; {remedy}")]
    Write {
        /// The device.
        device: String,
        /// The file there.
        path: String,
        /// The device's reason.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A file of the device could not be read.
    #[error("device {device}: {path} could not be read: {reason}")]
    Read {
        /// The device.
        device: String,
        /// The file there.
        path: String,
        /// The device's reason.
        reason: String,
    },
    /// A program of this machine failed in a way that is none of these.
    #[error("device {device}: {program}: {reason}")]
    Client {
        /// The device.
        device: String,
        /// The program.
        program: String,
        /// The system's reason.
        reason: String,
    },
}

impl Error {
    /// A file that could not be written, with the remedy that fits what the device said.
    pub(crate) fn write(device: &str, path: &str, said: &str) -> Error {
        let reason = lines(said);
        let has = |part: &str| reason.to_lowercase().contains(part);
        let remedy = if has("no space") || has("quota") {
            "make room there (df -h, EDGEPACK_DEVICE_FOLDER names another folder for the agent), and do it again"
        } else if has("permission denied") || has("read-only") || has("operation not permitted") {
            "give a folder that this user may write to, or make it writable"
        } else if has("no such file") || has("not a directory") || has("nonexistent") || has("is a directory")
        {
            "give a path whose folder is there"
        } else {
            "do the same again"
        };
        Error::Write { device: device.into(), path: path.into(), reason, remedy }
    }
}

/// What a program complained of, in one line.
pub(crate) fn lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.is_empty() {
        true => "it did not say why".into(),
        false => lines.join("; "),
    }
}
