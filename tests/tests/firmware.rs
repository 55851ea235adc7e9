//! A program for a microcontroller, made of `edgepack pack --header` and `edgepack_firmware` as its documentation says:
//! what is in it, and what is not.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use edgepack_engine::Model;
use edgepack_engine::format::Operation;
use edgepack_packager::header;
use edgepack_tests::{Case, digits, others, root, skip};
use object::{Object, ObjectSection, ObjectSymbol};

/// The forms of samples that a program takes: f32, which are quantized, pixels, or what it is given for each.
const F32: &str = "Some(0)";
const PIXELS: &str = "Some(1)";
const ANY: &str = "None";

/// With the DSP extension and an FPU, and without either: scalar kernels, requantization in integers.
const CORTEX_M4: &str = "thumbv7em-none-eabihf";
const WITHOUT_FLOATS: [&str; 2] = ["thumbv6m-none-eabi", "riscv32imac-unknown-none-elf"];

/// What the runtime and a model's kernels may take of a Cortex-M4's flash, the hash and the self-test included: of the
/// tasks of MLPerf Tiny, and of the bundled model, which has six operations.
const MOST_CODE_BYTES: u64 = 40 * 1024;

const MANIFEST: &str = r#"
[package]
name = "firmware"
version = "0.0.0"
edition = "2024"

[dependencies]
edgepack-firmware.path = "FIRMWARE"

# What runs once is small, kernels are fast.
[profile.release]
opt-level = "z"
lto = "fat"
codegen-units = 1
panic = "abort"

[profile.release.package.edgepack-kernels]
opt-level = "s"

[workspace]
"#;

const PROGRAM: &str = r#"
#![no_std]
#![no_main]

#[path = "MODULE"]
mod model;

use core::cell::UnsafeCell;
use edgepack_firmware::edgepack_core::{InputData, OutputData};
use edgepack_firmware::{Inference, ModelError};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

struct Memory(UnsafeCell<model::Arena>);
// SAFETY: `start` alone uses it.
unsafe impl Sync for Memory {}
static ARENA: Memory = Memory(UnsafeCell::new(model::Arena::ZEROED));

/// The form of all samples, where it is one.
const FORM: Option<u32> = FORM_OF_SAMPLES;

/// The class of a sample in one of its forms, or the number of an error from 1000 on.
#[unsafe(no_mangle)]
pub extern "C" fn start(form: u32, values: &[f32; ELEMS], pixels: &[u8; ELEMS], int8: &[i8; ELEMS]) -> u32 {
    let sample = match FORM.unwrap_or(form) {
        0 => InputData::F32(values),
        1 => InputData::Pixels(pixels),
        _ => InputData::Quantized(int8),
    };
    match run(sample) {
        Ok(class) => class,
        Err(error) => 1000 + u32::from(error.code()),
    }
}

const ELEMS: usize = {
    let (mut elems, mut axis) = (1, 0);
    while axis < model::INPUTS[0].shape.len() {
        elems *= model::INPUTS[0].shape[axis] as usize;
        axis += 1;
    }
    elems
};

fn run(sample: InputData<'_>) -> Result<u32, ModelError> {
    let loaded = model::Model::from_flash(&model::PACKAGE.0)?;
    // SAFETY: the only borrow: nothing calls `start` but the reset handler.
    let arena = unsafe { &mut *ARENA.0.get() };
    let mut session = loaded.session(&mut arena.0)?;
    session.selftest()?;
    let mut best = (0, f32::MIN);
    if let OutputData::F32(values) = session.infer(sample)? {
        for (class, &value) in values.iter().enumerate() {
            if value > best.1 {
                best = (class as u32, value);
            }
        }
    }
    Ok(best.0)
}
"#;

/// Whether a target's standard library is there.
fn is_installed(target: &str) -> bool {
    let rustc =
        Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output().unwrap();
    let found = Path::new(String::from_utf8_lossy(&rustc.stdout).trim()).is_dir();
    if !found {
        skip("firmware", &format!("there is no standard library of {target}"));
    }
    found
}

/// A project in a folder of its own, and its target folder, which all share.
struct Project {
    folder: PathBuf,
    name: &'static str,
}

impl Project {
    fn new(case: &Case) -> Self {
        let folder = target().join(case.name);
        std::fs::create_dir_all(folder.join("src")).unwrap();
        case.pack(&folder);
        let package = folder.join(format!("{}.epk", case.name));
        header::write(&package, &Model::open(&package).unwrap().package()).unwrap();
        let firmware = root().join("runtime/firmware");
        let project = Self { folder, name: case.name };
        let write = |file: &str, text: String| std::fs::write(project.folder.join(file), text).unwrap();
        write("Cargo.toml", MANIFEST.replace("FIRMWARE", firmware.to_str().unwrap()));
        // The versions of the workspace, which are there.
        std::fs::copy(root().join("Cargo.lock"), project.folder.join("Cargo.lock")).unwrap();
        project
    }

    /// Changes the module that was written with the package.
    fn change_module(&self, change: impl Fn(&str) -> String) {
        let module = self.folder.join(format!("{}.rs", self.name));
        std::fs::write(&module, change(&std::fs::read_to_string(&module).unwrap())).unwrap();
    }

    fn cargo(&self, command: &str, target: &str) -> Output {
        Command::new("cargo")
            .args([command, "--release", "--offline", "--quiet", "--target", target])
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", self::target().join("build"))
            // Without start-up code: what is looked at is all else.
            .env("RUSTFLAGS", "-C link-arg=--entry=start")
            .output()
            .unwrap()
    }

    fn build(&self, target: &str, form: &str) -> Vec<u8> {
        let program = PROGRAM.replace("MODULE", &format!("../{}.rs", self.name));
        std::fs::write(self.folder.join("src/main.rs"), program.replace("FORM_OF_SAMPLES", form)).unwrap();
        let output = self.cargo("build", target);
        assert!(output.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&output.stderr));
        std::fs::read(self::target().join(format!("build/{target}/release/firmware"))).unwrap()
    }

    /// Builds the program and looks for what it must not have; gives the bytes of its code and constants.
    fn examine(&self, what: &str, target: &str, form: &str) -> u64 {
        let elf = self.build(target, form);
        let file = object::File::parse(&elf[..]).unwrap();
        let names: BTreeSet<&str> = file.symbols().filter_map(|symbol| symbol.name().ok()).collect();
        assert!(names.contains("start"), "{names:?}");
        // Parts of mangled names.
        for (does, parts) in [
            (
                "panics",
                &["9panicking", "rust_begin_unwind", "13unwrap_failed", "13expect_failed", "index_fail"][..],
            ),
            ("formats", &["core3fmt"]),
            ("allocates", &["__rust_alloc", "__rust_no_alloc", "__rg_alloc"]),
            (
                "computes in f64",
                &["__aeabi_dadd", "__aeabi_dmul", "__aeabi_ddiv", "adddf3", "muldf3", "divdf3"],
            ),
        ] {
            let found: Vec<_> =
                names.iter().filter(|name| parts.iter().any(|part| name.contains(part))).collect();
            assert!(found.is_empty(), "{what} on {target}: the program {does}: {found:?}");
        }
        let bytes = |name: &str| file.section_by_name(name).map_or(0, |section| section.size());
        let package = self.folder.join(format!("{}.epk", self.name));
        let package_bytes = std::fs::metadata(&package).unwrap().len();
        let (text, constants) = (bytes(".text"), bytes(".rodata") - package_bytes);
        // Past the capture of test output, which is not shown where a test succeeds.
        let _ = writeln!(
            std::io::stderr(),
            "{what} on {target}: {text} bytes of code, {constants} of constants, a package of {package_bytes}"
        );
        // Statics are the arena alone.
        let head = Model::open(&package).unwrap().package().head();
        let statics = bytes(".data") + bytes(".bss");
        assert!(
            statics <= u64::from(head.arena_bytes).next_multiple_of(64),
            "{what} on {target}: {statics} bytes"
        );
        text + constants
    }
}

fn target() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("firmware"))
}

/// What the steps of an int8 package do: not those in f32, which are there where somebody asks for them.
const INT8: [Operation; 16] = [
    Operation::Conv,
    Operation::Binary,
    Operation::Lookup,
    Operation::Pool,
    Operation::Softmax,
    Operation::Fill,
    Operation::Copy,
    Operation::MatMul,
    Operation::LayerNorm,
    Operation::Recurrent,
    Operation::Convert,
    Operation::Gather,
    Operation::Scatter,
    Operation::TopK,
    Operation::NonMaxSuppression,
    Operation::Depthwise,
];

/// A module whose program has all of these.
fn of_int8_operations(module: &str) -> String {
    let (before, rest) = module.split_once("pub Operations: ").unwrap();
    let (_, after) = rest.split_once('\n').unwrap();
    format!("{before}pub Operations: {}\n{after}", INT8.map(Operation::name).join(", "))
}

/// One after the other: they share the folder of what cargo builds.
#[test]
fn a_program_has_the_code_of_its_model_and_nothing_that_panics_formats_or_allocates() {
    let bundled = Project::new(&digits());
    let fits = |project: &Project| {
        let form = if project.name == "vww_mobilenetv1_025" { PIXELS } else { F32 };
        let bytes = project.examine(project.name, CORTEX_M4, form);
        assert!(bytes <= MOST_CODE_BYTES, "{}: {bytes} bytes", project.name);
    };
    let has_cortex_m4 = is_installed(CORTEX_M4);
    if has_cortex_m4 {
        fits(&bundled);
        // Of the tasks of MLPerf Tiny.
        let tiny =
            |case: &&Case| ["kws_dscnn", "resnet8_cifar10", "vww_mobilenetv1_025"].contains(&case.name);
        others()
            .iter()
            .filter(tiny)
            .filter(|case| case.is_there())
            .for_each(|case| fits(&Project::new(case)));
    }
    let without_floats: Vec<&str> =
        WITHOUT_FLOATS.into_iter().filter(|target| is_installed(target)).collect();
    for target in &without_floats {
        bundled.examine(bundled.name, target, F32);
    }

    // What the model does not need is linked all the same.
    let module = std::fs::read_to_string(bundled.folder.join("digits.rs")).unwrap();
    bundled.change_module(of_int8_operations);
    for target in has_cortex_m4.then_some(CORTEX_M4).into_iter().chain(without_floats) {
        bundled.examine("every int8 operation and form of samples", target, ANY);
    }

    // A package that is not the one of the module.
    let hash = module.find("HASH: [u8; 32] = [").unwrap();
    let byte = hash + module[hash..].find("0x").unwrap() + 3;
    let digit = if &module[byte..=byte] == "0" { "1" } else { "0" };
    bundled.change_module(|_| format!("{}{digit}{}", &module[..byte], &module[byte + 1..]));
    if has_cortex_m4 {
        let output = bundled.cargo("build", CORTEX_M4);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && errors.contains("not the one that this header was written with"),
            "{errors}"
        );
    }
}
