//! ONNX's own tests of every operator (`onnx/backend/test/data/node` of the Python package `onnx`), which
//! nobody here wrote: each is packaged, run, and compared with the outputs that ONNX expects.
//!
//! The folder is `EDGEPACK_ONNX_NODE_TESTS`, or that of the `onnx` package that `python3` finds. Without
//! either nothing is tested, and the test says so. `EDGEPACK_ONNX_NODE_TESTS_SHOW` prints every test whose
//! name, operation or outcome holds that text.

#[allow(dead_code)] // It uses a part of it.
mod common;
#[path = "common/onnx_node.rs"]
mod onnx_node;

use std::collections::BTreeMap;

use onnx_node::{Outcome, Precision, folder, tests};

/// At least so many pass in int8; raised when more do.
const LEAST_PASSED: usize = 552;
/// In f32.
const LEAST_PASSED_F32: usize = 555;

/// Tests that expect what the operator's definition does not say: the last value of -236 saturates to -128,
/// but is expected to wrap around to 20.
const MISTAKEN: [&str; 2] = ["test_qlinearmatmul_2D_int8_float16", "test_qlinearmatmul_2D_int8_float32"];

#[test]
fn operators_give_what_onnx_expects_or_are_refused() {
    run(Precision::Int8, LEAST_PASSED);
}

#[test]
fn operators_in_f32_give_what_onnx_expects_within_its_own_bounds_or_are_refused() {
    run(Precision::F32, LEAST_PASSED_F32);
}

fn run(precision: Precision, least_passed: usize) {
    let Some(folder) = folder() else {
        println!("SKIPPED: no ONNX node tests; `pip install onnx`, or set EDGEPACK_ONNX_NODE_TESTS");
        return;
    };
    let show = std::env::var("EDGEPACK_ONNX_NODE_TESTS_SHOW").ok();
    let mut table: BTreeMap<String, [usize; 6]> = BTreeMap::new();
    let mut failures = Vec::new();
    // A panic is an outcome here, and its place is in the outcome's text.
    std::panic::set_hook(Box::new(|_| {}));
    for test in tests(&folder).filter(|test| !MISTAKEN.contains(&test.name.as_str())) {
        let outcome = test.run(precision);
        let row = table.entry(test.operation.clone()).or_default();
        row[outcome.column()] += 1;
        let line = format!("{} ({}): {outcome}", test.name, test.operation);
        if show.as_ref().is_some_and(|text| line.contains(text.as_str())) {
            println!("{line}");
        }
        if matches!(outcome, Outcome::Wrong(_) | Outcome::Panicked(_) | Outcome::Unclear(_)) {
            failures.push(line);
        }
    }
    let _ = std::panic::take_hook();
    let mut total = [0; 6];
    println!(
        "{:<28}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}",
        "operation", "passed", "8 bits", "refused", "unclear", "wrong", "panics"
    );
    for (operation, row) in table {
        let [a, b, c, d, e, f] = row;
        println!("{operation:<28}{a:>8}{b:>8}{c:>8}{d:>8}{e:>8}{f:>8}");
        total.iter_mut().zip(row).for_each(|(total, count)| *total += count);
    }
    let [a, b, c, d, e, f] = total;
    println!("{:<28}{a:>8}{b:>8}{c:>8}{d:>8}{e:>8}{f:>8}", "all");
    assert!(failures.is_empty(), "{} tests:\n{}", failures.len(), failures.join("\n"));
    assert!(total[0] >= least_passed, "{} tests passed, {least_passed} have before", total[0]);
}
