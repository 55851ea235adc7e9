//! Integers: what an application gives and gets, and steps on them.

use bytemuck::{cast_slice, try_cast_slice, try_cast_slice_mut};
use edgepack_format::plan::{ElemType, Input, Op, Operand, Span};
use edgepack_format::{Operation, OperationSet, Operations, Package};
use edgepack_kernels::integers::{Integer, TopKArgs, Values, from_f32, gather, scatter, to_f32, top_k};
use edgepack_kernels::suppression::{Detections, SuppressionArgs, non_max_suppression};

use crate::arena::{apart, apart_from_two, pair};
use crate::error::RunError;
use crate::io::InputData;

/// Those that [`Integers`] has.
pub(crate) const OPERATIONS: OperationSet = OperationSet::of(&[
    Operation::Convert,
    Operation::Gather,
    Operation::Scatter,
    Operation::TopK,
    Operation::NonMaxSuppression,
]);

/// The type of integers, if it is one of those.
pub(crate) fn integer(dtype: ElemType) -> Option<Integer> {
    match dtype {
        ElemType::I32 => Some(Integer::I32),
        ElemType::I64 => Some(Integer::I64),
        ElemType::Bool => Some(Integer::Bool),
        _ => None,
    }
}

/// A step on integers; the spans and sizes of its [`Op`] are used as they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Integers<'p> {
    op: Op,
    /// Of a gather from constants.
    data: &'p [u8],
}

impl<'p> Integers<'p> {
    /// The step, if it is one of these.
    pub fn new<O: Operations>(op: &Op, package: &Package<'p, O>) -> Option<Self> {
        let data = match op {
            Op::Gather(gather) => match gather.data {
                Operand::Constant(span) => package.constant(span),
                Operand::Arena(_) => &[],
            },
            Op::Convert(_) | Op::Scatter(_) | Op::TopK(_) | Op::NonMaxSuppression(_) => &[],
            _ => return None,
        };
        Some(Self { op: *op, data })
    }

    /// The name of a step's kernel.
    pub fn kernel_name(op: &Op) -> Option<&'static str> {
        Some(match op {
            Op::Convert(_) => "convert_portable",
            Op::Gather(_) => "gather_portable",
            Op::Scatter(_) => "scatter_portable",
            Op::TopK(_) => "top_k_portable",
            Op::NonMaxSuppression(_) => "non_max_suppression_portable",
            _ => return None,
        })
    }

    /// Runs the step; `None` where its spans do not fit the arena, which validation has excluded.
    #[inline(never)]
    pub fn run<O: Operations>(&self, scratch: Span, arena: &mut [u8]) -> Option<()> {
        match self.op {
            Op::Convert(op) if O::SET.contains(Operation::Convert) => {
                let (input, output) = pair(arena, op.input, op.output)?;
                match (integer(op.from), integer(op.to)) {
                    (Some(from), _) => to_f32(from, input, try_cast_slice_mut(output).ok()?),
                    (None, Some(to)) => from_f32(to, try_cast_slice(input).ok()?, output),
                    (None, None) => return None,
                }
            }
            Op::Gather(op) if O::SET.contains(Operation::Gather) => {
                let data = match op.data {
                    Operand::Arena(span) => span,
                    Operand::Constant(_) => Span { bytes: 0, ..op.indices },
                };
                let ([data, indices], output) = apart(arena, [data, op.indices], op.output)?;
                let data = if self.data.is_empty() { data } else { self.data };
                let (rows, row_bytes) = (op.rows as usize, op.row_bytes as usize);
                gather(data, rows, row_bytes, try_cast_slice(indices).ok()?, output);
            }
            Op::Scatter(op) if O::SET.contains(Operation::Scatter) => {
                let (data, output) = pair(arena, op.data, op.output)?;
                output.iter_mut().zip(data).for_each(|(to, &byte)| *to = byte);
                let ([updates, indices], output) = apart(arena, [op.updates, op.indices], op.output)?;
                scatter(updates, op.row_bytes as usize, try_cast_slice(indices).ok()?, output);
            }
            Op::TopK(op) if O::SET.contains(Operation::TopK) => {
                let (input, output) = pair(arena, op.input, op.output)?;
                let (dims, k) = (op.dims.map(|dim| dim as usize), op.k as usize);
                let args = TopKArgs { dims, k, largest: op.largest, last: op.last };
                let values = match op.dtype {
                    ElemType::I8 => Values::I8(cast_slice(input)),
                    _ => Values::F32(try_cast_slice(input).ok()?),
                };
                top_k(&args, values, try_cast_slice_mut(output).ok()?);
            }
            Op::NonMaxSuppression(op) if O::SET.contains(Operation::NonMaxSuppression) => {
                let spans = ([op.boxes, op.scores], [op.output, scratch]);
                let ([boxes, scores], [output, order]) = apart_from_two(arena, spans.0, spans.1)?;
                let args = SuppressionArgs {
                    dims: op.dims.map(|dim| dim as usize),
                    most: op.most as usize,
                    iou_threshold: op.iou_threshold,
                    score_threshold: op.score_threshold,
                    centers: op.centers,
                };
                let (boxes, scores) = (try_cast_slice(boxes).ok()?, try_cast_slice(scores).ok()?);
                let order = try_cast_slice_mut(order.get_mut(..4 * args.dims[2])?).ok()?;
                let detections = Detections { boxes, scores };
                non_max_suppression(&args, detections, order, try_cast_slice_mut(output).ok()?);
            }
            _ => return None,
        }
        Some(())
    }
}

/// Puts what an application gives into an input of integers.
#[inline(never)]
pub(crate) fn set(
    input: &Input<'_>,
    kind: Integer,
    data: InputData<'_>,
    buffer: &mut [u8],
) -> Result<(), RunError> {
    let limits @ [least, greatest] = limits(input);
    let value = |index: usize| match data {
        InputData::I32(values) => values.get(index).map(|&value| value.into()),
        InputData::I64(values) => values.get(index).copied(),
        InputData::Bool(values) => values.get(index).map(|&value| value.into()),
        InputData::F32(values) => {
            let value = *values.get(index)?;
            // Islands take whatever it is, cut towards 0.
            (value as i64 as f32 == value || input.limits.is_none()).then_some(value as i64)
        }
        InputData::Quantized(values) => values.get(index).map(|&value| spread(limits, value)),
        InputData::Pixels(_) | InputData::Elements(..) => None,
    };
    match data {
        InputData::Pixels(_) => return Err(RunError::NoPixels),
        InputData::Elements(given, _) => return Err(RunError::Type { needed: input.dtype, given }),
        _ => {}
    }
    for (index, bytes) in buffer.chunks_exact_mut(kind.bytes()).enumerate() {
        let accepted = value(index).filter(|value| (least..=greatest).contains(value));
        kind.write(accepted.ok_or(RunError::Value { index, least, greatest })?, bytes);
    }
    Ok(())
}

/// Puts what int8 values stand for into an input of integers.
pub(crate) fn fill(input: &Input<'_>, kind: Integer, values: impl Iterator<Item = i8>, buffer: &mut [u8]) {
    let limits = limits(input);
    for (bytes, value) in buffer.chunks_exact_mut(kind.bytes()).zip(values) {
        kind.write(spread(limits, value), bytes);
    }
}

/// What an input takes.
fn limits(input: &Input<'_>) -> [i64; 2] {
    let [least, greatest] = input.limits.map_or([i64::MIN, i64::MAX], |limits| limits.map(i64::from));
    match input.dtype {
        ElemType::Bool => [least.clamp(0, 1), greatest.clamp(0, 1)],
        _ => [least, greatest],
    }
}

/// 256 integers from the least to the greatest; where there are no limits, the value itself.
fn spread([least, greatest]: [i64; 2], value: i8) -> i64 {
    if least == i64::MIN {
        return value.into();
    }
    least + (((greatest - least + 1) * (i64::from(value) + 128)) >> 8)
}
