//! Pages and Markdown of made-up measurements.

use edgepack_engine::{BenchOptions, Latency, Pair, Until, Vitals, Warmup, Window};

use super::*;
use crate::Accuracy;
use crate::bench::{Against, Throttling, bench};
use crate::compare::{BaselineReport, DeviceReport};
use crate::device::testing;
use crate::stats::{Drift, Ratio};
use crate::worst::{ValuePair, WorstSample};

/// A measurement that has everything, with a name that would be markup.
fn report() -> BenchReport {
    let folder = tempfile::tempdir().unwrap();
    let package = testing::negating_package(folder.path(), true);
    let options = BenchOptions {
        warmup: Warmup::Runs(1),
        until: Until::Runs(200),
        profile: true,
        samples: true,
        ..BenchOptions::default()
    };
    let mut report = bench(("local", 1), &package, Some(&package), &options, &mut ()).unwrap();
    report.device.name = "<b>board</b>".into();
    report.bench.profile.as_mut().unwrap().steps[0].name = "a/<script>alert(1)</script>".into();
    report
}

fn sustained() -> BenchReport {
    let mut report = report();
    report.bench.windows = (1..=20)
        .map(|second| Window {
            end_s: f64::from(second * 2),
            runs: 9,
            p50_us: 10.0 + f64::from(second % 3),
            max_us: 20.0,
            vitals: Vitals { temperature_c: Some(50.0), frequency_mhz: Some(1500), ..Vitals::default() },
        })
        .collect();
    report.drift = Drift::of(&report.bench.windows);
    report.throttling = Throttling { seen: Some(true), signs: vec!["its frequency fell".into()] };
    report.bench.warmup.steady = Some(false);
    report
}

fn emulated() -> BenchReport {
    let mut report = report();
    report.device.emulated = true;
    report.bench = report.bench.without_times();
    report.bench.instructions_per_run = Some(1_234_567);
    let against = report.against.take().unwrap();
    report.against = Some(Against {
        bench: against.bench.without_times(),
        ratio: None,
        pairs: Vec::new(),
        instructions_ratio: Some(2.5),
        ..against
    });
    report.drift = None;
    report
}

fn nodes() -> Vec<NodeError> {
    (0..30)
        .map(|index| NodeError {
            node: format!("node{index}"),
            op: "Conv".into(),
            precision: "int8".into(),
            sqnr_db: 40.0 - f64::from(index),
            own_sqnr_db: (index % 2 == 0).then_some(45.0),
            share_percent: Some(f64::from(index)),
        })
        .collect()
}

fn comparison() -> Comparison {
    let mut accuracy = Accuracy::default();
    accuracy.add(&[vec![1.0, 2.0]], &[vec![2.0, 1.5]], Some(1));
    let latency = Latency::of(&[1000, 2000, 3000]);
    let value = |index, baseline, device| ValuePair { index, baseline, device };
    Comparison {
        accuracy: accuracy.summary(),
        bit_identical_to_host: Some(true),
        bit_identical_samples: 1,
        first_difference: None,
        calibration_random: true,
        worst: vec![WorstSample {
            name: "<i>cat</i>.png".into(),
            label: Some(1),
            differs: true,
            sqnr_db: Some(6.0),
            values: vec![value(1, 2.0, 1.5), value(0, 1.0, f32::NAN)],
            picture: Some("data:image/png;base64,AAAA".into()),
            ..WorstSample::default()
        }],
        baseline: BaselineReport { engine: "engine".into(), why: "why".into(), latency },
        device: DeviceReport { info: testing::info(), latency },
    }
}

/// Nothing of a page comes from elsewhere, and nothing in it is markup that was a name.
fn assert_self_contained(page: &str) {
    let page = &page.replace("&#x2f;", "/");
    for part in
        ["http:", "https:", "//", "@import", "url(", "<script", "<link", "<iframe", "<b>board", "<i>cat"]
    {
        assert!(!page.contains(part), "{part}");
    }
    let sources = page.split("src=\"").skip(1);
    assert!(sources.into_iter().all(|source| source.starts_with("data:image/png;base64,")));
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    for theme in ["prefers-color-scheme: dark", "@media print", "max-width: 40rem", "width=device-width"] {
        assert!(page.contains(theme), "{theme}");
    }
    // No number went astray on its way into a path.
    assert!(!page.contains("NaN\"") && !page.contains("inf\"") && !page.contains("NaN%"), "{page}");
}

#[test]
fn page_of_a_measurement_has_every_section_and_nothing_from_elsewhere() {
    let page = bench_html(&report(), &nodes()).unwrap();
    assert_self_contained(&page);
    for section in [
        "Side by side",
        "How long runs take",
        "Over time",
        "Where time goes",
        "Error of each layer",
        "Conditions",
        "p50 ",
        "p90 ",
        "p99 ",
        "&lt;script&gt;alert(1)",
        "and 13 nodes that cost less",
    ] {
        assert!(page.contains(section), "{section}");
    }
    let alone = bench_html(&BenchReport { against: None, ..report() }, &[]).unwrap();
    assert!(!alone.contains("Side by side") && !alone.contains("Error of each layer"));
}

#[test]
fn page_of_a_long_measurement_tells_of_drift_and_what_disturbed_it() {
    let page = bench_html(&sustained(), &[]).unwrap();
    assert_self_contained(&page);
    for part in ["Drift ", "Temperature", "Frequency", "Throttled: its frequency fell", "Not steady"] {
        assert!(page.contains(part), "{part}");
    }
}

/// Whether a number has a unit of time.
fn has_time(text: &str) -> bool {
    [" µs", " ms", " s ", "a second", "a minute"].iter().any(|unit| {
        text.match_indices(unit).any(|(at, _)| text[..at].ends_with(|c: char| c.is_ascii_digit()))
    })
}

#[test]
fn emulated_devices_have_no_time_in_any_report() {
    let report = emulated();
    let page = bench_html(&report, &nodes()).unwrap();
    let body = page.split("</style>").nth(1).unwrap();
    for text in [body, &bench_markdown(&report), &bench_text(&report)] {
        assert!(!has_time(text), "{text}");
        assert!(text.contains("1 234 567") && text.to_lowercase().contains("emulated"), "{text}");
        assert!(text.contains("2.50"), "{text}");
    }
    assert!(has_time(&bench_text(&self::report())) && has_time(&bench_markdown(&self::report())));
}

#[test]
fn page_of_a_comparison_has_the_worst_samples() {
    let page = comparison_html("m.epk".as_ref(), &comparison(), &nodes()).unwrap();
    assert_self_contained(&page);
    for part in [
        "The worst samples",
        "&lt;i&gt;cat",
        "SQNR 6.0 dB",
        "label 1",
        "Error of each layer",
        "random numbers",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let text = comparison_markdown("m.epk".as_ref(), &comparison());
    assert!(text.contains("| top-1 | 100.00 % | 0.00 % |") && text.contains("| p50 | 2.00 µs |"), "{text}");
    assert!(
        text.contains("The same bytes as the host on 1 samples") && text.contains("random numbers"),
        "{text}"
    );
}

#[test]
fn markdown_is_a_table_of_both_packages() {
    let mut report = report();
    let pairs: Vec<Pair> = (0..20).map(|_| Pair { own_us: 1.0, other_us: 3.0 }).collect();
    let against = report.against.as_mut().unwrap();
    (against.ratio, against.package) = (Ratio::of(&pairs), "fp_32.epk".into());
    let text = bench_markdown(&report);
    assert!(text.starts_with("### `negating.epk` on \\<b\\>board"), "{text}");
    for part in
        ["**3.000 times as fast (95 %: 3.000 to 3.000", "| | `negating.epk` | `fp_32.epk` |", "| p99 | "]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Every row has as many cells as the header.
    let table: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("| |")).collect();
    let rows = table.iter().take_while(|line| line.starts_with('|'));
    assert!(rows.clone().count() > 10 && rows.into_iter().all(|row| row.matches('|').count() == 4), "{text}");
}
