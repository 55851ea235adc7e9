//! What integers choose: rows of tensors and tables, and where the greatest values are.

use edgepack_format::plan::{self, ElemType, Operand, Span};

use super::layout::Order;
use super::{Lowering, Program};
use crate::error::Result;
use crate::graph::{Node, Suppression, Tensor, TopK, ValueId};

impl Lowering<'_> {
    /// A copy of a value in the model's own order; a constant becomes f32 in the arena.
    fn in_order(&mut self, node: &Node, id: ValueId) -> Result<Span> {
        if let Some(constant) = &self.graph.value(id).constant {
            let output = self.buffer(&node.name, constant.data.len() * 4)?;
            let operand = Operand::Constant(self.f32_constant(constant.data.iter().copied()));
            let source = plan::Source { operand, elems: plan::Elems::F32, strides: [0, 0, 0, 1] };
            let mut program = Program::default();
            program.load(0, 0);
            let step = plan::Elementwise {
                sources: [Some(source), None, None],
                output,
                stored: plan::Stored::F32,
                dims: [1, 1, 1, constant.data.len() as u32],
                program: self.constant(program.bytes()),
            };
            self.node_step(node, plan::Op::Elementwise(step));
            return Ok(output);
        }
        self.ordered(&node.name, id, &Order::identity(self.dims(id).len()))
    }

    fn made(&mut self, node: &Node, op: plan::Op, output: Span) {
        self.node_step(node, op);
        self.store(node.output, output, Order::identity(self.dims(node.output).len()));
    }

    pub(super) fn embed(&mut self, node: &Node, table: &Tensor) -> Result<()> {
        let indices = self.in_order(node, node.inputs[0])?;
        let output = self.value_buffer(node.output)?;
        let (rows, width) = (table.dims[0] as u32, table.data.len() / table.dims[0]);
        let values = table.data.iter().map(|x| x.max(node.clamp.min).min(node.clamp.max));
        let table = if self.is_wide(node.output) {
            self.f32_constant(values)
        } else {
            let quant = self.quant(node.output);
            self.i8_constant(values.map(|x| quant.quantize(x)))
        };
        let row_bytes = width as u32 * u32::from(self.elem_bytes(node.output));
        let data = Operand::Constant(table);
        self.made(
            node,
            plan::Op::Gather(plan::Gather { data, indices, output, outer: 1, rows, row_bytes }),
            output,
        );
        Ok(())
    }

    pub(super) fn gather(&mut self, node: &Node, axis: usize) -> Result<()> {
        let dims = self.dims(node.inputs[0]);
        let data = Operand::Arena(self.in_order(node, node.inputs[0])?);
        let indices = self.in_order(node, node.inputs[1])?;
        let output = self.value_buffer(node.output)?;
        let size = |dims: &[usize]| dims.iter().product::<usize>() as u32;
        let op = plan::Gather {
            data,
            indices,
            output,
            outer: size(&dims[..axis]),
            rows: dims[axis] as u32,
            row_bytes: size(&dims[axis + 1..]) * u32::from(self.elem_bytes(node.output)),
        };
        self.made(node, plan::Op::Gather(op), output);
        Ok(())
    }

    pub(super) fn scatter(&mut self, node: &Node) -> Result<()> {
        let rows = self.dims(node.inputs[0])[0] as u32;
        let [data, indices, updates] = [0, 1, 2].map(|index| self.in_order(node, node.inputs[index]));
        let (data, indices, updates) = (data?, indices?, updates?);
        let output = self.value_buffer(node.output)?;
        let row_bytes = data.bytes / rows;
        let op = plan::Scatter { data, indices, updates, output, rows, row_bytes };
        self.made(node, plan::Op::Scatter(op), output);
        Ok(())
    }

    pub(super) fn top_k(&mut self, node: &Node, of: &TopK) -> Result<()> {
        let input = node.inputs[0];
        let dims = self.dims(input);
        let size = |dims: &[usize]| dims.iter().product::<usize>() as u32;
        let op = plan::TopK {
            input: self.in_order(node, input)?,
            dtype: if self.is_wide(input) { ElemType::F32 } else { ElemType::I8 },
            output: self.value_buffer(node.output)?,
            dims: [size(&dims[..of.axis]), dims[of.axis] as u32, size(&dims[of.axis + 1..])],
            k: of.k as u32,
            largest: of.largest,
            last: of.last,
        };
        self.made(node, plan::Op::TopK(op), op.output);
        Ok(())
    }

    pub(super) fn suppression(&mut self, node: &Node, of: &Suppression) -> Result<()> {
        let dims = self.dims(node.inputs[1]);
        let [boxes, scores] = [self.in_order(node, node.inputs[0])?, self.in_order(node, node.inputs[1])?];
        let op = plan::NonMaxSuppression {
            boxes,
            scores,
            output: self.value_buffer(node.output)?,
            dims: [dims[0] as u32, dims[1] as u32, dims[2] as u32],
            most: of.most as u32,
            iou_threshold: of.iou_threshold,
            score_threshold: of.score_threshold,
            centers: of.centers,
        };
        // The candidates of a class, in the order in which they are looked at.
        let scratch = self.buffer(&node.name, (dims[2] * 4).next_multiple_of(64))?;
        self.made(node, plan::Op::NonMaxSuppression(op), op.output);
        if let Some(step) = self.lowered.steps.last_mut() {
            step.scratch = scratch;
        }
        Ok(())
    }
}
