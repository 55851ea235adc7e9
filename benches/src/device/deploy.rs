//! A package onto a device, so that there is always a whole one in its place.
//!
//! The new package gets a name of its own beside the old one; the agent there hashes it and runs its golden
//! samples; only then is it renamed into place, which POSIX's `rename` does at once or not at all. A program
//! that has the old one mapped keeps it. What an interrupted deploy has left, the next one removes.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use edgepack_targets::transport::quote;
use serde::Serialize;

use super::{Checkup, Connection, Finding, Selftest, Severity};
use crate::Error;

/// What a deploy came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deployed {
    /// The device.
    pub device: String,
    /// Where the package lies there.
    pub path: String,
    /// BLAKE3 of its bytes.
    pub blake3: String,
    /// Whether it was sent: not where it was there already.
    pub sent: bool,
    /// BLAKE3 of the version before it, which `--rollback` puts back.
    pub previous: Option<String>,
    /// Golden samples whose outputs were bit for bit as on the workstation.
    pub golden_samples: usize,
}

/// Deploys `package` as the file `to` of the device.
///
/// # Errors
/// The device is not fit (unless `force`), the package does not arrive whole, or its self-test fails there: in each
/// case the old version stays.
pub fn deploy(checkup: Checkup, package: &Path, to: &str, force: bool) -> Result<Deployed, Error> {
    let device = checkup.facts.device.clone();
    let is_error = |finding: &&Finding| finding.severity == Severity::Error;
    let errors: Vec<String> = checkup
        .findings
        .iter()
        .filter(is_error)
        .map(|finding| format!("\n  {}; {}", finding.what, finding.remedy))
        .collect();
    let connection = match checkup.connection {
        Some(connection) if errors.is_empty() || force => connection,
        _ => {
            let reason = format!("not deployed, since{}", errors.concat());
            return Err(Error::Device { device, reason });
        }
    };
    let place = Place::new(&connection, to)?;
    let bytes = std::fs::read(package).map_err(Error::io(package))?;
    let blake3 = blake3::hash(&bytes).to_string();
    place.tidy()?;
    let old = connection.hash(&place.path)?;
    if old.as_deref() == Some(&blake3) {
        let golden_samples = place.test(&place.path, "the package that is there already")?;
        let previous = connection.hash(&place.previous())?;
        return Ok(Deployed { device, path: place.path, blake3, sent: false, previous, golden_samples });
    }
    let part = place.part();
    let arrive = || -> Result<usize, Error> {
        connection.push(&bytes, &part)?;
        let arrived = connection.hash(&part)?;
        if arrived.as_deref() != Some(&blake3) {
            return Err(connection.failed(format!(
                "the package arrived damaged (BLAKE3 {} instead of {blake3}); {} is as it was: do the same again, \
                 and see to the line and the storage if it stays",
                arrived.as_deref().unwrap_or("of nothing"),
                place.path
            )));
        }
        let samples = place.test(&part, "the package on this device")?;
        place.put(&part)?;
        Ok(samples)
    };
    let golden_samples = arrive().inspect_err(|_| place.discard(&part))?;
    Ok(Deployed { device, path: place.path, blake3, sent: true, previous: old, golden_samples })
}

/// Puts the version before the present one back, and keeps the present one in its stead: done twice, it is as
/// before.
///
/// # Errors
/// There is none, or its self-test fails: then the present one stays.
pub fn roll_back(connection: &Connection, to: &str) -> Result<Deployed, Error> {
    let place = Place::new(connection, to)?;
    place.tidy()?;
    let Some(blake3) = connection.hash(&place.previous())? else {
        return Err(connection.failed(format!(
            "there is no version before {}: {} is not there; nothing was changed",
            place.path,
            place.previous()
        )));
    };
    let previous = connection.hash(&place.path)?;
    let golden_samples = place.test(&place.previous(), "the version before it")?;
    place.swap()?;
    let device = connection.name().into();
    Ok(Deployed { device, path: place.path, blake3, sent: false, previous, golden_samples })
}

/// Where a package goes on a device.
struct Place<'a> {
    connection: &'a Connection,
    path: String,
    folder: String,
    name: String,
}

impl<'a> Place<'a> {
    /// Makes the folder where it is not there.
    fn new(connection: &'a Connection, to: &str) -> Result<Place<'a>, Error> {
        let path = match to.strip_prefix("~/") {
            // The home on the device, which a quoted word does not become by itself.
            Some(rest) => format!("{}/{rest}", connection.script("echo \"$HOME\"")?.text().trim()),
            None => to.to_string(),
        };
        let (folder, name) = match path.rsplit_once('/') {
            Some(("", name)) => ("/".to_string(), name.to_string()),
            Some((folder, name)) => (folder.to_string(), name.to_string()),
            None => (".".into(), path.clone()),
        };
        if name.is_empty() || name.starts_with('-') || path.starts_with('-') || path.contains(['\n', '\0']) {
            let reason = format!("--to {to}: give the file's path on the device, such as /opt/model.epk");
            return Err(connection.failed(reason));
        }
        let place = Place { connection, path, folder, name };
        let made = connection.script(&format!(
            "mkdir -p {folder} && [ ! -d {path} ] && [ -w {folder} ]",
            folder = quote(&place.folder),
            path = quote(&place.path)
        ))?;
        if !made.succeeded() {
            return Err(connection.failed(format!(
                "--to {to}: {}",
                match made.stderr.trim() {
                    "" =>
                        "it is a folder, or lies in one that this user may not write to; give a file's path"
                            .into(),
                    said => format!("{said}; give a path that this user may write to"),
                }
            )));
        }
        Ok(place)
    }

    fn previous(&self) -> String {
        format!("{}.previous", self.path)
    }

    /// A name that no other deploy has.
    fn part(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
        format!("{}/.{}.{}-{now}.part", self.folder, self.name, std::process::id())
    }

    /// Removes what interrupted deploys of this package have left.
    fn tidy(&self) -> Result<(), Error> {
        let start = format!("{}/.{}.", self.folder, self.name);
        self.connection.must(&format!("rm -f {}*.part", quote(&start)))
    }

    /// Removes what this deploy has sent. Where the connection is gone, the next one does.
    fn discard(&self, part: &str) {
        let _ = self.connection.script(&format!("rm -f {}", quote(part)));
    }

    /// The self-test; gives the number of golden samples.
    fn test(&self, path: &str, what: &str) -> Result<usize, Error> {
        match self.connection.selftest(path)? {
            Selftest { passed: true, samples, .. } => Ok(samples),
            failed => Err(Error::Selftest {
                device: self.connection.name().into(),
                reason: format!("{what}: {}; {} was not changed", failed.message, self.path),
            }),
        }
    }

    /// Renames the part into place; the one that was there becomes the previous one. Only then: until the last
    /// command, the path has the old version, and from then on the new one. `sync` first, so that no loss of
    /// power leaves a name without bytes. File systems without hard links (FAT) get a copy.
    fn put(&self, part: &str) -> Result<(), Error> {
        let script = format!(
            "n={part}; t={path}; p={previous}; k=\"$n.old.part\"; sync \"$n\" 2>/dev/null || sync
if [ -e \"$t\" ]; then
  ln \"$t\" \"$k\" 2>/dev/null || cp -p \"$t\" \"$k\" || exit 1
  mv -f \"$k\" \"$p\" || exit 1
  rm -f \"$k\"
fi
mv -f \"$n\" \"$t\"",
            part = quote(part),
            path = quote(&self.path),
            previous = quote(&self.previous()),
        );
        self.connection.must(&script)
    }

    /// Exchanges the present and the previous version; the path always has one of them.
    fn swap(&self) -> Result<(), Error> {
        let script = format!(
            "t={path}; p={previous}; k={part}
if [ -e \"$t\" ]; then ln \"$t\" \"$k\" 2>/dev/null || cp -p \"$t\" \"$k\" || exit 1; fi
mv -f \"$p\" \"$t\" || exit 1
[ ! -e \"$k\" ] || mv -f \"$k\" \"$p\"",
            path = quote(&self.path),
            previous = quote(&self.previous()),
            part = quote(&self.part()),
        );
        self.connection.must(&script)
    }
}
