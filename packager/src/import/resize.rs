//! Resize and Upsample: along each axis the elements at other indices (nearest), or a product with a
//! constant matrix of the weights that ONNX gives to a pixel's neighbours (linear, cubic).

use super::attributes::Attributes;
use super::reshape::axis;
use super::{Context, Importer};
use crate::error::Result;
use crate::graph::{Tensor, ValueId};

/// How one axis is resized.
#[derive(Clone, Copy)]
struct Axis {
    input: usize,
    output: usize,
    /// As the model has it: the output need not be a whole multiple.
    scale: f64,
}

/// What all axes have in common.
struct Method<'a> {
    mode: &'a str,
    coordinates: &'a str,
    nearest: &'a str,
    cubic_a: f64,
    exclude_outside: bool,
    antialias: bool,
}

pub(super) fn resize(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let mut result = importer.input(context, 0)?;
    let method = method(context)?;
    let axes = axes(importer, context, result)?;
    for (index, along) in axes.iter().enumerate() {
        // What becomes smaller goes first, in the order of the axes.
        let same = along.output == along.input && (along.scale - 1.0).abs() < 1e-9;
        if !same {
            result = importer.resized(context, result, index, *along, &method);
        }
    }
    importer.result(context, 0, result)
}

fn method<'a>(context: &Context<'a>) -> Result<Method<'a>> {
    let attributes = context.attributes();
    // Until opset 10 a pixel's coordinate was its index over the scale, rounded down.
    let old = context.opset < 11 || context.node.op_type == "Upsample";
    let (coordinates, nearest) =
        if old { ("asymmetric", "floor") } else { ("half_pixel", "round_prefer_floor") };
    let method = Method {
        mode: attributes.string("mode", "nearest"),
        coordinates: attributes.string("coordinate_transformation_mode", coordinates),
        nearest: attributes.string("nearest_mode", nearest),
        cubic_a: f64::from(attributes.float("cubic_coeff_a", -0.75)),
        exclude_outside: attributes.int("exclude_outside", 0) != 0,
        antialias: attributes.int("antialias", 0) != 0,
    };
    const COORDINATES: &[&str] = &[
        "half_pixel",
        "half_pixel_symmetric",
        "pytorch_half_pixel",
        "align_corners",
        "asymmetric",
        "tf_half_pixel_for_nn",
    ];
    if !["nearest", "linear", "bilinear", "cubic"].contains(&method.mode) {
        return Err(context.unsupported(
            &format!("interpolates in mode `{}`", method.mode),
            "edgepack interpolates nearest, linear and cubic: choose one of them",
        ));
    }
    if !COORDINATES.contains(&method.coordinates) {
        return Err(context.unsupported(
            &format!("finds coordinates by `{}`", method.coordinates),
            &format!("edgepack finds them by {}: choose one of them", COORDINATES.join(", ")),
        ));
    }
    Ok(method)
}

fn axes(importer: &mut Importer, context: &Context<'_>, input: ValueId) -> Result<Vec<Axis>> {
    let dims = importer.graph.dims(input).to_vec();
    let attributes: Attributes<'_> = context.attributes();
    let count = context.node.input.len();
    // X and scales until opset 10; then X, roi, scales and sizes.
    let scales_at = if context.opset < 11 || count == 2 { 1 } else { 2 };
    let scales = match attributes.find_floats("scales") {
        Some(scales) => Some(scales.to_vec()),
        None => importer.optional_constant(context, scales_at)?.map(|scales| scales.data.to_vec()),
    };
    let scales = scales.filter(|scales| !scales.is_empty());
    let sizes = if scales.is_none() { importer.integers(context, 3)? } else { None };
    let given = scales.as_ref().map(Vec::len).or(sizes.as_ref().map(Vec::len)).unwrap_or(0);
    let of = match attributes.ints("axes") {
        Some(of) => of.iter().map(|&a| axis(context, a, dims.len())).collect::<Result<Vec<_>>>()?,
        None => (0..dims.len()).collect(),
    };
    if given != of.len() {
        return Err(context.invalid(format!("{given} scales or sizes for {} axes", of.len())));
    }
    let mut axes: Vec<Axis> = dims.iter().map(|&dim| Axis { input: dim, output: dim, scale: 1.0 }).collect();
    if let Some(scales) = scales {
        for (&index, &scale) in of.iter().zip(&scales) {
            // 1.3 times 10 is 13, though no f32 is 1.3.
            let output = (dims[index] as f64 * f64::from(scale) + 1e-6).floor();
            axes[index] = Axis { input: dims[index], output: output as usize, scale: f64::from(scale) };
        }
    } else if let Some(sizes) = sizes {
        let ratio = |(&index, &size): (&usize, &i64)| size as f64 / dims[index] as f64;
        let ratios = of.iter().zip(&sizes).map(ratio);
        let common = match attributes.string("keep_aspect_ratio_policy", "stretch") {
            "not_larger" => Some(ratios.fold(f64::INFINITY, f64::min)),
            "not_smaller" => Some(ratios.fold(0.0, f64::max)),
            _ => None,
        };
        for (&index, &size) in of.iter().zip(&sizes) {
            let input = dims[index];
            axes[index] = match common {
                Some(scale) => Axis { input, output: (input as f64 * scale + 0.5).floor() as usize, scale },
                None => Axis { input, output: size.max(0) as usize, scale: size as f64 / input as f64 },
            };
        }
    }
    match axes.iter().find(|axis| axis.output == 0) {
        Some(empty) => Err(context.invalid(format!("it leaves nothing of an axis of {}", empty.input))),
        None => Ok(axes),
    }
}

impl Importer {
    fn resized(
        &mut self,
        context: &Context<'_>,
        input: ValueId,
        index: usize,
        along: Axis,
        method: &Method<'_>,
    ) -> ValueId {
        let what = format!("axis {index}");
        let rows: Vec<Vec<(usize, f64)>> = (0..along.output).map(|at| method.weights(along, at)).collect();
        if method.mode == "nearest" {
            let mut indices = vec![None; self.graph.dims(input).len()];
            indices[index] = Some(rows.iter().map(|row| row[0].0).collect());
            return self.take_part(context, &what, input, indices);
        }
        let mut matrix = vec![0.0; along.output * along.input];
        for (at, row) in rows.iter().enumerate() {
            row.iter().for_each(|&(from, weight)| matrix[at * along.input + from] += weight as f32);
        }
        let matrix = Tensor::new(vec![along.output, along.input], matrix);
        self.matrix_part(context, &what, input, index, matrix)
    }
}

impl Method<'_> {
    /// The elements that element `at` of the result is made of, each with its weight.
    fn weights(&self, along: Axis, at: usize) -> Vec<(usize, f64)> {
        let at = self.coordinate(along, at as f64);
        // The pixel to the left, also of a coordinate that is a pixel itself.
        let whole = at.fract() == 0.0;
        let (left, ratio) = if whole { (at - 1.0, 1.0) } else { (at.floor(), at - at.floor()) };
        let weights = match self.mode {
            "nearest" => {
                let right = match self.nearest {
                    _ if whole => true,
                    "floor" => false,
                    "ceil" => true,
                    "round_prefer_ceil" => ratio >= 0.5,
                    _ => ratio > 0.5,
                };
                let index = if right { left + 1.0 } else { left };
                return vec![(index.clamp(0.0, along.input as f64 - 1.0) as usize, 1.0)];
            }
            "cubic" => self.window(along, ratio, 2.0, |x| cubic(x, self.cubic_a)),
            _ => self.window(along, ratio, 1.0, |x| (1.0 - x).max(0.0)),
        };
        let first = left as i64 - (weights.len() as i64 / 2 - 1);
        let inside = |index: i64| (0..along.input as i64).contains(&index);
        let mut weights: Vec<(i64, f64)> = (first..).zip(weights).collect();
        if self.exclude_outside {
            weights.retain(|(index, _)| inside(*index));
            let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
            weights.iter_mut().for_each(|(_, weight)| *weight /= sum);
        }
        let clamped = |index: i64| index.clamp(0, along.input as i64 - 1) as usize;
        weights.into_iter().map(|(index, weight)| (clamped(index), weight)).collect()
    }

    /// A kernel of this radius around a place between two pixels; wider by the scale where an image is made
    /// smaller without aliases.
    fn window(&self, along: Axis, ratio: f64, radius: f64, kernel: impl Fn(f64) -> f64) -> Vec<f64> {
        let scale = if self.antialias { along.scale.min(1.0) } else { 1.0 };
        let first = (-radius / scale).floor() as i64 + 1;
        let weights: Vec<f64> =
            (first..2 - first).map(|i| kernel(((i as f64 - ratio) * scale).abs())).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / sum).collect()
    }

    /// Where in the input an element of the result lies.
    fn coordinate(&self, Axis { input, output, scale }: Axis, at: f64) -> f64 {
        let (input, exact) = (input as f64, input as f64 * scale);
        match self.coordinates {
            "asymmetric" => at / scale,
            "align_corners" if exact == 1.0 => 0.0,
            "align_corners" => at * (input - 1.0) / (exact - 1.0),
            "pytorch_half_pixel" if exact == 1.0 => -0.5,
            "tf_half_pixel_for_nn" => (at + 0.5) / scale,
            "half_pixel_symmetric" => {
                let offset = input / 2.0 * (1.0 - output as f64 / exact);
                offset + (at + 0.5) / scale - 0.5
            }
            _ => (at + 0.5) / scale - 0.5,
        }
    }
}

/// Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981, at a distance.
pub(super) fn cubic(x: f64, a: f64) -> f64 {
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}
