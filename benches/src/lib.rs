//! The harness of edgepack: labelled data and its preprocessing, the FP32 baseline, and the
//! comparison of a device's outputs and latency with that baseline.
//!
//! The library prints nothing: results are values, long work reports to a [`Progress`].
//!
//! ```no_run
//! use edgepack_harness::{DataSet, InputSpec, Preprocessing, baseline};
//!
//! # fn main() -> Result<(), edgepack_harness::Error> {
//! let input = InputSpec { name: "input".into(), dims: vec![1, 3, 224, 224], limits: None };
//! let preprocessing = Preprocessing { mean: vec![127.0], std: vec![128.0], ..Default::default() };
//! let data = DataSet::open("images/".as_ref(), &input, &preprocessing, Some(100))?;
//! let mut fp32 = baseline::open("model.onnx".as_ref(), std::slice::from_ref(&input), 1)?;
//! for sample in data.iter() {
//!     let outputs = fp32.run(&sample?.values)?;
//!     println!("{} values", outputs[0].len());
//! }
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod baseline;
mod bench;
mod compare;
mod data;
pub mod device;
mod error;
mod metrics;
mod package;
mod preprocess;
mod progress;
pub mod report;
mod signal;
mod stats;
mod worst;

pub use bench::{Against, BenchReport, SCHEMA, Throttling, bench, bench_on};
pub use compare::{BaselineReport, CompareOptions, Comparison, DeviceReport, compare};
pub use data::{DataSet, ImageLayout, InputSpec, Pick, Sample};
pub use edgepack_engine::{
    Bench, BenchOptions, Latency, Pair, Pairs, STEADY_BLOCK_MS, STEADY_BLOCKS, STEADY_LIMIT_S,
    STEADY_PERCENT, Samples, Until, Vitals, Warmup, WarmupReport, Window,
};
pub use error::Error;
pub use metrics::{Accuracy, AccuracySummary, argmax};
pub use package::{OutputFacts, PackageFacts};
pub use preprocess::{Channels, Preprocessing, Resize, parse_size};
pub use progress::Progress;
pub use signal::SignalFrontEnd;
pub use stats::{Drift, Ratio};
pub use worst::{ValuePair, WorstSample};
