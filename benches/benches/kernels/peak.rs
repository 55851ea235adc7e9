//! What this processor can do at most: its multiply-add instruction in a loop over registers, without a load
//! or a store. Kernels are judged against that, measured in the same run.

use std::time::{Duration, Instant};

use edgepack_kernels::isa::{IsaSet, IsaToken};

/// Sums that do not wait for each other: more than the instruction's latency times its throughput.
const CHAINS: u64 = 12;

/// Instructions of one chain in a round, and rounds: the best one counts, a slow moment does not.
const STEPS: u64 = 20_000;
const ROUNDS: usize = 100;

/// Runs `steps` times [`CHAINS`] instructions (for AVX2: pairs of them).
type Loop = unsafe fn(steps: u64);

/// A loop over registers 0 to 11, `\\r` in the instructions, that adds products of two others.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! register_loop {
    ($name:ident, [$($register:tt)*], $before:expr, [$($instruction:expr),+], $after:expr) => {
        /// # Safety
        /// The processor has the instructions.
        unsafe fn $name(steps: u64) {
            // SAFETY: the caller's promise; vector registers, of which the compiler is told, flags and the
            // counter are all that is touched.
            unsafe {
                core::arch::asm!(
                    $before,
                    "2:",
                    ".irp r, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
                    $($instruction,)+
                    ".endr",
                    $after,
                    steps = inout(reg) steps => _,
                    $(out($register) _,)*
                    options(nomem, nostack),
                );
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
macro_rules! x86_loop {
    ($name:ident, $($instruction:expr),+) => {
        register_loop!(
            $name,
            ["xmm0" "xmm1" "xmm2" "xmm3" "xmm4" "xmm5" "xmm6" "xmm7" "xmm8" "xmm9" "xmm10" "xmm11" "xmm12"
             "xmm13" "xmm14" "xmm15"],
            "vzeroall",
            [$($instruction),+],
            "dec {steps}\njnz 2b\nvzeroupper"
        );
    };
}

#[cfg(target_arch = "x86_64")]
x86_loop!(vpdpbusd_512, "vpdpbusd zmm\\r, zmm12, zmm13");
#[cfg(target_arch = "x86_64")]
x86_loop!(vpdpbusd_256, "{{vex}} vpdpbusd ymm\\r, ymm12, ymm13");
#[cfg(target_arch = "x86_64")]
x86_loop!(vpmaddwd_vpaddd, "vpmaddwd ymm14, ymm12, ymm13", "vpaddd ymm\\r, ymm\\r, ymm14");

#[cfg(target_arch = "aarch64")]
macro_rules! aarch64_loop {
    ($name:ident, $extension:literal, $instruction:expr) => {
        register_loop!(
            $name,
            ["v0" "v1" "v2" "v3" "v4" "v5" "v6" "v7" "v8" "v9" "v10" "v11" "v12" "v13"],
            concat!(".arch_extension ", $extension),
            [$instruction],
            "subs {steps}, {steps}, #1\nb.ne 2b"
        );
    };
}

#[cfg(target_arch = "aarch64")]
aarch64_loop!(smmla, "i8mm", "smmla v\\r\\().4s, v12.16b, v13.16b");
#[cfg(target_arch = "aarch64")]
aarch64_loop!(sdot, "dotprod", "sdot v\\r\\().4s, v12.16b, v13.16b");
#[cfg(target_arch = "aarch64")]
aarch64_loop!(smlal, "simd", "smlal v\\r\\().8h, v12.8b, v13.8b");

/// The best loop of an instruction set, and multiply-adds of one of its instructions.
fn best_loop(isa: IsaSet) -> Option<(Loop, u64)> {
    #[cfg(target_arch = "x86_64")]
    let loops: [(IsaSet, Loop, u64); 3] = [
        (IsaSet::AVX512_VNNI, vpdpbusd_512, 64),
        (IsaSet::AVX_VNNI, vpdpbusd_256, 32),
        (IsaSet::AVX2, vpmaddwd_vpaddd, 16),
    ];
    #[cfg(target_arch = "aarch64")]
    let loops: [(IsaSet, Loop, u64); 3] =
        [(IsaSet::I8MM, smmla, 32), (IsaSet::DOTPROD, sdot, 16), (IsaSet::NEON, smlal, 8)];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let loops: [(IsaSet, Loop, u64); 0] = [];
    loops.into_iter().find(|(set, ..)| isa.contains(*set)).map(|(_, run, macs)| (run, macs))
}

/// Billions of operations in a second, two to a multiply-add, that the best instruction of `isa` does on one
/// core; `None` where there is no loop for it, or `token` does not vouch for it.
pub fn gop_per_s(isa: IsaSet, token: IsaToken) -> Option<f64> {
    let (run, macs) = best_loop(isa).filter(|_| token.set().contains(isa))?;
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        // SAFETY: the token vouches for the extensions, of which `best_loop` has chosen one.
        unsafe { run(STEPS) };
        best = best.min(start.elapsed());
    }
    Some(2.0 * (STEPS * CHAINS * macs) as f64 / best.as_secs_f64() / 1e9)
}
