//! A package in memory of its owner: what a microcontroller does, with the sizes that it would have.

mod common;

use common::decision;
use edgepack_firmware::edgepack_core::format::plan::{
    Dims, ElemType, Head, Input, Lookup, Op, Output, Pixels, Quant, Span, Step,
};
use edgepack_firmware::edgepack_core::format::writer::{
    GoldenSample, PackageWriter, encode_golden, encode_plan,
};
use edgepack_firmware::edgepack_core::format::{Hash, SectionKind};
use edgepack_firmware::edgepack_core::kernels::isa::IsaToken;
use edgepack_firmware::edgepack_core::{BindError, BoundStep, InputData, OutputData, RunError};
use edgepack_firmware::{Aligned, Inference, Level, LoadError, Memory, Runner, Signal, Source, Watch};
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

struct Board<'m> {
    steps: [Option<BoundStep<'m>>; 1],
    arena: Aligned<ARENA>,
}

impl Board<'_> {
    fn new() -> Self {
        Self { steps: [None], arena: Aligned::ZEROED }
    }
}

impl<'m> Board<'m> {
    fn memory(&mut self) -> Memory<'m, '_> {
        Memory { steps: &mut self.steps, packed: &mut [], arena: &mut self.arena.0 }
    }
}

#[test]
fn a_package_runs_in_memory_of_known_size() {
    let bytes = package(&[]);
    let flash = flash::<4096>(&bytes);
    let bytes = &flash.0[..bytes.len()];
    let needed = Runner::requirements(bytes, IsaToken::scalar()).unwrap();
    assert_eq!((needed.arena_bytes, needed.packed_bytes, needed.steps), (ARENA, 0, 1));
    let mut board = Board::new();
    let mut runner = Runner::load(bytes, IsaToken::scalar(), board.memory()).unwrap();
    assert_eq!(runner.selftest(), Ok(0));
    let output = runner.infer(InputData::Pixels(&[0, 51, 255, 102])).unwrap();
    assert_eq!(output, OutputData::F32(&[0.0, 0.2, 1.0, 0.4]));
    assert_eq!(runner.infer(InputData::Pixels(&[0; 3])), Err(RunError::Length { needed: 4, given: 3 }));
}

#[test]
fn what_does_not_fit_is_an_error_and_no_panic() {
    let bytes = package(&[]);
    let flash = flash::<4096>(&bytes);
    let bytes = &flash.0[..bytes.len()];
    let token = IsaToken::scalar();
    let load = |bytes: &[u8], steps: usize, arena: std::ops::Range<usize>| {
        let mut board = Board::new();
        let memory =
            Memory { steps: &mut board.steps[..steps], packed: &mut [], arena: &mut board.arena.0[arena] };
        Runner::load(bytes, token, memory).map(|_| ()).unwrap_err()
    };
    assert_eq!(load(bytes, 0, 0..ARENA), LoadError::Bind(BindError::Steps { needed: 1, given: 0 }));
    let short = RunError::Arena { needed: ARENA, given: ARENA - 1 };
    assert_eq!(load(bytes, 1, 0..ARENA - 1), LoadError::Run(short));
    // A byte of the flash that has gone over.
    for at in [0, 20, bytes.len() / 2, bytes.len() - 1] {
        let mut worn = flash;
        worn.0[at] ^= 1;
        assert!(matches!(load(&worn.0[..bytes.len()], 1, 0..ARENA), LoadError::Format(_)), "byte {at}");
    }
    assert!(matches!(load(&bytes[..bytes.len() - 1], 1, 0..ARENA), LoadError::Format(_)));
    assert!(matches!(load(&[], 1, 0..ARENA), LoadError::Format(_)));
}

#[test]
fn a_golden_sample_with_another_output_is_an_error() {
    let sample = GoldenSample::Seeded(7);
    let bytes = package(&[(sample, [1; 32])]);
    let flash = flash::<4096>(&bytes);
    let mut board = Board::new();
    let mut runner = Runner::load(&flash.0[..bytes.len()], IsaToken::scalar(), board.memory()).unwrap();
    let error = runner.selftest().unwrap_err();
    assert_eq!(error, LoadError::Golden { index: 0 });
    assert!(error.to_string().contains("golden sample 0"), "{error}");
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
    let mut board = Board::new();
    let runner = Runner::load(&flash.0[..bytes.len()], IsaToken::scalar(), board.memory()).unwrap();
    let pin = Pin::new(&[Write::set(State::Low), Write::set(State::High), Write::set(State::Low)]);
    let camera = Camera([10, 200, 220, 150, 90, 10].map(|bright| [5, 5, bright, 5]).to_vec());
    let mut sample = [0; 4];
    let part = (2, decision(0.6, 0.4, 2, 3));
    let mut watch = Watch::new(camera, runner, Signal::new(pin, Level::ActiveHigh), part, &mut sample[..]);
    let on: Vec<bool> = std::iter::from_fn(|| watch.step().unwrap()).map(|report| report.on).collect();
    assert_eq!(on, [false, false, true, true, true, false]);
    watch.release().2.done();
}
