//! The on-device program: runs, measures and self-tests a package.
//!
//! What it prints is JSON, one document on the last line of stdout, for the harness on the
//! workstation; errors go to stderr. Exit codes: 0 done, 1 the self-test failed, 2 usage or error.

mod args;
mod json;

use std::io::{Read, Write};
use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;

use args::{Args, Command, Form, Source};
use edgepack_engine::format::{Package, SeededBytes};
use edgepack_engine::{Error, InputData, Model, Session, SessionOptions, isa};
use serde::Serialize;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const ARCH: &str = std::env::consts::ARCH;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let outcome = match Args::from_env() {
        Ok(Some(args)) => run(&args),
        Ok(None) => {
            println!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => Err(error),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

#[derive(Serialize)]
struct Info {
    version: &'static str,
    arch: &'static str,
    isa: String,
    arena_bytes: Option<usize>,
    packed_bytes: Option<usize>,
}

#[derive(Serialize)]
struct Hashed {
    blake3: String,
}

#[derive(Serialize)]
struct Ran {
    samples: usize,
    isa: String,
}

#[derive(Serialize)]
struct Selftest {
    passed: bool,
    samples: usize,
    message: String,
    isa: String,
}

/// `false` where a self-test failed.
fn run(args: &Args) -> Result<bool, Failure> {
    edgepack_engine::check_threads(args.threads)?;
    let options = SessionOptions { isa: None, threads: args.threads };
    let Some(path) = &args.package else {
        let isa = isa::detect()?.set().to_string();
        json::print(&Info { version: VERSION, arch: ARCH, isa, arena_bytes: None, packed_bytes: None })?;
        return Ok(true);
    };
    if args.command == Command::Hash {
        json::print(&Hashed { blake3: hash(path)? })?;
        return Ok(true);
    }
    let model = Model::open(path)?;
    match args.command {
        Command::Hash => {}
        Command::Run => run_samples(args, &mut model.session(&options)?)?,
        Command::Bench => bench(args, path, &model.package(), &options)?,
        Command::Selftest => return selftest(&mut model.session(&options)?),
        Command::Info => {
            let session = model.session(&options)?;
            json::print(&Info {
                version: VERSION,
                arch: ARCH,
                isa: session.isa().to_string(),
                arena_bytes: Some(session.arena_bytes()),
                packed_bytes: Some(session.packed_bytes()),
            })?;
        }
    }
    Ok(true)
}

/// BLAKE3 of a file, in hexadecimal: whether what arrived is what was sent.
fn hash(path: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let (mut hasher, mut chunk) = (blake3::Hasher::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut chunk).map_err(failed)? {
            0 => return Ok(hasher.finalize().to_string()),
            read => hasher.update(&chunk[..read]),
        };
    }
}

/// The elements of each input that a sample in this form has: raw pixels are of the first alone.
fn input_elems(package: &Package<'_>, form: Form) -> Vec<usize> {
    let inputs = package.inputs().take(if form == Form::U8 { 1 } else { usize::MAX });
    inputs.map(|input| input.dims.elems().map_or(0, |elems| elems as usize)).collect()
}

fn run_samples(args: &Args, session: &mut Session<'_>) -> Result<(), Failure> {
    let path = args.input.file.as_ref().ok_or("run: --input FILE is missing")?;
    let mut file = std::fs::File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let elems = input_elems(&session.package(), args.input.form);
    let (size, inputs) =
        (elems.iter().sum::<usize>() * args.input.form.bytes(), session.package().head().inputs);
    let length = file.metadata()?.len() as usize;
    if elems.len() != inputs as usize {
        return Err(format!("--form u8: the package has {inputs} inputs; give all of them as f32").into());
    }
    if size == 0 || length == 0 || !length.is_multiple_of(size) {
        return Err(format!(
            "{}: {length} bytes are not a number of samples of {size} bytes ({} of the package's inputs)",
            path.display(),
            args.input.form.name()
        )
        .into());
    }
    // Memory for one sample, whatever their number: devices are small.
    let mut buffer = InputBuffer::new(args.input.form, size);
    let mut outputs = match &args.output {
        Some(path) => Some(Unfinished::create(path)?),
        None => None,
    };
    for _ in 0..length / size {
        file.read_exact(buffer.bytes())?;
        let mut start = 0;
        for (index, elems) in elems.iter().enumerate() {
            session.set_input(index, buffer.data(start..start + elems))?;
            start += elems;
        }
        session.run()?;
        if let Some(file) = &mut outputs {
            write_outputs(session, &mut file.file)?;
        }
    }
    if let Some(outputs) = outputs {
        outputs.finish()?;
    }
    json::print(&Ran { samples: length / size, isa: session.isa().to_string() })
}

fn write_outputs(session: &Session<'_>, file: &mut impl Write) -> Result<(), Failure> {
    for index in 0..session.package().head().outputs as usize {
        file.write_all(session.output(index)?.bytes())?;
    }
    Ok(())
}

fn bench(args: &Args, path: &Path, package: &Package<'_>, options: &SessionOptions) -> Result<(), Failure> {
    let mut buffer = InputBuffer::first_input(package, &args.input)?;
    if let Some((other, input)) = &args.against {
        let mut other_buffer = InputBuffer::first_input(&Model::open(other)?.package(), input)?;
        let packages = [(path, buffer.all()), (other.as_path(), other_buffer.all())];
        return json::print(&edgepack_engine::bench_pairs(packages, options, &args.bench)?);
    }
    let bench = edgepack_engine::bench(path, options, buffer.all(), &args.bench)?;
    if let Some(profile) = &bench.profile {
        println!("{profile}");
    }
    json::print(&bench)
}

fn selftest(session: &mut Session<'_>) -> Result<bool, Failure> {
    let samples = session.package().golden().count();
    let message = match session.selftest() {
        Ok(_) => String::new(),
        Err(error @ Error::Golden { .. }) => error.to_string(),
        Err(error) => return Err(error.into()),
    };
    let isa = session.isa().to_string();
    let passed = message.is_empty();
    json::print(&Selftest { passed, samples, message, isa })?;
    Ok(passed)
}

/// A sample in one of the three forms; f32 needs the alignment of its own.
enum InputBuffer {
    F32 { bytes: Vec<u8>, values: Vec<f32> },
    Pixels(Vec<u8>),
    Quantized { bytes: Vec<u8>, values: Vec<i8> },
}

impl InputBuffer {
    fn new(form: Form, size: usize) -> Self {
        let bytes = vec![0; size];
        match form {
            Form::F32 => Self::F32 { bytes, values: vec![0.0; size / 4] },
            Form::U8 => Self::Pixels(bytes),
            Form::I8 => Self::Quantized { bytes, values: vec![0; size] },
        }
    }

    /// What a measurement gives the first input: latency does not depend on what is in it, nor on the others.
    fn first_input(package: &Package<'_>, source: &Source) -> Result<Self, Failure> {
        let size = |form: Form| input_elems(package, form).first().map_or(0, |elems| elems * form.bytes());
        let Some(path) = &source.file else {
            let takes_pixels = package.inputs().next().is_some_and(|input| input.pixels.is_some());
            let form = if takes_pixels { Form::U8 } else { Form::I8 };
            let mut buffer = Self::new(form, size(form));
            buffer.bytes().iter_mut().zip(SeededBytes::new(0)).for_each(|(byte, random)| *byte = random);
            return Ok(buffer);
        };
        let mut buffer = Self::new(source.form, size(source.form));
        let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(buffer.bytes()));
        read.map_err(|error| {
            format!("{}: {error}; its first input is {} bytes", path.display(), size(source.form))
        })?;
        Ok(buffer)
    }

    /// The bytes to fill.
    fn bytes(&mut self) -> &mut [u8] {
        match self {
            Self::F32 { bytes, .. } | Self::Pixels(bytes) | Self::Quantized { bytes, .. } => bytes,
        }
    }

    /// All of its elements.
    fn all(&mut self) -> InputData<'_> {
        let elems = match self {
            Self::F32 { values, .. } => values.len(),
            Self::Pixels(bytes) | Self::Quantized { bytes, .. } => bytes.len(),
        };
        self.data(0..elems)
    }

    /// These elements of it.
    fn data(&mut self, elems: Range<usize>) -> InputData<'_> {
        match self {
            Self::F32 { bytes, values } => {
                let words = bytes.as_chunks::<4>().0;
                values.iter_mut().zip(words).for_each(|(value, word)| *value = f32::from_le_bytes(*word));
                InputData::F32(&values[elems])
            }
            Self::Pixels(bytes) => InputData::Pixels(&bytes[elems]),
            Self::Quantized { bytes, values } => {
                values.iter_mut().zip(bytes).for_each(|(value, byte)| *value = *byte as i8);
                InputData::Quantized(&values[elems])
            }
        }
    }
}

/// An output file that has its name only when it is whole.
struct Unfinished<'a> {
    file: std::io::BufWriter<std::fs::File>,
    temporary: std::path::PathBuf,
    path: &'a Path,
}

impl<'a> Unfinished<'a> {
    fn create(path: &'a Path) -> Result<Self, Failure> {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = std::path::PathBuf::from(name);
        let file =
            std::fs::File::create(&temporary).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { file: std::io::BufWriter::new(file), temporary, path })
    }

    fn finish(mut self) -> Result<(), Failure> {
        let written = self.file.flush().and_then(|()| std::fs::rename(&self.temporary, self.path));
        written.map_err(|error| format!("{}: {error}", self.path.display()).into())
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // Gone already where it was finished.
        let _ = std::fs::remove_file(&self.temporary);
    }
}
