//! Inputs and outputs of a program.

use bytemuck::{cast_slice, cast_slice_mut, try_cast_slice, try_cast_slice_mut};
use edgepack_format::plan::{self, ElemType, Quant};
use edgepack_format::{Operation, Operations, Package};
use edgepack_kernels::input::{InputArgs, copy_f32, lookup_u8_f32, quantize_f32, quantize_u8};
use edgepack_kernels::requantize::OutputRange;
use edgepack_kernels::variants::BoundVariant;

use crate::arena::bounds;
use crate::error::RunError;
use crate::integers;
use crate::run::{Program, check_arena};

/// One input of the model, in one of the forms that a package takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InputData<'a> {
    /// Preprocessed values in the model's own shape.
    F32(&'a [f32]),
    /// Raw pixels `[N, H, W, C]`, RGB, where the package records a preprocessing.
    Pixels(&'a [u8]),
    /// int8 with the input's scale and zero point, in the order of the arena. For integers they stand for
    /// what lies between the least and the greatest that the input takes: of use for tests only.
    Quantized(&'a [i8]),
    /// Integers in the model's own shape, for inputs of integers of any size; f32 of integers will do, too.
    I32(&'a [i32]),
    /// As [`InputData::I32`].
    I64(&'a [i64]),
    /// Truth values, 0 or 1, in the model's own shape; for inputs of integers, too.
    Bool(&'a [u8]),
    /// The bytes of an input of another type ([`ElemType::is_raw`]), in the model's own shape; f32 of the same
    /// numbers will do, too.
    Elements(ElemType, &'a [u8]),
}

impl InputData<'_> {
    /// The type of the elements.
    fn dtype(&self) -> ElemType {
        match self {
            Self::F32(_) => ElemType::F32,
            Self::Pixels(_) => ElemType::U8,
            Self::Quantized(_) => ElemType::I8,
            Self::I32(_) => ElemType::I32,
            Self::I64(_) => ElemType::I64,
            Self::Bool(_) => ElemType::Bool,
            Self::Elements(dtype, _) => *dtype,
        }
    }

    /// Number of elements.
    fn elems(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Pixels(values) | Self::Bool(values) => values.len(),
            Self::Quantized(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::I64(values) => values.len(),
            // A last one that is not whole counts as two: it is one too many or too few.
            Self::Elements(dtype, bytes) => {
                let elem_bytes = dtype.bytes() as usize;
                bytes.len() / elem_bytes + 2 * usize::from(!bytes.len().is_multiple_of(elem_bytes))
            }
        }
    }
}

/// One output of the model, in the model's own shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OutputData<'a> {
    /// f32.
    F32(&'a [f32]),
    /// int8, and what they stand for.
    I8(&'a [i8], Quant),
    /// Integers.
    I32(&'a [i32]),
    /// Integers.
    I64(&'a [i64]),
    /// Truth values: 0 or 1.
    Bool(&'a [u8]),
    /// The bytes of one of another type.
    Elements(ElemType, &'a [u8]),
}

impl<'a> OutputData<'a> {
    /// The elements as they lie in memory: little-endian.
    pub fn bytes(&self) -> &'a [u8] {
        match *self {
            Self::F32(values) => cast_slice(values),
            Self::I8(values, _) => cast_slice(values),
            Self::I32(values) => cast_slice(values),
            Self::I64(values) => cast_slice(values),
            Self::Bool(values) | Self::Elements(_, values) => values,
        }
    }

    /// The type of the elements.
    pub fn dtype(&self) -> ElemType {
        match self {
            Self::F32(_) => ElemType::F32,
            Self::I8(..) => ElemType::I8,
            Self::I32(_) => ElemType::I32,
            Self::I64(_) => ElemType::I64,
            Self::Bool(_) => ElemType::Bool,
            Self::Elements(dtype, _) => *dtype,
        }
    }

    /// The numbers, of int8 those that they stand for.
    pub fn values(&self) -> impl Iterator<Item = f32> + use<'a> {
        let (dtype, bytes) = (self.dtype(), self.bytes());
        let quant = if let Self::I8(_, quant) = self { *quant } else { AS_IT_IS };
        let real = move |x: f32| (x - f32::from(quant.zero_point)) * quant.scale;
        bytes.chunks_exact(dtype.bytes() as usize).map(move |elem| real(dtype.read(elem) as f32))
    }
}

/// What an integer stands for that is a number already.
const AS_IT_IS: Quant = Quant { scale: 1.0, zero_point: 0 };

fn input_args(input: &plan::Input<'_>, strides: [u32; 4]) -> InputArgs {
    InputArgs { dims: input.arena_dims.map(|d| d as usize), strides: strides.map(|s| s as usize) }
}

/// Puts int8 values into an input's memory: as they are, or as what they stand for.
pub(crate) fn fill<O: Operations>(
    input: &plan::Input<'_>,
    values: impl Iterator<Item = i8>,
    buffer: &mut [u8],
) {
    match input.dtype {
        ElemType::I8 => cast_slice_mut(buffer).iter_mut().zip(values).for_each(|(to, value)| *to = value),
        ElemType::F32 => {
            let real = |q: i8| (q as i32 - input.quant.zero_point as i32) as f32 * input.quant.scale;
            // A buffer of f32 is aligned, as validation has seen.
            let buffer: &mut [f32] = try_cast_slice_mut(buffer).unwrap_or(&mut []);
            buffer.iter_mut().zip(values).for_each(|(to, value)| *to = real(value));
        }
        dtype => match integers::integer(dtype) {
            Some(kind) if has_integers::<O>() => integers::fill(input, kind, values, buffer),
            None if has_raw::<O>() => write(dtype, values.map(f32::from), buffer),
            _ => {}
        },
    }
}

/// Writes numbers one after the other as elements of a type.
fn write(dtype: ElemType, values: impl Iterator<Item = f32>, buffer: &mut [u8]) {
    let elems = buffer.chunks_exact_mut(dtype.bytes() as usize);
    elems.zip(values).for_each(|(to, value)| dtype.write(value.into(), to));
}

impl Program<'_, '_> {
    /// Puts an input into the arena.
    ///
    /// # Errors
    /// An index, form, length or value that the package does not take, or an arena that does not fit.
    pub fn set_input(&self, index: usize, data: InputData<'_>, arena: &mut [u8]) -> Result<(), RunError> {
        let kernels = self.steps.iter().flatten().next().map(|step| &step.kernels);
        set_input(&self.package, kernels, index, data, arena)
    }

    /// An output in the arena, after a run.
    ///
    /// # Errors
    /// An index that the package does not have, or an arena that does not fit.
    pub fn output<'a>(&self, index: usize, arena: &'a [u8]) -> Result<OutputData<'a>, RunError> {
        output(&self.package, index, arena)
    }
}

/// Copies what has the buffer's length, as was checked: without a panic for another one.
fn put(values: &[u8], buffer: &mut [u8]) {
    buffer.iter_mut().zip(values).for_each(|(to, &value)| *to = value);
}

/// Whether a program with these operations can have to do with integers.
const fn has_integers<O: Operations>() -> bool {
    O::SET.intersects(integers::OPERATIONS) || O::SET.contains(Operation::Island)
}

/// Whether it can with the types that only islands read.
const fn has_raw<O: Operations>() -> bool {
    O::SET.contains(Operation::Island)
}

/// Puts an input into the arena. Without `kernels` it is the portable ones that convert it.
pub(crate) fn set_input<O: Operations>(
    package: &Package<'_, O>,
    kernels: Option<&BoundVariant>,
    index: usize,
    data: InputData<'_>,
    arena: &mut [u8],
) -> Result<(), RunError> {
    check_arena(package, arena)?;
    let count = package.head().inputs as usize;
    let input = package.inputs().nth(index).ok_or(RunError::Index { index, count })?;
    let is_f32 = input.dtype == ElemType::F32;
    let needed = (input.buffer.bytes / input.dtype.bytes()) as usize;
    let given = data.elems();
    if given != needed {
        return Err(RunError::Length { needed, given });
    }
    let buffer = arena.get_mut(bounds(input.buffer)).unwrap_or(&mut []);
    if let Some(kind) = integers::integer(input.dtype) {
        return match has_integers::<O>() {
            true => integers::set(&input, kind, data, buffer),
            false => Err(RunError::NoIntegers),
        };
    }
    if input.dtype.is_raw() && !has_raw::<O>() {
        return Err(RunError::Type { needed: input.dtype, given: data.dtype() });
    }
    match data {
        InputData::Elements(given, bytes) if input.dtype.is_raw() && given == input.dtype => {
            put(bytes, buffer);
        }
        InputData::Elements(given, _) => return Err(RunError::Type { needed: input.dtype, given }),
        InputData::I32(_) | InputData::I64(_) | InputData::Bool(_) => return Err(RunError::NoIntegers),
        InputData::F32(values) if has_raw::<O>() && input.dtype.is_raw() => {
            write(input.dtype, values.iter().copied(), buffer);
        }
        InputData::Pixels(_) if input.dtype.is_raw() => return Err(RunError::NoPixels),
        InputData::Quantized(values) if input.dtype == ElemType::I8 => {
            put(cast_slice(values), buffer);
        }
        InputData::Quantized(values) => fill::<O>(&input, values.iter().copied(), buffer),
        InputData::F32(values) if is_f32 => {
            let buffer = try_cast_slice_mut(buffer).unwrap_or(&mut []);
            copy_f32(&input_args(&input, input.strides), values, buffer);
        }
        InputData::Pixels(values) if is_f32 => {
            let pixels = input.pixels.ok_or(RunError::NoPixels)?;
            let tables = try_cast_slice(package.constant(pixels.tables)).unwrap_or(&[]);
            let buffer = try_cast_slice_mut(buffer).unwrap_or(&mut []);
            let args = input_args(&input, pixels.strides);
            lookup_u8_f32(&args, values, tables, pixels.reverse_channels, buffer);
        }
        InputData::F32(values) => {
            let range = OutputRange::full(input.quant.zero_point as i32);
            let args = input_args(&input, input.strides);
            let (inverse_scale, buffer) = (1.0 / input.quant.scale, cast_slice_mut(buffer));
            match kernels {
                Some(kernels) => kernels.quantize_f32(&args, values, inverse_scale, range, buffer),
                None => quantize_f32(&args, values, inverse_scale, range, buffer),
            }
        }
        InputData::Pixels(values) => {
            let pixels = input.pixels.ok_or(RunError::NoPixels)?;
            let tables = cast_slice(package.constant(pixels.tables));
            let args = input_args(&input, pixels.strides);
            let (reverse, buffer) = (pixels.reverse_channels, cast_slice_mut(buffer));
            match kernels {
                Some(kernels) => kernels.quantize_u8(&args, values, tables, reverse, buffer),
                None => quantize_u8(&args, values, tables, reverse, buffer),
            }
        }
    }
    Ok(())
}

/// An output in the arena, after a run.
pub(crate) fn output<'a, O: Operations>(
    package: &Package<'_, O>,
    index: usize,
    arena: &'a [u8],
) -> Result<OutputData<'a>, RunError> {
    check_arena(package, arena)?;
    let count = package.head().outputs as usize;
    let output = package.outputs().nth(index).ok_or(RunError::Index { index, count })?;
    let bytes = arena.get(bounds(output.buffer)).unwrap_or(&[]);
    Ok(match output.dtype {
        ElemType::I8 => OutputData::I8(cast_slice(bytes), output.quant.unwrap_or(AS_IT_IS)),
        ElemType::F32 => OutputData::F32(try_cast_slice(bytes).unwrap_or(&[])),
        ElemType::I32 => OutputData::I32(try_cast_slice(bytes).unwrap_or(&[])),
        ElemType::I64 => OutputData::I64(try_cast_slice(bytes).unwrap_or(&[])),
        ElemType::Bool => OutputData::Bool(bytes),
        dtype => OutputData::Elements(dtype, bytes),
    })
}
