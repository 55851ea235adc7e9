//! A part of a convolution is a convolution: some of its images, lines, pixels or channels, with the
//! inputs and weights that these need. So kernels know nothing of threads, and every row computes parts.

use core::mem::take;
use core::ops::Range;

use super::{ConvArgs, ConvShape, Output, Residual, Row, WeightSource, Weights};
use crate::parts::{self, share};

/// Panels of weights that a block of channels is a multiple of: tiles take up to four at a time.
const BLOCK_PANELS: usize = 4;

/// Along which axis a convolution is cut. Parts are stretches of the output, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Axis {
    /// Whole images.
    Images,
    /// Output lines of the one image.
    Lines,
    /// Output pixels, of which each reads the one at its own place; so many to a tile.
    Pixels(usize),
    /// Output channels of the one pixel; so many to a block.
    Channels(usize),
    /// Not at all.
    Nothing,
}

impl Axis {
    fn of(row: &Row, shape: &ConvShape) -> Self {
        let one_by_one = (shape.kernel_h, shape.kernel_w, shape.stride_h, shape.stride_w) == (1, 1, 1, 1);
        let in_place = (shape.in_h, shape.in_w) == (shape.out_h, shape.out_w);
        let unpadded = (shape.pad_top, shape.pad_left) == (0, 0);
        // Below this line everything that is read lies in the padding, and no input would be left.
        let last_line = ((shape.out_h - 1).saturating_mul(shape.stride_h)).saturating_sub(shape.pad_top);
        match row.layout {
            Some(layout) if shape.output_pixels() == 1 && shape.groups == 1 => {
                Self::Channels(BLOCK_PANELS * layout.nr)
            }
            _ if one_by_one && in_place && unpadded => Self::Pixels(row.tile_pixels),
            _ if shape.batch > 1 => Self::Images,
            _ if last_line < shape.in_h => Self::Lines,
            _ => Self::Nothing,
        }
    }

    /// How many units there are to share.
    fn units(self, shape: &ConvShape) -> usize {
        match self {
            Self::Images => shape.batch,
            Self::Lines => shape.out_h,
            Self::Pixels(tile) => shape.output_pixels().div_ceil(tile),
            Self::Channels(block) => shape.out_channels.div_ceil(block),
            Self::Nothing => 1,
        }
    }

    /// The shape of some units, and the elements of the input that they read.
    fn part(self, shape: &ConvShape, units: &Range<usize>) -> (ConvShape, Range<usize>) {
        let all = 0..shape.input_elems();
        match self {
            Self::Images => {
                let image = shape.in_h * shape.in_w * shape.in_channels;
                (ConvShape { batch: units.len(), ..*shape }, units.start * image..units.end * image)
            }
            Self::Lines => {
                let top = units.start * shape.stride_h;
                let skipped = top.saturating_sub(shape.pad_top);
                let part = ConvShape {
                    in_h: shape.in_h - skipped,
                    out_h: units.len(),
                    pad_top: shape.pad_top.saturating_sub(top),
                    ..*shape
                };
                (part, skipped * shape.in_w * shape.in_channels..all.end)
            }
            Self::Pixels(tile) => {
                let end = (units.end * tile).min(shape.output_pixels());
                let pixels = units.start * tile..end;
                let (height, width) = (pixels.len(), 1);
                let part =
                    ConvShape { batch: 1, in_h: height, in_w: width, out_h: height, out_w: width, ..*shape };
                (part, pixels.start * shape.in_channels..pixels.end * shape.in_channels)
            }
            Self::Channels(block) => {
                let end = (units.end * block).min(shape.out_channels);
                (ConvShape { out_channels: end - units.start * block, ..*shape }, all)
            }
            Self::Nothing => (*shape, all),
        }
    }
}

/// Cuts a convolution by `row` into at most `parts.len()` of about the same work; gives how many there
/// are, at least one. They have no scratch memory but the first, which has that of `args`.
pub(super) fn split<'a>(row: &Row, args: ConvArgs<'a>, parts: &mut [Option<ConvArgs<'a>>]) -> usize {
    let ConvArgs { shape, input, input_zero_point, weights, mut output, mut residual, mut scratch } = args;
    let axis = Axis::of(row, &shape);
    let units = axis.units(&shape);
    let count = parts.len().min(units);
    for (index, part) in parts.iter_mut().enumerate().take(count) {
        let units = share(units, count, index);
        let (part_shape, read) = axis.part(&shape, &units);
        let weights = match axis {
            Axis::Channels(block) => weights_of(row, &part_shape, units.start * block, weights),
            _ => weights,
        };
        *part = Some(ConvArgs {
            shape: part_shape,
            // Where a slice is too short, the part's is as well, and is refused when it is run.
            input: input.get(read).unwrap_or(&[]),
            input_zero_point,
            weights,
            output: cut_front(&mut output, part_shape.output_elems()),
            residual: residual.as_mut().map(|residual| first_of(residual, part_shape.output_elems())),
            scratch: take(&mut scratch),
        });
    }
    count
}

/// The weights of the channels of `part`, which begin at `first`, a multiple of the panels'.
fn weights_of<'a>(row: &Row, part: &ConvShape, first: usize, weights: WeightSource<'a>) -> WeightSource<'a> {
    fn stretch<T>(all: &[T], start: usize, len: usize) -> &[T] {
        all.get(start..start + len).unwrap_or(&[])
    }
    match (weights, row.layout) {
        (WeightSource::Packed(bytes), Some(layout)) => {
            let start = first / layout.nr * layout.panel_bytes(part);
            WeightSource::Packed(stretch(bytes, start, layout.packed_bytes(part)))
        }
        (WeightSource::Canonical(all), _) => {
            let (channels, per_channel) = (part.out_channels, part.weight_elems() / part.out_channels);
            WeightSource::Canonical(Weights {
                weights: stretch(all.weights, first * per_channel, part.weight_elems()),
                bias: stretch(all.bias, first, channels),
                multiplier: stretch(all.multiplier, first, channels),
            })
        }
        (packed, None) => packed,
    }
}

/// Takes the first `elems` of an output, or what there is.
fn cut_front<'a>(output: &mut Output<'a>, elems: usize) -> Output<'a> {
    match output {
        Output::I8(all, range) => Output::I8(parts::cut_front(all, elems), *range),
        Output::F32(all) => Output::F32(parts::cut_front(all, elems)),
    }
}

/// Takes what belongs to the first `elems` of an output, or what there is.
fn first_of<'a>(residual: &mut Residual<'a>, elems: usize) -> Residual<'a> {
    let take = |values: &mut &'a [i8]| {
        let (first, rest) = values.split_at(elems.min(values.len()));
        *values = rest;
        first
    };
    Residual { values: residual.values.as_mut().map(take), ..*residual }
}
