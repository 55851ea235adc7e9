//! Plans and golden sections with random damage, every hash right: the reader must not panic, and what
//! it accepts must stay inside its memory.

use std::vec::Vec;

use super::parts::{Parts, with_aligned};
use super::reach;
use crate::writer::{PackageWriter, encode_golden};
use crate::{Error, Package, Place, SectionKind, SeededBytes};

struct Random(SeededBytes);

impl Random {
    fn byte(&mut self) -> u8 {
        self.0.next().unwrap_or(0)
    }

    fn below(&mut self, count: usize) -> usize {
        let number = u32::from_le_bytes(core::array::from_fn(|_| self.byte()));
        number as usize % count
    }
}

/// Numbers at which arithmetic goes wrong, as varints.
const VARINTS: &[&[u8]] = &[
    &[0],
    &[1],
    &[2],
    &[4],
    &[64],
    &[0x7f],
    &[0x80, 0x01],
    &[0xff, 0xff, 0x03],
    &[0x80, 0x80, 0x80, 0x08],
    &[0x80, 0x80, 0x80, 0x80, 0x01],
    &[0xff, 0xff, 0xff, 0xff, 0x07],
    &[0x80, 0x80, 0x80, 0x80, 0x08],
    &[0xf0, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff],
];

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(8) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.byte(),
            2 => bytes[at] = bytes[at].wrapping_add(1),
            3 => bytes[at] = bytes[at].wrapping_sub(1),
            4 => bytes.truncate(at.max(1)),
            5 => bytes.insert(at, random.byte()),
            6 => {
                let from = random.below(bytes.len());
                let stretch = bytes[from..].iter().copied().take(random.below(24)).collect::<Vec<_>>();
                let end = (at + stretch.len()).min(bytes.len());
                bytes.splice(at..end, stretch);
            }
            _ => {
                // A whole varint in place of the one that is here, most of the time.
                let length = bytes[at..].iter().position(|&byte| byte < 0x80).map_or(1, |last| last + 1);
                bytes.splice(at..at + length, VARINTS[random.below(VARINTS.len())].iter().copied());
            }
        }
    }
}

/// How many were accepted, and how many were refused in which step or sample.
#[derive(Debug, Default)]
struct Tally {
    accepted: usize,
    by_step: [usize; 16],
    by_sample: usize,
}

fn judge(package: &[u8], tally: &mut Tally) {
    with_aligned(package, |bytes| match Package::parse(bytes) {
        Ok(package) => {
            reach::check(&package);
            tally.accepted += 1;
        }
        Err(Error::Malformed { place, field }) => {
            assert!(!field.is_empty());
            match place {
                Place::Step(step) => tally.by_step[(step as usize).min(15)] += 1,
                Place::Golden(_) => tally.by_sample += 1,
                _ => {}
            }
        }
        Err(other) => panic!("every hash is right, but: {other}"),
    });
}

#[test]
fn mutated_plans_are_refused_or_stay_inside_their_memory() {
    let parts = Parts::everything();
    let (plan, mut random) = (parts.plan(), Random(SeededBytes::new(0xed9e)));
    let mut tally = Tally::default();
    for _ in 0..20_000 {
        let mut mutated = plan.clone();
        mutate(&mut mutated, &mut random);
        judge(&parts.package_of(mutated), &mut tally);
    }
    // Else the mutations would be of one kind only, and the test would say little.
    assert!(tally.accepted > 500, "{tally:?}");
    assert!(tally.by_step[..14].iter().all(|&refused| refused > 20), "{tally:?}");
}

/// Each byte of the plan, as every value: the smallest lies.
#[test]
fn plans_with_any_one_byte_changed_are_refused_or_stay_inside_their_memory() {
    let parts = Parts::everything();
    let plan = parts.plan();
    let mut tally = Tally::default();
    for at in 0..plan.len() {
        for value in 0..=255 {
            let mut mutated = plan.clone();
            mutated[at] = value;
            judge(&parts.package_of(mutated), &mut tally);
        }
    }
    assert!(tally.accepted > plan.len(), "{tally:?}");
    assert!(tally.by_step[..14].iter().all(|&refused| refused > 100), "{tally:?}");
}

#[test]
fn mutated_golden_sections_are_refused_or_hold_whole_samples() {
    let parts = Parts::everything();
    let section = encode_golden(&parts.golden);
    let mut random = Random(SeededBytes::new(0x901d));
    let mut tally = Tally::default();
    for _ in 0..5_000 {
        let mut mutated = section.clone();
        mutate(&mut mutated, &mut random);
        let package = PackageWriter::new()
            .section(SectionKind::Plan, "", parts.plan())
            .section(SectionKind::Weights, "", parts.weights.clone())
            .section(SectionKind::Golden, "", mutated);
        judge(&package.finish(), &mut tally);
    }
    assert!(tally.accepted > 500 && tally.by_sample > 500, "{tally:?}");
}

#[test]
fn mutated_weights_are_refused_or_do_not_matter() {
    let parts = Parts::everything();
    let mut random = Random(SeededBytes::new(0x3e19));
    let mut tally = Tally::default();
    for _ in 0..5_000 {
        let mut mutated = parts.clone();
        mutate(&mut mutated.weights, &mut random);
        judge(&mutated.package(), &mut tally);
    }
    assert!(tally.accepted > 100 && tally.by_step.iter().sum::<usize>() > 1_000, "{tally:?}");
}
