//! The command line.

use std::path::PathBuf;

use edgepack_engine::{BenchOptions, Until, Warmup};
use lexopt::prelude::*;

pub const HELP: &str = "\
edgepack-agent: runs, measures and self-tests an edgepack package on this device

Usage:
  edgepack-agent run PACKAGE --input FILE [--form f32|u8|i8] [--output FILE]
  edgepack-agent bench PACKAGE [--input FILE --form FORM] [--warmup N | steady] [--runs N | --seconds S]
                       [--threads N] [--pin CORES] [--profile] [--samples]
                       [--against OTHER [--against-input FILE --against-form FORM]]
  edgepack-agent selftest PACKAGE
  edgepack-agent info [PACKAGE]
  edgepack-agent hash FILE

  --input FILE   samples one after the other, each with all inputs, raw, little-endian
  --form FORM    f32: preprocessed values in the model's shape (default); u8: raw pixels [H, W, C], RGB;
                 i8: quantized, as the input lies in the arena
  --threads N    threads that share a run, 1 unless given: the outputs are the same for any number
  --warmup N     runs before those that are measured; `steady`, which is the default, ends when their time is
  --pin 2,3      run on these processors
  --profile      the time of each step too, as a table before the JSON, and in it
  --samples      the times of the runs too
  --against P    the medians of blocks of runs of both packages, in turns, and nothing else
  --output FILE  the outputs of each sample one after the other, raw, little-endian

Packages with islands need a build with --features tract.
EDGEPACK_ISA=neon (scalar, dotprod, ...) lowers the instruction sets in use.
Exit codes: 0 done, 1 the self-test failed, 2 usage or error.

Example: edgepack-agent bench mobilenet.epk --runs 500";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Run,
    Bench,
    Selftest,
    Info,
    Hash,
}

/// How samples lie in the input file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    F32,
    U8,
    I8,
}

impl Form {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::U8 | Self::I8 => 1,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::U8 => "u8",
            Self::I8 => "i8",
        }
    }
}

/// Samples of a package; without a file, `bench` makes one up.
#[derive(Clone, Debug)]
pub struct Source {
    pub file: Option<PathBuf>,
    pub form: Form,
}

pub struct Args {
    pub command: Command,
    /// The package, or another file for `hash`; `info` can do without.
    pub package: Option<PathBuf>,
    pub input: Source,
    pub output: Option<PathBuf>,
    /// The package that `bench` measures in turns with the first, and its input.
    pub against: Option<(PathBuf, Source)>,
    pub threads: usize,
    pub bench: BenchOptions,
}

impl Args {
    /// The arguments of this process; `None` where they ask for help.
    pub fn from_env() -> Result<Option<Args>, Box<dyn std::error::Error>> {
        Self::parse(lexopt::Parser::from_env())
    }

    fn parse(mut parser: lexopt::Parser) -> Result<Option<Args>, Box<dyn std::error::Error>> {
        let (mut command, mut package, mut output, mut other) = (None, None, None, None);
        let mut input = Source { file: None, form: Form::F32 };
        let mut other_input = input.clone();
        let (mut threads, mut bench) = (1, BenchOptions::default());
        while let Some(argument) = parser.next()? {
            match argument {
                Long("help") | Short('h') => return Ok(None),
                Long("input") => input.file = Some(parser.value()?.into()),
                Long("form") => input.form = parser.value()?.parse_with(form)?,
                Long("against") => other = Some(parser.value()?.into()),
                Long("against-input") => other_input.file = Some(parser.value()?.into()),
                Long("against-form") => other_input.form = parser.value()?.parse_with(form)?,
                Long("output") | Short('o') => output = Some(parser.value()?.into()),
                Long("threads") => threads = parser.value()?.parse()?,
                Long("profile") => bench.profile = true,
                Long("samples") => bench.samples = true,
                Long("pin") => bench.pin = parser.value()?.parse_with(cores)?,
                Long("warmup") => {
                    let value = parser.value()?;
                    bench.warmup =
                        if value == "steady" { Warmup::Steady } else { Warmup::Runs(value.parse()?) };
                }
                Long("runs") => bench.until = Until::Runs(parser.value()?.parse()?),
                Long("seconds") => bench.until = Until::Seconds(parser.value()?.parse_with(seconds)?),
                Value(value) if command.is_none() => {
                    command = Some(match value.string()?.as_str() {
                        "run" => Command::Run,
                        "bench" => Command::Bench,
                        "selftest" => Command::Selftest,
                        "info" => Command::Info,
                        "hash" => Command::Hash,
                        other => {
                            return Err(format!(
                                "`{other}`: give run, bench, selftest, info or hash (--help)"
                            )
                            .into());
                        }
                    });
                }
                Value(value) if package.is_none() => package = Some(value.into()),
                other => return Err(format!("{} (--help)", other.unexpected()).into()),
            }
        }
        let Some(command) = command else { return Ok(None) };
        if package.is_none() && command != Command::Info {
            return Err("no package given (--help)".into());
        }
        let against = other.map(|other| (other, other_input));
        Ok(Some(Args { command, package, input, output, against, threads, bench }))
    }
}

fn form(text: &str) -> Result<Form, &'static str> {
    match text {
        "f32" => Ok(Form::F32),
        "u8" => Ok(Form::U8),
        "i8" => Ok(Form::I8),
        _ => Err("give f32, u8 or i8"),
    }
}

/// Numbers of processors.
fn cores(text: &str) -> Result<Vec<usize>, &'static str> {
    text.split(',').map(|core| core.parse().map_err(|_| "give processors by commas, as 2,3")).collect()
}

/// Seconds in decimals, as `0.5`: to read every float takes tables of 16 kB.
fn seconds(text: &str) -> Result<f64, &'static str> {
    const USAGE: &str = "give seconds in decimals, as 0.5";
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || whole.is_empty() && fraction.is_empty() {
        return Err(USAGE);
    }
    let whole: u32 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| USAGE)? };
    // Nanoseconds are as fine as the clock is.
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Ok(f64::from(whole) + f64::from(nanoseconds) / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Args>, String> {
        Args::parse(lexopt::Parser::from_args(text.split_whitespace())).map_err(|error| error.to_string())
    }

    #[test]
    fn a_command_line_parses() {
        let args = parse("bench p.epk --runs 7 --warmup 0 --form u8").unwrap().unwrap();
        assert_eq!((args.bench.until, args.bench.warmup), (Until::Runs(7), Warmup::Runs(0)));
        assert!(args.input.form == Form::U8 && args.against.is_none() && args.bench.pin.is_empty());
        let args = parse("bench p.epk --warmup steady --pin 0,2 --against q.epk --against-form i8").unwrap();
        let args = args.unwrap();
        assert_eq!((args.bench.warmup, args.bench.pin), (Warmup::Steady, vec![0, 2]));
        assert!(args.against.is_some_and(|(path, input)| path.ends_with("q.epk") && input.form == Form::I8));
        assert!(!args.bench.profile && parse("bench p.epk --profile").unwrap().unwrap().bench.profile);
        assert!(parse("").unwrap().is_none() && parse("run --help").unwrap().is_none());
    }

    #[test]
    fn seconds_are_read_as_they_are_printed() {
        for value in [0.0, 0.5, 0.001, 2.0, 12.25, 86_400.0] {
            assert_eq!(seconds(&value.to_string()), Ok(value));
        }
        assert_eq!(seconds(".25"), Ok(0.25));
        for wrong in ["", ".", "-1", "1e3", "inf", "1.2.3", "99999999999"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_wrong_command_line_says_what_would_be_right() {
        for (text, part) in [
            ("walk p.epk", "give run, bench"),
            ("run", "no package"),
            ("run p.epk --form f16", "f32, u8 or i8"),
            ("run p.epk q.epk", "q.epk"),
            ("bench p.epk --runs many", "many"),
            ("bench p.epk --pin 1,b", "processors by commas"),
        ] {
            let error = parse(text).err().unwrap();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
