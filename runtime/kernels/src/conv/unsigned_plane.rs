//! Where the kernels of `vpdpbusd` read: a *plane*, a copy of some lines of the input with its padding around
//! it and every value `x + 128`, since the instruction takes one side unsigned.
//!
//! In a plane there are no borders: from an output pixel's first input to its others it is equally far for
//! all pixels, so a kernel needs one pointer a pixel and one offset a tap. The copy is made by whole registers
//! and costs a few hundredths of the products; it holds the lines of a *strip* of the output at a time, so that it
//! stays in the first-level cache and takes little of the arena.
//! A 1 × 1 kernel reads no neighbours: its plane is one line of pixels, as many as a strip has.

use super::ConvShape;
use super::pack::{Layout, PANEL_ALIGN};

/// Bytes of a plane that is about half of the input.
const SMALL_PLANE_BYTES: (usize, usize) = (4 * 1024, 16 * 1024);
/// The most bytes of a plane that is an eighth of the weights: every strip reads all of them.
const LARGE_PLANE_BYTES: usize = 48 * 1024;
/// What a strip's pixels are a multiple of, where they can be: of 4 pixels and of 6 tiles make most numbers.
const TILE_STEP: usize = 4;
/// Output pixels of a strip of more than one line.
const STRIP_PIXELS: usize = 264;

/// The geometry of a convolution's planes. Plans are made for every processor, so each knows their sizes, and
/// no more than these.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
pub(super) struct Plane {
    /// Whether a strip is a stretch of pixels rather than of lines: output pixels read one input pixel each.
    pub is_flat: bool,
    /// The most output lines of a strip; 1 where it is flat, and where lines of the kernel are apart.
    pub lines: usize,
    /// The most output pixels of a strip.
    pub pixels: usize,
    /// Bytes of a line.
    pub line_bytes: usize,
    /// Bytes of the parts of the scratch memory, in their order: a pointer for each pixel of a strip, and as
    /// many as a tile may read beyond them; an offset for each tap; the plane.
    pub scratch: [usize; 3],
}

impl Plane {
    /// For kernels that take up to `tile_pixels` at a time. Sizes beyond all memory saturate, and a shape with
    /// nothing in it has a plane as well, since plans are asked for their scratch memory before all else.
    pub fn new(layout: &Layout, shape: &ConvShape, tile_pixels: usize) -> Self {
        let taps = layout.taps(shape);
        let channels = shape.in_channels;
        let is_flat = shape.kernel_h == 1
            && shape.kernel_w == 1
            && (shape.pad_top, shape.pad_left) == (0, 0)
            && shape.out_h.saturating_sub(1).saturating_mul(shape.stride_h) < shape.in_h
            && shape.out_w.saturating_sub(1).saturating_mul(shape.stride_w) < shape.in_w;
        let bytes = || {
            let weight_bytes = layout.panels(shape).saturating_mul(layout.panel_bytes(shape));
            let half = shape.in_h.saturating_mul(shape.in_w).saturating_mul(channels) / 2;
            let least = half.clamp(SMALL_PLANE_BYTES.0, SMALL_PLANE_BYTES.1);
            (weight_bytes / 8).min(LARGE_PLANE_BYTES).max(least)
        };
        // The most lines and pixels that a strip may have: what a part of the convolution needs is then
        // never more than what the whole does, however evenly its strips are cut.
        let (lines, pixels, in_lines, line_bytes) = if is_flat {
            let all = shape.output_pixels();
            let pixels = if all <= tile_pixels {
                all
            } else {
                let most = (bytes() / channels.max(1)).clamp(tile_pixels, STRIP_PIXELS);
                all.min(most & !(TILE_STEP - 1))
            };
            (1, pixels, 1, pixels.saturating_mul(channels))
        } else {
            let window = (shape.kernel_w.saturating_sub(1)).saturating_mul(shape.dilation_w);
            let last = shape.out_w.saturating_sub(1).saturating_mul(shape.stride_w);
            let columns = last.saturating_add(window).saturating_add(1);
            let line_bytes = columns.saturating_mul(channels);
            let most = if shape.dilation_h > 1 {
                1
            } else {
                let in_lines = (bytes() / line_bytes.max(1)).max(shape.kernel_h);
                let lines = (in_lines - shape.kernel_h) / shape.stride_h.max(1) + 1;
                lines.min(STRIP_PIXELS / shape.out_w.max(1)).clamp(1, shape.out_h.max(1))
            };
            let in_lines = ((most - 1).saturating_mul(shape.stride_h)).saturating_add(shape.kernel_h);
            (most, most.saturating_mul(shape.out_w), in_lines, line_bytes)
        };
        let aligned = |bytes: usize| bytes.saturating_add(PANEL_ALIGN - 1) & !(PANEL_ALIGN - 1);
        let scratch = [
            aligned(pixels.saturating_add(tile_pixels - 1).saturating_mul(8)),
            aligned(taps.count.saturating_mul(8)),
            // A tap's values beyond those that are used may lie behind the last pixel.
            aligned(in_lines.saturating_mul(line_bytes).saturating_add(taps.elems - taps.used)),
        ];
        Self { is_flat, lines, pixels, line_bytes, scratch }
    }

    /// Bytes of scratch memory.
    pub fn scratch_bytes(&self) -> usize {
        self.scratch.iter().fold(0, |sum: usize, &bytes| sum.saturating_add(bytes))
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use driver::{PlaneKernel, Strip, run};

#[cfg(target_arch = "x86_64")]
mod driver {
    use super::{Plane, TILE_STEP};
    use crate::conv::gemm::{Tile, TileOutput, TileResidual};
    use crate::conv::pack::{Layout, TapKind, Taps};
    use crate::conv::{ConvArgs, ConvShape, WeightSource};

    /// The kernel of one ISA.
    pub struct PlaneKernel {
        /// The most pixels of a tile.
        pub pixels: usize,
        /// How the weights are packed: a layout of unsigned inputs.
        pub layout: &'static Layout,
        /// Copies bytes with their top bits flipped.
        ///
        /// # Safety
        /// Both have room for so many bytes and do not overlap, on a processor with the ISA.
        pub flip: unsafe fn(*const i8, *mut u8, usize),
        /// Computes one strip.
        ///
        /// # Safety
        /// As [`Strip`] documents, on a processor with the ISA.
        pub strip: unsafe fn(&Strip),
    }

    /// `pixels` × `live_channels` outputs.
    pub struct Strip {
        /// `[pixels]`: to the first input of each pixel. Where there are several, one less than a tile has
        /// follow, to what can be read as well.
        pub rows: *const *const u8,
        /// Pixels to compute, at least 1.
        pub pixels: usize,
        /// `[taps]`: from the first input of a pixel to `tap_elems` readable values, which are `x + 128`.
        pub offsets: *const usize,
        /// Taps.
        pub taps: usize,
        /// Values of one tap: a multiple of the layout's `k_multiple`.
        pub tap_elems: usize,
        /// The first panel; aligned to 64 bytes.
        pub panel: *const u8,
        /// From one panel to the next.
        pub panel_bytes: usize,
        /// Channels to store, at least 1: they span `live_channels.div_ceil(NR)` panels.
        pub live_channels: usize,
        /// Where pixel 0, channel 0 goes.
        pub out: TileOutput,
        /// Elements from one pixel to the next.
        pub out_stride: usize,
        /// What is added to int8 results.
        pub residual: Option<TileResidual>,
    }

    impl Strip {
        /// A tile of one tap: what a product of two tensors consists of.
        pub fn of_tile(tile: &Tile) -> Self {
            debug_assert!(tile.taps == 1);
            Self {
                rows: tile.rows.cast(),
                pixels: tile.live_pixels,
                offsets: &0,
                taps: 1,
                tap_elems: tile.tap_elems,
                panel: tile.panel,
                panel_bytes: tile.panel_bytes,
                live_channels: tile.live_channels,
                out: tile.out,
                out_stride: tile.out_stride,
                residual: tile.residual,
            }
        }
    }

    /// Runs a convolution by strips of `kernel`.
    ///
    /// # Safety
    /// `args` as [`ConvArgs`] documents, packed for `kernel.layout`; the processor has the ISA of
    /// `kernel`.
    #[inline(always)]
    pub unsafe fn run(args: &mut ConvArgs<'_>, kernel: &PlaneKernel) {
        let WeightSource::Packed(packed) = args.weights else { return };
        if is_row(&args.shape) {
            // SAFETY: the caller's promise.
            return unsafe { run_row(args, packed, kernel) };
        }
        let shape = args.shape;
        let layout = kernel.layout;
        let taps = layout.taps(&shape);
        let plane = Plane::new(layout, &shape, kernel.pixels);
        let (rows, rest) = args.scratch.split_at_mut(plane.scratch[0]);
        let (offsets, copy) = rest.split_at_mut(plane.scratch[1]);
        let copy = &mut copy[..plane.scratch[2]];
        // As few strips as fit, and all of about the same size.
        let even = |units: usize, most: usize| match units {
            few if few <= most => few.max(1),
            many => many.div_ceil(many.div_ceil(most.max(1))),
        };
        let (units, step) = if plane.is_flat {
            let pixels = shape.output_pixels();
            (pixels, even(pixels, plane.pixels).next_multiple_of(TILE_STEP).clamp(1, plane.pixels.max(1)))
        } else {
            // Padding left and right of the lines stays as it is for all strips.
            copy.fill(args.input_zero_point as u8 ^ 0x80);
            (shape.out_h, even(shape.out_h, plane.lines))
        };
        let copy = copy.as_mut_ptr();
        // SAFETY: the part has room for so many pointers, and starts at a multiple of 64.
        unsafe { point(&plane, &shape, [step, kernel.pixels], copy, rows.as_mut_ptr().cast()) };
        let (out, residual) = TileOutput::of(&mut args.output, args.residual);
        let mut source = Source { input: args.input, zero_point: args.input_zero_point, shape, kernel };
        let panel_bytes = layout.panel_bytes(&shape);
        let panels = layout.panels(&shape);
        for image in 0..if plane.is_flat { 1 } else { shape.batch } {
            for first in (0..units).step_by(step) {
                let live = step.min(units - first);
                // SAFETY: the strip's pixels or lines exist, and the plane has room for those of a strip.
                unsafe { source.copy(&plane, [image, first], live, copy) };
                let (pixel, pixels) = if plane.is_flat {
                    (first, live)
                } else {
                    ((image * shape.out_h + first) * shape.out_w, live * shape.out_w)
                };
                for group in 0..shape.groups {
                    if first == 0 || shape.groups > 1 {
                        offset(&plane, &shape, taps, group, offsets);
                    }
                    // SAFETY: every row and offset leads to `tap_elems` bytes of the plane, which has room
                    // behind its last pixel for what is not used; the group's panels are inside `packed`,
                    // whose length was checked against the layout; the output position is inside
                    // `[pixels, out_channels]`.
                    unsafe {
                        (kernel.strip)(&Strip {
                            rows: rows.as_ptr().cast(),
                            pixels,
                            offsets: offsets.as_ptr().cast(),
                            taps: taps.count,
                            tap_elems: taps.elems,
                            panel: packed.as_ptr().add(group * panels * panel_bytes),
                            panel_bytes,
                            live_channels: shape.group_out_channels(),
                            out: out.add(pixel * shape.out_channels + group * shape.group_out_channels()),
                            out_stride: shape.out_channels,
                            residual,
                        });
                    }
                }
            }
        }
    }

    /// Whether one row is multiplied by a matrix, and nothing else: small networks consist of such layers, whose
    /// weights take so little time that it counts what comes before them.
    fn is_row(shape: &ConvShape) -> bool {
        // One after the other: compared as a vector, what was stored piece by piece is waited for.
        shape.batch == 1
            && shape.in_h == 1
            && shape.in_w == 1
            && shape.out_h == 1
            && shape.out_w == 1
            && shape.kernel_h == 1
            && shape.kernel_w == 1
            && shape.groups == 1
            && shape.pad_top == 0
            && shape.pad_left == 0
    }

    /// The plane of a row is the row.
    ///
    /// # Safety
    /// As `run`, of such a shape.
    #[inline(always)]
    unsafe fn run_row(args: &mut ConvArgs<'_>, packed: &[u8], kernel: &PlaneKernel) {
        let shape = &args.shape;
        let taps = kernel.layout.taps(shape);
        let row = args.scratch.as_mut_ptr();
        let (out, residual) = TileOutput::of(&mut args.output, args.residual);
        // SAFETY: the scratch memory has a plane, which this is, and `tap_elems` bytes of it can be read; the
        // panels are `packed`, whose length was checked against the layout.
        unsafe {
            (kernel.flip)(args.input.as_ptr(), row, shape.in_channels);
            (kernel.strip)(&Strip {
                rows: &row.cast_const(),
                pixels: 1,
                offsets: &0,
                taps: 1,
                tap_elems: taps.elems,
                panel: packed.as_ptr(),
                panel_bytes: kernel.layout.panel_bytes(shape),
                live_channels: shape.out_channels,
                out,
                out_stride: shape.out_channels,
                residual,
            });
        }
    }

    /// Writes the pointers to the inputs of a strip of `step` pixels or lines; those behind repeat the first.
    ///
    /// # Safety
    /// `rows` has room for one less than a strip and a tile have together.
    unsafe fn point(
        plane: &Plane,
        shape: &ConvShape,
        [step, tile_pixels]: [usize; 2],
        copy: *mut u8,
        mut rows: *mut *const u8,
    ) {
        let (lines, width, stride_w) =
            if plane.is_flat { (1, step, 1) } else { (step, shape.out_w, shape.stride_w) };
        for line in 0..lines {
            let first = copy.wrapping_add(line * shape.stride_h * plane.line_bytes);
            for pixel in 0..width {
                // SAFETY: the caller's promise.
                unsafe { *rows.add(pixel) = first.wrapping_add(pixel * stride_w * shape.in_channels) };
            }
            // SAFETY: as above.
            rows = unsafe { rows.add(width) };
        }
        // Small layers have one pixel, and kernels of their own for it.
        let spare = if lines * width == 1 { 0 } else { tile_pixels - 1 };
        for row in 0..spare {
            // SAFETY: the caller's promise.
            unsafe { *rows.add(row) = copy };
        }
    }

    /// Writes the offsets of the taps of a group: from an output pixel's first input in the first group.
    fn offset(plane: &Plane, shape: &ConvShape, taps: Taps, group: usize, offsets: &mut [u8]) {
        let (offsets, _) = offsets.as_chunks_mut::<{ size_of::<usize>() }>();
        for (tap, to) in offsets[..taps.count].iter_mut().enumerate() {
            let (ky, kx) = match taps.kind {
                TapKind::Pixels => (tap / shape.kernel_w, tap % shape.kernel_w),
                TapKind::Lines | TapKind::Gathered => (tap, 0),
            };
            let column = kx * shape.dilation_w * shape.in_channels;
            let offset = ky * plane.line_bytes + column + group * shape.group_in_channels();
            *to = offset.to_ne_bytes();
        }
    }

    /// What planes are copied from.
    struct Source<'a> {
        input: &'a [i8],
        zero_point: i8,
        shape: ConvShape,
        kernel: &'a PlaneKernel,
    }

    impl Source<'_> {
        /// Fills the plane of a strip: of `live` pixels from `first` on, over all images, or of the lines
        /// that `live` output lines of an image read.
        ///
        /// # Safety
        /// They exist; `to` has room for a plane.
        #[inline(always)]
        unsafe fn copy(&mut self, plane: &Plane, [image, first]: [usize; 2], live: usize, to: *mut u8) {
            let shape = &self.shape;
            let (channels, flip) = (shape.in_channels, self.kernel.flip);
            let input = self.input.as_ptr();
            if plane.is_flat {
                if (shape.out_h, shape.out_w) == (shape.in_h, shape.in_w) {
                    // SAFETY: without strides output pixels have the places of the input's.
                    unsafe { flip(input.add(first * channels), to, live * channels) };
                    return;
                }
                // By stretches of output lines, counted over all images.
                let (mut line, mut column) = (first / shape.out_w, first % shape.out_w);
                let step = shape.stride_w * channels;
                let mut done = 0;
                while done < live {
                    let y = line / shape.out_h * shape.in_h + line % shape.out_h * shape.stride_h;
                    let run = (shape.out_w - column).min(live - done);
                    for pixel in 0..run {
                        // SAFETY: a flat plane's output pixels each read a pixel inside the input.
                        unsafe {
                            let from = input.add(y * shape.in_w * channels + (column + pixel) * step);
                            flip(from, to.add((done + pixel) * channels), channels);
                        }
                    }
                    (line, column, done) = (line + 1, 0, done + run);
                }
                return;
            }
            let left = shape.pad_left * channels;
            let inside = plane.line_bytes.saturating_sub(left).min(shape.in_w * channels);
            let top = first * shape.stride_h;
            for line in 0..(live - 1) * shape.stride_h + shape.kernel_h {
                let y = (top + line * shape.dilation_h).checked_sub(shape.pad_top);
                // SAFETY: the line is one of the plane's, `left + inside` at most its length; the input
                // has the line and `inside` values of it.
                unsafe {
                    let to = to.add(line * plane.line_bytes + left);
                    match y.filter(|&y| y < shape.in_h) {
                        Some(y) => {
                            let from = input.add((image * shape.in_h + y) * shape.in_w * channels);
                            flip(from, to, inside);
                        }
                        None => to.write_bytes(self.zero_point as u8 ^ 0x80, inside),
                    }
                }
            }
        }
    }
}
