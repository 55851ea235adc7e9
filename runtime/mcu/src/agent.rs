//! Runs, counts and self-tests a package that lies in flash; prints one line of JSON, as the Linux agent does.

use core::fmt;
use core::mem::{align_of, size_of};

use bytemuck::try_cast_slice;
use edgepack_core::format::{Package, SeededBytes};
use edgepack_core::kernels::isa::IsaToken;
use edgepack_core::{BoundStep, InputData, Program, RunError, bind, requirements};

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
    let mut model = Model::load(machine, place)?;
    match args.command {
        Command::Info => {
            let board = Board { flash: machine.free_flash(), ram: model.ram_bytes };
            let (arena, packed) = (model.arena_bytes, model.program.packed.len());
            let isa = isa();
            let stack = model.stack_bytes;
            print(
                machine,
                format_args!(
                    "{board},{isa},\"arena_bytes\":{arena},\"packed_bytes\":{packed},\"stack_bytes\":{stack}"
                ),
            )?;
        }
        Command::Run => run_samples(machine, &mut model, args)?,
        Command::Bench => bench(machine, &mut model, args)?,
        Command::Selftest => return selftest(machine, &mut model),
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

/// The kernels' instruction sets: those that this build is for.
fn token() -> IsaToken {
    IsaToken::of_build()
}

/// They as a field of JSON.
fn isa() -> impl fmt::Display {
    struct Isa;
    impl fmt::Display for Isa {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "\"isa\":\"{}\"", token().set())
        }
    }
    Isa
}

fn print(machine: &mut impl Machine, fields: fmt::Arguments<'_>) -> Result<(), Failure<'static>> {
    // Nothing that is printed has a character that JSON would escape.
    writeln!(machine, "{{{fields}}}").map_err(|_| Failure::Io)
}

/// A package in memory, ready to run.
struct Model {
    program: Program<'static, 'static>,
    arena: &'static mut [u8],
    /// What is left, at a multiple of 64: for a sample.
    spare: &'static mut [u8],
    arena_bytes: usize,
    /// All that the board has.
    ram_bytes: usize,
    /// The most that loading, and later runs, took of the stack.
    stack_bytes: usize,
}

impl Model {
    fn load(machine: &mut impl Machine, place: Room) -> Result<Self, Failure<'static>> {
        let (bytes, ram) = (machine.package(place)?, machine.ram());
        let (model, stack_bytes) = machine.stack_of(|| Self::bind(bytes, ram));
        Ok(Self { stack_bytes, ..model? })
    }

    fn bind(bytes: &'static [u8], ram: &'static mut [u8]) -> Result<Self, Failure<'static>> {
        let package = Package::parse(bytes).map_err(Failure::Format)?;
        let (needed, ram_bytes) = (requirements(&package, token()), ram.len());
        let (arena, ram) = take("the arena", ram, needed.arena_bytes)?;
        let (steps, ram) = take("the plan", ram, needed.steps * size_of::<Option<BoundStep<'static>>>())?;
        let (packed, spare) = take("packed weights", ram, needed.packed_bytes)?;
        let steps = unbound(steps);
        bind(&package, token(), steps, packed).map_err(Failure::Bind)?;
        let program = Program { package, steps, packed };
        Ok(Self { program, arena, spare, arena_bytes: needed.arena_bytes, ram_bytes, stack_bytes: 0 })
    }

    /// Runs one sample that lies in the first bytes of `spare`.
    fn run(&mut self, sample_bytes: usize, form: Form) -> Result<(), RunError> {
        let Self { program, arena, spare, .. } = self;
        set_inputs(program, arena, &spare[..sample_bytes], form)?;
        program.run(arena)
    }

    fn run_on_measured_stack(
        &mut self,
        machine: &mut impl Machine,
        sample_bytes: usize,
        form: Form,
    ) -> Result<(), RunError> {
        let (outcome, bytes) = machine.stack_of(|| self.run(sample_bytes, form));
        self.stack_bytes = self.stack_bytes.max(bytes);
        outcome
    }

    /// The bytes of a sample in this form: raw pixels are of the first input alone.
    fn sample_bytes(&self, form: Form) -> Result<usize, Failure<'static>> {
        let inputs = self.program.package.head().inputs;
        if form == Form::U8 && inputs != 1 {
            return Err(Failure::Pixels { inputs });
        }
        let elems = self.program.package.inputs().map(|input| input.dims.elems().unwrap_or(0) as usize);
        let needed = elems.sum::<usize>() * form.bytes();
        match self.spare.len() {
            given if given < needed => Err(Failure::Ram { what: "a sample", needed, given }),
            _ => Ok(needed),
        }
    }
}

/// The first bytes of some memory, and those from the next multiple of 64 on.
fn take(
    what: &'static str,
    ram: &'static mut [u8],
    needed: usize,
) -> Result<(&'static mut [u8], &'static mut [u8]), Failure<'static>> {
    let given = ram.len();
    let split = needed.checked_next_multiple_of(64).and_then(|padded| ram.split_at_mut_checked(padded));
    let (taken, rest) = split.ok_or(Failure::Ram { what, needed, given })?;
    Ok((&mut taken[..needed], rest))
}

/// Memory as places for steps, which no step is in.
fn unbound(memory: &'static mut [u8]) -> &'static mut [Option<BoundStep<'static>>] {
    type Place = Option<BoundStep<'static>>;
    const { assert!(align_of::<Place>() <= 64) };
    let count = memory.len() / size_of::<Place>();
    let places: *mut Place = memory.as_mut_ptr().cast();
    if !places.is_aligned() {
        return &mut [];
    }
    for index in 0..count {
        // SAFETY: `count` places are in `memory`, which is borrowed for good, and they are aligned as was just seen.
        // What was there before is bytes, which need no drop.
        unsafe { places.add(index).write(None) };
    }
    // SAFETY: the same places, each of which has a value now.
    unsafe { core::slice::from_raw_parts_mut(places, count) }
}

fn set_inputs(
    program: &Program<'_, '_>,
    arena: &mut [u8],
    sample: &[u8],
    form: Form,
) -> Result<(), RunError> {
    let mut rest = sample;
    for (index, input) in program.package.inputs().enumerate() {
        let elems = input.dims.elems().unwrap_or(0) as usize;
        let (bytes, after) = rest.split_at(elems * form.bytes());
        rest = after;
        let data = match form {
            // The sample is at a multiple of 64, and so of 4.
            Form::F32 => InputData::F32(try_cast_slice(bytes).unwrap_or(&[])),
            Form::U8 => InputData::Pixels(bytes),
            Form::I8 => InputData::Quantized(try_cast_slice(bytes).unwrap_or(&[])),
        };
        program.set_input(index, data, arena)?;
    }
    Ok(())
}

fn run_samples<'a, M: Machine>(
    machine: &mut M,
    model: &mut Model,
    args: &Args<'a>,
) -> Result<(), Failure<'a>> {
    let (mut file, given) = machine.open(args.input.unwrap_or_default())?;
    let sample = model.sample_bytes(args.form)?;
    if sample == 0 || given == 0 || !given.is_multiple_of(sample) {
        return Err(Failure::Length { given, sample });
    }
    let mut outputs = args.output.map(|path| machine.create(path)).transpose()?;
    for _ in 0..given / sample {
        machine.read(&mut file, &mut model.spare[..sample])?;
        model.run_on_measured_stack(machine, sample, args.form)?;
        if let Some(file) = &mut outputs {
            for index in 0..model.program.package.head().outputs as usize {
                machine.write(file, model.program.output(index, model.arena)?.bytes())?;
            }
        }
    }
    let (samples, isa, stack) = (given / sample, isa(), model.stack_bytes);
    print(machine, format_args!("\"samples\":{samples},{isa},\"stack_bytes\":{stack}"))
}

/// Runs, of which an emulator counts the instructions. Of times it says nothing.
fn bench<'a, M: Machine>(machine: &mut M, model: &mut Model, args: &Args<'a>) -> Result<(), Failure<'a>> {
    let takes_pixels = model.program.package.inputs().next().is_some_and(|input| input.pixels.is_some());
    let form = match args.input {
        Some(_) => args.form,
        None if takes_pixels && model.program.package.head().inputs == 1 => Form::U8,
        None => Form::I8,
    };
    let sample = model.sample_bytes(form)?;
    match args.input {
        Some(path) => {
            let (mut file, given) = machine.open(path)?;
            if given < sample {
                return Err(Failure::Length { given, sample });
            }
            machine.read(&mut file, &mut model.spare[..sample])?;
        }
        None => {
            let random = SeededBytes::new(0);
            model.spare[..sample].iter_mut().zip(random).for_each(|(byte, random)| *byte = random);
        }
    }
    for _ in 0..args.warmup {
        model.run(sample, form)?;
    }
    for _ in 0..args.runs {
        model.run_on_measured_stack(machine, sample, form)?;
    }
    let (arena, stack, isa, runs) = (model.arena_bytes, model.stack_bytes, isa(), args.runs);
    print(
        machine,
        format_args!(
            "\"runs\":{runs},\"arena_bytes\":{arena},\"stack_bytes\":{stack},\"threads\":1,{isa},\"emulated\":true"
        ),
    )
}

fn selftest(machine: &mut impl Machine, model: &mut Model) -> Result<bool, Failure<'static>> {
    let mut wrong = None;
    let mut samples = 0;
    for golden in model.program.package.golden() {
        if model.program.run_golden(golden.input, model.arena)? != golden.output_hash {
            wrong = wrong.or(Some(samples));
        }
        samples += 1;
    }
    let isa = isa();
    match wrong {
        None => print(machine, format_args!("\"passed\":true,\"samples\":{samples},\"message\":\"\",{isa}"))?,
        Some(index) => print(
            machine,
            format_args!(
                "\"passed\":false,\"samples\":{samples},\"message\":\"golden sample {index} has other outputs than \
                 on the workstation\",{isa}"
            ),
        )?,
    }
    Ok(wrong.is_none())
}
