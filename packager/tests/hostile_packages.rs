//! A package is hostile until it is validated: whatever is done to the bytes of a real one, it is
//! refused with a typed error, or it runs inside its memory; nothing panics.

mod common;

use common::Bench;
use edgepack_engine::format::writer::PackageWriter;
use edgepack_engine::format::{self, Package, SectionKind, SeededBytes};
use edgepack_engine::kernels::isa::IsaSet;
use edgepack_engine::{AlignedBytes, Error, InputData, Model, SessionOptions};

/// The package of the small model of these tests, with prepacked weights.
fn package() -> Vec<u8> {
    let bench = Bench::new();
    bench.ok(&[
        "pack",
        "model.onnx",
        "-o",
        "model.epk",
        "--calibration",
        "samples.npy",
        "--prepack",
        "nr16_kr2",
    ]);
    std::fs::read(bench.path("model.epk")).unwrap()
}

fn refusal(bytes: &[u8]) -> Option<format::Error> {
    // At a multiple of 64, as in a mapped file.
    Package::parse(AlignedBytes::copy_of(bytes).as_slice()).err()
}

#[test]
fn every_truncation_is_refused() {
    let package = package();
    assert_eq!(refusal(&package), None);
    for length in 0..package.len() {
        assert!(refusal(&package[..length]).is_some(), "{length} of {} bytes", package.len());
    }
    let longer = [&package[..], &[0]].concat();
    assert!(matches!(refusal(&longer), Some(format::Error::Length { .. })));
}

#[test]
fn every_bit_flip_is_refused() {
    let package = package();
    let mut bytes = AlignedBytes::copy_of(&package);
    for bit in 0..package.len() * 8 {
        bytes.as_mut_slice()[bit / 8] ^= 1 << (bit % 8);
        assert!(Package::parse(bytes.as_slice()).is_err(), "bit {} of byte {}", bit % 8, bit / 8);
        bytes.as_mut_slice()[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(Package::parse(bytes.as_slice()).is_ok());
}

#[test]
fn bytes_that_do_not_lie_at_a_multiple_of_64_are_refused() {
    let package = package();
    let mut bytes = AlignedBytes::zeroed(package.len() + 1);
    bytes.as_mut_slice()[1..].copy_from_slice(&package);
    assert_eq!(Package::parse(&bytes.as_slice()[1..]).err(), Some(format::Error::Alignment));
}

/// An attacker hashes what he wrote: plan, weights and golden samples of any content.
#[test]
fn changed_sections_with_right_hashes_are_refused_or_harmless() {
    let original = package();
    let aligned = AlignedBytes::copy_of(&original);
    let parsed = Package::parse(aligned.as_slice()).unwrap();
    let sections: Vec<_> = parsed.sections().map(|s| (s.kind, s.key.to_string(), s.bytes.to_vec())).collect();
    let mut random = SeededBytes::new(1);
    let mut number = move || {
        let bytes: [u8; 4] = std::array::from_fn(|_| random.next().unwrap_or(0));
        u32::from_le_bytes(bytes) as usize
    };
    let (mut refused, mut ran) = (0, 0);
    for _ in 0..20_000 {
        let mut writer = PackageWriter::new();
        // The plan more often than the rest: it is what everything hangs on.
        let target = [0, 0, 0, 0, number() % sections.len()][number() % 5];
        for (index, (kind, key, bytes)) in sections.iter().enumerate() {
            let mut bytes = bytes.clone();
            if index == target && !bytes.is_empty() {
                for _ in 0..1 + number() % 3 {
                    let at = number() % bytes.len();
                    match number() % 4 {
                        0 => bytes[at] = number() as u8,
                        1 => bytes[at] ^= 1 << (number() % 8),
                        // Numbers of the plan are of variable length: cut and grow it too.
                        2 if *kind == SectionKind::Plan => drop(bytes.remove(at)),
                        3 if *kind == SectionKind::Plan => bytes.insert(at, [0xff, 0x80, 0][number() % 3]),
                        _ => bytes[at] = bytes[at].wrapping_add(1),
                    }
                    if bytes.is_empty() {
                        break;
                    }
                }
            }
            writer = writer.section(*kind, key, bytes);
        }
        match Model::from_bytes(&writer.finish()) {
            Err(Error::Package { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
            Ok(model) => {
                run(&model);
                ran += 1;
            }
        }
    }
    println!("{refused} refused, {ran} ran");
    assert!(refused > 1000 && ran > 1000, "{refused} refused, {ran} ran: the changes test nothing");
}

/// Runs whatever was accepted, on every kernel of this machine; errors are allowed, panics are not.
fn run(model: &Model) {
    let package = model.package();
    // What would take long or much memory is not run: accepted is enough.
    if package.head().arena_bytes > 1 << 20 || package.head().macs > 1 << 24 {
        return;
    }
    for isa in [Some(IsaSet::SCALAR), None] {
        let Ok(mut session) = model.session(&SessionOptions { isa, threads: 1 }) else { continue };
        for (index, input) in package.inputs().enumerate() {
            let elems = input.buffer.bytes as usize;
            let _ = session.set_input(index, InputData::Pixels(&vec![200; elems]));
            let _ = session.set_input(index, InputData::F32(&vec![f32::MAX; elems]));
            let _ = session.set_input(index, InputData::Quantized(&vec![-128; elems]));
        }
        let _ = session.run();
        for index in 0..package.outputs().count() {
            let _ = session.output(index);
        }
        let _ = session.selftest();
    }
}
