//! Throughput of every convolution kernel that this processor runs, on shapes of real models.
//!
//! `cargo bench -p edgepack-harness --bench kernels -- [part of a shape's or a kernel's name]`
//!
//! One element is one operation, a multiply-add two: `Gelem/s` is GOP/s. After each kernel its best speed
//! stands beside what the instruction that it is made of does in a loop over registers ([`peak`]).

mod peak;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use edgepack_kernels::conv::{BoundRow, ConvArgs, ConvShape, Output, Row, WeightSource, Weights, rows};
use edgepack_kernels::isa::IsaToken;
use edgepack_kernels::requantize::OutputRange;

criterion_group!(benches, kernels);
criterion_main!(benches);

fn kernels(criterion: &mut Criterion) {
    let token = edgepack_engine::isa::detect().expect("EDGEPACK_ISA names instruction sets");
    for (name, shape) in shapes() {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(2 * shape.macs()));
        for row in rows().filter(|row| row.accepts(&shape)) {
            let Some(bound) = BoundRow::new(row, token) else { continue };
            let mut run = Run::new(bound, shape);
            let mut best = Duration::MAX;
            group.bench_function(row.name, |bencher| {
                bencher.iter_custom(|runs| {
                    let start = Instant::now();
                    (0..runs).for_each(|_| run.once());
                    let time = start.elapsed();
                    best = best.min(time / u32::try_from(runs).unwrap_or(u32::MAX));
                    time
                });
            });
            report(row, &shape, best, token);
        }
        group.finish();
    }
}

/// Says how fast a kernel was at best, and what part of the peak that is. Nothing where it was not run.
fn report(row: &Row, shape: &ConvShape, best: Duration, token: IsaToken) {
    if best == Duration::MAX {
        return;
    }
    let speed = 2.0 * shape.macs() as f64 / best.as_secs_f64() / 1e9;
    match peak::gop_per_s(row.isa, token) {
        Some(peak) => println!(
            "{}: {speed:.0} GOP/s at best, {:.0} % of the {peak:.0} of {}",
            row.name,
            100.0 * speed / peak,
            row.isa
        ),
        None => println!("{}: {speed:.1} GOP/s at best", row.name),
    }
}

fn shapes() -> [(&'static str, ConvShape); 6] {
    let same =
        |size: usize, [inputs, outputs]: [usize; 2], kernel: usize, stride: usize, groups: usize| ConvShape {
            batch: 1,
            in_h: size,
            in_w: size,
            in_channels: inputs,
            out_h: size / stride,
            out_w: size / stride,
            out_channels: outputs,
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
    [
        ("3x3 of stride 2, 224x224, 3 to 32", same(224, [3, 32], 3, 2, 1)),
        ("1x1, 56x56, 24 to 144", same(56, [24, 144], 1, 1, 1)),
        ("3x3, 14x14, 256 to 256", same(14, [256, 256], 3, 1, 1)),
        ("1x1, 7x7, 320 to 1280", same(7, [320, 1280], 1, 1, 1)),
        ("fully connected, 1280 to 1000", same(1, [1280, 1000], 1, 1, 1)),
        ("depthwise 3x3, 56x56, 96", same(56, [96, 96], 3, 1, 96)),
    ]
}

/// Bytes that start at a multiple of 64, as kernels want their weights and their scratch.
struct Aligned {
    memory: Vec<u8>,
    start: usize,
    bytes: usize,
}

impl Aligned {
    fn new(bytes: usize) -> Aligned {
        let memory = vec![0; bytes + 63];
        let start = memory.as_ptr().align_offset(64);
        Aligned { memory, start, bytes }
    }

    fn get(&self) -> &[u8] {
        &self.memory[self.start..][..self.bytes]
    }

    fn get_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..self.bytes]
    }
}

/// A kernel with all that it reads and writes.
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
}

impl Run {
    fn new(row: BoundRow, shape: ConvShape) -> Run {
        let values = |len: usize| (0..len).map(|i| ((i * 37 % 255) as i8).max(-127)).collect();
        let mut run = Run {
            row,
            shape,
            input: values(shape.input_elems()),
            weights: values(shape.weight_elems()),
            bias: vec![0; shape.out_channels],
            multiplier: vec![0.001; shape.out_channels],
            packed: Aligned::new(row.row().packed_bytes(&shape)),
            scratch: Aligned::new(row.row().scratch_bytes(&shape)),
            output: vec![0; shape.output_elems()],
        };
        let weights = Weights { weights: &run.weights, bias: &run.bias, multiplier: &run.multiplier };
        row.row().pack(&shape, &weights, run.packed.get_mut());
        run
    }

    fn once(&mut self) {
        let canonical = Weights { weights: &self.weights, bias: &self.bias, multiplier: &self.multiplier };
        let weights = match self.row.row().layout {
            Some(_) => WeightSource::Packed(self.packed.get()),
            None => WeightSource::Canonical(canonical),
        };
        let mut args = ConvArgs {
            shape: self.shape,
            input: &self.input,
            input_zero_point: 3,
            weights,
            output: Output::I8(&mut self.output, OutputRange::full(-5)),
            residual: None,
            scratch: self.scratch.get_mut(),
        };
        self.row.run(black_box(&mut args)).expect("the arguments fit the shape");
    }
}
