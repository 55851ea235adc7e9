//! A build without the feature `tract` refuses packages with islands when it loads them.
#![cfg(not(feature = "tract"))]

use edgepack_engine::format::SectionKind;
use edgepack_engine::format::plan::{Dims, ElemType, Head, Island, IslandTensor, MAX_RANK, Op, Span, Step};
use edgepack_engine::format::writer::{PackageWriter, encode_island, encode_plan};
use edgepack_engine::{Error, Model};

#[test]
fn islands_are_refused_at_load_with_what_to_build() {
    let none = Span { offset: 0, bytes: 0 };
    let island = Island { section: 0, input: none, output: Span { offset: 0, bytes: 4 }, macs: 0 };
    let step = Step { name: "the node", scratch: none, op: Op::Island(island) };
    let head = Head { arena_bytes: 64, inputs: 0, outputs: 0, steps: 0, macs: 0 };
    let tensor = IslandTensor { dtype: ElemType::F32, dims: Dims { rank: 0, sizes: [1; MAX_RANK] } };
    let package = PackageWriter::new()
        .section(SectionKind::Plan, "", encode_plan(head, &[], &[], &[step]))
        .section(SectionKind::Weights, "", Vec::new())
        .section(SectionKind::Island, "", encode_island(&[], &[tensor], b""))
        .finish();
    let error = Model::from_bytes(&package).unwrap_err();
    assert!(matches!(error, Error::NoIslands { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("`the node`") && message.contains("--features tract"), "{message}");
}
