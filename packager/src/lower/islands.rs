//! Islands.

use edgepack_format::ISLAND_ALIGN;
use edgepack_format::plan::{self, Span};

use super::Lowering;
use super::layout::Order;
use crate::error::{PackError, Result};
use crate::graph::Node;
use crate::islands::Island;

impl Lowering<'_> {
    /// One step for all that an island gives: the node of its first output makes it, the others find what it made.
    pub(super) fn island(&mut self, node: &Node, island: &Island, index: usize) -> Result<()> {
        if index == 0 {
            self.island_step(node, island)?;
        }
        let first = if index == 0 { node.output } else { node.inputs[island.inputs().len()] };
        let made = self.island_outputs.get(&first).and_then(|outputs| outputs.get(index)).copied();
        let made = made.ok_or_else(|| PackError::Quantize {
            node: node.name.clone(),
            reason: "is an output of an island that was not made: report this".into(),
        })?;
        self.store(node.output, made, Order::identity(self.dims(node.output).len()));
        Ok(())
    }

    fn island_step(&mut self, node: &Node, island: &Island) -> Result<()> {
        let layout = island.layout();
        let mut sources = Vec::new();
        for (&id, (tensor, _)) in node.inputs.iter().zip(layout.inputs()) {
            let order = Order::identity(self.dims(id).len());
            sources.push((self.ordered(&node.name, id, &order)?, tensor.dtype.bytes()));
        }
        let input = match sources[..] {
            [] => self.buffer(&node.name, 0)?,
            [(only, _)] => only,
            // Several are copied to where the island reads them.
            _ => {
                let all = self.buffer(&node.name, layout.input_bytes() as usize)?;
                // What lies between the tensors is a part of what is read.
                if layout.inputs().any(|(_, place)| !place.bytes.is_multiple_of(ISLAND_ALIGN)) {
                    self.node_step(node, plan::Op::Fill(plan::Fill { output: all, value: 0 }));
                }
                for ((from, bytes), (_, place)) in sources.into_iter().zip(layout.inputs()) {
                    let to = self.lowered.part(all.offset, place.offset, place.bytes);
                    let elem_bytes = if bytes % 4 == 0 { 4 } else { 1 };
                    let count = (place.bytes / elem_bytes) as usize;
                    let block = [(count, 1, 1)];
                    let copy = self.copy(&node.name, from, to, &block, [0, 0], elem_bytes as u8)?;
                    self.node_step(node, plan::Op::Copy(copy));
                }
                all
            }
        };
        let output = self.buffer(&node.name, layout.output_bytes() as usize)?;
        let parts: Vec<Span> = layout
            .outputs()
            .map(|(_, place)| self.lowered.part(output.offset, place.offset, place.bytes))
            .collect();
        let section = self.lowered.islands.len() as u32;
        self.lowered.islands.push(island.section().to_vec());
        self.lowered.macs += island.macs();
        let op = plan::Island { section, input, output, macs: island.macs() };
        self.node_step(node, plan::Op::Island(op));
        self.island_outputs.insert(node.output, parts);
        Ok(())
    }

    /// By value: whether it depends on an island, so that it is not the same bits everywhere.
    pub(super) fn inexact(&self) -> Vec<bool> {
        let mut inexact = vec![false; self.graph.values.len()];
        for node in &self.graph.nodes {
            let is_island = matches!(node.op, crate::graph::Op::Island { .. });
            inexact[node.output.0] = is_island || node.inputs.iter().any(|input| inexact[input.0]);
        }
        inexact
    }
}
