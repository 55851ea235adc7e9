//! Constants of a file that are needed before tract reads it: scales, zero points, quantized weights.

use std::borrow::Cow;
use std::collections::HashMap;

use tract_onnx::pb::{self, tensor_proto::DataType};
use tract_onnx::prelude::Tensor;

/// Integers of a constant.
pub(super) struct Integers {
    pub dims: Vec<usize>,
    pub data: Vec<i32>,
    /// Least and greatest value of the type.
    pub levels: [i32; 2],
}

/// Initializers, and what Constant nodes make of their attributes, by name.
pub(super) struct Constants<'a> {
    tensors: HashMap<&'a str, Cow<'a, pb::TensorProto>>,
    /// Where external data lies.
    directory: Option<&'a str>,
}

/// Least and greatest value of an integer type of at most 32 bits.
pub(super) fn levels(data_type: i32) -> Option<[i32; 2]> {
    match DataType::try_from(data_type).ok()? {
        DataType::Uint4 => Some([0, 15]),
        DataType::Int4 => Some([-8, 7]),
        DataType::Uint8 => Some([0, 255]),
        DataType::Int8 => Some([-128, 127]),
        DataType::Uint16 => Some([0, 65_535]),
        DataType::Int16 => Some([-32_768, 32_767]),
        DataType::Int32 => Some(super::params::INT32),
        _ => None,
    }
}

/// An initializer of f32.
pub(super) fn f32_initializer(name: &str, dims: &[usize], data: &[f32]) -> pb::TensorProto {
    pb::TensorProto {
        name: name.into(),
        dims: dims.iter().map(|&dim| dim as i64).collect(),
        data_type: DataType::Float as i32,
        raw_data: data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ..Default::default()
    }
}

impl<'a> Constants<'a> {
    pub fn new(graph: &'a pb::GraphProto, directory: Option<&'a str>) -> Self {
        let mut tensors: HashMap<&str, Cow<'_, pb::TensorProto>> =
            graph.initializer.iter().map(|tensor| (tensor.name.as_str(), Cow::Borrowed(tensor))).collect();
        for node in &graph.node {
            let Some(output) = node.output.first() else { continue };
            let constant = match node.op_type.as_str() {
                "Constant" => node.attribute.first().and_then(of_attribute),
                // Exporters share initializers through nodes that do nothing.
                "Identity" => node.input.first().and_then(|input| tensors.get(input.as_str()).cloned()),
                _ => None,
            };
            if let Some(constant) = constant {
                tensors.insert(output, constant);
            }
        }
        Self { tensors, directory }
    }

    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Least and greatest value of a constant's type, if it is an integer.
    pub fn levels_of(&self, name: &str) -> Option<[i32; 2]> {
        levels(self.tensors.get(name)?.data_type)
    }

    /// The shape of a constant.
    pub fn dims(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name)?.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect()
    }

    fn get(&self, name: &str) -> Result<&pb::TensorProto, String> {
        let constant = self.tensors.get(name).map(|tensor| &**tensor);
        constant.ok_or_else(|| "which the model computes while it runs".into())
    }

    fn load(&self, tensor: &pb::TensorProto) -> Result<Tensor, String> {
        let provider = tract_onnx::onnx().provider;
        tract_onnx::tensor::load_tensor(&*provider, tensor, self.directory)
            .map_err(|error| format!("which cannot be read: {}", crate::guard::root_cause(&error)))
    }

    /// The numbers of a constant of a floating-point type.
    pub fn floats(&self, name: &str) -> Result<Vec<f32>, String> {
        let proto = self.get(name)?;
        let float = [DataType::Float, DataType::Float16, DataType::Double];
        if !float.iter().any(|&dtype| dtype as i32 == proto.data_type) {
            return Err(format!("which has element type {}", type_name(proto.data_type)));
        }
        let tensor = self.load(proto)?;
        let numbers =
            || Some(tensor.cast_to::<f32>().ok()?.try_as_plain_ram().ok()?.as_slice().ok()?.to_vec());
        numbers().ok_or_else(|| "which cannot be read".into())
    }

    /// The integers of a constant.
    pub fn integers(&self, name: &str) -> Result<Integers, String> {
        let proto = self.get(name)?;
        let levels =
            levels(proto.data_type).ok_or_else(|| format!("of type {}", type_name(proto.data_type)))?;
        let dims: Option<Vec<usize>> = proto.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
        let dims = dims.ok_or("which has a negative dimension")?;
        if levels == [0, 15] || levels == [-8, 7] {
            let data = halves_of_bytes(proto, &dims, levels[0] < 0)?;
            return Ok(Integers { dims, data, levels });
        }
        let tensor = self.load(proto)?;
        let numbers =
            || Some(tensor.cast_to::<i32>().ok()?.try_as_plain_ram().ok()?.as_slice().ok()?.to_vec());
        let data = numbers().ok_or("which cannot be read")?;
        Ok(Integers { dims, data, levels })
    }
}

fn type_name(data_type: i32) -> String {
    DataType::try_from(data_type).map_or("unknown", |dtype| dtype.as_str_name()).to_string()
}

/// What a Constant node holds.
fn of_attribute(attribute: &pb::AttributeProto) -> Option<Cow<'_, pb::TensorProto>> {
    let floats = |dims: Vec<i64>, values: &[f32]| {
        let (data_type, float_data) = (DataType::Float as i32, values.to_vec());
        Cow::Owned(pb::TensorProto { dims, data_type, float_data, ..Default::default() })
    };
    match attribute.name.as_str() {
        "value" => attribute.t.as_ref().map(Cow::Borrowed),
        "value_float" => Some(floats(Vec::new(), &[attribute.f])),
        "value_floats" => Some(floats(vec![attribute.floats.len() as i64], &attribute.floats)),
        _ => None,
    }
}

/// Integers of 4 bits, two in a byte, the first in the lower half.
fn halves_of_bytes(proto: &pb::TensorProto, dims: &[usize], signed: bool) -> Result<Vec<i32>, String> {
    let bytes: Vec<u8> = match proto.raw_data.is_empty() {
        false => proto.raw_data.to_vec(),
        true => proto.int32_data.iter().map(|&byte| byte as u8).collect(),
    };
    let elems = dims.iter().try_fold(1usize, |elems, &dim| elems.checked_mul(dim));
    let elems = elems.filter(|elems| elems.div_ceil(2) == bytes.len()).ok_or("whose data is not whole")?;
    let half = |i: usize| {
        let q = i32::from(bytes[i / 2] >> (4 * (i % 2)) & 15);
        if signed && q > 7 { q - 16 } else { q }
    };
    Ok((0..elems).map(half).collect())
}
