//! From the products of a tile's points to its outputs.

use core::arch::x86_64::*;

use super::super::Output;
use super::super::gemm::TileResidual;
use super::super::winograd::wide::{LANES, PANELS};
use super::super::winograd::{INVERSE_OF_9, PATCH, SHIFTS, TILE};
use super::super::x86_avx512vnni::store;
use crate::x86_avx512::{Bounds, add_residual, in_order};

/// The lines of products of a tile's 16 channels, as four values each.
pub(super) type Lines = [[[i32; LANES]; TILE]; PATCH];

/// The outputs of a tile's 16 channels before they are requantized.
pub(super) type Sums = [[i32; LANES]; TILE * TILE];

/// What becomes of the sums of a tile's 16 channels.
pub(super) struct Finish {
    /// [`Sums`] of other blocks of input channels, or null where there are none.
    pub sums: *mut i32,
    /// Whether there were no blocks before.
    pub is_first: bool,
    pub bias: __m512i,
    pub multiplier: __m512,
    pub residual: Option<TileResidual>,
    /// The first element in the output.
    pub at: usize,
    /// Lines, pixels and channels that are inside the output.
    pub lines: usize,
    pub pixels: usize,
    pub live: usize,
    /// Elements from a pixel to the next, from a line to the next.
    pub pixel: usize,
    pub line: usize,
}

/// `A` times a vector, modulo 2^32.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn a(m: [__m512i; PATCH]) -> [__m512i; TILE] {
    let (s, d) = (_mm512_add_epi32(m[1], m[2]), _mm512_sub_epi32(m[1], m[2]));
    let (t, e) = (_mm512_add_epi32(m[3], m[4]), _mm512_sub_epi32(m[3], m[4]));
    [
        _mm512_add_epi32(_mm512_add_epi32(m[0], t), _mm512_slli_epi32::<2>(s)),
        _mm512_add_epi32(_mm512_add_epi32(d, d), e),
        _mm512_add_epi32(s, t),
        _mm512_add_epi32(_mm512_add_epi32(d, m[5]), _mm512_add_epi32(e, e)),
    ]
}

/// `A` times a line of products of some tiles, which have been made in groups of `tiles`.
///
/// # Safety
/// There are products of more tiles than there are `lines`, or as many.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline(never)]
pub(super) unsafe fn transform_line(
    products: *const i32,
    tiles: usize,
    line: usize,
    lines: &mut [[Lines; PANELS]],
) {
    for (tile, to) in lines.iter_mut().enumerate() {
        for (p, to) in to.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let mut m = [_mm512_setzero_si512(); PATCH];
                for (j, m) in m.iter_mut().enumerate() {
                    let at = ((j * tiles + tile) * PANELS + p) * LANES;
                    *m = _mm512_loadu_si512(products.add(at).cast());
                }
                for (to, value) in to[line].iter_mut().zip(a(m)) {
                    _mm512_storeu_si512(to.as_mut_ptr().cast(), value);
                }
            }
        }
    }
}

/// The outputs of a tile, without what other blocks add.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn outputs(lines: &Lines) -> [[__m512i; TILE]; TILE] {
    let zero = _mm512_setzero_si512();
    let mut outputs = [[zero; TILE]; TILE];
    for j in 0..TILE {
        let mut m = [zero; PATCH];
        for (m, line) in m.iter_mut().zip(lines) {
            // SAFETY: an array of 16.
            *m = unsafe { _mm512_loadu_si512(line[j].as_ptr().cast()) };
        }
        for (i, value) in a(m).into_iter().enumerate() {
            let scaled = _mm512_mullo_epi32(value, _mm512_set1_epi32(INVERSE_OF_9));
            outputs[i][j] = _mm512_srav_epi32(scaled, _mm512_set1_epi32(SHIFTS[i] + SHIFTS[j]));
        }
    }
    outputs
}

/// Adds the outputs of a tile to those of other blocks.
///
/// # Safety
/// There are sums.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline(never)]
pub(super) unsafe fn add(lines: &Lines, to: &Finish) {
    // SAFETY: the caller's promise.
    unsafe {
        for (index, &value) in outputs(lines).as_flattened().iter().enumerate() {
            let sum: *mut __m512i = to.sums.add(index * LANES).cast();
            let value = if to.is_first { value } else { _mm512_add_epi32(value, _mm512_loadu_si512(sum)) };
            _mm512_storeu_si512(sum, value);
        }
    }
}

/// Stores the outputs of a tile that are inside the output.
///
/// # Safety
/// The place is inside the output; there are sums, where there were blocks before, and what is added.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline(never)]
pub(super) unsafe fn finish(lines: &Lines, to: &Finish, output: &mut Output<'_>) {
    let last = to.at + (to.lines - 1) * to.line + (to.pixels - 1) * to.pixel + to.live - 1;
    // SAFETY: the caller's promise.
    unsafe {
        let mut real = [[_mm512_setzero_ps(); TILE]; TILE];
        let outputs = outputs(lines);
        for i in 0..TILE {
            for j in 0..TILE {
                let mut value = _mm512_add_epi32(outputs[i][j], to.bias);
                if !to.is_first {
                    let sum = to.sums.add((i * TILE + j) * LANES);
                    value = _mm512_add_epi32(value, _mm512_loadu_si512(sum.cast()));
                }
                real[i][j] = _mm512_mul_ps(_mm512_cvtepi32_ps(value), to.multiplier);
            }
        }
        match output {
            Output::I8(out, range) => {
                let out = out[to.at..=last].as_mut_ptr();
                let bounds = Bounds::new(*range);
                let mask = (0xffff_u32 >> (LANES - to.live)) as __mmask16;
                for (i, real) in real.iter_mut().enumerate() {
                    if i < to.lines {
                        if let Some(residual) = to.residual {
                            let from = residual.of(out.add(i * to.line));
                            let multiplier = _mm512_set1_ps(residual.multiplier);
                            for (j, real) in real.iter_mut().enumerate() {
                                if j < to.pixels {
                                    *real = add_residual(*real, from.add(j * to.pixel), mask, multiplier);
                                }
                            }
                        }
                        let bytes = in_order(bounds.quantize(real));
                        store::<1>(out.add(i * to.line), to.pixel, bytes, to.live, to.pixels);
                    }
                }
            }
            Output::F32(out) => {
                let out = out[to.at..=last].as_mut_ptr();
                let mask = (0xffff_u32 >> (LANES - to.live)) as __mmask16;
                for (i, real) in real.iter().enumerate().take(to.lines) {
                    for (j, &real) in real.iter().enumerate().take(to.pixels) {
                        _mm512_mask_storeu_ps(out.add(i * to.line + j * to.pixel), mask, real);
                    }
                }
            }
        }
    }
}
