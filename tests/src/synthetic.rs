//! Small networks of random weights with the layers that known ones consist of, for work on speed: what
//! they compute means nothing.

use std::path::{Path, PathBuf};

use edgepack_packager::graph::Precision;
use edgepack_packager::pack::{CalibrationSource, PackOptions, pack};
use edgepack_packager::precision::PrecisionOptions;
use prost::Message;
use tract_onnx::pb::{self, attribute_proto::AttributeType, tensor_proto::DataType};

/// Makes the network of this name.
type Build = fn(&mut Net);

/// Names of the networks, with the shape of their input, `[1, C, H, W]`, and the cache in KiB that they are
/// packed for: those of few make strips of them.
const NETWORKS: [(&str, [i64; 4], Build, u32); 7] = [
    ("mobilenet", [1, 3, 64, 64], mobilenet, 512),
    ("mobilenet-strips", [1, 3, 64, 64], mobilenet, 80),
    ("resnet", [1, 3, 64, 64], resnet, 512),
    ("resnet-strips", [1, 3, 64, 64], resnet, 96),
    ("keywords", [1, 1, 49, 10], keywords, 512),
    ("autoencoder", [1, 640, 1, 1], autoencoder, 512),
    ("transformer", [1, 1, 32, 64], transformer, 512),
];

/// Packs every network into `folder`; gives their names and packages.
///
/// # Panics
/// Where that fails.
pub fn packages(folder: &Path) -> Vec<(&'static str, PathBuf)> {
    NETWORKS.into_iter().map(|network| package(folder, network)).collect()
}

/// Packs networks whose speed is not looked at: one that computes with integers, where the greatest of some values
/// choose rows of a table; and one in f32, which compares what is infinite and what is no number.
///
/// # Panics
/// Where that fails.
pub fn others(folder: &Path) -> Vec<(&'static str, PathBuf)> {
    let integers = package(folder, ("integers", [1, 1, 32, 64], integers, 512));
    let precision = PrecisionOptions { base: Precision::F32, ..Default::default() };
    vec![integers, package_in(folder, ("comparisons", [1, 1, 16, 16], comparisons, 512), precision)]
}

/// Writes the ONNX file of a network into `folder`.
///
/// # Panics
/// There is none of this name, or the folder cannot be written.
pub fn model(folder: &Path, name: &str) -> PathBuf {
    let network = NETWORKS.into_iter().find(|network| network.0 == name);
    let (_, shape, build, _) = network.unwrap_or_else(|| panic!("there is no network {name}"));
    write(folder, name, shape, build)
}

fn write(folder: &Path, name: &str, shape: [i64; 4], build: Build) -> PathBuf {
    let mut net = Net::new(shape);
    build(&mut net);
    let model = folder.join(format!("{name}.onnx"));
    std::fs::write(&model, net.finish().encode_to_vec()).unwrap_or_else(|error| panic!("{name}: {error}"));
    model
}

fn package(folder: &Path, network: (&'static str, [i64; 4], Build, u32)) -> (&'static str, PathBuf) {
    package_in(folder, network, PrecisionOptions::default())
}

fn package_in(
    folder: &Path,
    (name, shape, build, l2_kib): (&'static str, [i64; 4], Build, u32),
    precision: PrecisionOptions,
) -> (&'static str, PathBuf) {
    let model = write(folder, name, shape, build);
    let options = PackOptions {
        calibration_limit: 2,
        precision,
        l2_kib,
        ..PackOptions::new(model, folder.join(format!("{name}.epk")), CalibrationSource::Random { seed: 1 })
    };
    let report = pack(&options, &mut ()).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(report.steps_with_strips > report.steps, l2_kib < 512, "{name}: {report:?}");
    (name, report.package)
}

/// MobileNet's and EfficientNet's: a first layer of three channels, inverted residuals of 3 x 3 and 5 x 5,
/// of stride 1 and 2, with squeeze-and-excitation and hard swish, and a classifier.
fn mobilenet(net: &mut Net) {
    net.conv(Conv { outputs: 16, kernel: [3, 3], stride: 2, ..Conv::default() });
    net.unary("HardSwish");
    inverted_residual(net, Block { wide: 64, narrow: 24, kernel: 3, stride: 2, gated: false });
    inverted_residual(net, Block { wide: 72, narrow: 24, kernel: 3, stride: 1, gated: false });
    inverted_residual(net, Block { wide: 96, narrow: 40, kernel: 5, stride: 2, gated: true });
    inverted_residual(net, Block { wide: 240, narrow: 40, kernel: 5, stride: 1, gated: true });
    net.conv(Conv { outputs: 320, ..Conv::default() });
    net.unary("HardSwish");
    net.unary("GlobalAveragePool");
    net.conv(Conv { outputs: 1000, ..Conv::default() });
}

struct Block {
    wide: i64,
    narrow: i64,
    kernel: i64,
    stride: i64,
    gated: bool,
}

fn inverted_residual(net: &mut Net, block: Block) {
    let before = net.mark();
    net.conv(Conv { outputs: block.wide, ..Conv::default() });
    net.unary("Relu");
    let (kernel, stride) = ([block.kernel; 2], block.stride);
    net.conv(Conv { outputs: block.wide, kernel, stride, groups: block.wide });
    net.unary("HardSwish");
    if block.gated {
        let gated = net.mark();
        net.unary("GlobalAveragePool");
        net.conv(Conv { outputs: block.wide / 4, ..Conv::default() });
        net.unary("Relu");
        net.conv(Conv { outputs: block.wide, ..Conv::default() });
        net.unary("HardSigmoid");
        net.binary("Mul", &gated);
    }
    net.conv(Conv { outputs: block.narrow, ..Conv::default() });
    if block.stride == 1 && before.channels == block.narrow {
        net.binary("Add", &before);
    }
}

/// ResNet's: 7 x 7 of stride 2, maximum pooling, residual blocks of 3 x 3, one with a 1 x 1 of stride 2.
fn resnet(net: &mut Net) {
    net.conv(Conv { outputs: 64, kernel: [7, 7], stride: 2, ..Conv::default() });
    net.unary("Relu");
    net.max_pool(3, 2);
    for (outputs, stride) in [(64, 1), (128, 2)] {
        let before = net.mark();
        net.conv(Conv { outputs, kernel: [3, 3], stride, ..Conv::default() });
        net.unary("Relu");
        net.conv(Conv { outputs, kernel: [3, 3], ..Conv::default() });
        if stride > 1 {
            let long = net.mark();
            net.go_to(&before);
            net.conv(Conv { outputs, stride, ..Conv::default() });
            net.binary("Add", &long);
        } else {
            net.binary("Add", &before);
        }
        net.unary("Relu");
    }
    net.unary("GlobalAveragePool");
    net.conv(Conv { outputs: 1000, ..Conv::default() });
}

/// The keyword spotter's: 10 x 4 of one channel, pairs of 3 x 3 depthwise and 1 x 1 of 64 channels.
fn keywords(net: &mut Net) {
    net.conv(Conv { outputs: 64, kernel: [10, 4], stride: 2, ..Conv::default() });
    net.unary("Relu");
    for _ in 0..3 {
        net.conv(Conv { outputs: 64, kernel: [3, 3], groups: 64, ..Conv::default() });
        net.unary("Relu");
        net.conv(Conv { outputs: 64, ..Conv::default() });
        net.unary("Relu");
    }
    net.unary("GlobalAveragePool");
    net.conv(Conv { outputs: 12, ..Conv::default() });
}

/// Each token's class is the row of a table, and the class of its own.
fn integers(net: &mut Net) {
    net.dense(64, 48);
    net.node("ArgMax", &[], &[("axis", vec![-1]), ("keepdims", vec![0])]);
    let table = net.tensor(&[48, 40], 1.0);
    net.node("Gather", &[table], &[("axis", vec![0])]);
    // The table is the first operand.
    if let Some(node) = net.graph.node.last_mut() {
        node.input.reverse();
    }
    net.dense(40, 10);
    net.node("ArgMax", &[], &[("axis", vec![-1]), ("keepdims", vec![0])]);
    net.node("Cast", &[], &[("to", vec![DataType::Float as i64])]);
}

/// Logarithms of what is negative are no numbers, and reciprocals of 0 infinite: each is compared with the greatest
/// reciprocal around it. The result has a bit for each comparison that holds.
fn comparisons(net: &mut Net) {
    let input = net.mark();
    net.unary("Log");
    let logarithm = net.mark();
    net.go_to(&input);
    net.unary("Relu");
    net.unary("Reciprocal");
    let reciprocal = net.mark();
    net.max_pool(3, 1);
    let greatest = net.mark();
    let mut sum: Option<Mark> = None;
    for values in [&logarithm, &reciprocal] {
        for comparison in ["Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"] {
            net.go_to(values);
            net.binary(comparison, &greatest);
            net.node("Cast", &[], &[("to", vec![DataType::Float as i64])]);
            if let Some(sum) = &sum {
                net.binary("Add", sum);
                net.binary("Add", sum);
            }
            sum = Some(net.mark());
        }
    }
}

/// The anomaly detector's: products of a vector with a matrix.
fn autoencoder(net: &mut Net) {
    for outputs in [128, 128, 8, 128, 128, 640] {
        net.conv(Conv { outputs, ..Conv::default() });
        net.unary("Relu");
    }
}

/// An encoder's: attention of two heads over 32 tokens of 64 values, and a layer of 256 with Gelu, both added
/// to what they read and normalized.
fn transformer(net: &mut Net) {
    let (tokens, values, heads) = (32, 64, 2);
    let before = net.mark();
    let mut head = |perm: [i64; 4]| {
        net.go_to(&before);
        net.dense(values, values);
        net.reshape(&[1, tokens, heads, values / heads]);
        net.node("Transpose", &[], &[("perm", perm.to_vec())]);
        net.mark()
    };
    let [key, value] = [[0, 2, 3, 1], [0, 2, 1, 3]].map(&mut head);
    head([0, 2, 1, 3]);
    net.binary("MatMul", &key);
    let scale = net.tensor(&[], 1.0);
    net.node("Mul", &[scale], &[]);
    net.node("Softmax", &[], &[("axis", vec![-1])]);
    net.binary("MatMul", &value);
    net.node("Transpose", &[], &[("perm", vec![0, 2, 1, 3])]);
    net.reshape(&[1, 1, tokens, values]);
    net.dense(values, values);
    net.binary("Add", &before);
    net.layer_norm(values);
    let before = net.mark();
    net.dense(values, 4 * values);
    let data = net.mark();
    let root = net.tensor(&[], 1.0);
    net.node("Div", &[root], &[]);
    net.unary("Erf");
    let one = net.tensor(&[], 1.0);
    net.node("Add", &[one], &[]);
    net.binary("Mul", &data);
    net.dense(4 * values, values);
    net.binary("Add", &before);
    net.layer_norm(values);
}

/// A network that is made layer by layer, each of what the last has given.
struct Net {
    graph: pb::GraphProto,
    input: [i64; 4],
    last: Mark,
    seed: u32,
}

/// A tensor of a network.
#[derive(Clone)]
struct Mark {
    name: String,
    channels: i64,
}

/// A convolution whose padding keeps the size, but for the stride.
struct Conv {
    outputs: i64,
    kernel: [i64; 2],
    stride: i64,
    groups: i64,
}

impl Default for Conv {
    fn default() -> Self {
        Self { outputs: 1, kernel: [1, 1], stride: 1, groups: 1 }
    }
}

impl Net {
    fn new(input: [i64; 4]) -> Self {
        let last = Mark { name: "input".into(), channels: input[1] };
        Self {
            graph: pb::GraphProto { name: "synthetic".into(), ..Default::default() },
            input,
            last,
            seed: 1,
        }
    }

    fn mark(&self) -> Mark {
        self.last.clone()
    }

    fn go_to(&mut self, mark: &Mark) {
        self.last = mark.clone();
    }

    fn node(&mut self, op: &str, more: &[String], ints: &[(&str, Vec<i64>)]) {
        let name = format!("{op}{}", self.graph.node.len());
        let attribute = |(name, ints): &(&str, Vec<i64>)| pb::AttributeProto {
            name: name.to_string(),
            r#type: if ints.len() == 1 { AttributeType::Int } else { AttributeType::Ints } as i32,
            i: ints[0],
            ints: if ints.len() == 1 { vec![] } else { ints.clone() },
            ..Default::default()
        };
        self.graph.node.push(pb::NodeProto {
            name: name.clone(),
            op_type: op.into(),
            input: std::iter::once(&self.last.name).chain(more).cloned().collect(),
            output: vec![name.clone()],
            attribute: ints.iter().map(attribute).collect(),
            ..Default::default()
        });
        self.last.name = name;
    }

    fn conv(&mut self, conv: Conv) {
        let [height, width] = conv.kernel;
        let inputs = self.last.channels / conv.groups;
        // So that values neither grow nor shrink from layer to layer.
        let size = (3.0 / (inputs * height * width) as f32).sqrt();
        let weights = self.tensor(&[conv.outputs, inputs, height, width], size);
        let bias = self.tensor(&[conv.outputs], 0.1);
        let (above, left) = ((height - 1) / 2, (width - 1) / 2);
        let pads = vec![above, left, height - 1 - above, width - 1 - left];
        self.node(
            "Conv",
            &[weights, bias],
            &[
                ("kernel_shape", vec![height, width]),
                ("strides", vec![conv.stride; 2]),
                ("pads", pads),
                ("group", vec![conv.groups]),
            ],
        );
        self.last.channels = conv.outputs;
    }

    /// A product of the last axis with a matrix.
    fn dense(&mut self, inputs: i64, outputs: i64) {
        let weights = self.tensor(&[inputs, outputs], (3.0 / inputs as f32).sqrt());
        self.node("MatMul", &[weights], &[]);
    }

    fn layer_norm(&mut self, values: i64) {
        let parameters = [self.tensor(&[values], 1.0), self.tensor(&[values], 0.1)];
        self.node("LayerNormalization", &parameters, &[("axis", vec![-1])]);
    }

    fn reshape(&mut self, dims: &[i64]) {
        let name = format!("constant{}", self.graph.initializer.len());
        self.graph.initializer.push(pb::TensorProto {
            name: name.clone(),
            dims: vec![dims.len() as i64],
            data_type: DataType::Int64 as i32,
            raw_data: dims.iter().flat_map(|dim| dim.to_le_bytes()).collect(),
            ..Default::default()
        });
        self.node("Reshape", &[name], &[]);
    }

    fn max_pool(&mut self, kernel: i64, stride: i64) {
        let ints = [("kernel_shape", kernel), ("strides", stride)].map(|(name, int)| (name, vec![int; 2]));
        let [kernel, stride] = ints;
        self.node("MaxPool", &[], &[kernel, stride, ("pads", vec![1; 4])]);
    }

    fn unary(&mut self, op: &str) {
        self.node(op, &[], &[]);
    }

    fn binary(&mut self, op: &str, with: &Mark) {
        self.node(op, std::slice::from_ref(&with.name), &[]);
    }

    /// A constant of random values between `-size` and `size`.
    fn tensor(&mut self, dims: &[i64], size: f32) -> String {
        let name = format!("constant{}", self.graph.initializer.len());
        let mut data = Vec::new();
        for _ in 0..dims.iter().product::<i64>() {
            self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = (self.seed >> 8) as f32 / (1 << 23) as f32 - 1.0;
            data.extend((value * size).to_le_bytes());
        }
        self.graph.initializer.push(pb::TensorProto {
            name: name.clone(),
            dims: dims.to_vec(),
            data_type: DataType::Float as i32,
            raw_data: data,
            ..Default::default()
        });
        name
    }

    fn finish(mut self) -> pb::ModelProto {
        let value = |name: &str, shape: Option<[i64; 4]>| {
            use pb::tensor_shape_proto::{Dimension, dimension::Value};
            let dim = |size| Dimension { value: Some(Value::DimValue(size)), ..Default::default() };
            let shape = shape.map(|shape| pb::TensorShapeProto { dim: shape.map(dim).to_vec() });
            let tensor = pb::type_proto::Tensor { elem_type: DataType::Float as i32, shape };
            let r#type = pb::TypeProto {
                value: Some(pb::type_proto::Value::TensorType(tensor)),
                ..Default::default()
            };
            pb::ValueInfoProto { name: name.into(), r#type: Some(r#type), ..Default::default() }
        };
        self.graph.input.push(value("input", Some(self.input)));
        self.graph.output.push(value(&self.last.name, None));
        pb::ModelProto {
            ir_version: 8,
            opset_import: vec![pb::OperatorSetIdProto { domain: String::new(), version: 17 }],
            graph: Some(self.graph),
            ..Default::default()
        }
    }
}
