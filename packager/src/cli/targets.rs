//! `edgepack targets`.

use edgepack_targets::Board;

use super::options::{Format, table};
use super::{Context, Outcome};

/// List the boards.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  edgepack targets --format json\n\n\
                        A board of your own is a .toml like those in targets/boards; give its path for the name.")]
pub(super) struct Args {}

pub(super) fn run(_: &Args, context: Context) -> anyhow::Result<Outcome> {
    let boards = Board::all();
    if context.format == Format::Json {
        println!("{}", serde_json::to_string(&boards)?);
        return Ok(Outcome::Done);
    }
    let mut table =
        table(&["board", "what it is", "processor", "instruction sets", "target triple", "emulated by"]);
    for board in &boards {
        let emulated = board.qemu.as_ref().map(|qemu| format!("{} -cpu {}", qemu.program, qemu.cpu));
        table.add_row([
            &board.name,
            &board.description,
            &format!("{} × {}", board.cores, board.cpu),
            &board.isa,
            &board.triple,
            &emulated.unwrap_or_default(),
        ]);
    }
    println!("{table}");
    Ok(Outcome::Done)
}
