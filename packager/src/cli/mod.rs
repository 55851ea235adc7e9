//! The `edgepack` command.

mod bench;
mod build;
mod check;
mod compare;
mod demo;
mod deploy;
mod doctor;
mod inspect;
mod kernels;
mod new_firmware;
mod nodes;
mod options;
mod pack;
mod progress;
mod prune;
mod report;
mod run;
mod selftest;
mod signal;
mod targets;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use options::Format;

/// Quantizes ONNX models to INT8 packages, runs them, and holds them against their FP32 baseline.
#[derive(Parser)]
#[command(name = "edgepack", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 a comparison or check failed, 2 usage or internal error.\n\
                        Start with: edgepack demo")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Show no progress
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Tell what is the matter with an ONNX model, and what would run in int8, before it is packed
    Check(check::Args),
    /// Quantize an ONNX model into a package
    Pack(Box<pack::Args>),
    /// Show what is in a package: steps, kernels, arena, sizes, hashes, provenance
    Inspect(inspect::Args),
    /// Run a package on samples
    Run(run::Args),
    /// Compare a package with the FP32 model on a data set
    Compare(compare::Args),
    /// Measure the latency of a package
    Bench(bench::Args),
    /// Run the golden inputs of a package and compare the hashes of its outputs
    Selftest(selftest::Args),
    /// Examine a device: what it is, and whether a package would run there
    Doctor(doctor::Args),
    /// Put a package onto a device, in one step or not at all
    Deploy(deploy::Args),
    /// List the kernels, and which of them a board or this machine uses
    Kernels(kernels::Args),
    /// List the front-ends that `pack --signal` knows, or show one, to make one's own of it
    Signal(signal::Args),
    /// List the boards
    Targets(targets::Args),
    /// Build the agent, or the C library, for a board
    Build(build::Args),
    /// Make a cargo project around a package, for a microcontroller: it builds and runs as it is
    NewFirmware(new_firmware::Args),
    /// Walk the whole road on the bundled model: check, pack, inspect, self-test, run, compare
    Demo(demo::Args),
}

/// What a command came to.
enum Outcome {
    Done,
    /// A comparison or check failed.
    Failed,
}

/// What every command is told beside its own arguments.
#[derive(Clone, Copy)]
struct Context {
    format: Format,
    quiet: bool,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let context = Context { format: cli.format, quiet: cli.quiet };
    if cli.format == Format::Markdown && !matches!(cli.command, Command::Bench(_) | Command::Compare(_)) {
        eprintln!("error: --format markdown: bench and compare have it; give text or json");
        return ExitCode::from(2);
    }
    match execute(cli.command, context) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn execute(command: Command, context: Context) -> anyhow::Result<Outcome> {
    match command {
        Command::Check(args) => check::run(&args, context),
        Command::Pack(args) => pack::run(&args, context),
        Command::Inspect(args) => inspect::run(&args, context),
        Command::Run(args) => run::run(&args, context),
        Command::Compare(args) => compare::run(&args, context),
        Command::Bench(args) => bench::run(&args, context),
        Command::Selftest(args) => selftest::run(&args, context),
        Command::Doctor(args) => doctor::run(&args, context),
        Command::Deploy(args) => deploy::run(&args, context),
        Command::Kernels(args) => kernels::run(&args, context),
        Command::Signal(args) => signal::run(&args, context),
        Command::Targets(args) => targets::run(&args, context),
        Command::Build(args) => build::run(&args, context),
        Command::NewFirmware(args) => new_firmware::run(&args, context),
        Command::Demo(args) => demo::run(&args, context),
    }
}
