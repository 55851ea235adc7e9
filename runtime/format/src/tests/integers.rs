//! Operations on integers, inputs and outputs of them: right ones, and ones that lie.

use std::vec::Vec;

use super::hostile::{at, check, check_allowed};
use super::parts::*;
use crate::Place;
use crate::plan::*;

impl Parts {
    pub(super) fn integers(constants: &mut Constants) -> Vec<(&'static str, Op)> {
        let to_f32 =
            Convert { input: span(128, 32), from: ElemType::I64, output: span(160, 16), to: ElemType::F32 };
        let to_bool =
            Convert { input: span(128, 32), from: ElemType::F32, output: span(160, 8), to: ElemType::Bool };
        let gather = Gather {
            data: Operand::Arena(span(128, 24)),
            indices: span(160, 8),
            output: span(192, 16),
            outer: 2,
            rows: 3,
            row_bytes: 4,
        };
        let embed = Gather {
            data: Operand::Constant(constants.bytes(0..30)),
            indices: span(160, 8),
            output: span(192, 10),
            outer: 1,
            rows: 6,
            row_bytes: 5,
        };
        let scatter = Scatter {
            data: span(128, 24),
            indices: span(160, 8),
            updates: span(168, 8),
            output: span(192, 24),
            rows: 6,
            row_bytes: 4,
        };
        let top_k = TopK {
            input: span(128, 30),
            dtype: ElemType::I8,
            output: span(192, 48),
            dims: [2, 5, 3],
            k: 2,
            largest: true,
            last: false,
        };
        std::vec![
            ("to_f32", Op::Convert(to_f32)),
            ("to_bool", Op::Convert(to_bool)),
            ("gather", Op::Gather(gather)),
            ("embed", Op::Gather(embed)),
            ("scatter", Op::Scatter(scatter)),
            ("top_k", Op::TopK(top_k)),
        ]
    }

    pub(super) fn suppression() -> Vec<(&'static str, Op)> {
        let op = NonMaxSuppression {
            boxes: span(128, 96),
            scores: span(224, 72),
            output: span(320, 144),
            dims: [2, 3, 3],
            most: 2,
            iou_threshold: 0.5,
            score_threshold: 0.25,
            centers: true,
        };
        std::vec![("suppression", Op::NonMaxSuppression(op))]
    }
}

#[test]
fn conversions_that_lie_are_refused() {
    check(&[
        ("input of no element", at(TO_F32), "input", |p| convert(p, TO_F32).input.bytes = 7),
        ("input of a part of an element", at(TO_F32), "input", |p| convert(p, TO_F32).input.bytes = 33),
        ("integers at a multiple of four", at(TO_F32), "input", |p| convert(p, TO_F32).input.offset = 100),
        ("input behind the arena", at(TO_F32), "input", |p| convert(p, TO_F32).input.offset = 1272),
        ("output of another size", at(TO_F32), "output", |p| convert(p, TO_F32).output.bytes = 32),
        ("output over the input", at(TO_F32), "output, which overlaps the input", |p| {
            convert(p, TO_F32).output.offset = 156;
        }),
        ("integers to integers", at(TO_F32), "types", |p| convert(p, TO_F32).to = ElemType::I32),
        ("f32 to f32", at(TO_F32), "types", |p| convert(p, TO_F32).from = ElemType::F32),
        ("int8 to f32", at(TO_F32), "types", |p| convert(p, TO_F32).from = ElemType::I8),
        ("f32 to int8", at(TO_BOOL), "types", |p| convert(p, TO_BOOL).to = ElemType::I8),
        ("truth values of four bytes", at(TO_BOOL), "output", |p| convert(p, TO_BOOL).output.bytes = 32),
    ]);
    check_allowed(&[("integers of 32 bits", |p| {
        let convert = convert(p, TO_F32);
        convert.from = ElemType::I32;
        convert.input.bytes = 16;
    })]);
}

#[test]
fn gathers_and_scatters_that_lie_are_refused() {
    let over_data = "output, which overlaps the data";
    let over_operand = "output, which overlaps an operand";
    check(&[
        ("data of one byte less", at(GATHER), "data", |p| {
            gather(p, GATHER).data = Operand::Arena(span(128, 23))
        }),
        ("data behind the arena", at(GATHER), "data", |p| {
            gather(p, GATHER).data = Operand::Arena(span(1270, 24));
        }),
        ("a table that is shorter", at(EMBED), "data", |p| gather(p, EMBED).rows = 7),
        ("no rows", at(GATHER), "sizes", |p| gather(p, GATHER).rows = 0),
        ("rows of nothing", at(GATHER), "sizes", |p| gather(p, GATHER).row_bytes = 0),
        ("sizes that overflow", at(GATHER), "sizes", |p| gather(p, GATHER).outer = 1 << 30),
        ("no indices", at(GATHER), "indices", |p| gather(p, GATHER).indices.bytes = 0),
        ("indices at an odd place", at(GATHER), "indices", |p| gather(p, GATHER).indices.offset = 162),
        ("half an index", at(GATHER), "indices", |p| gather(p, GATHER).indices.bytes = 10),
        ("output of another size", at(GATHER), "output", |p| gather(p, GATHER).output.bytes = 12),
        ("output over the data", at(GATHER), over_data, |p| gather(p, GATHER).output.offset = 140),
        ("output over the indices", at(GATHER), "output, which overlaps the indices", |p| {
            gather(p, GATHER).output.offset = 164;
        }),
        ("data of another size", at(SCATTER), "data", |p| scatter(p, SCATTER).rows = 5),
        ("rows that overflow", at(SCATTER), "data", |p| scatter(p, SCATTER).rows = u32::MAX),
        ("output of one row less", at(SCATTER), "output", |p| scatter(p, SCATTER).output.bytes = 20),
        ("an update too few", at(SCATTER), "updates", |p| scatter(p, SCATTER).updates.bytes = 4),
        ("indices behind the arena", at(SCATTER), "indices", |p| scatter(p, SCATTER).indices.offset = 1280),
        ("output over the data", at(SCATTER), over_operand, |p| scatter(p, SCATTER).output.offset = 128),
        ("output over the updates", at(SCATTER), over_operand, |p| scatter(p, SCATTER).output.offset = 172),
    ]);
    check_allowed(&[
        ("a gather of rows at odd places", |p| {
            gather(p, GATHER).data = Operand::Arena(span(129, 24));
            gather(p, GATHER).output.offset = 193;
        }),
        ("indices that are data too", |p| gather(p, GATHER).indices.offset = 128),
    ]);
}

#[test]
fn selections_that_lie_are_refused() {
    check(&[
        ("none of them", at(TOP_K), "k", |p| top_k(p, TOP_K).k = 0),
        ("more than there are", at(TOP_K), "k", |p| top_k(p, TOP_K).k = 6),
        ("indices beyond what f32 holds", at(TOP_K), "k", |p| top_k(p, TOP_K).dims[1] = (1 << 24) + 1),
        ("of integers", at(TOP_K), "dtype", |p| top_k(p, TOP_K).dtype = ElemType::I32),
        ("f32 of one byte", at(TOP_K), "input", |p| top_k(p, TOP_K).dtype = ElemType::F32),
        ("no values", at(TOP_K), "input", |p| top_k(p, TOP_K).dims[0] = 0),
        ("output of another size", at(TOP_K), "output", |p| top_k(p, TOP_K).k = 3),
        ("output at an odd place", at(TOP_K), "output", |p| top_k(p, TOP_K).output.offset = 194),
        ("output over the input", at(TOP_K), "output, which overlaps the input", |p| {
            top_k(p, TOP_K).output.offset = 156;
        }),
    ]);
}

#[test]
fn suppressions_that_lie_are_refused() {
    const STEP: Place = at(SUPPRESSION);
    fn op(p: &mut Parts) -> &mut NonMaxSuppression {
        suppression(p, SUPPRESSION)
    }
    check(&[
        ("none of them", STEP, "most", |p| op(p).most = 0),
        ("more than there are", STEP, "most", |p| op(p).most = 4),
        ("indices beyond what f32 holds", STEP, "dims", |p| op(p).dims[2] = (1 << 24) + 1),
        ("no image", STEP, "boxes", |p| op(p).dims[0] = 0),
        ("no class", STEP, "scores", |p| op(p).dims[1] = 0),
        ("another number of boxes", STEP, "boxes", |p| op(p).dims[2] = 4),
        ("another number of classes", STEP, "scores", |p| op(p).dims[1] = 2),
        ("boxes behind the arena", STEP, "boxes", |p| op(p).boxes.offset = 1188),
        ("scores at an odd place", STEP, "scores", |p| op(p).scores.offset = 226),
        ("fewer rows", STEP, "output", |p| op(p).output.bytes = 132),
        ("output over the boxes", STEP, "output, which overlaps an input", |p| {
            op(p).output.offset = 220;
            op(p).scores.offset = 400;
        }),
        ("output over the scores", STEP, "output, which overlaps an input", |p| op(p).output.offset = 292),
        ("overlap beyond all of it", STEP, "iou_threshold", |p| op(p).iou_threshold = 1.5),
        ("an overlap that is no number", STEP, "iou_threshold", |p| op(p).iou_threshold = f32::NAN),
        ("a score that is no number", STEP, "score_threshold", |p| op(p).score_threshold = f32::NAN),
        ("no scratch", STEP, "scratch, which is too small", |p| p.steps[SUPPRESSION].scratch.bytes = 0),
        ("scratch over the scores", STEP, "scratch, which overlaps a tensor", |p| {
            p.steps[SUPPRESSION].scratch.offset = 256;
        }),
    ]);
    check_allowed(&[
        ("no threshold of the score", |p| op(p).score_threshold = f32::NEG_INFINITY),
        ("scores that are boxes too", |p| op(p).scores.offset = 128),
    ]);
}

/// Makes the input one of integers.
fn of_integers(parts: &mut Parts, dtype: ElemType) {
    let input = &mut parts.inputs[0];
    input.dtype = dtype;
    input.buffer.bytes *= dtype.bytes();
    input.limits = Some([-3, 300]);
    input.pixels = None;
    parts.golden.clear();
}

#[test]
fn inputs_of_integers_may_have_limits_and_no_pixels() {
    let input = Place::Input(0);
    check(&[
        ("limits in the wrong order", input, "limits", |p| {
            of_integers(p, ElemType::I32);
            p.inputs[0].limits = Some([1, 0]);
        }),
        ("limits of int8", input, "limits", |p| p.inputs[0].limits = Some([0, 1])),
        ("pixels", input, "pixels", |p| {
            let pixels = p.inputs[0].pixels;
            of_integers(p, ElemType::Bool);
            p.inputs[0].pixels = pixels;
        }),
        ("four bytes for 64 bits", input, "buffer", |p| {
            of_integers(p, ElemType::I32);
            p.inputs[0].dtype = ElemType::I64;
        }),
        ("output of integers with a scale", Place::Output(0), "quant", |p| {
            p.outputs[0].dtype = ElemType::Bool;
        }),
    ]);
    check_allowed(&[
        ("no limits, for islands", |p| {
            of_integers(p, ElemType::I64);
            p.inputs[0].limits = None;
        }),
        ("an input of 64 bits", |p| of_integers(p, ElemType::I64)),
        ("an input of truth values", |p| of_integers(p, ElemType::Bool)),
        ("one integer is taken", |p| {
            of_integers(p, ElemType::I32);
            p.inputs[0].limits = Some([i32::MIN; 2]);
        }),
        ("an output of truth values", |p| {
            p.outputs[0].dtype = ElemType::Bool;
            p.outputs[0].quant = None;
        }),
        ("an output of 32 bits", |p| p.outputs[1].dtype = ElemType::I32),
    ]);
}

#[test]
fn inputs_and_outputs_of_other_types_lie_as_in_the_model() {
    fn raw(p: &mut Parts) {
        p.inputs[0].dtype = ElemType::U8;
        p.inputs[0].arena_dims = [1, 1, 1, p.inputs[0].buffer.bytes];
        p.inputs[0].strides = [0, 0, 0, 1];
        p.inputs[0].pixels = None;
        p.golden.clear();
    }
    let input = Place::Input(0);
    check(&[
        ("uint8 in an order", input, "arena_dims, which have an order", |p| {
            p.inputs[0].dtype = ElemType::U8;
        }),
        ("pixels for uint8", input, "pixels", |p| {
            let pixels = p.inputs[0].pixels;
            raw(p);
            p.inputs[0].pixels = pixels;
        }),
        ("limits for uint8", input, "limits", |p| {
            raw(p);
            p.inputs[0].limits = Some([0, 1]);
        }),
        ("uint64 in as many bytes", input, "buffer", |p| {
            raw(p);
            p.inputs[0].dtype = ElemType::U64;
        }),
        ("uint32 with quant", Place::Output(1), "quant", |p| {
            p.outputs[1].dtype = ElemType::U32;
            p.outputs[1].quant = p.outputs[0].quant;
        }),
        ("f64 in as many bytes", Place::Output(1), "buffer", |p| p.outputs[1].dtype = ElemType::F64),
    ]);
    check_allowed(&[("uint8", raw), ("uint32", |p| p.outputs[1].dtype = ElemType::U32)]);
}
