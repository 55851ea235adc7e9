//! Depthwise convolution by ARMv7 NEON, in assembly (`armv7/depthwise.s`), 8 channels at a time.
//!
//! A pixel of the plane (see [`plane`]) has 8 bytes, and one instruction loads what several pixels' taps read.

use core::mem::MaybeUninit;
use core::ptr;

use super::gemm::TileOutput;
use super::plane::{self, Strips};
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

static PLANE: plane::Plane = plane::Plane { pixels: PLANE_PIXELS, tile: TILE, strip_bytes: 64 * 1024 };

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
    let Some(strips) = strips(&shape) else { return reference::depthwise(args, &weights) };
    let run: Run = match (shape.kernel_w, shape.stride_w, shape.dilation_w) {
        (3, 1, 1) => edgepack_neon32_depthwise_3_1,
        (3, 2, 1) => edgepack_neon32_depthwise_3_2,
        (5, 1, 1) => edgepack_neon32_depthwise_5_1,
        (5, 2, 1) => edgepack_neon32_depthwise_5_2,
        _ => edgepack_neon32_depthwise_any,
    };
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
                let part = plane::Strip::new(&shape, &strips, image, [oy, ox]);
                if !part.is_inside {
                    let used = part.rows * strips.width;
                    plane.0[..used].fill(MaybeUninit::new([args.input_zero_point; CHANNELS]));
                }
                let strip = Strip { part, shape: &shape, width: strips.width, run };
                for first in (0..shape.in_channels).step_by(CHANNELS) {
                    // The last block starts early enough to be whole: some channels are computed twice.
                    let first = first.min(shape.in_channels - CHANNELS);
                    // SAFETY: the block's channels exist, in every pixel of the input and of the output.
                    unsafe {
                        constants.prepare(&weights, first, &shape);
                        strip.fill(args.input.as_ptr().add(first), &mut plane);
                        strip.run(&plane, &constants, out.add(strip.part.out + first));
                    }
                }
            }
        }
    }
}

/// `None` where the reference has to do it.
fn strips(shape: &ConvShape) -> Option<Strips> {
    Strips::new(shape, &PLANE).filter(|_| shape.taps() <= MAX_TAPS && shape.in_channels >= CHANNELS)
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

/// One strip, and what computes it.
struct Strip<'a> {
    part: plane::Strip,
    shape: &'a ConvShape,
    /// Pixels of a line of the plane.
    width: usize,
    run: Run,
}

impl Strip<'_> {
    /// Copies what is inside the image to the plane.
    ///
    /// # Safety
    /// `input` is the tensor's first pixel, at the block's first channel. The processor has NEON.
    unsafe fn fill(&self, input: *const i8, plane: &mut Plane) {
        let (vertical, horizontal) = (&self.part.vertical, &self.part.horizontal);
        if vertical.inside == 0 || horizontal.inside == 0 {
            return;
        }
        let to = vertical.before * self.width + horizontal.before;
        // SAFETY: the lines and pixels are inside the image, by `Axis`; the plane has `rows * width` pixels
        // at most, as `Strips` has seen to.
        unsafe {
            edgepack_neon32_plane(&Copy {
                next_pixel: self.shape.in_channels,
                pixels: horizontal.inside,
                from: input.add(self.part.input),
                from_line: self.shape.in_w * self.shape.in_channels,
                to: plane.0.as_mut_ptr().add(to),
                to_line: self.width * size_of::<Cell>(),
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
        let plane_line = self.width * size_of::<Cell>();
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
            pixels: self.part.pixels,
            lines: self.part.lines,
            sums: ptr::null_mut(),
            kernel_w: shape.kernel_w,
            next_column: shape.dilation_w.wrapping_mul(size_of::<Cell>()),
            next_pixel: shape.stride_w * size_of::<Cell>(),
        };
        // SAFETY: every tap of every pixel of the strip is in the plane, and of `TILE` pixels where the strip
        // has fewer. Whole tiles of pixels are written where the output has them, else to the stack.
        unsafe {
            match out {
                TileOutput::I8(out, _) if self.part.pixels >= TILE => {
                    lines.out = out;
                    (self.run)(&lines);
                }
                TileOutput::I8(out, _) => {
                    let mut results = [[0i8; CHANNELS]; TILE];
                    lines = Lines { out_pixel: CHANNELS, pixels: TILE, lines: 1, ..lines };
                    for line in 0..self.part.lines {
                        lines.out = results.as_mut_ptr().cast();
                        (self.run)(&lines);
                        for (pixel, result) in results.iter().enumerate().take(self.part.pixels) {
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
        for line in 0..self.part.lines {
            for first in (0..self.part.pixels).step_by(TILE) {
                let first = first.min(self.part.pixels.saturating_sub(TILE));
                let mut sums = [[0; CHANNELS]; TILE];
                // SAFETY: as in `run`; the line and its pixels exist.
                unsafe {
                    let at = line.wrapping_mul(lines.next_line) + first * lines.next_pixel;
                    let plane = lines.plane.byte_add(at);
                    let tile =
                        Lines { plane, pixels: TILE, lines: 1, sums: sums.as_mut_ptr().cast(), ..lines };
                    (self.run)(&tile);
                    let out = out.add((line * shape.out_w + first) * shape.out_channels);
                    for (pixel, sums) in sums.iter().enumerate().take(self.part.pixels) {
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
