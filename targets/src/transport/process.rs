//! A program of this machine, run with input, output and a limit of time.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{Error, Output};

/// A program that could not be run to its end.
pub(super) enum Failure {
    /// It is not there.
    Missing,
    /// The time was over; it was killed.
    TimedOut,
    /// The system's reason.
    System(std::io::Error),
}

impl Failure {
    /// The error of a device that was to be reached by this program.
    pub fn of(self, device: &str, program: &str, install: &'static str, limit: Duration) -> Error {
        let (device, program) = (device.into(), program.into());
        match self {
            Failure::Missing => Error::Program { device, program, remedy: install },
            Failure::TimedOut => Error::TimedOut { device, seconds: limit.as_secs() },
            Failure::System(error) => Error::Client { device, program, reason: error.to_string() },
        }
    }
}

/// How long to wait for what is left in the pipes of a program that has ended: one that it started may hold
/// them open.
const REST: Duration = Duration::from_secs(5);

/// Runs `command` with `input`, no longer than `limit`.
pub(super) fn run(command: &mut Command, input: &[u8], limit: Duration) -> Result<Output, Failure> {
    let (stdin, sink) = match input.is_empty() {
        true => (Stdio::null(), None),
        false => feed().map(|(stdin, sink)| (stdin, Some(sink))).map_err(Failure::System)?,
    };
    let child = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    // This process's copy of what the child reads from.
    command.stdin(Stdio::null());
    let mut child = child.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::Missing,
        _ => Failure::System(error),
    })?;
    let stdout = Collected::from(child.stdout.take());
    let stderr = Collected::from(child.stderr.take());
    let status = thread::scope(|scope| {
        if let Some(mut sink) = sink {
            // A program that does not read to the end says why by its exit code.
            scope.spawn(move || sink.write_all(input));
        }
        wait(&mut child, limit)
    })?;
    let stderr = String::from_utf8_lossy(&stderr.bytes()).into_owned();
    Ok(Output { status: code(status), stdout: stdout.bytes(), stderr })
}

/// Both ends of a program's input. Not the file itself that is sent: when this program is killed, the input ends
/// early, and the device knows that what it has is not whole. And a pair of sockets, not a pipe: writing to a program
/// that has ended is an error then, where a pipe would end this program by SIGPIPE.
#[cfg(unix)]
fn feed() -> std::io::Result<(Stdio, impl Write + Send)> {
    let (theirs, ours) = std::os::unix::net::UnixStream::pair()?;
    Ok((Stdio::from(std::os::fd::OwnedFd::from(theirs)), ours))
}

/// Both ends of a program's input.
#[cfg(not(unix))]
fn feed() -> std::io::Result<(Stdio, impl Write + Send)> {
    let (theirs, ours) = std::io::pipe()?;
    Ok((Stdio::from(theirs), ours))
}

/// Waits for the end; kills it after `limit`.
fn wait(child: &mut Child, limit: Duration) -> Result<ExitStatus, Failure> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait().map_err(Failure::System)? {
            return Ok(status);
        }
        if start.elapsed() >= limit {
            // One that has ended meanwhile cannot be killed, and need not be.
            let _ = child.kill();
            let _ = child.wait();
            return Err(Failure::TimedOut);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// The exit code, as a shell gives it.
fn code(status: ExitStatus) -> i32 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return 128 + signal;
    }
    status.code().unwrap_or(-1)
}

/// What a thread reads from a pipe.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Collected {
    fn from(pipe: Option<impl Read + Send + 'static>) -> Collected {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let thread = pipe.map(|mut pipe| {
            thread::spawn(move || {
                let mut chunk = vec![0; 1 << 16];
                while let Ok(read @ 1..) = pipe.read(&mut chunk) {
                    sink.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk[..read]);
                }
            })
        });
        Collected { bytes, thread }
    }

    /// All that came, once the pipe has ended or `REST` is over.
    fn bytes(self) -> Vec<u8> {
        let start = Instant::now();
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) && start.elapsed() < REST {
            thread::sleep(Duration::from_millis(1));
        }
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
