//! `edgepack selftest`.

use std::path::PathBuf;

use super::options::Format;
use super::{Context, Outcome};

/// Run the golden inputs of a package and compare the hashes of its outputs.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  edgepack selftest mobilenet.epk --device ssh://pi@kitchen")]
pub(super) struct Args {
    /// The package
    package: PathBuf,
    /// Where: local, qemu:BOARD, ssh://user@host:port or adb:SERIAL
    #[arg(long, value_name = "DEVICE", default_value = "local")]
    device: String,
}

pub(super) fn run(args: &Args, context: Context) -> anyhow::Result<Outcome> {
    let mut device = edgepack_harness::device::open(&args.device, &args.package, 1)?;
    let outcome = device.selftest()?;
    let info = device.info();
    match context.format {
        Format::Json => println!(
            "{}",
            serde_json::json!({
                "passed": outcome.passed,
                "samples": outcome.samples,
                "message": outcome.message,
                "device": info,
            })
        ),
        _ if outcome.passed => println!(
            "{}: {} golden samples, every output bit as on the workstation ({} {}, {})",
            args.package.display(),
            outcome.samples,
            info.name,
            info.arch,
            info.isa
        ),
        _ => println!("{}: FAILED: {}", args.package.display(), outcome.message),
    }
    Ok(if outcome.passed { Outcome::Done } else { Outcome::Failed })
}
