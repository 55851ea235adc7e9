//! The driver that turns a convolution into tiles: rows are output pixels, columns output channels,
//! and a tile reads its rows through pointers, so that nothing like an im2col matrix is made.

use super::pack::{Layout, TapKind, Taps};
use super::{ConvArgs, ConvShape, Output, WeightSource};
use crate::requantize::OutputRange;

/// The weights that one sweep over the pixels may use: they stay in the second-level cache of the
/// small processors (512 kB on a Cortex-A53 or A72), beside the input rows.
const SWEEP_BYTES: usize = 128 * 1024;

/// The kernel of one ISA.
pub(super) struct Micro {
    /// MR: pixels of a tile.
    pub pixels: usize,
    /// How the weights are packed.
    pub layout: &'static Layout,
    /// Computes one tile.
    ///
    /// # Safety
    /// As [`Tile`] documents, on a processor with the ISA.
    pub tile: unsafe fn(&Tile),
}

/// One tile: `live_pixels` × `live_channels` outputs.
pub(super) struct Tile {
    /// `[MR][taps]`, each to `tap_elems` readable int8 values. Rows beyond `live_pixels` repeat one.
    pub rows: *const *const i8,
    /// Taps.
    pub taps: usize,
    /// Values of one tap: a multiple of the layout's `k_multiple`.
    pub tap_elems: usize,
    /// The first panel; aligned to 64 bytes.
    pub panel: *const u8,
    /// From one panel to the next.
    pub panel_bytes: usize,
    /// Pixels to store, 1 to MR.
    pub live_pixels: usize,
    /// Channels to store, at least 1: they span `live_channels.div_ceil(NR)` panels.
    pub live_channels: usize,
    /// Where pixel 0, channel 0 goes.
    pub out: TileOutput,
    /// Elements from one pixel to the next.
    pub out_stride: usize,
}

/// Where a tile's results go.
#[derive(Clone, Copy)]
pub(super) enum TileOutput {
    /// Requantized.
    I8(*mut i8, OutputRange),
    /// Accumulator times multiplier.
    F32(*mut f32),
}

impl TileOutput {
    /// The same output, `elems` further.
    ///
    /// # Safety
    /// The position must be inside the output or one past it.
    #[inline(always)]
    pub unsafe fn add(self, elems: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::I8(out, range) => Self::I8(out.add(elems), range),
                Self::F32(out) => Self::F32(out.add(elems)),
            }
        }
    }
}

/// Runs a convolution by tiles of `micro`.
///
/// # Safety
/// `args` as [`ConvArgs`] documents, packed for `micro.layout`; the processor has the ISA of
/// `micro.tile`.
pub(super) unsafe fn run(args: &mut ConvArgs<'_>, micro: &Micro) {
    let shape = args.shape;
    let layout = micro.layout;
    let WeightSource::Packed(packed) = args.weights else { return };
    let taps = layout.taps(&shape);
    let mut rows = Rows::new(args, micro, taps);
    let out = match &mut args.output {
        Output::I8(out, range) => TileOutput::I8(out.as_mut_ptr(), *range),
        Output::F32(out) => TileOutput::F32(out.as_mut_ptr()),
    };
    let panel_bytes = layout.panel_bytes(&shape);
    let panels = layout.panels(&shape);
    // Tiles take up to four panels at a time: a sweep of three would leave a part of one unused.
    let sweep = (SWEEP_BYTES / panel_bytes).next_multiple_of(4).clamp(1, panels);
    for group in 0..shape.groups {
        for first_panel in (0..panels).step_by(sweep) {
            let first_channel = first_panel * layout.nr;
            let live_channels = (sweep * layout.nr).min(shape.group_out_channels() - first_channel);
            for pixel in (0..shape.output_pixels()).step_by(micro.pixels) {
                let live_pixels = micro.pixels.min(shape.output_pixels() - pixel);
                // SAFETY: `Rows` points every row at `tap_elems` readable values; the panels are
                // inside `packed`, whose length was checked against the layout; the output
                // position is inside `[pixels, out_channels]`.
                unsafe {
                    let rows = rows.point_at(group, pixel, live_pixels);
                    (micro.tile)(&Tile {
                        rows,
                        taps: taps.count,
                        tap_elems: taps.elems,
                        panel: packed.as_ptr().add((group * panels + first_panel) * panel_bytes),
                        panel_bytes,
                        live_pixels,
                        live_channels,
                        out: out.add(
                            pixel * shape.out_channels + group * shape.group_out_channels() + first_channel,
                        ),
                        out_stride: shape.out_channels,
                    });
                }
            }
        }
    }
}

/// The pointers of a tile and the memory that they may point to beside the input.
struct Rows {
    shape: ConvShape,
    input: *const i8,
    input_end: *const i8,
    zero_point: i8,
    mr: usize,
    taps: Taps,
    /// Whether output pixel `i` reads input pixel `i` and no other.
    is_pointwise: bool,
    /// Output rows and columns whose taps are all inside the image.
    interior_y: (usize, usize),
    interior_x: (usize, usize),
    /// `[MR][taps]`.
    pointers: *mut *const i8,
    /// `[taps]`: from the input at a pixel's first tap to its others.
    offsets: *const usize,
    /// From a pixel's first tap to where the last of its lines has been read.
    line_reach: usize,
    zero_row: *const i8,
    gathered: *mut i8,
    gathered_stride: usize,
}

/// The output positions along one axis whose taps are all inside: first, and one beyond the last.
fn interior(
    size: usize,
    out: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    pad: usize,
) -> (usize, usize) {
    let reach = (kernel - 1) * dilation;
    let end = match (size + pad).checked_sub(reach + 1) {
        Some(last) => (last / stride + 1).min(out),
        None => 0,
    };
    (pad.div_ceil(stride), end)
}

impl Rows {
    fn new(args: &mut ConvArgs<'_>, micro: &Micro, taps: Taps) -> Self {
        let shape = args.shape;
        let scratch = micro.layout.scratch(&shape, micro.pixels);
        let (pointers, rest) = args.scratch.split_at_mut(scratch.pointers);
        let (offsets, rest) = rest.split_at_mut(scratch.offsets);
        let (zero_row, gathered) = rest.split_at_mut(scratch.row);
        zero_row.fill(args.input_zero_point as u8);
        let offset = |tap: usize| {
            let (ky, kx) = match taps.kind {
                TapKind::Pixels => (tap / shape.kernel_w, tap % shape.kernel_w),
                TapKind::Lines | TapKind::Gathered => (tap, 0),
            };
            // Not used where the kernel reaches beyond the image, and may be anything there.
            let lines = (ky * shape.dilation_h).wrapping_mul(shape.in_w);
            lines.wrapping_add(kx * shape.dilation_w).wrapping_mul(shape.in_channels)
        };
        for (tap, to) in offsets.chunks_exact_mut(size_of::<usize>()).take(taps.count).enumerate() {
            to.copy_from_slice(&offset(tap).to_ne_bytes());
        }
        let is_pointwise = taps.kind == TapKind::Pixels
            && (shape.kernel_h, shape.kernel_w, shape.stride_h, shape.stride_w) == (1, 1, 1, 1)
            && (shape.out_h, shape.out_w) == (shape.in_h, shape.in_w)
            && (shape.pad_top, shape.pad_left) == (0, 0);
        Self {
            shape,
            is_pointwise,
            input: args.input.as_ptr(),
            input_end: args.input.as_ptr_range().end,
            zero_point: args.input_zero_point,
            mr: micro.pixels,
            taps,
            interior_y: interior(
                shape.in_h,
                shape.out_h,
                shape.kernel_h,
                shape.stride_h,
                shape.dilation_h,
                shape.pad_top,
            ),
            interior_x: interior(
                shape.in_w,
                shape.out_w,
                shape.kernel_w,
                shape.stride_w,
                shape.dilation_w,
                shape.pad_left,
            ),
            pointers: pointers.as_mut_ptr().cast(),
            offsets: offsets.as_ptr().cast(),
            line_reach: ((shape.kernel_h - 1) * shape.dilation_h)
                .wrapping_mul(shape.in_w * shape.in_channels)
                .wrapping_add(taps.elems),
            zero_row: zero_row.as_ptr().cast(),
            gathered: gathered.as_mut_ptr().cast(),
            gathered_stride: scratch.row,
        }
    }

    /// Points the rows at the inputs of `live` output pixels from `first` on (counted over the
    /// whole batch), for one group.
    ///
    /// # Safety
    /// The pixels exist; the memory given to `new` is still there.
    #[inline(always)]
    unsafe fn point_at(&mut self, group: usize, first: usize, live: usize) -> *const *const i8 {
        let shape = &self.shape;
        if self.is_pointwise {
            for row in 0..self.mr {
                let pixel = first + row.min(live - 1);
                let offset = pixel * shape.in_channels + group * shape.group_in_channels();
                // SAFETY: input and output have the same pixels; `row < MR`.
                unsafe { *self.pointers.add(row) = self.input.add(offset) };
            }
            return self.pointers;
        }
        let pixels = shape.out_h * shape.out_w;
        let (mut image, in_image) = (first / pixels, first % pixels);
        let (mut oy, mut ox) = (in_image / shape.out_w, in_image % shape.out_w);
        let (line, step) = (shape.in_w * shape.in_channels, shape.stride_w * shape.in_channels);
        let mut row = 0;
        while row < live {
            // The pixels of one output line.
            let run = (live - row).min(shape.out_w - ox);
            let inside = if (self.interior_y.0..self.interior_y.1).contains(&oy) {
                self.interior_x.0..self.interior_x.1
            } else {
                0..0
            };
            let origin =
                self.input.wrapping_add(image * shape.in_h * line + group * shape.group_in_channels());
            // Where the first tap of pixel `ox` is, if that is inside.
            let top = (oy * shape.stride_h).wrapping_sub(shape.pad_top);
            let left = (ox * shape.stride_w).wrapping_sub(shape.pad_left);
            let mut corner = origin
                .wrapping_add(top.wrapping_mul(line))
                .wrapping_add(left.wrapping_mul(shape.in_channels));
            for (row, ox) in (row..row + run).zip(ox..) {
                // SAFETY: `image` and the group are inside the input; `row < live <= MR`; of an interior
                // pixel the first tap, and every other one, is inside the image.
                unsafe { self.point_row(row, origin, corner, [oy, ox], inside.contains(&ox)) };
                corner = corner.wrapping_add(step);
            }
            row += run;
            (ox, oy) = (0, oy + 1);
            if oy == shape.out_h {
                (oy, image) = (0, image + 1);
            }
        }
        for row in live..self.mr {
            for tap in 0..self.taps.count {
                // SAFETY: both positions are inside `[MR][taps]`; row 0 is always live.
                unsafe { *self.pointers.add(row * self.taps.count + tap) = *self.pointers.add(tap) };
            }
        }
        self.pointers
    }

    /// Points one row at the taps of output pixel `[oy, ox]`.
    ///
    /// # Safety
    /// `origin` is the image's first pixel at the group's first channel; `corner`, where the pixel is
    /// interior, its first tap; `row < MR`.
    #[inline(always)]
    unsafe fn point_row(
        &self,
        row: usize,
        origin: *const i8,
        corner: *const i8,
        [oy, ox]: [usize; 2],
        is_interior: bool,
    ) {
        // SAFETY: the caller's promise; every row has room for its pointers and its values.
        unsafe {
            let pointers = self.pointers.add(row * self.taps.count);
            let direct = is_interior
                && match self.taps.kind {
                    TapKind::Pixels => true,
                    TapKind::Lines => corner.addr() + self.line_reach <= self.input_end.addr(),
                    TapKind::Gathered => false,
                };
            if direct {
                let pointers = core::slice::from_raw_parts_mut(pointers, self.taps.count);
                let offsets = core::slice::from_raw_parts(self.offsets, self.taps.count);
                point_from(corner, offsets, pointers);
            } else if self.taps.kind == TapKind::Pixels {
                self.point(origin, oy, ox, pointers);
            } else {
                let to = self.gathered.add(row * self.gathered_stride);
                self.gather(origin, oy, ox, to);
                for tap in 0..self.taps.count {
                    *pointers.add(tap) = to.add(tap * self.taps.elems);
                }
            }
        }
    }

    /// From one line of gathered values to the next.
    fn line_stride(&self) -> usize {
        match self.taps.kind {
            TapKind::Lines => self.taps.elems,
            TapKind::Pixels | TapKind::Gathered => self.shape.kernel_w * self.shape.group_in_channels(),
        }
    }

    /// # Safety
    /// `origin` is the image's first pixel at the group's first channel; `pointers` has room for the
    /// taps.
    #[inline(never)]
    unsafe fn point(&self, origin: *const i8, oy: usize, ox: usize, pointers: *mut *const i8) {
        let shape = &self.shape;
        let mut tap = 0;
        for ky in 0..shape.kernel_h {
            let y = shape.input_row(oy, ky);
            for kx in 0..shape.kernel_w {
                // SAFETY: the position is inside the image; `tap` is one of the taps.
                unsafe {
                    *pointers.add(tap) = match (y, shape.input_column(ox, kx)) {
                        (Some(y), Some(x)) => origin.add((y * shape.in_w + x) * shape.in_channels),
                        _ => self.zero_row,
                    };
                }
                tap += 1;
            }
        }
    }

    /// Copies the `kh * kw * channels` inputs of one output pixel to `to`; where taps are lines, each to
    /// its tap. What lies between them meets zero weights.
    ///
    /// # Safety
    /// `origin` as in `point`; `to` has room for `tap_elems`.
    #[inline(never)]
    unsafe fn gather(&self, origin: *const i8, oy: usize, ox: usize, to: *mut i8) {
        let shape = &self.shape;
        let channels = shape.group_in_channels();
        let whole_rows = shape.groups == 1 && shape.dilation_w == 1;
        let left = ox * shape.stride_w;
        for ky in 0..shape.kernel_h {
            // SAFETY: `to` has room for every tap; reads are inside the image, as the bounds of
            // `input_row` and `input_column`, or of the clipped columns, say.
            unsafe {
                let to = to.add(ky * self.line_stride());
                let Some(y) = shape.input_row(oy, ky) else {
                    to.write_bytes(self.zero_point as u8, shape.kernel_w * channels);
                    continue;
                };
                let line = origin.add(y * shape.in_w * shape.in_channels);
                if whole_rows {
                    // Columns `skip .. skip + inside` of the kernel are inside the image.
                    let skip = shape.pad_left.saturating_sub(left).min(shape.kernel_w);
                    let start = (left + skip).saturating_sub(shape.pad_left);
                    let inside = shape.in_w.saturating_sub(start).min(shape.kernel_w - skip);
                    let after = shape.kernel_w - skip - inside;
                    if skip + after > 0 {
                        to.write_bytes(self.zero_point as u8, shape.kernel_w * channels);
                    }
                    if inside > 0 {
                        copy(line.add(start * channels), to.add(skip * channels), inside * channels);
                    }
                } else {
                    for kx in 0..shape.kernel_w {
                        let to = to.add(kx * channels);
                        match shape.input_column(ox, kx) {
                            Some(x) => copy(line.add(x * shape.in_channels), to, channels),
                            None => to.write_bytes(self.zero_point as u8, channels),
                        }
                    }
                }
            }
        }
    }
}

/// `pointers[i] = corner + offsets[i]`: a function, since its arguments cannot share memory, and the
/// compiler may then take several at a time.
#[inline(always)]
fn point_from(corner: *const i8, offsets: &[usize], pointers: &mut [*const i8]) {
    for (pointer, &offset) in pointers.iter_mut().zip(offsets) {
        *pointer = corner.wrapping_add(offset);
    }
}

/// `core::ptr::copy_nonoverlapping` without a call for the few bytes that a line of a first layer's
/// kernel has: two moves, which overlap where the length is between powers of two.
///
/// # Safety
/// As that function's.
#[inline(always)]
unsafe fn copy(from: *const i8, to: *mut i8, elems: usize) {
    /// # Safety
    /// `elems` is between the size of `T` and twice that; else as `copy`.
    #[inline(always)]
    unsafe fn ends<T>(from: *const i8, to: *mut i8, elems: usize) {
        let last = elems - size_of::<T>();
        // SAFETY: both `T`s are within the `elems`; unaligned access is asked for.
        unsafe {
            let (head, tail) =
                (from.cast::<T>().read_unaligned(), from.add(last).cast::<T>().read_unaligned());
            to.cast::<T>().write_unaligned(head);
            to.add(last).cast::<T>().write_unaligned(tail);
        }
    }
    // SAFETY: the caller's promise, and the arms' lengths.
    unsafe {
        match elems {
            8..=16 => ends::<u64>(from, to, elems),
            4..=7 => ends::<u32>(from, to, elems),
            2..=3 => ends::<u16>(from, to, elems),
            1 => *to = *from,
            17..=32 => ends::<u128>(from, to, elems),
            _ => core::ptr::copy_nonoverlapping(from, to, elems),
        }
    }
}
