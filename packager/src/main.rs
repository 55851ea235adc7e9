//! The `edgepack` command; everything it does is in the library.

mod cli;

fn main() -> std::process::ExitCode {
    // `edgepack inspect … | head` ends quietly, as other commands do: Rust ignores SIGPIPE otherwise, and
    // printing to a closed pipe would be a panic.
    #[cfg(unix)]
    // SAFETY: no thread was started yet, and the default action needs nothing of this program.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
    cli::main()
}
