//! Boards: each that comes with edgepack is one that its kernels know, and a user's own is checked as strictly.

mod common;

use common::Bench;
use edgepack_kernels::conv;
use edgepack_kernels::isa::IsaSet;
use edgepack_targets::Board;
use serde_json::Value;

/// Runs what must end with this exit code; gives its stderr.
fn fails(bench: &Bench, code: i32, args: &[&str]) -> String {
    let output = bench.run(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    stderr
}

#[test]
fn every_board_has_instruction_sets_of_its_architecture_and_kernels_for_them() {
    for board in Board::all() {
        let isa = IsaSet::parse(&board.isa).unwrap_or_else(|word| panic!("{}: isa `{word}`", board.name));
        if board.microcontroller().is_some() {
            let rest = [IsaSet::NEON, IsaSet::NEON32, IsaSet::AVX2];
            assert!(!rest.iter().any(|&other| isa.contains(other)), "{}: {isa}", board.name);
            continue;
        }
        let own = match board.arch.as_str() {
            "aarch64" => "neon",
            "armv7" => "neon32",
            _ => "avx2",
        };
        assert!(isa.contains(IsaSet::parse(own).unwrap()), "{}: {isa} without {own}", board.name);
        for other in ["neon", "neon32", "avx2"].into_iter().filter(|other| *other != own) {
            assert!(!isa.contains(IsaSet::parse(other).unwrap()), "{}: {isa} with {other}", board.name);
        }
        let chosen = conv::rows().find(|row| !row.depthwise && isa.contains(row.isa)).unwrap();
        assert_ne!(chosen.isa, IsaSet::SCALAR, "{}: only scalar kernels", board.name);
    }
}

#[test]
fn targets_shows_one_board_whole() {
    let bench = Bench::new();
    let text = bench.ok(&["targets", "rpi5"]);
    for part in
        ["4 × cortex-a76, 2400 MHz", "L1d 64 KiB, L2 512 KiB, L3 2048 KiB", "glibc 2.36", "Processors"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let board: Value = serde_json::from_str(&bench.ok(&["targets", "rpi5", "--format", "json"])).unwrap();
    assert_eq!((&board["name"], &board["ram_mib"]), (&"rpi5".into(), &1024.into()));
    let all: Value = serde_json::from_str(&bench.ok(&["targets", "--format", "json"])).unwrap();
    assert_eq!(all.as_array().unwrap().len(), Board::all().len());
}

#[test]
fn targets_shows_a_microcontroller_with_its_memory_and_linker_script() {
    let bench = Bench::new();
    let text = bench.ok(&["targets", "nucleo-l4r5zi"]);
    for part in [
        "cortex-m4, 120 MHz",
        "2048 KiB from 0x08000000 on, 1984 of them for a package",
        "640 KiB from 0x20000000 on, 624 of them for its arena",
        "FLASH : ORIGIN = 0x08000000, LENGTH = 2048K",
        "STM32L4R5ZITx",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let board: Value =
        serde_json::from_str(&bench.ok(&["targets", "mps2-an386", "--format", "json"])).unwrap();
    assert_eq!(
        (&board["kind"], &board["qemu"]["machine"]),
        (&"microcontroller".into(), &"mps2-an386".into())
    );
    std::fs::write(bench.path("own.toml"), bench.ok(&["targets", "--new", "own", "--microcontroller"]))
        .unwrap();
    assert!(bench.ok(&["targets", "./own.toml"]).contains("128 KiB from 0x20000000"));
    let error = fails(&bench, 2, &["doctor", "--device", "qemu:nucleo-l4r5zi"]);
    assert!(error.contains("nucleo-l4r5zi"), "{error}");
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let error = fails(&bench, 2, &["build", "--target", "nucleo-l4r5zi", "--workspace", root]);
    assert!(error.contains("no operating system") && error.contains("edgepack new-firmware"), "{error}");
}

#[test]
fn board_of_ones_own_starts_from_the_template_and_is_checked() {
    let bench = Bench::new();
    let template = bench.ok(&["targets", "--new", "kitchen"]);
    let path = bench.path("kitchen.toml");
    std::fs::write(&path, &template).unwrap();
    assert!(bench.ok(&["targets", "./kitchen.toml"]).contains("kitchen"));
    for (from, to, expected) in [
        ("isa = \"neon\"", "isa = \"neno\"", "isa: `neno` is none of scalar, "),
        ("cores = 4", "cores = 0", "./kitchen.toml:9: cores: 0 is not from 1 to 1024"),
        ("cores = 4", "corse = 4", "unknown field `corse`"),
    ] {
        std::fs::write(&path, template.replace(from, to)).unwrap();
        let error = fails(&bench, 2, &["targets", "./kitchen.toml"]);
        assert!(error.contains(expected), "{error}");
    }
    assert!(fails(&bench, 2, &["targets", "--new", "a\"b"]).contains("letters, digits"));
}

#[test]
fn package_beyond_the_boards_memory_is_warned_of_or_fails() {
    let bench = Bench::new();
    let template = bench.ok(&["targets", "--new", "tiny"]).replace("ram_mib = 1024", "ram_mib = 4");
    let pack =
        ["pack", "model.onnx", "-o", "model.epk", "--calibration", "samples.npy", "--target", "./tiny.toml"];
    let budget = |mib: &str| template.replace("ram_budget_mib = 512", &format!("ram_budget_mib = {mib}"));
    std::fs::write(bench.path("tiny.toml"), budget("4")).unwrap();
    assert!(!bench.ok(&pack).contains("of memory"));
    // The agent alone has 2 MiB.
    std::fs::write(bench.path("tiny.toml"), budget("2")).unwrap();
    let text = bench.ok(&pack);
    assert!(
        text.contains("warning: the package needs 2.") && text.contains("tiny leaves a package 2 MiB"),
        "{text}"
    );
    std::fs::write(bench.path("tiny.toml"), budget("2").replace("ram_mib = 4", "ram_mib = 2")).unwrap();
    let error = fails(&bench, 1, &pack);
    assert!(error.contains("error: the package needs 2.") && error.contains("tiny has 2 MiB"), "{error}");
}

/// A build that cannot begin leaves nothing, and says what to install.
#[test]
fn build_says_what_is_missing_and_writes_nothing() {
    let bench = Bench::new();
    let error = fails(&bench, 2, &["build", "--target", "rpi4"]);
    assert!(error.contains("is not in a clone of edgepack") && error.contains("git clone"), "{error}");
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let build = |board, tool| {
        let tools = tempfile::tempdir().unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_edgepack"));
        command
            .args(["build", "--target", board, "--with", tool, "--workspace", root, "--output", "out"])
            .current_dir(bench.dir.path())
            .env("PATH", tools.path());
        // Where this machine has an Android SDK, a zig, or linkers by other names.
        let named = |name: &str| ["ANDROID_", "CARGO_"].iter().any(|start| name.starts_with(start));
        for (name, _) in std::env::vars().filter(|(name, _)| named(name)) {
            command.env_remove(name);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let error = build("rpi4", "cross");
    for part in ["there is no cross; cargo install cross", "neither podman nor docker; "] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let error = build("rpi4", "zigbuild");
    for part in ["there is no cargo", "pip install cargo-zigbuild", "there is no zig; pip install ziglang=="]
    {
        assert!(error.contains(part), "{part}: {error}");
    }
    let error = build("rpi2", "auto");
    for part in
        ["with cargo: there is no cargo", "with cross: there is no cross", "with zigbuild: there is no zig"]
    {
        assert!(error.contains(part), "{part}: {error}");
    }
    let error = build("android-arm64", "auto");
    for part in ["no NDK with a linker for Android's API level 24; sdkmanager --install 'ndk;", "--libc musl"]
    {
        assert!(error.contains(part), "{part}: {error}");
    }
    let error = build("android-arm64", "cross");
    assert!(error.contains("not built for aarch64 with bionic by cross; --with cargo does"), "{error}");
    assert!(!bench.path("out").exists());
}
