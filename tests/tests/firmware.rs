//! A program for a microcontroller, made of `edgepack pack --header` and `edgepack_firmware` as its documentation says:
//! what is in it, and what is not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use edgepack_engine::Model;
use edgepack_packager::header;
use edgepack_tests::{Case, digits, others, root, skip};
use object::{Object, ObjectSection, ObjectSymbol};

const TARGET: &str = "thumbv7em-none-eabihf";

/// What the runtime and a model's kernels may take of the flash, the hash and the self-test included: of the tasks of
/// MLPerf Tiny, and of the bundled model, which has six operations.
const MOST_CODE_BYTES: u64 = 40 * 1024;
const MOST_CODE_BYTES_OF_DIGITS: u64 = 42 * 1024;

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

/// The class of a sample, or the number of an error from 1000 on.
#[unsafe(no_mangle)]
pub extern "C" fn start(sample: &[f32; ELEMS]) -> u32 {
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

fn run(sample: &[f32]) -> Result<u32, ModelError> {
    let loaded = model::Model::from_flash(&model::PACKAGE.0)?;
    // SAFETY: the only borrow: nothing calls `start` but the reset handler.
    let arena = unsafe { &mut *ARENA.0.get() };
    let mut session = loaded.session(&mut arena.0)?;
    session.selftest()?;
    let mut best = (0, f32::MIN);
    if let OutputData::F32(values) = session.infer(InputData::F32(sample))? {
        for (class, &value) in values.iter().enumerate() {
            if value > best.1 {
                best = (class as u32, value);
            }
        }
    }
    Ok(best.0)
}
"#;

/// A project in a folder of its own, and its target folder, which all share.
struct Project {
    folder: PathBuf,
    name: &'static str,
}

impl Project {
    /// `None` where the target's standard library is not there.
    fn new(case: &Case) -> Option<Self> {
        let rustc =
            Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output().unwrap();
        if !Path::new(String::from_utf8_lossy(&rustc.stdout).trim()).is_dir() {
            skip(case.name, &format!("there is no standard library of {TARGET}"));
            return None;
        }
        let folder = target().join(case.name);
        std::fs::create_dir_all(folder.join("src")).unwrap();
        case.pack(&folder);
        let package = folder.join(format!("{}.epk", case.name));
        header::write(&package, &Model::open(&package).unwrap().package()).unwrap();
        let firmware = root().join("runtime/firmware");
        let project = Self { folder, name: case.name };
        let write = |file: &str, text: String| std::fs::write(project.folder.join(file), text).unwrap();
        write("Cargo.toml", MANIFEST.replace("FIRMWARE", firmware.to_str().unwrap()));
        write("src/main.rs", PROGRAM.replace("MODULE", &format!("../{}.rs", case.name)));
        // The versions of the workspace, which are there.
        std::fs::copy(root().join("Cargo.lock"), project.folder.join("Cargo.lock")).unwrap();
        Some(project)
    }

    fn cargo(&self, command: &str) -> Output {
        Command::new("cargo")
            .args([command, "--release", "--offline", "--quiet", "--target", TARGET])
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", target().join("build"))
            // Without start-up code: what is looked at is all else.
            .env("RUSTFLAGS", "-C link-arg=--entry=start")
            .output()
            .unwrap()
    }

    fn build(&self) -> Vec<u8> {
        let output = self.cargo("build");
        assert!(output.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&output.stderr));
        std::fs::read(target().join(format!("build/{TARGET}/release/firmware"))).unwrap()
    }
}

fn target() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("firmware"))
}

fn examine(case: &Case) {
    let Some(project) = Project::new(case) else { return };
    let elf = project.build();
    let file = object::File::parse(&elf[..]).unwrap();
    let names: BTreeSet<&str> = file.symbols().filter_map(|symbol| symbol.name().ok()).collect();
    assert!(names.contains("start"), "{names:?}");
    // Parts of mangled names.
    for (what, parts) in [
        (
            "panics",
            &["9panicking", "rust_begin_unwind", "13unwrap_failed", "13expect_failed", "index_fail"][..],
        ),
        ("formats", &["core3fmt"]),
        ("allocates", &["__rust_alloc", "__rust_no_alloc", "__rg_alloc"]),
        ("computes in f64", &["__aeabi_dadd", "__aeabi_dmul", "__aeabi_ddiv", "adddf3", "muldf3", "divdf3"]),
    ] {
        let found: Vec<_> =
            names.iter().filter(|name| parts.iter().any(|part| name.contains(part))).collect();
        assert!(found.is_empty(), "{}: the program {what}: {found:?}", case.name);
    }
    let bytes = |name: &str| file.section_by_name(name).map_or(0, |section| section.size());
    let package = std::fs::metadata(project.folder.join(format!("{}.epk", case.name))).unwrap().len();
    let (text, constants) = (bytes(".text"), bytes(".rodata") - package);
    println!("{}: {text} bytes of code, {constants} of constants, a package of {package}", case.name);
    let most = if case.name == "digits" { MOST_CODE_BYTES_OF_DIGITS } else { MOST_CODE_BYTES };
    assert!(text + constants <= most, "{}: {text} + {constants} bytes", case.name);
    // Statics are the arena alone.
    let head = Model::open(project.folder.join(format!("{}.epk", case.name))).unwrap().package().head();
    let statics = bytes(".data") + bytes(".bss");
    assert!(statics <= u64::from(head.arena_bytes).next_multiple_of(64), "{}: {statics} bytes", case.name);
}

/// One after the other: they share the folder of what cargo builds.
#[test]
fn a_program_has_the_code_of_its_model_and_nothing_that_panics_formats_or_allocates() {
    examine(&digits());
    // Of the tasks of MLPerf Tiny.
    let tiny = |case: &Case| ["kws_dscnn", "resnet8_cifar10", "vww_mobilenetv1_025"].contains(&case.name);
    others().iter().filter(|case| tiny(case) && case.is_there()).for_each(examine);

    // A package that is not the one of the module.
    let Some(project) = Project::new(&digits()) else { return };
    let module = project.folder.join("digits.rs");
    let text = std::fs::read_to_string(&module).unwrap();
    let hash = text.find("HASH: [u8; 32] = [").unwrap();
    let byte = hash + text[hash..].find("0x").unwrap() + 3;
    let digit = if &text[byte..=byte] == "0" { "1" } else { "0" };
    std::fs::write(&module, format!("{}{digit}{}", &text[..byte], &text[byte + 1..])).unwrap();
    let output = project.cargo("build");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && errors.contains("not the one that this header was written with"),
        "{errors}"
    );
}
