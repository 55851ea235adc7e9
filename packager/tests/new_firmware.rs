//! `edgepack new-firmware`: its projects build as they are, for every board whose standard library is here, and run under
//! QEMU where that has the board, to the workstation's bits.

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Bench, node, value_info, write_model};
use edgepack_engine::{InputData, Model, OutputData, SessionOptions};
use edgepack_targets::{Board, Boot};
use object::{Object, ObjectSegment};
use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn skip(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {what}: {why}");
}

/// What the project is said to be, made in `folder` of the bench.
fn make(bench: &Bench, words: &[&str]) -> Value {
    let all = [&["new-firmware", "--workspace", ROOT, "--format", "json", "-q"], words].concat();
    serde_json::from_str(&bench.ok(&all)).unwrap()
}

/// Runs cargo in a project; all of them share what they are built of.
fn cargo(project: &Path, words: &[&str]) -> Output {
    let cargo = std::env::var("CARGO").unwrap_or("cargo".into());
    let mut command = Command::new(cargo);
    command.args(words).args(["--release", "--offline", "--quiet"]).current_dir(project);
    // What this test is built by is not for them.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        command.env_remove(name);
    }
    command.env("CARGO_TARGET_DIR", target()).output().unwrap()
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-firmware")
}

fn program(triple: &str) -> Vec<u8> {
    std::fs::read(target().join(triple).join("release/firmware")).unwrap()
}

fn has_standard_library(triple: &str) -> bool {
    let rustc =
        Command::new("rustc").args(["--print", "target-libdir", "--target", triple]).output().unwrap();
    Path::new(String::from_utf8_lossy(&rustc.stdout).trim()).is_dir()
}

/// The words before a program, where they can be run here.
fn runner(made: &Value) -> Option<Vec<String>> {
    let words: Vec<String> = serde_json::from_value(made["runner"].clone()).unwrap();
    let is_here = words[0].starts_with("qemu-system-");
    let is_here = is_here && Command::new(&words[0]).arg("--version").output().is_ok();
    is_here.then_some(words)
}

/// Runs a program, ten seconds at most: what hangs has another exit code.
fn run(runner: &[String], program: &Path) -> (Option<i32>, String) {
    let output = Command::new("timeout").arg("10").args(runner).arg(program).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

/// What the stand-in of a camera sees, and what the package says to it on this machine.
fn seen_here(package: &Path) -> String {
    let model = Model::open(package).unwrap();
    let mut session = model.session(&SessionOptions::default()).unwrap();
    let pixels: Vec<u8> = (0..16 * 16).map(|index| (index % 256) as u8).collect();
    session.set_input(0, InputData::Pixels(&pixels)).unwrap();
    session.run().unwrap();
    let OutputData::F32(values) = session.output(0).unwrap() else { panic!("an output of another type") };
    let greater = |best: (usize, f32), next: (usize, f32)| if next.1 > best.1 { next } else { best };
    let (class, value) = values.iter().copied().enumerate().fold((0, f32::MIN), greater);
    let thousandths = |value: f32| {
        let count = (value * 1000.0) as u32;
        format!("{}.{:03}", count / 1000, count % 1000)
    };
    format!("class {class} has {}, class 0 {}\n", thousandths(value), thousandths(values[0]))
}

/// Whatever the board has to load lies in its flash or RAM, and begins as the chip starts.
fn check_program(board: &Board, elf: &[u8], package: &[u8]) {
    let own = board.microcontroller().unwrap();
    let name = &board.name;
    let file = object::File::parse(elf).unwrap();
    let of = |region: edgepack_targets::Region| {
        u64::from(region.origin)..=u64::from(region.origin) + u64::from(region.kib) * 1024
    };
    let mut has_package = false;
    for segment in file.segments() {
        let (start, end) = (segment.address(), segment.address() + segment.size());
        let lies_in = |region| of(region).contains(&start) && of(region).contains(&end);
        assert!(lies_in(own.flash) || lies_in(own.ram), "{name}: {start:#x} to {end:#x}");
        let data = segment.data().unwrap();
        has_package |= data.windows(package.len()).any(|window| window == package);
    }
    assert!(has_package, "{name}: the package is not in the program");
    let flash = |at: u64, bytes: u64| {
        let mut found = file.segments().filter_map(|segment| segment.data_range(at, bytes).unwrap());
        found.next().unwrap_or_else(|| panic!("{name}: nothing at {at:#x}"))
    };
    let start = u64::from(own.flash.origin);
    let word = |at: u64| u32::from_le_bytes(flash(at, 4).try_into().unwrap());
    let stack = own.ram.origin + board.stack_kib().unwrap() * 1024;
    match own.boot {
        Some(Boot::Rp2040Boot2) => {
            assert_eq!(flash(start, 256), rp2040_boot2::BOOT_LOADER_W25Q080);
            assert_eq!(word(start + 256), stack, "{name}");
        }
        Some(Boot::Rp2350ImageDef) => {
            assert_eq!(word(start), stack, "{name}");
            // In the first 4 KiB of the flash.
            let first = file.segments().find(|segment| segment.address() == start).unwrap().data().unwrap();
            let first = &first[..first.len().min(4096)];
            let block = [0xffff_ded3_u32, 0x1021_0142, 0x1ff, 0, 0xab12_3579].map(u32::to_le_bytes).concat();
            assert!(first.windows(20).step_by(4).any(|window| window == block), "{name}");
        }
        _ if board.arch.starts_with("thumb") => assert_eq!(word(start), stack, "{name}"),
        _ => {}
    }
}

#[test]
fn project_for_every_board_builds_as_it_is_and_runs_to_the_workstations_bits() {
    let bench = Bench::new();
    // The bundled model, packed for the first board; the others get the same package.
    let made = make(&bench, &["--target", "mps2-an386", "-o", "first"]);
    assert_eq!((&made["package"], &made["triple"]), (&"digits.epk".into(), &"thumbv7em-none-eabihf".into()));
    let package = bench.path("first/model/digits.epk");
    let bytes = std::fs::read(&package).unwrap();
    let expected = seen_here(&package);
    for board in Board::all().iter().filter(|board| board.microcontroller().is_some()) {
        let name = board.name.as_str();
        let folder = bench.path(name);
        let made = make(&bench, &["first/model/digits.epk", "--target", name, "-o", name]);
        for file in made["files"].as_array().unwrap() {
            assert!(folder.join(file.as_str().unwrap()).is_file(), "{name}: {file}");
        }
        let texts =
            ["Cargo.toml", "src/main.rs", "src/board.rs", "README.md", ".cargo/config.toml", "build.rs"];
        for text in texts.map(|text| std::fs::read_to_string(folder.join(text)).unwrap()) {
            let words: Vec<&str> = text.split('@').collect();
            let is_word =
                |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            assert!(!words.iter().any(is_word), "{name}: a word is left in\n{text}");
        }
        if board.microcontroller().unwrap().boot == Some(Boot::EspIdf) {
            skip(name, "the crates of its HAL are not in Cargo.lock: `cargo build --release` fetches them");
            continue;
        }
        if !has_standard_library(&board.triple) {
            skip(
                name,
                &format!("there is no standard library for {0} (rustup target add {0})", board.triple),
            );
            continue;
        }
        let built = cargo(&folder, &["build"]);
        assert!(built.status.success(), "{name}: {}", String::from_utf8_lossy(&built.stderr));
        let mut elf = program(&board.triple);
        check_program(board, &elf, &bytes);
        let Some(runner) = runner(&made) else { continue };
        let ran = cargo(&folder, &["run"]);
        let said = String::from_utf8_lossy(&ran.stdout);
        assert_eq!(ran.status.code(), Some(0), "{name}: {said}{}", String::from_utf8_lossy(&ran.stderr));
        assert!(said.starts_with("golden samples: 1, every output bit as on"), "{name}: {said}");
        assert_eq!(said.matches(&expected).count(), 3, "{name}: {said}");
        assert!(said.contains("the pin is low"), "{name}: {said}");
        // A bit of the weights turns in flash.
        let at = elf.windows(bytes.len()).position(|window| window == bytes).unwrap();
        elf[at + bytes.len() / 2] ^= 1;
        std::fs::write(bench.path("damaged"), &elf).unwrap();
        let (code, said) = run(&runner, &bench.path("damaged"));
        assert!(
            code == Some(1) && said.starts_with("error 106: a section is damaged"),
            "{name}: {code:?} {said}"
        );
    }
}

/// A model that takes numbers, one of two inputs, and one that hears.
#[test]
fn project_follows_what_the_package_takes() {
    let bench = Bench::new();
    let target = ["--target", "mps2-an386"];
    let pack = |model: &str, package: &str, more: &[&str]| {
        bench.ok(&[&["pack", model, "-o", package, "-q"], &target[..], more].concat());
    };
    pack("model.onnx", "numbers.epk", &["--calibration", "samples.npy"]);
    let mut sum = common::model();
    let graph = sum.graph.as_mut().unwrap();
    graph.input = vec![value_info("a", &[Ok(1), Ok(8)]), value_info("b", &[Ok(1), Ok(8)])];
    graph.output = vec![value_info("sum", &[Ok(1), Ok(8)])];
    graph.initializer = Vec::new();
    graph.node = vec![node("add", "Add", &["a", "b"], "sum", &[])];
    write_model(&bench.path("sum.onnx"), &sum);
    pack("sum.onnx", "sum.epk", &["--calibration", "random"]);
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/digits/model.onnx");
    let recordings = Path::new(ROOT).join("runtime/signal/tests/data");
    let sound = bench.ok(&["signal", "log-mel-80"]);
    let sound: String = (sound.lines())
        .map(|line| match line.split_once('=').map(|(name, _)| name.trim()) {
            Some("frames") => "frames = 16\n".into(),
            Some("step_frames") => "step_frames = 4\n".into(),
            Some("count") => "count = 16\n".into(),
            _ => format!("{line}\n"),
        })
        .collect();
    std::fs::write(bench.path("sound.toml"), sound).unwrap();
    let recordings = recordings.to_str().unwrap();
    pack(assets.to_str().unwrap(), "sound.epk", &["--calibration", recordings, "--signal", "sound.toml"]);
    let triple = "thumbv7em-none-eabihf";
    for (model, kind, says) in [
        ("numbers", "impl Source<f32>", "class "),
        ("sum", "session.set_input", "sum[4] "),
        (
            "sound",
            "impl Recorder<i16>",
            "golden samples: 1, and the front-end: every bit as on the workstation",
        ),
    ] {
        let package = format!("{model}.epk");
        let made = make(&bench, &[&[package.as_str(), "-o", model], &target[..]].concat());
        let main = std::fs::read_to_string(bench.path(model).join("src/main.rs")).unwrap();
        assert!(main.contains(kind), "{model}: {main}");
        if !has_standard_library(triple) {
            skip(model, &format!("there is no standard library for {triple}"));
            continue;
        }
        let built = cargo(&bench.path(model), &["build"]);
        let (errors, warnings) = (built.status.success(), String::from_utf8_lossy(&built.stderr));
        assert!(errors && warnings.is_empty(), "{model}: {warnings}");
        let Some(_) = runner(&made) else { continue };
        let ran = cargo(&bench.path(model), &["run"]);
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.code() == Some(0) && said.contains(says), "{model}: {said}");
        let frames = if model == "sum" { "sum[0] " } else { "class " };
        let frames = said.lines().filter(|line| line.starts_with(frames)).count();
        assert_eq!(frames, 3, "{model}: {said}");
        // Without anybody to talk to it builds as well, and is smaller.
        if model == "numbers" {
            let talks = program(triple).len();
            let built = cargo(&bench.path(model), &["build", "--no-default-features"]);
            assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
            assert!(program(triple).len() < talks);
        }
    }
}

/// A failure with this exit code, that says all of these, and writes nothing.
fn refused(bench: &Bench, code: i32, words: &[&str], parts: &[&str]) {
    let before = bench.files();
    let output = bench.run(&[&["new-firmware", "-q"], words].concat());
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{words:?}: {error}");
    for part in parts {
        assert!(error.contains(part), "{words:?}: {part}: {error}");
    }
    assert_eq!(bench.files(), before, "{words:?}");
}

#[test]
fn what_makes_no_firmware_is_refused_with_the_remedy_and_nothing_is_written() {
    let bench = Bench::new();
    bench.pack();
    let of = |target| ["model.epk", "--target", target, "-o", "new"];
    refused(&bench, 2, &of("rpi4"), &["operating system", "edgepack build --target rpi4"]);
    refused(&bench, 2, &of("toaster"), &["no board `toaster`"]);
    refused(&bench, 2, &["model.onnx", "--target", "rp2040", "-o", "new"], &["model.onnx"]);
    refused(&bench, 2, &["none.epk", "--target", "rp2040", "-o", "new"], &["none.epk"]);
    refused(
        &bench,
        2,
        &[&of("rp2040")[..], &["--workspace", "."]].concat(),
        &["not in a clone", "--workspace"],
    );
    refused(&bench, 2, &["model.epk", "--target", "rp2040"], &["--output"]);
    refused(&bench, 2, &["model.epk", "--target", "rp2040", "-o", "model.onnx"], &["--output model.onnx"]);
    std::fs::create_dir(bench.path("full")).unwrap();
    std::fs::write(bench.path("full/mine"), "mine").unwrap();
    refused(
        &bench,
        2,
        &["model.epk", "--target", "rp2040", "-o", "full"],
        &["--output full", "not replaced"],
    );
    // Too small a board, in flash and in RAM.
    let template = bench.ok(&["targets", "--new", "tiny", "--microcontroller"]);
    std::fs::write(bench.path("flash.toml"), template.replace("kib = 1024", "kib = 65")).unwrap();
    refused(&bench, 1, &of("./flash.toml"), &["of flash", "leaves a package 1.0 KiB of 65 KiB", "--target"]);
    let ram = template.replace("kib = 128", "kib = 4").replace("ram_kib = 16", "ram_kib = 1");
    std::fs::write(bench.path("ram.toml"), ram).unwrap();
    refused(
        &bench,
        1,
        &of("./ram.toml"),
        &["an arena of", "2.0 KiB of stack", "the 4 KiB of RAM", "--max-ram"],
    );
}

#[test]
fn outside_of_a_clone_the_sources_are_those_of_the_release() {
    let bench = Bench::new();
    bench.pack();
    std::fs::create_dir(bench.path("empty")).unwrap();
    let said = bench.ok(&["new-firmware", "model.epk", "--target", "nucleo-l4r5zi", "-o", "empty"]);
    assert!(said.contains("release") && said.contains("cargo run --release"), "{said}");
    let manifest = std::fs::read_to_string(bench.path("empty/Cargo.toml")).unwrap();
    let tag = format!("tag = \"v{}\"", env!("CARGO_PKG_VERSION"));
    assert!(manifest.contains("git = \"https://") && manifest.contains(&tag), "{manifest}");
    assert!(!bench.path("empty/Cargo.lock").exists());
    let config = std::fs::read_to_string(bench.path("empty/.cargo/config.toml")).unwrap();
    assert!(config.contains(r#"runner = ["probe-rs","run","--chip","STM32L4R5ZITx"]"#), "{config}");
}
