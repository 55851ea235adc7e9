//! What goes wrong on a device, and what a program hears of it: memory that does not fit, samples that are none,
//! packages that are damaged, sensors that fail. Each is told in a line, with the number of its cause, nothing panics,
//! and at the end the model runs as ever.
//!
//! ```sh
//! edgepack pack model.onnx -o model.epk --calibration recordings/ --signal log-mel-80 --header
//! EDGEPACK_MODEL=$PWD/model.rs cargo build --profile firmware -p edgepack-mcu --example faults \
//!     --target thumbv7em-none-eabihf
//! qemu-system-arm -M mps2-an386 -nographic -semihosting-config enable=on,target=native \
//!     -kernel target/thumbv7em-none-eabihf/firmware/examples/faults
//! ```
#![cfg_attr(target_os = "none", no_std, no_main)]

edgepack_mcu::program!(crate::board::main);

#[cfg(target_os = "none")]
mod board {
    use core::fmt::{self, Display};

    use edgepack_firmware::edgepack_core::InputData;
    use edgepack_firmware::edgepack_signal::{FrontEnd, Stream};
    use edgepack_firmware::{
        Aligned, Decision, ElemType, Hysteresis, Inference, Level, Listen, Model, ModelError, Session,
        Signal, Source, Votes, Watch, operations,
    };
    use edgepack_mcu::host::{Lamp, or_fail};
    use semihosting::{println, process};

    include!(concat!(env!("OUT_DIR"), "/model.rs"));

    const PACKAGE: &[u8] = &model::PACKAGE.0;
    const ELEMS: usize = model::INPUTS[0].elems();

    static mut ARENA: Aligned<{ model::ARENA_BYTES + 64 }> = Aligned::ZEROED;
    static mut COPY: Aligned<{ model::PACKAGE_BYTES + 64 }> = Aligned::ZEROED;
    static mut MEMORY: [f32; 4096] = [0.0; 4096];

    pub fn main() -> ! {
        let (arena, copy, memory) = (&raw mut ARENA, &raw mut COPY, &raw mut MEMORY);
        // SAFETY: nobody else names these, and a program is entered once.
        let (arena, copy, memory) = unsafe { (&mut *arena, &mut *copy, &mut *memory) };
        packages(&mut copy.0);
        let model = or_fail(model::Model::from_flash(PACKAGE));
        arenas(&model, &mut arena.0);
        samples(&mut or_fail(model.session(&mut arena.0)));
        camera(or_fail(model.session(&mut arena.0)));
        microphone(or_fail(model.session(&mut arena.0)), memory);
        // After all that.
        match or_fail(model.session(&mut arena.0)).selftest() {
            Ok(golden) => println!("the model: {golden} golden samples are the workstation's"),
            Err(error) => println!("the model: {error}"),
        }
        process::exit(0)
    }

    fn tell<T>(what: &str, outcome: Result<T, ModelError>) {
        match outcome {
            Ok(_) => println!("{what}: taken"),
            Err(error) => println!("{what}: {error}"),
        }
    }

    fn load(package: &[u8]) -> Result<Model<'_, model::Operations>, ModelError> {
        Model::from_flash(package)
    }

    operations!(Fewer: Softmax);

    /// Packages that are not what was written.
    fn packages(copy: &mut [u8]) {
        let bytes = PACKAGE.len();
        copy[4..][..bytes].copy_from_slice(PACKAGE);
        tell("a package at an odd place", load(&copy[4..][..bytes]));
        let copy = &mut copy[..bytes];
        copy.copy_from_slice(PACKAGE);
        tell("a whole package", load(copy));
        for (what, at) in [
            ("a package without its first word", 0),
            ("a package of another format", 8),
            ("a package with a damaged header", 40),
            ("a package with a damaged section", bytes / 2),
        ] {
            copy[at] ^= 0x10;
            tell(what, load(copy));
            copy[at] ^= 0x10;
        }
        // In steps that are no multiple of anything in a package.
        let (mut damaged, mut taken) = (0, 0);
        for at in (0..bytes).step_by(bytes / 100) {
            copy[at] ^= 1 << (at % 8);
            damaged += 1;
            taken += u32::from(load(copy).is_ok());
            copy[at] ^= 1 << (at % 8);
        }
        println!("{damaged} packages with one other bit: {taken} taken");
        tell("a package without its last byte", load(&copy[..bytes - 1]));
        tell("no package", load(&[]));
        let taken = (0..bytes).filter(|&length| load(&copy[..length]).is_ok()).count();
        println!("{bytes} packages that end before: {taken} taken");
        tell("a package of operations that the program has not", Model::<Fewer>::from_flash(PACKAGE));
        tell("another package", load(PACKAGE).and_then(|model| model.expect(&[0; 32])));
    }

    /// Arenas that do not fit.
    fn arenas(model: &model::Model, arena: &mut [u8]) {
        tell("an arena that is a byte short", model.session(&mut arena[..model::ARENA_BYTES - 1]));
        tell("an arena at an odd place", model.session(&mut arena[4..]));
        tell("no arena", model.session(&mut []));
    }

    /// Inputs that the model does not take.
    fn samples(session: &mut Session<'_, '_, model::Operations>) {
        let long = [0.0; ELEMS + 1];
        tell("a sample that is a value short", session.set_input(0, InputData::F32(&long[..ELEMS - 1])));
        tell("a sample that is a value long", session.set_input(0, InputData::F32(&long)));
        tell("no sample", session.set_input(0, InputData::F32(&[])));
        tell("pixels for an input that takes none", session.set_input(0, InputData::Pixels(&[0; ELEMS])));
        tell("integers for numbers", session.set_input(0, InputData::I32(&[0; ELEMS])));
        let halves = InputData::Elements(ElemType::F16, &[0; 2 * ELEMS]);
        tell("elements of another type", session.set_input(0, halves));
        tell("a second input", session.set_input(1, InputData::F32(&long[..ELEMS])));
        tell("a second output", session.output(1));
    }

    /// What a driver says where the device does not do what it should.
    #[derive(Clone, Copy)]
    struct Fault(u16);

    impl Display for Fault {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "the driver's error {}", self.0)
        }
    }

    /// Every third of its frames is none.
    struct Camera(u32);

    impl Source<f32> for Camera {
        type Error = Fault;

        fn read(&mut self, sample: &mut [f32]) -> Result<bool, Fault> {
            self.0 += 1;
            sample.fill(0.5);
            if self.0.is_multiple_of(3) { Err(Fault(7)) } else { Ok(self.0 < 6) }
        }
    }

    /// Runs a source to its end. Every frame counts, so that the lamp is on but where something is wrong.
    fn watch<S: Source<f32, Error: Display>>(
        (what, source): (&str, S),
        model: impl Inference<Error = ModelError>,
        (class, sample): (usize, &mut [f32]),
    ) {
        let decision = Decision::new(or_fail(Hysteresis::new(0.0, 0.0)), or_fail(Votes::new(1, 1)));
        let lamp = Signal::new(Lamp, Level::ActiveHigh);
        let mut watch = Watch::new(source, model, lamp, (class, decision), sample);
        // One that never ends would be told as well.
        for _ in 0..8 {
            match watch.step() {
                Ok(Some(report)) => println!("{what}: a frame, on {}", report.on),
                Ok(None) => return println!("{what}: the end, {:?}", watch.signal().state()),
                Err(error) => println!("{what}: {error}, {:?}", watch.signal().state()),
            }
        }
    }

    /// A camera that fails, and applications that do not fit their model.
    fn camera(mut session: Session<'_, '_, model::Operations>) {
        let mut sample = [0.0; ELEMS + 1];
        watch(("camera", Camera(0)), &mut session, (0, &mut sample[..ELEMS]));
        watch(("wrong sample", Camera(3)), &mut session, (0, &mut sample));
        watch(("wrong class", Camera(3)), &mut session, (model::CLASSES, &mut sample[..ELEMS]));
    }

    /// A microphone that loses samples.
    fn microphone(mut session: Session<'_, '_, model::Operations>, memory: &mut [f32]) {
        let section =
            or_fail(session.package().signal().ok_or("the package has no front-end: pack with --signal"));
        let front_end = or_fail(FrontEnd::parse(section));
        match Stream::new(front_end, &mut memory[..front_end.memory_elems() - 1]) {
            Ok(_) => println!("too little memory for the front-end: taken"),
            Err(error) => println!("too little memory for the front-end: {} ({error})", error.code()),
        }
        let stream = or_fail(Stream::new(front_end, memory));
        let mut calls = 0;
        let record = |samples: &mut [i16]| {
            calls += 1;
            samples.iter_mut().zip(0_i16..).for_each(|(sample, index)| *sample = index.wrapping_mul(3001));
            match calls {
                20 => Err(Fault(9)),
                40.. => Ok(0),
                _ => Ok(samples.len()),
            }
        };
        let (mut samples, mut window) = ([0; 160], [0.0; ELEMS]);
        watch(("microphone", Listen::new(record, stream, &mut samples)), &mut session, (0, &mut window));
    }
}
