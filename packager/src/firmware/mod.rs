//! A cargo project around a package, for a microcontroller: it builds as it is, and its user's drivers go into it.
//!
//! Its files are texts of `assets/firmware`, with `@WORDS@` that are replaced, chosen by what the board starts by and what
//! the package takes.

mod start;

use std::path::{Path, PathBuf};

use edgepack_format::Package;
use edgepack_format::plan::{ElemType, Input, Op};
use edgepack_harness::report::words::human_bytes;
use edgepack_signal::FrontEnd;
use edgepack_targets::{Board, Microcontroller};

use crate::error::{PackError, Result};
use crate::header;
use crate::limits::check_islands;
use start::Start;

/// What a project is made of.
#[derive(Clone, Copy, Debug)]
pub struct Project<'a> {
    /// The board.
    pub board: &'a Board,
    /// The name of the package's file.
    pub file: &'a str,
    /// The package.
    pub package: Package<'a>,
    /// A clone of edgepack, whose crates, versions and compiler it takes; `None` for the sources of this version's
    /// release.
    pub clone: Option<&'a Path>,
}

/// A file of the project: its path there, and what is in it.
pub type File = (PathBuf, Vec<u8>);

/// Bytes of RAM for what else the template has in statics.
const STATICS_BYTES: u64 = 512;

/// The text of a template.
macro_rules! template {
    ($name:literal) => {
        include_str!(concat!("../../assets/firmware/", $name, ".in"))
    };
}
pub(crate) use template;

/// A text with its words replaced.
fn filled(text: &str, words: &[(&str, &str)]) -> String {
    words.iter().fold(text.into(), |text: String, (word, with)| text.replace(&format!("@{word}@"), with))
}

/// A string as TOML and Rust both read it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What is read of the sensor, and held in RAM beside the arena.
#[derive(Clone, Copy, Debug)]
enum Feed<'a> {
    /// Samples of a microphone or accelerometer, by the package's front-end.
    Signal(FrontEnd<'a>),
    /// Raw pixels of so many channels.
    Pixels(u32),
    /// Numbers of one input.
    Values,
    /// Several inputs, or integers.
    Inputs,
}

impl<'a> Feed<'a> {
    fn of(package: &Package<'a>) -> Self {
        let mut inputs = package.inputs();
        match (inputs.next(), inputs.next(), header::front_end(package)) {
            (Some(_), None, Some(front_end)) => Self::Signal(front_end),
            (Some(input), None, None) if input.pixels.is_some() => Self::Pixels(input.arena_dims[3]),
            (Some(input), None, None)
                if matches!(input.dtype, ElemType::I8 | ElemType::I16 | ElemType::F32) =>
            {
                Self::Values
            }
            _ => Self::Inputs,
        }
    }

    /// Bytes of the statics that are not the arena.
    fn bytes(self, package: &Package<'_>) -> u64 {
        let elems = |input: Input<'_>| u64::from(input.dims.elems().unwrap_or(0));
        let most = package.inputs().map(elems).max().unwrap_or(0);
        match self {
            Self::Signal(front_end) => 4 * (most + front_end.memory_elems() as u64) + 4 * self.chunk() as u64,
            Self::Pixels(_) => most,
            Self::Values | Self::Inputs => 4 * most,
        }
    }

    /// Samples that the front-end is given at a time.
    fn chunk(self) -> usize {
        match self {
            // 20 ms at 16 kHz.
            Self::Signal(FrontEnd::Spectral(_)) => 320,
            Self::Signal(front_end) => front_end.features(),
            _ => 0,
        }
    }
}

impl Project<'_> {
    /// All files, if board and package go together.
    ///
    /// # Errors
    /// [`PackError::Limits`]: the package does not fit or needs tract, or the board has an operating system;
    /// [`PackError::Io`] of the clone.
    pub fn files(&self) -> Result<Vec<File>> {
        let Some(own) = self.board.microcontroller() else {
            let name = &self.board.name;
            let reason =
                format!("{name} has an operating system: `edgepack build --target {name}` makes its agent");
            return Err(PackError::Limits { reason });
        };
        self.check(own)?;
        let module = Path::new(self.file).with_extension("rs");
        let mut files = vec![
            ("Cargo.toml".into(), self.manifest()),
            ("README.md".into(), self.readme(own)),
            (".gitignore".into(), "/target\n".into()),
            (".cargo/config.toml".into(), self.config(own)),
            ("build.rs".into(), self.start().build_script()),
            ("src/main.rs".into(), self.main(&module)),
            (
                "src/board.rs".into(),
                filled(template!("board.rs"), &[("BOARD", &self.name()), ("ENTRY", &self.start().entry())]),
            ),
            (Path::new("model").join(&module), header::rust(self.file, &self.package)),
        ];
        files.extend(self.board.memory_x().map(|memory| ("memory.x".into(), memory)));
        for file in ["Cargo.lock", "rust-toolchain.toml"] {
            if let Some(path) = self.clone.map(|clone| clone.join(file)) {
                let text = std::fs::read_to_string(&path).map_err(|source| PackError::Io { path, source })?;
                let text = if file == "Cargo.lock" { text } else { channel(&text) };
                files.push((file.into(), text));
            }
        }
        let mut files: Vec<File> = files.into_iter().map(|(path, text)| (path, text.into_bytes())).collect();
        files.push((Path::new("model").join(self.file), self.package.bytes().to_vec()));
        Ok(files)
    }

    /// What cargo's runner for the board is: a program and its words; `None` where nothing is known of one.
    pub fn runner(&self) -> Option<Vec<String>> {
        let own = self.board.microcontroller()?;
        qemu(own).or_else(|| probe_rs(own))
    }

    /// Whether the package has what the board has not.
    fn check(&self, own: &Microcontroller) -> Result<()> {
        let islands = self.package.steps().filter(|step| matches!(step.op, Op::Island(_)));
        let islands: Vec<_> =
            islands.map(|step| (step.name.into(), "an island of the package".into())).collect();
        check_islands(&self.board.name, &islands)?;
        let name = &self.board.name;
        let fail = |reason: String| Err(PackError::Limits { reason });
        let bytes = self.package.bytes().len() as u64;
        if bytes > u64::from(own.package_bytes()) {
            return fail(format!(
                "it needs {} of flash, and {name} leaves a package {} of {} KiB; pack again with --target {name}, which \
                 says what would help",
                human_bytes(bytes),
                human_bytes(own.package_bytes().into()),
                own.flash.kib
            ));
        }
        let arena = u64::from(self.package.head().arena_bytes);
        let samples = Feed::of(&self.package).bytes(&self.package) + STATICS_BYTES;
        let stack = u64::from(self.board.stack_kib().unwrap_or(0)) * 1024;
        let ram = u64::from(own.ram.kib) * 1024;
        if arena + samples + stack > ram {
            return fail(format!(
                "an arena of {}, {} for what the sensor gives and {} of stack are more than the {} KiB of RAM that {name} \
                 has; pack again with --target {name} --max-ram {}K",
                human_bytes(arena),
                human_bytes(samples),
                human_bytes(stack),
                own.ram.kib,
                ram.saturating_sub(samples + stack) / 1024
            ));
        }
        Ok(())
    }

    /// The board's name in comments.
    fn name(&self) -> String {
        self.board.name.lines().collect::<Vec<_>>().join(" ")
    }

    fn start(&self) -> Start {
        Start::of(self.board)
    }

    fn manifest(&self) -> String {
        let (whence, edgepack) = match self.clone {
            Some(clone) => (
                "The clone of edgepack that the project was made with: change the path where that has moved.",
                format!("{{ path = {} }}", quoted(&clone.join("runtime/firmware").to_string_lossy())),
            ),
            None => (
                "The sources of the release that the project was made with.",
                format!(
                    "{{ git = {}, tag = \"v{}\" }}",
                    quoted(env!("CARGO_PKG_REPOSITORY")),
                    env!("CARGO_PKG_VERSION")
                ),
            ),
        };
        let words = [
            ("BOARD", self.name()),
            ("VERSION", env!("CARGO_PKG_VERSION").into()),
            ("WHENCE", whence.into()),
            ("EDGEPACK", edgepack),
            ("START", self.start().dependencies().into()),
        ];
        filled(template!("Cargo.toml"), &words.each_ref().map(|(word, with)| (*word, with.as_str())))
    }

    fn config(&self, own: &Microcontroller) -> String {
        // Of ARMv8-M only the processor says that it has the DSP extension.
        let flags = match self.board.arch.as_str() {
            "thumbv8m" => {
                format!("rustflags = [\"-C\", {}]\n", quoted(&format!("target-cpu={}", self.board.cpu)))
            }
            _ => String::new(),
        };
        let line = |words: Vec<String>| format!("runner = {}", serde_json::Value::from(words));
        let runners = match (qemu(own).map(line), probe_rs(own).map(line)) {
            (Some(qemu), Some(probe_rs)) => {
                format!("{qemu}\n# With a board and a probe instead:\n# {probe_rs}\n")
            }
            (Some(line), None) | (None, Some(line)) => format!("{line}\n"),
            (None, None) => {
                "# What runs a program there: runner = [\"probe-rs\", \"run\", \"--chip\", \"…\"]\n".into()
            }
        };
        let words = [("TRIPLE", self.board.triple.as_str()), ("RUSTFLAGS", &flags), ("RUNNERS", &runners)];
        filled(template!("config.toml"), &words).trim_end().to_string() + "\n"
    }

    fn main(&self, module: &Path) -> String {
        let feed = Feed::of(&self.package);
        let module = quoted(&format!("../model/{}", module.to_string_lossy()));
        let input = self.package.inputs().next();
        let shape = input.map(|input| format!("{:?}", input.dims.as_slice())).unwrap_or_default();
        let mut words: Vec<(&str, String)> = match feed {
            Feed::Signal(front_end) => signal_words(front_end),
            Feed::Pixels(channels) => {
                let order = if channels == 3 { "red, green, blue" } else { "one after the other" };
                vec![
                    ("ELEM", "u8".into()),
                    ("ZERO", "0".into()),
                    ("SENSOR", filled(template!("sensor_u8.rs"), &[("CHANNELS", order)])),
                ]
            }
            Feed::Values => vec![
                ("ELEM", "f32".into()),
                ("ZERO", "0.0".into()),
                ("SENSOR", template!("sensor_f32.rs").into()),
            ],
            Feed::Inputs => Vec::new(),
        };
        let text = match feed {
            Feed::Signal(_) => template!("listen.rs"),
            Feed::Pixels(_) | Feed::Values => template!("watch.rs"),
            Feed::Inputs => template!("session.rs"),
        };
        words.extend([
            ("LOOP", template!("loop.rs").trim_end().into()),
            ("PIN", template!("pin.rs").into()),
            ("CHUNK", feed.chunk().to_string()),
            ("SHAPE", shape),
            ("MODULE", module),
            ("MODEL", self.file.into()),
            ("BOARD", self.name()),
        ]);
        filled(text, &words.iter().map(|(word, with)| (*word, with.as_str())).collect::<Vec<_>>())
    }

    fn readme(&self, own: &Microcontroller) -> String {
        let line = |words: Vec<String>| words.join(" ");
        let runs = match (&own.qemu, &own.probe_rs) {
            (Some(qemu), _) => format!("under QEMU ({})", qemu.program),
            (None, Some(_)) => "brings it to the board's flash by probe-rs, and runs it there".into(),
            (None, None) => "needs a runner in .cargo/config.toml".into(),
        };
        let flash = match probe_rs(own).map(line) {
            Some(command) => format!(
                "[probe-rs](https://probe.rs) 0.25 or newer (`cargo install probe-rs-tools --locked`) brings a program there \
                 by the\nboard's debug probe and shows what it prints: `{command} target/{}/release/firmware`.{}\n",
                self.board.triple,
                match own.qemu {
                    Some(_) => " `cargo run`\ndoes that where `.cargo/config.toml` has its line instead of QEMU's.",
                    None => "",
                }
            ),
            None => "The board is QEMU's: `edgepack targets` has others, `edgepack targets --new NAME --microcontroller` a \
                     description of\nyour own to start from.\n"
                .into(),
        };
        let memory = match self.board.memory_x() {
            Some(_) => ".",
            None => "; here the linker script is the HAL's own.",
        };
        let words = [
            ("DESCRIPTION", self.board.description.lines().collect::<Vec<_>>().join(" ")),
            ("PACKAGE_BYTES", human_bytes(self.package.bytes().len() as u64)),
            ("ARENA_BYTES", human_bytes(self.package.head().arena_bytes.into())),
            ("VERSION", env!("CARGO_PKG_VERSION").into()),
            ("RUNS", runs),
            ("FLASH", flash),
            ("MEMORY", memory.into()),
            ("NOTES", self.board.notes.clone()),
            ("TRIPLE", self.board.triple.clone()),
            ("FILE", self.file.into()),
            ("MODEL", self.file.into()),
            ("BOARD", self.name()),
        ];
        filled(template!("README.md"), &words.each_ref().map(|(word, with)| (*word, with.as_str())))
    }
}

/// The words of a template for a front-end.
fn signal_words(front_end: FrontEnd<'_>) -> Vec<(&'static str, String)> {
    let windows = front_end.frames() + 2 * front_end.step_frames();
    let (elem, zero, what, samples, driver) = match front_end {
        FrontEnd::Spectral(sound) => {
            let [frame, hop] = sound.frame();
            let driver = format!(
                "the microphone. A driver waits for samples of 16 bits at {} Hz, from an ADC or I2S by DMA, as long as it \
                 runs,\n/// and gives how many it wrote. This stand-in is silence, for three windows.",
                sound.sample_rate()
            );
            ("i16", "0", "a microphone", frame + (windows - 1) * hop, driver)
        }
        FrontEnd::Motion(motion) => {
            let driver = format!(
                "the accelerometer. A driver over I2C or SPI waits for measurements at {} Hz, as long as it runs; the {} \
                 channels of one\n/// follow each other. It gives how many numbers it wrote. This stand-in is at rest, for \
                 three windows.",
                motion.sample_hz(),
                front_end.features()
            );
            ("f32", "0.0", "an accelerometer", windows * front_end.features(), driver)
        }
    };
    vec![
        ("ELEM", elem.into()),
        ("ZERO", zero.into()),
        ("WHAT", what.into()),
        ("SAMPLES", samples.to_string()),
        ("DRIVER", driver),
    ]
}

/// The words before a program, under QEMU.
fn qemu(own: &Microcontroller) -> Option<Vec<String>> {
    let mut words = own.qemu.as_ref()?.words();
    let silent = ["-display", "none", "-serial", "none", "-monitor", "none", "-chardev", "stdio,id=console"];
    let semihosting = ["-semihosting-config", "enable=on,target=native,chardev=console", "-kernel"];
    words.extend(silent.into_iter().chain(semihosting).map(String::from));
    Some(words)
}

/// The words before a program, on a board with a probe.
fn probe_rs(own: &Microcontroller) -> Option<Vec<String>> {
    let chip = own.probe_rs.as_deref()?;
    Some(["probe-rs", "run", "--chip", chip].map(String::from).into())
}

/// Of a toolchain file the compiler alone: a project needs no more, and what it is linted with is its user's.
fn channel(text: &str) -> String {
    let lines = text.lines().filter(|line| line.starts_with("[toolchain]") || line.starts_with("channel"));
    lines.map(|line| format!("{line}\n")).collect()
}
