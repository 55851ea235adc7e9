//! How many instructions an inference takes on ARM, against the record: a kernel that became slower there
//! is seen without a board.
//!
//! QEMU counts, by a plugin that is built here; the agents are what same_bits.rs and microcontrollers.rs run. Counts do
//! not depend on this machine or on what else it does. `cargo test -p edgepack-tests --test instructions`
//! compares; with `EDGEPACK_RECORD=1` it writes the record anew. Without QEMU, compiler or agent it says
//! that it was skipped; `EDGEPACK_EXPECT_BOARDS=1` makes that a failure.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use edgepack_engine::Model;
use edgepack_harness::device::{Counted, Device, Remote, counting_plugin};
use edgepack_harness::{BenchOptions, PackageFacts};
use edgepack_targets::Board;
use edgepack_tests::{Case, digits, others, root, skip, synthetic};

/// Package to board to instructions of one inference.
type Counts = BTreeMap<String, BTreeMap<String, u64>>;

/// The processors: Cortex-A53, A76, everything of ARMv8.6, Cortex-A7.
const BOARDS: [&str; 4] = ["rpi3", "rpi5", "armv8-i8mm", "rpi2"];

/// A Cortex-M4, as a whole machine.
const MACHINES: [&str; 1] = ["mps2-an386"];

/// How much more than the record fails, and how much less is worth a new one, in percent. Counts of one agent lie
/// within 0.03 % of each other; the rest is room for what another release of the compiler does.
const TOLERANCE: f64 = 1.0;

fn record() -> PathBuf {
    root().join("benches/record/arm-instructions.json")
}

#[test]
fn inferences_on_arm_take_no_more_instructions_than_the_record_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut packages = synthetic::packages(folder.path());
    packages.push(("digits", digits().pack(folder.path()).package));
    let mut counts = Counts::new();
    for name in BOARDS.into_iter().chain(MACHINES) {
        match Counter::new(name, folder.path()) {
            Ok(counter) => {
                for (package, path) in &packages {
                    counts.entry(package.to_string()).or_default().insert(name.into(), counter.count(path));
                }
            }
            Err(why) => {
                assert!(std::env::var_os("EDGEPACK_EXPECT_BOARDS").is_none(), "{name} was expected: {why}");
                skip(&format!("instructions on {name}"), &why);
            }
        }
    }
    if std::env::var_os("EDGEPACK_RECORD").is_some() {
        let all = counts.values().all(|boards| boards.len() == BOARDS.len() + MACHINES.len());
        assert!(all && !counts.is_empty(), "a record wants every board");
        let text = serde_json::to_string_pretty(&counts).unwrap() + "\n";
        return std::fs::write(record(), text).unwrap();
    }
    let text = std::fs::read_to_string(record()).unwrap();
    let (worse, better) = compare(&counts, &serde_json::from_str(&text).unwrap());
    for line in &better {
        // Past the capture of test output, which is not shown where a test succeeds.
        let _ = writeln!(std::io::stderr(), "NOTE {line}: write the record anew (EDGEPACK_RECORD=1)");
    }
    assert!(worse.is_empty(), "more instructions than benches/record says:\n{}", worse.join("\n"));
}

/// What is worse than the record, or not in it, and what is better, beyond the tolerance.
fn compare(counts: &Counts, record: &Counts) -> (Vec<String>, Vec<String>) {
    let (mut worse, mut better) = (Vec::new(), Vec::new());
    for (package, boards) in counts {
        for (board, &count) in boards {
            let Some(&old) = record.get(package).and_then(|boards| boards.get(board)) else {
                worse.push(format!("{package} on {board}: {count}, and nothing in the record"));
                continue;
            };
            let percent = 100.0 * (count as f64 / old as f64 - 1.0);
            let line = format!("{package} on {board}: {count} instructions, {percent:+.1} % of {old}");
            match percent {
                _ if percent > TOLERANCE => worse.push(line),
                _ if percent < -TOLERANCE => better.push(line),
                _ => {}
            }
        }
    }
    (worse, better)
}

/// How many times fewer instructions than by the scalar kernels an inference takes by those of the DSP extension, of a
/// network that is mostly convolutions.
const DSP_GAIN: f64 = 2.5;

/// Mostly products of two tensors, which have no row of the extension: it is in the table, [`DSP_GAIN`] is not asked of it.
const NO_CONVOLUTIONS: &str = "transformer";

/// Builds the Cortex-M4's agent without the extension, in a folder of its own.
fn scalar_agent(board: &Board) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scalar");
    let output = Command::new("cargo")
        .args(["build", "--quiet", "--offline", "--profile", "firmware", "-p", "edgepack-mcu"])
        .args(["--target", &board.triple])
        .current_dir(root())
        .env("CARGO_TARGET_DIR", &folder)
        .env("RUSTFLAGS", "-C target-feature=-dsp")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder.join(board.agent_path().strip_prefix("target").unwrap())
}

/// `cargo test -p edgepack-tests --test instructions dsp -- --nocapture` shows the table.
#[test]
fn dsp_kernels_take_two_and_a_half_times_fewer_instructions_than_scalar_ones() {
    let folder = tempfile::tempdir().unwrap();
    let [name] = MACHINES;
    let (board, with_dsp) = match Counter::new(name, folder.path()) {
        Ok(Counter::Machine { board, agent }) => (board, agent),
        Ok(Counter::Program { .. }) => panic!("{name} is a machine"),
        Err(why) => {
            assert!(std::env::var_os("EDGEPACK_EXPECT_BOARDS").is_none(), "{name} was expected: {why}");
            return skip(&format!("the DSP extension on {name}"), &why);
        }
    };
    let without = scalar_agent(&board);
    let mut packages = synthetic::packages(folder.path());
    packages.retain(|(name, _)| !name.ends_with("-strips"));
    packages.push(("digits", digits().pack(folder.path()).package));
    let tiny = |case: &&Case| ["kws_dscnn", "resnet8_cifar10", "vww_mobilenetv1_025"].contains(&case.name);
    for case in others().iter().filter(tiny).filter(|case| case.is_there()) {
        packages.push((case.name, case.pack(folder.path()).package));
    }
    let mut lines = String::new();
    let mut slow = Vec::new();
    for (name, package) in packages {
        let [scalar, dsp] = [(&without, "scalar"), (&with_dsp, "dsp")].map(|(agent, isa)| {
            let (count, has) = count_on_machine(&board, agent, &package);
            assert_eq!(has, isa, "{}", agent.display());
            count
        });
        let macs = Model::open(&package).unwrap().package().head().macs;
        let gain = scalar as f64 / dsp as f64;
        lines += &format!(
            "{name:20} {scalar:11} scalar {dsp:10} DSP {gain:6.2} times {:6.2} multiply-adds an instruction\n",
            macs as f64 / dsp as f64
        );
        if gain < DSP_GAIN && name != NO_CONVOLUTIONS {
            slow.push(name);
        }
    }
    // Past the capture of test output, which is not shown where a test succeeds.
    let _ = write!(std::io::stderr(), "instructions of an inference on {name}:\n{lines}");
    assert!(slow.is_empty(), "fewer than {DSP_GAIN} times: {slow:?}\n{lines}");
}

#[test]
fn the_comparison_tells_worse_from_better_and_new() {
    let counts = |pairs: &[(&str, u64)]| -> Counts {
        pairs.iter().map(|&(name, count)| (name.into(), [("board".into(), count)].into())).collect()
    };
    let record = counts(&[("a", 1000), ("b", 1000), ("c", 1000), ("d", 1000)]);
    let now = counts(&[("a", 1011), ("b", 1009), ("c", 989), ("d", 991), ("e", 1)]);
    let (worse, better) = compare(&now, &record);
    assert!(
        worse.len() == 2 && worse[0].contains("a on board: 1011") && worse[1].contains("nothing in"),
        "{worse:?}"
    );
    assert!(better.len() == 1 && better[0].contains("c on board: 989 instructions, -1.1 %"), "{better:?}");
}

/// Counts on one board.
enum Counter {
    Program { qemu: String, cpu: String, agent: PathBuf, plugin: PathBuf, out: PathBuf },
    Machine { board: Box<Board>, agent: PathBuf },
}

impl Counter {
    /// # Errors
    /// What is missing.
    fn new(board: &str, folder: &Path) -> Result<Self, String> {
        let board = Board::find(board).unwrap();
        let agent = std::env::var_os(board.agent_variable())
            .map_or_else(|| root().join(board.agent_path()), PathBuf::from);
        if !agent.is_file() {
            return Err(format!("there is no agent at {}", agent.display()));
        }
        let machine = board.microcontroller().and_then(|own| own.qemu.clone());
        let program = board.linux().and_then(|own| own.qemu.clone());
        let name = machine.as_ref().map(|qemu| &qemu.program).or(program.as_ref().map(|qemu| &qemu.program));
        let plugin = counting_plugin(name.unwrap(), folder).map_err(|error| error.to_string())?;
        Ok(match program {
            None => Self::Machine { board: Box::new(board), agent },
            Some(qemu) => {
                Self::Program { qemu: qemu.program, cpu: qemu.cpu, agent, plugin, out: folder.join("count") }
            }
        })
    }

    /// Instructions of one inference: loading and what else happens once is the same for any number of them.
    fn count(&self, package: &Path) -> u64 {
        match self {
            Self::Program { .. } => {
                Counted::PROGRAM.per_run(Counted::PROGRAM.runs.map(|runs| self.instructions(package, runs)))
            }
            Self::Machine { board, agent } => count_on_machine(board, agent, package).0,
        }
    }

    fn instructions(&self, package: &Path, runs: u64) -> u64 {
        let Self::Program { qemu, cpu, agent, plugin, out } = self else { return 0 };
        let _ = std::fs::remove_file(out);
        let mut command = Command::new(qemu);
        let plugin = format!("{},out={}", plugin.display(), out.display());
        command.args(["-cpu", cpu, "-plugin", &plugin]).arg(agent);
        command.arg("bench").arg(package).args(Counted::arguments(runs));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        std::fs::read_to_string(out).unwrap().trim().parse().unwrap()
    }
}

/// Instructions of one inference by an agent on a whole machine, and the extensions that the agent has.
fn count_on_machine(board: &Board, agent: &Path, package: &Path) -> (u64, String) {
    let mut device = Remote::emulated(board.clone(), package, 1, agent.to_path_buf()).unwrap();
    let sample = PackageFacts::read(package).unwrap().random_sample(0);
    let bench = device.bench(&sample, &BenchOptions::default()).unwrap();
    (bench.instructions_per_run.unwrap(), device.info().isa.clone())
}
