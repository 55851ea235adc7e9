//! ARMv7 NEON, in assembly (`armv7_neon.s`): `vmull.s8` and `vmlal.s8` add two int8 products in int16,
//! which holds them exactly (2 · 128 · 127 = 32 512), `vpadal.s16` adds pairs of them into int32.
//!
//! The assembly requantizes to int8; f32 outputs are scaled here, by the VFP, since NEON of ARMv7
//! flushes subnormals to zero.

use core::arch::global_asm;
use core::ptr;

use super::depthwise::{self, Kernel, Line, MAX_TAPS};
use super::gemm::{self, Micro, TileOutput};
use super::pack::NR4_KR8;
use super::{ConvArgs, WeightSource, Weights, reference};
use crate::requantize::{OutputRange, ROUNDING_MAGIC};

global_asm!(include_str!("armv7_neon.s"), options(raw));

unsafe extern "C" {
    fn edgepack_neon32_conv_2x4(tile: *const Tile);
    fn edgepack_neon32_depthwise_1x8(pixel: *const Pixel);
    fn edgepack_neon32_depthwise_1x16(pixel: *const Pixel);
}

const MR: usize = 2;
const NR: usize = 4;

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

/// What `edgepack_neon32_conv_2x4` reads.
#[repr(C)]
struct Tile {
    /// `[2][taps]`.
    rows: *const *const i8,
    taps: usize,
    tap_elems: usize,
    /// Aligned to 64 bytes.
    panel: *const u8,
    results: *mut Results,
    range: Range,
}

/// What `edgepack_neon32_conv_2x4` writes.
#[repr(C)]
#[derive(Default)]
struct Results {
    sums: [[i32; NR]; MR],
    bytes: [[i8; NR]; MR],
}

static MICRO: Micro = Micro { pixels: MR, layout: &NR4_KR8, tile };

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn conv(args: &mut ConvArgs<'_>) {
    // SAFETY: the caller's promise.
    unsafe { gemm::run(args, &MICRO) }
}

/// # Safety
/// As [`gemm::Tile`] documents; the processor has NEON.
unsafe fn tile(tile: &gemm::Tile) {
    let range = Range::new(tile.out);
    for first in (0..tile.live_channels).step_by(NR) {
        // SAFETY: the channel `first` is live, and a panel begins there: NR biases, NR multipliers
        // and `taps * tap_elems * NR` weights. Each row has `tap_elems` values, a multiple of 8. The
        // output has room for the live pixels and channels.
        unsafe {
            let panel = tile.panel.add(first / NR * tile.panel_bytes);
            let mut results = Results::default();
            let (rows, taps, tap_elems) = (tile.rows, tile.taps, tile.tap_elems);
            edgepack_neon32_conv_2x4(&Tile { rows, taps, tap_elems, panel, results: &mut results, range });
            let live = (tile.live_channels - first).min(NR);
            for pixel in 0..tile.live_pixels {
                match tile.out.add(pixel * tile.out_stride + first) {
                    TileOutput::I8(out, _) => {
                        out.copy_from_nonoverlapping(results.bytes[pixel].as_ptr(), live);
                    }
                    TileOutput::F32(out) => {
                        let multiplier: *const f32 = panel.add(NR * 4).cast();
                        for (n, &sum) in results.sums[pixel][..live].iter().enumerate() {
                            *out.add(n) = sum as f32 * *multiplier.add(n);
                        }
                    }
                }
            }
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
