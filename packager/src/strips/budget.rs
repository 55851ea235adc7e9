//! Which steps take turns so that an arena fits a budget of RAM, at the least number of steps.
//!
//! Cut into strips, a run of steps needs, beside its input and its output, a few lines of each tensor between them; and
//! since the output may lie where lines of the input were that are no longer needed (`memory`), hardly more than the
//! larger of these two. That is so of a single step, too: its output then takes the place of its input, as in the in-place
//! depthwise convolution of Lin et al., "MCUNet", 2020, but for every window. What MCUNetV2's patches compute twice,
//! strips of whole lines keep, so that no multiply-add is added.
//!
//! What a run needs depends on no other run, so that the best partition of all steps is found from front to back: of the
//! ways to the end of each run the one that costs least, in steps and in what is beyond the budget. Buffers cannot always
//! lie as close as they are counted: then runs are cut for less than the budget, until the arena has it.

use std::cell::RefCell;
use std::collections::HashMap;

use super::group::{Group, Uses, uses};
use super::lines::{Lines, heights};
use super::rewrite;
use super::schedule::Schedule;
use crate::lower::Lowered;
use crate::memory::{self, MemoryPlan};
use crate::pack::Target;

/// Runs are no longer than this: each further tensor costs some lines, too.
const MAX_RUN: usize = 12;

/// Budgets for runs that are tried.
const TRIES: u32 = 12;

/// Cuts steps into strips until the arena has at most `bytes`, or as few as can be. Nothing changes where it has
/// already.
pub fn in_budget(whole: &Lowered, bytes: u32, target: Option<&Target>) -> Lowered {
    let Some(whole_plan) = memory::plan(whole).filter(|plan| plan.arena_bytes > bytes) else {
        return whole.clone();
    };
    let runs = Runs::new(whole, &whole_plan, target);
    // What is beyond the budget, then steps: the fewest of either.
    let rank = |arena_bytes: u32, cut: &Lowered| (arena_bytes.saturating_sub(bytes), cut.steps.len());
    let mut best = (rank(whole_plan.arena_bytes, whole), whole.clone());
    // Where nothing fits, how far one can get is told: then budgets above this one are worth a try as well.
    for from in [bytes, whole_plan.arena_bytes] {
        for turn in 0..TRIES {
            let groups = runs.partition(u64::from(from) * u64::from(TRIES - turn) / u64::from(TRIES));
            let cut = rewrite(whole, &groups, target);
            let Some(plan) = memory::plan(&cut) else { continue };
            let rank = rank(plan.arena_bytes, &cut);
            if rank < best.0 {
                best = (rank, cut);
            }
        }
        if best.0.0 == 0 {
            break;
        }
    }
    best.1
}

/// Of steps that each read what the one before writes: where they begin, how many they are, and in how many strips.
type Run = (usize, usize, u32);

struct Runs<'a> {
    whole: &'a Lowered,
    plan: &'a MemoryPlan,
    target: Option<&'a Target>,
    lines: Vec<Option<Lines>>,
    uses: Vec<Uses>,
    /// Buffers alone, to write strips to.
    empty: Lowered,
    /// What has been counted already.
    needs: RefCell<HashMap<Run, Needs>>,
}

/// What a run needs.
#[derive(Clone, Copy)]
struct Needs {
    /// The most that is in use during it, of all tensors.
    bytes: u64,
    steps: usize,
}

impl<'a> Runs<'a> {
    fn new(whole: &'a Lowered, plan: &'a MemoryPlan, target: Option<&'a Target>) -> Self {
        let heights = heights(whole.steps.iter().map(|step| &step.op));
        let lines = whole.steps.iter().map(|step| Lines::of(&step.op, &heights)).collect();
        let empty = Lowered { buffers: whole.buffers.clone(), macs: whole.macs, ..Lowered::default() };
        Self { whole, plan, target, lines, uses: uses(whole), empty, needs: RefCell::default() }
    }

    /// The lines of the steps from `start` on that can take turns, the longest run of them.
    fn run_from(&self, start: usize) -> Vec<Lines> {
        let mut run: Vec<Lines> = Vec::new();
        for lines in self.lines[start..].iter().take(MAX_RUN) {
            let Some(lines) = lines else { break };
            let continues = run.last().is_none_or(|previous| {
                lines.input == previous.output && self.uses[previous.output.buffer as usize].is_between_two()
            });
            if !continues {
                break;
            }
            run.push(*lines);
        }
        run
    }

    /// What the steps from `start` on need whose lines these are, in so many strips.
    fn needs(&self, start: usize, lines: &[Lines], count: u32) -> Needs {
        let run = (start, lines.len(), count);
        if let Some(needs) = self.needs.borrow().get(&run) {
            return *needs;
        }
        let needs = self.counted(start, lines, count);
        self.needs.borrow_mut().insert(run, needs);
        needs
    }

    fn counted(&self, start: usize, lines: &[Lines], count: u32) -> Needs {
        let group = self.group(start, lines, count);
        let steps = &self.whole.steps[group.steps.clone()];
        let end = group.steps.end;
        let mut writer = super::Writer { lowered: self.empty.clone(), target: self.target };
        writer.group(steps, &group);
        let cut = writer.lowered;
        // Tensors of the run, of which some have been there before, and some are there after it.
        let mut before = Vec::new();
        let mut after = Vec::new();
        let mut others = 0;
        let touched: Vec<u32> = (steps.iter())
            .flat_map(|step| memory::arena_spans(&step.op))
            .map(|(_, span)| self.whole.home(span.offset).0)
            .collect();
        for (buffer, life) in self.plan.lives.iter().enumerate() {
            let whole = self.whole.buffers[buffer];
            if whole.part_of.is_some() || life.first > end || life.last < start + 1 {
                continue;
            }
            let span = edgepack_format::plan::Span { offset: buffer as u32, bytes: whole.bytes };
            let is_touched = touched.contains(&(buffer as u32));
            let is_scratch =
                steps.iter().any(|step| step.scratch.bytes > 0 && step.scratch.offset == span.offset);
            if is_scratch {
                continue;
            }
            if !is_touched {
                others += u64::from(whole.bytes);
                continue;
            }
            if life.first < start + 1 {
                before.push(span);
            }
            if life.last > end {
                after.push(span);
            }
        }
        let most = memory::most_in_use(&cut, &before, &after);
        Needs { bytes: most + others, steps: cut.steps.len() }
    }

    fn group(&self, start: usize, lines: &[Lines], count: u32) -> Group {
        Group { steps: start..start + lines.len(), schedule: Schedule::of(lines, count) }
    }

    /// The number of strips of these steps that costs least, and that.
    fn cheapest(&self, start: usize, lines: &[Lines], budget: u64) -> Option<(u64, u32)> {
        let most = lines.last()?.output.lines;
        let cost = |count: u32| {
            let needs = self.needs(start, lines, count);
            cost(needs.steps, needs.bytes, budget)
        };
        let fits = |count: u32| self.needs(start, lines, count).bytes <= budget;
        if most < 2 {
            return None;
        }
        if !fits(most) {
            return [most, most.div_ceil(2), most.div_ceil(4)]
                .map(|count| (cost(count), count.max(2)))
                .into_iter()
                .min();
        }
        // More strips need less, but for roundings.
        let (mut low, mut high) = (2, most);
        while low < high {
            let count = low + (high - low) / 2;
            if fits(count) { high = count } else { low = count + 1 }
        }
        Some((cost(high), high))
    }

    /// The runs that cost least in all.
    fn partition(&self, budget: u64) -> Vec<Group> {
        let steps = self.whole.steps.len();
        let whole_cost = |step: usize| cost(1, self.plan.bytes_in_use(step), budget);
        // By step: what the steps up to it cost, and the run that ends before it; none where that is a whole step.
        let mut best: Vec<(u64, Option<Run>)> = vec![(u64::MAX, None); steps + 1];
        best[0].0 = 0;
        for start in 0..steps {
            let so_far = best[start].0;
            let mut offer = |end: usize, cost: u64, run: Option<Run>| {
                let cost = so_far.saturating_add(cost);
                if cost < best[end].0 {
                    best[end] = (cost, run);
                }
            };
            offer(start + 1, whole_cost(start), None);
            let lines = self.run_from(start);
            let mut whole = 0;
            for count in 1..=lines.len() {
                whole += whole_cost(start + count - 1);
                // Whole steps are fewer.
                if whole == count as u64 {
                    continue;
                }
                if let Some((cost, strips)) = self.cheapest(start, &lines[..count], budget) {
                    offer(start + count, cost, Some((start, count, strips)));
                }
            }
        }
        let mut groups = Vec::new();
        let mut end = steps;
        while end > 0 {
            end = match best[end].1 {
                Some((start, count, strips)) => {
                    groups.push(self.group(start, &self.run_from(start)[..count], strips));
                    start
                }
                None => end - 1,
            };
        }
        groups.reverse();
        groups
    }
}

/// What steps cost that need so many bytes: what is far beyond the budget most of all, since the arena has to hold the
/// worst of them.
fn cost(steps: usize, bytes: u64, budget: u64) -> u64 {
    let excess = bytes.saturating_sub(budget).div_ceil(64);
    excess * excess + steps as u64
}
