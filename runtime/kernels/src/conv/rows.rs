//! Where a tile's rows read: pointers to the taps of each output pixel (Dukhan, "The Indirect Convolution
//! Algorithm", 2019), made for one tile at a time.

use core::ops::Range;

use super::gemm::Micro;
use super::pack::{TapKind, Taps};
use super::{ConvArgs, ConvShape};

/// The pointers of a tile and the memory that they may point to beside the input.
pub(super) struct Rows {
    shape: ConvShape,
    input: *const i8,
    input_end: *const i8,
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
    /// The pixel after those that were pointed at last: its number, and its image, line and column.
    next: (usize, [usize; 3]),
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

/// Image, line and column of an output pixel.
fn position(shape: &ConvShape, pixel: usize) -> [usize; 3] {
    let in_image = pixel % (shape.out_h * shape.out_w);
    [pixel / (shape.out_h * shape.out_w), in_image / shape.out_w, in_image % shape.out_w]
}

impl Rows {
    /// The rows of `micro`'s tiles; the parts of `args.scratch` are theirs from now on.
    pub fn new(args: &mut ConvArgs<'_>, micro: &Micro, taps: Taps) -> Self {
        let shape = args.shape;
        let scratch = micro.layout.scratch(&shape, micro.pixels);
        let (pointers, rest) = args.scratch.split_at_mut(scratch.pointers);
        let (offsets, rest) = rest.split_at_mut(scratch.offsets);
        let (zero_row, gathered) = rest.split_at_mut(scratch.row);
        let is_pointwise = taps.kind == TapKind::Pixels
            && (shape.kernel_h, shape.kernel_w, shape.stride_h, shape.stride_w) == (1, 1, 1, 1)
            && (shape.out_h, shape.out_w) == (shape.in_h, shape.in_w)
            && (shape.pad_top, shape.pad_left) == (0, 0);
        if !is_pointwise {
            zero_row.fill(args.input_zero_point as u8);
        }
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
        Self {
            shape,
            is_pointwise,
            input: args.input.as_ptr(),
            input_end: args.input.as_ptr_range().end,
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
            next: (0, [0; 3]),
        }
    }

    /// Points the rows at the inputs of `live` output pixels from `first` on (counted over the
    /// whole batch), for one group.
    ///
    /// # Safety
    /// The pixels exist; the memory given to `new` is still there.
    #[inline(always)]
    pub unsafe fn point_at(&mut self, group: usize, first: usize, live: usize) -> *const *const i8 {
        let shape = &self.shape;
        if self.is_pointwise {
            let step = shape.in_channels;
            let pixel = self.input.wrapping_add(first * step + group * shape.group_in_channels());
            // SAFETY: `pointers` is `[MR]`, since there is one tap.
            let rows = unsafe { core::slice::from_raw_parts_mut(self.pointers, self.mr) };
            let (rows, rest) = rows.split_at_mut(live);
            point_run(pixel, step, &[0], rows);
            rest.fill(pixel);
            return self.pointers;
        }
        // Tiles are visited in order, so that divisions are seldom needed.
        let [mut image, mut oy, mut ox] =
            if self.next.0 == first { self.next.1 } else { position(shape, first) };
        let mut row = 0;
        while row < live {
            // The pixels of one output line.
            let run = (live - row).min(shape.out_w - ox);
            let image_elems = shape.in_h * shape.in_w * shape.in_channels;
            let origin = self.input.wrapping_add(image * image_elems + group * shape.group_in_channels());
            let (inside, corner) = self.inside(origin, [oy, ox], run);
            // SAFETY: `image` and the group are inside the input; the rows are below `live <= MR`.
            unsafe {
                for border in ox..inside.start {
                    self.point_border(row + border - ox, origin, [oy, border]);
                }
                self.point_inside(row + inside.start - ox, corner, inside.len());
                for border in inside.end..ox + run {
                    self.point_border(row + border - ox, origin, [oy, border]);
                }
            }
            row += run;
            ox += run;
            if ox == shape.out_w {
                (ox, oy) = (0, oy + 1);
            }
            if oy == shape.out_h {
                (oy, image) = (0, image + 1);
            }
        }
        self.next = (first + live, [image, oy, ox]);
        for row in live..self.mr {
            for tap in 0..self.taps.count {
                // SAFETY: both positions are inside `[MR][taps]`; row 0 is always live.
                unsafe { *self.pointers.add(row * self.taps.count + tap) = *self.pointers.add(tap) };
            }
        }
        self.pointers
    }

    /// Those of the `run` pixels from `[oy, ox]` on whose taps all lie inside the image and can be read in
    /// place, and where the first tap of the first of them is.
    #[inline(always)]
    fn inside(&self, origin: *const i8, [oy, ox]: [usize; 2], run: usize) -> (Range<usize>, *const i8) {
        let shape = &self.shape;
        let is_inside_y = (self.interior_y.0..self.interior_y.1).contains(&oy);
        if self.taps.kind == TapKind::Gathered || !is_inside_y {
            return (ox..ox, origin);
        }
        let start = self.interior_x.0.clamp(ox, ox + run);
        let mut end = self.interior_x.1.clamp(start, ox + run);
        let corner = |ox: usize| {
            let (y, x) =
                (oy * shape.stride_h - shape.pad_top, (ox * shape.stride_w).wrapping_sub(shape.pad_left));
            origin.wrapping_add((y * shape.in_w).wrapping_add(x).wrapping_mul(shape.in_channels))
        };
        if self.taps.elems > self.taps.used {
            // What is read behind a line must lie inside the input.
            while end > start && corner(end - 1).addr() + self.line_reach > self.input_end.addr() {
                end -= 1;
            }
        }
        (start..end, corner(start))
    }

    /// Points `count` rows from `row` on at the taps of pixels that lie next to each other, of which the
    /// first has its first tap at `corner`.
    ///
    /// # Safety
    /// The rows exist, and so do all taps of these pixels.
    #[inline(always)]
    unsafe fn point_inside(&self, row: usize, mut corner: *const i8, count: usize) {
        let (taps, step) = (self.taps.count, self.shape.stride_w * self.shape.in_channels);
        // SAFETY: `pointers` is `[MR][taps]`, `offsets` is `[taps]`.
        unsafe {
            let rows = core::slice::from_raw_parts_mut(self.pointers.add(row * taps), count * taps);
            let offsets = core::slice::from_raw_parts(self.offsets, taps);
            if let Ok(offsets) = <&[usize; 3]>::try_from(offsets) {
                point_run(corner, step, offsets, rows);
            } else if let Ok(offsets) = <&[usize; 9]>::try_from(offsets) {
                point_run(corner, step, offsets, rows);
            } else {
                for row in rows.chunks_exact_mut(taps) {
                    point_from(corner, offsets, row);
                    corner = corner.wrapping_add(step);
                }
            }
        }
    }

    /// Points one row at the taps of output pixel `[oy, ox]`, wherever they are.
    ///
    /// # Safety
    /// `origin` is the image's first pixel at the group's first channel; `row < MR`.
    unsafe fn point_border(&self, row: usize, origin: *const i8, [oy, ox]: [usize; 2]) {
        // SAFETY: the caller's promise; every row has room for its pointers and its values.
        unsafe {
            let pointers = self.pointers.add(row * self.taps.count);
            match self.taps.kind {
                TapKind::Pixels => self.point_pixels(origin, [oy, ox], pointers),
                TapKind::Lines => self.point_lines(origin, [oy, ox], row, pointers),
                TapKind::Gathered => {
                    let to = self.gathered.add(row * self.gathered_stride);
                    self.gather(origin, [oy, ox], to);
                    *pointers = to;
                }
            }
        }
    }

    /// Points a row at the lines of a pixel: above and below the image all are zero points, and only what is
    /// left or right of it must be gathered.
    ///
    /// # Safety
    /// As `point_border`.
    #[inline(never)]
    unsafe fn point_lines(
        &self,
        origin: *const i8,
        [oy, ox]: [usize; 2],
        row: usize,
        pointers: *mut *const i8,
    ) {
        let shape = &self.shape;
        let (channels, elems) = (shape.in_channels, self.taps.elems);
        let (skip, start, inside) = self.clip(ox);
        let line = shape.in_w * channels;
        let gathered = self.gathered.wrapping_add(row * self.gathered_stride);
        let mut lines = 0;
        let mut first = (origin, gathered);
        // Positions above the image wrap to beyond its other end.
        let mut y = (oy * shape.stride_h).wrapping_sub(shape.pad_top);
        for ky in 0..shape.kernel_h {
            let mut tap = self.zero_row;
            if y < shape.in_h && inside > 0 {
                let from = origin.wrapping_add(y * line + start * channels);
                tap = from;
                // A line is used in place where all that is read of it lies inside the input.
                if inside < shape.kernel_w || from.addr() + elems > self.input_end.addr() {
                    let to = gathered.wrapping_add(ky * elems);
                    tap = to;
                    if lines == 0 {
                        first = (from, to);
                    }
                    lines += 1;
                }
            }
            // SAFETY: `ky` is one of the taps.
            unsafe { *pointers.add(ky) = tap };
            y = y.wrapping_add(shape.dilation_h);
        }
        let (from, to) = first;
        let next = (shape.dilation_h.wrapping_mul(line), elems);
        let [skip, inside] = [skip * channels, inside * channels];
        // SAFETY: the lines that are gathered follow each other, since lines inside the image do, and those that
        // are read in place are the first of them. Each has `elems` of the row's gathered values.
        unsafe {
            copy_lines(self.zero_row, to, (0, elems), skip, lines);
            copy_lines(from, to.wrapping_add(skip), next, inside, lines);
            let right = skip + inside;
            copy_lines(self.zero_row, to.wrapping_add(right), (0, elems), self.taps.used - right, lines);
        }
    }

    /// # Safety
    /// `origin` is the image's first pixel at the group's first channel; `pointers` has room for the
    /// taps.
    #[inline(never)]
    unsafe fn point_pixels(&self, origin: *const i8, position: [usize; 2], pointers: *mut *const i8) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.shape.kernel_w {
                // Known to the compiler, which needs no loop then.
                3 => self.point_columns(origin, position, pointers, 3),
                kernel_w => self.point_columns(origin, position, pointers, kernel_w),
            }
        }
    }

    /// # Safety
    /// As `point_pixels`; `kernel_w` is the kernel's width.
    #[inline(always)]
    unsafe fn point_columns(
        &self,
        origin: *const i8,
        [oy, ox]: [usize; 2],
        pointers: *mut *const i8,
        kernel_w: usize,
    ) {
        let shape = &self.shape;
        // Positions left of the image or above it wrap to beyond its other end.
        let mut y = (oy * shape.stride_h).wrapping_sub(shape.pad_top);
        let left = (ox * shape.stride_w).wrapping_sub(shape.pad_left);
        let corner = origin
            .wrapping_add(y.wrapping_mul(shape.in_w).wrapping_add(left).wrapping_mul(shape.in_channels));
        let mut tap = 0;
        for _ in 0..shape.kernel_h {
            let width = if y < shape.in_h { shape.in_w } else { 0 };
            let mut x = left;
            for _ in 0..kernel_w {
                // SAFETY: `tap` is one of the taps.
                unsafe {
                    let inside = corner.wrapping_add(*self.offsets.add(tap));
                    *pointers.add(tap) = if x < width { inside } else { self.zero_row };
                }
                x = x.wrapping_add(shape.dilation_w);
                tap += 1;
            }
            y = y.wrapping_add(shape.dilation_h);
        }
    }

    /// Of the kernel's columns at output column `ox`, without dilation, how many are left of the image, where the
    /// next ones begin in the image, and how many these are.
    #[inline(always)]
    fn clip(&self, ox: usize) -> (usize, usize, usize) {
        let shape = &self.shape;
        let left = ox * shape.stride_w;
        let skip = shape.pad_left.saturating_sub(left).min(shape.kernel_w);
        let start = (left + skip).saturating_sub(shape.pad_left);
        (skip, start, shape.in_w.saturating_sub(start).min(shape.kernel_w - skip))
    }

    /// Copies all inputs of an output pixel to `to`, with zero points where there are none.
    ///
    /// # Safety
    /// `origin` as in `point_border`; `to` has room for them.
    #[inline(never)]
    unsafe fn gather(&self, origin: *const i8, [oy, ox]: [usize; 2], to: *mut i8) {
        let shape = &self.shape;
        let channels = shape.group_in_channels();
        let line = shape.in_w * shape.in_channels;
        let kernel_line = shape.kernel_w * channels;
        // SAFETY: `to` has room; reads are inside the image, as the bounds of `input_row`, of `input_column`, or of
        // the clipped columns, say.
        unsafe {
            if shape.groups == 1 && shape.dilation_w == 1 {
                let (skip, start, inside) = self.clip(ox);
                let is_inside = |ky: &usize| shape.input_row(oy, *ky).is_some();
                let first = (0..shape.kernel_h).find(is_inside).unwrap_or(0);
                let lines = (first..shape.kernel_h).take_while(is_inside).count();
                if lines < shape.kernel_h || inside < shape.kernel_w {
                    copy(self.zero_row, to, shape.kernel_h * kernel_line);
                }
                if let Some(y) = shape.input_row(oy, first) {
                    let from = origin.wrapping_add(y * line + start * channels);
                    let to = to.wrapping_add(first * kernel_line + skip * channels);
                    let next = (shape.dilation_h.wrapping_mul(line), kernel_line);
                    copy_lines(from, to, next, inside * channels, lines);
                }
                return;
            }
            for ky in 0..shape.kernel_h {
                for kx in 0..shape.kernel_w {
                    let to = to.add(ky * kernel_line + kx * channels);
                    match (shape.input_row(oy, ky), shape.input_column(ox, kx)) {
                        (Some(y), Some(x)) => {
                            copy(origin.add(y * line + x * shape.in_channels), to, channels);
                        }
                        _ => copy(self.zero_row, to, channels),
                    }
                }
            }
        }
    }
}

/// `rows[i][tap] = corner + i * step + offsets[tap]`, where the number of taps is known, so that the offsets
/// stay in registers; as integers, since the compiler adds those several at a time.
#[inline(always)]
fn point_run<const TAPS: usize>(
    corner: *const i8,
    step: usize,
    offsets: &[usize; TAPS],
    rows: &mut [*const i8],
) {
    let mut corner = corner.expose_provenance();
    // Copied, so that they need not be read again behind each store.
    let offsets = *offsets;
    for row in rows.as_chunks_mut::<TAPS>().0 {
        *row = offsets.map(|offset| core::ptr::with_exposed_provenance(corner.wrapping_add(offset)));
        corner = corner.wrapping_add(step);
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

/// Copies `elems` each of lines that are so far from one another, in the source and in the destination.
///
/// # Safety
/// As `core::ptr::copy_nonoverlapping`, of each line.
#[inline(always)]
unsafe fn copy_lines(
    mut from: *const i8,
    mut to: *mut i8,
    (from_step, to_step): (usize, usize),
    elems: usize,
    lines: usize,
) {
    if elems == 0 {
        return;
    }
    for _ in 0..lines {
        // SAFETY: the caller's promise.
        unsafe { copy(from, to, elems) };
        (from, to) = (from.wrapping_add(from_step), to.wrapping_add(to_step));
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
