//! `edgepack signal`, and what `inspect` says of a front-end.

use std::fmt;

use edgepack_signal::writer::{PRESETS, Spec, preset, preset_names};
use edgepack_signal::{FrontEnd, Layout};
use serde::Serialize;

use super::options::{Format, front_end, human_bytes, table};
use super::{Context, Outcome};

/// List the front-ends for recordings and sensors, or show one.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  edgepack signal mlperf-kws > mine.toml\n  edgepack pack kws.onnx -o kws.epk --calibration recordings/ --signal mine.toml"
)]
pub(super) struct Args {
    /// Print the description of this one, as TOML
    name: Option<String>,
}

pub(super) fn run(args: &Args, context: Context) -> anyhow::Result<Outcome> {
    if let Some(name) = &args.name {
        let text = preset(name).ok_or_else(|| {
            anyhow::anyhow!("no front-end is called `{name}`; there are {}", preset_names())
        })?;
        match context.format {
            Format::Json => println!("{}", Spec::from_toml(text)?.to_json()),
            _ => print!("{text}"),
        }
        return Ok(Outcome::Done);
    }
    let mut lines = Vec::new();
    for (name, text) in PRESETS {
        let description = Spec::from_toml(text)?.description;
        lines.push((*name, description, FrontEndLine::of(front_end(name)?.section())));
    }
    match context.format {
        Format::Json => println!("{}", serde_json::to_string(&lines)?),
        _ => {
            let mut table = table(&["name", "for", "input", "memory", "tables"]);
            for (name, description, line) in &lines {
                let Some(line) = line else { continue };
                let [rows, columns] = line.shape;
                table.add_row([
                    *name,
                    description,
                    &format!("{rows} x {columns}"),
                    &human_bytes(line.memory_bytes as u64),
                    &human_bytes(line.section_bytes as u64),
                ]);
            }
            println!("{table}");
        }
    }
    Ok(Outcome::Done)
}

/// A package's front-end, as far as an application wants to know it.
#[derive(Serialize)]
pub(super) struct FrontEndLine {
    kind: &'static str,
    sample_hz: f64,
    /// Samples of a frame, and from one frame to the next.
    frame: [usize; 2],
    /// Of a window: rows and columns.
    shape: [usize; 2],
    /// New frames from one window to the next.
    step_frames: usize,
    /// What a stream and its window need of memory on the device.
    memory_bytes: usize,
    section_bytes: usize,
    /// What the packager was told.
    description: serde_json::Value,
}

impl FrontEndLine {
    pub fn of(section: &[u8]) -> Option<Self> {
        let front_end = FrontEnd::parse(section).ok()?;
        let (kind, sample_hz, frame) = match front_end {
            FrontEnd::Spectral(sound) => ("spectral", f64::from(sound.sample_rate()), sound.frame()),
            FrontEnd::Motion(motion) => ("motion", f64::from(motion.sample_hz()), [1, 1]),
        };
        let shape = match front_end.layout() {
            Layout::TimeFirst => [front_end.frames(), front_end.features()],
            Layout::FeaturesFirst => [front_end.features(), front_end.frames()],
        };
        Some(Self {
            kind,
            sample_hz,
            frame,
            shape,
            step_frames: front_end.step_frames(),
            memory_bytes: front_end.ram_bytes(),
            section_bytes: section.len(),
            description: serde_json::from_str(FrontEnd::description(section)).unwrap_or_default(),
        })
    }
}

impl fmt::Display for FrontEndLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [rows, columns] = self.shape;
        if let Some(text) = self.description["description"].as_str().filter(|text| !text.is_empty()) {
            write!(f, "{text}: ")?;
        }
        write!(f, "{} Hz, ", self.sample_hz)?;
        match (self.kind, self.frame) {
            ("spectral", [frame, hop]) => write!(f, "frames of {frame} samples every {hop}, ")?,
            _ => write!(f, "{columns} channels, ")?,
        }
        write!(
            f,
            "windows of {rows} x {columns} every {} frames, {} of memory on the device",
            self.step_frames,
            human_bytes(self.memory_bytes as u64)
        )
    }
}
