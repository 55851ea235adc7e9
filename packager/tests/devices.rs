//! The commands on a device: an OpenSSH server on this machine, and an adb that is none.
#![cfg(unix)]

#[path = "common/packages.rs"]
mod packages;
#[path = "common/server.rs"]
mod server;

mod common;

use packages::Handmade;
use serde_json::Value;
use server::{Server, agent, agent_variable, program, wait_for};

fn json(text: &str) -> Value {
    serde_json::from_str(text.lines().last().unwrap()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A device, and a package of a small network beside it.
fn device(test: &str) -> Option<(Server, common::Bench)> {
    let server = Server::start(test)?;
    let bench = common::Bench::new();
    bench.pack();
    for name in ["model.epk", "model.onnx", "samples.npy"] {
        std::fs::copy(bench.path(name), server.path(name)).unwrap();
    }
    Some((server, bench))
}

#[test]
fn every_command_runs_there_and_gives_the_bytes_of_here() {
    let Some((server, bench)) = device("commands over ssh") else { return };
    let report = json(&server.ok(&["selftest", "model.epk", "--format", "json"]));
    assert_eq!((&report["passed"], &report["device"]["name"]), (&true.into(), &server.name().into()));
    assert_eq!(report["device"]["emulated"], false);
    let report = json(&server.ok(&[
        "bench",
        "model.epk",
        "--runs",
        "7",
        "--warmup",
        "3",
        "--profile",
        "--format",
        "json",
    ]));
    assert_eq!((&report["runs"], &report["emulated"]), (&7.into(), &false.into()));
    assert!(report["p50_us"].as_f64().unwrap() > 0.0 && report["profile"]["steps"].is_array(), "{report}");
    let measure = ["bench", "model.epk", "--runs", "50", "--warmup", "3", "--pin", "0", "--format", "json"];
    let report =
        json(&server.ok(&[&measure[..], &["--against", "model.epk", "--report", "b.html"]].concat()));
    assert_eq!(report["pinned"], serde_json::json!([0]));
    // The same package twice: neither is twice as fast.
    let ratio = report["against"]["ratio"]["median"].as_f64().unwrap();
    assert!((0.5..2.0).contains(&ratio), "{report}");
    assert!(std::fs::read_to_string(server.path("b.html")).unwrap().contains("Side by side"));
    server.ok(&["run", "model.epk", "--input", "samples.npy", "-o", "there.npz"]);
    bench.ok(&["run", "model.epk", "--input", "samples.npy", "-o", "here.npz"]);
    let array = |path: &std::path::Path| -> Vec<f32> {
        let mut archive = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
        npyz::NpyFile::new(archive.by_name("y.npy").unwrap()).unwrap().into_vec().unwrap()
    };
    assert_eq!(array(&server.path("there.npz")), array(&bench.path("here.npz")));
    let compare = [
        "compare",
        "model.epk",
        "--baseline",
        "model.onnx",
        "--data",
        "samples.npy",
        "--runs",
        "3",
        "--warmup",
        "3",
        "--format",
        "json",
    ];
    let report = json(&server.ok(&compare));
    assert_eq!(
        (&report["bit_identical_to_host"], &report["bit_identical_samples"]),
        (&true.into(), &8.into())
    );
    assert!(report["device"]["p50_us"].as_f64().unwrap() > 0.0, "{report}");
    // A comparison that fails is no error of the device.
    server.fails(1, &[&compare[..], &["--min-sqnr", "200"]].concat());
    // The agent stays, what was sent for a command does not.
    let left = server.files("home/.cache/edgepack");
    assert!(left.len() == 1 && left[0].starts_with("agent-"), "{left:?}");
}

/// `y = Relu(x) + z`, and samples of both.
fn two_inputs(folder: &std::path::Path) {
    let dims = [Ok(1), Ok(2), Ok(4), Ok(4)];
    let mut model = common::model();
    let graph = model.graph.as_mut().unwrap();
    graph.input = vec![common::value_info("x", &dims), common::value_info("z", &dims)];
    graph.output = vec![common::value_info("y", &dims)];
    graph.initializer.clear();
    graph.node = vec![
        common::node("relu", "Relu", &["x"], "r", &[]),
        common::node("add", "Add", &["r", "z"], "y", &[]),
    ];
    common::write_model(&folder.join("two.onnx"), &model);
    let mut archive = zip::ZipWriter::new(std::fs::File::create(folder.join("two.npz")).unwrap());
    for (name, step) in [("x", 31), ("z", 17)] {
        let values = (0..6 * 32).flat_map(|i| (((i * step % 101) as f32 - 50.0) / 50.0).to_le_bytes());
        let array = common::npy("<f4", &[6, 2, 4, 4], &values.collect::<Vec<u8>>());
        archive.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut archive, &array).unwrap();
    }
    archive.finish().unwrap();
}

#[test]
fn package_of_several_inputs_runs_there_too() {
    let Some(server) = Server::start("several inputs over ssh") else { return };
    two_inputs(server.dir.path());
    let bench = common::Bench { dir: tempfile::tempdir().unwrap() };
    two_inputs(bench.dir.path());
    bench.ok(&["pack", "two.onnx", "-o", "two.epk", "--calibration", "two.npz"]);
    std::fs::copy(bench.path("two.epk"), server.path("two.epk")).unwrap();
    let compare = [
        "compare",
        "two.epk",
        "--baseline",
        "two.onnx",
        "--data",
        "two.npz",
        "--runs",
        "3",
        "--warmup",
        "3",
        "--format",
        "json",
    ];
    let report = json(&server.ok(&compare));
    assert_eq!(
        (&report["bit_identical_to_host"], &report["bit_identical_samples"]),
        (&true.into(), &6.into())
    );
    assert!(report["sqnr_db"].as_f64().unwrap() > 25.0, "{report}");
}

#[test]
fn doctor_tells_what_the_device_is_and_lacks() {
    let Some((server, bench)) = device("doctor over ssh") else { return };
    let report = json(&server.ok(&["doctor", "--package", "model.epk", "--format", "json"]));
    assert_eq!((&report["arch"], &report["emulated"]), (&std::env::consts::ARCH.into(), &false.into()));
    for field in ["kernel", "isa", "cores", "memory_available_kib", "disk_free_kib", "agent"] {
        assert!(!report[field].is_null(), "{field}: {report}");
    }
    let text = bench.ok(&["doctor"]);
    assert!(text.contains("| architecture") && text.contains("instruction sets"), "{text}");
    // A board that it is not.
    let other = if std::env::consts::ARCH == "aarch64" { "n100" } else { "rpi4" };
    let output = server.run(&["doctor", "--target", other]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(1) && text.contains("NOT FIT"), "{text}");
    assert!(text.contains(&format!("error: the device is {}, {other} is", std::env::consts::ARCH)), "{text}");
}

#[test]
fn deploy_is_idempotent_and_rolls_back() {
    let Some(server) = Server::start("deploy over ssh") else { return };
    Handmade::default().write(&server.path("one.epk"));
    Handmade { ballast_bytes: 5000, ..Handmade::default() }.write(&server.path("two.epk"));
    let to = server.path("home/models/it's/model.epk");
    let at = ["--to", to.to_str().unwrap(), "--format", "json"];
    let deploy = |package: &str| json(&server.ok(&[&["deploy", package][..], &at].concat()));
    let bytes = |name: &str| std::fs::read(server.path(name)).unwrap();
    let hash = |name: &str| Value::from(blake3::hash(&bytes(name)).to_string());
    let first = deploy("one.epk");
    assert_eq!(
        (&first["sent"], &first["previous"], &first["golden_samples"]),
        (&true.into(), &Value::Null, &1.into())
    );
    assert_eq!((&first["blake3"], std::fs::read(&to).unwrap()), (&hash("one.epk"), bytes("one.epk")));
    assert_eq!(deploy("one.epk")["sent"], false);
    let second = deploy("two.epk");
    assert_eq!((&second["sent"], &second["previous"]), (&true.into(), &hash("one.epk")));
    assert_eq!(deploy("two.epk")["previous"], hash("one.epk"));
    let roll_back = || json(&server.ok(&[&["deploy", "--rollback"][..], &at].concat()));
    assert_eq!(roll_back()["blake3"], hash("one.epk"));
    assert_eq!(std::fs::read(&to).unwrap(), bytes("one.epk"));
    assert_eq!(roll_back()["blake3"], hash("two.epk"));
    assert_eq!(server.files("home/models/it's"), ["model.epk", "model.epk.previous"]);
    let home = json(&server.ok(&["deploy", "one.epk", "--to", "~/here.epk", "--format", "json"]));
    assert_eq!(home["path"], server.path("home/here.epk").to_str().unwrap());
    let error = server.fails(2, &["deploy", "--rollback", "--to", "~/here.epk"]);
    assert!(error.contains("there is no version before"), "{error}");
    let error = server.fails(2, &["deploy", "one.epk", "--to", "~/models"]);
    assert!(error.contains("give a file's path"), "{error}");
}

#[test]
fn deploy_here_and_on_emulated_boards_is_the_same_thing() {
    let bench = common::Bench::new();
    bench.pack();
    let packed = std::fs::read(bench.path("model.epk")).unwrap();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for device in ["local", "qemu:rpi2", "qemu:rpi3", "qemu:rpi4", "qemu:rpi5"] {
        let mut agent = None;
        if let Some(name) = device.strip_prefix("qemu:") {
            let board = edgepack_targets::Board::find(name).unwrap();
            let path =
                std::env::var_os(board.agent_variable()).map_or(root.join(board.agent_path()), Into::into);
            if !path.is_file() || edgepack_harness::device::reach(device).is_err() {
                assert!(std::env::var_os("EDGEPACK_EXPECT_BOARDS").is_none(), "{device} was expected");
                server::say(&format!(
                    "SKIPPED {device}: there is no QEMU, or no agent at {}",
                    path.display()
                ));
                continue;
            }
            agent = Some((board.agent_variable(), path));
        }
        let run = |args: &[&str]| {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_edgepack"));
            command.args(args).args(["--device", device, "--format", "json"]).current_dir(bench.dir.path());
            let output = command.envs(agent.clone()).output().unwrap();
            assert!(
                output.status.success(),
                "{device}: {args:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            json(&String::from_utf8(output.stdout).unwrap())
        };
        let to = format!("{}/model.epk", device.replace(':', "-"));
        let report = run(&["deploy", "model.epk", "--to", &to]);
        assert_eq!(
            (&report["sent"], std::fs::read(bench.path(&to)).unwrap() == packed),
            (&true.into(), true)
        );
        assert_eq!(run(&["deploy", "model.epk", "--to", &to])["sent"], false);
        let board = device.strip_prefix("qemu:").map(|board| ["--target", board]);
        let report =
            run(&[&["doctor", "--package", &to][..], board.as_ref().map_or(&[], |words| words)].concat());
        assert_eq!(report["emulated"], device != "local");
        let compare = ["compare", &to, "--baseline", "model.onnx", "--data", "samples.npy", "--runs", "3"];
        assert_eq!(run(&compare)["bit_identical_to_host"], true);
    }
}

/// It does on this machine what the client does on a phone.
const FALSE_ADB: &str = "#!/bin/sh\n[ \"$1\" = -s ] && shift 2\ncase \"$1\" in\n\
    shell) shift; HOME=DIR/phone exec sh -c \"$*\";;\npush|pull) exec cp \"$2\" \"$3\";;\nesac\nexit 1\n";

#[test]
fn adb_reaches_a_device_like_any_other() {
    let bench = common::Bench::new();
    bench.pack();
    std::fs::create_dir(bench.path("phone")).unwrap();
    program(&bench.path("adb"), &FALSE_ADB.replace("DIR", &bench.dir.path().display().to_string()));
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_edgepack"));
        command.args(args).args(["--device", "adb:R58M", "--format", "json"]).current_dir(bench.dir.path());
        command.env("EDGEPACK_ADB", bench.path("adb")).env(agent_variable(), agent());
        let output = command.env_remove("XDG_CACHE_HOME").output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        json(&String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(run(&["selftest", "model.epk"])["passed"], true);
    let to = bench.path("phone/model.epk");
    assert_eq!(run(&["deploy", "model.epk", "--to", to.to_str().unwrap()])["sent"], true);
    assert_eq!(std::fs::read(to).unwrap(), std::fs::read(bench.path("model.epk")).unwrap());
    assert_eq!(run(&["run", "model.epk", "--input", "samples.npy"]).as_array().unwrap().len(), 8);
    wait_for("the session's end", || {
        std::fs::read_dir(bench.path("phone/.cache/edgepack")).unwrap().count() == 1
    });
}

#[test]
fn name_that_names_no_device_is_told() {
    let bench = common::Bench::new();
    bench.pack();
    for (name, part) in [
        ("ftp://host", "ssh://[user@]host[:port]"),
        ("qemu:toaster", "no board `toaster`"),
        ("ssh://-oProxyCommand=x", "give ssh://[user@]host[:port]"),
    ] {
        let output = bench.run(&["selftest", "model.epk", "--device", name]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && error.contains(part), "{name}: {error}");
    }
}
