//! Samples and labels in NumPy's `.npy` and `.npz` files.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::npy::{self, Header};
use super::pick::Pick;
use crate::{Error, ImageLayout, InputSpec, Preprocessing};

const SAMPLE_TYPES: &str = "samples are u8 (pixels), f32, f64 or i8: convert with .astype(\"float32\"); integers of \
     other sizes and bool only where the model's input is of such";
const LABEL_TYPES: &str = "labels are class indices of an integer type: convert with .astype(\"int64\")";

/// Samples, held as they lie in the file.
#[derive(Debug)]
pub(super) struct Array {
    /// `x`, or the file's name for a `.npy`.
    pub name: String,
    /// Number of samples in the file.
    total: u64,
    /// Which of them are held.
    pick: Pick,
    /// Number of samples held.
    pub samples: usize,
    /// The samples one after the other.
    pub elements: Elements,
    /// Whether u8 samples are `[H, W, C]` although the model is `[C, H, W]`.
    channels_moved: bool,
}

#[derive(Debug)]
pub(super) enum Elements {
    /// Pixels.
    U8(Vec<u8>),
    /// Values for the model.
    F32(Vec<f32>),
    /// Values for the model.
    I8(Vec<i8>),
}

/// An array of a file, before its elements are read.
struct Opened<R> {
    path: PathBuf,
    name: String,
    header: Header,
    reader: R,
}

/// `data.npz:eval_x` as the file and the array's name.
pub(super) fn split_name(path: &Path) -> (PathBuf, Option<String>) {
    let text = path.to_string_lossy();
    match text.rsplit_once(':') {
        Some((file, name)) if file.ends_with(".npz") && !path.exists() => (file.into(), Some(name.into())),
        _ => (path.into(), None),
    }
}

/// Samples of the array of this name in an archive.
pub(super) fn open_array(path: &Path, name: &str, input: &InputSpec, pick: Pick) -> Result<Array, Error> {
    let file = BufReader::new(File::open(path).map_err(Error::io(path))?);
    let malformed = |error: zip::result::ZipError| Error::Array {
        path: path.into(),
        array: name.into(),
        reason: format!("not in the .npz: {error}"),
    };
    let mut zip = zip::ZipArchive::new(file).map_err(malformed)?;
    let entry = zip.by_name(&format!("{name}.npy")).map_err(malformed)?;
    Opened::new(path, name, entry)?.samples(input, pick)
}

/// Samples of a file and their labels.
pub(super) fn open(
    path: &Path,
    name: Option<&str>,
    input: &InputSpec,
    pick: Pick,
) -> Result<(Array, Option<Vec<u32>>), Error> {
    let file = BufReader::new(File::open(path).map_err(Error::io(path))?);
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy")) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        return Ok((Opened::new(path, &name, file)?.samples(input, pick)?, None));
    }
    let malformed = |error: zip::result::ZipError| Error::Array {
        path: path.into(),
        array: "the archive".into(),
        reason: format!("not an .npz: {error}"),
    };
    let mut zip = zip::ZipArchive::new(file).map_err(malformed)?;
    let there: Vec<String> =
        zip.file_names().filter_map(|file| Some(file.strip_suffix(".npy")?.into())).collect();
    let wanted = name.unwrap_or("x");
    let has = |name: &str| there.iter().any(|array| array == name);
    let name = match &there[..] {
        _ if has(wanted) => wanted,
        [only] if name.is_none() => only,
        _ => return Err(Error::NoArray { path: path.into(), wanted: wanted.into(), there }),
    };
    let entry = zip.by_name(&format!("{name}.npy")).map_err(malformed)?;
    let array = Opened::new(path, name, entry)?.samples(input, pick)?;
    let stem = name.strip_suffix('x').map(|stem| format!("{stem}y"));
    let Some(labels_name) = stem.filter(|name| has(name)) else { return Ok((array, None)) };
    let entry = zip.by_name(&format!("{labels_name}.npy")).map_err(malformed)?;
    let labels = Opened::new(path, &labels_name, entry)?;
    labels.labels(array.total, pick).map(|labels| (array, Some(labels)))
}

impl<R: Read> Opened<R> {
    fn new(path: &Path, name: &str, mut reader: R) -> Result<Opened<R>, Error> {
        let (path, name) = (path.to_path_buf(), name.to_string());
        match npy::read_header(&mut reader) {
            Ok(header) if header.fortran_order && header.shape.len() > 1 => Err(Error::Array {
                path,
                array: name,
                reason: "its first axis is the fastest one; save it with np.ascontiguousarray".into(),
            }),
            Ok(header) => Ok(Opened { path, name, header, reader }),
            Err(reason) => Err(Error::Array { path, array: name, reason }),
        }
    }

    fn wrong_type(&self, takes: &'static str) -> Error {
        let (path, array, dtype) = (self.path.clone(), self.name.clone(), self.header.dtype.clone());
        Error::ArrayType { path, array, dtype, takes }
    }

    /// Those of `total` samples of `elems` elements of `elem_bytes` bytes that are picked. Memory grows with
    /// what is there, not with what the header says.
    fn read(
        &mut self,
        (pick, total): (Pick, u64),
        elems: Option<u64>,
        elem_bytes: u64,
    ) -> Result<Vec<u8>, Error> {
        let fail = |reason| Error::Array { path: self.path.clone(), array: self.name.clone(), reason };
        let one = elems.and_then(|elems| elems.checked_mul(elem_bytes));
        let all = one.and_then(|one| one.checked_mul(total));
        let (Some(one), Some(_)) = (one, all) else {
            return Err(fail(format!("shape {:?} has more elements than a file can", self.header.shape)));
        };
        let unreadable = |error| fail(format!("cannot read its elements: {error}"));
        let mut bytes = Vec::new();
        let (mut next, mut passed, count) = (0, 0, pick.count(total));
        let wanted = if count == 0 { 0 } else { (pick.place(count - 1, total) + 1) * one };
        for place in (0..count).map(|index| pick.place(index, total)) {
            let mut skipped = (&mut self.reader).take((place - next) * one);
            passed += std::io::copy(&mut skipped, &mut std::io::sink()).map_err(unreadable)?;
            (&mut self.reader).take(one).read_to_end(&mut bytes).map_err(unreadable)?;
            next = place + 1;
            let there = passed + bytes.len() as u64;
            if there != next * one {
                return Err(fail(format!(
                    "{there} bytes of elements where {wanted} belong: the file is cut short"
                )));
            }
        }
        Ok(bytes)
    }

    fn samples(mut self, input: &InputSpec, pick: Pick) -> Result<Array, Error> {
        let (order, kind) = self.header.dtype.split_at_checked(1).unwrap_or_default();
        let (kind, big_endian) = (kind.to_string(), order == ">");
        // Of an input that takes numbers they are more likely a mistake.
        let integer_bytes = match kind.as_str() {
            _ if input.limits.is_none() => None,
            "b1" => Some(1),
            "i2" | "u2" => Some(2),
            "i4" | "u4" => Some(4),
            "i8" | "u8" => Some(8),
            _ => None,
        };
        if integer_bytes.is_none() && !["u1", "i1", "f4", "f8"].contains(&kind.as_str()) {
            return Err(self.wrong_type(SAMPLE_TYPES));
        }
        let channels_moved = self.check_shape(input, kind == "u1")?;
        let total = self.header.shape[0];
        let (samples, picked) = (pick.count(total), (pick, total));
        let elems = input.dims.iter().try_fold(1u64, |product, &size| product.checked_mul(size as u64));
        let elements = match kind.as_str() {
            _ if let Some(bytes) = integer_bytes => {
                let elements = self.read(picked, elems, bytes)?;
                Elements::F32(self.integers(&elements, bytes as usize, kind.starts_with('i'), big_endian)?)
            }
            "u1" => Elements::U8(self.read(picked, elems, 1)?),
            "i1" => Elements::I8(self.read(picked, elems, 1)?.into_iter().map(|byte| byte as i8).collect()),
            "f4" => Elements::F32(numbers(&self.read(picked, elems, 4)?, |bytes| match big_endian {
                false => f32::from_le_bytes(bytes),
                true => f32::from_be_bytes(bytes),
            })),
            _ => Elements::F32(numbers(&self.read(picked, elems, 8)?, |bytes| match big_endian {
                false => f64::from_le_bytes(bytes) as f32,
                true => f64::from_be_bytes(bytes) as f32,
            })),
        };
        if let Elements::F32(values) = &elements
            && let Some(at) = values.iter().position(|value| !value.is_finite())
        {
            let (path, array) = (self.path, self.name);
            let sample = pick.place((at / input.elems()) as u64, total) as usize;
            return Err(Error::NotFinite { path, array, sample, value: values[at] });
        }
        Ok(Array { name: self.name, total, pick, samples: samples as usize, elements, channels_moved })
    }

    /// Integers as numbers.
    fn integers(&self, bytes: &[u8], size: usize, signed: bool, big_endian: bool) -> Result<Vec<f32>, Error> {
        let number = |bytes: &[u8]| {
            let mut wide = [0; 8];
            wide[..size].copy_from_slice(bytes);
            if big_endian {
                wide[..size].reverse();
            }
            let (value, shift) = (u64::from_le_bytes(wide), 64 - 8 * size as u32);
            let value = if signed { i128::from((value << shift) as i64 >> shift) } else { value.into() };
            let is_exact = (value as f32) as i128 == value;
            is_exact.then_some(value as f32).ok_or_else(|| Error::Array {
                path: self.path.clone(),
                array: self.name.clone(),
                reason: format!("{value} is beyond 2^24: edgepack takes integers that f32 holds exactly"),
            })
        };
        bytes.chunks_exact(size).map(number).collect()
    }

    /// Whether pixels lie as `[H, W, C]` where the model is `[C, H, W]`.
    fn check_shape(&self, input: &InputSpec, pixels: bool) -> Result<bool, Error> {
        // A model without a batch dimension of 1 takes samples of its whole shape.
        let own = input.dims.strip_prefix(&[1]).unwrap_or(&input.dims);
        let moved = ImageLayout::of(&input.dims)
            .filter(|layout| pixels && layout.channels_first)
            .map(|layout| [layout.height, layout.width, layout.channels]);
        let sample = self.header.shape.split_first().map(|(_, sample)| sample);
        let is = |dims: &[usize]| {
            sample.is_some_and(|sample| sample.iter().copied().eq(dims.iter().map(|&size| size as u64)))
        };
        if is(own) {
            return Ok(false);
        }
        if moved.is_some_and(|dims| is(&dims)) {
            return Ok(true);
        }
        let after_batch = |dims: &[usize]| {
            let sizes: String = dims.iter().map(|size| format!(", {size}")).collect();
            format!("[N{sizes}]")
        };
        let or = moved.map(|dims| format!(" or {}", after_batch(&dims))).unwrap_or_default();
        Err(Error::ArrayShape {
            path: self.path.clone(),
            array: self.name.clone(),
            found: self.header.shape.clone(),
            input: input.name.clone(),
            expected: after_batch(own) + &or,
        })
    }

    /// The labels of those of `total` samples that are picked.
    fn labels(mut self, total: u64, pick: Pick) -> Result<Vec<u32>, Error> {
        let (order, kind) = self.header.dtype.split_at_checked(1).unwrap_or_default();
        let (kind, big_endian) = (kind.to_string(), order == ">");
        let elem_bytes = match kind.as_str() {
            "u1" | "i1" => 1,
            "u2" | "i2" => 2,
            "u4" | "i4" => 4,
            "u8" | "i8" => 8,
            _ => return Err(self.wrong_type(LABEL_TYPES)),
        };
        if !matches!(self.header.shape[..], [count] | [count, 1] if count == total) {
            return Err(Error::Array {
                reason: format!(
                    "labels of shape {:?} for {total} samples; they must be [{total}]",
                    self.header.shape
                ),
                path: self.path,
                array: self.name,
            });
        }
        let bytes = self.read((pick, total), Some(1), elem_bytes)?;
        let label = |index: usize, bytes: &[u8]| {
            let little_endian: Vec<u8> =
                if big_endian { bytes.iter().rev().copied().collect() } else { bytes.to_vec() };
            let mut wide = [0; 8];
            wide[..little_endian.len()].copy_from_slice(&little_endian);
            let shift = 64 - 8 * elem_bytes as u32;
            let value = u64::from_le_bytes(wide);
            let negative = kind.starts_with('i') && ((value << shift) as i64) < 0;
            u32::try_from(value).ok().filter(|_| !negative).ok_or_else(|| Error::Array {
                path: self.path.clone(),
                array: self.name.clone(),
                reason: format!(
                    "the label of sample {} is not the index of a class (0 or more)",
                    pick.place(index as u64, total)
                ),
            })
        };
        bytes
            .chunks_exact(elem_bytes as usize)
            .enumerate()
            .map(|(index, bytes)| label(index, bytes))
            .collect()
    }
}

fn numbers<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| number(chunk)).collect()
}

impl Array {
    /// Where in the file a sample is that is held.
    pub(super) fn place(&self, index: usize) -> u64 {
        self.pick.place(index as u64, self.total)
    }

    /// The values and the pixels of a sample.
    pub(super) fn get(
        &self,
        index: usize,
        input: &InputSpec,
        preprocessing: &Preprocessing,
    ) -> (Vec<f32>, Option<Vec<u8>>) {
        let elems = input.elems();
        let range = index * elems..(index + 1) * elems;
        match &self.elements {
            Elements::F32(values) => (values[range].to_vec(), None),
            Elements::I8(values) => (values[range].iter().map(|&value| f32::from(value)).collect(), None),
            Elements::U8(pixels) => {
                let pixels = &pixels[range];
                let Some(layout) = ImageLayout::of(&input.dims) else {
                    let values = pixels.iter().map(|&pixel| preprocessing.normalize(pixel, 0)).collect();
                    return (values, Some(pixels.to_vec()));
                };
                let pixels = if layout.channels_first && !self.channels_moved {
                    let area = layout.height * layout.width;
                    let at = |(at, channel): (usize, usize)| pixels[channel * area + at];
                    (0..area).flat_map(|p| (0..layout.channels).map(move |c| (p, c))).map(at).collect()
                } else {
                    pixels.to_vec()
                };
                (preprocessing.apply(&pixels, &layout), Some(pixels))
            }
        }
    }
}
