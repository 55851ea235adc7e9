//! Depthwise 3 × 3 and 5 × 5 by AVX512-VNNI, column by column of the padded input.
//!
//! The rows of a column that one or two output lines need are interleaved once, and serve every output
//! pixel that the column is a tap of: column `c` adds to the pixels `ox` with `0 <= c - S ox < K`, whose
//! accumulators wait in `W = ceil(K / S)` slots, and completes one of them. Two lines share what they both
//! read. Weights come from memory with the multiplication, so that the registers are for accumulators.
//! ```text
//! K S lines   rows quads   slots   registers waiting   multiply-adds of 64 results
//! 3 1 2       4    1       3       24                  12
//! 3 2 1       3    1       2       8                   12
//! 5 1 1       5    2       5       20                  40
//! 5 2 2       7    2       3       24                  40
//! ```

use core::arch::x86_64::*;

use super::depthwise::{self, Kernel, Line};
use super::gemm::TileOutput;
use super::quad_depthwise::Block;
use super::x86_avx512vnni_depthwise::{load, mask, store};
use super::{ConvArgs, ConvShape, Output, Weights};
use crate::requantize::OutputRange;
use crate::x86_avx512::{Bounds, interleave};

const WIDTH: usize = 64;

/// Whether this is a convolution for these kernels.
pub(super) fn accepts(args: &ConvArgs<'_>) -> bool {
    let shape = &args.shape;
    shape.kernel_h == shape.kernel_w
        && matches!(shape.kernel_h, 3 | 5)
        && shape.stride_h == shape.stride_w
        && matches!(shape.stride_h, 1 | 2)
        && (shape.dilation_h, shape.dilation_w) == (1, 1)
        && matches!(args.output, Output::I8(..))
}

/// # Safety
/// As the table's `RunFn`; `accepts` these arguments.
pub(super) unsafe fn run(args: &mut ConvArgs<'_>, weights: Weights<'_>) {
    let shape = args.shape;
    let block = Block::new(shape.in_channels.min(WIDTH), WIDTH, &shape, true);
    let lines = if shape.kernel_h + shape.stride_h == 7 { 2 } else { 1 };
    // SAFETY: the caller's promise.
    unsafe { depthwise::walk(args, &mut Columns { weights, shape, block, lines }) }
}

struct Columns<'a> {
    weights: Weights<'a>,
    shape: ConvShape,
    /// Weights are `[line][kx][quad]`: those of the second line are further down by the stride.
    block: Block,
    lines: usize,
}

impl Kernel for Columns<'_> {
    fn channels(&self) -> usize {
        self.block.channels
    }

    fn lines(&self) -> usize {
        self.lines
    }

    unsafe fn prepare(&mut self, first: usize) {
        self.block.set_constants(&self.weights, first);
        // SAFETY: the caller's promise.
        unsafe { self.prepare_weights(first) }
    }

    unsafe fn line(&self, line: &mut Line) {
        // SAFETY: the caller's promise.
        unsafe { self.any_line(line) }
    }
}

impl Columns<'_> {
    fn quads(&self) -> usize {
        (self.shape.kernel_h + self.shape.stride_h * (self.lines - 1)).div_ceil(4)
    }

    /// # Safety
    /// The block's channels from `first` on exist; the processor has AVX-512 F, BW, VL and VNNI.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn prepare_weights(&mut self, first: usize) {
        let (kernel, stride, quads) = (self.shape.kernel_h, self.shape.stride_h, self.quads());
        let mask = mask(self.block.channels);
        let weights = self.weights.weights.as_ptr().wrapping_add(first);
        let mut correction = [_mm512_setzero_si512(); 4];
        for index in 0..self.lines * kernel * quads {
            let (line, kx, quad) = (index / (kernel * quads), index / quads % kernel, index % quads);
            let mut taps = [_mm512_setzero_si512(); 4];
            for (i, to) in taps.iter_mut().enumerate() {
                let ky = (quad * 4 + i).wrapping_sub(line * stride);
                if ky < kernel {
                    let tap = weights.wrapping_add((ky * kernel + kx) * self.shape.in_channels);
                    // SAFETY: the tap exists, and the mask leaves the block's channels.
                    *to = unsafe { _mm512_maskz_loadu_epi8(mask, tap) };
                }
            }
            for (i, weights) in interleave(taps).into_iter().enumerate() {
                if line == 0 {
                    correction[i] = _mm512_dpbusd_epi32(correction[i], _mm512_set1_epi8(-128), weights);
                }
                // SAFETY: four registers are one quad of weights, of which there are at most 20.
                unsafe {
                    let to = self.block.weights[index].as_mut_ptr().add(i * WIDTH);
                    _mm512_storeu_si512(to.cast(), weights);
                }
            }
        }
        for (i, correction) in correction.into_iter().enumerate() {
            // SAFETY: four registers are all biases.
            unsafe {
                let bias: *mut __m512i = self.block.bias.as_mut_ptr().add(i * 16).cast();
                _mm512_storeu_si512(bias, _mm512_sub_epi32(_mm512_loadu_si512(bias), correction));
            }
        }
    }

    /// # Safety
    /// As [`Line`] documents; the processor has AVX-512 F, BW, VL and VNNI.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn any_line(&self, line: &Line) {
        let TileOutput::I8(out, range) = line.out else { return };
        let to = To { out, range };
        let constants = Constants {
            weights: self.block.weights.as_ptr().cast(),
            bias: self.block.bias.as_ptr().cast(),
            multiplier: self.block.multiplier.as_ptr().cast(),
            channels: self.block.channels,
        };
        let full = self.block.channels == WIDTH;
        // SAFETY: the caller's promise; the constants are the kernel's.
        unsafe {
            match (self.shape.kernel_h, self.shape.stride_h, line.count) {
                (3, 1, 2) if full => columns::<3, 1, 2, 1, 3, true>(line, constants, to),
                (3, 1, 2) => columns::<3, 1, 2, 1, 3, false>(line, constants, to),
                (3, 1, _) if full => columns::<3, 1, 1, 1, 3, true>(line, constants, to),
                (3, 1, _) => columns::<3, 1, 1, 1, 3, false>(line, constants, to),
                (3, _, _) if full => columns::<3, 2, 1, 1, 2, true>(line, constants, to),
                (3, _, _) => columns::<3, 2, 1, 1, 2, false>(line, constants, to),
                (_, 1, _) if full => columns::<5, 1, 1, 2, 5, true>(line, constants, to),
                (_, 1, _) => columns::<5, 1, 1, 2, 5, false>(line, constants, to),
                (_, _, 2) if full => columns::<5, 2, 2, 2, 3, true>(line, constants, to),
                (_, _, 2) => columns::<5, 2, 2, 2, 3, false>(line, constants, to),
                (_, _, _) if full => columns::<5, 2, 1, 2, 3, true>(line, constants, to),
                (_, _, _) => columns::<5, 2, 1, 2, 3, false>(line, constants, to),
            }
        }
    }
}

/// A block's constants. Behind raw pointers: what is behind a reference, the compiler would take into
/// registers that it does not have, and so to a stack that is not aligned.
#[derive(Clone, Copy)]
struct Constants {
    /// `[L][K][Q]` quads of four registers, aligned to 64 bytes.
    weights: *const [__m512i; 4],
    /// Four registers.
    bias: *const [__m512i; 4],
    /// Four registers.
    multiplier: *const [__m512; 4],
    channels: usize,
}

/// Where pixel 0 of the first line goes, and in what range.
#[derive(Clone, Copy)]
struct To {
    out: *mut i8,
    range: OutputRange,
}

/// `L` lines of a `K` × `K` kernel at stride `S`: `Q` quads of rows, `W` slots. `FULL` where the block
/// has 64 channels.
///
/// # Safety
/// As [`Line`] and [`Constants`] document, for this kernel; the processor has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline(never)]
unsafe fn columns<
    const K: usize,
    const S: usize,
    const L: usize,
    const Q: usize,
    const W: usize,
    const FULL: bool,
>(
    line: &Line,
    constants: Constants,
    to: To,
) {
    let shape = line.shape();
    let mask = mask(constants.channels);
    let bounds = Bounds::new(to.range);
    // SAFETY: the caller's promise.
    let bias = unsafe { *constants.bias };
    let rows_used = K + S * (L - 1);
    // SAFETY: an output line reads so many rows, the second one `S` further down.
    let (rows, masks) = unsafe { line.first_rows::<8>(rows_used) };
    let mut waiting = [[bias; W]; L];
    let columns = (shape.out_w - 1) * S + K;
    // With the phase known, slots are registers: so a period is written out, in which every slot takes
    // every part.
    macro_rules! phase {
        ($phase:literal, $first:ident) => {
            let column = $first + $phase;
            if $phase < S * W && column < columns {
                let x = column.wrapping_sub(shape.pad_left);
                for quad in 0..Q {
                    let mut taps = [_mm512_setzero_si512(); 4];
                    for (i, tap) in taps.iter_mut().enumerate() {
                        let row = quad * 4 + i;
                        if row < rows_used {
                            let offset = x.wrapping_mul(shape.in_channels) & masks[row];
                            let from =
                                if x < shape.in_w { rows[row].wrapping_add(offset) } else { line.zero() };
                            // SAFETY: pixel `x` of an input line, or zero points.
                            *tap = unsafe { load::<FULL>(from, mask) };
                        }
                    }
                    let taps = interleave(taps);
                    for l in 0..L {
                        // Whether the line reads rows of this quad.
                        if quad >= l * S / 4 && quad <= (l * S + K - 1) / 4 {
                            for kx in 0..K {
                                let ahead = $phase + K * S * W - kx;
                                if ahead % S == 0 {
                                    let slot = &mut waiting[l][ahead / S % W];
                                    // SAFETY: the quad exists.
                                    let weights = unsafe { &*constants.weights.add((l * K + kx) * Q + quad) };
                                    for i in 0..4 {
                                        slot[i] = _mm512_dpbusd_epi32(slot[i], taps[i], weights[i]);
                                    }
                                }
                            }
                        }
                    }
                }
                let ahead = $phase + K * S * W - (K - 1);
                if ahead % S == 0 {
                    for l in 0..L {
                        let slot = &mut waiting[l][ahead / S % W];
                        if let Some(ox) = column.checked_sub(K - 1) {
                            let at = (l * shape.out_w + ox / S) * shape.in_channels;
                            let mut real = [_mm512_setzero_ps(); 4];
                            // SAFETY: there are four multipliers; pixel `ox / S` of the line.
                            unsafe {
                                for i in 0..4 {
                                    let multiplier = (*constants.multiplier)[i];
                                    real[i] = _mm512_mul_ps(_mm512_cvtepi32_ps(slot[i]), multiplier);
                                }
                                store::<FULL>(bounds.quantize(&real), to.out.add(at), mask);
                            }
                        }
                        *slot = bias;
                    }
                }
            }
        };
    }
    for first in (0..columns).step_by(S * W) {
        phase!(0, first);
        phase!(1, first);
        phase!(2, first);
        phase!(3, first);
        phase!(4, first);
        phase!(5, first);
    }
}
