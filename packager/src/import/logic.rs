//! Comparisons, choices, and operations of any number of operands. Truth values are the numbers 0 and 1.

use tract_onnx::pb;

use super::notes::Note;
use super::{Context, Importer};
use crate::error::{PackError, Result};
use crate::graph::{BinaryKind, Op, Tensor, ValueId};
use crate::unary::{Comparison, Unary};

pub(super) fn compare(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let comparison = match context.node.op_type.as_str() {
        "Less" => Comparison::Less,
        "LessOrEqual" => Comparison::LessOrEqual,
        "Greater" => Comparison::Greater,
        "GreaterOrEqual" => Comparison::GreaterOrEqual,
        _ => Comparison::Equal,
    };
    let operands = [importer.input(context, 0)?, importer.input(context, 1)?];
    let dims = super::parts::broadcast(importer.graph.dims(operands[0]), importer.graph.dims(operands[1]));
    let number = |id: ValueId| match importer.graph.value(id).constant.as_ref()?.data[..] {
        [number] => Some(number),
        _ => None,
    };
    let result = match operands.map(number) {
        [_, Some(than)] if dims.as_deref() == Some(importer.graph.dims(operands[0])) => {
            importer.unary_part(context, "result", Unary::Compare { comparison, than }, operands[0])
        }
        [Some(than), _] if dims.as_deref() == Some(importer.graph.dims(operands[1])) => {
            let function = Unary::Compare { comparison: comparison.swapped(), than };
            importer.unary_part(context, "result", function, operands[1])
        }
        _ => importer.binary_part(context, "result", BinaryKind::Compare(comparison), operands)?,
    };
    importer.result(context, 0, result)
}

/// And is a product, Or a sum that ends at 1, Xor the magnitude of a difference.
pub(super) fn junction(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let operands = [importer.input(context, 0)?, importer.input(context, 1)?];
    let (kind, function) = match context.node.op_type.as_str() {
        "And" => (BinaryKind::Mul, None),
        "Or" => (BinaryKind::Add, Some(Unary::Clip { min: 0.0, max: 1.0 })),
        _ => (BinaryKind::Sub, Some(Unary::Abs)),
    };
    let mut result = importer.binary_part(context, "both", kind, operands)?;
    if let Some(function) = function {
        result = importer.unary_part(context, "result", function, result);
    }
    importer.result(context, 0, result)
}

pub(super) fn choose(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let [condition, yes, no] = [0, 1, 2].map(|index| importer.input(context, index));
    let result = chosen(importer, context, condition?, [yes?, no?])?;
    importer.result(context, 0, result)
}

/// What the condition takes, and nothing of the other: that may be infinite, or no number.
pub(super) fn chosen(
    importer: &mut Importer,
    context: &Context<'_>,
    condition: ValueId,
    [yes, no]: [ValueId; 2],
) -> Result<ValueId> {
    for id in [yes, no] {
        let constant = importer.graph.value(id).constant.as_ref();
        if let Some(value) = constant.and_then(|constant| constant.data.iter().find(|x| x.is_infinite())) {
            let message = format!(
                "chooses {value}, which int8 does not have: its last level stands for it, before a Softmax one that \
                 gets nothing"
            );
            importer.notes.push(Note {
                node: context.name.clone(),
                op: context.node.op_type.clone(),
                message,
                remedy: "nothing is to be done for a mask before a Softmax; --keep-f32 NODE keeps infinity"
                    .into(),
            });
        }
    }
    let operands = [condition, yes, no];
    let constants = operands.map(|id| importer.graph.value(id).constant.clone());
    if let (None, Some(yes), Some(no)) = (&constants[0], importer.number(yes), importer.number(no)) {
        // Where both come out exactly, a factor and a summand are the simpler function.
        let (scale, shift) = (yes - no, no);
        if scale + shift == yes {
            return Ok(importer.unary_part(context, "result", Unary::Affine { scale, shift }, condition));
        }
    }
    let dims = operands
        .iter()
        .try_fold(Vec::new(), |dims, &id| super::parts::broadcast(&dims, importer.graph.dims(id)));
    let dims = dims.ok_or_else(|| context.invalid("its operands do not go together"))?;
    if let [Some(condition), Some(yes), Some(no)] = &constants {
        let at = |tensor: &Tensor| {
            let strides = crate::evaluate::broadcast_strides(&tensor.dims, &dims);
            crate::evaluate::Strided::new(&dims, &strides).map(|at| tensor.data[at]).collect::<Vec<f32>>()
        };
        let sides = at(yes).into_iter().zip(at(no));
        let data = at(condition).into_iter().zip(sides);
        let data = data.map(|(condition, (yes, no))| if condition != 0.0 { yes } else { no }).collect();
        return Ok(importer.constant_part(context, "result", Tensor::new(dims, data)));
    }
    Ok(importer.part(context, "result", Op::Select, operands.to_vec(), dims))
}

/// The least magnitude of what hides whatever it is added to: nothing of a model is as large.
const HIDES: f32 = 1e30;

/// A sum with a constant that hides some elements (a causal mask of `-inf`, or of the least number): a choice between
/// these and the sum with the others, so that int8 has one scale for what is seen. `false` where it is no such.
pub(super) fn mask(importer: &mut Importer, context: &Context<'_>, operands: [ValueId; 2]) -> Result<bool> {
    let constants = operands.map(|id| importer.graph.value(id).constant.clone());
    let (data, mask) = match constants {
        [None, Some(mask)] => (operands[0], mask),
        [Some(mask), None] => (operands[1], mask),
        _ => return Ok(false),
    };
    let hides = |x: &f32| x.abs() >= HIDES;
    if !mask.data.iter().any(hides) || mask.data.iter().any(|x| x.is_nan()) {
        return Ok(false);
    }
    let of_each =
        |of: fn(f32) -> f32| Tensor::new(mask.dims.clone(), mask.data.iter().map(|&x| of(x)).collect());
    let seen = of_each(|x| f32::from(x.abs() < HIDES));
    let rest = of_each(|x| if x.abs() < HIDES { x } else { 0.0 });
    let mut sum = data;
    if rest.data.iter().any(|&x| x != 0.0) {
        let rest = importer.constant_part(context, "seen summand", rest);
        sum = importer.binary_part(context, "sum", BinaryKind::Add, [data, rest])?;
    }
    let seen = importer.constant_part(context, "seen", seen);
    let hidden = importer.constant_part(context, "mask", mask);
    let result = chosen(importer, context, seen, [sum, hidden])?;
    importer.result(context, 0, result).map(|()| true)
}

/// Sum, Mean, Max and Min of any number of tensors.
pub(super) fn several(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let op = context.node.op_type.as_str();
    let count = context.node.input.len();
    let mut result = importer.input(context, 0)?;
    for index in 1..count {
        let next = importer.input(context, index)?;
        result = match op {
            "Sum" | "Mean" => {
                importer.binary_part(context, &format!("sum {index}"), BinaryKind::Add, [result, next])?
            }
            _ => importer.extreme(context, index, op == "Max", [result, next])?,
        };
    }
    if op == "Mean" && count > 1 {
        let function = Unary::Affine { scale: 1.0 / count as f32, shift: 0.0 };
        result = importer.unary_part(context, "mean", function, result);
    }
    importer.result(context, 0, result)
}

/// Clip whose bounds are computed while the model runs.
pub(super) fn clip(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let mut result = importer.input(context, 0)?;
    for (index, greater) in [(1, true), (2, false)] {
        if context.node.input.get(index).is_some_and(|name| !name.is_empty()) {
            let bound = importer.input(context, index)?;
            result = importer.extreme(context, index, greater, [result, bound])?;
        }
    }
    importer.result(context, 0, result)
}

pub(super) fn cast(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    use pb::tensor_proto::DataType;
    let to = context.attributes().int("to", 0) as i32;
    convert(importer, context, DataType::try_from(to).unwrap_or(DataType::Undefined))
}

/// A cast to the type of another tensor.
pub(super) fn cast_like(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    use pb::tensor_proto::DataType;
    let integer = importer.facts.is_integer(context.input_name(1)?);
    convert(importer, context, if integer { DataType::Int64 } else { DataType::Float })
}

/// Numbers stay what they are, cut to integers or to truth values where the type says so.
fn convert(importer: &mut Importer, context: &Context<'_>, to: pb::tensor_proto::DataType) -> Result<()> {
    use pb::tensor_proto::DataType;
    let input = importer.input(context, 0)?;
    let is_float = !importer.facts.is_integer(context.input_name(0)?);
    match to {
        DataType::Float | DataType::Float16 | DataType::Double | DataType::Bfloat16 => {
            importer.alias(context, input);
            Ok(())
        }
        DataType::Bool => {
            let function = Unary::Compare { comparison: Comparison::NotEqual, than: 0.0 };
            let result = importer.unary_part(context, "truth", function, input);
            importer.result(context, 0, result)
        }
        DataType::Int32 | DataType::Int64 | DataType::Int16 | DataType::Int8 | DataType::Uint8
            if is_float =>
        {
            let result = importer.unary_part(context, "integer", super::whole::cut(), input);
            importer.result(context, 0, result)
        }
        DataType::Int32 | DataType::Int64 => {
            importer.alias(context, input);
            Ok(())
        }
        other => Err(no_cast_to(context, other)),
    }
}

/// What is wrong with a cast to such a type.
pub(super) fn no_cast_to(context: &Context<'_>, to: pb::tensor_proto::DataType) -> PackError {
    context.unsupported(
        &format!("casts to {} while the model runs", to.as_str_name()),
        "edgepack casts between floating-point types, to integers and to BOOL: leave the Cast out, or cast to \
         FLOAT",
    )
}

impl Importer {
    /// The one number that a constant is.
    pub(super) fn number(&self, id: ValueId) -> Option<f32> {
        match self.graph.value(id).constant.as_ref()?.data[..] {
            [value] if value.is_finite() => Some(value),
            _ => None,
        }
    }

    /// The greater or the smaller of two tensors: with a number it is a bound, else `a` and what the other
    /// is beyond it.
    fn extreme(
        &mut self,
        context: &Context<'_>,
        index: usize,
        greater: bool,
        operands: [ValueId; 2],
    ) -> Result<ValueId> {
        let [a, b] = operands.map(|id| self.graph.dims(id).to_vec());
        let whole = super::parts::broadcast(&a, &b);
        let what = format!("of {}", index + 1);
        for (data, bound) in [(0, 1), (1, 0)] {
            let is_whole = whole.as_deref() == Some(self.graph.dims(operands[data]));
            if let Some(bound) = self.number(operands[bound]).filter(|_| is_whole) {
                let function = match greater {
                    true => Unary::Clip { min: bound, max: f32::INFINITY },
                    false => Unary::Clip { min: f32::NEG_INFINITY, max: bound },
                };
                return Ok(self.unary_part(context, &what, function, operands[data]));
            }
        }
        // What is a constant stands on the right.
        let is_constant = self.graph.value(operands[0]).constant.is_some();
        let [a, b] = if is_constant { [operands[1], operands[0]] } else { operands };
        let beyond = self.binary_part(context, &format!("beyond, {index}"), BinaryKind::Sub, [b, a])?;
        let function = match greater {
            true => Unary::Clip { min: 0.0, max: f32::INFINITY },
            false => Unary::Clip { min: f32::NEG_INFINITY, max: 0.0 },
        };
        let beyond = self.unary_part(context, &format!("only beyond, {index}"), function, beyond);
        self.binary_part(context, &what, BinaryKind::Add, [a, beyond])
    }
}
