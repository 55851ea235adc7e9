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
mod machine;

pub use failure::Failure;
pub use machine::{Machine, Room};
