//! Speed of every convolution row that this processor can run, on a few shapes of real models.
//!
//! `cargo run --release -p edgepack-kernels --example gops [part of a row's name]`
//!
//! One thread. GOP/s counts a multiply-add as two operations; the best of many interleaved runs is
//! shown, since other load on the machine only ever makes a run slower.

#[path = "../src/conv/conformance/detect.rs"]
mod detect;

use std::env;
use std::hint::black_box;
use std::time::{Duration, Instant};

use edgepack_kernels::conv::{BoundRow, ConvArgs, ConvShape, Output, WeightSource, Weights, rows};
use edgepack_kernels::isa::{IsaSet, IsaToken};
use edgepack_kernels::requantize::OutputRange;

fn main() {
    let wanted = env::args().nth(1).unwrap_or_default();
    // SAFETY: what detection has found.
    let token = unsafe { IsaToken::assume(detect::detect()) };
    println!("{} with {}", env::consts::ARCH, token.set());
    for (name, shape) in shapes() {
        let mut runs: Vec<Run> = rows()
            .iter()
            .filter(|row| row.accepts(&shape) && row.name.contains(&wanted))
            .filter_map(|row| BoundRow::new(row, token))
            .map(|row| Run::new(row, shape))
            .collect();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(600) {
            for run in &mut runs {
                run.once();
            }
        }
        for run in &runs {
            let gops = 2.0 * shape.macs() as f64 / run.best.as_nanos() as f64;
            println!("{name:28} {:36} {gops:8.1} GOP/s {:10.1} us", run.row.row().name, micros(run.best));
        }
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1000.0
}

fn shapes() -> Vec<(&'static str, ConvShape)> {
    let square =
        |size: usize, channels: (usize, usize), kernel: usize, stride: usize, groups: usize| ConvShape {
            batch: 1,
            in_h: size,
            in_w: size,
            in_channels: channels.0,
            out_h: size / stride,
            out_w: size / stride,
            out_channels: channels.1,
            kernel_h: kernel,
            kernel_w: kernel,
            stride_h: stride,
            stride_w: stride,
            dilation_h: 1,
            dilation_w: 1,
            pad_top: kernel / 2,
            pad_left: kernel / 2,
            groups,
        };
    vec![
        ("1x1 28x28 256->256", square(28, (256, 256), 1, 1, 1)),
        ("1x1 56x56 24->144", square(56, (24, 144), 1, 1, 1)),
        ("1x1 14x14 576->96", square(14, (576, 96), 1, 1, 1)),
        ("1x1 7x7 320->1280", square(7, (320, 1280), 1, 1, 1)),
        ("3x3 14x14 256->256", square(14, (256, 256), 3, 1, 1)),
        ("3x3 56x56 64->64", square(56, (64, 64), 3, 1, 1)),
        ("3x3/2 224x224 3->32", square(224, (3, 32), 3, 2, 1)),
        ("connected 1280->1000", square(1, (1280, 1000), 1, 1, 1)),
        ("depthwise 3x3 112x112 32", square(112, (32, 32), 3, 1, 32)),
        ("depthwise 3x3 56x56 96", square(56, (96, 96), 3, 1, 96)),
        ("depthwise 3x3/2 56x56 144", square(56, (144, 144), 3, 2, 144)),
        ("depthwise 3x3 14x14 576", square(14, (576, 576), 3, 1, 576)),
        ("depthwise 3x3 7x7 960", square(7, (960, 960), 3, 1, 960)),
        ("depthwise 5x5 14x14 480", square(14, (480, 480), 5, 1, 480)),
    ]
}

/// Bytes that start at a multiple of 64.
struct Aligned(Vec<u8>, usize);

impl Aligned {
    fn new(bytes: usize) -> Self {
        let memory = vec![0; bytes + 64];
        let start = memory.as_ptr().align_offset(64);
        Self(memory, start)
    }

    fn get(&self) -> &[u8] {
        &self.0[self.1..][..self.0.len() - 64]
    }

    fn get_mut(&mut self) -> &mut [u8] {
        let len = self.0.len() - 64;
        &mut self.0[self.1..][..len]
    }
}

struct Run {
    row: BoundRow,
    shape: ConvShape,
    input: Vec<i8>,
    weights: Vec<i8>,
    bias: Vec<i32>,
    multiplier: Vec<f32>,
    packed: Aligned,
    scratch: Aligned,
    output: Vec<i8>,
    best: Duration,
}

impl Run {
    fn new(row: BoundRow, shape: ConvShape) -> Self {
        let values = |len: usize| (0..len).map(|i| (i * 37 % 255) as i8).map(|v| v.max(-127)).collect();
        let mut run = Self {
            row,
            shape,
            input: values(shape.input_elems()),
            weights: values(shape.weight_elems()),
            bias: vec![0; shape.out_channels],
            multiplier: vec![0.001; shape.out_channels],
            packed: Aligned::new(row.row().packed_bytes(&shape)),
            scratch: Aligned::new(row.row().scratch_bytes(&shape)),
            output: vec![0; shape.output_elems()],
            best: Duration::MAX,
        };
        let weights = Weights { weights: &run.weights, bias: &run.bias, multiplier: &run.multiplier };
        row.row().pack(&shape, &weights, run.packed.get_mut());
        run
    }

    fn once(&mut self) {
        let weights = match self.row.row().layout {
            Some(_) => WeightSource::Packed(self.packed.get()),
            None => WeightSource::Canonical(Weights {
                weights: &self.weights,
                bias: &self.bias,
                multiplier: &self.multiplier,
            }),
        };
        let mut args = ConvArgs {
            shape: self.shape,
            input: &self.input,
            input_zero_point: 3,
            weights,
            output: Output::I8(&mut self.output, OutputRange::full(-5)),
            scratch: self.scratch.get_mut(),
        };
        let start = Instant::now();
        self.row.run(black_box(&mut args)).expect("the arguments fit the shape");
        self.best = self.best.min(start.elapsed());
    }
}
