//! Which channels can only be removed together: dependency groups.
//!
//! A position along an axis of a value belongs to a *unit*. Products with constants make new units, one for each
//! output channel; every other operation says how the positions of its result go with those of its operands. What
//! a sum adds belongs together, and so does what a product multiplies, a depthwise convolution's input and output,
//! and a constant's element beside the channel that it meets; a concatenation has the units of its parts one after
//! the other, and a channel that is flattened with its pixels is a block of columns. A unit that is removed is
//! removed wherever it is, so that all shapes fit again. These are the groups of Fang et al., "DepGraph: Towards
//! Any Structural Pruning" (2023), found by index instead of by layer, which is why a concatenation, a split or a
//! flattened image need no rules of their own.

use std::collections::{BTreeMap, HashSet};

use crate::graph::{Graph, Node, Op, ValueId};

/// The units along an axis, by index; `None` where everything stays.
type Axis = Option<Vec<usize>>;

/// Every unit of a graph.
#[derive(Clone, Debug)]
pub struct Units {
    parent: Vec<usize>,
    /// By unit: the node because of which it stays, or none of them where it is an input or output of the model.
    fixed: Vec<Option<Option<usize>>>,
    /// By value and axis.
    axes: Vec<Vec<Axis>>,
}

/// Units that the same products make, which compete with each other.
#[derive(Clone, Debug)]
pub struct Group {
    /// The products of whose output channels they are, in the graph's order.
    pub makers: Vec<usize>,
    /// The units.
    pub units: Vec<usize>,
}

/// Why the channels of a product stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stays {
    /// They are an output of the model, or added to one.
    OfTheModel,
    /// This node needs all of them.
    Node(usize),
    /// No product with constants reads them, so that none could make up for them.
    Unread,
}

impl Units {
    /// Finds them.
    pub fn of(graph: &Graph) -> Self {
        let axes = graph.values.iter().map(|value| vec![None; value.dims.len()]).collect();
        let mut units = Self { parent: Vec::new(), fixed: Vec::new(), axes };
        for (id, value) in graph.values.iter().enumerate().filter(|(_, value)| value.constant.is_some()) {
            for (axis, &dim) in value.dims.iter().enumerate().filter(|&(_, &dim)| dim > 1) {
                units.axes[id][axis] = Some(units.new_units(dim));
            }
        }
        for (index, node) in graph.nodes.iter().enumerate() {
            let result = units.walk(graph, index, node);
            units.axes[node.output.0] = result;
        }
        for &id in &graph.outputs {
            units.fix_value(id, None);
        }
        units.resolve();
        units
    }

    /// The unit of each index along an axis; `None` where all of them stay for the shape's sake.
    pub fn along(&self, id: ValueId, axis: usize) -> Option<&[usize]> {
        self.axes[id.0][axis].as_deref()
    }

    /// The units of a product's output channels, and of its input channels.
    pub fn of_product(&self, graph: &Graph, node: &Node) -> [Option<&[usize]>; 2] {
        let [reads, makes] = channel_axes(graph, node).unwrap_or_default();
        [self.along(node.output, makes), self.along(node.inputs[0], reads)]
    }

    /// How many there are; the joined ones are among them.
    pub fn count(&self) -> usize {
        self.parent.len()
    }

    /// Whether a unit stays.
    pub fn is_fixed(&self, unit: usize) -> bool {
        self.fixed[unit].is_some()
    }

    /// The units that may be removed, in groups; and what makes channels that may not, and why.
    pub fn groups(&self, graph: &Graph) -> (Vec<Group>, Vec<(usize, Stays)>) {
        let mut makers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut read = HashSet::new();
        let mut stay = Vec::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            if channel_axes(graph, node).is_none() {
                continue;
            }
            let [rows, columns] = self.of_product(graph, node);
            for &unit in rows.into_iter().flatten() {
                let makers = makers.entry(unit).or_default();
                if makers.last() != Some(&index) {
                    makers.push(index);
                }
            }
            if !is_depthwise(node) {
                read.extend(columns.into_iter().flatten().copied());
            }
        }
        let mut groups: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        for (unit, makers) in makers {
            if !self.is_fixed(unit) && read.contains(&unit) {
                groups.entry(makers).or_default().push(unit);
            }
        }
        for (index, node) in graph.nodes.iter().enumerate().filter(|(_, n)| channel_axes(graph, n).is_some())
        {
            let [rows, _] = self.of_product(graph, node);
            let why = rows.unwrap_or_default().iter().find_map(|&unit| match self.fixed[unit] {
                Some(None) => Some(Stays::OfTheModel),
                Some(Some(node)) => Some(Stays::Node(node)),
                None => (!read.contains(&unit)).then_some(Stays::Unread),
            });
            stay.extend(why.or(rows.is_none().then_some(Stays::Node(index))).map(|why| (index, why)));
        }
        let groups = groups.into_iter().map(|(makers, units)| Group { makers, units });
        (groups.collect(), stay)
    }

    fn new_units(&mut self, count: usize) -> Vec<usize> {
        let first = self.parent.len();
        self.parent.extend(first..first + count);
        self.fixed.resize(first + count, None);
        (first..first + count).collect()
    }

    fn root(&mut self, mut unit: usize) -> usize {
        while self.parent[unit] != unit {
            self.parent[unit] = self.parent[self.parent[unit]];
            unit = self.parent[unit];
        }
        unit
    }

    fn join_units(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        // The lower one stays the root, so that units keep the order of their makers.
        let (from, to) = (a.max(b), a.min(b));
        if from != to {
            self.parent[from] = to;
            self.fixed[to] = self.fixed[to].or(self.fixed[from]);
        }
    }

    fn fix(&mut self, axis: &Axis, because: Option<usize>) {
        for &unit in axis.iter().flatten() {
            let root = self.root(unit);
            self.fixed[root].get_or_insert(because);
        }
    }

    fn fix_value(&mut self, id: ValueId, because: Option<usize>) {
        for axis in self.axes[id.0].clone() {
            self.fix(&axis, because);
        }
    }

    /// Two axes of the same length that go with each other.
    fn join(&mut self, a: &Axis, b: &Axis, index: usize) -> Axis {
        match (a, b) {
            (Some(ours), Some(theirs)) => {
                ours.iter().zip(theirs).for_each(|(&a, &b)| self.join_units(a, b));
                a.clone()
            }
            (one, other) => {
                self.fix(one, Some(index));
                self.fix(other, Some(index));
                None
            }
        }
    }

    /// Axes of operands that are broadcast to a result.
    fn broadcast(&mut self, graph: &Graph, ids: &[ValueId], output: &[usize], index: usize) -> Vec<Axis> {
        let mut axis = |axis: usize| {
            let from_end = output.len() - axis;
            let full = ids.iter().filter_map(|&id| {
                let at = graph.dims(id).len().checked_sub(from_end)?;
                (graph.dims(id)[at] == output[axis]).then(|| self.axes[id.0][at].clone())
            });
            let full: Vec<Axis> = full.collect();
            let (first, others) = full.split_first()?;
            others.iter().fold(first.clone(), |joined, other| self.join(&joined, other, index))
        };
        (0..output.len()).map(&mut axis).collect()
    }

    /// How the positions of a node's result go with those of its operands.
    fn walk(&mut self, graph: &Graph, index: usize, node: &Node) -> Vec<Axis> {
        let (input, output) = (node.inputs[0], node.output);
        let dims = graph.dims(output);
        let mut axes = self.axes[input.0].clone();
        match &node.op {
            Op::Conv(conv) => {
                for axis in axes.iter().skip(2) {
                    self.fix(axis, Some(index));
                }
                let group_out = dims[1] / conv.groups;
                let makes = if is_depthwise(node) {
                    let each = |unit: &usize| std::iter::repeat_n(*unit, group_out);
                    axes[1].as_ref().map(|units| units.iter().flat_map(each).collect())
                } else {
                    // Groups stay alike: what one loses, all do.
                    if let Some(units) = axes[1].clone() {
                        let alike = units.len() / conv.groups;
                        (alike..units.len()).for_each(|i| self.join_units(units[i], units[i % alike]));
                    }
                    let units = self.new_units(group_out);
                    Some(units.iter().copied().cycle().take(dims[1]).collect())
                };
                axes.resize(dims.len(), None);
                axes[1] = makes.filter(|_| dims[1] > 1);
                axes[2..].fill(None);
                self.added(node, axes, index)
            }
            Op::FullyConnected(fc) => {
                let units = self.new_units(fc.bias.len());
                if let Some(makes) = axes.last_mut() {
                    *makes = Some(units).filter(|units| units.len() > 1);
                }
                self.added(node, axes, index)
            }
            Op::ChannelAffine { .. } | Op::Unary(_) | Op::Cast => axes,
            Op::Binary(_) | Op::Select => self.broadcast(graph, &node.inputs, dims, index),
            Op::Pool(..) => {
                for axis in axes.iter_mut().skip(2) {
                    self.fix(axis, Some(index));
                    *axis = None;
                }
                axes
            }
            Op::ReduceMean { first, count } => {
                let reduced = *first..first + count;
                reduced.clone().for_each(|axis| self.fix(&axes[axis], Some(index)));
                if dims.len() == axes.len() {
                    axes[reduced].fill(None);
                } else {
                    axes.drain(reduced);
                }
                axes
            }
            Op::Pad { pads, .. } => {
                for (axis, pad) in axes.iter_mut().zip(pads).filter(|(_, pad)| **pad != [0, 0]) {
                    // What is added at the ends is no channel, and stays.
                    let mut ends = pad.map(|count| self.new_units(count));
                    ends.iter().for_each(|end| self.fix(&Some(end.clone()), Some(index)));
                    let [before, after] = &mut ends;
                    *axis = axis.take().map(|units| {
                        before.extend(units);
                        before.append(after);
                        std::mem::take(before)
                    });
                }
                axes
            }
            Op::Concat { axis } => {
                for (other, units) in axes.iter_mut().enumerate().filter(|(other, _)| other != axis) {
                    for id in &node.inputs[1..] {
                        let theirs = self.axes[id.0][other].clone();
                        *units = self.join(&units.take(), &theirs, index);
                    }
                }
                let mut parts = Vec::new();
                for id in &node.inputs {
                    let part = self.axes[id.0][*axis].clone().unwrap_or_else(|| {
                        let units = self.new_units(graph.dims(*id)[*axis]);
                        self.fix(&Some(units.clone()), Some(index));
                        units
                    });
                    parts.extend(part);
                }
                axes[*axis] = Some(parts);
                axes
            }
            Op::Reshape => self.reshaped(graph.dims(input), dims, axes, index),
            Op::Transpose { perm } => perm.iter().map(|&axis| axes[axis].clone()).collect(),
            Op::Softmax { axis } => {
                self.fix(&axes[*axis], Some(index));
                axes[*axis] = None;
                axes
            }
            Op::Slice { starts, steps } => {
                for (axis, units) in axes.iter_mut().enumerate() {
                    let at = |i: usize| starts[axis] + i * steps[axis];
                    *units = units.take().map(|units| (0..dims[axis]).map(|i| units[at(i)]).collect());
                }
                axes
            }
            Op::Take { indices } => {
                for (units, indices) in axes.iter_mut().zip(indices) {
                    if let (Some(units), Some(indices)) = (units.as_mut(), indices) {
                        *units = indices.iter().map(|&index| units[index]).collect();
                    }
                }
                axes
            }
            Op::MatMul => {
                let [left, right] = [0, 1].map(|i| self.axes[node.inputs[i].0].clone());
                let (rows, columns) = (left.len() - 2, right.len() - 1);
                self.join(&left[rows + 1], &right[columns - 1], index);
                let batch = |id: ValueId| graph.dims(id).len() - 2;
                let mut axes = vec![None; dims.len()];
                let lead = dims.len() - 2;
                for axis in 0..lead {
                    let of = [0, 1].map(|i| {
                        let id = node.inputs[i];
                        let at = (axis + batch(id)).checked_sub(lead)?;
                        (graph.dims(id)[at] == dims[axis]).then(|| self.axes[id.0][at].clone())
                    });
                    axes[axis] = match of {
                        [Some(a), Some(b)] => self.join(&a, &b, index),
                        [a, b] => a.or(b).flatten(),
                    };
                }
                axes[lead] = left[rows].clone();
                axes[lead + 1] = right[columns].clone();
                axes
            }
            Op::LayerNorm(norm) => {
                for axis in &mut axes[norm.axis..] {
                    self.fix(axis, Some(index));
                    *axis = None;
                }
                axes
            }
            // Hidden states are multiplied by themselves, time after time: gates and states would have to go
            // together through the recurrence. And what is not known is left alone.
            _ => {
                node.inputs.iter().for_each(|&id| self.fix_value(id, Some(index)));
                vec![None; dims.len()]
            }
        }
    }

    /// A product's result goes with what is added to it.
    fn added(&mut self, node: &Node, mut axes: Vec<Axis>, index: usize) -> Vec<Axis> {
        if let Some(added) = node.inputs.get(1) {
            for (axis, units) in axes.iter_mut().enumerate() {
                let theirs = self.axes[added.0][axis].clone();
                *units = self.join(&units.take(), &theirs, index);
            }
        }
        axes
    }

    /// Row-major elements under another shape. Axes split into blocks of the same product; in a block at most
    /// one axis may lose positions on either side, on the other side the outermost: what lies in one of its
    /// rows goes together (a group of channels, a head of an attention), and for a flattened image that is one
    /// position a row.
    fn reshaped(&mut self, from: &[usize], to: &[usize], axes: Vec<Axis>, index: usize) -> Vec<Axis> {
        let mut result = vec![None; to.len()];
        let (mut i, mut j) = (0, 0);
        while i < from.len() || j < to.len() {
            let (first_in, first_out) = (i, j);
            let (mut a, mut b) = (from.get(i).copied().unwrap_or(1), to.get(j).copied().unwrap_or(1));
            (i, j) = (i + 1, j + 1);
            while a != b {
                if a < b {
                    a *= from[i];
                    i += 1;
                } else {
                    b *= to[j];
                    j += 1;
                }
            }
            let (last_in, last_out) = (i.min(from.len()), j.min(to.len()));
            let block = first_in.min(last_in)..last_in;
            let free: Vec<usize> = block.filter(|&axis| axes[axis].is_some()).collect();
            let outer = (first_out.min(last_out)..last_out).find(|&axis| to[axis] > 1);
            let (&[free], Some(outer)) = (&free[..], outer) else {
                free.iter().for_each(|&axis| self.fix(&axes[axis], Some(index)));
                continue;
            };
            let units = axes[free].clone().unwrap_or_default();
            let inner: usize = from[free + 1..last_in].iter().product();
            let row: usize = to[outer + 1..last_out].iter().product();
            let mut rows: Vec<Option<usize>> = vec![None; to[outer]];
            for position in 0..a {
                let unit = units[position / inner % units.len()];
                match rows[position / row] {
                    Some(first) => self.join_units(first, unit),
                    None => rows[position / row] = Some(unit),
                }
            }
            result[outer] = Some(rows.into_iter().flatten().collect());
        }
        result
    }

    /// Every position says the root of its unit.
    fn resolve(&mut self) {
        for unit in 0..self.parent.len() {
            let root = self.root(unit);
            self.parent[unit] = root;
            if unit != root {
                self.fixed[unit] = self.fixed[root];
            }
        }
        for unit in self.axes.iter_mut().flatten().flatten().flatten() {
            *unit = self.parent[*unit];
        }
    }
}

/// The axes of the channels that a product with constants reads, and makes; `None` for other nodes.
pub fn channel_axes(graph: &Graph, node: &Node) -> Option<[usize; 2]> {
    match &node.op {
        Op::Conv(_) => Some([1, 1]),
        Op::FullyConnected(_) => {
            Some([node.inputs[0], node.output].map(|id| graph.dims(id).len().saturating_sub(1)))
        }
        _ => None,
    }
}

/// Whether each input channel makes output channels of its own.
pub fn is_depthwise(node: &Node) -> bool {
    matches!(&node.op, Op::Conv(conv) if conv.groups > 1 && conv.weights.dims[1] == 1)
}
