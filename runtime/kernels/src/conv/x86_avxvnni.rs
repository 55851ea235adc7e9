//! AVX-VNNI: `vpdpbusd` on 256-bit registers (Intel SDM vol. 2), for the processors that have it without
//! AVX-512: Alder Lake's efficient cores, the N100 and its kin, Sierra Forest.
//!
//! As the AVX512-VNNI row: the inputs are the unsigned side, in a plane (see `unsigned_plane`). A tile is 6 pixels ×
//! 16 channels: 12 accumulators, 2 weight registers and one broadcast activation: 15 of 16 registers.

use core::arch::x86_64::*;

use super::ConvArgs;
use super::gemm::{Micro, Tile};
use super::pack::NR16_KR4_XU8;
use super::unsigned_plane::{self, PlaneKernel, Strip};
use super::x86_avx2::store;

const MR: usize = 6;
const NR: usize = 16;

/// For products, whose rows are one tap each.
pub(super) static MICRO: Micro = Micro { pixels: MR, layout: &NR16_KR4_XU8, tile };

static KERNEL: PlaneKernel = PlaneKernel { pixels: MR, layout: &NR16_KR4_XU8, flip, strip };

/// # Safety
/// As the table's `RunFn`.
#[target_feature(enable = "avx2,avxvnni")]
pub(super) unsafe fn conv(args: &mut ConvArgs<'_>) {
    // SAFETY: the caller's promise.
    unsafe { unsigned_plane::run(args, &KERNEL) }
}

/// # Safety
/// As [`PlaneKernel`] documents; the processor has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn flip(from: *const i8, to: *mut u8, bytes: usize) {
    let top = _mm256_set1_epi8(-128);
    // SAFETY: registers end within the bytes; the last one begins before the others end.
    unsafe {
        let whole = |at: usize| {
            let x = _mm256_xor_si256(_mm256_loadu_si256(from.add(at).cast()), top);
            _mm256_storeu_si256(to.add(at).cast(), x);
        };
        let half = |at: usize| {
            let x = _mm_xor_si128(_mm_loadu_si128(from.add(at).cast()), _mm256_castsi256_si128(top));
            _mm_storeu_si128(to.add(at).cast(), x);
        };
        if bytes >= 32 {
            for at in (0..bytes - 31).step_by(32) {
                whole(at);
            }
            whole(bytes - 32);
        } else if bytes >= 16 {
            half(0);
            half(bytes - 16);
        } else {
            for at in 0..bytes {
                *to.add(at) = *from.add(at) as u8 ^ 0x80;
            }
        }
    }
}

/// # Safety
/// As [`Tile`] documents, with one tap of unsigned values; the processor has AVX2 and AVX-VNNI.
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn tile(tile: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { strip(&Strip::of_tile(tile)) }
}

/// # Safety
/// As [`Strip`] documents; the processor has AVX2 and AVX-VNNI.
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn strip(strip: &Strip) {
    for channel in (0..strip.live_channels).step_by(NR) {
        let mut pixel = 0;
        while pixel < strip.pixels {
            // SAFETY: the channel is live, so its panel exists; the pixel is live.
            unsafe {
                match strip.pixels - pixel {
                    1 => block::<1>(strip, pixel, channel),
                    2..=3 => block::<3>(strip, pixel, channel),
                    _ => block::<MR>(strip, pixel, channel),
                }
            }
            pixel += MR;
        }
    }
}

/// Up to `M` pixels from `pixel` on × the 16 channels from `channel` on.
///
/// # Safety
/// As `strip`; the panel exists, the pixel is live, and no more than `M` are from there on, or `M` is `MR`.
#[target_feature(enable = "avx2,avxvnni")]
#[inline]
unsafe fn block<const M: usize>(strip: &Strip, pixel: usize, channel: usize) {
    // SAFETY: the panel holds NR biases, NR multipliers and `taps * tap_elems * NR` weights, and is
    // aligned to 64 bytes, as is the start of the weights; each row and offset lead to `tap_elems` values,
    // a multiple of 4; `store` writes live channels of live pixels.
    unsafe {
        let panel = strip.panel.add(channel / NR * strip.panel_bytes);
        let acc = if M == 1 {
            [one_pixel(strip, panel, *strip.rows.add(pixel)); M]
        } else {
            products::<M>(strip, panel, pixel)
        };
        let live = (strip.live_channels - channel).min(NR);
        let multiplier: [__m256; 2] =
            [_mm256_loadu_ps(panel.add(NR * 4).cast()), _mm256_loadu_ps(panel.add(NR * 6).cast())];
        for (m, sums) in acc.iter().enumerate() {
            // Not the loop's bound: then the accumulators would have to live in memory.
            if m >= strip.pixels - pixel {
                break;
            }
            let scaled: [__m256; 2] = [
                _mm256_mul_ps(_mm256_cvtepi32_ps(sums[0]), multiplier[0]),
                _mm256_mul_ps(_mm256_cvtepi32_ps(sums[1]), multiplier[1]),
            ];
            let out = strip.out.add((pixel + m) * strip.out_stride + channel);
            store(out, strip.residual, scaled, live);
        }
    }
}

/// The sums of `M` pixels, from the biases on.
///
/// # Safety
/// As `block`.
#[target_feature(enable = "avx2,avxvnni")]
#[inline]
unsafe fn products<const M: usize>(strip: &Strip, panel: *const u8, pixel: usize) -> [[__m256i; 2]; M] {
    // SAFETY: as of `block`.
    unsafe {
        let bias: [__m256i; 2] = [_mm256_load_si256(panel.cast()), _mm256_load_si256(panel.add(32).cast())];
        let mut acc = [bias; M];
        let mut row = [core::ptr::null::<u8>(); M];
        for (m, row) in row.iter_mut().enumerate() {
            *row = *strip.rows.add(pixel + m);
        }
        let mut weights = panel.add(NR * 8);
        for tap in 0..strip.taps {
            let start = *strip.offsets.add(tap);
            for k in (start..start + strip.tap_elems).step_by(4) {
                let low = _mm256_load_si256(weights.cast());
                let high = _mm256_load_si256(weights.add(32).cast());
                for (acc, row) in acc.iter_mut().zip(row) {
                    let quad = _mm256_set1_epi32(row.add(k).cast::<i32>().read_unaligned());
                    acc[0] = _mm256_dpbusd_avx_epi32(acc[0], quad, low);
                    acc[1] = _mm256_dpbusd_avx_epi32(acc[1], quad, high);
                }
                weights = weights.add(NR * 4);
            }
        }
        acc
    }
}

/// The same of one pixel from `x` on, four chains of sums to each: one alone would wait for each product.
///
/// # Safety
/// As `block`.
#[target_feature(enable = "avx2,avxvnni")]
#[inline]
unsafe fn one_pixel(strip: &Strip, panel: *const u8, x: *const u8) -> [__m256i; 2] {
    // SAFETY: as of `block`.
    unsafe {
        let mut acc = [[_mm256_setzero_si256(); 2]; 4];
        acc[0] = [_mm256_load_si256(panel.cast()), _mm256_load_si256(panel.add(32).cast())];
        let add = |acc: &mut [__m256i; 2], q: usize, x: *const u8, weights: *const u8| {
            let quad = _mm256_set1_epi32(x.add(4 * q).cast::<i32>().read_unaligned());
            let weights = weights.add(q * NR * 4);
            acc[0] = _mm256_dpbusd_avx_epi32(acc[0], quad, _mm256_load_si256(weights.cast()));
            acc[1] = _mm256_dpbusd_avx_epi32(acc[1], quad, _mm256_load_si256(weights.add(32).cast()));
        };
        let mut weights = panel.add(NR * 8);
        let (whole, rest) = (strip.tap_elems / 16, strip.tap_elems % 16 / 4);
        for tap in 0..strip.taps {
            let mut x = x.add(*strip.offsets.add(tap));
            for _ in 0..whole {
                for (q, acc) in acc.iter_mut().enumerate() {
                    add(acc, q, x, weights);
                }
                (x, weights) = (x.add(16), weights.add(4 * NR * 4));
            }
            for (q, acc) in acc[..3].iter_mut().enumerate() {
                if q == rest {
                    break;
                }
                add(acc, q, x, weights);
            }
            weights = weights.add(rest * NR * 4);
        }
        let [a, b, c, d] = acc;
        let sum = |half: usize| {
            let (ab, cd) = (_mm256_add_epi32(a[half], b[half]), _mm256_add_epi32(c[half], d[half]));
            _mm256_add_epi32(ab, cd)
        };
        [sum(0), sum(1)]
    }
}
