//! Strips: the steps around a tensor that is larger than a cache take turns.
//!
//! Each computes a few lines, which the next one reads while the cache still has them; of the tensors
//! between them only as many lines exist as a window of the next step reaches over. So a layer that
//! widens its input, the depthwise convolution behind it and the layer that narrows it again need neither
//! memory for the wide tensors nor the way to it and back (layer fusion: Alwani et al., "Fused-Layer CNN
//! Accelerators", 2016; patches in Lin et al., "MCUNetV2", 2021, where the overlap is computed twice).
//!
//! A strip is nothing new to the device: its steps are ordinary steps over a few lines, and lines that
//! the next strip needs again are copied to the front of their buffer. No value is computed twice or in
//! another way, so the results are the same bits.

mod budget;
mod group;
mod lines;
mod schedule;

use std::ops::Range;

use edgepack_engine::{product_shape, step_macs};
use edgepack_format::plan::{Copy, MAX_RANK, Op, Span};

use crate::lower::{Lowered, LoweredStep};
use crate::memory;
use crate::pack::Target;
use crate::scratch;
pub use budget::in_budget;
use group::Group;
use lines::{Places, Tensor, part};

/// Fewer lines than these are no strip: each costs a few calls, and a copy of what windows share.
const MIN_LINES: u32 = 4;

/// Rewrites a lowered graph so that tensors larger than `cache_bytes` are not stored where steps can take
/// turns instead; the strips of what takes turns, weights included, fit `cache_bytes`. Steps are left as
/// they are where their strips would make the arena larger than `arena_bytes`: what goes in and what comes
/// out are both there at once.
pub fn in_strips(whole: &Lowered, arena_bytes: u32, cache_bytes: u32, target: Option<&Target>) -> Lowered {
    let mut accepted = Vec::new();
    for group in group::find(whole, cache_bytes) {
        accepted.push(group);
        let plan = memory::plan(&rewrite(whole, &accepted, target));
        if plan.is_none_or(|plan| plan.arena_bytes > arena_bytes) {
            accepted.pop();
        }
    }
    rewrite(whole, &accepted, target)
}

fn rewrite(whole: &Lowered, groups: &[Group], target: Option<&Target>) -> Lowered {
    let mut writer = Writer { lowered: Lowered { steps: Vec::new(), ..whole.clone() }, target };
    let steps = &whole.steps;
    let mut next = 0;
    for group in groups {
        writer.lowered.steps.extend_from_slice(&steps[next..group.steps.start]);
        writer.group(&steps[group.steps.clone()], group);
        next = group.steps.end;
    }
    writer.lowered.steps.extend_from_slice(&steps[next..]);
    writer.lowered
}

struct Writer<'a> {
    lowered: Lowered,
    /// Whose kernels the steps have scratch memory for.
    target: Option<&'a Target>,
}

impl Writer<'_> {
    fn group(&mut self, steps: &[LoweredStep], group: &Group) {
        // Lines that nothing reads, below the last window, are not computed.
        self.lowered.macs -= steps.iter().map(|step| step_macs(&step.op)).sum::<u64>();
        let schedule = &group.schedule;
        let last = steps.len() - 1;
        // By tensor: the buffer in which its lines lie, for those that are not stored whole.
        let buffers: Vec<Span> = (0..=last)
            .map(|index| match schedule.home(index) {
                home if home == last => Span { offset: schedule.lines[last].output.buffer, bytes: 0 },
                home if home == index => {
                    let bytes = schedule.capacity(index) * schedule.lines[index].output.line_bytes;
                    self.lowered.buffer(bytes)
                }
                _ => Span { offset: 0, bytes: 0 },
            })
            .collect();
        let mut first_parts: Vec<Option<u32>> = vec![None; steps.len()];
        for (turn, strip) in schedule.strips.iter().enumerate() {
            // Lines of a tensor, as a part of the buffer that they lie in.
            let place = |lowered: &mut Lowered, index: usize, lines: &Range<u32>| {
                let home = schedule.home(index);
                let front = if home == last { 0 } else { strip.held[home].start };
                let line_bytes = schedule.lines[index].output.line_bytes;
                let count = lines.end - lines.start;
                let start = (lines.start - front) * line_bytes;
                lowered.part(buffers[home].offset, start, count * line_bytes)
            };
            for (index, step) in steps.iter().enumerate() {
                let lines = &schedule.lines[index];
                let home = schedule.home(index);
                let is_first_there = index == 0 || schedule.home(index - 1) != home;
                if turn > 0 && home != last && is_first_there {
                    let before = &schedule.strips[turn - 1].held[home];
                    let kept = before.end.saturating_sub(strip.held[home].start);
                    let distance = strip.held[home].start - before.start;
                    let line_bytes = lines.output.line_bytes;
                    self.keep(step, buffers[home], kept * line_bytes, distance * line_bytes);
                }
                let new = &strip.new[index];
                if new.is_empty() {
                    continue;
                }
                let read = lines.reads(new);
                let input = if index == 0 {
                    let Tensor { buffer, line_bytes, .. } = lines.input;
                    self.lowered.part(buffer, read.start * line_bytes, (read.end - read.start) * line_bytes)
                } else {
                    place(&mut self.lowered, index - 1, &read)
                };
                let output = place(&mut self.lowered, index, new);
                let mut view = |buffer, start, bytes| self.lowered.part(buffer, start, bytes);
                let mut op = part(&step.op, lines, new, Places { input, output, view: &mut view });
                let at = self.lowered.steps.len() as u32;
                if let Op::Conv(conv) = &mut op {
                    conv.same_weights_as = first_parts[index];
                }
                first_parts[index].get_or_insert(at);
                let scratch = product_shape(&op).map_or(0, |shape| scratch::needed(&shape, self.target));
                let scratch = self.lowered.buffer(scratch as u32);
                self.lowered.macs += step_macs(&op);
                self.lowered.steps.push(LoweredStep { name: step.name.clone(), scratch, op });
            }
        }
    }

    /// Copies `bytes` at `distance` in a buffer to its front, front first: no piece overlaps what it becomes.
    fn keep(&mut self, step: &LoweredStep, buffer: Span, bytes: u32, distance: u32) {
        let mut done = 0;
        while distance > 0 && done < bytes {
            let count = distance.min(bytes - done);
            let [mut dims, mut strides] = [[1; MAX_RANK], [0; MAX_RANK]];
            (dims[MAX_RANK - 1], strides[MAX_RANK - 1]) = (count, 1);
            let copy = Copy {
                input: self.lowered.part(buffer.offset, done + distance, count),
                output: self.lowered.part(buffer.offset, done, count),
                elem_bytes: 1,
                dims,
                input_start: 0,
                input_strides: strides,
                output_start: 0,
                output_strides: strides,
                table: None,
            };
            let scratch = Span { offset: 0, bytes: 0 };
            self.lowered.steps.push(LoweredStep { name: step.name.clone(), scratch, op: Op::Copy(copy) });
            done += count;
        }
    }
}
