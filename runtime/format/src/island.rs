//! The sections of islands.

use crate::plan::{IslandTensor, Span};

/// The tensors of an island start at multiples of this, from the start of their span on.
pub const ISLAND_ALIGN: u32 = 64;

/// An island: what it reads and gives, and its graph in NNEF.
#[derive(Clone, Copy, Debug)]
pub struct Island<'a> {
    inputs: u32,
    outputs: u32,
    tensors: &'a [u8],
    /// The graph: a tar archive of NNEF, as tract reads it. Its inputs and outputs are those of the island, in
    /// their order, types and shapes.
    pub graph: &'a [u8],
}

impl<'a> Island<'a> {
    /// Reads a section: u32 inputs, u32 outputs, so many [`IslandTensor`]s, then the graph.
    ///
    /// `None` where it is none, or its tensors are.
    pub fn parse(section: &'a [u8]) -> Option<Self> {
        let ((inputs, outputs), tensors) = crate::read::value::<(u32, u32)>(section)?;
        let mut graph = tensors;
        for _ in 0..inputs.checked_add(outputs)? {
            let (tensor, rest) = crate::read::value::<IslandTensor>(graph)?;
            tensor.bytes()?;
            graph = rest;
        }
        let island = Self { inputs, outputs, tensors, graph };
        // Their sizes have a sum.
        span_bytes(island.tensors(0, inputs))?;
        span_bytes(island.tensors(inputs, outputs))?;
        (outputs > 0).then_some(island)
    }

    fn tensors(&self, skip: u32, count: u32) -> impl Iterator<Item = IslandTensor> + use<'a> {
        let mut rest = self.tensors;
        let mut next = move || {
            let (tensor, after) = crate::read::value::<IslandTensor>(rest)?;
            rest = after;
            Some(tensor)
        };
        (0..skip).for_each(|_| {
            next();
        });
        (0..count).map_while(move |_| next())
    }

    /// What it reads, each with its place in the step's input span.
    pub fn inputs(&self) -> impl Iterator<Item = (IslandTensor, Span)> + use<'a> {
        placed(self.tensors(0, self.inputs))
    }

    /// What it gives, each with its place in the step's output span.
    pub fn outputs(&self) -> impl Iterator<Item = (IslandTensor, Span)> + use<'a> {
        placed(self.tensors(self.inputs, self.outputs))
    }

    /// Size of the step's input span.
    pub fn input_bytes(&self) -> u32 {
        span_bytes(self.tensors(0, self.inputs)).unwrap_or(0)
    }

    /// Size of the step's output span.
    pub fn output_bytes(&self) -> u32 {
        span_bytes(self.tensors(self.inputs, self.outputs)).unwrap_or(0)
    }
}

/// One after the other, each at the next multiple of [`ISLAND_ALIGN`].
fn placed(tensors: impl Iterator<Item = IslandTensor>) -> impl Iterator<Item = (IslandTensor, Span)> {
    let mut end = 0u32;
    tensors.map_while(move |tensor| {
        let offset = end.checked_next_multiple_of(ISLAND_ALIGN)?;
        let span = Span { offset, bytes: tensor.bytes()? };
        end = offset.checked_add(span.bytes)?;
        Some((tensor, span))
    })
}

/// The end of the last; `None` where it is beyond 31 bits.
fn span_bytes(tensors: impl Iterator<Item = IslandTensor>) -> Option<u32> {
    let mut end = 0u32;
    for tensor in tensors {
        end = end.checked_next_multiple_of(ISLAND_ALIGN)?.checked_add(tensor.bytes()?)?;
    }
    (end <= i32::MAX as u32).then_some(end)
}
