//! The methods on a small network with everything between products that they pass through, and the
//! simulation of it against the int8 network itself.

use edgepack_engine::{InputData, Model, OutputData, SessionOptions};

use super::abreast::Abreast;
use super::moments::moments;
use super::*;
use crate::calibrate::calibrate;
use crate::error::PackError;
use crate::evaluate::evaluate;
use crate::graph::{Conv, FullyConnected, Tensor, Window};
use crate::testing::{Build, RELU, Random};
use crate::unary::Unary;
use crate::{emit, lower, memory};

trait Layers {
    fn conv(&mut self, input: ValueId, outputs: usize, kernel: usize, groups: usize, clamp: Clamp)
    -> ValueId;
}

impl Layers for Build {
    /// A convolution whose output channels are of very different sizes.
    fn conv(
        &mut self,
        input: ValueId,
        outputs: usize,
        kernel: usize,
        groups: usize,
        clamp: Clamp,
    ) -> ValueId {
        let [n, c, h, w] = self.graph.dims(input)[..] else { panic!("no image") };
        let k = c / groups * kernel * kernel;
        let size =
            |channel: usize| if groups > 1 { 2.0 - channel as f32 } else { channel as f32 - 2.0 }.exp2();
        let weights = (0..outputs * k).map(|i| (self.random.next() + 0.2) * size(i / k)).collect();
        let bias = (0..outputs).map(|n| self.random.next() * size(n)).collect();
        let weights = Tensor::new(vec![outputs, c / groups, kernel, kernel], weights);
        let pad = kernel / 2;
        let window = Window { kernel: [kernel; 2], stride: [1; 2], dilation: [1; 2], pads: [pad; 4] };
        self.clamped(Op::Conv(Conv { weights, bias, window, groups }), &[input], &[n, outputs, h, w], clamp)
    }
}

/// `conv, relu -> depthwise -> (conv +) -> mean -> fully connected`, on 8 × 8 images of 3 channels.
fn network() -> Graph {
    let (mut build, input) = Build::seeded(&[1, 3, 8, 8], 3);
    let first = build.conv(input, 6, 3, 1, RELU);
    let second = build.conv(first, 6, 3, 6, Clamp::NONE);
    let third = build.conv(second, 6, 1, 1, Clamp::NONE);
    let sum = build.clamped(Op::Binary(BinaryKind::Add), &[second, third], &[1, 6, 8, 8], RELU);
    let mean = build.clamped(Op::ReduceMean { first: 2, count: 2 }, &[sum], &[1, 6, 1, 1], Clamp::NONE);
    let flat = build.clamped(Op::Reshape, &[mean], &[1, 6], Clamp::NONE);
    let weights = Tensor::new(vec![4, 6], build.random.take(24));
    let bias = build.random.take(4);
    let fc = Op::FullyConnected(FullyConnected { weights, bias });
    let output = build.clamped(fc, &[flat], &[1, 4], Clamp::NONE);
    build.graph.outputs.push(output);
    build.graph
}

fn inputs(count: usize) -> Vec<Vec<f32>> {
    let mut random = Random(11);
    // Neighbouring pixels resemble each other, as in pictures.
    let image = |random: &mut Random| {
        let base = random.take(3);
        (0..192).map(|i| base[i / 64] + 0.3 * random.next()).collect()
    };
    (0..count).map(|_| image(&mut random)).collect()
}

fn scheme(graph: &Graph, inputs: &[Vec<f32>]) -> Scheme {
    let samples = inputs.iter().map(|input| Ok::<_, PackError>(vec![input.clone()]));
    let statistics = calibrate(graph, samples, |_| {}).unwrap();
    choose_scheme(graph, &statistics, Observer::MinMax, &[])
}

fn fitted(graph: &Graph, inputs: &[Vec<f32>], without: &[Method]) -> Scheme {
    let load = |i: usize| Ok(vec![inputs[i].clone()]);
    let samples = Samples { count: inputs.len(), load: &load };
    let methods = Methods { without: without.to_vec() };
    reconstruct(graph, scheme(graph, inputs), samples, &methods, || {}).unwrap()
}

/// Signal and noise in dB over the outputs of all inputs.
fn sqnr(wanted: &[Vec<f32>], got: &[Vec<f32>]) -> f64 {
    let squares = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x).powi(2)).sum::<f64>();
    let signal = squares(&mut wanted.iter().flatten().copied());
    let noise = squares(&mut wanted.iter().flatten().zip(got.iter().flatten()).map(|(a, b)| a - b));
    10.0 * (signal / noise).log10()
}

fn run_f32(graph: &Graph, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    inputs.iter().map(|input| evaluate(graph, &[input], |_, _| {}).swap_remove(0)).collect()
}

fn simulate(graph: &Graph, scheme: &Scheme, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let simulation = Simulation::new(graph, scheme);
    inputs.iter().map(|input| simulation.run(&[input], |_, _| {}).swap_remove(0)).collect()
}

fn run_int8(graph: &Graph, scheme: &Scheme, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let lowered = lower::lower(graph, scheme, &[None]).unwrap();
    let package = emit::executable(&lowered, &memory::plan(&lowered).unwrap());
    let model = Model::from_bytes(&package).unwrap();
    let mut session = model.session(&SessionOptions::default()).unwrap();
    (inputs.iter())
        .map(|input| {
            session.set_input(0, InputData::F32(input)).unwrap();
            session.run().unwrap();
            match session.output(0).unwrap() {
                OutputData::F32(values) => values.to_vec(),
                other => panic!("{other:?} is not f32"),
            }
        })
        .collect()
}

#[test]
fn simulation_is_the_int8_network() {
    let (graph, inputs) = (network(), inputs(20));
    for scheme in [scheme(&graph, &inputs), fitted(&graph, &inputs, &[])] {
        let (device, host) = (run_int8(&graph, &scheme, &inputs), simulate(&graph, &scheme, &inputs));
        // Rounding to f32 on the way moves few values by a level, which is far below what int8 costs.
        let (real, simulated) =
            (sqnr(&run_f32(&graph, &inputs), &device), sqnr(&run_f32(&graph, &inputs), &host));
        assert!((real - simulated).abs() < 0.5, "{real} dB, simulated {simulated}");
        assert!(sqnr(&device, &host) > real + 6.0, "{} dB between both", sqnr(&device, &host));
    }
}

/// `conv -> (function) -> conv`, on images of 3 channels, with channels of these sizes between them, of which the
/// first is below zero where it is none.
fn extremes(sizes: [f32; 6], function: Option<Unary>) -> Graph {
    let (mut build, input) = Build::seeded(&[1, 3, 8, 8], 7);
    let mut last = build.conv(input, 6, 3, 1, RELU);
    let Op::Conv(conv) = &mut build.graph.nodes[0].op else { panic!("no convolution") };
    let size = |channel: usize| sizes[channel];
    let weights = (0..6 * 27).map(|i| (build.random.next() + 0.2) * size(i / 27)).collect();
    conv.weights = Tensor::new(vec![6, 3, 3, 3], weights);
    conv.bias = (0..6).map(|c| if size(c) == 0.0 { -1.0 } else { 0.1 * size(c) }).collect();
    if let Some(function) = function {
        last = build.clamped(Op::Unary(function), &[last], &[1, 6, 8, 8], Clamp::NONE);
    }
    let output = build.conv(last, 4, 1, 1, Clamp::NONE);
    let Some(Op::Conv(conv)) = build.graph.nodes.last_mut().map(|node| &mut node.op) else { panic!("none") };
    // What is large counts as much as what is not.
    let weights = (0..24).map(|i| build.random.next() / size(i % 6).max(1.0)).collect();
    conv.weights = Tensor::new(vec![4, 6, 1, 1], weights);
    build.graph.outputs.push(output);
    build.graph
}

#[test]
fn a_channel_that_is_dead_and_one_that_is_a_thousand_times_larger_cost_little() {
    let (mut graph, inputs) = (extremes([0.0, 1000.0, 1.0, 1.0, 1.0, 1.0], None), inputs(20));
    let load = |i: usize| Ok(vec![inputs[i].clone()]);
    let wanted = run_f32(&graph, &inputs);
    let plain = sqnr(&wanted, &simulate(&graph, &scheme(&graph, &inputs), &inputs));
    equalize(&mut graph, Samples { count: 20, load: &load }, || {}).unwrap();
    let scheme = fitted(&graph, &inputs, &[]);
    let both = sqnr(&wanted, &run_int8(&graph, &scheme, &inputs));
    assert!(plain < 20.0 && both > 35.0, "{plain} dB became {both}");
    // On a device its zeros are exact.
    let simulation = Simulation::new(&graph, &scheme);
    simulation.run(&[&inputs[0]], |id, values| {
        assert!(id != graph.nodes[0].output || values[..64].iter().all(|&x| x == 0.0));
    });
}

#[test]
fn the_range_is_that_which_the_reader_needs() {
    // The function is flat beyond 3, wherever it is.
    let (graph, inputs) = (extremes([1.0; 6], Some(Unary::Clip { min: 0.0, max: 3.0 })), inputs(20));
    let samples = inputs.iter().map(|input| Ok::<_, PackError>(vec![input.clone()]));
    let mut statistics = calibrate(&graph, samples, |_| {}).unwrap();
    let load = |i: usize| Ok(vec![inputs[i].clone()]);
    let samples = Samples { count: 20, load: &load };
    let of = |statistics: &Statistics, observer| choose_scheme(&graph, statistics, observer, &[]);
    let by_itself = of(&statistics, Observer::Mse);
    choose_ranges(&graph, &by_itself, &mut statistics, samples, || {}).unwrap();
    let chosen = of(&statistics, Observer::Auto);
    let read = graph.nodes[0].output;
    let scale = |scheme: &Scheme| scheme.quant(read).unwrap().scale;
    assert!(scale(&chosen) < scale(&by_itself) / 1.4, "{} and {}", scale(&chosen), scale(&by_itself));
    let noise = |scheme: &Scheme| sqnr(&run_f32(&graph, &inputs), &simulate(&graph, scheme, &inputs));
    assert!(noise(&chosen) > noise(&by_itself) + 0.5, "{} and {}", noise(&chosen), noise(&by_itself));
}

#[test]
fn equalization_leaves_the_function_and_brings_channels_together() {
    let (graph, inputs) = (network(), inputs(20));
    let load = |i: usize| Ok(vec![inputs[i].clone()]);
    let mut equalized = graph.clone();
    let streams = equalize(&mut equalized, Samples { count: 20, load: &load }, || {}).unwrap();
    assert!(streams > 0);
    // f32's own rounding.
    assert!(sqnr(&run_f32(&graph, &inputs), &run_f32(&equalized, &inputs)) > 110.0);
    let spread = |graph: &Graph| {
        let mut largest = [0.0_f32; 6];
        evaluate(graph, &[&inputs[0]], |id, values| {
            if id == graph.nodes[0].output {
                let channels = values.chunks_exact(64).zip(&mut largest);
                channels.for_each(|(c, l)| *l = c.iter().fold(*l, |l, x| l.max(x.abs())));
            }
        });
        let alive = largest.iter().copied().filter(|&largest| largest > 0.0);
        alive.clone().fold(0.0, f32::max) / alive.fold(f32::INFINITY, f32::min)
    };
    assert!(spread(&equalized) < spread(&graph) / 2.0, "{} {}", spread(&equalized), spread(&graph));
}

#[test]
fn upper_bounds_and_outputs_are_not_scaled() {
    let mut graph = network();
    for node in &mut graph.nodes {
        node.clamp = Clamp { min: 0.0, max: 6.0 };
    }
    let inputs = inputs(2);
    let load = |i: usize| Ok(vec![inputs[i].clone()]);
    assert_eq!(equalize(&mut graph, Samples { count: 2, load: &load }, || {}).unwrap(), 0);
}

#[test]
fn moments_are_sums_over_samples_and_positions() {
    let (graph, inputs) = (network(), inputs(3));
    let scheme = scheme(&graph, &inputs);
    let load = |i: usize| Ok(vec![inputs[i].clone()]);
    let mut abreast = Abreast::new(&graph, &scheme, Samples { count: 3, load: &load });
    abreast.gather(0).unwrap();
    let Op::Conv(conv) = &graph.nodes[0].op else { panic!("no convolution") };
    let moments = &moments(&graph, 0, &abreast)[0];
    assert_eq!((moments.width, moments.rows), (28, 3 * 64));
    // The plain reference: every position of every sample by itself.
    let quant = scheme.quant(graph.inputs[0]).unwrap();
    let (mut squares, mut products) = (0.0_f64, 0.0_f64);
    for input in &inputs {
        let mut rounded = input.clone();
        quant.round(&mut rounded);
        for position in 0..64_i32 {
            let (y, x) = (position / 8, position % 8);
            let at = |image: &[f32], c: i32, ky: i32, kx: i32| {
                let (y, x) = (y + ky - 1, x + kx - 1);
                let inside = (0..8).contains(&y) && (0..8).contains(&x);
                if inside { f64::from(image[(c * 64 + y * 8 + x) as usize]) } else { 0.0 }
            };
            let mut target = f64::from(conv.bias[4]);
            for i in 0..27 {
                target +=
                    f64::from(conv.weights.data[4 * 27 + i as usize]) * at(input, i / 9, i / 3 % 3, i % 3);
            }
            let (first, second) = (at(&rounded, 1, 0, 2), at(&rounded, 2, 2, 0));
            squares += first * second;
            products += target * first;
        }
    }
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-4 * b.abs().max(1.0), "{a} is not {b}");
    // Row and column of an input are one more than its number: the first is the bias'.
    close(moments.inputs[(9 + 2 + 1) * 28 + 18 + 6 + 1], squares);
    close(moments.targets[4 * 28 + 9 + 2 + 1], products);
    close(moments.inputs[0], 192.0);
}

#[test]
fn zero_is_exact_and_ends_are_within_half_a_step() {
    for range in [[-1.0, 1.0], [0.0, 6.0], [-3.0, 0.0], [-0.1, 12.0], [0.0, 1e-30]] {
        let quant = Quant::over(range);
        assert_eq!(quant.dequantize(quant.quantize(0.0) as i32), 0.0);
        for end in range {
            let error = (quant.dequantize(quant.quantize(end) as i32) - end).abs();
            assert!(error <= quant.scale * 0.501, "{range:?}: {end} is off by {error}");
        }
    }
    assert_eq!(Quant::over([0.0, 0.0]).quantize(0.0), 0);
}

#[test]
fn even_zero_points_cover_the_range_with_a_scale_that_is_hardly_larger() {
    let mut moved = 0;
    for tenths in 0..=1000 {
        let max = tenths as f32 / 100.0;
        let range = [max - 10.0, max];
        let (plain, even) = (Quant::over(range), Quant::even_over(range));
        assert_eq!(even.zero_point % 2, 0, "{range:?}");
        assert!((1.0..1.0085).contains(&(even.scale / plain.scale)), "{range:?}: {plain:?} and {even:?}");
        moved += usize::from(even != plain);
        for end in range {
            let error = (even.dequantize(even.quantize(end) as i32) - end).abs();
            assert!(error <= even.scale * 0.501, "{range:?}: {end} is off by {error}");
        }
    }
    assert!((400..600).contains(&moved), "{moved}");
}

#[test]
fn a_product_has_a_multiplier_of_seven_bits_and_a_scale_that_is_hardly_larger() {
    for (a, b, range) in
        [(0.031, 1.0 / 255.0, [-0.3, 5.1]), (1e-3, 0.7, [0.0, 0.9]), (4.0, 2.0, [-1.0, 1024.0])]
    {
        let of = |scale| Quant { scale, zero_point: 0 };
        let (before, product) = (Quant::over(range), of(a).scale as f64 * of(b).scale as f64);
        let quant = before.for_product_of(of(a), of(b));
        assert!((1.0..1.035).contains(&(quant.scale / before.scale)), "{before:?} and {quant:?}");
        let multiplier = product / quant.scale as f64;
        let odd = multiplier / multiplier.log2().floor().exp2() * 64.0;
        let odd = if odd > 127.5 { odd / 2.0 } else { odd };
        assert!((odd - odd.round()).abs() < 1e-4 && odd.round() % 2.0 == 1.0, "{odd}");
    }
}

#[test]
fn pixels_over_a_power_of_two_are_exact() {
    let quant = Quant::over([-127.0 / 128.0, 1.0]);
    assert_eq!(quant, Quant { scale: 1.0 / 128.0, zero_point: -1 });
    for pixel in 0..256 {
        assert_eq!(quant.quantize((pixel as f32 - 127.0) / 128.0) as i32, pixel - 128);
    }
}
