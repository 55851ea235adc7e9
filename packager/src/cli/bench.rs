//! `edgepack bench`.

use std::path::PathBuf;

use edgepack_harness::{Bench, BenchOptions, PackageFacts, Until, device};

use super::options::Format;
use super::progress::Shown;
use super::{Context, Outcome};

/// Measure the latency of a package.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  edgepack bench mobilenet.epk --seconds 10\n\n\
                        The last line of stdout is JSON in both formats.")]
pub(super) struct Args {
    /// The package
    package: PathBuf,
    /// Where: local, ssh://user@host:port, adb:SERIAL, or qemu:BOARD (which has no times, only
    /// memory)
    #[arg(long, value_name = "DEVICE", default_value = "local")]
    device: String,
    /// Threads
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// The time, MACs, speed and kernel of each step too
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    length: LengthArgs,
}

/// How long to measure.
#[derive(clap::Args, Debug)]
pub(super) struct LengthArgs {
    /// Runs before those that are measured
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub warmup: u64,
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
        BenchOptions { warmup: self.warmup, until, profile: false }
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("give seconds, 0 to 86400".into()),
    }
}

pub(super) fn run(args: &Args, context: Context) -> anyhow::Result<Outcome> {
    if args.device == "local" {
        edgepack_engine::check_threads(args.threads)?;
    }
    let sample = PackageFacts::read(&args.package)?.random_sample(0);
    let mut device = device::open(&args.device, &args.package, args.threads)?;
    let mut progress = Shown::new(context);
    edgepack_harness::Progress::start(&mut progress, "measuring", 1);
    let bench = device.bench(&sample, &BenchOptions { profile: args.profile, ..args.length.get() })?;
    drop(progress);
    if context.format == Format::Text {
        let info = device.info();
        println!(
            "{}: {} {}, {}, {} thread(s)",
            args.package.display(),
            info.name,
            info.arch,
            bench.isa,
            bench.threads
        );
        println!("{}", text(&bench));
        if let Some(profile) = &bench.profile {
            println!("\n{profile}\n");
        }
    }
    println!("{}", serde_json::to_string(&bench)?);
    Ok(Outcome::Done)
}

fn text(bench: &Bench) -> String {
    let memory = format!("arena {} bytes", bench.arena_bytes);
    let Some(p50) = bench.latency.p50_us else {
        return format!("emulated: time under QEMU is not time, and is not shown; {memory}");
    };
    let us = |time: Option<f64>| format!("{:.1} µs", time.unwrap_or_default());
    format!(
        "p50 {p50:.1} µs, p90 {}, p99 {}, min {} over {} runs; {:.1} runs/s; load {:.2} ms, first run {:.2} ms; {memory}",
        us(bench.latency.p90_us),
        us(bench.latency.p99_us),
        us(bench.latency.min_us),
        bench.latency.runs,
        bench.latency.throughput_per_s.unwrap_or_default(),
        bench.load_ms.unwrap_or_default(),
        bench.first_ms.unwrap_or_default(),
    )
}
