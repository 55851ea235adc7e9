//! Depthwise convolution by ARMv7 NEON (`armv7/depthwise.s`): `vmull.s8` and `vmlal.s8` add the products of
//! two taps in int16, `vaddw.s16` adds these to int32.

use core::ptr;

use super::depthwise::{self, Kernel, Line, MAX_TAPS};
use super::gemm::TileOutput;
use super::{ConvArgs, WeightSource, Weights, reference};
use crate::requantize::{OutputRange, ROUNDING_MAGIC};

unsafe extern "C" {
    fn edgepack_neon32_depthwise_1x8(pixel: *const Pixel);
    fn edgepack_neon32_depthwise_1x16(pixel: *const Pixel);
}

/// What the assembly reads of an [`OutputRange`].
#[repr(C)]
#[derive(Clone, Copy)]
struct Range {
    low: f32,
    high: f32,
    magic: f32,
    zero_point_less_magic: i32,
}

impl Range {
    fn new(out: TileOutput) -> Self {
        let range = match out {
            TileOutput::I8(_, range) => range,
            TileOutput::F32(_) => OutputRange::full(0),
        };
        Self {
            low: (range.min - range.zero_point) as f32,
            high: (range.max - range.zero_point) as f32,
            magic: ROUNDING_MAGIC,
            zero_point_less_magic: range.zero_point.wrapping_sub(ROUNDING_MAGIC.to_bits() as i32),
        }
    }
}

/// What the depthwise assembly reads.
#[repr(C)]
struct Pixel {
    taps: *const *const i8,
    count: usize,
    /// Of tap 0, from the block's first channel on.
    weights: *const i8,
    /// From one tap's weights to the next.
    stride: usize,
    bias: *const i32,
    multiplier: *const f32,
    /// Where the sums go; null: they are requantized to `bytes`.
    sums: *mut i32,
    bytes: *mut i8,
    range: Range,
}

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn depthwise(args: &mut ConvArgs<'_>) {
    let WeightSource::Canonical(weights) = args.weights else { return };
    let channels = args.shape.in_channels;
    if args.shape.taps() > MAX_TAPS || channels < 8 {
        return reference::depthwise(args, &weights);
    }
    let range = Range::new(depthwise::output(args));
    let channels = if channels < 16 { 8 } else { 16 };
    // SAFETY: the caller's promise; the block's channels exist.
    unsafe { depthwise::walk(args, &mut Block { weights, channels, first: 0, range }) }
}

/// 8 or 16 channels.
struct Block<'a> {
    weights: Weights<'a>,
    channels: usize,
    first: usize,
    range: Range,
}

impl Kernel for Block<'_> {
    fn channels(&self) -> usize {
        self.channels
    }

    unsafe fn prepare(&mut self, first: usize) {
        self.first = first;
    }

    unsafe fn line(&self, line: &mut Line) {
        let count = line.tap_count();
        // SAFETY: every tap has the block's channels, in the weights and in the input, and so have
        // biases, multipliers and the output. The processor has NEON.
        unsafe {
            let multiplier = self.weights.multiplier.as_ptr().add(self.first);
            let mut pixel = Pixel {
                taps: ptr::null(),
                count,
                weights: self.weights.weights.as_ptr().add(self.first),
                stride: line.stride(),
                bias: self.weights.bias.as_ptr().add(self.first),
                multiplier,
                sums: ptr::null_mut(),
                bytes: ptr::null_mut(),
                range: self.range,
            };
            for ox in 0..line.pixels() {
                line.point_at(ox, count);
                pixel.taps = line.taps.as_ptr();
                let mut sums = [0; 16];
                let out = line.out.add(ox * line.stride());
                match out {
                    TileOutput::I8(out, _) => pixel.bytes = out,
                    TileOutput::F32(_) => pixel.sums = sums.as_mut_ptr(),
                }
                if self.channels == 16 {
                    edgepack_neon32_depthwise_1x16(&pixel);
                } else {
                    edgepack_neon32_depthwise_1x8(&pixel);
                }
                if let TileOutput::F32(out) = out {
                    for (n, &sum) in sums[..self.channels].iter().enumerate() {
                        *out.add(n) = sum as f32 * *multiplier.add(n);
                    }
                }
            }
        }
    }
}
