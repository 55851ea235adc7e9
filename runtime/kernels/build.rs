//! Tells the crate whether its target promises the DSP extension of ARMv7E-M and ARMv8-M, since stable Rust does not
//! (`cfg(target_feature = "dsp")` is unstable), and how floats are rounded to integers: by VFP's
//! instruction for it, or without floats.

/// Processors on which it is optional in the architecture, and there.
const PROCESSORS: [&str; 5] = ["cortex-m33", "cortex-m35p", "cortex-m52", "cortex-m55", "cortex-m85"];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(edgepack_dsp)");
    println!("cargo::rustc-check-cfg=cfg(edgepack_armv8m)");
    println!("cargo::rustc-check-cfg=cfg(edgepack_vcvtr)");
    println!("cargo::rustc-check-cfg=cfg(edgepack_soft_float)");
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let target = variable("TARGET");
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    // Whether a codegen option has a value that is so.
    let says = |option: &str, is_so: &dyn Fn(&str) -> bool| {
        let mut flags = flags.split('\x1f').map(|flag| flag.trim_start_matches("-C").trim_start());
        flags.any(|flag| flag.split_once('=').is_some_and(|(name, value)| name == option && is_so(value)))
    };
    let has_feature = |name: &str| says("target-feature", &|list| list.split(',').any(|part| part == name));
    // Of ARMv8-M the build says by `-C target-cpu=cortex-m33` or `-C target-feature=+dsp` what it is for. With
    // `-C target-feature=-dsp` there are the scalar rows instead, which the others are compared with.
    let is_promised = target.starts_with("thumbv7em-")
        || (target.starts_with("thumbv8m.main-")
            && (has_feature("+dsp") || says("target-cpu", &|name| PROCESSORS.contains(&name))));
    if is_promised && !has_feature("-dsp") {
        println!("cargo::rustc-cfg=edgepack_dsp");
    }
    if target.starts_with("thumbv8m.") {
        println!("cargo::rustc-cfg=edgepack_armv8m");
    }
    // Where there is NEON beside VFP, requantization is by NEON, and what it leaves is rare.
    if target.starts_with("thumbv") && target.ends_with("-none-eabihf") {
        println!("cargo::rustc-cfg=edgepack_vcvtr");
    }
    let riscv = target.strip_prefix("riscv32").and_then(|rest| rest.split('-').next());
    let riscv_without_floats = riscv.is_some_and(|extensions| !extensions.contains(['f', 'g']));
    let thumb_without_floats = target.starts_with("thumbv") && target.ends_with("-none-eabi");
    if thumb_without_floats || (riscv_without_floats && target.contains("-none")) {
        println!("cargo::rustc-cfg=edgepack_soft_float");
    }
}
