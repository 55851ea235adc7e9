//! What a node costs a device, without asking any clock: measured times differ from run to run and from machine
//! to machine, and a package must not.
//!
//! Multiply-adds and the bytes that are read and written, by weights that hold for no processor exactly and for
//! none badly: a vector has a quarter as many lanes for numbers of four bytes as for numbers of one, and a core
//! multiplies several numbers in the time in which its caches bring one.

use crate::graph::{Graph, Node, Op, Precision};
use crate::quantize::product_constants;

/// What a byte that is read or written costs, in multiply-adds of int8.
const BYTE: u64 = 4;

/// Multiply-adds of a node.
pub fn macs(graph: &Graph, node: &Node) -> u64 {
    let elems = |dims: &[usize]| dims.iter().map(|&dim| dim as u64).product::<u64>();
    let k = match &node.op {
        Op::Conv(conv) => elems(&conv.weights.dims[1..]),
        Op::FullyConnected(fc) => elems(&fc.weights.dims[1..]),
        Op::Recurrent(layer) => layer.cell.gates() as u64 * elems(&layer.weights.dims[1..]),
        Op::MatMul => graph.dims(node.inputs[0]).last().map_or(0, |&k| k as u64),
        _ => 0,
    };
    k * elems(graph.dims(node.output))
}

/// The cost of a node in a precision, in multiply-adds of int8.
pub fn cost(graph: &Graph, node: &Node, precision: Precision) -> u64 {
    let elems = |dims: &[usize]| dims.iter().map(|&dim| dim as u64).product::<u64>();
    let tensors = node.inputs.iter().chain([&node.output]).map(|&id| elems(graph.dims(id))).sum::<u64>();
    let weights = product_constants(node).map_or(0, |(weights, _)| weights.data.len() as u64);
    let bytes = elem_bytes(precision);
    bytes * (macs(graph, node) + BYTE * (tensors + weights))
}

/// Bytes of a number; multiply-adds of wider numbers are as many times dearer.
fn elem_bytes(precision: Precision) -> u64 {
    match precision {
        Precision::Int8 => 1,
        // Of dynamic int8, which is read and written as f32 besides.
        Precision::Int16 | Precision::Int16x16 | Precision::Dynamic => 2,
        Precision::F32 | Precision::WeightsInt8 | Precision::WeightsF16 => 4,
    }
}
