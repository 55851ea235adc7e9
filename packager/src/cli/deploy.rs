//! `edgepack deploy`.

use std::path::PathBuf;

use edgepack_harness::device::{self, Connection, Deployed};

use super::doctor::needs;
use super::options::Format;
use super::{Context, Outcome};

/// Put a package onto a device, in one step or not at all.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  edgepack deploy mobilenet.epk --device ssh://pi@kitchen --to /opt/camera/model.epk\n\n\
                  The package is sent under another name, hashed and self-tested there, and renamed into place. The\n\
                  version before it stays as PATH.previous. A package that is there already is not sent again.\n\
                  Exit code 1 where the self-test gives other outputs; 2 where the device is not fit, or not reached:\n\
                  the old version stays in both."
)]
pub(super) struct Args {
    /// The package
    #[arg(required_unless_present = "rollback")]
    package: Option<PathBuf>,
    /// Where: ssh://user@host:port, adb:SERIAL, local, or qemu:BOARD (files of this machine)
    #[arg(long, value_name = "DEVICE")]
    device: String,
    /// The file's path on the device
    #[arg(long, value_name = "PATH")]
    to: String,
    /// Put the version before this one back (done twice, this one again)
    #[arg(long, conflicts_with = "package")]
    rollback: bool,
    /// Deploy although the device is not what the package was made for, or seems too small
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &Args, context: Context) -> anyhow::Result<Outcome> {
    let reached = device::reach(&args.device)?.with_files()?;
    let outcome = match &args.package {
        Some(package) => {
            let needs = needs(package)?;
            let folder = match args.to.rsplit_once('/') {
                Some(("", _)) => "/",
                Some((folder, _)) => folder,
                None => ".",
            };
            let checkup = device::examine(reached, &needs, Some(folder))?;
            device::deploy(checkup, package, &args.to, args.force)
        }
        None => device::roll_back(&Connection::new(reached)?, &args.to),
    };
    match outcome {
        Ok(deployed) => {
            match context.format {
                Format::Json => println!("{}", serde_json::to_string(&deployed)?),
                _ => println!("{}", text(&deployed, args.rollback)),
            }
            Ok(Outcome::Done)
        }
        Err(error @ edgepack_harness::Error::Selftest { .. }) => {
            eprintln!("failed: {error}");
            Ok(Outcome::Failed)
        }
        Err(error) => Err(error.into()),
    }
}

fn text(deployed: &Deployed, rollback: bool) -> String {
    let short = |hash: &str| hash[..hash.len().min(16)].to_string();
    let what = match (rollback, deployed.sent) {
        (true, _) => "is the version before again",
        (false, true) => "deployed",
        (false, false) => "was there already",
    };
    let previous = match &deployed.previous {
        Some(hash) => format!("; before it {}, in {}.previous", short(hash), deployed.path),
        None => String::new(),
    };
    format!(
        "{} {}: {} {what}, {} golden samples bit for bit as on the workstation{previous}",
        deployed.device,
        deployed.path,
        short(&deployed.blake3),
        deployed.golden_samples
    )
}
