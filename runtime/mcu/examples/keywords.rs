//! Keywords in raw PCM, from a file of the host as from a microphone: the package's front-end makes features of the
//! samples, its network says which word that is.
//!
//! ```sh
//! edgepack pack kws.onnx -o kws.epk --calibration recordings/ --signal mlperf-kws
//! EDGEPACK_PACKAGE=$PWD/kws.epk cargo build --profile firmware -p edgepack-mcu --example keywords \
//!     --target thumbv7em-none-eabihf
//! qemu-system-arm -M mps2-an386 -nographic \
//!     -semihosting-config enable=on,target=native,arg=keywords,arg=samples.pcm \
//!     -kernel target/thumbv7em-none-eabihf/firmware/examples/keywords
//! ```
//!
//! Of every window it prints the class with the greatest value, that value, and FNV-1a of the features and of the
//! outputs, which are those of the workstation.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod board {
    use core::ffi::CStr;

    use edgepack_firmware::edgepack_core::InputData;
    use edgepack_firmware::edgepack_signal::{FrontEnd, Stream};
    use edgepack_firmware::{Aligned, Listen, Model, Source};
    use semihosting::experimental::env;
    use semihosting::io::Read as _;
    use semihosting::{fs, print, println, process};

    static PACKAGE: Aligned<{ include_bytes!(env!("EDGEPACK_PACKAGE")).len() }> =
        Aligned(*include_bytes!(env!("EDGEPACK_PACKAGE")));

    /// Samples that a microphone would give at a time: 20 ms.
    const CHUNK: usize = 320;

    // Of sizes that `edgepack inspect` tells of the package: its arena, and what its front-end needs.
    static mut ARENA: Aligned<32_768> = Aligned::ZEROED;
    static mut MEMORY: [f32; 3072] = [0.0; 3072];

    #[cfg_attr(target_arch = "arm", cortex_m_rt::entry)]
    #[cfg_attr(target_arch = "riscv32", riscv_rt::entry)]
    fn main() -> ! {
        // SAFETY: nobody else names these, and a program is entered once.
        let (arena, memory) = unsafe { (&mut *&raw mut ARENA, &mut *&raw mut MEMORY) };
        match listen(&mut arena.0, memory) {
            Ok(()) => process::exit(0),
            Err(message) => {
                println!("error: {message}");
                process::exit(2)
            }
        }
    }

    fn listen(arena: &mut [u8], memory: &mut [f32]) -> Result<(), &'static str> {
        let model: Model<'_> = Model::from_flash(&PACKAGE.0).map_err(|_| "the package is refused")?;
        let mut session = model.session(arena).map_err(|_| "the arena is too small")?;
        let section = model.package().signal().ok_or("the package has no front-end")?;
        let front_end = FrontEnd::parse(section).map_err(|_| "the front-end is refused")?;
        let mut stream = Stream::new(front_end, memory).map_err(|_| "the front-end needs more memory")?;
        let mut features = [0.0; 490];
        stream.selftest(&mut features).map_err(|_| "the front-end computes other features here")?;

        let line = env::args::<256>().map_err(|_| "no words from the host")?;
        let path = (&line).skip(1).next().and_then(Result::ok).ok_or("no file is named")?;
        let mut name = [0; 256];
        name.get_mut(..path.len()).ok_or("a long name")?.copy_from_slice(path.as_bytes());
        let name = CStr::from_bytes_until_nul(&name).map_err(|_| "a long name")?;
        let mut file = fs::File::open(name).map_err(|_| "the host does not open the file")?;
        let microphone = |samples: &mut [i16]| {
            let mut bytes = [0; 2 * CHUNK];
            let count = file.read(&mut bytes).map_err(|_| "the host does not read on")? / 2;
            let values = bytes.as_chunks::<2>().0.iter().map(|&pair| i16::from_le_bytes(pair));
            samples.iter_mut().zip(values).for_each(|(to, value)| *to = value);
            Ok::<_, &str>(count)
        };
        let mut buffer = [0; CHUNK];
        let mut source = Listen::new(microphone, stream, &mut buffer);
        while source.read(&mut features).map_err(|_| "no window")? {
            session.set_input(0, InputData::F32(&features)).map_err(|_| "features of another length")?;
            session.run().map_err(|_| "the package does not run")?;
            let output = session.output(0).map_err(|_| "no output")?;
            let greater = |best: (usize, f32), next: (usize, f32)| if next.1 > best.1 { next } else { best };
            let (class, value) = output.values().enumerate().fold((0, f32::MIN), greater);
            let of_features = features.iter().flat_map(|feature| feature.to_bits().to_le_bytes());
            print!("class {class} {value} features {:016x} ", fnv(of_features));
            println!("outputs {:016x}", fnv(output.bytes().iter().copied()));
        }
        Ok(())
    }

    /// FNV-1a of 64 bits.
    fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
        bytes
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo) -> ! {
        process::exit(3)
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this example is for microcontrollers: the first lines of its source tell how to build it");
}
