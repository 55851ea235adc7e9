//! Packages with dynamic INT8, INT8 and FP16 weights on the bundled model, without any calibration: what their
//! steps are, how large they are, and how near they come to the model.

use std::path::{Path, PathBuf};

use edgepack_engine::format::plan::{Op, WeightFormat};
use edgepack_engine::{InputData, Model, OutputData, SessionOptions};
use edgepack_harness::{DataSet, InputSpec, Preprocessing};
use edgepack_packager::evaluate::evaluate;
use edgepack_packager::graph::Precision;
use edgepack_packager::import::import;
use edgepack_packager::pack::{CalibrationSource, PackOptions, PackReport, pack};
use edgepack_packager::precision::PrecisionOptions;

fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/digits").join(name)
}

fn preprocessing() -> Preprocessing {
    Preprocessing { mean: vec![127.5], std: vec![127.5], ..Preprocessing::default() }
}

fn packed(folder: &Path, base: Precision, calibration: CalibrationSource) -> PackReport {
    let options = PackOptions {
        calibration_limit: 64,
        preprocessing: preprocessing(),
        precision: PrecisionOptions { base, ..PrecisionOptions::default() },
        l2_kib: 0,
        ..PackOptions::new(asset("model.onnx"), folder.join("digits.epk"), calibration)
    };
    pack(&options, &mut ()).unwrap()
}

/// Signal to noise of the outputs over some samples, in dB.
fn sqnr_db(package: &Path) -> f64 {
    let graph = import(&asset("model.onnx"), &[]).unwrap().graph;
    let spec = InputSpec { name: "image".into(), dims: vec![1, 1, 16, 16], limits: None };
    let data = DataSet::open(&asset("evaluation.npz"), &spec, &preprocessing(), Some(40)).unwrap();
    let model = Model::open(package).unwrap();
    let mut session = model.session(&SessionOptions::default()).unwrap();
    let (mut signal, mut noise) = (0.0, 0.0);
    for index in 0..40 {
        let sample = data.get(index).unwrap().values;
        let exact = evaluate(&graph, &[&sample], |_, _| {});
        session.set_input(0, InputData::F32(&sample)).unwrap();
        session.run().unwrap();
        let OutputData::F32(got) = session.output(0).unwrap() else { panic!("an output of another type") };
        for (&exact, &got) in exact[0].iter().zip(got) {
            signal += f64::from(exact).powi(2);
            noise += f64::from(exact - got).powi(2);
        }
    }
    10.0 * (signal / noise).log10()
}

fn ops(package: &Path) -> Vec<Op> {
    let model = Model::open(package).unwrap();
    model.package().steps().map(|step| step.op).collect()
}

fn formats(package: &Path) -> Vec<WeightFormat> {
    let format = |op: &Op| match op {
        Op::ConvF32(conv) => Some(conv.format),
        _ => None,
    };
    ops(package).iter().filter_map(format).collect()
}

#[test]
fn weights_of_fewer_bytes_make_smaller_packages_that_stay_near_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let full = packed(folder, Precision::F32, CalibrationSource::None);
    assert!(formats(&full.package).iter().all(|format| *format == WeightFormat::F32));
    let full_weights = weight_bytes(&full.package);
    let half = packed(folder, Precision::WeightsF16, CalibrationSource::None);
    assert!(!formats(&half.package).is_empty());
    assert!(formats(&half.package).iter().all(|format| *format == WeightFormat::F16));
    assert_eq!(weight_bytes(&half.package) * 2, full_weights);
    // Eleven significant bits: some 66 dB for each layer.
    let db = sqnr_db(&half.package);
    assert!(db > 50.0, "{db} dB");
    let int8 = packed(folder, Precision::WeightsInt8, CalibrationSource::None);
    assert!(formats(&int8.package).iter().all(|format| matches!(format, WeightFormat::I8 { .. })));
    assert_eq!(weight_bytes(&int8.package) * 4, full_weights);
    assert_eq!((int8.int8_macs_percent, int8.calibration_samples), (0.0, 0));
    let unfitted = sqnr_db(&int8.package);
    assert!(unfitted > 20.0, "{unfitted} dB");
    // Samples round weights better.
    let samples = CalibrationSource::Data(asset("calibration.npz"));
    let fitted = packed(folder, Precision::WeightsInt8, samples);
    let db = sqnr_db(&fitted.package);
    assert!(db > unfitted, "{db} dB with samples, {unfitted} without");
}

fn weight_bytes(package: &Path) -> u32 {
    let weights = |op: &Op| match op {
        Op::ConvF32(conv) => conv.weights.bytes,
        _ => 0,
    };
    ops(package).iter().map(weights).sum()
}

#[test]
fn dynamic_products_are_int8_and_quantize_what_they_read_at_run_time() {
    let folder = tempfile::tempdir().unwrap();
    let report = packed(folder.path(), Precision::Dynamic, CalibrationSource::None);
    assert_eq!((report.int8_macs_percent, report.calibration_samples), (100.0, 0));
    let ops = ops(&report.package);
    let count = |is: fn(&Op) -> bool| ops.iter().filter(|op| is(op)).count();
    let products = count(|op| matches!(op, Op::Conv(_)));
    assert!(products > 0 && count(|op| matches!(op, Op::ConvF32(_))) == 0);
    assert_eq!(count(|op| matches!(op, Op::QuantizeRows(_))), products);
    assert_eq!(count(|op| matches!(op, Op::RescaleRows(_))), products);
    // What follows a ReLU, or is a probability, has all of int8's levels.
    let zero_points: Vec<i8> = ops
        .iter()
        .filter_map(|op| match op {
            Op::QuantizeRows(rows) => Some(rows.zero_point),
            _ => None,
        })
        .collect();
    assert!(zero_points.contains(&0), "{zero_points:?}");
    let db = sqnr_db(&report.package);
    assert!(db > 20.0, "{db} dB");
}
