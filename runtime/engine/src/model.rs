//! A package in memory.

use std::fs::File;
use std::path::Path;

use edgepack_core::format::Package;
#[cfg(not(feature = "tract"))]
use edgepack_core::format::plan::Op;
use memmap2::Mmap;

use crate::{AlignedBytes, Error, Session, SessionOptions};

/// A validated package, mapped from its file or held in memory.
#[derive(Debug)]
pub struct Model {
    bytes: Bytes,
    #[cfg(feature = "tract")]
    islands: crate::islands::Islands,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Owned(AlignedBytes),
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes.as_slice(),
        }
    }
}

impl Model {
    /// Maps a package and validates all of it. The file must not be changed while the model lives:
    /// deploy a new version by renaming it into place, which leaves the old one mapped.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Package`]; [`Error::NoIslands`] or [`Error::Island`] where it has islands that
    /// this build does not run.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let io = |source| Error::Io { path: path.into(), source };
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(io(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
        }
        if metadata.len() == 0 {
            return Self::validated(path, Bytes::Owned(AlignedBytes::zeroed(0)));
        }
        // SAFETY: the map is read only. That nobody truncates or rewrites the file meanwhile cannot be
        // proved here; it is what this function's documentation asks for, and every tool of ours
        // replaces packages by renaming.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Self::validated(path, Bytes::Mapped(map))
    }

    /// Copies a package and validates all of it.
    ///
    /// # Errors
    /// As [`Model::open`], but for the file's.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Self::validated(Path::new("package in memory"), Bytes::Owned(AlignedBytes::copy_of(bytes)))
    }

    fn validated(path: &Path, bytes: Bytes) -> Result<Self, Error> {
        let package = Package::parse(bytes.as_slice())
            .map_err(|source| Error::Package { path: path.into(), source })?;
        #[cfg(feature = "tract")]
        let islands = crate::islands::Islands::load(path, &package)?;
        #[cfg(not(feature = "tract"))]
        if let Some(step) = package.steps().find(|step| matches!(step.op, Op::Island(_))) {
            return Err(Error::NoIslands { path: path.into(), step: step.name.into() });
        }
        Ok(Self {
            bytes,
            #[cfg(feature = "tract")]
            islands,
        })
    }

    /// The package.
    pub fn package(&self) -> Package<'_> {
        Package::reopen(self.bytes.as_slice())
    }

    /// Memory and kernels to run the package with.
    ///
    /// # Errors
    /// [`Error::Isa`], [`Error::Threads`], [`Error::Spawn`], [`Error::Bind`].
    pub fn session(&self, options: &SessionOptions) -> Result<Session<'_>, Error> {
        #[cfg(feature = "tract")]
        let islands: Option<&dyn edgepack_core::Islands> = Some(&self.islands);
        #[cfg(not(feature = "tract"))]
        let islands = None;
        Session::new(self.package(), options, islands)
    }
}
