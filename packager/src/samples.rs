//! The samples of a packaging: for calibration, and for judging.

use edgepack_harness::{Channels, DataSet, ImageLayout, InputSpec, Pick, Preprocessing};

use crate::error::{PackError, Result};
use crate::import::Model;
use crate::lower::PixelSource;
use crate::mixed;
use crate::pack::{CalibrationSource, PackOptions};

/// Samples that every input has.
pub fn sample_count(data: &[DataSet]) -> usize {
    data.iter().map(DataSet::len).min().unwrap_or(0)
}

/// One sample of every input.
pub fn load(data: &[DataSet], index: usize) -> Result<Vec<Vec<f32>>> {
    (data.iter().map(|data| data.get(index).map(|sample| sample.values)))
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| PackError::Calibration { reason: error.to_string() })
}

/// The samples that mixed precision is judged on: inputs and label of each.
pub fn judges(model: &Model, calibration: &[DataSet], options: &PackOptions) -> Result<Vec<mixed::Sample>> {
    let validation = validation(model, options)?;
    let data = validation.as_ref().map_or(calibration, |data| data);
    (0..sample_count(data)).map(|i| labelled(data, i)).collect()
}

/// The samples of `--validation`, where there are some.
pub fn validation(model: &Model, options: &PackOptions) -> Result<Option<[DataSet; 1]>> {
    match (&options.precision.validation, &model.shapes[..]) {
        (None, _) => Ok(None),
        (Some(path), [(name, dims)]) => {
            let spec = InputSpec { name: name.clone(), dims: dims.clone(), limits: None };
            let data = DataSet::open(path, &spec, &options.preprocessing, None);
            data.map(|data| Some([data]))
                .map_err(|error| PackError::Calibration { reason: error.to_string() })
        }
        (Some(_), _) => {
            let reason = "--validation is for models of one input; without it the calibration data is used";
            Err(PackError::Calibration { reason: reason.into() })
        }
    }
}

/// One sample of every input, and its label.
pub fn labelled(data: &[DataSet], index: usize) -> Result<mixed::Sample> {
    let samples = data.iter().map(|data| data.get(index)).collect::<std::result::Result<Vec<_>, _>>();
    let samples = samples.map_err(|error| PackError::Calibration { reason: error.to_string() })?;
    let label = samples.first().and_then(|sample| sample.label);
    Ok((samples.into_iter().map(|sample| sample.values).collect(), label))
}

/// One data set for each input.
pub fn open_data(model: &Model, options: &PackOptions) -> Result<Vec<DataSet>> {
    let limits = model.graph.inputs.iter().map(|&id| model.graph.value(id).limits);
    let specs: Vec<InputSpec> = (model.shapes.iter().zip(limits))
        .map(|((name, dims), limits)| InputSpec { name: name.clone(), dims: dims.clone(), limits })
        .collect();
    if let Some(front_end) = &options.preprocessing.signal {
        let failed = |reason| PackError::Calibration { reason };
        let [spec] = &specs[..] else {
            return Err(failed(format!("--signal is for models of one input, and this has {}", specs.len())));
        };
        front_end.check(spec).map_err(|error| failed(error.to_string()))?;
    }
    match (&options.calibration, &specs[..]) {
        // A golden sample is all that is wanted.
        (CalibrationSource::None, specs) => {
            Ok((0..).zip(specs).map(|(i, spec)| DataSet::random(spec, i, 1)).collect())
        }
        (CalibrationSource::Random { seed }, specs) => {
            let samples = options.calibration_limit.min(RANDOM_SAMPLES);
            Ok((0..).zip(specs).map(|(i, spec)| DataSet::random(spec, seed + i, samples)).collect())
        }
        (CalibrationSource::Data(path), [spec]) => {
            DataSet::open(path, spec, &options.preprocessing, Pick::Spread(options.calibration_limit))
                .map(|data| vec![data])
                .map_err(|error| PackError::Calibration { reason: error.to_string() })
        }
        // Several inputs: one array of an archive each, under the input's name.
        (CalibrationSource::Data(path), specs) if path.extension().is_some_and(|e| e == "npz") => {
            let pick = Pick::Spread(options.calibration_limit);
            let array = |spec: &InputSpec| {
                DataSet::open_input(path, spec, &options.preprocessing, pick)
                    .map_err(|error| PackError::Calibration { reason: error.to_string() })
            };
            specs.iter().map(array).collect()
        }
        (CalibrationSource::Data(_), specs) => Err(PackError::Calibration {
            reason: format!(
                "the model has {} inputs ({}): give an .npz with an array of each name, samples along the first \
                 axis, or --calibration random for work on latency",
                specs.len(),
                specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ")
            ),
        }),
    }
}

/// Random samples tell nothing of a model, so that a few are enough.
const RANDOM_SAMPLES: usize = 8;

/// How the pixels of an input become the values that the model takes; `None` where it is not given images.
pub fn pixel_source(data: &DataSet, options: &PackOptions) -> Option<PixelSource> {
    let preprocessing = &options.preprocessing;
    // Where there are no samples, flags of preprocessing say that there will be images.
    let none = options.calibration == CalibrationSource::None;
    let of_pixels = Preprocessing { signal: None, ..preprocessing.clone() };
    let is_pixels = data.is_pixels() || (none && of_pixels != Preprocessing::default());
    let layout = ImageLayout::of(&data.input().dims).filter(|_| is_pixels)?;
    let per_channel = |values: &[f32], default: f32| -> Vec<f32> {
        let value = |c: usize| values.get(if values.len() > 1 { c } else { 0 }).copied().unwrap_or(default);
        (0..layout.channels).map(value).collect()
    };
    Some(PixelSource {
        channel_axis: if layout.channels_first { 1 } else { 3 },
        mean: per_channel(&preprocessing.mean, 0.0),
        std: per_channel(&preprocessing.std, 1.0),
        reverse_channels: preprocessing.channels == Channels::Bgr,
        from_image: serde_json::to_string(preprocessing).unwrap_or_default(),
    })
}
