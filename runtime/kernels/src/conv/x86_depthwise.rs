//! What the x86 depthwise rows share: the walk over strips, channel blocks and lines, and the
//! pointers of a pixel's taps.
//!
//! A block of channels is multiplied in *quads* of taps: the bytes of four taps are interleaved, so
//! that each int32 lane holds the four activations of one channel, as the multiply-add instructions
//! want them. Interleaving works within 128-bit lanes (`punpcklbw`, `punpcklwd`), which leaves the
//! channels in this order; packing int32 to bytes undoes it:
//! ```text
//! accumulator i (of 4), 128-bit lane L:  channels 16 L + 4 i .. 16 L + 4 i + 4
//! ```
//! Weights of a block are interleaved in the same way, once for a strip of lines that stays in the
//! first-level cache.

use super::gemm::TileOutput;
use super::{ConvArgs, ConvShape, Output, WeightSource, Weights, reference};

/// Kernels of more taps than this go to the scalar reference: 11 × 11 is the largest that is met.
const MAX_TAPS: usize = 128;
const MAX_QUADS: usize = MAX_TAPS / 4;

/// The widest block of channels.
const MAX_CHANNELS: usize = 64;

/// The part of the input that a strip of output lines reads.
const STRIP_BYTES: usize = 24 * 1024;

/// The kernel of one ISA.
pub(super) struct Kernel {
    /// Block widths, descending; a narrower remainder is one block of its own.
    pub widths: &'static [usize],
    /// Whether `line` knows [`Block::columns`].
    pub columns: bool,
    /// Fills [`Block::weights`] and corrects [`Block::bias`].
    ///
    /// # Safety
    /// The processor has the ISA.
    pub prepare: unsafe fn(&mut Block, &Canonical),
    /// Computes one line of output pixels.
    ///
    /// # Safety
    /// As [`Line`] documents; the processor has the ISA.
    pub line: unsafe fn(&Block, &mut Line),
}

/// A block's constants, in the order of the accumulators.
#[repr(C, align(64))]
pub(super) struct Block {
    /// Interleaved weights; a quad is four registers of the block's width.
    pub weights: [[u8; 4 * MAX_CHANNELS]; MAX_QUADS],
    /// Where each accumulator starts.
    pub bias: [i32; MAX_CHANNELS],
    /// One for each accumulator.
    pub multiplier: [f32; MAX_CHANNELS],
    /// Channels of the block.
    pub channels: usize,
    /// Channels that a register has room for.
    pub width: usize,
    /// Quads of taps; the last one may be partly empty, with weights of zero.
    pub quads: usize,
    /// Whether quads are made of each column's taps instead of all taps in turn: where the stride is
    /// 1, a column that has been interleaved once then serves every pixel that reads it.
    pub columns: bool,
}

/// The canonical weights of one block.
pub(super) struct Canonical {
    /// Tap 0, the block's first channel.
    weights: *const i8,
    /// From one tap to the next.
    stride: usize,
    kernel_h: usize,
    kernel_w: usize,
}

impl Canonical {
    /// The four taps of a quad, each to the block's channels; `None` beyond the last tap.
    #[inline(always)]
    pub fn quad(&self, quad: usize, columns: bool) -> [Option<*const i8>; 4] {
        let tap = |i| {
            let tap = if columns {
                let quads = self.kernel_h.div_ceil(4);
                let ky = quad % quads * 4 + i;
                (ky < self.kernel_h).then_some(ky * self.kernel_w + quad / quads)
            } else {
                Some(quad * 4 + i).filter(|&tap| tap < self.kernel_h * self.kernel_w)
            };
            tap.map(|tap| self.weights.wrapping_add(tap * self.stride))
        };
        [tap(0), tap(1), tap(2), tap(3)]
    }
}

/// One line of output pixels for one block of channels.
pub(super) struct Line {
    shape: ConvShape,
    /// The image's first pixel, at the block's first channel.
    input: *const i8,
    /// Zero points, for taps in the padding.
    zero: *const i8,
    oy: usize,
    /// Output columns for which no tap is left or right of the image.
    interior: (usize, usize),
    /// Where pixel 0 goes, at the block's first channel.
    pub out: TileOutput,
    /// For each tap of the present pixel `channels` readable values; those that fill up the last
    /// quad point at zero points.
    pub taps: [*const i8; MAX_TAPS],
    steps: [usize; MAX_TAPS],
}

/// What taps in the padding point at.
#[repr(align(64))]
struct Zero([i8; MAX_CHANNELS]);

/// Runs a depthwise convolution.
///
/// # Safety
/// As the table's `RunFn`; the processor has the ISA of `kernel`.
pub(super) unsafe fn run(args: &mut ConvArgs<'_>, kernel: &Kernel) {
    let WeightSource::Canonical(weights) = args.weights else { return };
    let shape = args.shape;
    if shape.taps() > MAX_TAPS {
        return reference::depthwise(args, &weights);
    }
    let out = match &mut args.output {
        Output::I8(out, range) => TileOutput::I8(out.as_mut_ptr(), *range),
        Output::F32(out) => TileOutput::F32(out.as_mut_ptr()),
    };
    let channels = shape.in_channels;
    let width = kernel.widths.iter().copied().find(|&width| width <= channels);
    let square = shape.kernel_h == shape.kernel_w && matches!(shape.kernel_h, 3 | 5);
    let columns = kernel.columns
        && square
        && (shape.stride_w, shape.dilation_w) == (1, 1)
        && matches!(out, TileOutput::I8(..));
    let mut block = Block::new(width.unwrap_or(channels), kernel.widths[0], &shape, columns);
    let zero = Zero([args.input_zero_point; MAX_CHANNELS]);
    let mut line = Line::new(&shape, &zero, out);
    let lines = shape.batch * shape.out_h;
    let strip = (STRIP_BYTES / (shape.in_w * channels * shape.stride_h)).clamp(1, lines);
    for first_line in (0..lines).step_by(strip) {
        for first in (0..channels).step_by(block.channels) {
            // The last block starts early enough to be whole: some channels are computed twice.
            let first = first.min(channels - block.channels);
            block.set_constants(&weights, first);
            // SAFETY: the block's channels exist, in the weights and in every pixel of the input
            // and the output; the line is one of an existing image. The processor has the ISA.
            unsafe {
                let canonical = Canonical {
                    weights: weights.weights.as_ptr().add(first),
                    stride: channels,
                    kernel_h: shape.kernel_h,
                    kernel_w: shape.kernel_w,
                };
                (kernel.prepare)(&mut block, &canonical);
                for index in first_line..(first_line + strip).min(lines) {
                    let image = index / shape.out_h * shape.in_h * shape.in_w * channels;
                    line.input = args.input.as_ptr().add(image + first);
                    line.oy = index % shape.out_h;
                    line.out = out.add(index * shape.out_w * channels + first);
                    (kernel.line)(&block, &mut line);
                }
            }
        }
    }
}

impl Block {
    fn new(channels: usize, width: usize, shape: &ConvShape, columns: bool) -> Self {
        Self {
            weights: [[0; 4 * MAX_CHANNELS]; MAX_QUADS],
            bias: [0; MAX_CHANNELS],
            multiplier: [0.0; MAX_CHANNELS],
            channels,
            width,
            quads: if columns {
                shape.kernel_w * shape.kernel_h.div_ceil(4)
            } else {
                shape.taps().div_ceil(4)
            },
            columns,
        }
    }

    fn set_constants(&mut self, weights: &Weights<'_>, first: usize) {
        for start in (0..self.channels).step_by(4) {
            let at = start % 16 / 4 * (self.width / 4) + start / 16 * 4;
            let len = (self.channels - start).min(4);
            let from = first + start..first + start + len;
            self.bias[at..at + len].copy_from_slice(&weights.bias[from.clone()]);
            self.multiplier[at..at + len].copy_from_slice(&weights.multiplier[from]);
        }
    }

    /// Stores the accumulators of one pixel as f32.
    ///
    /// # Safety
    /// `out` has room for the block's channels.
    pub unsafe fn store_f32(&self, accumulators: &[i32; MAX_CHANNELS], out: *mut f32) {
        for channel in 0..self.channels {
            let at = channel % 16 / 4 * (self.width / 4) + channel / 16 * 4 + channel % 4;
            // SAFETY: the caller's promise.
            unsafe { *out.add(channel) = accumulators[at] as f32 * self.multiplier[at] };
        }
    }
}

impl Line {
    fn new(shape: &ConvShape, zero: &Zero, out: TileOutput) -> Self {
        let reach = (shape.kernel_w - 1) * shape.dilation_w;
        let end = match (shape.in_w - 1 + shape.pad_left).checked_sub(reach) {
            Some(last) => (last / shape.stride_w + 1).min(shape.out_w),
            None => 0,
        };
        Self {
            shape: *shape,
            input: core::ptr::null(),
            zero: zero.0.as_ptr(),
            oy: 0,
            interior: (shape.pad_left.div_ceil(shape.stride_w), end),
            out,
            taps: [core::ptr::null(); MAX_TAPS],
            steps: [0; MAX_TAPS],
        }
    }

    /// Pixels of the line.
    #[inline(always)]
    pub fn pixels(&self) -> usize {
        self.shape.out_w
    }

    /// Taps of the kernel.
    #[inline(always)]
    pub fn tap_count(&self) -> usize {
        self.shape.taps()
    }

    /// Channels of the whole tensor: from one pixel's output to the next.
    #[inline(always)]
    pub fn stride(&self) -> usize {
        self.shape.out_channels
    }

    /// The geometry.
    #[inline(always)]
    pub fn shape(&self) -> &ConvShape {
        &self.shape
    }

    /// Where the input lines start that the `K` rows of the kernel read, or zero points; and the
    /// masks to apply to an offset from there.
    ///
    /// # Safety
    /// `input` is as documented; `K` is the kernel's height.
    #[inline(always)]
    pub unsafe fn rows<const K: usize>(&self) -> ([*const i8; K], [usize; K]) {
        let shape = &self.shape;
        let (mut rows, mut masks) = ([self.zero; K], [0; K]);
        for ky in 0..K {
            if let Some(y) = shape.input_row(self.oy, ky) {
                // SAFETY: the line is inside the image.
                rows[ky] = unsafe { self.input.add(y * shape.in_w * shape.in_channels) };
                masks[ky] = usize::MAX;
            }
        }
        (rows, masks)
    }

    /// Zero points, for a column in the padding.
    #[inline(always)]
    pub fn zero(&self) -> *const i8 {
        self.zero
    }

    /// Points `taps` at the inputs of pixel `ox`, for the pixels of a line in order.
    ///
    /// # Safety
    /// `input` is as documented, and `taps` the number of the shape's taps.
    #[inline(always)]
    pub unsafe fn point_at(&mut self, ox: usize, taps: usize) {
        if ox > self.interior.0 && ox < self.interior.1 {
            for (tap, &step) in self.taps[..taps].iter_mut().zip(&self.steps[..taps]) {
                // SAFETY: pixel `ox - 1` and this one are interior, so the tap's column moves by
                // the stride and stays in the image; in the padding above and below, `step` is 0.
                *tap = unsafe { tap.add(step) };
            }
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.point_anew(ox) };
        }
    }

    /// # Safety
    /// As `point_at`.
    #[inline(never)]
    unsafe fn point_anew(&mut self, ox: usize) {
        let shape = &self.shape;
        let channels = shape.in_channels;
        let mut tap = 0;
        for ky in 0..shape.kernel_h {
            let y = shape.input_row(self.oy, ky);
            for kx in 0..shape.kernel_w {
                let (pointer, step) = match (y, shape.input_column(ox, kx)) {
                    // SAFETY: the position is inside the image.
                    (Some(y), Some(x)) => unsafe {
                        (self.input.add((y * shape.in_w + x) * channels), shape.stride_w * channels)
                    },
                    _ => (self.zero, 0),
                };
                (self.taps[tap], self.steps[tap]) = (pointer, step);
                tap += 1;
            }
        }
        for tap in &mut self.taps[tap..tap.next_multiple_of(4)] {
            *tap = self.zero;
        }
    }
}
