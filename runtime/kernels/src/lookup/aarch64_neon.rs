//! `tbl` picks 16 bytes from a table of 64, `tbx` the same but keeps what is out of range (Arm ARM,
//! section C7.2, TBL, TBX): four of them cover 256 entries.

use core::arch::aarch64::*;
use core::arch::asm;

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
        let blocks = len / 64;
        if blocks > 0 {
            sixty_fours(input, table, output, blocks);
        }
        let mut at = blocks * 64;
        while at + 16 <= len {
            vst1q_s8(output.add(at), of(vld1q_s8(input.add(at))));
            at += 16;
        }
        for at in at..len {
            *output.add(at) = table[(*input.add(at) as u8 ^ 0x80) as usize];
        }
    }
}

/// Looks up `blocks` of 64 bytes, at least one.
///
/// # Safety
/// As [`lookup_raw`].
#[target_feature(enable = "neon")]
unsafe fn sixty_fours(input: *const i8, table: &[i8; 256], output: *mut i8, blocks: usize) {
    macro_rules! of {
        ($x:literal $y:literal) => {
            concat!(
                "tbl v",
                $y,
                ".16b, {{v16.16b-v19.16b}}, v",
                $x,
                ".16b\n",
                "sub v",
                $x,
                ".16b, v",
                $x,
                ".16b, {sixty_four:v}.16b\n",
                "tbx v",
                $y,
                ".16b, {{v20.16b-v23.16b}}, v",
                $x,
                ".16b\n",
                "sub v",
                $x,
                ".16b, v",
                $x,
                ".16b, {sixty_four:v}.16b\n",
                "tbx v",
                $y,
                ".16b, {{v24.16b-v27.16b}}, v",
                $x,
                ".16b\n",
                "sub v",
                $x,
                ".16b, v",
                $x,
                ".16b, {sixty_four:v}.16b\n",
                "tbx v",
                $y,
                ".16b, {{v28.16b-v31.16b}}, v",
                $x,
                ".16b\n",
            )
        };
    }
    // SAFETY: reads the table and so many bytes, and writes as many.
    unsafe {
        asm!(
            // As unsigned values, those from 0 on come before the negative ones.
            "ld1 {{v24.16b-v27.16b}}, [{table}], #64",
            "ld1 {{v28.16b-v31.16b}}, [{table}], #64",
            "ld1 {{v16.16b-v19.16b}}, [{table}], #64",
            "ld1 {{v20.16b-v23.16b}}, [{table}]",
            "20:",
            "ld1 {{v0.16b-v3.16b}}, [{input}], #64",
            of!(0 4), of!(1 5), of!(2 6), of!(3 7),
            "subs {blocks}, {blocks}, #1",
            "st1 {{v4.16b-v7.16b}}, [{output}], #64",
            "b.ne 20b",
            table = inout(reg) table.as_ptr() => _,
            input = inout(reg) input => _,
            output = inout(reg) output => _,
            blocks = inout(reg) blocks => _,
            sixty_four = in(vreg) vdupq_n_u8(64),
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack),
        );
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
