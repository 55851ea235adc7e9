//! Front-ends for recordings: how the samples of a sensor become a model's input.

use std::fmt;
use std::sync::Arc;

use edgepack_signal::{FrontEnd, Layout, Sample, Stream};

use crate::{Error, InputSpec};

/// The front-end of a package, validated: what a device computes of samples, with the same bits.
#[derive(Clone, PartialEq, Eq)]
pub struct SignalFrontEnd {
    /// The section, at a multiple of 4.
    words: Arc<[u32]>,
    bytes: usize,
}

impl SignalFrontEnd {
    /// Of a package's section, or what `edgepack_signal::writer::encode` made.
    ///
    /// # Errors
    /// The section contradicts itself.
    pub fn new(section: &[u8]) -> Result<Self, edgepack_signal::Error> {
        let words = section.chunks(4).map(|chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            u32::from_ne_bytes(word)
        });
        let front_end = Self { words: words.collect(), bytes: section.len() };
        FrontEnd::parse(front_end.section())?;
        Ok(front_end)
    }

    /// The section's bytes.
    pub fn section(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.bytes]
    }

    /// The front-end.
    pub fn get(&self) -> FrontEnd<'_> {
        match FrontEnd::parse(self.section()) {
            Ok(front_end) => front_end,
            // `new` has parsed these bytes, which nobody changes.
            Err(error) => unreachable!("{error}"),
        }
    }

    /// Whether it gives as many values as an input takes, in its order.
    ///
    /// # Errors
    /// The input, its shape, and what the front-end gives.
    pub fn check(&self, input: &InputSpec) -> Result<(), Error> {
        let front_end = self.get();
        let (frames, features) = (front_end.frames(), front_end.features());
        let wide: Vec<usize> = input.dims.iter().copied().filter(|&size| size != 1).collect();
        let of = |rows: usize, columns: usize| -> Vec<usize> {
            [rows, columns].into_iter().filter(|&size| size != 1).collect()
        };
        let (gives, other, flag) = match front_end.layout() {
            Layout::TimeFirst => (of(frames, features), of(features, frames), "features-first"),
            Layout::FeaturesFirst => (of(features, frames), of(frames, features), "time-first"),
        };
        let fail = |remedy: String| {
            Err(Error::Preprocessing {
                field: "signal",
                reason: format!(
                    "the front-end gives {gives:?} values, but input `{}` takes {:?}: {remedy}",
                    input.name, input.dims
                ),
            })
        };
        if input.elems() != front_end.elems() {
            fail("change its frames, bands or coefficients".into())
        } else if wide == other && wide != gives {
            fail(format!("give it order = \"{flag}\""))
        } else {
            Ok(())
        }
    }

    /// The values of a recording: of its first window, and zeros where it is shorter.
    pub(crate) fn values<S: Sample>(&self, samples: &[S]) -> Result<Vec<f32>, edgepack_signal::Error> {
        let front_end = self.get();
        let mut memory = vec![0.0; front_end.memory_elems()];
        let mut values = vec![0.0; front_end.elems()];
        Stream::new(front_end, &mut memory)?.clip(samples, &mut values)?;
        Ok(values)
    }
}

impl fmt::Debug for SignalFrontEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignalFrontEnd({})", FrontEnd::description(self.section()))
    }
}
