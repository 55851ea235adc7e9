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

use onnx_node::{NodeTest, Outcome, Precision, folder, tests};

/// At least so many pass in int8; raised when more do.
const LEAST_PASSED: usize = 743;
/// In f32.
const LEAST_PASSED_F32: usize = 758;

/// In int16, where int8 has steps too, within the same bounds.
const LEAST_PASSED_INT16: usize = 743;

/// In int8, with islands for what has no steps of edgepack's own. tract alone passes 727.
const LEAST_PASSED_WITH_ISLANDS: usize = 853;

/// Tests that expect what the operator's definition does not say: the last value of -236 saturates to -128,
/// but is expected to wrap around to 20.
const MISTAKEN: [&str; 2] = ["test_qlinearmatmul_2D_int8_float16", "test_qlinearmatmul_2D_int8_float32"];

/// Those of [`Outcome::column`], and what tract passes.
const COLUMNS: usize = 7;

#[test]
fn operators_give_what_onnx_expects_or_are_refused() {
    run("int8", |test| test.run(Precision::Int8), LEAST_PASSED);
}

#[test]
fn operators_in_f32_give_what_onnx_expects_within_its_own_bounds_or_are_refused() {
    run("f32", |test| test.run(Precision::F32), LEAST_PASSED_F32);
}

#[test]
fn operators_in_int16_give_what_onnx_expects_or_are_refused() {
    run("int16", |test| test.run(Precision::Int16), LEAST_PASSED_INT16);
}

#[test]
fn operators_with_islands_give_what_onnx_expects_or_are_refused() {
    run("int8 and islands", NodeTest::run_with_islands, LEAST_PASSED_WITH_ISLANDS);
}

fn run(how: &str, test_of: impl Fn(&NodeTest) -> Outcome, least_passed: usize) {
    println!("{how}");
    let Some(folder) = folder() else {
        println!("SKIPPED: no ONNX node tests; `pip install onnx`, or set EDGEPACK_ONNX_NODE_TESTS");
        return;
    };
    let show = std::env::var("EDGEPACK_ONNX_NODE_TESTS_SHOW").ok();
    let mut table: BTreeMap<String, [usize; COLUMNS]> = BTreeMap::new();
    let (mut failures, mut total, mut of_f32) = (Vec::new(), [0; COLUMNS], [0; COLUMNS]);
    // A panic is an outcome here, and its place is in the outcome's text.
    std::panic::set_hook(Box::new(|_| {}));
    for test in tests(&folder).filter(|test| !MISTAKEN.contains(&test.name.as_str())) {
        let outcome = test_of(&test);
        let of_operation = table.entry(test.operation.clone()).or_default();
        let in_tract = test.passes_in_tract();
        for row in [of_operation, &mut total].into_iter().chain(test.is_f32().then_some(&mut of_f32)) {
            row[outcome.column()] += 1;
            row[COLUMNS - 1] += usize::from(in_tract);
        }
        let also = if in_tract { "tract passes" } else { "tract does not pass" };
        let line = format!("{} ({}): {outcome} [{also}]", test.name, test.operation);
        if show.as_ref().is_some_and(|text| line.contains(text.as_str())) {
            println!("{line}");
        }
        if matches!(outcome, Outcome::Wrong(_) | Outcome::Panicked(_) | Outcome::Unclear(_)) {
            failures.push(line);
        }
    }
    let _ = std::panic::take_hook();
    let line = |name: &str, row: &[usize; COLUMNS]| {
        let counts: String = row.iter().map(|count| format!("{count:>9}")).collect();
        println!("{name:<28}{counts}");
    };
    let heads = ["passed", "8 bits", "refused", "unclear", "wrong", "panics", "tract"];
    println!("{:<28}{}", "operation", heads.map(|head| format!("{head:>9}")).concat());
    table.iter().for_each(|(operation, row)| line(operation, row));
    line("of f32 only", &of_f32);
    line("all", &total);
    assert!(failures.is_empty(), "{} tests:\n{}", failures.len(), failures.join("\n"));
    assert!(total[0] >= least_passed, "{} tests passed, {least_passed} have before", total[0]);
}
