//! Where Python keeps the library of its `onnxruntime` wheel. Python itself is not run: it may be
//! slow, absent, or do things of its own as it starts.

use std::path::{Path, PathBuf};

/// The places that say where Python is.
pub(super) struct Places {
    /// `VIRTUAL_ENV`.
    pub virtual_env: Option<PathBuf>,
    /// The folders of `PATH`.
    pub path: Vec<PathBuf>,
    /// `HOME`, for packages installed with `--user`.
    pub home: Option<PathBuf>,
}

impl Places {
    pub(super) fn of_this_process() -> Places {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Places {
            virtual_env: variable("VIRTUAL_ENV").map(PathBuf::from),
            path: variable("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default(),
            home: variable("HOME").map(PathBuf::from),
        }
    }
}

/// The libraries, best first: those of the virtual environment, of the first `python3` on the path, of
/// the user; in each place the newest first.
pub(super) fn libraries(places: &Places) -> Vec<PathBuf> {
    let mut prefixes: Vec<PathBuf> = places.virtual_env.iter().cloned().collect();
    let python = places
        .path
        .iter()
        .find(|folder| ["python3", "python.exe"].iter().any(|python| folder.join(python).is_file()));
    if let Some(prefix) = python.and_then(|folder| folder.parent()) {
        prefixes.push(prefix.to_path_buf());
        // Debian's python3 also reads what `pip` installs here.
        if prefix == Path::new("/usr") {
            prefixes.push("/usr/local".into());
        }
    }
    prefixes.extend(places.home.iter().map(|home| home.join(".local")));
    let mut found: Vec<PathBuf> = Vec::new();
    for prefix in prefixes {
        let mut here: Vec<PathBuf> =
            site_packages(&prefix).iter().flat_map(|folder| in_wheel(folder)).collect();
        here.sort_by_key(|path| std::cmp::Reverse(version_of(path)));
        here.retain(|path| !found.contains(path));
        found.extend(here);
    }
    found
}

/// `(1, 31, 1)` for `libonnxruntime.so.1.31.1` or `libonnxruntime.1.31.1.dylib`.
pub(super) fn version_of(path: &Path) -> Option<(u32, u32, u32)> {
    let name = path.file_name()?.to_str()?;
    let mut numbers = name.split('.').filter_map(|part| part.parse().ok());
    Some((numbers.next()?, numbers.next()?, numbers.next()?))
}

fn site_packages(prefix: &Path) -> Vec<PathBuf> {
    let mut folders = vec![prefix.join("Lib/site-packages")];
    for lib in ["lib", "lib64"] {
        for python in entries(&prefix.join(lib)) {
            if python.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3")) {
                folders.extend(["site-packages", "dist-packages"].map(|packages| python.join(packages)));
            }
        }
    }
    folders
}

fn in_wheel(site_packages: &Path) -> Vec<PathBuf> {
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name == "onnxruntime.dll"
            || name.starts_with("libonnxruntime.so")
            || (name.starts_with("libonnxruntime.") && name.ends_with(".dylib"))
    };
    entries(&site_packages.join("onnxruntime/capi")).filter(is_library).collect()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: PathBuf) -> PathBuf {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        path
    }

    #[test]
    fn version_is_read_from_the_name() {
        assert_eq!(version_of(Path::new("/a/libonnxruntime.so.1.31.1")), Some((1, 31, 1)));
        assert_eq!(version_of(Path::new("libonnxruntime.1.20.0.dylib")), Some((1, 20, 0)));
        assert_eq!(version_of(Path::new("onnxruntime.dll")), None);
    }

    #[test]
    fn virtual_environment_comes_before_the_path_and_the_home() {
        let root = tempfile::tempdir().unwrap();
        let wheel = |prefix: &str, version: &str| {
            let capi = root.path().join(prefix).join("lib/python3.11/site-packages/onnxruntime/capi");
            touch(capi.join("libonnxruntime_providers_shared.so"));
            touch(capi.join(format!("libonnxruntime.so.{version}")))
        };
        let in_home = wheel("home/.local", "1.30.0");
        let in_prefix = wheel("prefix", "1.20.0");
        let in_venv = wheel("venv", "1.9.0");
        let newer_in_venv = wheel("venv", "1.10.0");
        touch(root.path().join("prefix/bin/python3"));
        let places = Places {
            virtual_env: Some(root.path().join("venv")),
            path: vec![root.path().join("empty/bin"), root.path().join("prefix/bin")],
            home: Some(root.path().join("home")),
        };
        assert_eq!(libraries(&places), [newer_in_venv, in_venv, in_prefix, in_home]);
        assert_eq!(libraries(&Places { virtual_env: None, path: vec![], home: None }), [] as [PathBuf; 0]);
    }
}
