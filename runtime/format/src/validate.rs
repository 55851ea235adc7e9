//! What must be true of a plan before a device runs it: then no kernel can read or write outside its
//! tensors, and no executor can fail in the middle.

mod float;
mod geometry;
mod int16;
mod integers;
mod ops;

use core::marker::PhantomData;

use serde::Deserialize;

use crate::container::Package;
use crate::error::{Error, Place};
use crate::operations::{Operation, Operations, with_operations};
use crate::plan::{Conv, Dims, ElemType, Head, Input, Island, MAX_RANK, Op, Output, Quant, Span, Step};

/// Postcard values after each other.
#[derive(Clone, Copy)]
pub(crate) struct Stream<'a>(&'a [u8]);

impl<'a> Stream<'a> {
    pub fn after_head(plan: &'a [u8]) -> Self {
        let mut stream = Self(plan);
        stream.skip::<Head>(1);
        stream
    }

    // The decoders of steps are 10 KB of code, which want to be in a program once, and not wherever steps are
    // looked at.
    #[inline(never)]
    fn next<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let (value, rest) = crate::read::value(self.0)?;
        self.0 = rest;
        Some(value)
    }

    pub fn skip<T: Deserialize<'a>>(&mut self, count: u32) {
        (0..count).all(|_| self.next::<T>().is_some());
    }

    pub fn take<T: Deserialize<'a>>(self, count: u32) -> Taken<'a, T> {
        Taken { stream: self, left: count, values: PhantomData }
    }

    /// A step, of which the variant of the operation is read first: nothing reads those outside of the set. `Err`
    /// has the operation that is not in it.
    #[inline(never)]
    fn step<O: Operations>(&mut self) -> Option<Result<Step<'a>, Operation>> {
        let (name, scratch) = (self.next()?, self.next()?);
        let operation = Operation::new(self.next()?)?;
        macro_rules! read {
            ($($name:ident,)*) => {
                match operation {
                    $(Operation::$name if O::SET.intersects(Operation::$name.kinds()) => Op::$name(self.next()?),)*
                    _ => return Some(Err(operation)),
                }
            };
        }
        let op = with_operations!(read);
        if let Op::Conv(conv) = &op {
            let operation = if conv.is_depthwise() { Operation::Depthwise } else { Operation::Conv };
            if !O::SET.contains(operation) {
                return Some(Err(operation));
            }
        }
        Some(Ok(Step { name, scratch, op }))
    }

    /// Steps of a plan that was validated with the same operations.
    pub fn take_steps<O: Operations>(mut self, count: u32) -> impl Iterator<Item = Step<'a>> {
        (0..count).map_while(move |_| self.step::<O>()?.ok())
    }
}

/// The next values of a stream.
pub(crate) struct Taken<'a, T> {
    stream: Stream<'a>,
    left: u32,
    values: PhantomData<T>,
}

impl<'a, T: Deserialize<'a>> Iterator for Taken<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        self.stream.next()
    }
}

/// What spans are checked against.
#[derive(Clone, Copy)]
struct Bounds<'a> {
    arena_bytes: u32,
    weights: &'a [u8],
}

/// The name of the field that is wrong.
type Check = Result<(), &'static str>;

/// Checks the whole plan; gives its head.
pub(crate) fn plan<O: Operations>(package: &Package<'_, O>) -> Result<Head, Error> {
    let mut stream = Stream(package.plan());
    let malformed = |place, field| Error::Malformed { place, field };
    let head: Head = stream.next().ok_or(malformed(Place::Head, "its head"))?;
    if head.arena_bytes > i32::MAX as u32 {
        return Err(malformed(Place::Head, "arena_bytes"));
    }
    let bounds = Bounds { arena_bytes: head.arena_bytes, weights: package.weights() };
    for index in 0..head.inputs {
        let place = Place::Input(index);
        let value: Input<'_> = stream.next().ok_or(malformed(place, "its encoding"))?;
        input(&value, &bounds).map_err(|field| malformed(place, field))?;
    }
    for index in 0..head.outputs {
        let place = Place::Output(index);
        let value: Output<'_> = stream.next().ok_or(malformed(place, "its encoding"))?;
        output(&value, &bounds).map_err(|field| malformed(place, field))?;
    }
    for index in 0..head.steps {
        let place = Place::Step(index);
        let value = stream.step::<O>().ok_or(malformed(place, "its encoding"))?;
        let value = value.map_err(|operation| Error::Operation { step: index, operation })?;
        ops::step::<O>(&value, &bounds).map_err(|field| malformed(place, field))?;
        if O::SET.contains(Operation::Island)
            && let Op::Island(op) = &value.op
        {
            island(op, package, &bounds).map_err(|field| malformed(place, field))?;
        }
        if let Op::Conv(Conv { same_weights_as: Some(earlier), .. }) = value.op
            && earlier >= index
        {
            return Err(malformed(place, "same_weights_as"));
        }
    }
    if !stream.0.is_empty() {
        return Err(malformed(Place::Head, "what follows the last step"));
    }
    Ok(head)
}

/// The head of a plan that was checked before.
pub(crate) fn head(plan: &[u8]) -> Head {
    Stream(plan).next().unwrap_or(Head::EMPTY)
}

fn require(condition: bool, field: &'static str) -> Check {
    if condition { Ok(()) } else { Err(field) }
}

/// The product of sizes that are all at least 1; `None` where one is 0 or the product exceeds 31 bits.
fn product(sizes: &[u32]) -> Option<u32> {
    let elems = sizes.iter().try_fold(1u32, |product, &size| product.checked_mul(size))?;
    (elems > 0 && elems <= i32::MAX as u32).then_some(elems)
}

fn end(span: Span) -> Option<u32> {
    span.offset.checked_add(span.bytes)
}

fn overlap(a: Span, b: Span) -> bool {
    // Both ends were checked to exist.
    a.bytes > 0 && b.bytes > 0 && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes
}

impl Bounds<'_> {
    /// A tensor of so many elements of `elem_bytes` in the arena.
    fn arena(&self, span: Span, elems: Option<u32>, elem_bytes: u32, field: &'static str) -> Check {
        let bytes = elems.and_then(|elems| elems.checked_mul(elem_bytes));
        let inside = end(span).is_some_and(|end| end <= self.arena_bytes);
        require(inside && bytes == Some(span.bytes) && span.offset.is_multiple_of(elem_bytes), field)
    }

    /// So many constants of `elem_bytes`; gives their bytes.
    fn constant(
        &self,
        span: Span,
        elems: Option<u32>,
        elem_bytes: u32,
        field: &'static str,
    ) -> Result<&[u8], &'static str> {
        let bytes = elems.and_then(|elems| elems.checked_mul(elem_bytes));
        let end = end(span).filter(|_| bytes == Some(span.bytes) && span.offset.is_multiple_of(elem_bytes));
        end.and_then(|end| self.weights.get(span.offset as usize..end as usize)).ok_or(field)
    }

    /// So many f32 constants that `accepts` likes.
    fn floats(&self, span: Span, elems: u32, accepts: impl Fn(f32) -> bool, field: &'static str) -> Check {
        let bytes = self.constant(span, Some(elems), 4, field)?;
        let (values, _) = bytes.as_chunks::<4>();
        require(values.iter().all(|&value| accepts(f32::from_le_bytes(value))), field)
    }
}

fn dims(dims: &Dims) -> Option<u32> {
    let rank = dims.rank as usize;
    let unused = dims.sizes.get(rank..)?;
    (rank <= MAX_RANK && unused.iter().all(|&size| size == 1)).then_some(())?;
    product(&dims.sizes)
}

fn quant(quant: &Quant) -> Check {
    require(quant.scale.is_finite() && quant.scale > 0.0, "scale")
}

fn input(input: &Input<'_>, bounds: &Bounds<'_>) -> Check {
    let elems = dims(&input.dims);
    bounds.arena(input.buffer, elems, input.dtype.bytes(), "buffer")?;
    quant(&input.quant)?;
    if let Some([least, greatest]) = input.limits {
        require(input.dtype.is_integer() && least <= greatest, "limits")?;
    }
    require(product(&input.arena_dims) == elems, "arena_dims")?;
    let reaches = |strides: &[u32; 4]| extent(0, &input.arena_dims, strides) == elems;
    require(reaches(&input.strides), "strides")?;
    let in_order = Some(input.arena_dims[3]) == elems && input.strides[3] == 1;
    require(!input.dtype.is_raw() || in_order, "arena_dims, which have an order")?;
    let Some(pixels) = &input.pixels else { return Ok(()) };
    let [_, _, _, channels] = input.arena_dims;
    let entries = channels.checked_mul(256);
    match input.dtype {
        ElemType::I8 => bounds.constant(pixels.tables, entries, 1, "pixel tables").map(|_| ())?,
        ElemType::F32 => {
            bounds.floats(pixels.tables, entries.ok_or("pixel tables")?, f32::is_finite, "pixel tables")?;
        }
        _ => return Err("pixels"),
    }
    require(reaches(&pixels.strides), "pixel strides")
}

fn output(output: &Output<'_>, bounds: &Bounds<'_>) -> Check {
    bounds.arena(output.buffer, dims(&output.dims), output.dtype.bytes(), "buffer")?;
    match (&output.quant, output.dtype) {
        (Some(value), ElemType::I8) => quant(value),
        (None, dtype) if dtype != ElemType::I8 => Ok(()),
        _ => Err("quant"),
    }
}

/// An island reads and gives what its section says; what is in its graph, tract has to see.
fn island<O: Operations>(op: &Island, package: &Package<'_, O>, bounds: &Bounds<'_>) -> Check {
    let section = package.island(op.section).ok_or("section")?;
    bounds.arena(op.input, Some(section.input_bytes()), 1, "input")?;
    bounds.arena(op.output, Some(section.output_bytes()), 1, "output")?;
    require(!overlap(op.input, op.output), "output, which overlaps the input")
}

/// Elements that a strided walk reaches, from the first of the tensor on.
fn extent(start: u32, dims: &[u32], strides: &[u32]) -> Option<u32> {
    let last = dims
        .iter()
        .zip(strides)
        .try_fold(start, |sum, (&dim, &stride)| sum.checked_add(dim.checked_sub(1)?.checked_mul(stride)?))?;
    last.checked_add(1)
}
