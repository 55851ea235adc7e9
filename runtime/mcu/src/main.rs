//! The agent of a board without an operating system, for an emulator or a debugger that serves semihosting.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod start {
    use edgepack_mcu::board;

    #[cfg_attr(target_arch = "arm", cortex_m_rt::entry)]
    #[cfg_attr(target_arch = "riscv32", riscv_rt::entry)]
    fn main() -> ! {
        board::main()
    }

    #[panic_handler]
    fn panic(info: &core::panic::PanicInfo) -> ! {
        board::fail(format_args!("{info}"))
    }

    /// Whatever the processor faults at: most likely a stack that has left its memory.
    #[cfg(target_arch = "arm")]
    #[unsafe(no_mangle)]
    extern "C" fn HardFault() -> ! {
        board::fault()
    }

    /// See above.
    #[cfg(target_arch = "riscv32")]
    #[unsafe(no_mangle)]
    extern "C" fn ExceptionHandler() -> ! {
        board::fault()
    }
}

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    eprintln!(
        "error: this program is for boards without an operating system; build it with\n  cargo build --profile \
         firmware -p edgepack-mcu --target thumbv7em-none-eabihf"
    );
    std::process::ExitCode::from(2)
}
