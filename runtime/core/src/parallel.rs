//! Steps that are shared among threads, which an engine provides: here there are none.
//!
//! A step is cut into steps of the same kind, each with a stretch of the output of its own
//! ([`edgepack_kernels::conv::BoundRow::split`] and its like), so that no bit of the result depends on the
//! number of threads, and nothing here is unsafe.

use core::ops::Range;

use edgepack_kernels::conv::matmul::{BoundMatMul, MatMulArgs};
use edgepack_kernels::conv::{BoundRow, ConvArgs};
use edgepack_kernels::elementwise::{BinaryArgs, Operands};
use edgepack_kernels::parts::share;
use edgepack_kernels::pool::PoolArgs;
use edgepack_kernels::variants::BoundVariant;

/// The most threads that a step is shared among.
pub const MAX_THREADS: usize = 16;

/// Multiply-adds that are worth a thread's attention: about a microsecond of AVX512-VNNI, and 30 of a
/// Cortex-A53.
const MACS_OF_PART: u64 = 128 * 1024;

/// Values that are worth it where they are only looked at.
const VALUES_OF_PART: u64 = 16 * 1024;

/// The same where a line's sum is taken first.
const VALUES_OF_LINES: u64 = 4 * 1024;

/// Threads that wait for work.
pub trait Parallel {
    /// How many there are, the caller's included.
    fn threads(&self) -> usize;

    /// Calls `task` once with each item, on any of the threads, and returns when all calls have.
    fn for_each<T: Send>(&mut self, items: &mut [T], task: impl Fn(&mut T) + Sync);
}

/// The caller's thread alone.
impl Parallel for () {
    fn threads(&self) -> usize {
        1
    }

    fn for_each<T: Send>(&mut self, items: &mut [T], task: impl Fn(&mut T) + Sync) {
        items.iter_mut().for_each(task);
    }
}

/// Threads with the memory that they need.
#[derive(Debug)]
pub struct Team<'a, P> {
    threads: &'a mut P,
    scratch: &'a mut [u8],
    /// Of each thread but the caller's, which has the arena's.
    scratch_bytes: usize,
    /// Whether steps are cut that are not worth it.
    cuts_everything: bool,
}

impl<'a, P: Parallel> Team<'a, P> {
    /// `scratch` has [`crate::Requirements::thread_scratch_bytes`] for each thread but the caller's, from a
    /// multiple of 64 on. Where it is short, fewer threads than there are share a step.
    pub fn new(threads: &'a mut P, scratch: &'a mut [u8], scratch_bytes: usize) -> Self {
        Self { threads, scratch, scratch_bytes, cuts_everything: false }
    }

    /// Shares even the smallest steps, as tests want it.
    pub fn cutting_everything(self) -> Self {
        Self { cuts_everything: true, ..self }
    }

    /// How many parts some work is worth, if one is worth `part`. A thread alone need not know how much it is.
    fn parts(&self, work: impl FnOnce() -> u64, part: u64) -> usize {
        let most = self.threads.threads().min(MAX_THREADS);
        if most <= 1 {
            1
        } else if self.cuts_everything {
            most
        } else {
            (work() / part).clamp(1, most as u64) as usize
        }
    }

    /// How many parts so many multiply-adds are worth, and there is scratch memory for.
    fn parts_with_scratch(&self, macs: impl FnOnce() -> u64) -> usize {
        match self.parts(macs, MACS_OF_PART) {
            1 => 1,
            count if self.scratch_bytes == 0 => count,
            count => count.min(1 + self.scratch.len() / self.scratch_bytes),
        }
    }

    /// `None` where the arguments do not fit.
    pub(crate) fn conv(&mut self, row: &BoundRow, mut args: ConvArgs<'_>) -> Option<()> {
        let count = self.parts_with_scratch(|| args.shape.macs());
        if count == 1 {
            return row.run(&mut args).ok();
        }
        let mut parts = [const { None }; MAX_THREADS];
        let count = row.split(args, &mut parts[..count]);
        // A part needs no more scratch memory than the whole, whose it has.
        let mut scratch = self.scratch.chunks_mut(self.scratch_bytes.max(1));
        for part in parts[1..count].iter_mut().flatten() {
            part.scratch = scratch.next().unwrap_or(&mut []);
        }
        self.threads.for_each(&mut parts[..count], |part| {
            if part.as_mut().is_some_and(|args| row.run(args).is_ok()) {
                *part = None;
            }
        });
        parts.iter().all(Option::is_none).then_some(())
    }

    /// `None` where the arguments do not fit.
    pub(crate) fn mat_mul(&mut self, row: &BoundMatMul, mut args: MatMulArgs<'_>) -> Option<()> {
        let count = self.parts_with_scratch(|| args.shape.macs());
        if count == 1 {
            return row.run(&mut args).ok();
        }
        let mut parts = [const { None }; MAX_THREADS];
        let count = args.split(&mut parts[..count]);
        let mut scratch = self.scratch.chunks_mut(self.scratch_bytes.max(1));
        for part in parts[1..count].iter_mut().flatten() {
            part.scratch = scratch.next().unwrap_or(&mut []);
        }
        self.threads.for_each(&mut parts[..count], |part| {
            if part.as_mut().is_some_and(|args| row.run(args).is_ok()) {
                *part = None;
            }
        });
        parts.iter().all(Option::is_none).then_some(())
    }

    /// A function of lines of `channels` values.
    pub(crate) fn lines(
        &mut self,
        channels: usize,
        input: &[i8],
        mut output: &mut [i8],
        run: impl Fn(&[i8], &mut [i8]) + Sync,
    ) {
        let lines = output.len().checked_div(channels).unwrap_or(0);
        let count = self.parts(|| output.len() as u64, VALUES_OF_LINES).min(lines.max(1));
        if count == 1 {
            return run(input, output);
        }
        let mut parts = [const { None }; MAX_THREADS];
        for (index, part) in parts.iter_mut().enumerate().take(count) {
            let share = share(lines, count, index);
            let (own, rest) = output.split_at_mut(share.len() * channels);
            output = rest;
            *part = Some((&input[share.start * channels..share.end * channels], own));
        }
        self.threads.for_each(&mut parts[..count], |part| {
            if let Some((input, output)) = part.take() {
                run(input, output);
            }
        });
    }

    /// A function of `count` units, each as much of the output, of which `work` is in multiply-adds.
    pub(crate) fn ranges<T: Send>(
        &mut self,
        work: u64,
        count: usize,
        mut output: &mut [T],
        run: impl Fn(Range<usize>, &mut [T]) + Sync,
    ) {
        let parts_worth = self.parts(|| work, MACS_OF_PART).min(count.max(1));
        if parts_worth == 1 {
            return run(0..count, output);
        }
        let unit = output.len() / count;
        let mut parts = [const { None }; MAX_THREADS];
        for (index, part) in parts.iter_mut().enumerate().take(parts_worth) {
            let share = share(count, parts_worth, index);
            let (own, rest) = output.split_at_mut(share.len() * unit);
            output = rest;
            *part = Some((share, own));
        }
        self.threads.for_each(&mut parts[..parts_worth], |part| {
            if let Some((range, output)) = part.take() {
                run(range, output);
            }
        });
    }

    pub(crate) fn binary(&mut self, kernels: &BoundVariant, args: &BinaryArgs, operands: Operands<'_>) {
        let count = self.parts(|| args.output_elems() as u64, VALUES_OF_PART);
        if count == 1 {
            return kernels.binary(args, operands);
        }
        let mut parts = [const { None }; MAX_THREADS];
        let count = args.split(operands, &mut parts[..count]);
        self.threads.for_each(&mut parts[..count], |part| {
            if let Some((args, operands)) = part.take() {
                kernels.binary(&args, operands);
            }
        });
    }

    pub(crate) fn pool(&mut self, kernels: &BoundVariant, args: &PoolArgs, input: &[i8], output: &mut [i8]) {
        let window = (args.kernel_h as u64).saturating_mul(args.kernel_w as u64);
        let count = self.parts(|| (args.output_elems() as u64).saturating_mul(window), VALUES_OF_PART);
        if count == 1 {
            return kernels.pool(args, input, output);
        }
        let mut parts = [const { None }; MAX_THREADS];
        let count = args.split(input, output, &mut parts[..count]);
        self.threads.for_each(&mut parts[..count], |part| {
            if let Some((args, input, output)) = part.take() {
                kernels.pool(&args, input, output);
            }
        });
    }

    /// A table of int8; without an input, over the output.
    pub(crate) fn lookup(
        &mut self,
        kernels: &BoundVariant,
        input: Option<&[i8]>,
        table: &[i8; 256],
        mut output: &mut [i8],
    ) {
        let count = self.parts(|| output.len() as u64, VALUES_OF_PART);
        if count == 1 {
            return match input {
                Some(input) => kernels.lookup(input, table, output),
                None => kernels.lookup_in_place(output, table),
            };
        }
        let elems = output.len();
        let mut parts = [const { None }; MAX_THREADS];
        for (index, part) in parts.iter_mut().enumerate().take(count) {
            let share = share(elems, count, index);
            let (own, rest) = output.split_at_mut(share.len());
            output = rest;
            *part = Some((input.and_then(|input| input.get(share)), own));
        }
        self.threads.for_each(&mut parts[..count], |part| match part.take() {
            Some((Some(input), output)) => kernels.lookup(input, table, output),
            Some((None, output)) => kernels.lookup_in_place(output, table),
            None => {}
        });
    }
}
