//! int8 softmax with VBMI: the table's low and high bytes are two tables of 256 bytes, and 64 values are
//! looked up at a time as in [`crate::lookup`].

use core::arch::x86_64::*;

use super::{Logits, Probabilities, softmax as portable};
use crate::requantize::OutputRange;

/// [`super::softmax`].
///
/// # Safety
/// The processor has AVX-512 F, BW, VL and VBMI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
pub(crate) unsafe fn softmax(channels: usize, logits: Logits<'_>, probabilities: Probabilities<'_>) {
    match (logits, probabilities) {
        (Logits::I8(values, table), Probabilities::I8(out, multiplier, range)) => {
            let table = Table::new(table);
            for (row, out) in values.chunks_exact(channels).zip(out.chunks_exact_mut(channels)) {
                row_of_int8(row, &table, multiplier, range, out);
            }
        }
        (logits, probabilities) => portable(channels, logits, probabilities),
    }
}

/// The entries' low and high bytes, each in four registers.
struct Table {
    low: [__m512i; 4],
    high: [__m512i; 4],
}

impl Table {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
    #[inline]
    fn new(table: &[u16; 256]) -> Self {
        let (low, high) = (table.map(|e| e as u8), table.map(|e| (e >> 8) as u8));
        // SAFETY: each quarter is 64 bytes of the array.
        let quarter =
            |bytes: &[u8; 256], i: usize| unsafe { _mm512_loadu_si512(bytes.as_ptr().add(i * 64).cast()) };
        Self {
            low: core::array::from_fn(|i| quarter(&low, i)),
            high: core::array::from_fn(|i| quarter(&high, i)),
        }
    }

    /// Low and high bytes of the entries with these indices.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
    #[inline]
    fn of(&self, index: __m512i) -> [__m512i; 2] {
        let second_half = _mm512_movepi8_mask(index);
        [&self.low, &self.high].map(|bytes| {
            let first = _mm512_permutex2var_epi8(bytes[0], index, bytes[1]);
            let second = _mm512_permutex2var_epi8(bytes[2], index, bytes[3]);
            _mm512_mask_blend_epi8(second_half, first, second)
        })
    }
}

/// Which of the 64 values from `at` on are in a row of `len`.
#[inline(always)]
fn live(len: usize, at: usize) -> __mmask64 {
    u64::MAX >> (64 - (len - at).min(64))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
#[inline]
fn row_of_int8(row: &[i8], table: &Table, multiplier: f32, range: OutputRange, out: &mut [i8]) {
    let len = row.len().min(out.len());
    let smallest = _mm512_set1_epi8(-128);
    // SAFETY: the mask leaves only values of the row, which has at least `len`.
    let load = |at: usize| unsafe { _mm512_mask_loadu_epi8(smallest, live(len, at), row.as_ptr().add(at)) };
    let mut largest = smallest;
    for at in (0..len).step_by(64) {
        largest = _mm512_max_epi8(largest, load(at));
    }
    let largest = _mm512_set1_epi8(greatest_byte(largest));
    let mut sums = [_mm512_setzero_si512(); 2];
    for at in (0..len).step_by(64) {
        let parts = table.of(_mm512_sub_epi8(largest, load(at)));
        for (sum, part) in sums.iter_mut().zip(parts) {
            let part = _mm512_maskz_mov_epi8(live(len, at), part);
            *sum = _mm512_add_epi64(*sum, _mm512_sad_epu8(part, _mm512_setzero_si512()));
        }
    }
    let sum = _mm512_add_epi64(sums[0], _mm512_slli_epi64::<8>(sums[1]));
    let factor = multiplier / _mm512_reduce_add_epi64(sum) as f32;
    for at in (0..len).step_by(64) {
        let parts = table.of(_mm512_sub_epi8(largest, load(at)));
        let bytes = quantize(parts, _mm512_set1_ps(factor), range);
        // SAFETY: the mask leaves only bytes of the output, which has at least `len`.
        unsafe { _mm512_mask_storeu_epi8(out.as_mut_ptr().add(at), live(len, at), bytes) };
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn greatest_byte(x: __m512i) -> i8 {
    let x = _mm256_max_epi8(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64::<1>(x));
    let x = _mm_max_epi8(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
    // The minimum of unsigned words is the one reduction in one instruction (Intel SDM vol. 2,
    // PHMINPOSUW): of the complement, of bytes made unsigned, paired with the odd ones beside them.
    let unsigned = _mm_xor_si128(x, _mm_set1_epi8(0x7f));
    let pairs = _mm_min_epu8(unsigned, _mm_srli_epi16::<8>(unsigned));
    let least = _mm_extract_epi16::<0>(_mm_minpos_epu16(_mm_and_si128(pairs, _mm_set1_epi16(0xff))));
    (least as u8 ^ 0x7f) as i8
}

/// [`OutputRange::quantize`] of 64 entries times `factor`. Unpacking and packing both work within
/// 128-bit lanes, so that the order is as it was.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn quantize([low, high]: [__m512i; 2], factor: __m512, range: OutputRange) -> __m512i {
    let zero = _mm512_setzero_si512();
    let least = _mm512_set1_ps((range.min - range.zero_point) as f32);
    let most = _mm512_set1_ps((range.max - range.zero_point) as f32);
    let halves = [_mm512_unpacklo_epi8(low, high), _mm512_unpackhi_epi8(low, high)];
    let rounded = halves.map(|half| {
        let quarters = [_mm512_unpacklo_epi16(half, zero), _mm512_unpackhi_epi16(half, zero)];
        let [a, b] = quarters.map(|quarter| {
            let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(quarter), factor);
            // `vmaxps` gives its second operand where the first is no number.
            _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(scaled, least), most))
        });
        _mm512_add_epi16(_mm512_packs_epi32(a, b), _mm512_set1_epi16(range.zero_point as i16))
    });
    _mm512_packs_epi16(rounded[0], rounded[1])
}
