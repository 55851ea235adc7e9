//! The independent check of a memory plan: the steps are played through, and every byte of the
//! arena remembers which buffer was written to it last. A step that reads a byte which another
//! buffer has overwritten since would compute garbage on the device.

use edgepack_format::plan::Span;

use super::{ALIGN, Access, MemoryPlan, arena_spans};
use crate::lower::Lowered;

/// Plays the steps through.
///
/// # Errors
/// The first step that would read what is no longer there, or reach beyond the arena.
pub fn check(lowered: &Lowered, plan: &MemoryPlan) -> Result<(), String> {
    let mut arena = Arena { holds: vec![None; plan.arena_bytes as usize], lowered, plan };
    for input in &lowered.inputs {
        arena.write("the inputs", input.input.buffer)?;
    }
    for step in &lowered.steps {
        let spans = arena_spans(&step.op);
        for (_, span) in spans.iter().filter(|(access, _)| *access == Access::Read) {
            arena.read(&step.name, *span)?;
        }
        // Scratch memory is written while inputs are read and outputs written: it must hurt neither.
        if step.scratch.bytes > 0 {
            arena.write(&step.name, step.scratch)?;
            for (_, span) in spans.iter().filter(|(access, _)| *access == Access::Read) {
                arena.read(&step.name, *span)?;
            }
        }
        for (_, span) in spans.iter().filter(|(access, _)| *access != Access::Read) {
            arena.write(&step.name, *span)?;
        }
        if step.scratch.bytes > 0 {
            arena.read(&step.name, step.scratch)?;
        }
        // Only steps that work in place may write where they read.
        for (access, span) in &spans {
            let overwritten = arena.read(&step.name, *span).is_err();
            if *access == Access::Read && overwritten && !same_place(&spans, *span, plan) {
                return Err(format!("step `{}` overwrites what it reads", step.name));
            }
        }
    }
    lowered.outputs.iter().try_for_each(|output| arena.read("the outputs", output.output.buffer))
}

fn same_place(spans: &[(Access, Span)], read: Span, plan: &MemoryPlan) -> bool {
    let place = |span: Span| (plan.offsets[span.offset as usize], span.bytes);
    spans.iter().any(|(access, span)| *access == Access::Write && place(*span) == place(read))
}

struct Arena<'a> {
    /// By byte of the arena: the buffer written last, of which that may have been a part.
    holds: Vec<Option<u32>>,
    lowered: &'a Lowered,
    plan: &'a MemoryPlan,
}

impl Arena<'_> {
    /// The bytes of a span, and the buffer whose they are.
    fn bytes(&self, step: &str, span: Span) -> Result<(std::ops::Range<usize>, u32), String> {
        let (whole, within) = self.lowered.home(span.offset);
        let start = self.plan.offsets[whole as usize];
        let place = start as u64 + within as u64;
        let end = place + span.bytes as u64;
        let is_inside =
            within as u64 + span.bytes as u64 <= self.lowered.buffers[whole as usize].bytes as u64;
        if !start.is_multiple_of(ALIGN) || end > self.plan.arena_bytes as u64 || !is_inside {
            return Err(format!("step `{step}`: buffer {} lies outside the arena", span.offset));
        }
        if place != self.plan.offsets[span.offset as usize] as u64 {
            return Err(format!("step `{step}`: buffer {} is not where its whole is", span.offset));
        }
        Ok((place as usize..end as usize, whole))
    }

    fn write(&mut self, step: &str, span: Span) -> Result<(), String> {
        let (bytes, whole) = self.bytes(step, span)?;
        self.holds[bytes].fill(Some(whole));
        Ok(())
    }

    fn read(&self, step: &str, span: Span) -> Result<(), String> {
        let (bytes, whole) = self.bytes(step, span)?;
        match self.holds[bytes].iter().find(|holds| **holds != Some(whole)) {
            None => Ok(()),
            Some(holds) => {
                Err(format!("step `{step}` reads buffer {}, where now {holds:?} lies", span.offset))
            }
        }
    }
}
