//! Integers: what an application gives and gets, and steps on them.

use bytemuck::{try_cast_slice, try_cast_slice_mut};
use edgepack_format::plan::{Convert, ElemType, Input};
use edgepack_kernels::integers::{Integer, from_f32, to_f32};

use crate::error::RunError;
use crate::io::InputData;

/// The type of integers, if it is one of those.
pub(crate) fn integer(dtype: ElemType) -> Option<Integer> {
    match dtype {
        ElemType::I32 => Some(Integer::I32),
        ElemType::I64 => Some(Integer::I64),
        ElemType::Bool => Some(Integer::Bool),
        _ => None,
    }
}

/// Runs a conversion; `None` where its spans do not fit the arena, which validation has excluded.
#[inline(never)]
pub(crate) fn convert(op: &Convert, arena: &mut [u8]) -> Option<()> {
    let (input, output) = crate::run::pair(arena, op.input, op.output)?;
    match (integer(op.from), integer(op.to)) {
        (Some(from), _) => to_f32(from, input, try_cast_slice_mut(output).ok()?),
        (None, Some(to)) => from_f32(to, try_cast_slice(input).ok()?, output),
        (None, None) => return None,
    }
    Some(())
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
            (value as i64 as f32 == value).then_some(value as i64)
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
