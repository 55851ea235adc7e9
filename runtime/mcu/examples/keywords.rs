//! Keywords in raw PCM, from a file of the host as from a microphone: the package's front-end makes features of the
//! samples, its network says which word that is.
//!
//! ```sh
//! edgepack pack kws.onnx -o kws.epk --calibration recordings/ --signal mlperf-kws --header
//! EDGEPACK_MODEL=$PWD/kws.rs cargo build --profile firmware -p edgepack-mcu --example keywords \
//!     --target thumbv7em-none-eabihf
//! qemu-system-arm -M mps2-an386 -nographic \
//!     -semihosting-config enable=on,target=native,arg=keywords,arg=samples.pcm \
//!     -kernel target/thumbv7em-none-eabihf/firmware/examples/keywords
//! ```
//!
//! Samples are of 16 bits, little-endian, one channel. Of every window it prints FNV-1a of the features and of the
//! outputs, which are those of the workstation, and the class with the greatest value.
#![cfg_attr(target_os = "none", no_std, no_main)]

edgepack_mcu::program!(crate::board::main);

#[cfg(target_os = "none")]
mod board {
    use edgepack_firmware::edgepack_core::InputData;
    use edgepack_firmware::edgepack_signal::{FrontEnd, Stream};
    use edgepack_firmware::{Inference, Listen, Source, top};
    use edgepack_mcu::host::{Input, Traced, or_fail};
    use semihosting::{println, process};

    include!(concat!(env!("OUT_DIR"), "/model.rs"));

    /// Samples that a microphone would give at a time: 20 ms.
    const CHUNK: usize = 320;

    const FEATURES: usize = model::INPUTS[0].elems();

    static mut ARENA: model::Arena = model::Arena::ZEROED;
    static mut MEMORY: [f32; model::SIGNAL_MEMORY_ELEMS] = [0.0; model::SIGNAL_MEMORY_ELEMS];

    pub fn main() -> ! {
        let (arena, memory) = (&raw mut ARENA, &raw mut MEMORY);
        // SAFETY: nobody else names these, and a program is entered once.
        let (arena, memory) = unsafe { (&mut *arena, &mut *memory) };
        let model = or_fail(model::Model::from_flash(&model::PACKAGE.0));
        let mut network = Traced(or_fail(model.session(&mut arena.0)));

        let section =
            or_fail(model.package().signal().ok_or("the package has no front-end: pack with --signal"));
        let mut stream = or_fail(Stream::new(or_fail(FrontEnd::parse(section)), memory));
        let mut features = [0.0; FEATURES];
        or_fail(stream.selftest(&mut features));

        let mut samples = [0; CHUNK];
        let mut source = Listen::new(Input::open(), stream, &mut samples);
        while or_fail(source.read(&mut features)) {
            let output = or_fail(network.infer(InputData::F32(&features)));
            if let Some(word) = top(output.values()).first() {
                println!("class {} {}", word.class, word.score);
            }
        }
        process::exit(0)
    }
}
