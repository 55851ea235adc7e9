//! One of ONNX's tests of an operator: a model, its inputs, and the outputs that ONNX expects.

#[path = "onnx_node_islands.rs"]
mod islands;

use std::fmt;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use edgepack_engine::format::plan::ElemType;
use edgepack_engine::{InputData, Model, SessionOptions};
use edgepack_packager::calibrate::Observer;
use edgepack_packager::error::PackError;
use edgepack_packager::evaluate::evaluate;
use edgepack_packager::graph::{self, Graph, ValueId};
use edgepack_packager::import::{import, nodes};
use edgepack_packager::pack::{CalibrationSource, PackOptions, pack};
use edgepack_packager::passes;
use edgepack_packager::precision::PrecisionOptions;
use edgepack_packager::quant::Quant;
use prost::Message as _;
use tract_onnx::pb::{self, tensor_proto::DataType};

use crate::common::{npy, write_model};

/// In what numbers a package computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// int8.
    Int8,
    /// int16, weights too.
    Int16,
    /// f32.
    F32,
}

impl Precision {
    fn options(self) -> PrecisionOptions {
        let base = match self {
            Self::Int8 => graph::Precision::Int8,
            Self::Int16 => graph::Precision::Int16x16,
            Self::F32 => graph::Precision::F32,
        };
        PrecisionOptions { base, ..Default::default() }
    }
}

/// What came of a test.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The outputs are those that ONNX expects; how the model was given.
    Passed(&'static str),
    /// The model's f32 function is right, and so is the package within eight bits a tensor; but those are
    /// too few to say anything of this data.
    TooCoarse(String),
    /// Refused with a message that names operation, node and remedy.
    Refused(String),
    /// Refused with a message that does not.
    Unclear(String),
    /// Other outputs than ONNX expects.
    Wrong(String),
    /// A panic.
    Panicked(String),
}

impl Outcome {
    /// Its place in the table.
    pub fn column(&self) -> usize {
        match self {
            Self::Passed(_) => 0,
            Self::TooCoarse(_) => 1,
            Self::Refused(_) => 2,
            Self::Unclear(_) => 3,
            Self::Wrong(_) => 4,
            Self::Panicked(_) => 5,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed(how) => write!(f, "passed, {how}"),
            Self::TooCoarse(why) => write!(f, "too coarse: {why}"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Unclear(why) => write!(f, "unclear: {why}"),
            Self::Wrong(why) => write!(f, "wrong: {why}"),
            Self::Panicked(why) => write!(f, "panicked: {why}"),
        }
    }
}

/// The folder of the tests, if there is one.
pub fn folder() -> Option<PathBuf> {
    let given = std::env::var_os("EDGEPACK_ONNX_NODE_TESTS").map(PathBuf::from);
    let installed = || {
        let script = "import onnx, os; print(os.path.dirname(onnx.__file__))";
        let output = std::process::Command::new("python3").args(["-c", script]).output().ok()?;
        let package = String::from_utf8(output.stdout).ok()?;
        Some(Path::new(package.trim()).join("backend/test/data/node"))
    };
    given.or_else(installed).filter(|folder| folder.is_dir())
}

/// The tests of a folder, by name.
pub fn tests(folder: &Path) -> impl Iterator<Item = NodeTest> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().filter(|path| path.join("model.onnx").is_file()).map(|path| NodeTest::read(&path))
}

/// A test.
pub struct NodeTest {
    /// Its folder's name.
    pub name: String,
    /// The operation, or what it is a test of where there are several.
    pub operation: String,
    model: pb::ModelProto,
    /// By input and output of the model: the tensor, if it is one.
    inputs: Vec<Option<pb::TensorProto>>,
    outputs: Vec<Option<pb::TensorProto>>,
}

/// An f32 tensor.
struct Tensor {
    dims: Vec<usize>,
    data: Vec<f32>,
}

impl NodeTest {
    fn read(path: &Path) -> Self {
        let model = pb::ModelProto::decode(&std::fs::read(path.join("model.onnx")).unwrap()[..]).unwrap();
        let graph = model.graph.as_ref().unwrap();
        let tensors = |kind: &str, values: &[pb::ValueInfoProto]| {
            let read =
                |index: usize| std::fs::read(path.join(format!("test_data_set_0/{kind}_{index}.pb"))).ok();
            let tensor = |(index, value): (usize, &pb::ValueInfoProto)| {
                let is_tensor = matches!(
                    value.r#type.as_ref().and_then(|kind| kind.value.as_ref()),
                    Some(pb::type_proto::Value::TensorType(_))
                );
                read(index).filter(|_| is_tensor).and_then(|bytes| pb::TensorProto::decode(&bytes[..]).ok())
            };
            values.iter().enumerate().map(tensor).collect::<Vec<_>>()
        };
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let first = &graph.node[0].op_type;
        let operation = if graph.node.iter().all(|node| node.op_type == *first) {
            first.clone()
        } else {
            // Of functions, which ONNX defines by other operations.
            "(of several operations)".into()
        };
        let (inputs, outputs) = (tensors("input", &graph.input), tensors("output", &graph.output));
        Self { name, operation, inputs, outputs, model }
    }

    /// Packs and runs the model as it is. Where that is refused because parameters are inputs (every
    /// operand of these tests is one), again with those as initializers that are no f32, and at last with
    /// all but the first f32 input.
    pub fn run(&self, precision: Precision) -> Outcome {
        let is_f32 = |index: usize| {
            self.inputs[index].as_ref().is_some_and(|tensor| tensor.data_type == DataType::Float as i32)
        };
        let count = self.inputs.len();
        let data: Vec<usize> = (0..count).filter(|&index| is_f32(index)).collect();
        let mut ways = vec![("as it is", (0..count).collect::<Vec<_>>())];
        if !data.is_empty() && data.len() < count {
            ways.push(("integers as initializers", data.clone()));
        }
        if data.len() > 1 {
            ways.push(("parameters as initializers", data[..1].to_vec()));
        }
        // Of quantized operations the first operand is the data, whatever its type.
        // So it is of those whose parameters are integers too.
        let is_quantized = nodes::quantized_ops().any(|op| op == self.operation);
        if is_quantized || count > 1 && !is_f32(0) {
            ways.push(("its first operand as the input", vec![0]));
        }
        // What is no tensor cannot be an initializer.
        ways.retain(|(_, inputs)| (0..count).all(|i| inputs.contains(&i) || self.inputs[i].is_some()));
        let mut first = None;
        for (how, inputs) in ways {
            let outcome = caught(|| self.attempt(&inputs, how, precision));
            if !matches!(outcome, Outcome::Refused(_)) {
                return outcome;
            }
            // The last message is of the form that a user would have.
            first = Some(outcome);
        }
        first.unwrap_or_else(|| Outcome::Refused("no form".into()))
    }

    /// As [`NodeTest::run`] in int8; where that is refused, as it is with islands.
    pub fn run_with_islands(&self) -> Outcome {
        match self.run(Precision::Int8) {
            Outcome::Refused(_) => caught(|| islands::attempt(self)),
            native => native,
        }
    }

    /// Whether tract passes the test: what edgepack is measured by.
    pub fn passes_in_tract(&self) -> bool {
        catch_unwind(AssertUnwindSafe(|| passes_in_tract(self))).ok().flatten() == Some(true)
    }

    /// Whether all that the model takes and gives is f32.
    pub fn is_f32(&self) -> bool {
        let is_f32 = |proto: &Option<pb::TensorProto>| {
            proto.as_ref().is_some_and(|tensor| tensor.data_type == DataType::Float as i32)
        };
        self.inputs.iter().chain(&self.outputs).all(is_f32)
    }

    fn attempt(&self, inputs: &[usize], how: &'static str, precision: Precision) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        let model = self.with_inputs(inputs);
        write_model(&path, &model);
        let given: Vec<&pb::TensorProto> = inputs.iter().filter_map(|&i| self.inputs[i].as_ref()).collect();
        let names: Vec<String> =
            model.graph.iter().flat_map(|graph| &graph.input).map(|input| input.name.clone()).collect();
        let shapes: Vec<_> = if given.len() == names.len() {
            names.iter().cloned().zip(given.iter().map(|tensor| dims(tensor))).collect()
        } else {
            vec![]
        };
        let mut graph = match import(&path, &shapes) {
            Ok(imported) => imported.graph,
            Err(error) => return refusal(&model, &error),
        };
        // Integers are what a quantized model says that they stand for.
        let numbers = |tensors: &[Option<&pb::TensorProto>], values: &[ValueId]| {
            let quants = values.iter().map(|&id| graph.value(id).given);
            let tensors = tensors.iter().zip(quants).map(|(tensor, quant)| self::tensor((*tensor)?, quant));
            tensors.collect::<Option<Vec<Tensor>>>()
        };
        let given: Vec<_> = given.into_iter().map(Some).collect();
        let Some(given) = numbers(&given, &graph.inputs) else {
            return Outcome::Unclear("imported with inputs that are no f32".into());
        };
        let wanted: Vec<_> = self.outputs.iter().map(Option::as_ref).collect();
        let Some(expected) = numbers(&wanted, &graph.outputs) else {
            return Outcome::Unclear("packed, but ONNX expects outputs that are no f32".into());
        };
        let expected = padded(expected, &self.operation, &graph);
        let data: Vec<&[f32]> = given.iter().map(|tensor| &tensor.data[..]).collect();
        if let Some(why) = is_other(&expected, &graph, &evaluate(&graph, &data, |_, _| {})) {
            return Outcome::Wrong(format!("imported, in f32, {how}: {why}"));
        }
        passes::run(&mut graph);
        let exact = evaluate(&graph, &data, |_, _| {});
        if let Some(why) = is_other(&expected, &graph, &exact) {
            return Outcome::Wrong(format!("after the passes, in f32, {how}: {why}"));
        }
        let archive = folder.path().join("data.npz");
        write_npz(&archive, &names, &given);
        let options = PackOptions {
            shapes,
            calibration_limit: 1,
            // The one sample is all that there is: nothing of it is to be cut off.
            observer: Observer::MinMax,
            precision: precision.options(),
            l2_kib: 0,
            ..PackOptions::new(path, folder.path().join("model.epk"), CalibrationSource::Data(archive))
        };
        if let Err(error) = pack(&options, &mut ()) {
            return refusal(&model, &error);
        }
        let outputs = outputs(&options.output, &data);
        // Integers are exact whatever the precision is.
        let are_integers =
            (graph.inputs.iter().chain(&graph.outputs)).all(|&id| graph.value(id).dtype != ElemType::F32);
        if precision != Precision::F32 && !are_integers {
            return judge(&graph, &data, &exact, &outputs, how);
        }
        match is_other(&expected, &graph, &outputs) {
            Some(why) => Outcome::Wrong(format!("packed in f32, {how}: {why}")),
            None => Outcome::Passed(how),
        }
    }

    /// The model with these inputs, and the others as initializers.
    fn with_inputs(&self, inputs: &[usize]) -> pb::ModelProto {
        let mut model = self.model.clone();
        let graph = model.graph.as_mut().unwrap();
        for index in (0..self.inputs.len()).rev().filter(|index| !inputs.contains(index)) {
            let input = graph.input.remove(index);
            if let Some(tensor) = &self.inputs[index] {
                graph.initializer.push(pb::TensorProto { name: input.name, ..tensor.clone() });
            }
        }
        model
    }
}

/// A panic is an outcome.
fn caught(attempt: impl FnOnce() -> Outcome) -> Outcome {
    catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Outcome::Panicked(text.or(panic.downcast_ref::<&str>().map(|s| s.to_string())).unwrap_or_default())
    })
}

/// Whether tract, on the host and in the model's own types, gives what ONNX expects.
fn passes_in_tract(test: &NodeTest) -> Option<bool> {
    use tract_onnx::prelude::*;
    use tract_onnx::tract_hir::infer::InferenceFact;
    let load = |proto: &pb::TensorProto| {
        let resolver = tract_onnx::data_resolver::default();
        tract_onnx::tensor::load_tensor(&*resolver, proto, None).ok()
    };
    let tensors = |protos: &[Option<pb::TensorProto>]| {
        protos.iter().map(|proto| proto.as_ref().and_then(load)).collect::<Option<Vec<Tensor>>>()
    };
    let (inputs, expected) = (tensors(&test.inputs)?, tensors(&test.outputs)?);
    let mut model = tract_onnx::onnx().model_for_proto_model(&test.model).ok()?;
    for (index, input) in inputs.iter().enumerate() {
        let fact = InferenceFact::dt_shape(input.datum_type(), input.shape());
        model.set_input_fact(index, fact).ok()?;
    }
    let runnable = model.into_optimized().ok()?.into_runnable().ok()?;
    let outputs = runnable.run(inputs.into_iter().map(TValue::from).collect()).ok()?;
    let same = |(got, wanted): (&TValue, &Tensor)| {
        let numbers = |tensor: &Tensor| {
            let cast = tensor.cast_to::<f64>().ok()?;
            Some(cast.try_as_plain_ram().ok()?.as_slice::<f64>().ok()?.to_vec())
        };
        let near = |(a, b): (&f64, &f64)| {
            a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-7 + 1e-3 * b.abs()
        };
        let values = numbers(got).zip(numbers(wanted));
        got.shape() == wanted.shape()
            && got.datum_type() == wanted.datum_type()
            && values.is_some_and(|(got, wanted)| got.iter().zip(&wanted).all(near))
    };
    Some(outputs.len() == expected.len() && outputs.iter().zip(&expected).all(same))
}

fn dims(proto: &pb::TensorProto) -> Vec<usize> {
    proto.dims.iter().map(|&dim| dim as usize).collect()
}

/// The numbers of an f32 tensor, of integers and truth values, or of one of bytes that have a scale; `None` of others.
fn tensor(proto: &pb::TensorProto, quant: Option<Quant>) -> Option<Tensor> {
    let integers = |signed: bool| -> Vec<i32> {
        let integer = |byte: u8| if signed { i32::from(byte as i8) } else { i32::from(byte) - 128 };
        match proto.raw_data.is_empty() {
            true => proto.int32_data.iter().map(|&q| integer(q as u8)).collect(),
            false => proto.raw_data.iter().map(|&byte| integer(byte)).collect(),
        }
    };
    let data = match DataType::try_from(proto.data_type).ok()? {
        DataType::Float if proto.raw_data.is_empty() => proto.float_data.clone(),
        DataType::Float => {
            proto.raw_data.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
        }
        kind @ (DataType::Int8 | DataType::Uint8) => {
            let quant = quant?;
            integers(kind == DataType::Int8).into_iter().map(|q| quant.dequantize(q)).collect()
        }
        DataType::Int64 if proto.raw_data.is_empty() => proto.int64_data.iter().map(|&x| x as f32).collect(),
        DataType::Int64 => {
            proto.raw_data.as_chunks::<8>().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as f32).collect()
        }
        DataType::Int32 | DataType::Bool if proto.raw_data.is_empty() => {
            proto.int32_data.iter().map(|&x| x as f32).collect()
        }
        DataType::Int32 => {
            proto.raw_data.as_chunks::<4>().0.iter().map(|&bytes| i32::from_le_bytes(bytes) as f32).collect()
        }
        DataType::Bool => proto.raw_data.iter().map(|&byte| f32::from(byte)).collect(),
        _ => return None,
    };
    Some(Tensor { dims: dims(proto), data })
}

/// One sample, an array for each input.
fn write_npz(path: &Path, names: &[String], tensors: &[Tensor]) {
    let mut archive = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    for (name, tensor) in names.iter().zip(tensors) {
        let mut dims = tensor.dims.clone();
        if dims.first() != Some(&1) {
            dims.insert(0, 1);
        }
        let bytes: Vec<u8> = tensor.data.iter().flat_map(|x| x.to_le_bytes()).collect();
        archive.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(&npy("<f4", &dims, &bytes)).unwrap();
    }
    archive.finish().unwrap();
}

/// What the package makes of the inputs.
fn outputs(package: &Path, inputs: &[&[f32]]) -> Vec<Vec<f32>> {
    let model = Model::open(package).unwrap();
    let mut session = model.session(&SessionOptions::default()).unwrap();
    for (index, input) in inputs.iter().enumerate() {
        session.set_input(index, InputData::F32(input)).unwrap();
    }
    session.run().unwrap();
    let count = model.package().outputs().count();
    let values = |index: usize| match session.output(index) {
        Ok(output) => output.values().collect(),
        Err(error) => panic!("no output: {error}"),
    };
    (0..count).map(values).collect()
}

/// A refusal is clear if it says which node of the model, which operation, and what can be done.
fn refusal(model: &pb::ModelProto, error: &PackError) -> Outcome {
    let graph = model.graph.as_ref().unwrap();
    let clear = match error {
        PackError::Unsupported { node, op, remedy, .. } => {
            // Nodes of a body are called after the node around it.
            let is_inside = |known: &pb::NodeProto| {
                let mut names = known.output.iter().chain([&known.name]).filter(|name| !name.is_empty());
                names.any(|name| node.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('/')))
            };
            let is_node = graph.node.iter().any(|known| {
                (known.name == *node || known.output.first() == Some(node)) && op.ends_with(&known.op_type)
                    || is_inside(known)
            });
            let is_end = graph.input.iter().chain(&graph.output).any(|end| end.name == *node);
            let is_initializer = graph.initializer.iter().any(|tensor| tensor.name == *node);
            (is_node || is_end || is_initializer) && !remedy.is_empty()
        }
        PackError::FreeDimension { .. } => true,
        _ => false,
    };
    if clear { Outcome::Refused(error.to_string()) } else { Outcome::Unclear(error.to_string()) }
}

/// What is wrong with outputs in f32, by the bounds of ONNX's own tests.
fn is_other(expected: &[Tensor], graph: &Graph, outputs: &[Vec<f32>]) -> Option<String> {
    if expected.len() != outputs.len() {
        return Some(format!("{} outputs instead of {}", outputs.len(), expected.len()));
    }
    for (index, (expected, values)) in expected.iter().zip(outputs).enumerate() {
        let dims = graph.dims(graph.outputs[index]);
        if dims != expected.dims {
            return Some(format!("output {index} has the shape {dims:?} instead of {:?}", expected.dims));
        }
        let far = |&(&wanted, &got): &(&f32, &f32)| {
            let same = wanted == got || wanted.is_nan() && got.is_nan();
            let near = (wanted - got).abs() <= 1e-7 + 1e-3 * wanted.abs();
            !same && !near
        };
        if let Some((wanted, got)) = expected.data.iter().zip(values).find(far) {
            return Some(format!("output {index} has {got} instead of {wanted}"));
        }
    }
    None
}

/// What ONNX expects, in our convention for outputs of a length that depends on the data: plans have static shapes, so
/// that NonMaxSuppression gives as many rows as it can at most, and those behind the last that is selected are -1.
/// The rows in front are still ONNX's own, and every other number must be -1.
fn padded(mut expected: Vec<Tensor>, operation: &str, graph: &Graph) -> Vec<Tensor> {
    if operation == "NonMaxSuppression" {
        for (tensor, &id) in expected.iter_mut().zip(&graph.outputs) {
            let [rows, 3] = *graph.dims(id) else { continue };
            tensor.dims[0] = tensor.dims[0].max(rows);
            tensor.data.resize(tensor.dims[0] * 3, -1.0);
        }
    }
    expected
}

/// Holds int8 outputs against the exact ones.
///
/// What eight bits can give is found by rounding every tensor of the graph but integers to 256 levels over its own
/// range, in f32: nothing that stores tensors in int8 can be expected to be nearer. The package may be
/// three times as far off at its worst, and three levels of the output more, for it also rounds weights
/// to eight bits, and each value not in the same direction. Where the outputs so rounded are off by a
/// quarter of their range, eight bits say nothing of this data.
fn judge(graph: &Graph, data: &[&[f32]], exact: &[Vec<f32>], got: &[Vec<f32>], how: &'static str) -> Outcome {
    let rounded = evaluate(graph, data, |id, values| {
        if graph.value(id).dtype != ElemType::F32 {
            return;
        }
        let range = values.iter().fold([0.0f32; 2], |[min, max], &x| [min.min(x), max.max(x)]);
        let quant = Quant::over(range);
        values.iter_mut().for_each(|x| *x = quant.dequantize(quant.quantize(*x) as i32));
    });
    for (index, (exact, got)) in exact.iter().zip(got).enumerate() {
        let worst = |values: &[f32]| {
            exact
                .iter()
                .zip(values)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, |m: f32, x| if x > m || x.is_nan() { x } else { m })
        };
        let range = exact.iter().fold([0.0f32; 2], |[min, max], &x| [min.min(x), max.max(x)]);
        let (range, possible) = (range[1] - range[0], worst(&rounded[index]));
        let bound = 3.0 * possible + 3.0 * range / 255.0;
        let error = worst(got);
        let within = error <= bound;
        if !within {
            return Outcome::Wrong(format!(
                "output {index} is off by {error}, {:.1} % of its range {range}; eight bits allow {bound} ({how})",
                100.0 * error / range
            ));
        }
        if possible > range / 4.0 {
            return Outcome::TooCoarse(format!("output {index} is off by {error} of {range} ({how})"));
        }
    }
    Outcome::Passed(how)
}
