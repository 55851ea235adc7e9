//! tract, for where ONNX Runtime is not installed.

use std::path::{Path, PathBuf};

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;

use super::Baseline;
use crate::{Error, InputSpec};

/// The version pinned in the workspace's manifest.
const ENGINE: &str = "tract 0.23.9";

/// A model optimised by tract. It runs on one thread.
pub(super) struct Tract {
    model: PathBuf,
    runnable: Arc<TypedRunnableModel>,
    inputs: Vec<InputSpec>,
    /// The type of each.
    types: Vec<DatumType>,
    outputs: Vec<String>,
    why: String,
}

impl Tract {
    pub(super) fn open(model: &Path, inputs: &[InputSpec], why: String) -> Result<Tract, Error> {
        let fail = |reason: String| Error::Baseline { model: model.into(), engine: ENGINE.into(), reason };
        let mut types = Vec::new();
        let mut build = || -> TractResult<(Arc<TypedRunnableModel>, Vec<String>)> {
            let mut graph = tract_onnx::onnx().model_for_path(model)?;
            let names: Vec<&str> =
                graph.inputs.iter().map(|outlet| graph.nodes[outlet.node].name.as_str()).collect();
            if names.iter().ne(inputs.iter().map(|input| &input.name)) {
                let wanted: Vec<&String> = inputs.iter().map(|input| &input.name).collect();
                tract_onnx::tract_core::internal::bail!("its inputs are {names:?}, not {wanted:?}");
            }
            for (index, input) in inputs.iter().enumerate() {
                let datum_type = graph.input_fact(index)?.datum_type.concretize().unwrap_or(DatumType::F32);
                graph.set_input_fact(index, datum_type.fact(input.dims.as_slice()).into())?;
                types.push(datum_type);
            }
            let name = |outlet: &OutletId| match graph.outlet_label(*outlet) {
                Some(label) => label.to_string(),
                None => graph.nodes[outlet.node].name.clone(),
            };
            let outputs = graph.outputs.iter().map(name).collect();
            Ok((graph.into_optimized()?.into_runnable()?, outputs))
        };
        let (runnable, outputs) = build().map_err(|error| fail(format!("{error:#}")))?;
        Ok(Tract { model: model.into(), runnable, inputs: inputs.to_vec(), types, outputs, why })
    }
}

impl Baseline for Tract {
    fn engine(&self) -> &str {
        ENGINE
    }

    fn output_names(&self) -> &[String] {
        &self.outputs
    }

    fn run(&mut self, input: &[f32]) -> Result<Vec<Vec<f32>>, Error> {
        let run = || -> TractResult<Vec<Vec<f32>>> {
            let values = crate::data::split(&self.inputs, input).into_iter();
            let tensor = |((input, values), &of): ((&InputSpec, &[f32]), &DatumType)| {
                Ok(Tensor::from_shape(&input.dims, values)?.cast_to_dt(of)?.into_owned())
            };
            let inputs = self
                .inputs
                .iter()
                .zip(values)
                .zip(&self.types)
                .map(tensor)
                .collect::<TractResult<Vec<_>>>()?;
            let outputs = self.runnable.run(inputs.into_iter().map(TValue::from).collect())?;
            let values = |output: &TValue| {
                let output = output.cast_to::<f32>()?;
                let output = output.to_plain_array_view::<f32>()?;
                Ok(output.iter().copied().collect())
            };
            outputs.iter().map(values).collect()
        };
        run().map_err(|error| Error::Baseline {
            model: self.model.clone(),
            engine: ENGINE.into(),
            reason: format!("{error:#}"),
        })
    }

    fn why(&self) -> &str {
        &self.why
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn engine_is_the_version_that_the_workspace_pins() {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
        let pinned = super::ENGINE.replace("tract ", "tract-onnx = \"=") + "\"";
        assert!(std::fs::read_to_string(manifest).unwrap().contains(&pinned), "{pinned}");
    }
}
