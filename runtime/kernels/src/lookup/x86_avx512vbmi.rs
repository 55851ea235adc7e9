//! `vpermi2b` picks 64 bytes from a table of 128 (Intel SDM vol. 2): two of them, and the top bit of
//! each index chooses between the halves.

use core::arch::x86_64::*;

/// # Safety
/// The processor has AVX-512 F, BW and VBMI; `input` has as many readable bytes as `output`
/// writable ones, `len`; they are the same or do not overlap.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
unsafe fn lookup_raw(input: *const i8, table: &[i8; 256], output: *mut i8, len: usize) {
    // SAFETY: four registers are the table; loads and stores are of 64 bytes where there are as many,
    // and masked to what is left at the end.
    unsafe {
        let quarter = |i: usize| _mm512_loadu_si512(table.as_ptr().add(i * 64).cast());
        let [a, b, c, d] = [quarter(0), quarter(1), quarter(2), quarter(3)];
        let of = |x: __m512i| {
            // Entry i is for the value i - 128: the first half of the table is for negative values.
            let negative = _mm512_permutex2var_epi8(a, x, b);
            let positive = _mm512_permutex2var_epi8(c, x, d);
            _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), positive, negative)
        };
        let mut at = 0;
        while at + 64 <= len {
            let y = of(_mm512_loadu_si512(input.add(at).cast()));
            _mm512_storeu_si512(output.add(at).cast(), y);
            at += 64;
        }
        if at < len {
            let mask = u64::MAX >> (64 - (len - at));
            let y = of(_mm512_maskz_loadu_epi8(mask, input.add(at)));
            _mm512_mask_storeu_epi8(output.add(at), mask, y);
        }
    }
}

/// # Safety
/// The processor has AVX-512 F, BW, VL and VBMI.
pub(crate) unsafe fn lookup(input: &[i8], table: &[i8; 256], output: &mut [i8]) {
    let len = input.len().min(output.len());
    // SAFETY: both slices have `len`, and do not overlap.
    unsafe { lookup_raw(input.as_ptr(), table, output.as_mut_ptr(), len) }
}

/// # Safety
/// As [`lookup`].
pub(crate) unsafe fn lookup_in_place(values: &mut [i8], table: &[i8; 256]) {
    // SAFETY: the same memory, read before it is written.
    unsafe { lookup_raw(values.as_ptr(), table, values.as_mut_ptr(), values.len()) }
}
