//! What a device has for a package: flash and RAM, and which nodes need most of either where that is not enough.

use edgepack_harness::report::words::human_bytes;

use crate::error::{PackError, Result};
use crate::lower::Lowered;
use crate::memory::{MemoryPlan, arena_spans};
use crate::names::tail;
use crate::node_map::constant_bytes;

/// The most that a package may take; `None` for any amount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of RAM: the arena.
    pub ram: Option<Limit>,
    /// Of flash: the package's file.
    pub flash: Option<Limit>,
}

/// So many bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The bytes.
    pub bytes: u32,
    /// Who says so, for people: `--max-ram`, or a board and what it leaves.
    pub from: String,
}

/// At most so many nodes are named.
const NAMED: usize = 4;

/// Whether a microcontroller runs every node: it has no tract.
///
/// # Errors
/// [`PackError::Limits`] with the nodes.
pub fn check_islands(board: &str, islands: &[(String, String)]) -> Result<()> {
    if islands.is_empty() {
        return Ok(());
    }
    let named: Vec<String> =
        islands.iter().take(NAMED).map(|(node, why)| format!("`{}` ({why})", tail(node, 64))).collect();
    Err(PackError::Limits {
        reason: format!(
            "{board} has no tract, which alone runs {} of the nodes: {}; without --islands they are refused with what \
             to do about each",
            islands.len(),
            named.join(", ")
        ),
    })
}

/// Whether the arena fits.
///
/// # Errors
/// [`PackError::Limits`] with the nodes at which most is in use, and what would help.
pub fn check_ram(limits: &Limits, lowered: &Lowered, plan: &MemoryPlan) -> Result<()> {
    let Some(limit) = limits.ram.as_ref().filter(|limit| plan.arena_bytes > limit.bytes) else {
        return Ok(());
    };
    let needs: Vec<(&str, u64)> = (lowered.steps.iter().enumerate())
        .map(|(index, step)| (step.name.as_str(), plan.bytes_in_use(index)))
        .collect();
    let mut remedies = vec!["a smaller input (--shape)", "fewer channels (--prune-channels)"];
    remedies.extend(wider_than_int8(lowered));
    Err(PackError::Limits {
        reason: format!(
            "the arena needs {} of RAM, and {} gives it {}; most is in use at {}. What helps: {}",
            human_bytes(plan.arena_bytes.into()),
            limit.from,
            human_bytes(limit.bytes.into()),
            greatest(needs, |one, other| one.max(other)),
            remedies.join(", ")
        ),
    })
}

/// Whether a package of so many bytes fits.
///
/// # Errors
/// [`PackError::Limits`] with the nodes that have most constants, and what would help.
pub fn check_flash(limits: &Limits, lowered: &Lowered, package_bytes: u64) -> Result<()> {
    let Some(limit) = limits.flash.as_ref().filter(|limit| package_bytes > limit.bytes.into()) else {
        return Ok(());
    };
    let needs: Vec<(&str, u64)> =
        lowered.steps.iter().map(|step| (step.name.as_str(), constant_bytes(&step.op))).collect();
    let mut remedies = vec!["fewer channels (--prune-channels)"];
    remedies.extend(wider_than_int8(lowered));
    Err(PackError::Limits {
        reason: format!(
            "the package needs {} of flash, and {} gives it {}; most of its constants are those of {}. What helps: {}",
            human_bytes(package_bytes),
            limit.from,
            human_bytes(limit.bytes.into()),
            greatest(needs, |one, other| one + other),
            remedies.join(", ")
        ),
    })
}

/// The nodes with the greatest needs: those of the steps of one node are joined.
fn greatest(needs: Vec<(&str, u64)>, join: fn(u64, u64) -> u64) -> String {
    let mut nodes: Vec<(&str, u64)> = Vec::new();
    for (name, bytes) in needs {
        match nodes.iter_mut().find(|(other, _)| *other == name) {
            Some((_, sum)) => *sum = join(*sum, bytes),
            None => nodes.push((name, bytes)),
        }
    }
    nodes.sort_by_key(|&(_, bytes)| std::cmp::Reverse(bytes));
    let words: Vec<String> = (nodes.iter().take(NAMED))
        .map(|(name, bytes)| format!("`{}` ({})", tail(name, 64), human_bytes(*bytes)))
        .collect();
    words.join(", ")
}

/// What to do about steps that compute in more than 8 bits, where there are some with tensors.
fn wider_than_int8(lowered: &Lowered) -> Option<&'static str> {
    let is_wide = |step: &&crate::lower::LoweredStep| {
        crate::node_map::int8_macs(&step.op) == 0 && edgepack_engine::step_macs(&step.op) > 0
    };
    let wide = lowered.steps.iter().find(is_wide)?;
    let has_tensors = !arena_spans(&wide.op).is_empty();
    has_tensors
        .then_some("int8 where nodes are int16 or f32 (`inspect --nodes` names them; --precision int8)")
}
