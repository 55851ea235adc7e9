//! A bench under QEMU gives instructions, and never a time as a result.
//!
//! Needs QEMU and the agent, as same_bits.rs does; without them it says that it was skipped.

use std::path::Path;

use edgepack_harness::device::Remote;
use edgepack_harness::{BenchOptions, BenchReport};
use edgepack_targets::Board;
use edgepack_tests::{digits, root, skip};

const BOARDS: [&str; 2] = ["rpi4", "rpi2"];

fn report(board: &str, package: &Path) -> Option<BenchReport> {
    let board = Board::find(board).unwrap();
    let agent = std::env::var_os(board.agent_variable())
        .map_or_else(|| root().join(board.agent_path()), std::path::PathBuf::from);
    let name = format!("qemu:{}", board.name);
    let opened = match agent.is_file() {
        true => Remote::emulated(board, package, 1, agent.clone()).map_err(|error| error.to_string()),
        false => Err(format!("there is no agent at {}", agent.display())),
    };
    match opened {
        Ok(mut device) => {
            // Options that would give times on another device.
            let options = BenchOptions { profile: true, samples: true, ..BenchOptions::default() };
            Some(edgepack_harness::bench_on(&mut device, package, &options, &mut ()).unwrap())
        }
        Err(why) => {
            assert!(std::env::var_os("EDGEPACK_EXPECT_BOARDS").is_none(), "{name} was expected: {why}");
            skip(&format!("bench on {name}"), &why);
            None
        }
    }
}

/// Every number of the document whose name has a unit of time in it.
fn times(value: &serde_json::Value, name: &str, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| times(value, name, found))
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| times(value, name, found)),
        serde_json::Value::Number(_) => {
            let units = ["_us", "_ms", "_ns", "_s", "seconds", "nanoseconds"];
            found.extend(units.iter().any(|unit| name.ends_with(unit)).then(|| name.to_string()));
        }
        _ => {}
    }
}

#[test]
fn emulated_boards_give_instructions_and_no_time() {
    let folder = tempfile::tempdir().unwrap();
    let package = digits().pack(folder.path()).package;
    for board in BOARDS {
        let Some(report) = report(board, &package) else { continue };
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["emulated"], true);
        let mut found = Vec::new();
        times(&json, "", &mut found);
        assert!(found.is_empty(), "{board}: {found:?}");
        // 0.71 million multiply-adds: the kernels take no more than an instruction each, nor less than 1 in 20.
        match report.bench.instructions_per_run {
            Some(count) => assert!((35_000..1_400_000).contains(&count), "{board}: {count}"),
            None => {
                assert!(std::env::var_os("EDGEPACK_EXPECT_BOARDS").is_none(), "{:?}", report.bench.notes);
                skip(&format!("instructions on {board}"), &report.bench.notes.join("; "));
            }
        }
    }
}

#[test]
fn times_are_found_where_they_are() {
    let mut found = Vec::new();
    let json = serde_json::json!({"p50_us": 1.5, "load_ms": null, "runs": 3, "windows": [{"end_s": 1.0}]});
    times(&json, "", &mut found);
    assert_eq!(found, ["p50_us", "end_s"]);
}
