//! An autoencoder as a detector, alone and in the application.

mod common;

use common::{Script, decision};
use edgepack_firmware::edgepack_core::{InputData, OutputData};
use edgepack_firmware::{Inference, Level, Quant, Reconstruction, ReconstructionError, Signal, Watch};
use embedded_hal_mock::eh1::digital::{Mock as Pin, State, Transaction as Write};

/// Gives back what is at most 1, cut to a number of values; fails below zero.
struct Cut<const N: usize>([f32; N]);

impl<const N: usize> Inference for Cut<N> {
    type Error = &'static str;

    fn infer(&mut self, sample: InputData<'_>) -> Result<OutputData<'_>, &'static str> {
        match sample {
            InputData::F32([first, ..]) if *first < 0.0 => Err("negative"),
            InputData::F32(values) => {
                self.0.iter_mut().zip(values).for_each(|(to, value)| *to = value.min(1.0));
                Ok(OutputData::F32(&self.0))
            }
            InputData::Pixels(_) => Ok(OutputData::I8(&[1], Quant { scale: 1.0, zero_point: 0 })),
            _ => Err("another type"),
        }
    }
}

#[test]
fn the_score_is_the_mean_squared_error() {
    let mut detector = Reconstruction::new(Cut([0.0; 4]));
    for (sample, error) in [([0.0, 0.5, 1.0, 0.25], 0.0), ([3.0, 0.5, 2.0, 1.0], 1.25), ([2.0; 4], 1.0)] {
        assert_eq!(detector.infer(InputData::F32(&sample)), Ok(OutputData::F32(&[error])));
    }
    // The order of the additions is a part of it: from the other end the ones would not be lost beside 2²⁴.
    let sample = [4097.0, 2.0, 2.0, 0.0];
    assert_eq!(detector.infer(InputData::F32(&sample)), Ok(OutputData::F32(&[4194304.0])));
}

/// Gives 1, -0.5 and 0, in int8.
struct Int8;

impl Inference for Int8 {
    type Error = &'static str;

    fn infer(&mut self, _: InputData<'_>) -> Result<OutputData<'_>, &'static str> {
        Ok(OutputData::I8(&[12, 9, 10], Quant { scale: 0.5, zero_point: 10 }))
    }
}

#[test]
fn outputs_of_int8_are_what_they_stand_for() {
    let error = Reconstruction::new(Int8).infer(InputData::F32(&[1.0, 1.0, 1.5])).map(|o| o.values().next());
    assert_eq!(error, Ok(Some(1.5)));
}

#[test]
fn what_is_no_autoencoder_is_an_error() {
    let mut detector = Reconstruction::new(Cut([0.0; 4]));
    let sample = [0.0; 3];
    let error = detector.infer(InputData::F32(&sample)).unwrap_err();
    assert_eq!(error, ReconstructionError::Length { given: 3, back: 4 });
    assert!(error.to_string().contains("4 values back for 3"), "{error}");
    assert_eq!(detector.infer(InputData::F32(&[-1.0; 4])), Err(ReconstructionError::Model("negative")));
    assert_eq!(detector.infer(InputData::Pixels(&[1])), Err(ReconstructionError::Type));
    assert_eq!(detector.infer(InputData::Quantized(&[1])), Err(ReconstructionError::Type));
}

#[test]
fn a_watch_decides_by_a_threshold_on_it() {
    let mut sample = [0.0; 2];
    let pin = [State::Low, State::High, State::Low].map(Write::set);
    let signal = Signal::new(Pin::new(&pin), Level::ActiveHigh);
    let (frames, detector) = (Script::scores(&[1.0, 3.0, 3.0, 1.0, 1.0]), Reconstruction::new(Cut([0.0; 2])));
    let mut watch = Watch::new(frames, detector, signal, (0, decision(4.0, 2.0, 2, 2)), &mut sample[..]);
    let reports: Vec<_> = std::iter::from_fn(|| watch.step().unwrap()).map(|r| (r.score, r.on)).collect();
    assert_eq!(reports, [(0.0, false), (4.0, false), (4.0, true), (0.0, false), (0.0, false)]);
    watch.release().2.done();
}
