//! The rules of the code map in README.md, held by a test.

use cargo_metadata::{DependencyKind, MetadataCommand};
use edgepack_tests::root;
use std::collections::{BTreeMap, BTreeSet};

/// Crate, and the crates of ours that it may use outside its tests.
const ALLOWED: &[(&str, &[&str])] = &[
    ("edgepack-kernels", &[]),
    ("edgepack-format", &[]),
    ("edgepack-targets", &[]),
    ("edgepack-core", &["edgepack-kernels", "edgepack-format"]),
    ("edgepack-engine", &["edgepack-core", "edgepack-kernels", "edgepack-format"]),
    ("edgepack-agent", &["edgepack-engine", "edgepack-core", "edgepack-kernels", "edgepack-format"]),
    (
        "edgepack-harness",
        &["edgepack-engine", "edgepack-core", "edgepack-kernels", "edgepack-format", "edgepack-targets"],
    ),
    (
        "edgepack-packager",
        &[
            "edgepack-harness",
            "edgepack-engine",
            "edgepack-core",
            "edgepack-kernels",
            "edgepack-format",
            "edgepack-targets",
        ],
    ),
    ("edgepack-tests", &["edgepack-harness", "edgepack-packager"]),
];

/// What no device crate may depend on, directly or not.
const HOST_ONLY: &[&str] = &["tract-onnx", "tract-core", "tract-hir", "prost", "ort", "clap", "image"];

/// The dependencies on this platform: those of others need not be on this machine.
fn metadata() -> cargo_metadata::Metadata {
    let version = std::process::Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(["--offline".into(), "--filter-platform".into(), host.into()])
        .exec()
        .unwrap()
}

#[test]
fn crates_use_only_what_the_code_map_allows() {
    let metadata = metadata();
    let rules: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    for package in metadata.workspace_packages() {
        let allowed = rules.get(package.name.as_str()).unwrap_or_else(|| {
            panic!("{} is not in the code map: add it to ALLOWED and to README.md", package.name)
        });
        for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            if dependency.name.starts_with("edgepack") {
                assert!(
                    allowed.contains(&dependency.name.as_str()),
                    "{} must not depend on {}",
                    package.name,
                    dependency.name
                );
            }
        }
    }
}

#[test]
fn device_crates_reach_nothing_of_the_host() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().unwrap();
    let names: BTreeMap<_, _> = metadata.packages.iter().map(|p| (&p.id, p.name.as_str())).collect();
    for device in
        ["edgepack-agent", "edgepack-engine", "edgepack-core", "edgepack-format", "edgepack-kernels"]
    {
        let mut reached = BTreeSet::new();
        let mut open: Vec<_> = names.iter().filter(|(_, name)| **name == device).map(|(id, _)| *id).collect();
        while let Some(id) = open.pop() {
            if !reached.insert(names[id]) {
                continue;
            }
            let node = resolve.nodes.iter().find(|node| node.id == *id).unwrap();
            let normal =
                |d: &&cargo_metadata::NodeDep| d.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal);
            open.extend(node.deps.iter().filter(normal).map(|dep| &dep.pkg));
        }
        for name in HOST_ONLY {
            assert!(!reached.contains(name), "{device} reaches {name}");
        }
    }
}

#[test]
fn device_crates_have_no_std_and_no_alloc() {
    for krate in ["kernels", "format", "core"] {
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
