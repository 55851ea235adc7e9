//! `edgepack targets`.

use edgepack_targets::Board;

use super::kernels::board_isa;
use super::options::{Format, table};
use super::{Context, Outcome};

/// List the boards, show one, or start a description of your own.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  edgepack targets rpi4\n  edgepack targets --new my-board > my-board.toml\n\n\
                        A board of your own is a .toml like those in targets/boards; give its path for the name."
)]
pub(super) struct Args {
    /// The board to show, or the path of a .toml that describes yours: it is checked [default: all, in a table]
    board: Option<String>,
    /// Print a description to start from, with what each field means
    #[arg(long, value_name = "NAME", conflicts_with = "board")]
    new: Option<String>,
}

pub(super) fn run(args: &Args, context: Context) -> anyhow::Result<Outcome> {
    if let Some(name) = &args.new {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            anyhow::bail!("--new {name}: give a name of letters, digits, `-`, `_` and `.`, such as my-board");
        }
        match context.format {
            Format::Json => {
                println!("{}", serde_json::json!({ "name": name, "toml": Board::template(name) }))
            }
            _ => print!("{}", Board::template(name)),
        }
        return Ok(Outcome::Done);
    }
    if let Some(name) = &args.board {
        let board = Board::find(name)?;
        board_isa(&board)?;
        match context.format {
            Format::Json => println!("{}", serde_json::to_string(&board)?),
            _ => print(&board),
        }
        return Ok(Outcome::Done);
    }
    let boards = Board::all();
    if context.format == Format::Json {
        println!("{}", serde_json::to_string(&boards)?);
        return Ok(Outcome::Done);
    }
    let mut table =
        table(&["board", "what it is", "processor", "instruction sets", "target triple", "emulated by"]);
    for board in &boards {
        table.add_row([
            &board.name,
            &board.description,
            &processor(board),
            &board.isa,
            &board.triple,
            &emulated(board).unwrap_or_default(),
        ]);
    }
    println!("{table}");
    Ok(Outcome::Done)
}

fn processor(board: &Board) -> String {
    let clock = board.clock_mhz.map(|mhz| format!(", {mhz} MHz")).unwrap_or_default();
    format!("{} × {}{clock}", board.cores, board.cpu)
}

fn emulated(board: &Board) -> Option<String> {
    board.qemu.as_ref().map(|qemu| format!("{} -cpu {}", qemu.program, qemu.cpu))
}

/// Everything that is known of a board.
fn print(board: &Board) {
    let caches = [("L1d", board.l1d_kib), ("L2", board.l2_kib), ("L3", board.l3_kib)];
    let caches: Vec<_> =
        caches.iter().filter_map(|(name, kib)| kib.map(|kib| format!("{name} {kib} KiB"))).collect();
    let oldest = board.libc.oldest.as_ref().map(|version| format!(" {version} or later"));
    let libc = format!("{}{}", board.libc.family.name(), oldest.unwrap_or_default());
    let memory = format!("{} MiB, {} of them for a package", board.ram_mib, board.ram_budget_mib);
    let rows = [
        ("processor", Some(processor(board))),
        ("instruction sets", Some(board.isa.clone())),
        ("caches", Some(caches.join(", "))),
        ("memory", Some(memory)),
        ("C library", Some(libc)),
        ("target triple", Some(board.triple.clone())),
        ("cross image", board.cross_image.clone()),
        ("emulated by", emulated(board)),
        ("sources", Some(board.sources.join("; "))),
    ];
    let mut table = table(&[&board.name, &board.description]);
    for (name, value) in rows {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            table.add_row([name, &value]);
        }
    }
    println!("{table}");
    if !board.notes.is_empty() {
        println!("{}", board.notes);
    }
}
