//! Where Android's native development kit (NDK) is, which has the linker and the C library of Android.

use std::path::{Path, PathBuf};

use super::needs::program;
use crate::triple::Triple;

/// The version that the documentation names.
pub(super) const VERSION: &str = "27.2.12479018";

/// The linker for an API level: what `PATH` has, or the NDK that the environment names as its own tools do, or
/// the newest one of the SDK that it names.
pub(super) fn linker(triple: &Triple, level: u32) -> Option<PathBuf> {
    // Clang's name of the architecture is not Rust's.
    let name = format!("{}{level}-clang", triple.name.replace("armv7-", "armv7a-"));
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let named =
        ["ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_NDK_LATEST_HOME"].into_iter().find_map(variable);
    let sdk = ["ANDROID_HOME", "ANDROID_SDK_ROOT"].into_iter().find_map(variable);
    program(&name).or_else(|| named.or_else(|| newest(&sdk?.join("ndk"))).and_then(|kit| in_kit(&kit, &name)))
}

/// The newest of the kits in a folder, whose names are their versions.
fn newest(folder: &Path) -> Option<PathBuf> {
    let numbers = |path: &PathBuf| -> Vec<u64> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.split('.').map(|number| number.parse().unwrap_or(0)).collect()
    };
    let entries = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    entries.filter(|path| path.is_dir()).max_by_key(numbers)
}

/// A tool of a kit, which has those for one kind of host.
fn in_kit(kit: &Path, name: &str) -> Option<PathBuf> {
    let hosts = std::fs::read_dir(kit.join("toolchains/llvm/prebuilt")).ok()?;
    hosts.filter_map(|host| Some(host.ok()?.path().join("bin").join(name))).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_kit_is_so_by_number_and_has_the_linker() {
        let folder = tempfile::tempdir().unwrap();
        for version in ["9.1.2", "27.2.12479018", "27.0.1"] {
            let bin = folder.path().join(version).join("toolchains/llvm/prebuilt/linux-x86_64/bin");
            std::fs::create_dir_all(&bin).unwrap();
            std::fs::write(bin.join("aarch64-linux-android24-clang"), version).unwrap();
        }
        std::fs::write(folder.path().join("99.txt"), "").unwrap();
        let kit = newest(folder.path()).unwrap();
        assert!(kit.ends_with("27.2.12479018"));
        let linker = in_kit(&kit, "aarch64-linux-android24-clang").unwrap();
        assert_eq!(std::fs::read_to_string(linker).unwrap(), "27.2.12479018");
        assert_eq!(in_kit(&kit, "aarch64-linux-android99-clang"), None);
        assert_eq!(newest(&folder.path().join("none")), None);
    }
}
