//! The application: frame by frame from a source to a pin.

use core::fmt;

use embedded_hal::digital::OutputPin;

use crate::scores::{Top, top};
use crate::{Decision, Element, Inference, Signal, Source};

/// Watches a source for a class of a model, and says by a pin whether it is there.
#[derive(Debug)]
pub struct Watch<'b, T, S, M, P> {
    source: S,
    model: M,
    signal: Signal<P>,
    decision: Decision,
    class: usize,
    sample: &'b mut [T],
}

/// What came of a frame.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Report {
    /// The value of the class that is watched.
    pub score: f32,
    /// Whether this frame counts for it.
    pub seen: bool,
    /// What the pin is now.
    pub on: bool,
    /// Whether it was something else before, or not known.
    pub changed: bool,
    /// The greatest values.
    pub top: Top,
}

impl<'b, T: Element, S: Source<T>, M: Inference, P: OutputPin> Watch<'b, T, S, M, P> {
    /// Watches for `class`, an index of the model's first output. `sample` has as many elements as the model's input.
    pub fn new(
        source: S,
        model: M,
        signal: Signal<P>,
        (class, decision): (usize, Decision),
        sample: &'b mut [T],
    ) -> Self {
        Self { source, model, signal, decision, class, sample }
    }

    /// The next frame; `None` where there are no more, and the pin is idle then.
    ///
    /// # Errors
    /// That of the source, the model or the pin. But for the last, the pin was brought to its idle level first;
    /// [`Signal::state`] is `None` where it did not obey. The frames before count no more. A next call goes on.
    #[allow(clippy::type_complexity)] // Three parts, three errors.
    pub fn step(&mut self) -> Result<Option<Report>, Error<S::Error, M::Error, P::Error>> {
        let outcome = self.frame();
        if !matches!(outcome, Ok(Some(_))) {
            self.decision.clear();
            // What has gone wrong first is what is told.
            let idle = self.signal.set(false);
            if let (Ok(None), Err(error)) = (&outcome, idle) {
                return Err(Error::Pin(error));
            }
        }
        outcome
    }

    #[allow(clippy::type_complexity)]
    fn frame(&mut self) -> Result<Option<Report>, Error<S::Error, M::Error, P::Error>> {
        if !self.source.read(self.sample).map_err(Error::Source)? {
            return Ok(None);
        }
        let output = self.model.infer(T::input(self.sample)).map_err(Error::Model)?;
        let (class, classes) = (self.class, output.values().count());
        let score = output.values().nth(class).ok_or(Error::Class { class, classes })?;
        let top = top(output.values());
        let (seen, on) = self.decision.update(score);
        let changed = self.signal.set(on).map_err(Error::Pin)?;
        Ok(Some(Report { score, seen, on, changed, top }))
    }

    /// Brings the pin to its idle level, for the end of a program.
    ///
    /// # Errors
    /// The pin's.
    pub fn stop(&mut self) -> Result<(), P::Error> {
        self.decision.clear();
        self.signal.set(false).map(|_| ())
    }

    /// The source.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// The pin.
    pub fn signal(&self) -> &Signal<P> {
        &self.signal
    }

    /// The parts, for who uses them otherwise or tests them.
    pub fn release(self) -> (S, M, P) {
        (self.source, self.model, self.signal.release())
    }
}

/// What has gone wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error<S, M, P> {
    /// The source gave no sample.
    Source(S),
    /// The model did not take it.
    Model(M),
    /// The model has no such class.
    Class {
        /// The class that is watched.
        class: usize,
        /// How many there are.
        classes: usize,
    },
    /// The pin was not written: nobody knows what it is.
    Pin(P),
}

impl<S: fmt::Display, M: fmt::Display, P: fmt::Debug> fmt::Display for Error<S, M, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => error.fmt(f),
            Self::Model(error) => error.fmt(f),
            Self::Class { class, classes } => {
                write!(f, "class {class}: the model's first output has {classes}, from 0 on")
            }
            // What pins return is held to Debug only by embedded-hal.
            Self::Pin(error) => write!(f, "the pin was not written: {error:?}"),
        }
    }
}

impl<S: fmt::Debug + fmt::Display, M: fmt::Debug + fmt::Display, P: fmt::Debug> core::error::Error
    for Error<S, M, P>
{
}
