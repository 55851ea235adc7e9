//! What moves: measurements of some channels become a window of them, without gravity, normalised.

use edgepack_kernels::float::math::sqrt;

use crate::section::{MAX_ELEMS, Words};
use crate::spectral::clip;
use crate::{Error, Layout};

/// A front-end for accelerometers and the like. Validated.
///
/// ```text
/// x = sample * scale    slow += high_pass * (x - slow)    x - slow -> window -> normalise -> clip
/// ```
/// `slow` starts as the first measurement; without a high-pass filter it is 0.
#[derive(Clone, Copy, Debug)]
pub struct Motion<'a> {
    pub(crate) check: u64,
    pub(crate) sample_hz: f32,
    pub(crate) channels: usize,
    pub(crate) frames: usize,
    pub(crate) step_frames: usize,
    layout: Layout,
    pub(crate) scale: f32,
    high_pass: f32,
    normal: Normal<'a>,
    clip: [f32; 2],
}

/// How the values of a channel become small numbers.
#[derive(Clone, Copy, Debug)]
enum Normal<'a> {
    None,
    /// `(x - mean) * inverse`, by channel.
    Fixed(&'a [f32], &'a [f32]),
    /// `(x - mean) / (std + epsilon)` over the window.
    Std(f32),
    /// `(x - min) / (max - min + epsilon)` over the window.
    MinMax(f32),
}

impl<'a> Motion<'a> {
    pub(crate) fn parse(mut words: Words<'a>) -> Result<Self, Error> {
        let wrong = |field| Error::Malformed { field };
        let check = words.wide("check")?;
        let sample_hz = words.number("sample_hz")?;
        let channels = words.count(1, 64, "channels")?;
        let frames = words.count(1, MAX_ELEMS / channels, "frames")?;
        let step_frames = words.count(1, frames, "step_frames")?;
        let layout = match words.count(0, 1, "layout")? {
            0 => Layout::TimeFirst,
            _ => Layout::FeaturesFirst,
        };
        let scale = words.number("scale")?;
        let high_pass = words.number("high_pass")?;
        if sample_hz <= 0.0 || !(0.0..=1.0).contains(&high_pass) {
            return Err(wrong(if sample_hz <= 0.0 { "sample_hz" } else { "high_pass" }));
        }
        let mode = words.count(0, 3, "normalise")?;
        let epsilon = words.number("epsilon")?;
        if mode > 1 && epsilon < f32::MIN_POSITIVE {
            return Err(wrong("epsilon"));
        }
        let clip = [words.number("clip_min")?, words.number("clip_max")?];
        if clip[0] > clip[1] {
            return Err(wrong("clip"));
        }
        let normal = match mode {
            0 => Normal::None,
            1 => Normal::Fixed(words.table(channels, "mean")?, words.table(channels, "inverse_std")?),
            2 => Normal::Std(epsilon),
            _ => Normal::MinMax(epsilon),
        };
        words.end()?;
        Ok(Self { check, sample_hz, channels, frames, step_frames, layout, scale, high_pass, normal, clip })
    }

    /// Measurements a second.
    pub fn sample_hz(&self) -> f32 {
        self.sample_hz
    }

    /// Numbers of a measurement.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// How they lie in a window.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// A measurement without what changes slowly, which gravity is the greatest part of.
    pub(crate) fn measure(&self, measured: &[f32], slow: &mut [f32], is_first: bool, row: &mut [f32]) {
        for ((to, &x), slow) in row.iter_mut().zip(measured).zip(slow) {
            *slow = match (self.high_pass == 0.0, is_first) {
                (true, _) => 0.0,
                (_, true) => x,
                _ => *slow + self.high_pass * (x - *slow),
            };
            *to = x - *slow;
        }
    }

    /// The window `[frames, channels]`, normalised.
    pub(crate) fn normalise(&self, window: &mut [f32]) {
        let (channels, frames) = (self.channels, self.frames as f32);
        for channel in 0..channels {
            let values = || window.iter().skip(channel).step_by(channels);
            let (mean, inverse) = match self.normal {
                Normal::None => (0.0, 1.0),
                Normal::Fixed(mean, inverse) => (at(mean, channel), at(inverse, channel)),
                Normal::Std(epsilon) => {
                    let mean = values().fold(0.0, |sum, x| sum + x) / frames;
                    let squares = values().fold(0.0, |sum, x| sum + (x - mean) * (x - mean));
                    (mean, 1.0 / (sqrt(squares / frames) + epsilon))
                }
                Normal::MinMax(epsilon) => {
                    let least = values().fold(f32::MAX, |least, &x| if x < least { x } else { least });
                    let most = values().fold(f32::MIN, |most, &x| if x > most { x } else { most });
                    (least, 1.0 / (most - least + epsilon))
                }
            };
            for x in window.iter_mut().skip(channel).step_by(channels) {
                *x = clip((*x - mean) * inverse, self.clip);
            }
        }
    }
}

fn at(values: &[f32], index: usize) -> f32 {
    values.get(index).copied().unwrap_or_default()
}
