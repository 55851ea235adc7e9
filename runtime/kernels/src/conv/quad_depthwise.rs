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
    /// Whether `line` knows other orders than that of all taps in turn.
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
    /// What quads are made of.
    pub order: Order,
}

/// What quads are made of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// All taps in turn.
    Taps,
    /// The three taps of each column of a 3 × 3 kernel: where the stride is 1, a column that has been
    /// interleaved once serves every pixel that reads it.
    Columns,
    /// The first four taps of each column of a 5 × 5 kernel; then the first four of the last row; then its fifth,
    /// where the next pixel has it among its first four: so far ahead as the stride.
    ColumnsAndRow { stride: usize },
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
    pub fn quad(&self, quad: usize, order: Order) -> [Option<*const i8>; 4] {
        let tap = |i| {
            let tap = match order {
                Order::Taps => Some(quad * 4 + i).filter(|&tap| tap < self.kernel_h * self.kernel_w),
                Order::Columns => (i < 3).then_some(i * 3 + quad),
                Order::ColumnsAndRow { stride } => match quad {
                    0..5 => Some(i * 5 + quad),
                    5 => Some(20 + i),
                    _ => (i == 4 - stride).then_some(24),
                },
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
    let order = if isa.columns { Order::of(args) } else { Order::Taps };
    let block = Block::new(width.unwrap_or(shape.in_channels), isa.widths[0], &shape, order);
    // SAFETY: the caller's promise.
    unsafe { depthwise::walk(args, &mut Kernel { isa, weights, shape, block }) }
}

impl Order {
    /// Columns, of 3 × 3 at stride 1 and of 5 × 5 at stride 1 and 2, to int8.
    fn of(args: &ConvArgs<'_>) -> Self {
        let shape = &args.shape;
        match (shape.kernel_h, shape.kernel_w, shape.stride_w, &args.output) {
            (3, 3, 1, Output::I8(..)) if shape.dilation_w == 1 => Self::Columns,
            (5, 5, stride @ 1..=2, Output::I8(..)) if shape.dilation_w == 1 => Self::ColumnsAndRow { stride },
            _ => Self::Taps,
        }
    }
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
    pub fn new(channels: usize, width: usize, shape: &ConvShape, order: Order) -> Self {
        Self {
            weights: [[0; 4 * MAX_CHANNELS]; MAX_QUADS],
            bias: [0; MAX_CHANNELS],
            multiplier: [0.0; MAX_CHANNELS],
            channels,
            width,
            quads: match order {
                Order::Taps => shape.taps().div_ceil(4),
                Order::Columns => 3,
                Order::ColumnsAndRow { .. } => 7,
            },
            order,
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
