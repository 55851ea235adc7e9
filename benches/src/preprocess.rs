//! How the pixels of an image become the values of a model's input.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use image::imageops::FilterType;
use image::{DynamicImage, ImageReader};
use serde::{Deserialize, Serialize};

use crate::{Error, ImageLayout, InputSpec, SignalFrontEnd};

/// The largest side that an image may be resized to.
const MAX_SIDE: u32 = 16384;

/// How an image file becomes the values of a model's input: resize, centre crop, then for every
/// pixel `(pixel - mean[c]) / std[c]`, where a pixel is a whole number in 0..=255.
///
/// Arrays of u8 pixels are only normalised: they have the model's size already. Arrays of floats are
/// what the model takes; nothing is done to them.
///
/// A package records it as JSON:
/// `{"resize":"256","crop":[224,224],"mean":[127.0],"std":[128.0],"channels":"rgb"}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preprocessing {
    /// Resizing, before the crop.
    pub resize: Option<Resize>,
    /// Height and width of a centre crop. It starts at `floor((size - crop) / 2)`.
    pub crop: Option<[u32; 2]>,
    /// Subtracted from each pixel: none (0), one for all channels, or one for each of the model's
    /// channels in the model's order.
    pub mean: Vec<f32>,
    /// Divides what is left: none (1), one for all channels, or one for each of the model's channels
    /// in the model's order.
    pub std: Vec<f32>,
    /// The order of the model's channels.
    pub channels: Channels,
    /// How recordings become the input; a package has it in a section of its own.
    #[serde(skip)]
    pub signal: Option<SignalFrontEnd>,
}

/// Bilinear resizing: the `image` crate's `Triangle` filter, whose support grows with the factor
/// where an image shrinks (as in PIL, unlike OpenCV's `INTER_LINEAR`).
///
/// It is written `256` or `224x224`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Resize {
    /// The shorter side becomes this long; the longer one keeps the aspect ratio, rounded down.
    Shorter(u32),
    /// Height and width become these.
    Exact([u32; 2]),
}

/// The order of a model's channels. Image files and arrays of pixels are always RGB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// Red first.
    #[default]
    Rgb,
    /// Blue first.
    Bgr,
}

impl Preprocessing {
    /// Whether every pixel becomes its own value: no mean, no std, RGB.
    pub fn is_identity(&self) -> bool {
        self.mean.iter().all(|&m| m == 0.0)
            && self.std.iter().all(|&s| s == 1.0)
            && self.channels == Channels::Rgb
    }

    /// Whether it can be applied to an input of `channels` channels.
    pub fn validate(&self, channels: usize) -> Result<(), Error> {
        let field = |field, reason| Err(Error::Preprocessing { field, reason });
        for (name, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() > 1 && values.len() != channels {
                let count = values.len();
                return field(name, format!("{count} values for {channels} channels; give 1 or {channels}"));
            }
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                return field(name, format!("{value} is not a finite number"));
            }
        }
        if self.std.contains(&0.0) {
            return field("std", "0 would divide by zero; it must be another number".into());
        }
        if self.channels == Channels::Bgr && channels != 3 {
            return field("channels", format!("bgr needs 3 channels, the model has {channels}"));
        }
        let sides = match self.resize {
            Some(Resize::Shorter(side)) => vec![("resize", side)],
            Some(Resize::Exact([height, width])) => vec![("resize", height), ("resize", width)],
            None => vec![],
        };
        let crops = self.crop.iter().flatten().map(|&side| ("crop", side));
        match sides.into_iter().chain(crops).find(|(_, side)| !(1..=MAX_SIDE).contains(side)) {
            Some((name, side)) => {
                field(name, format!("a side of {side} pixels; 1 to {MAX_SIDE} are possible"))
            }
            None => Ok(()),
        }
    }

    /// The value of `pixel` in the model's channel `channel`.
    pub fn normalize(&self, pixel: u8, channel: usize) -> f32 {
        let of = |values: &[f32], default| match values {
            [] => default,
            [one] => *one,
            many => many.get(channel).copied().unwrap_or(default),
        };
        (f32::from(pixel) - of(&self.mean, 0.0)) / of(&self.std, 1.0)
    }

    /// The pixels `[H, W, C]` (RGB) as the model's values, in the model's layout.
    pub(crate) fn apply(&self, pixels: &[u8], layout: &ImageLayout) -> Vec<f32> {
        let &ImageLayout { channels, channels_first, .. } = layout;
        let area = layout.height * layout.width;
        let tables: Vec<[f32; 256]> =
            (0..channels).map(|c| std::array::from_fn(|pixel| self.normalize(pixel as u8, c))).collect();
        let source = |c: usize| match self.channels {
            Channels::Rgb => c,
            Channels::Bgr => channels - 1 - c,
        };
        let value = |at: usize, c: usize| tables[c][usize::from(pixels[at * channels + source(c)])];
        if channels_first {
            (0..channels).flat_map(|c| (0..area).map(move |at| (at, c))).map(|(at, c)| value(at, c)).collect()
        } else {
            (0..area).flat_map(|at| (0..channels).map(move |c| (at, c))).map(|(at, c)| value(at, c)).collect()
        }
    }

    /// Decodes, resizes and crops an image file to the pixels `[H, W, C]` of the model's size.
    pub(crate) fn load(
        &self,
        path: &Path,
        input: &InputSpec,
        layout: &ImageLayout,
    ) -> Result<Vec<u8>, Error> {
        let image = ImageReader::open(path)
            .and_then(|reader| reader.with_guessed_format())
            .map_err(Error::io(path))?
            .decode()
            .map_err(|source| Error::Image { path: path.into(), source })?;
        let original = (image.height(), image.width());
        let image = self.crop(path, self.resize(image))?;
        if (image.height() as usize, image.width() as usize) != (layout.height, layout.width) {
            return Err(Error::ImageSize {
                path: path.into(),
                height: image.height(),
                width: image.width(),
                input: input.name.clone(),
                model_height: layout.height,
                model_width: layout.width,
                flags: flags_for(original, layout),
            });
        }
        Ok(match layout.channels {
            1 => image.into_luma8().into_raw(),
            2 => image.into_luma_alpha8().into_raw(),
            3 => image.into_rgb8().into_raw(),
            _ => image.into_rgba8().into_raw(),
        })
    }

    fn resize(&self, image: DynamicImage) -> DynamicImage {
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
        if (new_height, new_width) == (height, width) {
            return image;
        }
        image.resize_exact(new_width, new_height, FilterType::Triangle)
    }

    fn crop(&self, path: &Path, image: DynamicImage) -> Result<DynamicImage, Error> {
        let Some([crop_height, crop_width]) = self.crop else { return Ok(image) };
        let (height, width) = (image.height(), image.width());
        if crop_height > height || crop_width > width {
            return Err(Error::Crop { path: path.into(), height, width, crop_height, crop_width });
        }
        let (top, left) = ((height - crop_height) / 2, (width - crop_width) / 2);
        let whole = (crop_height, crop_width) == (height, width);
        Ok(if whole { image } else { image.crop_imm(left, top, crop_width, crop_height) })
    }
}

/// The flags that bring an image of `(height, width)` to the model's size.
fn flags_for((height, width): (u32, u32), layout: &ImageLayout) -> String {
    let size = format!("{}x{}", layout.height, layout.width);
    if height as usize >= layout.height && width as usize >= layout.width {
        format!("--resize {size}, or --crop {size}")
    } else {
        format!("--resize {size}")
    }
}

/// Height and width from `224` (both) or `224x192`.
pub fn parse_size(text: &str) -> Result<[u32; 2], Error> {
    let side = |side: &str| match side.trim().parse::<u32>() {
        Ok(pixels) if (1..=MAX_SIDE).contains(&pixels) => Ok(pixels),
        _ => Err(Error::Preprocessing {
            field: "size",
            reason: format!("`{text}` is no size; write 224, or 224x192 for height x width"),
        }),
    };
    match text.split_once('x') {
        Some((height, width)) => Ok([side(height)?, side(width)?]),
        None => side(text).map(|side| [side, side]),
    }
}

impl FromStr for Resize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let [height, width] = parse_size(text)?;
        Ok(if text.contains('x') { Resize::Exact([height, width]) } else { Resize::Shorter(height) })
    }
}

impl TryFrom<String> for Resize {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl fmt::Display for Resize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resize::Shorter(side) => write!(f, "{side}"),
            Resize::Exact([height, width]) => write!(f, "{height}x{width}"),
        }
    }
}

impl From<Resize> for String {
    fn from(resize: Resize) -> String {
        resize.to_string()
    }
}

impl FromStr for Channels {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "rgb" => Ok(Channels::Rgb),
            "bgr" => Ok(Channels::Bgr),
            _ => Err(Error::Preprocessing {
                field: "channels",
                reason: format!("`{text}` is not known; write rgb or bgr"),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_what_the_documentation_shows() {
        let preprocessing = Preprocessing {
            resize: Some(Resize::Shorter(256)),
            crop: Some([224, 224]),
            mean: vec![127.0],
            std: vec![128.0],
            channels: Channels::Rgb,
            signal: None,
        };
        let json = r#"{"resize":"256","crop":[224,224],"mean":[127.0],"std":[128.0],"channels":"rgb"}"#;
        assert_eq!(serde_json::to_string(&preprocessing).unwrap(), json);
        assert_eq!(serde_json::from_str::<Preprocessing>(json).unwrap(), preprocessing);
        assert_eq!(serde_json::from_str::<Preprocessing>("{}").unwrap(), Preprocessing::default());
        assert!(serde_json::from_str::<Preprocessing>(r#"{"sharpen":1}"#).is_err());
    }

    #[test]
    fn sizes_are_read_and_nonsense_is_refused() {
        assert_eq!("256".parse::<Resize>().unwrap(), Resize::Shorter(256));
        assert_eq!("224x192".parse::<Resize>().unwrap(), Resize::Exact([224, 192]));
        assert_eq!(parse_size("224").unwrap(), [224, 224]);
        for text in ["", "x", "0", "224x", "-1", "20000", "2x2x2"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn preprocessing_that_means_nothing_is_refused() {
        let fails = |preprocessing: Preprocessing, channels, part: &str| {
            let error = preprocessing.validate(channels).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        fails(Preprocessing { mean: vec![1.0, 2.0], ..Default::default() }, 3, "2 values for 3 channels");
        fails(Preprocessing { mean: vec![f32::NAN], ..Default::default() }, 3, "mean");
        fails(Preprocessing { std: vec![0.0], ..Default::default() }, 3, "std");
        fails(Preprocessing { channels: Channels::Bgr, ..Default::default() }, 1, "bgr");
        fails(Preprocessing { crop: Some([0, 1]), ..Default::default() }, 1, "crop");
        fails(Preprocessing { resize: Some(Resize::Shorter(1 << 20)), ..Default::default() }, 1, "resize");
        Preprocessing { mean: vec![1.0; 3], std: vec![2.0], ..Default::default() }.validate(3).unwrap();
    }
}
