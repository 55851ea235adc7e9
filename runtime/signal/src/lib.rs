//! Streaming front-ends: the samples of a microphone or an accelerometer become a model's input, with the same bits on
//! the workstation and on every device.
//!
//! ```text
//! Spectral   PCM samples -> frames -> window -> FFT -> filter bank -> logarithm -> DCT -> a window of frames
//! Motion     measurements -> high-pass filter -> a window of them -> normalisation
//! Stream     either of them over samples in pieces of any size: a new frame costs what that frame needs
//! ```
//!
//! A front-end is a section of a package ([`FrontEnd::parse`]): its parameters, and as tables whatever a device would
//! need sines for. They are read where they lie. The packager makes it (feature `writer`).
//!
//! Front-ends are of f32. TensorFlow Lite's micro-frontend, which is of integers and has noise suppression, is another
//! one: a model trained on its features wants it and not this.
//!
//! **Architecture invariant:** no `std`, no `alloc`, no panic on samples or sections of any kind. Every operation is a
//! single IEEE operation of f32 in a written order, none is fused, so that there is one possible result.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "writer"))]
extern crate std;

mod error;
mod fft;
mod math;
mod motion;
mod section;
mod spectral;
mod stream;
#[cfg(feature = "writer")]
pub mod writer;

pub use error::Error;
pub use motion::Motion;
use section::Words;
pub use spectral::Spectral;
pub use stream::Stream;

/// How features lie in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[frames, features]`: those of a frame follow each other.
    TimeFirst,
    /// `[features, frames]`.
    FeaturesFirst,
}

/// A front-end in a package, validated.
#[derive(Clone, Copy, Debug)]
pub enum FrontEnd<'a> {
    /// For sound.
    Spectral(Spectral<'a>),
    /// For what moves.
    Motion(Motion<'a>),
}

impl<'a> FrontEnd<'a> {
    /// Validates a package's section; nothing is copied.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(section: &'a [u8]) -> Result<Self, Error> {
        let (mut words, _) = Words::of(section)?;
        match words.word("kind")? {
            section::SPECTRAL => Spectral::parse(words).map(Self::Spectral),
            section::MOTION => Motion::parse(words).map(Self::Motion),
            _ => Err(Error::Malformed { field: "kind" }),
        }
    }

    /// What the packager was told, as JSON: for people. Empty where the section is none.
    pub fn description(section: &'a [u8]) -> &'a str {
        Words::of(section).map_or("", |(_, text)| text)
    }

    /// Frames of a window.
    pub fn frames(&self) -> usize {
        match self {
            Self::Spectral(sound) => sound.frames,
            Self::Motion(motion) => motion.frames,
        }
    }

    /// New frames from one window to the next.
    pub fn step_frames(&self) -> usize {
        match self {
            Self::Spectral(sound) => sound.step_frames,
            Self::Motion(motion) => motion.step_frames,
        }
    }

    /// Features of a frame.
    pub fn features(&self) -> usize {
        match self {
            Self::Spectral(sound) => sound.features(),
            Self::Motion(motion) => motion.channels,
        }
    }

    /// How they lie in a window.
    pub fn layout(&self) -> Layout {
        match self {
            Self::Spectral(sound) => sound.layout(),
            Self::Motion(motion) => motion.layout(),
        }
    }

    /// Values of a window: as many as the model's input has.
    pub fn elems(&self) -> usize {
        self.frames() * self.features()
    }

    /// f32 that a [`Stream`] needs.
    pub fn memory_elems(&self) -> usize {
        let [frame, work, bands, row] = self.memory();
        frame + work + bands + row * self.frames()
    }

    /// Bytes of RAM for a [`Stream`] and the window that it gives.
    pub fn ram_bytes(&self) -> usize {
        size_of::<f32>() * (self.memory_elems() + self.elems())
    }

    /// f32 of a frame of samples, for work, for bands, and of a row.
    fn memory(&self) -> [usize; 4] {
        match self {
            Self::Spectral(sound) => {
                let [work, bands] = sound.work_elems();
                [sound.frame_elems, work, bands, sound.row_elems()]
            }
            Self::Motion(motion) => [motion.channels, motion.channels, 0, motion.channels],
        }
    }

    /// What the features of [`Stream::selftest`] are on the workstation.
    fn check(&self) -> u64 {
        match self {
            Self::Spectral(sound) => sound.check,
            Self::Motion(motion) => motion.check,
        }
    }

    /// What samples of a type are multiplied by.
    fn scale<S: Sample>(&self) -> f32 {
        match self {
            Self::Spectral(sound) => sound.scale * S::PCM,
            Self::Motion(motion) => motion.scale,
        }
    }
}

/// A sample of a sensor: `i16`, or `f32`.
pub trait Sample: Copy + sealed::Sealed {
    /// What a sample of sound is multiplied by to be as one of 16 bits.
    const PCM: f32;

    /// Its number; 0 of what is none.
    fn value(self) -> f32;
}

impl Sample for i16 {
    const PCM: f32 = 1.0;

    fn value(self) -> f32 {
        f32::from(self)
    }
}

impl Sample for f32 {
    const PCM: f32 = 32_768.0;

    fn value(self) -> f32 {
        if self.is_finite() { self } else { 0.0 }
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for i16 {}
    impl Sealed for f32 {}
}
