//! Depthwise convolution by ARMv7 NEON, in assembly (`armv7/depthwise.s`), 8 channels at a time.
//!
//! The part of the input that a strip of output lines reads is first copied to a *plane* in the first-level
//! cache, which has 8 bytes a pixel, and the padding: so there are no borders to treat, and one instruction
//! loads what several pixels' taps read.

use core::mem::MaybeUninit;
use core::ptr;

use super::gemm::TileOutput;
use super::{ConvArgs, ConvShape, Output, WeightSource, Weights, reference};
use crate::armv7::Range;
use crate::requantize::OutputRange;

type Run = unsafe extern "C" fn(*const Lines);

unsafe extern "C" {
    fn edgepack_neon32_depthwise_3_1(lines: *const Lines);
    fn edgepack_neon32_depthwise_3_2(lines: *const Lines);
    fn edgepack_neon32_depthwise_5_1(lines: *const Lines);
    fn edgepack_neon32_depthwise_5_2(lines: *const Lines);
    fn edgepack_neon32_depthwise_any(lines: *const Lines);
    fn edgepack_neon32_plane(copy: *const Copy);
}

/// Channels of a block.
const CHANNELS: usize = 8;

/// Pixels of a tile.
const TILE: usize = 4;

/// Kernels of more taps go to the scalar reference.
const MAX_TAPS: usize = 128;

/// Pixels of the plane: half of the smallest first-level cache.
const PLANE_PIXELS: usize = 2048;

/// The part of the input that a strip reads, all channels together: the blocks share its cache lines.
const STRIP_BYTES: usize = 64 * 1024;

/// What the assembly reads: some lines of one block's output.
#[repr(C)]
struct Lines {
    /// The first pixel that the first line reads, in the plane.
    plane: *const Cell,
    /// Bytes of the plane from a line to the next.
    next_line: usize,
    /// Bytes of the plane from one of the kernel's rows to the next.
    next_row: usize,
    kernel_h: usize,
    /// `[kernel_h][kernel_w][8]`.
    weights: *const [i8; CHANNELS],
    constants: *const Constants,
    out: *mut i8,
    /// From one pixel to the next.
    out_pixel: usize,
    /// From one line to the next.
    out_line: usize,
    /// At least [`TILE`].
    pixels: usize,
    lines: usize,
    /// Where the sums of the first tile go, `[4][8]`, and nothing else then; null: to `out`.
    sums: *mut i32,
    kernel_w: usize,
    /// Bytes of the plane from one of the kernel's columns to the next.
    next_column: usize,
    /// Bytes of the plane from a pixel to the next.
    next_pixel: usize,
}

/// Lines of a block's input, on their way to the plane. None is empty, nor are there none.
#[repr(C)]
struct Copy {
    next_pixel: usize,
    pixels: usize,
    from: *const i8,
    from_line: usize,
    to: *mut Cell,
    /// Bytes.
    to_line: usize,
    lines: usize,
}

/// A block's channels of one pixel.
type Cell = MaybeUninit<[i8; CHANNELS]>;

#[repr(C, align(64))]
struct Plane([Cell; PLANE_PIXELS]);

/// What is the same for all pixels of a block.
#[repr(C, align(16))]
struct Constants {
    bias: [[i32; CHANNELS]; TILE],
    multiplier: [f32; CHANNELS],
    range: Range,
    weights: [[i8; CHANNELS]; MAX_TAPS],
}

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn depthwise(args: &mut ConvArgs<'_>) {
    let WeightSource::Canonical(weights) = args.weights else { return };
    let shape = lying(&args.shape);
    let Some(strips) = Strips::new(&shape) else { return reference::depthwise(args, &weights) };
    let (out, range) = match &mut args.output {
        Output::I8(out, range) => (TileOutput::I8(out.as_mut_ptr(), *range), *range),
        Output::F32(out) => (TileOutput::F32(out.as_mut_ptr()), OutputRange::full(0)),
    };
    let mut constants = Constants {
        bias: [[0; CHANNELS]; TILE],
        multiplier: [0.0; CHANNELS],
        range: Range::new(range),
        weights: [[0; CHANNELS]; MAX_TAPS],
    };
    let mut plane = Plane([const { MaybeUninit::uninit() }; PLANE_PIXELS]);
    for image in 0..shape.batch {
        for oy in (0..shape.out_h).step_by(strips.lines) {
            for ox in (0..shape.out_w).step_by(strips.pixels) {
                let strip = Strip::new(&shape, &strips, image, [oy, ox]);
                if !strip.is_inside {
                    let used = strip.rows * strips.width;
                    plane.0[..used].fill(MaybeUninit::new([args.input_zero_point; CHANNELS]));
                }
                for first in (0..shape.in_channels).step_by(CHANNELS) {
                    // The last block starts early enough to be whole: some channels are computed twice.
                    let first = first.min(shape.in_channels - CHANNELS);
                    // SAFETY: the block's channels exist, in every pixel of the input and of the output.
                    unsafe {
                        constants.prepare(&weights, first, &shape);
                        strip.fill(args.input.as_ptr().add(first), &mut plane);
                        strip.run(&plane, &constants, out.add(strip.out + first));
                    }
                }
            }
        }
    }
}

/// A tensor of one column is one of a single line, where its pixels fill tiles.
fn lying(shape: &ConvShape) -> ConvShape {
    if (shape.in_w, shape.out_w, shape.kernel_w, shape.pad_left) != (1, 1, 1, 0) {
        return *shape;
    }
    ConvShape {
        in_h: 1,
        in_w: shape.in_h,
        out_h: 1,
        out_w: shape.out_h,
        kernel_h: 1,
        kernel_w: shape.kernel_h,
        stride_h: 1,
        stride_w: shape.stride_h,
        dilation_h: 1,
        dilation_w: shape.dilation_h,
        pad_top: 0,
        pad_left: shape.pad_top,
        ..*shape
    }
}

/// How the output is cut into strips.
struct Strips {
    lines: usize,
    pixels: usize,
    /// Pixels of a line of the plane.
    width: usize,
    run: Run,
}

impl Strips {
    /// `None` where the reference has to do it.
    fn new(shape: &ConvShape) -> Option<Self> {
        let reach = |kernel: usize, dilation: usize| (kernel - 1).checked_mul(dilation)?.checked_add(1);
        let rows = reach(shape.kernel_h, shape.dilation_h)?;
        let columns = reach(shape.kernel_w, shape.dilation_w)?;
        // Of a line narrower than a tile, the plane has the whole tile.
        let least = shape.stride_w.checked_mul(TILE - 1)?.checked_add(columns)?;
        if rows.checked_mul(least)? > PLANE_PIXELS || shape.taps() > MAX_TAPS || shape.in_channels < CHANNELS
        {
            return None;
        }
        let pixels = ((PLANE_PIXELS / rows - columns) / shape.stride_w + 1).min(shape.out_w);
        let width = (pixels.max(TILE) - 1) * shape.stride_w + columns;
        let line_bytes = (shape.in_w * shape.in_channels).saturating_mul(shape.stride_h);
        let lines = ((PLANE_PIXELS / width - rows) / shape.stride_h + 1)
            .min((STRIP_BYTES / line_bytes).max(1))
            .min(shape.out_h);
        let run: Run = match (shape.kernel_w, shape.stride_w, shape.dilation_w) {
            (3, 1, 1) => edgepack_neon32_depthwise_3_1,
            (3, 2, 1) => edgepack_neon32_depthwise_3_2,
            (5, 1, 1) => edgepack_neon32_depthwise_5_1,
            (5, 2, 1) => edgepack_neon32_depthwise_5_2,
            _ => edgepack_neon32_depthwise_any,
        };
        Some(Self { lines, pixels, width, run })
    }
}

/// A part of one axis of the plane: where it begins, and which of it is inside the image.
struct Axis {
    /// Positions of the plane before the image.
    before: usize,
    /// The first position of the image.
    first: usize,
    /// Positions of the image.
    inside: usize,
}

impl Axis {
    fn new(start: usize, pad: usize, len: usize, size: usize) -> Self {
        let before = pad.saturating_sub(start).min(len);
        let first = start.saturating_sub(pad);
        Self { before, first, inside: size.saturating_sub(first).min(len - before) }
    }
}

/// One strip: some lines and pixels of one image, all channels.
struct Strip<'a> {
    shape: &'a ConvShape,
    strips: &'a Strips,
    lines: usize,
    pixels: usize,
    rows: usize,
    vertical: Axis,
    horizontal: Axis,
    is_inside: bool,
    /// The first of the input's elements that is inside, and the first of the output's, of channel 0.
    input: usize,
    out: usize,
}

impl<'a> Strip<'a> {
    fn new(shape: &'a ConvShape, strips: &'a Strips, image: usize, [oy, ox]: [usize; 2]) -> Self {
        let lines = strips.lines.min(shape.out_h - oy);
        let rows = (lines - 1) * shape.stride_h + (shape.kernel_h - 1) * shape.dilation_h + 1;
        let vertical = Axis::new(oy * shape.stride_h, shape.pad_top, rows, shape.in_h);
        let horizontal = Axis::new(ox * shape.stride_w, shape.pad_left, strips.width, shape.in_w);
        let row = image * shape.in_h + vertical.first;
        Self {
            shape,
            strips,
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

    /// Copies what is inside the image to the plane.
    ///
    /// # Safety
    /// `input` is the tensor's first pixel, at the block's first channel. The processor has NEON.
    unsafe fn fill(&self, input: *const i8, plane: &mut Plane) {
        let (vertical, horizontal) = (&self.vertical, &self.horizontal);
        if vertical.inside == 0 || horizontal.inside == 0 {
            return;
        }
        let to = vertical.before * self.strips.width + horizontal.before;
        // SAFETY: the lines and pixels are inside the image, by `Axis`; the plane has `rows * width` pixels
        // at most, as `Strips` has seen to.
        unsafe {
            edgepack_neon32_plane(&Copy {
                next_pixel: self.shape.in_channels,
                pixels: horizontal.inside,
                from: input.add(self.input),
                from_line: self.shape.in_w * self.shape.in_channels,
                to: plane.0.as_mut_ptr().add(to),
                to_line: self.strips.width * size_of::<Cell>(),
                lines: vertical.inside,
            });
        }
    }

    /// Computes one block.
    ///
    /// # Safety
    /// `out` is the strip's first pixel at the block's first channel. The plane has been filled. The
    /// processor has NEON.
    unsafe fn run(&self, plane: &Plane, constants: &Constants, out: TileOutput) {
        let shape = self.shape;
        let plane_line = self.strips.width * size_of::<Cell>();
        let mut lines = Lines {
            plane: plane.0.as_ptr(),
            // Of one line it is not used, and may be anything.
            next_line: plane_line.wrapping_mul(shape.stride_h),
            next_row: plane_line.wrapping_mul(shape.dilation_h),
            kernel_h: shape.kernel_h,
            weights: constants.weights.as_ptr(),
            constants,
            out: ptr::null_mut(),
            out_pixel: shape.out_channels,
            out_line: shape.out_w * shape.out_channels,
            pixels: self.pixels,
            lines: self.lines,
            sums: ptr::null_mut(),
            kernel_w: shape.kernel_w,
            next_column: shape.dilation_w.wrapping_mul(size_of::<Cell>()),
            next_pixel: shape.stride_w * size_of::<Cell>(),
        };
        // SAFETY: every tap of every pixel of the strip is in the plane, and of `TILE` pixels where the strip
        // has fewer. Whole tiles of pixels are written where the output has them, else to the stack.
        unsafe {
            match out {
                TileOutput::I8(out, _) if self.pixels >= TILE => {
                    lines.out = out;
                    (self.strips.run)(&lines);
                }
                TileOutput::I8(out, _) => {
                    let mut results = [[0i8; CHANNELS]; TILE];
                    lines = Lines { out_pixel: CHANNELS, pixels: TILE, lines: 1, ..lines };
                    for line in 0..self.lines {
                        lines.out = results.as_mut_ptr().cast();
                        (self.strips.run)(&lines);
                        for (pixel, result) in results.iter().enumerate().take(self.pixels) {
                            let out = out.add((line * shape.out_w + pixel) * shape.out_channels);
                            out.copy_from_nonoverlapping(result.as_ptr(), CHANNELS);
                        }
                        lines.plane = lines.plane.wrapping_byte_add(lines.next_line);
                    }
                }
                TileOutput::F32(out) => self.floats(lines, constants, out),
            }
        }
    }

    /// Computes one block to f32, scaled by the VFP, since NEON of ARMv7 flushes subnormals to zero.
    ///
    /// # Safety
    /// As `run`.
    unsafe fn floats(&self, lines: Lines, constants: &Constants, out: *mut f32) {
        let shape = self.shape;
        for line in 0..self.lines {
            for first in (0..self.pixels).step_by(TILE) {
                let first = first.min(self.pixels.saturating_sub(TILE));
                let mut sums = [[0; CHANNELS]; TILE];
                // SAFETY: as in `run`; the line and its pixels exist.
                unsafe {
                    let at = line.wrapping_mul(lines.next_line) + first * lines.next_pixel;
                    let plane = lines.plane.byte_add(at);
                    let tile =
                        Lines { plane, pixels: TILE, lines: 1, sums: sums.as_mut_ptr().cast(), ..lines };
                    (self.strips.run)(&tile);
                    let out = out.add((line * shape.out_w + first) * shape.out_channels);
                    for (pixel, sums) in sums.iter().enumerate().take(self.pixels) {
                        for (channel, (&sum, &multiplier)) in
                            sums.iter().zip(&constants.multiplier).enumerate()
                        {
                            *out.add(pixel * shape.out_channels + channel) = sum as f32 * multiplier;
                        }
                    }
                }
            }
        }
    }
}

impl Constants {
    /// Turns to the block that begins at channel `first`.
    #[inline(always)]
    fn prepare(&mut self, weights: &Weights<'_>, first: usize, shape: &ConvShape) {
        let block = first..first + CHANNELS;
        for bias in &mut self.bias {
            bias.copy_from_slice(&weights.bias[block.clone()]);
        }
        self.multiplier.copy_from_slice(&weights.multiplier[block.clone()]);
        for (to, from) in self.weights.iter_mut().zip(weights.weights.chunks_exact(shape.in_channels)) {
            to.copy_from_slice(&from[block.clone()]);
        }
    }
}
