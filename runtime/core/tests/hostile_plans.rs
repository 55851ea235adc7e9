//! Plans that nobody's packager would write: whatever validation accepts runs to its end, writes
//! nothing but its outputs, and gives the same on every instruction set.

mod common;
#[path = "common/random_plan.rs"]
mod random_plan;

use std::collections::BTreeMap;

use common::{Aligned, assert_only_written, run_shared, tokens};
use edgepack_core::format::plan::{ElemType, Op, Step};
use edgepack_core::format::{Error, GoldenInput, Package, SeededBytes};
use edgepack_core::kernels::isa::IsaToken;
use edgepack_core::{BindError, InputData, Program, RunError, bind, requirements};
use random_plan::RandomPlan;

const CASES: u64 = 40_000;
/// More work than this takes too long for a test; a plan of few bytes may ask for it.
const MAX_WORK: u64 = 1 << 20;
/// Changed plans may ask for up to 2 GB.
const MAX_ARENA: usize = 1 << 16;

/// Says which case it was, where one panics.
struct Case(u64);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in case {}", self.0);
        }
    }
}

fn kind(op: &Op) -> &'static str {
    match op {
        Op::Conv(conv)
            if conv.groups > 1 && conv.weights.bytes == conv.groups * size(&conv.window.kernel) as u32 =>
        {
            "depthwise"
        }
        Op::Conv(conv) if conv.residual.is_some() => "conv with residual",
        Op::Conv(conv) if conv.groups > 1 => "grouped conv",
        Op::Conv(_) => "conv",
        Op::Binary(_) => "binary",
        Op::Lookup(_) => "lookup",
        Op::Pool(_) => "pool",
        Op::Softmax(_) => "softmax",
        Op::Fill(_) => "fill",
        Op::Copy(_) => "copy",
        Op::MatMul(_) => "matmul",
        Op::LayerNorm(_) => "layer norm",
        Op::Recurrent(_) => "recurrent",
        Op::Elementwise(_) => "elementwise",
        Op::ConvF32(_) => "conv f32",
        Op::PoolF32(_) => "pool f32",
        Op::MatMulF32(_) => "matmul f32",
        Op::LayerNormF32(_) => "layer norm f32",
        Op::Convert(_) => "convert",
        Op::Gather(_) => "gather",
        Op::Scatter(_) => "scatter",
        Op::TopK(_) => "top k",
        Op::NonMaxSuppression(_) => "suppression",
        Op::QuantizeRows(_) => "quantize rows",
        Op::RescaleRows(_) => "rescale rows",
        Op::RecurrentF32(_) => "recurrent f32",
        Op::Island(_) => "island",
        Op::ConvI16(_) => "conv i16",
        Op::PoolI16(_) => "pool i16",
    }
}

fn size(dims: &[u32]) -> u64 {
    dims.iter().fold(1, |product: u64, &dim| product.saturating_mul(dim.into()))
}

fn work(op: &Op) -> u64 {
    match op {
        Op::Conv(conv) => u64::from(conv.output.bytes) * size(&conv.window.kernel),
        Op::Pool(pool) => u64::from(pool.output.bytes) * size(&pool.window.kernel),
        Op::Copy(copy) => size(&copy.dims),
        Op::MatMul(product) => size(&product.geometry.batch).saturating_mul(size(&product.geometry.sizes)),
        Op::ConvF32(conv) => {
            let channels = u64::from(conv.window.input_dims[3] / conv.groups);
            (u64::from(conv.output.bytes) * size(&conv.window.kernel)).saturating_mul(channels)
        }
        Op::TopK(op) => size(&op.dims) * u64::from(op.k),
        Op::NonMaxSuppression(op) => size(&op.dims).saturating_mul(op.most.into()),
        Op::PoolF32(pool) => u64::from(pool.output.bytes) * size(&pool.window.kernel),
        Op::MatMulF32(product) => size(&product.geometry.batch).saturating_mul(size(&product.geometry.sizes)),
        Op::RecurrentF32(op) => u64::from(op.steps) * u64::from(op.weights.bytes) * u64::from(op.batch),
        Op::ConvI16(conv) => {
            let channels = u64::from(conv.window.input_dims[3] / conv.groups);
            (u64::from(conv.output.bytes) * size(&conv.window.kernel)).saturating_mul(channels)
        }
        Op::PoolI16(op) => u64::from(op.pool.output.bytes) * size(&op.pool.window.kernel),
        Op::Recurrent(op) => u64::from(op.steps) * u64::from(op.weights.bytes) * u64::from(op.batch),
        _ => 0,
    }
}

/// Gives every input in every form that it has.
fn set_inputs(program: &Program<'_, '_>, arena: &mut [u8]) {
    for (index, input) in program.package.inputs().enumerate() {
        let elems = input.dims.elems().unwrap() as usize;
        let pixels: Vec<u8> = SeededBytes::new(index as u64).take(elems).collect();
        // Without limits every integer is taken.
        match input.limits.or(input.dtype.is_integer().then_some([i32::MIN, i32::MAX])) {
            None => {
                let floats: Vec<f32> = pixels.iter().map(|&x| f32::from(x) * 0.1 - 5.0).collect();
                program.set_input(index, InputData::F32(&floats), arena).unwrap();
            }
            Some(limits) => {
                let truths = input.dtype == ElemType::Bool;
                let ends = limits.map(|end| if truths { end.clamp(0, 1) } else { end }.into());
                let integers: Vec<i64> = ends.into_iter().cycle().take(elems).collect();
                program.set_input(index, InputData::I64(&integers), arena).unwrap();
            }
        }
        let wanted = if input.pixels.is_some() { Ok(()) } else { Err(RunError::NoPixels) };
        assert_eq!(program.set_input(index, InputData::Pixels(&pixels), arena), wanted);
        let quantized = bytemuck::cast_slice(&pixels);
        program.set_input(index, InputData::Quantized(quantized), arena).unwrap();
    }
}

/// Runs an accepted package in an arena of exactly the required size; gives the arena afterwards, or
/// `None` where this token's kernels need more scratch memory than the plan gives.
fn run(package: Package<'_>, token: IsaToken, plan: &[Step<'_>], case: u64) -> Option<Vec<u8>> {
    let needed = requirements(&package, token);
    assert_eq!((needed.steps, needed.arena_bytes), (plan.len(), package.head().arena_bytes as usize));
    let mut steps = vec![None; needed.steps];
    let mut packed = Aligned::new(needed.packed_bytes);
    match bind(&package, token, &mut steps, packed.get_mut()) {
        Err(BindError::Scratch { .. }) if token != IsaToken::scalar() => return None,
        bound => bound.unwrap(),
    }
    packed.assert_guards();
    let program = Program { package, steps: &steps, packed: packed.get() };
    let mut memory = Aligned::new(needed.arena_bytes);
    let arena = memory.get_mut();
    arena.iter_mut().zip(SeededBytes::new(case)).for_each(|(to, byte)| *to = byte);
    set_inputs(&program, arena);
    let before = arena.to_vec();
    program.run(arena).unwrap();
    assert_only_written(plan, &before, arena);
    let after = arena.to_vec();
    // What threads share gives the same, but for what is left in scratch memory.
    arena.copy_from_slice(&before);
    run_shared(&program, token, arena, 2 + case as usize % 3);
    assert_only_written(plan, &before, arena);
    if let (Some(alone), Some(shared)) =
        (without_scratch(plan, after.clone()), without_scratch(plan, arena.to_vec()))
    {
        assert_eq!(alone, shared, "other values on threads");
    }
    for (index, output) in package.outputs().enumerate() {
        let bytes = program.output(index, arena).unwrap().bytes().len() as u32;
        assert_eq!(Some(bytes / output.dtype.bytes()), output.dims.elems());
    }
    program.run_golden(GoldenInput::Seeded(case), arena).unwrap();
    memory.assert_guards();
    Some(after)
}

/// Of a plan of one step, whose scratch memory nothing else reads, everything but that memory.
fn without_scratch(plan: &[Step<'_>], mut arena: Vec<u8>) -> Option<Vec<u8>> {
    let [step] = plan else { return None };
    arena[step.scratch.offset as usize..][..step.scratch.bytes as usize].fill(0);
    Some(arena)
}

#[test]
fn plans_that_validation_accepts_run_to_their_end_and_write_only_their_outputs() {
    let (mut run_count, mut too_long, mut compared) = (0, 0, 0);
    let mut refused: BTreeMap<&str, u32> = BTreeMap::new();
    let mut kinds: BTreeMap<&str, u32> = BTreeMap::new();
    for case in 0..CASES {
        let _case = Case(case);
        let package = RandomPlan::new(case).package();
        let package = match Package::parse(package.get()) {
            Ok(package) => package,
            Err(Error::Malformed { field, .. }) => {
                *refused.entry(field).or_default() += 1;
                continue;
            }
            Err(error) => panic!("the hashes are right: {error}"),
        };
        let plan: Vec<Step<'_>> = package.steps().collect();
        if plan.iter().map(|step| work(&step.op)).sum::<u64>() > MAX_WORK
            || package.head().arena_bytes as usize > MAX_ARENA
        {
            too_long += 1;
            continue;
        }
        run_count += 1;
        plan.iter().for_each(|step| *kinds.entry(kind(&step.op)).or_default() += 1);
        let arenas: Vec<_> =
            tokens().into_iter().filter_map(|token| run(package, token, &plan, case)).collect();
        let arenas: Vec<_> = arenas.into_iter().filter_map(|arena| without_scratch(&plan, arena)).collect();
        for pair in arenas.windows(2) {
            assert_eq!(pair[0], pair[1], "{plan:?}");
            compared += 1;
        }
    }
    println!("{run_count} of {CASES} plans were run, {too_long} were too long to run; steps run: {kinds:?}");
    println!("refused for: {refused:?}");
    assert!(run_count > CASES / 3, "too few plans were accepted for this to test anything");
    assert!(too_long < CASES / 50);
    assert!(kinds.len() == 28 && kinds.values().all(|&count| count > 300), "{kinds:?}");
    // Where nearly all is accepted, too little of it is hostile.
    assert!(refused.values().sum::<u32>() > CASES as u32 / 10 && refused.len() > 25, "{refused:?}");
    assert!(compared > 0 || tokens().len() == 1);
}
