//! Convolutions of few values to an output, by AVX512-VNNI: the weights of a block of channels stay in registers
//! for all pixels of a strip.
//!
//! A layer that widens 16 channels to 96 has four groups of four values to multiply. By blocks of 4 pixels × 4
//! panels that would be 16 loads of weights beside 64 products, for every block. Where all weights of the panels
//! fit, nothing but pixels is loaded:
//! ```text
//! values of a pixel       weights (panels × groups)   accumulators (pixels × panels)
//! 8, 16                   4 × 4                       2 × 4
//! 24, 32, 40, 3 × 9       2 × 10                      4 × 2
//! the same, and 48        1 × 12                      8 × 1
//! ```

use core::arch::asm;
use core::arch::x86_64::*;

use super::gemm::TileOutput;
use super::unsigned_plane::Strip;
use super::x86_avx512vnni::{NR, is_small, store};
use super::x86_avx512vnni_overlap as overlap;
use crate::x86_avx512::{Bounds, add_residual, in_order};

/// As many pixels of a strip as fill whole blocks × the panels from a channel on; gives the pixel behind them.
///
/// # Safety
/// As `strip`; the panels exist, and all their channels are live.
pub(super) type PanelsFn = unsafe fn(&Strip, usize) -> usize;

/// The function for some of the next `whole` panels, all of whose channels are live, and how many it takes; `None`
/// where their weights do not stay in registers, and columns are not shared.
#[inline]
pub(super) fn choose(strip: &Strip, whole: usize) -> Option<(usize, PanelsFn)> {
    if strip.pixels == 1 {
        return None;
    }
    Some(match (whole, strip.taps, strip.tap_elems) {
        (1, 2.., 48) => (1, overlap::run),
        // These have no registers left for what would be added; layers of so few values seldom add anything.
        _ if strip.residual.is_some() => return None,
        (4.., 1, 8) => (4, run::<2, 4, 1, 2>),
        (4.., 1, 16) => (4, run::<2, 4, 1, 4>),
        (2.., 1, 8) => (2, run::<4, 2, 1, 2>),
        (2.., 1, 16) => (2, run::<4, 2, 1, 4>),
        (2.., 1, 24) => (2, run::<4, 2, 1, 6>),
        (2.., 1, 32) => (2, run::<4, 2, 1, 8>),
        (2.., 1, 40) => (2, run::<4, 2, 1, 10>),
        // A kernel of 3 × 3 over three colours.
        (2.., 3, 12) => (2, run::<4, 2, 3, 3>),
        (1.., 1, 8) => (1, run::<8, 1, 1, 2>),
        (1.., 1, 16) => (1, run::<8, 1, 1, 4>),
        (1.., 1, 24) => (1, run::<8, 1, 1, 6>),
        (1.., 1, 32) => (1, run::<8, 1, 1, 8>),
        (1.., 1, 40) => (1, run::<8, 1, 1, 10>),
        (1, 1, 48) => (1, run::<8, 1, 1, 12>),
        (1.., 3, 12) => (1, run::<8, 1, 3, 3>),
        _ => return None,
    })
}

/// `M` pixels × `P` panels at a time, of `T` taps of `4 G` values.
///
/// # Safety
/// As [`PanelsFn`]; the strip has such taps.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn run<const M: usize, const P: usize, const T: usize, const G: usize>(
    strip: &Strip,
    channel: usize,
) -> usize {
    // All but the simplest requantization would need registers, and is left to others.
    let TileOutput::I8(_, range) = strip.out else { return 0 };
    let bounds = Bounds::new(range);
    // SAFETY: the caller's promise.
    unsafe {
        let panel = strip.panel.add(channel / NR * strip.panel_bytes);
        if strip.pixels < M || !is_small::<P>(panel, strip.panel_bytes) {
            return 0;
        }
        match bounds.full() {
            Some(true) => blocks::<M, P, T, G, true>(strip, channel, bounds),
            Some(false) => blocks::<M, P, T, G, false>(strip, channel, bounds),
            None => 0,
        }
    }
}

/// # Safety
/// As `run`; multipliers are below a half.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn blocks<const M: usize, const P: usize, const T: usize, const G: usize, const LOWEST: bool>(
    strip: &Strip,
    channel: usize,
    bounds: Bounds,
) -> usize {
    let TileOutput::I8(out, _) = strip.out else { return 0 };
    let bounds = bounds.known_full::<LOWEST>();
    // SAFETY: panel `p` holds NR biases, NR multipliers and `4 T G * NR` weights. Each row and offset lead to `4 G`
    // values; results are stored for whole panels of live pixels.
    unsafe {
        let panel = strip.panel.add(channel / NR * strip.panel_bytes);
        let mut out = out.add(channel);
        let mut weights = [[[_mm512_setzero_si512(); P]; G]; T];
        let mut offsets = [0; T];
        for (tap, weights) in weights.iter_mut().enumerate() {
            offsets[tap] = *strip.offsets.add(tap);
            for (group, weights) in weights.iter_mut().enumerate() {
                for (p, weights) in weights.iter_mut().enumerate() {
                    let at = (2 + tap * G + group) * NR * 4;
                    *weights = _mm512_load_si512(panel.add(p * strip.panel_bytes + at).cast());
                }
            }
        }
        let mut pixel = 0;
        while pixel + M <= strip.pixels {
            let mut acc = [[_mm512_setzero_si512(); P]; M];
            for p in 0..P {
                for acc in &mut acc {
                    acc[p] = _mm512_load_si512(panel.add(p * strip.panel_bytes).cast());
                }
            }
            let mut x = [core::ptr::null::<u8>(); M];
            for (m, x) in x.iter_mut().enumerate() {
                *x = *strip.rows.add(pixel + m);
            }
            for (weights, &offset) in weights.iter().zip(&offsets) {
                // Written out, since an instruction's displacement is known when it is compiled.
                macro_rules! groups {
                    ($($group:literal)*) => {$(
                        if $group < G {
                            for (acc, &x) in acc.iter_mut().zip(&x) {
                                multiply::<P, { 4 * $group }>(acc, x, offset, &weights[$group % G]);
                            }
                        }
                    )*};
                }
                groups!(0 1 2 3 4 5 6 7 8 9 10 11);
            }
            finish::<M, P, false>(strip, panel, out, &bounds, &acc);
            out = out.add(M * strip.out_stride);
            pixel += M;
        }
        pixel
    }
}

/// Requantizes and stores `M` pixels of `P` whole panels; `ADDS` says whether there is a residual.
///
/// # Safety
/// As `blocks`; `out` is the place of the first pixel's first channel.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) unsafe fn finish<const M: usize, const P: usize, const ADDS: bool>(
    strip: &Strip,
    panel: *const u8,
    mut out: *mut i8,
    bounds: &Bounds,
    acc: &[[__m512i; P]; M],
) {
    // A register holds four panels of a pixel, or pixels of a panel.
    let together = 4 / P;
    for first in (0..M).step_by(together) {
        let mut real = [_mm512_setzero_ps(); 4];
        for (i, real) in real.iter_mut().enumerate() {
            let sums = _mm512_cvtepi32_ps(acc[first + i / P][i % P]);
            // SAFETY: a panel holds NR multipliers behind NR biases.
            let multiplier = unsafe { _mm512_loadu_ps(panel.add(i % P * strip.panel_bytes + NR * 4).cast()) };
            *real = _mm512_mul_ps(sums, multiplier);
            if let Some(residual) = strip.residual.filter(|_| ADDS) {
                let factor = _mm512_set1_ps(residual.multiplier);
                // SAFETY: what is added lies as the results do, of which there are whole panels.
                *real = unsafe {
                    let from = residual.of(out.add(i / P * strip.out_stride + i % P * NR));
                    add_residual(*real, from, u16::MAX, factor)
                };
            }
        }
        let bytes = in_order(bounds.quantize_small(&real));
        // SAFETY: the caller's promise.
        unsafe {
            store::<P>(out, strip.out_stride, bytes, P * NR, together);
            out = out.add(together * strip.out_stride);
        }
    }
}

/// Adds the products of four values with the weights of each panel. In assembly, so that the values take a register
/// for no longer than this: the compiler reads those of many pixels at once, and has none left for the weights.
///
/// # Safety
/// `x`, `offset` and `AT` together lead to four values.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
unsafe fn multiply<const P: usize, const AT: usize>(
    acc: &mut [__m512i; P],
    x: *const u8,
    offset: usize,
    weights: &[__m512i; P],
) {
    macro_rules! multiply {
        ($($multiply:literal: $p:literal),*) => {{
            // A register of the assembly's own.
            let quad: __m512i;
            // SAFETY: reads the four values, and changes none but the accumulators and `quad`.
            unsafe {
                asm!(
                    "vpbroadcastd {quad}, dword ptr [{x} + {offset} + {at}]",
                    $($multiply,)*
                    $(inout(zmm_reg) acc[$p],)*
                    $(in(zmm_reg) weights[$p],)*
                    quad = out(zmm_reg) quad,
                    x = in(reg) x,
                    offset = in(reg) offset,
                    at = const AT,
                    options(pure, readonly, nostack, preserves_flags),
                );
            }
            let _ = quad;
        }};
    }
    match P {
        1 => multiply!("vpdpbusd {0}, {quad}, {1}": 0),
        2 => multiply!("vpdpbusd {0}, {quad}, {2}": 0, "vpdpbusd {1}, {quad}, {3}": 1),
        _ => multiply!(
            "vpdpbusd {0}, {quad}, {4}": 0,
            "vpdpbusd {1}, {quad}, {5}": 1,
            "vpdpbusd {2}, {quad}, {6}": 2,
            "vpdpbusd {3}, {quad}, {7}": 3
        ),
    }
}
