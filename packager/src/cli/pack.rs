//! `edgepack pack`.

use std::path::{Path, PathBuf};

use edgepack_harness::device::PackageNeeds;
use edgepack_kernels::conv;
use edgepack_packager::calibrate::Observer;
use edgepack_packager::emit::Extra;
use edgepack_packager::error::PackError;
use edgepack_packager::graph::{Io, Precision};
use edgepack_packager::import::nodes;
use edgepack_packager::islands::Islands;
use edgepack_packager::limits::{Limit, Limits};
use edgepack_packager::mixed::{Budget, MixedReport, Quality};
use edgepack_packager::pack::{
    ArrivedReport, CalibrationSource, L2_KIB, PackOptions, PackReport, Target, pack,
};
use edgepack_packager::precision::PrecisionOptions;
use edgepack_packager::quantize::{Method, Methods};
use edgepack_targets::{Board, Linux, Region, System};

use super::nodes::{RequireArgs, percent};
use super::options::{
    Format, PreprocessingArgs, human_bytes, parse_bytes, parse_fix, parse_shape, short, table,
};
use super::progress::Shown;
use super::prune::{PruneArgs, print_pruned, print_sparse};
use super::{Context, Outcome};

/// Outputs with less than this are hardly those of the model.
const POOR_DB: f32 = 10.0;

/// Quantize an ONNX model into a package.
#[derive(clap::Args, Debug)]
#[command(after_help = help())]
pub(super) struct Args {
    /// The ONNX model
    model: PathBuf,
    /// The package to write
    #[arg(long, short, value_name = "OUT.epk")]
    output: PathBuf,
    /// Samples: a folder of images (with --signal, of .wav), a .csv of file,label lines, a .npy, a .npz (x, y), or `random`
    /// (seeded; for work on latency only). Models that arrive quantized need none, unless they leave ranges
    /// open, nor do any where --precision leaves tensors in f32; what is given rounds weights better
    #[arg(long, value_name = "DATA")]
    calibration: Option<String>,
    /// Use at most so many samples, spread evenly over all that there are
    #[arg(long, value_name = "N", default_value_t = 200)]
    calibration_limit: usize,
    /// Seed of `--calibration random`
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// Shape of an input whose dimensions the model leaves open; may be repeated
    #[arg(long, value_name = "NAME=1,3,224,224", value_parser = parse_shape)]
    shape: Vec<(String, Vec<usize>)>,
    /// Bind an input to one value: the package has it no more (`sr=16000` of a model that asks for its sampling
    /// rate); may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_fix)]
    fix: Vec<(String, f64)>,
    /// How the range of a tensor is chosen: auto (what costs the layers that read it least), min-max, mse, entropy,
    /// percentile, percentile=99.9
    #[arg(long, value_name = "NAME", default_value_t)]
    observer: Observer,
    /// Leave out a method that makes up for what quantization costs: equalization, rounding, bias-correction,
    /// compensation; may be repeated
    #[arg(long, value_name = "METHOD")]
    without: Vec<Method>,
    /// What nodes compute with: int8; dynamic (int8 products, of activations that are quantized when they are
    /// there: no calibration is needed, and what feeds on large ranges, as LSTM, GRU and transformers, loses little);
    /// int16 (activations; int8 weights), int16x16 (both); weights-int8, weights-fp16 (f32 with weights of a quarter,
    /// half the size); fp32, the baseline on the device
    #[arg(long, value_name = "TYPE", default_value_t)]
    precision: Precision,
    /// What the application exchanges: f32 (inputs that int8 nodes read take int8 as well), or int8, with scales and zero
    /// points in the package: outputs need a quarter of the memory then, as those of TFLite models whose
    /// inference_output_type is int8. `run` and `compare` show what they stand for
    #[arg(long, value_name = "TYPE", default_value_t)]
    io: Io,
    /// Nodes that stay in f32, by the model's names; separated by commas, may be repeated
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    keep_f32: Vec<String>,
    /// Nodes with int16 activations and weights (with --precision int16 int8 weights), named likewise
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    keep_int16: Vec<String>,
    /// Move the cheapest nodes to int16x16, or f32, until the outputs have so many dB of SQNR against the model in FP32;
    /// exit code 1 if none do
    #[arg(long, value_name = "DB")]
    min_sqnr: Option<f64>,
    /// Move the cheapest nodes to int16x16, or f32, until so many percentage points of accuracy (of agreement with the
    /// model in FP32, if the samples have no labels) are lost at most; exit code 1 if none do
    #[arg(long, value_name = "POINTS")]
    max_drop: Option<f64>,
    /// Samples for --min-sqnr and --max-drop, as for --calibration [default: those of the calibration]
    #[arg(long, value_name = "DATA")]
    validation: Option<PathBuf>,
    /// What becomes of nodes that edgepack has no steps for: `never`, they are refused; `auto`, tract runs them as
    /// islands; `all`, tract runs the whole model in its own types, the baseline on the device. A device needs an
    /// agent built with `--features tract` for islands, which allocate and are not the same bits everywhere
    #[arg(long, value_name = "WHEN", default_value_t)]
    islands: Islands,
    /// Board that the package is for (`edgepack targets`): weights are also stored in the layout of its
    /// kernels, which loads faster and takes as much room again, and kernels of other processors get no memory for
    /// what its own do without. What needs more memory than the board's budget is warned of; more than it has, and
    /// the exit code is 1. A package for a microcontroller has no sample and nothing of single nodes in it, for these
    /// would be in its flash
    #[arg(long, value_name = "BOARD")]
    target: Option<String>,
    /// The most RAM that the arena may take, with --signal beside the front-end, such as 128K or 1M: layers run in
    /// strips of lines, and in another order, until it holds, to the same outputs; exit code 1 if nothing does, and which
    /// nodes need most [default: what a microcontroller's board leaves it]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    max_ram: Option<u32>,
    /// The most flash that the package may take: without what it can do without, as far as needed, and to the same
    /// outputs (in this order: strips for a cache, what became of each node, long names, one of two golden samples,
    /// prepacked weights, all names of steps); exit code 1 if it needs more, and which nodes have most weights [default:
    /// what a microcontroller's board leaves it]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    max_flash: Option<u32>,
    /// Add weights prepacked in this layout (`edgepack kernels` lists them); may be repeated
    #[arg(long, value_name = "LAYOUT")]
    prepack: Vec<String>,
    /// Also write OUT.rs and OUT.h beside the package, for firmware: sizes of package and arena, inputs, outputs, hash,
    /// and (Rust) the set of operations, so that a program has the kernels of this model and no others
    #[arg(long)]
    header: bool,
    /// Second-level cache of a core: layers around a tensor that is larger than half of it run in strips of
    /// lines, and it is never stored. 0 for none [default: the target's, or 512]
    #[arg(long, value_name = "KIB")]
    l2_kib: Option<u32>,
    #[command(flatten)]
    pruning: PruneArgs,
    #[command(flatten)]
    require: RequireArgs,
    #[command(flatten)]
    preprocessing: PreprocessingArgs,
}

fn help() -> String {
    let ops: Vec<&str> = nodes::supported_ops().collect();
    let quantized: Vec<&str> = nodes::quantized_ops().collect();
    format!(
        "Example:\n  edgepack pack mobilenet.onnx -o mobilenet.epk --calibration images/ --shape input=1,3,224,224 \
         \\\n      --resize 256 --crop 224 --mean 123.675,116.28,103.53 --std 58.395,57.12,57.375\n\n\
         \x20 edgepack pack kws.onnx -o kws.epk --calibration recordings/ --signal mlperf-kws\n\n\
         Supported operations: {}\n\nOf models that arrive quantized: {}",
        ops.join(", "),
        quantized.join(", ")
    )
}

pub(super) fn run(args: &Args, context: Context) -> anyhow::Result<Outcome> {
    let mut prepack = args.prepack.clone();
    for key in &prepack {
        if conv::Layout::by_key(key).is_none() {
            anyhow::bail!("--prepack {key}: no kernel has this layout; `edgepack kernels` lists them");
        }
    }
    let board = args.target.as_deref().map(Board::find).transpose()?;
    if let Some(key) = board.as_ref().map(layout_of).transpose()?.flatten()
        && !prepack.iter().any(|given| given == key)
    {
        prepack.push(key.into());
    }
    let target = match &board {
        Some(board) => Some(Target {
            name: board.name.clone(),
            isa: super::kernels::board_isa(board)?,
            is_microcontroller: board.microcontroller().is_some(),
        }),
        None => None,
    };
    let calibration = match args.calibration.as_deref() {
        None => CalibrationSource::None,
        Some("random") => CalibrationSource::Random { seed: args.seed },
        Some(path) => CalibrationSource::Data(path.into()),
    };
    let options = PackOptions {
        model: args.model.clone(),
        output: args.output.clone(),
        shapes: args.shape.clone(),
        fixed: args.fix.clone(),
        calibration,
        calibration_limit: args.calibration_limit,
        preprocessing: args.preprocessing.get()?,
        observer: args.observer,
        methods: Methods { without: args.without.clone() },
        precision: PrecisionOptions {
            base: args.precision,
            io: args.io,
            keep_f32: args.keep_f32.clone(),
            keep_int16: args.keep_int16.clone(),
            budget: Budget { min_sqnr: args.min_sqnr, max_drop: args.max_drop },
            validation: args.validation.clone(),
        },
        pruning: args.pruning.channels(),
        sparsity: args.pruning.weights(),
        islands: args.islands,
        target,
        limits: limits(args, board.as_ref()),
        prepack,
        l2_kib: args.l2_kib.unwrap_or_else(|| board.as_ref().map_or(L2_KIB, cache_of)),
    };
    let mut report = match pack(&options, &mut Shown::new(context)) {
        // The question was whether it can be met: no is an answer.
        Err(error @ (PackError::Budget { .. } | PackError::Limits { .. })) => {
            eprintln!("error: {error}");
            return Ok(Outcome::Failed);
        }
        report => report.map_err(|error| with_hint(error, &args.model))?,
    };
    let room = board.as_ref().map_or(Room::Enough, |board| {
        Room::of(
            board,
            PackageNeeds { file_bytes: report.package_bytes, arena_bytes: report.arena_bytes.into() },
        )
    });
    if let Room::OverBudget(warning) = &room {
        report.warnings.push(warning.clone());
    }
    match context.format {
        Format::Json => println!("{}", serde_json::to_string(&report)?),
        _ => print(&report),
    }
    if args.header {
        super::inspect::write_header(&args.output, context)?;
    }
    if let Room::None(error) = room {
        eprintln!("error: {error}");
        return Ok(Outcome::Failed);
    }
    Ok(args.require.outcome(report.int8_macs_percent))
}

/// What the package may take, as the flags say, else the board of a microcontroller.
fn limits(args: &Args, board: Option<&Board>) -> Limits {
    let of_board = |what: &str, region: Region, bytes: u32| {
        let name = board.map_or("", |board| board.name.as_str());
        let from = format!("{name}, by what it leaves of {} KiB of {what},", region.kib);
        Limit { bytes, from }
    };
    let own = board.and_then(Board::microcontroller);
    let flag = |bytes: Option<u32>, name: &str| bytes.map(|bytes| Limit { bytes, from: name.into() });
    let ram = || own.map(|own| of_board("RAM", own.ram, own.arena_bytes()));
    let flash = || own.map(|own| of_board("flash", own.flash, own.package_bytes()));
    Limits {
        ram: flag(args.max_ram, "--max-ram").or_else(ram),
        flash: flag(args.max_flash, "--max-flash").or_else(flash),
    }
}

/// Whether a board's memory holds a package.
enum Room {
    Enough,
    /// More than packages ought to take there: other programs may not have enough.
    OverBudget(String),
    /// More than there is, whatever else runs there.
    None(String),
}

impl Room {
    fn of(board: &Board, package: PackageNeeds) -> Room {
        match &board.system {
            System::Linux(linux) => Room::of_linux(board, linux, package),
            // Refused already, or what the user has given instead.
            System::Microcontroller(_) => Room::Enough,
        }
    }

    fn of_linux(board: &Board, linux: &Linux, package: PackageNeeds) -> Room {
        let needed = package.memory_bytes();
        let mib = |mib: u32| u64::from(mib) << 20;
        let says = |limit: u32, is: &str| {
            format!(
                "the package needs {} of memory (arena, file, weights in the kernels' layout, 2 MiB for the agent), and \
                 {} {is} {limit} MiB; take a smaller model or input (--shape), fewer channels (--prune-channels), or give the \
                 path of a description with the memory that yours has",
                human_bytes(needed),
                board.name,
            )
        };
        if needed > mib(linux.ram_mib) {
            Room::None(says(linux.ram_mib, "has"))
        } else if needed > mib(linux.ram_budget_mib) {
            Room::OverBudget(says(linux.ram_budget_mib, "leaves a package"))
        } else {
            Room::Enough
        }
    }
}

/// The second-level cache of a board's core, in KiB; a microcontroller has none that a plan could be cut for.
fn cache_of(board: &Board) -> u32 {
    match &board.system {
        System::Linux(linux) => linux.l2_kib.unwrap_or(L2_KIB),
        System::Microcontroller(_) => 0,
    }
}

/// What is wrong with a model is often not all that is.
fn with_hint(error: PackError, model: &Path) -> anyhow::Error {
    let is_of_model = matches!(
        error,
        PackError::Unsupported { .. }
            | PackError::Invalid { .. }
            | PackError::Analysis { .. }
            | PackError::FreeDimension { .. }
            | PackError::ExternalData { .. }
    );
    if is_of_model {
        anyhow::anyhow!("{error}\nhint: edgepack check {} tells of everything at once", model.display())
    } else {
        error.into()
    }
}

/// The layout of the weights of the convolutions that a board chooses.
fn layout_of(board: &Board) -> anyhow::Result<Option<&'static str>> {
    let isa = super::kernels::board_isa(board)?;
    let row = conv::rows().find(|row| !row.depthwise && isa.contains(row.isa));
    Ok(row.and_then(|row| row.layout).map(|layout| layout.key))
}

pub(super) fn print(report: &PackReport) {
    println!(
        "{}: {} ({:.1} % of the model's {}), arena {}, {:.1} M multiply-adds ({} int8), {} steps for {} nodes{}",
        report.package.display(),
        human_bytes(report.package_bytes),
        100.0 * report.package_bytes as f64 / report.model_bytes.max(1) as f64,
        human_bytes(report.model_bytes),
        match report.front_end_bytes {
            0 => human_bytes(report.arena_bytes.into()),
            bytes => format!(
                "{} + front-end {}",
                human_bytes(report.arena_bytes.into()),
                human_bytes(bytes.into())
            ),
        },
        report.macs as f64 / 1e6,
        percent(report.int8_macs_percent),
        report.steps,
        report.nodes,
        match report.steps_with_strips {
            steps if steps == report.steps => String::new(),
            steps => format!(", {steps} with strips"),
        },
    );
    if let Some(arrived) = &report.arrived {
        print_arrived(arrived);
    }
    if report.calibration_samples == 0 && report.arrived.is_some() {
        println!("nothing was calibrated: every range is the model's own");
    } else if report.calibration_samples == 0 {
        let sqnr = match report.output_sqnr_db {
            Some(db) => format!("; on {} samples, SQNR {db:.1} dB at the output", report.error_samples),
            None => String::new(),
        };
        println!("nothing was calibrated: tensors are f32{sqnr}");
    } else if report.calibration_random {
        println!("calibrated with random numbers: good for latency, its outputs mean nothing");
    } else {
        let sqnr = match report.output_sqnr_db {
            Some(db) => format!("; on {} of them, SQNR {db:.1} dB at the output", report.error_samples),
            None => String::new(),
        };
        println!("calibrated on {} samples, observer {}{sqnr}", report.calibration_samples, report.observer);
    }
    // Signal and noise of the same order: whatever the model does, it does it no more.
    if report.output_sqnr_db.is_some_and(|db| db < POOR_DB) {
        println!(
            "INT8 loses much of this model: edgepack inspect {} --nodes tells where",
            report.package.display()
        );
    }
    if !report.left_out.is_empty() {
        println!("left out, for the flash: {}", Extra::list(&report.left_out));
    }
    for warning in &report.warnings {
        println!("warning: {warning}");
    }
    if !report.islands.is_empty() {
        print_islands(report);
    }
    if let Some(pruned) = &report.pruned {
        print_pruned(pruned);
    }
    if let Some(sparse) = &report.sparse {
        print_sparse(sparse);
    }
    if let Some(mixed) = &report.mixed {
        print_mixed(mixed);
    }
}

/// Names and notes that are shown; all of them are in the JSON form.
const SHOWN: usize = 8;

fn print_islands(report: &PackReport) {
    println!(
        "warning: tract runs {} of {} nodes as islands: the device needs an agent built with --features tract, islands \
         allocate, and outputs that depend on them are not the same bits everywhere",
        report.islands.len(),
        report.nodes
    );
    for island in report.islands.iter().take(SHOWN) {
        println!("  island {}: {}", island.node, island.why);
    }
    if report.islands.len() > SHOWN {
        println!("  {} more with --format json", report.islands.len() - SHOWN);
    }
}

fn print_arrived(arrived: &ArrivedReport) {
    let names = arrived.calibrated.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    println!(
        "arrived quantized ({}): the scales of {} tensors and the weights of {} products are the model's own, \
         the ranges of {} tensors were calibrated{}",
        arrived.forms.join(", "),
        arrived.tensors,
        arrived.products,
        arrived.calibrated.len(),
        match arrived.calibrated.len() {
            0 => String::new(),
            1..=SHOWN => format!(" ({names})"),
            _ => format!(" ({names}, …)"),
        }
    );
    for note in arrived.notes.iter().take(SHOWN) {
        println!("note: {note}");
    }
    if arrived.notes.len() > SHOWN {
        println!("note: {} more with --format json", arrived.notes.len() - SHOWN);
    }
}

fn print_mixed(report: &MixedReport) {
    let db = |db: Option<f64>| db.map_or("exact".into(), |db| format!("{db:.2}"));
    let quality = |of: &Quality| {
        format!("SQNR {} dB, {:.2} points lost, {:.1} µs", db(of.sqnr_db), of.drop_points, of.us)
    };
    println!("\nmixed precision, on {} samples:", report.samples);
    println!("  int8   {}", quality(&report.int8));
    println!(
        "  mixed  {}, {} of {} nodes in int16 or f32",
        quality(&report.mixed),
        report.moved.len(),
        report.candidates
    );
    if report.moved.is_empty() {
        return;
    }
    let columns =
        ["node", "op", "is", "SQNR with it alone in int8", "SQNR with it back in int8", "int8 µs", "now µs"];
    let mut nodes = table(&columns);
    for moved in &report.moved {
        nodes.add_row([
            short(&moved.node, 40),
            moved.op.clone(),
            moved.precision.clone(),
            db(moved.alone_sqnr_db),
            db(moved.without_sqnr_db),
            format!("{:.1}", moved.us[0]),
            format!("{:.1}", moved.us[1]),
        ]);
    }
    println!("{nodes}");
}
