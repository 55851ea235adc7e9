//! Puts what was built into place, whole or not at all.

use std::path::{Path, PathBuf};

use super::Error;

/// Writes a program under another name first: whoever looks finds the old one, or the new one, whole.
pub(super) fn file(bytes: &[u8], place: &Path) -> Result<(), Error> {
    let failed = |source| Error::Io { path: place.into(), source };
    let folder = place.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755));
    let mut file = builder.tempfile_in(folder).map_err(failed)?;
    std::io::Write::write_all(&mut file, bytes).map_err(failed)?;
    file.persist(place).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Makes a folder by `fill`, and then puts it in the place of one that has no other files than such a folder had
/// before; what a user keeps there is not removed.
pub(super) fn folder(
    place: &Path,
    belongs: &dyn Fn(&str) -> bool,
    fill: impl FnOnce(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    let failed = |source| Error::Io { path: place.into(), source };
    let mut old = Vec::new();
    // A link, even one that leads nowhere, is something that was put there.
    let exists = place.symlink_metadata().is_ok();
    if exists {
        files_below(place, "", &mut old).map_err(failed)?;
    }
    if let Some(file) = old.into_iter().find(|name| !belongs(name)) {
        return Err(Error::Occupied { path: place.into(), file });
    }
    let parent = match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    std::fs::create_dir_all(&parent).map_err(failed)?;
    let both = tempfile::tempdir_in(&parent).map_err(failed)?;
    let new = both.path().join("new");
    std::fs::create_dir(&new).map_err(failed)?;
    fill(&new)?;
    if exists {
        std::fs::rename(place, both.path().join("old")).map_err(failed)?;
    }
    std::fs::rename(&new, place).map_err(failed)
}

/// The names of all files below a folder, with those of the folders that they are in.
fn files_below(folder: &Path, above: &str, names: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{above}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            files_below(&entry.path(), &format!("{name}/"), names)?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_gets_its_name_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("new/edgepack-agent");
        file(b"one", &place).unwrap();
        file(b"two", &place).unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(place.parent().unwrap()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(place.metadata().unwrap().permissions().mode() & 0o777, 0o755);
        }
        // A folder that is in the way is no place, and nothing is left beside it.
        std::fs::create_dir(folder.path().join("edgepack-agent")).unwrap();
        assert!(file(b"three", &folder.path().join("edgepack-agent")).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn folder_is_replaced_whole_and_only_where_nothing_else_is_in_it() {
        let top = tempfile::tempdir().unwrap();
        let place = top.path().join("boards/rpi4");
        let belongs = |name: &str| name == "lib/a" || name == "lib/b";
        let with = |name: &str| {
            let name = name.to_string();
            move |new: &Path| {
                std::fs::create_dir(new.join("lib")).unwrap();
                std::fs::write(new.join(name), "").unwrap();
                Ok(())
            }
        };
        let files = || {
            let mut names = Vec::new();
            files_below(top.path(), "", &mut names).unwrap();
            names
        };
        folder(&place, &belongs, with("lib/a")).unwrap();
        assert_eq!(files(), ["boards/rpi4/lib/a"]);
        folder(&place, &belongs, with("lib/b")).unwrap();
        assert_eq!(files(), ["boards/rpi4/lib/b"]);
        // What fails half-way leaves what is there.
        let occupied = || Err(Error::Occupied { path: place.clone(), file: "x".into() });
        folder(&place, &belongs, |new| with("lib/a")(new).and_then(|()| occupied())).unwrap_err();
        assert_eq!(files(), ["boards/rpi4/lib/b"]);
        std::fs::write(place.join("lib/mine"), "").unwrap();
        let error = folder(&place, &belongs, |_| panic!("it is refused before")).unwrap_err().to_string();
        assert!(error.contains("has lib/mine in it") && error.contains("--output"), "{error}");
        assert_eq!(files().len(), 2);
    }
}
