//! The graph becomes steps over virtual buffers: in a plan's [`Span`]s, `offset` is the number of a
//! buffer until [`crate::memory`] gives every buffer its place.

mod attention;
mod dynamic;
mod float;
mod indices;
mod int16;
mod io;
mod islands;
pub mod layout;
mod nodes;
mod products;
mod program;
mod recurrent;
pub(crate) mod take;

use std::collections::HashMap;

use edgepack_format::plan::{self, Span};

use crate::error::{PackError, Result};
use crate::graph::{Graph, Node, ValueId};
use crate::quant::Quant;
use crate::quantize::{Quant16, Repr, Scheme};
pub use io::PixelSource;
use layout::Order;
pub use products::scratch_bytes;
pub use program::Program;

/// A step before its buffers have places.
#[derive(Clone, Debug)]
pub struct LoweredStep {
    /// The node's name.
    pub name: String,
    /// Buffer of the scratch memory; 0 bytes where there is none.
    pub scratch: Span,
    /// What it does; `offset` of every arena span is a buffer's number.
    pub op: plan::Op,
}

/// An input before it has a place.
#[derive(Clone, Debug)]
pub struct LoweredInput {
    /// Its name.
    pub name: String,
    /// JSON of the preprocessing, where it takes pixels.
    pub from_image: Option<String>,
    /// Everything else, with an empty name.
    pub input: plan::Input<'static>,
}

/// An output before it has a place.
#[derive(Clone, Debug)]
pub struct LoweredOutput {
    /// Its name.
    pub name: String,
    /// Everything else, with an empty name.
    pub output: plan::Output<'static>,
}

/// A virtual buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Its size.
    pub bytes: u32,
    /// The buffer that it is a part of, which is none itself, and where it begins there.
    pub part_of: Option<(u32, u32)>,
}

/// Where a value of the graph lies when the step that makes it has ended.
#[derive(Clone, Debug)]
pub struct StepResult {
    /// The step.
    pub step: usize,
    /// The value.
    pub value: ValueId,
    /// Its buffer. It has one byte an element for int8, two for int16, and four for f32.
    pub buffer: Span,
    /// By axis of the value: the distance in elements.
    pub strides: Vec<usize>,
    /// Of integers.
    pub quant: Quant,
}

/// A lowered graph.
#[derive(Clone, Debug, Default)]
pub struct Lowered {
    /// The virtual buffers.
    pub buffers: Vec<Buffer>,
    /// The steps in order.
    pub steps: Vec<LoweredStep>,
    /// What the steps make, as [`lower`] left them: strips and concatenations in place know nothing of it.
    pub results: Vec<StepResult>,
    /// The inputs.
    pub inputs: Vec<LoweredInput>,
    /// The outputs.
    pub outputs: Vec<LoweredOutput>,
    /// The weights section.
    pub constants: Vec<u8>,
    /// The sections of islands.
    pub islands: Vec<Vec<u8>>,
    /// Multiply-adds of one inference.
    pub macs: u64,
}

impl Lowered {
    /// A new buffer.
    pub fn buffer(&mut self, bytes: u32) -> Span {
        self.buffers.push(Buffer { bytes, part_of: None });
        Span { offset: self.buffers.len() as u32 - 1, bytes }
    }

    /// So many bytes of a buffer, from `start` on.
    pub fn part(&mut self, buffer: u32, start: u32, bytes: u32) -> Span {
        let (whole, base) = self.home(buffer);
        if start == 0 && bytes == self.buffers[buffer as usize].bytes {
            return Span { offset: buffer, bytes };
        }
        self.buffers.push(Buffer { bytes, part_of: Some((whole, base + start)) });
        Span { offset: self.buffers.len() as u32 - 1, bytes }
    }

    /// The buffer that a buffer is a part of, or itself, and where it begins there.
    pub fn home(&self, buffer: u32) -> (u32, u32) {
        self.buffers[buffer as usize].part_of.unwrap_or((buffer, 0))
    }
}

/// A stored copy of a value.
#[derive(Clone, Debug)]
struct Stored {
    buffer: Span,
    order: Order,
}

/// Constants start at multiples of this many bytes.
const CONSTANT_ALIGN: usize = 64;

struct Lowering<'a> {
    graph: &'a Graph,
    scheme: &'a Scheme,
    lowered: Lowered,
    stored: HashMap<ValueId, Vec<Stored>>,
    /// By the hidden states that a recurrent step makes: where its last state lies, in f32.
    final_states: HashMap<ValueId, Span>,
    /// By the first value that an island makes: where all that it makes lies.
    island_outputs: HashMap<ValueId, Vec<Span>>,
    constants: HashMap<Vec<u8>, Span>,
}

/// Lowers a graph. `pixels` says, for each input, how raw pixels become it.
///
/// # Errors
/// Tensors beyond what a plan can describe (4 GiB, 6 dimensions).
pub fn lower(graph: &Graph, scheme: &Scheme, pixels: &[Option<PixelSource>]) -> Result<Lowered> {
    let mut lowering = Lowering {
        graph,
        scheme,
        lowered: Lowered::default(),
        stored: HashMap::new(),
        final_states: HashMap::new(),
        island_outputs: HashMap::new(),
        constants: HashMap::new(),
    };
    for (index, &input) in graph.inputs.iter().enumerate() {
        lowering.input(input, pixels.get(index).and_then(Option::as_ref))?;
        lowering.round_as_given(input)?;
    }
    for node in &graph.nodes {
        let steps_before = lowering.lowered.steps.len();
        lowering.node(node)?;
        lowering.round_as_given(node.output)?;
        lowering.note_result(node.output, steps_before)?;
    }
    for &output in &graph.outputs {
        lowering.output(output)?;
    }
    Ok(lowering.lowered)
}

impl<'a> Lowering<'a> {
    /// Notes where a value is, if steps beyond the first `steps_before` have made it.
    fn note_result(&mut self, value: ValueId, steps_before: usize) -> Result<()> {
        let steps = self.lowered.steps.len();
        // Those of another type than the plan's are not held against a reference.
        if steps > steps_before && !self.graph.value(value).raw {
            let Stored { buffer, order } = self.any(value)?;
            let strides = order.strides(self.dims(value));
            let quant = self.scheme.int16(value).map_or_else(|| self.quant(value), Quant16::symmetric);
            self.lowered.results.push(StepResult { step: steps - 1, value, buffer, strides, quant });
        }
        Ok(())
    }

    fn too_large(&self, name: &str) -> PackError {
        PackError::Quantize {
            node: name.into(),
            reason: "a tensor is beyond what a package describes (4 GiB, 6 dimensions, broadcasting \
                     over 4): make it smaller or reshape it"
                .into(),
        }
    }

    fn dims(&self, id: ValueId) -> &'a [usize] {
        self.graph.dims(id)
    }

    fn elems(&self, id: ValueId) -> usize {
        self.dims(id).iter().product()
    }

    fn quant(&self, id: ValueId) -> Quant {
        self.scheme.quant(id).unwrap_or(Quant { scale: 1.0, zero_point: 0 })
    }

    fn is_wide(&self, id: ValueId) -> bool {
        self.scheme.is_f32(id)
    }

    /// Bytes of an element of a value.
    fn elem_bytes(&self, id: ValueId) -> u8 {
        let value = self.graph.value(id);
        if value.raw {
            return value.dtype.bytes() as u8;
        }
        match self.scheme.reprs[id.0] {
            Some(Repr::F32) => 4,
            Some(Repr::I16(_)) => 2,
            Some(Repr::I8(_)) | None => 1,
        }
    }

    /// A new buffer for so many bytes.
    fn buffer(&mut self, name: &str, bytes: usize) -> Result<Span> {
        let bytes = u32::try_from(bytes).map_err(|_| self.too_large(name))?;
        Ok(self.lowered.buffer(bytes))
    }

    /// A new buffer for a value.
    fn value_buffer(&mut self, id: ValueId) -> Result<Span> {
        let bytes = self.elems(id) * usize::from(self.elem_bytes(id));
        self.buffer(&self.graph.value(id).name, bytes)
    }

    fn store(&mut self, id: ValueId, buffer: Span, order: Order) {
        self.stored.entry(id).or_default().push(Stored { buffer, order });
    }

    /// The first stored copy of a value.
    fn any(&self, id: ValueId) -> Result<Stored> {
        let stored = self.stored.get(&id).and_then(|copies| copies.first());
        stored.cloned().ok_or_else(|| PackError::Quantize {
            node: self.graph.value(id).name.clone(),
            reason: "a constant is used where edgepack needs a tensor computed by the model: \
                     fold it into the model when exporting"
                .into(),
        })
    }

    /// A copy of a value in the wanted order, made by a transposition where there is none yet.
    fn ordered(&mut self, name: &str, id: ValueId, order: &Order) -> Result<Span> {
        let any = self.any(id)?;
        let dims = self.dims(id);
        let copies = &self.stored[&id];
        if let Some(stored) = copies.iter().find(|stored| stored.order.same(order, dims)) {
            return Ok(stored.buffer);
        }
        let output = self.value_buffer(id)?;
        let (from, to) = (any.order.strides(dims), order.strides(dims));
        let block = order.0.iter().map(|&axis| (dims[axis], from[axis], to[axis])).collect::<Vec<_>>();
        let elem_bytes = self.elem_bytes(id);
        let copy = self.copy(name, any.buffer, output, &block, [0, 0], elem_bytes)?;
        self.step(name, plan::Op::Copy(copy));
        self.store(id, output, order.clone());
        Ok(output)
    }

    /// A strided copy of a block of `(size, input stride, output stride)`, outermost first.
    fn copy(
        &self,
        name: &str,
        input: Span,
        output: Span,
        block: &[(usize, usize, usize)],
        [input_start, output_start]: [usize; 2],
        elem_bytes: u8,
    ) -> Result<plan::Copy> {
        let dims: Vec<usize> = block.iter().map(|axis| axis.0).collect();
        let strides = [block.iter().map(|a| a.1).collect(), block.iter().map(|a| a.2).collect()];
        let (dims, strides) = layout::collapse(&dims, &strides);
        let aligned =
            |values: &[usize], fill| layout::right_aligned(values, fill).ok_or_else(|| self.too_large(name));
        Ok(plan::Copy {
            input,
            output,
            elem_bytes,
            dims: aligned(&dims, 1)?,
            input_start: input_start as u32,
            input_strides: aligned(&strides[0], 0)?,
            output_start: output_start as u32,
            output_strides: aligned(&strides[1], 0)?,
            table: None,
        })
    }

    /// A constant of the weights section; equal ones are kept once.
    fn constant(&mut self, bytes: Vec<u8>) -> Span {
        if let Some(span) = self.constants.get(&bytes) {
            return *span;
        }
        let section = &mut self.lowered.constants;
        section.resize(section.len().next_multiple_of(CONSTANT_ALIGN), 0);
        let span = Span { offset: section.len() as u32, bytes: bytes.len() as u32 };
        section.extend_from_slice(&bytes);
        self.constants.insert(bytes, span);
        span
    }

    fn i8_constant(&mut self, values: impl IntoIterator<Item = i8>) -> Span {
        self.constant(values.into_iter().map(|v| v as u8).collect())
    }

    fn f32_constant(&mut self, values: impl IntoIterator<Item = f32>) -> Span {
        self.constant(values.into_iter().flat_map(f32::to_le_bytes).collect())
    }

    fn step(&mut self, name: &str, op: plan::Op) {
        let scratch = Span { offset: 0, bytes: 0 };
        self.lowered.steps.push(LoweredStep { name: name.into(), scratch, op });
    }

    /// A step for a whole node.
    fn node_step(&mut self, node: &Node, op: plan::Op) {
        self.step(&node.name, op);
    }

    /// The output range of a node: int8's, tightened by its clamp.
    fn range(&self, node: &Node) -> plan::Range {
        let quant = self.quant(node.output);
        let bound = |x: f32, unbounded: i8| if x.is_finite() { quant.quantize(x) } else { unbounded };
        let (min, max) = (bound(node.clamp.min, -128), bound(node.clamp.max, 127));
        plan::Range { zero_point: quant.zero_point as i8, min: min.min(max), max }
    }
}
