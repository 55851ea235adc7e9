//! Steps in f32: what int8 would cost too much accuracy, and the FP32 baseline of a device.
//!
//! They are the portable code alone, which the compiler makes vectors of where a processor has wider ones
//! than its baseline: all of it is single IEEE operations in a written order, which the compiler may neither
//! reorder nor contract, so that the bits are the same everywhere.
//!
//! ```text
//! math          exponential, logarithm, error function, … with their errors
//! elementwise   a short program over each element; casts from and to int8
//! product       convolutions, fully connected layers, products of two tensors
//! weights       weights of half precision and int8, which become f32 by panels
//! quantize      f32 to int8, by rows, at scales that are found then
//! recurrent     LSTM and GRU
//! reduce        pooling, reductions, layer normalization
//! ```

mod depthwise;
pub mod elementwise;
pub mod math;
pub mod product;
pub mod quantize;
pub mod recurrent;
pub mod reduce;
#[cfg(test)]
mod stored_tests;
#[cfg(test)]
mod tests;
pub mod weights;

use core::ops::Range;

use crate::choice::Choice;
use crate::conv::ConvShape;
use crate::isa::{IsaSet, IsaToken};
use elementwise::{ElementwiseArgs, Sink};
use product::{ConvArgs, MatMulArgs};
use quantize::RescaleArgs;
use reduce::{LayerNormArgs, PoolArgs};
use weights::Weights;

/// The steps of f32 as compiled for one instruction set.
#[derive(Debug)]
pub struct Variant {
    /// The extensions that the processor must have.
    pub isa: IsaSet,
    /// Name of the convolution.
    pub conv: &'static str,
    /// Name of the depthwise convolution.
    pub depthwise: &'static str,
    /// Name of the product of two tensors.
    pub mat_mul: &'static str,
    /// Name of the element-wise program.
    pub elementwise: &'static str,
    /// Name of the pooling.
    pub pool: &'static str,
    /// Name of the layer normalization.
    pub layer_norm: &'static str,
    /// Name of what quantizes rows.
    pub quantize: &'static str,
    /// Name of what brings their products back to f32.
    pub rescale: &'static str,
    functions: Option<Functions>,
}

/// # Safety of the functions
/// The processor has the variant's extensions.
#[derive(Clone, Copy, Debug)]
struct Functions {
    conv: unsafe fn(&ConvArgs<'_>, Range<usize>, &mut [f32]),
    mat_mul: unsafe fn(&mut MatMulArgs<'_>),
    elementwise: unsafe fn(&ElementwiseArgs<'_>, Range<usize>, Sink<'_>),
    pool: unsafe fn(&PoolArgs, &[f32], &mut [f32]),
    layer_norm: unsafe fn(&LayerNormArgs<'_>, &[f32], &mut [f32]),
    quantize_rows: unsafe fn(usize, i8, &[f32], &mut [i8], &mut [f32]),
    rescale_rows: unsafe fn(&RescaleArgs<'_>, Range<usize>, &mut [f32]),
    expand: unsafe fn(Weights<'_>, &mut [f32]),
}

macro_rules! variant {
    ($suffix:literal, $isa:expr, $functions:expr) => {
        Variant {
            isa: $isa,
            conv: concat!("conv_f32_", $suffix),
            depthwise: concat!("depthwise_f32_", $suffix),
            mat_mul: concat!("matmul_f32_", $suffix),
            elementwise: concat!("elementwise_f32_", $suffix),
            pool: concat!("pool_f32_", $suffix),
            layer_norm: concat!("layer_norm_f32_", $suffix),
            quantize: concat!("quantize_rows_f32_", $suffix),
            rescale: concat!("rescale_rows_f32_", $suffix),
            functions: $functions,
        }
    };
}

/// Best first.
static VARIANTS: &[Variant] = &[
    variant!("avx512vnni", IsaSet::AVX512_VNNI, avx512()),
    variant!("avx2", IsaSet::AVX2, avx2()),
    variant!("portable", IsaSet::SCALAR, Some(PORTABLE)),
];

const PORTABLE: Functions = Functions {
    conv: product::conv::<4, 1>,
    mat_mul: product::mat_mul::<4>,
    elementwise: elementwise::elementwise,
    pool: reduce::pool,
    layer_norm: reduce::layer_norm,
    quantize_rows: quantize::quantize_rows,
    rescale_rows: quantize::rescale_rows,
    expand: weights::expand,
};

/// The portable code compiled for some target features; poolings and normalizations gain nothing from it.
#[cfg(target_arch = "x86_64")]
macro_rules! compiled_for {
    ($features:literal, $pixels:literal, $panels:literal) => {{
        /// # Safety
        /// The processor has the features.
        #[target_feature(enable = $features)]
        unsafe fn conv(args: &ConvArgs<'_>, range: Range<usize>, output: &mut [f32]) {
            product::conv::<$pixels, $panels>(args, range, output);
        }
        /// # Safety
        /// The processor has the features.
        #[target_feature(enable = $features)]
        unsafe fn mat_mul(args: &mut MatMulArgs<'_>) {
            product::mat_mul::<$pixels>(args);
        }
        /// # Safety
        /// The processor has the features.
        #[target_feature(enable = $features)]
        unsafe fn elementwise(args: &ElementwiseArgs<'_>, range: Range<usize>, sink: Sink<'_>) {
            elementwise::elementwise(args, range, sink);
        }
        /// # Safety
        /// The processor has the features.
        #[target_feature(enable = $features)]
        unsafe fn quantize_rows(
            channels: usize,
            zero_point: i8,
            input: &[f32],
            output: &mut [i8],
            scales: &mut [f32],
        ) {
            quantize::quantize_rows(channels, zero_point, input, output, scales);
        }
        /// # Safety
        /// The processor has the features.
        #[target_feature(enable = $features)]
        unsafe fn rescale_rows(args: &RescaleArgs<'_>, range: Range<usize>, rows: &mut [f32]) {
            quantize::rescale_rows(args, range, rows);
        }
        /// # Safety
        /// The processor has the features.
        #[target_feature(enable = $features)]
        unsafe fn expand(weights: Weights<'_>, output: &mut [f32]) {
            weights::expand(weights, output);
        }
        Some(Functions { conv, mat_mul, elementwise, quantize_rows, rescale_rows, expand, ..PORTABLE })
    }};
}

#[cfg(target_arch = "x86_64")]
const fn avx512() -> Option<Functions> {
    compiled_for!("avx512f,avx512bw,avx512vl", 6, 2)
}

#[cfg(target_arch = "x86_64")]
const fn avx2() -> Option<Functions> {
    compiled_for!("avx2", 6, 1)
}

#[cfg(not(target_arch = "x86_64"))]
const fn avx512() -> Option<Functions> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
const fn avx2() -> Option<Functions> {
    None
}

/// Every variant, of every architecture.
pub fn variants() -> &'static [Variant] {
    VARIANTS
}

/// The variant of a processor with the extensions of `isa`. Pure, as all selections.
pub fn select(isa: IsaSet) -> &'static Variant {
    VARIANTS.iter().find(|variant| isa.contains(variant.isa)).unwrap_or(&VARIANTS[VARIANTS.len() - 1])
}

impl Variant {
    /// Whether the variant was compiled for the architecture that this program runs on.
    pub fn is_compiled(&self) -> bool {
        self.functions.is_some()
    }

    /// The names of its kernels.
    pub fn names(&self) -> [&'static str; 8] {
        [
            self.conv,
            self.depthwise,
            self.mat_mul,
            self.elementwise,
            self.pool,
            self.layer_norm,
            self.quantize,
            self.rescale,
        ]
    }
}

/// A variant that may be run, since a token has shown that the processor has what it needs.
#[derive(Clone, Copy, Debug)]
pub struct BoundVariant(Choice<Functions>);

impl BoundVariant {
    /// The best variant that `token` vouches for.
    pub fn new(token: IsaToken) -> Self {
        Self(Choice::new(|| select(token.set()).functions.unwrap_or(PORTABLE)))
    }

    #[inline(always)]
    fn functions(&self) -> &Functions {
        self.0.get(&PORTABLE)
    }

    /// [`product::conv`].
    #[inline]
    pub fn conv(&self, args: &ConvArgs<'_>, range: Range<usize>, output: &mut [f32]) {
        // SAFETY: `new` saw a token for the extensions.
        unsafe { (self.functions().conv)(args, range, output) }
    }

    /// [`product::mat_mul`].
    #[inline]
    pub fn mat_mul(&self, args: &mut MatMulArgs<'_>) {
        // SAFETY: `new` saw a token for the extensions.
        unsafe { (self.functions().mat_mul)(args) }
    }

    /// [`elementwise::elementwise`].
    #[inline]
    pub fn elementwise(&self, args: &ElementwiseArgs<'_>, range: Range<usize>, sink: Sink<'_>) {
        // SAFETY: `new` saw a token for the extensions.
        unsafe { (self.functions().elementwise)(args, range, sink) }
    }

    /// [`reduce::pool`].
    #[inline]
    pub fn pool(&self, args: &PoolArgs, input: &[f32], output: &mut [f32]) {
        // SAFETY: `new` saw a token for the extensions.
        unsafe { (self.functions().pool)(args, input, output) }
    }

    /// [`reduce::layer_norm`].
    #[inline]
    pub fn layer_norm(&self, args: &LayerNormArgs<'_>, input: &[f32], output: &mut [f32]) {
        // SAFETY: `new` saw a token for the extensions.
        unsafe { (self.functions().layer_norm)(args, input, output) }
    }

    /// [`quantize::quantize_rows`].
    #[inline]
    pub fn quantize_rows(
        &self,
        channels: usize,
        zero_point: i8,
        input: &[f32],
        output: &mut [i8],
        scales: &mut [f32],
    ) {
        // SAFETY: `new` saw a token for the extensions.
        unsafe { (self.functions().quantize_rows)(channels, zero_point, input, output, scales) }
    }

    /// [`quantize::rescale_rows`].
    #[inline]
    pub fn rescale_rows(&self, args: &RescaleArgs<'_>, range: Range<usize>, rows: &mut [f32]) {
        // SAFETY: `new` saw a token for the extensions.
        unsafe { (self.functions().rescale_rows)(args, range, rows) }
    }

    /// Calls `run` with panels of a product's weights, and these in f32: all at once, if they are that, else
    /// each as it lies in `scratch`, which has [`weights::scratch_elems`].
    #[inline]
    pub fn panels(
        &self,
        shape: &ConvShape,
        weights: &Weights<'_>,
        scratch: &mut [f32],
        run: impl FnMut(Range<usize>, &[f32]),
    ) {
        // SAFETY: `new` saw a token for the extensions.
        weights.each(
            shape,
            scratch,
            |weights, output| unsafe { (self.functions().expand)(weights, output) },
            run,
        );
    }
}
