//! Cases for the rows that use Winograd's method, and its plain reference as a row of its own.

use super::*;

/// The matrices as they are written down.
static REFERENCE: Row = Row {
    name: "conv_s8s8s32_winograd_reference",
    isa: IsaSet::SCALAR,
    depthwise: false,
    winograd: Some(&crate::conv::winograd::NARROW),
    layout: Some(&crate::conv::pack::NR8_KR2),
    scratch: None,
    tile_pixels: 16,
    run: Some(crate::conv::winograd::reference),
};

#[test]
fn reference_of_winograd_over_all_cases_equals_the_reference() {
    let bound = BoundRow::new(&REFERENCE, IsaToken::scalar()).unwrap();
    for (index, case) in super::cases(&REFERENCE).iter().enumerate() {
        check(&bound, case, Place::Offset(index % 4), index as u64);
    }
}

#[test]
fn scratch_of_parts_is_no_more_than_that_of_the_whole() {
    for lines in 1..60 {
        let whole = same((lines + 1, 23), (64, 8));
        let part = ConvShape { in_h: lines, out_h: lines, ..whole };
        for row in rows().chain([&REFERENCE]).filter(|row| row.winograd.is_some()) {
            assert!(row.scratch_bytes(&part) <= row.scratch_bytes(&whole), "{}: {lines}", row.name);
        }
    }
}

/// Where the products are the processor's cheapest, and the shape has enough of them.
#[test]
fn select_of_winograd_over_shapes_and_processors_gives_these_rows() {
    let neon = IsaSet::NEON;
    for shape in [
        same((56, 56), (64, 64)),
        same((7, 7), (512, 512)),
        same((32, 32), (16, 16)),
        same((13, 13), (24, 20)),
        same((8, 8), (8, 8)),
    ] {
        assert_eq!(select(&shape, neon).name, "conv_s8s8s32_winograd_neon", "{shape:?}");
        for other in [IsaSet::DOTPROD, IsaSet::I8MM, IsaSet::AVX2, IsaSet::SCALAR] {
            assert!(select(&shape, other).winograd.is_none(), "{other}");
        }
    }
    let whole = same((8, 8), (32, 32));
    for shape in [
        same((8, 8), (20, 32)),
        same((8, 8), (32, 4)),
        same((1, 1), (64, 64)),
        same((4, 4), (64, 64)),
        same((1, 50), (64, 64)),
        same((5, 21), (16, 8)),
        ConvShape { groups: 2, ..whole },
        ConvShape { stride_h: 2, out_h: 4, ..whole },
        ConvShape { dilation_w: 2, out_w: 6, ..whole },
        ConvShape { kernel_w: 1, ..whole },
    ] {
        assert_eq!(select(&shape, neon).name, "conv_s8s8s32_4x16_neon", "{shape:?}");
    }
}

/// On AVX512-VNNI it takes more tiles, since the dot product is as fast for half of the products.
#[test]
fn select_of_winograd_on_avx512vnni_gives_these_rows() {
    let vnni = IsaSet::AVX512_VNNI;
    for shape in [same((56, 56), (64, 64)), same((28, 28), (128, 128)), same((112, 112), (64, 32))] {
        assert_eq!(select(&shape, vnni).name, "conv_s8s8s32_winograd_avx512vnni", "{shape:?}");
    }
    let whole = same((56, 56), (64, 64));
    for shape in [
        same((14, 14), (256, 256)),
        same((7, 7), (512, 512)),
        same((56, 56), (32, 64)),
        same((56, 56), (96, 64)),
        same((56, 56), (64, 40)),
        same((1, 500), (64, 64)),
        ConvShape { groups: 2, ..whole },
        ConvShape { stride_h: 2, out_h: 28, ..whole },
    ] {
        assert_eq!(select(&shape, vnni).name, "conv_s8s8s32_12x64_avx512vnni", "{shape:?}");
    }
}

/// Padded to outputs as large as the inputs.
fn same(input: (usize, usize), channels: (usize, usize)) -> ConvShape {
    WINDOWS[2].shape(1, input, channels, 1)
}

/// For the rows of wide registers, each shape has as many input channels as these take, or several times so many.
fn widened(row: &Row, shape: ConvShape) -> ConvShape {
    let computes = |shape: &ConvShape| row.winograd.is_some_and(|method| (method.is_possible)(shape));
    if computes(&shape) {
        shape
    } else {
        ConvShape { in_channels: shape.in_channels.next_multiple_of(64), ..shape }
    }
}

pub fn cases(row: &Row) -> Vec<Case> {
    let mut shapes = Vec::new();
    // Outputs of every height and width about whole tiles, tiles in groups of every size.
    for input in [
        (3, 3),
        (3, 4),
        (4, 3),
        (4, 4),
        (5, 7),
        (7, 7),
        (7, 12),
        (8, 8),
        (4, 9),
        (9, 10),
        (11, 11),
        (13, 14),
        (4, 26),
        (4, 37),
        (4, 43),
        (4, 46),
        (12, 33),
        (3, 70),
    ] {
        for channels in [(16, 8), (24, 12), (8, 21)] {
            shapes.push(same(input, channels));
        }
    }
    for (in_channels, out_channels) in [(16, 16), (32, 9), (40, 31), (64, 64), (64, 37), (72, 10), (120, 24)]
    {
        shapes.push(same((7, 8), (in_channels, out_channels)));
    }
    // No padding, padding on one side, and more than the kernel has.
    for window in [3, 6] {
        for input in [(6, 6), (7, 9), (10, 13), (21, 6)] {
            shapes.push(WINDOWS[window].shape(2, input, (16, 12), 1));
        }
    }
    let wide = Window { after: (5, 6), ..window((3, 3), 1, (7, 4)) };
    shapes.push(wide.shape(1, (2, 1), (24, 8), 1));
    // Several blocks of input channels, and several strips.
    for channels in [(128, 16), (136, 9), (200, 8), (256, 16), (520, 8)] {
        shapes.push(same((5, 6), channels));
    }
    shapes.push(same((30, 62), (32, 8)));
    shapes.push(same((26, 9), (136, 8)));
    shapes.push(same((3, 230), (16, 8)));
    let shapes: Vec<_> = shapes.into_iter().map(|shape| widened(row, shape)).collect();
    let mut cases = deal(&shapes);
    cases.extend(every_combination(widened(row, same((5, 7), (16, 12)))));
    // The largest sums of a block of channels, and of all.
    cases.extend(every_combination(same((4, 4), (128, 8))));
    cases.extend(every_combination(widened(row, same((3, 4), (264, 8)))));
    cases
}

pub fn edge_shapes(row: &Row) -> Vec<ConvShape> {
    let mut shapes = Vec::new();
    for out_channels in [8, 11, 20] {
        for input in [(4, 4), (7, 7), (4, 22)] {
            shapes.push(same(input, (16, out_channels)));
            shapes.push(WINDOWS[3].shape(1, (6, 10), (24, out_channels), 1));
        }
    }
    shapes.push(same((4, 4), (136, 8)));
    shapes.into_iter().map(|shape| widened(row, shape)).collect()
}
