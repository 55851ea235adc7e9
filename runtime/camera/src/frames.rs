//! Where frames come from.

use std::path::{Path, PathBuf};

use edgepack_firmware::Source;
use image::ImageReader;

use crate::args::Input;
use crate::{Args, Error, Picture};

/// The frames that the arguments name.
#[derive(Debug)]
pub enum Frames {
    /// A folder of image files.
    Folder(Folder),
    /// A camera.
    #[cfg(all(feature = "v4l2", target_os = "linux"))]
    Camera(Box<crate::v4l2::Camera>),
}

impl Frames {
    /// Opens the folder or the camera.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Frame`]; [`Error::Usage`] for a camera in a build without cameras.
    pub fn open(args: &Args, picture: Picture) -> Result<Self, Error> {
        match &args.input {
            Input::Folder(path) => Ok(Self::Folder(Folder::open(path, picture)?)),
            #[cfg(all(feature = "v4l2", target_os = "linux"))]
            Input::Camera(path, size) => {
                Ok(Self::Camera(Box::new(crate::v4l2::Camera::open(path, *size, picture)?)))
            }
            #[cfg(not(all(feature = "v4l2", target_os = "linux")))]
            Input::Camera(path, _) => Err(Error::Usage(format!(
                "--camera {}: this build has no cameras; build it on Linux with --features v4l2",
                path.display()
            ))),
        }
    }

    /// Of the last frame.
    pub fn name(&self) -> &str {
        match self {
            Self::Folder(folder) => &folder.name,
            #[cfg(all(feature = "v4l2", target_os = "linux"))]
            Self::Camera(camera) => camera.name(),
        }
    }
}

impl Source<u8> for Frames {
    type Error = Error;

    fn read(&mut self, sample: &mut [u8]) -> Result<bool, Error> {
        match self {
            Self::Folder(folder) => folder.read(sample),
            #[cfg(all(feature = "v4l2", target_os = "linux"))]
            Self::Camera(camera) => camera.read(sample),
        }
    }
}

/// The image files of a folder, by name, once.
#[derive(Debug)]
pub struct Folder {
    files: std::vec::IntoIter<PathBuf>,
    picture: Picture,
    name: String,
}

impl Folder {
    /// The files of a folder that the decoder knows by their extension.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read, [`Error::Frame`] where it has no image.
    pub fn open(path: &Path, picture: Picture) -> Result<Self, Error> {
        let failed = |source| Error::Io { path: path.into(), source };
        let entries = std::fs::read_dir(path).map_err(failed)?;
        let mut files = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<PathBuf>, _>>()
            .map_err(failed)?;
        files.retain(|path| image::ImageFormat::from_path(path).is_ok_and(|format| format.reading_enabled()));
        if files.is_empty() {
            let reason = "no image is in this folder: .png, .jpg, .bmp, .ppm, .pgm".into();
            return Err(Error::Frame { path: path.into(), reason });
        }
        files.sort_unstable();
        Ok(Self { files: files.into_iter(), picture, name: String::new() })
    }
}

impl Source<u8> for Folder {
    type Error = Error;

    fn read(&mut self, sample: &mut [u8]) -> Result<bool, Error> {
        let Some(path) = self.files.next() else { return Ok(false) };
        let image = ImageReader::open(&path)
            .and_then(ImageReader::with_guessed_format)
            .map_err(|source| Error::Io { path: path.clone(), source })?
            .decode()
            .map_err(|source| Error::Image { path: path.clone(), source })?;
        self.picture.fill(image, sample).map_err(|reason| Error::Frame { path: path.clone(), reason })?;
        self.name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(true)
    }
}
