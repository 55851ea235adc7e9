//! From an image of any size to the pixels that a package takes.

use std::path::Path;

use edgepack_engine::format::Package;
use image::DynamicImage;
use image::imageops::FilterType;
use serde::Deserialize;

use crate::Error;

/// Pixels `[height, width, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and alpha).
    pub channels: u32,
}

impl Shape {
    /// Bytes of such a picture.
    pub fn bytes(self) -> usize {
        self.height as usize * self.width as usize * self.channels as usize
    }
}

/// What of `from_image` (FORMAT.md) is not in the package's tables already.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct FromImage {
    resize: Option<String>,
    crop: Option<[u32; 2]>,
}

/// The largest side that a frame is resized to.
const MAX_SIDE: u32 = 16384;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resize {
    Shorter(u32),
    /// Height and width.
    Exact([u32; 2]),
}

/// How an image becomes the pixels of a package: resized and cropped as the samples of its calibration were, or to the
/// size of its input where it says nothing of that.
#[derive(Clone, Debug)]
pub struct Picture {
    shape: Shape,
    resize: Option<Resize>,
    crop: Option<[u32; 2]>,
}

impl Picture {
    /// What a package has recorded.
    ///
    /// # Errors
    /// [`Error::Input`]: it has several inputs, or takes no pixels.
    pub fn of(path: &Path, package: &Package<'_>) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Input { path: path.into(), reason: reason.into() };
        let mut inputs = package.inputs();
        let (Some(input), None) = (inputs.next(), inputs.next()) else {
            return Err(wrong("it has not one input, but none or several"));
        };
        let Some(pixels) = input.pixels else {
            return Err(wrong(
                "it takes no pixels: pack it with the preprocessing of its images, as --mean and --std",
            ));
        };
        let shape = shape(input.dims.as_slice()).filter(|shape| shape.bytes() > 0);
        let shape =
            shape.ok_or_else(|| wrong("its input is not one picture [1, C, H, W] or [1, H, W, C]"))?;
        let recorded: FromImage = serde_json::from_str(pixels.from_image)
            .map_err(|error| wrong(&format!("its preprocessing cannot be read: {error}")))?;
        let resize = recorded.resize.as_deref().map(|text| {
            Resize::parse(text).ok_or_else(|| wrong(&format!("its preprocessing resizes to `{text}`")))
        });
        Ok(Self { shape, resize: resize.transpose()?, crop: recorded.crop })
    }

    /// The package's input.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Writes an image as pixels of [`Picture::shape`].
    pub(crate) fn fill(&self, image: DynamicImage, pixels: &mut [u8]) -> Result<(), String> {
        let size = [self.shape.height, self.shape.width];
        let mut image = self.resized(image);
        if let Some([height, width]) = self.crop {
            let (rows, columns) = (image.height(), image.width());
            if height > rows || width > columns {
                return Err(format!("{rows}x{columns} is less than the package's crop of {height}x{width}"));
            }
            image = image.crop_imm((columns - width) / 2, (rows - height) / 2, width, height);
        }
        if [image.height(), image.width()] != size {
            if self.resize.is_some() || self.crop.is_some() {
                let (rows, columns, [height, width]) = (image.height(), image.width(), size);
                return Err(format!(
                    "the package's preprocessing makes {rows}x{columns} of it, and its input is {height}x{width}"
                ));
            }
            image = image.resize_exact(size[1], size[0], FilterType::Triangle);
        }
        let bytes = match self.shape.channels {
            1 => image.into_luma8().into_raw(),
            2 => image.into_luma_alpha8().into_raw(),
            3 => image.into_rgb8().into_raw(),
            _ => image.into_rgba8().into_raw(),
        };
        if bytes.len() != pixels.len() {
            return Err(format!("{} bytes of pixels, where the input has {}", bytes.len(), pixels.len()));
        }
        pixels.copy_from_slice(&bytes);
        Ok(())
    }

    /// Bilinear, by a triangle whose support grows where an image shrinks: the `image` crate's `Triangle`, by which the
    /// packager prepares its samples.
    fn resized(&self, image: DynamicImage) -> DynamicImage {
        let (height, width) = (image.height(), image.width());
        let [new_height, new_width] = match self.resize {
            None => return image,
            Some(Resize::Exact(size)) => size,
            Some(Resize::Shorter(side)) => {
                let longer = |long: u32, short: u32| {
                    (u64::from(side) * u64::from(long) / u64::from(short.max(1))).min(MAX_SIDE.into()) as u32
                };
                if height <= width { [side, longer(width, height)] } else { [longer(height, width), side] }
            }
        };
        if [new_height, new_width] == [height, width] {
            return image;
        }
        image.resize_exact(new_width, new_height, FilterType::Triangle)
    }
}

impl Resize {
    fn parse(text: &str) -> Option<Self> {
        let side = |text: &str| text.parse().ok().filter(|side| (1..=MAX_SIDE).contains(side));
        match text.split_once('x') {
            Some((height, width)) => Some(Self::Exact([side(height)?, side(width)?])),
            None => Some(Self::Shorter(side(text)?)),
        }
    }
}

/// Which axis of a model's input is what, as the packager takes it: that of 1 or 3 is the channels, else that of 2 or
/// 4; where two could be, the first.
fn shape(dims: &[u32]) -> Option<Shape> {
    let &[1, first, middle, last] = dims else { return None };
    let planes = Shape { height: middle, width: last, channels: first };
    let interleaved = Shape { height: first, width: middle, channels: last };
    [[1, 3], [2, 4]].iter().find_map(|counts| {
        let planes = counts.contains(&first).then_some(planes);
        planes.or(counts.contains(&last).then_some(interleaved))
    })
}

/// RGB of what most cameras give, YUYV 4:2:2: two pixels in four bytes, Y0 U Y1 V, of ITU-R BT.601 with luma in
/// 16..=235. Integers of 8 bits' precision, rounded: R = 1.164 (Y - 16) + 1.596 (V - 128), and so on. A last pixel
/// without its pair is left out.
pub fn rgb_of_yuyv(yuyv: &[u8]) -> Vec<u8> {
    let clamp = |value: i32| ((value + 128) >> 8).clamp(0, 255) as u8;
    let pixels = yuyv.as_chunks::<4>().0.iter().flat_map(|&[y0, u, y1, v]| {
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        [y0, y1].map(|y| {
            let y = 298 * (i32::from(y) - 16);
            [clamp(y + 409 * v), clamp(y - 100 * u - 208 * v), clamp(y + 516 * u)]
        })
    });
    pixels.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_taken_as_the_packager_takes_them() {
        let of = |dims: &[u32]| shape(dims).map(|s| [s.height, s.width, s.channels]);
        assert_eq!(of(&[1, 3, 96, 64]), Some([96, 64, 3]));
        assert_eq!(of(&[1, 96, 64, 3]), Some([96, 64, 3]));
        assert_eq!(of(&[1, 1, 28, 28]), Some([28, 28, 1]));
        assert_eq!(of(&[1, 4, 8, 1]), Some([4, 8, 1]));
        assert_eq!(of(&[1, 8, 6, 4]), Some([8, 6, 4]));
        for dims in [&[1, 10][..], &[2, 3, 8, 8], &[1, 8, 8, 8], &[]] {
            assert_eq!(of(dims), None);
        }
    }

    #[test]
    fn colours_of_a_camera_are_those_of_the_standard() {
        // Black, white, and the colour bars of BT.601 at 75 %, within what 8 bits of chroma can say.
        let bars: [([u8; 3], [u8; 3]); 8] = [
            ([16, 128, 128], [0, 0, 0]),
            ([235, 128, 128], [255, 255, 255]),
            ([162, 44, 142], [191, 191, 0]),
            ([131, 156, 44], [0, 191, 191]),
            ([112, 72, 58], [0, 191, 0]),
            ([84, 184, 198], [191, 0, 191]),
            ([65, 100, 212], [191, 0, 0]),
            ([35, 212, 114], [0, 0, 191]),
        ];
        for ([y, u, v], expected) in bars {
            let rgb = rgb_of_yuyv(&[y, u, y, v]);
            assert_eq!(rgb[..3], rgb[3..], "both pixels are alike");
            let worst = rgb.iter().zip(expected).map(|(a, b)| a.abs_diff(b)).max();
            // One step of luma is 1.16, one of chroma at most 2.02.
            assert!(worst <= Some(2), "{y} {u} {v}: {rgb:?}, not {expected:?}");
        }
        assert_eq!(rgb_of_yuyv(&[1, 2, 3]).len(), 0);
    }
}
