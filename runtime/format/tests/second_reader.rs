//! A second reader, made from FORMAT.md alone: it knows nothing of the crate's, and must find in a
//! package what the crate's writer put there. The dump at the end of that page is this package.

use edgepack_format::plan::{Dims, Head, Input, Lookup, Op, Output, OutputType, Quant, Span, Step};
use edgepack_format::writer::{GoldenSample, PackageWriter, encode_golden, encode_plan};
use edgepack_format::{Package, SectionKind};

fn package() -> Vec<u8> {
    let quant = Quant { scale: 0.5, zero_point: 0 };
    let dims = Dims { rank: 2, sizes: [1, 4, 1, 1, 1, 1] };
    let (x, y) = (Span { offset: 0, bytes: 4 }, Span { offset: 64, bytes: 4 });
    let input = Input {
        name: "x",
        dims,
        buffer: x,
        quant,
        arena_dims: [1, 1, 1, 4],
        strides: [4, 4, 4, 1],
        pixels: None,
    };
    let (dtype, quant) = (OutputType::I8, Some(quant));
    let output = Output { name: "y", dims, buffer: y, dtype, quant, exact: true };
    let table = Span { offset: 0, bytes: 256 };
    let op = Op::Lookup(Lookup { input: x, output: y, table, to_f32: false });
    let step = Step { name: "neg", scratch: Span { offset: 0, bytes: 0 }, op };
    let head = Head { arena_bytes: 128, inputs: 0, outputs: 0, steps: 0, macs: 300 };
    let negation = (0..256).map(|i| (128 - i).min(127) as i8 as u8).collect();
    // The outputs of 1, 2, 3, -128 (and of the seeded sample: not computed here).
    let hash = *blake3::hash(&[255, 254, 253, 127]).as_bytes();
    let golden = [(GoldenSample::Stored(vec![1, 2, 3, 128]), hash), (GoldenSample::Seeded(300), [7; 32])];
    PackageWriter::new()
        .section(SectionKind::Plan, "", encode_plan(head, &[input], &[output], &[step]))
        .section(SectionKind::Weights, "", negation)
        .section(SectionKind::Golden, "", encode_golden(&golden))
        .section(SectionKind::Provenance, "", b"{}".to_vec())
        .finish()
}

/// The values of postcard, one after the other.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap();
        self.0 = rest;
        *first
    }

    fn varint(&mut self) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = self.byte();
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    fn varints<const N: usize>(&mut self) -> [u64; N] {
        std::array::from_fn(|_| self.varint())
    }

    fn f32(&mut self) -> f32 {
        f32::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    fn text(&mut self) -> String {
        let bytes = (0..self.varint()).map(|_| self.byte()).collect();
        String::from_utf8(bytes).unwrap()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

fn u64_at(bytes: &[u8], at: usize) -> usize {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
}

/// The sections by kind, hashes checked.
fn sections(package: &[u8]) -> Vec<(usize, &[u8])> {
    assert_eq!(&package[..8], b"EDGEPACK");
    assert_eq!((u32_at(package, 8), u32_at(package, 12), u64_at(package, 16)), (1, 64, package.len()));
    let count = u32_at(package, 24);
    let mut header = package[..64 + 80 * count].to_vec();
    header[32..64].fill(0);
    assert_eq!(&package[32..64], blake3::hash(&header).as_bytes());
    (0..count)
        .map(|index| {
            let entry = &package[64 + 80 * index..][..80];
            let (offset, bytes) = (u64_at(entry, 8), u64_at(entry, 16));
            assert_eq!(offset % 64, 0);
            let section = &package[offset..offset + bytes];
            assert_eq!(&entry[48..], blake3::hash(section).as_bytes());
            (u32_at(entry, 0), section)
        })
        .collect()
}

#[test]
fn the_page_is_enough_to_read_a_package() {
    let package = package();
    let sections = sections(&package);
    assert_eq!(sections.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [1, 2, 4, 5]);
    let mut plan = Reader(sections[0].1);
    // Head.
    assert_eq!(plan.varints(), [128, 1, 1, 1, 300]);
    // Input.
    assert_eq!((plan.text().as_str(), plan.byte()), ("x", 2));
    assert_eq!(plan.varints(), [1, 4, 1, 1, 1, 1]);
    assert_eq!(plan.varints(), [0, 4]);
    assert_eq!((plan.f32(), plan.byte()), (0.5, 0));
    assert_eq!((plan.varints(), plan.varints(), plan.byte()), ([1, 1, 1, 4], [4, 4, 4, 1], 0));
    // Output.
    assert_eq!((plan.text().as_str(), plan.byte()), ("y", 2));
    assert_eq!((plan.varints(), plan.varints()), ([1, 4, 1, 1, 1, 1], [64, 4]));
    assert_eq!((plan.varint(), plan.byte(), plan.f32(), plan.byte(), plan.byte()), (0, 1, 0.5, 0, 1));
    // Step: a table, not to f32.
    assert_eq!((plan.text().as_str(), plan.varints(), plan.varint()), ("neg", [0, 0], 2));
    assert_eq!((plan.varints(), plan.varints(), plan.varints(), plan.byte()), ([0, 4], [64, 4], [0, 256], 0));
    assert!(plan.0.is_empty());
    // The golden samples: one stored, and computed by hand here; one seeded.
    let (table, section) = (sections[1].1, sections[2].1);
    let mut golden = Reader(section);
    assert_eq!((golden.varint(), golden.varint()), (2, 0));
    let [offset, bytes] = golden.varints();
    let stored = &section[offset as usize..][..bytes as usize];
    let outputs: Vec<u8> = stored.iter().map(|&x| table[(x as i8 as i32 + 128) as usize]).collect();
    assert_eq!(&golden.0[..32], blake3::hash(&outputs).as_bytes());
    golden.0 = &golden.0[32..];
    assert_eq!((golden.varint(), golden.varint(), &golden.0[..32]), (1, 300, &[7; 32][..]));
}

/// The bytes of format 1: a change here is a change of the format, and wants a new version of it.
#[test]
fn the_dump_on_the_page_is_this_package() {
    let mut dump = String::new();
    // Lines of zeros after the first one are a star.
    let mut zeros = 0;
    for (line, bytes) in package().chunks(16).enumerate() {
        zeros = if bytes == [0; 16] { zeros + 1 } else { 0 };
        if zeros < 2 {
            let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let text: String =
                bytes.iter().map(|&b| if (0x20..0x7f).contains(&b) { b as char } else { '.' }).collect();
            dump += &format!("{:04x}  {:47}  {text}\n", line * 16, hex.join(" "));
        } else if zeros == 2 {
            dump += "*\n";
        }
    }
    let page = include_str!("../FORMAT.md");
    assert!(page.contains(&dump), "FORMAT.md should end in:\n{dump}");
}

/// Slices at a multiple of 64, as a mapped file lies.
fn with_aligned<R>(bytes: &[u8], run: impl FnOnce(&[u8]) -> R) -> R {
    let mut memory = vec![0; bytes.len() + 63];
    let start = memory.as_ptr().align_offset(64);
    memory[start..start + bytes.len()].copy_from_slice(bytes);
    run(&memory[start..start + bytes.len()])
}

#[test]
fn the_crate_reads_what_it_wrote() {
    let bytes = package();
    with_aligned(&bytes, |bytes| {
        let package = Package::parse(bytes).unwrap();
        assert_eq!(package.head().macs, 300);
        assert_eq!(package.inputs().next().unwrap().name, "x");
        assert_eq!(package.outputs().next().unwrap().quant, Some(Quant { scale: 0.5, zero_point: 0 }));
        assert!(matches!(package.steps().next().unwrap().op, Op::Lookup(_)));
        assert_eq!((package.golden().count(), package.provenance()), (2, "{}"));
    });
}

#[test]
fn every_truncation_and_every_bit_flip_is_refused() {
    let bytes = package();
    for length in 0..bytes.len() {
        assert!(with_aligned(&bytes[..length], |bytes| Package::parse(bytes).is_err()), "{length}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(with_aligned(&flipped, |bytes| Package::parse(bytes).is_err()), "bit {bit}");
    }
}
