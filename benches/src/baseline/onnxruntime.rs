//! ONNX Runtime, loaded when it is wanted and from where it is installed: nothing is linked.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor, TensorElementType, TensorRef, ValueType};

use super::{Baseline, wheel};
use crate::{Error, InputSpec};

/// A library of ONNX Runtime, loaded into this process. There can be only one.
pub(super) struct Library {
    environment: Environment,
    engine: String,
    why: String,
}

/// The library that `ORT_DYLIB_PATH` names, else that of an installed Python wheel; or why there is
/// none. What is found first stays for the life of the process.
pub(super) fn library() -> Result<&'static Library, String> {
    static LIBRARY: OnceLock<Result<Library, String>> = OnceLock::new();
    LIBRARY.get_or_init(find).as_ref().map_err(Clone::clone)
}

fn find() -> Result<Library, String> {
    let mut candidates = Vec::new();
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        candidates.push((PathBuf::from(path), "ORT_DYLIB_PATH"));
    }
    let wheels = wheel::libraries(&wheel::Places::of_this_process());
    candidates.extend(wheels.into_iter().map(|path| (path, "the onnxruntime wheel of Python")));
    let mut problems = Vec::new();
    for (path, origin) in candidates {
        match load(&path) {
            Ok((environment, engine)) => {
                let mut why = format!("{} ({origin})", path.display());
                for problem in &problems {
                    why += &format!("; not {problem}");
                }
                return Ok(Library { environment, engine, why });
            }
            Err(reason) => problems.push(format!("{} ({origin}): {reason}", path.display())),
        }
    }
    Err(if problems.is_empty() {
        "ONNX Runtime is not installed: ORT_DYLIB_PATH is not set and Python has no onnxruntime wheel".into()
    } else {
        problems.join("; ")
    })
}

fn load(path: &Path) -> Result<(Environment, String), String> {
    // Relative to the working directory, not to the program, as a user who sets the variable means it.
    let path = std::path::absolute(path).map_err(|error| error.to_string())?;
    let version = wheel::version_of(&path);
    if let Some((major, minor, _)) = version
        && (major, minor) < (1, ort::MINOR_VERSION)
    {
        return Err(format!("version 1.{minor} is too old; 1.{} or newer is needed", ort::MINOR_VERSION));
    }
    let environment = ort::init_from(&path)
        .map_err(|error| error.to_string())?
        // The library would write its warnings to stderr, into the middle of a progress bar.
        .with_logger(Arc::new(|_, _, _, _, _| {}))
        .build()
        .map_err(|error| error.to_string())?;
    let version = match version {
        Some((major, minor, patch)) => Some(format!("{major}.{minor}.{patch}")),
        None => ort::info().split_once("git-branch=rel-").map(|(_, rest)| {
            rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect::<String>()
        }),
    };
    Ok((environment, version.map_or("onnxruntime".into(), |version| format!("onnxruntime {version}"))))
}

/// A session of ONNX Runtime.
pub(super) struct OnnxRuntime {
    library: &'static Library,
    model: PathBuf,
    session: Session,
    inputs: Vec<InputSpec>,
    /// The type of each.
    types: Vec<TensorElementType>,
    outputs: Vec<String>,
}

impl OnnxRuntime {
    pub(super) fn open(
        library: &'static Library,
        model: &Path,
        inputs: &[InputSpec],
        threads: usize,
    ) -> Result<OnnxRuntime, Error> {
        let fail =
            |reason: String| Error::Baseline { model: model.into(), engine: library.engine.clone(), reason };
        let build = || -> Result<Session, String> {
            let mut builder = Session::builder(&library.environment)
                .map_err(|error| error.to_string())?
                .with_optimization_level(GraphOptimizationLevel::All)
                .map_err(|error| error.to_string())?
                .with_intra_threads(threads.max(1))
                .map_err(|error| error.to_string())?;
            // Bound before the graph is optimised, so that the baseline is as fast as it can be.
            for (symbol, size) in super::symbols(model, inputs) {
                builder = builder.with_dimension_override(symbol, size as i64).map_err(|e| e.to_string())?;
            }
            builder.commit_from_file(model).map_err(|error| error.to_string())
        };
        let session = build().map_err(fail)?;
        let names: Vec<&str> = session.inputs().iter().map(|input| input.name()).collect();
        if names.iter().ne(inputs.iter().map(|input| &input.name)) {
            let wanted: Vec<&String> = inputs.iter().map(|input| &input.name).collect();
            return Err(fail(format!("its inputs are {names:?}, not {wanted:?}")));
        }
        let of = |input: &ort::value::Outlet| match input.dtype() {
            ValueType::Tensor { ty, .. } => *ty,
            _ => TensorElementType::Float32,
        };
        let types = session.inputs().iter().map(of).collect();
        let outputs = session.outputs().iter().map(|output| output.name().to_string()).collect();
        Ok(OnnxRuntime { library, model: model.into(), session, inputs: inputs.to_vec(), types, outputs })
    }
}

impl Baseline for OnnxRuntime {
    fn engine(&self) -> &str {
        &self.library.engine
    }

    fn output_names(&self) -> &[String] {
        &self.outputs
    }

    fn run(&mut self, input: &[f32]) -> Result<Vec<Vec<f32>>, Error> {
        let fail = |reason: String| Error::Baseline {
            model: self.model.clone(),
            engine: self.library.engine.clone(),
            reason,
        };
        let values = crate::data::split(&self.inputs, input);
        let mut inputs: Vec<SessionInputValue<'_>> = Vec::new();
        for ((input, values), &of) in self.inputs.iter().zip(values).zip(&self.types) {
            let tensor = tensor(of, &input.dims, values).map_err(|error| fail(error.to_string()))?;
            inputs.push(tensor);
        }
        let outputs = self.session.run(&inputs[..]).map_err(|error| fail(error.to_string()))?;
        let values = |name: &String| {
            outputs
                .get(name)
                .and_then(numbers)
                .ok_or_else(|| fail(format!("output `{name}` does not hold numbers that can be compared")))
        };
        self.outputs.iter().map(values).collect()
    }

    fn why(&self) -> &str {
        &self.library.why
    }
}

/// Numbers as a tensor of the type that the model takes.
fn tensor<'v>(
    of: TensorElementType,
    dims: &[usize],
    values: &'v [f32],
) -> ort::Result<SessionInputValue<'v>> {
    fn cast<T: ort::value::PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static>(
        dims: &[usize],
        values: &[f32],
        number: impl Fn(f32) -> T,
    ) -> ort::Result<SessionInputValue<'static>> {
        let values: Vec<T> = values.iter().map(|&value| number(value)).collect();
        Ok(Tensor::from_array((dims.to_vec(), values))?.into())
    }
    match of {
        TensorElementType::Int32 => cast(dims, values, |x| x as i32),
        TensorElementType::Int64 => cast(dims, values, |x| x as i64),
        TensorElementType::Bool => cast(dims, values, |x| x != 0.0),
        _ => Ok(TensorRef::from_array_view((dims.to_vec(), values))?.into()),
    }
}

fn numbers(value: &DynValue) -> Option<Vec<f32>> {
    fn of<T: ort::value::PrimitiveTensorElementType + Copy>(
        value: &DynValue,
        number: impl Fn(T) -> f32,
    ) -> Option<Vec<f32>> {
        let (_, values) = value.try_extract_tensor::<T>().ok()?;
        Some(values.iter().map(|&value| number(value)).collect())
    }
    of::<f32>(value, |v| v)
        .or_else(|| of::<f64>(value, |v| v as f32))
        .or_else(|| of::<i64>(value, |v| v as f32))
        .or_else(|| of::<i32>(value, |v| v as f32))
        .or_else(|| of::<u8>(value, f32::from))
        .or_else(|| of::<i8>(value, f32::from))
        .or_else(|| of::<bool>(value, |v| f32::from(u8::from(v))))
}
