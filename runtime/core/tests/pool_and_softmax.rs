//! Pooling and softmax give what their definitions say.

mod common;

use common::{Model, quantize, range, size, values};
use edgepack_core::format::plan::{
    ElemType, Lookup, Op, Pool, PoolOp, Range, Softmax, SoftmaxInput, SoftmaxOutput, Window,
};

/// Geometry; the op does not matter.
const BASE: Pool = Pool {
    op: PoolOp::Max,
    input: common_span(),
    output: common_span(),
    window: Window {
        input_dims: [1, 6, 6, 3],
        output_dims: [1, 3, 3, 3],
        kernel: [2, 2],
        stride: [2, 2],
        dilation: [1, 1],
        pad: [0; 2],
    },
    pad_after: [0; 2],
};

const fn common_span() -> edgepack_core::format::plan::Span {
    edgepack_core::format::plan::Span { offset: 0, bytes: 0 }
}

const POOLS: &[(&str, Pool)] = &[
    ("2x2", BASE),
    (
        "3x3 with padding",
        Pool { window: Window { kernel: [3, 3], pad: [1, 1], ..BASE.window }, pad_after: [1, 1], ..BASE },
    ),
    (
        "uneven padding, stride, batch",
        Pool {
            window: Window {
                input_dims: [2, 5, 7, 4],
                output_dims: [2, 5, 3, 4],
                kernel: [2, 3],
                stride: [1, 3],
                pad: [0, 2],
                ..BASE.window
            },
            pad_after: [1, 1],
            ..BASE
        },
    ),
    (
        "dilation",
        Pool {
            window: Window {
                kernel: [2, 3],
                dilation: [3, 2],
                stride: [1, 1],
                output_dims: [1, 5, 4, 3],
                pad: [1, 1],
                ..BASE.window
            },
            pad_after: [1, 1],
            ..BASE
        },
    ),
    (
        "windows that go beyond the padding",
        Pool {
            window: Window { kernel: [3, 3], output_dims: [1, 3, 4, 3], pad: [0, 1], ..BASE.window },
            pad_after: [0, 0],
            ..BASE
        },
    ),
    (
        "the mean of an image of many channels",
        Pool {
            window: Window {
                input_dims: [2, 5, 5, 130],
                output_dims: [2, 1, 1, 130],
                kernel: [5, 5],
                ..BASE.window
            },
            ..BASE
        },
    ),
];

/// What a window holds, and how many positions count with and without padding.
struct Seen {
    values: Vec<i32>,
    padded: usize,
}

fn windows(pool: &Pool, input: &[i8]) -> Vec<Seen> {
    let [_, in_h, in_w, channels] = pool.window.input_dims.map(i64::from);
    let [batch, out_h, out_w, _] = pool.window.output_dims.map(i64::from);
    let ([top, left], [bottom, right]) = (pool.window.pad.map(i64::from), pool.pad_after.map(i64::from));
    let mut windows = Vec::new();
    for (n, oy) in (0..batch).flat_map(|n| (0..out_h).map(move |oy| (n, oy))) {
        for (ox, c) in (0..out_w).flat_map(|ox| (0..channels).map(move |c| (ox, c))) {
            let mut window = Seen { values: Vec::new(), padded: 0 };
            for ky in 0..i64::from(pool.window.kernel[0]) {
                for kx in 0..i64::from(pool.window.kernel[1]) {
                    let y =
                        oy * i64::from(pool.window.stride[0]) + ky * i64::from(pool.window.dilation[0]) - top;
                    let x = ox * i64::from(pool.window.stride[1]) + kx * i64::from(pool.window.dilation[1])
                        - left;
                    if y < in_h + bottom && x < in_w + right {
                        window.padded += 1;
                    }
                    if (0..in_h).contains(&y) && (0..in_w).contains(&x) {
                        let at = ((n * in_h + y) * in_w + x) * channels + c;
                        window.values.push(i32::from(input[at as usize]));
                    }
                }
            }
            windows.push(window);
        }
    }
    windows
}

fn run_pool(pool: &Pool, input: &[i8]) -> Vec<i8> {
    let mut model = Model::default();
    let (from, to) =
        (model.input(size(&pool.window.input_dims)), model.output_i8(size(&pool.window.output_dims)));
    model.step(Op::Pool(Pool { input: from, output: to, ..*pool }));
    model.run_i8(&[input])
}

#[test]
fn max_pools_take_the_largest_value_inside_the_image() {
    for (name, pool) in POOLS {
        let input = values(20, size(&pool.window.input_dims));
        let largest = |window: &Seen| *window.values.iter().max().unwrap() as i8;
        let expected: Vec<i8> = windows(pool, &input).iter().map(largest).collect();
        assert_eq!(run_pool(pool, &input), expected, "{name}");
    }
}

#[test]
fn average_pools_divide_by_what_counts() {
    let mut padding_mattered = 0;
    for (name, pool) in POOLS {
        let input = values(21, size(&pool.window.input_dims));
        let mut results = Vec::new();
        for count_include_pad in [false, true] {
            for (input_zero_point, multiplier, range) in [
                (0, 1.0, range(0, -128, 127)),
                (-17, 1.7, range(30, -40, 90)),
                (127, 0.3, range(-128, -128, 127)),
            ] {
                let average = |window: &Seen| {
                    let sum: i32 = window.values.iter().map(|x| x - i32::from(input_zero_point)).sum();
                    let count = if count_include_pad { window.padded } else { window.values.len() };
                    quantize(sum as f32 * (multiplier / count as f32), range)
                };
                let expected: Vec<i8> = windows(pool, &input).iter().map(average).collect();
                let op = PoolOp::Average { input_zero_point, multiplier, count_include_pad, range };
                let given = run_pool(&Pool { op, ..*pool }, &input);
                assert_eq!(given, expected, "{name}, padding counts: {count_include_pad}, {range:?}");
                results.push(given);
            }
        }
        padding_mattered += usize::from(results[..3] != results[3..]);
    }
    assert_eq!(padding_mattered, 4, "two of the poolings have no padding");
}

const CHANNELS: usize = 10;
const ROWS: usize = 7;
const SCALE: f32 = 0.071;

/// Logits of which some rows are all alike and some reach from end to end.
fn logits() -> Vec<i8> {
    let mut logits = values(22, ROWS * CHANNELS);
    logits[..CHANNELS].fill(-128);
    logits[CHANNELS] = 127;
    logits[CHANNELS + 1] = -128;
    logits
}

fn exponentials() -> Vec<u16> {
    let exponential = |d: i32| (-f64::from(d) * f64::from(SCALE)).exp();
    (0..256).map(|d| (exponential(d) * 65535.0).round() as u16).collect()
}

/// Softmax in f64, of the logits at their scale.
fn real(logits: &[i8]) -> Vec<f64> {
    let row = |row: &[i8]| {
        let exponentials = row.iter().map(|&x| (f64::from(x) * f64::from(SCALE)).exp()).collect::<Vec<_>>();
        let sum: f64 = exponentials.iter().sum();
        exponentials.into_iter().map(|e| e / sum).collect::<Vec<_>>()
    };
    logits.chunks(CHANNELS).flat_map(row).collect()
}

/// The definition for int8 logits, to the bit: `finish` takes an exponential and the sum of its row.
fn exact<T>(logits: &[i8], finish: impl Fn(f32, f32) -> T) -> Vec<T> {
    let table = exponentials();
    let mut results = Vec::new();
    for row in logits.chunks(CHANNELS) {
        let largest = i32::from(*row.iter().max().unwrap());
        let exponentials = row.iter().map(|&x| u64::from(table[(largest - i32::from(x)) as usize]));
        let sum: u64 = exponentials.clone().sum();
        results.extend(exponentials.map(|e| finish(e as f32, sum as f32)));
    }
    results
}

/// A softmax of [`logits`], in int8 or (through a table) in f32.
fn model(f32_input: bool, i8_output: Option<(f32, Range)>) -> Model {
    let elems = ROWS * CHANNELS;
    let mut model = Model::default();
    let logits = model.input(elems);
    let input = if f32_input {
        let floats = model.buffer(4 * elems);
        let table: Vec<f32> = (-128..128).map(|q| q as f32 * SCALE).collect();
        let table = model.f32s(&table);
        model.step(Op::Lookup(Lookup { input: logits, output: floats, table, to_f32: true }));
        SoftmaxInput::F32(floats)
    } else {
        SoftmaxInput::I8 { input: logits, table: model.u16s(&exponentials()) }
    };
    let output = match i8_output {
        Some((multiplier, range)) => SoftmaxOutput::I8 { output: model.output_i8(elems), multiplier, range },
        None => SoftmaxOutput::F32(model.output_f32(elems)),
    };
    model.step(Op::Softmax(Softmax { input, output, channels: CHANNELS as u32 }));
    model
}

const FORMS: [(f32, Range); 2] = [
    (256.0, Range { zero_point: -128, min: -128, max: 127 }),
    (100.0, Range { zero_point: 5, min: 6, max: 60 }),
];

#[test]
fn softmax_of_int8_equals_its_definition() {
    let logits = logits();
    let expected = exact(&logits, |e, sum| e / sum);
    for (p, real) in expected.iter().zip(real(&logits)) {
        // Half a unit in this exponential, and in each of the sum, of which the largest is 65535.
        let bound = 0.5 * (1 + CHANNELS) as f64 / 65535.0;
        assert!((f64::from(*p) - real).abs() < bound, "the definition is a softmax: {p} {real}");
    }
    assert_eq!(model(false, None).run_f32(&[&logits]), expected);
    for (multiplier, range) in FORMS {
        let expected = exact(&logits, |e, sum| quantize(e * (multiplier / sum), range));
        let given = model(false, Some((multiplier, range))).run_i8(&[&logits]);
        assert_eq!(given, expected);
    }
}

#[test]
fn softmax_of_f32_is_within_rounding_of_the_real_one() {
    let logits = logits();
    let real = real(&logits);
    let given = model(true, None).run_f32(&[&logits]);
    for (p, real) in given.iter().zip(&real) {
        // A logit of 9 has an error of 5e-7, which is also that of its exponential.
        assert!((f64::from(*p) / real - 1.0).abs() < 3e-6, "{p} {real}");
    }
    for (multiplier, range) in FORMS {
        let given = model(true, Some((multiplier, range))).run_i8(&[&logits]);
        let [zero_point, min, max] = [range.zero_point, range.min, range.max].map(f64::from);
        for (q, real) in given.iter().zip(&real) {
            let wanted = (real * f64::from(multiplier) + zero_point).clamp(min, max);
            assert!((f64::from(*q) - wanted).abs() <= 0.5 + 1e-3, "{q} {wanted}");
        }
    }
}

#[test]
fn softmax_of_one_channel_is_one() {
    for f32_input in [false, true] {
        let mut model = model(f32_input, None);
        let Some(Op::Softmax(softmax)) = model.steps.last_mut().map(|step| &mut step.op) else {
            unreachable!()
        };
        softmax.channels = 1;
        assert_eq!(model.run_f32(&[&logits()]), [1.0; ROWS * CHANNELS]);
        assert_eq!(model.outputs[0].dtype, ElemType::F32);
    }
}
