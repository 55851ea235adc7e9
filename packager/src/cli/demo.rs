//! `edgepack demo`: the commands a user would type, on the bundled model.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Parser;
use edgepack_engine::format::writer::write_atomically;

use super::options::Format;
use super::{Cli, Context, Outcome};

/// Walk the whole road on the bundled model: check, pack, inspect, self-test, run, compare.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  edgepack demo --folder /tmp/edgepack-demo")]
pub(super) struct Args {
    /// Folder that the model, its data and the package are written to
    #[arg(long, value_name = "FOLDER", default_value = "edgepack-demo")]
    folder: PathBuf,
}

/// The bundled model and its data, by name.
pub(super) const FILES: [(&str, &[u8]); 3] = [
    ("digits.onnx", include_bytes!("../../assets/digits/model.onnx")),
    ("calibration.npz", include_bytes!("../../assets/digits/calibration.npz")),
    ("evaluation.npz", include_bytes!("../../assets/digits/evaluation.npz")),
];

/// `@` stands for the folder.
const COMMANDS: [(&str, &str); 6] = [
    ("Is anything the matter with the model, and what would run in int8?", "check @/digits.onnx --no-nodes"),
    (
        "Quantize the FP32 model to INT8 on 64 images, plan its memory, write one file:",
        "pack @/digits.onnx -o @/digits.epk --calibration @/calibration.npz --mean 127.5 --std 127.5",
    ),
    ("What is in it:", "inspect @/digits.epk"),
    ("Are kernels and package right on this processor, bit for bit?", "selftest @/digits.epk"),
    ("Three handwritten digits:", "run @/digits.epk --input @/evaluation.npz --limit 3 --top 3"),
    (
        "All 360 digits, against the FP32 model:",
        "compare @/digits.epk --baseline @/digits.onnx --data @/evaluation.npz",
    ),
];

pub(super) fn run(args: &Args, context: Context) -> anyhow::Result<Outcome> {
    if context.format == Format::Json {
        anyhow::bail!("demo is for people; run its commands with --format json");
    }
    std::fs::create_dir_all(&args.folder).with_context(|| args.folder.display().to_string())?;
    for (name, bytes) in FILES {
        let path = args.folder.join(name);
        write_atomically(&path, bytes, |_| Ok(())).with_context(|| path.display().to_string())?;
    }
    println!("A small network for handwritten digits, and its data, are in {}.", args.folder.display());
    for (why, command) in COMMANDS {
        let words: Vec<String> = command.split(' ').map(|word| expand(word, &args.folder)).collect();
        println!("\n{why}\n$ edgepack {}\n", words.join(" "));
        let cli = Cli::try_parse_from(std::iter::once("edgepack".to_string()).chain(words))?;
        if let failed @ Outcome::Failed = super::execute(cli.command, context)? {
            return Ok(failed);
        }
    }
    println!("\nThe same package runs on every board of `edgepack targets`, with the same bytes.");
    Ok(Outcome::Done)
}

fn expand(word: &str, folder: &Path) -> String {
    match word.strip_prefix("@/") {
        Some(name) => folder.join(name).display().to_string(),
        None => word.to_string(),
    }
}
