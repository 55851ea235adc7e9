//! How the lines of a step's output follow from the lines of its input, and the step over some of them.

use std::collections::HashMap;
use std::ops::Range;

use edgepack_format::plan::{self, Op, Operand, Span};

/// A tensor as lines: the second dimension of `[1, H, W, C]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tensor {
    /// Its virtual buffer, which it fills.
    pub buffer: u32,
    /// H.
    pub lines: u32,
    /// W · C.
    pub line_bytes: u32,
}

impl Tensor {
    fn new(span: Span, lines: u32) -> Option<Self> {
        let divides = lines > 0 && span.bytes.is_multiple_of(lines);
        divides.then(|| Self { buffer: span.offset, lines, line_bytes: span.bytes / lines })
    }
}

/// A step that strips may take through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lines {
    /// What it reads lines of; of two operands the left.
    pub input: Tensor,
    /// The other operand, where it is in the arena.
    pub side: Option<u32>,
    /// What it writes.
    pub output: Tensor,
    /// Lines that a window reaches over; 0 for element-wise steps, which may work in place.
    reach: u32,
    stride: u32,
    pad: u32,
    /// Bytes of its constants.
    pub constants: u32,
}

impl Lines {
    /// `heights` has the lines of tensors whose steps do not say.
    pub fn of(op: &Op, heights: &HashMap<u32, u32>) -> Option<Self> {
        match op {
            Op::Conv(conv) if conv.window.input_dims[0] == 1 && conv.range.is_some() => Some(Self {
                input: Tensor::new(conv.input, conv.window.input_dims[1])?,
                side: conv.residual.map(|residual| residual.span.offset),
                output: Tensor::new(conv.output, conv.window.output_dims[1])?,
                reach: (conv.window.kernel[0] - 1) * conv.window.dilation[0] + 1,
                stride: conv.window.stride[0],
                pad: conv.window.pad[0],
                constants: conv.weights.bytes + conv.bias.bytes + conv.multiplier.bytes,
            }),
            Op::Pool(pool) if pool.window.input_dims[0] == 1 => Some(Self {
                input: Tensor::new(pool.input, pool.window.input_dims[1])?,
                side: None,
                output: Tensor::new(pool.output, pool.window.output_dims[1])?,
                reach: (pool.window.kernel[0] - 1) * pool.window.dilation[0] + 1,
                stride: pool.window.stride[0],
                pad: pool.window.pad[0],
                constants: 0,
            }),
            Op::Lookup(lookup) if !lookup.to_f32 => {
                Self::elementwise(lookup.input, None, lookup.output, heights)
            }
            Op::Binary(binary) => {
                let Operand::Arena(lhs) = binary.lhs else { return None };
                let side = match binary.rhs {
                    Operand::Arena(rhs) => Some(rhs.offset),
                    Operand::Constant(_) => None,
                };
                let lines = Self::elementwise(lhs, side, binary.output, heights)?;
                Axis::of(binary, lines.output.lines)?;
                (side != Some(lhs.offset)).then_some(lines)
            }
            _ => None,
        }
    }

    fn elementwise(
        input: Span,
        side: Option<u32>,
        output: Span,
        heights: &HashMap<u32, u32>,
    ) -> Option<Self> {
        let lines = *heights.get(&output.offset)?;
        let (input, output) = (Tensor::new(input, lines)?, Tensor::new(output, lines)?);
        let same = input.line_bytes == output.line_bytes;
        same.then_some(Self { input, side, output, reach: 0, stride: 1, pad: 0, constants: 256 })
    }

    /// Whether line `i` of the output is a function of line `i` of the input.
    pub fn is_elementwise(&self) -> bool {
        self.reach == 0
    }

    /// The lines of the input that some lines of the output, at least one, are made of.
    pub fn reads(&self, output: &Range<u32>) -> Range<u32> {
        let first = (output.start * self.stride).saturating_sub(self.pad);
        let end = ((output.end - 1) * self.stride + self.reach.max(1)).saturating_sub(self.pad);
        first..end.min(self.input.lines)
    }
}

/// The lines of tensors, from the steps that say: these have dimensions, element-wise ones only sizes.
pub(super) fn heights<'a>(ops: impl DoubleEndedIterator<Item = &'a Op> + Clone) -> HashMap<u32, u32> {
    let mut heights = HashMap::new();
    for op in ops.clone() {
        let (input, output, from, to) = match op {
            Op::Conv(conv) => (conv.input, conv.output, conv.window.input_dims, conv.window.output_dims),
            Op::Pool(pool) => (pool.input, pool.output, pool.window.input_dims, pool.window.output_dims),
            _ => continue,
        };
        if from[0] == 1 {
            heights.insert(input.offset, from[1]);
            heights.insert(output.offset, to[1]);
        }
    }
    // Through element-wise steps, forwards and backwards.
    let mut pass_on = |op: &Op| {
        let (input, output) = match op {
            Op::Lookup(lookup) => (lookup.input, lookup.output),
            Op::Binary(plan::Binary { lhs: Operand::Arena(lhs), output, .. }) => (*lhs, *output),
            _ => return,
        };
        for (from, to) in [(input, output), (output, input)] {
            if from.bytes == to.bytes
                && let Some(&lines) = heights.get(&from.offset)
            {
                heights.entry(to.offset).or_insert(lines);
            }
        }
    };
    ops.clone().for_each(&mut pass_on);
    ops.rev().for_each(&mut pass_on);
    heights
}

/// The axis of an element-wise step of two that its lines are parts of.
struct Axis {
    index: usize,
    /// Of the axis, for each line.
    steps: u32,
}

impl Axis {
    fn of(binary: &plan::Binary, lines: u32) -> Option<Self> {
        let index = binary.dims.iter().position(|&dim| dim > 1)?;
        let inner: u32 = binary.dims[index + 1..].iter().product();
        // Of the right operand, lines are apart as those of the output, or all are one.
        let walks = [binary.lhs_strides[index] == inner, [0, inner].contains(&binary.rhs_strides[index])];
        let divides = binary.dims[index].is_multiple_of(lines);
        (walks == [true; 2] && divides).then(|| Self { index, steps: binary.dims[index] / lines })
    }
}

/// Where a step over some lines finds its tensors.
pub(super) struct Places<'a> {
    /// The lines of the input that it reads.
    pub input: Span,
    /// The lines that it writes.
    pub output: Span,
    /// Bytes from a distance on in a buffer.
    pub view: &'a mut dyn FnMut(u32, u32, u32) -> Span,
}

/// The step over `written` lines of its output.
pub(super) fn part(op: &Op, lines: &Lines, written: &Range<u32>, places: Places<'_>) -> Op {
    let Places { input, output, view } = places;
    let count = written.end - written.start;
    let read = lines.reads(written);
    let above = lines.pad.saturating_sub(written.start * lines.stride);
    let mut op = *op;
    match &mut op {
        Op::Conv(conv) => {
            (conv.input, conv.output, conv.window.pad[0]) = (input, output, above);
            (conv.window.input_dims[1], conv.window.output_dims[1]) = (read.end - read.start, count);
            if let Some(residual) = &mut conv.residual {
                // As the output: of as many lines, equally long.
                let line_bytes = lines.output.line_bytes;
                residual.span = view(residual.span.offset, written.start * line_bytes, count * line_bytes);
            }
        }
        Op::Pool(pool) => {
            (pool.input, pool.output, pool.window.pad[0]) = (input, output, above);
            (pool.window.input_dims[1], pool.window.output_dims[1]) = (read.end - read.start, count);
            // Lines that are not the last have none below.
            if read.end < lines.input.lines {
                pool.pad_after[0] = 0;
            }
        }
        Op::Lookup(lookup) => (lookup.input, lookup.output) = (input, output),
        Op::Binary(binary) => {
            let axis = Axis::of(binary, lines.output.lines);
            if let Some(Axis { index, steps }) = axis {
                binary.dims[index] = count * steps;
                let start = written.start * steps * binary.rhs_strides[index];
                let last = (0..4).map(|axis| (binary.dims[axis] - 1) * binary.rhs_strides[axis]).sum::<u32>();
                match &mut binary.rhs {
                    Operand::Arena(rhs) => *rhs = view(rhs.offset, start, last + 1),
                    Operand::Constant(rhs) => *rhs = Span { offset: rhs.offset + start, bytes: last + 1 },
                }
            }
            (binary.lhs, binary.output) = (Operand::Arena(input), output);
        }
        _ => {}
    }
    op
}
