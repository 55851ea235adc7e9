//! The recordings in the repository, and cases with front-ends for them.

use std::path::{Path, PathBuf};

use edgepack_harness::{Preprocessing, SignalFrontEnd};
use edgepack_signal::writer::{Spec, encode, preset};

use crate::{Case, root};

/// The folder of the recordings: a second of 16 kHz each.
pub fn folder() -> PathBuf {
    root().join("runtime/signal/tests/data")
}

/// The samples of one of them: what follows the 44 bytes of a WAV file's header.
///
/// # Panics
/// There is none of this name.
pub fn samples(name: &str) -> Vec<i16> {
    let path = folder().join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    bytes[44..].as_chunks::<2>().0.iter().map(|&sample| i16::from_le_bytes(sample)).collect()
}

/// Writes samples as the programs of microcontrollers read them.
///
/// # Panics
/// The file cannot be written.
pub fn write_pcm(path: &Path, samples: &[i16]) {
    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    std::fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// A front-end of this name.
///
/// # Panics
/// There is none.
pub fn spec(name: &str) -> Spec {
    let text = preset(name).unwrap_or_else(|| panic!("there is no front-end {name}"));
    Spec::from_toml(text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// One for the digits' network, which takes 16 x 16 values, and does not know what they are of.
pub fn small() -> Spec {
    let mut spec = spec("log-mel-80");
    if let Some(sound) = &mut spec.spectral {
        (sound.frames, sound.step_frames, sound.bands.count) = (16, Some(1), 16);
    }
    spec
}

/// A case with a front-end, and what it is calibrated with.
///
/// # Panics
/// The front-end contradicts itself.
pub fn with(case: Case, spec: &Spec, calibration: PathBuf) -> Case {
    let section = encode(spec).unwrap_or_else(|error| panic!("{error}"));
    let signal = Some(SignalFrontEnd::new(&section).unwrap_or_else(|error| panic!("{error}")));
    let preprocessing = Preprocessing { signal, ..Preprocessing::default() };
    Case { preprocessing, calibration, ..case }
}
