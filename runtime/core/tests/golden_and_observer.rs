//! Golden samples are inputs, a run and a hash; an observer hears of every step.

mod common;

use common::{Model, range, values, with_program};
use edgepack_core::format::plan::{
    self, Binary, BinaryOp, ElemType, Fill, Lookup, Op, Operand, Softmax, SoftmaxInput, SoftmaxOutput,
};
use edgepack_core::format::writer::GoldenSample;
use edgepack_core::format::{GoldenInput, Hash, Package, SeededBytes};
use edgepack_core::kernels::isa::IsaToken;
use edgepack_core::{InputData, Observer, Program, RunError, Team};

const ELEMS: [usize; 2] = [12, 30];

/// Two inputs of different sizes; an f32 and an int8 output that depend on both.
fn two_and_two() -> Model {
    let mut model = Model::default();
    let [short, long] = ELEMS.map(|elems| model.input(elems));
    let sum = model.output_i8(30);
    model.step(Op::Binary(Binary {
        op: BinaryOp::Add { lhs_multiplier: 0.5, rhs_multiplier: 0.5 },
        lhs: Operand::Arena(long),
        rhs: Operand::Arena(short),
        output: sum,
        lhs_zero_point: 0,
        rhs_zero_point: 0,
        range: range(0, -128, 127),
        dims: [1, 1, 3, 10],
        lhs_strides: [30, 30, 10, 1],
        rhs_strides: [0, 0, 1, 1],
    }));
    let probabilities = model.output_f32(30);
    let table: Vec<u16> = (0..256).map(|d| ((-(d as f32) * 0.03).exp() * 65535.0) as u16).collect();
    let input = SoftmaxInput::I8 { input: sum, table: model.u16s(&table) };
    model.step(Op::Softmax(Softmax { input, output: SoftmaxOutput::F32(probabilities), channels: 10 }));
    let table = model.i8s(&values(60, 256));
    model.step(Op::Lookup(Lookup { input: sum, output: sum, table, to_f32: false }));
    model
}

/// BLAKE3 of the outputs after the inputs were set one by one.
fn hash_of_run(program: &Program<'_, '_>, arena: &mut [u8], sample: &[i8]) -> Hash {
    let (first, second) = sample.split_at(ELEMS[0]);
    for (index, values) in [first, second].into_iter().enumerate() {
        program.set_input(index, InputData::Quantized(values), arena).unwrap();
    }
    program.run(arena).unwrap();
    let mut bytes = Vec::new();
    for index in 0..2 {
        bytes.extend(program.output(index, arena).unwrap().bytes());
    }
    assert_eq!(bytes.len(), 30 + 4 * 30);
    *blake3::hash(&bytes).as_bytes()
}

#[test]
fn golden_hashes_are_those_of_setting_the_inputs_and_running() {
    let seeded: Vec<u8> = SeededBytes::new(77).take(42).collect();
    let stored: Vec<u8> = (0..42).map(|i| i * 6).collect();
    with_program(&two_and_two().package(), IsaToken::scalar(), |program, arena| {
        let mut hashes = Vec::new();
        for sample in [&seeded, &stored] {
            let expected = hash_of_run(program, arena, bytemuck::cast_slice(sample));
            arena.fill(0);
            assert_eq!(program.run_golden(GoldenInput::Stored(sample), arena), Ok(expected));
            hashes.push(expected);
        }
        assert_ne!(hashes[0], hashes[1]);
        arena.fill(0);
        assert_eq!(program.run_golden(GoldenInput::Seeded(77), arena), Ok(hashes[0]));
        assert_ne!(program.run_golden(GoldenInput::Seeded(78), arena), Ok(hashes[0]));
    });
}

#[test]
fn golden_samples_of_a_package_have_the_hashes_that_it_says() {
    let mut model = two_and_two();
    let stored: Vec<u8> = (0..42).map(|i| 255 - i * 3).collect();
    let samples = [GoldenSample::Seeded(5), GoldenSample::Stored(stored), GoldenSample::Seeded(u64::MAX)];
    let bytes = samples.each_ref().map(|sample| match sample {
        GoldenSample::Seeded(seed) => SeededBytes::new(*seed).take(42).collect(),
        GoldenSample::Stored(bytes) => bytes.clone(),
    });
    let hashes = with_program(&model.package(), IsaToken::scalar(), |program, arena| {
        bytes.each_ref().map(|sample: &Vec<u8>| hash_of_run(program, arena, bytemuck::cast_slice(sample)))
    });
    model.golden = samples.into_iter().zip(hashes).collect();
    let package = model.package();
    let golden: Vec<_> = Package::parse(package.get()).unwrap().golden().collect();
    assert_eq!(golden.len(), 3);
    with_program(&package, IsaToken::scalar(), |program, arena| {
        for sample in &golden {
            assert_eq!(program.run_golden(sample.input, arena), Ok(sample.output_hash));
        }
    });
}

#[test]
fn golden_samples_that_are_too_short_are_refused() {
    with_program(&two_and_two().package(), IsaToken::scalar(), |program, arena| {
        for (given, needed) in [(0, 12), (11, 12), (12, 30), (41, 30)] {
            let error = program.run_golden(GoldenInput::Stored(&vec![1; given]), arena).unwrap_err();
            assert_eq!(error, RunError::Length { needed, given: 0 });
        }
    });
}

/// What an observer was told.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Heard {
    Before(usize),
    After(usize),
}

#[derive(Default)]
struct Recorder(Vec<Heard>);

impl Observer for Recorder {
    fn before(&mut self, step: usize) {
        self.0.push(Heard::Before(step));
    }

    fn after(&mut self, step: usize) {
        self.0.push(Heard::After(step));
    }
}

#[test]
fn observers_hear_once_before_and_once_after_each_step_in_order() {
    for steps in [0, 1, 2, 9] {
        let mut model = Model::default();
        let tensor = model.input(8);
        for value in 0..steps {
            model.step(Op::Fill(Fill { output: tensor, value: value as i8 }));
        }
        let expected: Vec<Heard> =
            (0..steps).flat_map(|step| [Heard::Before(step), Heard::After(step)]).collect();
        let heard = with_program(&model.package(), IsaToken::scalar(), |program, arena| {
            let mut recorder = Recorder::default();
            program.run_with(arena, &mut recorder, &mut Team::new(&mut (), &mut [], 0)).unwrap();
            recorder.0
        });
        assert_eq!(heard, expected);
    }
}

#[test]
fn observers_see_what_each_step_has_written() {
    struct Look(plan::Span, Vec<u8>);
    impl Observer for Look {
        fn before(&mut self, _step: usize) {}
        fn after(&mut self, _step: usize) {}
        fn look(&mut self, step: usize, arena: &[u8]) {
            assert_eq!(step, self.1.len());
            let tensor = &arena[self.0.offset as usize..][..self.0.bytes as usize];
            assert!(tensor.iter().all(|&byte| byte == tensor[0]));
            self.1.push(tensor[0]);
        }
    }
    let mut model = Model::default();
    let tensor = model.input(8);
    for value in [3, -7, 120] {
        model.step(Op::Fill(Fill { output: tensor, value }));
    }
    with_program(&model.package(), IsaToken::scalar(), |program, arena| {
        let mut look = Look(tensor, Vec::new());
        program.run_with(arena, &mut look, &mut Team::new(&mut (), &mut [], 0)).unwrap();
        assert_eq!(look.1, [3, 249, 120]);
    });
}

#[test]
fn observers_hear_nothing_where_the_arena_is_refused() {
    let model = two_and_two();
    with_program(&model.package(), IsaToken::scalar(), |program, arena| {
        let mut recorder = Recorder::default();
        let last = arena.len() - 1;
        program.run_with(&mut arena[..last], &mut recorder, &mut Team::new(&mut (), &mut [], 0)).unwrap_err();
        assert_eq!(recorder.0, []);
    });
}

#[test]
fn observers_change_nothing() {
    let mut model = Model::default();
    let tensor = model.input(8);
    model.gives(tensor, ElemType::I8);
    let table = model.i8s(&values(61, 256));
    model.step(Op::Lookup(Lookup { input: tensor, output: tensor, table, to_f32: false }));
    with_program(&model.package(), IsaToken::scalar(), |program, arena| {
        program.set_input(0, InputData::Quantized(&[1, 2, 3, 4, 5, 6, 7, 8]), arena).unwrap();
        let mut observed = common::Aligned::copy_of(arena);
        program.run(arena).unwrap();
        program
            .run_with(observed.get_mut(), &mut Recorder::default(), &mut Team::new(&mut (), &mut [], 0))
            .unwrap();
        assert_eq!(observed.get(), arena);
    });
}
