//! What the types of a board's fields do not say.

use toml::de::DeTable;

use crate::triple::{TRIPLES, Triple};
use crate::{Board, LibcFamily};

/// A field that holds what it must not, and what to write.
pub(crate) struct Complaint {
    /// Names of the field, and the table that it is in, if it is in one.
    pub field: &'static [&'static str],
    /// What is wrong, and the remedy.
    pub what: String,
}

/// The first field that is wrong.
pub(crate) fn check(board: &Board) -> Result<(), Complaint> {
    let fail = |field, what| Err(Complaint { field, what });
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
    if board.arch != triple.arch {
        return fail(
            &["arch"],
            format!("`{}` is not that of the triple {}; write `{}`", board.arch, triple.name, triple.arch),
        );
    }
    if board.libc.family != triple.libc {
        let what = format!("programs of {} use {}; write that", triple.name, triple.libc.name());
        return fail(&["libc", "family"], what);
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match (board.libc.family, board.libc.oldest.as_deref()) {
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
    let ranges: [(&'static [&'static str], Option<u32>, std::ops::RangeInclusive<u32>); 7] = [
        (&["cores"], Some(board.cores), 1..=1024),
        (&["clock_mhz"], board.clock_mhz, 10..=10_000),
        (&["l1d_kib"], board.l1d_kib, 1..=1024),
        (&["l2_kib"], board.l2_kib, 1..=65_536),
        (&["l3_kib"], board.l3_kib, 1..=4_194_304),
        (&["ram_mib"], Some(board.ram_mib), 1..=16_777_216),
        (&["ram_budget_mib"], Some(board.ram_budget_mib), 1..=board.ram_mib.max(1)),
    ];
    for (field, value, range) in ranges {
        if let Some(value) = value.filter(|value| !range.contains(value)) {
            let of = if field == ["ram_budget_mib"] { ", which is ram_mib" } else { "" };
            let what = format!("{value} is not from {} to {}{of}", range.start(), range.end());
            return fail(field, what);
        }
    }
    match (&board.qemu, triple.qemu) {
        (Some(qemu), Some(program)) if qemu.program != program => fail(
            &["qemu", "program"],
            format!("`{}` does not run programs of {}; write `{program}`", qemu.program, triple.name),
        ),
        (Some(_), None) => {
            fail(&["qemu"], format!("programs of {} are not emulated; remove the table", triple.name))
        }
        (Some(qemu), _) if qemu.cpu.trim().is_empty() => {
            fail(&["qemu", "cpu"], format!("it is empty; `{} -cpu help` lists what there is", qemu.program))
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
