//! The promise: one package, the same bytes on every instruction set and any number of threads.
//!
//! On this machine every set that it has is tried, lowered one by one. Boards are emulated by QEMU
//! where it and the agent's binary are there (`EDGEPACK_AGENT_AARCH64`, `EDGEPACK_AGENT_ARMV7`, or
//! where cargo puts it); `EDGEPACK_EXPECT_BOARDS=1` makes their absence a failure.
//! `EDGEPACK_SAMPLES` is the number of samples.

use std::path::Path;

use edgepack_engine::isa;
use edgepack_engine::kernels::isa::IsaSet;
use edgepack_harness::Sample;
use edgepack_harness::device::{Device, Local, Remote};
use edgepack_packager::graph::Precision;
use edgepack_packager::precision::PrecisionOptions;
use edgepack_targets::Board;
use edgepack_tests::{Case, digits, others, root, skip, synthetic};

/// A Cortex-A53 (NEON), A76 (dot product), everything of ARMv8.6 (i8mm), and a Cortex-A7 (ARMv7).
const BOARDS: [&str; 4] = ["rpi3", "rpi5", "armv8-i8mm", "rpi2"];

/// The outputs' bytes of each sample.
type Bytes = Vec<Vec<Vec<u8>>>;

fn bytes(device: &mut dyn Device, samples: &[Sample]) -> Bytes {
    let outcomes = device.run(samples).unwrap_or_else(|error| panic!("{error}"));
    outcomes.into_iter().map(|outcome| outcome.bytes).collect()
}

/// Numbers of threads, whether or not there are processors for them.
const THREADS: [usize; 3] = [1, 2, 3];

fn local(package: &Path, isa: IsaSet) -> Local {
    on_threads(package, isa, 1)
}

fn on_threads(package: &Path, isa: IsaSet, threads: usize) -> Local {
    Local::open(package, threads, Some(isa)).unwrap_or_else(|error| panic!("{error}"))
}

/// The sets of this machine, from the least to the greatest.
fn sets() -> Vec<IsaSet> {
    let all = isa::processor().set();
    let named = IsaSet::names().filter_map(|name| IsaSet::parse(name).ok());
    named.filter(|&set| all.contains(set)).collect()
}

/// The agent on an emulated board; `None` where there is no QEMU or agent.
fn board(name: &str, package: &Path, threads: usize) -> Option<Remote> {
    let board = Board::find(name).unwrap();
    let agent = std::env::var_os(board.agent_variable())
        .map_or_else(|| root().join(board.agent_path()), std::path::PathBuf::from);
    if !agent.is_file() {
        skip(&format!("qemu:{name}"), &format!("there is no agent at {}", agent.display()));
        return None;
    }
    match Remote::emulated(board, package, threads, agent) {
        Ok(device) => Some(device),
        Err(error) if error.to_string().contains("not installed") => {
            skip(&format!("qemu:{name}"), &error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn check(case: &Case, samples: usize) {
    check_in(case, samples, PrecisionOptions::default());
}

fn check_in(case: &Case, samples: usize, precision: PrecisionOptions) {
    if !case.is_there() {
        return;
    }
    let samples =
        std::env::var("EDGEPACK_SAMPLES").ok().and_then(|text| text.parse().ok()).unwrap_or(samples);
    let folder = tempfile::tempdir().unwrap();
    let package = case.pack_in(folder.path(), precision).package;
    let data = case.data(&package, Some(samples));
    let samples: Vec<Sample> = data.iter().map(Result::unwrap).collect();
    let expected = bytes(&mut local(&package, IsaSet::SCALAR), &samples);
    assert!(expected.iter().any(|sample| *sample != expected[0]), "outputs do not depend on the input");
    let mut tried = Vec::new();
    for set in sets() {
        for threads in THREADS {
            let got = bytes(&mut on_threads(&package, set, threads), &samples);
            assert!(
                got == expected,
                "{} on {set}, {threads} threads: other bytes than the scalar kernels on one",
                case.name
            );
        }
        tried.push(set.to_string());
    }
    for name in BOARDS {
        let Some(mut device) = board(name, &package, 1) else {
            assert!(std::env::var_os("EDGEPACK_EXPECT_BOARDS").is_none(), "{name} was expected");
            continue;
        };
        let got = bytes(&mut device, &samples);
        assert!(got == expected, "{} on {name}: other bytes than the scalar kernels", case.name);
        assert!(device.selftest().unwrap().passed);
        // An agent refuses more threads than there are processors.
        if edgepack_engine::check_threads(2).is_ok() {
            let few = samples.len().min(4);
            let mut device = board(name, &package, 2).unwrap();
            let got = bytes(&mut device, &samples[..few]);
            assert!(got == expected[..few], "{} on {name}, 2 threads: other bytes", case.name);
        }
        tried.push(format!("{name} ({})", device.info().isa));
    }
    println!("{}: {} samples, the same bytes on {}", case.name, samples.len(), tried.join("; "));
}

fn other(name: &str) -> Case {
    others().into_iter().find(|case| case.name == name).unwrap()
}

#[test]
fn digits_has_the_same_bytes_everywhere() {
    check(&digits(), 64);
}

#[test]
fn digits_in_f32_and_with_some_nodes_in_it_has_the_same_bytes_everywhere() {
    for base in [Precision::Dynamic, Precision::WeightsInt8, Precision::WeightsF16] {
        check_in(&digits(), 8, PrecisionOptions { base, ..PrecisionOptions::default() });
    }
    check_in(&digits(), 16, PrecisionOptions { base: Precision::F32, ..PrecisionOptions::default() });
    let keep_f32 = vec!["block2/expand/conv".into(), "block2/squeeze/gate".into()];
    check_in(&digits(), 16, PrecisionOptions { keep_f32, ..PrecisionOptions::default() });
}

#[test]
fn digits_in_int16_and_with_some_nodes_in_it_has_the_same_bytes_everywhere() {
    for base in [Precision::Int16, Precision::Int16x16] {
        check_in(&digits(), 16, PrecisionOptions { base, ..PrecisionOptions::default() });
    }
    let keep_int16 = vec!["block2/expand/conv".into(), "block2/squeeze/gate".into()];
    check_in(&digits(), 16, PrecisionOptions { keep_int16, ..PrecisionOptions::default() });
}

#[test]
fn mnist8_has_the_same_bytes_everywhere() {
    check(&other("mnist8"), 32);
}

#[test]
fn kws_dscnn_has_the_same_bytes_everywhere() {
    check(&other("kws_dscnn"), 32);
}

#[test]
fn resnet8_cifar10_has_the_same_bytes_everywhere() {
    check(&other("resnet8_cifar10"), 32);
}

#[test]
fn vww_mobilenetv1_025_has_the_same_bytes_everywhere() {
    check(&other("vww_mobilenetv1_025"), 32);
}

/// 385 million multiply-adds: emulated, a sample takes seconds.
#[test]
fn efficientnet_lite0_has_the_same_bytes_everywhere() {
    check(&other("efficientnet_lite0"), 4);
}

/// Layers that the models above do not have, attention among them: the package's golden samples are hashes of
/// what the workstation computed.
#[test]
fn synthetic_networks_have_the_same_bytes_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let others = synthetic::others(folder.path());
    for (name, package) in synthetic::packages(folder.path()).into_iter().chain(others) {
        for set in sets() {
            assert!(local(&package, set).selftest().unwrap().passed, "{name} on {set}");
        }
        for board_name in BOARDS {
            match board(board_name, &package, 1) {
                Some(mut device) => assert!(device.selftest().unwrap().passed, "{name} on {board_name}"),
                None => {
                    assert!(
                        std::env::var_os("EDGEPACK_EXPECT_BOARDS").is_none(),
                        "{board_name} was expected"
                    );
                }
            }
        }
    }
}

/// A package with prepacked weights computes the same, and packs nothing when it is loaded.
#[test]
fn prepacked_weights_are_used_in_place() {
    let case = digits();
    let folder = tempfile::tempdir().unwrap();
    let plain = case.pack(folder.path()).package;
    let model = edgepack_engine::Model::open(&plain).unwrap();
    let data = case.data(&plain, Some(8));
    let samples: Vec<Sample> = data.iter().map(Result::unwrap).collect();
    let set = isa::processor().set();
    let expected = bytes(&mut local(&plain, set), &samples);
    let layouts: Vec<String> =
        edgepack_engine::kernels::conv::Layout::all().map(|layout| layout.key.to_string()).collect();
    let second = tempfile::tempdir().unwrap();
    let prepacked = case.pack_with(second.path(), layouts).package;
    let options = edgepack_engine::SessionOptions::default();
    let prepacked_model = edgepack_engine::Model::open(&prepacked).unwrap();
    assert_eq!(prepacked_model.session(&options).unwrap().packed_bytes(), 0);
    if set != IsaSet::SCALAR {
        assert!(model.session(&options).unwrap().packed_bytes() > 0);
    }
    for threads in THREADS {
        assert!(bytes(&mut on_threads(&prepacked, set, threads), &samples) == expected);
    }
}
