//! `edgepack targets`.

use edgepack_targets::{Board, Region, System};

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
    /// That of a microcontroller: flash and RAM, and no operating system
    #[arg(long, requires = "new")]
    microcontroller: bool,
}

pub(super) fn run(args: &Args, context: Context) -> anyhow::Result<Outcome> {
    if let Some(name) = &args.new {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            anyhow::bail!("--new {name}: give a name of letters, digits, `-`, `_` and `.`, such as my-board");
        }
        let toml = match args.microcontroller {
            true => Board::microcontroller_template(name),
            false => Board::template(name),
        };
        match context.format {
            Format::Json => println!("{}", serde_json::json!({ "name": name, "toml": toml })),
            _ => print!("{toml}"),
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
    let mut table = table(&[
        "board",
        "what it is",
        "processor",
        "memory",
        "instruction sets",
        "target triple",
        "emulated by",
    ]);
    for board in &boards {
        table.add_row([
            &board.name,
            &board.description,
            &processor(board),
            &memory(board),
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
    let cores = board.linux().map(|linux| format!("{} × ", linux.cores)).unwrap_or_default();
    format!("{cores}{}{clock}", board.cpu)
}

fn memory(board: &Board) -> String {
    match &board.system {
        System::Linux(linux) => format!("{} MiB", linux.ram_mib),
        System::Microcontroller(own) => format!("{} KiB of flash, {} of RAM", own.flash.kib, own.ram.kib),
    }
}

fn emulated(board: &Board) -> Option<String> {
    match &board.system {
        System::Linux(linux) => linux.qemu.as_ref().map(|qemu| format!("{} -cpu {}", qemu.program, qemu.cpu)),
        System::Microcontroller(own) => own.qemu.as_ref().map(|qemu| {
            let args: String = qemu.args.iter().map(|arg| format!(" {arg}")).collect();
            format!("{} -M {} -cpu {}{args}", qemu.program, qemu.machine, qemu.cpu)
        }),
    }
}

/// Everything that is known of a board.
fn print(board: &Board) {
    let mut rows = vec![("processor", Some(processor(board))), ("instruction sets", Some(board.isa.clone()))];
    match &board.system {
        System::Linux(linux) => {
            let caches = [("L1d", linux.l1d_kib), ("L2", linux.l2_kib), ("L3", linux.l3_kib)];
            let caches: Vec<_> =
                caches.iter().filter_map(|(name, kib)| kib.map(|kib| format!("{name} {kib} KiB"))).collect();
            let oldest = linux.libc.oldest.as_ref().map(|version| format!(" {version} or later"));
            rows.extend([
                ("caches", Some(caches.join(", "))),
                (
                    "memory",
                    Some(format!("{} MiB, {} of them for a package", linux.ram_mib, linux.ram_budget_mib)),
                ),
                ("C library", Some(format!("{}{}", linux.libc.family.name(), oldest.unwrap_or_default()))),
                ("cross image", linux.cross_image.clone()),
            ]);
        }
        System::Microcontroller(own) => {
            let region = |region: Region, package: u32, what: &str| {
                format!(
                    "{} KiB from {:#010x} on, {} of them {what}",
                    region.kib,
                    region.origin,
                    package / 1024
                )
            };
            rows.extend([
                ("flash", Some(region(own.flash, own.package_bytes(), "for a package"))),
                ("RAM", Some(region(own.ram, own.arena_bytes(), "for its arena"))),
                ("probe-rs calls it", own.probe_rs.clone()),
            ]);
        }
    }
    rows.extend([
        ("target triple", Some(board.triple.clone())),
        ("emulated by", emulated(board)),
        ("sources", Some(board.sources.join("; "))),
    ]);
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
    if let Some(memory) = board.memory_x() {
        println!("\nmemory.x, for the linker:\n{memory}");
    }
}
