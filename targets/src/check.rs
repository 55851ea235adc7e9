//! What the types of a board's fields do not say.

use std::ops::RangeInclusive;

use toml::de::DeTable;

use crate::triple::{TRIPLES, Triple};
use crate::{Board, Boot, LibcFamily, Linux, Microcontroller, Region, System};

/// A field that holds what it must not, and what to write.
pub(crate) struct Complaint {
    /// Names of the field, and the table that it is in, if it is in one.
    pub field: &'static [&'static str],
    /// What is wrong, and the remedy.
    pub what: String,
}

/// The first field that is wrong.
pub(crate) fn check(board: &Board) -> Result<(), Complaint> {
    if board.description.trim().is_empty() {
        return fail(&["description"], "it is empty; say what the board is".into());
    }
    if board.cpu.trim().is_empty() {
        return fail(&["cpu"], "it is empty; write the processor as compilers name it (`gcc -mcpu`)".into());
    }
    let Some(triple) = Triple::find(&board.triple) else {
        let known: Vec<_> = TRIPLES.iter().map(|triple| triple.name).collect();
        return fail(
            &["triple"],
            format!("`{}` is not built for; write one of {}", board.triple, known.join(", ")),
        );
    };
    match (&board.system, triple.libc) {
        (System::Linux(_), None) => {
            let what = format!("{} has no operating system; write kind = \"microcontroller\"", triple.name);
            return fail(&["triple"], what);
        }
        (System::Microcontroller(_), Some(_)) => {
            let what = format!(
                "{} has an operating system; write one without (`*-none-*`), or another kind",
                triple.name
            );
            return fail(&["triple"], what);
        }
        _ => {}
    }
    if board.arch != triple.arch {
        return fail(
            &["arch"],
            format!("`{}` is not that of the triple {}; write `{}`", board.arch, triple.name, triple.arch),
        );
    }
    in_range(&["clock_mhz"], board.clock_mhz, 10..=10_000)?;
    match &board.system {
        System::Linux(linux) => check_linux(linux, triple),
        System::Microcontroller(microcontroller) => check_microcontroller(microcontroller, triple),
    }
}

type Field = &'static [&'static str];

fn fail(field: Field, what: String) -> Result<(), Complaint> {
    Err(Complaint { field, what })
}

fn in_range(field: Field, value: Option<u32>, range: RangeInclusive<u32>) -> Result<(), Complaint> {
    match value.filter(|value| !range.contains(value)) {
        None => Ok(()),
        Some(value) => {
            let of = if field == ["ram_budget_mib"] { ", which is ram_mib" } else { "" };
            fail(field, format!("{value} is not from {} to {}{of}", range.start(), range.end()))
        }
    }
}

fn check_linux(linux: &Linux, triple: &Triple) -> Result<(), Complaint> {
    if let Some(libc) = triple.libc.filter(|&libc| linux.libc.family != libc) {
        let what = format!("programs of {} use {}; write that", triple.name, libc.name());
        return fail(&["libc", "family"], what);
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match (linux.libc.family, linux.libc.oldest.as_deref()) {
        (LibcFamily::Glibc, Some(version))
            if version.split_once('.').is_some_and(|(major, minor)| digits(major) && digits(minor)) => {}
        (LibcFamily::Bionic, Some(level)) if digits(level) => {}
        (LibcFamily::Musl, None) => {}
        (LibcFamily::Glibc, _) => {
            return fail(
                &["libc", "oldest"],
                "write the oldest glibc of its systems (`ldd --version` there), such as \"2.31\"".into(),
            );
        }
        (LibcFamily::Bionic, _) => {
            return fail(
                &["libc", "oldest"],
                "write the lowest API level of its systems (`getprop ro.build.version.sdk`), such as \"24\""
                    .into(),
            );
        }
        (LibcFamily::Musl, Some(_)) => {
            let what = "musl is linked into the program, whose version then does not matter; leave it out";
            return fail(&["libc", "oldest"], what.into());
        }
    }
    in_range(&["cores"], Some(linux.cores), 1..=1024)?;
    in_range(&["l1d_kib"], linux.l1d_kib, 1..=1024)?;
    in_range(&["l2_kib"], linux.l2_kib, 1..=65_536)?;
    in_range(&["l3_kib"], linux.l3_kib, 1..=4_194_304)?;
    in_range(&["ram_mib"], Some(linux.ram_mib), 1..=16_777_216)?;
    in_range(&["ram_budget_mib"], Some(linux.ram_budget_mib), 1..=linux.ram_mib.max(1))?;
    match &linux.qemu {
        Some(qemu) => check_qemu(&qemu.program, &qemu.cpu, triple),
        None => Ok(()),
    }
}

fn check_microcontroller(board: &Microcontroller, triple: &Triple) -> Result<(), Complaint> {
    let regions: [(Field, Field, Region); 2] = [
        (&["flash", "origin"], &["flash", "kib"], board.flash),
        (&["ram", "origin"], &["ram", "kib"], board.ram),
    ];
    for (origin, kib, region) in regions {
        in_range(kib, Some(region.kib), 1..=4_194_304)?;
        if !region.origin.is_multiple_of(REGION_ALIGN) {
            return fail(origin, format!("{:#x} is not a multiple of {REGION_ALIGN}", region.origin));
        }
        if region.end() > 1 << 32 {
            return fail(
                origin,
                "it ends beyond the address space; write a smaller one, or a smaller kib".into(),
            );
        }
    }
    let (flash, ram) = (board.flash, board.ram);
    if u64::from(flash.origin) < ram.end() && u64::from(ram.origin) < flash.end() {
        let what = "it overlaps the flash; where a program is loaded into RAM, write which part is for which";
        return fail(&["ram", "origin"], what.into());
    }
    in_range(&["reserve", "flash_kib"], Some(board.reserve.flash_kib), 0..=flash.kib - 1)?;
    in_range(&["reserve", "ram_kib"], Some(board.reserve.ram_kib), 0..=ram.kib - 1)?;
    if let Some(arch) = board.boot.map(arch_of).filter(|arch| *arch != triple.arch) {
        return fail(&["boot"], format!("it is of chips of {arch}; remove it, or write another triple"));
    }
    let in_names = |c: char| c.is_ascii_alphanumeric() || "_-+".contains(c);
    if let Some(chip) = board.probe_rs.as_ref().filter(|chip| chip.is_empty() || !chip.chars().all(in_names))
    {
        return fail(&["probe_rs"], format!("`{chip}` is no name of a chip; `probe-rs chip list` has them"));
    }
    let Some(qemu) = &board.qemu else { return Ok(()) };
    if qemu.machine.trim().is_empty() {
        let what = format!("it is empty; `{} -M help` lists what there is", qemu.program);
        return fail(&["qemu", "machine"], what);
    }
    check_qemu(&qemu.program, &qemu.cpu, triple)
}

/// The architecture of the chips that have a boot loader.
fn arch_of(boot: Boot) -> &'static str {
    match boot {
        Boot::Rp2040Boot2 => "thumbv6m",
        Boot::Rp2350ImageDef => "thumbv8m",
        Boot::EspIdf => "riscv32",
    }
}

/// Regions start at multiples of this many bytes, as arenas and packages must.
const REGION_ALIGN: u32 = 64;

fn check_qemu(program: &str, cpu: &str, triple: &Triple) -> Result<(), Complaint> {
    match triple.qemu {
        Some(expected) if program != expected => fail(
            &["qemu", "program"],
            format!("`{program}` does not run programs of {}; write `{expected}`", triple.name),
        ),
        None => fail(&["qemu"], format!("programs of {} are not emulated; remove the table", triple.name)),
        _ if cpu.trim().is_empty() => {
            fail(&["qemu", "cpu"], format!("it is empty; `{program} -cpu help` lists what there is"))
        }
        _ => Ok(()),
    }
}

/// The line of a field, from 1 on; that of the table that it is missing in, else the first.
pub(crate) fn line_of(text: &str, field: &[&str]) -> usize {
    let mut start = 0;
    if let Ok(root) = DeTable::parse(text) {
        let mut table = Some(root.get_ref());
        for name in field {
            let Some((key, value)) = table.and_then(|table| table.get_key_value(*name)) else { break };
            start = key.span().start;
            table = value.get_ref().as_table();
        }
    }
    1 + text[..start].matches('\n').count()
}
