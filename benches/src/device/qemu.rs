//! A board under QEMU's user mode: the agent's binary for its architecture runs here, on the
//! processor that QEMU emulates. Outputs are exact; times say nothing and are left out.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use edgepack_targets::Board;

use super::{Device, DeviceInfo, Outcome, OutputInfo, Selftest};
use crate::package::Form;
use crate::{Bench, BenchOptions, Error, PackageFacts, Sample, Until};

/// A package on an emulated board.
#[derive(Debug)]
pub struct Qemu {
    board: Board,
    program: String,
    cpu: String,
    agent: PathBuf,
    facts: PackageFacts,
    outputs: Vec<OutputInfo>,
    info: DeviceInfo,
    threads: usize,
}

impl Qemu {
    /// Finds QEMU and the agent, and asks the agent about the package. The agent's binary is what
    /// `EDGEPACK_AGENT_AARCH64` (or `_ARMV7`) names, else where cargo puts it.
    ///
    /// # Errors
    /// The board is not emulated, QEMU or the agent is not there, or the package is not one that it
    /// runs.
    pub fn open(board: Board, package: &Path, threads: usize) -> Result<Qemu, Error> {
        let agent =
            std::env::var_os(board.agent_variable()).map_or_else(|| board.agent_path(), PathBuf::from);
        Qemu::with_agent(board, package, threads, agent)
    }

    /// As [`Qemu::open`], with the agent's binary at `agent`.
    ///
    /// # Errors
    /// As there.
    pub fn with_agent(board: Board, package: &Path, threads: usize, agent: PathBuf) -> Result<Qemu, Error> {
        let name = format!("qemu:{}", board.name);
        let refused = |reason: String| Error::Device { device: name.clone(), reason };
        let Some(qemu) = board.qemu.clone() else {
            return Err(refused(format!(
                "{} is not emulated; `edgepack targets` lists the boards that are",
                board.name
            )));
        };
        let facts = PackageFacts::read(package)?;
        if !agent.is_file() {
            return Err(refused(format!(
                "no agent at {}; build it with\n  {}\nor set {} to its path",
                agent.display(),
                board.agent_command(),
                board.agent_variable()
            )));
        }
        if !facts.more_inputs.is_empty() {
            let reason = format!(
                "the package has {} inputs; the agent is given one: use --device local",
                facts.more_inputs.len() + 1
            );
            return Err(Error::Device { device: name, reason });
        }
        let outputs = facts.outputs.iter().map(|output| output.info.clone()).collect();
        let info = DeviceInfo {
            name,
            arch: board.arch.clone(),
            isa: String::new(),
            emulated: true,
            threads: threads.max(1),
        };
        let (program, cpu) = (qemu.program, qemu.cpu);
        let mut device = Qemu { board, program, cpu, agent, facts, outputs, info, threads: threads.max(1) };
        let told = device.json(&["info"], &[])?;
        device.info.isa = told["isa"].as_str().unwrap_or_default().to_string();
        Ok(device)
    }

    /// Runs the agent: `arguments` before the package, `more` after it.
    fn agent(&self, arguments: &[&str], more: &[String]) -> Result<Output, Error> {
        let mut command = Command::new(&self.program);
        command.args(["-cpu", &self.cpu]);
        // A dynamic binary needs the libraries of its architecture; a static one does not look.
        let sysroot = match self.board.arch.as_str() {
            "armv7" => Path::new("/usr/arm-linux-gnueabihf"),
            _ => Path::new("/usr/aarch64-linux-gnu"),
        };
        if sysroot.is_dir() {
            command.arg("-L").arg(sysroot);
        }
        command.arg(&self.agent).args(arguments).arg(&self.facts.path).args(more).stdin(Stdio::null());
        command.output().map_err(|error| {
            self.failed(match error.kind() {
                std::io::ErrorKind::NotFound => {
                    format!(
                        "{} is not installed; install QEMU's user mode (apt install qemu-user)",
                        self.program
                    )
                }
                _ => format!("{}: {error}", self.program),
            })
        })
    }

    /// As `agent`, for what must succeed; gives the last line as JSON.
    fn json(&self, arguments: &[&str], more: &[String]) -> Result<serde_json::Value, Error> {
        let output = self.agent(arguments, more)?;
        if !output.status.success() {
            return Err(self.failed(message(&output)));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().last().unwrap_or_default();
        serde_json::from_str(line)
            .map_err(|error| self.failed(format!("the agent printed `{line}`: {error}")))
    }

    fn failed(&self, reason: String) -> Error {
        Error::Device { device: self.info.name.clone(), reason }
    }

    fn write_input(&self, folder: &Path, samples: &[Sample]) -> Result<Vec<String>, Error> {
        let path = folder.join("input.bin");
        let mut bytes = Vec::new();
        let mut name = "f32";
        for sample in samples {
            match self.facts.form(sample) {
                Form::Pixels(pixels) => {
                    bytes.extend_from_slice(pixels);
                    name = "u8";
                }
                Form::Values(values) => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            }
        }
        std::fs::write(&path, bytes).map_err(Error::io(&path))?;
        Ok(vec!["--input".into(), path.display().to_string(), "--form".into(), name.into()])
    }
}

impl Device for Qemu {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn outputs(&self) -> &[OutputInfo] {
        &self.outputs
    }

    fn run(&mut self, samples: &[Sample]) -> Result<Vec<Outcome>, Error> {
        if samples.is_empty() {
            return Ok(Vec::new());
        }
        let folder = tempfile::tempdir().map_err(Error::io(&std::env::temp_dir()))?;
        let mut arguments = self.write_input(folder.path(), samples)?;
        let path = folder.path().join("output.bin");
        arguments.extend(["--output".into(), path.display().to_string()]);
        arguments.extend(["--threads".into(), self.threads.to_string()]);
        self.json(&["run"], &arguments)?;
        let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
        let of_a_sample: usize = self.facts.outputs.iter().map(|output| output.bytes()).sum();
        if bytes.len() != of_a_sample * samples.len() {
            return Err(self.failed(format!(
                "{} bytes of outputs instead of {}; is the agent of this version?",
                bytes.len(),
                of_a_sample * samples.len()
            )));
        }
        bytes
            .chunks(of_a_sample)
            .map(|mut rest| {
                let outputs = self.facts.outputs.iter().map(|output| {
                    let (bytes, after) = rest.split_at(output.bytes());
                    rest = after;
                    bytes.to_vec()
                });
                self.facts.outcome(outputs.collect())
            })
            .collect()
    }

    fn bench(&mut self, sample: &Sample, options: &BenchOptions) -> Result<Bench, Error> {
        let folder = tempfile::tempdir().map_err(Error::io(&std::env::temp_dir()))?;
        let mut arguments = self.write_input(folder.path(), std::slice::from_ref(sample))?;
        let until = match options.until {
            Until::Runs(runs) => ["--runs".into(), runs.to_string()],
            Until::Seconds(seconds) => ["--seconds".into(), seconds.to_string()],
        };
        arguments.extend(until);
        arguments.extend(["--warmup".into(), options.warmup.to_string()]);
        arguments.extend(["--threads".into(), self.threads.to_string()]);
        let bench: Bench = serde_json::from_value(self.json(&["bench"], &arguments)?)
            .map_err(|error| self.failed(format!("the agent's measurement: {error}")))?;
        Ok(bench.without_times())
    }

    fn selftest(&mut self) -> Result<Selftest, Error> {
        let output = self.agent(&["selftest"], &[])?;
        match output.status.code() {
            Some(0 | 1) => {
                let text = String::from_utf8_lossy(&output.stdout);
                let told: serde_json::Value =
                    serde_json::from_str(text.lines().last().unwrap_or_default())
                        .map_err(|error| self.failed(format!("the agent's self-test: {error}")))?;
                Ok(Selftest {
                    passed: output.status.success() && told["passed"] == true,
                    samples: told["samples"].as_u64().unwrap_or(0) as usize,
                    message: told["message"].as_str().unwrap_or_default().to_string(),
                })
            }
            _ => Err(self.failed(message(&output))),
        }
    }
}

/// What the agent said on stderr, or how it ended.
fn message(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    match text.trim() {
        "" => format!("the agent ended with {}", output.status),
        text => text.trim_start_matches("error: ").to_string(),
    }
}
