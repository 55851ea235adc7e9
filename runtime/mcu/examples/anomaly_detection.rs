//! A machine that sounds unlike itself: windows of raw PCM, from a file of the host as from a microphone, become
//! log-mel features by the package's front-end, and an autoencoder that has learned the usual sound gives them back, or
//! does not: a mean squared error of too many windows above the threshold turns a light on.
//!
//! ```sh
//! edgepack pack ad.onnx -o ad.epk --calibration recordings/ --signal mlperf-ad --header
//! EDGEPACK_MODEL=$PWD/ad.rs cargo build --profile firmware -p edgepack-mcu --example anomaly_detection \
//!     --target thumbv7em-none-eabihf
//! qemu-system-arm -M mps2-an386 -nographic \
//!     -semihosting-config enable=on,target=native,arg=anomaly_detection,arg=samples.pcm,arg=10.5 \
//!     -kernel target/thumbv7em-none-eabihf/firmware/examples/anomaly_detection
//! ```
//!
//! Samples are of 16 bits, little-endian, one channel; behind them the threshold, which is one for each machine. Of
//! every window it prints FNV-1a of features and outputs, which are those of the workstation, the error, and whether
//! that reaches the threshold; and `lamp on` or `lamp off` where the decision changes.
#![cfg_attr(target_os = "none", no_std, no_main)]

edgepack_mcu::program!(crate::board::main);

#[cfg(target_os = "none")]
mod board {
    use edgepack_firmware::edgepack_signal::{FrontEnd, Stream};
    use edgepack_firmware::{Decision, Hysteresis, Level, Listen, Reconstruction, Signal, Votes, Watch};
    use edgepack_mcu::host::{Input, Lamp, Traced, or_fail, word};
    use semihosting::{println, process};

    include!(concat!(env!("OUT_DIR"), "/model.rs"));

    /// Samples that a microphone would give at a time: 32 ms.
    const CHUNK: usize = 512;

    const FEATURES: usize = model::INPUTS[0].elems();

    static mut ARENA: model::Arena = model::Arena::ZEROED;
    static mut MEMORY: [f32; model::SIGNAL_MEMORY_ELEMS] = [0.0; model::SIGNAL_MEMORY_ELEMS];
    static mut WINDOW: [f32; FEATURES] = [0.0; FEATURES];

    pub fn main() -> ! {
        let (arena, memory, window) = (&raw mut ARENA, &raw mut MEMORY, &raw mut WINDOW);
        // SAFETY: nobody else names these, and a program is entered once.
        let (arena, memory, window) = unsafe { (&mut *arena, &mut *memory, &mut *window) };
        let model = or_fail(model::Model::from_flash(&model::PACKAGE.0));
        let network = Traced(or_fail(model.session(&mut arena.0)));

        let section =
            or_fail(model.package().signal().ok_or("the package has no front-end: pack with --signal"));
        let mut stream = or_fail(Stream::new(or_fail(FrontEnd::parse(section)), memory));
        or_fail(stream.selftest(window));

        let threshold =
            word(2, "give a threshold behind the file's name", |word| or_fail(word.parse::<f32>()));
        let threshold = or_fail(threshold);
        // Windows overlap, so that one loud moment is in several: 3 of 5 decide.
        let decision =
            Decision::new(or_fail(Hysteresis::new(threshold, threshold)), or_fail(Votes::new(3, 5)));
        let lamp = Signal::new(Lamp, Level::ActiveHigh);
        let mut samples = [0; CHUNK];
        let microphone = Listen::new(Input::open(), stream, &mut samples);
        // What it gives is one value, the error: class 0.
        let mut watch = Watch::new(microphone, Reconstruction::new(network), lamp, (0, decision), window);
        while let Some(report) = or_fail(watch.step()) {
            println!("error {} unusual {}", report.score, report.seen);
        }
        process::exit(0)
    }
}
