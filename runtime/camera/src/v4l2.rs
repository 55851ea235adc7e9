//! Cameras, by V4L2.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edgepack_firmware::Source;
use image::{DynamicImage, ImageFormat, RgbImage};
use v4l::buffer::Type;
use v4l::io::mmap::Stream;
use v4l::io::traits::CaptureStream;
use v4l::video::Capture;
use v4l::{Device, Format, FourCC};

use crate::{Error, Picture, rgb_of_yuyv};

/// How long a camera may take for a frame.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Frames in flight: one is filled while another is run. More would only make what is seen older.
const BUFFERS: u32 = 2;

/// So many damaged frames in a row are an error; single ones are usual with USB, the first ones above all.
const DAMAGED: usize = 10;

/// What is asked of a camera, the first choice first.
const FORMATS: [&[u8; 4]; 3] = [b"RGB3", b"YUYV", b"MJPG"];

/// A camera that streams.
pub struct Camera {
    path: PathBuf,
    stream: Stream<'static>,
    format: Format,
    picture: Picture,
    name: String,
}

impl fmt::Debug for Camera {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Camera").field("path", &self.path).field("format", &self.format).finish()
    }
}

impl Camera {
    /// Opens a camera and asks it for frames of this width and height, in the first of the formats known here that it
    /// has. What it gives may be of another size: frames are resized as the package says.
    ///
    /// # Errors
    /// [`Error::Io`]: it is not there, or busy; [`Error::Frame`]: it has none of these formats.
    pub fn open(path: &Path, [width, height]: [u32; 2], picture: Picture) -> Result<Self, Error> {
        let failed = |source| Error::Io { path: path.into(), source };
        let device = Device::with_path(path).map_err(failed)?;
        let mut format = device.format().map_err(failed)?;
        for fourcc in FORMATS.map(FourCC::new) {
            // A driver that has not what is asked for answers with what it has.
            format = device.set_format(&Format::new(width, height, fourcc)).map_err(failed)?;
            if format.fourcc == fourcc {
                break;
            }
        }
        if !FORMATS.iter().any(|known| format.fourcc == FourCC::new(known)) {
            let reason = format!(
                "it gives frames of {}, and RGB3, YUYV and MJPG are known here; \
                 v4l2-ctl --list-formats lists them, libcamera's v4l2 layer or media-ctl may offer others",
                format.fourcc
            );
            return Err(Error::Frame { path: path.into(), reason });
        }
        let mut stream = Stream::with_buffers(&device, Type::VideoCapture, BUFFERS).map_err(failed)?;
        stream.set_timeout(TIMEOUT);
        Ok(Self { path: path.into(), stream, format, picture, name: String::new() })
    }

    /// The number of the last frame, as the driver counts.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Source<u8> for Camera {
    type Error = Error;

    fn read(&mut self, sample: &mut [u8]) -> Result<bool, Error> {
        let path = &self.path;
        let frame = |reason| Error::Frame { path: path.clone(), reason };
        let mut damage = String::new();
        for _ in 0..DAMAGED {
            let (buffer, meta) =
                self.stream.next().map_err(|source| Error::Io { path: path.clone(), source })?;
            let used = buffer.get(..meta.bytesused as usize).unwrap_or(buffer);
            match decode(used, &self.format) {
                Ok(image) => {
                    self.picture.fill(image, sample).map_err(frame)?;
                    self.name = format!("frame {}", meta.sequence);
                    return Ok(true);
                }
                Err(reason) => damage = reason,
            }
        }
        Err(frame(format!("{DAMAGED} frames in a row are damaged, the last one: {damage}")))
    }
}

/// A frame in one of [`FORMATS`]; lines may be longer than what is in them.
fn decode(bytes: &[u8], format: &Format) -> Result<DynamicImage, String> {
    let fourcc = format.fourcc;
    if fourcc == FourCC::new(b"MJPG") {
        return image::load_from_memory_with_format(bytes, ImageFormat::Jpeg)
            .map_err(|error| error.to_string());
    }
    let line = format.width as usize * if fourcc == FourCC::new(b"RGB3") { 3 } else { 2 };
    let stride = line.max(format.stride as usize);
    let mut pixels = Vec::new();
    for row in 0..format.height as usize {
        let row = bytes.get(row * stride..row * stride + line);
        let row = row.ok_or_else(|| format!("a frame of {} bytes is not whole", bytes.len()))?;
        if fourcc == FourCC::new(b"RGB3") {
            pixels.extend_from_slice(row);
        } else {
            pixels.extend(rgb_of_yuyv(row));
        }
    }
    let image = RgbImage::from_raw(format.width, format.height, pixels);
    image.map(DynamicImage::from).ok_or_else(|| "a frame of an odd width".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(fourcc: &[u8; 4], stride: u32) -> Format {
        Format { stride, ..Format::new(2, 2, FourCC::new(fourcc)) }
    }

    #[test]
    fn frames_are_decoded_line_by_line() {
        let lines: Vec<u8> = (0..16).collect();
        let image = decode(&lines, &format(b"RGB3", 8)).unwrap().into_rgb8();
        assert_eq!(image.into_raw(), [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]);
        let grey = [16, 128, 235, 128, 235, 128, 16, 128];
        let image = decode(&grey, &format(b"YUYV", 4)).unwrap().into_luma8();
        assert_eq!(image.into_raw(), [0, 255, 255, 0]);
        assert!(decode(&grey[..7], &format(b"YUYV", 4)).unwrap_err().contains("not whole"));
        assert!(decode(&[0; 9], &format(b"MJPG", 0)).is_err());
    }
}
