//! The C library: what is looked at beyond a program, and the folder that a program is compiled with.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Error, Linkage, Plan, Program, machines_of_archive};

/// Whether the shared library has the name that programs load it by, and the static one beside it is of the same
/// architecture.
///
/// # Errors
/// The library, and what is the matter with it.
pub(super) fn check(plan: &Plan, program: &Program, shared: &Path) -> Result<(), (PathBuf, String)> {
    // Android has no versions of libraries: they are part of an app.
    let soname = match plan.linkage {
        Linkage::Bionic(_) => None,
        _ => Some("libedgepack.so.0"),
    };
    if soname.is_some() && program.soname.as_deref() != soname {
        let what = format!("its name for the loader is {:?}, not {soname:?}", program.soname);
        return Err((shared.into(), what));
    }
    let archive = shared.with_extension("a");
    let bytes = std::fs::read(&archive).map_err(|error| (archive.clone(), error.to_string()))?;
    match machines_of_archive(&bytes) {
        Some(machines) if machines == [plan.triple.machine] => Ok(()),
        Some(machines) => {
            let what =
                format!("its objects are for {machines:?}, {} is {}", plan.triple.arch, plan.triple.machine);
            Err((archive, what))
        }
        None => Err((archive, "it is no static library".into())),
    }
}

/// Whether a file of this name is one that the folder had at this or another version.
pub(super) fn belongs(name: &str) -> bool {
    matches!(
        name,
        "include/edgepack.h" | "include/edgepack.hpp" | "lib/libedgepack.a" | "lib/pkgconfig/edgepack.pc"
    ) || name.strip_prefix("lib/libedgepack.so").is_some_and(|version| {
        version.is_empty()
            || version.starts_with('.') && version.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit())
    })
}

/// Puts headers, libraries and pkg-config's file into a folder, which may then be moved.
pub(super) fn install(plan: &Plan, shared: &Path, folder: &Path) -> Result<(), Error> {
    let script = plan.workspace.join("runtime/capi/install.sh");
    let mut command = Command::new("sh");
    command.arg(&script).arg("--movable").args(shared.parent()).arg("/").env("DESTDIR", folder);
    let failed = |source| Error::Io { path: script.clone(), source };
    let output = command.output().map_err(failed)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
        return Err(failed(std::io::Error::other(said)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_every_version_belong_and_others_do_not() {
        for name in
            ["include/edgepack.h", "lib/libedgepack.so", "lib/libedgepack.so.0", "lib/libedgepack.so.0.1.0"]
        {
            assert!(belongs(name), "{name}");
        }
        for name in [
            "edgepack.h",
            "lib/libedgepack.so.old",
            "lib/libedgepack.so0",
            "lib/libother.so",
            "include/mine.h",
        ] {
            assert!(!belongs(name), "{name}");
        }
    }
}
