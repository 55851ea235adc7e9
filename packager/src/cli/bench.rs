//! `edgepack bench`.

use std::path::PathBuf;

use edgepack_harness::report::{bench_html, bench_markdown, bench_text};
use edgepack_harness::{BenchOptions, Until, Warmup};

use super::options::Format;
use super::progress::Shown;
use super::report::ReportArgs;
use super::{Context, Outcome};

/// Measure the latency of a package, after warm-up, with what may have disturbed it.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  edgepack bench mobilenet.epk --seconds 10\n  \
                        edgepack bench int8.epk --against fp32.epk --device ssh://pi@kitchen --pin 2,3\n  \
                        edgepack bench mobilenet.epk --sustained 5m --report mobilenet.html --format markdown\n  \
                        edgepack bench mobilenet.epk --device qemu:rpi4      (instructions, no times)\n  \
                        edgepack bench keywords.epk --device qemu:mps2-an386 (a microcontroller: its stack, too)")]
pub(super) struct Args {
    /// The package
    package: PathBuf,
    /// Where: local, ssh://user@host:port, adb:SERIAL, or qemu:BOARD (emulated: it counts the
    /// instructions of a run, and has no times)
    #[arg(long, value_name = "DEVICE", default_value = "local")]
    device: String,
    /// Threads
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Run on these processors only: numbers by commas
    #[arg(long, value_name = "CORES", value_delimiter = ',')]
    pin: Vec<usize>,
    /// Measure this package too, then both in turns: how many times as fast the first is, and how sure that is
    #[arg(long, value_name = "OTHER.epk")]
    against: Option<PathBuf>,
    /// The time, MACs, speed and kernel of each step too
    #[arg(long)]
    profile: bool,
    /// Measure for this long (90s, 5m, 1h), and tell drift and throttling
    #[arg(long, value_name = "TIME", conflicts_with_all = ["runs", "seconds"], value_parser = parse_time)]
    sustained: Option<f64>,
    #[command(flatten)]
    length: LengthArgs,
    #[command(flatten)]
    report: ReportArgs,
}

/// How long to measure.
#[derive(clap::Args, Debug)]
pub(super) struct LengthArgs {
    /// Runs before those that are measured: a number, or `steady`, which ends when the medians of three
    /// blocks of 50 ms lie within 3 %, or after 5 s
    #[arg(long, value_name = "N|steady", default_value = "steady", value_parser = parse_warmup)]
    pub warmup: Warmup,
    /// Runs that are measured
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub runs: u64,
    /// Measure for so many seconds, instead of a number of runs
    #[arg(long, value_name = "S", conflicts_with = "runs", value_parser = parse_seconds)]
    pub seconds: Option<f64>,
}

impl LengthArgs {
    pub fn get(&self) -> BenchOptions {
        let until = self.seconds.map_or(Until::Runs(self.runs), Until::Seconds);
        BenchOptions { warmup: self.warmup, until, ..BenchOptions::default() }
    }
}

fn parse_warmup(text: &str) -> Result<Warmup, String> {
    match text {
        "steady" => Ok(Warmup::Steady),
        _ => text.parse().map(Warmup::Runs).map_err(|_| "give a number of runs, or steady".into()),
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("give seconds, 0 to 86400".into()),
    }
}

/// `90s`, `5m`, `1h`, in seconds.
fn parse_time(text: &str) -> Result<f64, String> {
    const USAGE: &str = "give a time of 30 s to 24 h, as 90s, 5m or 1h";
    let units = [('s', 1.0), ('m', 60.0), ('h', 3600.0)];
    let number = |(unit, seconds): (char, f64)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * seconds);
    let seconds = units.into_iter().find_map(number).ok_or(USAGE)?;
    // A shorter one has no drift.
    if (30.0..=86_400.0).contains(&seconds) { Ok(seconds) } else { Err(USAGE.into()) }
}

pub(super) fn run(args: &Args, context: Context) -> anyhow::Result<Outcome> {
    if args.device == "local" {
        edgepack_engine::check_threads(args.threads)?;
    }
    args.report.check()?;
    let length = args.length.get();
    let options = BenchOptions {
        profile: args.profile || args.report.is_wanted(),
        samples: args.report.is_wanted(),
        pin: args.pin.clone(),
        until: args.sustained.map_or(length.until, Until::Seconds),
        ..length
    };
    let report = edgepack_harness::bench(
        (&args.device, args.threads),
        &args.package,
        args.against.as_deref(),
        &options,
        &mut Shown::new(context),
    )?;
    // Before anything is printed: a reader that ends early must not cost minutes of measuring.
    args.report.write(&args.package, |nodes| bench_html(&report, nodes))?;
    match context.format {
        Format::Text => println!("{}", bench_text(&report)),
        Format::Markdown => print!("{}", bench_markdown(&report)),
        Format::Json => println!("{}", serde_json::to_string(&report)?),
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_warm_up_parse() {
        assert_eq!(
            (parse_time("90s"), parse_time("5m"), parse_time("0.5h")),
            (Ok(90.0), Ok(300.0), Ok(1800.0))
        );
        for wrong in ["5", "m", "29s", "25h", "-5m", "NaNm"] {
            assert!(parse_time(wrong).unwrap_err().contains("5m"), "{wrong}");
        }
        assert_eq!((parse_warmup("steady"), parse_warmup("7")), (Ok(Warmup::Steady), Ok(Warmup::Runs(7))));
        assert!(parse_warmup("soon").is_err());
    }
}
