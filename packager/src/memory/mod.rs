//! Places for the virtual buffers in one arena.
//!
//! Buffers that live at the same time do not overlap; a step that may overwrite its input does so
//! where nothing reads that input afterwards. Placement is greedy, largest first, at the lowest
//! offset that is free for the buffer's whole life (Pisarchyk and Lee, "Efficient Memory Management
//! for Deep Neural Net Inference", 2020, "Greedy by Size"), and tried in a few other orders, of
//! which the smallest arena wins. What comes out is proved by [`check`], which shares nothing with
//! the planner.

pub mod check;
mod spans;

pub use spans::{Access, arena_spans, relocate};

use edgepack_format::plan::{Op, Operand};

use crate::lower::Lowered;

/// Buffers start at multiples of this many bytes: a cache line, and the widest vector.
pub const ALIGN: u32 = 64;

/// Where everything lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// By virtual buffer: its offset in the arena.
    pub offsets: Vec<u32>,
    /// By virtual buffer: the first and the last step during which it holds something. Inputs begin
    /// before step 0, outputs end after the last. What nothing touches begins after its end.
    pub lives: Vec<Life>,
    /// Size of the arena.
    pub arena_bytes: u32,
}

/// When a buffer is in use: from the writing of step `first - 1` (0 for inputs) to the reading of
/// step `last - 1`, both included. Parts of a buffer count as the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Step that writes first, plus 1.
    pub first: usize,
    /// Step that reads last, plus 1.
    pub last: usize,
}

impl Life {
    fn meets(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Plans the memory of a lowered graph; `None` where the arena would exceed 32 bits.
pub fn plan(lowered: &Lowered) -> Option<MemoryPlan> {
    let lives = lives(lowered);
    let merged = merge_in_place(lowered, &lives);
    // One block for each set of buffers that share a place.
    let mut blocks: Vec<Block> = Vec::new();
    let is_whole = |buffer: usize| lowered.buffers[buffer].part_of.is_none();
    for root in (0..lives.len()).filter(|&buffer| merged[buffer] == buffer && is_whole(buffer)) {
        let members = || (0..lives.len()).filter(|&buffer| merged[buffer] == root);
        let Some(bytes) =
            members().map(|buffer| lowered.buffers[buffer].bytes).max().filter(|&bytes| bytes > 0)
        else {
            continue;
        };
        let first = members().map(|buffer| lives[buffer].first).min().unwrap_or(0);
        let last = members().map(|buffer| lives[buffer].last).max().unwrap_or(0);
        // What nothing touches needs no place, and neither does what only strips of are stored.
        if first > last {
            continue;
        }
        blocks.push(Block {
            root,
            bytes: bytes.checked_next_multiple_of(ALIGN)?,
            life: Life { first, last },
        });
    }
    type Order = fn(&Block) -> (u64, u64);
    let orders: [Order; 3] = [
        |b| (!b.bytes as u64, b.life.first as u64),
        |b| (b.life.first as u64, !b.bytes as u64),
        |b| (!((b.life.last - b.life.first) as u64), !b.bytes as u64),
    ];
    let mut best: Option<(u32, Vec<(usize, u32)>)> = None;
    for order in orders {
        blocks.sort_by_key(order);
        let placed = place(&blocks)?;
        if best.as_ref().is_none_or(|(bytes, _)| placed.0 < *bytes) {
            best = Some(placed);
        }
    }
    let (arena_bytes, places) = best?;
    let mut offsets = vec![0; lives.len()];
    for (root, offset) in places {
        for buffer in (0..lives.len()).filter(|&buffer| merged[buffer] == root) {
            offsets[buffer] = offset;
        }
    }
    for buffer in 0..lives.len() {
        let (whole, start) = lowered.home(buffer as u32);
        offsets[buffer] = offsets[whole as usize] + start;
    }
    Some(MemoryPlan { offsets, lives, arena_bytes: arena_bytes.max(ALIGN) })
}

#[derive(Clone, Copy)]
struct Block {
    root: usize,
    bytes: u32,
    life: Life,
}

/// First fit in the given order: the arena's size and every block's offset.
fn place(blocks: &[Block]) -> Option<(u32, Vec<(usize, u32)>)> {
    let mut placed: Vec<(u32, Block)> = Vec::new();
    for block in blocks {
        let mut neighbours: Vec<(u32, u32)> = (placed.iter())
            .filter(|(_, other)| other.life.meets(block.life))
            .map(|(offset, other)| (*offset, offset + other.bytes))
            .collect();
        neighbours.sort_unstable();
        let mut offset = 0;
        for (start, end) in neighbours {
            if offset + block.bytes <= start {
                break;
            }
            offset = offset.max(end);
        }
        offset.checked_add(block.bytes)?;
        placed.push((offset, *block));
    }
    let end = placed.iter().map(|(offset, block)| offset + block.bytes).max().unwrap_or(0);
    Some((end, placed.iter().map(|(offset, block)| (block.root, *offset)).collect()))
}

fn lives(lowered: &Lowered) -> Vec<Life> {
    let mut lives = vec![Life { first: usize::MAX, last: 0 }; lowered.buffers.len()];
    let mut touch = |buffer: u32, time: usize| {
        let life = &mut lives[lowered.home(buffer).0 as usize];
        life.first = life.first.min(time);
        life.last = life.last.max(time);
    };
    for input in &lowered.inputs {
        touch(input.input.buffer.offset, 0);
    }
    for (index, step) in lowered.steps.iter().enumerate() {
        for (_, span) in arena_spans(&step.op) {
            touch(span.offset, index + 1);
        }
        if step.scratch.bytes > 0 {
            touch(step.scratch.offset, index + 1);
        }
    }
    for output in &lowered.outputs {
        touch(output.output.buffer.offset, lowered.steps.len() + 1);
    }
    lives
}

/// By buffer: the first buffer of those that share its place.
fn merge_in_place(lowered: &Lowered, lives: &[Life]) -> Vec<usize> {
    let mut merged: Vec<usize> = (0..lives.len()).collect();
    for (index, step) in lowered.steps.iter().enumerate() {
        let Some((input, output)) = in_place_pair(&step.op) else { continue };
        let (input, output) = (input as usize, output as usize);
        let are_whole = [input, output].iter().all(|&buffer| lowered.buffers[buffer].part_of.is_none());
        let dies_here = lives[input].last == index + 1;
        let is_born_here = lives[output].first == index + 1;
        if are_whole && dies_here && is_born_here && lowered.buffers[input] == lowered.buffers[output] {
            merged[output] = merged[input];
        }
    }
    merged
}

/// The input that a step may overwrite with its output, if it is of such a kind.
fn in_place_pair(op: &Op) -> Option<(u32, u32)> {
    match op {
        Op::Lookup(lookup) if !lookup.to_f32 => Some((lookup.input.offset, lookup.output.offset)),
        Op::Conv(conv) => {
            let residual = conv.residual?.span;
            (residual.offset != conv.input.offset).then_some((residual.offset, conv.output.offset))
        }
        Op::Binary(binary) => {
            let Operand::Arena(lhs) = binary.lhs else { return None };
            let contiguous = crate::evaluate::strides(&binary.dims.map(|dim| dim as usize));
            let walked = (binary.dims.iter().zip(&binary.lhs_strides).zip(contiguous))
                .all(|((&dim, &stride), own)| dim == 1 || stride as usize == own);
            let other = matches!(binary.rhs, Operand::Arena(rhs) if rhs.offset == lhs.offset);
            (walked && !other && lhs.bytes == binary.output.bytes)
                .then_some((lhs.offset, binary.output.offset))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
