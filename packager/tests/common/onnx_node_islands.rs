//! The tests with islands: in the types that the model has.

use edgepack_engine::format::plan::ElemType;
use edgepack_engine::{InputData, Model, SessionOptions};
use edgepack_packager::calibrate::Observer;
use edgepack_packager::evaluate::evaluate;
use edgepack_packager::graph::Op;
use edgepack_packager::islands::Islands;
use edgepack_packager::pack::{CalibrationSource, PackOptions, imported, pack};
use edgepack_packager::passes;
use tract_onnx::pb;
use tract_onnx::prelude::DatumType;

use super::{NodeTest, Outcome, Tensor, dims, judge, refusal, write_model, write_npz};

/// A tensor in its own type.
struct Typed {
    dims: Vec<usize>,
    dtype: ElemType,
    bytes: Vec<u8>,
}

impl Typed {
    fn new(proto: &pb::TensorProto) -> Option<Self> {
        let resolver = tract_onnx::data_resolver::default();
        let tensor = tract_onnx::tensor::load_tensor(&*resolver, proto, None).ok()?;
        let dtype = match tensor.datum_type() {
            DatumType::TDim | DatumType::String | DatumType::Blob => return None,
            of => {
                ElemType::ALL.into_iter().find(|&dtype| edgepack_engine::islands::datum_type(dtype) == of)?
            }
        };
        let bytes = tensor.try_as_plain_ram().ok()?.as_bytes().to_vec();
        Some(Self { dims: dims(proto), dtype, bytes })
    }

    fn numbers(&self) -> Vec<f64> {
        let elems = self.bytes.chunks_exact(self.dtype.bytes() as usize);
        elems.map(|elem| self.dtype.read(elem)).collect()
    }

    fn as_f32(&self) -> Tensor {
        Tensor { dims: self.dims.clone(), data: self.numbers().into_iter().map(|x| x as f32).collect() }
    }
}

/// Packs the model as it is, with islands for what edgepack has no steps for, and runs it.
pub(super) fn attempt(test: &NodeTest) -> Outcome {
    const HOW: &str = "with islands";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    write_model(&path, &test.model);
    let typed = |protos: &[Option<pb::TensorProto>]| {
        protos.iter().map(|proto| proto.as_ref().and_then(Typed::new)).collect::<Option<Vec<Typed>>>()
    };
    let graph = test.model.graph.as_ref().unwrap();
    let names: Vec<String> = graph.input.iter().map(|input| input.name.clone()).collect();
    let inputs = typed(&test.inputs);
    let shapes = match &inputs {
        Some(inputs) => names.iter().cloned().zip(inputs.iter().map(|input| input.dims.clone())).collect(),
        None => vec![],
    };
    let given = inputs.iter().flatten();
    let numbers: Vec<Tensor> = given.map(Typed::as_f32).collect();
    let archive = folder.path().join("data.npz");
    write_npz(&archive, &names, &numbers);
    // Samples for calibration are numbers, which the tests of IsNaN and IsInf are not.
    let calibration =
        if numbers.iter().flat_map(|tensor| &tensor.data).all(|x| x.is_finite()) && !names.is_empty() {
            CalibrationSource::Data(archive)
        } else {
            CalibrationSource::Random { seed: 0 }
        };
    let options = PackOptions {
        shapes,
        calibration_limit: 1,
        observer: Observer::MinMax,
        islands: Islands::Auto,
        l2_kib: 0,
        ..PackOptions::new(path, folder.path().join("model.epk"), calibration)
    };
    let mut graph = match imported(&options) {
        Ok(imported) => imported.graph,
        Err(error) => return refusal(&test.model, &error),
    };
    let (Some(inputs), Some(expected)) = (inputs, typed(&test.outputs)) else {
        return Outcome::Unclear("imported, but its data are no plain tensors".into());
    };
    if let Err(error) = pack(&options, &mut ()) {
        return refusal(&test.model, &error);
    }
    let model = Model::open(&options.output).unwrap();
    let mut session = model.session(&SessionOptions::default()).unwrap();
    for (index, (input, numbers)) in inputs.iter().zip(&numbers).enumerate() {
        let plan = model.package().inputs().nth(index).unwrap();
        assert!(plan.dtype == input.dtype || plan.dtype == ElemType::I8, "input {index}: {:?}", plan.dtype);
        let words =
            |bytes: &[u8]| bytes.as_chunks::<8>().0.iter().map(|&word| i64::from_le_bytes(word)).collect();
        let halves =
            |bytes: &[u8]| bytes.as_chunks::<4>().0.iter().map(|&word| i32::from_le_bytes(word)).collect();
        let (long, int): (Vec<i64>, Vec<i32>) = (words(&input.bytes), halves(&input.bytes));
        let data = match plan.dtype {
            ElemType::I64 => InputData::I64(&long),
            ElemType::I32 => InputData::I32(&int),
            ElemType::Bool => InputData::Bool(&input.bytes),
            ElemType::I8 | ElemType::F32 => InputData::F32(&numbers.data),
            dtype => InputData::Elements(dtype, &input.bytes),
        };
        session.set_input(index, data).unwrap();
    }
    session.run().unwrap();
    let count = model.package().outputs().count();
    if count != expected.len() {
        return Outcome::Wrong(format!("{count} outputs instead of {}", expected.len()));
    }
    passes::run(&mut graph);
    let is_all_islands = graph.nodes.iter().all(|node| matches!(node.op, Op::Island { .. } | Op::Reshape));
    let outputs: Vec<_> = (0..count).map(|index| session.output(index).unwrap()).collect();
    for (index, (output, expected)) in outputs.iter().zip(&expected).enumerate() {
        let plan = model.package().outputs().nth(index).unwrap();
        let shape: Vec<usize> = plan.dims.as_slice().iter().map(|&size| size as usize).collect();
        if shape != expected.dims || output.dtype() != expected.dtype {
            let (got, wanted) = (output.dtype().name(), expected.dtype.name());
            return Outcome::Wrong(format!(
                "output {index} is {got} {shape:?} instead of {wanted} {:?}",
                expected.dims
            ));
        }
        let elems = output.bytes().chunks_exact(expected.dtype.bytes() as usize);
        let far = |(got, wanted): (f64, f64)| {
            let same = got == wanted || got.is_nan() && wanted.is_nan();
            let near = (got - wanted).abs() <= 1e-7 + 1e-3 * wanted.abs();
            (!same && !near).then_some((got, wanted))
        };
        let values = elems.map(|elem| expected.dtype.read(elem)).zip(expected.numbers());
        if let (true, Some((got, wanted))) = (is_all_islands, values.clone().find_map(far)) {
            return Outcome::Wrong(format!("output {index} has {got} instead of {wanted}, {HOW}"));
        }
    }
    if is_all_islands {
        return Outcome::Passed(HOW);
    }
    let data: Vec<&[f32]> = numbers.iter().map(|tensor| &tensor.data[..]).collect();
    let exact = evaluate(&graph, &data, |_, _| {});
    for (index, (exact, expected)) in exact.iter().zip(&expected).enumerate() {
        let far = |(&got, wanted): (&f32, f64)| {
            let got = f64::from(got);
            let same = got == wanted || got.is_nan() && wanted.is_nan();
            (!same && (got - wanted).abs() > 1e-7 + 1e-3 * wanted.abs()).then_some((got, wanted))
        };
        if let Some((got, wanted)) = exact.iter().zip(expected.numbers()).find_map(far) {
            return Outcome::Wrong(format!("output {index} has {got} instead of {wanted}, in f32, {HOW}"));
        }
    }
    let got: Vec<Vec<f32>> = outputs.iter().map(|output| output.values().collect()).collect();
    judge(&graph, &data, &exact, &got, HOW)
}
