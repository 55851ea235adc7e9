//! What runs a package: this process, or a board under QEMU.

mod local;
mod qemu;
#[cfg(test)]
mod testing;

use std::path::Path;

use edgepack_targets::Board;
use serde::Serialize;

use crate::{Bench, BenchOptions, Error, Sample};
pub use local::Local;
pub use qemu::Qemu;

/// A device with a package loaded.
pub trait Device {
    /// What it is.
    fn info(&self) -> &DeviceInfo;

    /// The outputs that it gives for a sample, in this order.
    fn outputs(&self) -> &[OutputInfo];

    /// Runs the samples one after the other. The outcome has one entry a sample.
    fn run(&mut self, samples: &[Sample]) -> Result<Vec<Outcome>, Error>;

    /// Measures how long runs take, on `sample`.
    fn bench(&mut self, sample: &Sample, options: &BenchOptions) -> Result<Bench, Error>;

    /// Runs the package's golden inputs and compares the hashes of their outputs.
    fn selftest(&mut self) -> Result<Selftest, Error>;
}

/// Opens `package` on the device of this name: `local`, or `qemu:BOARD`.
///
/// # Errors
/// There is no such device or board, what it needs is not installed, or the package is not one that
/// it runs.
pub fn open(name: &str, package: &Path, threads: usize) -> Result<Box<dyn Device>, Error> {
    let refused = |reason: String| Error::Device { device: name.into(), reason };
    match name.split_once(':') {
        None if name == "local" => Ok(Box::new(Local::open(package, threads, None)?)),
        Some(("qemu", board)) => {
            let board = Board::find(board).map_err(|error| refused(error.to_string()))?;
            Ok(Box::new(Qemu::open(board, package, threads)?))
        }
        _ => Err(refused("give local, or qemu:BOARD with a board of `edgepack targets`".into())),
    }
}

/// What a self-test came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Selftest {
    /// Whether every golden output was bit for bit as on the workstation.
    pub passed: bool,
    /// Golden samples in the package.
    pub samples: usize,
    /// What was wrong, and what to do.
    pub message: String,
}

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceInfo {
    /// `local`, or the board.
    pub name: String,
    /// The architecture, such as `x86_64` or `aarch64`.
    pub arch: String,
    /// The instruction sets that the kernels may use, such as `avx512vnni`.
    pub isa: String,
    /// Whether it is emulated: then its outputs count, and its times do not.
    pub emulated: bool,
    /// Threads that a run uses.
    pub threads: usize,
}

/// An output of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputInfo {
    /// The model's name of it.
    pub name: String,
    /// Number of values.
    pub elems: usize,
}

/// The outputs of one sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The values of each output.
    pub values: Vec<Vec<f32>>,
    /// The bytes of each output as the device gave them: int8, or little-endian f32.
    pub bytes: Vec<Vec<u8>>,
}
