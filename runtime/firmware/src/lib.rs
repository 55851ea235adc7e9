//! What an application does around a package: reads a sensor, runs the package, decides, drives a pin.
//!
//! ```text
//! Source (camera, sensor)  ->  Inference (the package)  ->  Decision  ->  Signal (embedded-hal OutputPin)
//!                  \________________________ Watch::step _______________________/
//! ```
//!
//! The same code runs on a microcontroller and on Linux: sensors, delays and pins come in by the traits of
//! [embedded-hal] 1.0, packages by [`Inference`], which [`Session`] is where there is no operating system. The
//! program `edgepack-camera` is this with the camera and the pins of Linux.
//!
//! ```
//! use edgepack_firmware::{Decision, DecisionError, Hysteresis, Inference, Level, Signal, Votes, Watch, Window};
//! use embedded_hal::{delay::DelayNs, digital::OutputPin, i2c::I2c};
//!
//! /// A machine that shakes, by an accelerometer on a bus: a pin is on while 3 of the last 5 windows say so.
//! fn watch_machine<B: I2c, D: DelayNs, P: OutputPin>(
//!     mut bus: B,
//!     delay: D,
//!     pin: P,
//!     model: impl Inference,
//! ) -> Result<(), DecisionError> {
//!     let measure = || -> Result<[f32; 3], B::Error> {
//!         let mut bytes = [0; 6];
//!         bus.write_read(0x18, &[0xa8], &mut bytes)?;
//!         let axis = |at: usize| f32::from(i16::from_le_bytes([bytes[at], bytes[at + 1]]) >> 4) / 1000.0;
//!         Ok([axis(0), axis(2), axis(4)])
//!     };
//!     // 128 measurements, every 10 ms; each window has 32 new ones.
//!     let window = Window::<_, _, 3, 128>::new(measure, delay, 10_000_000, 32);
//!     let decision = Decision::new(Hysteresis::new(0.7, 0.5)?, Votes::new(3, 5)?);
//!     let mut sample = [0.0; 3 * 128];
//!     let signal = Signal::new(pin, Level::ActiveHigh);
//!     let mut watch = Watch::new(window, model, signal, (1, decision), &mut sample[..]);
//!     // The pin is off after an error: a sensor that comes back is watched again.
//!     while !matches!(watch.step(), Ok(None)) {}
//!     Ok(())
//! }
//! ```
//!
//! A sensor on SPI is read likewise, by `embedded_hal::spi::SpiDevice`.
//!
//! # A model in flash
//! `edgepack new-firmware keywords.epk --target nucleo-l4r5zi -o keywords` makes a project for all of this. What is in it, step
//! by step: `edgepack pack model.onnx … --target nucleo-l4r5zi -o keywords.epk --header` writes `keywords.rs` beside the package: the
//! package as a static, the size of its arena, inputs, outputs, and the set of operations that its steps need. A program
//! links these and no others, has no memory for the plan, and nothing in it allocates, formats or panics.
//!
//! ```
//! # mod keywords {
//! #     edgepack_firmware::operations!(pub Operations: Conv, Depthwise, Pool, Softmax);
//! #     pub type Model = edgepack_firmware::Model<'static, Operations>;
//! #     pub type Arena = edgepack_firmware::Aligned<64>;
//! #     pub static PACKAGE: edgepack_firmware::Aligned<64> = edgepack_firmware::Aligned::ZEROED;
//! # }
//! use edgepack_firmware::edgepack_core::{InputData, OutputData};
//! use edgepack_firmware::{Code, Inference, ModelError};
//! // #[path = "../keywords.rs"]
//! // mod keywords;
//!
//! /// Whether the features of a second of sound are those of the word of class 3. In a `main` of cortex-m-rt the arena
//! /// is `static mut ARENA: keywords::Arena = keywords::Arena::ZEROED;`.
//! fn is_word(features: &[f32; 490], arena: &mut keywords::Arena) -> Result<bool, ModelError> {
//!     let model = keywords::Model::from_flash(&keywords::PACKAGE.0)?; // once, at the start
//!     let mut session = model.session(&mut arena.0)?;
//!     match session.infer(InputData::F32(features))? {
//!         OutputData::F32(scores) => Ok(scores.get(3).is_some_and(|&score| score > 0.8)),
//!         _ => Ok(false),
//!     }
//! }
//!
//! // This flash is empty. A number says so, which a light can blink: the table is at [`Code`].
//! let error = is_word(&[0.0; 490], &mut keywords::Arena::ZEROED).unwrap_err();
//! assert_eq!((error.code, error.code()), (Code::NotAPackage, 101));
//! ```
//!
//! What runs once is best compiled for size, and kernels a little less so; that is what a test of the project holds to 40 KiB
//! for the operations of a small model, the hash and the self-test included:
//!
//! ```toml
//! [profile.release]
//! opt-level = "z"
//! lto = "fat"
//! codegen-units = 1
//! panic = "abort"
//!
//! [profile.release.package.edgepack-kernels]
//! opt-level = "s"
//! ```
//!
//! **Architecture invariant:** no `std`, no `alloc`, no panic on what a sensor, a package or a pin does: each of
//! their errors is returned, after the pin was brought to its idle level.
//!
//! [embedded-hal]: embedded_hal
#![no_std]
#![forbid(unsafe_code)]

mod decision;
mod error;
mod listen;
mod model;
mod reconstruction;
mod scores;
mod signal;
mod source;
mod watch;

pub use decision::{Decision, DecisionError, Hysteresis, MAX_FRAMES, Votes};
pub use edgepack_core;
pub use edgepack_core::format::plan::{ElemType, Quant};
pub use edgepack_core::format::{All, Operations, operations};
pub use edgepack_signal;
pub use error::{Code, ModelError};
pub use listen::{Listen, ListenError, Recorder};
pub use model::{Aligned, Inference, Model, Session, Tensor};
pub use reconstruction::{Reconstruction, ReconstructionError};
pub use scores::{Class, TOP, Top, top};
pub use signal::{Level, Signal};
pub use source::{Element, Sensor, Source, Window, WindowError};
pub use watch::{Error, Report, Watch};
