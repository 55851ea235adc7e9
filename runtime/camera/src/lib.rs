//! The camera road on Linux boards: frames from a camera or from image files, a package, and a pin.
//!
//! ```sh
//! edgepack-camera person.epk --camera /dev/video0 --class 1 --on 0.7 --off 0.4 --votes 3/5 --pin gpio:/dev/gpiochip0:17
//! ```
//!
//! What decides is [`edgepack_firmware::Watch`], the code that a microcontroller runs too; here are the parts of
//! Linux that it is given: [`Frames`], a session of the engine, and [`Pin`]. Pixels become the package's input as
//! they did when it was calibrated: resized and cropped as it says, by the same filter.
#![forbid(unsafe_code)]

mod args;
mod error;
mod frames;
mod picture;
mod pin;
#[cfg(all(feature = "v4l2", target_os = "linux"))]
mod v4l2;

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use edgepack_engine::{InputData, Model, OutputData, Session, SessionOptions};
use edgepack_firmware::{Inference, Report, Signal, Watch};
use serde::Serialize;

pub use args::{Args, HELP};
pub use error::Error;
pub use frames::{Folder, Frames};
pub use picture::{Picture, Shape, rgb_of_yuyv};
pub use pin::{Pin, PinError};

/// A session as the application takes it.
struct Loaded<'m>(Session<'m>);

impl Inference for Loaded<'_> {
    type Error = edgepack_engine::Error;

    fn infer(&mut self, sample: InputData<'_>) -> Result<OutputData<'_>, edgepack_engine::Error> {
        self.0.set_input(0, sample)?;
        self.0.run()?;
        self.0.output(0)
    }
}

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    frame: &'a str,
    score: f32,
    seen: bool,
    on: bool,
    /// Class and value, the greatest first.
    top: Vec<(usize, f32)>,
}

/// Runs until there are no more frames or `stop` is set, and tells `out` of them. The pin is off then, also after an
/// error.
///
/// # Errors
/// [`Error`]: what is wrong with the package, the frames or the pin.
pub fn run(args: &Args, stop: &AtomicBool, out: &mut impl Write) -> Result<(), Error> {
    let model = Model::open(&args.package)?;
    let options = SessionOptions { isa: None, threads: args.threads };
    let mut session = model.session(&options)?;
    // Before the first decision: kernels and package are right on this processor, bit for bit.
    session.selftest()?;
    let picture = Picture::of(&args.package, &session.package())?;
    let mut sample = vec![0; picture.shape().bytes()];
    let signal = Signal::new(Pin::open(&args.pin)?, args.level);
    let frames = Frames::open(args, picture)?;
    let mut watch = Watch::new(frames, Loaded(session), signal, (args.class, args.decision), &mut sample[..]);
    // Off before the first frame, whatever it was.
    watch.stop().map_err(Error::Pin)?;
    let (mut count, mut changes) = (0u64, 0u64);
    let outcome = loop {
        if stop.load(Ordering::Relaxed) || args.limit.is_some_and(|limit| count >= limit) {
            break Ok(());
        }
        match watch.step() {
            Ok(Some(report)) => {
                count += 1;
                changes += u64::from(report.changed);
                if let Err(error) = tell(args.json, watch.source().name(), &report, out) {
                    break Err(error);
                }
            }
            Ok(None) => break Ok(()),
            // A signal that interrupts a system call is no error of the camera.
            Err(_) if stop.load(Ordering::Relaxed) => break Ok(()),
            Err(error) => break Err(Error::from(error)),
        }
    };
    // What has gone wrong first is what is told.
    let stopped = watch.stop().map_err(Error::Pin);
    outcome.and(stopped)?;
    if !args.json {
        writeln!(out, "{count} frames, {changes} changes").map_err(Error::Output)?;
    }
    Ok(())
}

/// Every frame as JSON, or every change in words.
fn tell(json: bool, frame: &str, report: &Report, out: &mut impl Write) -> Result<(), Error> {
    let &Report { score, seen, on, changed, .. } = report;
    if json {
        let top = report.top.iter().map(|one| (one.class, one.score)).collect();
        serde_json::to_writer(&mut *out, &Line { frame, score, seen, on, top })
            .map_err(|error| Error::Output(error.into()))?;
        writeln!(out).map_err(Error::Output)?;
    } else if changed {
        writeln!(out, "{} at {frame}: {score:.4}", if on { "on" } else { "off" }).map_err(Error::Output)?;
    }
    Ok(())
}
