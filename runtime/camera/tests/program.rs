//! The program on folders of images: what it says, what its pin does, and what it does when something is wrong. It
//! needs nothing of the packager, so that it runs under QEMU, too.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use edgepack_camera::{Args, Error, run};
use edgepack_engine::format::SectionKind;
use edgepack_engine::format::plan::{
    Dims, ElemType, Head, Input, Lookup, Op, Output, Pixels, Quant, Span, Step,
};
use edgepack_engine::format::writer::{PackageWriter, encode_plan};
use image::{GrayImage, Luma};

/// A grey picture of 2×2, whose pixels are the scores of four classes, from 0 to 1.
fn package(from_image: Option<&str>) -> Vec<u8> {
    let mut weights: Vec<u8> = (0..256).map(|pixel| (pixel - 128) as u8).collect();
    weights.extend((0..256).flat_map(|index| (index as f32 / 255.0).to_le_bytes()));
    let (input, output) = (Span { offset: 0, bytes: 4 }, Span { offset: 64, bytes: 16 });
    let pixels = from_image.map(|from_image| Pixels {
        tables: Span { offset: 0, bytes: 256 },
        reverse_channels: false,
        strides: [4, 2, 1, 1],
        from_image,
    });
    let inputs = [Input {
        name: "image",
        dims: Dims { rank: 4, sizes: [1, 1, 2, 2, 1, 1] },
        buffer: input,
        dtype: ElemType::I8,
        quant: Quant { scale: 1.0 / 255.0, zero_point: -128 },
        limits: None,
        arena_dims: [1, 2, 2, 1],
        strides: [4, 2, 1, 4],
        pixels,
    }];
    let dims = Dims { rank: 2, sizes: [1, 4, 1, 1, 1, 1] };
    let outputs =
        [Output { name: "scores", dims, buffer: output, dtype: ElemType::F32, quant: None, exact: true }];
    let op = Op::Lookup(Lookup { input, output, table: Span { offset: 256, bytes: 1024 }, to_f32: true });
    let steps = [Step { name: "scores", scratch: Span { offset: 0, bytes: 0 }, op }];
    let head = Head { arena_bytes: 128, inputs: 0, outputs: 0, steps: 0, macs: 0 };
    PackageWriter::new()
        .section(SectionKind::Plan, "", encode_plan(head, &inputs, &outputs, &steps))
        .section(SectionKind::Weights, "", weights)
        .finish()
}

struct Setup {
    folder: tempfile::TempDir,
}

impl Setup {
    /// A package, frames whose third pixel is so bright, and a pin.
    fn new(from_image: Option<&str>, bright: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("frames")).unwrap();
        std::fs::write(folder.path().join("model.epk"), package(from_image)).unwrap();
        std::fs::write(folder.path().join("pin"), "?").unwrap();
        let setup = Self { folder };
        for (index, &bright) in bright.iter().enumerate() {
            let picture = GrayImage::from_fn(2, 2, |x, y| Luma([if (x, y) == (0, 1) { bright } else { 5 }]));
            picture.save(setup.frame(&format!("{index:02}.png"))).unwrap();
        }
        setup
    }

    fn frame(&self, name: &str) -> PathBuf {
        self.folder.path().join("frames").join(name)
    }

    fn pin(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("pin")).unwrap()
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `@` stands for the folder.
    fn run(&self, line: &str) -> (Result<(), Error>, String) {
        let folder = self.path().to_str().unwrap();
        let words = line.split(' ').map(|word| word.replace('@', folder).into());
        let args = Args::parse(words).unwrap().unwrap();
        let mut out = Vec::new();
        let outcome = run(&args, &AtomicBool::new(false), &mut out);
        (outcome, String::from_utf8(out).unwrap())
    }
}

const LINE: &str = "@/model.epk --frames @/frames --class 2 --votes 2/3 --pin file:@/pin";

#[test]
fn changes_are_told_and_the_pin_is_off_at_the_end() {
    let setup = Setup::new(Some("{}"), &[10, 200, 220, 150, 90, 10, 255, 255]);
    let (outcome, out) = setup.run(LINE);
    outcome.unwrap();
    assert_eq!(
        out,
        "on at 02.png: 0.8627\noff at 05.png: 0.0392\non at 07.png: 1.0000\n8 frames, 3 changes\n"
    );
    assert_eq!(setup.pin(), "0\n");
    // It is on while the last of these frames is.
    let (outcome, out) = setup.run(&format!("{LINE} --active-low --limit 3"));
    outcome.unwrap();
    assert_eq!(out, "on at 02.png: 0.8627\n3 frames, 1 changes\n");
    assert_eq!(setup.pin(), "1\n");
}

#[test]
fn every_frame_is_a_line_of_json() {
    let setup = Setup::new(Some("{}"), &[51, 255]);
    let (outcome, out) = setup.run(&format!("{LINE} --json"));
    outcome.unwrap();
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[1]["frame"], &lines[1]["seen"], &lines[1]["on"]),
        (&"01.png".into(), &true.into(), &false.into())
    );
    assert_eq!(lines[1]["top"][0], serde_json::json!([2, 1.0]));
    assert_eq!(lines[0]["score"].as_f64().map(|score| score as f32), Some(0.2));
}

#[test]
fn frames_of_any_size_become_the_size_of_the_input() {
    let setup = Setup::new(Some("{}"), &[]);
    GrayImage::from_fn(20, 10, |x, y| Luma([if x < 10 && y >= 5 { 250 } else { 10 }]))
        .save(setup.frame("a.png"))
        .unwrap();
    let (outcome, out) = setup.run(&format!("{LINE} --json"));
    outcome.unwrap();
    assert!(out.contains("\"seen\":true"), "{out}");
    // A package that says how: the middle 2×2 of the same, resized to a height of 2.
    let setup =
        Setup::new(Some(r#"{"resize":"2","crop":[2,2],"mean":[0.0],"std":[1.0],"channels":"rgb"}"#), &[]);
    GrayImage::from_fn(20, 10, |x, y| Luma([if (5..10).contains(&x) && y >= 5 { 250 } else { 10 }]))
        .save(setup.frame("a.png"))
        .unwrap();
    let (outcome, out) = setup.run(&format!("{LINE} --json"));
    outcome.unwrap();
    assert!(out.contains("\"seen\":true"), "{out}");
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_the_pin_is_off() {
    let good = || Setup::new(Some("{}"), &[255, 255, 255]);
    let fails = |setup: &Setup, line: &str, parts: &[&str]| {
        let (outcome, out) = setup.run(line);
        let error = outcome.unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        out
    };
    // The third frame is no image; the second one had turned the pin on.
    let setup = good();
    std::fs::write(setup.frame("02.png"), b"not an image").unwrap();
    let out = fails(&setup, LINE, &["02.png"]);
    assert!(out.contains("on at 01.png"), "{out}");
    assert_eq!(setup.pin(), "0\n");

    let setup = good();
    fails(&setup, &LINE.replace("@/frames", "@/nowhere"), &["nowhere"]);
    fails(&setup, &LINE.replace("--class 2", "--class 4"), &["--class 4", "has 4"]);
    fails(&setup, &LINE.replace("@/pin", "@/no/led"), &["--pin file:", "no/led"]);
    fails(&setup, &LINE.replace("file:@/pin", "gpio:/dev/no-chip:3"), &["gpio:/dev/no-chip:3"]);
    fails(&setup, &LINE.replace("file:@/pin", "gpio:/dev/gpiochip0"), &["gpio:/dev/gpiochip0:17"]);
    fails(&setup, &LINE.replace("file:@/pin", "buzzer"), &["file:PATH"]);
    fails(&setup, &LINE.replace("model.epk", "other.epk"), &["other.epk"]);
    fails(&setup, &LINE.replace("--frames @/frames", "--camera /dev/no-video"), &["/dev/no-video"]);
    fails(&setup, &format!("{LINE} --threads 17"), &["--threads"]);

    let setup = Setup::new(Some("{}"), &[]);
    fails(&setup, LINE, &["frames", "no image"]);
    fails(&Setup::new(None, &[9]), LINE, &["model.epk", "--mean"]);
    fails(&Setup::new(Some("?"), &[9]), LINE, &["model.epk", "preprocessing"]);
    fails(&Setup::new(Some(r#"{"resize":"0"}"#), &[9]), LINE, &["resizes to `0`"]);
    fails(&Setup::new(Some(r#"{"crop":[4,4]}"#), &[9]), LINE, &["00.png", "2x2 is less", "4x4"]);
    fails(&Setup::new(Some(r#"{"resize":"3x3"}"#), &[9]), LINE, &["00.png", "3x3", "2x2"]);
}

#[test]
fn output_that_nobody_reads_ends_it_with_the_pin_off() {
    /// Takes nothing more once it has this many bytes.
    struct Pipe(usize);
    impl std::io::Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let left = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::BrokenPipe)?;
            self.0 = left;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let setup = Setup::new(Some("{}"), &[255; 9]);
    let folder = setup.path().to_str().unwrap();
    let args = Args::parse(LINE.split(' ').map(|word| word.replace('@', folder).into())).unwrap().unwrap();
    // The first line is that the pin is on.
    let error = run(&args, &AtomicBool::new(false), &mut Pipe(10)).unwrap_err();
    assert!(matches!(error, Error::Output(_)), "{error}");
    assert_eq!(setup.pin(), "0\n");
}

#[test]
fn a_program_that_is_told_to_stop_turns_the_pin_off() {
    let setup = Setup::new(Some("{}"), &[255; 3]);
    let folder = setup.path().to_str().unwrap();
    let args = Args::parse(LINE.split(' ').map(|word| word.replace('@', folder).into())).unwrap().unwrap();
    let mut out = Vec::new();
    run(&args, &AtomicBool::new(true), &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "0 frames, 0 changes\n");
    assert_eq!(setup.pin(), "0\n");
}
