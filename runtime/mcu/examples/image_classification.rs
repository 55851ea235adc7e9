//! What is in a picture: frames of a file of the host, and of each the classes with the greatest scores, with labels.
//!
//! ```sh
//! edgepack pack resnet8.onnx -o resnet8.epk --calibration images/ --header
//! EDGEPACK_MODEL=$PWD/resnet8.rs cargo build --profile firmware -p edgepack-mcu --example image_classification \
//!     --target thumbv7em-none-eabihf
//! qemu-system-arm -M mps2-an386 -nographic \
//!     -semihosting-config enable=on,target=native,arg=image_classification,arg=frames.rgb \
//!     -kernel target/thumbv7em-none-eabihf/firmware/examples/image_classification
//! ```
//!
//! Frames are raw u8, `[H, W, C]` of the package's input, one after the other. Of every frame it prints FNV-1a of
//! pixels and outputs, which are those of the workstation, and the labels.
#![cfg_attr(target_os = "none", no_std, no_main)]

edgepack_mcu::program!(crate::board::main);

#[cfg(target_os = "none")]
mod board {
    use edgepack_firmware::edgepack_core::InputData;
    use edgepack_firmware::{Inference, Source, top};
    use edgepack_mcu::host::{Input, Traced, or_fail};
    use semihosting::{print, println, process};

    include!(concat!(env!("OUT_DIR"), "/model.rs"));

    /// Labels of CIFAR-10, in the order of the model's classes.
    const LABELS: [&str; 10] =
        ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
    const _: () = assert!(model::CLASSES == LABELS.len(), "as many labels as the model has classes");

    /// How many labels of a frame are printed.
    const SHOWN: usize = 3;

    const PIXELS: usize = model::INPUTS[0].elems();

    static mut ARENA: model::Arena = model::Arena::ZEROED;
    static mut FRAME: [u8; PIXELS] = [0; PIXELS];

    pub fn main() -> ! {
        let (arena, frame) = (&raw mut ARENA, &raw mut FRAME);
        // SAFETY: nobody else names these, and a program is entered once.
        let (arena, frame) = unsafe { (&mut *arena, &mut *frame) };
        let model = or_fail(model::Model::from_flash(&model::PACKAGE.0));
        let mut network = Traced(or_fail(model.session(&mut arena.0)));
        let mut camera = Input::open();
        while or_fail(camera.read(frame)) {
            let output = or_fail(network.infer(InputData::Pixels(frame)));
            for found in top(output.values()).iter().take(SHOWN) {
                print!("{} {} ", LABELS.get(found.class).unwrap_or(&"?"), found.score);
            }
            println!();
        }
        process::exit(0)
    }
}
