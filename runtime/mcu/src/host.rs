//! Stand-ins for a board's sensors and lights, for programs under an emulator: files of the host, and its console.

use core::convert::Infallible;
use core::fmt::Display;

use bytemuck::{cast_slice, cast_slice_mut};
use edgepack_firmware::edgepack_core::{InputData, OutputData};
use edgepack_firmware::{Inference, Recorder, Source};
use embedded_hal::digital::{ErrorType, OutputPin};
use semihosting::experimental::env;
use semihosting::fs::File;
use semihosting::io::Read as _;
use semihosting::{print, println};

use crate::board::{LINE, fail, open};
use crate::{Failure, fnv};

/// The value, or the end of the program: it tells the host the error, and that it has ended with 2.
pub fn or_fail<T, E: Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| fail(format_args!("{error}")))
}

/// What `use_it` makes of a word of the command line; 0 is the program's name.
///
/// # Errors
/// [`Failure::Usage`] with `what` is missing, where there are fewer words.
pub fn word<T>(
    index: usize,
    what: &'static str,
    use_it: impl FnOnce(&str) -> T,
) -> Result<T, Failure<'static>> {
    let line = env::args::<LINE>().map_err(|_| Failure::Usage("the host gives no command line"))?;
    let word = (&line).nth(index).and_then(Result::ok).ok_or(Failure::Usage(what))?;
    Ok(use_it(word))
}

/// The file of the host that the first word names, read to its end in pieces.
#[derive(Debug)]
pub struct Input(File);

impl Input {
    /// Opens it, or ends the program.
    pub fn open() -> Self {
        let file = word(1, "name a file of the host behind the program's name", |path| or_fail(open(path)));
        Self(or_fail(file))
    }

    /// Fills `bytes` as far as the file goes; gives how many it has had.
    ///
    /// # Errors
    /// [`Failure::Io`].
    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize, Failure<'static>> {
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read(rest).map_err(|_| Failure::Io)? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }
}

/// A camera: frames of raw u8 one after the other in a file, each as the package's input has its pixels.
impl Source<u8> for Input {
    type Error = Failure<'static>;

    fn read(&mut self, frame: &mut [u8]) -> Result<bool, Failure<'static>> {
        match self.fill(frame)? {
            0 => Ok(false),
            given if given < frame.len() => Err(Failure::Usage("the file ends within a frame")),
            _ => Ok(true),
        }
    }
}

/// A microphone: PCM of 16 bits, little-endian, one channel.
impl Recorder<i16> for Input {
    type Error = Failure<'static>;

    fn record(&mut self, samples: &mut [i16]) -> Result<usize, Failure<'static>> {
        // Both of the processors that there are programs for are little-endian.
        Ok(self.fill(cast_slice_mut(samples))? / size_of::<i16>())
    }
}

/// A light: what its pin is told is printed, so that the host sees each change.
#[derive(Debug)]
pub struct Lamp;

impl ErrorType for Lamp {
    type Error = Infallible;
}

impl OutputPin for Lamp {
    fn set_low(&mut self) -> Result<(), Infallible> {
        println!("lamp off");
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        println!("lamp on");
        Ok(())
    }
}

/// A model, of which FNV-1a of each sample and of the output is printed: what the host compares with its own bits.
#[derive(Debug)]
pub struct Traced<M>(pub M);

impl<M: Inference> Inference for Traced<M> {
    type Error = M::Error;

    fn infer(&mut self, sample: InputData<'_>) -> Result<OutputData<'_>, M::Error> {
        let bytes = match sample {
            InputData::F32(values) => cast_slice(values),
            InputData::Pixels(pixels) => pixels,
            // Programs here have no others.
            _ => &[],
        };
        print!("input {:016x} ", fnv(bytes));
        let output = self.0.infer(sample)?;
        println!("output {:016x}", fnv(output.bytes()));
        Ok(output)
    }
}
