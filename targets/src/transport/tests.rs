//! What needs no device: names, words for shells, programs with limits, a false adb, and what clients say.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::ssh::Address;
use super::*;
use crate::Board;

fn address(user: Option<&str>, host: &str, port: Option<u16>) -> Result<Address, String> {
    Ok(Address { user: user.map(str::to_string), host: host.into(), port })
}

#[test]
fn addresses_parse_and_options_in_disguise_do_not() {
    assert_eq!(Address::parse("kitchen"), address(None, "kitchen", None));
    assert_eq!(Address::parse("pi@10.0.0.7:2222/"), address(Some("pi"), "10.0.0.7", Some(2222)));
    assert_eq!(Address::parse("pi@[fe80::1%eth0]:22"), address(Some("pi"), "fe80::1%eth0", Some(22)));
    assert_eq!(Address::parse("[::1]"), address(None, "::1", None));
    for wrong in
        ["", "pi@", "-oProxyCommand=touch", "-l@host", "host:0", "host:ssh", "a b", "h;reboot", "h:1:2"]
    {
        assert!(Address::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn words_survive_the_shell() {
    for word in ["", "plain/1.epk", "two words", "it's", "$HOME `x` \"q\" \\ *;&", "new\nline"] {
        let output = Host::local().run(&format!("printf %s {}", quote(word)), &[], SHORT).unwrap();
        assert_eq!(output.text(), word);
    }
}

#[test]
fn scripts_have_input_output_code_and_limit() {
    let host = Host::local();
    let output = host.run("cat; echo no >&2; exit 7", b"bytes\0\xff", SHORT).unwrap();
    assert_eq!((output.status, &output.stdout[..], &output.stderr[..]), (7, &b"bytes\0\xff"[..], "no\n"));
    assert_eq!(host.run("kill -ILL $$", &[], SHORT).unwrap().status, 132);
    // More than a pipe holds, which the script does not read.
    assert!(host.run("exit 0", &vec![0; 1 << 20], SHORT).unwrap().succeeded());
    let start = Instant::now();
    let error = host.run("exec sleep 30", &[], Duration::from_millis(100)).unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }) && start.elapsed() < Duration::from_secs(20), "{error}");
}

#[test]
fn pushed_file_is_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("it's a file");
    let (host, name) = (Host::local(), path.to_str().unwrap());
    let bytes: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
    host.push(&bytes, name).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(host.pull(name, bytes.len()).unwrap(), bytes);
    // The input ends early, as when the sender is killed.
    let early = Early(Host::local());
    let error = early.push(&bytes, name).unwrap_err().to_string();
    assert!(error.contains("100 of 200000 bytes arrived") && !path.exists(), "{error}");
    let error = host.push(&bytes, "/nowhere/at/all").unwrap_err().to_string();
    assert!(error.contains("give a path whose folder is there"), "{error}");
    if Path::new("/dev/full").exists() {
        let error = Error::write("d", "p", &host.run("cat > /dev/full", b"x", SHORT).unwrap().stderr);
        assert!(error.to_string().contains("make room there"), "{error}");
    }
    assert!(matches!(host.pull("/nowhere", 1), Err(Error::Read { .. })));
}

/// Passes on only the first bytes.
#[derive(Debug)]
struct Early(Host);

impl Transport for Early {
    fn name(&self) -> &str {
        "early"
    }

    fn run(&self, script: &str, input: &[u8], limit: Duration) -> Result<Output, Error> {
        self.0.run(script, &input[..input.len().min(100)], limit)
    }
}

#[test]
fn emulation_needs_a_board_that_is_emulated() {
    let error = Host::emulating(&Board::find("n100").unwrap()).unwrap_err().to_string();
    assert!(error.contains("qemu:n100: n100 is not emulated"), "{error}");
}

/// A client that does on this machine what adb does on a device, and fails as adb does.
const FALSE_ADB: &str = r#"#!/bin/sh
[ "$1" = -s ] && { serial=$2; shift 2; }
case "$serial" in
  locked) echo "error: device unauthorized." >&2; exit 1;;
  gone) echo "error: device 'gone' not found" >&2; exit 1;;
esac
case "$1" in
  shell) if [ "$serial" = torn ] && [ "$2" != "( exit 0
); echo edgepack-exit=\$?" ]; then echo "adb: error: closed" >&2; exit 1; fi
    sh -c "$2"; exit 0;;
  push) cp "$2" "$3" || exit 1;;
  pull) cp "$2" "$3" || exit 1;;
esac
"#;

#[test]
fn adb_is_driven_as_its_own_client_says() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let client = folder.path().join("adb");
    std::fs::write(&client, FALSE_ADB).unwrap();
    std::fs::set_permissions(&client, std::fs::Permissions::from_mode(0o755)).unwrap();
    let connect = |serial: &str| Adb::by(client.to_str().unwrap(), serial);
    let phone = connect("R58M").unwrap();
    assert_eq!(phone.name(), "adb:R58M");
    // Its own exit code is 0 whatever the script's is, as before Android 7.
    let output = phone.run("echo out; exit 3", &[], SHORT).unwrap();
    assert_eq!((output.status, output.text().as_str()), (3, "out\n"));
    let path = folder.path().join("f");
    phone.push(b"\0\xff", path.to_str().unwrap()).unwrap();
    assert_eq!(phone.pull(path.to_str().unwrap(), 2).unwrap(), b"\0\xff");
    let error = phone.push(b"x", "/nowhere/at/all").unwrap_err().to_string();
    assert!(error.contains("give a path whose folder is there"), "{error}");
    let error = connect("locked").unwrap_err().to_string();
    assert!(error.contains("allow debugging"), "{error}");
    let error = connect("gone").unwrap_err().to_string();
    assert!(error.contains("`adb devices`"), "{error}");
    let error = connect("torn").unwrap().run("true", &[], SHORT).unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error}");
    assert!(matches!(connect("-d"), Err(Error::Name { .. })));
    let error = Adb::by("/nowhere/adb", "R58M").unwrap_err().to_string();
    assert!(error.contains("not installed here; install it (apt install adb"), "{error}");
}

#[test]
fn ssh_that_is_not_there_is_told() {
    let error = Ssh::by("/nowhere/ssh", "pi@kitchen").unwrap_err().to_string();
    assert!(
        error.contains("/nowhere/ssh is not installed here") && error.contains("openssh-client"),
        "{error}"
    );
    assert!(matches!(Ssh::by("ssh", "-oX=y"), Err(Error::Name { .. })));
    let sleeps = Command::new("sh").args(["-c", "command -v ssh"]).output().unwrap();
    if sleeps.status.success() {
        // Port 1 of this machine: nobody listens there.
        let error = Ssh::by("ssh", "nobody@127.0.0.1:1").unwrap_err().to_string();
        assert!(error.contains("see whether an ssh server runs there"), "{error}");
    }
}
