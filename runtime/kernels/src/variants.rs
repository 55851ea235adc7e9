//! The kernels of all steps but convolutions, as they are compiled for each instruction set.
//!
//! What no one has written by hand for an instruction set is the portable code again, for the compiler to
//! make wider vectors of: it consists of single IEEE operations, which the compiler may not contract, so
//! that the result is the same bits.

#[cfg(test)]
mod tests;

use crate::choice::Choice;
use crate::elementwise::{self, BinaryArgs, Operands};
use crate::input::{self, InputArgs};
use crate::isa::{IsaSet, IsaToken};
use crate::layer_norm::{self, LayerNormArgs};
use crate::lookup;
use crate::pool::{self, PoolArgs};
use crate::requantize::OutputRange;
use crate::softmax::{self, Logits, Probabilities};

/// One instruction set's kernels.
#[derive(Debug)]
pub struct Variant {
    /// The extensions that the processor must have.
    pub isa: IsaSet,
    /// Name of the addition and subtraction.
    pub add: &'static str,
    /// Name of the multiplication.
    pub mul: &'static str,
    /// Name of the table of int8.
    pub lookup: &'static str,
    /// Name of the maximum pooling.
    pub max_pool: &'static str,
    /// Name of the average pooling.
    pub average_pool: &'static str,
    /// Name of the softmax of int8.
    pub softmax: &'static str,
    /// Name of the layer normalization.
    pub layer_norm: &'static str,
    functions: Option<Functions>,
}

/// # Safety of the functions
/// The processor has the variant's extensions.
#[derive(Clone, Copy, Debug)]
struct Functions {
    binary: unsafe fn(&BinaryArgs, Operands<'_>),
    lookup: unsafe fn(&[i8], &[i8; 256], &mut [i8]),
    lookup_in_place: unsafe fn(&mut [i8], &[i8; 256]),
    pool: unsafe fn(&PoolArgs, &[i8], &mut [i8]),
    softmax: unsafe fn(usize, Logits<'_>, Probabilities<'_>),
    layer_norm: unsafe fn(&LayerNormArgs<'_>, &[i8], &mut [i8]),
    quantize_f32: unsafe fn(&InputArgs, &[f32], f32, OutputRange, &mut [i8]),
    quantize_u8: unsafe fn(&InputArgs, &[u8], &[i8], bool, &mut [i8]),
}

macro_rules! variant {
    ($suffix:literal, $isa:expr, $functions:expr) => {
        Variant {
            isa: $isa,
            add: concat!("add_s8_", $suffix),
            mul: concat!("mul_s8_", $suffix),
            lookup: concat!("lookup_s8_", $suffix),
            max_pool: concat!("max_pool_s8_", $suffix),
            average_pool: concat!("average_pool_s8_", $suffix),
            softmax: concat!("softmax_s8_", $suffix),
            layer_norm: concat!("layer_norm_s8_", $suffix),
            functions: $functions,
        }
    };
}

/// Best first within one architecture.
static VARIANTS: &[Variant] = &[
    variant!("avx512vbmi", IsaSet::AVX512_VBMI, avx512vbmi()),
    variant!("avx512vnni", IsaSet::AVX512_VNNI, avx512()),
    variant!("avx2", IsaSet::AVX2, avx2()),
    variant!("neon", IsaSet::NEON, neon()),
    variant!("neon32", IsaSet::NEON32, neon32()),
    variant!("portable", IsaSet::SCALAR, Some(PORTABLE)),
];

const PORTABLE: Functions = Functions {
    binary: elementwise::binary,
    lookup: lookup::lookup,
    lookup_in_place: lookup::lookup_in_place,
    pool: pool::pool,
    softmax: softmax::softmax,
    layer_norm: layer_norm::layer_norm,
    quantize_f32: input::quantize_f32,
    quantize_u8: input::quantize_u8,
};

/// The portable code compiled for some target features; tables gain nothing from it.
#[cfg(target_arch = "x86_64")]
macro_rules! compiled_for {
    ($features:literal) => {{
        /// # Safety
        /// The processor has the features.
        #[target_feature(enable = $features)]
        unsafe fn binary(args: &BinaryArgs, operands: Operands<'_>) {
            elementwise::binary(args, operands);
        }
        /// # Safety
        /// The processor has the features.
        #[target_feature(enable = $features)]
        unsafe fn pool(args: &PoolArgs, input: &[i8], output: &mut [i8]) {
            pool::pool(args, input, output);
        }
        /// # Safety
        /// The processor has the features.
        #[target_feature(enable = $features)]
        unsafe fn softmax(channels: usize, logits: Logits<'_>, probabilities: Probabilities<'_>) {
            softmax::softmax(channels, logits, probabilities);
        }
        /// # Safety
        /// The processor has the features.
        #[target_feature(enable = $features)]
        unsafe fn layer_norm(args: &LayerNormArgs<'_>, input: &[i8], output: &mut [i8]) {
            layer_norm::layer_norm(args, input, output);
        }
        /// # Safety
        /// The processor has the features.
        #[target_feature(enable = $features)]
        unsafe fn quantize_f32(
            args: &InputArgs,
            input: &[f32],
            inverse_scale: f32,
            range: OutputRange,
            output: &mut [i8],
        ) {
            input::quantize_f32(args, input, inverse_scale, range, output);
        }
        Functions { binary, pool, softmax, layer_norm, quantize_f32, ..PORTABLE }
    }};
}

#[cfg(target_arch = "x86_64")]
const fn avx512vbmi() -> Option<Functions> {
    use elementwise::x86_avx512::binary;
    use input::x86_avx512vbmi::{quantize_f32, quantize_u8};
    use lookup::x86_avx512vbmi::{lookup, lookup_in_place};
    use pool::x86_avx512::pool;
    use softmax::x86_avx512vbmi::softmax;
    let others = compiled_for!("avx512f,avx512bw,avx512vl,avx512vbmi");
    Some(Functions { binary, lookup, lookup_in_place, pool, softmax, quantize_f32, quantize_u8, ..others })
}

#[cfg(target_arch = "x86_64")]
const fn avx512() -> Option<Functions> {
    use elementwise::x86_avx512::binary;
    use input::x86_avx2::quantize_f32;
    use lookup::x86_avx2::{lookup, lookup_in_place};
    use pool::x86_avx512::pool;
    let others = compiled_for!("avx512f,avx512bw,avx512vl");
    Some(Functions { binary, lookup, lookup_in_place, pool, quantize_f32, ..others })
}

#[cfg(target_arch = "x86_64")]
const fn avx2() -> Option<Functions> {
    use elementwise::x86_avx2::binary;
    use input::x86_avx2::quantize_f32;
    use lookup::x86_avx2::{lookup, lookup_in_place};
    use pool::x86_avx2::pool;
    let others = compiled_for!("avx2");
    Some(Functions { binary, lookup, lookup_in_place, pool, quantize_f32, ..others })
}

#[cfg(not(target_arch = "x86_64"))]
const fn avx512vbmi() -> Option<Functions> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
const fn avx512() -> Option<Functions> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
const fn avx2() -> Option<Functions> {
    None
}

#[cfg(target_arch = "aarch64")]
const fn neon() -> Option<Functions> {
    use elementwise::aarch64_neon::binary;
    use lookup::aarch64_neon::{lookup, lookup_in_place};
    use pool::aarch64_neon::pool;
    Some(Functions { binary, lookup, lookup_in_place, pool, ..PORTABLE })
}

#[cfg(not(target_arch = "aarch64"))]
const fn neon() -> Option<Functions> {
    None
}

#[cfg(all(target_arch = "arm", target_os = "linux"))]
const fn neon32() -> Option<Functions> {
    use elementwise::armv7_neon::binary;
    use lookup::armv7_neon::{lookup, lookup_in_place};
    use pool::armv7_neon::pool;
    Some(Functions { binary, lookup, lookup_in_place, pool, ..PORTABLE })
}

#[cfg(not(all(target_arch = "arm", target_os = "linux")))]
const fn neon32() -> Option<Functions> {
    None
}

/// Every variant, of every architecture.
pub fn variants() -> &'static [Variant] {
    VARIANTS
}

/// The variant of a processor with the extensions of `isa`. Pure, so that the host can tell what a
/// device will choose.
pub fn select(isa: IsaSet) -> &'static Variant {
    VARIANTS.iter().find(|variant| isa.contains(variant.isa)).unwrap_or(&VARIANTS[VARIANTS.len() - 1])
}

/// A variant that may be run, since a token has shown that the processor has what it needs.
#[derive(Clone, Copy, Debug)]
pub struct BoundVariant(Choice<Functions>);

impl Variant {
    /// Whether the variant was compiled for the architecture that this program runs on.
    pub fn is_compiled(&self) -> bool {
        self.functions.is_some()
    }

    /// The names of its kernels.
    pub fn names(&self) -> [&'static str; 7] {
        let Self { add, mul, lookup, max_pool, average_pool, softmax, layer_norm, .. } = *self;
        [add, mul, lookup, max_pool, average_pool, softmax, layer_norm]
    }
}

impl BoundVariant {
    /// The best variant that `token` vouches for.
    pub fn new(token: IsaToken) -> Self {
        Self(Choice::new(|| select(token.set()).functions.unwrap_or(PORTABLE)))
    }

    #[inline(always)]
    fn functions(&self) -> &Functions {
        self.0.get(&PORTABLE)
    }

    /// [`elementwise::binary`].
    #[inline]
    pub fn binary(&self, args: &BinaryArgs, operands: Operands<'_>) {
        // SAFETY: `new` saw a token for the extensions.
        unsafe { (self.functions().binary)(args, operands) }
    }

    /// [`lookup::lookup`] of int8.
    #[inline]
    pub fn lookup(&self, input: &[i8], table: &[i8; 256], output: &mut [i8]) {
        // SAFETY: `new` saw a token for the extensions.
        unsafe { (self.functions().lookup)(input, table, output) }
    }

    /// [`lookup::lookup_in_place`].
    #[inline]
    pub fn lookup_in_place(&self, values: &mut [i8], table: &[i8; 256]) {
        // SAFETY: `new` saw a token for the extensions.
        unsafe { (self.functions().lookup_in_place)(values, table) }
    }

    /// [`pool::pool`].
    #[inline]
    pub fn pool(&self, args: &PoolArgs, input: &[i8], output: &mut [i8]) {
        // SAFETY: `new` saw a token for the extensions.
        unsafe { (self.functions().pool)(args, input, output) }
    }

    /// [`input::quantize_f32`].
    #[inline]
    pub fn quantize_f32(
        &self,
        args: &InputArgs,
        input: &[f32],
        inverse_scale: f32,
        range: OutputRange,
        output: &mut [i8],
    ) {
        // SAFETY: `new` saw a token for the extensions.
        unsafe { (self.functions().quantize_f32)(args, input, inverse_scale, range, output) }
    }

    /// [`input::quantize_u8`].
    #[inline]
    pub fn quantize_u8(
        &self,
        args: &InputArgs,
        input: &[u8],
        tables: &[i8],
        reverse_channels: bool,
        output: &mut [i8],
    ) {
        // SAFETY: `new` saw a token for the extensions.
        unsafe { (self.functions().quantize_u8)(args, input, tables, reverse_channels, output) }
    }

    /// [`softmax::softmax`].
    #[inline]
    pub fn softmax(&self, channels: usize, logits: Logits<'_>, probabilities: Probabilities<'_>) {
        // SAFETY: `new` saw a token for the extensions.
        unsafe { (self.functions().softmax)(channels, logits, probabilities) }
    }

    /// [`layer_norm::layer_norm`].
    #[inline]
    pub fn layer_norm(&self, args: &LayerNormArgs<'_>, input: &[i8], output: &mut [i8]) {
        // SAFETY: `new` saw a token for the extensions.
        unsafe { (self.functions().layer_norm)(args, input, output) }
    }
}
