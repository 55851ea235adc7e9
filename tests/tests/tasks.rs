//! The programs of runtime/mcu/examples: the four tasks of MLPerf Tiny, from raw samples to a decision, and what goes
//! wrong on a device. They run on emulated boards with the package in flash, and what they print, the hashes of every
//! input and output among it, is what the workstation computes by its own engine.
//!
//! Where the models of MLPerf Tiny are not, the bundled one and synthetic ones stand for them.

use std::cell::RefCell;
use std::convert::Infallible;
use std::path::{Path, PathBuf};

use edgepack_engine::{Error, InputData, Model, OutputData, Session, SessionOptions};
use edgepack_firmware::{
    Code, Decision, Hysteresis, Inference, Level, Listen, Reconstruction, Signal, Source, Votes, Watch, top,
};
use edgepack_harness::{Preprocessing, Sample};
use edgepack_mcu::fnv;
use edgepack_signal::{FrontEnd, Stream};
use edgepack_tests::emulated::Program;
use edgepack_tests::recordings::{self, samples, small, spec, with, write_pcm};
use edgepack_tests::{Case, digits, others, root, skip, synthetic};
use embedded_hal::digital::{ErrorType, OutputPin};
use tempfile::TempDir;

const CORTEX_M4: &str = "mps2-an386";
const RISC_V: &str = "qemu-riscv32";

/// What a program prints.
#[derive(Default)]
struct Lines(RefCell<Vec<String>>);

impl Lines {
    fn push(&self, line: String) {
        self.0.borrow_mut().push(line);
    }

    fn into_text(self) -> String {
        self.0.into_inner().iter().flat_map(|line| [line, "\n"]).collect()
    }
}

/// The workstation's engine, which writes down what the programs print of a model.
struct Here<'m, 'l>(Session<'m>, &'l Lines);

impl Inference for Here<'_, '_> {
    type Error = Error;

    fn infer(&mut self, sample: InputData<'_>) -> Result<OutputData<'_>, Error> {
        let bytes = match sample {
            InputData::F32(values) => OutputData::F32(values).bytes(),
            InputData::Pixels(pixels) => pixels,
            _ => panic!("no program gives these"),
        };
        self.0.set_input(0, sample)?;
        self.0.run()?;
        let output = self.0.output(0)?;
        self.1.push(format!("input {:016x} output {:016x}", fnv(bytes), fnv(output.bytes())));
        Ok(output)
    }
}

/// The programs' light.
struct Lamp<'l>(&'l Lines);

impl ErrorType for Lamp<'_> {
    type Error = Infallible;
}

impl OutputPin for Lamp<'_> {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.0.push("lamp off".into());
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.0.push("lamp on".into());
        Ok(())
    }
}

/// The programs' camera.
struct Frames<'f>(std::slice::Iter<'f, Vec<u8>>);

impl Source<u8> for Frames<'_> {
    type Error = Infallible;

    fn read(&mut self, frame: &mut [u8]) -> Result<bool, Infallible> {
        Ok(self.0.next().is_some_and(|next| {
            frame.copy_from_slice(next);
            true
        }))
    }
}

/// The programs' microphone.
fn microphone(mut pcm: &[i16]) -> impl FnMut(&mut [i16]) -> Result<usize, Infallible> {
    move |samples| {
        let count = samples.len().min(pcm.len());
        samples[..count].copy_from_slice(&pcm[..count]);
        pcm = &pcm[count..];
        Ok(count)
    }
}

fn session(model: &Model) -> Session<'_> {
    model.session(&SessionOptions::default()).unwrap()
}

/// Runs a program on a board; it prints what was computed here.
fn check(program: &'static str, board: &str, package: &Path, words: &[&str], expected: &str) {
    let Some(built) = Program::build(board, program, package) else { return };
    let (status, printed) = built.run(words);
    assert!(status == Some(0), "{program} on {board}: {status:?} {printed}");
    assert_eq!(printed, expected, "{program} on {board}");
    println!("{program} on {board}: {} lines as here", printed.lines().count());
}

/// A model of MLPerf Tiny, or what stands for it.
fn tiny(name: &str, instead: impl FnOnce() -> Case) -> Case {
    let case = others().into_iter().find(|case| case.name == name).unwrap();
    if case.is_there() { case } else { instead() }
}

#[test]
fn keywords_are_heard_on_both_architectures() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = |case: Case| {
        let calibration = case.calibration.clone();
        with(case, &spec("mlperf-kws"), calibration)
    };
    let digits = || with(digits(), &small(), recordings::folder());
    let case = tiny("kws_dscnn", digits);
    let is_tiny = case.name == "kws_dscnn";
    let package = if is_tiny { recipe(case) } else { case }.pack(folder.path()).package;
    // A second of each word, and so many more windows that begin in one and end in the other.
    let second = if is_tiny { 16_000 } else { 4_000 };
    let pcm = ["yes.wav", "no.wav", "yes.wav"].map(|name| samples(name)[..second].to_vec()).concat();
    let file = folder.path().join("samples.pcm");
    write_pcm(&file, &pcm);

    let lines = Lines::default();
    let model = Model::open(&package).unwrap();
    let mut network = Here(session(&model), &lines);
    let front_end = FrontEnd::parse(model.package().signal().unwrap()).unwrap();
    let (mut memory, mut features) = (vec![0.0; front_end.memory_elems()], vec![0.0; front_end.elems()]);
    let stream = Stream::new(front_end, &mut memory).unwrap();
    let mut buffer = [0; 320];
    let mut source = Listen::new(microphone(&pcm), stream, &mut buffer);
    while source.read(&mut features).unwrap() {
        let word = top(network.infer(InputData::F32(&features)).unwrap().values())[0];
        lines.push(format!("class {} {}", word.class, word.score));
    }
    let expected = lines.into_text();
    assert!(expected.lines().count() > 16, "{expected}");
    // The class of "yes"; the first window is the first recording.
    assert!(!is_tiny || expected.lines().nth(1).unwrap().starts_with("class 9 "), "{expected}");
    for board in [CORTEX_M4, RISC_V] {
        check("keywords", board, &package, &[file.to_str().unwrap()], &expected);
    }
}

/// A package for frames of a camera, and some of these.
struct Camera {
    folder: TempDir,
    package: PathBuf,
    frames: Vec<Vec<u8>>,
}

impl Camera {
    /// The first frames of a case's data.
    fn new(case: &Case, count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let package = case.pack(folder.path()).package;
        let samples = case.data(&package, Some(count));
        let pixels = |sample: Result<Sample, _>| sample.unwrap().pixels.unwrap();
        let frames = samples.iter().map(pixels).collect();
        Self { folder, package, frames }
    }

    /// A file of frames.
    fn file(&self, name: &str, frames: &[Vec<u8>]) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, frames.concat()).unwrap();
        path.to_str().unwrap().into()
    }
}

#[test]
fn a_person_is_seen() {
    const CLASS: usize = 1;
    let camera = Camera::new(&tiny("vww_mobilenetv1_025", digits), 64);
    let model = Model::open(&camera.package).unwrap();
    // Frames with the class and without, so that the decision has something to change for.
    let mut network = Here(session(&model), &Lines::default());
    let mut score =
        |frame: &&Vec<u8>| network.infer(InputData::Pixels(frame)).unwrap().values().nth(CLASS).unwrap();
    let seen: Vec<_> = camera.frames.iter().filter(|frame| score(frame) >= 0.7).take(3).collect();
    let unseen: Vec<_> = camera.frames.iter().filter(|frame| score(frame) < 0.4).take(4).collect();
    assert!(seen.len() == 3 && unseen.len() == 4, "{} with, {} without", seen.len(), unseen.len());
    let order = [unseen[0], seen[0], unseen[1], seen[1], seen[2], unseen[2], unseen[3], unseen[0], seen[0]];
    let frames = order.map(Vec::clone);

    let lines = Lines::default();
    let mut frame = vec![0; frames[0].len()];
    let decision = Decision::new(Hysteresis::new(0.7, 0.4).unwrap(), Votes::new(2, 3).unwrap());
    let lamp = Signal::new(Lamp(&lines), Level::ActiveHigh);
    let (source, network) = (Frames(frames.iter()), Here(session(&model), &lines));
    let mut watch = Watch::new(source, network, lamp, (CLASS, decision), &mut frame[..]);
    while let Some(report) = watch.step().unwrap() {
        lines.push(format!("score {} seen {}", report.score, report.seen));
    }
    drop(watch);
    let expected = lines.into_text();
    let changes: Vec<_> = expected.lines().filter(|line| line.starts_with("lamp")).collect();
    assert_eq!(changes, ["lamp off", "lamp on", "lamp off"], "{expected}");
    check("visual_wake_words", CORTEX_M4, &camera.package, &[&camera.file("frames.rgb", &frames)], &expected);
}

/// And what the same program says of files and packages that are damaged.
#[test]
fn pictures_are_classified_and_damage_is_told() {
    const LABELS: [&str; 10] =
        ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
    let camera = Camera::new(&tiny("resnet8_cifar10", digits), 6);
    let lines = Lines::default();
    let model = Model::open(&camera.package).unwrap();
    let mut network = Here(session(&model), &lines);
    for frame in &camera.frames {
        let top = top(network.infer(InputData::Pixels(frame)).unwrap().values());
        let label = |one: &edgepack_firmware::Class| format!("{} {} ", LABELS[one.class], one.score);
        lines.push(top.iter().take(3).map(label).collect());
    }
    let expected = lines.into_text();
    let file = camera.file("frames.rgb", &camera.frames);
    check("image_classification", CORTEX_M4, &camera.package, &[&file], &expected);

    let Some(mut program) = Program::build(CORTEX_M4, "image_classification", &camera.package) else {
        return;
    };
    let fails = |program: &Program, words: &[&str], says: &str| {
        let (status, printed) = program.run(words);
        let last = printed.lines().last().unwrap_or_default();
        assert!(status == Some(2) && last.starts_with(&format!("error: {says}")), "{status:?} {printed}");
    };
    fails(&program, &[], "name a file of the host");
    fails(&program, &["nowhere.rgb"], "nowhere.rgb: the host does not open it");
    let mut cut = camera.frames[..2].to_vec();
    cut[1].pop();
    fails(&program, &[&camera.file("cut.rgb", &cut)], "the file ends within a frame");
    // One bit of the flash, in the file that is loaded there.
    let (whole, package) = (std::fs::read(&program.elf).unwrap(), std::fs::read(&camera.package).unwrap());
    let at = whole.windows(package.len()).position(|bytes| bytes == package).unwrap();
    program.elf.set_extension("damaged");
    for (byte, code) in [
        (0, Code::NotAPackage),
        (8, Code::Version),
        (40, Code::DamagedHeader),
        (100, Code::DamagedHeader),
        (package.len() / 2, Code::DamagedSection),
        (package.len() - 1, Code::DamagedSection),
    ] {
        let mut damaged = whole.clone();
        damaged[at + byte] ^= 0x10;
        std::fs::write(&program.elf, damaged).unwrap();
        fails(&program, &[&file], &format!("error {}: ", code as u16));
    }
}

/// The autoencoder of MLPerf Tiny's size has random weights: that decisions are the host's can be seen, not that they
/// are right.
#[test]
fn an_unusual_sound_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let models =
        std::env::var_os("EDGEPACK_PEER_MODELS").map_or(root().join("../shared/peers/models"), PathBuf::from);
    let mut model = models.join("ae640.onnx");
    if !model.is_file() {
        skip("ae640", &format!("there is no {} (EDGEPACK_PEER_MODELS)", model.display()));
        model = synthetic::model(folder.path(), "autoencoder");
    }
    let recordings = recordings::folder();
    let case = Case {
        name: "anomalies",
        model,
        calibration: recordings.clone(),
        evaluation: recordings.clone(),
        shape: None,
        preprocessing: Preprocessing::default(),
    };
    let package = with(case, &spec("mlperf-ad"), recordings).pack(folder.path()).package;
    let pcm = ["yes.wav", "no.wav"].map(samples).concat();
    let file = folder.path().join("samples.pcm");
    write_pcm(&file, &pcm);

    let model = Model::open(&package).unwrap();
    let front_end = FrontEnd::parse(model.package().signal().unwrap()).unwrap();
    let heard = |threshold: f32| {
        let lines = Lines::default();
        let (mut memory, mut window) = (vec![0.0; front_end.memory_elems()], vec![0.0; front_end.elems()]);
        let mut buffer = [0; 512];
        let stream = Stream::new(front_end, &mut memory).unwrap();
        let source = Listen::new(microphone(&pcm), stream, &mut buffer);
        let decision =
            Decision::new(Hysteresis::new(threshold, threshold).unwrap(), Votes::new(3, 5).unwrap());
        let detector = Reconstruction::new(Here(session(&model), &lines));
        let lamp = Signal::new(Lamp(&lines), Level::ActiveHigh);
        let mut watch = Watch::new(source, detector, lamp, (0, decision), &mut window[..]);
        let mut errors = Vec::new();
        while let Some(report) = watch.step().unwrap() {
            lines.push(format!("error {} unusual {}", report.score, report.seen));
            errors.push(report.score);
        }
        drop(watch);
        (lines.into_text(), errors)
    };
    // Half of the windows are unusual.
    let (_, mut errors) = heard(0.0);
    errors.sort_by(f32::total_cmp);
    let threshold = errors[errors.len() / 2];
    let (expected, _) = heard(threshold);
    assert!(errors.len() > 50 && expected.contains("lamp on\n"), "{expected}");
    let words = [file.to_str().unwrap(), &threshold.to_string()];
    check("anomaly_detection", CORTEX_M4, &package, &words, &expected);
}

/// What `faults.rs` prints of a package, line by line: of each fault its code, and where it is.
fn told_of_faults(package: &Path) -> String {
    let model = Model::open(package).unwrap();
    let read = model.package();
    let (bytes, arena) = (read.bytes().len(), read.head().arena_bytes as usize);
    let (elems, golden) =
        (read.inputs().next().unwrap().dims.elems().unwrap() as usize, read.golden().count());
    let memory = FrontEnd::parse(read.signal().unwrap()).unwrap().memory_elems();
    let another_format = usize::from(read.bytes()[8] ^ 0x10);
    // The section that the byte in the middle is in.
    let middle = read.bytes()[bytes / 2..].as_ptr();
    let section = read.sections().position(|section| section.bytes.as_ptr_range().contains(&middle)).unwrap();
    let damaged = (0..bytes).step_by(bytes / 100).count();
    let error = |code: Code, at: usize| format!("error {}: {} ({at})", code as u16, code.text());
    let lines = |lines: &[(&str, Code, usize)]| -> String {
        lines.iter().map(|&(what, code, at)| format!("{what}: {}\n", error(code, at))).collect()
    };
    let length = error(Code::InputLength, elems);
    [
        lines(&[("a package at an odd place", Code::PackageAlignment, 0)]),
        "a whole package: taken\n".into(),
        lines(&[
            ("a package without its first word", Code::NotAPackage, 0),
            ("a package of another format", Code::Version, another_format),
            ("a package with a damaged header", Code::DamagedHeader, 0),
            ("a package with a damaged section", Code::DamagedSection, section),
        ]),
        format!("{damaged} packages with one other bit: 0 taken\n"),
        lines(&[
            ("a package without its last byte", Code::Length, bytes - 1),
            ("no package", Code::NotAPackage, 0),
        ]),
        format!("{bytes} packages that end before: 0 taken\n"),
        lines(&[
            ("a package of operations that the program has not", Code::Operation, 0),
            ("another package", Code::OtherPackage, 0),
            ("an arena that is a byte short", Code::ArenaBytes, arena),
            ("an arena at an odd place", Code::ArenaAlignment, 0),
            ("no arena", Code::ArenaBytes, arena),
            ("a sample that is a value short", Code::InputLength, elems),
            ("a sample that is a value long", Code::InputLength, elems),
            ("no sample", Code::InputLength, elems),
            ("pixels for an input that takes none", Code::NoPixels, 0),
            ("integers for numbers", Code::NoIntegers, 0),
            ("elements of another type", Code::InputType, 0),
            ("a second input", Code::Index, 1),
            ("a second output", Code::Index, 1),
        ]),
        // The lamp is off before an error is told, and on again with the next frame.
        format!(
            "lamp on
camera: a frame, on true
camera: a frame, on true
lamp off
camera: the driver's error 7, Some(false)
lamp on
camera: a frame, on true
camera: a frame, on true
lamp off
camera: the driver's error 7, Some(false)
camera: the end, Some(false)
lamp off
wrong sample: {length}, Some(false)
wrong sample: {length}, Some(false)
wrong sample: the driver's error 7, Some(false)
wrong sample: the end, Some(false)
lamp off
wrong class: class 10: the model's first output has 10, from 0 on, Some(false)
wrong class: class 10: the model's first output has 10, from 0 on, Some(false)
wrong class: the driver's error 7, Some(false)
wrong class: the end, Some(false)
too little memory for the front-end: 3 (signal front-end: it needs memory for {memory} f32, {} were given)
lamp on
microphone: a frame, on true
microphone: a frame, on true
lamp off
microphone: recorder: the driver's error 9, Some(false)
lamp on
microphone: a frame, on true
microphone: a frame, on true
lamp off
microphone: the end, Some(false)
the model: {golden} golden samples are the workstation's
",
            memory - 1
        ),
    ]
    .concat()
}

#[test]
fn what_is_wrong_has_a_code_and_nothing_panics_or_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let package = with(digits(), &small(), recordings::folder()).pack(folder.path()).package;
    let expected = told_of_faults(&package);
    for board in [CORTEX_M4, RISC_V] {
        check("faults", board, &package, &[], &expected);
    }
}
