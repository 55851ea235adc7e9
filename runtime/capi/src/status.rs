//! What functions return, and the text of what went wrong.

use std::cell::UnsafeCell;
use std::ffi::c_char;
use std::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use edgepack_engine::{Error, RunError};

/// What a function returns: 0 for success. Codes may be added; they do not change.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgepackStatus {
    /// Done.
    Ok = 0,
    /// An argument is NULL that must not be, misaligned, beyond a number of inputs or outputs, or of another
    /// length, type or value than the package takes.
    Argument = 1,
    /// The file could not be read.
    Io = 2,
    /// The bytes are no valid package of this version.
    Package = 3,
    /// The package needs what this build of the library does not have.
    Unsupported = 4,
    /// The environment variable EDGEPACK_ISA names something else than instruction sets.
    Environment = 5,
    /// The system gave no more threads.
    Threads = 6,
    /// The self-test gave other outputs than the workstation has: package or library are damaged.
    Selftest = 7,
    /// A step could not be run on these values (islands only).
    Run = 8,
    /// Another thread is using the session.
    Busy = 9,
    /// A mistake in edgepack: please report it. The session is to be freed.
    Internal = 10,
}

/// Why a function did not do what it was asked to.
#[derive(Debug)]
pub(crate) enum Failure {
    Null(&'static str),
    Misaligned(&'static str),
    #[cfg(not(unix))]
    NotUtf8(&'static str),
    Type(u32),
    Index {
        index: usize,
        count: usize,
    },
    Length {
        what: &'static str,
        needed: usize,
        given: usize,
    },
    Busy,
    Engine(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl Failure {
    fn status(&self) -> EdgepackStatus {
        match self {
            Self::Busy => EdgepackStatus::Busy,
            Self::Engine(error) => match error {
                Error::Io { .. } => EdgepackStatus::Io,
                Error::Package { .. } => EdgepackStatus::Package,
                Error::Bind(_) | Error::NoIslands { .. } | Error::Island { .. } => {
                    EdgepackStatus::Unsupported
                }
                Error::Isa { .. } => EdgepackStatus::Environment,
                Error::Spawn(_) => EdgepackStatus::Threads,
                Error::Golden { .. } => EdgepackStatus::Selftest,
                Error::IslandRun { .. } | Error::Run(RunError::Island { .. }) => EdgepackStatus::Run,
                Error::Run(RunError::Arena { .. } | RunError::Alignment | RunError::Step { .. }) => {
                    EdgepackStatus::Internal
                }
                Error::Threads { .. } | Error::Run(_) => EdgepackStatus::Argument,
                _ => EdgepackStatus::Internal,
            },
            _ => EdgepackStatus::Argument,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null(what) => write!(f, "`{what}` is NULL"),
            Self::Misaligned(what) => write!(f, "`{what}` is not aligned to its elements"),
            #[cfg(not(unix))]
            Self::NotUtf8(what) => write!(f, "`{what}` is not UTF-8"),
            Self::Type(code) => write!(f, "`type` is {code}, which is no edgepack_type"),
            Self::Index { index, count } => write!(f, "`index` is {index}, but the package has {count}"),
            Self::Length { what, needed, given } => write!(f, "`{what}` is {given}, {needed} are needed"),
            Self::Busy => f.write_str("another thread is using this session: give each thread its own"),
            // The engine's text has the command line's flag.
            Self::Engine(Error::Threads { threads, most }) => {
                write!(f, "`threads` is {threads}, at most {most} are taken")
            }
            Self::Engine(Error::Spawn(error)) => {
                write!(f, "the system starts no more threads ({error}): ask for fewer `threads`")
            }
            Self::Engine(error) => write!(f, "{error}"),
        }
    }
}

/// Runs the body of a function of the interface. A panic ends here: unwinding into C is undefined.
pub(crate) fn guarded(work: impl FnOnce() -> Result<(), Failure>) -> EdgepackStatus {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => EdgepackStatus::Ok,
        Ok(Err(failure)) => {
            set_last_error(format_args!("{failure}"));
            failure.status()
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref().copied()).unwrap_or("a panic");
            set_last_error(format_args!("a mistake in edgepack, please report it: {text}"));
            // What was thrown could panic again when it is dropped.
            std::mem::forget(panic);
            EdgepackStatus::Internal
        }
    }
}

/// Longer texts are cut.
const TEXT_BYTES: usize = 1024;

thread_local! {
    static LAST_ERROR: UnsafeCell<[u8; TEXT_BYTES]> = const { UnsafeCell::new([0; TEXT_BYTES]) };
}

/// Writes as much as fits before a 0, and whole characters only.
struct Text<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            // 0 would end the text for C; names in packages may have any character.
            let character = if character == '\0' { '?' } else { character };
            let end = self.len + character.len_utf8();
            if end >= self.bytes.len() {
                return Err(fmt::Error);
            }
            character.encode_utf8(&mut self.bytes[self.len..end]);
            self.len = end;
        }
        Ok(())
    }
}

fn set_last_error(message: fmt::Arguments<'_>) {
    LAST_ERROR.with(|memory| {
        // SAFETY: the memory is this thread's own, no other reference to it is alive: this function makes the only
        // ones and formats nothing that could call it. C reads it only between calls, as documented.
        let bytes = unsafe { &mut *memory.get() };
        let mut text = Text { bytes, len: 0 };
        // An error is a text that was cut.
        let _ = text.write_fmt(message);
        let len = text.len;
        bytes[len] = 0;
    });
}

/// What went wrong in the last call on this thread that did not succeed, in UTF-8; "" where there was none. Never
/// NULL; valid until the next call on this thread that does not succeed.
#[unsafe(no_mangle)]
pub extern "C" fn edgepack_last_error() -> *const c_char {
    LAST_ERROR.with(|memory| memory.get().cast_const().cast())
}

/// A reference to what a handle of the application points to.
///
/// # Safety
/// `pointer` is NULL, or points to a live `T` that nobody changes meanwhile.
pub(crate) unsafe fn shared<'a, T>(pointer: *const T, what: &'static str) -> Result<&'a T, Failure> {
    // SAFETY: the caller's promise; null is `None`.
    unsafe { pointer.as_ref() }.ok_or(Failure::Null(what))
}

/// Writes a result to where the application wants it.
///
/// # Safety
/// `place` is NULL, or valid for a write of a `T`.
pub(crate) unsafe fn write<T>(place: *mut T, value: T, what: &'static str) -> Result<(), Failure> {
    check(place, what)?;
    // SAFETY: not null and aligned, as was checked; the rest is the caller's promise.
    unsafe { place.write(value) };
    Ok(())
}

/// Whether a pointer is not NULL, and aligned.
pub(crate) fn check<T>(pointer: *const T, what: &'static str) -> Result<(), Failure> {
    match pointer {
        _ if pointer.is_null() => Err(Failure::Null(what)),
        _ if !pointer.is_aligned() => Err(Failure::Misaligned(what)),
        _ => Ok(()),
    }
}
