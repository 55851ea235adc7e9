//! The page of a comparison.

use std::path::Path;

use super::NodeError;
use super::markdown::percent;
use super::page::{Block, Card, CardValue, Page, Section, Table, Tile, error_section};
use super::words;
use crate::compare::Comparison;
use crate::worst::WorstSample;

pub(super) fn page(package: &Path, comparison: &Comparison, nodes: &[NodeError]) -> Page {
    let info = &comparison.device.info;
    let mut sections = vec![accuracy(comparison)];
    sections.extend(worst(comparison));
    sections.extend(error_section(nodes));
    let mut warnings = Vec::new();
    if comparison.calibration_random {
        warnings.push(words::CALIBRATED_RANDOM.into());
    }
    if let Some(sample) = &comparison.first_difference {
        warnings.push(format!(
            "The bytes are not those of {}, first on sample {sample}.",
            words::reference(info)
        ));
    }
    if info.emulated {
        warnings.push("Emulated: outputs are exact, time is not, and is not shown.".into());
    }
    Page {
        title: format!("{} against FP32", words::file_name(package)),
        subtitle: format!(
            "{} samples on {} {}, {}; baseline {}",
            comparison.accuracy.samples, info.name, info.arch, info.isa, comparison.baseline.engine
        ),
        warnings,
        tiles: tiles(comparison),
        sections,
        notes: vec![
            "SQNR is the ratio of the baseline's signal to the difference, over all values of all outputs of all samples. \
             Agreement is the share of samples for which both rank the same class first."
                .into(),
        ],
    }
}

fn tiles(comparison: &Comparison) -> Vec<Tile> {
    let accuracy = &comparison.accuracy;
    let mut tiles = Vec::new();
    tiles.extend(accuracy.sqnr_db.map(|db| Tile::new("SQNR", format!("{db:.2} dB"), "signal to noise")));
    tiles.extend(
        accuracy.top1_agreement.map(|share| Tile::new("agreement", percent(share), "of the first class")),
    );
    if let (Some(fp32), Some(int8)) = (accuracy.top1_baseline, accuracy.top1_device) {
        tiles.push(Tile::new("top-1", percent(int8), format!("baseline {}", percent(fp32))));
    }
    if let (Some(fp32), Some(int8)) = (comparison.baseline.latency.p50_us, comparison.device.latency.p50_us) {
        let note = format!("baseline {}", words::us(Some(fp32)));
        tiles.push(Tile::new("median latency", words::us(Some(int8)), note));
    }
    if let Some(identical) = comparison.bit_identical_to_host {
        let verdict = if identical { "identical" } else { "different" };
        let reference = words::reference(&comparison.device.info);
        let note = format!("with {reference}, {} samples", comparison.bit_identical_samples);
        tiles.push(Tile::new("outputs", verdict, note));
    }
    tiles
}

fn accuracy(comparison: &Comparison) -> Section {
    let accuracy = &comparison.accuracy;
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, values: [Option<String>; 2]| {
        if values.iter().any(Option::is_some) {
            let [baseline, device] = values.map(|value| value.unwrap_or("-".into()));
            rows.push(vec![name.into(), baseline, device]);
        }
    };
    row("top-1", [accuracy.top1_baseline, accuracy.top1_device].map(|share| share.map(percent)));
    row("top-5", [accuracy.top5_baseline, accuracy.top5_device].map(|share| share.map(percent)));
    let latency = [&comparison.baseline.latency, &comparison.device.latency];
    for index in 0..words::latency_rows(latency[0]).len() {
        let value = |side: usize| {
            let rows = words::latency_rows(latency[side]);
            (latency[side].p50_us.is_some()).then(|| rows[index].1.clone())
        };
        row(words::latency_rows(latency[0])[index].0, [value(0), value(1)]);
    }
    let number = |value: Option<f64>, digits: usize| value.map(|value| format!("{value:.digits$}"));
    row("cosine", [None, number(accuracy.cosine, 5)]);
    row("max abs error", [None, number(accuracy.max_abs_error, 4)]);
    let header = [String::new(), "FP32 baseline".into(), "device".into()].into();
    let lead = format!("Baseline: {} ({}).", comparison.baseline.engine, comparison.baseline.why);
    Section::new("Accuracy and latency", lead, vec![Block::Table(Table { header, rows })])
}

/// The samples that came out worst, both sides beside each other.
fn worst(comparison: &Comparison) -> Option<Section> {
    if comparison.worst.is_empty() {
        return None;
    }
    let samples = comparison.worst.iter().map(card).collect();
    let names = ["FP32 baseline".into(), "device".into()];
    let lead = "Those for which both rank another class first, then those with the least signal to noise. Values of the \
                first output: the largest of either side, and those that differ most.";
    Some(Section::new("The worst samples", lead, vec![Block::Samples { samples, names }]))
}

fn card(sample: &WorstSample) -> Card {
    let largest = sample
        .values
        .iter()
        .flat_map(|value| [value.baseline.abs(), value.device.abs()])
        .filter(|value| value.is_finite())
        .fold(f32::MIN_POSITIVE, f32::max);
    let length = |value: f32| f64::from((value.abs() / largest * 100.0).min(100.0)).max(0.0);
    let mut note = sample.sqnr_db.map_or("exact".into(), |db| format!("SQNR {db:.1} dB"));
    if let Some(label) = sample.label {
        note += &format!(", label {label}");
    }
    if sample.differs {
        note += ", another class first";
    }
    Card {
        name: sample.name.clone(),
        picture: sample.picture.clone(),
        note,
        differs: sample.differs,
        values: sample
            .values
            .iter()
            .map(|value| CardValue {
                name: value.index.to_string(),
                values: [value.baseline, value.device].map(|value| format!("{value:.4}")),
                percents: [length(value.baseline), length(value.device)],
            })
            .collect(),
    }
}
