//! Suites that cross the crates of edgepack, in `tests/tests`, and what they share: packages of real
//! models, and a way to say what was skipped.
//!
//! The digits model is in the repository. The other five are looked for in `EDGEPACK_MODELS`, else in
//! `../shared/models` beside the workspace.

pub mod emulated;
pub mod recordings;
pub mod synthetic;

use std::io::Write;
use std::path::{Path, PathBuf};

use edgepack_harness::{DataSet, PackageFacts, Preprocessing};
use edgepack_packager::pack::{CalibrationSource, PackOptions, PackReport, pack};
use edgepack_packager::precision::PrecisionOptions;

/// A model with its data.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// The ONNX file.
    pub model: PathBuf,
    /// Calibration data.
    pub calibration: PathBuf,
    /// Evaluation data, labelled.
    pub evaluation: PathBuf,
    /// The input's name and shape, where the model leaves dimensions open.
    pub shape: Option<(&'static str, &'static [usize])>,
    /// From pixels to the input.
    pub preprocessing: Preprocessing,
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}

/// The model that is in the repository.
pub fn digits() -> Case {
    let folder = root().join("packager/assets/digits");
    Case {
        name: "digits",
        model: folder.join("model.onnx"),
        calibration: folder.join("calibration.npz"),
        evaluation: folder.join("evaluation.npz"),
        shape: None,
        preprocessing: scaled(127.5, 127.5),
    }
}

/// The five models that are not, whether or not they are there.
pub fn others() -> Vec<Case> {
    let folder =
        std::env::var_os("EDGEPACK_MODELS").map_or_else(|| root().join("../shared/models"), PathBuf::from);
    let case = |name: &'static str, directory: &str, shape, preprocessing| Case {
        name,
        model: folder.join(directory).join("model.onnx"),
        calibration: folder.join(directory).join("calib.npz"),
        evaluation: folder.join(directory).join("eval.npz"),
        shape,
        preprocessing,
    };
    let none = Preprocessing::default();
    vec![
        case("mnist8", "mnist8", None, none.clone()),
        case("kws_dscnn", "kws_dscnn", Some(("input_1", &[1, 49, 10, 1])), none.clone()),
        case("resnet8_cifar10", "resnet8_cifar10", Some(("input_1", &[1, 32, 32, 3])), none),
        case(
            "vww_mobilenetv1_025",
            "vww_mobilenetv1_025",
            Some(("input_1", &[1, 96, 96, 3])),
            scaled(0.0, 255.0),
        ),
        Case {
            calibration: folder.join("imagenet_subset/dev_calib"),
            evaluation: folder.join("imagenet_subset/dev_eval"),
            ..case(
                "efficientnet_lite0",
                "efficientnet_lite0",
                Some(("input", &[1, 3, 224, 224])),
                Preprocessing { crop: Some([224, 224]), ..scaled(127.0, 128.0) },
            )
        },
    ]
}

fn scaled(mean: f32, std: f32) -> Preprocessing {
    Preprocessing { mean: vec![mean], std: vec![std], ..Preprocessing::default() }
}

/// Says on stderr, past the capture of test output, that something was not tested.
pub fn skip(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {what}: {why}");
}

impl Case {
    /// Whether model and data are there; says so where they are not.
    pub fn is_there(&self) -> bool {
        let missing =
            [&self.model, &self.calibration, &self.evaluation].into_iter().find(|path| !path.exists());
        if let Some(path) = missing {
            skip(self.name, &format!("there is no {} (EDGEPACK_MODELS names its folder)", path.display()));
        }
        missing.is_none()
    }

    /// Packs the model with the default options, as `NAME.epk` in `folder`.
    ///
    /// # Panics
    /// Where that fails.
    pub fn pack(&self, folder: &Path) -> PackReport {
        self.pack_with(folder, Vec::new())
    }

    /// As [`Case::pack`], with prepacked layouts.
    ///
    /// # Panics
    /// Where that fails.
    pub fn pack_with(&self, folder: &Path, prepack: Vec<String>) -> PackReport {
        self.pack_as(
            folder,
            prepack,
            CalibrationSource::Data(self.calibration.clone()),
            PrecisionOptions::default(),
        )
    }

    /// As [`Case::pack`], calibrated with other samples, or with none.
    ///
    /// # Panics
    /// Where that fails.
    pub fn pack_from(&self, folder: &Path, calibration: CalibrationSource) -> PackReport {
        self.pack_as(folder, Vec::new(), calibration, PrecisionOptions::default())
    }

    /// As [`Case::pack`], with other precisions.
    ///
    /// # Panics
    /// Where that fails.
    pub fn pack_in(&self, folder: &Path, precision: PrecisionOptions) -> PackReport {
        self.pack_as(folder, Vec::new(), CalibrationSource::Data(self.calibration.clone()), precision)
    }

    fn pack_as(
        &self,
        folder: &Path,
        prepack: Vec<String>,
        calibration: CalibrationSource,
        precision: PrecisionOptions,
    ) -> PackReport {
        let shapes = self.shape.iter().map(|(name, dims)| (name.to_string(), dims.to_vec())).collect();
        let options = PackOptions {
            shapes,
            preprocessing: self.preprocessing.clone(),
            precision,
            prepack,
            ..PackOptions::new(self.model.clone(), folder.join(format!("{}.epk", self.name)), calibration)
        };
        pack(&options, &mut ()).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// The first `limit` evaluation samples, for a package of this model.
    ///
    /// # Panics
    /// Where they do not fit it.
    pub fn data(&self, package: &Path, limit: Option<usize>) -> DataSet {
        let facts = PackageFacts::read(package).unwrap_or_else(|error| panic!("{error}"));
        DataSet::open(&self.evaluation, &facts.input, &self.preprocessing, limit)
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}
