//! Numbers and findings in words, the same in text, Markdown and HTML.

use edgepack_engine::{Bench, Latency, WarmupReport};

use crate::bench::{BenchReport, Throttling};
use crate::device::DeviceInfo;
use crate::stats::{Drift, Ratio};

/// `12.34 µs`, `456.8 µs`, `12.35 ms`: four digits.
pub(super) fn us(us: Option<f64>) -> String {
    match us {
        None => "unknown".into(),
        Some(us) if us < 100.0 => format!("{us:.2} µs"),
        Some(us) if us < 1000.0 => format!("{us:.1} µs"),
        Some(us) if us < 100_000.0 => format!("{:.2} ms", us / 1e3),
        Some(us) => format!("{:.1} ms", us / 1e3),
    }
}

pub(super) fn ms(ms: Option<f64>) -> String {
    us(ms.map(|ms| ms * 1e3))
}

/// `1 234 567`.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let part = |(index, digit): (usize, char)| {
        let is_start = index > 0 && (digits.len() - index).is_multiple_of(3);
        is_start.then_some(' ').into_iter().chain([digit])
    };
    digits.chars().enumerate().flat_map(part).collect()
}

/// `1234567` as `1.18 MiB`.
pub fn human_bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.2} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// A name, and where it is long its end alone, where names of one model differ.
pub(super) fn short(name: &str, width: usize) -> String {
    let skipped = name.chars().count().saturating_sub(width);
    if skipped == 0 {
        name.into()
    } else {
        format!("…{}", name.chars().skip(skipped + 1).collect::<String>())
    }
}

/// The file's name of a path.
pub(super) fn file_name(path: &std::path::Path) -> String {
    path.file_name().map_or(path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// What was measured on: `local x86_64, avx512vnni, 1 thread`.
pub(super) fn device(report: &BenchReport) -> String {
    let device = &report.device;
    let threads = if device.threads == 1 { "1 thread".into() } else { format!("{} threads", device.threads) };
    let emulated = if device.emulated { ", emulated" } else { "" };
    format!("{} {}, {}, {threads}{emulated}", device.name, device.arch, device.isa)
}

/// What must be known of a package that was calibrated so.
pub(super) const CALIBRATED_RANDOM: &str =
    "Calibrated with random numbers: good for latency only, the accuracy below means nothing.";

/// Whose bytes a device's must be.
pub(super) fn reference(device: &DeviceInfo) -> &'static str {
    if device.name == "local" { "the scalar kernels" } else { "the host" }
}

pub(super) fn instructions(bench: &Bench) -> String {
    bench.instructions_per_run.map_or("unknown".into(), grouped)
}

/// The rows of a table of latency.
pub(super) fn latency_rows(latency: &Latency) -> [(&'static str, String); 6] {
    [
        ("p50", us(latency.p50_us)),
        ("p90", us(latency.p90_us)),
        ("p99", us(latency.p99_us)),
        ("min", us(latency.min_us)),
        ("max", us(latency.max_us)),
        ("jitter (MAD)", us(latency.mad_us)),
    ]
}

pub(super) fn runs_per_second(latency: &Latency) -> String {
    let per_second = latency.throughput_per_s.unwrap_or_default();
    format!("{} runs, {per_second:.1} a second", grouped(latency.runs))
}

pub(super) fn warmup(warmup: &WarmupReport) -> String {
    let seconds = warmup.seconds.map_or(String::new(), |seconds| format!(" in {seconds:.2} s"));
    let steady = match warmup.steady {
        None => "",
        Some(true) => ", until their time was steady",
        Some(false) => "; their time was NOT STEADY then: other work, or a frequency that changes",
    };
    format!("{} runs{seconds}{steady}", warmup.runs)
}

pub(super) fn memory(bench: &Bench) -> String {
    let mut text = format!("arena {}", human_bytes(bench.arena_bytes));
    if let Some(stack) = bench.stack_bytes {
        text += &format!(", stack {}", human_bytes(stack));
    }
    if let Some(peak) = bench.peak_rss_kb {
        text += &format!(", peak RSS {}", human_bytes(peak * 1024));
        if let Some(before) = bench.rss_before_kb {
            text += &format!(" ({} before the package was loaded)", human_bytes(before * 1024));
        }
    }
    text
}

pub(super) fn pinned(bench: &Bench) -> String {
    match &bench.pinned {
        None => "not pinned".into(),
        Some(cores) => {
            let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
            format!("pinned to processor {}", cores.join(", "))
        }
    }
}

fn before_and_after(before: Option<String>, after: Option<String>) -> String {
    match (before, after) {
        (Some(before), Some(after)) => format!("{before} before, {after} after"),
        _ => "unknown".into(),
    }
}

pub(super) fn temperature(bench: &Bench) -> String {
    let celsius = |value: Option<f64>| value.map(|value| format!("{value:.1} °C"));
    before_and_after(celsius(bench.before.temperature_c), celsius(bench.after.temperature_c))
}

pub(super) fn frequency(bench: &Bench) -> String {
    let mhz = |value: Option<u64>| value.map(|value| format!("{value} MHz"));
    before_and_after(mhz(bench.before.frequency_mhz), mhz(bench.after.frequency_mhz))
}

pub(super) fn throttling(throttling: &Throttling) -> String {
    match throttling.seen {
        None => "unknown: the device does not tell".into(),
        Some(false) => "none seen".into(),
        Some(true) => format!("SEEN: {}", throttling.signs.join("; ")),
    }
}

pub(super) fn drift(drift: &Drift) -> String {
    let verdict =
        if drift.percent_per_minute.abs() <= drift.margin_percent { ", which may be none" } else { "" };
    format!(
        "{:+.2} % a minute (± {:.2}{verdict}), over {} windows",
        drift.percent_per_minute, drift.margin_percent, drift.windows
    )
}

/// `8.54 times as fast (95 %: 8.52 to 8.56; …)`.
pub(super) fn ratio(ratio: &Ratio) -> String {
    let [low, high] = ratio.confidence;
    let [first, third] = ratio.quartiles;
    format!(
        "{:.3} times as fast (95 %: {low:.3} to {high:.3}; quartiles {first:.3} to {third:.3} over {} pairs of blocks \
         in turns)",
        ratio.median, ratio.pairs
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!([1, 999, 1000, 1_234_567].map(grouped), ["1", "999", "1 000", "1 234 567"]);
        assert_eq!(
            [4.123, 456.78, 12_345.6, 345_678.9].map(|time| us(Some(time))),
            ["4.12 µs", "456.8 µs", "12.35 ms", "345.7 ms"]
        );
        assert_eq!(us(None), "unknown");
        assert_eq!((short("abc", 3), short("abcdef", 3)), ("abc".into(), "…ef".into()));
        assert_eq!([5, 2048, 3 << 20].map(human_bytes), ["5 B", "2.0 KiB", "3.00 MiB"]);
    }

    #[test]
    fn drift_within_its_margin_may_be_none() {
        let of = |margin_percent| {
            drift(&Drift { us_per_minute: 1.0, percent_per_minute: 2.0, margin_percent, windows: 9 })
        };
        assert!(of(3.0).contains("may be none") && !of(1.0).contains("may be none"));
    }
}
