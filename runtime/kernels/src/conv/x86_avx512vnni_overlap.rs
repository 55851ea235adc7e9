//! Convolutions three pixels wide, of 16 channels to one panel, by AVX512-VNNI: neighbouring outputs share columns.
//!
//! With one panel there is a broadcast to each product, and loads are the limit. But at stride 1 a column of the
//! input belongs to three outputs of a line. So four values of it are broadcast once, for three products:
//! ```text
//! column c:   acc[c] += quad × w[left]    acc[c - 1] += quad × w[middle]    acc[c - 2] += quad × w[right]
//! ```
//! 16 pixels of a line are 18 columns: 18 broadcasts and 3 loads of weights for 48 products.

use core::arch::asm;
use core::arch::x86_64::*;

use super::gemm::TileOutput;
use super::unsigned_plane::Strip;
use super::x86_avx512vnni::{NR, is_small};
use super::x86_avx512vnni_resident::finish;
use crate::x86_avx512::Bounds;

/// Pixels of a block.
const PIXELS: usize = 16;
/// Of the input: what one column has.
const CHANNELS: usize = 16;

/// The pixels of a strip × the panel from a channel on, where they are blocks of neighbours of which each has two
/// thirds of its columns in common with the next; gives the pixel behind them, or 0 where it does not do this.
///
/// # Safety
/// As `strip`; the panel exists, and all its channels are live.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn run(strip: &Strip, channel: usize) -> usize {
    let TileOutput::I8(out, range) = strip.out else { return 0 };
    let bounds = Bounds::new(range);
    // SAFETY: the caller's promise.
    unsafe {
        let panel = strip.panel.add(channel / NR * strip.panel_bytes);
        if !are_neighbours(strip) || !is_small::<1>(panel, strip.panel_bytes) {
            return 0;
        }
        let mut out = out.add(channel);
        for pixel in (0..strip.pixels).step_by(PIXELS) {
            let acc = sums(strip, panel, pixel);
            if strip.residual.is_some() {
                finish::<PIXELS, 1, true>(strip, panel, out, &bounds, &acc);
            } else {
                finish::<PIXELS, 1, false>(strip, panel, out, &bounds, &acc);
            }
            out = out.add(PIXELS * strip.out_stride);
        }
    }
    strip.pixels
}

/// # Safety
/// As [`Strip`] documents.
unsafe fn are_neighbours(strip: &Strip) -> bool {
    // SAFETY: the strip has as many rows.
    let rows = unsafe { core::slice::from_raw_parts(strip.rows, strip.pixels) };
    strip.tap_elems == 3 * CHANNELS
        && rows.len().is_multiple_of(PIXELS)
        && rows.chunks_exact(PIXELS).all(|block| {
            block.iter().enumerate().all(|(m, row)| row.addr() == block[0].addr().wrapping_add(m * CHANNELS))
        })
}

/// The sums of a block of pixels.
///
/// # Safety
/// As `run`; the panel and the pixels exist.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
unsafe fn sums(strip: &Strip, panel: *const u8, pixel: usize) -> [[__m512i; 1]; PIXELS] {
    // SAFETY: the panel holds NR biases, NR multipliers and `taps * tap_elems * NR` weights; from the row and
    // offset on there are the pixel's three columns, and those of its neighbours.
    unsafe {
        let mut acc = [[_mm512_load_si512(panel.cast())]; PIXELS];
        let row = *strip.rows.add(pixel);
        let mut weights = panel.add(2 * 4 * NR);
        for tap in 0..strip.taps {
            let line = row.add(*strip.offsets.add(tap));
            for k in (0..CHANNELS).step_by(4) {
                let mut w = [_mm512_setzero_si512(); 3];
                for (column, w) in w.iter_mut().enumerate() {
                    *w = _mm512_load_si512(weights.add((column * CHANNELS + k) * NR).cast());
                }
                let x = line.add(k);
                let quad = |column: usize| {
                    _mm512_set1_epi32(x.add(column * CHANNELS).cast::<i32>().read_unaligned())
                };
                let add = |acc: &mut [__m512i; 1], column, weights| {
                    acc[0] = _mm512_dpbusd_epi32(acc[0], quad(column), weights);
                };
                add(&mut acc[0], 0, w[0]);
                add(&mut acc[1], 1, w[0]);
                add(&mut acc[0], 1, w[1]);
                // Written out, so that accumulators are registers.
                macro_rules! columns {
                    ($($column:literal)*) => {
                        $(multiply::<$column, { $column * CHANNELS }>(&mut acc, x, &w);)*
                    };
                }
                columns!(2 3 4 5 6 7 8 9 10 11 12 13 14 15);
                add(&mut acc[15], 16, w[1]);
                add(&mut acc[14], 16, w[2]);
                add(&mut acc[15], 17, w[2]);
            }
            weights = weights.add(strip.tap_elems * NR);
        }
        acc
    }
}

/// Adds the products of four values of a column to outputs `A`, `A - 1` and `A - 2`. In assembly, so that the
/// values take a register for no longer than this: the compiler reads those of many columns at once.
///
/// # Safety
/// `x` and `AT` lead to four values.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
unsafe fn multiply<const A: usize, const AT: usize>(
    acc: &mut [[__m512i; 1]; PIXELS],
    x: *const u8,
    weights: &[__m512i; 3],
) {
    // A register of the assembly's own.
    let quad: __m512i;
    // SAFETY: reads the four values, and changes none but the accumulators and `quad`.
    unsafe {
        asm!(
            "vpbroadcastd {quad}, dword ptr [{x} + {at}]",
            "vpdpbusd {a}, {quad}, {left}",
            "vpdpbusd {b}, {quad}, {middle}",
            "vpdpbusd {c}, {quad}, {right}",
            quad = out(zmm_reg) quad,
            x = in(reg) x,
            at = const AT,
            a = inout(zmm_reg) acc[A][0],
            b = inout(zmm_reg) acc[A - 1][0],
            c = inout(zmm_reg) acc[A - 2][0],
            left = in(zmm_reg) weights[0],
            middle = in(zmm_reg) weights[1],
            right = in(zmm_reg) weights[2],
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    let _ = quad;
}
