//! Whatever is wrong with what the user gives: exit code 2, a message that names it and says what to
//! do, and nothing written.

mod common;

use common::{Bench, model, node, npy, tensor, value_info, write_model};
use prost::Message;
use tract_onnx::pb;

/// Runs a command that must be refused with every one of `words` in its message, leaving the folder
/// as it was.
#[track_caller]
fn refused(bench: &Bench, args: &[&str], words: &[&str]) {
    let before = bench.files();
    let output = bench.run(args);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
    for word in words {
        assert!(message.contains(word), "`{word}` is missing in: {message}");
    }
    assert!(!message.contains("panicked"), "{message}");
    assert_eq!(bench.files(), before, "something was written");
}

const PACK: [&str; 6] = ["pack", "model.onnx", "-o", "out.epk", "--calibration", "samples.npy"];

#[track_caller]
fn pack_refuses_model(change: impl FnOnce(&mut pb::ModelProto), words: &[&str]) {
    let bench = Bench::new();
    let mut changed = model();
    change(&mut changed);
    write_model(&bench.path("model.onnx"), &changed);
    refused(&bench, &PACK, words);
}

fn graph(model: &mut pb::ModelProto) -> &mut pb::GraphProto {
    model.graph.as_mut().unwrap()
}

#[test]
fn a_model_that_is_not_there_or_no_onnx() {
    let bench = Bench::new();
    refused(&bench, &["pack", "none.onnx", "-o", "out.epk", "--calibration", "samples.npy"], &["none.onnx"]);
    for bytes in [&b""[..], b"hello, I am a text", &[0xff; 100], &[0; 64]] {
        std::fs::write(bench.path("model.onnx"), bytes).unwrap();
        refused(&bench, &PACK, &["model.onnx", "not a (whole) ONNX model"]);
    }
}

#[test]
fn a_truncated_model() {
    let bench = Bench::new();
    let bytes = model().encode_to_vec();
    for share in [1, 2, 3, 5, 9] {
        std::fs::write(bench.path("model.onnx"), &bytes[..bytes.len() * share / 10]).unwrap();
        refused(&bench, &PACK, &["model.onnx", "not a (whole) ONNX model"]);
    }
}

#[test]
fn missing_external_data() {
    pack_refuses_model(
        |model| {
            let weights = &mut graph(model).initializer[0];
            weights.raw_data.clear();
            weights.data_location = Some(pb::tensor_proto::DataLocation::External as i32);
            let entry = pb::StringStringEntryProto { key: "location".into(), value: "weights.bin".into() };
            weights.external_data.push(entry);
        },
        &["`w`", "weights.bin", "beside the model"],
    );
}

#[test]
fn an_unsupported_operation() {
    let change = |model: &mut pb::ModelProto| {
        graph(model).node[1] = node("my/det", "Det", &["conv.y"], "relu.y", &[]);
    };
    pack_refuses_model(change, &["my/det", "Det", "opset 13", "exporting"]);
    let custom = |model: &mut pb::ModelProto| {
        graph(model).node[1].domain = "com.example".into();
    };
    pack_refuses_model(custom, &["relu", "com.example.Relu"]);
}

/// A model of one recurrent layer of two hidden units, over more steps than are unrolled.
fn recurrent(op: &str, gates: i64) -> pb::ModelProto {
    let mut model = model();
    *graph(&mut model) = pb::GraphProto {
        name: "test".into(),
        input: vec![value_info("x", &[Ok(100), Ok(100), Ok(8)])],
        output: vec![value_info("y", &[Ok(100), Ok(1), Ok(100), Ok(2)])],
        initializer: vec![
            tensor("w", &[1, 2 * gates, 8]),
            tensor("r", &[1, 2 * gates, 2]),
            tensor("b", &[1, 4 * gates]),
            tensor("p", &[1, 6]),
        ],
        node: vec![node("my/layer", op, &["x", "w", "r", "b"], "y", &[("hidden_size", vec![2])])],
        ..Default::default()
    };
    model
}

#[test]
fn recurrent_layers_in_a_form_that_is_not_supported() {
    let refused_layer = |op: &str, gates: i64, change: &dyn Fn(&mut pb::NodeProto), words: &[&str]| {
        let bench = Bench::new();
        let mut model = recurrent(op, gates);
        change(&mut graph(&mut model).node[0]);
        write_model(&bench.path("model.onnx"), &model);
        let words: Vec<&str> = ["my/layer", op].iter().chain(words).copied().collect();
        refused(&bench, &PACK, &words);
    };
    let int = |name: &str, i: i64| {
        let r#type = pb::attribute_proto::AttributeType::Int as i32;
        pb::AttributeProto { name: name.into(), r#type, i, ..Default::default() }
    };
    let float = |name: &str, f: f32| {
        let r#type = pb::attribute_proto::AttributeType::Float as i32;
        pb::AttributeProto { name: name.into(), r#type, f, ..Default::default() }
    };
    let strings = |name: &str, of: &[&str]| {
        let r#type = pb::attribute_proto::AttributeType::Strings as i32;
        let strings = of.iter().map(|text| text.as_bytes().to_vec()).collect();
        pb::AttributeProto { name: name.into(), r#type, strings, ..Default::default() }
    };
    refused_layer("GRU", 3, &|_| {}, &["linear_before_reset", "reset_after=True"]);
    refused_layer("LSTM", 4, &|node| node.attribute.push(float("clip", 3.0)), &["clip"]);
    refused_layer("LSTM", 4, &|node| node.attribute.push(int("input_forget", 1)), &["input_forget = 0"]);
    refused_layer("LSTM", 4, &|node| node.attribute.push(int("layout", 1)), &["layout = 0"]);
    let activations = strings("activations", &["Sigmoid", "Relu", "Tanh"]);
    refused_layer("LSTM", 4, &|node| node.attribute.push(activations.clone()), &["Sigmoid, Relu, Tanh"]);
    let peepholes = |node: &mut pb::NodeProto| {
        node.input.extend(["", "", "", "p"].map(String::from));
    };
    refused_layer("LSTM", 4, &peepholes, &["peepholes"]);
}

#[test]
fn an_operation_in_a_form_that_is_not_supported() {
    let power = |model: &mut pb::ModelProto| {
        graph(model).node[1] = node("power", "Pow", &["conv.y", "conv.y"], "relu.y", &[]);
    };
    pack_refuses_model(power, &["power", "Pow", "exponent", "constant"]);
}

#[test]
fn outputs_of_another_type_than_they_are_declared() {
    let integers = |model: &mut pb::ModelProto| {
        let Some(pb::type_proto::Value::TensorType(tensor)) =
            graph(model).output[0].r#type.as_mut().and_then(|kind| kind.value.as_mut())
        else {
            panic!("the output is a tensor")
        };
        tensor.elem_type = pb::tensor_proto::DataType::Int64 as i32;
    };
    pack_refuses_model(integers, &["`y`", "output", "INT64", "f32", "Cast to INT64"]);
}

#[test]
fn weights_that_are_no_numbers() {
    pack_refuses_model(
        |model| graph(model).initializer[1].raw_data[..4].copy_from_slice(&f32::NAN.to_le_bytes()),
        &["conv", "`b`", "NaN"],
    );
}

#[test]
fn a_free_dimension_without_shape_names_the_flag() {
    let free = |model: &mut pb::ModelProto| {
        graph(model).input[0] = value_info("x", &[Err("N"), Ok(3), Ok(8), Ok(8)]);
    };
    pack_refuses_model(free, &["`x`", "[N, 3, 8, 8]", "--shape x=1,3,8,8"]);
    let bench = Bench::new();
    let mut changed = model();
    free(&mut changed);
    write_model(&bench.path("model.onnx"), &changed);
    let with = |shape: &'static str| [&PACK[..], &["--shape", shape]].concat();
    refused(&bench, &with("x=1,4,8,8"), &["--shape x", "[N, 3, 8, 8]"]);
    refused(&bench, &with("z=1,3,8,8"), &["--shape z", "its inputs are x"]);
    refused(&bench, &with("x=one"), &["--shape"]);
    bench.ok(&with("x=1,3,8,8"));
}

#[test]
fn calibration_data_that_does_not_fit() {
    let bench = Bench::new();
    let mut cases: Vec<(Vec<u8>, &[&str])> = vec![
        (npy("<f4", &[2, 3, 8, 9], &[0; 1728]), &["[2, 3, 8, 9]", "[N, 3, 8, 8]"]),
        (npy("<i8", &[2, 3, 8, 8], &[0; 3072]), &["samples.npy"]),
        (npy("<f4", &[0, 3, 8, 8], &[]), &["no samples"]),
        (b"no numpy file".to_vec(), &["samples.npy"]),
        (npy("<f4", &[2, 3, 8, 8], &[0; 100]), &["samples.npy"]),
    ];
    let mut data = vec![0; 2 * 768];
    data[768 + 400..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    cases.push((npy("<f4", &[2, 3, 8, 8], &data), &["NaN", "1"]));
    for (bytes, words) in cases {
        std::fs::write(bench.path("samples.npy"), bytes).unwrap();
        refused(&bench, &PACK, words);
    }
    std::fs::remove_file(bench.path("samples.npy")).unwrap();
    refused(&bench, &PACK, &["samples.npy"]);
    std::fs::create_dir(bench.path("samples.npy")).unwrap();
    refused(&bench, &PACK, &["samples.npy"]);
}

#[test]
fn an_output_that_cannot_be_written() {
    let bench = Bench::new();
    let to = |output: &'static str| ["pack", "model.onnx", "-o", output, "--calibration", "samples.npy"];
    refused(&bench, &to("no/such/folder/out.epk"), &["no/such/folder"]);
    std::fs::create_dir(bench.path("out.epk")).unwrap();
    refused(&bench, &to("out.epk"), &["out.epk"]);
    // The device that says what a full disk says (null(4)).
    std::fs::remove_dir(bench.path("out.epk")).unwrap();
    if std::path::Path::new("/dev/full").exists() {
        refused(&bench, &to("/dev/full"), &["/dev/full", "No space left"]);
        bench.pack();
        refused(
            &bench,
            &["run", "model.epk", "--input", "samples.npy", "-o", "/dev/full"],
            &["/dev/full", "No space left"],
        );
    }
}

#[test]
fn an_unknown_target_lists_the_known_ones() {
    let bench = Bench::new();
    refused(&bench, &[&PACK[..], &["--target", "rpi99"]].concat(), &["rpi99", "rpi4"]);
    refused(&bench, &["kernels", "--target", "rpi99"], &["rpi99"]);
}

#[test]
fn damaged_packages() {
    let bench = Bench::new();
    bench.pack();
    let good = std::fs::read(bench.path("model.epk")).unwrap();
    let commands: [&[&str]; 4] = [
        &["inspect", "model.epk"],
        &["run", "model.epk", "--input", "samples.npy"],
        &["bench", "model.epk", "--runs", "1"],
        &["selftest", "model.epk"],
    ];
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 4;
    let mut future = good.clone();
    future[8] = 200;
    for bad in [&good[..good.len() - 1], &good[..40], b"", &flipped, &future] {
        std::fs::write(bench.path("model.epk"), bad).unwrap();
        for command in commands {
            refused(&bench, command, &["model.epk"]);
        }
    }
    refused(&bench, commands[0], &["newer"]);
}

#[test]
fn samples_that_do_not_fit_the_package() {
    let bench = Bench::new();
    bench.pack();
    std::fs::write(bench.path("samples.npy"), npy("<f4", &[1, 3, 9, 8], &[0; 864])).unwrap();
    refused(&bench, &["run", "model.epk", "--input", "samples.npy"], &["[1, 3, 9, 8]", "[N, 3, 8, 8]"]);
    refused(&bench, &["run", "model.epk", "--input", "none.npy"], &["none.npy"]);
}
