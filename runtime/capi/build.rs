//! Gives the shared library a name of its interface's version (soname), by which Linux loads it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name| std::env::var(name).unwrap_or_default();
    // Android has no versions of libraries: they are part of an app.
    if variable("CARGO_CFG_TARGET_OS") == "linux" {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libedgepack.so.0");
    }
}
