//! The baseline's accuracy on real models and labelled data, against figures measured with ONNX
//! Runtime from Python: data, preprocessing, engine and metrics at once.
//!
//! Models and data are not in the repository: they are looked for in `EDGEPACK_MODELS`, else in
//! `../shared/models` beside the workspace; what is missing is skipped, and said to be.

use std::io::Write;
use std::path::{Path, PathBuf};

use edgepack_harness::{Accuracy, DataSet, InputSpec, Preprocessing, baseline};

fn models() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/models");
    std::env::var_os("EDGEPACK_MODELS").map_or(beside, PathBuf::from)
}

struct Case {
    model: &'static str,
    input: &'static str,
    dims: &'static [usize],
    data: &'static str,
    preprocessing: Preprocessing,
    /// Share of right answers, to three digits.
    top1: f64,
}

fn check(case: Case) {
    let (model, data) = (models().join(case.model).join("model.onnx"), models().join(case.data));
    for path in [&model, &data] {
        if !path.exists() {
            // Past the capture of test output.
            let _ = writeln!(std::io::stderr(), "SKIPPED {}: there is no {}", case.model, path.display());
            return;
        }
    }
    let input = InputSpec { name: case.input.into(), dims: case.dims.into(), limits: None };
    let data = DataSet::open(&data, &input, &case.preprocessing, None).unwrap();
    let mut fp32 = baseline::open(&model, &[input], 1).unwrap();
    let mut accuracy = Accuracy::default();
    for sample in data.iter() {
        let sample = sample.unwrap();
        let outputs = fp32.run(&sample.values).unwrap();
        accuracy.add(&outputs, &outputs, sample.label);
    }
    let summary = accuracy.summary();
    let (top1, wanted) = (summary.top1_baseline.unwrap(), case.top1);
    println!("{}: {} of {:?}: {summary:?}", case.model, fp32.engine(), fp32.output_names());
    println!("{}: {}", fp32.engine(), fp32.why());
    assert_eq!(summary.top1_agreement, Some(1.0));
    // One sample may fall differently in another engine, besides the rounding to three digits.
    assert!((top1 - wanted).abs() < 1.0 / data.len() as f64 + 0.0006, "{top1}, not {wanted}");
}

#[test]
fn efficientnet_lite0_on_photographs_has_its_accuracy() {
    check(Case {
        model: "efficientnet_lite0",
        input: "input",
        dims: &[1, 3, 224, 224],
        data: "imagenet_subset/dev_eval",
        preprocessing: Preprocessing {
            crop: Some([224, 224]),
            mean: vec![127.0],
            std: vec![128.0],
            ..Default::default()
        },
        top1: 0.810,
    });
}

#[test]
fn kws_dscnn_has_its_accuracy() {
    check(Case {
        model: "kws_dscnn",
        input: "input_1",
        dims: &[1, 49, 10, 1],
        data: "kws_dscnn/eval.npz",
        preprocessing: Preprocessing::default(),
        top1: 0.910,
    });
}

#[test]
fn resnet8_on_photographs_has_its_accuracy() {
    check(Case {
        model: "resnet8_cifar10",
        input: "input_1",
        dims: &[1, 32, 32, 3],
        data: "resnet8_cifar10/eval.npz",
        preprocessing: Preprocessing::default(),
        top1: 0.764,
    });
}

#[test]
fn visual_wake_words_has_its_accuracy() {
    check(Case {
        model: "vww_mobilenetv1_025",
        input: "input_1",
        dims: &[1, 96, 96, 3],
        data: "vww_mobilenetv1_025/eval.npz",
        preprocessing: Preprocessing { std: vec![255.0], ..Default::default() },
        top1: 0.852,
    });
}

#[test]
fn mnist_of_an_old_opset_has_its_accuracy() {
    check(Case {
        model: "mnist8",
        input: "Input3",
        dims: &[1, 1, 28, 28],
        data: "mnist8/eval.npz",
        preprocessing: Preprocessing::default(),
        top1: 0.981,
    });
}
