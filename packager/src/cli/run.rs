//! `edgepack run`.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use edgepack_engine::format::writer::write_atomically;
use edgepack_harness::device::{self, Outcome as Outputs};
use edgepack_harness::{DataSet, PackageFacts, Progress};
use npyz::WriterBuilder;
use serde::Serialize;

use super::options::{Format, table};
use super::progress::Shown;
use super::{Context, Outcome};

/// Run a package on samples.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  edgepack run mobilenet.epk --input photo.jpg --labels imagenet-classes.txt"
)]
pub(super) struct Args {
    /// The package
    package: PathBuf,
    /// Samples: an image, a folder of images, a .csv, .npy or .npz; of a package with a front-end (`pack --signal`) a .wav,
    /// or a folder of them
    #[arg(long, short, value_name = "FILE")]
    input: PathBuf,
    /// Write every output of every sample: one array [samples, ...] for each output
    #[arg(long, short, value_name = "OUT.npz")]
    output: Option<PathBuf>,
    /// Show the so many greatest values of the first output
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,
    /// Names of the classes, one a line
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Where: local, qemu:BOARD, ssh://user@host:port or adb:SERIAL
    #[arg(long, value_name = "DEVICE", default_value = "local")]
    device: String,
    /// Use at most so many samples
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// Samples that are run at a time.
const BATCH: usize = 32;

#[derive(Serialize)]
struct Line {
    sample: String,
    label: Option<u32>,
    top: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    class: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    value: f32,
}

pub(super) fn run(args: &Args, context: Context) -> anyhow::Result<Outcome> {
    let facts = PackageFacts::read(&args.package)?;
    let names = args.labels.as_deref().map(read_names).transpose()?;
    let preprocessing = facts.of_files();
    let data = DataSet::open_all(&args.input, &facts.inputs(), &preprocessing, args.limit)?;
    let mut device = device::open(&args.device, &args.package, 1)?;
    let mut progress = Shown::new(context);
    progress.start("running", data.len() as u64);
    let (mut lines, mut outputs) = (Vec::new(), Vec::new());
    for start in (0..data.len()).step_by(BATCH) {
        let end = (start + BATCH).min(data.len());
        let samples = (start..end).map(|index| data.get(index)).collect::<Result<Vec<_>, _>>()?;
        for (sample, outcome) in samples.iter().zip(device.run(&samples)?) {
            let values = outcome.values.first().map_or(&[][..], Vec::as_slice);
            let top = top(values, args.top, names.as_deref());
            lines.push(Line { sample: sample.name.clone(), label: sample.label, top });
            if args.output.is_some() {
                outputs.push(outcome);
            }
        }
        progress.advance(samples.len() as u64);
    }
    drop(progress);
    if let Some(path) = &args.output {
        let bytes =
            npz(&facts, &outputs).with_context(|| format!("{}: cannot be written", path.display()))?;
        write_atomically(path, &bytes, |_| Ok(()))
            .with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    match context.format {
        Format::Json => println!("{}", serde_json::to_string(&lines)?),
        _ => print(&lines, args),
    }
    Ok(Outcome::Done)
}

fn read_names(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(text.lines().map(|line| line.trim().to_string()).collect())
}

/// The greatest first; of equal values the first.
fn top(values: &[f32], count: usize, names: Option<&[String]>) -> Vec<Class> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    order.truncate(count);
    let name = |class: usize| names.and_then(|names| names.get(class)).cloned();
    order.into_iter().map(|class| Class { class, name: name(class), value: values[class] }).collect()
}

fn print(lines: &[Line], args: &Args) {
    let mut table = table(&["sample", "label", "greatest values (class: value)"]);
    for line in lines {
        let class = |class: &Class| match &class.name {
            Some(name) => format!("{} {name}: {:.4}", class.class, class.value),
            None => format!("{}: {:.4}", class.class, class.value),
        };
        let top: Vec<String> = line.top.iter().map(class).collect();
        let label = line.label.map(|label| label.to_string()).unwrap_or_default();
        table.add_row([&line.sample, &label, &top.join("   ")]);
    }
    println!("{table}");
    if let Some(path) = &args.output {
        println!("outputs of {} samples: {}", lines.len(), path.display());
    }
}

/// An array f32 `[samples, elements]` for each output, in a compressed .npz.
fn npz(facts: &PackageFacts, outputs: &[Outputs]) -> anyhow::Result<Vec<u8>> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (index, output) in facts.outputs.iter().enumerate() {
        let mut array = Vec::new();
        let shape = [outputs.len() as u64, output.info.elems as u64];
        let options = npyz::WriteOptions::new().default_dtype().shape(&shape);
        let mut writer = options.writer(&mut array).begin_nd()?;
        writer.extend(outputs.iter().flat_map(|outcome| &outcome.values[index]))?;
        writer.finish()?;
        archive.start_file(format!("{}.npy", output.info.name), zip::write::SimpleFileOptions::default())?;
        archive.write_all(&array)?;
    }
    Ok(archive.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_come_first() {
        let names = ["a".to_string(), "b".into()];
        let classes = top(&[1.0, 3.0, 3.0, f32::NEG_INFINITY], 3, Some(&names));
        assert_eq!(classes.iter().map(|class| class.class).collect::<Vec<_>>(), [1, 2, 0]);
        assert_eq!((classes[0].name.as_deref(), classes[1].name.as_deref()), (Some("b"), None));
        assert!(top(&[], 5, None).is_empty());
    }
}
