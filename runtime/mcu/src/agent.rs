//! Runs, counts and self-tests a package that lies in flash; prints one line of JSON, as the Linux agent does.

use core::fmt;

use bytemuck::{try_cast_slice, try_cast_slice_mut};
use edgepack_firmware::edgepack_core::InputData;
use edgepack_firmware::edgepack_core::format::{All, SeededBytes};
use edgepack_firmware::edgepack_core::kernels::isa::IsaToken;
use edgepack_firmware::edgepack_signal::{Error, FrontEnd, Stream};
use edgepack_firmware::{Code, Model, ModelError, Session};

use crate::args::{Args, Command, Form};
use crate::{Failure, Machine, Room};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The architecture that this build is for, as Rust's target triples have it.
const ARCH: &str = env!("EDGEPACK_ARCH");

/// Does what the command line says; `false` where a self-test failed.
///
/// # Errors
/// [`Failure`], which says why.
pub fn run<'a, M: Machine>(machine: &mut M, args: &Args<'a>) -> Result<bool, Failure<'a>> {
    let Some(place) = args.package else {
        let (flash, ram) = (machine.free_flash(), machine.ram().len());
        print(machine, format_args!("{},{}", Board { flash, ram }, isa()))?;
        return Ok(true);
    };
    let mut loaded = Loaded::new(machine, place)?;
    match args.command {
        Command::Info => {
            let board = Board { flash: machine.free_flash(), ram: loaded.ram_bytes };
            let (isa, arena, stack) = (isa(), loaded.arena_bytes(), loaded.stack_bytes);
            print(
                machine,
                format_args!(
                    "{board},{isa},\"arena_bytes\":{arena},\"packed_bytes\":0,\"stack_bytes\":{stack}"
                ),
            )?;
        }
        Command::Run => run_samples(machine, &mut loaded, args)?,
        Command::Bench => bench(machine, &mut loaded, args)?,
        Command::Selftest => return selftest(machine, &mut loaded),
    }
    Ok(true)
}

/// What a board has for packages.
struct Board {
    flash: Room,
    ram: usize,
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Room { address, bytes } = self.flash;
        write!(
            f,
            "\"version\":\"{VERSION}\",\"arch\":\"{ARCH}\",\"free_flash_address\":{address},\"free_flash_bytes\":{bytes},\
             \"free_ram_bytes\":{}",
            self.ram
        )
    }
}

/// The kernels' instruction sets, those that this build is for, as a field of JSON.
fn isa() -> impl fmt::Display {
    struct Isa;
    impl fmt::Display for Isa {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "\"isa\":\"{}\"", IsaToken::of_build().set())
        }
    }
    Isa
}

fn print(machine: &mut impl Machine, fields: fmt::Arguments<'_>) -> Result<(), Failure<'static>> {
    // Nothing that is printed has a character that JSON would escape.
    writeln!(machine, "{{{fields}}}").map_err(|_| Failure::Io)
}

/// A package with an arena, ready to run.
struct Loaded {
    session: Session<'static, 'static>,
    /// The memory behind the arena, at a multiple of 64: for a sample.
    spare: &'static mut [u8],
    /// All that the board has.
    ram_bytes: usize,
    /// The most that loading, and later runs, took of the stack.
    stack_bytes: usize,
}

impl Loaded {
    fn new(machine: &mut impl Machine, place: Room) -> Result<Self, Failure<'static>> {
        let (bytes, ram) = (machine.package(place)?, machine.ram());
        let ram_bytes = ram.len();
        let (model, stack_bytes) = machine.stack_of(|| Model::<All>::with_token(bytes, IsaToken::of_build()));
        let model = model?;
        let needed = model.package().head().arena_bytes as usize;
        let split = needed.checked_next_multiple_of(64).and_then(|padded| ram.split_at_mut_checked(padded));
        let (arena, spare) = split.ok_or(Failure::Ram { what: "the arena", needed, given: ram_bytes })?;
        Ok(Self { session: model.session(arena)?, spare, ram_bytes, stack_bytes })
    }

    /// Runs one sample that lies in the first bytes of `spare`.
    fn run(&mut self, sample_bytes: usize, form: Form) -> Result<(), ModelError> {
        let mut rest = &self.spare[..sample_bytes];
        for (index, input) in self.session.package().inputs().enumerate() {
            let elems = input.dims.elems().unwrap_or(0) as usize;
            let (bytes, after) = rest.split_at(elems * form.bytes());
            rest = after;
            let data = match form {
                // The sample is at a multiple of 64, and so of 4.
                Form::F32 => InputData::F32(try_cast_slice(bytes).unwrap_or(&[])),
                Form::U8 => InputData::Pixels(bytes),
                Form::I8 => InputData::Quantized(try_cast_slice(bytes).unwrap_or(&[])),
            };
            self.session.set_input(index, data)?;
        }
        self.session.run()
    }

    fn run_on_measured_stack(
        &mut self,
        machine: &mut impl Machine,
        sample_bytes: usize,
        form: Form,
    ) -> Result<(), ModelError> {
        let (outcome, bytes) = machine.stack_of(|| self.run(sample_bytes, form));
        self.stack_bytes = self.stack_bytes.max(bytes);
        outcome
    }

    /// The bytes of a sample in this form: raw pixels are of the first input alone.
    fn sample_bytes(&self, form: Form) -> Result<usize, Failure<'static>> {
        let package = self.session.package();
        let inputs = package.head().inputs;
        if form == Form::U8 && inputs != 1 {
            return Err(Failure::Pixels { inputs });
        }
        let elems = package.inputs().map(|input| input.dims.elems().unwrap_or(0) as usize);
        let needed = elems.sum::<usize>() * form.bytes();
        match self.spare.len() {
            given if given < needed => Err(Failure::Ram { what: "a sample", needed, given }),
            _ => Ok(needed),
        }
    }

    fn arena_bytes(&self) -> u32 {
        self.session.package().head().arena_bytes
    }
}

fn run_samples<'a, M: Machine>(
    machine: &mut M,
    loaded: &mut Loaded,
    args: &Args<'a>,
) -> Result<(), Failure<'a>> {
    let (mut file, given) = machine.open(args.input.unwrap_or_default())?;
    let sample = loaded.sample_bytes(args.form)?;
    if sample == 0 || given == 0 || !given.is_multiple_of(sample) {
        return Err(Failure::Length { given, sample });
    }
    let mut outputs = args.output.map(|path| machine.create(path)).transpose()?;
    for _ in 0..given / sample {
        machine.read(&mut file, &mut loaded.spare[..sample])?;
        loaded.run_on_measured_stack(machine, sample, args.form)?;
        if let Some(file) = &mut outputs {
            for index in 0..loaded.session.package().head().outputs as usize {
                machine.write(file, loaded.session.output(index)?.bytes())?;
            }
        }
    }
    let (samples, isa, stack) = (given / sample, isa(), loaded.stack_bytes);
    print(machine, format_args!("\"samples\":{samples},{isa},\"stack_bytes\":{stack}"))
}

/// Runs, of which an emulator counts the instructions. Of times it says nothing.
fn bench<'a, M: Machine>(machine: &mut M, loaded: &mut Loaded, args: &Args<'a>) -> Result<(), Failure<'a>> {
    let package = loaded.session.package();
    let takes_pixels = package.inputs().next().is_some_and(|input| input.pixels.is_some());
    let form = match args.input {
        Some(_) => args.form,
        None if takes_pixels && package.head().inputs == 1 => Form::U8,
        None => Form::I8,
    };
    let sample = loaded.sample_bytes(form)?;
    match args.input {
        Some(path) => {
            let (mut file, given) = machine.open(path)?;
            if given < sample {
                return Err(Failure::Length { given, sample });
            }
            machine.read(&mut file, &mut loaded.spare[..sample])?;
        }
        None => {
            let random = SeededBytes::new(0);
            loaded.spare[..sample].iter_mut().zip(random).for_each(|(byte, random)| *byte = random);
        }
    }
    for _ in 0..args.warmup {
        loaded.run(sample, form)?;
    }
    for _ in 0..args.runs {
        loaded.run_on_measured_stack(machine, sample, form)?;
    }
    let (arena, stack, isa, runs) = (loaded.arena_bytes(), loaded.stack_bytes, isa(), args.runs);
    print(
        machine,
        format_args!(
            "\"runs\":{runs},\"arena_bytes\":{arena},\"stack_bytes\":{stack},\"threads\":1,{isa},\"emulated\":true"
        ),
    )
}

fn selftest(machine: &mut impl Machine, loaded: &mut Loaded) -> Result<bool, Failure<'static>> {
    let samples = loaded.session.package().golden().count();
    let (outcome, _) = machine.stack_of(|| loaded.session.selftest());
    let isa = isa();
    // What a package's front-end computes of samples is tried too.
    if outcome.is_ok() && !front_end(loaded)? {
        print(
            machine,
            format_args!(
                "\"passed\":false,\"samples\":{samples},\"message\":\"the front-end gives other features than on the \
                 workstation\",{isa}"
            ),
        )?;
        return Ok(false);
    }
    match outcome {
        Ok(_) => {
            print(machine, format_args!("\"passed\":true,\"samples\":{samples},\"message\":\"\",{isa}"))?
        }
        Err(ModelError { code: Code::Golden, at }) => print(
            machine,
            format_args!(
                "\"passed\":false,\"samples\":{samples},\"message\":\"golden sample {at} has other outputs than on \
                 the workstation\",{isa}"
            ),
        )?,
        Err(error) => return Err(error.into()),
    }
    Ok(outcome.is_ok())
}

/// Whether the package's front-end, if it has one, computes what it does on the workstation.
fn front_end(loaded: &mut Loaded) -> Result<bool, Failure<'static>> {
    let Some(section) = loaded.session.package().signal() else { return Ok(true) };
    let front_end = FrontEnd::parse(section).map_err(Failure::Signal)?;
    // `spare` is at a multiple of 64, its length is not one of 4.
    let given = loaded.spare.len();
    let memory = try_cast_slice_mut(&mut loaded.spare[..given / 4 * 4]).unwrap_or(&mut []);
    let needed = front_end.memory_elems() + front_end.elems();
    let Some((memory, features)) =
        memory.get_mut(..needed).map(|all| all.split_at_mut(front_end.memory_elems()))
    else {
        return Err(Failure::Ram { what: "the front-end", needed: 4 * needed, given });
    };
    let outcome = Stream::new(front_end, memory).and_then(|mut stream| stream.selftest(features));
    match outcome {
        Err(Error::Check) => Ok(false),
        outcome => outcome.map(|()| true).map_err(Failure::Signal),
    }
}
