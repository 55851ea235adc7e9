//! What the harness needs to know of a package: what it takes and what it gives.

use std::path::{Path, PathBuf};

use edgepack_format::plan::{Dims, ElemType, Quant};
use edgepack_format::{Package, SeededBytes};

use crate::device::{Outcome, OutputInfo};
use crate::{Error, InputSpec, Preprocessing, Sample, SignalFrontEnd};

/// What a package takes and gives.
#[derive(Clone, Debug, PartialEq)]
pub struct PackageFacts {
    /// The package.
    pub path: PathBuf,
    /// Its first input, the only one that may be pixels.
    pub input: InputSpec,
    /// Its other inputs, in the package's order.
    pub more_inputs: Vec<InputSpec>,
    /// How images and pixels become the input, where the package takes pixels.
    pub preprocessing: Option<Preprocessing>,
    /// How recordings become the input, where the package says it.
    pub signal: Option<SignalFrontEnd>,
    /// Its outputs.
    pub outputs: Vec<OutputFacts>,
    /// Bytes of the arena.
    pub arena_bytes: u64,
}

/// An output of a package.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputFacts {
    /// Name and number of values.
    pub info: OutputInfo,
    /// The type of its values.
    pub dtype: ElemType,
    /// Scale and zero point, for int8.
    pub quant: Option<Quant>,
}

/// A sample in the form in which a device takes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form<'a> {
    /// `[H, W, C]`.
    Pixels(&'a [u8]),
    /// In the model's own layout.
    Values(&'a [f32]),
}

impl PackageFacts {
    /// Reads and validates the package at `path`.
    pub fn read(path: &Path) -> Result<PackageFacts, Error> {
        let file = std::fs::read(path).map_err(Error::io(path))?;
        // The format wants its bytes at a multiple of 64.
        let mut memory = vec![0; file.len() + 63];
        let start = memory.as_ptr().align_offset(64);
        let bytes = &mut memory[start..start + file.len()];
        bytes.copy_from_slice(&file);
        let refused =
            |error: edgepack_format::Error| Error::Package { path: path.into(), reason: error.to_string() };
        PackageFacts::of(&Package::parse(bytes).map_err(refused)?, path)
    }

    /// The facts of a package that is read already.
    pub fn of(package: &Package<'_>, path: &Path) -> Result<PackageFacts, Error> {
        let fail = |reason| Error::Package { path: path.into(), reason };
        let inputs: Vec<_> = package.inputs().collect();
        let [input, more @ ..] = &inputs[..] else {
            return Err(fail("it has no inputs".into()));
        };
        let spec = |input: &edgepack_format::plan::Input<'_>| InputSpec {
            name: input.name.into(),
            dims: sizes(&input.dims),
            limits: input.limits,
        };
        let preprocessing = match &input.pixels {
            None => None,
            Some(pixels) if pixels.from_image.is_empty() => Some(Preprocessing::default()),
            Some(pixels) => Some(
                serde_json::from_str(pixels.from_image)
                    .map_err(|error| fail(format!("the preprocessing it records: {error}")))?,
            ),
        };
        let signal = package.signal().map(SignalFrontEnd::new).transpose();
        let signal = signal.map_err(|error| fail(error.to_string()))?;
        let outputs = package.outputs().map(|output| OutputFacts {
            info: OutputInfo { name: output.name.into(), elems: sizes(&output.dims).iter().product() },
            dtype: output.dtype,
            quant: output.quant,
        });
        Ok(PackageFacts {
            path: path.into(),
            input: spec(input),
            more_inputs: more.iter().map(spec).collect(),
            preprocessing,
            signal,
            outputs: outputs.collect(),
            arena_bytes: package.head().arena_bytes.into(),
        })
    }

    /// Every input, in the package's order.
    pub fn inputs(&self) -> Vec<InputSpec> {
        std::iter::once(&self.input).chain(&self.more_inputs).cloned().collect()
    }

    /// How files become the input: images, and recordings.
    pub fn of_files(&self) -> Preprocessing {
        Preprocessing { signal: self.signal.clone(), ..self.preprocessing.clone().unwrap_or_default() }
    }

    /// A sample of seeded random pixels or numbers: latency does not depend on what is in it.
    pub fn random_sample(&self, seed: u64) -> Sample {
        let mut sample = Sample {
            values: self.inputs().iter().zip(0..).flat_map(|(input, i)| input.random(seed, i)).collect(),
            pixels: None,
            label: None,
            name: format!("random (seed {seed})"),
        };
        if self.preprocessing.is_some() {
            sample.pixels = Some(SeededBytes::new(seed).take(self.input.elems()).collect());
        }
        sample
    }

    /// The form in which a device is given the sample: pixels where it can take them, since that is
    /// what an application on it has.
    pub(crate) fn form<'a>(&self, sample: &'a Sample) -> Form<'a> {
        match &sample.pixels {
            Some(pixels) if self.preprocessing.is_some() => Form::Pixels(pixels),
            _ => Form::Values(&sample.values),
        }
    }

    /// The outputs of a sample from the bytes that a device gave.
    pub(crate) fn outcome(&self, bytes: Vec<Vec<u8>>) -> Result<Outcome, Error> {
        let value = |(output, bytes): (&OutputFacts, &Vec<u8>)| {
            let values = output.values(bytes);
            match values.len() == output.info.elems && bytes.len() == output.bytes() {
                true => Ok(values),
                false => Err(Error::Outputs {
                    output: output.info.name.clone(),
                    reason: format!("the device gave {} bytes instead of {}", bytes.len(), output.bytes()),
                }),
            }
        };
        let values = self.outputs.iter().zip(&bytes).map(value).collect::<Result<_, _>>()?;
        Ok(Outcome { values, bytes })
    }
}

impl OutputFacts {
    /// Number of bytes.
    pub fn bytes(&self) -> usize {
        self.dtype.bytes() as usize * self.info.elems
    }

    /// The values that the bytes stand for.
    fn values(&self, bytes: &[u8]) -> Vec<f32> {
        match self.dtype {
            ElemType::F32 => {
                bytes.as_chunks::<4>().0.iter().map(|&value| f32::from_le_bytes(value)).collect()
            }
            ElemType::I8 => {
                let Quant { scale, zero_point } = self.quant.unwrap_or(Quant { scale: 1.0, zero_point: 0 });
                let real = |&byte: &u8| (i32::from(byte as i8) - i32::from(zero_point)) as f32 * scale;
                bytes.iter().map(real).collect()
            }
            dtype => {
                let elems = bytes.chunks_exact(dtype.bytes() as usize);
                elems.map(|elem| dtype.read(elem) as f32).collect()
            }
        }
    }
}

fn sizes(dims: &Dims) -> Vec<usize> {
    dims.as_slice().iter().map(|&size| size as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> PackageFacts {
        let output = |name: &str, dtype, quant| OutputFacts {
            info: OutputInfo { name: name.into(), elems: 2 },
            dtype,
            quant,
        };
        PackageFacts {
            path: "p.epk".into(),
            input: InputSpec { name: "input".into(), dims: vec![1, 2], limits: None },
            more_inputs: vec![],
            preprocessing: None,
            signal: None,
            outputs: vec![
                output("a", ElemType::I8, Some(Quant { scale: 0.5, zero_point: -128 })),
                output("b", ElemType::F32, None),
            ],
            arena_bytes: 0,
        }
    }

    #[test]
    fn bytes_of_a_device_become_values() {
        let floats: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        let outcome = facts().outcome(vec![vec![0x80, 0x7f], floats]).unwrap();
        assert_eq!(outcome.values, [[0.0, 127.5], [1.5, -2.0]]);
        let error = facts().outcome(vec![vec![0x80], vec![]]).unwrap_err().to_string();
        assert!(error.contains("output `a`") && error.contains("1 bytes instead of 2"), "{error}");
    }

    #[test]
    fn pixels_are_given_where_the_package_takes_them() {
        let (values, pixels) = (vec![1.0], Some(vec![1]));
        let sample = Sample { values, pixels, label: None, name: String::new() };
        assert_eq!(facts().form(&sample), Form::Values(&[1.0]));
        let taking = PackageFacts { preprocessing: Some(Default::default()), ..facts() };
        assert_eq!(taking.form(&sample), Form::Pixels(&[1]));
    }

    #[test]
    fn what_is_no_package_is_refused_by_name() {
        let path = std::env::temp_dir().join(format!("no-package-{}.epk", std::process::id()));
        std::fs::write(&path, b"PK").unwrap();
        let error = PackageFacts::read(&path).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains("no-package"), "{error}");
    }
}
