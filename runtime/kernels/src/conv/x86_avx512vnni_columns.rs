//! Depthwise 3 × 3 and 5 × 5 by AVX512-VNNI, over a plane in the first-level cache.
//!
//! A *plane* is a ring of the input lines that an output line reads, one block of channels of them, with
//! the padding, and with flipped top bits (`x + 128`; the bias carries the correction). There are no
//! borders to treat, no pointers to choose, and a register may hold several pixels of few channels:
//! ```text
//! P: pixels of a register          1 × 64 channels, 2 × 32, or 4 × 16
//! STEP = P S                       columns from one group of P output pixels to the next
//! ```
//! Four rows of a column are interleaved, so that each int32 lane of an accumulator meets four taps of its
//! channel in one `vpdpbusd`. Where groups overlap (`STEP < K`), a column is interleaved once: the
//! accumulators of the `W = ceil(K / STEP)` groups that it is a tap of wait in slots. What a fifth row adds is
//! interleaved along the line instead: four taps and one, where by columns it would be five times one.
//! ```text
//! K   quads: columns + fifth row   multiply-adds of a register of results
//! 3   3                            12, for 9 taps
//! 5   5 + 2                        28, for 25 taps
//! ```
//! Weights come from memory with the multiplication, so that the registers are for accumulators.

use core::arch::asm;
use core::arch::x86_64::*;

use super::x86_avx512vnni_plane::{Constants, Strip, WIDTH};
use crate::x86_avx512::{Bounds, interleave};

/// The strip's lines.
///
/// # Safety
/// As [`Strip`] and [`Constants`] document, for this kernel; `plane` is aligned to 64 bytes and has
/// room for `K` lines. The processor has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline(never)]
pub(super) unsafe fn lines<const K: usize, const S: usize, const P: usize, const W: usize>(
    strip: &Strip,
    constants: *const Constants,
    plane: *mut u8,
) {
    let step = S * P;
    let width = WIDTH / P;
    let bounds = Bounds::new(strip.range);
    let pitch = strip.pitch::<K, S, P>();
    let groups = strip.pixels.div_ceil(P);
    let last_pixels = strip.pixels - (groups - 1) * P;
    // From a group's column 0, and from one period of groups to the next.
    let (odd, period) = if strip.is_split::<S, P>() {
        (strip.odd::<K, S, P>(), W * width * P)
    } else {
        (0, W * width * step)
    };
    let offset = |group: usize, column: usize| {
        if S == 2 && P > 1 {
            column % 2 * odd + (group * P + column / 2) * width
        } else {
            (group * step + column) * width
        }
    };
    let mut filled = 0;
    for line in 0..strip.shape.out_h {
        // SAFETY: the caller's promise; a row of the ring is overwritten when no line reads it any more.
        let rows: [*const u8; K] = unsafe {
            while filled < line * S + K {
                strip.fill::<K, S, P>(filled, plane.add(filled % K * pitch));
                filled += 1;
            }
            core::array::from_fn(|ky| plane.add((line * S + ky) % K * pitch).cast_const())
        };
        // SAFETY: pixel 0 of the line.
        let mut out = unsafe { strip.out.add(line * strip.shape.out_w * strip.shape.in_channels) };
        // SAFETY: the caller's promise.
        let mut waiting = [unsafe { (*constants).bias }; W];
        // Adds the column to every group that it is a tap of: the first one waits in slot `$first`.
        macro_rules! column {
            ($at:expr, $first:literal, $column:expr, $group_column:expr) => {
                let mut taps = [_mm512_setzero_si512(); 4];
                for ky in 0..K.min(4) {
                    // SAFETY: a group's columns are in the plane.
                    taps[ky] = unsafe { _mm512_loadu_si512(rows[ky].add($at + $column).cast()) };
                }
                let taps = interleave(taps);
                for ahead in 0..W {
                    if $group_column >= ahead * step && $group_column - ahead * step < K {
                        // SAFETY: there are as many quads as columns, and more.
                        unsafe {
                            let weights = &raw const (*constants).weights[$group_column - ahead * step];
                            multiply(&mut waiting[($first + ahead) % W], &taps, weights);
                        }
                    }
                }
            };
        }
        for column in 0..K.saturating_sub(step) {
            column!(0, 0, offset(0, column), column);
        }
        let mut at = 0;
        let mut left = groups;
        'line: loop {
            // With the slot known, slots are registers: so a period is written out.
            macro_rules! group {
                ($slot:literal) => {
                    if $slot < W {
                        for column in K.saturating_sub(step)..K {
                            column!(at, $slot, offset($slot, column), column);
                        }
                        if K == 5 {
                            let mut taps = [_mm512_setzero_si512(); 4];
                            for (column, tap) in taps.iter_mut().enumerate() {
                                // SAFETY: a group's columns are in the plane.
                                *tap = unsafe {
                                    _mm512_loadu_si512(rows[K - 1].add(at + offset($slot, column)).cast())
                                };
                            }
                            // SAFETY: the same; there are seven quads.
                            unsafe {
                                let last = rows[K - 1].add(at + offset($slot, 4));
                                let last = spread(_mm512_loadu_si512(last.cast()));
                                multiply(
                                    &mut waiting[$slot % W],
                                    &interleave(taps),
                                    &raw const (*constants).weights[5],
                                );
                                multiply(&mut waiting[$slot % W], &last, &raw const (*constants).weights[6]);
                            }
                        }
                        let mut real = [_mm512_setzero_ps(); 4];
                        for i in 0..4 {
                            let sums = _mm512_cvtepi32_ps(waiting[$slot % W][i]);
                            // SAFETY: the caller's promise.
                            real[i] = _mm512_mul_ps(sums, unsafe { (*constants).multiplier[i] });
                        }
                        let bytes = bounds.quantize_small(&real);
                        left -= 1;
                        // SAFETY: the group's pixels are the line's.
                        unsafe {
                            if P == 1 {
                                _mm512_storeu_si512(out.cast(), bytes);
                            } else {
                                let pixels = if left == 0 { last_pixels } else { P };
                                store_pixels::<P>(bytes, out, strip, pixels);
                            }
                        }
                        if left == 0 {
                            break 'line;
                        }
                        // SAFETY: there is another group.
                        unsafe {
                            out = out.add(P * strip.shape.in_channels);
                            waiting[$slot % W] = (*constants).bias;
                        }
                    }
                };
            }
            group!(0);
            group!(1);
            group!(2);
            group!(3);
            group!(4);
            at += period;
        }
    }
}

/// Adds a quad. In assembly, so that weights are read here and with the multiplication: the compiler reads
/// those of several groups at once, for which it has no registers.
///
/// # Safety
/// `weights` can be read.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
unsafe fn multiply(acc: &mut [__m512i; 4], taps: &[__m512i; 4], weights: *const [__m512i; 4]) {
    let [a, b, c, d] = acc;
    // SAFETY: reads four registers of weights, and changes none but the accumulators.
    unsafe {
        asm!(
            "vpdpbusd {a}, {ta}, [{weights}]",
            "vpdpbusd {b}, {tb}, [{weights} + 64]",
            "vpdpbusd {c}, {tc}, [{weights} + 128]",
            "vpdpbusd {d}, {td}, [{weights} + 192]",
            a = inout(zmm_reg) *a,
            b = inout(zmm_reg) *b,
            c = inout(zmm_reg) *c,
            d = inout(zmm_reg) *d,
            ta = in(zmm_reg) taps[0],
            tb = in(zmm_reg) taps[1],
            tc = in(zmm_reg) taps[2],
            td = in(zmm_reg) taps[3],
            weights = in(reg) weights,
            options(readonly, nostack, preserves_flags),
        );
    }
}

/// The values of one tap in the order of [`interleave`]: those of the other three are zeros.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn spread(tap: __m512i) -> [__m512i; 4] {
    let mut all = [tap; 4];
    for (i, to) in all.iter_mut().enumerate() {
        let i = 4 * i as i64;
        // Bytes 4 i to 4 i + 3, each with three of which the index has its top bit set.
        let low = 0x8080_8001_8080_8000_u64 as i64;
        let high = 0x8080_8003_8080_8002_u64 as i64;
        let add = i << 32 | i;
        let (low, high) = (low + add, high + add);
        *to = _mm512_shuffle_epi8(tap, _mm512_set_epi64(high, low, high, low, high, low, high, low));
    }
    all
}

/// Stores the first `pixels` of the `P` pixels of a group.
///
/// # Safety
/// `out` has room for the block's channels of as many pixels of the strip's output.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
unsafe fn store_pixels<const P: usize>(bytes: __m512i, out: *mut i8, strip: &Strip, pixels: usize) {
    let stride = strip.shape.in_channels;
    // SAFETY: the caller's promise.
    unsafe {
        if pixels == P && stride == WIDTH / P {
            return _mm512_storeu_si512(out.cast(), bytes);
        }
        if P == 2 {
            _mm256_storeu_si256(out.cast(), _mm512_castsi512_si256(bytes));
            if pixels == 2 {
                _mm256_storeu_si256(out.add(stride).cast(), _mm512_extracti64x4_epi64::<1>(bytes));
            }
            return;
        }
        let all = [
            _mm512_castsi512_si128(bytes),
            _mm512_extracti32x4_epi32::<1>(bytes),
            _mm512_extracti32x4_epi32::<2>(bytes),
            _mm512_extracti32x4_epi32::<3>(bytes),
        ];
        for (pixel, bytes) in all.into_iter().enumerate() {
            if pixel < pixels {
                if strip.channels == 16 {
                    _mm_storeu_si128(out.add(pixel * stride).cast(), bytes);
                } else {
                    _mm_mask_storeu_epi8(out.add(pixel * stride), strip.mask(), bytes);
                }
            }
        }
    }
}
