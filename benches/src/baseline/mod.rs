//! The FP32 model, run by ONNX Runtime or by tract: what a device's outputs are compared with.

use std::collections::BTreeMap;
use std::path::Path;

use crate::{Error, InputSpec};

mod onnxruntime;
mod tract;
mod wheel;

/// An FP32 model, ready to run one sample at a time.
pub trait Baseline {
    /// The engine and its version, such as `onnxruntime 1.31.1`.
    fn engine(&self) -> &str;

    /// Names of the outputs, in the model's order.
    fn output_names(&self) -> &[String];

    /// The outputs for one sample in the model's own layout (of several inputs one after the other), each in
    /// its own layout.
    fn run(&mut self, input: &[f32]) -> Result<Vec<Vec<f32>>, Error>;

    /// Why this engine and not another, for the user to read: which library was found, or what was
    /// wrong with those that were looked at.
    fn why(&self) -> &str;
}

/// Opens an ONNX model with its inputs bound to `inputs`, on `threads` threads.
///
/// The engine is ONNX Runtime where its library is found: at `ORT_DYLIB_PATH`, else in an installed
/// `onnxruntime` wheel of Python. Otherwise it is tract. [`Baseline::engine`] says which it is, and
/// [`Baseline::why`] the reason.
///
/// # Errors
/// The model is not one that the engine runs, or takes other inputs than these, of f32.
pub fn open(model: &Path, inputs: &[InputSpec], threads: usize) -> Result<Box<dyn Baseline>, Error> {
    std::fs::metadata(model).map_err(Error::io(model))?;
    let library = match onnxruntime::library() {
        Ok(library) => library,
        Err(why_not) => return Ok(Box::new(tract::Tract::open(model, inputs, why_not)?)),
    };
    match onnxruntime::OnnxRuntime::open(library, model, inputs, threads) {
        Ok(baseline) => Ok(Box::new(baseline)),
        // A model newer than the library may be within tract's reach; if not, the first error counts.
        Err(error) => match tract::Tract::open(model, inputs, error.to_string()) {
            Ok(baseline) => Ok(Box::new(baseline)),
            Err(_) => Err(error),
        },
    }
}

/// The names of the free dimensions of the inputs, with what they are bound to. A name that would be bound to
/// two sizes (exporters write `?`) is no name.
fn symbols(model: &Path, inputs: &[InputSpec]) -> BTreeMap<String, usize> {
    use tract_onnx::pb::tensor_shape_proto::dimension::Value::DimParam;
    use tract_onnx::pb::type_proto::Value::TensorType;
    use tract_onnx::prelude::Framework;

    let Ok(proto) = tract_onnx::onnx().proto_model_for_path(model) else { return BTreeMap::new() };
    let mut sizes: BTreeMap<String, Option<usize>> = BTreeMap::new();
    for input in inputs {
        let mut declared = proto.graph.iter().flat_map(|graph| &graph.input);
        let declared = declared.find(|value| value.name == input.name);
        let Some(TensorType(tensor)) = declared.and_then(|value| value.r#type.as_ref()?.value.as_ref())
        else {
            continue;
        };
        for (dim, &size) in tensor.shape.iter().flat_map(|shape| &shape.dim).zip(&input.dims) {
            if let Some(DimParam(symbol)) = dim.value.as_ref().filter(|dim| *dim != &DimParam(String::new()))
            {
                let known = sizes.entry(symbol.clone()).or_insert(Some(size));
                *known = known.filter(|known| *known == size);
            }
        }
    }
    sizes.into_iter().filter_map(|(symbol, size)| Some((symbol, size?))).collect()
}
