//! Damage of every kind: each is refused, for what it is.

use std::string::String;
use std::vec::Vec;

use super::parts::{Parts, verdict, with_aligned};
use crate::container::hash_header;
use crate::writer::PackageWriter;
use crate::{ENTRY_BYTES, Error, FORMAT_VERSION, HEADER_BYTES, Package, Place, SectionKind};

fn put(package: &mut [u8], at: usize, bytes: &[u8]) {
    package[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Hashes header and table again, as someone who wants to deceive would.
fn seal(package: &mut [u8]) {
    let sections = u32::from_le_bytes(package[24..28].try_into().unwrap()) as usize;
    // Of a number that is a lie, 32 bits do not hold the bytes.
    let table_end = sections.saturating_mul(ENTRY_BYTES).saturating_add(HEADER_BYTES).min(package.len());
    let hash = hash_header(&package[..table_end]);
    put(package, 32, &hash);
}

fn malformed(place: Place, field: &'static str) -> Result<(), Error> {
    Err(Error::Malformed { place, field })
}

#[test]
fn every_truncation_is_refused_for_its_length() {
    let whole = Parts::everything().package();
    for length in 0..whole.len() {
        let found = length as u64;
        let expected = match length {
            0..8 => Error::NotAPackage,
            8..64 => Error::Length { expected: 64, found },
            _ => Error::Length { expected: whole.len() as u64, found },
        };
        assert_eq!(verdict(&whole[..length]), Err(expected), "{length} bytes");
    }
}

#[test]
fn a_truncation_that_says_its_own_length_is_refused_as_well() {
    let whole = Parts::everything().package();
    for length in 64..whole.len() {
        let mut cut = whole[..length].to_vec();
        put(&mut cut, 16, &(length as u64).to_le_bytes());
        seal(&mut cut);
        assert!(matches!(verdict(&cut), Err(Error::Malformed { .. })), "{length} bytes");
    }
}

#[test]
fn every_bit_flip_is_refused_for_where_it_is() {
    let whole = Parts::everything().package();
    let sections: Vec<(usize, usize)> = with_aligned(&whole, |bytes| {
        let package = Package::parse(bytes).unwrap();
        package.sections().map(|s| (s.offset as usize, s.offset as usize + s.bytes.len())).collect()
    });
    let table_end = HEADER_BYTES + sections.len() * ENTRY_BYTES;
    let mut padding = 0;
    for bit in 0..whole.len() * 8 {
        let (at, mut flipped) = (bit / 8, whole.clone());
        flipped[at] ^= 1 << (bit % 8);
        let error = verdict(&flipped).expect_err("a flipped bit");
        let right = match at {
            0..8 => error == Error::NotAPackage,
            8..12 => matches!(error, Error::Version { .. }),
            16..24 => matches!(error, Error::Length { .. }),
            12..32 => {
                matches!(error, Error::Malformed { place: Place::Header, .. } | Error::Damaged(Place::Header))
            }
            _ if at < table_end => error == Error::Damaged(Place::Header),
            _ => {
                let index = sections.iter().position(|&(_, end)| at < end).unwrap();
                let place = Place::Section(index as u32);
                if at < sections[index].0 {
                    padding += 1;
                    error == Error::Malformed { place, field: "the space before it" }
                } else {
                    error == Error::Damaged(place)
                }
            }
        };
        assert!(right, "bit {bit}: {error}");
    }
    assert!(padding > 0, "the package has no padding to be flipped");
}

#[test]
fn bytes_behind_the_package_are_refused() {
    let whole = Parts::everything().package();
    let expected = whole.len() as u64;
    for extra in [1, 2, 63, 64, 4096] {
        for value in [0, 0xff] {
            let mut longer = whole.clone();
            longer.resize(whole.len() + extra, value);
            let found = longer.len() as u64;
            assert_eq!(verdict(&longer), Err(Error::Length { expected, found }));
            // And where the header says that they belong to it.
            put(&mut longer, 16, &found.to_le_bytes());
            seal(&mut longer);
            assert_eq!(verdict(&longer), malformed(Place::Header, "what follows the last section"));
        }
    }
}

#[test]
fn memory_that_is_not_aligned_is_refused() {
    let whole = Parts::everything().package();
    let mut memory = std::vec![0; whole.len() + 128];
    let start = memory.as_ptr().align_offset(64);
    for shift in 0..64 {
        let lies = start + shift..start + shift + whole.len();
        memory[lies.clone()].copy_from_slice(&whole);
        let expected = if shift == 0 { None } else { Some(Error::Alignment) };
        assert_eq!(Package::parse(&memory[lies]).err(), expected, "{shift} bytes too far");
    }
}

#[test]
fn other_versions_are_refused_before_anything_else_is_read() {
    for version in [0, FORMAT_VERSION + 1, 2 << 24, u32::MAX] {
        // A header of another format need have nothing in common with this one but its first 12 bytes.
        let mut header = [0xee; 64];
        put(&mut header, 0, b"EDGEPACK");
        put(&mut header, 8, &version.to_le_bytes());
        for length in 12..64 {
            assert_eq!(verdict(&header[..length]), Err(Error::Version { found: version }));
        }
    }
}

#[test]
fn headers_and_tables_that_lie_are_refused_though_their_hash_is_right() {
    const HEADER: Place = Place::Header;
    const SIZES: &str = "its size or number of sections";
    let entry = |index: usize| HEADER_BYTES + index * ENTRY_BYTES;
    let (first, second, third, last) = (entry(0), entry(1), entry(2), entry(4));
    let whole = Parts::everything().package();
    let size = whole.len() as u64;
    let start = |index: usize| u64::from_le_bytes(whole[entry(index) + 8..][..8].try_into().unwrap());
    let bytes = |index: usize| u64::from_le_bytes(whole[entry(index) + 16..][..8].try_into().unwrap());
    let section = Place::Section;
    type Lie<'a> = (&'a str, usize, Vec<u8>, Place, &'static str);
    let u32s = |value: u32| value.to_le_bytes().to_vec();
    let u64s = |value: u64| value.to_le_bytes().to_vec();
    let lies: Vec<Lie<'_>> = [
        ("header of 63 bytes", 12, u32s(63), HEADER, SIZES),
        ("header of 128 bytes", 12, u32s(128), HEADER, SIZES),
        ("reserved", 28, u32s(1), HEADER, SIZES),
        ("65 sections", 24, u32s(65), HEADER, SIZES),
        ("all sections of u32", 24, u32s(u32::MAX), HEADER, SIZES),
        ("one section too many", 24, u32s(6), section(0), "its offset"),
        ("one section too few", 24, u32s(4), section(0), "the space before it"),
        ("no section", 24, u32s(0), HEADER, "what follows the last section"),
        ("kind 0", first, u32s(0), section(0), "its entry"),
        ("a kind of the future", last, u32s(8), section(4), "its entry"),
        ("reserved of an entry", first + 4, u32s(1), section(0), "its entry"),
        ("a second plan", second, u32s(1), section(1), "its kind, a second time"),
        ("second weights", last, u32s(2), section(4), "its kind, a second time"),
        ("second golden samples", last, u32s(4), section(4), "its kind, a second time"),
        ("offset in the table", first + 8, u64s(0), section(0), "its offset"),
        ("offset too early", second + 8, u64s(start(1) - 64), section(1), "its offset"),
        ("offset too late by 64", second + 8, u64s(start(1) + 64), section(1), "the space before it"),
        ("offset not aligned", second + 8, u64s(start(1) + 1), section(1), "the space before it"),
        ("offset behind the file", last + 8, u64s(size + 64), section(4), "its entry"),
        ("offset and size overflow", last + 8, u64s(u64::MAX - 1), section(4), "its entry"),
        ("size overflows", last + 16, u64s(u64::MAX), section(4), "its entry"),
        ("one byte too many", last + 16, u64s(bytes(4) + 1), section(4), "its entry"),
        ("key of a plan", first + 24, b"x".to_vec(), section(0), "its entry"),
        ("key with a hole", third + 24 + 23, b"x".to_vec(), section(2), "its entry"),
        ("key that is no text", third + 24, std::vec![0xff], section(2), "its entry"),
        ("key that is not ASCII", third + 24, "é".into(), section(2), "its entry"),
        ("no key", third + 24, std::vec![0; 24], section(2), "its entry"),
    ]
    .into();
    for (name, at, bytes, place, field) in lies {
        let mut lie = whole.clone();
        put(&mut lie, at, &bytes);
        seal(&mut lie);
        let found = verdict(&lie);
        assert_eq!(found, malformed(place, field), "{name}: {found:?}");
    }
}

#[test]
fn a_section_that_is_shorter_in_the_table_is_damaged() {
    let mut package = Parts::everything().package();
    let at = HEADER_BYTES + ENTRY_BYTES + 16;
    let bytes = u64::from_le_bytes(package[at..at + 8].try_into().unwrap());
    put(&mut package, at, &(bytes - 1).to_le_bytes());
    seal(&mut package);
    assert_eq!(verdict(&package), Err(Error::Damaged(Place::Section(1))));
}

#[test]
fn a_front_end_is_there_once_at_most_and_is_nobody_elses() {
    let parts = Parts::everything();
    let with = |sections: &[&[u8]]| {
        let plan = PackageWriter::new().section(SectionKind::Plan, "", parts.plan());
        let mut writer = plan.section(SectionKind::Weights, "", parts.weights.clone());
        for section in sections {
            writer = writer.section(SectionKind::Signal, "", section.to_vec());
        }
        writer.finish()
    };
    let found = |package: &[u8]| {
        with_aligned(package, |bytes| Package::parse(bytes).unwrap().signal().map(<[u8]>::to_vec))
    };
    assert_eq!((found(&with(&[])), found(&with(&[b"abc"]))), (None, Some(b"abc".to_vec())));
    assert_eq!(verdict(&with(&[b"abc", b"d"])), malformed(Place::Section(3), "its kind, a second time"));
}

#[test]
fn plan_and_weights_must_be_there() {
    let parts = Parts::everything();
    let plan = || PackageWriter::new().section(SectionKind::Plan, "", parts.plan());
    let missing = |section| Err(Error::Missing { section });
    assert_eq!(verdict(&PackageWriter::new().finish()), missing("plan"));
    assert_eq!(verdict(&plan().finish()), missing("weights"));
    let weights = PackageWriter::new().section(SectionKind::Weights, "", parts.weights.clone());
    assert_eq!(verdict(&weights.finish()), missing("plan"));
}

#[test]
fn provenance_must_be_text() {
    let parts = Parts::everything();
    let package = PackageWriter::new()
        .section(SectionKind::Plan, "", parts.plan())
        .section(SectionKind::Weights, "", parts.weights.clone())
        .section(SectionKind::Provenance, "", [b'{', 0xff, b'}'].into());
    assert_eq!(verdict(&package.finish()), malformed(Place::Section(2), "its text"));
}

#[test]
fn more_sections_than_64_are_refused_and_64_are_not() {
    let parts = Parts::everything();
    let mut writer = PackageWriter::new().section(SectionKind::Plan, "", parts.plan()).section(
        SectionKind::Weights,
        "",
        parts.weights.clone(),
    );
    for index in 2..64 {
        let key: String = std::format!("layout_{index}");
        writer = writer.section(SectionKind::Prepacked, &key, [index].into());
    }
    assert_eq!(verdict(&writer.finish()), Ok(()));
    let writer = writer.section(SectionKind::Prepacked, "layout_64", [64].into());
    assert_eq!(verdict(&writer.finish()), malformed(Place::Header, "its size or number of sections"));
}
