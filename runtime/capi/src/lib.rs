//! The C library of edgepack: what C, C++, and languages that call C use to run packages.
//!
//! `include/edgepack.h` is written by cbindgen from the documentation here, and tested to be current. The rules of
//! this border: pointers are checked for null and alignment, lengths before memory is read; what goes wrong is a
//! [`status::EdgepackStatus`] with a text in memory of the calling thread, so that not even an error allocates; a
//! panic, which would be a mistake of ours, is a status as well; and a session notices when two threads use it at once.

#[cfg(feature = "jni")]
mod jni;
mod model;
mod session;
mod status;
#[cfg(test)]
mod tests;

use std::ffi::c_char;

/// The version of this interface: greater where functions or fields of structures have been added at their end.
/// What a program was compiled with must not be greater than `edgepack_abi_version()`.
pub const EDGEPACK_ABI_VERSION: u32 = 1;

/// The version of the interface that the library has, for a program that was compiled with another header.
#[unsafe(no_mangle)]
pub extern "C" fn edgepack_abi_version() -> u32 {
    EDGEPACK_ABI_VERSION
}

/// The version of edgepack, as "0.1.0"; never NULL, never freed.
#[unsafe(no_mangle)]
pub extern "C" fn edgepack_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}
