//! The three forms of an input give the same tensor; what does not fit the model is a typed error.

mod common;

use common::{GARBAGE, Model, Values, quantize, range, shape, span, tokens, values, with_program};
use edgepack_core::format::plan::{Convert, ElemType, Fill, Input, Op, Pixels, Quant};
use edgepack_core::kernels::isa::IsaToken;
use edgepack_core::{InputData, OutputData, RunError};

const BATCH: usize = 2;
const HEIGHT: usize = 3;
const WIDTH: usize = 5;
const CHANNELS: usize = 3;
const ELEMS: usize = BATCH * HEIGHT * WIDTH * CHANNELS;
const QUANT: Quant = Quant { scale: 0.018_74, zero_point: -11 };
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// The order of the model's dimensions.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    Nchw,
    Nhwc,
}

/// `[N, H, W, C]` pixels, RGB.
fn picture() -> Vec<u8> {
    let mut picture: Vec<u8> = values(30, ELEMS).iter().map(|&x| x as u8).collect();
    (picture[0], picture[1]) = (0, 255);
    picture
}

/// What the model's channel `c` takes a pixel value for.
fn preprocess(pixel: u8, c: usize) -> f32 {
    (f32::from(pixel) / 255.0 - MEAN[c]) / DEVIATION[c]
}

fn to_int8(value: f32) -> i8 {
    quantize(value * (1.0 / QUANT.scale), range(QUANT.zero_point, -128, 127))
}

/// For each place of the int8 tensor, `[N, H, W, C]`: image, row, column and channel.
fn places() -> impl Iterator<Item = [usize; 4]> {
    let place = |i| {
        [i / (HEIGHT * WIDTH * CHANNELS), i / (WIDTH * CHANNELS) % HEIGHT, i / CHANNELS % WIDTH, i % CHANNELS]
    };
    (0..ELEMS).map(place)
}

/// The pixel that the model's channel `c` reads.
fn pixel_of([n, y, x, c]: [usize; 4], reverse: bool) -> u8 {
    let channel = if reverse { CHANNELS - 1 - c } else { c };
    picture()[((n * HEIGHT + y) * WIDTH + x) * CHANNELS + channel]
}

fn expected(reverse: bool) -> Vec<i8> {
    places().map(|place| to_int8(preprocess(pixel_of(place, reverse), place[3]))).collect()
}

/// The picture as an application that preprocesses would give it.
fn preprocessed(order: Order, reverse: bool) -> Vec<f32> {
    let mut values = vec![0.0; ELEMS];
    for place in places() {
        let [n, y, x, c] = place;
        let at = match order {
            Order::Nchw => ((n * CHANNELS + c) * HEIGHT + y) * WIDTH + x,
            Order::Nhwc => ((n * HEIGHT + y) * WIDTH + x) * CHANNELS + c,
        };
        values[at] = preprocess(pixel_of(place, reverse), c);
    }
    values
}

fn picture_model(order: Order, reverse_channels: bool) -> Model {
    let mut model = Model::default();
    let tables: Vec<i8> =
        (0..CHANNELS).flat_map(|c| (0..=255).map(move |pixel| to_int8(preprocess(pixel, c)))).collect();
    // Something lies before the tables.
    model.i8s(&[7; 13]);
    let tables = model.i8s(&tables);
    // Something lies before and behind the tensor.
    model.buffer(3);
    let buffer = model.buffer(ELEMS);
    model.buffer(5);
    let [n, h, w, c] = [BATCH, HEIGHT, WIDTH, CHANNELS].map(|size| size as u32);
    let nhwc = [h * w * c, w * c, c, 1];
    let (dims, strides) = match order {
        Order::Nchw => ([n, c, h, w], [c * h * w, w, 1, h * w]),
        Order::Nhwc => ([n, h, w, c], nhwc),
    };
    model.inputs.push(Input {
        name: "picture",
        dims: shape(&dims),
        buffer,
        dtype: ElemType::I8,
        quant: QUANT,
        limits: None,
        arena_dims: [n, h, w, c],
        strides,
        pixels: Some(Pixels { tables, reverse_channels, strides: nhwc, from_image: "{}" }),
    });
    model.gives(buffer, ElemType::I8);
    model
}

/// The whole arena after an input was set: the same on every instruction set.
fn arena_after(model: &Model, data: InputData<'_>) -> Vec<u8> {
    let package = model.package();
    let on = |token| {
        with_program(&package, token, |program, arena| {
            program.set_input(0, data, arena).unwrap();
            arena.to_vec()
        })
    };
    let arena = on(IsaToken::scalar());
    tokens().into_iter().for_each(|token| assert_eq!(on(token), arena, "on {}", token.set()));
    arena
}

/// A model that gives the integers that it takes, cast to f32 and back, and the f32 numbers.
fn integer_model(dtype: ElemType, limits: [i32; 2]) -> Model {
    let mut model = Model::default();
    model.buffer(3);
    let buffer = model.buffer(4 * dtype.bytes() as usize);
    let numbers = model.output_f32(4);
    let back = model.buffer(4 * dtype.bytes() as usize);
    model.gives(back, dtype);
    let convert = |input, from, output, to| Op::Convert(Convert { input, from, output, to });
    model.step(convert(buffer, dtype, numbers, ElemType::F32));
    model.step(convert(numbers, ElemType::F32, back, dtype));
    model.inputs.push(Input {
        name: "ids",
        dims: shape(&[4]),
        buffer,
        dtype,
        quant: Quant { scale: 1.0, zero_point: 0 },
        limits: Some(limits),
        arena_dims: [1, 1, 1, 4],
        strides: [0, 0, 0, 1],
        pixels: None,
    });
    model
}

#[test]
fn integers_are_taken_in_every_form_that_holds_them_and_given_back() {
    let wanted = [
        (ElemType::I32, Values::I32(vec![-5, 0, 3, 1 << 24])),
        (ElemType::I64, Values::I64(vec![-5, 0, 3, 1 << 24])),
    ];
    for (dtype, wanted) in wanted {
        let package = integer_model(dtype, [-5, 1 << 24]).package();
        with_program(&package, IsaToken::scalar(), |program, arena| {
            let forms = [
                InputData::I32(&[-5, 0, 3, 1 << 24]),
                InputData::I64(&[-5, 0, 3, 1 << 24]),
                InputData::F32(&[-5.0, 0.0, 3.0, 16_777_216.0]),
            ];
            for data in forms {
                program.set_input(0, data, arena).unwrap();
                program.run(arena).unwrap();
                assert_eq!(
                    Values::of(program.output(0, arena).unwrap()),
                    Values::F32(vec![-5.0, 0.0, 3.0, 16_777_216.0])
                );
                assert_eq!(Values::of(program.output(1, arena).unwrap()), wanted);
            }
        });
    }
    let package = integer_model(ElemType::Bool, [0, 1]).package();
    with_program(&package, IsaToken::scalar(), |program, arena| {
        for data in [InputData::Bool(&[1, 0, 0, 1]), InputData::I64(&[1, 0, 0, 1])] {
            program.set_input(0, data, arena).unwrap();
            program.run(arena).unwrap();
            assert_eq!(Values::of(program.output(1, arena).unwrap()), Values::Bool(vec![1, 0, 0, 1]));
        }
    });
}

#[test]
fn integers_beyond_the_limits_of_an_input_are_refused_by_their_index() {
    let package = integer_model(ElemType::I64, [-2, 256]).package();
    with_program(&package, IsaToken::scalar(), |program, arena| {
        let value = |index| Err(RunError::Value { index, least: -2, greatest: 256 });
        assert_eq!(program.set_input(0, InputData::I64(&[0, 257, 0, 0]), arena), value(1));
        assert_eq!(program.set_input(0, InputData::I64(&[0, 0, 0, i64::MIN]), arena), value(3));
        assert_eq!(program.set_input(0, InputData::I32(&[-3, 257, 0, 0]), arena), value(0));
        assert_eq!(program.set_input(0, InputData::F32(&[0.0, 1.0, 2.5, 3.0]), arena), value(2));
        assert_eq!(program.set_input(0, InputData::F32(&[f32::NAN, 1.0, 2.0, 3.0]), arena), value(0));
        assert_eq!(program.set_input(0, InputData::F32(&[1e30, 1.0, 2.0, 3.0]), arena), value(0));
        assert_eq!(program.set_input(0, InputData::Pixels(&[0; 4]), arena), Err(RunError::NoPixels));
        let length = Err(RunError::Length { needed: 4, given: 3 });
        assert_eq!(program.set_input(0, InputData::I64(&[0; 3]), arena), length);
        // Seeded samples are spread over what is taken.
        program.set_input(0, InputData::Quantized(&[-128, 127, 0, -127]), arena).unwrap();
        program.run(arena).unwrap();
        assert_eq!(Values::of(program.output(1, arena).unwrap()), Values::I64(vec![-2, 255, 127, -1]));
    });
    let package = picture_model(Order::Nchw, false).package();
    with_program(&package, IsaToken::scalar(), |program, arena| {
        let data = InputData::I32(&[0; ELEMS]);
        assert_eq!(program.set_input(0, data, arena), Err(RunError::NoIntegers));
    });
}

#[test]
fn pixels_values_and_int8_of_one_picture_give_the_same_arena() {
    for order in [Order::Nchw, Order::Nhwc] {
        for reverse in [false, true] {
            let model = picture_model(order, reverse);
            let quantized = expected(reverse);
            let buffer = model.inputs[0].buffer;
            let mut arena = vec![GARBAGE; model.arena_bytes as usize];
            arena[buffer.offset as usize..][..ELEMS].copy_from_slice(bytemuck::cast_slice(&quantized));
            let floats = preprocessed(order, reverse);
            for data in
                [InputData::Pixels(&picture()), InputData::F32(&floats), InputData::Quantized(&quantized)]
            {
                assert_eq!(arena_after(&model, data), arena, "{order:?}, reversed: {reverse}, {data:?}");
            }
        }
    }
}

#[test]
fn the_two_orders_and_the_two_channel_orders_are_different_tests() {
    assert_ne!(preprocessed(Order::Nchw, false), preprocessed(Order::Nhwc, false));
    assert_ne!(expected(false), expected(true));
}

#[test]
fn values_that_are_no_numbers_or_too_large_saturate() {
    let mut model = Model::default();
    let buffer = model.input(6);
    model.gives(buffer, ElemType::I8);
    let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -0.0, 0.26];
    let arena = arena_after(&model, InputData::F32(&values));
    assert_eq!(bytemuck::cast_slice::<u8, i8>(&arena[..6]), [-128, 127, -128, 127, 0, 1]);
}

/// Two inputs, of which the first takes pixels, and an int8 and an f32 output.
fn four_tensors() -> Model {
    let mut model = picture_model(Order::Nchw, false);
    model.input(7);
    let filled = model.output_f32(3);
    model.step(Op::Fill(Fill { output: filled, value: 0 }));
    model
}

#[test]
fn inputs_of_a_wrong_index_are_refused() {
    with_program(&four_tensors().package(), IsaToken::scalar(), |program, arena| {
        for index in [2, 3, usize::MAX] {
            let data = [InputData::F32(&[0.0; 7]), InputData::Pixels(&[0; 7]), InputData::Quantized(&[0; 7])];
            for data in data {
                let error = program.set_input(index, data, arena).unwrap_err();
                assert_eq!(error, RunError::Index { index, count: 2 });
            }
        }
        assert!(arena.iter().all(|&byte| byte == GARBAGE), "a refused input was written");
    });
}

#[test]
fn inputs_of_a_wrong_length_are_refused() {
    with_program(&four_tensors().package(), IsaToken::scalar(), |program, arena| {
        for (index, needed) in [(0, ELEMS), (1, 7)] {
            for given in [0, 1, needed - 1, needed + 1, 4 * needed] {
                let (floats, pixels, quantized) = (vec![1.0; given], vec![1; given], vec![1; given]);
                let forms =
                    [InputData::F32(&floats), InputData::Pixels(&pixels), InputData::Quantized(&quantized)];
                for data in forms {
                    let error = program.set_input(index, data, arena).unwrap_err();
                    assert_eq!(error, RunError::Length { needed, given });
                }
            }
        }
        assert!(arena.iter().all(|&byte| byte == GARBAGE), "a refused input was written");
    });
}

#[test]
fn pixels_are_refused_where_no_preprocessing_was_recorded() {
    with_program(&four_tensors().package(), IsaToken::scalar(), |program, arena| {
        let error = program.set_input(1, InputData::Pixels(&[0; 7]), arena).unwrap_err();
        assert_eq!(error, RunError::NoPixels);
        assert!(arena.iter().all(|&byte| byte == GARBAGE), "a refused input was written");
    });
}

#[test]
fn outputs_have_their_type_and_length_and_no_further_index() {
    let mut model = four_tensors();
    // An output may also be a part of a tensor, at any place.
    let tensor = model.inputs[1].buffer;
    model.gives(span(tensor.offset + 3, 4), ElemType::I8);
    with_program(&model.package(), IsaToken::scalar(), |program, arena| {
        program.set_input(0, InputData::Pixels(&picture()), arena).unwrap();
        program.set_input(1, InputData::Quantized(&[1, 2, 3, 4, 5, 6, 7]), arena).unwrap();
        program.run(arena).unwrap();
        let outputs = [0, 1, 2].map(|index| Values::of(program.output(index, arena).unwrap()));
        assert_eq!(
            outputs,
            [Values::I8(expected(false)), Values::F32(vec![0.0; 3]), Values::I8(vec![4, 5, 6, 7])]
        );
        for index in [3, 4, usize::MAX] {
            assert_eq!(program.output(index, arena), Err(RunError::Index { index, count: 3 }));
        }
    });
}

#[test]
fn models_without_inputs_and_outputs_have_no_index_at_all() {
    let mut model = Model::default();
    let buffer = model.buffer(64);
    model.step(Op::Fill(Fill { output: buffer, value: 1 }));
    with_program(&model.package(), IsaToken::scalar(), |program, arena| {
        let error = program.set_input(0, InputData::Quantized(&[]), arena).unwrap_err();
        assert_eq!(error, RunError::Index { index: 0, count: 0 });
        assert_eq!(program.output(0, arena), Err(RunError::Index { index: 0, count: 0 }));
        program.run(arena).unwrap();
        assert_eq!(arena, [1; 64]);
    });
}

#[test]
fn other_types_are_given_by_their_bytes_or_as_numbers() {
    for dtype in ElemType::ALL.into_iter().filter(|dtype| dtype.is_raw()) {
        let mut model = Model::default();
        let elem_bytes = dtype.bytes() as usize;
        let buffer = model.buffer(3 * elem_bytes);
        model.inputs.push(Input {
            name: "x",
            dims: shape(&[3]),
            buffer,
            dtype,
            quant: Quant { scale: 1.0, zero_point: 0 },
            limits: None,
            arena_dims: [1, 1, 1, 3],
            strides: [0, 0, 0, 1],
            pixels: None,
        });
        model.gives(buffer, dtype);
        let mut bytes = vec![0; 3 * elem_bytes];
        for (elem, value) in bytes.chunks_exact_mut(elem_bytes).zip([0.0, 1.0, 100.0]) {
            dtype.write(value, elem);
        }
        let forms = [
            InputData::F32(&[0.0, 1.0, 100.0]),
            InputData::Quantized(&[0, 1, 100]),
            InputData::Elements(dtype, &bytes),
        ];
        for data in forms {
            let arena = arena_after(&model, data);
            assert_eq!(arena[buffer.offset as usize..][..bytes.len()], bytes, "{}: {data:?}", dtype.name());
        }
        with_program(&model.package(), IsaToken::scalar(), |program, arena| {
            let mut refused = |data| program.set_input(0, data, arena).unwrap_err();
            let (needed, given) = (dtype, ElemType::F32);
            assert_eq!(refused(InputData::Elements(given, &[0; 12])), RunError::Type { needed, given });
            let shorter = InputData::Elements(dtype, &bytes[1..]);
            assert!(matches!(refused(shorter), RunError::Length { .. }));
            assert_eq!(refused(InputData::Pixels(&[0; 3])), RunError::NoPixels);
            assert_eq!(refused(InputData::I64(&[0; 3])), RunError::NoIntegers);
            program.set_input(0, forms[2], arena).unwrap();
            let output = program.output(0, arena).unwrap();
            assert_eq!(output, OutputData::Elements(dtype, &bytes));
            assert_eq!(output.values().collect::<Vec<_>>(), [0.0, 1.0, 100.0]);
        });
    }
}

#[test]
fn integers_without_limits_are_taken_whatever_they_are() {
    let mut model = Model::default();
    let buffer = model.buffer(16);
    model.inputs.push(Input {
        name: "x",
        dims: shape(&[2]),
        buffer,
        dtype: ElemType::I64,
        quant: Quant { scale: 1.0, zero_point: 0 },
        limits: None,
        arena_dims: [1, 1, 1, 2],
        strides: [0, 0, 0, 1],
        pixels: None,
    });
    model.gives(buffer, ElemType::I64);
    let arena = arena_after(&model, InputData::I64(&[i64::MIN, i64::MAX]));
    let given: Vec<u8> = [i64::MIN, i64::MAX].into_iter().flat_map(i64::to_le_bytes).collect();
    assert_eq!(arena[buffer.offset as usize..][..16], given);
    let arena = arena_after(&model, InputData::Quantized(&[-128, 127]));
    let small: Vec<u8> = [-128i64, 127].into_iter().flat_map(i64::to_le_bytes).collect();
    assert_eq!(arena[buffer.offset as usize..][..16], small);
}
