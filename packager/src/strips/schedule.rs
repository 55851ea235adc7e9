//! Which lines of which tensor are computed when.

use std::ops::Range;

use super::MIN_LINES;
use super::lines::Lines;

/// One turn of all steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Strip {
    /// By step: the lines of its output that it computes now, if any.
    pub new: Vec<Range<u32>>,
    /// By step but the last: the lines of its output that its buffer holds when the next step has its turn.
    pub held: Vec<Range<u32>>,
}

/// The strips of some steps, each of which reads what the one before writes.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pub lines: Vec<Lines>,
    pub strips: Vec<Strip>,
}

impl Schedule {
    /// The fewest strips whose buffers and constants fit `bytes`; `None` where strips of [`MIN_LINES`] do
    /// not.
    pub fn fitting(lines: &[Lines], bytes: u32) -> Option<Self> {
        let last = lines.last()?.output.lines;
        (2..=last / MIN_LINES)
            .map(|count| Self::of(lines, count))
            .find(|schedule| schedule.bytes() <= bytes as u64)
    }

    /// So many strips of about the same height.
    pub fn of(lines: &[Lines], count: u32) -> Self {
        Self { lines: lines.to_vec(), strips: strips(lines, count) }
    }

    /// The tensor in whose buffer tensor `index` lies: element-wise steps work in place.
    pub fn home(&self, index: usize) -> usize {
        let followers = self.lines[index + 1..].iter().take_while(|lines| lines.is_elementwise());
        index + followers.count()
    }

    /// The most lines that the buffer of a tensor holds.
    pub fn capacity(&self, index: usize) -> u32 {
        let last = self.lines.len() - 1;
        let of = |strip: &Strip| if index == last { strip.new[index].len() } else { strip.held[index].len() };
        self.strips.iter().map(of).max().unwrap_or(0) as u32
    }

    /// Bytes that a strip works on.
    fn bytes(&self) -> u64 {
        let tensors = (0..self.lines.len())
            .filter(|&index| self.home(index) == index)
            .map(|index| self.capacity(index) as u64 * self.lines[index].output.line_bytes as u64);
        let first = &self.lines[0];
        let read = |strip: &Strip| {
            if strip.new[0].is_empty() { 0 } else { first.reads(&strip.new[0]).len() as u64 }
        };
        let input = self.strips.iter().map(read).max().unwrap_or(0) * first.input.line_bytes as u64;
        let constants = self.lines.iter().map(|lines| lines.constants as u64);
        tensors.sum::<u64>() + input + constants.sum::<u64>()
    }
}

/// Cuts the lines of the last output into `count` strips of about the same height, and follows each
/// backwards to the lines that the steps before have to add.
fn strips(lines: &[Lines], count: u32) -> Vec<Strip> {
    let last = lines.len() - 1;
    let height = lines[last].output.lines;
    // By step: how far its output has come. By tensor: the first line that is still needed.
    let mut done = vec![0; lines.len()];
    let mut needed = vec![0; last];
    (1..=count)
        .map(|turn| {
            let before = done.clone();
            let mut new = vec![0..0; lines.len()];
            done[last] = (height as u64 * turn as u64 / count as u64) as u32;
            new[last] = before[last]..done[last];
            for index in (0..last).rev() {
                if !new[index + 1].is_empty() {
                    let read = lines[index + 1].reads(&new[index + 1]);
                    done[index] = done[index].max(read.end);
                    needed[index] = read.start;
                }
                // Strides beyond the kernel leave lines out.
                new[index] = before[index].max(needed[index])..done[index];
            }
            let held = (0..last).map(|index| needed[index]..done[index]).collect();
            Strip { new, held }
        })
        .collect()
}
