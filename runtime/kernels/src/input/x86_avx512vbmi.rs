//! Samples in planes to pixels: 64 samples of each plane are quantized to a register of bytes, and `vpermi2b`
//! and `vpermb` pick the bytes of each register of pixels from those (Intel SDM vol. 2).

use core::arch::x86_64::*;

use super::{InputArgs, Planes};
use crate::requantize::OutputRange;
use crate::x86_avx512::Bounds;

/// Pixels of a block.
const PIXELS: usize = 64;

/// # Safety
/// The processor has AVX-512 F, BW, VL and VBMI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
pub(crate) unsafe fn quantize_f32(
    args: &InputArgs,
    input: &[f32],
    inverse_scale: f32,
    range: OutputRange,
    output: &mut [i8],
) {
    let Some(planes) = Planes::new(args, input.len(), output.len()) else {
        return super::quantize_f32(args, input, inverse_scale, range, output);
    };
    let quantizer = Quantizer { inverse_scale: _mm512_set1_ps(inverse_scale), bounds: Bounds::new(range) };
    for (from, to) in planes.starts() {
        // SAFETY: `Planes` has found every element of both tensors inside of its slice.
        unsafe {
            let (input, output) = (input.as_ptr().add(from), output.as_mut_ptr().add(to));
            match planes.channels {
                1 => quantizer.line::<1>(input, planes.plane, output, planes.pixels),
                2 => quantizer.line::<2>(input, planes.plane, output, planes.pixels),
                3 => quantizer.line::<3>(input, planes.plane, output, planes.pixels),
                _ => quantizer.line::<4>(input, planes.plane, output, planes.pixels),
            }
        }
    }
}

struct Quantizer {
    inverse_scale: __m512,
    bounds: Bounds,
}

impl Quantizer {
    /// A line of pixels of `C` channels.
    ///
    /// # Safety
    /// `input` has `pixels` samples, and again every `plane` further; `output` has room for them.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
    #[inline]
    unsafe fn line<const C: usize>(&self, input: *const f32, plane: usize, output: *mut i8, pixels: usize) {
        for first in (0..pixels).step_by(PIXELS) {
            let count = pixels - first;
            // SAFETY: the caller's promise, of the pixels from `first` on.
            unsafe {
                let (input, output) = (input.add(first), output.add(first * C));
                if count >= PIXELS {
                    self.block::<C, true>(input, plane, output, PIXELS);
                } else {
                    self.block::<C, false>(input, plane, output, count);
                }
            }
        }
    }

    /// The first `count` pixels of a block; all where it is `FULL`.
    ///
    /// # Safety
    /// As `line`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
    #[inline]
    unsafe fn block<const C: usize, const FULL: bool>(
        &self,
        input: *const f32,
        plane: usize,
        output: *mut i8,
        count: usize,
    ) {
        let selected = |count: usize| if count < 64 { (1 << count) - 1 } else { u64::MAX };
        let mut planes = [_mm512_setzero_si512(); C];
        for (channel, bytes) in planes.iter_mut().enumerate() {
            let mut real = [_mm512_setzero_ps(); 4];
            for (i, real) in real.iter_mut().enumerate() {
                let from = input.wrapping_add(channel * plane + i * 16);
                // SAFETY: the samples of `count` pixels.
                *real = unsafe {
                    if FULL {
                        _mm512_loadu_ps(from)
                    } else {
                        _mm512_maskz_loadu_ps(selected(count.saturating_sub(i * 16)) as __mmask16, from)
                    }
                };
                *real = _mm512_mul_ps(*real, self.inverse_scale);
            }
            *bytes = self.bounds.quantize(&real);
        }
        for part in 0..C {
            let (order, channels) = const { &ORDERS[C - 1] }[part];
            // SAFETY: an order has 64 bytes.
            let order = unsafe { _mm512_loadu_si512(order.as_ptr().cast()) };
            let mut bytes = _mm512_permutex2var_epi8(planes[0], order, planes[C.min(2) - 1]);
            for channel in 2..C {
                let mask = channels[channel];
                bytes = _mm512_mask_permutexvar_epi8(bytes, mask, order, planes[channel]);
            }
            let to = output.wrapping_add(part * 64);
            // SAFETY: room for `count` pixels.
            unsafe {
                if FULL {
                    _mm512_storeu_si512(to.cast(), bytes);
                } else {
                    _mm512_mask_storeu_epi8(to, selected((count * C).saturating_sub(part * 64)), bytes);
                }
            }
        }
    }
}

/// [`super::quantize_u8`] of contiguous pixels: whole pixels of a register at a time, each byte by the table of its
/// channel.
///
/// # Safety
/// The processor has AVX-512 F, BW, VL and VBMI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
pub(crate) unsafe fn quantize_u8(
    args: &InputArgs,
    input: &[u8],
    tables: &[i8],
    reverse_channels: bool,
    output: &mut [i8],
) {
    let (channels, elems) = (args.dims[3], args.elems());
    if !args.is_contiguous()
        || !matches!(channels, 1..=4)
        || elems > input.len().min(output.len())
        || channels * 256 > tables.len()
    {
        return super::quantize_u8(args, input, tables, reverse_channels, output);
    }
    // Bytes of whole pixels in a register; where each comes from; and those of each channel.
    let step = 64 - 64 % channels;
    let (mut order, mut masks) = ([0; 64], [0; 4]);
    for (at, from) in order.iter_mut().enumerate().take(step) {
        let channel = at % channels;
        let mirrored = if reverse_channels { channels - 1 - channel } else { channel };
        *from = (at - channel + mirrored) as u8;
        masks[channel] |= 1u64 << at;
    }
    // SAFETY: there are so many tables of 256 entries, and `elems` in both slices; a whole register is read and
    // written only where there are as many, else what a mask selects. The bytes that are no whole pixel are
    // written again by the next turn.
    unsafe {
        let order = _mm512_loadu_si512(order.as_ptr().cast());
        let mut quarters = [[_mm512_setzero_si512(); 4]; 4];
        for (channel, quarters) in quarters.iter_mut().enumerate().take(channels) {
            for (i, quarter) in quarters.iter_mut().enumerate() {
                *quarter = _mm512_loadu_si512(tables.as_ptr().add(channel * 256 + i * 64).cast());
            }
        }
        let of = |x: __m512i| {
            let x = _mm512_permutexvar_epi8(order, x);
            let upper = _mm512_movepi8_mask(x);
            let mut y = x;
            for (&[a, b, c, d], mask) in quarters.iter().zip(masks).take(channels) {
                y = _mm512_mask_mov_epi8(y, mask & !upper, _mm512_permutex2var_epi8(a, x, b));
                y = _mm512_mask_mov_epi8(y, mask & upper, _mm512_permutex2var_epi8(c, x, d));
            }
            y
        };
        let mut at = 0;
        while at < elems {
            let (from, to) = (input.as_ptr().add(at), output.as_mut_ptr().add(at));
            if at + 64 <= elems {
                _mm512_storeu_si512(to.cast(), of(_mm512_loadu_si512(from.cast())));
            } else {
                let mask = (1 << (elems - at)) - 1;
                let y = of(_mm512_maskz_loadu_epi8(mask, from.cast()));
                _mm512_mask_storeu_epi8(to, mask, y);
            }
            at += step;
        }
    }
}

/// For a register of pixels: of each byte, where in the register of its channel it is (and the bit that
/// chooses the second channel rather than the first); and which bytes are of each channel.
type Order = ([u8; 64], [u64; 4]);

/// Of pixels of 1 to 4 channels, the registers that 64 pixels fill.
static ORDERS: [[Order; 4]; 4] = [orders(1), orders(2), orders(3), orders(4)];

const fn orders(channels: usize) -> [Order; 4] {
    let mut orders = [([0; 64], [0; 4]); 4];
    let mut at = 0;
    while at < channels * PIXELS {
        let (pixel, channel) = (at / channels, at % channels);
        let order = &mut orders[at / 64];
        // In the order of `Bounds::quantize`.
        let position = pixel % 16 / 4 * 16 + pixel / 16 * 4 + pixel % 4;
        order.0[at % 64] = if channel == 1 { position as u8 | 64 } else { position as u8 };
        order.1[channel] |= 1 << (at % 64);
        at += 1;
    }
    orders
}
