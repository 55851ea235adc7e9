//! Models that ONNX Runtime has quantized, packed as they arrive, against ONNX Runtime's own run of them.
//!
//! They are made by `quantize.py` with the Python of `VIRTUAL_ENV`, or else `python3`; where that has no
//! onnxruntime, nothing is tested, and the suite says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use edgepack_engine::Model;
use edgepack_engine::format::plan::Op;
use edgepack_harness::device::Local;
use edgepack_harness::{CompareOptions, DataSet, InputSpec, PackageFacts, baseline, compare};
use edgepack_packager::import::import;
use edgepack_packager::pack::{CalibrationSource, PackReport};
use edgepack_tests::{Case, digits, others, root, skip};

/// Samples that ONNX Runtime calibrates with.
const SAMPLES: usize = 32;

/// Python that has onnxruntime; says so where there is none.
fn python(what: &str) -> Option<PathBuf> {
    let environment = std::env::var_os("VIRTUAL_ENV").map(|folder| Path::new(&folder).join("bin/python3"));
    let found = environment.into_iter().chain([PathBuf::from("python3")]).find(|python| {
        let imports = ["-c", "import numpy, onnx, onnxruntime.quantization"];
        Command::new(python).args(imports).output().is_ok_and(|output| output.status.success())
    });
    if found.is_none() {
        skip(
            what,
            "no python3 with onnxruntime and onnx (VIRTUAL_ENV, or `pip install onnxruntime onnx ml_dtypes`)",
        );
    }
    found
}

/// The samples as ONNX Runtime takes them (NumPy Enhancement Proposal 1, version 1.0).
fn write_samples(path: &Path, data: &DataSet) {
    let count = data.len().min(SAMPLES);
    let dims: Vec<usize> = std::iter::once(count).chain(data.input().dims.iter().copied()).collect();
    let shape: String = dims.iter().map(|dim| format!("{dim}, ")).collect();
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    for index in 0..count {
        bytes.extend(data.get(index).unwrap().values.iter().flat_map(|x| x.to_le_bytes()));
    }
    std::fs::write(path, bytes).unwrap();
}

/// The model, quantized in a form, as a case of its own, and the folder that it lies in.
fn quantized(case: &Case, form: &str) -> Option<(tempfile::TempDir, Case)> {
    let python = python(&format!("{} in the form {form}", case.name)).filter(|_| case.is_there())?;
    let folder = tempfile::tempdir().unwrap();
    let shapes: Vec<_> = case.shape.iter().map(|(name, dims)| (name.to_string(), dims.to_vec())).collect();
    let [(name, dims)] = &import(&case.model, &shapes).unwrap().shapes[..] else { panic!("several inputs") };
    let input = InputSpec { name: name.clone(), dims: dims.clone(), limits: None };
    let data = DataSet::open(&case.calibration, &input, &case.preprocessing, Some(SAMPLES)).unwrap();
    write_samples(&folder.path().join("samples.npy"), &data);
    let model = folder.path().join(format!("{form}.onnx"));
    let output = Command::new(python)
        .arg(root().join("tests/quantize.py"))
        .args([&case.model, &folder.path().join("samples.npy"), &model])
        .arg(form)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some((folder, Case { model, ..case.clone() }))
}

/// Agreement and SQNR in dB, against ONNX Runtime's run of the same quantized model.
fn accuracy(case: &Case, report: &PackReport, form: &str) -> Option<(f64, Option<f64>)> {
    let facts = PackageFacts::read(&report.package).unwrap();
    let mut own = baseline::open(&case.model, &[InputSpec { ..facts.input.clone() }], 1).unwrap();
    if !own.engine().starts_with("onnxruntime") {
        skip(&format!("{} in the form {form}", case.name), own.why());
        return None;
    }
    let mut device = Local::open(&report.package, 1, None).unwrap();
    let data = case.data(&report.package, None);
    let comparison =
        compare(&mut *own, &mut device, None, &data, &CompareOptions::default(), &mut ()).unwrap();
    println!("{} in the form {form} against {}: {:?}", case.name, own.engine(), comparison.accuracy);
    Some((comparison.accuracy.top1_agreement.unwrap(), comparison.accuracy.sqnr_db))
}

/// Without calibration every range and all but `anew` products' weights are the model's own, every step is
/// int8, and at least this share of the predictions is ONNX Runtime's.
fn check(case: &Case, form: &str, anew: usize, sqnr_db: f64) {
    let Some((folder, quantized)) = quantized(case, form) else { return };
    let report = quantized.pack_from(folder.path(), CalibrationSource::None);
    let arrived = report.arrived.clone().unwrap();
    println!("{} in the form {form}: {arrived:?}", case.name);
    assert_eq!(arrived.calibrated, [""; 0]);
    assert!(arrived.notes.len() <= anew, "{:?}", arrived.notes);
    let package = Model::open(&report.package).unwrap();
    let ops: Vec<Op> = package.package().steps().map(|step| step.op).collect();
    let (last, steps) = ops.split_last().unwrap();
    assert!(matches!(last, Op::Lookup(lookup) if lookup.to_f32), "{last:?}");
    for op in steps {
        match op {
            Op::Conv(conv) => assert!(conv.range.is_some(), "{op:?}"),
            Op::Lookup(lookup) => assert!(!lookup.to_f32, "{op:?}"),
            _ => {}
        }
    }
    let Some((agreement, sqnr)) = accuracy(&quantized, &report, form) else { return };
    assert!(agreement >= 0.99, "{} in the form {form}: agreement {agreement:.4}", case.name);
    // None: not a bit is different.
    assert!(sqnr.is_none_or(|sqnr| sqnr >= sqnr_db), "{} in the form {form}: {sqnr:?} dB", case.name);
}

fn other(name: &str) -> Case {
    others().into_iter().find(|case| case.name == name).unwrap()
}

// SQNR is a few dB below what was measured. A sum that is rounded in another order than ONNX Runtime's
// (its additions fold the zero points in first) may fall on the other side of a tie, and a deep network
// carries that on; ONNX Runtime's own levels of optimization differ from each other by 36 dB on resnet8.

#[test]
fn digits_keeps_what_onnx_runtime_gave_it() {
    check(&digits(), "qdq", 0, 37.0);
    check(&digits(), "qoperator", 0, 37.0);
}

#[test]
fn kws_dscnn_keeps_what_onnx_runtime_gave_it() {
    check(&other("kws_dscnn"), "qdq", 0, 42.0);
    check(&other("kws_dscnn"), "qoperator", 0, 50.0);
}

#[test]
fn resnet8_keeps_what_onnx_runtime_gave_it() {
    check(&other("resnet8_cifar10"), "qdq", 0, 34.0);
    check(&other("resnet8_cifar10"), "qoperator", 0, 50.0);
}

#[test]
fn vww_keeps_what_onnx_runtime_gave_it() {
    check(&other("vww_mobilenetv1_025"), "qdq", 0, 42.0);
    check(&other("vww_mobilenetv1_025"), "qoperator", 0, 50.0);
}

#[test]
fn efficientnet_lite0_keeps_what_onnx_runtime_gave_it() {
    // A few dead channels have biases of nearly 32 bits.
    check(&other("efficientnet_lite0"), "qdq", 10, 26.0);
    check(&other("efficientnet_lite0"), "qoperator", 10, 30.0);
}

#[test]
fn dynamic_products_keep_their_weights() {
    for case in [digits(), other("kws_dscnn")] {
        let Some((folder, quantized)) = quantized(&case, "dynamic") else { continue };
        let calibration = CalibrationSource::Data(case.calibration.clone());
        let report = quantized.pack_from(folder.path(), calibration);
        let arrived = report.arrived.clone().unwrap();
        assert!(arrived.products > 0 && arrived.notes.is_empty(), "{arrived:?}");
        // What the model says is not changed to fit samples better.
        assert_eq!(report.methods, [""; 0]);
        let Some((agreement, _)) = accuracy(&quantized, &report, "dynamic") else { continue };
        // Its activations have static ranges here, those of each sample there.
        assert!(agreement >= 0.98, "{}: agreement {agreement:.4}", case.name);
    }
}
