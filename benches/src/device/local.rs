//! This computer, by the engine in this process.

use std::path::Path;

use edgepack_engine::kernels::isa::IsaSet;
use edgepack_engine::{InputData, Model, Session, SessionOptions};

use super::{Device, DeviceInfo, Outcome, OutputInfo, Selftest};
use crate::data::split;
use crate::package::Form;
use crate::{Bench, BenchOptions, Error, PackageFacts, Pairs, Sample};

/// A package in this process.
#[derive(Debug)]
pub struct Local {
    model: Model,
    facts: PackageFacts,
    outputs: Vec<OutputInfo>,
    options: SessionOptions,
    info: DeviceInfo,
}

impl Local {
    /// Opens a package for `threads` threads, with the instruction sets of this processor as
    /// `EDGEPACK_ISA` lowers them, or with no more than `isa`.
    ///
    /// # Errors
    /// The package is not one that this build runs.
    pub fn open(package: &Path, threads: usize, isa: Option<IsaSet>) -> Result<Local, Error> {
        let threads = threads.max(1);
        let model = Model::open(package).map_err(failed)?;
        let facts = PackageFacts::of(&model.package(), package)?;
        let options = SessionOptions { isa, threads };
        let isa = model.session(&options).map_err(failed)?.isa().to_string();
        let outputs = facts.outputs.iter().map(|output| output.info.clone()).collect();
        let (name, arch) = ("local".into(), std::env::consts::ARCH.into());
        let info = DeviceInfo { name, arch, isa, emulated: false, threads };
        Ok(Local { model, facts, outputs, options, info })
    }

    /// What the package takes and gives.
    pub fn facts(&self) -> &PackageFacts {
        &self.facts
    }

    fn outcome(&self, session: &mut Session<'_>, sample: &Sample) -> Result<Outcome, Error> {
        run(session, &self.facts, sample)?;
        let bytes = (0..self.outputs.len())
            .map(|index| session.output(index).map(|output| output.bytes().to_vec()).map_err(failed));
        self.facts.outcome(bytes.collect::<Result<_, Error>>()?)
    }
}

impl Device for Local {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn outputs(&self) -> &[OutputInfo] {
        &self.outputs
    }

    fn run(&mut self, samples: &[Sample]) -> Result<Vec<Outcome>, Error> {
        let mut session = self.model.session(&self.options).map_err(failed)?;
        samples.iter().map(|sample| self.outcome(&mut session, sample)).collect()
    }

    /// Loads the package anew, so that loading and the very first run are measured as an application
    /// would meet them. A run is the input's conversion and the inference.
    fn bench(&mut self, sample: &Sample, options: &BenchOptions) -> Result<Bench, Error> {
        edgepack_engine::bench(&self.facts.path, &self.options, first_input(&self.facts, sample), options)
            .map_err(failed)
    }

    fn bench_pairs(
        &mut self,
        sample: &Sample,
        (other, other_sample): (&PackageFacts, &Sample),
        options: &BenchOptions,
    ) -> Result<Pairs, Error> {
        let own = (self.facts.path.as_path(), first_input(&self.facts, sample));
        let other = (other.path.as_path(), first_input(other, other_sample));
        edgepack_engine::bench_pairs([own, other], &self.options, options).map_err(failed)
    }

    fn selftest(&mut self) -> Result<Selftest, Error> {
        let samples = self.model.package().golden().count();
        let mut session = self.model.session(&self.options).map_err(failed)?;
        match session.selftest() {
            Ok(_) => Ok(Selftest { passed: true, samples, message: String::new() }),
            Err(error @ edgepack_engine::Error::Golden { .. }) => {
                Ok(Selftest { passed: false, samples, message: error.to_string() })
            }
            Err(error) => Err(failed(error)),
        }
    }
}

/// What a measurement gives the first input: latency does not depend on what the others hold.
fn first_input<'a>(facts: &PackageFacts, sample: &'a Sample) -> InputData<'a> {
    match input_data(facts, sample) {
        InputData::F32(values) => InputData::F32(values.get(..facts.input.elems()).unwrap_or(values)),
        pixels => pixels,
    }
}

fn input_data<'a>(facts: &PackageFacts, sample: &'a Sample) -> InputData<'a> {
    match facts.form(sample) {
        Form::Pixels(pixels) => InputData::Pixels(pixels),
        Form::Values(values) => InputData::F32(values),
    }
}

fn run(session: &mut Session<'_>, facts: &PackageFacts, sample: &Sample) -> Result<(), Error> {
    let refused = |error: edgepack_engine::Error| Error::Device {
        device: "local".into(),
        reason: format!("sample {}: {error}", sample.name),
    };
    if facts.more_inputs.is_empty() {
        session.set_input(0, input_data(facts, sample)).map_err(refused)?;
    } else {
        for (index, values) in split(&facts.inputs(), &sample.values).into_iter().enumerate() {
            session.set_input(index, InputData::F32(values)).map_err(refused)?;
        }
    }
    session.run().map_err(failed)
}

fn failed(error: edgepack_engine::Error) -> Error {
    Error::Device { device: "local".into(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::testing::negating_package;
    use crate::{Until, Warmup};

    #[test]
    fn values_and_pixels_go_through_the_engine() {
        let folder = tempfile::tempdir().unwrap();
        let name = "s".to_string();
        for takes_pixels in [false, true] {
            let package = negating_package(folder.path(), takes_pixels);
            let mut local = Local::open(&package, 1, Some(IsaSet::SCALAR)).unwrap();
            assert_eq!((local.info().isa.as_str(), local.info().emulated), ("scalar", false));
            let values = vec![1.0, -2.0, 0.5, 63.5];
            let sample =
                Sample { values, pixels: Some(vec![130, 124, 129, 255]), label: None, name: name.clone() };
            let outcomes = local.run(&[sample.clone(), sample]).unwrap();
            assert_eq!(outcomes[1].values, [[-1.0, 2.0, -0.5, -63.5]]);
            assert_eq!(outcomes[1].bytes, [[-2i8, 4, -1, -127].map(|value| value as u8)]);
        }
    }

    #[test]
    fn bench_measures_loading_and_runs() {
        let folder = tempfile::tempdir().unwrap();
        let package = negating_package(folder.path(), true);
        let mut local = Local::open(&package, 1, None).unwrap();
        let sample = local.facts().random_sample(1);
        let bench = local
            .bench(
                &sample,
                &BenchOptions { warmup: Warmup::Runs(1), until: Until::Runs(9), ..Default::default() },
            )
            .unwrap();
        assert_eq!((bench.latency.runs, bench.arena_bytes, bench.threads), (9, 128, 1));
        assert!(bench.load_ms.unwrap() > 0.0 && bench.first_ms.is_some());
        let json = serde_json::to_value(&bench).unwrap();
        let names =
            "p50_us p90_us p99_us min_us runs load_ms first_ms arena_bytes peak_rss_kb threads isa emulated";
        for name in names.split(' ') {
            assert!(json.get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn wrong_sample_and_missing_package_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let mut local = Local::open(&negating_package(folder.path(), false), 1, None).unwrap();
        let sample = Sample { values: vec![1.0], pixels: None, label: None, name: "short".into() };
        let error = local.run(&[sample]).unwrap_err().to_string();
        assert!(error.contains("device local: sample short"), "{error}");
        let error = Local::open(&folder.path().join("none.epk"), 1, None).unwrap_err().to_string();
        assert!(error.contains("none.epk"), "{error}");
    }
}
