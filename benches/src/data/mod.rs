//! Labelled samples: folders of images, arrays of NumPy, seeded random numbers.

mod array;
mod images;
mod npy;
mod pick;
pub(crate) mod random;
mod recordings;

use std::path::{Path, PathBuf};

use crate::{Error, Preprocessing, SignalFrontEnd};
use array::{Array, Elements};
pub use pick::Pick;

/// The input of a model: its name and its shape for one sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSpec {
    /// The model's name of it.
    pub name: String,
    /// Its shape with every dimension bound; a batch, where there is one, is 1.
    pub dims: Vec<usize>,
    /// For integers and truth values: the least and the greatest that it takes.
    pub limits: Option<[i32; 2]>,
}

/// How an image lies in an input of shape `[1, C, H, W]` or `[1, H, W, C]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageLayout {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels: 1 to 4.
    pub channels: usize,
    /// Whether the model's shape is `[1, C, H, W]`.
    pub channels_first: bool,
}

impl ImageLayout {
    /// The layout of an input, `None` where it is not that of an image. The axis of 1 or 3 is the
    /// channels, else the axis of 2 or 4; where both could be, it is the first, as usual in ONNX.
    pub fn of(dims: &[usize]) -> Option<ImageLayout> {
        let &[1, first, middle, last] = dims else { return None };
        let channels_first = if [1, 3].contains(&first) {
            true
        } else if [1, 3].contains(&last) {
            false
        } else if [2, 4].contains(&first) {
            true
        } else if [2, 4].contains(&last) {
            false
        } else {
            return None;
        };
        Some(if channels_first {
            ImageLayout { height: middle, width: last, channels: first, channels_first }
        } else {
            ImageLayout { height: first, width: middle, channels: last, channels_first }
        })
    }
}

impl InputSpec {
    /// Number of values of one sample.
    pub fn elems(&self) -> usize {
        self.dims.iter().product()
    }

    /// The values of one sample of a seeded stream.
    pub(crate) fn random(&self, seed: u64, stream: u64) -> Vec<f32> {
        match self.limits {
            None => random::normal(seed, stream, self.elems()),
            Some(limits) => random::integers(seed, stream, self.elems(), limits),
        }
    }
}

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What the model takes: preprocessed, in the model's own layout; those of several inputs one after the
    /// other.
    pub values: Vec<f32>,
    /// The pixels `[H, W, C]` in RGB order, where the source is pixels. For an input that is no image:
    /// the bytes as they lie in the array.
    pub pixels: Option<Vec<u8>>,
    /// The index of the right class.
    pub label: Option<u32>,
    /// The file's name, or the array's name and the index.
    pub name: String,
}

/// Labelled samples, decoded one at a time.
#[derive(Debug)]
pub struct DataSet {
    path: PathBuf,
    input: InputSpec,
    preprocessing: Preprocessing,
    source: Source,
    len: usize,
}

#[derive(Debug)]
enum Source {
    Images {
        layout: ImageLayout,
        images: Vec<images::Labelled>,
    },
    Recordings {
        front_end: SignalFrontEnd,
        files: Vec<images::Labelled>,
    },
    Array {
        array: Array,
        labels: Option<Vec<u32>>,
    },
    Random {
        seed: u64,
    },
    /// One for each of several inputs.
    Several(Vec<DataSet>),
}

impl DataSet {
    /// Opens the samples at `path`, those of them that are picked: all by `None`, the first by `Some`.
    ///
    /// - A folder of images (JPEG, PNG, BMP, PNM), sorted by name, with a `labels.csv` in it where
    ///   there are labels; or one image.
    /// - Likewise recordings (WAV), where the preprocessing has a front-end for them: each is a sample, of its first
    ///   window.
    /// - A `.csv` of `file,label` lines, files relative to it.
    /// - A `.npy`, samples along the first axis; a `.npz` with samples `x` and labels `y`, or with one
    ///   array of any name; or `file.npz:NAME`, whose labels are the array of that name with the last
    ///   `x` a `y`. Arrays of u8 are pixels in RGB order, `[N, H, W, C]` or in the model's own layout;
    ///   arrays of f32, f64 and i8 are what the model takes, in its own layout, and are not
    ///   preprocessed.
    ///
    /// Images are decoded one at a time; arrays are held in memory as they lie in the file.
    ///
    /// # Errors
    /// Whatever is not as above; arrays are checked as a whole, images as they are decoded.
    pub fn open(
        path: &Path,
        input: &InputSpec,
        preprocessing: &Preprocessing,
        pick: impl Into<Pick>,
    ) -> Result<DataSet, Error> {
        let source = Source::open(path, input, preprocessing, pick.into())?;
        let channels = ImageLayout::of(&input.dims).map_or(1, |layout| layout.channels);
        preprocessing.validate(channels)?;
        let (len, looked_for) = match &source {
            Source::Images { images, .. } => (
                images.len(),
                "files .jpg, .jpeg, .png, .bmp, .ppm, .pgm, .pnm; .wav only with a front-end, pack --signal",
            ),
            Source::Recordings { files, .. } => (files.len(), "files .wav, since there is a front-end"),
            Source::Array { array, .. } => (array.samples, "the first axis counts the samples"),
            Source::Random { .. } | Source::Several(_) => (0, ""),
        };
        if len == 0 {
            return Err(Error::Empty { path: path.into(), looked_for });
        }
        let (path, input, preprocessing) = (path.into(), input.clone(), preprocessing.clone());
        Ok(DataSet { path, input, preprocessing, source, len })
    }

    /// Opens the array of an `.npz` that has the input's name, where a model has several inputs. There are no
    /// labels.
    ///
    /// # Errors
    /// As [`DataSet::open`].
    pub fn open_input(
        archive: &Path,
        input: &InputSpec,
        preprocessing: &Preprocessing,
        pick: impl Into<Pick>,
    ) -> Result<DataSet, Error> {
        let array = array::open_array(archive, &input.name, input, pick.into())?;
        if array.samples == 0 {
            return Err(Error::Empty {
                path: archive.into(),
                looked_for: "the first axis counts the samples",
            });
        }
        let (input, preprocessing, len) = (input.clone(), preprocessing.clone(), array.samples);
        let source = Source::Array { array, labels: None };
        Ok(DataSet { path: archive.into(), input, preprocessing, source, len })
    }

    /// Opens the samples of a model of any number of inputs: of one as [`DataSet::open`], of several as
    /// [`DataSet::open_input`] for each.
    ///
    /// # Errors
    /// As these; or the inputs have different numbers of samples.
    pub fn open_all(
        path: &Path,
        inputs: &[InputSpec],
        preprocessing: &Preprocessing,
        pick: impl Into<Pick>,
    ) -> Result<DataSet, Error> {
        let pick = pick.into();
        let [first, _, ..] = inputs else {
            let input = inputs.first().cloned().unwrap_or(InputSpec {
                name: String::new(),
                dims: vec![],
                limits: None,
            });
            return DataSet::open(path, &input, preprocessing, pick);
        };
        let open = |input: &InputSpec| DataSet::open_input(path, input, preprocessing, pick);
        let sets = inputs.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let len = sets[0].len;
        if let Some(other) = sets.iter().find(|set| set.len != len) {
            let reason = format!("{} samples, but `{}` has {len}", other.len, first.name);
            return Err(Error::Array { path: path.into(), array: other.input.name.clone(), reason });
        }
        let (input, preprocessing) = (first.clone(), preprocessing.clone());
        Ok(DataSet { path: path.into(), input, preprocessing, source: Source::Several(sets), len })
    }

    /// `len` samples of normally distributed numbers, or of integers of any size that the input takes, the same
    /// for the same seed on every computer.
    /// For work on latency: a model calibrated with them is of no use.
    pub fn random(input: &InputSpec, seed: u64, len: usize) -> DataSet {
        DataSet {
            path: format!("random (seed {seed})").into(),
            input: input.clone(),
            preprocessing: Preprocessing::default(),
            source: Source::Random { seed },
            len,
        }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no samples, which only [`DataSet::random`] can give.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the source is u8 pixels: then samples have `pixels`, and the preprocessing applies.
    pub fn is_pixels(&self) -> bool {
        match &self.source {
            Source::Images { .. } => true,
            Source::Array { array, .. } => matches!(array.elements, Elements::U8(_)),
            Source::Recordings { .. } | Source::Random { .. } | Source::Several(_) => false,
        }
    }

    /// Whether any sample has a label.
    pub fn has_labels(&self) -> bool {
        match &self.source {
            Source::Images { images: files, .. } | Source::Recordings { files, .. } => {
                files.iter().any(|file| file.label.is_some())
            }
            Source::Array { labels, .. } => labels.is_some(),
            Source::Random { .. } | Source::Several(_) => false,
        }
    }

    /// The input that the samples are for.
    pub fn input(&self) -> &InputSpec {
        &self.input
    }

    /// The sample at `index`.
    pub fn get(&self, index: usize) -> Result<Sample, Error> {
        if index >= self.len {
            return Err(Error::NoSuchSample { path: self.path.clone(), index, len: self.len });
        }
        match &self.source {
            Source::Images { layout, images } => {
                let images::Labelled { path, label } = &images[index];
                let pixels = self.preprocessing.load(path, &self.input, layout)?;
                let values = self.preprocessing.apply(&pixels, layout);
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                Ok(Sample { values, pixels: Some(pixels), label: *label, name })
            }
            Source::Recordings { front_end, files } => {
                let images::Labelled { path, label } = &files[index];
                let values = recordings::load(path, front_end)?;
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                Ok(Sample { values, pixels: None, label: *label, name })
            }
            Source::Array { array, labels } => {
                let (values, pixels) = array.get(index, &self.input, &self.preprocessing);
                let label = labels.as_ref().map(|labels| labels[index]);
                Ok(Sample { values, pixels, label, name: format!("{}[{}]", array.name, array.place(index)) })
            }
            Source::Several(sets) => {
                let parts = sets.iter().map(|set| set.get(index)).collect::<Result<Vec<_>, _>>()?;
                let values = parts.into_iter().flat_map(|part| part.values).collect();
                Ok(Sample { values, pixels: None, label: None, name: format!("[{index}]") })
            }
            Source::Random { seed } => {
                let values = self.input.random(*seed, index as u64);
                Ok(Sample { values, pixels: None, label: None, name: format!("random[{index}]") })
            }
        }
    }

    /// Every sample in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<Sample, Error>> + '_ {
        (0..self.len).map(|index| self.get(index))
    }
}

/// The values of each of several inputs, which lie one after the other.
pub(crate) fn split<'a>(inputs: &[InputSpec], values: &'a [f32]) -> Vec<&'a [f32]> {
    let mut rest = values;
    let part = |input: &InputSpec| {
        let (part, after) = rest.split_at(input.elems().min(rest.len()));
        rest = after;
        part
    };
    inputs.iter().map(part).collect()
}

impl Source {
    fn open(
        path: &Path,
        input: &InputSpec,
        preprocessing: &Preprocessing,
        pick: Pick,
    ) -> Result<Source, Error> {
        let (file, array) = array::split_name(path);
        let metadata = std::fs::metadata(&file).map_err(Error::io(&file))?;
        let extension = file.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        let front_end = preprocessing.signal.as_ref();
        let is_kind = if front_end.is_some() { recordings::is_recording } else { images::is_image };
        let files = if metadata.is_dir() {
            images::folder(&file, is_kind, pick)?
        } else {
            match extension.as_deref() {
                Some("csv") => images::listed(&file, pick)?,
                Some("npy" | "npz") => {
                    let (array, labels) = array::open(&file, array.as_deref(), input, pick)?;
                    return Ok(Source::Array { array, labels });
                }
                Some(_) if images::is_image(&file) || recordings::is_recording(&file) => {
                    vec![images::Labelled { path: file, label: None }]
                }
                _ => return Err(Error::NotADataSet { path: file }),
            }
        };
        if let Some(recording) = files.iter().find(|file| recordings::is_recording(&file.path)) {
            let Some(front_end) = front_end else {
                let reason =
                    "a recording, and nothing says how it becomes the model's input: pack with --signal"
                        .into();
                return Err(Error::Recording { path: recording.path.clone(), reason });
            };
            front_end.check(input)?;
            return Ok(Source::Recordings { front_end: front_end.clone(), files });
        }
        let images = files;
        let layout = ImageLayout::of(&input.dims).ok_or_else(|| Error::NotAnImageInput {
            path: path.into(),
            input: input.name.clone(),
            dims: input.dims.clone(),
        })?;
        Ok(Source::Images { layout, images })
    }
}

#[cfg(test)]
mod tests;
