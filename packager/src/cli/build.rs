//! `edgepack build`.

use std::path::PathBuf;

use edgepack_targets::build::{self, Linkage, Product, Request, Tool};
use edgepack_targets::{Board, LibcFamily};

use super::options::{Format, human_bytes};
use super::{Context, Outcome};

/// Build the agent for a board, stripped, and static where the tool can: such a one runs on any Linux of its
/// architecture. Or, with --lib, the C library.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  edgepack build --target rpi4\n  \
                        edgepack build --target rpi4 --with zigbuild --libc musl\n  \
                        edgepack build --target rpi4 --lib --output edgepack-rpi4\n  \
                        edgepack build --target mps2-an386    (a microcontroller that QEMU emulates)\n\n\
                        Run it in a clone of edgepack. What is missing is said, with the command that installs it; \
                        nothing is installed. What is there already stays until what was built is found to be for the \
                        right processor, stripped, and either static or content with the oldest C library that the \
                        board's description has.")]
pub(super) struct Args {
    /// The board: a name of `edgepack targets`, or a .toml
    #[arg(long, value_name = "BOARD")]
    target: String,
    /// The C library instead: shared and static, with headers and pkg-config's file, in one folder that may be moved
    #[arg(long)]
    lib: bool,
    /// With what: cargo and a linker of the system; cargo-zigbuild, which links to the oldest glibc of the board, or
    /// to musl; cross (a container has all that is needed); or the first of them that is all there
    #[arg(long, value_name = "TOOL", value_enum, default_value_t = With::Auto)]
    with: With,
    /// Whose C library, where not the board's: with musl, zigbuild makes a static agent, for Android as well
    #[arg(long, value_name = "LIBC", value_enum)]
    libc: Option<Libc>,
    /// The folder for the agent, or that the library becomes [default: where the other commands look for a static
    /// agent, target/boards/BOARD for all else]
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
    Zigbuild,
    Cross,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Libc {
    Glibc,
    Musl,
    Bionic,
}

pub(super) fn run(args: &Args, context: Context) -> anyhow::Result<Outcome> {
    let board = Board::find(&args.target)?;
    let request = Request {
        board: &board,
        product: if args.lib { Product::Library } else { Product::Agent },
        folder: &args.workspace,
        tool: match args.with {
            With::Auto => None,
            With::Cargo => Some(Tool::Cargo),
            With::Zigbuild => Some(Tool::Zigbuild),
            With::Cross => Some(Tool::Cross),
        },
        libc: args.libc.map(|libc| match libc {
            Libc::Glibc => LibcFamily::Glibc,
            Libc::Musl => LibcFamily::Musl,
            Libc::Bionic => LibcFamily::Bionic,
        }),
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
        _ => {
            let (path, bytes) = (built.path.display(), human_bytes(built.bytes));
            let (linkage, tool, triple) = (built.linkage, built.tool.name(), built.triple);
            match built.product {
                Product::Agent => {
                    println!(
                        "{path}: {bytes} for {} ({triple}), stripped and {linkage}, built with {tool}",
                        board.name
                    );
                    // Other commands look for static ones only.
                    if built.linkage != Linkage::Static {
                        println!("other commands take it by: export {}={path}", board.agent_variable());
                    }
                }
                Product::Library => println!(
                    "{path}: the C library for {} ({triple}), {linkage}, built with {tool}; the shared one has {bytes}\n\
                     compile with: PKG_CONFIG_PATH={path}/lib/pkgconfig pkg-config --cflags --libs edgepack",
                    board.name
                ),
            }
        }
    }
    Ok(Outcome::Done)
}
