//! The rules of the code map in README.md, held by a test.

use std::process::Command;

use edgepack_tests::root;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Crate, and the crates of ours that it may use outside its tests.
const ALLOWED: &[(&str, &[&str])] = &[
    ("edgepack-kernels", &[]),
    ("edgepack-format", &[]),
    ("edgepack-targets", &[]),
    ("edgepack-core", &["edgepack-kernels", "edgepack-format"]),
    ("edgepack-signal", &["edgepack-kernels"]),
    ("edgepack-engine", &["edgepack-core", "edgepack-kernels", "edgepack-format"]),
    ("edgepack-agent", &["edgepack-engine", "edgepack-core", "edgepack-kernels", "edgepack-format"]),
    ("edgepack-capi", &["edgepack-engine"]),
    ("edgepack-firmware", &["edgepack-core", "edgepack-signal"]),
    ("edgepack-mcu", &["edgepack-firmware", "edgepack-core"]),
    // An application: what it shows is the road, and it decodes images.
    ("edgepack-camera", &["edgepack-engine", "edgepack-firmware"]),
    (
        "edgepack-harness",
        &[
            "edgepack-engine",
            "edgepack-core",
            "edgepack-kernels",
            "edgepack-format",
            "edgepack-signal",
            "edgepack-targets",
        ],
    ),
    (
        "edgepack-packager",
        &[
            "edgepack-harness",
            "edgepack-engine",
            "edgepack-core",
            "edgepack-kernels",
            "edgepack-format",
            "edgepack-signal",
            "edgepack-targets",
        ],
    ),
    (
        "edgepack-tests",
        &["edgepack-harness", "edgepack-packager", "edgepack-engine", "edgepack-signal", "edgepack-targets"],
    ),
];

/// What no device crate may depend on, directly or not.
const HOST_ONLY: &[&str] = &["tract-onnx", "tract-core", "tract-hir", "prost", "ort", "clap", "image"];

/// What cargo knows of the workspace and its dependencies on this platform: those of others need not be
/// on this machine.
fn metadata() -> Value {
    let output = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).current_dir(root()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let version = output("rustc", &["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let cargo = std::env::var("CARGO").unwrap_or("cargo".into());
    let args = ["metadata", "--format-version", "1", "--offline", "--filter-platform", host];
    serde_json::from_str(&output(&cargo, &args)).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Kind `null` is a dependency outside tests and build scripts.
fn is_normal(kind: &Value) -> bool {
    kind.is_null()
}

#[test]
fn crates_use_only_what_the_code_map_allows() {
    let metadata = metadata();
    let rules: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let members = list(&metadata["workspace_members"]);
    assert_eq!(members.len(), ALLOWED.len());
    for package in list(&metadata["packages"]).iter().filter(|package| members.contains(&package["id"])) {
        let name = package["name"].as_str().unwrap();
        let allowed = rules
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not in the code map: add it to ALLOWED and to README.md"));
        for dependency in list(&package["dependencies"]).iter().filter(|d| is_normal(&d["kind"])) {
            let used = dependency["name"].as_str().unwrap();
            let ours = used.starts_with("edgepack");
            assert!(!ours || allowed.contains(&used), "{name} must not depend on {used}");
        }
    }
}

/// What a crate and all that it uses depend on when it is built by itself, with these features: in a build of the
/// whole workspace the packager's features are everybody's.
fn reached(krate: &str, features: &str) -> BTreeSet<String> {
    let cargo = std::env::var("CARGO").unwrap_or("cargo".into());
    let args = ["tree", "--offline", "-p", krate, "-e", "normal", "--prefix", "none", "-f", "{p}"];
    let features = if features.is_empty() { vec![] } else { vec!["--features", features] };
    let output = Command::new(cargo).args(args).args(features).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().filter_map(|line| line.split(' ').next()).map(String::from).collect()
}

#[test]
fn device_crates_reach_nothing_of_the_host() {
    for device in [
        "edgepack-agent",
        "edgepack-capi",
        "edgepack-firmware",
        "edgepack-mcu",
        "edgepack-engine",
        "edgepack-core",
        "edgepack-signal",
        "edgepack-format",
        "edgepack-kernels",
    ] {
        let reached = reached(device, "");
        assert!(reached.contains(device));
        for name in HOST_ONLY {
            assert!(!reached.contains(*name), "{device} reaches {name}");
        }
    }
    // Where islands are asked for, tract is there, but not what reads ONNX.
    let with_islands = reached("edgepack-agent", "tract");
    assert!(with_islands.contains("tract-core"));
    for name in ["tract-onnx", "tract-hir", "prost", "ort", "clap", "image"] {
        assert!(!with_islands.contains(name), "the agent with islands reaches {name}");
    }
}

#[test]
fn device_crates_have_no_std_and_no_alloc() {
    for krate in ["kernels", "format", "core", "signal", "firmware", "mcu"] {
        let source = std::fs::read_to_string(root().join("runtime").join(krate).join("src/lib.rs")).unwrap();
        assert!(source.contains("#![no_std]"), "{krate} is not no_std");
    }
}

/// Files that fit in the head (STYLE: about 600 lines).
const MAX_LINES: usize = 640;

#[test]
fn no_file_is_too_long_to_hold_in_the_head() {
    let mut open = vec![root()];
    let mut seen = 0;
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name());
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs" || e == "py" || e == "s") {
                let lines = std::fs::read_to_string(&path).unwrap().lines().count();
                assert!(lines <= MAX_LINES, "{} has {lines} lines: look for the seam", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "only {seen} files were found");
}
