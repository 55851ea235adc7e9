//! `tbl` picks 16 bytes from a table of 64, `tbx` the same but keeps what is out of range (Arm ARM,
//! section C7.2, TBL, TBX): four of them cover 256 entries.

use core::arch::aarch64::*;

/// # Safety
/// `input` has as many readable bytes as `output` writable ones, `len`; they are the same or do not
/// overlap.
#[target_feature(enable = "neon")]
unsafe fn lookup_raw(input: *const i8, table: &[i8; 256], output: *mut i8, len: usize) {
    // SAFETY: sixteen registers are the table; loads and stores are of 16 bytes where there are as many.
    unsafe {
        let quarter = |i: usize| vld1q_s8_x4(table.as_ptr().add(i * 64));
        // As unsigned values, those from 0 on come before the negative ones.
        let [a, b, c, d] = [quarter(2), quarter(3), quarter(0), quarter(1)];
        let sixty_four = vdupq_n_u8(64);
        let of = |x: int8x16_t| {
            let index = vreinterpretq_u8_s8(x);
            let y = vqtbl4q_s8(a, index);
            let index = vsubq_u8(index, sixty_four);
            let y = vqtbx4q_s8(y, b, index);
            let index = vsubq_u8(index, sixty_four);
            let y = vqtbx4q_s8(y, c, index);
            let index = vsubq_u8(index, sixty_four);
            vqtbx4q_s8(y, d, index)
        };
        let mut at = 0;
        while at + 64 <= len {
            let int8x16x4_t(x, y, z, w) = vld1q_s8_x4(input.add(at));
            vst1q_s8_x4(output.add(at), int8x16x4_t(of(x), of(y), of(z), of(w)));
            at += 64;
        }
        while at + 16 <= len {
            vst1q_s8(output.add(at), of(vld1q_s8(input.add(at))));
            at += 16;
        }
        for at in at..len {
            *output.add(at) = table[(*input.add(at) as u8 ^ 0x80) as usize];
        }
    }
}

/// # Safety
/// The processor has NEON.
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
