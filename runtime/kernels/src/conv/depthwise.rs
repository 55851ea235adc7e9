//! What the depthwise rows share: the walk over strips of lines, blocks of channels and lines, and the
//! pointers of a pixel's taps.

use super::gemm::TileOutput;
use super::{ConvArgs, ConvShape, Output};

/// Kernels of more taps than this go to the scalar reference: 11 × 11 is the largest that is met.
pub(super) const MAX_TAPS: usize = 128;

/// The widest block of channels.
pub(super) const MAX_CHANNELS: usize = 64;

/// The part of the input that a strip of output lines reads.
pub(super) const STRIP_BYTES: usize = 24 * 1024;

/// The kernel of one ISA, with the constants of the block of channels that it is at.
pub(super) trait Kernel {
    /// Channels of a block, at most those of the tensor.
    fn channels(&self) -> usize;

    /// Lines that `line` computes at once.
    fn lines(&self) -> usize {
        1
    }

    /// The part of the input that a strip of output lines reads, where a line does not read more.
    fn strip_bytes(&self) -> usize {
        STRIP_BYTES
    }

    /// Turns to the block that begins at channel `first`.
    ///
    /// # Safety
    /// The block's channels exist; the processor has the ISA.
    unsafe fn prepare(&mut self, first: usize);

    /// Computes one line of output pixels of the present block, or [`Line::count`] of them.
    ///
    /// # Safety
    /// As [`Line`] documents; the processor has the ISA.
    unsafe fn line(&self, line: &mut Line);
}

/// One line of output pixels for one block of channels.
pub(super) struct Line {
    shape: ConvShape,
    /// The image's first pixel, at the block's first channel.
    input: *const i8,
    /// Zero points, for taps in the padding.
    zero: *const i8,
    oy: usize,
    /// Lines to compute, at most [`Kernel::lines`]; of one image.
    pub count: usize,
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

/// Where a convolution's results go.
pub(super) fn output(args: &mut ConvArgs<'_>) -> TileOutput {
    match &mut args.output {
        Output::I8(out, range) => TileOutput::I8(out.as_mut_ptr(), *range),
        Output::F32(out) => TileOutput::F32(out.as_mut_ptr()),
    }
}

/// Runs a depthwise convolution of at most [`MAX_TAPS`] taps.
///
/// # Safety
/// As the table's `RunFn`; the processor has the ISA of `kernel`.
pub(super) unsafe fn walk(args: &mut ConvArgs<'_>, kernel: &mut impl Kernel) {
    let shape = args.shape;
    let out = output(args);
    let channels = shape.in_channels;
    let block = kernel.channels();
    let zero = Zero([args.input_zero_point; MAX_CHANNELS]);
    let mut line = Line::new(&shape, &zero, out);
    let lines = shape.batch * shape.out_h;
    // A stride may be of any size, and the product beyond 32 bits.
    let strip =
        (kernel.strip_bytes() / (shape.in_w * channels).saturating_mul(shape.stride_h)).clamp(1, lines);
    let strip = strip.next_multiple_of(kernel.lines());
    for first_line in (0..lines).step_by(strip) {
        for first in (0..channels).step_by(block) {
            // The last block starts early enough to be whole: some channels are computed twice.
            let first = first.min(channels - block);
            // SAFETY: the block's channels exist, in the weights and in every pixel of the input and
            // the output; the line is one of an existing image. The processor has the ISA.
            unsafe {
                kernel.prepare(first);
                let end = (first_line + strip).min(lines);
                let mut index = first_line;
                while index < end {
                    let image = index / shape.out_h * shape.in_h * shape.in_w * channels;
                    line.input = args.input.as_ptr().add(image + first);
                    line.oy = index % shape.out_h;
                    line.out = out.add(index * shape.out_w * channels + first);
                    line.count = kernel.lines().min(end - index).min(shape.out_h - line.oy);
                    kernel.line(&mut line);
                    index += line.count;
                }
            }
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
            count: 1,
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
        let left = (ox * shape.stride_w).wrapping_sub(shape.pad_left);
        let mut tap = 0;
        for ky in 0..shape.kernel_h {
            let taps = &mut self.taps[tap..tap + shape.kernel_w];
            let steps = &mut self.steps[tap..tap + shape.kernel_w];
            tap += shape.kernel_w;
            let Some(y) = shape.input_row(self.oy, ky) else {
                taps.fill(self.zero);
                steps.fill(0);
                continue;
            };
            // Beyond the image as well: those are not read.
            let mut x = left;
            let mut pixel = self.input.wrapping_add((y * shape.in_w).wrapping_add(x).wrapping_mul(channels));
            for (tap, step) in taps.iter_mut().zip(steps) {
                let is_inside = x < shape.in_w;
                *tap = if is_inside { pixel } else { self.zero };
                *step = if is_inside { shape.stride_w * channels } else { 0 };
                x = x.wrapping_add(shape.dilation_w);
                pixel = pixel.wrapping_add(shape.dilation_w * channels);
            }
        }
        for tap in &mut self.taps[tap..tap.next_multiple_of(4)] {
            *tap = self.zero;
        }
    }
}

/// What the walk by columns needs.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl Line {
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
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub unsafe fn rows<const K: usize>(&self) -> ([*const i8; K], [usize; K]) {
        // SAFETY: the caller's promise.
        unsafe { self.first_rows(K) }
    }

    /// The same of `count` lines, which several output lines read; at most `N`.
    ///
    /// # Safety
    /// `input` is as documented.
    #[inline(always)]
    pub unsafe fn first_rows<const N: usize>(&self, count: usize) -> ([*const i8; N], [usize; N]) {
        let shape = &self.shape;
        let (mut rows, mut masks) = ([self.zero; N], [0; N]);
        // Above the image it wraps to beyond its other end.
        let mut y = (self.oy * shape.stride_h).wrapping_sub(shape.pad_top);
        let line = shape.in_w * shape.in_channels;
        let mut row = self.input.wrapping_add(y.wrapping_mul(line));
        let step = line.wrapping_mul(shape.dilation_h);
        for ky in 0..count {
            if y < shape.in_h {
                (rows[ky], masks[ky]) = (row, usize::MAX);
            }
            (y, row) = (y.wrapping_add(shape.dilation_h), row.wrapping_add(step));
        }
        (rows, masks)
    }

    /// Zero points, for a column in the padding.
    #[inline(always)]
    pub fn zero(&self) -> *const i8 {
        self.zero
    }
}
