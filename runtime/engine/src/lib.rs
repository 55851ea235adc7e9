//! Runs edgepack packages where there is an operating system: maps the file, detects the instruction
//! set, owns the memory. This is the Rust API that an application uses.
//!
//! ```no_run
//! use edgepack_engine::{InputData, Model, SessionOptions};
//!
//! # fn main() -> Result<(), edgepack_engine::Error> {
//! let model = Model::open("mobilenet.epk")?;
//! let mut session = model.session(&SessionOptions::default())?;
//! # let pixels = vec![0; 224 * 224 * 3];
//! session.set_input(0, InputData::Pixels(&pixels))?;
//! session.run()?;
//! println!("{:?}", session.output(0)?);
//! # Ok(())
//! # }
//! ```
//!
//! **Architecture invariant:** a session allocates nothing after it was made, but for islands: with the feature
//! `tract` a package may have steps that tract runs, which allocate and give other bits on other processors.
//! Without it such packages are refused when they are loaded.

mod aligned;
mod bench;
mod error;
pub mod isa;
#[cfg(feature = "tract")]
pub mod islands;
mod model;
mod pool;
mod profile;
mod session;

pub use aligned::AlignedBytes;
pub use bench::{
    Bench, BenchOptions, Latency, Measured, Pair, Pairs, STEADY_BLOCK_MS, STEADY_BLOCKS, STEADY_LIMIT_S,
    STEADY_PERCENT, Samples, Until, Vitals, Warmup, WarmupReport, Window, bench, bench_pairs, measure,
};
pub use edgepack_core::format;
pub use edgepack_core::kernels;
pub use edgepack_core::{
    BindError, InputData, OutputData, RunError, conv_row, conv_shape, kernel_name, mat_mul_shape,
    product_shape, recurrent_f32_scratch_bytes, step_macs, step_type,
};
pub use error::Error;
pub use model::Model;
pub use profile::{KernelProfile, Profile, StepProfile, profile};
pub use session::{Session, SessionOptions, check_threads};
