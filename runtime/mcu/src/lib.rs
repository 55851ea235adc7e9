//! What edgepack runs on a microcontroller that an emulator stands for: start-up, memory map, and an agent that is
//! driven over semihosting as the Linux agent is over a shell.
//!
//! ```text
//! edgepack run --device qemu:mps2-an386
//!   └ qemu-system-arm -M mps2-an386 -kernel edgepack-mcu -device loader,file=model.epk,addr=…  (what is in flash)
//!       └ agent: words of the semihosting command line, samples and outputs in files of the host, one line of JSON
//! ```
//!
//! Everything that can be tested without a board is a [`agent`] over a [`Machine`]; `board` is the machine of the
//! bare-metal targets: its memory as the linker has laid it out, and semihosting (Arm, "Semihosting for AArch32 and
//! AArch64", and RISC-V's, which is the same by another trap).
#![no_std]

#[cfg(test)]
extern crate std;

pub mod agent;
pub mod args;
#[cfg(target_os = "none")]
pub mod board;
mod failure;
#[cfg(target_os = "none")]
pub mod host;
mod machine;
mod program;

pub use failure::Failure;
pub use machine::{Machine, Room};

/// FNV-1a of 64 bits (Fowler, Noll, Vo): what tells of one bit, in a line of text.
pub fn fnv(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
