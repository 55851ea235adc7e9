//! A measurement as text, for people.

use edgepack_harness::{Bench, BenchReport, Drift, Ratio, Throttling, WarmupReport};

use crate::cli::options::human_bytes;

pub(super) fn print(report: &BenchReport) {
    let device = &report.device;
    let emulated = if device.emulated { ", emulated" } else { "" };
    println!(
        "{}: {} {}, {}, {} thread(s){emulated}",
        report.package.display(),
        device.name,
        device.arch,
        device.isa,
        device.threads
    );
    print_bench(&report.bench);
    if !device.emulated {
        println!("  device    {}", conditions(&report.bench, &report.throttling));
    }
    if let Some(drift) = &report.drift {
        println!("  drift     {}", drift_text(drift));
    }
    if let Some(against) = &report.against {
        println!("{}:", against.package.display());
        print_bench(&against.bench);
        if let Some(ratio) = &against.ratio {
            println!("{}", ratio_text(ratio));
        }
        if let Some(ratio) = against.instructions_ratio {
            println!("the second takes {ratio:.2} times as many instructions as the first");
        }
    }
    if let Some(profile) = &report.bench.profile {
        println!("\n{profile}");
    }
}

fn print_bench(bench: &Bench) {
    let latency = &bench.latency;
    if bench.emulated {
        let count =
            bench.instructions_per_run.map_or("unknown".into(), |count| grouped(count) + " of the guest's");
        println!("  a run     {count} instructions; time under emulation is not time, and is not shown");
    } else {
        println!(
            "  latency   p50 {}, p90 {}, p99 {}, min {}, max {}; {} runs, {:.1} a second",
            us(latency.p50_us),
            us(latency.p90_us),
            us(latency.p99_us),
            us(latency.min_us),
            us(latency.max_us),
            latency.runs,
            latency.throughput_per_s.unwrap_or_default(),
        );
        println!("  jitter    MAD {}, p99 - p50 {}", us(latency.mad_us), us(latency.jitter_us));
        println!("  cold      load {}, first run {}", ms(bench.load_ms), ms(bench.first_ms));
        println!("  warm-up   {}", warmup_text(&bench.warmup));
    }
    println!("  memory    {}", memory(bench));
    for note in &bench.notes {
        println!("  note      {note}");
    }
}

/// `12.3 µs`, `1.23 ms`, with three digits or more.
fn us(us: Option<f64>) -> String {
    match us {
        None => "unknown".into(),
        Some(us) if us < 100.0 => format!("{us:.2} µs"),
        Some(us) if us < 10_000.0 => format!("{us:.1} µs"),
        Some(us) => format!("{:.2} ms", us / 1e3),
    }
}

fn ms(ms: Option<f64>) -> String {
    us(ms.map(|ms| ms * 1e3))
}

/// `1 234 567`.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let part = |(index, digit): (usize, char)| {
        let is_start = index > 0 && (digits.len() - index).is_multiple_of(3);
        is_start.then_some(' ').into_iter().chain([digit])
    };
    digits.chars().enumerate().flat_map(part).collect()
}

fn warmup_text(warmup: &WarmupReport) -> String {
    let seconds = warmup.seconds.map_or(String::new(), |seconds| format!(" in {seconds:.2} s"));
    let steady = match warmup.steady {
        None => "",
        Some(true) => ", until their time was steady",
        Some(false) => "; their time was NOT STEADY then: other work, or a frequency that changes",
    };
    format!("{} runs{seconds}{steady}", warmup.runs)
}

fn memory(bench: &Bench) -> String {
    let mut text = format!("arena {}", human_bytes(bench.arena_bytes));
    if let Some(peak) = bench.peak_rss_kb {
        text += &format!(", peak RSS {}", human_bytes(peak * 1024));
        if let Some(before) = bench.rss_before_kb {
            text += &format!(" ({} before the package was loaded)", human_bytes(before * 1024));
        }
    }
    text
}

fn conditions(bench: &Bench, throttling: &Throttling) -> String {
    let pinned = match &bench.pinned {
        None => "not pinned".into(),
        Some(cores) => format!(
            "pinned to processor(s) {}",
            cores.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
        ),
    };
    let both = |name: &str, before: Option<String>, after: Option<String>| match (before, after) {
        (Some(before), Some(after)) => format!("{name} {before} before, {after} after"),
        _ => format!("{name} unknown"),
    };
    let celsius = |value: Option<f64>| value.map(|value| format!("{value:.1} °C"));
    let mhz = |value: Option<u64>| value.map(|value| format!("{value} MHz"));
    let throttled = match throttling.seen {
        None => "throttling unknown".into(),
        Some(false) => "no throttling seen".into(),
        Some(true) => format!("THROTTLED: {}", throttling.signs.join("; ")),
    };
    [
        pinned,
        both("temperature", celsius(bench.before.temperature_c), celsius(bench.after.temperature_c)),
        both("frequency", mhz(bench.before.frequency_mhz), mhz(bench.after.frequency_mhz)),
        throttled,
    ]
    .join("; ")
}

fn drift_text(drift: &Drift) -> String {
    format!(
        "{:+.2} % a minute (± {:.2}), over {} windows",
        drift.percent_per_minute, drift.margin_percent, drift.windows
    )
}

fn ratio_text(ratio: &Ratio) -> String {
    let [low, high] = ratio.confidence;
    let [first, third] = ratio.quartiles;
    format!(
        "the first is {:.3} times as fast as the second (95 %: {low:.3} to {high:.3}; quartiles {first:.3} to \
         {third:.3} over {} pairs of blocks in turns)",
        ratio.median, ratio.pairs
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!([1, 999, 1000, 1_234_567].map(grouped), ["1", "999", "1 000", "1 234 567"]);
        assert_eq!([4.123, 456.78, 12_345.6].map(|time| us(Some(time))), ["4.12 µs", "456.8 µs", "12.35 ms"]);
        assert_eq!(us(None), "unknown");
    }
}
