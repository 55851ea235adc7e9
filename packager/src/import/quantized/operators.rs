//! The operators of the QOperator form: each computes with integers what a float operation computes with
//! the numbers that they stand for, and rounds the result to a scale of its own.

use super::constants::f32_initializer;
use super::{Params, Rewriter, params};
use crate::error::Result;
use crate::import::Context;

/// How the inputs of an operator are laid out; every tensor is followed by its scale and zero point.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Layout {
    /// x, then scale and zero point of the result
    Unary,
    /// a, b, then scale and zero point of the result
    Binary,
    /// x, w, scale and zero point of the result, bias in i32
    Conv,
    /// a, b, bias in i32, scale and zero point of the result, if it is not float
    Gemm,
    /// scale and zero point of the result, then every input
    Concat,
}

/// One operator.
pub(super) struct Operator {
    name: &'static str,
    float: &'static str,
    layout: Layout,
}

const fn operator(name: &'static str, float: &'static str, layout: Layout) -> Operator {
    Operator { name, float, layout }
}

/// Of ai.onnx (QLinearConv, QLinearMatMul) and com.microsoft (all others).
static OPERATORS: &[Operator] = &[
    operator("QGemm", "Gemm", Layout::Gemm),
    operator("QLinearAdd", "Add", Layout::Binary),
    operator("QLinearAveragePool", "AveragePool", Layout::Unary),
    operator("QLinearConcat", "Concat", Layout::Concat),
    operator("QLinearConv", "Conv", Layout::Conv),
    operator("QLinearGlobalAveragePool", "GlobalAveragePool", Layout::Unary),
    operator("QLinearLeakyRelu", "LeakyRelu", Layout::Unary),
    operator("QLinearMatMul", "MatMul", Layout::Binary),
    operator("QLinearMul", "Mul", Layout::Binary),
    operator("QLinearReduceMean", "ReduceMean", Layout::Unary),
    operator("QLinearSigmoid", "Sigmoid", Layout::Unary),
    operator("QLinearSoftmax", "Softmax", Layout::Unary),
];

pub(super) fn find(op: &str) -> Option<&'static Operator> {
    OPERATORS.iter().find(|operator| operator.name == op)
}

impl Operator {
    /// Whether input `at` is a tensor with one scale, which scale and zero point follow.
    pub(super) fn reads_at(&self, at: usize) -> bool {
        match self.layout {
            Layout::Unary | Layout::Conv | Layout::Gemm => at == 0,
            Layout::Binary => at == 0 || at == 3,
            Layout::Concat => at >= 2 && (at - 2).is_multiple_of(3),
        }
    }
}

/// The names of the operators.
pub(in crate::import) fn names() -> impl Iterator<Item = &'static str> {
    OPERATORS.iter().map(|operator| operator.name)
}

impl Rewriter<'_> {
    pub(super) fn operator(&mut self, context: &Context<'_>, operator: &Operator) -> Result<()> {
        if context.attributes().int("channels_last", 0) != 0 {
            return Err(context.unsupported(
                "has its channels last",
                "save the model before ONNX Runtime changes its layout (optimization level `extended` at most)",
            ));
        }
        let (inputs, result) = match operator.layout {
            Layout::Unary => (vec![self.tensor(context, 0, 1)?], Some(3)),
            Layout::Binary => (vec![self.tensor(context, 0, -2)?, self.tensor(context, 3, -1)?], Some(6)),
            Layout::Conv => {
                let mut inputs = vec![self.tensor(context, 0, 1)?, self.tensor(context, 3, 0)?];
                inputs.extend(self.bias(context, 8, 0, 1.0)?);
                (inputs, Some(6))
            }
            Layout::Gemm => {
                let attributes = context.attributes();
                let columns = if attributes.int("transB", 0) != 0 { 0 } else { 1 };
                let mut inputs = vec![self.tensor(context, 0, 1)?, self.tensor(context, 3, columns)?];
                inputs.extend(self.bias(context, 6, -1, attributes.float("alpha", 1.0))?);
                let is_quantized = context.node.input.get(7).is_some_and(|name| !name.is_empty());
                (inputs, is_quantized.then_some(7))
            }
            Layout::Concat => {
                let tensors = (2..context.node.input.len()).step_by(3);
                (tensors.map(|at| self.tensor(context, at, 1)).collect::<Result<Vec<_>>>()?, Some(0))
            }
        };
        // A result without a zero point has the type of the first input.
        let first = inputs.first().and_then(|name| self.given.params.get(name));
        let levels = first.map_or(params::UINT8, |params| params.levels);
        self.emit(context, operator.float, inputs);
        if operator.name == "QLinearReduceMean" && self.opset >= 18 {
            self.axes_as_input(context);
        }
        match result {
            Some(at) => {
                let params = self.params(context, [at, at + 1], 1, levels)?;
                self.makes_integers(context, params)
            }
            None => Ok(()),
        }
    }

    /// The float value behind the integer tensor at input `at`.
    fn tensor(&mut self, context: &Context<'_>, at: usize, axis: i64) -> Result<String> {
        let name = context.input_name(at)?;
        let made = self.given.params.get(name).map(|params| params.levels);
        let levels = self.constants.levels_of(name).or(made).unwrap_or(params::UINT8);
        let params = self.params(context, [at + 1, at + 2], axis, levels)?;
        self.operand(context, name, &params)
    }

    /// The float bias behind i32 at the scale of the products: that of the first tensor times those of
    /// the second.
    fn bias(&mut self, context: &Context<'_>, at: usize, axis: i64, factor: f32) -> Result<Option<String>> {
        let Some(name) = context.node.input.get(at).filter(|name| !name.is_empty()) else { return Ok(None) };
        let of_input = self.params(context, [1, 2], 1, params::UINT8)?;
        let of_weights = self.params(context, [4, 5], 1, params::UINT8)?;
        let scales: Vec<f32> =
            of_weights.scales.iter().map(|scale| scale * of_input.scales[0] * factor).collect();
        let zero_points = vec![0; scales.len()];
        let params = Params { scales, zero_points, axis, levels: params::INT32 };
        self.operand(context, name, &params).map(Some)
    }

    /// Since opset 18 ReduceMean has its axes as an input.
    fn axes_as_input(&mut self, context: &Context<'_>) {
        let Some(axes) = context.attributes().ints("axes") else { return };
        let name = format!("{} (axes)", context.node.output[0]);
        let mut constant = f32_initializer(&name, &[axes.len()], &[]);
        constant.data_type = tract_onnx::pb::tensor_proto::DataType::Int64 as i32;
        constant.raw_data = axes.iter().flat_map(|axis| axis.to_le_bytes()).collect();
        self.initializers.push(constant);
        if let Some(node) = self.nodes.last_mut() {
            node.attribute.retain(|attribute| attribute.name != "axes");
            node.input.push(name);
        }
    }
}
