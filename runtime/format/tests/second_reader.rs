//! A second reader, made from FORMAT.md alone: it knows nothing of the crate's, and must find in a
//! package what the crate's writer put there. The dump at the end of that page is this package; the
//! values of its section 8 are read here in the order of fields that the page gives.

use edgepack_format::plan::{Dims, ElemType, Head, Input, Lookup, Op, Output, Quant, Span, Step};
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
        dtype: ElemType::I8,
        quant,
        limits: None,
        arena_dims: [1, 1, 1, 4],
        strides: [4, 4, 4, 1],
        pixels: None,
    };
    let (dtype, quant) = (ElemType::I8, Some(quant));
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

    fn zigzag(&mut self) -> i64 {
        let value = self.varint();
        (value >> 1) as i64 ^ -((value & 1) as i64)
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
    assert_eq!((u32_at(package, 8), u32_at(package, 12), u64_at(package, 16)), (5, 64, package.len()));
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
    assert_eq!((plan.varint(), plan.f32(), plan.byte()), (0, 0.5, 0));
    // No limits.
    assert_eq!(plan.byte(), 0);
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

/// The bytes of a value that section 8 of the page shows.
fn shown(name: &str) -> Vec<u8> {
    let page = include_str!("../FORMAT.md");
    let (_, vectors) = page.split_once("\n## 8. ").unwrap();
    let hex = vectors.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap().trim();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Reads a value of section 8 to its last byte.
fn read(name: &str, read: impl FnOnce(&mut Reader<'_>)) {
    let bytes = shown(name);
    let mut reader = Reader(&bytes);
    read(&mut reader);
    assert!(reader.0.is_empty(), "{name}: {:?} is left", reader.0);
}

/// Reads a step to its last byte: what comes before the operation is the same for each.
fn read_step(name: &str, scratch: [u64; 2], operation: u64, rest: impl FnOnce(&mut Reader<'_>)) {
    read(name, |step| {
        assert_eq!((step.text().as_str(), step.varints(), step.varint()), (name, scratch, operation));
        rest(step);
    });
}

impl Reader<'_> {
    fn i8(&mut self) -> i8 {
        self.byte() as i8
    }

    fn i8s<const N: usize>(&mut self) -> [i8; N] {
        std::array::from_fn(|_| self.i8())
    }
}

#[test]
fn the_page_is_enough_to_read_heads_inputs_and_outputs() {
    read("Head", |head| assert_eq!(head.varints(), [1280, 1, 2, 45, 1 << 40]));
    read("image", |input| {
        assert_eq!((input.text().as_str(), input.byte()), ("image", 4));
        assert_eq!((input.varints(), input.varints()), ([1, 2, 4, 4, 1, 1], [0, 32]));
        assert_eq!((input.varint(), input.f32(), input.i8()), (0, 0.25, 5));
        assert_eq!(input.byte(), 0);
        assert_eq!((input.varints(), input.varints()), ([1, 4, 4, 2], [32, 4, 1, 16]));
        // Pixels: there; tables, reverse_channels, strides, from_image.
        assert_eq!((input.byte(), input.varints(), input.byte()), (1, [0, 512], 1));
        assert_eq!((input.varints(), input.text().as_str()), ([32, 8, 2, 1], "{}"));
    });
    read("padded", |output| {
        assert_eq!((output.text().as_str(), output.byte()), ("padded", 4));
        assert_eq!((output.varints(), output.varints()), ([1, 5, 6, 2, 1, 1], [640, 60]));
        // int8, with a quant, exact.
        assert_eq!((output.varint(), output.byte(), output.f32(), output.i8()), (0, 1, 0.25, 5));
        assert_eq!(output.byte(), 1);
    });
    read("transposed", |output| {
        assert_eq!((output.text().as_str(), output.byte()), ("transposed", 2));
        assert_eq!((output.varints(), output.varints()), ([2, 4, 1, 1, 1, 1], [704, 32]));
        // f32, without, not exact.
        assert_eq!((output.varint(), output.byte(), output.byte()), (1, 0, 0));
    });
}

#[test]
fn the_page_is_enough_to_read_convolutions() {
    read_step("conv", [1024, 256], 0, |conv| {
        assert_eq!((conv.varints(), conv.varints()), ([0, 32], [64, 12]));
        assert_eq!((conv.varints(), conv.varints()), ([1, 4, 4, 2], [1, 2, 2, 3]));
        let [kernel, stride, dilation, pad] = std::array::from_fn(|_| conv.varints());
        assert_eq!((kernel, stride, dilation, pad), ([3, 3], [2, 2], [1, 1], [1, 1]));
        assert_eq!((conv.varint(), conv.i8()), (1, 5));
        let [weights, bias, multiplier] = std::array::from_fn(|_| conv.varints());
        assert_eq!((weights, bias, multiplier), ([512, 54], [568, 12], [580, 12]));
        assert_eq!((conv.byte(), conv.i8s()), (1, [-3, -128, 127]));
        // A residual: span, multiplier.
        assert_eq!((conv.byte(), conv.varints(), conv.f32()), (1, [80, 12], 0.75));
        // Weights of its own.
        assert_eq!(conv.byte(), 0);
    });
    read_step("dense", [0, 0], 0, |conv| {
        assert_eq!((conv.varints(), conv.varints()), ([64, 12], [192, 16]));
        assert_eq!((conv.varints(), conv.varints()), ([1, 1, 1, 12], [1, 1, 1, 4]));
        assert_eq!(conv.varints(), [1, 1, 1, 1, 1, 1, 0, 0]);
        assert_eq!((conv.varint(), conv.i8()), (1, 5));
        // No range: f32.
        assert_eq!((conv.varints(), conv.byte()), ([628, 48, 676, 16, 692, 16], 0));
        // Neither residual nor weights of another.
        assert_eq!([conv.byte(), conv.byte()], [0, 0]);
    });
}

#[test]
fn the_page_is_enough_to_read_element_wise_operations_and_tables() {
    read_step("add", [0, 0], 1, |add| {
        assert_eq!((add.varint(), add.f32(), add.f32()), (0, 0.5, -0.75));
        assert_eq!((add.varints(), add.varints()), ([0, 0, 32], [0, 128, 32]));
        assert_eq!((add.varints(), add.i8s()), ([0, 32], [5, -3]));
        assert_eq!((add.i8s(), add.varints()), ([-3, -128, 127], [1, 4, 4, 2]));
        assert_eq!((add.varints(), add.varints()), ([32, 8, 2, 1], [32, 8, 2, 1]));
    });
    read_step("mul", [0, 0], 1, |mul| {
        assert_eq!((mul.varint(), mul.f32()), (1, 0.0625));
        // The right operand is a constant.
        assert_eq!((mul.varints(), mul.varints()), ([0, 128, 32], [1, 708, 2]));
        assert_eq!((mul.varints(), mul.i8s()), ([256, 32], [5, -3]));
        assert_eq!((mul.i8s(), mul.varints()), ([-3, -128, 127], [1, 4, 4, 2]));
        assert_eq!((mul.varints(), mul.varints()), ([32, 8, 2, 1], [0, 0, 0, 1]));
    });
    read_step("lookup", [0, 0], 2, |lookup| {
        assert_eq!((lookup.varints(), lookup.byte()), ([256, 32, 256, 32, 712, 256], 0));
    });
    read_step("dequantize", [0, 0], 2, |lookup| {
        assert_eq!((lookup.varints(), lookup.byte()), ([64, 12, 320, 48, 968, 1024], 1));
    });
}

#[test]
fn the_page_is_enough_to_read_poolings_and_softmaxes() {
    read_step("max", [0, 0], 3, |max| {
        assert_eq!((max.varint(), max.varints(), max.varints()), (0, [256, 32], [384, 8]));
        assert_eq!((max.varints(), max.varints()), ([1, 4, 4, 2], [1, 2, 2, 2]));
        assert_eq!((max.varints(), max.varints()), ([2, 2, 2, 2, 1, 1], [0, 0, 0, 0]));
    });
    read_step("average", [0, 0], 3, |average| {
        assert_eq!((average.varint(), average.i8(), average.f32(), average.byte()), (1, -3, 1.5, 1));
        assert_eq!((average.i8s(), average.varints()), ([-3, -128, 127], [256, 32, 448, 8]));
        assert_eq!((average.varints(), average.varints()), ([1, 4, 4, 2], [1, 2, 2, 2]));
        assert_eq!((average.varints(), average.varints()), ([3, 3, 2, 2, 1, 1], [1, 1, 0, 0]));
    });
    read_step("softmax_of_int8", [0, 0], 4, |softmax| {
        assert_eq!((softmax.varint(), softmax.varints(), softmax.varints()), (0, [384, 8], [1992, 512]));
        assert_eq!((softmax.varint(), softmax.varints(), softmax.varint()), (1, [512, 32], 2));
    });
    read_step("softmax_of_f32", [0, 0], 4, |softmax| {
        assert_eq!((softmax.varint(), softmax.varints()), (1, [512, 32]));
        assert_eq!((softmax.varint(), softmax.varints(), softmax.f32()), (0, [576, 8], 256.0));
        assert_eq!((softmax.i8s(), softmax.varint()), ([-128, -128, 127], 4));
    });
}

#[test]
fn the_page_is_enough_to_read_products_of_two_tensors_and_layer_normalizations() {
    read_step("matmul", [1024, 192], 7, |matmul| {
        assert_eq!((matmul.varints(), matmul.varints()), ([0, 16, 16, 16], [768, 8]));
        assert_eq!((matmul.varints(), matmul.varints()), ([1, 2], [2, 4, 2]));
        assert_eq!((matmul.varints(), matmul.varints()), ([0, 4, 8], [0, 4, 1, 8]));
        assert_eq!((matmul.varints(), matmul.i8(), matmul.f32()), ([8, 4, 2], 5, 0.125));
        assert_eq!((matmul.byte(), matmul.i8s()), (1, [-3, -128, 127]));
    });
    read_step("matmul_to_f32", [0, 0], 7, |matmul| {
        assert_eq!((matmul.varints(), matmul.varints()), ([768, 8, 16, 16], [832, 64]));
        assert_eq!((matmul.varints(), matmul.varints()), ([1, 2], [2, 2, 4]));
        assert_eq!((matmul.varints(), matmul.varints()), ([0, 4, 2], [0, 4, 8, 1]));
        assert_eq!((matmul.varints(), matmul.i8(), matmul.f32()), ([0, 4, 8], 5, 0.125));
        assert_eq!(matmul.byte(), 0);
    });
    read_step("layer_norm", [0, 0], 8, |norm| {
        assert_eq!((norm.varints(), norm.varints(), norm.varint()), ([0, 32], [896, 32], 8));
        let [gamma, beta] = [norm.varints(), norm.varints()];
        assert_eq!((gamma[1], beta), (32, [gamma[0] + 32, 32]));
        assert_eq!((norm.f32(), norm.i8s()), (0.0625, [-3, -128, 127]));
    });
}

#[test]
fn the_page_is_enough_to_read_fills_and_copies() {
    read_step("fill", [0, 0], 5, |fill| assert_eq!((fill.varints(), fill.i8()), ([640, 60], 5)));
    read_step("pad", [0, 0], 6, |copy| {
        assert_eq!((copy.varints(), copy.varints(), copy.byte()), ([384, 8], [640, 60], 1));
        assert_eq!(copy.varints(), [1, 1, 1, 2, 2, 2]);
        assert_eq!((copy.varint(), copy.varints()), (0, [0, 0, 0, 4, 2, 1]));
        assert_eq!((copy.varint(), copy.varints()), (14, [0, 0, 0, 12, 2, 1]));
        assert_eq!((copy.byte(), copy.varints()), (1, [2568, 256]));
    });
    read_step("transpose", [0, 0], 6, |copy| {
        assert_eq!((copy.varints(), copy.varints(), copy.byte()), ([512, 32], [704, 32], 4));
        assert_eq!(copy.varints(), [1, 1, 1, 1, 2, 4]);
        assert_eq!((copy.varint(), copy.varints()), (0, [0, 0, 0, 0, 1, 2]));
        assert_eq!((copy.varint(), copy.varints(), copy.byte()), (0, [0, 0, 0, 0, 4, 1], 0));
    });
}

#[test]
fn the_page_is_enough_to_read_recurrent_layers() {
    read_step("lstm", [1152, 128], 9, |lstm| {
        assert_eq!((lstm.varint(), lstm.varints(), lstm.varints()), (0, [768, 128], [896, 8]));
        // State; T, B, H; reverse.
        assert_eq!((lstm.varints(), lstm.varints(), lstm.byte()), ([904, 8], [4, 1, 2], 0));
        let [weights, bias, multiplier] = std::array::from_fn(|_| lstm.varints());
        assert_eq!((weights, bias, multiplier), ([2824, 16], [2840, 32], [2872, 32]));
        assert_eq!((lstm.varints(), lstm.varints()), ([2904, 2], [2908, 8]));
        assert_eq!((lstm.f32(), lstm.i8s()), (127.0, [-3, -128, 127]));
    });
    read_step("gru", [1216, 64], 9, |gru| {
        assert_eq!((gru.varint(), gru.varints(), gru.varints()), (1, [768, 96], [912, 8]));
        assert_eq!((gru.varints(), gru.varints(), gru.byte()), ([920, 16], [2, 2, 2], 1));
        let [weights, bias, multiplier] = std::array::from_fn(|_| gru.varints());
        assert_eq!((weights, bias, multiplier), ([2916, 12], [2928, 24], [2952, 24]));
        assert_eq!((gru.varints(), gru.varints()), ([2976, 4], [2980, 16]));
        assert_eq!((gru.f32(), gru.i8s()), (100.0, [-3, -128, 127]));
    });
}

#[test]
fn the_page_is_enough_to_read_operations_in_f32() {
    read_step("elementwise", [0, 0], 10, |step| {
        // Two sources: int8 of the arena, f32 of the constants.
        assert_eq!((step.byte(), step.varints(), step.byte()), (1, [0, 0, 32], 1));
        assert_eq!((step.f32(), step.i8(), step.varints()), (0.25, 5, [32, 8, 2, 1]));
        assert_eq!((step.byte(), step.varint()), (1, 1));
        let [offset, bytes] = step.varints();
        assert_eq!((bytes, step.byte(), step.varints(), step.byte()), (8, 0, [0, 0, 0, 1], 0));
        // Output, f32; five instructions behind the source.
        assert_eq!((step.varints(), step.byte(), step.varints()), ([128, 128], 0, [1, 4, 4, 2]));
        assert_eq!(step.varints(), [offset + 8, 40]);
    });
    read_step("cast", [0, 0], 10, |step| {
        assert_eq!((step.byte(), step.varints(), step.byte()), (1, [0, 128, 128], 0));
        assert_eq!((step.varints(), step.byte(), step.byte()), ([32, 8, 2, 1], 0, 0));
        assert_eq!((step.varints(), step.byte(), step.f32()), ([0, 32], 1, 4.0));
        assert_eq!((step.i8s(), step.varints(), step.varints::<2>()[1]), ([-3, -128, 127], [1, 4, 4, 2], 8));
    });
    read_step("conv_f32", [0, 0], 11, |conv| {
        assert_eq!((conv.varints(), conv.varints()), ([128, 128], [256, 48]));
        assert_eq!((conv.varints(), conv.varints()), ([1, 4, 4, 2], [1, 2, 2, 3]));
        assert_eq!((conv.varints(), conv.varint()), ([3, 3, 2, 2, 1, 1, 1, 1], 1));
        let [weights, format, bias] = [conv.varints::<2>(), [conv.varint(), 0], conv.varints::<2>()];
        assert_eq!((weights[1], format, bias), (18 * 16 * 4, [0, 0], [weights[0] + 18 * 16 * 4, 12]));
        assert_eq!((conv.f32(), conv.f32()), (0.0, f32::INFINITY));
    });
    read_step("average_f32", [0, 0], 12, |pool| {
        assert_eq!((pool.varint(), pool.byte()), (3, 1));
        assert_eq!((pool.varints(), pool.varints()), ([128, 128], [320, 32]));
        assert_eq!((pool.varints(), pool.varints()), ([1, 4, 4, 2], [1, 2, 2, 2]));
        assert_eq!((pool.varints(), pool.varints()), ([3, 3, 2, 2, 1, 1], [1, 1, 0, 0]));
    });
    read_step("max_f32", [0, 0], 12, |pool| {
        assert_eq!((pool.varint(), pool.varints(), pool.varints()), (0, [128, 128], [384, 32]));
        assert_eq!((pool.varints(), pool.varints()), ([1, 4, 4, 2], [1, 2, 2, 2]));
        assert_eq!((pool.varints(), pool.varints()), ([2, 2, 2, 2, 1, 1], [0, 0, 0, 0]));
    });
    read_step("matmul_f32", [1024, 256], 13, |matmul| {
        assert_eq!((matmul.varints(), matmul.varints()), ([128, 64, 192, 64], [384, 32]));
        assert_eq!((matmul.varints(), matmul.varints()), ([1, 2], [2, 4, 2]));
        assert_eq!((matmul.varints(), matmul.varints()), ([0, 4, 8], [0, 4, 1, 8]));
        assert_eq!(matmul.varints(), [8, 4, 2]);
    });
    read_step("layer_norm_f32", [0, 0], 14, |norm| {
        assert_eq!((norm.varints(), norm.varint()), ([128, 128, 256, 128], 8));
        let [gamma, beta] = [norm.varints::<2>(), norm.varints::<2>()];
        assert_eq!((gamma[1], beta, norm.f32()), (32, [gamma[0] + 32, 32], 0.0625));
    });
}

#[test]
fn the_page_is_enough_to_read_operations_of_int16() {
    read_step("cast_to_i16", [0, 0], 10, |step| {
        assert_eq!((step.byte(), step.varints(), step.byte()), (1, [0, 256, 128], 0));
        assert_eq!((step.varints(), step.byte(), step.byte()), ([32, 8, 2, 1], 0, 0));
        assert_eq!((step.varints(), step.byte(), step.f32()), ([128, 64], 2, 64.0));
        assert_eq!((step.zigzag(), step.zigzag()), (-32767, 32767));
        assert_eq!((step.varints(), step.varints::<2>()[1]), ([1, 4, 4, 2], 8));
    });
    read_step("cast_from_i16", [0, 0], 10, |step| {
        assert_eq!((step.byte(), step.varints(), step.byte()), (1, [0, 128, 64], 2));
        assert_eq!((step.f32(), step.varints(), step.byte(), step.byte()), (0.015625, [32, 8, 2, 1], 0, 0));
        assert_eq!((step.varints(), step.byte(), step.varints()), ([256, 128], 0, [1, 4, 4, 2]));
        assert_eq!(step.varints::<2>()[1], 8);
    });
    read_step("conv_i16", [0, 0], 22, |conv| {
        assert_eq!((conv.varints(), conv.varints()), ([128, 64], [256, 24]));
        assert_eq!((conv.varints(), conv.varints()), ([1, 4, 4, 2], [1, 2, 2, 3]));
        assert_eq!((conv.varints(), conv.varint()), ([3, 3, 2, 2, 1, 1, 1, 1], 1));
        assert_eq!(conv.byte(), 1);
        let [weights, multiplier, bias] = std::array::from_fn(|_| conv.varints::<2>());
        assert_eq!((weights[1], multiplier, bias[1]), (3 * 3 * 16 * 2, [weights[0] + 288, 12], 12));
        assert_eq!((conv.byte(), conv.varints(), conv.f32()), (1, [320, 24], 0.5));
        assert_eq!((conv.byte(), conv.f32(), conv.zigzag(), conv.zigzag()), (2, 4.0, 0, 8191));
    });
    read_step("depthwise_i16", [0, 0], 22, |conv| {
        assert_eq!((conv.varints(), conv.varints()), ([128, 64], [256, 128]));
        assert_eq!((conv.varints(), conv.varints()), ([1, 4, 4, 2], [1, 4, 4, 2]));
        assert_eq!((conv.varints(), conv.varint()), ([3, 3, 1, 1, 1, 1, 1, 1], 2));
        assert_eq!(conv.byte(), 2);
        let [weights, multiplier, bias] = std::array::from_fn(|_| conv.varints::<2>());
        assert_eq!((weights[1], multiplier, bias[1]), (36, [weights[0] + 36, 8], 8));
        assert_eq!((conv.byte(), conv.byte()), (0, 0));
    });
    read_step("average_i16", [0, 0], 23, |pool| {
        assert_eq!((pool.varint(), pool.byte()), (3, 0));
        assert_eq!((pool.varints(), pool.varints()), ([128, 64], [320, 16]));
        assert_eq!((pool.varints(), pool.varints()), ([1, 4, 4, 2], [1, 2, 2, 2]));
        assert_eq!((pool.varints(), pool.varints()), ([3, 3, 2, 2, 1, 1], [1, 1, 0, 0]));
        assert_eq!((pool.f32(), pool.zigzag(), pool.zigzag()), (1.5, -32767, 32767));
    });
}

#[test]
fn the_page_is_enough_to_read_operations_on_integers() {
    read_step("to_f32", [0, 0], 15, |convert| {
        assert_eq!((convert.varints(), convert.varint()), ([128, 32], 3));
        assert_eq!((convert.varints(), convert.varint()), ([160, 16], 1));
    });
    read_step("to_bool", [0, 0], 15, |convert| {
        assert_eq!((convert.varints(), convert.varint()), ([128, 32], 1));
        assert_eq!((convert.varints(), convert.varint()), ([160, 8], 4));
    });
    read_step("gather", [0, 0], 16, |gather| {
        assert_eq!((gather.varint(), gather.varints()), (0, [128, 24]));
        assert_eq!((gather.varints(), gather.varints()), ([160, 8], [192, 16]));
        assert_eq!(gather.varints(), [2, 3, 4]);
    });
    read_step("embed", [0, 0], 16, |gather| {
        // A constant.
        assert_eq!((gather.varint(), gather.varints::<2>()[1]), (1, 30));
        assert_eq!((gather.varints(), gather.varints()), ([160, 8], [192, 10]));
        assert_eq!(gather.varints(), [1, 6, 5]);
    });
    read_step("scatter", [0, 0], 17, |scatter| {
        assert_eq!((scatter.varints(), scatter.varints()), ([128, 24], [160, 8]));
        assert_eq!((scatter.varints(), scatter.varints()), ([168, 8], [192, 24]));
        assert_eq!(scatter.varints(), [6, 4]);
    });
    read_step("top_k", [0, 0], 18, |top_k| {
        assert_eq!((top_k.varints(), top_k.varint(), top_k.varints()), ([128, 30], 0, [192, 48]));
        assert_eq!((top_k.varints(), top_k.varint()), ([2, 5, 3], 2));
        assert_eq!([top_k.byte(), top_k.byte()], [1, 0]);
    });
    read_step("suppression", [1024, 64], 25, |op| {
        assert_eq!((op.varints(), op.varints(), op.varints()), ([128, 96], [224, 72], [320, 144]));
        assert_eq!((op.varints(), op.varint()), ([2, 3, 3], 2));
        assert_eq!((op.f32(), op.f32(), op.byte()), (0.5, 0.25, 1));
    });
}

#[test]
fn the_page_is_enough_to_read_the_other_schemes() {
    read_step("conv_f16", [320, 128], 11, |conv| {
        assert_eq!((conv.varints(), conv.varints()), ([128, 128], [256, 48]));
        assert_eq!((conv.varints(), conv.varints()), ([1, 4, 4, 2], [1, 2, 2, 3]));
        assert_eq!((conv.varints(), conv.varint()), ([1, 1, 2, 2, 1, 1, 0, 0], 1));
        let [weights, format, bias] = [conv.varints::<2>(), [conv.varint(), 0], conv.varints::<2>()];
        assert_eq!((weights[1], format, bias), (64, [1, 0], [weights[0] + 64, 12]));
        assert_eq!((conv.f32(), conv.f32()), (0.0, f32::INFINITY));
    });
    read_step("depthwise_i8", [384, 72], 11, |conv| {
        assert_eq!((conv.varints(), conv.varints()), ([128, 128], [256, 128]));
        assert_eq!((conv.varints(), conv.varints()), ([1, 4, 4, 2], [1, 4, 4, 2]));
        assert_eq!((conv.varints(), conv.varint()), ([3, 3, 1, 1, 1, 1, 1, 1], 2));
        assert_eq!((conv.varints::<2>()[1], conv.varint()), (18, 2));
        assert_eq!((conv.varints::<2>()[1], conv.varints::<2>()[1]), (8, 8));
        assert_eq!((conv.f32(), conv.f32()), (f32::NEG_INFINITY, 6.0));
    });
    read_step("quantize_rows", [0, 0], 19, |rows| {
        assert_eq!((rows.varints(), rows.varints()), ([128, 128, 0, 32], [256, 16]));
        assert_eq!((rows.varint(), rows.i8()), (8, -128));
    });
    read_step("rescale_rows", [0, 0], 24, |rows| {
        assert_eq!((rows.varints(), rows.varints()), ([128, 96], [256, 16]));
        assert_eq!((rows.varints::<2>()[1], rows.f32(), rows.f32()), (12, 0.0, 6.0));
    });
    read_step("gru_f32", [960, 64], 20, |gru| {
        assert_eq!((gru.varint(), gru.varints(), gru.varints()), (1, [768, 96], [896, 32]));
        assert_eq!((gru.varints(), gru.varints(), gru.byte()), ([928, 16], [2, 2, 2], 1));
        assert_eq!((gru.varints::<2>()[1], gru.varint(), gru.varint()), (128, 0, 0));
        let [bias, hidden, state] = std::array::from_fn(|_| gru.varints::<2>());
        assert_eq!((bias[1], hidden[1], state[1]), (24, 16, 16));
    });
    read_step("lstm_dynamic", [960, 192], 20, |lstm| {
        assert_eq!((lstm.varint(), lstm.varints(), lstm.varints()), (0, [768, 128], [896, 32]));
        assert_eq!((lstm.varints(), lstm.varints(), lstm.byte()), ([928, 8], [4, 1, 2], 0));
        assert_eq!((lstm.varints::<2>()[1], lstm.varint()), (16, 1));
        let [sums, multiplier, bias] = std::array::from_fn(|_| lstm.varints::<2>());
        assert_eq!((sums[1], multiplier[1], bias[1]), (32, 32, 32));
        assert_eq!((lstm.varints::<2>()[1], lstm.varints::<2>()[1]), (8, 8));
    });
}

/// The bytes of format 5: a change here is a change of the format, and wants a new version of it.
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
