//! `edgepack kernels`.

use edgepack_kernels::conv;
use edgepack_kernels::float;
use edgepack_kernels::int16;
use edgepack_kernels::isa::IsaSet;
use edgepack_kernels::recurrent;
use edgepack_kernels::variants;
use edgepack_targets::Board;
use serde::Serialize;

use super::options::{Format, table};
use super::{Context, Outcome};

/// List the kernels, and which of them a board or this machine uses.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  edgepack kernels --target rpi5")]
pub(super) struct Args {
    /// Board whose choice is marked (this machine's where it is left out)
    #[arg(long, value_name = "BOARD")]
    target: Option<String>,
}

#[derive(Serialize)]
struct KernelLine {
    name: &'static str,
    isa: String,
    layout: Option<&'static str>,
    compiled: bool,
    /// Whether the board's processor can run it.
    runs: bool,
    /// Whether it is the first choice of its kind there.
    chosen: bool,
}

/// The instruction sets of a board.
pub(super) fn board_isa(board: &Board) -> anyhow::Result<IsaSet> {
    IsaSet::parse(&board.isa).map_err(|word| {
        let known: Vec<_> = IsaSet::names().collect();
        anyhow::anyhow!("board {}: isa: `{word}` is none of {}", board.name, known.join(", "))
    })
}

pub(super) fn run(args: &Args, context: Context) -> anyhow::Result<Outcome> {
    let (place, isa) = match &args.target {
        Some(name) => {
            let board = Board::find(name)?;
            (name.clone(), board_isa(&board)?)
        }
        None => ("this machine".into(), edgepack_engine::isa::detect()?.set()),
    };
    let mut kinds_taken = [false; 2];
    let lines: Vec<KernelLine> = conv::rows()
        .map(|row| {
            let runs = isa.contains(row.isa);
            let taken = &mut kinds_taken[row.depthwise as usize];
            let chosen = runs && !std::mem::replace(taken, *taken || runs);
            KernelLine {
                name: row.name,
                isa: row.isa.to_string(),
                layout: row.layout.map(|layout| layout.key),
                compiled: row.is_compiled(),
                runs,
                chosen,
            }
        })
        .chain(conv::matmul::rows().iter().map(|row| KernelLine {
            name: row.name,
            isa: row.isa.to_string(),
            layout: None,
            compiled: row.is_compiled(),
            runs: isa.contains(row.isa),
            chosen: std::ptr::eq(row, conv::matmul::select(isa)),
        }))
        .chain(variants::variants().iter().flat_map(|variant| {
            variant.names().map(|name| KernelLine {
                name,
                isa: variant.isa.to_string(),
                layout: None,
                compiled: variant.is_compiled(),
                runs: isa.contains(variant.isa),
                chosen: std::ptr::eq(variant, variants::select(isa)),
            })
        }))
        .chain(recurrent::variants().iter().flat_map(|variant| {
            [variant.lstm, variant.gru].map(|name| KernelLine {
                name,
                isa: variant.isa.to_string(),
                layout: None,
                compiled: variant.is_compiled(),
                runs: isa.contains(variant.isa),
                chosen: std::ptr::eq(variant, recurrent::select(isa)),
            })
        }))
        .chain(float::variants().iter().flat_map(|variant| {
            variant.names().map(|name| KernelLine {
                name,
                isa: variant.isa.to_string(),
                layout: None,
                compiled: variant.is_compiled(),
                runs: isa.contains(variant.isa),
                chosen: std::ptr::eq(variant, float::select(isa)),
            })
        }))
        .chain(int16::variants().iter().flat_map(|variant| {
            [variant.conv, variant.depthwise].map(|name| KernelLine {
                name,
                isa: variant.isa.to_string(),
                layout: None,
                compiled: variant.is_compiled(),
                runs: isa.contains(variant.isa),
                chosen: std::ptr::eq(variant, int16::select(isa)),
            })
        }))
        .collect();
    match context.format {
        Format::Json => println!("{}", serde_json::to_string(&lines)?),
        _ => {
            println!("{place}: {isa}");
            let mut table = table(&["kernel", "needs", "layout", "in this build", "on it"]);
            for line in &lines {
                let use_ = if line.chosen {
                    "chosen"
                } else if line.runs {
                    "runs"
                } else {
                    ""
                };
                table.add_row([
                    line.name,
                    &line.isa,
                    line.layout.unwrap_or_default(),
                    if line.compiled { "yes" } else { "" },
                    use_,
                ]);
            }
            println!("{table}");
        }
    }
    Ok(Outcome::Done)
}
