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

mod bind;
mod error;
mod float;
mod int16;
mod integers;
mod io;
mod island;
mod parallel;
mod recurrent_f32;
mod run;

pub use bind::{BoundStep, Requirements, bind, bind_with_islands, requirements};
pub use edgepack_format as format;
pub use edgepack_kernels as kernels;
pub use error::{BindError, RunError};
pub use io::{InputData, OutputData};
pub use island::Islands;
pub use parallel::{MAX_THREADS, Parallel, Team};
pub use recurrent_f32::{recurrent_f32_scratch_bytes, recurrent_f32_shape};
pub use run::{Observer, Program};

use edgepack_format::plan;
use edgepack_kernels::conv::matmul::{self, MatMulShape};
use edgepack_kernels::conv::{self, ConvShape, Row};
use edgepack_kernels::isa::IsaSet;
use edgepack_kernels::recurrent::{self, RecurrentShape};
use edgepack_kernels::variants;

/// The geometry of a convolution step, for the kernels.
pub fn conv_shape(window: &plan::Window, groups: u32) -> ConvShape {
    let [batch, in_h, in_w, in_channels] = window.input_dims.map(|dim| dim as usize);
    let [_, out_h, out_w, out_channels] = window.output_dims.map(|dim| dim as usize);
    ConvShape {
        batch,
        in_h,
        in_w,
        in_channels,
        out_h,
        out_w,
        out_channels,
        kernel_h: window.kernel[0] as usize,
        kernel_w: window.kernel[1] as usize,
        stride_h: window.stride[0] as usize,
        stride_w: window.stride[1] as usize,
        dilation_h: window.dilation[0] as usize,
        dilation_w: window.dilation[1] as usize,
        pad_top: window.pad[0] as usize,
        pad_left: window.pad[1] as usize,
        groups: groups as usize,
    }
}

/// The geometry of a recurrent step, for the kernels.
pub fn recurrent_shape(op: &plan::Recurrent) -> RecurrentShape {
    RecurrentShape {
        cell: match op.cell {
            plan::Cell::Lstm => recurrent::Cell::Lstm,
            plan::Cell::Gru => recurrent::Cell::Gru,
        },
        steps: op.steps as usize,
        batch: op.batch as usize,
        hidden: op.hidden as usize,
        reverse: op.reverse,
    }
}

/// The product with constant int8 weights that a step makes, if it is of such a kind.
pub fn product_shape(op: &plan::Op) -> Option<ConvShape> {
    match op {
        plan::Op::Conv(conv) => Some(conv_shape(&conv.window, conv.groups)),
        plan::Op::Recurrent(op) => Some(recurrent_shape(op).conv()),
        plan::Op::RecurrentF32(op) => match op.product {
            plan::RecurrentProduct::Dynamic { .. } => Some(recurrent_f32_shape(op).conv()),
            plan::RecurrentProduct::F32(_) => None,
        },
        _ => None,
    }
}

/// The row that a processor with these extensions runs a convolution with, in so many bytes of scratch memory.
pub fn conv_row(conv: &plan::Conv, scratch_bytes: u32, isa: IsaSet) -> &'static Row {
    conv::select_within(&conv_shape(&conv.window, conv.groups), isa, scratch_bytes as usize)
}

/// The sizes and strides of a product of two tensors, for the kernels.
pub fn mat_mul_shape(product: &plan::MatMulGeometry) -> MatMulShape {
    let [m, k, n] = product.sizes.map(|size| size as usize);
    MatMulShape {
        batch: product.batch.map(|size| size as usize),
        m,
        k,
        n,
        lhs_strides: product.lhs_strides.map(|stride| stride as usize),
        rhs_strides: product.rhs_strides.map(|stride| stride as usize),
        output_strides: product.output_strides.map(|stride| stride as usize),
    }
}

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
        plan::Op::TopK(_) => "f32 → integers",
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
