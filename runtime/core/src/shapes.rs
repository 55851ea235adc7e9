//! What the plan says of a step's sizes, in the kernels' terms.

use edgepack_format::{All, Operation, Operations, plan};
use edgepack_kernels::conv::matmul::MatMulShape;
use edgepack_kernels::conv::{self, ConvShape, Row};
use edgepack_kernels::float::reduce;
use edgepack_kernels::isa::IsaSet;
use edgepack_kernels::pool::PoolArgs;
use edgepack_kernels::recurrent::{self, RecurrentShape};
use edgepack_kernels::requantize::OutputRange;

use crate::recurrent_f32::recurrent_f32_shape;

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
    select_of::<All>(&conv_shape(&conv.window, conv.groups), isa, scratch_bytes as usize)
}

/// The row of a program that has the operations of `O`: rows that these do not need are not linked.
pub(crate) fn select_of<O: Operations>(shape: &ConvShape, isa: IsaSet, scratch_bytes: usize) -> &'static Row {
    if O::SET.contains(Operation::Depthwise) && shape.is_depthwise() {
        conv::DEPTHWISE.select_within(shape, isa, scratch_bytes)
    } else {
        conv::DENSE.select_within(shape, isa, scratch_bytes)
    }
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

/// The geometry of a pooling step, for the kernels.
pub(crate) fn pool_args<O>(op: O, window: &plan::Window, pad_after: [u32; 2]) -> PoolArgs<O> {
    let [batch, in_h, in_w, channels] = sizes(window.input_dims);
    let [_, out_h, out_w, _] = sizes(window.output_dims);
    let ([top, left], [bottom, right]) = (sizes(window.pad), sizes(pad_after));
    PoolArgs {
        op,
        batch,
        in_h,
        in_w,
        channels,
        out_h,
        out_w,
        kernel_h: window.kernel[0] as usize,
        kernel_w: window.kernel[1] as usize,
        stride_h: window.stride[0] as usize,
        stride_w: window.stride[1] as usize,
        dilation_h: window.dilation[0] as usize,
        dilation_w: window.dilation[1] as usize,
        pad_h: [top, bottom],
        pad_w: [left, right],
    }
}

pub(crate) fn pool_f32_args(pool: &plan::PoolF32) -> reduce::PoolArgs {
    let op = match pool.op {
        plan::PoolF32Op::Max => reduce::PoolOp::Max,
        plan::PoolF32Op::Min => reduce::PoolOp::Min,
        plan::PoolF32Op::Sum => reduce::PoolOp::Sum,
        plan::PoolF32Op::Average { count_include_pad } => reduce::PoolOp::Average { count_include_pad },
    };
    pool_args(op, &pool.window, pool.pad_after)
}

pub(crate) fn range(range: &plan::Range) -> OutputRange {
    OutputRange { zero_point: range.zero_point as i32, min: range.min as i32, max: range.max as i32 }
}

pub(crate) fn sizes<const N: usize>(values: [u32; N]) -> [usize; N] {
    values.map(|value| value as usize)
}
