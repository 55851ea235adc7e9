//! A package in memory of its owner: what a microcontroller does, with the sizes that it would have.

mod common;

use common::decision;
use edgepack_firmware::edgepack_core::format::plan::{
    Dims, ElemType, Head, Input, Lookup, Op, Output, Pixels, Quant, Span, Step,
};
use edgepack_firmware::edgepack_core::format::writer::{
    GoldenSample, PackageWriter, encode_golden, encode_plan,
};
use edgepack_firmware::edgepack_core::format::{All, ENTRY_BYTES, HEADER_BYTES, Hash, Package, SectionKind};
use edgepack_firmware::edgepack_core::{InputData, OutputData};
use edgepack_firmware::{
    Aligned, Code, Inference, Level, Model, ModelError, Signal, Source, Watch, operations,
};
use embedded_hal_mock::eh1::digital::{Mock as Pin, State, Transaction as Write};

const CLASSES: u32 = 4;
const ARENA: usize = 128;

fn dims(elems: u32) -> Dims {
    Dims { rank: 2, sizes: [1, elems, 1, 1, 1, 1] }
}

/// Four pixels, whose brightness is the score of each class, from 0 to 1.
fn package(golden: &[(GoldenSample, Hash)]) -> Vec<u8> {
    let mut weights: Vec<u8> = (0..256).map(|pixel| (pixel - 128) as u8).collect();
    // Of -128 first.
    weights.extend((0..256).flat_map(|index| (index as f32 / 255.0).to_le_bytes()));
    let input = Span { offset: 0, bytes: CLASSES };
    let output = Span { offset: 64, bytes: 4 * CLASSES };
    let pixels = Pixels {
        tables: Span { offset: 0, bytes: 256 },
        reverse_channels: false,
        strides: [4, 4, 1, 1],
        from_image: "{}",
    };
    let inputs = [Input {
        name: "image",
        dims: dims(CLASSES),
        buffer: input,
        dtype: ElemType::I8,
        quant: Quant { scale: 1.0 / 255.0, zero_point: -128 },
        limits: None,
        arena_dims: [1, 1, 4, 1],
        strides: [4, 4, 1, 1],
        pixels: Some(pixels),
    }];
    let outputs = [Output {
        name: "scores",
        dims: dims(CLASSES),
        buffer: output,
        dtype: ElemType::F32,
        quant: None,
        exact: true,
    }];
    let table = Span { offset: 256, bytes: 1024 };
    let op = Op::Lookup(Lookup { input, output, table, to_f32: true });
    let steps = [Step { name: "scores", scratch: Span { offset: 0, bytes: 0 }, op }];
    let head = Head { arena_bytes: ARENA as u32, inputs: 0, outputs: 0, steps: 0, macs: 0 };
    let mut writer = PackageWriter::new()
        .section(SectionKind::Plan, "", encode_plan(head, &inputs, &outputs, &steps))
        .section(SectionKind::Weights, "", weights);
    if !golden.is_empty() {
        writer = writer.section(SectionKind::Golden, "", encode_golden(golden));
    }
    writer.finish()
}

/// As it would lie in flash.
fn flash<const N: usize>(package: &[u8]) -> Aligned<N> {
    let mut flash = Aligned::ZEROED;
    flash.0[..package.len()].copy_from_slice(package);
    flash
}

operations!(
    /// What the package needs, as `edgepack pack` writes it.
    Needed: Lookup
);
operations!(
    /// All but that.
    Other: Conv, Pool, Softmax
);

fn load(bytes: &[u8]) -> Result<Model<'_, Needed>, ModelError> {
    Model::from_flash(bytes)
}

fn code<T>(result: Result<T, ModelError>) -> Option<(Code, u32)> {
    result.err().map(|error| (error.code, error.at))
}

#[test]
fn a_package_runs_in_memory_of_known_size() {
    let bytes = package(&[]);
    let flash = flash::<4096>(&bytes);
    let model = load(&flash.0[..bytes.len()]).unwrap();
    assert_eq!(model.package().head().arena_bytes as usize, ARENA);
    let mut arena = Aligned::<ARENA>::ZEROED;
    let mut session = model.session(&mut arena.0).unwrap();
    assert_eq!(session.selftest(), Ok(0));
    let output = session.infer(InputData::Pixels(&[0, 51, 255, 102])).unwrap();
    assert_eq!(output, OutputData::F32(&[0.0, 0.2, 1.0, 0.4]));
    assert_eq!(code(session.infer(InputData::Pixels(&[0; 3]))), Some((Code::InputLength, 4)));
    assert_eq!(code(session.infer(InputData::I64(&[0; 4]))), Some((Code::NoIntegers, 0)));
    assert_eq!(code(session.set_input(1, InputData::Pixels(&[0; 4]))), Some((Code::Index, 1)));
    assert_eq!(code(session.output(1)), Some((Code::Index, 1)));
}

#[test]
fn an_arena_that_does_not_fit_is_an_error() {
    let bytes = package(&[]);
    let flash = flash::<4096>(&bytes);
    let model = load(&flash.0[..bytes.len()]).unwrap();
    let mut arena = Aligned::<{ 2 * ARENA }>::ZEROED;
    for bytes in 0..ARENA {
        let short = model.session(&mut arena.0[..bytes]);
        assert_eq!(code(short), Some((Code::ArenaBytes, ARENA as u32)), "{bytes}");
    }
    for offset in 1..64 {
        assert_eq!(code(model.session(&mut arena.0[offset..])), Some((Code::ArenaAlignment, 0)), "{offset}");
    }
    assert!(model.session(&mut arena.0[..ARENA]).is_ok());
}

#[test]
fn flash_that_has_gone_over_is_an_error_of_its_place() {
    let bytes = package(&[(GoldenSample::Seeded(7), [1; 32])]);
    let whole = flash::<4096>(&bytes);
    let table_end = HEADER_BYTES + 3 * ENTRY_BYTES;
    for at in 0..bytes.len() {
        for bit in [0x01, 0x80] {
            let mut worn = whole;
            worn.0[at] ^= bit;
            let error = load(&worn.0[..bytes.len()]).map(|_| ()).unwrap_err();
            let expected: &[Code] = match at {
                0..8 => &[Code::NotAPackage],
                8..12 => &[Code::Version],
                12..16 => &[Code::MalformedHeader],
                16..24 => &[Code::Length],
                24..28 => &[Code::MalformedHeader, Code::DamagedHeader],
                28..32 => &[Code::MalformedHeader],
                _ if at < table_end => &[Code::DamagedHeader],
                // Of a section, or of the zeros between two.
                _ => &[Code::DamagedSection, Code::MalformedSection],
            };
            assert!(expected.contains(&error.code), "byte {at}: {error}");
        }
    }
    for len in 0..bytes.len() {
        let error = load(&whole.0[..len]).map(|_| ()).unwrap_err();
        assert!(matches!(error.code, Code::NotAPackage | Code::Length), "{len} bytes: {error}");
    }
    let shifted = &flash::<4160>(&[&[0; 4], &bytes[..]].concat()).0[4..4 + bytes.len()];
    assert_eq!(code(load(shifted)), Some((Code::PackageAlignment, 0)));
}

#[test]
fn a_program_without_an_operation_refuses_the_package_that_needs_it() {
    let bytes = package(&[]);
    let flash = flash::<4096>(&bytes);
    let bytes = &flash.0[..bytes.len()];
    assert_eq!(code(Model::<Other>::from_flash(bytes)), Some((Code::Operation, 0)));
    let reason = Package::<Other>::parse_for(bytes).unwrap_err().to_string();
    assert!(reason.contains("step 0 is Lookup") && reason.contains("build it again"), "{reason}");
    assert!(Model::<All>::from_flash(bytes).is_ok());
}

#[test]
fn a_program_knows_the_package_that_it_was_built_for() {
    let bytes = package(&[]);
    let flash = flash::<4096>(&bytes);
    let bytes = &flash.0[..bytes.len()];
    let model = load(bytes).unwrap();
    let mut hash = model.package().hash();
    assert_eq!(Aligned::package([1u8; 64], &[1; 32]).0, [1; 64]);
    assert!(model.expect(&hash).is_ok());
    hash[31] ^= 1;
    assert_eq!(code(model.expect(&hash)), Some((Code::OtherPackage, 0)));
}

#[test]
fn a_golden_sample_with_another_output_is_an_error() {
    let bytes = package(&[(GoldenSample::Seeded(7), [1; 32])]);
    let flash = flash::<4096>(&bytes);
    let mut arena = Aligned::<ARENA>::ZEROED;
    let mut session = load(&flash.0[..bytes.len()]).unwrap().session(&mut arena.0).unwrap();
    let error = session.selftest().unwrap_err();
    assert_eq!((error.code(), error.at), (401, 0));
    assert!(error.to_string().contains("golden sample"), "{error}");
}

#[test]
fn codes_are_numbers_of_their_own() {
    let numbers: Vec<u16> = Code::ALL.iter().map(|&code| code as u16).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert_eq!(size_of::<ModelError>(), 8);
}

/// Frames of four pixels.
struct Camera(Vec<[u8; 4]>);

impl Source<u8> for Camera {
    type Error = core::convert::Infallible;

    fn read(&mut self, sample: &mut [u8]) -> Result<bool, Self::Error> {
        let next = (!self.0.is_empty()).then(|| self.0.remove(0));
        Ok(next.is_some_and(|frame| {
            sample.copy_from_slice(&frame);
            true
        }))
    }
}

#[test]
fn a_board_watches_its_camera_with_a_package() {
    let bytes = package(&[]);
    let flash = flash::<4096>(&bytes);
    let mut arena = Aligned::<ARENA>::ZEROED;
    let session = load(&flash.0[..bytes.len()]).unwrap().session(&mut arena.0).unwrap();
    let pin = Pin::new(&[Write::set(State::Low), Write::set(State::High), Write::set(State::Low)]);
    let camera = Camera([10, 200, 220, 150, 90, 10].map(|bright| [5, 5, bright, 5]).to_vec());
    let mut sample = [0; 4];
    let part = (2, decision(0.6, 0.4, 2, 3));
    let mut watch = Watch::new(camera, session, Signal::new(pin, Level::ActiveHigh), part, &mut sample[..]);
    let on: Vec<bool> = std::iter::from_fn(|| watch.step().unwrap()).map(|report| report.on).collect();
    assert_eq!(on, [false, false, true, true, true, false]);
    watch.release().2.done();
}
