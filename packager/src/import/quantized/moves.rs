//! Nodes that are no quantized operations: what only moves elements keeps their scale, also where it moves
//! the integers themselves.

use std::collections::HashSet;

use tract_onnx::pb;

use super::{Params, Rewriter, constants, operators};
use crate::error::Result;
use crate::import::Context;

/// Operations that move elements: integers stay what they are, under the same scale.
const MOVES: &[&str] = &[
    "Concat",
    "Flatten",
    "Gather",
    "Identity",
    "MaxPool",
    "Pad",
    "Reshape",
    "Slice",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

impl<'a> Rewriter<'a> {
    /// A node that is no quantized operation. Elements that it only moves keep their scale.
    pub(super) fn float_node(&mut self, context: &Context<'a>) -> Result<()> {
        let mut node = context.node.clone();
        let moves = MOVES.contains(&node.op_type.as_str());
        if moves
            && let Some(name) = context.node.input.first()
            && let Some(output) = context.node.output.first()
            && !self.integers.contains(name)
            && let Some(params) = self.params_ahead(output)
        {
            // Integers of the application or of the file, which something behind this node dequantizes.
            node.input[0] = self.operand(context, name, &params)?;
            self.given.params.insert(output.clone(), params);
            self.integers.insert(output.clone());
            self.nodes.push(node);
            return Ok(());
        }
        let first = node.input.first().map_or("", |name| name.as_str());
        let on_integers = node.input.iter().any(|name| self.integers.contains(name));
        if on_integers && !(moves && self.integers.contains(first)) {
            return Err(context.unsupported(
                "computes with quantized integers as if they were numbers",
                "put a DequantizeLinear before it, and a QuantizeLinear behind it",
            ));
        }
        if node.op_type == "ConvTranspose"
            && let Some(weights) =
                node.input.iter().find(|name| self.given.params.contains_key(*name) && **name != first)
        {
            self.given.notes.push(format!(
                "`{}` ({}): its weights `{weights}` are rounded anew, by channel",
                context.name, node.op_type
            ));
        }
        let params = self.given.params.get(first).cloned();
        let mut moved = node.clone();
        if let (true, Some(params)) = (on_integers, &params) {
            let same = |name: &String| self.given.params.get(name) == Some(params);
            match node.op_type.as_str() {
                "Concat" if !node.input.iter().all(same) => {
                    return Err(context.unsupported(
                        "joins integers of different scales",
                        "quantize its inputs with one scale, or use QLinearConcat",
                    ));
                }
                "Pad" => self.pad_of_integers(context, &mut moved, params)?,
                _ => {}
            }
        }
        // Of float operations, what constants pass through on their way to a product is enough.
        let of_shape = matches!(
            node.op_type.as_str(),
            "Flatten" | "Identity" | "Reshape" | "Squeeze" | "Transpose" | "Unsqueeze"
        );
        if let Some(params) = params.filter(|_| on_integers || of_shape) {
            let after = match node.op_type.as_str() {
                "Identity" => Some(params),
                "Transpose" => params.transposed(context.attributes().ints("perm")),
                _ => Some(params).filter(|params| params.scales.len() == 1),
            };
            match after {
                Some(after) => {
                    self.given.params.insert(node.output[0].clone(), after);
                }
                None => self.given.notes.push(format!(
                    "`{first}` has a scale for each channel, which `{}` ({}) moves: it is quantized anew",
                    context.name, node.op_type
                )),
            }
            if on_integers {
                self.integers.insert(node.output[0].clone());
            }
        }
        self.nodes.push(moved);
        Ok(())
    }

    /// What the integers of a value stand for, as the first operation says that reads them, if there is one
    /// scale.
    fn params_ahead(&self, name: &'a str) -> Option<Params> {
        let (mut ahead, mut seen) = (vec![name], HashSet::new());
        while let Some(name) = ahead.pop() {
            if !seen.insert(name) {
                continue;
            }
            let levels = self.levels_of(name);
            for reader in self.readers(name) {
                let context = Context { node: reader, name: reader.name.clone(), opset: self.opset };
                let at = reader.input.iter().position(|input| input == name).unwrap_or(0);
                let op = reader.op_type.as_str();
                let has_scale = op == "DequantizeLinear" && at == 0
                    || operators::find(op).is_some_and(|operator| operator.reads_at(at));
                if has_scale
                    && let Some(levels) = levels
                    && let Ok(params) = self.params(&context, [at + 1, at + 2], 1, levels)
                {
                    return Some(params).filter(|params| params.scales.len() == 1);
                }
                if at == 0 && MOVES.contains(&op) {
                    ahead.extend(reader.output.first().map(String::as_str));
                }
            }
        }
        None
    }

    /// The levels of a value, where the file says them: of a constant, an input, or what moves one of them.
    pub(super) fn levels_of(&self, name: &str) -> Option<[i32; 2]> {
        let of_input = |name: &str| {
            let input = self.graph.input.iter().find(|input| input.name == name)?;
            let pb::type_proto::Value::TensorType(tensor) = input.r#type.as_ref()?.value.as_ref()?;
            constants::levels(tensor.elem_type)
        };
        let mut name = name;
        // No way is longer than the graph.
        for _ in 0..=self.graph.node.len() {
            if let Some(levels) = self.constants.levels_of(name).or_else(|| of_input(name)) {
                return Some(levels);
            }
            let made = |node: &&pb::NodeProto| node.output.first().is_some_and(|output| output == name);
            let maker = self.graph.node.iter().find(made)?;
            name = maker.input.first().filter(|_| MOVES.contains(&maker.op_type.as_str()))?;
        }
        None
    }

    /// A border of an integer is one of what the integer stands for.
    fn pad_of_integers(
        &mut self,
        context: &Context<'_>,
        node: &mut pb::NodeProto,
        params: &Params,
    ) -> Result<()> {
        let given = node.input.get(2).filter(|name| !name.is_empty());
        let value = match given {
            None => 0,
            Some(name) => {
                let integers = self.constants.integers(name).map_err(|reason| {
                    context.unsupported(&format!("pads with `{name}`, {reason}"), "pad with a constant")
                })?;
                integers.data.first().copied().unwrap_or(0)
            }
        };
        let real = params.dequantized(&[1], &[value]).unwrap_or_else(|| vec![0.0]);
        let name = format!("{} (border)", context.node.output[0]);
        self.initializers.push(constants::f32_initializer(&name, &[], &real));
        node.input.resize(node.input.len().max(3), String::new());
        node.input[2] = name;
        Ok(())
    }
}
