//! What goes wrong between here and a device: each time the device keeps the version that it had, the message says
//! what to do, and the exit code is 2; 1 where outputs differ.
#![cfg(unix)]

#[path = "common/packages.rs"]
mod packages;
#[path = "common/server.rs"]
mod server;

use packages::Handmade;
use server::{Server, agent_variable, wait_for};
use std::process::Stdio;

/// More than an ssh client and the pipes on the way hold (2 MiB and some).
const LARGE: usize = 12 << 20;

/// A device on which `old.epk` lies as `home/model.epk`, and `new.epk` that is to replace it.
struct Field {
    server: Server,
    old: Vec<u8>,
}

impl Field {
    fn new(test: &str) -> Option<Field> {
        let server = Server::start(test)?;
        Handmade::default().write(&server.path("old.epk"));
        Handmade { ballast_bytes: LARGE, ..Handmade::default() }.write(&server.path("new.epk"));
        server.ok(&["deploy", "old.epk", "--to", "~/model.epk"]);
        let old = std::fs::read(server.path("old.epk")).unwrap();
        Some(Field { server, old })
    }

    /// Deploys `new.epk`, which must fail with this code and all of these words.
    #[track_caller]
    fn refused(&self, code: i32, words: &[&str]) -> String {
        let error = self.server.fails(code, &["deploy", "new.epk", "--to", "~/model.epk"]);
        for word in words {
            assert!(error.contains(word), "no `{word}` in: {error}");
        }
        self.keeps_the_old_version();
        error
    }

    #[track_caller]
    fn keeps_the_old_version(&self) {
        assert!(std::fs::read(self.server.path("home/model.epk")).unwrap() == self.old, "it was replaced");
    }

    /// Without the fault, the same command does it, and nothing of the failed one is left.
    #[track_caller]
    fn recovers(&self) {
        self.server.ok(&["deploy", "new.epk", "--to", "~/model.epk"]);
        let new = std::fs::read(self.server.path("new.epk")).unwrap();
        assert!(std::fs::read(self.server.path("home/model.epk")).unwrap() == new);
        assert_eq!(self.server.files("home"), [".cache", "model.epk", "model.epk.previous"]);
    }
}

/// A `cat` that passes some bytes on, says so, and waits, where it writes what is sent.
const SLOW_CAT: &str = "[ $# = 0 ] || exec /bin/cat \"$@\"\n\
    dd bs=1000 count=1 2>/dev/null; : > DIR/arriving; sleep 2; exec /bin/cat";

#[test]
fn wrong_key_is_refused_and_says_how_to_give_the_right_one() {
    let Some(field) = Field::new("wrong key") else { return };
    let authorized = std::fs::read(field.server.path("user.pub")).unwrap();
    std::fs::copy(field.server.path("stranger.pub"), field.server.path("user.pub")).unwrap();
    field.refused(2, &["Permission denied", "ssh-copy-id -p", "IdentityFile"]);
    std::fs::write(field.server.path("user.pub"), authorized).unwrap();
    field.recovers();
}

#[test]
fn unknown_and_changed_host_keys_are_never_taken_on_trust() {
    let Some(mut field) = Field::new("host keys") else { return };
    // The test's ssh config has `StrictHostKeyChecking no`, which would take any.
    field.server.know(None);
    field.refused(2, &["host key is not known", "ssh-keyscan -p", "ssh-keygen -lf", "accept it once by"]);
    assert_eq!(std::fs::read(field.server.path("known_hosts")).unwrap(), b"");
    field.server.know("stranger");
    let known = std::fs::read(field.server.path("known_hosts")).unwrap();
    field.refused(2, &["HOST KEY HAS CHANGED", "ssh-keygen -R '[127.0.0.1]:", "nothing was sent"]);
    assert_eq!(std::fs::read(field.server.path("known_hosts")).unwrap(), known);
    field.server.know("host");
    field.recovers();
}

#[test]
fn server_that_dies_mid_transfer_leaves_the_old_version() {
    let Some(field) = Field::new("server dies") else { return };
    field.server.shim("cat", SLOW_CAT);
    let mut deploy = field.server.command(&["deploy", "new.epk", "--to", "~/model.epk"]);
    let child = deploy.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the transfer", || field.server.path("arriving").exists());
    field.server.kill_connections();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("the connection was lost") && error.contains("do the same again"), "{error}");
    field.keeps_the_old_version();
    field.server.unshim("cat");
    field.recovers();
}

#[test]
fn interrupted_deploy_leaves_the_old_version_and_no_litter() {
    let Some(field) = Field::new("interrupted deploy") else { return };
    field.server.shim("cat", SLOW_CAT);
    let mut deploy = field.server.command(&["deploy", "new.epk", "--to", "~/model.epk"]);
    let mut child = deploy.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the transfer", || field.server.path("arriving").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    field.keeps_the_old_version();
    // The device sees that less arrived than was to come, and removes it by itself.
    wait_for("tidying", || field.server.files("home") == [".cache", "model.epk"]);
    field.keeps_the_old_version();
    field.server.unshim("cat");
    field.recovers();
}

#[test]
fn litter_of_a_device_that_lost_power_goes_with_the_next_deploy() {
    let Some(field) = Field::new("litter") else { return };
    std::fs::write(field.server.path("home/.model.epk.77-1.part"), "half").unwrap();
    std::fs::write(field.server.path("home/.other.epk.77-1.part"), "of another package").unwrap();
    field.server.ok(&["deploy", "old.epk", "--to", "~/model.epk"]);
    assert_eq!(field.server.files("home"), [".cache", ".other.epk.77-1.part", "model.epk"]);
}

#[test]
fn full_disk_leaves_the_old_version_and_nothing_half() {
    let Some(field) = Field::new("full disk") else { return };
    // Known before anything is sent.
    field.server.shim("df", "echo 'x 100 90 10 90% /'");
    field.refused(2, &["too little space in", "10 KiB are free", "df -h"]);
    field.server.unshim("df");
    // Found while it is written: every write to /dev/full fails with ENOSPC.
    field.server.shim("cat", "[ $# = 0 ] || exec /bin/cat \"$@\"\nexec /bin/cat > /dev/full");
    field.refused(2, &["could not be written", "No space left on device", "make room there"]);
    assert_eq!(field.server.files("home"), [".cache", "model.epk"]);
    field.server.unshim("cat");
    field.recovers();
}

#[test]
fn disk_that_is_really_full_leaves_the_old_version() {
    let Some(field) = Field::new("full disk, mounted") else { return };
    let disk = field.server.path("home/disk");
    std::fs::create_dir(&disk).unwrap();
    let mut mount = std::process::Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(&disk).stderr(Stdio::null());
    if !mount.status().is_ok_and(|status| status.success()) {
        server::say("SKIPPED full disk, mounted: this user cannot mount a tmpfs");
        return;
    }
    let to = ["--to", "~/disk/model.epk"];
    let outcome = std::panic::catch_unwind(|| {
        field.server.ok(&[&["deploy", "old.epk"][..], &to].concat());
        let error = field.server.fails(2, &[&["deploy", "new.epk"][..], &to].concat());
        assert!(error.contains("too little space"), "{error}");
        let error = field.server.fails(2, &[&["deploy", "new.epk", "--force"][..], &to].concat());
        assert!(error.contains("No space left on device") && error.contains("make room there"), "{error}");
        assert_eq!(field.server.files("home/disk"), ["model.epk"]);
        assert!(std::fs::read(disk.join("model.epk")).unwrap() == field.old);
    });
    let unmounted = std::process::Command::new("umount").arg(&disk).status().unwrap();
    assert!(unmounted.success());
    outcome.unwrap();
}

#[test]
fn device_of_another_architecture_is_refused_before_and_after_the_agent_is_sent() {
    let Some(field) = Field::new("wrong architecture") else { return };
    field.server.shim("uname", "case \"$1\" in -m) echo mips;; *) echo Linux;; esac");
    field.refused(2, &["its architecture is `mips`", "aarch64, armv7, x86_64"]);
    // A device that is what it says, and an agent that is for another: known by its ELF header.
    let (other, machine) = if cfg!(target_arch = "aarch64") { ("x86_64", 62) } else { ("aarch64", 183) };
    let elf = [&b"\x7fELF\x02\x01\x01"[..], &[0; 9], &[2, 0, machine, 0, 1, 0, 0, 0], &[0; 200]].concat();
    std::fs::write(field.server.path("foreign"), &elf).unwrap();
    field.server.unshim("uname");
    let deploy = ["deploy", "new.epk", "--to", "~/model.epk"];
    let output =
        field.server.command(&deploy).env(agent_variable(), field.server.path("foreign")).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        error.contains(&format!("is for {other}, the device is")) && error.contains("edgepack build"),
        "{error}"
    );
    assert_eq!(output.status.code(), Some(2));
    // A device that is not what it says: the agent is sent, and does not start.
    field.server.shim("uname", &format!("case \"$1\" in -m) echo {other};; *) echo Linux;; esac"));
    let variable = format!("EDGEPACK_AGENT_{}", other.to_uppercase());
    let output = field.server.command(&deploy).env(variable, field.server.path("foreign")).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("does not start there") && error.contains(other), "{error}");
    assert_eq!(output.status.code(), Some(2));
    field.keeps_the_old_version();
    field.server.unshim("uname");
    assert_eq!(
        field.server.files("home/.cache/edgepack").len(),
        1,
        "the agent that does not start is still there"
    );
    field.recovers();
}

#[test]
fn missing_instruction_set_is_told_instead_of_found_out() {
    let Some(field) = Field::new("missing instruction set") else { return };
    let board = if cfg!(target_arch = "aarch64") { "rpi4" } else { "x86-64-v3" };
    field.server.setup("export EDGEPACK_ISA=scalar\n");
    let output = field.server.run(&["doctor", "--target", board]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(1) && text.contains("error: the device has scalar"), "{text}");
    // A package that was made for this board.
    let bench = common::Bench::new();
    bench.ok(&["pack", "model.onnx", "-o", "model.epk", "--calibration", "samples.npy", "--target", board]);
    std::fs::copy(bench.path("model.epk"), field.server.path("new.epk")).unwrap();
    field.refused(2, &["the device has scalar", board, "pack with --target", "EDGEPACK_ISA lowers it there"]);
    // By hand it may be deployed, since it has the same outputs there.
    field.server.ok(&["deploy", "new.epk", "--to", "~/model.epk", "--force"]);
}

#[test]
fn too_little_memory_is_told_and_survived() {
    let Some(field) = Field::new("too little memory") else { return };
    Handmade { arena_bytes: 1 << 30, ..Handmade::default() }.write(&field.server.path("new.epk"));
    field.server.setup("ulimit -v 300000\n");
    field.refused(2, &["too little memory", "300000 KiB are what this login may have", "ulimit -v"]);
    let error = field.server.fails(2, &["deploy", "new.epk", "--to", "~/model.epk", "--force"]);
    assert!(error.contains("too little memory (memory allocation of"), "{error}");
    field.keeps_the_old_version();
    assert_eq!(field.server.files("home"), [".cache", "model.epk"]);
    field.server.setup("");
    field.server.shim(
        "cat",
        "[ \"$1\" = /proc/meminfo ] && echo 'MemAvailable: 9000 kB' && exit\nexec /bin/cat \"$@\"",
    );
    field.refused(2, &["too little memory", "9000 KiB are free there"]);
}

#[test]
fn corrupted_transfer_is_seen_by_the_device() {
    let Some(field) = Field::new("corrupted transfer") else { return };
    // One byte, deep in the weights, and the same length.
    let flip = "[ $# = 0 ] || exec /bin/cat \"$@\"\nhead -c 5000000; head -c 1 | tr '\\000-\\377' '\\001-\\377\\000'; exec /bin/cat";
    field.server.shim("cat", flip);
    field.refused(2, &["arrived damaged", "is as it was", "do the same again"]);
    assert_eq!(field.server.files("home"), [".cache", "model.epk"]);
    field.server.unshim("cat");
    field.recovers();
}

#[test]
fn agent_that_arrives_damaged_is_not_kept() {
    let Some(server) = Server::start("damaged agent") else { return };
    Handmade::default().write(&server.path("new.epk"));
    // The last byte of a program says nothing to the loader.
    let flip = "[ $# = 0 ] || exec /bin/cat \"$@\"\n/bin/cat > DIR/all; head -c -1 DIR/all; printf '\\007'";
    server.shim("cat", flip);
    let error = server.fails(2, &["selftest", "new.epk"]);
    assert!(error.contains("the agent arrived damaged"), "{error}");
    server.unshim("cat");
    assert_eq!(server.files("home/.cache/edgepack"), [""; 0]);
    server.ok(&["selftest", "new.epk"]);
}

#[test]
fn package_with_other_outputs_there_is_a_failed_comparison() {
    let Some(field) = Field::new("failed self-test") else { return };
    Handmade { wrong_golden: true, ..Handmade::default() }.write(&field.server.path("new.epk"));
    field.refused(1, &["failed:", "golden sample 0", "was not changed"]);
    assert_eq!(field.server.files("home"), [".cache", "model.epk"]);
    let output = field.server.run(&["selftest", "new.epk"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn login_that_runs_no_commands_is_told() {
    let Some(field) = Field::new("no shell") else { return };
    field.server.setup("echo This account is currently not available.; exit 1\n");
    field.refused(2, &["its login runs no commands", "account is currently not available", "POSIX shell"]);
}

#[test]
fn path_that_cannot_be_is_told() {
    let Some(field) = Field::new("no such folder") else { return };
    let error = field.server.fails(2, &["deploy", "new.epk", "--to", "~/model.epk/inside.epk"]);
    assert!(error.contains("--to ~/model.epk/inside.epk") && error.contains("give a path"), "{error}");
    field.keeps_the_old_version();
}

mod common;
