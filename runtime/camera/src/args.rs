//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use edgepack_firmware::{Decision, Hysteresis, Level, Votes};
use lexopt::{Arg, Parser, ValueExt};

use crate::Error;

/// What `--help` prints.
pub const HELP: &str = "\
Watches a camera, or a folder of images, for a class of a package, and drives a pin.

usage: edgepack-camera PACKAGE (--camera DEVICE | --frames FOLDER) --class N [options]

  --camera DEVICE     a camera of V4L2, as /dev/video0 (in builds with --features v4l2)
  --size WxH          the frames to ask the camera for [default: 640x480]
  --frames FOLDER     image files, by name, once
  --class N           the class to watch for, an index of the package's first output
  --on SCORE          a frame counts from this value on [default: 0.6]
  --off SCORE         ... and the next ones until one is below this [default: 0.4]
  --votes N/M         on while N of the last M frames count, M at most 32 [default: 3/5]
  --pin PIN           print, file:PATH (1 or 0, as /sys/class/leds/ACT/brightness), or
                      gpio:CHIP:LINE, as gpio:/dev/gpiochip0:17 (in builds with --features
                      gpio) [default: print]
  --active-low        on is low
  --threads N         threads for a run [default: 1]
  --limit N           end after so many frames
  --json              a line of JSON for every frame, not a line for every change

The pin is off when the program ends, by a signal and after an error, too.
Exit codes: 0 done, 2 usage or error.

Example:
  edgepack-camera person.epk --camera /dev/video0 --class 1 --votes 3/5 --pin gpio:/dev/gpiochip0:17";

/// What to watch, how and what for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Args {
    /// The package.
    pub package: PathBuf,
    /// Where frames come from.
    pub input: Input,
    /// An index of the package's first output.
    pub class: usize,
    /// When it is there.
    pub decision: Decision,
    /// The pin, as it was written.
    pub pin: String,
    /// What is on.
    pub level: Level,
    /// Threads for a run.
    pub threads: usize,
    /// Ends after so many frames.
    pub limit: Option<u64>,
    /// A line for every frame.
    pub json: bool,
}

/// Where frames come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A folder of image files.
    Folder(PathBuf),
    /// A camera, and the width and height to ask it for.
    Camera(PathBuf, [u32; 2]),
}

impl Args {
    /// Parses what follows the program's name; `None` where help is asked for.
    ///
    /// # Errors
    /// [`Error::Usage`], [`Error::Decision`].
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Option<Self>, Error> {
        let mut parser = Parser::from_args(words);
        let (mut package, mut folder, mut camera, mut class, mut limit) = (None, None, None, None, None);
        let (mut on, mut off, mut votes, mut size) = (0.6, 0.4, [3, 5], [640, 480]);
        let (mut pin, mut level, mut threads, mut json) = ("print".to_string(), Level::ActiveHigh, 1, false);
        while let Some(word) = parser.next()? {
            match word {
                Arg::Long("camera") => camera = Some(PathBuf::from(parser.value()?)),
                Arg::Long("frames") => folder = Some(PathBuf::from(parser.value()?)),
                Arg::Long("size") => size = pair(&parser.value()?.string()?, 'x', "--size", "640x480")?,
                Arg::Long("class") => class = Some(parser.value()?.parse()?),
                Arg::Long("on") => on = parser.value()?.parse()?,
                Arg::Long("off") => off = parser.value()?.parse()?,
                Arg::Long("votes") => votes = pair(&parser.value()?.string()?, '/', "--votes", "3/5")?,
                Arg::Long("pin") => pin = parser.value()?.string()?,
                Arg::Long("active-low") => level = Level::ActiveLow,
                Arg::Long("threads") => threads = parser.value()?.parse()?,
                Arg::Long("limit") => limit = Some(parser.value()?.parse()?),
                Arg::Long("json") => json = true,
                Arg::Long("help") | Arg::Short('h') => return Ok(None),
                Arg::Value(path) if package.is_none() => package = Some(PathBuf::from(path)),
                other => return Err(other.unexpected().into()),
            }
        }
        let missing = |what: &str| Error::Usage(format!("{what} is missing; see --help"));
        let input = match (folder, camera) {
            (Some(folder), None) => Input::Folder(folder),
            (None, Some(camera)) => Input::Camera(camera, size),
            (Some(_), Some(_)) => return Err(Error::Usage("give --camera or --frames, not both".into())),
            (None, None) => return Err(missing("--camera DEVICE or --frames FOLDER")),
        };
        Ok(Some(Self {
            package: package.ok_or_else(|| missing("the package"))?,
            input,
            class: class.ok_or_else(|| missing("--class N"))?,
            decision: Decision::new(Hysteresis::new(on, off)?, Votes::new(votes[0], votes[1])?),
            pin,
            level,
            threads,
            limit,
            json,
        }))
    }
}

fn pair(text: &str, between: char, flag: &str, example: &str) -> Result<[u32; 2], Error> {
    let numbers = text.split_once(between).and_then(|(a, b)| Some([a.parse().ok()?, b.parse().ok()?]));
    numbers.ok_or_else(|| Error::Usage(format!("{flag} `{text}`: two numbers as in {example}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Args>, Error> {
        Args::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_example_of_the_help_is_read() {
        let example = HELP.lines().last().unwrap().trim().strip_prefix("edgepack-camera ").unwrap();
        let args = parse(example).unwrap().unwrap();
        assert_eq!(args.input, Input::Camera("/dev/video0".into(), [640, 480]));
        assert_eq!(
            (args.class, args.pin.as_str(), args.level),
            (1, "gpio:/dev/gpiochip0:17", Level::ActiveHigh)
        );
        assert!(parse("--help").unwrap().is_none());
    }

    #[test]
    fn wrong_words_are_told_with_what_is_right() {
        for (line, part) in [
            ("", "--camera DEVICE or --frames FOLDER"),
            ("--frames a --class 1", "the package is missing"),
            ("a.epk --frames a", "--class N is missing"),
            ("a.epk --frames a --camera b --class 1", "not both"),
            ("a.epk --frames a --class one", "one"),
            ("a.epk --frames a --class 1 --votes 3", "as in 3/5"),
            ("a.epk --frames a --class 1 --votes 6/5", "6 of 5 frames"),
            ("a.epk --frames a --class 1 --on 0.2 --off 0.5", "off is not above on"),
            ("a.epk --frames a --class 1 --on nan", "finite"),
            ("a.epk b.epk --frames a --class 1", "b.epk"),
            ("a.epk --frames a --class 1 --loud", "--loud"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
