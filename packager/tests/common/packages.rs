//! Packages written by hand, for devices: as large as a test wants them, or wrong.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use edgepack_format::SectionKind;
use edgepack_format::plan::{Dims, ElemType, Head, Input, Lookup, Op, Output, Quant, Span, Step};
use edgepack_format::writer::{GoldenSample, PackageWriter, encode_golden, encode_plan};

/// A package with one step, which negates four numbers.
pub struct Handmade {
    pub arena_bytes: u32,
    /// Bytes that no step reads.
    pub ballast_bytes: usize,
    /// Whether the hash of its golden output is another than that of the output.
    pub wrong_golden: bool,
}

impl Default for Handmade {
    fn default() -> Self {
        Handmade { arena_bytes: 128, ballast_bytes: 0, wrong_golden: false }
    }
}

impl Handmade {
    /// Writes it.
    pub fn write(&self, path: &Path) -> PathBuf {
        let quant = Quant { scale: 0.5, zero_point: 0 };
        let dims = Dims { rank: 4, sizes: [1, 1, 1, 4, 1, 1] };
        let (buffer, negated) = (Span { offset: 0, bytes: 4 }, Span { offset: 64, bytes: 4 });
        // Entry i is for the int8 value i - 128.
        let mut weights: Vec<u8> = (0..256).map(|i| (128 - i).min(127) as i8 as u8).collect();
        weights.extend((0..self.ballast_bytes).map(|i| (i * 7 + i / 251) as u8));
        let input = Input {
            name: "input",
            dims,
            buffer,
            dtype: ElemType::I8,
            quant,
            arena_dims: [1, 1, 1, 4],
            strides: [4, 4, 4, 1],
            pixels: None,
            limits: None,
        };
        let (dtype, quant) = (ElemType::I8, Some(quant));
        let output = Output { name: "negated", dims, buffer: negated, dtype, quant, exact: true };
        let lookup =
            Lookup { input: buffer, output: negated, table: Span { offset: 0, bytes: 256 }, to_f32: false };
        let step = Step { name: "neg", scratch: Span { offset: 0, bytes: 0 }, op: Op::Lookup(lookup) };
        let head = Head { arena_bytes: self.arena_bytes, inputs: 1, outputs: 1, steps: 1, macs: 0 };
        let output_bytes = if self.wrong_golden { [1u8, 2, 3, 4] } else { [255, 254, 253, 252] };
        let golden = encode_golden(&[(
            GoldenSample::Stored(vec![1, 2, 3, 4]),
            *blake3::hash(&output_bytes).as_bytes(),
        )]);
        let bytes = PackageWriter::new()
            .section(SectionKind::Plan, "", encode_plan(head, &[input], &[output], &[step]))
            .section(SectionKind::Weights, "", weights)
            .section(SectionKind::Golden, "", golden)
            .finish();
        std::fs::write(path, bytes).unwrap();
        path.into()
    }
}
