//! Whether a camera sees a person: frames of a file of the host, a decision that does not flicker, and a light.
//!
//! ```sh
//! edgepack pack vww.onnx -o vww.epk --calibration images/ --std 255 --header
//! EDGEPACK_MODEL=$PWD/vww.rs cargo build --profile firmware -p edgepack-mcu --example visual_wake_words \
//!     --target thumbv7em-none-eabihf
//! qemu-system-arm -M mps2-an386 -nographic \
//!     -semihosting-config enable=on,target=native,arg=visual_wake_words,arg=frames.rgb \
//!     -kernel target/thumbv7em-none-eabihf/firmware/examples/visual_wake_words
//! ```
//!
//! Frames are raw u8, `[H, W, C]` of the package's input, one after the other. Of every frame it prints FNV-1a of
//! pixels and outputs, which are those of the workstation, the score of the class, and whether that counts; and
//! `lamp on` or `lamp off` where the decision changes.
#![cfg_attr(target_os = "none", no_std, no_main)]

edgepack_mcu::program!(crate::board::main);

#[cfg(target_os = "none")]
mod board {
    use edgepack_firmware::{Decision, Hysteresis, Level, Signal, Votes, Watch};
    use edgepack_mcu::host::{Input, Lamp, Traced, or_fail};
    use semihosting::{println, process};

    include!(concat!(env!("OUT_DIR"), "/model.rs"));

    /// The class that is watched for: of the network of MLPerf Tiny the persons.
    const CLASS: usize = 1;

    const PIXELS: usize = model::INPUTS[0].elems();

    static mut ARENA: model::Arena = model::Arena::ZEROED;
    static mut FRAME: [u8; PIXELS] = [0; PIXELS];

    pub fn main() -> ! {
        let (arena, frame) = (&raw mut ARENA, &raw mut FRAME);
        // SAFETY: nobody else names these, and a program is entered once.
        let (arena, frame) = unsafe { (&mut *arena, &mut *frame) };
        let model = or_fail(model::Model::from_flash(&model::PACKAGE.0));
        let network = Traced(or_fail(model.session(&mut arena.0)));

        // Seen from 0.7 on until it is below 0.4; on while 2 of the last 3 frames have seen it.
        let decision = Decision::new(or_fail(Hysteresis::new(0.7, 0.4)), or_fail(Votes::new(2, 3)));
        let lamp = Signal::new(Lamp, Level::ActiveHigh);
        let mut watch = Watch::new(Input::open(), network, lamp, (CLASS, decision), frame);
        while let Some(report) = or_fail(watch.step()) {
            println!("score {} seen {}", report.score, report.seen);
        }
        process::exit(0)
    }
}
