//! `edgepack doctor`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use edgepack_engine::Model;
use edgepack_harness::PackageFacts;
use edgepack_harness::device::{self, Checkup, DeviceFacts, Needs, PackageNeeds};
use edgepack_packager::emit::provenance;
use edgepack_targets::Board;

use super::options::{Format, table};
use super::{Context, Outcome};

/// Examine a device: what it is, and whether a package would run there.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  edgepack doctor --device ssh://pi@kitchen --package mobilenet.epk --target rpi4\n\n\
                  Exit code 1 where the device does not meet a need of the package or the target.\n\
                  The agent is brought to the device; nothing else is changed there."
)]
pub(super) struct Args {
    /// Which: local, qemu:BOARD, ssh://user@host:port or adb:SERIAL
    #[arg(long, value_name = "DEVICE", default_value = "local")]
    device: String,
    /// The package that is to run there
    #[arg(long, value_name = "PACKAGE")]
    package: Option<PathBuf>,
    /// The board that it ought to be: a name of `edgepack targets`, or a .toml
    #[arg(long, value_name = "BOARD")]
    target: Option<String>,
    /// The folder whose free space counts
    #[arg(long, value_name = "FOLDER")]
    to: Option<String>,
}

pub(super) fn run(args: &Args, context: Context) -> anyhow::Result<Outcome> {
    let mut needs = match &args.package {
        Some(package) => needs(package)?,
        None => Needs::default(),
    };
    if let Some(target) = &args.target {
        needs.board = Some(Board::find(target)?);
    }
    let checkup = device::examine(device::reach(&args.device)?, &needs, args.to.as_deref())?;
    match context.format {
        Format::Json => println!("{}", serde_json::to_string(&checkup)?),
        _ => print(&checkup),
    }
    Ok(if checkup.is_fit() { Outcome::Done } else { Outcome::Failed })
}

/// What a package asks of a device: memory, space, and the board that it was made for, if it was made for one.
pub(super) fn needs(package: &Path) -> anyhow::Result<Needs> {
    let model = Model::open(package)?;
    let facts = PackageFacts::of(&model.package(), package)?;
    let board = match provenance(&model.package()).and_then(|provenance| provenance.target) {
        // A board of the user's own, whose description need not be there any more.
        Some(target) => Board::find(&target).ok(),
        None => None,
    };
    let package = PackageNeeds::of(&facts).with_context(|| package.display().to_string())?;
    Ok(Needs { package: Some(package), board })
}

fn print(checkup: &Checkup) {
    let facts = &checkup.facts;
    let mut table = table(&["device", &facts.device]);
    for (name, value) in rows(facts) {
        if let Some(value) = value {
            table.add_row([name, &value]);
        }
    }
    println!("{table}");
    for finding in &checkup.findings {
        println!("{finding}");
    }
    let verdict = match (checkup.is_fit(), checkup.findings.is_empty()) {
        (true, true) => "fit: nothing is the matter",
        (true, false) => "fit; what is above makes it slower or its times misleading",
        (false, _) => "NOT FIT",
    };
    println!("{verdict}");
}

fn rows(facts: &DeviceFacts) -> Vec<(&'static str, Option<String>)> {
    let is_microcontroller = facts.flash_free_kib.is_some();
    let mib = |kib: u64| match is_microcontroller {
        true => format!("{kib} KiB"),
        false => format!("{:.0} MiB", kib as f64 / 1024.0),
    };
    let memory = facts.memory_available_kib.map(|available| {
        let total = facts.memory_total_kib.map(|total| format!(" of {}", mib(total))).unwrap_or_default();
        let limit = facts.memory_limit_kib.map(|limit| format!(", limited to {}", mib(limit)));
        format!("{} free{total}{}", mib(available), limit.unwrap_or_default())
    });
    let frequency = match (facts.frequency_mhz, facts.frequency_max_mhz) {
        (Some(now), Some(highest)) => Some(format!("{now} of {highest} MHz")),
        (now, highest) => now.or(highest).map(|mhz| format!("{mhz} MHz")),
    };
    let emulated = if facts.emulated { ", emulated" } else { "" };
    vec![
        ("board", facts.model.clone()),
        ("architecture", Some(format!("{}{emulated}", facts.arch))),
        ("instruction sets", facts.isa.clone()),
        ("processors", facts.cores.map(|cores| cores.to_string())),
        ("system", facts.system.clone()),
        ("kernel", facts.kernel.clone()),
        ("C library", facts.libc.as_ref().map(|libc| format!("{libc} (the agent needs none)"))),
        ("memory", memory),
        ("flash", facts.flash_free_kib.map(|kib| format!("{kib} KiB free"))),
        ("disk", facts.disk_free_kib.map(|kib| format!("{} free in {}", mib(kib), facts.disk_folder))),
        ("governor", facts.governor.clone()),
        ("frequency", frequency),
        ("temperature", facts.temperature_c.map(|degrees| format!("{degrees:.1} °C"))),
        ("load", facts.load.map(|load| load.to_string())),
        ("agent", facts.agent.clone()),
    ]
}
