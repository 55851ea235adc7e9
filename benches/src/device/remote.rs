//! A package on a device that is not this process: the agent there runs it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use edgepack_targets::Board;

use super::connection::{Connection, Reached, run_limit};
use super::instructions::{Counted, counting_plugin};
use super::{Device, DeviceInfo, Outcome, OutputInfo, Selftest};
use crate::package::Form;
use crate::{Bench, BenchOptions, Error, PackageFacts, Pairs, Sample, Until, Warmup};

/// A package on a board, real or emulated. Outputs of an emulated one are exact; its times say nothing and are
/// left out.
#[derive(Debug)]
pub struct Remote {
    connection: Connection,
    /// Where the package lies on the device.
    package: String,
    facts: PackageFacts,
    outputs: Vec<OutputInfo>,
    info: DeviceInfo,
}

impl Remote {
    /// Brings the package to the device.
    ///
    /// # Errors
    /// It cannot be written there, or is not one that the agent runs.
    pub fn open(connection: Connection, package: &Path, threads: usize) -> Result<Remote, Error> {
        let facts = PackageFacts::read(package)?;
        let outputs = facts.outputs.iter().map(|output| output.info.clone()).collect();
        let package = connection.bring(package, "package.epk")?;
        let told = connection.json(&["info", &package], run_limit())?;
        let info = DeviceInfo {
            name: connection.name().into(),
            arch: connection.arch().into(),
            isa: told["isa"].as_str().unwrap_or_default().into(),
            emulated: connection.is_emulated(),
            threads: threads.max(1),
        };
        Ok(Remote { connection, package, facts, outputs, info })
    }

    /// On a board under QEMU, by the agent's binary at `agent`.
    ///
    /// # Errors
    /// As [`Remote::open`]; or the board is not emulated, or QEMU or the agent is not there.
    pub fn emulated(board: Board, package: &Path, threads: usize, agent: PathBuf) -> Result<Remote, Error> {
        Remote::open(Connection::new(Reached::emulating(board, Some(agent))?)?, package, threads)
    }

    /// Writes the samples as the agent reads them; gives its arguments.
    fn write_input(&self, samples: &[Sample]) -> Result<Vec<String>, Error> {
        let (name, bytes) = input_bytes(&self.facts, samples);
        let path = self.connection.write(&bytes, "input.bin")?;
        let threads = self.info.threads.to_string();
        Ok(["--input".into(), path, "--form".into(), name.into(), "--threads".into(), threads].into())
    }

    /// Counts the instructions of a run of an emulated device: its times say nothing.
    fn count(&self, input: &[String]) -> Result<Bench, Error> {
        let arguments = |runs: u64| -> Vec<String> {
            Counted::arguments(runs).into_iter().chain(input.iter().cloned()).collect()
        };
        let counted = self.connection.counts();
        let plugin = match counting_plugin(self.connection.emulator(), Path::new(self.connection.folder())) {
            Ok(plugin) => plugin,
            // What else is measured stands without it.
            Err(why) => {
                let bench = self.measured(self.call("bench", &arguments(counted.runs[0]), run_limit())?)?;
                return Ok(Bench { notes: vec![why.to_string()], ..bench });
            }
        };
        let mut counts = [0; 2];
        let mut told = serde_json::Value::Null;
        for (count, runs) in counts.iter_mut().zip(counted.runs) {
            let arguments = arguments(runs);
            (told, *count) =
                self.connection.counted(&plugin, &self.words("bench", &arguments), run_limit())?;
        }
        Ok(Bench { instructions_per_run: Some(counted.per_run(counts)), ..self.measured(told)? })
    }

    fn measured(&self, value: serde_json::Value) -> Result<Bench, Error> {
        let bench: Bench = serde_json::from_value(value)
            .map_err(|error| self.connection.failed(format!("the agent's measurement: {error}")))?;
        Ok(if self.info.emulated { bench.without_times() } else { bench })
    }

    fn call(&self, command: &str, more: &[String], limit: Duration) -> Result<serde_json::Value, Error> {
        self.connection.json(&self.words(command, more), limit)
    }

    /// The agent's arguments for the package.
    fn words<'a>(&'a self, command: &'a str, more: &'a [String]) -> Vec<&'a str> {
        [command, &self.package].into_iter().chain(more.iter().map(String::as_str)).collect()
    }
}

/// Samples as the agent reads them, and what it calls this form.
fn input_bytes(facts: &PackageFacts, samples: &[Sample]) -> (&'static str, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut name = "f32";
    for sample in samples {
        match facts.form(sample) {
            // Only the first input may be pixels.
            Form::Pixels(pixels) if facts.more_inputs.is_empty() => {
                bytes.extend_from_slice(pixels);
                name = "u8";
            }
            _ => bytes.extend(sample.values.iter().flat_map(|value| value.to_le_bytes())),
        }
    }
    (name, bytes)
}

/// The agent's arguments, and the time that it may take.
fn bench_arguments(options: &BenchOptions) -> (Vec<String>, Duration) {
    let mut limit = run_limit();
    let [until, number] = match options.until {
        Until::Runs(runs) => ["--runs".into(), runs.to_string()],
        Until::Seconds(seconds) => {
            limit += Duration::try_from_secs_f64(seconds).unwrap_or_default();
            ["--seconds".into(), seconds.to_string()]
        }
    };
    let warmup = match options.warmup {
        Warmup::Runs(runs) => runs.to_string(),
        Warmup::Steady => "steady".into(),
    };
    let mut arguments = vec![until, number, "--warmup".into(), warmup];
    if !options.pin.is_empty() {
        let cores: Vec<String> = options.pin.iter().map(usize::to_string).collect();
        arguments.extend(["--pin".into(), cores.join(",")]);
    }
    let flags = [(options.profile, "--profile"), (options.samples, "--samples")];
    arguments.extend(flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag.into()));
    (arguments, limit)
}

impl Device for Remote {
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
        let mut arguments = self.write_input(samples)?;
        let path = self.connection.path("output.bin");
        arguments.extend(["--output".into(), path.clone()]);
        self.call("run", &arguments, run_limit())?;
        let of_a_sample: usize = self.facts.outputs.iter().map(|output| output.bytes()).sum();
        let bytes = self.connection.read(&path, of_a_sample * samples.len())?;
        if bytes.len() != of_a_sample * samples.len() {
            return Err(self.connection.failed(format!(
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
        let input = self.write_input(std::slice::from_ref(sample))?;
        if self.info.emulated {
            return self.count(&input);
        }
        let (mut arguments, limit) = bench_arguments(options);
        arguments.extend(input);
        self.measured(self.call("bench", &arguments, limit)?)
    }

    fn bench_pairs(
        &mut self,
        sample: &Sample,
        (other, other_sample): (&PackageFacts, &Sample),
        options: &BenchOptions,
    ) -> Result<Pairs, Error> {
        let (mut arguments, limit) = bench_arguments(options);
        arguments.extend(self.write_input(std::slice::from_ref(sample))?);
        let against = self.connection.bring(&other.path, "against.epk")?;
        let (name, bytes) = input_bytes(other, std::slice::from_ref(other_sample));
        let input = self.connection.write(&bytes, "against.bin")?;
        arguments.extend(["--against".into(), against, "--against-input".into(), input]);
        arguments.extend(["--against-form".into(), name.into()]);
        serde_json::from_value(self.call("bench", &arguments, limit)?)
            .map_err(|error| self.connection.failed(format!("the agent's measurement: {error}")))
    }

    fn selftest(&mut self) -> Result<Selftest, Error> {
        self.connection.selftest(&self.package)
    }
}
