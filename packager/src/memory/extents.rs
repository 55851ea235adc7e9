//! When which bytes of a buffer hold something.
//!
//! A tensor that is written a few lines at a time is not there whole at once, and neither is one whose lines are read
//! for the last time one after the other. Where both meet, what is written may lie where lines were that nothing reads
//! any more (Blacker et al., "Diagonal Memory Optimisation for Machine Learning on Micro-controllers", 2020; Zheng et
//! al., "vMCU: Coordinated Memory Management and Kernel Optimization for DNN Inference on MCUs", 2023), to the
//! line, since each strip is a step of its own.

use std::ops::Range;

use edgepack_format::plan::Span;

use super::{Access, arena_spans};
use crate::lower::Lowered;

/// Bytes of a buffer that hold something during some steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// The first of these times: 0 is when inputs are set, `i + 1` step `i`, then outputs are read.
    pub first: usize,
    /// The last.
    pub last: usize,
    /// From the first byte that holds something…
    pub start: u32,
    /// …to behind the last.
    pub end: u32,
}

/// What a step, or the application, does with a part of a buffer.
#[derive(Clone, Debug)]
struct Event {
    time: usize,
    access: Access,
    bytes: Range<u32>,
}

/// By buffer: its extents in order of time, of whole buffers alone. `root` names the buffer that stands for those which
/// share its place; `inputs` are filled before the first step, `outputs` read after the last.
pub(super) fn extents(
    lowered: &Lowered,
    root: &[usize],
    inputs: &[Span],
    outputs: &[Span],
) -> Vec<Vec<Extent>> {
    let mut events: Vec<Vec<Event>> = vec![Vec::new(); lowered.buffers.len()];
    let mut see = |time: usize, access: Access, buffer: u32, bytes: u32| {
        let (whole, start) = lowered.home(buffer);
        let event = Event { time, access, bytes: start..start + bytes };
        events[root[whole as usize]].push(event);
    };
    for input in inputs {
        see(0, Access::Write, input.offset, input.bytes);
    }
    for (index, step) in lowered.steps.iter().enumerate() {
        for (access, span) in arena_spans(&step.op) {
            see(index + 1, access, span.offset, span.bytes);
        }
        if step.scratch.bytes > 0 {
            see(index + 1, Access::Write, step.scratch.offset, step.scratch.bytes);
        }
    }
    for output in outputs {
        see(lowered.steps.len() + 1, Access::Read, output.offset, output.bytes);
    }
    events.iter().map(|events| of_buffer(events)).collect()
}

/// The extents of one buffer, whose events are in order of time.
fn of_buffer(events: &[Event]) -> Vec<Extent> {
    let mut bounds: Vec<u32> = events.iter().flat_map(|event| [event.bytes.start, event.bytes.end]).collect();
    bounds.sort_unstable();
    bounds.dedup();
    let mut extents: Vec<Extent> = Vec::new();
    for bound in bounds.windows(2) {
        let (start, end) = (bound[0], bound[1]);
        let within = events.iter().filter(|event| event.bytes.start <= start && end <= event.bytes.end);
        extents.extend(lives(within).into_iter().map(|life| Extent {
            first: *life.start(),
            last: *life.end(),
            start,
            end,
        }));
    }
    hulls(&extents)
}

/// When a few bytes hold something: from each time that they are written to the last that reads that.
fn lives<'a>(events: impl Iterator<Item = &'a Event>) -> Vec<std::ops::RangeInclusive<usize>> {
    let mut lives: Vec<std::ops::RangeInclusive<usize>> = Vec::new();
    for event in events {
        match lives.last_mut() {
            // What writes a part leaves the rest as it is.
            Some(life) if event.access != Access::Write => *life = *life.start()..=event.time,
            _ => lives.push(event.time..=event.time),
        }
    }
    lives
}

/// At each time the least range that holds all of that time's.
fn hulls(extents: &[Extent]) -> Vec<Extent> {
    let mut times: Vec<usize> = extents.iter().flat_map(|extent| [extent.first, extent.last + 1]).collect();
    times.sort_unstable();
    times.dedup();
    let mut hulls: Vec<Extent> = Vec::new();
    for time in times.windows(2) {
        let (first, last) = (time[0], time[1] - 1);
        let there = extents.iter().filter(|extent| extent.first <= first && last <= extent.last);
        let Some((start, end)) = there.fold(None, |hull: Option<(u32, u32)>, extent| match hull {
            None => Some((extent.start, extent.end)),
            Some((start, end)) => Some((start.min(extent.start), end.max(extent.end))),
        }) else {
            continue;
        };
        match hulls.last_mut() {
            Some(hull) if (hull.last + 1, hull.start, hull.end) == (first, start, end) => hull.last = last,
            _ => hulls.push(Extent { first, last, start, end }),
        }
    }
    hulls
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time: usize, access: Access, bytes: Range<u32>) -> Event {
        Event { time, access, bytes }
    }

    fn extent(times: Range<usize>, bytes: Range<u32>) -> Extent {
        Extent { first: times.start, last: times.end - 1, start: bytes.start, end: bytes.end }
    }

    #[test]
    fn lines_that_nothing_reads_any_more_are_free() {
        use Access::{Read, Write};
        let events =
            [event(0, Write, 0..40), event(1, Read, 0..20), event(2, Read, 10..30), event(3, Read, 20..40)];
        let expected = [extent(0..2, 0..40), extent(2..3, 10..40), extent(3..4, 20..40)];
        assert_eq!(of_buffer(&events), expected);
    }

    #[test]
    fn lines_that_are_not_written_yet_take_no_room() {
        use Access::{Read, Write};
        let events = [event(1, Write, 0..10), event(2, Write, 10..20), event(5, Read, 0..20)];
        assert_eq!(of_buffer(&events), [extent(1..2, 0..10), extent(2..6, 0..20)]);
    }

    #[test]
    fn what_is_overwritten_before_it_is_read_holds_nothing_meanwhile() {
        use Access::{Read, Write, WritePart};
        let events =
            [event(1, Write, 0..8), event(2, Read, 0..8), event(5, Write, 0..8), event(7, Read, 0..8)];
        assert_eq!(of_buffer(&events), [extent(1..3, 0..8), extent(5..8, 0..8)]);
        let events = [event(1, Write, 0..8), event(5, WritePart, 0..8), event(7, Read, 0..8)];
        assert_eq!(of_buffer(&events), [extent(1..8, 0..8)]);
    }
}
