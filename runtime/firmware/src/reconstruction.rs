//! Anomalies: what an autoencoder, which was trained on the usual alone, does not give back.

use core::fmt;

use edgepack_core::{InputData, OutputData};

use crate::Inference;

/// An autoencoder as a detector. Its only score is the mean squared error of what it gives back, so that a
/// [`crate::Watch`] of class 0 decides by thresholds on that: the anomaly detection of MLPerf Tiny (Koizumi et al.,
/// "Description and discussion on DCASE2020 challenge task 2", 2020, section 4).
///
/// The squares are added in f32 in the order of the values: the score is the same bits everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Reconstruction<M> {
    model: M,
    error: [f32; 1],
}

impl<M> Reconstruction<M> {
    /// Of a model whose first output has as many values as its input, f32 or int8.
    pub fn new(model: M) -> Self {
        Self { model, error: [0.0] }
    }

    /// The model.
    pub fn release(self) -> M {
        self.model
    }
}

impl<M: Inference> Inference for Reconstruction<M> {
    type Error = ReconstructionError<M::Error>;

    /// f32 `[1]`: the mean squared error of a sample of f32.
    fn infer(&mut self, sample: InputData<'_>) -> Result<OutputData<'_>, Self::Error> {
        let InputData::F32(given) = sample else { return Err(ReconstructionError::Type) };
        let output = self.model.infer(sample).map_err(ReconstructionError::Model)?;
        let back = match output {
            OutputData::F32(values) => values.len(),
            OutputData::I8(values, _) => values.len(),
            _ => return Err(ReconstructionError::Type),
        };
        if given.len() != back {
            return Err(ReconstructionError::Length { given: given.len(), back });
        }
        let squares = given.iter().zip(output.values()).map(|(x, y)| (x - y) * (x - y));
        self.error = [squares.fold(0.0, |sum, square| sum + square) / given.len() as f32];
        Ok(OutputData::F32(&self.error))
    }
}

/// Why there is no error of reconstruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ReconstructionError<E> {
    /// What the model says.
    Model(E),
    /// The sample is not f32, or what the model gives back is neither that nor int8.
    Type,
    /// The model gives back another number of values: it is no autoencoder.
    Length {
        /// Values of the sample.
        given: usize,
        /// Values of the model's first output.
        back: usize,
    },
}

impl<E: fmt::Display> fmt::Display for ReconstructionError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(error) => error.fmt(f),
            Self::Type => f.write_str("samples are to be f32, and the model's first output f32 or int8"),
            Self::Length { given, back } => {
                write!(f, "the model gives {back} values back for {given}: it is no autoencoder")
            }
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for ReconstructionError<E> {}
