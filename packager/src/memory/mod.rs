//! Places for the virtual buffers in one arena.
//!
//! Buffers that hold something at the same time do not overlap, nor do those lines of them that do (see `extents`); a
//! step that may overwrite its input does so where nothing reads that input afterwards. Placement is greedy, largest
//! first, at the lowest offset that is free for the buffer's whole life (Pisarchyk and Lee, "Efficient Memory Management
//! for Deep Neural Net Inference", 2020, "Greedy by Size"), and tried in a few other orders, of which the smallest arena
//! wins; where that is more than is ever in use at once, what ends last is placed earlier, for some more tries. What
//! comes out is proved by [`check`], which shares nothing with the planner.

pub mod check;
mod extents;
pub mod order;
mod spans;

pub use spans::{Access, arena_spans, relocate};

use edgepack_format::plan::{Op, Operand, Span};

use crate::lower::Lowered;
use extents::Extent;

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
    /// By time, as those of [`Life`]: how much of the arena is in use.
    in_use: Vec<u64>,
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

impl MemoryPlan {
    /// Bytes of all tensors and of the scratch memory that there are during a step.
    pub fn bytes_in_use(&self, step: usize) -> u64 {
        self.in_use.get(step + 1).copied().unwrap_or(0)
    }
}

/// The most that is in use at once during steps which find some buffers filled, and must leave some so.
pub fn most_in_use(steps: &Lowered, before: &[Span], after: &[Span]) -> u64 {
    let own: Vec<usize> = (0..steps.buffers.len()).collect();
    let extents = extents::extents(steps, &own, before, after);
    in_use(steps, &extents).into_iter().max().unwrap_or(0)
}

/// By time: bytes that hold something.
fn in_use(lowered: &Lowered, extents: &[Vec<Extent>]) -> Vec<u64> {
    let mut in_use = vec![0; lowered.steps.len() + 2];
    for extent in extents.iter().flatten() {
        for bytes in &mut in_use[extent.first..=extent.last] {
            *bytes += u64::from(extent.end - extent.start);
        }
    }
    in_use
}

/// Plans the memory of a lowered graph; `None` where the arena would exceed 32 bits.
pub fn plan(lowered: &Lowered) -> Option<MemoryPlan> {
    let lives = lives(lowered);
    let merged = merge_in_place(lowered, &lives);
    // One block for each set of buffers that share a place. What nothing touches needs none, and neither does what only
    // strips of are stored.
    let mut blocks: Vec<Block> = Vec::new();
    let inputs: Vec<Span> = lowered.inputs.iter().map(|input| input.input.buffer).collect();
    let outputs: Vec<Span> = lowered.outputs.iter().map(|output| output.output.buffer).collect();
    let extents = extents::extents(lowered, &merged, &inputs, &outputs);
    let in_use = in_use(lowered, &extents);
    for (root, extents) in extents.into_iter().enumerate() {
        let bytes = extents.iter().map(|extent| extent.end).max().unwrap_or(0);
        if bytes == 0 {
            continue;
        }
        blocks.push(Block { root, bytes, extents });
    }
    let (arena_bytes, places) = arranged(blocks, in_use.iter().copied().max().unwrap_or(0))?;
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
    Some(MemoryPlan { offsets, lives, arena_bytes: arena_bytes.max(ALIGN), in_use })
}

#[derive(Clone)]
struct Block {
    root: usize,
    bytes: u32,
    /// In order of time.
    extents: Vec<Extent>,
}

impl Block {
    fn first(&self) -> usize {
        self.extents.first().map_or(0, |extent| extent.first)
    }

    fn last(&self) -> usize {
        self.extents.last().map_or(0, |extent| extent.last)
    }

    /// Where this block must not start for another at `offset`: between these pairs of bounds.
    fn forbidden<'a>(&'a self, other: &'a Block, offset: i64) -> impl Iterator<Item = (i64, i64)> + 'a {
        let from = |extent: &Extent| self.extents.partition_point(|own| own.last < extent.first);
        other.extents.iter().flat_map(move |theirs| {
            let own = self.extents[from(theirs)..].iter().take_while(|own| own.first <= theirs.last);
            own.map(move |own| {
                let below = offset + i64::from(theirs.start) - i64::from(own.end);
                (below, offset + i64::from(theirs.end) - i64::from(own.start))
            })
        })
    }
}

/// The arena's size, and each block's root and offset.
type Arrangement = (u32, Vec<(usize, u32)>);

/// The smallest arrangement of a few; no arena is smaller than `least_bytes`.
fn arranged(mut blocks: Vec<Block>, least_bytes: u64) -> Option<Arrangement> {
    type Order = fn(&Block) -> (u64, u64);
    let orders: [Order; 4] = [
        |b| (!b.bytes as u64, b.first() as u64),
        |b| (b.first() as u64, !b.bytes as u64),
        |b| (!((b.last() - b.first()) as u64), !b.bytes as u64),
        // What is read line by line has to make way for what is written meanwhile.
        |b| (!(b.last() as u64), b.first() as u64),
    ];
    let least_bytes = least_bytes.next_multiple_of(ALIGN.into());
    let mut best: Option<(Arrangement, Vec<Block>)> = None;
    for order in orders {
        blocks.sort_by_key(order);
        let placed = place(&blocks)?;
        if best.as_ref().is_none_or(|((bytes, _), _)| placed.0 < *bytes) {
            best = Some((placed, blocks.clone()));
        }
    }
    let (mut best, mut blocks) = best?;
    let mut current = best.clone();
    for turn in 0..(TRIES / blocks.len().pow(2).max(1)).min(blocks.len() * 4) {
        if u64::from(best.0) <= least_bytes {
            break;
        }
        // What ends last goes in front of what it was placed behind; where that does not help, another one does.
        let end = |&index: &usize| current.1[index].1 + blocks[index].bytes;
        let mut ends: Vec<usize> = (0..blocks.len()).collect();
        ends.sort_by_key(|index| std::cmp::Reverse(end(index)));
        let moved = ends[turn % ends.len().min(4)];
        let to = moved * (turn % 3) / 3;
        let mut other = blocks.clone();
        other[to..=moved].rotate_right(1);
        let placed = place(&other)?;
        if placed.0 <= current.0 {
            (current, blocks) = (placed, other);
        }
        if current.0 < best.0 {
            best = current.clone();
        }
    }
    Some(best)
}

/// Pairs of blocks that are looked at, at most, for a smaller arena than those of the orders.
const TRIES: usize = 4_000_000;

/// First fit in the given order.
fn place(blocks: &[Block]) -> Option<Arrangement> {
    let mut placed: Vec<(i64, &Block)> = Vec::new();
    let mut end = 0;
    for block in blocks {
        let mut forbidden: Vec<(i64, i64)> =
            placed.iter().flat_map(|(offset, other)| block.forbidden(other, *offset)).collect();
        forbidden.sort_unstable();
        let mut offset = 0;
        for (below, above) in forbidden {
            if offset <= below {
                break;
            }
            if offset < above {
                let above = u64::try_from(above).ok()?.checked_next_multiple_of(ALIGN.into())?;
                offset = i64::try_from(above).ok()?;
            }
        }
        end = end.max(offset + i64::from(block.bytes));
        placed.push((offset, block));
    }
    let end = u32::try_from(end).ok()?.checked_next_multiple_of(ALIGN)?;
    let places = placed.iter().map(|(offset, block)| Some((block.root, u32::try_from(*offset).ok()?)));
    Some((end, places.collect::<Option<_>>()?))
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
pub(crate) mod tests;
