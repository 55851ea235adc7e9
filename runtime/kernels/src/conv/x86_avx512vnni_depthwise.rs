//! Depthwise by AVX512-VNNI: 64 channels × 4 taps are four `vpdpbusd`.
//!
//! Per quad: four loads, their top bits flipped (`x + 128`; the bias carries the correction), eight
//! unpacks, four multiply-adds. For 3×3 the twelve registers of weights stay in registers over a
//! line. Blocks of fewer than 64 channels are loaded and stored under a mask, which keeps off memory
//! that is not theirs.

use core::arch::x86_64::*;

use super::depthwise::Line;
use super::gemm::TileOutput;
use super::quad_depthwise::{self, Block, Canonical, Isa};
use super::x86_avx512vnni_plane as plane;
use super::{ConvArgs, WeightSource};
use crate::requantize::OutputRange;
use crate::x86_avx512::{Bounds, interleave};

const WIDTH: usize = 64;

static ISA: Isa = Isa { widths: &[WIDTH], columns: false, prepare, line };

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn depthwise(args: &mut ConvArgs<'_>) {
    // SAFETY: the caller's promise.
    unsafe {
        match args.weights {
            WeightSource::Canonical(weights) if plane::accepts(args, &weights) => plane::run(args, weights),
            _ => quad_depthwise::run(args, &ISA),
        }
    }
}

/// # Safety
/// As [`Isa::prepare`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn prepare(block: &mut Block, canonical: &Canonical) {
    let mask = mask(block.channels);
    let mut correction = [_mm512_setzero_si512(); 4];
    for quad in 0..block.quads {
        let mut taps = [_mm512_setzero_si512(); 4];
        for (to, tap) in taps.iter_mut().zip(canonical.quad(quad, block.order)) {
            if let Some(tap) = tap {
                // SAFETY: the tap exists, and the mask leaves the block's channels.
                *to = unsafe { _mm512_maskz_loadu_epi8(mask, tap) };
            }
        }
        for (i, weights) in interleave(taps).into_iter().enumerate() {
            correction[i] = _mm512_dpbusd_epi32(correction[i], _mm512_set1_epi8(-128), weights);
            // SAFETY: four registers are one quad of weights.
            unsafe { _mm512_storeu_si512(block.weights[quad].as_mut_ptr().add(i * 64).cast(), weights) };
        }
    }
    for (i, correction) in correction.into_iter().enumerate() {
        // SAFETY: four registers are all biases.
        unsafe {
            let bias: *mut __m512i = block.bias.as_mut_ptr().add(i * 16).cast();
            _mm512_storeu_si512(bias, _mm512_sub_epi32(_mm512_loadu_si512(bias), correction));
        }
    }
}

/// # Safety
/// As [`Line`] documents; the processor has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn line(block: &Block, line: &mut Line) {
    let full = block.channels == WIDTH;
    // SAFETY: the caller's promise; the constants are the kernel's.
    unsafe {
        match (line.out, line.tap_count()) {
            (TileOutput::I8(out, range), 9) if full => fixed::<9, 3, true>(block, line, out, range),
            (TileOutput::I8(out, range), 9) => fixed::<9, 3, false>(block, line, out, range),
            _ if full => any::<true>(block, line),
            _ => any::<false>(block, line),
        }
    }
}

/// A line with `T` taps in `Q` quads; `FULL` where the block has 64 channels.
///
/// # Safety
/// As `line`; `out` is where its pixel 0 goes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn fixed<const T: usize, const Q: usize, const FULL: bool>(
    block: &Block,
    line: &mut Line,
    out: *mut i8,
    range: OutputRange,
) {
    let mask = mask(block.channels);
    let epilogue = Epilogue::new(block, range);
    let mut weights = [[_mm512_setzero_si512(); 4]; Q];
    for (quad, weights) in weights.iter_mut().enumerate() {
        *weights = registers(&block.weights[quad]);
    }
    let bias: [__m512i; 4] = registers(as_bytes(&block.bias));
    for ox in 0..line.pixels() {
        // SAFETY: `T` is the shape's number of taps; each has the block's channels.
        unsafe {
            line.point_at(ox, T);
            let mut acc = bias;
            for (quad, weights) in weights.iter().enumerate() {
                let mut x = [_mm512_setzero_si512(); 4];
                for (i, x) in x.iter_mut().enumerate() {
                    if quad * 4 + i < T {
                        *x = load::<FULL>(line.taps[quad * 4 + i], mask);
                    }
                }
                multiply(&mut acc, x, weights);
            }
            store::<FULL>(epilogue.requantize(acc), out.add(ox * line.stride()), mask);
        }
    }
}

/// A line with any number of taps.
///
/// # Safety
/// As `line`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn any<const FULL: bool>(block: &Block, line: &mut Line) {
    let mask = mask(block.channels);
    for ox in 0..line.pixels() {
        // SAFETY: every tap, also of the last quad, has the block's channels.
        unsafe {
            line.point_at(ox, line.tap_count());
            let mut acc = registers(as_bytes(&block.bias));
            for (taps, weights) in line.taps.chunks_exact(4).zip(&block.weights[..block.quads]) {
                let mut x = [_mm512_setzero_si512(); 4];
                for (x, &tap) in x.iter_mut().zip(taps) {
                    *x = load::<FULL>(tap, mask);
                }
                multiply(&mut acc, x, &registers(weights));
            }
            match line.out.add(ox * line.stride()) {
                TileOutput::I8(out, range) => {
                    store::<FULL>(Epilogue::new(block, range).requantize(acc), out, mask);
                }
                TileOutput::F32(out) => {
                    let mut all = [0; WIDTH];
                    for (i, acc) in acc.into_iter().enumerate() {
                        _mm512_storeu_si512(all.as_mut_ptr().add(i * 16).cast(), acc);
                    }
                    block.store_f32(&all, out);
                }
            }
        }
    }
}

/// The block's activations of one tap, as unsigned.
///
/// # Safety
/// `tap` has 64 readable values, or as many as `mask` selects where not `FULL`.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn load<const FULL: bool>(tap: *const i8, mask: __mmask64) -> __m512i {
    // SAFETY: the caller's promise.
    let x = unsafe { if FULL { _mm512_loadu_si512(tap.cast()) } else { _mm512_maskz_loadu_epi8(mask, tap) } };
    _mm512_xor_si512(x, _mm512_set1_epi8(-128))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn multiply(acc: &mut [__m512i; 4], x: [__m512i; 4], weights: &[__m512i; 4]) {
    for ((acc, x), &weights) in acc.iter_mut().zip(interleave(x)).zip(weights) {
        *acc = _mm512_dpbusd_epi32(*acc, x, weights);
    }
}

/// # Safety
/// `out` has room for the block's channels: 64 where `FULL`.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn store<const FULL: bool>(bytes: __m512i, out: *mut i8, mask: __mmask64) {
    // SAFETY: the caller's promise.
    unsafe {
        if FULL {
            _mm512_storeu_si512(out.cast(), bytes);
        } else {
            _mm512_mask_storeu_epi8(out, mask, bytes);
        }
    }
}

/// [`OutputRange::requantize`] of 64 channels.
struct Epilogue {
    multiplier: [__m512; 4],
    bounds: Bounds,
}

impl Epilogue {
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn new(block: &Block, range: OutputRange) -> Self {
        let mut multiplier = [_mm512_setzero_ps(); 4];
        for (i, multiplier) in multiplier.iter_mut().enumerate() {
            // SAFETY: 16 of the 64 multipliers.
            *multiplier = unsafe { _mm512_loadu_ps(block.multiplier.as_ptr().add(i * 16)) };
        }
        Self { multiplier, bounds: Bounds::new(range) }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn requantize(&self, acc: [__m512i; 4]) -> __m512i {
        let mut real = [_mm512_setzero_ps(); 4];
        for (real, (acc, multiplier)) in real.iter_mut().zip(acc.into_iter().zip(self.multiplier)) {
            *real = _mm512_mul_ps(_mm512_cvtepi32_ps(acc), multiplier);
        }
        self.bounds.quantize(&real)
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn registers(bytes: &[u8; 256]) -> [__m512i; 4] {
    let mut all = [_mm512_setzero_si512(); 4];
    for (i, register) in all.iter_mut().enumerate() {
        // SAFETY: 64 of the 256 bytes.
        *register = unsafe { _mm512_loadu_si512(bytes.as_ptr().add(i * 64).cast()) };
    }
    all
}

fn as_bytes(values: &[i32; WIDTH]) -> &[u8; 256] {
    // SAFETY: the same 256 bytes, which are initialised and need less alignment.
    unsafe { &*values.as_ptr().cast() }
}

fn mask(channels: usize) -> __mmask64 {
    u64::MAX >> (WIDTH - channels)
}
