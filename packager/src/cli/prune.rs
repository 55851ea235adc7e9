//! Options and report of pruning.

use edgepack_packager::prune::{
    Allocation, Criterion, PruneOptions, PruneQuality, PruneReport, Refit, Saliency, SparsityOptions,
    SparsityReport,
};

use super::options::{human_bytes, short, table};

/// Whole channels go, and what is left is fitted to the whole model.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Pruning (--prune-channels 30% makes a smaller, faster model)")]
pub(super) struct PruneArgs {
    /// Remove this share of all channels, those that the others make up for best; the rest is fitted to the
    /// whole model on the calibration data
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    prune_channels: Option<f64>,
    /// Remove this share of a node's channels (and of those that go with them), whatever the others lose; may be
    /// repeated
    #[arg(long, value_name = "NODE=SHARE", value_parser = parse_node)]
    prune_node: Vec<(String, f64)>,
    /// Nodes whose channels all stay; separated by commas, may be repeated
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    keep_channels: Vec<String>,
    /// Channels stay in multiples of this (of less in layers of few), since kernels take several at once
    #[arg(long, value_name = "N", default_value_t = PruneOptions::default().multiple)]
    prune_multiple: usize,
    /// Which channels go first: elimination (the others make up for them best), contribution (they are least
    /// in what reads them), magnitude (their filters are smallest)
    #[arg(long, value_name = "NAME", default_value_t)]
    prune_criterion: Criterion,
    /// How layers share the channels that go: sensitivity (the outputs lose least for
    /// the multiply-adds saved) or uniform
    #[arg(long, value_name = "NAME", default_value_t)]
    prune_allocation: Allocation,
    /// How what is left is fitted to the whole model, without labels: whole (layer after layer, then all
    /// together by gradients, which takes minutes), layers, or none
    #[arg(long, value_name = "HOW", default_value_t)]
    prune_refit: Refit,
    /// Make this share of the weights of convolutions and products zero; the others make up for them. The
    /// package is no faster and no smaller, but compresses better
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    sparsity: Option<f64>,
    /// Which weights: reconstruction (the others make up for them best) or magnitude (the smallest)
    #[arg(long, value_name = "NAME", default_value_t)]
    sparsity_criterion: Saliency,
}

impl PruneArgs {
    pub fn channels(&self) -> PruneOptions {
        let kept = self.keep_channels.iter().map(|name| (name.clone(), 0.0));
        let nodes = self.prune_node.iter().cloned().chain(kept);
        PruneOptions {
            channels: self.prune_channels,
            nodes: nodes.collect(),
            multiple: self.prune_multiple,
            criterion: self.prune_criterion,
            allocation: self.prune_allocation,
            refit: self.prune_refit,
        }
    }

    pub fn weights(&self) -> SparsityOptions {
        SparsityOptions { share: self.sparsity, saliency: self.sparsity_criterion }
    }
}

/// `30%`, or `0.3`.
fn parse_share(text: &str) -> Result<f64, String> {
    let (number, of) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    match number.trim().parse::<f64>() {
        Ok(share) if (0.0..of).contains(&share) => Ok(share / of),
        _ => Err("give a share like 30% or 0.3, less than all".into()),
    }
}

/// `NODE=30%`.
fn parse_node(text: &str) -> Result<(String, f64), String> {
    let (name, share) = text.rsplit_once('=').ok_or("give NODE=30%")?;
    Ok((name.to_string(), parse_share(share)?))
}

/// Layers whose channels stay that are named; all of them are in the JSON form.
const SHOWN: usize = 5;

pub(super) fn print_pruned(report: &PruneReport) {
    let change = |[before, after]: [f64; 2], unit: f64, digits: usize| {
        let percent = 100.0 * (after - before) / before.max(f64::MIN_POSITIVE);
        format!("{:.digits$} -> {:.digits$} ({percent:+.1} %)", before / unit, after / unit)
    };
    println!(
        "\npruned by {}, shared by {}: {} channels, {} M multiply-adds, {} k weights",
        report.criterion,
        report.allocation,
        change(report.channels.map(|n| n as f64), 1.0, 0),
        change(report.macs.map(|n| n as f64), 1e6, 2),
        change(report.parameters.map(|n| n as f64), 1e3, 1),
    );
    println!("in FP32 against the whole model, on {} samples:", report.samples);
    println!("  channels removed  {}", quality(&report.masked));
    println!("  the rest fitted   {}", quality(&report.fitted));
    if let Some(learned) = &report.learned {
        println!("  and learned       {}", quality(learned));
    }
    let mut layers = table(&["layer", "op", "channels", "M multiply-adds", "weights"]);
    for layer in &report.layers {
        let pair = |[before, after]: [String; 2]| {
            if before == after { before } else { format!("{before} -> {after}") }
        };
        layers.add_row([
            short(&layer.node, 40),
            layer.op.clone(),
            pair(layer.channels.map(|n| n.to_string())),
            pair(layer.macs.map(|n| format!("{:.3}", n as f64 / 1e6))),
            pair(layer.parameters.map(|n| n.to_string())),
        ]);
    }
    println!("{layers}");
    for stays in report.stay.iter().take(SHOWN) {
        println!("`{}` keeps its channels: {}", stays.node, stays.why);
    }
    if report.stay.len() > SHOWN {
        println!("{} more keep theirs: --format json tells why", report.stay.len() - SHOWN);
    }
}

pub(super) fn print_sparse(report: &SparsityReport) {
    let percent = |zeros: usize| 100.0 * zeros as f64 / report.weights.max(1) as f64;
    let [dense, sparse] = report.compressed_bytes;
    println!(
        "\nzeros by {}: {:.1} % of {:.1} k weights, before {:.1} %",
        report.saliency,
        percent(report.zeros[1]),
        report.weights as f64 / 1e3,
        percent(report.zeros[0]),
    );
    println!(
        "in FP32 against the model without, on {} samples: {}",
        report.samples,
        quality(&report.quality)
    );
    println!(
        "plan and weights in INT8, by {}: {} instead of {} ({:+.1} %); the same speed",
        report.compression,
        human_bytes(sparse as u64),
        human_bytes(dense as u64),
        100.0 * (sparse as f64 - dense as f64) / dense.max(1) as f64,
    );
}

fn quality(of: &PruneQuality) -> String {
    let top1 = of.top1.map(|[whole, own]| format!("top-1 {:.2} % of {:.2} %", 100.0 * own, 100.0 * whole));
    let agreement = of.agreement.map(|share| format!("agreement {:.2} %", 100.0 * share));
    let sqnr = of.sqnr_db.map_or("the same outputs".into(), |db| format!("SQNR {db:.2} dB"));
    top1.into_iter().chain(agreement).chain([sqnr]).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_parse() {
        assert_eq!([parse_share("30%"), parse_share("0.3"), parse_share("0")], [Ok(0.3), Ok(0.3), Ok(0.0)]);
        assert!(["100%", "1", "-1", "x%", "30"].iter().all(|text| parse_share(text).is_err()));
        assert_eq!(parse_node("a=b=25%"), Ok(("a=b".into(), 0.25)));
    }
}
