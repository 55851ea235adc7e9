//! Which steps take turns.

use std::ops::Range;

use super::lines::{Lines, heights};
use super::schedule::Schedule;
use crate::lower::Lowered;
use crate::memory::{Access, arena_spans};

/// Steps that take turns.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub steps: Range<usize>,
    pub schedule: Schedule,
}

/// What a buffer is used for.
#[derive(Clone, Copy, Default)]
pub(super) struct Uses {
    reads: u32,
    writes: u32,
    /// Whether it is one of the model's inputs or outputs.
    is_outside: bool,
}

impl Uses {
    /// Whether one step writes it, one reads it, and nothing else sees it.
    pub fn is_between_two(self) -> bool {
        (self.reads, self.writes, self.is_outside) == (1, 1, false)
    }
}

/// Runs of steps between which there are tensors larger than `cache_bytes` that nothing else reads, as
/// long as their strips fit `cache_bytes`.
pub(super) fn find(lowered: &Lowered, cache_bytes: u32) -> Vec<Group> {
    let uses = uses(lowered);
    let heights = heights(lowered.steps.iter().map(|step| &step.op));
    let lines: Vec<Option<Lines>> = lowered.steps.iter().map(|step| Lines::of(&step.op, &heights)).collect();
    let passes = |lines: &Lines| {
        let uses = uses[lines.output.buffer as usize];
        let bytes = lines.output.lines as u64 * lines.output.line_bytes as u64;
        bytes > cache_bytes as u64 && uses.is_between_two()
    };
    let mut groups = Vec::new();
    let mut start = 0;
    while start < lines.len() {
        let mut found = None;
        let mut chain: Vec<Lines> = lines[start].into_iter().collect();
        for next in lines.iter().skip(start + 1) {
            let (Some(previous), Some(next)) = (chain.last(), next) else { break };
            if !passes(previous) || next.input != previous.output {
                break;
            }
            chain.push(*next);
            let Some(schedule) = Schedule::fitting(&chain, cache_bytes) else { break };
            found = Some(Group { steps: start..start + chain.len(), schedule });
        }
        start = found.as_ref().map_or(start + 1, |group| group.steps.end);
        groups.extend(found);
    }
    groups
}

/// By buffer: what it is used for.
pub(super) fn uses(lowered: &Lowered) -> Vec<Uses> {
    let mut uses = vec![Uses::default(); lowered.buffers.len()];
    for (access, span) in lowered.steps.iter().flat_map(|step| arena_spans(&step.op)) {
        let uses = &mut uses[span.offset as usize];
        if access == Access::Read {
            uses.reads += 1;
        } else {
            uses.writes += 1;
        }
    }
    let inputs = lowered.inputs.iter().map(|input| input.input.buffer);
    for span in inputs.chain(lowered.outputs.iter().map(|output| output.output.buffer)) {
        uses[span.offset as usize].is_outside = true;
    }
    uses
}
