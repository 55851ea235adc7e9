//! The commands on a small model: what they print for machines, their exit codes and their files.

mod common;

use common::Bench;
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text.lines().last().unwrap()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[track_caller]
fn has(value: &Value, fields: &str) {
    for field in fields.split(' ') {
        assert!(value.get(field).is_some(), "no `{field}` in {value}");
    }
}

const COMPARE: [&str; 10] = [
    "compare",
    "model.epk",
    "--baseline",
    "model.onnx",
    "--data",
    "samples.npy",
    "--runs",
    "3",
    "--warmup",
    "1",
];

#[test]
fn every_command_has_an_example() {
    let bench = Bench::new();
    for command in [
        "pack",
        "inspect",
        "run",
        "compare",
        "bench",
        "selftest",
        "doctor",
        "deploy",
        "kernels",
        "targets",
        "build",
        "demo",
        "new-firmware",
    ] {
        let help = bench.ok(&[command, "--help"]);
        let has = |title: &str| help.contains(&format!("{title}:\n  edgepack {command}"));
        assert!(has("Example") || has("Examples"), "{command}: {help}");
    }
}

#[test]
fn pack_reports_and_packs_the_same_bytes_twice() {
    let bench = Bench::new();
    let pack = ["pack", "model.onnx", "-o", "model.epk", "--calibration", "samples.npy", "--format", "json"];
    let report = json(&bench.ok(&pack));
    has(
        &report,
        "package package_bytes model_bytes arena_bytes macs nodes steps calibration_samples observer",
    );
    let first = std::fs::read(bench.path("model.epk")).unwrap();
    assert_eq!(report["package_bytes"], first.len());
    bench.ok(&pack);
    assert_eq!(std::fs::read(bench.path("model.epk")).unwrap(), first, "packing is not reproducible");
    assert_eq!(bench.files(), ["model.epk", "model.onnx", "samples.npy"]);
}

#[test]
fn inspect_tells_steps_kernels_and_provenance() {
    let bench = Bench::new();
    bench.pack();
    let report = json(&bench.ok(&["inspect", "model.epk", "--format", "json"]));
    has(&report, "file_bytes hash arena_bytes macs inputs outputs sections steps provenance");
    let steps = report["steps"].as_array().unwrap();
    assert_eq!(steps[0]["name"], "conv");
    assert_eq!(steps[0]["kernels"]["dotprod"], "conv_s8s8s32_4x24_dotprod");
    assert_eq!(steps[0]["macs"], 4 * 64 * 27);
    assert_eq!(report["provenance"]["model"], "model.onnx");
    assert_eq!(report["outputs"][0]["exact"], true);
    let text = bench.ok(&["inspect", "model.epk"]);
    assert!(text.contains("| conv ") && text.contains("observer auto"), "{text}");
}

#[test]
fn target_adds_weights_in_the_layout_of_its_kernels() {
    let bench = Bench::new();
    for (board, layout) in [("rpi5", "nr8_kr4"), ("rpi2", "nr8_kr2"), ("x86-64-v4", "nr16_kr4_xu8")] {
        let pack =
            ["pack", "model.onnx", "-o", "model.epk", "--calibration", "samples.npy", "--target", board];
        bench.ok(&pack);
        let report = json(&bench.ok(&["inspect", "model.epk", "--format", "json"]));
        let keys = report["sections"].as_array().unwrap().iter().filter(|s| s["kind"] == "prepacked");
        assert_eq!(keys.map(|s| s["key"].as_str().unwrap()).collect::<Vec<_>>(), [layout], "{board}");
        assert_eq!(report["provenance"]["target"], board);
        bench.ok(&["selftest", "model.epk"]);
    }
}

#[test]
fn run_shows_the_greatest_values_and_writes_every_output() {
    let bench = Bench::new();
    bench.pack();
    std::fs::write(bench.path("names.txt"), "cat\ndog\n").unwrap();
    let run = ["run", "model.epk", "--input", "samples.npy", "-o", "out.npz", "--top", "1"];
    let lines = json(&bench.ok(&[&run[..], &["--labels", "names.txt", "--format", "json"]].concat()));
    let lines = lines.as_array().unwrap();
    assert_eq!(lines.len(), 8);
    let best = &lines[3]["top"][0];
    assert!(["cat", "dog"].contains(&best["name"].as_str().unwrap()), "{best}");
    let mut archive = zip::ZipArchive::new(std::fs::File::open(bench.path("out.npz")).unwrap()).unwrap();
    let array = npyz::NpyFile::new(archive.by_name("y.npy").unwrap()).unwrap();
    assert_eq!(array.shape(), [8, 2]);
    let values: Vec<f32> = array.into_vec().unwrap();
    let class = best["class"].as_u64().unwrap() as usize;
    assert_eq!(values[3 * 2 + class], best["value"].as_f64().unwrap() as f32);
}

#[test]
fn compare_reports_and_fails_below_the_wanted_minimum() {
    let bench = Bench::new();
    bench.pack();
    let report = json(&bench.ok(&[&COMPARE[..], &["--format", "json", "--min-agreement", "0.5"]].concat()));
    has(&report, "samples top1_baseline top1_device top1_agreement sqnr_db cosine max_abs_error");
    assert_eq!((&report["samples"], &report["bit_identical_to_host"]), (&8.into(), &true.into()));
    assert_eq!(report["calibration_random"], false);
    has(&report["baseline"], "engine why p50_us p90_us p99_us min_us throughput_per_s");
    has(&report["device"], "name arch isa emulated p50_us p90_us p99_us min_us throughput_per_s");
    assert!(report["sqnr_db"].as_f64().unwrap() > 25.0, "{report}");
    let failed = bench.run(&[&COMPARE[..], &["--min-sqnr", "200"]].concat());
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("dB < 200 dB"));
}

#[test]
fn random_calibration_is_told_by_inspect_and_compare() {
    let bench = Bench::new();
    let pack = ["pack", "model.onnx", "-o", "model.epk", "--calibration", "random"];
    assert!(bench.ok(&pack).contains("outputs mean nothing"));
    assert!(bench.ok(&["inspect", "model.epk"]).contains("RANDOM NUMBERS"));
    assert!(bench.ok(&COMPARE).contains("RANDOM NUMBERS"));
    let report = json(&bench.ok(&[&COMPARE[..], &["--format", "json"]].concat()));
    assert_eq!(report["calibration_random"], true);
    let first = std::fs::read(bench.path("model.epk")).unwrap();
    bench.ok(&pack);
    assert_eq!(std::fs::read(bench.path("model.epk")).unwrap(), first, "the seed does not fix it");
}

#[test]
fn bench_measures_here() {
    let bench = Bench::new();
    bench.pack();
    let measure = ["bench", "model.epk", "--runs", "7", "--warmup", "1"];
    let report = json(&bench.ok(&[&measure[..], &["--format", "json"]].concat()));
    has(&report, "p50_us p90_us p99_us min_us load_ms first_ms arena_bytes peak_rss_kb isa");
    assert_eq!((&report["runs"], &report["threads"]), (&7.into(), &1.into()));
    assert_eq!((&report["emulated"], &report["schema"]), (&false.into(), &1.into()));
    let text = bench.ok(&measure);
    for part in ["p50 ", "MAD ", "first run ", "1 runs in ", "arena ", "not pinned"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let many = bench.run(&["bench", "model.epk", "--threads", "5000"]);
    assert_eq!(many.status.code(), Some(2));
    let most = std::thread::available_parallelism().unwrap().get().min(16);
    let error = String::from_utf8_lossy(&many.stderr).into_owned();
    assert!(
        error.contains("5000 threads") && error.contains(&format!("--threads {most} or fewer")),
        "{error}"
    );
    let threads = ["--threads", &most.to_string(), "--format", "json"];
    assert_eq!(json(&bench.ok(&[&measure[..], &threads].concat()))["threads"], most);
}

#[test]
fn bench_profiles_every_step_where_it_is_asked_to() {
    let bench = Bench::new();
    bench.pack();
    let steps = json(&bench.ok(&["inspect", "model.epk", "--format", "json"]))["steps"].clone();
    let plain = json(&bench.ok(&["bench", "model.epk", "--runs", "5", "--format", "json"]));
    assert!(plain.get("profile").is_none());
    let text = bench.ok(&["bench", "model.epk", "--runs", "5", "--profile"]);
    let report = json(&bench.ok(&["bench", "model.epk", "--runs", "5", "--profile", "--format", "json"]));
    let profile = &report["profile"];
    assert_eq!(profile["runs"], 5);
    let profiled = profile["steps"].as_array().unwrap();
    assert_eq!(profiled.len(), steps.as_array().unwrap().len());
    for (step, inspected) in profiled.iter().zip(steps.as_array().unwrap()) {
        has(step, "median_us min_us share_percent gop_per_s type");
        assert_eq!((&step["name"], &step["macs"]), (&inspected["name"], &inspected["macs"]));
        let kernel = step["kernel"].as_str().unwrap();
        let known = inspected["kernels"].as_object().unwrap();
        assert!(known.values().any(|name| name == kernel), "{kernel}");
        assert!(text.contains(kernel), "{text}");
    }
    // Convolutions of the model: 8 x 8 pixels of 4 x 27, and the last layer's 2 x 4.
    let macs: u64 = profiled.iter().map(|step| step["macs"].as_u64().unwrap()).sum();
    assert_eq!(macs, 64 * 4 * 27 + 8);
    let kernels = profile["kernels"].as_array().unwrap();
    assert_eq!(
        kernels.iter().map(|kernel| kernel["steps"].as_u64().unwrap()).sum::<u64>(),
        profiled.len() as u64
    );
    let share: f64 = kernels.iter().map(|kernel| kernel["share_percent"].as_f64().unwrap()).sum();
    assert!((share - 100.0).abs() < 1e-6, "{share}");
}

#[test]
fn reports_are_files_and_markdown() {
    let bench = Bench::new();
    bench.pack();
    let measure = ["bench", "model.epk", "--runs", "30", "--warmup", "1", "--pin", "0"];
    let text = bench.ok(&[&measure[..], &["--against", "model.epk", "--report", "b.html"]].concat());
    assert!(text.contains("times as fast") && text.contains("pinned to processor 0"), "{text}");
    let page = std::fs::read_to_string(bench.path("b.html")).unwrap();
    for section in ["Side by side", "How long runs take", "Where time goes", "Error of each layer"] {
        assert!(page.contains(section), "{section}");
    }
    let text = bench.ok(&[&measure[..], &["--format", "markdown"]].concat());
    assert!(text.starts_with("### `model.epk` on local") && text.contains("| p99 | "), "{text}");
    let text = bench.ok(&[&COMPARE[..], &["--report", "c.html", "--format", "markdown"]].concat());
    assert!(text.starts_with("### `model.epk` against FP32"), "{text}");
    assert!(std::fs::read_to_string(bench.path("c.html")).unwrap().contains("The worst samples"));
    assert!(bench.files().iter().all(|file| !file.contains("tmp")), "{:?}", bench.files());
}

#[test]
fn what_cannot_be_measured_or_written_ends_with_2() {
    let bench = Bench::new();
    bench.pack();
    for (args, part) in [
        (&["bench", "model.epk", "--report", "none/b.html"][..], "--report none/b.html"),
        (&["bench", "model.epk", "--pin", "4000"], "may run on"),
        (&["bench", "model.epk", "--pin", "0", "--threads", "2"], "2 threads"),
        (&["bench", "model.epk", "--against", "none.epk"], "none.epk"),
        (&["bench", "model.epk", "--sustained", "1s"], "as 90s, 5m or 1h"),
        (&["inspect", "model.epk", "--format", "markdown"], "bench and compare have it"),
    ] {
        let output = bench.run(args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && error.contains(part), "{args:?}: {error}");
    }
}

#[test]
fn kernels_and_targets_are_lists() {
    let bench = Bench::new();
    let kernels = json(&bench.ok(&["kernels", "--target", "rpi5", "--format", "json"]));
    let chosen = kernels.as_array().unwrap().iter().filter(|kernel| kernel["chosen"] == true);
    let names: Vec<&str> = chosen.map(|kernel| kernel["name"].as_str().unwrap()).collect();
    assert_eq!(names[..2], ["conv_s8s8s32_4x24_dotprod", "depthwise_s8s8s32_1x16_dotprod"]);
    assert_eq!(names[2..5], ["matmul_s8s8s32_4x24_dotprod", "add_s8_neon", "mul_s8_neon"]);
    let boards = json(&bench.ok(&["targets", "--format", "json"]));
    assert!(boards.as_array().unwrap().iter().any(|board| board["name"] == "rpi4"));
}

#[test]
fn lowered_instruction_sets_are_obeyed_and_checked() {
    let bench = Bench::new();
    bench.pack();
    let with = |isa: &str| {
        std::process::Command::new(env!("CARGO_BIN_EXE_edgepack"))
            .args(["bench", "model.epk", "--runs", "1", "--warmup", "1", "--format", "json"])
            .current_dir(bench.dir.path())
            .env("EDGEPACK_ISA", isa)
            .output()
            .unwrap()
    };
    assert_eq!(json(&String::from_utf8(with("scalar").stdout).unwrap())["isa"], "scalar");
    let wrong = with("sse9");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("`sse9` is none of scalar, avx2"));
}

#[test]
fn a_device_that_is_not_there_is_refused_with_the_remedy() {
    let bench = Bench::new();
    bench.pack();
    for (device, words) in [
        ("toaster", "give local, qemu:BOARD"),
        ("qemu:toaster", "no board `toaster`"),
        ("qemu:x86-64-v3", "not emulated"),
    ] {
        let output = bench.run(&["selftest", "model.epk", "--device", device]);
        assert_eq!(output.status.code(), Some(2), "{device}");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains(words), "{device}: {message}");
    }
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_edgepack"))
        .args(["selftest", "model.epk", "--device", "qemu:rpi4"])
        .current_dir(bench.dir.path())
        .env("EDGEPACK_AGENT_AARCH64", "nowhere/agent")
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(message.contains("nowhere/agent") && message.contains("edgepack build --target"), "{message}");
}

#[test]
fn demo_walks_the_whole_road() {
    let bench = Bench::new();
    let text = bench.ok(&["demo"]);
    for part in
        ["$ edgepack pack", "$ edgepack inspect", "golden samples", "top-1 agreement", "the same bytes as"]
    {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    assert!(bench.path("edgepack-demo/digits.epk").is_file());
}

#[test]
fn header_has_what_firmware_must_know_at_compile_time() {
    let bench = Bench::new();
    bench.pack();
    let report = json(&bench.ok(&["inspect", "model.epk", "--format", "json", "--header"]));
    let [module, header] =
        ["model.rs", "model.h"].map(|name| std::fs::read_to_string(bench.path(name)).unwrap());
    let hash = report["hash"].as_str().unwrap();
    for expected in [
        format!("ARENA_BYTES: usize = {};", report["arena_bytes"]),
        format!("PACKAGE_BYTES: usize = {};", report["file_bytes"]),
        format!("STEPS: usize = {};", report["steps"].as_array().unwrap().len()),
        "CLASSES: usize = 2;".into(),
        format!("0x{}, 0x{}", &hash[..2], &hash[2..4]),
        "include_bytes!(\"model.epk\")".into(),
        "pub Operations: Conv".into(),
        "shape: &[1, 3, 8, 8]".into(),
    ] {
        assert!(module.contains(&expected), "{expected} in\n{module}");
    }
    for expected in [
        format!("#define MODEL_ARENA_BYTES {}\n", report["arena_bytes"]),
        "#define MODEL_INPUT0_SHAPE { 1, 3, 8, 8 }\n".into(),
        "#define MODEL_CLASSES 2\n".into(),
        format!("0x{}, 0x{}", &hash[..2], &hash[2..4]),
    ] {
        assert!(header.contains(&expected), "{expected} in\n{header}");
    }
    // As `pack` writes them.
    let packed =
        bench.ok(&["pack", "model.onnx", "-o", "new.epk", "--calibration", "samples.npy", "--header"]);
    assert!(packed.contains("new.rs"), "{packed}");
    assert!(std::fs::read_to_string(bench.path("new.h")).unwrap().contains("#ifndef NEW_H"));
}
