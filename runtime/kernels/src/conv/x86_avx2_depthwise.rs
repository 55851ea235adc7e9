//! Depthwise by AVX2: 32 channels × 4 taps at a time.
//!
//! `vpmaddubsw` adds two products of an unsigned and a signed byte into int16, saturating. Given
//! `|x|` and the weight with the sign of `x` it cannot saturate: `|x| <= 128` and `|w| <= 127`, so
//! that two products are at most 32 512. `vpmaddwd` by ones then adds pairs of pairs in int32. (Intel
//! SDM vol. 2, VPMADDUBSW, VPSIGNB.) Half the instructions of widening both sides to int16.
//!
//! Blocks are 32 channels, 16 where there are fewer than 32, and fewer than 16 go over the stack.

use core::arch::asm;
use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::ConvArgs;
use super::depthwise::Line;
use super::gemm::TileOutput;
use super::quad_depthwise::{self, Block, Canonical, Isa, Order};
use crate::requantize::OutputRange;

/// Channels of a register.
const WIDTH: usize = 32;

static AVX2: Isa =
    Isa { widths: &[WIDTH, 16], columns: true, prepare: prepare::<false>, line: line::<false> };
static AVX_VNNI: Isa =
    Isa { widths: &[WIDTH, 16], columns: true, prepare: prepare::<true>, line: line::<true> };

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn depthwise(args: &mut ConvArgs<'_>) {
    // SAFETY: the caller's promise.
    unsafe { quad_depthwise::run(args, &AVX2) }
}

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn depthwise_vnni(args: &mut ConvArgs<'_>) {
    // SAFETY: the caller's promise.
    unsafe { quad_depthwise::run(args, &AVX_VNNI) }
}

/// # Safety
/// As [`Isa::prepare`].
#[target_feature(enable = "avx2")]
unsafe fn prepare<const VNNI: bool>(block: &mut Block, canonical: &Canonical) {
    let mut correction = [_mm256_setzero_si256(); 4];
    for quad in 0..block.quads {
        let mut taps = [_mm256_setzero_si256(); 4];
        for (to, tap) in taps.iter_mut().zip(canonical.quad(quad, block.order)) {
            if let Some(tap) = tap {
                // SAFETY: the tap exists, with the block's channels.
                *to = unsafe { load::<0, false>(tap, block.channels) };
            }
        }
        for (i, weights) in interleave(taps).into_iter().enumerate() {
            // SAFETY: four registers are within one quad of weights.
            unsafe { _mm256_storeu_si256(block.weights[quad].as_mut_ptr().add(i * 32).cast(), weights) };
        }
        if VNNI {
            // SAFETY: the quad's four registers; the caller's promise.
            unsafe {
                multiply::<VNNI>(
                    &mut correction,
                    [_mm256_set1_epi8(-128); 4],
                    block.weights[quad].as_ptr().cast(),
                )
            };
        }
    }
    for (i, correction) in correction.into_iter().enumerate() {
        // SAFETY: 8 of the 64 biases.
        unsafe {
            let bias: *mut __m256i = block.bias.as_mut_ptr().add(i * 8).cast();
            _mm256_storeu_si256(bias, _mm256_sub_epi32(_mm256_loadu_si256(bias), correction));
        }
    }
}

/// # Safety
/// As [`Line`] documents; the processor has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn line<const VNNI: bool>(block: &Block, line: &mut Line) {
    // SAFETY: the caller's promise; the constants are the kernel's and the block's.
    unsafe {
        match (line.out, block.order, line.tap_count(), block.channels) {
            (TileOutput::I8(out, range), Order::Columns, _, WIDTH) => {
                columns::<WIDTH, VNNI>(block, line, out, range);
            }
            (TileOutput::I8(out, range), Order::Columns, _, 16) => {
                columns::<16, VNNI>(block, line, out, range)
            }
            (TileOutput::I8(out, range), Order::Columns, ..) => columns::<0, VNNI>(block, line, out, range),
            (TileOutput::I8(out, range), Order::ColumnsAndRow { stride: 1 }, _, WIDTH) => {
                five::<1, WIDTH, VNNI>(block, line, out, range);
            }
            (TileOutput::I8(out, range), Order::ColumnsAndRow { stride: 1 }, _, 16) => {
                five::<1, 16, VNNI>(block, line, out, range);
            }
            (TileOutput::I8(out, range), Order::ColumnsAndRow { stride: 1 }, ..) => {
                five::<1, 0, VNNI>(block, line, out, range);
            }
            (TileOutput::I8(out, range), Order::ColumnsAndRow { .. }, _, WIDTH) => {
                five::<2, WIDTH, VNNI>(block, line, out, range);
            }
            (TileOutput::I8(out, range), Order::ColumnsAndRow { .. }, _, 16) => {
                five::<2, 16, VNNI>(block, line, out, range);
            }
            (TileOutput::I8(out, range), Order::ColumnsAndRow { .. }, ..) => {
                five::<2, 0, VNNI>(block, line, out, range);
            }
            (TileOutput::I8(out, range), Order::Taps, 9, WIDTH) => {
                fixed::<9, 3, WIDTH, VNNI>(block, line, out, range);
            }
            (TileOutput::I8(out, range), Order::Taps, 9, 16) => {
                fixed::<9, 3, 16, VNNI>(block, line, out, range)
            }
            (_, _, _, WIDTH) => any::<WIDTH, VNNI>(block, line),
            (_, _, _, 16) => any::<16, VNNI>(block, line),
            _ => any::<0, VNNI>(block, line),
        }
    }
}

/// A line of a 3 × 3 kernel at stride 1, column by column of the padded input; the block has `C` channels
/// (0: fewer than 16).
///
/// Column `c` adds to the pixels `c - K + 1 ..= c`, whose accumulators wait in `waiting`, and
/// completes the first of them. So each column is loaded and interleaved once, not `K` times.
///
/// # Safety
/// As `line`; `out` is where its pixel 0 goes.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn columns<const C: usize, const VNNI: bool>(
    block: &Block,
    line: &Line,
    out: *mut i8,
    range: OutputRange,
) {
    const K: usize = 3;
    let shape = line.shape();
    // SAFETY: `K` is the kernel's height.
    let (rows, masks) = unsafe { line.rows::<K>() };
    let mut waiting = [biases(block); K];
    for column in 0..shape.out_w + K - 1 {
        let x = column.wrapping_sub(shape.pad_left);
        let mut taps = [_mm256_setzero_si256(); 4];
        for ky in 0..K {
            let offset = x.wrapping_mul(shape.in_channels) & masks[ky];
            let from = if x < shape.in_w { rows[ky].wrapping_add(offset) } else { line.zero() };
            // SAFETY: pixel `x` of an input line, or zero points.
            taps[ky] = unsafe { load::<C, VNNI>(from, block.channels) };
        }
        let taps = interleave(taps);
        for (waiting, weights) in waiting.iter_mut().zip(&block.weights) {
            // SAFETY: the quad has four registers; the caller's promise.
            unsafe { multiply::<VNNI>(waiting, taps, weights.as_ptr().cast()) };
        }
        if let Some(ox) = column.checked_sub(K - 1) {
            // SAFETY: pixel `ox` of the line.
            unsafe { store::<C>(waiting[K - 1], block, out.add(ox * shape.in_channels), range) };
        }
        for kx in (1..K).rev() {
            waiting[kx] = waiting[kx - 1];
        }
        waiting[0] = biases(block);
    }
}

/// Pixels of a part of a line.
const PART: usize = 16;

/// What a part of a line reads, interleaved, in the first-level cache.
struct Interleaved {
    /// Of each column, the first four rows.
    columns: [[__m256i; 4]; PART * 2 + 3],
    /// Of the fifth row, four columns from where each pixel's taps begin, and of the pixel behind the last.
    last_row: [[__m256i; 4]; PART + 1],
}

/// A line of a 5 × 5 kernel at stride `S`, part by part: first all columns are interleaved, once for all the
/// pixels that they are taps of, and written to memory; then four pixels at a time are summed up, 8 channels of
/// each, so that a weight and a column are read once for all four. The block has `C` channels (0: fewer
/// than 16).
///
/// # Safety
/// As `line`; `out` is where its pixel 0 goes.
#[target_feature(enable = "avx2")]
#[inline(never)]
unsafe fn five<const S: usize, const C: usize, const VNNI: bool>(
    block: &Block,
    line: &Line,
    out: *mut i8,
    range: OutputRange,
) {
    let shape = line.shape();
    // SAFETY: the kernel's height is 5.
    let (rows, masks) = unsafe { line.rows::<5>() };
    let mut parts = MaybeUninit::<Interleaved>::uninit();
    // SAFETY: inside of the parts.
    let (columns, last_row): (*mut [__m256i; 4], *mut [__m256i; 4]) = unsafe {
        let parts = parts.as_mut_ptr();
        ((&raw mut (*parts).columns).cast(), (&raw mut (*parts).last_row).cast())
    };
    let tap = |column: usize, ky: usize| {
        let x = column.wrapping_sub(shape.pad_left);
        let offset = x.wrapping_mul(shape.in_channels) & masks[ky];
        let from = if x < shape.in_w { rows[ky].wrapping_add(offset) } else { line.zero() };
        // SAFETY: pixel `x` of an input line, or zero points.
        unsafe { load::<C, VNNI>(from, block.channels) }
    };
    for first in (0..shape.out_w).step_by(PART) {
        let pixels = (shape.out_w - first).min(PART);
        for i in 0..(pixels - 1) * S + 5 {
            let column = first * S + i;
            let taps = interleave([tap(column, 0), tap(column, 1), tap(column, 2), tap(column, 3)]);
            // SAFETY: a part has so many columns.
            unsafe { *columns.add(i) = taps };
        }
        for i in 0..pixels + 1 {
            let column = (first + i) * S;
            let taps =
                interleave([tap(column, 4), tap(column + 1, 4), tap(column + 2, 4), tap(column + 3, 4)]);
            // SAFETY: a part has so many pixels, and one more.
            unsafe { *last_row.add(i) = taps };
        }
        let mut at = 0;
        while at < pixels {
            // SAFETY: pixels of the line, and of the part.
            unsafe {
                let out = out.add((first + at) * shape.in_channels);
                let (columns, last_row) = (columns.add(at * S), last_row.add(at));
                match pixels - at {
                    1 => {
                        five_pixels::<1, S, C, VNNI>(block, columns, last_row, out, range, shape.in_channels)
                    }
                    2 | 3 => {
                        five_pixels::<2, S, C, VNNI>(block, columns, last_row, out, range, shape.in_channels);
                    }
                    _ => {
                        five_pixels::<4, S, C, VNNI>(block, columns, last_row, out, range, shape.in_channels)
                    }
                }
                at += match pixels - at {
                    1 => 1,
                    2 | 3 => 2,
                    _ => 4,
                };
            }
        }
    }
}

/// `N` pixels of a part.
///
/// # Safety
/// `columns` and `last_row` are those of the pixels, which go to `out`, `stride` apart.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn five_pixels<const N: usize, const S: usize, const C: usize, const VNNI: bool>(
    block: &Block,
    columns: *const [__m256i; 4],
    last_row: *const [__m256i; 4],
    out: *mut i8,
    range: OutputRange,
    stride: usize,
) {
    // SAFETY: pixel `p` reads columns `p S` to `p S + 4`, and its own and the next one's part of the last row;
    // weights have seven quads.
    unsafe {
        let mut sums = [[_mm256_setzero_si256(); 4]; N];
        let bias = biases(block);
        for i in 0..4 {
            let mut acc = [bias[i]; N];
            // Written out, or the compiler would keep the accumulators in memory.
            macro_rules! quads {
                ($($quad:literal)*) => {$(
                    let weights: *const __m256i = block.weights[$quad].as_ptr().cast();
                    let weights = _mm256_load_si256(weights.add(i));
                    for (p, acc) in acc.iter_mut().enumerate() {
                        let taps =
                            if $quad < 5 { columns.add(p * S + $quad) } else { last_row.add(p + $quad).sub(5) };
                        multiply_one::<VNNI>(acc, (*taps)[i], weights);
                    }
                )*};
            }
            quads!(0 1 2 3 4 5 6);
            for (sums, acc) in sums.iter_mut().zip(acc) {
                sums[i] = acc;
            }
        }
        for (p, sums) in sums.into_iter().enumerate() {
            store::<C>(sums, block, out.add(p * stride), range);
        }
    }
}

/// A line with `T` taps in `Q` quads, for a block of `C` channels.
///
/// # Safety
/// As `line`; `out` is where its pixel 0 goes.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn fixed<const T: usize, const Q: usize, const C: usize, const VNNI: bool>(
    block: &Block,
    line: &mut Line,
    out: *mut i8,
    range: OutputRange,
) {
    for ox in 0..line.pixels() {
        // SAFETY: `T` is the shape's number of taps; each has the block's channels.
        unsafe {
            line.point_at(ox, T);
            let mut acc = biases(block);
            for quad in 0..Q {
                let mut x = [_mm256_setzero_si256(); 4];
                for (i, x) in x.iter_mut().enumerate() {
                    if quad * 4 + i < T {
                        *x = load::<C, VNNI>(line.taps[quad * 4 + i], C);
                    }
                }
                multiply::<VNNI>(&mut acc, interleave(x), block.weights[quad].as_ptr().cast());
            }
            store::<C>(acc, block, out.add(ox * line.stride()), range);
        }
    }
}

/// A line with any number of taps.
///
/// # Safety
/// As `line`.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn any<const C: usize, const VNNI: bool>(block: &Block, line: &mut Line) {
    for ox in 0..line.pixels() {
        // SAFETY: every tap, also of the last quad, has the block's channels.
        unsafe {
            line.point_at(ox, line.tap_count());
            let mut acc = biases(block);
            for (taps, weights) in line.taps.chunks_exact(4).zip(&block.weights[..block.quads]) {
                let mut x = [_mm256_setzero_si256(); 4];
                for (x, &tap) in x.iter_mut().zip(taps) {
                    *x = load::<C, VNNI>(tap, block.channels);
                }
                multiply::<VNNI>(&mut acc, interleave(x), weights.as_ptr().cast());
            }
            match line.out.add(ox * line.stride()) {
                TileOutput::I8(out, range) => store::<C>(acc, block, out, range),
                TileOutput::F32(out) => {
                    let mut all = [0; 64];
                    for (i, acc) in acc.into_iter().enumerate() {
                        _mm256_storeu_si256(all.as_mut_ptr().add(i * 8).cast(), acc);
                    }
                    block.store_f32(&all, out);
                }
            }
        }
    }
}

/// The values of one tap: 32, 16, or `channels` where `C` is 0; the rest does not matter. Of AVX-VNNI with their
/// top bits flipped.
///
/// # Safety
/// `tap` has that many readable values; `channels` is at most 32.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn load<const C: usize, const VNNI: bool>(tap: *const i8, channels: usize) -> __m256i {
    // SAFETY: the caller's promise; `all` has 32 bytes.
    let x = unsafe {
        match C {
            WIDTH => _mm256_loadu_si256(tap.cast()),
            16 => _mm256_zextsi128_si256(_mm_loadu_si128(tap.cast())),
            _ => {
                let mut all = [0i8; WIDTH];
                all.as_mut_ptr().copy_from_nonoverlapping(tap, channels);
                _mm256_loadu_si256(all.as_ptr().cast())
            }
        }
    };
    if VNNI { _mm256_xor_si256(x, _mm256_set1_epi8(-128)) } else { x }
}

/// Adds a quad.
///
/// # Safety
/// `weights` has four registers, aligned to 32 bytes; of AVX-VNNI, the processor has it.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn multiply<const VNNI: bool>(acc: &mut [__m256i; 4], x: [__m256i; 4], weights: *const __m256i) {
    if VNNI {
        let [a, b, c, d] = acc;
        // SAFETY: reads four registers of weights, and changes none but the accumulators.
        unsafe {
            asm!(
                "{{vex}} vpdpbusd {a}, {xa}, [{weights}]",
                "{{vex}} vpdpbusd {b}, {xb}, [{weights} + 32]",
                "{{vex}} vpdpbusd {c}, {xc}, [{weights} + 64]",
                "{{vex}} vpdpbusd {d}, {xd}, [{weights} + 96]",
                a = inout(ymm_reg) *a,
                b = inout(ymm_reg) *b,
                c = inout(ymm_reg) *c,
                d = inout(ymm_reg) *d,
                xa = in(ymm_reg) x[0],
                xb = in(ymm_reg) x[1],
                xc = in(ymm_reg) x[2],
                xd = in(ymm_reg) x[3],
                weights = in(reg) weights,
                options(readonly, nostack, preserves_flags),
            );
        }
        return;
    }
    for (i, (acc, x)) in acc.iter_mut().zip(x).enumerate() {
        // SAFETY: the caller's promise.
        unsafe { multiply_one::<false>(acc, x, _mm256_load_si256(weights.add(i))) };
    }
}

/// Adds 8 channels of a quad.
///
/// # Safety
/// Of AVX-VNNI, the processor has it.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn multiply_one<const VNNI: bool>(acc: &mut __m256i, x: __m256i, weights: __m256i) {
    if VNNI {
        // In assembly, as AVX2 is enough to compile the rest of this file.
        // SAFETY: changes nothing but the accumulator.
        unsafe {
            asm!(
                "{{vex}} vpdpbusd {acc}, {x}, {weights}",
                acc = inout(ymm_reg) *acc,
                x = in(ymm_reg) x,
                weights = in(ymm_reg) weights,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
    } else {
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(weights, x));
        *acc = _mm256_add_epi32(*acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
}

/// From four taps of 32 channels to the order of the accumulators.
#[target_feature(enable = "avx2")]
#[inline]
fn interleave(taps: [__m256i; 4]) -> [__m256i; 4] {
    let [a, b, c, d] = taps;
    let (ab_low, ab_high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
    let (cd_low, cd_high) = (_mm256_unpacklo_epi8(c, d), _mm256_unpackhi_epi8(c, d));
    [
        _mm256_unpacklo_epi16(ab_low, cd_low),
        _mm256_unpackhi_epi16(ab_low, cd_low),
        _mm256_unpacklo_epi16(ab_high, cd_high),
        _mm256_unpackhi_epi16(ab_high, cd_high),
    ]
}

#[target_feature(enable = "avx2")]
#[inline]
fn biases(block: &Block) -> [__m256i; 4] {
    let mut all = [_mm256_setzero_si256(); 4];
    for (i, register) in all.iter_mut().enumerate() {
        // SAFETY: 8 of the 64 biases.
        *register = unsafe { _mm256_loadu_si256(block.bias.as_ptr().add(i * 8).cast()) };
    }
    all
}

/// # Safety
/// `out` has room for the block's channels: 32 or 16 where that is `C`.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn store<const C: usize>(acc: [__m256i; 4], block: &Block, out: *mut i8, range: OutputRange) {
    let bytes = requantize(acc, &block.multiplier, range);
    // SAFETY: the caller's promise; `all` has 32 bytes.
    unsafe {
        match C {
            WIDTH => _mm256_storeu_si256(out.cast(), bytes),
            16 => _mm_storeu_si128(out.cast(), _mm256_castsi256_si128(bytes)),
            _ => {
                let mut all = [0i8; WIDTH];
                _mm256_storeu_si256(all.as_mut_ptr().cast(), bytes);
                out.copy_from_nonoverlapping(all.as_ptr(), block.channels);
            }
        }
    }
}

/// [`OutputRange::requantize`] of 32 channels. The upper bound is applied before rounding, since
/// `vcvtps2dq` turns what is too large into the smallest integer; that is right for what is too
/// small, and so the lower bound can wait until it needs one instruction: packing saturates, and
/// rounding keeps the order.
#[target_feature(enable = "avx2")]
#[inline]
fn requantize(acc: [__m256i; 4], multiplier: &[f32; 64], range: OutputRange) -> __m256i {
    let high = _mm256_set1_ps((range.max - range.zero_point) as f32);
    let mut rounded = [_mm256_setzero_si256(); 4];
    for (i, (rounded, acc)) in rounded.iter_mut().zip(acc).enumerate() {
        // SAFETY: 8 of the 64 multipliers.
        let multiplier = unsafe { _mm256_loadu_ps(multiplier.as_ptr().add(i * 8)) };
        let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), multiplier);
        *rounded = _mm256_cvtps_epi32(_mm256_min_ps(scaled, high));
    }
    let zero_point = _mm256_set1_epi16(range.zero_point as i16);
    let low = _mm256_adds_epi16(_mm256_packs_epi32(rounded[0], rounded[1]), zero_point);
    let high = _mm256_adds_epi16(_mm256_packs_epi32(rounded[2], rounded[3]), zero_point);
    _mm256_max_epi8(_mm256_packs_epi16(low, high), _mm256_set1_epi8(range.min as i8))
}
