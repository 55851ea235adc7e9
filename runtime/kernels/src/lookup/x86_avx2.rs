//! `vpshufb` picks from 16 bytes, and gives 0 where the index has its top bit set (Intel SDM vol. 2). So an index
//! that has 16 taken off with saturation in each of eight steps picks from the first parts of the half table that
//! it belongs to, up to its own, and then no more. With each part held as its difference (exclusive or) from the
//! one before, what was picked adds up to the entry of its own part. The indices of the other half have their
//! top bit set from the start.

use core::arch::x86_64::*;

/// Bytes of a register.
const WIDTH: usize = 32;

/// Registers that share the reading of a table.
const REGISTERS: usize = 4;

/// The table of one call: eight parts for values from 0 on, then eight for those below.
#[repr(align(32))]
struct Parts([[u8; 2 * 16]; 16]);

impl Parts {
    fn new(table: &[i8; 256]) -> Self {
        let mut parts = [[0; 32]; 16];
        for (i, part) in parts.iter_mut().enumerate() {
            // Entry i is for the value i - 128.
            let from = (i * 16 + 128) % 256;
            for (j, byte) in part.iter_mut().enumerate() {
                let at = from + j % 16;
                let before = if i % 8 > 0 { table[at - 16] } else { 0 };
                *byte = (table[at] ^ before) as u8;
            }
        }
        Self(parts)
    }

    /// The entries of `N` registers of values.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn of<const N: usize>(&self, x: [__m256i; N]) -> [__m256i; N] {
        let mut y = [_mm256_setzero_si256(); N];
        for half in 0..2 {
            let mut index = x;
            if half == 1 {
                for index in &mut index {
                    *index = _mm256_xor_si256(*index, _mm256_set1_epi8(-128));
                }
            }
            for part in &self.0[half * 8..][..8] {
                // SAFETY: a part has 32 bytes, aligned as they are many.
                let part = unsafe { _mm256_load_si256(part.as_ptr().cast()) };
                for (y, index) in y.iter_mut().zip(&mut index) {
                    *y = _mm256_xor_si256(*y, _mm256_shuffle_epi8(part, *index));
                    *index = _mm256_subs_epi8(*index, _mm256_set1_epi8(16));
                }
            }
        }
        y
    }
}

/// # Safety
/// The processor has AVX2; `input` has as many readable bytes as `output` writable ones, `len`; they are the same
/// or do not overlap.
#[target_feature(enable = "avx2")]
unsafe fn lookup_raw(input: *const i8, table: &[i8; 256], output: *mut i8, len: usize) {
    let parts = Parts::new(table);
    let mut at = 0;
    // SAFETY: loads and stores are of bytes that there are.
    unsafe {
        while at + REGISTERS * WIDTH <= len {
            let mut x = [_mm256_setzero_si256(); REGISTERS];
            for (i, x) in x.iter_mut().enumerate() {
                *x = _mm256_loadu_si256(input.add(at + i * WIDTH).cast());
            }
            let y = parts.of(x);
            for (i, y) in y.into_iter().enumerate() {
                _mm256_storeu_si256(output.add(at + i * WIDTH).cast(), y);
            }
            at += REGISTERS * WIDTH;
        }
        while at < len {
            let count = (len - at).min(WIDTH);
            let mut bytes = [0i8; WIDTH];
            input.add(at).copy_to_nonoverlapping(bytes.as_mut_ptr(), count);
            let [y] = parts.of([_mm256_loadu_si256(bytes.as_ptr().cast())]);
            _mm256_storeu_si256(bytes.as_mut_ptr().cast(), y);
            output.add(at).copy_from_nonoverlapping(bytes.as_ptr(), count);
            at += count;
        }
    }
}

/// Lengths from which the preparation is worth while.
const LEAST: usize = 512;

/// # Safety
/// The processor has AVX2.
pub(crate) unsafe fn lookup(input: &[i8], table: &[i8; 256], output: &mut [i8]) {
    let len = input.len().min(output.len());
    if len < LEAST {
        return super::lookup(input, table, output);
    }
    // SAFETY: both slices have `len`, and do not overlap.
    unsafe { lookup_raw(input.as_ptr(), table, output.as_mut_ptr(), len) }
}

/// # Safety
/// As [`lookup`].
pub(crate) unsafe fn lookup_in_place(values: &mut [i8], table: &[i8; 256]) {
    if values.len() < LEAST {
        return super::lookup_in_place(values, table);
    }
    // SAFETY: the same memory, read before it is written.
    unsafe { lookup_raw(values.as_ptr(), table, values.as_mut_ptr(), values.len()) }
}
