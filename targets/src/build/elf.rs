//! What was linked, by the headers of its ELF files.

use object::Endianness;
use object::elf::{DT_NEEDED, DT_SONAME, FileHeader32, FileHeader64, PT_INTERP, SHT_SYMTAB};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};

/// A program or shared library, as far as a device cares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// `e_machine`.
    pub machine: u16,
    /// Whether the system's loader starts it.
    pub has_loader: bool,
    /// The shared libraries that it needs (`DT_NEEDED`).
    pub needed: Vec<String>,
    /// Versions of those libraries' symbols, such as `GLIBC_2.17`.
    pub versions: Vec<String>,
    /// The name that programs load it by, of a shared library (`DT_SONAME`).
    pub soname: Option<String>,
    /// Whether it has no table of symbols beyond those that the loader reads.
    pub is_stripped: bool,
}

impl Program {
    /// That of a file's bytes; `None` where they are no little-endian ELF file.
    pub fn parse(bytes: &[u8]) -> Option<Program> {
        match object::FileKind::parse(bytes).ok()? {
            object::FileKind::Elf32 => parse::<FileHeader32<Endianness>>(bytes),
            object::FileKind::Elf64 => parse::<FileHeader64<Endianness>>(bytes),
            _ => None,
        }
    }

    /// Whether it is started by itself, without the loader and libraries of the system.
    pub fn is_static(&self) -> bool {
        !self.has_loader && self.needed.is_empty()
    }
}

fn parse<Elf: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Option<Program> {
    let header = Elf::parse(bytes).ok()?;
    let endian = header.endian().ok().filter(|endian| *endian == Endianness::Little)?;
    let segments = header.program_headers(endian, bytes).ok()?;
    let sections = header.sections(endian, bytes).ok()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut program = Program {
        machine: header.e_machine(endian),
        has_loader: segments.iter().any(|segment| segment.p_type(endian) == PT_INTERP),
        is_stripped: sections.iter().all(|section| section.sh_type(endian) != SHT_SYMTAB),
        ..Program::default()
    };
    let dynamic = sections.dynamic_table(endian, bytes).ok()?;
    for entry in dynamic.iter() {
        match entry.tag {
            DT_NEEDED => program.needed.push(text(dynamic.string(entry).ok()?)),
            DT_SONAME => program.soname = Some(text(dynamic.string(entry).ok()?)),
            _ => {}
        }
    }
    if let Some((needs, link)) = sections.gnu_verneed(endian, bytes).ok()? {
        let strings = sections.strings(endian, bytes, link).ok()?;
        for need in needs {
            let (_, versions) = need.ok()?;
            for version in versions {
                program.versions.push(text(version.ok()?.name(endian, strings).ok()?));
            }
        }
    }
    Some(program)
}

/// The machines of the objects in a static library, each once; `None` where the bytes are no archive.
///
/// The format is that of ar(5): after eight bytes, members of a header of 60 bytes, which has the size in decimal at
/// 48, and their bytes, to even positions.
pub fn machines_of_archive(bytes: &[u8]) -> Option<Vec<u16>> {
    let mut rest = bytes.strip_prefix(b"!<arch>\n")?;
    let mut machines = Vec::new();
    while !rest.is_empty() {
        let (header, after) = rest.split_at_checked(60)?;
        let size = std::str::from_utf8(&header[48..58]).ok()?.trim_end().parse().ok()?;
        let member = after.get(..size)?;
        if member.starts_with(b"\x7fELF")
            && let Some([low, high]) = member.get(18..20)
        {
            let machine = u16::from_le_bytes([*low, *high]);
            if !machines.contains(&machine) {
                machines.push(machine);
            }
        }
        rest = after.get(size + size % 2..).unwrap_or_default();
    }
    Some(machines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_program_itself_is_dynamic_and_of_this_machine() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let program = Program::parse(&own).unwrap();
        let machine = crate::triple::TRIPLES.iter().find(|triple| triple.arch == std::env::consts::ARCH);
        assert_eq!(Some(program.machine), machine.map(|triple| triple.machine));
        assert!(!program.is_static() && program.has_loader && !program.is_stripped, "{program:?}");
        #[cfg(target_env = "gnu")]
        {
            assert!(program.needed.iter().any(|name| name == "libc.so.6"), "{:?}", program.needed);
            assert!(
                program.versions.iter().any(|name| name.starts_with("GLIBC_2.")),
                "{:?}",
                program.versions
            );
        }
        assert_eq!(program.soname, None);
    }

    #[test]
    fn what_is_no_program_is_none_and_truncation_is_no_panic() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(Program::parse(b"#!/bin/sh"), None);
        for length in (0..256).chain((256..own.len()).step_by(100_003)) {
            assert_eq!(Program::parse(&own[..length]), None);
        }
    }

    #[test]
    fn archive_is_of_the_machines_of_its_objects() {
        let member = |bytes: &[u8]| {
            let mut all = format!("{:48}{:<10}`\n", "name/", bytes.len()).into_bytes();
            all.extend(bytes);
            all.resize(all.len() + bytes.len() % 2, b'\n');
            all
        };
        let object = |machine: u8| [b"\x7fELF".as_slice(), &[0; 14], &[machine, 0, 7]].concat();
        let members = [member(b"odd"), member(&object(183)), member(&object(40)), member(&object(183))];
        let archive = [b"!<arch>\n".to_vec(), members.concat()].concat();
        assert_eq!(machines_of_archive(&archive), Some(vec![183, 40]));
        assert_eq!(machines_of_archive(b"!<arch>\n"), Some(vec![]));
        assert_eq!(machines_of_archive(b"\x7fELF"), None);
        // A member is whole with the byte that fills it up, and without.
        let ends = members.iter().scan(8, |end, member| {
            *end += member.len();
            Some(*end)
        });
        let ends: Vec<usize> = ends.collect();
        for length in 9..archive.len() {
            let whole = ends.iter().any(|end| length == *end || length + 1 == *end);
            assert_eq!(machines_of_archive(&archive[..length]).is_some(), whole, "{length}");
        }
    }
}
