//! The constants of a file: initializers, and the tensors of Constant nodes.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::prelude::f16;

/// A constant tensor of the file.
pub(super) struct Constant<'a> {
    /// The name under which nodes read it.
    pub name: &'a str,
    /// Its type, shape and elements.
    pub tensor: &'a pb::TensorProto,
    /// What it is for reports.
    pub kind: &'static str,
}

/// Every constant.
pub(super) fn of(graph: &pb::GraphProto) -> impl Iterator<Item = Constant<'_>> {
    let initializers =
        graph.initializer.iter().map(|tensor| Constant { name: &tensor.name, tensor, kind: "initializer" });
    let nodes = graph.node.iter().filter(|node| node.op_type == "Constant").filter_map(|node| {
        let tensor = node.attribute.iter().find_map(|attribute| attribute.t.as_ref())?;
        Some(Constant { name: node.output.first()?, tensor, kind: "node" })
    });
    initializers.chain(nodes)
}

/// The elements of a tensor, in the widest type of their kind.
pub(super) enum Numbers {
    /// FLOAT, FLOAT16, BFLOAT16, DOUBLE.
    Floats(Vec<f64>),
    /// Integers.
    Integers(Vec<i64>),
}

/// The name of an element type.
pub(super) fn type_name(data_type: i32) -> &'static str {
    DataType::try_from(data_type).map_or("unknown", |data_type| data_type.as_str_name())
}

/// The file that keeps a tensor's data, if that is another one.
pub(super) fn external_file(tensor: &pb::TensorProto) -> Option<&str> {
    let external = tensor.data_location == Some(DataLocation::External as i32);
    external.then(|| entry(tensor, "location").unwrap_or(""))
}

fn entry<'a>(tensor: &'a pb::TensorProto, key: &str) -> Option<&'a str> {
    tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
}

/// The bytes of a tensor where it has raw ones, here or in its own file; `None` where it has none.
pub(super) fn raw(tensor: &pb::TensorProto, directory: &Path) -> Option<Vec<u8>> {
    let Some(location) = external_file(tensor) else {
        return (!tensor.raw_data.is_empty()).then(|| tensor.raw_data.clone());
    };
    let number = |key| entry(tensor, key).and_then(|value| value.parse::<u64>().ok());
    let mut file = std::fs::File::open(directory.join(location)).ok()?;
    file.seek(SeekFrom::Start(number("offset").unwrap_or(0))).ok()?;
    let mut bytes = Vec::new();
    file.take(number("length").unwrap_or(u64::MAX)).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The elements of a tensor; `None` for types that are no numbers, and for data that is not there.
pub(super) fn numbers(tensor: &pb::TensorProto, directory: &Path) -> Option<Numbers> {
    let data_type = DataType::try_from(tensor.data_type).ok()?;
    if let Some(raw) = raw(tensor, directory) {
        return from_raw(data_type, &raw);
    }
    let small = || tensor.int32_data.iter();
    Some(match data_type {
        DataType::Float => Numbers::Floats(tensor.float_data.iter().map(|&x| x.into()).collect()),
        DataType::Double => Numbers::Floats(tensor.double_data.clone()),
        DataType::Float16 => {
            Numbers::Floats(small().map(|&bits| f16::from_bits(bits as u16).to_f64()).collect())
        }
        DataType::Bfloat16 => Numbers::Floats(small().map(|&bits| bfloat16(bits as u16)).collect()),
        DataType::Int64 => Numbers::Integers(tensor.int64_data.clone()),
        DataType::Int32 | DataType::Int16 | DataType::Uint16 | DataType::Int8 | DataType::Uint8 => {
            Numbers::Integers(small().map(|&x| x.into()).collect())
        }
        _ => return None,
    })
}

fn from_raw(data_type: DataType, raw: &[u8]) -> Option<Numbers> {
    fn each<const N: usize, T>(raw: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
        raw.as_chunks::<N>().0.iter().map(|&bytes| read(bytes)).collect()
    }
    Some(match data_type {
        DataType::Float => Numbers::Floats(each(raw, |b| f32::from_le_bytes(b).into())),
        DataType::Double => Numbers::Floats(each(raw, f64::from_le_bytes)),
        DataType::Float16 => Numbers::Floats(each(raw, |b| f16::from_bits(u16::from_le_bytes(b)).to_f64())),
        DataType::Bfloat16 => Numbers::Floats(each(raw, |b| bfloat16(u16::from_le_bytes(b)))),
        DataType::Int64 => Numbers::Integers(each(raw, i64::from_le_bytes)),
        DataType::Int32 => Numbers::Integers(each(raw, |b| i32::from_le_bytes(b).into())),
        DataType::Int16 => Numbers::Integers(each(raw, |b| i16::from_le_bytes(b).into())),
        DataType::Uint16 => Numbers::Integers(each(raw, |b| u16::from_le_bytes(b).into())),
        DataType::Int8 => Numbers::Integers(each(raw, |[b]: [u8; 1]| (b as i8).into())),
        DataType::Uint8 => Numbers::Integers(each(raw, |[b]: [u8; 1]| b.into())),
        _ => return None,
    })
}

/// The upper half of an f32.
fn bfloat16(bits: u16) -> f64 {
    f32::from_bits(u32::from(bits) << 16).into()
}
