//! A measurement as text, for people.

use edgepack_engine::Bench;

use super::words;
use crate::bench::BenchReport;

/// What `edgepack bench` prints.
pub fn text(report: &BenchReport) -> String {
    let mut lines = vec![format!("{}: {}", report.package.display(), words::device(report))];
    bench_lines(&report.bench, &mut lines);
    if !report.device.emulated {
        lines.push(format!(
            "  device    {}; temperature {}; frequency {}; throttling {}",
            words::pinned(&report.bench),
            words::temperature(&report.bench),
            words::frequency(&report.bench),
            words::throttling(&report.throttling)
        ));
    }
    if let Some(drift) = &report.drift {
        lines.push(format!("  drift     {}", words::drift(drift)));
    }
    if let Some(against) = &report.against {
        lines.push(format!("{}:", against.package.display()));
        bench_lines(&against.bench, &mut lines);
        if let Some(ratio) = &against.ratio {
            lines.push(format!("the first is {}", words::ratio(ratio)));
        }
        if let Some(ratio) = against.instructions_ratio {
            lines.push(format!("the second takes {ratio:.2} times as many instructions as the first"));
        }
    }
    if let Some(profile) = &report.bench.profile {
        lines.push(format!("\n{profile}"));
    }
    lines.join("\n")
}

fn bench_lines(bench: &Bench, lines: &mut Vec<String>) {
    let latency = &bench.latency;
    if bench.emulated {
        let count = words::instructions(bench);
        lines.push(format!(
            "  a run     {count} instructions of the guest; time under emulation is not time, and is not shown"
        ));
    } else {
        lines.extend([
            format!(
                "  latency   p50 {}, p90 {}, p99 {}, min {}, max {}; {}",
                words::us(latency.p50_us),
                words::us(latency.p90_us),
                words::us(latency.p99_us),
                words::us(latency.min_us),
                words::us(latency.max_us),
                words::runs_per_second(latency)
            ),
            format!(
                "  jitter    MAD {}, p99 - p50 {}",
                words::us(latency.mad_us),
                words::us(latency.jitter_us)
            ),
            format!("  cold      load {}, first run {}", words::ms(bench.load_ms), words::ms(bench.first_ms)),
            format!("  warm-up   {}", words::warmup(&bench.warmup)),
        ]);
    }
    lines.push(format!("  memory    {}", words::memory(bench)));
    lines.extend(bench.notes.iter().map(|note| format!("  note      {note}")));
}
