//! Packages for microcontrollers: what is in them, and that they are refused where they do not fit.

mod common;

use common::Bench;
use serde_json::Value;

/// A board of so many KiB, none of which are reserved.
fn board(bench: &Bench, flash_kib: u32, ram_kib: u32) {
    let template = bench.ok(&["targets", "--new", "tiny", "--microcontroller"]);
    let text = template
        .replace("kib = 1024", &format!("kib = {flash_kib}"))
        .replace("kib = 128", &format!("kib = {ram_kib}"))
        .replace("{ flash_kib = 64, ram_kib = 16 }", "{ flash_kib = 0, ram_kib = 0 }");
    std::fs::write(bench.path("tiny.toml"), text).unwrap();
}

const PACK: [&str; 6] = ["pack", "model.onnx", "-o", "tiny.epk", "--calibration", "samples.npy"];

fn pack(bench: &Bench, more: &[&str]) -> std::process::Output {
    bench.run(&[&PACK[..], &["--format", "json"], more].concat())
}

/// What a package does not fit, with exit code 1 and nothing written.
fn refused(bench: &Bench, more: &[&str], parts: &[&str]) {
    let output = pack(bench, more);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    assert!(!bench.path("tiny.epk").exists(), "{stderr}");
}

#[test]
fn package_beyond_flash_or_ram_is_refused_with_the_nodes_that_need_most_and_what_helps() {
    let bench = Bench::new();
    board(&bench, 1, 64);
    let tiny = ["--target", "./tiny.toml"];
    refused(
        &bench,
        &tiny,
        &["of flash", "tiny, by what it leaves of 1 KiB", "most of its constants", "--prune-channels"],
    );
    board(&bench, 256, 64);
    refused(&bench, &[&tiny[..], &["--max-flash", "900"]].concat(), &["--max-flash gives it 900 B", "`"]);
    refused(
        &bench,
        &[&tiny[..], &["--max-ram", "64"]].concat(),
        &["of RAM, and --max-ram gives it 64 B", "most is in use at `", "a smaller input (--shape)"],
    );
    // Without a board, too.
    refused(&bench, &["--max-ram", "64"], &["--max-ram gives it 64 B"]);
    let output = pack(&bench, &["--max-ram", "lots"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(pack(&bench, &tiny).status.success());
}

#[test]
fn package_for_a_microcontroller_is_lean_and_gives_the_same_outputs() {
    let bench = Bench::new();
    board(&bench, 256, 64);
    bench.pack();
    let report: Value = serde_json::from_slice(&pack(&bench, &["--target", "./tiny.toml"]).stdout).unwrap();
    let sizes = ["model.epk", "tiny.epk"].map(|name| std::fs::metadata(bench.path(name)).unwrap().len());
    assert!(sizes[1] < sizes[0], "{sizes:?}");
    assert!(report["arena_bytes"].as_u64().unwrap() <= 64 << 10);
    assert!(bench.ok(&["selftest", "tiny.epk"]).contains(": 1 golden samples"));
    let run = |package| bench.ok(&["run", package, "--input", "samples.npy", "--format", "json"]);
    assert_eq!(run("tiny.epk"), run("model.epk"));
}
