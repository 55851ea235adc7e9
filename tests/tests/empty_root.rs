//! The device needs nothing but the agent: it runs a package in a root that has no other file, so that it looks for
//! no library, loader, locale, device or `/proc` of a system.
//!
//! Boards are emulated, as in `same_bits.rs`, with the emulator and its libraries in a folder of that root; the
//! agent of this machine's own architecture runs as it is. chroot(2) needs root, or user namespaces (unshare -r).

use std::path::Path;
use std::process::{Command, Output};

use edgepack_packager::precision::PrecisionOptions;
use edgepack_targets::Board;
use edgepack_tests::{digits, root, skip};

/// Where the emulator lies in the empty root.
const EMULATOR: &str = "emulator";

/// The words that change the root; `None` where this user may not.
fn chroot() -> Option<Vec<&'static str>> {
    [vec!["chroot"], vec!["unshare", "-r", "chroot"]].into_iter().find(|words| {
        let tried = Command::new(words[0]).args(&words[1..]).args(["/", "true"]).output();
        tried.is_ok_and(|output| output.status.success())
    })
}

/// Brings the board's QEMU into a root, with the libraries that it names; gives the words that start it there.
fn bring_emulator(board: &Board, to: &Path) -> Option<Vec<String>> {
    let qemu = board.linux()?.qemu.as_ref()?;
    let path = std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(&qemu.program))
        .find(|path| path.is_file())?;
    let folder = to.join(EMULATOR);
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(&path, folder.join(&qemu.program)).unwrap();
    let mut words = vec![format!("/{EMULATOR}/{}", qemu.program), "-cpu".into(), qemu.cpu.clone()];
    // `libm.so.6 => /lib/libm.so.6 (0x…)`, and the loader's path alone; nothing of a static program.
    let needs = Command::new("ldd").arg(&path).output().ok()?;
    for line in String::from_utf8_lossy(&needs.stdout).lines() {
        let Some(library) = line.split_whitespace().find(|word| word.starts_with('/')) else { continue };
        let name = Path::new(library).file_name().unwrap().to_str().unwrap();
        std::fs::copy(library, folder.join(name)).unwrap();
        if name.starts_with("ld-") {
            let library_path = format!("/{EMULATOR}");
            words.splice(0..0, [format!("{library_path}/{name}"), "--library-path".into(), library_path]);
        }
    }
    Some(words)
}

/// The files of a root but the emulator's.
fn files(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name != EMULATOR);
    names.sort();
    names
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn agent_runs_a_package_in_an_empty_root() {
    let Some(chroot) = chroot() else {
        return skip("empty root", "this user may not change the root (chroot, unshare -r)");
    };
    let folder = tempfile::tempdir().unwrap();
    let package = digits().pack_in(folder.path(), PrecisionOptions::default()).package;
    let expected = std::env::var_os("EDGEPACK_EXPECT_BOARDS").is_some();
    let mut tried = Vec::new();
    for name in ["rpi3", "rpi2", "x86-64-v3"] {
        let board = Board::find(name).unwrap();
        let agent =
            std::env::var_os(board.agent_variable()).map_or(root().join(board.agent_path()), Into::into);
        if !agent.is_file() {
            skip(&format!("empty root, {name}"), &format!("there is no agent at {}", agent.display()));
            assert!(!expected, "{name} was expected");
            continue;
        }
        let empty = tempfile::tempdir().unwrap();
        let launcher = match &board.linux().unwrap().qemu {
            Some(qemu) => {
                let Some(words) = bring_emulator(&board, empty.path()) else {
                    skip(&format!("empty root, {name}"), &format!("there is no {}", qemu.program));
                    assert!(!expected, "{name} was expected");
                    continue;
                };
                words
            }
            None if board.arch == std::env::consts::ARCH => Vec::new(),
            None => {
                skip(&format!("empty root, {name}"), "this machine is of another architecture");
                continue;
            }
        };
        std::fs::copy(&agent, empty.path().join("agent")).unwrap();
        std::fs::copy(&package, empty.path().join("model.epk")).unwrap();
        assert_eq!(files(empty.path()), ["agent", "model.epk"]);
        let run = |arguments: &[&str]| {
            Command::new(chroot[0])
                .args(&chroot[1..])
                .arg(empty.path())
                .args(&launcher)
                .args(arguments)
                .env_clear()
                .env("PATH", std::env::var_os("PATH").unwrap_or_default())
                .output()
                .unwrap()
        };
        // The root is indeed empty: what every system has is not there.
        let shell = run(&["/bin/sh"]);
        assert!(!shell.status.success(), "{name}: the root has a shell");
        for arguments in [
            &["/agent", "info"][..],
            &["/agent", "selftest", "/model.epk"],
            &["/agent", "bench", "/model.epk", "--warmup", "1", "--runs", "2"],
        ] {
            let output = run(arguments);
            assert!(output.status.success(), "{name}, {arguments:?}: {}", text(&output));
        }
        let damaged = empty.path().join("model.epk");
        let mut bytes = std::fs::read(&damaged).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&damaged, bytes).unwrap();
        let output = run(&["/agent", "selftest", "/model.epk"]);
        assert_eq!(output.status.code(), Some(2), "{name}: {}", text(&output));
        assert_eq!(files(empty.path()), ["agent", "model.epk"], "{name} left something");
        tried.push(name);
    }
    println!("empty root: {}", tried.join(", "));
}
