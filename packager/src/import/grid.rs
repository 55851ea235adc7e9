//! GridSample by a constant grid: each element of the result is a weighted sum of a few of the input's, so
//! that all of them are a product with a constant matrix.

use super::{Context, Importer};
use crate::error::Result;
use crate::graph::{Tensor, ValueId};

/// A larger matrix makes a larger package than anybody wants.
const MAX_WEIGHTS: usize = 1 << 24;

struct Sampling<'a> {
    mode: &'a str,
    padding: &'a str,
    align_corners: bool,
    /// Depth, height, width; or height, width.
    sizes: Vec<usize>,
}

pub(super) fn grid_sample(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let input = importer.input(context, 0)?;
    let dims = importer.graph.dims(input).to_vec();
    let grid = importer.constant(context, 1)?;
    let attributes = context.attributes();
    let [1, channels, sizes @ ..] = &dims[..] else {
        return Err(context.unsupported(
            &format!("samples a batch, of shape {dims:?}"),
            "edgepack samples one image by a constant grid: bind the batch to 1",
        ));
    };
    let rank = sizes.len();
    let fits = grid.dims.len() == rank + 2 && grid.dims[0] == 1 && grid.dims[rank + 1] == rank;
    if !fits || rank == 0 {
        return Err(context.invalid(format!("its grid of {:?} is none for {dims:?}", grid.dims)));
    }
    let sampling = Sampling {
        mode: match attributes.string("mode", "linear") {
            "bilinear" => "linear",
            "bicubic" => "cubic",
            mode => mode,
        },
        padding: attributes.string("padding_mode", "zeros"),
        align_corners: attributes.int("align_corners", 0) != 0,
        sizes: sizes.to_vec(),
    };
    let (outputs, inputs) = (grid.data.len() / rank, sizes.iter().product::<usize>());
    if outputs * inputs > MAX_WEIGHTS {
        return Err(context.unsupported(
            &format!("samples {inputs} pixels at {outputs} places, a matrix of {} weights", outputs * inputs),
            "resize the image before it, or sample at fewer places",
        ));
    }
    let mut matrix = vec![0.0; outputs * inputs];
    for (place, row) in grid.data.chunks_exact(rank).zip(matrix.chunks_exact_mut(inputs)) {
        for (index, weight) in sampling.weights(place) {
            row[index] += weight as f32;
        }
    }
    let matrix = Tensor::new(vec![outputs, inputs], matrix);
    let flat = importer.reshape_part(context, "pixels", input, vec![1, *channels, inputs]);
    let sampled: ValueId = importer.matrix_part(context, "sampled", flat, 2, matrix);
    let mut shape = vec![1, *channels];
    shape.extend(&grid.dims[1..=rank]);
    let result = importer.reshape_part(context, "in shape", sampled, shape);
    importer.result(context, 0, result)
}

impl Sampling<'_> {
    /// The pixels that a place is made of, and their weights. The grid has x first, then y, then z.
    fn weights(&self, place: &[f32]) -> Vec<(usize, f64)> {
        let mut all = vec![(0, 1.0)];
        for (axis, &size) in self.sizes.iter().enumerate() {
            let at = f64::from(place[place.len() - 1 - axis]);
            let along = self.along(at, size);
            let with = |(index, weight): (usize, f64)| {
                along.iter().map(move |&(next, factor)| (index * size + next, weight * factor))
            };
            all = all.into_iter().flat_map(with).collect();
        }
        all
    }

    fn along(&self, at: f64, size: usize) -> Vec<(usize, f64)> {
        let last = size as f64 - 1.0;
        let at = match self.align_corners {
            true => (at + 1.0) / 2.0 * last,
            false => ((at + 1.0) * size as f64 - 1.0) / 2.0,
        };
        let at = if self.mode == "nearest" { at.round_ties_even() } else { at };
        // Cubic weights are those of the place itself; only its neighbours are padded.
        let at = if self.mode == "cubic" { at } else { self.inside(at, size) };
        let floor = at.floor();
        let ratio = at - floor;
        let taps: Vec<(f64, f64)> = match self.mode {
            "nearest" => vec![(at, 1.0)],
            "cubic" => (-1..3).map(|k| (floor + f64::from(k), cubic(ratio - f64::from(k)))).collect(),
            _ => vec![(floor, 1.0 - ratio), (floor + 1.0, ratio)],
        };
        let taps = taps.into_iter().map(|(at, weight)| {
            let at = if self.padding == "zeros" { at } else { self.inside(at, size).clamp(0.0, last) };
            (at, weight)
        });
        let is_inside = |(at, weight): &(f64, f64)| (0.0..=last).contains(at) && *weight != 0.0;
        taps.filter(is_inside).map(|(at, weight)| (at as usize, weight)).collect()
    }

    /// A coordinate beyond the image, as the padding has it.
    fn inside(&self, at: f64, size: usize) -> f64 {
        let (low, high) = match self.align_corners {
            true => (0.0, size as f64 - 1.0),
            false => (-0.5, size as f64 - 0.5),
        };
        match self.padding {
            "border" => at.clamp(0.0, size as f64 - 1.0),
            "reflection" if high > low => {
                let span = high - low;
                let from_low = (at - low).rem_euclid(2.0 * span);
                low + from_low.min(2.0 * span - from_low)
            }
            _ => at,
        }
    }
}

/// Keys' kernel with a = -0.75.
fn cubic(x: f64) -> f64 {
    super::resize::cubic(x.abs(), -0.75)
}
