//! Packages for microcontrollers: what is in them, and that they are refused where they do not fit.

mod common;

use common::Bench;
use serde_json::Value;

/// A board of so many KiB, none of which are reserved.
fn board(bench: &Bench, flash_kib: u32, ram_kib: u32) {
    let template = bench.ok(&["targets", "--new", "tiny", "--microcontroller"]);
    let text = template
        .replace("kib = 1024", &format!("kib = {flash_kib}"))
        .replace("kib = 128", &format!("kib = {ram_kib}"))
        .replace("{ flash_kib = 64, ram_kib = 16 }", "{ flash_kib = 0, ram_kib = 0 }");
    std::fs::write(bench.path("tiny.toml"), text).unwrap();
}

const PACK: [&str; 6] = ["pack", "model.onnx", "-o", "tiny.epk", "--calibration", "samples.npy"];

fn pack(bench: &Bench, more: &[&str]) -> std::process::Output {
    bench.run(&[&PACK[..], &["--format", "json"], more].concat())
}

/// What a package does not fit, with exit code 1 and nothing written.
fn refused(bench: &Bench, more: &[&str], parts: &[&str]) {
    let output = pack(bench, more);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    assert!(!bench.path("tiny.epk").exists(), "{stderr}");
}

#[test]
fn package_beyond_flash_or_ram_is_refused_with_the_nodes_that_need_most_and_what_helps() {
    let bench = Bench::new();
    board(&bench, 1, 64);
    let tiny = ["--target", "./tiny.toml"];
    refused(
        &bench,
        &tiny,
        &["of flash", "tiny, by what it leaves of 1 KiB", "most of its constants", "--prune-channels"],
    );
    board(&bench, 256, 64);
    refused(&bench, &[&tiny[..], &["--max-flash", "900"]].concat(), &["--max-flash gives it 900 B", "`"]);
    refused(
        &bench,
        &[&tiny[..], &["--max-ram", "64"]].concat(),
        &["of RAM, and --max-ram gives it 64 B", "most is in use at `", "a smaller input (--shape)"],
    );
    // Without a board, too.
    refused(&bench, &["--max-ram", "64"], &["--max-ram gives it 64 B"]);
    let output = pack(&bench, &["--max-ram", "lots"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(pack(&bench, &tiny).status.success());
}

#[test]
fn package_for_a_microcontroller_is_lean_and_gives_the_same_outputs() {
    let bench = Bench::new();
    board(&bench, 256, 64);
    bench.pack();
    let report: Value = serde_json::from_slice(&pack(&bench, &["--target", "./tiny.toml"]).stdout).unwrap();
    let sizes = ["model.epk", "tiny.epk"].map(|name| std::fs::metadata(bench.path(name)).unwrap().len());
    assert!(sizes[1] < sizes[0], "{sizes:?}");
    assert!(report["arena_bytes"].as_u64().unwrap() <= 64 << 10);
    assert!(bench.ok(&["selftest", "tiny.epk"]).contains(": 1 golden samples"));
    let run = |package| bench.ok(&["run", package, "--input", "samples.npy", "--format", "json"]);
    assert_eq!(run("tiny.epk"), run("model.epk"));
}

fn with_signal<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["--target", "./tiny.toml", "--signal", "three.toml"], more].concat()
}

fn with_layout<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["--prepack", "nr8_kr4"], more].concat()
}

/// The report of a package that fits.
fn packed(bench: &Bench, more: &[&str]) -> Value {
    let output = pack(bench, more);
    assert!(output.status.success(), "{more:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn ram_is_that_of_the_arena_and_of_the_front_end() {
    let bench = Bench::new();
    board(&bench, 256, 64);
    let signal = "[motion]\nsample_hz = 100.0\nchannels = 3\nframes = 64\nstep_frames = 64\n";
    std::fs::write(bench.path("three.toml"), signal).unwrap();
    let report = packed(&bench, &with_signal(&[]));
    let [arena, front_end] = ["arena_bytes", "front_end_bytes"].map(|name| report[name].as_u64().unwrap());
    // The window, and what it is made of.
    assert!(front_end >= 2 * 4 * 192, "{report}");
    let shown: Value = serde_json::from_str(&bench.ok(&["inspect", "tiny.epk", "--format", "json"])).unwrap();
    assert_eq!(shown["signal"]["memory_bytes"].as_u64(), Some(front_end));
    let all = (arena + front_end).to_string();
    assert_eq!(packed(&bench, &with_signal(&["--max-ram", &all]))["arena_bytes"].as_u64(), Some(arena));
    let text = bench.ok(&[&PACK[..], &with_signal(&["--max-ram", &all])].concat());
    assert!(text.contains(" + front-end "), "{text}");
    // Half of the arena's place is not there: without the front-end this would be more than enough.
    let less = arena / 2 + front_end;
    assert!(less > arena);
    match pack(&bench, &with_signal(&["--max-ram", &less.to_string()])) {
        fits if fits.status.success() => {
            let report: Value = serde_json::from_slice(&fits.stdout).unwrap();
            assert!(report["arena_bytes"].as_u64().unwrap() + front_end <= less, "{report}");
        }
        refused => assert!(String::from_utf8_lossy(&refused.stderr).contains("+ front-end")),
    }
    std::fs::remove_file(bench.path("tiny.epk")).unwrap();
    let bytes = front_end.to_string();
    refused(
        &bench,
        &with_signal(&["--max-ram", &bytes]),
        &["arena ", " + front-end ", "--max-ram gives it", "(--signal)"],
    );
}

#[test]
fn package_for_little_flash_leaves_out_what_it_can_do_without_and_says_what() {
    let bench = Bench::new();
    let mut model = common::model();
    for node in &mut model.graph.as_mut().unwrap().node {
        node.name = format!("model/of/some/exporter/that/{0}/tells/{0}/stories/{0}", node.name);
    }
    common::write_model(&bench.path("model.onnx"), &model);
    let run = || bench.ok(&["run", "tiny.epk", "--input", "samples.npy", "--format", "json"]);
    let mut report = packed(&bench, &with_layout(&[]));
    assert_eq!(report["left_out"], serde_json::json!([]));
    let expected = run();
    let mut left_out: Vec<Value> = vec![];
    // Each time there is a byte too little for the package before.
    let refusal = loop {
        let most = report["package_bytes"].as_u64().unwrap() - 1;
        let output = pack(&bench, &with_layout(&["--max-flash", &most.to_string()]));
        if !output.status.success() {
            break String::from_utf8(output.stderr).unwrap();
        }
        report = serde_json::from_slice(&output.stdout).unwrap();
        assert!(report["package_bytes"].as_u64().unwrap() <= most, "{report}");
        let more = report["left_out"].as_array().unwrap().clone();
        assert!(more.starts_with(&left_out) && more.len() > left_out.len(), "{left_out:?} {more:?}");
        left_out = more;
        assert_eq!(run(), expected, "{left_out:?}");
        let samples = if left_out.contains(&"sample".into()) { ": 1 golden" } else { ": 2 golden" };
        assert!(bench.ok(&["selftest", "tiny.epk"]).contains(samples), "{left_out:?}");
        assert!(bench.ok(&["inspect", "tiny.epk"]).contains("left out     what became of each node"));
    };
    assert_eq!(left_out, ["nodes", "long_names", "sample", "layouts", "names"]);
    assert!(refusal.contains("of flash without what became of each node"), "{refusal}");
    let nodes = bench.run(&["inspect", "tiny.epk", "--nodes"]);
    assert!(String::from_utf8_lossy(&nodes.stderr).contains("left out for the flash"));
    let most = report["package_bytes"].to_string();
    let text = bench.ok(&[&PACK[..], &with_layout(&["--max-flash", &most])].concat());
    assert!(text.contains("left out, for the flash: what became of each node"), "{text}");
    assert!(text.contains("1 of 2 golden samples"), "{text}");
}
