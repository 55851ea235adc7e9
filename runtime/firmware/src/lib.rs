//! What an application does around a package: reads a sensor, runs the package, decides, drives a pin.
//!
//! ```text
//! Source (camera, sensor)  ->  Inference (the package)  ->  Decision  ->  Signal (embedded-hal OutputPin)
//!                  \________________________ Watch::step _______________________/
//! ```
//!
//! The same code runs on a microcontroller and on Linux: sensors, delays and pins come in by the traits of
//! [embedded-hal] 1.0, packages by [`Inference`], which [`Runner`] is where there is no operating system. The
//! program `edgepack-camera` is this with the camera and the pins of Linux.
//!
//! **Architecture invariant:** no `std`, no `alloc`, no panic on what a sensor, a package or a pin does: each of
//! their errors is returned, after the pin was brought to its idle level.
//!
//! [embedded-hal]: https://docs.rs/embedded-hal/1.0.0
#![no_std]
#![forbid(unsafe_code)]

mod decision;
mod model;
mod scores;
mod signal;
mod source;
mod watch;

pub use decision::{Decision, DecisionError, Hysteresis, MAX_FRAMES, Votes};
pub use edgepack_core;
pub use model::{Aligned, Inference, LoadError, Memory, Runner};
pub use scores::{Class, TOP, Top};
pub use signal::{Level, Signal};
pub use source::{Element, Sensor, Source, Window, WindowError};
pub use watch::{Error, Report, Watch};
