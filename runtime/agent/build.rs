//! Leaves out of the agent what only unwinding reads.
//!
//! `-C force-unwind-tables=no`, which rustc takes only where a panic aborts, is for the crates that are compiled: the
//! standard library and the C library come with their tables, of 117 kB on AArch64. Here the same is said to GNU's
//! linker.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=without-unwinding.ld");
    println!("cargo::rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    let variable = |name| std::env::var(name).unwrap_or_default();
    let never_unwinds = variable("CARGO_ENCODED_RUSTFLAGS").contains("force-unwind-tables=no");
    let triple = variable("TARGET");
    if never_unwinds && triple == "aarch64-unknown-linux-gnu" {
        let folder = variable("CARGO_MANIFEST_DIR");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{folder}/without-unwinding.ld");
    }
}
