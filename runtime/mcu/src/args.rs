//! The command line: that of the Linux agent, but that a package is a place in memory.

use crate::{Failure, Room};

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Tell what the board is, and what a package needs there.
    Info,
    /// Run samples.
    Run,
    /// Run so many times.
    Bench,
    /// Run the golden samples.
    Selftest,
}

/// How samples lie in the input file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Preprocessed values in the model's shape, little-endian.
    F32,
    /// Raw pixels `[N, H, W, C]`, RGB.
    U8,
    /// Quantized, as the input lies in the arena.
    I8,
}

impl Form {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        if self == Self::F32 { 4 } else { 1 }
    }
}

/// A command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Args<'a> {
    /// What to do.
    pub command: Command,
    /// Where the package lies; `info` can do without.
    pub package: Option<Room>,
    /// The file with samples one after the other, each with all inputs.
    pub input: Option<&'a str>,
    /// How they lie there.
    pub form: Form,
    /// The file for the outputs of each sample one after the other.
    pub output: Option<&'a str>,
    /// Runs of `bench` before the measured ones.
    pub warmup: u64,
    /// Measured runs of `bench`.
    pub runs: u64,
    /// The board's flash, the program in it, where it is not that which the program is linked for.
    pub flash: Option<Room>,
    /// Its RAM likewise, the stack in it.
    pub ram: Option<Room>,
}

impl<'a> Args<'a> {
    /// Reads the words of a command line.
    ///
    /// # Errors
    /// [`Failure::Word`], [`Failure::Usage`].
    pub fn parse(words: impl IntoIterator<Item = &'a str>) -> Result<Self, Failure<'a>> {
        let mut words = words.into_iter();
        let command = match words.next() {
            Some("info") => Command::Info,
            Some("run") => Command::Run,
            Some("bench") => Command::Bench,
            Some("selftest") => Command::Selftest,
            word => return Err(Failure::Word(word.unwrap_or_default())),
        };
        let mut args = Args {
            command,
            package: None,
            input: None,
            form: Form::F32,
            output: None,
            warmup: 0,
            runs: 1,
            flash: None,
            ram: None,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(Failure::Usage("the last word wants a value"));
            match word {
                "--input" => args.input = Some(value()?),
                "--output" => args.output = Some(value()?),
                "--form" => {
                    args.form = match value()? {
                        "f32" => Form::F32,
                        "u8" => Form::U8,
                        "i8" => Form::I8,
                        _ => return Err(Failure::Usage("--form: give f32, u8 or i8")),
                    }
                }
                "--warmup" => {
                    args.warmup = number(value()?).ok_or(Failure::Usage("--warmup: give a number"))?
                }
                "--runs" => args.runs = number(value()?).ok_or(Failure::Usage("--runs: give a number"))?,
                "--flash" => {
                    args.flash = Some(room(value()?).ok_or(Failure::Usage("--flash: give ADDRESS+BYTES"))?)
                }
                "--ram" => {
                    args.ram = Some(room(value()?).ok_or(Failure::Usage("--ram: give ADDRESS+BYTES"))?)
                }
                "--threads" if value()? == "1" => {}
                "--threads" => return Err(Failure::Usage("--threads: a microcontroller has 1")),
                place if args.package.is_none() && !place.starts_with('-') => {
                    args.package = Some(room(place).ok_or(Failure::Word(place))?);
                }
                word => return Err(Failure::Word(word)),
            }
        }
        match args {
            Args { package: None, command: Command::Run | Command::Bench | Command::Selftest, .. } => {
                Err(Failure::Usage("no package given: ADDRESS+BYTES"))
            }
            Args { input: None, command: Command::Run, .. } => {
                Err(Failure::Usage("run: --input FILE is missing"))
            }
            args => Ok(args),
        }
    }
}

/// `ADDRESS+BYTES`.
fn room(text: &str) -> Option<Room> {
    let (address, bytes) = text.split_once('+')?;
    Some(Room { address: number(address)?.try_into().ok()?, bytes: number(bytes)?.try_into().ok()? })
}

/// In decimals, or in hexadecimals after `0x`.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Args<'_>, Failure<'_>> {
        Args::parse(text.split_whitespace())
    }

    #[test]
    fn a_command_line_parses() {
        let args = parse("run 0x100000+54321 --input in --form u8 --threads 1 --output out").unwrap();
        assert_eq!(args.package, Some(Room { address: 0x10_0000, bytes: 54321 }));
        assert_eq!((args.command, args.input, args.output), (Command::Run, Some("in"), Some("out")));
        assert_eq!(args.form, Form::U8);
        let args = parse("bench 4096+1 --warmup 7 --runs 1 --flash 0x8000000+1024 --ram 2+3").unwrap();
        assert_eq!(args.flash, Some(Room { address: 0x800_0000, bytes: 1024 }));
        assert_eq!(args.ram, Some(Room { address: 2, bytes: 3 }));
        assert_eq!((args.command, args.warmup, args.runs), (Command::Bench, 7, 1));
        assert_eq!(parse("info").unwrap().package, None);
    }

    #[test]
    fn a_wrong_command_line_says_what_would_be_right() {
        for (text, part) in [
            ("", "give info, run"),
            ("walk 0+1", "`walk`"),
            ("run", "no package"),
            ("run 0+1", "--input FILE is missing"),
            ("run model.epk --input x", "ADDRESS+BYTES"),
            ("run 0+99999999999999999999 --input x", "ADDRESS+BYTES"),
            ("run 0+1 --form f16 --input x", "f32, u8 or i8"),
            ("run 0+1 --input", "wants a value"),
            ("bench 0+1 --threads 2", "a microcontroller has 1"),
            ("bench 0+1 --runs many", "--runs"),
            ("bench 0+1 --pin 0", "`--pin`"),
            ("bench 0+1 --ram 4096", "--ram: give ADDRESS+BYTES"),
        ] {
            let error = std::string::ToString::to_string(&parse(text).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
