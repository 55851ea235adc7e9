//! Packages in f32, of mixed precision, and within a budget, on the bundled model.

use std::path::{Path, PathBuf};

use edgepack_engine::format::plan::{ElemType, Op};
use edgepack_engine::{InputData, Model, OutputData, SessionOptions};
use edgepack_harness::{DataSet, InputSpec, Preprocessing};
use edgepack_packager::error::PackError;
use edgepack_packager::evaluate::evaluate;
use edgepack_packager::graph::Precision;
use edgepack_packager::import::import;
use edgepack_packager::mixed::Budget;
use edgepack_packager::pack::{CalibrationSource, PackOptions, PackReport, pack};
use edgepack_packager::precision::PrecisionOptions;

fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/digits").join(name)
}

fn preprocessing() -> Preprocessing {
    Preprocessing { mean: vec![127.5], std: vec![127.5], ..Preprocessing::default() }
}

fn packed(folder: &Path, precision: PrecisionOptions) -> Result<PackReport, PackError> {
    let options = PackOptions {
        calibration_limit: 64,
        preprocessing: preprocessing(),
        precision,
        l2_kib: 0,
        ..PackOptions::new(
            asset("model.onnx"),
            folder.join("digits.epk"),
            CalibrationSource::Data(asset("calibration.npz")),
        )
    };
    pack(&options, &mut ())
}

fn samples(count: usize) -> Vec<Vec<f32>> {
    let spec = InputSpec { name: "image".into(), dims: vec![1, 1, 16, 16], limits: None };
    let data = DataSet::open(&asset("evaluation.npz"), &spec, &preprocessing(), Some(count)).unwrap();
    (0..count).map(|i| data.get(i).unwrap().values).collect()
}

fn outputs(package: &Path, sample: InputData<'_>) -> Vec<f32> {
    let model = Model::open(package).unwrap();
    let mut session = model.session(&SessionOptions::default()).unwrap();
    session.set_input(0, sample).unwrap();
    session.run().unwrap();
    match session.output(0).unwrap() {
        OutputData::F32(values) => values.to_vec(),
        other => panic!("an output of another type: {other:?}"),
    }
}

fn largest_error(package: &Path) -> f32 {
    let graph = import(&asset("model.onnx"), &[]).unwrap().graph;
    let errors = samples(20).into_iter().map(|sample| {
        let exact = evaluate(&graph, &[&sample], |_, _| {});
        let got = outputs(package, InputData::F32(&sample));
        got.iter().zip(&exact[0]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    });
    errors.fold(0.0, f32::max)
}

fn ops(package: &Path) -> Vec<(String, Op)> {
    let model = Model::open(package).unwrap();
    model.package().steps().map(|step| (step.name.to_string(), step.op)).collect()
}

#[test]
fn a_package_in_f32_computes_what_the_model_does() {
    let folder = tempfile::tempdir().unwrap();
    let base = PrecisionOptions { base: Precision::F32, ..PrecisionOptions::default() };
    let report = packed(folder.path(), base).unwrap();
    // Probabilities, after sums of at most some hundred terms in f32.
    let error = largest_error(&report.package);
    assert!(error < 2e-6, "off by {error}");
    let model = Model::open(&report.package).unwrap();
    assert_eq!(model.package().inputs().next().unwrap().dtype, ElemType::F32);
    let is_int8 = |(_, op): &(String, Op)| {
        matches!(op, Op::Conv(_) | Op::Binary(_) | Op::Lookup(_) | Op::Pool(_) | Op::MatMul(_))
    };
    assert!(!ops(&report.package).iter().any(is_int8));
}

#[test]
fn an_input_of_f32_takes_pixels_and_int8_too() {
    let folder = tempfile::tempdir().unwrap();
    let base = PrecisionOptions { base: Precision::F32, ..PrecisionOptions::default() };
    let package = packed(folder.path(), base).unwrap().package;
    let pixels: Vec<u8> = (0..=255).collect();
    let floats: Vec<f32> = pixels.iter().map(|&p| (f32::from(p) - 127.5) / 127.5).collect();
    let expected = outputs(&package, InputData::F32(&floats));
    assert_eq!(outputs(&package, InputData::Pixels(&pixels)), expected);
    let quant = Model::open(&package).unwrap().package().inputs().next().unwrap().quant;
    let quantized: Vec<i8> = (-128..=127).collect();
    let real = |&q: &i8| f32::from(i16::from(q) - i16::from(quant.zero_point)) * quant.scale;
    let floats: Vec<f32> = quantized.iter().map(real).collect();
    let expected = outputs(&package, InputData::F32(&floats));
    assert_eq!(outputs(&package, InputData::Quantized(&quantized)), expected);
}

#[test]
fn kept_nodes_are_in_f32_and_cast_at_their_borders() {
    let folder = tempfile::tempdir().unwrap();
    let keep = |names: &[&str]| PrecisionOptions {
        keep_f32: names.iter().map(|name| name.to_string()).collect(),
        ..PrecisionOptions::default()
    };
    let report = packed(folder.path(), keep(&["block2/expand/conv", "block2/depthwise/conv"])).unwrap();
    let ops = ops(&report.package);
    let in_f32: Vec<&str> =
        ops.iter().filter(|(_, op)| matches!(op, Op::ConvF32(_))).map(|(name, _)| name.as_str()).collect();
    assert_eq!(in_f32, ["block2/expand/conv", "block2/depthwise/conv"]);
    let casts = ops.iter().filter(|(_, op)| matches!(op, Op::Elementwise(_))).count();
    assert!(casts >= 3, "{ops:?}");
    assert!(largest_error(&report.package) < 0.1);
    let error = packed(folder.path(), keep(&["block2/expand/convolution"])).unwrap_err().to_string();
    assert!(error.contains("--keep-f32") && error.contains("block2/expand/conv"), "{error}");
}

#[test]
fn int16_is_finer_than_int8_and_weights_of_int16_finer_still() {
    let folder = tempfile::tempdir().unwrap();
    let in_precision = |base| {
        let report = packed(folder.path(), PrecisionOptions { base, ..PrecisionOptions::default() }).unwrap();
        let ops = ops(&report.package);
        let products: Vec<_> = ops.iter().filter(|(_, op)| matches!(op, Op::ConvI16(_))).collect();
        if base != Precision::Int8 {
            assert!(products.len() >= 10 && !ops.iter().any(|(_, op)| matches!(op, Op::Conv(_))), "{ops:?}");
            // Nothing is cast but the input.
            let is_cast = |name: &str| name.ends_with("(int16)") || name.ends_with("(f32)");
            assert_eq!(ops.iter().filter(|(name, _)| is_cast(name)).count(), 1, "{ops:?}");
        }
        (largest_error(&report.package), report.package_bytes)
    };
    let [int8, int16, both] = [Precision::Int8, Precision::Int16, Precision::Int16x16].map(in_precision);
    // 0.0170, 0.0074, 0.0004: of int16 with int8 weights, these are nearly all of the error.
    assert!(int16.0 < int8.0 / 2.0 && both.0 < int16.0 / 10.0, "{int8:?} {int16:?} {both:?}");
    assert!(both.1 > int16.1);
    let keep_int16 = vec!["block2/expand/conv".into()];
    let kept = PrecisionOptions { keep_int16, ..PrecisionOptions::default() };
    let report = packed(folder.path(), kept).unwrap();
    let ops = ops(&report.package);
    let wide: Vec<_> = ops.iter().filter(|(_, op)| matches!(op, Op::ConvI16(_))).collect();
    assert!(matches!(&wide[..], [(name, _)] if name == "block2/expand/conv"), "{wide:?}");
    let unknown = PrecisionOptions { keep_int16: vec!["no/such".into()], ..PrecisionOptions::default() };
    let error = packed(folder.path(), unknown).unwrap_err().to_string();
    assert!(error.contains("--keep-int16"), "{error}");
}

#[test]
fn a_budget_is_met_with_some_nodes_in_f32_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let least = |db| PrecisionOptions {
        budget: Budget { min_sqnr: Some(db), max_drop: None },
        ..PrecisionOptions::default()
    };
    let easy = packed(folder.path(), least(10.0)).unwrap().mixed.unwrap();
    assert!(easy.moved.is_empty() && easy.int8.sqnr_db == easy.mixed.sqnr_db);
    let int8_db = easy.int8.sqnr_db.unwrap();
    let report = packed(folder.path(), least(int8_db + 4.0)).unwrap();
    let mixed = report.mixed.unwrap();
    assert!(mixed.mixed.sqnr_db.unwrap() >= int8_db + 4.0, "{mixed:?}");
    assert!(!mixed.moved.is_empty() && mixed.moved.len() < mixed.candidates, "{mixed:?}");
    // Each of them is needed.
    assert!(mixed.moved.iter().all(|moved| moved.without_sqnr_db.unwrap() < int8_db + 4.0), "{mixed:?}");
    // Times differ from run to run, the package does not.
    let bytes = std::fs::read(&report.package).unwrap();
    let again = packed(folder.path(), least(int8_db + 4.0)).unwrap();
    assert!(std::fs::read(&again.package).unwrap() == bytes, "{:?}", again.mixed);
    let in_f32 = ops(&report.package);
    for moved in &mixed.moved {
        let is_there = |(name, op): &(String, Op)| {
            *name == moved.node && !matches!(op, Op::Conv(_) | Op::Lookup(_) | Op::Binary(_) | Op::Pool(_))
        };
        assert!(in_f32.iter().any(is_there), "{moved:?} in {in_f32:?}");
    }
    let error = packed(folder.path(), least(500.0)).unwrap_err();
    assert!(matches!(error, PackError::Budget { .. }), "{error}");
    let drop = PrecisionOptions {
        budget: Budget { min_sqnr: None, max_drop: Some(50.0) },
        validation: Some(asset("evaluation.npz")),
        ..PrecisionOptions::default()
    };
    let mixed = packed(folder.path(), drop).unwrap().mixed.unwrap();
    assert_eq!((mixed.samples, mixed.moved.len()), (360, 0));
}
