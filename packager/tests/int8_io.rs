//! Inputs and outputs of int8 (`--io int8`): the very integers that the numbers of other packages stand for.

mod common;
#[path = "common/operation.rs"]
mod operation;

use std::path::{Path, PathBuf};

use common::{tensor, write_model};
use edgepack_engine::format::plan::{ElemType, Quant};
use edgepack_engine::{InputData, Model, OutputData, SessionOptions};
use edgepack_packager::graph::{Io, Precision};
use edgepack_packager::pack::{CalibrationSource, PackOptions, PackReport, pack};
use edgepack_packager::precision::PrecisionOptions;
use operation::{Node, model, op};

const ELEMS: usize = 4 * 6 * 5;

/// `x -> Conv -> last -> y`, in a folder of its own.
fn folder(last: Node) -> tempfile::TempDir {
    let first = op("Conv", &["x", "w"], "a").ints("kernel_shape", &[3, 3]).ints("pads", &[1, 1, 1, 1]);
    let weights = vec![tensor("w", &[4, 4, 3, 3]), tensor("v", &[3, 4, 1, 1])];
    let folder = tempfile::tempdir().unwrap();
    write_model(&folder.path().join("model.onnx"), &model(13, &[1, 4, 6, 5], vec![first, last], weights));
    folder
}

fn packed(folder: &Path, base: Precision, io: Io) -> PackReport {
    let output = folder.join(format!("{io}.epk"));
    let random = CalibrationSource::Random { seed: 3 };
    let mut options = PackOptions::new(folder.join("model.onnx"), output, random);
    options.calibration_limit = 8;
    options.precision = PrecisionOptions { base, io, ..Default::default() };
    pack(&options, &mut ()).unwrap_or_else(|error| panic!("{error}"))
}

/// Both packages of a model, which agree on their input's scale where both have it in int8.
fn both(folder: &Path, base: Precision) -> [PathBuf; 2] {
    [Io::F32, Io::Int8].map(|io| packed(folder, base, io).package)
}

fn input(package: &Path) -> (ElemType, Quant) {
    let input =
        Model::open(package).unwrap().package().inputs().next().map(|input| (input.dtype, input.quant));
    input.unwrap()
}

/// What a package makes of its input's integers, which are given as what they stand for by `quant`.
fn run(package: &Path, quant: Quant, then: impl FnOnce(OutputData<'_>)) {
    let integers = (0..ELEMS as i32).map(|i| i * 37 % 251 - 125);
    let values: Vec<f32> = integers.map(|q| (q - i32::from(quant.zero_point)) as f32 * quant.scale).collect();
    let model = Model::open(package).unwrap();
    let mut session = model.session(&SessionOptions::default()).unwrap();
    session.set_input(0, InputData::F32(&values)).unwrap();
    session.run().unwrap();
    then(session.output(0).unwrap());
}

/// The numbers of the package whose output is f32, and the integers of the other one, with what these stand for.
fn outputs([f32s, int8s]: &[PathBuf; 2]) -> (Vec<f32>, Vec<i8>, Quant) {
    let (dtype, quant) = input(int8s);
    assert_eq!(dtype, ElemType::I8);
    let (mut floats, mut integers, mut of) = (Vec::new(), Vec::new(), quant);
    run(f32s, quant, |output| match output {
        OutputData::F32(values) => floats = values.to_vec(),
        other => panic!("{other:?}"),
    });
    run(int8s, quant, |output| match output {
        OutputData::I8(values, quant) => {
            let real = |&q: &i8| f32::from(i16::from(q) - i16::from(quant.zero_point)) * quant.scale;
            assert!(output.values().eq(values.iter().map(real)));
            (integers, of) = (values.to_vec(), quant);
        }
        other => panic!("{other:?}"),
    });
    assert!(integers.iter().any(|&q| q != integers[0]), "nothing depends on anything");
    (floats, integers, of)
}

#[test]
fn outputs_that_int8_steps_make_are_the_integers_that_f32_ones_stand_for() {
    // The last step rounds to int8 in both packages.
    for last in [op("Relu", &["a"], "y"), op("MaxPool", &["a"], "y").ints("kernel_shape", &[2, 2])] {
        let name = last.0.op_type.clone();
        let folder = folder(last);
        let packages = both(folder.path(), Precision::Int8);
        let (floats, integers, quant) = outputs(&packages);
        let real = |q: i8| f32::from(i16::from(q) - i16::from(quant.zero_point)) * quant.scale;
        let stand_for: Vec<f32> = integers.iter().map(|&q| real(q)).collect();
        assert_eq!(stand_for, floats, "{name}");
        let bytes =
            packages.map(|path| Model::open(path).unwrap().package().outputs().next().unwrap().buffer.bytes);
        assert_eq!(bytes[0], 4 * bytes[1], "{name}");
    }
}

#[test]
fn outputs_that_would_be_f32_are_rounded_once_whatever_nodes_compute_with() {
    let bases = [Precision::Int8, Precision::Int16, Precision::Dynamic, Precision::F32];
    let lasts = [
        op("Conv", &["a", "v"], "y").ints("kernel_shape", &[1, 1]),
        op("Softmax", &["a"], "y").int("axis", 1),
        op("Flatten", &["a"], "y"),
    ];
    for (last, base) in lasts.into_iter().flat_map(|last| bases.map(|base| (last.clone(), base))) {
        let name = last.0.op_type.clone();
        let folder = folder(last);
        let packages = both(folder.path(), base);
        let (floats, integers, quant) = outputs(&packages);
        for (float, &integer) in floats.iter().zip(&integers) {
            let exact = f64::from(*float) / f64::from(quant.scale) + f64::from(quant.zero_point);
            let off = (f64::from(integer) - exact.clamp(-128.0, 127.0)).abs();
            // Half a step, and the rounding of the multiplier: 2^-24 of at most 256 steps, a few times.
            assert!(off <= 0.5 + 1e-4, "{name} in {base}: {integer} for {exact}");
        }
    }
}

#[test]
fn inspect_run_and_compare_show_what_outputs_stand_for() {
    let bench = common::Bench::new();
    let pack = ["pack", "model.onnx", "-o", "int8.epk", "--calibration", "samples.npy", "--io", "int8"];
    bench.ok(&pack);
    let shown = bench.ok(&["inspect", "int8.epk"]);
    let line = shown.lines().find(|line| line.starts_with("output y")).unwrap();
    assert!(line.contains("int8 (scale ") && line.contains("zero point"), "{line}");
    assert!(bench.ok(&["selftest", "int8.epk"]).contains(": 2 golden samples"));
    bench.pack();
    let compared = |package| {
        let args = [
            "compare",
            package,
            "--baseline",
            "model.onnx",
            "--data",
            "samples.npy",
            "--no-latency",
            "--format",
            "json",
        ];
        let report: serde_json::Value = serde_json::from_str(&bench.ok(&args)).unwrap();
        report["sqnr_db"].as_f64().unwrap_or_else(|| panic!("{report}"))
    };
    // In steps of its own scale the output loses some, not all.
    let [of_f32, of_int8] = ["model.epk", "int8.epk"].map(compared);
    assert!(of_int8 > 25.0 && of_int8 <= of_f32 + 3.0, "{of_f32} {of_int8}");
    let refused = bench.run(&[&pack[..7], &["int4"]].concat());
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("f32, int8"));
}
