//! `edgepack compare`.

use std::path::PathBuf;

use anyhow::Context as _;
use edgepack_engine::Model;
use edgepack_engine::kernels::isa::IsaSet;
use edgepack_harness::device::{self, Device, Local};
use edgepack_harness::report::{comparison_html, comparison_markdown};
use edgepack_harness::{CompareOptions, Comparison, DataSet, Latency, PackageFacts, baseline};
use edgepack_packager::emit::provenance;
use edgepack_packager::import::bound_copy;

use super::bench::LengthArgs;
use super::options::{Format, parse_fix, table};
use super::progress::Shown;
use super::report::ReportArgs;
use super::{Context, Outcome};

/// Compare a package with the FP32 model on a data set.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  edgepack compare mobilenet.epk --baseline mobilenet.onnx --data labelled-images/ \\\n      \
                  --min-agreement 0.97 --report mobilenet.html\n\n\
                  Exit code 1 where bytes differ from the host's, or a --min-... is not reached.\n\
                  The baseline is ONNX Runtime (ORT_DYLIB_PATH, or an installed Python wheel), else tract."
)]
pub(super) struct Args {
    /// The package
    package: PathBuf,
    /// The ONNX model that it was made of
    #[arg(long, value_name = "MODEL.onnx")]
    baseline: PathBuf,
    /// An input that the package was bound by, as for `pack --fix`; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_fix)]
    fix: Vec<(String, f64)>,
    /// Samples, as for `pack --calibration`; with labels, top-1 and top-5 are counted
    #[arg(long, value_name = "DATA")]
    data: PathBuf,
    /// Where the package runs: local, qemu:BOARD, ssh://user@host:port or adb:SERIAL
    #[arg(long, value_name = "DEVICE", default_value = "local")]
    device: String,
    /// Use at most so many samples
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Fail if the device agrees with the baseline on less than this share of the samples
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    min_agreement: Option<f64>,
    /// Fail if the ratio of signal to quantization noise is below this
    #[arg(long, value_name = "DB", allow_negative_numbers = true)]
    min_sqnr: Option<f64>,
    /// Measure no latency
    #[arg(long)]
    no_latency: bool,
    #[command(flatten)]
    length: LengthArgs,
    #[command(flatten)]
    report: ReportArgs,
}

/// On a local device, the scalar kernels are the reference; they are slow.
const LOCAL_IDENTICAL_SAMPLES: usize = 4;

/// Samples that are told of with their values.
const WORST: usize = 8;

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("give a share, 0 to 1".into()),
    }
}

pub(super) fn run(args: &Args, context: Context) -> anyhow::Result<Outcome> {
    args.report.check()?;
    let model = Model::open(&args.package)?;
    let facts = PackageFacts::of(&model.package(), &args.package)?;
    let preprocessing = facts.of_files();
    let data = DataSet::open_all(&args.data, &facts.inputs(), &preprocessing, args.limit)?;
    let bound = if args.fix.is_empty() { None } else { Some(bound_copy(&args.baseline, &args.fix)?) };
    let fp32 = bound.as_ref().map_or(args.baseline.as_path(), |copy| copy.path());
    let mut baseline = baseline::open(fp32, &facts.inputs(), 1)?;
    let mut device = device::open(&args.device, &args.package, 1)?;
    // What the device's bytes must be: those of this machine's kernels, and theirs must be those of
    // the scalar ones.
    let local = args.device == "local";
    let mut reference = Local::open(&args.package, 1, local.then_some(IsaSet::SCALAR))?;
    let options = CompareOptions {
        bench: (!args.no_latency).then(|| args.length.get()),
        identical_samples: local.then_some(LOCAL_IDENTICAL_SAMPLES),
        worst: WORST,
    };
    let mut comparison = edgepack_harness::compare(
        &mut *baseline,
        &mut *device,
        Some(&mut reference as &mut dyn Device),
        &data,
        &options,
        &mut Shown::new(context),
    )
    .with_context(|| format!("comparing {}", args.package.display()))?;
    comparison.calibration_random = provenance(&model.package()).is_some_and(|it| it.calibration_random);
    args.report.write(&args.package, |nodes| comparison_html(&args.package, &comparison, nodes))?;
    match context.format {
        Format::Json => {
            println!("{}", serde_json::to_string(&comparison)?);
        }
        Format::Text => print(args, &comparison, local),
        Format::Markdown => print!("{}", comparison_markdown(&args.package, &comparison)),
    }
    let failures = failures(args, &comparison);
    for failure in &failures {
        eprintln!("failed: {failure}");
    }
    Ok(if failures.is_empty() { Outcome::Done } else { Outcome::Failed })
}

fn failures(args: &Args, comparison: &Comparison) -> Vec<String> {
    let mut failures = Vec::new();
    if let Some(sample) = &comparison.first_difference {
        failures.push(format!("the bytes differ from the host's, first on sample {sample}"));
    }
    if let Some(wanted) = args.min_agreement {
        match comparison.accuracy.top1_agreement {
            Some(agreement) if agreement >= wanted => {}
            Some(agreement) => failures.push(format!("top-1 agreement {agreement:.4} < {wanted}")),
            None => failures.push("outputs of one value have no top-1 agreement".into()),
        }
    }
    // No noise at all has no finite ratio, and is no failure.
    let exact = comparison.accuracy.max_abs_error == Some(0.0);
    if let Some(wanted) = args.min_sqnr.filter(|_| !exact) {
        match comparison.accuracy.sqnr_db {
            Some(sqnr) if sqnr >= wanted => {}
            Some(sqnr) => failures.push(format!("SQNR {sqnr:.2} dB < {wanted} dB")),
            None => failures.push("the outputs have no SQNR: they are zero or not finite".into()),
        }
    }
    failures
}

fn print(args: &Args, comparison: &Comparison, local: bool) {
    let accuracy = &comparison.accuracy;
    println!("{} on {} samples of {}", args.package.display(), accuracy.samples, args.data.display());
    println!("baseline: {} ({})", comparison.baseline.engine, comparison.baseline.why);
    let info = &comparison.device.info;
    println!(
        "device:   {} {}, {}{}",
        info.name,
        info.arch,
        info.isa,
        if info.emulated { ", emulated" } else { "" }
    );
    if comparison.calibration_random {
        println!("CALIBRATED WITH RANDOM NUMBERS: good for latency only, the accuracy below means nothing");
    }
    let mut table = table(&["", "FP32 baseline", "INT8 device"]);
    let share = |value: Option<f64>| value.map_or("-".into(), |value| format!("{:.2} %", 100.0 * value));
    if accuracy.top1_baseline.is_some() {
        table.add_row(["top-1", &share(accuracy.top1_baseline), &share(accuracy.top1_device)]);
    }
    if accuracy.top5_baseline.is_some() {
        table.add_row(["top-5", &share(accuracy.top5_baseline), &share(accuracy.top5_device)]);
    }
    type Time = fn(&Latency) -> Option<f64>;
    let times: [(&str, Time); 4] = [
        ("p50", |latency| latency.p50_us),
        ("p90", |latency| latency.p90_us),
        ("p99", |latency| latency.p99_us),
        ("min", |latency| latency.min_us),
    ];
    let (fp32, int8) = (&comparison.baseline.latency, &comparison.device.latency);
    if fp32.runs > 0 {
        let none = if info.emulated { "- (emulated)" } else { "-" };
        let us = |value: Option<f64>| value.map_or(none.into(), |value| format!("{value:.1} µs"));
        for (name, time) in times {
            table.add_row([name, &us(time(fp32)), &us(time(int8))]);
        }
        let per_second = |value: Option<f64>| value.map_or(none.into(), |value| format!("{value:.0} runs/s"));
        table.add_row(["throughput", &per_second(fp32.throughput_per_s), &per_second(int8.throughput_per_s)]);
    }
    println!("{table}");
    let number =
        |value: Option<f64>, digits: usize| value.map_or("-".into(), |value| format!("{value:.digits$}"));
    println!(
        "top-1 agreement {}, SQNR {} dB, cosine {}, max abs error {}",
        share(accuracy.top1_agreement),
        number(accuracy.sqnr_db, 2),
        number(accuracy.cosine, 5),
        number(accuracy.max_abs_error, 4)
    );
    let reference = if local { "the scalar kernels" } else { "this machine" };
    if let Some(identical) = comparison.bit_identical_to_host {
        let verdict = if identical { "the same bytes as" } else { "NOT the bytes of" };
        println!("{verdict} {reference} on {} samples", comparison.bit_identical_samples);
    }
}
