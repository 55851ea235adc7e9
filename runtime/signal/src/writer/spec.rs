//! What a front-end is described by.

use core::fmt;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use serde::{Deserialize, Serialize};

/// Front-ends by name: what models that many have were trained on.
pub const PRESETS: &[(&str, &str)] = &[
    ("mlperf-kws", include_str!("../../presets/mlperf-kws.toml")),
    ("mlperf-ad", include_str!("../../presets/mlperf-ad.toml")),
    ("log-mel-80", include_str!("../../presets/log-mel-80.toml")),
    ("kaldi-fbank-80", include_str!("../../presets/kaldi-fbank-80.toml")),
    ("mfcc-13", include_str!("../../presets/mfcc-13.toml")),
    ("accelerometer", include_str!("../../presets/accelerometer.toml")),
];

/// A front-end, as a TOML file describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// What it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// For sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spectral: Option<SpectralSpec>,
    /// For what moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub motion: Option<MotionSpec>,
}

/// From the samples of a microphone to a window of features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpectralSpec {
    /// Samples a second.
    pub sample_rate: u32,
    /// Samples of a frame.
    pub frame_elems: usize,
    /// Samples from the start of a frame to that of the next; at most a frame.
    pub hop_elems: usize,
    /// Size of the transform: a power of two, at least a frame. What is beyond the frame is zeros.
    pub fft_elems: usize,
    /// Frames of a window: what the model takes.
    pub frames: usize,
    /// New frames from one window to the next, at most `frames`; without it, windows do not overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_frames: Option<usize>,
    /// How features lie in the model's input.
    #[serde(default)]
    pub order: Order,
    /// What a sample of 16 bits is multiplied by: 1/32768 for -1 to 1, 1 where a model wants it as it is (Kaldi).
    #[serde(default = "SpectralSpec::unit_scale")]
    pub scale: f32,
    /// Whether a window is made as loud as it can be.
    #[serde(default)]
    pub level: Level,
    /// Whether the mean of a frame is taken off.
    #[serde(default)]
    pub remove_mean: bool,
    /// `x[n] - pre_emphasis * x[n - 1]`; 0 is none.
    #[serde(default)]
    pub pre_emphasis: f32,
    /// What `x[-1]` of a frame is.
    #[serde(default)]
    pub emphasis_over: Emphasis,
    /// The window function.
    pub window: Window,
    /// What is summed in bands.
    pub spectrum: Spectrum,
    /// The filter bank.
    pub bands: Bands,
    /// The logarithm of the bands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Log>,
    /// Cepstral coefficients of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dct: Option<Dct>,
    /// Normalisation of every feature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalise: Option<Normalise>,
    /// Bounds of features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<[f32; 2]>,
}

impl SpectralSpec {
    fn unit_scale() -> f32 {
        1.0 / 32_768.0
    }
}

/// From the measurements of an accelerometer, or the like, to a window of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MotionSpec {
    /// Measurements a second.
    pub sample_hz: f32,
    /// Numbers of a measurement: axes.
    pub channels: usize,
    /// Measurements of a window.
    pub frames: usize,
    /// New ones from one window to the next, at most `frames`; without it, windows do not overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_frames: Option<usize>,
    /// How they lie in the model's input.
    #[serde(default)]
    pub order: Order,
    /// What every number is multiplied by.
    #[serde(default = "one")]
    pub scale: f32,
    /// What changes slower than this is taken off, as gravity is: a filter of first order. 0 is none.
    #[serde(default)]
    pub high_pass_hz: f64,
    /// Normalisation of every channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalise: Option<WindowNormal>,
    /// Bounds of the values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<[f32; 2]>,
}

fn one() -> f32 {
    1.0
}

/// How features lie in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// `[frames, features]`.
    #[default]
    TimeFirst,
    /// `[features, frames]`.
    FeaturesFirst,
}

/// How loud a window is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it is.
    #[default]
    Fixed,
    /// Divided by its greatest sample, which is known when all of it is there: then logarithms and coefficients of all
    /// frames are computed for every window.
    Peak,
}

/// What pre-emphasis takes for the sample before a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Emphasis {
    /// The one that there was.
    #[default]
    Stream,
    /// The frame's first (Kaldi).
    Frame,
}

/// Window functions. Those without `symmetric` are periodic: `N` in their denominator, not `N - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Window {
    /// `0.5 - 0.5 cos`.
    Hann,
    /// The same.
    HannSymmetric,
    /// `0.54 - 0.46 cos`.
    Hamming,
    /// The same.
    HammingSymmetric,
    /// Kaldi's: the symmetric Hann window to the power of 0.85.
    Povey,
    /// 1.
    Rectangular,
}

/// What of the transform is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spectrum {
    /// `|X|`.
    Magnitude,
    /// `|X|²`.
    Power,
}

/// A bank of triangular filters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bands {
    /// How many.
    pub count: usize,
    /// Where the first begins.
    pub low_hz: f64,
    /// Where the last ends: at most half the sample rate.
    pub high_hz: f64,
    /// What they are equally wide in.
    pub mel: Mel,
    /// What their sides are straight in.
    pub triangles: Triangles,
    /// How high they are.
    #[serde(default)]
    pub area: Area,
    /// What all of it is multiplied by: 1/fft_elems where a model was trained on periodograms.
    #[serde(default = "one_f64")]
    pub factor: f64,
}

fn one_f64() -> f64 {
    1.0
}

/// Scales of pitch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mel {
    /// `1127 ln(1 + f / 700)` (O'Shaughnessy; HTK, Kaldi, TensorFlow).
    Htk,
    /// Straight to 1000 Hz, logarithmic above (Slaney's Auditory Toolbox; librosa).
    Slaney,
}

/// What the sides of the triangles are straight in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Triangles {
    /// Mel (TensorFlow, Kaldi).
    Mel,
    /// Hertz (librosa).
    Hz,
    /// Whole numbers of the transform, rounded down (python_speech_features).
    Bins,
}

/// How high triangles are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// 1.
    #[default]
    Peak,
    /// Such that each has the same area in Hz (librosa's `norm="slaney"`).
    Slaney,
}

/// `log(max(x + offset, floor)) * times`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Its base.
    #[serde(default)]
    pub base: LogBase,
    /// 10 for decibels of power.
    #[serde(default = "one_f64")]
    pub times: f64,
    /// Added before.
    #[serde(default)]
    pub offset: f32,
    /// The least that it is taken of.
    #[serde(default)]
    pub floor: f32,
}

impl Log {
    /// What natural logarithms are multiplied by.
    pub(super) fn factor(&self) -> f64 {
        match self.base {
            LogBase::E => self.times,
            LogBase::Ten => self.times / core::f64::consts::LN_10,
        }
    }
}

/// Bases of logarithms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogBase {
    /// Natural.
    #[default]
    #[serde(rename = "e")]
    E,
    /// 10.
    #[serde(rename = "10")]
    Ten,
}

/// A discrete cosine transform of type II over the bands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dct {
    /// How many of its coefficients, from the first on.
    pub coefficients: usize,
    /// Its factors.
    #[serde(default)]
    pub norm: DctNorm,
    /// Liftering: coefficient k times `1 + lifter/2 sin(πk / lifter)`; 0 is none.
    #[serde(default)]
    pub lifter: f64,
}

/// Factors of a DCT over N bands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DctNorm {
    /// `sqrt(2/N)`, of the first coefficient `sqrt(1/N)`.
    #[default]
    Ortho,
    /// `sqrt(2/N)` of all (HTK, TensorFlow).
    Htk,
}

/// `(x - mean) / std`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalise {
    /// One number, or one for each feature.
    pub mean: OneOrMany,
    /// One number, or one for each feature.
    pub std: OneOrMany,
}

/// One number for all, or one each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// For all.
    One(f64),
    /// Each.
    Many(Vec<f64>),
}

impl Normalise {
    /// Means, and what is multiplied by.
    pub(super) fn tables(&self, count: usize) -> Result<(Vec<f64>, Vec<f64>), SpecError> {
        let table = |field, values: &OneOrMany| match values {
            OneOrMany::One(value) => Ok(std::vec![*value; count]),
            OneOrMany::Many(values) if values.len() == count => Ok(values.clone()),
            OneOrMany::Many(values) => {
                let reason = format!("{} numbers for {count} features; give 1 or {count}", values.len());
                Err(SpecError::field(field, &reason))
            }
        };
        let std = table("normalise.std", &self.std)?;
        if std.iter().any(|&std| !(std > 0.0 && std.is_finite())) {
            return Err(SpecError::field("normalise.std", "give numbers above 0"));
        }
        Ok((table("normalise.mean", &self.mean)?, std.iter().map(|std| 1.0 / std).collect()))
    }
}

/// How the channels of a window are normalised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case", deny_unknown_fields)]
pub enum WindowNormal {
    /// With numbers of the training data.
    Fixed(Normalise),
    /// `(x - mean) / (std + epsilon)` of the window.
    Std {
        /// What keeps the quotient finite.
        epsilon: f32,
    },
    /// `(x - min) / (max - min + epsilon)` of the window.
    MinMax {
        /// What keeps the quotient finite.
        epsilon: f32,
    },
}

impl Spec {
    /// Reads a description. What it does not know is an error.
    ///
    /// # Errors
    /// Where the text is none, with line and column.
    pub fn from_toml(text: &str) -> Result<Self, SpecError> {
        toml::from_str(text).map_err(|error| SpecError { field: None, reason: error.to_string() })
    }

    /// The description as a package records it.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Why a description is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    field: Option<String>,
    reason: String,
}

impl SpecError {
    pub(super) fn field(field: &str, reason: &str) -> Self {
        Self { field: Some(field.into()), reason: reason.into() }
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "signal front-end, {field}: {}", self.reason),
            None => write!(f, "signal front-end: {}", self.reason),
        }
    }
}

impl std::error::Error for SpecError {}
