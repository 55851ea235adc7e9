//! Measurements and comparisons as Markdown, for a comment on a pull request.

use edgepack_engine::Bench;

use super::words;
use crate::bench::BenchReport;
use crate::compare::Comparison;

/// Steps of a profile that are listed: those that take longest.
const STEPS: usize = 10;

/// A measurement.
pub fn bench(report: &BenchReport) -> String {
    let mut lines = vec![
        format!("### `{}` on {}", words::file_name(&report.package), escaped(&words::device(report))),
        String::new(),
    ];
    let other = report.against.as_ref();
    let benches: Vec<&Bench> = [&report.bench].into_iter().chain(other.map(|other| &other.bench)).collect();
    if let Some(other) = other {
        if let Some(ratio) = &other.ratio {
            lines.extend([format!("**{}** as `{}`", words::ratio(ratio), words::file_name(&other.package))]);
            lines.push(String::new());
        }
        if let Some(ratio) = other.instructions_ratio {
            let name = words::file_name(&other.package);
            lines
                .extend([format!("**`{name}` takes {ratio:.2} times as many instructions**"), String::new()]);
        }
    }
    let names: Vec<String> = [&report.package]
        .into_iter()
        .chain(other.map(|other| &other.package))
        .map(|path| format!("`{}`", words::file_name(path)))
        .collect();
    lines.push(format!("| | {} |", names.join(" | ")));
    lines.push(format!("|---|{}", "--:|".repeat(names.len())));
    let mut row = |name: &str, value: &dyn Fn(&Bench) -> String| {
        let values: Vec<String> = benches.iter().map(|bench| value(bench)).collect();
        lines.push(format!("| {name} | {} |", values.join(" | ")));
    };
    if report.device.emulated {
        row("instructions of a run (emulated: no times)", &words::instructions);
    } else {
        for (index, (name, _)) in words::latency_rows(&report.bench.latency).iter().enumerate() {
            row(name, &|bench| words::latency_rows(&bench.latency)[index].1.clone());
        }
        row("load", &|bench| words::ms(bench.load_ms));
        row("first run", &|bench| words::ms(bench.first_ms));
        row("runs", &|bench| bench.latency.runs.to_string());
    }
    row("arena", &|bench| words::human_bytes(bench.arena_bytes));
    if !report.device.emulated {
        row("peak RSS", &|bench| {
            bench.peak_rss_kb.map_or("unknown".into(), |kb| words::human_bytes(kb * 1024))
        });
    }
    let sizes = [report.package_bytes].into_iter().chain(other.map(|other| other.package_bytes));
    let sizes: Vec<String> = sizes.map(words::human_bytes).collect();
    lines.push(format!("| package | {} |", sizes.join(" | ")));
    lines.push(String::new());
    if !report.device.emulated {
        lines.push(format!(
            "Warm-up {}; {}; temperature {}; frequency {}; throttling {}.",
            words::warmup(&report.bench.warmup),
            words::pinned(&report.bench),
            words::temperature(&report.bench),
            words::frequency(&report.bench),
            words::throttling(&report.throttling)
        ));
        lines.extend(report.drift.iter().map(|drift| format!("Drift {}.", words::drift(drift))));
    }
    lines.extend(report.bench.notes.iter().map(|note| format!("Note: {}.", escaped(note))));
    lines.extend(steps(&report.bench));
    lines.join("\n") + "\n"
}

/// The steps that take longest, folded.
fn steps(bench: &Bench) -> Vec<String> {
    let Some(profile) = &bench.profile else { return Vec::new() };
    let mut steps: Vec<_> = profile.steps.iter().collect();
    steps.sort_by(|a, b| b.median_us.total_cmp(&a.median_us));
    let shown = steps.len().min(STEPS);
    let mut lines = vec![
        String::new(),
        format!("<details><summary>The {shown} slowest of {} steps</summary>", steps.len()),
        String::new(),
        "| step | time | share | kernel |".into(),
        "|---|--:|--:|---|".into(),
    ];
    lines.extend(steps[..shown].iter().map(|step| {
        let (name, time) = (escaped(&words::short(&step.name, 40)), words::us(Some(step.median_us)));
        format!("| {name} | {time} | {:.1} % | `{}` |", step.share_percent, step.kernel)
    }));
    lines.extend([String::new(), "</details>".into()]);
    lines
}

/// A comparison of `package` with its baseline.
pub fn comparison(package: &std::path::Path, comparison: &Comparison) -> String {
    let accuracy = &comparison.accuracy;
    let info = &comparison.device.info;
    let emulated = if info.emulated { ", emulated" } else { "" };
    let mut lines = vec![
        format!("### `{}` against FP32, on {} samples", words::file_name(package), accuracy.samples),
        String::new(),
    ];
    if comparison.calibration_random {
        lines.extend([format!("**{}**", words::CALIBRATED_RANDOM), String::new()]);
    }
    lines.extend([
        "| | FP32 baseline | device |".into(),
        "|---|--:|--:|".into(),
        format!(
            "| | {} | {} |",
            escaped(&comparison.baseline.engine),
            escaped(&format!("{} {}, {}{emulated}", info.name, info.arch, info.isa))
        ),
    ]);
    let mut row = |name: &str, values: [Option<String>; 2]| {
        if values.iter().any(Option::is_some) {
            let [baseline, device] = values.map(|value| value.unwrap_or("-".into()));
            lines.push(format!("| {name} | {baseline} | {device} |"));
        }
    };
    row("top-1", [accuracy.top1_baseline, accuracy.top1_device].map(|share| share.map(percent)));
    row("top-5", [accuracy.top5_baseline, accuracy.top5_device].map(|share| share.map(percent)));
    let latency = [&comparison.baseline.latency, &comparison.device.latency];
    row("p50", latency.map(|latency| latency.p50_us.map(|us| words::us(Some(us)))));
    row("p99", latency.map(|latency| latency.p99_us.map(|us| words::us(Some(us)))));
    let number =
        |value: Option<f64>, digits: usize| value.map_or("-".into(), |value| format!("{value:.digits$}"));
    lines.extend([
        String::new(),
        format!(
            "Top-1 agreement {}, SQNR {} dB, cosine {}, max abs error {}.",
            accuracy.top1_agreement.map_or("-".into(), percent),
            number(accuracy.sqnr_db, 2),
            number(accuracy.cosine, 5),
            number(accuracy.max_abs_error, 4)
        ),
    ]);
    lines.extend(comparison.bit_identical_to_host.map(|identical| {
        let verdict = if identical { "The same bytes as" } else { "**NOT the bytes of**" };
        format!("{verdict} {} on {} samples.", words::reference(info), comparison.bit_identical_samples)
    }));
    lines.join("\n") + "\n"
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// Names may have what Markdown takes for its own.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\`*_[]<>|#".contains(c) {
            escaped.push('\\');
        }
        escaped.push(if c.is_control() { ' ' } else { c });
    }
    escaped
}
