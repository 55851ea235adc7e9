//! What can go wrong, with the place and the remedy.

use std::path::PathBuf;

/// An error of the harness.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The path is no data set.
    #[error(
        "{path}: not a data set; give a folder of images or recordings, an image, a .wav, a .csv of `file,label` lines, a .npy or a .npz"
    )]
    NotADataSet {
        /// The path given.
        path: PathBuf,
    },
    /// Instructions that could not be counted.
    #[error("{qemu} counts no instructions: {reason}")]
    Counting {
        /// The emulator.
        qemu: String,
        /// What is missing, and the remedy.
        reason: String,
    },
    /// A report whose template is at fault.
    #[error("the report's template: {reason}")]
    Template {
        /// What its engine says.
        reason: String,
    },
    /// A data set without samples.
    #[error("{path}: no samples in it ({looked_for})")]
    Empty {
        /// The data set.
        path: PathBuf,
        /// What was looked for.
        looked_for: &'static str,
    },
    /// A sample that the data set does not have.
    #[error("{path}: sample {index} of a data set of {len}")]
    NoSuchSample {
        /// The data set.
        path: PathBuf,
        /// The sample asked for.
        index: usize,
        /// How many there are.
        len: usize,
    },
    /// A preprocessing that means nothing.
    #[error("preprocessing, {field}: {reason}")]
    Preprocessing {
        /// The field (and the flag) at fault.
        field: &'static str,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A file that is no image that can be decoded.
    #[error("{path}: cannot decode this image: {source}")]
    Image {
        /// The image.
        path: PathBuf,
        /// The decoder's reason.
        source: image::ImageError,
    },
    /// A recording that cannot be used.
    #[error("{path}: {reason}")]
    Recording {
        /// The recording.
        path: PathBuf,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// An image that does not have the model's size.
    #[error(
        "{path}: {height}x{width} pixels (height x width) after preprocessing, but input `{input}` takes \
         {model_height}x{model_width}; pass {flags}"
    )]
    ImageSize {
        /// The image.
        path: PathBuf,
        /// Its height after resizing and cropping.
        height: u32,
        /// Its width after resizing and cropping.
        width: u32,
        /// The model's input.
        input: String,
        /// The model's height.
        model_height: usize,
        /// The model's width.
        model_width: usize,
        /// The flags that would help.
        flags: String,
    },
    /// An image that is smaller than the crop.
    #[error(
        "{path}: {height}x{width} pixels (height x width) are less than the crop of {crop_height}x{crop_width}; \
         pass a smaller --crop, or --resize first"
    )]
    Crop {
        /// The image.
        path: PathBuf,
        /// Its height before cropping.
        height: u32,
        /// Its width before cropping.
        width: u32,
        /// Height of the crop.
        crop_height: u32,
        /// Width of the crop.
        crop_width: u32,
    },
    /// Images for an input that takes none.
    #[error(
        "{path}: images, but input `{input}` of shape {dims:?} is not [1, C, H, W] or [1, H, W, C] with 1 to 4 \
         channels; give its values as .npy or .npz"
    )]
    NotAnImageInput {
        /// The data set.
        path: PathBuf,
        /// The model's input.
        input: String,
        /// Its shape.
        dims: Vec<usize>,
    },
    /// A line of a label file that cannot be understood.
    #[error("{path}:{line}: {reason}")]
    Labels {
        /// The label file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// An array file that cannot be read.
    #[error("{path}: {array}: {reason}")]
    Array {
        /// The file.
        path: PathBuf,
        /// The array in it.
        array: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// An array file without the array asked for.
    #[error(
        "{path}: no array `{wanted}`; there are {there:?}; name one of them as {path}:NAME, or call the samples `x`"
    )]
    NoArray {
        /// The file.
        path: PathBuf,
        /// The array asked for.
        wanted: String,
        /// The arrays in the file.
        there: Vec<String>,
    },
    /// An array of elements that are not taken.
    #[error("{path}: {array}: elements of type {dtype}; {takes}")]
    ArrayType {
        /// The file.
        path: PathBuf,
        /// The array.
        array: String,
        /// Its type, as NumPy spells it.
        dtype: String,
        /// What is taken.
        takes: &'static str,
    },
    /// An array of another shape than the model's.
    #[error("{path}: {array}: shape {found:?}, but input `{input}` takes samples of {expected}")]
    ArrayShape {
        /// The file.
        path: PathBuf,
        /// The array.
        array: String,
        /// Its shape.
        found: Vec<u64>,
        /// The model's input.
        input: String,
        /// The shapes that are taken.
        expected: String,
    },
    /// A value that is not finite.
    #[error("{path}: {array}: sample {sample} holds {value}; remove or repair the sample")]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The array.
        array: String,
        /// Which sample, from 0.
        sample: usize,
        /// The value: NaN or an infinity.
        value: f32,
    },
    /// The FP32 model cannot be run.
    #[error("{model}: {engine}: {reason}")]
    Baseline {
        /// The ONNX file.
        model: PathBuf,
        /// The engine.
        engine: String,
        /// Its reason.
        reason: String,
    },
    /// The outputs of a package and of the baseline do not fit together.
    #[error("output `{output}`: {reason}")]
    Outputs {
        /// The package's output.
        output: String,
        /// What does not fit.
        reason: String,
    },
    /// A package that cannot be used.
    #[error("{path}: {reason}")]
    Package {
        /// The package.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A device was not reached.
    #[error(transparent)]
    Transport(#[from] edgepack_targets::transport::Error),
    /// A package gives other outputs on a device than on the workstation.
    #[error("device {device}: self-test: {reason}")]
    Selftest {
        /// The device.
        device: String,
        /// What differs, and what to do.
        reason: String,
    },
    /// A device failed.
    #[error("device {device}: {reason}")]
    Device {
        /// The device.
        device: String,
        /// Its reason, and what to do.
        reason: String,
    },
}

impl Error {
    /// For `map_err` after a system call on `path`.
    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { path, source }
    }
}
