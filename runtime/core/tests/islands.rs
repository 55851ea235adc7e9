//! Steps that somebody else runs.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Aligned, Model, values};
use edgepack_core::format::plan::{Dims, ElemType, Island, IslandTensor, MAX_RANK, Op, Quant};
use edgepack_core::format::writer::encode_island;
use edgepack_core::format::{GoldenInput, Package};
use edgepack_core::kernels::isa::IsaToken;
use edgepack_core::{
    BindError, InputData, Islands, OutputData, Program, RunError, bind, bind_with_islands, requirements,
};

/// Adds one to every byte; fails on a first byte of 100.
#[derive(Debug, Default)]
struct Increment(AtomicUsize);

impl Islands for Increment {
    fn run(&self, section: u32, input: &[u8], output: &mut [u8]) -> bool {
        assert_eq!(section, 0);
        self.0.fetch_add(1, Ordering::Relaxed);
        output.iter_mut().zip(input).for_each(|(to, from)| *to = from.wrapping_add(1));
        input[0] != 100
    }
}

/// An island between an input and an output, and another output that does not depend on it.
fn model() -> Model {
    let mut model = Model::default();
    let input = model.input(5);
    let output = model.output_i8(5);
    model.outputs[0].exact = false;
    model.gives(input, ElemType::I8);
    let mut dims = Dims { rank: 1, sizes: [1; MAX_RANK] };
    dims.sizes[0] = 5;
    let tensor = [IslandTensor { dtype: ElemType::I8, dims }];
    model.islands.push(encode_island(&tensor, &tensor, b"x + 1"));
    model.step(Op::Island(Island { section: 0, input, output, macs: 0 }));
    model
}

fn with_islands(run: impl FnOnce(&Program<'_, '_>, &mut [u8], &Increment)) {
    let bytes = model().package();
    let package = Package::parse(bytes.get()).unwrap();
    let (islands, token) = (Increment::default(), IsaToken::scalar());
    let needed = requirements(&package, token);
    let (mut steps, mut arena) = (vec![None; needed.steps], Aligned::new(needed.arena_bytes));
    bind_with_islands(&package, token, &mut steps, &mut [], Some(&islands)).unwrap();
    run(&Program { package, steps: &steps, packed: &[] }, arena.get_mut(), &islands);
    arena.assert_guards();
}

#[test]
fn an_island_reads_and_writes_its_spans() {
    with_islands(|program, arena, islands| {
        program.set_input(0, InputData::Quantized(&[1, 2, -128, 127, 0]), arena).unwrap();
        program.run(arena).unwrap();
        let output = program.output(0, arena).unwrap();
        assert_eq!(output, OutputData::I8(&[2, 3, -127, -128, 1], Quant { scale: 0.5, zero_point: 0 }));
        assert!(output.values().eq([1.0, 1.5, -63.5, -64.0, 0.5]));
        assert_eq!(islands.0.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn an_island_that_fails_is_an_error_of_its_step() {
    with_islands(|program, arena, _| {
        program.set_input(0, InputData::Quantized(&[100; 5]), arena).unwrap();
        assert_eq!(program.run(arena), Err(RunError::Island { step: 0 }));
    });
}

#[test]
fn hashes_are_of_the_outputs_that_are_exact() {
    with_islands(|program, arena, _| {
        let sample: Vec<u8> = values(7, 5).iter().map(|&value| value as u8).collect();
        let hash = program.run_golden(GoldenInput::Stored(&sample), arena).unwrap();
        assert_eq!(hash, *blake3::hash(&sample).as_bytes());
    });
}

#[test]
fn without_somebody_who_runs_islands_a_package_is_refused() {
    let bytes = model().package();
    let package = Package::parse(bytes.get()).unwrap();
    let refused = bind(&package, IsaToken::scalar(), &mut [None; 1], &mut []);
    assert_eq!(refused, Err(BindError::Island { step: 0 }));
    let message = BindError::Island { step: 0 }.to_string();
    assert!(message.contains("--features tract") && message.contains("--islands never"), "{message}");
}
