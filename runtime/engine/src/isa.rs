//! Which instruction sets this processor has.

use edgepack_core::kernels::isa::{IsaSet, IsaToken};

use crate::Error;

/// The environment variable that lowers (never raises) the instruction sets in use.
pub const VARIABLE: &str = "EDGEPACK_ISA";

/// What the processor has, lowered to what `EDGEPACK_ISA` names.
///
/// # Errors
/// `EDGEPACK_ISA` holds a word that is no instruction set.
pub fn detect() -> Result<IsaToken, Error> {
    match std::env::var(VARIABLE) {
        Err(_) => Ok(processor()),
        Ok(text) => {
            let mask = IsaSet::parse(&text).map_err(|word| Error::Isa {
                word: word.into(),
                known: IsaSet::names().collect::<Vec<_>>().join(", "),
            })?;
            Ok(processor().lowered_to(mask))
        }
    }
}

/// What the processor has.
pub fn processor() -> IsaToken {
    let set = features();
    // SAFETY: `features` names only what the processor was just asked for, by the standard library's
    // detection (which also asks whether the system saves the registers), or by the kernel's HWCAP.
    unsafe { IsaToken::assume(set) }
}

#[cfg(target_arch = "x86_64")]
fn features() -> IsaSet {
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni");
    let avx_vnni = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni");
    let vnni = if avx_vnni { IsaSet::AVX_VNNI } else { IsaSet::SCALAR };
    vnni.union(match (is_x86_feature_detected!("avx2"), avx512, is_x86_feature_detected!("avx512vbmi")) {
        (true, true, true) => IsaSet::AVX512_VBMI,
        (true, true, false) => IsaSet::AVX512_VNNI,
        (true, false, _) => IsaSet::AVX2,
        _ => IsaSet::SCALAR,
    })
}

#[cfg(target_arch = "aarch64")]
fn features() -> IsaSet {
    use std::arch::is_aarch64_feature_detected;
    let mut set = IsaSet::SCALAR;
    if is_aarch64_feature_detected!("neon") {
        set = IsaSet::NEON;
        if is_aarch64_feature_detected!("dotprod") {
            set = IsaSet::DOTPROD;
            if is_aarch64_feature_detected!("i8mm") {
                set = IsaSet::I8MM;
            }
        }
    }
    set
}

/// Bit 12 of HWCAP is `HWCAP_NEON` (Linux, arch/arm/include/uapi/asm/hwcap.h).
#[cfg(all(target_arch = "arm", target_os = "linux"))]
fn features() -> IsaSet {
    // SAFETY: `getauxval` has no preconditions; it reads the process's own auxiliary vector.
    let hwcap = unsafe { libc::getauxval(libc::AT_HWCAP) };
    if hwcap & (1 << 12) != 0 { IsaSet::NEON32 } else { IsaSet::SCALAR }
}

#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "arm", target_os = "linux")
)))]
fn features() -> IsaSet {
    IsaSet::SCALAR
}
