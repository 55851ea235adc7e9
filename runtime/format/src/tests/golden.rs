//! Golden samples, and the stream that seeds name.

use std::vec::Vec;

use super::parts::{Parts, verdict, with_aligned};
use crate::golden::{Entry, EntryInput};
use crate::plan::Span;
use crate::writer::{GoldenSample, PackageWriter, encode_golden};
use crate::{Error, GoldenInput, Package, Place, SectionKind, SeededBytes};

/// A package whose golden section is `section`.
fn with_section(section: Vec<u8>) -> Vec<u8> {
    let parts = Parts::everything();
    PackageWriter::new()
        .section(SectionKind::Plan, "", parts.plan())
        .section(SectionKind::Weights, "", parts.weights.clone())
        .section(SectionKind::Golden, "", section)
        .finish()
}

fn wrong(index: u32) -> Result<(), Error> {
    Err(Error::Malformed { place: Place::Golden(index), field: "its entry or size" })
}

/// The first numbers for the seed 1234567, as published with the task "Pseudo-random numbers/Splitmix64"
/// of Rosetta Code.
#[test]
fn seeded_bytes_are_splitmix64_from_the_lowest_byte_on() {
    let numbers: [u64; 5] = [
        6_457_827_717_110_365_317,
        3_203_168_211_198_807_973,
        9_817_491_932_198_370_423,
        4_593_380_528_125_082_431,
        16_408_922_859_458_223_821,
    ];
    let expected: Vec<u8> = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
    assert_eq!(SeededBytes::new(1_234_567).take(40).collect::<Vec<_>>(), expected);
}

#[test]
fn samples_of_every_size_survive_encoding() {
    // Around the sizes at which an offset or a length needs one byte more.
    for bytes in [0, 1, 63, 64, 90, 91, 127, 128, 129, 16_200, 16_383, 16_384, 16_385] {
        let stored: Vec<u8> = SeededBytes::new(bytes as u64).take(bytes).collect();
        let samples = [
            (GoldenSample::Stored(stored.clone()), [1; 32]),
            (GoldenSample::Seeded(9), [2; 32]),
            (GoldenSample::Stored(stored.clone()), [3; 32]),
        ];
        let section = encode_golden(&samples);
        let read: Vec<_> = crate::golden::samples(&section).collect();
        let stored = GoldenInput::Stored(&stored);
        let inputs = [stored, GoldenInput::Seeded(9), stored];
        assert_eq!(read.iter().map(|golden| golden.input).collect::<Vec<_>>(), inputs, "{bytes} bytes");
        assert_eq!(read.iter().map(|golden| golden.output_hash[0]).collect::<Vec<_>>(), [1, 2, 3]);
    }
}

#[test]
fn a_stored_sample_must_be_as_long_as_the_inputs() {
    for (bytes, fits) in [(0, false), (31, false), (32, true), (33, false)] {
        let samples =
            [(GoldenSample::Seeded(1), [0; 32]), (GoldenSample::Stored(std::vec![0; bytes]), [0; 32])];
        let expected = if fits { Ok(()) } else { wrong(1) };
        assert_eq!(verdict(&with_section(encode_golden(&samples))), expected, "{bytes} bytes");
    }
}

#[test]
fn a_section_without_samples_is_one() {
    with_aligned(&with_section(encode_golden(&[])), |bytes| {
        assert_eq!(Package::parse(bytes).unwrap().golden().count(), 0);
    });
}

#[test]
fn samples_outside_the_section_are_refused() {
    let bytes = 32;
    let entry = |offset| {
        let entry = Entry { input: EntryInput::Stored(Span { offset, bytes }), output_hash: [0; 32] };
        let mut section = postcard::to_stdvec(&(1_u32, entry)).unwrap();
        section.extend([0; 32]);
        section
    };
    let encoded = entry(100).len() as u32 - 32;
    assert_eq!(verdict(&with_section(entry(encoded))), Ok(()));
    for offset in [encoded + 1, 1 << 20, u32::MAX - bytes, u32::MAX - bytes + 1, u32::MAX] {
        assert_eq!(verdict(&with_section(entry(offset))), wrong(0), "offset {offset}");
    }
}

#[test]
fn a_section_that_ends_too_early_is_refused_at_each_length() {
    let samples =
        [(GoldenSample::Seeded(1 << 40), [7; 32]), (GoldenSample::Stored(std::vec![5; 32]), [8; 32])];
    let section = encode_golden(&samples);
    assert_eq!(verdict(&with_section(section.clone())), Ok(()));
    for length in 0..section.len() {
        let cut = verdict(&with_section(section[..length].to_vec()));
        let place = matches!(cut, Err(Error::Malformed { place: Place::Golden(0 | 1), .. }));
        assert!(place, "{length} bytes: {cut:?}");
    }
}

#[test]
fn a_count_beyond_the_samples_is_refused() {
    for count in [3_u32, 1 << 31, u32::MAX] {
        let samples = [(GoldenSample::Seeded(1), [7; 32]), (GoldenSample::Seeded(2), [8; 32])];
        let mut section = postcard::to_stdvec(&count).unwrap();
        section.extend(&encode_golden(&samples)[1..]);
        assert_eq!(verdict(&with_section(section)), wrong(2), "{count} samples");
    }
}
