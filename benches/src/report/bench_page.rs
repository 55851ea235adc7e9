//! The page of a measurement.

use edgepack_engine::{
    Bench, Latency, Profile, STEADY_BLOCK_MS, STEADY_BLOCKS, STEADY_LIMIT_S, STEADY_PERCENT, Samples,
};

use super::NodeError;
use super::page::{Bar, Bars, Block, Page, Section, Table, Tile, error_section};
use super::plot::{Axis, Frame, Plot, marks};
use super::words;
use crate::bench::{Against, BenchReport};
use crate::stats::{Line, quantile};

/// Columns of a histogram.
const COLUMNS: usize = 60;

/// Runs that are drawn one by one.
const DOTS: usize = 2000;

pub(super) fn page(report: &BenchReport, nodes: &[NodeError]) -> Page {
    let mut sections = Vec::new();
    sections.extend(report.against.as_ref().and_then(|against| against_section(report, against)));
    sections.extend(distribution(report));
    sections.extend(over_time(report));
    sections.extend(report.bench.profile.as_ref().map(steps));
    sections.extend(error_section(nodes));
    sections.push(conditions(report));
    Page {
        title: words::file_name(&report.package),
        subtitle: words::device(report),
        warnings: warnings(report),
        tiles: tiles(report),
        sections,
        notes: notes(report),
    }
}

fn warnings(report: &BenchReport) -> Vec<String> {
    let mut warnings = Vec::new();
    if report.device.emulated {
        warnings.push(
            "Emulated: instructions are counted, and outputs are exact, but time under emulation is not time and is \
             not shown."
                .into(),
        );
    }
    if report.bench.warmup.steady == Some(false) {
        warnings.push(format!(
            "Not steady: the time of a run still changed by more than {STEADY_PERCENT} % after {STEADY_LIMIT_S} s of \
             warm-up. Other work or a frequency that changes disturb these figures."
        ));
    }
    if report.throttling.seen == Some(true) {
        warnings.push(format!("Throttled: {}.", report.throttling.signs.join("; ")));
    }
    warnings
}

fn tiles(report: &BenchReport) -> Vec<Tile> {
    let bench = &report.bench;
    let latency = &bench.latency;
    let mut tiles = Vec::new();
    if report.device.emulated {
        tiles.push(Tile::new("instructions of a run", words::instructions(bench), "of the guest"));
    } else {
        let rate = format!("{:.0} runs a second", latency.throughput_per_s.unwrap_or_default());
        tiles.extend([
            Tile::new("median", words::us(latency.p50_us), rate),
            Tile::new("p90", words::us(latency.p90_us), "9 of 10 runs"),
            Tile::new("p99", words::us(latency.p99_us), format!("longest {}", words::us(latency.max_us))),
            Tile::new("jitter (MAD)", words::us(latency.mad_us), "median deviation"),
            Tile::new(
                "first run",
                words::ms(bench.first_ms),
                format!("after a load of {}", words::ms(bench.load_ms)),
            ),
        ]);
    }
    if let Some(against) = &report.against {
        let other = format!("as {}", words::file_name(&against.package));
        let note = |ratio: &crate::Ratio| {
            format!("{other}; 95 %: {:.2} to {:.2}", ratio.confidence[0], ratio.confidence[1])
        };
        tiles.extend(
            against
                .ratio
                .iter()
                .map(|ratio| Tile::new("times as fast", format!("{:.2} ×", ratio.median), note(ratio))),
        );
        let name = words::file_name(&against.package);
        let more =
            |ratio: &f64| Tile::new("instructions", format!("{ratio:.2} ×"), format!("as many in {name}"));
        tiles.extend(against.instructions_ratio.iter().map(more));
    }
    if let Some(drift) = &report.drift {
        let note = format!("a minute, ± {:.2}", drift.margin_percent);
        tiles.push(Tile::new("drift", format!("{:+.2} %", drift.percent_per_minute), note));
    }
    let package = format!("package {}", words::human_bytes(report.package_bytes));
    tiles.push(Tile::new("arena", words::human_bytes(bench.arena_bytes), package));
    tiles
}

/// The unit of an axis: what a microsecond is multiplied by, and its name.
fn unit(us: f64) -> (f64, &'static str) {
    if us < 1000.0 { (1.0, "µs") } else { (1e-3, "ms") }
}

/// Times of runs, in microseconds.
fn microseconds(samples: &Samples) -> Vec<f64> {
    samples.nanoseconds.iter().map(|&ns| ns as f64 / 1e3).collect()
}

/// Up to where times are drawn: the few that lie far beyond would leave no room for the others.
fn bound(latency: &Latency) -> f64 {
    let [p50, p90, max, mad] =
        [latency.p50_us, latency.p90_us, latency.max_us, latency.mad_us].map(|us| us.unwrap_or(0.0));
    (p90 + 0.1 * (p90 - p50)).max(p50 + 12.0 * mad).min(max)
}

fn distribution(report: &BenchReport) -> Option<Section> {
    let own = histogram(&report.bench)?;
    let mut blocks = vec![Block::Plot(own)];
    if let Some((against, plot)) = report.against.as_ref().and_then(|it| Some((it, histogram(&it.bench)?))) {
        let label = format!("{}: {}", words::file_name(&against.package), plot.caption);
        blocks.push(Block::Plot(Plot { caption: label, ..plot }));
    }
    Some(Section::new("How long runs take", words::runs_per_second(&report.bench.latency), blocks))
}

/// The distribution of latency, with its percentiles.
fn histogram(bench: &Bench) -> Option<Plot> {
    let times = microseconds(bench.samples.as_ref()?);
    let (latency, most) = (&bench.latency, bound(&bench.latency));
    let least = times.iter().copied().fold(f64::INFINITY, f64::min);
    let (factor, unit) = unit(latency.p50_us?);
    let x = Axis::spanning(least * factor, most.max(least) * factor);
    let mut counts = [0u64; COLUMNS];
    let shown = times.iter().filter(|&&us| us <= most);
    for us in shown {
        let column = (x.share(us * factor) * COLUMNS as f64) as usize;
        counts[column.min(COLUMNS - 1)] += 1;
    }
    let share = |count: u64| 100.0 * count as f64 / times.len() as f64;
    let highest = counts.iter().map(|&count| share(count)).fold(0.0, f64::max);
    let frame = Frame { x, y: Axis::new(0.0, highest * 1.08) };
    let edge = |column: usize| x.value(column as f64 / COLUMNS as f64);
    let columns: Vec<(f64, f64, f64)> =
        counts.iter().enumerate().map(|(at, &count)| (edge(at), edge(at + 1), share(count))).collect();
    let percentiles = [("p50", latency.p50_us), ("p90", latency.p90_us), ("p99", latency.p99_us)];
    let named = percentiles.into_iter().filter_map(|(name, us)| {
        let arrow = if us? > most { " →" } else { "" };
        Some((us? * factor, format!("{name} {}{arrow}", words::us(us))))
    });
    let beyond = times.iter().filter(|&&us| us > most).count();
    let mut caption = format!("{} runs", words::grouped(latency.runs));
    if bench.samples.as_ref()?.stride > 1 {
        caption += &format!(", of which one in {} is drawn", bench.samples.as_ref()?.stride);
    }
    if beyond > 0 {
        let share = share(beyond as u64);
        caption += &format!("; {share:.2} % took longer than is drawn, up to {}", words::us(latency.max_us));
    }
    if x.is_log {
        caption += "; the axis is logarithmic";
    }
    Some(Plot {
        label: "Distribution of latency".into(),
        x_name: format!("latency, {unit}"),
        y_name: "% of runs".into(),
        marks: marks(x, &named.collect::<Vec<_>>()),
        caption: caption + ".",
        ..frame.plot(vec![frame.columns(&columns)])
    })
}

/// Latency over the windows of a long measurement, or run by run.
fn over_time(report: &BenchReport) -> Option<Section> {
    let bench = &report.bench;
    let (factor, unit) = unit(bench.latency.p50_us?);
    if let Some(drift) = &report.drift {
        let points: Vec<(f64, f64)> =
            bench.windows.iter().map(|window| (window.end_s, window.p50_us * factor)).collect();
        let line = Line::through(&points)?;
        let y = around(points.iter().map(|point| point.1));
        let end = points.last()?.0;
        let frame = Frame { x: Axis::new(0.0, end), y };
        let trend = [0.0, end].map(|x| (x, line.intercept + line.slope * x));
        let plot = Plot {
            label: "Median latency over time".into(),
            x_name: "seconds".into(),
            y_name: format!("median, {unit}"),
            caption: "Each point is the median of a window; dashed, the line of least squares.".into(),
            ..frame.plot(vec![frame.line(&points, "line"), frame.line(&trend, "trend")])
        };
        let mut blocks = vec![Block::Plot(plot)];
        blocks.extend(vitals(bench).into_iter().map(Block::Plot));
        return Some(Section::new("Over time", format!("Drift {}.", words::drift(drift)), blocks));
    }
    let samples = bench.samples.as_ref()?;
    let (times, most) = (microseconds(samples), bound(&bench.latency));
    let every = times.len().div_ceil(DOTS).max(1);
    let run = |index: usize| (index as u64 * samples.stride) as f64;
    let points: Vec<(f64, f64)> =
        times.iter().enumerate().step_by(every).map(|(at, us)| (run(at), us.min(most) * factor)).collect();
    let frame = Frame { x: Axis::new(0.0, run(times.len())), y: around(points.iter().map(|point| point.1)) };
    let plot = Plot {
        label: "Latency of each run, in order".into(),
        x_name: "run".into(),
        y_name: format!("latency, {unit}"),
        caption: "A dot is a run; what lies beyond is drawn at the edge.".into(),
        ..frame.plot(vec![frame.dots(&points)])
    };
    let lead = "In the order of the runs: steps and slopes are the device's, not the model's. Half a minute or more tells of drift.";
    Some(Section::new("Over time", lead, vec![Block::Plot(plot)]))
}

/// An axis with a little room above and below.
fn around(values: impl Iterator<Item = f64>) -> Axis {
    let (low, high) =
        values.fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
    let room = (high - low) * 0.08;
    Axis::new((low - room).max(0.0), high + room)
}

/// Temperature and frequency over time, where the device tells them.
fn vitals(bench: &Bench) -> Vec<Plot> {
    let plot = |label: &str, y_name: &str, points: Vec<(f64, f64)>| {
        if points.len() < 2 {
            return None;
        }
        let x = Axis::new(0.0, points.last()?.0);
        let frame = Frame { x, y: around(points.iter().map(|point| point.1)) };
        let (x_name, y_name) = ("seconds".into(), y_name.into());
        Some(Plot { label: label.into(), x_name, y_name, ..frame.plot(vec![frame.line(&points, "line")]) })
    };
    let windows = || bench.windows.iter();
    let degrees = windows().filter_map(|window| Some((window.end_s, window.vitals.temperature_c?)));
    let mhz = windows().filter_map(|window| Some((window.end_s, window.vitals.frequency_mhz? as f64)));
    [plot("Temperature", "°C", degrees.collect()), plot("Frequency", "MHz", mhz.collect())]
        .into_iter()
        .flatten()
        .collect()
}

fn against_section(report: &BenchReport, against: &Against) -> Option<Section> {
    let ratio = against.ratio.as_ref()?;
    let ratios: Vec<f64> = against.pairs.iter().map(|pair| pair.other_us / pair.own_us).collect();
    let mut sorted = ratios.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    // A pair that something else fell into says nothing of the packages.
    let (low, high) = (quantile(&sorted, 0.01), quantile(&sorted, 0.99));
    let clamped = |ratio: f64| ratio.clamp(low, high);
    let points: Vec<(f64, f64)> =
        ratios.iter().enumerate().map(|(at, &ratio)| ((at + 1) as f64, clamped(ratio))).collect();
    let frame =
        Frame { x: Axis::new(0.0, (points.len() + 1) as f64), y: around(points.iter().map(|point| point.1)) };
    let median = [0.0, (points.len() + 1) as f64].map(|x| (x, ratio.median));
    let plot = Plot {
        label: "Ratio of latencies, pair by pair".into(),
        x_name: "pair of blocks".into(),
        y_name: "times as fast".into(),
        caption: "A dot is a block of runs of each package, one right after the other; dashed, the median. The outermost \
                  hundredth is drawn at the edge."
            .into(),
        ..frame.plot(vec![frame.dots(&points), frame.line(&median, "trend")])
    };
    let (own, other) = (&report.bench.latency, &against.bench.latency);
    let rows = words::latency_rows(own).into_iter().zip(words::latency_rows(other));
    let mut rows: Vec<Vec<String>> =
        rows.map(|((name, own), (_, other))| vec![name.into(), own, other]).collect();
    let mut row = |name: &str, value: &dyn Fn(&Bench) -> String| {
        rows.push(vec![name.into(), value(&report.bench), value(&against.bench)]);
    };
    row("load", &|bench| words::ms(bench.load_ms));
    row("first run", &|bench| words::ms(bench.first_ms));
    row("arena", &|bench| words::human_bytes(bench.arena_bytes));
    rows.push(vec![
        "package".into(),
        words::human_bytes(report.package_bytes),
        words::human_bytes(against.package_bytes),
    ]);
    let (own, other) = (words::file_name(&report.package), words::file_name(&against.package));
    let lead = format!("{own} is {} as {other}.", words::ratio(ratio));
    let table = Table { header: vec![String::new(), own, other], rows };
    Some(Section::new("Side by side", lead, vec![Block::Plot(plot), Block::Table(table)]))
}

fn steps(profile: &Profile) -> Section {
    let longest = profile.steps.iter().map(|step| step.median_us).fold(0.0, f64::max).max(1e-9);
    let bar = |step: &edgepack_engine::StepProfile| {
        let speed =
            if step.gop_per_s > 0.0 { format!(", {:.1} GOP/s", step.gop_per_s) } else { String::new() };
        let parts = if step.parts > 1 { format!(", {} strips", step.parts) } else { String::new() };
        Bar {
            name: words::short(&step.name, 60),
            title: format!("{}: {}", step.name, step.kernel),
            percent: 100.0 * step.median_us / longest,
            value: format!("{} · {:.1} %", words::us(Some(step.median_us)), step.share_percent),
            note: format!("{}, {}{speed}{parts}", step.types, step.kernel),
        }
    };
    let rows = profile.steps.iter().map(bar).collect();
    let kernels = profile.kernels.iter().map(|kernel| {
        vec![
            kernel.kernel.clone(),
            kernel.steps.to_string(),
            words::us(Some(kernel.median_us)),
            format!("{:.1} %", kernel.share_percent),
            if kernel.gop_per_s > 0.0 { format!("{:.1}", kernel.gop_per_s) } else { String::new() },
        ]
    });
    let header = ["kernel", "steps", "time", "share", "GOP/s"].map(String::from).into();
    let lead =
        format!("Median of {} runs in which each step was timed, in the order of the steps.", profile.runs);
    Section::new(
        "Where time goes",
        lead,
        vec![
            Block::Bars(Bars { rows, caption: String::new() }),
            Block::Table(Table { header, rows: kernels.collect() }),
        ],
    )
}

fn conditions(report: &BenchReport) -> Section {
    let bench = &report.bench;
    let mut rows: Vec<[String; 2]> = vec![["device".into(), words::device(report)]];
    if !report.device.emulated {
        rows.extend([
            ["warm-up".into(), words::warmup(&bench.warmup)],
            ["processors".into(), words::pinned(bench)],
            ["temperature".into(), words::temperature(bench)],
            ["frequency".into(), words::frequency(bench)],
            ["throttling".into(), words::throttling(&report.throttling)],
        ]);
        rows.extend(report.drift.iter().map(|drift| ["drift".into(), words::drift(drift)]));
    }
    rows.push(["memory".into(), words::memory(bench)]);
    rows.extend(bench.notes.iter().map(|note| ["note".into(), note.clone()]));
    let rows = rows.into_iter().map(Vec::from).collect();
    let table = Table { header: Vec::new(), rows };
    Section::new(
        "Conditions",
        "What was measured on, and what may have disturbed it.",
        vec![Block::Table(table)],
    )
}

fn notes(report: &BenchReport) -> Vec<String> {
    if report.device.emulated {
        return vec![
            "Instructions are those that QEMU's user mode executed for the guest, of runs alone: what happens once is \
             subtracted."
                .into(),
        ];
    }
    let mut notes = vec![
        format!(
            "A run is the input's conversion and the inference. Warm-up ends when the medians of {STEADY_BLOCKS} blocks \
             of {STEADY_BLOCK_MS} ms lie within {STEADY_PERCENT} %, or after {STEADY_LIMIT_S} s."
        ),
        "Percentiles are of the nearest rank: times of runs that there were. MAD is the median of the absolute deviations \
         from the median."
            .into(),
    ];
    if report.drift.is_some() {
        notes.push("The margin of the drift is twice the slope's standard error.".into());
    }
    if report.against.is_some() {
        notes.push(
            "Packages are compared by blocks of 5 ms or more, in turns, in alternating order; the interval of the median \
             ratio is a percentile bootstrap over pairs."
                .into(),
        );
    }
    notes
}
