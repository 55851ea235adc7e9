//! One suite for every row: whatever the table holds, and this processor can run, must equal the
//! scalar reference bit for bit, read nothing but its inputs and write nothing but its output.
//!
//! `EDGEPACK_ISA` lowers the extensions, so that one processor tries several sets;
//! `EDGEPACK_EXPECT_ISA`, where set, is what must be detected: a cross run that silently lost an
//! extension fails instead of skipping.

mod detect;
pub(crate) mod memory;
mod winograd;

use core::fmt::Write;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{env, println, vec};

use self::memory::{Buffer, Place};
use super::*;
use crate::isa::IsaSet;
use crate::requantize::residual_multiplier;

#[test]
fn rows_over_all_cases_equal_the_reference() {
    let token = token();
    let mut ran = Vec::new();
    let mut skipped = Vec::new();
    for row in rows() {
        let Some(bound) = BoundRow::new(row, token) else {
            skipped.push(row.name);
            continue;
        };
        let cases = cases(row);
        for (index, case) in cases.iter().enumerate() {
            check(&bound, case, Place::Offset(index % 4), index as u64);
        }
        println!("{}: {} cases", row.name, cases.len());
        ran.push(row.name);
    }
    println!("ran {} rows, skipped {} ({})", ran.len(), skipped.len(), skipped.join(", "));
    assert!(ran.iter().any(|name| name.starts_with("conv_")));
    assert!(ran.iter().any(|name| name.starts_with("depthwise_")));
}

#[test]
fn rows_at_odd_alignments_equal_the_reference() {
    let token = token();
    for bound in rows().filter_map(|row| BoundRow::new(row, token)) {
        for (index, case) in edge_cases(bound.row()).iter().enumerate() {
            for offset in [1, 3, 15, 33] {
                check(&bound, case, Place::Offset(offset), index as u64);
            }
        }
    }
}

/// Reads beyond a tensor would pass every comparison; a page that may not be touched shows them.
#[test]
#[cfg(target_os = "linux")]
fn rows_beside_forbidden_pages_touch_nothing_else() {
    let token = token();
    for bound in rows().filter_map(|row| BoundRow::new(row, token)) {
        for (index, case) in edge_cases(bound.row()).iter().enumerate() {
            for place in [Place::BeforeFence, Place::AfterFence] {
                check(&bound, case, place, index as u64);
            }
        }
    }
}

/// The extensions of the running processor, lowered by `EDGEPACK_ISA`.
pub(crate) fn token() -> IsaToken {
    let detected = detect::detect();
    let runnable = detected.union(detect::beside());
    let lowered = match env::var("EDGEPACK_ISA") {
        Ok(text) => runnable.intersection(IsaSet::parse(&text).expect("EDGEPACK_ISA names extensions")),
        Err(_) => runnable,
    };
    println!("{}: detected {detected}, testing {lowered}", env::consts::ARCH);
    if let Ok(text) = env::var("EDGEPACK_EXPECT_ISA") {
        assert_eq!(Ok(detected), IsaSet::parse(&text), "EDGEPACK_EXPECT_ISA");
    }
    // SAFETY: a subset of what detection has found.
    unsafe { IsaToken::assume(lowered) }
}

/// What an input is filled with.
#[derive(Clone, Copy, Debug)]
enum Values {
    /// The whole range, uniformly.
    Random,
    /// Each value is one of the two ends of the range.
    Ends,
    /// Every activation and every weight is this.
    Constant(i8, i8),
}

/// Where a residual lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Added {
    Apart,
    InPlace,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    shape: ConvShape,
    zero_point: i8,
    /// `None`: f32.
    range: Option<OutputRange>,
    values: Values,
}

const ZERO_POINTS: [i8; 4] = [-128, 0, 127, 5];

const RANGES: [Option<OutputRange>; 6] = [
    Some(OutputRange::full(0)),
    Some(OutputRange::full(-128)),
    None,
    Some(OutputRange { zero_point: -20, min: -20, max: 127 }),
    Some(OutputRange { zero_point: 127, min: -128, max: 127 }),
    Some(OutputRange { zero_point: 3, min: -9, max: 14 }),
];

const VALUES: [Values; 6] = [
    Values::Random,
    Values::Ends,
    Values::Constant(-128, 127),
    Values::Constant(-128, -127),
    Values::Constant(127, 127),
    Values::Constant(127, -127),
];

/// Kernel, stride, dilation, padding (before, after), all by (height, width).
struct Window {
    kernel: (usize, usize),
    stride: (usize, usize),
    dilation: (usize, usize),
    before: (usize, usize),
    after: (usize, usize),
}

const fn window(kernel: (usize, usize), stride: usize, before: (usize, usize)) -> Window {
    Window { kernel, stride: (stride, stride), dilation: (1, 1), before, after: before }
}

const WINDOWS: [Window; 15] = [
    window((1, 1), 1, (0, 0)),
    window((1, 1), 2, (0, 0)),
    window((3, 3), 1, (1, 1)),
    window((3, 3), 1, (0, 0)),
    window((3, 3), 2, (1, 1)),
    Window { after: (1, 1), ..window((3, 3), 2, (0, 0)) },
    Window { after: (0, 3), ..window((3, 3), 1, (2, 1)) },
    Window { dilation: (2, 2), ..window((3, 3), 1, (2, 2)) },
    Window { dilation: (1, 2), stride: (2, 1), ..window((2, 3), 1, (1, 3)) },
    window((5, 5), 1, (2, 2)),
    window((5, 5), 2, (2, 2)),
    window((1, 5), 1, (0, 2)),
    window((4, 1), 1, (3, 0)),
    // Whole taps of every border pixel are outside, and more padding than image.
    window((7, 7), 3, (6, 6)),
    Window { after: (2, 2), ..window((5, 5), 2, (1, 1)) },
];

impl Window {
    fn shape(
        &self,
        batch: usize,
        input: (usize, usize),
        channels: (usize, usize),
        groups: usize,
    ) -> ConvShape {
        let out = |size: usize, pads: usize, kernel: usize, stride: usize, dilation: usize| {
            (size + pads).checked_sub(dilation * (kernel - 1) + 1).map(|left| left / stride + 1)
        };
        let (before, after) = (self.before, self.after);
        ConvShape {
            batch,
            in_h: input.0,
            in_w: input.1,
            in_channels: channels.0 * groups,
            out_h: out(input.0, before.0 + after.0, self.kernel.0, self.stride.0, self.dilation.0).unwrap(),
            out_w: out(input.1, before.1 + after.1, self.kernel.1, self.stride.1, self.dilation.1).unwrap(),
            out_channels: channels.1 * groups,
            kernel_h: self.kernel.0,
            kernel_w: self.kernel.1,
            stride_h: self.stride.0,
            stride_w: self.stride.1,
            dilation_h: self.dilation.0,
            dilation_w: self.dilation.1,
            pad_top: before.0,
            pad_left: before.1,
            groups,
        }
    }
}

/// `pixels` of one row through a 1×1 kernel: a matrix product.
fn product(pixels: usize, in_channels: usize, out_channels: usize) -> ConvShape {
    WINDOWS[0].shape(1, (1, pixels), (in_channels, out_channels), 1)
}

/// Shapes with zero points, ranges and values dealt out in turn; the strides are coprime enough
/// that neighbouring shapes differ in all three.
fn deal(shapes: &[ConvShape]) -> Vec<Case> {
    let deal = |(index, &shape): (usize, &ConvShape)| Case {
        shape,
        zero_point: ZERO_POINTS[(index + index / 4) % ZERO_POINTS.len()],
        range: RANGES[(index + index / 5) % RANGES.len()],
        values: if index % 3 == 2 { VALUES[index / 3 % VALUES.len()] } else { Values::Random },
    };
    shapes.iter().enumerate().map(deal).collect()
}

/// Every zero point with every range and all values, for one shape.
fn every_combination(shape: ConvShape) -> Vec<Case> {
    let mut cases = Vec::new();
    for zero_point in ZERO_POINTS {
        for range in RANGES {
            for values in VALUES {
                cases.push(Case { shape, zero_point, range, values });
            }
        }
    }
    cases
}

fn cases(row: &Row) -> Vec<Case> {
    let mut cases = match row {
        _ if row.depthwise => depthwise_cases(),
        _ if row.winograd.is_some() => winograd::cases(row),
        _ => conv_cases(row),
    };
    for case in &cases {
        assert!(computes(row, &case.shape), "{} and {case:?}", row.name);
    }
    cases.extend(edge_cases(row));
    cases
}

/// Whether a row can compute a convolution, where it is chosen or not: threads share one as smaller ones.
fn computes(row: &Row, shape: &ConvShape) -> bool {
    row.accepts(shape) || row.winograd.is_some_and(|method| (method.is_possible)(shape))
}

fn conv_cases(row: &Row) -> Vec<Case> {
    let (mr, nr) = (row.tile_pixels, row.layout.map_or(4, |layout| layout.nr));
    let mut shapes = Vec::new();
    for pixels in [1, 2, mr - 1, mr, mr + 1, 2 * mr + 1] {
        for out_channels in [1, nr - 1, nr, nr + 1, 2 * nr, 3 * nr + 1, 4 * nr - 1, 4 * nr, 4 * nr + 1] {
            for in_channels in [1, 3, 4, 7, 8, 9, 12, 16, 17, 23, 24, 28, 31, 32, 40, 48] {
                if pixels > 0 {
                    shapes.push(product(pixels, in_channels, out_channels));
                }
            }
        }
    }
    for window in &WINDOWS {
        for channels in [(1, 4), (3, nr + 1), (8, nr), (12, 5), (16, 2 * nr - 1)] {
            shapes.push(window.shape(2, (7, 9), channels, 1));
        }
        // In and out channels of one group, and groups; (1, 2) is a depthwise channel multiplier.
        for (channels, groups) in [((8, 16), 2), ((8, nr + 3), 4), ((3, 5), 2), ((20, nr), 2), ((1, 2), 6)] {
            shapes.push(window.shape(2, (6, 5), channels, groups));
        }
    }
    // Fully connected, and panels enough for several sweeps over the pixels.
    for (in_channels, out_channels) in [(1280, 1000), (13, 1000), (512, 10), (2048, 129)] {
        shapes.push(product(1, in_channels, out_channels));
    }
    shapes.push(product(mr + 1, 640, 500));
    // One pixel of many taps, and one that reads nothing but padding.
    shapes.push(WINDOWS[3].shape(1, (3, 3), (12, 4 * nr + 1), 1));
    let beside = Window { after: (0, 0), ..window((1, 1), 2, (1, 0)) };
    shapes.push(beside.shape(1, (1, 1), (20, nr + 1), 1));
    for out_channels in [nr, 2 * nr, 7 * nr + 3] {
        shapes.push(WINDOWS[4].shape(1, (9, 14), (3, out_channels), 1));
    }
    // Lines of whole blocks whose pixels share columns, of halves of them, and the same pixels apart.
    for (window, width, channels) in
        [(2, 16, 16), (2, 32, 16), (3, 18, 16), (2, 8, 16), (4, 32, 16), (3, 18, 13)]
    {
        for out_channels in [nr, nr + 3] {
            shapes.push(WINDOWS[window].shape(2, (6, width), (channels, out_channels), 1));
        }
    }
    shapes.push(WINDOWS[2].shape(1, (6, 16), (16, 16), 2));
    // Pixels enough for several tiles where these have as many as few channels allow.
    shapes.push(product(263, 24, 3 * nr + 4));
    shapes.push(WINDOWS[2].shape(1, (3, 5), (72, 150), 1));
    // More than one strip, of lines and of pixels; a line longer than a strip; over several images.
    for window in [2, 4, 7, 9, 13] {
        shapes.push(WINDOWS[window].shape(1, (40, 21), (16, nr + 2), 1));
        shapes.push(WINDOWS[window].shape(2, (25, 50), (3, 5), 1));
        shapes.push(WINDOWS[window].shape(1, (9, 300), (2, 4), 1));
        shapes.push(WINDOWS[window].shape(1, (22, 20), (5, nr), 2));
    }
    // Parts of a strip and a bit: in two, in three and in four, they fit the whole's scratch memory.
    for out_channels in [5, 6, 7] {
        shapes.push(WINDOWS[2].shape(1, (25, 21), (4, out_channels), 1));
    }
    shapes.push(WINDOWS[1].shape(2, (60, 41), (12, nr), 1));
    shapes.push(product(700, 20, nr + 3));
    shapes.push(product(61, 300, 2 * nr));
    let mut cases = deal(&shapes);
    cases.extend(every_combination(WINDOWS[2].shape(1, (3, 4), (16, nr + 2), 1)));
    cases.extend(every_combination(WINDOWS[6].shape(1, (3, 4), (3, nr - 1), 1)));
    cases
}

fn depthwise_cases() -> Vec<Case> {
    let mut shapes = Vec::new();
    for window in &WINDOWS {
        for channels in [2, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 47, 63, 64, 65, 96, 100, 127, 129] {
            shapes.push(window.shape(1, (7, 9), (1, 1), channels));
        }
        for channels in [3, 16, 40] {
            shapes.push(window.shape(2, (8, 5), (1, 1), channels));
        }
    }
    // Images narrower than the kernel, wide ones, and a kernel as large as the image.
    for channels in [5, 32, 72] {
        shapes.push(WINDOWS[2].shape(2, (1, 1), (1, 1), channels));
        shapes.push(WINDOWS[2].shape(1, (2, 23), (1, 1), channels));
        shapes.push(WINDOWS[9].shape(1, (2, 3), (1, 1), channels));
        shapes.push(WINDOWS[4].shape(1, (9, 40), (1, 1), channels));
        shapes.push(window((7, 7), 1, (0, 0)).shape(1, (7, 7), (1, 1), channels));
        shapes.push(window((15, 13), 1, (7, 6)).shape(1, (9, 6), (1, 1), channels));
    }
    // Lines that a kernel may take in several parts.
    for width in [124, 125, 127, 128, 129, 300] {
        shapes.extend([9, 10, 14].map(|window| WINDOWS[window].shape(1, (3, width), (1, 1), 20)));
    }
    // One column, as sequences lie.
    shapes.push(window((5, 1), 1, (2, 0)).shape(2, (50, 1), (1, 1), 24));
    shapes.push(window((3, 1), 2, (1, 0)).shape(1, (31, 1), (1, 1), 8));
    // More than one strip, of lines and of pixels.
    for window in [2, 4, 6, 9] {
        shapes.push(WINDOWS[window].shape(1, (110, 40), (1, 1), 9));
        shapes.push(WINDOWS[window].shape(1, (3, 1400), (1, 1), 8));
    }
    for window in [2, 4, 6, 9, 10] {
        shapes.push(WINDOWS[window].shape(1, (4, 153), (1, 1), 80));
        shapes.push(WINDOWS[window].shape(2, (3, 290), (1, 1), 48));
    }
    let mut cases = deal(&shapes);
    for channels in [6, 19, 80] {
        cases.extend(every_combination(WINDOWS[2].shape(1, (3, 4), (1, 1), channels)));
        cases.extend(every_combination(WINDOWS[9].shape(1, (4, 3), (1, 1), channels)));
    }
    cases
}

/// Few and small, for the tests that run them at many places.
fn edge_cases(row: &Row) -> Vec<Case> {
    let mut shapes = Vec::new();
    if row.winograd.is_some() {
        shapes.extend(winograd::edge_shapes(row));
    } else if row.depthwise {
        for channels in [3, 8, 16, 21, 64, 77] {
            for window in [0, 2, 4, 7, 9, 13] {
                shapes.push(WINDOWS[window].shape(1, (5, 6), (1, 1), channels));
            }
        }
    } else {
        let (mr, nr) = (row.tile_pixels, row.layout.map_or(4, |layout| layout.nr));
        for out_channels in [1, nr - 1, nr + 1, 4 * nr + 3] {
            for in_channels in [1, 8, 11, 16, 20] {
                shapes.push(product(mr + 1, in_channels, out_channels));
                shapes.push(WINDOWS[2].shape(1, (3, 4), (in_channels, out_channels), 1));
                shapes.push(WINDOWS[4].shape(1, (5, 4), (in_channels, out_channels), 2));
            }
        }
    }
    // Two groups of one channel each are a depthwise convolution.
    shapes.retain(|shape| computes(row, shape));
    deal(&shapes)
}

/// SplitMix64 (Steele et al., "Fast Splittable Pseudorandom Number Generators", 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 32) % end
    }
}

fn fill(elems: usize, values: Values, constant: i8, low: i8, random: &mut Random) -> Vec<i8> {
    let value = |_| match values {
        Values::Random => (low as i64 + random.below((127 - low as i64 + 1) as u64) as i64) as i8,
        Values::Ends => [low, 127][random.below(2) as usize],
        Values::Constant(..) => constant,
    };
    (0..elems).map(value).collect()
}

/// Runs a case by the row and by the reference; panics where they differ.
fn check(bound: &BoundRow, case: &Case, place: Place, seed: u64) {
    let (shape, row) = (case.shape, bound.row());
    let random = &mut Random(seed);
    let (x, w) = if let Values::Constant(x, w) = case.values { (x, w) } else { (0, 0) };
    let input = Buffer::of(&fill(shape.input_elems(), case.values, x, -128, random), place);
    let weights = Buffer::of(&fill(shape.weight_elems(), case.values, w, -127, random), place);
    let channels = shape.out_channels;
    let bias: Vec<i32> = (0..channels).map(|_| random.below(1 << 17) as i32 - (1 << 16)).collect();
    // Powers of two make exact halves; the others are such that results spread over int8. Kernels may take
    // another way where no sum can be far beyond int8, or has to care for sums that are.
    let values = shape.taps() as f32 * shape.group_in_channels() as f32;
    let (spread, exponent) = match seed % 4 {
        0 => (1.0 / (4096.0 * values), 14),
        1 => (64.0 / values, 0),
        _ => (1.0 / (64.0 * values), 7),
    };
    let multiplier = |_| match random.below(4) {
        0 => 1.0 / (1u64 << (exponent + random.below(5))) as f32,
        _ => spread * (1.0 + random.below(1 << 20) as f32 / 4096.0),
    };
    let multiplier: Vec<f32> = (0..channels).map(multiplier).collect();
    let (bias, multiplier) = (Buffer::of(&bias, place), Buffer::of(&multiplier, place));
    let weights = Weights { weights: weights.slice(), bias: bias.slice(), multiplier: multiplier.slice() };

    let aligned = if let Place::Offset(_) = place { Place::Offset(0) } else { place };
    let mut packed = Buffer::<u8>::new(row.packed_bytes(&shape), aligned);
    row.pack(&shape, &weights, packed.slice_mut());
    assert!(packed.is_intact());
    let mut scratch = Buffer::<u8>::new(row.scratch_bytes(&shape), aligned);
    // Halves again, and such as spread over int8, and far beyond.
    let ratio = [0.5, 0.3, 1.9, 0.01, 40_000.0][seed as usize % 5];
    let added = Buffer::of(&fill(shape.output_elems(), case.values, x, -128, random), place);
    let residuals = match (case.range, row.depthwise) {
        (Some(_), false) => vec![None, Some([Added::Apart, Added::InPlace][seed as usize % 2])],
        _ => vec![None],
    };

    let run = |output: Output<'_>, residual, scratch: &mut [u8], with: Option<(&BoundRow, usize)>| {
        let source = match row.layout {
            Some(_) => WeightSource::Packed(packed.slice()),
            None => WeightSource::Canonical(weights),
        };
        let mut args = ConvArgs {
            shape,
            input: input.slice(),
            input_zero_point: case.zero_point,
            weights: source,
            output,
            residual,
            scratch,
        };
        match with {
            Some((bound, parts)) if parts > 1 => run_in_parts(bound, args, parts),
            Some((bound, _)) => bound.run(&mut args).expect("the arguments fit the shape"),
            None if shape.is_depthwise() => reference::depthwise(&mut args, &weights),
            None => reference::conv(&mut args, &weights),
        }
    };
    // Whole, and as threads share it.
    let ways = [1, 2 + seed as usize % 3];
    for (parts, residual) in ways.into_iter().flat_map(|parts| residuals.iter().map(move |r| (parts, *r))) {
        let difference = match case.range {
            Some(range) => {
                let (mut expected, mut out) = match residual {
                    Some(Added::InPlace) => (added.slice().to_vec(), Buffer::of(added.slice(), place)),
                    _ => (vec![0i8; shape.output_elems()], Buffer::<i8>::new(shape.output_elems(), place)),
                };
                let residual = residual.map(|residual| Residual {
                    values: (residual == Added::Apart).then_some(added.slice()),
                    multiplier: residual_multiplier(ratio),
                });
                run(Output::I8(&mut expected, range), residual, &mut [], None);
                let out_of_row = Output::I8(out.slice_mut(), range);
                run(out_of_row, residual, scratch.slice_mut(), Some((bound, parts)));
                assert!(out.is_intact(), "{} wrote outside the output: {case:?}", row.name);
                difference(&expected, out.slice(), |&value| value)
            }
            None => {
                let mut expected = vec![0f32; shape.output_elems()];
                run(Output::F32(&mut expected), None, &mut [], None);
                let mut out = Buffer::<f32>::new(shape.output_elems(), place);
                run(Output::F32(out.slice_mut()), None, scratch.slice_mut(), Some((bound, parts)));
                assert!(out.is_intact(), "{} wrote outside the output: {case:?}", row.name);
                difference(&expected, out.slice(), |value| value.to_bits())
            }
        };
        assert!(scratch.is_intact(), "{} wrote outside its scratch memory: {case:?}", row.name);
        assert!(
            difference.is_empty(),
            "{} in {parts} parts, residual {residual:?}, at {place:?} in {case:?}:\n{difference}",
            row.name
        );
    }
}

#[test]
fn residuals_that_cannot_be_are_refused() {
    let shape = product(2, 3, 5);
    let weights = Weights { weights: &[1; 15], bias: &[0; 5], multiplier: &[0.5; 5] };
    let scalar = |depthwise: bool| {
        let is_scalar = |row: &&Row| row.isa == IsaSet::SCALAR && row.depthwise == depthwise;
        BoundRow::new(rows().find(is_scalar).unwrap(), IsaToken::scalar()).unwrap()
    };
    let run = |row: BoundRow, shape: ConvShape, output: Output<'_>, values: &[i8], multiplier: f32| {
        row.run(&mut ConvArgs {
            shape,
            input: &[1; 10][..shape.input_elems()],
            input_zero_point: 0,
            weights: WeightSource::Canonical(Weights {
                weights: &weights.weights[..shape.weight_elems()],
                ..weights
            }),
            output,
            residual: Some(Residual { values: Some(values), multiplier }),
            scratch: &mut [],
        })
    };
    let (out, range) = (&mut [0; 10], OutputRange::full(0));
    let conv = scalar(false);
    assert_eq!(run(conv, shape, Output::I8(out, range), &[2; 10], 0.5), Ok(()));
    assert_eq!(*out, [2; 10]);
    assert_eq!(run(conv, shape, Output::I8(out, range), &[2; 9], 0.5), Err(ArgsError::Length));
    for wrong in [0.1, 0.0, -1.0, f32::NAN, f32::INFINITY] {
        let result = run(conv, shape, Output::I8(out, range), &[2; 10], wrong);
        assert_eq!(result, Err(ArgsError::Residual), "{wrong}");
    }
    assert_eq!(run(conv, shape, Output::F32(&mut [0.0; 10]), &[2; 10], 0.5), Err(ArgsError::Residual));
    let depthwise = WINDOWS[0].shape(1, (1, 2), (1, 1), 5);
    assert_eq!(run(scalar(true), depthwise, Output::I8(out, range), &[2; 10], 0.5), Err(ArgsError::Residual));
}

/// Runs a convolution in up to `count` parts, the last one first, one after the other in the same scratch
/// memory.
fn run_in_parts(bound: &BoundRow, mut args: ConvArgs<'_>, count: usize) {
    let scratch = core::mem::take(&mut args.scratch);
    let mut parts = [const { None }; 4];
    let made = bound.split(args, &mut parts[..count]);
    assert!((1..=count).contains(&made) && parts[..made].iter().all(Option::is_some));
    for mut args in parts.into_iter().rev().flatten() {
        args.scratch = &mut *scratch;
        bound.run(&mut args).expect("a part's arguments fit its shape");
    }
}

/// The first differences, by position; empty where there is none.
fn difference<T: ToString, B: PartialEq>(expected: &[T], got: &[T], bits: impl Fn(&T) -> B) -> String {
    let mut text = String::new();
    let pairs = expected.iter().zip(got).enumerate().filter(|(_, (a, b))| bits(a) != bits(b));
    for (at, (expected, got)) in pairs.take(8) {
        writeln!(text, "  [{at}] {} for {}", got.to_string(), expected.to_string()).unwrap();
    }
    text
}

/// What each kind of processor chooses: a snapshot, since the host plans for every device.
#[test]
fn select_over_shapes_and_processors_gives_these_rows() {
    let conv = WINDOWS[4].shape(1, (14, 14), (64, 64), 1);
    let first = WINDOWS[4].shape(1, (224, 224), (3, 32), 1);
    let connected = product(1, 1280, 1000);
    let grouped = WINDOWS[2].shape(1, (14, 14), (8, 8), 4);
    let multiplied = WINDOWS[2].shape(1, (14, 14), (1, 2), 32);
    let depthwise = WINDOWS[2].shape(1, (14, 14), (1, 1), 96);
    // What is chosen for a convolution of any kind, and for a depthwise one.
    let snapshot = [
        ("scalar", "conv_s8s8s32_scalar", "depthwise_s8s8s32_scalar"),
        ("avx2", "conv_s8s8s32_4x16_avx2", "depthwise_s8s8s32_1x32_avx2"),
        ("avxvnni", "conv_s8s8s32_6x16_avxvnni", "depthwise_s8s8s32_1x32_avxvnni"),
        ("avx512vnni", "conv_s8s8s32_12x64_avx512vnni", "depthwise_s8s8s32_1x64_avx512vnni"),
        ("neon", "conv_s8s8s32_4x16_neon", "depthwise_s8s8s32_1x16_neon"),
        ("dotprod", "conv_s8s8s32_4x24_dotprod", "depthwise_s8s8s32_1x16_dotprod"),
        ("i8mm", "conv_s8s8s32_4x24_i8mm", "depthwise_s8s8s32_1x16_dotprod"),
        ("neon32", "conv_s8s8s32_4x8_neon32", "depthwise_s8s8s32_4x8_neon32"),
        ("dsp", "conv_s8s8s32_2x2_dsp", "depthwise_s8s8s32_2x4_dsp"),
    ];
    for (isa, conv_row, depthwise_row) in snapshot {
        let set = IsaSet::parse(isa).unwrap();
        for shape in [conv, first, connected, grouped, multiplied] {
            assert_eq!(select(&shape, set).name, conv_row, "{isa}: {shape:?}");
        }
        assert_eq!(select(&depthwise, set).name, depthwise_row, "{isa}");
    }
}
