//! The machine of the bare-metal targets: memory as `memory/*.x` lays it out, and the host behind semihosting.

use core::ffi::CStr;
use core::fmt::{self, Write as _};

use semihosting::experimental::env;
use semihosting::fs;
use semihosting::io::{Read as _, Stdout, Write as _, stdout};
use semihosting::process;

use crate::args::Args;
use crate::{Failure, Machine, Room, agent};

/// Bytes of the longest command line.
pub(crate) const LINE: usize = 1024;

/// Runs the agent on the words that the host gives, and ends.
pub fn main() -> ! {
    let (Ok(line), Ok(stdout)) = (env::args::<LINE>(), stdout()) else {
        // There is nobody to tell.
        process::exit(2)
    };
    let mut words = &line;
    // The first word is the program's name.
    let words = core::iter::from_fn(|| words.next()?.ok()).skip(1);
    let outcome = Args::parse(words).and_then(|args| agent::run(&mut Board::new(stdout, &args), &args));
    match outcome {
        Ok(true) => process::exit(0),
        Ok(false) => process::exit(1),
        Err(failure) => fail(format_args!("{failure}")),
    }
}

/// Tells the host what is wrong, and ends with 2.
pub fn fail(message: fmt::Arguments<'_>) -> ! {
    if let Ok(stdout) = stdout() {
        let _ = writeln!(Line { stdout }, "error: {message}");
    }
    process::exit(2)
}

/// Ends after a fault of the processor, without the stack, which may be what is wrong.
pub fn fault() -> ! {
    process::exit(3)
}

// The linker's symbols: their addresses are what they say.
unsafe extern "C" {
    static mut _flash_start: u8;
    static mut _flash_end: u8;
    static mut _stack_end: u8;
    static mut _ram_end: u8;
    // Where the values of variables lie in flash, which is the last of the program there; the variables' place.
    static mut __sidata: u8;
    static mut __sdata: u8;
    static mut __edata: u8;
    // Behind the last variable.
    static mut __sheap: u8;
}

struct Line {
    stdout: Stdout,
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.stdout.write_all(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

struct Board {
    line: Line,
    flash: Room,
    ram: Room,
}

impl Board {
    fn new(stdout: Stdout, args: &Args<'_>) -> Self {
        let between = |start: *mut u8, end: *mut u8| Room {
            address: start.addr(),
            bytes: end.addr().saturating_sub(start.addr()),
        };
        let flash = args.flash.unwrap_or_else(|| between(&raw mut _flash_start, &raw mut _flash_end));
        let ram = args.ram.unwrap_or_else(|| between(&raw mut _stack_end, &raw mut _ram_end));
        Self { line: Line { stdout }, flash, ram }
    }
}

impl fmt::Write for Board {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.line.write_str(text)
    }
}

/// A path as semihosting wants it: with a zero behind it.
fn with_zero(path: &str, buffer: &mut [u8; LINE]) -> Option<()> {
    buffer.get_mut(..path.len())?.copy_from_slice(path.as_bytes());
    *buffer.get_mut(path.len())? = 0;
    Some(())
}

fn with_path<'a, T>(
    path: &'a str,
    open: impl FnOnce(&CStr) -> semihosting::io::Result<T>,
) -> Result<T, Failure<'a>> {
    let mut buffer = [0; LINE];
    with_zero(path, &mut buffer).ok_or(Failure::File(path))?;
    let name = CStr::from_bytes_until_nul(&buffer).map_err(|_| Failure::File(path))?;
    open(name).map_err(|_| Failure::File(path))
}

/// Opens a file of the host for reading.
pub(crate) fn open(path: &str) -> Result<fs::File, Failure<'_>> {
    with_path(path, |name| fs::File::open(name))
}

impl Machine for Board {
    type File = fs::File;

    fn free_flash(&self) -> Room {
        let variables = (&raw mut __edata).addr() - (&raw mut __sdata).addr();
        let program =
            ((&raw mut __sidata).addr() + variables - (&raw mut _flash_start).addr()).next_multiple_of(64);
        // Where the flash is seen from 0 on, it starts elsewhere.
        Room { address: self.flash.address + program, bytes: self.flash.bytes.saturating_sub(program) }
    }

    fn package(&self, place: Room) -> Result<&'static [u8], Failure<'static>> {
        let free = self.free_flash();
        let failure = Failure::Place { given: place, free };
        let offset = place.address.checked_sub(free.address).ok_or(failure)?;
        if place.bytes > free.bytes.checked_sub(offset).ok_or(failure)? {
            return Err(failure);
        }
        let start = core::ptr::with_exposed_provenance(place.address);
        // SAFETY: the bytes lie in the flash behind the program, as was just seen; that there is memory is what the
        // memory map says, or who started the emulator. Nobody writes there.
        Ok(unsafe { core::slice::from_raw_parts(start, place.bytes) })
    }

    fn ram(&mut self) -> &'static mut [u8] {
        let start = (&raw mut __sheap).addr().next_multiple_of(64);
        let bytes = (self.ram.address + self.ram.bytes).saturating_sub(start);
        // Taken once.
        self.ram.bytes = 0;
        let start: *mut u8 = core::ptr::with_exposed_provenance_mut(start);
        // SAFETY: from behind the program's variables to the end of the RAM there is nothing else: the stack is below
        // them, and there is no heap. It is given away once. A slice wants memory with values in it, so it gets them.
        unsafe {
            start.write_bytes(0, bytes);
            core::slice::from_raw_parts_mut(start, bytes)
        }
    }

    fn open<'a>(&mut self, path: &'a str) -> Result<(fs::File, usize), Failure<'a>> {
        let file = open(path)?;
        let length = file.metadata().map_err(|_| Failure::File(path))?.len();
        Ok((file, length.try_into().map_err(|_| Failure::File(path))?))
    }

    fn create<'a>(&mut self, path: &'a str) -> Result<fs::File, Failure<'a>> {
        with_path(path, |name| fs::File::create(name))
    }

    fn read(&mut self, file: &mut fs::File, bytes: &mut [u8]) -> Result<(), Failure<'static>> {
        file.read_exact(bytes).map_err(|_| Failure::Io)
    }

    fn write(&mut self, file: &mut fs::File, bytes: &[u8]) -> Result<(), Failure<'static>> {
        file.write_all(bytes).map_err(|_| Failure::Io)
    }

    #[inline(never)]
    fn stack_of<R>(&mut self, work: impl FnOnce() -> R) -> (R, usize) {
        let mut here = 0_u32;
        let here = (&raw mut here).addr();
        let end: *mut u32 = (&raw mut _stack_end).cast();
        // What this function itself and `paint` have below `here`.
        let top = (here - FRAME - end.addr()) / size_of::<u32>();
        paint(end, top);
        let outcome = work();
        let untouched = untouched(end, top);
        if untouched == 0 {
            fail(format_args!("the stack of {} bytes is too small for this package", here - end.addr()));
        }
        (outcome, here - (end.addr() + untouched * size_of::<u32>()))
    }
}

/// Bytes of the stack below a function's variables that may be in use while it paints.
const FRAME: usize = 512;

/// What no program is likely to have in so many places.
const PAINT: u32 = 0xc5c5_5c5c;

#[inline(never)]
fn paint(end: *mut u32, words: usize) {
    for index in 0..words {
        // SAFETY: from the stack's end on there are more than `words` words that lie below everything that is in use,
        // by `FRAME` at least, and only the stack is there.
        unsafe { end.add(index).write_volatile(PAINT) };
    }
}

/// Words that still have the paint, from the stack's end on.
#[inline(never)]
fn untouched(end: *mut u32, words: usize) -> usize {
    // SAFETY: as in `paint`, which has written them.
    let is_painted = |index: &usize| unsafe { end.add(*index).read_volatile() } == PAINT;
    (0..words).take_while(is_painted).count()
}
