//! Samples of a microphone, or measurements of an accelerometer, by the front-end that a package has.

use core::fmt;

use edgepack_signal::{Sample, Stream};

use crate::Source;

/// What gives samples as they come: a driver that fills a buffer, from a microphone's DMA or a FIFO of a sensor. Any
/// closure is one.
pub trait Recorder<S> {
    /// What goes wrong: an overrun, a bus.
    type Error;

    /// Waits for samples and writes them to the front of `samples`; gives how many, 0 where there are no more, which a
    /// file has and a microphone has not.
    ///
    /// # Errors
    /// What the device says. A later call may succeed.
    fn record(&mut self, samples: &mut [S]) -> Result<usize, Self::Error>;
}

impl<S, E, F: FnMut(&mut [S]) -> Result<usize, E>> Recorder<S> for F {
    type Error = E;

    fn record(&mut self, samples: &mut [S]) -> Result<usize, E> {
        self(samples)
    }
}

/// Windows of a stream of samples, as a package's front-end makes them: what a [`crate::Watch`] runs the package on.
#[derive(Debug)]
pub struct Listen<'p, 'm, 'b, S, R> {
    recorder: R,
    stream: Stream<'p, 'm>,
    /// Samples that were recorded, from `start` to `end` not yet used.
    buffer: &'b mut [S],
    start: usize,
    end: usize,
}

impl<'p, 'm, 'b, S: Sample, R: Recorder<S>> Listen<'p, 'm, 'b, S, R> {
    /// Listens to a recorder, which is given `buffer` to fill, of any length but 0.
    pub fn new(recorder: R, stream: Stream<'p, 'm>, buffer: &'b mut [S]) -> Self {
        Self { recorder, stream, buffer, start: 0, end: 0 }
    }

    /// The recorder.
    pub fn release(self) -> R {
        self.recorder
    }
}

impl<S: Sample, R: Recorder<S>> Source<f32> for Listen<'_, '_, '_, S, R> {
    type Error = ListenError<R::Error>;

    /// Records as long as is needed. After an error of the recorder the stream starts anew, since it would have a gap.
    fn read(&mut self, sample: &mut [f32]) -> Result<bool, Self::Error> {
        loop {
            let left = self.buffer.get(self.start..self.end).unwrap_or(&[]);
            if let Some(rest) = self.stream.push(left) {
                self.start = self.end - rest.len();
                self.stream.read(sample).map_err(ListenError::Signal)?;
                return Ok(true);
            }
            (self.start, self.end) = (0, 0);
            match self.recorder.record(self.buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => self.end = count.min(self.buffer.len()),
                Err(error) => {
                    self.stream.clear();
                    return Err(ListenError::Recorder(error));
                }
            }
        }
    }
}

/// Why there is no window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenError<E> {
    /// What the recorder says.
    Recorder(E),
    /// The front-end gives another number of values than the package's input has.
    Signal(edgepack_signal::Error),
}

impl<E: fmt::Display> fmt::Display for ListenError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recorder(error) => write!(f, "recorder: {error}"),
            Self::Signal(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for ListenError<E> {}
