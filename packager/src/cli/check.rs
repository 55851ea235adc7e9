//! `edgepack check`.

use std::path::PathBuf;

use edgepack_packager::check::{Finding, Report, Severity, check};
use serde::Serialize;

use super::nodes::{self, ProcessorArgs, RequireArgs};
use super::options::{Format, human_bytes, parse_fix, parse_shape, short};
use super::{Context, Outcome};

/// Tell what is the matter with an ONNX model, and what would run in int8, before it is packed.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  edgepack check mobilenet.onnx --shape input=1,3,224,224 --require-int8 95\n\n\
                  Exit code 1 where an error is found, or the share of --require-int8 is not reached; 2 where the \
                  file is no ONNX model."
)]
pub(super) struct Args {
    /// The ONNX model
    model: PathBuf,
    /// Shape of an input whose dimensions the model leaves open; may be repeated
    #[arg(long, value_name = "NAME=1,3,224,224", value_parser = parse_shape)]
    shape: Vec<(String, Vec<usize>)>,
    /// Bind an input to one value: the package has it no more (`sr=16000` of a model that asks for its sampling
    /// rate); may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_fix)]
    fix: Vec<(String, f64)>,
    /// Leave out the table of nodes
    #[arg(long)]
    no_nodes: bool,
    #[command(flatten)]
    processor: ProcessorArgs,
    #[command(flatten)]
    require: RequireArgs,
}

#[derive(Serialize)]
struct JsonReport<'a> {
    kernels_of: &'a str,
    isa: String,
    errors: usize,
    warnings: usize,
    notes: usize,
    #[serde(flatten)]
    report: &'a Report,
}

pub(super) fn run(args: &Args, context: Context) -> anyhow::Result<Outcome> {
    let (processor, isa) = args.processor.get(None)?;
    let report = check(&args.model, &args.shape, &args.fix, isa)?;
    let [errors, warnings, notes] =
        [Severity::Error, Severity::Warning, Severity::Note].map(|severity| report.count(severity));
    match context.format {
        Format::Json => {
            let (kernels_of, isa, report) = (processor.as_str(), isa.to_string(), &report);
            let json = JsonReport { kernels_of, isa, errors, warnings, notes, report };
            println!("{}", serde_json::to_string(&json)?);
        }
        _ => {
            print(args, &report, &processor);
            println!("{}, {}, {}", count(errors, "error"), count(warnings, "warning"), count(notes, "note"));
        }
    }
    let required = match &report.outlook {
        Some(outlook) => args.require.outcome(outlook.truth.int8_macs_percent),
        // Nothing of it runs in int8.
        None => args.require.outcome(0.0),
    };
    Ok(if errors > 0 { Outcome::Failed } else { required })
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn print(args: &Args, report: &Report, processor: &str) {
    let by = if report.producer.is_empty() { "an unknown exporter" } else { &report.producer };
    println!("{}: {} nodes, opset {}, by {by}", args.model.display(), report.nodes, report.opset);
    match &report.outlook {
        Some(outlook) => {
            println!(
                "{} of {:.2} M multiply-adds would be int8, in {} steps; constants of {}, an arena of {} or less",
                nodes::percent(outlook.truth.int8_macs_percent),
                outlook.truth.macs as f64 / 1e6,
                outlook.steps,
                human_bytes(outlook.constant_bytes as u64),
                human_bytes(outlook.arena_bytes.into()),
            );
            let shapes: Vec<String> =
                outlook.shapes.iter().map(|(name, dims)| format!("{name} {dims:?}")).collect();
            println!("inputs {}\n", shapes.join(", "));
            if !args.no_nodes {
                nodes::print(&outlook.truth, processor);
                println!();
            }
        }
        None => {
            println!("it cannot be packaged as it is; what its nodes would become is known when it can\n")
        }
    }
    for finding in &report.findings {
        print_finding(finding);
    }
}

fn print_finding(finding: &Finding) {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let names: Vec<&str> = finding.names.iter().map(String::as_str).collect();
    let place = match (names.len(), &finding.op) {
        (0, _) => finding.kind.to_string(),
        (1, Some(op)) => format!("{} `{}` ({op})", finding.kind, short(names[0], 80)),
        (1, None) => format!("{} `{}`", finding.kind, short(names[0], 80)),
        (all, Some(op)) => format!("{all} {}s ({op}) {}", finding.kind, nodes::listed(&names)),
        (all, None) => format!("{all} {}s {}", finding.kind, nodes::listed(&names)),
    };
    println!("{severity}[{}]: {place}: {}", finding.rule, finding.message);
    if !finding.remedy.is_empty() {
        println!("    help: {}", finding.remedy);
    }
}
