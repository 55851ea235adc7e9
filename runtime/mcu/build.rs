//! Links the programs for a board: cortex-m-rt and riscv-rt bring `link.x`, which includes `memory.x`, and that is the
//! memory map of the boards that QEMU has for the target. Examples get the model that `EDGEPACK_MODEL` names.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=memory");
    let variable = |name| std::env::var(name).unwrap_or_default();
    let triple = variable("TARGET");
    println!("cargo::rustc-env=EDGEPACK_ARCH={}", triple.split('-').next().unwrap_or_default());
    if variable("CARGO_CFG_TARGET_OS") != "none" {
        return;
    }
    let map = match variable("CARGO_CFG_TARGET_ARCH").as_str() {
        "arm" => include_str!("memory/mps2.x"),
        _ => include_str!("memory/virt.x"),
    };
    let folder = variable("OUT_DIR");
    std::fs::write(Path::new(&folder).join("memory.x"), map).expect("cargo's OUT_DIR can be written");
    // A module's path is a literal, or examples would name this one themselves.
    println!("cargo::rerun-if-env-changed=EDGEPACK_MODEL");
    let module = variable("EDGEPACK_MODEL");
    let include = if Path::new(&module).is_absolute() {
        format!("#[path = {module:?}]\nmod model;\n")
    } else {
        r#"compile_error!("set EDGEPACK_MODEL=$PWD/NAME.rs, which `edgepack pack … -o NAME.epk --header` writes");"#.into()
    };
    std::fs::write(Path::new(&folder).join("model.rs"), include).expect("cargo's OUT_DIR can be written");
    println!("cargo::rustc-link-search={folder}");
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    println!("cargo::rustc-link-arg-examples=-Tlink.x");
}
