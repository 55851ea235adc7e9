//! Convolutions give what their definition says, on every instruction set of this processor and
//! wherever their packed weights come from.

mod common;

use common::{
    Aligned, Model, Values, packing_tokens, quantize, range, size, span, tokens, values, with_program,
};
use edgepack_core::format::Package;
use edgepack_core::format::plan::{Conv, ElemType, Op, Range, Residual, Span, Window};
use edgepack_core::kernels::conv::{Layout, Weights, select};
use edgepack_core::kernels::isa::IsaSet;
use edgepack_core::{BindError, InputData, bind, conv_row, conv_shape, kernel_name, requirements, step_macs};

/// One convolution; sizes as in the plan, `pads` above, left, below, right.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    input: [u32; 4],
    out_channels: u32,
    kernel: [u32; 2],
    stride: [u32; 2],
    dilation: [u32; 2],
    pads: [u32; 4],
    groups: u32,
    input_zero_point: i8,
}

const BASE: Case = Case {
    name: "",
    input: [1, 6, 7, 3],
    out_channels: 5,
    kernel: [3, 3],
    stride: [1, 1],
    dilation: [1, 1],
    pads: [1, 1, 1, 1],
    groups: 1,
    input_zero_point: -7,
};

const CASES: &[Case] = &[
    Case { name: "plain", ..BASE },
    Case { name: "whole quads of channels", input: [1, 5, 4, 8], out_channels: 17, ..BASE },
    Case { name: "1x1", input: [1, 3, 3, 16], out_channels: 20, kernel: [1, 1], pads: [0; 4], ..BASE },
    Case {
        name: "fully connected",
        input: [1, 1, 1, 37],
        out_channels: 10,
        kernel: [1, 1],
        pads: [0; 4],
        ..BASE
    },
    Case {
        name: "stride, dilation, uneven padding, batch",
        input: [2, 9, 11, 4],
        kernel: [3, 2],
        stride: [2, 3],
        dilation: [2, 3],
        pads: [2, 0, 1, 3],
        input_zero_point: 127,
        ..BASE
    },
    Case { name: "kernel larger than the image", input: [1, 2, 2, 5], kernel: [5, 5], pads: [2; 4], ..BASE },
    Case { name: "groups", input: [1, 5, 5, 8], out_channels: 6, groups: 2, ..BASE },
    Case { name: "two outputs a channel", input: [1, 4, 4, 3], out_channels: 6, groups: 3, ..BASE },
    Case { name: "depthwise", input: [1, 6, 5, 17], out_channels: 17, groups: 17, ..BASE },
    Case {
        name: "depthwise of many channels, stride, dilation, batch",
        input: [2, 9, 8, 70],
        out_channels: 70,
        kernel: [3, 2],
        stride: [2, 1],
        dilation: [1, 2],
        pads: [1, 0, 0, 2],
        groups: 70,
        input_zero_point: -128,
    },
];

impl Case {
    fn output(&self) -> [u32; 4] {
        let side = |axis: usize| {
            let window = (self.kernel[axis] - 1) * self.dilation[axis] + 1;
            let padded = self.input[1 + axis] + self.pads[axis] + self.pads[2 + axis];
            (padded - window) / self.stride[axis] + 1
        };
        [self.input[0], side(0), side(1), self.out_channels]
    }

    fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.input[3] && self.groups == self.out_channels
    }

    fn channels_of_group(&self) -> usize {
        (self.input[3] / self.groups) as usize
    }

    /// Where the weight of an output channel, kernel position and channel of its group lies.
    fn weight_at(&self, channel: usize, ky: usize, kx: usize, c: usize) -> usize {
        let [kh, kw] = self.kernel.map(|k| k as usize);
        if self.is_depthwise() {
            (ky * kw + kx) * self.out_channels as usize + channel
        } else {
            ((channel * kh + ky) * kw + kx) * self.channels_of_group() + c
        }
    }
}

/// A convolution's constants as a person would have them: the bias knows nothing of zero points.
struct Constants {
    weights: Vec<i8>,
    bias: Vec<i32>,
    multiplier: Vec<f32>,
}

impl Constants {
    fn new(case: &Case, seed: u64) -> Self {
        let channels = case.out_channels as usize;
        let row = size(&case.kernel) * case.channels_of_group();
        let spread = 0.01 / (row as f32).sqrt();
        Self {
            weights: values(seed, channels * row).iter().map(|&w| w.max(-127)).collect(),
            bias: values(seed + 1, channels).iter().map(|&b| i32::from(b) * 50).collect(),
            multiplier: (0..channels).map(|c| spread * (1.0 + (c % 7) as f32 / 5.0)).collect(),
        }
    }

    /// The bias of the package: `-input_zero_point * sum(weights)` is in it.
    fn folded_bias(&self, case: &Case) -> Vec<i32> {
        let fold = |(channel, &bias): (usize, &i32)| {
            let (mut sum, [kh, kw]) = (0, case.kernel.map(|k| k as usize));
            for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
                for c in 0..case.channels_of_group() {
                    sum += i32::from(self.weights[case.weight_at(channel, ky, kx, c)]);
                }
            }
            bias - i32::from(case.input_zero_point) * sum
        };
        self.bias.iter().enumerate().map(fold).collect()
    }
}

/// `bias + sum of (x - zero point) * w` over what is inside the image: real zeros surround it.
fn accumulators(case: &Case, constants: &Constants, input: &[i8]) -> Vec<(i32, usize)> {
    let [batch, out_h, out_w, out_channels] = case.output().map(|d| d as usize);
    let [_, in_h, in_w, in_channels] = case.input.map(|d| d as usize);
    let outputs_of_group = out_channels / case.groups as usize;
    let mut sums = Vec::new();
    for (n, oy) in (0..batch).flat_map(|n| (0..out_h).map(move |oy| (n, oy))) {
        for (ox, channel) in (0..out_w).flat_map(|ox| (0..out_channels).map(move |c| (ox, c))) {
            let mut sum = constants.bias[channel];
            for ky in 0..case.kernel[0] as usize {
                for kx in 0..case.kernel[1] as usize {
                    let y = (oy * case.stride[0] as usize + ky * case.dilation[0] as usize) as i64
                        - i64::from(case.pads[0]);
                    let x = (ox * case.stride[1] as usize + kx * case.dilation[1] as usize) as i64
                        - i64::from(case.pads[1]);
                    if !(0..in_h as i64).contains(&y) || !(0..in_w as i64).contains(&x) {
                        continue;
                    }
                    for c in 0..case.channels_of_group() {
                        let from = channel / outputs_of_group * case.channels_of_group() + c;
                        let at = ((n * in_h + y as usize) * in_w + x as usize) * in_channels + from;
                        let value = i32::from(input[at]) - i32::from(case.input_zero_point);
                        sum += value * i32::from(constants.weights[case.weight_at(channel, ky, kx, c)]);
                    }
                }
            }
            sums.push((sum, channel));
        }
    }
    sums
}

fn expected_i8(case: &Case, constants: &Constants, input: &[i8], range: Range) -> Vec<i8> {
    let requantize = |(sum, channel): (i32, usize)| {
        let multiplier = constants.multiplier[channel];
        quantize(sum as f32 * multiplier, range)
    };
    accumulators(case, constants, input).into_iter().map(requantize).collect()
}

/// Adds the step to a model; its input and output are the given spans.
fn add(
    model: &mut Model,
    case: &Case,
    constants: &Constants,
    spans: [Span; 2],
    range: Option<Range>,
) -> Conv {
    let conv = Conv {
        input: spans[0],
        output: spans[1],
        window: Window {
            input_dims: case.input,
            output_dims: case.output(),
            kernel: case.kernel,
            stride: case.stride,
            dilation: case.dilation,
            pad: [case.pads[0], case.pads[1]],
        },
        groups: case.groups,
        input_zero_point: case.input_zero_point,
        weights: model.i8s(&constants.weights),
        bias: model.i32s(&constants.folded_bias(case)),
        multiplier: model.f32s(&constants.multiplier),
        range,
        residual: None,
        same_weights_as: None,
    };
    model.step(Op::Conv(conv));
    conv
}

fn pack(layout: &'static Layout, case: &Case, conv: &Conv, constants: &Constants) -> Vec<u8> {
    let shape = conv_shape(&conv.window, conv.groups);
    let bias = constants.folded_bias(case);
    let Constants { weights, multiplier, .. } = constants;
    let mut packed = vec![0; layout.packed_bytes(&shape)];
    layout.pack(&shape, &Weights { weights, bias: &bias, multiplier }, &mut packed);
    packed
}

#[test]
fn int8_convolutions_equal_their_definition() {
    let ranges = [range(0, -128, 127), range(-20, -20, 127), range(11, -90, 64)];
    for (index, case) in CASES.iter().enumerate() {
        let constants = Constants::new(case, 10 * index as u64);
        let input = values(500 + index as u64, size(&case.input));
        for output_range in ranges {
            let mut model = Model::default();
            let spans = [model.input(input.len()), model.output_i8(size(&case.output()))];
            add(&mut model, case, &constants, spans, Some(output_range));
            let expected = expected_i8(case, &constants, &input, output_range);
            let distinct: std::collections::BTreeSet<_> = expected.iter().collect();
            assert!(distinct.len() >= 4, "{}: a test of a few values tests little", case.name);
            assert_eq!(model.run_i8(&[&input]), expected, "{} into {output_range:?}", case.name);
        }
    }
}

#[test]
fn f32_convolutions_are_the_accumulator_times_the_multiplier() {
    for (index, case) in CASES.iter().enumerate() {
        let constants = Constants::new(case, 10 * index as u64);
        let input = values(600 + index as u64, size(&case.input));
        let mut model = Model::default();
        let spans = [model.input(input.len()), model.output_f32(size(&case.output()))];
        add(&mut model, case, &constants, spans, None);
        let real = |(sum, channel): (i32, usize)| sum as f32 * constants.multiplier[channel];
        let expected: Vec<f32> = accumulators(case, &constants, &input).into_iter().map(real).collect();
        assert_eq!(model.run_f32(&[&input]), expected, "{}", case.name);
    }
}

/// A convolution, a depthwise one (which is never packed) and another convolution, in a chain.
fn chain() -> (Model, Vec<(Case, Constants, Conv)>) {
    let cases = [
        Case { input: [1, 5, 5, 3], out_channels: 6, ..BASE },
        Case { input: [1, 5, 5, 6], out_channels: 6, groups: 6, input_zero_point: -3, ..BASE },
        Case {
            input: [1, 5, 5, 6],
            out_channels: 9,
            kernel: [1, 1],
            pads: [0; 4],
            input_zero_point: 4,
            ..BASE
        },
    ];
    let mut model = Model::default();
    let mut input = model.input(size(&cases[0].input));
    let mut convs = Vec::new();
    for (index, case) in cases.into_iter().enumerate() {
        let constants = Constants::new(&case, 900 + 10 * index as u64);
        let elems = size(&case.output());
        let output = if index == 2 { model.output_i8(elems) } else { model.buffer(elems) };
        let zero_point = [-3, 4, 0][index];
        let conv = add(&mut model, &case, &constants, [input, output], Some(range(zero_point, -128, 127)));
        convs.push((case, constants, conv));
        input = output;
    }
    (model, convs)
}

fn chain_expected(convs: &[(Case, Constants, Conv)], input: &[i8]) -> Vec<i8> {
    let next = |values: Vec<i8>, (case, constants, conv): &(Case, Constants, Conv)| {
        expected_i8(case, constants, &values, conv.range.unwrap())
    };
    convs.iter().fold(input.to_vec(), next)
}

/// The packed weights of the chain, as a section carries them.
fn section(layout: &'static Layout, convs: &[(Case, Constants, Conv)]) -> Vec<u8> {
    let packed = convs.iter().filter(|(case, ..)| !case.is_depthwise());
    packed.flat_map(|(case, constants, conv)| pack(layout, case, conv, constants)).collect()
}

#[test]
fn steps_after_each_other_read_what_the_one_before_wrote() {
    let (model, convs) = chain();
    let input = values(1, size(&convs[0].0.input));
    assert_eq!(model.run_i8(&[&input]), chain_expected(&convs, &input));
}

#[test]
fn prepacked_sections_are_read_in_place_of_packing() {
    let (mut model, convs) = chain();
    let input = values(2, size(&convs[0].0.input));
    let expected = chain_expected(&convs, &input);
    model.prepacked = Layout::all().map(|layout| (layout.key, section(layout, &convs))).collect();
    for token in packing_tokens() {
        let package = model.package();
        assert_eq!(requirements(&Package::parse(package.get()).unwrap(), token).packed_bytes, 0);
        assert_eq!(model.run(token, &[&input]), [Values::I8(expected.clone())], "on {}", token.set());
    }
}

/// Two steps over the same input, the second with the weights of the first.
fn twice(of_second: Case) -> (Model, Vec<(Case, Constants, Conv)>) {
    let first = Case { input: [1, 5, 5, 3], out_channels: 6, ..BASE };
    let mut model = Model::default();
    let input = model.input(size(&first.input));
    let mut convs = Vec::new();
    for case in [first, of_second] {
        let constants = Constants::new(&case, 900);
        let output = model.output_i8(size(&case.output()));
        let conv = add(&mut model, &case, &constants, [input, output], Some(range(3, -128, 127)));
        convs.push((case, constants, conv));
    }
    let Op::Conv(conv) = &mut model.steps[1].op else { unreachable!() };
    conv.same_weights_as = Some(0);
    (model, convs)
}

#[test]
fn weights_of_one_layer_are_packed_once() {
    let (mut model, convs) = twice(Case { input: [1, 5, 5, 3], out_channels: 6, ..BASE });
    let input = values(2, size(&convs[0].0.input));
    let once = chain_expected(&convs[..1], &input);
    let expected = [once.clone(), once].map(Values::I8);
    for token in tokens() {
        assert_eq!(model.run(token, &[&input]), expected, "on {}", token.set());
    }
    for token in packing_tokens() {
        let layout = select(&conv_shape(&convs[0].2.window, convs[0].2.groups), token.set()).layout.unwrap();
        let one = section(layout, &convs[..1]);
        let package = model.package();
        assert_eq!(requirements(&Package::parse(package.get()).unwrap(), token).packed_bytes, one.len());
        // A section has them once, too.
        model.prepacked = vec![(layout.key, one)];
        let package = model.package();
        assert_eq!(requirements(&Package::parse(package.get()).unwrap(), token).packed_bytes, 0);
        assert_eq!(model.run(token, &[&input]), expected, "on {}", token.set());
        model.prepacked.clear();
    }
}

#[test]
fn weights_of_another_layer_are_refused() {
    for token in packing_tokens() {
        let (model, _) = twice(Case { input: [1, 5, 5, 3], out_channels: 60, ..BASE });
        let package = model.package();
        let package = Package::parse(package.get()).unwrap();
        let needed = requirements(&package, token);
        let (mut steps, mut packed) = (vec![None; needed.steps], Aligned::new(needed.packed_bytes));
        let bound = bind(&package, token, &mut steps, packed.get_mut());
        assert_eq!(bound, Err(BindError::SameWeights { step: 1 }), "on {}", token.set());
    }
}

#[test]
fn prepacked_sections_of_another_size_or_layout_are_passed_over() {
    let (mut model, convs) = chain();
    let input = values(3, size(&convs[0].0.input));
    let expected = chain_expected(&convs, &input);
    let wrong = |layout: &'static Layout, bytes: usize| {
        let mut blob = section(layout, &convs);
        blob.resize(bytes, 0);
        (layout.key, blob)
    };
    for token in packing_tokens() {
        let used = select(&conv_shape(&convs[0].2.window, convs[0].2.groups), token.set()).layout.unwrap();
        let right = section(used, &convs).len();
        let other = Layout::all().find(|layout| *layout != used).unwrap();
        for prepacked in [
            vec![wrong(used, right - 64)],
            vec![wrong(used, right + 64)],
            vec![wrong(used, 0)],
            vec![(other.key, section(other, &convs)), ("layout_of_tomorrow", vec![1; 64])],
        ] {
            model.prepacked = prepacked;
            let package = model.package();
            assert_eq!(requirements(&Package::parse(package.get()).unwrap(), token).packed_bytes, right);
            assert_eq!(model.run(token, &[&input]), [Values::I8(expected.clone())], "on {}", token.set());
        }
    }
}

#[test]
fn scratch_and_packed_memory_may_hold_anything_before_a_run() {
    let (model, convs) = chain();
    let package = model.package();
    let inputs = [values(4, size(&convs[0].0.input)), values(5, size(&convs[0].0.input))];
    for token in tokens() {
        with_program(&package, token, |program, arena| {
            for (input, garbage) in inputs.iter().zip([0x00, 0xff]) {
                arena.fill(garbage);
                program.set_input(0, InputData::Quantized(input), arena).unwrap();
                program.run(arena).unwrap();
                let output = Values::of(program.output(0, arena).unwrap());
                assert_eq!(output, Values::I8(chain_expected(&convs, input)));
            }
        });
    }
}

#[test]
fn a_step_is_named_and_counted_as_what_runs() {
    let (model, convs) = chain();
    for step in &model.steps {
        let Op::Conv(conv) = &step.op else { unreachable!() };
        for set in [IsaSet::SCALAR, IsaSet::AVX2, IsaSet::AVX512_VNNI, IsaSet::DOTPROD, IsaSet::NEON32] {
            assert_eq!(kernel_name(&step.op, u32::MAX, set), conv_row(conv, u32::MAX, set).name);
            assert!(set.contains(conv_row(conv, u32::MAX, set).isa));
        }
    }
    // 25 pixels: 6 channels of 27, 6 of 9, and 9 of 6 products.
    let macs: Vec<u64> = model.steps.iter().map(|step| step_macs(&step.op)).collect();
    assert_eq!(macs, [25 * 6 * 27, 25 * 6 * 9, 25 * 9 * 6]);
    assert_eq!(kernel_name(&model.steps[0].op, u32::MAX, IsaSet::SCALAR), "conv_s8s8s32_scalar");
    assert_eq!(kernel_name(&model.steps[1].op, u32::MAX, IsaSet::SCALAR), "depthwise_s8s8s32_scalar");
    assert_eq!(convs.len(), 3);
    let fill = Op::Fill(edgepack_core::format::plan::Fill { output: span(0, 4), value: 1 });
    assert_eq!(step_macs(&fill), 0);
}

/// Of the convolutions that may have one, with a tensor of its own, the input where that has the same dimensions, and
/// in place.
#[test]
fn a_residual_is_added_before_the_result_is_rounded() {
    let more = [
        Case {
            name: "of one pixel",
            input: [1, 1, 1, 20],
            out_channels: 20,
            kernel: [1, 1],
            pads: [0; 4],
            ..BASE
        },
        Case { name: "as large as the input", input: [1, 9, 14, 16], out_channels: 16, ..BASE },
    ];
    for (index, case) in CASES.iter().chain(&more).enumerate().filter(|(_, case)| !case.is_depthwise()) {
        let constants = Constants::new(case, 700 + index as u64);
        let (elems, range) = (size(&case.output()), range(-9, -100, 127));
        let [input, other] = [values(71, size(&case.input)), values(72, elems)];
        for multiplier in [0.5, 0.8125, 3.0] {
            let sum = |added: &[i8]| -> Vec<i8> {
                let sums = accumulators(case, &constants, &input).into_iter().zip(added);
                let requantize = |((sum, channel), &r): ((i32, usize), &i8)| {
                    quantize(sum as f32 * constants.multiplier[channel] + f32::from(r) * multiplier, range)
                };
                sums.map(requantize).collect()
            };
            let model = |place: &dyn Fn(&mut Model, Span) -> [Span; 2]| {
                let mut model = Model::default();
                let from = model.input(size(&case.input));
                let [span, to] = place(&mut model, from);
                add(&mut model, case, &constants, [from, to], Some(range));
                let Op::Conv(conv) = &mut model.steps[0].op else { unreachable!() };
                conv.residual = Some(Residual { span, multiplier });
                model
            };
            let apart = model(&|model, _| [model.input(elems), model.output_i8(elems)]);
            assert_eq!(apart.run_i8(&[&input, &other]), sum(&other), "{}", case.name);
            let in_place = model(&|model, _| {
                let span = model.input(elems);
                model.gives(span, ElemType::I8);
                [span, span]
            });
            assert_eq!(in_place.run_i8(&[&input, &other]), sum(&other), "{} in place", case.name);
            if case.input == case.output() {
                let own = model(&|model, from| [from, model.output_i8(elems)]);
                assert_eq!(own.run_i8(&[&input]), sum(&input), "{} of its input", case.name);
            }
        }
    }
}
