use edgepack_format::plan::{self, Span};

use super::*;
use crate::lower::{Buffer, LoweredInput, LoweredOutput, LoweredStep};

/// A chain of lookups over buffers of these sizes; `reads[i]` is the buffer that step `i` reads to
/// make buffer `i + 1`.
pub(crate) fn chain(bytes: &[u32], reads: &[u32]) -> Lowered {
    let span = |buffer: u32| Span { offset: buffer, bytes: bytes[buffer as usize] };
    let table = Span { offset: 0, bytes: 256 };
    let steps = reads.iter().enumerate().map(|(i, &read)| LoweredStep {
        name: format!("step{i}"),
        scratch: Span { offset: 0, bytes: 0 },
        op: Op::Lookup(plan::Lookup { input: span(read), output: span(i as u32 + 1), table, to_f32: false }),
    });
    let dims = plan::Dims { rank: 1, sizes: [1; plan::MAX_RANK] };
    let quant = plan::Quant { scale: 1.0, zero_point: 0 };
    let (arena_dims, strides) = ([1; 4], [1; 4]);
    let dtype = plan::ElemType::I8;
    let (limits, pixels) = (None, None);
    let input =
        plan::Input { name: "", dims, buffer: span(0), dtype, quant, limits, arena_dims, strides, pixels };
    let last = span(bytes.len() as u32 - 1);
    let dtype = plan::ElemType::I8;
    let output = plan::Output { name: "", dims, buffer: last, dtype, quant: None, exact: true };
    Lowered {
        buffers: bytes.iter().map(|&bytes| Buffer { bytes, part_of: None }).collect(),
        steps: steps.collect(),
        inputs: vec![LoweredInput { name: "x".into(), from_image: None, input }],
        outputs: vec![LoweredOutput { name: "y".into(), output }],
        ..Lowered::default()
    }
}

#[test]
fn a_chain_of_equal_tensors_works_in_one_place() {
    let lowered = chain(&[100, 100, 100, 100], &[0, 1, 2]);
    let plan = plan(&lowered).unwrap();
    assert_eq!(plan.arena_bytes, 128);
    check::check(&lowered, &plan).unwrap();
}

#[test]
fn a_tensor_that_is_read_later_is_not_overwritten() {
    let lowered = chain(&[100, 100, 100, 100], &[0, 0, 1]);
    let plan = plan(&lowered).unwrap();
    check::check(&lowered, &plan).unwrap();
    assert!(plan.arena_bytes >= 256);
}

#[test]
fn every_random_graph_gets_a_plan_that_holds() {
    let mut state = 1_u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    for _ in 0..300 {
        let steps = 1 + next(20) as usize;
        let bytes: Vec<u32> = (0..=steps).map(|_| 64 * (1 + next(9) as u32)).collect();
        let reads: Vec<u32> = (0..steps).map(|i| next(i as u64 + 1) as u32).collect();
        let lowered = chain(&bytes, &reads);
        let plan = plan(&lowered).unwrap();
        check::check(&lowered, &plan).unwrap();
    }
}

#[test]
fn the_check_finds_every_overlap_that_matters() {
    let lowered = chain(&[640, 640, 640, 640], &[0, 0, 1]);
    let good = plan(&lowered).unwrap();
    let mut found = 0;
    for buffer in 0..4 {
        for offset in (0..good.arena_bytes).step_by(64) {
            let mut bad = good.clone();
            bad.offsets[buffer] = offset;
            found += check::check(&lowered, &bad).is_err() as u32;
        }
    }
    // Every move of a buffer onto one that is still needed, or beyond the end.
    assert!(found > 40, "{found}");
    let mut beyond = good.clone();
    beyond.arena_bytes -= 64;
    assert!(check::check(&lowered, &beyond).is_err());
}
