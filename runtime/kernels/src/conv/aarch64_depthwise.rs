//! Depthwise by AArch64 NEON: 16 (or 8) channels at a time, the products of two taps added in int16,
//! which holds them exactly (2 · 128 · 127 = 32 512), and `saddw` into int32. For 3 × 3 and 5 × 5 to int8 there are
//! [planes](aarch64_depthwise_plane).

use core::arch::aarch64::*;

use super::aarch64_depthwise_plane;
use super::aarch64_requantize::{Epilogue, scale};
use super::depthwise::{self, Kernel, Line, MAX_TAPS};
use super::gemm::TileOutput;
use super::{ConvArgs, WeightSource, Weights, reference};

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn depthwise(args: &mut ConvArgs<'_>) {
    // SAFETY: the caller's promise.
    if unsafe { aarch64_depthwise_plane::depthwise(args) } {
        return;
    }
    let WeightSource::Canonical(weights) = args.weights else { return };
    let channels = args.shape.in_channels;
    if args.shape.taps() > MAX_TAPS || channels < 8 {
        return reference::depthwise(args, &weights);
    }
    // SAFETY: the caller's promise; every AArch64 processor has NEON, and the block's channels exist.
    unsafe {
        if channels < 16 {
            depthwise::walk(args, &mut Block::<1> { weights, first: 0 });
        } else {
            depthwise::walk(args, &mut Block::<2> { weights, first: 0 });
        }
    }
}

/// `8 * E` channels.
struct Block<'a, const E: usize> {
    weights: Weights<'a>,
    first: usize,
}

impl<const E: usize> Kernel for Block<'_, E> {
    fn channels(&self) -> usize {
        8 * E
    }

    unsafe fn prepare(&mut self, first: usize) {
        self.first = first;
    }

    unsafe fn line(&self, line: &mut Line) {
        // SAFETY: the caller's promise.
        unsafe { self.any(line) }
    }
}

/// The sums of 8 channels.
type Sums = [int32x4_t; 2];

impl<const E: usize> Block<'_, E> {
    /// A line with any number of taps.
    ///
    /// # Safety
    /// As [`Kernel::line`].
    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn any(&self, line: &mut Line) {
        let taps = line.tap_count();
        // SAFETY: every tap has the block's channels, in the weights and in the input.
        unsafe {
            for ox in 0..line.pixels() {
                line.point_at(ox, taps);
                let mut acc = self.biases();
                for pair in 0..taps / 2 {
                    let taps = [2 * pair, 2 * pair + 1];
                    two(
                        &mut acc,
                        taps.map(|tap| load(line.taps[tap])),
                        taps.map(|tap| load(self.tap(tap, line))),
                    );
                }
                if taps % 2 == 1 {
                    one(&mut acc, load(line.taps[taps - 1]), load(self.tap(taps - 1, line)));
                }
                self.store(acc, line.out.add(ox * line.stride()));
            }
        }
    }

    /// The weights of a tap, from the block's first channel on.
    ///
    /// # Safety
    /// The tap exists.
    #[inline(always)]
    unsafe fn tap(&self, tap: usize, line: &Line) -> *const i8 {
        // SAFETY: the caller's promise.
        unsafe { self.weights.weights.as_ptr().add(tap * line.stride() + self.first) }
    }

    /// # Safety
    /// The block's channels exist.
    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn biases(&self) -> [Sums; E] {
        let mut acc = [[vdupq_n_s32(0); 2]; E];
        // SAFETY: the caller's promise.
        unsafe {
            let bias = self.weights.bias.as_ptr().add(self.first);
            for (e, acc) in acc.iter_mut().enumerate() {
                *acc = [vld1q_s32(bias.add(8 * e)), vld1q_s32(bias.add(8 * e + 4))];
            }
        }
        acc
    }

    /// # Safety
    /// `out` has room for the block's channels.
    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn store(&self, acc: [Sums; E], out: TileOutput) {
        // SAFETY: the caller's promise; the block's channels have multipliers.
        unsafe {
            let multiplier = self.weights.multiplier.as_ptr().add(self.first);
            let mut scaled = [[vdupq_n_f32(0.0); 2]; E];
            for (e, (scaled, acc)) in scaled.iter_mut().zip(acc).enumerate() {
                *scaled = [
                    scale(acc[0], vld1q_f32(multiplier.add(8 * e))),
                    scale(acc[1], vld1q_f32(multiplier.add(8 * e + 4))),
                ];
            }
            match out {
                TileOutput::I8(out, range) => {
                    let epilogue = Epilogue::new(range);
                    if let [[a, b], [c, d]] = scaled[..] {
                        vst1q_s8(out, epilogue.bytes([a, b, c, d]));
                    } else {
                        vst1_s8(out, epilogue.bytes8(scaled[0]));
                    }
                }
                TileOutput::F32(out) => {
                    for (e, scaled) in scaled.into_iter().enumerate() {
                        vst1q_f32(out.add(8 * e), scaled[0]);
                        vst1q_f32(out.add(8 * e + 4), scaled[1]);
                    }
                }
            }
        }
    }
}

/// # Safety
/// `from` has `8 * E` readable values.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn load<const E: usize>(from: *const i8) -> [int8x8_t; E] {
    let mut all = [vdup_n_s8(0); E];
    for (e, eight) in all.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *eight = unsafe { vld1_s8(from.add(8 * e)) };
    }
    all
}

/// Adds the products of two taps.
#[target_feature(enable = "neon")]
#[inline]
fn two<const E: usize>(acc: &mut [Sums; E], x: [[int8x8_t; E]; 2], w: [[int8x8_t; E]; 2]) {
    for (e, acc) in acc.iter_mut().enumerate() {
        add(acc, vmlal_s8(vmull_s8(x[0][e], w[0][e]), x[1][e], w[1][e]));
    }
}

/// Adds the products of one tap.
#[target_feature(enable = "neon")]
#[inline]
fn one<const E: usize>(acc: &mut [Sums; E], x: [int8x8_t; E], w: [int8x8_t; E]) {
    for (e, acc) in acc.iter_mut().enumerate() {
        add(acc, vmull_s8(x[e], w[e]));
    }
}

#[target_feature(enable = "neon")]
#[inline]
fn add(acc: &mut Sums, products: int16x8_t) {
    acc[0] = vaddw_s16(acc[0], vget_low_s16(products));
    acc[1] = vaddw_high_s16(acc[1], products);
}
