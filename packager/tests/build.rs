//! `edgepack build` from its command to the folder, with a stand-in for cargo: what comes out wrong is refused for what
//! it is, and what was there before stays.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A board of this machine's architecture, whose oldest glibc is 2.17.
const BOARD: &str = if cfg!(target_arch = "aarch64") { "generic-aarch64" } else { "x86-64-v3" };

/// Gives what lies in `made` for what it has built: `build --profile P -p CRATE --target T` are its words.
const CARGO: &str = r#"#!/bin/sh
to=$CARGO_TARGET_DIR/$7/$3
mkdir -p "$to" && cp "$0.made"/* "$to/" || exit 3
"#;

struct Field {
    folder: tempfile::TempDir,
}

impl Field {
    /// A clone, as far as `build` looks at one, and a cargo that comes before the real one.
    fn new() -> Field {
        let field = Field { folder: tempfile::tempdir().unwrap() };
        let real = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for name in [
            "Cargo.toml",
            "runtime/agent/Cargo.toml",
            "runtime/capi/install.sh",
            "runtime/capi/edgepack.pc.in",
        ]
        .into_iter()
        .chain(["runtime/capi/include/edgepack.h", "runtime/capi/include/edgepack.hpp"])
        {
            let to = field.path("clone").join(name);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(real.join(name), to).unwrap();
        }
        std::fs::create_dir_all(field.path("tools/cargo.made")).unwrap();
        std::fs::write(field.path("tools/cargo"), CARGO).unwrap();
        std::fs::set_permissions(field.path("tools/cargo"), PermissionsExt::from_mode(0o755)).unwrap();
        field
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Has cargo make a file that the C compiler makes of this text by these words.
    fn makes(&self, name: &str, text: &str, words: &[&str]) {
        let source = self.path("source.c");
        std::fs::write(&source, text).unwrap();
        let output = self.path("tools/cargo.made").join(name);
        let status = Command::new("cc").args(words).arg("-o").arg(output).arg(source).status().unwrap();
        assert!(status.success());
    }

    /// Has it make both libraries.
    fn makes_libraries(&self, text: &str) {
        self.makes("libedgepack.so", text, &["-shared", "-fPIC", "-s", "-Wl,-soname,libedgepack.so.0"]);
        self.makes("object.o", text, &["-c"]);
        let made = self.path("tools/cargo.made");
        let _ = std::fs::remove_file(made.join("libedgepack.a"));
        let mut ar = Command::new("ar");
        assert!(ar.current_dir(made).args(["rcs", "libedgepack.a", "object.o"]).status().unwrap().success());
    }

    fn build(&self, words: &[&str]) -> Output {
        let path = std::env::var_os("PATH").unwrap();
        let path = std::iter::once(self.path("tools")).chain(std::env::split_paths(&path));
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgepack"));
        command.args([
            "build",
            "--target",
            BOARD,
            "--with",
            "cargo",
            "--output",
            "out",
            "--workspace",
            "clone",
        ]);
        command.args(words).current_dir(self.folder.path());
        command.env("PATH", std::env::join_paths(path).unwrap()).output().unwrap()
    }

    /// The error of a build that must fail.
    fn fails(&self, words: &[&str]) -> String {
        let output = self.build(words);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        stderr
    }

    /// What a build made, which must not fail.
    fn ok(&self, words: &[&str]) -> Value {
        let output = self.build(&[words, &["--format", "json"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The files of `out`, by name.
    fn out(&self) -> BTreeMap<String, Vec<u8>> {
        let mut folders = vec![self.path("out")];
        let mut files = BTreeMap::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(self.path("out")).unwrap().to_str().unwrap().to_string();
                    files.insert(name, std::fs::read(path).unwrap());
                }
            }
        }
        files
    }
}

/// Of every glibc, and of one that is newer than 2.17.
const OLD: &str = "int edgepack_abi_version(void) { return 1; }";
const NEW: &str = "int getentropy(void *, unsigned long); int f(void) { char c; return getentropy(&c, 1); }";

#[test]
fn library_becomes_a_folder_and_stays_one_when_the_next_is_wrong() {
    let field = Field::new();
    field.makes_libraries(OLD);
    let built = field.ok(&["--lib"]);
    assert_eq!((&built["product"], &built["tool"]), (&"library".into(), &"cargo".into()));
    assert_eq!(built["linkage"], "for glibc 2.17 and newer");
    let whole = field.out();
    let version = env!("CARGO_PKG_VERSION");
    let shared = format!("lib/libedgepack.so.{version}");
    let mut expected =
        vec!["include/edgepack.h", "include/edgepack.hpp", "lib/libedgepack.a", "lib/libedgepack.so"];
    expected.extend(["lib/libedgepack.so.0", &shared, "lib/pkgconfig/edgepack.pc"]);
    assert_eq!(whole.keys().collect::<Vec<_>>(), expected);
    assert_eq!(whole["lib/libedgepack.so"], whole[&shared]);
    let described = String::from_utf8(whole["lib/pkgconfig/edgepack.pc"].clone()).unwrap();
    assert!(
        described.starts_with("prefix=${pcfiledir}/../..\n") && described.contains(version),
        "{described}"
    );

    field.makes_libraries(NEW);
    let error = field.fails(&["--lib"]);
    assert!(error.contains("libedgepack.so is not what") && error.contains("it needs glibc 2.25"), "{error}");
    assert!(error.contains("has 2.17; build with zigbuild"), "{error}");
    field.makes("libedgepack.so", OLD, &["-shared", "-fPIC", "-s"]);
    assert!(field.fails(&["--lib"]).contains("its name for the loader is None"));
    field.makes("libedgepack.so", OLD, &["-shared", "-fPIC", "-Wl,-soname,libedgepack.so.0"]);
    assert!(field.fails(&["--lib"]).contains("it has its symbols; is `strip` in [profile.library]?"));
    field.makes_libraries(OLD);
    std::fs::write(field.path("tools/cargo.made/libedgepack.a"), "no archive").unwrap();
    assert!(field.fails(&["--lib"]).contains("it is no static library"));
    assert_eq!(field.out(), whole);

    // What someone keeps there is not removed.
    field.makes_libraries(OLD);
    std::fs::write(field.path("out/lib/mine"), "mine").unwrap();
    let error = field.fails(&["--lib"]);
    assert!(error.contains("has lib/mine in it") && error.contains("--output"), "{error}");
    assert_eq!(field.out()["lib/mine"], b"mine");
    // Nothing is left beside it.
    let mut names: Vec<_> =
        std::fs::read_dir(field.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["clone", "out", "source.c", "tools"]);
}

#[test]
fn agent_that_is_not_static_or_not_made_leaves_the_old_one() {
    let field = Field::new();
    std::fs::create_dir(field.path("out")).unwrap();
    std::fs::write(field.path("out/edgepack-agent"), "old").unwrap();
    let error = field.fails(&[]);
    assert!(error.contains("`cargo build --profile device") && error.contains("exit status: 3"), "{error}");
    field.makes("edgepack-agent", "int main(void) { return 0; }", &["-s"]);
    assert!(field.fails(&[]).contains("it needs a loader and libraries of the system"));
    std::fs::write(field.path("tools/cargo.made/edgepack-agent"), "#!/bin/sh").unwrap();
    assert!(field.fails(&[]).contains("it is no program of Linux"));
    assert_eq!(field.out(), BTreeMap::from([("edgepack-agent".into(), b"old".to_vec())]));
    // Without a C library there is nothing that could be missing, wherever this runs.
    let bare = ["-s", "-static", "-nostdlib", "-ffreestanding"];
    field.makes("edgepack-agent", "void _start(void) { for (;;) {} }", &bare);
    let built = field.ok(&[]);
    assert_eq!((&built["product"], &built["linkage"]), (&"agent".into(), &"static".into()));
    assert_eq!(field.out()["edgepack-agent"].len() as u64, built["bytes"].as_u64().unwrap());
}
