//! The inputs and outputs of a plan.

use edgepack_format::plan;

use super::layout::{Order, right_aligned};
use super::{LoweredInput, LoweredOutput, Lowering};
use crate::error::Result;
use crate::evaluate::strides;
use crate::graph::{Io, Op, ValueId};
use crate::quant::Quant;

/// How raw u8 pixels become an input: `value = (pixel - mean[c]) / std[c]`.
#[derive(Clone, Debug, PartialEq)]
pub struct PixelSource {
    /// The model's axis of the channels: 1 or 3.
    pub channel_axis: usize,
    /// One for each channel of the model.
    pub mean: Vec<f32>,
    /// One for each channel of the model.
    pub std: Vec<f32>,
    /// Whether the model's channels are BGR, and pixels RGB.
    pub reverse_channels: bool,
    /// The preprocessing of image files, as JSON.
    pub from_image: String,
}

impl PixelSource {
    /// The least and the largest value that a pixel can become.
    pub fn range(&self) -> [f32; 2] {
        let values = (self.mean.iter().zip(&self.std)).flat_map(|(m, s)| [-m / s, (255.0 - m) / s]);
        values.fold([f32::INFINITY, f32::NEG_INFINITY], |[min, max], x| [min.min(x), max.max(x)])
    }
}

fn plan_quant(quant: Quant) -> plan::Quant {
    plan::Quant { scale: quant.scale, zero_point: quant.zero_point as i8 }
}

impl Lowering<'_> {
    pub(super) fn input(&mut self, id: ValueId, pixels: Option<&PixelSource>) -> Result<()> {
        let dims = self.dims(id);
        let name = &self.graph.value(id).name;
        let raw = Some(self.graph.value(id)).filter(|value| value.raw).map(|value| value.dtype);
        let order = match pixels {
            Some(pixels) if pixels.channel_axis == 1 => Order::channels_last(dims.len()),
            Some(_) => Order::identity(dims.len()),
            None if dims.len() > 4 || raw.is_some() => Order::identity(dims.len()),
            None => self.wanted(id),
        };
        let own = strides(dims);
        let too_large = || self.too_large(name);
        let (arena_dims, model_strides) = if dims.len() > 4 || raw.is_some() {
            (vec![self.elems(id)], vec![1])
        } else {
            (order.stored_dims(dims), order.0.iter().map(|&axis| own[axis]).collect())
        };
        // Of an f32 input: what the bytes of a seeded sample stand for.
        let usual = pixels.map_or([-4.0, 4.0], PixelSource::range);
        let quant = match raw {
            Some(_) => Quant { scale: 1.0, zero_point: 0 },
            None => self.scheme.quant(id).unwrap_or(Quant::over(usual)),
        };
        let arena_dims: [u32; 4] = right_aligned(&arena_dims, 1).ok_or_else(too_large)?;
        let model_strides = right_aligned(&model_strides, 0).ok_or_else(too_large)?;
        let buffer = self.value_buffer(id)?;
        let value = self.graph.value(id);
        if value.dtype.is_integer() && !value.raw {
            return self.integer_input(id, buffer);
        }
        let dtype = match raw {
            Some(dtype) => dtype,
            None if self.is_wide(id) => plan::ElemType::F32,
            None => plan::ElemType::I8,
        };
        let pixels = match pixels {
            None => None,
            Some(source) => {
                let real = |c: usize| move |p: i32| (p as f32 - source.mean[c]) / source.std[c];
                let values = (0..source.mean.len()).flat_map(|c| (0..256).map(real(c)));
                let tables = match dtype {
                    plan::ElemType::I8 => self.i8_constant(values.map(|x| quant.quantize(x))),
                    _ => self.f32_constant(values),
                };
                let [_, h, w, c] = arena_dims;
                Some((
                    plan::Pixels {
                        tables,
                        reverse_channels: source.reverse_channels,
                        strides: [h * w * c, w * c, c, 1],
                        from_image: "",
                    },
                    source.from_image.clone(),
                ))
            }
        };
        let (pixels, from_image) = pixels.unzip();
        self.lowered.inputs.push(LoweredInput {
            name: name.clone(),
            from_image,
            input: plan::Input {
                name: "",
                dims: self.plan_dims(id)?,
                buffer,
                dtype,
                quant: plan_quant(quant),
                limits: None,
                arena_dims,
                strides: model_strides,
                pixels,
            },
        });
        self.store(id, buffer, order);
        Ok(())
    }

    /// An input of integers, which become numbers before anything else.
    fn integer_input(&mut self, id: ValueId, numbers: plan::Span) -> Result<()> {
        let value = self.graph.value(id);
        let elems = self.elems(id) as u32;
        let buffer = self.buffer(&value.name, (elems * value.dtype.bytes()) as usize)?;
        let input = plan::Input {
            name: "",
            dims: self.plan_dims(id)?,
            buffer,
            dtype: value.dtype,
            quant: plan::Quant { scale: 1.0, zero_point: 0 },
            limits: value.limits,
            arena_dims: [1, 1, 1, elems],
            strides: [0, 0, 0, 1],
            pixels: None,
        };
        self.lowered.inputs.push(LoweredInput { name: value.name.clone(), from_image: None, input });
        let (from, to) = (value.dtype, plan::ElemType::F32);
        let convert = plan::Convert { input: buffer, from, output: numbers, to };
        self.step(&value.name, plan::Op::Convert(convert));
        self.store(id, numbers, Order::identity(value.dims.len()));
        Ok(())
    }

    /// The order in which a value's first reader will want it.
    pub(super) fn wanted(&self, id: ValueId) -> Order {
        let rank = self.dims(id).len();
        let Some(&reader) = self.graph.consumers(id).first() else { return Order::identity(rank) };
        let node = &self.graph.nodes[reader];
        match &node.op {
            Op::Conv(_) | Op::Pool(..) => Order::channels_last(rank),
            Op::Unary(_) => self.wanted(node.output),
            Op::Reshape => {
                let wanted = self.wanted(node.output).reshaped(self.dims(node.output), self.dims(id));
                wanted.unwrap_or(Order::identity(rank))
            }
            Op::Transpose { perm } => {
                // Axis `i` of the result is axis `perm[i]` of this value.
                Order(self.wanted(node.output).0.iter().map(|&axis| perm[axis]).collect())
            }
            _ => Order::identity(rank),
        }
    }

    pub(super) fn output(&mut self, id: ValueId) -> Result<()> {
        let name = self.graph.value(id).name.clone();
        let identity = Order::identity(self.dims(id).len());
        let mut buffer = self.ordered(&name, id, &identity)?;
        let raw = Some(self.graph.value(id)).filter(|value| value.raw).map(|value| value.dtype);
        let is_f32 = self.graph.value(id).dtype == plan::ElemType::F32 && raw.is_none();
        // What is not int8 has been cast.
        let int8 = self.scheme.quant(id).filter(|_| is_f32 && self.graph.io == Io::Int8);
        if self.scheme.int16(id).is_some() {
            buffer = self.dequantized(&name, id, buffer)?;
        } else if !self.is_wide(id) && raw.is_none() && int8.is_none() {
            let output = self.buffer(&name, self.elems(id) * 4)?;
            let quant = self.quant(id);
            let table = self.f32_constant((-128..=127).map(|q| quant.dequantize(q)));
            let lookup = plan::Lookup { input: buffer, output, table, to_f32: true };
            self.step(&name, plan::Op::Lookup(lookup));
            buffer = output;
        }
        let dtype = if int8.is_some() { plan::ElemType::I8 } else { self.graph.value(id).dtype };
        if dtype.is_integer() && raw.is_none() {
            let output = self.buffer(&name, self.elems(id) * dtype.bytes() as usize)?;
            let convert = plan::Convert { input: buffer, from: plan::ElemType::F32, output, to: dtype };
            self.step(&name, plan::Op::Convert(convert));
            buffer = output;
        }
        let as_it_is = (raw == Some(plan::ElemType::I8)).then_some(Quant { scale: 1.0, zero_point: 0 });
        let output = plan::Output {
            name: "",
            dims: self.plan_dims(id)?,
            buffer,
            dtype,
            quant: int8.or(as_it_is).map(plan_quant),
            exact: !self.inexact()[id.0],
        };
        self.lowered.outputs.push(LoweredOutput { name, output });
        Ok(())
    }

    fn plan_dims(&self, id: ValueId) -> Result<plan::Dims> {
        let dims = self.dims(id);
        let mut sizes = [1; plan::MAX_RANK];
        if dims.len() > sizes.len() {
            return Err(self.too_large(&self.graph.value(id).name));
        }
        for (size, &dim) in sizes.iter_mut().zip(dims) {
            *size = dim as u32;
        }
        Ok(plan::Dims { rank: dims.len() as u8, sizes })
    }
}
