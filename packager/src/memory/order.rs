//! The order of steps in which the least memory is in use at once.
//!
//! Where a graph has branches, some orders hold the wide tensors of two of them at the same time, and others one after
//! the other (Liberis and Lane, "Neural networks on microcontrollers: saving memory at inference via operator
//! reordering", 2019). The search is theirs over sets of steps that are done, but goes from the least peak on: the first
//! order that it completes is the best there is. Where that takes too many sets, the order stays as it is.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use edgepack_format::plan::Op;

use super::{Access, arena_spans, in_place_pair};
use crate::lower::Lowered;

/// Sets of steps that are looked at, at most.
const SETS: usize = 50_000;

/// The same steps in an order that needs less memory, if there is one.
pub fn ordered(lowered: &Lowered) -> Option<Lowered> {
    // Parts of a layer name the first by its number.
    if lowered.steps.iter().any(|step| matches!(&step.op, Op::Conv(conv) if conv.same_weights_as.is_some())) {
        return None;
    }
    let steps = Steps::new(lowered);
    let order = steps.search()?;
    let mut reordered = Lowered { steps: Vec::new(), results: Vec::new(), ..lowered.clone() };
    reordered.steps.extend(order.iter().map(|&step| lowered.steps[step].clone()));
    Some(reordered)
}

/// Steps that are done, a bit each.
type Done = Vec<u64>;

fn has(done: &Done, step: usize) -> bool {
    done[step / 64] >> (step % 64) & 1 == 1
}

struct Steps {
    /// By step: those that must come before it.
    before: Vec<Vec<usize>>,
    /// By step: the buffers that it touches.
    touched: Vec<Vec<usize>>,
    /// By step: the buffer that it may overwrite, and the one that it then writes.
    in_place: Vec<Option<(usize, usize)>>,
    scratch_bytes: Vec<u64>,
    /// By buffer: the steps that touch it.
    users: Vec<Vec<usize>>,
    bytes: Vec<u64>,
    is_input: Vec<bool>,
    is_output: Vec<bool>,
}

impl Steps {
    fn new(lowered: &Lowered) -> Self {
        let count = lowered.buffers.len();
        let home = |buffer: u32| lowered.home(buffer).0 as usize;
        let mut users: Vec<Vec<usize>> = vec![Vec::new(); count];
        let mut writers: Vec<Vec<usize>> = vec![Vec::new(); count];
        let mut before: Vec<Vec<usize>> = Vec::new();
        let mut touched: Vec<Vec<usize>> = Vec::new();
        for (index, step) in lowered.steps.iter().enumerate() {
            let mut own_before = Vec::new();
            let mut own = Vec::new();
            for (access, span) in arena_spans(&step.op) {
                let buffer = home(span.offset);
                // What is read must have been written, and what is written over must have been read.
                let earlier = if access == Access::Read { &writers[buffer] } else { &users[buffer] };
                own_before.extend(earlier.iter().copied().filter(|&earlier| earlier != index));
                own.push((buffer, access));
            }
            for (buffer, access) in own.iter().copied() {
                users[buffer].push(index);
                if access != Access::Read {
                    writers[buffer].push(index);
                }
            }
            own_before.sort_unstable();
            own_before.dedup();
            before.push(own_before);
            let mut buffers: Vec<usize> = own.into_iter().map(|(buffer, _)| buffer).collect();
            buffers.sort_unstable();
            buffers.dedup();
            touched.push(buffers);
        }
        let pair = |op: &Op| {
            let (input, output) = in_place_pair(op)?;
            let same = lowered.buffers[input as usize] == lowered.buffers[output as usize];
            same.then_some((input as usize, output as usize))
        };
        let marked = |buffers: &mut dyn Iterator<Item = u32>| {
            let mut marks = vec![false; count];
            buffers.for_each(|buffer| marks[home(buffer)] = true);
            marks
        };
        Self {
            before,
            touched,
            in_place: lowered.steps.iter().map(|step| pair(&step.op)).collect(),
            scratch_bytes: lowered.steps.iter().map(|step| step.scratch.bytes.into()).collect(),
            users,
            bytes: lowered.buffers.iter().map(|buffer| buffer.bytes.into()).collect(),
            is_input: marked(&mut lowered.inputs.iter().map(|input| input.input.buffer.offset)),
            is_output: marked(&mut lowered.outputs.iter().map(|output| output.output.buffer.offset)),
        }
    }

    fn count(&self) -> usize {
        self.before.len()
    }

    /// Whether a buffer holds something that is still needed, when these steps are done.
    fn is_live(&self, buffer: usize, done: &Done) -> bool {
        let users = &self.users[buffer];
        let is_filled = self.is_input[buffer] || users.iter().any(|&user| has(done, user));
        is_filled && (self.is_output[buffer] || users.iter().any(|&user| !has(done, user)))
    }

    /// Bytes in use while a step runs after others, which use `live_bytes`, and after it.
    fn run(&self, step: usize, done: &Done, live_bytes: u64) -> (Done, u64, u64) {
        let mut after = done.clone();
        after[step / 64] |= 1 << (step % 64);
        let mut during = live_bytes + self.scratch_bytes[step];
        let mut left = live_bytes;
        for &buffer in &self.touched[step] {
            if !self.is_live(buffer, done) {
                during += self.bytes[buffer];
                left += self.bytes[buffer];
            }
            if !self.is_live(buffer, &after) {
                left -= self.bytes[buffer];
            }
        }
        if let Some((input, output)) = self.in_place[step]
            && !self.is_live(input, &after)
            && !self.is_live(output, done)
        {
            during -= self.bytes[output];
        }
        (after, during, left)
    }

    /// What is in use before the first step.
    fn start(&self) -> (Done, u64) {
        let none = vec![0; self.count().div_ceil(64).max(1)];
        let live = (0..self.bytes.len()).filter(|&buffer| self.is_live(buffer, &none));
        let bytes = live.map(|buffer| self.bytes[buffer]).sum();
        (none, bytes)
    }

    /// The most that is in use in an order.
    fn peak(&self, order: impl Iterator<Item = usize>) -> u64 {
        let (mut done, mut live) = self.start();
        let mut peak = live;
        for step in order {
            let (after, during, left) = self.run(step, &done, live);
            peak = peak.max(during);
            (done, live) = (after, left);
        }
        peak
    }

    /// The order of the least peak; `None` where that is the present one's, or too far to find.
    fn search(&self) -> Option<Vec<usize>> {
        let count = self.count();
        let bound = self.peak(0..count);
        let (none, live) = self.start();
        let mut queue = BinaryHeap::new();
        let mut seen = HashSet::new();
        let start: (Vec<usize>, Done, u64) = (Vec::new(), none, live);
        queue.push(Reverse((live, count, start)));
        while let Some(Reverse((peak, left, (order, done, live)))) = queue.pop() {
            if left == 0 {
                return Some(order);
            }
            if !seen.insert(done.clone()) {
                continue;
            }
            if seen.len() > SETS {
                return None;
            }
            let is_ready = |&step: &usize| {
                !has(&done, step) && self.before[step].iter().all(|&earlier| has(&done, earlier))
            };
            for step in (0..count).filter(is_ready) {
                let (after, during, live) = self.run(step, &done, live);
                let peak = peak.max(during);
                if peak < bound && !seen.contains(&after) {
                    let order: Vec<usize> = order.iter().copied().chain([step]).collect();
                    queue.push(Reverse((peak, left - 1, (order, after, live))));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::chain;
    use super::*;

    /// The least peak over every order, by trying all.
    fn least(steps: &Steps, order: &mut Vec<usize>) -> u64 {
        if order.len() == steps.count() {
            return steps.peak(order.iter().copied());
        }
        let mut best = u64::MAX;
        for step in 0..steps.count() {
            if !order.contains(&step) && steps.before[step].iter().all(|earlier| order.contains(earlier)) {
                order.push(step);
                best = best.min(least(steps, order));
                order.pop();
            }
        }
        best
    }

    #[test]
    fn wide_tensors_of_two_branches_are_not_there_at_once() {
        let lowered = chain(&[64, 640, 640, 64, 64], &[0, 0, 1, 2]);
        let [before, after] = [lowered.clone(), ordered(&lowered).unwrap()]
            .map(|lowered| crate::memory::plan(&lowered).unwrap().arena_bytes);
        assert!(before >= 1280 && after <= 640 + 3 * 64, "{before} {after}");
    }

    #[test]
    fn order_that_is_found_is_the_best_there_is() {
        let mut state = 7_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let mut better = 0;
        for _ in 0..200 {
            let count = 2 + next(6) as usize;
            let bytes: Vec<u32> = (0..=count).map(|_| 64 * (1 + next(9) as u32)).collect();
            let reads: Vec<u32> = (0..count).map(|i| next(i as u64 + 1) as u32).collect();
            let lowered = chain(&bytes, &reads);
            let steps = Steps::new(&lowered);
            let present = steps.peak(0..count);
            let found = steps.search().map_or(present, |order| steps.peak(order.into_iter()));
            assert_eq!(found, least(&steps, &mut Vec::new()), "{bytes:?} {reads:?}");
            better += u32::from(found < present);
            let reordered = ordered(&lowered).unwrap_or(lowered);
            let plan = crate::memory::plan(&reordered).unwrap();
            crate::memory::check::check(&reordered, &plan).unwrap();
        }
        assert!(better > 40, "{better}");
    }
}
