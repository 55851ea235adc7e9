//! Tables by ARMv7 NEON, in assembly (`armv7/lookup.s`), 64 and 16 elements at a time.

unsafe extern "C" {
    fn edgepack_neon32_lookup_64(from: *const i8, to: *mut i8, table: *const i8, blocks: usize);
    fn edgepack_neon32_lookup_16(from: *const i8, to: *mut i8, table: *const i8, blocks: usize);
}

/// # Safety
/// `input` has `len` readable bytes and `output` as many writable ones; they are the same or do not
/// overlap. The processor has NEON.
unsafe fn lookup_raw(input: *const i8, table: &[i8; 256], output: *mut i8, len: usize) {
    let mut at = 0;
    // SAFETY: blocks are inside the `len` bytes, and each is read before it is written.
    unsafe {
        for (elems, run) in [
            (64, edgepack_neon32_lookup_64 as unsafe extern "C" fn(_, _, _, _)),
            (16, edgepack_neon32_lookup_16),
        ] {
            let blocks = (len - at) / elems;
            if blocks > 0 {
                run(input.add(at), output.add(at), table.as_ptr(), blocks);
                at += blocks * elems;
            }
        }
        for at in at..len {
            *output.add(at) = table[super::index(*input.add(at))];
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
    let (values, len) = (values.as_mut_ptr(), values.len());
    // SAFETY: the same memory, read before it is written.
    unsafe { lookup_raw(values, table, values, len) }
}
