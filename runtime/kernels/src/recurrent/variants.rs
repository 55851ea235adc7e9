//! The gates as they are compiled for each instruction set: the portable code again, for the compiler to
//! make wider vectors of. It consists of single IEEE operations, which the compiler may not contract.

use super::{GatesArgs, gates};
use crate::choice::Choice;
use crate::isa::{IsaSet, IsaToken};

/// # Safety
/// The processor has the variant's extensions.
type Function = unsafe fn(&mut GatesArgs<'_>);

/// One instruction set's gates.
#[derive(Debug)]
pub struct Variant {
    /// The extensions that the processor must have.
    pub isa: IsaSet,
    /// Name of the LSTM's gates.
    pub lstm: &'static str,
    /// Name of the GRU's gates.
    pub gru: &'static str,
    function: Option<Function>,
}

macro_rules! variant {
    ($suffix:literal, $isa:expr, $function:expr) => {
        Variant {
            isa: $isa,
            lstm: concat!("lstm_f32_", $suffix),
            gru: concat!("gru_f32_", $suffix),
            function: $function,
        }
    };
}

/// Best first within one architecture. NEON is in every build for AArch64, so that the portable code
/// has its vectors there already; that of ARMv7 is no IEEE arithmetic.
static VARIANTS: &[Variant] = &[
    variant!("avx512vnni", IsaSet::AVX512_VNNI, avx512()),
    variant!("avx2", IsaSet::AVX2, avx2()),
    variant!("portable", IsaSet::SCALAR, Some(gates as Function)),
];

#[cfg(target_arch = "x86_64")]
macro_rules! compiled_for {
    ($name:ident, $features:literal) => {
        const fn $name() -> Option<Function> {
            /// # Safety
            /// The processor has the features.
            #[target_feature(enable = $features)]
            unsafe fn compiled(args: &mut GatesArgs<'_>) {
                gates(args);
            }
            Some(compiled)
        }
    };
}

#[cfg(not(target_arch = "x86_64"))]
macro_rules! compiled_for {
    ($name:ident, $features:literal) => {
        const fn $name() -> Option<Function> {
            None
        }
    };
}

compiled_for!(avx512, "avx512f,avx512bw,avx512vl");
compiled_for!(avx2, "avx2");

/// Every variant, of every architecture.
pub fn variants() -> &'static [Variant] {
    VARIANTS
}

/// The variant of a processor with the extensions of `isa`. Pure, so that the host can tell what a
/// device will choose.
pub fn select(isa: IsaSet) -> &'static Variant {
    VARIANTS.iter().find(|variant| isa.contains(variant.isa)).unwrap_or(&VARIANTS[VARIANTS.len() - 1])
}

impl Variant {
    /// Whether the variant was compiled for the architecture that this program runs on.
    pub fn is_compiled(&self) -> bool {
        self.function.is_some()
    }
}

/// Gates that may be run, since a token has shown that the processor has what they need.
#[derive(Clone, Copy, Debug)]
pub struct BoundGates(Choice<Function>);

impl BoundGates {
    /// The best gates that `token` vouches for.
    pub fn new(token: IsaToken) -> Self {
        Self(Choice::new(|| select(token.set()).function.unwrap_or(gates)))
    }

    /// [`gates`].
    #[inline]
    pub fn run(&self, args: &mut GatesArgs<'_>) {
        // SAFETY: `new` saw a token for the extensions.
        unsafe { (self.0.get(&(gates as Function)))(args) }
    }
}
