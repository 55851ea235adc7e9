//! A device's outputs and latency, held against the FP32 baseline's.

use serde::Serialize;

use crate::baseline::Baseline;
use crate::device::{Device, DeviceInfo, OutputInfo};
use crate::worst::{Worst, WorstSample};
use crate::{Accuracy, AccuracySummary, BenchOptions, DataSet, Error, Latency, Progress, Sample};

/// Samples that are decoded and sent to a device at a time.
const BATCH: usize = 32;

/// How to compare.
#[derive(Clone, Debug, Default)]
pub struct CompareOptions {
    /// How to measure latency; `None` measures none.
    pub bench: Option<BenchOptions>,
    /// On how many samples bytes are compared with the reference's; `None` for all.
    pub identical_samples: Option<usize>,
    /// How many of the samples that come out worst are kept, with values of both sides.
    pub worst: usize,
}

/// What a comparison came to, in JSON what `edgepack compare --format json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Accuracy and agreement.
    #[serde(flatten)]
    pub accuracy: AccuracySummary,
    /// Whether the device's bytes are those of the reference; `None` without a reference.
    pub bit_identical_to_host: Option<bool>,
    /// On how many samples that was looked at.
    pub bit_identical_samples: u64,
    /// The first sample whose bytes differ.
    pub first_difference: Option<String>,
    /// Whether the package was calibrated with random numbers: then accuracy means nothing. Set by who knows the
    /// package.
    pub calibration_random: bool,
    /// The samples that came out worst, as many as the options say.
    pub worst: Vec<WorstSample>,
    /// The baseline.
    pub baseline: BaselineReport,
    /// The device.
    pub device: DeviceReport,
}

/// The baseline's part of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BaselineReport {
    /// The engine and its version.
    pub engine: String,
    /// Why this engine and not another.
    pub why: String,
    /// Its latency.
    #[serde(flatten)]
    pub latency: Latency,
}

/// The device's part of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceReport {
    /// What it is.
    #[serde(flatten)]
    pub info: DeviceInfo,
    /// Its latency.
    #[serde(flatten)]
    pub latency: Latency,
}

/// Runs every sample of `data` on the baseline and on the device, and on the `reference` (the host's
/// engine, whose bytes the device's must be) as many as the options say; then measures latency on the
/// first sample, one side after the other.
///
/// # Errors
/// A sample, the baseline or a device fails; or the device has outputs that the baseline has not.
pub fn compare(
    baseline: &mut dyn Baseline,
    device: &mut dyn Device,
    mut reference: Option<&mut dyn Device>,
    data: &DataSet,
    options: &CompareOptions,
    progress: &mut dyn Progress,
) -> Result<Comparison, Error> {
    let outputs = match_outputs(baseline.output_names(), device.outputs())?;
    let mut accuracy = Accuracy::default();
    let mut worst = Worst::new(options.worst);
    let mut identity = Identity::default();
    let looked_at = options.identical_samples.unwrap_or(usize::MAX);
    progress.start("comparing", data.len() as u64);
    for start in (0..data.len()).step_by(BATCH) {
        let end = (start + BATCH).min(data.len());
        let samples = (start..end).map(|index| data.get(index)).collect::<Result<Vec<Sample>, _>>()?;
        let outcomes = device.run(&samples)?;
        if let Some(reference) = reference.as_deref_mut().filter(|_| start < looked_at) {
            let samples = &samples[..samples.len().min(looked_at - start)];
            for ((sample, own), host) in samples.iter().zip(&outcomes).zip(reference.run(samples)?) {
                identity.add(&sample.name, own.bytes == host.bytes);
            }
        }
        for (sample, outcome) in samples.iter().zip(outcomes) {
            let mut fp32 = baseline.run(&sample.values)?;
            let fp32: Vec<Vec<f32>> = outputs.iter().map(|&at| std::mem::take(&mut fp32[at])).collect();
            check_lengths(&fp32, device.outputs())?;
            accuracy.add(&fp32, &outcome.values, sample.label);
            worst.add(sample, data.input(), &fp32, &outcome.values);
            progress.advance(1);
        }
    }
    let (mut baseline_latency, mut device_latency) = Default::default();
    if let Some(bench) = &options.bench {
        let sample = data.get(0)?;
        progress.start("measuring the baseline", 1);
        baseline_latency = measure_baseline(baseline, &sample, bench)?;
        progress.advance(1);
        // The times of an emulated device say nothing, and take long.
        if !device.info().emulated {
            progress.start("measuring the device", 1);
            device_latency = device.bench(&sample, bench)?.latency;
            progress.advance(1);
        }
    }
    Ok(Comparison {
        accuracy: accuracy.summary(),
        bit_identical_to_host: (identity.samples > 0).then_some(identity.first_difference.is_none()),
        bit_identical_samples: identity.samples,
        first_difference: identity.first_difference,
        calibration_random: false,
        worst: worst.finish(),
        baseline: BaselineReport {
            engine: baseline.engine().into(),
            why: baseline.why().into(),
            latency: baseline_latency,
        },
        device: DeviceReport { info: device.info().clone(), latency: device_latency },
    })
}

/// The latency of the baseline on `sample`.
fn measure_baseline(
    baseline: &mut dyn Baseline,
    sample: &Sample,
    options: &BenchOptions,
) -> Result<Latency, Error> {
    Ok(edgepack_engine::measure(options, || baseline.run(&sample.values).map(drop))?.latency())
}

#[derive(Default)]
struct Identity {
    samples: u64,
    first_difference: Option<String>,
}

impl Identity {
    fn add(&mut self, name: &str, same: bool) {
        self.samples += 1;
        if !same && self.first_difference.is_none() {
            self.first_difference = Some(name.into());
        }
    }
}

/// For each of the device's outputs, the baseline's of the same name.
fn match_outputs(baseline: &[String], device: &[OutputInfo]) -> Result<Vec<usize>, Error> {
    let place = |output: &OutputInfo| {
        baseline.iter().position(|name| *name == output.name).ok_or_else(|| Error::Outputs {
            output: output.name.clone(),
            reason: format!(
                "the baseline's outputs are {baseline:?}; compare a package with the model it was made of"
            ),
        })
    };
    device.iter().map(place).collect()
}

fn check_lengths(fp32: &[Vec<f32>], outputs: &[OutputInfo]) -> Result<(), Error> {
    match fp32.iter().zip(outputs).find(|(values, output)| values.len() != output.elems) {
        None => Ok(()),
        Some((values, output)) => Err(Error::Outputs {
            output: output.name.clone(),
            reason: format!(
                "{} values of the device, {} of the baseline; compare a package with the model it was made of",
                output.elems,
                values.len()
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InputSpec;
    use crate::device::{Outcome, Selftest, testing};
    use crate::{Bench, PackageFacts, Pairs, Until, Warmup};

    /// Gives the input as it is, and its negation.
    struct Twice {
        names: Vec<String>,
        runs: u64,
    }

    fn twice() -> Twice {
        Twice { names: vec!["same".into(), "negated".into()], runs: 0 }
    }

    impl Baseline for Twice {
        fn engine(&self) -> &str {
            "twice"
        }

        fn output_names(&self) -> &[String] {
            &self.names
        }

        fn run(&mut self, input: &[f32]) -> Result<Vec<Vec<f32>>, Error> {
            self.runs += 1;
            Ok(vec![input.to_vec(), input.iter().map(|value| -value).collect()])
        }

        fn why(&self) -> &str {
            ""
        }
    }

    struct Negates {
        info: DeviceInfo,
        outputs: Vec<OutputInfo>,
        /// The sample whose bytes are wrong.
        flaw: Option<&'static str>,
        batches: Vec<usize>,
    }

    fn negates(elems: usize, emulated: bool, flaw: Option<&'static str>) -> Negates {
        let info = DeviceInfo { name: "n".into(), arch: "a".into(), isa: "i".into(), emulated, threads: 1 };
        Negates { info, outputs: vec![OutputInfo { name: "negated".into(), elems }], flaw, batches: vec![] }
    }

    impl Device for Negates {
        fn info(&self) -> &DeviceInfo {
            &self.info
        }

        fn outputs(&self) -> &[OutputInfo] {
            &self.outputs
        }

        fn run(&mut self, samples: &[Sample]) -> Result<Vec<Outcome>, Error> {
            self.batches.push(samples.len());
            let outcome = |sample: &Sample| Outcome {
                values: vec![sample.values.iter().map(|value| -value).collect()],
                bytes: vec![vec![u8::from(self.flaw == Some(&sample.name))]],
            };
            Ok(samples.iter().map(outcome).collect())
        }

        fn bench(&mut self, _: &Sample, _: &BenchOptions) -> Result<Bench, Error> {
            let latency = Latency { p50_us: Some(1.0), runs: 3, ..Default::default() };
            Ok(testing::bench(latency, &self.info))
        }

        fn bench_pairs(
            &mut self,
            _: &Sample,
            _: (&PackageFacts, &Sample),
            _: &BenchOptions,
        ) -> Result<Pairs, Error> {
            Ok(Pairs::default())
        }

        fn selftest(&mut self) -> Result<Selftest, Error> {
            Ok(Selftest { passed: true, samples: 0, message: String::new() })
        }
    }

    fn data(samples: usize) -> DataSet {
        DataSet::random(&InputSpec { name: "input".into(), dims: vec![1, 4], limits: None }, 1, samples)
    }

    #[test]
    fn outputs_are_matched_by_name_and_streamed() {
        let (mut baseline, mut device, mut host) =
            (twice(), negates(4, false, None), negates(4, false, None));
        let bench = BenchOptions { warmup: Warmup::Runs(1), until: Until::Runs(2), ..Default::default() };
        let options = CompareOptions { bench: Some(bench), identical_samples: Some(34), worst: 2 };
        let result =
            compare(&mut baseline, &mut device, Some(&mut host), &data(70), &options, &mut ()).unwrap();
        assert_eq!((result.accuracy.samples, result.accuracy.max_abs_error), (70, Some(0.0)));
        assert_eq!((result.bit_identical_to_host, result.bit_identical_samples), (Some(true), 34));
        assert_eq!((device.batches, host.batches), (vec![32, 32, 6], vec![32, 2]));
        assert_eq!((baseline.runs, result.baseline.latency.runs), (73, 2));
        assert_eq!(result.device.latency.p50_us, Some(1.0));
        let json = serde_json::to_value(&result).unwrap();
        assert_eq!(json["samples"], 70);
        assert_eq!(json["worst"].as_array().unwrap().len(), 2);
        assert_eq!(json["top1_baseline"], serde_json::Value::Null);
        assert_eq!(json["device"]["isa"], "i");
        assert!(json["baseline"]["p50_us"].is_number());
    }

    #[test]
    fn differing_bytes_name_the_first_sample() {
        let (mut device, mut host) = (negates(4, true, Some("random[2]")), negates(4, false, None));
        let options = CompareOptions { bench: Some(Default::default()), identical_samples: None, worst: 0 };
        let result =
            compare(&mut twice(), &mut device, Some(&mut host), &data(4), &options, &mut ()).unwrap();
        assert_eq!((result.bit_identical_to_host, result.bit_identical_samples), (Some(false), 4));
        assert_eq!(result.first_difference.as_deref(), Some("random[2]"));
        assert_eq!(result.device.latency, Latency::default());
        let alone = compare(&mut twice(), &mut device, None, &data(4), &Default::default(), &mut ()).unwrap();
        assert_eq!(alone.bit_identical_to_host, None);
    }

    #[test]
    fn foreign_model_is_an_error() {
        let fails = |device: &mut Negates, part: &str| {
            let options = CompareOptions::default();
            let error = compare(&mut twice(), device, None, &data(1), &options, &mut ()).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        };
        fails(&mut negates(5, false, None), "5 values of the device, 4 of the baseline");
        let mut other = negates(4, false, None);
        other.outputs[0].name = "other".into();
        fails(&mut other, "output `other`");
    }
}
