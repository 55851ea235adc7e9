//! Sound: from the samples of a frame to its features.
//!
//! ```text
//! sample * scale -> frame -> mean off -> pre-emphasis -> window -> |FFT| or |FFT|² -> bands -> log -> DCT -> normalise -> clip
//! ```
//!
//! Every operation is one of f32, rounded by itself, in the order of this file: so a frame has one possible result.

use edgepack_kernels::float::math::sqrt;

use crate::fft::{self, Complex};
use crate::math::ln;
use crate::section::{MAX_ELEMS, Words};
use crate::{Error, Layout};

/// Flags of the section.
pub(crate) mod flags {
    pub const POWER: u32 = 1;
    pub const REMOVE_MEAN: u32 = 2;
    pub const EMPHASIS_OVER_FRAME: u32 = 4;
    pub const PEAK: u32 = 8;
    pub const FEATURES_FIRST: u32 = 16;
    pub const ALL: u32 = 31;
}

/// A front-end for sound, its tables where they lie in the package. Validated.
#[derive(Clone, Copy, Debug)]
pub struct Spectral<'a> {
    pub(crate) check: u64,
    pub(crate) sample_rate: u32,
    pub(crate) frame_elems: usize,
    pub(crate) hop_elems: usize,
    pub(crate) frames: usize,
    pub(crate) step_frames: usize,
    flags: u32,
    pub(crate) scale: f32,
    pre_emphasis: f32,
    log: Log,
    clip: [f32; 2],
    window: &'a [f32],
    twiddles: &'a [f32],
    bands: &'a [u32],
    weights: &'a [f32],
    dct: &'a [f32],
    mean: &'a [f32],
    inverse_std: &'a [f32],
    fft_elems: usize,
}

/// `ln(max(x + offset, floor)) * scale`; nothing where `scale` is 0.
#[derive(Clone, Copy, Debug)]
struct Log {
    scale: f32,
    offset: f32,
    floor: f32,
}

impl<'a> Spectral<'a> {
    pub(crate) fn parse(mut words: Words<'a>) -> Result<Self, Error> {
        let wrong = |field| Error::Malformed { field };
        let check = words.wide("check")?;
        let sample_rate = words.count(1, 1 << 24, "sample_rate")? as u32;
        let fft_elems = words.count(*fft::SIZES.start(), *fft::SIZES.end(), "fft_elems")?;
        if !fft_elems.is_power_of_two() {
            return Err(wrong("fft_elems"));
        }
        let frame_elems = words.count(1, fft_elems, "frame_elems")?;
        let hop_elems = words.count(1, frame_elems, "hop_elems")?;
        let frames = words.count(1, MAX_ELEMS, "frames")?;
        let step_frames = words.count(1, frames, "step_frames")?;
        let band_count = words.count(1, 1024, "bands")?;
        let coefficients = words.count(0, band_count, "coefficients")?;
        let normalised = words.count(0, 1, "normalised")? == 1;
        let flags = words.word("flags")?;
        if flags & !flags::ALL != 0 {
            return Err(wrong("flags"));
        }
        let scale = words.number("scale")?;
        let pre_emphasis = words.number("pre_emphasis")?;
        let log = Log {
            scale: words.number("log_scale")?,
            offset: words.number("log_offset")?,
            floor: words.number("log_floor")?,
        };
        let is_log = log.scale != 0.0;
        if log.offset < 0.0 || log.floor < 0.0 || is_log && log.offset.max(log.floor) < f32::MIN_POSITIVE {
            return Err(wrong("log"));
        }
        let clip = [words.number("clip_min")?, words.number("clip_max")?];
        if clip[0] > clip[1] {
            return Err(wrong("clip"));
        }
        let window = words.table(frame_elems, "window")?;
        let twiddles = words.table(fft::table_elems(fft_elems), "twiddles")?;
        let bands = words.words(band_count, "bands")?;
        let mut weight_count = 0;
        for band in bands {
            let (first, count) = ((band & 0xffff) as usize, (band >> 16) as usize);
            if first + count > fft_elems / 2 {
                return Err(wrong("bands"));
            }
            weight_count += count;
        }
        let weights = words.table(weight_count, "weights")?;
        if weights.iter().any(|&weight| weight < 0.0) {
            return Err(wrong("weights"));
        }
        let dct = words.table(coefficients * band_count, "dct")?;
        let features = if coefficients > 0 { coefficients } else { band_count };
        let normal = if normalised { features } else { 0 };
        let mean = words.table(normal, "mean")?;
        let inverse_std = words.table(normal, "inverse_std")?;
        words.end()?;
        // What a window needs of memory can be counted, on microcontrollers too.
        if frames * (band_count + 1) > MAX_ELEMS {
            return Err(wrong("frames"));
        }
        Ok(Self {
            check,
            sample_rate,
            frame_elems,
            hop_elems,
            frames,
            step_frames,
            flags,
            scale,
            pre_emphasis,
            log,
            clip,
            window,
            twiddles,
            bands,
            weights,
            dct,
            mean,
            inverse_std,
            fft_elems,
        })
    }

    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Samples a second.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// Samples of a frame, and from the start of one to that of the next.
    pub fn frame(&self) -> [usize; 2] {
        [self.frame_elems, self.hop_elems]
    }

    /// Samples of a whole window of features.
    pub fn window_samples(&self) -> usize {
        self.frame_elems + (self.frames - 1) * self.hop_elems
    }

    /// Features of a frame.
    pub fn features(&self) -> usize {
        if self.dct.is_empty() { self.bands.len() } else { self.dct.len() / self.bands.len() }
    }

    /// How features lie in a window.
    pub fn layout(&self) -> Layout {
        if self.has(flags::FEATURES_FIRST) { Layout::FeaturesFirst } else { Layout::TimeFirst }
    }

    /// Whether a window is brought to a greatest sample of 1.
    pub(crate) fn by_peak(&self) -> bool {
        self.has(flags::PEAK)
    }

    /// f32 that are kept of a frame: its features; or its bands and greatest sample, where all of a window has to be
    /// there before its level is known.
    pub(crate) fn row_elems(&self) -> usize {
        if self.by_peak() { self.bands.len() + 1 } else { self.features() }
    }

    /// f32 for the transform, and for the bands.
    pub(crate) fn work_elems(&self) -> [usize; 2] {
        [self.fft_elems, self.bands.len()]
    }

    /// The bands of a frame. `before` is the sample before it; `work` is of [`Spectral::work_elems`].
    pub(crate) fn bands(&self, frame: &[f32], before: f32, work: &mut [f32], bands: &mut [f32]) {
        let z = work.as_chunks_mut::<2>().0;
        self.load(frame, before, z);
        fft::power(z, self.twiddles);
        if !self.has(flags::POWER) {
            z.iter_mut().for_each(|z| z[0] = sqrt(z[0]));
        }
        let mut weights = self.weights;
        for (to, band) in bands.iter_mut().zip(self.bands) {
            let (first, count) = ((band & 0xffff) as usize, (band >> 16) as usize);
            let (own, rest) = weights.split_at(count.min(weights.len()));
            weights = rest;
            *to = z.iter().skip(first).zip(own).fold(0.0, |sum, (z, weight)| sum + z[0] * weight);
        }
    }

    /// The frame, without its mean, with pre-emphasis, times the window, and zeros behind it, in the order of the
    /// transform.
    fn load(&self, frame: &[f32], before: f32, z: &mut [Complex]) {
        let mean = if self.has(flags::REMOVE_MEAN) {
            frame.iter().fold(0.0, |sum, x| sum + x) / frame.len() as f32
        } else {
            0.0
        };
        let mut previous = if self.has(flags::EMPHASIS_OVER_FRAME) { frame.first() } else { Some(&before) }
            .map_or(0.0, |x| x - mean);
        let mut next = |x: f32, weight: f32| {
            let x = x - mean;
            let emphasised = x - self.pre_emphasis * previous;
            previous = x;
            emphasised * weight
        };
        let half = z.len();
        z.fill([0.0; 2]);
        let (pairs, odd) = frame.as_chunks::<2>();
        let (pair_weights, odd_weight) = self.window.as_chunks::<2>();
        for (index, (x, w)) in pairs.iter().zip(pair_weights).enumerate() {
            if let Some(to) = z.get_mut(fft::place(index, half)) {
                *to = [next(x[0], w[0]), next(x[1], w[1])];
            }
        }
        if let ([x], [w], Some(to)) = (odd, odd_weight, z.get_mut(fft::place(pairs.len(), half))) {
            *to = [next(*x, *w), 0.0];
        }
    }

    /// The features of bands, which become their logarithms. `gain` is what the samples should have been multiplied
    /// by: a band is of their first power, or of their second.
    pub(crate) fn finish(&self, bands: &mut [f32], gain: f32, features: &mut [f32]) {
        let gain = if self.has(flags::POWER) { gain * gain } else { gain };
        for band in bands.iter_mut() {
            let x = *band * gain;
            *band = if self.log.scale == 0.0 { x } else { self.log.of(x) };
        }
        if self.dct.is_empty() {
            features.iter_mut().zip(&*bands).for_each(|(to, band)| *to = *band);
        }
        for (to, row) in features.iter_mut().zip(self.dct.chunks_exact(bands.len())) {
            *to = row.iter().zip(&*bands).fold(0.0, |sum, (weight, band)| sum + weight * band);
        }
        for (to, (mean, inverse)) in features.iter_mut().zip(self.mean.iter().zip(self.inverse_std)) {
            *to = (*to - mean) * inverse;
        }
        for to in features {
            *to = clip(*to, self.clip);
        }
    }
}

impl Log {
    fn of(&self, x: f32) -> f32 {
        let x = x + self.offset;
        // What is no number is not above either.
        let x = if x > self.floor { x } else { self.floor };
        ln(if x > f32::MIN_POSITIVE { x } else { f32::MIN_POSITIVE }) * self.scale
    }
}

/// Between two bounds; what is no number becomes the lower one, so that its bits, which processors disagree on, are in
/// no feature.
pub(crate) fn clip(x: f32, [least, most]: [f32; 2]) -> f32 {
    if x > least { if x < most { x } else { most } } else { least }
}
