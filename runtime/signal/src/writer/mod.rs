//! Making front-ends: a description in TOML becomes parameters and tables.
//!
//! Sines and logarithms are those of the crate `libm` in f64, the tables are rounded once: every host makes the same
//! bytes.

mod spec;
mod tables;

use std::string::String;
use std::vec::Vec;
use std::{format, vec};

pub use spec::{
    Area, Bands, Dct, DctNorm, Emphasis, Level, Log, LogBase, Mel, MotionSpec, Normalise, OneOrMany, Order,
    PRESETS, Spec, SpecError, SpectralSpec, Spectrum, Triangles, Window, WindowNormal,
};

#[cfg(test)]
pub(crate) use tables::twiddles;

use crate::section::{CHECK_AT, MOTION, SPECTRAL};
use crate::spectral::flags;
use crate::{FrontEnd, Stream, fft};

/// What bounds are where nobody gives some: every number.
const EVERYTHING: [f32; 2] = [f32::MIN, f32::MAX];

/// The section of a front-end: what [`FrontEnd::parse`] reads.
///
/// # Errors
/// What is not possible in the description, with the field's name.
pub fn encode(spec: &Spec) -> Result<Vec<u8>, SpecError> {
    let words = match (&spec.spectral, &spec.motion) {
        (Some(sound), None) => spectral(sound)?,
        (None, Some(motion)) => self::motion(motion)?,
        _ => {
            return Err(SpecError::field("[spectral] or [motion]", "give one of these tables, and not both"));
        }
    };
    let count = words.len() as u32 + 1;
    let mut section: Vec<u8> = [vec![count], words].concat().into_iter().flat_map(u32::to_le_bytes).collect();
    section.extend(spec.to_json().into_bytes());
    // A byte vector may start anywhere.
    let mut aligned = vec![0_u32; section.len().div_ceil(4)];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut aligned);
    bytes[..section.len()].copy_from_slice(&section);
    match FrontEnd::parse(&bytes[..section.len()]) {
        Ok(front_end) => {
            let mut memory = vec![0.0; front_end.memory_elems()];
            let mut features = vec![0.0; front_end.elems()];
            let check =
                Stream::new(front_end, &mut memory).and_then(|mut stream| stream.check(&mut features));
            let check = check.map_err(|error| SpecError::field("the front-end", &format!("{error}")))?;
            section[4 * CHECK_AT..][..8].copy_from_slice(&check.to_le_bytes());
            Ok(section)
        }
        Err(crate::Error::Malformed { field }) => Err(SpecError::field(
            field,
            "is not within its limits: FORMAT.md has those of every field (section 10)",
        )),
        Err(error) => Err(SpecError::field("the front-end", &format!("{error}"))),
    }
}

fn bits(values: impl IntoIterator<Item = f64>) -> Vec<u32> {
    values.into_iter().map(|value| (value as f32).to_bits()).collect()
}

fn spectral(spec: &SpectralSpec) -> Result<Vec<u32>, SpecError> {
    // What tables are made of is looked at before they are.
    if !(fft::SIZES.contains(&spec.fft_elems) && spec.fft_elems.is_power_of_two()) {
        return Err(SpecError::field(
            "fft_elems",
            &format!("{}: give a power of two from 16 to 8192", spec.fft_elems),
        ));
    }
    if !(1..=spec.fft_elems).contains(&spec.frame_elems) {
        let reason = format!("{}: give 1 to fft_elems ({})", spec.frame_elems, spec.fft_elems);
        return Err(SpecError::field("frame_elems", &reason));
    }
    if !(1..=spec.frame_elems).contains(&spec.hop_elems) {
        let reason = format!("{}: give 1 to frame_elems ({})", spec.hop_elems, spec.frame_elems);
        return Err(SpecError::field("hop_elems", &reason));
    }
    let (bands, weights) = tables::bands(spec)?;
    let coefficients = spec.dct.as_ref().map_or(0, |dct| dct.coefficients);
    if spec.dct.is_some() && !(1..=spec.bands.count).contains(&coefficients) {
        let reason = format!("{coefficients}: give 1 to bands.count ({})", spec.bands.count);
        return Err(SpecError::field("dct.coefficients", &reason));
    }
    let features = if coefficients > 0 { coefficients } else { spec.bands.count };
    let normal = spec.normalise.as_ref().map(|normal| normal.tables(features)).transpose()?;
    let mut set = 0;
    for (flag, is_set) in [
        (flags::POWER, spec.spectrum == Spectrum::Power),
        (flags::REMOVE_MEAN, spec.remove_mean),
        (flags::EMPHASIS_OVER_FRAME, spec.emphasis_over == Emphasis::Frame),
        (flags::PEAK, spec.level == Level::Peak),
        (flags::FEATURES_FIRST, spec.order == Order::FeaturesFirst),
    ] {
        set |= if is_set { flag } else { 0 };
    }
    let (log_scale, log_offset, log_floor) = match &spec.log {
        None => (0.0, 0.0, 0.0),
        Some(log) => (log.factor() as f32, log.offset, log.floor),
    };
    let clip = spec.clip.unwrap_or(EVERYTHING);
    let mut words = vec![SPECTRAL, 0, 0, spec.sample_rate];
    let counts = [
        spec.fft_elems,
        spec.frame_elems,
        spec.hop_elems,
        spec.frames,
        spec.step_frames.unwrap_or(spec.frames),
        spec.bands.count,
        coefficients,
        usize::from(normal.is_some()),
    ];
    words.extend(counts.map(|count| u32::try_from(count).unwrap_or(u32::MAX)));
    words.push(set);
    let numbers = [spec.scale, spec.pre_emphasis, log_scale, log_offset, log_floor, clip[0], clip[1]];
    words.extend(numbers.map(f32::to_bits));
    words.extend(bits(tables::window(spec)));
    words.extend(bits(tables::twiddles(spec.fft_elems)));
    words.extend(bands);
    words.extend(bits(weights));
    if let Some(dct) = &spec.dct {
        words.extend(bits(tables::dct(dct, spec.bands.count)));
    }
    if let Some((mean, inverse)) = normal {
        words.extend(bits(mean));
        words.extend(bits(inverse));
    }
    Ok(words)
}

fn motion(spec: &MotionSpec) -> Result<Vec<u32>, SpecError> {
    let turn = 2.0 * core::f64::consts::PI * spec.high_pass_hz / f64::from(spec.sample_hz);
    if !(0.0..0.5).contains(&(spec.high_pass_hz / f64::from(spec.sample_hz))) {
        return Err(SpecError::field("high_pass_hz", "give 0 (none) to less than half of sample_hz"));
    }
    let (mode, epsilon, tables) = match &spec.normalise {
        None => (0, 0.0, None),
        Some(WindowNormal::Fixed(normal)) => (1, 0.0, Some(normal.tables(spec.channels)?)),
        Some(WindowNormal::Std { epsilon }) => (2, *epsilon, None),
        Some(WindowNormal::MinMax { epsilon }) => (3, *epsilon, None),
    };
    let clip = spec.clip.unwrap_or(EVERYTHING);
    let mut words = vec![MOTION, 0, 0, spec.sample_hz.to_bits()];
    let counts = [spec.channels, spec.frames, spec.step_frames.unwrap_or(spec.frames)];
    words.extend(counts.map(|count| u32::try_from(count).unwrap_or(u32::MAX)));
    words.push(u32::from(spec.order == Order::FeaturesFirst));
    words.extend([spec.scale, (1.0 - libm::exp(-turn)) as f32].map(f32::to_bits));
    words.push(mode);
    words.extend([epsilon, clip[0], clip[1]].map(f32::to_bits));
    if let Some((mean, inverse)) = tables {
        words.extend(bits(mean));
        words.extend(bits(inverse));
    }
    Ok(words)
}

/// A preset's text, by its name.
pub fn preset(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The names of the presets, by commas.
pub fn preset_names() -> String {
    PRESETS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
