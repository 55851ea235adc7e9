//! What tests need: a package (four values, an output that is the input negated), and a device that is none.

use std::path::{Path, PathBuf};

use edgepack_engine::{Bench, Latency};
use edgepack_format::SectionKind;
use edgepack_format::plan::{Dims, ElemType, Head, Input, Lookup, Op, Output, Pixels, Quant, Span, Step};
use edgepack_format::writer::{PackageWriter, encode_plan};

use super::DeviceInfo;

pub(crate) fn negating_package(folder: &Path, takes_pixels: bool) -> PathBuf {
    let quant = Quant { scale: 0.5, zero_point: 0 };
    let dims = Dims { rank: 4, sizes: [1, 1, 1, 4, 1, 1] };
    let (buffer, negated) = (Span { offset: 0, bytes: 4 }, Span { offset: 64, bytes: 4 });
    // Entry i is for the int8 value i - 128; a pixel p stands for (p - 128) / 2.
    let negation: Vec<u8> = (0..256).map(|i| (128 - i).min(127) as i8 as u8).collect();
    let pixel_tables = (0..4).flat_map(|_| 0..=255u8).map(|pixel| pixel.wrapping_sub(128));
    let weights: Vec<u8> = negation.into_iter().chain(pixel_tables).collect();
    let pixels = Pixels {
        tables: Span { offset: 256, bytes: 1024 },
        reverse_channels: false,
        strides: [4, 4, 4, 1],
        from_image: r#"{"mean":[128],"std":[2]}"#,
    };
    let input = Input {
        name: "input",
        dims,
        buffer,
        dtype: ElemType::I8,
        quant,
        limits: None,
        arena_dims: [1, 1, 1, 4],
        strides: [4, 4, 4, 1],
        pixels: takes_pixels.then_some(pixels),
    };
    let (dtype, quant) = (ElemType::I8, Some(quant));
    let output = Output { name: "negated", dims, buffer: negated, dtype, quant, exact: true };
    let table = Span { offset: 0, bytes: 256 };
    let lookup = Lookup { input: buffer, output: negated, table, to_f32: false };
    let step = Step { name: "neg", scratch: Span { offset: 0, bytes: 0 }, op: Op::Lookup(lookup) };
    let head = Head { arena_bytes: 128, inputs: 1, outputs: 1, steps: 1, macs: 0 };
    let bytes = PackageWriter::new()
        .section(SectionKind::Plan, "", encode_plan(head, &[input], &[output], &[step]))
        .section(SectionKind::Weights, "", weights)
        .finish();
    let path = folder.join("negating.epk");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A device that is none.
pub(crate) fn info() -> DeviceInfo {
    DeviceInfo { name: "n".into(), arch: "a".into(), isa: "i".into(), emulated: false, threads: 1 }
}

/// A measurement of this latency on that device.
pub(crate) fn bench(latency: Latency, info: &DeviceInfo) -> Bench {
    let DeviceInfo { threads, isa, emulated, .. } = info.clone();
    Bench {
        latency,
        load_ms: None,
        first_ms: None,
        warmup: Default::default(),
        windows: Vec::new(),
        before: Default::default(),
        after: Default::default(),
        arena_bytes: 0,
        stack_bytes: None,
        peak_rss_kb: None,
        rss_before_kb: None,
        threads,
        pinned: None,
        isa,
        emulated,
        instructions_per_run: None,
        notes: Vec::new(),
        samples: None,
        profile: None,
    }
}
