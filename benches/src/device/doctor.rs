//! Whether a device can do what a package and a board's description ask of it, before anything is deployed.

use std::fmt;

use edgepack_engine::kernels::isa::IsaSet;
use edgepack_targets::{Board, LibcFamily};
use serde::Serialize;

use super::{Connection, DeviceFacts, Reached};
use crate::{Error, PackageFacts};

/// What is asked of a device.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// The package.
    pub package: Option<PackageNeeds>,
    /// What the device ought to be: `--target`, or the board that the package was made for.
    pub board: Option<Board>,
}

/// What a package asks of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageNeeds {
    /// Its size.
    pub file_bytes: u64,
    /// Its arena.
    pub arena_bytes: u64,
}

impl PackageNeeds {
    /// Those of a package.
    ///
    /// # Errors
    /// Its file is not there.
    pub fn of(facts: &PackageFacts) -> Result<PackageNeeds, Error> {
        let metadata = std::fs::metadata(&facts.path).map_err(Error::io(&facts.path))?;
        Ok(PackageNeeds { file_bytes: metadata.len(), arena_bytes: facts.arena_bytes })
    }

    /// Memory to run it: the arena, the file, which is mapped, its weights once more where they are packed for
    /// the processor's kernels, and 2 MiB for the agent.
    pub fn memory_bytes(&self) -> u64 {
        self.arena_bytes + 2 * self.file_bytes + (2 << 20)
    }
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It runs, but times mislead or it runs slower than it could.
    Warning,
    /// It would not run, or not as it was asked to.
    Error,
}

/// Something that is the matter with a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}; {}", self.what, self.remedy)
    }
}

/// A device, and what is the matter with it.
#[derive(Debug, Serialize)]
pub struct Checkup {
    /// The device.
    #[serde(flatten)]
    pub facts: DeviceFacts,
    /// Errors first.
    pub findings: Vec<Finding>,
    /// The agent on it, where it runs there.
    #[serde(skip)]
    pub connection: Option<Connection>,
}

impl Checkup {
    /// Whether it can do what is asked of it.
    pub fn is_fit(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity != Severity::Error)
    }
}

/// Examines a device: by its shell first; then, where its architecture is one of ours, by the agent.
///
/// # Errors
/// The connection fails. What is the matter with the device is no error but a finding.
pub fn examine(reached: Reached, needs: &Needs, folder: Option<&str>) -> Result<Checkup, Error> {
    let mut facts = reached.facts(folder)?;
    let (connection, agent) = match Connection::new(reached) {
        Ok(connection) => {
            facts.isa = Some(connection.isa().into());
            facts.agent = connection.version().map(str::to_string);
            if let Some(room) = connection.room() {
                facts.memory_available_kib = Some(room.ram_bytes / 1024);
                facts.flash_free_kib = Some(room.flash_bytes / 1024);
            }
            (Some(connection), None)
        }
        // A device that cannot be reached any more has no findings.
        Err(error @ Error::Transport(_)) => return Err(error),
        Err(error) => {
            facts.isa = facts.processor_isa.clone();
            (None, Some(error.to_string()))
        }
    };
    let mut findings = findings(&facts, needs);
    if let Some(reason) = agent {
        let what = reason.strip_prefix(&format!("device {}: ", facts.device)).unwrap_or(&reason).to_string();
        let remedy = "without the agent nothing runs there".into();
        findings.insert(0, Finding { severity: Severity::Error, what, remedy });
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(Checkup { facts, findings, connection })
}

/// Where a processor gets slower by itself, in degrees Celsius: Raspberry Pis do from 80 on.
const HOT_C: f64 = 75.0;

/// What is the matter, from the facts alone.
fn findings(facts: &DeviceFacts, needs: &Needs) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |severity, what: String, remedy: String| found.push(Finding { severity, what, remedy });
    let set = |text: &str| IsaSet::parse(text).unwrap_or_default();
    if let Some(board) = &needs.board {
        if board.microcontroller().is_some() && facts.flash_free_kib.is_none() {
            add(
                Severity::Error,
                format!("the device is {} with a system, {} is a microcontroller", facts.arch, board.name),
                "pack for this one with --target; its package is a part of firmware there".into(),
            );
        } else if board.arch != facts.arch {
            add(
                Severity::Error,
                format!("the device is {}, {} is {}", facts.arch, board.name, board.arch),
                "give the right --device, or pack for this one with --target".into(),
            );
        } else if let Some(isa) = &facts.isa
            && !set(isa).contains(set(&board.isa))
        {
            let cause = match &facts.processor_isa {
                Some(processor) if set(processor).contains(set(&board.isa)) => {
                    "; its processor has it, so EDGEPACK_ISA lowers it there, or the system holds it back"
                }
                _ => "",
            };
            add(
                Severity::Error,
                format!("the device has {isa}, {} has {}{cause}", board.name, board.isa),
                "pack with --target for what the device is; it would run there with the same outputs, but slower \
                 (deploy --force)"
                    .into(),
            );
        } else if let Some(isa) = facts.isa.as_ref().filter(|isa| !set(&board.isa).contains(set(isa))) {
            add(
                Severity::Warning,
                format!("the device has {isa}, {} has only {}", board.name, board.isa),
                "see whether it is another board; what is packed for its own may run faster".into(),
            );
        }
        add_board_memory(board, facts, &mut add);
        add_board_libc(board, facts, &mut add);
    }
    if let (Some(isa), Some(processor), None) = (&facts.isa, &facts.processor_isa, &needs.board)
        && !set(isa).contains(set(processor))
    {
        add(
            Severity::Warning,
            format!("the agent uses {isa} where the processor has {processor}"),
            "unset EDGEPACK_ISA there".into(),
        );
    }
    if let (Some(package), Some(flash_kib)) = (&needs.package, facts.flash_free_kib) {
        add_microcontroller_memory(package, flash_kib, facts, &mut add);
    } else if let Some(package) = &needs.package {
        let needed_kib = package.memory_bytes().div_ceil(1024);
        let available = [facts.memory_available_kib, facts.memory_limit_kib].into_iter().flatten().min();
        if let Some(kib) = available.filter(|&kib| kib < needed_kib) {
            let whose =
                if facts.memory_limit_kib == Some(kib) { "what this login may have" } else { "free there" };
            add(
                Severity::Error,
                format!("too little memory: the package needs {needed_kib} KiB, {kib} KiB are {whose}"),
                "end other programs, raise the limit (ulimit -v, memory.max), or pack a smaller model".into(),
            );
        }
        let file_kib = package.file_bytes.div_ceil(1024);
        if let Some(kib) = facts.disk_free_kib.filter(|&kib| kib < file_kib) {
            add(
                Severity::Error,
                format!(
                    "too little space in {}: the package has {file_kib} KiB, {kib} KiB are free",
                    facts.disk_folder
                ),
                "remove something there (df -h), or deploy into another folder".into(),
            );
        }
    }
    if let Some(governor) = facts.governor.as_ref().filter(|governor| *governor != "performance") {
        add(
            Severity::Warning,
            format!("the governor is {governor}: times depend on what ran before"),
            "for measuring: echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
                .into(),
        );
    }
    if let Some(degrees) = facts.temperature_c.filter(|&degrees| degrees >= HOT_C) {
        add(Severity::Warning, format!("it is {degrees:.0} °C hot"), "cool it before measuring".into());
    }
    if !facts.throttled.is_empty() {
        add(
            Severity::Warning,
            format!("its firmware slows it: {}", facts.throttled.join(", ")),
            "see to its power supply and cooling, and start it anew before measuring".into(),
        );
    }
    if let (Some(load), Some(cores)) = (facts.load, facts.cores)
        && load > 0.5 * f64::from(cores)
        && !facts.emulated
    {
        add(
            Severity::Warning,
            format!("other programs use it: a load of {load} on {cores} processors"),
            "end them before measuring (top)".into(),
        );
    }
    found
}

/// Whether a package fits into flash, and its arena into RAM. Neither is copied or packed anew there.
fn add_microcontroller_memory(
    package: &PackageNeeds,
    flash_kib: u64,
    facts: &DeviceFacts,
    add: &mut impl FnMut(Severity, String, String),
) {
    let remedy = "pack with --target and its board, which tells what would make it fit";
    let ram_kib = facts.memory_available_kib.unwrap_or(0);
    for (what, needed, kib, of) in [
        ("flash", package.file_bytes, flash_kib, "the package has"),
        ("RAM", package.arena_bytes, ram_kib, "the arena needs"),
    ] {
        let needed_kib = needed.div_ceil(1024);
        if needed_kib > kib {
            let what =
                format!("too little {what}: {of} {needed_kib} KiB, {kib} KiB are free beside the agent");
            add(Severity::Error, what, remedy.into());
        }
    }
}

/// What a board has of its memory at least, in eighths: firmware, a graphics processor and the kernel take some
/// before Linux counts, up to a fifth of the smaller Raspberry Pis'.
const MEMORY_EIGHTHS: u64 = 6;

/// Whether the device has the memory that its description says, by which packages were planned.
fn add_board_memory(board: &Board, facts: &DeviceFacts, add: &mut impl FnMut(Severity, String, String)) {
    let Some(linux) = board.linux() else { return };
    let promised_kib = u64::from(linux.ram_mib) * 1024;
    if let Some(kib) = facts.memory_total_kib.filter(|&kib| kib < promised_kib / 8 * MEMORY_EIGHTHS) {
        add(
            Severity::Warning,
            format!("the device has {} MiB of memory, {} has {}", kib / 1024, board.name, linux.ram_mib),
            "describe it in a .toml of its own (edgepack targets --new) and pack for that".into(),
        );
    }
}

/// Whether programs that are linked to the board's C library start there. The agent has its own inside.
fn add_board_libc(board: &Board, facts: &DeviceFacts, add: &mut impl FnMut(Severity, String, String)) {
    let version =
        |text: &str| -> Option<Vec<u32>> { text.split('.').map(|part| part.parse().ok()).collect() };
    let Some(expected) = board.linux().map(|linux| &linux.libc) else { return };
    let LibcFamily::Glibc = expected.family else { return };
    let (Some(oldest), Some(libc)) = (&expected.oldest, &facts.libc) else { return };
    // `glibc 2.31`, or `ldd (Debian GLIBC 2.31-13) 2.31`; other C libraries have a path here.
    let there = libc.split_whitespace().next_back().and_then(version);
    if there.is_none_or(|there| version(oldest).is_some_and(|oldest| there < oldest)) {
        add(
            Severity::Warning,
            format!("the device has {libc}, {} has glibc {oldest} or later", board.name),
            "the agent runs there, for it is static; applications with libedgepack.so do not (link the static one)"
                .into(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pi4() -> DeviceFacts {
        DeviceFacts {
            arch: "aarch64".into(),
            isa: Some("neon".into()),
            processor_isa: Some("neon".into()),
            cores: Some(4),
            memory_available_kib: Some(100_000),
            disk_free_kib: Some(100_000),
            governor: Some("performance".into()),
            temperature_c: Some(50.0),
            load: Some(0.1),
            ..DeviceFacts::default()
        }
    }

    fn needs(board: &str) -> Needs {
        let package = PackageNeeds { file_bytes: 5 << 20, arena_bytes: 1 << 20 };
        Needs { package: Some(package), board: Some(Board::find(board).unwrap()) }
    }

    #[track_caller]
    fn only(facts: &DeviceFacts, needs: &Needs, severity: Severity, what: &str) {
        let found = findings(facts, needs);
        assert!(
            found.len() == 1 && found[0].severity == severity && found[0].to_string().contains(what),
            "{found:?}"
        );
    }

    #[test]
    fn board_as_it_ought_to_be_has_no_findings() {
        assert_eq!(findings(&pi4(), &needs("rpi4")), []);
        assert_eq!(findings(&pi4(), &Needs::default()), []);
    }

    #[test]
    fn each_need_that_is_not_met_is_an_error() {
        only(&pi4(), &needs("rpi5"), Severity::Error, "the device has neon, rpi5 has dotprod");
        let pi5 = DeviceFacts { isa: Some("neon,dotprod".into()), ..pi4() };
        only(&pi5, &needs("rpi4"), Severity::Warning, "the device has neon,dotprod, rpi4 has only neon");
        only(&pi4(), &needs("rpi2"), Severity::Error, "the device is aarch64, rpi2 is armv7");
        only(&pi4(), &needs("rp2040"), Severity::Error, "with a system, rp2040 is a microcontroller");
        let memory = DeviceFacts { memory_available_kib: Some(12_000), ..pi4() };
        only(&memory, &needs("rpi4"), Severity::Error, "needs 13312 KiB, 12000 KiB are free there");
        let limit = DeviceFacts { memory_limit_kib: Some(9_000), ..pi4() };
        only(&limit, &needs("rpi4"), Severity::Error, "9000 KiB are what this login may have");
        let disk = DeviceFacts { disk_free_kib: Some(5_000), ..pi4() };
        only(&disk, &needs("rpi4"), Severity::Error, "has 5120 KiB, 5000 KiB are free");
        let lowered =
            DeviceFacts { isa: Some("scalar".into()), processor_isa: Some("neon,dotprod".into()), ..pi4() };
        only(&lowered, &needs("rpi5"), Severity::Error, "EDGEPACK_ISA lowers it there");
        only(&lowered, &Needs::default(), Severity::Warning, "unset EDGEPACK_ISA");
    }

    #[test]
    fn microcontroller_has_flash_for_packages_and_ram_for_arenas() {
        let board = DeviceFacts {
            arch: "thumbv7em".into(),
            isa: Some("scalar".into()),
            emulated: true,
            memory_total_kib: Some(128),
            memory_available_kib: Some(112),
            flash_free_kib: Some(800),
            ..DeviceFacts::default()
        };
        let asks = |file_kib: u64, arena_kib: u64| {
            let package = PackageNeeds { file_bytes: file_kib << 10, arena_bytes: arena_kib << 10 };
            Needs { package: Some(package), board: None }
        };
        assert_eq!(findings(&board, &asks(800, 112)), []);
        only(&board, &asks(801, 1), Severity::Error, "flash: the package has 801 KiB, 800 KiB are free");
        only(&board, &asks(1, 113), Severity::Error, "RAM: the arena needs 113 KiB, 112 KiB are free");
        let needs = Needs { package: None, board: Some(Board::find("rp2040").unwrap()) };
        only(&board, &needs, Severity::Error, "the device is thumbv7em, rp2040 is thumbv6m");
    }

    #[test]
    fn less_than_the_description_promises_is_a_warning() {
        // A Raspberry Pi 4 of 1 GiB, whose graphics processor has 76 MiB of it.
        let whole = DeviceFacts { memory_total_kib: Some(948_000), libc: Some("glibc 2.31".into()), ..pi4() };
        assert_eq!(findings(&whole, &needs("rpi4")), []);
        let half = DeviceFacts { memory_total_kib: Some(470_000), ..pi4() };
        only(&half, &needs("rpi4"), Severity::Warning, "has 458 MiB of memory, rpi4 has 1024");
        let older = DeviceFacts { libc: Some("glibc 2.9".into()), ..pi4() };
        only(&older, &needs("rpi4"), Severity::Warning, "has glibc 2.9, rpi4 has glibc 2.31 or later");
        let newer = DeviceFacts { libc: Some("ldd (Debian GLIBC 2.100-1) 2.100".into()), ..pi4() };
        assert_eq!(findings(&newer, &needs("rpi4")), []);
        let other = DeviceFacts { libc: Some("/lib/ld-musl-aarch64.so.1".into()), ..pi4() };
        only(&other, &needs("rpi4"), Severity::Warning, "ld-musl-aarch64.so.1, rpi4 has glibc 2.31");
    }

    #[test]
    fn what_makes_times_mislead_is_a_warning() {
        let none = Needs::default();
        let governor = DeviceFacts { governor: Some("powersave".into()), ..pi4() };
        only(&governor, &none, Severity::Warning, "the governor is powersave");
        only(&DeviceFacts { temperature_c: Some(81.2), ..pi4() }, &none, Severity::Warning, "81 °C");
        only(&DeviceFacts { load: Some(3.5), ..pi4() }, &none, Severity::Warning, "a load of 3.5 on 4");
        let throttled = DeviceFacts { throttled: vec!["under-voltage now"], ..pi4() };
        only(&throttled, &none, Severity::Warning, "power supply");
    }
}
