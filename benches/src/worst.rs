//! The samples of a comparison that came out worst.

use base64::Engine as _;
use image::imageops::{FilterType, resize};
use image::{DynamicImage, GrayImage, RgbImage};
use serde::Serialize;

use crate::data::ImageLayout;
use crate::metrics::argmax;
use crate::{InputSpec, Sample};

/// A sample, and what both sides made of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WorstSample {
    /// Its name.
    pub name: String,
    /// Its right class.
    pub label: Option<u32>,
    /// Whether the sides rank another class of the first output first.
    pub differs: bool,
    /// Signal to noise over its outputs; `None` where there is no noise, or no signal.
    pub sqnr_db: Option<f64>,
    /// Values of the first output: the largest of either side and those that differ most, in the baseline's order.
    pub values: Vec<ValuePair>,
    /// The picture, small, as a data URL; only for reports.
    #[serde(skip)]
    pub picture: Option<String>,
    /// Noise over signal.
    #[serde(skip)]
    pub(crate) noise: f64,
}

/// A value of the first output.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ValuePair {
    /// Its index.
    pub index: usize,
    /// The baseline's.
    pub baseline: f32,
    /// The device's.
    pub device: f32,
}

/// The worst samples so far: no more than so many, whatever the number of samples.
#[derive(Clone, Debug)]
pub(crate) struct Worst {
    most: usize,
    samples: Vec<WorstSample>,
}

/// Of a side's largest values, and of those that differ most.
const LARGEST: usize = 3;
const DIFFERENT: usize = 2;

/// The longer side of a picture, in pixels.
const PICTURE: u32 = 128;

impl Worst {
    pub fn new(most: usize) -> Worst {
        Worst { most, samples: Vec::new() }
    }

    pub fn add(&mut self, sample: &Sample, input: &InputSpec, baseline: &[Vec<f32>], device: &[Vec<f32>]) {
        let (Some(first), Some(own)) = (baseline.first(), device.first()) else { return };
        let (mut signal, mut difference) = (0.0, 0.0);
        for (&b, &d) in baseline.iter().flatten().zip(device.iter().flatten()) {
            signal += f64::from(b).powi(2);
            difference += (f64::from(b) - f64::from(d)).powi(2);
        }
        let differs = first.len() > 1 && argmax(first) != argmax(own);
        // What is not finite is worse than all that is.
        let noise = if difference == 0.0 { 0.0 } else { difference / signal };
        let noise = if noise.is_nan() { f64::INFINITY } else { noise };
        let rank = |differs: bool, noise: f64| (std::cmp::Reverse(differs), -noise);
        let is_worse = |kept: &WorstSample| rank(differs, noise) < rank(kept.differs, kept.noise);
        let at = self.samples.iter().position(is_worse).unwrap_or(self.samples.len());
        if at >= self.most {
            return;
        }
        let sqnr_db = Some(-10.0 * noise.log10()).filter(|db| db.is_finite());
        let sample = WorstSample {
            name: sample.name.clone(),
            label: sample.label,
            differs,
            sqnr_db,
            values: telling(first, own),
            picture: picture(sample, input),
            noise,
        };
        self.samples.insert(at, sample);
        self.samples.truncate(self.most);
    }

    pub fn finish(self) -> Vec<WorstSample> {
        self.samples
    }
}

/// The values that tell most.
fn telling(baseline: &[f32], device: &[f32]) -> Vec<ValuePair> {
    let top = |count: usize, key: &dyn Fn(usize) -> f32| {
        let mut places: Vec<usize> = (0..baseline.len().min(device.len())).collect();
        let count = count.min(places.len());
        if count > 0 && count < places.len() {
            places.select_nth_unstable_by(count - 1, |&a, &b| key(b).total_cmp(&key(a)));
        }
        places.truncate(count);
        places
    };
    let mut places = top(LARGEST, &|at| baseline[at]);
    places.extend(top(LARGEST, &|at| device[at]));
    places.extend(top(DIFFERENT, &|at| (baseline[at] - device[at]).abs()));
    places.sort_unstable();
    places.dedup();
    places.sort_by(|&a, &b| baseline[b].total_cmp(&baseline[a]));
    places
        .into_iter()
        .map(|index| ValuePair { index, baseline: baseline[index], device: device[index] })
        .collect()
}

/// The sample's picture, where it is one.
fn picture(sample: &Sample, input: &InputSpec) -> Option<String> {
    let layout = ImageLayout::of(&input.dims)?;
    let (width, height) = (layout.width as u32, layout.height as u32);
    let pixels = sample.pixels.clone()?;
    let picture = match layout.channels {
        1 => DynamicImage::ImageLuma8(GrayImage::from_raw(width, height, pixels)?),
        3 => DynamicImage::ImageRgb8(RgbImage::from_raw(width, height, pixels)?),
        _ => return None,
    };
    let (longer, rgb) = (width.max(height), picture.to_rgb8());
    // Small pictures stay as they are: the page shows their pixels.
    let small = match longer > PICTURE {
        true => {
            let side = |side: u32| (side * PICTURE / longer).max(1);
            resize(&rgb, side(width), side(height), FilterType::Triangle)
        }
        false => rgb,
    };
    let mut png = Vec::new();
    small.write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png).ok()?;
    Some(format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(png)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str, pixels: Option<Vec<u8>>) -> Sample {
        Sample { values: vec![], pixels, label: Some(1), name: name.into() }
    }

    fn input() -> InputSpec {
        InputSpec { name: "x".into(), dims: vec![1, 2, 2, 1], limits: None }
    }

    #[test]
    fn other_classes_come_first_then_the_most_noise() {
        let mut worst = Worst::new(3);
        let mut add = |name: &str, device: [f32; 2]| {
            worst.add(&sample(name, None), &input(), &[vec![2.0, 1.0]], &[device.to_vec()]);
        };
        add("exact", [2.0, 1.0]);
        add("noisy", [3.0, 1.0]);
        add("other", [1.0, 2.0]);
        add("little", [2.1, 1.0]);
        add("nan", [f32::NAN, 1.0]);
        let samples = worst.finish();
        let names: Vec<&str> = samples.iter().map(|sample| sample.name.as_str()).collect();
        assert_eq!(names, ["nan", "other", "noisy"]);
        assert_eq!((samples[1].differs, samples[2].differs), (true, false));
        // Signal 5, noise 1.
        assert!((samples[2].sqnr_db.unwrap() - 10.0 * 5f64.log10()).abs() < 1e-9);
    }

    #[test]
    fn values_that_tell_are_the_largest_and_those_that_differ() {
        let baseline: Vec<f32> = (0..100).map(|i| i as f32).collect();
        let mut device = baseline.clone();
        (device[3], device[50]) = (40.0, 200.0);
        let indices: Vec<usize> = telling(&baseline, &device).iter().map(|value| value.index).collect();
        assert_eq!(indices, [99, 98, 97, 50, 3]);
        assert_eq!(telling(&[1.0], &[2.0]).len(), 1);
        assert!(telling(&[], &[]).is_empty());
    }

    #[test]
    fn pictures_are_data_urls() {
        let url = picture(&sample("p", Some(vec![0, 50, 100, 250])), &input()).unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(url.split(',').nth(1).unwrap()).unwrap();
        let image = image::load_from_memory(&bytes).unwrap();
        assert_eq!((image.width(), image.height(), image.to_luma8().get_pixel(1, 1).0), (2, 2, [250]));
        assert_eq!(picture(&sample("p", Some(vec![0])), &input()), None);
        assert_eq!(picture(&sample("p", None), &input()), None);
    }
}
