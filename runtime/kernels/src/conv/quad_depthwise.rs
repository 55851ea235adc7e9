//! Depthwise by quads of taps: what the rows of AVX2 and AVX512-VNNI share.
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

use super::depthwise::{self, Line, MAX_CHANNELS, MAX_TAPS};
use super::{ConvArgs, ConvShape, Output, WeightSource, Weights, reference};

const MAX_QUADS: usize = MAX_TAPS / 4;

/// The kernel of one ISA.
pub(super) struct Isa {
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

/// Runs a depthwise convolution.
///
/// # Safety
/// As the table's `RunFn`; the processor has the ISA of `isa`.
pub(super) unsafe fn run(args: &mut ConvArgs<'_>, isa: &Isa) {
    let WeightSource::Canonical(weights) = args.weights else { return };
    let shape = args.shape;
    if shape.taps() > MAX_TAPS {
        return reference::depthwise(args, &weights);
    }
    let width = isa.widths.iter().copied().find(|&width| width <= shape.in_channels);
    let columns = isa.columns && by_columns(args);
    let block = Block::new(width.unwrap_or(shape.in_channels), isa.widths[0], &shape, columns);
    // SAFETY: the caller's promise.
    unsafe { depthwise::walk(args, &mut Kernel { isa, weights, shape, block }) }
}

/// Whether quads are made of columns: 3 × 3 and 5 × 5 at stride 1, to int8.
pub(super) fn by_columns(args: &ConvArgs<'_>) -> bool {
    let shape = &args.shape;
    shape.kernel_h == shape.kernel_w
        && matches!(shape.kernel_h, 3 | 5)
        && (shape.stride_w, shape.dilation_w) == (1, 1)
        && matches!(args.output, Output::I8(..))
}

struct Kernel<'a> {
    isa: &'a Isa,
    weights: Weights<'a>,
    shape: ConvShape,
    block: Block,
}

impl depthwise::Kernel for Kernel<'_> {
    fn channels(&self) -> usize {
        self.block.channels
    }

    unsafe fn prepare(&mut self, first: usize) {
        self.block.set_constants(&self.weights, first);
        let canonical = Canonical {
            // SAFETY: the block's channels exist.
            weights: unsafe { self.weights.weights.as_ptr().add(first) },
            stride: self.shape.in_channels,
            kernel_h: self.shape.kernel_h,
            kernel_w: self.shape.kernel_w,
        };
        // SAFETY: the caller's promise.
        unsafe { (self.isa.prepare)(&mut self.block, &canonical) }
    }

    unsafe fn line(&self, line: &mut Line) {
        // SAFETY: the caller's promise.
        unsafe { (self.isa.line)(&self.block, line) }
    }
}

impl Block {
    /// For blocks of `channels`; weights and constants are still to come.
    pub fn new(channels: usize, width: usize, shape: &ConvShape, columns: bool) -> Self {
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

    /// Bias and multipliers of the channels from `first` on.
    pub fn set_constants(&mut self, weights: &Weights<'_>, first: usize) {
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
