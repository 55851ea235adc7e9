//! What the running processor has, for the suite: the library itself has no standard library to ask.

use super::IsaSet;

#[cfg(target_arch = "x86_64")]
pub fn detect() -> IsaSet {
    use std::is_x86_feature_detected as has;
    let mut set = IsaSet::SCALAR;
    if has!("avx2") {
        set = IsaSet::AVX2;
        if has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512vnni") {
            set = IsaSet::AVX512_VNNI;
            if has!("avx512vbmi") {
                set = IsaSet::AVX512_VBMI;
            }
        }
    }
    if has!("avx2") && has!("avxvnni") {
        set = set.union(IsaSet::AVX_VNNI);
    }
    set
}

#[cfg(target_arch = "aarch64")]
pub fn detect() -> IsaSet {
    use std::arch::is_aarch64_feature_detected as has;
    let mut set = IsaSet::NEON;
    if has!("dotprod") {
        set = set.union(IsaSet::DOTPROD);
        if has!("i8mm") {
            set = set.union(IsaSet::I8MM);
        }
    }
    set
}

#[cfg(target_arch = "arm")]
pub fn detect() -> IsaSet {
    use core::ffi::c_ulong;
    unsafe extern "C" {
        fn getauxval(kind: c_ulong) -> c_ulong;
    }
    const AT_HWCAP: c_ulong = 16;
    const HWCAP_NEON: c_ulong = 1 << 12;
    // SAFETY: reads a value that the kernel gave the process.
    let hwcap = unsafe { getauxval(AT_HWCAP) };
    if hwcap & HWCAP_NEON != 0 { IsaSet::NEON32 } else { IsaSet::SCALAR }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm")))]
pub fn detect() -> IsaSet {
    IsaSet::SCALAR
}

/// What the processor has beside: every ARMv7-A has the instructions of microcontrollers' DSP extension, whose rows are
/// compiled for it in tests, so that the suite holds them too.
pub fn beside() -> IsaSet {
    if cfg!(target_arch = "arm") { IsaSet::DSP } else { IsaSet::SCALAR }
}
