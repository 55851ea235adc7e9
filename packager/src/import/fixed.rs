//! Inputs that are bound to one value: the model has them no more.
//!
//! A sampling rate, a threshold, a flag: what an exporter left as an input though every application gives the same,
//! often so that it decides an If whose branches do not even have one shape. An initializer of the input's name makes
//! a constant of it, which every reader of ONNX takes in its place. Messages of protobuf that follow each other are one
//! message, so that a file gets it by a few bytes at its end.

use std::path::Path;

use tract_onnx::pb::{self, tensor_proto::DataType};

use super::facts::{declared_dims, real_inputs};
use crate::error::{PackError, Result};

/// What inputs are bound to, by name: each of an input's elements is the number.
pub type Fixed = [(String, f64)];

/// The bytes that bind inputs of a model, to be put behind its own.
///
/// # Errors
/// A name that is no input's, an input of free dimensions, a number that its type does not have.
pub(crate) fn binding(graph: &pb::GraphProto, fixed: &Fixed) -> Result<Vec<u8>> {
    let mut initializers = Vec::new();
    for (name, value) in fixed {
        let failed = |reason: String| PackError::Fix { name: name.clone(), reason };
        let Some(input) = real_inputs(graph).find(|input| input.name == *name) else {
            let names: Vec<&str> = real_inputs(graph).map(|input| input.name.as_str()).collect();
            return Err(failed(format!("the model has no such input; its inputs are {}", names.join(", "))));
        };
        let (of, dims) = declared_dims(input).ok_or_else(|| {
            failed("the input has dimensions that the model leaves open, so that it is no constant".into())
        })?;
        let elem = element(of, *value)
            .ok_or_else(|| failed(format!("{value} is no value of {}", super::facts::type_name(of))))?;
        let count = dims.iter().product::<usize>().max(1);
        let mut tensor = Vec::new();
        for dim in dims {
            varint(&mut tensor, 1 << 3);
            varint(&mut tensor, dim as u64);
        }
        varint(&mut tensor, 2 << 3);
        varint(&mut tensor, of as u64);
        field(&mut tensor, 8, name.as_bytes());
        field(&mut tensor, 9, &elem.repeat(count));
        field(&mut initializers, 5, &tensor);
    }
    let mut bytes = Vec::new();
    if !initializers.is_empty() {
        field(&mut bytes, 7, &initializers);
    }
    Ok(bytes)
}

/// A copy of a model with inputs bound, beside the file, for whoever reads files: it goes away with the handle.
///
/// # Errors
/// As [`super::import`], of the file; and that nothing can be written there.
pub fn bound_copy(model: &Path, fixed: &Fixed) -> Result<tempfile::NamedTempFile> {
    let file = super::OnnxFile::read(model, &[])?;
    let failed = |source| PackError::Io { path: model.into(), source };
    let folder = model.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let copy = tempfile::Builder::new().suffix(".onnx").tempfile_in(folder).map_err(failed)?;
    let bytes = [&file.bytes[..], &binding(file.graph(), fixed)?].concat();
    std::fs::write(copy.path(), bytes).map_err(failed)?;
    Ok(copy)
}

/// The inputs that decide branches while the model runs, from which a condition is computed.
pub(super) fn deciding(graph: &pb::GraphProto) -> Vec<&str> {
    let conditions = graph.node.iter().filter(|node| ["If", "edgepack.If"].contains(&node.op_type.as_str()));
    let conditions = conditions.filter_map(|node| node.input.first());
    let mut wanted: Vec<&str> = conditions.map(String::as_str).collect();
    let mut known = 0;
    while let Some(&name) = wanted.get(known) {
        known += 1;
        let makers = graph.node.iter().filter(|node| node.output.iter().any(|output| output == name));
        for read in makers.flat_map(|node| &node.input) {
            if !wanted.contains(&read.as_str()) {
                wanted.push(read);
            }
        }
    }
    let decides = |input: &&pb::ValueInfoProto| {
        let is_one = declared_dims(input).is_some_and(|(_, dims)| dims.iter().product::<usize>() <= 1);
        is_one && wanted.contains(&input.name.as_str())
    };
    real_inputs(graph).filter(decides).map(|input| input.name.as_str()).collect()
}

/// An element of a type, as initializers have it; `None` where the type has no such number.
fn element(of: i32, value: f64) -> Option<Vec<u8>> {
    let whole = |range: std::ops::RangeInclusive<f64>| value.fract() == 0.0 && range.contains(&value);
    match DataType::try_from(of).ok()? {
        DataType::Float => Some((value as f32).to_le_bytes().to_vec()),
        DataType::Double => Some(value.to_le_bytes().to_vec()),
        DataType::Int64 if whole(-9e15..=9e15) => Some((value as i64).to_le_bytes().to_vec()),
        DataType::Int32 if whole(f64::from(i32::MIN)..=f64::from(i32::MAX)) => {
            Some((value as i32).to_le_bytes().to_vec())
        }
        DataType::Bool if whole(0.0..=1.0) => Some(vec![value as u8]),
        _ => None,
    }
}

/// A field of bytes.
fn field(to: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(to, number << 3 | 2);
    varint(to, bytes.len() as u64);
    to.extend(bytes);
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}
