//! Concatenations are written in place: where a copy puts a whole tensor into one contiguous piece of
//! another, whoever computes the tensor writes it there, and the copy is gone.
//!
//! So it is with the outermost axis of what is stored: lines of an image, rows of a sequence, or the channels
//! of a single pixel. Pieces at another scale pass through a table, and stay copies.

use std::ops::Range;

use edgepack_format::plan::{Copy, MAX_RANK, Op};

use crate::lower::Lowered;
use crate::memory::{Access, arena_spans};

/// Takes out the copies that are not needed; gives how many these were.
pub fn concatenate(lowered: &mut Lowered) -> usize {
    let before = lowered.steps.len();
    let mut index = 0;
    while index < lowered.steps.len() {
        match piece(lowered, index) {
            Some((source, target, start)) => {
                lowered.steps.remove(index);
                for (buffer, home) in lowered.buffers.iter_mut().enumerate() {
                    match &mut home.part_of {
                        None if buffer as u32 == source => home.part_of = Some((target, start)),
                        Some((whole, within)) if *whole == source => {
                            (*whole, *within) = (target, start + *within);
                        }
                        _ => {}
                    }
                }
            }
            None => index += 1,
        }
    }
    before - lowered.steps.len()
}

/// Source, target and first byte there, where step `index` is a copy that is not needed.
fn piece(lowered: &Lowered, index: usize) -> Option<(u32, u32, u32)> {
    let Op::Copy(copy) = &lowered.steps[index].op else { return None };
    let bytes = contiguous(copy)?;
    let (source, target) = (copy.input.offset, copy.output.offset);
    let are_whole = [source, target].iter().all(|&buffer| lowered.home(buffer) == (buffer, 0));
    let is_outside = (lowered.inputs.iter().map(|input| input.input.buffer))
        .chain(lowered.outputs.iter().map(|output| output.output.buffer))
        .any(|span| span.offset == source);
    if !are_whole || is_outside || source == target || bytes.len() as u32 != copy.input.bytes {
        return None;
    }
    // Others may write the target, too, but elsewhere (a border that is filled later would be filled over
    // what is there by then), and not what they read of the source (a step may not do both in one tensor).
    for step in lowered.steps[..index].iter().chain(&lowered.steps[index + 1..]) {
        let spans = arena_spans(&step.op);
        let of = |access: Access, buffer: u32| {
            let home = move |span: u32| lowered.home(span).0 == buffer;
            let matches = move |is: Access| (is == Access::Read) == (access == Access::Read);
            spans.iter().filter(move |(is, span)| matches(*is) && home(span.offset)).map(|(_, span)| *span)
        };
        for span in of(Access::Write, target) {
            let (_, start) = lowered.home(span.offset);
            let written = match &step.op {
                Op::Copy(copy) => reach(copy),
                _ => 0..span.bytes,
            };
            let overlap = start + written.start < bytes.end && bytes.start < start + written.end;
            if overlap || of(Access::Read, source).next().is_some() {
                return None;
            }
        }
    }
    Some((source, target, bytes.start))
}

/// The bytes of its output from the first to the last that a copy writes.
fn reach(copy: &Copy) -> Range<u32> {
    let steps = copy.dims.iter().zip(&copy.output_strides).map(|(&dim, &stride)| (dim - 1) * stride);
    let (start, bytes) = (copy.output_start, copy.elem_bytes as u32);
    start * bytes..(start + steps.sum::<u32>() + 1) * bytes
}

/// The bytes that a copy writes, where these are as it reads them: in a row, from the first of its input.
fn contiguous(copy: &Copy) -> Option<Range<u32>> {
    let last = MAX_RANK - 1;
    let in_a_row = copy.dims[..last].iter().all(|&dim| dim == 1)
        && (copy.input_strides[last], copy.output_strides[last], copy.input_start) == (1, 1, 0);
    (in_a_row && copy.table.is_none()).then(|| reach(copy))
}
