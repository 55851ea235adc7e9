//! What a program may ask of the device's system, and that it asks for no more.

use std::fmt;

use serde::{Serialize, Serializer};

use super::elf::Program;

/// A version of glibc, by which its symbols are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GlibcVersion {
    /// Before the point.
    pub major: u32,
    /// After it.
    pub minor: u32,
}

impl GlibcVersion {
    /// The oldest that Rust's standard library runs with.
    pub const RUST: GlibcVersion = GlibcVersion { major: 2, minor: 17 };

    /// That of a text such as `2.17` or `2.2.5`, whose third number does not matter.
    pub fn parse(text: &str) -> Option<GlibcVersion> {
        let mut numbers = text.split('.').map(|number| number.parse().ok());
        let version = GlibcVersion { major: numbers.next()??, minor: numbers.next()?? };
        numbers.all(|number| number.is_some()).then_some(version)
    }
}

impl fmt::Display for GlibcVersion {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What a program or library may ask of the device's system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linkage {
    /// Nothing: the C library is part of it.
    Static,
    /// glibc of this version, or of a newer one.
    Glibc(GlibcVersion),
    /// Android's C library, of this API level or a higher one.
    Bionic(u32),
}

impl fmt::Display for Linkage {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Static => f.write_str("static"),
            Self::Glibc(version) => write!(f, "for glibc {version} and newer"),
            Self::Bionic(level) => write!(f, "for Android's API level {level} and higher"),
        }
    }
}

impl Serialize for Linkage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Every system with glibc has these, and the loader; that of GCC's helpers unwinds the stack.
const OF_GLIBC: &[&str] =
    &["libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libgcc_s.so.1"];

/// Those of Android's libraries that are part of its stable interface for native programs, as far as Rust uses them.
const OF_ANDROID: &[&str] = &["libc.so", "libm.so", "libdl.so", "liblog.so"];

impl Linkage {
    /// Whether a program asks for no more.
    ///
    /// # Errors
    /// What it asks for, and the remedy.
    pub fn check(self, program: &Program) -> Result<(), String> {
        let known = match self {
            Self::Static if program.is_static() => return Ok(()),
            Self::Static => {
                return Err("it needs a loader and libraries of the system; \
                            is `+crt-static` taken from RUSTFLAGS?"
                    .into());
            }
            Self::Glibc(_) => OF_GLIBC,
            Self::Bionic(_) => OF_ANDROID,
        };
        let foreign = |name: &&String| !known.contains(&name.as_str()) && !name.starts_with("ld-linux");
        if let Some(name) = program.needed.iter().find(foreign) {
            return Err(format!("it needs {name}, which {self} is not sure to be there"));
        }
        let Self::Glibc(oldest) = self else { return Ok(()) };
        let mut newest = GlibcVersion { major: 0, minor: 0 };
        for name in program.versions.iter().filter_map(|name| name.strip_prefix("GLIBC_")) {
            // Some have no number, and are the business of that one version of glibc.
            let version = GlibcVersion::parse(name);
            newest =
                newest.max(version.ok_or_else(|| format!("it needs GLIBC_{name}, which is no version"))?);
        }
        if newest > oldest {
            return Err(format!(
                "it needs glibc {newest}, the oldest system of the board has {oldest}; build with zigbuild, \
                 which links to the version that it is told"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(needed: &[&str], versions: &[&str]) -> Program {
        let texts = |all: &[&str]| all.iter().map(|text| text.to_string()).collect();
        Program { needed: texts(needed), versions: texts(versions), ..Program::default() }
    }

    #[test]
    fn versions_are_ordered_by_number() {
        let of = |text| GlibcVersion::parse(text);
        assert!(of("2.4") < of("2.17") && of("2.34") > of("2.17") && of("3.0") > of("2.40"));
        assert_eq!(of("2.2.5"), Some(GlibcVersion { major: 2, minor: 2 }));
        for none in ["2", "PRIVATE", "ABI_DT_RELR", "2.x", "2.2.x", ""] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn newer_glibc_than_the_boards_is_refused_by_version() {
        let linkage = Linkage::Glibc(GlibcVersion { major: 2, minor: 31 });
        let check = |needed: &[&str], versions: &[&str]| linkage.check(&program(needed, versions));
        assert_eq!(
            check(&["libc.so.6", "ld-linux-aarch64.so.1"], &["GLIBC_2.17", "GLIBC_2.31", "GCC_3.0"]),
            Ok(())
        );
        let error = check(&["libc.so.6"], &["GLIBC_2.17", "GLIBC_2.34", "GLIBC_2.4"]).unwrap_err();
        assert!(
            error.contains("needs glibc 2.34") && error.contains("has 2.31; build with zigbuild"),
            "{error}"
        );
        assert!(check(&["libc.so.6"], &["GLIBC_PRIVATE"]).unwrap_err().contains("needs GLIBC_PRIVATE"));
        assert!(check(&["libstdc++.so.6"], &[]).unwrap_err().contains("needs libstdc++.so.6"));
    }

    #[test]
    fn static_needs_nothing_and_android_nothing_of_glibc() {
        assert_eq!(Linkage::Static.check(&program(&[], &[])), Ok(()));
        assert!(Linkage::Static.check(&program(&["libc.so.6"], &[])).is_err());
        let loaded = Program { has_loader: true, ..Program::default() };
        assert!(Linkage::Static.check(&loaded).is_err());
        assert_eq!(Linkage::Bionic(24).check(&program(&["libc.so", "libdl.so"], &["LIBC"])), Ok(()));
        assert!(Linkage::Bionic(24).check(&program(&["libc.so.6"], &[])).is_err());
    }
}
