//! Where samples come from.

use core::fmt;

use edgepack_core::InputData;
use embedded_hal::delay::DelayNs;
use heapless::HistoryBuf;

/// An element of a sample: `u8` of pixels, `f32` of measurements.
pub trait Element: Copy {
    /// A sample of them as a package's input.
    fn input(sample: &[Self]) -> InputData<'_>;
}

impl Element for u8 {
    fn input(sample: &[u8]) -> InputData<'_> {
        InputData::Pixels(sample)
    }
}

impl Element for f32 {
    fn input(sample: &[f32]) -> InputData<'_> {
        InputData::F32(sample)
    }
}

/// What gives samples: a camera, a folder of images, a [`Window`] over a sensor.
///
/// Implementations fill the whole of `sample`, which is as long as the package's input, or return an error.
pub trait Source<T> {
    /// What goes wrong.
    type Error;

    /// The next sample; `false` where there are no more, which a folder has and a camera has not.
    ///
    /// # Errors
    /// What the device says. A later call may succeed.
    fn read(&mut self, sample: &mut [T]) -> Result<bool, Self::Error>;
}

/// What measures `AXES` numbers at a time: an accelerometer, a microphone, a thermometer, in the units that the
/// model was trained on. Any driver for embedded-hal 1.0 is one by a closure.
pub trait Sensor<const AXES: usize> {
    /// What goes wrong: what the bus or the device says.
    type Error;

    /// One measurement.
    ///
    /// # Errors
    /// What the device says. A later call may succeed.
    fn measure(&mut self) -> Result<[f32; AXES], Self::Error>;
}

impl<F: FnMut() -> Result<[f32; AXES], E>, E, const AXES: usize> Sensor<AXES> for F {
    type Error = E;

    fn measure(&mut self) -> Result<[f32; AXES], E> {
        self()
    }
}

/// The last `LEN` measurements of a sensor, every `period_ns`; each sample has `hop` new ones. A sample is
/// f32 `[LEN, AXES]`, the oldest first.
#[derive(Debug)]
pub struct Window<S, D, const AXES: usize, const LEN: usize> {
    sensor: S,
    delay: D,
    period_ns: u32,
    hop: usize,
    measured: HistoryBuf<[f32; AXES], LEN>,
}

impl<S: Sensor<AXES>, D: DelayNs, const AXES: usize, const LEN: usize> Window<S, D, AXES, LEN> {
    /// An empty window. `hop` is at least 1 and at most `LEN`: what is beyond is taken for these.
    pub fn new(sensor: S, delay: D, period_ns: u32, hop: usize) -> Self {
        let hop = hop.min(LEN).max(1);
        Self { sensor, delay, period_ns, hop, measured: HistoryBuf::new() }
    }

    /// The sensor and the delay.
    pub fn release(self) -> (S, D) {
        (self.sensor, self.delay)
    }
}

impl<S: Sensor<AXES>, D: DelayNs, const AXES: usize, const LEN: usize> Source<f32>
    for Window<S, D, AXES, LEN>
{
    type Error = WindowError<S::Error>;

    /// Measures as often as is needed. After an error of the sensor the window starts anew, since it would have a
    /// gap.
    fn read(&mut self, sample: &mut [f32]) -> Result<bool, Self::Error> {
        let (needed, given) = (LEN * AXES, sample.len());
        if needed != given {
            return Err(WindowError::Length { needed, given });
        }
        let missing = if self.measured.is_full() { self.hop } else { LEN - self.measured.len() };
        for _ in 0..missing {
            self.delay.delay_ns(self.period_ns);
            match self.sensor.measure() {
                Ok(values) => self.measured.write(values),
                Err(error) => {
                    self.measured.clear();
                    return Err(WindowError::Sensor(error));
                }
            }
        }
        let values = self.measured.oldest_ordered().flatten();
        sample.iter_mut().zip(values).for_each(|(to, value)| *to = *value);
        Ok(true)
    }
}

/// Why there is no sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum WindowError<E> {
    /// What the sensor says.
    Sensor(E),
    /// The package's input has another number of elements.
    Length {
        /// Elements of a window.
        needed: usize,
        /// Elements of the input.
        given: usize,
    },
}

impl<E: fmt::Display> fmt::Display for WindowError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sensor(error) => write!(f, "sensor: {error}"),
            Self::Length { needed, given } => {
                write!(f, "a window of {needed} values for an input of {given}")
            }
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for WindowError<E> {}
