//! What `requirements` says is enough, and one byte or one step less is a typed error.

mod common;

use common::{Aligned, GARBAGE, Model, Values, packing_tokens, range, tokens, values};
use edgepack_core::format::plan::{Conv, ElemType, Fill, Lookup, Op, Window};
use edgepack_core::format::{GoldenInput, Package};
use edgepack_core::kernels::isa::IsaToken;
use edgepack_core::{BindError, BoundStep, InputData, OutputData, Program, RunError, bind, requirements};

/// Two convolutions of 3x3 in a chain: every kind of memory is needed.
fn two_convolutions() -> Model {
    let mut model = Model::default();
    let mut input = model.input(4 * 4 * 3);
    for (index, [in_channels, out_channels]) in [[3, 5], [5, 20]].into_iter().enumerate() {
        let elems = 16 * out_channels;
        let output = if index == 1 { model.output_i8(elems) } else { model.buffer(elems) };
        let weights: Vec<i8> =
            values(40 + index as u64, 9 * in_channels * out_channels).iter().map(|w| w / 2).collect();
        let conv = Conv {
            input,
            output,
            window: Window {
                input_dims: [1, 4, 4, in_channels as u32],
                output_dims: [1, 4, 4, out_channels as u32],
                kernel: [3, 3],
                stride: [1, 1],
                dilation: [1, 1],
                pad: [1, 1],
            },
            groups: 1,
            input_zero_point: 0,
            weights: model.i8s(&weights),
            bias: model.i32s(&vec![9; out_channels]),
            multiplier: model.f32s(&vec![0.004; out_channels]),
            range: Some(range(0, -128, 127)),
            residual: None,
            same_weights_as: None,
        };
        model.step(Op::Conv(conv));
        input = output;
    }
    model
}

/// Everything that a token's program reads or writes, of exactly the required size.
struct Memory {
    token: IsaToken,
    package: Aligned,
    steps: usize,
    packed: Aligned,
    arena: Aligned,
}

impl Memory {
    fn new(model: &Model, token: IsaToken) -> Self {
        let package = model.package();
        let needed = requirements(&Package::parse(package.get()).unwrap(), token);
        assert_eq!((needed.steps, needed.arena_bytes), (model.steps.len(), model.arena_bytes as usize));
        let (packed, arena) = (Aligned::new(needed.packed_bytes), Aligned::new(needed.arena_bytes));
        Self { token, package, steps: needed.steps, packed, arena }
    }

    fn bind(&self, steps: usize, packed: &mut [u8]) -> Result<(), BindError> {
        let package = Package::parse(self.package.get()).unwrap();
        bind(&package, self.token, &mut vec![None; steps], packed)
    }

    /// Calls `check` with the bound program and an arena of garbage.
    fn with_program(mut self, check: impl FnOnce(&Program<'_, '_>, &mut Aligned)) {
        let package = Package::parse(self.package.get()).unwrap();
        let mut steps = vec![None; self.steps];
        bind(&package, self.token, &mut steps, self.packed.get_mut()).unwrap();
        check(&Program { package, steps: &steps, packed: self.packed.get() }, &mut self.arena);
        self.arena.assert_guards();
    }
}

#[test]
fn fewer_steps_than_the_plan_has_are_refused() {
    for token in tokens() {
        let mut memory = Memory::new(&two_convolutions(), token);
        let mut packed = std::mem::replace(&mut memory.packed, Aligned::new(0));
        for given in 0..2 {
            let error = memory.bind(given, packed.get_mut()).unwrap_err();
            assert_eq!(error, BindError::Steps { needed: 2, given });
        }
        for given in [2, 3, 100] {
            memory.bind(given, packed.get_mut()).unwrap();
        }
    }
}

#[test]
fn packed_memory_is_enough_from_the_required_byte_on() {
    for token in packing_tokens() {
        let memory = Memory::new(&two_convolutions(), token);
        let needed = memory.packed.get().len();
        assert!(needed > 0 && needed.is_multiple_of(64), "{needed}");
        for given in 0..needed {
            let error = memory.bind(2, Aligned::new(given).get_mut()).unwrap_err();
            assert_eq!(error, BindError::Packed { needed, given });
        }
        for given in [needed, needed + 1, 2 * needed] {
            memory.bind(2, Aligned::new(given).get_mut()).unwrap();
        }
    }
}

#[test]
fn packed_memory_at_no_multiple_of_64_is_refused() {
    for token in packing_tokens() {
        let memory = Memory::new(&two_convolutions(), token);
        let mut packed = Aligned::new(memory.packed.get().len());
        for by in 1..64 {
            assert_eq!(memory.bind(2, packed.shifted(by)), Err(BindError::Alignment), "{by}");
        }
    }
}

#[test]
fn scalar_kernels_need_no_packed_memory() {
    let memory = Memory::new(&two_convolutions(), IsaToken::scalar());
    assert_eq!(memory.packed.get().len(), 0);
    memory.bind(2, &mut []).unwrap();
}

#[test]
fn arenas_are_enough_from_the_required_byte_on() {
    for token in tokens() {
        Memory::new(&two_convolutions(), token).with_program(|program, arena| {
            let needed = arena.get().len();
            for given in 0..needed {
                let arena = &mut arena.get_mut()[..given];
                let short = RunError::Arena { needed, given };
                assert_eq!(program.run(arena), Err(short));
                let input = InputData::Quantized(&[1; 48]);
                assert_eq!(program.set_input(0, input, arena), Err(short));
                assert_eq!(program.output(0, arena), Err(short));
                assert_eq!(program.run_golden(GoldenInput::Seeded(1), arena), Err(short));
            }
            assert!(arena.get().iter().all(|&byte| byte == GARBAGE), "a refused arena was written");
            program.set_input(0, InputData::Quantized(&[1; 48]), arena.get_mut()).unwrap();
            program.run(arena.get_mut()).unwrap();
            let output = Values::of(program.output(0, arena.get()).unwrap());
            let mut larger = Aligned::new(needed + 1);
            program.set_input(0, InputData::Quantized(&[1; 48]), larger.get_mut()).unwrap();
            program.run(larger.get_mut()).unwrap();
            assert_eq!(Values::of(program.output(0, larger.get()).unwrap()), output);
            assert_eq!(larger.get()[needed], GARBAGE);
        });
    }
}

#[test]
fn arenas_at_no_multiple_of_64_are_refused() {
    for token in tokens() {
        Memory::new(&two_convolutions(), token).with_program(|program, arena| {
            for by in 1..64 {
                let arena = arena.shifted(by);
                let input = InputData::Quantized(&[1; 48]);
                assert_eq!(program.set_input(0, input, arena), Err(RunError::Alignment));
                assert_eq!(program.run(arena), Err(RunError::Alignment));
                assert_eq!(program.output(0, arena), Err(RunError::Alignment));
                assert_eq!(program.run_golden(GoldenInput::Seeded(1), arena), Err(RunError::Alignment));
            }
        });
    }
}

#[test]
fn plans_with_little_scratch_run_by_a_kernel_that_needs_no_more_to_the_same_bits() {
    let whole = two_convolutions();
    let mut little = two_convolutions();
    little.steps[1].scratch.bytes = 0;
    let output_of = |model: &Model, token| {
        let mut output = None;
        Memory::new(model, token).with_program(|program, arena| {
            program.set_input(0, InputData::Quantized(&[1; 48]), arena.get_mut()).unwrap();
            program.run(arena.get_mut()).unwrap();
            let OutputData::I8(values, _) = program.output(0, arena.get_mut()).unwrap() else {
                panic!("not int8")
            };
            output = Some(values.to_vec());
        });
        output
    };
    for token in tokens() {
        assert_eq!(output_of(&little, token), output_of(&whole, token), "{}", token.set());
    }
}

#[test]
fn packed_memory_that_was_taken_away_fails_the_step_that_reads_it() {
    for token in packing_tokens() {
        Memory::new(&two_convolutions(), token).with_program(|program, arena| {
            let last = program.packed.len() - 1;
            let short = Program { packed: &program.packed[..last], ..*program };
            assert_eq!(short.run(arena.get_mut()), Err(RunError::Step { step: 1 }));
            let none = Program { packed: &[], ..*program };
            assert_eq!(none.run(arena.get_mut()), Err(RunError::Step { step: 0 }));
        });
    }
}

#[test]
fn binding_again_forgets_the_steps_of_a_longer_plan() {
    let mut long = Model::default();
    let tensor = long.input(8);
    long.gives(tensor, ElemType::I8);
    let mut short = long.clone();
    for value in [1, 2, 3] {
        long.step(Op::Fill(Fill { output: tensor, value }));
    }
    let table = short.i8s(&values(50, 256));
    short.step(Op::Lookup(Lookup { input: tensor, output: tensor, table, to_f32: false }));

    let packages = [long.package(), short.package()];
    let packages = packages.each_ref().map(|package| Package::parse(package.get()).unwrap());
    let mut steps: Vec<Option<BoundStep<'_>>> = vec![None; 4];
    for package in &packages {
        bind(package, IsaToken::scalar(), &mut steps, &mut []).unwrap();
    }
    assert_eq!(steps.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, false, false]);
    let program = Program { package: packages[1], steps: &steps, packed: &[] };
    let mut arena = Aligned::new(8);
    let input = values(51, 8);
    program.set_input(0, InputData::Quantized(&input), arena.get_mut()).unwrap();
    program.run(arena.get_mut()).unwrap();
    let output = Values::of(program.output(0, arena.get()).unwrap());
    assert_eq!(output, Values::I8(short.run_i8(&[&input])));
}

#[test]
fn errors_tell_what_is_needed_and_what_was_given() {
    let texts = [
        BindError::Steps { needed: 7, given: 5 }.to_string(),
        BindError::Packed { needed: 7, given: 5 }.to_string(),
        RunError::Arena { needed: 7, given: 5 }.to_string(),
        RunError::Length { needed: 7, given: 5 }.to_string(),
        RunError::Index { index: 7, count: 5 }.to_string(),
    ];
    for text in &texts {
        assert!(text.contains('7') && text.contains('5'), "{text}");
    }
    assert!(BindError::Scratch { step: 3 }.to_string().contains("step 3"));
    assert!(RunError::Step { step: 3 }.to_string().contains("step 3"));
}
