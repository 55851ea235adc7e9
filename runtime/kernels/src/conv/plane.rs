//! Depthwise convolutions by planes: the part of the input that a strip of output lines reads, some channels of
//! it, is copied to a *plane* in the first-level cache, with its padding. So there are no borders to treat,
//! and what several pixels' taps read lies together.

use super::ConvShape;

/// What a kernel asks of its plane.
pub(super) struct Plane {
    /// Pixels that it has room for.
    pub pixels: usize,
    /// The least number of pixels of a line: of a narrower one there is as much as they read.
    pub tile: usize,
    /// The part of the input that a strip reads, all channels together: the blocks share its cache lines.
    pub strip_bytes: usize,
}

/// How the output is cut into strips.
pub(super) struct Strips {
    pub lines: usize,
    pub pixels: usize,
    /// Pixels of a line of the plane.
    pub width: usize,
}

impl Strips {
    /// `None` where the plane is too small.
    pub fn new(shape: &ConvShape, plane: &Plane) -> Option<Self> {
        let reach = |kernel: usize, dilation: usize| (kernel - 1).checked_mul(dilation)?.checked_add(1);
        let rows = reach(shape.kernel_h, shape.dilation_h)?;
        let columns = reach(shape.kernel_w, shape.dilation_w)?;
        // Of a line narrower than a tile, the plane has the whole tile.
        let least = shape.stride_w.checked_mul(plane.tile - 1)?.checked_add(columns)?;
        if rows.checked_mul(least)? > plane.pixels {
            return None;
        }
        let pixels = ((plane.pixels / rows - columns) / shape.stride_w + 1).min(shape.out_w);
        let width = (pixels.max(plane.tile) - 1) * shape.stride_w + columns;
        let line_bytes = (shape.in_w * shape.in_channels).saturating_mul(shape.stride_h);
        let lines = ((plane.pixels / width - rows) / shape.stride_h + 1)
            .min((plane.strip_bytes / line_bytes).max(1))
            .min(shape.out_h);
        Some(Self { lines, pixels, width })
    }
}

/// A part of one axis of the plane: where it begins, and which of it is inside the image.
pub(super) struct Axis {
    /// Positions of the plane before the image.
    pub before: usize,
    /// The first position of the image.
    first: usize,
    /// Positions of the image.
    pub inside: usize,
}

impl Axis {
    fn new(start: usize, pad: usize, len: usize, size: usize) -> Self {
        let before = pad.saturating_sub(start).min(len);
        let first = start.saturating_sub(pad);
        Self { before, first, inside: size.saturating_sub(first).min(len - before) }
    }
}

/// One strip: some lines and pixels of one image, all channels.
pub(super) struct Strip {
    pub lines: usize,
    pub pixels: usize,
    /// Lines of the plane.
    pub rows: usize,
    pub vertical: Axis,
    pub horizontal: Axis,
    /// Whether nothing of the plane is padding.
    pub is_inside: bool,
    /// The first of the input's elements that is inside, and the first of the output's, of channel 0.
    pub input: usize,
    pub out: usize,
}

impl Strip {
    /// The strip from `[oy, ox]` on.
    pub fn new(shape: &ConvShape, strips: &Strips, image: usize, [oy, ox]: [usize; 2]) -> Self {
        let lines = strips.lines.min(shape.out_h - oy);
        let rows = (lines - 1) * shape.stride_h + (shape.kernel_h - 1) * shape.dilation_h + 1;
        let vertical = Axis::new(oy * shape.stride_h, shape.pad_top, rows, shape.in_h);
        let horizontal = Axis::new(ox * shape.stride_w, shape.pad_left, strips.width, shape.in_w);
        let row = image * shape.in_h + vertical.first;
        Self {
            lines,
            pixels: strips.pixels.min(shape.out_w - ox),
            rows,
            is_inside: vertical.inside == rows && horizontal.inside == strips.width,
            input: (row * shape.in_w + horizontal.first) * shape.in_channels,
            out: ((image * shape.out_h + oy) * shape.out_w + ox) * shape.out_channels,
            vertical,
            horizontal,
        }
    }
}
