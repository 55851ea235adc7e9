//! The independent check of a memory plan: the steps are played through, and every block of the
//! arena remembers which buffer was written to it last. A step that reads a block which another
//! buffer has overwritten since would compute garbage on the device.

use edgepack_format::plan::Span;

use super::{ALIGN, Access, MemoryPlan, arena_spans};
use crate::lower::Lowered;

/// Plays the steps through.
///
/// # Errors
/// The first step that would read what is no longer there, or reach beyond the arena.
pub fn check(lowered: &Lowered, plan: &MemoryPlan) -> Result<(), String> {
    let blocks = (plan.arena_bytes as usize).div_ceil(ALIGN as usize);
    let mut arena = Arena { holds: vec![None; blocks], plan };
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
    /// By block of the arena: the buffer written last.
    holds: Vec<Option<u32>>,
    plan: &'a MemoryPlan,
}

impl Arena<'_> {
    fn blocks(&self, step: &str, span: Span) -> Result<std::ops::Range<usize>, String> {
        let start = self.plan.offsets[span.offset as usize];
        let end = start as u64 + span.bytes as u64;
        if !start.is_multiple_of(ALIGN) || end > self.plan.arena_bytes as u64 {
            return Err(format!("step `{step}`: buffer {} lies outside the arena", span.offset));
        }
        Ok((start / ALIGN) as usize..end.div_ceil(ALIGN as u64) as usize)
    }

    fn write(&mut self, step: &str, span: Span) -> Result<(), String> {
        let blocks = self.blocks(step, span)?;
        self.holds[blocks].fill(Some(span.offset));
        Ok(())
    }

    fn read(&self, step: &str, span: Span) -> Result<(), String> {
        let blocks = self.blocks(step, span)?;
        match self.holds[blocks].iter().find(|holds| **holds != Some(span.offset)) {
            None => Ok(()),
            Some(holds) => {
                Err(format!("step `{step}` reads buffer {}, where now {holds:?} lies", span.offset))
            }
        }
    }
}
