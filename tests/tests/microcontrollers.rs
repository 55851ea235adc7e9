//! The promise on boards without an operating system: the same bytes as on this machine, and an error for all that is
//! wrong, by the machines that QEMU has: Cortex-M4 and M7, Cortex-M3, ARMv6-M with floats in software, and RISC-V.
//!
//! The agents are looked for as those of same_bits.rs are (`EDGEPACK_AGENT_THUMBV7EM` and the like, or where
//! `edgepack build --target mps2-an386` puts them); `EDGEPACK_EXPECT_BOARDS=1` makes their absence a failure.

use std::path::{Path, PathBuf};
use std::process::Command;

use edgepack_engine::kernels::isa::IsaSet;
use edgepack_harness::device::{Device, Local, Remote, reach};
use edgepack_harness::{BenchOptions, PackageFacts, Preprocessing, Sample};
use edgepack_packager::pack::CalibrationSource;
use edgepack_targets::Board;
use edgepack_tests::emulated::qemu;
use edgepack_tests::{Case, digits, others, root, skip, synthetic};

/// A board of this folder's, or one of edgepack's.
fn board(name: &str) -> Board {
    let own = root().join("tests/boards").join(format!("{name}.toml"));
    Board::find(if own.is_file() { own.to_str().unwrap() } else { name }).unwrap()
}

const BOARDS: [&str; 5] = ["mps2-an386", "mps2-an500", "mps2-an385", "armv6m", "qemu-riscv32"];

/// The agent for a board; `None`, and said so, where it or QEMU is not there.
fn agent(board: &Board) -> Option<PathBuf> {
    let named = std::env::var_os(board.agent_variable()).map(PathBuf::from);
    let agent = named.unwrap_or_else(|| root().join(board.agent_path()));
    let program = &board.microcontroller().unwrap().qemu.as_ref().unwrap().program;
    let missing = if !agent.is_file() {
        format!("there is no agent at {}", agent.display())
    } else if Command::new(program).arg("--version").output().is_err() {
        format!("there is no {program}")
    } else {
        return Some(agent);
    };
    assert!(
        std::env::var_os("EDGEPACK_EXPECT_BOARDS").is_none(),
        "qemu:{} was expected: {missing}",
        board.name
    );
    skip(&format!("qemu:{}", board.name), &missing);
    None
}

/// A package on a board.
fn device(name: &str, package: &Path) -> Option<Remote> {
    let board = board(name);
    let agent = agent(&board)?;
    Some(Remote::emulated(board, package, 1, agent).unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// The bytes of each output of each sample.
fn bytes(device: &mut dyn Device, samples: &[Sample]) -> Vec<Vec<Vec<u8>>> {
    let outcomes = device.run(samples).unwrap_or_else(|error| panic!("{error}"));
    outcomes.into_iter().map(|outcome| outcome.bytes).collect()
}

/// Runs the samples here and on every board, so many of them on all but the first.
fn check(name: &str, package: &Path, samples: &[Sample], few: usize) {
    let expected = bytes(&mut Local::open(package, 1, Some(IsaSet::SCALAR)).unwrap(), samples);
    assert!(expected.iter().any(|sample| *sample != expected[0]), "outputs do not depend on the input");
    for (index, board) in BOARDS.into_iter().enumerate() {
        let Some(mut device) = device(board, package) else { continue };
        let count = if index == 0 { samples.len() } else { few.min(samples.len()) };
        let got = bytes(&mut device, &samples[..count]);
        assert!(got == expected[..count], "{name} on {board}: other bytes than the scalar kernels here");
        println!("{name}: {count} samples, the same bytes on {board} ({})", device.info().isa);
    }
}

fn check_case(case: &Case, count: usize, few: usize) {
    if !case.is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let package = case.pack(folder.path()).package;
    let samples: Vec<Sample> = case.data(&package, Some(count)).iter().map(Result::unwrap).collect();
    check(case.name, &package, &samples, few);
}

#[test]
fn digits_has_the_same_bytes_and_a_count_that_repeats() {
    let case = digits();
    let folder = tempfile::tempdir().unwrap();
    let package = case.pack(folder.path()).package;
    let samples: Vec<Sample> = case.data(&package, Some(16)).iter().map(Result::unwrap).collect();
    check(case.name, &package, &samples, 16);
    for board in BOARDS {
        let Some(mut device) = device(board, &package) else { continue };
        let [first, second] = [(); 2].map(|()| device.bench(&samples[0], &BenchOptions::default()).unwrap());
        assert_eq!(first, second, "{board}");
        assert!(first.instructions_per_run.is_some_and(|count| count > 10_000), "{board}: {first:?}");
        assert!(first.stack_bytes.is_some_and(|bytes| (500..8192).contains(&bytes)), "{board}: {first:?}");
        assert!(first.latency.p50_us.is_none() && first.emulated);
    }
}

/// Layers that the models do not have: the package's golden samples are hashes of what this machine computed.
#[test]
fn synthetic_networks_pass_their_self_tests() {
    let folder = tempfile::tempdir().unwrap();
    let others = synthetic::others(folder.path());
    for (name, package) in synthetic::packages(folder.path()).into_iter().chain(others) {
        for board in BOARDS {
            let Some(mut device) = device(board, &package) else { continue };
            let outcome = device.selftest().unwrap();
            assert!(outcome.passed && outcome.samples > 0, "{name} on {board}: {outcome:?}");
        }
    }
}

fn other(name: &str) -> Case {
    others().into_iter().find(|case| case.name == name).unwrap()
}

#[test]
fn keyword_spotting_has_the_same_bytes() {
    check_case(&other("kws_dscnn"), 32, 4);
}

#[test]
fn image_classification_has_the_same_bytes() {
    check_case(&other("resnet8_cifar10"), 32, 2);
}

#[test]
fn visual_wake_words_has_the_same_bytes() {
    check_case(&other("vww_mobilenetv1_025"), 32, 2);
}

/// The autoencoder of anomaly detection has no data here: bytes can be compared on random samples as well.
#[test]
fn anomaly_detection_has_the_same_bytes() {
    let folder =
        std::env::var_os("EDGEPACK_PEER_MODELS").map_or(root().join("../shared/peers/models"), PathBuf::from);
    let model = folder.join("ae640.onnx");
    if !model.is_file() {
        return skip("ae640", &format!("there is no {} (EDGEPACK_PEER_MODELS)", model.display()));
    }
    let data = model.clone();
    let case = Case {
        name: "ae640",
        model,
        calibration: data.clone(),
        evaluation: data,
        shape: None,
        preprocessing: Preprocessing::default(),
    };
    let folder = tempfile::tempdir().unwrap();
    let package = case.pack_from(folder.path(), CalibrationSource::Random { seed: 1 }).package;
    let facts = PackageFacts::read(&package).unwrap();
    let samples: Vec<Sample> = (0..32).map(|seed| facts.random_sample(seed)).collect();
    check(case.name, &package, &samples, 8);
}

#[test]
fn samples_and_packages_that_do_not_fit_are_refused_with_the_numbers() {
    let case = digits();
    let folder = tempfile::tempdir().unwrap();
    let package = case.pack(folder.path()).package;
    let facts = PackageFacts::read(&package).unwrap();
    if let Some(mut device) = device("mps2-an386", &package) {
        let short = Sample { values: vec![1.0], pixels: None, ..facts.random_sample(1) };
        let error = device.run(&[short]).unwrap_err().to_string();
        assert!(error.contains("4 bytes are not a number of samples of"), "{error}");
    }
    let small = board("small");
    let Some(agent) = agent(&small) else { return };
    let error = Remote::emulated(small, &package, 1, agent.clone()).unwrap_err().to_string();
    let needed = format!("the arena needs {} bytes, the board has", facts.arena_bytes);
    assert!(error.contains("too little RAM") && error.contains(&needed), "{error}");
    // Both are in the flash, but not beside each other.
    let networks = synthetic::packages(folder.path());
    let large = &networks.iter().find(|(name, _)| *name == "autoencoder").unwrap().1;
    let flash_kib = std::fs::metadata(large).unwrap().len().div_ceil(1024) + 64;
    let text = std::fs::read_to_string(root().join("tests/boards/small.toml")).unwrap();
    let path = folder.path().join("tiny.toml");
    std::fs::write(&path, text.replace("kib = 512", &format!("kib = {flash_kib}"))).unwrap();
    let tiny = Board::find(path.to_str().unwrap()).unwrap();
    let error = Remote::emulated(tiny, large, 1, agent).unwrap_err().to_string();
    assert!(error.contains("too little flash") && error.contains("free beside the agent"), "{error}");
}

/// What the agent says to a package that the harness would not have sent: it has only the bytes in flash.
#[test]
fn damaged_package_is_an_error_code_and_no_hang() {
    let case = digits();
    let folder = tempfile::tempdir().unwrap();
    let package = case.pack(folder.path()).package;
    let whole = std::fs::read(&package).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    for name in BOARDS {
        let board = board(name);
        let Some(agent) = agent(&board) else { continue };
        for (bytes, code) in [
            (flipped(0), 101),
            (flipped(8), 102),
            (whole[..whole.len() - 64].to_vec(), 103),
            (flipped(40), 105),
            (flipped(whole.len() / 2), 106),
            (vec![0; 64], 101),
        ] {
            let path = folder.path().join("damaged.epk");
            std::fs::write(&path, &bytes).unwrap();
            let (status, said) = told(&board, &agent, &path, &[]);
            let expected = format!("error: error {code}: ");
            assert!(status == Some(2) && said.starts_with(&expected), "{name}, {code}: {status:?} {said}");
        }
        let (status, said) = told(&board, &agent, &package, &[]);
        assert!(status == Some(0) && said.contains("\"passed\":true"), "{name}: {status:?} {said}");
        // RAM that is not there: the processor faults, and the machine ends.
        let ram = format!("{:#x}+1048576000", board.microcontroller().unwrap().ram.origin);
        let (status, said) = told(&board, &agent, &package, &["--ram", &ram]);
        assert!(status == Some(3) && said.is_empty(), "{name}: {status:?} {said}");
    }
}

/// The exit code and the words of a self-test, a minute at most.
fn told(board: &Board, agent: &Path, package: &Path, more: &[&str]) -> (Option<i32>, String) {
    let bytes = std::fs::metadata(package).unwrap().len();
    let own = board.microcontroller().unwrap();
    let address = own.flash.origin + (3 << 20);
    let place = format!("{address:#x}+{bytes}");
    let words = [&["edgepack-mcu", "selftest", &place], more].concat();
    let loader = format!("loader,file={},addr={address:#x},force-raw=on", package.display());
    let output = qemu(board, agent, &words).args(["-device", &loader]).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn deploy_to_a_microcontroller_says_what_to_do_instead() {
    if agent(&board("mps2-an386")).is_some() {
        let error = reach("qemu:mps2-an386").unwrap().with_files().unwrap_err().to_string();
        assert!(error.contains("probe-rs") && error.contains("part of firmware"), "{error}");
    }
    let error = reach("qemu:rp2040").unwrap_err().to_string();
    assert!(error.contains("rp2040 is not emulated") && error.contains("probe-rs"), "{error}");
}
