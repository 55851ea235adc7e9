//! The int8 truth as a table, and `--require-int8`: what `inspect`, `check` and `pack` share.

use std::collections::BTreeMap;

use edgepack_engine::kernels::isa::IsaSet;
use edgepack_packager::node_map::{MAX_DB, NodeLine, Truth};
use edgepack_targets::Board;

use super::Outcome;
use super::options::{human_bytes, short, table};

/// Whose kernels are shown.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct ProcessorArgs {
    /// Show the kernels of this board [default: the package's, or this machine]
    #[arg(long, value_name = "BOARD")]
    target: Option<String>,
    /// Show the kernels of these instruction sets (avx512vnni, dotprod, neon, scalar, …)
    #[arg(long, value_name = "ISA", conflicts_with = "target")]
    isa: Option<String>,
}

impl ProcessorArgs {
    /// The processor and its name; `target` is the package's own.
    pub fn get(&self, target: Option<&str>) -> anyhow::Result<(String, IsaSet)> {
        if let Some(isa) = &self.isa {
            let known: Vec<_> = IsaSet::names().collect();
            let set = IsaSet::parse(isa)
                .map_err(|word| anyhow::anyhow!("--isa: `{word}` is none of {}", known.join(", ")))?;
            return Ok((isa.clone(), set));
        }
        match self.target.as_deref().or(target) {
            Some(name) => Ok((name.into(), super::kernels::board_isa(&Board::find(name)?)?)),
            None => Ok(("this machine".into(), edgepack_engine::isa::detect()?.set())),
        }
    }
}

/// The share of multiply-adds that must be int8.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct RequireArgs {
    /// Fail (exit code 1) if less than this share of the multiply-adds is int8, in percent
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    require_int8: Option<f64>,
}

impl RequireArgs {
    /// Whether the share is reached; says so where it is not.
    pub fn outcome(self, int8_macs_percent: f64) -> Outcome {
        match self.require_int8 {
            Some(least) if int8_macs_percent < least => {
                eprintln!(
                    "failed: {} of the multiply-adds are int8 < {least} % (--require-int8)",
                    percent(int8_macs_percent)
                );
                Outcome::Failed
            }
            _ => Outcome::Done,
        }
    }
}

/// `100 %`, and never that where a part is missing.
pub(super) fn percent(share: f64) -> String {
    match share {
        100.0 => "100 %".into(),
        share => format!("{:.2} %", (share * 100.0).floor() / 100.0),
    }
}

fn parse_percent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("give a percentage, 0 to 100".into()),
    }
}

/// The headline, the table, what is not int8 and why, and where accuracy goes.
pub(super) fn print(truth: &Truth, processor: &str) {
    let kernel = format!("kernel ({processor})");
    let is_measured = truth.nodes.iter().any(|node| node.sqnr_db.is_some());
    let mut columns = vec!["#", "node", "op", "where it went", "precision", &kernel, "M MACs", "constants"];
    columns.extend(is_measured.then_some(["SQNR, dB", "its own"]).into_iter().flatten());
    let mut rows = table(&columns);
    for (index, node) in truth.nodes.iter().enumerate() {
        let mut row = vec![
            index.to_string(),
            short(&node.node, 40),
            short(&node.op, 24),
            where_it_went(node),
            node.precision.clone(),
            node.kernels.join(", "),
            if node.macs > 0 { format!("{:.3}", node.macs as f64 / 1e6) } else { String::new() },
            if node.weight_bytes > 0 { human_bytes(node.weight_bytes) } else { String::new() },
        ];
        row.extend(is_measured.then(|| [node.sqnr_db, node.own_sqnr_db].map(decibels)).into_iter().flatten());
        rows.add_row(row);
    }
    println!("{rows}\n");
    if !truth.other_steps.is_empty() {
        let names: Vec<&str> = truth.other_steps.iter().map(String::as_str).collect();
        println!("steps beside the nodes (casts, outputs): {}", listed(&names));
    }
    print_reasons(truth);
    if is_measured {
        print_losses(truth);
    }
}

fn where_it_went(node: &NodeLine) -> String {
    // The step that a node is merged into has a name which may be long, and a row of its own.
    match node.went.split_once(", ") {
        Some((step, name)) if !node.steps.is_empty() => format!("{step}, {}", short(name, 24)),
        _ => short(&node.went, 44),
    }
}

fn decibels(db: Option<f32>) -> String {
    match db {
        Some(db) if db >= MAX_DB => "exact".into(),
        Some(db) => format!("{db:.1}"),
        None => String::new(),
    }
}

/// Each reason once, with the nodes that it holds for.
fn print_reasons(truth: &Truth) {
    let mut reasons: BTreeMap<(&str, Option<&str>), Vec<&str>> = BTreeMap::new();
    for node in &truth.nodes {
        if let Some(why) = node.why {
            reasons.entry((why, node.remedy)).or_default().push(&node.node);
        }
    }
    for ((why, remedy), nodes) in reasons {
        println!("not int8 throughout: {}\n    {why}", listed(&nodes));
        if let Some(remedy) = remedy {
            println!("    {remedy}");
        }
    }
}

/// A few names, and how many more there are.
pub(super) fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| short(name, 40)).collect();
    match names.len() {
        ..=SHOWN => shown.join(", "),
        all => format!("{} and {} more", shown.join(", "), all - SHOWN),
    }
}

/// The nodes that cost most.
fn print_losses(truth: &Truth) {
    const SHOWN: usize = 8;
    const BAR: f64 = 40.0;
    let share = |node: &NodeLine| node.error_share_percent.unwrap_or(0.0);
    let mut nodes: Vec<&NodeLine> = truth.nodes.iter().filter(|node| share(node) > 0.0).collect();
    nodes.sort_by(|a, b| share(b).total_cmp(&share(a)));
    let Some(largest) = nodes.first().map(|node| share(node)) else { return };
    println!("\nwhere the error is made (shares of all steps' own noise over signal):");
    for node in nodes.iter().take(SHOWN) {
        let bar = "#".repeat((share(node) / largest * BAR).round().max(1.0) as usize);
        let db = decibels(node.own_sqnr_db);
        println!("{:>7.1} %  {db:>5} dB  {:<40}  {bar}", share(node), short(&node.node, 40));
    }
    if nodes.len() > SHOWN {
        let rest: f64 = nodes[SHOWN..].iter().map(|node| share(node)).sum();
        println!("{rest:>7.1} %            {} others", nodes.len() - SHOWN);
    }
    println!("  edgepack pack --keep-f32 NODE has one in f32; --min-sqnr DB finds the cheapest set of them");
    println!();
}
