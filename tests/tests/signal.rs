//! Front-ends in packages: from recordings to what a model says.

use std::path::Path;

use edgepack_engine::format::writer::PackageWriter;
use edgepack_engine::format::{Package, SectionKind};
use edgepack_engine::{InputData, Model, OutputData, SessionOptions};
use edgepack_harness::device::{Device, Local};
use edgepack_harness::{DataSet, PackageFacts, Preprocessing, SignalFrontEnd};
use edgepack_packager::pack::PackReport;
use edgepack_signal::writer::encode;
use edgepack_signal::{FrontEnd, Stream};
use edgepack_tests::recordings::{self, samples, small, spec, with};
use edgepack_tests::{digits, others};

fn packed(folder: &Path) -> PackReport {
    with(digits(), &small(), recordings::folder()).pack(folder)
}

#[test]
fn a_package_says_how_recordings_become_its_input() {
    let folder = tempfile::tempdir().unwrap();
    let report = packed(folder.path());
    let model = Model::open(&report.package).unwrap();
    let section = model.package().signal().unwrap();
    assert_eq!(section, encode(&small()).unwrap());
    // The application: what the section in the package makes of samples, and the package of that.
    let front_end = FrontEnd::parse(section).unwrap();
    let mut memory = vec![0.0; front_end.memory_elems()];
    let mut features = vec![0.0; front_end.elems()];
    Stream::new(front_end, &mut memory).unwrap().clip(&samples("no.wav"), &mut features).unwrap();
    let mut session = model.session(&SessionOptions::default()).unwrap();
    session.set_input(0, InputData::F32(&features)).unwrap();
    session.run().unwrap();
    let OutputData::F32(expected) = session.output(0).unwrap() else { panic!("an output of another type") };
    // The harness, as `run` and `compare` use it.
    let facts = PackageFacts::read(&report.package).unwrap();
    let data = DataSet::open_all(&recordings::folder(), &facts.inputs(), &facts.of_files(), None).unwrap();
    assert_eq!((data.len(), data.get(0).unwrap().name.as_str()), (2, "no.wav"));
    let mut device = Local::open(&report.package, 1, None).unwrap();
    let outcome = device.run(&[data.get(0).unwrap()]).unwrap();
    assert_eq!(outcome[0].values[0], expected);
}

#[test]
fn recordings_that_do_not_fit_are_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let facts = PackageFacts::read(&packed(folder.path()).package).unwrap();
    let good = std::fs::read(recordings::folder().join("yes.wav")).unwrap();
    let path = folder.path().join("bad.wav");
    // Bytes 22, 24 and 34 of a WAV file's header have the channels, the rate, and the bits of a sample.
    let cases: [(usize, u16, &str); 3] = [
        (24, 8000, "8000 samples a second, but the front-end takes 16000"),
        (22, 2, "2 channels, but the front-end takes 1"),
        (34, 8, "8 bits"),
    ];
    for (at, value, says) in cases {
        let mut bytes = good.clone();
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        // Blocks and seconds are as large as their samples, or the header is none.
        let number = |at: usize| u32::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let block = number(22) * number(34) / 8;
        let second = number(24) * block;
        bytes[28..32].copy_from_slice(&second.to_le_bytes());
        bytes[32..34].copy_from_slice(&(block as u16).to_le_bytes());
        std::fs::write(&path, &bytes).unwrap();
        let data = DataSet::open_all(&path, &facts.inputs(), &facts.of_files(), None).unwrap();
        let error = data.get(0).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("ffmpeg"), "{error}");
    }
    for bytes in [&good[..20], b"", b"RIFF"] {
        std::fs::write(&path, bytes).unwrap();
        let data = DataSet::open_all(&path, &facts.inputs(), &facts.of_files(), None).unwrap();
        assert!(data.get(0).unwrap_err().to_string().contains("cannot read this WAV file"));
    }
    // Without a front-end nothing says what a recording is.
    let error = DataSet::open_all(&path, &facts.inputs(), &Preprocessing::default(), None).unwrap_err();
    assert!(error.to_string().contains("--signal"), "{error}");
}

#[test]
fn a_front_end_of_another_shape_is_refused() {
    let mut turned = small();
    turned.spectral.as_mut().unwrap().bands.count = 8;
    let signal = SignalFrontEnd::new(&encode(&turned).unwrap()).unwrap();
    let facts = PackageFacts::read(&packed(tempfile::tempdir().unwrap().path()).package).unwrap();
    let error = signal.check(&facts.input).unwrap_err().to_string();
    assert!(error.contains("[16, 8]") && error.contains("[1, 1, 16, 16]"), "{error}");
    let wide = edgepack_harness::InputSpec { dims: vec![1, 8, 16], ..facts.input };
    assert!(signal.check(&wide).unwrap_err().to_string().contains("features-first"));
}

#[test]
fn a_front_end_that_contradicts_itself_is_refused_and_the_package_runs_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let report = packed(folder.path());
    let model = Model::open(&report.package).unwrap();
    let mut writer = PackageWriter::new();
    for section in model.package().sections() {
        let mut bytes = section.bytes.to_vec();
        if section.kind == SectionKind::Signal {
            bytes[4 * 6 + 1] ^= 0x80;
        }
        writer = writer.section(section.kind, section.key, bytes);
    }
    let path = folder.path().join("wrong.epk");
    std::fs::write(&path, writer.finish()).unwrap();
    let error = PackageFacts::read(&path).unwrap_err().to_string();
    assert!(error.contains("wrong.epk: signal front-end: frame_elems is not possible"), "{error}");
    let wrong = Model::open(&path).unwrap();
    let package: Package<'_> = wrong.package();
    assert!(package.signal().is_some());
    wrong.session(&SessionOptions::default()).unwrap().selftest().unwrap();
}

/// The network of MLPerf Tiny hears the words, by features that its own recipe would give it.
#[test]
fn keywords_are_heard_in_recordings() {
    let case = others().into_iter().find(|case| case.name.contains("kws")).unwrap();
    if !case.is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let calibration = case.calibration.clone();
    let report = with(case, &spec("mlperf-kws"), calibration).pack(folder.path());
    let facts = PackageFacts::read(&report.package).unwrap();
    let data = DataSet::open_all(&recordings::folder(), &facts.inputs(), &facts.of_files(), None).unwrap();
    let mut device = Local::open(&report.package, 1, None).unwrap();
    // Classes of the model: down, go, left, no, off, on, right, stop, up, yes, silence, unknown.
    for (index, class) in [(0, 3), (1, 9)] {
        let sample = data.get(index).unwrap();
        let outcome = device.run(std::slice::from_ref(&sample)).unwrap();
        let values = &outcome[0].values[0];
        println!("{}: {values:?}", sample.name);
        assert_eq!(edgepack_harness::argmax(values), Some(class), "{}", sample.name);
    }
}
