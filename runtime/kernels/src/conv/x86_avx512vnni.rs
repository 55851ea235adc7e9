//! AVX512-VNNI: `vpdpbusd` multiplies 4 unsigned by 4 signed bytes into each of 16 int32 lanes (Intel SDM
//! vol. 2: the non-saturating form, exact modulo 2^32).
//!
//! The inputs are the unsigned side, in a plane (see `unsigned_plane`): four values of a pixel are broadcast to a
//! register, and multiplied by those of up to four panels. Registers: 6 pixels × 4 panels, or 12 × 2, are 24
//! accumulators; 4 weights, and the pixels'.

use core::arch::x86_64::*;

use super::ConvArgs;
use super::gemm::{Micro, Tile, TileOutput};
use super::pack::NR16_KR4_XU8;
use super::unsigned_plane::{self, PlaneKernel, Strip};
use super::x86_avx512vnni_resident as resident;
use crate::x86_avx512::{Bounds, add_residual, in_order};

const MR: usize = 12;
pub(super) const NR: usize = 16;

/// For products, whose rows are one tap each.
pub(super) static MICRO: Micro = Micro { pixels: MR, layout: &NR16_KR4_XU8, tile };

static KERNEL: PlaneKernel = PlaneKernel { pixels: MR, layout: &NR16_KR4_XU8, flip, strip };

/// # Safety
/// As the table's `RunFn`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn conv(args: &mut ConvArgs<'_>) {
    // SAFETY: the caller's promise.
    unsafe { unsigned_plane::run(args, &KERNEL) }
}

/// # Safety
/// As [`PlaneKernel`] documents; the processor has AVX-512 F and BW.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn flip(from: *const i8, to: *mut u8, bytes: usize) {
    let top = _mm512_set1_epi8(-128);
    let whole = bytes & !63;
    // SAFETY: whole registers end within the bytes, and the mask leaves out what is behind them.
    unsafe {
        for at in (0..whole).step_by(64) {
            let x = _mm512_xor_si512(_mm512_loadu_si512(from.add(at).cast()), top);
            _mm512_storeu_si512(to.add(at).cast(), x);
        }
        if whole < bytes {
            let mask: __mmask64 = (1 << (bytes - whole)) - 1;
            let x = _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, from.add(whole)), top);
            _mm512_mask_storeu_epi8(to.add(whole).cast(), mask, x);
        }
    }
}

/// # Safety
/// As [`Tile`] documents, with one tap of unsigned values; the processor has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tile(tile: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { strip(&Strip::of_tile(tile)) }
}

/// # Safety
/// As [`Strip`] documents; the processor has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn strip(strip: &Strip) {
    // SAFETY: the caller's promise.
    unsafe {
        if strip.residual.is_some() {
            all_blocks::<true>(strip);
        } else {
            all_blocks::<false>(strip);
        }
    }
}

/// All of a strip; `ADDS` says whether there is a residual.
///
/// # Safety
/// As `strip`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn all_blocks<const ADDS: bool>(strip: &Strip) {
    // Where there are few products to a result, small blocks let the next one's products run beside
    // this one's requantization.
    let is_short = strip.taps * strip.tap_elems <= 160;
    let mut channel = 0;
    while channel < strip.live_channels {
        // Whole registers of results where it can be.
        let live = strip.live_channels - channel;
        let mut panels = live.div_ceil(NR).min(4);
        let mut pixel = 0;
        if let Some((few, run)) = resident::choose(strip, live / NR) {
            // SAFETY: the panels exist, and all of their channels are live.
            pixel = unsafe { run(strip, channel) };
            if pixel > 0 {
                panels = few;
            }
        }
        while pixel < strip.pixels {
            let at = At { pixel, channel };
            // SAFETY: the panels exist, and at least one channel of each is live, as is the pixel.
            pixel = unsafe {
                match (panels, strip.pixels - pixel) {
                    (_, 1) => one_pixel::<ADDS>(strip, at, panels),
                    (4, 2) => blocks::<2, 4, 1, ADDS>(strip, at),
                    // Five are three and two, since a pixel alone is slow, and has too few sums under way.
                    (4, 3 | 5) => blocks::<3, 4, 1, ADDS>(strip, at),
                    (4, 6 | 9..) if !is_short => blocks::<6, 4, 1, ADDS>(strip, at),
                    (4, _) => blocks::<4, 4, 2, ADDS>(strip, at),
                    (3, _) => blocks::<6, 3, 1, ADDS>(strip, at),
                    (2, 2..=4) => blocks::<4, 2, 1, ADDS>(strip, at),
                    (2, 5..=6) => blocks::<6, 2, 1, ADDS>(strip, at),
                    (2, _) => blocks::<8, 2, 2, ADDS>(strip, at),
                    (_, 2..=8) => blocks::<8, 1, 2, ADDS>(strip, at),
                    (_, _) => blocks::<12, 1, 2, ADDS>(strip, at),
                }
            };
        }
        channel += panels * NR;
    }
}

/// Pixels of a register of 64 results, by the number of panels.
const PER_REGISTER: [usize; 5] = [0, 4, 2, 1, 1];

/// Where a block starts.
#[derive(Clone, Copy)]
struct At {
    pixel: usize,
    channel: usize,
}

/// Blocks of `M` pixels × `P` panels, the last one of what is left if that is less; stops where less than two
/// are left, so that the rest can be divided otherwise. Gives the pixel behind them. `Q` groups of four values
/// are taken from a pixel before the next pixel's turn, so that its address is needed once for all of them.
///
/// # Safety
/// As `strip`; the panels exist with a live channel each; the pixel of `at` is live.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline(never)]
unsafe fn blocks<const M: usize, const P: usize, const Q: usize, const ADDS: bool>(
    strip: &Strip,
    mut at: At,
) -> usize {
    // SAFETY: panel `p` holds NR multipliers behind NR biases; the others as the caller promises.
    unsafe {
        let panel = strip.panel.add(at.channel / NR * strip.panel_bytes);
        let is_small = is_small::<P>(panel, strip.panel_bytes);
        loop {
            let live = M.min(strip.pixels - at.pixel);
            block::<M, P, Q, ADDS>(strip, panel, at, live, is_small);
            at.pixel += live;
            let left = strip.pixels - at.pixel;
            if left < 2 * M && left != M {
                return at.pixel;
            }
        }
    }
}

/// Whether no result of `P` panels can overflow when it is converted: one below 2^31 times less than a half cannot,
/// nor with a residual.
///
/// # Safety
/// The panels exist.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) unsafe fn is_small<const P: usize>(panel: *const u8, panel_bytes: usize) -> bool {
    let mut is_small = true;
    for p in 0..P {
        // SAFETY: a panel holds NR multipliers behind NR biases.
        let multiplier = unsafe { _mm512_loadu_ps(panel.add(p * panel_bytes + NR * 4).cast()) };
        is_small &= _mm512_cmp_ps_mask::<_CMP_LT_OQ>(multiplier, _mm512_set1_ps(0.5)) == 0xffff;
    }
    is_small
}

/// One block, of which `live_pixels` are stored.
///
/// # Safety
/// As `blocks`; `panel` is the one of `at`, and `M` pixels can be read.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn block<const M: usize, const P: usize, const Q: usize, const ADDS: bool>(
    strip: &Strip,
    panel: *const u8,
    at: At,
    live_pixels: usize,
    is_small: bool,
) {
    // SAFETY: panel `p` holds NR multipliers behind NR biases; results are stored for live channels of live
    // pixels, and residuals read.
    unsafe {
        let acc = products::<M, P, Q>(strip, panel, at.pixel);
        let mut multiplier = [_mm512_setzero_ps(); P];
        for (p, multiplier) in multiplier.iter_mut().enumerate() {
            *multiplier = _mm512_loadu_ps(panel.add(p * strip.panel_bytes + NR * 4).cast());
        }
        let live = (strip.live_channels - at.channel).min(P * NR);
        match strip.out.add(at.pixel * strip.out_stride + at.channel) {
            TileOutput::I8(out, range) => {
                let bounds = Bounds::new(range);
                let residual = strip.residual.filter(|_| ADDS);
                let added = residual.map_or(out.cast_const(), |residual| residual.of(out));
                let factor = _mm512_set1_ps(residual.map_or(0.0, |residual| residual.multiplier));
                // A register holds four panels of a pixel, or pixels of a panel. Written out: where the
                // accumulators are indexed by a variable, they live in memory.
                macro_rules! finish {
                    ($group:literal) => {
                        let first = $group * PER_REGISTER[P];
                        if first < M && first < live_pixels {
                            let to = out.add(first * strip.out_stride);
                            let pixels = PER_REGISTER[P].min(live_pixels - first);
                            let mut four = [_mm512_setzero_ps(); 4];
                            for (i, four) in four.iter_mut().enumerate() {
                                let (m, p) = (first + i / P, i % P);
                                if i < PER_REGISTER[P] * P && m < M {
                                    *four = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[m][p]), multiplier[p]);
                                    if ADDS && m < live_pixels {
                                        let from = added.add(m * strip.out_stride + p * NR);
                                        *four = add_residual(*four, from, mask(live - p * NR), factor);
                                    }
                                }
                            }
                            let bytes =
                                if is_small { bounds.quantize_small(&four) } else { bounds.quantize(&four) };
                            store::<P>(to, strip.out_stride, in_order(bytes), live, pixels);
                        }
                    };
                }
                finish!(0);
                finish!(1);
                finish!(2);
                finish!(3);
                finish!(4);
                finish!(5);
            }
            TileOutput::F32(out) => {
                for (m, sums) in acc.iter().enumerate() {
                    // Not the loop's bound: that would be a variable as well.
                    if m >= live_pixels {
                        break;
                    }
                    for (p, (&sum, &multiplier)) in sums.iter().zip(&multiplier).enumerate() {
                        let mask = mask(live - p * NR);
                        let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), multiplier);
                        _mm512_mask_storeu_ps(out.add(m * strip.out_stride + p * NR), mask, scaled);
                    }
                }
            }
        }
    }
}

/// The first `live` channels of a panel, or all.
#[inline(always)]
fn mask(live: usize) -> __mmask16 {
    (0xffff_u32 >> (NR - live.min(NR))) as __mmask16
}

/// The sums of `M` pixels × `P` panels, from the biases on.
///
/// # Safety
/// As `block`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn products<const M: usize, const P: usize, const Q: usize>(
    strip: &Strip,
    panel: *const u8,
    pixel: usize,
) -> [[__m512i; P]; M] {
    // SAFETY: panel `p` holds NR biases, NR multipliers and `taps * tap_elems * NR` weights; each row and
    // offset lead to `tap_elems` values, a multiple of 4.
    unsafe {
        let mut acc = [[_mm512_setzero_si512(); P]; M];
        for p in 0..P {
            let bias = _mm512_load_si512(panel.add(p * strip.panel_bytes).cast());
            for row in &mut acc {
                row[p] = bias;
            }
        }
        let mut x = [core::ptr::null::<u8>(); M];
        for (m, x) in x.iter_mut().enumerate() {
            *x = *strip.rows.add(pixel + m);
        }
        let mut weights = panel.add(NR * 8);
        for tap in 0..strip.taps {
            let mut k = *strip.offsets.add(tap);
            let end = k + strip.tap_elems;
            while k + 4 * Q <= end {
                multiply::<M, P, Q>(&mut acc, &x, k, weights, strip.panel_bytes);
                weights = weights.add(NR * 4 * Q);
                k += 4 * Q;
            }
            while Q > 1 && k < end {
                multiply::<M, P, 1>(&mut acc, &x, k, weights, strip.panel_bytes);
                weights = weights.add(NR * 4);
                k += 4;
            }
        }
        acc
    }
}

/// One pixel × up to four panels; gives the pixel behind it. Weights are needed once and come from the
/// second-level cache, which gives most where it is read as they lie: a panel after the other.
///
/// # Safety
/// As `strip`; the panels exist with a live channel each; the pixel of `at` is live.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline(never)]
unsafe fn one_pixel<const ADDS: bool>(strip: &Strip, at: At, panels: usize) -> usize {
    // SAFETY: a panel holds NR multipliers behind NR biases; results are stored for live channels of a live
    // pixel, and residuals read.
    unsafe {
        let x = *strip.rows.add(at.pixel);
        let mut panel = strip.panel.add(at.channel / NR * strip.panel_bytes);
        let mut scaled = [_mm512_setzero_ps(); 4];
        for scaled in &mut scaled[..panels] {
            let multiplier = _mm512_loadu_ps(panel.add(NR * 4).cast());
            *scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(one_panel(strip, panel, x)), multiplier);
            panel = panel.add(strip.panel_bytes);
        }
        let live = (strip.live_channels - at.channel).min(panels * NR);
        match strip.out.add(at.pixel * strip.out_stride + at.channel) {
            TileOutput::I8(out, range) => {
                if let Some(residual) = strip.residual.filter(|_| ADDS) {
                    let (from, factor) = (residual.of(out), _mm512_set1_ps(residual.multiplier));
                    for (p, scaled) in scaled[..panels].iter_mut().enumerate() {
                        *scaled = add_residual(*scaled, from.add(p * NR), mask(live - p * NR), factor);
                    }
                }
                let bytes = in_order(Bounds::new(range).quantize(&scaled));
                store::<4>(out, strip.out_stride, bytes, live, 1);
            }
            TileOutput::F32(out) => {
                for (p, &scaled) in scaled[..panels].iter().enumerate() {
                    _mm512_mask_storeu_ps(out.add(p * NR), mask(live - p * NR), scaled);
                }
            }
        }
        at.pixel + 1
    }
}

/// The sums of one pixel and one panel, in eight chains: one alone would wait for each product.
///
/// # Safety
/// As `block`, of a pixel from `x` on.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn one_panel(strip: &Strip, panel: *const u8, x: *const u8) -> __m512i {
    // SAFETY: as of `products`.
    unsafe {
        let mut acc = [_mm512_setzero_si512(); 8];
        acc[0] = _mm512_load_si512(panel.cast());
        let mut weights = panel.add(NR * 8);
        let (whole, rest) = (strip.tap_elems / 32, strip.tap_elems % 32 / 4);
        for tap in 0..strip.taps {
            let mut x = x.add(*strip.offsets.add(tap));
            let add = |acc: &mut __m512i, q: usize, x: *const u8, weights: *const u8| {
                let quad = _mm512_set1_epi32(x.add(4 * q).cast::<i32>().read_unaligned());
                let weights = _mm512_load_si512(weights.add(q * NR * 4).cast());
                *acc = _mm512_dpbusd_epi32(*acc, quad, weights);
            };
            for _ in 0..whole {
                for (q, acc) in acc.iter_mut().enumerate() {
                    add(acc, q, x, weights);
                }
                (x, weights) = (x.add(32), weights.add(8 * NR * 4));
            }
            for (q, acc) in acc[..7].iter_mut().enumerate() {
                if q == rest {
                    break;
                }
                add(acc, q, x, weights);
            }
            weights = weights.add(rest * NR * 4);
        }
        let [a, b, c, d, e, f, g, h] = acc;
        let (ab, cd) = (_mm512_add_epi32(a, b), _mm512_add_epi32(c, d));
        let (ef, gh) = (_mm512_add_epi32(e, f), _mm512_add_epi32(g, h));
        _mm512_add_epi32(_mm512_add_epi32(ab, cd), _mm512_add_epi32(ef, gh))
    }
}

/// `4 Q` values of each pixel, from `k` on, by the weights of each panel.
///
/// # Safety
/// Every `x` has `k + 4 Q` values; `Q` groups of weights follow `weights` in each panel.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn multiply<const M: usize, const P: usize, const Q: usize>(
    acc: &mut [[__m512i; P]; M],
    x: &[*const u8; M],
    k: usize,
    weights: *const u8,
    panel_bytes: usize,
) {
    let mut w = [[_mm512_setzero_si512(); P]; Q];
    for (q, w) in w.iter_mut().enumerate() {
        for (p, w) in w.iter_mut().enumerate() {
            // SAFETY: the caller's promise; panels and groups are multiples of 64 bytes.
            *w = unsafe { _mm512_load_si512(weights.add(p * panel_bytes + q * NR * 4).cast()) };
        }
    }
    for (acc, x) in acc.iter_mut().zip(x) {
        for (q, w) in w.iter().enumerate() {
            // SAFETY: the caller's promise.
            let quad = unsafe { x.add(k + 4 * q).cast::<i32>().read_unaligned() };
            let quad = _mm512_set1_epi32(quad);
            for (acc, &w) in acc.iter_mut().zip(w) {
                *acc = _mm512_dpbusd_epi32(*acc, quad, w);
            }
        }
    }
}

/// Stores what a register holds of `live` channels of `pixels` pixels: of one, or of `4 / P`, `P * NR`
/// bytes each. By the narrowest register that does it.
///
/// # Safety
/// `out` has room for `live` bytes, 1 to `P * NR` and at most 64, of each pixel, `stride` apart.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
pub(super) unsafe fn store<const P: usize>(
    out: *mut i8,
    stride: usize,
    bytes: __m512i,
    live: usize,
    pixels: usize,
) {
    // SAFETY: whole registers only where all their bytes are live; masks leave only live bytes.
    unsafe {
        match P {
            1 | 2 if live == stride && live == P * NR && pixels == 4 / P => {
                _mm512_storeu_si512(out.cast(), bytes);
            }
            1 => {
                let mask = (0xffff_u32 >> (NR - live)) as __mmask16;
                _mm_mask_storeu_epi8(out, mask, _mm512_castsi512_si128(bytes));
                if pixels > 1 {
                    _mm_mask_storeu_epi8(out.add(stride), mask, _mm512_extracti32x4_epi32::<1>(bytes));
                }
                if pixels > 2 {
                    _mm_mask_storeu_epi8(out.add(2 * stride), mask, _mm512_extracti32x4_epi32::<2>(bytes));
                }
                if pixels > 3 {
                    _mm_mask_storeu_epi8(out.add(3 * stride), mask, _mm512_extracti32x4_epi32::<3>(bytes));
                }
            }
            2 => {
                let mask = u32::MAX >> (2 * NR - live);
                _mm256_mask_storeu_epi8(out, mask, _mm512_castsi512_si256(bytes));
                if pixels > 1 {
                    _mm256_mask_storeu_epi8(out.add(stride), mask, _mm512_extracti64x4_epi64::<1>(bytes));
                }
            }
            _ if live == 4 * NR => _mm512_storeu_si512(out.cast(), bytes),
            _ => _mm512_mask_storeu_epi8(out, u64::MAX >> (4 * NR - live), bytes),
        }
    }
}
