//! How long runs take. The agent and the harness measure with the same code.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::{Error, InputData, Model, Profile, SessionOptions, profile};

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BenchOptions {
    /// Runs that are not measured, before those that are.
    pub warmup: u64,
    /// When it is enough.
    pub until: Until,
    /// Whether to measure each step as well, in runs of their own afterwards.
    pub profile: bool,
}

/// Runs of a profile: at most these.
const PROFILE_RUNS: u64 = 200;

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
        BenchOptions { warmup: 20, until: Until::Runs(500), profile: false }
    }
}

/// What a measurement came to: the last line that `edgepack bench` prints. Times are `None` (`null`)
/// where they would say nothing, as on an emulated device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bench {
    /// Statistics of the measured runs.
    #[serde(flatten)]
    pub latency: Latency,
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
    /// The time of each step, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
}

/// Latency of runs, by the percentiles of nearest rank. Times are in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of the runs took at most this long.
    pub p50_us: Option<f64>,
    /// 90 of 100 runs took at most this long.
    pub p90_us: Option<f64>,
    /// 99 of 100 runs took at most this long.
    pub p99_us: Option<f64>,
    /// The shortest run.
    pub min_us: Option<f64>,
    /// The mean.
    pub mean_us: Option<f64>,
    /// Runs in a second, one after the other.
    pub throughput_per_s: Option<f64>,
    /// Number of runs, whether or not their times count.
    pub runs: u64,
}

impl Latency {
    /// The statistics of runs that took `nanoseconds` each; no times without runs.
    pub fn of(nanoseconds: &[u64]) -> Latency {
        if nanoseconds.is_empty() {
            return Latency::default();
        }
        let mut sorted = nanoseconds.to_vec();
        sorted.sort_unstable();
        let us = |ns: u64| ns as f64 / 1e3;
        let percentile = |percent: usize| Some(us(sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]));
        let mean_us = sorted.iter().map(|&ns| us(ns)).sum::<f64>() / sorted.len() as f64;
        Latency {
            runs: sorted.len() as u64,
            p50_us: percentile(50),
            p90_us: percentile(90),
            p99_us: percentile(99),
            min_us: Some(us(sorted[0])),
            mean_us: Some(mean_us),
            // A run shorter than the clock's step would divide by zero, which JSON cannot say.
            throughput_per_s: Some(1e6 / mean_us.max(1e-3)),
        }
    }
}

impl Bench {
    /// The same without times, for an emulated device.
    pub fn without_times(self) -> Bench {
        let latency = Latency { runs: self.latency.runs, ..Latency::default() };
        Bench { latency, load_ms: None, first_ms: None, emulated: true, profile: None, ..self }
    }
}

/// Runs `run` as `options` say, at least once, and gives the time of each measured run in
/// nanoseconds.
///
/// # Errors
/// The first error of `run`.
pub fn measure<E>(options: &BenchOptions, mut run: impl FnMut() -> Result<(), E>) -> Result<Vec<u64>, E> {
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

/// Loads a package as an application would, and measures runs on `input`: the input's conversion and
/// the inference.
///
/// # Errors
/// The package is not one that this build runs, or takes another input.
pub fn bench(
    package: &Path,
    session: &SessionOptions,
    input: InputData<'_>,
    options: &BenchOptions,
) -> Result<Bench, Error> {
    let before = Instant::now();
    let model = Model::open(package)?;
    let mut session = model.session(session)?;
    let load_ms = milliseconds(before);
    let mut run = || {
        session.set_input(0, input)?;
        session.run()
    };
    let before = Instant::now();
    run()?;
    let first_ms = milliseconds(before);
    let nanoseconds = measure(options, run)?;
    let profile = match options.profile {
        true => Some(profile(&mut session, input, PROFILE_RUNS.min(nanoseconds.len() as u64))?),
        false => None,
    };
    Ok(Bench {
        latency: Latency::of(&nanoseconds),
        load_ms: Some(load_ms),
        first_ms: Some(first_ms),
        arena_bytes: session.arena_bytes() as u64,
        peak_rss_kb: peak_rss_kb(),
        threads: session.threads(),
        isa: session.isa().to_string(),
        emulated: false,
        profile,
    })
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// `VmHWM` of this process, where the system is Linux (proc(5)).
fn peak_rss_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let nanoseconds: Vec<u64> = (1..=200).rev().map(|us| us * 1000).collect();
        let latency = Latency::of(&nanoseconds);
        assert_eq!((latency.p50_us, latency.p90_us, latency.p99_us), (Some(100.0), Some(180.0), Some(198.0)));
        assert_eq!((latency.min_us, latency.mean_us, latency.runs), (Some(1.0), Some(100.5), 200));
        assert!((latency.throughput_per_s.unwrap() - 1e6 / 100.5).abs() < 1e-6);
        assert_eq!(Latency::of(&[5000]).p99_us, Some(5.0));
        assert_eq!(Latency::of(&[]), Latency::default());
    }

    #[test]
    fn measurement_ends_after_runs_or_seconds() {
        let count = |warmup, until| {
            let mut runs = 0;
            let measured = measure(&BenchOptions { warmup, until, profile: false }, || {
                runs += 1;
                Ok::<(), Error>(())
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
