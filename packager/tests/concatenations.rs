//! Concatenations along the outermost stored axis are written in place.

mod common;
#[path = "common/operation.rs"]
mod operation;

use common::{tensor, write_model};
use edgepack_engine::format::plan::Op;
use edgepack_engine::{InputData, Model, OutputData, SessionOptions};
use edgepack_packager::pack::{CalibrationSource, PackOptions, pack};
use operation::{Node, floats, model, op};

/// Two convolutions of the input whose ranges differ, and what follows them: copies that remain of
/// concatenations, and the output.
fn copies(follow: Vec<Node>) -> (usize, Vec<f32>) {
    let conv = |weights: &str, y: &str| op("Conv", &["x", weights], y).ints("kernel_shape", &[1, 1]);
    let mut nodes = vec![conv("w", "a"), conv("v", "b")];
    nodes.extend(follow);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let weights =
        vec![tensor("w", &[8, 4, 1, 1]), floats("v", &[8, 4, 1, 1], &[0.9, -0.4, 0.7, 0.2].repeat(8))];
    write_model(&path, &model(13, &[1, 4, 6, 5], nodes, weights));
    let options = PackOptions {
        calibration_limit: 8,
        l2_kib: 0,
        ..PackOptions::new(path, folder.path().join("model.epk"), CalibrationSource::Random { seed: 3 })
    };
    let report = pack(&options, &mut ()).unwrap();
    let package = Model::open(&report.package).unwrap();
    let mut session = package.session(&SessionOptions::default()).unwrap();
    let input: Vec<f32> = (0..120).map(|i| ((i * 29 % 61) as f32 - 30.0) / 20.0).collect();
    session.set_input(0, InputData::F32(&input)).unwrap();
    session.run().unwrap();
    let OutputData::F32(values) = session.output(0).unwrap() else { panic!("an output of another type") };
    let values = values.to_vec();
    let is_piece = |op: &Op| matches!(op, Op::Copy(copy) if copy.dims[..5] == [1; 5] || copy.table.is_some());
    (package.package().steps().filter(|step| is_piece(&step.op)).count(), values)
}

fn concat(inputs: &[&str], axis: i64) -> Node {
    op("Concat", inputs, "c").int("axis", axis)
}

/// The same values, by a step of int8: what leads from a concatenation to the outputs without one is f32.
fn same(x: &str) -> Node {
    op("MaxPool", &[x], "y").ints("kernel_shape", &[1, 1])
}

/// A layer behind the concatenation.
fn last() -> Node {
    same("c")
}

#[test]
fn lines_are_written_where_they_belong() {
    let (pieces, values) = copies(vec![concat(&["a", "b"], 2), last()]);
    assert_eq!(pieces, 0);
    // Channel by channel six lines of `a`, then six of `b`.
    let (a, b) = (copies(vec![same("a")]).1, copies(vec![same("b")]).1);
    let expected: Vec<f32> = a.chunks(30).zip(b.chunks(30)).flat_map(|(a, b)| [a, b].concat()).collect();
    let error = values.iter().zip(&expected).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
    let largest = expected.iter().fold(0.0_f32, |most, &x| most.max(x));
    // Each is within a step of its own scale.
    assert!(largest > 0.0 && error <= 2.0 * largest / 128.0, "{error} of {largest}");
}

#[test]
fn one_tensor_cannot_lie_in_two_places() {
    assert_eq!(copies(vec![concat(&["a", "a"], 2), last()]).0, 2);
}

#[test]
fn what_keeps_its_own_scale_passes_through_a_table() {
    let pool = op("MaxPool", &["a"], "p").ints("kernel_shape", &[1, 1]);
    assert_eq!(copies(vec![pool, concat(&["p", "b"], 2), last()]).0, 1);
}
