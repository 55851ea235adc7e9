//! What an agent needs of the machine that it runs on.

use core::fmt;

use crate::Failure;

/// A piece of memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Where it starts.
    pub address: usize,
    /// Its size.
    pub bytes: usize,
}

/// A machine: its memory, files of its host, and a line to print on.
///
/// For implementers: nothing may be allocated; files end with the program.
pub trait Machine: fmt::Write {
    /// An open file.
    type File;

    /// The flash behind the program.
    fn free_flash(&self) -> Room;

    /// These bytes of the flash.
    ///
    /// # Errors
    /// [`Failure::Place`]: not all of them are in it.
    fn package(&self, place: Room) -> Result<&'static [u8], Failure<'static>>;

    /// All memory that is free, at a multiple of 64: an arena, and what else a package needs. Called once.
    fn ram(&mut self) -> &'static mut [u8];

    /// Opens a file of the host for reading; gives its size, too.
    ///
    /// # Errors
    /// [`Failure::File`].
    fn open<'a>(&mut self, path: &'a str) -> Result<(Self::File, usize), Failure<'a>>;

    /// Opens an empty file of the host for writing.
    ///
    /// # Errors
    /// [`Failure::File`].
    fn create<'a>(&mut self, path: &'a str) -> Result<Self::File, Failure<'a>>;

    /// Fills `bytes` from a file.
    ///
    /// # Errors
    /// It has fewer.
    fn read(&mut self, file: &mut Self::File, bytes: &mut [u8]) -> Result<(), Failure<'static>>;

    /// Appends to a file.
    ///
    /// # Errors
    /// The host's disk is full, or another reason of its.
    fn write(&mut self, file: &mut Self::File, bytes: &[u8]) -> Result<(), Failure<'static>>;

    /// Does some work; gives the bytes of stack that it took, beyond what was taken when it started.
    fn stack_of<R>(&mut self, work: impl FnOnce() -> R) -> (R, usize);
}
