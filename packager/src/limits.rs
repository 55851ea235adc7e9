//! What a device has for a package: flash and RAM, and which nodes need most of either where that is not enough.

use edgepack_format::plan::ElemType;
use edgepack_harness::report::words::human_bytes;

use crate::emit::Extra;
use crate::error::{PackError, Result};
use crate::lower::Lowered;
use crate::memory::{MemoryPlan, arena_spans};
use crate::names::tail;
use crate::node_map::constant_bytes;

/// The most that a package may take; `None` for any amount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of RAM: the arena, and what the front-end for samples of a sensor needs, where there is one.
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

impl Limits {
    /// The most that the arena may have beside a front-end that needs so many bytes.
    pub fn arena_bytes(&self, front_end_bytes: u32) -> Option<u32> {
        self.ram.as_ref().map(|limit| limit.bytes.saturating_sub(front_end_bytes))
    }
}

/// Whether the arena fits, beside a front-end that needs so many bytes.
///
/// # Errors
/// [`PackError::Limits`] with the nodes at which most is in use, and what would help.
pub fn check_ram(limits: &Limits, front_end_bytes: u32, lowered: &Lowered, plan: &MemoryPlan) -> Result<()> {
    let is_beyond = |most: &u32| plan.arena_bytes > *most;
    let (Some(limit), Some(_)) = (&limits.ram, limits.arena_bytes(front_end_bytes).filter(is_beyond)) else {
        return Ok(());
    };
    let needs: Vec<(&str, u64)> = (lowered.steps.iter().enumerate())
        .map(|(index, step)| (step.name.as_str(), plan.bytes_in_use(index)))
        .collect();
    let mut remedies = vec!["a smaller input (--shape)", "fewer channels (--prune-channels)"];
    remedies.extend(wide_outputs(lowered, plan));
    remedies.extend(wider_than_int8(lowered));
    let arena = u64::from(plan.arena_bytes);
    let needed = match u64::from(front_end_bytes) {
        0 => format!("the arena needs {} of RAM", human_bytes(arena)),
        bytes => {
            remedies.push("a front-end of shorter frames or fewer bands (--signal)");
            format!(
                "arena {} + front-end {} need {} of RAM",
                human_bytes(arena),
                human_bytes(bytes),
                human_bytes(arena + bytes)
            )
        }
    };
    Err(PackError::Limits {
        reason: format!(
            "{needed}, and {} gives it {}; most is in use at {}. What helps: {}",
            limit.from,
            human_bytes(limit.bytes.into()),
            greatest(needs, |one, other| one.max(other)),
            remedies.join(", ")
        ),
    })
}

/// Whether a package of so many bytes fits, without what was left out already; `strip_bytes` of it are what it has of
/// steps for RAM's sake.
///
/// # Errors
/// [`PackError::Limits`] with the nodes that have most constants, and what would help.
pub fn check_flash(
    limits: &Limits,
    lowered: &Lowered,
    package_bytes: u64,
    left_out: &[Extra],
    strip_bytes: u64,
) -> Result<()> {
    let Some(limit) = limits.flash.as_ref().filter(|limit| package_bytes > limit.bytes.into()) else {
        return Ok(());
    };
    let needs: Vec<(&str, u64)> =
        lowered.steps.iter().map(|step| (step.name.as_str(), constant_bytes(&step.op))).collect();
    let mut remedies = vec!["fewer channels (--prune-channels)".to_string()];
    remedies.extend(wider_than_int8(lowered).map(str::to_string));
    if strip_bytes > 0 {
        remedies.push(format!("more RAM (the steps that fit it take {})", human_bytes(strip_bytes)));
    }
    let without = match left_out {
        [] => String::new(),
        extras => format!(" without {}", Extra::list(extras)),
    };
    Err(PackError::Limits {
        reason: format!(
            "the package needs {} of flash{without}, and {} gives it {}; most of its constants are those of {}. What \
             helps: {}",
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

/// What to do about outputs that are f32 where they need not be, and much of the arena.
fn wide_outputs(lowered: &Lowered, plan: &MemoryPlan) -> Option<&'static str> {
    let outputs = lowered.outputs.iter().map(|output| &output.output);
    let bytes: u32 = outputs.filter(|it| it.dtype == ElemType::F32).map(|it| it.buffer.bytes).sum();
    (bytes > plan.arena_bytes / 8).then_some("outputs of int8 (--io int8)")
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
