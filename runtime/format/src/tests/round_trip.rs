//! What the writer writes is what the reader gives back, and its bytes never change.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::parts::{Parts, with_aligned};
use crate::writer::{GoldenSample, PackageWriter};
use crate::{Golden, GoldenInput, Package, SECTION_ALIGN, SectionKind};

fn check_same(parts: &Parts, package: &Package<'_>) {
    assert_eq!(package.head(), parts.head);
    assert_eq!(package.inputs().collect::<Vec<_>>(), parts.inputs);
    assert_eq!(package.outputs().collect::<Vec<_>>(), parts.outputs);
    assert_eq!(package.steps().collect::<Vec<_>>(), parts.steps);
    assert_eq!(package.weights(), parts.weights);
    assert_eq!(package.prepacked("nr8_kr4"), Some(&[0x11; 64][..]));
    assert_eq!(package.prepacked("nr8"), None);
    assert_eq!(package.provenance(), "{\"tool\":\"test\"}");
    let golden: Vec<Golden<'_>> = package.golden().collect();
    assert_eq!(golden.len(), parts.golden.len());
    for (read, (written, hash)) in golden.iter().zip(&parts.golden) {
        let input = match written {
            GoldenSample::Stored(bytes) => GoldenInput::Stored(bytes),
            GoldenSample::Seeded(seed) => GoldenInput::Seeded(*seed),
        };
        assert_eq!(*read, Golden { input, output_hash: *hash });
    }
}

#[test]
fn every_operation_is_read_as_it_was_written() {
    let parts = Parts::everything();
    with_aligned(&parts.package(), |bytes| {
        let package = Package::parse(bytes).unwrap();
        check_same(&parts, &package);
        assert_eq!(package.bytes(), bytes);
    });
}

#[test]
fn a_reopened_package_is_the_one_that_was_parsed() {
    let parts = Parts::everything();
    with_aligned(&parts.package(), |bytes| {
        let (parsed, reopened) = (Package::parse(bytes).unwrap(), Package::reopen(bytes));
        check_same(&parts, &reopened);
        assert_eq!(reopened.hash(), parsed.hash());
    });
}

#[test]
fn reopening_bytes_that_are_no_package_gives_an_empty_one() {
    let whole = Parts::everything().package();
    for length in 0..whole.len() {
        let package = Package::reopen(&whole[..length]);
        assert_eq!((package.steps().count(), package.bytes().len()), (0, 0), "{length} bytes");
    }
}

#[test]
fn sections_lie_in_order_at_multiples_of_64_under_their_own_hashes() {
    with_aligned(&Parts::everything().package(), |bytes| {
        let package = Package::parse(bytes).unwrap();
        let sections: Vec<_> = package.sections().collect();
        let kinds: Vec<SectionKind> = sections.iter().map(|section| section.kind).collect();
        use SectionKind::{Golden, Plan, Prepacked, Provenance, Weights};
        assert_eq!(kinds, [Plan, Weights, Prepacked, Golden, Provenance]);
        assert_eq!(sections.iter().map(|s| s.key).collect::<Vec<_>>(), ["", "", "nr8_kr4", "", ""]);
        let mut end = 64 + 80 * sections.len();
        for section in &sections {
            assert_eq!(section.offset as usize, end.next_multiple_of(SECTION_ALIGN), "{:?}", section.kind);
            assert_eq!(&section.hash, blake3::hash(section.bytes).as_bytes());
            end = section.offset as usize + section.bytes.len();
        }
        assert_eq!(end, bytes.len());
    });
}

#[test]
fn a_package_may_have_no_more_than_plan_and_weights_and_several_of_the_optional_sections() {
    let parts = Parts::everything();
    let bare = || {
        PackageWriter::new().section(SectionKind::Plan, "", parts.plan()).section(
            SectionKind::Weights,
            "",
            parts.weights.clone(),
        )
    };
    with_aligned(&bare().finish(), |bytes| {
        let package = Package::parse(bytes).unwrap();
        assert_eq!((package.golden().count(), package.provenance()), (0, ""));
        assert_eq!(package.prepacked("nr8_kr4"), None);
    });
    let several = bare()
        .section(SectionKind::Prepacked, "a_key_of_twenty_four_chr", [1].into())
        .section(SectionKind::Prepacked, "b", [2].into())
        .section(SectionKind::Prepacked, "empty", [].into())
        .section(SectionKind::Prepacked, "b", [3].into())
        .section(SectionKind::Provenance, "", b"first".to_vec())
        .section(SectionKind::Provenance, "", b"last".to_vec())
        .finish();
    with_aligned(&several, |bytes| {
        let package = Package::parse(bytes).unwrap();
        assert_eq!(package.prepacked("a_key_of_twenty_four_chr"), Some(&[1][..]));
        assert_eq!(package.prepacked("b"), Some(&[2][..]));
        assert_eq!(package.prepacked("empty"), Some(&[][..]));
        assert_eq!(package.provenance(), "last");
    });
}

/// The encodings that FORMAT.md shows: one of each value of the plan, in every form.
fn vectors(parts: &Parts) -> String {
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let head = format!("{:16}{}\n", "Head", hex(postcard::to_stdvec(&parts.head).unwrap()));
    let inputs = parts.inputs.iter().map(|input| (input.name, postcard::to_stdvec(input).unwrap()));
    let outputs = parts.outputs.iter().map(|output| (output.name, postcard::to_stdvec(output).unwrap()));
    let steps = parts.steps.iter().map(|step| (step.name, postcard::to_stdvec(step).unwrap()));
    let values = inputs.chain(outputs).chain(steps);
    head + &values.map(|(name, bytes)| format!("{name:16}{}\n", hex(bytes))).collect::<String>()
}

/// A change here is a change of the format: it wants a new version, and FORMAT.md.
#[test]
fn the_bytes_of_every_operation_are_those_of_format_5() {
    let parts = Parts::everything();
    let vectors = vectors(&parts);
    assert!(include_str!("../../FORMAT.md").contains(&vectors), "FORMAT.md should have:\n{vectors}");
    let package = parts.package();
    let hash = blake3::hash(&package).to_hex();
    let expected = "8a88ab651348d7155481f5585db14e18b23425a955fd328afe9e12d541758e5b";
    assert_eq!((package.len(), hash.as_str()), (7887, expected));
}
