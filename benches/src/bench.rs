//! A measurement of a package, and of another beside it, with what follows from it.

use std::path::{Path, PathBuf};

use edgepack_engine::{Bench, BenchOptions, Pair, Window};
use serde::Serialize;

use crate::device::{self, Device, DeviceInfo};
use crate::stats::{Drift, Ratio};
use crate::{Error, PackageFacts, Progress};

/// The version of [`BenchReport`] as JSON. Fields may be added to a version; none goes, or means something else.
pub const SCHEMA: u32 = 1;

/// What a measurement came to: what `edgepack bench --format json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The package.
    pub package: PathBuf,
    /// Its size, in bytes.
    pub package_bytes: u64,
    /// The device.
    pub device: DeviceInfo,
    /// What was measured.
    #[serde(flatten)]
    pub bench: Bench,
    /// How latency changed meanwhile; `None` for less than 20 seconds, or an emulated device.
    pub drift: Option<Drift>,
    /// Whether the device slowed itself meanwhile.
    pub throttling: Throttling,
    /// Another package on the same device.
    pub against: Option<Against>,
}

/// Another package on the same device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Against {
    /// The package.
    pub package: PathBuf,
    /// Its size, in bytes.
    pub package_bytes: u64,
    /// The same measurement of it, after that of the first.
    pub bench: Bench,
    /// How many times as fast the first is, by blocks of runs of both in turns; `None` for an emulated device.
    pub ratio: Option<Ratio>,
    /// The blocks.
    pub pairs: Vec<Pair>,
    /// How many times as many instructions a run of the other takes, on an emulated device.
    pub instructions_ratio: Option<f64>,
}

/// Whether a device slowed itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Throttling {
    /// `None` where it tells nothing by which that could be seen.
    pub seen: Option<bool>,
    /// By what it was seen.
    pub signs: Vec<String>,
}

/// What the low bits of a Raspberry Pi's flags mean.
const FIRMWARE: [&str; 4] = ["under-voltage", "frequency capped", "throttled", "soft limit of temperature"];

/// How much a frequency may be below what it was, in percent, before that is a sign.
const FREQUENCY_PERCENT: f64 = 5.0;

impl Throttling {
    /// By what the device told before, after and at the end of each window.
    pub fn of(bench: &Bench) -> Throttling {
        let vitals = || {
            let windows = bench.windows.iter().map(|window| &window.vitals);
            [&bench.before].into_iter().chain(windows).chain([&bench.after])
        };
        let mut signs = Vec::new();
        let flags = vitals().filter_map(|vitals| vitals.firmware_throttled).reduce(|all, more| all | more);
        for (bit, meaning) in FIRMWARE.iter().enumerate() {
            if flags.unwrap_or(0) >> bit & 1 != 0 {
                signs.push(format!("its firmware says: {meaning}"));
            }
        }
        let counts = (bench.before.throttle_count, bench.after.throttle_count);
        if let (Some(before), Some(after)) = counts
            && after > before
        {
            signs.push(format!("its processor throttled {} times", after - before));
        }
        // Before the first window's end a governor may still have had it low. At the end of the last one, it may rest.
        let of_window = |window: &Window| window.vitals.frequency_mhz;
        let first = bench.windows.first().and_then(of_window);
        let least = bench.windows.iter().filter_map(of_window).min();
        if let (Some(first), Some(least)) = (first, least)
            && (least as f64) < first as f64 * (1.0 - FREQUENCY_PERCENT / 100.0)
        {
            signs.push(format!("its frequency fell from {first} to {least} MHz"));
        }
        let tells = flags.is_some() || counts.1.is_some() || (first.is_some() && bench.windows.len() > 1);
        Throttling { seen: (tells && !bench.emulated).then_some(!signs.is_empty()), signs }
    }
}

/// Measures `package` on the device of this name, on random input; and another package beside it.
///
/// # Errors
/// The device or a package fails.
pub fn bench(
    (name, threads): (&str, usize),
    package: &Path,
    against: Option<&Path>,
    options: &BenchOptions,
    progress: &mut dyn Progress,
) -> Result<BenchReport, Error> {
    // What is wrong with either is said before minutes of measuring.
    PackageFacts::read(package)?;
    let other = against.map(PackageFacts::read).transpose()?;
    let mut device = device::open(name, package, threads)?;
    let mut report = bench_on(&mut *device, package, options, progress)?;
    if let Some(other) = &other {
        let own = (&mut *device, &report);
        report.against = Some(Against::measure(own, (name, threads), other, options, progress)?);
    }
    Ok(report)
}

/// Measures `package` on a device that has it loaded, on random input.
///
/// # Errors
/// The device fails.
pub fn bench_on(
    device: &mut dyn Device,
    package: &Path,
    options: &BenchOptions,
    progress: &mut dyn Progress,
) -> Result<BenchReport, Error> {
    let sample = PackageFacts::read(package)?.random_sample(0);
    progress.start("measuring", 1);
    let bench = device.bench(&sample, options)?;
    progress.advance(1);
    Ok(BenchReport {
        schema: SCHEMA,
        package: package.into(),
        package_bytes: size(package)?,
        device: device.info().clone(),
        drift: Drift::of(&bench.windows),
        throttling: Throttling::of(&bench),
        bench,
        against: None,
    })
}

impl Against {
    fn measure(
        (device, own): (&mut (dyn Device + 'static), &BenchReport),
        (name, threads): (&str, usize),
        other: &PackageFacts,
        options: &BenchOptions,
        progress: &mut dyn Progress,
    ) -> Result<Against, Error> {
        let sample = PackageFacts::read(&own.package)?.random_sample(0);
        let other_sample = other.random_sample(0);
        progress.start("measuring the other package", 1);
        let bench = device::open(name, &other.path, threads)?.bench(&other_sample, options)?;
        progress.advance(1);
        let mut pairs = Vec::new();
        if !device.info().emulated {
            progress.start("measuring both in turns", 1);
            pairs = device.bench_pairs(&sample, (other, &other_sample), options)?.pairs;
            progress.advance(1);
        }
        let instructions = (bench.instructions_per_run, own.bench.instructions_per_run);
        Ok(Against {
            package: other.path.clone(),
            package_bytes: size(&other.path)?,
            ratio: Ratio::of(&pairs),
            pairs,
            instructions_ratio: match instructions {
                (Some(other), Some(own)) if own > 0 => Some(other as f64 / own as f64),
                _ => None,
            },
            bench,
        })
    }
}

fn size(path: &Path) -> Result<u64, Error> {
    Ok(std::fs::metadata(path).map_err(Error::io(path))?.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::testing;
    use crate::{Latency, Vitals, Warmup};

    fn bench_with(windows: &[Vitals], before: Vitals, after: Vitals) -> Bench {
        let info = testing::info();
        let window = |vitals: &Vitals| Window { vitals: *vitals, ..Window::default() };
        let windows = windows.iter().map(window).collect();
        Bench { windows, before, after, ..testing::bench(Latency::default(), &info) }
    }

    #[test]
    fn throttling_is_seen_by_what_the_device_tells() {
        let at = |frequency_mhz| Vitals { frequency_mhz: Some(frequency_mhz), ..Vitals::default() };
        let none = Vitals::default();
        let of = |windows: &[Vitals], before, after| Throttling::of(&bench_with(windows, before, after));
        assert_eq!(of(&[none, none], none, none), Throttling::default());
        // A governor that raises the frequency, or lets it fall at the end, throttles nothing.
        let steady = of(&[at(1500), at(1490)], at(600), at(600));
        assert_eq!((steady.seen, steady.signs.len()), (Some(false), 0));
        let falls = of(&[at(1500), at(1000), at(1500)], at(600), at(600));
        assert!(falls.seen == Some(true) && falls.signs[0].contains("from 1500 to 1000 MHz"), "{falls:?}");
        let flags = |bits| Vitals { firmware_throttled: Some(bits), ..Vitals::default() };
        assert_eq!(of(&[flags(0)], none, flags(0)).seen, Some(false));
        let flagged = of(&[flags(5), flags(0)], none, flags(0));
        assert_eq!(flagged.signs, ["its firmware says: under-voltage", "its firmware says: throttled"]);
        let count = |count| Vitals { throttle_count: Some(count), ..Vitals::default() };
        assert_eq!(of(&[], count(3), count(5)).signs, ["its processor throttled 2 times"]);
        let emulated = Bench { emulated: true, ..bench_with(&[], count(3), count(3)) };
        assert_eq!(Throttling::of(&emulated).seen, None);
    }

    #[test]
    fn two_packages_are_measured_side_by_side() {
        let folder = tempfile::tempdir().unwrap();
        let package = testing::negating_package(folder.path(), true);
        let options = BenchOptions {
            warmup: Warmup::Runs(1),
            until: edgepack_engine::Until::Runs(9),
            samples: true,
            ..BenchOptions::default()
        };
        let report = bench(("local", 1), &package, Some(&package), &options, &mut ()).unwrap();
        let against = report.against.as_ref().unwrap();
        let ratio = against.ratio.unwrap();
        assert!(ratio.pairs >= 10 && ratio.confidence[0] <= ratio.median, "{ratio:?}");
        assert_eq!(report.bench.samples.as_ref().unwrap().nanoseconds.len(), 9);
        assert!(report.bench.peak_rss_kb.unwrap() >= report.bench.rss_before_kb.unwrap());
        let error =
            bench(("local", 1), &package, Some(Path::new("/no/x.epk")), &options, &mut ()).unwrap_err();
        assert!(error.to_string().contains("/no/x.epk"), "{error}");
    }

    /// Whoever reads the JSON relies on these names: they stay for as long as [`SCHEMA`] is 1.
    #[test]
    fn json_has_the_fields_of_its_schema() {
        let folder = tempfile::tempdir().unwrap();
        let package = testing::negating_package(folder.path(), true);
        let options = BenchOptions {
            warmup: Warmup::Runs(0),
            until: edgepack_engine::Until::Runs(3),
            samples: true,
            profile: true,
            ..BenchOptions::default()
        };
        let report = bench(("local", 1), &package, Some(&package), &options, &mut ()).unwrap();
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["schema"], SCHEMA), (&1.into(), 1));
        let keys = |value: &serde_json::Value| -> Vec<String> {
            let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
            keys.sort();
            keys
        };
        let words = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
        assert_eq!(
            keys(&json),
            words(
                "after against arena_bytes before device drift emulated first_ms instructions_per_run isa \
                 jitter_us load_ms mad_us max_us mean_us min_us p50_us p90_us p99_us package package_bytes \
                 peak_rss_kb pinned profile rss_before_kb runs samples schema threads throttling \
                 throughput_per_s warmup windows"
            )
        );
        assert_eq!(
            keys(&json["windows"][0]),
            words("end_s firmware_throttled frequency_mhz max_us p50_us runs temperature_c throttle_count")
        );
        assert_eq!(keys(&json["warmup"]), words("runs seconds steady"));
        assert_eq!(keys(&json["device"]), words("arch emulated isa name threads"));
        assert_eq!(keys(&json["throttling"]), words("seen signs"));
        assert_eq!(keys(&json["samples"]), words("nanoseconds stride"));
        let against = &json["against"];
        assert_eq!(keys(against), words("bench instructions_ratio package package_bytes pairs ratio"));
        assert_eq!(keys(&against["ratio"]), words("confidence median pairs quartiles"));
        assert_eq!(keys(&against["pairs"][0]), words("other_us own_us"));
    }
}
