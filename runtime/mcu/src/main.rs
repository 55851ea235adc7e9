//! The agent of a board without an operating system, for an emulator or a debugger that serves semihosting:
//!
//! ```sh
//! cargo build --profile firmware -p edgepack-mcu --target thumbv7em-none-eabihf
//! ```
#![cfg_attr(target_os = "none", no_std, no_main)]

edgepack_mcu::program!(edgepack_mcu::board::main);
