//! What a node reads and how large what it makes is: values, constants, integers, shapes.

use super::Importer;
use super::context::Context;
use crate::error::Result;
use crate::graph::{Tensor, Value, ValueId};
use crate::quant::Quant;

impl Importer {
    /// The value with this name; constants become values when they are first read.
    pub(super) fn value(&mut self, context: &Context<'_>, name: &str) -> Result<ValueId> {
        if let Some(&id) = self.names.get(name) {
            return Ok(id);
        }
        let constant = self.f32_constant(name).ok_or_else(|| {
            context.invalid(format!("reads `{name}`, which no node makes and which is no f32 constant"))
        })?;
        let (dims, constant) = (constant.dims.clone(), Some(constant));
        let dtype = self.facts.dtype(name);
        self.graph.values.push(Value { constant, dtype, ..Value::new(name, dims) });
        let id = ValueId(self.graph.values.len() - 1);
        self.names.insert(name.into(), id);
        Ok(id)
    }

    /// A constant of the file's, of tract's, or of our own folding, as f32; what arrived quantized has its
    /// scales with it.
    pub(super) fn f32_constant(&self, name: &str) -> Option<Tensor> {
        let folded = self.names.get(name).and_then(|&id| self.graph.value(id).constant.clone());
        folded.or_else(|| {
            let constant = self.facts.f32_constant(name)?;
            let params = self.given.params.get(name);
            Some(params.and_then(|params| params.constant(&constant)).unwrap_or(constant))
        })
    }

    /// The int8 representation that the model gives a value which it computes.
    pub(super) fn given_quant(&mut self, name: &str) -> Option<Quant> {
        let params = self.given.params.get(name)?;
        let quant = params.quant();
        if quant.is_none() {
            let [least, greatest] = params.levels;
            let note = match params.scales.len() {
                1 => format!(
                    "`{name}` has levels from {least} to {greatest}: its range is calibrated for int8"
                ),
                n => format!("`{name}` has {n} scales where int8 has one: its range is calibrated"),
            };
            if !self.given.notes.contains(&note) {
                self.given.notes.push(note);
            }
        }
        quant
    }

    /// Input `index` of a node as a value.
    pub(super) fn input(&mut self, context: &Context<'_>, index: usize) -> Result<ValueId> {
        let name = context.input_name(index)?;
        self.value(context, name)
    }

    /// Input `index` of a node as a constant; `None` where it is left out.
    pub(super) fn optional_constant(
        &mut self,
        context: &Context<'_>,
        index: usize,
    ) -> Result<Option<Tensor>> {
        let Some(name) = context.node.input.get(index).filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let constant = self.f32_constant(name).ok_or_else(|| {
            context.unsupported(
                &format!("computes its input `{name}` while the model runs"),
                "edgepack needs it as a constant: export the model in inference mode with constants folded",
            )
        })?;
        match constant.data.iter().position(|x| !x.is_finite()) {
            Some(at) if !matches!(context.node.op_type.as_str(), "Clip") => {
                Err(context
                    .invalid(format!("its constant `{name}` has {} at element {at}", constant.data[at])))
            }
            _ => Ok(Some(constant)),
        }
    }

    /// Input `index` of a node as a constant.
    pub(super) fn constant(&mut self, context: &Context<'_>, index: usize) -> Result<Tensor> {
        context.input_name(index)?;
        self.optional_constant(context, index)
            .map(|constant| constant.expect("the input is named, so it is a constant or an error"))
    }

    /// Input `index` as a list of integers; `None` where it is left out.
    pub(super) fn integers(&mut self, context: &Context<'_>, index: usize) -> Result<Option<Vec<i64>>> {
        let Some(name) = context.node.input.get(index).filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        self.facts.i64_constant(name).map(Some).ok_or_else(|| {
            context.unsupported(
                &format!("computes its input `{name}` while the model runs"),
                "edgepack needs it as a constant: export the model with static shapes",
            )
        })
    }

    /// The shape that tract found for output 0.
    pub(super) fn output_dims(&self, context: &Context<'_>) -> Result<Vec<usize>> {
        let name = context.node.output.first().map_or("", |name| name.as_str());
        self.facts.dims(name).ok_or_else(|| {
            context.unsupported(
                &format!("has an output `{name}` whose shape is not known before the model runs"),
                "edgepack bakes shapes in: export the model with static shapes, or bind them with --shape",
            )
        })
    }
}
