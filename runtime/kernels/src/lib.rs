//! INT8 kernels: for every operation a plain scalar reference that *defines* the result, and
//! SIMD rows that equal it bit for bit.
//!
//! ```text
//! requantize   the arithmetic: i32 accumulator -> i8, one definition for every ISA
//! isa          which instruction sets exist, and the token that proves one is there
//! conv         convolution, depthwise convolution, fully connected: table, selection, packing
//!              conv::matmul  product of two tensors, by the same tiles
//! elementwise  add and multiply with broadcasting
//! lookup       256-entry tables: every unary function on int8
//! pool         maximum, average and mean
//! softmax      exponential and softmax in fixed-order or integer arithmetic
//! layer_norm   layer normalization: exact sums, a fixed order of the rest
//! recurrent    LSTM and GRU: products by the convolutions' rows, gates in fixed-order arithmetic
//! copy         strided copies: transpose, concat, pad
//! float        the same operations in f32, and any function of each element
//! int16        convolutions of int16 activations with int8 or int16 weights
//! suppression  the boxes of a detector that are better than those which they overlap
//! parts        which part of some work each thread has
//! input        f32 samples and u8 pixels to int8
//! variants     elementwise, lookup, pool, softmax and layer_norm as compiled for each instruction set
//! ```
//!
//! Tensors are NHWC, contiguous, and given as slices; shapes travel in argument structs. All sizes
//! are in elements unless the name says `_bytes`.
//!
//! **Architecture invariant:** no allocation, no dependency, no panic on sizes that the argument
//! structs' documentation allows. Raw pointers stay inside the files of one ISA.
#![no_std]

#[cfg(test)]
extern crate std;

#[cfg(target_arch = "aarch64")]
mod aarch64_rounding;
#[cfg(all(target_arch = "arm", target_os = "linux"))]
mod armv7;
mod choice;
pub mod conv;
pub mod copy;
pub mod elementwise;
pub mod float;
pub mod input;
pub mod int16;
pub mod integers;
pub mod isa;
pub mod layer_norm;
pub mod lookup;
pub mod parts;
pub mod pool;
pub mod recurrent;
pub mod requantize;
pub mod softmax;
pub mod suppression;
pub mod variants;
#[cfg(target_arch = "x86_64")]
mod x86_avx2;
#[cfg(target_arch = "x86_64")]
mod x86_avx512;
