//! The plan executor: binds the steps of a validated package to kernels once, and then runs them over
//! an arena that the caller gives. Nothing is allocated; there is no clock, and threads are
//! the caller's ([`Parallel`]).
//!
//! ```text
//! Package::parse  ->  requirements  ->  bind (into the caller's memory)  ->  Program::run, as often as wanted
//! ```
//!
//! **Architecture invariant:** after [`bind`] has succeeded, [`Program::run`] cannot fail on an arena
//! of the right size and alignment. Islands alone, which [`bind_with_islands`] takes, may fail and allocate.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

#[cfg(not(target_endian = "little"))]
compile_error!("packages are little-endian and used in place: big-endian processors are not supported");

mod arena;
mod bind;
mod error;
mod float;
mod int16;
mod integers;
mod interpreter;
mod io;
mod island;
mod parallel;
mod recurrent_f32;
mod run;
mod shapes;

pub use bind::{BoundStep, Requirements, bind, bind_with_islands, requirements};
pub use edgepack_format as format;
pub use edgepack_kernels as kernels;
pub use error::{BindError, RunError};
pub use interpreter::Interpreter;
pub use io::{InputData, OutputData};
pub use island::Islands;
pub use parallel::{MAX_THREADS, Parallel, Team};
pub use recurrent_f32::{recurrent_f32_scratch_bytes, recurrent_f32_shape};
pub use run::{Observer, Program};
pub use shapes::{conv_row, conv_shape, mat_mul_shape, product_shape, recurrent_shape};

use edgepack_format::plan;
use edgepack_kernels::conv::matmul;
use edgepack_kernels::isa::IsaSet;
use edgepack_kernels::recurrent;
use edgepack_kernels::variants;

/// The kernel of a step with so many bytes of scratch memory, on a processor with these extensions. Pure: a
/// workstation can ask for a board.
pub fn kernel_name(op: &plan::Op, scratch_bytes: u32, isa: IsaSet) -> &'static str {
    match op {
        plan::Op::Conv(conv) => conv_row(conv, scratch_bytes, isa).name,
        plan::Op::Binary(plan::Binary { op: plan::BinaryOp::Add { .. }, .. }) => variants::select(isa).add,
        plan::Op::Binary(plan::Binary { op: plan::BinaryOp::Mul { .. }, .. }) => variants::select(isa).mul,
        plan::Op::Lookup(lookup) if lookup.to_f32 => "lookup_s8_f32_portable",
        plan::Op::Lookup(_) => variants::select(isa).lookup,
        plan::Op::Pool(plan::Pool { op: plan::PoolOp::Max, .. }) => variants::select(isa).max_pool,
        plan::Op::Pool(_) => variants::select(isa).average_pool,
        plan::Op::Softmax(plan::Softmax { input: plan::SoftmaxInput::F32(_), .. }) => "softmax_f32_portable",
        plan::Op::Softmax(_) => variants::select(isa).softmax,
        plan::Op::Fill(_) => "fill_s8_portable",
        plan::Op::Copy(_) => "copy_portable",
        plan::Op::MatMul(_) => matmul::select(isa).name,
        plan::Op::LayerNorm(_) => variants::select(isa).layer_norm,
        plan::Op::Recurrent(plan::Recurrent { cell: plan::Cell::Lstm, .. }) => recurrent::select(isa).lstm,
        plan::Op::Recurrent(_) => recurrent::select(isa).gru,
        plan::Op::Island(_) => "tract",
        _ => {
            let name = float::kernel_name(op, isa).or(int16::kernel_name(op, isa));
            let name = name.or(integers::Integers::kernel_name(op));
            name.unwrap_or("none")
        }
    }
}

/// Multiply-adds of a step.
pub fn step_macs(op: &plan::Op) -> u64 {
    match op {
        plan::Op::Conv(conv) => conv_shape(&conv.window, conv.groups).macs(),
        plan::Op::MatMul(product) => mat_mul_shape(&product.geometry).macs(),
        plan::Op::Recurrent(op) => recurrent_shape(op).macs(),
        plan::Op::ConvF32(conv) => conv_shape(&conv.window, conv.groups).macs(),
        plan::Op::ConvI16(conv) => conv_shape(&conv.window, conv.groups).macs(),
        plan::Op::MatMulF32(product) => mat_mul_shape(&product.geometry).macs(),
        plan::Op::RecurrentF32(op) => recurrent_f32_shape(op).macs(),
        plan::Op::Island(island) => island.macs,
        _ => 0,
    }
}

/// What a step computes with: int8 and nothing else, or f32 at an end or throughout.
pub fn step_type(op: &plan::Op) -> &'static str {
    let (int8, mixed, floats) = ("int8", "int8 → f32", "f32");
    match op {
        plan::Op::Conv(conv) => {
            if conv.range.is_some() {
                int8
            } else {
                mixed
            }
        }
        plan::Op::Lookup(lookup) => {
            if lookup.to_f32 {
                mixed
            } else {
                int8
            }
        }
        plan::Op::Softmax(softmax) => match (&softmax.input, &softmax.output) {
            // Exponentials and their sum are integers; what is made of them is f32.
            (plan::SoftmaxInput::I8 { .. }, plan::SoftmaxOutput::I8 { .. }) => "int8 (f32)",
            (plan::SoftmaxInput::I8 { .. }, plan::SoftmaxOutput::F32(_)) => mixed,
            (plan::SoftmaxInput::F32(_), plan::SoftmaxOutput::I8 { .. }) => "f32 → int8",
            (plan::SoftmaxInput::F32(_), plan::SoftmaxOutput::F32(_)) => floats,
        },
        plan::Op::Convert(convert) if convert.to == plan::ElemType::F32 => "integers → f32",
        plan::Op::Convert(_) => "f32 → integers",
        plan::Op::TopK(plan::TopK { dtype: plan::ElemType::I8, .. }) => "int8 → integers",
        plan::Op::TopK(_) | plan::Op::NonMaxSuppression(_) => "f32 → integers",
        // What they copy has the type of what they copy it from.
        plan::Op::Gather(_) | plan::Op::Scatter(_) => "any",
        plan::Op::Island(_) => "island",
        // The products are int8, the gates f32 whatever the ends are.
        plan::Op::Recurrent(_) => "int8 (f32)",
        plan::Op::Copy(copy) => match copy.elem_bytes {
            4 => floats,
            2 => "int16",
            _ => int8,
        },
        plan::Op::MatMul(product) => {
            if product.range.is_some() {
                int8
            } else {
                mixed
            }
        }
        plan::Op::Binary(_) | plan::Op::Pool(_) | plan::Op::Fill(_) => int8,
        // The sums are integers; what is made of them for each row is f32.
        plan::Op::LayerNorm(_) => "int8 (f32)",
        plan::Op::Elementwise(op) => {
            let mut sources = op.sources.iter().flatten().map(|source| source.elems);
            let widest = sources.clone().map(|elems| elems.bytes()).max();
            let is_int8 = sources.any(|elems| matches!(elems, plan::Elems::I8(_)));
            match (widest, op.stored) {
                (Some(2), plan::Stored::I8 { .. }) => "int16 → int8",
                (Some(2), plan::Stored::I16 { .. }) => "int16 (f32)",
                (Some(2), plan::Stored::F32) => "int16 → f32",
                (_, plan::Stored::I16 { .. }) if is_int8 => "int8 → int16",
                (_, plan::Stored::I16 { .. }) => "f32 → int16",
                (_, plan::Stored::I8 { .. }) if is_int8 => "int8 (f32)",
                (_, plan::Stored::I8 { .. }) => "f32 → int8",
                (_, plan::Stored::F32) if is_int8 => mixed,
                (_, plan::Stored::F32) => floats,
            }
        }
        plan::Op::QuantizeRows(_) => "f32 → int8",
        plan::Op::RescaleRows(_) => floats,
        // The products are int8, what is quantized for them f32.
        plan::Op::RecurrentF32(op) => match op.product {
            plan::RecurrentProduct::Dynamic { .. } => "int8 (f32)",
            plan::RecurrentProduct::F32(_) => floats,
        },
        plan::Op::ConvI16(conv) => match conv.stored {
            plan::Stored::I16 { .. } => "int16",
            plan::Stored::I8 { .. } => "int16 → int8",
            plan::Stored::F32 => "int16 → f32",
        },
        plan::Op::PoolI16(_) => "int16",
        plan::Op::ConvF32(_) | plan::Op::PoolF32(_) | plan::Op::MatMulF32(_) | plan::Op::LayerNormF32(_) => {
            floats
        }
    }
}
