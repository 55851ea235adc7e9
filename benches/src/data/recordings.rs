//! Recordings: WAV files that a front-end turns into a model's values.

use std::path::Path;

use edgepack_signal::FrontEnd;
use hound::{SampleFormat, WavReader};

use crate::{Error, SignalFrontEnd};

pub(super) fn is_recording(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("wav"))
}

/// The values of a WAV file.
pub(super) fn load(path: &Path, front_end: &SignalFrontEnd) -> Result<Vec<f32>, Error> {
    let fail = |reason| Error::Recording { path: path.into(), reason };
    let unreadable = |error: hound::Error| fail(format!("cannot read this WAV file: {error}"));
    let mut reader = WavReader::open(path).map_err(unreadable)?;
    let spec = reader.spec();
    let (rate, channels) = match front_end.get() {
        FrontEnd::Spectral(sound) => (f64::from(sound.sample_rate()), 1),
        FrontEnd::Motion(motion) => (f64::from(motion.sample_hz()), motion.channels()),
    };
    // The header has whole numbers of Hz only.
    if (f64::from(spec.sample_rate) - rate).abs() >= 1.0 {
        return Err(fail(format!(
            "{} samples a second, but the front-end takes {rate}: resample it, as by `ffmpeg -i IN.wav -ar {rate:.0} OUT.wav`",
            spec.sample_rate
        )));
    }
    if usize::from(spec.channels) != channels {
        let mono = if channels == 1 { ", as by `ffmpeg -i IN.wav -ac 1 OUT.wav`" } else { "" };
        return Err(fail(format!(
            "{} channels, but the front-end takes {channels}: convert it{mono}",
            spec.channels
        )));
    }
    let values = match (spec.sample_format, spec.bits_per_sample) {
        (SampleFormat::Int, 16) => {
            let samples = reader.samples::<i16>().collect::<Result<Vec<_>, _>>();
            front_end.values(&samples.map_err(unreadable)?)
        }
        (SampleFormat::Float, 32) => {
            let samples = reader.samples::<f32>().collect::<Result<Vec<_>, _>>();
            front_end.values(&samples.map_err(unreadable)?)
        }
        (_, bits) => {
            return Err(fail(format!(
                "samples of {bits} bits; give 16 bits, or f32: `ffmpeg -i IN.wav -c:a pcm_s16le OUT.wav`"
            )));
        }
    };
    values.map_err(|error| fail(error.to_string()))
}
