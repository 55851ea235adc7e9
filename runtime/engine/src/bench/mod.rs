//! How long runs take. The agent and the harness measure with the same code, which keeps what it measures in
//! memory of a fixed size and reads nothing but the clock between runs.

mod affinity;
mod latency;
mod pairs;
mod vitals;

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::{Error, InputData, Model, Profile, SessionOptions, profile};
use affinity::Pinned;
pub use latency::Latency;
use latency::{Recorder, median, us};
pub use pairs::{Pair, Pairs, bench_pairs};
pub use vitals::Vitals;

/// How to measure.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchOptions {
    /// Runs that are not measured, before those that are.
    pub warmup: Warmup,
    /// When it is enough.
    pub until: Until,
    /// Whether to measure each step as well, in runs of their own afterwards.
    pub profile: bool,
    /// Whether to give the times of runs themselves, beside their statistics.
    pub samples: bool,
    /// The processors to run on, by the system's numbers; none for whichever the system chooses.
    pub pin: Vec<usize>,
}

/// Runs before those that are measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Warmup {
    /// This many.
    Runs(u64),
    /// Until the time of a run is steady: the medians of the last [`STEADY_BLOCKS`] blocks, each of
    /// [`STEADY_BLOCK_MS`] ms and three runs or more, lie within [`STEADY_PERCENT`] percent; or until
    /// [`STEADY_LIMIT_S`] seconds have passed.
    Steady,
}

/// Blocks of warm-up that are held against each other.
pub const STEADY_BLOCKS: usize = 3;
/// The shortest block of warm-up, in milliseconds: longer than a governor waits before it raises the frequency.
pub const STEADY_BLOCK_MS: u64 = 50;
/// How far the medians of steady blocks may be apart, in percent of the smallest.
pub const STEADY_PERCENT: f64 = 3.0;
/// When warm-up ends all the same, in seconds.
pub const STEADY_LIMIT_S: f64 = 5.0;

/// When a measurement is enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Until {
    /// After this many runs.
    Runs(u64),
    /// After the run in which this many seconds have passed.
    Seconds(f64),
}

impl Default for BenchOptions {
    /// Warm-up until it is steady, then 500 runs.
    fn default() -> BenchOptions {
        BenchOptions {
            warmup: Warmup::Steady,
            until: Until::Runs(500),
            profile: false,
            samples: false,
            pin: Vec::new(),
        }
    }
}

/// Runs of a profile: at most these.
const PROFILE_RUNS: u64 = 200;

/// Times of runs that are kept, of a whole measurement and of a window.
const KEPT: usize = 16_384;
const KEPT_OF_WINDOW: usize = 1024;

/// Windows of a measurement: about so many at most.
const WINDOWS: usize = 300;

/// What a measurement came to. Times are `None` (`null`) where they would say nothing, as on an emulated device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bench {
    /// Statistics of the measured runs.
    #[serde(flatten)]
    pub latency: Latency,
    /// Reading, checking and preparing the package, in milliseconds.
    pub load_ms: Option<f64>,
    /// The very first run, in milliseconds.
    pub first_ms: Option<f64>,
    /// What was run before anything was measured.
    #[serde(default)]
    pub warmup: WarmupReport,
    /// The measured runs second by second, or in longer windows where they take long.
    #[serde(default)]
    pub windows: Vec<Window>,
    /// The device before warm-up.
    #[serde(default)]
    pub before: Vitals,
    /// The device after the last run.
    #[serde(default)]
    pub after: Vitals,
    /// Bytes of the arena.
    pub arena_bytes: u64,
    /// The most that loading and runs took of the stack, on a microcontroller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack_bytes: Option<u64>,
    /// The most memory that the process held since just before it loaded the package, in KiB; `None` where the
    /// system does not say.
    pub peak_rss_kb: Option<u64>,
    /// What it held then, in KiB: the difference is what the package took.
    #[serde(default)]
    pub rss_before_kb: Option<u64>,
    /// Threads that a run uses.
    pub threads: usize,
    /// The processors that it was bound to; `None` where the system chose.
    #[serde(default)]
    pub pinned: Option<Vec<usize>>,
    /// The instruction sets that the kernels may use.
    pub isa: String,
    /// Whether the device is emulated.
    pub emulated: bool,
    /// Instructions of one run, where the device is emulated and counts them.
    #[serde(default)]
    pub instructions_per_run: Option<u64>,
    /// What could not be measured, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The times themselves, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<Samples>,
    /// The time of each step, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
}

/// Runs before those that were measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WarmupReport {
    /// Their number.
    pub runs: u64,
    /// How long they took, in seconds.
    pub seconds: Option<f64>,
    /// Whether the time of a run had become steady ([`Warmup::Steady`]); `None` where their number was given.
    pub steady: Option<bool>,
}

/// A part of a measurement, of a second or more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// When it ended, in seconds since the first measured run.
    pub end_s: f64,
    /// Runs in it.
    pub runs: u64,
    /// Their median, in microseconds.
    pub p50_us: f64,
    /// The longest of them, in microseconds.
    pub max_us: f64,
    /// The device at its end.
    #[serde(flatten)]
    pub vitals: Vitals,
}

/// Times of measured runs, in their order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Samples {
    /// In nanoseconds.
    pub nanoseconds: Vec<u64>,
    /// They are those of every so many-th run: 1 where all are there.
    pub stride: u64,
}

impl Bench {
    /// The same without times and what else is this machine's, for an emulated device.
    pub fn without_times(self) -> Bench {
        Bench {
            latency: Latency { runs: self.latency.runs, ..Latency::default() },
            load_ms: None,
            first_ms: None,
            warmup: WarmupReport { runs: self.warmup.runs, ..WarmupReport::default() },
            windows: Vec::new(),
            before: Vitals::default(),
            after: Vitals::default(),
            peak_rss_kb: None,
            rss_before_kb: None,
            samples: None,
            profile: None,
            emulated: true,
            ..self
        }
    }
}

/// What [`measure`] measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Runs before.
    pub warmup: WarmupReport,
    /// The windows.
    pub windows: Vec<Window>,
    recorder: Recorder,
}

impl Measured {
    /// The statistics.
    pub fn latency(&self) -> Latency {
        self.recorder.latency()
    }

    /// The times.
    pub fn samples(&self) -> Samples {
        Samples { nanoseconds: self.recorder.kept().to_vec(), stride: self.recorder.stride() }
    }
}

/// Runs `run` as `options` say, at least once, and measures.
///
/// # Errors
/// The first error of `run`.
pub fn measure<E>(options: &BenchOptions, mut run: impl FnMut() -> Result<(), E>) -> Result<Measured, E> {
    measure_into(Recorder::new(KEPT), options, &mut run)
}

/// A run. Called through a pointer, so that the whole of a run is not in the agent once for every loop.
type Run<'a, E> = &'a mut dyn FnMut() -> Result<(), E>;

fn measure_into<E>(mut recorder: Recorder, options: &BenchOptions, run: Run<'_, E>) -> Result<Measured, E> {
    let warmup = warm_up(options.warmup, run)?;
    let (runs, limit) = match options.until {
        Until::Runs(runs) => (runs.max(1), Duration::MAX),
        Until::Seconds(seconds) => (u64::MAX, Duration::try_from_secs_f64(seconds).unwrap_or_default()),
    };
    let second = Duration::from_secs(1);
    let mut length = if limit == Duration::MAX { second } else { second.max(limit / WINDOWS as u32) };
    let (mut windows, mut window) = (Vec::new(), Recorder::new(KEPT_OF_WINDOW));
    let start = Instant::now();
    let (mut before, mut begun) = (start, start);
    loop {
        run()?;
        let now = Instant::now();
        let nanoseconds = (now - before).as_nanos().try_into().unwrap_or(u64::MAX);
        recorder.add(nanoseconds);
        window.add(nanoseconds);
        let is_enough = recorder.runs() >= runs || now - start >= limit;
        if is_enough || now - begun >= length {
            // What is left at the end, where it is too little for a median beside those of whole windows, is in
            // the statistics of all runs alone.
            if windows.is_empty() || (now - begun) * 2 >= length {
                let Latency { p50_us, max_us, runs, .. } = window.latency();
                let (p50_us, max_us) = (p50_us.unwrap_or(0.0), max_us.unwrap_or(0.0));
                let end_s = (now - start).as_secs_f64();
                windows.push(Window { end_s, runs, p50_us, max_us, vitals: Vitals::read() });
            }
            if is_enough {
                return Ok(Measured { warmup, windows, recorder });
            }
            // How long a number of runs takes is not known before.
            if windows.len().is_multiple_of(WINDOWS) {
                length *= 2;
            }
            window.clear();
            begun = Instant::now();
        }
        before = Instant::now();
    }
}

fn warm_up<E>(warmup: Warmup, run: Run<'_, E>) -> Result<WarmupReport, E> {
    let start = Instant::now();
    let mut report = WarmupReport::default();
    if let Warmup::Runs(runs) = warmup {
        for _ in 0..runs {
            run()?;
        }
        let seconds = Some(start.elapsed().as_secs_f64());
        return Ok(WarmupReport { runs, seconds, steady: None });
    }
    let mut medians: Vec<u64> = Vec::new();
    let mut block = Vec::new();
    while report.steady.is_none() {
        block.clear();
        let begun = Instant::now();
        while block.len() < 3 || begun.elapsed() < Duration::from_millis(STEADY_BLOCK_MS) {
            let before = Instant::now();
            run()?;
            block.push(before.elapsed().as_nanos() as u64);
        }
        report.runs += block.len() as u64;
        medians.push(median(&mut block));
        report.steady = match is_steady(&medians) {
            true => Some(true),
            false => (start.elapsed().as_secs_f64() >= STEADY_LIMIT_S).then_some(false),
        };
    }
    report.seconds = Some(start.elapsed().as_secs_f64());
    Ok(report)
}

/// Whether the last blocks are as long as each other.
fn is_steady(medians: &[u64]) -> bool {
    let Some(last) = medians.last_chunk::<STEADY_BLOCKS>() else { return false };
    let (least, most) = (last.iter().min().unwrap_or(&0), last.iter().max().unwrap_or(&0));
    *most as f64 <= *least as f64 * (1.0 + STEADY_PERCENT / 100.0)
}

/// Loads a package as an application would, and measures runs on `input`: the input's conversion and
/// the inference.
///
/// # Errors
/// The package is not one that this build runs, or takes another input; or the processors to run on are not there,
/// or fewer than threads.
pub fn bench(
    package: &Path,
    session: &SessionOptions,
    input: InputData<'_>,
    options: &BenchOptions,
) -> Result<Bench, Error> {
    let _pinned = pin(&options.pin, session.threads)?;
    // Its memory is not the package's.
    let recorder = Recorder::new(KEPT);
    vitals::forget_peak();
    let rss_before_kb = vitals::memory_kb("VmRSS");
    let start = Instant::now();
    let model = Model::open(package)?;
    let mut session = model.session(session)?;
    let load_ms = milliseconds(start);
    let mut run = || {
        session.set_input(0, input)?;
        session.run()
    };
    let run: Run<'_, Error> = &mut run;
    let start = Instant::now();
    run()?;
    let first_ms = milliseconds(start);
    let before = Vitals::read();
    let measured = measure_into(recorder, options, run)?;
    let after = Vitals::read();
    let latency = measured.latency();
    let profile = match options.profile {
        true => Some(profile(&mut session, input, PROFILE_RUNS.min(latency.runs))?),
        false => None,
    };
    Ok(Bench {
        latency,
        load_ms: Some(load_ms),
        first_ms: Some(first_ms),
        before,
        after,
        arena_bytes: session.arena_bytes() as u64,
        stack_bytes: None,
        peak_rss_kb: vitals::memory_kb("VmHWM"),
        rss_before_kb,
        threads: session.threads(),
        pinned: (!options.pin.is_empty()).then(affinity::allowed),
        isa: session.isa().to_string(),
        emulated: false,
        instructions_per_run: None,
        notes: Vec::new(),
        samples: options.samples.then(|| measured.samples()),
        warmup: measured.warmup,
        windows: measured.windows,
        profile,
    })
}

/// Binds the thread for as long as the value lives, where processors are named.
fn pin(cores: &[usize], threads: usize) -> Result<Option<Pinned>, Error> {
    if cores.is_empty() {
        return Ok(None);
    }
    if threads > cores.len() {
        return Err(Error::PinnedThreads { threads, cores: cores.len() });
    }
    Pinned::to(cores).map(Some)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(warmup: Warmup, until: Until) -> BenchOptions {
        BenchOptions { warmup, until, ..BenchOptions::default() }
    }

    #[test]
    fn measurement_ends_after_runs_or_seconds() {
        let count = |warmup, until| {
            let mut runs = 0;
            let measured = measure(&options(Warmup::Runs(warmup), until), || {
                runs += 1;
                Ok::<(), Error>(())
            });
            (runs, measured.unwrap().latency().runs)
        };
        assert_eq!(count(3, Until::Runs(5)), (8, 5));
        assert_eq!(count(0, Until::Runs(0)), (1, 1));
        assert_eq!(count(0, Until::Seconds(0.0)), (1, 1));
        assert_eq!(count(0, Until::Seconds(f64::NAN)), (1, 1));
        assert!(count(0, Until::Seconds(0.01)).1 > 1);
    }

    #[test]
    fn times_are_steady_where_three_blocks_agree() {
        assert!(!is_steady(&[100, 100]));
        assert!(is_steady(&[500, 100, 103, 101]));
        assert!(!is_steady(&[100, 100, 104]));
        // As fast as can be is steady, too.
        assert!(is_steady(&[0, 0, 0]));
    }

    #[test]
    fn warm_up_goes_on_until_runs_take_as_long_as_each_other() {
        // Each of the first 30 runs takes a millisecond less than the one before.
        let mut runs = 0;
        let measured = measure(&options(Warmup::Steady, Until::Runs(1)), || {
            runs += 1;
            std::thread::sleep(Duration::from_millis(10 + 30u64.saturating_sub(runs)));
            Ok::<(), Error>(())
        });
        let warmup = measured.unwrap().warmup;
        // On a machine that is busy with other work it may never be; then the limit holds.
        match warmup.steady {
            Some(true) => assert!(warmup.runs >= 30, "{warmup:?}"),
            steady => {
                assert!(steady == Some(false) && warmup.seconds.unwrap() >= STEADY_LIMIT_S, "{warmup:?}")
            }
        }
        assert_eq!(runs, warmup.runs + 1);
    }

    #[test]
    fn long_measurements_have_windows() {
        let mut calls = 0;
        let run = || {
            calls += 1;
            std::thread::sleep(Duration::from_millis(20));
            Ok::<(), Error>(())
        };
        let measured = measure(&options(Warmup::Runs(0), Until::Seconds(2.2)), run).unwrap();
        let windows = &measured.windows;
        assert_eq!(windows.len(), 2, "{windows:?}");
        assert!(windows[0].end_s >= 1.0 && windows[1].end_s >= 2.0 && windows[1].end_s < 3.0, "{windows:?}");
        assert!(windows.iter().all(|window| window.p50_us >= 20e3 && window.max_us >= window.p50_us));
        assert_eq!(measured.samples().nanoseconds.len() as u64, calls);
    }

    #[test]
    fn emulated_devices_have_no_times() {
        let latency = Latency::of(&[1, 2]);
        let bench = Bench {
            latency,
            load_ms: Some(1.0),
            first_ms: Some(1.0),
            warmup: WarmupReport { runs: 1, seconds: Some(1.0), steady: Some(true) },
            windows: vec![Window::default()],
            before: Vitals { temperature_c: Some(40.0), ..Vitals::default() },
            after: Vitals { frequency_mhz: Some(40), ..Vitals::default() },
            arena_bytes: 128,
            stack_bytes: None,
            peak_rss_kb: Some(1),
            rss_before_kb: Some(1),
            threads: 1,
            pinned: None,
            isa: "neon".into(),
            emulated: false,
            instructions_per_run: None,
            notes: Vec::new(),
            samples: Some(Samples::default()),
            profile: Some(Profile::default()),
        };
        let bench = bench.without_times();
        assert_eq!((bench.latency, bench.emulated), (Latency { runs: 2, ..Latency::default() }, true));
        assert_eq!((bench.load_ms, bench.first_ms, bench.warmup.seconds), (None, None, None));
        assert!(bench.windows.is_empty() && bench.samples.is_none() && bench.profile.is_none());
        assert_eq!((bench.before, bench.after), Default::default());
    }
}
