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

use edgepack_harness::device::{Counted, Device, Remote, counting_plugin};
use edgepack_harness::{BenchOptions, PackageFacts};
use edgepack_targets::Board;
use edgepack_tests::{digits, root, skip, synthetic};

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
            Self::Machine { board, agent } => {
                let mut device = Remote::emulated((**board).clone(), package, 1, agent.clone()).unwrap();
                let sample = PackageFacts::read(package).unwrap().random_sample(0);
                device.bench(&sample, &BenchOptions::default()).unwrap().instructions_per_run.unwrap()
            }
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
