//! What runs a package: this process, or the agent on a device that is reached by ssh or adb, or emulated.

mod arch;
mod connection;
mod deploy;
mod doctor;
mod facts;
mod instructions;
mod local;
mod machine;
mod remote;
#[cfg(test)]
pub(crate) mod testing;

use std::path::Path;

use serde::Serialize;

use crate::{Bench, BenchOptions, Error, PackageFacts, Pairs, Sample};
pub use connection::{Connection, Reached, reach};
pub use deploy::{Deployed, deploy, roll_back};
pub use doctor::{Checkup, Finding, Needs, PackageNeeds, Severity, examine};
pub use facts::DeviceFacts;
pub use instructions::{Counted, counting_plugin};
pub use local::Local;
pub use remote::Remote;

/// A device with a package loaded.
pub trait Device {
    /// What it is.
    fn info(&self) -> &DeviceInfo;

    /// The outputs that it gives for a sample, in this order.
    fn outputs(&self) -> &[OutputInfo];

    /// Runs the samples one after the other. The outcome has one entry a sample.
    fn run(&mut self, samples: &[Sample]) -> Result<Vec<Outcome>, Error>;

    /// Measures how long runs take, on `sample`; of an emulated device, counts their instructions.
    fn bench(&mut self, sample: &Sample, options: &BenchOptions) -> Result<Bench, Error>;

    /// Measures runs on `sample` and runs of another package on its own sample, in turns: see
    /// [`edgepack_engine::bench_pairs`].
    fn bench_pairs(
        &mut self,
        sample: &Sample,
        other: (&PackageFacts, &Sample),
        options: &BenchOptions,
    ) -> Result<Pairs, Error>;

    /// Runs the package's golden inputs and compares the hashes of their outputs.
    fn selftest(&mut self) -> Result<Selftest, Error>;
}

/// Opens `package` on the device of this name: `local`, `qemu:BOARD`, `ssh://[user@]host[:port]` or
/// `adb:SERIAL`.
///
/// # Errors
/// There is no such device, what it needs is not there, or the package is not one that it runs.
pub fn open(name: &str, package: &Path, threads: usize) -> Result<Box<dyn Device>, Error> {
    match name {
        "local" => Ok(Box::new(Local::open(package, threads, None)?)),
        _ => Ok(Box::new(Remote::open(Connection::new(reach(name)?)?, package, threads)?)),
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
    /// As its user names it: `local`, `qemu:rpi4`, `ssh://pi@kitchen`.
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
