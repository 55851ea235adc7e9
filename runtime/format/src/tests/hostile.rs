//! Plans that lie, every hash right: heads, inputs, outputs, steps, and their encoding.

use std::vec::Vec;

use super::parts::*;
use crate::plan::*;
use crate::writer::GoldenSample;
use crate::{Error, Place};

pub(super) const OVERLAPS_INPUT: &str = "output, which overlaps the input";
pub(super) const OVERLAPS_OPERAND: &str = "output, which overlaps an operand";
pub(super) const UNORDERED: Range = Range { zero_point: 0, min: 1, max: 0 };

pub(super) const fn at(step: usize) -> Place {
    Place::Step(step as u32)
}

/// Writes a constant.
pub(super) fn poke(parts: &mut Parts, span: Span, bytes: &[u8]) {
    parts.weights[span.offset as usize..][..bytes.len()].copy_from_slice(bytes);
}

/// One change of [`Parts::everything`] and the error that it must give.
pub(super) type Lie = (&'static str, Place, &'static str, fn(&mut Parts));

/// One change of [`Parts::everything`] that is allowed.
pub(super) type Truth = (&'static str, fn(&mut Parts));

/// Each change alone makes the package wrong, and for the reason that the table names.
pub(super) fn check(lies: &[Lie]) {
    assert_eq!(Parts::everything().verdict(), Ok(()));
    for &(name, place, field, change) in lies {
        let mut parts = Parts::everything();
        change(&mut parts);
        let found = parts.verdict();
        assert_eq!(found, Err(Error::Malformed { place, field }), "{name}");
    }
}

/// Changes that are allowed: the limits of what `check` refuses.
pub(super) fn check_allowed(truths: &[Truth]) {
    for &(name, change) in truths {
        let mut parts = Parts::everything();
        change(&mut parts);
        assert_eq!(parts.verdict(), Ok(()), "{name}");
    }
}

const INPUT: Place = Place::Input(0);
const I8_OUTPUT: Place = Place::Output(0);
const F32_OUTPUT: Place = Place::Output(1);

fn pixels(parts: &mut Parts) -> &mut Pixels<'static> {
    parts.inputs[0].pixels.as_mut().unwrap()
}

#[test]
fn heads_inputs_and_outputs_that_lie_are_refused() {
    check(&[
        ("arena of 2 GiB", Place::Head, "arena_bytes", |p| p.head.arena_bytes = 1 << 31),
        ("arena of u32", Place::Head, "arena_bytes", |p| p.head.arena_bytes = u32::MAX),
        ("no arena", INPUT, "buffer", |p| p.head.arena_bytes = 0),
        ("arena that ends in the scratch", Place::Step(0), "scratch", |p| p.head.arena_bytes = 1279),
        ("input behind the arena", INPUT, "buffer", |p| p.inputs[0].buffer.offset = 1249),
        ("input that overflows", INPUT, "buffer", |p| p.inputs[0].buffer.offset = u32::MAX - 31),
        ("input of one byte less", INPUT, "buffer", |p| p.inputs[0].buffer.bytes = 31),
        ("input of one byte more", INPUT, "buffer", |p| p.inputs[0].buffer.bytes = 33),
        ("rank 7", INPUT, "buffer", |p| p.inputs[0].dims.rank = 7),
        ("rank 255", INPUT, "buffer", |p| p.inputs[0].dims.rank = 255),
        ("a size beyond the rank", INPUT, "buffer", |p| p.inputs[0].dims.rank = 3),
        ("a size of 0", INPUT, "buffer", |p| p.inputs[0].dims.sizes[0] = 0),
        ("an unused size of 0", INPUT, "buffer", |p| p.inputs[0].dims.sizes[5] = 0),
        ("sizes that overflow to the right product", INPUT, "buffer", |p| {
            // ((1 << 27) + 1) * 32 is 32 in 32 bits: the product wraps.
            p.inputs[0].dims = Dims { rank: 3, sizes: [(1 << 27) + 1, 32, 1, 1, 1, 1] };
        }),
        ("input scale 0", INPUT, "scale", |p| p.inputs[0].quant.scale = 0.0),
        ("input scale -0", INPUT, "scale", |p| p.inputs[0].quant.scale = -0.0),
        ("negative input scale", INPUT, "scale", |p| p.inputs[0].quant.scale = -0.25),
        ("input scale NaN", INPUT, "scale", |p| p.inputs[0].quant.scale = f32::NAN),
        ("infinite input scale", INPUT, "scale", |p| p.inputs[0].quant.scale = f32::INFINITY),
        ("arena_dims of another size", INPUT, "arena_dims", |p| p.inputs[0].arena_dims[1] = 5),
        ("arena_dims of 0", INPUT, "arena_dims", |p| p.inputs[0].arena_dims[0] = 0),
        ("arena_dims that overflow", INPUT, "arena_dims", |p| {
            p.inputs[0].arena_dims = [1 << 16, 1 << 16, 1, 32];
        }),
        ("strides that reach too far", INPUT, "strides", |p| p.inputs[0].strides[3] = 17),
        ("strides that reach less", INPUT, "strides", |p| p.inputs[0].strides[3] = 0),
        ("strides that overflow", INPUT, "strides", |p| p.inputs[0].strides[1] = u32::MAX),
        ("pixel tables of one byte less", INPUT, "pixel tables", |p| pixels(p).tables.bytes -= 1),
        ("pixel tables of one channel", INPUT, "pixel tables", |p| pixels(p).tables.bytes = 256),
        ("pixel tables outside", INPUT, "pixel tables", |p| pixels(p).tables.offset = 1 << 20),
        ("pixel tables that overflow", INPUT, "pixel tables", |p| pixels(p).tables.offset = u32::MAX),
        ("pixel strides that reach too far", INPUT, "pixel strides", |p| pixels(p).strides[1] = 9),
        ("pixel strides that overflow", INPUT, "pixel strides", |p| pixels(p).strides[3] = u32::MAX),
        ("output behind the arena", I8_OUTPUT, "buffer", |p| p.outputs[0].buffer.offset = 1221),
        ("output of another size", I8_OUTPUT, "buffer", |p| p.outputs[0].buffer.bytes = 61),
        ("output of rank 7", I8_OUTPUT, "buffer", |p| p.outputs[0].dims.rank = 7),
        ("output with a size of 0", I8_OUTPUT, "buffer", |p| p.outputs[0].dims.sizes[3] = 0),
        ("int8 output called f32", I8_OUTPUT, "buffer", |p| p.outputs[0].dtype = ElemType::F32),
        ("int8 output without quant", I8_OUTPUT, "quant", |p| p.outputs[0].quant = None),
        ("output scale NaN", I8_OUTPUT, "scale", |p| p.outputs[0].quant.as_mut().unwrap().scale = f32::NAN),
        ("output scale 0", I8_OUTPUT, "scale", |p| p.outputs[0].quant.as_mut().unwrap().scale = 0.0),
        ("f32 output at an odd place", F32_OUTPUT, "buffer", |p| p.outputs[1].buffer.offset += 2),
        ("f32 output with quant", F32_OUTPUT, "quant", |p| p.outputs[1].quant = p.outputs[0].quant),
        ("f32 output called int8", F32_OUTPUT, "buffer", |p| p.outputs[1].dtype = ElemType::I8),
        ("scratch behind the arena", Place::Step(0), "scratch", |p| p.steps[0].scratch.offset += 64),
        ("scratch at an odd place", Place::Step(0), "scratch", |p| p.steps[0].scratch = span(1056, 64)),
        ("scratch that overflows", Place::Step(0), "scratch", |p| p.steps[0].scratch.bytes = u32::MAX),
        ("scratch of a step that needs none", Place::Step(FILL as u32), "scratch", |p| {
            p.steps[FILL].scratch = span(1216, 65);
        }),
        ("no scratch, behind the arena", Place::Step(FILL as u32), "scratch", |p| {
            p.steps[FILL].scratch.offset = 1281
        }),
        ("scratch over the input", Place::Step(0), "scratch, which overlaps a tensor", |p| {
            p.steps[0].scratch = span(0, 64);
        }),
        ("scratch over the output", Place::Step(0), "scratch, which overlaps a tensor", |p| {
            p.steps[0].scratch = span(64, 1);
        }),
        ("golden sample of another input", Place::Golden(0), "its entry or size", |p| {
            p.golden[0].0 = GoldenSample::Stored(Vec::new());
        }),
    ]);
}

#[test]
fn what_is_just_inside_the_limits_is_accepted() {
    check_allowed(&[
        ("the largest arena", |p| p.head.arena_bytes = i32::MAX as u32),
        ("input at the arena's end", |p| p.inputs[0].buffer.offset = 1248),
        ("rank 0", |p| {
            p.outputs[1].dims = Dims { rank: 0, sizes: [1; MAX_RANK] };
            p.outputs[1].buffer.bytes = 4;
        }),
        ("rank 6", |p| p.inputs[0].dims.rank = 6),
        ("the smallest scale", |p| p.inputs[0].quant.scale = f32::from_bits(1)),
        ("any stride of a size of 1", |p| p.inputs[0].strides[0] = u32::MAX),
        ("scratch that begins where the input ends", |p| p.steps[DENSE].scratch = span(768, 512)),
        ("no scratch, wherever that is", |p| p.steps[0].scratch = span(16, 0)),
        ("no inputs", |p| {
            p.inputs.clear();
            p.golden = std::vec![(GoldenSample::Stored(Vec::new()), [0; 32])];
        }),
        ("no outputs", |p| p.outputs.clear()),
        ("no steps", |p| p.steps.clear()),
        ("empty names", |p| p.steps[0].name = ""),
        ("names of any text", |p| p.steps[0].name = "layer/\u{0}\u{1b}[31m\u{202e}é"),
    ]);
}

/// The plan of [`Parts::everything`] with something else at one place.
fn spliced(parts: &Parts, at: usize, remove: usize, insert: &[u8]) -> Result<(), Error> {
    let mut plan = parts.plan();
    plan.splice(at..at + remove, insert.iter().copied());
    verdict(&parts.package_of(plan))
}

#[test]
fn plans_that_are_not_encoded_as_the_page_says_are_refused() {
    let parts = Parts::everything();
    let malformed = |place, field| Err(Error::Malformed { place, field });
    let plan = parts.plan();
    let head = postcard::to_stdvec(&parts.head).unwrap().len();
    let input = postcard::to_stdvec(&parts.inputs[0]).unwrap().len();
    let outputs: usize = parts.outputs.iter().map(|o| postcard::to_stdvec(o).unwrap().len()).sum();
    // Head: arena_bytes is two bytes, then one byte for each count.
    let steps = parts.steps.len() as u8;
    assert_eq!(plan[2..5], [1, 2, steps]);
    let encoding = "its encoding";
    let [last, beyond] = [steps - 1, steps].map(|step| Place::Step(step.into()));
    assert_eq!(spliced(&parts, 0, plan.len(), &[]), malformed(Place::Head, "its head"));
    assert_eq!(spliced(&parts, 0, 2, &[0xff; 5]), malformed(Place::Head, "its head"));
    assert_eq!(spliced(&parts, 4, 1, &[steps + 1]), malformed(beyond, encoding));
    assert_eq!(spliced(&parts, 4, 1, &[0xff, 0xff, 0xff, 0xff, 0x0f]), malformed(beyond, encoding));
    assert_eq!(spliced(&parts, 4, 1, &[steps - 1]), malformed(Place::Head, "what follows the last step"));
    assert_eq!(spliced(&parts, plan.len(), 0, &[0]), malformed(Place::Head, "what follows the last step"));
    assert_eq!(spliced(&parts, plan.len() - 1, 1, &[]), malformed(last, encoding));
    // The input's name: a length of more than there is, and a byte that is no text.
    assert_eq!(plan[head..head + 2], [5, b'i']);
    assert_eq!(spliced(&parts, head, 1, &[0xff, 0xff, 0x7f]), malformed(INPUT, encoding));
    assert_eq!(spliced(&parts, head + 1, 1, &[0xff]), malformed(INPUT, encoding));
    // The first step: its name, its scratch (two varints of two bytes), its operation.
    let operation = head + input + outputs + 1 + "conv".len() + 4;
    assert_eq!(plan[operation], 0);
    assert_eq!(spliced(&parts, operation, 1, &[10]), malformed(Place::Step(0), encoding));
    assert_eq!(spliced(&parts, operation, 1, &[0xff]), malformed(Place::Step(0), encoding));
    // A varint that is longer than it need be is the same number.
    assert_eq!(spliced(&parts, operation, 1, &[0x80, 0x00]), Ok(()));
    // A bool and an option of another byte than 0 and 1. The last byte of a copy is the option of a table.
    let copies = parts.steps.iter().rposition(|step| matches!(step.op, Op::Copy(_))).unwrap();
    let after: usize = parts.steps[copies + 1..].iter().map(|s| postcard::to_stdvec(s).unwrap().len()).sum();
    let place = Place::Step(copies as u32);
    assert_eq!(spliced(&parts, plan.len() - after - 1, 1, &[2]), malformed(place, encoding));
    let exact = head + input + outputs - 1;
    assert_eq!(plan[exact], 0);
    assert_eq!(spliced(&parts, exact, 1, &[2]), malformed(F32_OUTPUT, encoding));
    assert_eq!(spliced(&parts, exact, 1, &[1]), Ok(()));
}
