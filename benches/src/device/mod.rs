//! What runs a package: this process, or a board under QEMU.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::{Error, Latency, Sample};

/// A device with a package loaded.
pub trait Device {
    /// What it is.
    fn info(&self) -> &DeviceInfo;

    /// The outputs that it gives for a sample, in this order.
    fn outputs(&self) -> &[OutputInfo];

    /// Runs the samples one after the other. The outcome has one entry a sample.
    fn run(&mut self, samples: &[Sample]) -> Result<Vec<Outcome>, Error>;

    /// Measures how long runs take, on `sample`.
    fn bench(&mut self, sample: &Sample, options: &BenchOptions) -> Result<Bench, Error>;
}

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceInfo {
    /// `local`, or the board.
    pub name: String,
    /// The architecture, such as `x86_64` or `aarch64`.
    pub arch: String,
    /// The instruction sets that the kernels may use, such as `avx512vnni`.
    pub isa: String,
    /// Whether it is emulated: then its outputs count, and its times do not.
    pub emulated: bool,
    /// Threads that a run uses.
    pub threads: usize,
}

/// An output of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputInfo {
    /// The model's name of it.
    pub name: String,
    /// Number of values.
    pub elems: usize,
}

/// The outputs of one sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The values of each output.
    pub values: Vec<Vec<f32>>,
    /// The bytes of each output as the device gave them: int8, or little-endian f32.
    pub bytes: Vec<Vec<u8>>,
}

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BenchOptions {
    /// Runs that are not measured, before those that are.
    pub warmup: u64,
    /// When it is enough.
    pub until: Until,
}

/// When a measurement is enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Until {
    /// After this many runs.
    Runs(u64),
    /// After the run in which this many seconds have passed.
    Seconds(f64),
}

impl Default for BenchOptions {
    /// 20 runs of warm-up, then 500.
    fn default() -> BenchOptions {
        BenchOptions { warmup: 20, until: Until::Runs(500) }
    }
}

/// What a measurement came to: the last line that `edgepack bench` prints. Times are `None` (`null`)
/// on an emulated device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bench {
    /// Statistics of the measured runs.
    #[serde(flatten)]
    pub latency: OptionalLatency,
    /// Reading, checking and preparing the package, in milliseconds.
    pub load_ms: Option<f64>,
    /// The very first run, in milliseconds.
    pub first_ms: Option<f64>,
    /// Bytes of the arena.
    pub arena_bytes: u64,
    /// The most memory that the process ever held, in KiB; `None` where the system does not say.
    pub peak_rss_kb: Option<u64>,
    /// Threads that a run uses.
    pub threads: usize,
    /// The instruction sets that the kernels may use.
    pub isa: String,
    /// Whether the device is emulated.
    pub emulated: bool,
}

/// A [`Latency`], or `null` in each of its fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct OptionalLatency {
    /// See [`Latency::p50_us`].
    pub p50_us: Option<f64>,
    /// See [`Latency::p90_us`].
    pub p90_us: Option<f64>,
    /// See [`Latency::p99_us`].
    pub p99_us: Option<f64>,
    /// See [`Latency::min_us`].
    pub min_us: Option<f64>,
    /// See [`Latency::mean_us`].
    pub mean_us: Option<f64>,
    /// See [`Latency::throughput_per_s`].
    pub throughput_per_s: Option<f64>,
    /// Number of runs, whether or not their times count.
    pub runs: u64,
}

impl From<Latency> for OptionalLatency {
    fn from(latency: Latency) -> OptionalLatency {
        OptionalLatency {
            p50_us: Some(latency.p50_us),
            p90_us: Some(latency.p90_us),
            p99_us: Some(latency.p99_us),
            min_us: Some(latency.min_us),
            mean_us: Some(latency.mean_us),
            throughput_per_s: Some(latency.throughput_per_s),
            runs: latency.runs,
        }
    }
}

/// Runs `run` as `options` say, and gives the time of each measured run in nanoseconds.
pub(crate) fn measure(
    options: &BenchOptions,
    mut run: impl FnMut() -> Result<(), Error>,
) -> Result<Vec<u64>, Error> {
    for _ in 0..options.warmup {
        run()?;
    }
    let mut nanoseconds = Vec::new();
    let start = Instant::now();
    loop {
        let enough = match options.until {
            Until::Runs(runs) => nanoseconds.len() as u64 >= runs.max(1),
            // At least one run, or there would be nothing to report.
            Until::Seconds(seconds) => {
                !nanoseconds.is_empty()
                    && start.elapsed() >= Duration::try_from_secs_f64(seconds).unwrap_or_default()
            }
        };
        if enough {
            return Ok(nanoseconds);
        }
        let before = Instant::now();
        run()?;
        nanoseconds.push(before.elapsed().as_nanos().try_into().unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurement_ends_after_runs_or_seconds() {
        let count = |warmup, until| {
            let mut runs = 0;
            let measured = measure(&BenchOptions { warmup, until }, || {
                runs += 1;
                Ok(())
            });
            (runs, measured.unwrap().len())
        };
        assert_eq!(count(3, Until::Runs(5)), (8, 5));
        assert_eq!(count(0, Until::Runs(0)), (1, 1));
        assert_eq!(count(0, Until::Seconds(0.0)), (1, 1));
        assert_eq!(count(0, Until::Seconds(f64::NAN)), (1, 1));
        assert!(count(0, Until::Seconds(0.01)).1 > 1);
    }
}
