//! Small packages, put together by hand, and what runs them.
#![allow(dead_code)] // Every test file uses a part of it.

#[path = "../../../kernels/src/conv/conformance/detect.rs"]
mod detect;

use edgepack_core::format::plan::{
    Dims, ElemType, Head, Input, Op, Output, Quant, Range, SoftmaxOutput, Span, Step, WeightFormat,
};
use edgepack_core::format::writer::{GoldenSample, PackageWriter, encode_golden, encode_plan};
use edgepack_core::format::{GoldenInput, Hash, Package, SectionKind, SeededBytes};
use edgepack_core::kernels::conv::{matmul, rows};
use edgepack_core::kernels::isa::{IsaSet, IsaToken};
use edgepack_core::{
    InputData, Interpreter, OutputData, Parallel, Program, Team, bind, conv_shape, mat_mul_shape,
    product_shape, recurrent_f32_scratch_bytes, recurrent_f32_shape, recurrent_shape, requirements,
};

/// What guards memory on both sides.
const GUARD: usize = 64;
const GUARD_BYTE: u8 = 0xc3;
/// What memory holds before anything was written to it.
pub const GARBAGE: u8 = 0xa5;

/// Garbage at a multiple of 64, with guards before and after it.
pub struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub fn new(len: usize) -> Self {
        let mut bytes = vec![GUARD_BYTE; len + 2 * GUARD + 64];
        let start = GUARD + bytes.as_ptr().addr().wrapping_neg() % 64;
        bytes[start..start + len].fill(GARBAGE);
        Self { bytes, start, len }
    }

    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut copy = Self::new(bytes.len());
        copy.get_mut().copy_from_slice(bytes);
        copy
    }

    pub fn get(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    pub fn get_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }

    /// As many bytes, from `by` later on.
    pub fn shifted(&mut self, by: usize) -> &mut [u8] {
        &mut self.bytes[self.start + by..][..self.len]
    }

    pub fn assert_guards(&self) {
        let (before, rest) = self.bytes.split_at(self.start);
        let guards = before.iter().chain(&rest[self.len..]);
        assert!(guards.copied().all(|byte| byte == GUARD_BYTE), "something was written outside");
    }
}

/// A token for every instruction set of this processor, the scalar one first.
pub fn tokens() -> Vec<IsaToken> {
    let here = detect::detect();
    // SAFETY: `detect` has just found the extensions of `here`.
    let all = unsafe { IsaToken::assume(here) };
    let sets = IsaSet::names().map(|name| IsaSet::parse(name).unwrap());
    sets.filter(|set| here.contains(*set)).map(|set| all.lowered_to(set)).collect()
}

/// The tokens whose convolutions read packed weights. Says so where there is none.
pub fn packing_tokens() -> Vec<IsaToken> {
    let tokens = tokens().split_off(1);
    if tokens.is_empty() {
        eprintln!("skipped: no kernel of this processor packs weights");
    }
    tokens
}

pub fn range(zero_point: i8, min: i8, max: i8) -> Range {
    Range { zero_point, min, max }
}

/// `rne(clamp(value, min - zero_point, max - zero_point)) + zero_point`; not-a-number gives `min`.
pub fn quantize(value: f32, range: Range) -> i8 {
    let [zero_point, min, max] = [range.zero_point, range.min, range.max].map(f32::from);
    if value.is_nan() {
        return range.min;
    }
    (value.max(min - zero_point).min(max - zero_point).round_ties_even() + zero_point) as i8
}

/// Pseudo-random values over the whole of int8.
pub fn values(seed: u64, len: usize) -> Vec<i8> {
    SeededBytes::new(seed).take(len).map(|byte| byte as i8).collect()
}

pub fn size(dims: &[u32]) -> usize {
    dims.iter().product::<u32>() as usize
}

pub fn span(offset: u32, bytes: u32) -> Span {
    Span { offset, bytes }
}

/// `dims` as a shape of the model.
pub fn shape(dims: &[u32]) -> Dims {
    let mut sizes = [1; 6];
    sizes[..dims.len()].copy_from_slice(dims);
    Dims { rank: dims.len() as u8, sizes }
}

/// The span that a step writes, beside its scratch memory.
pub fn written(op: &Op) -> Span {
    match op {
        Op::Conv(op) => op.output,
        Op::Binary(op) => op.output,
        Op::Lookup(op) => op.output,
        Op::Pool(op) => op.output,
        Op::Softmax(op) => match op.output {
            SoftmaxOutput::I8 { output, .. } | SoftmaxOutput::F32(output) => output,
        },
        Op::Fill(op) => op.output,
        Op::Copy(op) => op.output,
        Op::MatMul(op) => op.output,
        Op::LayerNorm(op) => op.output,
        Op::Recurrent(op) => op.output,
        Op::Elementwise(op) => op.output,
        Op::ConvF32(op) => op.output,
        Op::PoolF32(op) => op.output,
        Op::MatMulF32(op) => op.output,
        Op::LayerNormF32(op) => op.output,
        Op::Convert(op) => op.output,
        Op::Gather(op) => op.output,
        Op::Scatter(op) => op.output,
        Op::TopK(op) => op.output,
        Op::NonMaxSuppression(op) => op.output,
        Op::QuantizeRows(op) => op.output,
        Op::RecurrentF32(op) => op.output,
        Op::RescaleRows(op) => op.tensor,
        Op::Island(op) => op.output,
        Op::ConvI16(op) => op.output,
        Op::PoolI16(op) => op.pool.output,
    }
}

/// Bytes of scratch memory for every kernel that might run a step.
pub fn scratch_bytes(op: &Op) -> usize {
    if let Op::NonMaxSuppression(op) = op {
        return (4 * op.dims[2] as usize).next_multiple_of(64);
    }
    if let Op::MatMul(product) = op {
        return matmul::scratch_bytes(&mat_mul_shape(&product.geometry));
    }
    if let Op::MatMulF32(product) = op {
        return 4 * edgepack_core::kernels::float::product::scratch_elems(&mat_mul_shape(&product.geometry));
    }
    if let Op::ConvF32(conv) = op {
        let elems =
            edgepack_core::kernels::float::weights::scratch_elems(&conv_shape(&conv.window, conv.groups));
        return if conv.format == WeightFormat::F32 { 0 } else { 4 * elems };
    }
    if let Op::RecurrentF32(op) = op {
        let shape = recurrent_f32_shape(op).conv();
        let rows = rows().filter(|row| row.accepts(&shape)).map(|row| row.scratch_bytes(&shape));
        return recurrent_f32_scratch_bytes(op, rows.max().unwrap_or(0));
    }
    let Some(shape) = product_shape(op) else { return 0 };
    let rows = rows().filter(|row| row.accepts(&shape));
    let bytes = rows.map(|row| match op {
        Op::Recurrent(op) => recurrent_shape(op).scratch_bytes(row),
        _ => row.scratch_bytes(&shape),
    });
    bytes.max().unwrap_or(0)
}

/// Fails where bytes changed that none of `steps` may write.
pub fn assert_only_written(steps: &[Step<'_>], before: &[u8], after: &[u8]) {
    let spans: Vec<Span> = steps
        .iter()
        .flat_map(|step| {
            let state = match &step.op {
                Op::Recurrent(op) => op.state,
                Op::RecurrentF32(op) => op.state,
                Op::QuantizeRows(op) => op.scales,
                _ => span(0, 0),
            };
            [written(&step.op), state, step.scratch]
        })
        .collect();
    for (at, (old, new)) in before.iter().zip(after).enumerate() {
        let holds = |span: &Span| (span.offset as usize..(span.offset + span.bytes) as usize).contains(&at);
        assert!(old == new || spans.iter().any(holds), "byte {at} of the arena is no output's: {steps:?}");
    }
}

/// A model that is put together buffer by buffer and step by step.
#[derive(Clone, Default)]
pub struct Model {
    pub arena_bytes: u32,
    pub weights: Vec<u8>,
    pub inputs: Vec<Input<'static>>,
    pub outputs: Vec<Output<'static>>,
    pub steps: Vec<Step<'static>>,
    pub golden: Vec<(GoldenSample, Hash)>,
    pub prepacked: Vec<(&'static str, Vec<u8>)>,
    /// Sections.
    pub islands: Vec<Vec<u8>>,
}

impl Model {
    /// Memory of the arena that nothing else has.
    pub fn buffer(&mut self, bytes: usize) -> Span {
        let offset = self.arena_bytes.next_multiple_of(64);
        self.arena_bytes = offset + bytes as u32;
        span(offset, bytes as u32)
    }

    pub fn constant(&mut self, bytes: &[u8]) -> Span {
        self.weights.resize(self.weights.len().next_multiple_of(4), 0);
        let offset = self.weights.len() as u32;
        self.weights.extend_from_slice(bytes);
        span(offset, bytes.len() as u32)
    }

    pub fn i8s(&mut self, values: &[i8]) -> Span {
        self.constant(bytemuck::cast_slice(values))
    }

    pub fn i32s(&mut self, values: &[i32]) -> Span {
        self.constant(bytemuck::cast_slice(values))
    }

    pub fn f32s(&mut self, values: &[f32]) -> Span {
        self.constant(bytemuck::cast_slice(values))
    }

    pub fn u16s(&mut self, values: &[u16]) -> Span {
        self.constant(bytemuck::cast_slice(values))
    }

    /// An input of so many values, in a row.
    pub fn input(&mut self, elems: usize) -> Span {
        let buffer = self.buffer(elems);
        self.inputs.push(Input {
            name: "input",
            dims: shape(&[elems as u32]),
            buffer,
            dtype: ElemType::I8,
            quant: Quant { scale: 0.5, zero_point: 0 },
            limits: None,
            arena_dims: [1, 1, 1, elems as u32],
            strides: [0, 0, 0, 1],
            pixels: None,
        });
        buffer
    }

    /// Makes a span an output of the model.
    pub fn gives(&mut self, buffer: Span, dtype: ElemType) {
        let quant = (dtype == ElemType::I8).then_some(Quant { scale: 0.5, zero_point: 0 });
        let dims = shape(&[buffer.bytes / dtype.bytes()]);
        self.outputs.push(Output { name: "output", dims, buffer, dtype, quant, exact: true });
    }

    pub fn output_i8(&mut self, elems: usize) -> Span {
        let buffer = self.buffer(elems);
        self.gives(buffer, ElemType::I8);
        buffer
    }

    pub fn output_f32(&mut self, elems: usize) -> Span {
        let buffer = self.buffer(4 * elems);
        self.gives(buffer, ElemType::F32);
        buffer
    }

    /// Adds a step, with scratch memory for every kernel that might run it.
    pub fn step(&mut self, op: Op) {
        let scratch = match scratch_bytes(&op) {
            0 => span(0, 0),
            bytes => self.buffer(bytes),
        };
        self.steps.push(Step { name: "step", scratch, op });
    }

    pub fn head(&self) -> Head {
        Head { arena_bytes: self.arena_bytes, inputs: 0, outputs: 0, steps: 0, macs: 0 }
    }

    /// The package around a plan.
    pub fn package_of(&self, plan: Vec<u8>) -> Aligned {
        let mut writer = PackageWriter::new().section(SectionKind::Plan, "", plan).section(
            SectionKind::Weights,
            "",
            self.weights.clone(),
        );
        for (key, blob) in &self.prepacked {
            writer = writer.section(SectionKind::Prepacked, key, blob.clone());
        }
        for island in &self.islands {
            writer = writer.section(SectionKind::Island, "", island.clone());
        }
        if !self.golden.is_empty() {
            writer = writer.section(SectionKind::Golden, "", encode_golden(&self.golden));
        }
        Aligned::copy_of(&writer.finish())
    }

    pub fn package(&self) -> Aligned {
        self.package_of(encode_plan(self.head(), &self.inputs, &self.outputs, &self.steps))
    }

    /// Sets every input, runs, and gives the outputs.
    pub fn run(&self, token: IsaToken, inputs: &[&[i8]]) -> Vec<Values> {
        let package = self.package();
        with_program(&package, token, |program, arena| {
            for (index, values) in inputs.iter().enumerate() {
                program.set_input(index, InputData::Quantized(values), arena).unwrap();
            }
            let before = arena.to_vec();
            program.run(arena).unwrap();
            assert_only_written(&self.steps, &before, arena);
            let values = |arena: &mut [u8]| -> Vec<Values> {
                let output = |index| Values::of(program.output(index, arena).unwrap());
                (0..self.outputs.len()).map(output).collect()
            };
            let alone = values(arena);
            for count in [2, 3, 16] {
                arena.copy_from_slice(&before);
                run_shared(program, token, arena, count);
                assert_only_written(&self.steps, &before, arena);
                assert_eq!(values(arena), alone, "other values on {count} threads");
            }
            alone
        })
    }

    /// Runs on every instruction set, which must all give the same; gives that.
    pub fn run_everywhere(&self, inputs: &[&[i8]]) -> Vec<Values> {
        let mut outputs = tokens().into_iter().map(|token| (token, self.run(token, inputs)));
        let (_, expected) = outputs.next().unwrap();
        for (token, output) in outputs {
            assert_eq!(output, expected, "{} gives other values than scalar code", token.set());
        }
        expected
    }

    /// As [`Model::run_everywhere`], for a model of one int8 output.
    pub fn run_i8(&self, inputs: &[&[i8]]) -> Vec<i8> {
        match self.run_everywhere(inputs).remove(0) {
            Values::I8(values) => values,
            other => panic!("an output of another type: {other:?}"),
        }
    }

    /// As [`Model::run_everywhere`], for a model of one f32 output.
    pub fn run_f32(&self, inputs: &[&[i8]]) -> Vec<f32> {
        match self.run_everywhere(inputs).remove(0) {
            Values::F32(values) => values,
            other => panic!("an output of another type: {other:?}"),
        }
    }
}

/// An output.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    I8(Vec<i8>),
    F32(Vec<f32>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    Bool(Vec<u8>),
}

impl Values {
    pub fn of(data: OutputData<'_>) -> Self {
        match data {
            OutputData::I8(values, _) => Self::I8(values.to_vec()),
            OutputData::F32(values) => Self::F32(values.to_vec()),
            OutputData::I32(values) => Self::I32(values.to_vec()),
            OutputData::I64(values) => Self::I64(values.to_vec()),
            OutputData::Bool(values) => Self::Bool(values.to_vec()),
            OutputData::Elements(dtype, _) => panic!("an output of {}", dtype.name()),
        }
    }
}

/// Threads that are none: the parts run one after the other, the last one first.
pub struct Backwards(pub usize);

impl Parallel for Backwards {
    fn threads(&self) -> usize {
        self.0
    }

    fn for_each<T: Send>(&mut self, items: &mut [T], task: impl Fn(&mut T) + Sync) {
        items.iter_mut().rev().for_each(task);
    }
}

/// Runs a program as `count` threads would share it, with scratch memory of exactly the required size.
pub fn run_shared(program: &Program<'_, '_>, token: IsaToken, arena: &mut [u8], count: usize) {
    let bytes = requirements(&program.package, token).thread_scratch_bytes;
    let mut scratch = Aligned::new((count - 1) * bytes);
    let mut threads = Backwards(count);
    let mut team = Team::new(&mut threads, scratch.get_mut(), bytes).cutting_everything();
    program.run_with(arena, &mut (), &mut team).unwrap();
    scratch.assert_guards();
}

/// Binds a package into memory of exactly the required size, full of garbage.
pub fn with_program<R>(
    package: &Aligned,
    token: IsaToken,
    run: impl FnOnce(&Program<'_, '_>, &mut [u8]) -> R,
) -> R {
    let package = Package::parse(package.get()).unwrap();
    let needed = requirements(&package, token);
    let mut steps = vec![None; needed.steps];
    let mut packed = Aligned::new(needed.packed_bytes);
    let mut arena = Aligned::new(needed.arena_bytes);
    bind(&package, token, &mut steps, packed.get_mut()).unwrap();
    packed.assert_guards();
    let program = Program { package, steps: &steps, packed: packed.get() };
    let result = run(&program, arena.get_mut());
    arena.assert_guards();
    assert_interpreted(&program, token);
    result
}

/// Whether an interpreter writes what a program writes, of the processor's kernels and of the scalar ones.
fn assert_interpreted(program: &Program<'_, '_>, token: IsaToken) {
    let package = program.package;
    let mut arenas = [(); 3].map(|_| Aligned::new(program.package.head().arena_bytes as usize));
    let [bound, interpreted, scalar] = &mut arenas;
    let input = GoldenInput::Seeded(9);
    let hash = program.run_golden(input, bound.get_mut());
    let run = |token, arena: &mut Aligned| {
        let hash = Interpreter::new(package, token).unwrap().run_golden(input, arena.get_mut());
        arena.assert_guards();
        hash
    };
    assert_eq!(run(token, interpreted), hash);
    // Tests put other weights into sections, to see that they are used.
    if !package.sections().any(|section| section.kind == SectionKind::Prepacked) {
        assert_eq!(run(IsaToken::scalar(), scalar), hash);
    }
}
