//! What makes a function a program.

/// A program of a function that never returns: where a processor starts, and where it ends when it panics or faults.
/// With an operating system it is one that says how to build it.
#[macro_export]
macro_rules! program {
    ($main:path) => {
        #[cfg(target_os = "none")]
        mod start {
            #[cfg_attr(target_arch = "arm", cortex_m_rt::entry)]
            #[cfg_attr(target_arch = "riscv32", riscv_rt::entry)]
            fn main() -> ! {
                $main()
            }

            #[panic_handler]
            fn panic(info: &core::panic::PanicInfo) -> ! {
                $crate::board::fail(format_args!("{info}"))
            }

            /// Whatever the processor faults at: most likely a stack that has left its memory.
            #[cfg(target_arch = "arm")]
            #[unsafe(no_mangle)]
            extern "C" fn HardFault() -> ! {
                $crate::board::fault()
            }

            /// See above.
            #[cfg(target_arch = "riscv32")]
            #[unsafe(no_mangle)]
            extern "C" fn ExceptionHandler() -> ! {
                $crate::board::fault()
            }
        }

        #[cfg(not(target_os = "none"))]
        fn main() -> std::process::ExitCode {
            eprintln!(
                "error: this program is for boards without an operating system; build it with\n  cargo build \
                 --profile firmware -p edgepack-mcu --target thumbv7em-none-eabihf\nas the first lines of its source \
                 tell"
            );
            std::process::ExitCode::from(2)
        }
    };
}
