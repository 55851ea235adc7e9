//! Products whose activations are quantized while the model runs, as `quantize_dynamic` of ONNX Runtime
//! writes them:
//!
//! ```text
//! x -> DynamicQuantizeLinear -> q, s, z
//! q, z, W -> MatMulInteger or ConvInteger -> Cast -> Mul by s and the scale of W -> y
//! ```
//! They become float products of `x` with the weights that `W` stands for. The weights keep their
//! scales; the range of `x` is then calibrated like any other, for edgepack's steps are static.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb;

use super::{Params, Rewriter};
use crate::error::Result;
use crate::import::Context;

/// The operations of these patterns.
pub(super) const OPS: &[&str] =
    &["ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeLinear", "MatMulInteger"];

const REMEDY: &str = "edgepack reads dynamic products in the form in which `quantize_dynamic` writes them: \
     DynamicQuantizeLinear, MatMulInteger or ConvInteger with constant weights, Cast, Mul";

/// What becomes of a node of such a pattern.
pub(super) enum Part {
    /// The product: what it reads and makes as a float one.
    Product(Product),
    /// It goes into the product.
    Absorbed,
}

/// A product in float.
pub(super) struct Product {
    input: String,
    weights: String,
    params: Params,
    output: String,
}

/// The parts of every pattern, by the name of a node's first output.
pub(super) fn products(rewriter: &Rewriter<'_>, names: &[String]) -> Result<HashMap<String, Part>> {
    let mut parts = HashMap::new();
    for (node, name) in rewriter.graph.node.iter().zip(names) {
        if !matches!(node.op_type.as_str(), "ConvInteger" | "MatMulInteger") || node.output.is_empty() {
            continue;
        }
        let context = Context { node, name: name.clone(), opset: rewriter.opset };
        let (product, absorbed) = Search { rewriter, context: &context }.product()?;
        parts.extend(absorbed.into_iter().map(|name| (name, Part::Absorbed)));
        parts.insert(node.output[0].clone(), Part::Product(product));
    }
    // What made the scales goes too, unless something else reads it: first products of scales, which only
    // the products above read, then what measured the input.
    for op in ["Mul", "DynamicQuantizeLinear"] {
        let goes = |reader: &pb::NodeProto| {
            let of_pattern = op == "DynamicQuantizeLinear" || reader.op_type == "Mul";
            of_pattern && reader.output.first().is_some_and(|output| parts.contains_key(output))
        };
        let is_unread = |name: &String| {
            rewriter.readers(name).all(goes)
                && !rewriter.graph.output.iter().any(|output| output.name == *name)
        };
        let is_read_at_all = |name: &String| rewriter.readers(name).next().is_some();
        let unread: Vec<String> = (rewriter.graph.node.iter())
            .filter(|node| node.op_type == op && !node.output.is_empty())
            .filter(|node| node.output.iter().any(is_read_at_all) && node.output.iter().all(is_unread))
            .map(|node| node.output[0].clone())
            .collect();
        for name in unread {
            parts.entry(name).or_insert(Part::Absorbed);
        }
    }
    Ok(parts)
}

struct Search<'a, 'r> {
    rewriter: &'r Rewriter<'a>,
    context: &'r Context<'r>,
}

/// Factors of a result: scales that are known when the model runs, and constants.
#[derive(Default)]
struct Factors {
    names: HashSet<String>,
    /// The numbers, and the shape that they are broadcast from.
    constants: Vec<(Vec<f32>, Vec<usize>)>,
}

impl<'a> Search<'a, '_> {
    fn product(&self) -> Result<(Product, Vec<String>)> {
        let refuse = |reason: &str| self.context.unsupported(reason, REMEDY);
        let (input, scale) = self.dynamic_input()?;
        let weights = self.context.input_name(1)?;
        if !self.rewriter.constants.contains(weights) {
            return Err(refuse("multiplies two tensors that are computed while the model runs"));
        }
        let mut absorbed = Vec::new();
        let mut factors = Factors::default();
        let mut value = self.context.node.output[0].as_str();
        loop {
            let next = self.only_reader(value).filter(|next| !next.output.is_empty());
            let taken = next.and_then(|next| match next.op_type.as_str() {
                "Cast" if absorbed.is_empty() => Some(None),
                "Mul" if !absorbed.is_empty() => {
                    let other = next.input.iter().find(|name| *name != value)?;
                    let all_found = factors.names.contains(&scale) && !factors.constants.is_empty();
                    self.factors(other, &scale).filter(|_| !all_found).map(Some)
                }
                _ => None,
            });
            let (Some(next), Some(more)) = (next, taken) else { break };
            if let Some(more) = more {
                factors.names.extend(more.names);
                factors.constants.extend(more.constants);
            }
            value = &next.output[0];
            absorbed.push(value.to_string());
        }
        if !factors.names.contains(&scale) {
            return Err(refuse("is not multiplied by the scale of its input"));
        }
        let params = self.weight_params(weights, &factors)?;
        Ok((Product { input, weights: weights.into(), params, output: value.into() }, absorbed))
    }

    /// What is quantized to become the first operand, and the name of its scale.
    fn dynamic_input(&self) -> Result<(String, String)> {
        let name = self.context.input_name(0)?;
        let maker = self.rewriter.graph.node.iter().find(|node| {
            node.op_type == "DynamicQuantizeLinear"
                && node.output.first().is_some_and(|output| output == name)
        });
        match maker.map(|maker| (&maker.input[..], &maker.output[..])) {
            Some(([input, ..], [_, scale, ..])) => Ok((input.clone(), scale.clone())),
            _ => Err(self
                .context
                .unsupported(&format!("reads `{name}`, which no DynamicQuantizeLinear makes"), REMEDY)),
        }
    }

    fn only_reader(&self, name: &str) -> Option<&'a pb::NodeProto> {
        let is_output = self.rewriter.graph.output.iter().any(|output| output.name == name);
        let mut readers =
            self.rewriter.graph.node.iter().filter(|node| node.input.iter().any(|input| input == name));
        let only = readers.next().filter(|_| !is_output)?;
        readers.next().is_none().then_some(only)
    }

    /// What a value is the product of; `None` where there is more to it than the scale of the input and
    /// constants.
    fn factors(&self, name: &str, scale: &str) -> Option<Factors> {
        if name == scale {
            return Some(Factors { names: HashSet::from([name.to_string()]), ..Default::default() });
        }
        if let (Ok(numbers), Some(dims)) =
            (self.rewriter.constants.floats(name), self.rewriter.constants.dims(name))
        {
            return Some(Factors { constants: vec![(numbers, dims)], ..Default::default() });
        }
        let made = |node: &&pb::NodeProto| node.output.first().is_some_and(|output| output == name);
        let maker = self.rewriter.graph.node.iter().find(made).filter(|node| node.op_type == "Mul")?;
        let [left, right] = &maker.input[..] else { return None };
        // Scales are multiplied with each other, never with what has them.
        let (mut left, right) = (self.scale_factor(left, scale)?, self.scale_factor(right, scale)?);
        left.names.extend(right.names);
        left.constants.extend(right.constants);
        Some(left)
    }

    fn scale_factor(&self, name: &str, scale: &str) -> Option<Factors> {
        (name == scale || self.rewriter.constants.contains(name)).then(|| self.factors(name, scale)).flatten()
    }

    fn weight_params(&self, weights: &str, factors: &Factors) -> Result<Params> {
        let constants = &self.rewriter.constants;
        let dims = constants.dims(weights).unwrap_or_default();
        let is_conv = self.context.node.op_type == "ConvInteger";
        let axis = if is_conv { 0 } else { -1 };
        let channels = if is_conv { dims.first() } else { dims.last() }.copied().unwrap_or(0);
        let mut scales = vec![1.0];
        for (numbers, of) in &factors.constants {
            // Channels are axis 1 of a convolution's result, and the last of a product's.
            let after = if is_conv { dims.len().saturating_sub(2) } else { 0 };
            let at = of.len().checked_sub(after + 1);
            let by_channel =
                numbers.len() == channels && at.is_some_and(|at| of[at] == channels && channels > 0);
            if numbers.len() != 1 && !by_channel {
                return Err(self.context.unsupported(
                    &format!(
                        "is multiplied by a constant of shape {of:?}, which is no scale of its channels"
                    ),
                    REMEDY,
                ));
            }
            let count = scales.len().max(numbers.len());
            let number = |values: &[f32], i: usize| values[if values.len() > 1 { i } else { 0 }];
            scales = (0..count).map(|i| number(&scales, i) * number(numbers, i)).collect();
        }
        if let Some(scale) = scales.iter().find(|scale| !(scale.is_finite() && **scale > 0.0)) {
            return Err(self.context.invalid(format!("a scale of its weights is {scale}")));
        }
        let read = |name: &str| {
            constants.integers(name).map_err(|reason| {
                self.context.unsupported(&format!("reads `{name}`, {reason}"), "give it as a constant")
            })
        };
        let levels = constants.levels_of(weights).unwrap_or([-128, 127]);
        let zero_points = match self.context.node.input.get(3).filter(|name| !name.is_empty()) {
            Some(name) => read(name)?.data,
            None => vec![0],
        };
        let count = scales.len().max(zero_points.len());
        if [scales.len(), zero_points.len()].iter().any(|&len| len != 1 && len != count)
            || zero_points.is_empty()
        {
            return Err(self.context.invalid("its zero points and scales are of different lengths"));
        }
        let first = scales[0];
        scales.resize(count, first);
        let zero_points = (0..count).map(|i| zero_points[i.min(zero_points.len() - 1)]).collect();
        Ok(Params { scales, zero_points, axis, levels })
    }
}

impl Rewriter<'_> {
    pub(super) fn dynamic_product(&mut self, context: &Context<'_>, product: &Product) -> Result<()> {
        self.form("dynamic");
        let weights = self.operand(context, &product.weights, &product.params)?;
        let float = if context.node.op_type == "ConvInteger" { "Conv" } else { "MatMul" };
        self.emit(context, float, vec![product.input.clone(), weights]);
        if let Some(node) = self.nodes.last_mut() {
            node.output = vec![product.output.clone()];
        }
        Ok(())
    }
}
