//! `edgepack build`.

use std::path::PathBuf;

use edgepack_targets::Board;
use edgepack_targets::build::{self, Request, Tool};

use super::options::{Format, human_bytes};
use super::{Context, Outcome};

/// Build the agent for a board: static and stripped, so that it runs on any Linux of its architecture.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  edgepack build --target rpi4\n\n\
                        Run it in a clone of edgepack. What is missing is said, with the command that installs it; \
                        nothing is installed. What is there already stays until the new agent is found to be static, \
                        stripped and for the right processor.")]
pub(super) struct Args {
    /// The board: a name of `edgepack targets`, or a .toml
    #[arg(long, value_name = "BOARD")]
    target: String,
    /// With what: cargo and a linker of the system, cross (a container has all that is needed), or the first of them
    /// that is all there
    #[arg(long, value_name = "TOOL", value_enum, default_value_t = With::Auto)]
    with: With,
    /// The folder for the agent [default: where the other commands look for it, in target/ of the clone]
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// The clone of edgepack
    #[arg(long, value_name = "DIR", default_value = ".")]
    workspace: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum With {
    Auto,
    Cargo,
    Cross,
}

pub(super) fn run(args: &Args, context: Context) -> anyhow::Result<Outcome> {
    let board = Board::find(&args.target)?;
    let request = Request {
        board: &board,
        folder: &args.workspace,
        tool: match args.with {
            With::Auto => None,
            With::Cargo => Some(Tool::Cargo),
            With::Cross => Some(Tool::Cross),
        },
        output: args.output.as_deref(),
    };
    // Errors of the compiler are part of the reason why it failed; that it compiles is not.
    let mut said = Vec::new();
    let built = build::build(&request, &mut |line| {
        if context.quiet {
            said.push(line.to_string());
        } else {
            eprintln!("{line}");
        }
    });
    if let (Err(build::Error::Failed { .. }), true) = (&built, context.quiet) {
        eprintln!("{}", said.join("\n"));
    }
    let built = built?;
    match context.format {
        Format::Json => println!("{}", serde_json::to_string(&built)?),
        Format::Text => println!(
            "{}: {} for {} ({}), static and stripped, built with {}",
            built.path.display(),
            human_bytes(built.bytes),
            board.name,
            built.triple,
            built.tool.name()
        ),
    }
    Ok(Outcome::Done)
}
