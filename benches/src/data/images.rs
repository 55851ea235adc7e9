//! Files of samples and their labels: images, and recordings.

use std::fs;
use std::path::{Path, PathBuf};

use super::pick::Pick;
use super::recordings::is_recording;
use crate::Error;

const EXTENSIONS: &[&str] = &["jpg", "jpeg", "png", "bmp", "pnm", "ppm", "pgm", "pbm"];

/// A file of one sample, decoded when it is its turn.
#[derive(Debug)]
pub(super) struct Labelled {
    pub path: PathBuf,
    pub label: Option<u32>,
}

pub(super) fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

/// The files of a kind in a folder, sorted by name, with the labels of its `labels.csv`.
pub(super) fn folder(folder: &Path, is_kind: fn(&Path) -> bool, pick: Pick) -> Result<Vec<Labelled>, Error> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        if is_kind(&path) && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    let csv = folder.join("labels.csv");
    let labels: std::collections::HashMap<PathBuf, u32> =
        if csv.is_file() { parse(&csv)?.into_iter().collect() } else { Default::default() };
    let labelled = |path: PathBuf| Labelled { label: labels.get(&path).copied(), path };
    Ok(pick.of(paths).into_iter().map(labelled).collect())
}

/// The files that a file of `file,label` lines names, in its order.
pub(super) fn listed(csv: &Path, pick: Pick) -> Result<Vec<Labelled>, Error> {
    let lines = pick.of(parse(csv)?);
    Ok(lines.into_iter().map(|(path, label)| Labelled { path, label: Some(label) }).collect())
}

/// The lines of a label file. A first line whose file is no sample is a header.
fn parse(csv: &Path) -> Result<Vec<(PathBuf, u32)>, Error> {
    let text = fs::read_to_string(csv).map_err(Error::io(csv))?;
    let folder = csv.parent().unwrap_or(Path::new(""));
    let mut labels = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let wrong = |reason| Error::Labels { path: csv.into(), line: index + 1, reason };
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let (file, label) = line
            .rsplit_once(',')
            .map(|(file, label)| (file.trim().trim_matches('"'), label.trim().trim_matches('"')))
            .ok_or_else(|| wrong(format!("`{line}` is not `file,label`")))?;
        if index == 0 && !is_image(Path::new(file)) && !is_recording(Path::new(file)) {
            continue;
        }
        let label = label.parse().map_err(|_| {
            wrong(format!("the label `{label}` of {file} is not a number; give the class's index"))
        })?;
        let path = folder.join(file);
        if !path.is_file() {
            return Err(wrong(format!("there is no file {}", path.display())));
        }
        labels.push((path, label));
    }
    Ok(labels)
}
