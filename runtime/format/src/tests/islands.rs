//! Islands: what a section says, and steps and sections that lie.

use std::vec::Vec;

use super::parts::{span, with_aligned};
use crate::plan::*;
use crate::writer::{PackageWriter, encode_island, encode_plan};
use crate::{Error, Island, Package, Place, SectionKind};

fn tensor(dtype: ElemType, sizes: &[u32]) -> IslandTensor {
    let mut dims = Dims { rank: sizes.len() as u8, sizes: [1; MAX_RANK] };
    dims.sizes[..sizes.len()].copy_from_slice(sizes);
    IslandTensor { dtype, dims }
}

/// Reads 3 int64 and 5 f32, gives 2 bool.
fn section() -> Vec<u8> {
    let inputs = [tensor(ElemType::I64, &[3]), tensor(ElemType::F32, &[5, 1])];
    encode_island(&inputs, &[tensor(ElemType::Bool, &[2])], b"graph")
}

fn package(section: Vec<u8>, island: crate::plan::Island) -> Vec<u8> {
    let head = Head { arena_bytes: 256, ..Head::EMPTY };
    let step = Step { name: "island", scratch: span(0, 0), op: Op::Island(island) };
    PackageWriter::new()
        .section(SectionKind::Plan, "", encode_plan(head, &[], &[], &[step]))
        .section(SectionKind::Weights, "", Vec::new())
        .section(SectionKind::Island, "", section)
        .finish()
}

const ISLAND: crate::plan::Island =
    crate::plan::Island { section: 0, input: span(0, 84), output: span(128, 2), macs: 7 };

fn verdict(section: Vec<u8>, island: crate::plan::Island) -> Result<(), Error> {
    with_aligned(&package(section, island), |bytes| Package::parse(bytes).map(|_| ()))
}

#[test]
fn a_section_says_what_lies_where() {
    with_aligned(&package(section(), ISLAND), |bytes| {
        let package = Package::parse(bytes).unwrap();
        let island = package.island(0).unwrap();
        let inputs: Vec<_> = island.inputs().map(|(tensor, span)| (tensor.dtype, span)).collect();
        assert_eq!(inputs, [(ElemType::I64, span(0, 24)), (ElemType::F32, span(64, 20))]);
        let outputs: Vec<_> = island.outputs().collect();
        assert_eq!(outputs, [(tensor(ElemType::Bool, &[2]), span(0, 2))]);
        assert_eq!((island.input_bytes(), island.output_bytes(), island.graph), (84, 2, &b"graph"[..]));
        assert!(package.island(1).is_none());
    });
}

#[test]
fn steps_that_lie_are_refused() {
    type Edit = fn(&mut crate::plan::Island);
    let lies: [(&str, Edit); 6] = [
        ("section", |island| island.section = 1),
        ("input", |island| island.input.bytes = 83),
        ("input", |island| island.input.offset = 173),
        ("output", |island| island.output.bytes = 3),
        ("output", |island| island.output.offset = 255),
        ("output, which overlaps the input", |island| island.output.offset = 83),
    ];
    for (field, edit) in lies {
        let mut island = ISLAND;
        edit(&mut island);
        let expected = Error::Malformed { place: Place::Step(0), field };
        assert_eq!(verdict(section(), island), Err(expected), "{island:?}");
    }
    assert_eq!(verdict(section(), ISLAND), Ok(()));
}

#[test]
fn sections_that_lie_are_refused() {
    let of = |inputs: &[IslandTensor], outputs: &[IslandTensor]| encode_island(inputs, outputs, b"");
    let output = [tensor(ElemType::Bool, &[2])];
    let mut rank = tensor(ElemType::F32, &[2]);
    rank.dims.rank = 7;
    let mut unused = tensor(ElemType::F32, &[2]);
    unused.dims.sizes[3] = 2;
    let large = tensor(ElemType::F64, &[1 << 28]);
    for (name, section) in [
        ("nothing", Vec::new()),
        ("no outputs", of(&output, &[])),
        ("a size of 0", of(&[tensor(ElemType::F32, &[0])], &output)),
        ("rank 7", of(&[rank], &output)),
        ("unused sizes", of(&[unused], &output)),
        ("a tensor beyond 31 bits", of(&[large], &output)),
        ("tensors that are together", of(&[tensor(ElemType::F32, &[1 << 28]); 2], &output)),
    ] {
        assert!(Island::parse(&section).is_none(), "{name}");
        let expected = Error::Malformed { place: Place::Step(0), field: "section" };
        assert_eq!(verdict(section, ISLAND), Err(expected), "{name}");
    }
    let whole = section();
    let tensors = whole.len() - b"graph".len();
    for length in 0..tensors {
        assert!(Island::parse(&whole[..length]).is_none(), "{length}");
    }
    // More tensors than there are bytes for are not counted one by one.
    assert!(Island::parse(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 1]).is_none());
}
