//! Options that several commands share.

use anyhow::Context as _;
use clap::ValueEnum;
use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
pub(super) use edgepack_harness::report::words::human_bytes;
use edgepack_harness::{Channels, Preprocessing, Resize, SignalFrontEnd, parse_size};
use edgepack_signal::writer::{Spec, encode, preset, preset_names};

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// For machines: one JSON document on stdout
    Json,
    /// For a pull request's comment: of bench and compare
    Markdown,
}

/// From image files and pixels to the values that the model takes.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Preprocessing (value = (pixel - mean) / std, pixels are 0 to 255)")]
pub(super) struct PreprocessingArgs {
    /// Resize images: the shorter side (256), or height x width (224x224)
    #[arg(long, value_name = "SIZE")]
    resize: Option<Resize>,
    /// Centre crop: a side (224), or height x width
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    crop: Option<[u32; 2]>,
    /// Mean: one number, or one for each channel of the model, by commas
    #[arg(long, value_name = "M,…", value_delimiter = ',', allow_negative_numbers = true)]
    mean: Vec<f32>,
    /// Standard deviation: one number, or one for each channel of the model, by commas
    #[arg(long, value_name = "S,…", value_delimiter = ',', allow_negative_numbers = true)]
    std: Vec<f32>,
    /// Order of the model's channels
    #[arg(long, value_name = "rgb|bgr", default_value = "rgb", value_parser = parse_channels)]
    channels: Channels,
    /// Front-end for recordings and sensors, which the package then has: mlperf-kws, mlperf-ad, log-mel-80,
    /// kaldi-fbank-80, mfcc-13, accelerometer (`edgepack signal` shows them), or a TOML file. Samples may be .wav files
    /// then; arrays are features already
    #[arg(long, value_name = "NAME|FILE.toml")]
    signal: Option<String>,
}

impl PreprocessingArgs {
    pub fn get(&self) -> anyhow::Result<Preprocessing> {
        Ok(Preprocessing {
            resize: self.resize,
            crop: self.crop,
            mean: self.mean.clone(),
            std: self.std.clone(),
            channels: self.channels,
            signal: self.signal.as_deref().map(front_end).transpose()?,
        })
    }
}

/// The front-end of a preset's name, or of a file.
pub(super) fn front_end(name: &str) -> anyhow::Result<SignalFrontEnd> {
    let text = match preset(name) {
        Some(text) => text.to_string(),
        None if name.ends_with(".toml") => {
            std::fs::read_to_string(name).with_context(|| format!("--signal {name}"))?
        }
        None => anyhow::bail!(
            "--signal {name}: no front-end has this name ({}), and a file's name ends in .toml",
            preset_names()
        ),
    };
    let section = Spec::from_toml(&text).and_then(|spec| encode(&spec));
    let section = section.with_context(|| format!("--signal {name}"))?;
    SignalFrontEnd::new(&section).with_context(|| format!("--signal {name}"))
}

fn parse_channels(text: &str) -> Result<Channels, String> {
    match text {
        "rgb" => Ok(Channels::Rgb),
        "bgr" => Ok(Channels::Bgr),
        _ => Err("give rgb or bgr".into()),
    }
}

/// `NAME=1,3,224,224`.
pub(super) fn parse_shape(text: &str) -> Result<(String, Vec<usize>), String> {
    let (name, dims) = text.rsplit_once('=').ok_or("give NAME=1,3,224,224")?;
    let dims = dims
        .split([',', 'x'])
        .map(|dim| match dim.trim().parse() {
            Ok(0) | Err(_) => Err(format!("`{dim}` is no dimension")),
            Ok(dim) => Ok(dim),
        })
        .collect::<Result<_, _>>()?;
    Ok((name.to_string(), dims))
}

pub(super) fn parse_fix(text: &str) -> Result<(String, f64), String> {
    let (name, value) = text.rsplit_once('=').ok_or("give NAME=VALUE")?;
    let value = value.trim();
    let number = match value {
        "true" => 1.0,
        "false" => 0.0,
        _ => value.parse().map_err(|_| format!("`{value}` is no number"))?,
    };
    Ok((name.to_string(), number))
}

/// `131072`, `128K` or `1M`, with or without `iB`.
pub(super) fn parse_bytes(text: &str) -> Result<u32, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "K" | "k" | "KiB" | "KB" => 1 << 10,
        "M" | "MiB" | "MB" => 1 << 20,
        _ => 0,
    };
    let bytes = digits.parse().ok().and_then(|count: u32| count.checked_mul(unit)).filter(|&bytes| bytes > 0);
    bytes.ok_or_else(|| "give bytes, as 131072, 128K or 1M".into())
}

/// A table in the style of Markdown.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header);
    table
}

/// Long names (some exporters write whole stories) end in `…`.
pub(super) fn short(name: &str, width: usize) -> String {
    if name.chars().count() <= width {
        return name.into();
    }
    let tail: Vec<char> = name.chars().rev().take(width - 1).collect();
    format!("…{}", tail.iter().rev().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_parse() {
        assert_eq!(["64", "64K", "3MiB"].map(parse_bytes), [Ok(64), Ok(64 << 10), Ok(3 << 20)]);
        assert!(["", "K", "0", "-1", "5000M", "1.5K", "1G"].iter().all(|text| parse_bytes(text).is_err()));
    }

    #[test]
    fn shapes_parse() {
        assert_eq!(parse_shape("a=b=1,3"), Ok(("a=b".into(), vec![1, 3])));
        assert_eq!(parse_shape("x=2x3"), Ok(("x".into(), vec![2, 3])));
        assert!(parse_shape("x").is_err() && parse_shape("x=1,N").is_err() && parse_shape("x=0").is_err());
    }
}
