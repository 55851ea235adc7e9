//! Operations that choose by integers which the model computes: Gather and its kin, OneHot, Scatter, ArgMax, TopK.
//!
//! What chooses elements becomes a choice of rows: a tensor's elements in order are its rows, and the place of
//! each is computed, in integers.

use super::reshape::axis;
use super::{Context, Importer};
use crate::error::Result;
use crate::evaluate::{Strided, strides};
use crate::graph::{BinaryKind, Op, Tensor, TopK, ValueId};
use crate::unary::{Comparison, Unary};

pub(super) fn gather(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let (data, indices) = (importer.input(context, 0)?, importer.input(context, 1)?);
    let rank = importer.graph.dims(data).len();
    let along = axis(context, context.attributes().int("axis", 0), rank)?;
    let result = importer.rows(context, data, along, indices);
    importer.result(context, 0, result)
}

pub(super) fn gather_elements(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let (data, indices) = (importer.input(context, 0)?, importer.input(context, 1)?);
    let along = axis(context, context.attributes().int("axis", 0), importer.graph.dims(data).len())?;
    let places = importer.places_along(context, data, along, indices)?;
    let elems = importer.graph.dims(data).iter().product();
    let row = importer.reshape_part(context, "in a row", data, vec![elems]);
    let result = importer.rows(context, row, 0, places);
    importer.result(context, 0, result)
}

pub(super) fn gather_nd(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let (data, indices) = (importer.input(context, 0)?, importer.input(context, 1)?);
    let batch = context.attributes().int("batch_dims", 0).max(0) as usize;
    let (places, inner) = importer.places_of_points(context, data, batch, indices)?;
    let dims = importer.graph.dims(data).to_vec();
    let lead = dims.len() - inner;
    let rows = [&[dims[..lead].iter().product()], &dims[lead..]].concat();
    let rows = importer.reshape_part(context, "in rows", data, rows);
    let result = importer.rows(context, rows, 0, places);
    importer.result(context, 0, result)
}

/// ScatterElements (Scatter before opset 11) and ScatterND.
pub(super) fn scatter(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let [data, indices, updates] = [0, 1, 2].map(|index| importer.input(context, index));
    let (data, indices, updates) = (data?, indices?, updates?);
    let reduction = context.attributes().string("reduction", "none");
    if reduction != "none" {
        return Err(context.unsupported(
            &format!("scatters with the reduction `{reduction}`"),
            "edgepack replaces what is there: compute the reduction before it",
        ));
    }
    let dims = importer.graph.dims(data).to_vec();
    let (places, inner) = match context.node.op_type.as_str() {
        "ScatterND" => importer.places_of_points(context, data, 0, indices)?,
        _ => {
            let along = axis(context, context.attributes().int("axis", 0), dims.len())?;
            (importer.places_along(context, data, along, indices)?, 0)
        }
    };
    let block = &dims[dims.len() - inner..];
    let rows = [&[dims[..dims.len() - inner].iter().product()], block].concat();
    let count: usize = importer.graph.dims(places).iter().product();
    if importer.graph.dims(updates).iter().product::<usize>() != count * block.iter().product::<usize>() {
        return Err(
            context.invalid(format!("{count} indices, but updates {:?}", importer.graph.dims(updates)))
        );
    }
    let places = importer.reshape_part(context, "places", places, vec![count]);
    let updates = importer.reshape_part(context, "updates", updates, [&[count], block].concat());
    let data = importer.reshape_part(context, "in rows", data, rows.clone());
    let result = importer.part(context, "scattered", Op::Scatter, vec![data, places, updates], rows);
    let result = importer.reshape_part(context, "in shape", result, dims);
    importer.result(context, 0, result)
}

const EQUAL: BinaryKind = BinaryKind::Compare(Comparison::Equal);

/// `index == 0, 1, 2, ..` along a new axis.
pub(super) fn one_hot(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let (indices, values) = (importer.input(context, 0)?, importer.constant(context, 2)?);
    let depth = importer.integers(context, 1)?.and_then(|depth| depth.first().copied()).unwrap_or(0);
    let &[off, on] = &values.data[..] else {
        return Err(context.invalid(format!("its values are {:?}, not two", values.data)));
    };
    if depth < 1 {
        return Err(context.invalid(format!("its depth is {depth}")));
    }
    let mut dims = importer.graph.dims(indices).to_vec();
    let along = axis(context, context.attributes().int("axis", -1), dims.len() + 1)?;
    let from_front = importer.unary_part(context, "from the front", from_front(depth as usize), indices);
    dims.insert(along, 1);
    let column = importer.reshape_part(context, "column", from_front, dims.clone());
    let mut counted = vec![1; dims.len()];
    counted[along] = depth as usize;
    let counted = Tensor::new(counted, (0..depth).map(|i| i as f32).collect());
    let counted = importer.constant_part(context, "counted", counted);
    let mut result = importer.binary_part(context, "one hot", EQUAL, [column, counted])?;
    let function = Unary::Affine { scale: on - off, shift: off };
    if function != Unary::IDENTITY {
        result = importer.unary_part(context, "of its values", function, result);
    }
    importer.result(context, 0, result)
}

/// Hardmax: 1 where the first of the greatest values along an axis is, else 0.
pub(super) fn hardmax(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let dims = importer.graph.dims(input).to_vec();
    // Before opset 13 it ran over all axes from `axis` on.
    let (default, all) = if context.opset < 13 { (1, true) } else { (-1, false) };
    let along = axis(context, context.attributes().int("axis", default), dims.len())?;
    let end = if all { dims.len() } else { along + 1 };
    let [outer, size, inner] =
        [&dims[..along], &dims[along..end], &dims[end..]].map(|of| of.iter().product());
    let rows = importer.reshape_part(context, "rows", input, vec![outer, size, inner]);
    let of = TopK { axis: 1, k: 1, largest: true, last: false };
    let place = importer.part(context, "place", Op::TopK(of), vec![rows], vec![outer, 1, inner]);
    let counted = Tensor::new(vec![1, size, 1], (0..size).map(|i| i as f32).collect());
    let counted = importer.constant_part(context, "counted", counted);
    let hot = importer.binary_part(context, "one hot", EQUAL, [place, counted])?;
    let result = importer.reshape_part(context, "in shape", hot, dims);
    importer.result(context, 0, result)
}

/// ArgMax and ArgMin.
pub(super) fn arg(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let attributes = context.attributes();
    let mut dims = importer.graph.dims(input).to_vec();
    let along = axis(context, attributes.int("axis", 0), dims.len())?;
    dims[along] = 1;
    let largest = context.node.op_type == "ArgMax";
    let of = TopK { axis: along, k: 1, largest, last: attributes.int("select_last_index", 0) != 0 };
    let mut result = importer.part(context, "index", Op::TopK(of), vec![input], dims.clone());
    if attributes.int("keepdims", 1) == 0 {
        dims.remove(along);
        result = importer.reshape_part(context, "without its axis", result, dims);
    }
    importer.result(context, 0, result)
}

/// The places are selected, and the values taken from them.
pub(super) fn top_k(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let attributes = context.attributes();
    let mut dims = importer.graph.dims(input).to_vec();
    let along = axis(context, attributes.int("axis", -1), dims.len())?;
    // An attribute until opset 9, an input after it.
    let k = match attributes.int("k", 0) {
        k @ 1.. => k,
        _ => importer.integers(context, 1)?.and_then(|k| k.first().copied()).unwrap_or(0),
    };
    if k < 1 || k > dims[along] as i64 {
        return Err(context.invalid(format!("takes {k} of {} along axis {along}", dims[along])));
    }
    dims[along] = k as usize;
    let of = TopK { axis: along, k: k as usize, largest: attributes.int("largest", 1) != 0, last: false };
    let indices = importer.part(context, "indices", Op::TopK(of), vec![input], dims);
    if context.node.output.first().is_some_and(|name| !name.is_empty()) {
        let places = importer.places_along(context, input, along, indices)?;
        let elems = importer.graph.dims(input).iter().product();
        let row = importer.reshape_part(context, "in a row", input, vec![elems]);
        let values = importer.rows(context, row, 0, places);
        importer.result(context, 0, values)?;
    }
    importer.result(context, 1, indices)
}

/// An index from the front: the nearest of 0 … `rows - 1` but for what is beyond them in the model, too.
fn from_front(rows: usize) -> Unary {
    let below = Unary::Compare { comparison: Comparison::Less, than: 0.0 }
        .then(Unary::Affine { scale: rows as f32, shift: 0.0 });
    Unary::Both(BinaryKind::Add, Box::new([Unary::IDENTITY, below]))
}

impl Importer {
    /// Rows along an axis, chosen by a value that is computed (or that a step must have in memory).
    fn rows(&mut self, context: &Context<'_>, data: ValueId, along: usize, indices: ValueId) -> ValueId {
        let dims = self.graph.dims(data).to_vec();
        let chosen = self.graph.dims(indices).to_vec();
        let whole = [&dims[..along], &chosen, &dims[along + 1..]].concat();
        let Some(table) = self.graph.value(data).constant.clone() else {
            return self.part(context, "rows", Op::Gather { axis: along }, vec![data, indices], whole);
        };
        // The rows of a constant, one after the other.
        let mut perm: Vec<usize> = (0..dims.len()).filter(|&other| other != along).collect();
        perm.insert(0, along);
        let own = strides(&dims);
        let permuted: Vec<usize> = perm.iter().map(|&axis| own[axis]).collect();
        let by_row: Vec<usize> = perm.iter().map(|&axis| dims[axis]).collect();
        let values = Strided::new(&by_row, &permuted).map(|at| table.data[at]).collect();
        let width = by_row[1..].iter().product();
        let table = Tensor::new(vec![by_row[0], width], values);
        let embedded = [&chosen[..], &by_row[1..]].concat();
        let result = self.part(context, "embedded", Op::Embed { table }, vec![indices], embedded);
        // The indices' axes go where the axis was.
        let count = chosen.len();
        let back = (count..count + along).chain(0..count).chain(count + along..count + dims.len() - 1);
        self.transpose_part(context, "rows", result, back.collect())
    }

    /// The place in a tensor of what indices of its own rank choose along an axis.
    fn places_along(
        &mut self,
        context: &Context<'_>,
        data: ValueId,
        along: usize,
        indices: ValueId,
    ) -> Result<ValueId> {
        let (dims, shape) = (self.graph.dims(data).to_vec(), self.graph.dims(indices).to_vec());
        let fits = |axis: usize| axis == along || shape[axis] <= dims[axis];
        if shape.len() != dims.len() || !(0..shape.len()).all(fits) {
            return Err(context.invalid(format!("indices of shape {shape:?} for {dims:?}")));
        }
        let mut own = strides(&dims);
        let step = std::mem::replace(&mut own[along], 0);
        let others = Strided::new(&shape, &own).map(|at| at as f32).collect();
        let others = self.constant_part(context, "others", Tensor::new(shape, others));
        let place = self.scaled_index(context, "place", indices, dims[along], step);
        self.binary_part(context, "places", BinaryKind::Add, [place, others])
    }

    /// The places of the rows that points (the last axis of indices) name, behind so many axes that both have in
    /// common; and the number of axes of a row.
    fn places_of_points(
        &mut self,
        context: &Context<'_>,
        data: ValueId,
        batch: usize,
        indices: ValueId,
    ) -> Result<(ValueId, usize)> {
        let (dims, shape) = (self.graph.dims(data).to_vec(), self.graph.dims(indices).to_vec());
        let depth = shape.last().copied().unwrap_or(0);
        let shared = shape.len() > batch && dims.get(..batch) == shape.get(..batch);
        if depth == 0 || batch + depth > dims.len() || !shared {
            return Err(context.invalid(format!("indices of shape {shape:?} for {dims:?}")));
        }
        let rows = &dims[..batch + depth];
        let points = &shape[..shape.len() - 1];
        let own = strides(rows);
        let mut by_batch = vec![0; points.len()];
        by_batch[..batch].copy_from_slice(&own[..batch]);
        let others = Strided::new(points, &by_batch).map(|at| at as f32).collect();
        let mut place = self.constant_part(context, "of the batch", Tensor::new(points.to_vec(), others));
        for axis in 0..depth {
            let (mut starts, mut one) = (vec![0; shape.len()], shape.clone());
            (starts[shape.len() - 1], one[shape.len() - 1]) = (axis, 1);
            let op = Op::Slice { starts, steps: vec![1; shape.len()] };
            let index = self.part(context, &format!("axis {axis}"), op, vec![indices], one);
            let index = self.reshape_part(context, &format!("axis {axis}, points"), index, points.to_vec());
            let (size, step) = (rows[batch + axis], own[batch + axis]);
            let index = self.scaled_index(context, &format!("axis {axis}, place"), index, size, step);
            place = self.binary_part(context, &format!("places, {axis}"), BinaryKind::Add, [index, place])?;
        }
        Ok((place, dims.len() - batch - depth))
    }

    /// An index from the front, times the distance of its rows.
    fn scaled_index(
        &mut self,
        context: &Context<'_>,
        what: &str,
        index: ValueId,
        rows: usize,
        step: usize,
    ) -> ValueId {
        let inside = Unary::Clip { min: 0.0, max: rows as f32 - 1.0 };
        let function = from_front(rows).then(inside).then(Unary::Affine { scale: step as f32, shift: 0.0 });
        self.unary_part(context, what, function, index)
    }
}
