//! The header is current. What functions do with wrong arguments, `tests/arguments.c` tries as an application would.

use std::ffi::CStr;
use std::path::Path;

use crate::status::{EdgepackStatus, Failure, edgepack_last_error, guarded};

/// What cbindgen writes is what is committed; `EDGEPACK_HEADER=write` writes it anew.
#[test]
fn the_header_is_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).unwrap();
    let builder = cbindgen::Builder::new().with_src(folder.join("src/lib.rs")).with_config(config);
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    // What Rust calls so are the duties of who calls.
    let header = String::from_utf8(header).unwrap().replace(" * # Safety\n", " * Required:\n");
    let path = folder.join("include/edgepack.h");
    if std::env::var_os("EDGEPACK_HEADER").is_some() {
        std::fs::write(&path, &header).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == header,
        "include/edgepack.h is not what cbindgen writes: EDGEPACK_HEADER=write cargo test -p edgepack-capi"
    );
}

fn last_error() -> String {
    // SAFETY: never null, and ended by a 0; no other call is made before it is copied.
    unsafe { CStr::from_ptr(edgepack_last_error()) }.to_str().unwrap().into()
}

#[test]
fn a_panic_ends_at_the_border_with_its_text() {
    assert_eq!(guarded(|| panic!("oh {}", 1)), EdgepackStatus::Internal);
    assert!(last_error().ends_with("oh 1"), "{}", last_error());
    assert_eq!(guarded(|| Err(Failure::Busy)), EdgepackStatus::Busy);
    assert!(last_error().contains("another thread"));
    assert_eq!(guarded(|| Ok(())), EdgepackStatus::Ok);
    assert!(last_error().contains("another thread"), "success leaves the text");
    std::thread::spawn(|| assert_eq!(last_error(), "")).join().unwrap();
}

#[test]
fn long_texts_are_cut_between_characters() {
    let long = "\0ä".repeat(1000);
    assert_eq!(guarded(|| panic!("{long}")), EdgepackStatus::Internal);
    let text = last_error();
    assert!((1000..1024).contains(&text.len()) && text.ends_with("?ä") | text.ends_with('?'), "{text}");
}
