//! What a linked program is, by its ELF headers.

use object::Endianness;
use object::elf::{FileHeader32, FileHeader64, PT_INTERP, SHT_SYMTAB};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};

/// A program, as far as a device cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// `e_machine`.
    pub machine: u16,
    /// Whether it is started by itself, without the loader and libraries of the system.
    pub is_static: bool,
    /// Whether it has no table of symbols.
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
}

fn parse<Elf: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Option<Program> {
    let header = Elf::parse(bytes).ok()?;
    let endian = header.endian().ok().filter(|endian| *endian == Endianness::Little)?;
    let segments = header.program_headers(endian, bytes).ok()?;
    let sections = header.section_headers(endian, bytes).ok()?;
    Some(Program {
        machine: header.e_machine(endian),
        is_static: segments.iter().all(|segment| segment.p_type(endian) != PT_INTERP),
        is_stripped: sections.iter().all(|section| section.sh_type(endian) != SHT_SYMTAB),
    })
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
        assert!(!program.is_static && !program.is_stripped, "{program:?}");
    }

    #[test]
    fn what_is_no_program_is_none_and_truncation_is_no_panic() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(Program::parse(b"#!/bin/sh"), None);
        for length in 0..256 {
            let _ = Program::parse(&own[..length]);
        }
        assert_eq!(Program::parse(&own[..60]), None);
    }
}
