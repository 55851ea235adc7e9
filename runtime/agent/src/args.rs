//! The command line.

use std::path::PathBuf;

use edgepack_engine::{BenchOptions, Until};
use lexopt::prelude::*;

pub const HELP: &str = "\
edgepack-agent: runs, measures and self-tests an edgepack package on this device

Usage:
  edgepack-agent run PACKAGE --input FILE [--form f32|u8|i8] [--output FILE]
  edgepack-agent bench PACKAGE [--input FILE --form FORM] [--warmup N] [--runs N | --seconds S]
                       [--threads N] [--profile]
  edgepack-agent selftest PACKAGE
  edgepack-agent info [PACKAGE]
  edgepack-agent hash FILE

  --input FILE   samples one after the other, each with all inputs, raw, little-endian
  --form FORM    f32: preprocessed values in the model's shape (default); u8: raw pixels [H, W, C], RGB;
                 i8: quantized, as the input lies in the arena
  --threads N    threads that share a run, 1 unless given: the outputs are the same for any number
  --profile      the time of each step too, as a table before the JSON, and in it
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

pub struct Args {
    pub command: Command,
    /// The package, or another file for `hash`; `info` can do without.
    pub package: Option<PathBuf>,
    pub input: Option<PathBuf>,
    pub output: Option<PathBuf>,
    pub form: Form,
    pub threads: usize,
    pub bench: BenchOptions,
}

impl Args {
    /// The arguments of this process; `None` where they ask for help.
    pub fn from_env() -> Result<Option<Args>, Box<dyn std::error::Error>> {
        Self::parse(lexopt::Parser::from_env())
    }

    fn parse(mut parser: lexopt::Parser) -> Result<Option<Args>, Box<dyn std::error::Error>> {
        let (mut command, mut package, mut input, mut output) = (None, None, None, None);
        let (mut form, mut threads, mut bench) = (Form::F32, 1, BenchOptions::default());
        while let Some(argument) = parser.next()? {
            match argument {
                Long("help") | Short('h') => return Ok(None),
                Long("input") => input = Some(parser.value()?.into()),
                Long("output") | Short('o') => output = Some(parser.value()?.into()),
                Long("form") => {
                    form = match parser.value()?.string()?.as_str() {
                        "f32" => Form::F32,
                        "u8" => Form::U8,
                        "i8" => Form::I8,
                        other => return Err(format!("--form {other}: give f32, u8 or i8").into()),
                    }
                }
                Long("threads") => threads = parser.value()?.parse()?,
                Long("profile") => bench.profile = true,
                Long("warmup") => bench.warmup = parser.value()?.parse()?,
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
        Ok(Some(Args { command, package, input, output, form, threads, bench }))
    }
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
        assert_eq!((args.bench.until, args.bench.warmup, args.form), (Until::Runs(7), 0, Form::U8));
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
        ] {
            let error = parse(text).err().unwrap();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
